"""How dangerous a command is: read, change, destructive or forbidden.

`read` looks; `change` alters the machine and loses nothing that a person would miss; `destructive`
loses data (a file system, a partition, files); `forbidden` is what an assistant must not run:

- recursive delete of / or of a mounted root, and of all there is in one;
- deleting what the firmware keeps below /sys;
- writing to the live medium, or to a disk that holds a mounted file system outside /mnt;
- a fork bomb; piping the network into a shell; reading key material and sending it out.

One file that is written anew or deleted is a change: most steps of an installation are. It is a loss
where the file was there before the conversation and is somebody's own, holds the accounts, or boots
(guard_files.py), and where it is emptied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from posixpath import basename, normpath

from llmkit.installer import guard_files, vfs
from llmkit.installer.guard_devices import Call, awk_acts, awk_program_index, sed_scripts
from llmkit.installer.guard_levels import Level, disk_level
from llmkit.installer.guard_names import BARE, FOLDERS, Presence, canonical, disks_of, mentions
from llmkit.installer.guard_runs import find_starts
from llmkit.installer.guard_tools import (
    FILE_MARKERS,
    FILE_WRITERS,
    PRINTERS,
    READERS,
    is_disk_tool,
    is_known,
)
from llmkit.installer.state import SystemState

_FILE_TOOLS = frozenset(
    "rm find shred chmod chown chgrp mv unlink rmdir rsync".split()
)  # their operands are files, and devices among them
_SED_WRITES = re.compile(r"(?:^|[;}/\d$\s]|/[gIp\d]*)[wW]\s*(/[^\s;}]+)")
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
        return _writer(call, here, root)
    if program == "command":  # what it runs was taken out of it: `command -v` alone comes here
        return READ
    if is_disk_tool(program):
        return _disk_tool(call, here)
    if program in ("sed", "gsed"):
        edits = any(re.fullmatch(r"-[nErsuzb]*i.*|--i.*", w) for w in words)
        scripts = sed_scripts(args)
        files = tuple(w for i, w in enumerate(args) if i not in scripts) if edits else ()
        texts = [args[index] or "" for index in scripts if index < len(args)]
        writes = [path for text in texts for path in _SED_WRITES.findall(text)]
        for node in _nodes(replace(call, args=(*files, *writes)), here):
            return _on_device(node, here, "overwrites")
        return Danger("change", "edits a file") if edits or writes else READ
    if program in ("awk", "gawk", "mawk"):
        index = awk_program_index(args)
        acts = index is None or awk_acts(args[index])
        return Danger("change", "runs an awk program") if acts else READ
    if program in _ACTING_PRINTERS and words:
        return Danger("change", f"runs {program}")
    if program in READERS or program in PRINTERS or program in ("cd", "popd", "pushd", "jq"):
        acting = _ACTING_READERS.get(program)
        if acting and acting & set(words):
            return Danger("change", f"runs {program}")
        worst = READ
        for output in _outputs(program, words):
            worst = worse(worst, _written(output, call, here, root))
        return worst
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
    if not is_known(program) or program in FILE_WRITERS or program in _SAVERS:
        reads = program in _LOOKERS or program == "tar" and re.match(r"-?[a-zA-Z]*[xt]", words[0])
        for node in _nodes(call, here) if not reads else ():
            return _on_device(node, here, f"lets {program} write to")
        if program in _SHREDDERS:
            return Danger("destructive", "deletes files for good")
    return Danger("change", f"runs {program}" if program else "")


_SAVERS = frozenset("curl wget openssl gpg git vim vi nano emacs micro ssh-keygen".split())
_LOOKERS = frozenset(  # unknown otherwise; they read the device that they are handed, or mount it
    "ntfs-3g lowntfs-3g grub-probe grub2-probe os-prober ntfsinfo ntfsls ntfscluster xfs_info "
    "btrfs-find-root gzip zstd xz bzip2 pigz lz4 e4defrag fstrim sync iotop dislocker sg_inq "
    "sg_readcap lsscsi fatcat disktype ioping fio_read biosdecode isoinfo minfo".split()
)
_SHREDDERS = frozenset("wipe srm sfill sswap scrub secure-delete".split())
_OUTPUTS = {  # readers' options whose value they write
    "sort": ("-o", "--output"), "tree": ("-o",), "less": ("-o", "-O", "--log-file", "--LOG-FILE"),
    "history": ("-w", "-a"), "dmidecode": ("--dump-bin",), "hwinfo": ("--log",),
}  # fmt: skip


def _outputs(program: str, words: list[str]) -> list[str]:
    """What a program that otherwise reads is told to write."""
    if program in ("uniq", "xxd"):
        operands = [w for w in words if not w.startswith("-")]
        return operands[-1:] if len(operands) > 1 else []
    found = []
    for index, word in enumerate(words):
        for option in _OUTPUTS.get(program, ()):
            if word == option:
                found += words[index + 1 : index + 2]
            elif option.startswith("--") and word.startswith(f"{option}="):
                found.append(word[len(option) + 1 :])
            elif len(option) == 2 and re.match(rf"-[a-zA-Z]*{option[1]}", word):
                found += [word.partition(option[1])[2] or (words[index + 1 : index + 2] or [""])[0]]
    return [path for path in found if path]


def _written(path: str, call: Call, here: Presence, root: str, *, empty: bool = False) -> Danger:
    """The danger of giving a file new content, or none."""
    full = path if path.startswith("/") or not call.cwd else f"{call.cwd}/{path}"
    return worse(
        write_danger(full, here, call.roots),
        replaced(path, call.cwd, here.state, root, empty=empty),
    )


def replaced(
    path: str, cwd: str | None, state: SystemState, root: str = "", *, empty: bool = False
) -> Danger:
    """The danger to what a file held that is written anew, or emptied."""
    if not path.startswith("/") and not cwd:
        return READ  # nobody knows where
    full = guard_files.placed(path, cwd, root)
    if empty and guard_files.was_there(full, state):
        return Danger("destructive", f"empties {full}")
    if guard_files.missed_when_replaced(full, state):
        return Danger("destructive", f"replaces what {full} holds")
    return READ


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
    if any(guard_files.below(path, target) for target in guard_files.live_targets(here.state)):
        return Danger("forbidden", "writes to the live medium that this system runs from")
    if path.startswith("/proc/sysrq"):
        return Danger("destructive", "resets the machine at once")
    if re.fullmatch(r"/sys/.*/(delete|remove|reset|unbind)", normpath(path)):
        return Danger("destructive", f"takes a device away ({path})")
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


def _writer(call: Call, here: Presence, root: str) -> Danger:
    """dd, tee, cp, install, truncate, ln: the output is what matters."""
    program, words = call.program, [word for word in call.args if word is not None]
    operands = [w for w in words if not w.startswith("-")]
    empty = spares = False
    if program == "dd":
        outputs = [w[3:] for w in words if w.startswith("of=")]
        empty = "if=/dev/null" in words
    elif program in ("cp", "install", "ln"):
        outputs, sources = _targets(words, here.state, call.cwd, root, call.roots)
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
                return _on_device(node, here, "puts something else in the place of")
        return Danger("change", "makes a link")
    worst = READ if program in ("dd", "tee") else Danger("change", "writes files")
    for output in outputs:
        path = output if output.startswith("/") or not call.cwd else f"{call.cwd}/{output}"
        worst = worse(worst, write_danger(path, here, call.roots))
        if not spares:
            worst = worse(worst, replaced(output, call.cwd, here.state, root, empty=empty))
    return worst


def _shrinks(words: list[str]) -> bool:
    """truncate to a size: what lies beyond is gone."""
    sizes = [
        words[i + 1 : i + 2] for i, w in enumerate(words) if re.fullmatch(r"-[a-z]*s|--si.*", w)
    ]
    found = [size for pair in sizes for size in pair]
    found += [w.partition("s")[2] for w in words if re.fullmatch(r"-[a-z]*s.+", w)]
    found += [w.partition("=")[2] for w in words if w.startswith("--s") and "=" in w]
    return any(re.match(r"[-<]|[/0-9]", size) for size in found)


def _targets(
    words: list[str], state: SystemState, cwd: str | None, root: str, roots: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Where cp, mv, install and ln write, and what they take: `-t DIR`, a folder that is there."""
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
        return [], sources
    plain = canonical(guard_files.placed(target, cwd, root), roots)
    if into or target.endswith("/") or plain in FOLDERS or vfs.is_dir(state, plain):
        return [f"{target.rstrip('/')}/{basename(s.rstrip('/'))}" for s in sources], sources
    return [target], sources


def _files(call: Call, here: Presence, root: str) -> Danger:
    """rm, find -delete, shred, chmod -R, rsync --delete: files, and devices among them."""
    program, words = call.program, [word for word in call.args if word is not None]
    for node in _nodes(call, here) if program in ("shred", "rm", "mv", "unlink") else ():
        return _on_device(node, here, "destroys")
    if program == "find":
        return _find(call, here, root)
    if program == "rsync":
        return _rsync(call, here)
    if program in ("rm", "shred", "unlink", "rmdir"):
        return _deletes(call, here, root)
    recursive = any(re.fullmatch(r"-[a-zA-Z]*R[a-zA-Z]*|--rec.*", w) for w in words)
    if program == "mv":
        outputs, sources = _targets(words, here.state, call.cwd, root, call.roots)
        if bad := guard_files.system_root(sources, call.cwd, root):
            return Danger("forbidden", f"moves away {bad}")
        worst = Danger("change", "changes files")
        for output in outputs:
            path = output if output.startswith("/") or not call.cwd else f"{call.cwd}/{output}"
            worst = worse(worst, write_danger(path, here, call.roots))
            if not any(
                re.fullmatch(r"-[a-zA-Z]*[nib]\w*|--(no-cl|int|backup).*", w) for w in words
            ):
                worst = worse(worst, replaced(output, call.cwd, here.state, root))
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
                worst = worse(worst, _written(output, call, here, root))
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
            return _on_device(node, here, "overwrites")
    for option, verb in (
        ("--del", "copies files and deletes what is not in the source"),
        ("--remove-s", "copies files and deletes them in the source"),
    ):
        if any(w.startswith(option) for w in words):
            return Danger("destructive", verb)
    return Danger("change", "copies files")


def _deletes(call: Call, here: Presence, root: str) -> Danger:
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
