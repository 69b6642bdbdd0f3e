"""What a run has got so far, so that kill -9 at any instant loses no answer.

    with open_journal(work, identity, fresh=False, durable=True) as journal:
        journal.asked(7)
        journal.answered(7, "The person wants …", tokens=(812, 64))
        journal.thinking(7)

`OUTPUT.work/run.json` says which run it is; `journal.jsonl` grows by a line an event, each written
in one piece and, where answers cost money, flushed to the disk before anything else happens. A line
that was cut off by the kill is dropped. A lock keeps a second process out; it goes with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from llmkit.errors import ConfigError, LlmkitError, OutputError
from llmkit.output import sync_folder, write_whole

RUN, JOURNAL, LOCK = "run.json", "journal.jsonl", "lock"
TRANSIENT, CONTENT, REFUSED = "transient", "content", "refused"


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a snapshot has no reasoning."""

    kind: str  # transient (ask again), content (a bad answer) or refused (a bad request)
    reason: str


@dataclass(slots=True)
class Usage:
    """Tokens that were answered for, as the servers counted them."""

    input: int = 0
    output: int = 0


@dataclass(slots=True)
class Journal:
    """The events of a run. Safe to use from several threads."""

    folder: Path
    token: str  # names this run in custom_ids
    durable: bool
    answers: dict[int, tuple[int, int]] = field(default_factory=dict)  # place → offset, length
    failures: dict[int, Failed] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)  # asked, and no answer so far
    taken: set[tuple[str, int]] = field(default_factory=set)  # (batch, place) that were read
    usage: Usage = field(default_factory=Usage)
    batched: Usage = field(default_factory=Usage)
    _handle: int = -1
    _end: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, index: int) -> None:
        """A request is about to go out."""
        self._add({"i": index, "asked": True})

    def answered(
        self, index: int, thinking: str, tokens: tuple[int, int] = (0, 0), batch: str = ""
    ) -> None:
        """Keep an answer that was found good."""
        self._add({"i": index, "ok": thinking, **_counts(tokens, batch)})

    def failed(
        self, index: int, failed: Failed, tokens: tuple[int, int] = (0, 0), batch: str = ""
    ) -> None:
        """Keep why there is none."""
        body = {"i": index, "failed": failed.reason, "kind": failed.kind}
        self._add({**body, **_counts(tokens, batch)})

    def thinking(self, index: int) -> str:
        """An answer that was kept."""
        offset, length = self.answers[index]
        text: str = orjson.loads(os.pread(self._handle, length, offset))["ok"]
        return text

    def _add(self, event: dict[str, Any]) -> None:
        line = orjson.dumps(event) + b"\n"
        with self._lock:
            try:
                _write_all(self._handle, line)
                if self.durable:
                    os.fdatasync(self._handle)
            except OSError as error:  # a full disk: half a line must not stand before the next one
                with contextlib.suppress(OSError):
                    os.ftruncate(self._handle, self._end)
                raise OutputError(self.folder / JOURNAL, error) from error
            self._apply(event, self._end, len(line))
            self._end += len(line)

    def _apply(self, event: dict[str, Any], offset: int, length: int) -> None:
        index = event["i"]
        if "asked" in event:
            self.open.add(index)
            return
        self.open.discard(index)
        batch = event.get("batch", "")
        usage = self.batched if batch else self.usage
        usage.input += event.get("in", 0)
        usage.output += event.get("out", 0)
        if batch:
            self.taken.add((batch, index))
        if "ok" in event:
            self.answers.setdefault(index, (offset, length))  # the first answer stays
            self.failures.pop(index, None)
        elif index not in self.answers:
            self.failures[index] = Failed(event["kind"], event["failed"])

    def load(self, path: Path) -> None:
        """Read the events of a file that was left behind, and open it for more."""
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        offset = 0
        with open(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    if not line.endswith(b"\n"):
                        raise ValueError("cut off")
                    self._apply(orjson.loads(line), offset, len(line))
                except (ValueError, KeyError, TypeError) as error:
                    if stream.read(1):
                        raise LlmkitError(f"{path}:{number}: the journal is damaged") from error
                    break  # the last line: the write was cut off
                offset += len(line)
        os.ftruncate(self._handle, offset)
        os.fsync(self._handle)
        sync_folder(path.parent)
        self._end = offset

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _counts(tokens: tuple[int, int], batch: str) -> dict[str, Any]:
    found: dict[str, Any] = {"batch": batch} if batch else {}
    if any(tokens):
        found |= {"in": tokens[0], "out": tokens[1]}
    return found


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


@contextmanager
def open_journal(
    folder: Path, identity: Mapping[str, Any], *, fresh: bool, durable: bool
) -> Iterator[Journal]:
    """Begin a run in `folder`, or go on with the one that is there.

    Raises:
        ConfigError: another process is at it, or the folder holds a paid run of something else
            (a run that cost nothing, `durable=False`, is forgotten).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(folder, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another run is at work in {folder}") from error
        _clear(folder, everything=fresh)
        token = _identified(folder, identity, paid=durable)
        journal = Journal(folder, token, durable)
        try:
            journal.load(folder / JOURNAL)
            yield journal
        finally:
            journal.close()
    finally:
        os.close(lock)


def _identified(folder: Path, identity: Mapping[str, Any], *, paid: bool) -> str:
    """The token of the run in `folder`, which is made when there is none."""
    path = folder / RUN
    plain = json.loads(json.dumps(identity))
    try:
        saved = json.loads(path.read_bytes())
    except FileNotFoundError:
        token = secrets.token_hex(4)
        write_whole(path, json.dumps({"token": token, **plain}, indent=2) + "\n")
        return token
    except ValueError as error:
        raise LlmkitError(f"{path} is damaged: resume=never begins anew") from error
    token = saved.pop("token")
    if saved != plain and not paid and saved.get("provider", {}).get("kind") == "template":
        _clear(folder, everything=True)  # both are free: the templates have changed since
        return _identified(folder, identity, paid=paid)
    if saved != plain:
        differing = sorted(key for key in {*saved, *plain} if saved.get(key) != plain.get(key))
        raise ConfigError(
            f"{folder} holds a run with another {', '.join(differing)}: name "
            "another output_file, or forget it with resume=never"
        )
    return str(token)


def _clear(folder: Path, *, everything: bool) -> None:
    """Take away what a killed run left half written (hidden files), or all that is there."""
    for path in list(folder.iterdir() if everything else folder.rglob("*")):
        if path.name == LOCK or not (everything or path.name.startswith(".")):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Take a finished run's folder away."""
    shutil.rmtree(folder, ignore_errors=True)
