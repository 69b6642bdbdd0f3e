"""The review and what a conversation's commands did: a command that failed did not run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.domain import get_domain, review
from llmkit.installer import review_history
from llmkit.installer.review_words import only_looks
from tests.test_review import FREE, NVME_ZAP, ONE, PLAN, SDA_ZAP, TWO, talk

BUSY = "\n\nsgdisk: /dev/sda is in use"

# What stands behind the command that made the table, and whether it can have made it.
BEHIND = [
    ("", True),
    ("\n\nThe operation has completed successfully.", True),
    ("\n\nWarning: The kernel is still using the old partition table, which is in use.\nDone.", True),
    (BUSY, False),
    ("\n\nProblem opening /dev/sda for reading! Error is 2.", False),
    ("\n\nbash: sgdisk: command not found", False),
    ("\n\nCould not create partition 1 from 2048 to 99\nError encountered; not saving changes.", False),
]  # fmt: skip


@pytest.mark.parametrize(("behind", "made"), BEHIND)
def test_a_failed_command_made_nothing(behind: str, made: bool) -> None:
    """Partitions of a table whose making failed are those that were there, with all they hold."""
    messages = talk("set up sda", f"$ {SDA_ZAP}{behind}", "go on")
    found = review(get_domain("installer"), ONE, messages, "mkfs.ext4 -F /dev/sda1")
    assert (found is None) == made


def test_a_tool_message_with_an_error_is_a_failure() -> None:
    """As an error behind the command."""
    messages = [
        {"role": "user", "content": "set up sda"},
        {"role": "assistant", "content": f"$ {SDA_ZAP}"},
        {"role": "tool", "content": "sgdisk: /dev/sda is in use"},
        {"role": "user", "content": "go on"},
    ]
    found = review(get_domain("installer"), ONE, messages, "mkfs.ext4 -F /dev/sda1")
    assert found is not None and "sda1" in found


def test_a_failed_command_does_not_use_up_a_yes() -> None:
    """Who agreed to a plan whose command failed need not be asked about the same thing again."""
    domain = get_domain("installer")
    start = ("install linux", PLAN, "yes")
    failed = talk(*start, f"$ {SDA_ZAP}{BUSY}", "yes, once more")
    assert review(domain, TWO, failed, SDA_ZAP) is None
    assert review(domain, TWO, failed, NVME_ZAP) is not None


@pytest.mark.parametrize(
    "line",
    [
        f"lsblk /dev/sda || {SDA_ZAP.partition(' && ')[0]}",
        "lsblk /dev/sda || { sgdisk -Z /dev/sda; sgdisk -n 1:0:0 /dev/sda; }",
        "test -b /dev/sda1 || (sgdisk -Z /dev/sda && sgdisk -n 1:0:0 /dev/sda)",
    ],
)
def test_a_branch_that_need_not_have_run_made_nothing(line: str) -> None:
    """`a || b` without an error says that one of them worked, and not which."""
    messages = talk("set up sda", f"$ {line}", "go on")
    assert review(get_domain("installer"), ONE, messages, "mkfs.ext4 -F /dev/sda1") is not None


def test_what_stands_before_or_after_the_branch_ran() -> None:
    """`a || true`, and `a || b; c`."""
    domain = get_domain("installer")
    for line in ("sgdisk -Z /dev/sda || true", "umount /mnt || true; sgdisk -Z /dev/sda"):
        messages = talk("set up sda", f"$ {line}", "go on")
        assert review(domain, ONE, messages, "mkfs.ext4 -F /dev/sda1") is None, line


LOOKS = ("show me the partition table of sda", "show me the partitions",
         "list the partitions and file systems", "please display the partitions of sda",
         "I want to see the gpt on sda", "tell me about mkfs", "check the file system on sda1",
         "go on, show me the layout of sda")  # fmt: skip


@pytest.mark.parametrize("text", LOOKS)
def test_who_wants_to_see_does_not_want_to_destroy(text: str) -> None:
    """A word for partitions or file systems in a request to look is no wish to lose them."""
    domain = get_domain("installer")
    assert review(domain, ONE, talk(text), SDA_ZAP) is not None
    assert review(domain, FREE, talk(f"{text} nvme0n1"), NVME_ZAP) is not None


@pytest.mark.parametrize(
    "text",
    ["show sda, then wipe it", "list the disks and erase sda", "check sda and partition it",
     "show me how it looks. format it", "partition sda and show me the result"],
)  # fmt: skip
def test_who_also_asks_for_the_deed_gets_it(text: str) -> None:
    """A look beside a deed takes nothing from it."""
    assert not only_looks(text)


PARTS = st.lists(
    st.sampled_from(["sda", "and", "not /boot", "but", "while", " ", "  ", "\n", ". ", ","])
)


@given(PARTS)
def test_pieces_are_those_of_the_plain_pattern(parts: list[str]) -> None:
    """The one without a guard against long runs of spaces, on which it takes quadratic time."""
    text = "".join(parts)
    words = "and|but|while|with|instead|rather"
    plain = re.compile(rf"(?<=[.;,:!?])\s+|\s+(?=(?:{words})\b|not /)")
    assert review_history._PIECE.split(text) == plain.split(text)


def test_a_long_run_of_spaces_is_read_once() -> None:
    """A million of them: without the guard that is hours, and the test's time runs out."""
    space = " " * 1_000_000
    assert review_history._PIECE.split(f"sda{space}sdb") == [f"sda{space}sdb"]
