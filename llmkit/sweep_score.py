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
    from llmkit.prompt import PromptTooLong, renderer

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
    requests: list[Request] = []
    asked: list[int] = []  # cases that have a request
    for place, case in enumerate(cases):
        try:
            ids = made.prompt_ids(case["messages"], case.get("system_context", ""))
        except PromptTooLong:
            continue  # no answer, which is wrong by each scorer
        requests.append(Request(tuple(ids), cfg.max_tokens))
        asked.append(place)
    completions = engine.generate(requests)
    replies = {
        place: parse_reply(completion.text)
        for place, completion in zip(asked, completions, strict=True)
    }
    return [
        (
            conversation(case, place),
            {name: scorer(name)(case, replies.get(place)) for name in cfg.weights},
        )
        for place, case in enumerate(cases)
    ]


def check_weights(weights: Mapping[str, float]) -> None:
    """ConfigError for an unknown scorer, or weights that are all 0; before any training."""
    for name in weights:
        scorer(name)
    if not sum(weights.values()):
        raise ConfigError("weights: at least one must be above 0")


def conversation(case: Mapping[str, Any], place: int) -> str:
    """What a case is grouped by: its conversation, or else its name or place."""
    meta = case.get("meta", {})
    return str(meta.get("conversation") or case.get("name") or place)


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


def _type(case: Mapping[str, Any], reply: Reply | None) -> float | None:
    return float(reply is not None and _expected(case)[0] == reply.type)


def _exact(case: Mapping[str, Any], reply: Reply | None) -> float | None:
    command = _expected(case)[1]
    if command is None:
        return None
    given = None if reply is None else reply.command
    return float(given is not None and given.split() == command.split())


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
