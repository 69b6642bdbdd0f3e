"""Where parted puts a partition: units, tolerance, alignment and the nearest place that fits.

    >>> sector_of("512MiB", Units(2097152, 512))
    (1048576, (1048576, 1048576))

libparted (3.5) works with constraints: a range and a grain for the start, the same for the end.
A place in kB, MB, GB, TB or % is meant with a tolerance of half a unit, one in KiB, MiB, … or
sectors exactly. All numbers are sectors; ranges and ends are inclusive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from llmkit.installer.effects.registry import CommandFailed

Range = tuple[int, int]
_UNITS = {
    "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40,
}  # fmt: skip
_CYLINDER = 255 * 63  # sectors of parted's made-up cylinder


@dataclass(frozen=True, slots=True)
class Units:
    """What a bare number means, on a disk of so many sectors."""

    length: int
    sector: int
    default: str = "m"  # key of _UNITS, "s", "%" or "c"


def unit_of(word: str) -> str | None:
    """The unit that a suffix or the word after `unit` names; None when it names none."""
    word = word.lower()
    if len(word) > 1 and word[1] == "i" and word[:2] in _UNITS:
        return word[:2]
    return word[0] if word and word[0] in "sbkmgtc%" else None


def sector_of(text: str, units: Units) -> tuple[int, Range]:
    """The sector that a place means, and the range that will do.

    Raises:
        CommandFailed: not a place, or outside of the disk.
    """
    text = text.strip()
    match = re.match(r"[+-]?(?:\d+\.?\d*|\.\d+)", text)
    if match is None:
        raise CommandFailed(f"parted: {text!r} is no place on a disk (write 1MiB, 50% or 2048s)")
    number = float(match[0])
    if 0 < number < 1:
        raise CommandFailed(f"parted: {text!r}: use a smaller unit instead of a value below 1")
    suffix = text[match.end() :].strip()
    unit = unit_of(suffix) or units.default
    if unit == "s":
        size = units.sector
    elif unit == "%":
        size = units.length * units.sector // 100
    elif unit == "c":
        size = _CYLINDER * units.sector
    else:
        size = _UNITS[unit]
    exact = unit.endswith("i")
    radius = 0 if exact else max(-(-size // units.sector) // 2 - 1, 0)
    sector = int(number * size / units.sector)
    if text.startswith("-"):
        sector += units.length
    last = units.length - 1
    low, high = _clip(sector - radius, last), _clip(sector + radius, last)
    if sector - high > radius or low - sector > radius:
        raise CommandFailed(f"parted: {text} lies outside of the disk")
    return _clip(sector, last), (low, high)


def _clip(sector: int, last: int) -> int:
    return min(max(sector, 0), last)


def ends_in_iec(text: str, units: Units) -> bool:
    """Does parted take the end as exclusive: 512MiB means up to the sector before it?"""
    text = text.strip()
    if re.search(r"[kMGTPEZY][iI][bB]$", text) and len(text) >= 4:
        return True
    return text[-1:].isdigit() and units.default.endswith("i")


@dataclass(frozen=True, slots=True)
class Constraint:
    """Where the start and the end may lie. A grain of 1 admits every sector."""

    start: Range
    end: Range
    grain: int = 1  # starts at multiples of it, ends one before such a multiple

    def meet(self, other: Constraint | None) -> Constraint | None:
        """What both admit."""
        if other is None:
            return None
        start = _meet(self.start, other.start)
        end = _meet(self.end, other.end)
        if start is None or end is None:
            return None
        return Constraint(start, end, max(self.grain, other.grain))

    def nearest(self, start: int, end: int) -> Range | None:
        """The admitted start nearest to `start`, then the end nearest to `end`."""
        first_end = _aligned(self.end[0], self.grain, -1, self.end, up=False)
        last_end = _aligned(self.end[1], self.grain, -1, self.end, up=True)
        if first_end is None or last_end is None or first_end > last_end:
            return None
        starts = _meet((0, last_end), self.start)
        if starts is None:
            return None
        place = _nearest(start, self.grain, 0, starts)
        if place is None:
            return None
        ends = _meet((place, 1 << 62), self.end)
        if ends is None:
            return None
        last = _nearest(end, self.grain, -1, ends)
        return None if last is None else (place, last)


def _meet(one: Range, two: Range) -> Range | None:
    low, high = max(one[0], two[0]), min(one[1], two[1])
    return (low, high) if low <= high else None


def _aligned(sector: int, grain: int, offset: int, within: Range, *, up: bool) -> int | None:
    """`sector` moved to a multiple of the grain (plus offset), then into `within`."""
    steps = (sector - offset) // grain
    if up and (sector - offset) % grain:
        steps += 1
    place = steps * grain + offset
    if place < within[0]:
        place += -(-(within[0] - place) // grain) * grain
    if place > within[1]:
        place -= -(-(place - within[1]) // grain) * grain
    return place if within[0] <= place <= within[1] else None


def _nearest(sector: int, grain: int, offset: int, within: Range) -> int | None:
    up = _aligned(sector, grain, offset, within, up=True)
    down = _aligned(sector, grain, offset, within, up=False)
    if up is None or down is None:
        return down if up is None else up
    return up if abs(sector - up) < abs(sector - down) else down


@dataclass(slots=True)
class Slot:
    """A partition as parted holds it."""

    number: int
    start: int
    end: int
    role: str = "primary"
    type: str = ""
    name: str = ""
    flags: tuple[str, ...] = ()
    partuuid: str = ""


@dataclass(slots=True)
class Label:
    """A partition table in parted's memory."""

    kind: str  # gpt or msdos
    length: int  # sectors of the disk
    first: int
    last: int
    slots: list[Slot]

    def slot(self, number: int) -> Slot | None:
        return next((slot for slot in self.slots if slot.number == number), None)

    def extended(self) -> Slot | None:
        return next((slot for slot in self.slots if slot.role == "extended"), None)

    def row(self, role: str) -> list[Slot]:
        """The partitions of a level (logical, or all others), by start."""
        logical = role == "logical"
        found = [slot for slot in self.slots if (slot.role == "logical") == logical]
        return sorted(found, key=lambda slot: slot.start)

    def free_number(self, role: str) -> int:
        """The number that a new partition gets; 0 when there is no room for one."""
        taken = {slot.number for slot in self.slots}
        if role == "logical":
            return next(number for number in range(5, 1000) if number not in taken)
        top = 4 if self.kind == "msdos" else 128
        return next((number for number in range(1, top + 1) if number not in taken), 0)

    def metadata_start(self, slot: Slot) -> int:
        """Where parted keeps the sector that describes a logical partition: right behind the one
        before, but not further back than the start of the cylinder."""
        extended = self.extended()
        assert extended is not None  # a logical partition lies in one
        before = [s.end + 1 for s in self.row("logical") if s.start < slot.start]
        lower = max(before) if before else extended.start + 1
        return max((slot.start - 1) // _CYLINDER * _CYLINDER, lower)

    def _fixed(self) -> list[Range]:
        """Partitions and the table's own sectors, in order, on the outer level."""
        rows = [(slot.start, slot.end) for slot in self.row("primary")]
        if self.kind == "gpt":
            return [(0, self.first - 1), *rows, (self.last + 1, self.length - 1)]
        head = min(62, rows[0][0] - 1) if rows else 62
        return [(0, head), *rows] if head > 0 else rows

    def around(self, sector: int) -> Range:
        """The partition, gap or table area that a sector lies in (parted's snapping looks at its
        borders)."""
        found = _piece(self._fixed(), (0, self.length - 1), sector)
        extended = self.extended()
        if extended is None or not extended.start <= sector <= extended.end:
            return found
        inner: list[Range] = []
        for slot in self.row("logical"):
            lower = self.metadata_start(slot)
            if slot.number != 5 or slot.start - lower >= 63:
                inner.append((lower, slot.start - 1))
            inner.append((slot.start, slot.end))
        return _piece(inner, (extended.start, extended.end), sector)

    def _gap(self, role: str, start: int, moved: Slot | None) -> Constraint | None:
        """The space between the partitions around `start`."""
        extended = self.extended() if role == "logical" else None
        low, high = (extended.start, extended.end) if extended else (0, self.length - 1)
        row = self.row(role)
        index = 0
        while index < len(row) and (row[index].start < start or low >= row[index].start):
            if row[index] is not moved:
                low = row[index].end + 1
            index += 1
        if index < len(row) and row[index] is moved:
            index += 1
        if index < len(row):
            high = row[index].start - 1
        return Constraint((low, high), (low, high)) if low < high else None

    def _own(self, slot: Slot, start: int) -> Constraint | None:
        """What this kind of table asks for itself."""
        if self.kind == "gpt":
            return Constraint((self.first, self.last), (self.first, self.last))
        if slot.role == "primary":
            return Constraint((1, self.length - 1), (1, self.length - 1))
        if slot.role == "extended":
            return self._extended_room()
        return self._logical_room(slot, start)

    def _extended_room(self) -> Constraint:
        inner = sorted(self.row("logical"), key=lambda slot: slot.number)
        if not inner:
            return Constraint((1, self.length - 1), (1, self.length - 1))
        low, high = inner[0].start - 2, inner[0].end
        for slot in inner[1:]:
            low = min(low, slot.start - 2) if slot.start < low else low
            high = max(high, slot.end)
        return Constraint((1, low), (high, self.length - 1))

    def _logical_room(self, slot: Slot, start: int) -> Constraint | None:
        """Room for the partition and for the sector that describes it (none for number 5)."""
        extended = self.extended()
        assert extended is not None  # add() refuses a logical partition without one
        other = int(slot.number != 5)
        low, high = extended.start + 1 + other, extended.end
        row = self.row("logical")
        index = 0
        while index < len(row):
            lead = row[index].start - int(row[index].number != 5)
            if not (lead < start - other or lead <= low):
                break
            if row[index] is not slot:
                low = row[index].end + 1 + other
            index += 1
        while index < len(row) and row[index] is slot:
            index += 1
        if index < len(row):
            high = row[index].start - 1 - int(row[index].number != 5)
        return Constraint((low, high), (low, high)) if low < high else None

    def place(
        self, slot: Slot, start: int, end: int, wanted: Constraint, moved: bool = False
    ) -> Range | None:
        """The nearest place that all constraints admit."""
        gap = self._gap(slot.role, start, slot if moved else None)
        room = wanted.meet(gap)
        own = self._own(slot, start)
        admitted = own.meet(room) if own is not None else None
        return None if admitted is None else admitted.nearest(start, end)


def _piece(fixed: list[Range], whole: Range, sector: int) -> Range:
    low = whole[0]
    for start, end in fixed:
        if sector < start:
            return (low, start - 1)
        if sector <= end:
            return (start, end)
        low = end + 1
    return (low, whole[1])


@dataclass(slots=True)
class _Edge:
    """One end of a new partition, and where it may snap to."""

    sector: int
    within: Range
    down: int | None
    up: int | None

    def choose(self, *, is_start: bool) -> tuple[str, int]:
        """Which way it wants to go, and how far."""
        down = self.down if self._admits(self.down) else None
        up = self.up if self._admits(self.up) else None
        if down is None and up is None:
            return "still", 0
        if up is None or (
            down is not None
            and (
                self.sector - down < up - self.sector
                or (self.sector - down == up - self.sector and is_start)
            )
        ):
            assert down is not None
            return "down", self.sector - down
        return "up", up - self.sector

    def _admits(self, sector: int | None) -> bool:
        return sector is not None and self.within[0] <= sector <= self.within[1]


def snap(label: Label, start: int, end: int, starts: Range, ends: Range) -> Range:
    """Move both ends to the borders of what lies there, where the tolerance admits it: parted's way
    of using up small gaps."""
    first, last = label.around(start), label.around(end)
    one = _Edge(start, starts, first[0], first[1] + 1)
    two = _Edge(end, ends, last[0] - 1, last[1])
    if first == last:  # do not let them cross
        one.up, two.down = None, None
    want_start, far_start = one.choose(is_start=True)
    want_end, far_end = two.choose(is_start=False)
    if first[1] + 1 == last[0] and want_start == "up" and want_end == "down":
        if far_end < far_start:
            one = replace(one, up=None)
            want_start, _ = one.choose(is_start=True)
        else:
            two = replace(two, down=None)
            want_end, _ = two.choose(is_start=False)
    start = {"up": first[1] + 1, "down": first[0], "still": start}[want_start]
    end = {"up": last[1], "down": last[0] - 1, "still": end}[want_end]
    return start, end
