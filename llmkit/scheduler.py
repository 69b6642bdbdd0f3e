"""Answers many requests at once, each as it comes.

    from llmkit.scheduler import Scheduler
    scheduler = Scheduler(loaded, cfg.engine, renderer.stop_ids)
    scheduler.submit(request, on_text=print, on_done=keep)
    scheduler.run(stop)  # in a thread of its own

Every step gives each running answer a token, or several that were guessed well (scheduler_draft.py),
and reads a piece of the prompts that wait, in one call of the model. A request joins and leaves at
any step. What was computed for earlier requests is not computed again: see scheduler_prefix.py.
Greedy answers are those of llmkit.generate.Engine; sampled ones depend on their seed alone (but for
the last bits of low-precision sums).
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config_engine import ServeEngineConfig
from llmkit.errors import ConfigError, LlmkitError
from llmkit.generate import Completion, Request, choose, common_length, declines, likeliest
from llmkit.scheduler_draft import LONGEST, Drafter, History, read_answers
from llmkit.scheduler_text import TextStream

if TYPE_CHECKING:
    import torch

    from llmkit.model import Loaded
    from llmkit.recall_store import Recall
    from llmkit.scheduler_model import Seat

log = logging.getLogger(__name__)

_COUNTS = (
    "requests",
    "cancelled",
    "failed",
    "steps",
    "prompt_tokens",
    "reused_tokens",  # of prompts: they were kept
    "computed_tokens",  # of prompts and answers, without wrong guesses
    "generated_tokens",
    "guessed_tokens",
    "guessed_well_tokens",  # that the model would have written
)
_KEPT = 16384  # tokens of earlier answers to guess from
_LOOKED_AT = 2048  # last tokens of a prompt to guess from: to index them takes some milliseconds
OnText = Callable[[str], None]
OnDone = Callable[["Completion | Exception"], None]


class Busy(LlmkitError):
    """As many requests wait as may."""


class Cancelled(LlmkitError):
    """The request was cancelled before its answer ended."""


@dataclass(eq=False, slots=True)
class _Row:
    """A request that waits or runs."""

    id: int
    request: Request
    on_text: OnText | None
    on_done: OnDone
    generator: Any = None
    ids: list[int] = field(default_factory=list)  # generated
    stream: TextStream | None = None
    seat: Seat | None = None
    history: History | None = None  # to guess from
    known: int = 0  # of ids, that are in it

    def unread(self) -> Sequence[int]:
        """Tokens that are not in the cache."""
        assert self.seat is not None
        prompt = self.request.ids
        if self.seat.length < len(prompt):
            return prompt[self.seat.length :]
        return self.ids[self.seat.length - len(prompt) :]


class Scheduler:
    """Continuous batching over one model. `stop_ids` are the tokens that end an answer."""

    def __init__(self, loaded: Loaded, cfg: ServeEngineConfig, stop_ids: frozenset[int]) -> None:
        import torch

        from llmkit.scheduler_model import serving_model

        self.loaded = loaded
        self.cfg = cfg
        self.stop_ids = stop_ids
        if cfg.threads is not None:
            torch.set_num_threads(cfg.threads)
        self._model = serving_model(loaded, cfg)
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()  # guards the next three
        self._waiting: deque[_Row] = deque()
        self._cancelled: set[int] = set()
        self._live: set[int] = set()
        self._guessing = cfg.guess > 0 and self._model.spare(1) > 0
        self._drafter = Drafter(_KEPT)
        if loaded.adapter is not None:
            self._prime(loaded.adapter)
        self._recalls: dict[int, Recall] = {}  # by adapter, see `_recall_of`
        if loaded.adapter is not None:
            self._remember(0, loaded.adapter)
        self._running: list[_Row] = []  # of the thread that steps, in order of admission
        self._counts = dict.fromkeys(_COUNTS, 0)

    @property
    def limit(self) -> int:
        """The most tokens that a request may have, prompt and answer."""
        return self._model.limit

    def submit(self, request: Request, *, on_text: OnText | None = None, on_done: OnDone) -> int:
        """Queue a request; its number, for `cancel`. From any thread.

        `on_text` gets the answer's text as it becomes certain: never a part of a character or of a
        stop text; all pieces together are the completion's text. `on_done` gets the completion, or
        Cancelled, or what went wrong. Both are called in the thread that steps, and must be quick.

        Raises:
            Busy: cfg.queue requests wait.
            ConfigError: no tokens, or more than the cache can hold.
        """
        need = len(request.ids) + request.max_tokens
        if not request.ids or request.max_tokens < 1:
            raise ConfigError("a prompt without tokens, or max_tokens below 1")
        if need > self.limit:
            raise ConfigError(
                f"a prompt of {len(request.ids):,} tokens and max_tokens={request.max_tokens:,}"
                f" are more than engine.max_cache_tokens={self.limit:,}"
            )
        row = _Row(next(self._numbers), request, on_text, on_done, _generator(request))
        if on_text is not None or request.stop:
            row.stream = TextStream(self._decode, request.stop)
        with self._changed:
            if len(self._waiting) >= self.cfg.queue:
                raise Busy(f"{self.cfg.queue} requests wait already")
            self._waiting.append(row)
            self._live.add(row.id)
            self._counts["requests"] += 1
            self._changed.notify()
        return row.id

    def generate(
        self,
        requests: Sequence[Request],
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """A completion for each request, in their order, as generate.Engine does it; in no other
        thread. What begins alike is submitted together, so that it is computed once.

        Raises ConfigError for a request that is larger than the cache, and what went wrong.
        """
        done: dict[int, Completion] = {}

        def finisher(index: int) -> OnDone:
            def finish(result: Completion | Exception) -> None:
                if isinstance(result, Exception):
                    failed.append(result)
                    return
                done[index] = result
                if on_done is not None:
                    on_done(index, result)

            return finish

        failed: list[Exception] = []
        order = deque(sorted(range(len(requests)), key=lambda index: requests[index].ids))
        while len(done) < len(requests):
            while order and self.stats()["waiting"] < self.cfg.queue:
                index = order.popleft()
                self.submit(requests[index], on_done=finisher(index))
            self.step()
            if failed:
                with self._changed:
                    self._cancelled |= self._live
                self._drop_cancelled()
                raise failed[0]
        return [done[index] for index in range(len(requests))]

    def cancel(self, id: int) -> None:
        """End a request at the next step, if it has not ended. From any thread."""
        with self._changed:
            if id in self._live:
                self._cancelled.add(id)
                self._changed.notify()

    def stats(self) -> dict[str, float]:
        """Counts since the start, and what is there now. From any thread."""
        held, limit = self._model.held()
        with self._changed:
            return {
                "active": len(self._live) - len(self._waiting),
                "waiting": len(self._waiting),
                "cache_tokens": held,
                "cache_limit": limit,
                **self._counts,
            }

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set; then end what is left as cancelled."""
        while not stop.is_set():
            if not self.step():
                with self._changed:
                    if not self._waiting and not self._cancelled:
                        self._changed.wait(0.1)  # and then look at `stop`
        with self._changed:
            self._cancelled |= self._live
        self._drop_cancelled()

    def step(self) -> bool:
        """A token for each running answer, and a piece of the prompts; False where none is left."""
        import torch

        self._drop_cancelled()
        with torch.inference_mode():
            try:
                parts = self._plan()
                if not parts:
                    return False
                guesses = self._guesses(parts)
                logits = self._model.forward(
                    [
                        (row.seat, [*ids, *guess])  # type: ignore[misc]
                        for (row, ids), guess in zip(parts, guesses, strict=True)
                    ],
                    [1 + len(guess) for guess in guesses],
                )
            except Exception as error:  # out of memory, …: the requests fail, the server goes on
                log.exception("a step failed")
                failed = list(self._running)
                with self._changed:
                    if not failed and self._waiting:  # it could not even join
                        failed.append(self._waiting.popleft())
                if not failed:
                    raise
                for row in failed:
                    self._leave(row, error, keep=False)
                return True
            self._counts["steps"] += 1
            self._counts["computed_tokens"] += sum(len(ids) for _, ids in parts)
            first = 0  # of a part's logits
            greedy: list[int] | None = None
            for (row, _), guess in zip(parts, guesses, strict=True):
                here = range(first, first + 1 + len(guess))
                first = here.stop
                if row.unread():
                    continue  # a prompt that is not read to its end
                if greedy is None:
                    greedy = likeliest(logits).tolist()
                found = [(greedy[place], logits[place]) for place in here]
                recall = None if row.ids else self._recall_of(row)
                if recall is not None:
                    state = self._model.states[recall.settings.layer][here.start]
                    found[0] = recall.first(logits[here.start], state)
                self._take(row, guess, found)
        return True

    def _take(
        self, row: _Row, guess: Sequence[int], found: Sequence[tuple[int, torch.Tensor]]
    ) -> None:
        """Give a row the token behind what it had, and one more behind each guess that was right."""
        assert row.seat is not None
        self._counts["guessed_tokens"] += len(guess)
        certain = len(row.request.ids) + len(row.ids)
        for place, (token, logits) in enumerate(found):
            self._model.keep(row.seat, certain + place)
            self._advance(row, token, logits)
            if place == len(guess):
                return
            if row.seat is None:  # its end was guessed, perhaps
                self._counts["guessed_well_tokens"] += token == guess[place]
                return
            if row.ids[-1] != guess[place]:
                return
            self._counts["guessed_well_tokens"] += 1
            self._counts["computed_tokens"] += 1

    def _guesses(self, parts: Sequence[tuple[_Row, Sequence[int]]]) -> list[list[int]]:
        """For each part, how its answer may go on, as far as that costs next to nothing."""
        guesses: list[list[int]] = [[] for _ in parts]
        if not self._guessing:
            return guesses
        left = self._model.spare(sum(len(ids) for _, ids in parts))
        writing = [place for place, (row, _) in enumerate(parts) if row.ids]
        for rank, place in enumerate(writing):
            row = parts[place][0]
            most = row.request.max_tokens - len(row.ids) - 1
            count = min(left // (len(writing) - rank), self.cfg.guess, most)
            if count < 1:
                continue
            if row.history is None:
                row.history = History(self._plain(row.request.ids[-_LOOKED_AT:]))
            row.history.add(row.ids[row.known :])
            row.known = len(row.ids)
            guesses[place] = self._drafter.guess(row.history, count)
            left -= len(guesses[place])
        return guesses

    def _prime(self, adapter: Path) -> None:
        """Guess from what an adapter was trained to answer, too."""
        if self._guessing:
            size = self.loaded.model.get_input_embeddings().num_embeddings
            answers = read_answers(adapter, self.loaded.tokenizer, self.stop_ids)
            self._drafter.prime([ids for ids in answers if max(ids, default=size) < size])

    def _remember(self, number: int, adapter: Path) -> None:
        """Ask the nearest training prompts of an adapter, where it has them."""
        from llmkit.recall_store import read_recall

        found = read_recall(self.loaded, adapter) if self.cfg.recall else None
        if found is not None:
            self._model.tap(found.settings.layer)
            self._recalls[number] = found

    def _recall_of(self, row: _Row) -> Recall | None:
        return self._recalls.get(0)

    def _plain(self, ids: Sequence[int]) -> Sequence[int]:
        """Tokens as the model writes them."""
        return ids

    def _drop_cancelled(self) -> None:
        with self._changed:
            if not self._cancelled:
                return
            dropped = [row for row in self._waiting if row.id in self._cancelled]
            for row in dropped:
                self._waiting.remove(row)
            dropped += [row for row in self._running if row.id in self._cancelled]
            self._cancelled.clear()
        for row in dropped:
            self._leave(row, Cancelled("the request was cancelled"))

    def _plan(self) -> list[tuple[_Row, Sequence[int]]]:
        """What this step computes: for each row, the tokens that come next."""
        parts: list[tuple[_Row, Sequence[int]]] = []
        budget = self.cfg.prefill_tokens
        reading: list[_Row] = []
        for row in self._running:
            ids = row.unread()
            if row.ids:
                parts.append((row, ids))
            elif budget:
                parts.append((row, ids[:budget]))
                budget -= len(parts[-1][1])
                reading.append(row)
        while budget:
            joined = self._admit(reading)
            if joined is None:
                break
            parts.append((joined, joined.unread()[:budget]))
            budget -= len(parts[-1][1])
            reading.append(joined)
        return parts

    def _admit(self, reading: Sequence[_Row]) -> _Row | None:
        """The first request that waits, if there is room and it should not wait any longer."""
        with self._changed:
            row = self._waiting[0] if self._waiting else None
        if row is None:
            return None
        prompt = row.request.ids[:-1]  # the last is always computed: its logits are needed
        shared = self._model.shared(prompt)
        for other in reading:  # what it begins with is being computed right now
            if common_length(prompt, other.request.ids) >= shared + self.cfg.block:
                return None
        seat = self._model.take(len(row.request.ids) + row.request.max_tokens)
        if seat is None:
            return None
        with self._changed:
            self._waiting.popleft()
            self._running.append(row)
        row.seat = seat
        self._model.load(seat, prompt)
        self._counts["prompt_tokens"] += len(row.request.ids)
        self._counts["reused_tokens"] += seat.length
        return row

    def _advance(self, row: _Row, token: int, logits: torch.Tensor) -> None:
        """Give a row its next token; it may end, well or badly."""
        assert row.seat is not None
        try:
            if not row.ids:  # requests that wait may begin alike
                self._model.save(row.seat, row.request.ids)
            if not row.ids and declines(row.request, logits):
                self._finish(row, "stop")
                return
            if row.request.grammar is not None or row.generator is not None:
                token = choose(row.request, row.ids, row.generator, logits, token)
            if token in self.stop_ids:
                self._finish(row, "stop", [token])
                return
            row.ids.append(token)
            self._counts["generated_tokens"] += 1
            if row.stream is not None:
                piece = row.stream.push(token)
                if row.stream.stopped:
                    self._finish(row, "stop")
                    return
                if piece and row.on_text is not None:
                    row.on_text(piece)
            if len(row.ids) >= row.request.max_tokens:
                self._finish(row, "length")
        except Exception as error:  # a grammar's or a callback's; the others go on
            self._leave(row, error)

    def _finish(self, row: _Row, reason: str, end: Sequence[int] = ()) -> None:
        text = self._decode(row.ids)
        ends = [at for stop in row.request.stop if stop and (at := text.find(stop)) >= 0]
        text = text[: min(ends)] if ends else text
        if row.on_text is not None and row.stream is not None and len(text) > row.stream.given:
            row.on_text(text[row.stream.given :])
        made = Completion(tuple(row.ids), text, reason, len(row.request.ids), len(row.ids))
        if self._guessing:
            self._drafter.learn(self._plain(row.request.ids[-LONGEST:]), [*row.ids, *end])
        self._leave(row, made)

    def _leave(self, row: _Row, result: Completion | Exception, *, keep: bool = True) -> None:
        """Take a row out, keep what was computed for it, and tell."""
        if row.seat is not None:
            try:
                if keep:
                    self._model.save(row.seat, (*row.request.ids, *row.ids))
            except Exception:
                log.exception("nothing is kept of request %d", row.id)
            self._model.release(row.seat)
            row.seat = None
            self._running.remove(row)
        with self._changed:
            self._live.discard(row.id)
            self._cancelled.discard(row.id)
            if isinstance(result, Exception):
                self._counts["cancelled" if isinstance(result, Cancelled) else "failed"] += 1
        try:
            row.on_done(result)
        except Exception:
            log.exception("on_done of request %d", row.id)

    def _decode(self, ids: Sequence[int]) -> str:
        decode: Any = self.loaded.tokenizer.decode
        return str(decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _generator(request: Request) -> Any:
    """Random numbers of the request's own; None where it is greedy."""
    if request.temperature <= 0:
        return None
    import torch

    generator = torch.Generator()
    if request.seed is None:
        generator.seed()
    else:
        generator.manual_seed(request.seed)
    return generator
