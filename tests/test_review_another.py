"""The review's own lines: what was asked for, near what the model wrote. Expected lines: by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.domain import Objection, get_domain, objection
from llmkit.installer.review_consent import Consent, Talk
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState
from tests.test_review import FREE, ONE, TWO, ZAP, machine, talk
from tests.test_review_copied import ADD, LANG, ROOTED, ZONE
from tests.test_review_wish import BLANK, DONE, LAID, LAID_TALK, MKFS, PAIR

VDA_ZAP, VDB_ZAP = ZAP.format("vda"), ZAP.format("vdb")
KEYS = "echo KEYMAP={0} > /mnt/etc/vconsole.conf"
BOTH = "mount /dev/vda2 /mnt && mkdir -p /mnt/boot/efi && mount /dev/vda1 /mnt/boot/efi"
MOUNTED = run_command(BOTH, DONE).state
ROOT_ON = run_command("mount /dev/vda2 /mnt", DONE).state
MODELS = machine(
    {**BLANK, "name": "nvme0n1", "model": "Corsair MP600", "transport": "nvme"},
    {
        **BLANK,
        "name": "nvme1n1",
        "model": "Solidigm P44 Pro",
        "transport": "nvme",
        "size": 80 << 30,
    },
)
USER = run_command(ADD.format("bjorn"), ROOTED).state
AT_BOOT = run_command(
    "mount /dev/vda2 /mnt && mount --mkdir /dev/vda1 /mnt/boot && rsync -aAXHx / /mnt/", DONE
).state
GRUB = (
    "arch-chroot /mnt grub-install --target=x86_64-efi --efi-directory={0} --bootloader-id=GRUB"
    " && arch-chroot /mnt grub-mkconfig -o /boot/grub/grub.cfg"
)

# machine, conversation, what the model wrote, what was asked for
MENDED = [
    # a language, a keymap, a zone
    (ROOTED, ("turkish",), LANG.format("hu_HU"), LANG.format("tr_TR")),
    (ROOTED, ("my laptop speaks swiss german",), LANG.format("de_DE"), LANG.format("de_CH")),
    (ROOTED, ("keyboard: trq",), KEYS.format("tr-latin1"), KEYS.format("trq")),
    (ROOTED, ("spanish keys please",), KEYS.format("us-acentos1"), KEYS.format("es")),
    (ROOTED, ("I live in Ukraine, set the zone",), ZONE.format("Europe/Bucharest"),
     ZONE.format("Europe/Kyiv")),
    (ROOTED, ("zurich time",), ZONE.format("Asia/Berlin"), ZONE.format("Europe/Zurich")),
    (ROOTED, ("zone Europe/Riga",), ZONE.format("Europe/Vilnius"), ZONE.format("Europe/Riga")),
    (ROOTED, ("german keys for this session",), "loadkeys vconsole.conf", "loadkeys de-latin1"),
    (ROOTED, ("i've got spanish keys here",), "loadkeyspanish", "loadkeys es"),
    # a disk that is named
    (MODELS, ("the Corsair is free: erase and partition it",), ZAP.format("nvme1n1"),
     ZAP.format("nvme0n1")),
    (PAIR, ("partition vdb",), VDA_ZAP, VDB_ZAP),
    (TWO, ("erase sda and partition it",), ZAP.format("nvme0n1"), ZAP.format("sda")),
    (FREE, ("install linux on the blank drive",), ZAP.format("sda"), ZAP.format("nvme0n1")),
    # a partition, a file system
    (LAID, (*LAID_TALK, "xfs on vda2"), "mkfs.ext4 -F /dev/vda2", "mkfs.xfs -f /dev/vda2"),
    (LAID, (*LAID_TALK, "ext4 on vda2"), MKFS, "mkfs.ext4 -F /dev/vda2"),
    (LAID, (*LAID_TALK, "ext4 for vda2 please"), "mkfs.fat -F32 /dev/vda2", "mkfs.ext4 -F /dev/vda2"),
    (DONE, ("second partition to /mnt",), BOTH, "mount /dev/vda2 /mnt"),
    (DONE, ("the ext4 partition at /mnt",), BOTH, "mount /dev/vda2 /mnt"),
    (DONE, ("mount partition two on /mnt",), BOTH, "mount /dev/vda2 /mnt"),
    (DONE, ("it isn't mounted after all. mount the root partition at /mnt",), BOTH, "mount /dev/vda2 /mnt"),
    (ROOT_ON, ("partition one belongs at /mnt/boot/efi",), "mount --mkdir /dev/vda2 /mnt/boot/efi",
     "mount --mkdir /dev/vda1 /mnt/boot/efi"),
    (ROOT_ON, ("partition 1 at /mnt/boot",), "mount --mkdir /dev/vda2 /mnt/boot",
     "mount --mkdir /dev/vda1 /mnt/boot"),
    # what is done already
    (DONE, ("restart please",), "umount -R /mnt && reboot", "reboot"),
    (USER, ("bjorn should be in wheel",), ADD.format("bjorn"),
     "arch-chroot /mnt usermod -aG wheel bjorn"),
    (AT_BOOT, ("grub and its menu",), GRUB.format("/boot/efi"), GRUB.format("/boot")),
    # a part that is missing, or too much
    (ROOTED, ("lena, with a password",), ADD.format("lena"),
     ADD.format("lena") + " && arch-chroot /mnt passwd lena"),
    (MOUNTED, ("copy it, fstab too",), "rsync -aAXHx / /mnt/",
     "rsync -aAXHx / /mnt/ && genfstab -U /mnt >> /mnt/etc/fstab"),
    (ROOTED, ("does root have a password?", "None so far. Shall I lock the account?", "yes, lock it"),
     "arch-chroot /mnt passwd root", "arch-chroot /mnt passwd -l root"),
    (ROOTED, ("account for clara, no wheel",), ADD.format("clara"),
     "arch-chroot /mnt useradd -m -s /bin/bash clara"),
]  # fmt: skip

# machine, conversation, what the model wrote: no line of the review's own may take its place
NOT_MENDED = [
    (PAIR, ("my photos are on vdb; the other can be erased and partitioned",), VDA_ZAP),
    (PAIR, ("my photos are on vdb, erase the other one",), VDA_ZAP),
    (PAIR, ("anything but vdb may be erased, partition",), VDA_ZAP),
    (PAIR, ("partition it, but not vdb",), VDA_ZAP),
    (PAIR, ("is vdb empty?",), VDA_ZAP),
    (PAIR, ("nothing on vdb then",), VDA_ZAP),
    (PAIR, ("vdb was left alone",), VDA_ZAP),
    (PAIR, ("vdb is as it was",), VDA_ZAP),
    (PAIR, ("is vdb still fine",), VDA_ZAP),
    (PAIR, ("the swap, is that on vdb",), VDA_ZAP),
    (PAIR, ("I bought vdb only for linux",), VDA_ZAP),
    (PAIR, ("vdb could take it",), VDA_ZAP),
    (PAIR, ("erase the disk that isn't vdb",), VDB_ZAP),
    (PAIR, ("the second disk holds my files, wipe the first",), VDB_ZAP),
    (PAIR, ("vdb stays! partition",), VDA_ZAP),
    (ONE, ("what does mkfs do?",), "mkfs.ext4 -F /dev/sda9"),
    (DONE, ("label p2 arch",), "mkfs.fat -F32 /dev/vda1"),
    (DONE, ("umount and format vda2 again",), "umount -R /mnt && mkfs.ext4 -F /dev/vda9"),
]  # fmt: skip


def against(state: SystemState, said: tuple[str, ...], line: str) -> Objection | None:
    return objection(get_domain("installer"), state, talk(*said), line)


@pytest.mark.parametrize(("state", "said", "wrote", "meant"), MENDED)
def test_the_line_that_was_asked_for_is_known(
    state: SystemState, said: tuple[str, ...], wrote: str, meant: str
) -> None:
    """There is something against what was written and nothing against what was meant, for whoever asks
    for consent oneself, too."""
    found = against(state, said, wrote)
    assert found is not None and found.better == meant and found.kind == "against"
    assert against(state, said, meant) is None
    loose = objection(get_domain("installer"), state, talk(*said), wrote, confirm=False)
    assert loose is not None and loose.better == meant


@pytest.mark.parametrize(("state", "said", "wrote"), NOT_MENDED)
def test_a_disk_that_may_not_be_meant_is_never_put_in(
    state: SystemState, said: tuple[str, ...], wrote: str
) -> None:
    """The person is asked, or told why not."""
    found = against(state, said, wrote)
    assert found is not None and not found.better


DISKS = ("vda", "vdb")
SPARES = (
    "my photos are on {0}; erase the other", "{0} stays. wipe it and partition", "keep {0}, partition",
    "don't touch {0}, install", "erase everything but {0}", "all my data is on {0}, so partition the other",
    "not {0}! partition the disk", "spare {0}, erase the rest", "{0} has my thesis, format the disk",
    "my files are on {0} and the other can be partitioned", "install, but {0} must stay",
)  # fmt: skip
LINES = (ZAP, "wipefs -a /dev/{0}", "parted -s /dev/{0} mklabel gpt", "mkfs.ext4 -F /dev/{0}")


@given(
    st.sampled_from(DISKS), st.sampled_from(DISKS), st.sampled_from(SPARES), st.sampled_from(LINES)
)
def test_what_is_to_be_spared_is_never_put_in(
    spared: str, wrote: str, said: str, line: str
) -> None:
    """Whatever the model wrote and however it was said."""
    found = against(PAIR, (said.format(spared),), line.format(wrote))
    assert found is None or spared not in found.better
    if wrote == spared:
        assert found is not None


WISHES = ("erase {0} and partition it", "partition {0}", "wipe /dev/{0}", "install linux on {0}",
          "prepare {0} for linux please", "REPARTITION {0}")  # fmt: skip


@given(
    st.sampled_from(DISKS),
    st.sampled_from(DISKS),
    st.sampled_from(WISHES),
    st.sampled_from(LINES[:3]),
)
def test_the_named_disk_and_no_other(named: str, wrote: str, said: str, line: str) -> None:
    """A line about the disk that was named passes; about another it is put right or asked about."""
    found = against(PAIR, (said.format(named),), line.format(wrote))
    whole = ZAP.format(named)
    if line == LINES[2] and found is not None:  # a table alone, where partitions were asked for
        assert found.better in ("", line.format(named), whole)
    elif wrote == named:
        assert found is None
    else:
        assert found is not None and found.better in ("", line.format(named), whole)


@given(st.text(max_size=60), st.sampled_from([wrote for _, _, wrote, _ in MENDED]))
def test_a_line_of_the_reviews_own_passes_the_review(said: str, wrote: str) -> None:
    """Whatever is said: what it puts in place has nothing against it, and is not the same."""
    for state in (PAIR, DONE, ROOTED):
        found = against(state, (said or "x",), wrote)
        if found is not None and found.better:
            assert found.better != wrote and against(state, (said or "x",), found.better) is None


@pytest.mark.parametrize(
    ("state", "said", "line"),
    [
        (ROOTED, ("australian english keys, but English texts",), LANG.format("en_US")),
        (ROOTED, ("german, the one of vienna",), LANG.format("de_AT")),
        (ROOTED, ("texts in french, keys german",), KEYS.format("de-latin1")),
        (ROOTED, ("spanish",), LANG.format("es_MX")),
        (ROOTED, ("us eastern; español for texts and keys",), ZONE.format("America/New_York")),
        (ROOTED, ("portugal",), ZONE.format("Atlantic/Madeira")),
        (ROOTED, ("list the zones of europe",), "ls /usr/share/zoneinfo/Europe"),
        (DONE, ("mount it all at /mnt",), BOTH),
        (DONE, ("mount vda2 and the esp",), BOTH),
        (ROOTED, ("add lena, the password comes later",), ADD.format("lena")),
        (ROOTED, ("add klaus as admin, no password yet",), ADD.format("klaus")),
        (MOUNTED, ("copy, fstab later",), "rsync -aAXHx / /mnt/"),
    ],
)
def test_what_may_be_meant_is_let_through(
    state: SystemState, said: tuple[str, ...], line: str
) -> None:
    """A value that fits, a part that comes later, all of it."""
    assert against(state, said, line) is None


# What a reader who had not seen the rules got past their first version: the disk is not to be erased.
HELD_BACK = (
    "the {0} is sacred, wipe the disk and partition",
    "{0} belongs to grandma; format and install",
    "{0} is reserved for windows, install",
    "install linux, {0} is windows",
    "{0} aside, wipe everything",
    "minus {0}, wipe everything",
    "avoid {0} and partition",
    "exclude {0}, partition",
    "wipe, {0} excluded",
    "install linux, away from {0}",
    "partition; hands away from {0}",
    "preferably {0} survives. install",
    "let {0} be and install",
    "{0} is off the table. partition",
    "wipe the disk. ({0} = archive)",
    "steer clear of {0}, erase",
    "unplug {0} first, then wipe",
    "i read that install overwrites {0}",
    "erase {0}, scratch that",
    "erase {0}, oops, wrong disk",
    "partition {0}, sorry meant the other",
    "partition the drive that sits beside {0}",
    "partition the one before {0}",
    "dnt erase {0}",
    "i'd hate it when you erase {0}",
    "god forbid you erase {0}",
    "{0} would be a shame to erase",
    "{0} aint the one to erase",
    "mount {0}, wipe is bad",
    "one day I will erase {0}",
    "erase {0} once i copied it",
    "dry run: wipe {0}",
    "pretend to erase {0}",
    "{0} is dying, erase the disk",
    "{0} too big, partition",
    "clone {0} before install",
    "prepare a report about {0}",
    "format the output for {0}",
    "set up a mount for {0}",
    "{0} out, install",
)

NOT_MEANT = [
    (DONE, "dnt format vda2", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "avoid vda2, format", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "format the esp, vda2 survives", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "i formatted vda2 already", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "format vda2, scratch that", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "vda2 is sacred, format", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "avoid vda2, wipe", "wipefs -a /dev/vda1"),
    (DONE, "vda2 aside, make swap", "mkswap /dev/vda1"),
    (DONE, "make root ext4", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "ext4 on the second one", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "format with ext4", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "i want btrfs for the system", "mkfs.fat -F32 /dev/vda1"),
    (DONE, "xfs is terrible. format them", "mkfs.ext4 -F /dev/vda2"),
    (DONE, "i hate btrfs, format both", "mkfs.ext4 -F /dev/vda2"),
    (DONE, "my laptop has btrfs, format these", "mkfs.ext4 -F /dev/vda2"),
    (DONE, "dont reboot", "umount -R /mnt && reboot"),
    (DONE, "no restart now, only unmount", "umount -R /mnt && reboot"),
    (DONE, "reboot? not yet", "umount -R /mnt && reboot"),
    (DONE, "restart later", "umount -R /mnt && reboot"),
    (DONE, "when do I restart", "umount -R /mnt && reboot"),
    (DONE, "unmount everything", "umount -R /mnt && reboot"),
    (DONE, "power off instead of a restart", "umount -R /mnt && reboot"),
    (USER, "remove bjorn from wheel", ADD.format("bjorn")),
    (USER, "take wheel away from bjorn", ADD.format("bjorn")),
    (USER, "bjorn with no wheel", ADD.format("bjorn")),
    (USER, "is bjorn there", ADD.format("bjorn")),
    (USER, "another user like bjorn, named lena", ADD.format("bjorn")),
    (ROOTED, "num lock on, root password", "arch-chroot /mnt passwd root"),
    (ROOTED, "set a password to lock down root", "arch-chroot /mnt passwd root"),
    (ROOTED, "bob in wheel, anna with no wheel", ADD.format("bob")),
    (ROOTED, "no wheel for anna; add bob", ADD.format("bob")),
    (ROOTED, "add bob as admin, not admin for the guest", ADD.format("bob")),
    (ROOTED, "anna, sans password", ADD.format("anna")),
    (ROOTED, "anna. what about a password", ADD.format("anna")),
    (ROOTED, "anna; root already has a password", ADD.format("anna")),
    (ROOTED, "anna, and install a password manager", ADD.format("anna")),
    (ROOTED, "my friend in Berlin says hi, utc for me", ZONE.format("UTC")),
    (ROOTED, "utc please, i'm from sydney", ZONE.format("UTC")),
    (ROOTED, "london, ontario", ZONE.format("America/Toronto")),
    (ROOTED, "hostname will be oslo; my time zone is eastern", ZONE.format("America/New_York")),
    (ROOTED, "indiana", ZONE.format("America/Indiana/Indianapolis")),
    (ROOTED, "instead of de-latin1 take us", KEYS.format("us")),
    (ROOTED, "my keyboard is american, the system german", KEYS.format("us")),
    (ROOTED, "everything besides german", LANG.format("en_US")),
    (ROOTED, "the screen is german, fix that", LANG.format("en_US")),
]


@pytest.mark.parametrize("said", HELD_BACK)
def test_a_disk_that_is_held_back_is_never_put_in(said: str) -> None:
    """On two blank disks, and where it holds two systems, by name and by model."""
    for state, name, wrote in (
        (PAIR, "vdb", VDA_ZAP),
        (TWO, "sda", ZAP.format("nvme0n1")),
        (TWO, "the samsung", ZAP.format("nvme0n1")),
    ):
        found = against(state, (said.format(name),), wrote)
        assert found is None or not found.better, name


@pytest.mark.parametrize(("state", "said", "wrote"), NOT_MEANT)
def test_what_is_not_meant_is_not_put_in(state: SystemState, said: str, wrote: str) -> None:
    """Partitions, kinds, restarts, groups, passwords, places and languages that are spoken of and not
    wanted."""
    found = against(state, (said,), wrote)
    assert found is None or not found.better


# A yes is for what the question names; what holds something is given up by a yes alone.

ASKED = [
    (PAIR, ("linux please", "vda is the slower one. Shall I erase vdb and partition it?", "yes"), VDA_ZAP),
    (PAIR, ("partition vda", f"$ {VDA_ZAP}", "the other the same way",
            "That erases vdb with everything on it. Is that what you want?", "that's what I want"), VDA_ZAP),
    (PAIR, ("vda stays! vdb is to be erased",), VDA_ZAP),
    (PAIR, ("my photos are on vdb", "All right.", "wipe it and partition"), VDB_ZAP),
    (PAIR, ("vda or vdb?", "vda has 40G, vdb has 80G.", "erase the latter and partition it"), VDA_ZAP),
    (PAIR, ("vda is holy. use the other, wipe it",), VDA_ZAP),
    (PAIR, ("erase vdb. correction: vda",), VDB_ZAP),
    (PAIR, ("i erased vdb yesterday",), VDB_ZAP),
    (PAIR, ("erase vdb as soon as the backup is through",), VDB_ZAP),
    (PAIR, ("vdb isnt to be wiped",), VDB_ZAP),
    (PAIR, ("vdb is sacred", "OK.", "install now"), VDB_ZAP),
    (TWO, ("erase sda should nvme0n1 be too small",), ZAP.format("sda")),
    (TWO, ("partition sda... wait, nvme0n1",), ZAP.format("sda")),
    (TWO, ("all three drives, wiped, please",), ZAP.format("sda")),
    (DONE, ("format?", "vda2 holds ext4. Shall I format vda1?", "yes"), "mkfs.ext4 -F /dev/vda2"),
    (DONE, ("format it", "Shall I format vda1? vda2 stays as it is.", "yes"), MKFS),
    (DONE, ("delete partition 2",), "sgdisk -d 1 /dev/vda"),
    (DONE, ("remove vda1",), "sgdisk -d 2 /dev/vda"),
    (DONE, ("format the esp",), "mkfs.ext4 -F /dev/vda2"),
    (DONE, ("mount vda2, then format vda1",), "mkfs.ext4 -F /dev/vda2"),
    (DONE, ("wipe vda1, vda2 is precious",), "wipefs -a /dev/vda2"),
    (TWO, ("ah, then rather the other, empty one",), ZAP.format("sda")),
]  # fmt: skip


@pytest.mark.parametrize(("state", "said", "line"), ASKED)
def test_another_disk_is_asked_about(state: SystemState, said: tuple[str, ...], line: str) -> None:
    """Lines that passed before, found by moving the corpus's commands to another disk."""
    assert against(state, said, line) is not None


def test_what_was_worked_on_is_known_whatever_is_asked_first() -> None:
    """The system disk is the one that a command made, also when nobody has asked for the topic yet."""
    said = (
        "partition vda",
        f"$ {VDA_ZAP}",
        "lsblk on vdb",
        "$ lsblk /dev/vdb",
        "the system disk: ext4",
    )
    state = run_command(f"{VDA_ZAP} && {VDB_ZAP}", PAIR).state
    need, made = {"/dev/vdb"}, {"/dev/vdb2"}
    fresh, asked = Talk(talk(*said), state), Talk(talk(*said), state)
    assert asked.topic
    answers = [
        one.direction(need, made=made, table=False, new_table=False, files=False)
        for one in (fresh, asked)
    ]
    assert answers == [Consent.ask, Consent.ask]
    assert fresh.firm == {"/dev/vda"} and Talk(talk(*said), state).firm == {"/dev/vda"}


def test_a_yes_gives_up_what_was_to_be_kept() -> None:
    """After a question that names it."""
    said = ("my photos are on vdb", "All right.", "wipe vdb", "Everything on vdb is lost. Shall I erase it?",
            "yes")  # fmt: skip
    assert against(PAIR, said, VDB_ZAP) is None
