"""What a message leaves alone or puts off: no refusal of a command that leaves it alone, too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.domain import get_domain, objection
from llmkit.installer.effects.gpt import ESP
from llmkit.installer.review_loss import UNKNOWN, Loss, unused
from llmkit.installer.review_spared import without_spared
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState
from tests.test_review import DATA, GIB, MIB, ZAP, talk


def disk(name: str, model: str, *kinds: str, size: int = 500, parts: int = 2) -> dict[str, object]:
    """A disk with an EFI partition and others; `kinds`: their file systems, none where there is none."""
    partitions = [
        {
            "number": number, "start": (number - 1) * 20 * GIB + MIB, "size": 20 * GIB,
            "type": DATA if number > 1 else ESP,
            **({"signature": {"kind": kinds[number - 1]}} if any(kinds[number - 1:number]) else {}),
        }
        for number in range(1, parts + 1)
    ]  # fmt: skip
    return {"name": name, "size": size * GIB, "model": model, "transport": "sata",
            **({"table": "gpt", "partitions": partitions} if parts else {})}  # fmt: skip


def machine(*disks: dict[str, object]) -> SystemState:
    return SystemState.from_dict({"disks": list(disks), "boot_mode": "uefi"})


BLANK = machine(disk("sda", "Samsung SSD 870"))
BLANK_OF_TWO = machine(
    disk("sda", "Samsung SSD 870"), disk("sdb", "Crucial BX500", parts=0, size=240)
)
FOUR = machine(disk("sda", "Samsung SSD 870", "vfat", "ext4", "ext4", "ext4", parts=4))
MIXED = machine(
    disk("sda", "Samsung SSD 870", "ntfs", "", parts=2),
    disk("sdb", "Crucial BX500", "ext4", parts=1),
)
FULL = machine(disk("sda", "Samsung SSD 870", "vfat", "ext4"))
TWO = machine(
    disk("sda", "Samsung SSD 870", parts=0), disk("sdb", "Crucial BX500", parts=0, size=240)
)

PASSES = [
    (BLANK, "Make a FAT32 file system on /dev/sda1. Leave sda2 alone.", "mkfs.fat -F32 /dev/sda1"),
    (BLANK, "sda1 fat32, leave 2", "mkfs.fat -F32 /dev/sda1"),
    (BLANK, "format sda2 with f2fs, esp not yet", "mkfs.f2fs -f /dev/sda2"),
    (BLANK, "get rid of sda2 but keep the esp", "sgdisk -d 2 /dev/sda"),
    (BLANK, "kindly delete the second partition, the first should remain as it is", "sgdisk -d 2 /dev/sda"),
    (BLANK, "format sda2 as xfs, no mount yet", "mkfs.xfs -f /dev/sda2"),
    (FULL, "wipe sda2 and keep the esp", "wipefs -a /dev/sda2"),
    (TWO, "partition sda leave the others", ZAP.format("sda")),
    (TWO, "wipe sda, don't format", "wipefs -a /dev/sda"),
    (TWO, "wipe sda, leave the rest", ZAP.format("sda")),
    (TWO, "erase sda and make an efi and a root, leave the other disk", ZAP.format("sda")),
    (FULL, "wipe the root partition of sda, leave the rest", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "erase sda and partition it, I don't need what's on it", ZAP.format("sda")),
    (FULL, "partition sda, I have no use for windows any more", ZAP.format("sda")),
    (FULL, "erase sda and partition it, nothing on it is needed", ZAP.format("sda")),
    (FULL, "mkfs.ext4 on sda2 and stop", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "wipe sda2 with wipefs, then stop", "wipefs -a /dev/sda2"),
    (BLANK, "sda1 as fat32 please, stop there", "mkfs.fat -F32 /dev/sda1"),
    # partitions that hold nothing yet: any wish for them will do
    (BLANK, "off with sda2", "sgdisk -d 2 /dev/sda"),
    (BLANK, "the second partition has to go", "sgdisk -d 2 /dev/sda"),
    (BLANK_OF_TWO, "take /dev/sda2 out of the table please", "sgdisk -d 2 /dev/sda"),
    (BLANK_OF_TWO, "can you make file systems on everything we made on sda?",
     "mkfs.fat -F32 /dev/sda1 && mkfs.ext4 -F /dev/sda2"),
    (BLANK_OF_TWO, "gonna need all of these formatted", "mkfs.fat -F32 /dev/sda1 && mkfs.ext4 -F /dev/sda2"),
]  # fmt: skip
ASKS = [
    # what is spared goes
    (BLANK, "sda1 fat32, leave 2", "mkfs.fat -F32 /dev/sda2"),
    (BLANK, "format sda2, leave root", "mkfs.ext4 -F /dev/sda2"),
    (BLANK, "get rid of sda2 but keep the esp", ZAP.format("sda")),
    (BLANK, "get rid of sda2 but keep the esp", "sgdisk -Z /dev/sda"),
    (FULL, "wipe sda2 and keep the esp", "wipefs -a /dev/sda1 && wipefs -a /dev/sda2"),
    (FULL, "wipe sda, esp later", "mkfs.fat -F32 /dev/sda1"),
    (BLANK, "root xfs, leave root and ESP", "mkfs.fat -F32 /dev/sda1"),
    (FULL, "mkfs.xfs on sda2 please I don't want the xfs", "mkfs.xfs -f /dev/sda2"),
    (FULL, "wipe sda, don't format", ZAP.format("sda") + " && mkfs.ext4 -F /dev/sda2"),
    # "stop" with nothing that joins it takes it all back
    (FULL, "format sda2, stop", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "wipe sda2 and... stop", "wipefs -a /dev/sda2"),
    (FULL, "hold on and stop", "wipefs -a /dev/sda2"),
    (BLANK, "format sda2, stop!", "mkfs.ext4 -F /dev/sda2"),
    (BLANK, "off with sda2", "sgdisk -d 1 /dev/sda"),
    (BLANK, "off with sda2", "sgdisk -d 1 -d 2 /dev/sda"),
    (BLANK, "off with it", "sgdisk -d 2 /dev/sda"),
    (BLANK, "off with sda2? no", "sgdisk -d 2 /dev/sda"),
    (BLANK, "what if sda2 has to go?", "sgdisk -d 2 /dev/sda"),
    (BLANK, "rename sda2", "sgdisk -d 2 /dev/sda"),
    (FULL, "off with sda2", "sgdisk -d 2 /dev/sda"),
    # beside a file system they may be anything; and these are not formatted only, or not wished for
    (MIXED, "gonna need all of these formatted", "mkfs.ext4 -F /dev/sda2"),
    (BLANK, "gonna need all of these formatted", ZAP.format("sda")),
    (BLANK, "no, do not put ext4 on the root", "mkfs.ext4 -F /dev/sda2"),
    (BLANK, "what does mkfs.ext4 do to the root?", "mkfs.ext4 -F /dev/sda2"),
    (BLANK, "put ext4 on sda1", "mkfs.ext4 -F /dev/sda2"),
    # more is said than that something is spared
    (FULL, "wipe sda2, leave sda2 alone", "wipefs -a /dev/sda2"),
    (FULL, "keep sda1 and sda2, wipe it", "wipefs -a /dev/sda2"),
    (FULL, "leave sda3 alone, wipe sda2", "sgdisk -Z /dev/sda"),
    (TWO, "hands off sdb, erase the other one and make partitions", ZAP.format("sdb")),
    (TWO, "not the SSD, and the other one neither", ZAP.format("sda")),
    (FULL, "install linux and leave sda2 alone", "mkfs.fat -F32 /dev/sda1"),
    (FULL, "partition sda, root later", "mkfs.fat -F32 /dev/sda1"),
    (FULL, "root ext4 is fine, esp later", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "I still need sda2 formatted data", "mkfs.ext4 -F /dev/sda2"),
    # the rest of the disk
    (FULL, "format the root on sda, leave the rest", ZAP.format("sda")),
    (FULL, "erase only root on sda, keep the rest", "wipefs -a /dev/sda"),
    (FULL, "format the second one on sda, leave the others", "mkfs.fat -F32 /dev/sda1"),
    (FULL, "erase the ext4 on sda, leave the rest", ZAP.format("sda")),
    (FULL, "erase windows on sda, leave the rest", "mkfs.ext4 -F /dev/sda2"),
    (BLANK, "reformat / on sda, leave the rest as it is", ZAP.format("sda")),
    # found by a reader who was asked to get a wrong line through
    (FULL, "erase sda, not the ext4", "mkfs.xfs -f /dev/sda2"),
    (FULL, "erase sda, not ext4", "mkfs.xfs -f /dev/sda2"),
    (FULL, "install linux on sda, don't format it", ZAP.format("sda")),
    (FULL, "set up sda, no formatting", "wipefs -a /dev/sda"),
    (FULL, "install linux on sda, don't partition it", "mkfs.ext4 -F /dev/sda"),
    (FULL, "there's nothing I want to erase on sda", ZAP.format("sda")),
    (FULL, "there is nothing in there to wipe on sda", ZAP.format("sda")),
    (FULL, "I no longer require you to erase sda", ZAP.format("sda")),
    (FULL, "i don't want that: erase sda", ZAP.format("sda")),
    (FULL, "never want to see it again: erase sda", ZAP.format("sda")),
    (FULL, "From the mail:\n> format sda2 as ext4\nleave sda1 alone.", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "not sda1, sda2 is my home, format", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "keep sda1; sda2 formatted once the backup is done", "mkfs.ext4 -F /dev/sda2"),
    (BLANK, "format sda1, leave 1 alone, 2 too", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "wipe sda, the other partition must stay", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "remove windows from sda, the other partitions must survive", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "wipe sda once everything is backed up", ZAP.format("sda")),
    (FULL, "there's nothing I need to format on sda", ZAP.format("sda")),
    (FULL, "i no longer want sda wiped", ZAP.format("sda")),
    (FULL, "there is nothing on it i want you to erase", ZAP.format("sda")),
    # a list that goes on after a refusal (four partitions)
    (FOUR, "format sda3 with ext4, leave sda1 alone, sda2 too", "mkfs.ext4 -F /dev/sda2"),
    (FOUR, "format sda3 with ext4, keep sda1, sda2", "mkfs.ext4 -F /dev/sda2"),
    (FOUR, "please format, leave sda1, sda2", "mkfs.ext4 -F /dev/sda2"),
    (FULL, "nothing I need is lost if you wait", ZAP.format("sda")),
]  # fmt: skip


@pytest.mark.parametrize(("state", "said", "command"), PASSES)
def test_what_stays_anyway(state: SystemState, said: str, command: str) -> None:
    assert objection(get_domain("installer"), state, talk(said), command) is None


def test_a_partition_is_used_unless_this_conversation_formatted_it() -> None:
    """A folder made for its mount is no file system made."""
    part = "/dev/sda2"
    lost, state = (
        [Loss("/dev/sda", "/dev/sda1", UNKNOWN)],
        machine(disk("sda", "Samsung", "", "ext4")),
    )
    assert unused(lost, BLANK, ())
    assert not unused(lost, state, ())
    assert not unused(lost, state, (f"mkdir -p /mnt/a && mount {part} /mnt/a",))
    assert unused(lost, state, (f"mkfs.ext4 -F {part}",))


def test_a_refusal_of_partitions_that_were_never_used_is_heard() -> None:
    """As where nothing is lost: the disk stays as it is."""
    domain, line = get_domain("installer"), "mkfs.ext4 -F /dev/sda2"
    found = objection(domain, BLANK_OF_TWO, talk("no, nothing on sda now"), line)
    assert found is not None and found.text == "All right, sda stays as it is."


@pytest.mark.parametrize(("state", "said", "command"), ASKS)
def test_what_does_not_stay(state: SystemState, said: str, command: str) -> None:
    assert objection(get_domain("installer"), state, talk(said), command) is not None


@pytest.mark.parametrize("more", [
    "mount /dev/sda2 /mnt && rm -rf /mnt/home", "mount /dev/sda2 /mnt && echo x > /mnt/etc/passwd",
    "resize2fs /dev/sda2 1G", "debugfs -w -R 'rm x' /dev/sda2", "fsck.ext4 -y /dev/sda2",
    "e2label /dev/sda2 x", "sgdisk -g /dev/sda", "sgdisk -G /dev/sda",
])  # fmt: skip
def test_more_than_what_was_asked_for(more: str) -> None:
    """What a line does to the spared partition beside the deed, whether it is an event or not."""
    messages = talk("make sda1 fat32, leave sda2 alone")
    line = "mkfs.fat -F32 /dev/sda1"
    assert objection(get_domain("installer"), FULL, messages, line) is None
    assert objection(get_domain("installer"), FULL, messages, f"{line} && {more}") is not None


@pytest.mark.parametrize("said", [
    "oh i see, ok", "yes the photos are safe there", "the backup is done tomorrow", "my bad, no",
    "I trust you, what would you do?", "my brother has a copy of the key, not the data",
    "that was from the previous owner, keep it", "ok there's nothing I want to erase",
    "right, nothing I want wiped", "I no longer require that, ok", "ok i don't want that do it",
    "yes, once the backup is done",
    "yes, once everything is backed up", "yes, make sure my photos are safe",
    "ok I want my data after all",
])  # fmt: skip
def test_no_yes(said: str) -> None:
    """Near what may stand beside a yes, and none."""
    plan = "/dev/sda (500G) would be erased and partitioned. Shall I?"
    messages = talk("install linux", plan, said)
    assert objection(get_domain("installer"), FULL, messages, ZAP.format("sda")) is not None


def test_a_partial_refusal_is_no_goodbye() -> None:
    """Who wants one disk and not another is asked, and not told that nothing happens."""
    messages = [
        {"role": "user", "content": "I don't want to lose anything, prepare the empty disk"}
    ]
    found = objection(get_domain("installer"), TWO, messages, ZAP.format("sda"))
    assert found is not None and "stays as it is" not in found.text


FORMS = ("leave {} alone", "{} stays", "keep {}", "not {}", "{} later", "don't touch {}")


@given(
    st.sampled_from(FORMS), st.integers(1, 4), st.integers(1, 4), st.sampled_from(("sda{}", "{}"))
)
def test_a_clause_goes_where_its_partition_stays(
    form: str, spared: int, touched: int, name: str
) -> None:
    """By hand: of four partitions one is formatted; a clause about another goes, one about it does not."""
    state = machine(disk("sda", "Samsung SSD 870", parts=4))
    command = f"mkfs.ext4 -F /dev/sda{touched}"
    outcome = run_command(command, state)
    clause = form.format(name.format(spared))
    text = f"format sda{touched} with ext4, {clause}"
    kept = without_spared(text, state, command, outcome)
    assert kept == (text if spared == touched else f"format sda{touched} with ext4")


@given(
    st.text(max_size=80), st.sampled_from(["wipefs -a /dev/sda2", "sgdisk -Z /dev/sda", "lsblk"])
)
def test_nothing_is_added(text: str, command: str) -> None:
    """What is left are pieces of what was said, in order; never nothing where something was said."""
    kept = without_spared(text, FULL, command, run_command(command, FULL))
    assert kept == text or kept
    rest = iter(" ".join(text.lower().split()) + text)
    assert kept == text or all(letter in rest for letter in kept)
