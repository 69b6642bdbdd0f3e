"""Which partitions does a message describe, without their names?

    described("format the windows partition of sda", state)     # ({"/dev/sda1"}, 1)

"The ntfs partition", "the second partition of sda", "the smaller partition", "root" single out something on a
disk: a line that empties anything else is not what was asked for, and one that empties the disk least of
all. Only a clause with a deed counts; one that makes what it speaks of does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from llmkit.installer import review_words as say
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_parts import (
    DISTROS,
    PART,
    Parts,
    at,
    every,
    extreme,
    labelled,
    of_kind,
    of_role,
    of_size,
    of_system,
    real,
)
from llmkit.installer.review_refer import candidates, named
from llmkit.installer.state import SystemState

Told = tuple[frozenset[str], int]  # the partitions that fit, and how many of them are meant
_NONE: Told = (frozenset(), 0)  # something is described, and nothing fits, or it is not known what

_ALL = 99  # as many as there are
_SYSTEM_ALL = 100  # all of a system

_ON = rf"(?:on|of|from|in) (?:the )?{say.DISK}\b"
_ONE = rf"(?:{PART}\b(?! table)|ones? {_ON}|ones?$)"
_KIND = rf"ntfs|windows(?: 1\d)?+|win ?1\d|ext[234]|btrfs|xfs|f2fs|v?fat(?:32)?|swap|luks|encrypted|{DISTROS}"
_OLD = r"(?:(?:old|existing|current|other|only|just|two|big|small|bigger|smaller|larger|first|second|last) )*"
_TAKES = (
    r"\b(?:eras|wip|remov|delet|overwrit|replac|nuk|zap|destroy|get rid of|clear|purg|clean|"
    r"reinstall(?:ation of)?)(?:e|ing)?(?: out)?"
)
_ORDER = {
    word: place
    for place, words in enumerate(
        (
            "first 1st",
            "second 2nd",
            "third 3rd",
            "fourth 4th",
            "fifth 5th",
            "sixth 6th",
            "seventh 7th",
        )
    )
    for word in words.split()
} | {"last": -1}
_COUNT = {w: n for n, w in enumerate("one two three four five six seven".split(), 1)}
_ORDERS, _COUNTS = "|".join(_ORDER), "|".join(_COUNT)
_BY_KIND = re.compile(
    rf"\b(?:the|my|that|this|your|its|old|existing|all|both|these|those) {_OLD}({_KIND})(?:'s)?\b"
    rf"(?! (?:disk|drive|ssd|hdd)\b)|"
    rf"\b({_KIND})(?:'s?)? (?:(?:{DISTROS}|root|home|data) )?(?:{_ONE}|(?:file ?systems?|fs|"
    rf"space|installs?|installation)\b)|"
    rf"\b(?:{PART}|ones?|space) (?:with|of|that (?:has|have|is|are|holds?)|which (?:has|is)|"
    rf"where|having|holding|containing|"
    rf"for|i made for) (?:(?:the|my|an?|old) )*({_KIND})\b|"
    rf"(?:{_TAKES}|\b(?:don't|dont|do not|no longer) (?:need|use|want)(?: the| my)?|"
    rf"\breformat(?= (?:swap|ntfs|luks))) ({_KIND})\b(?! (?:disk|drive|ssd|hdd|on|onto|to)\b)"
)
_BY_ORDER = re.compile(
    rf"\b({_ORDERS})(?=(?:(?:,? (?:and|&)|,) (?:the )?(?:{_ORDERS}))*(?: (?:{_KIND}|root|"
    rf"home))* (?:{_ONE}|{_ON}|(?:{_KIND})\b))"
)
_BY_NUMBER = re.compile(
    rf"\b{PART}(?: ?(?:number|no\.?|#))? ?(\d{{1,2}}|{_COUNTS})\b(?! ?[gmt]i?b?\b)|"
    rf"\b(?:number|no\.?|#) ?(\d{{1,2}}|{_COUNTS}),? {_ON}"
)
_BARE_ORDER = re.compile(  # on the only disk, or the one that is named, nothing else can be meant
    rf"\b(?:(?:the|only|just|its|that) (?:{_ORDERS})|(?:{_ORDERS}) one)(?: one)?"
    r"(?= (?:on|of|in|with|as|please|only|too|to)\b|$)|"
    rf"(?:\bnumber |\bno\.? ?|#)(\d{{1,2}}|{_COUNTS})\b(?! ?[gmt]i?b?\b)|"
    r"^(?:(?:only|just|please) )*(?:(?:re)?format|wipe|erase|delete|mkfs) (?:(?:only|just) )?(\d{1,2})$"
)
_BY_SIZE = re.compile(
    rf"\b(small|little|tini?|bigg?|larg|hug)(?:e|y)?(?:r|er|est|st)?(?: (?:{_KIND}|root|home))*"
    rf" (?:{_ONE}|(?:{_KIND})\b|of (?:the|my|its|these|those|them)\b(?: two|"
    rf" three)?(?: (?:{PART}|(?:{_KIND})))?)"
)
_BARE_SIZE = re.compile(
    r"\bthe (small|little|tini?|bigg?|larg|hug)(?:e|y)?(?:r|er|est|st)?(?: one)?(?= (?:with|"
    r"as|please|only)\b|$)"
)
_OF_SIZE = re.compile(
    rf"(?:\b(?:the|my|that|this|only) (\d+(?:[.,]\d+)?) ?([gmt])(?:i?b)?(?: (?:one|{PART}|{_KIND})\b|$)|"
    rf"\b(?:{PART}|one) (?:with|of) (\d+(?:[.,]\d+)?) ?([gmt])(?:i?b)?\b)"
)
_BY_ROLE = re.compile(
    rf"(?<!with )(?<!\ban )(?<!\ba )(?<!as )(?<!for )(?<!like )(?:(?<![@/\w])(root|home|u?efi|esp|boot|"
    rf"(?:data|system|os|main|recovery)(?= part| volume| one\b))(?: {PART}\b)?"
    r"(?! (?:is|account|user|login|password|pw|dir\w*|folder|disk|drive|loader|menu|entr\w+|"
    r"flag|order|from|into)\b)|"
    r"(?<!\S)/(boot|home)?(?!\S))"
)
_SYSTEM = rf"windows(?: \d+)?+|win ?\d++|{DISTROS}|other (?:os|system)"
_MAY_GO = rf"\b({_SYSTEM}) (?:can|may|must|shall|should|will|has to|is to) (?:all )?(?:be \w+|go)\b"
_OS = re.compile(
    rf"(?:{_TAKES}|\bformat(?:ting)?|\binstall over)"
    r" (?:(?:the|my|our|this|that|all|of|only|just|old|existing|installed|current|everything|from) )*"
    rf"({_SYSTEM})\b(?!'s| (?:disk|drive|ssd|hdd|part|volume|one|root|home|data|file|fs|swap|"
    rf"boot|u?efi|esp|recovery|system|reserved))|{_MAY_GO}"
)
_OS_TOO = re.compile(rf"(?:(?:the|my|also|old) )*({_SYSTEM})(?: too| as well| also)?")
_MADE = re.compile(  # it is to be made, or it is not one
    r"\b(?:mak\w+(?! (?:the|my|that|it|root|home)\b)|creat\w+|new(?! (?:file|fs|ext|btrfs|xfs|"
    r"fat|system|linux))|split|lay\w*|"
    r"divid\w*|add|give|each|rest|else|"
    r"(?<!partition )(?<!part )(?<!number )(?:two|three)(?= (?:part|vol))|activat\w*|active)\b|"
    r"(?<!the )(?<!my )(?<!that )(?<!only )(?<!with )(?<!of )\b\d+(?:[.,]\d+)? ?[gmt](?:i?b)?\b|"
    r"(?:^|\b(?:and|then|please|to|re|just|now|also) ?)(?:re)?partition(?:ing)?\b"
    r"(?! (?:number|no\b|#|\d|one|with|that|where|which|of|behind|after))"
)
_WHOLE = re.compile(  # the disk is meant
    r"\b(?:whole|entire|full|complete(?:ly)?|all of the) (?:disk|drive|ssd|hdd|thing|machine|"
    r"computer|laptop|sd\w|nvme\w+)\b|"
    r"\b(?:everything else|all of it)\b|\beverything on (?:(?:the|this|my) )?(?:disk|drive|"
    r"sd\w|nvme\w+)\b(?!'s)|\b(?:and|with) everything\b|\bstart(?:ing)? (?:over|again|fresh)\b|"
    r"\bfrom scratch\b|"
    r"\b(?:eras|wip|format|reformat|clear|nuk|zap|partition|repartition|us|tak)(?:e|"
    r"ing)? (?:the|this|that|my) "
    r"(?:disk|drive|ssd|hdd|computer|laptop|machine|pc)\b"
)
_ELSEWHERE = re.compile(  # the partition is told by another one
    r"\b(?:behind|after|before|next to|beside|following|(?:second|next|third) (?:to )?last|"
    r"last but one|between|"
    r"(?:second|third|2nd|3rd)[ -](?:bigg?|larg|small)\w*)\b"
)
_NOT_MEANT = re.compile(
    r"\b(?:an?|one|single|new|as|with|to)(?: (?:big|small|large|new|single|plain|normal))* $"
)
_TAKEN_BACK = re.compile(
    r"\b(?:sorry|oops|ops|actually|err|er|on second thoughts?|i meant?|or rather|rather|no(?=,| sorry)|"
    r"nope|wait|correction)\b"
)
_IT = re.compile(r"\b(?:it|that|this|there|them)\b(?! (?:part|disk|drive))")
_FS_WORD = re.compile(r"ext\d|btrfs|xfs|f2fs|v?fat\d*")
_PART_BEHIND = re.compile(
    rf" (?:{PART}|ones?|root|home|data|system|swap|boot|u?efi|esp|recovery)\b"
)
_SEVERAL = re.compile(r"\b(?:partitions|parts|volumes|ones)\b")
_EACH = re.compile(r"(?:all|both|these|those)\b")
_FS = re.compile(r"\b(?:ext[234]|btrfs|xfs|f2fs)\b")
_USES = re.compile(r"(?:(?:please|and|just|only) )*(?:use|take|go for)\b")
_STAYS = re.compile(
    r"\b(?:which|what|anything|something)\b[^.?]*\b(?:keep|kept|stay|remain|needed|survive)\b[^.?]*\?",
    re.IGNORECASE,
)
_THAT = re.compile(rf"^(?:(?:only|just) )*(?:both|(?:that|the) {PART})\b")
_WHICH_ONE = re.compile(rf"\b(?:(?:which|what) (?:one|{PART})|where)\b", re.IGNORECASE)
_WHICH = re.compile(r"\b(?:which|or)\b", re.IGNORECASE)
_A_PART = re.compile(
    rf"\b(?:an?|one|some|which|what|single) (?:of (?:the|its|my|these) )?(?:old )?{PART}\b(?! table)"
)
_ONLY = re.compile(r"\b(?:only|just|but|rather|instead)\b")
_TOO = re.compile(r"\b(?:too|also|as well|everything|all)\b")
_ITS = re.compile(r"\b(?:its|that|this) (?:old |own )?(?:part(?:ition)?|volume)\b(?! table)")
_KIND_ALONE = re.compile(rf"^(?:the |only |just )*({_KIND})(?:'s| one)?$")
_SYSTEM_ALONE = re.compile(
    rf"^(?:the |only |just |my |old )*(ntfs|swap|windows(?: 1\d)?|{DISTROS})(?:'s| please| only)*$"
)
_NUMBER_ALONE = re.compile(
    rf"^(?:the |only |just |number |no\.? ?|#|p(?=\d))*(\d{{1,2}}|{_COUNTS})$"
)
_NEUTRAL = re.compile(  # says no disk
    rf"(?:(?:please|then|and|now|install|put|set up|reinstall|{DISTROS}|the|new|system|os|here|instead) ?)+"
)
_NOUN = re.compile(
    rf"\b(?:the|my|an?|that|this|old|{_ORDERS}|{_KIND}|root|home|efi|esp|data|big|small) {PART}\b|"
    rf"\b{PART} (?:number |no\.? )?(?:\d|{_COUNTS})"
)
_TELLS = re.compile(  # what is, and not what is to be done
    r"\b(?:is|are|has|holds?|there's|there is|i have|i've|i use|needs?|uses?|still)\b"
)
_SPECIFIES = re.compile(
    rf"(?:\b(?:root|home|efi|esp|boot)|/)(?: (?:is|as|gets?|with|in|on))? ({_KIND})\b"
)
_SIZE_ALONE = re.compile(r"^(?:the |only |just |about )*(\d+(?:[.,]\d+)? ?[gmt])(?:i?b)?$")
_ALONE = re.compile(  # what may stand around it in a clause without a deed
    rf"(?>(?:only|just|but|the|my|on|of|from|in|that|it|is|its|please|number|no|{PART}|"
    rf"{say.DISK}|{_KIND}|ones?|"
    rf"{_ORDERS}|{_COUNTS}|root|home|esp|efi|\d{{1,2}}|(?:small|bigg?|larg)(?:e|er|est|r)?|"
    rf"\d+ ?[gmt]b?)\b['s .?#]*+)++"
)
_SPLIT = re.compile(
    r"\b(?:and|then)\b (?=(?:then )?"
    r"(?:format|mkfs|mount|wipe|erase|make|partition|put|set|use|delete|install|start|copy)\w*\b)"
)
_DESCRIBES = re.compile(rf"\b(?:{_KIND}|{_ORDERS}|{_COUNTS}|root|home|efi|esp|\d+)\b")
_CHUNKS = re.compile(r"\s*(?:[,+&]|\band\b|\bplus\b)\s*")
_SPELT = tuple(
    "partition windows ubuntu debian fedora linux second third fourth btrfs manjaro encrypted".split()
)


def described(text: str, state: SystemState) -> Told | None:
    """The partitions that a message wants gone or formatted, where it tells them without a name: those that
    fit, and how many are meant. None where it describes none, or means a disk, or makes its layout."""
    text = _spelt(text)
    parts = _TAKEN_BACK.split(text)
    if len(parts) > 1:
        told = [_described(f"format {part}", state) for part in parts]
        if told[0] and (any(told[1:]) or _DESCRIBES.search(parts[-1])):
            return _NONE
    return _described(text, state)


def _described(text: str, state: SystemState) -> Told | None:
    fits: set[str] = set()
    count = 0
    seen = False
    whole = alone = (
        False  # a clause with a deed tells no partition; one without is nothing but that
    )
    own = {disk.path for disk in candidates(state)}
    told = {path for node in named(text, state) for path in disks_of(state, node)} & own
    if _WHOLE.search(text):
        return None
    before: list[Told] = []
    for clause in _clauses(text):
        deed = _asks(clause)
        bare = _ALONE.fullmatch(clause) is not None and not _SPECIFIES.search(clause)
        nodes = named(clause, state)
        disks = {path for node in nodes for path in disks_of(state, node)} & own
        here = list(_told(clause, state, disks or told or own, deed))
        deed = deed or bool(here) and _USES.match(clause) is not None
        if not (deed or bare):
            before = here or before
            continue
        if deed and _MADE.search(clause) or nodes - disks:
            return None
        if before and (not here and _IT.search(clause) or _ITS.search(clause)):
            here = before  # "ubuntu is on the third, format it"
        before = here or before
        whole |= not (here or bare or _NEUTRAL.fullmatch(clause))
        alone |= bool(here) and bare  # "format: sda, second partition"
        for each, most in here:
            seen = True
            fits |= each
            count += most
    if not seen or whole and not alone:
        return None
    return frozenset(fits), min(count, 1) if _ITS.search(text) else count


def _asks(clause: str) -> bool:
    """Whether a clause asks for a deed: `the second partition has windows` does not."""
    if _OS.search(clause):
        return True
    return say.destroys(clause) and (
        say.destroys(_NOUN.sub(" ", clause)) or not _TELLS.search(clause)
    )


def answered(said: str, plan: str, before: str, state: SystemState) -> Told | None:
    """As `described`, of an answer to a question (`plan`): it names several partitions, or it names none and
    the person's message before it (`before`) spoke of one, or it is about more than the answer wants."""
    own = {disk.path for disk in candidates(state)}
    nodes = named(plan, state)
    there = sorted(nodes - own, key=lambda n: plan.find(n.removeprefix("/dev/")))
    plain = _spelt(said)
    kinds = set(_FS.findall(re.sub(r"\([^)]*\)", " ", plan.lower())))  # "ext4 or xfs for sda2?"
    which = len(there) > 1 and len(kinds) < 2 and _WHICH.search(plan) is not None
    if _STAYS.search(plan):
        return _NONE  # what the answer names is to stay
    if which:
        fits = frozenset(there)
    elif not nodes:
        spoken = described(plan, state) or described(f"format {before}", state)
        of_parts = len(own) == 1 and len(kinds) < 2 and _WHICH_ONE.search(plan)
        if not (_A_PART.search(say.folded(f"{before} {plan}")) or spoken or of_parts):
            return None
        fits = spoken[0] if spoken else frozenset(every(own, state))
        if spoken and (say.agrees(plain) or _THAT.search(plain)):
            return spoken
    elif len(nodes & own) == 1 and (_ONLY.search(plain) or _ALONE.fullmatch(plain.strip(" .!?"))):
        fits = frozenset(every(own, state))
    else:
        return None
    found = _answer(plain, there, which, state)
    if found is None and len(there) == 1 and re.search(r"\b(?:only|just)\b.*\bpart", plain):
        return frozenset(there), 1
    if found is None and re.search(r"\bp\d\b", plain):
        return None  # named in another way
    if found is None:
        some = which or not nodes and _WHICH_ONE.search(plan) is not None
        return _NONE if some and not named(said, state) else None
    return fits & found[0], found[1]


def _answer(plain: str, there: list[str], which: bool, state: SystemState) -> Told | None:
    """What a short answer describes; `there`: the partitions in the order of the question."""
    plain = re.sub(r"^(?:yes|yeah|ok|okay|sure|no|well|please|then|and)[, ]+", "", plain).strip(
        " .!?"
    )
    plain = re.sub(r"[, ]+(?:please|pls|then|thanks|only|of (?:them|those|these))$", "", plain)
    plain = _NUMBER_ALONE.sub(r"partition \1", plain)
    plain = _SIZE_ALONE.sub(r"the \1 partition", plain)
    if which:  # not of which kind it is to be
        plain = _KIND_ALONE.sub(r"the \1 partition", plain)
    plain = re.sub(r"\bone\b(?! of)", "partition", plain)
    place = re.search(rf"\b({_ORDERS})\b", plain)
    plain = re.sub(rf"^((?:the |only |just )*(?:{_ORDERS}|\w+(?:er|est)))$", r"\1 partition", plain)
    number = re.match(rf"partition (\d{{1,2}}|{_COUNTS})$", plain)
    if there and number:
        found = described(f"format {plain}", state)
        count = _COUNT.get(number[1]) or int(number[1])
        listed = frozenset(there[count - 1 : count] if count else ())
        return (listed & found[0] if found else listed), 1
    found = described(f"format {plain}", state)
    if place and there:
        listed = frozenset(there[_ORDER[place[1]] :][:1])
        return (listed & found[0] if found else listed), 1
    return found


def may_go(text: str) -> str:
    """A yes to a plan without what only says that it does no harm: `yes, windows can go`."""
    plain = say.folded(text)
    rest = re.sub(r"^(?:(?:yes|yeah|yep|ok|okay|sure)[, ]+)+", "", plain).strip(" .!")
    bare = _ALONE.fullmatch(rest) is not None and not _SPECIFIES.search(rest)
    if _ONLY.search(plain) or bare and not _TOO.search(plain):
        return re.sub(_MAY_GO, " ", plain)
    return ""


def spoken_of(said: str, told: str, before: str, state: SystemState) -> Told | None:
    """What "it" is in a message, where the assistant's text before it (`told`), or the person's before that,
    is about one partition and about no disk."""
    own = {disk.path for disk in candidates(state)}
    plain = say.folded(said)
    if (
        not (_IT.search(plain) and say.destroys(plain))
        or named(said, state)
        or _WHOLE.search(plain)
    ):
        return None
    nodes = named(told, state) or named(before, state)
    if nodes & own or len(nodes) > 1:
        return None
    return (frozenset(nodes), 1) if nodes else described(f"format {before}", state)


@lru_cache(maxsize=2048)
def _spelt(text: str) -> str:
    """A folded text with the words that are read here as they are spelt."""

    def right(found: re.Match[str]) -> str:
        word = found[0]
        if len(word) < 4 or word in _SPELT:
            return word
        for end in ("s", ""):  # "partitons" are several
            one = word.removesuffix(end)
            if word.endswith(end) and (known := next((k for k in _SPELT if say.near(one, k)), "")):
                return known + end
        return word

    return re.sub(r"[a-z]+", right, say.folded(text))


def _clauses(text: str) -> Iterator[str]:
    for clause in say.clauses(text):
        yield from (piece.strip() for piece in _SPLIT.split(clause) if piece.strip())


def _told(clause: str, state: SystemState, disks: set[str], deed: bool) -> Iterator[Told]:
    """What each of the things that a clause describes fits, on these disks, and how many are meant."""
    systems = False
    if _ELSEWHERE.search(clause) and re.search(PART, clause):
        yield _NONE
        return
    for found in _OS.finditer(clause):
        systems = True
        yield of_system(found[1] or found[2], state, disks), _ALL
    rest = _OS.sub(" ", clause)
    numbers = False
    for chunk in _CHUNKS.split(rest):
        if numbers and re.match(rf"(?:\d{{1,2}}|{_COUNTS})\b", chunk):
            chunk = f"partition {chunk}"  # "partitions 3 and 4"
        numbers = _BY_NUMBER.search(chunk) is not None
        more = _OS_TOO.fullmatch(chunk) if systems else None
        if more:
            yield of_system(more[1], state, disks), _ALL
        elif (told := _of_chunk(chunk, state, disks, deed)) is not None:
            yield told


def _of_chunk(chunk: str, state: SystemState, disks: set[str], deed: bool) -> Told | None:
    """What all that a piece of a clause says of a partition fits."""
    parts = {
        disk.partition_path(part.number): (disk.path, place, part)
        for disk in candidates(state)
        if disk.path in disks
        for place, part in enumerate(real(disk))
    }
    single = len(disks) == 1  # then "the second one" is no disk
    kinds = _by_kind(chunk, state, parts, deed)
    if kinds and kinds[1] == _SYSTEM_ALL:
        return of_system(kinds[2], state, disks), _ALL
    base, count = (set(kinds[0]), kinds[1]) if kinds else (set(parts), 1)
    named_ways = [labelled(chunk, parts)]
    if not named_ways[0]:
        roles = [found[1] or found[2] or "root" for found in _BY_ROLE.finditer(chunk)]
        named_ways = [of_role(role, state, set(parts)) for role in roles]
    for found in _OF_SIZE.finditer(chunk):
        near = of_size(found[1] or found[3], found[2] or found[4], parts)
        if near or single:
            named_ways.append(near)
    narrowed = kinds is not None or bool(named_ways)
    base = base.intersection(*named_ways)
    placed = _placed(chunk, base, parts, narrowed=narrowed, single=single)
    if placed is not None:
        return frozenset(placed), count
    return (frozenset(base), count) if narrowed or _ITS.search(chunk) else None


def _by_kind(
    chunk: str, state: SystemState, parts: Parts, deed: bool
) -> tuple[frozenset[str], int, str] | None:
    """The partitions of the kinds that a piece names, how many are meant, and the last kind; None: it names
    none."""
    base = set(parts)
    count, last = 1, ""
    for found in _BY_KIND.finditer(chunk):
        word = found[1] or found[2] or found[3] or found[4]
        behind = chunk[found.end() :]
        if found[2] and deed and _NOT_MEANT.search(chunk[: found.start(2)]):
            continue  # "there's a linux partition" is one
        if found[3] and " with " in found[0] and _FS_WORD.fullmatch(word):
            continue  # "format the root partition with xfs"
        if found[1] and re.fullmatch(_SYSTEM, word) and not _PART_BEHIND.match(behind):
            return frozenset(), _SYSTEM_ALL, word  # "only the old windows"
        last = word
        if word == "linux" and "swap" in chunk:
            continue  # is Linux's in any case
        base &= of_kind(word, state, parts)
        if _SEVERAL.search(found[0] + behind[:12]) or _EACH.match(found[0]):
            count = _ALL
    alone = None if last else _SYSTEM_ALONE.fullmatch(chunk.strip(" .!?"))
    if alone:
        base, last = base & of_kind(alone[1], state, parts), alone[1]
    return (frozenset(base), count, last) if last else None


def _placed(
    chunk: str, base: set[str], parts: Parts, *, narrowed: bool, single: bool
) -> set[str] | None:
    """Those of `base` that a piece tells by size, order or number; None where it does not."""
    told = False
    size = _BY_SIZE.search(chunk) or (
        _BARE_SIZE.search(chunk) if single and len(parts) > 1 else None
    )
    bare = None
    if size and not _NOT_MEANT.search(chunk[: size.start()]):
        base = extreme(base, size[1] in ("small", "little", "tin", "tini"), parts)
        narrowed = told = True
    elif single and not narrowed:
        bare = _BARE_ORDER.search(chunk)
    for found in _BY_ORDER.finditer(chunk):
        base = at(_ORDER[found[1]], base, parts, narrowed)
        narrowed = told = True
    numbers = [found[1] or found[2] for found in _BY_NUMBER.finditer(chunk)]
    if bare and not told and not numbers:
        numbers = [word for word in bare.groups() if word]
        if not numbers and (place := re.search(rf"\b(?:{_ORDERS})\b", bare[0])):
            return at(_ORDER[place[0]], base, parts, False)
    for word in numbers:
        number = _COUNT.get(word) or int(word)
        base = {node for node in base if parts[node][2].number == number}
        told = True
    return base if told else None
