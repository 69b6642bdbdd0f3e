"""The levels of danger, and what is lost when a device or a file is written.

>>> write_danger("/dev/sda", presence(state)).what
'overwrites /dev/sda'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from posixpath import normpath

from llmkit.installer import guard_files
from llmkit.installer.guard_devices import Call
from llmkit.installer.guard_levels import Level
from llmkit.installer.guard_names import BARE, Presence, disks_of, mentions
from llmkit.installer.state import SystemState

LEVELS: tuple[Level, ...] = ("read", "change", "destructive", "forbidden")


@dataclass(frozen=True, slots=True)
class Danger:
    """A level, and in a beginner's words what brings it about ("erases /dev/sda1")."""

    level: Level = "read"
    what: str = ""

    @property
    def rank(self) -> int:
        return LEVELS.index(self.level)


READ = Danger()


def written(path: str, call: Call, here: Presence, root: str, *, empty: bool = False) -> Danger:
    """The danger of giving a file new content, or none."""
    full = path if path.startswith("/") or not call.cwd else f"{call.cwd}/{path}"
    return worse(
        write_danger(full, here, call.roots),
        replaced(path, call.cwd, here.state, root, empty=empty),
    )


def replaced(
    path: str,
    cwd: str | None,
    state: SystemState,
    root: str = "",
    *,
    empty: bool = False,
    named: bool = True,
) -> Danger:
    """The danger to what a file held that is written anew, or emptied. `named`: the line names the
    file itself, rather than a folder to put it in."""
    if not path.startswith("/") and not cwd:
        return READ  # nobody knows where
    full = guard_files.placed(path, cwd, root)
    if empty and guard_files.was_there(full, state):
        return Danger("destructive", f"empties {full}")
    if guard_files.missed_when_replaced(full, state, named):
        return Danger("destructive", f"replaces what {full} holds")
    return READ


def write_danger(path: str, here: Presence, roots: tuple[str, ...] = ("/mnt",)) -> Danger:
    """The danger of writing to a path: a redirection's target, an output file."""
    found = mentions(path, roots, tags=False)
    for mention in found:
        for name in mention.names:
            node = here.resolve(name)
            if node:
                return on_device(node, here, "overwrites")
    if found:
        there = all(any(map(here.has, mention.names)) for mention in found)
        return READ if there else Danger("destructive", f"overwrites {found[0].name}")
    if any(guard_files.below(path, target) for target in guard_files.live_targets(here.state)):
        return Danger("forbidden", "writes to the live medium that this system runs from")
    if path.startswith("/proc/sysrq"):
        return Danger("destructive", "resets the machine at once")
    if re.fullmatch(r"/sys/.*/(delete|remove|reset|unbind)", normpath(path)):
        return Danger("destructive", f"takes a device away ({path})")
    return Danger("change", "writes a file")


def nodes(call: Call, here: Presence) -> list[str]:
    """Existing device nodes among the words, as canonical paths, in order."""
    found: list[str] = []
    for word in call.args:
        if word is None:
            continue
        if re.fullmatch(r"/dev/nvme\d+", word):  # a controller: all that it has
            found += [d.path for d in here.state.disks if d.path.startswith(f"{word}n")]
        names = [name for m in mentions(word, call.roots) for name in m.names]
        if not names and BARE.fullmatch(word):
            names = [f"/dev/{word}"]
        if not names and call.cwd and "/" not in word:
            names = [normpath(f"{call.cwd}/{word}")]
        for name in names:
            node = here.resolve(name)
            if node:
                found.append(node)
                break
    return list(dict.fromkeys(found))


def on_device(node: str, here: Presence, verb: str) -> Danger:
    reason = protected(node, here.state)
    return Danger("forbidden", f"{verb} {node}, {reason}") if reason else Danger(
        "destructive", f"{verb} {node}")  # fmt: skip


def protected(node: str, state: SystemState) -> str:
    """Why a node must not be written: the live medium, or a disk in use; "" when it may."""
    disks = disks_of(state, node)
    for disk in state.disks:
        if disk.path in disks and disk.live:
            return "the medium that this live system runs from"
    for mount in state.mounts:
        if mount.target == "/mnt" or mount.target.startswith("/mnt/"):
            continue
        if mount.source.startswith("/dev/") and disks_of(state, mount.source) & disks:
            return f"whose disk is in use at {mount.target}"
    return ""


def worse(one: Danger, two: Danger) -> Danger:
    """The more dangerous of the two; of equals the first that says something."""
    if two.rank > one.rank or (two.rank == one.rank and not one.what):
        return two
    return one
