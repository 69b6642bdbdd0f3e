"""Running one simple command: its words, its redirections, what it wraps, and its effect."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace

from llmkit.installer import vfs
from llmkit.installer.effects.copy import is_system
from llmkit.installer.effects.registry import (
    EFFECTS,
    Argv,
    CommandFailed,
    Result,
)
from llmkit.installer.expand import (
    OPAQUE,
    Expanded,
    Scope,
    assigned,
    expand_text,
    expand_words,
    known,
    normalise,
)
from llmkit.installer.interpret_builtins import BUILTINS, child_environment
from llmkit.installer.interpret_paths import placed
from llmkit.installer.interpret_redirects import Redirections
from llmkit.installer.interpret_special import SPECIAL
from llmkit.installer.interpret_types import (
    Hooks,
    SimpleCommand,
    World,
    merge,
)
from llmkit.installer.interpret_wrappers import Peeled, peel
from llmkit.installer.shell import parse
from llmkit.installer.shell_ast import (
    Function,
    Literal,
    Script,
    ShellSyntaxError,
    Simple,
    Word,
)
from llmkit.installer.shell_words import ASSIGNMENT
from llmkit.installer.state import SystemState

MAX_DEPTH = 20
MAX_COMMANDS = 2000
_DECLARE = frozenset(("export", "declare", "typeset", "local", "readonly"))
_PROGRAMS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")
_DEVICE_NAME = re.compile(
    r"/dev/(sd|hd|vd|xvd|nvme|mmcblk|loop|md|dm-|sr|zram|nbd|ram|fd\d|mapper/|disk/)"
)


def load_effects() -> None:
    """Fill the table of effects. Late, since the effects import this package's siblings."""
    import llmkit.installer.effects  # noqa: F401


def program_name(text: str) -> str:
    """The tool that runs: the base name of a plain name or of one in the system's directories;
    any other path is a program of its own, and keeps its path."""
    if "/" not in text:
        return text
    directory, name = posixpath.split(normalise(text))
    return name if directory in _PROGRAMS else text


class Runner(Redirections):
    """The part of the evaluator that does not walk the tree."""

    def __init__(self, hooks: Hooks | None, explore: bool) -> None:
        load_effects()
        super().__init__(hooks, explore)

    # -- simple commands -----------------------------------------------------------------------

    def simple(self, node: Simple, worlds: list[World]) -> list[World]:
        """A command of the tree."""
        if node.nested:
            for word in _all_words(node):
                if word.nested:
                    worlds = self.substitutions(word, worlds)
        if not node.words:
            return self._assign(node, worlds)
        groups: list[tuple[SimpleCommand, list[World]]] = []
        for world in worlds:
            command = self._command(node, world)
            for other, members in groups:
                if other == command:
                    members.append(world)
                    break
            else:
                groups.append((command, [world]))
        if len(groups) == 1:
            return merge(self.dispatch(groups[0][0], groups[0][1]))
        return merge([new for command, group in groups for new in self.dispatch(command, group)])

    def _command(self, node: Simple, world: World) -> SimpleCommand:
        scope = self.scope(world, nested=node.nested)
        first = node.words[0]
        if first.raw in _DECLARE:
            argv = tuple(word for item in node.words for word in self._declared(item, scope))
        else:
            argv = expand_words(node.words, scope)
        assignments = tuple((name, expand_text(word, scope)) for name, word in node.assignments)
        redirects = self.open(node.redirects, world) if node.redirects else ()
        for word in node.words:
            for name in assigned(word):
                world.assign(name, None)
        cwd = world.env.get("PWD", "")
        argv = self._below_dev(argv, cwd, world)
        stdin = world.stdin
        for opened in redirects:
            if opened.reads:
                stdin = opened.text
        return SimpleCommand(
            argv, assignments, redirects, stdin, self.root, self.wrappers, self.background,
            self.reachable, node, cwd,
        )  # fmt: skip

    def _declared(self, word: Word, scope: Scope) -> tuple[Expanded, ...]:
        """`export A=$B`: the value is neither split nor a pattern."""
        match = ASSIGNMENT.match(word.raw)
        if word.text is not None or not match or not isinstance(word.parts[0], Literal):
            return expand_words((word,), scope)
        return (expand_text(word, scope),)

    def _below_dev(
        self, argv: tuple[Expanded, ...], cwd: str | None, world: World
    ) -> tuple[Expanded, ...]:
        """Words that lead below /dev from the current directory, made absolute."""
        if cwd is None or (not cwd and not any("../" in (w.text or "") for w in argv)):
            return argv
        base = cwd or "/root"

        def change(word: Expanded) -> Expanded:
            text = word.text
            if not text or text.startswith(("/", "-")):
                return word
            key, equals, value = text.partition("=")
            prefix, path = (key + "=", value) if equals and value[:1] != "/" else ("", text)
            full = normalise(f"{base}/{path}")
            if not full.startswith("/dev/"):
                return word
            if _DEVICE_NAME.match(full) or vfs.device(world.state, full) is not None:
                return known(prefix + full)
            return word

        return argv[:1] + tuple(change(word) for word in argv[1:])

    def _assign(self, node: Simple, worlds: list[World]) -> list[World]:
        """Assignments or redirections without a command."""
        done: list[World] = []
        for world in worlds:
            if not node.nested:
                world.status = 0
            pairs = []
            for name, word in node.assignments:
                value = expand_text(word, self.scope(world, nested=node.nested))
                for other in assigned(word):
                    world.assign(other, None)
                world.assign(name, value.text)
                pairs.append((name, value))
            opened = self.open(node.redirects, world) if node.redirects else ()
            command = SimpleCommand(
                (), tuple(pairs), opened, "", self.root, self.wrappers, self.background,
                self.reachable, node, world.env.get("PWD", ""),
            )  # fmt: skip
            self.emit(command, [world])
            if opened:
                done += self.redirected(command, [world], lambda inside: inside)
            else:
                done.append(world)
        return done

    # -- what a command wraps ------------------------------------------------------------------

    def dispatch(self, command: SimpleCommand, worlds: list[World]) -> list[World]:
        """Take off what wraps the command, then run it."""
        self.steps += 1
        if self.steps > MAX_COMMANDS or len(command.wrappers) > MAX_DEPTH:
            return self.unknowable(command, worlds)
        if not command.argv:  # every word expanded to nothing
            self.emit(command, worlds)
            for world in worlds:
                world.status = 0
            return self.redirected(command, worlds, lambda inside: inside)
        text = command.argv[0].text
        if text is None:
            return self.unknowable(command, worlds)
        name = program_name(text)
        taken_off = command.wrappers[len(self.wrappers) :]
        wrapped = any(wrapper != "time" for wrapper in taken_off)
        function = None if wrapped else worlds[0].env.get("()" + name)
        if function is not None:
            return self._call(function, command, worlds)
        peeled = peel(name, command.argv)
        if peeled is not None and peeled.kind != "plain":
            return self._peeled(peeled, command, worlds)
        special = SPECIAL.get(name)
        if special is not None:
            return special(self, command, worlds)
        self.emit(command, worlds)
        return self.redirected(
            command, worlds, lambda inside: self._apply_all(name, command, inside)
        )

    def unknowable(self, command: SimpleCommand, worlds: list[World]) -> list[World]:
        """A command whose program is not known: seen, never run."""
        if command.argv[0].text is not None:
            command = replace(command, argv=(OPAQUE, *command.argv))
        self.emit(command, worlds)
        self.opaque.append(command.text)
        self.last = command
        for world in worlds:
            world.status = None
            world.write(None)
            if world.stdin:
                world.stdin = None
        return worlds

    def _peeled(self, peeled: Peeled, command: SimpleCommand, worlds: list[World]) -> list[World]:
        wrappers = (*command.wrappers, peeled.name)
        root = command.root
        if peeled.root is not None:
            inner = normalise(peeled.root) if peeled.root.startswith("/") else None
            if inner is None:
                return self.unknowable(replace(command, wrappers=wrappers), worlds)
            root = root + inner if inner != "/" else root
            failed = self._check_root(root, worlds)
            if failed:
                worlds = [world for world in worlds if world not in failed]
                if not worlds:
                    if self.explore:
                        self._ghost_peeled(peeled, command, failed, root, wrappers)
                    return failed
                return failed + self._below(peeled, command, worlds, root, wrappers)
        return self._below(peeled, command, worlds, root, wrappers)

    def _check_root(self, root: str, worlds: list[World]) -> list[World]:
        """The worlds in which nothing can run in that root."""
        failed: list[World] = []
        for world in worlds:
            try:
                vfs.check_root(world.state, root)
            except CommandFailed as error:
                self._failed(error, world)
                failed.append(world)
        return failed

    def _ghost_peeled(
        self,
        peeled: Peeled,
        command: SimpleCommand,
        worlds: list[World],
        root: str,
        wrappers: tuple[str, ...],
    ) -> None:
        before, self.reachable = self.reachable, False
        error, events = self.error, len(self.events)
        self._below(peeled, command, [world.copy() for world in worlds], root, wrappers)
        self.reachable, self.error = before, error
        del self.events[events:]

    def _below(
        self,
        peeled: Peeled,
        command: SimpleCommand,
        worlds: list[World],
        root: str,
        wrappers: tuple[str, ...],
    ) -> list[World]:
        inner = replace(
            command,
            argv=peeled.argv,
            assignments=command.assignments + peeled.assignments,
            root=root,
            wrappers=wrappers,
        )
        if peeled.root is not None and command.cwd != "":  # chroot goes to its root
            inner = replace(inner, cwd="/")
        elsewhere = peeled.root is not None or root != self.root
        if peeled.kind == "command" and peeled.argv:
            if peeled.name == "exec":
                after = self.dispatch(inner, worlds)
                for world in after:
                    world.stop = "exit"
                return after
            return self.dispatch(inner, worlds)
        if peeled.kind in ("opaque", "file", "command"):
            program = Expanded(None, (peeled.name + " ", None))
            return self.unknowable(replace(inner, argv=(program, *peeled.argv)), worlds)
        if peeled.kind == "stdin":
            text = command.stdin
            if text is None or (text == "" and not any(r.reads for r in command.redirects)):
                program = Expanded(None, (peeled.name + " ", None))
                return self.unknowable(replace(inner, argv=(program,)), worlds)
        else:
            text = peeled.script.text if peeled.script is not None else None
        script = _parsed(text)
        if script is None:
            program = Expanded(None, (peeled.name + " ", None))
            return self.unknowable(replace(inner, argv=(program, *peeled.argv)), worlds)
        arguments = peeled.argv[1:] if peeled.kind == "script" else peeled.argv
        given = dict(inner.assignments)
        self._tell_assigned(inner, worlds)

        def body(inside: list[World]) -> list[World]:
            for world in inside:
                world.enter()
                world.env = child_environment(world.env, given, clean=peeled.clean)
                world.env["@"] = arguments
                if elsewhere:
                    world.env["PWD"] = "/"
                if peeled.kind == "stdin":
                    world.stdin = ""
            shell = peeled.shell or "bash"
            after = self.nested(script, inside, root=root, wrappers=wrappers, shell=shell)
            for world in after:
                _, world.env, world.stdin, _ = world.leave()
                world.stop = ""
            return after

        return self.around_command(command, worlds, body)

    def _tell_assigned(self, command: SimpleCommand, worlds: list[World]) -> None:
        """What is assigned for a whole script or function; its commands are told of one by one."""
        if command.assignments:
            self.emit(replace(command, argv=(), redirects=()), worlds)

    def nested(
        self,
        script: Script,
        worlds: list[World],
        *,
        root: str | None = None,
        wrappers: tuple[str, ...] | None = None,
        shell: str | None = None,
    ) -> list[World]:
        """Run a script within this one."""
        if self.depth >= MAX_DEPTH:
            return self.unknowable(SimpleCommand((OPAQUE,), root=self.root), worlds)
        outer = (self.root, self.wrappers, self.shell, self.depth, self.loops, self.calls)
        if wrappers is None or wrappers[-1:] != ("eval",):
            self.loops, self.calls = 0, ()
        self.root = self.root if root is None else root
        self.wrappers = self.wrappers if wrappers is None else wrappers
        self.shell = self.shell if shell is None else shell
        self.depth += 1
        after = self.run(script.body, worlds)
        self.root, self.wrappers, self.shell, self.depth, self.loops, self.calls = outer
        return after

    def script_text(
        self, text: str | None, command: SimpleCommand, worlds: list[World]
    ) -> list[World]:
        """Run text in this very shell (eval)."""
        script = _parsed(text)
        if script is None:
            return self.unknowable(command, worlds)
        made = script
        given = dict(command.assignments)
        self._tell_assigned(command, worlds)

        def body(inside: list[World]) -> list[World]:
            for world in inside:
                for name, value in given.items():
                    world.assign(name, value.text)
            after = self.nested(made, inside, wrappers=(*self.wrappers, "eval"))
            for world in after:
                for name in given:
                    world.drop(name)
            return after

        return self.around_command(command, worlds, body)

    def _call(self, function: Function, command: SimpleCommand, worlds: list[World]) -> list[World]:
        self.called.add(id(function))
        if id(function) in self.calls or self.depth >= MAX_DEPTH:  # it calls itself
            self.last = command
            for world in worlds:
                world.status = None
                world.write(None)
            self.emit(command, worlds)
            if not self.explore:
                self.opaque.append(command.text)
            return worlds
        outer = self.calls
        given = dict(command.assignments)
        self._tell_assigned(command, worlds)
        self.calls = (*self.calls, id(function))
        self.depth += 1

        def body(inside: list[World]) -> list[World]:
            for world in inside:
                outer_env = world.env
                world.env = {**outer_env, "@": command.argv[1:], "\0l": frozenset(given)}
                world.env.update((name, value.text) for name, value in given.items())
                world.env["\0outer"] = outer_env
            after = self.run(function.body, inside)
            for world in after:
                _restore(world)
                if world.stop == "return":
                    world.stop = ""
            return after

        after = self.around_command(command, worlds, body)
        self.calls, self.depth = outer, self.depth - 1
        return after

    # -- effects -------------------------------------------------------------------------------

    def _apply_all(self, name: str, command: SimpleCommand, worlds: list[World]) -> list[World]:
        self.last = command
        for world in worlds:
            self._apply(name, command, world)
        return worlds

    def _apply(self, name: str, command: SimpleCommand, world: World) -> None:
        """Let one command act on one world."""
        stdin = world.stdin
        builtin = BUILTINS.get(name)
        try:
            if builtin is not None:
                builtin(self, command, world)
            else:
                self._effect(name, command, world, stdin)
                if world.stdin:
                    world.stdin = None  # how much of it was read is not known
        except CommandFailed as error:
            self._failed(error, world)
        if world.env.get("\0e") and world.status and not self.tested:
            world.stop = "exit"

    def _effect(self, name: str, command: SimpleCommand, world: World, stdin: str | None) -> None:
        state = world.state
        if state.tools is not None and not command.root and name not in state.tools:
            raise CommandFailed(f"{name}: command not found", status=127)
        effect = EFFECTS.get(name)
        if effect is None:
            self.unmodelled.append(name)
            world.status = None if self.explore else 0
            world.write(None)
            return
        args: list[str] = []
        for word in command.argv[1:]:
            text = word.text
            if text is None and name in ("cp", "rsync"):
                text = _all_of_a_system(word, state, command.root)
            if text is None:
                self.opaque.append(command.text)
                world.status = None
                world.write(None)
                return
            args.append(text)
        env = tuple((k, v.text) for k, v in command.assignments if v.text is not None)
        cwd = world.env.get("PWD", "") if command.root == self.root else "/"  # chroot goes to /
        words = placed(name, tuple(args), cwd) if isinstance(cwd, str) and cwd else tuple(args)
        made = effect(state, Argv(name, words, stdin, command.root, env))
        if isinstance(made, Result):
            world.state, world.status = made.state, made.status
            world.write(made.stdout)
            self.events.extend(made.events)
        else:
            world.state, world.status = made, 0


def _all_of_a_system(word: Expanded, state: SystemState, root: str) -> str | None:
    """`/*`: a pattern for all that is in the root of a system, which cp and rsync copy whole."""
    pattern = word.pattern
    if pattern is None or not pattern.startswith("/") or not pattern.endswith("/*"):
        return None
    folder = pattern[:-1]
    if any(char in folder for char in "*?["):
        return None
    return pattern if is_system(state, folder, root) else None


def _all_words(node: Simple) -> list[Word]:
    words = [*node.words, *(word for _, word in node.assignments)]
    for redirect in node.redirects:
        words += [word for word in (redirect.target, redirect.heredoc) if word is not None]
    return words


def _restore(world: World) -> None:
    """Leave a function: its arguments and local variables end."""
    env = world.env
    outer = env.get("\0outer")
    if outer is None:  # the function cleared all: nothing is known any more
        world.env = {}
        return
    ending = {"@", "\0l", "\0outer", *env.get("\0l", ())}
    kept = {name: value for name, value in env.items() if name not in ending}
    world.env = {**kept, **{name: outer[name] for name in ending if name in outer}}


def _parsed(text: str | None) -> Script | None:
    """The script that text given to a shell is; None: not known, or not to be read."""
    if text is None:
        return None
    try:
        return parse(text)
    except ShellSyntaxError:
        return None
