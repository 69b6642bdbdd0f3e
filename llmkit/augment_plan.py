"""Plan a conversation on one situation: every template rendered, every command tried, once.

    plan(conversation, scenario, domain, length=3)

A plan holds all that the wordings of the person do not change: the contexts, the answers, the
states. Thousands of snapshots can then be written from it without another look at the domain.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmkit.domain import Domain, Scenario
from llmkit.errors import DomainError, LlmkitError, TemplateError
from llmkit.macros import bind
from llmkit.records import Conversation, Turn
from llmkit.template import render

_BLOCK = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_OPENING = re.compile(r"\{[{%#]")
# `{{ username }}`, `{{ target.path }}`: nearly all slots. Filled without Jinja2, whose compiler
# takes 2 ms a source (benchmarks/augment.py); everything else, errors included, is Jinja2's.
_SIMPLE = re.compile(r"\{\{ *([a-z][a-z0-9_]*)(?:\.([a-z][a-z0-9_]*))? *\}\}")
_EDGE = "\"'.,!?;:()`"


class PlanError(LlmkitError):
    """A conversation cannot be held on a machine: a command fails or is refused, a template
    cannot be rendered. str() is `file:line: conversation ID, turn N, on MACHINE: reason`."""

    def __init__(self, conversation: Conversation, turn: int, machine: str, reason: str) -> None:
        self.file_line = conversation.where(turn or None)
        self.conversation, self.turn, self.machine = conversation.id, turn, machine
        self.reason = reason
        place = f"turn {turn}" if turn else "before the first turn"
        super().__init__(
            f"{self.file_line}: conversation {conversation.id}, {place}, on {machine}: {reason}"
        )


class Wording(NamedTuple):
    """What the person says in one of the ways, and the words in it that slots filled."""

    text: str
    keep: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlannedTurn:
    """All of a turn that is the same for every variation."""

    wordings: tuple[Wording, ...]
    context: str
    state: dict[str, Any]
    answers: tuple[dict[str, str], ...]  # alternatives for expected_response
    history: tuple[str, ...]  # the same answers, as they stand in later turns' messages
    key: int  # of the context


@dataclass(frozen=True, slots=True)
class Plan:
    """A conversation on one machine."""

    turns: tuple[PlannedTurn, ...]
    summary: Mapping[str, Any]
    unmodelled: tuple[str, ...]  # programs in its commands whose effect nobody wrote down


def describe(summary: Mapping[str, Any]) -> str:
    """A machine in a few words, for messages."""
    parts = [str(value) for key, value in summary.items() if isinstance(value, str)]
    return " ".join(parts) or "this machine"


def plan(
    conversation: Conversation, scenario: Scenario, domain: Domain, length: int | None = None
) -> Plan:
    """Hold the first `length` turns (None: all) of a conversation on a scenario.

    Raises PlanError: a template cannot be rendered, a command fails (exit status other than 0),
    is refused by the guard, or comes after the machine was switched off.
    """
    machine = describe(scenario.summary)
    try:
        state = domain.begin(scenario, conversation.start)
    except LlmkitError as error:
        raise PlanError(conversation, 0, machine, str(error)) from error
    planned: list[PlannedTurn] = []
    unmodelled: dict[str, None] = {}
    for number, turn in enumerate(conversation.turns[:length], 1):
        try:
            bound = Bound(domain, domain.variables(scenario, state))
            step, after = _turn(turn, state, bound, domain, unmodelled)
        except TemplateError as error:
            raise PlanError(conversation, number, machine, error.reason) from error
        except DomainError as error:
            raise PlanError(conversation, number, machine, str(error)) from error
        planned.append(step)
        state = after
    return Plan(tuple(planned), scenario.summary, tuple(unmodelled))


def _turn(
    turn: Turn,
    state: Any,
    bound: Bound,
    domain: Domain,
    unmodelled: dict[str, None],
) -> tuple[PlannedTurn, Any]:
    context = domain.to_context(state)
    wordings = tuple(_wording(source, bound) for source in turn.user)
    after = state
    if turn.command is not None:
        command = _filled(turn.command, bound, "the command")
        applied = domain.apply(state, command)
        if applied.status:
            reason = applied.error or f"exit status {applied.status}"
            raise DomainError(f"`{command}` fails: {reason}")
        verdict = domain.check(state, command)
        if not verdict.allowed:
            raise DomainError(f"`{command}` is refused by the guard: {verdict.reason}")
        unmodelled.update(dict.fromkeys(applied.unmodelled))
        after = applied.state
        for source in turn.reply:  # chat shows it after the command ran; here it must only render
            _filled(source, bound, "the reply")
        answers: tuple[dict[str, str], ...] = ({"type": "command", "command": command},)
        history: tuple[str, ...] = (f"$ {command}",)
    else:
        history = tuple(dict.fromkeys(_filled(source, bound, "the text") for source in turn.text))
        answers = tuple({"type": "text", "response": text} for text in history)
    return PlannedTurn(wordings, context, domain.to_dict(state), answers, history,
                       key_of(context)), after  # fmt: skip


class Bound:
    """The variables of one moment; the macros are bound to them when a template needs Jinja2."""

    def __init__(self, domain: Domain, variables: Mapping[str, Any]) -> None:
        self._domain, self.variables = domain, variables
        self._all: Mapping[str, Any] | None = None

    def render(self, source: str, where: str) -> str:
        """`source`, filled; TemplateError as `llmkit.template.render` raises it."""
        if not _OPENING.search(source):
            return source
        text, _ = _SIMPLE.subn(self._slot, source)
        if "\0" not in text and not _OPENING.search(_SIMPLE.sub("", source)):
            return text
        if self._all is None:
            self._all = bind(self._domain.templates(), self.variables)
        return render(source, self._all, where)

    def _slot(self, found: re.Match[str]) -> str:
        """The text of a simple slot that is a text; NUL leaves it to Jinja2."""
        name, attribute = found.groups()
        value = self.variables.get(name)
        if attribute is not None:
            value = getattr(value, attribute, None)
        return value if isinstance(value, str) else "\0"


def _filled(source: str, bound: Bound, what: str) -> str:
    text = bound.render(source, what).strip()
    if not text:
        raise TemplateError(f"{what} is empty on this machine")
    return text


def _wording(source: str, bound: Bound) -> Wording:
    if not _OPENING.search(source):
        return Wording(source.strip(), ())
    text = _filled(source, bound, "what the person says")
    literal = {word.strip(_EDGE) for word in _BLOCK.sub(" ", source).split()}
    words = (word.strip(_EDGE) for word in text.split())
    return Wording(text, tuple(dict.fromkeys(w for w in words if w and w not in literal)))


def key_of(text: str) -> int:
    """56 bits of a text, the same in every process; as a number it is its own hash()."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
