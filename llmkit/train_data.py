"""Snapshots for training: read, turned into tokens, put into batches.

    from llmkit.train_data import read, plan

Batches hold examples of like length, so that there is little padding; the order depends on the
seed and the epoch alone, so that a resumed run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import multiprocessing
import os
import random
import re
import signal
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmkit import records
from llmkit.errors import ConfigError, LlmkitError
from llmkit.interrupts import held
from llmkit.output import sha256
from llmkit.prompt import Example, Renderer
from llmkit.split import is_held, owner
from llmkit.train_tree import rows, tokens_of, width
from llmkit.wording import Wording, said

_CHUNK = 1024  # snapshots that a worker gets at once
Step = list[list[list[int]]]  # batches of rows of examples' indices
_WORD = re.compile(r"[\w./:+-]*[\w/]")
_NUMBER = re.compile(r"\d+")
_RENDERED = ("messages", "system_context", "expected_response")


@dataclass(slots=True)
class Corpus:
    """Examples with the conversation that each comes from, and what was left out."""

    examples: list[Example] = field(default_factory=list)
    conversations: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)  # of their answers, see `answer_shape`
    dropped: list[str] = field(default_factory=list)  # file:line: reason
    sha256: dict[str, str] = field(default_factory=dict)  # by file name
    wording: Wording = field(default_factory=lambda: Wording({}))  # of all that was read

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(len(example.ids) for example in self.examples)

    @property
    def supervised(self) -> int:
        """Tokens that the loss is taken on."""
        return sum(len(example.ids) - example.prompt_length for example in self.examples)

    def only(self, indices: Sequence[int]) -> Corpus:
        """The examples at `indices`; of the same files."""
        return replace(
            self,
            examples=[self.examples[index] for index in indices],
            conversations=[self.conversations[index] for index in indices],
            shapes=[self.shapes[index] for index in indices] if self.shapes else [],
        )


def described(corpus: Corpus | None) -> dict[str, Any]:
    """What training.json says about a corpus."""
    if corpus is None:
        return {"sha256": {}, "examples": 0, "conversations": 0, "dropped_count": 0, "dropped": []}
    return {
        "sha256": corpus.sha256,
        "examples": len(corpus.examples),
        "conversations": len(set(corpus.conversations)),
        "tokens": corpus.tokens,
        "supervised_tokens": corpus.supervised,
        "dropped_count": len(corpus.dropped),
        "dropped": corpus.dropped,
    }


_renderer: Renderer | None = None  # of a worker, which inherits it


def _encode(snapshots: list[Any]) -> list[Example | LlmkitError]:
    assert _renderer is not None
    return list(_renderer.examples(snapshots))


def read(where: Path, renderer: Renderer, *, limit: int | None, seed: int, workers: int) -> Corpus:
    """The snapshots of a file, folder or glob as examples.

    Raises:
        ConfigError: no such file.
        RecordError: a record breaks the schema (file:line).
        LlmkitError: nothing is left, or no token is supervised.
    """
    global _renderer
    corpus = Corpus()
    found: list[tuple[str, str, Any]] = []  # place, conversation, what is rendered
    messages: set[tuple[str, str]] = set()
    shapes: list[str] = []
    for path in records.paths_of(where):
        corpus.sha256[str(path)] = sha256(path)
        for line, value in records.read_jsonl(path):
            records.check_record("snapshot", records.Located(value, str(path), line))
            place = f"{path}:{line}"
            # Without the machine's state, which is most of a snapshot.
            rendered = {key: value[key] for key in _RENDERED}
            found.append((place, owner(value, str(path), line), rendered))
            shapes.append(answer_shape(value))
            messages.add(said(value))
    if not found:
        raise LlmkitError(f"{where} holds no record")
    corpus.wording = Wording.of(messages)
    within = _within(len(found), limit, seed)
    found, shapes = [found[index] for index in within], [shapes[index] for index in within]
    chunks = [
        [value for _, _, value in found[start : start + _CHUNK]]
        for start in range(0, len(found), _CHUNK)
    ]
    _renderer = renderer
    try:
        made = _encoded(chunks, workers)
        for (place, conversation, _), shape, example in zip(found, shapes, made, strict=True):
            if isinstance(example, LlmkitError):
                corpus.dropped.append(f"{place}: {example}")
                continue
            corpus.examples.append(example)
            corpus.conversations.append(conversation)
            corpus.shapes.append(shape)
    finally:
        _renderer = None
    if not corpus.examples:
        raise LlmkitError(
            f"all {len(found):,} snapshots of {where} were dropped\n{corpus.dropped[0]}"
        )
    if not corpus.supervised:
        raise LlmkitError(f"no token of {where} is supervised")
    return corpus


def hold_out(corpus: Corpus, share: float) -> tuple[Corpus, Corpus | None]:
    """The corpus without a share of its conversations, and those; the same ones each time.

    Raises ConfigError where that leaves nothing to train on.
    """
    held = [is_held(name, share) for name in corpus.conversations]
    if all(held):
        raise ConfigError(f"data.held_out={share} leaves nothing to train on")
    if not any(held):
        return corpus, None
    kept, out = ([i for i, is_out in enumerate(held) if is_out is side] for side in (False, True))
    return corpus.only(kept), replace(corpus.only(out), dropped=[])


def limited(corpus: Corpus, limit: int | None, seed: int) -> Corpus:
    """At most `limit` of the examples, drawn by the seed."""
    chosen = _within(len(corpus.examples), limit, seed)
    return corpus if len(chosen) == len(corpus.examples) else corpus.only(chosen)


def _within(count: int, limit: int | None, seed: int) -> Sequence[int]:
    """At most `limit` of `count` places, drawn by the seed, in their order."""
    if limit is None or limit >= count:
        return range(count)
    return sorted(random.Random(f"{seed}-limit").sample(range(count), limit))


def _encoded(chunks: list[list[Any]], workers: int) -> Iterator[Example | LlmkitError]:
    workers = min(workers, len(chunks))
    if workers == 1:
        for chunk in chunks:
            yield from _encode(chunk)
        return
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        with contextlib.ExitStack() as stack:
            with held(signal.SIGINT):  # its processes never see a Ctrl-C
                pool = stack.enter_context(multiprocessing.get_context("fork").Pool(workers))
            for made in pool.imap(_encode, chunks):
                yield from made
    finally:
        os.environ.pop("TOKENIZERS_PARALLELISM")
        if before is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def answer_shape(snapshot: Mapping[str, Any]) -> str:
    """The answer with # for each word that the system context has too, and 0 for each number: one
    string for answers that differ in devices, sizes and the like alone."""
    expected = snapshot["expected_response"]
    there = set(_WORD.findall(snapshot["system_context"]))
    words = _WORD.findall(expected.get("command") or expected.get("response") or "")
    bare = ("#" if word in there else _NUMBER.sub("0", word) for word in words)
    return f"{expected['type']} {' '.join(bare)}"


def drawn(
    corpus: Corpus,
    epoch: int,
    *,
    per_conversation: int | None,
    per_answer: int | None = None,
    seed: int,
) -> list[int]:
    """Which examples an epoch is made of: so many of each conversation, of them so many of each
    shape of answer; others in the next epoch."""
    chosen: Sequence[int] = range(len(corpus.examples))
    for groups, count in ((corpus.conversations, per_conversation), (corpus.shapes, per_answer)):
        if count is not None:
            chosen = _some(chosen, groups, count, epoch, seed)
    return list(chosen)


def _some(
    indices: Sequence[int], groups: Sequence[str], count: int, epoch: int, seed: int
) -> list[int]:
    """At most `count` of `indices` of each group, sorted; the next ones in the next epoch."""
    members: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        members[groups[index]].append(index)
    chosen: list[int] = []
    for name, order in members.items():
        random.Random(f"{seed}-{name}").shuffle(order)
        few = min(count, len(order))
        chosen += [order[(epoch * few + place) % len(order)] for place in range(few)]
    return sorted(chosen)


def plan(
    corpus: Corpus,
    epoch: int,
    *,
    per_conversation: int | None,
    per_answer: int | None = None,
    tokens_per_row: int | None = None,
    tokens_per_batch: int,
    tokens_per_step: int,
    processes: int,
    seed: int,
) -> list[Step]:
    """An epoch's steps, each a list of batches, each a list of rows of examples' indices.

    Without `tokens_per_row` a row is one example; with it, rows share the tokens that examples
    begin with, and only what is computed counts: a batch has at most `tokens_per_batch` tokens with
    its padding (or one row), a step about `tokens_per_step` real tokens. What is in a step does not
    depend on `processes`.
    """
    draw = random.Random(f"{seed}-{epoch}-plan")
    indices = drawn(
        corpus, epoch, per_conversation=per_conversation, per_answer=per_answer, seed=seed
    )
    draw.shuffle(indices)
    if tokens_per_row is None:
        found = [[index] for index in indices]
        sizes = [len(corpus.examples[index].ids) for index in indices]
    else:
        found, sizes = shared_rows(corpus.examples, indices, tokens_per_row, draw)
    # Sorted (like lengths stay shuffled), cut into batches, and the batches shuffled: a batch has
    # rows of like length, and a step has batches of several lengths.
    widths = sizes
    if tokens_per_row is not None:
        widths = [width(size, tokens_per_row) for size in sizes]
    order = sorted(range(len(found)), key=lambda place: widths[place])
    limit = min(tokens_per_batch, tokens_per_step)
    pieces = [[found[place] for place in batch] for batch in batches(order, widths, limit)]
    draw.shuffle(pieces)
    count = max(1, round(sum(sizes) / tokens_per_step))
    share = len(pieces) / min(count, len(pieces))
    edges = [math.floor(number * share + 1e-9) for number in range(min(count, len(pieces)) + 1)]
    edges[-1] = len(pieces)
    steps = [pieces[a:b] for a, b in itertools.pairwise(edges) if b > a]
    return [split(step, processes) for step in steps]


def shared_rows(
    examples: Sequence[Example], indices: Sequence[int], limit: int, draw: random.Random
) -> tuple[list[list[int]], list[int]]:
    """Rows of at most `limit` tokens, in a drawn order, and how many tokens each has."""
    ordered = sorted(indices, key=lambda index: examples[index].ids)
    turn = draw.randrange(len(ordered)) if ordered else 0  # cut elsewhere in each epoch
    found = [*rows(examples, ordered[turn:], limit), *rows(examples, ordered[:turn], limit)]
    draw.shuffle(found)
    return found, [tokens_of([examples[index] for index in row]) for row in found]


def batches(indices: Sequence[int], lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Runs of `indices` whose padded size stays within `limit`."""
    batch: list[int] = []
    longest = 0
    for index in indices:
        longest = max(longest, lengths[index])
        if batch and longest * (len(batch) + 1) > limit:
            yield batch
            batch, longest = [], lengths[index]
        batch.append(index)
    if batch:
        yield batch


def split(step: Step, processes: int) -> Step:
    """A step's batches, halved where there are fewer than processes (the same rows)."""
    step = list(step)
    while len(step) < processes:
        largest = max(range(len(step)), key=lambda place: len(step[place]))
        batch = step[largest]
        if len(batch) < 2:
            break
        step[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
    return step
