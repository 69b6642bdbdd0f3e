"""Clauses for the events of a shell line.

>>> list(clauses(outcome.events, before, outcome.state))
['erases everything on sda (500 GB Samsung SSD 870)', 'creates 2 partitions on it: …']
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from llmkit.installer import state as model
from llmkit.installer import vfs
from llmkit.installer.failures import Event

_LONGEST = 300  # characters of a sentence
_MODEL = 40  # characters of what a disk calls itself
_OVER = ("", "written over", "overwritten")  # how writing to a device is told
_LOADERS = {
    "systemd-boot": "systemd-boot",
    "grub-efi": "GRUB (UEFI)",
    "grub-bios": "GRUB (BIOS)",
}
_SETTINGS = (
    ("/etc/hostname", "sets the host name"),
    ("/etc/fstab", "sets what is mounted at the start"),
    ("/etc/locale.conf", "sets the language"),
    ("/etc/vconsole.conf", "sets the keyboard"),
)
_KINDS = {
    "vfat": "FAT",
    "crypto_LUKS": "an encrypted container (LUKS)",
    "LVM2_member": "an LVM volume",
    "swap": "swap space",
}


def safe(text: str) -> str:
    """One printable line of bounded length: no control, format or direction characters."""
    kept = "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)
    return kept if len(kept) <= _LONGEST else kept[: _LONGEST - 1] + "…"


def sold(size: int) -> str:
    """A size as printed on a disk's box: 1000204886016 → "1 TB"."""
    number, units = float(size), ["B", "kB", "MB", "GB", "TB", "PB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    text = f"{number:.1f}" if number < 100 else f"{number:.0f}"
    return f"{text.removesuffix('.0')} {units[0]}"


def disk(found: model.Disk) -> str:
    """nvme0n1 (1 TB Samsung 990 PRO)"""
    name = safe(found.model).strip()
    name = name if len(name) <= _MODEL else name[: _MODEL - 1] + "…"
    return f"{found.name} ({sold(found.size)}{f' {name}' if name else ''})"


def listed(items: Sequence[str]) -> str:
    """a, b and c"""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def mount_of(path: str, state: model.SystemState) -> str | None:
    """The device whose file system shows `path`, when one is mounted above it."""
    best = None
    for mount in state.mounts:
        target = mount.target.rstrip("/")
        if path == mount.target or path.startswith(f"{target}/"):
            if best is None or len(mount.target) >= len(best.target):
                best = mount
    return best.source if best else None


def _short(node: str) -> str:
    return node.removeprefix("/dev/")


def _kind(name: str) -> str:
    return _KINDS.get(name, name)


def clauses(
    events: Iterable[Event], before: model.SystemState, after: model.SystemState
) -> Iterator[str]:
    """What happened, in order. Erasing and partitioning are told once a disk."""
    told: set[str] = set()
    events = list(events)
    if any(event.kind != "read" for event in events):
        events = [event for event in events if event.kind != "read" or event.device]
    wiped = {found.path for found in before.disks if _emptied(found, events, before, after)}
    last = ""
    for (topic, place), group in groupby(events, lambda event: _topic(event, before, after)):
        for text in _topic_clauses(topic, place, list(group), before, after, wiped):
            if text not in told or topic == "":
                if text != last:
                    yield text
                told.add(text)
                last = text


def _owner(node: str, *states: model.SystemState) -> model.Disk | None:
    """The disk that a node is, or of which it is a partition."""
    for state in states:
        for found in state.disks:
            if node == found.path or any(
                node == found.partition_path(part.number) for part in found.partitions
            ):
                return found
    return None


def _topic(event: Event, before: model.SystemState, after: model.SystemState) -> tuple[str, str]:
    """Events that are told together: what, and on which disk."""
    if event.kind in ("erase", "unpartition", "partition", "table"):
        found = _owner(event.device, before, after)
        if found is None and event.device:  # a partition that came and went within the line
            names = [item for item in before.disks if event.device.startswith(item.path)]
            found = max(names, key=lambda item: len(item.name), default=None)
        if found is not None:
            return "layout", found.path
    return "", ""


def _emptied(
    found: model.Disk, events: Iterable[Event], before: model.SystemState, after: model.SystemState
) -> bool:
    """Whether nothing is left of what was on a disk that held something. What a line formats anew
    counts as gone, too."""
    if not found.partitions and found.signature is None and found.table is None:
        return False
    lost = {event.device for event in events if event.kind in ("erase", "unpartition")}
    if found.path in lost and not found.partitions:
        return True
    return bool(found.partitions) and all(
        found.partition_path(part.number) in lost for part in found.partitions
    )


def _topic_clauses(
    topic: str,
    place: str,
    events: list[Event],
    before: model.SystemState,
    after: model.SystemState,
    wiped: set[str],
) -> Iterator[str]:
    if topic != "layout":
        for event in events:
            yield _clause(event, before, after)
        return
    found = before.disk(place)
    assert found is not None
    whole = disk(found)
    old = {found.partition_path(part.number) for part in found.partitions}
    lost = [event for event in events if event.kind in ("erase", "unpartition")]
    made = [event for event in events if event.kind == "partition"]
    tables = [event.detail for event in events if event.kind == "table"]
    over = any(event.device == place and event.detail in _OVER for event in lost)
    if lost and place in wiped:
        yield f"erases everything on {whole}"
    elif over or not old and any(event.device == place for event in lost):
        yield f"overwrites {whole}"
    else:
        for event in lost:
            yield _loss(event, found)
    if tables:
        yield f"writes a new partition table ({tables[-1].upper()}) on {whole}"
    if made:
        gone = {event.device for event in lost}
        parts = [f"{_short(event.device)} ({event.detail})" for event in made]
        parts = list(dict.fromkeys(parts))
        many = "1 partition" if len(parts) == 1 else f"{len(parts)} partitions"
        again = {event.device for event in made} & gone and place not in wiped
        verb = "changes" if again else "creates"
        yield f"{verb} {many} on {found.name}: {', '.join(parts)}"


def _loss(event: Event, found: model.Disk) -> str:
    name = _short(event.device)
    if event.kind == "unpartition":
        return f"removes the partition {name} ({event.detail}) of {disk(found)}"
    if event.device == found.path:
        what = f"the partition table ({event.detail.upper()})" if event.detail == found.table else (
            event.detail or "what is there"
        )  # fmt: skip
        return f"erases {what} on {disk(found)}"
    detail = event.detail
    held = f"the {_kind(detail)} file system" if detail.islower() and " " not in detail else (
        detail or "everything"
    )  # fmt: skip
    return f"erases {held} on {name}, with all its files, of {disk(found)}"


def _clause(event: Event, before: model.SystemState, after: model.SystemState) -> str:
    device, detail = _short(event.device), event.detail
    on = f" on {device}" if device else ""
    match event.kind:
        case "read":
            return f"reads {device}" if device else f"only looks{f' ({detail})' if detail else ''}"
        case "erase":
            return f"erases {detail or 'everything'}{on}"
        case "unpartition":
            return f"removes the partition {device} ({detail})"
        case "partition":
            return f"creates the partition {device} ({detail})"
        case "table":
            return f"writes a new partition table ({detail.upper()}) on {device}"
        case "format":
            return f"formats {device} as {_kind(detail)}"
        case "mount":
            return f"mounts {device or 'a file system'} at {detail}"
        case "unmount":
            return f"unmounts {device or detail}{f' from {detail}' if device and detail else ''}"
        case "swap":
            return f"{'stops using' if detail == 'off' else 'uses'} {device} as swap space"
        case "mapping":
            return f"sets up {_short(detail)}{on}"
        case "copy":
            return f"copies files to {detail}{f' (on {device})' if device else ''}"
        case "file":
            if detail.startswith("/") and vfs.is_dir(after, detail) and not _was(before, detail):
                return f"makes the folder {detail}"
            return _file(device, detail)
        case "remove":
            where = mount_of(detail, before) if detail.startswith("/") else None
            return f"deletes {detail or device}{f' (on {_short(where)})' if where else ''}"
        case "user":
            return f"creates or changes the user {detail}" if detail else "changes user accounts"
        case "group":
            return _group(detail)
        case "password":
            name, _, how = detail.partition(": ")
            what = "removes" if how == "none" else "sets"
            return f"{what} the password of {name}" if name else "sets a password"
        case "hostname":
            return f"sets the host name to {detail}"
        case "timezone":
            return f"sets the time zone to {detail}"
        case "locale":
            return f"sets language or keyboard: {detail}" if detail else "generates locales"
        case "service":
            return f"services: {detail}"
        case "bootloader":
            name = _LOADERS.get(detail, detail)
            if detail.startswith("/"):
                return f"writes the boot loader's configuration {detail}"
            return f"installs the boot loader {name}{on}" if name else f"sets up a boot loader{on}"
        case "reboot":
            return "switches the machine off" if detail == "off" else "restarts the machine"
    return " ".join(word for word in (event.kind, device, detail) if word)


def _was(state: model.SystemState, path: str) -> bool:
    return vfs.exists(state, path) is True


def _file(device: str, detail: str) -> str:
    if detail.startswith("label"):
        return f"sets the label of {device} to {detail[5:].strip() or 'nothing'}"
    if detail == "packages":
        return "installs or removes packages"
    if detail == "initramfs":
        return "builds the initial RAM disk"
    if detail == "clock":
        return "sets the clock"
    if device:
        return f"{detail or 'writes'} on {device}"
    for name, what in _SETTINGS:
        if detail.endswith(name):
            return f"{what} (writes {detail})"
    return f"writes {detail}" if detail.startswith("/") else f"changes files ({detail})"


def _group(detail: str) -> str:
    name, colon, groups = detail.partition(": ")
    if not colon:
        return f"changes the group {name}"
    if groups.startswith("-"):
        return f"takes {name} out of the group {groups[1:]}"
    return f"puts {name} into the group {groups}"
