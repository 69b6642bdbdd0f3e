"""What of a machine's content a command would take away, told from the machine before it.

    >>> [loss.what for loss in losses(command, outcome, explanation, state, ())]
    ['the ntfs file system on sda1']

A file system that was made in this conversation and is still empty is no loss, nor are partitions
without a file system that a command of the conversation made. A partition that was there before and
shows no file system may hold anything, so it counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmkit.domain import Explanation
from llmkit.installer import size
from llmkit.installer.explain_words import mount_of
from llmkit.installer.guard_names import disks_of
from llmkit.installer.interpret_types import Outcome
from llmkit.installer.review_refer import named
from llmkit.installer.state import Disk, Signature, SystemState

_KINDS = {
    "vfat": "FAT file system",
    "crypto_LUKS": "encrypted container",
    "LVM2_member": "LVM volume",
    "swap": "swap space",
    "linux_raid_member": "RAID member",
}
_BLANK = frozenset(  # types of partitions that hold nothing while they show nothing: EFI, swap
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "ef", "82")
)
UNKNOWN = "partition whose content is not known"
_MAKES = re.compile(
    r"\b(?:mklabel|mktable|mkpart|sfdisk|fdisk|cfdisk|gdisk)\b|\bsgdisk\b.*(?:-[noZzd]|--new|--zap|--clear)"
)
_ALL_NEW = re.compile(
    r"\b(?:mklabel|mktable)\b|\bsgdisk\b.*(?:-[a-zA-Z]*[Zzo]\b|--zap|--clear)|"
    r"\bsfdisk\b(?!.*(?:--append|\s-a\b|\s-N|--delete|--part-|\s-d\b))|\bwipefs\b.*-a|"
    r"\bfdisk\b|\bblkdiscard\b"
)
CONTENT = "content of "  # how the kind of a loss of files begins
_HOME = re.compile(r"(?:/mnt)?(?:/home/[^/*]+|/home|/root|)(?:/\*)?")
_PASSING = re.compile(
    r"(?:/mnt)?/(?:tmp|run|var/(?:tmp|cache|log|run|lock))/"
)  # comes again by itself
_BOOTS = re.compile(r"(?:/mnt)?/(?:boot|efi)/")
_NUMBERS = re.compile(r"(?:-n|--new=?)\s*(\d+):")


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that would be gone: on which disk, on which node, what it is."""

    disk: str  # path
    node: str  # path of the partition, mapping or disk
    kind: str  # "ext4 file system"; "partition whose content is not known"


def losses(
    command: str,
    outcome: Outcome,
    found: Explanation,
    state: SystemState,
    ran: Sequence[str],
) -> list[Loss]:
    """Everything that the command takes away; `ran`: the commands of the conversation so far."""
    lost: dict[tuple[str, str], Loss] = {}

    def add(disk: str, node: str, kind: str) -> None:
        lost.setdefault((node, kind), Loss(disk, node, kind))

    seen: set[str] = set()
    for event in outcome.events:
        node = event.device
        if event.kind == "remove" and event.detail.startswith("/"):
            _removed(event.detail, state, found.danger == "destructive", add)
            continue
        seen.add(node)
        if event.kind not in ("erase", "unpartition", "format") or not node:
            continue
        if event.detail.startswith("subvolume ") and not _empty(state, node):
            for disk in _owners(state, node):
                add(disk, node, event.detail)
            continue
        for held in _held(node, state, ran):
            add(*held)
    if found.destroys and found.danger in ("destructive", "forbidden"):
        blind = bool(outcome.opaque or outcome.unmodelled or outcome.uncertain)
        whole = {f"/dev/{name}" for name in found.destroys}
        for node in sorted(named(command, state)):
            if disks_of(state, node) & whole and (blind or _untold(node, seen, state)):
                for held in _held(node, state, ran):
                    add(*held)
    return list(lost.values())


def _untold(node: str, seen: set[str], state: SystemState) -> bool:
    """Whether no event has to do with a node: the way that the line took passes it by."""
    owners = disks_of(state, node)
    return node not in seen and not any(other and disks_of(state, other) & owners for other in seen)


def _owners(state: SystemState, node: str) -> set[str]:
    return disks_of(state, node) & {disk.path for disk in state.disks}


def _held(node: str, state: SystemState, ran: Sequence[str]) -> list[tuple[str, str, str]]:
    """What is on a node of the machine: (disk, node, kind)."""
    disk = state.disk(node)
    if disk is not None:
        found = _of(disk.path, disk.path, disk.signature, state, ran)
        if disk.signature is not None and disk.signature.kind in ("gpt", "dos", "PMBR"):
            found = []
        for part in disk.partitions:
            if part.role != "extended":
                found += _part(disk, part.number, state, ran)
        return found
    for disk in state.disks:
        for part in disk.partitions:
            if disk.partition_path(part.number) == node:
                return _part(disk, part.number, state, ran) if part.role != "extended" else []
    for mapping in (*state.mappings, *state.closed):
        if mapping.path == node:
            owners = sorted(_owners(state, node) or {""})
            return [
                item for owner in owners for item in _of(owner, node, mapping.signature, state, ran)
            ]
    return []


def _part(
    disk: Disk, number: int, state: SystemState, ran: Sequence[str]
) -> list[tuple[str, str, str]]:
    node = disk.partition_path(number)
    part = disk.partition(number)
    assert part is not None
    fresh = made(disk, number, ran) and not state.tree(node).known
    if fresh:  # what shows there is of before the table, and was given up with it
        return []
    if part.signature is None:
        if part.type in _BLANK or part.size <= 2 << 20:  # BIOS boot: 1 MiB
            return []
        return [(disk.path, node, UNKNOWN)]
    return _of(disk.path, node, part.signature, state, ran)


def _of(
    disk: str, node: str, held: Signature | None, state: SystemState, ran: Sequence[str]
) -> list[tuple[str, str, str]]:
    if held is None:
        return []
    if held.kind == "swap" and _made_by(node, ran, "mkswap"):
        return []
    if _empty(state, node) or _above_empty(state, node):
        return []
    return [(disk, node, _KINDS.get(held.kind, f"{held.kind} file system"))]


def _empty(state: SystemState, node: str) -> bool:
    """Whether a file system is known to hold nothing: it was made here, and nothing written."""
    tree = next((tree for path, tree in state.trees if path == node), None)
    return tree is not None and tree.known and not (
        tree.system or tree.files or tree.users or tree.bootloader
    )  # fmt: skip


def _above_empty(state: SystemState, node: str) -> bool:
    """Whether a container holds only what is known to be empty."""
    above = [m for m in (*state.mappings, *state.closed) if node in m.parents]
    return bool(above) and all(m.signature is None or _empty(state, m.path) for m in above)


def made(disk: Disk, number: int, ran: Sequence[str]) -> bool:
    """Whether a command of the conversation made a partition."""
    added = 0  # partitions that got whatever number was next
    for command in ran:
        if not re.search(rf"(?<![\w-]){re.escape(disk.path)}(?![\w-])", command):
            continue
        if _ALL_NEW.search(command):
            return True
        if _MAKES.search(command) and not re.search(r"\s-d\s*\d|--delete", command):
            numbers = _NUMBERS.findall(command)
            if str(number) in numbers:
                return True
            added += command.count("mkpart") + numbers.count("0")
            added += not numbers and "mkpart" not in command
    last = sorted(part.number for part in disk.partitions)[-added:] if added else []
    return number in last


def all_new(path: str, ran: Sequence[str]) -> bool:
    """Whether a command of the conversation gave a disk a new partition table."""
    return any(
        _ALL_NEW.search(command) and re.search(rf"(?<![\w-]){re.escape(path)}(?![\w-])", command)
        for command in ran
    )


def fresh(state: SystemState, node: str, ran: Sequence[str]) -> bool:
    """Whether a partition has a file system or swap that was made in this conversation."""
    return _empty(state, node) or _made_by(node, ran, "mkswap")


def _made_by(node: str, ran: Sequence[str], program: str) -> bool:
    return any(
        program in command and re.search(rf"(?<![\w-]){re.escape(node)}(?![\w-])", command)
        for command in ran
    )


def unused(lost: Sequence[Loss], state: SystemState, ran: Sequence[str]) -> bool:
    """Whether the disks that lose something have no partitions with a file system but those that were made
    in this conversation: somebody partitioned them, and nothing was put there yet."""
    disks = [disk for disk in state.disks if disk.path in {loss.disk for loss in lost}]
    return all(
        kind == UNKNOWN or _made_by(node, ran, "mkfs")
        for disk in disks
        for part in disk.partitions
        for _, node, kind in _part(disk, part.number, state, ran)
    )


def _removed(path: str, state: SystemState, folder: bool, add: object) -> None:
    """Files that are deleted: a home directory, or all there is at a mount point; and of a system that
    was there before the conversation every folder (`folder`), and what it boots with."""
    source = mount_of(path, state)
    if source is None or _empty(state, source):
        return
    assert callable(add)
    if _HOME.fullmatch(path):
        what = path.removesuffix("/*") or "/"
    elif not state.tree(source).known and not _PASSING.match(path) and (
        folder or _BOOTS.match(path)
    ):  # fmt: skip
        what = path
    else:
        return
    for disk in _owners(state, source):
        add(disk, source, f"{CONTENT}{what}")


def told(lost: Sequence[Loss], state: SystemState) -> str:
    """The losses in a sentence without its end: `erase everything on sda (…): its ntfs and …`."""
    pieces = []
    for path in dict.fromkeys(loss.disk for loss in lost):
        here = [loss for loss in lost if loss.disk == path]
        disk = state.disk(path)
        assert disk is not None
        pieces.append(_on(disk, here, state))
    return "; and ".join(pieces)


def _on(disk: Disk, lost: Sequence[Loss], state: SystemState) -> str:
    everything = {(node, kind) for _, node, kind in _held(disk.path, state, ())}
    if len(lost) > 1 and everything <= {(loss.node, loss.kind) for loss in lost}:
        return f"everything on {about(disk)}: {_kinds(lost)}"
    files = any(loss.kind.startswith(CONTENT) for loss in lost)
    if not files and (lost[0].node == disk.path or len(lost) == 1 and len(disk.partitions) == 1):
        where = "" if lost[0].node == disk.path else f" (on {_short(lost[0].node)})"
        return f"everything on {about(disk)}: {_kinds(lost)}{where}"
    return (
        f"{_listed([f'the {loss.kind} on {_short(loss.node)}' for loss in lost])}, of {about(disk)}"
    )


def _kinds(lost: Sequence[Loss]) -> str:
    files = [loss.kind for loss in lost if loss.kind.endswith(" file system")]
    rest = [loss.kind for loss in lost if not loss.kind.endswith(" file system")]
    kinds = list(dict.fromkeys(kind.removesuffix(" file system") for kind in files))
    parts = []
    if kinds:
        many = len(files) > 1
        parts.append(f"its {_listed(kinds)} file system{'s' if many else ''}")
    for kind in dict.fromkeys(rest):
        count = rest.count(kind)
        if kind.startswith("partition whose"):
            parts.append("a partition whose content is not known" if count == 1 else
                         f"{count} partitions whose content is not known")  # fmt: skip
        else:
            parts.append(f"its {kind}{'s' if count > 1 else ''}")
    return _listed(parts)


def about(disk: Disk) -> str:
    """nvme0n1 (476.9G Samsung 990 PRO)"""
    name = "".join(char for char in disk.model if char.isprintable()).strip()[:40].strip()
    return f"{disk.name} ({size.human(disk.size)}{f' {name}' if name else ''})"


def _short(node: str) -> str:
    return node.removeprefix("/dev/").removeprefix("mapper/")


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
