"""Make file systems: mkfs.*, mke2fs, and the tools that change a label afterwards.

Taken from the manual pages and from what the tools of Debian 12 did on image files and loop
devices (e2fsprogs 1.47, dosfstools 4.2, btrfs-progs 6.2, xfsprogs 6.1, f2fs-tools 1.15): every one
refuses a device in use, even with -F or -f; btrfs, xfs and f2fs refuse an existing file system
or partition table without -f; mke2fs asks about one only on a terminal, so that it goes ahead here;
mkfs.fat refuses a disk that has partitions without -I; labels that are too long are cut by mke2fs
and refused by the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmkit.installer import vfs
from llmkit.installer.effects.getopt import Options, parse
from llmkit.installer.effects.registry import Argv, CommandFailed, DeviceBusy, Event, Result, effect
from llmkit.installer.size import human
from llmkit.installer.state import Signature, SystemState

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class _Tool:
    """What sets one mkfs apart from the others."""

    kind: str
    short: str
    long: tuple[str, ...] = ()
    label: tuple[str, ...] = ("-L",)
    longest: int = 0  # of a label, bytes; 0: no limit that matters
    smallest: int = 0  # device size, bytes
    force: tuple[str, ...] = ()  # what lets it overwrite an existing file system; (): never asks
    dry: tuple[str, ...] = ()  # what makes it only say what it would do
    status: int = 1


_E2 = "b:cd:e:g:i:jl:m:no:qr:s:t:vC:DE:FG:I:J:KL:M:N:O:R:ST:U:Vz:"
_BTRFS = ("byte-count=", "csum=", "checksum=", "data=", "metadata=", "mixed", "force", "nodesize=",
          "sectorsize=", "label=", "features=", "runtime-features=", "rootdir=", "uuid=",
          "nodiscard", "shrink", "quiet", "verbose", "version", "help")  # fmt: skip
_NTFS = ("sector-size=", "partition-start=", "heads=", "sectors-per-track=", "cluster-size=",
         "label=", "mft-zone-multiplier=", "zero-time", "with-uuid", "fast", "quick", "force",
         "no-action", "enable-compression", "no-indexing", "quiet", "verbose")  # fmt: skip
_TOOLS = {
    "ext2": _Tool("ext2", _E2, smallest=64 << 10, dry=("-n",)),
    "ext3": _Tool("ext3", _E2, smallest=2 * _MIB, dry=("-n",)),
    "ext4": _Tool("ext4", _E2, smallest=256 << 10, dry=("-n",)),
    "vfat": _Tool(
        "vfat", "aA:b:cCD:f:F:g:h:i:IlL:m:M:n:r:R:s:S:v",
        ("codepage=", "mbr=?", "variant=", "offset=", "invariant", "help"),
        label=("-n",), longest=11, smallest=64 << 10,
    ),
    "btrfs": _Tool(
        "btrfs", "A:b:fl:n:s:m:d:L:R:O:r:U:VvMKq", _BTRFS, label=("-L", "--label"), longest=255,
        smallest=114294784, force=("-f", "--force"),
    ),
    "xfs": _Tool(
        "xfs", "b:c:d:i:l:L:m:n:KNp:qr:s:CfV", longest=12, smallest=300 * _MIB,
        force=("-f",), dry=("-N",),
    ),
    "f2fs": _Tool(
        "f2fs", "a:c:C:d:e:E:g:hHil:mo:O:rR:s:S:z:t:T:U:Vfw:Z:", label=("-l",), longest=512,
        smallest=52 * _MIB, force=("-f",), status=255,
    ),
    "exfat": _Tool(
        "exfat", "n:L:U:s:c:b:fFVvqh", ("volume-label=", "volume-guid=", "sector-size=",
        "cluster-size=", "boundary-align=", "full-format", "pack-bitmap", "quiet"),
        label=("-L", "-n", "--volume-label"), longest=11, smallest=_MIB,
    ),
    "ntfs": _Tool(
        "ntfs", "s:p:H:S:c:L:z:TUfQFnCIqv", _NTFS, label=("-L", "--label"), longest=128,
        smallest=_MIB, dry=("-n", "--no-action"),
    ),
}  # fmt: skip
_ALIASES = {"fat": "vfat", "msdos": "vfat", "ntfs-3g": "ntfs"}


@effect("mkfs.ext2", "mkfs.ext3", "mkfs.ext4", "mkfs.vfat", "mkfs.fat", "mkfs.msdos", "mkfs.btrfs",
        "mkfs.xfs", "mkfs.f2fs", "mkfs.exfat", "mkfs.ntfs", "mkntfs", "mkdosfs")  # fmt: skip
def mkfs_kind(state: SystemState, argv: Argv) -> Result:
    """Make a file system of the kind that the program's name says.

    Covered: label, UUID, force, dry runs, several btrfs devices; features and tuning are accepted
    and have no effect. Not covered: file systems in regular files.
    """
    name = argv.program.removeprefix("mkfs.")
    name = {"mkntfs": "ntfs", "mkdosfs": "vfat"}.get(name, name)
    return _make(state, _TOOLS[_ALIASES.get(name, name)], argv.program, argv.args)


@effect("mke2fs")
def mke2fs(state: SystemState, argv: Argv) -> Result:
    """mke2fs(8): ext2 unless -j (ext3) or -t says otherwise."""
    options = parse("mke2fs", argv.args, _E2)
    kind = options.get("-t", default="ext3" if options.has("-j") else "ext2")
    if kind not in ("ext2", "ext3", "ext4"):
        raise CommandFailed(f"mke2fs: it makes ext2, ext3 and ext4, not {kind}")
    return _make(state, _TOOLS[kind], "mke2fs", argv.args)


@effect("mkfs")
def mkfs(state: SystemState, argv: Argv) -> Result:
    """mkfs(8), util-linux: hands over to mkfs.TYPE, ext2 when no -t is given."""
    words: list[str] = []  # what goes to the program behind
    kind = "ext2"
    rest = iter(argv.args)
    for word in rest:
        if word in ("-t", "--type"):
            kind = next(rest, "")
        elif word.startswith("--type="):
            kind = word[7:]
        elif word.startswith("-t") and not word.startswith("--"):
            kind = word[2:]
        elif word not in ("-V", "--verbose"):
            words.append(word)
    tool = _TOOLS.get(_ALIASES.get(kind, kind))
    if kind == "swap" or tool is None:
        raise CommandFailed(
            f"mkfs: there is no program mkfs.{kind}; try ext4, btrfs, xfs, f2fs or vfat"
            + (" (mkswap makes swap space)" if kind == "swap" else "")
        )
    return _make(state, tool, f"mkfs.{kind}", tuple(words))


def _make(state: SystemState, tool: _Tool, program: str, args: tuple[str, ...]) -> Result:
    options = parse(program, args, tool.short, tool.long, status=tool.status)
    if options.has("-V", "--version", "--help") and not options.operands:
        return Result(state, None)
    if not options.operands:
        raise CommandFailed(f"{program}: no device given", status=tool.status)
    several = tool.kind == "btrfs"
    label = _label(tool, program, options)
    uuid = _uuid(tool, program, options)
    events: list[Event] = []
    targets = options.operands if several else options.operands[:1]
    paths = [vfs.require(state, path, program) for path in targets]
    for node in paths:
        _refuse(state, tool, program, node, options)
    if options.has(*tool.dry):
        return Result(state, None)
    for node in paths:
        old = vfs.signature(state, node)
        disk, part, _ = vfs.find(state, node)
        if disk is not None and part is None:
            if disk.partitions:
                events.append(Event("erase", node, f"{len(disk.partitions)} partitions"))
            state = vfs.overwrite(state, node)
        if old is not None:
            events.append(Event("erase", node, old.kind))
        state = vfs.set_signature(state, node, Signature(tool.kind, label, uuid))
        events.append(Event("format", node, tool.kind))
    return Result(state, None, events=tuple(events))


def _label(tool: _Tool, program: str, options: Options) -> str:
    label = options.get(*tool.label, default="") or ""
    length = len(label.encode())
    if tool.kind.startswith("ext"):
        return label.encode()[:16].decode(errors="ignore")  # mke2fs warns and cuts
    if tool.longest and length > tool.longest:
        raise CommandFailed(
            f"{program}: the label {label!r} is too long: at most {tool.longest} characters",
            status=tool.status,
        )
    return label


def _uuid(tool: _Tool, program: str, options: Options) -> str:
    """The UUID asked for, or "" for a random one."""
    if tool.kind == "vfat":
        serial = options.get("-i")
        if serial is None:
            return ""
        if not re.fullmatch(r"[0-9a-fA-F]{1,8}", serial):
            raise CommandFailed(f"{program}: the volume ID must be up to 8 hexadecimal digits")
        serial = serial.upper().zfill(8)
        return f"{serial[:4]}-{serial[4:]}"
    if tool.kind == "xfs":
        values = [v for text in options.all("-m") for v in text.split(",") if v[:5] == "uuid="]
        value = values[-1][5:] if values else ""
    else:
        value = options.get("-U", "--uuid", default="") or ""
    if value in ("", "random", "time", "clear", "nil"):
        return ""
    if tool.kind in ("exfat", "ntfs"):
        return ""
    if not _UUID.fullmatch(value):
        raise CommandFailed(f"{program}: {value!r} is not a UUID", status=tool.status)
    return value.lower()


def _refuse(state: SystemState, tool: _Tool, program: str, node: str, options: Options) -> None:
    """Raise what makes the tool leave the device alone."""
    vfs.require_writable(state, node, program)
    disk, part, _ = vfs.find(state, node)
    reason = vfs.is_busy(state, node)
    if reason:
        raise DeviceBusy(
            f"{program}: {node} is in use: {reason}; it cannot be formatted now",
            status=tool.status,
        )
    size = vfs.size(state, node)
    if size < tool.smallest:
        raise CommandFailed(
            f"{program}: {node} is too small for {tool.kind}: it has {human(size)}, "
            f"{human(tool.smallest)} are needed",
            status=tool.status,
        )
    whole = disk is not None and part is None
    if tool.kind == "vfat":
        _refuse_fat(program, node, size, options, bool(whole and disk and disk.partitions))
    old = vfs.signature(state, node)
    if tool.force and not options.has(*tool.force):
        found = old.kind if old else disk.table if whole and disk else None
        if found:
            what = f"a {found} partition table" if old is None else f"a file system ({found})"
            raise CommandFailed(
                f"{program}: {node} holds {what} already; {tool.force[0]} overwrites it",
                status=tool.status,
            )


def _refuse_fat(program: str, node: str, size: int, options: Options, parted: bool) -> None:
    bits = options.get("-F")
    if bits is not None and bits not in ("12", "16", "32"):
        raise CommandFailed(f"{program}: the FAT size must be 12, 16 or 32, not {bits!r}")
    if bits == "16" and not 8400 << 10 < size <= 4096 * _MIB:
        raise CommandFailed(f"{program}: {node} has no size that FAT16 can have; use -F 32")
    if bits == "12" and size > 256 * _MIB:
        raise CommandFailed(f"{program}: {node} is too big for FAT12; use -F 32")
    if parted and not options.has("-I"):
        raise CommandFailed(
            f"{program}: {node} is a whole disk with partitions; name one of them, or -I to "
            "overwrite the disk"
        )


@effect("e2label", "fatlabel", "dosfslabel", "xfs_admin", "tune2fs", "btrfstune", "swaplabel",
        "exfatlabel", "ntfslabel", "f2fslabel")  # fmt: skip
def relabel(state: SystemState, argv: Argv) -> SystemState | Result:
    """Change or print the label of a file system.

    Covered: `e2label DEVICE [LABEL]` and its likes, `tune2fs -L -U`, `xfs_admin -L -U`,
    `swaplabel -L -U`. Other options of tune2fs are accepted and have no effect.
    """
    program = argv.program
    short = {
        "tune2fs": "c:C:e:E:fg:i:jJ:lL:m:M:o:O:Q:r:s:T:u:U:I:z:", "xfs_admin": "efjlpuc:L:U:O:r:V",
        "swaplabel": "L:U:hV", "btrfstune": "fmM:nrS:uU:xq",
    }.get(program, "hVilrfq")  # fmt: skip
    options = parse(program, argv.args, short)
    if not options.operands:
        raise CommandFailed(f"{program}: no device given")
    node = vfs.require(state, options.operands[0], program)
    kinds = {
        "e2label": ("ext2", "ext3", "ext4"), "tune2fs": ("ext2", "ext3", "ext4"),
        "fatlabel": ("vfat",), "dosfslabel": ("vfat",), "xfs_admin": ("xfs",),
        "btrfstune": ("btrfs",), "swaplabel": ("swap",), "exfatlabel": ("exfat",),
        "ntfslabel": ("ntfs",), "f2fslabel": ("f2fs",),
    }[program]  # fmt: skip
    old = vfs.signature(state, node)
    if old is None or old.kind not in kinds:
        held = f"holds {old.kind}" if old else "holds no file system"
        raise CommandFailed(f"{program}: {node} {held}, not {' or '.join(kinds[-1:])}")
    label = options.get("-L")
    if label is None and len(options.operands) > 1:
        label = options.operands[1]
    uuid = options.get("-U")
    if label is None and uuid is None:
        return Result(state, old.label + "\n" if program == "e2label" else None)
    if program == "xfs_admin":
        vfs.require_free(state, node, program)
    longest = {"vfat": 11, "xfs": 12, "ext2": 16, "ext3": 16, "ext4": 16, "swap": 15}.get(kinds[-1])
    if label is not None and longest and len(label.encode()) > longest:
        if not old.kind.startswith("ext") and old.kind != "swap":
            raise CommandFailed(f"{program}: a label has at most {longest} characters")
        label = label.encode()[:longest].decode(errors="ignore")
    if uuid is not None and not _UUID.fullmatch(uuid):
        uuid = ""  # random, time, generate
    new = vfs.set_label(state, node, old.label if label is None else label, uuid)
    return Result(new, None, events=(Event("file", node, f"label {label or ''}".strip()),))
