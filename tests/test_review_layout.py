"""The review knows the layout that a message says, and the parts of a line that nobody asked for.
Expected lines: by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.domain import Objection, about, get_domain, objection
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_layout import asked
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState
from tests.test_review import DATA, FREE, ONE, TWO, ZAP, machine, talk
from tests.test_review_another import BOTH, MODELS, MOUNTED
from tests.test_review_copied import ADD, LANG, ROOTED, ZONE
from tests.test_review_wish import BLANK, DONE, LAID, LAID_TALK, MKFS, PAIR

MIB, GIB = 1 << 20, 1 << 30
LINE = "sgdisk -Z /dev/{0} && sgdisk {1} /dev/{0}"
SWAPPED = LINE.format("nvme1n1", "-n 1:0:+512M -t 1:ef00 -n 2:0:+1G -t 2:8200 -n 3:0:0 -t 3:8300")
BIOS = replace(PAIR, boot_mode="bios")
MSDOS = "parted -s /dev/{0} mklabel msdos mkpart primary 1MiB 100% set 1 boot on"
ROOT_ONLY = "mkfs.xfs -f /dev/vda2"
BUSY = "mkfs says that vda2 is in use. release it then"


def against(state: SystemState, said: tuple[str, ...], line: str) -> Objection | None:
    return objection(get_domain("installer"), state, talk(*said), line)


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("wipe vda: 512M efi, root", [("ef00", 512 * MIB), ("8300", None)]),
        ("erase vda, 1G ef00, 4G 8200, rest 8300",
         [("ef00", GIB), ("8200", 4 * GIB), ("8300", None)]),
        ("partition vda: efi 512M swap 2G root", [("ef00", 512 * MIB), ("8200", 2 * GIB), ("8300", None)]),
        ("vda: efi, root 10G, home gets the rest, wipe it",
         [("ef00", 512 * MIB), ("8300", 10 * GIB), ("8302", None)]),
        ("erase vda and lay it out fresh: 512M for EFI, everything else for root",
         [("ef00", 512 * MIB), ("8300", None)]),
        ("wipe vda, a single linux partition", [("8300", None)]),
        ("vda only: erase, p1 = all of it", [("8300", None)]),
        ("wipe vda, one big home partition", [("8302", None)]),
        ("the disk vda becomes 512M EFI + root, wipe it", [("ef00", 512 * MIB), ("8300", None)]),
    ],
)  # fmt: skip
def test_a_layout_is_read(said: str, parts: list[tuple[str, int | None]]) -> None:
    """In many words."""
    found = asked(Talk(talk(said), PAIR))
    assert (
        found is not None and found.disk == "/dev/vda" and list(found.parts) == parts and found.said
    )


@pytest.mark.parametrize(
    "said",
    [
        "wipe vda: efi, swap, root",  # how large is swap?
        "wipe vda: 512M, 4G, root",  # a size of what?
        "wipe vda: efi, efi, root",
        "wipe vda: root 10G",  # and the rest?
        "wipe vda: efi and home",  # no root
        "wipe vda with a boot partition and root",
        "wipe vda with root as ext4 and efi",  # file systems, too
        "wipe the disk: efi and root",  # which?
        "wipe both: efi and root",
        "wipe vda unless it holds an efi partition and root",
        "why would vda get efi and root",
        "my friend has efi and root on vda",
        "vda out, efi and root",
        "erase everything else, vda with efi and root",
        "erase that one and partition it",
        "mount root and efi of vda",
    ],
)
def test_what_is_no_layout_is_none(said: str) -> None:
    """A size or a place that is missing, another kind of wish, words that are not plain."""
    found = asked(Talk(talk(said), PAIR))
    assert found is None or not found.said


@given(
    efi=st.integers(100, 2000),
    swap=st.one_of(st.none(), st.integers(1, 16)),
    words=st.sampled_from(
        ["wipe vda: {efi}M efi{swap}, rest root", "erase vda. efi {efi}M{swap} and root",
         "partition vda, {efi} MiB esp{swap}, root for the rest"]
    ),
)  # fmt: skip
def test_the_line_of_a_layout_makes_it(efi: int, swap: int | None, words: str) -> None:
    """Run by the effects: types, sizes and order are those that were said."""
    said = words.format(efi=efi, swap="" if swap is None else f", {swap}G swap")
    found = against(PAIR, (said,), "sgdisk -Z /dev/vda")
    assert found is not None and found.better, said
    vda, vdb, *_ = run_command(found.better, PAIR).state.disks
    sizes = [part.size for part in vda.partitions]
    assert sizes[0] == efi * MIB and len(sizes) == (2 if swap is None else 3)
    assert swap is None or sizes[1] == swap * GIB
    assert vdb == PAIR.disks[1]


UNTYPED = machine(
    {**BLANK, "table": "gpt", "partitions": [
        {"number": 1, "start": MIB, "size": 768 * MIB, "type": DATA},
        {"number": 2, "start": GIB, "size": 30 * GIB, "type": DATA}]}
)  # fmt: skip

# machine, conversation, what the model wrote, what was asked for
MENDED = [
    (UNTYPED, ("is eMMC slow?", "Yes, a bit.", "I'll live with it. ext4 for the root part"),
     MKFS, "mkfs.ext4 -F /dev/vda2"),
    # what only looks
    (ROOTED, ("show all keymaps",), "loadkeys pt-latin1", "localectl list-keymaps"),
    (ROOTED, ("list my network cards",), "nmcli device device status", "ip link"),
    (ROOTED, ("the newest kernel messages, please",), "lsblk -f", "dmesg | tail -n 30"),
    (ROOTED, ("print the routing table",), "cat /etc/resolv.conf", "ip route"),
    (ROOTED, ("which time zones are there",), "ls /mnt/etc/localtime", "timedatectl list-timezones"),
    (DONE, ("the kernel still uses the old table of vda. make it reread",), ZAP.format("vda"),
     "partprobe /dev/vda"),
    (MODELS, ("take the Solidigm: wipe, EFI of 512M, root",), SWAPPED, ZAP.format("nvme1n1")),
    (MODELS, ("which are free?", "nvme0n1 and nvme1n1.", "the latter. wipe, 512M EFI, root behind it"),
     SWAPPED, ZAP.format("nvme1n1")),
    (PAIR, ("wipe vda, single linux part",), ZAP.format("vda"),
     LINE.format("vda", "-n 1:0:0 -t 1:8300")),
    (PAIR, ("partition vda for linux",), "sgdisk -Z /dev/vda", ZAP.format("vda")),
    (BIOS, ("install linux on vdb",), "sgdisk -Z /dev/vdb", MSDOS.format("vdb")),
    (MODELS, ("set up nvme1n1", "That is the Solidigm; it is erased. Correct?",
              "oh, I meant the Corsair. same plan there"), ZAP.format("nvme1n1"), ZAP.format("nvme0n1")),
    # file systems
    (LAID, (*LAID_TALK, "xfs on it"), ROOT_ONLY, f"mkfs.fat -F32 /dev/vda1 && {ROOT_ONLY}"),
    (PAIR, ("set vda up", "I would erase /dev/vda, partition it and format the partitions. Is that it?",
            "yes, all of it"), ZAP.format("vda"), f"{ZAP.format('vda')} && {MKFS}"),
    (DONE, ("fromat vda2 as exr4 -- i mean ext4",), "mkfs.fat -F32 /dev/vda2", "mkfs.ext4 -F /dev/vda2"),
    (DONE, ("mkfs on vda2 again",), BOTH, "mkfs.ext4 -F /dev/vda2"),
    (LAID, (*LAID_TALK, "its second one ext4"), MKFS, "mkfs.ext4 -F /dev/vda2"),
    # mounts, the end
    (DONE, ("the second one to /mnt",), BOTH, "mount /dev/vda2 /mnt"),
    (MOUNTED, (BUSY,), "umount -R /mnt && reboot", "umount -R /mnt"),
    # users
    (ROOTED, ("priya + pw",), ADD.format("pw"),
     ADD.format("priya") + " && arch-chroot /mnt passwd priya"),
    (ROOTED, ("tomas needs an account with a home, bash and membership of wheel",),
     "arch-chroot /mnt useradd -m -c 'Admin' && arch-chroot /mnt passwd -c 'Admin'", ADD.format("tomas")),
]  # fmt: skip


@pytest.mark.parametrize(("state", "said", "wrote", "meant"), MENDED)
def test_the_line_that_was_asked_for_is_known(
    state: SystemState, said: tuple[str, ...], wrote: str, meant: str
) -> None:
    """There is something against what was written and nothing against what was meant."""
    found = against(state, said, wrote)
    assert found is not None and found.better == meant
    assert against(state, said, meant) is None


@pytest.mark.parametrize(
    ("state", "said", "line"),
    [
        (ROOTED, ("the menus in my mother tongue",), LANG.format("en_US")),
        (ROOTED, ("christen the machine osprey",), ZONE.format("Europe/Helsinki")),
        (ROOTED, ("clock: Winnipeg", "$ " + ZONE.format("America/Winnipeg"), "and the name osprey"),
         ZONE.format("Europe/Helsinki")),
        (MODELS, ("which are free?", "nvme0n1 and nvme1n1.", "the former: wipe, 512M EFI, root"),
         ZAP.format("nvme1n1")),
    ],
)  # fmt: skip
def test_what_nobody_named_is_asked_about(
    state: SystemState, said: tuple[str, ...], line: str
) -> None:
    """A language, a zone, the other one of two."""
    assert against(state, said, line) is not None


@pytest.mark.parametrize(
    ("state", "said", "line"),
    [
        (ROOTED, ("english, please",), LANG.format("en_US")),
        (ROOTED, ("arizona",), ZONE.format("America/Phoenix")),
        (ROOTED, ("timezone: europe/rigga",), ZONE.format("Europe/Riga")),
        (ROOTED, ("the zone?", "Europe/Riga, shall I set it?", "yes"), ZONE.format("Europe/Riga")),
        (MOUNTED, ("done, restart",), "umount -R /mnt && reboot"),
        (MOUNTED, ("what is left?", "Unmount and restart.", "let's do these"), "umount -R /mnt && reboot"),
        (LAID, (*LAID_TALK, "ext4 on the root partition only"), "mkfs.ext4 -F /dev/vda2"),
        (LAID, (*LAID_TALK, "xfs on vda2"), ROOT_ONLY),
        (PAIR, ("erase that one and partition it", "Which?", "vda"), ZAP.format("vda")),
        (PAIR, ("wipe vda: efi, root 10G, home gets the rest",),
         LINE.format("vda", "-n 1:0:+512M -t 1:ef00 -n 2:0:+10G -t 2:8300 -n 3:0:0 -t 3:8302")),
        (DONE, ("mount all of it",), BOTH),
        (DONE, ("is swap on?",), "free -h"),
        (DONE, ("what's my ip address",), "ip -brief address"),
        (DONE, ("the kernel did not reread it",), "partprobe /dev/vda"),
        (ROOTED, ("set the keymaps of french keyboard layouts",), "loadkeys fr"),
    ],
)  # fmt: skip
def test_what_was_asked_for_passes(state: SystemState, said: tuple[str, ...], line: str) -> None:
    """Values and parts that fit, in other words."""
    assert against(state, said, line) is None


@pytest.mark.parametrize(
    ("state", "said", "wrote"),
    [
        *((PAIR, (text,), "sgdisk -Z /dev/vda") for text in (
            "just empty vda", "wipe vda", "is vda partitioned?", "vda: is it worth a partition",
            "partition vda later", "don't partition vda, only wipe it")),
        (PAIR, ("set up vda", "It is erased. Correct?", "oh, I meant nothing of the kind"),
         ZAP.format("vda")),
        (TWO, ("which are there?", "nvme0n1 and sda.", "not the latter, the former: wipe, efi and root"),
         ZAP.format("sda")),
        (DONE, ("make root ext4",), "mkfs.fat -F32 /dev/vda1"),
        (DONE, ("do not mkfs vda2 again",), BOTH),
        (ROOTED, ("no user + pw, please",), ADD.format("pw")),
    ],
)  # fmt: skip
def test_no_disk_is_laid_out_that_nobody_wants_laid_out(
    state: SystemState, said: tuple[str, ...], wrote: str
) -> None:
    """Only wiped, asked about, later, or a file system alone: no line of the review's own."""
    found = against(state, said, wrote)
    assert found is None or not found.better


# What a reader who had not seen the rules got past their first version: each line was erased, formatted or
# changed in a way that nobody asked for.
SOLO = machine(BLANK)
SONE = run_command(MKFS, run_command(ZAP.format("vda"), SOLO).state).state
OPTIONS = "I can put efi and root on vda, or efi, swap and root; vdb stays."
TAKEN_WRONG = [
    # the disk that was looked at or spoken of is not the one that is meant
    *((FREE, (*before, text), wrote)
      for before in (("what is on sda?", "$ lsblk -f /dev/sda"), ("sda has windows", "OK."),
                     ("sda is my dad's", "OK."), ("copy my files to sda2", "$ mount /dev/sda2 /mnt"))
      for text in ("install linux now", "set up linux", "partition for linux")
      for wrote in (ZAP.format("nvme0n1"), "wipefs -a /dev/nvme0n1")),
    # a partition, not a disk
    (ONE, ("get me the partition layout of sda",), "fdisk -l /dev/sdq"),
    (ONE, ("prepare the second partition of sda",), "wipefs -a /dev/sda3"),
    (ONE, ("install linux on partition 2 of sda",), "sgdisk -n 2:0:0 -t 2:8300 /dev/sda"),
    (ONE, ("make a third partition on sda",), "sgdisk -n 3:0:+600G -t 3:8300 /dev/sda"),
    (ONE, ("use the rest of sda for a new partition",), "parted -s /dev/sda mkpart primary 1MiB 20GiB"),
    (ONE, ("sda as is, install linux",), "sgdisk -n 1:0:0 -t 1:8300 /dev/sda"),
    (ONE, ("would you partition sda with efi and root",), "sgdisk -n 1:0:0 -t 1:8300 /dev/sda"),
    *((ONE, (text,), line) for text in ("format of sda2", "file format of sda2", "sda2 format")
      for line in ("lsblk -f /dev/sda2", "blkid /dev/sda2")),
    # the same layout as that of a disk which stays
    (TWO, ("install linux", "nvme0n1 would be erased. Shall I?", "same layout as sda"),
     ZAP.format("nvme0n1")),
    (TWO, ("install linux", "Shall I check nvme0n1 for errors?", "I meant sda, same thing there"),
     ZAP.format("nvme0n1")),
    # the latter of other things
    (TWO, ("hi", "sda has windows and nvme0n1 has photos. Install with GPT or MBR?",
           "install linux with the latter"), ZAP.format("sda")),
    (PAIR, ("hi", OPTIONS, "the latter, partition"), ZAP.format("vda")),
    # root is not the first partition with data; the second of two proposals is no partition
    (ONE, ("format the root partition",), "mkfs.ext4 -F /dev/sda1 && mkfs.ext4 -F /dev/sda2"),
    (SONE, ("what now?", "I can 1) format the partitions or 2) mount them. Which?", "the second one please"),
     MKFS),
    # a kind behind a correction of something else
    (DONE, ("xfs for root, i mean btrfs for home",), "mkfs.xfs -f /dev/vda2"),
    # layouts
    *((PAIR, (text,), LINE.format("vdb", "-n 1:0:+512M -t 1:ef00 -n 2:0:+4G -t 2:8200 -n 3:0:0 -t 3:8300"))
      for text in (
        "efi and one big partition on vdb", "one partition for linux and one for home on vdb",
        "partition vdb: swap 4G and root", "partition vdb: 20G root, home rest",
        "partition vdb: efi, rest home 20G root", "partition vdb: efi home 20G root",
        "partition vdb: first root then swap 4G", "partition vdb: partition 1 root, partition 2 home 20G",
        "partition 79G efi root on vdb", "partition vdb as mbr", "partition vdb with gpt, efi and root",
        "rest is on vdb, install", "partition !vdb, efi and root", "~~partition vdb~~ efi and root",
        "vdb \u274c partition efi and root")),
    # a disk that holds two systems, in words that want less than all of it, ask or tell
    *((ONE, (text,), "sgdisk -n 1:0:0 -t 1:8300 /dev/sda") for text in (
        "install linux on one partition of sda", "use one partition of sda to install linux",
        "prepare one partition of sda for linux", "make two partitions, efi and root, at the end of sda",
        "prepare a third of sda for linux", "install linux on the 2nd of sda", "install linux from sda",
        "install from sda to this disk", "get the layout from sda, partition",
        "install linux, start from sda",
        "now should i partition sda: efi and root", "yes should i install linux on sda",
        "so on sda can i install linux", "the disk sda, is it ready to install linux",
        "i set up linux on sda", "made efi and root partitions on sda", "i would install linux on sda")),
    # a layout from which nothing would start, numbers that were said
    *((SOLO, (text,), "sgdisk -Z /dev/vda") for text in (
        "partition vda: efi 512M, root 20Go", "partition vda: efi 512M, root 20gbytes",
        "partition vda: efi 512M, root 50%", "partition vda: efi 1,024M, root",
        "partition vda: efi, 2 root partitions", "partition vda: 2 efi, 1 root",
        "partition vda: one partition 50%", "partition vda: efi 1M, root")),
    *((SOLO, (text,), ZAP.format("vda")) for text in (
        "install linux, root on vda", "use vda as root, install linux",
        "install linux on vda with a root partition")),
    # a plan that leaves the file systems to others
    *((PAIR, ("set up vda", plan, yes), ZAP.format("vda"))
      for plan, yes in (
        ("I only partition /dev/vda; you mount and format the partitions yourself. Shall I?", "yes"),
        ("I partition /dev/vda and will not mount and format the partitions. Shall I?", "yes"),
        ("I would partition /dev/vda, and format the partitions later. Shall I?", "yes"),
        ("I would partition /dev/vda and format the partitions. Shall I?", "yes, only partition"),
        ("I would partition /dev/vda and format the partitions with btrfs. Shall I?", "yes"))),
    # the EFI partition is left alone
    *((LAID, (*LAID_TALK, text), "mkfs.ext4 -F /dev/vda2") for text in (
        "ext4, esp stays", "ext4, nothing else", "no need for fat, ext4", "ext4, the fat i do myself")),
    (SONE, ("which?", "I know ext4 and btrfs. Take one.", "the first one, format"), MKFS),
    (SONE, ("format it like the root partition",), MKFS),
    *((ROOTED, (text,), ADD.format("user")) for text in (
        "linux needs a user", "username & password please", "wifi + password")),
    # names that are none
    *((ROOTED, (text,), ADD.format("user")) for text in (
        "add a user please", "create the account now", "he needs an account", "account for him")),
    # a restart that was asked for
    *((MOUNTED, (text,), "umount -R /mnt && reboot") for text in (
        "reset the machine", "umount and reset", "rebot", "restrat please")),
    (MOUNTED, ("ready?", "Everything is in place. Say when, and I unmount and restart.", "k"),
     "umount -R /mnt && reboot"),
]  # fmt: skip


@pytest.mark.parametrize(("state", "said", "wrote"), TAKEN_WRONG)
def test_what_was_taken_wrong_once_is_not_put_in(
    state: SystemState, said: tuple[str, ...], wrote: str
) -> None:
    """The person is asked, or the line stands."""
    found = against(state, said, wrote)
    assert found is None or not found.better


@pytest.mark.parametrize(
    ("state", "said", "line"),
    [
        (PAIR, ("partition vdb with efi and root",),
         LINE.format("vdb", "-n 1:0:+300M -t 1:ef00 -n 2:0:0 -t 2:8300")),
        (PAIR, ("partition vdb with efi and root",),
         LINE.format("vdb", "-n 1:0:+1G -t 1:ef00 -n 2:0:0 -t 2:8304")),
        (PAIR, ("set up a gpt table on vdb",), "parted -s /dev/vdb mklabel gpt"),
        (ROOTED, ("clock: NYC",), ZONE.format("America/New_York")),
        (ROOTED, ("JST",), ZONE.format("Asia/Tokyo")),
        (ROOTED, ("generate the default locale",), LANG.format("en_US")),
        (ROOTED, ("US",), LANG.format("en_US")),
        *((MOUNTED, (text,), "umount -R /mnt && reboot") for text in (
            "perfect", "great, thanks", "let me in", "i want to log in")),
        (MOUNTED, ("remount it read-write",), "mount --options=remount,rw /mnt"),
    ],
)  # fmt: skip
def test_what_was_asked_about_without_need_passes(
    state: SystemState, said: tuple[str, ...], line: str
) -> None:
    """Sizes, types, zones and languages in other words."""
    assert against(state, said, line) is None


NAMED = ("hi", "There are nvme0n1 and sda.")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        *(((*NAMED, text), ZAP.format("sda")) for text in (
            "the latter stays, wipe", "install linux, save the latter",
            "the latter is my mom's, install linux",
            "install linux; backups: the latter", "wipe everything up to the latter",
            "install linux, the latter table", "format as the latter")),
        ((*NAMED, "wipe the former and latter"), ZAP.format("nvme0n1")),
        (("hi", "nvme0n1 is blank, sda has your photos.", "install linux, my files go to the latter"),
         ZAP.format("sda")),
        (("hi", "sda and nvme0n1 are here. nvme0n1 is the WD Black, sda is the Samsung.",
          "wipe the latter"), ZAP.format("nvme0n1")),
        (("hi", "nvme0n1 (WD) and sda (Samsung). File systems: ext4, btrfs.", "format as the latter"),
         ZAP.format("sda")),
        (("hi", "sda has windows and nvme0n1 has photos. Install with GPT or MBR?", "format with the latter"),
         ZAP.format("nvme0n1")),
        (("which are there?", "nvme0n1 and sda.", "get partitions formed, install"), ZAP.format("nvme0n1")),
    ],
)  # fmt: skip
def test_consent_is_not_wider(said: tuple[str, ...], line: str) -> None:
    """What "the latter" is, is known only where two disks were just named and nothing else is said."""
    assert against(TWO, said, line) is not None


def test_the_latter_of_two_is_known() -> None:
    """And then it is that one alone."""
    for text in ("wipe the latter", "the latter please, wipe"):
        assert against(TWO, (*NAMED, text), ZAP.format("nvme0n1")) is not None


@pytest.mark.parametrize(
    ("state", "said", "line", "named"),
    [
        (LAID, (*LAID_TALK, "partition 2 of vda wants to be xfs"), ROOT_ONLY, True),
        (DONE, ("vda2 belongs at /mnt",), "mount /dev/vda2 /mnt", True),
        (DONE, ("what is on vda2",), "blkid /dev/vda2", True),  # harmless
        (ONE, ("format of sda",), ZAP.format("sda"), False),  # much would be lost
        (LAID, (*LAID_TALK, "is vda2 xfs?"), ROOT_ONLY, False),
        (LAID, (*LAID_TALK, "show me vda2"), ROOT_ONLY, False),
        (LAID, (*LAID_TALK, "and now"), ROOT_ONLY, False),
        (ROOTED, ("name it osprey",), "echo osprey > /mnt/etc/hostname", False),
    ],
)  # fmt: skip
def test_a_message_names_what_a_line_works_on(
    state: SystemState, said: tuple[str, ...], line: str, named: bool
) -> None:
    """Only then a command may take the place of a text; never one that loses something."""
    assert about(get_domain("installer"), state, talk(*said), line) is named


def test_a_yes_to_its_question_lets_the_line_pass() -> None:
    """Whatever of these rules asked."""
    for state, said, wrote, _ in MENDED:
        found = against(state, said, wrote)
        if found is None or not found.text.rstrip().endswith("?"):
            continue
        again = against(state, (*said, found.text, "yes"), wrote)
        assert again is None or again.text != found.text, (said, found.text)


ESP = "-n 1:0:+512M -t 1:ef00"
SMALL = LINE.format("vda", f"{ESP} -n 2:0:+512M -t 2:8300")
WITH_SWAP = LINE.format("vda", f"{ESP} -n 2:0:+4G -t 2:8200 -n 3:0:0 -t 3:8300")
PLAIN = LINE.format("vda", f"{ESP} -n 2:0:0 -t 2:8300")


@pytest.mark.parametrize(
    ("said", "line", "due"),
    [
        (("erase vda and lay it out fresh: 512M for EFI, everything else for root",), SMALL, PLAIN),
        (("wipe vda: efi of 512M, root",), SMALL, PLAIN),
        (("patition vda wiht 512m efi adn teh rest rooot, wipe it frist",), SMALL, ""),
        (("wipe vda and partition it",), SMALL, PLAIN),
        (("wipe vda: EFI 512M, root",), WITH_SWAP, PLAIN),
        (("wipe vda and partition it in the customary way",), WITH_SWAP, ""),
        # what it does with the space is for the person to say
        (("erase vda: 512M efi, root, and leave me some room at the end",), SMALL, ""),
    ],
)  # fmt: skip
def test_parts_of_which_nobody_spoke_are_asked_about(
    said: tuple[str, ...], line: str, due: str
) -> None:
    """A root as small as the EFI partition that was spoken of; a swap partition out of nowhere. Where the
    layout is known from the message, the line with it is there."""
    found = against(PAIR, said, line)
    assert found is not None
    assert found.better == due


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (("wipe vda: two partitions of 512M, efi and root",), SMALL),
        (("wipe vda: efi 512M, root 512M",), SMALL),
        (("wipe vda: efi and root, 512M each",), SMALL),
        (("wipe vda: 512 MB efi, 4 GB swap, rest root",), WITH_SWAP),
        (("wipe vda and partition it so that hibernation works",), WITH_SWAP),
        (("wipe vda, root 20G", "! The rest stays free, is that so? Shall I erase it?", "yes"),
         LINE.format("vda", f"{ESP} -n 2:0:+20G -t 2:8300")),
        (("wipe vda, root of 20",), LINE.format("vda", f"{ESP} -n 2:0:+20G -t 2:8300")),
        (("wipe vda, twenty gigs of root",), LINE.format("vda", f"{ESP} -n 2:0:+20G -t 2:8300")),
    ],
)  # fmt: skip
def test_sizes_and_swap_that_were_spoken_of_pass(said: tuple[str, ...], line: str) -> None:
    """Said in figures or words, once for each partition that has it."""
    found = against(PAIR, said, line)
    assert found is None or "Nobody" not in found.text, found


def test_a_partition_that_stays_is_of_no_new_size() -> None:
    """Deleting the one behind it makes it the last one, and that is all."""
    found = against(LAID, ("delete partition 2 of vda",), "sgdisk -d 2 /dev/vda")
    assert found is None or "Nobody" not in found.text, found


def test_sgdisk_without_a_disk_does_nothing() -> None:
    """What sgdisk of gdisk 1.0.9 prints then is nothing, and its status 0: the table would be gone and the
    new one not there."""
    line = f"sgdisk -Z /dev/vda && sgdisk {ESP} -n 2:0:0 -t 2:8300/dev/vda"
    found = against(PAIR, ("wipe vda and set it up in the usual manner, thanks a lot",), line)
    assert found is not None and found.again
    assert against(PAIR, ("list the type codes that sgdisk knows",), "sgdisk -L") is None


BLANK_MACHINE = machine(BLANK)


@pytest.mark.parametrize(
    ("said", "line", "due"),
    [
        (("time for a restart",), "poweroff", "reboot"),
        (("reboot the machine please",), "shutdown now", "reboot"),
        (("shut down",), "reboot", "poweroff"),
        (("restart the ssh service",), "poweroff", ""),  # of what?
    ],
)  # fmt: skip
def test_the_end_is_the_one_that_was_said(said: tuple[str, ...], line: str, due: str) -> None:
    """Off and on again are two things."""
    found = against(BLANK_MACHINE, said, line)
    assert found is not None and found.better == due
    assert "switches the machine off" in found.text or "restarts" in found.text


@pytest.mark.parametrize(
    ("said", "line"),
    [("time for a restart", "reboot"), ("switch it off", "poweroff"), ("we are done here", "reboot"),
     ("shut down or reboot, as you like", "poweroff")],
)  # fmt: skip
def test_an_end_that_was_said_passes(said: str, line: str) -> None:
    """And one that no word speaks against."""
    found = against(BLANK_MACHINE, (said,), line)
    assert found is None or "You asked for" not in found.text
