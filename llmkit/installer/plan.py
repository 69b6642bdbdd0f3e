"""The stages of an installation, what of them is done, and whether a machine would start.

    >>> [stage.name for stage in stages(state) if stage.done]
    ['partition', 'format', 'mount']
    >>> problems(state)
    ('no system was copied', …)

The disk that is installed to is the one below /mnt; when nothing is mounted there, the one that
holds a copied system, or whose partitions differ from those at the start.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmkit.chat_types import Stage
from llmkit.installer import vfs
from llmkit.installer.devices import find
from llmkit.installer.guard_names import disks_of
from llmkit.installer.state import Disk, Partition, SystemState, Tree

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
ROOT_KINDS = frozenset(("ext4", "btrfs", "xfs", "f2fs", "ext3", "ext2"))
_UEFI_LOADERS = frozenset(("systemd-boot", "grub-efi"))
_TARGET = "/mnt"


def root_device(state: SystemState, start: SystemState | None = None) -> str | None:
    """The node that holds, or will hold, the new system; None while nothing points to one."""
    mount = state.mounted_at(_TARGET)
    if mount and mount.source.startswith("/dev/"):
        return mount.source
    for path, tree in state.trees:
        if tree.system and vfs.device(state, path):
            return path
    if start is None:
        return None
    known = dict(_file_systems(start))
    made = [
        node
        for node, kind in _file_systems(state)
        if kind in ROOT_KINDS and known.get(node) != kind
    ]
    return made[-1] if made else None


def _file_systems(state: SystemState) -> Iterator[tuple[str, str]]:
    for disk in state.disks:
        if disk.signature and not disk.live:
            yield disk.path, disk.signature.kind
        for part in disk.partitions:
            if part.signature:
                yield disk.partition_path(part.number), part.signature.kind
    for mapping in state.mappings:
        if mapping.signature:
            yield mapping.path, mapping.signature.kind


def stages(state: SystemState, start: SystemState | None = None) -> tuple[Stage, ...]:
    """The work in its usual order. `start` is the machine as it was found: partitions and file
    systems that were there already are not counted as done."""
    root = root_device(state, start)
    disk = _disk_below(state, root) or _changed_disk(state, start)
    signature = vfs.signature(state, root) if root else None
    tree = state.tree(root) if root else Tree(known=False)
    system = bool(root) and tree.system
    mounted = state.mounted_at(_TARGET) is not None
    users = tuple(user.name for user in tree.users) if system else ()
    named = system and _named(state, tree)
    return (
        Stage("partition", disk is not None, _layout(disk) if disk else ""),
        Stage("format", signature is not None, f"{signature.kind} on {root}" if signature else ""),
        Stage("mount", mounted or system, f"{root} at {_TARGET}" if mounted else ""),
        Stage("copy", system, f"a system on {root}" if system else ""),
        Stage("fstab", system and "/" in tree.fstab, ", ".join(tree.fstab) if system else ""),
        Stage("host name", named, tree.hostname if named else ""),
        Stage("time zone", system and bool(tree.timezone), tree.timezone if system else ""),
        Stage("user", bool(users), ", ".join(users)),
        Stage(
            "password",
            bool(users) and any(user.password for user in tree.users),
            ", ".join(user.name for user in tree.users if user.password) if system else "",
        ),
        Stage("boot loader", system and bool(tree.bootloader), tree.bootloader if system else ""),
        Stage("unmount", system and not mounted, ""),
        Stage("restart", system and state.status != "running", ""),
    )


def _named(state: SystemState, tree: Tree) -> bool:
    """It has a host name of its own: a copy of the live system begins with the live one's."""
    return bool(tree.hostname) and tree.hostname != state.live.hostname


def _layout(disk: Disk) -> str:
    count = len(disk.partitions)
    return f"{count} partition{'' if count == 1 else 's'} on {disk.name}"


def _disk_below(state: SystemState, node: str | None) -> Disk | None:
    if node is None:
        return None
    below = disks_of(state, node)
    return next((disk for disk in state.disks if disk.path in below), None)


def _changed_disk(state: SystemState, start: SystemState | None) -> Disk | None:
    for disk in state.disks:
        before = start.disk(disk.name) if start else None
        if disk.live or not disk.partitions or start is None:
            continue
        if before is None or [(p.start, p.size, p.type) for p in before.partitions] != [
            (p.start, p.size, p.type) for p in disk.partitions
        ]:
            return disk
    return None


def problems(state: SystemState) -> tuple[str, ...]:
    """What keeps the machine from starting with the new system, in words; () when it would.

    Checked: a system on a Linux file system, whose fstab names /; the boot loader of this firmware
    in its place (UEFI: in a FAT partition of the type of an EFI system partition, which fstab
    names; BIOS: on the disk that holds the system, with an msdos label or a bios_grub partition);
    host name, time zone, a user who can log in; everything unmounted.
    """
    return tuple(_problems(state))


def _problems(state: SystemState) -> Iterator[str]:
    root = next(
        (path for path, tree in state.trees if tree.system and vfs.device(state, path)), None
    )
    if root is None:
        yield "no system was copied to a disk"
        return
    tree = state.tree(root)
    signature = vfs.signature(state, root)
    if signature is None or signature.kind not in ROOT_KINDS:
        yield f"{root} holds {signature.kind if signature else 'no file system'}"
    if "/" not in tree.fstab:
        yield "fstab does not name /"
    if not _named(state, tree):
        yield "no host name is set"
    if not tree.timezone:
        yield "no time zone is set"
    if not tree.users:
        yield "there is no user"
    elif not any(user.password for user in tree.users) and not tree.root_password:
        yield "nobody has a password"
    yield from (_uefi(state, root, tree) if state.boot_mode == "uefi" else _bios(state, root, tree))
    for mount in state.mounts:
        if mount.target == _TARGET or mount.target.startswith(f"{_TARGET}/"):
            yield f"{mount.source} is still mounted at {mount.target}"


def _uefi(state: SystemState, root: str, tree: Tree) -> Iterator[str]:
    if tree.bootloader not in _UEFI_LOADERS:
        yield f"no boot loader for UEFI ({tree.bootloader or 'none'})"
        return
    disk, part, _ = find(state, tree.bootloader_device)
    if disk is None or part is None:
        yield f"the boot loader is on {tree.bootloader_device or 'no partition'}"
        return
    if not _is_esp(disk, part):
        yield f"{tree.bootloader_device} is no EFI system partition"
    if part.signature is None or part.signature.kind != "vfat":
        yield f"{tree.bootloader_device} is not FAT"
    if not {"/boot", "/boot/efi", "/efi"} & set(tree.fstab):
        yield "fstab does not name the EFI system partition"


def _is_esp(disk: Disk, part: Partition) -> bool:
    return part.type == ESP if disk.table == "gpt" else part.type == "ef"


def _bios(state: SystemState, root: str, tree: Tree) -> Iterator[str]:
    if tree.bootloader != "grub-bios":
        yield f"no boot loader for BIOS ({tree.bootloader or 'none'})"
        return
    disk = state.disk(tree.bootloader_device)
    if disk is None or disk.path not in disks_of(state, root):
        yield f"the boot loader is on {tree.bootloader_device or 'no disk'}, the system on {root}"
    elif disk.table == "gpt" and not any(part.type == BIOS_BOOT for part in disk.partitions):
        yield f"{disk.path} has a GPT, and no bios_grub partition for the boot loader"
