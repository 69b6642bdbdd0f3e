"""Does a line lay a disk out as the message says?

    asked(talk)                    # Layout("/dev/sda", (("ef00", 512 << 20), ("8300", None)))
    other_layout(talk, outcome)    # "You asked for EFI and root, and this lays the disk out otherwise"
    laid_out(talk, command)        # the line that does: sgdisk -Z /dev/sda && sgdisk -n 1:0:+512M …

A small model writes the layout that it saw most: a swap partition that nobody wants, two partitions where
one was asked for, none at all. What a message says of them in plain words (`512M efi, 4G swap, rest root`)
is read here, whole or not at all: a size without a partition, or one named twice, and nothing is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.effects.gpt import guid
from llmkit.installer.interpret_types import Outcome
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_plain import is_plain
from llmkit.installer.review_refer import candidates
from llmkit.installer.review_step import kept, kinds, like

ESP_SIZE = 512 << 20  # bytes of an EFI system partition where nobody says how large
_TOKEN = re.compile(
    r"(?P<size>(?<![\w.])\+?\d+(?:[.,]\d+)? ?[gmt](?:i?b|igs?)?\b)|"
    r"(?P<ef00>\b(?:efi|esp|ef00)(?: system)?(?: part(?:ition)?)?\b)|"
    r"(?P<s8200>\b(?:swap|8200)(?: part(?:ition)?)?\b)|"
    r"(?P<s8300>\b(?:root|8300)(?: part(?:ition)?)?\b)|"
    r"(?P<s8302>\b(?:home|8302)(?: part(?:ition)?)?\b)|"
    r"(?P<other>\bboot\b|\b(?:ef02|8301|8e00)\b)|"
    r"(?P<gap>[,;:.&\n]|\b(?:and|then|plus|with)\b)"
)
_SINGLE = re.compile(
    r"(?<!that )(?<!this )(?<!the )(?<!which )\b(?:single|lone|one)"
    r"(?: (?:single|big|large|whole|only|linux|root|home|data|ext4))* part(?:ition)?\b(?! table)|"
    r"\bp1 ?= ?(?:all|everything|the whole)\b"
)
_PARTS = re.compile(  # partitions are asked for, in whatever words
    r"\b(?:re)?partition(?:ed|ing)?\b(?! table)|\binstall\b|\bfor (?:linux|the system)\b|\bset ?up\b|"
    r"\bla(?:y|id) (?:\S+ )?out\b|\bcut (?:it )?up\b|\bprepare\b"
)
_MORE = frozenset(  # words of layouts that `is_plain` does not know
    "rest remainder remaining behind becomes become plus only just big large bigger smaller larger biggest "
    "smallest largest little lone latter former gives give each one's its it's type ef00 8200 8300 8302 via "
    "sgdisk".split()
)
_RANKED = re.compile(
    r"\b(?:bigg?er|biggest|large(?:r|st)?|small(?:er|est)?|big|little|latter|former|other)\b"
)
_SAME_AS = (  # in other words
    (re.compile(r"\b(?:everything else|all else|what(?:'s| is) left|whatever (?:is|remains)(?: left)?)"
                r"(?= (?:(?:for|as|to|is|becomes) )?(?:the |a )?(?:root|home))"), "rest"),
    (re.compile(r"\b(root|home)((?: \w+)?) (?:everything else|what(?:'s| is) left)\b"), r"\1\2 rest"),
    (re.compile(r"\bla(?:y|id) (?:(?:it|that|this|\S*d[a-z]|\S*nvme\S+) )?out\b"), "partition"),
    (re.compile(r"\b(?:cut|split|slice|carve) (?:(?:it|that|this) )?up\b"), "partition"),
    (re.compile(r"\b(?:it's|it is|that is) (?:empty|blank)(?:,? (?:so|and))?\b"), " "),
    (re.compile(r"\bfor (?:my|our) (?:home|own) files\b"), "for home"),
)  # fmt: skip
_LAYS_OUT = re.compile(r"\b(?:sgdisk|gdisk|parted|sfdisk|fdisk|wipefs)\b")
_UNITS = {"m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True, slots=True)
class Layout:
    """A disk and its partitions in their order: type code, size in bytes (None: what is left).
    `said`: the message names them; else they are what is usual."""

    disk: str
    parts: tuple[tuple[str, int | None], ...]
    said: bool


def asked(talk: Talk) -> Layout | None:
    """The layout that the last message asks for; None where it says none, or not surely."""
    state = talk.state
    text = _plainly(kept(talk.said))
    plain = say.folded(text)
    if kinds(text) or say.only_formats(text):
        return None
    if not (say.destroys(wish.requests(text)) or _PARTS.search(plain)):
        return None
    refs = talk.meant(text)
    disks = refs.disks or talk.topic
    if not refs and _RANKED.search(plain) or not refs.sure or len(disks) != 1:
        return None
    if not is_plain(_plainly(talk.said), disks | refs.nodes, state, _MORE):
        return None
    (disk,) = disks
    if disk not in {one.path for one in candidates(state)}:
        return None
    for name in (disk, disk.removeprefix("/dev/")):
        plain = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w])", " ", plain)
    parts = _parts(plain)
    return None if parts is None else Layout(disk, parts or _usual(talk), bool(parts))


def _plainly(text: str) -> str:
    """A message with other words for what is common in layouts."""
    text = say.folded(text)
    for pattern, words in _SAME_AS:
        text = pattern.sub(words, text)
    return text


def _usual(talk: Talk) -> tuple[tuple[str, int | None], ...]:
    return (
        (("ef00", ESP_SIZE), ("8300", None))
        if talk.state.boot_mode == "uefi"
        else (("8300", None),)
    )


def _parts(plain: str) -> tuple[tuple[str, int | None], ...] | None:
    """The partitions of a text; () where it names none, None where it cannot be told."""
    marks: list[tuple[str, str]] = []
    for found in _TOKEN.finditer(plain):
        kind = found.lastgroup or ""
        if kind == "other":
            return None
        marks.append((kind.removeprefix("s") if kind != "size" else kind, found[0]))
    roles = [kind for kind, _ in marks if kind not in ("size", "gap")]
    if _SINGLE.search(plain):
        sized = any(kind == "size" for kind, _ in marks)
        codes = [word for kind, word in marks if kind == word] or roles or ["8300"]
        return None if sized or len(codes) != 1 or codes[0] == "8200" else ((codes[0], None),)
    if len(set(roles)) != len(roles):
        return None
    sizes: dict[int, int] = {}  # place of a role → its size
    used: set[int] = set()
    for place, (kind, _) in enumerate(marks):
        if kind in ("size", "gap"):
            continue
        for near in (place - 1, place + 1):
            if 0 <= near < len(marks) and marks[near][0] == "size" and near not in used:
                used.add(near)
                sizes[place] = _bytes(marks[near][1])
                break
    if any(kind == "size" and place not in used for place, (kind, _) in enumerate(marks)):
        return None
    parts = [
        (kind, sizes.get(place, ESP_SIZE if kind == "ef00" else None))
        for place, (kind, _) in enumerate(marks)
        if kind not in ("size", "gap")
    ]
    rest = [part for part in parts if part[1] is None]
    if parts and (len(rest) != 1 or rest[0][0] == "8200" or "8300" not in roles):
        return None
    return tuple(sorted(parts, key=lambda part: part[1] is None))


def _bytes(size: str) -> int:
    found = re.search(r"(\d+(?:[.,]\d+)?) ?([gmt])", size)
    assert found is not None
    return int(float(found[1].replace(",", ".")) * _UNITS[found[2]])


def other_layout(talk: Talk, outcome: Outcome) -> str:
    """What is wrong with the partitions that a line makes on a whole disk; "" where nothing is."""
    tables = {event.device for event in outcome.events if event.kind in ("table", "unpartition")}
    if not tables:
        return ""
    wanted = asked(talk)
    if wanted is None or tables != {wanted.disk}:
        return ""
    made = next(disk for disk in outcome.state.disks if disk.path == wanted.disk)
    if not made.partitions:
        return "You asked for partitions, and this makes none" if _wants_parts(talk, wanted) else ""
    if not wanted.said or talk.state.boot_mode != "uefi":
        return ""
    fits = len(made.partitions) == len(wanted.parts) and all(
        part.type == guid(code) and (size is None or like(size, part.size))
        for part, (code, size) in zip(made.partitions, wanted.parts, strict=True)
    )
    told = {"ef00": "EFI", "8200": "swap", "8300": "root", "8302": "home"}
    names = [told[code] for code, _ in wanted.parts]
    what = "one partition" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return "" if fits else f"You asked for {what}, and this lays the disk out otherwise"


def _wants_parts(talk: Talk, wanted: Layout) -> bool:
    plain = say.folded(wish.requests(_plainly(kept(talk.said))))
    return wanted.said or _PARTS.search(plain) is not None


def laid_out(talk: Talk, command: str) -> str:
    """The line that empties a disk and lays it out as the message says, near one that has to do with that;
    "" where it is not known."""
    wanted = asked(talk) if _LAYS_OUT.search(command) else None
    if wanted is None or not _wants_parts(talk, wanted):
        return ""
    if talk.state.boot_mode != "uefi":
        alone = wanted.parts == (("8300", None),)
        line = f"parted -s {wanted.disk} mklabel msdos mkpart primary 1MiB 100% set 1 boot on"
        return line if alone else ""
    made = " ".join(
        f"-n {number}:0:{'0' if size is None else _sized(size)} -t {number}:{code}"
        for number, (code, size) in enumerate(wanted.parts, 1)
    )
    return f"sgdisk -Z {wanted.disk} && sgdisk {made} {wanted.disk}"


def _sized(size: int) -> str:
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M")):
        if size % unit == 0:
            return f"+{size // unit}{letter}"
    return f"+{size >> 10}K"
