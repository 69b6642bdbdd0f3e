"""LVM: pvcreate, vgcreate, lvcreate, their opposites and reports (lvm(8)).

A logical volume is a Mapping named GROUP-VOLUME, also /dev/GROUP/VOLUME. Sizes are multiples of the
4 MiB extent; the first MiB of a physical volume holds metadata. Not covered: RAID, thin pools,
snapshots, moving extents.
"""

from __future__ import annotations

import re

from llmkit.installer import size as sizes
from llmkit.installer import vfs
from llmkit.installer.effects.getopt import Options, parse
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    DeviceBusy,
    Event,
    NoSuchDevice,
    Result,
    effect,
)
from llmkit.installer.frozen import replace
from llmkit.installer.state import Mapping, Signature, SystemState, VolumeGroup

_EXTENT = 4 << 20
_MIB = 1 << 20
_STATUS = 5  # lvm's exit status for a command that failed
_COMMON = ("yes", "force", "verbose", "quiet", "test", "zero=", "metadatasize=", "dataalignment=",
           "name=", "size=", "extents=", "wipesignatures=", "activate=", "config=", "nolocking",
           "type=", "stripes=", "stripesize=", "mirrors=", "thin", "thinpool=", "virtualsize=",
           "poolmetadatasize=", "snapshot", "contiguous=", "physicalextentsize=", "autobackup=",
           "uuid=", "metadatacopies=", "maxlogicalvolumes=", "resizefs", "noheadings", "options=",
           "units=", "nosuffix", "select=", "all", "reportformat=", "separator=", "sort=",
           "addtag=", "removemissing", "restorefile=", "norestorefile", "bootloaderareasize=",
           "setautoactivation=", "help", "version")  # fmt: skip


def _parse(argv: Argv) -> Options:
    return parse(argv.program, argv.args, "yfvqtZ:n:L:l:W:a:i:I:m:TV:sC:s:A:u:ro:S:M:h", _COMMON,
                 status=3)  # fmt: skip


def _fail(argv: Argv, reason: str) -> CommandFailed:
    return CommandFailed(f"{argv.program}: {reason}", status=_STATUS)


def _usable(size: int) -> int:
    return max((size - _MIB) // _EXTENT * _EXTENT, 0)


def _prepare(state: SystemState, argv: Argv, path: str) -> tuple[SystemState, str, list[Event]]:
    """Make a physical volume of a device.

    Raises:
        CommandFailed: it is a disk with partitions, in use, or in a group.
    """
    node = vfs.device(state, path)
    if node is None:
        message = f"{argv.program}: {path} does not exist; this machine has {vfs.listing(state)}"
        raise NoSuchDevice(message, status=_STATUS)
    vfs.require_writable(state, node, argv.program)
    disk, part, _ = vfs.find(state, node)
    if disk is not None and part is None and disk.table:
        raise _fail(argv, f"{node} has a partition table; wipe it first, or name a partition")
    reason = vfs.is_busy(state, node)
    if reason:
        raise DeviceBusy(f"{argv.program}: {node} is in use: {reason}", status=_STATUS)
    group = next((g.name for g in state.groups if node in g.volumes), None)
    if group is not None:
        raise _fail(argv, f"{node} is part of the volume group {group}")
    if _usable(vfs.size(state, node)) == 0:
        raise _fail(argv, f"{node} is too small")
    old = vfs.signature(state, node)
    events = [Event("erase", node, old.kind)] if old and old.kind != "LVM2_member" else []
    state = vfs.set_signature(state, node, Signature("LVM2_member"))
    return state, node, [*events, Event("format", node, "LVM2_member")]


@effect("pvcreate")
def pvcreate(state: SystemState, argv: Argv) -> Result:
    """Make physical volumes (pvcreate(8)): -y, -f, -ff and the rest by name. An old signature is
    wiped (it asks without -y; here the answer is yes)."""
    options = _parse(argv)
    if not options.operands:
        raise _fail(argv, "no device given")
    events: list[Event] = []
    for path in options.operands:
        state, _, more = _prepare(state, argv, path)
        events += more
    return Result(state, None, events=tuple(events))


@effect("vgcreate")
def vgcreate(state: SystemState, argv: Argv) -> Result:
    """Make a volume group of physical volumes, or of plain devices (vgcreate(8))."""
    options = _parse(argv)
    if len(options.operands) < 2:
        raise _fail(argv, "a name and at least one device are needed")
    name, *paths = options.operands
    if not re.fullmatch(r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]*", name):
        raise _fail(argv, f"{name!r} is no valid name")
    if any(g.name == name for g in state.groups):
        raise _fail(argv, f"the volume group {name} exists already")
    nodes, events = [], []
    for path in paths:
        state, node, more = _volume(state, argv, path)
        nodes.append(node)
        events += more
    size = sum(_usable(vfs.size(state, node)) for node in nodes)
    group = VolumeGroup(name, tuple(nodes), size)
    groups = tuple(sorted((*state.groups, group), key=lambda g: g.name))
    events.append(Event("mapping", nodes[0], f"volume group {name}"))
    return Result(replace(state, groups=groups), None, events=tuple(events))


def _volume(state: SystemState, argv: Argv, path: str) -> tuple[SystemState, str, list[Event]]:
    """A physical volume that no group has; a plain device becomes one."""
    node = vfs.device(state, path)
    signature = vfs.signature(state, node) if node else None
    if node is None or signature is None or signature.kind != "LVM2_member":
        return _prepare(state, argv, path)
    group = next((g.name for g in state.groups if node in g.volumes), None)
    if group is not None:
        raise _fail(argv, f"{node} is part of the volume group {group}")
    return state, node, []


def _group(state: SystemState, argv: Argv, name: str) -> VolumeGroup:
    name = name.removeprefix("/dev/")
    for group in state.groups:
        if group.name == name:
            return group
    there = ", ".join(g.name for g in state.groups) or "none"
    raise _fail(argv, f"there is no volume group {name} (there are: {there})")


def _volumes(state: SystemState, group: VolumeGroup) -> list[Mapping]:
    prefix = vfs.lv_name(group.name, "")
    return [m for m in state.mappings if m.kind == "lvm" and _owner(m.name) == prefix[:-1]]


def _owner(name: str) -> str:
    """The escaped group part of a device-mapper name: up to the first single hyphen."""
    match = re.match(r"(?:[^-]|--)+", name)
    return match[0] if match else name


def _wanted(state: SystemState, argv: Argv, options: Options, group: VolumeGroup, now: int) -> int:
    """Bytes asked for with -L or -l; `now` is the present size, for + and -."""
    free = group.size - sum(m.size for m in _volumes(state, group))
    text = options.get("-L", "--size")
    if text is not None:
        sign = text[0] if text[:1] in "+-" else ""
        body = text.lstrip("+-")
        if body.replace(".", "").isdigit():
            body += "M"  # lvm's default unit
        try:
            amount = sizes.parse(re.sub(r"(?i)([kmgtpe])b?$", lambda m: m[1].upper(), body))
        except ValueError:
            raise _fail(argv, f"{text!r} is not a size") from None
    else:
        text = options.get("-l", "--extents")
        if text is None:
            raise _fail(argv, "a size is needed: -L 20G, or -l 100%FREE")
        sign = text[0] if text[:1] in "+-" else ""
        body = text.lstrip("+-")
        percent = re.fullmatch(r"(\d+)%(FREE|VG|PVS|ORIGIN)?", body, re.IGNORECASE)
        if percent:
            whole = group.size if (percent[2] or "VG").upper() in ("VG", "PVS") else free
            amount = whole * int(percent[1]) // 100 // _EXTENT * _EXTENT
            if sign == "" and now and (percent[2] or "").upper() == "FREE":
                sign = ""
        elif body.isdigit():
            amount = int(body) * _EXTENT
        else:
            raise _fail(argv, f"{text!r} is no number of extents")
    amount = -(-amount // _EXTENT) * _EXTENT
    size = now + amount if sign == "+" else now - amount if sign == "-" else amount
    if size <= 0:
        raise _fail(argv, "the size comes to nothing: there is no free space")
    if size - now > free:
        raise _fail(
            argv,
            f"the volume group {group.name} has {sizes.human(max(free, 0))} free, "
            f"{sizes.human(size - now)} are needed",
        )
    return size


@effect("lvcreate")
def lvcreate(state: SystemState, argv: Argv) -> Result:
    """Make a logical volume (lvcreate(8)): -L, -l (extents, %FREE, %VG), -n, -y, -W. Its old
    content, if there was any, is wiped."""
    options = _parse(argv)
    name = options.get("-n", "--name")
    names = list(options.operands)
    if not names:
        raise _fail(argv, "no volume group given")
    group = _group(state, argv, names[0].split("/")[0] if "/dev/" not in names[0] else names[0])
    if name is not None and "/" in name:
        name = name.rsplit("/", 1)[1]
    taken = {m.name for m in _volumes(state, group)}
    if name is None:
        number = 0
        while vfs.lv_name(group.name, f"lvol{number}") in taken:
            number += 1
        name = f"lvol{number}"
    full = vfs.lv_name(group.name, name)
    if full in taken:
        raise _fail(argv, f"the logical volume {name} exists already in {group.name}")
    for path in names[1:]:
        vfs.require(state, path, argv.program)
    size = _wanted(state, argv, options, group, 0)
    mapping = Mapping(full, "lvm", group.volumes, size)
    new = replace(state, mappings=(*state.mappings, mapping))
    return Result(new, None, events=(Event("mapping", group.volumes[0], mapping.path),))


def _logical(state: SystemState, argv: Argv, word: str) -> Mapping:
    """The logical volume that GROUP/VOLUME, /dev/GROUP/VOLUME or /dev/mapper/… names."""
    path = word if word.startswith("/dev/") else f"/dev/{word}"
    node = vfs.device(state, path)
    for mapping in state.mappings:
        if mapping.path == node and mapping.kind == "lvm":
            return mapping
    raise NoSuchDevice(
        f"{argv.program}: {word} does not exist; this machine has {vfs.listing(state)}",
        status=_STATUS,
    )


def _drop(state: SystemState, argv: Argv, mapping: Mapping) -> SystemState:
    reason = vfs.is_busy(state, mapping.path)
    if reason:
        message = f"{argv.program}: {mapping.path} is in use: {reason}"
        raise DeviceBusy(message, status=_STATUS)
    rest = tuple(m for m in state.mappings if m is not mapping)
    return vfs.forget(replace(state, mappings=rest), (mapping.path,))


@effect("lvremove")
def lvremove(state: SystemState, argv: Argv) -> Result:
    """Remove logical volumes, or all of a group (lvremove(8)): -f, -y (it asks without; here the
    answer is yes)."""
    options = _parse(argv)
    events = []
    for word in options.operands:
        whole = next((g for g in state.groups if g.name == word.removeprefix("/dev/")), None)
        found = _volumes(state, whole) if whole else [_logical(state, argv, word)]
        for mapping in found:
            state = _drop(state, argv, mapping)
            events.append(Event("erase", mapping.path, "logical volume"))
    if not options.operands:
        raise _fail(argv, "no logical volume given")
    return Result(state, None, events=tuple(events))


@effect("lvextend", "lvresize", "lvreduce")
def lvresize(state: SystemState, argv: Argv) -> Result:
    """Change a logical volume's size (lvresize(8)): -L, -l with + and -, -r."""
    options = _parse(argv)
    if not options.operands:
        raise _fail(argv, "no logical volume given")
    mapping = _logical(state, argv, options.operands[0])
    group = next(g for g in state.groups if mapping in _volumes(state, g))
    size = _wanted(state, argv, options, group, mapping.size)
    if argv.program == "lvextend" and size <= mapping.size:
        raise _fail(argv, "the new size is not bigger than the present one")
    new = replace(mapping, size=size)
    mappings = tuple(new if m is mapping else m for m in state.mappings)
    detail = sizes.human(size)
    return Result(
        replace(state, mappings=mappings), None, events=(Event("mapping", mapping.path, detail),)
    )


@effect("vgremove")
def vgremove(state: SystemState, argv: Argv) -> Result:
    """Remove a volume group, with its logical volumes when -f or -y is given (vgremove(8))."""
    options = _parse(argv)
    events = []
    if not options.operands:
        raise _fail(argv, "no volume group given")
    for word in options.operands:
        group = _group(state, argv, word)
        inside = _volumes(state, group)
        if inside and not options.has("-f", "-y", "--force", "--yes"):
            raise _fail(argv, f"{group.name} still holds {len(inside)} logical volumes (-f, -y)")
        for mapping in inside:
            state = _drop(state, argv, mapping)
            events.append(Event("erase", mapping.path, "logical volume"))
        groups = tuple(g for g in state.groups if g is not group)
        state = replace(state, groups=groups)
        events.append(Event("erase", group.volumes[0], f"volume group {group.name}"))
    return Result(state, None, events=tuple(events))


@effect("vgextend", "vgreduce")
def vgextend(state: SystemState, argv: Argv) -> Result:
    """Add devices to a volume group, or take unused ones out (vgextend(8), vgreduce(8))."""
    options = _parse(argv)
    if len(options.operands) < 2:
        raise _fail(argv, "a volume group and a device are needed")
    group = _group(state, argv, options.operands[0])
    events: list[Event] = []
    volumes, size = list(group.volumes), group.size
    for path in options.operands[1:]:
        if argv.program == "vgreduce":
            node = vfs.require(state, path, argv.program)
            space = _usable(vfs.size(state, node))
            used = sum(m.size for m in _volumes(state, group))
            if node not in volumes or len(volumes) < 2 or size - space < used:
                raise _fail(argv, f"{node} cannot be taken out of {group.name}")
            volumes.remove(node)
            size -= space
            continue
        state, node, more = _volume(state, argv, path)
        events += more
        volumes.append(node)
        size += _usable(vfs.size(state, node))
    new = VolumeGroup(group.name, tuple(volumes), size)
    groups = tuple(new if g.name == group.name else g for g in state.groups)
    events.append(Event("mapping", volumes[0], f"volume group {group.name}"))
    return Result(replace(state, groups=groups), None, events=tuple(events))


@effect("pvremove")
def pvremove(state: SystemState, argv: Argv) -> Result:
    """Take the LVM signature off devices that are in no group (pvremove(8))."""
    options = _parse(argv)
    events = []
    for path in options.operands:
        node = vfs.require(state, path, argv.program)
        signature = vfs.signature(state, node)
        if signature is None or signature.kind != "LVM2_member":
            raise _fail(argv, f"{node} is no physical volume")
        if any(node in g.volumes for g in state.groups):
            raise _fail(argv, f"{node} is part of a volume group; vgremove or vgreduce first")
        state = vfs.set_signature(state, node, None)
        events.append(Event("erase", node, "LVM2_member"))
    return Result(state, None, events=tuple(events))


@effect("pvs", "vgs", "lvs", "pvdisplay", "vgdisplay", "lvdisplay", "pvscan", "vgscan", "lvscan",
        "vgchange", "lvchange", "vgck", "lvmdiskscan", "lvmconfig", "pvck")  # fmt: skip
def reports(state: SystemState, argv: Argv) -> Result:
    """LVM's reports; groups, volumes and devices that are named must exist. Activation is not
    tracked: volumes are active."""
    for word in _parse(argv).operands:
        if word.startswith("/dev/") and word.count("/") == 2:
            name = word.removeprefix("/dev/")
            if not any(g.name == name for g in state.groups):
                vfs.require(state, word, argv.program)
        elif "/" in word:
            _logical(state, argv, word)
        else:
            _group(state, argv, word)
    return Result(state, None, events=(Event("read"),))
