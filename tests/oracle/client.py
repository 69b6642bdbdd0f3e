"""Start the sandbox and talk to it; say why when this machine cannot have one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOOLS = ("sgdisk", "parted", "sfdisk", "fdisk", "wipefs", "blkid", "partx", "mkfs.ext4",
         "mkfs.vfat", "mkfs.xfs", "mkfs.btrfs", "mkswap", "unshare", "mount")  # fmt: skip


def obstacle() -> str:
    """Why the sandbox cannot run here, or ""."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin")
               is None]  # fmt: skip
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "loop devices and mounts need root"
    if not os.path.exists("/dev/loop-control"):
        return "no loop devices here"
    if shutil.which("cc") is None:
        return "no C compiler for the shim (sgdisk would sleep a second a write)"
    done = subprocess.run(
        ["unshare", "-m", "-p", "-f", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else f"no private mounts here: {done.stderr.strip()}"


class Sandbox:
    """Real disks; see sandbox.py."""

    def __init__(self, folder: Path) -> None:
        shim = folder / "shim.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", shim, HERE / "shim.c", "-ldl"], check=True
        )
        self.process = subprocess.Popen(
            ["unshare", "-m", "-p", "-f", "--kill-child", sys.executable, HERE / "sandbox.py", shim],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request, one answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the sandbox has died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Detach the disks and end."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()
