"""Conversations × machines → training and test snapshots.

    python -m llmkit.augment disk=nvme_dual output_dir=/tmp/nvme
    python -m llmkit.augment conversations=data/conversations/users.yaml check=true

Every conversation is held on `scenarios_per_conversation` machines that fit it, `variations` times
on each, and each turn gives a snapshot with the whole history before it. With `truncations`,
shorter versions are held too: prefixes of the conversation, each on a machine and in wordings of
its own, so that early turns are seen in more situations than late ones. A snapshot that is there
already is left out. Every command is tried on the state it meets and put before the guard. Beside
the data stand its manifest, a card with plots, and a coverage report of the training half.

`check=true` tries every conversation on every machine that fits and writes nothing; `preview=N`
prints N examples and writes nothing.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llmkit import augment_coverage
from llmkit.augment_emit import Emitter, Job, pieces, size_of
from llmkit.augment_plan import PlanError
from llmkit.augment_run import FILES, Tally, write
from llmkit.config import AugmentConfig
from llmkit.domain import Domain, get_domain
from llmkit.errors import LlmkitError, RecordError
from llmkit.macros import FILE as MACROS
from llmkit.output import sha256
from llmkit.records import Conversation, Dropped, dump_json, load_conversations
from llmkit.split import TEST, TRAIN, side, unshared, wordings
from llmkit.stage import run_info, stage
from llmkit.staged import Staged
from llmkit.toolkit import find_toolkit

# What changes nothing about the bytes of the data is not in the manifest, so that it is the same
# wherever and however the data was made.
_NOT_RECORDED = ("workers", "output_dir", "preview", "check")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a run works on."""

    jobs: list[Job]
    taken: frozenset[str]  # normalised wordings of the training conversations
    dropped: list[Dropped]  # in an older form, and not to be used
    unfit: list[Conversation]  # fit no configured machine
    files: list[Path]


def augment(cfg: AugmentConfig) -> dict[str, Any] | None:
    """Write the data set to `cfg.output_dir`; returns its manifest (None for a dry run).

    Raises:
        ConfigError: no such conversations.
        RecordError: a conversation breaks its schema (file, line, JSON pointer), or none is left.
        PlanError: a command of an authored conversation fails or is refused (file, line, turn).
        OutputError: the output cannot be written; nothing of it is left behind.
        LlmkitError: with `strict`, a conversation in an older form was dropped.
    """
    domain = get_domain(cfg.domain.name)
    if cfg.check:
        from llmkit.augment_check import check

        talks, dropped, _ = _load(cfg)
        check(cfg, domain, talks, dropped)
        return None
    sources = gather(cfg, domain)
    for item in sources.dropped:
        print(f"dropped: {item}", file=sys.stderr)
    if sources.dropped and cfg.strict:
        raise LlmkitError(f"{len(sources.dropped)} conversations were dropped (strict=true)")
    if not sources.jobs:
        raise RecordError("no conversation is left that fits a configured machine")
    if cfg.preview:
        from llmkit.augment_check import preview

        preview(cfg, sources.jobs, sources.taken)
        return None
    return _write(cfg, domain, sources)


def _load(cfg: AugmentConfig) -> tuple[list[Conversation], list[Dropped], list[Path]]:
    where = cfg.conversations or find_toolkit().data / "conversations"
    return load_conversations(where)


def gather(cfg: AugmentConfig, domain: Domain) -> Sources:
    """Load the conversations, put each on a side, and set aside those that cannot be used.

    An authored conversation must be right: RecordError. One in an older form is tried on each of
    its machines here, and dropped where it fails.
    """
    talks, dropped, files = _load(cfg)
    dropped = list(dropped)
    fitting: list[Conversation] = []
    unfit: list[Conversation] = []
    for talk in talks:
        try:
            domain.check_when(talk.when, talk.start)
        except ValueError as error:
            if talk.authored:
                raise RecordError(str(error), file=talk.file, line=talk.line) from error
            dropped.append(Dropped(talk.id, talk.file, talk.line, str(error)))
            continue
        first = next(domain.every_scenario(cfg, talk.when, talk.start), None)
        (unfit if first is None else fitting).append(talk)
    sides = {talk.id: side(talk.id, test=cfg.split.test, salt=cfg.split.salt) for talk in fitting}
    fitting, lost = _tried(cfg, fitting, sides)
    dropped += lost
    taken = frozenset(wordings(talk for talk in fitting if sides[talk.id] == TRAIN))
    jobs = [
        Job(talk if sides[talk.id] == TRAIN else _own_words(talk, taken), sides[talk.id])
        for talk in fitting
    ]
    return Sources(_with_quotas(jobs, cfg), taken, dropped, unfit, files)


def _tried(
    cfg: AugmentConfig, talks: list[Conversation], sides: dict[str, str]
) -> tuple[list[Conversation], list[Dropped]]:
    """Conversations without those of an older form that fail on one of their machines."""
    kept: list[Conversation] = []
    dropped: list[Dropped] = []
    emitter = Emitter(cfg, [Job(talk, sides[talk.id]) for talk in talks], frozenset())
    for index, talk in enumerate(talks):
        try:
            if not talk.authored:
                for piece in pieces(index, emitter.jobs[index], cfg):
                    if piece.block == 0:
                        emitter.plan(piece)
            kept.append(talk)
        except PlanError as error:
            place = f"turn {error.turn}, on {error.machine}" if error.turn else error.machine
            dropped.append(Dropped(talk.id, talk.file, talk.line, f"{place}: {error.reason}"))
    return kept, dropped


def _own_words(talk: Conversation, taken: frozenset[str]) -> Conversation:
    """A test conversation without the wordings that training has, wherever others are left."""
    turns = tuple(replace(turn, user=unshared(turn.user, taken)) for turn in talk.turns)
    return replace(talk, turns=turns)


def _total(jobs: Sequence[Job], cfg: AugmentConfig) -> list[int]:
    return [
        sum(size_of(piece, job, cfg) for piece in pieces(index, job, cfg))
        for index, job in enumerate(jobs)
    ]


def _with_quotas(jobs: list[Job], cfg: AugmentConfig) -> list[Job]:
    """Under `limit`, each conversation may give its share; what it leaves goes to later ones."""
    totals = _total(jobs, cfg)
    whole = sum(totals)
    if cfg.limit is None or whole <= cfg.limit:
        return jobs
    shared: list[Job] = []
    before = 0
    for job, total in zip(jobs, totals, strict=True):
        quota = cfg.limit * (before + total) // whole - cfg.limit * before // whole
        shared.append(replace(job, quota=quota))
        before += total
    return shared


def _write(cfg: AugmentConfig, domain: Domain, sources: Sources) -> dict[str, Any]:
    from llmkit.card import plots, readme

    total = min(sum(_total(sources.jobs, cfg)), cfg.limit or sys.maxsize)
    with Staged(cfg.output_dir) as staged:
        streams = {name: staged.open(path) for name, path in FILES.items()}
        tally = write(cfg, sources.jobs, sources.taken, streams, total)
        if not tally.snapshots:
            raise RecordError("there is nothing to write: limit is too small")
        manifest = describe(cfg, domain, sources, tally)
        drawn = plots(tally)
        card = readme(manifest, tally, sorted(drawn))
        side = tally.sides[TRAIN]
        covered = augment_coverage.report(side.cover, domain, cfg, side.forms)
        beside = {
            "README.md": f"{card}\n{augment_coverage.section(covered)}".encode(),
            **drawn,
            augment_coverage.FILE: dump_json(covered).encode(),
            augment_coverage.PICTURE: augment_coverage.picture(covered),
        }
        for name, content in beside.items():
            staged.path(name).write_bytes(content)
            manifest["files"][name] = {
                "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
            }  # fmt: skip
        staged.path("manifest.json").write_bytes(dump_json(manifest).encode())
        staged.commit()
    _summarise(cfg, manifest, tally)
    if covered["empty"]:
        print(
            f"{covered['empty']} empty coverage cells could occur: see {cfg.output_dir}/README.md"
        )
    return manifest


def describe(cfg: AugmentConfig, domain: Domain, sources: Sources, tally: Tally) -> dict[str, Any]:
    """The manifest: all that is needed to make the same bytes again, and what they hold."""
    info = run_info()
    config = {key: value for key, value in asdict(cfg).items() if key not in _NOT_RECORDED}
    macros = [folder / MACROS for folder in domain.templates() if (folder / MACROS).is_file()]
    return {
        "llmkit": info["llmkit"],
        "python": info["python"],
        "packages": info["packages"],
        "choices": info["choices"],
        "config": _plain(config),
        "seed": cfg.seed,
        "sources": {_shown(path): sha256(path) for path in [*sources.files, *macros[:1]]},
        "counts": {
            "snapshots": tally.snapshots,
            "train": tally.sides[TRAIN].snapshots,
            "test": tally.sides[TEST].snapshots,
            "train_conversations": tally.sides[TRAIN].conversations,
            "test_conversations": tally.sides[TEST].conversations,
            "repeats_left_out": tally.repeats,
        },
        "files": {
            FILES[name]: {
                "snapshots": half.snapshots, "bytes": half.size, "sha256": half.sha256,
            }
            for name, half in tally.sides.items()
        },
        "dropped": [
            {"conversation": item.id, "file": _shown(Path(item.file)), "line": item.line,
             "reason": item.reason}
            for item in sources.dropped
        ],
        "unfit": [talk.id for talk in sources.unfit],
        "unmodelled": sorted(tally.unmodelled),
        "overlap": {
            "train_wordings": tally.wordings[TRAIN],
            "test_wordings": tally.wordings[TEST],
            "shared": tally.shared,
        },
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """Config values as JSON data."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _shown(value) if isinstance(value, Path) else value


def _shown(path: Path) -> str:
    """A path as a manifest names it: below the toolkit, relative to it."""
    root = find_toolkit().root
    full = path.absolute()
    return str(full.relative_to(root)) if full.is_relative_to(root) else str(path)


def _summarise(cfg: AugmentConfig, manifest: dict[str, Any], tally: Tally) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    table = Table(title=f"Written to {cfg.output_dir}", title_justify="left")
    for name in ("file", "snapshots", "commands", "texts", "size"):
        table.add_column(name, justify="left" if name == "file" else "right", no_wrap=True)
    for name, half in tally.sides.items():
        counts = (half.snapshots, half.types["command"], half.types["text"])
        table.add_row(FILES[name], *map("{:,}".format, counts), f"{half.size / 1e6:.1f} MB")
    console.print(table)
    halves = ", ".join(f"{half.conversations} {name}" for name, half in tally.sides.items())
    console.print(f"Conversations: {halves}; {tally.repeats:,} repeats left out", highlight=False)
    for key, what in (
        ("unfit", "conversations fit no configured machine"),
        ("dropped", "conversations in an older form were dropped"),
        ("unmodelled", "programs have no modelled effect"),
    ):
        if manifest[key]:
            names = [
                item if isinstance(item, str) else item["conversation"] for item in manifest[key]
            ]
            more = ", … (all in manifest.json)" if len(names) > 6 else ""
            console.print(f"{len(names)} {what}: {', '.join(names[:6])}{more}", highlight=False)
    shared = len(tally.shared)
    if shared:
        console.print(
            f"{shared} wordings stand in both halves: listed in the card", highlight=False
        )
    out = cfg.output_dir
    console.print(
        f"Look at {out}/README.md, then: python -m llmkit.validate file={out}/{FILES[TRAIN]}",
        highlight=False,
    )


main = stage("augment", augment, schema=AugmentConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
