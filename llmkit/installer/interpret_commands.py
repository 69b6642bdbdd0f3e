"""Running one simple command: its words, its redirections, what it wraps, and its effect."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from llmkit.installer import vfs
from llmkit.installer.effects.registry import (
    EFFECTS,
    Argv,
    CommandFailed,
    Event,
    Result,
)
from llmkit.installer.expand import (
    OPAQUE,
    Expanded,
    Scope,
    expand_text,
    expand_words,
    known,
    normalise,
)
from llmkit.installer.interpret_builtins import BUILTINS, child_environment
from llmkit.installer.interpret_types import (
    Hooks,
    Opened,
    SimpleCommand,
    World,
    merge,
)
from llmkit.installer.interpret_wrappers import Peeled, options, peel
from llmkit.installer.shell import parse
from llmkit.installer.shell_ast import (
    Arithmetic,
    Brace,
    CommandSub,
    Function,
    Literal,
    Node,
    Opaque,
    Part,
    ProcessSub,
    Redirect,
    Script,
    ShellSyntaxError,
    Simple,
    Variable,
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
Body = Callable[[list[World]], list[World]]


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


class Runner:
    """The part of the evaluator that does not walk the tree."""

    def __init__(self, hooks: Hooks | None, explore: bool) -> None:
        load_effects()
        self.hooks, self.explore = hooks, explore
        self.events: list[Event] = []
        self.opaque: list[str] = []
        self.unmodelled: list[str] = []
        self.uncertain: list[str] = []
        self.error: str | None = None
        self.last = ""  # the command that ran last, for `uncertain`
        self.reachable = True
        self.background = False
        self.root = ""
        self.wrappers: tuple[str, ...] = ()
        self.shell = "bash"
        self.depth = 0
        self.steps = 0
        self.tested = 0  # above 0: a failure here does not end a line under `set -e`
        self.calls: tuple[int, ...] = ()  # id() of the functions that are running
        self.loops = 0  # how many loops are running in this shell
        self.functions: dict[int, tuple[Function, list[World]]] = {}
        self.called: set[int] = set()

    def run(self, node: Node, worlds: list[World]) -> list[World]:
        raise NotImplementedError

    def ghost(self, node: Node, worlds: list[World]) -> list[World]:
        raise NotImplementedError

    def apart(self, node: Node, worlds: list[World]) -> list[World]:
        """Run in a subshell: `break` does not reach the loops around it."""
        loops, self.loops = self.loops, 0
        after = self.run(node, worlds)
        self.loops = loops
        return after

    # -- words ---------------------------------------------------------------------------------

    def scope(self, world: World, *, nested: bool = False) -> Scope:
        """`nested`: substitutions ran just now, and `$?` may be theirs or not."""
        status = None if nested else world.status
        return Scope(world.env, world.state, world.captured, status)

    def substitutions(self, word: Word, worlds: list[World]) -> list[World]:
        """Run the scripts within a word; what they print is kept for its expansion."""
        for part in _scripts(word, self.explore):
            for world in worlds:
                world.enter()
                world.out = ""
            self.tested += 1
            worlds = self.apart(part.script.body, worlds)
            self.tested -= 1
            for world in worlds:
                output = world.out
                _, world.env, world.stdin, world.out = world.leave()
                world.stop = ""
                keep = not (isinstance(part, ProcessSub) and part.direction == ">")
                only = _file_only(part)
                if only is not None:
                    output = self._file(only, world)
                world.captured = {**world.captured, id(part): output if keep else None}
            worlds = merge(worlds)
        return worlds

    def _file(self, word: Word, world: World) -> str | None:
        """`$(<file)`"""
        path = expand_text(word, self.scope(world)).text
        return None if path is None else self.read_file(path, world)

    def read_file(self, path: str, world: World) -> str | None:
        """A file's content as far as it is known."""
        full = self.absolute(path, world)
        if full is None:
            return None
        if full == "/dev/null":
            return ""
        return vfs.read_text(world.state, full, self.root)

    def absolute(self, path: str, world: World) -> str | None:
        """The path from the root of the running (or chrooted) system."""
        if path.startswith("/"):
            return normalise(path)
        cwd = world.env.get("PWD", "/root")
        return None if cwd is None else normalise(f"{cwd}/{path}")

    def open(self, redirects: Sequence[Redirect], world: World) -> tuple[Opened, ...]:
        """Expand redirections and read what standard input will hold."""
        out: list[Opened] = []
        scope = self.scope(world, nested=bool(world.captured))
        for redirect in redirects:
            target = text = None
            operator = redirect.operator
            if operator == "<<" and redirect.heredoc is not None:
                text = expand_text(redirect.heredoc, scope).text
            elif operator == "<<<" and redirect.target is not None:
                target = expand_text(redirect.target, scope)
                text = None if target.text is None else target.text + "\n"
            elif redirect.target is not None:
                words = expand_words((redirect.target,), scope)
                target = words[0] if len(words) == 1 else Expanded(None, (None,), True)
                parts = redirect.target.parts
                if operator == "<" and len(parts) == 1 and isinstance(parts[0], ProcessSub):
                    text = world.captured.get(id(parts[0]))
                elif operator == "<" and target.text is not None:
                    text = self.read_file(target.text, world)
                if target.text is not None and not target.text.startswith("/"):
                    full = self.absolute(target.text, world)
                    if full is not None and "/dev/" in full:
                        target = known(full)
            out.append(Opened(operator, redirect.fd, target, text))
        return tuple(out)

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
        if cwd is None or (not cwd and not any("dev/" in (w.text or "") for w in argv)):
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

    def emit(self, command: SimpleCommand, worlds: list[World]) -> None:
        """Tell the hooks."""
        if self.hooks is None:
            return
        if command.reachable != self.reachable:
            command = replace(command, reachable=self.reachable)
        states = list({id(world.state): world.state for world in worlds}.values())
        unique: list[SystemState] = []
        for state in states:
            if len(states) == 1 or state not in unique:
                unique.append(state)
        self.hooks.command(command, tuple(unique))

    # -- what a command wraps ------------------------------------------------------------------

    def dispatch(self, command: SimpleCommand, worlds: list[World]) -> list[World]:
        """Take off what wraps the command, then run it."""
        self.steps += 1
        if self.steps > MAX_COMMANDS or len(command.wrappers) > MAX_DEPTH:
            return self._unknowable(command, worlds)
        if not command.argv:  # every word expanded to nothing
            self.emit(command, worlds)
            for world in worlds:
                world.status = 0
            return self.redirected(command, worlds, lambda inside: inside)
        text = command.argv[0].text
        if text is None:
            return self._unknowable(command, worlds)
        name = program_name(text)
        wrapped = command.wrappers != self.wrappers
        function = None if wrapped else worlds[0].env.get("()" + name)
        if function is not None:
            return self._call(function, command, worlds)
        peeled = peel(name, command.argv)
        if peeled is not None and peeled.kind != "plain":
            return self._peeled(peeled, command, worlds)
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self, command, worlds)
        self.emit(command, worlds)
        return self.redirected(
            command, worlds, lambda inside: self._apply_all(name, command, inside)
        )

    def _unknowable(self, command: SimpleCommand, worlds: list[World]) -> list[World]:
        """A command whose program is not known: seen, never run."""
        if command.argv[0].text is not None:
            command = replace(command, argv=(OPAQUE, *command.argv))
        self.emit(command, worlds)
        self.opaque.append(command.text)
        self.last = command.text
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
                return self._unknowable(replace(command, wrappers=wrappers), worlds)
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
        if peeled.kind == "command" and peeled.argv:
            if peeled.name == "exec":
                after = self.dispatch(inner, worlds)
                for world in after:
                    world.stop = "exit"
                return after
            return self.dispatch(inner, worlds)
        if peeled.kind in ("opaque", "file", "command"):
            program = Expanded(None, (peeled.name + " ", None))
            return self._unknowable(replace(inner, argv=(program, *peeled.argv)), worlds)
        if peeled.kind == "stdin":
            text = command.stdin
            if text is None or (text == "" and not any(r.reads for r in command.redirects)):
                program = Expanded(None, (peeled.name + " ", None))
                return self._unknowable(replace(inner, argv=(program,)), worlds)
        else:
            text = peeled.script.text if peeled.script is not None else None
        script = None
        if text is not None:
            try:
                script = parse(text)
            except ShellSyntaxError:
                script = None
        if script is None:
            program = Expanded(None, (peeled.name + " ", None))
            return self._unknowable(replace(inner, argv=(program, *peeled.argv)), worlds)
        arguments = peeled.argv[1:] if peeled.kind == "script" else peeled.argv
        given = dict(inner.assignments)

        def body(inside: list[World]) -> list[World]:
            for world in inside:
                world.enter()
                world.env = child_environment(world.env, given, clean=peeled.clean)
                world.env["@"] = arguments
                if peeled.kind == "stdin":
                    world.stdin = ""
            shell = peeled.shell or "bash"
            after = self.nested(script, inside, root=root, wrappers=wrappers, shell=shell)
            for world in after:
                _, world.env, world.stdin, _ = world.leave()
                world.stop = ""
            return after

        return self.around_command(command, worlds, body)

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
            return self._unknowable(SimpleCommand((OPAQUE,), root=self.root), worlds)
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
        script = None
        if text is not None:
            try:
                script = parse(text)
            except ShellSyntaxError:
                script = None
        if script is None:
            return self._unknowable(command, worlds)
        made = script
        return self.around_command(
            command, worlds, lambda w: self.nested(made, w, wrappers=(*self.wrappers, "eval"))
        )

    def _call(self, function: Function, command: SimpleCommand, worlds: list[World]) -> list[World]:
        self.called.add(id(function))
        if id(function) in self.calls or self.depth >= MAX_DEPTH:  # it calls itself
            self.last = command.text
            for world in worlds:
                world.status = None
                world.write(None)
            self.emit(command, worlds)
            if not self.explore:
                self.opaque.append(command.text)
            return worlds
        outer = self.calls
        self.calls = (*self.calls, id(function))
        self.depth += 1

        def body(inside: list[World]) -> list[World]:
            for world in inside:
                world.captured = {**world.captured}
                world.env = {
                    **world.env,
                    "@": command.argv[1:],
                    "\0@": (world.env.get("@"), world.env.get("\0@")),
                }
                for name, value in command.assignments:
                    world.assign(name, value.text)
            after = self.run(function.body, inside)
            for world in after:
                values, previous = world.env.get("\0@") or (None, None)
                world.env = {**world.env, "@": values, "\0@": previous}
                if world.stop == "return":
                    world.stop = ""
            return after

        after = self.around_command(command, worlds, body)
        self.calls, self.depth = outer, self.depth - 1
        return after

    # -- redirections --------------------------------------------------------------------------

    def around(
        self, redirects: tuple[Redirect, ...], node: Node, worlds: list[World], body: Body
    ) -> list[World]:
        """Run a compound command within its redirections."""
        if not redirects:
            return body(worlds)
        for redirect in redirects:
            for word in (redirect.target, redirect.heredoc):
                if word is not None and word.nested:
                    worlds = self.substitutions(word, worlds)
        groups: list[tuple[tuple[Opened, ...], list[World]]] = []
        for world in worlds:
            opened = self.open(redirects, world)
            for other, members in groups:
                if other == opened:
                    members.append(world)
                    break
            else:
                groups.append((opened, [world]))
        done: list[World] = []
        for opened, members in groups:
            command = SimpleCommand(
                (), (), opened, "", self.root, self.wrappers, self.background, self.reachable,
                node, members[0].env.get("PWD", ""),
            )  # fmt: skip
            done += self.around_command(command, members, body)
        return merge(done)

    def around_command(
        self, command: SimpleCommand, worlds: list[World], body: Body
    ) -> list[World]:
        """Run a body within a command's redirections, which the hooks are told of first."""
        if not command.redirects:
            return body(worlds)
        self.emit(replace(command, argv=(), assignments=()), worlds)
        return self.redirected(command, worlds, body)

    def redirected(self, command: SimpleCommand, worlds: list[World], body: Body) -> list[World]:
        """Open files, run, and write what was printed. A file that cannot be opened: not run."""
        if not command.redirects:
            return body(worlds)
        if any(o.writes and (o.target is None or o.target.text is None) for o in command.redirects):
            self.opaque.append(command.text or "redirection")
            for world in worlds:
                world.status = None
            return worlds
        reads = [opened for opened in command.redirects if opened.reads]
        takes = [o for o in command.redirects if _takes_output(o)]
        for world in worlds:
            world.enter()
            if reads:
                world.stdin = reads[-1].text
            if takes:
                world.out = ""
        after = body(worlds)
        for world in after:
            printed = world.out
            state, _, stdin, out = world.leave()
            world.stdin = stdin
            if takes:
                world.out = out
            try:
                self._write(command, takes, printed, world)
            except CommandFailed as error:
                world.state, world.out = state, out
                self._failed(error, world)
        return after

    def _write(
        self, command: SimpleCommand, takes: list[Opened], printed: str | None, world: World
    ) -> None:
        for opened in command.redirects:
            if not opened.writes or opened.target is None or opened.target.text is None:
                if opened is (takes[-1] if takes else None) and not opened.writes:
                    continue  # >&2
                continue
            text: str | None = ""
            if takes and opened is takes[-1]:
                text = printed
            elif opened.fd not in (None, 0, 1):
                text = None if opened.fd != 2 else ""
            path = self.absolute(opened.target.text, world)
            if path is None:
                self.opaque.append(command.text or "redirection")
                continue
            if path in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
                world.write(text)
                continue
            self.write_file(world, path, text, append=opened.operator in (">>", "&>>"))

    def write_file(self, world: World, path: str, text: str | None, *, append: bool) -> None:
        """Write to a file, or over the start of a device.

        Raises:
            CommandFailed: the file cannot be opened.
        """
        node = vfs.device(world.state, path) if path.startswith("/dev/") else None
        if node is not None:
            vfs.require_writable(world.state, node, "write")
            if text != "":
                world.state = vfs.overwrite(world.state, node)
                self.events.append(Event("erase", node, "overwritten"))
            return
        before = world.state
        world.state = vfs.write_text(world.state, path, text, append, self.root)
        if world.state is not before:
            self.events.append(Event("file", "", path))

    # -- effects -------------------------------------------------------------------------------

    def _apply_all(self, name: str, command: SimpleCommand, worlds: list[World]) -> list[World]:
        self.last = command.text
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

    def _failed(self, error: CommandFailed, world: World) -> None:
        if error.state is not None:
            world.state = error.state
        world.status = error.status
        self.events.extend(error.events)
        if self.error is None:
            self.error = error.reason

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
            if word.text is None:
                self.opaque.append(command.text)
                world.status = None
                world.write(None)
                return
            args.append(word.text)
        env = tuple((k, v.text) for k, v in command.assignments if v.text is not None)
        made = effect(state, Argv(name, tuple(args), stdin, command.root, env))
        if isinstance(made, Result):
            world.state, world.status = made.state, made.status
            world.write(made.stdout)
            self.events.extend(made.events)
        else:
            world.state, world.status = made, 0


def _takes_output(opened: Opened) -> bool:
    """Whether standard output goes elsewhere than to the pipe or terminal."""
    if opened.operator in ("&>", "&>>"):
        return True
    if opened.operator == ">&":
        text = opened.target.text if opened.target else None
        return opened.fd in (None, 1) and text != "1"
    return opened.operator in (">", ">>", ">|", "<>") and (
        opened.fd == 1 or (opened.fd is None and opened.operator != "<>")
    )


def _all_words(node: Simple) -> list[Word]:
    words = [*node.words, *(word for _, word in node.assignments)]
    for redirect in node.redirects:
        words += [word for word in (redirect.target, redirect.heredoc) if word is not None]
    return words


def _scripts(word: Word, explore: bool) -> list[CommandSub | ProcessSub]:
    """The substitutions of a word in order; those within `${x:-…}` run only perhaps."""
    found: list[CommandSub | ProcessSub] = []

    def visit(parts: Sequence[Part]) -> None:
        for part in parts:
            match part:
                case CommandSub() | ProcessSub():
                    found.append(part)
                case Variable(argument=Word() as argument) if explore:
                    visit(argument.parts)
                case Brace(alternatives=words) | Arithmetic(words=words) | Opaque(words=words):
                    for item in words:
                        visit(item.parts)

    visit(word.parts)
    return found


def _file_only(part: CommandSub | ProcessSub) -> Word | None:
    """The file of `$(<file)`."""
    items = part.script.body.items
    if len(items) != 1 or not isinstance(items[0][0], Simple):
        return None
    node = items[0][0]
    if node.words or node.assignments or len(node.redirects) != 1:
        return None
    redirect = node.redirects[0]
    return redirect.target if redirect.operator == "<" and redirect.fd in (None, 0) else None


# -- commands that run others ------------------------------------------------------------------


def _eval(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    texts = [word.text for word in command.argv[1:]]
    text = None if None in texts else " ".join(item or "" for item in texts)
    return runner.script_text(text, command, worlds)


def _source(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    if len(command.argv) > 1 and (path := command.argv[1].text) is not None:
        texts = {runner.read_file(path, world) for world in worlds}
        if len(texts) == 1 and (text := texts.pop()) is not None:
            return runner.script_text(text, command, worlds)
    return runner._unknowable(command, worlds)


def _exec(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    """`exec` with redirections alone: from here on, output goes there."""
    runner.emit(command, worlds)
    after = runner.redirected(command, worlds, lambda inside: inside)
    for world in after:
        if any(_takes_output(opened) for opened in command.redirects):
            world.write(None)
        if any(opened.reads for opened in command.redirects):
            world.stdin = None
        if world.status is not None:
            world.status = 0
    return after


def _trap(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    """`trap 'script' SIGNAL`, `alias name='script'`: visited, not run."""
    runner.emit(command, worlds)
    for world in worlds:
        world.status = 0
    if not runner.explore:
        return worlds
    for word in command.argv[1:]:
        text = word.text
        if command.argv[0].text == "alias":
            text = None if text is None else text.partition("=")[2]
        elif text is not None and text.startswith("-"):
            continue
        if text is None:
            runner._unknowable(command, [world.copy() for world in worlds])
            break
        try:
            script = parse(text)
        except ShellSyntaxError:
            runner._unknowable(command, [world.copy() for world in worlds])
            break
        if command.argv[0].text == "trap" and word is not command.argv[1]:
            break
        runner.ghost(script.body, worlds)
    return worlds


def _xargs(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    read = options(
        command.argv[1:], "IdEnLPsa", "0rtpxo",
        ("replace", "delimiter", "eof", "max-args", "max-procs", "max-chars", "arg-file",
         "max-lines"),
        ("null", "no-run-if-empty", "verbose", "interactive", "exit"),
    )  # fmt: skip
    wrapped = replace(command, wrappers=(*command.wrappers, "xargs"))
    if read is None:
        return runner._unknowable(wrapped, worlds)
    found, position = read
    chosen = dict(found)
    base = command.argv[1 + position :] or (known("echo"),)
    placeholder = chosen.get("I", chosen.get("replace"))
    plain = set(chosen) <= {"I", "replace", "r", "no-run-if-empty", "t", "n", "max-args", "P",
                            "max-procs", "verbose"}  # fmt: skip
    items = _xargs_items(command.stdin, lines=placeholder is not None) if plain else None
    if placeholder is not None:
        if items is None:
            runs = [tuple(_replaced(word, placeholder, None) for word in base)]
        else:
            runs = [tuple(_replaced(word, placeholder, item) for word in base) for item in items]
    elif items is None:
        runs = [(*base, OPAQUE)]
    else:
        size = chosen.get("n", chosen.get("max-args", ""))
        step = int(size) if size.isdigit() and int(size) > 0 else len(items) or 1
        chunks = [items[i : i + step] for i in range(0, len(items), step)]
        if not items and not {"r", "no-run-if-empty"} & set(chosen):
            chunks = [[]]
        runs = [(*base, *(known(item) for item in chunk)) for chunk in chunks]
    inner = replace(wrapped, stdin="", redirects=())

    def body(inside: list[World]) -> list[World]:
        for world in inside:
            world.enter()
            world.stdin, world.status = "", 0
        for argv in runs:
            inside = runner.dispatch(replace(inner, argv=argv), inside)
        for world in inside:
            _, _, world.stdin, _ = world.leave()
            world.stdin = "" if world.stdin is not None else None
            if world.status:
                world.status = 123
        return inside

    return runner.around_command(command, worlds, body)


def _xargs_items(stdin: str | None, *, lines: bool) -> list[str] | None:
    if stdin is None or re.search(r"['\"\\]", stdin):
        return None
    if lines:
        return [line.lstrip(" \t") for line in stdin.split("\n") if line.strip(" \t")]
    return stdin.split()


def _replaced(word: Expanded, placeholder: str, item: str | None) -> Expanded:
    if word.text is None or placeholder not in word.text or not placeholder:
        return word
    if item is not None:
        return known(word.text.replace(placeholder, item))
    fragments: list[str | None] = []
    for position, piece in enumerate(word.text.split(placeholder)):
        if position:
            fragments.append(None)
        if piece:
            fragments.append(piece)
    return Expanded(None, tuple(fragments))


def _find(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    """find: itself, and what -exec would run (visited only)."""
    runner.emit(command, worlds)
    words = command.argv
    position = 1
    while runner.explore and position < len(words):
        if words[position].text in ("-exec", "-execdir", "-ok", "-okdir"):
            end = position + 1
            while end < len(words) and words[end].text not in (";", "+"):
                end += 1
            inner = tuple(_replaced(word, "{}", None) for word in words[position + 1 : end])
            if inner:
                made = replace(
                    command, argv=inner, stdin="", redirects=(),
                    wrappers=(*command.wrappers, "find"),
                )  # fmt: skip
                runner.dispatch(made, [world.copy() for world in worlds])
            position = end
        position += 1
    return runner.redirected(
        command, worlds, lambda inside: runner._apply_all("find", command, inside)
    )


_SPECIAL: dict[str, Callable[[Any, SimpleCommand, list[World]], list[World]]] = {
    "eval": _eval,
    "source": _source,
    ".": _source,
    "exec": _exec,
    "trap": _trap,
    "alias": _trap,
    "xargs": _xargs,
    "find": _find,
}
