"""Does a line set the language, keymap and time zone that the person named, in whatever words?

    misplaced(talk, command)     # "You spoke of turkish, and this has hu_HU"; "": nothing is wrong
    corrected(talk, command)     # the line with what was meant, the likeliest first

`review_copied` compares what is written alike (tr_TR and tr_TR); this knows that Turkey is
Europe/Istanbul. Tables: llmkit.installer.places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from llmkit.installer import places
from llmkit.installer import review_words as say
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_step import kept
from llmkit.installer.zones import exists

_LOCALE = re.compile(r"(?<![\w-])[a-z]{2,3}_[A-Z]{2}(?=[.@]UTF-8|\b)")
_KEYMAP = re.compile(r"(KEYMAP=|\bloadkeys +|\bset-keymap +)(['\"]?)([^\s'\"|&;>]+)")
_KEYBOARD = re.compile(r"\b(?:keyboard|keys?|keymap|layout|type|typing)\b")
_GLUED = re.compile(r"^loadkeys?(?=[a-z])(?!s )")
_ZONE = re.compile(
    r"(\bln (?:-\w+ )*(?:/mnt)?/usr/share/zoneinfo/|\bset-timezone +)(.*?)"
    r"(?=['\"]? *(?:/\S*localtime|&&|;|$))"
)
_WRITTEN = re.compile(
    r"(?<![\w/.-])(?:africa|america|asia|atlantic|australia|europe|pacific)/\w", re.I
)
_KEYS = re.compile(  # names of keymaps that are no words
    r"(?<![\w-])(?:[a-z]{2}(?:_[a-z]{2})?-(?:latin\d+|qwerty|qwertz|abnt2|utf|cy|nodeadkeys|bepo|mac)|"
    r"dvorak|colemak|bepo|br-abnt2|jp106|pl[12]|hu101|trq|trf|slovene|croat|ruwin\w*|bg_\w+(?:-utf8)?|de_ch-latin1|fr_ch-latin1)(?![\w-])"
)


def misplaced(talk: Talk, command: str) -> str:
    """What the line has that is not of the language or place that was named."""
    glued = _GLUED.search(command)
    if glued:
        return f"There is no program {command.split()[0]}"
    text = _named(talk)
    wanted = _wanted(text)
    for locale in _LOCALE.findall(command):
        if not _typed(text, locale) and not wanted.fits(locale):
            return f"You spoke of {_names(wanted)}, and this has {locale}"
    keys = _KEYS.findall(text.lower())
    for _, _, keymap in _KEYMAP.findall(command):
        if keys:
            if keymap.lower() not in keys and not (
                text != kept(talk.said) and _typed(text, keymap)
            ):
                return f"You named the keymap {keys[0]}, and this has {keymap}"
        elif not _typed(text, keymap) and not _keymap_fits(wanted, keymap):
            return f"You spoke of {_names(wanted)}, and this has the keymap {keymap}"
    found = _ZONE.search(command)
    if found and not exists(found[2].strip()):
        return f"There is no time zone {found[2].strip()}"
    if found and not _WRITTEN.search(text):
        meant = places.zones(text)
        zone = found[2].strip()
        if meant and zone not in meant:
            return f"You named a place in the zone {sorted(meant)[0]}, and this has {zone}"
    return ""


def corrected(talk: Talk, command: str) -> Iterator[str]:
    """Lines with another locale, keymap or zone in the place of what does not fit."""
    text = _named(talk)
    wanted = _wanted(text)
    line = command
    wrong = [one for one in _LOCALE.findall(command) if not wanted.fits(one)]
    best = wanted.best()
    if wrong and best:
        line = _LOCALE.sub(lambda m: m[0] if wanted.fits(m[0]) else best[0], line)
    keys = _KEYS.findall(text.lower())
    maps = [one for one in wanted.keymaps() if "*" not in one]
    if keys or maps:
        line = _GLUED.sub("loadkeys ", line)
    found = _KEYMAP.search(line)
    if found and keys and found[3].lower() not in keys:
        line = _with(found, 3, keys[0])
    elif found and maps and not keys and not _keymap_fits(wanted, found[3]):
        line = _with(found, 3, maps[0])
    zone = _ZONE.search(line)
    written = re.findall(r"(?<![\w/])[A-Z]\w+/[A-Z][\w/+-]*\w", text)
    if zone:
        meant = [one for one in written if exists(one)] or sorted(places.zones(text), key=_first)
        for one in meant[:3]:
            yield _with(zone, 2, one)
    if line != command:
        yield line


def _wanted(text: str) -> places.Wanted:
    """The languages of a text; where it speaks of a keyboard, too, a country may belong to that."""
    wanted = places.locales(text)
    if wanted.languages and _KEYBOARD.search(text.lower()):
        return places.Wanted(wanted.languages, frozenset())
    return wanted


def _first(zone: str) -> tuple[bool, bool, str]:
    """Names of today before older ones, and before those without an area."""
    return "/" not in zone, zone in ("Europe/Kiev", "Asia/Istanbul", "Asia/Calcutta"), zone


def _with(found: re.Match[str], group: int, value: str) -> str:
    line = found.string
    return line[: found.start(group)] + value + line[found.end(group) :]


def _named(talk: Talk) -> str:
    """What names languages and places: the last message, or the plan that it says yes to."""
    text = kept(talk.said)
    if places.locales(text) or places.zones(text) or _KEYS.search(text.lower()):
        return text
    plan = talk.plan()
    return plan if plan and say.agrees(talk.said) else text


def _typed(text: str, value: str) -> bool:
    """Whether a value stands in the text as it is."""
    return re.search(rf"(?<![\w-]){re.escape(value.lower())}(?![\w-])", text.lower()) is not None


def _keymap_fits(wanted: places.Wanted, keymap: str) -> bool:
    maps = wanted.keymaps()
    name = keymap.lower()
    return not maps or any(
        name.startswith(one[:-1].lower()) if one.endswith("*") else name == one.lower()
        for one in maps
    )


def _names(wanted: places.Wanted) -> str:
    return " and ".join(wanted.best()) or "another language"
