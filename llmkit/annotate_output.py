"""Put a run's answers into the snapshots: output, failures and manifest, together or not at all.

    summary = write(cfg, corpus, journal, judge, described)

The output has the input's order. Lines that had reasoning before are copied byte for byte; a snapshot
without an answer goes to OUTPUT.failed.jsonl, with the reason and itself.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from llmkit.annotate_corpus import Corpus, items, unchanged
from llmkit.annotate_journal import Journal
from llmkit.annotate_judge import Judge
from llmkit.config_annotate import AnnotateConfig
from llmkit.errors import OutputError
from llmkit.output import sync_folder
from llmkit.records import dump_json
from llmkit.stage import run_info
from llmkit.staged import Staged

NEW = "new"  # in the work folder: what is finished, on its way out
_NOT_RECORDED = ("output_file", "dry_run", "action", "max_cost")


@dataclass(frozen=True, slots=True)
class Summary:
    """What an output holds."""

    snapshots: int  # in the output
    written: int  # of them, with reasoning of this run
    had: int  # of them, with reasoning before
    failed: int
    specific: int | None  # of those written; None: the domain cannot tell
    distinct: int  # different texts among those written
    sha256: str


def beside(path: Path, what: str) -> Path:
    """out.jsonl → out.failed.jsonl, out.manifest.json, out.work."""
    stem = path.name.removesuffix(".jsonl")
    return path.with_name(f"{stem}.{what}")


def write(
    cfg: AnnotateConfig, corpus: Corpus, journal: Journal, judge: Judge, described: dict[str, Any]
) -> Summary:
    """Write everything that the journal holds. Raises OutputError; LlmkitError when the input has
    changed since it was scanned."""
    target = Path(cfg.output_file)
    failed_path = beside(target, "failed.jsonl")
    if target.is_dir():
        raise OutputError(target, "it is a folder")
    written = had = failed = specific = 0
    reasons: Counter[str] = Counter()
    seen: set[bytes] = set()
    digest = hashlib.sha256()
    work = journal.folder
    with Staged(work / NEW) as staged:  # a killed run leaves nothing outside its work folder
        stream = staged.open(target.name)
        failures = None
        for item in items(corpus.paths, corpus.limit):
            if item.done:
                line = item.raw if item.raw.endswith(b"\n") else item.raw + b"\n"
                had += 1
            elif item.index in journal.answers:
                thinking = journal.thinking(item.index)
                item.expected["thinking"] = thinking
                line = orjson.dumps(item.value) + b"\n"
                written += 1
                specific += bool(judge.specific(thinking, item))
                seen.add(hashlib.blake2b(thinking.encode(), digest_size=16).digest())
            else:
                failures = failures or staged.open(failed_path.name)
                why = journal.failures[item.index]
                record = {"file": item.file, "line": item.line, **asdict(why)}
                failures.write(orjson.dumps({**record, "snapshot": item.value}) + b"\n")
                reasons[why.kind] += 1
                failed += 1
                continue
            stream.write(line)
            digest.update(line)
        unchanged(corpus)
        summary = Summary(
            written + had, written, had, failed,
            None if judge.vague is None else specific, len(seen), digest.hexdigest(),
        )  # fmt: skip
        manifest = {**described, **_manifest(cfg, corpus, journal, summary, reasons)}
        name = beside(target, "manifest.json").name
        staged.path(name).write_bytes(dump_json(manifest).encode())
        staged.commit()
    try:
        for path in sorted((work / NEW).iterdir(), key=lambda path: path.name == target.name):
            os.replace(
                path, target.parent / path.name
            )  # the output last: it says that all is there
        if not failed:
            failed_path.unlink(missing_ok=True)  # of an earlier run
        sync_folder(target.parent)
        (work / NEW).rmdir()
    except OSError as error:
        raise OutputError(error.filename or target, error) from error
    return summary


def _manifest(
    cfg: AnnotateConfig, corpus: Corpus, journal: Journal, summary: Summary, reasons: Counter[str]
) -> dict[str, Any]:
    info = run_info()
    config = {key: value for key, value in info["config"].items() if key not in _NOT_RECORDED}
    return {
        "llmkit": info["llmkit"],
        "python": info["python"],
        "packages": info["packages"],
        "choices": info["choices"],
        "config": config,
        "files": corpus.hashes,
        "counts": asdict(summary),
        "failures": dict(sorted(reasons.items())),
        "tokens": {
            "sync": asdict(journal.usage),
            "batch": asdict(journal.batched),
        },
    }
