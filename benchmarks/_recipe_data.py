"""What the variants of recipe.py read: the same held-out snapshots for all, and shares of the rest.

parts = split(data, folder, shares=(25, 50, 100), held_out=0.1, losses=100, cases=200, seed=42)
parts["train-25"].path  # snapshots of a quarter of the conversations

A conversation is held out, and in a share, by hashes of its id: whole, the same ones each time, and
a smaller share's conversations are all in a larger one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

MANIFEST = "parts.json"


@dataclass(frozen=True)
class Part:
    """A file of snapshots."""

    path: Path
    sha256: str
    snapshots: int
    conversations: int


def in_share(conversation: str, percent: float) -> bool:
    """Whether a conversation belongs to the share of `percent` (0 to 100) of all."""
    from llmkit.split import TEST, side

    return side(conversation, test=percent / 100, salt="learning curve") == TEST


def label(percent: float) -> str:
    """What a share's part is called."""
    return f"train-{percent:g}"


def split(
    data: Path,
    folder: Path,
    *,
    shares: Sequence[float],
    held_out: float,
    losses: int,
    cases: int,
    seed: int,
    machines: int | None = None,
) -> dict[str, Part]:
    """The parts "train-PERCENT" of `shares`, "loss" and "cases", as files in `folder`/data.

    With `machines` a training conversation brings its first so many machines alone (`meta.seed`, one
    for each that augment put it on).

    "loss" and "cases" are drawn from the held-out conversations, which take turns. What is there
    already for the same data is not written again.

    Raises:
        ConfigError: no such data, or a part without a conversation.
        RecordError: a record is no snapshot (file:line).
        OutputError: a part cannot be written.
    """
    from llmkit import records
    from llmkit.output import sha256, write_whole

    files = records.paths_of(data)
    what = {
        "files": [sha256(path) for path in files],
        "shares": sorted(set(shares)),
        "drawn": {"held_out": held_out, "losses": losses, "cases": cases, "seed": seed},
        "machines": machines,
    }
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:10]
    place = folder / "data" / digest
    manifest = place / MANIFEST
    if manifest.is_file():
        kept = json.loads(manifest.read_text(encoding="utf-8"))
        return {name: Part(**{**part, "path": place / part["path"]}) for name, part in kept.items()}
    draws = {"loss": losses, "cases": cases}
    parts = _write(files, place, what["shares"], held_out, draws, seed, machines)
    listed = {name: {**asdict(part), "path": part.path.name} for name, part in parts.items()}
    write_whole(manifest, json.dumps(listed, indent=2) + "\n")  # last: it says that all is there
    return parts


def _write(
    files: Sequence[Path],
    place: Path,
    shares: Any,
    held_out: float,
    draws: dict[str, int],
    seed: int,
    machines: int | None,
) -> dict[str, Part]:
    from llmkit.cases import draw
    from llmkit.errors import ConfigError
    from llmkit.output import sha256
    from llmkit.split import is_held, owner
    from llmkit.staged import Staged

    held: list[Any] = []
    rest: dict[str, set[Any]] = {}  # a conversation's machines
    counts: dict[str, tuple[int, set[str]]] = {}
    with Staged(place) as staged:
        streams = {share: staged.open(f"{label(share)}.jsonl") for share in shares}
        kept: dict[float, tuple[int, set[str]]] = {share: (0, set()) for share in shares}
        for item in _located(files):
            name = owner(item.value, item.file, item.line)
            if is_held(name, held_out):
                held.append(item)
                continue
            seen = rest.setdefault(name, set())
            machine = item.value.get("meta", {}).get("seed")
            if machines is not None and machine not in seen and len(seen) == machines:
                continue
            seen.add(machine)
            for share, stream in streams.items():
                if in_share(name, share):
                    stream.write(orjson.dumps(item.value) + b"\n")
                    number, names = kept[share]
                    names.add(name)
                    kept[share] = number + 1, names
        if not held:
            raise ConfigError(f"--held-out {held_out:g}: none of the conversations is held out")
        for share, (number, names) in kept.items():
            if not number:
                raise ConfigError(
                    f"--curve {share:g}: no conversation of {len(rest)} is in that share"
                )
            counts[label(share)] = number, names
        for name, limit in draws.items():
            drawn = draw(held, limit, seed)
            stream = staged.open(f"{name}.jsonl")
            for item in drawn:
                stream.write(orjson.dumps(item.value) + b"\n")
            counts[name] = len(drawn), {owner(i.value, i.file, i.line) for i in drawn}
        staged.commit()
    return {
        name: Part(
            place / f"{name}.jsonl", sha256(place / f"{name}.jsonl"), number, len(conversations)
        )
        for name, (number, conversations) in counts.items()
    }


def _located(files: Sequence[Path]) -> Iterator[Any]:
    from llmkit import records

    for path in files:
        for line, value in records.read_jsonl(path):
            item = records.Located(value, str(path), line)
            records.check_record("snapshot", item)
            yield item
