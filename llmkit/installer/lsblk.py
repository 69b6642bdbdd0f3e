"""Build a SystemState from what lsblk prints as JSON.

    >>> SystemState.from_lsblk(json.loads(subprocess.check_output(["lsblk", "--json", "--bytes"])))

Read, where it is there (lsblk(8), util-linux 2.34 to 2.41): NAME, KNAME, PATH, TYPE, SIZE, MODEL,
TRAN, ROTA, RM, RO, FSTYPE, LABEL, UUID, PARTUUID, PARTLABEL, PARTTYPE, PTTYPE, START, LOG-SEC,
MOUNTPOINTS or MOUNTPOINT, PKNAME, children. Sizes may be bytes or text ("476.9G"), flags may be
booleans or "0"/"1". What lsblk cannot say is not made up: the partition table's kind without
PTTYPE follows from the form of PARTTYPE or PARTUUID (a GUID means gpt), and partitions without
START are laid one after another from 1 MiB, as far as they fit.

Left out: devices of size 0 (empty card readers, unused zram), zram and RAM disks used for swap,
and read-only loop devices (the live system's squashfs images).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping as MappingType
from dataclasses import replace
from typing import Any

from llmkit.errors import DomainError
from llmkit.installer import size as sizes
from llmkit.installer.context import LIVE_MOUNTS
from llmkit.installer.state import (
    Disk,
    Mapping,
    Mount,
    Partition,
    Signature,
    SystemState,
    Tree,
    User,
    VolumeGroup,
)

_MIB = 1 << 20
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"(\d+)$")
_DISK_TYPES = {"disk", "loop", "rom"}
_EXTENDED = {"5", "05", "f", "0f", "85"}  # msdos types that hold logical partitions

Entry = dict[str, Any]


def from_lsblk(
    parsed: MappingType[str, Any],
    links: MappingType[str, str] | None = None,
    *,
    boot_mode: str = "uefi",
    network: bool = True,
    hostname: str = "",
    timezone: str = "",
    users: tuple[User | str, ...] | list[User | str] = (),
    live_mounts: tuple[str, ...] = LIVE_MOUNTS,
) -> SystemState:
    """The machine that `parsed` (lsblk's JSON document) describes.

    Args:
        links: device link → node, as found below /dev/disk/by-* and /dev/VG. Links by UUID,
            label, PARTUUID and PARTLABEL need not be there: they follow from the JSON.
        users: of the running system, as User or as bare names.
        live_mounts: mount points that mark the medium which the system was started from.

    Raises:
        DomainError: the document is not lsblk's (names the field and the device).
    """
    entries = parsed.get("blockdevices") if isinstance(parsed, MappingType) else None
    if not isinstance(entries, list):
        raise DomainError('lsblk: no "blockdevices" list; run lsblk --json')
    disks: list[Disk] = []
    mappings: dict[str, Mapping] = {}
    mounts: list[Mount] = []
    swaps: list[str] = []
    extra_links = dict(links or {})
    for entry in entries:
        kind = _text(entry, "type") or "disk"
        if kind in _DISK_TYPES:
            disk = _disk(entry, kind, live_mounts)
            if disk is None:
                continue
            disks.append(disk)
            nodes = [(entry, disk.path)]
            nodes += [(child, _path(child)) for child in _children(entry) if _is_part(child)]
            below = [
                (grandchild, path)
                for node, path in nodes
                for grandchild in _children(node)
                if not (node is entry and _is_part(grandchild))
            ]
        else:  # lsblk --inverse or a list without parents: the mapping stands on its own
            nodes, below = [], [(entry, "")]
        for node, path in nodes:
            _use(node, path, mounts, swaps)
        _map(below, mappings, mounts, swaps, extra_links)
    if not users:
        accounts: tuple[User, ...] = ()
    else:
        accounts = tuple(
            user if isinstance(user, User) else User(name=user, uid=1000 + index)
            for index, user in enumerate(users)
        )
    # lsblk does not say in which order things were mounted; what is above comes before what is below
    mounts.sort(key=lambda mount: (mount.target.rstrip("/").count("/"), mount.target))
    return SystemState(
        disks=tuple(disks),
        mappings=tuple(mappings.values()),
        groups=_volume_groups(mappings),
        mounts=tuple(mounts),
        swaps=tuple(sorted(set(swaps))),
        boot_mode=boot_mode,
        network=network,
        live=Tree(known=False, system=True, hostname=hostname, timezone=timezone, users=accounts),
        links=tuple(sorted(extra_links.items())),
    )


def _disk(entry: Entry, kind: str, live_mounts: tuple[str, ...]) -> Disk | None:
    """A disk with its partitions, or None when it is left out (see the module's docstring)."""
    name, size = _name(entry), _size(entry)
    read_only = _flag(entry, "ro")
    if size == 0 or name.startswith(("zram", "ram")) or (kind == "loop" and read_only):
        return None
    children = [child for child in _children(entry) if _is_part(child)]
    table = _table(entry, children)
    return Disk(
        name=name,
        size=size,
        model=_text(entry, "model").replace("_", " "),
        transport=_text(entry, "tran") or _transport(name, kind),
        rotational=_flag(entry, "rota"),
        removable=_flag(entry, "rm"),
        read_only=read_only or kind == "rom",
        live=any(target in live_mounts for node in (entry, *children) for target in _targets(node)),
        sector=int(entry.get("log-sec") or 512),
        table=table,
        partitions=_partitions(children, table, size),
        signature=_signature(entry),
    )


def _transport(name: str, kind: str) -> str:
    """The transport that a kernel name implies, for lsblk versions without TRAN."""
    prefixes = {"nvme": "nvme", "vd": "virtio", "mmcblk": "mmc", "loop": "loop", "xvd": "xen"}
    for prefix, transport in prefixes.items():
        if name.startswith(prefix):
            return transport
    return "rom" if kind == "rom" else ""


def _table(entry: Entry, children: list[Entry]) -> str | None:
    """gpt, msdos or None. PTTYPE says it; else the type or UUID of any partition does."""
    stated = _text(entry, "pttype")
    if stated:
        return "msdos" if stated == "dos" else stated
    for child in children:
        for key in ("parttype", "partuuid"):
            text = _text(child, key)
            if text:
                return "gpt" if _GUID.fullmatch(text) else "msdos"
    return "gpt" if children else None


def _partitions(children: list[Entry], table: str | None, disk_size: int) -> tuple[Partition, ...]:
    """The partitions by number; without START, laid one after another from 1 MiB."""
    parts: list[Partition] = []
    cursor = _MIB
    logical_cursor = 0
    for child in children:
        match = _NUMBER.search(_name(child))
        if match is None:
            raise DomainError(f"lsblk: partition {_name(child)!r} has no number in its name")
        number, size = int(match.group(1)), _size(child)
        kind = _text(child, "parttype").lower().removeprefix("0x")
        role = "primary"
        if table == "msdos":
            role = "logical" if number > 4 else "extended" if kind in _EXTENDED else "primary"
        start = child.get("start")
        if start is not None:
            offset = int(start) * 512  # sysfs counts in 512-byte units whatever the sector size
        elif role == "logical":
            offset = logical_cursor
        else:
            offset = cursor
        if start is None and offset + size > disk_size:  # rounded sizes may not add up
            size = max(disk_size - offset, 0)
        part = Partition(
            number=number,
            start=offset,
            size=size,
            type=kind,
            role=role,
            name=_text(child, "partlabel"),
            partuuid=_text(child, "partuuid"),
            signature=_signature(child),
        )
        parts.append(part)
        if role == "extended":
            logical_cursor = offset + _MIB
        if role == "logical":
            logical_cursor = part.end + _MIB
        else:
            cursor = max(cursor, -(-part.end // _MIB) * _MIB)
    return tuple(sorted(parts, key=lambda part: part.number))


def _map(
    below: list[tuple[Entry, str]],
    mappings: dict[str, Mapping],
    mounts: list[Mount],
    swaps: list[str],
    links: dict[str, str],
) -> None:
    """Record mappings, their parents, what lies on top of them, and where they are used."""
    for entry, parent in below:
        name, kind = _name(entry), _text(entry, "type")
        if kind.startswith(("raid", "linear", "md")) or name.startswith("md"):
            kind = "raid"
        known = mappings.get(name)
        parents = (parent,) if parent else ()
        if known is not None:  # a volume group on two disks is listed below each of them
            if parent and parent not in known.parents:
                mappings[name] = replace(known, parents=(*known.parents, parent))
            continue
        mapping = Mapping(name, kind, parents, _size(entry), _signature(entry))
        mappings[name] = mapping
        kname = _text(entry, "kname")
        if kname and kname != name:
            links[f"/dev/{kname}"] = mapping.path
        if kind == "lvm":
            links["/dev/" + "/".join(_volume(name))] = mapping.path
        _use(entry, mapping.path, mounts, swaps)
        _map([(child, mapping.path) for child in _children(entry)], mappings, mounts, swaps, links)


def _volume(name: str) -> tuple[str, str]:
    """Group and volume of a device-mapper name: "my--vg-root" → ("my-vg", "root") (lvm(8))."""
    group, _, volume = name.replace("--", "\0").partition("-")
    return group.replace("\0", "-"), volume.replace("\0", "-")


def _volume_groups(mappings: dict[str, Mapping]) -> tuple[VolumeGroup, ...]:
    """The groups that the logical volumes show; their size is what lsblk's volumes add up to."""
    groups: dict[str, VolumeGroup] = {}
    for mapping in mappings.values():
        if mapping.kind != "lvm":
            continue
        name = _volume(mapping.name)[0]
        known = groups.get(name, VolumeGroup(name, (), 0))
        volumes = tuple(dict.fromkeys((*known.volumes, *mapping.parents)))
        groups[name] = VolumeGroup(name, volumes, known.size + mapping.size)
    return tuple(groups[name] for name in sorted(groups))


def _use(entry: Entry, path: str, mounts: list[Mount], swaps: list[str]) -> None:
    for target in _targets(entry):
        if target == "[SWAP]":
            swaps.append(path)
        else:
            mounts.append(Mount(path, target, _text(entry, "fstype")))


def _targets(entry: Entry) -> Iterator[str]:
    """MOUNTPOINTS (2.37 and later: a list, null for none) or MOUNTPOINT (before: one text)."""
    value = entry.get("mountpoints", entry.get("mountpoint"))
    if isinstance(value, str):
        value = value.split("\n")
    for target in value or ():
        if target:
            yield target


def _signature(entry: Entry) -> Signature | None:
    kind = _text(entry, "fstype")
    return Signature(kind, _text(entry, "label"), _text(entry, "uuid")) if kind else None


def _children(entry: Entry) -> list[Entry]:
    return entry.get("children") or []


def _is_part(entry: Entry) -> bool:
    return _text(entry, "type") == "part"


def _name(entry: Entry) -> str:
    """The name below /dev (or below /dev/mapper), also for `lsblk --paths`."""
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        raise DomainError(f"lsblk: a device without a name: {str(entry)[:80]}")
    return name.removeprefix("/dev/mapper/").removeprefix("/dev/")


def _path(entry: Entry) -> str:
    return _text(entry, "path") or f"/dev/{_name(entry)}"


def _text(entry: Entry, key: str) -> str:
    value = entry.get(key)
    return value.strip() if isinstance(value, str) else "" if value is None else str(value)


def _flag(entry: Entry, key: str) -> bool:
    return entry.get(key) in (True, 1, "1")


def _size(entry: Entry) -> int:
    """Bytes; text is read as lsblk prints it, with a decimal comma in some locales."""
    value = entry.get("size")
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    try:
        return sizes.parse(str(value).replace(",", "."))
    except ValueError as error:
        raise DomainError(f"lsblk: size of {_name(entry)}: {error}") from None
