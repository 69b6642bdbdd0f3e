"""What happens to a disk when its partition table is written: nodes, old content, files, links.

    >>> usable("gpt", 1 << 30, 512)
    (34, 2097118)

The tools' own arithmetic is in sgdisk.py, parted_*.py, sfdisk.py and fdisk.py; all of them end in
`commit`. Old content: a partition that goes leaves its file system where it was, and a new
partition that starts at the same byte shows it again (checked with blkid -p, util-linux 2.38).
`Disk.stale` remembers it by offset. A GPT whose first copy was written over keeps its second copy
in the last sector, and sgdisk trips over it: `stale` then has an entry of kind "gpt-backup" there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from llmkit.installer import devices, size
from llmkit.installer.effects.registry import CommandFailed, DeviceBusy, Event
from llmkit.installer.state import Disk, Partition, Signature, SystemState

MIB = 1 << 20
GPT_ENTRIES = 16384  # bytes of GPT's entry array: 128 entries of 128 bytes
BACKUP = Signature("gpt-backup")
# a GPT that libfdisk made lets partitions begin at 1 MiB only, one by gdisk or parted at sector 34
FROM_MIB = Signature("gpt-from-1MiB")
# both copies of a GPT without the MBR that belongs to it: to all but sgdisk and wipefs, no table
BARE = Signature("gpt-bare")
# entries of Disk.stale that are no content
_MARKS = frozenset({BACKUP.kind, FROM_MIB.kind, BARE.kind})

# the bytes that blkid needs to know a signature: first byte, length (libblkid, superblocks/)
_MAGIC = {
    "ext2": (1080, 2), "ext3": (1080, 2), "ext4": (1080, 2), "f2fs": (1024, 4), "xfs": (0, 4),
    "btrfs": (65600, 8), "swap": (4086, 10), "vfat": (54, 36), "ntfs": (3, 8), "exfat": (3, 8),
    "crypto_LUKS": (0, 6), "LVM2_member": (512, 32), "iso9660": (32769, 5), "squashfs": (0, 4),
    "linux_raid_member": (4096, 256),
}  # fmt: skip
# mkfs.fat's sector carries the same 55 AA as an MBR: sgdisk takes it for one
MBR_LIKE = frozenset({"vfat", "ntfs", "exfat"})


def magic(kind: str) -> tuple[int, int]:
    """Where a signature lies on its device: the first byte and how many."""
    return _MAGIC.get(kind, (0, 4096))


def usable(table: str, disk_size: int, sector: int) -> tuple[int, int]:
    """The first and the last sector that a partition may have."""
    total = disk_size // sector
    if table != "gpt":
        return 1, total - 1
    first = 2 + -(-GPT_ENTRIES // sector)
    return first, total - first


def first_usable(disk: Disk) -> int:
    """The first sector that a partition of this disk may have, as its table says."""
    if any(kept.kind == FROM_MIB.kind for _, kept in disk.stale):
        return MIB // disk.sector
    return usable(disk.table or "gpt", disk.size, disk.sector)[0]


def is_protective(disk: Disk) -> bool:
    """Is the table no more than the MBR that protects a GPT, with the GPT gone (sgdisk -z)?"""
    return disk.table == "msdos" and any(part.type == "ee" for part in disk.partitions)


def protective(disk: Disk) -> Partition:
    """The one entry of such an MBR."""
    return Partition(1, disk.sector, disk.size - disk.sector, "ee")


def in_use(state: SystemState, disk: Disk, part: Partition) -> str:
    """Why a partition cannot be taken away ("mounted at /mnt"), or ""."""
    return devices.is_busy(state, disk.partition_path(part.number))


def target(state: SystemState, path: str, program: str, status: int = 1) -> Disk:
    """The disk that `path` names.

    Raises:
        NoSuchDevice: no such device.
        CommandFailed: it is a partition or a mapping (which these tools write a table into, but
            the kernel shows none of it), or the disk is read-only.
    """
    try:
        node = devices.require(state, path, program)
    except CommandFailed as failure:
        failure.status = status
        raise
    disk, part, _ = devices.find(state, node)
    if disk is None or part is not None:
        raise CommandFailed(
            f"{program}: {node} is not a whole disk; name the disk, like {state.disks[0].path}"
            if state.disks
            else f"{program}: {node} is not a whole disk",
            status=status,
        )
    return disk


def require_writable(disk: Disk, program: str, status: int = 1) -> None:
    """Raises:
    CommandFailed: the disk is read-only.
    """
    if disk.read_only:
        raise CommandFailed(f"{program}: {disk.path} is read-only", status=status)


def require_idle(state: SystemState, disk: Disk, program: str, status: int = 1) -> None:
    """Raises:
    DeviceBusy: the disk or one of its partitions is mounted, in use as swap, or mapped.
    """
    reason = devices.is_busy(state, disk.path)
    if reason:
        raise DeviceBusy(
            f"{program}: {disk.path} is in use ({reason}); unmount it first (umount, swapoff)",
            status=status,
        )


def _touched(extents: Iterable[tuple[int, int]], place: tuple[int, int]) -> bool:
    return any(start < place[1] and place[0] < end for start, end in extents)


def survivors(
    stale: Iterable[tuple[int, Signature]], written: Iterable[tuple[int, int]]
) -> dict[int, Signature]:
    """Old content that is left after bytes were written: extents are (first byte, end)."""
    extents = tuple(written)
    left = {}
    for offset, signature in stale:
        first, length = magic(signature.kind)
        lower, upper = offset + first, offset + first + length
        if signature is BACKUP or signature.kind == BACKUP.kind:
            lower, upper = offset, offset + 512
        if not _touched(extents, (lower, upper)):
            left[offset] = signature
    return left


def table_extents(table: str | None, disk_size: int, sector: int) -> tuple[tuple[int, int], ...]:
    """The bytes that writing a table covers. The first 446 bytes, the boot code, stay."""
    if table == "msdos":
        return ((446, 512),)
    head = 2 * sector + GPT_ENTRIES
    return ((446, 512), (sector, head), (disk_size - GPT_ENTRIES - sector, disk_size))


def _shown(signature: Signature | None, size_: int) -> Signature | None:
    """The signature, when a partition of that size reaches as far as it."""
    if signature is None or signature.kind in _MARKS:
        return None
    first, length = magic(signature.kind)
    return signature if first + length <= size_ else None


def copies(part: Partition) -> Iterator[tuple[int, Signature]]:
    """Where a partition that began there would show the file system of `part` as well: ext keeps
    copies of its superblock in block groups 1, 3, 5, 7 and their powers. With blocks of 1 KiB, as
    mke2fs takes below 512 MiB, those lie 1 KiB behind a multiple of 8 MiB, like the first one."""
    signature = part.signature
    if signature is None or signature.kind not in ("ext2", "ext3", "ext4"):
        return
    if part.size < 512 * MIB:
        for group in (1, 3, 5, 7, 9, 25, 27, 49):
            if 8 * MIB * group + MIB <= part.size:
                yield part.start + 8 * MIB * group, signature


def commit(
    state: SystemState,
    disk: Disk,
    table: str | None,
    parts: Iterable[Partition],
    *,
    written: Iterable[tuple[int, int]] = (),
    backup: bool | None = None,
    from_mib: bool | None = None,
    record_from: int = 0,
) -> tuple[SystemState, tuple[Event, ...]]:
    """Write a partition table.

    Args:
        disk: the disk as it is in `state`.
        parts: the new partitions; their signatures are looked up, whatever they carry.
        written: bytes that the tool writes beyond the table itself (wiped signatures, EBRs).
        backup: whether an old GPT's second copy is left; None: when it was there before.
        from_mib: whether libfdisk made this GPT; None: as it was.
        record_from: the first byte that is written of a new extended partition's first sector:
            parted leaves the 446 bytes before its table as they were (checked with blkid -p).
    """
    parts = tuple(sorted(parts, key=lambda part: part.number))
    extents = [*written]
    if table is not None:
        extents.extend(table_extents(table, disk.size, disk.sector))
    had = {part.start for part in disk.partitions if part.role == "extended"}
    extents.extend(
        (part.start + record_from, part.start + 512)
        for part in parts
        if part.role == "extended" and (part.start not in had or disk.table != table)
    )  # the first EBR
    old_here = {part.start: part for part in disk.partitions if part.role != "extended"}
    hidden: list[tuple[int, Signature]] = [
        item
        for item in disk.stale
        if item[1].kind not in _MARKS or (item[1].kind == BACKUP.kind and backup is None)
    ]
    hidden.extend(
        (start, part.signature) for start, part in old_here.items() if part.signature is not None
    )
    starts = {part.start for part in parts}
    for start, part in old_here.items():
        if start not in starts:
            hidden.extend(copies(part))
    left = survivors(hidden, extents)
    if backup:
        left[disk.size - disk.sector] = BACKUP
    if backup is None and table != "gpt" and any(old.kind == BARE.kind for _, old in disk.stale):
        head, tail = (disk.sector, disk.sector + 8), (disk.size - disk.sector, disk.size)
        if not _touched(extents, tail):  # an msdos table beside it: sgdisk trips over both alike
            whole_gpt = table is None and not _touched(extents, head)
            left[head[0] if whole_gpt else tail[0]] = BARE if whole_gpt else BACKUP
    new = []
    for part in parts:
        signature = None
        if part.role != "extended":
            signature = _shown(left.get(part.start), part.size)
            if signature is not None:
                del left[part.start]
        new.append(replace(part, signature=signature))
    if from_mib is None:
        from_mib = disk.table == "gpt" and first_usable(disk) * disk.sector == MIB
    if from_mib and table == "gpt":
        left[disk.sector] = FROM_MIB
    whole = disk.signature
    if whole is not None and not survivors(((0, whole),), extents):
        whole = None
    changed = replace(
        disk,
        table=table,
        partitions=tuple(new),
        signature=whole,
        stale=tuple(sorted(left.items(), key=lambda item: item[0])),
    )
    moved = _move_files(state, disk, changed)
    return devices.replace_disk(moved, changed), _events(disk, changed)


def _move_files(state: SystemState, old: Disk, new: Disk) -> SystemState:
    """Files and links follow their partition to its new number, or go with it."""
    before = {part.start: part for part in old.partitions}
    kept: dict[str, str] = {}  # old path → new path
    for part in new.partitions:
        same = before.get(part.start)
        if same is not None and same.signature == part.signature:
            kept[old.partition_path(same.number)] = new.partition_path(part.number)
    paths = {old.partition_path(part.number) for part in old.partitions}
    if whole_gone := (old.signature is not None and new.signature is None):
        paths.add(old.path)
    if all(kept.get(path) == path for path in paths) and not whole_gone:
        return state
    trees = dict(state.trees)
    moved = {kept[path]: trees[path] for path in kept if path in trees}
    rest = {path: tree for path, tree in trees.items() if path not in paths}
    gone = tuple(path for path in paths if kept.get(path) != path)
    state = devices.forget(state, gone)
    return replace(state, trees=tuple(sorted({**rest, **moved}.items(), key=lambda item: item[0])))


def _events(old: Disk, new: Disk) -> tuple[Event, ...]:
    before = {(p.number, p.start, p.size): p for p in old.partitions}
    after = {(p.number, p.start, p.size): p for p in new.partitions}
    events = []
    for key, part in before.items():
        if key not in after:
            detail = part.signature.kind if part.signature else size.human(part.size)
            events.append(Event("unpartition", old.partition_path(part.number), detail))
    if old.table is not None and new.table != old.table or old.signature and not new.signature:
        events.append(Event("erase", old.path, old.table or "file system"))
    if new.table is not None and new.table != old.table:
        events.append(Event("table", new.path, new.table))
    for key, part in after.items():
        if key not in before:
            path = new.partition_path(part.number)
            events.append(Event("partition", path, size.human(part.size)))
    return tuple(events)
