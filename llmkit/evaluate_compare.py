"""Is one run better than another? Paired by case.

    compare(first, second, rank_by="state", samples=2000, seed=42)["verdict"]

A run is called better when the exact McNemar test has p < 0.05 and the bootstrap's 95% interval of
the difference (conversations drawn whole) does not hold 0. Otherwise there is no clear winner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmkit.errors import ConfigError
from llmkit.evaluate_run import Result
from llmkit.stats import mcnemar, paired_bootstrap

NO_WINNER = "no clear winner"
ALPHA = 0.05


def compare(
    first: Sequence[Result], second: Sequence[Result], *, rank_by: str, samples: int, seed: int
) -> dict[str, Any]:
    """The comparison as JSON data; `verdict` is first, second or NO_WINNER.

    Cases that only one run has are left out and counted. Raises ConfigError when the runs share
    no case that `rank_by` applies to, or cases of one name differ.
    """
    others = {result.case.name: result for result in second}
    pairs = []
    for one in first:
        other = others.get(one.case.name)
        if other is None:
            continue
        if (one.case.messages, one.case.system_context) != (
            other.case.messages, other.case.system_context
        ):  # fmt: skip
            raise ConfigError(f"compare: the case {one.case.name} is not the same in both runs")
        a, b = one.value(rank_by), other.value(rank_by)
        if a is not None and b is not None:
            pairs.append((a, b, one.case))
    if not pairs:
        raise ConfigError(f"compare: the runs have no case in common that {rank_by} applies to")
    only_first = [case.name for a, b, case in pairs if a == 1 and b < 1]
    only_second = [case.name for a, b, case in pairs if b == 1 and a < 1]
    p = mcnemar(len(only_first), len(only_second))
    left, right = [a for a, _, _ in pairs], [b for _, b, _ in pairs]
    groups = [case.conversation for _, _, case in pairs]
    low, high = paired_bootstrap(left, right, groups, samples, seed)
    verdict = NO_WINNER
    if p < ALPHA and not low <= 0 <= high:
        verdict = "second" if low > 0 else "first"
    return {
        "scorer": rank_by,
        "cases": len(pairs),
        "left_out": len(first) + len(second) - 2 * len(pairs),
        "first": sum(left) / len(pairs),
        "second": sum(right) / len(pairs),
        "difference": (sum(right) - sum(left)) / len(pairs),
        "low": low,
        "high": high,
        "only_first": only_first,
        "only_second": only_second,
        "p": p,
        "verdict": verdict,
    }
