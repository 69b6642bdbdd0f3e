"""Answers as a person would get them: the domain's review between the model and the scores.

    backend = Reviewed(local(cfg, domain, adapter), judge(domain), tries=4, retry=cfg.retry)

A command that the review passes stands. Where it knows the line that was asked for, near the one that
was written, that line is the answer. One that could never work (it fails, the guard refuses it) is asked
for again, by another seed each time, of all cases in question at once, and the first one that passes is
taken. A try in text ends that: no command is due. Then, when none passes, and when a person has to be
asked first, the review's own words are the answer. A text of which the domain knows that it is not so is
treated like a command that could never work. Before that, and where a text is all that the model wrote, a
command takes its place if the model nearly wrote one (`threshold`), the last message names what it works on
(`due`), and nothing is against it. `summary` says what that came to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmkit.chat_types import CUT
from llmkit.config_chat import RetryConfig
from llmkit.domain import Domain, Objection, about, objection, untrue, wished
from llmkit.evaluate_run import (
    Answer,
    Backend,
    OnAnswer,
    Result,
    Review,
    Sampling,
    Try,
    reply_of,
    scored,
)
from llmkit.score import Case

Judge = Callable[[Case, str], Objection | None]
Doubt = Callable[[Case, str], str]
Due = Callable[[Case, str], bool]


def judge(domain: Domain) -> Judge:
    """The domain's review of a command for a case."""

    def found(case: Case, command: str) -> Objection | None:
        return objection(domain, case.state, case.messages, command)

    return found


def doubt(domain: Domain) -> Doubt:
    """The domain's word on a text for a case."""

    def found(case: Case, text: str) -> str:
        return untrue(domain, case.state, case.messages, text)

    return found


def due(domain: Domain) -> Due:
    """Whether the domain finds a command named by a case's last message."""

    def found(case: Case, command: str) -> bool:
        return about(domain, case.state, case.messages, command)

    return found


def wanted(domain: Domain) -> Due:
    """Whether a command may take the place of a text that is not so."""

    def found(case: Case, command: str) -> bool:
        return wished(domain, case.state, case.messages, command)

    return found


def _never(case: Case, command: str) -> bool:
    return False


def _none(case: Case, text: str) -> str:
    return ""


class Reviewed:
    """A backend whose answers are reviewed; `tries` counts the first one."""

    def __init__(
        self,
        backend: Backend,
        judge: Judge,
        *,
        tries: int,
        retry: RetryConfig,
        doubt: Doubt = _none,
        due: Due = _never,
        wanted: Due = _never,
        threshold: float = 1.0,
    ) -> None:
        self.backend, self.judge, self.doubt = backend, judge, doubt
        self.due, self.wanted = due, wanted
        self.tries, self.retry, self.threshold = tries, retry, threshold

    def answer(
        self, cases: Sequence[Case], on_answer: OnAnswer, sampling: Sampling | None = None
    ) -> None:
        """Round by round: all cases, then those whose command could never work."""
        left = [_Open(place, case) for place, case in enumerate(cases)]
        for number in range(self.tries):
            how = sampling
            if number:
                how = Sampling(self.retry.temperature, self.retry.top_p, number)
            last = number == self.tries - 1
            if number or self.threshold >= 1:
                left = self._round(left, how, on_answer, last=last)
            else:
                texts: list[_Open] = []
                left = self._round(left, how, on_answer, last=last, texts=texts)
                left += self._second_look(texts, on_answer, last=last)
                left.sort(key=lambda item: item.place)
            if not left:
                return

    def _round(
        self,
        asked: Sequence[_Open],
        how: Sampling | None,
        on_answer: OnAnswer,
        *,
        last: bool,
        texts: list[_Open] | None = None,
    ) -> list[_Open]:
        """One answer for each; those that are asked again. What is answered in words goes to `texts`,
        if there is such a list."""
        again: list[_Open] = []

        def heard(index: int, answer: Answer) -> None:
            item = asked[index]
            item.heard(
                answer, None if how is None else how.seed, self._objection(item.case, answer)
            )
            if texts is not None and answer.error is None and reply_of(answer).command is None:
                texts.append(item)
            else:
                self._ended(item, on_answer, again, last=last)

        self.backend.answer([item.case for item in asked], heard, how)
        return sorted(again, key=lambda item: item.place)

    def _ended(self, item: _Open, on_answer: OnAnswer, again: list[_Open], *, last: bool) -> None:
        """Tell a case's answer, or put it to those that are asked again."""
        found = item.found
        if found is not None and found.better:
            on_answer(item.place, item.mended(found.better))
        elif found is not None and found.again and not last:
            again.append(item)
        else:
            on_answer(item.place, item.end(found))

    def _second_look(
        self, texts: Sequence[_Open], on_answer: OnAnswer, *, last: bool
    ) -> list[_Open]:
        """A command in place of a text, where the model nearly wrote one, nothing is against it, and the
        message names what it works on or the text is not so; those that are asked again."""
        again: list[_Open] = []

        def heard(index: int, answer: Answer) -> None:
            item = texts[index]
            command = None if answer.error is not None else reply_of(answer).command
            found = None if command is None else self._objection(item.case, answer)
            false = item.found is not None  # what the model said in words
            if (
                command is None
                or found is not None
                or not (self.due(item.case, command) or (false and self.wanted(item.case, command)))
            ):
                self._ended(item, on_answer, again, last=last)
                return
            item.heard(answer, None, None)
            on_answer(item.place, item.taken())

        if texts:
            how = Sampling(0.0, 1.0, None, self.threshold)
            self.backend.answer([item.case for item in texts], heard, how)
        return again

    def _objection(self, case: Case, answer: Answer) -> Objection | None:
        reply = reply_of(answer)
        command = reply.command
        if command is None:
            words = self.doubt(case, reply.response or "")
            return Objection(words, again=True) if words else None
        if answer.finish_reason == "length":
            return Objection(CUT, again=True)
        return self.judge(case, command)


class _Open:
    """A case on its way to an answer."""

    def __init__(self, place: int, case: Case) -> None:
        self.place, self.case = place, case
        self.answers: list[Answer] = []
        self.tries: list[Try] = []
        self.words = ""  # of the first objection
        self.found: Objection | None = None  # against the last answer

    def heard(self, answer: Answer, seed: int | None, found: Objection | None) -> None:
        text = None if found is None else found.text
        self.words, self.found = self.words or text or "", found
        self.answers.append(answer)
        self.tries.append(
            Try(answer.text, answer.finish_reason, answer.completion_tokens, seed, text)
        )

    def mended(self, command: str) -> Answer:
        """The answer with the command that the review has in place of the last one."""
        made = self._made(None)
        review = Review(None, tuple(self.tries), command)
        return replace(made, text=f"$ {command}", finish_reason="stop", review=review)

    def end(self, found: Objection | None) -> Answer:
        """The answer, when nobody is asked again; `found` is against the last one."""
        first, last = self.answers[0], self.answers[-1]
        if not self.words:
            return first
        said = None
        if found is not None:  # a question belongs to the command that it is about
            said = self.words if found.again else found.text
        elif reply_of(last).command is None and self.words != CUT:
            said = self.words  # known to be true, where the text was drawn
        return self._made(said)

    def taken(self) -> Answer:
        """The last answer, in place of the first."""
        return self._made(None)

    def _made(self, said: str | None) -> Answer:
        first, last = self.answers[0], self.answers[-1]
        return replace(
            last,
            text=last.text if said is None else said,
            finish_reason=last.finish_reason if said is None else "stop",
            prompt_tokens=first.prompt_tokens,  # they are read once
            completion_tokens=sum(answer.completion_tokens for answer in self.answers),
            review=Review(said, tuple(self.tries)),
        )


def summary(
    results: Iterable[Result], domain: Domain, scorers: Sequence[str], rank_by: str
) -> dict[str, Any]:
    """What the review came to, as JSON data.

    `scores`: the mean of each scorer without and with it. `rows`: how its objections ended, with how
    many were right (by `rank_by`) without and with it, and how many it made right and wrong.
    `cases`: the value of each case that it had something against, without and with it.
    """
    pairs = [(_without(result, domain, scorers), result) for result in results]
    touched = [(old, new) for old, new in pairs if new.answer.review is not None]
    ends: dict[str, list[tuple[Result, Result]]] = {
        "another try": [], "a corrected line": [], "its own words": [],
    }  # fmt: skip
    for old, new in touched:
        assert new.answer.review is not None
        ends[_end(new.answer.review)].append((old, new))
    return {
        "scores": {
            name: {
                "without": _mean(old.value(name) for old, _ in pairs),
                "with": _mean(new.value(name) for _, new in pairs),
            }
            for name in scorers
        },
        "rows": [_row(end, some, rank_by) for end, some in (*ends.items(), ("all", touched))],
        "cases": {
            new.case.name: {"without": old.value(rank_by), "with": new.value(rank_by)}
            for old, new in touched
        },
    }


def _end(review: Review) -> str:
    if review.better is not None:
        return "a corrected line"
    return "another try" if review.said is None else "its own words"


def _without(result: Result, domain: Domain, scorers: Sequence[str]) -> Result:
    if result.answer.review is None:
        return result
    return scored(result.case, result.answer.unreviewed(), domain, scorers)


def _row(end: str, pairs: Sequence[tuple[Result, Result]], rank_by: str) -> dict[str, Any]:
    right = [(old.value(rank_by) == 1, new.value(rank_by) == 1) for old, new in pairs]
    return {
        "end": end,
        "cases": len(right),
        "right_without": sum(old for old, _ in right),
        "right_with": sum(new for _, new in right),
        "made_right": right.count((False, True)),
        "made_wrong": right.count((True, False)),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def lines(found: Mapping[str, Any]) -> list[str]:
    """The summary in words."""
    *ends, every = found["rows"]
    how = ", ".join(f"{row['cases']} ended with {row['end']}" for row in ends)
    return [
        f"review: something against {every['cases']} first answers; {how};"
        f" made right {every['made_right']}, made wrong {every['made_wrong']}"
    ]
