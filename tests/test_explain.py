"""Explanations: what a line does in plain words, and which disks it takes something from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from llmkit.domain import explanation, get_domain
from llmkit.installer import explain as explain_module
from llmkit.installer.explain import explain
from llmkit.installer.explain_words import sold
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState
from tests.strategies import commands, system_states

DATA = Path(__file__).parent / "data"
STATES = {
    name: SystemState.from_dict(data)
    for name, data in json.loads((DATA / "guard_states.json").read_text()).items()
}
CASES = [json.loads(line) for line in (DATA / "guard_cases.jsonl").read_text().splitlines()]

EXT4, VFAT = {"kind": "ext4"}, {"kind": "vfat"}
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
MIB = 1 << 20
MACHINE = SystemState.from_dict(
    {
        "disks": [
            {
                "name": "sda", "size": 500107862016, "model": "Samsung SSD 870", "table": "gpt",
                "partitions": [
                    {"number": 1, "start": MIB, "size": 512 * MIB, "type": LINUX, "signature": VFAT},
                    {"number": 2, "start": 513 * MIB, "size": 900 * MIB, "type": LINUX,
                     "signature": EXT4},
                ],
            },
            {"name": "nvme0n1", "size": 1000204886016, "model": "Samsung 990 PRO"},
        ],
        "mounts": [{"source": "/dev/sda2", "target": "/mnt", "fstype": "ext4"}],
    }
)  # fmt: skip
SDA, NVME = "sda (500 GB Samsung SSD 870)", "nvme0n1 (1 TB Samsung 990 PRO)"


@pytest.mark.parametrize(
    ("command", "lines", "danger", "destroys"),
    [
        ("lsblk", ["only looks"], "read", ()),
        (
            "umount /mnt && sgdisk -Z -n 1:0:+512M -n 2:0:+1G /dev/sda",
            [
                "unmounts sda2 from /mnt",
                f"erases everything on {SDA}",
                f"writes a new partition table (GPT) on {SDA}",
                "creates 2 partitions on sda: sda1 (512M), sda2 (1G)",
            ],
            "destructive",
            ("sda",),
        ),
        (
            "parted -s /dev/nvme0n1 mklabel msdos mkpart primary ext4 1MiB 100%",
            [
                f"writes a new partition table (MSDOS) on {NVME}",
                "creates 1 partition on nvme0n1: nvme0n1p1 (931.5G)",
            ],
            "destructive",
            ("nvme0n1",),
        ),
        (
            "mkfs.ext4 /dev/sda1",
            [
                f"erases the FAT file system on sda1, with all its files, of {SDA}",
                "formats sda1 as ext4",
            ],
            "destructive",
            ("sda",),
        ),
        ("sgdisk -d 1 /dev/sda", [f"removes the partition sda1 (vfat) of {SDA}"], "destructive",
         ("sda",)),
        ("dd if=/dev/sda of=/dev/nvme0n1", [f"overwrites {NVME}"], "destructive", ("nvme0n1",)),
        ("cat /dev/zero > /dev/sda", [f"overwrites {SDA}"], "destructive", ("sda",)),
        ("rm -rf /mnt/home", ["deletes /mnt/home (on sda2)"], "destructive", ("sda",)),
        ("mount /dev/sda1 /mnt/boot", ["mounts sda1 at /mnt/boot"], "change", ()),
        ("arch-chroot /mnt useradd -m vince", ["creates or changes the user vince"], "change", ()),
        ("reboot", ["restarts the machine"], "change", ()),
        ("frobnicate now", ["runs frobnicate, whose effects are not known here"], "change", ()),
    ],
)  # fmt: skip
def test_what_a_line_does(
    command: str, lines: list[str], danger: str, destroys: tuple[str, ...]
) -> None:
    """Each line is told in words, with the disk's size and model where something is lost."""
    state = MACHINE
    if "arch-chroot" in command:
        state = run_command("rsync -aAX / /mnt", state).state
    found = explain(command, state)
    assert (list(found.lines), found.danger, found.destroys) == (lines, danger, destroys)
    assert found.needs_confirmation is (danger == "destructive")
    assert found.allowed


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("true || sgdisk -Z /dev/sda", f"may destroy data on {SDA}"),
        ("grep -q x /etc/fstab || wipefs -a /dev/nvme0n1", f"may destroy data on {NVME}"),
        ("erase() { wipefs -a /dev/nvme0n1; }", f"may destroy data on {NVME}"),
        ("sh -c 'false && blkdiscard /dev/nvme0n1'", f"may destroy data on {NVME}"),
    ],
)
def test_a_path_not_taken_is_confirmed_too(command: str, said: str) -> None:
    """A disk that only another path of the line would erase is named, and has to be confirmed."""
    found = explain(command, MACHINE)
    assert said in found.lines and found.needs_confirmation
    assert found.destroys == (("sda",) if "sda" in command else ("nvme0n1",))


def test_a_refusal_stands_first() -> None:
    """What the guard refuses begins with its reason, which names the devices there are."""
    found = explain("mkfs.ext4 /dev/sdz1", MACHINE)
    assert not found.allowed
    assert found.lines[0].startswith("refused: There is no /dev/sdz1 on this machine")
    assert "/dev/nvme0n1" in found.lines[0]


def test_what_fails_says_so() -> None:
    """A line that fails half-way tells what was done before."""
    found = explain("umount /mnt && mount /dev/nvme0n1 /mnt", MACHINE)
    assert found.lines[0] == "unmounts sda2 from /mnt"
    assert found.lines[1].startswith("then fails: ")


def test_an_outcome_can_be_explained() -> None:
    """An Outcome gives the same as its line; without the line the guard is left out."""
    command = "umount /mnt && wipefs -a /dev/sda"
    outcome = run_command(command, MACHINE)
    assert explain(outcome, MACHINE, command) == explain(command, MACHINE)
    assert explain(outcome, MACHINE).destroys == ("sda",)


def test_a_disk_cannot_write_on_the_terminal() -> None:
    """A model name with escape sequences, directions and new lines gives one printable line."""
    state = SystemState.from_dict(
        {
            "disks": [
                {"name": "sda", "size": 500107862016, "table": "gpt",
                 "model": "\x1b[2J\u202eEvil\nrun: rm -rf / \u200b" + "x" * 200}
            ]
        }
    )  # fmt: skip
    for line in explain("wipefs -a /dev/sda", state).lines:
        assert line.isprintable() and len(line) < 120


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1000204886016, "1 TB"), (500107862016, "500 GB"), (1920383410176, "1.9 TB"),
        (31914983424, "31.9 GB"), (256060514304, "256 GB"), (999999999, "1 GB"), (512, "512 B"),
    ],
)  # fmt: skip
def test_sizes_are_those_of_the_box(size: int, text: str) -> None:
    """Sizes of disks are told in powers of 1000."""
    assert sold(size) == text


def losing(before: SystemState, after: SystemState) -> set[str]:
    """Disks on which a file system that was there is not there any more."""
    found = set()
    for disk in before.disks:
        now = after.disk(disk.name)
        assert now is not None
        kept = {(part.start, part.signature) for part in now.partitions}
        for part in disk.partitions:
            if part.signature is not None and (part.start, part.signature) not in kept:
                found.add(disk.name)
        if disk.signature is not None and now.signature != disk.signature:
            found.add(disk.name)
    return found


def sound(command: str, state: SystemState) -> None:
    found = explain_module._explained(command, state, command)
    assert found.lines and all(line and line.isprintable() for line in found.lines)
    outcome = run_command(command, state)
    lost = losing(state, outcome.state)
    assert lost <= set(found.destroys), command
    if lost:
        assert found.needs_confirmation, command
        assert any(name in " ".join(found.lines) for name in lost), command


@pytest.mark.parametrize("name", STATES)
def test_every_disk_that_loses_something_is_named(name: str) -> None:
    """The guard's hand-made lines: a disk whose file system is gone afterwards has to be confirmed."""
    for case in CASES:
        sound(case["command"], STATES[name])


@settings(deadline=None, max_examples=150, derandomize=True)
@given(pair=system_states().flatmap(lambda state: commands(state).map(lambda text: (state, text))))
def test_drawn_lines_name_what_they_lose(pair: Any) -> None:
    """The same for drawn machines and lines."""
    sound(pair[1], pair[0])


def test_the_seam_explains() -> None:
    """`llmkit.domain.explanation` gives the installer's own, and a simple one for other domains."""
    domain = get_domain("installer")
    assert explanation(domain, MACHINE, "lsblk") == explain("lsblk", MACHINE)

    class Plain:
        def check(self, state: Any, command: str) -> Any:
            return domain.check(state, command)

        def explain(self, state: Any, command: str) -> str:
            return "does it"

    plain: Any = Plain()
    found = explanation(plain, MACHINE, "mkfs.ext4 /dev/sdz1")
    assert found.lines[0].startswith("refused: ") and found.lines[-1] == "does it"
    assert found.needs_confirmation and not found.allowed
