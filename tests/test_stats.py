"""Intervals and tests, against published figures and figures worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.stats import bootstrap, mcnemar, paired_bootstrap, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe's examples, to four digits."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share(pair: tuple[int, int]) -> None:
    """0 ≤ low ≤ share ≤ high ≤ 1, and the mirror image has the mirrored interval."""
    successes, n = pair
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low))


def test_wilson_of_nothing() -> None:
    """No case: anything may be."""
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (1, 9, 22 / 1024), (6, 0, 0.03125)],
)
def test_mcnemar_by_hand(first: int, second: int, p: float) -> None:
    """Twice the binomial tail: for 1 and 9, 2 (1 + 10) / 1024."""
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == pytest.approx(p)


def test_mcnemar_of_many() -> None:
    """Thousands of pairs do not overflow."""
    assert 0 < mcnemar(2000, 2200) < 0.01


def test_bootstrap_draws_groups() -> None:
    """Ten copies of a value in a group count once: the interval is as wide as for the groups."""
    values, groups = [0.0, 1.0] * 10, list(range(20))
    single = bootstrap(values, groups, 2000, 1)
    many = bootstrap([v for v in values for _ in range(10)],
                     [g for g in groups for _ in range(10)], 2000, 1)  # fmt: skip
    assert single == pytest.approx(many)
    # a binomial of 20 at 1/2 has standard deviation 0.112
    assert single == pytest.approx((0.28, 0.72), abs=0.04)


def test_bootstrap_repeats() -> None:
    """The same seed gives the same interval; equal values give no width."""
    assert bootstrap([0.0, 1.0, 1.0], "abc", 500, 7) == bootstrap([0.0, 1.0, 1.0], "abc", 500, 7)
    assert bootstrap([0.5] * 4, "abcd", 500, 7) == (0.5, 0.5)


def test_bootstrap_of_nothing_is_refused() -> None:
    """No values, no mean."""
    with pytest.raises(ValueError, match="0 values"):
        bootstrap([], [], 100, 0)


def test_paired_bootstrap_takes_the_difference_of_the_same_cases() -> None:
    """A run that is better by the same amount everywhere has no interval around it."""
    low, high = paired_bootstrap([0.0, 0.25, 0.5], [0.5, 0.75, 1.0], "abc", 500, 3)
    assert (low, high) == (0.5, 0.5)
