"""Run a shell line on a state: what `SystemState.apply_command` does, with all that it tells.

>>> outcome = run_command("sgdisk -n 1:0:+512M /dev/sda && mkfs.ext4 /dev/sda1", state)
>>> outcome.status, outcome.error
(0, None)
"""

from __future__ import annotations

from llmkit.installer.interpret import interpret
from llmkit.installer.interpret_types import Outcome
from llmkit.installer.shell import parse
from llmkit.installer.shell_ast import ShellSyntaxError
from llmkit.installer.state import SystemState

__all__ = ["Outcome", "run_command"]


def run_command(text: str, state: SystemState) -> Outcome:
    """What a line does to a machine, on the path that bash would take.

    A line that does not parse has status 2 and changes nothing. A command with a word that is not
    known is not run and stands in `opaque`; a program without an effect changes nothing and stands
    in `unmodelled`.
    """
    try:
        script = parse(text)
    except ShellSyntaxError as error:
        return Outcome(state, 2, opaque=(text,), error=error.message, stdout="")
    return interpret(script, state)
