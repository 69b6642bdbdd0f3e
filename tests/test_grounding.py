"""Grounding: no command can be written that names an absent disk, and no good one is lost."""

from __future__ import annotations

import json
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.domain import get_domain
from llmkit.installer.grounding import pattern
from llmkit.installer.guard import check_command
from llmkit.installer.state import SystemState
from tests.strategies import commands, system_states

DATA = Path(__file__).parent / "data"
STATES = {
    name: SystemState.from_dict(data)
    for name, data in json.loads((DATA / "guard_states.json").read_text()).items()
}
CASES = [json.loads(line) for line in (DATA / "guard_cases.jsonl").read_text().splitlines()]
TWO = SystemState.from_dict(
    {
        "disks": [
            {"name": "sda", "size": 500 * 10**9},
            {"name": "nvme0n1", "size": 10**12, "model": "Samsung 990 PRO"},
        ]
    }
)
# A whole disk, in text from which quotes and backslashes were taken.
DISK = re.compile(r"(?:sd|x?vd)[a-z]+(?![a-z])|nvme[0-9]+n[0-9]+|mmcblk[0-9]+")


@cache
def compiled(state: SystemState) -> re.Pattern[str]:
    return re.compile(pattern(state))


def matches(command: str, state: SystemState = TWO) -> bool:
    return compiled(state).search(command) is not None


def absent_disks(command: str, state: SystemState) -> list[str]:
    """Disks below /dev that the text names as it stands, quotes aside, and that are not there."""
    plain = re.sub(r"[\"'\\]", "", command)
    there = {disk.name for disk in state.disks}
    named = [DISK.match(rest) for rest in re.split(r"(?<![\w.+-])dev/+(?:\./+)*", plain)[1:]]
    return [found.group() for found in named if found and found.group() not in there]


@settings(max_examples=25)  # each compiles an expression of 70,000 characters
@given(st.data())
def test_what_the_guard_allows_can_be_written(data: st.DataObject) -> None:
    """A line about a random machine that the guard allows matches."""
    state = data.draw(system_states(min_disks=1))
    command = data.draw(commands(state))
    if check_command(command, state).allowed:
        assert matches(command, state)


def test_every_expected_command_can_be_written(run_stage: Any, tmp_path: Path) -> None:
    """The commands of the shipped conversations, on drawn machines, match."""
    done = run_stage(
        "augment", "scenarios_per_conversation=1", "variations=1", "limit=1500",
        f"output_dir={tmp_path}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = 0
    for path in tmp_path.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            command = record["expected_response"].get("command")
            if command is not None:
                seen += 1
                assert matches(command, SystemState.from_dict(record["meta"]["state"])), command
    assert seen > 100


# What the guard allows because it is only printed, looked for or left alone; `$((i+1))`.
# A glob over all disks is the way out of a name that is not there: mkfs.ext4 /dev/sd* for /dev/sdz.
ALL_DISKS = re.compile(r"/dev/(sd|vd|nvme|mmcblk)[*?\[]")
MERE_TEXT = re.compile(r"sd[zy]|/dev/sdb\)|\$\(\(i")


def test_hand_made_lines_that_the_guard_allows_can_be_written() -> None:
    """Of the guard's own cases, those are lost that mention an absent disk in text, and a partition
    number that is computed."""
    allowed = [case for case in CASES if case["verdict"]["allowed"]]
    lost = [case for case in allowed if not matches(case["command"], STATES[case["state"]])]
    assert len(allowed) > 150
    known = [case for case in lost if not MERE_TEXT.search(case["command"])]
    assert [case["command"] for case in known if not ALL_DISKS.search(case["command"])] == []


_PIECES = (
    "/dev/", "/dev", "dev/", "/", "//", "./", "../", "sd", "sda", "sdz", "sdaz", "z", "a", "1", "12",
    "nvme", "nvme0n1", "nvme1n1", "nvme0n1p2", "p1", "n1", "vda", "xvdb", "mmcblk0", "mmcblk0p1",
    '"', "'", "\\", " ", "\n", "\t", ";", "&&", "|", ">", "of=", "-f", ":", ",", "=", "*", "?", "[z]",
    "{a,z}", "{sda,sdz}", "{1,2}", "mapper/", "vg/", "disk/by-id/", "shm/", "null", "fd/", "block/",
    "cryptsetup ", "losetup ", "mkfs.ext4 ", "mount ", "cd ", "echo ", "/mnt", "/sys/block/", ".",
)  # fmt: skip
_lines = st.lists(st.sampled_from(_PIECES), max_size=12).map("".join)


@given(command=_lines)
def test_nothing_that_matches_names_an_absent_disk(command: str) -> None:
    """Whatever the pieces, below /dev stand only disks that are there, in text that matches."""
    assert not (matches(command) and absent_disks(command, TWO))


def test_pieces_in_great_number_name_no_absent_disk() -> None:
    """The same for 30,000 lines, of which many match and most do not; and the guard finds no whole
    disk missing in those that match."""
    draw, count = random.Random(7), 0
    for _ in range(30_000):
        command = "".join(draw.choices(_PIECES, k=draw.randrange(1, 9)))
        if not matches(command):
            continue
        count += 1
        assert not absent_disks(command, TWO), command
        missing = check_command(command, TWO).missing if count < 3000 else ()
        whole = [name for name in missing if re.fullmatch(r"/dev/((sd|vd)[a-z]|nvme\d+n\d+)", name)]
        assert not whole, (command, whole)
    assert 2_000 < count < 25_000


WRITERS = (
    "mkfs.ext4", "/usr/sbin/mkfs.fat -F32", "mke2fs", "mkswap", "wipefs -a", "sgdisk -Z", "sfdisk", "fdisk",
    "cfdisk", "parted -s", "dd bs=1M", "shred -n1", "blkdiscard -f", "badblocks -w", "pvcreate",
    "vgcreate vg", "cryptsetup luksFormat", "mdadm --zero-superblock", "sudo mkfs.xfs",
    "arch-chroot /mnt mkfs.btrfs",
)  # fmt: skip
NO_BLOCKS = (
    "vcsu", "vcs1", "hugepages", "hugepages/x", "shm", "shm/x", "mqueue", "pts", "pts/0", "ptmx", "console",
    "tty1", "ttyS0", "kmsg", "log", "fuse", "hwrng", "rtc0", "kvm", "uinput", "initctl", "net/tun", "snd/x",
    "loop-control", "mapper/control", "dri/card0", "input/event0", "disk/by-id/", "mapper", "*", "",
)  # fmt: skip
STREAMS = ("null", "zero", "full", "random", "urandom", "stdin", "stdout", "stderr", "tty", "fd/3")
AROUND = ("{}", "lsblk; {}", "true && {} && true", "({})", "cryptsetup open /dev/sda2 root && {}",
          "mkswap -L sw /dev/sda2; {}", "if {}; then reboot; fi")  # fmt: skip


@given(st.sampled_from(WRITERS), st.sampled_from((*NO_BLOCKS, *STREAMS)), st.sampled_from(AROUND))
def test_what_is_no_block_device_is_no_argument_of_a_program_that_writes_to_them(
    writer: str, name: str, around: str
) -> None:
    """Neither a pseudo device nor a folder, wherever the command stands in a line, first or behind a
    disk that is there, a redirect or a quote; with the disk alone the line matches."""
    assert matches(around.format(f"{writer} /dev/sda1"))
    for arguments in (
        "{}",
        "/dev/sda {}",
        "2>&1 {}",
        "&>/dev/null {}",
        "'{}'",
        "-f -L x {} /dev/sda",
    ):
        assert not matches(around.format(f"{writer} {arguments.format('/dev/' + name)}"))


@given(st.sampled_from(WRITERS), st.sampled_from(STREAMS), st.sampled_from(AROUND))
def test_streams_stand_behind_redirects_and_in_options(writer: str, name: str, around: str) -> None:
    """`dd if=/dev/zero of=/dev/sda`, `mkfs.ext4 /dev/sda1 >/dev/null 2>&1`."""
    for arguments in ("/dev/sda1 >/dev/{}", "/dev/sda1 2> /dev/{} 2>&1", "/dev/sda1 </dev/{}",
                      "if=/dev/{} of=/dev/sda", "&>/dev/{} /dev/nvme0n1"):  # fmt: skip
        assert matches(around.format(f"{writer} {arguments.format(name)}"))


_WRITER = re.compile(
    r"(?:.*[\s/(])?(?:mkfs(?:\.\w+)?|mkswap|wipefs|sgdisk|dd|pvcreate|cryptsetup)(?=\s)(.*)", re.S
)
_BLOCK = re.compile(
    r"sda[0-9]*|nvme0n1(?:p[0-9]+)?|[*?\[{].*|(?:sda|nvme0n1).*[*?\[{].*|md0|mapper/.*|vg/.*"
)
_writes = st.lists(
    st.sampled_from(
        ("mkfs.ext4", "mkswap", "wipefs", "sgdisk", "dd", "pvcreate", "cryptsetup", "sudo", "echo", "cat",
         "ln", "/dev/sda", "/dev/sda1", "/dev/nvme0n1p2", "/dev/vcsu", "/dev/hugepages", "/dev/shm/x",
         "/dev/kmsg", "/dev/null", "/dev/urandom", "if=/dev/zero", "of=/dev/sda", "of=/dev/shm/x",
         ">/dev/null", "2>", "2>&1", ">", "&>", "<", "&&", ";", "|", "-f", "/dev", "/dev/",
         "/dev/disk/by-id/x", "/dev/mapper/x")
    ), max_size=7
)  # fmt: skip


@settings(max_examples=400)
@given(_writes.map(" ".join))
def test_a_line_that_matches_writes_to_block_devices_alone(line: str) -> None:
    """Of the words of a program that writes to them, those below /dev are disks and partitions, and
    what else may be one; but for those behind `<`, `>` and `=`."""
    if not matches(line):
        return
    for command in re.split(r"[\n;|]|&&|& ", line):
        found = _WRITER.match(command)
        words = (
            re.sub(r"[<>]&?\s*/dev/(?:null|urandom)|if=/dev/zero", "", found[1]) if found else ""
        )
        for name in re.findall(r"/dev/(\S*)", words):
            assert _BLOCK.fullmatch(name), (line, name)


@pytest.mark.parametrize(
    "command",
    [
        "mkfs.ext4 /dev/sdb", "mkfs.ext4 /dev/sdz1", "mkfs.ext4 //dev/sdz", "mkfs.ext4 /dev/./sdz",
        "mkfs.ext4 /dev//sdz", 'mkfs.ext4 /de"v"/sdz', 'mkfs.ext4 /dev/s"d"z', "mkfs.ext4 /dev/sd\\z",
        'mkfs.ext4 /dev/sda"z"', "mkfs.ext4 '/dev/sda'z", "mkfs.ext4 /dev/sda\\\nz", "cd /dev; mkfs.ext4 sdz",
        "mkfs.ext4 /dev/sda$X", "mkfs.ext4 /dev/$X", "mkfs.ext4 /dev/`echo sda`", "X=sdz; mkfs.ext4 $X",
        "mkfs.ext4 /dev/sd{a,z}", "mkfs.ext4 /dev/{sda,sdz}", "mkfs.ext4 {/dev,}/sdz", "mkfs.ext4 /d?v/sdz",
        "mkfs.ext4 /dev/nvme1n1", "mkfs.ext4 /dev/nvme0n2", "mkfs.ext4 /dev/nvme9", "mkfs.ext4 /dev/nvme0n1p",
        "mkfs.ext4 /dev/sda0", "mkfs.ext4 /dev/sda129", "mkfs.ext4 /dev/sdap1", "mkfs.ext4 /dev/nvme0n11",
        "mkfs.ext4 /dev/sdaa", "mkfs.ext4 /dev/SDA", "mkfs.ext4 /dev/mmcblk0", "mkfs.ext4 /dev/vda",
        "mkfs.ext4 /dev/mapper/x", "mkfs.ext4 /dev/vg/root", "mkfs.ext4 /dev/md0", "mount /dev/loop0 /mnt",
        "mount /dev/disk/by-label/x /mnt", "mkfs.ext4 /dev/disk/by-label/x",
        "mkfs.ext4 /dev/disk/by-id/ata-x",
        "mount /dev/disk/by-id/../../sdz /mnt", "cat /sys/block/sdz/size", "mkfs.ext4 /mnt/dev/sdz",
        "dd of=dev/sdz", "dd of=sdz", "cryptsetup open /dev/sdz x", "cryptsetup open /dev/mapper/x y",
        "cryptsetup open /dev/sda x; mkfs.ext4 /dev/sdz/x", "cryptsetup open /dev/sda x; mount /dev/../sdz",
        "cat /dev/shm/../sdz", 'mk"fs".ext4 /dev/vcsu', "m\\kfs.ext4 /dev/vcsu",
        "dd if=/dev/zero of=/dev/shm/x",
        "mkfs.ext4 /dev/sda1.x", "mkfs.ext4 /dev/sdа", "lsblk\x00", "lsblk\x1b",
    ],
)  # fmt: skip
def test_a_name_of_something_absent_cannot_be_written(command: str) -> None:
    """No spelling of an absent disk, mapping or link matches."""
    assert not matches(command)


@pytest.mark.parametrize(
    "command",
    [
        "lsblk", "lsblk sda", "mkfs.ext4 -F '/dev/nvme0n1p2'", "wipefs -a /dev/sda*",
        "wipefs -a /dev/sda{1..3}",
        "wipefs -a /dev/{sda,nvme0n1}", "blkid /dev/sda?1 /dev/sda*", "dd if=/dev/zero of=/dev/sda bs=1M",
        "ls /dev/ /dev/disk/by-id/ /dev/mapper", "mount --rbind /dev /mnt/dev", "ls >/dev/null 2>&1",
        'rsync -aAX --exclude={"/dev/*","/proc/*"} / /mnt', "nvme id-ctrl /dev/nvme0", "cd /dev && ls",
        "cat > /mnt/etc/fstab <<'EOF'\n/dev/sda1 / ext4 defaults 0 1\nEOF", "echo 'on /dev/sda.'",
        "sed -i 's|/dev/sda1|/dev/sda2|; s/\\/dev\\/sda\\/x/y/' /mnt/etc/fstab", "echo it's sdcc.img my-sdz",
        "cryptsetup open /dev/sda2 root && mkfs.ext4 /dev/mapper/root", "losetup /dev/loop0 x.img",
        "vgcreate vg /dev/sda1 && lvcreate -L 1G -n r vg && mkfs.ext4 /dev/vg/r",
        "mdadm --create /dev/md0 /dev/sda1 /dev/nvme0n1p1", "useradd -m -c 'Иван' ivan",
        "mkswap -L sw /dev/sda2 && swapon /dev/disk/by-label/sw", "(echo g; echo w) | fdisk /dev/sda",
        "ln -sf /dev/null /mnt/etc/systemd/system/x.service", "mount --rbind /dev/shm /mnt/dev/shm",
        "echo 'swap /dev/sda3 /dev/urandom swap' >>/mnt/etc/crypttab",
        "echo 'cryptswap /dev/sda3 /dev/urandom swap' >>/mnt/etc/crypttab",
        "cryptsetup open --type plain --key-file /dev/urandom /dev/sda2 wipe",
        "head -c 64 /dev/urandom >/mnt/key",
        "cat > /mnt/etc/fstab <<EOF\n/dev/sda1 / ext4 defaults 0 1\ntmpfs /dev/shm tmpfs defaults 0 0\nEOF",
        "sfdisk /dev/sda <<< 'label: gpt'", "mkfs.ext4 -q /dev/sda1 &>/dev/null & ls /dev/shm",
        "which mkfs.ext4",
        "parted -s /dev/sda mklabel gpt >/dev/null 2>&1 || echo no >/dev/stderr", "command -v dd >/dev/null",
        "mount /dev/sda128 /mnt", "[ -d /sys/firmware/efi ] && echo uefi",
    ],
)  # fmt: skip
def test_good_lines_can_be_written(command: str) -> None:
    """What a person might well do on this machine matches."""
    assert matches(command)


def test_what_is_there_by_another_name_can_be_written() -> None:
    """Mappings, volumes, labels and links of the machine match; a letter more does not."""
    state = SystemState.from_dict(
        {
            "disks": [
                {
                    "name": "sda", "size": 10**11, "table": "gpt",
                    "partitions": [
                        {"number": 1, "start": 1 << 20, "size": 1 << 30, "type": "83", "name": "my data",
                         "signature": {"kind": "ext4", "label": "root+1", "uuid": "ABCD-1234"}},
                        {"number": 2, "start": 2 << 30, "size": 1 << 32, "type": "83"},
                    ],
                }
            ],
            "mappings": [
                {"name": "my--vg-root", "kind": "lvm", "parents": ["/dev/sda2"], "size": 1 << 30},
            ],
            "groups": [{"name": "my-vg", "volumes": ["/dev/sda2"], "size": 1 << 32}],
            "links": {"/dev/disk/by-id/ata-X_1": "/dev/sda"},
        }
    )  # fmt: skip
    for name in (
        "mapper/my--vg-root", "my-vg/root", "disk/by-label/root+1", "disk/by-uuid/ABCD-1234",
        "disk/by-partlabel/my\\x20data", "disk/by-id/ata-X_1",
    ):  # fmt: skip
        assert matches(f"mount /dev/{name} /mnt", state), name
        assert not matches(f"mount /dev/{name}x /mnt", state), name


def test_the_tool_of_a_machine_has_the_pattern() -> None:
    """With a machine the domain's tool has it, and a validator of JSON Schema reads it alike; without
    a machine there is none."""
    domain = get_domain("installer")
    assert "pattern" not in json.dumps(domain.tool_schema(None))
    valid = jsonschema_rs.validator_for(domain.tool_schema(TWO)["parameters"]).is_valid
    assert valid({"command": "mkfs.ext4 /dev/sda1"})
    assert not valid({"command": "mkfs.ext4 /dev/sdz1"})


def test_machines_with_the_same_names_share_a_pattern() -> None:
    """Sizes and models are not in it, so that a server compiles it once."""
    other = SystemState.from_dict(
        {"disks": [{"name": "nvme0n1", "size": 10**9}, {"name": "sda", "size": 2 * 10**9}]}
    )
    assert pattern(other) is pattern(TWO)
