"""Is a line another one than the step that the last message asks for? Whether or not something is lost.

    unasked(talk, outcome)      # True: say so, and let the model try again

What this conversation has just made is made a second time because of a "go on"; a partition gets another kind
of file system than the person named, or another size; the swap partition that was asked for is missing.
"""

from __future__ import annotations

import re

from llmkit.installer import review_scope as scope
from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.assistant_meant import named as devices
from llmkit.installer.guard_names import presence
from llmkit.installer.interpret_types import Outcome
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_loss import all_new, fresh
from llmkit.installer.review_parts import SWAP, roles
from llmkit.installer.review_refer import efi
from llmkit.installer.state import SystemState

_KIND = re.compile(r"(?<![\w.-])(?:mkfs\.)?(ext[234]|btrfs|xfs|f2fs|jfs|ntfs|exfat)(?![\w-]|\.\w)")
_FAT = re.compile(r"\b(?:efi|esp|boot|v?fat\w*)\b")
_ESP = re.compile(r"\b(?:the|my|that|this) (?:esp|efi)\b|\b(?:esp|efi|boot) part(?:ition)?\b")
_MORE_THAN_ESP = re.compile(
    r"\b(?:root|both|all|home|swap|system|rest|others?|and|then|plus|except|but|two|three|data|second|ext[234]|"
    r"btrfs|xfs|f2fs)\b|[,+&]"
)
_KNOWN = ("ext4", "ext3", "ext2", "btrfs", "f2fs")
_PLACED = re.compile(r"\w[\w.]*|/\w[\w/]*|(?<!\S)/(?!\S)")
_DROPPED = re.compile(  # a kind that is named to say that it is not meant
    r"\b(?:instead of|rather than|not|no|from|was|is|replac\w+|than|but) (?:an? |the )?(?:mkfs\.)?"
    r"(?:ext[234]|btrfs|xfs|f2fs|jfs|ntfs|exfat)\b|"
    r"\b(?:no|not an?|without(?: an?)?) swap(?: part(?:ition)?)?\b"
)
_ELSEWHERE = re.compile(  # a kind of what was there before, or is somewhere else
    r"\b(?:i|we|it|that|this|one|disk) (?:had|was|were|used to)\b|"
    r"\bmy (?:\w+ )?(?:data|backups?|files|photos|stick|laptop|server) (?:is|are)\b(?! to\b)"
)
_SIZE = re.compile(r"(?<![\w.+:-])\+?(\d+(?:[.,]\d+)?) ?([gmt])(?:i?b|igs?)?(?![\w])")
_PIECE = re.compile(r"[;:\n+&]|[.,](?=\s|$)|\b(?:and|then|but|with|plus)\b")
_ABOUT = re.compile(  # sizes that are none of a partition, or no more than a bound
    r"\b(?:least|min\w*|max\w*|up to|about|around|roughly|most|than|more|less|free|leave|left|ram|memory|"
    r"file|disk|drive|ssd|hdd|stick|was|is|i have|"
    r"(?:of )?(?:photos|pictures|music|films|movies|videos|games))\b|"
    r"[~<>?]"
)
_PLACES = (
    ("root", re.compile(r"\broot\b|(?<!\S)/(?!\S)")), ("home", re.compile(r"\bhome\b")),
    ("swap", re.compile(r"\b(?:swap|8200)\b")), ("efi", re.compile(r"\b(?:efi|esp|ef00)\b")),
)  # fmt: skip
_REST = re.compile(
    r"\b(?:rest|remain\w*|(?:all|everything) else|free space|left over)\b|\b(?:what|that) (?:is|was) left\b"
)
_ANEW = re.compile(  # of a layout that is to be made once more, and whole
    r"\b(?:again|anew|over|redo\w*|erase|wipe|zap|clean|clear|instead|rather|different\w*|change|no|not|table|gpt|"
    r"msdos|label|first|efi|esp|swap|format|partition|\d+ ?[gmt](?:i?b)?)\b"
)
_SWAP_PART = re.compile(r"\bswap part(?:ition)?\b|\bpart(?:ition)? (?:for|of) swap\b|\b8200\b")


def unasked(talk: Talk, outcome: Outcome) -> bool:
    """Whether the line is another step than the one that was asked for."""
    made = {
        event.device: event.detail
        for event in outcome.events
        if event.kind == "format" and event.device
    }
    return (
        _again(talk, outcome, made)
        or _other_kind(talk, outcome.state, made)
        or _other_sizes(talk, outcome)
    )


def _again(talk: Talk, outcome: Outcome, made: dict[str, str]) -> bool:
    """Whether a "yes" or "next" makes again what this conversation has made, and no plan says so."""
    tables = {event.device for event in outcome.events if event.kind == "table"}
    plan = talk.plan()
    nothing_new = wish.says_nothing_new(talk.said)
    if tables:
        done = all(all_new(path, talk.ran) for path in tables)
        if not done or not all(disk.partitions for disk in talk.state.disks if disk.path in tables):
            return False
        silent = nothing_new or say.only_formats(talk.said) or _wants_the_rest(talk, tables)
        return silent and not (plan and say.destroys(plan) and not say.only_formats(plan))
    done = bool(made) and all(fresh(talk.state, node, talk.ran) for node in made)
    return done and nothing_new and not (plan and say.destroys(plan))


def _wants_the_rest(talk: Talk, tables: set[str]) -> bool:
    """Whether a message is about space that a layout of this conversation left free: `root takes
    everything else`."""
    text = say.folded(talk.said)
    used = [
        sum(p.size for p in d.partitions) / d.size for d in talk.state.disks if d.path in tables
    ]
    return (
        _REST.search(text) is not None and not _ANEW.search(text) and max(used, default=1.0) < 0.9
    )


def _other_kind(talk: Talk, after: SystemState, made: dict[str, str]) -> bool:
    """Whether file systems are of other kinds than those that the person named."""
    data = {node: kind for node, kind in made.items() if _KIND.fullmatch(kind)}
    text = scope.corrected_kind(talk.said) or kept(talk.said)
    if made and _ESP.search(say.folded(text)) and not _MORE_THAN_ESP.search(say.folded(text)):
        esps = efi(after)
        if esps and not esps & set(made):
            return True  # the EFI partition was asked for
    if not data:
        return len(made) == 1 and bool(kinds(text)) and not _FAT.search(say.folded(text))
    said = kinds(text) or _kind_before(talk)
    if not said:
        return False
    if not said & set(data.values()):
        return True
    places = placed(text)
    return any(
        role in places and data[node] != places[role]
        for node, role in roles(talk.state if _there(talk.state, data) else after).items()
        if node in data
    )


def _kind_before(talk: Talk) -> set[str]:
    """The kind that a message before named, when nobody has spoken of kinds or formatted since."""
    if say.destroys(talk.said) and not say.only_formats(talk.said):
        return set()  # something new
    here = presence(talk.state)
    for turn in reversed(talk.turns):
        if turn.ran:
            if re.search(r"\bmkfs", turn.ran):
                return set()
            continue
        if turn.user and any(not here.has(name) for name in devices(turn.text)):
            continue  # about a machine that is not this one
        found = kinds(_here(turn.text)) if turn.user else set(_KIND.findall(say.folded(turn.text)))
        if found:
            firm = turn.user and len(found) == 1 and not say.doubts(turn.text)
            return found if firm else set()
    return set()


def _other_sizes(talk: Talk, outcome: Outcome) -> bool:
    """Whether a new table has none of the sizes that were named, another size where the message says
    which partition it is for, or no swap partition where one was asked for."""
    tables = {event.device for event in outcome.events if event.kind == "table"}
    disks = [disk for disk in outcome.state.disks if disk.path in tables and disk.partitions]
    if len(disks) != 1:
        return False
    text = kept(talk.said)
    swap = any(part.type in SWAP for part in disks[0].partitions)
    if _SWAP_PART.search(say.folded(text)) and not swap:
        return True
    made = {
        disk.partition_path(part.number): part.size for disk in disks for part in disk.partitions
    }
    whole = [disk.size for disk in talk.state.disks]
    said, pairs = sizes(text, whole)
    if said and not any(like(one, size) for one in said for size in made.values()):
        return True
    own = {role: made[node] for node, role in roles(outcome.state).items() if node in made}
    return any(
        role in own and not like(size, own[role]) or role == "swap" and not swap
        for role, size in pairs.items()
    )


def sizes(text: str, whole: list[int]) -> tuple[list[float], dict[str, float]]:
    """The sizes of partitions that a text names, and of which partition they are."""
    said: list[float] = []
    pairs: dict[str, float] = {}
    for piece in _PIECE.split(say.folded(text)):
        found = [
            float(number.replace(",", ".")) * 1024 ** {"m": 2, "g": 3, "t": 4}[unit]
            for number, unit in _SIZE.findall(piece)
        ]
        if not found or _ABOUT.search(piece):
            continue
        found = [one for one in found if not any(like(one, size) for size in whole)]
        said += found
        places = [name for name, pattern in _PLACES if pattern.search(piece)]
        if len(found) == len(places) == 1:
            pairs[places[0]] = found[0]
    return said, pairs


def like(one: float, size: float) -> bool:
    """Whether two sizes are the same, however a gigabyte is counted."""
    return abs(one - size) <= 0.11 * size


def _there(state: SystemState, nodes: dict[str, str]) -> bool:
    here = set(state.devices())
    return all(node in here for node in nodes)


def kept(text: str) -> str:
    """A message without what it says is not meant."""
    own = say.own_words(text)
    pieces = [piece for piece in say.clauses(own) if not say.refuses(piece)]
    return _DROPPED.sub(" ", ", ".join(pieces))


def _here(text: str) -> str:
    """What is kept of a message, without clauses about what was before or is elsewhere."""
    return ", ".join(c for c in say.clauses(kept(text)) if not _ELSEWHERE.search(c))


def kinds(text: str) -> set[str]:
    """The kinds of file systems for data that a text names; none where a word may be one of them."""
    plain = say.folded(text)
    found = set(_KIND.findall(plain))
    odd = (w for w in re.findall(r"[a-z][\w]*", plain) if w not in found and not _KIND.search(w))
    if any(say.near(word, known, 4) for word in odd for known in _KNOWN):
        return set()
    return found


def placed(text: str) -> dict[str, str]:
    """Which kind a text wants for root and home: {"root": "ext4", "home": "xfs"}."""
    marks: list[tuple[str, str]] = []
    for word in _PLACED.findall(say.folded(text)):
        kind = _KIND.fullmatch(word)
        if kind:
            marks.append(("kind", kind[1]))
        elif word == "/" or say.near(word, "root", 4):
            marks.append(("place", "root"))
        elif say.near(word.strip("/"), "home", 4):
            marks.append(("place", "home"))
    pairs = [marks[place : place + 2] for place in range(0, len(marks), 2)]
    found: dict[str, str] = {}
    for pair in pairs:
        if {what for what, _ in pair} != {"kind", "place"}:
            return {}
        said = dict(pair)
        if said["place"] in found:
            return {}
        found[said["place"]] = said["kind"]
    return found
