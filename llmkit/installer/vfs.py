"""Paths of a machine: which mount and which file system a path lies in, and what is known there.

    >>> resolve(state, "/mnt/etc/hostname")
    Place(key='/dev/sda2', inner='/etc/hostname', relative='/etc/hostname', ...)

`key` is the device whose Tree holds the file, "" for the running system's own files, None for
what is not tracked (tmpfs, proc). Questions have three answers: True, False, and None for "not
known". Device helpers (installer/devices.py) can be reached from here too.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from llmkit.installer import osfiles
from llmkit.installer.devices import (
    FILE_SYSTEMS,
    device,
    find,
    forget,
    is_busy,
    is_pseudo,
    listing,
    lv_name,
    nodes,
    normalise,
    overwrite,
    replace_disk,
    replace_partition,
    require,
    require_free,
    require_writable,
    set_label,
    set_signature,
    signature,
    size,
)
from llmkit.installer.failures import CommandFailed
from llmkit.installer.frozen import replace
from llmkit.installer.state import Mount, SystemState, Tree

__all__ = [  # helpers for devices and for paths in one place
    "FILE_SYSTEMS",
    "LIVE_SOURCE",
    "Place",
    "absolute",
    "check_root",
    "device",
    "exists",
    "find",
    "forget",
    "is_busy",
    "is_dir",
    "is_pseudo",
    "listing",
    "lv_name",
    "mkdir",
    "nodes",
    "normalise",
    "overwrite",
    "read_text",
    "remove",
    "replace_disk",
    "replace_partition",
    "require",
    "require_dir",
    "require_free",
    "require_parent",
    "require_writable",
    "resolve",
    "set_label",
    "set_signature",
    "signature",
    "size",
    "symlink",
    "system_tree",
    "tree",
    "with_tree",
    "write_text",
]

LIVE_SOURCE = "airootfs"  # the source of a bind mount of the live system's own directories
_PSEUDO_MOUNTS = {"/dev": "devtmpfs", "/proc": "proc", "/sys": "sysfs", "/run": "tmpfs",
                  "/tmp": "tmpfs"}  # fmt: skip
_EMPTY_ON_LIVE = ("/mnt/", "/media/")  # a live system's mount points hold nothing of their own


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads."""

    key: str | None  # device; "": the live system; None: not tracked
    inner: str  # absolute path within that tree
    relative: str  # path below the mount point: what it is called in the system mounted there
    mount: Mount | None
    path: str  # absolute path as the live system sees it


def absolute(path: str, root: str = "") -> str:
    """The path as the live system sees it: within `root` for a command in a chroot."""
    clean = normalise(path)
    if root:
        return root if clean == "/" else root + clean
    return clean


def resolve(state: SystemState, path: str, root: str = "") -> Place:
    """The mount and the tree that a path lies in (the latest mount over it counts)."""
    full = absolute(path, root)
    for mount in reversed(state.mounts):
        target = mount.target
        if target == "/":
            continue
        if full == target or (full.startswith(target) and full[len(target)] == "/"):
            relative = full[len(target) :] or "/"
            inner = relative
            if mount.root != "/":
                inner = mount.root if relative == "/" else mount.root + relative
            if mount.source.startswith("/dev/"):
                return Place(mount.source, inner, relative, mount, full)
            key = "" if mount.source == LIVE_SOURCE else None
            return Place(key, inner, relative, mount, full)
    for prefix in _PSEUDO_MOUNTS:
        if full.startswith(prefix) and (len(full) == len(prefix) or full[len(prefix)] == "/"):
            return Place(None, full, full, None, full)
    return Place("", full, full, None, full)


def tree(state: SystemState, key: str | None) -> Tree:
    """The tree of a place's key."""
    if key is None:
        return _UNTRACKED
    if not key:
        return state.live
    for path, held in state.trees:
        if path == key:
            return held
    return _UNKNOWN


_UNTRACKED = Tree(known=False, system=True)
_UNKNOWN = Tree(known=False)


def with_tree(state: SystemState, key: str | None, new: Tree) -> SystemState:
    """The state with another tree there; nothing happens where files are not tracked."""
    if key is None:
        return state
    return state.with_tree(key, new) if key else replace(state, live=new)


def system_tree(state: SystemState, root: str = "") -> tuple[str | None, Tree]:
    """Key and tree of the system that a command runs in: the live one, or the one at `root`.

    Raises:
        CommandFailed: chroot into something that is no system.
    """
    if not root:
        return "", state.live
    check_root(state, root)
    place = resolve(state, "/", root)
    return place.key, tree(state, place.key)


def check_root(state: SystemState, root: str) -> None:
    """Refuse a chroot into a directory that holds no system.

    Raises:
        CommandFailed: nothing is there to run (chroot's status 127, "no such file": /bin/bash).
    """
    if not root or root == "/":
        return
    place = resolve(state, "/", root)
    found = tree(state, place.key)
    if place.relative != "/" and is_dir(state, root) is False:
        raise CommandFailed(f"chroot: there is no directory {root}", status=125)
    bare = found.known and not found.system
    if bare or (place.key == "" and place.mount is None and root in ("/mnt", "/media")):
        raise CommandFailed(
            f"chroot: {root} holds no installed system yet: mount it and copy the system first",
            status=127,
        )


def is_dir(state: SystemState, path: str, root: str = "") -> bool | None:
    """Is there a directory at this path?"""
    place = resolve(state, path, root)
    if place.relative == "/" or any(
        mount.target == place.path or mount.target.startswith(place.path + "/")
        for mount in state.mounts
    ):
        return True
    if place.key is None:
        return False if place.path.startswith("/dev/") and exists(state, place.path) else None
    held = tree(state, place.key)
    inner = place.inner
    if inner in held.directories or (held.subvolumes and inner in held.subvolumes):
        return True
    if any(name == inner for name, _ in held.files):
        return False
    target = next((target for name, target in held.links if name == inner), None)
    if target is not None:
        return None
    if held.system:
        if place.relative in osfiles.DIRECTORIES:
            return True
        if place.relative in osfiles.FILES:
            return False
    if place.relative.startswith("/home/") and place.relative.count("/") == 2:
        name = place.relative[6:]
        if any(user.name == name and user.home for user in held.users):
            return True
    if place.key == "" and place.path.startswith(_EMPTY_ON_LIVE):
        return False
    if not held.known or (held.system and place.relative.startswith(osfiles.DEEP)):
        return None
    return False


def exists(state: SystemState, path: str, root: str = "") -> bool | None:
    """Is there anything at this path?"""
    full = absolute(path, root)
    if full.startswith("/dev/") or path.startswith("/dev/"):
        clean = normalise(path) if path.startswith("/dev/") else full
        if device(state, clean) is not None or is_pseudo(clean):
            return True
        return clean in _DEV_DIRECTORIES
    found = is_dir(state, path, root)
    if found:
        return True
    place = resolve(state, path, root)
    held = tree(state, place.key)
    inner = place.inner
    if any(name == inner for name, _ in held.files) or any(n == inner for n, _ in held.links):
        return True
    if osfiles.derived(held, place.relative) is not None:
        return True
    if held.system and place.relative in osfiles.FILES:
        return True
    return found


_DEV_DIRECTORIES = {"/dev/disk", "/dev/mapper", "/dev/pts", "/dev/shm", "/dev/input", "/dev/fd"}


def require_dir(state: SystemState, path: str, program: str, root: str = "") -> None:
    """Raises:
    CommandFailed: the path is known to be no directory.
    """
    if is_dir(state, path, root) is False:
        what = "is not a directory" if exists(state, path, root) else "does not exist"
        raise CommandFailed(f"{program}: {absolute(path, root)} {what}")


def require_parent(state: SystemState, path: str, program: str, root: str = "") -> None:
    """Raises:
    CommandFailed: the directory that would hold the path is known to be missing.
    """
    parent = posixpath.dirname(normalise(path))
    if is_dir(state, parent, root) is False:
        raise CommandFailed(
            f"{program}: cannot write {absolute(path, root)}: "
            f"there is no directory {absolute(parent, root)}"
        )


def mkdir(
    state: SystemState, path: str, *, parents: bool = False, program: str = "mkdir", root: str = ""
) -> SystemState:
    """Make a directory.

    Raises:
        CommandFailed: it exists (without `parents`), its parent does not, or a file is in the way.
    """
    clean = normalise(path)
    if parents:
        missing: list[str] = []
        while clean != "/" and is_dir(state, clean, root) is not True:
            if is_dir(state, clean, root) is False and exists(state, clean, root):
                raise CommandFailed(f"{program}: {absolute(clean, root)} is a file")
            missing.append(clean)
            clean = posixpath.dirname(clean)
        for item in reversed(missing):
            state = _add_directory(state, item, root)
        return state
    if exists(state, clean, root):
        raise CommandFailed(f"{program}: {absolute(clean, root)} exists already")
    require_parent(state, clean, program, root)
    return _add_directory(state, clean, root)


def _add_directory(state: SystemState, path: str, root: str) -> SystemState:
    place = resolve(state, path, root)
    if place.key is None:
        return state
    held = tree(state, place.key)
    if place.inner in held.directories:
        return state
    directories = tuple(sorted((*held.directories, place.inner)))
    return with_tree(state, place.key, replace(held, directories=directories))


def read_text(state: SystemState, path: str, root: str = "") -> str | None:
    """A file's content, or None when it is not known (or not there)."""
    place = resolve(state, path, root)
    held = tree(state, place.key)
    for name, content in held.files:
        if name == place.inner:
            return content
    return osfiles.derived(held, place.relative)


def write_text(
    state: SystemState, path: str, text: str | None, append: bool = False, root: str = ""
) -> SystemState:
    """Write a file, as `>` and `>>` do; `text` None is content that is not known. Files that
    configure a system (etc/hostname, etc/fstab, …) change their tree's fields.

    Raises:
        CommandFailed: the directory is missing, or the path is one.
    """
    full = absolute(path, root)
    if is_pseudo(full) or is_pseudo(path):
        return state
    if path.startswith("/dev/") or full.startswith("/dev/"):
        return overwrite(state, require(state, path if path.startswith("/dev/") else full))
    if is_dir(state, path, root):
        raise CommandFailed(f"cannot write {full}: it is a directory")
    require_parent(state, path, "cannot write", root)
    place = resolve(state, path, root)
    if place.key is None:
        return state
    held = tree(state, place.key)
    linked = next((target for name, target in held.links if name == place.inner), None)
    if linked is not None and linked.startswith("/") and linked != normalise(path):
        return state  # the file behind the link, which is not tracked
    old: str | None = ""
    if append and exists(state, path, root) is not False:
        old = read_text(state, path, root)
    whole = None if text is None or old is None else old + text
    held = _put(held, place.inner, whole)
    added = text if append else None
    return with_tree(state, place.key, osfiles.applied(held, place.relative, whole, added))


def _put(held: Tree, inner: str, content: str | None) -> Tree:
    rest = [item for item in held.files if item[0] != inner]
    rest.append((inner, content))
    rest.sort(key=lambda item: item[0])
    return replace(held, files=tuple(rest))


def symlink(state: SystemState, path: str, target: str, root: str = "") -> SystemState:
    """Make a symbolic link in place of whatever file was there.

    Raises:
        CommandFailed: the directory is missing.
    """
    require_parent(state, path, "ln", root)
    place = resolve(state, path, root)
    if place.key is None:
        return state
    held = tree(state, place.key)
    links = tuple(sorted([*(i for i in held.links if i[0] != place.inner), (place.inner, target)]))
    files = tuple(item for item in held.files if item[0] != place.inner)
    held = replace(held, links=links, files=files)
    return with_tree(state, place.key, osfiles.linked(held, place.relative, target))


def remove(state: SystemState, path: str, root: str = "") -> SystemState:
    """Forget a file, or a directory with all that is recorded below it; checks nothing."""
    place = resolve(state, path, root)
    if place.key is None:
        return state
    held = tree(state, place.key)
    inner = place.inner
    below = inner if inner.endswith("/") else inner + "/"

    def stays(name: str) -> bool:
        return name != inner and not name.startswith(below)

    new = replace(
        held,
        directories=tuple(name for name in held.directories if stays(name)),
        files=tuple(item for item in held.files if stays(item[0])),
        links=tuple(item for item in held.links if stays(item[0])),
    )
    return with_tree(state, place.key, osfiles.removed(new, place.relative))
