"""One job of a sweep: its identity, its folder, and the training and evaluation in it.

run(cfg, overrides)  # trains and scores in cfg.output_dir/jobs/HASH, or reads what is there
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmkit import records, sweep_board
from llmkit.config import Resume, plain
from llmkit.config_sweep import SweepConfig
from llmkit.config_train import TrainConfig
from llmkit.domain import get_domain
from llmkit.errors import LlmkitError
from llmkit.output import write_whole
from llmkit.prompt import prompt_identity

# What changes nothing about a job's result.
_NOT_IDENTITY = ("output_dir", "resume", "tracker", "save_every", "save_time", "log_every", "alpha")
_OWN = tuple(
    field.name
    for field in dataclasses.fields(SweepConfig)
    if field.name not in {other.name for other in dataclasses.fields(TrainConfig)}
)  # options that train does not have


def run(cfg: SweepConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """The result of the job: the one that is there when it is done, else a new one.

    Raises whatever went wrong, after result.json says so.
    """
    cfg = resolved(cfg)
    out = Path(cfg.output_dir)
    name = identity(cfg)
    folder = out / sweep_board.JOBS / name
    with sweep_board.locked(out / sweep_board.JOBS / f".{name}.lock"):
        done = _done(folder)
        if done is not None:
            print(f"job {name}: done before, score {done['score']:.3f}", file=sys.stderr)
            return done
        started = time.monotonic()
        try:
            found = execute(cfg, folder)
        except (Exception, SystemExit) as error:
            _record(cfg, folder, overrides, started, {"error": _reason(error)})
            sweep_board.write(out)
            raise
        result = _record(cfg, folder, overrides, started, found)
    sweep_board.write(out)
    print(f"job {name}: score {result['score']:.3f}", file=sys.stderr)
    return result


def execute(cfg: SweepConfig, folder: Path) -> dict[str, Any]:
    """Train in `folder` and score the adapter; what result.json says of it."""
    from llmkit.sweep_score import answers, check_weights, read_cases, score
    from llmkit.train import train

    check_weights(cfg.weights)
    cases = read_cases(cfg)  # a mistake there must not cost a training
    summary = train(train_config(cfg, folder / "adapter"))
    rows = answers(cfg, summary.folder, cases)
    found = score(rows, cfg.weights, cfg.bootstrap, cfg.seed)
    return {**found, "train": {**plain(summary), "folder": None}}


def _done(folder: Path) -> dict[str, Any] | None:
    path = folder / sweep_board.RESULT
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_bytes())
    return result if result["status"] == sweep_board.DONE else None


def _reason(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


def resolved(cfg: SweepConfig) -> SweepConfig:
    """The config with `alpha` put into `lora`."""
    if cfg.alpha is None:
        return cfg
    alpha = 2.0 * cfg.lora.r if cfg.alpha == "twice" else float(cfg.alpha)
    lora = dataclasses.replace(cfg.lora, alpha=alpha)
    return dataclasses.replace(cfg, lora=lora, alpha=None)


def identity(cfg: SweepConfig) -> str:
    """12 hexadecimal digits for all that the result depends on: the resolved config, with the
    content of the files and the system prompt in place of their names."""
    values = {key: item for key, item in plain(cfg).items() if key not in _NOT_IDENTITY}
    values["cases"] = None if cfg.cases is None else _content(cfg.cases)
    values["prompt"] = prompt_identity(cfg.prompt, get_domain(cfg.domain.name))
    for key, path in (("train", cfg.data.train), ("eval", cfg.data.eval)):
        values["data"][key] = None if path is None else _content(path)
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _content(path: Path) -> str:
    try:
        files = records.paths_of(path)  # a folder or a glob, too
    except LlmkitError:
        return str(path)
    found = []
    for file in files:
        status = file.stat()
        found.append(_digest(file, status.st_size, status.st_mtime_ns))
    return " ".join(found)


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed: int) -> str:
    with open(path, "rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def train_config(cfg: SweepConfig, folder: Path) -> TrainConfig:
    """The training run of a job, into `folder`; it goes on from a checkpoint that is there."""
    values = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(TrainConfig)}
    return TrainConfig(**{**values, "output_dir": folder, "resume": Resume.auto})


def command(cfg: SweepConfig, overrides: Iterable[str]) -> str:
    """The command line that trains what this job trained."""
    kept = []
    for override in overrides:
        name = override.partition("=")[0].lstrip("+~").partition(".")[0]
        if name not in (*_OWN, "sweep", "output_dir") and not override.startswith("lora.alpha="):
            kept.append(override)
    kept.append(f"lora.alpha={cfg.lora.alpha:g}")
    kept.append("output_dir=adapters/winner")
    return shlex.join(["python", "-m", "llmkit.train", *kept])


def _record(
    cfg: SweepConfig, folder: Path, overrides: Sequence[str], started: float, found: dict[str, Any]
) -> dict[str, Any]:
    """Write result.json; what is already done is never replaced."""
    failed = "error" in found
    names = {key: value for key, value in plain(cfg).items() if key not in _NOT_IDENTITY}
    result = {
        "job": folder.name,
        "status": sweep_board.FAILED if failed else sweep_board.DONE,
        "error": found.get("error"),
        "score": found.get("score"),
        "interval": found.get("interval"),
        "scores": found.get("scores", {}),
        "adapter": None if failed else str(Path(sweep_board.JOBS) / folder.name / "adapter"),
        "train": found.get("train"),
        "seconds": round(time.monotonic() - started, 3),
        "overrides": list(overrides),
        "command": command(cfg, overrides),
        "parameters": dict(sweep_board.flat(names)),
    }
    write_whole(folder / sweep_board.RESULT, json.dumps(result, indent=2, default=str) + "\n")
    return result
