"""Run an augmentation: units of work through one or more processes, in order, into two files.

What arrives is written and hashed as it comes; only the keys of one conversation's snapshots, and a
fingerprint of each distinct wording, are kept, so that memory does not grow with the data.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import resource_tracker
from typing import Any, BinaryIO

from llmkit.augment_coverage import Labels
from llmkit.augment_emit import Batch, Emitter, Job, Piece, Tag, units
from llmkit.interrupts import held
from llmkit.split import TEST, TRAIN

_AHEAD = 8  # units a worker that may be under way or waiting: bounds what is in memory
_FEW = 8  # conversations a worker below which a conversation's units go to all workers
_KEYS = 500_000  # snapshots of one conversation among which repeats are looked for

FILES = {TRAIN: "training/augmented_dataset.jsonl", TEST: "testing/test_dataset.jsonl"}


@dataclass(slots=True)
class Side:
    """What one half of the data set holds."""

    snapshots: int = 0
    size: int = 0  # bytes
    sha256: str = ""
    conversations: int = 0
    types: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)  # snapshots whose answer is turn N
    characters: Counter[int] = field(default_factory=Counter)  # answers by length
    categories: Counter[str] = field(default_factory=Counter)
    scenario: dict[str, Counter[str]] = field(default_factory=dict)
    cover: Counter[Labels] = field(default_factory=Counter)
    forms: dict[str, set[str]] = field(default_factory=dict)  # of commands → conversations

    def count(self, tag: Tag, number: int, conversation: str) -> None:
        """Add `number` snapshots like `tag`."""
        self.types[tag.type] += number
        self.turns[tag.turn] += number
        self.characters[tag.characters] += number
        self.cover[tag.cover] += number
        for form in tag.forms:
            self.forms.setdefault(form, set()).add(conversation)
        for category in tag.categories:
            self.categories[category] += number
        for key, value in tag.summary.items():
            table = self.scenario.setdefault(key, Counter())
            for item in value if isinstance(value, list | tuple) else (value,):
                table[str(item)] += number


@dataclass(slots=True)
class Tally:
    """What a run wrote."""

    sides: dict[str, Side] = field(default_factory=lambda: {TRAIN: Side(), TEST: Side()})
    repeats: int = 0  # snapshots left out because the same one was there
    unmodelled: set[str] = field(default_factory=set)
    wordings: dict[str, int] = field(default_factory=lambda: {TRAIN: 0, TEST: 0})  # distinct
    shared: list[str] = field(default_factory=list)  # wordings of test that training has too

    @property
    def snapshots(self) -> int:
        return sum(side.snapshots for side in self.sides.values())


_emitter: Emitter | None = None


def _begin(cfg: Any, jobs: Sequence[Job], taken: frozenset[str]) -> None:
    """Set up a worker process. Ctrl-C is the parent's to handle; when the parent is killed, the
    worker ends too."""
    global _emitter
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _emitter = Emitter(cfg, jobs, taken)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a worker"
    parent.join()
    os._exit(1)


def _work(unit: tuple[Piece, ...]) -> Batch:
    assert _emitter is not None, "the worker was not set up"
    return _emitter.batch(unit)


def batches(
    cfg: Any, jobs: Sequence[Job], taken: frozenset[str], full: Callable[[int], bool]
) -> Iterator[Batch]:
    """The batch of every unit, in order. Units of a conversation for which `full(job)` holds are
    not begun."""
    wanted = (unit for unit in units(jobs, cfg) if not full(unit[0].job))
    if cfg.workers == 1:
        emitter = Emitter(cfg, jobs, taken)
        yield from map(emitter.batch, wanted)
        return
    # A pool of one for each worker: what a conversation needs (its plan, its slipped wordings) is
    # made once, by the worker that all its units go to. Few conversations are dealt out by unit.
    pools = [
        ProcessPoolExecutor(
            1,
            multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(cfg, list(jobs), taken),
        )
        for _ in range(cfg.workers)
    ]
    by_job = len(jobs) >= _FEW * cfg.workers
    waiting: deque[Future[Batch]] = deque()
    resource_tracker.ensure_running()  # not by the first worker: it would let signals in again
    try:
        for count, unit in enumerate(wanted):
            place = unit[0].job if by_job else count
            with held(signal.SIGINT):  # the worker begins here: it never sees a Ctrl-C
                waiting.append(pools[place % cfg.workers].submit(_work, unit))
            if len(waiting) > _AHEAD * cfg.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        with held(signal.SIGINT):  # a pool that is left half shut keeps the process from ending
            for future in waiting:
                future.cancel()
            for pool in pools:
                pool.shutdown(wait=True, cancel_futures=True)


class Writer:
    """Puts batches into the two files, and counts."""

    def __init__(self, jobs: Sequence[Job], streams: dict[str, BinaryIO]) -> None:
        self.jobs, self.streams = jobs, streams
        self.tally = Tally()
        self.hashes = {side: hashlib.sha256() for side in streams}
        self.job = -1
        self.keys: set[int] = set()
        self.written = 0  # of the present conversation
        self.carried = 0  # what earlier conversations left of their quotas
        self.train: set[int] = set()
        self.test: dict[int, str] = {}

    def full(self, job: int) -> bool:
        """Whether a conversation has as many snapshots as it may have."""
        quota = self.jobs[job].quota
        return quota is not None and job == self.job and self.written >= quota + self.carried

    def begin(self, job: int) -> None:
        """Go on to another conversation."""
        if job == self.job:
            return
        if self.job >= 0 and (quota := self.jobs[self.job].quota) is not None:
            self.carried += quota - self.written
        self.job, self.written = job, 0
        self.keys.clear()

    def add(self, batch: Batch) -> None:
        """Write what is new in a batch. Raises its PlanError when it has one."""
        if batch.failed is not None:
            raise batch.failed
        self.begin(batch.job)
        job = self.jobs[batch.job]
        self.tally.repeats += batch.repeats
        self.tally.unmodelled.update(batch.unmodelled)
        data, tag_of = batch.data, batch.tag_of
        keys: Sequence[int] = batch.keys
        room = len(keys)
        if job.quota is not None:
            room = max(job.quota + self.carried - self.written, 0)
        if not self.keys.isdisjoint(keys) or room < len(keys):
            starts = [0, *batch.ends]
            kept = [index for index, key in enumerate(keys) if key not in self.keys]
            self.tally.repeats += len(keys) - len(kept)
            kept = kept[:room]
            bounds = list(pairwise(starts))
            data = b"".join(data[bounds[index][0] : bounds[index][1]] for index in kept)
            keys = [keys[index] for index in kept]
            tag_of = type(tag_of)("I", (tag_of[index] for index in kept))
        if not keys:
            return
        if len(self.keys) > _KEYS:
            self.keys.clear()
        self.keys.update(keys)
        self.streams[job.side].write(data)
        self.hashes[job.side].update(data)
        side = self.tally.sides[job.side]
        side.conversations += not self.written
        self.written += len(keys)
        side.snapshots += len(keys)
        side.size += len(data)
        for tag, number in Counter(tag_of).items():
            side.count(batch.tags[tag], number, job.conversation.id)
        self.train.update(batch.prints)
        self.test.update(batch.words)

    def finish(self) -> Tally:
        """The tally, with the hashes and the wordings that both sides have."""
        tally = self.tally
        for side, digest in self.hashes.items():
            tally.sides[side].sha256 = digest.hexdigest()
        tally.wordings = {TRAIN: len(self.train), TEST: len(self.test)}
        tally.shared = sorted(text for found, text in self.test.items() if found in self.train)
        return tally


def write(
    cfg: Any,
    jobs: Sequence[Job],
    taken: frozenset[str],
    streams: dict[str, BinaryIO],
    total: int,
) -> Tally:
    """Write every snapshot of `jobs` to the side's stream; `total` is for the progress bar.

    Raises PlanError for a conversation that cannot be held on a machine that fits it.
    """
    writer = Writer(jobs, streams)
    with _progress(total) as advance:
        for batch in batches(cfg, jobs, taken, writer.full):
            before = writer.tally.snapshots
            writer.add(batch)
            advance(writer.tally.snapshots - before)
    return writer.finish()


class _progress:
    """A progress bar on stderr, on a terminal only; gives a function to advance it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.bar: Any = None

    def __enter__(self) -> Callable[[int], None]:
        if not sys.stderr.isatty():
            return lambda number: None
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self.bar = Progress(
            "snapshots", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self.bar.start()
        task = self.bar.add_task("snapshots", total=self.total)
        return lambda number: self.bar.advance(task, number)

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()
