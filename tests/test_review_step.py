"""The review and the step that was asked for: nothing is made twice, nor of another kind."""

from __future__ import annotations

import pytest

from llmkit.domain import get_domain, objection, review
from llmkit.installer.review_step import kept, kinds, placed
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState
from tests.test_review import ONE, talk
from tests.test_review_wish import BARE, DONE, LAID, LAID_TALK, MKFS, VDA_ZAP

ONE_PART = "parted -s /dev/vda mklabel msdos mkpart primary 1MiB 100% set 1 boot on"
XFS = "mkfs.fat -F32 /dev/vda1 && mkfs.xfs -f /dev/vda2"
ZAP3 = (
    "sgdisk -Z /dev/vda && "
    "sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:+12G -t 2:8300 -n 3:0:0 -t 3:{0} /dev/vda"
)
TYPED, PLAIN = (run_command(ZAP3.format(code), BARE).state for code in ("8302", "8300"))
MADE = (*LAID_TALK, "next", f"$ {MKFS}")

# machine, conversation, a line that is another step
OTHER = [
    # the table that was just made
    (LAID, (*LAID_TALK, "Proceed, please."), ONE_PART),
    (LAID, (*LAID_TALK, "procdee"), VDA_ZAP),
    (LAID, (*LAID_TALK, "now format it"), ONE_PART),
    (LAID, (*LAID_TALK, "next", "Next is formatting. Shall I format vda1 and vda2?", "yes"), VDA_ZAP),
    # the file systems that were just made
    (DONE, (*MADE, "next"), MKFS),
    (DONE, (*MADE, "go on"), XFS),
    # another kind
    (LAID, (*LAID_TALK, "root ext4"), XFS),
    (LAID, (*LAID_TALK, "btrfs please"), MKFS),
    (LAID, (*LAID_TALK, "no, xfs instead of ext4"), MKFS),
    (BARE, ("install on vda, with f2fs",), f"{VDA_ZAP} && {MKFS}"),
    # kinds of root and home
    (TYPED, ("ext4 on / and xfs on /home",), "mkfs.xfs -f /dev/vda2"),
    (TYPED, ("roto ext4, homme xfs",), "mkfs.fat -F32 /dev/vda1 && mkfs.xfs -f /dev/vda2"),
    (PLAIN, ("root: ext4, home: xfs",), "mkfs.xfs -f /dev/vda2 && mkfs.ext4 -F /dev/vda3"),
    (TYPED, ("root ext4 home btrfs",), "mkfs.ext4 -F /dev/vda3"),
    # the kind that was named before
    (LAID, ("install on vda, f2fs", f"$ {VDA_ZAP}", "k, mksf"), MKFS),
    (LAID, ("install on vda, f2fs", f"$ {VDA_ZAP}", "is vda2 aligned?", "Yes.", "ok, next"), MKFS),
    # sizes, and a swap partition
    (BARE, ("vda: 1G ef00, 4G 8200, rest 8300",), VDA_ZAP),
    (BARE, ("partition vda, 1 GB for the esp",), VDA_ZAP),
    (BARE, ("partition vda, a swap partition too",), VDA_ZAP),
    (BARE, ("partition vda: esp, 4G swap, root",), VDA_ZAP),
    (BARE, ("hi", "512 MiB EFI, the rest root: vda would be erased. Shall I?", "yes but 12G root"),
     "sgdisk -Z /dev/vda && sgdisk -n 1:0:+12G -t 1:ef00 -n 2:0:0 -t 2:8300 /dev/vda"),
]  # fmt: skip

ASKED = [
    (LAID, (*LAID_TALK, "no, erase it again, one partition"), ONE_PART),
    (LAID, (*LAID_TALK, "start over with msdos"), ONE_PART),
    (LAID, (*LAID_TALK, "hm", "Shall I erase vda again, with one partition?", "yes"), ONE_PART),
    (BARE, ("set up vda", f"$ {VDA_ZAP}\n\nsgdisk: /dev/vda is in use", "go on"), VDA_ZAP),
    (LAID, (*LAID_TALK, "next"), MKFS),
    (DONE, (*MADE, "format both again"), MKFS),
    (DONE, (*MADE, "hm", "Shall I format them once more?", "yes"), MKFS),
    (LAID, (*LAID_TALK, "root ext4"), MKFS),
    (LAID, (*LAID_TALK, "not ext4, xfs"), XFS),
    (LAID, (*LAID_TALK, "ext4 or xfs, you choose, format it"), XFS),
    (LAID, (*LAID_TALK, "etx4 please, format"), MKFS),
    (LAID, (*LAID_TALK, "fat32 for the esp and format the root"), MKFS),
    (TYPED, ("ext4 on / and xfs on /home",),
     "mkfs.fat -F32 /dev/vda1 && mkfs.ext4 -F /dev/vda2 && mkfs.xfs -f /dev/vda3"),
    (TYPED, ("ext4 on / and xfs on /home",), "mkfs.xfs -f /dev/vda3"),
    (PLAIN, ("home is to be xfs, format vda3",), "mkfs.xfs -f /dev/vda3"),
    (PLAIN, ("format root and home with ext4",),
     "mkfs.ext4 -F /dev/vda2 && mkfs.ext4 -F /dev/vda3"),
    (LAID, ("install on vda, f2fs", f"$ {VDA_ZAP}", "is ext4 fine?", "ext4 is fine. Shall I?", "yes"),
     MKFS),
    (BARE, ("partition vda, without a swap partition",), VDA_ZAP),
    (BARE, ("vda: gpt esp/512M root/rest",), VDA_ZAP),
    (LAID, ("mkfs.xfs /dev/sdq", "There is no sdq.", "partition vda", f"$ {VDA_ZAP}", "format it"),
     MKFS),
    (LAID, ("is f2fs good?", "For flash.", "partition vda", f"$ {VDA_ZAP}", "next"), MKFS),
    (BARE, ("partition vda: 512M efi, rest root",), VDA_ZAP),
    (BARE, ("partition the 40G disk",), VDA_ZAP),
    (BARE, ("partition vda, root at least 20G",), VDA_ZAP),
    (BARE, ("partition vda, no swap partition",), VDA_ZAP),
    (BARE, ("partition vda, I have 8G of memory",), VDA_ZAP),
    (BARE, ("partition vda: 512M efi, 12G root, rest home",), ZAP3.format("8302")),
    (BARE, ("vda: 12 GiB for the root, home gets the rest, partition it",), ZAP3.format("8300")),
    (ONE, ("turn the ext4 partition sda2 into xfs, format it",), "mkfs.xfs -f /dev/sda2"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "texts", "command"), OTHER)
def test_another_step(state: SystemState, texts: tuple[str, ...], command: str) -> None:
    """The model may try again, whoever asks for consent; "yes" to the question lets it pass."""
    domain = get_domain("installer")
    for confirm in (True, False):
        found = objection(domain, state, talk(*texts), command, confirm=confirm)
        assert found is not None and found.again and found.text.endswith("?")
        assert review(domain, state, talk(*texts, found.text, "yes"), command) is None


@pytest.mark.parametrize(("state", "texts", "command"), ASKED)
def test_the_step_that_was_asked_for(
    state: SystemState, texts: tuple[str, ...], command: str
) -> None:
    """A new wish, a plan that says so, the kind that was named, a word that may be it."""
    assert review(get_domain("installer"), state, talk(*texts), command) is None


def test_what_would_be_lost_is_told() -> None:
    """A wrong kind where there is data: the question names the loss, too."""
    text = review(get_domain("installer"), ONE, talk("btrfs on sda2"), "mkfs.xfs -f /dev/sda2")
    assert text is not None and "erase" in text and "ext4" in text and "xfs" in text


def test_kinds() -> None:
    """Kinds that are meant; none where a word is nearly one."""
    assert kinds("mkfs.xfs, or ext4") == {"xfs", "ext4"}
    assert kinds("etx4 and xfs") == set() and kinds("fat32") == set()
    assert kinds(kept("xfs instead of ext4")) == {"xfs"} == kinds(kept("no ext4, xfs"))


def test_placed() -> None:
    """Pairs of a place and a kind, in either order; nothing where they do not pair."""
    both = {"root": "ext4", "home": "xfs"}
    assert placed("ext4 on / and xfs on /home") == both == placed("root ext4, home: xfs")
    assert placed("ext4 for root and home") == placed("root and home") == placed("hello") == {}
