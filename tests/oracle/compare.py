"""What differs between the model's state and what the real tools left on the disks."""

from __future__ import annotations

import re
from typing import Any

from llmkit.installer.state import Disk, Partition, SystemState

_ATTRIBUTES = {"RequiredPartition": "hidden", "NoBlockIOProtocol": "no_block_io",
               "LegacyBIOSBootable": "legacy_boot"}  # fmt: skip


_FATS = 32 << 20  # bytes that the tables of the largest FAT on these disks may take


def differences(state: SystemState, seen: dict[str, Any]) -> list[str]:
    """One line a difference, model first."""
    found = []
    for disk in state.disks:
        found.extend(_disk(disk, seen["disks"][disk.name]))
    mounts = [(m.source, m.target, m.fstype) for m in state.mounts if m.source.startswith("/dev/")]
    real = [tuple(row) for row in seen["mounts"]]
    if mounts != real:
        found.append(f"mounts: {mounts} != {real}")
    if list(state.swaps) != seen["swaps"]:
        found.append(f"swaps: {state.swaps} != {seen['swaps']}")
    return found


def _disk(disk: Disk, seen: dict[str, Any]) -> list[str]:
    found = []
    if disk.table != seen["table"]:
        found.append(f"{disk.name}: table {disk.table} != {seen['table']}")
    whole = _signature(disk.signature)
    if whole != _pair(seen["signature"]):
        found.append(f"{disk.name}: {whole} != {seen['signature']}")
    real = {int(number): row for number, row in seen["partitions"].items()}
    numbers = [part.number for part in disk.partitions]
    if numbers != sorted(real):
        return [*found, f"{disk.name}: partitions {numbers} != {sorted(real)}"]
    for part in disk.partitions:
        found.extend(_partition(disk, part, real[part.number]))
    kernel = sorted(int(number) for number in seen["kernel"])
    if kernel != numbers:
        found.append(f"{disk.name}: nodes {numbers} != {kernel}")
    return found


def _partition(disk: Disk, part: Partition, seen: dict[str, Any]) -> list[str]:
    kind = seen["type"].zfill(2) if disk.table == "msdos" else seen["type"]
    pairs = (
        ("start", part.start // disk.sector, seen["start"] // disk.sector),
        ("size", part.size // disk.sector, seen["size"] // disk.sector),
        ("type", part.type, kind),
        ("name", part.name, seen["name"]),
        ("flags", set(part.flags), _flags(seen)),
        ("content", _signature(part.signature), _pair(seen["signature"])),
    )
    if kind == "ee":  # sfdisk -A marks the protective entry of a GPT, which nothing reads
        pairs = tuple(pair for pair in pairs if pair[0] != "flags")
    if part.size < _FATS and seen["signature"] and tuple(seen["signature"][:2]) == ("vfat", ""):
        # Left of a larger FAT: its label lies behind tables that reach over this partition's end.
        pairs = tuple(pair for pair in pairs if pair[0] != "content" or _kind(pair[1]) != "vfat")
    path = disk.partition_path(part.number)
    return [f"{path}: {what} {mine} != {theirs}" for what, mine, theirs in pairs if mine != theirs]


def _flags(seen: dict[str, Any]) -> set[str]:
    found = {"boot"} if seen["bootable"] else set()
    for word in seen["attrs"].replace(",", " ").split():
        match = re.fullmatch(r"(?:GUID:)?(\d+)", word)
        if match:
            found.add("no_automount" if match[1] == "63" else f"bit{match[1]}")
        else:
            found.add(_ATTRIBUTES.get(word, word))
    return found


def _kind(content: Any) -> str | None:
    return None if content is None else content[0]


def _signature(signature: Any) -> tuple[str, str] | None:
    return None if signature is None else (signature.kind, signature.label)


def _pair(value: Any) -> tuple[str, str] | None:
    return None if value is None else (value[0], value[1])
