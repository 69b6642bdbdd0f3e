"""Guesses how an answer goes on from what was written before, so that a step may give several tokens.

    from llmkit.scheduler_draft import Drafter
    drafter = Drafter(kept=16384)
    history = drafter.begin(prompt_ids)
    drafter.guess(history, 15)

The model is asked about the guessed tokens together with the last certain one, in rows that the CPU
computes anyhow; a guess counts only where the model itself would have written that token, so answers
do not depend on guesses. Looking up the prompt is prompt lookup decoding (Saxena 2023); looking up
earlier answers is what suffix decoding does (Oliaro and others 2024). Both are done by n-grams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

LONGEST = 4  # tokens that must have come before in the same way; fewer, down to one, where none did
_END = -1  # between two answers

Gram = tuple[int, ...]


class History:
    """A request's tokens, and where each n-gram of them last ended."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens: list[int] = []
        self.ends: dict[Gram, int] = {}
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """One more token; what the last ones were followed by is known now."""
        end = len(self.tokens)
        for gram in _grams(self.tokens, end):
            self.ends[gram] = end
        self.tokens.append(token)


class Drafter:
    """Keeps the last `kept` tokens of answers, of all requests, to guess from. For one thread."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._log: list[int] = []
        self._ends: dict[Gram, int] = {}

    def guess(self, history: History, count: int) -> list[int]:
        """At most `count` tokens that may follow; none where nothing like it came before."""
        if count < 1:
            return []
        for gram in _grams(history.tokens, len(history.tokens)):
            if len(gram) > 1 and gram in self._ends:
                return _until_end(self._log, self._ends[gram], count)
            if gram in history.ends:
                return _until_end(history.tokens, history.ends[gram], count)
        return []

    def learn(self, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """Keep an answer, and the prompt's last tokens, which say what it answers."""
        if not answer or not self._kept:
            return
        start = len(self._log)
        self._log += [_END, *prompt[-LONGEST:], *answer]
        self._note(start)
        if len(self._log) > 2 * self._kept:
            del self._log[: -self._kept]
            self._ends.clear()
            self._note(0)

    def _note(self, start: int) -> None:
        for end in range(start + 1, len(self._log)):
            for gram in _grams(self._log, end):
                if _END not in gram:
                    self._ends[gram] = end


def _grams(tokens: Sequence[int], end: int) -> Iterator[Gram]:
    """The last tokens before `end`: of LONGEST first, down to one."""
    for size in range(min(LONGEST, end), 0, -1):
        yield tuple(tokens[end - size : end])


def _until_end(tokens: Sequence[int], start: int, count: int) -> list[int]:
    found = list(tokens[start : start + count])
    return found[: found.index(_END)] if _END in found else found
