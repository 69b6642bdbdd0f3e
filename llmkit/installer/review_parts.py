"""Which partitions are for what: by type, file system, label, size and order.

    of_kind("windows", state, parts)     # {"/dev/sda2"}

What review_described reads in a message is looked up here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from llmkit.installer.effects.gpt import guid
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_refer import EFI, candidates, efi
from llmkit.installer.state import Disk, Partition, SystemState

# By node: the path of its disk, its place there, and what it is.
Parts = dict[str, tuple[str, int, Partition]]

SWAP = (guid("8200"), "82")
_HOME = guid("8302")
_NO_DATA = frozenset((*EFI, *SWAP, guid("ef02")))  # and BIOS boot: neither the system nor homes
_WINDOWS = frozenset({"ntfs", "BitLocker"})
_LINUX = frozenset("ext2 ext3 ext4 btrfs xfs f2fs crypto_LUKS LVM2_member".split())
_SMALL = 2 << 30  # bytes: for the firmware, or /boot
DISTROS = (
    "linux ubuntu debian fedora mint arch manjaro opensuse suse kali centos gentoo nixos endeavouros zorin "
    "elementary"
).replace(" ", "|")
PART = r"(?:part(?:ition)?|volume)s?"


def real(disk: Disk) -> list[Partition]:
    """A disk's partitions that can hold something: not the extended one of an msdos table."""
    return [part for part in disk.partitions if part.role != "extended"]


def below(nodes: Iterable[str], state: SystemState) -> set[str]:
    """These nodes, and for what is mapped (an open container, a logical volume) the partitions below."""
    parents = {each.path: each.parents for each in (*state.mappings, *state.closed)}
    found: set[str] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node in parents:
            left += parents.pop(node)
        else:
            found.add(node)
    return found


def every(disks: set[str], state: SystemState) -> set[str]:
    """The partitions of these disks."""
    return {
        disk.partition_path(part.number)
        for disk in candidates(state)
        if disk.path in disks
        for part in real(disk)
    }


def at(place: int, base: set[str], parts: Parts, narrowed: bool) -> set[str]:
    """The partition at a place: of those that are left (`narrowed`), or of each disk."""
    found: set[str] = set()
    for path in {disk for disk, _, _ in parts.values()}:
        here = [node for node, (disk, _, _) in parts.items() if disk == path]
        if narrowed:
            here = [node for node in here if node in base]
        if -len(here) <= place < len(here):
            found.add(here[place])
    return found & base


def extreme(base: set[str], small: bool, parts: Parts) -> set[str]:
    """The smallest or largest on each disk; what is for the firmware is nobody's smaller partition."""
    found: set[str] = set()
    for path in {disk for disk, _, _ in parts.values()}:
        sizes = {node: parts[node][2].size for node in base if parts[node][0] == path}
        sizes = {node: size for node, size in sizes.items() if size > _SMALL} or sizes
        if sizes:
            most = (min if small else max)(sizes.values())
            found |= {node for node, size in sizes.items() if size == most}
    return found


def labelled(chunk: str, parts: Parts) -> set[str]:
    """The partitions whose label a piece quotes, or calls one by."""
    found = set()
    for node, (_, _, part) in parts.items():
        held = part.signature
        label = re.escape(held.label.lower()) if held and len(held.label) > 2 else ""
        if label and re.search(rf"[\"'“]{label}[\"'”]|\b{label} (?:one|{PART})\b", chunk):
            found.add(node)
    return found


def of_size(number: str, unit: str, parts: Parts) -> set[str]:
    size = float(number.replace(",", "."))
    sizes = [size * base ** ("mgt".index(unit) + 2) for base in (1000, 1024)]
    return {
        node
        for node, (_, _, part) in parts.items()
        if any(abs(each - part.size) <= 0.03 * part.size for each in sizes)
    }


def of_kind(word: str, state: SystemState, parts: Iterable[str]) -> set[str]:
    held = _held(state)
    if word in ("ntfs", "windows") or word.startswith("win"):
        kinds = _WINDOWS
    elif "fat" in word:
        kinds = frozenset({"vfat"})
    elif word in ("luks", "encrypted"):
        kinds = frozenset({"crypto_LUKS"})
    elif word == "swap":
        swaps = {
            disk.partition_path(p.number)
            for disk in candidates(state)
            for p in real(disk)
            if p.type in SWAP or p.signature and p.signature.kind == "swap"
        }
        return swaps & set(parts)
    elif word in DISTROS.split("|"):
        labelled = {
            disk.partition_path(p.number)
            for disk in candidates(state)
            for p in real(disk)
            if p.signature and word in p.signature.label.lower()
        } & set(parts)
        if labelled:
            return labelled
        kinds = _LINUX
    else:
        kinds = frozenset({word})
    return {node for node in parts if held.get(node) in kinds}


def of_role(role: str, state: SystemState, parts: set[str]) -> set[str]:
    """What may be for this, by type, file system and order."""
    esps = set(efi(state)) & parts
    sizes = {
        disk.partition_path(p.number): (p.size, p.type)
        for disk in candidates(state)
        for p in real(disk)
    }
    held = _held(state)
    strange = _WINDOWS | {"vfat", "swap"}
    data = [
        node
        for node in sorted(parts, key=list(sizes).index)
        if node not in esps and sizes[node][1] not in _NO_DATA and held.get(node, "") not in strange
    ]
    if role in ("root", "system", "os", "main") and not data:
        data = [node for node in sizes if node in parts - esps and held.get(node) != "swap"]
    boots = {node for node in data if sizes[node][0] <= _SMALL and len(data) > 1}
    if role in ("efi", "esp", "uefi"):
        return esps or parts
    if role == "boot":
        return esps | boots or parts
    if role == "recovery":
        return set()
    data = [node for node in data if node not in boots]
    homes = {node for node in data if sizes[node][1] == _HOME}
    roots = [node for node in data if node not in homes]
    disks = {node: min(disks_of(state, node), default="") for node in data}
    firsts = {next(n for n in roots if disks[n] == path) for path in {disks[n] for n in roots}}
    several = any(sum(disks[n] == path for n in roots) > 2 for path in set(disks.values()))
    if not homes and not several:
        homes = set(roots) - firsts
    if role == "home":
        return homes
    if role == "data":
        return {n for n in parts - esps if held.get(n) not in ("swap", "vfat")} - (
            firsts if homes else set()
        )
    return set(roots) if several else firsts


def of_system(name: str, state: SystemState, disks: set[str]) -> frozenset[str]:
    """All that belongs to a system: of the disks that hold it, all but what is another one's."""
    windows = name.startswith("win")
    its, others = (_WINDOWS, _LINUX | {"swap"}) if windows else (_LINUX, _WINDOWS)
    held = _held(state)
    found: set[str] = set()
    for disk in candidates(state):
        kinds = {node: held.get(node, "") for node in every({disk.path}, state)}
        if disk.path not in disks or name.startswith("other") or not its & set(kinds.values()):
            continue
        # the firmware's partition is for both, and what is not known may be
        shared = {"vfat", "swap", ""} if others & set(kinds.values()) else set()
        mine = {node for node, kind in kinds.items() if kind not in others | shared}
        labelled = of_kind(name, state, mine) if not windows and name != "linux" else mine
        several = sum(kind in its for kind in kinds.values()) > len(labelled) < len(mine)
        found |= labelled if several else mine
    return frozenset(found)


def _held(state: SystemState) -> dict[str, str]:
    """The kinds of file system of all partitions that have one."""
    return {
        disk.partition_path(part.number): part.signature.kind
        for disk in candidates(state)
        for part in real(disk)
        if part.signature
    }


def roles(state: SystemState) -> dict[str, str]:
    """Which partitions are for the system, and which for homes: by type, else by their order."""
    found: dict[str, str] = {}
    for disk in candidates(state):
        for part in disk.partitions:
            if part.type in EFI or part.type in SWAP:
                found[disk.partition_path(part.number)] = "efi" if part.type in EFI else "swap"
        data = [part for part in disk.partitions if part.type not in _NO_DATA]
        homes = [part for part in data if part.type == _HOME]
        roots = [part for part in data if part.type != _HOME]
        if len(homes) == 1 and len(roots) == 1 or len(data) == 2 and not homes:
            first = roots[0]
            rest = homes or [roots[1]]
            found[disk.partition_path(first.number)] = "root"
            found[disk.partition_path(rest[0].number)] = "home"
        elif len(data) == 1 and roots:
            found[disk.partition_path(roots[0].number)] = "root"
    return found
