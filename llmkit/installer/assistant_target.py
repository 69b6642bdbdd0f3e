"""What of the new system can be read below /mnt: names, users, fstab, boot loader.

    state = with_target(facts.gather(), before)

lsblk tells of disks alone. `before` is what was known: a file system that is not mounted any more
keeps what was found on it while its UUID is the same.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from llmkit.errors import DomainError
from llmkit.installer import facts, vfs
from llmkit.installer.frozen import replace
from llmkit.installer.state import SystemState, Tree

_FSTAB = "etc/fstab"
_LOADERS = (  # what is left by an installed boot loader, below /mnt
    ("systemd-boot", ("boot/EFI/systemd", "boot/efi/EFI/systemd", "efi/EFI/systemd")),
    ("grub-efi", ("boot/grub/x86_64-efi", "boot/grub2/x86_64-efi")),
    ("grub-bios", ("boot/grub/i386-pc", "boot/grub2/i386-pc")),
)


def with_target(
    state: SystemState, before: SystemState, folder: Path = Path("/mnt")
) -> SystemState:
    """`state` with the trees that can be seen, and those of `before` that cannot be but are there."""
    for path, tree in before.trees:
        old, new = vfs.signature(before, path), vfs.signature(state, path)
        if new is not None and old is not None and new.kind == old.kind and new.uuid == old.uuid:
            state = state.with_tree(path, tree)
    mount = state.mounted_at("/mnt")
    if mount is None or not mount.source.startswith("/dev/"):
        return state
    tree = read_target(folder, mount.source, state)
    known = state.tree(mount.source)
    if known.bootloader and not tree.bootloader:
        tree = replace(tree, bootloader=known.bootloader)
    return state.with_tree(mount.source, tree)


def read_target(folder: Path, device: str, state: SystemState) -> Tree:
    """What is known of the system below `folder`. Passwords are read as set or not, nothing else."""
    system = (folder / "usr").is_dir() and (folder / "etc").is_dir()
    if not system:
        return Tree(known=False)
    found = Tree(known=False, system=True)
    with contextlib.suppress(DomainError):
        found = facts.gather(_no_disks, root=folder, resolve="").live
    shadow = _passwords(folder)
    users = tuple(replace(user, password=user.name in shadow) for user in found.users)
    loader = next(
        (name for name, places in _LOADERS if any((folder / place).is_dir() for place in places)),
        "",
    )
    return replace(
        found, known=False, system=True, users=users, fstab=_mount_points(folder / _FSTAB),
        bootloader=loader, bootloader_device=_loader_device(loader, device, state),
        root_password="root" in shadow,
    )  # fmt: skip


def _no_disks(argv: list[str]) -> facts.Ran:
    """gather() asks for the disks of the machine; they are known here."""
    return facts.Ran(0, '{"blockdevices": []}') if argv[0] == "lsblk" else facts.Ran(127)


def _loader_device(loader: str, device: str, state: SystemState) -> str:
    """Where the boot loader would be: the partition below /mnt/boot/efi and the like, or the disk."""
    if loader == "grub-bios":
        disk, _, _ = vfs.find(state, device)
        return disk.path if disk else ""
    for target in ("/mnt/boot/efi", "/mnt/efi", "/mnt/boot"):
        mount = state.mounted_at(target)
        if loader and mount is not None:
            return mount.source
    return ""


def _passwords(folder: Path) -> set[str]:
    """Accounts that can log in with a password (shadow(5)): not locked, not empty."""
    found = set()
    with contextlib.suppress(OSError):
        for line in (folder / "etc/shadow").read_text("utf-8", "replace").splitlines():
            fields = line.split(":")
            if len(fields) > 1 and fields[1] and fields[1][0] not in "!*x":
                found.add(fields[0])
    return found


def _mount_points(path: Path) -> tuple[str, ...]:
    found = set()
    with contextlib.suppress(OSError):
        for line in path.read_text("utf-8", "replace").splitlines():
            fields = line.split()
            if len(fields) > 2 and not line.lstrip().startswith("#"):
                found.add("swap" if fields[2] == "swap" else fields[1])
    return tuple(sorted(found))
