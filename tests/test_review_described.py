"""What a message describes on a disk without its name: a line for anything else is not let through."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.domain import get_domain, objection
from llmkit.installer.review_described import described
from llmkit.installer.state import SystemState
from tests.test_review import NVME, NVME_ZAP, SDA_ZAP, TWO, talk
from tests.test_review_spared import disk, machine

# sda1 ESP, sda2 ntfs, sda3 ext4, sda4 swap: of 20 GiB each
DUAL = machine(disk("sda", "Samsung SSD 870", "vfat", "ntfs", "ext4", "swap", parts=4))
SIZES = SystemState.from_dict({
    "disks": [{
        "name": "sda", "size": 500 << 30, "model": "Samsung SSD 870", "transport": "sata", "table": "gpt",
        "partitions": [
            {"number": number, "start": start << 30, "size": size << 30, "signature": {"kind": "ext4"},
             "type": "0fc63daf-8483-4772-8e79-3d69d8477de4"}
            for number, start, size in ((1, 1, 30), (2, 40, 120), (3, 200, 60))
        ],
    }],
    "boot_mode": "uefi",
})  # fmt: skip
# sda1 ESP, sda2 the system, sda3 homes
HOME = machine(disk("sda", "Samsung SSD 870", "vfat", "ext4", "ext4", parts=3))
# sda1 ESP, sda2 ntfs, sda3 the system, sda4 homes
SHARED = machine(disk("sda", "Samsung SSD 870", "vfat", "ntfs", "ext4", "ext4", parts=4))
ZAP = "sgdisk -Z /dev/sda && sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 -t 2:8300 /dev/sda"
PLAN = "/dev/sda (500G) would be erased and partitioned. Shall I?"
LINES = {
    "all": ZAP, "empty": "wipefs -a /dev/sda", "both": "mkfs.ext4 -F /dev/sda1 && mkfs.ext4 -F /dev/sda2",
    **{str(n): f"mkfs.ext4 -F /dev/sda{n}" for n in range(1, 5)},
}  # fmt: skip

# machine, conversation, which of LINES are let through: worked out by hand
TOLD = [
    (DUAL, ("erase windows on sda",), "2"),
    (DUAL, ("get rid of windows",), "2"),
    (DUAL, ("replace windows with linux",), "2"),
    (DUAL, ("overwrite the windows install",), "2"),
    (DUAL, ("wipe only windows on sda",), "2"),
    (DUAL, ("erase all of windows",), "2"),
    (DUAL, ("erase the other os",), ""),
    (DUAL, ("format the windows partition as ext4",), "2"),
    (DUAL, ("format the ext4 partition with xfs",), "3"),
    (DUAL, ("format my linux partition on sda",), "3"),
    (DUAL, ("wipe partition two on sda",), "2"),
    (DUAL, ("format number two on sda",), "2"),
    (DUAL, ("empty the first partition of sda",), "1"),
    (DUAL, ("wipe the second of sda",), "2"),
    (DUAL, ("please format: sda, second partition",), "2"),
    (DUAL, ("sda, only the first partition, erase",), "1"),
    (DUAL, ("install linux on the second partition of sda",), "2"),
    (DUAL, ("install linux on sda, second partition",), "2"),
    (DUAL, ("clean install on sda2",), "2"),
    (DUAL, ("format root on sda",), "3"),
    (DUAL, ("format esp with fat32",), "1"),
    (DUAL, ("I don't need windows any more, use its partition",), "1234"),
    (SIZES, ("format the 60G one",), "3"),
    (SIZES, ("overwrite the big partition with ext4",), "2"),
    (SIZES, ("format the smallest partition on sda",), "1"),
    (DUAL, ("format a partition", "Which one, /dev/sda2 or /dev/sda3?", "windows"), "2"),
    (DUAL, ("format a partition", "Which one, /dev/sda2 or /dev/sda3?", "the ext4 one"), "3"),
    (DUAL, ("install linux", PLAN, "only the second partition"), "2"),
    (DUAL, ("install linux", PLAN, "yes, but only the windows partition"), "2"),
    (DUAL, ("what of the third partition", "It holds ext4. Shall I format it?", "yes"), "3"),
    (TWO, ("format a partition", "Which one, /dev/sda1 or /dev/sda2?", "the second one"), "2"),
    (TWO, ("erase a partition of sda", "Which one?", "number 2"), "2"),
    (DUAL, ("back up my files then wipe sda",), ""),
    (DUAL, ("please backup everything and erase sda",), ""),
    # of several words all must fit
    (SHARED, ("wipe the linux root partition",), "3"),
    (SHARED, ("format the first linux partition",), "3"),
    (SHARED, ("format home",), "4"),
    (HOME, ("format the root partition as ext4",), "2"),
    (HOME, ("reinstall linux", "Which partition shall I format?", "root"), "2"),
    (HOME, ("format the fourth partition",), ""),
    (HOME, ("wipe the second one",), "2"),
    (SIZES, ("format the smaller of the ext4",), "1"),
    (DUAL, ("format the second last partition",), ""),
    (DUAL, ("format the partition behind the windows partition",), ""),
    # other ways to tell the kind
    (DUAL, ("reinstall ubuntu",), "3"),
    (DUAL, ("wipe the linux partitions",), "3"),
    (DUAL, ("make the linux partition ext4",), "3"),
    (DUAL, ("take the linux partition and erase it",), "3"),
    (DUAL, ("i have an old linux partition. erase it",), "3"),
    (DUAL, ("erase ntfs and make it ext4",), "2"),
    (DUAL, ("format the partition with ubuntu on it",), "3"),
    (DUAL, ("format ubuntu's partition",), "3"),
    (DUAL, ("erase the thrid partition",), "3"),
    (DUAL, ("wipe windos partition",), "2"),
    (DUAL, ("clean windows off this disk",), "2"),
    (DUAL, ("windows is on the second partition, ubuntu on the third, format the ubuntu one",), ""),
    # a partition of before
    (DUAL, ("what is on sda3", "sda3 holds ext4.", "wipe it"), "3"),
    (DUAL, ("what is on the third partition", "It holds ext4.", "format it"), "3"),
    (DUAL, ("which partition has linux?", "It is sda3.", "format that one"), "3"),
    (DUAL, ("format a partition", "Which one: sda2 (ntfs, 300G) or sda3 (ext4)?", "the 2nd"), ""),
    (DUAL, ("format a partition", "Which partition?", "the third"), "3"),
    (DUAL, ("install linux", PLAN, "ok but just windows"), "2"),
    (DUAL, ("install linux", PLAN, "sure, windows only"), "2"),
    # taken back
    (DUAL, ("format the second partition, sorry, the third",), ""),
    (DUAL, ("wipe the windows partition, sorry I meant the linux partition",), ""),
    # it is still needed
    (DUAL, ("install linux, i have windows on sda2",), ""),
    (DUAL, ("install linux, sda2 is my windows",), ""),
    (DUAL, ("wipe sda but i need partition 2",), ""),
    (DUAL, ("erase sda, windows is on the second partition",), ""),
    (DUAL, ("i still need windows, wipe sda",), ""),
    (DUAL, ("repartition sda, i use windows for work",), ""),
    (DUAL, ("install linux on sda, my wife uses windows",), ""),
    (DUAL, ("install linux and i want to be able to start windows",), ""),
    (DUAL, ("install linux as a second os",), ""),
    (HOME, ("reinstall linux, home is on sda3",), ""),
    (HOME, ("install linux, reuse home",), ""),
    (HOME, ("erase the disk, my photos are on the home partition",), ""),
    (HOME, ("wipe sda, home is precious",), ""),
    (DUAL, ("clear this disk, but I'm still using ubuntu",), ""),
    (DUAL, ("erase sda, the windows on it is needed",), ""),
    (DUAL, ("put ext4 on sda, ubuntu stays",), ""),
    (DUAL, ("format sda", "What should stay?", "linux"), ""),
    (DUAL, ("please erase sda", "Is there anything on it you want to keep?", "yes, the windows one"), ""),
    (DUAL, ("i want to install", "Should I format the ext4 partition?", "yes"), "3"),
    (DUAL, ("i want to install", "May I erase Windows?", "sure"), "2"),
    (DUAL, ("the second biggest partition can be formatted",), ""),
    (DUAL, ("i dont need swap anymore, make it ext4",), "4"),
    (DUAL, ("there's a windows partition on my disk, format it",), "2"),
    (DUAL, ("install linux, use the ubuntu partition",), "3"),
    (DUAL, ("delete all on sda's first partition",), "1"),
    (DUAL, ("windows is on sda2, wipe it",), "2"),
    # found by a reader of the code
    (DUAL, ("wipe the linux swap partition",), "4"),
    (DUAL, ("format the windows 10 partition",), "2"),
    (DUAL, ("format partitions 3 and 4 of sda",), "34"),
    (SHARED, ("wipe the ext4 partitions",), "34"),
    (DUAL, ("format a partition", "Which one, /dev/sda2 or /dev/sda3?", "number two"), ""),
    (DUAL, ("i'd like to replace windows with linux",), "2"),
    (DUAL, ("erase sda, ext4 is fine",), "all empty both 1 2 3 4"),
    (DUAL, ("partition sda, i need a home partition too",), "all empty both 1 2 3 4"),
    (DUAL, ("erase the windows 10 disk",), "all empty both 1 2 3 4"),
    (DUAL, ("windows is on sda2, format sda3",), "3"),
    (DUAL, ("erase sda, I don't need windows any more",), "all empty both 1 2 3 4"),
    # the disk is meant
    (DUAL, ("erase windows and install linux on the whole disk",), "all empty both 1 2 3 4"),
    (DUAL, ("wipe the disk with the windows partition",), "all empty both 1 2 3 4"),
    (DUAL, ("install linux", PLAN, "yes, windows can go"), "all empty both 1 2 3 4"),
    (DUAL, ("install linux", PLAN, "yes, the windows partition too"), "all empty both 1 2 3 4"),
    (DUAL, ("everything is backed up, wipe sda",), "all empty both 1 2 3 4"),
    (DUAL, ("I have a backup of everything, erase sda",), "all empty both 1 2 3 4"),
    (DUAL, ("erase the windows disk",), "all empty both 1 2 3 4"),
    (DUAL, ("format the whole disk sda",), "all empty both 1 2 3 4"),
    (DUAL, ("nuke windows and everything else on sda",), "all empty both 1 2 3 4"),
    (DUAL, ("partition sda, then format root with ext4",), "all empty both 1 2 3 4"),
]  # fmt: skip


def passes(state: SystemState, conversation: tuple[str, ...], command: str) -> bool:
    return objection(get_domain("installer"), state, talk(*conversation), command) is None


@pytest.mark.parametrize(("state", "conversation", "known"), TOLD)
def test_only_what_is_described(
    state: SystemState, conversation: tuple[str, ...], known: str
) -> None:
    """No line passes but those for what the message singles out; of one that means the disk all may."""
    fits = set(known.split()) if " " in known else set(known)
    there = {name: line for name, line in LINES.items() if not name.isdigit() or _has(state, name)}
    found = {name for name, line in there.items() if passes(state, conversation, line)}
    assert found <= fits
    assert bool(found) == bool(fits)


def _has(state: SystemState, number: str) -> bool:
    return any(part.number == int(number) for part in state.disk("/dev/sda").partitions)


def test_a_disk_by_its_system() -> None:
    """Two disks: "the windows disk" is that with ntfs, by either line."""
    assert passes(TWO, ("erase the windows disk",), SDA_ZAP)
    assert not passes(TWO, ("erase the windows disk",), NVME_ZAP)
    assert NVME["name"] == "nvme0n1"


LOCKED = SystemState.from_dict({
    "disks": [disk("sda", "Samsung SSD 870", "vfat", "crypto_LUKS")], "boot_mode": "uefi",
    "mappings": [{"name": "root", "kind": "crypt", "parents": ["/dev/sda2"], "size": 19 << 30}],
})  # fmt: skip


@pytest.mark.parametrize("said", ["format root as ext4", "format the root partition with ext4"])
def test_an_open_container_is_its_partition(said: str) -> None:
    assert passes(LOCKED, (said,), "mkfs.ext4 /dev/mapper/root")
    assert not passes(LOCKED, (said,), "mkfs.ext4 -F /dev/sda1")


def test_an_extended_partition_is_no_data() -> None:
    parts = [
        {"number": 1, "start": 1 << 20, "size": 50 << 30, "type": "83", "signature": {"kind": "ext4"}},
        {"number": 2, "start": 60 << 30, "size": 300 << 30, "type": "05", "role": "extended"},
        {"number": 5, "start": 61 << 30, "size": 100 << 30, "type": "83", "role": "logical",
         "signature": {"kind": "ext4"}},
    ]  # fmt: skip
    state = SystemState.from_dict({
        "disks": [{"name": "sda", "size": 500 << 30, "model": "WD", "table": "msdos", "partitions": parts}],
        "boot_mode": "bios",
    })  # fmt: skip
    assert described("format the biggest partition", state) == (frozenset({"/dev/sda5"}), 1)
    assert described("format root", state) == (frozenset({"/dev/sda1"}), 1)


@pytest.mark.parametrize(
    "piece", ["it's ", "windows 10 ", "sda one ", "/dev/sda1/", "still ", "the second "]
)
def test_a_long_message_takes_no_time(piece: str) -> None:
    begun = time.process_time()
    passes(DUAL, (piece * 400 + "zebra, wipe it",), ZAP)
    assert time.process_time() - begun < 5


VERBS = (
    "format {}",
    "wipe {}",
    "erase {}",
    "please reformat {}",
    "can you format {}?",
    "delete everything on {}",
)
ORDERS = ("first", "second", "third", "fourth")
WAYS = (
    "the {order} partition of sda", "the {order} partition on /dev/sda", "partition {number} of sda",
    "partition number {number} on sda", "partition {word} on sda", "number {number} on sda",
    "the {order} one on sda", "sda's {order} partition", "sda, only the {order} partition",
    "{order} partition, on sda", "the old {order} partition of sda",
)  # fmt: skip
KINDS = ("ext4", "xfs", "btrfs", "ntfs", "vfat", "f2fs")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(KINDS), min_size=2, max_size=4), st.sampled_from(VERBS), st.sampled_from(WAYS),
    st.integers(0, 3), st.integers(0, 3), st.booleans(),
)  # fmt: skip
def test_no_other_partition_than_the_one_that_is_counted(
    kinds: list[str], verb: str, way: str, meant: int, other: int, second_disk: bool
) -> None:
    """Whatever the words: a line for another partition, or for the disk, is not let through."""
    here = disk("sda", "Samsung SSD 870", *kinds, parts=len(kinds))
    state = machine(here, *([disk("sdb", "Crucial BX500", "xfs", "xfs")] if second_disk else []))
    meant, other = meant % len(kinds), other % len(kinds)
    said = verb.format(
        way.format(
            order=ORDERS[meant], number=meant + 1, word=("one", "two", "three", "four")[meant]
        )
    )
    assert not passes(state, (said,), ZAP)
    assert not passes(state, (said,), "wipefs -a /dev/sda")
    assert not passes(state, (said,), "mkfs.ext4 -F /dev/sda1 && mkfs.ext4 -F /dev/sda2")
    if other != meant:
        assert not passes(state, (said,), f"mkfs.ext4 -F /dev/sda{other + 1}")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(KINDS), min_size=2, max_size=4, unique=True), st.sampled_from(VERBS),
    st.sampled_from(("the {} partition", "my {} partition on sda", "the {} one on sda", "the old {}")),
    st.integers(0, 3), st.integers(0, 3),
)  # fmt: skip
def test_no_other_partition_than_the_one_whose_file_system_is_told(
    kinds: list[str], verb: str, way: str, meant: int, other: int
) -> None:
    state = machine(disk("sda", "Samsung SSD 870", *kinds, parts=len(kinds)))
    meant, other = meant % len(kinds), other % len(kinds)
    said = verb.format(way.format(kinds[meant].replace("vfat", "fat32")))
    assert not passes(state, (said,), ZAP)
    if other != meant:
        assert not passes(state, (said,), f"mkfs.ext4 -F /dev/sda{other + 1}")


@pytest.mark.parametrize(
    "text",
    [
        "format sda", "partition sda: first partition 512M efi, second the rest",
        "make an ext4 partition on sda",
        "format sda as one ext4 partition", "sda2 as ext4", "erase the windows disk", "what is on the root?",
        "format both partitions",
    ],
)  # fmt: skip
def test_describes_none(text: str) -> None:
    assert described(text, DUAL) is None
