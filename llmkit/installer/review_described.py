"""Which partitions does a message describe, without their names?

    described("format the windows partition of sda", state)     # frozenset({"/dev/sda1"})

"The ntfs partition", "the second partition of sda", "the smaller partition", "root" single out something on a
disk: a line that empties anything else is not what was asked for, and one that empties the disk least of
all. Only a clause with a deed counts; one that makes what it speaks of does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmkit.installer import review_words as say
from llmkit.installer.effects.gpt import guid
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_refer import EFI, candidates, efi, named
from llmkit.installer.state import SystemState

SWAP = (guid("8200"), "82")
_HOME = guid("8302")
_NO_DATA = frozenset((*EFI, *SWAP, guid("ef02")))  # and BIOS boot: neither the system nor homes
_WINDOWS = frozenset({"ntfs", "BitLocker"})
_LINUX = frozenset("ext2 ext3 ext4 btrfs xfs f2fs crypto_LUKS LVM2_member swap".split())
_DISK = r"(?:/dev/)?(?:[svh]d[a-z]|nvme\d+n\d+|mmcblk\d+)"
_PART = r"part(?:ition)?|volume"
_ON = rf"(?:on|of|from|in) (?:the )?{_DISK}\b"
_ONE = rf"(?:(?:{_PART})\b(?!s)(?! table)|one {_ON})"  # one that is on a disk
_THE = r"(?<!with )(?<!as )(?<!to )(?<!into )(?<!use )\b(?:the|my|that|this|your|its|only|old|existing) "
_OLD = r"(?:(?:old|existing|big|small|current|other) )*"
_DISTROS = "linux|ubuntu|debian|fedora|mint"
_KIND = rf"ntfs|windows|ext[234]|btrfs|xfs|f2fs|v?fat(?:32)?|swap|luks|encrypted|{_DISTROS}"
_ORDER = {
    "first": 0,
    "1st": 0,
    "second": 1,
    "2nd": 1,
    "third": 2,
    "3rd": 2,
    "fourth": 3,
    "4th": 3,
    "last": -1,
}
_COUNT = {"one": 1, "two": 2, "three": 3, "four": 4}
_BY_KIND = re.compile(
    rf"{_THE}{_OLD}({_KIND})\b(?! (?:disk|drive|file ?system|fs|install|system)\b)|"
    rf"(?<!with )(?<!as )(?<!an )(?<!\ba )(?<!one )(?<!single )(?<!to )\b({_KIND}) {_ONE}"
)
_ORDERS = "|".join(_ORDER)
_BY_ORDER = re.compile(
    rf"\b({_ORDERS})(?=(?:(?:,? (?:and|&)|,) (?:the )?(?:{_ORDERS}))* (?:{_ONE}|{_ON}))"
)
_BY_NUMBER = re.compile(
    rf"\b(?:{_PART})(?: ?(?:number|no\.?|#))? ?(\d{{1,2}}|{'|'.join(_COUNT)})\b(?! ?[gmt]i?b?\b)|"
    rf"\b(?:number|no\.?|#) ?(\d{{1,2}}|{'|'.join(_COUNT)}),? {_ON}"
)
_BY_SIZE = re.compile(rf"\b(small|little|tini?|bigg?|larg)(?:e|y)?(?:er|est)? {_ONE}")
_OF_SIZE = re.compile(
    rf"\b(?:the|my|that|this) (\d+(?:[.,]\d+)?) ?([gmt])(?:i?b)? (?:one|{_PART})\b(?!s)"
)
_BY_ROLE = re.compile(
    rf"(?:(?<!with )(?<!as )(?<!for )(?<!to )(?<!like )\b(root|home|efi|esp|boot|(?:data|system)(?= part))"
    rf"(?: (?:{_PART})\b)?(?! (?:is|account|user|login|password|pw|dir\w*|folder|disk|drive)\b)"
    rf"(?!s)|(?<!\S)(/)(?!\S))"
)
_MAY_GO = (
    r"\b(windows|win ?\d+) (?:can|may|must|shall|should|will|has to|is to) (?:all )?(?:be \w+|go)\b"
)
_OS = re.compile(
    r"\b(?:eras|wip|remov|delet|overwrit|replac|nuk|zap|destroy|format|get rid of|install over|clear|purg)"
    r"(?:e|ing)? (?:the |my |our |this |that |all |of |only |just |old |existing |installed |current )*"
    rf"(windows|win ?\d+|{_DISTROS}|other (?:os|system))\b(?!'s| (?:disk|drive|part|volume))|"
    rf"{_MAY_GO}"
)
_ITS = re.compile(r"\b(?:its|that|this|their) (?:old |own )?part(?:ition)?\b(?! table)")
_ALONE = re.compile(  # what may stand around it in a clause without a deed
    rf"(?:(?:only|just|the|my|on|of|from|in|that|it|is|it's|its|please|one|number|no|{_PART}|{_DISK}|{_KIND}|"
    rf"{_ORDERS}|\d{{1,2}}|and|big|small|larg|bigg)(?:er|est)?\b[ .?#]*)+"
)
_MADE = re.compile(  # it is to be made, or it is not one
    r"\b(?:mak\w+|creat\w+|new|into|split|lay\w*|divid\w*|add|give|each|rest|both|else|"
    r"(?<!partition )(?<!part )(?<!number )(?:two|three)|(?:partition|part|one)s|activat\w*|active|"
    r"(?:big|small)\w* one\b(?! (?:on|of|from|in) ))\b|"
    r"\d ?[gmt](?:i?b)?\b(?! (?:one|part))|"
    r"(?:^|\b(?:and|then|please|to|re|just|now|also) ?)(?:re)?partition(?:ing)?\b"
    r"(?! (?:number|no\b|#|\d|one))"
)
_WHICH = re.compile(r"\b(?:which|or)\b", re.IGNORECASE)
_A_PART = re.compile(
    rf"\b(?:an?|one|some|which|what|single) (?:of (?:the|its|my|these) )?(?:old )?(?:{_PART})s?\b(?! table)"
)
_ONE_WORD = re.compile(r"\bone\b")
_NUMBER_ALONE = re.compile(r"(?<!partition )\b(?:number |no\.? ?|#)?(\d|two|three|four)(?!\w)")
_KIND_ALONE = re.compile(rf"^(?:the )?({_KIND})(?: one)?$")
_SPLIT = re.compile(
    r"\b(?:and|then)\b (?=(?:then )?"
    r"(?:format|mkfs|mount|wipe|erase|make|partition|put|set|use|delete)\w*\b)"
)


def described(text: str, state: SystemState) -> tuple[frozenset[str], int] | None:
    """The partitions that a message wants gone or formatted, where it tells them without a name: those that
    fit, and how many of them are meant. None where it describes none, or makes a disk's layout, too."""
    fits: set[str] = set()
    count = 0
    whole = alone = (
        False  # a clause with a deed tells no partition; one without a deed is nothing but that
    )
    own = {disk.path for disk in candidates(state)}
    told = {path for node in named(text, state) for path in disks_of(state, node)} & own
    for clause in _clauses(text):
        deed = say.destroys(clause) or _OS.search(clause)
        bare = _ALONE.fullmatch(clause) is not None
        if not (deed or bare):
            continue
        disks = {path for node in named(clause, state) for path in disks_of(state, node)} & own
        if deed and _MADE.search(clause) or named(clause, state) - disks:
            return None
        found = list(_told(clause, state, disks or told or own))
        whole |= not (found or bare)
        alone |= bool(found) and bare  # "format: sda, second partition"
        for each, most in found:
            fits |= each
            count += most
    if not count or whole and not alone:
        return None
    return frozenset(fits), 1 if _ITS.search(say.folded(text)) else count


def may_go(text: str) -> str:
    """A yes to a plan without what only says that it does no harm: `yes, windows can go`."""
    return re.sub(_MAY_GO, " ", say.folded(text))


def answered(
    said: str, plan: str, before: str, state: SystemState
) -> tuple[frozenset[str], int] | None:
    """As `described`, of an answer to a question (`plan`) that is about a partition: it names several, or it
    names none and the person's message before it (`before`) spoke of one."""
    own = {disk.path for disk in candidates(state)}
    there = [node for node in named(plan, state) if node not in own]
    if len(there) > 1 and _WHICH.search(plan):
        fits = frozenset(there)
    elif not there and not named(plan, state):
        spoken = described(f"format {before}", state)
        if not (_A_PART.search(say.folded(f"{before} {plan}")) or spoken):
            return None
        fits = spoken[0] if spoken else frozenset(_all(own, state))
    else:
        return None
    plain = _NUMBER_ALONE.sub(r"partition \1", _ONE_WORD.sub("partition", say.folded(said)))
    plain = _KIND_ALONE.sub(r"the \1 partition", plain)
    told = described(f"format {plain}", state)
    if told:
        fits &= told[0]
    order = sorted(there, key=plan.find)
    place = re.search(rf"\b({_ORDERS})\b", plain)
    if place and there:
        fits &= frozenset(order[_ORDER[place[1]] :][:1])
    return fits, told[1] if told else 1


def _all(disks: set[str], state: SystemState) -> set[str]:
    """The partitions of these disks."""
    return {
        disk.partition_path(part.number)
        for disk in candidates(state)
        if disk.path in disks
        for part in disk.partitions
    }


def _clauses(text: str) -> Iterator[str]:
    for clause in say.clauses(text):
        yield from (piece for piece in _SPLIT.split(clause) if piece.strip())


def _told(clause: str, state: SystemState, disks: set[str]) -> Iterator[tuple[frozenset[str], int]]:
    """What each way to describe partitions of these disks fits, and how many it means."""
    parts = {
        disk.partition_path(part.number): (disk, place, part)
        for disk in candidates(state)
        if disk.path in disks
        for place, part in enumerate(disk.partitions)
    }
    for found in _BY_KIND.finditer(clause):
        kinds = _kinds(found[1] or found[2])
        yield (
            frozenset(
                n for n, (_, _, p) in parts.items() if p.signature and p.signature.kind in kinds
            ),
            1,
        )
    for found in _BY_ORDER.finditer(clause):
        place = _ORDER[found[1]]
        yield (
            frozenset(
                n
                for n, (d, at, _) in parts.items()
                if at in (place, place % max(1, len(d.partitions)))
            ),
            1,
        )
    for found in _BY_NUMBER.finditer(clause):
        word = found[1] or found[2]
        number = _COUNT.get(word) or int(word)
        yield frozenset(n for n, (_, _, p) in parts.items() if p.number == number), 1
    for found in _BY_SIZE.finditer(clause):
        small = found[1] in ("small", "little", "tin", "tini")
        best = set()
        for disk in candidates(state):
            sizes = [p.size for d, _, p in parts.values() if d is disk]
            if sizes:
                most = min(sizes) if small else max(sizes)
                best |= {n for n, (d, _, p) in parts.items() if d is disk and p.size == most}
        yield frozenset(best), 1
    for found in _OF_SIZE.finditer(clause):
        size = float(found[1].replace(",", "."))
        sizes = [size * base ** "mgt".index(found[2]) * base**2 for base in (1000, 1024)]
        near = {
            node
            for node, (_, _, p) in parts.items()
            if any(abs(s - p.size) <= 0.03 * p.size for s in sizes)
        }
        if near:
            yield frozenset(near), 1
    for found in _BY_ROLE.finditer(clause):
        yield _of_role(found[1] or "root", state, frozenset(parts)), 1
    if _ITS.search(clause) and not _OS.search(clause):
        yield frozenset(parts), 1
    for found in _OS.finditer(clause):
        yield _of_system(found[1] or found[2], state, frozenset(parts)), len(parts)


def _kinds(word: str) -> frozenset[str]:
    if word in ("ntfs", "windows"):
        return _WINDOWS
    if "fat" in word:
        return frozenset({"vfat"})
    if word in ("luks", "encrypted"):
        return frozenset({"crypto_LUKS"})
    if word in ("linux", "ubuntu", "debian", "fedora", "mint"):
        return _LINUX - {"swap"}
    return frozenset({word})


def _of_role(role: str, state: SystemState, parts: frozenset[str]) -> frozenset[str]:
    esps = efi(state) & parts
    if role in ("efi", "esp", "boot"):
        return esps or parts
    known = roles(state)
    if role == "home":
        homes = frozenset(node for node in parts if known.get(node) == "home")
        return homes or parts - esps
    others = _WINDOWS | {"vfat", "swap"}
    held = _held(state)
    return frozenset(
        n for n in parts - esps if known.get(n) != "swap" and held.get(n, "") not in others
    )


def _of_system(name: str, state: SystemState, parts: frozenset[str]) -> frozenset[str]:
    """All that belongs to a system: of the disks that hold it, all but what is another one's."""
    its, others = (_WINDOWS, _LINUX) if name.startswith("win") else (_LINUX, _WINDOWS)
    held = _held(state)
    found: set[str] = set()
    for disk in candidates(state):
        kinds = {node: held.get(node, "") for node in _all({disk.path}, state)}
        if not name.startswith("other") and its & set(kinds.values()):
            shared = {"vfat"} if others & set(kinds.values()) else set()  # both start from it
            found |= {node for node, kind in kinds.items() if kind not in others | shared}
    return parts & found


def _held(state: SystemState) -> dict[str, str]:
    """The kinds of file system of all partitions that have one."""
    return {
        disk.partition_path(part.number): part.signature.kind
        for disk in candidates(state)
        for part in disk.partitions
        if part.signature
    }


def roles(state: SystemState) -> dict[str, str]:
    """Which partitions are for the system, and which for homes: by type, else by their order."""
    found: dict[str, str] = {}
    for disk in candidates(state):
        for part in disk.partitions:
            if part.type in EFI or part.type in SWAP:
                found[disk.partition_path(part.number)] = "efi" if part.type in EFI else "swap"
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
