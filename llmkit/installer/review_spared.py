"""A message without what it leaves alone, or puts off, and the command does not do.

    line = "mkfs.fat -F32 /dev/sda1"
    without_spared("sda1 fat32, leave sda2 alone", state, line, run_command(line, state))  # "sda1 fat32"

"Leave sda2 alone" refuses nothing of a command that formats sda1, and "no mount yet" nothing of one that
mounts nothing. Only whole clauses in plain words are taken away, and only where every partition that they
name is there and stays as it is; all else is left standing, and is read as before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.devices import signature
from llmkit.installer.guard_names import disks_of
from llmkit.installer.interpret_types import Outcome
from llmkit.installer.review_refer import candidates, efi, named, refer
from llmkit.installer.state import SystemState

_CHANGES = ("erase", "unpartition", "table", "partition", "format", "mapping", "swap")
_EFI = r"(?:esp|efi)(?: system)?(?: (?:one|part|partition))?"
_NUMBER = r"(?:number |no\.? |#|part(?:ition)? )?(?:\d{1,2}|one|two|three|first|second|third)"
_OTHERS = r"(?:others?|rest)(?: (?:disks?|drives?|ones?|parts?|partitions?))?"
_PART = (
    rf"(?:the |my |your |its )?(?:{say.NODE}|{_EFI}|root(?: (?:one|part|partition))?|"
    rf"{_NUMBER}(?: (?:one|part|partition))?|{_OTHERS})"
)
_PARTS = rf"({_PART}(?: (?:and|&) {_PART})*)"
_AS_IT_IS = (
    r"(?: (?:alone|untouched|intact|in peace|out|be|(?:just )?(?:as|like) (?:it|they) (?:is|are)))?"
    r"(?: (?:for )?now| please| too)?"
)
_MUST = r"(?:must|shall|should|has to|have to|needs? to|is to|are to|may|can|will)"
_SPARES = (
    re.compile(
        r"(?:please |and |so |just )*(?:leave|keep|spare|skip|not|hands off(?: of)?|"
        r"(?:don't|dont|do not|never) (?:touch|erase|format|wipe|delete))"
        rf" {_PARTS}{_AS_IT_IS}"
    ),
    re.compile(
        rf"(?:and |so |while )*{_PARTS} (?:(?:stays?|remains?)|{_MUST} (?:all )?(?:stay|remain|survive|"
        r"be (?:left(?: alone)?|kept|spared)))"
        rf"{_AS_IT_IS}"
    ),
    re.compile(
        rf"(?:and |so |while )*{_PARTS}"
        r"(?:(?: (?:comes?|is|are|follows?|i do|i will do|i'll do|we do|gets done))?(?: for)? "
        r"(?:later|not yet|afterwards|another time)| waits?| can wait)(?: on)?"
        r"(?: (?:by )?myself| by hand| please| pls)?"
    ),
)
_STEPS = (  # what is not to be done yet, and the events that would do it
    (r"mount(?:ing|ed)?", ("mount",)),
    (r"(?:format(?:ting)?|file ?systems?|fs|mkfs)", ("format",)),
    (r"(?:(?:re)?partition(?:s|ing)?|layout|tables?)", ("table", "partition", "unpartition")),
    (r"(?:activat(?:e|ion|ing)|swapon)", ("swap",)),
)
_NOT_YET = tuple(
    (
        re.compile(
            rf"(?:and |but )*(?:(?:no|not|without|don't|dont|do not) {step}(?: (?:it|them|anything|any))?"
            r"(?: (?:yet|still|now|for now|so far|today|afterwards))?|"
            rf"{step}(?: (?:comes?|is|follows?|i do))? (?:later|not yet|afterwards)(?: on| myself| by hand)?)"
        ),
        kinds,
    )
    for step, kinds in _STEPS
)
_KIND = re.compile(
    r"(?:please )?(?:i )?(?:and )?(?:(?:don't|dont|do not) want|not|no|instead of)(?: an?)? "
    r"(ext[234]|btrfs|xfs|f2fs|vfat|fat(?:32)?)"
)  # "not the ext4" is the partition
_SPLIT = re.compile(  # between the clauses: what separates stands with the clause behind it
    r"(?:^|[,;.:!\n]+(?=\s|$)|\s[-–—]+\s|\s+\b(?:but|while)\b(?=\s)|"
    r"\s+and(?=\s(?:leave|keep|spare|not|no|don't|do not|hands off)\s)|"
    r"\s+(?:and(?: then)?|then|&&)(?=\s(?:stop|wait)\b)|"
    r"(?<=\w)\s+(?=(?:leave|keep|spare|not(?! yet)|i don't want|i do not want)\s))"
)
_AND_STOP = re.compile(  # "stop" alone takes back what stands before it
    r"[,;]? ?(?:(?:and(?: then)?|then|&&) (?:please )?(?:stop|wait)"
    r"(?: (?:there|here|after (?:that|it)|for me))?|"
    r"stop (?:there|here))(?: please| pls)?"
)
_LATER = re.compile(r"\b(?:later|not yet|afterwards|waits?|stays?|remains?)\b")
_LONGEST = 300  # characters; nobody says that little in more
_QUOTES = re.compile(r"[\n>\"`“”«»]")  # may be somebody else's words
_COVERS = re.compile(  # what is said of one thing may be meant for another, too
    r"\b(?:too|also|as well|same|likewise|ditto|nor|or|neither|either|both|all|was|were|once|after|when|if|"
    r"unless|until|till)\b"
)
_PLAIN = frozenset({*_CHANGES, "mount"})  # events of a command that is read here at all
_COMPOUND = re.compile(r"[;&|]")
_LAID_OUT = re.compile(r"\bsgdisk (?:-Z|-o)\b|\bmklabel\b")  # all goes
_COUNTED = {"one": 1, "first": 1, "two": 2, "second": 2, "three": 3, "third": 3}


def without_spared(
    text: str, state: SystemState, command: str, outcome: Outcome, *, loses: bool = False
) -> str:
    """`text` without the clauses that are about what the command (its `outcome` on `state`) leaves as it
    is; `text` itself where there are none, or where nothing would be left of it, or where the command
    does more than to lay out, erase, format and mount.

    `loses`: something is lost. Then "leave sda2 alone" goes only where the other partitions are named:
    "install linux, leave sda2 alone" gives nobody leave to empty sda1.
    """
    plain = say.folded(text)
    if not (say.refuses(plain) or _LATER.search(plain)):
        return text
    if len(text) > _LONGEST or _QUOTES.search(text) or _COVERS.search(plain):
        return text
    if outcome.unmodelled or outcome.opaque or {e.kind for e in outcome.events} - _PLAIN:
        return text
    disks = {disk.path for disk in state.disks}
    nodes = named(command, state)
    if nodes & disks and _COMPOUND.search(command) and not _LAID_OUT.search(command):
        return text  # sgdisk -G beside mkfs: what it does to the others is no event
    touched = _touched(state, outcome) | (nodes - disks)
    starts = [found.start() for found in _SPLIT.finditer(plain)]
    pieces = [plain[a:b] for a, b in zip(starts, [*starts[1:], len(plain)], strict=True)]
    bare = [_bare(piece) for piece in pieces]
    spared = [_spared(piece, bare, state, outcome, touched, loses) for piece in bare]
    if len(pieces) > 1 and _AND_STOP.fullmatch(pieces[-1].strip(" .!")):
        spared[-1] = say.destroys(", ".join(bare[:-1]))
    kept = [piece for piece, away in zip(pieces, spared, strict=True) if not away]
    rest = "".join(kept).strip(" ,;.:!-")
    return rest if rest and len(kept) < len(pieces) else text


def _bare(piece: str) -> str:
    """A clause without what separates it from the one before, and without its full stop."""
    return re.sub(r"^(?:[\s,;.:!–—-]+|(?:but|while|and)\s+)+", "", piece).strip(" ,;.:!")


def _spared(
    clause: str,
    clauses: list[str],
    state: SystemState,
    outcome: Outcome,
    touched: frozenset[str],
    loses: bool,
) -> bool:
    """Whether a clause is about what stays as it is, in plain words."""
    done = {event.kind for event in outcome.events}
    for pattern, kinds in _NOT_YET:
        if pattern.fullmatch(clause):
            if loses and not set(kinds) & {"mount", "swap"}:
                return False  # "install linux on sda, don't format it" is no leave to empty sda
            return not done & set(kinds)
    other_kind = _KIND.fullmatch(clause)
    if other_kind:
        made = {str(event.detail) for event in outcome.events if event.kind == "format"}
        unwanted = "fat" if "fat" in other_kind[1] else other_kind[1][:3]
        there = {held.kind for node in touched if (held := signature(state, node))}
        return bool(made) and not any(unwanted in kind for kind in made | there)
    for pattern in _SPARES:
        found = pattern.fullmatch(clause)
        if found and touched:
            rest = ", ".join(other for other in clauses if other != clause)
            if loses and not any(touched <= refer(deed, state).nodes for deed in _deeds(clauses)):
                return False
            return all(
                _stays(part, rest, state, outcome.state, touched)
                for part in re.split(r" (?:and|&) ", found[1])
            )
    return False


def _stays(
    part: str, rest: str, state: SystemState, after: SystemState, touched: frozenset[str]
) -> bool:
    """Whether a partition that a clause names is there, and the command leaves it as it is."""
    plain = _plain(part)
    if re.fullmatch(_OTHERS, plain):  # others than those that the message names
        refs = refer(rest, state)
        disks = {disk.path for disk in candidates(state)}
        if not refs or not refs.sure:
            return False
        if refs.nodes - disks:
            return touched <= refs.nodes
        if "part" in plain or len(disks) < 2:
            return False  # partitions of the disk that is named whole
        return {path for node in touched for path in disks_of(after, node)} <= refs.disks
    meant = _meant(plain, state, touched)
    return bool(meant) and not meant & touched


def _deeds(clauses: Sequence[str]) -> list[str]:
    """The clauses that ask for a deed."""
    return [clause for clause in clauses if say.destroys(wish.requests(clause))]


def _plain(part: str) -> str:
    return re.sub(r"^(?:the|my|your|its) ", "", part)


def _meant(plain: str, state: SystemState, touched: frozenset[str]) -> frozenset[str]:
    """The partitions that a name fits; none where it is not known which."""
    nodes = named(plain, state)
    if nodes or re.fullmatch(say.NODE, plain):
        return nodes
    own = efi(state)
    if re.fullmatch(_EFI, plain):
        return own
    disks = {path for node in touched for path in disks_of(state, node)}
    parts = {
        disk.partition_path(part.number): part.number
        for disk in candidates(state)
        if disk.path in disks
        for part in disk.partitions
    }
    if plain.startswith("root"):
        return frozenset(parts) - own
    number = re.search(r"\d+|one|two|three|first|second|third", plain)
    if number is None:
        return frozenset()
    count = _COUNTED.get(number[0]) or int(number[0])
    return frozenset(path for path, place in parts.items() if place == count)


def _touched(state: SystemState, outcome: Outcome) -> frozenset[str]:
    """What a command changes: partitions, and with a disk or its table all that are on it."""
    nodes = {
        event.device for event in outcome.events if event.kind in _CHANGES and event.device
    } | (set(state.devices()) - set(outcome.state.devices()))
    return frozenset(nodes).union(
        disk.partition_path(part.number)
        for disk in state.disks
        if disk.path in nodes
        for part in disk.partitions
    )
