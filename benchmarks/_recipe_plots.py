"""Pictures of recipe.py: the learning curve beside the ablations, and how an adapter grew.

draw(rows, Path("recipe.png"))
progress(Path("docs/plots/progress.json"), Path("docs/plots/progress.png"))
"""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLOURS = {"guard": "tab:green", "type": "tab:orange", "state": "tab:blue"}
_LOSS = "0.45"  # the grey of the held-out loss


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The finished rows of recipe.json: a curve over shares, and a line for each variant."""
    done = [row for row in rows if row["scores"]]
    curve = sorted(
        (row for row in done if row["share"] < 100 or row["name"] == "base"),
        key=lambda row: row["share"],
    )
    plain = [row for row in done if row["share"] == 100]
    panels = [name for name, shown in (("curve", len(curve) > 1), ("plain", bool(plain))) if shown]
    if not panels:
        return
    from matplotlib.figure import Figure

    wide = {"curve": 5.0, "plain": 7.0}
    figure = Figure(
        figsize=(sum(wide[name] for name in panels), max(3.8, 1.6 + 0.5 * len(plain))),
        layout="constrained",
    )
    found = figure.subplots(
        1, len(panels), squeeze=False, width_ratios=[wide[name] for name in panels]
    )[0]
    for name, axes in zip(panels, found, strict=True):
        (_curve if name == "curve" else _ablations)(axes, curve if name == "curve" else plain)
    _save(figure, path)


def _curve(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """State and type over the share of conversations, with intervals; the loss on an axis of its own."""
    shares = [row["share"] for row in rows]
    for name in ("type", "state"):
        points = [row["scores"].get(name) for row in rows]
        if not all(points):
            continue
        means = [100 * point["mean"] for point in points]
        axes.errorbar(
            shares,
            means,
            yerr=_bars(points),
            marker="o",
            capsize=3,
            color=COLOURS[name],
            label=name,
        )
    axes.set_xticks(shares, [f"{row['share']:g}%\n{row['conversations']}" for row in rows])
    axes.set_xlabel("share of the training conversations, and how many")
    axes.set_ylabel("right answers, % (95%)")
    axes.set_ylim(0, 100)
    axes.set_xlim(0, 106)
    axes.grid(axis="y", alpha=0.3)
    axes.set_title(f"learning curve, {rows[-1]['steps']:,} steps each", pad=26)
    handles, labels = axes.get_legend_handles_labels()
    losses = [(row["share"], row["held_out_loss"]) for row in rows if row["held_out_loss"]]
    if losses:
        right = axes.twinx()
        (line,) = right.plot(
            *zip(*losses, strict=True), marker="s", markersize=4, linestyle="--", color=_LOSS
        )
        right.set_ylabel("held-out loss (dashed)", color=_LOSS)
        right.set_ylim(0, 1.25 * max(loss for _, loss in losses))
        handles, labels = [*handles, line], [*labels, "held-out loss"]
    _legend(axes, handles, labels)


def _ablations(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line a variant: state and type with intervals, and its loss in words."""
    order = list(rows)[::-1]
    for place, row in enumerate(order):
        for name, shift in (("type", 0.13), ("state", -0.13)):
            point = row["scores"].get(name)
            if point is None:
                continue
            axes.errorbar(
                [100 * point["mean"]],
                [place + shift],
                xerr=_bars([point]),
                marker="o",
                capsize=3,
                color=COLOURS[name],
                label=name if place == 0 else None,
            )
    base = next((row["scores"].get("state") for row in rows if row["name"] == "base"), None)
    if base is not None:
        axes.axvline(100 * base["mean"], color=COLOURS["state"], linestyle=":", linewidth=1)
    axes.set_yticks(range(len(order)), [_named(row) for row in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("right answers, % (95%); dotted: state of base")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title("variants, all of the data", pad=26)
    _legend(axes, *axes.get_legend_handles_labels())


def _legend(axes: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """In a line above the panel, where it hides no point."""
    axes.legend(
        handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=9,
        frameon=False,
    )  # fmt: skip


def _named(row: Mapping[str, Any]) -> str:
    what = ", ".join(row["options"]) or row["name"]
    if row["mean_of"]:
        what = f"mean of {', '.join(row['mean_of'])}"
    loss = row["held_out_loss"]
    return textwrap.fill(what, 36) + ("" if loss is None else f"\nloss {loss:.3f}")


def _bars(points: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """How far intervals reach below and above the means, in percent."""
    low = [max(0.0, 100 * (point["mean"] - point["low"])) for point in points]
    high = [max(0.0, 100 * (point["high"] - point["mean"])) for point in points]
    return [low, high]


def progress(table: Path, path: Path) -> None:
    """The scores of one adapter over the minutes that it was trained, from a table in JSON.

    `table`: {"title", "x", "cases": {name: words}, "points": [{"minutes", "cases", "note",
    SCORE: [percent, low, high] or [percent]}, …]}. Points of the first kind of cases are joined by
    a line; those of others stand by themselves, hollow.
    """
    from matplotlib.figure import Figure

    data = json.loads(table.read_text(encoding="utf-8"))
    main, *others = data["cases"]
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, colour in COLOURS.items():
        for kind in data["cases"]:
            points = [p for p in data["points"] if p["cases"] == kind and name in p]
            if not points:
                continue
            xs, ys = [p["minutes"] for p in points], [p[name][0] for p in points]
            if kind != main:
                axes.plot(xs, ys, "o", color=colour, markerfacecolor="white")
                continue
            spans = [p[name][1:] or [p[name][0]] * 2 for p in points]
            bars = [
                [max(0.0, y - span[0]) for y, span in zip(ys, spans, strict=True)],
                [max(0.0, span[1] - y) for y, span in zip(ys, spans, strict=True)],
            ]
            axes.errorbar(xs, ys, yerr=bars, marker="o", capsize=3, color=colour, label=name)
            for x, y in zip(xs, ys, strict=True):
                axes.annotate(
                    f"{y:.1f}",
                    (x, y),
                    (6, -12),
                    textcoords="offset points",
                    fontsize=8,
                    color=colour,
                )
    for point in data["points"]:
        if point.get("note"):
            axes.annotate(
                point["note"], (point["minutes"], 3), ha=point.get("align", "center"), fontsize=8
            )
    for kind in others:
        axes.plot([], [], "o", color="0.3", markerfacecolor="white", label=data["cases"][kind])
    axes.set_title(f"{data['title']}\n{data['cases'][main]}", fontsize=10)
    axes.set_xlabel(data["x"])
    axes.set_ylabel("% (95%, bootstrap over conversations)")
    axes.set_ylim(0, 104)
    axes.margins(x=0.09)  # room for the last figures
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.55, 0.06), fontsize=9)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from llmkit.output import write_whole

    figure.set_dpi(120)
    buffer = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)  # untyped
    canvas.print_png(buffer)
    write_whole(path, buffer.getvalue())
