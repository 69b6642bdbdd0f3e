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
from dataclasses import replace

from llmkit.installer import guard_files, vfs
from llmkit.installer.guard_devices import Call, awk_acts, awk_program_index, sed_scripts
from llmkit.installer.guard_filetools import files, writer
from llmkit.installer.guard_levels import disk_level
from llmkit.installer.guard_loss import (
    LEVELS,
    READ,
    Danger,
    nodes,
    on_device,
    protected,
    replaced,
    worse,
    write_danger,
    written,
)
from llmkit.installer.guard_names import Presence, canonical, mentions
from llmkit.installer.guard_tools import (
    FILE_MARKERS,
    FILE_WRITERS,
    PRINTERS,
    READERS,
    is_disk_tool,
    is_known,
)

__all__ = [
    "LEVELS",
    "READ",
    "Danger",
    "danger_of",
    "names_secret",
    "replaced",
    "worse",
    "write_danger",
]
_FILE_TOOLS = frozenset(
    "rm find shred chmod chown chgrp mv unlink rmdir rsync".split()
)  # their operands are files, and devices among them
_SED_DELETES_ALL = re.compile(r"\s*(1\s*,\s*\$|/(\^|\$|\^?\.\*\$?)/)?\s*d\s*;?\s*")
_SED_WRITES = re.compile(r"(?:^|[;}/\d$\s]|/[gIp\d]*)[wW]\s*(/[^\s;}]+)")


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
        return files(call, here, root)
    if program in ("dd", "tee", "cp", "install", "truncate", "fallocate", "ln"):
        return writer(call, here, root)
    if program == "command":  # what it runs was taken out of it: `command -v` alone comes here
        return READ
    if is_disk_tool(program):
        return _disk_tool(call, here, root)
    if program in ("sed", "gsed"):
        edits = any(re.fullmatch(r"-[nErsuzb]*i.*|--i.*", w) for w in words)
        scripts = sed_scripts(args)
        edited = tuple(w for i, w in enumerate(args) if i not in scripts) if edits else ()
        texts = [args[index] or "" for index in scripts if index < len(args)]
        writes = [path for text in texts for path in _SED_WRITES.findall(text)]
        for node in nodes(replace(call, args=(*edited, *writes)), here):
            return on_device(node, here, "overwrites")
        worst = Danger("change", "edits a file") if edits or writes else READ
        if "-i" in words or "--in-place" in words:  # no copy is kept, as -i.bak would
            if len(texts) == 1 and _SED_DELETES_ALL.fullmatch(texts[0]):
                for file in (w for w in edited if w and not w.startswith("-")):
                    worst = worse(worst, replaced(file, call.cwd, here.state, root, empty=True))
        return worst
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
            worst = worse(worst, written(output, call, here, root))
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
        reads = (
            program in _LOOKERS
            or program == "tar"
            and re.match(r"-?[a-zA-Z]*[xt]", " ".join(words))
        )
        for node in nodes(call, here) if not reads else ():
            return on_device(node, here, f"lets {program} write to")
        if program in _SHREDDERS:
            return Danger("destructive", "deletes files for good")
        if any(
            _PACKS_AND_DELETES[program].fullmatch(w) for w in words if program in _PACKS_AND_DELETES
        ):
            return Danger("destructive", "deletes the files that it packs")
        worst = Danger("change", f"runs {program}" if program else "")
        for output in _outputs(program, words) if program in _SAVERS else ():
            if output != "-":
                worst = worse(worst, replaced(output, call.cwd, here.state, root))
        return worst
    return Danger("change", f"runs {program}" if program else "")


_SAVERS = frozenset("curl wget openssl gpg git vim vi nano emacs micro ssh-keygen".split())
_LOOKERS = frozenset(  # unknown otherwise; they read the device that they are handed, or mount it
    "ntfs-3g lowntfs-3g grub-probe grub2-probe os-prober ntfsinfo ntfsls ntfscluster xfs_info "
    "btrfs-find-root gzip zstd xz bzip2 pigz lz4 e4defrag fstrim sync iotop dislocker sg_inq "
    "sg_readcap lsscsi fatcat disktype ioping fio_read biosdecode isoinfo minfo".split()
)
_SHREDDERS = frozenset("wipe srm sfill sswap scrub secure-delete".split())
_PACKS_AND_DELETES = {
    "tar": re.compile(r"--remove-f\w*"), "bsdtar": re.compile(r"--remove-f\w*"),
    "zip": re.compile(r"-[a-zA-Z]*m[a-zA-Z]*|--move"), "7z": re.compile("-sdel"),
}  # fmt: skip
_OUTPUTS = {  # options whose value they write, of readers and downloaders
    "wget": ("-O", "--output-document"), "curl": ("-o", "--output"), "openssl": ("-out",),
    "gpg": ("-o", "--output"),
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


def _disk_tool(call: Call, here: Presence, root: str) -> Danger:
    level, verb = disk_level(call)
    found = nodes(call, here)
    if level == "read":
        return READ
    if call.program == "mkswap" and not found:
        last = call.args[-1] if call.args else None  # a file, where nothing else stands behind it
        if last and "/" in last and not last.startswith("-"):
            full = guard_files.placed(last, call.cwd, root)
            device = mentions(last, call.roots) or canonical(full, call.roots).startswith("/dev/")
            if not device and not guard_files.was_there(full, here.state):
                return Danger("change", f"makes {full} a swap file")
    if call.program in ("vgcreate", "vgextend"):  # what is no LVM volume yet becomes one
        held = [vfs.signature(here.state, node) for node in found]
        if any(mark is None or mark.kind != "LVM2_member" for mark in held):
            level, verb = "destructive", "gives to LVM, erasing it:"
    if call.program not in _QUIET_DISK_TOOLS and not (
        call.program == "cryptsetup" and level == "change"
    ):
        for node in found:
            reason = protected(node, here.state)
            if reason:
                return Danger("forbidden", f"{verb} {node}, {reason}")
    named = " and ".join(found) if found else "a disk"
    return Danger(level, f"{verb} {named}")


def _service(program: str, words: list[str]) -> Danger:
    reads = {"status", "list-units", "is-active", "is-enabled", "show", "cat", "list-unit-files",
             "list-timezones", "list-locales", "list-keymaps", "-Q", "-Qi", "-Ss", "-Si", "search",
             "policy", "--version", "hostname", "timesync-status", "list-timers"}  # fmt: skip
    action = next((w for w in words if not w.startswith("--")), "")
    if action in reads or not action:
        return READ
    return Danger("change", f"changes settings with {program}")
