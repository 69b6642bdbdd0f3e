"""Where the assistant's commands run: on a model of a machine, nowhere, or on this machine.

    machine = Simulated(state)
    machine.run("mkfs.ext4 /dev/sda2")    # Done(status, output, error)
    machine.state                          # fresh facts

`Real` needs root and a live system, and touches no disk that the running system lies on; see
`protected` for which those are.
"""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmkit.chat_types import OnText, Refused
from llmkit.errors import ConfigError, DomainError
from llmkit.installer import facts
from llmkit.installer.assistant_target import with_target
from llmkit.installer.explain import touched
from llmkit.installer.explain_words import listed
from llmkit.installer.guard import check_command
from llmkit.installer.guard_names import disks_of
from llmkit.installer.run import run_command
from llmkit.installer.same import programs, same
from llmkit.installer.state import SystemState

_KEPT = 20_000  # characters of a command's output
_CHUNK = 4096
_LISTS = frozenset(("lsblk", "fdisk", "blkid", "parted", "sfdisk", "findmnt", "df", "mount"))


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    output: str = ""
    error: str = ""


class Machine(Protocol):
    """A machine that commands run on. `state` is what is known of it now."""

    state: SystemState

    def own(self) -> set[str]:
        """Kernel names of the disks that the running system needs."""

    def objection(self, command: str) -> str | None:
        """Why a command must not run here, beside what the guard says."""

    def run(self, command: str, on_text: OnText | None = None) -> Done: ...


class Simulated:
    """A machine that is only modelled. What the model does not know is said as an error; what lists
    disks prints them as the facts have them."""

    def __init__(self, state: SystemState) -> None:
        self.state = state

    def own(self) -> set[str]:
        return protected(self.state, None)

    def objection(self, command: str) -> str | None:
        return own_disk(command, self.state, self.own())

    def run(self, command: str, on_text: OnText | None = None) -> Done:
        outcome = run_command(command, self.state)
        if outcome.opaque and not outcome.error:
            error = f"what this does cannot be followed: {outcome.opaque[0]}"
            return Done(1, "", error)
        output = outcome.stdout or ""
        if outcome.stdout is None and not outcome.status and same(self.state, outcome.state):
            if _LISTS & set(programs(command, self.state)):
                _, _, disks = outcome.state.to_context().partition("## Available Disks\n\n")
                output = f"{disks}\n"
        self.state = outcome.state
        if on_text and output:
            on_text(output)
        return Done(outcome.status or 0, output[-_KEPT:], outcome.error or "")


class Dry(Simulated):
    """This machine's facts; commands are printed, and followed on the model alone."""

    def run(self, command: str, on_text: OnText | None = None) -> Done:
        if on_text:
            on_text(f"{command}\n")
        done = super().run(command)
        return Done(done.status, f"{command}\n", done.error)


class Real:
    """This machine. Raises ConfigError when it is not one to install from."""

    def __init__(
        self,
        gather: Callable[[], SystemState] = facts.gather,
        *,
        allow_installed: bool,
        root: Path = Path("/"),
    ) -> None:
        if os.geteuid() != 0:
            raise ConfigError("execute=real runs commands as root: start it as root (sudo -i)")
        if in_container(root):
            raise ConfigError(
                "execute=real: this is a container; its disks are those of the machine around it"
            )
        self._gather, self._root = gather, root
        self.state = SystemState()
        self.refresh()
        own = protected(self.state, root)
        if not own and not any(disk.live for disk in self.state.disks) and not in_memory(root):
            raise ConfigError("execute=real: it cannot be told which disk this system runs from")
        if self._installed() and not allow_installed:
            raise ConfigError(
                f"execute=real is for a live system; this one is installed on {listed(sorted(own))}"
                "\nallow_installed=true goes on, and leaves that disk alone"
            )

    def _installed(self) -> bool:
        return any(
            mount.target == "/" and mount.source.startswith("/dev/") for mount in self.state.mounts
        )

    def refresh(self) -> None:
        """Look at the machine again; what was known of a file system below stays known."""
        self.state = with_target(self._gather(), self.state)

    def own(self) -> set[str]:
        return protected(self.state, self._root)

    def objection(self, command: str) -> str | None:
        return own_disk(command, self.state, self.own())

    def run(self, command: str, on_text: OnText | None = None) -> Done:
        """Run a line in bash with the person's terminal. Raises Refused, also when the disks are
        not any more what they were when the line was judged."""
        shown = self.state
        self.refresh()
        verdict = check_command(command, self.state)
        if not verdict.allowed or verdict.danger == "forbidden":
            raise Refused(verdict.reason)
        reason = self.objection(command)
        if reason:
            raise Refused(reason)
        for name in sorted(touched(command, shown) | touched(command, self.state)):
            if _identity(shown, name) != _identity(self.state, name):
                raise Refused(f"{name} is another disk than it was; look at the facts again")
        try:
            return run_in_terminal(command, on_text)
        finally:
            with contextlib.suppress(DomainError):  # the command itself has run
                self.refresh()


def _identity(state: SystemState, name: str) -> tuple[object, ...]:
    """What tells a disk from another that has its name now."""
    disk = state.disk(name)
    return (disk.size, disk.model, disk.transport) if disk else ()


def own_disk(command: str, state: SystemState, own: set[str]) -> str | None:
    """Why a line is refused that does more than look and has to do with a disk of the running
    system, on any path through it; None when it has not."""
    hit = sorted(own & touched(command, state))
    return left_alone(hit, state, own) if hit else None


def left_alone(names: Iterable[str], state: SystemState, own: set[str]) -> str:
    """The sentence about disks of the running system, which ends with the others."""
    hit = [f"/dev/{name}" for name in names]
    rest = listed([disk.path for disk in state.disks if disk.name not in own] or ["none"])
    holds = "holds" if len(hit) == 1 else "hold"
    return (
        f"{listed(hit)} {holds} the running system and is not touched, so nothing was run;"
        f" the other disks here are {rest}."
    )


def protected(state: SystemState, root: Path | None = Path("/")) -> set[str]:
    """Kernel names of the disks that the running system needs: the live medium, everything that is
    mounted outside of /mnt or used as swap, and what the kernel says that / and /usr below `root`
    lie on (None: the kernel is not asked)."""
    nodes = {disk.path for disk in state.disks if disk.live}
    for mount in state.mounts:
        if mount.target != "/mnt" and not mount.target.startswith("/mnt/"):
            nodes.add(mount.source)
    nodes.update(state.swaps)
    known = {disk.path for disk in state.disks}
    found = {path for node in nodes for path in disks_of(state, node)} & known
    for folder in ("", "usr", "boot", "home", "var") if root else ():
        assert root is not None
        name = _disk_of_folder(root / folder)
        if name and f"/dev/{name}" in known:
            found.add(f"/dev/{name}")
    return {path.removeprefix("/dev/") for path in found}


def _disk_of_folder(folder: Path) -> str:
    """The disk of a folder's file system, from its device number (sysfs(5)); "" for one in memory."""
    try:
        number = folder.stat().st_dev
        place = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True)
    except OSError:
        return ""
    return place.parent.name if (place / "partition").exists() else place.name


def in_memory(root: Path = Path("/")) -> bool:
    """Whether / is in memory, as on a live system: overlay, tmpfs, ramfs, squashfs."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/mounts").read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) > 2 and words[1] == "/":
                return words[2] in ("overlay", "tmpfs", "ramfs", "rootfs", "squashfs", "aufs")
    return False


def in_container(root: Path = Path("/")) -> bool:
    """Docker, Podman, LXC and systemd-nspawn, by what they leave (systemd-detect-virt(1))."""
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    if (root / "run/systemd/container").exists():
        return True
    with contextlib.suppress(OSError):
        return b"container=" in (root / "proc/1/environ").read_bytes()
    return False


def run_in_terminal(command: str, on_text: OnText | None = None) -> Done:
    """`bash -c COMMAND` from /root. Programs that ask (passwd) talk to the person: on a terminal
    they get a pseudo terminal of their own, which is passed through; else standard input."""
    folder = "/root" if os.access("/root", os.X_OK) else "/"
    argv = ["bash", "-c", command]
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _in_pty(argv, folder)
    output = b""
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, bufsize=0
    ) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(_CHUNK):
            output = (output + piece)[-4 * _KEPT :]
            if on_text:
                on_text(piece.decode("utf-8", "replace"))
    status = process.returncode
    text = output.decode("utf-8", "replace")[-_KEPT:]
    return Done(_status(status), text, _last(text) if status else "")


def _in_pty(argv: list[str], folder: str) -> Done:
    output = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, _CHUNK)
        output.extend(data)
        del output[: -4 * _KEPT]
        return data

    here = os.getcwd()
    os.chdir(folder)
    try:
        status = os.waitstatus_to_exitcode(pty.spawn(argv, read))
    finally:
        os.chdir(here)
    text = output.decode("utf-8", "replace").replace("\r\n", "\n")[-_KEPT:]
    return Done(_status(status), text, _last(text) if status else "")


def _status(code: int) -> int:
    return 128 - code if code < 0 else code


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
