"""Whether a soak held, by its series: for benchmarks/soak.py.

A trend is the median of the slopes between all pairs of minutes (Theil and Sen), with Sen's interval
of 95%: single slow minutes do not move it. What is judged is the interval's lower end, so that noise
is no growth; where the interval is too wide to tell, that is said, and does not pass.
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
UNSURE = 1.0  # an interval that reaches so far above none says nothing


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
    """Medians of the minutes that begin at `start` or later."""
    found: dict[int, list[float]] = {}
    for moment, value in pairs:
        if moment >= start:
            found.setdefault(int((moment - start) // 60), []).append(value)
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
    found = trend(unexplained(memory, held, token), start)
    if found is None:
        broken.append("too short for a verdict on memory")
    elif found.low > allowed:
        broken.append(f"memory grows beyond the cache: MB after the warm-up {found}")
    elif found.high > UNSURE * max(first, 1):
        broken.append(f"memory cannot be told: MB after the warm-up {found}")
    return broken


def latency_fails(name: str, latency: Pairs, span: float) -> list[str]:
    """After the warm-up: no growth by more than SLOWER that the noise does not explain."""
    found = trend(latency, WARM * span)
    if found is None:
        return [f"{name}: too short for a verdict"]
    if found.low > SLOWER * found.median:
        return [f"{name} grows: s after the warm-up {found}"]
    if found.high > UNSURE * found.median:
        return [f"{name} cannot be told, too noisy: s after the warm-up {found}"]
    return []
