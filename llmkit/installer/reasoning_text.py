"""Why a text is the right answer, and no command: what kind of text it is.

    answer_of(state, messages, "Which one: /dev/sda (500G) or /dev/sdb (1T)?", devices, wanted).kind

The kinds: choose (several devices could be meant), absent (what is named is not there), danger (it
would destroy), early (something must come first), detail (a name or number is missing), propose (a
plan that waits for a yes), refused (the person says no), explain (a question, answered).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmkit.installer.guard import check_command
from llmkit.installer.reasoning_ask import Ask, cleaned
from llmkit.installer.reasoning_check import absent
from llmkit.installer.reasoning_devices import Device, Devices
from llmkit.installer.state import SystemState

_CONSENT = re.compile(
    r"(?<!what )(?:shall|should|may) i|do you agree|do you want|would you like|all right\?|is that ok|"
    r"is that (?:all right|right|what you want)|please confirm|yes or no|say (?:yes|so|the word)|"
    r"do you really want|confirm\b|tell me when|and i (?:do it|mount|partition)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"(?:no\b(?! [a-z]+ (?:was|is) )|i won'?t|i don'?t|i do not|i can'?t|stop\b|that would|that deletes|"
    r"that breaks|that is the|better not|please don'?t|never)",
    re.IGNORECASE,
)
_EARLY = re.compile(r"(?:not yet|first )", re.IGNORECASE)
_HARM = re.compile(
    r"\b(?:destroy|delet|eras|wip|los[et]|lost|overwrit|break|breaks|harm|danger|fraud|unread|root could|"
    r"everybody|anybody|hang|fork bomb|cost you)\w*",
    re.IGNORECASE,
)
_TOPICS = (
    ("firmware", r"\b(?:u?efi|bios|firmware|secure boot|boot order|nvram|csm)\b"),
    ("loader", r"\b(?:grub|boot ?loader|systemd-boot|bootctl|start menu|mbr)\b"),
    ("network", r"\b(?:network|internet|wi-?fi|wireless|offline|online|connection|ssh)\b"),
    ("users", r"\b(?:users?|account|password|sudo|root|login|log in|admin\w*|wheel)\b"),
    ("hostname", r"\b(?:host ?name|name of (?:the|this) (?:computer|machine|pc))\b"),
    ("timezone", r"\b(?:time ?zone|clock|ntp|utc|zone)\b"),
    ("locale", r"\b(?:language|locale|keyboard|keymap|layout)\b"),
    ("fstab", r"\b(?:fstab|uuids?)\b"),
    ("copy", r"\b(?:copy|copied|rsync|copying)\b"),
    ("mount", r"\b(?:mount\w*|unmount\w*|/mnt)\b"),
    ("filesystem", r"\b(?:ext4|btrfs|xfs|f2fs|fat32|file ?systems?|format\w*|swap)\b"),
    ("partition", r"\b(?:partition\w*|gpt|msdos|esp|label)\b"),
    ("restart", r"\b(?:restart|reboot|shut ?down|power ?off|start[s]?)\b"),
    ("disk", r"\b(?:disks?|drives?|ssd|nvme|usb|stick)\b"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A text answer, understood."""

    kind: str
    quote: str  # its question or first words
    devices: tuple[Device, ...]  # that it names, the live medium left out
    disks: tuple[Device, ...]  # of these
    topic: str
    harm: bool  # data could be lost
    asks: bool  # it ends with a question


def answer_of(
    state: SystemState,
    messages: Sequence[Mapping[str, str]],
    text: str,
    devices: Devices,
    wanted: Ask,
) -> Answer:
    """Tell what kind of text an answer is."""
    said = messages[-1]["content"]
    named = tuple(item for item in devices.named(text) if not item.live)
    if not named:
        named = tuple(item for item in devices.named(said) if not item.live)
    paths = dict.fromkeys(item.disk for item in named if item.disk in devices)
    disks = tuple(devices[path] for path in paths)
    words = cleaned(_question(text) or text.partition(". ")[0], 100)
    low = f"{said} {text}".lower()
    topic = next((name for name, pattern in _TOPICS if re.search(pattern, said.lower())), "")
    topic = topic or next((name for name, pattern in _TOPICS if re.search(pattern, low)), "")
    return Answer(
        kind=_kind(state, said, text, named, disks, wanted),
        quote="" if absent(state, words) else words,
        devices=named,
        disks=disks,
        topic=topic,
        harm=bool(_HARM.search(text)),
        asks=text.rstrip().endswith("?"),
    )


def _kind(
    state: SystemState,
    said: str,
    text: str,
    named: tuple[Device, ...],
    disks: tuple[Device, ...],
    wanted: Ask,
) -> str:
    if wanted.missing and wanted.kind != "question":
        return "absent"
    question = _question(text)
    if wanted.kind == "shell" and not question:
        verdict = check_command(said.removeprefix("$ "), state)
        if verdict.danger in ("destructive", "forbidden") or not verdict.allowed:
            return "danger"
    if len(disks) > 1 and question and re.search(r"\bor\b|which|what exactly", question, re.I):
        return "choose"
    if wanted.kind == "shell" and _HARM.search(text):
        return "danger"
    if _EARLY.match(text) and wanted.kind != "question":
        return "early"
    if _REFUSAL.match(text) and _HARM.search(text) and wanted.kind in ("request", "shell"):
        return "danger"
    if question and _CONSENT.search(question):
        return "propose" if wanted.kind != "refuse" else "refused"
    if wanted.kind == "refuse":
        return "refused"
    if _CONSENT.search(text) and wanted.kind != "question":
        return "propose"
    if question and wanted.kind != "question":
        return "detail"
    return "explain"


def _question(text: str) -> str:
    """The last question of a text."""
    found = re.findall(r"[^.?!]*(?:[.?!](?=\S)[^.?!]*)*\?(?=\s|$)", text)
    return found[-1].strip() if found else ""
