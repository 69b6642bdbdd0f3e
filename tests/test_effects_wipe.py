"""wipefs, dd and blkdiscard, as they behave on loop devices of Debian 12."""

from __future__ import annotations

import pytest

from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

EMPTY = SystemState.from_dict({"disks": [{"name": "sda", "size": 64 << 20}]})


def after(*lines: str, state: SystemState = EMPTY) -> SystemState:
    """The state after lines that must all succeed."""
    for line in lines:
        outcome = run_command(line, state)
        assert outcome.status == 0, (line, outcome.error)
        state = outcome.state
    return state


@pytest.fixture(scope="module")
def used() -> SystemState:
    """GPT, 1 = 8 MiB ext4, 2 = the rest, swap."""
    return after(
        "sgdisk -n 1:0:+8M -n 2:0:0 /dev/sda", "mkfs.ext4 -F /dev/sda1", "mkswap /dev/sda2"
    )


def test_wipefs_drops_a_disks_table_and_leaves_what_lay_in_the_partitions(used):
    """The same partitions made again show their old file systems (blkid finds them)."""
    wiped = after("wipefs -a /dev/sda", state=used)
    assert (wiped.disks[0].table, wiped.disks[0].partitions) == (None, ())
    again = after("sgdisk -n 1:0:+8M -n 2:0:0 /dev/sda", state=wiped)
    assert [part.signature.kind for part in again.disks[0].partitions] == ["ext4", "swap"]


def test_wipefs_on_a_glob_reaches_the_partitions_first(used):
    """`wipefs -a /dev/sda*` takes all signatures: the table is read again only at the end."""
    wiped = after("wipefs -a /dev/sda*", "sgdisk -n 1:0:+8M -n 2:0:0 /dev/sda", state=used)
    assert [part.signature for part in wiped.disks[0].partitions] == [None, None]


def test_wipefs_without_all_only_prints(used):
    """Nothing changes without -a or -o, nor with -n."""
    assert after("wipefs /dev/sda1", "wipefs -an /dev/sda1", state=used) == used


def test_wipefs_erases_only_the_types_that_are_named(used):
    """-t ext4 leaves the table and the swap signature."""
    wiped = after("wipefs -a -t ext4 /dev/sda1 /dev/sda2 /dev/sda", state=used)
    kinds = [part.signature and part.signature.kind for part in wiped.disks[0].partitions]
    assert (wiped.disks[0].table, kinds) == ("gpt", [None, "swap"])


@pytest.mark.parametrize("tool", ["wipefs -a", "blkdiscard"])
@pytest.mark.parametrize("device", ["/dev/sda", "/dev/sda1"])
def test_a_mounted_device_is_refused(used, tool, device):
    """wipefs and blkdiscard open exclusively: the disk of a mounted partition is busy as well."""
    mounted = after("mount /dev/sda1 /mnt", state=used)
    outcome = run_command(f"{tool} {device}", mounted)
    assert (outcome.status, outcome.state) == (1, mounted)


def test_dd_of_zeros_without_a_count_fills_the_disk_and_fails(used):
    """Status 1, "no space left", and everything is gone: && does not go on."""
    outcome = run_command("dd if=/dev/zero of=/dev/sda bs=1M && mkfs.ext4 /dev/sda", used)
    assert outcome.status == 1
    disk = outcome.state.disks[0]
    assert (disk.table, disk.partitions, disk.signature, disk.stale) == (None, (), None, ())


def test_dd_of_the_first_mebibyte_takes_the_table(used):
    """The partitions begin behind it: made again, they show what they held. (sgdisk -Z finds the
    backup table, complains with status 2, and clears it.)"""
    cut = after("dd if=/dev/zero of=/dev/sda bs=1M count=1", state=used)
    assert cut.disks[0].partitions == ()
    again = after("sgdisk -Z /dev/sda; sgdisk -o -n 1:0:+8M /dev/sda", state=cut)
    assert again.disks[0].partitions[0].signature.kind == "ext4"


def test_dd_into_a_partition_takes_its_file_system_alone(used):
    """The table and the neighbour stay."""
    cut = after("dd if=/dev/zero of=/dev/sda1 bs=4K count=1", state=used)
    kinds = [part.signature and part.signature.kind for part in cut.disks[0].partitions]
    assert kinds == [None, "swap"]


def test_dd_beyond_the_magic_leaves_the_file_system(used):
    """ext4's magic lies at 1080: bytes from 1 MiB on do not touch it."""
    assert after("dd if=/dev/zero of=/dev/sda1 bs=1M seek=1 count=1", state=used) == used


def test_dd_to_nowhere_or_from_a_disk_changes_nothing(used):
    """Reading a disk is reading."""
    assert after("dd if=/dev/sda of=/dev/null bs=1M count=1", state=used) == used


@pytest.mark.parametrize("line", ["dd bogus=1", "dd if=/dev/zero of=/dev/sda bs=1Q", "dd of"])
def test_dd_refuses_operands_that_it_does_not_know(line):
    """A usage error, and nothing is written."""
    outcome = run_command(line, EMPTY)
    assert (outcome.status, outcome.state) == (1, EMPTY)


def test_blkdiscard_empties_a_disk(used):
    """Nothing is left to come back."""
    disk = after("blkdiscard -f /dev/sda", state=used).disks[0]
    assert (disk.table, disk.partitions, disk.stale) == (None, (), ())


@pytest.mark.parametrize("line", ["partprobe /dev/sdz", "wipefs -a /dev/sdz", "partx -u /dev/sdz"])
def test_a_device_that_is_not_there_is_an_error(line):
    """Each tool exits 1."""
    assert run_command(line, EMPTY).status == 1
