"""SystemState as a dict: what it holds comes back, and what is wrong is refused by its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from strategies import system_states

from llmkit.errors import DomainError
from llmkit.installer.state import Disk, Partition, SystemState, partition_name


@settings(deadline=None, max_examples=80)
@given(state=system_states())
def test_a_dict_gives_the_state_back(state: SystemState) -> None:
    """from_dict(to_dict(s)) == s, also by way of JSON text."""
    assert SystemState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_a_dict_is_short() -> None:
    """What has its default value is left out."""
    data = {"disks": [{"name": "sda", "size": 500107862016}]}
    assert SystemState.from_dict(data).to_dict() == data
    assert SystemState().to_dict() == {}


def test_live_defaults_are_the_live_systems() -> None:
    """The live tree's dict holds only what differs from the live system's defaults."""
    state = SystemState.from_dict({"live": {"hostname": "debian"}})
    assert (state.live.hostname, state.live.known, state.live.system) == ("debian", False, True)
    assert state.to_dict() == {"live": {"hostname": "debian"}}


GPT = {"name": "sda", "size": 10 << 30, "table": "gpt"}
ONE = {"number": 1, "start": 1 << 20, "size": 1 << 30, "type": "8300"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"disk": []}, "disk: unknown key; did you mean disks?"),
        ({"disks": {}}, "disks: a list was expected"),
        ({"disks": [{"size": 5}]}, "disks[0]: name is missing"),
        ({"disks": [{"name": "sda", "size": "5G"}]}, "disks[0].size: a whole number was expected"),
        ({"disks": [{"name": "sda", "size": True}]}, "disks[0].size: a whole number was expected"),
        ({"disks": [{"name": "sda", "size": -1}]}, "disks[0].size: -1 is below zero"),
        ({"disks": [{"name": "sd/a", "size": 1}]}, "is not a kernel name"),
        ({"disks": [GPT, GPT]}, "/dev/sda is there twice"),
        ({"disks": [GPT | {"partitions": [ONE, ONE]}]}, "overlap"),
        ({"disks": [GPT | {"partitions": [ONE, ONE | {"number": 2}]}]}, "1 and 2 overlap"),
        ({"disks": [GPT | {"partitions": [ONE | {"size": 10 << 30}]}]}, "past the disk's end"),
        ({"disks": [GPT | {"table": None, "partitions": [ONE]}]}, "so it needs gpt or msdos"),
        ({"disks": [GPT | {"partitions": [ONE | {"role": "logical"}]}]}, "only msdos"),
        ({"boot_mode": "efi"}, "boot_mode: 'efi' is not one of uefi, bios"),
        ({"mounts": [{"source": "/dev/sda1", "target": "mnt"}]}, "is not an absolute path"),
        ({"live": {"users": [{"name": "a"}, {"name": "a"}]}}, "live.users: a is there twice"),
        ({"trees": {"/dev/sda1": {"host": "x"}}}, "trees['/dev/sda1'].host: unknown key"),
        ({"network": 1}, "network: true or false was expected, not 1"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(data: dict, words: str) -> None:
    """A wrong dict is refused with the place and the reason in one line."""
    with pytest.raises(DomainError) as caught:
        SystemState.from_dict(data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_logical_partitions_lie_in_the_extended_one() -> None:
    """A logical partition outside of the extended one is an impossible machine."""
    extended = {"number": 2, "start": 2 << 30, "size": 4 << 30, "type": "05", "role": "extended"}
    logical = {"number": 5, "start": (2 << 30) + (1 << 20), "size": 1 << 30, "type": "83",
               "role": "logical"}  # fmt: skip
    disk = GPT | {"table": "msdos", "partitions": [extended, logical]}
    assert len(SystemState.from_dict({"disks": [disk]}).disks[0].partitions) == 2
    disk = GPT | {"table": "msdos", "partitions": [extended, logical | {"start": 1 << 20}]}
    with pytest.raises(DomainError, match="within the extended"):
        SystemState.from_dict({"disks": [disk]})


@pytest.mark.parametrize(
    ("disk", "number", "name"),
    [
        ("sda", 1, "sda1"),
        ("vda", 12, "vda12"),
        ("nvme0n1", 1, "nvme0n1p1"),
        ("mmcblk0", 2, "mmcblk0p2"),
        ("loop0", 3, "loop0p3"),
        ("md0", 1, "md0p1"),
    ],
)
def test_partition_names_follow_the_kernel(disk: str, number: int, name: str) -> None:
    """A disk whose name ends in a digit gets a p before the number."""
    assert partition_name(disk, number) == name
    part = Partition(number, 0, 1, "83")
    assert Disk(disk, 1, partitions=(part,)).partition_path(number) == f"/dev/{name}"
