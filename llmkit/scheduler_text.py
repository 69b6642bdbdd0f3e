"""The text of an answer while it grows: what is certain, and where a stop text ends it.

from llmkit.scheduler_text import TextStream
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BROKEN = "�"  # what a tokenizer writes for the first bytes of a character


class TextStream:
    """Turns tokens into text piece by piece. `decode` is the tokenizer's.

    A piece never holds a part of a character or of a stop text. Only the last tokens are decoded
    each time, together with a few before them, since some tokenizers join words by what precedes.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        self._decode = decode
        self._stop = [text for text in stop if text]
        self._longest = max(map(len, self._stop), default=0)
        self._ids: list[int] = []
        self._context = 0  # where the tokens begin that are decoded
        self._read = 0  # how many tokens `_text` is of
        self._text = ""
        self.given = 0  # characters
        self.stopped = False  # a stop text is in it

    def push(self, token: int) -> str:
        """Text that is certain after one more token. `stopped` is set where a stop text is whole."""
        self._ids.append(token)
        before = self._decode(self._ids[self._context : self._read])
        text = self._text + self._decode(self._ids[self._context :])[len(before) :]
        if not text.endswith(_BROKEN):
            self._text = text
            self._context, self._read = self._read, len(self._ids)
        for stop in self._stop:
            if stop in text[max(self.given - self._longest, 0) :]:
                self.stopped = True
                return ""  # what is before it comes with the rest
        certain = len(text.rstrip(_BROKEN)) if text.endswith(_BROKEN) else len(text)
        certain -= self._held_back(text[:certain])
        piece = text[self.given : certain]
        self.given = max(self.given, certain)
        return piece

    def _held_back(self, text: str) -> int:
        """How many last characters may be the first of a stop text."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stop):
                return length
        return 0
