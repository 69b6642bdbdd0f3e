"""Other names that a line gives to devices: links, copied nodes, /dev mounted somewhere else.

    >>> names_given(Call("ln", ("-s", "/dev/sda", "/tmp/x")), here, "")
    ['/tmp/x']

What a later part of the line does below such a name cannot be checked, and is refused.
"""

from __future__ import annotations

import re
from posixpath import basename

from llmkit.installer import vfs
from llmkit.installer.guard_devices import Call
from llmkit.installer.guard_files import below, placed
from llmkit.installer.guard_names import PSEUDO, Presence, canonical

_LETS_GO = frozenset(("umount", "rm", "rmdir", "unlink", "ls", "stat", "readlink", "findmnt"))


def names_given(call: Call, here: Presence, root: str) -> list[str]:
    """Paths, as the running system has them, that stand for devices after this command."""
    words = [word for word in call.args if word is not None]
    operands = [word for word in words if not word.startswith("-")]
    if call.program == "mount":
        return _mounted(words, call, here, root)
    copies = any(re.fullmatch(r"-[a-zA-Z]*[aRrdP][a-zA-Z]*|--(arc|rec|no-der).*", w) for w in words)
    if call.program not in ("ln", "mv") and not (call.program in ("cp", "rsync") and copies):
        return []
    into = [w.partition("=")[2] for w in words if w.startswith("--target-d") and "=" in w]
    target = into[0] if into else operands[-1] if operands else ""
    found = []
    for word in operands if into else operands[:-1]:
        if not _is_device(placed(word, call.cwd, root), here, call.roots):
            continue
        full = placed(target, call.cwd, root)
        found += [full, f"{full}/{basename(word)}"] if vfs.is_dir(here.state, full) else [full]
    return [path for path in found if not _below_dev(path, call.roots)]


def _mounted(words: list[str], call: Call, here: Presence, root: str) -> list[str]:
    binds = any(
        re.fullmatch(r"-[a-zA-Z]*[BRM]|--(r?bind|move)", w) or re.search(r"\br?bind\b", w)
        for w in words
    )
    of_dev = [w for w in words if w.startswith("/") and _below_dev(placed(w, ""), call.roots)]
    if "devtmpfs" not in words and "-tdevtmpfs" not in words and not (
        binds and any(here.resolve(canonical(w, call.roots)) is None for w in of_dev)
    ):  # fmt: skip
        return []
    target = placed(words[-1], call.cwd, root)
    return [] if _below_dev(target, call.roots) else [target]


def _is_device(path: str, here: Presence, roots: tuple[str, ...]) -> bool:
    plain = canonical(path, roots)
    return plain == "/dev" or plain.startswith("/dev/") and PSEUDO.fullmatch(plain) is None


def _below_dev(path: str, roots: tuple[str, ...]) -> bool:
    """Whether the checks of names see a path as one below /dev: /dev/x, /mnt/dev, /mnt/dev/x."""
    plain = canonical(f"{path}/x", roots)
    return plain.startswith("/dev/")


def named(call: Call, root: str, aliases: set[str]) -> str:
    """The first of `aliases` that a command's words lie in; "" when none does."""
    if call.program in _LETS_GO:
        return ""
    for word in call.args:
        for value in (word, word.rpartition("=")[2]) if word else ():
            if value and (found := within(value, call.cwd, root, aliases)):
                return found
    return ""


def within(path: str, cwd: str | None, root: str, aliases: set[str]) -> str:
    """The alias that a path is, or lies in; "" for none."""
    full = placed(path, cwd, root)
    return next((alias for alias in sorted(aliases) if below(full, alias)), "")
