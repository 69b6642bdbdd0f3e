"""Turn tests/data/challenge_cases.txt into data/challenge_cases.jsonl: work out every machine.

    python tests/author_challenge.py

The table's first lines say how it is written. Machines, contexts and end states come from the same
code that tracks machines everywhere: the context of a case is the machine after the commands of its
history, and the expected state is what the reference command makes of what that context says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from author_cases import ran

from llmkit.domain import Domain, get_domain

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "data" / "challenge_cases.txt"
TARGET = HERE.parent / "data" / "challenge_cases.jsonl"


@dataclass
class Machine:
    """A machine as it stands in the table: facts and devices, or another one; then commands."""

    facts: list[str]
    devices: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


@dataclass
class Authored:
    """A case as it stands in the table."""

    name: str
    category: str
    machine: str
    messages: list[dict[str, str]] = field(default_factory=list)
    worked: list[str] = field(default_factory=list)  # commands of the history that changed things
    command: str | None = None
    words: list[str] = field(default_factory=list)  # that a right command holds
    exact: bool = False  # the command is the only right one, or the only right program
    open_end: bool = False  # other end states are right as well


def read(source: str) -> tuple[dict[str, Machine], list[Authored]]:
    """Machines by name, and cases, of the table; ValueError for a line that is neither."""
    machines: dict[str, Machine] = {}
    cases: list[Authored] = []
    machine: Machine | None = None  # that is being read
    lines = iter(source.splitlines())
    for line in lines:  # the explanation, up to the first empty line
        if not line:
            break
    for line in lines:
        mark, _, rest = line.partition(" ")
        if not line or line.startswith("# ---"):
            continue
        if mark == "@":
            name, _, facts = (part.strip() for part in rest.partition("="))
            if name in machines:
                raise ValueError(f"two machines are named {name}")
            machine = machines[name] = Machine(facts.split())
        elif mark == "#":
            machine = None
            cases.append(Authored(*(part.strip() for part in rest.split(" | "))))
        elif machine is not None and mark == "$":
            machine.commands.append(rest)
        elif machine is not None and line.lstrip().startswith("- "):
            machine.devices.append(line)
        elif not cases or not _add(cases[-1], mark, rest):
            raise ValueError(f"cannot read {line!r}")
    return machines, cases


def _add(case: Authored, mark: str, rest: str) -> bool:
    """Add a line to a case; False when no line begins so."""
    if mark in ("U:", "A:"):
        role = "user" if mark == "U:" else "assistant"
        case.messages.append({"role": role, "content": rest.replace("\\n", "\n")})
    elif mark in ("$", "!"):
        case.messages.append({"role": "assistant", "content": f"$ {rest}"})
        if mark == "$":
            case.worked.append(rest)
    elif mark == "=>" and case.command is None:
        case.command = rest
    elif mark == "?":
        case.words = rest.split(" | ")
    elif mark == "==":
        case.exact = True
    elif mark == "~":
        case.open_end = True
    else:
        return False
    return True


def state_of(domain: Domain, machines: dict[str, Machine], name: str) -> Any:
    """The state of a machine of the table."""
    machine = machines[name]
    first, *facts = machine.facts
    if first in machines:
        if facts or machine.devices:
            raise ValueError(f"{name}: what is made of {first} has commands alone")
        state = state_of(domain, machines, first)
    else:
        state = domain.parse_context(_context(first, facts, machine.devices))
    for command in machine.commands:
        state = ran(domain, state, command)
    return state


def _context(boot: str, facts: list[str], devices: list[str]) -> str:
    """The system context of a machine, in the form of DESIGN.md."""
    said = dict(fact.split("=", 1) for fact in facts if "=" in fact)
    modes = {"uefi": "UEFI", "bios": "Legacy BIOS"}
    lines = [
        "## Current System State\n",
        f"- Boot mode: {modes[boot]}",
        f"- Network: {'Not connected' if 'offline' in facts else 'Connected'}",
        f"- Hostname: {said.get('host', 'archiso')}",
        "- Timezone: not set\n",
        "## Available Disks\n",
        *devices,
    ]
    return "\n".join(lines)


def built(domain: Domain, machines: dict[str, Machine], case: Authored) -> dict[str, Any]:
    """The test case as a record."""
    state = state_of(domain, machines, case.machine)
    for command in case.worked:
        state = ran(domain, state, command)
    context = domain.to_context(state)
    record: dict[str, Any] = {
        "name": case.name,
        "category": case.category,
        "messages": case.messages,
        "expected": case.words or None,
        "system_context": context,
    }
    if case.command is None:
        if case.words or case.exact or case.open_end:
            raise ValueError("words, but no command")
        return record
    known = domain.parse_context(context)
    after = ran(domain, known, case.command)
    if case.exact:  # the whole command as a string: scoring takes it for the exact one
        record["expected"] = case.command
    elif not case.words:
        raise ValueError("a command, but no words")
    elif after == known and not case.open_end:
        raise ValueError("the command changes nothing: mark it == or ~")
    if not case.open_end:
        record["expected_state"] = domain.to_dict(after)
    return record


def main() -> None:
    import orjson

    domain = get_domain("installer")
    machines, cases = read(SOURCE.read_text())
    lines, wrong = [], []
    for case in cases:
        try:
            lines.append(orjson.dumps(built(domain, machines, case)) + b"\n")
        except Exception as error:
            wrong.append(f"{case.name}: {error}")
    if wrong:
        raise SystemExit("\n".join(wrong))
    TARGET.write_bytes(b"".join(lines))
    print(f"{len(lines)} cases written to {TARGET}")


if __name__ == "__main__":
    main()
