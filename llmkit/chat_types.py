"""What the chat and a domain's assistant say to each other.

A domain that can be chatted with has, beside what llmkit.domain asks for:

    assistant(ask, cfg, execute, state=None, allow_installed=False) -> Assistant

`state` is the machine of execute=simulate, drawn by the domain's `scenarios`. Everything here is
plain data, so that a terminal and a page can show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from llmkit.client_wire import Answer, Ask
from llmkit.config_chat import Execute
from llmkit.domain import Explanation

__all__ = ["CUT", "Asker", "Assistant", "Execute", "OnText", "Ran", "Refused", "Stage", "Turn"]

CUT = (  # in place of a command that does not end
    "The answer became too long and was cut off, so nothing was run. Please ask for less at once."
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the work. `detail` says what was found ("ext4 on sda2")."""

    name: str
    done: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a message.

    With a `command` it is a proposal: nothing has run. Without one, `text` is the answer. `blocked`
    is a command that was not let through; `text` then says why, and names what there is.
    """

    text: str = ""
    command: str | None = None
    explanation: Explanation | None = None
    blocked: str | None = None
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a command: `status` 0 is success; `undo` takes it back, where that is possible."""

    command: str
    status: int
    output: str = ""
    error: str = ""
    undo: str | None = None


OnText = Callable[[str], None]
Asker = Callable[[Ask, OnText | None], Answer]


class Refused(Exception):
    """A command that must not run here. str() says why, in words for the person."""


class Assistant(Protocol):
    """A conversation about one machine."""

    @property
    def state(self) -> Any: ...

    @property
    def history(self) -> list[dict[str, str]]: ...

    def ask(self, message: str, on_text: OnText | None = None) -> Turn:
        """Send a message. ServerError when the server does not answer; nothing is kept then."""

    def consider(self, command: str) -> Turn:
        """A command of the person's own, judged as a proposal is."""

    def run(self, command: str, on_text: OnText | None = None) -> Ran:
        """Carry out a proposal; Refused when it must not. The facts are fresh afterwards."""

    def cancel(self, said: str = "") -> None:
        """The proposal is not carried out."""

    def undo(self, on_text: OnText | None = None) -> Ran | None:
        """Take the last command back that can be; None when there is none."""

    def last_command(self) -> str | None:
        """The last command that changed something, and was not taken back."""

    def facts(self) -> str:
        """The machine, as the model reads it."""

    def stages(self) -> tuple[Stage, ...]:
        """The work, and how far it is."""

    def problems(self) -> tuple[str, ...]:
        """What is missing for a machine that starts by itself."""

    def finished(self) -> bool:
        """The machine was restarted or switched off."""

    def details(self, command: str) -> tuple[str, ...]:
        """More about a command: what the machine would be like, and whether it can be undone."""

    def same(self, proposal: str, wanted: str) -> bool:
        """Whether two commands come to the same here."""
