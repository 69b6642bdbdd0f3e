"""How training shows where it is: a bar on a terminal, lines elsewhere; on stderr.

with Progress(total, shown=True) as progress:
    progress.update(line, seconds_left)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self


class _Bar:
    """A bar of rich's on a terminal, None elsewhere."""

    _bar: Any = None

    def _open(self, *columns: Any, total: int, done: int = 0) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar

        self._bar = Bar(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("", total=total, completed=done)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


class Progress(_Bar):
    """Loss, tokens per second and time left."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self.total, self.shown = total, shown
        if shown and sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

            about = TextColumn("{task.description}")
            self._open(TextColumn("step"), MofNCompleteColumn(), BarColumn(), about, total=total)

    def update(self, line: Mapping[str, Any], left: float | None) -> None:
        """Show a line of metrics.jsonl."""
        text = f"loss {line['loss']:.4f}, {line['tokens_per_second']:,.0f} tokens/s"
        if left is not None:
            text += f", {_clock(left)} left"
        if self._bar is not None:
            self._bar.update(self._task, completed=line["step"], description=text)
        elif self.shown:
            print(f"step {line['step']:,}/{self.total:,}: {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Show a line of its own."""
        if self._bar is not None:
            self._bar.console.print(text)
        elif self.shown:
            print(text, file=sys.stderr, flush=True)


class Rows(_Bar):
    """How many rows of a corpus were read."""

    def __init__(self, total: int, done: int, *, shown: bool) -> None:
        self.total, self.done, self.shown = total, done, shown
        self._before, self._started = done, time.monotonic()
        if shown and sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

            self._open(
                TextColumn("rows"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(),
                total=total, done=done,
            )  # fmt: skip

    def step(self) -> None:
        """One more."""
        self.done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
        elif self.shown and self.done % max(self.total // 20, 1) == 0:
            spent = time.monotonic() - self._started
            left = spent / (self.done - self._before) * (self.total - self.done)
            text = f"row {self.done:,}/{self.total:,}, {_clock(left)} left"
            print(text, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
