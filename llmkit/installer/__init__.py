"""The installer domain: a person on a live system, disks, shell commands, and a guard.

    from llmkit.installer import SystemState, domain

Names are imported when they are first used, so that a tool that needs one module loads one.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SystemState", "domain"]


def __getattr__(name: str) -> Any:
    # `import_module`, since `from llmkit.installer import domain` would ask here again.
    from importlib import import_module

    if name == "SystemState":
        return import_module("llmkit.installer.state").SystemState
    if name == "domain":
        return import_module("llmkit.installer.domain").domain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
