"""What recipe.py writes: recipe.json, recipe.md and recipe.png, from the files that its processes left.

rows = report(jobs, errors, processes, about, Path("evaluations/recipe"))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _recipe_plots import draw
from _recipe_run import Job, Processes

SAMPLES = 2000  # of the bootstrap


def row_of(job: Job, processes: Processes, error: str | None) -> dict[str, Any]:
    """What recipe.json says of a job, from the files that its processes wrote."""
    variant = job.variant
    row: dict[str, Any] = {
        "name": job.name,
        "share": variant.share,
        "options": [] if job.of else list(variant.own),
        "mean_of": [member.name for member in job.of.members] if job.of else None,
        "seed": variant.config.seed,
        "folder": str(job.folder),
        "commands": {name: processes.shown(words) for name, words in job.commands().items()},
        "error": error,
        **dict.fromkeys(("conversations", "passes", "steps", "tokens", "computed_tokens")),
        **dict.fromkeys(("loss", "held_out_loss", "seconds", "cases", "answer_seconds")),
        "scores": {},
        "against_base": {},
    }
    if job.trained.is_file():
        training = json.loads(job.trained.read_text(encoding="utf-8"))
        result, data = training["result"], training["data"]["train"]
        row["held_out_loss"] = result["eval_loss"]
        if job.of is None:
            row |= {
                key: result[key]
                for key in ("steps", "tokens", "computed_tokens", "seconds", "loss")
            }
            row |= {
                "conversations": data["conversations"],
                "passes": result["tokens"] / data["tokens"],
            }
    if (job.answers / "report.json").is_file():
        report = json.loads((job.answers / "report.json").read_text(encoding="utf-8"))
        row |= {"cases": report["cases"], "answer_seconds": report["seconds"]}
        for name, score in report["scores"].items():
            low, high = score["conversations"]
            row["scores"][name] = {"mean": score["mean"], "low": low, "high": high, "n": score["n"]}
    return row


def values(job: Job, scorer: str) -> dict[str, tuple[float, str]]:
    """Case → its score and its conversation, where the scorer applies."""
    found = {}
    for line in (job.answers / "results.jsonl").read_bytes().splitlines():
        result = json.loads(line)
        value = result["scores"][scorer]["value"]
        if value is not None:
            found[result["name"]] = (value, result["conversation"])
    return found


def against(job: Job, base: Job, seed: int) -> dict[str, dict[str, float]]:
    """The difference to the base on the same cases, with an interval."""
    from llmkit.stats import paired_bootstrap

    found = {}
    for scorer in ("type", "state"):
        mine, theirs = values(job, scorer), values(base, scorer)
        names = [name for name in theirs if name in mine]
        if names:
            first, second = ([side[name][0] for name in names] for side in (theirs, mine))
            talks = [theirs[name][1] for name in names]
            low, high = paired_bootstrap(first, second, talks, SAMPLES, seed)
            mean = (sum(second) - sum(first)) / len(names)
            found[scorer] = {"difference": mean, "low": low, "high": high}
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows in Markdown; state and type with intervals, and state against the base's."""
    lines = [
        "| variant | options | conversations | passes | held-out loss | type | state"
        " | state against base | seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        what = (
            f"mean of {', '.join(row['mean_of'])}" if row["mean_of"] else " ".join(row["options"])
        )
        if row["share"] < 100:
            what = f"{row['share']:g}% of the conversations"
        if row["error"]:
            lines.append(f"| {row['name']} | {what} | failed: {row['error']} | | | | | | |")
            continue
        cells = [
            row["name"], what, _cell(row["conversations"], "{:,}"), _cell(row["passes"], "{:.2f}"),
            _cell(row["held_out_loss"], "{:.3f}"), _span(row["scores"].get("type")),
            _span(row["scores"].get("state")), _points(row["against_base"].get("state")),
            _cell(row["seconds"], "{:,.0f}"),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(value: Any, form: str) -> str:
    return "" if value is None else form.format(value)


def _span(score: Mapping[str, float] | None) -> str:
    if score is None:
        return ""
    low, high = 100 * score["low"], 100 * score["high"]
    return f"{score['mean']:.1%} ({low:.0f}–{high:.0f})"


def _points(found: Mapping[str, float] | None) -> str:
    if found is None:
        return ""
    mean, low, high = (100 * found[key] for key in ("difference", "low", "high"))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def report(
    jobs: Sequence[Job],
    errors: Mapping[str, str],
    processes: Processes,
    about: Mapping[str, Any],
    out: Path,
) -> list[dict[str, Any]]:
    """Write recipe.json, recipe.md and recipe.png with what is there; returns the rows."""
    from llmkit.output import write_whole

    shown = [job for job in jobs if job.finished() or job.name in errors]
    rows = [row_of(job, processes, errors.get(job.name)) for job in shown]
    base = jobs[0]
    for job, row in zip(shown, rows, strict=True):
        if job is not base and base.finished() and job.finished():
            row["against_base"] = against(job, base, about["seed"])
    text = json.dumps({**about, "variants": rows}, indent=2, default=str)
    write_whole(out / "recipe.json", text + "\n")
    held = about["parts"]["cases"]
    lines = [
        f"{about['budget']}; {held['snapshots']} held-out snapshots of {held['conversations']}"
        f" conversations, loss on {about['parts']['loss']['snapshots']}; intervals 95%, by bootstrap"
        " over conversations.", "", *table(rows),
    ]  # fmt: skip
    write_whole(out / "recipe.md", "\n".join(lines) + "\n")
    draw([row for row in rows if not row["error"]], out / "recipe.png")
    return rows
