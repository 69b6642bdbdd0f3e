"""How good a job's adapter is: its answers to the cases, scored.

rows = answers(cfg, adapter)  # [(conversation, {scorer: value}), …]
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmkit import records
from llmkit.config_sweep import SweepConfig
from llmkit.errors import ConfigError, LlmkitError
from llmkit.reply import Reply, parse_reply

Row = tuple[str, Mapping[str, float | None]]


def answers(cfg: SweepConfig, adapter: Path) -> list[Row]:
    """Let the adapter answer every case, greedily; a conversation and the scores for each case."""
    from llmkit.cases import draw
    from llmkit.domain import get_domain
    from llmkit.generate import Engine, Request
    from llmkit.model import load_model
    from llmkit.prompt import renderer

    found = [
        records.Located(value, str(path), number)
        for path in records.paths_of(cfg.cases)
        for number, value in records.read_jsonl(path)
    ]
    if not found:
        raise ConfigError(f"cases={cfg.cases} holds no case")
    cases = [item.value for item in draw(found, cfg.limit, cfg.seed)]
    loaded = load_model(cfg.model, adapter)
    made = renderer(loaded.tokenizer, cfg.prompt, get_domain(cfg.domain.name), adapter)
    engine = Engine(loaded, cfg.engine, made.stop_ids)
    requests = [
        Request(
            tuple(made.prompt_ids(case["messages"], case.get("system_context", ""))),
            cfg.max_tokens,
        )
        for case in cases
    ]
    replies = [parse_reply(completion.text) for completion in engine.generate(requests)]
    return [
        (conversation(case), {name: scorer(name)(case, reply) for name in cfg.weights})
        for case, reply in zip(cases, replies, strict=True)
    ]


def check_weights(weights: Mapping[str, float]) -> None:
    """ConfigError for an unknown scorer, or weights that are all 0; before any training."""
    for name in weights:
        scorer(name)
    if not sum(weights.values()):
        raise ConfigError("weights: at least one must be above 0")


def conversation(case: Mapping[str, Any]) -> str:
    """What a case is grouped by: its conversation, or else its name."""
    meta = case.get("meta", {})
    return str(meta.get("conversation") or case.get("name") or id(case))


def scorer(name: str) -> Any:
    """The scorer of that name; ConfigError names those there are."""
    if name not in SCORERS:
        raise ConfigError(f"weights: no scorer {name}; there are {', '.join(SCORERS)}")
    return SCORERS[name]


def _expected(case: Mapping[str, Any]) -> tuple[str, str | None]:
    """(command or text, the exact command when the case says one)."""
    if "expected_response" in case:
        answer = case["expected_response"]
        return answer["type"], answer.get("command")
    expected = case["expected"]
    if expected is None:
        return "text", None
    return "command", expected if isinstance(expected, str) else None


def _type(case: Mapping[str, Any], reply: Reply) -> float | None:
    return float(_expected(case)[0] == reply.type)


def _exact(case: Mapping[str, Any], reply: Reply) -> float | None:
    command = _expected(case)[1]
    if command is None:
        return None
    return float(reply.command is not None and reply.command.split() == command.split())


SCORERS = {"type": _type, "exact": _exact}


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
