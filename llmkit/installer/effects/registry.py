"""The table of effects: what each tool does to a machine.

An effect is a pure function, registered by program name. It is handed a state and an `Argv` whose
words are all known (a command with an opaque word never gets here), and returns a new state or a
`Result`, or raises `CommandFailed`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmkit.installer.failures import CommandFailed, DeviceBusy, Event, NoSuchDevice
from llmkit.installer.state import SystemState

__all__ = [
    "EFFECTS",
    "Argv",
    "CommandFailed",
    "DeviceBusy",
    "Effect",
    "Event",
    "NoSuchDevice",
    "Result",
    "effect",
]


@dataclass(frozen=True, slots=True)
class Argv:
    """A simple command, ready to run."""

    program: str  # base name: "sgdisk" for /usr/sbin/sgdisk
    args: tuple[str, ...]  # after expansion
    stdin: str | None = ""  # text on standard input; None: not known
    root: str = ""  # "" on the live system, "/mnt" within arch-chroot /mnt
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    state: SystemState
    stdout: str | None = None  # what it printed; None: not known
    status: int | None = 0  # None: not known (grep, test -f on files that we do not know)
    events: tuple[Event, ...] = ()


Effect = Callable[[SystemState, Argv], SystemState | Result]
EFFECTS: dict[str, Effect] = {}


def effect(*names: str) -> Callable[[Effect], Effect]:
    """Register an effect under one or more program names. A name taken twice is a bug."""

    def register(function: Effect) -> Effect:
        for name in names:
            if name in EFFECTS:
                raise ValueError(f"two effects for {name}")
            EFFECTS[name] = function
        return function

    return register
