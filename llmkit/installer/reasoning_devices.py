"""The devices of a machine as reasoning speaks of them: what each holds, and how to call one that is
still to be made.

    devices = Devices(state)
    devices["/dev/sda2"].about      # "ext4, mounted at /mnt"
    devices.label("/dev/sda5")      # "partition 5 of /dev/sda"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llmkit.installer import size as sizes
from llmkit.installer.state import Disk, SystemState

_PATH = re.compile(r"/dev/[\w/-]+")


@dataclass(frozen=True, slots=True)
class Device:
    """A disk, partition or mapping that is there."""

    path: str
    size: str
    model: str
    fs: str  # what it holds, "" for nothing
    mounts: tuple[str, ...]
    disk: str  # path of its disk; its own when it is one
    live: bool
    parts: tuple[str, ...] = ()  # of a disk: its partitions, "/dev/sda1 (vfat)"
    kind: str = ""  # of a disk: nvme, sata, hdd, usb, virtio, mmc

    @property
    def whole(self) -> bool:
        """Whether it is a disk."""
        return self.path == self.disk

    @property
    def name(self) -> str:
        """With its size: /dev/sda (500G)."""
        return f"{self.path} ({self.size})"

    @property
    def about(self) -> str:
        """What it holds and where it is in use, in a few words."""
        place = f"mounted at {' and '.join(self.mounts)}" if self.mounts else ""
        if "[SWAP]" in self.mounts:
            place = "in use as swap"
        if self.live:
            return "the medium that this live system runs from"
        if self.whole:
            held = f"with {_listed(self.parts)}" if self.parts else "without partitions"
            held = f"{held}, {place}" if place else held
            return f"holding {self.fs}" if self.fs and not self.parts else held
        if self.fs:
            return f"{self.fs}, {place}" if place else f"{self.fs}, not mounted"
        return "without a file system"

    def __str__(self) -> str:
        return self.path


class Devices:
    """All of them, in the context's order."""

    def __init__(self, state: SystemState) -> None:
        self.state = state
        self._found: dict[str, Device] = {}
        places: dict[str, list[str]] = {}
        for mount in state.mounts:
            places.setdefault(mount.source, []).append(mount.target)
        for swap in state.swaps:
            places.setdefault(swap, []).append("[SWAP]")
        for disk in state.disks:
            self._add_disk(disk, places)
        for mapping in state.mappings:
            held = mapping.signature.kind if mapping.signature else ""
            self._found[mapping.path] = Device(
                mapping.path, sizes.human(mapping.size), "", held,
                tuple(places.get(mapping.path, ())), "", False,
            )  # fmt: skip

    def _add_disk(self, disk: Disk, places: dict[str, list[str]]) -> None:
        parts = []
        for part in disk.partitions:
            path = disk.partition_path(part.number)
            held = part.signature.kind if part.signature else ""
            parts.append(
                Device(
                    path, sizes.human(part.size), "", held, tuple(places.get(path, ())),
                    disk.path, disk.live,
                )
            )  # fmt: skip
        listed = tuple(f"{part.path} ({part.fs or part.size})" for part in parts)
        held = disk.signature.kind if disk.signature else ""
        self._found[disk.path] = Device(
            disk.path, sizes.human(disk.size), disk.model, held,
            tuple(places.get(disk.path, ())), disk.path, disk.live, listed, _kind(disk),
        )  # fmt: skip
        self._found |= {part.path: part for part in parts}

    def __contains__(self, path: str) -> bool:
        return path in self._found

    def __getitem__(self, path: str) -> Device:
        return self._found[path]

    def get(self, path: str) -> Device | None:
        """The device of a path, or None."""
        return self._found.get(path)

    @property
    def disks(self) -> list[Device]:
        """Disks but for the live medium, in the context's order."""
        return [item for item in self._found.values() if item.whole and not item.live]

    @property
    def root(self) -> Device | None:
        """What is mounted at /mnt."""
        return self.at("/mnt")

    @property
    def below(self) -> list[Device]:
        """What is mounted at /mnt or below, in the order of mounting."""
        found = []
        for mount in self.state.mounts:
            if mount.target == "/mnt" or mount.target.startswith("/mnt/"):
                if mount.source in self._found:
                    found.append(self._found[mount.source])
        return list(dict.fromkeys(found))

    def at(self, target: str) -> Device | None:
        """What is mounted there."""
        mount = self.state.mounted_at(target)
        return self._found.get(mount.source) if mount else None

    @property
    def mounted(self) -> str:
        """ "/dev/sda2 at /mnt and /dev/sda1 at /mnt/boot/efi", or ""."""
        pairs = [
            f"{mount.source} at {mount.target}"
            for mount in self.state.mounts
            if mount.source in self._found
            and (mount.target == "/mnt" or mount.target.startswith("/mnt/"))
        ]
        return _listed(pairs)

    @property
    def stand(self) -> str:
        """How far the installation has come, as the context shows it, in one clause."""
        if self.mounted:
            return f"{self.mounted} {'are' if len(self.below) > 1 else 'is'} mounted"
        formatted = [
            item for item in self._found.values() if item.fs and not item.whole and not item.live
        ]
        if formatted:
            held = _listed([f"{item.path} with {item.fs}" for item in formatted[:3]])
            return f"there is {held}, and nothing is mounted at /mnt"
        parted = [disk for disk in self.disks if disk.parts]
        if parted:
            return f"{parted[0].path} has partitions without file systems, nothing is mounted"
        if not self.disks:
            return "this machine shows no disk"
        return f"{_listed([disk.name for disk in self.disks])} {_has(self.disks)} no partitions yet"

    @property
    def here(self) -> str:
        """What the work is on: the disk of /mnt, else every disk but the live medium."""
        if self.root is not None and self.root.disk in self:
            return self.root.disk
        return _listed([disk.path for disk in self.disks])

    def named(self, text: str) -> list[Device]:
        """Devices that a text names by their path or kernel name, in its order."""
        found: dict[str, tuple[int, Device]] = {}
        for path, item in self._found.items():
            name = path.removeprefix("/dev/")
            match = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
            if match:
                found[path] = (match.start(), item)
        return [item for _, item in sorted(found.values(), key=lambda pair: pair[0])]

    def empty(self, disks: Iterable[str]) -> bool:
        """Whether no file system is on any of these disks."""
        taken = set(disks)
        return not any(item.fs for item in self._found.values() if item.disk in taken)

    def label(self, path: str) -> str:
        """How to call a device, whether the context lists it or not."""
        if path in self._found:
            return path
        for disk in sorted(self.disks, key=lambda item: -len(item.path)):
            if path.startswith(disk.path):
                number = path[len(disk.path) :].lstrip("p")
                if number.isdecimal():
                    return f"partition {number} of {disk.path}"
        return "the new mapping" if path.startswith("/dev/mapper/") else "that device"

    def disk_of(self, path: str) -> str:
        """The disk of a device that exists or will."""
        if path in self._found:
            return self._found[path].disk or path
        fitting = [disk.path for disk in self.disks if path.startswith(disk.path)]
        return max(fitting, key=len, default="")

    def others(self, disks: Iterable[str]) -> list[Device]:
        """Disks that are none of these, the live medium left out."""
        taken = set(disks)
        return [disk for disk in self.disks if disk.path not in taken]

    def __iter__(self) -> Iterator[Device]:
        return iter(self._found.values())


def listed(items: Iterable[object]) -> str:
    """a, b and c."""
    return _listed([str(item) for item in items])


def _listed(items: Iterable[str]) -> str:
    *head, last = [*items] or [""]
    return f"{', '.join(head)} and {last}" if head else last


def _has(items: list[Device]) -> str:
    return "have" if len(items) > 1 else "has"


def _kind(disk: Disk) -> str:
    if disk.name.startswith("nvme"):
        return "nvme"
    if disk.name.startswith("vd"):
        return "virtio"
    if disk.name.startswith("mmcblk"):
        return "mmc"
    return disk.transport
