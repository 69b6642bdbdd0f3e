"""Cases for evaluation, from test cases or snapshots in JSONL.

    cases = load_cases(Path("data/test_cases.jsonl"), domain, limit=20, seed=42)

A file may hold both kinds. A case without a system context is put on a machine that `machine` gives.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmkit import records
from llmkit.domain import Domain
from llmkit.errors import ConfigError, DomainError, RecordError
from llmkit.score import Case


def load_cases(
    path: Path,
    domain: Domain,
    *,
    limit: int | None,
    seed: int,
    name: str | None = None,
    machine: Callable[[], Any] | None = None,
    keep: Callable[[records.Located], bool] | None = None,
) -> list[Case]:
    """At most `limit` cases of a file, folder or glob, drawn evenly over conversations; only the
    records that `keep` takes.

    Raises ConfigError when there is none (of that name), RecordError for a bad record.
    """
    from llmkit.cases import draw

    found = []
    for file in records.paths_of(path):
        for line, value in records.read_jsonl(file):
            located = records.Located(value, str(file), line)
            kind = isinstance(value, dict) and "expected_response" in value
            records.check_record("snapshot" if kind else "test_case", located)
            if keep is None or keep(located):
                found.append(located)
    if not found:
        raise ConfigError(f"cases={path} holds no case")
    taken: Counter[str] = Counter()
    named = [(item, _name(item, taken)) for item in found]
    if name is not None:
        named = [pair for pair in named if pair[1] == name]
        if not named:
            raise ConfigError(f"cases={path}: no case is named {name!r}")
    names = {id(item): label for item, label in named}
    drawn = draw([item for item, _ in named], limit, seed)
    return [_case(item, names[id(item)], domain, machine) for item in drawn]


def machine_of(cfg: Any, domain: Domain, seed: int) -> Callable[[], Any]:
    """A function that gives the machine of `cfg` (drawn as augment draws it, by the seed)."""

    def machine() -> Any:
        scenario = next(iter(domain.scenarios(cfg, random.Random(seed), {}, None)), None)
        if scenario is None:
            raise ConfigError("no machine is of these disk= and boot=")
        return domain.begin(scenario, None)

    return machine


def to_dict(case: Case, domain: Domain) -> dict[str, Any]:
    """A case as JSON data, with all that scoring needs."""
    end = case.expected_state
    return {
        "name": case.name,
        "category": case.category,
        "conversation": case.conversation,
        "messages": [dict(message) for message in case.messages],
        "system_context": case.system_context,
        "expected": None if case.expected is None else list(case.expected),
        "expected_response": None if case.expected_response is None else dict(case.expected_response),
        "state": domain.to_dict(case.state),
        "expected_state": None if end is None else domain.to_dict(end),
    }  # fmt: skip


def from_dict(data: Mapping[str, Any], domain: Domain) -> Case:
    """The case that `to_dict` wrote."""
    expected, end = data["expected"], data["expected_state"]
    return Case(
        name=data["name"],
        category=data["category"],
        messages=tuple(data["messages"]),
        system_context=data["system_context"],
        state=domain.from_dict(data["state"]),
        expected=None if expected is None else tuple(expected),
        expected_response=data["expected_response"],
        expected_state=None if end is None else domain.from_dict(end),
        conversation=data["conversation"],
    )


def _name(item: records.Located, taken: Counter[str]) -> str:
    value = item.value
    meta = value.get("meta", {})
    stem = value.get("name")
    if stem is None:
        stem = f"{meta.get('conversation', f'line-{item.line}')}-{meta.get('turn', 1)}"
    taken[stem] += 1
    return stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"


def _case(
    item: records.Located, name: str, domain: Domain, machine: Callable[[], Any] | None
) -> Case:
    value = item.value
    meta = value.get("meta", {})
    context = value.get("system_context")
    try:
        if "state" in meta:  # a snapshot's: exact, where the context rounds
            state = domain.from_dict(meta["state"])
        elif context is not None:
            state = domain.parse_context(context)
        elif machine is not None:
            state = machine()
            context = domain.to_context(state)
        else:
            raise DomainError("no system_context, and no machine to put the case on")
        end = value.get("expected_state")
        end = None if end is None else domain.from_dict(end)
    except DomainError as error:
        raise RecordError(str(error), file=item.file, line=item.line) from error
    answer = value.get("expected_response")
    if answer is not None:
        expected = (answer["command"],) if answer["type"] == "command" else None
        category = next(iter(meta.get("categories", [])), "snapshot")
    else:
        words, category = value["expected"], value["category"]
        expected = (words,) if isinstance(words, str) else words and tuple(words)
        if isinstance(words, str) and end is not None and not domain.apply(state, words).status:
            # an exported snapshot: the whole command is what it expects
            answer = {"type": "command", "command": words}
    return Case(
        name=name,
        category=category,
        messages=tuple(value["messages"]),
        system_context=context,
        state=state,
        expected=expected,
        expected_response=answer,
        expected_state=end,
        conversation=str(meta.get("conversation") or name),
    )
