"""The values that the evaluator works on: one possible world, one command, one outcome."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from llmkit.installer.expand import Expanded
from llmkit.installer.failures import Event
from llmkit.installer.shell_ast import Node
from llmkit.installer.state import SystemState

MAX_WORLDS = 16
MAX_OUTPUT = 1 << 16  # characters of a command's output that are kept; beyond, it is not known


@dataclass(frozen=True, slots=True)
class Opened:
    """A redirection whose words are expanded. `text` is what standard input holds, when this is
    an input redirection and its content is known."""

    operator: str
    fd: int | None
    target: Expanded | None
    text: str | None = None

    @property
    def reads(self) -> bool:
        """It gives standard input."""
        return self.operator in ("<", "<<", "<<<", "<>", "<&") and self.fd in (None, 0)

    @property
    def writes(self) -> bool:
        """It opens its target for writing."""
        if self.operator in ("<>", ">", ">>", ">|", "&>", "&>>"):
            return True
        return self.operator == ">&" and self.target is not None and not self.duplicates

    @property
    def duplicates(self) -> bool:
        """`2>&1` and the like: no file is opened."""
        text = None if self.target is None else self.target.text
        return (
            self.operator in (">&", "<&") and text is not None and text.strip("0123456789-") == ""
        )


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """One command as it would be run, what wraps it (sudo, arch-chroot, sh -c, xargs, …) taken off.

    `argv` is empty when there are only redirections, or only assignments; those of a group, loop or
    nested shell come as such a command as well. A program that cannot be known has
    `argv[0].text` None. `wrappers` names what was taken off, outermost first. `root` is the
    directory of the chroot around it ("" for none). `cwd` is the directory that the line changed
    to ("" when it did not, None when where to is not known); words below /dev are absolute
    already. `reachable` is False on a path that is not taken as far as is known. `stdin` is the
    text on standard input ("" when nothing is piped in, None when not known).
    """

    argv: tuple[Expanded, ...]
    assignments: tuple[tuple[str, Expanded], ...] = ()
    redirects: tuple[Opened, ...] = ()
    stdin: str | None = ""
    root: str = ""
    wrappers: tuple[str, ...] = ()
    background: bool = False
    reachable: bool = True
    node: Node | None = None
    cwd: str | None = ""

    @property
    def text(self) -> str:
        """The command in words, for messages; `…` stands for what is not known."""
        return " ".join(str(word) for word in self.argv)

    def __str__(self) -> str:
        return self.text


class Hooks(Protocol):
    """Who wants to see every command."""

    def command(self, command: SimpleCommand, states: tuple[SystemState, ...]) -> None:
        """`command` is about to run, in one of `states`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a line ended.

    `status` None: not known. `error`: why the first command failed that did. `opaque`: commands
    that were not run because a word of theirs is not known. `unmodelled`: programs that were
    taken to change nothing. `uncertain`: commands whose unknown status decided which way to go
    (taken as success). `stdout` None: not known. `states`: all possible ends, when exploring.
    """

    state: SystemState
    status: int | None = 0
    events: tuple[Event, ...] = ()
    opaque: tuple[str, ...] = ()
    unmodelled: tuple[str, ...] = ()
    error: str | None = None
    stdout: str | None = ""
    uncertain: tuple[str, ...] = ()
    states: tuple[SystemState, ...] = ()


class World:
    """One possible machine and shell at a point of the line. Mutable, and owned by one path."""

    __slots__ = (
        "before",
        "captured",
        "env",
        "frames",
        "out",
        "pipe",
        "state",
        "status",
        "stdin",
        "stop",
    )

    def __init__(self, state: SystemState, env: dict[str, Any]) -> None:
        self.state = state
        self.env = env  # copied before it is changed: worlds share it
        self.status: int | None = 0
        self.out: str | None = ""
        self.stdin: str | None = ""
        self.stop = ""  # exit, return, break or continue is under way
        self.captured: dict[int, str | None] = {}
        self.before: int | None = 0  # the status before a pipeline: its stages' `$?`
        self.pipe: str | None = ""  # what the stage before printed
        self.frames: tuple[Any, ...] | None = None  # what `leave` brings back

    def copy(self) -> World:
        """Another world that is the same so far."""
        new = World(self.state, self.env)
        new.status, new.out, new.stdin = self.status, self.out, self.stdin
        new.stop, new.captured = self.stop, self.captured
        new.before, new.pipe, new.frames = self.before, self.pipe, self.frames
        return new

    def enter(self) -> None:
        """Remember state, variables, input and output, as at the start of a subshell."""
        self.frames = (self.state, self.env, self.stdin, self.out, self.frames)

    def leave(self) -> tuple[SystemState, dict[str, Any], str | None, str | None]:
        """What `enter` remembered last."""
        assert self.frames is not None
        *saved, self.frames = self.frames
        return tuple(saved)

    def same(self, other: World) -> bool:
        """Whether what follows would go the same way."""
        return (
            (self.state is other.state or self.state == other.state)
            and self.status == other.status
            and self.stop == other.stop
            and self.out == other.out
            and self.stdin == other.stdin
            and self.pipe == other.pipe
            and (self.env is other.env or self.env == other.env)
        )

    def assign(self, name: str, value: Any) -> None:
        """Set a variable, here only."""
        self.env = {**self.env, name: value}

    def drop(self, name: str) -> None:
        """Forget a variable: what it holds is not known."""
        self.env = {key: value for key, value in self.env.items() if key != name}

    def write(self, text: str | None) -> None:
        """Add to standard output."""
        if text is None or self.out is None:
            self.out = None
        elif text:
            self.out += text
            if len(self.out) > MAX_OUTPUT:
                self.out = None


def merge(worlds: list[World]) -> list[World]:
    """The worlds that differ; more than MAX_WORLDS are joined into one (see `join`)."""
    if len(worlds) < 2:
        return worlds
    kept: list[World] = []
    for world in worlds:
        if not any(world.same(other) for other in kept):
            kept.append(world)
    if len(kept) <= MAX_WORLDS:
        return kept
    running = [world for world in kept if not world.stop]
    stopped = [world for world in kept if world.stop]
    return [join(group) for group in (running, stopped) if group]


def join(worlds: list[World]) -> World:
    """One world that claims no more than all of `worlds`: a device is there only when it is in
    each of them, a variable known only when it is the same in each."""
    first = worlds[0].copy()
    rest = worlds[1:]
    first.state = meet([world.state for world in worlds])
    first.env = {
        name: value if all(other.env.get(name, first) == value for other in rest) else None
        for name, value in first.env.items()
        if all(name in other.env for other in rest)
    }
    for name in ("status", "out", "stdin"):
        if any(getattr(other, name) != getattr(first, name) for other in rest):
            setattr(first, name, None)
    return first


def meet(states: list[SystemState]) -> SystemState:
    """The first state, without the devices, mounts and swaps that are not in every state."""

    def common(items: Iterable[Any], key: Any, all_items: list[Iterable[Any]]) -> tuple[Any, ...]:
        keys = [{key(item) for item in group} for group in all_items]
        return tuple(item for item in items if all(key(item) in group for group in keys))

    first = states[0]
    shared = set.intersection(*(set(state.devices()) for state in states))
    disks = tuple(
        replace(
            disk,
            partitions=tuple(
                part for part in disk.partitions if disk.partition_path(part.number) in shared
            ),
        )
        for disk in first.disks
        if disk.path in shared
    )
    return replace(
        first,
        disks=disks,
        mappings=tuple(mapping for mapping in first.mappings if mapping.path in shared),
        mounts=common(
            first.mounts, lambda m: (m.source, m.target), [state.mounts for state in states]
        ),
        swaps=tuple(swap for swap in first.swaps if all(swap in s.swaps for s in states)),
        links=common(first.links, lambda link: link, [state.links for state in states]),
    )
