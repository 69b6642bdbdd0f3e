"""The danger of the tools whose operands are files, and devices among them: rm, cp, mv, dd, find, …

    >>> deletes(Call("rm", ("/mnt/home/ann/thesis.odt",)), presence(state), "").level
    'destructive'

That is of a system that was there before the conversation (guard_files.py).
"""

from __future__ import annotations

import re
from itertools import pairwise
from posixpath import basename

from llmkit.installer import guard_files, vfs
from llmkit.installer.guard_devices import Call
from llmkit.installer.guard_loss import (
    READ,
    Danger,
    nodes,
    on_device,
    replaced,
    worse,
    write_danger,
    written,
)
from llmkit.installer.guard_names import FOLDERS, Presence, canonical
from llmkit.installer.guard_runs import find_starts
from llmkit.installer.state import SystemState


def writer(call: Call, here: Presence, root: str) -> Danger:
    """dd, tee, cp, install, truncate, ln: the output is what matters."""
    program, words = call.program, [word for word in call.args if word is not None]
    operands = [w for w in words if not w.startswith("-")]
    empty = spares = False
    named = True
    if program == "dd":
        outputs = [w[3:] for w in words if w.startswith("of=")]
        empty = "if=/dev/null" in words
    elif program in ("cp", "install", "ln"):
        outputs, sources, named = _targets(words, here.state, call.cwd, root, call.roots)
        empty = "/dev/null" in sources
        spares = any(re.fullmatch(r"-[a-zA-Z]*[nib]\w*|--(no-cl|inter|backup).*", w) for w in words)
        spares = spares or "-d" in words and program == "install"
    else:
        outputs = operands
        empty = program == "truncate" and _shrinks(words) or program == "tee" and call.stdin == ""
        spares = program == "tee" and any(
            re.fullmatch(r"-[a-z]*a[a-z]*|--append", w) for w in words
        )
        spares = spares or program == "fallocate" or program == "truncate" and not empty
    if program == "ln":
        for output in outputs:
            node = here.resolve(canonical(output, call.roots))
            if node:
                return on_device(node, here, "puts something else in the place of")
        worst = Danger("change", "makes a link")
        forced = any(re.fullmatch(r"-[a-zA-Z]*f[a-zA-Z]*|--force", w) for w in words)
        kept = any(re.fullmatch(r"-[a-zA-Z]*[ib]\w*|--(inter|backup).*", w) for w in words)
        for output in outputs if forced and not kept else ():
            worst = worse(worst, replaced(output, call.cwd, here.state, root, named=named))
        return worst
    worst = READ if program in ("dd", "tee") else Danger("change", "writes files")
    for output in outputs:
        path = output if output.startswith("/") or not call.cwd else f"{call.cwd}/{output}"
        worst = worse(worst, write_danger(path, here, call.roots))
        if not spares:
            worst = worse(
                worst, replaced(output, call.cwd, here.state, root, empty=empty, named=named)
            )
    return worst


def _shrinks(words: list[str]) -> bool:
    """truncate to nothing, or by or below a size. A size alone mostly makes a file."""
    sizes = [
        words[i + 1 : i + 2] for i, w in enumerate(words) if re.fullmatch(r"-[a-z]*s|--si.*", w)
    ]
    found = [size for pair in sizes for size in pair]
    found += [w.partition("s")[2] for w in words if re.fullmatch(r"-[a-z]*s.+", w)]
    found += [w.partition("=")[2] for w in words if w.startswith("--s") and "=" in w]
    return any(re.match(r"[-<]|0+([A-Za-z]|$)", size) for size in found)


def _targets(
    words: list[str], state: SystemState, cwd: str | None, root: str, roots: tuple[str, ...]
) -> tuple[list[str], list[str], bool]:
    """Where cp, mv, install and ln write, what they take, and whether the line names the file that
    is written, rather than a folder (`-t DIR`, one that is there)."""
    operands: list[str] = []
    into = ""
    for index, word in enumerate(words):
        if word.startswith("--target-d"):
            into = word.partition("=")[2] or (words[index + 1 : index + 2] or [""])[0]
        elif re.fullmatch(r"-[a-zA-Z]*t.*", word) and not word.startswith("--"):
            into = word.partition("t")[2] or (words[index + 1 : index + 2] or [""])[0]
        elif not word.startswith("-") and word != into:
            operands.append(word)
    target, sources = (into, operands) if into else ((operands or [""])[-1], operands[:-1])
    if not target:
        return [], sources, True
    plain = canonical(guard_files.placed(target, cwd, root), roots)
    if into or target.endswith("/") or plain in FOLDERS or vfs.is_dir(state, plain):
        return [f"{target.rstrip('/')}/{basename(s.rstrip('/'))}" for s in sources], sources, False
    return [target], sources, True


def files(call: Call, here: Presence, root: str) -> Danger:
    """rm, find -delete, shred, chmod -R, rsync --delete: files, and devices among them."""
    program, words = call.program, [word for word in call.args if word is not None]
    for node in nodes(call, here) if program in ("shred", "rm", "mv", "unlink") else ():
        return on_device(node, here, "destroys")
    if program == "find":
        return _find(call, here, root)
    if program == "rsync":
        return _rsync(call, here)
    if program in ("rm", "shred", "unlink", "rmdir"):
        return deletes(call, here, root)
    recursive = any(re.fullmatch(r"-[a-zA-Z]*R[a-zA-Z]*|--rec.*", w) for w in words)
    if program == "mv":
        outputs, sources, named = _targets(words, here.state, call.cwd, root, call.roots)
        if bad := guard_files.system_root(sources, call.cwd, root):
            return Danger("forbidden", f"moves away {bad}")
        worst = Danger("change", "changes files")
        into = (
            canonical(guard_files.placed(outputs[0], call.cwd, root), call.roots) if outputs else ""
        )
        for source in sources if into == "/dev/null" else ():
            full = guard_files.placed(source, call.cwd, root)
            if guard_files.missed_when_deleted(full, here.state):
                return Danger("destructive", f"throws away {full}")
        for output in outputs:
            path = output if output.startswith("/") or not call.cwd else f"{call.cwd}/{output}"
            worst = worse(worst, write_danger(path, here, call.roots))
            if not any(
                re.fullmatch(r"-[a-zA-Z]*[nib]\w*|--(no-cl|int|backup).*", w) for w in words
            ):
                worst = worse(worst, replaced(output, call.cwd, here.state, root, named=named))
        return worst
    if recursive:
        operands = [w for w in words if not w.startswith("-")]
        given = any(w.startswith("--reference") for w in words)
        if bad := guard_files.system_root(operands[0 if given else 1 :], call.cwd, root):
            return Danger("forbidden", f"changes the rights of {bad}")
    return Danger("change", "changes files")


def _find(call: Call, here: Presence, root: str) -> Danger:
    words = [word for word in call.args if word is not None]
    worst = READ
    for index, word in enumerate(words):
        if word in ("-fprint", "-fprintf", "-fprint0", "-fls"):
            for output in words[index + 1 : index + 2]:
                worst = worse(worst, written(output, call, here, root))
    if not {"-delete", "-exec", "-execdir", "-ok", "-okdir"} & set(words):
        return worst
    if "-delete" not in words and not {"rm", "shred", "unlink"} & set(words):
        return worse(worst, Danger("change", "runs a command on every file that it finds"))
    starts = [start or "" for start in find_starts(call.args) or (call.cwd or ".",)]
    narrow = bool({"-iname", "-path", "-regex", "-user", "-empty"} & set(words))
    narrow = narrow or any(
        word == "-name" and not guard_files.takes_all(following)
        for word, following in pairwise(words)
    )
    bad = guard_files.whole(starts, call.cwd, here.state, root) if not narrow else ""
    return worse(worst, Danger("forbidden", bad) if bad else Danger("destructive", "deletes files"))


def _rsync(call: Call, here: Presence) -> Danger:
    words = [word for word in call.args if word is not None]
    for node in [here.resolve(canonical(w, call.roots)) for w in words[-1:]]:
        if node:
            return on_device(node, here, "overwrites")
    for option, verb in (
        ("--del", "copies files and deletes what is not in the source"),
        ("--remove-s", "copies files and deletes them in the source"),
    ):
        if any(w.startswith(option) for w in words):
            return Danger("destructive", verb)
    return Danger("change", "copies files")


def deletes(call: Call, here: Presence, root: str) -> Danger:
    """rm, unlink, rmdir, shred."""
    program, words = call.program, [word for word in call.args if word is not None]
    recursive = any(re.fullmatch(r"-[a-zA-Z]*[rR][a-zA-Z]*|--rec.*", w) for w in words)
    operands = [w for w in words if not w.startswith("-") or w == "-"]
    if recursive and program == "rm":
        bad = guard_files.whole(operands, call.cwd, here.state, root)
        return Danger("forbidden", bad) if bad else Danger(
            "destructive", "deletes a folder with all that is in it")  # fmt: skip
    full = [guard_files.placed(word, call.cwd, root) for word in operands]
    live = guard_files.live_targets(here.state)
    if any(guard_files.below(path, target) for path in full for target in live):
        return Danger("forbidden", "deletes files of the live medium")
    if program == "shred":
        return Danger("destructive", "deletes files")
    for path in full if program != "rmdir" else ():
        many = guard_files.takes_all(path) and guard_files.was_there(path, here.state)
        if many or guard_files.missed_when_deleted(path, here.state):
            return Danger("destructive", f"deletes {path}")
    return Danger("change", "deletes files")
