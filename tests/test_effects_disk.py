"""The partitioning tools, by hand-checked outcomes (Debian 12: gdisk 1.0.9, parted 3.5, util-linux
2.38). tests/test_oracle.py holds the same effects against the real programs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.installer.effects import EFFECTS, Argv, CommandFailed, DeviceBusy, Result, gpt
from llmkit.installer.effects.parted_fit import Units, sector_of
from llmkit.installer.state import Disk, Mount, Partition, Signature, SystemState

GIB = 1 << 30
EMPTY = SystemState(disks=(Disk("sda", GIB), Disk("nvme0n1", 8 * GIB)))


def run(line: str, state: SystemState = EMPTY, stdin: str = "") -> SystemState:
    program, *words = line.split()
    result = EFFECTS[program](state, Argv(program, tuple(words), stdin))
    return result.state if isinstance(result, Result) else result


def fails(line: str, state: SystemState = EMPTY, stdin: str = "") -> CommandFailed:
    with pytest.raises(CommandFailed) as caught:
        run(line, state, stdin)
    return caught.value


def rows(state: SystemState, disk: str = "sda") -> list[tuple[int, int, int]]:
    """Number, first sector, sectors."""
    found = state.disk(disk)
    assert found is not None
    return [(p.number, p.start // 512, p.size // 512) for p in found.partitions]


STANDARD = run("sgdisk -Z -o -n 1:0:+512M -t 1:ef00 -c 1:EFI -n 2:0:0 /dev/sda")


def formatted(state: SystemState, number: int, kind: str = "ext4") -> SystemState:
    disk = state.disks[0]
    parts = tuple(
        replace(p, signature=Signature(kind)) if p.number == number else p for p in disk.partitions
    )
    return replace(state, disks=(replace(disk, partitions=parts), *state.disks[1:]))


def test_sgdisk_makes_the_standard_layout() -> None:
    """-n with +512M and 0 gives sectors 2048 on and the rest, up to 34 before the end."""
    assert rows(STANDARD) == [(1, 2048, 1048576), (2, 1050624, 1046495)]
    assert STANDARD.disks[0].partitions[0].type == gpt.ESP


def test_one_sgdisk_call_is_one_write() -> None:
    """An option that fails keeps all others of the call from being written."""
    failure = fails("sgdisk -n 1:0:+100M -d 7 /dev/sda")
    assert (failure.status, failure.state) == (4, None)


def test_sgdisk_leaves_an_msdos_disk_alone() -> None:
    """Without -g the status is 3 and nothing changes."""
    state = run("parted -s /dev/sda mklabel msdos mkpart primary 1MiB 100MiB")
    assert fails("sgdisk -n 2:0:0 /dev/sda", state).status == 3
    assert run("sgdisk -g /dev/sda", state).disks[0].table == "gpt"


def test_deleting_does_not_renumber_gpt() -> None:
    """After -d 1, partition 2 is still number 2."""
    assert rows(run("sgdisk -d 1 /dev/sda", STANDARD)) == [(2, 1050624, 1046495)]


def test_old_content_comes_back_at_the_same_offset() -> None:
    """-Z and the same start again show the old file system."""
    state = run("sgdisk -Z /dev/sda", formatted(STANDARD, 2))
    assert state.disks[0].partitions == ()
    again = run("sgdisk -n 1:0:+512M -n 2:0:0 /dev/sda", state)
    assert again.disks[0].partitions[1].signature == Signature("ext4")


def test_parted_commits_command_by_command() -> None:
    """What stood before the failing command is on the disk."""
    failure = fails("parted -s /dev/sda mklabel gpt mkpart a 1MiB 10MiB mkpart b 5MiB 20MiB")
    assert failure.state is not None
    assert rows(failure.state) == [(1, 2048, 18432)]


def test_parted_percent_is_aligned() -> None:
    """0% to 50% and 50% to 100% become whole MiB."""
    state = run("parted -s /dev/sda mklabel gpt mkpart a 0% 50% mkpart b 50% 100%")
    assert rows(state) == [(1, 2048, 1046528), (2, 1048576, 1046528)]


def test_parted_exact_places_that_cannot_be_fail() -> None:
    """A logical partition right at the start of the extended one has no room for its record."""
    state = run(
        "parted -s /dev/sda mklabel msdos mkpart primary 1MiB 100MiB mkpart extended 100MiB 100%"
    )
    fails("parted -s /dev/sda mkpart logical 100MiB 200MiB", state)
    state = run("parted -s /dev/sda mkpart logical 101MiB 200MiB", state)
    assert rows(state)[-1] == (5, 206848, 202752)


def test_logical_partitions_move_up() -> None:
    """When 5 goes, 6 becomes 5."""
    state = run(
        "parted -s /dev/sda mklabel msdos mkpart extended 1MiB 100% mkpart logical 2MiB 100MiB"
        " mkpart logical 101MiB 200MiB rm 5"
    )
    assert rows(state) == [(1, 2048, 2095104), (5, 206848, 202752)]


def test_parted_refuses_what_is_mounted() -> None:
    """mklabel and rm fail while a partition is mounted."""
    state = replace(formatted(STANDARD, 2), mounts=(Mount("/dev/sda2", "/mnt", "ext4"),))
    for command in ("mklabel gpt", "rm 2"):
        with pytest.raises(DeviceBusy):
            run(f"parted -s /dev/sda {command}", state)


def test_sgdisk_writes_to_a_mounted_disk() -> None:
    """It succeeds, and the kernel keeps the partition that is in use."""
    state = replace(formatted(STANDARD, 2), mounts=(Mount("/dev/sda2", "/mnt", "ext4"),))
    assert [number for number, _, _ in rows(run("sgdisk -Z /dev/sda", state))] == [2]


def test_sfdisk_reads_a_script() -> None:
    """label, a size in MiB with the ESP shortcut, and the rest, whose end is aligned."""
    state = run("sfdisk /dev/sda", stdin="label: gpt\n,100M,U\n,,L\n")
    assert rows(state) == [(1, 2048, 204800), (2, 206848, 1888256)]
    assert state.disks[0].partitions[0].type == gpt.ESP


def test_sfdisk_makes_logical_partitions() -> None:
    """Lines after an extended partition that fills the disk become logical ones."""
    state = run("sfdisk /dev/sda", stdin="label: dos\n,100M,L,*\n,200M,S\n,+,E\n,100M\n,+\n")
    assert rows(state)[2:] == [(3, 616448, 1480704), (5, 618496, 204800), (6, 825344, 1271808)]


def test_sfdisk_refuses_a_busy_disk() -> None:
    """It asks the kernel first; --force overrules."""
    state = replace(formatted(STANDARD, 2), mounts=(Mount("/dev/sda2", "/mnt", "ext4"),))
    with pytest.raises(DeviceBusy):
        run("sfdisk /dev/sda", state, "label: gpt\n")


def test_a_bad_line_keeps_sfdisk_from_writing() -> None:
    """Nothing is written when one line is wrong."""
    assert fails("sfdisk /dev/sda", stdin="label: gpt\n,100M,U\n,,zz\n").state is None


def test_fdisk_follows_a_dialogue() -> None:
    """g, two partitions by default answers, a type, w."""
    state = run("fdisk /dev/sda", stdin="g\nn\n\n\n+512M\nt\n1\nn\n\n\n\nw\n")
    assert rows(state) == [(1, 2048, 1048576), (2, 1050624, 1044480)]
    assert state.disks[0].partitions[0].type == gpt.ESP


def test_fdisk_writes_nothing_without_w() -> None:
    """q, or the end of the input, leaves the disk as it was."""
    assert run("fdisk /dev/sda", stdin="g\nn\n\n\n\nq\n") == EMPTY
    assert run("fdisk /dev/sda", stdin="g\nn\n") == EMPTY


def test_a_missing_disk_is_named() -> None:
    """The reason says which disks there are."""
    for line in ("sgdisk -Z /dev/sdz", "parted -s /dev/sdz print", "sfdisk /dev/sdz"):
        assert "/dev/nvme0n1" in fails(line).reason


@given(st.integers(2, 1023))
def test_parted_takes_mib_exactly(mib: int) -> None:
    """A place in MiB has no tolerance."""
    sector = mib * 2048
    assert sector_of(f"{mib}MiB", Units(2097152, 512)) == (sector, (sector, sector))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), min_size=1, max_size=8))
def test_partitions_never_overlap(wanted: list[tuple[int, bool]]) -> None:
    """Whatever is asked for, sgdisk and parted leave partitions apart and within the disk."""
    state = EMPTY
    for size, by_parted in wanted:
        line = f"sgdisk -n 0:0:+{size}M /dev/sda"
        if by_parted:
            line = f"parted -s /dev/sda mkpart x {size}MiB {size + 100}MiB"
        try:
            state = run(line, state)
        except CommandFailed:
            continue
    parts: list[Partition] = sorted(state.disks[0].partitions, key=lambda p: p.start)
    assert all(one.end <= two.start for one, two in pairwise(parts))
    assert all(part.end <= GIB for part in parts)
