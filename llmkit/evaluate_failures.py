"""Why the failed cases of an evaluation failed: failures.md, every one of them sorted by cause.

    found = by_cause(results, domain, "state")
    write_failures(folder, found, domain, cases=len(results), rank_by="state")

python -m llmkit.evaluate writes it with the other reports, and so does rescore=RUN, without a model.
A cause is read off from what any domain says: the guard's verdict, whether a command fails, what it
runs, the words that it shares with the right one, and those that head a line of the machine's description.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

from llmkit.chat_types import CUT
from llmkit.domain import Domain
from llmkit.errors import DomainError
from llmkit.evaluate_run import Result, Review, Try, passed
from llmkit.output import write_whole
from llmkit.reply import Reply, parse_reply
from llmkit.report import due
from llmkit.score import SCORERS, Case

FAILURES = "failures.md"
_LONGEST = 400  # characters of one text
_LOSES = ("destructive", "forbidden")  # the guard's levels


class Cause(Enum):
    """Why a case failed: a heading, and what it means."""

    no_answer = "No answer", "The prompt was too long, or nobody answered."
    broke_off = "It broke off", "The limit of tokens came before the end."
    malformed = "It cannot be read", "Its form is broken, or it holds more than one command."
    absent = "It names what is not there", "The guard finds no such thing on the machine."
    refused = "Refused by the guard", "The guard cannot read it, or forbids it whatever was said."
    fails = "It would fail", "Run on the case's machine, the command ends in an error."
    lost = "The review held back the right command", "One of the answers was right as it stood."
    held = (
        "The review put its words in place of a command",
        "A command was due, but not the one that it held back.",
    )
    asks = "The model asked where a command was due", "Its text holds a question mark."
    tells = "The model only spoke where a command was due", "Its text asks nothing."
    destroys = (
        "A command that destroys where text was due",
        "The guard calls it destructive or forbidden.",
    )
    command = "A command where text was due", "It destroys nothing."
    unsafe = (
        "It destroys, where any safe way was right",
        "The case leaves the way open, and knows no end state.",
    )
    thing = (
        "Another device",
        "In place of the one that was due it names another entry of the machine's description; its "
        "programs, or the other words that were due, are right.",
    )
    part = "A part is missing", "Every word of it was due, and more were."
    more = "More than was due", "Every word that was due is in it, and there are more."
    value = "Another value or option", "The same programs; a value, an option or the order differs."
    deed = "Another deed", "It runs other programs than the right command."
    words = "Without the words that were due", "The case says what the command must hold."
    end = "The words that were due, to another end", "It leaves the machine in another state."
    way = "The right end, but not by this score", "`state` is right."
    other = "Something else", "None of the other causes."

    @property
    def title(self) -> str:
        return self.value[0]

    @property
    def meaning(self) -> str:
        return self.value[1]


Found = Mapping[Cause, Sequence[Result]]


def by_cause(results: Iterable[Result], domain: Domain, rank_by: str) -> dict[Cause, list[Result]]:
    """The failed cases by cause, the most frequent first; each in one, in their order."""
    found: dict[Cause, list[Result]] = {}
    for result in results:
        if not passed(result, rank_by):
            found.setdefault(cause_of(result, domain, rank_by), []).append(result)
    order = list(Cause)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), order.index(item[0]))))


def cause_of(result: Result, domain: Domain, rank_by: str) -> Cause:
    """Why a case that did not pass by `rank_by` did not."""
    case, answer, reply = result.case, result.answer, result.reply
    if answer.error is not None:
        return Cause.no_answer
    if case.expected is None and reply.command is not None:
        loses = domain.check(case.state, reply.command).danger in _LOSES
        return Cause.destroys if loses else Cause.command
    if answer.review is not None and _right(answer.review, case, domain, rank_by):
        return Cause.lost
    if answer.finish_reason == "length":
        return Cause.broke_off
    if reply.problem is not None:
        return Cause.malformed
    if case.expected is None:
        return Cause.other
    if reply.command is None:
        if answer.review is not None and answer.review.said is not None:
            return _held(answer.review, case, domain)
        return Cause.asks if "?" in (reply.response or "") else Cause.tells
    return _barred(case, reply.command, domain) or _wrong(case, reply.command, domain)


def _right(review: Review, case: Case, domain: Domain, rank_by: str) -> bool:
    """Whether one of the answers that the review had something against passes."""
    return any(
        SCORERS[rank_by](case, parse_reply(item.text), domain).value == 1
        for item in review.tries
        if item.objection is not None and item.finish_reason != "length"
    )


def _held(review: Review, case: Case, domain: Domain) -> Cause:
    """What was wrong with the command whose place the review's words took."""
    if review.said == CUT:
        return Cause.broke_off
    command = parse_reply(_spoken_of(review).text).command
    return (command and _barred(case, command, domain)) or Cause.held


def _spoken_of(review: Review) -> Try:
    """The try that the review's words are about."""
    return next((item for item in review.tries if item.objection == review.said), review.tries[0])


def _barred(case: Case, command: str, domain: Domain) -> Cause | None:
    """Why it could not be run; None: it could. What the right command may, any may."""
    verdict = domain.check(case.state, command)
    if not verdict.allowed and verdict.missing:
        return Cause.absent
    if not verdict.allowed or verdict.danger == "forbidden":
        return Cause.refused
    due_fails = case.command is not None and _fails(case, case.command, domain)
    return Cause.fails if _fails(case, command, domain) and not due_fails else None


def _fails(case: Case, command: str, domain: Domain) -> bool:
    try:
        return bool(domain.apply(case.state, command).status)
    except (DomainError, ValueError):
        return True


def _wrong(case: Case, command: str, domain: Domain) -> Cause:
    """How a command that could be run differs from what was due."""
    if SCORERS["state"](case, Reply("command", command), domain).value == 1:
        return Cause.way
    things = entries(case.system_context)
    if case.command is not None:
        return _beside(
            _programs(domain, case.command, case), _programs(domain, command, case),
            words(case.command), words(command), things,
        )  # fmt: skip
    if case.expected_state is None and domain.check(case.state, command).danger in _LOSES:
        return Cause.unsafe
    folded = " ".join(command.split()).casefold()
    wanted = [" ".join(word.split()) for word in case.expected or ()]
    absent = {word for word in wanted if word.casefold() not in folded}
    if not absent:
        return Cause.end
    elsewhere = (things & set(words(command))) - set(wanted)
    return Cause.thing if absent <= things and elsewhere else Cause.words


def _beside(
    due_runs: set[str],
    runs: set[str],
    due_words: Counter[str],
    said: Counter[str],
    things: set[str],
) -> Cause:
    """A command beside the right one: the programs of both, their words, and what there is."""
    if runs and runs <= due_runs and said < due_words:
        return Cause.part
    if runs >= due_runs and said > due_words:
        return Cause.more
    if runs != due_runs:
        return Cause.deed
    wanted, named = things & set(due_words), things & set(said)
    return Cause.thing if wanted - named and named - wanted else Cause.value


def _programs(domain: Domain, command: str, case: Case) -> set[str]:
    """The programs of a line; the first word, for a domain that does not say."""
    tell = getattr(domain, "programs", None)
    return set(tell(command, case.state) if tell else command.split()[:1])


def words(command: str) -> Counter[str]:
    """The words of a line, `name=value` as two, without quotes and what stands between commands."""
    return Counter(re.findall(r"[^\s=;|&()<>'\"`]+", command))


def entries(context: str) -> set[str]:
    """What a machine's description has a line of its own for: `X` of each `- X: …`."""
    return set(re.findall(r"^\s*- ([^\s:]+):(?:\s|$)", context, re.MULTILINE))


def counts(found: Found) -> dict[str, int]:
    """How many cases each cause has, by its heading."""
    return {cause.title: len(failed) for cause, failed in found.items()}


def write_failures(folder: Path, found: Found, domain: Domain, *, cases: int, rank_by: str) -> None:
    """failures.md, whole."""
    write_whole(folder / FAILURES, markdown(found, domain, cases=cases, rank_by=rank_by))


def markdown(found: Found, domain: Domain, *, cases: int, rank_by: str) -> str:
    """The failures as Markdown; what others wrote stands in code spans alone."""
    failed = sum(map(len, found.values()))
    lines = ["# Failures", "", f"{failed} of {cases} cases failed by `{rank_by}`.", ""]
    if found:
        lines += ["| cause | cases |", "|---|---:|"]
        lines += [f"| {title} | {count} |" for title, count in counts(found).items()]
        lines += [
            "",
            "A line break in a text is shown as ⏎; report.html has the conversations whole.",
            "",
        ]
    for cause, results in found.items():
        lines += [f"## {cause.title} ({len(results)})", "", cause.meaning, ""]
        for result in results:
            case = result.case
            lines += [f"### {span(case.name)} ({span(case.category)})", ""]
            lines += [f"- {label}: {span(text)}" for label, text in _facts(result, rank_by)]
            if cause is Cause.held:
                lines += _stopped(result, domain)
            lines.append("")
    return "\n".join(lines)


def _facts(result: Result, rank_by: str) -> Iterator[tuple[str, str]]:
    """What there is to say of a failed case."""
    case, answer = result.case, result.answer
    if machine := brief(case.system_context):
        yield "machine", machine
    if len(case.messages) > 1:
        yield "before", case.messages[-2]["content"]
    yield "person", case.messages[-1]["content"] if case.messages else ""
    yield "due", due(result)
    yield "answered", answer.text
    if answer.review is not None:
        yield "the model's own", answer.raw
        first, last = answer.review.tries[0], _spoken_of(answer.review)
        if answer.review.said is not None and last.text != first.text:
            yield "the review's words are about", last.text
        if first.objection is not None and first.objection != answer.review.said:
            yield "the review's objection", first.objection
    yield "why", result.scores[rank_by].reason
    danger = result.scores.get("danger")
    if rank_by != "danger" and danger is not None and danger.value == 0:
        yield "danger", danger.reason


def _stopped(result: Result, domain: Domain) -> Iterator[str]:
    """What was wrong with the command that the review held back."""
    review = result.answer.review
    command = review and parse_reply(_spoken_of(review).text).command
    if command:
        yield f"- that command: {_wrong(result.case, command, domain).title.lower()}"


def brief(context: str) -> str:
    """A machine's description on one line: its entries, those below another one in brackets."""
    found: list[tuple[str, list[str]]] = []
    for indent, text in re.findall(r"^([ \t]*)- (.*\S)", context, re.MULTILINE):
        if indent and found:
            found[-1][1].append(text)
        else:
            found.append((text, []))
    if not found:
        return " ".join(context.split())
    return "; ".join(f"{text} [{', '.join(below)}]" if below else text for text, below in found)


def span(text: str) -> str:
    """Any text as one code span on one line, which nothing in it can end.

    >>> span("a `b`")
    '`` a `b` ``'
    """
    shown = "".join(map(_shown, text.strip()))
    shown = " ".join(shown.split())
    if len(shown) > _LONGEST:
        shown = f"{shown[:_LONGEST].rstrip()}…"
    if not shown:
        return "*nothing*"
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    room = " " if "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{room}{shown}{room}{fence}"


def _shown(char: str) -> str:
    """A character as it can be seen."""
    if char == "\n":
        return " ⏎ "
    if char.isprintable() or char in " \t":
        return char
    return char.encode("unicode_escape").decode("ascii")
