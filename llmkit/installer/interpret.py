"""The one evaluator of shell lines: what a line does (effects), and all it could do (guard).

`interpret(script, state, hooks, explore=False)` follows the path that bash would take. A status
that is not known counts as success, and is named in `uncertain`.

With `explore=True` every command on every static path is visited in the order of the text, also
after `false &&`, in branches not taken, in functions never called, in traps, and in scripts handed
to a shell by `-c`, `eval`, a here-document or a pipe. `hooks.command(command, states)` is called
before each with every state that the machine may be in there. Paths that are known not to be taken
are visited with `reachable=False`, and what they do ends with them: after `false && sgdisk -Z
/dev/sda` the disk is as before. What comes after `A ||` when A is known to succeed starts from the
state before A, since A would have failed. `A &` leaves both the state before and after A.

Bounds: a loop runs 256 words or 100 times (4 when exploring), nesting ends at 20 shells, a line at
2000 commands; what is beyond is opaque. Not evaluated: traps and aliases (visited only), `break 2`,
`pipefail`, arrays, `[[ ]]` beyond one comparison, relative paths after `cd` other than those of the
tools in interpret_paths.py, in redirections and below /dev.
"""

from __future__ import annotations

import re
from typing import Any

from llmkit.installer.expand import Expanded, expand_text, expand_words
from llmkit.installer.expand_glob import translate
from llmkit.installer.interpret_commands import Runner
from llmkit.installer.interpret_text import test
from llmkit.installer.interpret_types import (
    Hooks,
    Opened,
    Outcome,
    SimpleCommand,
    World,
    merge,
)
from llmkit.installer.shell_ast import (
    AndOr,
    Case,
    For,
    Function,
    Glob,
    Group,
    If,
    Literal,
    Node,
    Pipeline,
    Script,
    Sequence,
    Simple,
    Subshell,
    Test,
    Unknown,
    Variable,
    While,
    Word,
)
from llmkit.installer.state import SystemState

__all__ = ["Hooks", "Opened", "Outcome", "SimpleCommand", "interpret"]

MAX_WORDS = 256
MAX_TURNS = 100
MAX_TURNS_EXPLORING = 4


def interpret(
    script: Script, state: SystemState, hooks: Hooks | None = None, *, explore: bool = False
) -> Outcome:
    """Evaluate a parsed line on a machine; see the module's docstring."""
    evaluator = Evaluator(hooks, explore)
    worlds = evaluator.run(script.body, [World(state, {})])
    if explore:
        evaluator.visit_uncalled()
    return evaluator.outcome(worlds)


class Evaluator(Runner):
    """Walks the tree; Runner (interpret_commands.py) runs the simple commands."""

    def outcome(self, worlds: list[World]) -> Outcome:
        first = worlds[0]
        states = tuple({id(world.state): world.state for world in worlds}.values())
        return Outcome(
            first.state,
            first.status,
            tuple(self.events),
            tuple(dict.fromkeys(self.opaque)),
            tuple(dict.fromkeys(self.unmodelled)),
            self.error,
            first.out,
            tuple(dict.fromkeys(self.uncertain)),
            states,
        )

    def run(self, node: Node, worlds: list[World]) -> list[World]:
        """The worlds after `node`. Those given are consumed."""
        return _RUN[type(node)](self, node, worlds)

    def ghost(self, node: Node, worlds: list[World]) -> list[World]:
        """Visit a path that is not taken: only the hooks see it."""
        if not worlds:
            return []
        copies = [world.copy() for world in worlds]
        for world in copies:
            world.stop = ""
        before, self.reachable = self.reachable, False
        error = self.error
        events, opaque = len(self.events), len(self.opaque)
        after = self.run(node, copies)
        self.reachable, self.error = before, error
        del self.events[events:], self.opaque[opaque:]
        return after

    def visit_uncalled(self) -> None:
        """Visit the functions that were defined and never called, their arguments opaque."""
        seen: set[int] = set()
        while True:
            waiting = [
                (node, worlds)
                for key, (node, worlds) in self.functions.items()
                if key not in self.called and key not in seen
            ]
            if not waiting:
                return
            for node, worlds in waiting:
                seen.add(id(node))
                copies = [world.copy() for world in worlds]
                for world in copies:
                    world.assign("@", None)
                self.ghost(node.body, copies)

    # -- lists -------------------------------------------------------------------------------

    def _sequence(self, node: Sequence, worlds: list[World]) -> list[World]:
        if len(node.items) == 1 and not node.items[0][1]:
            return self.run(node.items[0][0], worlds)
        stopped: list[World] = []
        ghosts: list[World] = []
        for item, background in node.items:
            if not worlds:
                if not self.explore:
                    break
                ghosts = self.ghost(item, ghosts or stopped)
                continue
            worlds = self._background(item, worlds) if background else self.run(item, worlds)
            if any(world.stop for world in worlds):
                stopped += [world for world in worlds if world.stop]
                worlds = [world for world in worlds if not world.stop]
        return stopped + worlds

    def _background(self, node: Node, worlds: list[World]) -> list[World]:
        before = [world.copy() for world in worlds] if self.explore else []
        for world in worlds:
            world.enter()
            world.stdin = ""
        outer, self.background = self.background, True
        after = self.run(node, worlds)
        self.background = outer
        for world in after:
            _, world.env, world.stdin, _ = world.leave()
            world.stop = ""
        for world in (*before, *after):
            world.status = 0
        return merge(before + after)

    def _and_or(self, node: AndOr, worlds: list[World]) -> list[World]:
        before = [world.copy() for world in worlds] if self.explore else []
        self.tested += 1
        current = self.run(node.first, worlds)
        self.tested -= 1
        ghosts: list[World] = []
        last = len(node.rest) - 1
        for position, (operator, item) in enumerate(node.rest):
            go, stay = self._split(current, operator == "&&", item)
            if go:
                if self.explore:
                    before = [world.copy() for world in go]
                ghosts = []
                self.tested += position < last
                current = stay + self.run(item, go)
                self.tested -= position < last
                if len(current) > 1:
                    current = merge(current)
            elif self.explore:
                fitting, _ = self._split(ghosts, operator == "&&", item, note=False)
                running = [world for world in current if not world.stop]
                start = running or current if operator == "&&" else before
                ghosts = self.ghost(item, fitting or start)
        return current

    def _split(
        self, worlds: list[World], success: bool, node: Any, *, note: bool = True
    ) -> tuple[list[World], list[World]]:
        """Worlds that go on after success (or failure), and those that do not."""
        go: list[World] = []
        stay: list[World] = []
        for world in worlds:
            if world.stop:
                stay.append(world)
            elif world.status is not None:
                (go if (world.status == 0) == success else stay).append(world)
            elif self.explore:
                other = world.copy()
                world.status, other.status = (0, 1) if success else (1, 0)
                go.append(world)
                stay.append(other)
            else:
                if note and self.last:
                    self.uncertain.append(str(self.last))
                world.status = 0
                (go if success else stay).append(world)
        return go, stay

    def _pipeline(self, node: Pipeline, worlds: list[World]) -> list[World]:
        if len(node.commands) == 1:
            self.tested += node.negated
            worlds = self.run(node.commands[0], worlds)
            self.tested -= node.negated
        else:
            last = len(node.commands) - 1
            for world in worlds:
                world.enter()  # standard input and output of the whole
            for position, command in enumerate(node.commands):
                for world in worlds:
                    if position:
                        world.stdin, world.status = world.pipe, world.before
                    world.before = world.status
                    world.enter()
                    world.out = ""
                self.tested += position < last or node.negated
                worlds = self.apart(command, worlds)
                self.tested -= position < last or node.negated
                for world in worlds:
                    _, env, _, _ = world.leave()
                    world.env, world.stop, world.pipe = env, "", world.out
            for world in worlds:
                if "\0lastpipe" in world.env:  # the last stage may have set any variable
                    world.env = {k: v for k, v in world.env.items() if not k[:1].isalpha()}
                _, _, world.stdin, world.out = world.leave()
                world.write(world.pipe)
                world.pipe = ""
            if len(worlds) > 1:
                worlds = merge(worlds)
        if node.negated:
            for world in worlds:
                if world.status is not None:
                    world.status = int(world.status == 0)
        return worlds

    # -- compound commands ---------------------------------------------------------------------

    def _subshell(self, node: Subshell, worlds: list[World]) -> list[World]:
        def body(inside: list[World]) -> list[World]:
            for world in inside:
                world.enter()
            after = self.apart(node.body, inside)
            for world in after:
                _, world.env, _, _ = world.leave()
                world.stop = ""
            return after

        return self.around(node.redirects, node, worlds, body)

    def _group(self, node: Group, worlds: list[World]) -> list[World]:
        if not node.redirects:
            return self.run(node.body, worlds)
        return self.around(node.redirects, node, worlds, lambda w: self.run(node.body, w))

    def _if(self, node: If, worlds: list[World]) -> list[World]:
        done: list[World] = []
        current = worlds
        ghosting: list[World] = []  # conditions after one that is known to hold
        for condition, body in node.clauses:
            if not current:
                if self.explore:
                    self.ghost(body, self.ghost(condition, ghosting))
                continue
            self.tested += 1
            current = self.run(condition, current)
            self.tested -= 1
            after = [world.copy() for world in current] if self.explore else []
            go, current = self._split(current, True, condition)
            done += [world for world in current if world.stop]
            current = [world for world in current if not world.stop]
            if go:
                done += self.run(body, go)
            elif self.explore:
                self.ghost(body, after)
            if not current:
                ghosting = after
        if node.otherwise is not None:
            if current:
                done += self.run(node.otherwise, current)
            elif self.explore:
                self.ghost(node.otherwise, ghosting)
        else:
            for world in current:
                world.status = 0
            done += current
        return merge(done)

    def _for(self, node: For, worlds: list[World]) -> list[World]:
        done: list[World] = []
        if node.words is not None:
            for word in node.words:
                if word.nested:
                    worlds = self.substitutions(word, worlds)
        self.loops += 1
        for world in worlds:
            values = self._values(node, world)
            done += self._for_values(node, values, world)
        self.loops -= 1
        return merge(done)

    def _values(self, node: For, world: World) -> list[Expanded]:
        """The words of the loop; one that stands for any number of words stays one."""
        if node.words is None:
            return list(world.env.get("@") or (Expanded(None, (None,), True),))
        return list(expand_words(node.words, self.scope(world)))

    def _for_values(self, node: For, values: list[Expanded], world: World) -> list[World]:
        if node.select or len(values) > MAX_WORDS:
            values = [Expanded(None, (None,), True)]
        done: list[World] = []
        current = [world]
        if not values:
            world.status = 0
            if self.explore:
                other = world.copy()
                other.assign(node.variable, None)
                self.ghost(node.body, [other])
            return current
        for value in values:
            if value.many and self.explore:  # perhaps no word at all
                done += [item.copy() for item in current]
            for item in current:
                item.assign(node.variable, value.text)
            after = merge(self.run(node.body, current))
            if value.many and self.explore:  # perhaps more than one
                done += [item.copy() for item in after]
                for item in after:
                    if item.stop == "continue":
                        item.stop = ""
                going = [item for item in after if not item.stop]
                after = [item for item in after if item.stop]
                if going:
                    after = merge(after + self.run(node.body, going))
            elif value.many:  # how many turns is not known
                self.uncertain.append(f"for {node.variable} in {value}")
                for item in after:
                    item.write(None)
                    item.status = None
            current = []
            for item in after:
                if item.stop == "continue":
                    item.stop = ""
                (done if item.stop else current).append(item)
            if not current:
                break
        for item in done:
            if item.stop in ("break", "continue"):
                item.stop = ""
        return done + current

    def _while(self, node: While, worlds: list[World]) -> list[World]:
        self.loops += 1
        after = self._turns(node, worlds)
        self.loops -= 1
        return after

    def _turns(self, node: While, worlds: list[World]) -> list[World]:
        done: list[World] = []
        current = worlds
        turns = MAX_TURNS_EXPLORING if self.explore else MAX_TURNS
        for turn in range(turns):
            before = [world.copy() for world in current]
            self.tested += 1
            current = self.run(node.condition, current)
            self.tested -= 1
            unknown = any(world.status is None for world in current)
            after = [world.copy() for world in current] if self.explore and not turn else []
            go, stay = self._split(current, not node.until, node.condition)
            done += stay
            if not go:
                if self.explore and turn == 0:
                    self.ghost(node.body, after)
                current = []
                break
            current = []
            for world in merge(self.run(node.body, go)):
                if world.stop == "continue":
                    world.stop = ""
                (done if world.stop else current).append(world)
            if unknown and not self.explore:
                break
            current = [w for w in current if not any(w.same(other) for other in before)]
            if not current:
                if not done:
                    current = before  # nothing changes any more: it would go on for ever
                break
        done += current
        for world in done:
            if world.stop == "break":
                world.stop = ""
            if not world.stop:
                world.status = 0 if world.status is not None else None
        return merge(done)

    def _case(self, node: Case, worlds: list[World]) -> list[World]:
        if node.word.nested:
            worlds = self.substitutions(node.word, worlds)
        done: list[World] = []
        for world in worlds:
            done += self._case_one(node, world)
        return merge(done)

    def _case_one(self, node: Case, world: World) -> list[World]:
        text = expand_text(node.word, self.scope(world)).text
        plain = all(terminator == ";;" for _, _, terminator in node.arms)
        start = world.copy()
        done: list[World] = []
        decided = False
        for patterns, body, _ in node.arms:
            fits = None
            if plain and not decided and text is not None:
                answers = [self._fits(pattern, text, world) for pattern in patterns]
                fits = True if True in answers else None if None in answers else False
            if decided or fits is False:
                if self.explore:
                    self.ghost(body, [start])
                continue
            if fits:
                decided = True
                done += self.run(body, [start.copy()])
            elif self.explore:
                done += self.run(body, [start.copy()])
            else:  # not known which arm: none is run
                self.opaque.append("case " + node.word.raw)
                start.status = None
                return [start]
        if not decided:
            start.status = 0
            done.append(start)
        return done

    def _fits(self, pattern: Word, text: str, world: World) -> bool | None:
        expression = ""
        for part in pattern.parts:
            if isinstance(part, Literal):
                expression += re.escape(part.text)
            elif isinstance(part, Glob):
                expression += translate(part.text)
            elif isinstance(part, Variable) and part.quoted:
                value = expand_text(Word((part,), ""), self.scope(world)).text
                if value is None:
                    return None
                expression += re.escape(value)
            else:
                return None
        return re.fullmatch(expression, text, re.DOTALL) is not None

    def _function(self, node: Function, worlds: list[World]) -> list[World]:
        for world in worlds:
            world.assign("()" + node.name, node)
            world.status = 0
        if self.explore:
            self.functions.setdefault(id(node), (node, [world.copy() for world in worlds]))
        return worlds

    def _test(self, node: Test, worlds: list[World]) -> list[World]:
        for word in node.words:
            if word.nested:
                worlds = self.substitutions(word, worlds)
        simple = not node.arithmetic and not re.search(r"&&|\|\||[()<>~]", node.raw)
        for world in worlds:
            answer = None
            if simple and not any(
                isinstance(part, Glob) for word in node.words for part in word.parts
            ):
                scope = self.scope(world)
                words = tuple(expand_text(word, scope).text for word in node.words)
                pattern = any(
                    text is not None and re.search(r"[*?\[\\]", text) for text in words[2:]
                )
                answer = None if pattern else test(words, world.state, self.root)
            elif node.arithmetic:
                for name in re.findall(r"[A-Za-z_]\w*", node.raw):
                    world.assign(name, None)  # it may assign
            world.status = None if answer is None else int(not answer)
        self.last = f"[[{node.raw}]]" if not node.arithmetic else f"(({node.raw}))"
        return worlds

    def _unknown(self, node: Unknown, worlds: list[World]) -> list[World]:
        program = Expanded(None, (node.raw,))
        return self.dispatch(SimpleCommand((program,), node=node), worlds)

    def _simple(self, node: Simple, worlds: list[World]) -> list[World]:
        return self.simple(node, worlds)


_RUN: dict[type, Any] = {
    Simple: Evaluator._simple,
    Sequence: Evaluator._sequence,
    AndOr: Evaluator._and_or,
    Pipeline: Evaluator._pipeline,
    Subshell: Evaluator._subshell,
    Group: Evaluator._group,
    If: Evaluator._if,
    For: Evaluator._for,
    While: Evaluator._while,
    Case: Evaluator._case,
    Function: Evaluator._function,
    Test: Evaluator._test,
    Unknown: Evaluator._unknown,
}
