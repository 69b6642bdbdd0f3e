"""A machine as a picture: what a domain tells of a state so that a page can draw it.

    picture(get_domain("installer"), state)     # Picture(bars, facts, tables)
    presets(domain, cfg)                         # machines to try, each with a name

A domain may have `picture(state)` and `presets(cfg)` (an iterable of Preset; `cfg` holds what stages
that need machines have, see config.MachineConfig). For one that has neither, the picture holds the
lines of its context, and the presets are its scenarios. Plain data; all text is shown as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from llmkit.domain import Domain

_MOST = 100  # presets of a domain that makes them of its scenarios


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a bar. `id` is the same before and after a change; `kind` chooses the colour:
    free, plain, filled (holds something, not in use), used, root, boot, swap or locked."""

    id: str
    title: str
    size: int  # in the unit of the bar
    kind: str
    text: str  # the size and what is on it, in words
    place: str = ""  # where it is in use


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that is divided. The parts are in order and fill `size`, or leave a rest."""

    id: str
    title: str
    size: int
    text: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text below a title."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """`facts`: name and value."""

    bars: tuple[Bar, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Preset:
    """A machine to begin with."""

    name: str
    state: Any


def picture(domain: Domain, state: Any) -> Picture:
    """The domain's picture of a state; without one, the lines of its context."""
    own = getattr(domain, "picture", None)
    if own is not None:
        found: Picture = own(state)
        return found
    rows = tuple((line,) for line in domain.to_context(state).splitlines() if line.strip())
    return Picture(tables=(Table("State", ("as the model reads it",), rows),))


def presets(domain: Domain, cfg: Any) -> Iterator[Preset]:
    """The domain's presets; without any, its scenarios, one of each name."""
    own = getattr(domain, "presets", None)
    if own is not None:
        made: Iterable[Preset] = own(cfg)
        yield from made
        return
    seen: set[str] = set()
    for scenario in islice(domain.every_scenario(cfg, {}, None), _MOST):
        name = _name(scenario.summary)
        if name not in seen:
            seen.add(name)
            yield Preset(name, domain.begin(scenario, None))


def _name(summary: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in summary.items()) or "a machine"
