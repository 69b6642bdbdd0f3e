"""Put slips into what a person typed: casing, punctuation, neighbouring keys, lost letters.

    from llmkit.noise import Noise
    Noise(rate=0.4, casing=1, punctuation=1, keys=1, letters=1).forms("use the bigger disk", seed=7)

What must stay exact stays exact: words that hold a digit or one of / . _ - : = @ (devices, sizes,
zones), words in quotes, and every word that a slot of the template filled. A slip that changes
what was said is none: negations and single letters are left alone too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

_TOKEN = re.compile(r"\S+")
_PLAIN = re.compile(r"([(\"']*)([A-Za-z]+(?:'[a-z]+)?)([)\"'.,!?;]*)")
_BETWEEN = re.compile(r"[.,!?;]+(?=\s|$)")  # what stands behind a word, not within one
_KEEP = frozenset(
    "no not non nope yes y n don't dont never first second third other another both "
    "uefi bios".split()
)

_T = TypeVar("_T")
_SIXTEEN = struct.Struct("<16I").unpack
_TRIES = 4  # a way that finds nothing to do (no comma, a short word) leaves the text as it was

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    near: dict[str, str] = {}
    for row_index, row in enumerate(_ROWS):
        for index, key in enumerate(row):
            beside = row[max(index - 1, 0) : index] + row[index + 1 : index + 2]
            below = _ROWS[row_index + 1] if row_index + 1 < len(_ROWS) else ""
            near[key] = beside + below[max(index - 1, 0) : index + 1]
    return near


NEIGHBOURS = _neighbours()


class _Dice:
    """Draws that follow from a text. Setting up random.Random takes longer than a slip does, and a
    slip needs a handful of draws."""

    __slots__ = ("_digest", "_draws")

    def __init__(self, text: str) -> None:
        self._digest = text.encode()
        self._draws: list[int] = []

    def below(self, limit: int) -> int:
        """0 to limit - 1; `limit` is small beside the 2**32 values of a draw."""
        if not self._draws:
            self._digest = blake2b(self._digest).digest()
            self._draws = list(_SIXTEEN(self._digest))
        return self._draws.pop() % limit

    def choice(self, items: Sequence[_T]) -> _T:
        """One of the items."""
        return items[self.below(len(items))]

    def weighed(self, items: Sequence[_T], weights: Sequence[float]) -> _T:
        """One of the items, by weight; one of them has a weight."""
        place = self.below(1 << 32) / (1 << 32) * sum(weights)
        chosen = items[0]
        for item, weight in zip(items, weights, strict=True):
            if weight > 0:
                chosen = item
                if place < weight:
                    break
                place -= weight
        return chosen


@dataclass(frozen=True, slots=True)
class Noise:
    """How often a wording is slipped in, and in which ways.

    `rate` is the share of wordings with slips (0 to 1); the others are weights of the ways;
    `slips` is the most slips in one wording; `pool` how many slipped forms a wording has at
    most, so that the number of distinct wordings does not grow with the data set.
    """

    rate: float = 0.0
    casing: float = 1.0
    punctuation: float = 1.0
    keys: float = 1.0
    letters: float = 1.0
    slips: int = 2
    pool: int = 16

    def form(self, text: str, seed: int | str, index: int, keep: tuple[str, ...] = ()) -> str:
        """Slipped form `index` (0 to `pool` - 1) of `text`: the same for the same arguments.

        `keep` are texts (values of slots) that stay as they are wherever they stand. Where no
        slip is possible, the text itself.
        """
        weights = (self.casing, self.punctuation, self.keys, self.letters)
        if not any(weights):
            return text
        dice = _Dice(f"{seed}\0{index}\0{text}")
        fixed = [value for value in keep if value in text]
        for _ in range(_TRIES):
            slipped = text
            for _ in range(1 + dice.below(self.slips)):
                slipped = dice.weighed(_WAYS, weights)(slipped, dice, keep)
            whole = all(map(slipped.__contains__, fixed))
            if slipped != text and whole and any(map(str.isalnum, slipped)):
                return slipped
        return text

    def forms(self, text: str, seed: int | str, keep: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The distinct slipped forms of `text`, at most `pool`; () when `rate` is 0."""
        if self.rate <= 0:
            return ()
        drawn = (self.form(text, seed, index, keep) for index in range(self.pool))
        return tuple(form for form in dict.fromkeys(drawn) if form != text)


@lru_cache(maxsize=8192)  # a text is slipped in `pool` times
def _spots(text: str, keep: tuple[str, ...], cased: bool = False) -> list[tuple[int, int]]:
    """(start, end) of the words that may be spoilt; `cased`: of those that may be in capitals too."""
    closed = [
        (found.start(), found.end())
        for value in keep
        for found in re.finditer(re.escape(value), text)
    ]
    spots = []
    for token in _TOKEN.finditer(text):
        match = _PLAIN.fullmatch(token[0])
        if match is None or match[1]:
            continue
        if not cased and (len(match[2]) < 2 or match[2].lower() in _KEEP):
            continue  # a letter more or less is another word; its capitals are not
        start, end = token.start() + match.start(2), token.start() + match.end(2)
        if any(start < after and before < end for before, after in closed):
            continue
        spots.append((start, end))
    return spots


def _title(word: str) -> str:
    """The word with a capital, the rest as it is (str.capitalize makes a shout of "USB" a whisper)."""
    return word[:1].upper() + word[1:]


def _case(text: str, dice: _Dice, keep: tuple[str, ...]) -> str:
    """All words lower, upper or each with a capital, the first with one; or one word changed."""
    spots = _spots(text, keep, cased=True)
    if not spots:
        return text
    way = dice.below(6)
    change = (str.lower, str.lower, str.upper, str.upper, _title, _title)[way]
    if dice.below(10) < 2:
        spots = [dice.choice(spots)]
    elif way == 5:
        spots = spots[:1]
    for start, end in spots:
        text = text[:start] + change(text[start:end]) + text[end:]
    return text


def _punctuate(text: str, dice: _Dice, keep: tuple[str, ...]) -> str:
    """No full stop, three of them, an exclamation mark, a lost comma, two spaces; or none at all."""
    way = dice.below(6)
    if way == 5:
        return _BETWEEN.sub("", text) if not any(map(_BETWEEN.search, keep)) else text
    if way == 0:
        return text.rstrip(".!?") or text
    if way == 1:
        return text.rstrip(".!?") + dice.choice(("...", "!!", "??" if text.endswith("?") else " !"))
    if way == 2:
        return text.replace(", ", " ", 1)
    if way == 3:
        return text.replace("'", "", 1) if not any("'" in value for value in keep) else text
    place = text.find(" ", dice.below(len(text)))
    return text if place < 0 else text[:place] + " " + text[place:]


@lru_cache(maxsize=8192)
def _long_spots(text: str, keep: tuple[str, ...]) -> list[tuple[int, int]]:
    return [(start, end) for start, end in _spots(text, keep) if end - start >= 4]


def _slip(text: str, dice: _Dice, keep: tuple[str, ...]) -> str:
    """A neighbouring key instead of, or beside, the right one."""
    spots = _long_spots(text, keep)
    if not spots:
        return text
    start, end = dice.choice(spots)
    place = start + 1 + dice.below(end - start - 1)
    near = NEIGHBOURS.get(text[place].lower())
    if not near:
        return text
    return text[:place] + dice.choice(near) + text[place + dice.below(2) :]


def _letters(text: str, dice: _Dice, keep: tuple[str, ...]) -> str:
    """A letter lost, doubled, or swapped with the next."""
    spots = _long_spots(text, keep)
    if not spots:
        return text
    start, end = dice.choice(spots)
    place = start + 1 + dice.below(end - start - 1)
    way = dice.below(3)
    if way == 0:
        return text[:place] + text[place + 1 :]
    if way == 1:
        return text[:place] + text[place] + text[place:]
    if place + 1 >= end:
        place -= 1
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


_WAYS = (_case, _punctuate, _slip, _letters)
