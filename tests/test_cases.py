"""The hand-written test cases are right, and new; cases are exported from the held-out half."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from itertools import islice
from typing import Any

import augment_support
import author_cases
import pytest

from llmkit.augment_plan import plan
from llmkit.domain import get_domain
from llmkit.records import Conversation, load_conversations, validator
from llmkit.split import normal
from llmkit.toolkit import find_toolkit

DOMAIN = get_domain("installer")
CASES = [json.loads(line) for line in author_cases.TARGET.read_text().splitlines()]
AUTHORED = {case.name: case for case in author_cases.read(author_cases.SOURCE.read_text())[1]}
CATEGORIES = (
    "command typo pronoun confirmation question ambiguous safety workflow error-recovery"
    " multi-disk bios nvme-naming users locale"
).split()
_SLOT = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def each_case(function: Any) -> Any:
    """Run a test once for each case."""
    return pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])(function)


def test_there_are_enough_cases_of_every_category() -> None:
    """120 cases or more, eight or more of each of the 14 categories, half to 60% commands."""
    assert len(CASES) >= 120
    counts = Counter(case["category"] for case in CASES)
    assert set(counts) == set(CATEGORIES)
    assert min(counts.values()) >= 8
    commands = sum(case["expected"] is not None for case in CASES)
    assert 0.5 <= commands / len(CASES) <= 0.6
    assert len({case["name"] for case in CASES}) == len(CASES)
    assert sum(len(case["messages"]) > 1 for case in CASES) >= 50


def test_the_file_is_what_the_table_makes() -> None:
    """data/test_cases.jsonl is tests/author_cases.py's output, and nothing was changed by hand."""
    machines, cases = author_cases.read(author_cases.SOURCE.read_text())
    assert [author_cases.built(DOMAIN, machines, case) for case in cases] == CASES


@each_case
def test_a_case_fits_the_schema(case: dict[str, Any]) -> None:
    """Each record is a test case, and its turns alternate from user to user."""
    assert validator("test_case").is_valid(case)
    roles = [message["role"] for message in case["messages"]]
    assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
    assert roles[-1] == "user"


@each_case
def test_a_context_reads_back_as_it_was_written(case: dict[str, Any]) -> None:
    """The text of the machine is exactly what the domain prints for it."""
    context = case["system_context"]
    assert DOMAIN.to_context(DOMAIN.parse_context(context)) == context


@each_case
def test_a_reference_command_is_right(case: dict[str, Any]) -> None:
    """It succeeds, the guard allows it, it holds what is expected, and it ends where it should."""
    command = AUTHORED[case["name"]].command
    if command is None:
        assert case["expected"] is None
        assert "expected_state" not in case
        return
    state = DOMAIN.parse_context(case["system_context"])
    applied = DOMAIN.apply(state, command)
    assert not applied.status, applied.error
    assert DOMAIN.check(state, command).allowed
    assert all(part.casefold() in command.casefold() for part in case["expected"])
    if "expected_state" in case:
        assert DOMAIN.to_dict(applied.state) == case["expected_state"]
        assert DOMAIN.from_dict(case["expected_state"]) != state


def _patterns(sources: tuple[str, ...]) -> list[tuple[str, re.Pattern[str]]]:
    """Templates with simple slots, each slot being one to three words, beside the longest part of each;
    those that say next to nothing without their slots would match anything."""
    made = []
    for source in sources:
        literal = [normal(part) for part in _SLOT.split(source)]
        words = len(" ".join(literal).split())
        if "{%" in source or len(literal) == 1 or words < 2:
            continue
        slot = r" ?\S+(?: \S+){0,2} ?" if words > 3 else r" ?\S+(?: \S+)? ?"
        made.append((max(literal, key=len), re.compile(slot.join(map(re.escape, literal)))))
    return made


@cache
def trained() -> tuple[frozenset[str], tuple[tuple[str, re.Pattern[str]], ...]]:
    """All that is said in the conversations, on every thirty-first kind of machine; and as patterns."""
    talks: list[Conversation] = load_conversations(find_toolkit().data / "conversations")[0]
    config = augment_support.config()
    said: set[str] = set()
    patterns: list[tuple[str, re.Pattern[str]]] = []
    for talk in talks:
        for turn in talk.turns:
            said |= {normal(source) for source in (*turn.user, *turn.text) if "{" not in source}
            patterns += _patterns((*turn.user, *turn.text))
        scenarios = DOMAIN.every_scenario(config, talk.when, talk.start)
        for scenario in islice(scenarios, 0, None, 31):
            for planned in plan(talk, scenario, DOMAIN).turns:
                said |= {normal(wording.text) for wording in planned.wordings}
                said |= {normal(text) for text in planned.history}
    return frozenset(said), tuple(patterns)


def test_the_cases_are_in_words_of_their_own() -> None:
    """No message of four or more words, of either side and commands included, is in a training
    conversation, in any wording, on many kinds of machine; slots may hold anything."""
    said, patterns = trained()
    assert len(said) > 5000
    assert normal("Partition the disk!") in said
    shared = []
    for case in CASES:
        for message in case["messages"]:
            text = normal(message["content"])
            if len(message["content"].split()) < 4 and len(text.split()) < 4:
                continue
            if text in said or (
                message["content"][0] != "$"
                and any(part in text and one.fullmatch(text) for part, one in patterns)
            ):
                shared.append((case["name"], message["content"]))
    assert not shared, "\n".join(map(str, shared))


CONTEXT = """\
## Current System State

- Boot mode: UEFI
- Network: Connected
- Hostname: archiso
- Timezone: not set

## Available Disks

- /dev/sda: 100G (Disk)
  - /dev/sda1: 99G"""


def snapshot(talk: str, turn: int, command: str | None, category: str) -> dict[str, Any]:
    """A snapshot on one machine."""
    answer: dict[str, str] = {"type": "text", "response": "A disk."}
    if command:
        answer = {"type": "command", "command": command}
    return {
        "system_context": CONTEXT,
        "messages": [{"role": "user", "content": f"turn {turn}"}],
        "expected_response": answer,
        "meta": {"conversation": talk, "turn": turn, "categories": [category, "other"]},
    }


@pytest.fixture
def held_out(tmp_path):
    """Ten snapshots of a long conversation, two of a short one."""
    rows = [snapshot("long", turn, "lsblk", "disks") for turn in range(1, 11)]
    rows += [snapshot("short", 1, "mkfs.ext4 -F /dev/sda1", "files")]
    rows += [snapshot("short", 2, None, "files")]
    path = tmp_path / "held.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def exported(run_stage, held_out, *overrides: str) -> list[dict[str, Any]]:
    """The cases that the stage writes."""
    target = held_out.with_name("cases.jsonl")
    done = run_stage(
        "cases", f"file={held_out}", f"output_file={target}", *overrides, cwd=held_out.parent
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in target.read_text().splitlines()]


def test_a_command_becomes_its_words_and_its_end_state(run_stage, held_out) -> None:
    """Commands are expected with the state that they make, text as null; the schema holds."""
    cases = exported(run_stage, held_out, "category=files")
    assert [case["name"] for case in cases] == ["short-1-1", "short-2-1"]
    assert [case["expected"] for case in cases] == ["mkfs.ext4 -F /dev/sda1", None]
    assert all(validator("test_case").is_valid(case) for case in cases)
    disk = cases[0]["expected_state"]["disks"][0]
    assert disk["partitions"][0]["signature"]["kind"] == "ext4"
    assert "expected_state" not in cases[1]


def test_a_limit_takes_from_every_conversation(run_stage, held_out) -> None:
    """Four of twelve: two of each conversation, the same ones every time."""
    cases = exported(run_stage, held_out, "limit=4")
    assert Counter(case["name"].split("-")[0] for case in cases) == {"long": 2, "short": 2}
    assert exported(run_stage, held_out, "limit=4") == cases
    assert len(exported(run_stage, held_out, "limit=100")) == 12


def test_an_unknown_category_names_those_there_are(run_stage, held_out) -> None:
    """Exit 1, the known categories, and no file."""
    target = held_out.with_name("none.jsonl")
    done = run_stage(
        "cases", f"file={held_out}", f"output_file={target}", "category=x", cwd=held_out.parent
    )
    assert done.returncode == 1
    assert "disks, files, other" in done.stderr
    assert not target.exists()


def test_the_snapshots_are_never_overwritten(run_stage, held_out) -> None:
    """output_file=file is refused, exit 2."""
    before = held_out.read_bytes()
    done = run_stage("cases", f"file={held_out}", f"output_file={held_out}", cwd=held_out.parent)
    assert done.returncode == 2
    assert held_out.read_bytes() == before
