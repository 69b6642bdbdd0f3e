"""Is a line another one than the step that the last message asks for? Whether or not something is lost.

    unasked(talk, outcome)      # True: say so, and let the model try again

Three kinds: what this conversation has just made is made a second time because of a "go on"; a partition
gets another kind of file system than the person named; the kinds of root and home are swapped.
"""

from __future__ import annotations

import re

from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.interpret_types import Outcome
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_loss import all_new, fresh
from llmkit.installer.review_refer import candidates
from llmkit.installer.state import SystemState

_KIND = re.compile(r"(?<![\w.-])(?:mkfs\.)?(ext[234]|btrfs|xfs|f2fs|jfs|ntfs|exfat)(?![\w-]|\.\w)")
_KNOWN = ("ext4", "ext3", "ext2", "btrfs", "f2fs")
_PLACED = re.compile(r"\w[\w.]*|/\w[\w/]*|(?<!\S)/(?!\S)")
_DROPPED = re.compile(  # a kind that is named to say that it is not meant
    r"\b(?:instead of|rather than|not|no|from|was|is|replac\w+|than|but) (?:an? |the )?(?:mkfs\.)?"
    r"(?:ext[234]|btrfs|xfs|f2fs|jfs|ntfs|exfat)\b"
)
_HOME = "933ac7e1-2eb4-4f13-b844-0e14e2aef915"
_NO_DATA = frozenset(  # types of partitions that hold neither the system nor homes: EFI, swap, BIOS boot
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f",
     "21686148-6449-6e6f-744e-656564454649", "ef", "82")
)  # fmt: skip


def unasked(talk: Talk, outcome: Outcome) -> bool:
    """Whether the line is another step than the one that was asked for."""
    made = {
        event.device: event.detail
        for event in outcome.events
        if event.kind == "format" and event.device
    }
    return _again(talk, outcome, made) or _other_kind(talk, outcome.state, made)


def _again(talk: Talk, outcome: Outcome, made: dict[str, str]) -> bool:
    """Whether a "yes" or "next" makes again what this conversation has made, and no plan says so."""
    tables = {event.device for event in outcome.events if event.kind == "table"}
    plan = talk.plan()
    nothing_new = wish.says_nothing_new(talk.said)
    if tables:
        done = all(all_new(path, talk.ran) for path in tables)
        if not done or not all(disk.partitions for disk in talk.state.disks if disk.path in tables):
            return False
        silent = nothing_new or say.only_formats(talk.said)
        return silent and not (plan and say.destroys(plan) and not say.only_formats(plan))
    done = bool(made) and all(fresh(talk.state, node, talk.ran) for node in made)
    return done and nothing_new and not (plan and say.destroys(plan))


def _other_kind(talk: Talk, after: SystemState, made: dict[str, str]) -> bool:
    """Whether file systems are of other kinds than those that the person named."""
    data = {node: kind for node, kind in made.items() if _KIND.fullmatch(kind)}
    if not data:
        return False
    text = kept(talk.said)
    said = kinds(text)
    if not said:
        return False
    if not said & set(data.values()):
        return True
    places = placed(text)
    return any(
        role in places and data[node] != places[role]
        for node, role in _roles(talk.state if _there(talk.state, data) else after).items()
        if node in data
    )


def _there(state: SystemState, nodes: dict[str, str]) -> bool:
    here = set(state.devices())
    return all(node in here for node in nodes)


def kept(text: str) -> str:
    """A message without what it says is not meant."""
    own = say.own_words(text)
    pieces = [piece for piece in say.clauses(own) if not say.refuses(piece)]
    return _DROPPED.sub(" ", ", ".join(pieces))


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


def _roles(state: SystemState) -> dict[str, str]:
    """Which partitions are for the system, and which for homes: by type, else by their order."""
    found: dict[str, str] = {}
    for disk in candidates(state):
        data = [part for part in disk.partitions if part.type not in _NO_DATA]
        homes = [part for part in data if part.type == _HOME]
        roots = [part for part in data if part.type != _HOME]
        if len(homes) == 1 and len(roots) == 1 or len(data) == 2 and not homes:
            first = roots[0]
            rest = homes or [roots[1]]
            found[disk.partition_path(first.number)] = "root"
            found[disk.partition_path(rest[0].number)] = "home"
        elif len(data) == 1 and roots:
            found[disk.partition_path(roots[0].number)] = "root"
    return found
