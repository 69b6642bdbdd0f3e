"""The review and the values that were given: paths, names, zones, devices, sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.domain import get_domain, objection, review
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState
from tests.test_review import ONE, talk
from tests.test_review_wish import BARE, DONE, LAID, MKFS

ROOTED = run_command("mount /dev/vda2 /mnt && rsync -aAXHx / /mnt/", DONE).state
ADD = "arch-chroot /mnt useradd -m -G wheel -s /bin/bash {0}"
HOST = "echo {0} > /mnt/etc/hostname"
ZONE = "arch-chroot /mnt ln -sf /usr/share/zoneinfo/{0} /etc/localtime"
LANG = (
    'echo "{0}.UTF-8 UTF-8" >> /mnt/etc/locale.gen && arch-chroot /mnt locale-gen && '
    "echo LANG={0}.UTF-8 > /mnt/etc/locale.conf"
)
SWAP = "fallocate -l {0} /mnt/swapfile && chmod 600 /mnt/swapfile"

# machine, conversation, a line, what the line has in place of what was said
CASES = [
    (ROOTED, ("add a user, {0}",), ADD, "marta", "tom"),
    (ROOTED, ("I'm {0}, I want an account",), ADD, "niamh", "user"),
    (ROOTED, ("my name is {0}", "Hello! What next?", "make me a user"), ADD, "tim", "tom"),
    (ROOTED, ("hostname {0}",), HOST, "atlas", "archlinux"),
    (ROOTED, ("call it {0}",), HOST, "my-box", "box-my"),
    (ROOTED, ("{0}, please",), ZONE, "Europe/Riga", "Europe/Vilnius"),
    (ROOTED, ("zone: {0}",), ZONE, "America/Argentina/Salta", "America/Lima"),
    (ROOTED, ("language {0}",), LANG, "de_AT", "de_DE"),
    (ROOTED, ("{0}.UTF-8",), LANG, "pt_BR", "pt_PT"),
    (ROOTED, ("a swap file of {0}",), SWAP, "3G", "2G"),
    (DONE, ("mount vda1 at {0}",), "mount --mkdir /dev/vda1 {0}", "/mnt/boot/efi", "/mnt/boot"),
    (DONE, ("mount vda2 on {0}, only that",), "mount --mkdir /dev/vda2 {0}", "/srv", "/mnt"),
    (DONE, ("mount {0} at /mnt",), "mount {0} /mnt", "/dev/vda2", "/dev/vda1"),
    (DONE, ("xfs on {0}",), "mkfs.xfs -f /dev/{0}", "vda2", "vda1"),
    (LAID, ("what is on {0}?",), "lsblk -f /dev/{0}", "vda2", "vda1"),
]  # fmt: skip


def asked(state: SystemState, said: tuple[str, ...], line: str) -> bool:
    """Whether the review wants another answer."""
    found = objection(get_domain("installer"), state, talk(*said), line, confirm=False)
    return found is not None and found.again and found.kind == "against"


@pytest.mark.parametrize(("state", "said", "line", "right", "wrong"), CASES)
def test_a_value_that_was_given_is_kept(
    state: SystemState, said: tuple[str, ...], line: str, right: str, wrong: str
) -> None:
    """The right one passes, the other is asked for again; and "yes" to the question lets it pass."""
    words = tuple(text.format(right) for text in said)
    assert not asked(state, words, line.format(right))
    assert asked(state, words, line.format(wrong))
    text = review(get_domain("installer"), state, talk(*words), line.format(wrong))
    assert text is not None and "?" in text
    assert not asked(state, (*words, text, "yes"), line.format(wrong))


@pytest.mark.parametrize(
    ("state", "said", "line"),
    [
        (ROOTED, ("MY NAME IS MARTA, ADD ME",), ADD.format("marta")),
        (ROOTED, ("add maarta",), ADD.format("marta")),
        (ROOTED, ("add nikolas with sudo",), ADD.format("nikolaos")),
        (ROOTED, ("set root's password",), "arch-chroot /mnt passwd root"),
        (ROOTED, ("europe/riga",), ZONE.format("Europe/Riga")),
        (ROOTED, ("not Europe/Riga, Europe/Oslo",), ZONE.format("Europe/Oslo")),
        (ROOTED, ("timezone: europe/rigga",), ZONE.format("Europe/Riga")),
        (ROOTED, ("i am in Riga",), ZONE.format("Europe/Riga")),
        (ROOTED, ("swedish",), LANG.format("sv_SE")),
        (ROOTED, ("hosts: I was in /etc a moment ago. who am i?",), "whoami"),
        (DONE, ("root at /",), "mount /dev/vda2 /mnt"),
        (DONE, ("vda1 on /boot/efi",), "mount --mkdir /dev/vda1 /mnt/boot/efi"),
        (ROOTED, ("unmount /dev/vda2",), "umount /mnt"),
        (BARE, ("vda is free: 1G esp, rest /",),
         "sgdisk -Z /dev/vda && sgdisk -n 1:0:+1G -t 1:ef00 -n 2:0:0 -t 2:8300 /dev/vda"),
        (DONE, ("mount it and copy",), "mount /dev/vda2 /mnt && rsync -aAXHx / /mnt/"),
        (LAID, ("set vda2 to type 8304",), "sgdisk -t 2:8304 /dev/vda"),
        (LAID, ("partition vda, format it too",), MKFS),
        (LAID, ("not vda1, the other one",), "lsblk -f /dev/vda2"),
        (ONE, ("who is who?",), "lsblk -f"),
    ],
)  # fmt: skip
def test_what_is_no_other_value(state: SystemState, said: tuple[str, ...], line: str) -> None:
    """Slips, capitals, what is turned down, places that partitions are for."""
    assert not asked(state, said, line)


@given(
    st.sampled_from(("add a user {0}", "user: {0}", "{0} needs an account here")),
    st.from_regex(r"[a-z]{4,9}[0-9]{0,2}", fullmatch=True),
    st.from_regex(r"[a-z]{4,9}[0-9]{0,2}", fullmatch=True),
)
def test_a_name_is_that_which_was_said(words: str, said: str, made: str) -> None:
    """Names that share no letter at their place are never taken for each other."""
    message = words.format(said)
    assert not asked(ROOTED, (message,), ADD.format(said))
    if not set(said[:3]) & set(made) and made not in message:
        assert asked(ROOTED, (message,), ADD.format(made))


def test_a_name_that_is_there_needs_no_word() -> None:
    """The one user of the machine may be meant by "me"."""
    state = run_command(ADD.format("sanna"), ROOTED).state
    assert not asked(state, ("set my password",), "arch-chroot /mnt passwd sanna")
