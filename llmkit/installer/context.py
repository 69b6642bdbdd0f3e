"""The system context: a machine as the text that the model reads, and that text read back.

    >>> print(SystemState.from_dict({"disks": [{"name": "sda", "size": 500107862016}]}).to_context())

`to_context` prints everything a person needs in order to choose; `from_context` gives back what the
text holds: sizes are rounded, labels and table types are not in it. For text that `to_context`
wrote, reading and printing again gives the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llmkit.errors import DomainError
from llmkit.installer import size as sizes
from llmkit.installer import state as model
from llmkit.installer.frozen import replace

LIVE_MOUNTS = ("/run/archiso/bootmnt", "/run/live/medium", "/cdrom", "/run/initramfs/live")
_LIVE_NAMES = {"archiso", "debian", "ubuntu", "localhost", "localhost-live", "live", "kali",
               "manjaro", "endeavouros", "mint", "fedora"}  # fmt: skip
_MIB = 1 << 20
_GPT_FIRST = 17408  # 34 sectors of 512 bytes: the first usable byte
_GPT_TAIL = 16896  # 33 sectors: the backup table


def to_context(state: model.SystemState) -> str:
    """The text about this machine, in the form that DESIGN.md fixes; no newline at its end."""
    target = state.target_tree()
    live = state.live
    hostname = (target.hostname if target else "") or live.hostname
    timezone = (target.timezone if target else "") or live.timezone
    users = (target.users if target else ()) or live.users
    places: dict[str, list[str]] = {}
    mounts: list[str] = []
    for mount in state.mounts:
        if mount.source.startswith("/dev/"):
            places.setdefault(mount.source, []).append(mount.target)
            mounts.append(f"\n- {mount.source} on {mount.target}")
    for device in state.swaps:
        places.setdefault(device, []).append("[SWAP]")
    above: dict[str, list[model.Mapping]] = {}
    for mapping in state.mappings:
        above.setdefault(mapping.parents[0] if mapping.parents else "", []).append(mapping)
    lines = [
        "## Current System State\n",
        f"- Boot mode: {'UEFI' if state.boot_mode == 'uefi' else 'Legacy BIOS'}",
        f"- Network: {'Connected' if state.network else 'Not connected'}",
        f"- Hostname: {hostname or 'not set'}",
        f"- Timezone: {timezone or 'not set'}\n",
        "## Available Disks",
    ]
    if state.disks or above.get(""):
        lines[-1] += "\n"
    for disk in state.disks:
        path = disk.path
        model_name = f" ({disk.model})" if disk.model else ""
        lines.append(
            f"- {path}: {sizes.human(disk.size)}{model_name}"
            f"{_use(disk.signature, places.get(path))}"
        )
        if above:
            _mappings(path, above, places, "  ", lines)
        for part in disk.partitions:
            path = disk.partition_path(part.number)
            lines.append(
                f"  - {path}: {sizes.human(part.size)}{_use(part.signature, places.get(path))}"
            )
            if above:
                _mappings(path, above, places, "    ", lines)
    if above:
        _mappings("", above, places, "", lines)
    text = "\n".join(lines)
    if mounts:
        text += "\n\n## Current Mounts" + "".join(mounts)
    if users:
        text += "\n\n## Existing Users: " + ", ".join([user.name for user in users])
    return text


def _use(signature: model.Signature | None, targets: list[str] | None) -> str:
    text = f" [{signature.kind}]" if signature else ""
    return f"{text} mounted at {', '.join(targets)}" if targets else text


def _mappings(
    parent: str,
    above: dict[str, list[model.Mapping]],
    places: dict[str, list[str]],
    indent: str,
    lines: list[str],
) -> None:
    """The lines of what lies on top of `parent`; a volume group on two disks is under the first."""
    for mapping in above.get(parent, ()):
        path = mapping.path
        use = _use(mapping.signature, places.get(path))
        lines.append(f"{indent}- {path}: {sizes.human(mapping.size)}{use}")
        _mappings(path, above, places, indent + "  ", lines)


_DEVICE = re.compile(
    r"( *)- (/dev/\S+?): (\d+(?:\.\d+)?[BKMGTPE]?i?B?|remaining)"
    r"(?: \((.*)\))?(?: \[([^\]\s]+)\])?(?: mounted at (.+))?"
)
_MOUNT = re.compile(r"- (\S+) on (/.*)")
_FACT = re.compile(r"- (Boot mode|Network|Hostname|Timezone): (.+)")
_NUMBER = re.compile(r"(\d+)$")


@dataclass(slots=True)
class _Line:
    """One device line of the text."""

    depth: int
    path: str
    size: str
    model: str
    kind: str
    targets: tuple[str, ...]

    @property
    def signature(self) -> Any:  # model.Signature | None; the name is the property's here
        return model.Signature(self.kind) if self.kind else None


def from_context(text: str) -> model.SystemState:
    """Read a system context. It holds no more than the text says: rounded sizes, no labels.

    Tables are gpt when the machine boots with UEFI and msdos with BIOS (gpt too, where partition
    numbers above 4 have no extended partition to lie in); partitions follow one another from 1 MiB.

    Raises:
        DomainError: a line is of no known form (names the line).
    """
    facts: dict[str, str] = {}
    devices: list[_Line] = []
    mounts: list[tuple[str, str]] = []
    users: tuple[str, ...] = ()
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.rstrip()
        if not line:
            continue
        if line.startswith("## "):
            section, _, names = line[3:].partition(":")
            if section == "Existing Users":
                users = tuple(name.strip() for name in names.split(",") if name.strip())
            elif section not in ("Current System State", "Available Disks", "Current Mounts"):
                raise DomainError(f"system context, line {number}: unknown section {line!r}")
        elif section == "Current System State" and (found := _FACT.fullmatch(line)):
            facts[found[1]] = found[2]
        elif section == "Available Disks" and (found := _DEVICE.fullmatch(line)):
            devices.append(
                _Line(
                    len(found[1]) // 2, found[2], found[3], found[4] or "", found[5] or "",
                    tuple(found[6].split(", ")) if found[6] else (),
                )
            )  # fmt: skip
        elif section == "Current Mounts" and (found := _MOUNT.fullmatch(line)):
            mounts.append((found[1], found[2]))
        else:
            raise DomainError(f"system context, line {number}: cannot read {line!r}")
    return _build(facts, devices, mounts, users, text)


def _build(
    facts: dict[str, str],
    devices: list[_Line],
    mounts: list[tuple[str, str]],
    users: tuple[str, ...],
    text: str,
) -> model.SystemState:
    boot = facts.get("Boot mode", "UEFI")
    if boot not in ("UEFI", "Legacy BIOS"):
        raise DomainError(f"system context: boot mode {boot!r} is neither UEFI nor Legacy BIOS")
    network = facts.get("Network", "Connected")
    if network not in ("Connected", "Not connected"):
        raise DomainError(f"system context: network {network!r}: Connected or Not connected")
    if "## " not in text:
        raise DomainError("system context: no section such as '## Available Disks'")
    disks, mappings = _devices(devices, uefi=boot == "UEFI")
    swaps = []
    for line in devices:  # what a device line says and the list of mounts does not
        for target in line.targets:
            if target == "[SWAP]":
                swaps.append(line.path)
            elif (line.path, target) not in mounts:
                mounts.append((line.path, target))
    kinds = {line.path: line.kind for line in devices}
    mounted = {target for _, target in mounts}
    hostname = facts.get("Hostname", "")
    timezone = facts.get("Timezone", "")
    hostname = "" if hostname == "not set" else hostname
    timezone = "" if timezone == "not set" else timezone
    accounts = tuple(model.User(name, uid) for uid, name in enumerate(users, 1000))
    live = model.Tree(known=False, system=True, hostname=hostname, timezone=timezone)
    trees: tuple[tuple[str, model.Tree], ...] = ()
    root = next((source for source, target in reversed(mounts) if target == "/mnt"), None)
    if root is None:
        live = model.Tree(
            known=False, system=True, hostname=hostname, timezone=timezone, users=accounts
        )
    else:  # the text shows the target's facts once it has them
        own_name = hostname not in _LIVE_NAMES
        tree = model.Tree(
            known=False, hostname=hostname if own_name else "", timezone=timezone, users=accounts
        )
        live = model.SystemState().live  # its own name is not in the text
        live = live if own_name else replace(live, hostname=hostname)
        if tree != model.Tree(known=False):
            trees = ((root, tree),)
    return model.SystemState(
        disks=tuple(replace(disk, live=True) if _is_live(disk, mounts) else disk for disk in disks),
        mappings=tuple(mappings),
        groups=_groups(mappings),
        mounts=tuple(
            model.Mount(source, target, kinds.get(source, "")) for source, target in mounts
        ),
        swaps=tuple(sorted(swaps)),
        boot_mode="uefi" if boot == "UEFI" else "bios",
        network=network == "Connected",
        live=live,
        trees=trees if mounted else (),
    )


def _is_live(disk: model.Disk, mounts: Iterable[tuple[str, str]]) -> bool:
    paths = {disk.path, *(disk.partition_path(part.number) for part in disk.partitions)}
    return any(source in paths and target in LIVE_MOUNTS for source, target in mounts)


def _devices(lines: list[_Line], *, uefi: bool) -> tuple[list[model.Disk], list[model.Mapping]]:
    """Disks with their partitions, and mappings with their parents, from the indentation."""
    stack: list[_Line] = []
    rows: list[tuple[_Line, list[_Line]]] = []
    mappings: list[model.Mapping] = []
    for line in lines:
        del stack[line.depth :]
        if len(stack) < line.depth:
            raise DomainError(f"system context: {line.path} is indented below nothing")
        name = line.path.removeprefix("/dev/")
        mapped = name.startswith("mapper/") or re.fullmatch(r"md\d+", name) is not None
        if mapped:
            name = name.removeprefix("mapper/")
            below = (stack[-1].path,) if stack else ()
            kind = "raid" if line.path == f"/dev/{name}" else "crypt"
            if below and stack[-1].kind == "LVM2_member":
                kind = "lvm"
            mappings.append(model.Mapping(name, kind, below, _size(line.size), line.signature))
        elif line.depth == 0:
            rows.append((line, []))
        elif line.depth == 1 and rows:
            if _NUMBER.search(name) is None or not line.path.startswith(rows[-1][0].path):
                raise DomainError(f"system context: {line.path} is no partition of its disk")
            rows[-1][1].append(line)
        else:
            raise DomainError(f"system context: {line.path} is indented too far")
        stack.append(line)
    return [_disk(line, parts, uefi=uefi) for line, parts in rows], mappings


def _groups(mappings: list[model.Mapping]) -> tuple[model.VolumeGroup, ...]:
    groups: dict[str, model.VolumeGroup] = {}
    for mapping in mappings:
        if mapping.kind != "lvm":
            continue
        name = mapping.name.replace("--", "\0").partition("-")[0].replace("\0", "-")
        old = groups.get(name, model.VolumeGroup(name, (), 0))
        volumes = tuple(dict.fromkeys((*old.volumes, *mapping.parents)))
        groups[name] = model.VolumeGroup(name, volumes, old.size + mapping.size)
    return tuple(groups[name] for name in sorted(groups))


def _size(text: str, edge: int = 0) -> int:
    """Bytes of a printed size: the nominal one, or with edge -1/+1 the smallest/largest number of
    bytes that is printed so."""
    if text == "remaining":
        return 0
    value = sizes.parse(text)
    if sizes.human(value) != text and sizes.human(value - 1) == text:
        value -= 1  # lsblk prints 1048575 as 1024K
    if not edge or sizes.human(value) != text:
        return value
    near, far = value, value + edge * max(value // 8, 1024)
    far = max(far, 0)
    while abs(near - far) > 1:  # near prints as text, far does not
        middle = (near + far) // 2
        if sizes.human(middle) == text:
            near = middle
        else:
            far = middle
    return near


def _disk(line: _Line, parts: list[_Line], *, uefi: bool) -> model.Disk:
    name = line.path.removeprefix("/dev/")
    if line.size == "remaining":
        raise DomainError(f"system context: {line.path} has no size")
    numbers = [int(_NUMBER.search(part.path)[1]) for part in parts]  # type: ignore[index]
    if len(set(numbers)) != len(numbers):
        raise DomainError(f"system context: a partition of {line.path} is there twice")
    table = "gpt" if uefi else "msdos"
    outer = None
    if table == "msdos" and any(number > 4 for number in numbers):
        rows = list(zip(numbers, parts, strict=True))
        held = sum(_size(part.size, -1) + _MIB for number, part in rows if number > 4)
        free = [
            number
            for number, part in rows
            if number <= 4 and not part.kind and not part.targets
            and (part.size == "remaining" or _size(part.size, 1) >= held)
        ]  # fmt: skip
        outer = free[-1] if free else None
        table = "msdos" if outer else "gpt"
    transports = {"nvme": "nvme", "vd": "virtio", "mmcblk": "mmc"}
    transport = next((t for p, t in transports.items() if name.startswith(p)), "")
    size, placed = _lay(line.size, list(zip(numbers, parts, strict=True)), table, outer)
    return model.Disk(
        name=name,
        size=size,
        model=line.model,
        transport=transport,
        table=table if parts else None,
        partitions=placed,
        signature=line.signature,
    )


def _lay(
    disk_size: str, parts: list[tuple[int, _Line]], table: str, outer: int | None
) -> tuple[int, tuple[model.Partition, ...]]:
    """Place partitions so that they fit: rounded sizes may add up to more than the disk. First as
    printed; then with the smallest sizes that print so on the largest disk that prints so; last
    without alignment, cutting off what still does not fit."""
    for edge, align, first in ((0, _MIB, _MIB), (-1, _MIB, _MIB), (-1, 512, _GPT_FIRST)):
        size = _size(disk_size, 1 if edge else 0)
        last = size - (_GPT_TAIL if table == "gpt" else 0)
        placed: list[model.Partition] = []
        cursor, inner, fits = first, 0, True
        tail = sum(
            max(_size(part.size, edge), 0) + align for n, part in parts if n <= 4 or not outer
        )
        for number, part in sorted(parts, key=lambda item: item[0]):
            logical = outer is not None and number > 4
            start = inner if logical else cursor
            length = _size(part.size, edge)
            if number == outer:  # it must hold the logical ones
                inside = sum(_size(p.size, edge) + align for n, p in parts if n > 4)
                length = min(max(length, inside), max(_size(part.size, 1), length))
            tail -= 0 if logical else length + align
            limit = last
            if logical:
                limit = next(p.end for p in placed if p.role == "extended")
            if part.size == "remaining":
                length = max(limit - start - (0 if logical else max(tail, 0)), 0) // 512 * 512
            if start + length > limit:
                fits = False
                start = min(start, limit)
                length = max(limit - start, 0)
            role = "logical" if logical else "extended" if number == outer else "primary"
            kind = "5" if role == "extended" else "82" if part.kind == "swap" else "83"
            placed.append(
                model.Partition(
                    number, start, length, _type(table, part, kind), role, signature=part.signature
                )
            )
            following = -(-(start + length) // align) * align
            if logical:
                inner = following + align
            else:
                cursor = following
                inner = start + align if role == "extended" else inner
        if fits:
            break
    return size, tuple(placed)


_GPT_TYPES = {
    "vfat": "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
    "swap": "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
    "LVM2_member": "e6d6d379-f507-44c2-a23c-238f2a3df928",
}
_GPT_LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"


def _type(table: str, part: _Line, kind: str) -> str:
    """A plausible partition type: the text does not say it."""
    return _GPT_TYPES.get(part.kind, _GPT_LINUX) if table == "gpt" else kind
