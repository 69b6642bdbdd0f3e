"""Guesses how an answer goes on from what was written before, so that a step may give several tokens.

    from llmkit.scheduler_draft import Drafter
    drafter = Drafter(kept=16384)
    drafter.prime(read_answers(adapter, tokenizer, stop_ids))
    history = History(prompt_ids)
    drafter.guess(history, 15)

The model is asked about the guessed tokens together with the last certain one, in rows that the CPU
computes anyhow; a guess counts only where the model itself would have written that token, so answers
do not depend on guesses. Looking up the prompt is prompt lookup decoding (Saxena 2023); looking up
earlier answers is what suffix decoding does (Oliaro and others 2024). Both are done by n-grams.
The first requests find the commonest answers of the adapter's training data: answers.json in its folder.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.prompt import Example

log = logging.getLogger(__name__)

ANSWERS = "answers.json"  # beside an adapter's weights
PRIMED = 32768  # tokens of answers in it
_MOST_BYTES = 2_000_000  # of a file that is read
LONGEST = 6  # tokens that must have come before in the same way; fewer, down to one, where none did
_END = -1  # between two answers

Gram = tuple[int, ...]


class _Text:
    """Tokens, and where each n-gram of them last ended."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ends: dict[Gram, int] = {}

    def add(self, tokens: Iterable[int]) -> None:
        """More tokens; what the last ones were followed by is known now."""
        for token in tokens:
            end = len(self.tokens)
            if token != _END:
                for gram in _grams(self.tokens):
                    self.ends[gram] = end
            self.tokens.append(token)

    def after(self, gram: Gram, count: int) -> list[int]:
        """What followed `gram` last time, to the answer's end at most."""
        start = self.ends[gram]
        found = self.tokens[start : start + count]
        return found[: found.index(_END)] if _END in found else found


class History(_Text):
    """The tokens of a request and of its answer so far."""

    def __init__(self, tokens: Iterable[int]) -> None:
        super().__init__()
        self.add(tokens)


class Drafter:
    """Keeps at least the last `kept` tokens of answers, of all requests, to guess from.

    For one thread.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._primed = _Text()
        self._recent = _Text()
        self._older = _Text()

    def prime(self, answers: Sequence[Sequence[int]]) -> None:
        """Answers that are always kept, the commonest first; PRIMED tokens of them at most."""
        sizes = itertools.accumulate(len(answer) for answer in answers)
        fit = sum(size <= PRIMED for size in sizes)
        for answer in reversed(answers[:fit]):  # the last of two that begin alike is found
            self._primed.add([_END, *answer])

    def guess(self, history: History, count: int) -> list[int]:
        """At most `count` tokens that may follow; none where nothing like it came before."""
        if count < 1:
            return []
        for gram in _grams(history.tokens):
            if len(gram) > 1 and gram in self._primed.ends:
                return self._primed.after(gram, count)
            if gram in history.ends:
                return history.after(gram, count)
            for text in (self._recent, self._older):
                if len(gram) > 1 and gram in text.ends:
                    return text.after(gram, count)
        return []

    def learn(self, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """Keep an answer, and the prompt's last tokens, which say what it answers."""
        if not answer or not self._kept:
            return
        self._recent.add([_END, *prompt[-LONGEST:], *answer])
        if len(self._recent.tokens) > self._kept:  # the oldest half goes at once
            self._older, self._recent = self._recent, _Text()


def _grams(tokens: Sequence[int]) -> Iterator[Gram]:
    """The last tokens: of LONGEST first, down to one; within one answer."""
    end = len(tokens)
    for size in range(min(LONGEST, end), 0, -1):
        gram = tuple(tokens[end - size : end])
        if _END not in gram:
            yield gram


def commonest(examples: Iterable[Example], tokens: int = PRIMED) -> list[tuple[int, ...]]:
    """The answers that come most often, without their end of turn, until they have so many tokens."""
    counts = Counter(tuple(example.ids[example.prompt_length : -1]) for example in examples)
    made = []
    for answer, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        tokens -= len(answer)
        if tokens < 0:
            break
        made.append(answer)
    return made


def write_answers(path: Path, answers: Iterable[Sequence[int]], tokenizer: Any) -> None:
    """Write answers.json: texts, the commonest first."""
    texts = [tokenizer.decode(list(ids), clean_up_tokenization_spaces=False) for ids in answers]
    text = json.dumps({"answers": texts}, ensure_ascii=False, indent=0)
    path.write_text(text + "\n", encoding="utf-8")


def read_answers(adapter: Path, tokenizer: Any, stop_ids: Iterable[int]) -> list[list[int]]:
    """The answers beside an adapter as tokens, each with an end of turn; none where there is no file.

    One that cannot be read is noted in the log: it costs time, and nothing else.
    """
    path = adapter / ANSWERS
    if not path.is_file():
        return []
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        texts = json.loads(path.read_text(encoding="utf-8"))["answers"]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("answers must be texts")
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("%s is not used: %s", path, error)
        return []
    stops = set(stop_ids)
    own = tokenizer.eos_token_id
    end = [own] if own in stops else sorted(stops)[:1]
    return [[*ids, *end] for ids in encoded]
