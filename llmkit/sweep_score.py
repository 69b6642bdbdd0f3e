"""How good a job's adapter is: its answers to the cases, scored.

rows = answers(cfg, adapter)  # [(conversation, {scorer: value}), …]
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmkit import records
from llmkit.cases import draw
from llmkit.config_sweep import SweepConfig
from llmkit.domain import Domain, get_domain
from llmkit.errors import ConfigError, LlmkitError
from llmkit.reply import parse_reply
from llmkit.score import SCORERS, Case, check_scorers

Row = tuple[str, Mapping[str, float | None]]


def answers(cfg: SweepConfig, adapter: Path) -> list[Row]:
    """Let the adapter answer every case, greedily; a conversation and the scores for each case.

    A prompt that is longer than the model reads has no answer, which is wrong by each scorer.
    """
    from llmkit.generate import Engine, Request
    from llmkit.model import load_model
    from llmkit.prompt import PromptTooLong, renderer

    domain = get_domain(cfg.domain.name)
    cases = read_cases(cfg, domain)
    loaded = load_model(cfg.model, adapter)
    made = renderer(loaded.tokenizer, cfg.prompt, domain, adapter)
    engine = Engine(loaded, cfg.engine, made.stop_ids)
    requests: list[Request] = []
    asked: list[int] = []  # cases that have a request
    for place, case in enumerate(cases):
        try:
            ids = made.prompt_ids(list(case.messages), case.system_context)
        except PromptTooLong:
            continue
        requests.append(Request(tuple(ids), cfg.max_tokens))
        asked.append(place)
    completions = engine.generate(requests)
    rows: list[Row] = [(case.conversation, dict.fromkeys(cfg.weights, 0.0)) for case in cases]
    for place, completion in zip(asked, completions, strict=True):
        case, reply = cases[place], parse_reply(completion.text)
        values = {name: SCORERS[name](case, reply, domain).value for name in cfg.weights}
        rows[place] = (case.conversation, values)
    return rows


def read_cases(cfg: SweepConfig, domain: Domain) -> list[Case]:
    """The snapshots or test cases of `cfg.cases`, at most `cfg.limit`, the same for each job."""
    found = [
        records.Located(value, str(path), number)
        for path in records.paths_of(cfg.cases)
        for number, value in records.read_jsonl(path)
    ]
    if not found:
        raise ConfigError(f"cases={cfg.cases} holds no case")
    cases = []
    for item in draw(found, cfg.limit, cfg.seed):
        value = item.value
        answer = value.get("expected_response")
        records.check_record("test_case" if answer is None else "snapshot", item)
        if answer is None:
            expected = value["expected"]
        else:
            expected = answer["command"] if answer["type"] == "command" else None
        context = value.get("system_context", "")
        state = value.get("expected_state")
        meta = value.get("meta", {})
        name = value.get("name", f"line-{item.line}")
        cases.append(
            Case(
                name=name,
                category=value.get("category", ""),
                messages=tuple(value["messages"]),
                system_context=context,
                state=domain.parse_context(context) if context else None,
                expected=(expected,) if isinstance(expected, str) else expected and tuple(expected),
                expected_response=answer,
                expected_state=None if state is None else domain.from_dict(state),
                conversation=meta.get("conversation") or name,
            )
        )
    return cases


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
