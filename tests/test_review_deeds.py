"""The review: a yes to another question, a description and another step are no consent to a loss."""

from __future__ import annotations

import time

import pytest

from llmkit.domain import get_domain, review
from llmkit.installer.review_wish import proposes, requests
from llmkit.installer.review_words import path_goes
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState
from tests.test_review import ONE, SDA_ZAP, TWO, ZAP, machine, talk

MKFS = "mkfs.ext4 -F /dev/sda2"
VDA_ZAP = ZAP.format("vda")
VDA_MKFS = "mkfs.fat -F32 /dev/vda1 && mkfs.ext4 -F /dev/vda2"
BARE = machine({"name": "vda", "size": 40 << 30})

OTHER_QUESTIONS = [
    "Shall I install grub on /dev/sda?",
    "I would install the boot loader on /dev/sda. Shall I?",
    "/dev/sda has windows installed. Do you want to keep it?",
    "I will not erase /dev/sda. Shall I go on?",
    "sda2 holds an ext4 file system. Shall I mount /dev/sda2?",
    "sda2 holds an ext4 file system. Shall I check /dev/sda2?",
    "Is /dev/sda the disk with the ext4 partition?",
    "Before I erase /dev/sda: do you have a backup?",
    "Shall I shrink the ntfs partition on /dev/sda?",
    "Shall I back up /dev/sda before I erase it?",
    "Do you need the ext4 partition on /dev/sda?",
    "Shall I leave the partitions of /dev/sda as they are?",
]
QUESTIONS = [
    "Shall I erase /dev/sda and install Linux?",
    "Shall I partition /dev/sda?",
    "Shall I format /dev/sda?",
    "Shall I wipe /dev/sda and copy the system to it?",
    "Shall I install Linux on /dev/sda?",
    "/dev/sda would be erased and partitioned. Shall I go ahead?",
    "/dev/sda holds ntfs and ext4 file systems. Shall I erase it?",
    "sda would be wiped. Is that what you want?",
    "That is /dev/sda, and everything on it is erased. Is that right?",
    "/dev/sda is not empty: 2 partitions. All of that would be lost. Shall I go ahead?",
]
NO_REQUESTS = [
    "I have windows installed on sda",
    "sda has an ext4 partition with my thesis",
    "mount sda2, it is ext4",
    "repair the file system on sda2",
    "install the boot loader",
    "install grub on sda",
    "german layout",
    "set up my user",
    "set up my user ann on sda",
    "create a swap file",
    "check the file system of sda2",
    "sda2 is ext4",
    "windows is installed on sda",
]
REQUESTS = [
    "install linux on sda with a desktop",
    "erase sda, it has windows on it",
    "I have windows installed on sda, wipe it",
    "sda is to be erased",
    "the disk has nothing on it, install there",
    "I have decided to erase sda",
    "I want /dev/sda erased and partitioned",
    "it is sda that gets the partitions",
    "erase sda and mount the root at /mnt",
]


@pytest.mark.parametrize("plan", OTHER_QUESTIONS)
def test_a_yes_to_another_question(plan: str) -> None:
    """Neither the disk nor a partition of it may be erased by a yes to a question about something else."""
    assert not proposes(plan)
    for state in (ONE, TWO):
        for command in (SDA_ZAP, MKFS):
            for answer in ("yes", "ok, go ahead"):
                text = review(get_domain("installer"), state, talk("hello", plan, answer), command)
                assert text is not None and text.endswith("?")


@pytest.mark.parametrize("plan", QUESTIONS)
def test_a_yes_to_the_question(plan: str) -> None:
    """A question that proposes the deed is answered by a yes."""
    for state in (ONE, TWO):
        assert review(get_domain("installer"), state, talk("hello", plan, "yes"), SDA_ZAP) is None


@pytest.mark.parametrize("text", NO_REQUESTS)
def test_what_describes_or_wants_another_step(text: str) -> None:
    """It is no request to erase; yes to the question that comes lets the line pass."""
    domain = get_domain("installer")
    for state in (ONE, TWO):
        for command in (SDA_ZAP, MKFS):
            asked = review(domain, state, talk(text), command)
            assert asked is not None
            if "would erase" in asked:
                assert review(domain, state, talk(text, asked, "yes"), command) is None


@pytest.mark.parametrize("text", REQUESTS)
def test_what_wants_the_deed(text: str) -> None:
    """A request beside a description, or beside another step, is one."""
    assert requests(text)
    assert review(get_domain("installer"), ONE, talk(text), SDA_ZAP) is None


def _installed() -> tuple[SystemState, list[str]]:
    """The machine after an installation, and its conversation."""
    state, texts = BARE, []
    for said, command in (
        ("install on vda", VDA_ZAP),
        ("next", VDA_MKFS),
        ("next", "mount /dev/vda2 /mnt"),
        ("next", "cp -ax / /mnt"),
        ("next", "umount /mnt"),
    ):
        texts += [said, f"$ {command}"]
        state = run_command(command, state).state
    return state, texts


@pytest.mark.parametrize(
    "last",
    ["set the keyboard layout to german", "install grub", "set up my user ann", "next", "yes",
     "install the boot loader", "create a swap file", "ok do that"],
)  # fmt: skip
def test_a_finished_installation_is_not_erased(last: str) -> None:
    """By none of the steps that follow it."""
    state, texts = _installed()
    for command in (VDA_ZAP, VDA_MKFS):
        assert review(get_domain("installer"), state, talk(*texts, last), command) is not None


def test_a_finished_installation_may_be_begun_again() -> None:
    """By who asks for it."""
    state, texts = _installed()
    for last in ("erase vda and start over", "install it again from scratch"):
        assert review(get_domain("installer"), state, talk(*texts, last), VDA_ZAP) is None


def test_long_messages_are_read_fast() -> None:
    """Words that begin a path's deletion, thousands of times; the path is found all the same."""
    for text in ("rm " * 6600, "erase " * 3300, "delete the " * 1800):
        start = time.process_time()
        assert not path_goes(text)
        assert time.process_time() - start < 1
    assert path_goes("please delete the old folder /mnt/var/lib/mysql")


OLD = run_command("mount /dev/sda2 /mnt", ONE).state
LAID = run_command(VDA_ZAP, BARE).state


@pytest.mark.parametrize(
    "command",
    [
        ": > /mnt/home/ann/x.odt",
        "echo root > /mnt/etc/passwd",
        "rsync -a --delete /tmp/ /mnt/home/",
    ],
)
def test_files_that_the_guard_sees_destroyed(command: str) -> None:
    """The guard's reason is asked, where nobody wished for it; a yes to it lets the line pass."""
    domain = get_domain("installer")
    asked = review(domain, OLD, talk("hello"), command)
    assert asked is not None and asked.startswith("This destroys data") and asked.endswith("?")
    assert review(domain, OLD, talk("hello", asked, "yes"), command) is None
    assert review(domain, OLD, talk("hello", asked, "no"), command) is not None
    assert review(domain, OLD, talk("hello", "Shall I mount it?", "yes"), command) is not None
    assert review(domain, OLD, talk("overwrite what is there, please"), command) is None


@pytest.mark.parametrize(
    "text",
    ["use ext4, not btrfs", "no errors, go on", "don't stop, go on", "ext4, no need for btrfs",
     "ext4 without journal", "no questions, next"],
)  # fmt: skip
def test_negations_that_refuse_nothing(text: str) -> None:
    """A word of refusal that turns down something else lets the installation go on."""
    texts = ("partition vda", f"$ {VDA_ZAP}", text)
    assert review(get_domain("installer"), LAID, talk(*texts), VDA_MKFS) is None


@pytest.mark.parametrize("text", ["not ext4", "not ext4, not btrfs", "stop", "no need for ext4"])
def test_negations_that_refuse(text: str) -> None:
    """They are no request for a loss, and no yes."""
    assert review(get_domain("installer"), ONE, talk(text), MKFS) is not None
    texts = ("hello", "sda2 would be formatted as ext4. Shall I?", text)
    assert review(get_domain("installer"), ONE, talk(*texts), MKFS) is not None


def test_kinds_and_sizes_of_other_things() -> None:
    """What was there before, and what lies elsewhere, is no wish; a wish is one."""
    domain = get_domain("installer")
    for text in ("partition vda, I had xfs before", "install on vda; my data is on an ntfs stick"):
        assert review(domain, LAID, talk(text, f"$ {VDA_ZAP}", "go on"), VDA_MKFS) is None
    wished = talk("partition vda, xfs", f"$ {VDA_ZAP}", "go on")
    assert review(domain, LAID, wished, VDA_MKFS) is not None
    said = "partition vda, I have 16G of memory in it, 4G of photos"
    assert review(domain, BARE, talk(said), VDA_ZAP) is None
    assert review(domain, BARE, talk("partition vda, 4G for the esp"), VDA_ZAP) is not None


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("do sda2", False), ("/dev/sda2", False), ("sda", False),
        ("no, sda2", True), ("sda2 instead", True),
    ],
)  # fmt: skip
def test_the_name_of_another_disk_is_no_yes(answer: str, passes: bool) -> None:
    """A plan for one disk that is answered with the name of another agrees to nothing; a correction does."""
    plan = "/dev/nvme0n1p1 would be formatted with ext4. Shall I?"
    found = review(get_domain("installer"), TWO, talk("format it", plan, answer), MKFS)
    assert (found is None) is passes
