"""sgdisk: partition a GPT disk from the command line (sgdisk(8), gdisk 1.0.9).

    sgdisk -Z -o -n 1:0:+512M -t 1:ef00 -n 2:0:0 /dev/sda

One call works in memory, in the order of its options, and writes at its end: one option that fails
keeps all of them from being written (status 4). -Z and -z are the exception: they write at once.
What it does with numbers was read off the program's answers; tests/oracle compares it again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmkit.installer import devices
from llmkit.installer.effects import gpt, layout
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    Event,
    NoSuchDevice,
    Result,
    effect,
)
from llmkit.installer.effects.sgdisk_table import Entry, Table, sector_number
from llmkit.installer.frozen import replace
from llmkit.installer.state import Disk, Partition, SystemState

# popt's table: letter → long name, and whether it takes a word ("s") or a number ("i")
_OPTIONS: dict[str, tuple[str, str]] = {
    "a": ("set-alignment", "i"), "A": ("attributes", "s"), "b": ("backup", "s"),
    "c": ("change-name", "s"), "C": ("recompute-chs", ""), "d": ("delete", "i"),
    "D": ("display-alignment", ""), "e": ("move-second-header", ""), "E": ("end-of-largest", ""),
    "f": ("first-in-largest", ""), "F": ("first-aligned-in-largest", ""), "g": ("mbrtogpt", ""),
    "G": ("randomize-guids", ""), "h": ("hybrid", "s"), "i": ("info", "i"),
    "I": ("align-end", ""), "j": ("move-main-table", "i"), "l": ("load-backup", "s"),
    "L": ("list-types", ""), "m": ("gpttombr", "s"), "n": ("new", "s"), "N": ("largest-new", "i"),
    "o": ("clear", ""), "O": ("print-mbr", ""), "p": ("print", ""), "P": ("pretend", ""),
    "r": ("transpose", "s"), "R": ("replicate", "s"), "s": ("sort", ""),
    "S": ("resize-table", "i"), "t": ("typecode", "s"), "T": ("transform-bsd", "i"),
    "u": ("partition-guid", "s"), "U": ("disk-guid", "s"), "v": ("verify", ""),
    "V": ("version", ""), "z": ("zap", ""), "Z": ("zap-all", ""), "?": ("help", ""),
}  # fmt: skip
_LONG = {name: letter for letter, (name, _) in _OPTIONS.items()}
_READ_ONLY = frozenset("bDEfFiLOpvV?")
_NOT_MODELLED = {"h": "hybrid MBR", "l": "loading a backup", "m": "turning GPT into MBR",
                 "T": "BSD disk labels", "j": "moving the main table"}  # fmt: skip


def _options(args: tuple[str, ...]) -> tuple[list[tuple[str, str]], str | None, str]:
    """popt's reading: options in order, the first operand, and what stopped it. After an error it
    forgets the rest: an operand that stands behind is never seen (sgdisk then does nothing, with
    status 0)."""
    found: list[tuple[str, str]] = []
    operand: str | None = None
    words = list(args)
    while words:
        word = words.pop(0)
        if word == "--":
            operand = operand if operand is not None else (words[0] if words else None)
            break
        if len(word) < 2 or word[0] != "-":
            operand = word if operand is None else operand
            continue
        if word.startswith("--"):
            text, equals, value = word[2:].partition("=")
            letter = _LONG.get(text)
            if letter is None:
                return found, operand, f"unknown option --{text}"
            rest, attached = value, bool(equals)
        else:
            letter, rest, attached = word[1], word[2:], len(word) > 2
            if letter not in _OPTIONS:
                return found, operand, f"unknown option -{letter}"
            if not _OPTIONS[letter][1]:
                found.append((letter, ""))
                if rest:
                    words.insert(0, f"-{rest}")
                continue
            rest = rest.removeprefix("=")
        kind = _OPTIONS[letter][1]
        if not kind:
            found.append((letter, ""))
            continue
        if not attached:
            if not words:
                return found, operand, f"option -{letter} needs a value"
            rest = words.pop(0)
        if kind == "i" and re.fullmatch(r"[+-]?\d+", rest) is None:
            return found, operand, f"option -{letter} needs a number, not {rest!r}"
        found.append((letter, rest))
    return found, operand, ""


def _piece(text: str, index: int) -> str:
    """The n-th field of "1:2048:+512M"; the third of three takes all that is left."""
    fields = text.split(":")
    return fields[index - 1] if index <= len(fields) else ""


def _number(text: str) -> int:
    match = re.match(r"\s*[+-]?\d+", text)
    return int(match[0]) if match else 0


@dataclass(slots=True)
class _Run:
    """One call: the table in memory, and what is to be done at the end."""

    table: Table
    foreign: bool  # an msdos disk that -g has not released
    save: bool = False
    failure: str = ""
    kind: str | None = None  # the type that the last -t named; one that it cannot read means it
    new: int = 0  # the number that the last -n used; 0 in -t, -c, … means it


def _new(run: _Run, value: str) -> None:
    table = run.table
    number = _number(_piece(value, 1))
    run.new = number if number > 0 else table.first_free_number()
    low = table.align(table.first_in_largest())
    high = table.aligned_end(low)
    start = sector_number(_piece(value, 2), table.sector, low, high, low, table.alignment)
    end = sector_number(_piece(value, 3), table.sector, start, high, high, table.alignment)
    _create(run, run.new, start, end)


def _create(run: _Run, number: int, start: int, end: int) -> None:
    if run.table.create(number, start, end):
        run.save = True
    elif number in run.table.entries:
        run.failure = f"partition {number} exists already"
    elif run.table.first_in_largest() == 0:
        run.failure = f"no free space is left for partition {number}"
    else:
        run.failure = f"there is no room for partition {number} from sector {start} to {end}"


def _largest(run: _Run, value: str) -> None:
    table = run.table
    start = table.align(table.first_in_largest())
    number = int(value) if int(value) > 0 else table.first_free_number()
    _create(run, number, start, table.aligned_end(start))


def _entry(run: _Run, value: str) -> tuple[int, Entry | None]:
    number = _number(_piece(value, 1))
    number = number if number > 0 else run.new
    return number, run.table.entries.get(number)


def _type(run: _Run, value: str) -> None:
    number, entry = _entry(run, value)
    if not 1 <= number <= 128:
        return
    text = _piece(value, 2).strip().lower()
    if _TYPE.fullmatch(text):
        run.kind = _type_guid(text)
    kind = run.kind
    if entry is None:
        run.failure = f"partition {number} does not exist, so its type cannot be changed"
    elif kind is None:
        run.failure = f"{text!r} is no partition type (try ef00, 8200 or 8300)"
    else:
        if entry.name and entry.name == gpt.name(entry.type):
            entry.name = gpt.name(kind)  # a name that only says the type follows it
        entry.type = kind
        run.save = True


_TYPE = re.compile(rf"{gpt.GUID.pattern}|(?:0x)?[0-9a-f]+")


def _type_guid(text: str) -> str | None:
    if gpt.GUID.fullmatch(text):
        return None if text == gpt.EMPTY else text
    text = text.removeprefix("0x")
    if re.fullmatch(r"[0-9a-f]+", text) is None or int(text, 16) == 0:
        return None
    try:
        return gpt.guid(f"{int(text, 16) & 0xFFFF:04x}")
    except KeyError:
        return gpt.LINUX  # sgdisk says so and goes on


def _name(run: _Run, value: str) -> None:
    number, entry = _entry(run, value)
    if not 1 <= number <= 128:
        return
    if entry is None:
        run.failure = f"partition {number} does not exist, so it cannot be named"
    else:
        entry.name = _piece(value, 2)[:36]
        run.save = True


def _delete(run: _Run, value: str) -> None:
    number = int(value)
    numbers = run.table.entries
    if numbers and min(numbers) <= number <= max(numbers):  # a hole in between is no error
        numbers.pop(number, None)
        run.save = True
    else:
        run.failure = f"partition {number} does not exist"


def _unique(run: _Run, value: str) -> None:
    _, entry = _entry(run, value)
    run.save = True
    if entry is not None:
        text = _piece(value, 2).lower()
        entry.partuuid = text if gpt.GUID.fullmatch(text) else ""


def _attributes(run: _Run, value: str) -> None:
    if value == "list":
        return
    number, entry = _entry(run, value)
    verb, bits = _piece(value, 2), _piece(value, 3)
    if not 1 <= number <= 128:
        run.failure = f"there is no partition {number}"
        return
    if verb in ("show", "get"):
        return
    if verb in ("set", "clear", "toggle"):
        if not bits.isdigit():
            run.failure = f"{bits!r} is no attribute bit (0 to 63)"
            return
        changed = {int(bits) % 64}  # 64 is bit 0 again: sgdisk shifts
    elif verb in ("or", "nand", "xor", "="):
        if re.fullmatch(r"[0-9A-Fa-f]+", bits) is None:
            run.failure = f"{bits!r} is no hexadecimal number"
            return
        changed = {bit for bit in range(64) if int(bits, 16) >> bit & 1}
    else:
        run.failure = f"{verb!r} is nothing that can be done to attributes"
        return
    run.save = True
    if entry is None:
        return
    names = {gpt.bit_flag(bit) for bit in changed}
    had = set(entry.flags)
    after = {"set": had | names, "or": had | names, "clear": had - names, "nand": had - names,
             "toggle": had ^ names, "xor": had ^ names, "=": names}[verb]  # fmt: skip
    entry.flags = tuple(sorted(after))


def _transpose(run: _Run, value: str) -> None:
    one, two = _number(_piece(value, 1)), _number(_piece(value, 2))
    if not (1 <= one <= 128 and 1 <= two <= 128):
        run.failure = f"partitions {one} and {two} cannot change places"
        return
    entries = run.table.entries
    first, second = entries.pop(one, None), entries.pop(two, None)
    if first is not None:
        entries[two] = first
    if second is not None:
        entries[one] = second
    run.save = True


def _sort(run: _Run, value: str) -> None:
    rows = sorted(run.table.entries.values(), key=lambda entry: entry.start)
    run.table.entries = dict(enumerate(rows, 1))
    run.save = True


def _randomize(run: _Run, value: str) -> None:
    for entry in run.table.entries.values():
        entry.partuuid = ""
    run.save = True


def _clear(run: _Run, value: str) -> None:
    run.table.clear()
    run.save = True


def _convert(run: _Run, value: str) -> None:
    run.foreign = False
    run.save = True


def _touch(run: _Run, value: str) -> None:
    run.save = True


def _align(run: _Run, value: str) -> None:
    if int(value) > 0:
        run.table.alignment = int(value)


def _align_ends(run: _Run, value: str) -> None:
    run.table.align_ends = True


_STEPS = {
    "n": _new, "N": _largest, "t": _type, "c": _name, "d": _delete, "u": _unique,
    "A": _attributes, "r": _transpose, "s": _sort, "G": _randomize, "o": _clear, "g": _convert,
    "e": _touch, "C": _touch, "U": _touch, "S": _touch, "a": _align, "I": _align_ends,
}  # fmt: skip


@effect("sgdisk")
def sgdisk(state: SystemState, argv: Argv) -> Result:
    """Change a GPT partition table (sgdisk(8), gdisk 1.0.9).

    Covered: -Z -z -o -g -n -N -t -d -c -A -u -U -s -r -R -e -G -a -I -C -S and the read-only
    options; an msdos disk is left alone without -g (status 3). Writing while a partition is in use
    succeeds (status 0): the kernel keeps a partition that is in use, see `_write`.
    Not covered, and refused: -h -j -l -m -T.
    Raises NoSuchDevice (status 2), CommandFailed (2: damaged table, 3: msdos, 4: an option failed).
    """
    if not argv.args:
        raise CommandFailed("sgdisk: name a disk and what to do with it", status=1)
    options, path, _ = _options(argv.args)
    if path is None:
        return Result(state, stdout="" if not options else None)
    try:
        node = devices.require(state, path, "sgdisk")
    except NoSuchDevice as failure:
        failure.status = 2
        raise
    if all(letter in _READ_ONLY for letter, _ in options):
        return Result(state)
    for letter, _ in options:
        if letter in _NOT_MODELLED:
            raise CommandFailed(f"sgdisk: {_NOT_MODELLED[letter]} (-{letter}) is not modelled")
    if any(letter == "P" for letter, _ in options):
        return Result(state)
    disk = layout.target(state, node, "sgdisk", 2)
    layout.require_writable(disk, "sgdisk", 4)
    if any(signature.kind == layout.BACKUP.kind for _, signature in disk.stale):
        return _damaged(state, disk, options)
    return _run(state, disk, options)


def _damaged(state: SystemState, disk: Disk, options: list[tuple[str, str]]) -> Result:
    """A GPT's second copy is left, the first is not, or it does not go with the msdos table: sgdisk
    reads only -z, -Z and -o then, and says 2 even when they help."""
    reason = f"sgdisk: the partition table of {disk.path} is damaged; run sgdisk -Z first"
    told = [letter for letter, _ in options if letter in "zZo"]
    if not told:
        raise CommandFailed(reason, status=2)
    table, parts, boot_code = disk.table, disk.partitions, 0
    left = False
    if told[-1] == "o":  # a GPT is written, and the MBR is written back as it was
        left = table is not None
    elif "Z" in told:
        table, parts, boot_code = None, (), 512
    written = (*layout.table_extents("gpt", disk.size, disk.sector)[1:], (0, boot_code))
    state, events = layout.commit(state, disk, table, parts, written=written, backup=left)
    if told[-1] == "o" and table is None:
        now = state.disk(disk.name) or disk
        state = devices.replace_disk(
            state, replace(now, stale=((disk.sector, layout.BARE), *now.stale))
        )
    raise CommandFailed(reason, status=2, state=state, events=events)


def _run(state: SystemState, disk: Disk, options: list[tuple[str, str]]) -> Result:
    like_mbr = disk.table is None and disk.signature and disk.signature.kind in layout.MBR_LIKE
    foreign = disk.table == "msdos" and not layout.is_protective(disk)
    run = _Run(Table(disk), foreign=bool(foreign or like_mbr))
    if layout.is_protective(disk):
        run.table.clear()
    events: tuple[Event, ...] = ()
    copies: list[str] = []
    zapped: SystemState | None = None
    for letter, value in options:
        if letter in "zZ":
            if letter == "Z" or not foreign:
                now = state.disk(disk.name) or disk
                if letter == "z" and now.table is not None:  # the protective MBR stays
                    rest = [layout.protective(disk)] if now.table == "gpt" else now.partitions
                    state, done = _write(state, disk.name, "msdos", list(rest))
                else:
                    boot_code = ((0, 512),) if letter == "Z" else ()
                    state, done = _write(state, disk.name, None, [], boot_code)
                events += done
                zapped = state
            run.table.clear()
            run.foreign, run.save = False, False
        elif letter == "R":
            copies.append(value)
        elif letter in _STEPS:
            _STEPS[letter](run, value)
    if not run.failure and run.save and run.foreign:
        raise CommandFailed(
            f"sgdisk: {disk.path} has an msdos table; nothing was saved (-g turns it into GPT, "
            "-Z -o starts afresh)",
            status=3, state=zapped, events=events,
        )  # fmt: skip
    if not run.failure and run.save:
        run.failure = run.table.problem()
    if run.failure:
        raise CommandFailed(
            f"sgdisk: {run.failure}; nothing was saved", status=4, state=zapped, events=events
        )
    if run.save:
        from_mib = run.table.first * disk.sector == layout.MIB
        parts = run.table.partitions()
        state, done = _write(state, disk.name, "gpt", parts, from_mib=from_mib)
        events += done
    for path in copies:
        state, done = _replicate(state, run.table, path)
        events += done
    return Result(state, events=events)


def _replicate(
    state: SystemState, table: Table, path: str
) -> tuple[SystemState, tuple[Event, ...]]:
    """-R: write this table to another disk too, identifiers included."""
    other = layout.target(state, path, "sgdisk", 8)
    last = layout.usable("gpt", other.size, other.sector)[1]
    if any(entry.end > last for entry in table.entries.values()):
        raise CommandFailed(f"sgdisk: {other.path} is too small for this table", status=8)
    return _write(state, other.name, "gpt", table.partitions())


def _write(
    state: SystemState,
    name: str,
    table: str | None,
    parts: list[Partition],
    wiped: tuple[tuple[int, int], ...] = (),
    from_mib: bool = False,
) -> tuple[SystemState, tuple[Event, ...]]:
    """Write to the disk as it is in `state`. sgdisk does not ask whether it is in use. The kernel
    then refuses to read the new table, and goes on with what it had: a partition in use stays as
    it was. (Others change at once here; on a real machine they wait for partprobe.)"""
    disk = state.disk(name)
    assert disk is not None  # the caller found it in this state
    kept = {p.number: p for p in disk.partitions if layout.in_use(state, disk, p)}
    if kept:
        table = table or disk.table
        if table == "msdos" or disk.table == "msdos":
            return state, ()
        parts = [
            part
            for part in parts
            if part.number not in kept
            and not any(part.start < p.end and p.start < part.end for p in kept.values())
        ]
        parts.extend(kept.values())
        wiped = ()
    extents = (*wiped, *layout.table_extents("gpt", disk.size, disk.sector))
    return layout.commit(
        state, disk, table, parts, written=() if kept else extents, backup=False, from_mib=from_mib
    )
