"""Runs a replay.sh of llmkit.chat for real, on image files, where it can touch nothing else.

    echo '{"id": "x", "disks": [{"name": "sda", "size": 8000000000}], "script": "lsblk\\n"}' |
        unshare -m -p -f -n -u -i --kill-child python -m tests.replay_machine

One JSON request on standard input, one JSON answer. The disks are sparse files on a private tmpfs,
attached as loop devices and named as in the request in a private /dev. The script runs in a root of
its own (tests/replay_tree.py) without CAP_MKNOD and CAP_SYS_BOOT. Before each of its commands it asks
here: partitions of the table are made known to the kernel and get their nodes, as udev does it, and
every block device in /dev must belong to one of the images; else the script ends with 99. The loop
devices go away by themselves (LO_FLAGS_AUTOCLEAR) when this process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests import replay_tree as tree
from tests.oracle import sandbox
from tests.replay_vfat import EmptyFat

LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
AUTOCLEAR, PARTSCAN = 4, 8
ROOT = Path("/srv")  # a private tmpfs within the namespace
SECONDS = 25  # that a script gets
_CHECKS = {
    "vfat": ("fsck.fat", "-n"),
    "ext4": ("e2fsck", "-fn"),
    "btrfs": ("btrfs", "check", "--readonly"),
    "xfs": ("xfs_repair", "-n"),
}
_LINUX = ("ext4", "btrfs", "xfs")
DROPPED = "-mknod,-sys_boot,-sys_module,-sys_rawio,-sys_time,-sys_ptrace,-syslog"


class Disk(sandbox.Disk):
    """A loop device that the kernel takes away when nobody has it open any more."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name, size, 512)
        self._held = os.open(self.path, os.O_RDONLY)
        status = bytearray(232)  # struct loop_info64; lo_flags at 52
        fcntl.ioctl(self._held, LOOP_GET_STATUS64, status)
        flags = struct.unpack_from("=I", status, 52)[0]
        struct.pack_into("=I", status, 52, flags | AUTOCLEAR | PARTSCAN)
        fcntl.ioctl(self._held, LOOP_SET_STATUS64, bytes(status))

    def reread(self) -> None:
        """Make the partitions known when the table has changed."""
        table = {sandbox.number_of(row["node"]): (row["start"] * 512, row["size"] * 512)
                 for row in self.table().get("partitions", [])}  # fmt: skip
        if table != {number: value[:2] for number, value in self.kernel().items()}:
            super().reread()

    def nodes(self) -> None:
        """udev's part: nodes of the partitions, also by the kernel's names, and what its database
        says of their content, which lsblk reads."""
        super().nodes()
        database = ROOT / "run/udev/data"
        for number, value in self.kernel().items():
            told = _run("blkid", "-p", "-o", "udev", self.node(number)).stdout
            lines = "".join(f"E:{line}\n" for line in told.splitlines() if "=" in line)
            (database / f"b{value[2]}").write_text(f"I:1\n{lines}")
        kernel = {f"loop{self.minor}p{number}": value[2] for number, value in self.kernel().items()}
        for path in Path("/dev").glob(f"loop{self.minor}p*"):
            if path.name not in kernel:
                path.unlink()
        kernel[f"loop{self.minor}"] = f"7:{self.minor}"
        for name, device in kernel.items():
            sandbox.node(f"/dev/{name}", *map(int, device.split(":")))

    def detach(self) -> None:
        """Give the loop device back."""
        self.drop()
        self.nodes()
        os.close(self._held)
        os.unlink(self.path)
        os.unlink(self.image)

    def stranger(self) -> str:
        """What is wrong with this disk's name; "" when it stands for the image."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            return str(error)
        if not stat.S_ISBLK(found.st_mode) or found.st_rdev != os.makedev(7, self.minor):
            return f"{self.path} is not loop{self.minor}"
        backing = Path(f"/sys/block/loop{self.minor}/loop/backing_file").read_text().strip()
        return "" if backing == str(self.image) else f"{self.path} lies on {backing}"


class Machine(sandbox.Machine):
    """The disks and the script."""

    def __init__(self, disks: list[dict[str, Any]]) -> None:
        super().__init__("")
        self._before = {row[0] for row in _mounted()}  # this machine's own, whatever their names
        self.disks: list[Any] = [Disk(each["name"], each["size"]) for each in disks]

    def mounts(self) -> list[tuple[str, str, str]]:
        """Source, target and type of what the script has mounted from its disks."""
        names = tuple(disk.path for disk in self.disks)
        return [
            (source, target, kind)
            for number, source, target, kind in _mounted()
            if number not in self._before and source.startswith(names)
        ]

    def swaps(self) -> list[str]:
        """What the script has in use by its stand-in for swapon."""
        lines = (ROOT / "run/swaps").read_text().splitlines()[1:]
        return sorted(line.split()[0] for line in lines if line)

    def settle(self) -> str:
        """Between two commands: what udev does, and "ok" or what is wrong."""
        for path in (ROOT / "run/udev/data").iterdir():
            path.unlink()
        for disk in self.disks:
            wrong = disk.stranger()
            if wrong:
                return str(wrong)
            if not self.busy(disk):
                disk.reread()
            disk.nodes()
        known = {os.makedev(7, disk.minor) for disk in self.disks}
        for disk in self.disks:
            for _, _, device in disk.kernel().values():
                known.add(os.makedev(*map(int, device.split(":"))))
        for path in Path("/dev").rglob("*"):
            found = path.lstat()
            if stat.S_ISBLK(found.st_mode) and found.st_rdev not in known:
                return f"{path} is none of the images"
        return "ok"

    def listen(self) -> None:
        """Answer what the script asks, for ever."""
        ask, answer = ROOT / "run/ask", ROOT / "run/answer"
        while True:
            words = ask.read_text().split()  # waits for a writer
            try:
                said = self._told(words)
            except Exception as error:
                said = repr(error)
            answer.write_text(said + "\n")

    def _told(self, words: list[str]) -> str:
        if words[:1] == ["vfat"]:
            EmptyFat(words[1], str(ROOT / words[2].lstrip("/"))).mount()
            return "ok"
        return self.settle()

    def play(self, script: str) -> dict[str, Any]:
        """Run the script; what it said, and what noted that it was called."""
        (ROOT / "replay.sh").write_text(script)
        environment = {"PATH": tree.PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/tmp",
                       "LLMKIT_REPLAY": "yes"}  # fmt: skip
        inside = ["setpriv", f"--bounding-set={DROPPED}", "chroot", str(ROOT), "/usr/bin/bash"]
        which = subprocess.run(
            [*inside, "-c", 'for name; do command -v "$name"; done', "bash", *tree.SHIMS],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if which.stdout.split() != [f"/run/shims/{name}" for name in tree.SHIMS]:
            raise SystemExit(f"not all of the stand-ins would run: {which.stdout}{which.stderr}")
        try:
            done = subprocess.run(
                [*inside, "/replay.sh"], env={**environment, "BASH_ENV": "/run/before"},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=SECONDS, check=False,
            )  # fmt: skip
            status, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired as error:
            status, output = 124, (error.stdout or b"").decode(errors="replace")
        calls = ROOT / tree.CALLS.lstrip("/")
        return {
            "status": status,
            "output": output,
            "calls": calls.read_text().splitlines() if calls.exists() else [],
        }

    def contents(self) -> dict[str, Any]:
        """What blkid -p and fsck say of each partition, and the files of those that can be mounted."""
        found = {}
        for disk in self.disks:
            for number in disk.kernel():
                path = disk.node(number)
                done = _run("blkid", "-p", "-o", "export", path)
                row = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
                check = _CHECKS.get(row.get("TYPE", ""))
                fsck = _run(*check, path) if check else None
                found[path] = {
                    "blkid": row,
                    "fsck": fsck and [fsck.returncode, fsck.stdout + fsck.stderr],
                    "files": _files(path) if row.get("TYPE") in _LINUX else None,
                }
        return found


def _mounted() -> list[tuple[str, str, str, str]]:
    """Number, source, target and type of each mount of this namespace."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        front, _, back = line.partition(" - ")
        kind, source, *_ = back.split()
        found.append((front.split()[0], source, front.split()[4], kind))
    return found


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env=sandbox.ENVIRONMENT, capture_output=True, text=True, errors="replace", check=False
    )


def _files(path: str) -> dict[str, Any]:
    """What an installation writes, as it is on the file system."""
    top = ROOT / "check"
    subprocess.run(["mount", "-o", "ro", path, top], env=sandbox.ENVIRONMENT, check=True)
    try:
        texts = {}
        for name in ("etc/hostname", "etc/fstab", "etc/passwd", "etc/group", "etc/shadow",
                     "boot/grub/grub.cfg", tree.CALLS_INSIDE.lstrip("/")):  # fmt: skip
            with contextlib.suppress(OSError):
                texts[f"/{name}"] = (top / name).read_text()
        return {
            "texts": texts,
            "links": {f"/{p.relative_to(top)}": os.readlink(p) for p in (top / "etc").glob("*")
                      if p.is_symlink()},
            "folders": sorted(f"/{p.relative_to(top)}" for p in top.glob("*/**")
                              if p.is_dir() and len(p.relative_to(top).parts) < 4),
        }  # fmt: skip
    finally:
        subprocess.run(["umount", top], env=sandbox.ENVIRONMENT, check=True)


def _mounts() -> bool:
    """The private root; whether this kernel mounts vfat itself."""
    sandbox._private_devices()
    if Path("/usr/sbin/modprobe").exists():
        _run("modprobe", "vfat")
    fat = re.search(r"^\s+vfat$", Path("/proc/filesystems").read_text(), re.MULTILINE) is not None
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", ROOT], check=True)
    tree.live(ROOT, fat)
    for command in (
        ["--bind", "/usr", "usr"], ["-o", "remount,bind,ro,nodev", "usr"], ["--bind", "/dev", "dev"],
        ["-t", "proc", "-o", "ro", "proc", "proc"], ["-t", "sysfs", "-o", "ro", "sysfs", "sys"],
    ):  # fmt: skip
        subprocess.run(["mount", *command], cwd=ROOT, check=True)
    subprocess.run(["mount", "--bind", "run/swaps", "proc/swaps"], cwd=ROOT, check=True)
    for name in ("pts", "shm"):
        Path("/dev", name).mkdir()
    for name in ("ask", "answer"):
        os.mkfifo(ROOT / "run" / name)
    tree.installed(ROOT / tree.SOURCE.lstrip("/"))
    return fat


def main() -> None:
    """One request, one answer."""
    if os.getpid() != 1:  # it would mount over the real /dev
        sys.exit("run it in namespaces of its own, as above")
    request = json.loads(sys.stdin.readline())
    fat = _mounts()
    sandbox.IMAGES = f"/media/replay-{request['id']}"
    os.mkdir(sandbox.IMAGES)
    machine = Machine(request["disks"])
    try:
        threading.Thread(target=machine.listen, daemon=True).start()
        answer = {"vfat": fat, **machine.play(request["script"])}
        left = machine.mounts()
        for _, target, _ in reversed(left):
            _run("umount", "-l", target)
        answer["ends"] = machine.settle()
        for disk in machine.disks:  # the script may have taken its name away
            sandbox.node(disk.path, 7, disk.minor)
        answer |= machine.observe() | {"mounts": left, "contents": machine.contents()}
        print(json.dumps(answer), flush=True)
    finally:
        for disk in machine.disks:
            disk.detach()


if __name__ == "__main__":
    main()
