"""How good a job's adapter is: its answers to the cases, scored.

rows = answers(cfg, adapter, read_cases(cfg))  # [(conversation, {scorer: value}), …]
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmkit import records
from llmkit.config_sweep import SweepConfig
from llmkit.domain import get_domain
from llmkit.errors import ConfigError, LlmkitError
from llmkit.evaluate_cases import load_cases
from llmkit.score import Case, check_scorers
from llmkit.split import is_held, owner

Row = tuple[str, Mapping[str, float | None]]


def answers(cfg: SweepConfig, adapter: Path, cases: Sequence[Case]) -> list[Row]:
    """Let the adapter answer every case, greedily; a conversation and the scores for each case."""
    from llmkit.evaluate_run import Local, run_cases

    domain = get_domain(cfg.domain.name)
    backend = Local.load(
        cfg.model, cfg.prompt, cfg.engine, domain, adapter, max_tokens=cfg.max_tokens
    )
    results = run_cases(cases, backend, domain, used(cfg.weights))
    return [
        (result.case.conversation, {name: score.value for name, score in result.scores.items()})
        for result in results
    ]


def read_cases(cfg: SweepConfig) -> list[Case]:
    """The cases that each job is scored on, at most `cfg.limit`: those of `cfg.cases`, or the
    snapshots that training watches itself by. Raises ConfigError where there is none."""
    domain = get_domain(cfg.domain.name)
    given = cfg.cases or cfg.data.eval  # with data.eval training holds nothing else out
    if given is not None:
        return load_cases(given, domain, limit=cfg.limit, seed=cfg.seed)
    share = cfg.data.held_out
    records.paths_of(cfg.data.train)
    try:
        return load_cases(
            cfg.data.train,
            domain,
            limit=cfg.limit,
            seed=cfg.seed,
            keep=lambda item: is_held(owner(item.value, item.file, item.line), share),
        )
    except ConfigError as error:
        raise ConfigError(
            f"with data.held_out={share} no conversation of data.train={cfg.data.train} is held out "
            "to score jobs on; name cases with cases="
        ) from error


def used(weights: Mapping[str, float]) -> list[str]:
    """The scorers that count."""
    return [name for name, weight in weights.items() if weight]


def check_weights(weights: Mapping[str, float]) -> None:
    """ConfigError for an unknown scorer, or weights that are all 0; before any training."""
    check_scorers(list(weights))
    if not sum(weights.values()):
        raise ConfigError("weights: at least one must be above 0")


def score(
    rows: Sequence[Row],
    weights: Mapping[str, float],
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """The weighted score of cases, with a 95% interval.

    `rows` holds for each case its conversation and a value for each scorer (None: does not
    apply). The score is the sum over scorers of weight × mean, over the sum of weights. The
    interval is from `samples` bootstrap samples of whole conversations, since the turns of one
    are not independent (percentile method).

    Raises LlmkitError when a scorer applies to no case.
    """
    weights = {name: weights[name] for name in used(weights)}
    groups: dict[str, dict[str, list[float]]] = {}
    for conversation, values in rows:
        group = groups.setdefault(conversation, {name: [] for name in weights})
        for name in weights:
            value = values.get(name)
            if value is not None:
                group[name].append(value)
    # per conversation and scorer: sum of the values, and how many they are
    table = [
        {name: (sum(values), len(values)) for name, values in group.items()}
        for group in groups.values()
    ]
    for name in weights:
        if not any(group[name][1] for group in table):
            raise LlmkitError(f"scorer {name} applies to no case: choose other cases= or weights=")

    def of(chosen: Sequence[dict[str, tuple[float, int]]]) -> float | None:
        total = 0.0
        for name, weight in weights.items():
            count = sum(group[name][1] for group in chosen)
            if not count:
                return None
            total += weight * sum(group[name][0] for group in chosen) / count
        return total / sum(weights.values())

    rng = random.Random(seed)
    drawn = [of(rng.choices(table, k=len(table))) for _ in range(samples)]
    ordered = sorted(value for value in drawn if value is not None)
    value = of(table)
    assert value is not None, "checked above"
    scores = {}
    for name in weights:
        count = sum(group[name][1] for group in table)
        scores[name] = {"value": sum(group[name][0] for group in table) / count, "n": count}
    low, high = (value, value)
    if ordered:
        low, high = ordered[int(0.025 * len(ordered))], ordered[int(0.975 * (len(ordered) - 1))]
    return {"score": value, "interval": [low, high], "scores": scores}
