"""What a machine is, as values: disks, partitions, file systems, mounts, users.

    >>> from llmkit.installer import SystemState
    >>> state = SystemState.from_dict({"disks": [{"name": "sda", "size": 500107862016}]})
    >>> state.apply_command("sgdisk -n 1:0:+512M -t 1:ef00 /dev/sda").disks[0].partitions[0].size
    536870912

Every type here is frozen: a command gives a new state. Sizes and offsets are integer bytes.
Nothing here does I/O, and nothing here parses a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from llmkit.installer import context, states
from llmkit.installer.frozen import replace

_NEEDS_P = re.compile(r".*\d$")  # nvme0n1, mmcblk0, loop0, md0: the partition number follows a "p"


def partition_name(disk: str, number: int) -> str:
    """The kernel's name of a partition: ("sda", 1) → "sda1", ("nvme0n1", 1) → "nvme0n1p1"."""
    return f"{disk}p{number}" if _NEEDS_P.fullmatch(disk) else f"{disk}{number}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What blkid finds on a device. An empty label or uuid is none, or not known yet: mkfs draws
    a random UUID, which nobody can name before it ran."""

    kind: str  # as blkid's TYPE: ext4, vfat, btrfs, xfs, swap, crypto_LUKS, LVM2_member, iso9660
    label: str = ""
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Partition:
    """One entry of a partition table."""

    number: int
    start: int  # bytes from the start of the disk
    size: int  # bytes
    type: str  # gpt: the type GUID in lower case; msdos: two hex digits ("83", "ef")
    role: str = "primary"  # primary, extended or logical (msdos); always primary on gpt
    name: str = ""  # gpt partition name, that is PARTLABEL
    flags: tuple[
        str, ...
    ] = ()  # sorted names as parted prints them, beyond those that `type` means
    partuuid: str = ""
    signature: Signature | None = None

    @property
    def end(self) -> int:
        """The first byte after the partition."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Disk:
    """A whole disk."""

    name: str  # kernel name: sda, nvme0n1, mmcblk0
    size: int  # bytes
    model: str = ""
    transport: str = ""  # lsblk's TRAN: sata, nvme, virtio, mmc, usb
    rotational: bool = False
    removable: bool = False
    read_only: bool = False
    live: bool = False  # the medium that the running system was started from
    sector: int = 512  # logical sector size, bytes
    table: str | None = None  # gpt, msdos or None
    partitions: tuple[Partition, ...] = ()  # by number
    signature: Signature | None = None  # a file system on the whole disk
    stale: tuple[
        tuple[int, Signature], ...
    ] = ()  # offset → old content a new partition there shows

    @property
    def path(self) -> str:
        return f"/dev/{self.name}"

    def partition_path(self, number: int) -> str:
        return f"/dev/{partition_name(self.name, number)}"

    def partition(self, number: int) -> Partition | None:
        return next((part for part in self.partitions if part.number == number), None)


@dataclass(frozen=True, slots=True)
class Mapping:
    """A block device made from others: an open LUKS container, a logical volume, a RAID."""

    name: str  # below /dev/mapper for crypt and lvm ("vg-root"); "md0" for raid
    kind: str  # crypt, lvm or raid
    parents: tuple[str, ...]  # device paths; for lvm those of the group's physical volumes
    size: int
    signature: Signature | None = None

    @property
    def path(self) -> str:
        return f"/dev/{self.name}" if self.kind == "raid" else f"/dev/mapper/{self.name}"


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """An LVM volume group; its logical volumes are Mappings named GROUP-VOLUME."""

    name: str
    volumes: tuple[str, ...]  # device paths of the physical volumes
    size: int


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/mounts that matters here. Later mounts stand later."""

    source: str  # a device path, or tmpfs, proc, overlay, …; for a bind mount the device beneath
    target: str
    fstype: str = ""
    options: tuple[str, ...] = ()
    root: str = "/"  # the path in the source's file system that is shown (bind, subvol=)


@dataclass(frozen=True, slots=True)
class User:
    """An ordinary account (UID 1000–59999)."""

    name: str
    uid: int = 1000
    groups: tuple[str, ...] = ()  # supplementary, sorted
    shell: str = ""
    password: bool = False  # one is set
    home: bool = False  # the home directory was made
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """What is known of the files of one file system (or of the live system's root).

    `known=False` means that the content was there before we looked: every directory is presumed
    to exist. A fresh mkfs gives Tree(known=True), which holds nothing but its root.
    """

    known: bool = True
    system: bool = False  # an operating system was copied here: the usual directories exist
    directories: tuple[
        str, ...
    ] = ()  # sorted absolute paths within this tree, beyond the usual ones
    files: tuple[tuple[str, str | None], ...] = ()  # sorted path → content; None: not known
    links: tuple[tuple[str, str], ...] = ()  # sorted path → target
    hostname: str = ""
    timezone: str = ""
    locale: str = ""  # LANG
    keymap: str = ""  # console
    users: tuple[User, ...] = ()  # by uid
    groups: tuple[str, ...] = ()  # sorted; beyond the usual ones
    root_password: bool = False
    services: tuple[str, ...] = ()  # enabled units, sorted
    bootloader: str = ""  # "", "systemd-boot", "grub-efi", "grub-bios"
    bootloader_device: str = ""  # the disk whose MBR holds it, or the EFI system partition
    fstab: tuple[str, ...] = ()  # mount points in /etc/fstab, sorted; swap is "swap"
    subvolumes: tuple[str, ...] = ()  # btrfs, sorted paths


@dataclass(frozen=True, slots=True)
class SystemState:
    """A machine at one moment. All paths are canonical (/dev/sda1, not a link to it)."""

    disks: tuple[Disk, ...] = ()
    mappings: tuple[Mapping, ...] = ()
    closed: tuple[Mapping, ...] = ()  # encrypted containers that were closed: opening shows them
    groups: tuple[VolumeGroup, ...] = ()
    mounts: tuple[Mount, ...] = ()  # oldest first
    swaps: tuple[str, ...] = ()  # active swap devices, sorted
    boot_mode: str = "uefi"  # uefi or bios
    network: bool = True
    live: Tree = field(default_factory=lambda: Tree(known=False, system=True, hostname="archiso"))
    trees: tuple[tuple[str, Tree], ...] = ()  # device path → its files, sorted by path
    links: tuple[
        tuple[str, str], ...
    ] = ()  # extra device links → node (by-id, by-path, /dev/VG/LV)
    tools: tuple[str, ...] | None = None  # programs that exist; None: all that are modelled
    status: str = "running"  # running, rebooting or off

    @staticmethod
    def from_dict(data: dict[str, Any]) -> SystemState:
        """Read what `to_dict` wrote.

        Raises:
            DomainError: unknown keys, wrong types, or an impossible machine (overlapping
                partitions, a partition past the end of its disk, the same name twice).
        """
        return states.from_dict(data)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready and short: what has its default value is left out."""
        return states.to_dict(self)

    @staticmethod
    def from_context(text: str) -> SystemState:
        """Read a system context. It holds no more than the text says: rounded sizes, no labels.

        Raises:
            DomainError: a line is of no known form (names the line).
        """
        return context.from_context(text)

    def to_context(self) -> str:
        """The system context: the text about this machine that the model reads."""
        return context.to_context(self)

    @staticmethod
    def from_lsblk(
        parsed: dict[str, Any], links: dict[str, str] | None = None, **facts: Any
    ) -> SystemState:
        """Build a state from `lsblk --json` output; see installer/lsblk.py for what is read."""
        from llmkit.installer import lsblk

        return lsblk.from_lsblk(parsed, links, **facts)

    def apply_command(self, text: str) -> SystemState:
        """The state after a shell line. What fails changes nothing; see `run_command`."""
        from llmkit.installer.run import run_command

        return run_command(text, self).state

    def disk(self, name: str) -> Disk | None:
        """The disk with that kernel name or path."""
        name = name.removeprefix("/dev/")
        return next((disk for disk in self.disks if disk.name == name), None)

    def devices(self) -> Iterator[str]:
        """Paths of every block device node: disks, partitions, mappings, in lsblk's order."""
        for disk in self.disks:
            yield disk.path
            for part in disk.partitions:
                yield disk.partition_path(part.number)
        for mapping in self.mappings:
            yield mapping.path

    def tree(self, device: str) -> Tree:
        """The files on `device`; an unknown tree when nothing is recorded."""
        return next((tree for path, tree in self.trees if path == device), Tree(known=False))

    def with_tree(self, device: str, tree: Tree | None) -> SystemState:
        """A state in which `device` holds `tree` (None: forget it)."""
        rest = [(path, old) for path, old in self.trees if path != device]
        if tree is not None:
            rest.append((device, tree))
        return replace(self, trees=tuple(sorted(rest, key=lambda item: item[0])))

    def mounted_at(self, target: str) -> Mount | None:
        """The topmost mount at `target`."""
        return next((m for m in reversed(self.mounts) if m.target == target), None)

    def target_tree(self) -> Tree | None:
        """The files at /mnt, when a file system is mounted there."""
        mount = self.mounted_at("/mnt")
        return self.tree(mount.source) if mount else None
