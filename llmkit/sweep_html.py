"""sweep.html: the leaderboard, the score over each parameter, and parallel coordinates.

Plots are SVG in the page; nothing is fetched and nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmkit.template import environment
from llmkit.toolkit import find_toolkit

_WIDTH, _HEIGHT, _EDGE = 280, 180, 30  # pixels of a small plot, and its margins
_TICKS = 5  # labels on an axis, at most
_AXIS, _TALL = 140, 240  # pixels between two axes of the parallel coordinates, and their height


def page(board: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """The page for the rows of leaderboard.json; `names` are the parameters that vary."""
    done = [row for row in board if row["score"] is not None]
    template = environment([find_toolkit().templates]).get_template("sweep.html.j2")
    return template.render(
        board=board,
        names=list(names),
        scorers=sorted({name for row in board for name in row["scores"]}),
        winner=done[0] if done else None,
        plots=[scatter(done, name) for name in names] if done else [],
        parallel=parallel(done, names) if done and names else None,
        width=_WIDTH,
        height=_HEIGHT,
    )


def positions(values: Sequence[Any]) -> list[tuple[float, str]]:
    """Where each value stands on an axis from 0 to 1, and its label: distinct values in order,
    evenly spaced, since what is swept is most often doubled or multiplied."""
    numbers = all(isinstance(value, int | float) and value is not True for value in values)
    distinct = sorted(set(values), key=None if numbers else str)
    last = max(len(distinct) - 1, 1)
    places = {value: place / last for place, value in enumerate(distinct)}
    if len(distinct) == 1:
        places = dict.fromkeys(distinct, 0.5)
    return [(places[value], label(value)) for value in values]


def label(value: Any) -> str:
    """A parameter's value, short."""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value}"


def thinned(ticks: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    """Ticks in order, so few that their labels have room; the first and the last are kept."""
    ordered = sorted(set(ticks))
    step = -(-max(len(ordered) - 1, 1) // (_TICKS - 1))
    return [tick for place, tick in enumerate(ordered[:-1]) if place % step == 0] + ordered[-1:]


def scatter(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Points, interval bars and ticks of the score over one parameter, in pixels."""
    places = positions([_key(row["parameters"][name]) for row in rows])
    ys = [row["score"] for row in rows]
    bottom = min([row["interval"][0] for row in rows])
    top = max([row["interval"][1] for row in rows])

    def y(value: float) -> float:
        return round(_HEIGHT - _EDGE - _part(value, bottom, top) * (_HEIGHT - 2 * _EDGE), 1)

    def x(part: float) -> float:
        return round(_EDGE + 10 + part * (_WIDTH - 2 * _EDGE - 20), 1)

    points = [
        {
            "x": x(part), "y": y(score), "low": y(row["interval"][0]),
            "high": y(row["interval"][1]), "job": row["job"], "score": score,
        }
        for (part, _), score, row in zip(places, ys, rows, strict=True)
    ]  # fmt: skip
    ticks = thinned((x(part), text) for part, text in places)
    levels = [(y(value), f"{value:.2f}") for value in dict.fromkeys((bottom, top))]
    return {"name": name, "points": points, "ticks": ticks, "levels": levels}


def parallel(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """One line a job through an axis for each parameter and one for the score, in pixels."""
    low, high = min(row["score"] for row in rows), max(row["score"] for row in rows)
    axes = []
    columns = []
    for place, name in enumerate(names):
        found = positions([_key(row["parameters"][name]) for row in rows])
        columns.append([_down(part) for part, _ in found])
        ticks = thinned((_down(part), text) for part, text in found)
        axes.append({"name": name, "x": 60 + place * _AXIS, "ticks": ticks})
    columns.append([_down(_part(row["score"], low, high)) for row in rows])
    ticks = [
        (_down(_part(value, low, high)), f"{value:.3f}") for value in dict.fromkeys((low, high))
    ]
    axes.append({"name": "score", "x": 60 + len(names) * _AXIS, "ticks": ticks})
    lines = [
        {
            "points": " ".join(
                f"{axis['x']},{column[place]}" for axis, column in zip(axes, columns, strict=True)
            ),
            "heat": round(_part(row["score"], low, high), 3),
            "job": row["job"],
        }
        for place, row in enumerate(rows)
    ]
    return {
        "axes": axes, "lines": lines[::-1], "width": 120 + len(names) * _AXIS + 40,
        "height": _TALL + 2 * _EDGE, "top": _EDGE, "bottom": _EDGE + _TALL,
    }  # fmt: skip


def _down(part: float) -> float:
    return round(_EDGE + (1 - part) * _TALL, 1)


def _part(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _key(value: Any) -> Any:
    """A value that can be sorted and counted."""
    return str(value) if isinstance(value, list | dict) or value is None else value
