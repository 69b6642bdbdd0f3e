"""btrfs: subvolumes, and the file system's own commands (btrfs(8))."""

from __future__ import annotations

import posixpath

from llmkit.installer import vfs
from llmkit.installer.effects.getopt import parse
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    DeviceBusy,
    Event,
    Result,
    effect,
)
from llmkit.installer.frozen import replace
from llmkit.installer.state import SystemState

_GROUPS = ("subvolume", "filesystem", "balance", "device", "scrub", "check", "rescue", "restore",
           "inspect-internal", "property", "send", "receive", "quota", "qgroup", "replace",
           "version", "help")  # fmt: skip
_READS = frozenset(
    ("list", "show", "get-default", "usage", "df", "du", "stats", "status", "dump-super",
     "dump-tree", "get")
)  # fmt: skip


def _whole(word: str, names: tuple[str, ...]) -> str:
    """The command that an unambiguous beginning means."""
    found = [name for name in names if name.startswith(word)]
    if word in names or len(found) != 1:
        return word
    return found[0]


@effect("btrfs")
def btrfs(state: SystemState, argv: Argv) -> Result:
    """btrfs(8): subvolume create, delete, snapshot, list, show, set-default; filesystem label,
    show, usage, resize, sync. Anything else only needs its devices and paths to exist."""
    words = [w for w in argv.args if w not in ("-v", "-q", "--verbose", "--quiet", "--dry-run")]
    if not words:
        raise CommandFailed("btrfs: no command given")
    group = _whole(words[0], _GROUPS)
    if group not in _GROUPS:
        raise CommandFailed(f"btrfs: unknown command {words[0]}")
    rest = tuple(words[1:])
    if group == "subvolume" and rest:
        return _subvolume(state, argv, rest)
    if group == "filesystem" and rest[:1] == ("label",) and len(rest) > 1:
        return _label(state, argv, rest[1:])
    for word in rest:
        if word.startswith("/dev/"):
            vfs.require(state, word, "btrfs")
        elif word.startswith("/") and vfs.exists(state, word, argv.root) is False:
            raise CommandFailed(f"btrfs: {vfs.absolute(word, argv.root)} does not exist")
    reads = bool(rest) and rest[0] in _READS or group in ("version", "help", "inspect-internal")
    return Result(state, None, events=(Event("read" if reads else "file", "", group),))


def _label(state: SystemState, argv: Argv, rest: tuple[str, ...]) -> Result:
    node = vfs.device(state, rest[0])
    if node is None:
        place = vfs.resolve(state, rest[0], argv.root)
        node = place.key or vfs.require(state, rest[0], "btrfs")
    if len(rest) < 2:
        signature = vfs.signature(state, node)
        return Result(state, f"{signature.label if signature else ''}\n", events=(Event("read"),))
    return Result(vfs.set_label(state, node, rest[1]), "", events=(Event("file", node, "label"),))


def _place(state: SystemState, argv: Argv, path: str) -> vfs.Place:
    """Where a path lies.

    Raises:
        CommandFailed: that is no btrfs file system.
    """
    place = vfs.resolve(state, path, argv.root)
    if place.mount is None or place.mount.fstype != "btrfs" or not place.key:
        kind = place.mount.fstype if place.mount else "the live system"
        raise CommandFailed(f"btrfs: {place.path} is not on a btrfs file system (it is on {kind})")
    return place


def _subvolume(state: SystemState, argv: Argv, words: tuple[str, ...]) -> Result:
    verbs = ("create", "delete", "list", "snapshot", "get-default", "set-default", "show",
             "find-new", "sync")  # fmt: skip
    verb = _whole(words[0], verbs)
    options = parse("btrfs", words[1:], "i:ci:CvRrs:aopugqtG:S:fH:" if verb != "delete" else "cCi:vR",
                    ("commit-after", "commit-each", "subvolid=", "verbose", "sort=", "recursive",
                     "parents", "delete-qgroup", "format=", "raw", "human-readable"))  # fmt: skip
    paths = options.operands
    if verb not in verbs:
        raise CommandFailed(f"btrfs: unknown command subvolume {words[0]}")
    if not paths:
        raise CommandFailed(f"btrfs: subvolume {verb} needs a path")
    if verb == "snapshot":
        _place(state, argv, paths[0])
        if len(paths) < 2:
            raise CommandFailed("btrfs: snapshot needs a source and a destination")
        target = paths[1]
        if vfs.is_dir(state, target, argv.root):
            target = posixpath.join(target, posixpath.basename(paths[0].rstrip("/")))
        return _create(state, argv, (target,))
    if verb == "create":
        return _create(state, argv, paths)
    if verb == "delete":
        return _delete(state, argv, paths)
    _place(state, argv, paths[-1])
    kind = "file" if verb == "set-default" else "read"
    return Result(state, None, events=(Event(kind),))


def _create(state: SystemState, argv: Argv, paths: tuple[str, ...]) -> Result:
    events = []
    for path in paths:
        place = _place(state, argv, path)
        if vfs.exists(state, path, argv.root):
            raise CommandFailed(f"btrfs: {place.path} exists already")
        vfs.require_parent(state, path, "btrfs", argv.root)
        held = vfs.tree(state, place.key)
        names = tuple(sorted({*held.subvolumes, place.inner}))
        state = vfs.with_tree(state, place.key, replace(held, subvolumes=names))
        events.append(Event("file", place.key or "", f"subvolume {place.inner}"))
    return Result(state, "", events=tuple(events))


def _delete(state: SystemState, argv: Argv, paths: tuple[str, ...]) -> Result:
    events = []
    for path in paths:
        place = _place(state, argv, path)
        held = vfs.tree(state, place.key)
        if place.inner not in held.subvolumes and held.known:
            raise CommandFailed(f"btrfs: {place.path} is no subvolume")
        prefix = place.inner.rstrip("/") + "/"
        for mount in state.mounts:
            if mount.source == place.key and mount.root == place.inner:
                raise DeviceBusy(f"btrfs: the subvolume {place.inner} is mounted at {mount.target}")
        if any(name.startswith(prefix) for name in held.subvolumes):
            raise CommandFailed(f"btrfs: {place.path} holds other subvolumes")
        state = vfs.remove(state, path, argv.root)
        held = vfs.tree(state, place.key)
        names = tuple(name for name in held.subvolumes if name != place.inner)
        state = vfs.with_tree(state, place.key, replace(held, subvolumes=names))
        events.append(Event("erase", place.key or "", f"subvolume {place.inner}"))
    return Result(state, "", events=tuple(events))
