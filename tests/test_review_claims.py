"""What an answer in words claims of the machine. Expected: the machine, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.domain import get_domain, untrue
from llmkit.installer.review_claims import false_claim
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState
from tests.test_review import ONE, TWO, talk
from tests.test_review_wish import DONE, LAID, PAIR

MOUNTED = run_command("mount /dev/vda2 /mnt", DONE).state
BIOS = replace(ONE, boot_mode="bios")

WRONG = [
    (MOUNTED, "fstab", "Not yet: nothing is mounted at /mnt, so there is no system to write an fstab for.",
     "/dev/vda2 is mounted at /mnt"),
    (LAID, "format it", "/dev/vda2 is formatted already, so there is nothing left to do.",
     "no file system is seen on /dev/vda2"),
    (LAID, "format it", "/dev/vda2 is formatted but not mounted yet. Shall I mount it first?",
     "no file system is seen on /dev/vda2"),
    (ONE, "grub", "This machine was started in Legacy BIOS mode, so GRUB goes to /dev/sda.",
     "this machine was started in UEFI mode"),
    (BIOS, "grub", "The machine starts in UEFI mode and needs an EFI partition.",
     "this machine was started in Legacy BIOS mode"),
    (ONE, "systemd-boot", "systemd-boot needs UEFI, but this machine is started in UEFI mode.",
     "this machine was started in UEFI mode"),
    (DONE, "esp?", "There is no EFI partition: /dev/vda2 is all.", "/dev/vda1 is an EFI partition"),
    (TWO, "which?", "The only disk here is /dev/sda.", "/dev/nvme0n1 is here, too"),
    (ONE, "partition it", "Which one: /dev/sda or /dev/sdb? Everything on it is lost.",
     "the live system runs from /dev/sdb"),
    (ONE, "go on", "Next would be partitioning /dev/sda, which erases its 3 partitions. Shall I?",
     "/dev/sda has 2 partitions"),
]  # fmt: skip
FINE = [
    (PAIR, "anything at /mnt?", "No, nothing is mounted at /mnt."),
    (MOUNTED, "and after the umount?", "Once nothing is mounted at /mnt, I restart."),
    (MOUNTED, "no", "Then nothing is mounted at /mnt; tell me when."),
    (LAID, "and then?", "Once /dev/vda2 is formatted, it is mounted."),
    (LAID, "encrypt it", "/dev/vda2 is formatted again for that, and its content lost. Shall I?"),
    (DONE, "what now?", "/dev/vda2 is formatted. Mounting comes next; shall I?"),
    (ONE, "bios?", "It could not be started in Legacy BIOS mode from a GPT without more."),
    (ONE, "bios?", "If it had been started in Legacy BIOS mode, GRUB would go to /dev/sda."),
    (BIOS, "systemd-boot", "systemd-boot needs UEFI, but this machine is started in Legacy BIOS mode."),
    (PAIR, "esp?", "There is no EFI partition yet."),
    (ONE, "which disks?", "Which one: /dev/sda, or the live medium /dev/sdb?"),
    (ONE, "sdb or sda?", "Which one, /dev/sda or /dev/sdb?"),
    (ONE, "erase it", "That erases /dev/sda with its 2 partitions. Shall I?"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "said", "text", "truth"), WRONG)
def test_a_false_claim_is_known(state: SystemState, said: str, text: str, truth: str) -> None:
    """What is so instead."""
    assert false_claim(state, said, text) == truth
    assert untrue(get_domain("installer"), state, talk(said), text)


@pytest.mark.parametrize(("state", "said", "text"), FINE)
def test_what_may_be_so_is_no_false_claim(state: SystemState, said: str, text: str) -> None:
    """What is so, what is said of later, and what the person spoke of."""
    assert false_claim(state, said, text) == ""


def test_a_count_is_put_right() -> None:
    """The plan stays, with the number of partitions that there are."""
    text = "That means erasing /dev/sda with its 5 partitions. Shall I?"
    found = untrue(get_domain("installer"), ONE, talk("erase it"), text)
    assert found == "That means erasing /dev/sda with its 2 partitions. Shall I?"


@given(st.integers(0, 999), st.sampled_from((ONE, TWO, PAIR, LAID, DONE)))
def test_only_the_right_count_stands(count: int, state: SystemState) -> None:
    """Whatever number a text has, what the person gets has the machine's, or says it."""
    disk = state.disks[0]
    text = f"This erases {disk.path} with its {count} partitions. Shall I?"
    found = untrue(get_domain("installer"), state, talk("erase it"), text)
    if count == len(disk.partitions):
        assert found == ""
    elif disk.partitions:
        due = (
            f"its {len(disk.partitions)} partitions"
            if len(disk.partitions) > 1
            else "its partition"
        )
        assert due in found
    else:
        assert "no partition" in found


COPIED = run_command("rsync -aAXHx / /mnt/", MOUNTED).state
WRITTEN = run_command("genfstab -U /mnt >> /mnt/etc/fstab", COPIED).state
KNOWN = run_command("arch-chroot /mnt useradd -m -s /bin/bash tim", WRITTEN).state
SYSTEM = [
    (WRITTEN, "/dev/vda2 would not start yet: there is no boot loader and no fstab. Shall I do them first?",
     "the fstab is written"),
    (KNOWN, "Not yet: a user is missing, so nobody could log in.", "tim is a user of the new system"),
    (COPIED, "/dev/vda2 would not start yet: there is no boot loader and no fstab. Shall I?", ""),
    (COPIED, "Not yet: a user is missing, so nobody could log in.", ""),
    (WRITTEN, "If there is no fstab, nothing is mounted at the start.", ""),
]  # fmt: skip


@pytest.mark.parametrize(("state", "text", "truth"), SYSTEM)
def test_what_the_new_system_has_is_known(state: SystemState, text: str, truth: str) -> None:
    """By what was run, which no context says."""
    assert false_claim(state, "restart", text) == truth
