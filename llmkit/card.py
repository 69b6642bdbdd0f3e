"""The dataset card: README.md with tables, and plots of what the data holds.

    from llmkit.card import plots, readme

Written by augment beside the data. The same tally gives the same bytes, plots included.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmkit.augment_run import FILES, Side, Tally
from llmkit.split import TEST, TRAIN

_BANDS = (20, 40, 80, 160, 320, 640)  # characters
_LISTED = 40  # shared wordings shown in the card; the manifest has all
_ROWS = 40


def readme(manifest: Mapping[str, Any], tally: Tally, pictures: Sequence[str]) -> str:
    """The card's Markdown; its head tells dataset loaders which file is which split."""
    sides = tally.sides
    parts = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        f"  - {{split: train, path: {FILES[TRAIN]}}}",
        f"  - {{split: test, path: {FILES[TEST]}}}",
        "---",
        "",
        "# Snapshots of conversations",
        "",
        "Each line is one JSON object: `system_context` (the machine as it stood), `messages` "
        "(the conversation up to the person's last words), `expected_response` (a command or a "
        "text) and `meta` (conversation, turn, machine). Written by `python -m llmkit.augment`; "
        "`manifest.json` says from what, with which config and versions.",
        "",
        *_table(
            ("", "training", "testing"),
            [
                ("snapshots", sides[TRAIN].snapshots, sides[TEST].snapshots),
                ("conversations", sides[TRAIN].conversations, sides[TEST].conversations),
                ("distinct wordings", tally.wordings[TRAIN], tally.wordings[TEST]),
                ("bytes", sides[TRAIN].size, sides[TEST].size),
            ],
        ),
        "",
        f"Seed {manifest['seed']}. Conversations are split by a hash of their id: none is in both "
        f"halves. {tally.repeats} snapshots that would have stood twice were left out.",
        "",
    ]
    for name in pictures:
        if name.endswith(".png"):
            parts += [f"![Response types, lengths, machines and categories]({name})", ""]
    parts += ["## Response types", "", *_shares(sides, lambda side: side.types, "type"), ""]
    parts += [
        "## Lengths",
        "",
        "Turn that is answered (the history holds all turns before it):",
        "",
        *_shares(sides, lambda side: side.turns, "turn", by_key=True),
        "",
        "Characters of the answer:",
        "",
        *_shares(sides, lambda side: _banded(side.characters), "characters", by_key=True),
        "",
        "## Machines",
        "",
    ]
    for key in dict.fromkeys([*sides[TRAIN].scenario, *sides[TEST].scenario]):
        parts += [
            *_shares(sides, lambda side, key=key: side.scenario.get(key, Counter()), key), ""
        ]  # fmt: skip
    parts += ["## Categories", "", "A conversation may have several.", ""]
    parts += [*_shares(sides, lambda side: side.categories, "category"), ""]
    parts += _overlap(tally)
    parts += _left_out(manifest)
    return "\n".join(parts).rstrip() + "\n"


def _overlap(tally: Tally) -> list[str]:
    shared = tally.shared
    total = tally.wordings[TEST]
    share = f"{100 * len(shared) / total:.1f} %" if total else "none"
    lines = [
        "## Wordings in both halves",
        "",
        "Compared without case, punctuation and spaces, as written, slips included. A test turn "
        "uses words that training does not have wherever its author gave it some.",
        "",
        f"{len(shared)} of {total} distinct test wordings ({share}) are training wordings too"
        + (":" if shared else "."),
        "",
    ]
    if shared:
        lines.append("; ".join(f"`{text}`" for text in shared[:_LISTED]))
        if len(shared) > _LISTED:
            lines.append(f"\nand {len(shared) - _LISTED} more: `overlap.shared` in manifest.json.")
        lines.append("")
    return lines


def _left_out(manifest: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    if manifest["unfit"]:
        lines += [
            f"{len(manifest['unfit'])} conversations fit none of the configured machines:",
            "",
        ]
        lines += [", ".join(f"`{name}`" for name in manifest["unfit"]), ""]
    if manifest["dropped"]:
        lines += [f"{len(manifest['dropped'])} conversations in an older form were dropped:", ""]
        rows = [
            (item["conversation"], f"{item['file']}:{item['line']}", item["reason"])
            for item in manifest["dropped"]
        ]
        lines += [*_table(("conversation", "place", "reason"), rows), ""]
    if manifest["unmodelled"]:
        names = ", ".join(f"`{name}`" for name in manifest["unmodelled"])
        lines += [f"Programs whose effect on the machine is not modelled: {names}.", ""]
    return ["## Left out", "", *lines] if lines else []


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    rows = list(rows)
    right = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(head))]
    return [
        "| " + " | ".join(head) + " |",
        "|" + "|".join("---:" if flag else "---" for flag in right) + "|",
        *("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows),
    ]


def _shares(sides: Mapping[str, Side], get: Any, name: str, *, by_key: bool = False) -> list[str]:
    """A table: value, snapshots of it in training and testing."""
    train, test = get(sides[TRAIN]), get(sides[TEST])
    both = train + test
    order = sorted(both) if by_key else sorted(both, key=lambda key: (-both[key], str(key)))
    rows = [(_label(key), train[key], test[key]) for key in order[:_ROWS]]
    if len(order) > _ROWS:
        rest = order[_ROWS:]
        rows.append(
            (f"{len(rest)} others", sum(train[k] for k in rest), sum(test[k] for k in rest))
        )
    return _table((name, "training", "testing"), rows)


def _label(key: Any) -> str:
    if isinstance(key, tuple):
        low, high = key
        return f"{low}–{high}" if high else f"{low} and more"
    return str(key)


def _banded(lengths: Counter[int]) -> Counter[tuple[int, int]]:
    """Lengths counted in bands of (fewest, most); most is 0 in the last."""
    bands: Counter[tuple[int, int]] = Counter()
    edges = (0, *_BANDS)
    for length, number in lengths.items():
        low = max(edge for edge in edges if edge < length or edge == 0)
        place = edges.index(low)
        high = edges[place + 1] if place + 1 < len(edges) else 0
        bands[low + 1, high] += number
    return bands


def plots(tally: Tally) -> dict[str, bytes]:
    """File name → picture (PNG and SVG): six panels, training beside testing."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    train, test = tally.sides[TRAIN], tally.sides[TEST]
    panels: list[tuple[str, Counter[Any], Counter[Any], bool]] = [
        ("Response type", train.types, test.types, False),
        ("Turn that is answered", train.turns, test.turns, True),
        ("Characters of the answer", _banded(train.characters), _banded(test.characters), True),
    ]
    keys = list(dict.fromkeys([*train.scenario, *test.scenario]))
    for key in sorted(keys, key=lambda key: (key not in ("boot", "disks"), keys.index(key)))[:2]:
        panels.append(
            (key.capitalize(), train.scenario.get(key, Counter()),
             test.scenario.get(key, Counter()), False)
        )  # fmt: skip
    panels.append(("Category", train.categories, test.categories, False))
    settings: Any = {"svg.hashsalt": "llmkit", "font.size": 8, "axes.spines.top": False,
                "axes.spines.right": False}  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(12, 9))  # fixed margins: a layout engine takes a second
        figure.subplots_adjust(0.08, 0.06, 0.98, 0.96, wspace=0.4, hspace=0.22)
        axes = figure.subplots(2, 3).flat
        for axis, (title, left, right, by_key) in zip(axes, panels, strict=False):
            _bars(axis, title, left, right, by_key)
        for axis in list(figure.axes)[len(panels) :]:
            axis.set_visible(False)
        figure.axes[0].legend()
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return {"plots/overview.png": png.getvalue(), "plots/overview.svg": svg.getvalue()}


def _bars(axis: Any, title: str, train: Counter[Any], test: Counter[Any], by_key: bool) -> None:
    """Shares of each half, as pairs of horizontal bars, the most frequent on top."""
    both = train + test
    order = sorted(both) if by_key else sorted(both, key=lambda key: (-both[key], str(key)))
    order = order[:24][::-1]
    places = range(len(order))
    for offset, name, half in ((0.2, "training", train), (-0.2, "testing", test)):
        total = sum(half.values()) or 1
        shares = [100 * half[key] / total for key in order]
        axis.barh([place + offset for place in places], shares, height=0.4, label=name)
    axis.set_yticks(list(places), [_label(key) for key in order])
    axis.set_title(title, loc="left")
    axis.set_xlabel("% of the half's snapshots")
