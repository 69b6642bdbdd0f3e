"""sfdisk: partition from a script (sfdisk(8), util-linux 2.38).

    printf 'label: gpt\\n,512M,U\\n,,L\\n' | sfdisk /dev/sda

A script is read to its end, and only then is the disk written: one bad line and nothing changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from llmkit.installer import devices
from llmkit.installer.effects import getopt, gpt, layout
from llmkit.installer.effects.fdisk_table import Entry, Table, Wanted
from llmkit.installer.effects.registry import Argv, CommandFailed, Result, effect
from llmkit.installer.state import Disk, SystemState

_LONG = (
    "append", "backup", "delete", "json", "dump", "list", "list-free", "show-size", "show-geometry",
    "list-types", "verify", "partno=", "part-label", "part-type", "part-uuid", "part-attrs",
    "disk-id", "relocate", "reorder", "activate", "force", "no-act", "no-reread", "no-tell-kernel",
    "bytes", "move-data=?", "color=?", "lock=?", "backup-file=", "output=", "quiet", "wipe=",
    "wipe-partitions=", "label=", "label-nested=", "Linux", "unit=", "version", "help",
)  # fmt: skip
_READ = ("-J", "--json", "-d", "--dump", "-l", "--list", "-F", "--list-free", "-s", "--show-size",
         "-g", "--show-geometry", "-T", "--list-types", "-V", "--verify", "-v", "--version", "-h",
         "--help", "-n", "--no-act")  # fmt: skip
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_LABELS = {"gpt": "gpt", "dos": "msdos", "mbr": "msdos"}
_ATTRIBUTES = {"RequiredPartition": "hidden", "NoBlockIOProtocol": "no_block_io",
               "LegacyBIOSBootable": "legacy_boot"}  # fmt: skip


@dataclass(slots=True)
class Script:
    """What stood on standard input."""

    label: str | None = None
    lines: list[Wanted] = field(default_factory=list)


def sectors(text: str, sector: int) -> tuple[int, bool]:
    """A size or place: sectors when it is a bare number (then exact), bytes with a suffix.

    Raises:
        CommandFailed: neither.
    """
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?\s*(?:([KMGTP])(i?B)?|s|S)?", text, re.IGNORECASE)
    if match is None:
        raise CommandFailed(f"sfdisk: {text!r} is no size (write 512M or a number of sectors)")
    unit = (match[3] or "").upper()
    if not unit:
        return int(match[1]), True
    base = 1000 if (match[4] or "").lower() == "b" else 1024
    factor = base ** _UNITS[unit]
    size = int(match[1]) * factor
    if match[2]:
        size += int(match[2]) * factor // 10 ** len(match[2])
    return size // sector, False


def type_of(text: str, kind: str) -> str:
    """The type that a shortcut, alias, hex byte or GUID means.

    Raises:
        CommandFailed: none.
    """
    names = gpt.SFDISK_GPT if kind == "gpt" else gpt.SFDISK_MBR
    if text in names:
        return names[text]
    lower = text.lower()
    if kind == "gpt":
        if gpt.GUID.fullmatch(lower):
            return lower
    else:
        number = int(re.match(r"(?:0x)?([0-9a-f]*)", lower)[1] or "0", 16)  # type: ignore[index]
        if number <= 0xFF:  # a word that is no number counts as 0, "empty"
            return f"{number:02x}"
    raise CommandFailed(
        f"sfdisk: {text!r} is no partition type of a {kind} table (try U, S, L or a "
        f"{'GUID' if kind == 'gpt' else 'hex byte'})"
    )


def parse(text: str, kind: str, sector: int) -> Script:
    """Read a script. `kind` is the table that it is for, unless it has a `label:` line.

    Raises:
        CommandFailed: a line that sfdisk does not understand.
    """
    script = Script()
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line in ("write", "quit", "print"):
            break
        header = re.fullmatch(r"([a-z-]+)\s*:\s*(.*)", line)
        if header is not None and not line.startswith("/dev/"):
            script.label = _header(header[1], header[2], script.label, number)
            continue
        line = re.sub(r"^/dev/\S+\s*:\s*", "", line)
        table = script.label or kind
        named = "=" in line or line in ("bootable",)
        fields = _named(line, number) if named else _positional(line)
        script.lines.append(_wanted(fields, table, sector))
    return script


def _header(name: str, value: str, label: str | None, number: int) -> str | None:
    if name == "label":
        if value.strip() not in _LABELS:
            raise CommandFailed(f"sfdisk: line {number}: {value.strip()!r} tables are not possible")
        return _LABELS[value.strip()]
    if name in ("label-id", "unit", "device", "first-lba", "last-lba", "table-length", "grain",
                "sector-size"):  # fmt: skip
        return label
    raise CommandFailed(f"sfdisk: line {number}: unknown header {name!r}")


def _positional(line: str) -> dict[str, str]:
    split = re.split(r"[,;]", line) if re.search(r"[,;]", line) else line.split()
    words = [word.strip() for word in split]
    words = ["" if word == "-" else word for word in words]
    return dict(zip(("start", "size", "type", "bootable"), words, strict=False))


def _named(line: str, number: int) -> dict[str, str]:
    found: dict[str, str] = {}
    pattern = re.compile(r'\s*([a-zA-Z]+)(?:\s*=\s*("[^"]*"|[^,\s]*))?\s*[,;]?')
    position = 0
    while position < len(line):
        match = pattern.match(line, position)
        if match is None or match.end() == position:
            raise CommandFailed(f"sfdisk: line {number}: {line[position:]!r} is not understood")
        key = match[1].lower()
        key = {"id": "type"}.get(key, key)
        if key not in ("start", "size", "type", "name", "uuid", "attrs", "bootable", "node"):
            raise CommandFailed(f"sfdisk: line {number}: unknown field {match[1]!r}")
        found[key] = "*" if key == "bootable" else (match[2] or "").strip('"')
        position = match.end()
    return found


def _wanted(fields: dict[str, str], kind: str, sector: int) -> Wanted:
    wanted = Wanted()
    start, size = fields.get("start", ""), fields.get("size", "")
    if start not in ("", "+"):
        wanted.start = sectors(start, sector)[0]
    if size == "+":
        wanted.largest = True
    elif size:
        wanted.size, wanted.exact = sectors(size.removeprefix("+"), sector)
    if fields.get("type"):
        wanted.type = type_of(fields["type"], kind)
    wanted.name = fields.get("name", "")[:36]
    uuid = fields.get("uuid", "").lower()
    wanted.partuuid = uuid if gpt.GUID.fullmatch(uuid) else ""
    if kind == "gpt":
        wanted.flags = attribute_flags(fields.get("attrs", ""))
    elif fields.get("bootable") == "*":
        wanted.flags = ("boot",)
    return wanted


def attribute_flags(text: str) -> tuple[str, ...]:
    """Flags from sfdisk's attribute names ("LegacyBIOSBootable,GUID:63")."""
    flags = set()
    for word in re.split(r"[,\s]+", text):
        bits = re.fullmatch(r"(?:GUID:)?(\d+)", word)
        if bits:
            flags.add(gpt.bit_flag(int(bits[1])))
        elif word in _ATTRIBUTES:
            flags.add(_ATTRIBUTES[word])
    return tuple(sorted(flags))


@effect("sfdisk")
def sfdisk(state: SystemState, argv: Argv) -> Result:
    """Write a partition table from a script, or change one (sfdisk(8), util-linux 2.38).

    Covered: scripts on standard input (label, positional and named lines, /dev/X : lines),
    --label, -a, -N, --delete, --part-type, --part-label, --part-uuid, --part-attrs, -A, -r,
    --wipe, --wipe-partitions, --force, --no-reread; the read-only options change nothing.
    Not covered: --move-data, --relocate, --disk-id (which only changes an identifier).
    Raises DeviceBusy when the disk is in use and neither --force nor --no-reread is given.
    """
    options = getopt.parse("sfdisk", argv.args, "aAbdfFghjJlLN:no:O:qrsTu:vVw:W:X:Y:", _LONG)
    if options.has(*_READ):
        if options.operands:
            devices.require(state, options.operands[0], "sfdisk")
        return Result(state)
    if not options.operands:
        raise CommandFailed("sfdisk: name the disk to partition")
    disk = layout.target(state, options.operands[0], "sfdisk")
    layout.require_writable(disk, "sfdisk")
    rest = options.operands[1:]
    if options.has("--delete"):
        return _delete(state, disk, rest)
    if options.has("-A", "--activate"):
        return _activate(state, disk, rest)
    if options.has("-r", "--reorder"):
        return _reorder(state, disk)
    for name in ("--part-type", "--part-label", "--part-uuid", "--part-attrs"):
        if options.has(name):
            return _change(state, disk, name, rest)
    if options.has("--disk-id", "--relocate"):
        return Result(state)
    free = options.has("-f", "--force", "--no-reread")
    if not free:
        layout.require_idle(state, disk, "sfdisk")
    number = options.get("-N", "--partno")
    label = options.get("-X", "--label")
    if label is not None and label not in _LABELS:
        raise CommandFailed(f"sfdisk: {label!r} tables are not possible")
    kind = _LABELS[label] if label else disk.table or "msdos"
    if argv.stdin is None:
        raise CommandFailed("sfdisk: the script is not known")
    script = parse(argv.stdin, kind, disk.sector)
    if not script.lines and script.label is None:
        return Result(state)
    append = options.has("-a", "--append") and disk.table is not None
    if number is not None:
        return _renew(state, disk, script, number)
    table = Table.read(disk) if append else Table.new(disk, script.label or kind)
    table.wipes = bool(script.lines)  # a script that only says "label: dos" leaves a GPT behind
    fresh: list[Entry] = []
    for index, wanted in enumerate(script.lines, 1):
        if table.kind == "msdos" and not table.free_numbers() and table.extended() is None:
            break  # the MBR is full: it leaves the other lines out
        try:
            fresh.append(table.add(wanted))
        except CommandFailed as failure:
            if _leaves_out(table, wanted):
                continue
            raise CommandFailed(f"sfdisk: line {index}: {failure.reason}") from None
    wipe = "always" in (options.get("-w", "--wipe"), options.get("-W", "--wipe-partitions"))
    return _write(state, table, fresh if wipe else [])


def _leaves_out(table: Table, wanted: Wanted) -> bool:
    """Does sfdisk pass over a line that does not fit? It does so, without a word, for the first
    logical partition when no start is given."""
    if table.kind != "msdos" or wanted.start is not None or table.extended() is None:
        return False
    return not table.primary_possible() and all(e.role != "logical" for e in table.entries)


def _write(state: SystemState, table: Table, wiped: list[Entry]) -> Result:
    """Write; old content at the start of `wiped` partitions goes."""
    disk = table.disk
    if wiped:
        starts = {entry.start * disk.sector for entry in wiped}
        current = state.disk(disk.name)
        assert current is not None  # it was read from this state
        parts = tuple(
            replace(part, signature=None) if part.start in starts else part
            for part in current.partitions
        )
        stale = tuple(item for item in current.stale if item[0] not in starts)
        state = devices.replace_disk(state, replace(current, partitions=parts, stale=stale))
    state, events = table.write(state)
    return Result(state, events=events)


def _numbers(table: Table, words: tuple[str, ...]) -> list[Entry]:
    found = []
    for word in words:
        entry = table.get(int(word)) if word.isdigit() else None
        if entry is None:
            raise CommandFailed(f"sfdisk: there is no partition {word} on {table.disk.path}")
        found.append(entry)
    return found


def _require_table(disk: Disk) -> None:
    if disk.table is None:
        raise CommandFailed(f"sfdisk: {disk.path} has no partition table")


def _delete(state: SystemState, disk: Disk, words: tuple[str, ...]) -> Result:
    _require_table(disk)
    table = Table.read(disk)
    if not words:
        table.entries.clear()
    for word in words:
        for entry in _numbers(table, (word,)):
            table.remove(entry)
    return _write(state, table, [])


def _activate(state: SystemState, disk: Disk, words: tuple[str, ...]) -> Result:
    _require_table(disk)
    if not words:
        return Result(state)
    table = Table.read(disk)
    if table.kind != "msdos":  # it marks an entry of the protective MBR, which nothing reads
        if any(not word.isdigit() or not 1 <= int(word) <= 4 for word in words):
            raise CommandFailed("sfdisk: the protective MBR has partitions 1 to 4 only")
        return Result(state)
    chosen = [] if words == ("-",) else _numbers(table, words)
    for entry in table.entries:
        entry.flags = ("boot",) if entry in chosen else ()
    return _write(state, table, [])


def _reorder(state: SystemState, disk: Disk) -> Result:
    _require_table(disk)
    table = Table.read(disk)
    for roles, first in ((("primary", "extended"), 1), (("logical",), 5)):
        rows = sorted((e for e in table.entries if e.role in roles), key=lambda e: e.start)
        for number, entry in enumerate(rows, first):
            entry.number = number
    return _write(state, table, [])


def _change(state: SystemState, disk: Disk, name: str, words: tuple[str, ...]) -> Result:
    """--part-type, --part-label, --part-uuid, --part-attrs: print, or set one."""
    if not words:
        raise CommandFailed(f"sfdisk: {name} needs a partition number")
    _require_table(disk)
    table = Table.read(disk)
    entry = _numbers(table, words[:1])[0]
    if len(words) == 1:
        return Result(state)
    value = words[1]
    if name == "--part-type":
        _retype(table, entry, type_of(value, table.kind or "msdos"))
    elif table.kind != "gpt":
        return Result(state)  # msdos has no place for it, and sfdisk does not mind
    elif name == "--part-label":
        entry.name = value[:36]
    elif name == "--part-uuid":
        if gpt.GUID.fullmatch(value.lower()) is None:
            raise CommandFailed(f"sfdisk: {value!r} is no UUID")
        entry.partuuid = value.lower()
    else:
        entry.flags = attribute_flags(value)
    return _write(state, table, [])


def _retype(table: Table, entry: Entry, kind: str) -> None:
    """Give a partition another type.

    Raises:
        CommandFailed: it is extended and would not be, but logical ones lie in it.
    """
    if entry.role == "extended" and not gpt.is_extended(kind):
        if any(other.role == "logical" for other in table.entries):
            raise CommandFailed("sfdisk: the extended partition holds logical partitions")
        entry.role = "primary"
    entry.type = kind


def _renew(state: SystemState, disk: Disk, script: Script, word: str) -> Result:
    """-N: give one partition another start, size or type; what the line leaves out stays."""
    if not word.isdigit() or int(word) == 0:
        raise CommandFailed(f"sfdisk: {word!r} is no partition number")
    _require_table(disk)
    table = Table.read(disk)
    if not script.lines:
        return Result(state)
    wanted = script.lines[0]
    entry = table.get(int(word))
    if entry is None:
        known = max([4, *table.numbers()]) + 1 if table.kind == "msdos" else 128
        inside = table.kind == "msdos" and int(word) > 4
        if int(word) > known or (inside and table.extended() is None):
            raise CommandFailed(f"sfdisk: there is no partition {word} on {disk.path}")
        if inside:
            table.place_dos(wanted, logical=True)
        else:
            table.add(wanted)  # it warns, and takes the next number
        return _write(state, table, [])
    _resize(table, entry, wanted)
    if wanted.type is not None:
        _retype(table, entry, wanted.type)
    entry.name = wanted.name or entry.name
    entry.partuuid = wanted.partuuid or entry.partuuid
    return _write(state, table, [])


def _resize(table: Table, entry: Entry, wanted: Wanted) -> None:
    others = [e for e in table.entries if e is not entry and (
        (e.role == "logical") == (entry.role == "logical"))]  # fmt: skip
    start = wanted.start if wanted.start is not None else entry.start
    logical = entry.role == "logical"
    last = table.last if table.kind == "gpt" else table.limit(logical)
    last = min([last, *(e.start - 1 for e in others if e.start > start)])
    if wanted.largest:
        end = last
    elif wanted.size is not None:
        end = start + wanted.size - 1
    else:
        end = start + entry.end - entry.start
    if end > last or any(e.start <= start <= e.end for e in others):
        raise CommandFailed(f"sfdisk: partition {entry.number} does not fit there")
    entry.start, entry.end = start, end
