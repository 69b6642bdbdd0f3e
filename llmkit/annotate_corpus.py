"""The snapshots that annotate works on: read in order, one at a time, and known by their place.

    corpus = scan(paths, limit=None)
    for item in items(corpus.paths, corpus.limit): ...

Only numbers are kept of a corpus; its lines are read again when they are needed. A file that
changes in between is noticed by its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from llmkit.errors import LlmkitError, RecordError
from llmkit.output import sha256
from llmkit.records import Located, check_record, shorten


@dataclass(frozen=True, slots=True)
class Item:
    """One snapshot and where it stands."""

    index: int  # from 0, over all files
    file: str
    line: int  # from 1
    raw: bytes  # the line, newline included
    value: dict[str, Any]

    @property
    def expected(self) -> dict[str, Any]:
        found: dict[str, Any] = self.value["expected_response"]
        return found

    @property
    def done(self) -> bool:
        """Whether it has reasoning already."""
        return "thinking" in self.expected


@dataclass(slots=True)
class Corpus:
    """Which files, how many snapshots, and which of them have no reasoning."""

    paths: list[Path]
    limit: int | None
    hashes: dict[str, str] = field(default_factory=dict)  # of whole files
    total: int = 0
    todo: list[int] = field(default_factory=list)


def scan(paths: Sequence[Path], limit: int | None) -> Corpus:
    """Read all of it once. Raises RecordError for the first record that breaks its schema."""
    corpus = Corpus(list(paths), limit)
    for item in items(corpus.paths, limit):
        located = Located(item.value, item.file, item.line)
        check_record("snapshot", located)
        corpus.total += 1
        if not item.done:
            corpus.todo.append(item.index)
    corpus.hashes = {str(path): sha256(path) for path in corpus.paths}
    return corpus


def items(paths: Sequence[Path], limit: int | None) -> Iterator[Item]:
    """Every snapshot, in order. Raises RecordError for a line that is not JSON."""
    index = 0
    for path in paths:
        with open(path, "rb") as stream:
            for number, raw in enumerate(stream, 1):
                if raw.isspace():
                    continue
                if limit is not None and index >= limit:
                    return
                try:
                    value = orjson.loads(raw)
                except orjson.JSONDecodeError as error:
                    reason = f"not JSON: {shorten(str(error))}"
                    raise RecordError(reason, file=path, line=number) from error
                yield Item(index, str(path), number, raw, value)
                index += 1


def chosen(corpus: Corpus, wanted: set[int]) -> Iterator[Item]:
    """The items of these places, in order."""
    for item in items(corpus.paths, corpus.limit):
        if item.index in wanted:
            yield item


def unchanged(corpus: Corpus) -> None:
    """Raise LlmkitError when a file is no longer what was scanned."""
    for path in corpus.paths:
        if sha256(path) != corpus.hashes[str(path)]:
            raise LlmkitError(f"{path} changed while it was worked on: run again")
