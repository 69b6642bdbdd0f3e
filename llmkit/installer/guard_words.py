"""The guard's verdicts in a beginner's words: one sentence, which ends with the devices that exist.

>>> missing(("/dev/sdz",), state)
'There is no /dev/sdz on this machine (did you mean /dev/sda?), so nothing was run; …'
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from os.path import commonprefix

from llmkit.installer.guard_danger import Danger
from llmkit.installer.guard_names import presence
from llmkit.installer.state import SystemState

MAX_SHOWN = 80  # characters of a quoted piece of the line


@lru_cache(maxsize=256)
def _sentence(nodes: tuple[str, ...]) -> str:
    if not nodes:
        return "this machine has no disks"
    return f"the devices here are {_join(nodes)}"


def _near(name: str, nodes: tuple[str, ...]) -> str | None:
    """The device whose name differs in one place only."""
    for node in nodes:
        start = len(commonprefix((name, node)))
        one, two = name[start:], node[start:]
        end = len(commonprefix((one[::-1], two[::-1])))
        if len(one) - end <= 1 and len(two) - end <= 1:
            return node
    return None


def devices(state: SystemState) -> str:
    """The end of every sentence: which devices exist."""
    return _sentence(presence(state).nodes)


def _join(items: Sequence[str], word: str = "and") -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def shown(text: str) -> str:
    """A piece of the line, printable and short, with every odd character spelled out."""
    plain = text
    if not text.isprintable():
        plain = "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in text)
    return plain if len(plain) <= MAX_SHOWN else plain[: MAX_SHOWN - 1] + "…"


def missing(names: Sequence[str], state: SystemState) -> str:
    """Devices that are not there, or not any more."""
    nodes = presence(state).nodes
    gone = [name for name in names if name in nodes]
    listed = _join([shown(name) for name in names], "or")
    if len(gone) == len(names):
        text = (
            f"{listed} may be gone by the time this line uses it, because an earlier part removes "
            "or changes it"
        )
    else:
        near = _near(names[0], _others(nodes, state)) if len(names) == 1 else None
        hint = f" (did you mean {near}?)" if near else ""
        text = f"There is no {listed} on this machine{hint}"
    return f"{text}, so nothing was run; {devices(state)}."


def _others(nodes: tuple[str, ...], state: SystemState) -> tuple[str, ...]:
    """Without the live medium, which nobody means."""
    live = [disk for disk in state.disks if disk.live]
    paths = {disk.path for disk in live}
    paths.update(disk.partition_path(part.number) for disk in live for part in disk.partitions)
    return tuple(node for node in nodes if node not in paths)


def unreadable(reason: str, state: SystemState) -> str:
    """The line does not parse."""
    return (
        f"This line cannot be read as a shell command ({shown(reason)}), so nothing was run; "
        f"{devices(state)}."
    )


def deceptive(word: str, problem: str, state: SystemState) -> str:
    """Characters that look like others."""
    return (
        f"The part {shown(word)} {problem}, so it may not be what it seems and nothing was run; "
        f"{devices(state)}."
    )


def invisible(name: str, state: SystemState) -> str:
    """A control or invisible character."""
    return (
        f"This line holds an invisible or forbidden character ({shown(name)}), so nothing was run; "
        f"{devices(state)}."
    )


def unknowable(what: str, state: SystemState) -> str:
    """What would be run, or what it would be run on, cannot be known."""
    return (
        f"It cannot be known beforehand {shown(what)}, and it could overwrite a disk, so nothing "
        f"was run; {devices(state)}."
    )


def allowed(danger: Danger, state: SystemState) -> str:
    """What an allowed line does."""
    what = shown(danger.what)
    if danger.level == "read":
        text = "This only looks at the machine and changes nothing"
    elif danger.level == "change":
        text = "This changes the machine but erases no data"
        text += f" ({what})" if what else ""
    elif danger.level == "destructive":
        text = f"This destroys data: it {what}"
    else:
        text = f"Every device named here exists, but this must not be run: it {what}"
    return f"{text}; {devices(state)}."
