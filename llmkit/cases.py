"""Export test cases from held-out snapshots.

    python -m llmkit.cases output_file=/tmp/cases.jsonl limit=200
    python -m llmkit.cases category=bios output_file=/tmp/bios.jsonl

A snapshot whose answer is a command becomes a case that expects this command and the state that it
ends in; one whose answer is text becomes a case that expects text. With `limit`, conversations take
turns, so that a long one does not crowd out the others. The hand-written cases, in words that no
conversation has, are in data/test_cases.jsonl.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from llmkit import records
from llmkit.config_cases import CasesConfig
from llmkit.domain import Domain, get_domain
from llmkit.errors import ConfigError, LlmkitError
from llmkit.output import write_whole
from llmkit.stage import stage

UNNAMED = "snapshot"  # category of a snapshot that names none


def cases(cfg: CasesConfig) -> dict[str, int]:
    """Write the cases to `cfg.output_file`; returns the counts of each category.

    Raises:
        ConfigError: no such file, or the output would overwrite it.
        RecordError: a snapshot breaks its schema (file, line, JSON pointer).
        LlmkitError: no snapshot is of that category.
    """
    domain = get_domain(cfg.domain.name)
    paths = records.paths_of(cfg.file)
    target = Path(cfg.output_file)
    if any(path.resolve() == target.resolve() for path in paths):
        raise ConfigError(f"output_file={target} is one of the files to read: choose another")
    found = [item for item in snapshots(paths) if _fits(item.value, cfg.category)]
    if not found:
        known = sorted({name for item in snapshots(paths) for name in _categories(item.value)})
        of = f" of category {cfg.category}: there are {', '.join(known)}" if cfg.category else ""
        raise LlmkitError(f"{cfg.file} holds no snapshot{of}")
    drawn = draw(found, cfg.limit, cfg.seed)
    taken: Counter[str] = Counter()
    made = [case_of(item, domain, taken, cfg.category) for item in drawn]
    write_whole(target, b"".join(orjson.dumps(case) + b"\n" for case in made))
    commands = sum(case["expected"] is not None for case in made)
    talks = len({_conversation(item) for item in drawn})
    print(
        f"{target}: {len(made):,} cases ({commands:,} command, {len(made) - commands:,} text)"
        f" of {talks:,} conversations"
    )
    return dict(Counter(case["category"] for case in made))


def snapshots(paths: Iterable[Path]) -> Iterator[records.Located]:
    """Every snapshot of the files; RecordError for one that breaks its schema."""
    for path in paths:
        for number, value in records.read_jsonl(path):
            located = records.Located(value, str(path), number)
            records.check_record("snapshot", located)
            yield located


def draw(found: list[records.Located], limit: int | None, seed: int) -> list[records.Located]:
    """At most `limit` of them, conversations taking turns, in the order of the files."""
    if limit is None or limit >= len(found):
        return found
    rng = random.Random(seed)
    groups: dict[str, list[int]] = {}
    for place, item in enumerate(found):
        groups.setdefault(_conversation(item), []).append(place)
    queues = list(groups.values())
    rng.shuffle(queues)
    for queue in queues:
        rng.shuffle(queue)
    chosen: list[int] = []
    while len(chosen) < limit:
        for queue in queues:
            if queue and len(chosen) < limit:
                chosen.append(queue.pop())
    return [found[place] for place in sorted(chosen)]


def case_of(
    item: records.Located, domain: Domain, taken: Counter[str], category: str | None = None
) -> dict[str, Any]:
    """The test case of a snapshot; `taken` counts the names, so that each is there once."""
    value = item.value
    meta = value.get("meta", {})
    stem = f"{_conversation(item)}-{meta.get('turn', len(value['messages']) // 2 + 1)}"
    taken[stem] += 1
    case: dict[str, Any] = {
        "name": f"{stem}-{taken[stem]}",
        "category": category or next(iter(_categories(value)), UNNAMED),
        "messages": value["messages"],
        "expected": None,
        "system_context": value["system_context"],
    }
    expected = value["expected_response"]
    if expected["type"] == "command":
        case["expected"] = expected["command"]
        # The case says no more of the machine than its context does, so the end state is
        # worked out from there, not from meta.state.
        state = domain.parse_context(value["system_context"])
        applied = domain.apply(state, expected["command"])
        if not applied.status and applied.state != state:
            case["expected_state"] = domain.to_dict(applied.state)
    return case


def _categories(value: dict[str, Any]) -> list[str]:
    names: list[str] = value.get("meta", {}).get("categories", [])
    return names


def _fits(value: dict[str, Any], category: str | None) -> bool:
    return category is None or category in _categories(value)


def _conversation(item: records.Located) -> str:
    return str(item.value.get("meta", {}).get("conversation") or f"line-{item.line}")


main = stage("cases", cases, schema=CasesConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
