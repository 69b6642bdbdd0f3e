"""Unmount, and ask for mounts: umount, findmnt, mountpoint (util-linux 2.38).

From the manual pages and trials on loop devices: a device name undoes its latest mount; what is
mounted below keeps a mount busy; of several names those that can be unmounted are.
"""

from __future__ import annotations

from llmkit.installer import vfs
from llmkit.installer.effects.getopt import parse
from llmkit.installer.effects.mount import backwards
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
from llmkit.installer.state import SystemState


@effect("umount", "unmount")
def umount(state: SystemState, argv: Argv) -> Result:
    """Unmount (umount(8)).

    Covered: directories and devices, several of them (each on its own: what can be unmounted is),
    tags, -R (with everything below), -l (at once, with everything below), -A, -a, -f, -n, -r, -v.
    Raises CommandFailed (32) when nothing is mounted there, DeviceBusy while something is mounted
    below.
    """
    options = parse(
        "umount", argv.args, "aAcdfhilnN:O:qRrt:vV",
        ("all", "all-targets", "no-canonicalize", "detach-loop", "fake", "force", "help",
         "internal-only", "lazy", "no-mtab", "namespace=", "test-opts=", "recursive", "read-only",
         "types=", "verbose", "version", "quiet"),
    )  # fmt: skip
    if argv.program == "unmount":
        raise CommandFailed("unmount: there is no such command; it is called umount", status=127)
    recursive, lazy = options.has("-R", "--recursive"), options.has("-l", "--lazy")
    events: list[Event] = []
    failed: CommandFailed | None = None
    if options.has("-a", "--all"):
        kept = tuple(m for m in state.mounts if m.target == "/" or m.target.startswith("/run/"))
        gone = [Event("unmount", m.source, m.target) for m in state.mounts if m not in kept]
        return Result(replace(state, mounts=kept), "", events=tuple(gone))
    if not options.operands:
        raise CommandFailed("umount: no directory or device given")
    for word in options.operands:
        try:
            while True:
                index = _which(state, word, argv.root)
                if not recursive and not lazy:
                    _free(state, index)
                state, gone = _detach(state, index, recursive or lazy)
                events += gone
                if not options.has("-A", "--all-targets"):
                    break
                if not _again(state, word):
                    break
        except CommandFailed as error:
            failed = failed or error
    if failed is not None:
        failed.state, failed.events = state, tuple(events)
        raise failed
    return Result(state, "", events=tuple(events))


def _again(state: SystemState, word: str) -> bool:
    node = vfs.device(state, word)
    return node is not None and any(m.source == node for m in state.mounts)


def _which(state: SystemState, word: str, root: str) -> int:
    """The index of the mount that `word` (directory, device or tag) means."""
    node = vfs.device(state, word)
    if node is not None:
        for index in backwards(state):
            if state.mounts[index].source == node:
                return index
        raise CommandFailed(f"umount: {node} is not mounted", status=32)
    if word.startswith("/dev/") and not vfs.exists(state, word):
        raise NoSuchDevice(
            f"umount: {word} does not exist; this machine has {vfs.listing(state)}", status=32
        )
    full = vfs.absolute(word, root)
    for index in backwards(state):
        if state.mounts[index].target == full:
            return index
    if "=" in word and not word.startswith("/"):
        raise NoSuchDevice(f"umount: there is no device with {word}", status=32)
    if vfs.exists(state, word, root) is False:
        raise CommandFailed(f"umount: {full} does not exist", status=32)
    raise CommandFailed(f"umount: nothing is mounted at {full}", status=32)


def _below(state: SystemState, index: int) -> list[int]:
    """Mounts that lie on top of this one: later, and at or below its directory."""
    target = state.mounts[index].target
    prefix = target.rstrip("/") + "/"
    return [
        later
        for later in range(index + 1, len(state.mounts))
        if state.mounts[later].target == target or state.mounts[later].target.startswith(prefix)
    ]


def _free(state: SystemState, index: int) -> None:
    held = _below(state, index)
    target = state.mounts[index].target
    if held:
        raise DeviceBusy(
            f"umount: {target} is busy: {state.mounts[held[-1]].target} is mounted below it; "
            f"unmount that first, or umount -R {target}",
            status=32,
        )
    if target == "/":
        raise DeviceBusy("umount: / is the running system", status=32)
    for mount_ in state.mounts:  # a file on it is in use as a loop device
        if mount_.source.startswith(target + "/") and not mount_.source.startswith("/dev/"):
            raise DeviceBusy(f"umount: {target} is busy: {mount_.source} is mounted", status=32)


def _detach(state: SystemState, index: int, below: bool) -> tuple[SystemState, list[Event]]:
    gone = {index, *(_below(state, index) if below else ())}
    events = [
        Event("unmount", m.source if m.source.startswith("/dev/") else "", m.target)
        for i, m in reversed(list(enumerate(state.mounts)))
        if i in gone
    ]
    mounts = tuple(m for i, m in enumerate(state.mounts) if i not in gone)
    return replace(state, mounts=mounts), events


@effect("findmnt", "mountpoint")
def findmnt(state: SystemState, argv: Argv) -> Result:
    """Ask for mounts (findmnt(8), mountpoint(1)): status 1 when what is asked for is not mounted."""
    letters = "qdx" if argv.program == "mountpoint" else (
        "AabcCd:DeF:fhiJklM:mnN:o:O:pPrRsS:T:t:uUvVw::x")  # fmt: skip
    words = [w for w in argv.args if not w.startswith("--")]
    options = parse(argv.program, words, letters)
    asked = [*options.operands, *options.all("-M", "-S")]
    if options.has("-T"):  # any file: it is on some file system
        return Result(state, None, events=(Event("read"),))
    for word in asked[:1]:
        node = vfs.device(state, word)
        full = vfs.absolute(word, argv.root)
        if word.startswith("/dev/") and node is None:
            raise NoSuchDevice(f"{argv.program}: {word} does not exist")
        known = {m.target for m in state.mounts} | {"/", "/dev", "/proc", "/sys", "/run"}
        if full not in known and not any(m.source == node for m in state.mounts):
            raise CommandFailed(f"{argv.program}: nothing is mounted at {word}")
    return Result(state, None, events=(Event("read"),))
