"""Text that others wrote, made fit for a terminal.

>>> printable("a\\x1b[2Jb")
'a?[2Jb'
"""

from __future__ import annotations

from collections.abc import Callable


def printable(text: str, keep: str = "") -> str:
    """Text without what a terminal acts on."""
    return "".join(
        char if char.isprintable() or char in keep else " " if char.isspace() else "?"
        for char in text
    )


class Flow:
    """Breaks text that comes in pieces between words. `put` gets what can be shown."""

    def __init__(self, width: int, put: Callable[[str], None]) -> None:
        self._width, self._put = width, put
        self._column = self._spaces = 0
        self._word = ""
        self._shown = False

    def push(self, piece: str) -> None:
        """More of the text."""
        for char in printable(piece, keep="\n"):
            if char == "\n":
                self._flush()
                self._put("\n")
                self._column = self._spaces = 0
            elif char == " ":
                self._flush()
                self._spaces += 1
            else:
                self._word += char

    def end(self) -> bool:
        """Show what is held back; whether anything was shown."""
        self._flush()
        return self._shown

    def _flush(self) -> None:
        if not self._word:
            return
        if self._column and self._column + self._spaces + len(self._word) > self._width:
            self._put("\n")
            self._column = self._spaces = 0
        text = " " * min(self._spaces, self._width // 2) + self._word
        self._word, self._spaces, self._shown = "", 0, True
        while len(text) > self._width:
            self._put(f"{text[: self._width]}\n")
            text = text[self._width :]
        self._put(text)
        self._column += len(text)
