"""What a person wants with their last message: how it is said, and which device it comes down to.

ask(state, messages, answer, devices).kind    # agree, refuse, question, shell or request
ask(...).ref.way                              # named, bigger, other, before, only, …
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmkit.installer.reasoning_check import absent
from llmkit.installer.reasoning_devices import Device, Devices
from llmkit.installer.state import SystemState

_YES = re.compile(
    r"(?:(?:so|well|hm+|oh|ah|haha?|phew|fine|great|good|alright|all right|ok|okay)[ ,.!]+)*"
    r"(?:y|yes|yep|yeah|yup|ya|sure|ok|okay|k|go ahead|go on|go|do it|do that|do so|please do|confirm\w*|"
    r"i confirm|i agree|agreed|agree|affirmative|absolutely|right|correct|exactly|fine|perfect|"
    r"sounds (?:good|right)|of course|certainly|by all means|that'?s (?:right|fine|it|what i mean\w*)|"
    r"all right|alright|proceed|continue|let'?s (?:go|do it|begin|start)|with pleasure|gladly|"
    r"make it so|as you say|you may|why not|definitely)\b",
    re.IGNORECASE,
)
_NO = re.compile(
    r"(?:(?:oh|ah|hm+|well|ok|okay)[ ,.!]+)*"
    r"(?:no|nope|nah|n|stop|wait|not|never|don'?t|do not|cancel|leave|forget|rather not|better not|"
    r"absolutely not|hold on|hands off|keep|skip|without)\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"(?:(?:and|but|so|ok|okay|hm+|well|then|um+|eh)[ ,]+)*"
    r"(?:what|waht|wat|why|who|whose|(?:should|would|could|has|have)n'?t|won'?t|don'?t (?:i|we|you)|"
    r"where|when|which|how|is|isn'?t|are|aren'?t|was|were|do|does|dose|did|"
    r"didn'?t|can|could|should|shall|must|may|might|will|would|has|have|any|whats|what's)\b",
    re.IGNORECASE,
)
_PROGRAM = re.compile(
    r"mkfs(?:\.\w+)?|mkswap|sgdisk|sfdisk|fdisk|parted|wipefs|blkid|lsblk|useradd|userdel|usermod|rsync|"
    r"chmod|chown|arch-chroot|systemctl|grub-\w+|bootctl|genfstab|findmnt|swapon|swapoff|timedatectl|"
    r"hostnamectl|localectl|nmcli|tune2fs|e2label|efibootmgr|rm|dd|mount|umount|ls|cat|mkdir|shred|curl|"
    r"wget|ip|ping|cp|mv|find|df|free|bash|sh"
)
_ORDER = ("first", "second", "third", "fourth")
_IT = re.compile(
    r"\b(?:it|that|this|them|those|these|same|one)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Ref:
    """Which device an answer is about, and by what the message leads to it."""

    way: str = ""
    word: str = ""  # of the message
    device: Device | None = None
    rivals: tuple[Device, ...] = ()  # other disks that it could have been


@dataclass(frozen=True, slots=True)
class Ask:
    """The last message, understood."""

    kind: str
    quote: str  # its words, "" when they cannot be repeated
    proposal: str = ""  # what was proposed or asked before it, "" when nothing was
    last: str = ""  # the command that was run before it
    ref: Ref = field(default_factory=Ref)
    missing: bool = False  # it names a device that is not there
    values: tuple[str, ...] = ()  # names that the message gives and the answer uses
    before: tuple[str, ...] = ()  # names that the answer takes from earlier in the conversation


def cleaned(text: str, most: int = 70) -> str:
    """Words that may stand in quotation marks: one line, cut at a word, no marks of any format."""
    text = " ".join(text.split()).replace('"', "'")
    text = re.split(r"[<>`|\\]", text)[0].strip() if re.search(r"[<>`|\\]", text) else text
    if len(text) > most:
        text = text[:most].rsplit(" ", 1)[0].rstrip(" ,.;:") + " …"
    return text.rstrip()


def ask(
    state: SystemState,
    messages: Sequence[Mapping[str, str]],
    answer: Mapping[str, Any],
    devices: Devices,
) -> Ask:
    """Understand the last message of a conversation, given the right answer to it."""
    said = messages[-1]["content"]
    earlier = messages[-2]["content"] if len(messages) > 1 else ""
    ran = earlier.startswith("$ ")
    asked = "" if ran or not earlier else _asked(earlier)
    missing = bool(absent(state, said))
    body = str(answer.get("command") or answer.get("response") or "")

    def quotable(text: str, most: int) -> str:
        text = cleaned(text, most)
        for name in sorted(absent(state, text), key=len, reverse=True):
            text = text.replace(name, "…")
        return "" if absent(state, text) or not re.search(r"\w", text) else text

    kind = _kind(said, bool(asked))
    values, before = _values(body, messages) if answer["type"] == "command" else ((), ())
    return Ask(
        kind=kind,
        quote=quotable(said, 80),
        proposal=quotable(asked, 120),
        last=quotable(earlier[2:].partition("\n")[0], 60) if ran else "",
        ref=_ref(said, messages, body, devices),
        missing=missing,
        values=values,
        before=before,
    )


def _asked(text: str) -> str:
    """The question or proposal in an assistant's text: its last question, with the sentence before
    when the question alone says nothing ("Shall I?")."""
    sentences = re.findall(
        r"[^.?!]+(?:[.?!]+(?=\s|$)|$)|\S+", re.sub(r"(\w)\.(\w)", "\\1\x00\\2", text)
    )
    sentences = [s.replace("\x00", ".").strip() for s in sentences if s.strip()]
    for place in range(len(sentences) - 1, -1, -1):
        if sentences[place].endswith("?") or re.search(
            r"please confirm|say (?:yes|the word)|yes or no", sentences[place], re.IGNORECASE
        ):
            short = len(sentences[place].split()) < 7
            return " ".join(sentences[place - 1 if short and place else place : place + 1])
    return ""


def _kind(said: str, asked: bool) -> str:
    text = said.strip().strip("\"'")
    if _is_shell(text):
        return "shell"
    if asked and _NO.match(text):
        return "refuse"
    if asked and _YES.match(text):
        return "agree"
    if (
        text.endswith("?")
        or _QUESTION.match(text)
        or re.search(r"[,.:] (?:what|which|how|why) ", text)
    ):
        return "question"
    if _NO.match(text):
        return "refuse"
    return "request"


def _is_shell(text: str) -> bool:
    """Whether a message is a shell line, and not words that begin like one ("mount it")."""
    first, *rest = text.removeprefix("$ ").removeprefix("sudo ").split() or [""]
    if not _PROGRAM.fullmatch(first):
        return False
    return not rest or any(re.match(r"-|/|\w+=", word) for word in rest)


def _ref(said: str, messages: Sequence[Mapping[str, str]], body: str, devices: Devices) -> Ref:
    """The device that the answer is about, and how the message points at it."""
    about = [item for item in devices.named(body) if not item.live]
    if not about:
        about = [disk for disk in devices.disks if disk.path in body]
    if not about:
        return Ref()
    first = about[0]
    disk = devices.get(first.disk) or first
    rivals = tuple(devices.others([disk.path]))
    low = said.lower()
    named = [item for item in devices.named(said) if item.disk == disk.path]
    if named:
        return Ref("named", named[0].path.removeprefix("/dev/"), named[0], rivals)
    for way, pattern in (
        ("bigger", r"\b(?:bigg?er|biggest|larger|largest|big|large|more space|roomier|huge)\b"),
        ("smaller", r"\b(?:small(?:er|est)?|little|tiny|less space)\b"),
        ("other", r"\bother\b"),
        ("place", rf"\b(?:{'|'.join(_ORDER)}|last|upper|top|lower|bottom)\b"),
    ):
        found = re.search(pattern, low)
        if found and rivals and _fits(way, found.group(), disk, rivals, devices):
            return Ref(way, found.group(), disk, rivals)
    if rivals and disk.size.lower() in low:
        return Ref("size", disk.size, disk, rivals)
    words = [w for w in disk.model.lower().split() if len(w) > 2 and not w.isdecimal()]
    spoken = next((w for w in words if re.search(rf"\b{re.escape(w)}\b", low)), "")
    if rivals and spoken and not any(spoken in r.model.lower() for r in rivals):
        return Ref("model", spoken, disk, rivals)
    kinds = {"nvme": "nvme", "usb": "usb", "virtio": "virtual", "mmc": "emmc", "sata": "sata"}
    word = kinds.get(disk.kind, "")
    if rivals and word and word in low and all(r.kind != disk.kind for r in rivals):
        return Ref("kind", word, disk, rivals)
    past = " ".join(message["content"] for message in messages[:-1])
    pronoun = _IT.search(low)
    if any(item.disk == disk.path for item in devices.named(past)) or disk.path in past:
        return Ref("before", pronoun.group() if pronoun else "", first, rivals)
    if not rivals:
        return Ref("only", "", first)
    if any(item.disk == disk.path for item in devices.below):
        return Ref("mounted", "", first, rivals)
    return Ref("", "", first, rivals)


def _fits(way: str, word: str, disk: Device, rivals: tuple[Device, ...], devices: Devices) -> bool:
    """Whether a word of comparison is true of this disk."""
    size = {item.name: item.size for item in devices.state.disks}
    own = size.get(disk.path.removeprefix("/dev/"), 0)
    rest = [size.get(rival.path.removeprefix("/dev/"), 0) for rival in rivals]
    if way == "bigger":
        return all(own > other for other in rest)
    if way == "smaller":
        return all(own < other for other in rest)
    if way == "place":
        paths = [item.path for item in devices.disks]
        place = paths.index(disk.path)
        if word in _ORDER:
            return _ORDER.index(word) == place
        return place == (0 if word in ("upper", "top") else len(paths) - 1)
    return True


def _values(
    command: str, messages: Sequence[Mapping[str, str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names in a command (hosts, users, zones, sizes) that the message gives, and those that an
    earlier turn gave."""
    words = [
        word for word in dict.fromkeys(re.findall(r"[A-Za-z][\w./@-]*\w", command))
        if not word.startswith(("mnt", "dev", "usr/share/zoneinfo"))
    ]  # fmt: skip
    words += re.findall(r"zoneinfo/([\w/+-]+)", command)
    said = messages[-1]["content"]
    past = " ".join(
        message["content"] for message in messages[:-1] if not message["content"].startswith("$ ")
    )

    def there(word: str, text: str) -> bool:
        return (
            re.search(rf"(?<![\w/-]){re.escape(word)}(?![\w/-])", text, re.IGNORECASE) is not None
        )

    given = tuple(word for word in words if there(word, said))
    known = tuple(word for word in words if word not in given and there(word, past))
    return given, known
