"""The command that takes a command back, where there is one.

    >>> undo_of("mount /dev/sda2 /mnt", before, after)
    'umount /mnt'

Mounts and unmounts, new folders, new users, the host name and the time zone can be taken back; what is erased
cannot. Every candidate is tried on the model first: it is offered only when the machine is then as
it was before.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from llmkit.installer.failures import Event
from llmkit.installer.frozen import replace
from llmkit.installer.guard import check_command
from llmkit.installer.run import run_command
from llmkit.installer.same import same
from llmkit.installer.state import SystemState, Tree

_TARGET = "/mnt"


def undo_of(command: str, before: SystemState, after: SystemState) -> str | None:
    """A line after which `after` is as `before`; None when none is known, or nothing to undo."""
    if same(before, after):
        return None
    events = [event for event in run_command(command, before).events if event.kind != "read"]
    if any(event.kind in ("erase", "unpartition", "format", "partition") for event in events):
        return None
    steps = [step for event in reversed(events) for step in _back(event, before, after)]
    steps += [step for step in _settings(before, after) if step not in steps]
    if not steps:
        return None
    line = " && ".join(dict.fromkeys(steps))
    outcome = run_command(line, after)
    if outcome.error or not same(_plain(outcome.state), _plain(before)):
        return None
    return line if check_command(line, after).allowed else None


def _back(event: Event, before: SystemState, after: SystemState) -> Iterator[str]:
    kind, detail = event.kind, event.detail
    if kind == "mount" and after.mounted_at(detail) is not None:
        yield f"umount {shlex.quote(detail)}"
    elif kind == "unmount" and event.device.startswith("/dev/"):
        yield f"mount {shlex.quote(event.device)} {shlex.quote(detail)}"
    elif kind == "swap" and detail == "on":
        yield f"swapoff {shlex.quote(event.device)}"
    elif kind == "file" and detail.startswith("/"):
        made = sorted(set(_folders(after)) - set(_folders(before)), key=len, reverse=True)
        for folder in made:
            if detail == folder or detail.startswith(f"{folder}/"):
                yield f"rmdir {shlex.quote(folder)}"
    elif kind == "user":
        for root, tree, old in _trees(before, after):
            gone = {user.name for user in tree.users} - {user.name for user in old.users}
            for name in sorted(gone):
                yield f"{_within(root)}userdel -r {shlex.quote(name)}"


def _settings(before: SystemState, after: SystemState) -> Iterator[str]:
    """Host name and time zone, back to what they were."""
    for root, tree, old in _trees(before, after):
        if tree.hostname != old.hostname:
            path = f"{root}/etc/hostname"
            if not root:
                yield f"hostnamectl set-hostname {shlex.quote(old.hostname)}"
            elif old.hostname:
                yield f"echo {shlex.quote(old.hostname)} > {path}"
            else:
                yield f"rm -f {path}"
        if tree.timezone != old.timezone:
            zone = f"/usr/share/zoneinfo/{old.timezone}"
            if old.timezone and not root:
                yield f"timedatectl set-timezone {shlex.quote(old.timezone)}"
            elif old.timezone:
                yield f"{_within(root)}ln -sf {shlex.quote(zone)} /etc/localtime"
            else:
                yield f"rm -f {root}/etc/localtime"


def _within(root: str) -> str:
    return f"arch-chroot {root} " if root else ""


def _trees(before: SystemState, after: SystemState) -> Iterator[tuple[str, Tree, Tree]]:
    """Where a system's settings are: (its root, now, before)."""
    yield "", after.live, before.live
    now, old = after.target_tree(), before.target_tree()
    if now is not None and old is not None:
        yield _TARGET, now, old


def _folders(state: SystemState) -> Iterator[str]:
    for mount in state.mounts:
        if mount.source.startswith("/dev/"):
            base = "" if mount.target == "/" else mount.target
            yield from (f"{base}{name}" for name in state.tree(mount.source).directories)
    yield from state.live.directories


def _plain(state: SystemState) -> SystemState:
    """Without the files behind host name and time zone, whose values are compared: setting one back
    writes a file that need not have been there."""
    trees = tuple((path, _bare(tree)) for path, tree in state.trees)
    return replace(state, live=_bare(state.live), trees=trees)


def _bare(tree: Tree) -> Tree:
    return replace(
        tree,
        files=tuple(item for item in tree.files if item[0] != "/etc/hostname"),
        links=tuple(item for item in tree.links if item[0] != "/etc/localtime"),
    )
