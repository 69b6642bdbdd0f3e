"""What the older conversation forms say about machines, in the authored form.

`from_slots` replaces `{PLACEHOLDER}`s by the Jinja2 text that templates/older_slots.yaml gives them.
`from_literal` reads the conversation's own `system_context` and replaces the names in it:

- devices and partitions, in commands and in what is said (`/dev/sda2`, `sda2`, `sda`), longest
  names first, so that `/dev/sda10` is not cut at `/dev/sda1`;
- disk models and disk sizes, in what is said. In a command a size is an argument that happens to
  be alike (`sgdisk -n 1:0:+20G` on a disk of 20G) and stays.

The disk that the first writing command names becomes `target`, the next one `other`, and any
further ones stand by their place in the list (`disks[2]`). A device that the context does not have
becomes `missing_disk` in what is said; in a command it is an error, since no machine would run it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from llmkit.errors import DomainError
from llmkit.installer.context import from_context
from llmkit.installer.size import human
from llmkit.installer.state import Disk, SystemState, partition_name
from llmkit.toolkit import find_toolkit

_SLOT = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")
_JINJA = re.compile(r"\{[{%#]|[#%}]\}")
_DEVICE = re.compile(
    r"/dev/(?:(?:sd|vd|xvd|hd)[a-z]+\d*|nvme\d+n\d+(?:p\d+)?|mmcblk\d+(?:p\d+)?)(?![A-Za-z0-9])"
)
_READERS = {"lsblk", "blkid", "df", "mount", "findmnt", "cat", "ls", "ip", "echo", "fdisk"}


def convert(record: dict[str, Any], form: str) -> dict[str, Any]:
    """The authored record of a conversation in the older form "slots" or "literal".

    Raises:
        ValueError: an unknown slot, an unreadable context, a command on a device that the context
            does not have, or a turn of no known form.
    """
    return from_slots(record) if form == "slots" else from_literal(record)


@lru_cache(maxsize=1)
def slots() -> Mapping[str, Mapping[str, Any]]:
    """Slot name → its `text` and `when` (templates/older_slots.yaml)."""
    path = find_toolkit().templates / "older_slots.yaml"
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))
    return loaded


def from_slots(record: dict[str, Any]) -> dict[str, Any]:
    """Convert the form with `{PLACEHOLDER}` slots. Raises ValueError (see `convert`)."""
    when: dict[str, Any] = dict(record.get("when") or {})

    def fill(text: str) -> str:
        pieces: list[str] = []
        position = 0
        for match in _SLOT.finditer(text):
            slot = slots().get(match.group(1))
            if slot is None:
                raise ValueError(
                    f"unknown slot {{{match.group(1)}}}; the known ones stand in "
                    "templates/older_slots.yaml, where a new one can be added"
                )
            when.update(slot.get("when", {}))
            pieces += [escape(text[position : match.start()]), slot["text"]]
            position = match.end()
        return "".join([*pieces, escape(text[position:])])

    turns = [_turn(user, command, text, fill, fill) for user, command, text in turns_of(record)]
    return _authored(record, turns, when, None)


def from_literal(record: dict[str, Any]) -> dict[str, Any]:
    """Convert the form with a literal system context. Raises ValueError (see `convert`)."""
    try:
        state = from_context(record["system_context"])
    except DomainError as error:
        raise ValueError(f"system_context: {error}") from error
    turns = turns_of(record)
    disks = [disk for disk in state.disks if not disk.live]
    if not disks:
        raise ValueError("system_context lists no disk to install to")
    order = _by_use(disks, [command for _, command, _ in turns if command])
    names = {order[0].name: "target"}
    if len(order) > 1:
        names[order[1].name] = "other"
    for index, disk in enumerate(disks):
        names.setdefault(disk.name, f"disks[{index}]")
    devices = _devices(disks, names)
    prose = dict(devices)
    for disk in reversed(order):  # the target's size and model win where two disks are alike
        prose[human(disk.size)] = f"{names[disk.name]}.size"
        if disk.model:
            prose[disk.model] = f"{names[disk.name]}.model"

    def in_command(text: str) -> str:
        absent = [name for name in _DEVICE.findall(text) if name not in devices]
        if absent:
            raise ValueError(f"a command names {absent[0]}, which its system_context does not have")
        return _replace(text, devices)

    def in_prose(text: str) -> str:
        absent = {name: "missing_disk" for name in _DEVICE.findall(text) if name not in prose}
        return _replace(text, prose | absent)

    when: dict[str, Any] = {"boot": state.boot_mode}
    used = [name for name in devices.values() if not name.startswith("target")]
    if len(disks) > 1 and used:
        when["disks"] = "2+" if len(disks) == 2 else str(len(disks))
    start = start_of(state, order[0])
    converted = [_turn(user, command, text, in_command, in_prose) for user, command, text in turns]
    return _authored(record, converted, when, start)


def start_of(state: SystemState, target: Disk) -> str | None:
    """The named starting point (docs/conversations.md) that the machine is in; None is `empty`."""
    paths = [target.partition_path(part.number) for part in target.partitions]
    if not paths:
        return None
    if any(mount.source in paths and mount.target == "/mnt" for mount in state.mounts):
        return "mounted"
    formatted = all(part.signature is not None for part in target.partitions)
    return "formatted" if formatted else "partitioned"


def turns_of(record: Mapping[str, Any]) -> list[tuple[list[str], str | None, str | None]]:
    """(wordings, command, text) of each turn: `turns` with `type`, `command` and `response`, or
    `messages` in which a command reads `$ COMMAND`, the last answer in `expected_response`.

    Raises ValueError for anything else.
    """
    if "turns" in record:
        return [_old_turn(turn, index) for index, turn in enumerate(record["turns"], 1)]
    if "messages" not in record:
        raise ValueError("neither `turns` nor `messages`")
    texts = [(message["role"], message["content"]) for message in record["messages"]]
    if texts and texts[0][0] == "system":
        texts = texts[1:]
    expected = record.get("expected_response")
    if expected is not None:
        answer = expected.get("command")
        texts.append(("assistant", f"$ {answer}" if answer else expected.get("response", "")))
    if not texts or len(texts) % 2:
        raise ValueError(
            "messages must alternate between user and assistant, and end with an answer"
        )
    turns: list[tuple[list[str], str | None, str | None]] = []
    for (asker, question), (answerer, answer) in zip(texts[::2], texts[1::2], strict=True):
        if (asker, answerer) != ("user", "assistant"):
            raise ValueError("messages must alternate between user and assistant")
        if answer.startswith("$ "):
            command, _, _output = answer[2:].partition("\n\n")  # output may follow a blank line
            turns.append(([question], command, None))
        else:
            turns.append(([question], None, answer))
    return turns


def _old_turn(turn: Any, index: int) -> tuple[list[str], str | None, str | None]:
    if not isinstance(turn, Mapping) or "user" not in turn:
        raise ValueError(f"turn {index} has no `user`")
    user = [turn["user"]] if isinstance(turn["user"], str) else list(turn["user"])
    kind = turn.get("type") or ("command" if turn.get("command") else "text")
    answer = turn.get("command") if kind == "command" else turn.get("response") or turn.get("text")
    if kind not in ("command", "text") or not isinstance(answer, str) or not answer.strip():
        raise ValueError(f"turn {index} needs a `command` or a `response` that fits its `type`")
    return user, *((answer, None) if kind == "command" else (None, answer))


def _turn(
    user: list[str], command: str | None, text: str | None, on_command: Any, on_prose: Any
) -> dict[str, Any]:
    words = [on_prose(word) for word in user]
    turn: dict[str, Any] = {"user": words[0] if len(words) == 1 else words}
    if command is not None:
        turn["command"] = on_command(command)
    if text is not None:
        turn["text"] = on_prose(text)
    return turn


def _authored(
    record: Mapping[str, Any], turns: list[dict[str, Any]], when: dict[str, Any], start: str | None
) -> dict[str, Any]:
    """The authored record, with an id and categories of the form that its schema wants."""
    identity = re.sub(r"[^A-Za-z0-9._-]+", "-", str(record["id"])).strip("-.") or "converted"
    stated = record.get("categories") or record.get("category") or "converted"
    stated = [stated] if isinstance(stated, str) else list(stated)
    categories = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in stated]
    authored: dict[str, Any] = {"id": identity, "categories": categories}
    if when:
        authored["when"] = when
    if start:
        authored["start"] = start
    return authored | {"turns": turns}


def escape(text: str) -> str:
    """`text` with what Jinja2 would take for its own made literal: `awk '{{print}}'` survives."""
    return _JINJA.sub(lambda match: '{{ "' + match.group() + '" }}', text)


def _by_use(disks: list[Disk], commands: list[str]) -> list[Disk]:
    """The disks in the order in which commands name them: those that write first, then readers,
    then the rest as listed."""
    places: dict[str, tuple[int, int]] = {}
    for index, command in enumerate(commands):
        reads = (
            command.split()[0] in _READERS and "/mnt" not in command if command.split() else True
        )
        for disk in disks:
            found = re.search(rf"(?<![A-Za-z0-9]){disk.name}(?:p?\d+)?(?![A-Za-z0-9])", command)
            if found:
                place = (1_000_000 if reads else 0) + index, found.start()
                places[disk.name] = min(places.get(disk.name, place), place)
    last = (10_000_000, 0)
    return sorted(disks, key=lambda disk: places.get(disk.name, last))


def _devices(disks: list[Disk], names: Mapping[str, str]) -> dict[str, str]:
    """Each device path and bare name → the Jinja2 expression for it."""
    found: dict[str, str] = {}
    for disk in disks:
        slot = names[disk.name]
        found[disk.path], found[disk.name] = f"{slot}.path", f"{slot}.name"
        # partitions that a later command makes count as well as those that are there
        for number in range(1, 129):
            bare = partition_name(disk.name, number)
            found[f"/dev/{bare}"] = f"{slot}.part({number})"
            found[bare] = f"{slot}.part({number})[5:]"
    return found


def _replace(text: str, names: Mapping[str, str]) -> str:
    """`text` with every name that stands there as a word of its own replaced by its expression."""
    used = sorted((name for name in names if name in text), key=len, reverse=True)
    if not used:
        return escape(text)
    pattern = re.compile(
        "(?<![A-Za-z0-9])(?:" + "|".join(map(re.escape, used)) + ")(?![A-Za-z0-9])"
    )
    pieces: list[str] = []
    position = 0
    for match in pattern.finditer(text):
        pieces += [escape(text[position : match.start()]), f"{{{{ {names[match.group()]} }}}}"]
        position = match.end()
    return "".join([*pieces, escape(text[position:])])
