"""Message Batches: submit, look, fetch, and never pay twice unseen.

    batches = Batches(work, client, journal, cfg.provider)
    batches.submit(prompts)     # one batch after the other, each announced on disk before it is sent
    batches.process(items)      # results of ended batches into the journal, by custom_id

Each batch has a file `OUTPUT.work/batches/NNNN.json`, flushed to the disk before the request goes
out: the places of its snapshots, when, and the state `submitting`. The server's id is written the
moment it arrives. A run that dies in between leaves `submitting`, and the next one looks for the
batch among those of the account before it sends anything: an unknown batch of the same size that
is not older. When it has ended, its custom_ids prove whose it is; while it runs, nobody can tell, so
nothing is sent. Only when no such batch is listed `settle` seconds later was it never received.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from llmkit.annotate_anthropic import Anthropic, Remote, Result
from llmkit.annotate_client import (
    BadRequest,
    NotThere,
    Prompt,
    Reply,
    Transient,
    retrying,
)
from llmkit.annotate_corpus import Item
from llmkit.annotate_journal import REFUSED, TRANSIENT, Failed, Journal
from llmkit.annotate_judge import Judge
from llmkit.annotate_limits import Limits
from llmkit.annotate_sync import keep
from llmkit.config_annotate import AnthropicConfig
from llmkit.errors import ConfigError, LlmkitError
from llmkit.output import write_whole

SUBMITTING, SUBMITTED, PROCESSED = "submitting", "submitted", "processed"
_SKEW = timedelta(minutes=10)  # between our clock and the server's
T = TypeVar("T")


class Unsure(LlmkitError):
    """A batch may or may not have been received; it will be known later."""


@dataclass(slots=True)
class Batch:
    """One batch, as its file has it."""

    number: int
    places: list[int]  # of its snapshots
    sent: str  # when, ISO 8601
    state: str = SUBMITTING
    id: str = ""

    @property
    def age(self) -> float:
        """Seconds since it was sent."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.sent)).total_seconds()


class Batches:
    """The batches of one run."""

    def __init__(
        self, work: Path, client: Anthropic, journal: Journal, provider: AnthropicConfig
    ) -> None:
        self.folder = work / "batches"
        self.client, self.journal, self.provider = client, journal, provider
        self.limits = Limits(
            requests=provider.requests_per_minute, tokens=provider.tokens_per_minute
        )
        self.all = list(load(work))
        self._places: dict[int, frozenset[int]] = {}

    # What there is

    @property
    def open(self) -> list[Batch]:
        """Batches whose results are not in the journal."""
        return [batch for batch in self.all if batch.state != PROCESSED]

    def under_way(self) -> set[int]:
        """Places that an open batch holds."""
        return {place for batch in self.open for place in batch.places}

    # Submit

    def submit(self, prompts: Iterable[tuple[int, Prompt]]) -> list[Batch]:
        """Send (place, prompt) pairs, in as many batches as the limits ask for.

        Raises Unsure when it cannot be known whether an earlier batch was received.
        """
        made = []
        for part in _parts(prompts, self.provider.batch.requests, self.provider.batch.megabytes):
            made.append(self._send(part))
        return made

    def _send(self, part: Sequence[tuple[int, Prompt]]) -> Batch:
        batch = Batch(
            len(self.all) + 1, [place for place, _ in part], datetime.now(UTC).isoformat()
        )
        self.all.append(batch)
        requests = [(self.name(batch, place), prompt) for place, prompt in part]

        def send() -> Remote:
            batch.sent = datetime.now(UTC).isoformat()
            self._save(batch)  # on the disk before the first byte goes out
            try:
                return self.client.submit(requests)
            except Transient as error:
                if not error.sure:
                    found = self._settled(batch)
                    if found is not None:
                        return found
                raise

        try:
            remote = self._again(send)
        except (BadRequest, ConfigError):
            self._drop(batch)
            raise
        except Transient as error:
            self._drop(batch)  # each try was either refused or, `settle` seconds later, not listed
            raise LlmkitError(f"batch {batch.number} could not be submitted: {error}") from None
        return self._adopt(batch, remote.id)

    def _settled(self, batch: Batch) -> Remote | None:
        """The batch whose submission broke off, when the server has it; waits until it is sure.

        Raises Unsure, never Transient: an attempt whose end is not known must not be repeated.
        """
        self.limits.sleep(max(self.provider.batch.settle - batch.age, 0.0))
        try:
            return self._again(lambda: self._lookup(batch))
        except Transient as error:
            raise Unsure(
                f"batch {batch.number} may have been received, and the account's batches cannot be "
                f"listed: {error}; nothing is sent again until that is known"
            ) from None

    def reconcile(self) -> list[Batch]:
        """Find out about batches that a dead run left as `submitting`; returns those found again.

        One that the server does not have is forgotten, so that it is sent anew. Raises Unsure.
        """
        found = []
        for batch in [batch for batch in self.all if batch.state == SUBMITTING]:
            remote = self._settled(batch)
            if remote is None:
                self._drop(batch)
            else:
                found.append(self._adopt(batch, remote.id))
        return found

    def _lookup(self, batch: Batch) -> Remote | None:
        """The server's batch that is `batch`; None when it has none; Unsure while it is open."""
        known = {other.id for other in self.all if other.id}
        since = datetime.fromisoformat(batch.sent) - _SKEW
        unsure = []
        for remote in self.client.listed(since):
            if remote.id in known or remote.total != len(batch.places):
                continue
            if not remote.ended:
                unsure.append(remote.id)
                continue
            try:
                first = next(self.client.results(remote.id), None)
            except NotThere:  # archived
                continue
            if (
                first is None
            ):  # it has some: the stream broke off, and says nothing about whose it is
                raise Transient(f"batch {remote.id}: no results came")
            if self.place(batch, first.custom_id) is not None:
                return remote
        if unsure:
            raise Unsure(
                f"batch {batch.number} was being sent when the run stopped, and may be "
                f"{' or '.join(unsure)}, which is still running: nothing is sent again until it "
                "has ended and its results say whose it is (action=wait waits for that)"
            )
        return None

    # Look and fetch

    def look(self) -> list[tuple[Batch, Remote | None]]:
        """Every open batch as the server has it; None: not known to it, or not yet known to us."""
        found: list[tuple[Batch, Remote | None]] = []
        for batch in self.open:
            remote = None
            if batch.id:
                try:
                    remote = self._again(lambda batch=batch: self.client.retrieve(batch.id))  # type: ignore[misc]
                except NotThere:
                    remote = None
            found.append((batch, remote))
        return found

    def process(
        self,
        ended: Sequence[Batch],
        judge: Judge,
        items: Callable[[set[int]], Iterator[Item]],
        advance: Callable[[int], None],
    ) -> None:
        """Put the results of ended batches into the journal; what is there already is passed over.

        Raises LlmkitError when the server's results stay incomplete.
        """
        for batch in ended:
            self._again(lambda batch=batch: self._fetch(batch, judge, items, advance))  # type: ignore[misc]
            batch.state = PROCESSED
            self._save(batch)

    def lost(self, batch: Batch) -> None:
        """A batch that the server no longer has: each snapshot without a result may be asked anew."""
        for place in batch.places:
            if (batch.id, place) not in self.journal.taken:
                reason = f"batch {batch.id} is no longer on the server"
                self.journal.failed(place, Failed(TRANSIENT, reason), batch=batch.id)
        batch.state = PROCESSED
        self._save(batch)

    def _fetch(
        self,
        batch: Batch,
        judge: Judge,
        items: Callable[[set[int]], Iterator[Item]],
        advance: Callable[[int], None],
    ) -> None:
        left = {place for place in batch.places if (batch.id, place) not in self.journal.taken}
        values = {item.index: item for item in items(left)}
        seen: set[int] = set()
        for result in self.client.results(batch.id):
            place = self.place(batch, result.custom_id)
            if place is None or place in seen:
                continue  # not one of ours, or twice
            seen.add(place)
            if place in left:
                left.discard(place)
                self._take(result, values[place], batch, judge)
                advance(1)
        missing = len(batch.places) - len(seen)
        if missing:  # the stream broke off: the server counts a result for each request
            raise Transient(f"batch {batch.id}: {missing} results are missing")

    def _take(self, result: Result, item: Item, batch: Batch, judge: Judge) -> None:
        outcome = result.outcome
        if isinstance(outcome, Reply):
            keep(outcome, item, judge, self.journal, batch.id)
            return
        kind = TRANSIENT if isinstance(outcome, Transient) else REFUSED
        self.journal.failed(item.index, Failed(kind, str(outcome)), batch=batch.id)

    # Parts

    def name(self, batch: Batch, place: int) -> str:
        """The custom_id of a snapshot: this run, this batch, this place."""
        return f"{self.journal.token}-{batch.number}-{place}"

    def place(self, batch: Batch, custom_id: str) -> int | None:
        """The place that a custom_id of this batch means; None for one of another batch."""
        head, _, number = custom_id.rpartition("-")
        if head != f"{self.journal.token}-{batch.number}" or not number.isdecimal():
            return None
        places = self._places.get(batch.number)
        if places is None:
            places = self._places[batch.number] = frozenset(batch.places)
        return int(number) if int(number) in places else None

    def _again(self, function: Callable[[], T]) -> T:
        found: T = retrying(self.limits, self.provider)(function)
        return found

    def _adopt(self, batch: Batch, identifier: str) -> Batch:
        batch.id, batch.state = identifier, SUBMITTED
        self._save(batch)
        return batch

    def _path(self, batch: Batch) -> Path:
        return self.folder / f"{batch.number:04}.json"

    def _save(self, batch: Batch) -> None:
        write_whole(self._path(batch), json.dumps(asdict(batch)) + "\n")

    def _drop(self, batch: Batch) -> None:
        """Forget a batch that the server never took. Its number is not used again."""
        batch.state, batch.places = PROCESSED, []
        self._save(batch)


def load(work: Path) -> Iterator[Batch]:
    """The batches of a run, in order."""
    for path in sorted((work / "batches").glob("[0-9]*.json")):
        yield Batch(**json.loads(path.read_bytes()))


def _parts(
    prompts: Iterable[tuple[int, Prompt]], most: int, megabytes: int
) -> Iterator[list[tuple[int, Prompt]]]:
    """As many as one batch may hold."""
    part: list[tuple[int, Prompt]] = []
    size = 0
    for place, prompt in prompts:
        length = 2 * (len(prompt.system) + len(prompt.user)) + 512  # escaped, with what is around
        if part and (len(part) == most or size + length > megabytes * 1_000_000):
            yield part
            part, size = [], 0
        part.append((place, prompt))
        size += length
    if part:
        yield part
