"""Add reasoning to snapshots that have none, before a model is trained to reason.

    python -m llmkit.annotate output_file=/tmp/reasoned.jsonl
    python -m llmkit.annotate output_file=/tmp/a.jsonl provider=anthropic mode=batch max_cost=20

Each snapshot gets `thinking`: two to four lines on what the person wants, which facts decide and why
the answer follows. provider=template writes them offline, from the machine's state and the effect
of the command; anthropic and openai ask a model. Reasoning that names a device which is not in the
snapshot's context is refused, as is what was cut off: OUTPUT.failed.jsonl says why.

A run that was stopped, by kill -9 too, is gone on with by the same command: what was answered is in
OUTPUT.work/ and is not asked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit import records
from llmkit.annotate_ask import SAMPLE, Asker, Estimate
from llmkit.annotate_client import make_client
from llmkit.annotate_corpus import Corpus, Item, chosen, scan
from llmkit.annotate_journal import (
    CONTENT,
    REFUSED,
    TRANSIENT,
    Failed,
    Journal,
    open_journal,
    remove,
)
from llmkit.annotate_judge import Judge
from llmkit.annotate_keys import find_key
from llmkit.annotate_output import Summary, beside, write
from llmkit.annotate_progress import progress, say
from llmkit.annotate_sync import ask_all
from llmkit.config import Resume
from llmkit.config_annotate import (
    Action,
    AnnotateConfig,
    AnthropicConfig,
    Mode,
    Retry,
    TemplateConfig,
)
from llmkit.domain import Domain, get_domain
from llmkit.errors import ConfigError, DomainError, LlmkitError
from llmkit.stage import stage

if TYPE_CHECKING:
    from llmkit.annotate_batch import Batches


def annotate(cfg: AnnotateConfig) -> Summary | None:
    """Write `cfg.output_file`; returns what it holds (None when nothing was to be written yet).

    Raises:
        ConfigError: no such file, no key, a provider that refuses it, another run's work folder.
        RecordError: a snapshot breaks its schema (file, line, JSON pointer).
        LlmkitError: some snapshots got no reasoning (the others are written), or too many in a row.
    """
    domain = get_domain(cfg.domain.name)
    _check(cfg, domain)
    paths = records.paths_of(cfg.file)
    target = Path(cfg.output_file)
    for path in paths:
        if path.resolve() == target.resolve():
            raise ConfigError(f"output_file={target} is one of the files to read: choose another")
    judge = Judge(domain)
    asker = None
    if not isinstance(cfg.provider, TemplateConfig):
        asker = Asker(cfg.provider, domain, judge)
        find_key(cfg.provider)  # complains about a bad key_env before anything else
    corpus = scan(paths, cfg.limit)
    if not corpus.total:
        raise LlmkitError(f"{cfg.file} holds no snapshot")
    if cfg.dry_run:
        _dry_run(cfg, corpus, asker, judge)
        return None
    run = Run(cfg, domain, judge, asker, corpus)
    identity = run.identity()
    paid = asker is not None
    with open_journal(
        beside(target, "work"), identity, fresh=cfg.resume is Resume.never, durable=paid
    ) as journal:
        run.journal = journal
        if not run.fill():
            return None
        summary = write(cfg, corpus, journal, judge, {"provider": identity["provider"]})
    if not paid:
        remove(beside(target, "work"))
    _say(cfg, summary, run)
    if summary.failed:
        raise LlmkitError(
            f"{summary.failed:,} of {corpus.total:,} snapshots have no reasoning: "
            f"{beside(target, 'failed.jsonl')} says why"
        )
    return summary


def _check(cfg: AnnotateConfig, domain: Domain) -> None:
    if cfg.mode is Mode.batch and not isinstance(cfg.provider, AnthropicConfig):
        raise ConfigError("mode=batch is for provider=anthropic")
    if isinstance(cfg.provider, TemplateConfig) and not hasattr(domain, "reasoning"):
        raise ConfigError(
            f"the domain {cfg.domain.name} has no reasoning of its own: provider=anthropic or openai"
        )


def _dry_run(cfg: AnnotateConfig, corpus: Corpus, asker: Asker | None, judge: Judge) -> None:
    """Print what a run would do, and the first request."""
    print(f"{corpus.total:,} snapshots, {len(corpus.todo):,} of them without reasoning")
    first = next(chosen(corpus, set(corpus.todo[:1])), None)
    if asker is None:
        if first is not None:
            print(f"the first would get:\n{written(judge, first)}")
        return
    print(f"estimate: {_estimate(cfg, corpus, asker, corpus.todo)}")
    if first is not None:
        prompt = asker.prompt(first)
        print(f"\n--- system\n{prompt.system}\n--- the first request\n{prompt.user}")


def written(judge: Judge, item: Item) -> str | Failed:
    """The domain's own reasoning for a snapshot, judged as anybody's."""
    reasoning: Callable[[Any, Any, Any], str] = judge.domain.reasoning  # type: ignore[attr-defined]
    try:
        text = reasoning(judge.full_state(item), item.value["messages"], item.expected)
    except DomainError as error:
        return Failed(CONTENT, str(error))
    return judge(text, item)


def _hash(folders: Iterable[Path]) -> str:
    """A hash of every template of a domain."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.j2"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _estimate(cfg: AnnotateConfig, corpus: Corpus, asker: Asker, todo: Sequence[int]) -> Estimate:
    """From the prompts of some snapshots, evenly drawn."""
    some = set(todo[:: -(-len(todo) // SAMPLE) or 1])
    return asker.estimate(len(todo), chosen(corpus, some), _share(cfg))


def _share(cfg: AnnotateConfig) -> float:
    """The part of the price that this way of asking costs."""
    if cfg.mode is Mode.batch and isinstance(cfg.provider, AnthropicConfig) and cfg.provider.prices:
        return cfg.provider.prices.batch
    return 1.0


class Run:
    """One run: what is left to do, and how it is done."""

    journal: Journal

    def __init__(
        self,
        cfg: AnnotateConfig,
        domain: Domain,
        judge: Judge,
        asker: Asker | None,
        corpus: Corpus,
    ) -> None:
        self.cfg, self.domain, self.judge, self.asker, self.corpus = (
            cfg, domain, judge, asker, corpus,
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """What must stay the same for a run to be gone on with. Holds no key."""
        provider = self.cfg.provider
        described: dict[str, Any] = {"kind": provider.kind}
        if isinstance(provider, TemplateConfig):
            described["templates"] = _hash(self.domain.templates())
        elif self.asker is not None:
            described |= {
                "model": provider.model,
                "base_url": provider.base_url,
                "max_tokens": provider.max_tokens,
                "temperature": provider.temperature,
                "prompts": self.asker.fingerprint(),
            }
        return {
            "domain": self.cfg.domain.name,
            "provider": described,
            "files": self.corpus.hashes,
        }

    def fill(self) -> bool:
        """Bring the journal as far as this run can; whether nothing is left to do."""
        if self.asker is None:
            self._templates()
            return True
        provider = self.cfg.provider
        assert not isinstance(provider, TemplateConfig)
        if self.cfg.mode is Mode.batch:
            return self._batches()
        if any((self.journal.folder / "batches").glob("*.json")):
            from llmkit.annotate_batch import PROCESSED, load

            if any(batch.state != PROCESSED for batch in load(self.journal.folder)):
                raise ConfigError("batches of this run are under way: go on with mode=batch")
        again = len(self.journal.open - set(self.journal.answers))
        if again:
            say(f"{again} requests were under way when the last run stopped: they are asked again")
        todo = self.left()
        if todo:
            self._announce(todo)
            client = make_client(provider, find_key(provider))
            done = len(self.corpus.todo) - len(todo)
            with progress("snapshots", total=len(self.corpus.todo), done=done) as advance:
                ask_all(
                    chosen(self.corpus, set(todo)), client, self.asker, self.judge, self.journal,
                    provider, advance,
                )  # fmt: skip
        return True

    def left(self) -> list[int]:
        """The places to ask about, in order: those without an answer, failed ones as `retry` says."""
        again: set[str] = set()
        if self.cfg.retry is not Retry.none:
            again.add(TRANSIENT)
        if self.cfg.retry is Retry.all:
            again |= {CONTENT, REFUSED}
        answers, failures = self.journal.answers, self.journal.failures
        return [
            index
            for index in self.corpus.todo
            if index not in answers and (index not in failures or failures[index].kind in again)
        ]

    def _announce(self, todo: list[int]) -> Estimate:
        """Say what it will cost. Raises ConfigError when that is more than `max_cost`."""
        assert self.asker is not None
        estimate = _estimate(self.cfg, self.corpus, self.asker, todo)
        say(f"estimate: {estimate}")
        limit = self.cfg.max_cost
        if limit is not None and (estimate.dollars is None or estimate.dollars > limit):
            raise ConfigError(f"this may cost more than max_cost={limit:g}: {estimate}")
        return estimate

    def _templates(self) -> None:
        todo = [index for index in self.corpus.todo if index not in self.journal.answers]
        done = len(self.corpus.todo) - len(todo)
        with progress("snapshots", total=len(self.corpus.todo), done=done) as advance:
            for item in chosen(self.corpus, set(todo)):
                found = written(self.judge, item)
                if isinstance(found, Failed):
                    self.journal.failed(item.index, found)
                else:
                    self.journal.answered(item.index, found)
                advance(1)

    # Batches

    def _batches(self) -> bool:
        from llmkit.annotate_anthropic import Anthropic
        from llmkit.annotate_batch import Batches, Unsure

        provider = self.cfg.provider
        assert isinstance(provider, AnthropicConfig)
        client = make_client(provider, find_key(provider))
        assert isinstance(client, Anthropic)
        batches = Batches(self.journal.folder, client, self.journal, provider)
        action = self.cfg.action
        if action is Action.status:
            self._status(batches)
            return False
        if action is not Action.wait:
            for batch in batches.reconcile():
                say(f"batch {batch.number} had been received: {batch.id}")
        if action is Action.submit:
            made = self._submit(batches)
            for batch in made:
                print(f"batch {batch.number}: {batch.id}, {len(batch.places):,} requests")
            if not made:
                print(f"nothing to submit; {len(batches.open)} batches are under way")
            return False
        if action is Action.process:
            with progress("results", total=len(batches.under_way())) as advance:
                self._process(batches, advance)
            if batches.open or self._fresh():
                raise LlmkitError(
                    f"not complete: {len(batches.open)} batches are under way, "
                    f"{len(self._fresh()):,} snapshots not submitted"
                )
            return True
        tries: dict[int, int] = {}
        with progress("results", total=len(self.corpus.todo)) as advance:
            advance(len(self.journal.answers))
            while True:
                try:
                    for batch in batches.reconcile():
                        say(f"batch {batch.number} had been received: {batch.id}")
                except Unsure as error:
                    say(str(error))
                    batches.limits.sleep(provider.batch.poll)
                    continue
                for batch in self._submit(batches, tries):
                    say(f"batch {batch.number}: {batch.id}, {len(batch.places):,} requests")
                if not batches.open:
                    return True
                if not self._process(batches, advance):
                    batches.limits.sleep(provider.batch.poll)

    def _fresh(self) -> list[int]:
        """Places that were never asked about with an end."""
        known = {*self.journal.answers, *self.journal.failures}
        return [index for index in self.corpus.todo if index not in known]

    def _submit(self, batches: Batches, tries: dict[int, int] | None = None) -> list[Any]:
        """Send what is left and not under way; with `tries`, each at most `retries` times more."""
        away = batches.under_way()
        provider = self.cfg.provider
        assert isinstance(provider, AnthropicConfig) and self.asker is not None
        todo = [index for index in self.left() if index not in away]
        if tries is not None:
            todo = [index for index in todo if tries.get(index, 0) <= provider.retries]
            for index in todo:
                tries[index] = tries.get(index, 0) + 1
        if not todo:
            return []
        self._announce(todo)
        asker = self.asker
        found: Iterator[Item] = chosen(self.corpus, set(todo))
        return batches.submit((item.index, asker.prompt(item)) for item in found)

    def _process(self, batches: Batches, advance: Callable[[int], None]) -> bool:
        """Take in every batch that has ended; whether there was one."""
        ended = []
        for batch, remote in batches.look():
            if remote is None and batch.id:
                say(f"batch {batch.number}: {batch.id} is no longer on the server")
                batches.lost(batch)
            elif remote is not None and remote.ended:
                ended.append(batch)
        batches.process(ended, self.judge, lambda wanted: chosen(self.corpus, wanted), advance)
        return bool(ended)

    def _status(self, batches: Batches) -> None:
        """Print the batches and what is left. Changes nothing."""
        for batch, remote in batches.look():
            if remote is not None:
                counts = ", ".join(f"{number:,} {name}" for name, number in remote.counts.items())
                state = "ended" if remote.ended else "running"
                print(f"batch {batch.number}: {batch.id}: {state}: {counts}")
            else:
                what = "not on the server" if batch.id else "being submitted when a run stopped"
                print(f"batch {batch.number}: {batch.id or '?'}: {what}")
        journal = self.journal
        print(
            f"{len(journal.answers):,} answered, {len(journal.failures):,} failed, "
            f"{len(batches.under_way()):,} under way, {len(self._fresh()):,} in all without an end"
        )


def _say(cfg: AnnotateConfig, summary: Summary, run: Run) -> None:
    parts = [
        f"{summary.written:,} written",
        f"{summary.had:,} had some",
        f"{summary.failed:,} failed",
    ]
    print(f"{cfg.output_file}: {summary.snapshots:,} snapshots with reasoning ({', '.join(parts)})")
    if summary.specific is not None and summary.written:
        share = 100 * summary.specific / summary.written
        print(
            f"specific: {summary.specific:,} of {summary.written:,} ({share:.2f}%); "
            f"{summary.distinct:,} different texts"
        )
    usage, batched = run.journal.usage, run.journal.batched
    inputs, outputs = usage.input + batched.input, usage.output + batched.output
    if inputs or outputs:
        text = f"tokens: {inputs:,} in, {outputs:,} out"
        prices = None if isinstance(cfg.provider, TemplateConfig) else cfg.provider.prices
        if prices is not None:
            each = [(use.input * prices.input + use.output * prices.output) / 1e6
                    for use in (usage, batched)]  # fmt: skip
            text += f", ${each[0] + each[1] * prices.batch:,.2f}"
        print(text)


main = stage("annotate", annotate, schema=AnnotateConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
