"""Facts about real machines: lsblk's JSON and the rest of what `gather` looks at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmkit.errors import DomainError
from llmkit.installer.facts import COLUMN_SETS, Ran, block_devices, device_links, gather, run_here
from llmkit.installer.state import SystemState

RECORDED = Path(__file__).parent / "data" / "lsblk"


def recorded(name: str) -> SystemState:
    return SystemState.from_lsblk(json.loads((RECORDED / f"{name}.json").read_text()))


def test_a_laptop_with_windows_beside_linux_is_read_whole():
    """Partitions keep their numbers, exact offsets, types, labels and both mount points."""
    (disk,) = recorded("laptop_dual_boot").disks
    assert (disk.path, disk.size, disk.model) == (
        "/dev/nvme0n1",
        1024209543168,
        "Samsung SSD 980 PRO 1TB",
    )
    assert (disk.transport, disk.table, disk.live) == ("nvme", "gpt", False)
    assert [(p.number, p.start, p.size) for p in disk.partitions] == [
        (1, 1048576, 104857600),
        (2, 105906176, 16777216),
        (3, 122683392, 524288000000),
        (4, 524410683392, 419430400000),
    ]
    assert disk.partitions[0].type == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
    assert disk.partitions[2].name == "Basic data partition"
    assert disk.partitions[1].signature is None
    mounts = [(m.source, m.target) for m in recorded("laptop_dual_boot").mounts]
    assert mounts == [
        ("/dev/nvme0n1p4", "/"),
        ("/dev/nvme0n1p4", "/home"),
        ("/dev/nvme0n1p1", "/boot/efi"),
    ]


def test_the_stick_that_the_live_system_runs_from_is_marked():
    """A known live mount point marks its disk; squashfs loops, empty readers and zram are left out."""
    state = recorded("live_iso_usb")
    assert [(d.name, d.live) for d in state.disks] == [("sda", False), ("sdb", True)]
    assert state.disks[0].model == "Samsung SSD 870 EVO 500GB"
    assert state.disks[1].table == "msdos"
    assert [p.type for p in state.disks[1].partitions] == ["83", "ef"]
    assert state.swaps == ()


def test_volumes_in_a_luks_container_are_devices_with_links():
    """LUKS and LVM children become mappings; /dev/dm-N and /dev/VG/LV link to them."""
    state = recorded("luks_lvm")
    assert [(m.path, m.kind, m.parents) for m in state.mappings] == [
        ("/dev/mapper/cryptlvm", "crypt", ("/dev/sda2",)),
        ("/dev/mapper/my--vg-swap", "lvm", ("/dev/mapper/cryptlvm",)),
        ("/dev/mapper/my--vg-root", "lvm", ("/dev/mapper/cryptlvm",)),
    ]
    assert state.swaps == ("/dev/mapper/my--vg-swap",)
    assert dict(state.links) == {
        "/dev/dm-0": "/dev/mapper/cryptlvm",
        "/dev/dm-1": "/dev/mapper/my--vg-swap",
        "/dev/dm-2": "/dev/mapper/my--vg-root",
        "/dev/my-vg/swap": "/dev/mapper/my--vg-swap",
        "/dev/my-vg/root": "/dev/mapper/my--vg-root",
    }
    assert state.groups[0].name == "my-vg"
    assert state.groups[0].volumes == ("/dev/mapper/cryptlvm",)


def test_a_raid_that_is_listed_twice_is_one_device_with_two_parents():
    """lsblk prints md0 below each member; it is mounted once."""
    state = recorded("raid1")
    (raid,) = state.mappings
    assert (raid.path, raid.kind, raid.parents) == ("/dev/md0", "raid", ("/dev/sda1", "/dev/sdb1"))
    assert [(m.source, m.target, m.fstype) for m in state.mounts] == [("/dev/md0", "/srv", "xfs")]


def test_an_old_lsblk_with_texts_and_logical_partitions_is_read():
    """util-linux 2.33: MOUNTPOINT, "149,1G" with a decimal comma, "1" for true, sda5 logical."""
    state = recorded("bios_extended_2_33")
    disk = state.disk("sda")
    assert disk is not None and disk.rotational and not disk.removable
    assert disk.size == 1491 * 1024**3 // 10
    assert [(p.number, p.role) for p in disk.partitions] == [
        (1, "primary"),
        (2, "extended"),
        (5, "logical"),
        (6, "logical"),
    ]
    assert state.swaps == ("/dev/sda5",)
    assert [(m.source, m.target) for m in state.mounts] == [
        ("/dev/sda6", "/"),
        ("/dev/sda1", "/boot"),
    ]
    assert [d.name for d in state.disks if d.read_only] == ["sr0"]


def test_emmc_partitions_have_a_p_and_boot_areas_are_read_only_disks():
    """mmcblk0p1 is a partition; mmcblk0boot0 is a disk of its own that cannot be written."""
    state = recorded("emmc_tablet")
    assert list(state.devices()) == [
        "/dev/mmcblk0",
        "/dev/mmcblk0p1",
        "/dev/mmcblk0p2",
        "/dev/mmcblk0boot0",
        "/dev/mmcblk0boot1",
    ]
    assert [d.transport for d in state.disks] == ["mmc", "mmc", "mmc"]
    assert [d.read_only for d in state.disks] == [False, True, True]


def test_a_blank_virtual_disk_has_no_table():
    """No children and no PTTYPE: table None; the transport follows from the name."""
    (disk,) = recorded("virtio_blank_4k").disks
    assert (disk.table, disk.partitions, disk.transport, disk.sector) == (None, (), "virtio", 4096)


def test_a_group_on_two_whole_disks_is_one_group():
    """The volume has both disks as parents, and each disk carries its LVM signature."""
    state = recorded("lvm_two_disks")
    assert state.groups[0].volumes == ("/dev/sda", "/dev/sdb")
    assert state.mappings[0].parents == ("/dev/sda", "/dev/sdb")
    assert [d.signature.kind for d in state.disks if d.signature] == ["LVM2_member"] * 2
    assert len(state.mounts) == 1


def test_the_reduced_columns_are_enough_for_a_state():
    """Sizes as text, no TRAN, no START: partitions are laid from 1 MiB and stay on the disk."""
    state = recorded("reduced_columns")
    (disk,) = state.disks
    assert disk.table == "gpt"  # the PARTUUIDs are GUIDs
    assert disk.partitions[0].start == 1 << 20
    assert all(part.end <= disk.size for part in disk.partitions)
    assert state.to_context() == (
        "## Current System State\n\n- Boot mode: UEFI\n- Network: Connected\n- Hostname: not set\n"
        "- Timezone: not set\n\n## Available Disks\n\n- /dev/sda: 465.8G\n"
        "  - /dev/sda1: 512M [vfat] mounted at /mnt/boot/efi\n"
        "  - /dev/sda2: 465.3G [ext4] mounted at /mnt\n\n## Current Mounts\n"
        "- /dev/sda2 on /mnt\n- /dev/sda1 on /mnt/boot/efi"
    )


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "blockdevices"),
        ([], "blockdevices"),
        ({"blockdevices": [{"size": 5}]}, "without a name"),
        ({"blockdevices": [{"name": "sda", "type": "disk", "size": "large"}]}, "not a size"),
    ],
)
def test_what_is_not_lsblks_document_is_refused(document, reason):
    """A document of another form is a DomainError that says what is wrong."""
    with pytest.raises(DomainError, match=reason):
        SystemState.from_lsblk(document)


def test_links_by_id_are_taken_from_the_caller():
    """by-id and by-path cannot be derived from lsblk: they come through `links`."""
    links = {"/dev/disk/by-id/ata-X": "/dev/sda"}
    document = json.loads((RECORDED / "reduced_columns.json").read_text())
    assert dict(SystemState.from_lsblk(document, links).links) == links


def test_columns_that_this_lsblk_does_not_know_are_left_out_next_time():
    """An lsblk that refuses START and MOUNTPOINTS is asked again with fewer columns."""
    asked: list[str] = []

    def run(argv: list[str]) -> Ran:
        asked.append(argv[-1])
        if "START" in argv[-1] or "MOUNTPOINTS" in argv[-1]:
            return Ran(1, stderr="lsblk: unknown column: START")
        return Ran(0, (RECORDED / "bios_extended_2_33.json").read_text())

    assert len(block_devices(run)["blockdevices"]) == 3
    assert asked == list(COLUMN_SETS[:3])


@pytest.mark.parametrize(
    ("ran", "reason"),
    [
        (Ran(127, stderr="lsblk: not found"), "install util-linux"),
        (Ran(124, stderr="lsblk: no answer within 10 s"), "no answer"),
        (Ran(0, "NAME SIZE\n"), "not JSON"),
    ],
)
def test_an_lsblk_that_fails_is_named(ran, reason):
    """Missing, hanging and non-JSON programs end in a DomainError that says so."""
    with pytest.raises(DomainError, match=reason):
        block_devices(lambda argv: ran)


def test_a_machine_without_any_block_device_has_no_disks():
    """lsblk exits 1 and prints nothing where /sys/block is empty: that is an answer."""
    assert block_devices(lambda argv: Ran(1)) == {"blockdevices": []}


def fake_root(tmp_path: Path) -> Path:
    for folder in ("etc", "sys/firmware/efi", "home/ann", "dev/disk/by-id", "dev/disk/by-uuid"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/hostname").write_text("tin\n")
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Riga")
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/bash\n"
        "ann:x:1000:1000:Ann:/home/ann:/bin/zsh\n"
        "bob:x:59999:59999::/home/bob:/bin/bash\n"
        "nobody:x:65534:65534::/:/usr/bin/nologin\n"
    )
    (tmp_path / "etc/group").write_text("wheel:x:998:ann\naudio:x:996:bob,ann\nann:x:1000:\n")
    (tmp_path / "dev/disk/by-id/nvme-A").symlink_to("../../nvme0n1")
    (tmp_path / "dev/disk/by-uuid/0-0").symlink_to("../../nvme0n1p1")
    return tmp_path


def fake_run(route: str) -> object:
    document = (RECORDED / "laptop_dual_boot.json").read_text()

    def run(argv: list[str]) -> Ran:
        return Ran(0, document if argv[0] == "lsblk" else route if "-6" not in argv else "")

    return run


def test_gather_reads_boot_mode_host_name_zone_users_and_links(tmp_path):
    """Everything else than disks comes from the files of the given root."""
    state = gather(
        fake_run("default via 10.0.0.1 dev eth0\n"), root=fake_root(tmp_path), resolve=""
    )
    assert (state.boot_mode, state.network) == ("uefi", True)
    assert (state.live.hostname, state.live.timezone) == ("tin", "Europe/Riga")
    assert [(u.name, u.uid, u.groups, u.home) for u in state.live.users] == [
        ("ann", 1000, ("audio", "wheel"), True),
        ("bob", 59999, ("audio",), False),
    ]
    assert dict(state.links) == {"/dev/disk/by-id/nvme-A": "/dev/nvme0n1"}


def test_no_default_route_means_no_network(tmp_path):
    """Without a route nothing is looked up, and BIOS is what a machine without EFI variables has."""
    root = fake_root(tmp_path)
    (root / "sys/firmware/efi").rmdir()
    state = gather(fake_run(""), root=root, resolve="example.invalid")
    assert (state.boot_mode, state.network) == ("bios", False)


def test_a_missing_dev_disk_gives_no_links(tmp_path):
    """Containers have no /dev/disk."""
    assert device_links(tmp_path) == {}


def test_a_command_that_hangs_or_is_missing_is_a_status_not_an_exception():
    """run_here never raises for what it runs: 124 after the time-out, 127 when it is not there."""
    assert run_here(["sleep", "5"], timeout=0.1).status == 124
    assert run_here(["no-such-program-of-llmkit"]).status == 127


def test_the_facts_of_this_machine_agree_with_lsblk():
    """`python -m llmkit.installer.facts` names every disk that the real lsblk lists, with its size."""
    listed = run_here(["lsblk", "--noheadings", "--nodeps", "-o", "NAME,TYPE,SIZE,RO"])
    if listed.status != 0:
        pytest.skip(f"lsblk does not run here: {listed.stderr.strip()}")
    printed = subprocess.run(
        [sys.executable, "-m", "llmkit.installer.facts"], capture_output=True, text=True, check=True
    ).stdout
    for line in listed.stdout.splitlines():
        name, kind, size, _ = line.split()
        if kind == "disk" and size != "0B" and not name.startswith(("zram", "ram")):
            assert f"- /dev/{name}: {size}" in printed
