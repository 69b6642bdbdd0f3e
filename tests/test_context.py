"""The system context: the text that the model reads, and that text read back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from strategies import system_states

from llmkit.errors import DomainError
from llmkit.installer.state import SystemState

# The example of DESIGN.md, with what this machine's sizes print.
EXAMPLE = """\
## Current System State

- Boot mode: UEFI
- Network: Connected
- Hostname: archiso
- Timezone: not set

## Available Disks

- /dev/sda: 500G (Samsung SSD 870)
  - /dev/sda1: 512M [vfat] mounted at /mnt/boot/efi
  - /dev/sda2: 499.5G [ext4] mounted at /mnt

## Current Mounts
- /dev/sda2 on /mnt
- /dev/sda1 on /mnt/boot/efi

## Existing Users: vince, admin"""


def machine(**changes: object) -> SystemState:
    """A UEFI machine as EXAMPLE describes it, put together by hand."""
    data: dict = {
        "disks": [
            {
                "name": "sda",
                "size": 500 << 30,
                "model": "Samsung SSD 870",
                "table": "gpt",
                "partitions": [
                    {"number": 1, "start": 1 << 20, "size": 512 << 20, "type": "ef00",
                     "signature": {"kind": "vfat"}},
                    {"number": 2, "start": 513 << 20, "size": (500 << 30) - (514 << 20),
                     "type": "8300", "signature": {"kind": "ext4"}},
                ],
            }
        ],
        "mounts": [
            {"source": "/dev/sda2", "target": "/mnt", "fstype": "ext4"},
            {"source": "/dev/sda1", "target": "/mnt/boot/efi", "fstype": "vfat"},
        ],
        "trees": {"/dev/sda2": {"users": [{"name": "vince"}, {"name": "admin", "uid": 1001}]}},
    }  # fmt: skip
    return SystemState.from_dict(data | changes)


def test_the_text_is_what_the_design_fixes() -> None:
    """A whole machine gives the text of DESIGN.md, letter for letter."""
    assert machine().to_context() == EXAMPLE


@settings(deadline=None, max_examples=150)
@given(state=system_states())
def test_reading_and_printing_again_gives_the_same_text(state: SystemState) -> None:
    """from_context is the inverse of to_context on everything that the text holds."""
    text = state.to_context()
    again = SystemState.from_context(text)
    assert again.to_context() == text
    assert SystemState.from_dict(again.to_dict()) == again


@settings(deadline=None, max_examples=60)
@given(state=system_states())
def test_devices_mounts_and_boot_mode_survive(state: SystemState) -> None:
    """What the text holds is in the state that is read: devices, file systems, mounts, swap."""
    again = SystemState.from_context(state.to_context())
    assert list(again.devices()) == list(state.devices())
    assert [(m.source, m.target) for m in again.mounts] == [
        (m.source, m.target) for m in state.mounts
    ]
    assert (again.swaps, again.boot_mode, again.network) == (
        state.swaps,
        state.boot_mode,
        state.network,
    )


def test_target_facts_come_before_the_live_systems() -> None:
    """Host name, time zone and users are the target's once /mnt has them, else the live ones."""
    live = {"hostname": "debian", "timezone": "UTC", "users": [{"name": "live"}]}
    text = machine(live=live, trees={}).to_context()
    assert "Hostname: debian" in text
    assert text.endswith("## Existing Users: live")
    held = {"/dev/sda2": {"hostname": "box", "timezone": "Asia/Tokyo", "users": [{"name": "eve"}]}}
    text = machine(live=live, trees=held).to_context()
    assert "Hostname: box\n- Timezone: Asia/Tokyo" in text
    assert text.endswith("## Existing Users: eve")


def test_mappings_swap_and_several_mount_points() -> None:
    """A mapping stands one level deeper, swap in use is [SWAP], mount points are listed."""
    state = SystemState.from_dict(
        {
            "boot_mode": "bios",
            "network": False,
            "disks": [
                {"name": "vda", "size": 20 << 30, "table": "msdos", "partitions": [
                    {"number": 1, "start": 1 << 20, "size": 1 << 30, "type": "82",
                     "signature": {"kind": "swap"}},
                    {"number": 2, "start": 2 << 30, "size": 10 << 30, "type": "83",
                     "signature": {"kind": "crypto_LUKS"}},
                    {"number": 3, "start": 12 << 30, "size": 512 << 20, "type": "83"}]},
                {"name": "sdb", "size": 16008609792, "model": "SanDisk Ultra", "live": True,
                 "signature": {"kind": "iso9660"}},
            ],
            "mappings": [{"name": "cryptroot", "kind": "crypt", "parents": ["/dev/vda2"],
                          "size": (10 << 30) - (16 << 20), "signature": {"kind": "btrfs"}}],
            "mounts": [{"source": "/dev/sdb", "target": "/run/archiso/bootmnt"},
                       {"source": "/dev/mapper/cryptroot", "target": "/mnt"},
                       {"source": "/dev/mapper/cryptroot", "target": "/mnt/home"},
                       {"source": "proc", "target": "/mnt/proc"}],
            "swaps": ["/dev/vda1"],
        }
    )  # fmt: skip
    text = state.to_context()
    assert text.split("## Available Disks\n\n")[1] == (
        "- /dev/vda: 20G\n"
        "  - /dev/vda1: 1G [swap] mounted at [SWAP]\n"
        "  - /dev/vda2: 10G [crypto_LUKS]\n"
        "    - /dev/mapper/cryptroot: 10G [btrfs] mounted at /mnt, /mnt/home\n"
        "  - /dev/vda3: 512M\n"
        "- /dev/sdb: 14.9G (SanDisk Ultra) [iso9660] mounted at /run/archiso/bootmnt\n"
        "\n"
        "## Current Mounts\n"
        "- /dev/sdb on /run/archiso/bootmnt\n"
        "- /dev/mapper/cryptroot on /mnt\n"
        "- /dev/mapper/cryptroot on /mnt/home"
    )
    assert "- Boot mode: Legacy BIOS\n- Network: Not connected\n" in text
    again = SystemState.from_context(text)
    assert again.to_context() == text
    assert again.mappings[0].parents == ("/dev/vda2",)
    assert again.disk("sdb").live


def test_remaining_is_what_is_left() -> None:
    """`remaining` is accepted when read: the partition takes the rest of the disk."""
    state = SystemState.from_context(EXAMPLE.replace("499.5G", "remaining"))
    assert state.to_context() == EXAMPLE


def test_tables_follow_the_boot_mode() -> None:
    """Read back, tables are gpt with UEFI and msdos with BIOS; logical ones need an extended one."""
    assert SystemState.from_context(EXAMPLE).disks[0].table == "gpt"
    bios = EXAMPLE.replace("UEFI", "Legacy BIOS")
    assert SystemState.from_context(bios).disks[0].table == "msdos"
    text = (
        "## Current System State\n\n- Boot mode: Legacy BIOS\n\n## Available Disks\n\n"
        "- /dev/sda: 100G\n  - /dev/sda1: 10G [ext4]\n  - /dev/sda2: 80G\n"
        "  - /dev/sda5: 20G [ext4]\n  - /dev/sda6: 30G [swap]"
    )
    roles = [part.role for part in SystemState.from_context(text).disks[0].partitions]
    assert roles == ["primary", "extended", "logical", "logical"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("- /dev/sda: 500G", "- sda: 500G", "line 10: cannot read '- sda: 500G"),
        ("## Available Disks", "## Disks", "line 8: unknown section"),
        ("UEFI", "EFI", "boot mode 'EFI'"),
        ("Connected", "Yes", "network 'Yes'"),
        ("  - /dev/sda1", "  - /dev/sdb1", "/dev/sdb1 is no partition of its disk"),
        ("  - /dev/sda2", "  - /dev/sda1", "a partition of /dev/sda is there twice"),
        ("  - /dev/sda1", "      - /dev/sda1", "indented below nothing"),
    ],
)
def test_an_odd_line_is_named(old: str, new: str, words: str) -> None:
    """A line of no known form is refused by its number and text."""
    with pytest.raises(DomainError) as caught:
        SystemState.from_context(EXAMPLE.replace(old, new, 1))
    assert words in str(caught.value)
