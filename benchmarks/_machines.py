"""The same case on another machine: other models, other sizes, other kinds of disks.

Each changes the state, the context, what was said and what is due, in step. A case is left out, with
the reason, where the change would make something that was said untrue or another answer right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from _wordings import Variant, named, place

from llmkit.installer import size as sizes
from llmkit.score import Case

MIB = 1 << 20
_KINDS = {"sd": "sata", "vd": "virtio", "nvme": "nvme", "mmcblk": "mmc"}
_FRESH: dict[str, Callable[[int], str]] = {  # names that no layout of conf/ has
    "nvme": lambda n: f"nvme{n + 2}n1",
    "mmcblk": lambda n: f"mmcblk{n + 1}",
    "vd": lambda n: f"vd{chr(ord('c') + n)}",
    "sd": lambda n: f"sd{chr(ord('d') + n)}",
}
_KIND_WORDS = re.compile(
    r"\b(nvme|sata|virtio|e-?mmc|mmc|(sd|memory)[ -]?card|card|usb|stick|thumb|pcie?|m\.2|ssds?|hdds?|"
    r"hard[ -]?(disks?|drives?)|spinning|spinner|rotat\w+|mechanical|magnetic|solid[ -]state|flash|"
    r"virtual|vm|external|portable|platters?)\b",
    re.IGNORECASE,
)
_FAMILY = re.compile(r"\b(sd|vd|hd|nvme|mmcblk)(?=[*\[?{X])", re.IGNORECASE)
MAKERS = ("Quenby", "Hadrix", "Olvane", "Mirrodo", "Tavisk", "Corvela", "Brennik", "Zelquor")
_LINES = ("Tessel", "Ombrio", "Karvik", "Luntra", "Pergo", "Sivane", "Dorrit", "Wexla")
_CODES = ("QX41", "ZB7702", "HV93T", "KJ5510", "YQ88", "VX260J", "ZT14Q", "QF6031")
_GENERIC = frozenset(("ssd", "hdd", "nvme", "usb", "disk", "drive", "card"))
_ENGLISH = frozenset(  # words of models that people also use for something else
    "ultra extreme pro max black blue red green plus one touch expansion desktop go game flash storage "
    "data system store n fit bar duo gold silver value power force spin fire express evo".split()
)
_BRANDS = re.compile(
    r"\b(samsung|crucial|kingston|seagate|toshiba|hitachi|hgst|intel|micron|sandisk|western digital|"
    r"wd|hynix|sabrent|kioxia|corsair|adata|lexar|transcend|patriot|intenso|verbatim|solidigm|pny)\b",
    re.IGNORECASE,
)
_SIZE = re.compile(
    r"(?<![\w.])(\d+(?:\.\d+)?)\s?([KMGT])(?:i?B?|igs?|igabytes?|erabytes?|egabytes?)\b",
    re.IGNORECASE,
)
_SHARES = re.compile(
    r"%|\b(half|halves|halve|third|quarter|equal\w*|percent|evenly|split)\b", re.IGNORECASE
)


def _texts(case: Case) -> list[str]:
    due = [] if case.expected is None else list(case.expected)
    return [*(message["content"] for message in case.messages), *due]


def _moved(
    case: Case, domain: Any, variant: str, state: Any, text: Callable[[str], str],
    end: Callable[[Any], Any],
) -> Variant:  # fmt: skip
    """The case on the machine `state`, its texts changed, once its right answer is right there too."""
    answer = case.expected_response
    if answer is not None:
        answer = {key: text(value) if isinstance(value, str) and key != "type" else value
                  for key, value in answer.items()}  # fmt: skip
    made = named(
        case, variant,
        messages=tuple({**item, "content": text(item["content"])} for item in case.messages),
        state=state,
        system_context=domain.to_context(state),
        expected=None if case.expected is None else tuple(map(text, case.expected)),
        expected_response=answer,
        expected_state=None if case.expected_state is None else end(case.expected_state),
    )  # fmt: skip
    if case.command is not None and made.command is not None:
        before, after = domain.apply(case.state, case.command), domain.apply(state, made.command)
        one, two = domain.check(case.state, case.command), domain.check(state, made.command)
        if before.status != after.status or (one.allowed, one.danger) != (two.allowed, two.danger):
            return "the right command does not carry over"
        if not domain.same(end(before.state), after.state):
            return "the right command ends otherwise"
    return made


def _unlike(case: Case, domain: Any) -> bool:
    """Whether the context says something else than the state would."""
    return bool(domain.to_context(case.state) != case.system_context)


def device(case: Case, domain: Any) -> Variant:
    """Every disk under a name of another kind; the medium that the system runs from keeps its own."""
    disks = [disk.name for disk in case.state.disks if not disk.live]
    if not disks or _unlike(case, domain):
        return "no machine that can be changed"
    texts = _texts(case)
    if any(_KIND_WORDS.search(text) for text in texts):
        return "the kind of a disk is spoken of"
    if any(_FAMILY.search(text) for text in texts):
        return "a pattern stands for several names"
    names = renaming(disks, case.conversation, " ".join((*texts, case.system_context)))
    change = renamer(names)
    rest = " ".join(change(text) for text in texts)
    if any(re.search(rf"{name}\w*", rest, re.IGNORECASE) for name in disks):
        return "something only looks like the name of a disk"

    def end(state: Any) -> Any:
        return renamed(state, names, domain)

    return _moved(case, domain, "device", end(case.state), change, end)


def renaming(disks: Iterable[str], seed: str, text: str) -> dict[str, str]:
    """Disk → a name of another kind that stands nowhere in the text."""
    names: dict[str, str] = {}
    for index, disk in enumerate(disks):
        own = family(disk)
        others = [kind for kind in _FRESH if kind != own]
        kind = others[(place(seed, len(others)) + index) % len(others)]
        numbers = (_FRESH[kind](number) for number in range(20))
        names[disk] = next(
            name for name in numbers if name not in text and name not in names.values()
        )
    return names


def family(disk: str) -> str:
    """sd, vd, nvme or mmcblk."""
    return next((kind for kind in _KINDS if disk.startswith(kind)), "")


def renamer(names: Mapping[str, str]) -> Callable[[str], str]:
    """A function that renames the disks and their partitions in a text, all at once. Braces,
    brackets and variables behind a name (sda{1,2}, sda$n) stand for numbers of partitions."""
    ways = []
    for name in sorted(names, key=len, reverse=True):
        number = r"p(?:\d+|(?=[{\[$]))" if name[-1].isdigit() else r"\d+"
        ways.append(rf"{re.escape(name)}(?:{number})?")
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(ways)})(?!\w)", re.IGNORECASE)

    def one(found: re.Match[str]) -> str:
        word, text = found[0].lower(), found.string[found.end() : found.end() + 1]
        name = next(n for n in sorted(names, key=len, reverse=True) if word.startswith(n))
        tail = word[len(name) :].removeprefix("p")
        new = names[name]
        parted = word[len(name) :] or (not name[-1].isdigit() and text in ("{", "[", "$"))
        made = f"{new}{'p' if new[-1].isdigit() and parted else ''}{tail}"
        return made.upper() if found[0].isupper() else made

    return lambda text: pattern.sub(one, text)


def renamed(state: Any, names: Mapping[str, str], domain: Any) -> Any:
    """The machine with its disks renamed everywhere, the kind of their connection too."""
    data = json.loads(renamer(names)(json.dumps(domain.to_dict(state))))
    new = {name: _KINDS[family(name)] for name in names.values()}
    for disk in data.get("disks", ()):
        if disk["name"] in new:
            if "transport" in disk:
                disk["transport"] = new[disk["name"]]
            if not disk["name"].startswith("sd"):
                disk.pop("rotational", None)
            if disk.get("removable") and not disk["name"].startswith(("sd", "mmc")):
                disk.pop("removable")
    if "swaps" in data:
        data["swaps"].sort()
    if "trees" in data:
        data["trees"] = dict(sorted(data["trees"].items()))
    return domain.from_dict(data)


def model(case: Case, domain: Any) -> Variant:
    """Every disk of a maker and a model that nobody has heard of."""
    olds = [disk.model for disk in case.state.disks if disk.model]
    if not olds or _unlike(case, domain):
        return "no disk has a model"
    said = " ".join(_texts(case))
    several = sum(not disk.live for disk in case.state.disks) > 1
    if several and _KIND_WORDS.search(said):
        return "the kind of a disk is spoken of, which its model may tell"
    models = remodelling(olds, case.conversation)
    change = remodeller(models)
    rest = change(said)
    if _BRANDS.search(rest):
        return "a maker is spoken of in other words"
    left = {word for old in olds for word in old.lower().split() if word not in _GENERIC}
    if left & set(re.findall(r"[\w-]+", rest.lower())):
        return "a word of a model is spoken of alone"

    def end(state: Any) -> Any:
        data = domain.to_dict(state)
        for disk in data.get("disks", ()):
            if "model" in disk:
                disk["model"] = models.get(disk["model"], disk["model"])
        return domain.from_dict(data)

    return _moved(case, domain, "model", end(case.state), change, end)


def remodelling(models: Iterable[str], seed: str) -> dict[str, str]:
    """Model → an invented one of as many words; one maker stays one maker."""
    start = place(seed, len(MAKERS))
    makers: dict[str, str] = {}
    made: dict[str, str] = {}
    for old in dict.fromkeys(models):
        words = old.split()
        maker = makers.setdefault(words[0].lower(), MAKERS[(start + len(makers)) % len(MAKERS)])
        number = (start + len(made)) % len(_LINES)
        own = [maker]
        fresh = iter((_LINES[number], _CODES[number]))
        own += [word if word.lower() in _GENERIC else next(fresh, "") for word in words[1:]]
        made[old] = " ".join(filter(None, own))
    return made


def remodeller(models: Mapping[str, str]) -> Callable[[str], str]:
    """A function that speaks of the new models where a text speaks of the old ones."""
    words: dict[str, str] = {}
    for old, new in models.items():
        words[old.lower()] = new
        fresh = iter(word for word in new.split() if word.lower() not in _GENERIC)
        for word in old.lower().split():
            if word in _GENERIC:
                continue
            other = next(fresh, "")
            if other and word not in _ENGLISH and len(word) > 1:
                words.setdefault(word, other)
    ways = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![\w/])(?:{ways})(?!\w)", re.IGNORECASE)

    def one(found: re.Match[str]) -> str:
        new = words[found[0].lower()]
        return new.lower() if found[0].islower() else new

    return lambda text: pattern.sub(one, text)


def size(case: Case, domain: Any) -> Variant:
    """Every disk larger by the same share, and what filled it too."""
    state = case.state
    if not state.disks or _unlike(case, domain):
        return "no machine that can be changed"
    if state.mappings or state.groups or state.closed:
        return "volumes on top of the partitions"
    texts = _texts(case)
    if case.command is None and any(_SHARES.search(text) for text in texts):
        return "shares of a disk are spoken of"
    rooms = {disk.name: room(disk, case.conversation) for disk in state.disks}
    msdos = state.boot_mode == "bios" or any("dos" in text for text in texts)
    for disk in state.disks:
        dos = msdos or disk.table == "msdos"
        if dos and disk.size <= 2 << 40 < disk.size + rooms[disk.name][1]:
            return "it would cross the limit of an msdos table"

    def end(old: Any) -> Any:
        return grown(old, rooms, domain)

    new = end(state)
    other = {**_human(state, new)}
    if any(len(others) > 1 for others in other.values()):
        return "one size would become two"
    words = {old: next(iter(others)) for old, others in other.items()}
    changed = [
        size for old in state.disks for size in (old.size, *(p.size for p in old.partitions))
    ]

    def change(text: str) -> str:
        return _SIZE.sub(lambda found: words.get(found[0], found[0]), text)

    for text in texts:
        for found in _SIZE.finditer(text):
            if words.get(found[0], found[0]) == found[0] and case.type == "text":
                return "a size is spoken of, and what is due may hang on it"
            if found[0] not in words and any(_near(found[0], one) for one in changed):
                return "a size is spoken of in other words"
    return _moved(case, domain, "size", new, change, end)


def _human(old: Any, new: Any) -> dict[str, set[str]]:
    """Size as it is printed → as it is printed now."""
    found: dict[str, set[str]] = {}
    for one, two in zip(old.disks, new.disks, strict=True):
        found.setdefault(sizes.human(one.size), set()).add(sizes.human(two.size))
        for part, other in zip(one.partitions, two.partitions, strict=True):
            found.setdefault(sizes.human(part.size), set()).add(sizes.human(other.size))
    return found


def _near(text: str, size: int) -> bool:
    number, unit = _SIZE.fullmatch(text).groups()  # type: ignore[union-attr]
    power = "KMGT".index(unit.upper()) + 1
    return any(abs(float(number) * base**power - size) < 0.12 * size for base in (1000, 1024))


def room(disk: Any, seed: str) -> tuple[int, int]:
    """(where, how many bytes) a disk grows: in its largest partition, or where it is free at its
    end. Whole MiB, so that everything stays aligned."""
    share = (13, 29, 47, 83)[place(seed, 4)]  # percent
    length = max(disk.size * share // 100 // MIB, 1) * MIB
    ends = [part.end for part in disk.partitions]
    if not ends or disk.size - max(ends) > disk.size // 25:
        return disk.size - min(64 * MIB, disk.size // 50), length
    holds = [part for part in disk.partitions if part.role != "extended"] or disk.partitions
    return max(holds, key=lambda part: part.size).end - 1, length


def grown(state: Any, rooms: Mapping[str, tuple[int, int]], domain: Any) -> Any:
    """The machine after bytes were put in at a place of each disk: a partition that holds the place
    is longer, those behind it begin later."""
    data = domain.to_dict(state)
    for disk in data.get("disks", ()):
        if disk["name"] not in rooms:
            continue
        where, length = rooms[disk["name"]]
        disk["size"] += length
        for part in disk.get("partitions", ()):
            if part["start"] > where:
                part["start"] += length
            elif part["start"] + part["size"] > where:
                part["size"] += length
        for stale in disk.get("stale", ()):
            if stale["offset"] > where:
                stale["offset"] += length
    return domain.from_dict(data)
