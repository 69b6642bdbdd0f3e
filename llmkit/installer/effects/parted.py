"""parted -s: make and change partition tables (parted(8), parted 3.5).

    parted -s /dev/sda mklabel gpt mkpart ESP fat32 1MiB 513MiB set 1 esp on mkpart root 513MiB 100%

One call may hold several commands. Each is written to the disk before the next one starts, and the
first that fails ends the call (status 1) with the earlier ones in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmkit.installer import devices
from llmkit.installer.effects import getopt, gpt, layout
from llmkit.installer.effects.parted_fit import (
    Constraint,
    Label,
    Range,
    Slot,
    Units,
    ends_in_iec,
    sector_of,
    snap,
    unit_of,
)
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    DeviceBusy,
    Event,
    Result,
    effect,
)
from llmkit.installer.state import Disk, Partition, SystemState

_WRITTEN = ((0, 17408),)  # mklabel clears the start of the disk
_LABELS = ("gpt", "msdos", "aix", "amiga", "bsd", "dvh", "mac", "pc98", "sun", "atari", "loop")
_ALIGNMENTS = {"none": 0, "cylinder": 0, "minimal": 0, "optimal": 1}
_UNIT_NAMES = ("s", "B", "kB", "MB", "GB", "TB", "compact", "cyl", "chs", "%", "kiB", "MiB",
               "GiB", "TiB")  # fmt: skip
_HIDDEN = {"01": "11", "04": "14", "06": "16", "07": "17", "0b": "1b", "0c": "1c", "0e": "1e"}
_SHOWN = {hidden: shown for shown, hidden in _HIDDEN.items()}
_LBA = {"0b": "0c", "06": "0e", "04": "0e", "1b": "1c", "16": "1e", "14": "1e", "05": "0f"}
_NO_LBA = {"0c": "0b", "0e": "06", "1c": "1b", "1e": "16", "0f": "05"}


@dataclass(slots=True)
class _Session:
    """One call of parted: the machine as it is by now, and the disk it works on."""

    state: SystemState
    disk: str  # kernel name
    optimal: bool
    answers: bool  # parted may ask (no -s): what would ask fails
    unit: str = "m"
    events: tuple[Event, ...] = ()
    systems: dict[int, str] = field(default_factory=dict)  # start → mkpart's file system word
    lba: set[int] = field(default_factory=set)  # starts of the msdos partitions seen with LBA types

    def current(self) -> Disk:
        found = self.state.disk(self.disk)
        assert found is not None  # parted never removes a disk
        return found

    def units(self) -> Units:
        disk = self.current()
        return Units(disk.size // disk.sector, disk.sector, self.unit)

    def label(self) -> Label:
        """Read the table.

        Raises:
            CommandFailed: there is none.
        """
        disk = self.current()
        if disk.table is None or layout.is_protective(disk):
            raise CommandFailed(
                f"parted: {disk.path} has no partition table; make one with mklabel gpt"
            )
        first, last = layout.usable(disk.table, disk.size, disk.sector)
        first = layout.first_usable(disk)
        slots = [
            Slot(
                part.number, part.start // disk.sector, part.end // disk.sector - 1, part.role,
                part.type, part.name, part.flags, part.partuuid,
            )
            for part in disk.partitions
        ]  # fmt: skip
        return Label(disk.table, disk.size // disk.sector, first, last, slots)

    def save(self, label: Label, written: tuple[Range, ...] = (), fresh: bool = False) -> None:
        disk = self.current()
        layout.require_writable(disk, "parted")
        sector = disk.sector
        parts = [
            Partition(
                slot.number, slot.start * sector, (slot.end - slot.start + 1) * sector, slot.type,
                slot.role, slot.name, slot.flags, slot.partuuid,
            )
            for slot in label.slots
        ]  # fmt: skip
        records = [
            (place * sector, place * sector + 512)
            for slot in label.slots
            if slot.role == "logical" and slot.number != 5
            for place in (label.metadata_start(slot),)
        ]
        self.state, events = layout.commit(
            self.state,
            disk,
            label.kind,
            parts,
            written=(*written, *records),
            backup=False if fresh or label.kind == "gpt" else None,
            from_mib=False if fresh else None,
            record_from=446,
        )
        self.events += events

    def usual_type(self, slot: Slot, kind: str) -> str:
        """The type that a partition has without flags: by mkpart's word in this call, else by the
        file system that lies in it."""
        part = self.current().partition(slot.number)
        held = part.signature.kind if part is not None and part.signature is not None else ""
        word = {"swap": "linux-swap", "vfat": "fat32", "ntfs": "ntfs"}.get(held, "ext2")
        if word == "fat32" and part is not None and part.size < 512 * layout.MIB:
            word = "fat16"  # what mkfs.fat makes of a small one
        word = self.systems.get(slot.start, word)
        return gpt.PARTED_FS[word][0 if kind == "gpt" else 1]

    def require_free(self, slot: Slot, label: Label) -> None:
        """Raises:
        DeviceBusy: the partition, or a logical one within it, is in use.
        """
        disk = self.current()
        inner = label.row("logical") if slot.role == "extended" else []
        for each in (slot, *inner):
            path = disk.partition_path(each.number)
            reason = devices.is_busy(self.state, path)
            if reason:
                raise DeviceBusy(f"parted: {path} is being used ({reason}); unmount it first")


class _Words:
    """The words after the device, quotes within them undone (parted reads each word again)."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words: list[str] = []
        for word in words:
            self.words.extend(_split(word))

    def peek(self) -> str | None:
        return self.words[0] if self.words else None

    def take(self, what: str) -> str:
        """The next word.

        Raises:
            CommandFailed: there is none; with -s parted cannot ask for it.
        """
        if not self.words:
            raise CommandFailed(f"parted: {what} is missing")
        return self.words.pop(0)


def _split(text: str) -> list[str]:
    words: list[str] = []
    current, quote, begun = "", "", False
    for char in text:
        if quote:
            if char == quote:
                quote = ""
            else:
                current += char
        elif char in "'\"":
            quote, begun = char, True
        elif char == " ":
            if current or begun:
                words.append(current)
            current, begun = "", False
        else:
            current += char
    if current or begun:
        words.append(current)
    return words


def _match(word: str, names: Sequence[str], what: str) -> str:
    """The name that a word is, or is the only beginning of.

    Raises:
        CommandFailed: none, or several.
    """
    lower = word.lower()
    exact = [name for name in names if name.lower() == lower]
    found = exact or [name for name in names if lower and name.lower().startswith(lower)]
    if len(found) == 1:
        return found[0]
    raise CommandFailed(f"parted: {word!r} is no {what}; it can be {', '.join(names)}")


def _slot(words: _Words, label: Label) -> Slot:
    word = words.take("a partition number")
    slot = label.slot(int(word)) if word.isdigit() else None
    if slot is None:
        raise CommandFailed(f"parted: there is no partition {word}")
    return slot


def _mklabel(run: _Session, words: _Words) -> None:
    kind = _match(words.take("the kind of table"), _LABELS, "kind of partition table")
    disk = run.current()
    if disk.table is not None:
        layout.require_idle(run.state, disk, "parted")
        if run.answers:
            raise CommandFailed(
                f"parted: {disk.path} has a partition table already, and parted asks before it is "
                "destroyed; say yes beforehand with -s"
            )
    elif devices.is_busy(run.state, disk.path):
        layout.require_idle(run.state, disk, "parted")
    if kind not in ("gpt", "msdos"):
        raise CommandFailed(f"parted: {kind} tables are not modelled; use gpt or msdos")
    first, last = layout.usable(kind, disk.size, disk.sector)
    run.save(Label(kind, disk.size // disk.sector, first, last, []), _WRITTEN, fresh=True)


def _role(words: _Words, label: Label) -> str:
    if label.kind == "gpt":
        return "primary"
    full = label.free_number("primary") == 0
    roles = [] if full else ["primary"]
    if label.extended() is not None:
        roles.append("logical")
    elif not full:
        roles.append("extended")
    if not roles:
        raise CommandFailed("parted: an msdos table holds four primary partitions, and all exist")
    return _match(words.take("the kind of partition"), roles, "kind of partition here")


def _mkpart(run: _Session, words: _Words) -> None:
    label, units = run.label(), run.units()
    role = _role(words, label)
    name = ""
    if label.kind == "gpt":
        name = words.take("a name")
        if not name:
            raise CommandFailed("parted: the name is empty")
    peeked = words.peek()
    system = None
    if role == "extended":
        system = ""
    elif peeked is None or not (peeked[:1].isdigit() or peeked[:1] == "-"):
        word = words.take("a file system type or the start")
        system = _match(word, list(gpt.PARTED_FS), "file system type that parted knows")
    start, starts = sector_of(words.take("the start"), units)
    text = words.take("the end")
    end, ends = sector_of(text, units)
    if start != end and ends_in_iec(text, units):
        end, ends = end - 1, (ends[0] - 1, ends[1] - 1)
    if end < start:
        raise CommandFailed("parted: the end lies before the start")
    asked = (start, end)
    start, end = snap(label, start, end, starts, ends)
    number = label.free_number(role)
    if number == 0:
        raise CommandFailed("parted: no more partitions fit into this table")
    slot = Slot(number, start, end, role, name=name[:36])
    grain = layout.MIB // units.sector if run.optimal else 1
    place = label.place(slot, start, end, Constraint(starts, ends, grain))
    if place is None:
        whole = (0, units.length - 1)
        place = label.place(slot, start, end, Constraint(whole, whole))
        if place is None:
            raise CommandFailed("parted: partitions cannot overlap")
        if not (starts[0] <= place[0] <= starts[1] and ends[0] <= place[1] <= ends[1]):
            raise CommandFailed(
                f"parted: a partition from sector {asked[0]} to {asked[1]} was wanted; the nearest "
                f"that is possible is {place[0]} to {place[1]}"
            )
    slot.start, slot.end = place
    if role == "extended":
        slot.type = "0f"
    else:
        slot.type = gpt.PARTED_FS[system or "ext2"][0 if label.kind == "gpt" else 1]
    label.slots.append(slot)
    run.systems[slot.start] = system or "ext2"
    run.save(label)


def _rm(run: _Session, words: _Words) -> None:
    label = run.label()
    slot = _slot(words, label)
    run.require_free(slot, label)
    _remove(label, slot)
    run.save(label)


def _remove(label: Label, slot: Slot) -> None:
    """Take a partition out. Logical ones go with the extended one, and move up by one number."""
    label.slots.remove(slot)
    if slot.role == "extended":
        label.slots = [each for each in label.slots if each.role != "logical"]
    elif slot.role == "logical":
        for each in label.slots:
            if each.role == "logical" and each.number > slot.number:
                each.number -= 1


def _resizepart(run: _Session, words: _Words) -> None:
    label, units = run.label(), run.units()
    slot = _slot(words, label)
    run.require_free(slot, label)
    text = words.take("the new end")
    end, ends = sector_of(text, units)
    if slot.start != end and ends_in_iec(text, units):
        end, ends = end - 1, (ends[0] - 1, ends[1] - 1)
    if end < slot.start:
        raise CommandFailed("parted: the end lies before the start")
    old_end = slot.end
    wanted = Constraint((slot.start, slot.start), ends)
    place = label.place(slot, slot.start, end, wanted, moved=True)
    if place is None:
        raise CommandFailed(f"parted: partition {slot.number} cannot end at {text}")
    if place[1] < old_end:
        raise CommandFailed(
            "parted: shrinking a partition can lose data, and with -s parted does not ask; "
            "use sfdisk or sgdisk when its file system was made smaller before"
        )
    slot.end = place[1]
    run.save(label)


def _name(run: _Session, words: _Words) -> None:
    label = run.label()
    if label.kind != "gpt":
        raise CommandFailed("parted: only GPT partitions have names")
    slot = _slot(words, label)
    slot.name = words.take("a name")[:36]
    run.save(label)


def _set(run: _Session, words: _Words, toggle: bool = False) -> None:
    label = run.label()
    slot = _slot(words, label)
    flag = _match(words.take("a flag"), _flags(label, slot), "flag of this partition")
    on = not _has(label, slot, flag)
    if not toggle and words.peek() is not None:
        on = _match(words.take("on or off"), ("on", "off"), "state") == "on"
    usual = run.usual_type(slot, label.kind)
    if label.kind == "gpt":
        _set_gpt(slot, flag, on, usual)
    else:
        _set_msdos(run, label, slot, flag, on, usual)
    run.save(label)


def _toggle(run: _Session, words: _Words) -> None:
    _set(run, words, toggle=True)


def _flags(label: Label, slot: Slot) -> tuple[str, ...]:
    if label.kind == "gpt":
        return (*gpt.FLAG_TYPES, *gpt.ATTRIBUTE_FLAGS)
    if slot.role == "extended":
        names = [name for name in gpt.MBR_FLAGS if name != "msftres"]
        return ("boot", "lba", *names)
    return ("boot", "lba", "hidden", *gpt.MBR_FLAGS)


def _has(label: Label, slot: Slot, flag: str) -> bool:
    if label.kind == "gpt":
        if flag in gpt.ATTRIBUTE_FLAGS:
            return flag in slot.flags
        return slot.type == gpt.FLAG_TYPES[flag]
    if flag == "boot":
        return "boot" in slot.flags
    if flag == "hidden":
        return slot.type in _SHOWN
    if flag == "lba":
        return slot.type in _NO_LBA
    return slot.type == gpt.MBR_FLAGS[flag]


def _set_gpt(slot: Slot, flag: str, on: bool, usual: str) -> None:
    if flag in gpt.ATTRIBUTE_FLAGS:
        rest = set(slot.flags) - {flag}
        slot.flags = tuple(sorted(rest | {flag} if on else rest))
    elif on:
        slot.type = gpt.FLAG_TYPES[flag]
    elif slot.type == gpt.FLAG_TYPES[flag]:
        slot.type = usual


def _set_msdos(run: _Session, label: Label, slot: Slot, flag: str, on: bool, usual: str) -> None:
    if slot.type in _NO_LBA:
        run.lba.add(slot.start)
    elif slot.type not in gpt.MBR_FLAGS.values():
        run.lba.discard(slot.start)
    if flag == "boot":
        if on:  # one partition at most carries it
            for other in label.slots:
                other.flags = ()
        slot.flags = ("boot",) if on else ()
    elif slot.role == "extended":
        if flag == "lba":
            slot.type = "0f" if on else "05"  # else the type of an extended partition stays
    elif flag in gpt.MBR_FLAGS and on:
        slot.type = gpt.MBR_FLAGS[flag]
    elif slot.type == gpt.MBR_FLAGS.get(flag) or slot.type not in gpt.MBR_FLAGS.values():
        # parted makes the type anew, from the file system that it sees
        lba = on if flag == "lba" else slot.start in run.lba
        hidden = on if flag == "hidden" else slot.type in _SHOWN
        slot.type = (_LBA if lba else _NO_LBA).get(usual, usual)
        if hidden:
            slot.type = _HIDDEN.get(slot.type, slot.type)


def _disk_set(run: _Session, words: _Words, toggle: bool = False) -> None:
    label = run.label()
    names = ("pmbr_boot",) if label.kind == "gpt" else ("cylinder_alignment",)
    _match(words.take("a flag of the disk"), names, "flag of this disk")
    if not toggle and words.peek() is not None:
        _match(words.take("on or off"), ("on", "off"), "state")
    layout.require_writable(run.current(), "parted")


def _disk_toggle(run: _Session, words: _Words) -> None:
    _disk_set(run, words, toggle=True)


def _align_check(run: _Session, words: _Words) -> None:
    label = run.label()
    kind = _match(words.take("min or opt"), ("minimal", "optimal"), "alignment")
    slot = _slot(words, label)
    grain = layout.MIB // run.units().sector if kind == "optimal" else 1
    if slot.start % grain:
        raise CommandFailed(f"parted: partition {slot.number} is not aligned to 1 MiB")


def _print(run: _Session, words: _Words) -> None:
    word = words.peek() or ""
    if word.startswith(("devices", "list", "all")):
        words.take("")
        return
    if word.startswith("free"):
        words.take("")
    label = run.label()
    if word[:1].isdigit():
        _slot(words, label)


def _unit(run: _Session, words: _Words) -> None:
    name = _match(words.take("a unit"), _UNIT_NAMES, "unit")
    run.unit = "m" if name in ("compact", "chs") else unit_of(name) or "m"


def _select(run: _Session, words: _Words) -> None:
    run.disk = layout.target(run.state, words.take("a device"), "parted").name


def _help(run: _Session, words: _Words) -> None:
    if words.peek() is not None:
        words.take("")


def _refuse(run: _Session, words: _Words) -> None:
    raise CommandFailed("parted: resize and rescue are not modelled; use resizepart")


def _nothing(run: _Session, words: _Words) -> None:
    return


_COMMANDS: dict[str, Callable[[_Session, _Words], None]] = {
    "align-check": _align_check, "help": _help, "mklabel": _mklabel, "mktable": _mklabel,
    "mkpart": _mkpart, "name": _name, "print": _print, "quit": _nothing, "rescue": _refuse,
    "resize": _refuse, "resizepart": _resizepart, "rm": _rm, "select": _select,
    "disk_set": _disk_set, "disk_toggle": _disk_toggle, "set": _set, "toggle": _toggle,
    "unit": _unit, "version": _nothing,
}  # fmt: skip


@effect("parted")
def parted(state: SystemState, argv: Argv) -> Result:
    """Change a partition table, command by command (parted(8), parted 3.5).

    Covered: -s -a -m -l, mklabel, mktable, mkpart (gpt, msdos with primary, extended and logical),
    name, rm, set, toggle, resizepart, disk_set, disk_toggle, print, unit, align-check, select.
    Tables: gpt and msdos. Without -s, what parted would ask about fails.
    Not covered: rescue, other tables, an interactive session.
    Raises CommandFailed (status 1) with what was written before in its `state`; DeviceBusy.
    """
    options = getopt.parse(
        "parted", argv.args, "hlmsfva:",
        ("help", "list", "machine", "script", "fix", "version", "align=", "json",
         "pretend-input-tty"),
    )  # fmt: skip
    if options.has("-h", "--help", "-v", "--version", "-l", "--list"):
        return Result(state)
    align = options.get("-a", "--align", default="optimal") or "optimal"
    optimal = bool(_ALIGNMENTS[_match(align, list(_ALIGNMENTS), "alignment")])
    script = options.has("-s", "--script")
    operands = options.operands
    if not operands:
        if not state.disks:
            raise CommandFailed("parted: there is no disk")
        return Result(state)
    disk = layout.target(state, operands[0], "parted")
    run = _Session(state, disk.name, optimal, answers=not script)
    words = _Words(operands[1:])
    try:
        while words.peek() is not None:
            word = words.take("")
            try:
                name = _match(word, list(_COMMANDS), "command of parted")
            except CommandFailed:
                break  # parted prints its help and is content
            if name == "quit":
                break
            _COMMANDS[name](run, words)
    except CommandFailed as failure:
        if run.state is not state:
            failure.state, failure.events = run.state, run.events
        raise
    return Result(run.state, events=run.events)
