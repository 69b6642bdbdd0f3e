"""Tools that overwrite a device, and tools that make the kernel look again.

wipefs(8), blkdiscard(8), partprobe(8), partx(8), blockdev(8) of Debian 12 (util-linux 2.38, parted
3.5) and dd(1) of coreutils 9. What was found by running them on loop devices: wipefs and blkdiscard
refuse a device that is mounted or whose partitions are (unless forced), dd does not; dd without a
count ends with "No space left on device" and status 1, with all of the device written; wipefs reads
the table again only after its last device, so that `wipefs -a /dev/sda*` reaches the partitions.
"""

from __future__ import annotations

import re
from dataclasses import replace

from llmkit.installer import devices, size, vfs
from llmkit.installer.effects import layout
from llmkit.installer.effects.getopt import Options, parse
from llmkit.installer.effects.registry import Argv, CommandFailed, Event, Result, effect
from llmkit.installer.state import Disk, SystemState

_TABLES = {"gpt": "gpt", "PMBR": "gpt", "dos": "msdos"}  # wipefs' names of partition tables
_ENDLESS = ("/dev/zero", "/dev/urandom", "/dev/random")
_DD_OPERANDS = frozenset(
    ("if", "of", "bs", "ibs", "obs", "cbs", "count", "skip", "iseek", "seek", "oseek", "conv",
     "iflag", "oflag", "status")
)  # fmt: skip
_DD_UNITS = {"c": 1, "w": 2, "b": 512, "kB": 1000, "B": 1}
_DD_SIZE = re.compile(r"(\d+)(c|w|b|kB|B|[KMGTPE](?:iB|B)?|k)?")


@effect("wipefs")
def wipefs(state: SystemState, argv: Argv) -> Result:
    """Take signatures off devices; on a disk that is its partition table, and what lay in the
    partitions stays where it was.

    Covered: -a, -f, -n, -t (also `noTYPE`), -o of a table's magic, -b and all that only prints. Not
    covered: -o elsewhere, which erases whatever has its magic there; here that is nothing.
    """
    options = parse(
        "wipefs", argv.args, "abfhiJnO:o:pqt:V",
        ("all", "backup=?", "force", "help", "noheadings", "json", "no-act", "output=", "offset=",
         "parsable", "quiet", "types=", "version", "lock=?"),
    )  # fmt: skip
    if options.has("-h", "--help", "-V", "--version"):
        return Result(state, None)
    if not options.operands:
        raise CommandFailed("wipefs: no device named")
    writes = options.has("-a", "--all", "-o", "--offset") and not options.has("-n", "--no-act")
    nodes = [devices.require(state, path, "wipefs") for path in options.operands]
    if not writes:
        return Result(state, None, events=tuple(Event("read", node) for node in nodes))
    events: list[Event] = []
    reread: list[str] = []
    for node in nodes:
        try:
            devices.require_writable(state, node, "wipefs")
            if not options.has("-f", "--force"):
                devices.require_free(state, node, "wipefs")
        except CommandFailed as failure:
            failure.state, failure.events = _reread(state, reread, events), tuple(events)
            raise
        found = devices.signature(state, node)
        if found is not None and _chosen(options, found.kind):
            events.append(Event("erase", node, found.kind))
            _, old, _ = devices.find(state, node)
            state = devices.set_signature(state, node, None)
            shown = tuple(layout.copies(old)) if old is not None else ()
            disk, _, _ = devices.find(state, node)
            if disk is not None and shown:  # only the first superblock is wiped
                left = tuple(sorted((*disk.stale, *shown), key=lambda item: item[0]))
                state = devices.replace_disk(state, replace(disk, stale=left))
        disk, part, _ = devices.find(state, node)
        if disk is not None and part is None and _table_chosen(options, disk):
            reread.append(node)
    return Result(_reread(state, reread, events), None, events=tuple(events))


def _reread(state: SystemState, nodes: list[str], events: list[Event]) -> SystemState:
    """The kernel reads the tables of these disks again, and finds none."""
    for node in nodes:
        disk, _, _ = devices.find(state, node)
        if disk is None or devices.is_busy(state, node):
            continue  # forced: the kernel keeps the partitions of a busy disk until it is free
        magics = ((510, 512), (disk.sector, disk.sector + 8), (disk.size - disk.sector, disk.size))
        state, done = layout.commit(state, disk, None, (), written=magics, backup=False)
        events.extend(done)
    return state


def _chosen(options: Options, kind: str) -> bool:
    """Does -t let this type through? `-t noext4,xfs` means all but these."""
    types = options.get("-t", "--types")
    if options.has("-o", "--offset"):
        return False
    if types is None:
        return True
    if types.startswith("no"):
        return kind not in types[2:].split(",")
    return kind in types.split(",")


def _table_chosen(options: Options, disk: Disk) -> bool:
    offset = options.get("-o", "--offset")
    stale = any(old.kind in (layout.BACKUP.kind, layout.BARE.kind) for _, old in disk.stale)
    if disk.table is None and not stale:
        return False
    if offset is not None:
        try:
            place = int(offset, 0)
        except ValueError:
            raise CommandFailed(f"wipefs: {offset} is no offset") from None
        return place in (510, disk.sector)
    return any(
        _chosen(options, name) for name, table in _TABLES.items() if table == (disk.table or "gpt")
    )


@effect("dd")
def dd(state: SystemState, argv: Argv) -> Result:
    """Copy to a device, which loses what the written bytes held, or to a file.

    Covered: if=, of=, bs=, ibs=, obs=, count=, seek=, the _bytes flags, conv= and status=. The
    length of what comes from a file or a pipe is not known: all from `seek` on counts as written.
    """
    words = dict(_operand(word) for word in argv.args if not word.startswith("--"))
    if "--help" in argv.args or "--version" in argv.args:
        return Result(state, None)
    source, target = words.get("if"), words.get("of")
    if source is not None and source.startswith("/dev/") and not devices.is_pseudo(source):
        source = devices.require(state, source, "dd")
    elif source is not None and vfs.exists(state, source, argv.root) is False:
        raise CommandFailed(f"dd: cannot open {source}: there is no such file")
    if target is None or devices.is_pseudo(target):
        reads = (Event("read", source),) if source in tuple(state.devices()) else ()
        return Result(state, None, events=reads)
    if not target.startswith("/dev/"):
        written = vfs.write_text(state, target, None, False, argv.root)
        return Result(written, None, events=(Event("file", "", target),))
    node = devices.require(state, target, "dd")
    devices.require_writable(state, node, "dd")
    block = _number(words.get("obs") or words.get("bs") or "512")
    start = _number(words.get("seek") or words.get("oseek") or "0")
    start *= 1 if "seek_bytes" in words.get("oflag", "") else block
    limit = devices.size(state, node)
    length = _length(state, words, source)
    endless = length is None and source in _ENDLESS
    end = limit if length is None else min(start + length, limit)
    full = endless or (length is not None and start + length > limit)
    if start > limit:
        raise CommandFailed(f"dd: {node} is smaller than the place to write at")
    if end <= start:
        return Result(state, None)
    state, events = written_over(state, node, start, end)
    if full:
        raise CommandFailed(
            f"dd: {node} is full, there is no space left on it", state=state, events=events
        )
    return Result(state, None, events=events)


def _operand(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or name not in _DD_OPERANDS:
        raise CommandFailed(f"dd: {word} is no operand of dd")
    return name, value


def _number(text: str) -> int:
    """Bytes or blocks: "4M", "1kB", "2x512" (dd(1)).

    Raises:
        CommandFailed: not a number.
    """
    product = 1
    for factor in text.split("x"):
        match = _DD_SIZE.fullmatch(factor)
        if match is None:
            raise CommandFailed(f"dd: {text} is no number of bytes")
        number, unit = match.groups()
        if unit == "k":
            unit = "K"
        product *= int(number) * _DD_UNITS[unit] if unit in _DD_UNITS else size.parse(factor.upper()
            .replace("IB", "iB"))  # fmt: skip
    return product


def _length(state: SystemState, words: dict[str, str], source: str | None) -> int | None:
    """How many bytes are copied at the most; None: all there are, of unknown or endless input."""
    block = _number(words.get("bs") or words.get("ibs") or "512")
    count = words.get("count")
    most = None
    if count is not None:
        most = _number(count)
        if not (count.endswith("B") or "count_bytes" in words.get("iflag", "")):
            most *= block
    if source is not None and source.startswith("/dev/") and source not in _ENDLESS:
        held = devices.size(state, source) if not devices.is_pseudo(source) else 0
        skip = _number(words.get("skip") or words.get("iseek") or "0") * block
        held = max(held - skip, 0)
        return held if most is None else min(most, held)
    return most


def written_over(
    state: SystemState, node: str, start: int, end: int
) -> tuple[SystemState, tuple[Event, ...]]:
    """Bytes `start` to `end` of a device hold something else now."""
    disk, part, _ = devices.find(state, node)
    found = devices.signature(state, node)
    events: list[Event] = [Event("erase", node, found.kind if found else "")]
    if found is not None:
        first, length = layout.magic(found.kind)
        if start < first + length and first < end:
            state = devices.set_signature(state, node, None)
            disk, part, _ = devices.find(state, node)
    if disk is None:
        return state, tuple(events)
    if part is not None:  # older content below the partition's own
        place = (part.start + start, part.start + end)
        left = tuple(layout.survivors(disk.stale, (place,)).items())
        return devices.replace_disk(state, replace(disk, stale=left)), tuple(events)
    table, parts = disk.table, disk.partitions
    if start < 512 and end > 510 and not devices.is_busy(state, node):
        table, parts = None, ()
    backup = True if disk.table == "gpt" and end <= disk.size - disk.sector else None
    if table is None:
        state, done = layout.commit(
            state, disk, None, parts, written=((start, end),), backup=backup
        )
        return state, (*events, *done)
    for each in disk.partitions:
        held = each.signature
        if held is None or each.role == "extended":
            continue
        first, length = layout.magic(held.kind)
        lower = each.start + first
        if start < lower + length and lower < end:
            path = disk.partition_path(each.number)
            events.append(Event("erase", path, held.kind))
            state = devices.set_signature(state, path, None)
    return state, tuple(events)


@effect("blkdiscard")
def blkdiscard(state: SystemState, argv: Argv) -> Result:
    """Tell a drive that its blocks are free: what they held is gone. -o, -l, -z, -s, -f, -v."""
    options = parse(
        "blkdiscard", argv.args, "fhl:o:p:qsvVz",
        ("force", "help", "length=", "offset=", "step=", "quiet", "secure", "verbose", "version",
         "zeroout"),
    )  # fmt: skip
    if len(options.operands) != 1:
        raise CommandFailed("blkdiscard: name one device")
    node = devices.require(state, options.operands[0], "blkdiscard")
    devices.require_writable(state, node, "blkdiscard")
    if not options.has("-f", "--force"):
        devices.require_free(state, node, "blkdiscard")
    try:
        start = size.parse(options.get("-o", "--offset") or "0")
        length = options.get("-l", "--length")
        end = devices.size(state, node) if length is None else start + size.parse(length)
    except ValueError as error:
        raise CommandFailed(f"blkdiscard: {error}") from None
    if end > devices.size(state, node):
        raise CommandFailed(f"blkdiscard: {node} ends before that offset and length")
    state, events = written_over(state, node, start, end)
    return Result(state, None, events=events)


@effect("partprobe", "partx", "blockdev")
def look_again(state: SystemState, argv: Argv) -> Result:
    """Make the kernel read a table again, or print what it knows: nothing here goes stale, so the
    state stays. The devices named must exist."""
    named = [word for word in argv.args if word.startswith("/dev/")]
    nodes = [devices.require(state, word, argv.program) for word in named]
    if argv.program == "blockdev" and not nodes and "--report" not in argv.args:
        raise CommandFailed("blockdev: no device named")
    return Result(state, None, events=tuple(Event("read", node) for node in nodes))
