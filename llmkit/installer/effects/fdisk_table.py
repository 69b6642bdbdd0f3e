"""A partition table in memory, with libfdisk's arithmetic (util-linux 2.38): sfdisk and fdisk share it.

    >>> align_in_range(207871, 2048, 2097118, 2048)
    206848

GPT: a new partition goes by default to the start of the largest gap. msdos: to the first gap, and
into the extended partition when no primary one is possible. Sizes given in MiB and so on are rounded
to 1 MiB, those in sectors are not. All numbers are sectors; ends are inclusive.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from llmkit.installer import devices
from llmkit.installer.effects import gpt, layout
from llmkit.installer.effects.registry import CommandFailed, Event
from llmkit.installer.state import Disk, Partition, SystemState


def align_in_range(sector: int, low: int, high: int, grain: int) -> int:
    """The boundary nearest to `sector` that lies within [low, high]; `sector` itself when the range
    holds no whole grain."""
    low = -(-low // grain) * grain
    high = high // grain * grain
    if low + grain > high:
        return sector
    nearest = (sector + grain // 2) // grain * grain
    return min(max(nearest, low), high)


@dataclass(slots=True)
class Entry:
    """One partition."""

    number: int
    start: int
    end: int
    type: str
    role: str = "primary"
    name: str = ""
    flags: tuple[str, ...] = ()
    partuuid: str = ""
    record: int = 0  # where the EBR of a logical partition lies


@dataclass(slots=True)
class Wanted:
    """What is asked of a new partition; None is the default."""

    number: int | None = None
    start: int | None = None
    size: int | None = None
    exact: bool = False  # the size was given in sectors
    largest: bool = False  # "+": up to the end of the gap
    type: str | None = None
    name: str = ""
    flags: tuple[str, ...] = ()
    partuuid: str = ""


class Table:
    """A table of a disk, as libfdisk holds it."""

    def __init__(self, disk: Disk, kind: str | None, entries: list[Entry]) -> None:
        self.disk, self.kind, self.entries = disk, kind, entries
        self.total = disk.size // disk.sector
        self.grain = layout.MIB // disk.sector
        self.first, self.last = layout.usable(kind or "msdos", disk.size, disk.sector)
        self.fresh = False  # the label was made new
        self.wipes = False  # what an old label leaves behind is cleared

    @classmethod
    def read(cls, disk: Disk) -> Table:
        """The table that is on the disk."""
        unit = disk.sector
        entries = [
            Entry(
                p.number, p.start // unit, p.end // unit - 1, p.type, p.role, p.name, p.flags,
                p.partuuid,
            )
            for p in disk.partitions
        ]  # fmt: skip
        table = cls(disk, disk.table, entries)
        if disk.table == "gpt":
            table.first = layout.first_usable(disk)
        for entry in entries:
            if entry.role == "logical":
                entry.record = max(entry.start - table.grain, 0)
        return table

    @classmethod
    def new(cls, disk: Disk, kind: str) -> Table:
        """An empty table."""
        table = cls(disk, kind, [])
        table.fresh = True
        if kind == "gpt":
            table.first = table.grain
        return table

    def get(self, number: int) -> Entry | None:
        return next((entry for entry in self.entries if entry.number == number), None)

    def numbers(self) -> list[int]:
        return sorted(entry.number for entry in self.entries)

    def extended(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.role == "extended"), None)

    def free_numbers(self) -> list[int]:
        """Numbers that a new GPT or primary partition may take."""
        taken = set(self.numbers())
        return [n for n in range(1, 129 if self.kind == "gpt" else 5) if n not in taken]

    # GPT

    def available(self, sector: int) -> int:
        """The first free sector from `sector` on; 0: none (GPT)."""
        sector = max(sector, self.first)
        for entry in sorted(self.entries, key=lambda e: e.start):
            if entry.start <= sector <= entry.end:
                sector = entry.end + 1
        return sector if sector <= self.last else 0

    def last_free(self, sector: int) -> int:
        """The end of the gap that `sector` lies in (GPT)."""
        return min([self.last, *(e.start - 1 for e in self.entries if e.start > sector)])

    def largest(self) -> int:
        """The first sector of the largest gap; 0: none (GPT)."""
        best, best_size, sector = 0, 0, 0
        while first := self.available(sector):
            last = self.last_free(first)
            if last - first + 1 > best_size:
                best, best_size = first, last - first + 1
            sector = last + 1
        return best

    def gpt_start(self) -> int:
        """The default start.

        Raises:
            CommandFailed: the disk is full.
        """
        first = self.largest()
        if first == 0 or self.last_free(first) - first + 1 < self.grain:
            raise CommandFailed("not enough free space is left on the disk")
        return align_in_range(first, first, self.last_free(first), self.grain)

    def gpt_end(self, start: int) -> int:
        """The default end: the gap's; at the end of the disk, pulled back to a boundary, or by one
        sector where there is none."""
        last = self.last_free(start)
        if last != self.last:
            return last
        return align_in_range(last, start, last, self.grain) - 1

    def add_gpt(self, wanted: Wanted) -> Entry:
        """Raises:
        CommandFailed: it does not fit.
        """
        free = self.free_numbers()
        number = wanted.number or (free[0] if free else 0)
        if number not in free:
            raise CommandFailed(f"partition {number} exists already")
        start = wanted.start if wanted.start is not None else self.gpt_start()
        if self.available(start) != start:
            raise CommandFailed(f"sector {start} is in use already")
        last = self.last_free(start)
        if wanted.size is None:
            end = self.gpt_end(start)
        else:
            end = start + wanted.size - 1
            usual = self.gpt_end(start)
            if end not in (usual, last) and not wanted.exact and end - start >= self.grain:
                end = align_in_range(end, start, usual, self.grain) - 1
        # Sectors that were given exactly, and a size in a gap without a whole MiB, may reach into
        # the next partition: only writing fails.
        reach = self.last if wanted.size is not None else last
        if end < start or end > reach:
            raise CommandFailed(f"partition {number} does not fit there")
        return self._append(wanted, number, start, end, "primary", gpt.LINUX)

    # msdos

    def _spans(self, logical: bool) -> list[tuple[int, int]]:
        spans = [
            (entry.start, entry.end)
            for entry in sorted(self.entries, key=lambda e: e.number)
            if entry.role != "extended"
        ]
        extended = self.extended()
        if extended is not None and not logical:
            spans.append((extended.start, extended.end))
        return spans

    def _unused(self, sector: int, logical: bool) -> int:
        """The first sector from `sector` on that no partition covers; logical ones leave room for
        the record of the next."""
        moved = True
        while moved:
            moved = False
            for first, last in self._spans(logical):
                reach = last + (self.grain if logical else 0)
                if first <= sector <= reach:
                    sector, moved = reach + 1, True
        return sector

    def limit(self, logical: bool) -> int:
        extended = self.extended()
        return extended.end if logical and extended is not None else self.total - 1

    def _last_unused(self, logical: bool) -> int:
        """The last sector that no partition covers: what alignment has to stay below."""
        limit = self.limit(logical)
        for first, last in sorted(self._spans(logical), reverse=True):
            border = first - (self.grain if logical else 0)
            if border <= limit <= last:
                limit = border - 1
        return limit

    def dos_start(self, logical: bool, size: int = 1) -> tuple[int, int]:
        """The first gap that has room for so many sectors: its first sector, the default start.

        Raises:
            CommandFailed: no room is left.
        """
        extended = self.extended()
        start = self.grain + (extended.start if logical and extended is not None else 0)
        limit = self._last_unused(logical)
        while True:
            first = default = self._unused(start, logical)
            while default < limit:
                aligned = align_in_range(default, default, limit, self.grain)
                default = self._unused(aligned, logical)
                if default <= aligned:
                    break
            if default >= limit:
                default = first
            if first > limit or default > limit:
                raise CommandFailed("no free space is left for it")
            last = self.dos_last(default, logical)
            if default + size - 1 <= last:
                return first, default
            start = last + 1

    def dos_given(self, start: int, logical: bool, sized: bool) -> int:
        """Where a partition goes that is asked to start at `start`: there; when that is in use,
        behind what covers it (libfdisk only mentions it).

        Raises:
            CommandFailed: `start` is in use, and all before it too, or a size was asked for.
        """
        if not self._covered(start, logical):
            return start
        if sized or start < self.dos_start(logical)[0]:
            raise CommandFailed(f"sector {start} is in use already")
        return self._unused(start, logical)

    def dos_last(self, start: int, logical: bool) -> int:
        """The last sector that a partition from `start` on may have."""
        limit = self.limit(logical)
        for entry in self.entries:
            borders = [entry.start]
            if entry.role == "logical" and logical:
                # a grain is left for its record, also before the first, whose record lies elsewhere
                borders += [entry.record, entry.start - self.grain]
            if entry.role == "extended" and logical:
                continue
            for border in borders:
                if start < border <= limit:
                    limit = border - 1
        return limit

    def primary_possible(self) -> bool:
        """Is there a free number, and a gap of 1 MiB outside of the partitions in the MBR?"""
        if not self.free_numbers():
            return False
        last, found = self.grain, False
        for number in range(1, 5):
            entry = self.get(number)
            if entry is not None:
                found = found or last + self.grain <= entry.start
                last = entry.end + 1
        return found or last + self.grain <= self.total

    def add_dos(self, wanted: Wanted) -> Entry:
        """Add a partition where a script's line puts it.

        Raises:
            CommandFailed: it does not fit.
        """
        extended = self.extended()
        inside = (
            extended is not None
            and wanted.start is not None
            and extended.start <= wanted.start <= extended.end
        )
        if wanted.type is not None and gpt.is_extended(wanted.type) and not inside:
            if extended is not None:
                raise CommandFailed("an extended partition exists already")
            if not self.primary_possible():
                raise CommandFailed("no room is left for an extended partition")
            return self.place_dos(wanted, logical=False)
        outside = extended is not None and wanted.start is not None and not inside
        logical = inside or (not outside and not self.primary_possible())
        if logical and extended is None:
            raise CommandFailed("no more primary partition is possible")
        return self.place_dos(wanted, logical=logical)

    def place_dos(self, wanted: Wanted, *, logical: bool) -> Entry:
        """Add a primary, extended or logical partition.

        Raises:
            CommandFailed: it does not fit.
        """
        if logical:
            number = max([4, *(e.number for e in self.entries if e.role == "logical")]) + 1
        else:
            free = self.free_numbers()
            number = wanted.number or (free[0] if free else 0)
            if number not in free:
                raise CommandFailed(f"partition {number} exists already")
        size = 1 if wanted.largest else wanted.size or 1
        start = wanted.start
        if start is None:
            start = self.dos_start(logical, size)[1]
        around = self.extended() if logical else None
        if start < self.grain + (around.start if around is not None else 0):
            raise CommandFailed(f"sector {start} is too early; leave 1 MiB in front")
        start = self.dos_given(start, logical, wanted.size is not None and not wanted.largest)
        limit = self.dos_last(start, logical)
        if start > limit:
            raise CommandFailed("no free space is left for it")
        end = limit
        if wanted.size is not None and not wanted.largest:
            end = start + wanted.size - 1
            if end > limit:  # the real one makes a partition without a sector of it
                raise CommandFailed(f"partition {number} is larger than the free space")
            if end < limit and not wanted.exact and wanted.size < self.grain:
                end += 1  # a tiny one is not aligned, and gets a sector too many
            elif end < limit and not wanted.exact:
                end = min(align_in_range(end + 1, start, limit, self.grain) - 1, limit)
        if end < start:
            raise CommandFailed(f"partition {number} does not fit there")
        kind = wanted.type or "83"
        role = "logical" if logical else "extended" if gpt.is_extended(kind) else "primary"
        entry = self._append(wanted, number, start, end, role, "83")
        if logical:
            extended = self.extended()
            assert extended is not None  # the caller looked
            entry.record = extended.start if number == 5 else start - self.grain
            if entry.record == extended.start and number != 5:
                entry.record += 1
        return entry

    def _covered(self, sector: int, logical: bool) -> bool:
        return any(first <= sector <= last for first, last in self._spans(logical))

    def _append(
        self, wanted: Wanted, number: int, start: int, end: int, role: str, kind: str
    ) -> Entry:
        entry = Entry(
            number, start, end, wanted.type or kind, role, wanted.name, wanted.flags,
            wanted.partuuid,
        )  # fmt: skip
        self.entries.append(entry)
        return entry

    # both

    def add(self, wanted: Wanted) -> Entry:
        """Add a partition as a script's line describes it."""
        return self.add_gpt(wanted) if self.kind == "gpt" else self.add_dos(wanted)

    def remove(self, entry: Entry) -> None:
        """Delete a partition; logical ones behind it move up by one number."""
        self.entries.remove(entry)
        if entry.role == "extended":
            self.entries = [e for e in self.entries if e.role != "logical"]
        elif entry.role == "logical":
            for other in self.entries:
                if other.role == "logical" and other.number > entry.number:
                    other.number -= 1

    def _overlaps(self) -> bool:
        ordered = sorted(self.entries, key=lambda entry: entry.start)
        return any(one.end >= other.start for one, other in itertools.pairwise(ordered))

    def write(self, state: SystemState) -> tuple[SystemState, tuple[Event, ...]]:
        """Put the table on the disk. A partition in use stays as the kernel has it.

        Raises:
            CommandFailed: two partitions of a GPT overlap; an msdos table that was there before a
                new GPT was wiped by then, another GPT was not.
        """
        disk = state.disk(self.disk.name)
        assert disk is not None  # it was read from this state
        unit = disk.sector
        if self.kind == "gpt" and self._overlaps():
            events: tuple[Event, ...] = ()
            if self.fresh and disk.table == "msdos":
                state, events = layout.commit(
                    state, disk, None, (), written=((510, 512),), backup=None
                )
            raise CommandFailed("sfdisk: partitions overlap", state=state, events=events)
        parts = [
            Partition(
                e.number, e.start * unit, (e.end - e.start + 1) * unit, e.type, e.role, e.name,
                e.flags, e.partuuid,
            )
            for e in self.entries
        ]  # fmt: skip
        kept = {p.number: p for p in disk.partitions if devices.is_busy(
            state, disk.partition_path(p.number))}  # fmt: skip
        if kept and self.kind == disk.table:
            parts = [p for p in parts if p.number not in kept and not any(
                p.start < k.end and k.start < p.end for k in kept.values())]  # fmt: skip
            parts.extend(kept.values())
        elif kept:
            return state, ()
        written = [
            (e.record * unit, e.record * unit + 512) for e in self.entries if e.role == "logical"
        ]
        left = None  # does a GPT's second copy stay?
        if self.fresh and disk.table == "gpt":
            left = not self.wipes
            if self.wipes:
                written.extend(layout.table_extents("gpt", disk.size, unit))
        return layout.commit(
            state,
            disk,
            self.kind,
            parts,
            written=written,
            backup=False if self.kind == "gpt" else left,
            from_mib=self.kind == "gpt" and self.first == self.grain,
        )
