"""How dangerous a command is: read, change, destructive or forbidden.

`read` looks; `change` alters the machine and loses nothing that a person would miss; `destructive`
loses data (a file system, a partition, files); `forbidden` is what an assistant must not run:

- recursive delete of / or of a mounted root, and of all there is in one;
- writing to the live medium, or to a disk that holds a mounted file system outside /mnt;
- a fork bomb; piping the network into a shell; reading key material and sending it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from posixpath import normpath

from llmkit.installer.guard_devices import Call, awk_acts, awk_program_index
from llmkit.installer.guard_levels import Level, disk_level
from llmkit.installer.guard_names import BARE, Presence, disks_of, mentions
from llmkit.installer.guard_tools import (
    FILE_MARKERS,
    PRINTERS,
    READERS,
    is_disk_tool,
)
from llmkit.installer.state import SystemState

_FILE_TOOLS = frozenset(
    "rm find shred chmod chown chgrp mv unlink rmdir rsync".split()
)  # their operands are files, and devices among them
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
_QUIET_DISK_TOOLS = frozenset(  # they write nothing on the disk that they name
    "mount umount swapon swapoff partprobe partx blockdev efibootmgr udevadm eject pmount pumount "
    "losetup cryptsetup-open vgchange vgscan multipath delpart addpart systemd-mount gio "
    "udisksctl kpartx dmsetup zramctl bootctl".split()
)
_ACTING_READERS = {  # they look, unless one of these words is given
    "ip": frozenset("add del delete set change replace flush up down exec append".split()),
    "nmcli": frozenset("connect disconnect up down add modify delete on off hotspot edit".split()),
    "rfkill": frozenset(("block", "unblock", "toggle")),
    "iw": frozenset(("set", "add", "del", "connect", "disconnect")),
    "iwctl": frozenset(("connect", "disconnect", "set-property", "forget", "connect-hidden")),
    "date": frozenset(("-s", "--set")),
    "udevadm": frozenset(("trigger", "control")),
    "fuser": frozenset(("-k", "-km", "-mk", "--kill")),
    "dmesg": frozenset(("-C", "-c", "--clear")),
    "mokutil": frozenset(("--import", "--delete", "--reset", "--disable-validation")),
    "smartctl": frozenset(("-t", "--test", "-s", "--set")),
    "hwclock": frozenset(("-w", "--systohc", "-s", "--hctosys", "--set")),
}
_ACTING_PRINTERS = frozenset(("shutdown", "kill"))
_SECRETS = re.compile(
    r"/etc/g?shadow|id_(rsa|dsa|ecdsa|ed25519)(?!\.pub)\b|\.ssh(/|$|\s)|ssh_host_\w+_key(?!\.pub)|"
    r"\.gnupg|\.pem\b|\.key\b|keyfile|/etc/sudoers|/etc/ssl/private|\.netrc|\.aws/cred|"
    r"luksHeaderBackup|--dump-(master|volume)-key|wpa_supplicant\.conf|/etc/NetworkManager/system-|"
    r"\.password-store|/var/lib/iwd|crypto_keyfile"
)


def names_secret(text: str) -> bool:
    """Whether a word names key material: password hashes, private keys, saved network passwords."""
    return _SECRETS.search(text) is not None


def danger_of(call: Call, here: Presence, root: str = "") -> Danger:
    """The danger of one command in one state."""
    program, args = call.program, call.args
    words = [word for word in args if word is not None]
    if any(w in ("--help", "--version") for w in words) and len(args) == 1:
        return READ
    if program in _FILE_TOOLS:
        return _files(call, here, root)
    if program in ("dd", "tee", "cp", "install", "truncate", "fallocate", "ln"):
        return _writer(call, here)
    if is_disk_tool(program):
        return _disk_tool(call, here)
    if program in ("sed", "gsed"):
        edits = any(re.fullmatch(r"-[nErsz]*i.*|--in-place.*", w) for w in words)
        return Danger("change", "edits a file") if edits else READ
    if program in ("awk", "gawk", "mawk"):
        index = awk_program_index(args)
        acts = index is None or awk_acts(args[index])
        return Danger("change", "runs an awk program") if acts else READ
    if program in _ACTING_PRINTERS and words:
        return Danger("change", f"runs {program}")
    if program in READERS or program in PRINTERS or program in ("cd", "popd", "pushd", "jq"):
        acting = _ACTING_READERS.get(program)
        return Danger("change", f"runs {program}") if acting and acting & set(words) else READ
    if program in ("systemctl", "timedatectl", "hostnamectl", "localectl", "pacman", "apt"):
        return _service(program, words)
    if program in FILE_MARKERS:
        return Danger("change", "makes or marks files")
    if program in ("userdel", "deluser", "groupdel"):
        return Danger("destructive", "removes an account")
    if program in ("export", "declare", "typeset", "local", "readonly", "unset", "read", "shift",
                   "alias", "umask", "let", "test", "getopts", "history", "wait"):  # fmt: skip
        return READ
    if program in ("curl", "wget", "git", "genfstab", "nano", "hostname") and not words:
        return READ
    if program == "genfstab":
        return READ
    return Danger("change", f"runs {program}" if program else "")


def write_danger(path: str, here: Presence, roots: tuple[str, ...] = ("/mnt",)) -> Danger:
    """The danger of writing to a path: a redirection's target, an output file."""
    found = mentions(path, roots, tags=False)
    for mention in found:
        for name in mention.names:
            node = here.resolve(name)
            if node:
                return _on_device(node, here, "overwrites")
    if found:
        there = all(any(map(here.has, mention.names)) for mention in found)
        return READ if there else Danger("destructive", f"overwrites {found[0].name}")
    if any(_below(path, target) for target in _live_targets(here.state)):
        return Danger("forbidden", "writes to the live medium that this system runs from")
    if path.startswith("/proc/sysrq"):
        return Danger("destructive", "resets the machine at once")
    return Danger("change", "writes a file")


def _disk_tool(call: Call, here: Presence) -> Danger:
    level, verb = disk_level(call)
    nodes = _nodes(call, here)
    if level == "read":
        return READ
    if call.program not in _QUIET_DISK_TOOLS and not (
        call.program == "cryptsetup" and level == "change"
    ):
        for node in nodes:
            reason = _protected(node, here.state)
            if reason:
                return Danger("forbidden", f"{verb} {node}, {reason}")
    named = " and ".join(nodes) if nodes else "a disk"
    return Danger(level, f"{verb} {named}")


def _nodes(call: Call, here: Presence) -> list[str]:
    """Existing device nodes among the words, as canonical paths, in order."""
    found: list[str] = []
    for word in call.args:
        if word is None:
            continue
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


def _writer(call: Call, here: Presence) -> Danger:
    """dd, tee, cp, install, truncate, ln: the output is what matters."""
    words = [word for word in call.args if word is not None]
    if call.program == "dd":
        outputs = [w[3:] for w in words if w.startswith("of=")]
    elif call.program in ("cp", "install", "ln"):
        operands = [w for w in words if not w.startswith("-")]
        outputs = operands[-1:] + [w.partition("=")[2] for w in words if w.startswith("--target-d")]
    else:
        outputs = [w for w in words if not w.startswith("-")]
    if call.program == "ln":
        return Danger("change", "makes a link")
    worst = READ if call.program in ("dd", "tee") else Danger("change", "writes files")
    for output in outputs:
        path = output if output.startswith("/") or not call.cwd else f"{call.cwd}/{output}"
        worst = worse(worst, write_danger(path, here, call.roots))
    return worst


def _files(call: Call, here: Presence, root: str) -> Danger:
    """rm, find -delete, shred, chmod -R, rsync --delete: files, and devices among them."""
    program, words = call.program, [word for word in call.args if word is not None]
    for node in _nodes(call, here) if program in ("shred", "rm", "mv") else ():
        return _on_device(node, here, "destroys")
    if program == "find":
        if not {"-delete", "-exec", "-execdir", "-ok", "-okdir", "-fprint", "-fprintf"} & set(
            words
        ):
            return READ
        starts = []
        for word in words:
            if word.startswith(("-", "(", "!")):
                break
            starts.append(word)
        removes = "-delete" in words or bool({"rm", "shred", "unlink"} & set(words))
        if not removes:
            return Danger("change", "runs a command on every file that it finds")
        narrow = bool({"-name", "-iname", "-path", "-regex", "-user", "-empty"} & set(words))
        bad = _whole(starts, call, here.state, root) if not narrow else ""
        return Danger("forbidden", bad) if bad else Danger("destructive", "deletes files")
    if program == "rsync":
        deletes = any(w.startswith("--del") for w in words)
        level: Level = "destructive" if deletes else "change"
        return Danger(
            level, "copies files" + (" and deletes what is not in the source" if deletes else "")
        )
    if program in ("rm", "shred", "unlink", "rmdir"):
        recursive = any(re.fullmatch(r"-[a-zA-Z]*[rR][a-zA-Z]*|--recursive", w) for w in words)
        operands = [w for w in words if not w.startswith("-") or w == "-"]
        if recursive and program == "rm":
            bad = _whole(operands, call, here.state, root)
            return Danger("forbidden", bad) if bad else Danger(
                "destructive", "deletes a folder with all that is in it")  # fmt: skip
        if any(_below(w, t) for w in operands for t in _live_targets(here.state)):
            return Danger("forbidden", "deletes files of the live medium")
        return Danger("destructive" if program == "shred" else "change", "deletes files")
    if program in ("chmod", "chown", "chgrp", "mv"):
        recursive = any(re.fullmatch(r"-[a-zA-Z]*R[a-zA-Z]*|--recursive", w) for w in words)
        operands = [w for w in words if not w.startswith("-")]
        if program == "mv" or recursive:
            given = any(w.startswith("--reference") for w in words)
            paths = operands[:-1] if program == "mv" else operands[0 if given else 1 :]
            if bad := _system(paths, call, root):
                verb = "moves away" if program == "mv" else "changes the rights of"
                return Danger("forbidden", f"{verb} {bad}")
    return Danger("change", "changes files")


def _system(paths: list[str], call: Call, root: str) -> str:
    """The system whose root, or everything right under it, is among these paths; "" for none."""
    for path in paths:
        plain = re.sub(r"/\*$", "", _placed(path, call, root)) or "/"
        if plain == "/":
            return "the whole running system"
        if plain in ("/mnt", root):
            return f"the whole system in {plain}"
    return ""


def _whole(paths: list[str], call: Call, state: SystemState, root: str) -> str:
    """Why deleting these paths deletes a whole system; "" when it does not."""
    targets = {mount.target for mount in state.mounts} | {"/"}
    for path in paths:
        plain = _placed(path, call, root)
        trimmed = re.sub(r"(/(\*|\.\[?[^/]*\*|\{[^/]*\*[^/]*\}))+$", "", plain) or "/"
        if trimmed in targets:
            name = "the whole running system" if trimmed == "/" else f"everything in {trimmed}"
            return f"deletes {name}"
        if any(_below(trimmed, target) for target in _live_targets(state)):
            return "deletes files of the live medium"
    return ""


def _placed(path: str, call: Call, root: str) -> str:
    """A word of a command as a path of the running system."""
    full = path if path.startswith("/") else f"{call.cwd or '/nowhere'}/{path}"
    plain = normpath(root + full if root else full)
    return plain[1:] if plain.startswith("//") else plain


def _below(path: str, target: str) -> bool:
    plain = normpath(path) if path else path
    return plain == target or plain.startswith(target.rstrip("/") + "/")


def _live_targets(state: SystemState) -> list[str]:
    live = {disk.path for disk in state.disks if disk.live}
    return [m.target for m in state.mounts if disks_of(state, m.source) & live and m.target != "/"]


def _on_device(node: str, here: Presence, verb: str) -> Danger:
    reason = _protected(node, here.state)
    return Danger("forbidden", f"{verb} {node}, {reason}") if reason else Danger(
        "destructive", f"{verb} {node}")  # fmt: skip


def _protected(node: str, state: SystemState) -> str:
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


def _service(program: str, words: list[str]) -> Danger:
    reads = {"status", "list-units", "is-active", "is-enabled", "show", "cat", "list-unit-files",
             "list-timezones", "list-locales", "list-keymaps", "-Q", "-Qi", "-Ss", "-Si", "search",
             "policy", "--version", "hostname", "timesync-status", "list-timers"}  # fmt: skip
    action = next((w for w in words if not w.startswith("--")), "")
    if action in reads or not action:
        return READ
    return Danger("change", f"changes settings with {program}")


def worse(one: Danger, two: Danger) -> Danger:
    """The more dangerous of the two; of equals the first that says something."""
    if two.rank > one.rank or (two.rank == one.rank and not one.what):
        return two
    return one
