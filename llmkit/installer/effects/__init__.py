"""What each tool does to a machine: importing this package fills the table EFFECTS.

    >>> from llmkit.installer.effects import EFFECTS, Argv
    >>> EFFECTS["mkswap"](state, Argv("mkswap", ("/dev/sda2",)))

One module a topic; registry.py holds the types.
"""

from importlib import import_module
from pkgutil import iter_modules

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

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

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
