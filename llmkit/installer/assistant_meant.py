"""Is a proposal about the device that the person named?

    >>> other_device("erase /dev/nvme1n1", "wipefs -a /dev/nvme0n1", state)
    'There is no /dev/nvme1n1 on this machine (did you mean /dev/nvme0n1?), so nothing was run; …'

Under a grammar that has no room for an absent disk, a model that is asked to erase one writes the
name of another: the guard finds nothing wrong with that line. Measured with the shipped adapter: asked
for disks that were not there, it proposed to erase one that was in several of 100 cases (docs/chat.md).
"""

from __future__ import annotations

import re

from llmkit.installer import guard_words
from llmkit.installer.assistant_machine import left_alone
from llmkit.installer.explain import touched
from llmkit.installer.explain_words import listed
from llmkit.installer.guard import check_command
from llmkit.installer.guard_names import BARE, disks_of, mentions, presence
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

_NO_NAMES = frozenset(("hdd", "sduo"))  # a kind of disk, and sudo
_WORD = re.compile(r"[\w/.\-]+")


def named(message: str) -> tuple[str, ...]:
    """Devices that a message names, as paths: `/dev/sda1`, also as `sda1`."""
    found: list[str] = []
    for word in _WORD.findall(message):
        plain = word.rstrip(".-")
        if BARE.fullmatch(plain.lower()) and plain.lower() not in _NO_NAMES:
            found.append(f"/dev/{plain.lower()}")
            continue
        found += [mention.name for mention in mentions(plain, tags=False, prose=True)]
    return tuple(dict.fromkeys(name for name in found if name.startswith("/dev/")))


def other_device(
    message: str, command: str, state: SystemState, own: set[str] | None = None
) -> str | None:
    """Why a proposal is not what was asked for; None: no objection.

    The message names devices that are not there, before or after it, and the line does more than
    look, to nothing else that was named. Or it names nothing but disks of the running system
    (`own`), and the line destroys something on others.
    """
    names = named(message)
    if not names:
        return None
    danger = check_command(command, state).danger
    if danger == "read":
        return None
    here, then = presence(state), presence(run_command(command, state).state)
    absent = [name for name in names if not here.has(name) and not then.has(name)]
    disks = _disks([name for name in names if name not in absent], state)
    if absent:
        return None if disks & touched(command, state) else guard_words.missing(absent, state)
    if own and disks and disks <= own and danger == "destructive":
        return left_alone(sorted(disks), state, own)
    return None


def warning(message: str, destroys: tuple[str, ...], state: SystemState) -> str | None:
    """A line for a proposal that destroys only what was not named, where something was."""
    disks = _disks(named(message), state)
    if not destroys or not disks or disks & set(destroys):
        return None
    return f"careful: you named {listed(sorted(disks))}, this is about {listed(destroys)}"


def _disks(names: list[str] | tuple[str, ...], state: SystemState) -> set[str]:
    """Kernel names of the disks that these devices lie on, as far as they are there."""
    here = presence(state)
    nodes = [node for node in map(here.resolve, names) if node]
    return {path.removeprefix("/dev/") for node in nodes for path in disks_of(state, node)}
