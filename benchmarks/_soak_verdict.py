"""Whether a soak held, by its series: for benchmarks/soak.py.

A trend is the median of the slopes between all pairs of minutes (Theil and Sen), with Sen's interval
of 95%: single slow minutes do not move it. Three answers are possible:

- it grows: the interval's lower end is above what is allowed, so that noise is no growth; or it rose
  late and stayed, which a trend of the whole does not show (`rise`);
- it cannot be told: the upper end is above what would have to be seen (UNSURE, TWICE). The run does
  not pass, as a growth of that size might be in it;
- it holds: what growth there may be lies below that.

In 20 minutes on the idle machine the upper ends were 16% to 31% of the latency, and 1 MB; beside another
job 45% and 49%. A longer run tells a smaller growth an hour.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Pairs = Sequence[tuple[float, float]]  # seconds since the beginning, value

WARM = 0.25  # of the run: code is made, caches fill; nothing is judged
Z = 1.96  # 95%
GROWS = 0.03  # of the worker's memory in the judged part: more is a leak …
NOISE = 16.0  # … if it is more than these MB, which the allocator moves to and fro
SLOWER = 0.10  # of the median latency in the judged part
UNSURE = 0.5  # of the median latency: a growth by half must be seen, or the run says nothing
TWICE = 2.0  # times what memory may grow: a leak of that size must be seen
LAST = 2  # minutes at the end for which a rise of memory must last to be one


@dataclass(frozen=True, slots=True)
class Trend:
    """How much a value grows over the judged part: likely, and between what."""

    growth: float
    low: float
    high: float
    median: float

    def __str__(self) -> str:
        return f"{self.growth:+.3g} ({self.low:+.3g} to {self.high:+.3g}) of {self.median:.3g}"


def by_minute(pairs: Pairs, start: float) -> list[tuple[float, float]]:
    """Medians of the minutes that begin at `start` or later. A last one that is cut short, with less
    than half of the usual values, is left out."""
    found: dict[int, list[float]] = {}
    for moment, value in pairs:
        if moment >= start:
            found.setdefault(int((moment - start) // 60), []).append(value)
    whole = statistics.median(map(len, found.values())) if found else 0
    if len(found) > 1 and 2 * len(found[max(found)]) < whole:
        del found[max(found)]
    return [(minute, statistics.median(values)) for minute, values in sorted(found.items())]


def trend(pairs: Pairs, start: float) -> Trend | None:
    """Of the time from `start` on; None where there are fewer than five minutes."""
    points = by_minute(pairs, start)
    count = len(points)
    if count < 5:
        return None
    slopes = sorted(
        (later[1] - first[1]) / (later[0] - first[0])
        for place, first in enumerate(points)
        for later in points[place + 1 :]
    )
    spread = Z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(int((len(slopes) - spread) / 2), 0)
    span = points[-1][0] - points[0][0]
    growth, least, most = (
        span * slope for slope in (statistics.median(slopes), slopes[low], slopes[-1 - low])
    )
    return Trend(growth, least, most, statistics.median(value for _, value in points))


def rise(pairs: Pairs, start: float, last: int = 0) -> float:
    """By how much every one of the last minutes (`last` of them; 0: a third) lies above every one of
    the first third: what came late, and stayed. Negative when it did not."""
    values = [value for _, value in by_minute(pairs, start)]
    third = len(values) // 3
    if third < (2 if last else 4):  # so few minutes lie apart by chance
        return 0.0
    return min(values[-(last or third) :]) - max(values[:third])


def unexplained(memory: Pairs, held: Pairs, token: float) -> list[tuple[float, float]]:
    """The worker's memory less what the cache took so far: `token` MB for each token it held at most
    (pages once written stay)."""
    most, place, made = 0.0, 0, []
    ordered = sorted(held)
    for moment, value in sorted(memory):
        while place < len(ordered) and ordered[place][0] <= moment:
            most = max(most, ordered[place][1])
            place += 1
        made.append((moment, value - most * token))
    return made


def memory_fails(memory: Pairs, held: Pairs, token: float, bound: float) -> list[str]:
    """After the warm-up: within the cache's bound, and no growth that the cache does not explain."""
    start = WARM * memory[-1][0]
    broken = []
    first = by_minute(memory, start)[0][1]
    allowed = max(GROWS * first, NOISE)
    largest = max(value for moment, value in memory if moment >= start)
    if largest > first + bound + allowed:
        broken.append(f"memory: {first:.0f} MB after the warm-up, then {largest:.0f} MB")
    left = unexplained(memory, held, token)
    found = trend(left, start)
    if found is None:
        broken.append("too short for a verdict on memory")
    elif found.low > allowed:
        broken.append(f"memory grows beyond the cache: MB after the warm-up {found}")
    elif (late := rise(left, start, LAST)) > allowed:
        broken.append(f"memory grows beyond the cache: {late:.0f} MB more at the end")
    elif found.high > TWICE * allowed:
        broken.append(f"memory cannot be told: MB after the warm-up {found}")
    return broken


def latency_fails(name: str, latency: Pairs, span: float) -> list[str]:
    """After the warm-up: no growth by more than SLOWER that the noise does not explain."""
    found = trend(latency, WARM * span)
    if found is None:
        return [f"{name}: too short for a verdict"]
    if found.low > SLOWER * found.median:
        return [f"{name} grows: s after the warm-up {found}"]
    late = rise(latency, WARM * span)
    if late > SLOWER * found.median:
        return [f"{name} grows: each of the last minutes {late:.2g} s above each of the first"]
    if found.high > UNSURE * found.median:
        return [f"{name} cannot be told, too noisy: s after the warm-up {found}"]
    return []
