"""Block devices of a machine: find one by any of its names, ask what holds it, change what is on it.

    >>> device(state, "LABEL=root"), device(state, "/dev/disk/by-uuid/1234-ABCD")
    ('/dev/sda2', '/dev/sda1')

Everything here is pure: a state goes in, an answer or a new state comes out.
"""

from __future__ import annotations

import posixpath
from functools import lru_cache

from llmkit.installer.failures import CommandFailed, DeviceBusy, NoSuchDevice
from llmkit.installer.frozen import replace
from llmkit.installer.state import Disk, Mapping, Partition, Signature, SystemState, Tree

PSEUDO = frozenset(
    "null zero full random urandom tty console stdin stdout stderr ptmx kmsg fuse loop-control"
    " rtc rtc0".split()
)  # character devices and streams below /dev: never a place where data is lost
_TAGS = {
    "LABEL": "by-label", "UUID": "by-uuid", "PARTLABEL": "by-partlabel", "PARTUUID": "by-partuuid",
}  # fmt: skip
FILE_SYSTEMS = frozenset(
    "ext2 ext3 ext4 btrfs xfs f2fs vfat exfat ntfs iso9660 squashfs jfs nilfs2 udf hfsplus"
    " bcachefs reiserfs".split()
)  # signatures that can be mounted


@lru_cache(maxsize=4096)
def normalise(path: str) -> str:
    """The path without `.`, `..`, doubled and trailing slashes; relative ones start at /root, the
    directory a live system's shell starts in."""
    path = posixpath.normpath(path if path.startswith("/") else f"/root/{path}")
    return path[1:] if path.startswith("//") else path


def is_pseudo(path: str) -> bool:
    """Is this /dev/null, a terminal, a random source and so on?"""
    name = path.removeprefix("/dev/")
    if name == path:
        return False
    return name in PSEUDO or name.startswith(("fd/", "tty", "pts/", "shm", "mqueue", "hugepages"))


def device(state: SystemState, path: str) -> str | None:
    """The canonical node (/dev/sda1) that a path, a device link or a tag (LABEL=…) leads to, or
    None when there is no such block device. Of two with the same label the first counts."""
    if path.startswith("/dev/"):
        if _is_node(state, path):
            return path
        clean = normalise(path)
    else:
        tag, equals, value = path.partition("=")
        kind = _TAGS.get(tag)
        if equals and kind:
            return _by(state, kind, value.strip("\"'"))
        clean = normalise(path)
        if not clean.startswith("/dev/"):
            return next((node for link, node in state.links if link == clean), None)
    if _is_node(state, clean):
        return clean
    for link, node in state.links:
        if link == clean:
            return node
    if clean.startswith("/dev/disk/by-"):
        kind, _, value = clean.removeprefix("/dev/disk/").partition("/")
        return _by(state, kind, _unescape(value)) if value else None
    if state.groups:  # /dev/GROUP/VOLUME
        group, _, volume = clean.removeprefix("/dev/").partition("/")
        if volume and "/" not in volume:
            node = f"/dev/mapper/{lv_name(group, volume)}"
            return node if _is_node(state, node) else None
    return None


def lv_name(group: str, volume: str) -> str:
    """The device-mapper name of a logical volume: hyphens within a name are doubled (lvm(8))."""
    return f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


def _unescape(text: str) -> str:
    return text.replace("\\x20", " ").replace("\\x2f", "/")


def _number(disk: str, name: str) -> int:
    """The partition number in a kernel name that begins with `disk`, or 0: ("sda", "sda1") → 1."""
    rest = name[len(disk) :]
    if disk[-1].isdigit():
        if rest[0] != "p":
            return 0
        rest = rest[1:]
    return int(rest) if rest.isdecimal() and rest.isascii() and rest[0] != "0" else 0


def _is_node(state: SystemState, path: str) -> bool:
    name = path[5:]
    for disk in state.disks:
        if name.startswith(disk.name):
            if name == disk.name:
                return True
            number = _number(disk.name, name)
            if number and disk.partition(number) is not None:
                return True
    return any(mapping.path == path for mapping in state.mappings)


def _by(state: SystemState, kind: str, value: str) -> str | None:
    if not value:
        return None
    for disk in state.disks:
        for part in disk.partitions:
            if kind == "by-partlabel":
                found = part.name
            elif kind == "by-partuuid":
                found, value = part.partuuid.lower(), value.lower()
            else:
                found = _tag(part.signature, kind)
            if found == value:
                return disk.partition_path(part.number)
        if _tag(disk.signature, kind) == value:
            return disk.path
    for mapping in state.mappings:
        if _tag(mapping.signature, kind) == value:
            return mapping.path
    return None


def _tag(signature: Signature | None, kind: str) -> str:
    if signature is None:
        return ""
    return signature.label if kind == "by-label" else signature.uuid if kind == "by-uuid" else ""


def listing(state: SystemState) -> str:
    """The devices that exist, for messages."""
    return ", ".join(state.devices()) or "no disks"


def require(state: SystemState, path: str, program: str = "") -> str:
    """The canonical node of `path`.

    Raises:
        NoSuchDevice: there is none; says which there are.
    """
    node = device(state, path)
    if node is None:
        prefix = f"{program}: " if program else ""
        raise NoSuchDevice(f"{prefix}{path} does not exist; this machine has {listing(state)}")
    return node


def find(state: SystemState, node: str) -> tuple[Disk | None, Partition | None, Mapping | None]:
    """What a canonical node is: (disk, None, None), (disk, partition, None), (None, None, mapping),
    or three times None."""
    name = node[5:] if node.startswith("/dev/") else ""
    for disk in state.disks:
        if name.startswith(disk.name):
            if name == disk.name:
                return disk, None, None
            number = _number(disk.name, name)
            for part in disk.partitions:
                if part.number == number:
                    return disk, part, None
    for mapping in state.mappings:
        if mapping.path == node:
            return None, None, mapping
    return None, None, None


def size(state: SystemState, node: str) -> int:
    """Bytes of a device; 0 when it is not there. An extended partition offers only its first KiB."""
    disk, part, mapping = find(state, node)
    if part is not None:
        return 1024 if part.role == "extended" else part.size
    return disk.size if disk else mapping.size if mapping else 0


def signature(state: SystemState, node: str) -> Signature | None:
    """What blkid finds on a device."""
    disk, part, mapping = find(state, node)
    if part is not None:
        return part.signature
    return disk.signature if disk else mapping.signature if mapping else None


def replace_disk(state: SystemState, disk: Disk) -> SystemState:
    """The state with this disk in place of the one of the same name."""
    disks = tuple(disk if old.name == disk.name else old for old in state.disks)
    return replace(state, disks=disks)


def replace_partition(state: SystemState, disk: Disk, part: Partition) -> SystemState:
    """The state with this partition in place of the one of the same number."""
    parts = tuple(part if old.number == part.number else old for old in disk.partitions)
    return replace_disk(state, replace(disk, partitions=parts))


def set_signature(
    state: SystemState, node: str, new: Signature | None, tree: Tree | None = None
) -> SystemState:
    """Put a signature on a device, or take it off. What was on it is lost: its files, the volume
    group it belonged to, and stale signatures within a partition. A file system gets `tree`, or an
    empty one."""
    disk, part, mapping = find(state, node)
    if disk is not None and part is not None:
        changed = replace(part, signature=new)
        parts = tuple(changed if old is part else old for old in disk.partitions)
        stale = disk.stale
        if stale:
            stale = tuple(old for old in stale if not part.start <= old[0] < part.end)
        state = replace_disk(state, replace(disk, partitions=parts, stale=stale))
    elif disk is not None:
        state = replace_disk(state, replace(disk, signature=new))
    elif mapping is not None:
        fresh = replace(mapping, signature=new)
        state = replace(
            state, mappings=tuple(fresh if old is mapping else old for old in state.mappings)
        )
    else:
        raise NoSuchDevice(f"{node} does not exist; this machine has {listing(state)}")
    if tree is None and new is not None and new.kind in FILE_SYSTEMS:
        tree = Tree()
    if tree is not None or state.trees:
        state = state.with_tree(node, tree)
    if state.closed:
        closed = tuple(mapping for mapping in state.closed if node not in mapping.parents)
        state = replace(state, closed=closed)
    if state.groups:
        groups = tuple(group for group in state.groups if node not in group.volumes)
        state = state if len(groups) == len(state.groups) else replace(state, groups=groups)
    return state


def set_label(state: SystemState, node: str, label: str, uuid: str | None = None) -> SystemState:
    """Change the label (and UUID) of what is on a device; its files stay."""
    old = signature(state, node)
    if old is None:
        raise CommandFailed(f"{node} holds no file system that could be named")
    new = replace(old, label=label, uuid=old.uuid if uuid is None else uuid)
    tree = next((tree for path, tree in state.trees if path == node), None)
    groups, closed = state.groups, state.closed
    state = set_signature(state, node, new, tree)
    state = state if tree is not None else state.with_tree(node, None)
    return replace(state, groups=groups, closed=closed)


def nodes(state: SystemState, node: str) -> tuple[str, ...]:
    """A disk and its partitions; for anything else the node alone."""
    disk, part, _ = find(state, node)
    if disk is None or part is not None:
        return (node,)
    return (node, *(disk.partition_path(p.number) for p in disk.partitions))


def is_busy(state: SystemState, node: str, *, below: bool = True) -> str:
    """Why a device is in use, in words ("mounted at /mnt"), or "" when it is free.

    With `below` (what tools that open a device exclusively run into) a disk is busy when any of
    its partitions is, and a device is busy when a mapping lies on top of it.
    """
    for path in nodes(state, node) if below else (node,):
        prefix = "" if path == node else f"{path} is "
        for mount in state.mounts:
            if mount.source == path:
                return f"{prefix}mounted at {mount.target}"
        if path in state.swaps:
            return f"{prefix}in use as swap"
        for mapping in state.mappings:
            if path in mapping.parents:
                return f"{prefix}in use by {mapping.path}"
    return ""


def require_free(state: SystemState, node: str, program: str) -> None:
    """Raises:
    DeviceBusy: the device, or a partition of it, is mounted, used as swap, or mapped.
    """
    reason = is_busy(state, node)
    if reason:
        raise DeviceBusy(f"{program}: {node} is in use: {reason}")


def require_writable(state: SystemState, node: str, program: str) -> None:
    """Raises:
    CommandFailed: the disk beneath is read-only.
    """
    disk, _, mapping = find(state, node)
    if disk is not None and disk.read_only:
        raise CommandFailed(f"{program}: {disk.path} is read-only")
    if mapping is not None and mapping.parents:
        require_writable(state, mapping.parents[0], program)


def forget(state: SystemState, gone: tuple[str, ...] | list[str]) -> SystemState:
    """Drop what is recorded of devices that are no longer there: trees, links, volume groups.
    Mounts and mappings stay: the kernel keeps a device alive while it is used."""
    trees = tuple(item for item in state.trees if item[0] not in gone)
    links = tuple(item for item in state.links if item[1] not in gone)
    groups = tuple(g for g in state.groups if not any(node in gone for node in g.volumes))
    closed = tuple(m for m in state.closed if not any(node in gone for node in m.parents))
    if (trees, links, groups, closed) == (state.trees, state.links, state.groups, state.closed):
        return state
    return replace(state, trees=trees, links=links, groups=groups, closed=closed)


def overwrite(state: SystemState, node: str) -> SystemState:
    """A device whose start was written over (`> /dev/sda`, dd): signature and table are gone."""
    disk, part, _ = find(state, node)
    gone = nodes(state, node)
    state = set_signature(state, node, None)
    if disk is not None and part is None:
        empty = replace(disk, table=None, partitions=(), signature=None, stale=())
        state = forget(replace_disk(state, empty), gone)
    return state
