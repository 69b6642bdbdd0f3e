"""Real disks to try commands on: sparse files as loop devices, named like disks, in a namespace.

    unshare -m -p -f --kill-child python tests/oracle/sandbox.py SHIM

Reads one JSON request a line on standard input and answers with one line each:

    {"reset": [{"name": "sda", "size": 1073741824, "sector": 512}]}   → {"ok": true}
    {"run": ["sgdisk", "-p", "/dev/sda"], "stdin": ""}               → {"status": 0, "error": "…"}
    {"observe": true}                                                  → {"disks": {…}, "mounts": […]}

Nothing outside of the namespace is touched: /dev, /mnt and the images live on private tmpfs. The
loop devices are released at the end.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import re
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

LOOP_SET_FD, LOOP_CLR_FD, LOOP_SET_BLOCK_SIZE = 0x4C00, 0x4C01, 0x4C09
LOOP_CTL_GET_FREE, BLKPG, BLKPG_ADD, BLKPG_DEL = 0x4C82, 0x1269, 1, 2
IMAGES = "/media"  # private tmpfs within the namespace
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class Disk:
    """One image behind one loop device."""

    def __init__(self, name: str, size: int, sector: int) -> None:
        self.name, self.size = name, size
        self.image = Path(IMAGES) / name
        self.image.write_bytes(b"")
        os.truncate(self.image, size)
        self.minor = self._attach(sector)

    def _attach(self, sector: int) -> int:
        image = os.open(self.image, os.O_RDWR)
        try:
            for _ in range(20):  # another program may take the free one first
                with open("/dev/loop-control", "rb+", buffering=0) as control:
                    minor = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
                node(self.path, 7, minor)
                device = os.open(self.path, os.O_RDWR)
                try:
                    fcntl.ioctl(device, LOOP_SET_FD, image)
                    if sector != 512:
                        fcntl.ioctl(device, LOOP_SET_BLOCK_SIZE, sector)
                except OSError:
                    os.unlink(self.path)
                    continue
                finally:
                    os.close(device)
                return minor
        finally:
            os.close(image)
        raise RuntimeError("no free loop device")

    @property
    def path(self) -> str:
        return f"/dev/{self.name}"

    def node(self, number: int) -> str:
        return f"{self.path}p{number}" if self.name[-1].isdigit() else f"{self.path}{number}"

    def kernel(self) -> dict[int, tuple[int, int, str]]:
        """Partitions the kernel has: number → start, size in bytes, major:minor."""
        found = {}
        top = Path(f"/sys/block/loop{self.minor}")
        for entry in top.glob(f"loop{self.minor}p*"):
            start = int((entry / "start").read_text()) * 512
            size = int((entry / "size").read_text()) * 512
            number = int((entry / "partition").read_text())
            found[number] = start, size, (entry / "dev").read_text().strip()
        return found

    def drop(self) -> None:
        """Take all partitions out of the kernel."""
        for number in self.kernel():
            self._blkpg(BLKPG_DEL, number, 0, 0)

    def _blkpg(self, operation: int, number: int, start: int, size: int) -> None:
        data = array.array("B", struct.pack("=qqi64s64s4x", start, size, number, b"", b""))
        request = struct.pack("@iiiiP", operation, 0, len(data), 0, data.buffer_info()[0])
        device = os.open(self.path, os.O_RDWR)
        try:
            with contextlib.suppress(OSError):  # in use
                fcntl.ioctl(device, BLKPG, request)
        finally:
            os.close(device)

    def table(self) -> dict[str, Any]:
        """The partition table as sfdisk reads it."""
        done = subprocess.run(
            ["sfdisk", "--json", self.path], env=ENVIRONMENT, capture_output=True, check=False
        )
        try:
            return dict(json.loads(done.stdout or b"{}").get("partitiontable", {}))
        except ValueError:
            return {}

    def reread(self) -> None:
        """What a kernel with partition scanning does on BLKRRPART: of an extended partition it
        shows the first KiB, less when a logical one begins there."""
        self.drop()
        table = self.table()
        unit = table.get("sectorsize", 512)
        rows = [
            (number_of(row["node"]), row["start"] * unit, row["size"] * unit, row["type"])
            for row in table.get("partitions", [])
        ]
        starts = [start for _, start, _, _ in rows]
        for number, start, size, kind in rows:
            if table["label"] == "dos" and kind in ("5", "f", "85"):
                size = 512 if start + 512 in starts else 1024
            self._blkpg(BLKPG_ADD, number, start, size)

    def nodes(self) -> None:
        """Make the nodes below /dev agree with the kernel."""
        wanted = {self.node(number): value[2] for number, value in self.kernel().items()}
        pattern = re.compile(re.escape(self.path) + r"p?\d+")
        for path in Path("/dev").iterdir():
            if pattern.fullmatch(str(path)) and str(path) not in wanted:
                path.unlink()
        for path_, device in wanted.items():
            major, minor = (int(part) for part in device.split(":"))
            node(path_, major, minor)

    def detach(self) -> None:
        self.drop()
        self.nodes()
        device = os.open(self.path, os.O_RDWR)
        try:
            fcntl.ioctl(device, LOOP_CLR_FD)
        finally:
            os.close(device)
        os.unlink(self.path)
        os.unlink(self.image)


def number_of(path: str) -> int:
    """The number at the end of a partition's path."""
    digits = re.search(r"\d+$", path)
    assert digits is not None  # sfdisk names partitions
    return int(digits[0])


def node(path: str, major: int, minor: int) -> None:
    """Make a block device node, in place of whatever is there."""
    wanted = os.makedev(major, minor)
    try:
        if os.stat(path).st_rdev == wanted:
            return
        os.unlink(path)
    except FileNotFoundError:
        pass
    os.mknod(path, 0o660 | stat.S_IFBLK, wanted)


class Machine:
    """The disks, and the tools run on them."""

    def __init__(self, shim: str) -> None:
        self.disks: list[Disk] = []
        self.seen: dict[str, dict[str, Any]] = {}  # of disks that no command touched since
        self.environment = {**ENVIRONMENT, **({"LD_PRELOAD": shim} if shim else {})}

    def mounts(self) -> list[tuple[str, str, str]]:
        rows = []
        names = tuple(disk.path for disk in self.disks)
        for line in Path("/proc/self/mounts").read_text().splitlines():
            source, target, kind = line.split()[:3]
            if source.startswith(names):
                rows.append((source, target, kind))
        return rows

    def swaps(self) -> list[str]:
        lines = Path("/proc/swaps").read_text().splitlines()[1:]
        names = tuple(disk.path for disk in self.disks)
        return sorted(line.split()[0] for line in lines if line.startswith(names))

    def reset(self, disks: list[dict[str, Any]]) -> None:
        for swap in self.swaps():
            subprocess.run(["swapoff", swap], env=ENVIRONMENT, check=False, capture_output=True)
        for _, target, _ in reversed(self.mounts()):
            subprocess.run(["umount", target], env=ENVIRONMENT, check=False, capture_output=True)
        for disk in self.disks:
            disk.detach()
        self.disks = []
        self.seen = {}
        for each in disks:
            self.disks.append(Disk(each["name"], each["size"], each.get("sector", 512)))

    def busy(self, disk: Disk) -> bool:
        used = [source for source, _, _ in self.mounts()] + self.swaps()
        return any(path.startswith(disk.path) for path in used)

    def run(self, argv: list[str], stdin: str) -> dict[str, Any]:
        for disk in self.disks:
            mark = Path(f"/dev/.busy-7-{disk.minor}")
            if self.busy(disk):
                mark.write_bytes(b"")
            else:
                mark.unlink(missing_ok=True)
        try:
            done = subprocess.run(
                argv,
                input=stdin.encode(),
                env=self.environment,
                capture_output=True,
                timeout=60,
                check=False,
            )
            status, error = done.returncode, done.stderr + done.stdout
        except FileNotFoundError:
            return {"status": 127, "error": f"{argv[0]}: not found"}
        except subprocess.TimeoutExpired:
            return {"status": 124, "error": f"{argv[0]}: hangs"}
        if argv[0] not in ("mount", "umount", "swapon", "swapoff"):
            for disk in self.disks:
                if any(disk.path in word for word in argv) and not self.busy(disk):
                    disk.reread()
        for disk in self.disks:
            disk.nodes()
            if any(disk.path in word for word in argv):
                self.seen.pop(disk.name, None)
        return {"status": status, "error": error.decode(errors="replace")[-2000:]}

    def observe(self) -> dict[str, Any]:
        for disk in self.disks:
            if disk.name not in self.seen:
                self.seen[disk.name] = self._disk(disk)
        disks = {disk.name: self.seen[disk.name] for disk in self.disks}
        return {"disks": disks, "mounts": self.mounts(), "swaps": self.swaps()}

    def _disk(self, disk: Disk) -> dict[str, Any]:
        table = disk.table()
        unit = table.get("sectorsize", 512)
        kernel = disk.kernel()
        found = self._signatures([disk.path, *(disk.node(number) for number in kernel)])
        parts = {}
        for row in table.get("partitions", []):
            number = number_of(row["node"])
            parts[number] = {
                "start": row["start"] * unit,
                "size": row["size"] * unit,
                "type": row["type"].lower(),
                "name": row.get("name", ""),
                "attrs": row.get("attrs", ""),
                "bootable": row.get("bootable", False),
                "signature": found.get(disk.node(number)),
            }
        return {
            "table": {"dos": "msdos"}.get(table.get("label", ""), table.get("label")),
            "partitions": parts,
            "kernel": {number: value[:2] for number, value in kernel.items()},
            "signature": found.get(disk.path),
        }

    def _signatures(self, paths: list[str]) -> dict[str, tuple[str, str]]:
        """blkid's TYPE and LABEL by path."""
        done = subprocess.run(
            ["blkid", "-p", "-o", "export", *paths], env=ENVIRONMENT, capture_output=True,
            check=False,
        )  # fmt: skip
        found = {}
        for block in done.stdout.decode(errors="replace").split("\n\n"):
            row = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if "TYPE" in row:
                label = row.get("LABEL", "").replace("\\ ", " ")
                found[row["DEVNAME"]] = row["TYPE"], label
        return found


def _private_devices() -> None:
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "proc", "proc", "/proc"],
        ["mount", "-t", "tmpfs", "tmpfs", IMAGES],
        ["mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        ["mount", "-t", "tmpfs", "tmpfs", "/dev"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod(f"/dev/{name}", 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    os.mknod("/dev/loop-control", 0o600 | stat.S_IFCHR, os.makedev(10, 237))
    os.symlink("/proc/self/fd", "/dev/fd")


def main() -> None:
    """Serve requests until standard input ends."""
    _private_devices()
    machine = Machine(sys.argv[1] if len(sys.argv) > 1 else "")
    try:
        for line in sys.stdin:
            request = json.loads(line)
            if "reset" in request:
                machine.reset(request["reset"])
                answer: dict[str, Any] = {"ok": True}
            elif "run" in request:
                answer = machine.run(request["run"], request.get("stdin", ""))
            else:
                answer = machine.observe()
            print(json.dumps(answer), flush=True)
    finally:
        machine.reset([])


if __name__ == "__main__":
    main()
