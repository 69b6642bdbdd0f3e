"""The installer's own reasoning: what it says, what it must not name, and what counts as specific."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import system_states

from llmkit import records
from llmkit.config_prompt import CallStyle
from llmkit.domain import get_domain
from llmkit.installer.reasoning import reasoning
from llmkit.installer.reasoning_check import absent, vague
from llmkit.installer.state import SystemState
from llmkit.reply import parse_reply, write_reply

TWO = """## Current System State

- Boot mode: UEFI
- Network: Connected
- Hostname: archiso
- Timezone: not set

## Available Disks

- /dev/nvme0n1: 476.9G (Kingston NV2)
  - /dev/nvme0n1p1: 100M [vfat]
  - /dev/nvme0n1p2: 476.8G [ntfs]
- /dev/sda: 3.6T (Seagate BarraCuda)"""

MOUNTED = """## Current System State

- Boot mode: Legacy BIOS
- Network: Not connected
- Hostname: fox
- Timezone: Europe/Rome

## Available Disks

- /dev/vda: 64G
  - /dev/vda1: 64G [ext4] mounted at /mnt

## Current Mounts
- /dev/vda1 on /mnt

## Existing Users: ada"""


def why(context: str, *said: str, command: str = "", response: str = "") -> list[str]:
    """The lines for a conversation in which the person and the assistant take turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
    answer = {"type": "command", "command": command} if command else {
        "type": "text", "response": response}  # fmt: skip
    state = SystemState.from_context(context)
    text = reasoning(state, messages, answer)
    assert vague(state, messages, answer, text) == ""
    return text.splitlines()


def test_a_word_of_comparison_is_resolved_and_losses_are_named() -> None:
    """Which disk "the smaller one" is, what is on it, and that the other is left alone."""
    lines = why(
        TWO, "use the smaller one",
        command="sgdisk -Z /dev/nvme0n1 && sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 /dev/nvme0n1",
    )  # fmt: skip
    assert 'the "smaller" one is /dev/nvme0n1 (476.9G), smaller than /dev/sda (3.6T)' in lines[0]
    assert "/dev/nvme0n1p1 (vfat) and /dev/nvme0n1p2 (ntfs)" in lines[1]
    assert "UEFI, so the table is GPT with an EFI system partition" in lines[1]
    assert lines[2].startswith(
        "This loses /dev/nvme0n1p1 with vfat, /dev/nvme0n1p2 with ntfs and makes a new gpt table"
    )
    assert lines[3] == "/dev/sda (3.6T) is not touched."


def test_what_is_still_to_be_made_is_called_by_its_number() -> None:
    """No name of a partition that the context does not list."""
    lines = why(
        TWO, "put linux on the seagate",
        command="sgdisk -Z /dev/sda && sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 -t 2:8300 /dev/sda",
    )  # fmt: skip
    text = "\n".join(lines)
    assert "the seagate is /dev/sda (3.6T), a Seagate BarraCuda" in text
    assert "partition 1 of /dev/sda of 512M (EFI system partition)" in text
    assert "/dev/sda1" not in text


def test_an_agreement_says_what_was_agreed() -> None:
    """With the question that the yes answers."""
    lines = why(
        TWO, "install linux", "I would erase /dev/sda (3.6T). Shall I?", "yes",
        command="sgdisk -Z /dev/sda",
    )  # fmt: skip
    assert lines[0].startswith('"yes" agrees to "I would erase /dev/sda (3.6T). Shall I?"')


def test_a_refusal_says_what_is_turned_down() -> None:
    """And that nothing is run."""
    lines = why(
        TWO, "install linux", "I would erase /dev/sda (3.6T). Shall I?", "no, stop",
        response="Then I leave /dev/sda as it is.",
    )  # fmt: skip
    assert lines[0] == '"no, stop" turns down "I would erase /dev/sda (3.6T). Shall I?".'
    assert lines[-1] == "So nothing is run, and /dev/sda stays as it is."


def test_an_open_choice_is_a_reason_to_ask() -> None:
    """Two disks, and no word that says which."""
    lines = why(
        TWO, "partition the disk",
        response="Which one: /dev/nvme0n1 (476.9G) or /dev/sda (3.6T)?",
    )  # fmt: skip
    assert "leaves open which disk is meant" in lines[0]
    assert "Each of /dev/nvme0n1 and /dev/sda could be meant" in lines[2]


def test_a_device_that_is_not_there_is_not_named() -> None:
    """Neither in a quotation nor elsewhere; what is there is."""
    lines = why(TWO, "format /dev/sdz1 now", response="There is no /dev/sdz1; there is /dev/sda.")
    assert lines[0] == '"format … now" names a device that this machine does not have.'
    assert lines[1].startswith("There are only /dev/nvme0n1 (476.9G) and /dev/sda (3.6T)")
    assert "sdz" not in "\n".join(lines)


def test_a_dangerous_line_is_not_run() -> None:
    """A shell line that would destroy what is in use."""
    lines = why(
        MOUNTED, "mkfs.ext4 /dev/vda1", response="/dev/vda1 is mounted at /mnt and holds data."
    )
    assert "is a shell line" in lines[0]
    assert "ext4, mounted at /mnt" in lines[1]
    assert "could not be undone on /dev/vda" in lines[2]


@pytest.mark.parametrize(
    ("said", "command", "parts"),
    [
        ("install grub", "arch-chroot /mnt grub-install --target=i386-pc /dev/vda",
         ("Legacy BIOS: GRUB goes into the disk that holds /dev/vda1", "grub-bios on /dev/vda")),
        ("call it otter", "echo otter > /mnt/etc/hostname",
         ("says otter", "called fox so far", "/mnt/etc/hostname")),
        ("user bob please", "arch-chroot /mnt useradd -m bob",
         ("the account bob", "accounts so far: ada", "arch-chroot")),
        ("time zone oslo", "arch-chroot /mnt ln -sf /usr/share/zoneinfo/Europe/Oslo /etc/localtime",
         ("the time zone Europe/Oslo", "its zone is Europe/Rome")),
        ("done, restart", "umount -R /mnt && reboot",
         ("/dev/vda1 at /mnt is mounted", "takes /dev/vda1 off /mnt", "restart")),
        ("show the disks", "lsblk", ("with lsblk", "only reads: nothing on /dev/vda changes")),
        ("write fstab", "genfstab -U /mnt >> /mnt/etc/fstab", ("/mnt/etc/fstab", "/dev/vda1")),
        ("is the net there?", "ping -c 2 1.1.1.1", ("ping can show it",)),
    ],
)  # fmt: skip
def test_each_kind_of_command_has_its_facts(
    said: str, command: str, parts: tuple[str, ...]
) -> None:
    """Boot mode, host name, accounts, zone and mounts of this machine, where they decide."""
    text = "\n".join(why(MOUNTED, said, command=command))
    for part in parts:
        assert part in text, text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("/dev/sda and sda, nvme0n1p2 and nvme0 are there", ()),
        ("/dev/sdb is empty", ("/dev/sdb",)),
        ("The stick is sdb.", ("sdb",)),
        ("Make /dev/sda1 first", ("/dev/sda1",)),
        ("nvme0n1p3 is the root", ("nvme0n1p3",)),
        ("mount LABEL=root and UUID=12-34", ("LABEL=root", "UUID=12-34")),
        ("dd to /dev/null from /dev/zero, below /dev", ()),
        ("/mnt/boot/sdb1.img, web-sdb, /srv/sdb/x and hdparm are none", ()),
        ("its mapping /dev/mapper/crypt", ("/dev/mapper/crypt",)),
        ("/dev/sd\u200bb and /dev/ｓdb", ("/dev/sdb",)),
        ("(/dev/sdc), '/dev/sdd' and \"/dev/sde\".", ("/dev/sdc", "/dev/sdd", "/dev/sde")),
        ("not on vda1 or mmcblk0p1", ("vda1", "mmcblk0p1")),
    ],
)  # fmt: skip
def test_names_of_absent_devices_are_found(text: str, names: tuple[str, ...]) -> None:
    """As paths, bare, as tags, behind look-alikes; names that only contain one are none."""
    assert absent(SystemState.from_context(TWO), text) == names


GOOD = '"use sda" names /dev/sda (3.6T).\nUEFI: /dev/sda gets a GPT.\nsgdisk makes it on /dev/sda.'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, ""),
        (GOOD.splitlines()[0], "1 lines"),
        (GOOD + "\n/dev/sda stays.\n/dev/sda too.", "5 lines"),
        (GOOD.replace("UEFI: /dev/sda", "/dev/sdb"), "names /dev/sdb"),
        (GOOD.replace("3.6T", "3.5T"), "has 3.6T, not 3.5T"),
        ("This machine boots with BIOS.\n/dev/sda is new.", "the boot mode is not BIOS"),
        ("The person wants something.\n/dev/sda is there.", "could stand anywhere"),
        ("A disk has to be chosen.\nOne must be careful.", "could stand anywhere"),
        ("UEFI is how archiso starts.\nIt runs UEFI.", "nothing about this turn"),
        ('"use sda" is what was said.\n"use sda" it is.', "nothing about this machine"),
        ('"use sdc" is what was said.\n"use it" it is.', "names sdc"),
    ],
)  # fmt: skip
def test_what_counts_as_specific(text: str, reason: str) -> None:
    """Each part of the definition refuses a text that lacks it."""
    state = SystemState.from_context(TWO)
    if reason == "nothing about this machine":  # sda is a device's name: another turn
        text = text.replace("use sda", "go on with that")
    messages = [{"role": "user", "content": "use sda, go on with that"}]
    found = vague(state, messages, {"type": "command", "command": "sgdisk -Z /dev/sda"}, text)
    assert (found == "") if not reason else (reason in found), found


@given(system_states(), st.sampled_from(("list disks", "yes", "the bigger one", "what is sdz?", "<x>")),
       st.data())  # fmt: skip
def test_reasoning_keeps_to_any_machine(state: SystemState, said: str, data: st.DataObject) -> None:
    """On every machine and for many commands: at most four lines, no absent name, and a reply that can
    be written and read back."""
    paths = [disk.path for disk in state.disks] or ["/dev/sda"]
    path = data.draw(st.sampled_from(paths))
    command = data.draw(st.sampled_from((
        "lsblk", f"sgdisk -Z {path} && sgdisk -n 1:0:+64M {path}", f"wipefs -a {path}", "reboot",
        f"mkfs.ext4 -F {path}", f"mkfs.ext4 {path}9", "umount -R /mnt", "mount /dev/sda1 /mnt",
        "echo a > /mnt/etc/hostname", "arch-chroot /mnt useradd bob", "((", "unknown-program -x",
    )))  # fmt: skip
    answers: list[dict[str, Any]] = [
        {"type": "command", "command": command},
        {"type": "text", "response": f"Shall I erase {path}?"},
    ]
    for answer in answers:
        text = reasoning(state, [{"role": "user", "content": said}], answer)
        assert len(text.splitlines()) <= 4
        assert absent(state, text) == ()
        written = write_reply({**answer, "thinking": text}, CallStyle.shell)
        assert (parse_reply(written).thinking or "") == text


@cache
def shipped() -> list[dict[str, Any]]:
    """Snapshots of every shipped conversation, on one machine each."""
    import subprocess
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "llmkit.augment", "variations=1", "scenarios_per_conversation=1",
             "truncations=false", "workers=1", f"output_dir={folder}"],
            check=True, capture_output=True,
        )  # fmt: skip
        found = [record for path in sorted(Path(folder).glob("t*ing/*.jsonl"))
                 for _, record in records.read_jsonl(path)]  # fmt: skip
    return found


def test_the_shipped_conversations_get_specific_reasoning() -> None:
    """At least 95% of the snapshots of all of them; and every one in two to four lines that name
    nothing absent."""
    domain: Any = get_domain("installer")
    good = 0
    for record in shipped():
        state = domain.from_dict(record["meta"]["state"])
        seen = domain.parse_context(record["system_context"])
        text = domain.reasoning(state, record["messages"], record["expected_response"])
        assert 2 <= len(text.splitlines()) <= 4, (record["messages"][-1], text)
        assert domain.absent(seen, text) == ()
        good += not domain.vague(seen, record["messages"], record["expected_response"], text)
    assert good >= 0.95 * len(shipped()), (good, len(shipped()))


def test_specific_means_of_this_snapshot() -> None:
    """Put under another conversation's snapshot, the same texts are refused nine times in ten."""
    domain: Any = get_domain("installer")
    rng = random.Random(5)
    found = rng.sample(shipped(), min(400, len(shipped())))
    passed = 0
    for record in found:
        other = rng.choice([item for item in found if item["meta"]["conversation"]
                            != record["meta"]["conversation"]])  # fmt: skip
        state = domain.from_dict(record["meta"]["state"])
        text = domain.reasoning(state, record["messages"], record["expected_response"])
        there = domain.parse_context(other["system_context"])
        passed += not domain.vague(there, other["messages"], other["expected_response"], text)
    assert passed <= 0.1 * len(found), (passed, len(found))


def test_a_context_alone_is_enough() -> None:
    """Older data has no more than that: the reasoning is specific all the same."""
    domain: Any = get_domain("installer")
    found = random.Random(6).sample(shipped(), min(300, len(shipped())))
    good = 0
    for record in found:
        seen = domain.parse_context(record["system_context"])
        text = domain.reasoning(seen, record["messages"], record["expected_response"])
        assert domain.absent(seen, text) == ()
        good += not domain.vague(seen, record["messages"], record["expected_response"], text)
    assert good >= 0.95 * len(found), (good, len(found))
