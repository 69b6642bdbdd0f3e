"""Put slips into what a person typed: casing, punctuation, neighbouring keys, lost letters.

    from llmkit.noise import Noise
    Noise(rate=0.4, casing=1, punctuation=1, keys=1, letters=1).forms("use the bigger disk", seed=7)

What must stay exact stays exact: words that hold a digit or one of / . _ - : = @ (devices, sizes,
zones), words in quotes, and every word that a slot of the template filled. A slip that changes
what was said is none: negations and single letters are left alone too.
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(r"\S+")
_PLAIN = re.compile(r"([(\"']*)([A-Za-z]+(?:'[a-z]+)?)([)\"'.,!?;]*)")
_KEEP = frozenset(
    "no not non nope yes y n don't dont never first second third other another both "
    "uefi bios".split()
)

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
        rng = random.Random(zlib.crc32(f"{seed}\0{index}\0{text}".encode()))  # quicker than text
        fixed = [value for value in keep if value in text]
        for _ in range(_TRIES):
            slipped = text
            for way in rng.choices(_WAYS, weights, k=rng.randint(1, self.slips)):
                slipped = way(slipped, rng, keep)
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
def _spots(text: str, keep: tuple[str, ...]) -> list[tuple[int, int]]:
    """(start, end) of the words that may be spoilt."""
    closed = [
        (found.start(), found.end())
        for value in keep
        for found in re.finditer(re.escape(value), text)
    ]
    spots = []
    for token in _TOKEN.finditer(text):
        match = _PLAIN.fullmatch(token[0])
        if match is None or match[1] or len(match[2]) < 2 or match[2].lower() in _KEEP:
            continue
        start, end = token.start() + match.start(2), token.start() + match.end(2)
        if any(start < after and before < end for before, after in closed):
            continue
        spots.append((start, end))
    return spots


def _case(text: str, rng: random.Random, keep: tuple[str, ...]) -> str:
    """All words lower, upper or with a capital; or one word shouted."""
    spots = _spots(text, keep)
    if not spots:
        return text
    change = rng.choice((str.lower, str.lower, str.upper, str.capitalize))
    if rng.random() < 0.3:
        spots = [rng.choice(spots)]
    elif change is str.capitalize:
        spots = spots[:1]
    for start, end in spots:
        text = text[:start] + change(text[start:end]) + text[end:]
    return text


def _punctuate(text: str, rng: random.Random, keep: tuple[str, ...]) -> str:
    """No full stop, three of them, an exclamation mark, a lost comma, two spaces."""
    way = rng.randrange(5)
    if way == 0:
        return text.rstrip(".!?") or text
    if way == 1:
        return text.rstrip(".!?") + rng.choice(("...", "!!", "??" if text.endswith("?") else " !"))
    if way == 2:
        return text.replace(", ", " ", 1)
    if way == 3:
        return text.replace("'", "", 1) if not any("'" in value for value in keep) else text
    place = text.find(" ", rng.randrange(len(text)))
    return text if place < 0 else text[:place] + " " + text[place:]


@lru_cache(maxsize=8192)
def _long_spots(text: str, keep: tuple[str, ...]) -> list[tuple[int, int]]:
    return [(start, end) for start, end in _spots(text, keep) if end - start >= 4]


def _slip(text: str, rng: random.Random, keep: tuple[str, ...]) -> str:
    """A neighbouring key instead of, or beside, the right one."""
    spots = _long_spots(text, keep)
    if not spots:
        return text
    start, end = rng.choice(spots)
    place = rng.randrange(start + 1, end)
    near = NEIGHBOURS.get(text[place].lower())
    if not near:
        return text
    return text[:place] + rng.choice(near) + text[place + rng.randrange(2) :]


def _letters(text: str, rng: random.Random, keep: tuple[str, ...]) -> str:
    """A letter lost, doubled, or swapped with the next."""
    spots = _long_spots(text, keep)
    if not spots:
        return text
    start, end = rng.choice(spots)
    place = rng.randrange(start + 1, end)
    way = rng.randrange(3)
    if way == 0:
        return text[:place] + text[place + 1 :]
    if way == 1:
        return text[:place] + text[place] + text[place:]
    if place + 1 >= end:
        place -= 1
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


_WAYS = (_case, _punctuate, _slip, _letters)
