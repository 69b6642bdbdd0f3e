"""A GPT in memory, with sgdisk's arithmetic: alignment, free space, starts and ends (gdisk 1.0.9).

    >>> sector_number("+512M", 512, 2048, 2097118, 2097118, 2048)
    1050623

All numbers are sectors; ends are inclusive.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from llmkit.installer.effects import gpt, layout
from llmkit.installer.state import Disk, Partition

_SUFFIXES = "KMGTPE"


@dataclass(slots=True)
class Entry:
    """A GPT entry in sectors; the last sector belongs to it."""

    start: int
    end: int
    type: str = gpt.LINUX
    name: str = ""
    flags: tuple[str, ...] = ()
    partuuid: str = ""


def sector_number(text: str, sector: int, low: int, high: int, default: int, alignment: int) -> int:
    """What sgdisk makes of a start or an end: "0" and "" are the default, "+512M" counts from
    the default for a start, and from `low` as a size for an end, "-100M" back from `high`. A
    default less than `alignment` below `high` is taken for an end. Nonsense gives 0."""
    text = text.lstrip(" ")
    sign = text[:1] if text[:1] in ("+", "-") else ""
    text = text[len(sign) :]
    match = re.match(r"\s*(\d+)\s*(\S?)", text)
    if match is None:
        if text:
            return 0
        number, suffix = 0, ""
    else:
        number, suffix = int(match[1]), match[2].upper()
    if number == 0:
        number, suffix, sign = default, "", ""
    if suffix in _SUFFIXES and suffix:
        unit = 1 << (10 * (_SUFFIXES.index(suffix) + 1))
        number = number * (unit // sector) if unit >= sector else number // (sector // unit)
    if sign == "+":
        number += low - 1 if high - default < alignment else default
    elif sign == "-":
        number = high - number if number <= high else 0
    return number


class Table:
    """A GPT in memory, as sgdisk holds it between reading and writing."""

    def __init__(self, disk: Disk) -> None:
        self.sector = disk.sector
        self._size = disk.size
        self.first, self.last = layout.usable("gpt", disk.size, disk.sector)
        if disk.table == "gpt":
            self.first = layout.first_usable(disk)
        self.entries: dict[int, Entry] = {}
        for part in disk.partitions:
            if part.role == "extended":
                continue
            from_mbr = disk.table == "msdos"
            kind = gpt.from_mbr(part.type) if from_mbr else part.type
            self.entries[part.number] = Entry(
                part.start // disk.sector,
                part.end // disk.sector - 1,
                kind,
                gpt.name(kind) if from_mbr else part.name,
                () if from_mbr else part.flags,
                "" if from_mbr else part.partuuid,
            )
        self.alignment = self._common_alignment(disk)
        self.align_ends = False

    def _common_alignment(self, disk: Disk) -> int:
        alignment = layout.MIB // self.sector
        for entry in self.entries.values():
            while entry.start % alignment:
                alignment //= 2
        if alignment < 8 and disk.size >= 300_000_000_000:  # Advanced Format disks: at least 4 KiB
            alignment = 8
        return alignment

    def clear(self) -> None:
        self.entries.clear()
        self.first = layout.usable("gpt", self._size, self.sector)[0]
        self.alignment = layout.MIB // self.sector

    def is_free(self, sector: int) -> bool:
        if not self.first <= sector <= self.last:
            return False
        return not any(e.start <= sector <= e.end for e in self.entries.values())

    def _clear_between(self, lower: int, upper: int) -> bool:
        """Are all sectors of [lower, upper] free?"""
        if lower < self.first or upper > self.last:
            return False
        return not any(e.start <= upper and lower <= e.end for e in self.entries.values())

    def first_available(self, start: int) -> int:
        """The first free sector from `start` on; 0: none."""
        first = max(start, self.first)
        for entry in sorted(self.entries.values(), key=lambda e: e.start):
            if entry.start <= first <= entry.end:
                first = entry.end + 1
        return first if first <= self.last else 0

    def last_in_free(self, start: int) -> int:
        """The last sector of the gap that `start` lies in."""
        return min(
            [self.last, *(e.start - 1 for e in self.entries.values() if e.start > start)],
        )

    def aligned_end(self, start: int) -> int:
        """The default end: the end of the gap, pulled back to a boundary with -I."""
        end = self.last_in_free(start)
        if self.align_ends:
            pulled = (end + 1) // self.alignment * self.alignment - 1
            if pulled > start:
                end = pulled
        return end

    def first_in_largest(self) -> int:
        best, best_size, start = 0, 0, 0
        while first := self.first_available(start):
            last = self.last_in_free(first)
            if last - first + 1 > best_size:
                best, best_size = first, last - first + 1
            start = last + 1
        return best

    def align(self, sector: int) -> int:
        """The boundary before, when nothing lies between; else the one after; else the same."""
        if sector % self.alignment == 0:
            return sector
        earlier = sector // self.alignment * self.alignment
        later = earlier + self.alignment
        if earlier >= self.first and self._clear_between(earlier, max(earlier, sector - 1)):
            return earlier
        if later <= self.last and self._clear_between(min(sector + 1, later), later):
            return later
        return sector

    def first_free_number(self) -> int:
        return next(number for number in range(1, 130) if number not in self.entries)

    def create(self, number: int, start: int, end: int) -> bool:
        if not 1 <= number <= 128 or number in self.entries:
            return False
        start = self.align(start)
        if not self.is_free(start) or start > end or self.last_in_free(start) < end:
            return False
        self.entries[number] = Entry(start, end)
        return True

    def problem(self) -> str:
        """Why this table cannot be written, or ""."""
        rows = sorted(self.entries.values(), key=lambda e: e.start)
        for entry in rows:
            if entry.start < self.first or entry.end > self.last:
                return "a partition lies where GPT keeps its own tables"
        if any(one.end >= two.start for one, two in itertools.pairwise(rows)):
            return "two partitions overlap"
        return ""

    def partitions(self) -> list[Partition]:
        return [
            Partition(
                number, e.start * self.sector, (e.end - e.start + 1) * self.sector, e.type,
                name=e.name, flags=e.flags, partuuid=e.partuuid,
            )
            for number, e in self.entries.items()
        ]  # fmt: skip
