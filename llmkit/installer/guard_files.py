"""Paths that a command deletes, empties or writes over: how much of a system, and whose, they are.

    >>> whole(["/mnt/*"], "", state, "")
    'deletes everything in /mnt'

Files of a system that was there before the conversation may be anybody's; what was made in it can be
made again. Which is which is told by `Tree.known` (state.py), as the loss that is shown before a
command is (review_loss.py).
"""

from __future__ import annotations

import re
from posixpath import basename, dirname, normpath

from llmkit.installer import vfs
from llmkit.installer.guard_names import disks_of
from llmkit.installer.state import SystemState

_ALL = r"[*?]*\*[*?]*|(\[[^/\]]*\])+\*|\.\[?[^/]*\*|\{[^/]*\*[^/]*\}"  # a pattern for all there is
_TRAILING = re.compile(rf"(/({_ALL}))+$")
_EVERYTHING = re.compile(_ALL)
_BEFORE = r"(?:/mnt|/media/[^/]+|/run/media/[^/]+/[^/]+|)"
_PASSING = re.compile(rf"{_BEFORE}/(?:tmp|run|var/(?:tmp|cache|log|run|lock))(?:/|$)")
_BOOTS = re.compile(rf"{_BEFORE}/(?:boot|efi)/")
_AT_HOME = re.compile(rf"{_BEFORE}/home/[^/]+/")
_ACCOUNTS = re.compile(r"/etc/(?:passwd|shadow|group|gshadow)")
_SYSTEMS = frozenset(
    "etc usr var bin sbin lib lib32 lib64 libx32 opt srv dev proc sys run tmp snap mnt media cdrom "
    "boot efi EFI".split()
)
_REMADE = frozenset(("swapfile", "swap.img", "lost+found"))


def placed(path: str, cwd: str | None, root: str = "") -> str:
    """A word of a command as a path of the running system."""
    full = path if path.startswith("/") else f"{cwd or '/nowhere'}/{path}"
    plain = normpath(root + full if root else full)
    return plain[1:] if plain.startswith("//") else plain


def below(path: str, target: str) -> bool:
    """Whether `path` is `target`, or in it."""
    plain = normpath(path) if path else path
    return plain == target or plain.startswith(target.rstrip("/") + "/")


def live_targets(state: SystemState) -> list[str]:
    """Where the medium is mounted that this live system runs from."""
    live = {disk.path for disk in state.disks if disk.live}
    return [m.target for m in state.mounts if disks_of(state, m.source) & live and m.target != "/"]


def system_root(paths: list[str], cwd: str | None, root: str) -> str:
    """The system whose root, or everything right under it, is among these paths; "" for none."""
    for path in paths:
        plain = _TRAILING.sub("", placed(path, cwd, root)) or "/"
        if plain == "/":
            return "the whole running system"
        if plain in ("/mnt", root):
            return f"the whole system in {plain}"
    return ""


def whole(paths: list[str], cwd: str | None, state: SystemState, root: str) -> str:
    """Why deleting these paths deletes a whole system, or what it starts from; "" when it does not."""
    targets = {mount.target for mount in state.mounts} | {"/"}
    for path in paths:
        trimmed = _TRAILING.sub("", placed(path, cwd, root)) or "/"
        if trimmed in targets:
            name = "the whole running system" if trimmed == "/" else f"everything in {trimmed}"
            return f"deletes {name}"
        if any(below(trimmed, target) for target in live_targets(state)):
            return "deletes files of the live medium"
        if below(re.sub(r"^/mnt(?=/)", "", trimmed), "/sys"):
            return "deletes what the firmware needs"
    return ""


def takes_all(path: str) -> bool:
    """Whether a path ends in a pattern for all that is in its folder."""
    return _EVERYTHING.fullmatch(basename(path)) is not None


def was_there(path: str, state: SystemState) -> bool:
    """Whether a path (of the running system) may hold what was there before the conversation."""
    if _PASSING.match(path) or basename(path) in _REMADE:
        return False
    place = vfs.resolve(state, path)
    if place.key is None:
        return False
    if place.key == "":
        on_disk = any(m.target == "/" and m.source.startswith("/dev/") for m in state.mounts)
        return on_disk and all(name != place.inner for name, _ in state.live.files)
    held = vfs.tree(state, place.key)
    return not held.known and all(name != place.inner for name, _ in held.files)


def missed_when_deleted(path: str, state: SystemState) -> bool:
    """Whether somebody would miss this one file: somebody's own, an account file, what boots."""
    if not was_there(path, state):
        return False
    return bool(_BOOTS.match(path)) or _is_accounts(path) or _is_own(path, state)


def missed_when_replaced(path: str, state: SystemState, named: bool = True) -> bool:
    """Whether somebody would miss what this file held: the accounts, a document in somebody's home.
    Elsewhere (a disk of data, /etc) it is a step like others, as nobody knows whether the name was
    taken; a name without a dot may be a folder that is copied into."""
    if not was_there(path, state) or vfs.is_dir(state, path):
        return False
    name = basename(path)
    document = _AT_HOME.match(path) and "." in name.lstrip(".") and not name.startswith(".")
    return bool(named and document) or _is_accounts(path)


def _is_accounts(path: str) -> bool:
    return _ACCOUNTS.fullmatch(re.sub(rf"^{_BEFORE}(?=/etc/)", "", path)) is not None


def _is_own(path: str, state: SystemState) -> bool:
    """A file that is no part of a system: below /home or /root, on a disk of data."""
    relative = vfs.resolve(state, path).relative
    top = relative.split("/")[1]
    name = basename(path)
    if name.startswith(".") or top in _REMADE or not name:
        return False
    if re.fullmatch(rf"{_BEFORE}/(?:home|root)(?:/.*)?", dirname(path)):
        return True
    return top not in _SYSTEMS and not (dirname(relative) == "/" and _is_root(path, state))


def _is_root(path: str, state: SystemState) -> bool:
    """Whether a path lies in the root of a system: /mnt/vmlinuz, /initrd.img."""
    return vfs.resolve(state, path).relative == re.sub(r"^/mnt(?=/)", "", path)
