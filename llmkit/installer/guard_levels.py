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
    "dc3dd": "overwrites",
    "luksformat": "encrypts, erasing it:",
    "photorec": "writes what it finds to",
    "testdisk": "edits the partition table of",
    "cdrecord": "burns",
    "wodim": "burns",
    "growisofs": "burns",
    "sg_format": "erases",
    "ntfsresize": "resizes",
    "gdisk": "edits the partition table of",
    "cgdisk": "edits the partition table of",
    "cfdisk": "edits the partition table of",
    "fixparts": "edits the partition table of",
}
_SGDISK_READS = re.compile(
    r"-[pvPEFfLO]*([pvPEFfLO]|[iDab].*)|--(print|info|verify|first.*|end.*|list-types|pretend)\b.*"
)
_SGDISK_LOSES = re.compile(  # letters without a value may stand before, as popt takes them
    r"-[pvPEFfLOGse]*[oZzdlgmR].*|--(clear|zap|zap-all|delete|load-backup|mbrtogpt|replicate)\b.*"
)
_BADBLOCKS = re.compile(r"-[fsvX]*[wn].*")
_SIZE = re.compile(r"\d+(\.\d+)?[bBsSkKmMgGtTpPeE]?(i?B)?")
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
    if program.startswith("partclone."):
        reads = "-c" in words or "--clone" in words
        nodes = [w for w in words if w.startswith("/dev/")]
        to = {"-o", "-O", "--output", "--overwrite", "-r", "--restore", "-b", "--dev-to-dev"}
        loses = not reads or len(nodes) > 1 or to & set(words) and words[-1:] == nodes[-1:]
        return ("destructive", _ERASERS["dcfldd"]) if loses and program != "partclone.info" else (
            "read", "")  # fmt: skip
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
        if _shortened(pieces, _PARTED_LOSES):
            return "destructive", "removes or resizes partitions of"
        if _shortened(pieces, _PARTED_CHANGES):
            return "change", "changes the partition table of"
        return ("read", "") if pieces & {"print", "p", "-l", "--list", "unit", "align-check"} else (
            "change", "edits the partition table of")  # fmt: skip
    if program == "fdisk":
        return _fdisk_level(words, call.stdin)
    if program in ("gdisk", "ntfsresize") and set(words) & _LOOKS[program]:
        return "read", ""
    if program == "sfdisk":
        acts = any(re.match(r"--(del|reo|part-|act|app|wipe$|bac)|-[rNaAc]", w) for w in words)
        looks = re.compile(
            r"-[dlJFsVTgn]|--(dump|list|json|list-free|show-size|verify|list-types|no-act)"
        )
        if not acts and any(looks.fullmatch(w) for w in words):
            return "read", ""
        soft = {"-A", "--activate", "-a", "--append", "--part-type", "--part-label", "--part-uuid"}
        if set(words) & soft:
            return "change", "changes the partition table of"
        return "destructive", "rewrites the partition table of"
    if program == "wipefs":
        wipes = any(re.fullmatch(r"-[a-z]*[ao].*|--[ao].*", w) for w in words)
        wipes = wipes and not set(words) & {"-n", "--no-act"}
        return ("destructive", _ERASERS["wipefs"]) if wipes else ("read", "")
    if program in _ACTIONS:
        return _by_action(program, words)
    if program == "blockdev":
        reads = all(
            w.startswith("--get") or w == "--report" or not w.startswith("-") for w in words
        )
        return ("read", "") if reads else ("change", "changes settings of")
    if program == "badblocks":
        loses = any(_BADBLOCKS.fullmatch(w) for w in words)
        return ("destructive", _ERASERS[program]) if loses else ("read", "")
    if program in ("debugfs", "xfs_db") and any(re.fullmatch(r"-[a-zA-Z]*[wx]", w) for w in words):
        return "destructive", "writes by hand to"
    if program == "e2image":
        restores = any(re.fullmatch(r"-[a-zA-Z]*[Ira].*", w) for w in words)
        return ("destructive", "overwrites") if restores else ("change", "reads")
    if program == "systemd-repart":
        writes = any(w in ("--dry-run=no", "--dry-run=0", "--dry-run=false") or
                     w.startswith("--empty=") and w != "--empty=refuse" for w in words)  # fmt: skip
        return ("destructive", "partitions") if writes else ("change", "partitions")
    if program in _ERASERS:
        return "destructive", _ERASERS[program]
    if program in ("resize2fs", "lvresize") and _may_shrink(words):
        return "destructive", "resizes"
    if program in ("lvconvert", "vgimportclone"):
        return "destructive", "converts an LVM volume of"
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


def _shortened(pieces: set[str], names: frozenset[str]) -> bool:
    """Whether one of parted's commands is among the pieces, perhaps cut short as parted allows."""
    return any(
        piece in names or len(piece) > 2 and any(name.startswith(piece) for name in names)
        for piece in pieces
    )


def _may_shrink(words: list[str]) -> bool:
    """resize2fs, lvresize: a size that is not an addition, -M, a percentage taken away."""
    for word in words:
        value = word.partition("=")[2] if word.startswith("--") else word
        if re.fullmatch(r"-[a-zA-Z]*M[a-zA-Z]*", word) or _SIZE.fullmatch(value.lstrip("-")):
            return True
        short = re.fullmatch(r"-[Ll](.+)", word)
        if short and not short[1].startswith("+"):
            return True
        if re.fullmatch(r"-?\d+%\w*", value):
            return True
    return False


_LOOKS = {
    "gdisk": frozenset(("-l",)),
    "ntfsresize": frozenset("-i --info -m --info-mb-only -n --no-action -c --check".split()),
}
_ACTIONS = {
    "blkzone": ({"reset", "finish"}, {"report", "capacity"}, "erases"),
    "veritysetup": ({"format"}, {"dump", "status", "verify"}, "overwrites"),
    "integritysetup": ({"format"}, {"dump", "status"}, "overwrites"),
    "fsarchiver": ({"restfs", "restdir"}, {"savefs", "savedir", "archinfo", "probe"}, "overwrites"),
    "partimage": ({"restore", "restmbr"}, {"save", "imginfo"}, "overwrites"),
    "bcache": ({"make", "register"}, {"show"}, "turns into a cache, erasing it:"),
    "systemd-cryptenroll": ({"--wipe-slot"}, {"--tpm2-device=list"}, "removes a key of"),
    "cryptsetup": (
        {"luksFormat", "format", "reencrypt", "erase", "luksErase", "luksKillSlot", "luksRemoveKey",
         "luksHeaderRestore", "convert"},
        {"luksDump", "status", "isLuks", "luksUUID", "benchmark", "luksHeaderBackup"},
        "encrypts or erases",
    ),
    "dmsetup": ({"remove", "remove_all", "wipe_table"}, {"ls", "info", "status", "table", "deps"}, "removes"),
    "btrfs": (
        {"delete", "remove", "replace", "resize", "restore", "device add"},
        {"show", "list", "usage", "df", "get", "stats", "status", "du"},
        "removes or resizes on",
    ),
    "mdadm": (
        {"--create", "-C", "--zero-superblock", "--stop", "-S", "--remove", "-r", "--build", "-B",
         "--add", "-a", "--grow", "-G"},
        {"--detail", "-D", "--examine", "-E", "--query", "-Q", "--scan"},
        "changes a RAID on",
    ),
    "zpool": (
        {"create", "destroy", "labelclear", "remove", "add", "attach", "replace"},
        {"list", "status", "get"},
        "changes",
    ),
    "zfs": ({"destroy", "rollback", "receive"}, {"list", "get"}, "destroys"),
    "nvme": (
        {"format", "sanitize", "write", "write-zeroes", "dsm", "delete-ns", "write-uncor",
         "admin-passthru", "io-passthru", "create-ns", "copy"},
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
    actions = {word.partition("=")[0] if word.startswith("--") else word for word in words}
    if program == "btrfs":
        actions |= _btrfs(words)
    if actions & loses or any(_cut_short(program, action, loses) for action in actions):
        return "destructive", verb
    if actions & reads or not words:
        return "read", ""
    return "change", f"lets {program} change"


def _cut_short(program: str, word: str, names: set[str]) -> bool:
    """`--zero-super`, and mdadm's letters joined (`-Cv`)."""
    if word.startswith("--"):
        return len(word) > 4 and any(name.startswith(word) for name in names)
    if program == "mdadm" and re.fullmatch(r"-[a-zA-Z]+", word):
        return f"-{word[1]}" in names
    return False


def _btrfs(words: list[str]) -> set[str]:
    """`sub del`, `dev add -f`: btrfs takes names cut short."""
    plain = [word for word in words if word.isalpha()][:2]
    if len(plain) < 2:
        return set()
    group, action = plain
    whole = {name for name in ("delete", "remove", "replace", "resize", "restore")
             if len(action) > 2 and name.startswith(action)}  # fmt: skip
    if "device".startswith(group) and action in ("a", "ad", "add"):
        whole.add("device add")
    if "replace".startswith(group) and len(group) > 2 and "start".startswith(action):
        whole.add("replace")
    return whole


def _fdisk_level(words: list[str], stdin: str | None) -> tuple[Level, str]:
    if set(words) & {"-l", "--list", "-s", "-x", "--list-details"} or not words:
        return "read", ""
    verb = "edits the partition table of"
    if not stdin:
        return ("destructive" if stdin is None else "change"), verb
    lines = {line.strip()[:1] for line in stdin.splitlines() if line.strip() != "swap"}
    if "w" not in lines:
        return "read", ""
    return ("destructive" if lines & {"o", "g", "G", "s", "d"} else "change"), verb
