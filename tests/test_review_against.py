"""What a line has against the words of the message, or in itself. Expected: by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.domain import Objection, get_domain, objection
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState
from tests.test_review import talk
from tests.test_review_another import AT_BOOT, USER
from tests.test_review_wish import DONE, LAID, PAIR

LANG = "arch-chroot /mnt locale-gen && echo LANG={0}.UTF-8 > /mnt/etc/locale.conf"
GENERATE = "echo '{0}.UTF-8 UTF-8' >> /mnt/etc/locale.gen && "
GERMAN, PORTUGAL = (GENERATE.format(name) + LANG.format(name) for name in ("de_DE", "pt_PT"))
SWISS, TAIWAN = (GENERATE.format(name) + LANG.format(name) for name in ("de_CH", "zh_TW"))
KEYS = "echo KEYMAP={0} > /mnt/etc/vconsole.conf"
ADD = "arch-chroot /mnt useradd -m{1} -s /bin/bash {0}"
WHEEL = ADD.format("tim", " -G wheel")
GRUB_UEFI = "arch-chroot /mnt grub-install --target=x86_64-efi --efi-directory=/boot"
SWAP = "sgdisk -Z /dev/vda && sgdisk -n 1:0:+4G -t 1:8200 -n 2:0:0 -t 2:8300 /dev/vda"
ESP_ALONE = "sgdisk -Z /dev/vda && sgdisk -n 1:0:+512M -t 1:ef00 /dev/vda"
HALF = run_command(ESP_ALONE, PAIR).state

# machine, the messages, the line, how the objection begins, the line in its place
AGAINST = [
    (AT_BOOT, ("generate de_DE as well, no change of LANG",), GERMAN,
     "You said that the language stays as it is", GENERATE.format("de_DE") + "arch-chroot /mnt locale-gen"),
    (AT_BOOT, ("german", f"$ {GERMAN}", "don't touch the keyboard, please"), KEYS.format("de"),
     "You said that the keyboard stays as it is", ""),
    (AT_BOOT, ("in german please, leave the keymap as it is",), f"{GERMAN} && {KEYS.format('de')}",
     "You said that the keyboard stays as it is", GERMAN),
    (AT_BOOT, ("tim, a plain user",), WHEEL, "You asked for an ordinary account", ADD.format("tim", "")),
    (AT_BOOT, ("create an ordinary account tim",), WHEEL, "You asked for an ordinary account",
     ADD.format("tim", "")),
    (PAIR, ("partition vda, no swap",), SWAP, "You said: no swap", ""),
    (PAIR, ("wipe vda: one linux partition",),
     "sgdisk -Z /dev/vda && sgdisk -n 1:0:+8300 -t 1:8300 /dev/vda", "The size 8300 has no unit",
     "sgdisk -Z /dev/vda && sgdisk -n 1:0:0 -t 1:8300 /dev/vda"),
    (PAIR, ("set up vda for linux",), "mkfs.ext4 -F /dev/vda",
     "This puts a file system on the whole of /dev/vda", ""),
    (AT_BOOT, ("grub for bios please",), GRUB_UEFI,
     "You spoke of BIOS, and this machine was started in UEFI mode", ""),
    (AT_BOOT, ("swiss",), SWISS, "Switzerland has several", ""),
    (AT_BOOT, ("the language is portuguese",), PORTUGAL, "Of Brazil (pt_BR.UTF-8) or of Portugal", ""),
    (AT_BOOT, ("chinese texts",), TAIWAN, "Simplified as in mainland China", ""),
    (HALF, ("vda: 512M esp, leave the space after it", f"$ {ESP_ALONE}", "root takes everything else"),
     "sgdisk -Z /dev/vda && sgdisk -n 1:0:0 -t 1:8300 /dev/vda", "The next step erases everything", ""),
    (AT_BOOT, ("german", f"$ {GERMAN}", "and the keys like that, too"), KEYS.format("br-abnt2"),
     "This sets the keymap br-abnt2, which nobody named", ""),
    (USER, ("delete bjorn", "That removes bjorn and his home. Shall I?", "no, keep it but lock it"),
     "arch-chroot /mnt passwd bjorn", "You asked to lock it", "arch-chroot /mnt passwd -l bjorn"),
]  # fmt: skip
FINE = [
    (AT_BOOT, ("in german, keyboard too",), f"{GERMAN} && {KEYS.format('de')}"),
    (AT_BOOT, ("don't touch the live keyboard layout, set the keyboard of the new one to de",),
     KEYS.format("de")),
    (AT_BOOT, ("tim, a plain user with sudo",), WHEEL),
    (AT_BOOT, ("tim is a normal person and my admin",), WHEEL),
    (AT_BOOT, ("swiss german",), SWISS),
    (AT_BOOT, ("I am from lisbon. portuguese texts",), PORTUGAL),
    (AT_BOOT, ("the language", "Which one?", "traditional chinese"), TAIWAN),
    (AT_BOOT, ("german", f"$ {GERMAN}", "and the keys like that, too"), KEYS.format("de-latin1")),
    (AT_BOOT, ("grub for uefi please",), GRUB_UEFI),
    (PAIR, ("ext4 on the whole disk vda, without partitions",), "mkfs.ext4 -F /dev/vda"),
    (PAIR, ("format vda as ext4",), "mkfs.ext4 -F /dev/vda"),
    (HALF, ("vda: 512M esp", f"$ {ESP_ALONE}", "the rest for root"), "sgdisk -n 2:0:0 -t 2:8300 /dev/vda"),
]  # fmt: skip


def found(state: SystemState, said: tuple[str, ...], line: str) -> Objection | None:
    return objection(get_domain("installer"), state, talk(*said), line)


@pytest.mark.parametrize(("state", "said", "line", "begins", "better"), AGAINST)
def test_it_is_said_and_put_right(
    state: SystemState, said: tuple[str, ...], line: str, begins: str, better: str
) -> None:
    """What is against it, and the line without that where there is one."""
    told = found(state, said, line)
    assert told is not None
    assert told.text.startswith(begins)
    assert told.better == better


@pytest.mark.parametrize(("state", "said", "line"), FINE)
def test_what_was_asked_for_passes(state: SystemState, said: tuple[str, ...], line: str) -> None:
    """Words that are like those, and mean it."""
    assert found(state, said, line) is None


def test_a_yes_lets_the_line_pass() -> None:
    """To the question that the objection is."""
    said = ("tim, a plain user",)
    told = found(AT_BOOT, said, WHEEL)
    assert told is not None
    assert found(AT_BOOT, (*said, told.text, "yes"), WHEEL) is None


@given(st.sampled_from(("ext4", "xfs", "btrfs")), st.sampled_from(("ext4", "xfs", "btrfs")))
def test_of_two_kinds_on_one_partition_the_last_stays(first: str, last: str) -> None:
    """The same end with one file system less to make."""
    flag = {"ext4": "-F", "xfs": "-f", "btrfs": "-f"}
    parts = [f"mkfs.{kind} {flag[kind]} /dev/vda2" for kind in (first, last)]
    line = " && ".join(parts)
    told = found(LAID, ("partition vda", "$ sgdisk", f"{last} on vda2"), line)
    assert told is not None and told.text.startswith("This formats /dev/vda2 twice")
    assert told.better == parts[1]
    one, two = (run_command(text, LAID).state for text in (line, told.better))
    assert one == two


def test_what_is_there_is_no_double() -> None:
    """Two partitions, each once."""
    line = "mkfs.fat -F32 /dev/vda1 && mkfs.ext4 -F /dev/vda2"
    assert found(LAID, ("partition vda", "$ sgdisk", "format both"), line) is None
    assert run_command(line, LAID).state == DONE
