"""Verdicts and effects a second, on one core, beside two ways of doing less.

    python benchmarks/guard.py [--seconds 3]

Time is processor time (of this process and its children), so that a busy machine tells the same.
Lines are typical answers of the installer assistant, each made different (device, size, name), so
that no cache of whole lines helps. Peers, in the same run and on the same lines:

- `bash -n`, one process a line: says whether it parses, knows no device;
- a regular expression that collects /dev/... words and compares them with lsblk's list: the usual
  guard of installer scripts. It sees no order, no nesting, no tags and no printed text; the last
  column says how many of tests/data/guard_cases.jsonl each gets right.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from llmkit.installer.guard import judge
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

DATA = Path(__file__).parent.parent / "tests" / "data"
STATES = {
    name: SystemState.from_dict(data)
    for name, data in json.loads((DATA / "guard_states.json").read_text()).items()
}
CASES = [json.loads(line) for line in (DATA / "guard_cases.jsonl").read_text().splitlines()]
TYPICAL = (  # state, line with a place for a number
    ("two", "lsblk # {n}"),
    (
        "two",
        "sgdisk -Z /dev/nvme0n1 && sgdisk -n 1:0:+{n}M -t 1:ef00 -n 2:0:0 -t 2:8300 /dev/nvme0n1",
    ),
    ("two", "mkfs.ext4 -F -L r{n} /dev/sda2"),
    ("two", "mount /dev/sda2 /mnt && mount --mkdir /dev/sda1 /mnt/b{n}"),
    ("target", "arch-chroot /mnt useradd -m -G wheel user{n}"),
    ("target", "echo host{n} > /mnt/etc/hostname"),
    ("target", "arch-chroot /mnt ln -sf /usr/share/zoneinfo/Etc/GMT+{n} /etc/localtime"),
    ("target", "echo 'user{n}:secret' | arch-chroot /mnt chpasswd"),
    ("target", "genfstab -U /mnt >> /mnt/etc/fstab # {n}"),
    ("target", "umount -R /mnt && reboot # {n}"),
    ("two", "mkfs.ext4 /dev/sdz{n}"),
    ("virtio", "parted -s /dev/vda mklabel msdos mkpart primary ext4 1MiB {n}MiB set 1 boot on"),
)
_DEVICE = re.compile(r"/dev/[\w./-]+")


def numbered() -> Iterator[tuple[str, SystemState]]:
    """Typical lines without end, no two the same."""
    for number in count(100):
        for name, line in TYPICAL:
            yield line.replace("{n}", str(number % 9000 + 100)), STATES[name]


def rate(act: Callable[[str, SystemState], object], seconds: float) -> tuple[float, float]:
    """Calls a second, and the 99th percentile of one call in milliseconds."""
    lines = numbered()
    for _ in range(200):
        act(*next(lines))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        text, state = next(lines)
        start = spent()
        act(text, state)
        times.append(spent() - start)
    times.sort()
    return len(times) / sum(times), times[len(times) * 99 // 100] * 1000


def spent() -> float:
    """Processor time of this process and of the children that it has waited for."""
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def bash_n(text: str, state: SystemState) -> bool:
    """Whether bash can parse the line: one process."""
    done = subprocess.run(
        ["bash", "-n"], check=False, input=text.encode(errors="replace"), capture_output=True
    )
    return done.returncode == 0


def whitelist(text: str, state: SystemState) -> bool:
    """Whether every /dev/... word is on the list of devices."""
    known = {*state.devices(), "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/tty"}
    return all(word in known for word in _DEVICE.findall(text))


def right(allows: Callable[[str, SystemState], bool]) -> tuple[int, int]:
    """Cases judged right, and cases allowed that must be refused."""
    good = false_allows = 0
    for case in CASES:
        allowed = allows(case["command"], STATES[case["state"]])
        good += allowed == case["verdict"]["allowed"]
        false_allows += allowed and not case["verdict"]["allowed"]
    return good, false_allows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each row (default 3)")
    seconds = parser.parse_args().seconds
    print(f"{platform.machine()}, Python {platform.python_version()}, one core, {len(CASES)} cases")
    print(f"{'what':34} {'per second':>11} {'p99 ms':>8} {'right':>9} {'false allows':>13}")
    rows: tuple[tuple[str, Callable[[str, SystemState], object], Callable | None], ...] = (
        ("check_command (this guard)", judge, lambda t, s: judge(t, s).allowed),
        ("run_command (effects applied)", run_command, None),
        ("regex and list of devices", whitelist, whitelist),
        ("bash -n, a process a line", bash_n, bash_n),
    )
    for name, act, allows in rows:
        speed, late = rate(act, seconds)
        scored = ""
        if allows is not None:
            good, bad = right(allows)
            scored = f"{good:>5}/{len(CASES)} {bad:>13}"
        print(f"{name:34} {speed:>11,.0f} {late:>8.2f} {scored}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
