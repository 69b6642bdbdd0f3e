"""Does a line set the language, keymap and time zone that the person named, in whatever words?

    misplaced(talk, command)     # "You spoke of tr_TR, and this has hu_HU"; "": nothing is wrong
    corrected(talk, command)     # the line with what was meant, the likeliest first

`review_copied` compares what is written alike (tr_TR and tr_TR); this knows that Turkey is
Europe/Istanbul. Tables: llmkit.installer.places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llmkit.installer import places
from llmkit.installer import review_words as say
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_step import kept
from llmkit.installer.zones import ZONES, exists

_LOCALE = re.compile(r"(?<![\w-])[a-z]{2,3}_[A-Z]{2}(?=[.@]UTF-8|\b)")
_KEYMAP = re.compile(r"(KEYMAP=|\bloadkeys +|\bset-keymap +)(['\"]?)([^\s'\"|&;>]+)")
_GLUED = re.compile(r"^loadkeys?(?=[a-z])(?!s )")
_ZONE = re.compile(
    r"(\bln (?:-\w+ )*(?:/mnt)?/usr/share/zoneinfo/|\bset-timezone +)(.*?)"
    r"(?=['\"]? *(?:/\S*localtime|&&|;|$))"
)
_WRITTEN = re.compile(
    r"(?<![\w/.-])(?:africa|america|asia|atlantic|australia|europe|pacific)/\w[\w/+-]*\w",
    re.IGNORECASE,
)
_KEYS = re.compile(  # names of keymaps that are no words
    r"(?<![\w-])(?:[a-z]{2}(?:_[a-z]{2})?-(?:latin\d+|qwerty|qwertz|abnt2|utf|cy|nodeadkeys|bepo|mac)|"
    r"dvorak|colemak|bepo|jp106|pl[12]|hu101|trq|trf|slovene|croat|ruwin\w*|bg_\w+(?:-utf8)?)(?![\w-])"
)
_KEYBOARD = re.compile(r"\b(?:keyboards?|keys?|keymap|layout|type|typing)\b")
_TEXTS = re.compile(r"\b(?:lang\w*|locales?|texts?|system|speaks?|messages?|both|everything|all)\b")
_ASIDE = re.compile(  # what is named is not what is wanted, or not only that
    r"\b(?:friends?|boss|wife|husband|son|daughter|colleagues?|lives|behind|ahead|minus|apart|except\w*|besides|"
    r"although|though|but|avoid|instead|hostname|called|named|not|no|never|anywhere|hours?|now|was|were|screen|"
    r"fix|default|second|also|additional|as well|why|once|tried|says?|said|from)\b"
)
_OF_TIME = re.compile(r"\b(?:time|zone|timezone|tz|clock|[A-Z]{2,4})\b", re.ASCII)
_CORRECTION = re.compile(  # not "rather than Athens"
    r"\b(?:wait|sorry|i mean(?:t)?|scratch that|correction|or rather)\b[-,:;. ]*(?:no\b[-,:;. ]*)?|\bno[:,] "
)
_ANY_LOCALE = re.compile(r"\b(?:locales?|us|uk|gb|en|default|usual|standard|utf-?8)\b")
_NO_ZONE = re.compile(  # a zone by another name, or a city that is not the famous one
    r"\b(?:utc|gmt|cest|cet|est|edt|pst|pdt|mst|cst|eastern|central|mountain|pacific)\b|"
    r"\b(?:alabama|alaska|arizona|arkansas|colorado|connecticut|florida|georgia|hawaii|idaho|illinois|iowa|kansas|kentucky|"
    r"louisiana|maine|maryland|massachusetts|michigan|minnesota|mississippi|missouri|montana|nebraska|nevada|"
    r"ohio|oklahoma|ontario|oregon|pennsylvania|tennessee|texas|utah|vermont|virginia|wisconsin|wyoming)\b"
)


def misplaced(talk: Talk, command: str) -> str:
    """What the line has that is not of the language or place that was named."""
    glued = _GLUED.search(command)
    if glued:
        return f"There is no program {command.split()[0]}"
    if not _sets(command):
        return ""
    text = _named(talk)
    wanted = _language(text)
    for locale in _LOCALE.findall(command):
        if not _typed(text, locale) and not wanted.fits(locale):
            return f"You spoke of {' and '.join(wanted.best())}, and this has {locale}"
    keys = _KEYS.findall(text.lower())
    for _, _, keymap in _KEYMAP.findall(command):
        if _typed(text, keymap):
            continue
        if keys and keymap.lower() not in keys:
            return f"You named the keymap {keys[0]}, and this has {keymap}"
        if not keys and not _keymap_fits(text, keymap):
            meant = " and ".join(places.locales(text).best())
            return f"You spoke of {meant}, and this has the keymap {keymap}"
    found = _ZONE.search(command)
    if found and not exists(found[2].strip()):
        return f"There is no time zone {found[2].strip()}"
    if found:
        meant_zones = _zones(text)
        if meant_zones and found[2].strip() not in meant_zones:
            first = min(meant_zones, key=_first)
            return f"You named a place in the zone {first}, and this has {found[2].strip()}"
    return ""


def unnamed(talk: Talk, command: str) -> str:
    """The language or the zone of a line, where nobody has named one like it in the whole conversation."""
    if not _sets(command) or talk.plan() and say.agrees(talk.said):
        return ""
    said = [talk.said, *(turn.text or turn.ran for turn in talk.turns)]
    heard = "\n".join(said)
    zone = _ZONE.search(command)
    if zone and not _NO_ZONE.search(talk.said.lower()) and not _OF_TIME.search(talk.said):
        name = zone[2].strip()
        city = name.rpartition("/")[2].replace("_", " ").lower()
        words = say.words(say.folded(heard.replace("/", " ")))
        near = any(say.near(word, city, 4) for word in words)
        known = any(name in places.zones(text) for text in said)
        if not near and not known and city not in heard.lower():
            return f"This sets the time zone {name}, which nobody named"
    wanted = places.locales(heard)
    for _, _, keymap in _KEYMAP.findall(command):
        if wanted and not _typed(heard, keymap) and not _KEYS.search(heard.lower()):
            if not _is_one(keymap, _maps_of(wanted)) and not _ANY_LOCALE.search(talk.said.lower()):
                return f"This sets the keymap {keymap}, which nobody named"
    if wanted.languages or wanted.countries or _ANY_LOCALE.search(talk.said.lower()):
        return ""
    for locale in _LOCALE.findall(_KEYMAP.sub(" ", command)):
        if not _typed(heard, locale):
            return f"This sets the language {locale}, which nobody named"
    return ""


def corrected(talk: Talk, command: str) -> Iterator[str]:
    """Lines with another locale, keymap or zone in the place of what does not fit."""
    if not _sets(command):
        return
    text = _named(talk)
    wanted = _language(text)
    line = command
    best = wanted.best()
    if best:
        line = _LOCALE.sub(lambda m: m[0] if wanted.fits(m[0]) else best[0], line)
    keys = _KEYS.findall(text.lower())
    maps = [one for one in _keymaps(text) if "*" not in one]
    if keys or maps:
        line = _GLUED.sub("loadkeys ", line)
    found = _KEYMAP.search(line)
    if found and not _typed(text, found[3]):
        if len(keys) == 1 and found[3].lower() not in keys:
            line = _with(found, 3, keys[0])
        elif maps and not keys and not _keymap_fits(text, found[3]):
            line = _with(found, 3, maps[0])
    zone = _ZONE.search(line)
    written = {one.lower() for one in _WRITTEN.findall(text)}
    if zone and len(written) < 2:
        meant = [one for one in ZONES if one.lower() in written] or sorted(_zones(text), key=_first)
        for one in meant[:3]:
            yield _with(zone, 2, one)
    if line != command:
        yield line


def _sets(command: str) -> bool:
    """Whether a line has a locale, a keymap or a zone at all."""
    return any(pattern.search(command) for pattern in (_LOCALE, _KEYMAP, _ZONE, _GLUED))


def _language(text: str) -> places.Wanted:
    """What a text says of the language of the system; where it speaks of a keyboard, a country may
    belong to that, and the language, too."""
    plain = text.lower()
    wanted = places.locales(text)
    keyboard = _KEYBOARD.search(plain) is not None
    if _ASIDE.search(plain) or keyboard and not _TEXTS.search(plain):
        return places.Wanted(frozenset(), frozenset())
    if wanted.languages and keyboard:
        return places.Wanted(wanted.languages, frozenset())
    return wanted


def _keymaps(text: str) -> tuple[str, ...]:
    """The keymaps of the languages and countries of a text, those of the languages first."""
    if _ASIDE.search(text.lower()):
        return ()
    return _maps_of(places.locales(text))


def _maps_of(wanted: places.Wanted) -> tuple[str, ...]:
    """Those of its languages, then those of its countries."""
    alone = (
        places.Wanted(wanted.languages, frozenset()),
        places.Wanted(frozenset(), wanted.countries),
    )
    return tuple(dict.fromkeys(one for some in alone for one in some.keymaps()))


def _keymap_fits(text: str, keymap: str) -> bool:
    maps = _keymaps(text)
    return not maps or _is_one(keymap, maps)


def _is_one(keymap: str, maps: Sequence[str]) -> bool:
    """Whether a keymap is one of these (* stands for any ending)."""
    name = keymap.lower()
    return any(
        name.startswith(one[:-1].lower()) if one.endswith("*") else name == one.lower()
        for one in maps
    )


def _zones(text: str) -> frozenset[str]:
    """The zones of a text's places; none where they may be named for something else."""
    plain = text.lower()
    if _WRITTEN.search(text) or _NO_ZONE.search(plain) or _ASIDE.search(plain):
        return frozenset()
    return places.zones(text)


def _first(zone: str) -> tuple[bool, bool, str]:
    """Names of today before older ones, and before those without an area."""
    return "/" not in zone, zone in places.OLD, zone


def _with(found: re.Match[str], group: int, value: str) -> str:
    line = found.string
    return line[: found.start(group)] + value + line[found.end(group) :]


def _named(talk: Talk) -> str:
    """What names languages and places: the last message, or the plan that it says yes to."""
    corrected = _last_word(talk.said)
    text = kept(talk.said) if corrected == talk.said else corrected
    if places.locales(text) or places.zones(text) or _KEYS.search(text.lower()):
        return text
    plan = talk.plan()
    return plan if plan and say.agrees(talk.said) else text


def _last_word(text: str) -> str:
    """What a person corrects a text to: `Athens, wait, no: Cairo`; the text where nothing is corrected."""
    pieces = _CORRECTION.split(text)
    last = pieces[-1]
    names = places.locales(last) or places.zones(last) or _KEYS.search(last.lower())
    return last if len(pieces) > 1 and names else text


def _typed(text: str, value: str) -> bool:
    """Whether a value stands in the text as it is."""
    return re.search(rf"(?<![\w-]){re.escape(value.lower())}(?![\w-])", text.lower()) is not None
