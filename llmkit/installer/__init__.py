"""The installer domain: a person on a live system, disks, shell commands, and a guard.

    from llmkit.installer import SystemState, check_command, domain, run_command

Names are imported when they are first used, so that a tool that needs one module loads one.
"""

from __future__ import annotations

from typing import Any

_HOMES = {
    "SystemState": "state",
    "Verdict": "guard",
    "apply_command": "run",
    "check_command": "guard",
    "domain": "seam",
    "run_command": "run",
}
__all__ = ["SystemState", "Verdict", "apply_command", "check_command", "domain", "run_command"]


def __getattr__(name: str) -> Any:
    # `import_module`, since `from llmkit.installer import domain` would ask here again.
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(f"llmkit.installer.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
