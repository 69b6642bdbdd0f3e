"""What the oracle (tests/test_oracle.py) found in long runs: each line with what the real tool did,
on a disk of 4,000,000,000 bytes (Debian 12: gdisk 1.0.9, parted 3.5, util-linux 2.38)."""

from __future__ import annotations

from typing import Any

import pytest

from llmkit.installer.effects import EFFECTS, Argv, CommandFailed, Result
from llmkit.installer.state import Disk, SystemState

EMPTY = SystemState(disks=(Disk("sda", 4_000_000_000),))


def run(line: str, stdin: str = "", state: SystemState = EMPTY) -> SystemState:
    program, *words = line.split()
    result = EFFECTS[program](state, Argv(program, tuple(words), stdin))
    return result.state if isinstance(result, Result) else result


def rows(state: SystemState) -> list[tuple[int, int, int]]:
    """Number, first and last sector."""
    return [(p.number, p.start // 512, p.end // 512 - 1) for p in state.disks[0].partitions]


@pytest.mark.parametrize(
    ("script", "third"),
    [
        ("label: dos\n100M,300M\n900M,100M\n200M,\n", (3, 819200, 1843199)),
        ("label: dos\n,633555\n,409M\n315M,+\n", (3, 1474560, 7812499)),
        ("label: dos\n,,E\n100M,300M\n200M,+\n", (6, 821248, 7812499)),
    ],
)
def test_sfdisk_moves_a_start_that_is_in_use(script: str, third: tuple[int, int, int]) -> None:
    """msdos, no size given: the partition goes behind the one that covers its start."""
    assert rows(run("sfdisk /dev/sda", script))[2] == third


@pytest.mark.parametrize("script", ["100M,300M\n200M,50M\n", "1M,300M\n200M,+\n"])
def test_sfdisk_refuses_a_start_in_use(script: str) -> None:
    """With a size, or when nothing in front of the start is free, it fails."""
    with pytest.raises(CommandFailed):
        run("sfdisk /dev/sda", f"label: dos\n{script}")


def test_sfdisk_passes_over_a_first_logical_partition_without_room() -> None:
    """Without a start it is left out and the next line counts; with one, or later, it is an error."""
    four = "label: dos\n,636M,E\nsize=207M\n,282MiB\n,294M,U\n"
    assert [row[0] for row in rows(run("sfdisk /dev/sda", f"{four},636M\n"))] == [1, 2, 3, 4]
    assert rows(run("sfdisk /dev/sda", f"{four},636M\n,10M\n"))[4] == (5, 4096, 24575)
    for more in (",600M\n,636M\n", "4096,1302528\n"):
        with pytest.raises(CommandFailed):
            run("sfdisk /dev/sda", four + more)


def test_copies_of_a_superblock_show_through() -> None:
    """A new partition 8 MiB into an old small ext2 shows that file system (blkid -p says so)."""
    made = run("sgdisk -o -n 1:1M:+207M /dev/sda")
    made = run("sgdisk -d 1 /dev/sda", state=run("mkfs.ext2 -F -L EFI /dev/sda1", state=made))
    shown = run("sgdisk -n 1:9M:0 /dev/sda", state=made).disks[0].partitions[0].signature
    assert shown is not None and (shown.kind, shown.label) == ("ext2", "EFI")
    assert run("sgdisk -n 1:10M:0 /dev/sda", state=made).disks[0].partitions[0].signature is None


def test_wiping_a_file_system_leaves_the_copies_of_its_superblock() -> None:
    """wipefs erases the first one alone."""
    made = run("sgdisk -o -n 1:1M:+207M /dev/sda")
    made = run("wipefs -a /dev/sda1", state=run("mkfs.ext4 -F -L x /dev/sda1", state=made))
    made = run("sgdisk -d 1 -n 1:9M:0 /dev/sda", state=made)
    shown = made.disks[0].partitions[0].signature
    assert shown is not None and (shown.kind, shown.label) == ("ext4", "x")


_ZERO = "dd if=/dev/zero of=/dev/sda bs=1M count=1"


def test_a_gpt_without_its_mbr_is_found_when_its_first_copy_goes() -> None:
    """sgdisk -o on a disk whose GPT has its second copy alone writes both, and no MBR."""
    state = run(_ZERO, state=run("parted -s /dev/sda mklabel gpt"))
    for _ in range(2):
        with pytest.raises(CommandFailed) as failed:
            run("sgdisk -o /dev/sda", state=state)
        assert failed.value.status == 2
        state = failed.value.state or state
        assert state.disks[0].table is None
        state = run(_ZERO, state=state)
    with pytest.raises(CommandFailed):
        run("sgdisk -p -o /dev/sda", state=state)
    assert run("sgdisk -o /dev/sda", state=run("wipefs -a /dev/sda", state=state)).disks[0].table


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ("-t 2:8200 -t 3:zz", ["0657fd6d", "0657fd6d"]),
        ("-t 2:8200 -t 3:", ["0657fd6d", "0657fd6d"]),
        ("-t 2:8200 -t 3:fe99 -t 2:zz", ["0fc63daf", "0fc63daf"]),
        ("-t 2:zz -t 3:8200", None),
        ("-t 2:8200 -t 3:0", None),
        ("-t 9:8200 -t 3:zz", None),
    ],
)
def test_a_type_that_sgdisk_cannot_read_is_the_last_one(options: str, kinds: Any) -> None:
    """Without one before it, it is an error, and nothing is saved."""
    made = run("sgdisk -o -n 2:0:+100M -n 3:0:0 /dev/sda")
    if kinds is None:
        with pytest.raises(CommandFailed):
            run(f"sgdisk {options} /dev/sda", state=made)
    else:
        after = run(f"sgdisk {options} /dev/sda", state=made)
        assert [part.type[:8] for part in after.disks[0].partitions] == kinds


@pytest.mark.parametrize(
    ("first", "asked", "second"),
    [
        (4096, "0:+1M:0", (2048, 4095)),  # asked for 4095, moved to a boundary
        (4095, "0:+512K:0", (2048, 4094)),
        (6144, "0:+1M:0", (4096, 6143)),
        (8192, "0:+1M:0", (4096, 8191)),
    ],
)
def test_sgdisk_takes_a_start_in_a_small_gap_for_an_end(
    first: int, asked: str, second: tuple[int, int]
) -> None:
    """With less than 1 MiB behind the default start, "+1M" counts as for an end: one sector less."""
    made = run(f"sgdisk -o -a 1 -n 1:{first}:0 /dev/sda")
    found = rows(run(f"sgdisk -a 2048 -n {asked} /dev/sda", state=made))
    assert [row[1:] for row in found if row[0] == 2] == [second]


_TWO = "label: dos\n,93.5M,linux\nsize=761M, type=E\n770M,+\n"


def test_a_logical_partition_leaves_room_in_front_of_another() -> None:
    """1 MiB for its record, also in front of the first, whose record lies elsewhere."""
    made = rows(run("sfdisk /dev/sda", f"{_TWO}127M,+\n"))
    assert made[2:] == [(5, 1576960, 1753087), (6, 260096, 1574911)]
    with pytest.raises(CommandFailed):
        run("sfdisk /dev/sda", f"{_TWO}260096,1315000\n")


@pytest.mark.parametrize(
    ("line", "script", "end"),
    [
        ("sfdisk /dev/sda", "label: dos\n,100K\n", 2248),
        ("sfdisk /dev/sda", "label: gpt\n,100K\n", 2247),
        ("fdisk /dev/sda", "o\nn\np\n\n\n+600K\nw\n", 3248),
        ("fdisk /dev/sda", "g\nn\n\n\n+600K\nw\n", 4095),
        ("fdisk /dev/sda", "g\nn\n\n\n+100K\nw\n", 2048),
    ],
)
def test_the_end_of_a_tiny_partition(line: str, script: str, end: int) -> None:
    """Below 1 MiB libfdisk does not align the end; on msdos it takes a sector too many, and fdisk
    on GPT aligns all the same, to a single sector if need be."""
    assert rows(run(line, script)) == [(1, 2048, end)]


def test_fdisk_takes_an_end_counted_back_to_just_behind_the_start() -> None:
    """-100M where 100.5 MiB are free leaves a tiny partition, not none."""
    state = SystemState(disks=(Disk("sda", 20_000_000_512),))
    state = run("fdisk /dev/sda", "o\nn\np\n\n\n38856703\nw\n", state)
    assert rows(run("fdisk /dev/sda", "n\np\n\n\n-100M\nw\n", state))[1:] == [
        (2, 38856704, 38857700)
    ]


@pytest.mark.parametrize(
    ("before", "flag", "after"),
    [
        ("c", "raid", "83"), ("7", "lvm", "83"), ("1c", "swap", "83"), ("12", "raid", "12"),
        ("ef", "lvm", "ef"), ("8e", "lvm", "83"),
    ],
)  # fmt: skip
def test_parted_makes_the_type_anew(before: str, flag: str, after: str) -> None:
    """msdos: taking off a flag that is not set makes the type anew from the (here missing) file
    system, unless the type stands for another flag."""
    state = run("sfdisk /dev/sda", f"label: dos\n,100M,{before}\n")
    state = run(f"parted -s /dev/sda set 1 {flag} off", state=state)
    assert state.disks[0].partitions[0].type == after


def test_parted_remembers_lba_within_a_call() -> None:
    """A FAT type with LBA that raid hid comes back with LBA when the same call takes raid off."""
    state = run("parted -s /dev/sda mklabel msdos mkpart primary fat32 1MiB 1000MiB "
                "set 1 raid on set 1 raid off")  # fmt: skip
    assert state.disks[0].partitions[0].type == "0c"


@pytest.mark.parametrize(
    ("layout", "line", "new"),
    [
        ("2048,2890\n8192,+", ",+", (3, 4938, 8191)),
        ("2048,2890\n8193,+", ",+", (3, 6144, 8192)),
        ("2048,2890\n8192,1M", ",1000,E", (3, 6144, 7143)),
        ("2048,2890\n8192,+", ",3000", (3, 4938, 7937)),
        (",,E\n4096,2890\n14336,+", ",+", (7, 9034, 12287)),
    ],
)
def test_alignment_stays_below_the_last_free_sector(
    layout: str, line: str, new: tuple[int, int, int]
) -> None:
    """msdos on 1 GiB: a gap at the end of the free space that holds one whole MiB only is used from
    its first sector; the same gap with more free space behind it is aligned."""
    state = SystemState(disks=(Disk("sda", 1 << 30),))
    state = run("sfdisk /dev/sda", f"label: dos\n{layout}\n", state)
    assert new in rows(run("sfdisk -a /dev/sda", line + "\n", state))


def test_an_extended_partition_needs_a_gap_of_a_mib() -> None:
    """As a primary one does: 1,206 free sectors are not enough."""
    state = SystemState(disks=(Disk("sda", 1 << 30),))
    state = run("sfdisk /dev/sda", "label: dos\n2048,2890\n6144,+\n", state)
    with pytest.raises(CommandFailed):
        run("sfdisk -a /dev/sda", ",+,E\n", state)


def test_sgdisk_z_again_leaves_the_protective_mbr() -> None:
    """-z on a disk that has nothing but a protective MBR leaves that there, -Z does not."""
    state = run(
        "sgdisk -z /dev/sda", state=run("sgdisk -z /dev/sda", state=run("sgdisk -o /dev/sda"))
    )
    assert [p.type for p in state.disks[0].partitions] == ["ee"]
    assert run("sgdisk -Z /dev/sda", state=state).disks[0].table is None


def test_sgdisk_o_leaves_a_damaged_table_damaged() -> None:
    """Over an msdos table with the rest of a GPT, -o says "completed" and helps nothing: the next
    call fails with status 2 as well, until -Z."""
    state = run("sfdisk /dev/sda", "label: dos\n", run("sgdisk -o /dev/sda"))
    for line in ("sgdisk -o -n 1:0:+1M /dev/sda", "sgdisk -n 1:0:+1M /dev/sda"):
        with pytest.raises(CommandFailed) as caught:
            run(line, state=state)
        assert caught.value.status == 2
        state = caught.value.state or state


@pytest.mark.parametrize(
    "script",
    [
        "label: gpt\n143M,,linux\n,9.5M,swap\nsize=444M, type=U\n,105379,S\n",
        "label: gpt\n108M,,S\n,57322,R\n,2236MiB,home\nsize=721MiB, type=L\n",
    ],
)
def test_a_gpt_that_overlaps_is_not_written_and_the_old_table_is_gone(script: str) -> None:
    """A size in sectors is not cut to the gap, nor any in a gap without a whole MiB; the write
    fails (1), after the wiping."""
    state = SystemState(disks=(Disk("sda", 20_000_000_512),))
    state = run("sfdisk /dev/sda", "label: dos\n2133M,+\n", state)
    with pytest.raises(CommandFailed) as caught:
        run("sfdisk /dev/sda", script, state)
    assert caught.value.status == 1
    assert caught.value.state is not None
    assert caught.value.state.disks[0].table is None
    old = run("sfdisk /dev/sda", "label: gpt\n2048,100M\n", state)
    with pytest.raises(CommandFailed) as caught:  # over a GPT nothing is wiped
        run("sfdisk /dev/sda", script, old)
    assert caught.value.state in (None, old)


@pytest.mark.parametrize(
    ("line", "text", "kept"),
    [
        ("parted -s /dev/sda mklabel msdos mkpart extended 1MiB 999MiB", "", "vfat"),
        ("sfdisk /dev/sda", "label: dos\n2048,2043905,E\n", None),
    ],
)
def test_parted_keeps_what_lies_before_an_extended_partitions_table(
    line: str, text: str, kept: str | None
) -> None:
    """A FAT file system's label shows again when the extended partition gets another type."""
    state = SystemState(disks=(Disk("sda", 4_000_000_000),))
    state = run("sfdisk /dev/sda", "label: dos\n2048,+\n", state)
    state = run("mkfs.vfat -n DATA /dev/sda1", state=state)
    state = run(line, text, state)
    state = run("sfdisk --part-type /dev/sda 1 83", state=state)
    found = state.disks[0].partitions[0].signature
    assert (found and found.kind) == kept


def test_an_extended_partition_in_use_stays_extended() -> None:
    """sfdisk refuses (1) another type while logical partitions are in it; then it does not."""
    state = run("sfdisk /dev/sda", "label: dos\n2048,100M,E\n8192,20M,L\n")
    for line, text in (("--part-type /dev/sda 1 S", ""), ("-N 1 /dev/sda", "type=83\n")):
        with pytest.raises(CommandFailed) as caught:
            run(f"sfdisk {line}", text, state)
        assert caught.value.status == 1 and caught.value.state is None
    other = run("sfdisk --part-type /dev/sda 1 f", state=state)
    assert [(p.type, p.role) for p in other.disks[0].partitions] == [
        ("0f", "extended"), ("83", "logical"),
    ]  # fmt: skip
    state = run(
        "sfdisk --part-type /dev/sda 1 S", state=run("sfdisk --delete /dev/sda 5", state=state)
    )
    assert [(p.type, p.role) for p in state.disks[0].partitions] == [("82", "primary")]


def test_the_default_end_of_a_gap_below_a_mib() -> None:
    """1 GiB, GPT: the last 2,015 usable sectors give a partition of 2,014."""
    state = SystemState(disks=(Disk("sda", 1 << 30),))
    state = run("sfdisk /dev/sda", "label: gpt\n775M,+,swap\n,2349,\n1023M,,\n", state)
    assert rows(state)[-1] == (3, 2095104, 2097117)


@pytest.mark.parametrize(("label", "kind"), [("gpt", None), ("dos", "00")])
def test_fdisk_t_with_an_answer_that_is_no_type(label: str, kind: str | None) -> None:
    """An empty one is asked again; +1G ends the question."""
    state = run("sfdisk /dev/sda", f"label: {label}\n2048,200M\n")
    before = state.disks[0].partitions[0].type
    state = run("fdisk /dev/sda", "t\n\n+1G\nw\n", state)
    assert state.disks[0].partitions[0].type == (kind or before)
