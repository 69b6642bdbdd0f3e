"""Turn tests/data/test_cases.txt into data/test_cases.jsonl: work out every machine.

    python tests/author_cases.py

The table's first lines say how it is written. The system context of a case is the machine after the
commands of its history; the expected state is what the reference command makes of what the context
says, so that a model, which sees no more than that, can be held against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.domain import Domain, get_domain

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "data" / "test_cases.txt"
TARGET = HERE.parent / "data" / "test_cases.jsonl"


@dataclass
class Authored:
    """A case as it stands in the table."""

    name: str
    category: str
    machine: str
    messages: list[dict[str, str]] = field(default_factory=list)
    command: str | None = None
    expected: list[str] | None = None
    open_end: bool = False  # other end states are right as well


def read(source: str) -> tuple[dict[str, tuple[str, list[str]]], list[Authored]]:
    """Machines (name → text or name of another, commands) and cases of the table."""
    machines: dict[str, tuple[str, list[str]]] = {}
    cases: list[Authored] = []
    text: list[str] | None = None  # of the machine that is being read
    name = ""
    for line in source.splitlines():
        if line.startswith("@ "):
            name, _, other = (part.strip() for part in line[2:].partition(":"))
            machines[name] = (other, [])
            text = None if other else []
        elif line.startswith("# ") and line[2] != " " and line.count(" | ") == 2:
            text, name = None, ""
            cases.append(Authored(*(part.strip() for part in line[2:].split(" | "))))
        elif text is not None and not line.startswith("# "):
            text.append(line)
            machines[name] = ("\n".join(text).strip(), [])
        elif line.startswith("$ ") and name:
            machines[name][1].append(line[2:])
        elif line and not line.startswith("#"):
            _add(cases[-1], line)
    return machines, cases


def _add(case: Authored, line: str) -> None:
    mark, _, rest = line.partition(" ")
    if mark in ("U:", "A:"):
        role = "user" if mark == "U:" else "assistant"
        case.messages.append({"role": role, "content": rest})
    elif mark == "$":
        case.messages.append({"role": "assistant", "content": line})
    elif mark == "=>":
        case.command = rest
    elif mark == "?":
        case.expected = rest.split(" | ")
    elif mark == "~":
        case.open_end = True
    else:
        raise ValueError(f"{case.name}: cannot read {line!r}")


def state_of(domain: Domain, machines: dict[str, tuple[str, list[str]]], name: str) -> Any:
    """The state of a machine of the table."""
    text, commands = machines[name]
    state = state_of(domain, machines, text) if text in machines else domain.parse_context(text)
    for command in commands:
        state = ran(domain, state, command)
    return state


def ran(domain: Domain, state: Any, command: str) -> Any:
    """The state after a command that must succeed and be allowed; ValueError when it is not."""
    applied, verdict = domain.apply(state, command), domain.check(state, command)
    if applied.status or not verdict.allowed:
        raise ValueError(f"{command}: {applied.error or verdict.reason}")
    return applied.state


def built(domain: Domain, machines: dict[str, tuple[str, list[str]]], case: Authored) -> Any:
    """The test case as a record."""
    state = state_of(domain, machines, case.machine)
    for message in case.messages:
        if message["role"] == "assistant" and message["content"].startswith("$ "):
            state = ran(domain, state, message["content"][2:])
    context = domain.to_context(state)
    record: dict[str, Any] = {
        "name": case.name,
        "category": case.category,
        "messages": case.messages,
        "expected": case.expected,
        "system_context": context,
    }
    if case.command is not None:
        known = domain.parse_context(context)
        after = ran(domain, known, case.command)
        if after != known and not case.open_end:
            record["expected_state"] = domain.to_dict(after)
    return record


def main() -> None:
    import orjson

    domain = get_domain("installer")
    machines, cases = read(SOURCE.read_text())
    lines = []
    for case in cases:
        try:
            lines.append(orjson.dumps(built(domain, machines, case)) + b"\n")
        except Exception as error:
            raise SystemExit(f"{case.name}: {error}") from error
    TARGET.write_bytes(b"".join(lines))
    print(f"{len(lines)} cases written to {TARGET}")


if __name__ == "__main__":
    main()
