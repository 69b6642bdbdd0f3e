"""The dry runs of augmentation: every conversation on every machine, and a look at examples."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from llmkit.augment_emit import Emitter, Job, Piece
from llmkit.augment_plan import PlanError, describe, plan
from llmkit.domain import Domain
from llmkit.errors import LlmkitError
from llmkit.records import Conversation, Dropped

_SHOWN = 3  # machines that are named for one failure


def check(
    cfg: Any, domain: Domain, talks: Sequence[Conversation], dropped: Sequence[Dropped]
) -> None:
    """Hold every conversation on a machine of each kind that fits; print what fails.

    Prints `file:line: conversation ID, turn N: reason (on MACHINES)`, one line a failure.
    Raises LlmkitError when something failed.
    """
    wrong = 0
    tried = 0
    for item in dropped:
        print(f"dropped: {item}")
    unmodelled: dict[str, str] = {}
    for talk in talks:
        failures, count = _failures(cfg, domain, talk, unmodelled)
        tried += count
        if not count and not failures:
            print(f"{talk.where()}: conversation {talk.id} fits no configured machine")
        for (place, reason), machines in failures.items():
            wrong += 1
            names = ", ".join(machines[:_SHOWN])
            more = f" and {len(machines) - _SHOWN} more" if len(machines) > _SHOWN else ""
            on = f" (on {names}{more} of {count})" if machines else ""
            print(f"{place}: {reason}{on}")
    for program, place in sorted(unmodelled.items()):
        print(f"note: {program} has no modelled effect (first at {place})")
    print(f"{len(talks)} conversations on {tried} machines: {wrong} failures")
    if wrong:
        raise LlmkitError(f"{wrong} failures in {len(talks)} conversations")


def _failures(
    cfg: Any, domain: Domain, talk: Conversation, unmodelled: dict[str, str]
) -> tuple[dict[tuple[str, str], list[str]], int]:
    """(place, reason) → machines on which it happens; and how many machines were tried."""
    failures: dict[tuple[str, str], list[str]] = {}
    count = 0
    try:
        domain.check_when(talk.when, talk.start)
    except ValueError as error:
        return {(f"{talk.where()}: conversation {talk.id}", str(error)): []}, 0
    seen: dict[tuple[str, int], tuple[str, str]] = {}
    for scenario in domain.every_scenario(cfg, talk.when, talk.start):
        count += 1
        try:
            made = plan(talk, scenario, domain)
            for program in made.unmodelled:
                unmodelled.setdefault(program, f"{talk.where()}, conversation {talk.id}")
        except PlanError as error:
            turn = f"turn {error.turn}" if error.turn else "before the first turn"
            place = f"{error.file_line}: conversation {talk.id}, {turn}"
            # one line a turn: the same fault reads differently with other device names
            key = seen.setdefault((error.file_line, error.turn), (place, error.reason))
            failures.setdefault(key, []).append(describe(scenario.summary))
    return failures, count


def preview(cfg: Any, jobs: Sequence[Job], taken: frozenset[str]) -> None:
    """Print `cfg.preview` examples, from conversations spread over the whole set."""
    import orjson
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.text import Text

    emitter = Emitter(cfg, jobs, taken)
    console = Console()
    for number in range(cfg.preview):
        index = number * len(jobs) // cfg.preview % len(jobs)
        round_ = number // len(jobs)
        batch = emitter.batch((Piece(index, None, round_, 0),))
        if batch.failed is not None:
            raise batch.failed
        last = 0 if len(batch.ends) == 1 else batch.ends[-2]
        record = orjson.loads(batch.data[last:])
        meta = record["meta"]
        answer = record["expected_response"]
        parts = [Text(record["system_context"], style="dim"), Text("")]
        for message in record["messages"]:
            parts.append(Text(f"{message['role']}: {message['content']}"))
        right = f"$ {answer['command']}" if "command" in answer else answer["response"]
        parts.append(Text(f"→ {right}", style="bold green"))
        title = f"{meta['conversation']}, turn {meta['turn']} ({jobs[index].side})"
        console.print(Panel(Group(*parts), title=title, title_align="left"))
    print("nothing was written (preview)", file=sys.stderr)
