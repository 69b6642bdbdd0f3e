"""Why an answer is right, in two to four lines: what the person wants, what decides, what follows.

    reasoning(state, messages, {"type": "command", "command": "mkfs.ext4 /dev/sda2"})

The words stand in templates/reasoning_command.j2 and reasoning_text.j2; here and in
reasoning_ask.py (what is wanted), reasoning_devices.py (what is there) and reasoning_deeds.py (what
a command does) the facts are found that they are about. No line names a device that the context
does not list: a partition that the command is still to make is "partition 2 of /dev/sda".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Template

from llmkit.installer.reasoning_ask import Ask, ask, cleaned
from llmkit.installer.reasoning_check import absent
from llmkit.installer.reasoning_deeds import deeds
from llmkit.installer.reasoning_devices import Devices
from llmkit.installer.reasoning_text import answer_of
from llmkit.installer.state import SystemState
from llmkit.template import environment
from llmkit.toolkit import find_toolkit

Messages = Sequence[Mapping[str, str]]
MOST = 4  # lines


@lru_cache(maxsize=8)
def _template(folder: Path, kind: str) -> Template:
    return environment([folder]).get_template(f"reasoning_{kind}.j2")


def reasoning(state: SystemState, messages: Messages, answer: Mapping[str, Any]) -> str:
    """The reasoning that leads to `answer` (an expected_response) on this machine.

    `state` may know more than its context says (labels, files); what is written names nothing more.
    """
    devices = Devices(state)
    wanted: Ask = ask(state, messages, answer, devices)
    shown: dict[str, Any] = {
        "ask": wanted,
        "devices": devices,
        "uefi": state.boot_mode == "uefi",
        "mode": "UEFI" if state.boot_mode == "uefi" else "Legacy BIOS",
        "network": state.network,
        "users": [user.name for user in (state.target_tree() or state.live).users],
        "hostname": (state.target_tree() or state.live).hostname or state.live.hostname,
        "timezone": (state.target_tree() or state.live).timezone or state.live.timezone,
    }
    kind = answer["type"]
    if kind == "command":
        shown["done"] = deeds(state, answer["command"], devices)
        shown["command"] = cleaned(answer["command"], 60)
        shown["words"] = answer["command"].split()
        shown["one_fs"] = re.search(r" -\w*x\b| --one-file-system", answer["command"]) is not None
    else:
        shown["answer"] = answer_of(state, messages, answer["response"], devices, wanted)
    text = _template(find_toolkit().templates, kind).render(shown)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not absent(state, line)]
    return "\n".join(lines[:MOST])
