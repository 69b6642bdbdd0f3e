"""The installer's machines for the page: disks as bars, partitions as their parts, presets.

picture(state).bars[0].parts[0].text    # '512M, vfat, EFI system'
[preset.name for preset in presets(cfg)]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmkit.installer import scenario
from llmkit.installer import size as sizes
from llmkit.installer.explain_words import safe, sold
from llmkit.installer.state import Disk, Mapping, Partition, Signature, SystemState
from llmkit.picture import Bar, Part, Picture, Preset, Table

_MIB = 1 << 20
_TABLES = {"gpt": "GPT", "msdos": "MBR", None: "no partition table"}
_BUSES = {"sata": "SATA", "nvme": "NVMe", "virtio": "virtual", "mmc": "eMMC", "usb": "USB"}
_TYPES = {
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI system",
    "21686148-6449-6e6f-744e-656564454649": "BIOS boot",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae": "Microsoft reserved",
    "ef": "EFI system",
}
_KINDS = {"swap": "swap", "crypto_LUKS": "locked", "LVM2_member": "locked"}


def picture(state: SystemState) -> Picture:
    """Every disk and every container, what is mounted, and the facts beside them."""
    places: dict[str, list[str]] = {}
    for mount in state.mounts:
        if mount.source.startswith("/dev/"):
            places.setdefault(mount.source, []).append(mount.target)
    for device in state.swaps:
        places.setdefault(device, []).append("in use")
    bars = [_disk(disk, places) for disk in state.disks]
    bars += [_mapping(mapping, places) for mapping in state.mappings]
    return Picture(tuple(bars), tuple(_facts(state)), tuple(_tables(state)))


def _disk(disk: Disk, places: dict[str, list[str]]) -> Bar:
    table = _TABLES.get(disk.table, str(disk.table))
    about = [sizes.human(disk.size), safe(disk.model), _BUSES.get(disk.transport, ""), table]
    if disk.live:
        about.append("this live system runs from it")
    if disk.read_only:
        about.append("read-only")
    return Bar(
        disk.path, disk.path, disk.size, ", ".join(word for word in about if word),
        tuple(_parts(disk, places)),
    )  # fmt: skip


def _parts(disk: Disk, places: dict[str, list[str]]) -> Iterator[Part]:
    if disk.signature is not None and not disk.partitions:
        place = places.get(disk.path, [])
        text = f"{sizes.human(disk.size)}, {_content(disk.signature)} on the whole disk"
        yield Part(
            f"{disk.path} whole", disk.name, disk.size, _kind(disk.signature, place, ""), text,
            ", ".join(map(safe, place)),
        )  # fmt: skip
        return
    end = 0
    shown = [part for part in disk.partitions if part.role != "extended"]
    for part in sorted(shown, key=lambda part: part.start):
        if part.start - end > 2 * _MIB:
            yield _free(disk, end, part.start)
        path = disk.partition_path(part.number)
        place = places.get(path, [])
        yield Part(
            path, path.removeprefix("/dev/"), part.size, _kind(part.signature, place, part.type),
            _about(part), ", ".join(map(safe, place)),
        )  # fmt: skip
        end = part.end
    if disk.size - end > 2 * _MIB:
        yield _free(disk, end, disk.size)


def _free(disk: Disk, start: int, end: int) -> Part:
    words = "free" if disk.table else "empty"
    return Part(
        f"{disk.path} free {start}", words, end - start, "free", f"{sizes.human(end - start)}, free"
    )


def _about(part: Partition) -> str:
    words = [sizes.human(part.size)]
    words.append(_content(part.signature) if part.signature else "not formatted")
    words.append(_TYPES.get(part.type, ""))
    if "boot" in part.flags:
        words.append("boot flag")
    return ", ".join(word for word in words if word)


def _content(found: Signature) -> str:
    label = f" “{safe(found.label)}”" if found.label else ""
    return f"{safe(found.kind)}{label}"


def _kind(found: Signature | None, place: list[str], kind: str) -> str:
    if found is not None and found.kind in _KINDS:
        return _KINDS[found.kind]
    if "/mnt" in place or "/" in place:
        return "root"
    booting = any(at.startswith(("/mnt/boot", "/boot")) for at in place)
    if booting or _TYPES.get(kind) in ("EFI system", "BIOS boot"):
        return "boot"
    return "plain" if found is None else "filled" if not place else "used"


def _mapping(mapping: Mapping, places: dict[str, list[str]]) -> Bar:
    place = places.get(mapping.path, [])
    content = _content(mapping.signature) if mapping.signature else "not formatted"
    size = sizes.human(mapping.size)
    inside = ", ".join(mapping.parents) or "a container"
    kinds = {"crypt": "encrypted", "lvm": "logical volume", "raid": "RAID"}
    part = Part(
        f"{mapping.path} inside", mapping.name, mapping.size, _kind(mapping.signature, place, ""),
        f"{size}, {content}", ", ".join(map(safe, place)),
    )  # fmt: skip
    about = f"{size}, {kinds.get(mapping.kind, mapping.kind)}, in {inside}"
    return Bar(mapping.path, mapping.path, mapping.size, about, (part,))


def _facts(state: SystemState) -> Iterator[tuple[str, str]]:
    tree = state.target_tree()
    yield "Firmware", "UEFI" if state.boot_mode == "uefi" else "Legacy BIOS"
    yield "Network", "connected" if state.network else "not connected"
    yield "Host name", safe((tree.hostname if tree else "") or state.live.hostname) or "not set"
    yield "Time zone", safe((tree.timezone if tree else "") or state.live.timezone) or "not set"
    if tree is not None:
        yield "System at /mnt", "copied" if tree.system else "not there yet"
        yield "Boot loader", safe(tree.bootloader) or "none"
        if tree.users:
            yield "Users", ", ".join(safe(user.name) for user in tree.users)
    if state.status != "running":
        yield "The machine", {"rebooting": "restarts", "off": "is off"}.get(state.status, "")


def _tables(state: SystemState) -> Iterator[Table]:
    rows = tuple(
        (safe(mount.source), safe(mount.target), safe(mount.fstype) or "–")
        for mount in state.mounts
        if mount.source.startswith("/dev/")
    )
    yield Table("Mounts", ("Device", "Where", "File system"), rows)


def presets(cfg: Any) -> Iterator[Preset]:
    """A machine of each layout and firmware that the config has; empty ones first."""
    seen: set[str] = set()
    for used in (False, True):
        for machine in scenario.every(cfg, {"partitioned": used}, None):
            state = machine.state
            firmware = "UEFI" if state.boot_mode == "uefi" else "BIOS"
            disks = " + ".join(_sold(disk) for disk in state.disks if not disk.live)
            live = [disk for disk in state.disks if disk.live]
            name = f"{firmware}: {disks}{', live USB stick' if live else ''}"
            key = f"{machine.layout} {firmware}"
            if key not in seen:
                seen.add(key)
                yield Preset(f"{name}{', with an older system' if used else ''}", state)


def _sold(disk: Disk) -> str:
    kind = "hard disk" if disk.rotational else _BUSES.get(disk.transport, "")
    return " ".join(word for word in (sold(disk.size), kind, safe(disk.model)) if word)
