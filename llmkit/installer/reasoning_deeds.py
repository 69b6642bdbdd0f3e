"""What a command does, step by step, in names that the context has.

    done = deeds(state, "sgdisk -Z /dev/sda && …", devices)
    done.main        # partition, format, mount, …: what the command is for
    [step.kind for step in done.steps]

The steps are the events of the simulation. A partition that is made on the way is called by its
number ("partition 2 of /dev/sda"), and what it is for comes from the table as it is afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llmkit.installer.guard import check_command
from llmkit.installer.reasoning_devices import Devices
from llmkit.installer.run import run_command
from llmkit.installer.same import programs
from llmkit.installer.state import Partition, SystemState

# What a command is for, when it does several things: the first of these that it does.
_MAIN = (
    "partition", "table", "erase", "format", "mount", "copy", "bootloader", "user", "password",
    "group", "remove", "timezone", "hostname", "locale", "swap", "unmount", "reboot", "service",
    "mapping", "file", "read",
)  # fmt: skip
_ROLES = {
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI system partition",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "swap",
    "21686148-6449-6e6f-744e-656564454649": "BIOS boot partition",
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "home",
    "ef": "EFI system partition",
    "82": "swap",
}
_FILES = {
    "/etc/fstab": "fstab", "/etc/hostname": "hostname", "/etc/hosts": "hosts",
    "/etc/locale.conf": "locale", "/etc/locale.gen": "locale", "/etc/vconsole.conf": "keymap",
    "/etc/default/grub": "grub",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a command does."""

    kind: str
    label: str = ""  # the device, as the context calls it
    detail: str = ""
    role: str = ""  # of a partition: EFI system partition, swap, …; of a file: fstab, hostname, …
    was: str = ""  # what is lost there, "" for nothing


@dataclass(slots=True)
class Deeds:
    """All of it."""

    main: str = "read"
    steps: list[Step] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # "/dev/sda1 with vfat"
    disks: list[str] = field(default_factory=list)  # paths of disks that change
    kept: list[str] = field(default_factory=list)  # other disks, with their sizes
    programs: list[str] = field(default_factory=list)
    target: bool = False  # it works on the new system at /mnt
    error: str = ""
    table: str = ""  # gpt or msdos, of the disk that is partitioned

    @property
    def kinds(self) -> set[str]:
        """The kinds of its steps."""
        return {step.kind for step in self.steps}

    def of(self, *kinds: str) -> list[Step]:
        """The steps of some kinds."""
        return [step for step in self.steps if step.kind in kinds]


def deeds(state: SystemState, command: str, devices: Devices) -> Deeds:
    """Simulate a command, and sort what it does."""
    outcome = run_command(command, state)
    after = outcome.state
    names = [name for name in programs(command, state) if name[:1].isalnum()]
    done = Deeds(programs=names, error=outcome.error or "")
    done.target = "/mnt" in command
    before = set(state.devices())
    accounts = {user.name for user in (state.target_tree() or state.live).users}
    lost: dict[str, str] = {}
    steps: dict[Step, None] = {}
    for event in outcome.events:
        kind, path = event.kind, event.device
        label = devices.label(path) if path else ""
        if kind in ("partition", "format") and path:
            step = _made(after, kind, path, label, event.detail)
        elif kind == "file":
            role = _FILES.get(event.detail.removeprefix("/mnt"), "")
            step = Step(kind, label, event.detail, role)
        elif kind == "user" and event.detail in accounts:
            step = Step(kind, label, event.detail, "changed")
        else:
            step = Step(kind, label, event.detail)
        if kind in ("unpartition", "erase", "format") and path in before and path in devices:
            held = devices[path].fs or ("no file system" if kind == "unpartition" else "")
            if held:  # of a whole disk: a file system without a table
                lost.setdefault(path, held)
        if kind in _CHANGES_DISK and path and (disk := devices.disk_of(path)):
            done.disks = list(dict.fromkeys([*done.disks, disk]))
        if kind not in ("unpartition", "erase"):
            steps.setdefault(step)
    done.steps = list(steps)
    done.lost = [f"{path} with {held}" for path, held in lost.items()]
    erased = [event.device for event in outcome.events if event.kind == "erase"]
    if erased and not {"partition", "table", "format"} & done.kinds:
        done.steps.append(Step("erase", devices.label(erased[-1])))
    for found in after.disks:
        if found.path in done.disks:
            done.table = done.table or found.table or ""
    done.kept = [disk.name for disk in devices.others(done.disks)] if done.disks else []
    kinds = done.kinds
    done.main = next((kind for kind in _MAIN if kind in kinds), "")
    if not done.main:
        done.main = "read" if check_command(command, state).danger == "read" else "change"
    if kinds == {"read", "file"} and all(step.role == "" for step in done.of("file")):
        done.main = "file"
    return done


_CHANGES_DISK = frozenset(
    ("partition", "table", "unpartition", "erase", "format", "swap", "mapping")
)


def _made(after: SystemState, kind: str, path: str, label: str, detail: str) -> Step:
    """A partition or file system that a command makes, with what it is for."""
    part, uefi = _partition(after, path), after.boot_mode == "uefi"
    role = _ROLES.get(part.type, "") if part else ""
    if kind == "format":
        if detail == "vfat" and uefi:
            role = "EFI system partition"
        elif detail == "swap":
            role = "swap"
        return Step(kind, label, "FAT32" if detail == "vfat" else detail, role)
    return Step(kind, label, detail, role or "Linux")


def _partition(state: SystemState, path: str) -> Partition | None:
    for disk in state.disks:
        for part in disk.partitions:
            if disk.partition_path(part.number) == path:
                return part
    return None
