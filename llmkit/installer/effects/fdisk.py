"""fdisk, led by a pipe: printf 'g\\nn\\n\\n\\n+512M\\nw\\n' | fdisk /dev/sda (fdisk(8), util-linux 2.38).

Each line of standard input answers one question. An answer that fdisk does not take makes it ask
again, with the next line; at the end of the input it leaves without writing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from llmkit.installer import devices
from llmkit.installer.effects import getopt, gpt, layout
from llmkit.installer.effects.fdisk_table import Entry, Table, Wanted, align_in_range
from llmkit.installer.effects.fdisk_types import TABLE
from llmkit.installer.effects.registry import Argv, CommandFailed, Result, effect
from llmkit.installer.state import SystemState

_GPT_INDEX = tuple(line.split(" ", 1)[0] for line in TABLE.splitlines())
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_PRINTS = "pmFlvi"


class _End(Exception):
    """The input ended in the middle of a dialogue."""


class _Dialogue:
    """fdisk's questions about one disk."""

    def __init__(self, table: Table, lines: list[str]) -> None:
        self.table, self.lines = table, lines

    def line(self) -> str:
        if not self.lines:
            raise _End
        return self.lines.pop(0).strip()

    def number(self, low: int, high: int, default: int, allowed: list[int] | None = None) -> int:
        """Ask until an answer lies in range; an empty one is the default."""
        while True:
            text = self.line()
            if not text and low <= default <= high:
                return default
            if re.fullmatch(r"\d+", text):
                value = int(text)
                if low <= value <= high and (allowed is None or value in allowed):
                    return value

    def last(self, start: int, high: int, default: int) -> tuple[int, bool]:
        """Ask for the last sector: a number, +sectors, +size or -size. True: given as a size."""
        unit = self.table.disk.sector
        while True:
            text = self.line()
            if not text:
                return default, False
            match = re.fullmatch(r"([+-]?)(\d+)(?:([KMGTP])(i?B)?)?", text, re.IGNORECASE)
            if match is None:
                continue
            value, sized = int(match[2]), bool(match[3])
            if sized:
                base = 1000 if (match[4] or "").lower() == "b" else 1024
                value = value * base ** _UNITS[match[3].upper()] // unit
            if match[1] == "+":
                value = start + value
            elif match[1] == "-":
                value = high - value
            if start <= value <= high:
                return value, sized and bool(match[1])

    # the commands

    def new(self) -> None:
        if self.table.kind == "gpt":
            self._new_gpt()
        else:
            self._new_dos()

    def _new_gpt(self) -> None:
        table = self.table
        free = table.free_numbers()
        if not free or table.largest() == 0:
            return
        number = self.number(free[0], 128, free[0], free)
        try:
            default = table.gpt_start()
        except CommandFailed:
            return  # "no enough free sectors available"
        low, high = table.available(0), max(table.last_free(s) for s in self._gaps())
        while True:
            start = self.number(low, high, default)
            if table.available(start) == start:
                break
        last = table.last_free(start)
        while True:
            end, sized = self.last(start, last, table.gpt_end(start))
            if sized:
                end = align_in_range(end, start, table.gpt_end(start), table.grain)
                end -= end > start
            if start <= end <= last:
                break
        table.add_gpt(Wanted(number, start, end - start + 1, exact=True))

    def _gaps(self) -> list[int]:
        found, sector = [], 0
        while first := self.table.available(sector):
            found.append(first)
            sector = self.table.last_free(first) + 1
        return found

    def _new_dos(self) -> None:
        table = self.table
        extended = table.extended()
        free = table.free_numbers()
        kind = "l"
        if table.primary_possible():
            default = "e" if len(free) == 1 and extended is None else "p"
            choices = ("p", "l") if extended is not None else ("p", "e")
            kind = self._choice(default, choices)
        elif extended is None:
            return  # "replace a primary partition with an extended one first"
        number = None
        if kind != "l":
            number = free[0] if len(free) == 1 else self.number(free[0], free[-1], free[0], free)
        logical = kind == "l"
        try:
            default_start = table.dos_start(logical)[1]
        except CommandFailed:
            return
        low = table.grain + (extended.start if logical and extended is not None else 0)
        low = table._unused(low, logical)
        limit = table.limit(logical)
        while True:
            start = self.number(low, limit, default_start)
            if not table._covered(start, logical):
                break
        high = table.dos_last(start, logical)
        end, sized = self.last(start, high, high)
        if end < high and sized and end - start >= table.grain:  # a tiny one is not aligned
            end = min(align_in_range(end, start, high, table.grain) - 1, high)
        size = end - start + 1
        wanted = Wanted(number, start, size, exact=True, type="05" if kind == "e" else None)
        table.place_dos(wanted, logical=logical)

    def _choice(self, default: str, choices: tuple[str, ...]) -> str:
        while True:
            text = self.line() or default
            if text[0] in choices:
                return text[0]

    def _pick(self) -> Entry | None:
        """A partition: the only one, or the one that is answered."""
        numbers = self.table.numbers()
        if not numbers:
            return None
        if len(numbers) == 1:
            return self.table.get(numbers[0])
        number = self.number(numbers[0], numbers[-1], numbers[-1], numbers)
        return self.table.get(number)

    def delete(self) -> None:
        entry = self._pick()
        if entry is not None:
            self.table.remove(entry)

    def retype(self) -> None:
        entry = self._pick()
        while entry is not None:
            text = self.line()
            if text in ("L", "l", ""):
                continue
            kind = self._type(text)
            if kind is not None:
                self._set_type(entry, kind)
            return  # what it does not know leaves the type as it was

    def _type(self, text: str) -> str | None:
        if self.table.kind == "gpt":
            if text.isdigit():
                index = int(text)
                return _GPT_INDEX[index - 1] if 1 <= index <= len(_GPT_INDEX) else None
            lower = text.lower()
            return gpt.SFDISK_GPT.get(text) or (lower if gpt.GUID.fullmatch(lower) else None)
        if re.fullmatch(r"[0-9a-fA-F]{1,2}", text):
            return text.lower().zfill(2)
        return gpt.SFDISK_MBR.get(text, "00")  # as the real one, which warns

    def _set_type(self, entry: Entry, kind: str) -> None:
        if self.table.kind == "msdos" and gpt.is_extended(kind) != (entry.role == "extended"):
            return  # "delete it first"
        entry.type = kind

    def activate(self) -> None:
        if self.table.kind != "msdos":
            return
        entry = self._pick()
        if entry is not None and entry.role != "extended":
            entry.flags = () if "boot" in entry.flags else ("boot",)


@effect("fdisk")
def fdisk(state: SystemState, argv: Argv) -> Result:
    """Partition by answering fdisk's questions from standard input (fdisk(8), util-linux 2.38).

    Covered: g o n d t a w q and the printing commands, their defaults, relative ends; -l.
    Not covered: the expert menu (x), other tables, scripts (I, O). Writing while a partition is in
    use works, and leaves that partition as it is. Status 0 even when nothing was written, as the
    real one.
    """
    options = getopt.parse(
        "fdisk", argv.args, "b:Bc::C:hH:lLnNo:S:t:uvVw:W:xs",
        ("sector-size=", "protect-boot", "compatibility=?", "color=?", "list", "list-details",
         "output=", "type=", "units=?", "getsz", "bytes", "noauto-pt", "lock=?", "wipe=",
         "wipe-partitions=", "cylinders=", "heads=", "sectors=", "help", "version"),
    )  # fmt: skip
    if options.has("-l", "--list", "-h", "--help", "-V", "-v", "--version", "-s", "--getsz", "-x"):
        for path in options.operands:
            devices.require(state, path, "fdisk")
        return Result(state)
    if not options.operands:
        raise CommandFailed("fdisk: name the disk to partition")
    disk = layout.target(state, options.operands[0], "fdisk")
    layout.require_writable(disk, "fdisk")
    if argv.stdin is None:
        raise CommandFailed("fdisk: its answers are not known")
    table = Table.read(disk) if disk.table else Table.new(disk, "msdos")
    talk = _Dialogue(table, argv.stdin.splitlines())
    commands: dict[str, Callable[[], None]] = {
        "n": talk.new, "d": talk.delete, "t": talk.retype, "a": talk.activate,
    }  # fmt: skip
    try:
        while (command := talk.line()[:1]) != "q":  # the first letter counts
            if command in ("s", "G"):
                raise CommandFailed("fdisk: Sun and SGI tables are not modelled; use g or o")
            if command == "w":
                state, events = talk.table.write(state)
                return Result(state, events=events)
            if command in ("g", "o"):
                talk.table = Table.new(disk, "gpt" if command == "g" else "msdos")
                talk.table.wipes = True
            elif command in commands:
                commands[command]()
            elif command == "i":
                talk._pick()
    except _End:
        pass
    return Result(state)
