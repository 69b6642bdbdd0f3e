"""Whether two machines are the same as far as a person would care.

same(run_command("mkfs -t ext4 /dev/sda1", state).state, run_command("mkfs.ext4 -F …", state).state)

Left aside: UUIDs (drawn at random), content of partitions that are gone, names and labels that
nobody asked for (PARTLABEL, a file system's label), the order of mounts with different targets,
mount options, and less than 1 MiB in a size (tools round a partition's end differently). Everything
else counts: which partitions there are, where they begin, their types and flags, their file
systems, mounts, users, files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from llmkit.installer.interpret import interpret
from llmkit.installer.interpret_types import SimpleCommand
from llmkit.installer.shell import parse
from llmkit.installer.shell_ast import ShellSyntaxError
from llmkit.installer.state import SystemState

_SLACK = 1 << 20  # bytes
_NOISE = {
    "Signature": {"uuid", "label"},
    "Partition": {"partuuid", "name"},
    "Disk": {"stale"},
    "Mount": {"options"},
}
_SIZES = {("Partition", "size"), ("Mapping", "size"), ("VolumeGroup", "size")}


def same(one: SystemState, other: SystemState) -> bool:
    """Whether the machines are equal but for what is noise."""
    return one == other or next(differences(one, other), None) is None


def differences(one: SystemState, other: SystemState) -> Iterator[str]:
    """What differs, each as `place: value of one ≠ value of other`."""
    yield from _differences(one, other, "")


def _differences(one: Any, other: Any, place: str) -> Iterator[str]:
    if type(one) is not type(other):
        yield f"{place}: {_short(one)} ≠ {_short(other)}"
        return
    if is_dataclass(one):
        kind = type(one).__name__
        for field in fields(one):
            if field.name in _NOISE.get(kind, ()):
                continue
            first, second = getattr(one, field.name), getattr(other, field.name)
            where = f"{place}.{field.name}" if place else field.name
            if (kind, field.name) in _SIZES and abs(first - second) < _SLACK:
                continue
            if field.name == "mounts":  # a stable sort keeps the order of those at one target
                first, second = (
                    tuple(sorted(mounts, key=lambda mount: mount.target))
                    for mounts in (first, second)
                )
            yield from _differences(first, second, where)
    elif isinstance(one, tuple):
        for number in range(max(len(one), len(other))):
            where = f"{place}[{_name(one, other, number)}]"
            if number >= len(one):
                yield f"{where}: missing ≠ {_short(other[number])}"
            elif number >= len(other):
                yield f"{where}: {_short(one[number])} ≠ missing"
            else:
                yield from _differences(one[number], other[number], where)
    elif one != other:
        yield f"{place}: {_short(one)} ≠ {_short(other)}"


def _name(one: tuple[Any, ...], other: tuple[Any, ...], number: int) -> str:
    item = one[number] if number < len(one) else other[number]
    return str(getattr(item, "name", "") or getattr(item, "number", "") or number)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else text[:159] + "…"


def programs(command: str, state: SystemState) -> tuple[str, ...]:
    """The programs that a line runs, sorted, each once; none when it does not parse."""
    seen = _Seen()
    try:
        interpret(parse(command), state, seen)
    except ShellSyntaxError:
        return ()
    return tuple(sorted(seen.names))


class _Seen:
    def __init__(self) -> None:
        self.names: set[str] = set()

    def command(self, command: SimpleCommand, states: tuple[SystemState, ...]) -> None:
        if command.argv and command.argv[0].text:
            self.names.add(command.argv[0].text.rpartition("/")[2])
