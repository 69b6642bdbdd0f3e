"""The evaluator's state, and what surrounds a command: substitutions and redirections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from llmkit.installer import vfs
from llmkit.installer.expand import (
    Expanded,
    Scope,
    expand_text,
    expand_words,
    known,
    normalise,
)
from llmkit.installer.failures import CommandFailed, Event
from llmkit.installer.interpret_types import (
    Hooks,
    Opened,
    SimpleCommand,
    World,
    merge,
)
from llmkit.installer.shell_ast import (
    Arithmetic,
    Brace,
    CommandSub,
    Function,
    Node,
    Opaque,
    Part,
    ProcessSub,
    Redirect,
    Simple,
    Variable,
    Word,
)
from llmkit.installer.state import SystemState

Body = Callable[[list[World]], list[World]]


class Redirections:
    """What an evaluation remembers, and how it opens files around a body."""

    def __init__(self, hooks: Hooks | None, explore: bool) -> None:
        self.hooks, self.explore = hooks, explore
        self.events: list[Event] = []
        self.opaque: list[str] = []
        self.unmodelled: list[str] = []
        self.uncertain: list[str] = []
        self.error: str | None = None
        self.last: SimpleCommand | str = ""  # the command that ran last, for `uncertain`
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

    def _failed(self, error: CommandFailed, world: World) -> None:
        if error.state is not None:
            world.state = error.state
        world.status = error.status
        self.events.extend(error.events)
        if self.error is None:
            self.error = error.reason

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
        takes = [o for o in command.redirects if takes_output(o)]
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


def takes_output(opened: Opened) -> bool:
    """Whether standard output goes elsewhere than to the pipe or terminal."""
    if opened.operator in ("&>", "&>>"):
        return True
    if opened.operator == ">&":
        text = opened.target.text if opened.target else None
        return opened.fd in (None, 1) and text != "1"
    return opened.operator in (">", ">>", ">|", "<>") and (
        opened.fd == 1 or (opened.fd is None and opened.operator != "<>")
    )


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
