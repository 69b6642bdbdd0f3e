"""How sure a figure is: intervals, and tests of two runs against each other.

    >>> [round(value, 4) for value in wilson(8, 10)]
    [0.4902, 0.9433]

Cases of one conversation are alike, so intervals of means draw whole conversations (a cluster
bootstrap). Comparisons are paired: both runs answered the same cases.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import comb, sqrt

Z = 1.959963984540054  # the normal distribution's 97.5% quantile


def wilson(successes: float, n: int, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a share; (0, 1) when n is 0."""
    if n <= 0:
        return 0.0, 1.0
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    share = successes / n
    bottom = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / bottom
    half = z / bottom * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # rounding must not put the interval beside the share
    return min(max(0.0, middle - half), share), max(min(1.0, middle + half), share)


def bootstrap(
    values: Sequence[float], groups: Sequence[Hashable], samples: int, seed: int
) -> tuple[float, float]:
    """95% interval of the mean, with whole groups drawn.

    Raises ValueError for no values, or as many groups as are not values.
    """
    import numpy

    if not values or len(values) != len(groups):
        raise ValueError(f"{len(values)} values in {len(groups)} groups")
    numbers: dict[Hashable, int] = {}
    places = [numbers.setdefault(group, len(numbers)) for group in groups]
    sums = numpy.bincount(places, weights=values)
    sizes = numpy.bincount(places)
    rng = numpy.random.default_rng(seed)
    means = numpy.empty(samples)
    for start in range(0, samples, 256):  # a block at a time: [block, groups]
        stop = min(start + 256, samples)
        drawn = rng.integers(0, len(sums), (stop - start, len(sums)))
        means[start:stop] = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = numpy.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p value of McNemar's test.

    `only_first` counts the pairs where the first was right and the second was not. Under the null
    hypothesis each such pair is a coin toss, so p is twice the smaller tail of Binomial(n, 1/2).
    """
    n, smaller = only_first + only_second, min(only_first, only_second)
    if smaller < 0:
        raise ValueError("counts are 0 or more")
    # exact integers; the division of big ones does not overflow
    return min(1.0, 2 * sum(comb(n, k) for k in range(smaller + 1)) / 2**n)


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[Hashable],
    samples: int,
    seed: int,
) -> tuple[float, float]:
    """95% interval of mean(second) - mean(first), the same groups drawn for both."""
    pairs = [b - a for a, b in zip(first, second, strict=True)]
    return bootstrap(pairs, groups, samples, seed)
