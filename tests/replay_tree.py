"""The small systems that a replay needs: the live one it runs in, and the one that is copied.

`live(root)` makes a root directory with this machine's /usr, read-only, and nothing else of it.
`installed(folder)` makes what stands for the system that rsync would copy: real bash, ln, useradd and
usermod with their libraries, accounts, and folders. Programs that are not here, or that must not
run, are scripts that note what they were called with: `SHIMS` and `INSIDE`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

PATH = "/run/shims:/usr/sbin:/usr/bin"
CALLS = "/run/calls"  # in the live system
CALLS_INSIDE = "/var/log/calls"  # in the installed one
SOURCE = "/live"  # where the system to copy lies in the live one
_NOTE = '#!/bin/bash\nprintf "%s\\n" "${0##*/} $*" >>'

# Never the real ones: what would end this machine, outlive the script (swap belongs to no namespace),
# ask a person, or copy all of it.
_SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"  # the beginning of /proc/swaps
SHIMS = {
    **dict.fromkeys(
        ("reboot", "poweroff", "shutdown", "halt", "systemctl", "init", "telinit", "kexec",
         "passwd", "pacstrap"),
        f"{_NOTE}{CALLS}\n",
    ),
    "rsync": f"""{_NOTE}{CALLS}
[ "${{*: -2}}" = "/ /mnt/" ] || {{ echo "rsync $*: only / to /mnt/ is played" >&2; exit 2; }}
mountpoint -q /mnt || {{ echo "rsync: nothing is mounted at /mnt" >&2; exit 3; }}
exec cp -a {SOURCE}/. /mnt/
""",
    "swapon": f"""{_NOTE}{CALLS}
blkid -p -t TYPE=swap "$1" >/dev/null || {{ echo "swapon: $1: no swap signature" >&2; exit 255; }}
printf '%s\\tpartition\\t1024\\t0\\t-2\\n' "$1" >>/run/swaps
""",
    "swapoff": f"""{_NOTE}{CALLS}
grep -q "^$1\t" /run/swaps || {{ echo "swapoff: $1: Invalid argument" >&2; exit 255; }}
left=$(grep -v "^$1\t" /run/swaps)
printf '%s\\n' "$left" >/run/swaps
""",
}  # fmt: skip

# In the installed system. A password is what a person would type; boot loaders look where they are
# told to, as the real ones do, and write nothing.
_LOADER = f"""{_NOTE}{CALLS_INSIDE}
for word; do case $word in
  --efi-directory=*)
    found=
    while read -r source target _; do
      [ "$target" = "${{word#*=}}" ] && found=$source
    done </proc/self/mounts
    [ -n "$found" ] || {{ echo "${{word#*=}} does not look like an EFI partition" >&2; exit 1; }}
    echo "efi $found" >>{CALLS_INSIDE} ;;
  /dev/*) [ -b "$word" ] || {{ echo "$word: no block device" >&2; exit 1; }} ;;
esac; done
/usr/bin/mkdir -p /boot/grub
"""
INSIDE = {
    **dict.fromkeys(("systemctl", "locale-gen"), f"{_NOTE}{CALLS_INSIDE}\n"),
    "grub-install": _LOADER,
    "grub-mkconfig": f'{_NOTE}{CALLS_INSIDE}\n[ "$1" = -o ] || exit 1\necho "# menu" >"$2"\n',
    "passwd": f"{_NOTE}{CALLS_INSIDE}\nexec /usr/sbin/usermod -p '$6$typed$by.a.person' \"$1\"\n",
}
_REAL = ("/usr/bin/bash", "/usr/bin/ln", "/usr/bin/mkdir", "/usr/sbin/useradd",
         "/usr/sbin/usermod")  # fmt: skip
_FOLDERS = ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/share/zoneinfo", "etc/skel", "boot",
            "dev", "proc", "sys", "run", "tmp", "home", "root", "mnt", "var/log")  # fmt: skip
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
          "usr/bin/sh": "bash"}  # fmt: skip
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/group": "root:x:0:\nwheel:x:998:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\nwheel:!::\n",
    "etc/hostname": "archiso\n",
    "etc/fstab": "# Static information about the filesystems.\n",
    "etc/skel/.bashrc": "# .bashrc\n",
    "boot/vmlinuz-linux": "a kernel\n",
}


def _scripts(folder: Path, scripts: dict[str, str]) -> None:
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def installed(folder: Path) -> None:
    """The system to copy, into an empty folder."""
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, target in _LINKS.items():
        (folder / name).symlink_to(target)
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    (folder / "etc/shadow").chmod(0o600)
    wanted = set(_REAL)
    for program in _REAL:
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        wanted |= set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE))
    for path in sorted(wanted):
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    zones = Path("/usr/share/zoneinfo/Europe")
    if zones.is_dir():
        shutil.copytree(zones, folder / "usr/share/zoneinfo/Europe", symlinks=True)
    _scripts(folder / "usr/sbin", INSIDE)


def live(root: Path, fat: bool) -> None:
    """The live system, into an empty folder of a private mount namespace; `fat`: this kernel mounts
    vfat itself."""
    for name in ("usr", "dev", "proc", "sys", "run/shims", "run/udev/data", "tmp", "etc", "sbin",
                 "mnt", "check", SOURCE.lstrip("/")):  # fmt: skip
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    (root / "run/swaps").write_text(_SWAPS)
    _scripts(root / "run/shims", SHIMS)
    # mount(8) asks these before the kernel. arch-chroot mounts devtmpfs, which has this machine's
    # own disks in it: it gets the private /dev instead.
    helpers = {"mount.devtmpfs": '#!/bin/bash\nexec mount --bind /dev "$2"\n'}
    if not fat:
        helpers["mount.vfat"] = (
            '#!/bin/bash\necho "vfat $1 $2" >/run/ask\nread -r answer </run/answer\n'
            '[ "$answer" = ok ] || { echo "$answer" >&2; exit 32; }\n'
        )
    _scripts(root / "sbin", helpers)
    # Before each command of the script: udev's part, and a look at what the disks' names stand for.
    (root / "run/before").write_text("""\
case ${0##*/} in replay.sh|bash)
  before() {
    local answer
    echo settle >/run/ask
    read -r answer </run/answer
    [ "$answer" = ok ] || { echo "refused: $answer" >&2; exit 99; }
  }
  trap before DEBUG ;;
esac
""")
