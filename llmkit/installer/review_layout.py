"""Does a line lay a disk out as the message says?

    asked(talk)                             # Layout("/dev/sda", (("ef00", 512 << 20), ("8300", None)))
    other_layout(talk, outcome, command)    # "You asked for EFI and root, and this lays it out otherwise"
    laid_out(talk, command)                 # sgdisk -Z /dev/sda && sgdisk -n 1:0:+512M …

A small model writes the layout that it saw most: a swap partition that nobody wants, two partitions where
one was asked for, none at all. What a message says of them in plain words (`512M efi, 4G swap, rest root`)
is read here, whole or not at all: a size without a partition, or one named twice, and nothing is known.

A line of the review's own erases a disk, so it comes only in the place of one that makes a new table, on
the same disk or on one where the message names the other by its path or model, never where a partition
that is there may be meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.effects.gpt import guid
from llmkit.installer.guard_names import disks_of
from llmkit.installer.interpret_types import Outcome
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_plain import is_plain
from llmkit.installer.review_refer import called, candidates, named
from llmkit.installer.review_step import kept, kinds, like
from llmkit.installer.state import Disk

ESP_SIZE = 512 << 20  # bytes of an EFI system partition where nobody says how large
_TOKEN = re.compile(
    r"(?P<size>(?<![\w.])\+?\d+(?:[.,]\d+)? ?[gmt](?:i?b|igs?)?\b|\b(?:the )?(?:rest|remainder)\b)|"
    r"(?P<ef00>\b(?:efi|esp|ef00)(?: system)?(?: part(?:ition)?)?\b)|"
    r"(?P<s8200>\b(?:swap|8200)(?: part(?:ition)?)?\b)|"
    r"(?P<s8300>\b(?:root|8300)(?: part(?:ition)?)?\b)|"
    r"(?P<s8302>\b(?:home|8302)(?: part(?:ition)?)?\b)|"
    r"(?P<other>\bboot\b|\b(?:ef02|8301|8e00)\b)|"
    r"(?P<gap>[,;:.&\n+]|\b(?:and|then|plus|with)\b)"
)
_SINGLE = re.compile(
    r"(?<!that )(?<!this )(?<!the )(?<!which )\b(?:single|lone|one)"
    r"(?: (?:single|big|large|whole|only|linux|root|home|data|ext4))* part(?:ition)?\b(?! table)|"
    r"\bp1 ?= ?(?:all|everything|the whole)\b"
)
_PARTS = re.compile(  # a disk is to be laid out, in whatever words
    r"\b(?:re)?partition(?:ed|ing)?\b(?! table| layout)|\binstall\b|\bfor (?:linux|the system)\b|"
    r"\bset ?up\b|\bprepare\b"
)
_OTHER_WISH = re.compile(  # a partition that is there or comes to others, a table alone, a description
    r"\b(?:first|second|third|fourth|\d(?:st|nd|rd|th)|last|a|new|another|extra|more|existing|old|"
    r"this|that|which|whose|every|each|my|your|its) part(?:ition)?s?\b|"
    r"\bpart(?:ition)?s? (?:\d|#|no\b|number|one|two|three|layout|table|of)|"
    r"\b(?:layout of|as is|rest of|is on|are on|would you|could you|can you|free space|"
    r"mbr|msdos|dos|gpt|table|label|from|start|end|last|first|second|third|[123](?:st|nd|rd)|number|as|like|"
    r"free|to this)\b|#\d|%|\d,\d{3}|"
    r"\b(?:on|use|prepare|take|of|to|into) (?:a )?(?:single|lone|one)\b[^,.;]*\bpart(?:ition)?\b|"
    r"\b(?:single|lone|one)\b[^,.;]*\bpart(?:ition)? (?:of|on|to)\b"
)
_MORE = frozenset(  # words of layouts that `is_plain` does not know
    "rest remainder remaining behind becomes become plus only just big large bigger smaller larger biggest "
    "smallest largest little lone p1 latter former gives give one's its it's type ef00 8200 8300 8302 via "
    "sgdisk mib gib mb gb".split()
)
_SAME_AS = (  # in other words
    (re.compile(r"\b(?:everything else|all else|what(?:'s| is) left|whatever (?:is|remains)(?: left)?)"
                r"(?= (?:(?:for|as|to|is|becomes) )?(?:the |a )?(?:root|home))"), "rest"),
    (re.compile(r"\b(root|home)((?: \w+)?) (?:everything else|(?:for )?what(?:'s| is) left)\b"),
     r"\1\2 rest"),
    (re.compile(r"\bla(?:y|id) (?:(?:it|that|this|\S*d[a-z]|\S*nvme\S+) )?out\b"), "partition"),
    (re.compile(r"\b(?:cut|split|slice|carve) (?:(?:it|that|this) )?up\b"), "partition"),
    (re.compile(r"\b(?:it's|it is|that is) (?:empty|blank)(?:,? (?:so|and))?\b"), " "),
    (re.compile(r"\bfor (?:my|our) (?:home|own) files\b"), " "),
)  # fmt: skip
_RANKED = re.compile(
    r"\b(?:bigg?er|biggest|large(?:r|st)?|small(?:er|est)?|big|little|latter|former|other)\b"
)
_WHOLE = re.compile(
    r"\b(?:wip|eras|clear|zap|clean|format|whole|entire|everything|repartition|anew|overwrit|nuk)"
)
_NEW_TABLE = re.compile(  # the line makes a table, or a first partition
    r"\bsgdisk\b[^&;|]* (?:-Z|--zap-all|-o|-Zo|--?n[ew]* 1:)|\bmklabel\b"
)
_EMPTIES = re.compile(r"sgdisk (?:-Z|--zap-all|-o|-Zo) (/dev/\S+)")
_SWAP = re.compile(r"sw?ap|82(?:00)?\b|hibern|suspend|paging|memory|\bram\b")
_NUMBER = re.compile(r"(?<![\w.])\+?(\d+(?:[.,]\d+)?) ?([gmt])?")
_NOT_COUNTED = re.compile(  # a size may be meant that is not in figures
    r"%|\b(?:both|each|every|two|three|four|five|ten|twenty|fifty|hundred|twice|same|equal\w*|half|third|"
    r"quarter|gigs?|megs?|giga\w*|mega\w*|small\w*|little|tiny|minim\w*|split)\b"
)
AND = re.compile(r"\s*&&\s*")
_NO_DISK = re.compile(  # sgdisk does nothing then, and says nothing
    r"sgdisk(?=.* -(?:[nNtZozdc]\b|-\w+-all|-new|-typecode|-delete))(?: (?!/dev/)\S+)+"
)
_CODE = re.compile(r"\b8[23]0\d\b")
_UNITS = {"m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_FORMS = (re.compile(r"(?:RS)*R?"), re.compile(r"(?:SR)*R?"))  # of roles and sizes in a piece

Parts = tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A disk and its partitions in their order: type code, size in bytes (None: what is left).
    `said`: the message names them; else they are what is usual. `sized`: codes whose size was said."""

    disk: str
    parts: Parts
    said: bool
    sized: frozenset[str] = frozenset()


def asked(talk: Talk) -> Layout | None:
    """The layout that the last message asks for; None where it says none, or not surely."""
    state = talk.state
    text = _plainly(kept(talk.said))
    wants_parts = _PARTS.search(text) is not None
    single = _SINGLE.search(text) is not None
    if kinds(text) or _OTHER_WISH.search(text) or single and "install" in text:
        return None
    if say.only_formats(text) and not wants_parts:
        return None
    if not (wants_parts or say.destroys(wish.requests(text))):
        return None
    refs = talk.meant(text)
    disks = refs.disks or talk.topic
    if not refs and _RANKED.search(text) or not refs.sure or len(disks) != 1:
        return None
    if not is_plain(_plainly(talk.said), disks | refs.nodes, state, _MORE):
        return None
    (path,) = disks
    disk = next((one for one in candidates(state) if one.path == path), None)
    if disk is None or refs.nodes - {path}:
        return None
    for name in (path, disk.name):
        text = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w])", " ", text)
    found = _parts(text)
    if found is None or any(char.isdigit() for char in _TOKEN.sub(" ", _SINGLE.sub(" ", text))):
        return None  # a number that nothing was made of
    if any(size and not 32 << 20 <= size <= 0.9 * disk.size for _, size in found):
        return None
    used = disk.partitions or disk.signature is not None
    if used and not _WHOLE.search(text):
        return None
    sized = frozenset(code for code, size in found if size is not None)
    uefi = state.boot_mode == "uefi"
    if not found:
        usual: Parts = (("ef00", ESP_SIZE), ("8300", None)) if uefi else (("8300", None),)
        return Layout(path, usual, said=False)
    if uefi and not single and found[0][0] != "ef00":
        return None  # nothing would start from it
    parts = tuple(
        (code, ESP_SIZE if code == "ef00" and size is None else size) for code, size in found
    )
    rest = [code for code, size in parts if size is None]
    if len(rest) != 1 or parts[-1][1] is not None or rest[0] in ("8200", "ef00"):
        return None
    return Layout(path, parts, said=True, sized=sized)


def _plainly(text: str) -> str:
    """A message, folded, with other words for what is common in layouts."""
    text = say.folded(text)
    for pattern, words in _SAME_AS:
        text = pattern.sub(words, text)
    return text


def _parts(plain: str) -> Parts | None:
    """The partitions of a text, in its order, with the sizes that it says; () where it names none, None
    where it cannot be told."""
    if _SINGLE.search(plain):
        return _single(plain)
    parts: list[tuple[str, int | None]] = []
    piece: list[tuple[str, str]] = []
    marks = [(found.lastgroup or "", found[0]) for found in _TOKEN.finditer(plain)]
    for kind, word in [*marks, ("gap", "")]:
        if kind == "other":
            return None
        if kind != "gap":
            piece.append((kind, word))
            continue
        read = _piece(piece)
        if read is None:
            return None
        parts += read
        piece = []
    codes_said = [code for code, _ in parts]
    if len(set(codes_said)) != len(codes_said) or parts and "8300" not in codes_said:
        return None
    return tuple(parts)


def _single(plain: str) -> Parts | None:
    """The one partition of a text; None where it speaks of others, too."""
    found = _SINGLE.search(plain)
    assert found is not None
    left = plain[: found.start()] + " " + plain[found.end() :]
    codes = set(_CODE.findall(left))
    others = any(mark.lastgroup != "gap" for mark in _TOKEN.finditer(_CODE.sub(" ", left)))
    if others or len(codes) > 1 or "8200" in codes:
        return None
    usual = "8302" if re.search(r"\bhome\b", found[0]) else "8300"
    return ((codes.pop() if codes else usual, None),)


def _piece(marks: list[tuple[str, str]]) -> list[tuple[str, int | None]] | None:
    """What stands between two commas: partitions, each beside its size; None where that is not clear."""
    shape = "".join("S" if kind == "size" else "R" for kind, _ in marks)
    before, after = (form.fullmatch(shape) is not None for form in _FORMS)
    if not (before or after):
        return None
    found: list[tuple[str, int | None]] = []
    for place, (kind, _) in enumerate(marks):
        if kind == "size":
            continue
        near = place + 1 if before else place - 1
        sized = 0 <= near < len(marks) and marks[near][0] == "size"
        found.append((kind.removeprefix("s"), _bytes(marks[near][1]) if sized else None))
    return found


def _bytes(size: str) -> int | None:
    """A size in bytes; None for the rest."""
    found = re.search(r"(\d+(?:[.,]\d+)?) ?([gmt])", size)
    return int(float(found[1].replace(",", ".")) * _UNITS[found[2]]) if found else None


def other_layout(talk: Talk, outcome: Outcome, command: str) -> str:
    """What is wrong with the partitions that a line makes on a whole disk; "" where nothing is."""
    state = talk.state
    nodes = {event.device for event in outcome.events if event.kind in ("table", "unpartition")}
    tables = {path for node in nodes for path in disks_of(state, node)}
    empties = _EMPTIES.fullmatch(command)  # of a blank disk: nothing happens
    tables |= {empties[1]} if empties else set()
    if any(_NO_DISK.fullmatch(part) for part in AND.split(command)):
        return "A part of this names no disk"
    if len(tables) != 1:
        return ""
    (path,) = tables
    wanted = asked(talk)
    made = next((disk for disk in outcome.state.disks if disk.path == path), None)
    if made is None:
        return ""
    before = next(disk for disk in state.disks if disk.path == path)
    if _unasked_swap(talk, before, made):
        return "Nobody spoke of swap, and this makes a swap partition"
    if _unsaid_size(talk, before, made):
        return "Nobody said that size, and this leaves space unused"
    if wanted is None or path != wanted.disk:
        return ""
    if not made.partitions:
        none = empties is not None and _wants_parts(talk, wanted)
        return "You asked for partitions, and this makes none" if none else ""
    if not wanted.said or state.boot_mode != "uefi":
        return ""
    fits = len(made.partitions) == len(wanted.parts) and all(
        _is(part.type, code) and (code not in wanted.sized or size is None or like(size, part.size))
        for part, (code, size) in zip(made.partitions, wanted.parts, strict=True)
    )
    told = {"ef00": "EFI", "8200": "swap", "8300": "root", "8302": "home"}
    names = [told[code] for code, _ in wanted.parts]
    what = "one partition" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    if not fits:
        return f"You asked for {what}, and this lays the disk out otherwise"
    return f"You asked for {what}, and this leaves space unused" if _leaves_space(made) else ""


def _leaves_space(disk: Disk) -> bool:
    """Whether more than a tenth of a disk is in no partition."""
    return disk.size - sum(part.size for part in disk.partitions) > disk.size // 10


def _unasked_swap(talk: Talk, before: Disk, made: Disk) -> bool:
    """Whether a disk gets a swap partition of which nobody has said a word."""
    there, here = (any(p.type == guid("8200") for p in disk.partitions) for disk in (before, made))
    return here and not there and _SWAP.search(_spoken(talk)) is None


def _unsaid_size(talk: Talk, before: Disk, made: Disk) -> bool:
    """Whether a disk's last partition has a size that nobody said (or that was said of another one),
    and leaves a good part of the disk unused."""
    there = {(part.start, part.size) for part in before.partitions}
    if not made.partitions or not _leaves_space(made):
        return False
    last = made.partitions[-1]
    size = last.size
    if (last.start, size) in there:
        return False
    words = _spoken(talk)
    if _NOT_COUNTED.search(words):
        return False
    said = 0
    for number, unit in _NUMBER.findall(words):
        value = float(number.replace(",", "."))
        units = [_UNITS[unit]] if unit else list(_UNITS.values())
        said += any(like(value * one, size) for one in units)
    return said < sum(like(part.size, size) for part in made.partitions)


def _spoken(talk: Talk) -> str:
    """All that both have said, and the lines that were run, folded."""
    words = (talk.said, *(f"{turn.text} {turn.ran}" for turn in talk.turns))
    return say.folded("\n".join(words))


def _wants_parts(talk: Talk, wanted: Layout) -> bool:
    """Whether the message wishes for partitions, in its own layout or in the usual one."""
    return wanted.said or _PARTS.search(wish.requests(_plainly(kept(talk.said)))) is not None


def _is(type_: str, code: str) -> bool:
    """Whether a partition's type is that of a code; those for Linux count as one."""
    if code in ("ef00", "8200"):
        return type_ == guid(code)
    return type_ not in (guid("ef00"), guid("8200"), guid("ef02"))


def laid_out(talk: Talk, command: str) -> str:
    """The line that empties a disk and lays it out as the message says, near one that makes a new table;
    "" where it is not known."""
    state = talk.state
    if not _NEW_TABLE.search(command):
        return ""
    wanted = asked(talk)
    used = {path for node in named(command, state) for path in disks_of(state, node)}
    if wanted is None or used != {wanted.disk} and called(talk.said, state) != {wanted.disk}:
        return ""
    if not _wants_parts(talk, wanted):
        return ""
    if state.boot_mode != "uefi":
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
