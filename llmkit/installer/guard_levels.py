"""What each disk tool does with these options: look, change, or lose what was there.

    >>> disk_level(Call("sgdisk", ("-Z", "/dev/sda")))
    ('destructive', 'removes partitions of')

Taken from the tools' manual pages. An option that is not known counts as a change at least.
"""

from __future__ import annotations

import re
from typing import Literal

from llmkit.installer.guard_devices import Call
from llmkit.installer.guard_tools import READERS

Level = Literal["read", "change", "destructive", "forbidden"]
_ERASERS = {
    "wipefs": "removes the file system marks from",
    "blkdiscard": "throws away everything on",
    "shred": "overwrites",
    "scrub": "overwrites",
    "nwipe": "overwrites",
    "badblocks": "tests, and may overwrite,",
    "mkswap": "turns into swap space, erasing it:",
    "mkfs": "makes a new, empty file system on",
    "mke2fs": "makes a new, empty file system on",
    "pvcreate": "gives to LVM, erasing it:",
    "pvremove": "takes from LVM",
    "vgremove": "removes an LVM group",
    "lvremove": "removes an LVM volume",
    "lvreduce": "shrinks an LVM volume",
    "zpool": "changes a ZFS pool on",
    "mdadm": "changes a RAID on",
    "ddrescue": "overwrites",
    "dd_rescue": "overwrites",
    "dcfldd": "overwrites",
    "ntfsresize": "resizes",
    "gdisk": "edits the partition table of",
    "cgdisk": "edits the partition table of",
    "cfdisk": "edits the partition table of",
    "fixparts": "edits the partition table of",
}
_SGDISK_READS = re.compile(
    r"-[pivPEFfLO].*|--(print|info|verify|first.*|end.*|list-types|pretend)\b.*"
)
_SGDISK_LOSES = re.compile(
    r"-[oZzdlgmR].*|--(clear|zap|zap-all|delete|load-backup|mbrtogpt|replicate)\b.*"
)
_PARTED_LOSES = frozenset(("mklabel", "mktable", "rm", "resizepart", "resize"))
_PARTED_CHANGES = frozenset(("mkpart", "set", "name", "toggle", "disk_set", "type", "rescue",
                             "disk_toggle", "mkfs", "mkpartfs"))  # fmt: skip


def disk_level(call: Call) -> tuple[Level, str]:
    """Level and verb of a disk tool's call."""
    program = call.program
    words = [word for word in call.args if word is not None]
    if program in READERS or (program == "mount" and not call.args):
        return "read", ""
    if program.startswith(("mkfs.", "newfs", "mkdosfs", "mkntfs", "mkexfatfs", "make-bcache")):
        reads = any(w == "-N" for w in words) and program == "mkfs.xfs" or "-V" in words[:1]
        return ("read", "") if reads else ("destructive", _ERASERS["mkfs"])
    if program.startswith("fsck") or program in ("e2fsck", "xfs_repair", "btrfsck", "dosfsck"):
        return ("read", "") if "-n" in words or "-N" in words else ("change", "repairs")
    if program == "sgdisk":
        if any(_SGDISK_LOSES.fullmatch(w) for w in words):
            return "destructive", "removes partitions of"
        options = [w for w in words if w.startswith("-")]
        if all(_SGDISK_READS.fullmatch(w) for w in options):
            return "read", ""
        return "change", "changes the partition table of"
    if program == "parted":
        pieces = {piece for word in words for piece in word.split()}
        if pieces & _PARTED_LOSES:
            return "destructive", "removes or resizes partitions of"
        if pieces & _PARTED_CHANGES:
            return "change", "changes the partition table of"
        return ("read", "") if pieces & {"print", "p", "-l", "--list", "unit", "align-check"} else (
            "change", "edits the partition table of")  # fmt: skip
    if program == "fdisk":
        return _fdisk_level(words, call.stdin)
    if program == "sfdisk":
        if any(re.fullmatch(r"-[dlJFsVTgn]|--(dump|list|json|list-free|show-size|verify|list-types|"
                            r"no-act)", w) for w in words):  # fmt: skip
            return "read", ""
        soft = {"-A", "--activate", "-a", "--append", "--part-type", "--part-label", "--part-uuid"}
        if set(words) & soft:
            return "change", "changes the partition table of"
        return "destructive", "rewrites the partition table of"
    if program == "wipefs":
        wipes = any(re.fullmatch(r"-[a-z]*[ao].*|--(all|offset).*", w) for w in words)
        wipes = wipes and not set(words) & {"-n", "--no-act"}
        return ("destructive", _ERASERS["wipefs"]) if wipes else ("read", "")
    if program in ("cryptsetup", "dmsetup", "btrfs", "mdadm", "zpool", "zfs", "nvme", "hdparm"):
        return _by_action(program, words)
    if program == "blockdev":
        reads = all(
            w.startswith("--get") or w == "--report" or not w.startswith("-") for w in words
        )
        return ("read", "") if reads else ("change", "changes settings of")
    if program == "badblocks":
        return ("destructive", _ERASERS[program]) if set(words) & {"-w", "-n"} else ("read", "")
    if program in _ERASERS:
        return "destructive", _ERASERS[program]
    if program in ("resize2fs", "lvresize") and any(re.fullmatch(r"\d+[KMGTs]?|-M|-L-.*", w)
                                                    for w in words):  # fmt: skip
        return "destructive", "resizes"
    if program == "efibootmgr":
        return ("change", "changes the firmware's boot list on") if len(words) > 1 and set(
            words) - {"-v", "--verbose"} else ("read", "")  # fmt: skip
    if program == "losetup":
        reads = not words or set(words) <= {"-a", "-l", "--list", "--all", "-j"}
        return ("read", "") if reads else ("change", "attaches or detaches")
    if program == "bootctl":
        changes = {"install", "update", "remove", "set-default", "set-oneshot", "random-seed"}
        return ("change", "writes the boot loader of") if set(words) & changes else ("read", "")
    if program == "swapon":
        return ("read", "") if set(words) <= {"-s", "--show", "--summary"} else ("change", "uses")
    verbs = {"mount": "makes readable and writable", "umount": "detaches", "swapoff": "stops using",
             "partprobe": "reads again the partitions of"}  # fmt: skip
    return "change", verbs.get(program, f"lets {program} change")


_ACTIONS = {
    "cryptsetup": (
        {"luksFormat", "reencrypt", "erase", "luksErase", "luksKillSlot", "luksRemoveKey",
         "luksHeaderRestore", "convert"},
        {"luksDump", "status", "isLuks", "luksUUID", "benchmark", "luksHeaderBackup"},
        "encrypts or erases",
    ),
    "dmsetup": ({"remove", "wipe_table"}, {"ls", "info", "status", "table", "deps"}, "removes"),
    "btrfs": (
        {"delete", "remove", "replace", "resize", "restore"},
        {"show", "list", "usage", "df", "get", "stats", "status", "du"},
        "removes or resizes on",
    ),
    "mdadm": (
        {"--create", "-C", "--zero-superblock", "--stop", "-S", "--remove", "-r", "--build"},
        {"--detail", "-D", "--examine", "-E", "--query", "-Q", "--scan"},
        "changes a RAID on",
    ),
    "zpool": ({"create", "destroy", "labelclear", "remove"}, {"list", "status", "get"}, "changes"),
    "zfs": ({"destroy", "rollback", "receive"}, {"list", "get"}, "destroys"),
    "nvme": (
        {"format", "sanitize", "write", "write-zeroes", "dsm", "delete-ns", "write-uncor"},
        {"list", "id-ctrl", "id-ns", "smart-log", "error-log", "list-subsys", "show-regs"},
        "erases",
    ),
    "hdparm": (
        {"--security-erase", "--security-erase-enhanced", "--trim-sector-ranges", "--write-sector",
         "--make-bad-sector", "--repair-sector", "--security-set-pass"},
        {"-I", "-i", "-t", "-T", "-tT", "-C", "-g"},
        "erases",
    ),
}  # fmt: skip


def _by_action(program: str, words: list[str]) -> tuple[Level, str]:
    loses, reads, verb = _ACTIONS[program]
    actions = set(words)
    if actions & loses:
        return "destructive", verb
    if actions & reads or not words:
        return "read", ""
    return "change", f"lets {program} change"


def _fdisk_level(words: list[str], stdin: str | None) -> tuple[Level, str]:
    if set(words) & {"-l", "--list", "-s", "-x", "--list-details"} or not words:
        return "read", ""
    verb = "edits the partition table of"
    if not stdin:
        return ("destructive" if stdin is None else "change"), verb
    lines = {line.strip() for line in stdin.splitlines()}
    if "w" not in lines:
        return "read", ""
    return ("destructive" if lines & {"o", "g", "G", "s", "d"} else "change"), verb
