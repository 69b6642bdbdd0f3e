"""Does a text about a machine keep to what is there, and is it about this machine at all?

    absent(state, "/dev/sdz is empty")       # ("/dev/sdz",)
    vague(state, messages, answer, text)     # "" or what is missing

A text is specific when all of this holds:

1. It has two to four lines, and names no device that the context lacks.
2. It speaks of this machine: a device of it, or its boot mode, host name, time zone, a user, a mount
   point, a size or a model as the context writes them.
3. It speaks of this turn: a device, path, name or value of the answer, a program of its command, or
   words of the conversation in quotation marks.
4. Each line has something of 2 or 3: no line could stand below any conversation.
5. What it says of the machine is so: a size behind a device's name is that device's, and no sentence
   says of this machine that it has the other boot mode.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from llmkit.installer import size as sizes
from llmkit.installer.guard_names import Presence, mentions
from llmkit.installer.state import SystemState

# A kernel name alone. Inside a path or a longer word it is none: /boot/sda1.img, web-sda.
_BARE = re.compile(
    r"(?<![\w/.-])(?:sd[a-z]{1,3}\d*|[hx]?vd[a-z]{1,2}\d*|hd[a-z]\d*|nvme\d+(?:n\d+(?:p\d+)?)?|"
    r"mmcblk\d+(?:p\d+|boot\d|rpmb)?|loop\d+(?:p\d+)?|sr\d+|dm-\d+|md\d+(?:p\d+)?|nbd\d+(?:p\d+)?)"
    r"(?![\w/-])"
)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_SIZED = re.compile(r"(/dev/[\w/-]+)(?: is)? \(?(\d+(?:\.\d+)?[KMGTP])\b")
_QUOTED = re.compile(r"\"([^\"]{1,200})\"|“([^”]{1,200})”")
_WORD = re.compile(r"[\w./@:+-]{2,}")
_CLAIM = re.compile(
    r"(?:this machine|it|the firmware|this one) (?:starts|boots|was started|uses|has|is)"
    r"(?: with| by| in| using)? (UEFI|Legacy BIOS|BIOS)",
    re.IGNORECASE,
)
_COMMON = frozenset(
    "the and for that with this into from not all you can will what which there one two yes no"
    " new system disk disks file files mnt dev bin etc true false on off is it or of to in at a an"
    " are be by as if so do does".split()
)  # words that say nothing about a turn


def absent(state: SystemState, text: str) -> tuple[str, ...]:
    """Devices that a text names and the machine does not have, each once."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    here = _presence(state)
    found: dict[str, None] = {}
    for mention in mentions(plain, prose=True, tags=True):
        if not any(map(here.has, mention.names)):
            found[mention.name] = None
    for match in _BARE.finditer(plain):
        if not here.has(f"/dev/{match.group()}"):
            found[match.group()] = None
    return tuple(found)


@lru_cache(maxsize=64)
def _presence(state: SystemState) -> Presence:
    return Presence(state)


def vague(
    state: SystemState,
    messages: Sequence[Mapping[str, str]],
    answer: Mapping[str, Any],
    text: str,
) -> str:
    """Why a text is not specific (see above), or "" when it is."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not 2 <= len(lines) <= 4:
        return f"{len(lines)} lines"
    missing = absent(state, text)
    if missing:
        return f"names {missing[0]}, which is not there"
    wrong = untrue(state, text)
    if wrong:
        return wrong
    machine = _machine(state)
    turn = _turn(messages, answer)
    said = " ".join(" ".join(message["content"].split()) for message in messages)
    said = said.lower().replace('"', "'")
    of_machine = of_turn = False
    for line in lines:
        about_machine = bool(machine and machine.search(line))
        about_turn = any(word in turn for word in _words(line)) or _quotes(line, said)
        if not about_machine and not about_turn:
            return f"a line that could stand anywhere: {line[:60]}"
        of_machine, of_turn = of_machine or about_machine, of_turn or about_turn
    if not of_machine:
        return "nothing about this machine"
    return "" if of_turn else "nothing about this turn"


def untrue(state: SystemState, text: str) -> str:
    """What a text says of the machine that is not so, or ""."""
    known = _sizes(state)
    for path, said in _SIZED.findall(text):
        if path in known and known[path] != said:
            return f"{path} has {known[path]}, not {said}"
    for mode in _CLAIM.findall(text):
        if (mode.upper() == "UEFI") != (state.boot_mode == "uefi"):
            return f"the boot mode is not {mode}"
    return ""


@lru_cache(maxsize=64)
def _sizes(state: SystemState) -> dict[str, str]:
    found = {disk.path: sizes.human(disk.size) for disk in state.disks}
    for disk in state.disks:
        for part in disk.partitions:
            found[disk.partition_path(part.number)] = sizes.human(part.size)
    return found | {mapping.path: sizes.human(mapping.size) for mapping in state.mappings}


@lru_cache(maxsize=64)
def _machine(state: SystemState) -> re.Pattern[str] | None:
    """Matches whatever the context says of this machine."""
    tree = state.target_tree() or state.live
    names = {*state.devices(), *_sizes(state).values()}
    names |= {path.removeprefix("/dev/") for path in state.devices()}
    names |= {disk.model for disk in state.disks if disk.model}
    names |= {mount.target for mount in state.mounts}
    names |= {tree.hostname, tree.timezone, state.live.hostname, state.live.timezone}
    names |= {user.name for user in tree.users}
    names.add("UEFI" if state.boot_mode == "uefi" else "BIOS")
    names.discard("")
    names.discard("/")
    words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w/.-])(?:{words})(?![\w/])") if names else None


def _turn(messages: Sequence[Mapping[str, str]], answer: Mapping[str, Any]) -> frozenset[str]:
    """Words of the answer and of the last message that are not everyday ones."""
    said = str(answer.get("command") or "")
    words = set(_words(said)) if said else set()
    words |= {
        "/".join(word.split("/")[-2:]) for word in words if "/" in word
    }  # zoneinfo/Europe/Rome
    for text in (str(answer.get("response") or ""), messages[-1]["content"] if messages else ""):
        words |= {word for word in _words(text) if re.search(r"[/\d_.@-]", word)}
    return frozenset(words)


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        word = match.group().strip(".:").lower()
        if len(word) > 1 and word not in _COMMON:
            yield word


def _quotes(line: str, said: str) -> bool:
    """Whether a line quotes words of the conversation."""
    for one, two in _QUOTED.findall(line):
        pieces = [piece.strip(" .,!?'") for piece in (one or two).lower().split("…")]
        pieces = [piece for piece in pieces if piece]
        if pieces and all(piece in said for piece in pieces):
            return True
    return False
