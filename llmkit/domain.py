"""What a domain is: the one seam through which the toolkit meets machines and commands.

    from llmkit.domain import get_domain
    domain = get_domain("installer")

A domain is an object, published in the entry-point group `llmkit.domains` of its package:

    [project.entry-points."llmkit.domains"]
    network = "my_package:domain"

Everything generic (augment, validate, evaluate, serve) talks to these Protocols. States are
opaque here: hashable values, made and read by the domain alone.

A domain may have more, which is used where it is there: `same(state, state)` (equal but for noise;
else `==`), `differences(state, state)` (what differs, in words), `programs(command, state)`,
`explanation(state, command)` (an Explanation; see `explanation` below for domains without one),
`untrue(state, messages, text)` (what an answer in words says of the machine that is not so; see `untrue`
below), `about(state, messages, command)` (whether the last message names what the command works on; see
`about` below), `review(state, messages, command)` and `objection(…, confirm=)` (what is against a command in
its conversation; see `objection` below) and `coverage` (a Coverage: what the coverage report of augmentation
counts beside place and kind).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from llmkit.errors import ConfigError

GROUP = "llmkit.domains"

# The domain that ships with the toolkit, for a checkout that was never installed: an installed
# llmkit says the same in its metadata. A name, not an import: the core knows no domain.
_SHIPPED = {"installer": "llmkit.installer:domain"}


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a command."""

    state: Any  # afterwards; as before when the command failed at once
    status: int | None  # exit status; None: not known, and taken for success
    error: str | None = None  # why the first failing part failed
    unmodelled: tuple[str, ...] = ()  # programs whose effect nobody wrote down
    stdout: str | None = None  # None: not known


@dataclass(frozen=True, slots=True)
class Explanation:
    """A command in plain words, before it is run.

    `lines`: what it does, one printable clause each, in order; never empty. `danger`: the guard's
    level. `destroys`: names of the devices on which something is lost; what to type to confirm it.
    `needs_confirmation`: a person should agree to it knowingly. `allowed`: the guard's word; when
    it is False the reason is the first line.
    """

    lines: tuple[str, ...]
    danger: str
    destroys: tuple[str, ...]
    needs_confirmation: bool
    allowed: bool


ObjectionKind = Literal["against", "consent", "which"]


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a command is not proposed.

    `text`: what the person gets instead. `again`: the command could never work (it is refused, or
    fails), or is not what was asked for, so that another answer of the model may do better; when False,
    the text is the answer. `kind`: `consent` and `which` ask for a word of the person, and are what
    `confirm=False` leaves out; `which` leaves open what the command should be about. `better`: a
    command that is what was asked for, near this one, against which there is nothing; it may be
    proposed in its place. "": none is known.
    """

    text: str
    again: bool
    kind: ObjectionKind = "against"
    better: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """A turn on a machine, as the coverage report sees it: the state before the answer (as
    `to_dict` writes it), the wordings of the person, the answer (an expected_response), the
    conversation's categories and the scenario's summary."""

    state: Mapping[str, Any]
    said: tuple[str, ...]
    answer: Mapping[str, Any]
    categories: tuple[str, ...]
    summary: Mapping[str, Any]


class Coverage(Protocol):
    """A domain's part of the coverage report: dimensions, and what a turn is in each of them.

    The toolkit's own dimensions are `place` and `kind`; a domain may add values to `place`. With a
    method `forms(command) -> Sequence[str]` beside these (what a command is made of, whatever names
    it is given) the report tells which forms few conversations have.
    """

    @property
    def dimensions(self) -> Mapping[str, tuple[str, ...]]:
        """Every value of every dimension, in the order of the report."""

    def labels(self, moment: Moment, earlier: Sequence[Moment]) -> Mapping[str, tuple[str, ...]]:
        """A turn's values; `earlier` are the turns before it on the same machine."""

    def machines(self, cfg: Any) -> Iterator[Mapping[str, tuple[str, ...]]]:
        """The values that each configured machine may take; none: values meet freely."""

    def excluded(self, one: tuple[str, str], other: tuple[str, str]) -> str:
        """Why two values, each (dimension, value), cannot meet; "" when they can."""


@runtime_checkable
class Verdict(Protocol):
    """The guard's answer about one command on one state."""

    @property
    def allowed(self) -> bool: ...

    @property
    def reason(self) -> str: ...

    @property
    def missing(self) -> tuple[str, ...]: ...

    @property
    def danger(self) -> str: ...


@runtime_checkable
class Scenario(Protocol):
    """A drawn situation for a conversation to happen in."""

    @property
    def state(self) -> Any:
        """The machine as it is found."""

    @property
    def summary(self) -> Mapping[str, Any]:
        """What was drawn, short and JSON-ready: goes into `meta.scenario` and the card's plots."""


class Guarded(Protocol):
    """The part of a domain that judges commands."""

    def check(self, state: Any, command: str) -> Verdict: ...


@runtime_checkable
class Domain(Protocol):
    """Everything that the toolkit asks of a domain."""

    name: str

    def templates(self) -> tuple[Path, ...]:
        """Folders of Jinja2 templates, first match wins; `macros.j2` in them is imported into
        every conversation."""

    def check_when(self, when: Mapping[str, Any], start: str | None) -> None:
        """Raise ValueError for a filter or a starting point that the domain does not know."""

    def scenarios(
        self, cfg: Any, rng: random.Random, when: Mapping[str, Any], start: str | None
    ) -> Iterator[Scenario]:
        """Situations that fit, drawn without end; nothing when none can fit."""

    def every_scenario(
        self, cfg: Any, when: Mapping[str, Any], start: str | None
    ) -> Iterator[Scenario]:
        """One situation for each kind that fits, for checks."""

    def begin(self, scenario: Scenario, start: str | None) -> Any:
        """The state at the conversation's starting point; DomainError when it cannot be reached."""

    def variables(self, scenario: Scenario, state: Any) -> Mapping[str, Any]:
        """What templates may use on `state`."""

    def to_context(self, state: Any) -> str:
        """The text about `state` that a model reads."""

    def parse_context(self, text: str) -> Any:
        """The state that a context tells of; DomainError when it cannot be read."""

    def to_dict(self, state: Any) -> dict[str, Any]:
        """The state as JSON data."""

    def from_dict(self, data: dict[str, Any]) -> Any:
        """The state that `to_dict` wrote; DomainError for data that cannot be."""

    def apply(self, state: Any, command: str) -> Applied:
        """Run a command on a state (nothing real is touched)."""

    def check(self, state: Any, command: str) -> Verdict:
        """The guard's verdict on a command."""

    def tool_schema(self, state: Any) -> dict[str, Any]:
        """The tool that a model acts through, as a function schema."""

    def explain(self, state: Any, command: str) -> str:
        """What a command does on a state, in words."""


def explanation(domain: Domain, state: Any, command: str) -> Explanation:
    """A command in plain words: the domain's own, or what `check` and `explain` say."""
    own = getattr(domain, "explanation", None)
    if own is not None:
        found: Explanation = own(state, command)
        return found
    verdict = domain.check(state, command)
    lines = () if verdict.allowed else (f"refused: {verdict.reason}",)
    return Explanation(
        (*lines, domain.explain(state, command)),
        verdict.danger,
        (),
        verdict.danger in ("destructive", "forbidden"),
        verdict.allowed,
    )


def objection(
    domain: Guarded,
    state: Any,
    messages: Sequence[Mapping[str, str]],
    command: str,
    *,
    confirm: bool = True,
) -> Objection | None:
    """What is against proposing a command in its conversation; None: nothing.

    `messages` end with the person's last one; a command that ran stands as `$ LINE`. `confirm=False`
    leaves it to the caller that somebody agrees to what the command destroys. A domain without a
    review has the guard's word.
    """
    own = getattr(domain, "objection", None)
    if own is not None:
        found: Objection | None = own(state, messages, command, confirm=confirm)
        return found
    plain = getattr(domain, "review", None)
    if plain is not None:
        text: str | None = plain(state, messages, command)
        return None if text is None else Objection(text, False)
    verdict = domain.check(state, command)
    return None if verdict.allowed else Objection(verdict.reason, True)


def untrue(domain: Guarded, state: Any, messages: Sequence[Mapping[str, str]], text: str) -> str:
    """What to say in place of an answer in words that tells of the machine what is not so; "": nothing
    is known to be wrong, or the domain does not judge texts."""
    own = getattr(domain, "untrue", None)
    return "" if own is None else str(own(state, messages, text))


def about(domain: Guarded, state: Any, messages: Sequence[Mapping[str, str]], command: str) -> bool:
    """Whether the last message names what a command works on, so that a command is due rather than a
    text, where the model is of two minds. False where the domain does not say."""
    own = getattr(domain, "about", None)
    return own is not None and bool(own(state, messages, command))


def wished(
    domain: Guarded, state: Any, messages: Sequence[Mapping[str, str]], command: str
) -> bool:
    """Whether a command may take the place of a text that is not so: the last message asks nothing, and
    the command does more than look. False where the domain does not say."""
    own = getattr(domain, "wished", None)
    return own is not None and bool(own(state, messages, command))


def review(
    domain: Guarded, state: Any, messages: Sequence[Mapping[str, str]], command: str
) -> str | None:
    """The text that a person gets instead of a command; None: it may be proposed."""
    found = objection(domain, state, messages, command)
    return None if found is None else found.text


def get_domain(name: str) -> Domain:
    """The domain of that name; raises ConfigError when no installed package has it."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    for known, value in _SHIPPED.items():
        found.setdefault(known, EntryPoint(known, value, GROUP))
    if name not in found:
        known = ", ".join(sorted(found))
        raise ConfigError(f"no domain named {name!r}; installed are: {known}")
    domain = found[name].load()
    if not isinstance(domain, Domain):
        raise ConfigError(f"{found[name].value} (domain {name}) is no domain: see llmkit/domain.py")
    return domain
