"""The installer as a Domain: what the toolkit asks, answered by the modules of this package.

    from llmkit.domain import get_domain
    domain = get_domain("installer")

The object is `llmkit.installer:domain` (this module is not named after it: a submodule would hide
the object).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.domain import Applied, Explanation, Objection
from llmkit.errors import DomainError
from llmkit.installer import (
    convert,
    explain,
    grounding,
    guard,
    picture,
    review,
    review_text,
    same,
    scenario,
)
from llmkit.installer.guard import Verdict
from llmkit.installer.run import run_command
from llmkit.installer.scenario import Machine, variables
from llmkit.installer.state import SystemState
from llmkit.macros import bind
from llmkit.picture import Picture, Preset
from llmkit.template import render
from llmkit.toolkit import find_toolkit

if TYPE_CHECKING:
    from llmkit.chat_types import Asker, Assistant, Execute
    from llmkit.config import AskConfig
    from llmkit.installer.coverage import InstallerCoverage


class InstallerDomain:
    """Installing Linux from a live system. Holds no state of its own."""

    name = "installer"

    def templates(self) -> tuple[Path, ...]:
        return _templates()

    def check_when(self, when: Mapping[str, Any], start: str | None) -> None:
        scenario.read_filter(when)
        scenario.check_start(start)

    def scenarios(
        self, cfg: Any, rng: random.Random, when: Mapping[str, Any], start: str | None
    ) -> Iterator[Machine]:
        return scenario.draw(cfg, rng, when, start)

    def every_scenario(
        self, cfg: Any, when: Mapping[str, Any], start: str | None
    ) -> Iterator[Machine]:
        return scenario.every(cfg, when, start)

    def begin(self, scenario: Machine, start: str | None) -> SystemState:
        """Raises DomainError when a step of the standard installation fails."""
        return _begin(scenario, start or "empty")

    def variables(self, scenario: Machine, state: SystemState) -> dict[str, Any]:
        return variables(scenario, state)

    def to_context(self, state: SystemState) -> str:
        return state.to_context()

    def parse_context(self, text: str) -> SystemState:
        return SystemState.from_context(text)

    def to_dict(self, state: SystemState) -> dict[str, Any]:
        return state.to_dict()

    def from_dict(self, data: dict[str, Any]) -> SystemState:
        return SystemState.from_dict(data)

    def apply(self, state: SystemState, command: str) -> Applied:
        outcome = run_command(command, state)
        return Applied(
            outcome.state, outcome.status, outcome.error, outcome.unmodelled, outcome.stdout
        )

    def check(self, state: SystemState, command: str) -> Verdict:
        return guard.check_command(command, state)

    def same(self, one: SystemState, other: SystemState) -> bool:
        """Whether two machines are equal but for what is random or nobody asked for."""
        return same.same(one, other)

    def differences(self, one: SystemState, other: SystemState) -> Iterator[str]:
        """What differs between two machines that are not the same."""
        return same.differences(one, other)

    def programs(self, command: str, state: SystemState) -> tuple[str, ...]:
        """The programs that a line runs, sorted."""
        return same.programs(command, state)

    def convert(self, record: dict[str, Any], form: str) -> dict[str, Any]:
        """An authored record for one in an older form; ValueError says why there is none."""
        return convert.convert(record, form)

    def tool_schema(self, state: SystemState | None) -> dict[str, Any]:
        """The shell tool. On a machine, a line that can name no absent device (see grounding.py);
        without one any line. What a line does is the guard's to judge in both cases."""
        command = {"type": "string", "description": "the shell line"}
        if state is not None:
            command["pattern"] = grounding.pattern(state)
        return {
            "name": "run_shell_command",
            "description": "Run one line in the shell of the live system, as root.",
            "parameters": {
                "type": "object",
                "properties": {"command": command},
                "required": ["command"],
                "additionalProperties": False,
            },
        }

    def explain(self, state: SystemState, command: str) -> str:
        """What a command changes, one clause an event; or why it fails."""
        outcome = run_command(command, state)
        if outcome.error:
            return f"fails: {outcome.error}"
        parts = [
            " ".join(word for word in (event.kind, event.device, event.detail) if word)
            for event in outcome.events
        ]
        return "; ".join(dict.fromkeys(parts)) or "changes nothing"

    def explanation(self, state: SystemState, command: str) -> Explanation:
        """What a command does, in sentences; its danger, and the disks that lose something."""
        return explain.explain(command, state)

    def review(
        self, state: SystemState, messages: Sequence[Mapping[str, str]], command: str
    ) -> str | None:
        """What a person gets instead of a proposed command; None: it may be proposed."""
        return review.review(state, messages, command)

    def objection(
        self,
        state: SystemState,
        messages: Sequence[Mapping[str, str]],
        command: str,
        *,
        confirm: bool = True,
    ) -> Objection | None:
        """As `review`, and whether another answer may do better; see installer/review.py."""
        return review.objection(state, messages, command, confirm=confirm)

    def untrue(self, state: SystemState, messages: Sequence[Mapping[str, str]], text: str) -> str:
        """What a person gets in place of a text that is not so; see installer/review_text.py."""
        return review_text.instead(state, messages, text)

    def about(
        self, state: SystemState, messages: Sequence[Mapping[str, str]], command: str
    ) -> bool:
        """Whether the last message names the disks and partitions of a command; see review_text."""
        return review_text.about(state, messages, command)

    def wished(
        self, state: SystemState, messages: Sequence[Mapping[str, str]], command: str
    ) -> bool:
        """See `llmkit.domain.wished`."""
        return review_text.wished(state, messages, command)

    def picture(self, state: SystemState) -> Picture:
        """The disks as bars, what is mounted, and the facts."""
        return picture.picture(state)

    def presets(self, cfg: Any) -> Iterator[Preset]:
        """Machines to try, of every layout and firmware of the config."""
        return picture.presets(cfg)

    def assistant(
        self,
        ask: Asker,
        cfg: AskConfig,
        execute: Execute,
        *,
        state: SystemState | None = None,
        allow_installed: bool = False,
    ) -> Assistant:
        """Who the chat talks to; see installer/assistant.py."""
        from llmkit.installer.assistant import make

        return make(ask, cfg, execute, state=state, allow_installed=allow_installed)

    def reasoning(
        self, state: SystemState, messages: Sequence[Mapping[str, str]], answer: Mapping[str, Any]
    ) -> str:
        """Why `answer` (an expected_response) is right: what is wanted, what decides, what follows."""
        from llmkit.installer.reasoning import reasoning

        return reasoning(state, messages, answer)

    @property
    def coverage(self) -> InstallerCoverage:
        """What the coverage report of augmentation counts; see installer/coverage.py."""
        from llmkit.installer.coverage import coverage

        return coverage

    def absent(self, state: SystemState, text: str) -> tuple[str, ...]:
        """Devices that a text names and the machine does not have."""
        from llmkit.installer.reasoning_check import absent

        return absent(state, text)

    def vague(
        self,
        state: SystemState,
        messages: Sequence[Mapping[str, str]],
        answer: Mapping[str, Any],
        text: str,
    ) -> str:
        """Why reasoning is not specific to this machine and turn; "" when it is."""
        from llmkit.installer.reasoning_check import vague

        return vague(state, messages, answer, text)


domain = InstallerDomain()


@lru_cache(maxsize=1)
def _templates() -> tuple[Path, ...]:
    return (find_toolkit().templates,)


@lru_cache(maxsize=512)  # a check tries the same machines again and again
def _begin(machine: Machine, start: str) -> SystemState:
    state = machine.state
    if start == "empty":
        return state
    bound = bind(domain.templates(), variables(machine, state))  # the steps read nothing that moves
    for name, lines in scenario.STEPS[: scenario.STARTS.index(start) + 1]:
        for line in lines:
            command = render(line, bound, f"start: {name}")
            applied = domain.apply(state, command)
            if applied.status:
                raise DomainError(
                    f"start: {start}: the step `{command}` fails on this machine: {applied.error}"
                )
            state = applied.state
    return state
