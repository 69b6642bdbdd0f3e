"""Scenarios: the machines that a config and a conversation's filter ask for."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from augment_support import config
from hypothesis import given
from hypothesis import strategies as st

from llmkit.installer import scenario, size
from llmkit.installer.scenario import Machine
from llmkit.installer.seam import domain
from llmkit.installer.state import SystemState
from llmkit.macros import bind
from llmkit.template import render

WHEN = st.fixed_dictionaries(
    {},
    optional={
        "boot": st.sampled_from(["uefi", "bios", "any"]),
        "disks": st.sampled_from([1, "1", 2, "1+", "2+"]),
        "kind": st.sampled_from(["nvme", "sata", "virtio", "mmc", "usb", "hdd", ["nvme", "usb"]]),
        "filesystem": st.sampled_from(["ext4", ["btrfs", "xfs"]]),
        "partitioned": st.sampled_from([True, "false"]),
        "live": st.sampled_from(["true", False]),
        "network": st.sampled_from(["true", False]),
    },
)


def draws(count: int, when: Any = None, start: str | None = None, *overrides: str) -> list[Machine]:
    """The first machines that a fixed seed gives."""
    drawn = scenario.draw(config(*overrides), random.Random(3), when or {}, start)
    return list(itertools.islice(drawn, count))


@given(when=WHEN, seed=st.integers(0, 10**6))
def test_a_drawn_machine_is_what_the_filter_asks_for(when: dict[str, Any], seed: int) -> None:
    """Boot mode, number of disks, the target's kind, file system and content fit `when`."""
    machine = next(scenario.draw(config(), random.Random(seed), when, None), None)
    if machine is None:
        return
    state = machine.state
    own = [disk for disk in state.disks if not disk.live]
    target = state.disk(machine.target)
    assert target is not None and not target.live
    boot = when.get("boot", "any")
    assert boot in ("any", state.boot_mode)
    text = str(when.get("disks", "1+"))
    assert len(own) >= int(text[0]) and (text.endswith("+") or len(own) == int(text[0]))
    if "kind" in when:
        kinds = when["kind"] if isinstance(when["kind"], list) else [when["kind"]]
        kind = dict(machine.kinds)[machine.target]
        assert kind in kinds or (kind == "hdd" and "sata" in kinds)
    if "filesystem" in when:
        assert machine.filesystem in when["filesystem"]
    assert bool(target.partitions) == (str(when.get("partitioned")).lower() == "true")
    if "live" in when:
        assert any(disk.live for disk in state.disks) == (str(when["live"]).lower() == "true")
    assert state.network == (str(when.get("network", "true")).lower() == "true")


@given(seed=st.integers(0, 10**6), partitioned=st.sampled_from([{}, {"partitioned": "true"}]))
def test_a_drawn_machine_can_exist(seed: int, partitioned: dict[str, Any]) -> None:
    """to_dict → from_dict, which refuses overlaps and overruns, gives the machine back."""
    machine = next(scenario.draw(config(), random.Random(seed), partitioned, None))
    assert SystemState.from_dict(machine.state.to_dict()) == machine.state


def test_bios_machines_have_no_disk_beyond_an_msdos_table() -> None:
    """An MBR entry names 2**32 sectors of 512 bytes, so a BIOS machine has at most 2 TiB a disk."""
    machines = draws(60, None, None, "boot=bios", "disk=sata_hdd")
    assert machines
    assert max(disk.size for machine in machines for disk in machine.state.disks) <= 2**41


def test_sizes_are_those_of_real_disks() -> None:
    """500 GB and 1 TB disks have the bytes that hdparm prints for them (IDEMA LBA1-03)."""
    assert scenario._bytes("500GB", "sata") == 500_107_862_016
    assert scenario._bytes("1TB", "nvme") == 1_000_204_886_016
    assert scenario._bytes("512GB", "nvme") == 512_110_190_592
    assert scenario._bytes("20GiB", "virtio") == 21_474_836_480


def test_with_two_disks_one_is_bigger() -> None:
    """bigger and smaller differ in the size that the person reads, and other is not the target."""
    for machine in draws(40, {"disks": 2}):
        found = scenario.variables(machine, machine.state)
        big, small = found["bigger"], found["smaller"]
        assert big.path != small.path and size.parse(big.size) > size.parse(small.size)
        assert found["other"].path != found["target"].path
        assert {big.path, small.path} == {disk.path for disk in found["disks"]}


def test_the_missing_disk_is_missing() -> None:
    """missing_disk names no device of the machine."""
    for machine in draws(60):
        assert machine.missing not in list(machine.state.devices())


def test_one_seed_gives_one_machine() -> None:
    """The draw depends on the generator alone."""
    assert draws(10) == draws(10)


@pytest.mark.parametrize("start", scenario.STARTS)
def test_every_starting_point_is_reached_on_every_machine(start: str) -> None:
    """The standard steps run without failing, and leave what their names say."""
    for machine in scenario.every(config(), {}, start):
        state = domain.begin(machine, start)
        place = scenario.STARTS.index(start)
        target = state.disk(machine.target)
        assert target is not None
        assert bool(target.partitions) == (place >= 1)
        assert (state.mounted_at("/mnt") is not None) == (place >= 3)
        tree = state.target_tree()
        assert (tree is not None and tree.system) == (place >= 4)
        if place >= 5:
            assert tree is not None and tree.hostname == machine.names.hostname
            assert tree.timezone == machine.names.timezone[0]
        if place >= 6:
            assert tree is not None and [user.name for user in tree.users] == [
                machine.names.username
            ]
            assert tree.bootloader == f"grub-{'efi' if state.boot_mode == 'uefi' else 'bios'}"


MACROS = [
    "{{ set_keymap(locale) }}", "{{ set_keymap('us') }}", "{{ set_locale(locale) }}",
    "{{ live_timezone(timezone) }}", "{{ umount() }}", "{{ reboot() }}",
    "{{ add_user(username_alt) }}", "{{ set_password('root') }}",
]  # fmt: skip


@pytest.mark.parametrize("call", MACROS)
def test_every_macro_gives_one_line_that_applies_and_is_allowed(call: str) -> None:
    """On every machine that is ready to restart, the line runs, and the guard lets it."""
    for machine in scenario.every(config(), {}, "ready"):
        state = domain.begin(machine, "ready")
        bound = bind(domain.templates(), scenario.variables(machine, state))
        line = render(call, bound, call)
        assert "\n" not in line and line == line.strip()
        assert not domain.apply(state, line).status
        assert domain.check(state, line).allowed


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"boot": "efi"}, "when: boot: uefi, bios or any"),
        ({"disks": "0"}, "when: disks"),
        ({"disk": 1}, "when: disk: no such key"),
        ({"kind": "floppy"}, "when: kind"),
        ({"partitioned": "maybe"}, "when: partitioned: true or false"),
    ],
)
def test_a_wrong_filter_is_refused_by_name(when: dict[str, Any], message: str) -> None:
    """ValueError says which key is wrong, and what there is."""
    with pytest.raises(ValueError, match=message):
        domain.check_when(when, None)


def test_a_wrong_start_is_refused_with_the_right_ones() -> None:
    """ValueError names the starting points."""
    with pytest.raises(ValueError, match="none of empty, partitioned"):
        domain.check_when({}, "halfway")
