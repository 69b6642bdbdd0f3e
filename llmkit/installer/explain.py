"""What a shell line would do to a machine, in plain words, before it is run.

    >>> explain("sgdisk -Z /dev/nvme0n1", state).lines
    ('erases everything on nvme0n1 (1 TB Samsung 990 PRO)',)

The sentences come from the events of the effects, so from the path that bash would take. Which
disks lose data (`destroys`) is asked twice: of these events, and of the guard, which looks at every
static path; a disk that either names has to be confirmed. Sentences are printable and free of what a
terminal could act on, whatever a disk calls itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from llmkit.domain import Explanation
from llmkit.installer import explain_words as words
from llmkit.installer.failures import Event
from llmkit.installer.guard import Verdict, check_command
from llmkit.installer.guard_commands import Inspector
from llmkit.installer.guard_danger import LEVELS, danger_of, write_danger
from llmkit.installer.guard_devices import Call
from llmkit.installer.guard_explorer import explore
from llmkit.installer.guard_names import BARE, Presence, disks_of, mentions
from llmkit.installer.interpret_types import Opened, Outcome, SimpleCommand
from llmkit.installer.run import run_command
from llmkit.installer.shell import ShellSyntaxError, parse
from llmkit.installer.state import Disk, SystemState

_WRITERS = frozenset(  # whose words are files that they change
    "chattr chmod chown cp dd install ln mkdir mv rm rmdir rsync sed shred tee touch truncate"
    " unlink".split()
)
_CHANGE, _DESTRUCTIVE = LEVELS.index("change"), LEVELS.index("destructive")


def explain(command: str | Outcome, state: SystemState, text: str = "") -> Explanation:
    """Explain a line, or the Outcome of one that `run_command(text, state)` gave. Never raises.

    `state` is the machine before it. With an Outcome, `text` is its line: without it the guard is
    not asked, and `danger` follows from what the outcome did.
    """
    if isinstance(command, str):
        text = command
    try:
        return _explained(command, state, text)
    except Exception:  # as the guard does: a bug here must not let a line look harmless
        named = tuple(disk.name for disk in state.disks)
        lines = ("refused: what this line does could not be worked out",)
        return Explanation(lines, "destructive", named, True, False)


def _explained(command: str | Outcome, state: SystemState, text: str) -> Explanation:
    """`explain` without its safety net."""
    if isinstance(command, str):
        verdict, outcome = check_command(text, state), run_command(text, state)
    else:
        outcome = command
        verdict = check_command(text, state) if text else _verdict(outcome)
    lost = _lost(outcome.events, state, outcome.state)
    if LEVELS.index(verdict.danger) >= _DESTRUCTIVE:
        lost |= _threatened(text, state)
    destroys = tuple(disk.name for disk in state.disks if disk.path in lost)
    needed = LEVELS.index(verdict.danger) >= _DESTRUCTIVE or bool(destroys)
    lines = tuple(_lines(outcome, verdict, state, destroys))
    return Explanation(lines, verdict.danger, destroys, needed, verdict.allowed)


def _verdict(outcome: Outcome) -> Verdict:
    """What can be said of a line that is not known."""
    kinds = {event.kind for event in outcome.events}
    if kinds & {"erase", "unpartition", "remove", "format"} or outcome.opaque:
        return Verdict(True, (), "", "destructive")
    return Verdict(True, (), "", "read" if kinds <= {"read"} else "change")


# Which disks lose something


def _lost(events: Iterable[Event], before: SystemState, after: SystemState) -> set[str]:
    """Paths of the disks of `before` on which the events lose something."""
    found: set[str] = set()
    for event in events:
        if event.kind in ("erase", "unpartition"):
            found |= _disks(event.device, before, after)
        elif event.kind == "remove" and event.detail.startswith("/"):
            mount = words.mount_of(event.detail, before) or words.mount_of(event.detail, after)
            if mount:
                found |= _disks(mount, before, after)
    return found & {disk.path for disk in before.disks}


def _disks(node: str, *states: SystemState) -> set[str]:
    return set().union(*(disks_of(state, node) for state in states)) if node else set()


def _threatened(text: str, state: SystemState) -> set[str]:
    """Paths of the disks that a destructive command names on any static path of the line."""
    found = _Threats()
    try:
        explore(parse(text), state, found)
    except ShellSyntaxError:
        return set()  # refused, and nothing of it can run
    except RecursionError:
        return {disk.path for disk in state.disks}
    return found.disks & {disk.path for disk in state.disks}


def touched(text: str, state: SystemState) -> set[str]:
    """Kernel names of the disks that a line has to do with, on any static path, where it does more
    than look; those that it only reads within such a command included. All, when that cannot be
    told."""
    everything = {disk.name for disk in state.disks}
    found = _Threats(_CHANGE)
    try:
        explore(parse(text), state, found)
        outcome = run_command(text, state)
    except (ShellSyntaxError, RecursionError):
        return everything
    verdict = check_command(text, state)
    if verdict.danger == "read" and verdict.allowed:
        return set()
    if outcome.opaque:
        return everything
    paths = set(found.disks)
    for event in outcome.events:
        if event.kind != "read":
            paths |= _disks(event.device, state, outcome.state)
            if event.detail.startswith("/"):
                mount = words.mount_of(event.detail, state)
                paths |= _disks(mount or "", state, outcome.state)
    return {path.removeprefix("/dev/") for path in paths} & everything


class _Threats(Inspector):
    """The guard's look at every command, which also notes the disks of those that are so dangerous."""

    def __init__(self, level: int = _DESTRUCTIVE) -> None:
        super().__init__()
        self.disks: set[str] = set()
        self._level = level

    def _redirect(
        self, redirect: Opened, command: SimpleCommand, here: list[Presence], roots: tuple[str, ...]
    ) -> None:
        super()._redirect(redirect, command, here, roots)
        path = redirect.target.text if redirect.target else None
        if path and redirect.writes:
            for place in here:
                if write_danger(path, place, roots).rank >= self._level:
                    self._note(path, place, roots)

    def _danger(self, call: Call, command: SimpleCommand, here: Iterable[Presence]) -> None:
        here = list(here)
        super()._danger(call, command, here)
        for place in here:
            if danger_of(call, place, command.root).rank >= self._level:
                if self._level == _DESTRUCTIVE or call.program in _WRITERS:
                    for word in _written(call):
                        self._note(word, place, call.roots)
                if self._level < _DESTRUCTIVE:  # devices that are read count, too
                    for device in filter(None, call.args):
                        self._note(device, place, call.roots, files=False)

    def _note(
        self, word: str, place: Presence, roots: tuple[str, ...], *, files: bool = True
    ) -> None:
        names = [name for mention in mentions(word, roots) for name in mention.names]
        if not names and BARE.fullmatch(word):
            names = [f"/dev/{word}"]
        nodes = [node for node in map(place.resolve, names) if node]
        if not nodes and files and word.startswith("/"):
            source = words.mount_of(word, place.state)
            nodes = [source] if source else []
        for node in nodes:
            self.disks |= disks_of(place.state, node)


def _written(call: Call) -> list[str]:
    """The words of a destructive command that may name what it destroys."""
    known = [word for word in call.args if word is not None]
    if call.program == "dd":
        return [word[3:] for word in known if word.startswith("of=")]
    if call.program in ("cp", "install", "rsync"):
        operands = [word for word in known if not word.startswith("-")]
        return operands[-1:]
    return known


# The sentences


def _lines(
    outcome: Outcome, verdict: Verdict, before: SystemState, destroys: tuple[str, ...]
) -> Iterator[str]:
    said = False
    if not verdict.allowed:
        yield words.safe(f"refused: {verdict.reason}")
        said = True
    elif verdict.danger == "forbidden":
        yield words.safe(f"not to be run: {verdict.reason}")
        said = True
    told = list(words.clauses(outcome.events, before, outcome.state))
    yield from map(words.safe, told)
    named = " ".join(told)
    left = [disk for disk in map(before.disk, destroys) if disk and not _named(disk, named)]
    if left:
        yield words.safe(f"may destroy data on {words.listed([words.disk(d) for d in left])}")
    for command in outcome.opaque[:3]:
        yield words.safe(f"runs what cannot be known beforehand: {command}")
    for program in outcome.unmodelled[:5]:
        yield words.safe(f"runs {program}, whose effects are not known here")
    for command in outcome.uncertain[:3]:
        yield words.safe(f"goes on as if this succeeds: {command}")
    if outcome.error:
        yield words.safe(f"then fails: {outcome.error}" if told else f"fails: {outcome.error}")
    elif not (said or told or left or outcome.opaque or outcome.unmodelled):
        quiet = verdict.danger == "read"
        yield "only looks, and changes nothing" if quiet else "changes nothing that is known here"


def _named(disk: Disk, text: str) -> bool:
    names = [disk.name, *(disk.partition_path(p.number)[5:] for p in disk.partitions)]
    return re.search(rf"\b(?:{'|'.join(map(re.escape, names))})\b", text) is not None
