"""What a tool did before it failed, and why it failed; apart from the effects, which import `devices`
and `vfs`, so that these import no effect.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.installer.state import SystemState


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a command does, for explanations and for `danger`."""

    kind: str  # erase, partition, unpartition, format, mount, unmount, swap, file, user, boot, …
    device: str = ""  # device path, when it is about one
    detail: str = ""  # what was made or lost: "ext4", "/mnt", "512M", …


class CommandFailed(Exception):
    """The tool would exit non-zero. `state` holds what it committed before (parted works step by
    step); None: nothing changed."""

    def __init__(
        self,
        reason: str,
        *,
        status: int = 1,
        state: SystemState | None = None,
        events: tuple[Event, ...] = (),
    ) -> None:
        super().__init__(reason)
        self.reason, self.status, self.state, self.events = reason, status, state, events


class NoSuchDevice(CommandFailed):
    """A device named on the command line is not there."""


class DeviceBusy(CommandFailed):
    """Mounted, used as swap, or held by a mapping."""
