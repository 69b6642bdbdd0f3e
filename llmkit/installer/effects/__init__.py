"""What each tool does to a machine: importing this package fills the table EFFECTS.

    >>> from llmkit.installer.effects import EFFECTS, Argv
    >>> EFFECTS["mkswap"](state, Argv("mkswap", ("/dev/sda2",)))

One module a topic; registry.py holds the types. An effect module may import `vfs` as a module
(`from llmkit.installer import vfs`), not names from it: the two import each other.
"""

from llmkit.installer.effects.registry import (
    EFFECTS,
    Argv,
    CommandFailed,
    DeviceBusy,
    Effect,
    Event,
    NoSuchDevice,
    Result,
    effect,
)

from llmkit.installer.effects import boot, copy, files, mkfs, mount, swap, system, text, users  # noqa: F401  isort: skip

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
