"""The effects of mkfs and its likes against the real tools, on sparse image files.

Each command line is run for real on an image of the device's size and through `run_command`; the
two must agree on whether it succeeds, and on what blkid finds afterwards. Skipped where a tool is
not installed (Debian: e2fsprogs dosfstools btrfs-progs xfsprogs f2fs-tools util-linux).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

MIB = 1 << 20
PATH = os.pathsep.join(("/usr/sbin", "/sbin", os.environ.get("PATH", "")))
UUID = "6f1c7a0e-0b7c-4b52-9a55-0d4f6a0f3b11"

CASES = [
    # (size in MiB, lines with DEV for the device; all but the last must succeed)
    (64, ["mkfs.ext4 -q -L root DEV"]),
    (64, ["mkfs.ext4 -q DEV", "mkfs.ext4 -q DEV"]),
    (64, ["mkfs.ext2 -q DEV", "mkfs -t ext3 -q -L a DEV"]),
    (64, [f"mkfs.ext4 -q -U {UUID} -L thisislongerthan16chars DEV"]),
    (64, ["mke2fs -q -t ext4 -n DEV"]),
    (64, ["mkfs.ext4 -q DEV", "e2label DEV new"]),
    (64, ["mkfs.ext4 -q DEV", "tune2fs -L other DEV"]),
    (64, ["mkfs.ext4 -y DEV"]),
    (64, ["mkfs.vfat -F 32 -n EFI -i abcd1234 DEV"]),
    (64, ["mkfs.vfat -F 16 DEV"]),
    (64, ["mkfs.vfat -n muchtoolongname DEV"]),
    (64, ["mkfs.vfat -F 64 DEV"]),
    (64, ["mkfs.ext4 -q DEV", "mkfs.vfat DEV"]),
    (64, ["mkfs.vfat -n A DEV", "fatlabel DEV BCD"]),
    (64, ["mkfs.btrfs DEV"]),
    (200, [f"mkfs.btrfs -q -L pool -U {UUID} DEV"]),
    (200, ["mkfs.ext4 -q DEV", "mkfs.btrfs -q DEV"]),
    (200, ["mkfs.ext4 -q DEV", "mkfs.btrfs -q -f DEV"]),
    (200, ["mkfs.xfs -q DEV"]),
    (320, ["mkfs.xfs -q -L twelvechars1 DEV"]),
    (320, ["mkfs.xfs -q -L thirteenchars DEV"]),
    (320, ["mkfs.vfat DEV", "mkfs.xfs -q DEV"]),
    (320, ["mkfs.vfat DEV", f"mkfs.xfs -q -f -m uuid={UUID} DEV"]),
    (320, ["mkfs.xfs -N DEV"]),
    (200, ["mkfs.f2fs -l flash DEV"]),
    (200, ["mkfs.f2fs DEV", "mkfs.f2fs DEV"]),
    (200, ["mkfs.f2fs DEV", "mkfs.f2fs -f DEV"]),
    (20, ["mkfs.f2fs DEV"]),
    (64, ["mkswap DEV"]),
    (64, [f"mkswap -L swap -U {UUID} DEV"]),
    (64, ["mkfs.ext4 -q DEV", "mkswap DEV"]),
    (64, ["mkswap DEV", "mkfs.ext4 -q DEV"]),
    (64, ["mkswap --nonsense DEV"]),
]


def blkid(image: Path) -> dict[str, str]:
    """TYPE, LABEL and UUID of an image, as the real blkid probes them."""
    done = subprocess.run(
        ["blkid", "-p", "-o", "export", str(image)],
        capture_output=True,
        text=True,
        env={"PATH": PATH},
        check=False,
    )
    pairs = [line.split("=", 1) for line in done.stdout.splitlines() if "=" in line]
    return {key: value for key, value in pairs if key in ("TYPE", "LABEL", "UUID")}


@pytest.mark.parametrize(("mib", "lines"), CASES, ids=[" ; ".join(c[1]) for c in CASES])
def test_mkfs_agrees_with_the_real_tool(mib: int, lines: list[str], tmp_path: Path) -> None:
    """Real tool and effect agree on success, type, label, and a UUID that was asked for."""
    for tool in {line.split()[0] for line in lines} | {"blkid"}:
        if shutil.which(tool, path=PATH) is None:
            pytest.skip(f"{tool} is not installed")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    part = {"number": 1, "start": MIB, "size": mib * MIB, "type": "8300"}
    disk = {"name": "sda", "size": (mib + 8) * MIB, "table": "gpt", "partitions": [part]}
    state = SystemState.from_dict({"disks": [disk]})
    for line in lines:
        real = subprocess.run(
            line.replace("DEV", str(image)).split(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={"PATH": PATH, "LC_ALL": "C"},
            check=False,
        )
        outcome = run_command(line.replace("DEV", "/dev/sda1"), state)
        assert (outcome.status == 0) == (real.returncode == 0), (line, real.stderr, outcome.error)
        state = outcome.state
    found = blkid(image)
    signature = state.disks[0].partitions[0].signature
    assert (signature.kind if signature else "") == found.get("TYPE", "")
    assert (signature.label if signature else "") == found.get("LABEL", "")
    if signature and signature.uuid:
        assert signature.uuid == found["UUID"]
