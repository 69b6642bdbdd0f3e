"""Which devices a text refers to: by name, model, size, rank or kind.

    >>> refer("wipe the bigger one", state).disks
    {'/dev/nvme0n1'}

`named` are nodes (disks, partitions, mappings) that stand in the text; the other ways lead to disks.
Nothing is guessed: a way that fits several disks leaves them all in `disks`, with `sure` False.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from llmkit.installer.effects.gpt import ESP
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_words import folded, near, only_formats, words
from llmkit.installer.state import Disk, SystemState

_SIZE = re.compile(
    r"(?<![\w.+:])(\d+(?:[.,]\d+)?)[ -]?(t|g|m|tb|gb|mb|tib|gib|mib|terabytes?|tera|gigabytes?|gigs?|giga|"
    r"megabytes?)?(?![\w])"
)
_NOUN = (
    r"(?:one|disks?|drives?|dirve|disc|dsk|hdd|ssd|hard|harddisk|harddrive|device|storage|usb|nvme|stick|"
    r"sata|card)"
)
_GENERIC = frozenset(
    "disk drive ssd hdd nvme sata usb flash card stick pro plus the evo series gen virtual hard one "
    "model storage red blue black green gold ultra extreme portable internal external mini mmc virtio "
    "device micro".split()
)
_ALL = re.compile(
    r"\b(?:both|all (?:of them|the )?(?:disks|drives)|every (?:disk|drive)|each (?:disk|drive)|"
    r"all of them|(?<!of )the two|all three|everything on all)\b"
)
_BIG = re.compile(
    rf"\b(?:bigg?er|bigg?est|biger|bigest|larg?er|largest|lagrer|greater|huge|roomier|"
    rf"(?:big|large) (?:\w+ )?{_NOUN}|the (?:big|large)\b(?! {_NOUN})|(?:most|more) (?:space|room))\b"
)
_SMALL = re.compile(
    rf"\b(?:smaller|smallest|smaler|littler|tiny|tiniest|(?:small|little) (?:\w+ )?{_NOUN}|"
    rf"the (?:small|little)\b(?! {_NOUN})|least (?:space|room)|less (?:space|room))\b"
)
_BIGGER = ("bigger", "biggest", "larger", "largest", "greater", "roomier")
_SMALLER = ("smaller", "smallest", "littler")
_DISK = re.compile(r"\b(?:disks?|drives?|ssd|hdd|stick)\b")
_EMPTY = re.compile(rf"\b(?:empty|blank|unused|vacant)(?:,? (?:\w+ )?{_NOUN}\b|\W*$|[,.;])")
_FULL = re.compile(rf"\b(?:full|used|occupied) {_NOUN}\b|\bone (?:in use|with data)\b")
_RANKS = "first|1st|top|second|2nd|third|3rd|fourth|last|bottom"
_RANK = re.compile(
    rf"\b({_RANKS})(?: of (?:them|those|these|the (?:two|disks|drives))| (?:\w+ )?{_NOUN})\b|"
    r"\b(?:disk|drive|number|no\.?|#) ?([1-4]|one|two|three)(?!\w|\.\d)|"
    rf"(?:^|\b(?:the|its|it's|is) )({_RANKS})(?=\W*$|,| (?:then|please|one|"
    r"(?:in|on) the list|mentioned|listed|you)\b)"
)
_ORDER = dict.fromkeys(("first", "1st", "top"), 0) | dict.fromkeys(("second", "2nd"), 1)
_ORDER |= {"third": 2, "3rd": 2, "fourth": 3, "last": -1, "bottom": -1}
_NUMBERS = {"1": 0, "one": 0, "2": 1, "two": 1, "3": 2, "three": 2, "4": 3, "four": 3}
_OTHER = re.compile(
    rf"\bremaining {_NOUN}\b|"
    rf"\b(?:other|othr|ohter|otehr)(?:,? (?:\w+ )?{_NOUN}\b|,? (?:empty|blank|free|one)\b|\W*$|[,.;!=:]|"
    r" [=:]| (?:and|please|for|instead|then|as|too)\b)"
)
_JOINED = re.compile(r"\b(?:and|both|plus|as well|also|too)\b|&")
_PART = re.compile(
    r"(?<![\w/])(?:p|part(?:ition)?s? ?(?:no\.? ?|number ?|#)?)(\d{1,2})(?![\w.])|"
    r"\b(first|1st|second|2nd|third|3rd|fourth|last) part(?:ition)?\b|"
    r"\bpart(?:ition)? (?:number |no\.? )?(one|two|three|four)\b"
)
EFI = (ESP, "ef")  # types of an EFI system partition: of a GPT, of an msdos table
_KINDS: tuple[tuple[re.Pattern[str], Callable[[Disk], bool]], ...] = (
    (re.compile(r"\b(?:nvme|nvm|nmve|nvem|m\.?2|pcie)\b"), lambda d: d.name.startswith("nvme")),
    (re.compile(r"\b(?:usb|stick|thumb ?drive|pen ?drive|flash drive|external|portable)\b"),
     lambda d: d.transport == "usb"),
    (re.compile(r"\bsata\b"), lambda d: d.transport in ("sata", "ata")),
    (re.compile(r"\b(?:hdd|spinning|rotational|rotating|platter|mechanical|magnetic)\b"),
     lambda d: d.rotational),
    (re.compile(r"\b(?:hard ?(?:disk|drive))\b"), lambda d: d.rotational),
    (re.compile(r"\b(?:ssd|solid state)\b"),
     lambda d: not d.rotational and (d.transport in ("sata", "ata", "nvme") or d.name.startswith("nvme"))),
    (re.compile(r"\b(?:e?mmc|sd ?card|memory card|card)\b"), lambda d: d.name.startswith("mmcblk")),
    (re.compile(r"\b(?:virtio|virtual)\b"), lambda d: d.name.startswith("vd")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refs:
    """What a text refers to. `nodes`: named devices that are there. `disks`: paths of all disks that
    it refers to in any way. `sure`: they are determined; else one of them is meant."""

    nodes: frozenset[str] = frozenset()
    disks: frozenset[str] = frozenset()
    sure: bool = True
    every: bool = False  # it says that all disks are meant

    def __bool__(self) -> bool:
        return bool(self.disks)


NOTHING = Refs()


def candidates(state: SystemState) -> list[Disk]:
    """The disks that something may be installed on: all but the live medium."""
    return [disk for disk in state.disks if not disk.live]


def efi(state: SystemState, *, blank: bool = False) -> frozenset[str]:
    """The EFI system partitions; `blank`: those without a file system yet."""
    return frozenset(
        disk.partition_path(part.number)
        for disk in candidates(state)
        for part in disk.partitions
        if part.type in EFI and not (blank and part.signature)
    )


def refer(text: str, state: SystemState, topic: Iterable[str] = ()) -> Refs:
    """What a text refers to, on a machine, when the conversation is about `topic` (disks)."""
    plain = folded(text)
    topic = frozenset(topic)
    nodes = named(plain, state)
    disks = frozenset(path for node in nodes for path in disks_of(state, node))
    ways = list(_ways(plain, state, topic))
    single = frozenset().union(*(way for way in ways if len(way) == 1))
    parts = _partitions(plain, state, disks or single or topic)
    if _ALL.search(plain):
        return Refs(nodes, frozenset(disk.path for disk in candidates(state)), every=True)
    if disks:
        wanted = disks | (single if _lists(plain) else frozenset())
        return Refs(nodes if wanted == disks else nodes | single, wanted)
    if parts:
        owners = frozenset(path for node in parts for path in disks_of(state, node))
        if not ways or owners <= single:
            return Refs(parts, owners)
    if not ways:
        return NOTHING
    if single:  # "the other, empty one" is one disk, whichever it is
        return Refs(frozenset(), single, len(single) == 1 or _JOINED.search(plain) is not None)
    common = frozenset.intersection(*ways) or frozenset().union(*ways)
    return Refs(frozenset(), common, len(common) == 1)


def called(text: str, state: SystemState) -> frozenset[str]:
    """The disks that a text calls by path, kernel name or model: paths. Partitions count as their disk."""
    plain = folded(text)
    nodes = named(plain, state)
    return frozenset(path for node in nodes for path in disks_of(state, node)) | _models(
        plain, candidates(state)
    )


def live_medium(text: str, state: SystemState, topic: Iterable[str] = ()) -> bool:
    """Whether a text refers to the live medium, as one of the disks, and to no other of them."""
    own = {disk.path for disk in candidates(state)}
    if len(own) == len(state.disks) or refer(text, state, topic):
        return False
    disks = tuple(
        replace(disk, live=False, transport=disk.transport or "usb") if disk.live else disk
        for disk in state.disks
    )  # a context does not say how a disk is attached
    found = refer(text, replace(state, disks=disks), topic)
    return bool(found) and found.sure and not found.every and not found.disks & own


def ranks(text: str) -> bool:
    """Whether a text refers to a disk by its place: the second one, number two."""
    return _RANK.search(folded(text)) is not None


def named(text: str, state: SystemState) -> frozenset[str]:
    """The nodes whose path or kernel name stands in a text as a whole word."""
    plain = text.lower()
    return frozenset(
        node for node, pattern in _patterns(tuple(state.devices())) if pattern.search(plain)
    )


@lru_cache(maxsize=512)
def _patterns(nodes: tuple[str, ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (node, re.compile(rf"(?<![\w-]){re.escape(_short(node).lower())}(?![\w-])"))
        for node in nodes
    )


def _short(node: str) -> str:
    return node.removeprefix("/dev/").removeprefix("mapper/")


def _lists(plain: str) -> bool:
    return re.search(r"\band\b|,", plain) is not None


def _ways(plain: str, state: SystemState, topic: frozenset[str]) -> Iterable[frozenset[str]]:
    """The disks that each way of referring fits."""
    disks = candidates(state)
    if not disks:
        return
    models = _models(plain, disks)
    if models:
        yield models
    sizes = _sizes(plain, disks)
    if sizes:
        yield sizes
    if len(disks) > 1:
        most, least = max(d.size for d in disks), min(d.size for d in disks)
        if most != least:
            if _BIG.search(plain) or _typed(plain, _BIGGER):
                yield _paths(d for d in disks if d.size == most)
            if _SMALL.search(plain) or _typed(plain, _SMALLER):
                yield _paths(d for d in disks if d.size == least)
        free = _paths(d for d in disks if not d.partitions and d.signature is None)
        if free and _EMPTY.search(plain):
            yield free
        if len(free) < len(disks) and _FULL.search(plain):
            yield _paths(disks) - free
        rank = _RANK.search(plain)
        if rank and only_formats(plain) and not _DISK.search(plain):
            rank = None  # the first of the partitions
        if rank:
            word = rank[1] or rank[3]
            place = _ORDER[word] if word else _NUMBERS[rank[2]]
            if place < len(disks):
                yield frozenset((disks[place].path,))
        if _OTHER.search(plain) and topic:
            rest = _paths(disks) - topic
            if rest:
                yield rest
    for pattern, fits in _KINDS:
        if pattern.search(plain):
            found = _paths(d for d in disks if fits(d))
            if found:
                yield found
    if re.search(r"\bwindows\b|\bntfs\b", plain):
        found = _paths(d for d in disks if any(p.signature and p.signature.kind == "ntfs"
                                               for p in d.partitions))  # fmt: skip
        if found:
            yield found
    if re.search(r"\b(?:encrypted|luks)\b", plain) and not re.search(r"\b(?:make|not|an?) ", plain):
        found = _paths(d for d in disks if any(p.signature and p.signature.kind == "crypto_LUKS"
                                               for p in d.partitions))  # fmt: skip
        if found:
            yield found


def _typed(plain: str, known: Iterable[str]) -> bool:
    """Whether one of these words stands in a text, perhaps with a wrong letter."""
    return any(near(word, other) for word in words(plain) for other in known)


def _paths(disks: Iterable[Disk]) -> frozenset[str]:
    return frozenset(disk.path for disk in disks)


def _models(plain: str, disks: list[Disk]) -> frozenset[str]:
    """The disks whose model has most words of the text."""
    said = set(words(plain)) | set(re.findall(r"[a-z0-9]+", plain))
    best = 0
    found: set[str] = set()
    for disk in disks:
        score = 0
        for word in re.findall(r"[a-z0-9]+", disk.model.lower()):
            if len(word) < 2 or word in _GENERIC or word.isdigit() and len(word) < 3:
                continue
            if word in said or len(word) > 5 and any(near(other, word) for other in said):
                score += 1
        if score and score >= best:
            found = {disk.path} | (found if score == best else set())
            best = score
    return frozenset(found)


def _sizes(plain: str, disks: list[Disk]) -> frozenset[str]:
    found: set[str] = set()
    for number, unit in _SIZE.findall(plain):
        value = float(number.replace(",", "."))
        letter = unit[:1]
        powers = {"t": (4,), "g": (3,), "m": (2,), "": (3, 4)}[letter]
        if not letter and value < 16 and "." not in number:
            continue  # a bare small number says nothing
        for disk in disks:
            for power in powers:
                for base in (1000, 1024):
                    if abs(value * base**power - disk.size) <= 0.03 * disk.size:
                        found.add(disk.path)
    return frozenset(found)


def _partitions(plain: str, state: SystemState, disks: frozenset[str]) -> frozenset[str]:
    """Partitions that are called by their number, on these disks or on the only one."""
    own = [disk for disk in candidates(state) if disk.path in disks]
    if not own and len(candidates(state)) == 1:
        own = candidates(state)
    found = set()
    for number, rank, word in _PART.findall(plain):
        number = number or (str(_NUMBERS[word] + 1) if word else "")
        for disk in own:
            for place, part in enumerate(disk.partitions):
                last = place == len(disk.partitions) - 1
                if (number and part.number == int(number)) or (
                    rank and (_ORDER[rank] == place or rank == "last" and last)
                ):
                    found.add(disk.partition_path(part.number))
    return frozenset(found)
