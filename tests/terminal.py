"""A terminal in tmux, of any size, and pictures of what is on it."""

from __future__ import annotations

import subprocess
import time
import uuid
from pathlib import Path
from typing import Any


class Tmux:
    """One program on a terminal of its own; tmux ends with it."""

    def __init__(self, width: int, height: int, command: list[str], **environment: str) -> None:
        self.width, self.height = width, height
        self._socket = f"llmkit-{uuid.uuid4().hex}"
        sets = [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
        self._tmux("new-session", "-d", "-s", "t", "-x", str(width), "-y", str(height), *sets,
                   "--", "env", "-u", "COLUMNS", "-u", "LINES", *command)  # fmt: skip

    def _tmux(self, *words: str, check: bool = True) -> str:
        return subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *words],
            check=check, capture_output=True, text=True, timeout=20,
        ).stdout  # fmt: skip

    def screen(self) -> list[str]:
        """The lines as they are seen."""
        return self._tmux("capture-pane", "-p", "-t", "t").split("\n")[: self.height]

    def raw(self) -> str:
        """What is seen, with its colours."""
        return self._tmux("capture-pane", "-e", "-p", "-t", "t")

    def written(self) -> list[str]:
        """All lines so far as the program wrote them: what the terminal had to wrap is one."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-", "-t", "t").rstrip().split("\n")

    def cursor(self) -> tuple[int, int]:
        column, row = self._tmux(
            "display-message", "-p", "-t", "t", "#{cursor_x} #{cursor_y}"
        ).split()
        return int(column), int(row)

    def until(self, text: str, within: float = 90) -> None:
        """Wait until a line on the screen holds the text."""
        ends = time.monotonic() + within
        while not any(text in line for line in self.screen()):
            assert time.monotonic() < ends, f"{text!r} did not come:\n" + "\n".join(self.screen())
            time.sleep(0.1)

    def waits(self, prompt: str, within: float = 20) -> bool:
        """Whether the cursor comes to stand behind this, at the end of its line."""
        ends = time.monotonic() + within
        while time.monotonic() < ends:
            column, row = self.cursor()
            line = self.screen()[row].rstrip()
            if line.endswith(prompt) and column == len(line) + 1:
                return True
            time.sleep(0.1)
        return False

    def type(self, line: str) -> None:
        self._tmux("send-keys", "-t", "t", "-l", line)
        self._tmux("send-keys", "-t", "t", "Enter")

    def close(self) -> None:
        self._tmux("kill-server", check=False)

    def picture(self, path: Path) -> None:
        """What is seen, as PNG; the cursor is a frame."""
        from PIL import Image, ImageDraw, ImageFont
        from rich.style import Style
        from rich.terminal_theme import DIMMED_MONOKAI
        from rich.text import Text

        def shade(colour: Any, otherwise: tuple[int, int, int]) -> tuple[int, int, int]:
            plain = colour is None or colour.is_default
            return otherwise if plain else tuple(colour.get_truecolor(DIMMED_MONOKAI))

        fonts = [
            ImageFont.truetype(f"DejaVuSansMono{bold}.ttf", 14) for bold in ("", "-Bold")
        ]  # fmt: skip
        wide, high = round(fonts[0].getlength("M")), 18
        image = Image.new("RGB", (self.width * wide, self.height * high), (16, 16, 20))
        draw = ImageDraw.Draw(image)
        for row, line in enumerate(self.raw().split("\n")[: self.height]):
            text = Text.from_ansi(line)
            for column, char in enumerate(text.plain):
                spans = [span for span in text.spans if span.start <= column < span.end]
                styles = [s if isinstance(s, Style) else Style.parse(s)
                          for s in (span.style for span in spans)]  # fmt: skip
                style = Style.combine([Style(), *styles])
                front = shade(style.color, (220, 220, 220))
                back = shade(style.bgcolor, (16, 16, 20))
                if style.reverse:
                    front, back = back, front
                x, y = column * wide, row * high
                draw.rectangle((x, y, x + wide - 1, y + high - 1), fill=back)
                draw.text((x, y), char, fill=front, font=fonts[bool(style.bold)])
        x, y = self.cursor()
        draw.rectangle(
            (x * wide, y * high, (x + 1) * wide, (y + 1) * high - 1), outline=(255, 220, 0)
        )
        image.save(path)
