"""failures.md: the cause of each failed case, and Markdown that nothing in a case can break."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from llmkit.chat_types import CUT
from llmkit.domain import Applied, get_domain
from llmkit.evaluate_failures import Cause, brief, by_cause, cause_of, counts, markdown, span
from llmkit.evaluate_run import Answer, Result, Review, Try, passed, scored
from llmkit.score import Case

INSTALLER = get_domain("installer")
CONTEXT = """\
## Current System State

- Boot mode: UEFI

## Available Disks

- /dev/sda: 100G (Toshiba X)
  - /dev/sda1: 512M
  - /dev/sda2: 99.5G
- /dev/sdb: 50G (Intel Y)
"""
SCORERS = ["state", "danger", "refusal"]
TEXT = object()


class Verdict(NamedTuple):
    allowed: bool
    reason: str
    missing: tuple[str, ...]
    danger: str


class Lamps:
    """A console of light switches, without any of what a domain may have more."""

    name = "lamps"

    def apply(self, state: tuple[str, ...], command: str) -> Applied:
        if "broken" in command:
            return Applied(state, 1, "the switch is broken")
        return Applied((*state, command), 0)

    def check(self, state: tuple[str, ...], command: str) -> Verdict:
        missing = ("cellar",) if "cellar" in command else ()
        allowed = not missing and "never" not in command
        danger = "destructive" if "smash" in command else "change"
        return Verdict(allowed, "" if allowed else "no", missing, danger)


LAMPS: Any = Lamps()


def case(due: Any, *words: str, name: str = "a", end: Any = None, lamps: bool = False) -> Case:
    """A case whose right answer is a command, any with `words` (due None), or TEXT."""
    expected: tuple[str, ...] | None = words if due is None else (due,)
    response = None if due is None else {"type": "command", "command": due}
    if due is TEXT:
        expected, response = None, {"type": "text", "response": "No."}
    return Case(
        name, "category", ({"role": "user", "content": "please"},),
        "- desk: off\n- hall: off" if lamps else CONTEXT,
        () if lamps else INSTALLER.parse_context(CONTEXT), expected, response, end,
    )  # fmt: skip


def cause(about: Case, text: str, domain: Any = INSTALLER, **more: Any) -> Cause:
    answer = Answer("", text, more.pop("reason", "stop"), **more)
    result = scored(about, answer, domain, SCORERS)
    assert not passed(result, "state")
    return cause_of(result, domain, "state")


WIPE = "sgdisk -Z /dev/sda && sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 -t 2:8300 /dev/sda"


@pytest.mark.parametrize(
    ("due", "answer", "found"),
    [
        ("mkfs.ext4 -F /dev/sda1", "Shall I format sda1?", Cause.asks),
        ("mkfs.ext4 -F /dev/sda1", "It is done.", Cause.tells),
        ("mkfs.ext4 -F /dev/sda1", "This one:\n$ lsblk\nor this:\n$ blkid", Cause.malformed),
        ("mkfs.ext4 -F /dev/sda1", "$ mkfs.ext4 -F /dev/sda2", Cause.thing),
        ("mkfs.ext4 -F /dev/sda1", "$ mkfs.ext4 -F /dev/sdz1", Cause.absent),
        ("mkfs.ext4 -F /dev/sda1", "$ rm -rf /", Cause.refused),
        ("mkfs.ext4 -F /dev/sda1", "$ mount /dev/sda1 /mnt", Cause.fails),
        ("mkfs.ext4 -F /dev/sda1", "$ lsblk", Cause.deed),
        (WIPE, "$ sgdisk -Z /dev/sda", Cause.part),
        ("sgdisk -Z /dev/sda", f"$ {WIPE}", Cause.more),
        (WIPE, f"$ {WIPE.replace('512M', '1G')}", Cause.value),
        (WIPE, f"$ {WIPE.replace('/dev/sda', '/dev/sdb')}", Cause.thing),
        (WIPE, f"$ {WIPE} && mkfs.ext4 -F /dev/sda1", Cause.more),
        (f"{WIPE} && mkfs.ext4 -F /dev/sda2", "$ mkfs.ext4 -F /dev/sda1", Cause.deed),
        (TEXT, "$ lsblk", Cause.command),
        (TEXT, "$ mkfs.ext4 -F /dev/sda1", Cause.destroys),
    ],
)
def test_a_known_right_answer_tells_the_cause(due: Any, answer: str, found: Cause) -> None:
    """The right answer and another one: what is wrong with it, by hand."""
    assert cause(case(due), answer) is found


@pytest.mark.parametrize(
    ("words", "end", "answer", "found"),
    [
        (("ext4", "/dev/sda1"), True, "$ mkfs.ext4 -F /dev/sda2", Cause.thing),
        (("mount", "/dev/sda1"), True, "$ mkfs.ext4 -F /dev/sda2", Cause.words),
        (("ext4", "/dev/sda1"), True, "$ mkfs.xfs -f /dev/sda1", Cause.words),
        (("/dev/sda1",), True, "$ mkfs.xfs -f /dev/sda1", Cause.end),
        (("/dev/sda1",), False, "$ mkfs.xfs -f /dev/sda1", Cause.unsafe),
        (("blkid",), False, "$ lsblk", Cause.words),
    ],
)
def test_words_and_an_end_tell_the_cause(
    words: Sequence[str], end: bool, answer: str, found: Cause
) -> None:
    """A hand-written case: what the command must hold, and the state that it leads to."""
    about = case(None, *words)
    state = INSTALLER.apply(about.state, "mkfs.ext4 -F /dev/sda1").state if end else None
    assert cause(case(None, *words, end=state), answer) is found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("$ on hall", Cause.thing), ("$ on desk now", Cause.more), ("$ on at once", Cause.value),
        ("$ off desk", Cause.deed), ("$ on cellar", Cause.absent), ("$ never", Cause.refused),
        ("$ on broken", Cause.fails),
    ],
)  # fmt: skip
def test_another_domain_has_causes_too(answer: str, found: Cause) -> None:
    """One that says neither what a line runs nor what differs."""
    assert cause(case("on desk", lamps=True), answer, LAMPS) is found


def test_an_answer_that_does_not_end() -> None:
    """Cut at the limit, or none at all."""
    about = case("lsblk")
    assert cause(about, "$ blkid && blk", reason="length") is Cause.broke_off
    assert cause(about, "", reason="error", error="too long") is Cause.no_answer


def test_a_score_that_is_stricter_than_the_end() -> None:
    """`mkfs -t ext4` does what `mkfs.ext4` does; by `exact` it fails all the same."""
    about = case("mkfs.ext4 -F /dev/sda1")
    answer = Answer("", "$ mkfs -t ext4 -F /dev/sda1", "stop")
    result = scored(about, answer, INSTALLER, ["state", "exact"])
    assert passed(result, "state") and not passed(result, "exact")
    assert cause_of(result, INSTALLER, "exact") is Cause.way


def reviewed(said: str | None, *tries: tuple[str, str | None]) -> Any:
    """The review of these texts, each with what was said against it."""
    made = [Try(text, "stop", 1, place or None, no) for place, (text, no) in enumerate(tries)]
    return {"review": Review(said, tuple(made))}


@pytest.mark.parametrize(
    ("said", "tries", "found"),
    [
        ("Sure?", [("$ sgdisk -Z /dev/sda", "Sure?")], Cause.lost),
        ("Sure?", [("$ sgdisk -Z /dev/sdb", "Sure?")], Cause.held),
        ("No.", [("$ sgdisk -Z /dev/sdz", "No."), ("Hm.", None)], Cause.absent),
        ("No.", [("$ mount /dev/sda1 /mnt", "No."), ("$ blkid /dev/sdz", "Not.")], Cause.fails),
        ("Sure?", [("$ blkid /dev/sdz", "No."), ("$ sgdisk -Z /dev/sda", "Sure?")], Cause.lost),
        (CUT, [("$ sgdisk -Z /dev/sd", CUT)], Cause.broke_off),
    ],
)  # fmt: skip
def test_what_the_review_held_back_tells_the_cause(
    said: str, tries: list[tuple[str, str | None]], found: Cause
) -> None:
    """Its words are the answer; the command that they are about is what failed."""
    assert cause(case("sgdisk -Z /dev/sda"), said, **reviewed(said, *tries)) is found


def test_a_right_command_that_another_one_replaced() -> None:
    """The review asked anew, and what came then was wrong."""
    more = reviewed(None, ("$ sgdisk -Z /dev/sda", "That would fail."), ("$ lsblk", None))
    assert cause(case("sgdisk -Z /dev/sda"), "$ lsblk", **more) is Cause.lost


def results(*texts: str) -> list[Result]:
    """Answers to `mkfs.ext4 -F /dev/sda1`."""
    return [
        scored(case("mkfs.ext4 -F /dev/sda1", name=f"n{at}"), Answer("", text, "stop"), INSTALLER,
               SCORERS)
        for at, text in enumerate(texts)
    ]  # fmt: skip


def test_the_most_frequent_cause_is_first() -> None:
    """Cases stay in their order; what passed is in none."""
    found = by_cause(
        results("It is.", "$ lsblk", "$ mkfs.ext4 -F /dev/sda1", "$ blkid", "Why?"),
        INSTALLER, "state",
    )  # fmt: skip
    assert [(key, [result.case.name for result in some]) for key, some in found.items()] == [
        (Cause.deed, ["n1", "n3"]), (Cause.asks, ["n4"]), (Cause.tells, ["n0"])
    ]  # fmt: skip
    assert next(iter(counts(found).items())) == ("Another deed", 2)
    assert by_cause(results("$ mkfs.ext4 -F /dev/sda1"), INSTALLER, "state") == {}


def test_a_case_says_what_was_due_and_what_came() -> None:
    """The whole file for one case."""
    found = by_cause(results("$ mkfs.ext4 -F /dev/sda2"), INSTALLER, "state")
    assert markdown(found, INSTALLER, cases=3, rank_by="state").split("## ", 1)[1] == (
        "Another device (1)\n\n"
        "In place of the one that was due it names another entry of the machine's description; its"
        " programs, or the other words that were due, are right.\n\n"
        "### `n0` (`category`)\n\n"
        "- machine: `Boot mode: UEFI; /dev/sda: 100G (Toshiba X) [/dev/sda1: 512M, /dev/sda2: 99.5G];"
        " /dev/sdb: 50G (Intel Y)`\n"
        "- person: `please`\n"
        "- due: `$ mkfs.ext4 -F /dev/sda1`\n"
        "- answered: `$ mkfs.ext4 -F /dev/sda2`\n"
        f"- why: `{found[Cause.thing][0].scores['state'].reason}`\n"
        "- danger: `destructive, without a confirmed plan or an explicit request`\n"
    )


def test_the_first_answer_stands_beside_the_last() -> None:
    """With the review: the model's own, what was said against it, and what was wrong with it."""
    more = reviewed(
        "Sure?", ("$ mkfs.ext4 /dev/sdz1", "No."), ("$ mkfs.ext4 -F /dev/sda2", "Sure?")
    )
    answer = Answer("", "Sure?", "stop", **more)
    one = scored(case("mkfs.ext4 -F /dev/sda1"), answer, INSTALLER, SCORERS)
    text = markdown(by_cause([one], INSTALLER, "state"), INSTALLER, cases=1, rank_by="state")
    assert text.endswith(
        "- answered: `Sure?`\n"
        "- the model's own: `$ mkfs.ext4 /dev/sdz1`\n"
        "- the review's words are about: `$ mkfs.ext4 -F /dev/sda2`\n"
        "- the review's objection: `No.`\n"
        "- why: `no command`\n"
        "- that command: another device\n"
    )


def test_a_description_without_a_list_is_taken_whole() -> None:
    """Another domain's context."""
    assert brief("on: desk,\n hall") == "on: desk, hall"
    assert brief("  - deep\n  - er") == "deep [er]"


NASTY = st.sampled_from(
    ["\n# Heading\n", "\n## Would fail (9)\n", "\n\n### `a` (`b`)\n", "`", "``", "```\n", "~~~\n",
     "\n- answered: x", "\n***\n", "<h1>", "</li>", "<!--", "-->", "|", "\r## x\r", "\n\n    code",
     "[a](http://x)", "![a](http://x)", "<http://x>", "&lt;", "\\`", "\\", "$`x`$", "\n===\n", "\x00",
     "\x1b[2J", "\u202e", "\u2028# x", "\x85# x", "\x0c# x", "$ ", "[ ]: x", "*nothing*", "@all"]
)  # fmt: skip
TEXTS = st.lists(NASTY | st.text(max_size=5), max_size=6).map("".join)
INLINE = {"text", "code_inline", "em_open", "em_close"}
BLOCKS = {
    "heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "table_open",
    "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close",
    "th_open", "th_close", "td_open", "td_close", "bullet_list_open", "bullet_list_close",
    "list_item_open", "list_item_close",
}  # fmt: skip
LABELS = re.compile(
    r"(machine|before|person|due|answered|the model's own|the review's objection|why|danger|"
    r"the review's words are about): (nothing)?|that command: [a-z ,]+"
)
PARSER = MarkdownIt("commonmark").enable("table")


@st.composite
def failures(draw: st.DrawFn) -> list[Result]:
    """Cases of any texts, with any answers, some of them reviewed."""
    made = []
    for at in range(draw(st.integers(1, 4))):
        due = draw(st.sampled_from(["command", "words", "text"]))
        line = draw(TEXTS.filter(str.strip))
        said = [{"role": "user", "content": draw(TEXTS)} for _ in range(draw(st.integers(1, 2)))]
        about = Case(
            f"n{at}n{draw(TEXTS)}", draw(TEXTS), tuple(said), draw(TEXTS), (),
            None if due == "text" else (line,),
            {"type": due, "command" if due == "command" else "response": line}
            if due != "words" else None,
        )  # fmt: skip
        text = draw(st.sampled_from(["", "$ ", "$ smash ", "$ on cellar ", "$ broken "])) + draw(
            TEXTS
        )
        review = None
        if draw(st.booleans()):
            first = Try(f"$ on {draw(TEXTS)}", "stop", 1, None, draw(TEXTS))
            review = Review(text if draw(st.booleans()) else None, (first,))
        answer = Answer("", text, draw(st.sampled_from(["stop", "length"])), review=review)
        made.append(scored(about, answer, LAMPS, SCORERS))
    return made


@given(failures())
def test_nothing_in_a_case_is_markup(made: list[Result]) -> None:
    """Every failed case stands there once, below its cause; all that others wrote is in code spans."""
    found = by_cause(made, LAMPS, "state")
    failed = [result for result in made if not passed(result, "state")]
    text = markdown(found, LAMPS, cases=len(made), rank_by="state")
    text.encode()
    tokens = PARSER.parse(text)
    assert {token.type for token in tokens} <= BLOCKS
    headings = [inline for token, inline in pairwise(tokens)
                if token.type == "heading_open"]  # fmt: skip
    levels = [token.tag for token in tokens if token.type == "heading_open"]
    assert levels == ["h1"] + [
        tag for some in found.values() for tag in ["h2"] + ["h3"] * len(some)
    ]
    titles = [token.content for token, tag in zip(headings, levels, strict=True) if tag == "h2"]
    assert titles == [f"{title} ({count})" for title, count in counts(found).items()]
    named = [code(token)[0] for token, tag in zip(headings, levels, strict=True) if tag == "h3"]
    in_order = [result.case.name[:3] for some in found.values() for result in some]
    assert [name[:3] for name in named] == in_order
    assert sorted(in_order) == sorted(result.case.name[:3] for result in failed)
    items = [tokens[at + 2] for at, token in enumerate(tokens) if token.type == "list_item_open"]
    assert len([token for token in tokens if token.type == "bullet_list_open"]) == len(failed)
    for item in items:
        assert LABELS.fullmatch(plain(item)), item.content
    for token in tokens:
        assert {child.type for child in token.children or ()} <= INLINE


def code(token: Token) -> list[str]:
    return [child.content for child in token.children or () if child.type == "code_inline"]


def plain(token: Token) -> str:
    return "".join(child.content for child in token.children or () if child.type == "text")


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just("`"), min_size=1))
def test_a_code_span_shows_the_text_as_it_is(text: str) -> None:
    """Of printable characters, read by a parser of CommonMark; the longest are cut."""
    (inline,) = [token for token in PARSER.parse(f"- due: {span(text)}") if token.type == "inline"]
    shown = text if len(text) <= 400 else f"{text[:400]}…"
    assert (plain(inline), code(inline)) == ("due: ", [shown])


def test_what_cannot_be_seen_is_spelt() -> None:
    """Controls, marks that turn the direction, line breaks; and nothing at all."""
    assert span("a\x1b[2J\u202eb") == "`a\\x1b[2J\\u202eb`"
    assert span(" a\n\nb\t c ") == "`a ⏎ ⏎ b c`"
    assert span(" \n") == "*nothing*"
    assert span("`a") == "`` `a ``"


def test_no_failures_is_said(tmp_path: Path) -> None:
    """The file is there, without a table."""
    assert markdown({}, INSTALLER, cases=7, rank_by="state") == (
        "# Failures\n\n0 of 7 cases failed by `state`.\n"
    )
