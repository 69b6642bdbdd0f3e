"""The review and how far words go: exceptions, other times, other people's words, parts, weak answers."""

from __future__ import annotations

import pytest

from llmkit.domain import get_domain, review
from llmkit.installer.review_scope import after_correction, deeds, hedged, parts_only, plain_yes
from tests.test_review import NVME_ZAP, PLAN, SDA_ZAP, TWO, talk

W = "Which disk: /dev/sda or /dev/nvme0n1?"

# what a person says first, and a line that would destroy more, or something else
LESS = [
    ("erase the disk that isn't the samsung", SDA_ZAP),
    ("wipe everything except sda", SDA_ZAP),
    ("wipe everything but sda", SDA_ZAP),
    ("install on the disk without windows", SDA_ZAP),
    ("install on the one that has no windows", SDA_ZAP),
    ("use nvme0n1 for the system and leave the rest", SDA_ZAP),
    ("erase all but the nvme", NVME_ZAP),
    ("erase all disks other than nvme0n1", NVME_ZAP),
    ("is sda empty? if so erase it", SDA_ZAP),
    ("erase the disk next to sda", SDA_ZAP),
    ("erase sda1", SDA_ZAP),
    ("partition nvme0n1, sda has my photos", SDA_ZAP),
    ("everything on sda is backed up on nvme0n1, wipe sda", NVME_ZAP),
    ("copy sda to nvme0n1", SDA_ZAP),
    ("copy sda to nvme0n1", NVME_ZAP),
    ("I already erased sda, now do the nvme", SDA_ZAP),
    ("sda was wiped yesterday, wipe nvme0n1 too", SDA_ZAP),
    ("sda for data (keep), nvme0n1 for the system: install", SDA_ZAP),
    ("erase neither", SDA_ZAP),
    ("install linux beside windows on sda", SDA_ZAP),
    ("install linux on sda but keep my files", SDA_ZAP),
    ("install linux on sda2, windows stays on sda1", SDA_ZAP),
    ("clone nvme0n1 onto sda and then erase nvme0n1", SDA_ZAP),
    ("format everything on the smaller one except the first partition", SDA_ZAP),
    ("format the second partition of sda", SDA_ZAP),
    ("wipe the free space of sda", SDA_ZAP),
    ("clean up sda a little", SDA_ZAP),
    ("remove the old kernels from sda", SDA_ZAP),
    ("clear the logs", SDA_ZAP),
    ("delete the user on sda2", SDA_ZAP),
    ("install grub to sda", SDA_ZAP),
    ("install vim", SDA_ZAP),
    ("install firefox on sda2", SDA_ZAP),
    ("install updates on sda", SDA_ZAP),
    ("replace ext4 by btrfs on sda2 without losing anything", "mkfs.btrfs -f /dev/sda2"),
    ("convert sda2 to btrfs", "mkfs.btrfs -f /dev/sda2"),
    ("erase nvme0n1. sda: look only", SDA_ZAP),
    ("wipe sda tomorrow", SDA_ZAP),
    ("wipe sda tonight when everyone sleeps", SDA_ZAP),
    ("set up raid1 over sda and nvme0n1", SDA_ZAP),
    ("move windows from sda to nvme0n1", NVME_ZAP),
    ("move windows from sda to nvme0n1", SDA_ZAP),
    ("I'd never erase sda", SDA_ZAP),
    ("erase sda? you must be joking", SDA_ZAP),
    ("erase sda? lol", SDA_ZAP),
    ("my brother told me to erase sda", SDA_ZAP),
    ("the guide says: erase sda", SDA_ZAP),
    ("erase sda is what the manual says, explain", SDA_ZAP),
    ("erasing sda would be bad", SDA_ZAP),
    ("partition sda1 only", SDA_ZAP),
    ("make sda2 smaller", SDA_ZAP),
    ("fix the partition table of sda", SDA_ZAP),
    ("repair sda", SDA_ZAP),
    ("reinstall grub, sda is the disk", SDA_ZAP),
    ("reinstall windows on sda", SDA_ZAP),
    ("reset my password on sda2", SDA_ZAP),
    ("sda must not be wiped, nvme0n1 must", SDA_ZAP),
    ("wipe the disk where windows is not", SDA_ZAP),
    ("not the nvme: erase the samsung", NVME_ZAP),
    ("encrypt my home on sda2", "cryptsetup luksFormat /dev/sda2"),
    ("label sda2 wipe", SDA_ZAP),
    ("what does 'erase sda' mean", SDA_ZAP),
    ("delete sda1, not sda2", SDA_ZAP),
    ("delete the windows partition", SDA_ZAP),
    ("remove windows", SDA_ZAP),
    ("get rid of the windows partition, linux stays", SDA_ZAP),
    ("format sda2 as soon as sda1 is backed up", "mkfs.ext4 -F /dev/sda2"),
    ("partition the empty disk", SDA_ZAP),
    ("format the usb stick", SDA_ZAP),
    ("erase sdb", SDA_ZAP),
    ("mount sda2 and erase the logs in it", SDA_ZAP),
    ("format the partition that has ext4", "mkfs.ext4 -F /dev/sda1"),
    ("format sda2 xfs, sda1 is holy", "mkfs.xfs -f /dev/sda1"),
    ("format sda, I mean mount it", SDA_ZAP),
    ("sda wipe? no: nvme0n1", SDA_ZAP),
    ("erase sda -- kidding", SDA_ZAP),
    ("erase sda (just kidding)", SDA_ZAP),
    ("erase sda, haha no", SDA_ZAP),
    ("pretend to erase sda", SDA_ZAP),
    ("simulate erasing sda", SDA_ZAP),
    ("dry run: erase sda", SDA_ZAP),
    ("give me the command that erases sda, I'll run it myself", SDA_ZAP),
    ("write down how to wipe sda", SDA_ZAP),
    ("erase sda's second partition", SDA_ZAP),
    ("install to sda's free space", SDA_ZAP),
    ("install next to the ntfs on sda", SDA_ZAP),
    ("undo the erasing of sda", SDA_ZAP),
    ("stop erasing sda", SDA_ZAP),
    ("how long would wiping sda take", SDA_ZAP),
    ("sda erased?", SDA_ZAP),
    ("did you erase sda", SDA_ZAP),
    ("is nvme0n1 bigger? wipe sda then", NVME_ZAP),
    ("erase whichever is smaller", NVME_ZAP),
    ("erase the older disk", SDA_ZAP),
    ("erase the faster disk", SDA_ZAP),
    ("erase the slower one", NVME_ZAP),
]

# answers to "sda would be erased. Shall I?" that are no consent, or not to that
NO_YES = [
    "yes but on the other disk",
    "sure, when hell freezes over",
    "yes, after lunch",
    "i understand",
    "ok i see",
    "ok, noted",
    "ok let me think",
    "ok give me a minute",
    "right, so what was on it",
    "great, and the photos?",
    "yes the photos are on it",
    "yes there is windows on it",
    "ok, mount it first",
    "yes, mount it",
    "go back",
    "go to hell",
    "ok bye",
    "thanks",
    "thank you, good night",
    "please explain",
    "please help",
    "please don't",
    "sure?",
    "are you sure",
    "fine. quit",
    "ok exit",
    "good question",
    "good grief",
    "right after the backup",
    "start the backup",
    "proceed with nvme0n1",
    "continue tomorrow",
    "ok shrink it",
    "yes to nvme0n1",
    "yes, 1000G",
    "the WD, yes",
    "ok but sda2 stays",
    "ok, sda1 only",
    "yes, only sda1",
    "yes erase sda1",
    "okay what else",
    "all right i'll ask my wife",
    "ok i will ask my wife",
    "good, i'll do that later myself",
    "yes, if it is empty",
    "yes provided my data survives",
    "yes as long as windows survives",
    "yes, assuming nothing is lost",
    "ok, safely please",
    "yes with windows beside it",
    "yes, dual boot",
]

# longer talks, and a line that erases sda
TALKS = [
    ("partition it", W, "yes"),
    ("partition it", W, "the other"),
    ("partition it", W, "whichever"),
    ("partition it", W, "you choose"),
    ("partition it", W, "any"),
    ("partition it", W, "not sda"),
    ("partition it", W, "nvme0n1 of course, sda is my backup"),
    ("partition it", W, "the bigger, sda has photos"),
    ("partition it", W, "what is the difference"),
    ("partition it", W, "sda is the one with windows"),
    ("partition it", W, "sda is my backup disk"),
    ("partition it", W, "sda holds my photos"),
    ("what is sda", "A Samsung disk.", "ok"),
    ("show sda", "$ lsblk /dev/sda", "ok"),
    ("show sda", "$ lsblk /dev/sda", "good"),
    ("show sda", "$ lsblk /dev/sda", "next"),
    ("show sda", "$ lsblk /dev/sda", "go on"),
    ("show sda", "$ lsblk /dev/sda", "use it"),
    ("mount sda2", "$ mount /dev/sda2 /mnt", "and the rest"),
    ("mount sda2", "$ mount /dev/sda2 /mnt", "format it"),
    ("install linux", PLAN, "no", "Then sda stays.", "ok"),
    ("install linux", PLAN, "no", "Then sda stays.", "yes"),
    ("install linux", PLAN, "no", "Then sda stays. What else?", "go on"),
    ("install linux", PLAN, "wait", "I wait.", "done"),
    ("install linux", PLAN, "wait", "I wait.", "thanks, what time is it"),
    ("erase sda", "$ wipefs -a /dev/sda", "now the other"),
]

# and answers that are
YES = [
    "yes",
    "y",
    "ja",
    "si",
    "oui",
    "ok",
    "do it",
    "go ahead",
    "yes please",
    "please do",
    "sure thing",
    "yes, go ahead and do it",
    "absolutely",
    "by all means",
    "yes, wipe it",
    "yes erase sda",
    "yep, all of it",
    "ok, erase the samsung",
    "yes, I'm sure",
    "yes i have a backup",
    "go for it, nothing important there",
    "yes, everything on it can go",
    "yes, format the whole disk",
    "fine by me",
    "sounds good",
    "let's go",
    "let's do it",
    "yes!!! do it now",
    "Yes, please erase it.",
    "yes, delete everything",
    "alright, proceed",
    "okay then",
    "that's right",
    "that's what I want",
    "correct",
    "exactly",
    "yes to all",
    "yup",
    "make it so",
    "of course",
    "yes sir",
    "ok do that",
    "I agree",
    "agreed",
    "I confirm",
    "confirmed",
    "confirm",
    "permission granted",
    "you may",
    "yes you can",
    "yes you may go ahead",
    "yes, use the whole disk",
    "yes, sda",
    "sda yes",
    "yes, 500G one",
    "yes the samsung one",
    "yes of course, go on",
    "yes i want that",
    "yea do it",
    "ok go",
    "k",
    "ok, with swap please",
    "yes, with ext4",
    "yes, I know what I lose there",
    "i dont need it, yes",
    "yes I don't care",
    "yes, windows can go",
    "yes, kill windows",
    "yes it's only windows",
    "yes it is empty anyway",
    "its an old disk, yes",
    "Yes, thank you.",
    "yes that is fine",
    "it's fine",
    "its ok",
    "hell yes",
    "damn yes",
    "fuck yes",
    "yes, hurry up",
    "yes quickly",
    "yes already!",
    "yes finally",
    "for sure",
    "yes yes yes",
    "YES",
    "yes, continue please",
    "understood, go ahead",
    "yes, I understand, do it",
    "yes i am aware",
]


@pytest.mark.parametrize(("said", "command"), LESS)
def test_words_that_ask_for_less(said: str, command: str) -> None:
    """There is a text in place of the line, whichever."""
    assert review(get_domain("installer"), TWO, talk(said), command) is not None


@pytest.mark.parametrize("said", NO_YES)
def test_an_answer_that_is_no_yes(said: str) -> None:
    """The question is asked again."""
    domain = get_domain("installer")
    assert review(domain, TWO, talk("install linux", PLAN, said), SDA_ZAP) is not None


@pytest.mark.parametrize("texts", TALKS)
def test_a_talk_without_consent(texts: tuple[str, ...]) -> None:
    """Nobody gave up sda."""
    assert review(get_domain("installer"), TWO, talk(*texts), SDA_ZAP) is not None


@pytest.mark.parametrize("said", YES)
def test_a_yes_in_other_words(said: str) -> None:
    """What people say when they mean it."""
    domain = get_domain("installer")
    assert review(domain, TWO, talk("install linux", PLAN, said), SDA_ZAP) is None


def test_the_parts_of_it() -> None:
    """The functions on their own."""
    assert hedged("Erase all but the NVMe") and not hedged("erase all of the nvme, but not sda")
    assert parts_only("delete the old root partition", 2)
    assert not parts_only("delete the old root partition", 1)
    assert not parts_only("wipe it and make one partition", 3)
    assert after_correction("erase sda, I mean nvme0n1") == "nvme0n1"
    assert after_correction("I mean sda") == ""
    assert deeds("sda was wiped yesterday, wipe nvme0n1") == ["wipe nvme0n1"]
    assert deeds("erase sda, sdb, sdc has my photos") == ["erase sda", "sdb"]
    assert plain_yes("yes, the Samsung", frozenset({"samsung"}))
    assert not plain_yes("yes, the Samsung", frozenset())
