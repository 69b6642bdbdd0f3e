"""The shell script that a conversation leaves, run for real; see docs/replay.md.

    python -m pytest -q tests/test_replay.py

For the UEFI and the BIOS machine the shipped script is held against a simulated machine; the
replay.sh that it wrote, unmodified, then runs on an image of that machine's disk, with the real
sgdisk, parted, mkfs, mount, genfstab, arch-chroot, ln, useradd and umount. The copy is a small tree;
passwd, grub-install, grub-mkconfig, swapon and reboot note that they were called. Three more
installations, with their commands here, go the same way. What sfdisk, blkid, fsck and
the files then say is compared with the simulated machine. Where the kernel cannot mount vfat, an empty
file system of the test's own stands for the EFI partition while it is mounted (replay_vfat.py): what
is written there, and the options in its line of fstab, are not checked then. Nothing boots the disk.

Skipped where tests/test_oracle.py is: it needs root, loop devices and the Debian packages of .ci/run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("tenacity")

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from llmkit.chat import asker, drawn
from llmkit.chat_log import Transcript
from llmkit.chat_script import play, read_script
from llmkit.chat_types import Ran
from llmkit.client import Client
from llmkit.config_chat import ChatConfig
from llmkit.domain import get_domain
from llmkit.installer import plan
from llmkit.installer.frozen import replace
from llmkit.installer.run import run_command
from llmkit.installer.state import Disk, SystemState
from llmkit.stage_errors import validated
from tests.oracle.client import obstacle
from tests.oracle.compare import differences
from tests.replay_plans import OTHERS
from tests.test_assistant import speaks, text
from tests.test_client import QUICK, Told

ROOT = Path(__file__).resolve().parent.parent
UNSHARE = ("unshare", "-m", "-p", "-f", "-n", "-u", "-i", "--propagation", "private",
           "--kill-child")  # fmt: skip
SMALL = [{"name": "sda", "size": 2_000_000_000}]
MACHINES = {
    "uefi_nvme": ("disk=nvme_single", "boot=uefi", "filesystem=ext4"),
    "bios_sata": ("disk=sata_ssd", "boot=bios", "filesystem=ext4"),
}


@pytest.fixture(scope="module", autouse=True)
def _real_disks() -> None:
    reason = obstacle()
    missing = [name for name in ("arch-chroot", "genfstab", "setpriv", "useradd", "mkfs.fat")
               if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]  # fmt: skip
    if not reason and missing:
        reason = f"not installed: {', '.join(missing)}"
    if reason:
        pytest.skip(f"no real disks to replay on: {reason}")


def attached(name: str) -> list[str]:
    """Loop devices of a replay."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [str(path)] * (f"replay-{name}/" in path.read_text())
        except OSError:  # just detached
            continue
    return found


def gone(name: str) -> bool:
    """Whether its loop devices go away; the kernel may take a moment."""
    ends = time.monotonic() + 10
    while attached(name):
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return True


def start(name: str, disks: list[dict[str, Any]], script: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*UNSHARE, sys.executable, "-m", "tests.replay_machine"], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps({"id": name, "disks": disks, "script": script}) + "\n")
    process.stdin.flush()
    return process


def replayed(disks: list[dict[str, Any]], script: str) -> dict[str, Any]:
    """Run a script on new disks. Asserts that nothing of it is left."""
    name = uuid.uuid4().hex
    mounts = set(Path("/proc/self/mounts").read_text().splitlines())
    with start(name, disks, script) as process:
        out, _ = process.communicate(timeout=60)
    left = set(Path("/proc/self/mounts").read_text().splitlines()) - mounts
    assert gone(name) and not [row for row in left if row.split()[1].startswith(("/srv", "/media"))]
    assert process.returncode == 0
    return dict(json.loads(out))


@dataclass
class Story:
    """A conversation, and what came of its script on real disks."""

    plan: SystemState
    device: str  # that holds the new system
    seen: dict[str, Any]

    @property
    def texts(self) -> dict[str, str]:
        """Files of the new system."""
        return dict(self.seen["contents"][self.device]["files"]["texts"])

    def blkid(self, device: str) -> dict[str, str]:
        return dict(self.seen["contents"][device]["blkid"])

    def fstab(self) -> dict[str, list[str]]:
        """Fields by mount point."""
        lines = [line.split() for line in self.texts["/etc/fstab"].splitlines()]
        lines = [fields for fields in lines if fields and fields[0][0] != "#"]
        return {fields[1].replace("none", "swap"): fields for fields in lines}

    def calls(self) -> list[str]:
        """What was called in the new system and is a stand-in there."""
        return self.texts["/var/log/calls"].splitlines()


def held(name: str, folder: Path) -> tuple[SystemState, SystemState]:
    """The shipped script against a simulated machine, with a model that knows nothing, so that each
    command is the script's. The machine before and after; replay.sh is in the folder."""
    with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        composed = compose("chat", list(MACHINES[name]))
    cfg = validated(ChatConfig, OmegaConf.to_container(composed, resolve=True))
    domain: Any = get_domain(cfg.domain.name)
    state = drawn(domain, cfg)
    with Told(speaks(text("I do not know."))) as server, Client(server.url, QUICK) as client:
        assistant = domain.assistant(
            asker(client), cfg.ask, cfg.execute, state=state, allow_installed=False
        )
        log = Transcript(folder, "simulate", assistant.facts())
        report = play(read_script(ROOT / f"data/scripts/{name}.txt"), assistant, log, str)
    assert not report.failed and not assistant.problems()
    return state, assistant.state


def carried_out(name: str, folder: Path) -> tuple[SystemState, SystemState]:
    """The same for commands that are given here."""
    facts, commands = OTHERS[name]
    before = state = SystemState.from_dict(facts)
    log = Transcript(folder, "simulate", before.to_context())
    for command in commands:
        outcome = run_command(command, state)
        assert outcome.status == 0, outcome.error
        log.ran(Ran(command, 0), "go on")
        state = outcome.state
    assert not plan.problems(state)
    return before, state


@pytest.fixture(scope="module", params=[*MACHINES, *OTHERS])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("replay") / request.param
    before, after = (held if request.param in MACHINES else carried_out)(request.param, folder)
    real = {disk.name for disk in before.disks if not disk.live}
    assert all(disk.table is None for disk in before.disks if disk.name in real)
    end = replace(after, disks=tuple(disk for disk in after.disks if disk.name in real))
    seen = replayed(
        [{"name": disk.name, "size": disk.size} for disk in end.disks],
        (folder / "replay.sh").read_text(),
    )
    device = next(path for path, tree in end.trees if tree.system)
    return Story(end, device, seen)


def test_the_script_runs_to_its_end(story: Story) -> None:
    """Every command succeeds, the last one is the restart, which is not the real one, and only the
    copy, swap and the restart were stand-ins."""
    assert story.seen["status"] == 0, story.seen["output"]
    calls = [call for call in story.seen["calls"] if not call.startswith("swapo")]
    assert calls == ["rsync -aAXHx / /mnt/", "reboot "] and story.seen["calls"][-1] == "reboot "
    assert story.plan.status == "rebooting"


def test_the_disk_holds_what_the_plan_said(story: Story) -> None:
    """Table, partitions (to the sector), types, names, flags by sfdisk; file systems and labels by
    blkid -p; nothing is mounted any more."""
    assert differences(story.plan, story.seen) == []
    assert story.seen["ends"] == "ok"


def test_the_file_systems_are_sound(story: Story) -> None:
    """By fsck.fat, e2fsck, btrfs check and xfs_repair, which only look."""
    found = story.seen["contents"]
    assert len(found) == sum(len(disk.partitions) for disk in story.plan.disks)
    for row in found.values():
        assert row["blkid"]["TYPE"] == "swap" if row["fsck"] is None else row["fsck"][0] == 0, row


def test_fstab_names_the_file_systems_of_the_plan(story: Story) -> None:
    """Each mount point of the plan, none besides, with the UUID and the type that blkid finds."""
    tree, fstab = story.plan.tree(story.device), story.fstab()
    assert sorted(fstab) == list(tree.fstab)
    parts = [(d, p) for d in story.plan.disks for p in d.partitions if p.signature]
    swap = [d.partition_path(p.number) for d, p in parts if p.signature.kind == "swap"]
    devices = {"/": story.device, "/boot/efi": tree.bootloader_device, "swap": "".join(swap)}
    for target, fields in fstab.items():
        row = story.blkid(devices[target])
        assert fields[0] == f"UUID={row['UUID']}" and fields[2] == row["TYPE"]
        if story.seen["vfat"] or target != "/boot/efi":  # genfstab has no check for FUSE
            unchecked = row["TYPE"] in ("btrfs", "swap")  # by fsck, when the machine starts
            assert fields[5] == ("0" if unchecked else "1" if target == "/" else "2")


def test_the_system_is_set_up_as_planned(story: Story) -> None:
    """Host name, time zone, folders and files."""
    tree = story.plan.tree(story.device)
    files = story.seen["contents"][story.device]["files"]
    assert story.texts["/etc/hostname"] == dict(tree.files)["/etc/hostname"]
    assert files["links"] == dict(tree.links)
    assert files["links"]["/etc/localtime"].endswith(f"zoneinfo/{tree.timezone}")
    assert set(tree.directories) <= set(files["folders"])
    assert "/boot/grub/grub.cfg" in story.texts


def test_the_users_are_those_of_the_plan(story: Story) -> None:
    """Accounts with their groups, shells, homes and passwords."""
    rows = [line.split(":") for line in story.texts["/etc/passwd"].splitlines()]
    shadow = dict(line.split(":")[:2] for line in story.texts["/etc/shadow"].splitlines())
    groups = [line.split(":") for line in story.texts["/etc/group"].splitlines()]
    folders = story.seen["contents"][story.device]["files"]["folders"]
    found = [
        (
            name, int(number),
            tuple(sorted(group[0] for group in groups if name in group[3].split(","))),
            shell, shadow[name].startswith("$"), home in folders,
        )
        for name, _, number, _, _, home, shell in rows if name != "root"
    ]  # fmt: skip
    assert found == [
        (user.name, user.uid, user.groups, user.shell, user.password, user.home)
        for user in story.plan.tree(story.device).users
    ]


def test_the_boot_loader_goes_where_the_plan_has_it(story: Story) -> None:
    """grub-install is asked for the firmware's target, with the EFI partition mounted where it is
    told to look, or the disk; then grub.cfg is made."""
    tree = story.plan.tree(story.device)
    calls = [call for call in story.calls() if call.split()[0] not in ("systemctl", "locale-gen")]
    typed, install, *rest = calls
    assert typed == f"passwd {tree.users[0].name}" and install.startswith("grub-install ")
    if tree.bootloader == "grub-efi":
        assert "--target=x86_64-efi --efi-directory=/boot/efi" in install
        assert rest.pop(0) == f"efi {tree.bootloader_device}"
    else:
        assert tree.bootloader == "grub-bios"
        assert install == f"grub-install --target=i386-pc {tree.bootloader_device}"
    assert "systemctl enable NetworkManager" in story.calls() or not tree.services
    assert rest == ["grub-mkconfig -o /boot/grub/grub.cfg"]


# The machine that replays


def script(folder: Path, *commands: str) -> str:
    """As llmkit writes one with these commands."""
    log = Transcript(folder, "simulate", "")
    for command in commands:
        log.ran(Ran(command, 0), "go")
    return (folder / "replay.sh").read_text()


def test_another_outcome_is_seen(tmp_path: Path) -> None:
    """A partition of another size, type or file system than planned is a difference."""
    state = SystemState(disks=(Disk("sda", SMALL[0]["size"]),))
    for line in ("sgdisk -n 1:0:+512M -t 1:ef00 /dev/sda", "mkfs.fat -F32 /dev/sda1"):
        state = state.apply_command(line)
    seen = replayed(
        SMALL,
        script(tmp_path, "sgdisk -n 1:0:+511M -t 1:8300 /dev/sda", "mkfs.ext4 -q -F /dev/sda1"),
    )
    assert seen["status"] == 0, seen["output"]
    assert [line.split()[1] for line in differences(state, seen)] == ["size", "type", "content"]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("rm /dev/sda", "No such file"),
        ("ln -sf null /dev/sda", "is not loop"),
        ("mknod /dev/sdb b 7 0", "Operation not permitted"),
    ],
)
def test_a_script_ends_when_a_name_stands_for_something_else(
    tmp_path: Path, harm: str, said: str
) -> None:
    """Before the next command runs; and it can make no device of its own."""
    seen = replayed(SMALL, script(tmp_path, harm, "reboot"))
    assert said in seen["output"] and seen["status"] in (1, 99) and seen["calls"] == []


def test_what_is_outside_cannot_be_written(tmp_path: Path) -> None:
    """This machine's /usr is read-only there, the rest of it is not there, nor its disks."""
    seen = replayed(
        SMALL,
        script(
            tmp_path,
            "! touch /usr/x && ! echo h > /proc/sysrq-trigger && ! touch /sys/x",
            f"! ls {tmp_path} && ! ls /work && ! ls /root",
            "sfdisk -q /dev/sda <<< ,,L && mkfs.ext4 -q -F /dev/sda1 && mount /dev/sda1 /mnt",
            "rsync -a / /mnt/ && arch-chroot /mnt bash -c"
            " 'for path in /dev/*; do [ ! -b $path ] || echo block ${path%%[0-9]*}; done'",
            "umount -R /mnt",
        ),
    )
    assert seen["status"] == 0, seen["output"]
    blocks = {line for line in seen["output"].splitlines() if line.startswith("block ")}
    assert blocks == {"block /dev/sda", "block /dev/loop"}


@pytest.fixture
def running() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    name = uuid.uuid4().hex
    lines = "sgdisk -n 1:0:0 /dev/sda && mkfs.ext4 -q -F /dev/sda1 && mount /dev/sda1 /mnt"
    process = start(name, SMALL, f"{lines}\nsleep 60\n")
    yield name, process
    process.kill()
    process.communicate()


def test_nothing_is_left_when_it_is_killed(running: tuple[str, subprocess.Popen[str]]) -> None:
    """SIGKILL while a partition is mounted: no process, no mount, no loop device stays."""
    name, process = running
    ends = time.monotonic() + 20
    mounted = False
    while not mounted and time.monotonic() < ends:
        time.sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            mounts = Path(f"/proc/{child}/mounts").read_text()
            mounted = "/dev/sda1 " in mounts
    assert mounted and attached(name)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert gone(name)
