"""Partition types: sgdisk codes, GPT type GUIDs, parted flags and the names that sfdisk takes.

    >>> guid("ef00"), code("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    ('c12a7328-f81f-11d2-ba4b-00a0c93ec93b', 'ef00')

GUIDs are in lower case. The msdos side (two hex digits) is here too: `MBR_FLAGS` and `MBR_ALIASES`.
"""

from __future__ import annotations

import re

from llmkit.installer.effects.gpt_types import TABLE

_ROWS = tuple(line.split(" ", 2) for line in TABLE.splitlines())
_GUID_OF = {row[0]: row[1] for row in _ROWS}
_CODE_OF = {row[1]: row[0] for row in reversed(_ROWS)}
_NAME_OF = {row[1]: row[2] for row in reversed(_ROWS)}

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
EMPTY = "00000000-0000-0000-0000-000000000000"


def guid(sgdisk_code: str) -> str:
    """The type GUID of an sgdisk code.

    Raises:
        KeyError: no such code.
    """
    return _GUID_OF[sgdisk_code.lower()]


def code(type_guid: str) -> str:
    """The sgdisk code of a type GUID; "ffff", as sgdisk prints, when it has none."""
    return _CODE_OF.get(type_guid.lower(), "ffff")


def name(type_guid: str) -> str:
    """sgdisk's words for a type GUID ("EFI system partition")."""
    return _NAME_OF.get(type_guid.lower(), "Unknown")


LINUX = guid("8300")
ESP = guid("ef00")
BIOS_BOOT = guid("ef02")
SWAP = guid("8200")
LVM = guid("8e00")
RAID = guid("fd00")
BASIC_DATA = guid("0700")
HOME = guid("8302")

# parted 3.5: flag → the type that it means. `boot` and `esp` are one on GPT.
FLAG_TYPES = {
    "boot": ESP, "esp": ESP, "bios_grub": BIOS_BOOT, "swap": SWAP, "lvm": LVM, "raid": RAID,
    "msftdata": BASIC_DATA, "msftres": guid("0c01"), "diag": guid("2700"), "irst": guid("8400"),
    "prep": guid("4100"), "chromeos_kernel": guid("7f00"), "bls_boot": guid("ea00"),
    "linux-home": HOME, "atvrecv": guid("af04"), "hp-service": guid("c002"),
}  # fmt: skip
# parted flags that are attribute bits on GPT (hidden is bit 0, legacy_boot bit 2)
ATTRIBUTE_FLAGS = {"hidden": 0, "legacy_boot": 2}
_BIT_FLAGS = {0: "hidden", 1: "no_block_io", 2: "legacy_boot", 63: "no_automount"}

# parted: mkpart's file-system word → type on GPT, type on msdos
PARTED_FS = {
    **dict.fromkeys([
        "ext2", "ext3", "ext4", "btrfs", "xfs", "f2fs", "jfs", "nilfs2", "reiserfs", "zfs",
        "swsusp", "freebsd-ufs", "hp-ufs", "sun-ufs", "apfs1", "apfs2", "asfs"], (LINUX, "83")),
    **dict.fromkeys([
        "linux-swap", "linux-swap(v0)", "linux-swap(v1)", "linux-swap(new)", "linux-swap(old)"],
        (SWAP, "82")),
    "fat16": (BASIC_DATA, "0e"), "fat32": (BASIC_DATA, "0c"), "ntfs": (BASIC_DATA, "07"),
    "udf": (BASIC_DATA, "07"),
    **dict.fromkeys(["hfs", "hfs+", "hfsx"], (guid("af00"), "af")),
}  # fmt: skip

# parted 3.5 on msdos: flag → type byte; the type turns to 83 when the flag is taken off
MBR_FLAGS = {
    "swap": "82", "raid": "fd", "lvm": "8e", "palo": "f0", "prep": "41", "msftres": "27",
    "diag": "12", "irst": "84", "esp": "ef", "bls_boot": "ea",
}  # fmt: skip

# sfdisk and fdisk (util-linux 2.38): shortcut and alias → type
SFDISK_GPT = {
    "L": LINUX, "linux": LINUX, "S": SWAP, "swap": SWAP, "U": ESP, "uefi": ESP, "H": HOME,
    "home": HOME, "R": RAID, "raid": RAID, "V": LVM, "lvm": LVM,
}  # fmt: skip
SFDISK_MBR = {
    "L": "83", "linux": "83", "S": "82", "swap": "82", "E": "05", "extended": "05", "U": "ef",
    "uefi": "ef", "R": "fd", "raid": "fd", "V": "8e", "lvm": "8e", "X": "85", "linuxex": "85",
}  # fmt: skip

# sgdisk -g: msdos type byte → GPT type, where it is not the code with 00 behind it
_FROM_MBR = {
    **dict.fromkeys(
        ["01", "04", "06", "0b", "0c", "0e", "11", "14", "16", "17", "1b", "1c", "1e"], "0700"
    ),
    "a9": "a500",
}  # fmt: skip


def from_mbr(type_byte: str) -> str:
    """The GPT type that sgdisk gives to an msdos partition of this type when it converts."""
    found = _FROM_MBR.get(type_byte, f"{type_byte}00")
    return _GUID_OF.get(found, LINUX)


def bit_flag(bit: int) -> str:
    """The flag's name for an attribute bit."""
    return _BIT_FLAGS.get(bit, f"bit{bit}")


def is_extended(type_byte: str) -> bool:
    """Is this msdos type an extended partition?"""
    return type_byte in ("05", "0f", "85")
