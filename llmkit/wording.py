"""What a person typed, as the training data would have it: typing errors and odd capitals taken back.

    wording = Wording.of(map(said, snapshots))      # words.json of an adapter: read_wording(folder)
    wording.normalized("FROMAT teh secodn disk")    # 'format teh second disk'

A small model reads a word that it never saw as other tokens, and answers otherwise. So the model reads
the words that it was taught: an unknown one that is one letter (or two letters swapped) away from a
common one becomes that one, and one in capitals that the data never shows gets the form that it shows
most. Only the model's prompt is changed; a domain's review and the record keep what was typed.

Left as they are: words of fewer than four letters, words that hold a digit or one of / . _ - : = @ (devices,
sizes, paths), what stands in quotes, words of a dictionary, and words of the machine's context or of an
earlier answer. Nothing becomes a name: a word that answers copy (a host's, an account's) is never put in.
The candidates are those of Damerau-Levenshtein distance 1, from pyspellchecker.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llmkit.errors import MissingExtra

if TYPE_CHECKING:
    from spellchecker import SpellChecker

log = logging.getLogger(__name__)

WORDS = "words.json"  # beside an adapter's weights
_MOST_BYTES = 5_000_000  # of a file that is read
_TOKEN = re.compile(r"\S+")
_PLAIN = re.compile(r"([(\"'“‘]*)([^\W\d_]+(?:['’][^\W\d_]+)?)([)\"'”’.,!?;:…]*)")
_QUOTED = re.compile(r"(?<!\w)([\"'`])(?=\S).*?(?<=\S)\1(?!\w)|“[^”]*”")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_ENDS = tuple(".!?:…")  # the next word begins a sentence
_AND = re.compile(r"[;&|]+")
_SHORTEST = 4  # letters of a word that may have a slip
_USUAL = 0.03  # share of a word's messages in capitals that makes them usual: they stay
_COMMON = 5  # messages with a word that another may become
_RARER = 20  # times, that a slip is rarer than its word: the data has slips of its own
_REMEMBERED = 20_000  # words that were looked up, of whoever asks a server
_COPIED = 0.3  # share of its messages whose answer copies a word: it is a name


@dataclass(frozen=True)
class Wording:
    """`shown`: a word as it is written → messages that have it; `names`: words that answers copy."""

    shown: Mapping[str, int]
    names: frozenset[str] = frozenset()
    _memo: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, said: Iterable[tuple[str, str]]) -> Self:
        """The words of messages, each with the command that answers it ("" for a text)."""
        shown: Counter[str] = Counter()
        copied: Counter[str] = Counter()
        for message, command in set(said):
            forms = set(_forms(message))
            shown.update(forms)
            copied.update({form.lower() for form in forms} & _arguments(command))
        totals = cls(shown)._totals
        return cls(
            shown, frozenset(low for low, count in copied.items() if count >= _COPIED * totals[low])
        )

    @cached_property
    def _totals(self) -> dict[str, int]:
        """Lower-case words → messages."""
        totals: dict[str, int] = Counter()
        for form, count in self.shown.items():
            totals[form.lower()] += count
        return totals

    @cached_property
    def _longest(self) -> int:
        """Letters of the longest word."""
        return max(map(len, self._totals), default=0)

    @cached_property
    def _commonest(self) -> dict[str, str]:
        """Lower-case words → the form that the data shows most."""
        best: dict[str, str] = {}
        for form, count in sorted(self.shown.items()):
            low = form.lower()
            if low not in best or count > self.shown[best[low]]:
                best[low] = form
        return best

    def normalized(self, text: str, known: Collection[str] = ()) -> str:
        """A message with the words that the data has; `known` are words that stay as they are."""
        closed = [found.span() for found in _QUOTED.finditer(text)]
        shouts = _shouts(text)
        # Of two forms of one word the one in small letters, whatever the order of a set is.
        lows = {word.lower(): word for word in sorted(known)}
        begins = True
        out, last = [], 0
        for token in _TOKEN.finditer(text):
            start, end = token.span()
            plain = _PLAIN.fullmatch(token[0])
            if plain and not any(before < end and start < after for before, after in closed):
                word = plain[2]
                if word not in known:
                    word = self._word(word, begins=begins, shouts=shouts, lows=lows)
                out += [text[last:start], plain[1], word, plain[3]]
                last = end
            begins = token[0].endswith(_ENDS)
        return "".join([*out, text[last:]])

    def _word(self, word: str, *, begins: bool, shouts: bool, lows: Mapping[str, str]) -> str:
        low = word.lower()
        if low in lows:
            return word if self._is_shown(word, begins=begins) else lows[low]
        if low in self._totals and self._is_shown(word, begins=begins):
            return self._corrected(word)
        if low in self._commonest:
            return self._corrected(self._commonest[low])
        corrected = self._corrected(word)
        if corrected != word:
            return corrected
        return low if shouts else word

    def _is_shown(self, word: str, *, begins: bool) -> bool:
        """Whether a word is written as the data may write it at its place."""
        low = word.lower()
        if word == low or self.shown.get(word, 0) >= _USUAL * self._totals.get(low, 0) > 0:
            return True
        return begins and word[1:] == word[1:].lower()

    def _corrected(self, word: str) -> str:
        """The word, or the common one that it is a slip of."""
        low = word.lower().replace("’", "'")
        if not _SHORTEST <= len(low) <= self._longest + 1:  # the work grows with its square
            return word
        if low not in self._memo:
            if len(self._memo) >= _REMEMBERED:
                self._memo.clear()
            self._memo[low] = self._meant(low)
        meant = self._memo[low]
        if meant == low:
            return word
        form = self._commonest[meant]
        return form[:1].upper() + form[1:] if word[:1].isupper() and word[1:].islower() else form

    def _meant(self, low: str) -> str:
        """The common word that a lower-case one is a slip of, or itself."""
        own = self._totals.get(low, 0)
        if own >= _COMMON * _RARER or low in _dictionary():
            return low
        near = [
            other
            for other in _dictionary().edit_distance_1(low)
            if self._totals.get(other, 0) >= max(_COMMON, (1 if "'" in other else _RARER) * own)
            and self._may_become(low, other)
        ]
        if not near:
            return low
        return max(near, key=lambda other: (_likeness(low, other), self._totals[other], other))

    def _may_become(self, low: str, other: str) -> bool:
        if len(other) < _SHORTEST or other[0] != low[0] or other in self.names:
            return False
        if "'" in other and other.replace("'", "") != low:
            return False
        swapped = sorted(other) == sorted(low)
        if len(low) == _SHORTEST and not swapped and len(other) <= len(low):
            return False  # `theo` is not `then`
        if other not in _dictionary():  # a program's name, say: another letter is another program
            return self._meant(other) == other and (swapped or len(other) != len(low))
        return True

    def to_dict(self) -> dict[str, Any]:
        """As JSON: words.json."""
        shown = dict(sorted(self.shown.items(), key=lambda item: (-item[1], item[0])))
        return {"shown": shown, "names": sorted(self.names)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote. Raises ValueError for anything else."""
        shown, names = data.get("shown"), data.get("names")
        if not isinstance(shown, dict) or not all(type(count) is int for count in shown.values()):
            raise ValueError("`shown` must map words to numbers of messages")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("`names` must be a list of words")
        return cls(shown, frozenset(names))


def said(snapshot: Mapping[str, Any]) -> tuple[str, str]:
    """A snapshot's last message, and the command that answers it ("" for a text)."""
    command = snapshot["expected_response"].get("command") or ""
    return str(snapshot["messages"][-1]["content"]), str(command)


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """The words of some texts, each as it is written."""
    return frozenset(word for text in texts for word in _WORD.findall(text))


def write_wording(path: Path, wording: Wording) -> None:
    """Write words.json."""
    text = json.dumps(wording.to_dict(), ensure_ascii=False, indent=0)
    path.write_text(text + "\n", encoding="utf-8")


def read_wording(adapter: Path) -> Wording | None:
    """The words beside an adapter; None where there is no such file.

    One that cannot be read is noted in the log: the model then reads what was typed. Raises
    MissingExtra without pyspellchecker.
    """
    path = adapter / WORDS
    if not path.is_file():
        return None
    if find_spec("spellchecker") is None:
        raise MissingExtra("train", f"{path}", "pyspellchecker")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        return Wording.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        log.warning("%s is not used: %s", path, error)
        return None


def _forms(message: str) -> Iterator[str]:
    """The plain words of a message; the first of a sentence without the capital that it owes to that."""
    begins = True
    for token in _TOKEN.findall(message):
        plain = _PLAIN.fullmatch(token)
        if plain:
            word = plain[2].replace("’", "'")
            yield word[:1].lower() + word[1:] if begins and word[1:].islower() else word
        begins = token.endswith(_ENDS)


def _likeness(low: str, other: str) -> int:
    """How likely a slip is: an apostrophe left out, then two letters swapped, then others."""
    if "'" in other:
        return 2
    return int(sorted(other) == sorted(low))


def _arguments(command: str) -> set[str]:
    """The words of a command but for the first of each program's line, in lower case."""
    parts = [part.split() for part in _AND.split(command)]
    return {word.strip("'\"").lower() for part in parts for word in part[1:]}


def _shouts(text: str) -> bool:
    """Whether most words of a message are in capitals."""
    words = [word for word in _WORD.findall(text) if len(word) > 1]
    return 3 * sum(word.isupper() for word in words) > 2 * len(words)


@cache
def _dictionary() -> SpellChecker:
    """English words; it takes a quarter of a second."""
    from spellchecker import SpellChecker

    return SpellChecker(language="en", distance=1)
