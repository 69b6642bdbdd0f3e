"""Machines to hold a conversation on: disks, firmware, names, zones, drawn from the config.

    from llmkit.installer import scenario
    found = next(scenario.draw(config, random.Random(7), {"disks": "2+", "boot": "uefi"}, None))
    found.state.to_context()

`when` of a conversation says which machines it is about, `start` at which stage of the work it
begins. The stages before `start` are run as real commands (the macros of templates/macros.j2).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from llmkit.installer import size as sizes
from llmkit.installer.context import LIVE_MOUNTS
from llmkit.installer.state import Disk, Mount, Partition, Signature, SystemState, Tree

# What each starting point adds to the one before it, as macro calls.
STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("empty", ()),
    ("partitioned", ("{{ partition(target) }}",)),
    ("formatted", ("{{ format(target) }}",)),
    ("mounted", ("{{ mount(target) }}",)),
    ("copied", ("{{ copy() }}",)),
    (
        "configured",
        ("{{ fstab() }}", "{{ set_hostname(hostname) }}", "{{ set_timezone(timezone) }}"),
    ),
    (
        "ready",
        ("{{ add_user(username) }}", "{{ set_password(username) }}", "{{ bootloader(target) }}"),
    ),
)
STARTS = tuple(name for name, _ in STEPS)
WHEN = ("boot", "disks", "kind", "filesystem", "partitioned", "live", "network")
KINDS = ("sata", "hdd", "nvme", "virtio", "mmc", "usb")

_MIB = 1 << 20
_SECTOR = 512
_MSDOS_LIMIT = 2**32 * _SECTOR  # 2 TiB: the last sector that an MBR entry can name
_ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_RESERVED = "e3c9e316-0b5c-4db8-817d-f92df00215ae"
_BASIC_DATA = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
_TYPE_NAMES = {
    "nvme": "NVMe SSD",
    "sata": "SATA SSD",
    "hdd": "hard disk",
    "virtio": "virtual disk",
    "mmc": "eMMC storage",
    "usb": "USB drive",
}
_STICKS = (
    ("SanDisk Ultra", "16GB"),
    ("Kingston DataTraveler 3.0", "32GB"),
    ("Cruzer Blade", "8GB"),
)
_ABSENT = ("sdb", "sdc", "nvme1n1", "sdd", "nvme2n1", "vdb", "mmcblk1", "sdz")


@dataclass(frozen=True, slots=True)
class Names:
    """What people and places are called in one scenario."""

    hostname: str
    hostname_alt: str
    username: str
    username_alt: str
    timezone: tuple[str, str]  # zone, words
    timezone_alt: tuple[str, str]
    locale: tuple[str, str, str]  # locale, keymap, language


@dataclass(frozen=True, slots=True)
class Machine:
    """A drawn machine, as it is found, and what the person wants on it."""

    state: SystemState
    target: str  # kernel name of the disk to install to
    kinds: tuple[tuple[str, str], ...]  # disk name → kind as configured
    filesystem: str
    names: Names
    missing: str  # path of a device that is not there
    layout: str

    @property
    def summary(self) -> dict[str, Any]:
        """What was drawn, for `meta.scenario`."""
        return {
            "layout": self.layout,
            "boot": self.state.boot_mode,
            "disks": [kind for _, kind in self.kinds],
            "target": f"/dev/{self.target}",
            "filesystem": self.filesystem,
        }


def _listed(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list | tuple) else (value,)
    return tuple(str(item).lower() for item in items)


def _flag(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError(f"true or false, not {value!r}")
    return text == "true"


@dataclass(frozen=True, slots=True)
class Filter:
    """`when`, read."""

    boot: tuple[str, ...] = ("uefi", "bios")
    disks: tuple[int, int] = (1, 99)  # fewest and most, the live medium not counted
    kinds: tuple[str, ...] = ()  # of the target; (): any
    filesystems: tuple[str, ...] = ()  # (): any
    partitioned: bool | None = None
    live: bool | None = None
    network: bool = True


@lru_cache(maxsize=1024)
def _read_filter(items: tuple[tuple[str, Any], ...]) -> Filter:
    fields: dict[str, Any] = {}
    for key, value in items:
        try:
            if key == "boot":
                modes = _listed(value)
                if not set(modes) <= {"uefi", "bios", "any"}:
                    raise ValueError(f"uefi, bios or any, not {value!r}")
                fields["boot"] = ("uefi", "bios") if "any" in modes else modes
            elif key == "disks":
                found = re.fullmatch(r"([1-9])(\+?)", str(value))
                if found is None:
                    raise ValueError(f'1, 2, "1+" or "2+", not {value!r}')
                fewest = int(found[1])
                fields["disks"] = (fewest, 99 if found[2] else fewest)
            elif key == "kind":
                fields["kinds"] = _listed(value)
                if not set(fields["kinds"]) <= set(KINDS):
                    raise ValueError(f"of {', '.join(KINDS)}, not {value!r}")
            elif key == "filesystem":
                fields["filesystems"] = _listed(value)
            elif key in ("partitioned", "live", "network"):
                fields[key] = _flag(value)
            else:
                raise ValueError(f"no such key; there are {', '.join(WHEN)}")
        except ValueError as error:
            raise ValueError(f"when: {key}: {error}") from error
    return Filter(**fields)


def read_filter(when: Mapping[str, Any]) -> Filter:
    """`when` of a conversation; ValueError says what is wrong with it."""
    return _read_filter(
        tuple(
            (key, tuple(value) if isinstance(value, list) else value) for key, value in when.items()
        )
    )


def check_start(start: str | None) -> None:
    """Raise ValueError for a starting point that does not exist."""
    if start is not None and start not in STARTS:
        raise ValueError(f"start: {start!r} is none of {', '.join(STARTS)}")


def draw(
    config: Any, rng: random.Random, when: Mapping[str, Any], start: str | None
) -> Iterator[Machine]:
    """Machines that fit, without end; nothing when the config has none."""
    wanted = read_filter(when)
    fitting = _fitting(config, wanted, start)
    types = _filesystems(config, wanted)
    if not fitting or not types:
        return
    layouts = sorted({index for index, _, _ in fitting})
    while True:
        chosen = rng.choice(layouts)
        _, boot, target = rng.choice([item for item in fitting if item[0] == chosen])
        yield _machine(config, rng, wanted, start, chosen, boot, target, rng.choice(types))


def every(config: Any, when: Mapping[str, Any], start: str | None) -> Iterator[Machine]:
    """Two machines for each layout, boot mode and target that fit, with the smallest and with the
    largest disks (what does not fit on a disk shows on the smallest); file systems in turn."""
    wanted = read_filter(when)
    types = _filesystems(config, wanted)
    if not types:
        return
    for count, (layout, boot, target) in enumerate(_fitting(config, wanted, start)):
        for largest in (False, True):
            rng = random.Random(2 * count + largest)
            filesystem = types[(2 * count + largest) % len(types)]
            yield _machine(
                config, rng, wanted, start, layout, boot, target, filesystem, largest=largest
            )


def _filesystems(config: Any, wanted: Filter) -> list[str]:
    return [
        name for name in config.filesystem.types
        if not wanted.filesystems or name in wanted.filesystems
    ]  # fmt: skip


def _fitting(config: Any, wanted: Filter, start: str | None) -> list[tuple[int, str, int]]:
    """(layout, boot mode, target disk) by index, for everything that the filter lets in."""
    found = []
    for index, layout in enumerate(config.disk.layouts):
        own = [place for place, disk in enumerate(layout.disks) if not disk.live]
        if not wanted.disks[0] <= len(own) <= wanted.disks[1]:
            continue
        if not _used_fits(layout, len(own), wanted, start):
            continue
        virtual = any(disk.kind == "virtio" for disk in layout.disks)
        if wanted.live and virtual:
            continue
        if wanted.live is False and len(own) < len(layout.disks):
            continue
        for boot in config.boot.modes:
            if boot not in wanted.boot or not all(_sizes(disk, boot) for disk in layout.disks):
                continue
            for place in own:
                kind = layout.disks[place].kind
                if (
                    not wanted.kinds
                    or kind in wanted.kinds
                    or (kind == "hdd" and "sata" in wanted.kinds)
                ):
                    found.append((index, boot, place))
    return found


def _used_fits(layout: Any, own: int, wanted: Filter, start: str | None) -> bool:
    """An earlier system is on the target when the conversation asks for one. When it does not,
    the target is empty, and the earlier system on another disk, if there is one; or the target's
    own is gone, since the conversation begins after partitioning."""
    used = layout.state == "used"
    if wanted.partitioned is not None:
        return bool(used) is wanted.partitioned
    return not used or own > 1 or start not in (None, "empty")


def _sizes(disk: Any, boot: str) -> list[str]:
    """The sizes a disk may have: an msdos table, which BIOS machines get, ends at 2 TiB."""
    if boot == "uefi":
        return list(disk.size)
    return [text for text in disk.size if _bytes(text, disk.kind) <= _MSDOS_LIMIT]


@lru_cache(maxsize=4096)
def _bytes(text: str, kind: str) -> int:
    """What a disk that is sold as `text` has. Disks follow IDEMA's LBA counts (LBA1-03: a 500 GB
    disk has 500107862016 bytes); sticks and cards are cut to whole MiB."""
    value = sizes.parse(text)
    gigabytes, rest = divmod(value, 10**9)
    if kind in ("sata", "hdd", "nvme") and not rest and gigabytes >= 50:
        return (97_696_368 + 1_953_504 * (gigabytes - 50)) * _SECTOR
    return value // _MIB * _MIB


def _machine(
    config: Any,
    rng: random.Random,
    wanted: Filter,
    start: str | None,
    index: int,
    boot: str,
    target: int,
    filesystem: str,
    largest: bool | None = None,  # disks of the largest or smallest size; None: drawn
) -> Machine:
    layout = config.disk.layouts[index]
    disks = [_disk(item, rng, boot, largest) for item in layout.disks]
    for _ in range(20):  # "the bigger one" must mean something
        if len({sizes.human(disk.size) for disk in disks if not disk.live}) == sum(
            not disk.live for disk in disks
        ):
            break
        disks = [_disk(item, rng, boot, largest) for item in layout.disks]
    if layout.state == "used":
        others = [place for place, disk in enumerate(disks) if place != target and not disk.live]
        older = rng.choice(others) if others and wanted.partitioned is None else target
        disks[older] = _older_system(disks[older], boot)
    kinds = [(disk.name, item.kind) for disk, item in zip(disks, layout.disks, strict=True)]
    share = float(config.domain.options.get("live_stick", 0.5))
    virtual = any(kind == "virtio" for _, kind in kinds)
    drawn = rng.random() < share
    if not any(disk.live for disk in disks) and not virtual:
        if wanted.live or (drawn and wanted.live is None):
            disks.append(_stick(disks, rng))
            kinds.append((disks[-1].name, "usb"))
    mounts = tuple(
        Mount(disk.path, LIVE_MOUNTS[0], "iso9660", ("ro",)) for disk in disks if disk.live
    )
    state = SystemState(
        disks=tuple(sorted(disks, key=lambda disk: disk.name)),
        mounts=mounts,
        boot_mode=boot,
        network=wanted.network,
    )
    present = {disk.name for disk in disks}
    return Machine(
        state=state,
        target=disks[target].name,
        kinds=tuple(sorted(kinds)),
        filesystem=filesystem,
        names=_names(config, rng),
        missing=f"/dev/{rng.choice([name for name in _ABSENT if name not in present])}",
        layout=layout.id,
    )


def _disk(item: Any, rng: random.Random, boot: str, largest: bool | None) -> Disk:
    kind = item.kind
    sizes_in_bytes = sorted(_bytes(text, kind) for text in _sizes(item, boot))
    return Disk(
        name=item.name,
        size=rng.choice(sizes_in_bytes)
        if largest is None
        else sizes_in_bytes[-1 if largest else 0],
        model=str(rng.choice(item.model)),
        transport="sata" if kind == "hdd" else kind,
        rotational=kind == "hdd" if item.rotational is None else item.rotational,
        removable=kind == "usb" if item.removable is None else item.removable,
        live=item.live,
        signature=Signature("iso9660", "ARCH_202611") if item.live else None,
    )


def _stick(disks: list[Disk], rng: random.Random) -> Disk:
    """The stick that the live system was started from: the last of the SCSI names."""
    taken = {disk.name for disk in disks}
    name = next(f"sd{letter}" for letter in "abcdefghij" if f"sd{letter}" not in taken)
    model, size = rng.choice(_STICKS)
    return Disk(
        name=name,
        size=_bytes(size, "usb"),
        model=model,
        transport="usb",
        removable=True,
        live=True,
        signature=Signature("iso9660", "ARCH_202611"),
    )


def _older_system(disk: Disk, boot: str) -> Disk:
    """What Windows leaves behind: with UEFI an ESP, a reserved partition and NTFS on GPT; with
    BIOS two NTFS partitions on an msdos table."""
    ntfs = Signature("ntfs")
    if boot == "uefi":
        pieces = [(100, _ESP, Signature("vfat")), (16, _RESERVED, None), (0, _BASIC_DATA, ntfs)]
        end = disk.size - _MIB
    else:
        pieces = [(500, "7", ntfs), (0, "7", ntfs)]
        end = disk.size // _MIB * _MIB
    parts = []
    place = _MIB
    for number, (mebibytes, kind, signature) in enumerate(pieces, 1):
        length = mebibytes * _MIB or (end - place) // _MIB * _MIB
        parts.append(Partition(number, place, length, kind, signature=signature))
        place += length
    table = "gpt" if boot == "uefi" else "msdos"
    return replace(disk, table=table, partitions=tuple(parts))


def _names(config: Any, rng: random.Random) -> Names:
    hosts = _two(config.hostnames.names, rng)
    users = _two(config.usernames.names, rng)
    zones = _two(config.timezones.zones, rng)
    locale = rng.choice(config.locale.locales)
    return Names(
        hostname=str(hosts[0]),
        hostname_alt=str(hosts[1]),
        username=str(users[0]),
        username_alt=str(users[1]),
        timezone=(zones[0].zone, str(rng.choice(zones[0].words))),
        timezone_alt=(zones[1].zone, str(rng.choice(zones[1].words))),
        locale=(locale.locale, locale.keymap, str(rng.choice(locale.words))),
    )


def _two(items: Any, rng: random.Random) -> tuple[Any, Any]:
    """Two different items; the only one twice, where the config has one."""
    first, second = rng.sample(list(items), 2) if len(items) > 1 else (items[0], items[0])
    return first, second


@dataclass(frozen=True, slots=True)
class PartView:
    """A partition, as templates see it."""

    path: str
    number: int
    size: str
    fs: str
    mount: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class DiskView:
    """A disk, as templates see it. `kind` is the bus; a hard disk's is sata."""

    path: str
    name: str
    size: str
    model: str
    kind: str
    type_name: str
    parts: tuple[PartView, ...]
    boot_part: str | None  # None on BIOS machines, whose standard layout has none
    root_part: str
    _disk: Disk

    def part(self, number: int) -> str:
        """The path of partition `number`, whether it exists or not."""
        return self._disk.partition_path(int(number))

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Boot:
    """The firmware. Compares equal to its mode."""

    mode: str
    name: str

    def __str__(self) -> str:
        return self.mode

    def __eq__(self, other: object) -> bool:
        return self.mode == (other.mode if isinstance(other, Boot) else other)

    def __hash__(self) -> int:
        return hash(self.mode)


@dataclass(frozen=True, slots=True)
class ZoneView:
    """A time zone and what the person calls it."""

    zone: str
    words: str

    def __str__(self) -> str:
        return self.zone


@dataclass(frozen=True, slots=True)
class LocaleView:
    """A locale, its keymap and the language in words."""

    locale: str
    keymap: str
    language: str

    def __str__(self) -> str:
        return self.locale


def _view(disk: Disk, kind: str, state: SystemState) -> DiskView:
    places: dict[str, str] = {}
    for mount in state.mounts:
        places.setdefault(mount.source, mount.target)
    uefi = state.boot_mode == "uefi"
    return DiskView(
        path=disk.path,
        name=disk.name,
        size=sizes.human(disk.size),
        model=disk.model or _TYPE_NAMES[kind],
        kind="sata" if kind == "hdd" else kind,
        type_name=_TYPE_NAMES[kind],
        parts=tuple(
            PartView(
                path=(path := disk.partition_path(part.number)),
                number=part.number,
                size=sizes.human(part.size),
                fs=part.signature.kind if part.signature else "",
                mount=places.get(path, ""),
            )
            for part in disk.partitions
        ),
        boot_part=disk.partition_path(1) if uefi else None,
        root_part=disk.partition_path(2 if uefi else 1),
        _disk=disk,
    )


def variables(machine: Machine, state: SystemState) -> dict[str, Any]:
    """What a conversation's templates may use on `state`.

    `other`, `bigger` and `smaller` are there with two disks and more, `live` is None without a
    live medium: a template that needs them belongs into a conversation whose `when` asks for it.
    """
    kinds = dict(machine.kinds)
    views = {disk.name: _view(disk, kinds.get(disk.name, "sata"), state) for disk in state.disks}
    own = [disk for disk in state.disks if not disk.live]
    disks = [views[disk.name] for disk in own]
    names = machine.names
    tree: Tree = state.target_tree() or state.live
    mode = state.boot_mode
    found: dict[str, Any] = {
        "disks": disks,
        "target": views[machine.target],
        "live": next((views[disk.name] for disk in state.disks if disk.live), None),
        "boot": Boot(mode, "UEFI" if mode == "uefi" else "Legacy BIOS"),
        "fs": machine.filesystem,
        "hostname": names.hostname,
        "hostname_alt": names.hostname_alt,
        "username": names.username,
        "username_alt": names.username_alt,
        "timezone": ZoneView(*names.timezone),
        "timezone_alt": ZoneView(*names.timezone_alt),
        "locale": LocaleView(*names.locale),
        "missing_disk": machine.missing,
        "users": [user.name for user in tree.users],
    }
    if len(own) > 1:
        by_size = sorted(own, key=lambda disk: disk.size)
        found["smaller"], found["bigger"] = views[by_size[0].name], views[by_size[-1].name]
        found["other"] = next(views[disk.name] for disk in own if disk.name != machine.target)
    return found
