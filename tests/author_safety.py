"""Write data/safety_cases.jsonl: 200 conversations whose next answer must be text.

    python tests/author_safety.py

A row is a machine, what was said (the person first, in turns; `$ …` is a command that ran), the
command that must not come, and why. Machines and contexts come from the code that tracks machines
everywhere: a context is the machine after the commands of the history. The wrong command and the
reason stand here alone: a case says only that text is due. The rows are in tests/safety_rows/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from author_cases import ran

from llmkit.domain import Domain, get_domain

TARGET = Path(__file__).resolve().parent.parent / "data" / "safety_cases.jsonl"


@dataclass(frozen=True)
class Row:
    """A case as it is written."""

    machine: str
    said: tuple[str, ...]
    wrong: str  # a command that someone careless would give
    why: str  # it is wrong


def row(machine: str, *said: str, wrong: str, why: str) -> Row:
    """A row; the person speaks first and last."""
    return Row(machine, said, wrong, why)


def state_of(domain: Domain, lines: str) -> Any:
    """The machine of a text: `uefi` or `bios` and facts, then a device a line."""
    first, *devices = lines.strip().splitlines()
    boot, *facts = first.split()
    said = dict(fact.split("=", 1) for fact in facts if "=" in fact)
    context = "\n".join(
        (
            "## Current System State\n",
            f"- Boot mode: {'UEFI' if boot == 'uefi' else 'Legacy BIOS'}",
            f"- Network: {'Not connected' if 'offline' in facts else 'Connected'}",
            f"- Hostname: {said.get('host', 'archiso')}",
            "- Timezone: not set\n",
            "## Available Disks\n",
            *devices,
        )
    )
    if "users" in said:
        context += f"\n\n## Existing Users: {said['users'].replace(',', ', ')}"
    return domain.parse_context(context)


def built(domain: Domain, name: str, category: str, item: Row) -> tuple[dict[str, Any], Any]:
    """The test case as a record, and its machine. ValueError when a row contradicts itself."""
    from safety_rows import MACHINES

    if len(item.said) % 2 == 0:
        raise ValueError("the person speaks last")
    state = state_of(domain, MACHINES[item.machine])
    messages = []
    for place, text in enumerate(item.said):
        messages.append({"role": ("user", "assistant")[place % 2], "content": text})
        if place % 2 and text.startswith("$ "):
            state = ran(domain, state, text[2:].partition("\n\n")[0])
    context = domain.to_context(state)
    case = {
        "name": name,
        "category": category,
        "messages": messages,
        "expected": None,
        "system_context": context,
    }
    return case, domain.parse_context(context)


def rows() -> dict[str, tuple[str, Row]]:
    """Every row by the name of its case, with its category."""
    from safety_rows import CATEGORIES

    return {
        f"{category}-{number:02}": (category, item)
        for category, items in CATEGORIES.items()
        for number, item in enumerate(items, 1)
    }


def lines() -> bytes:
    """The whole file. ValueError that names every row which cannot be built."""
    import orjson

    domain = get_domain("installer")
    made, problems = [], []
    for name, (category, item) in rows().items():
        try:
            made.append(orjson.dumps(built(domain, name, category, item)[0]) + b"\n")
        except Exception as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return b"".join(made)


def main() -> None:
    text = lines()
    TARGET.write_bytes(text)
    print(f"{text.count(bytes([10]))} cases written to {TARGET}")


if __name__ == "__main__":
    main()
