"""What a sweep has found so far: leaderboard.json, leaderboard.csv, the top of it, the winner.

    from llmkit.sweep_board import read, write
    write("sweeps/quick")  # from the results in sweeps/quick/jobs/*/result.json

The results are the only source: the board can be written again at any time, by any process.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmkit.output import write_whole

JOBS = "jobs"
RESULT = "result.json"
DONE, FAILED = "done", "failed"
_TOP = 5


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` (flock(2): the kernel lets go of it when the process dies)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read(folder: str | Path) -> list[dict[str, Any]]:
    """Every job's result, best first; failed ones at the end."""
    found = []
    for path in sorted((Path(folder) / JOBS).glob(f"*/{RESULT}")):
        found.append(json.loads(path.read_bytes()))
    return sorted(found, key=_rank)


def _rank(result: Mapping[str, Any]) -> tuple[bool, float, str]:
    score = result["score"]
    return (score is None, -(score or 0.0), result["job"])


def varied(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters that are not the same in all jobs; all that were set when there is one job."""
    names = dict.fromkeys(name for result in results for name in result["parameters"])
    return [
        name
        for name in sorted(names)
        if len({json.dumps(result["parameters"].get(name)) for result in results}) > 1
    ]


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and leaves of a nested mapping; lists are leaves."""
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from flat(item, f"{name}.")
        else:
            yield name, item


def write(folder: str | Path) -> list[dict[str, Any]]:
    """Write the board and sweep.html; returns the results, best first."""
    from llmkit.sweep_html import page

    folder = Path(folder)
    with locked(folder / ".lock"):
        results = read(folder)
        names = varied(results)
        board = [
            {
                "rank": rank if result["status"] == DONE else None,
                **{key: value for key, value in result.items() if key != "parameters"},
                "parameters": {name: result["parameters"].get(name) for name in names},
            }
            for rank, result in enumerate(results, 1)
        ]
        text = json.dumps({"winner": _winner(results), "jobs": board}, indent=2)
        write_whole(folder / "leaderboard.json", text + "\n")
        write_whole(folder / "leaderboard.csv", _csv(board, names))
        write_whole(folder / "sweep.html", page(board, names))
    return results


def _winner(results: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    best = next((result for result in results if result["status"] == DONE), None)
    keys = ("job", "score", "interval", "adapter", "command")
    return None if best is None else {key: best[key] for key in keys}


def _csv(board: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    scorers = sorted({name for row in board for name in row["scores"]})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["rank", "job", "status", "score", "low", "high", *scorers, *names, "seconds", "error"]
    )
    for row in board:
        low, high = row["interval"] or (None, None)
        values = [row["scores"].get(name, {}).get("value") for name in scorers]
        parameters = [row["parameters"][name] for name in names]
        writer.writerow(
            [row["rank"], row["job"], row["status"], row["score"], low, high, *values, *parameters,
             row["seconds"], row["error"]]
        )  # fmt: skip
    return stream.getvalue()


def summary(folder: str | Path) -> str:
    """The top five with intervals, what failed, and the command that trains the winner."""
    results = read(folder)
    names = varied(results)
    done = [result for result in results if result["status"] == DONE]
    rows = [["", "score", "95% interval", *names, "job"]]
    for rank, result in enumerate(done[:_TOP], 1):
        low, high = result["interval"]
        values = [_shown(result["parameters"].get(name)) for name in names]
        rows.append(
            [str(rank), f"{result['score']:.3f}", f"{low:.3f} … {high:.3f}", *values, result["job"]]
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    failed = [result for result in results if result["status"] == FAILED]
    lines.append("")
    lines.append(f"{len(done)} jobs done, {len(failed)} failed: {Path(folder) / 'sweep.html'}")
    for result in failed:
        lines.append(f"  {result['job']} failed: {result['error'].splitlines()[0]}")
    if done:
        lines.append("")
        if len(done) > 1 and done[0]["interval"][0] <= done[1]["score"]:
            lines.append("The best two are closer than the interval is wide: no clear winner.")
        lines.append(f"Train the first again with:\n  {done[0]['command']}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
