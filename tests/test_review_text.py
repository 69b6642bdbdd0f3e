"""Answers in words that are not so. Expected: what the machine has, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.domain import about, get_domain, objection, untrue, wished
from llmkit.installer.state import SystemState
from tests.test_review import ONE, TWO, talk
from tests.test_review_another import USER
from tests.test_review_wish import DONE, LAID, PAIR

# machine, the last message, the answer, what is said in its place
WRONG = [
    (USER, "bjorn's password", "There is no user bjorn yet. Shall I create bjorn?", "Bjorn is a user here"),
    (DONE, "what is where", "The root is /dev/vda2f10.", "There is no /dev/vda2f10"),
    (DONE, "fat on the esp", "The root is /dev/vda2/446.3G.", "There is no /dev/vda2/446"),
    (DONE, "fat on the esp", "There is no /dev/vda1 on this machine.", "/dev/vda1 is there"),
    (DONE, "fat on the esp", "/dev/vda2 does not exist.", "/dev/vda2 is there"),
    (PAIR, "wipe it", "Which disk: /dev/vda or /dev/sda?", "There is no /dev/sda"),
    (TWO, "mount sda2", "/dev/sda2 has no file system yet. Shall I format it?",
     "/dev/sda2 has a file system, ext4"),
    (TWO, "is it mounted?", "Yes, /dev/sda2 is mounted at /mnt.", "/dev/sda2 is not mounted at /mnt"),
    (TWO, "which is bigger?", "/dev/sda (1T) is the bigger one.", "/dev/sda has another size than 1T"),
]  # fmt: skip
FINE = [
    (USER, "anna's password", "There is no user anna yet. Shall I create anna?"),
    (LAID, "what will be there?", "Two: /dev/vda1 (512M) for EFI, /dev/vda2 for the root. Shall I?"),
    (PAIR, "partitions?", "/dev/vda1 and /dev/vda2 on /dev/vda; then they hold nothing. Shall I?"),
    (PAIR, "erase /dev/sdz", "There is no /dev/sdz; here are /dev/vda and /dev/vdb."),
    (PAIR, "the guide says sda", "/dev/sda does not exist here."),
    (ONE, "how large?", "/dev/sda (500G) has two partitions. There is no doubt about that."),
    (TWO, "mount sda1", "/dev/sda1 has no file system for Linux; it is ntfs."),  # left over, by old words
    (TWO, "thanks", "You're welcome! Next /dev/sda2 is mounted at /mnt; shall I?"),
    (TWO, "and then?", "Once /dev/sda2 is mounted at /mnt, the system can be copied."),
    (TWO, "wrong fs type", "The new /dev/sda2 has no file system yet; the old one went."),
    (DONE, "and?", "It is mounted at /mnt, /dev/vda2. Good."),
]  # fmt: skip


@pytest.mark.parametrize(("state", "said", "text", "instead"), WRONG)
def test_what_is_not_so_is_not_said(state: SystemState, said: str, text: str, instead: str) -> None:
    """The truth about it, and a question, take its place."""
    found = untrue(get_domain("installer"), state, talk(said), text)
    assert found == f"{instead}. What shall I do?"


@pytest.mark.parametrize(
    "text",
    [
        "Which one: /dev/sda (500G) or /dev/sdb (16G)? Everything on it is lost.",
        "Which disk shall I erase, /dev/sda or /dev/sdb?",
        "Which disk, /dev/sda or /dev/sdc? All of it is erased.",
    ],
)
def test_a_choice_that_is_none_becomes_a_question_to_agree_to(text: str) -> None:
    """It says which disk is left and what is lost; a yes to it, and no other word, is consent."""
    domain, line = (
        get_domain("installer"),
        "sgdisk -Z /dev/sda && sgdisk -n 1:0:0 -t 1:8300 /dev/sda",
    )
    found = untrue(domain, ONE, talk("partition the disk"), text)
    told = "Shall I use /dev/sda (500G), the only disk for that? It gets erased."
    assert found.split(". ", 1)[1] == told
    for said, agreed in (("yes", True), ("yes please", True), ("no", False), ("why?", False)):
        messages = talk("partition the disk", found, said)
        assert (objection(domain, ONE, messages, line) is None) == agreed, said


def test_a_choice_of_what_to_look_at_is_no_question_for_a_loss() -> None:
    """It asks about the disk, and nothing else."""
    text = "Whose health: which disk do you mean, /dev/sda or /dev/sdb?"
    found = untrue(get_domain("installer"), ONE, talk("health?"), text)
    assert found.endswith("Do you mean /dev/sda (500G), the only disk for that?")


@pytest.mark.parametrize(("state", "said", "text"), FINE)
def test_what_may_be_so_is_let_through(state: SystemState, said: str, text: str) -> None:
    """Partitions to come, what the person named, sizes as they are."""
    assert untrue(get_domain("installer"), state, talk(said), text) == ""


@given(st.text(max_size=200), st.sampled_from((USER, DONE, PAIR, TWO)))
def test_any_text_may_be_read(text: str, state: SystemState) -> None:
    """No text is too odd, nor a number in it too long; what is wrong is told in a sentence."""
    for said in (text, f"there is no {text}.", f"/dev/{text} ({'9' * 400}G)"):
        found = untrue(get_domain("installer"), state, talk("and?"), said)
        assert found == "" or found.endswith(
            (". What shall I do?", ", the only disk for that?", "erased.")
        )


@given(
    st.text(max_size=200), st.one_of(st.text(max_size=80), st.just("mkfs.ext4 -F /dev/vda2")),
    st.sampled_from((USER, DONE, PAIR, TWO)),
)  # fmt: skip
def test_any_message_may_be_asked_about(text: str, command: str, state: SystemState) -> None:
    """Whether it names what a line works on has an answer, whatever both are."""
    for said in (text, f"vda2 {text}"):
        assert about(get_domain("installer"), state, talk(said), command) in (True, False)


def test_a_domain_without_a_word_on_texts_lets_all_through() -> None:
    """The seam's default."""
    assert about(object(), None, [], "anything") is False  # type: ignore[arg-type]
    assert untrue(object(), None, [], "anything") == ""  # type: ignore[arg-type]


ABOUT = [
    (LAID, "ext4 for the larger partition of vda", "mkfs.ext4 -F /dev/vda2", True),  # nothing known is lost
    (TWO, "format sda1 with ext4", "mkfs.ext4 -F /dev/sda1", False),  # ntfs is
    (TWO, "attach the ext4 partition at /mnt", "mount /dev/sda2 /mnt", True),
    (TWO, "attach the ext4 partition at /mnt", "mount /dev/nvme0n1p2 /mnt", False),
    (TWO, "attach it at /mnt", "mount /dev/sda2 /mnt", False),
    (LAID, "is the larger partition of vda ext4?", "mkfs.ext4 -F /dev/vda2", False),
]  # fmt: skip


@pytest.mark.parametrize(("state", "said", "command", "due"), ABOUT)
def test_what_a_message_names_or_describes(
    state: SystemState, said: str, command: str, due: bool
) -> None:
    """What a line works on, and no more; no question, and no loss that is known."""
    assert about(get_domain("installer"), state, talk(said), command) is due


@pytest.mark.parametrize(
    ("said", "command", "may"),
    [("mount it, that was forgotten", "mount /dev/sda2 /mnt", True),
     ("would you mount sda2", "mount /dev/sda2 /mnt", True),
     ("is sda2 mounted?", "mount /dev/sda2 /mnt", False), ("show me sda2", "mount /dev/sda2 /mnt", False),
     ("mount it, that was forgotten", "lsblk", False)],
)  # fmt: skip
def test_a_question_is_not_answered_with_a_deed(said: str, command: str, may: bool) -> None:
    """What may take the place of a text that is not so: a deed where one was wished for."""
    assert wished(get_domain("installer"), TWO, talk(said), command) is may
    assert wished(object(), None, [], command) is False  # type: ignore[arg-type]
