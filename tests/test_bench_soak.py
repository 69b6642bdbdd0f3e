"""benchmarks/soak.py's verdict: what grows is found, noise is not."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).resolve().parent.parent / "benchmarks" / "_soak_verdict.py"


@pytest.fixture(scope="module")
def soak() -> Any:
    """The module; benchmarks/ is no package."""
    spec = importlib.util.spec_from_file_location("_soak_verdict", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def series(minutes: int, value: Any, noise: float, seed: int) -> list[tuple[float, float]]:
    """Twelve values a minute, `value` of the minute with noise."""
    draw = random.Random(seed)
    return [(5.0 * n, value(n / 12) + draw.gauss(0, noise)) for n in range(12 * minutes + 1)]


NONE: list[tuple[float, float]] = [(0.0, 0.0)]


@pytest.mark.parametrize("seed", range(20))
def test_memory_that_only_wavers_holds(soak: Any, seed: int) -> None:
    """800 MB after a warm-up that took 300 more, ±10 MB."""
    memory = series(20, lambda m: 500 + 300 * min(m / 4, 1), 10, seed)
    assert soak.memory_fails(memory, NONE, 0.02, 100) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_is_found(soak: Any, seed: int) -> None:
    """5 MB a minute, ±10 MB: 75 MB in the judged quarter hour of 800 MB."""
    memory = series(20, lambda m: 800 + 5 * m, 10, seed)
    (said,) = soak.memory_fails(memory, NONE, 0.02, 2000)
    assert "grows beyond the cache" in said


def test_the_run_of_before_does_not_hold(soak: Any) -> None:
    """The worker as it was when code was kept for every number of rows (docs/performance.md)."""
    known = [(0, 474), (1, 640), (2, 757), (5, 861), (10, 933), (15, 958), (20, 983)]

    def value(minute: float) -> float:
        at = max(n for n, (m, _) in enumerate(known) if m <= minute)
        (m, a), (n, b) = known[at], known[min(at + 1, len(known) - 1)]
        return a + (b - a) * (minute - m) / max(n - m, 1)

    assert soak.memory_fails(series(20, value, 3, 0), NONE, 0.02, 17)


def test_a_cache_that_fills_is_no_leak(soak: Any) -> None:
    """10 MB a minute, of 500 tokens of 0.02 MB a minute; the same without the tokens is one."""
    memory = series(20, lambda m: 800 + 10 * m, 5, 1)
    held = series(20, lambda m: 500 * m, 0, 1)
    assert soak.memory_fails(memory, held, 0.02, 1000) == []
    assert soak.memory_fails(memory, NONE, 0.02, 1000)


def test_more_than_the_caches_bound_is_found(soak: Any) -> None:
    """A step of 300 MB late, where the caches may take 100."""
    memory = series(20, lambda m: 800 + 300 * (m > 19.5), 5, 1)
    assert any(
        "after the warm-up, then" in said for said in soak.memory_fails(memory, NONE, 0.02, 100)
    )


@pytest.mark.parametrize("seed", range(20))
def test_latency_that_only_wavers_holds(soak: Any, seed: int) -> None:
    """4 s, and each answer off by a quarter or so; one minute of ten seconds."""
    latency = series(20, lambda m: 10 if 12 <= m < 13 else 4, 1, seed)
    assert soak.latency_fails("latency", latency, 1200) == []


@pytest.mark.parametrize("seed", range(20))
def test_latency_that_grows_is_found(soak: Any, seed: int) -> None:
    """From 4 s to 7 within 20 minutes."""
    (said,) = soak.latency_fails("latency", series(20, lambda m: 4 + 0.15 * m, 1, seed), 1200)
    assert "latency grows" in said


@pytest.mark.parametrize("seed", range(10))
def test_latency_that_rises_late_is_found(soak: Any, seed: int) -> None:
    """4 s, and 7 in the last five of 15 judged minutes, which is no trend of the whole."""
    latency = series(20, lambda m: 7 if m >= 15 else 4, 1, seed)
    (said,) = soak.latency_fails("latency", latency, 1200)
    assert "latency grows" in said


@pytest.mark.parametrize("seed", range(10))
def test_memory_that_rises_late_is_found(soak: Any, seed: int) -> None:
    """60 MB more from the 18th minute on, within the caches' bound, and no more tokens held."""
    memory = series(20, lambda m: 860 if m >= 17 else 800, 8, seed)
    held = series(20, lambda m: 1000, 0, 1)
    (said,) = soak.memory_fails(memory, held, 0.02, 1440)
    assert "at the end" in said


@pytest.mark.parametrize("grown", [0.6, 1.0])
@pytest.mark.parametrize("seed", range(20))
def test_a_growth_beyond_half_never_passes(soak: Any, seed: int, grown: float) -> None:
    """Minutes that waver by a quarter, four answers each: seen, or told to be too noisy."""
    draw = random.Random(seed)
    latency = []
    for minute in range(20):
        level = 4 * (1 + grown * max(minute - 5, 0) / 14) * draw.uniform(0.75, 1.25)
        latency += [(60.0 * minute + 15 * n, level) for n in range(4)]
    assert soak.latency_fails("latency", latency, 1200)


@pytest.mark.parametrize("seed", range(20))
def test_the_noise_of_an_idle_machine_holds(soak: Any, seed: int) -> None:
    """Minutes that waver by 8%, as those of docs/performance.md did (6% to 10%)."""
    draw = random.Random(seed)
    levels = [2 * draw.gauss(1, 0.05) for _ in range(21)]
    latency = series(20, lambda m: levels[int(m)], 0.4, seed)  # the median of twelve: 6%
    assert soak.latency_fails("latency", latency, 1200) == []


@pytest.mark.parametrize("seed", range(5))
def test_memory_that_wavers_too_much_cannot_be_told(soak: Any, seed: int) -> None:
    """Minutes to and fro by 200 MB of 800 say nothing of a leak of 50."""
    draw = random.Random(seed)
    levels = [draw.uniform(600, 1000) for _ in range(21)]
    memory = series(20, lambda m: levels[int(m)], 1, seed)
    assert any("memory" in said for said in soak.memory_fails(memory, NONE, 0.02, 2000))


def test_a_last_minute_that_is_cut_short_is_left_out(soak: Any) -> None:
    """One answer after the end, twice as slow: of a client that was waited for."""
    pairs = [*series(9, lambda m: 4, 0, 1)[:-1], (541.0, 8.0)]
    assert [value for _, value in soak.by_minute(pairs, 0)] == [4] * 9
    assert soak.by_minute([(0.0, 1.0)], 0) == [(0, 1.0)]


def test_what_cannot_be_told_does_not_pass(soak: Any) -> None:
    """Five judged minutes, of seven, to and fro between 1 and 30 seconds; and a run of four."""
    wild = [(110.0 + 60 * n, value) for n, value in enumerate((1.0, 30.0, 2.0, 28.0, 3.0))]
    assert "cannot be told" in soak.latency_fails("latency", wild, 420)[0]
    assert "too short" in soak.latency_fails("latency", series(4, lambda m: 4, 0, 1), 240)[0]
