"""Write a plan's snapshots: draw wordings, validate each record, encode it.

A unit of work is a few (conversation, machine, block of variations) pieces. What a unit gives
depends on the config, the seed and the piece alone, never on the process that does it, so that any
number of workers gives the same bytes.

Encoding joins pieces that were encoded once (context, answer, meta, each message); the record that
is validated is made of the very objects that those pieces encode (a test holds them equal).
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import orjson

from llmkit.augment_coverage import Labeller, Labels
from llmkit.augment_plan import Plan, PlanError, Wording, key_of, plan
from llmkit.domain import get_domain
from llmkit.noise import Noise
from llmkit.records import Conversation, Located, check_record, validator
from llmkit.split import TEST, fingerprint, normal

UNIT = 1500  # snapshots in a unit, about: 3 MB, and 10 MB of a long conversation


@dataclass(frozen=True, slots=True)
class Job:
    """A conversation with its place in the run."""

    conversation: Conversation
    side: str  # train or test
    quota: int | None = None  # at most so many snapshots


class Piece(NamedTuple):
    """One block of variations of one conversation, at one length, on one machine."""

    job: int
    length: int | None  # turns; None: all of them
    machine: int
    block: int


@dataclass(frozen=True, slots=True)
class Tag:
    """What is counted about a snapshot for the dataset card."""

    type: str
    turn: int
    characters: int  # of the answer
    categories: tuple[str, ...]
    summary: dict[str, Any]
    cover: Labels  # what the coverage report counts
    forms: tuple[str, ...]  # of the command, likewise


@dataclass(slots=True)
class Batch:
    """A unit's snapshots, and what the card and the split need to know of them."""

    job: int
    data: bytes = b""
    ends: array[int] = field(default_factory=lambda: array("Q"))  # of each line in `data`
    keys: array[int] = field(default_factory=lambda: array("q"))  # equal: the same snapshot
    tag_of: array[int] = field(default_factory=lambda: array("I"))  # of each line, into `tags`
    tags: list[Tag] = field(default_factory=list)
    words: dict[int, str] = field(default_factory=dict)  # fingerprint → wording (test side only)
    prints: array[int] = field(default_factory=lambda: array("Q"))  # fingerprints (train side)
    repeats: int = 0  # snapshots left out because they stand in this unit already
    failed: PlanError | None = None
    unmodelled: tuple[str, ...] = ()


class _Form(NamedTuple):
    """A wording as it is written: the message, its JSON, its key, its normalised fingerprint."""

    message: dict[str, str]
    encoded: bytes
    key: int
    print: int


def seed_of(*parts: object) -> int:
    """48 bits (exact in any JSON reader) that follow from the parts."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def lengths(job: Job, truncations: bool | int, seed: int) -> list[int]:
    """The shorter versions of a conversation: how many turns each of them has.

    A shorter version is a prefix that is held for itself: on a machine and in wordings of its own.
    """
    shorter = list(range(1, len(job.conversation.turns)))
    if isinstance(truncations, bool):
        return shorter if truncations else []
    rng = random.Random(seed_of(seed, job.conversation.id, "truncations"))
    return sorted(rng.sample(shorter, min(truncations, len(shorter))))


def pieces(index: int, job: Job, cfg: Any) -> Iterator[Piece]:
    """Everything that is to be written for a conversation, in order."""
    turns = len(job.conversation.turns)
    for machine in range(cfg.scenarios_per_conversation):
        for block in range(-(-cfg.variations // _block(turns))):
            yield Piece(index, None, machine, block)
    for length in lengths(job, cfg.truncations, cfg.seed):
        for block in range(-(-cfg.variations // _block(length))):
            yield Piece(index, length, 0, block)


def _block(turns: int) -> int:
    """Variations that share a random generator: they bound a unit, whatever `variations` is."""
    return max(UNIT // turns, 1)


def _count(piece: Piece, job: Job, cfg: Any) -> tuple[int, int]:
    """(turns, variations) of a piece."""
    turns = piece.length or len(job.conversation.turns)
    return turns, min(_block(turns), cfg.variations - piece.block * _block(turns))


def size_of(piece: Piece, job: Job, cfg: Any) -> int:
    """Snapshots that a piece gives at most."""
    turns, variations = _count(piece, job, cfg)
    return turns * variations * (1 + cfg.rewordings)


def units(jobs: Sequence[Job], cfg: Any) -> Iterator[tuple[Piece, ...]]:
    """All pieces of a run, in order, a few together; a unit is about one conversation only."""
    for index, job in enumerate(jobs):
        unit: list[Piece] = []
        total = 0
        for piece in pieces(index, job, cfg):
            size = size_of(piece, job, cfg)
            if unit and total + size > UNIT:
                yield tuple(unit)
                unit, total = [], 0
            unit.append(piece)
            total += size
        if unit:
            yield tuple(unit)


class Emitter:
    """Turns units into batches. One in each process."""

    def __init__(self, cfg: Any, jobs: Sequence[Job], taken: frozenset[str]) -> None:
        """`taken`: the normalised wordings of the training side."""
        self.cfg, self.jobs, self.taken = cfg, jobs, taken
        self.domain = get_domain(cfg.domain.name)
        noise = cfg.noise
        self.noise = Noise(
            noise.rate, noise.casing, noise.punctuation, noise.keys, noise.letters, noise.slips,
            noise.pool,
        )  # fmt: skip
        # Of each wording's forms, so many are slipped and so many clean: `rate` of them slipped.
        self.slipped = noise.pool if noise.rate else 0
        self.clean = round(noise.pool * (1 - noise.rate) / noise.rate) if noise.rate else 1
        self.is_valid = validator("snapshot").is_valid
        self.labeller = Labeller(self.domain)
        self.forms: dict[tuple[Wording, int, str], _Form] = {}
        self.job = -1
        self.planned: tuple[Piece | None, Plan | None] = (None, None)

    def plan(self, piece: Piece) -> Plan:
        """The plan of a piece; PlanError when the conversation cannot be held there."""
        job = self.jobs[piece.job]
        same = piece._replace(block=0)
        if self.planned[0] == same and self.planned[1] is not None:
            return self.planned[1]
        talk = job.conversation
        rng = random.Random(self.seed(piece))
        scenario = next(self.domain.scenarios(self.cfg, rng, talk.when, talk.start))
        made = plan(talk, scenario, self.domain, piece.length)
        self.planned = (same, made)
        return made

    def seed(self, piece: Piece) -> int:
        """The seed from which a piece's machine is drawn."""
        identifier = self.jobs[piece.job].conversation.id
        return seed_of(self.cfg.seed, identifier, piece.length, piece.machine)

    def batch(self, unit: tuple[Piece, ...]) -> Batch:
        """The snapshots of a unit. A conversation that cannot be held ends it: `failed`."""
        batch = Batch(unit[0].job)
        if self.job != batch.job:  # wordings are shared by the machines of one conversation
            self.job = batch.job
            self.forms.clear()
        lines: list[bytes] = []
        unmodelled: dict[str, None] = {}
        seen: set[int] = set()
        prints: set[int] = set()
        for piece in unit:
            try:
                made = self.plan(piece)
            except PlanError as error:
                batch.failed = error
                return batch
            unmodelled.update(dict.fromkeys(made.unmodelled))
            self._write(piece, made, batch, lines, seen, prints)
        batch.data = b"".join(lines)
        batch.ends = array("Q", accumulate(map(len, lines)))
        batch.prints = array("Q", sorted(prints))
        batch.unmodelled = tuple(unmodelled)
        return batch

    def _write(
        self,
        piece: Piece,
        made: Plan,
        batch: Batch,
        lines: list[bytes],
        seen: set[int],
        prints: set[int],
    ) -> None:
        """Append the snapshots of one piece. The hot loop: see benchmarks/augment.py."""
        job = self.jobs[piece.job]
        turns = [self._ready(job, piece, made, number, batch) for number in range(len(made.turns))]
        # Plain tuples and locals: this loop runs once for each snapshot.
        steps = [
            (
                turn,
                turn.forms,
                len(turn.forms),
                turn.answers,
                len(turn.answers),
                turn.head,
                turn.key,
            )
            for turn in turns
        ]
        draw = random.Random(seed_of(self.seed(piece), piece.block)).random
        _, count = _count(piece, job, self.cfg)
        is_valid, write, see = self.is_valid, lines.append, seen.add
        keys, tag_of = batch.keys.append, batch.tag_of.append
        repeats = 0
        rounds = range(1 + self.cfg.rewordings)
        for _ in range(count):
            messages: list[dict[str, str]] = []
            encoded = b""  # the messages so far, as JSON
            past = 0  # a key of the messages so far
            for turn, forms, choices, answers, ways, head, place in steps:
                for again in rounds:
                    which = int(draw() * choices)
                    form = forms[which]
                    if form is None:
                        form = forms[which] = self._drawn(job, turn, which, batch, prints)
                    chosen = answers[int(draw() * ways)] if ways > 1 else answers[0]
                    record, tail, answer, answer_encoded, answer_key, tag = chosen
                    link = hash((past, form[2], answer_key))  # of numbers: alike in every process
                    key = link ^ place
                    if key in seen:
                        repeats += 1
                    else:
                        see(key)
                        record["messages"] = [*messages, form[0]]
                        if not is_valid(record):
                            self._refuse(record, job, turn.number)
                        write(head + encoded + form[1] + tail)
                        keys(key)
                        tag_of(tag)
                    if not again:  # the conversation goes on from the first
                        said = form[0], answer
                        gone_on = encoded + form[1] + answer_encoded, link
                messages.extend(said)
                encoded, past = gone_on
        batch.repeats += repeats

    def _drawn(self, job: Job, turn: _Turn, which: int, batch: Batch, prints: set[int]) -> _Form:
        """The form that number `which` of a turn's forms stands for, noted as used."""
        each = len(turn.forms) // len(turn.wordings)
        wording, slip = divmod(which, each)
        form = self._form(job, turn.wordings[wording], slip if slip < self.slipped else -1)
        self._note(job, form, batch, prints)
        return form

    @staticmethod
    def _note(job: Job, form: _Form, batch: Batch, prints: set[int]) -> None:
        """Remember which words a side uses: a wording drawn for the first time on a machine."""
        if job.side == TEST:
            batch.words[form.print] = form.message["content"]
        else:
            prints.add(form.print)

    def _refuse(self, record: dict[str, Any], job: Job, number: int) -> None:
        talk = job.conversation
        place = Located(record, talk.file, talk.turns[number - 1].line or 0)
        check_record("snapshot", place)

    def _ready(self, job: Job, piece: Piece, made: Plan, index: int, batch: Batch) -> _Turn:
        turn = made.turns[index]
        talk = job.conversation
        summary = dict(made.summary)
        meta = {
            "conversation": talk.id,
            "turn": index + 1,
            "state": turn.state,
            "scenario": summary,
            "seed": self.seed(piece),
            "categories": list(talk.categories),
        }
        encoded_meta = orjson.dumps(meta)
        answers = []
        covers: tuple[Labels, ...] = ((),) * len(turn.answers)
        if job.side != TEST:  # the report is about the training half
            covers = self.labeller.labels(made, talk.categories)[index]
        for response, text, cover in zip(turn.answers, turn.history, covers, strict=True):
            message = {"role": "assistant", "content": text}
            tail = b"".join(
                (b'],"expected_response":', orjson.dumps(response), b',"meta":', encoded_meta,
                 b"}\n")
            )  # fmt: skip
            said = response.get("command") or response["response"]
            made_of = () if job.side == TEST else self.labeller.forms(response)
            batch.tags.append(
                Tag(
                    response["type"], index + 1, len(said), talk.categories, summary, cover, made_of
                )
            )
            record = {
                "system_context": turn.context,
                "messages": [],
                "expected_response": response,
                "meta": meta,
            }
            encoded = b"," + orjson.dumps(message) + b","
            key, tag = key_of(text), len(batch.tags) - 1
            answers.append(_Answer(record, tail, message, encoded, key, tag))
        head = b'{"system_context":' + orjson.dumps(turn.context) + b',"messages":['
        forms: list[_Form | None] = [None] * (len(turn.wordings) * (self.slipped + self.clean))
        return _Turn(index + 1, turn.wordings, head, tuple(answers), turn.key, forms)

    def _form(self, job: Job, wording: Wording, slip: int) -> _Form:
        """A wording with slip number `slip` (-1: none). On the test side, words that training
        has as well stay as they are: what is shared can then be listed as it stands."""
        if slip >= 0 and job.side == TEST and normal(wording.text) in self.taken:
            slip = -1
        known = self.forms.get((wording, slip, job.side))
        if known is not None:
            return known
        text = wording.text
        if slip >= 0:
            slipped = self.noise.form(text, self.cfg.seed, slip, wording.keep)
            if job.side != TEST or normal(slipped) not in self.taken:
                text = slipped
        message = {"role": "user", "content": text}
        form = _Form(message, orjson.dumps(message), key_of(text), fingerprint(text))
        self.forms[wording, slip, job.side] = form
        return form


class _Answer(NamedTuple):
    """An answer to a turn, ready to be written."""

    record: dict[str, Any]  # the snapshot, but for its messages
    tail: bytes  # what stands in the line after the messages
    message: dict[str, str]  # as it stands in later turns' messages
    encoded: bytes  # that, with the commas around it
    key: int
    tag: int


class _Turn(NamedTuple):
    """A planned turn, ready to be written."""

    number: int
    wordings: tuple[Wording, ...]
    head: bytes  # what stands in the line before the messages
    answers: tuple[_Answer, ...]
    key: int
    forms: list[_Form | None]  # each equally likely; None: not drawn so far
