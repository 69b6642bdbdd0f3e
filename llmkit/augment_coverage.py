"""The coverage report of a data set: which kinds of turns the training half has, and which not.

    python -m llmkit.augment output_dir=/tmp/data      # writes coverage.json, plots/coverage.png

Every snapshot is labelled in each dimension: its place in the conversation and the kind of its
answer, which the toolkit knows, and whatever the domain's `coverage` adds (llmkit/domain.py). The
report counts pairs of values, and says of each pair that has no snapshot whether it could have one.
Beside these it counts in how many conversations each form of command stands, if the domain's
`coverage` tells forms: what few conversations have is hardly learned.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any, TypeAlias

from llmkit.augment_plan import Plan
from llmkit.domain import Coverage, Domain, Moment

PLACES = ("first message", "after a question", "after a command", "after a statement")
KINDS = ("command", "text")
FILE, PICTURE = "coverage.json", "plots/coverage.png"
_LISTED = 60  # empty cells in the card, and rare forms; coverage.json has all
_RARE = 4  # conversations below which a form of command is rare
_NOWHERE = "no configured machine has both"

Labels: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]  # (dimension, values), …
Value: TypeAlias = tuple[str, str]  # (dimension, value)


class Labeller:
    """Labels the turns of plans. One in each process; remembers the last plan."""

    def __init__(self, domain: Domain) -> None:
        self.own: Coverage | None = getattr(domain, "coverage", None)
        self.last: tuple[Plan | None, list[tuple[Labels, ...]]] = (None, [])

    def labels(self, made: Plan, categories: Sequence[str]) -> list[tuple[Labels, ...]]:
        """For each turn the labels of each of its answers."""
        if self.last[0] is made:
            return self.last[1]
        found: list[tuple[Labels, ...]] = []
        earlier: list[Moment] = []
        for turn in made.turns:
            said = tuple(wording.text for wording in turn.wordings)
            moments = [
                Moment(turn.state, said, answer, tuple(categories), made.summary)
                for answer in turn.answers
            ]
            found.append(tuple(self._of(moment, earlier) for moment in moments))
            earlier.append(moments[0])
        self.last = (made, found)
        return found

    def forms(self, answer: Mapping[str, Any]) -> tuple[str, ...]:
        """The forms of a command, as the domain tells them; none of a text."""
        tell = getattr(self.own, "forms", None)
        return tuple(tell(answer["command"])) if tell and answer["type"] == "command" else ()

    def _of(self, moment: Moment, earlier: Sequence[Moment]) -> Labels:
        own = dict(self.own.labels(moment, earlier)) if self.own else {}
        own["place"] = (place_of(earlier), *own.get("place", ()))
        own["kind"] = (moment.answer["type"],)
        return tuple(own.items())


def place_of(earlier: Sequence[Moment]) -> str:
    """What a message follows: nothing, a question (a text that ends with `?`), a command, or
    another text."""
    if not earlier:
        return PLACES[0]
    answer = earlier[-1].answer
    if answer["type"] == "command":
        return PLACES[2]
    return PLACES[1] if answer["response"].rstrip().endswith("?") else PLACES[3]


def dimensions(domain: Domain) -> dict[str, tuple[str, ...]]:
    """Every dimension with its values, in the order of the report."""
    own: Coverage | None = getattr(domain, "coverage", None)
    found = dict(own.dimensions) if own else {}
    places = (*PLACES, *found.get("place", ()))
    found = {**found, "place": places} if "place" in found else {"place": places, **found}
    return {**found, "kind": KINDS}


def report(
    cover: Mapping[Labels, int],
    domain: Domain,
    cfg: Any,
    forms: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Any]:
    """The content of coverage.json, from the number of snapshots with each set of labels, and the
    conversations of each form of command."""
    own: Coverage | None = getattr(domain, "coverage", None)
    machines = (
        [dict(one) for one in dict.fromkeys(tuple(m.items()) for m in own.machines(cfg))]
        if own
        else []
    )
    known = dimensions(domain)
    single: Counter[Value] = Counter()
    double: Counter[tuple[Value, Value]] = Counter()
    for labels, number in cover.items():
        held = dict(labels)
        values = [[(name, value) for value in held.get(name, ())] for name in known]
        for place, ones in enumerate(values):
            for one in ones:
                single[one] += number
                for others in values[place + 1 :]:
                    for other in others:
                        double[one, other] += number
    pairs = []
    for first, second in combinations(known, 2):
        cells: dict[str, dict[str, int]] = {}
        empty, excluded, unexpected = [], [], []
        for a in known[first]:
            cells[a] = {}
            for b in known[second]:
                one, other = (first, a), (second, b)
                number = cells[a][b] = double[one, other]
                why = own.excluded(one, other) if own else ""
                if number:
                    if why:
                        unexpected.append([a, b, why])
                elif why := why or _nowhere(own, machines, one, other):
                    excluded.append([a, b, why])
                else:
                    empty.append([a, b])
        pairs.append({"of": [first, second], "cells": cells, "empty": empty,
                      "excluded": excluded, "unexpected": unexpected})  # fmt: skip
    return {
        "snapshots": sum(cover.values()),
        "empty": sum(len(pair["empty"]) for pair in pairs),
        "dimensions": {
            name: {value: single[name, value] for value in values} for name, values in known.items()
        },
        "pairs": pairs,
        "forms": {  # the rarest first
            form: len(forms[form])
            for form in sorted(forms, key=lambda form: (len(forms[form]), form))
        }
        if forms
        else {},
    }


def _nowhere(
    own: Coverage | None,
    machines: Sequence[Mapping[str, tuple[str, ...]]],
    one: Value,
    other: Value,
) -> str:
    """A reason when no configured machine lets two values meet: each machine that has them (where
    they are about machines at all) has some third value that excludes one of them."""
    if own is None or not machines:
        return ""
    for machine in machines:
        if any(value not in machine.get(name, (value,)) for name, value in (one, other)):
            continue
        for name, values in machine.items():
            fixed = [value for held, value in (one, other) if held == name]
            if not any(
                not own.excluded((name, value), one) and not own.excluded((name, value), other)
                for value in fixed or values
            ):
                break
        else:
            return ""
    return _NOWHERE


def section(found: Mapping[str, Any]) -> str:
    """The card's part: a table of the pairs, the empty cells, and the first two dimensions."""
    lines = [
        "## Coverage of the training half",
        "",
        f"Snapshots by pairs of dimensions; `{FILE}` has every cell. A cell can occur unless a rule "
        "of the domain excludes it or no configured machine has both.",
        "",
        f"![Snapshots of each pair of values]({PICTURE})",
        "",
        "| pair | cells that can occur | filled | empty |",
        "|---|---:|---:|---:|",
    ]
    holes = []
    for pair in found["pairs"]:
        first, second = pair["of"]
        filled = sum(number > 0 for row in pair["cells"].values() for number in row.values())
        empty = len(pair["empty"])
        lines.append(f"| {first} × {second} | {filled + empty} | {filled} | {empty} |")
        holes += [f"{first} {a} × {second} {b}" for a, b in pair["empty"]]
    lines += ["", "Empty cells that could occur: " + (f"{len(holes)}." if holes else "none."), ""]
    lines += [f"- {hole}" for hole in holes[:_LISTED]]
    if len(holes) > _LISTED:
        lines.append(f"- and {len(holes) - _LISTED} more")
    pair = found["pairs"][0]
    columns = list(found["dimensions"][pair["of"][1]])
    out = {(a, b) for a, b, _ in pair["excluded"]}
    if holes:
        lines.append("")
    lines += [
        "| " + " | ".join([f"{pair['of'][0]} × {pair['of'][1]}", *columns]) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for a, row in pair["cells"].items():
        cells = [f"{row[b]:,}" if row[b] else "" if (a, b) in out else "**0**" for b in columns]
        lines.append(f"| {a} | " + " | ".join(cells) + " |")
    if found["forms"]:
        lines += ["", *_rare(found["forms"])]
    return "\n".join(lines) + "\n"


def _rare(forms: Mapping[str, int]) -> list[str]:
    """What the card says of the forms of command that few conversations have."""
    few = [f"`{form}` ({number})" for form, number in forms.items() if number < _RARE]
    lines = [
        f"Of {len(forms)} forms of command (programs with their options) {len(few)} stand in fewer "
        f"than {_RARE} conversations, which is little to learn from"
        + (f" (`{FILE}` has all):" if few else "."),
    ]
    if few:
        more = f", and {len(few) - _LISTED} more" if len(few) > _LISTED else ""
        lines += ["", ", ".join(few[:_LISTED]) + more + "."]
    return lines


def picture(found: Mapping[str, Any]) -> bytes:
    """Every pair of values as one square (PNG): the darker the more snapshots (logarithmic), red
    for a cell that is empty and could occur, grey for one that cannot."""
    import matplotlib

    matplotlib.use("agg")
    from math import log

    from matplotlib import colormaps
    from matplotlib.figure import Figure

    names = list(found["dimensions"])
    rows = [(name, value) for name in names[:-1] for value in found["dimensions"][name]]
    columns = [(name, value) for name in names[1:] for value in found["dimensions"][name]]
    down = {value: place for place, value in enumerate(rows)}
    across = {value: place for place, value in enumerate(columns)}
    most = max(
        (n for p in found["pairs"] for r in p["cells"].values() for n in r.values()), default=1
    )
    shade = colormaps["Blues"]
    image = [[(1.0, 1.0, 1.0)] * len(columns) for _ in rows]
    for pair in found["pairs"]:
        first, second = pair["of"]
        out = {(a, b) for a, b, _ in pair["excluded"]}
        for a, row in pair["cells"].items():
            for b, number in row.items():
                colour = (0.85, 0.1, 0.1)
                if number:
                    colour = shade(0.15 + 0.85 * log(1 + number) / log(1 + most))[:3]
                elif (a, b) in out:
                    colour = (0.88, 0.88, 0.88)
                image[down[first, a]][across[second, b]] = colour
    with matplotlib.rc_context({"font.size": 7}):
        size = (3.2 + 0.2 * len(columns), 2.2 + 0.2 * len(rows))
        figure = Figure(figsize=size)
        figure.subplots_adjust(1.7 / size[0], 0.2 / size[1], 1 - 0.2 / size[0], 1 - 1.7 / size[1])
        axis = figure.subplots()
        axis.imshow(image, aspect="auto", interpolation="nearest")
        axis.set_yticks(range(len(rows)), [value for _, value in rows])
        axis.set_xticks(range(len(columns)), [value for _, value in columns], rotation=90)
        axis.tick_params(length=0, labelbottom=False, labeltop=True)
        for values, line in ((rows, axis.axhline), (columns, axis.axvline)):
            for place, (before, after) in enumerate(pairwise(values)):
                line(place + 0.5, color="white", linewidth=3 if before[0] != after[0] else 0.5)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()
