"""What an evaluation says in the terminal while it runs, and of a sweep's adapters.

with Progress(total, done) as progress:
    progress.step()
print_board(leaderboard)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any


def print_board(board: Mapping[str, Any]) -> None:
    """The adapters, the best first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"adapters by {board['rank_by']}")
    for heading in ("", "adapter", "mean", "95% interval", "n"):
        table.add_column(heading)
    for place, row in enumerate(board["adapters"], 1):
        interval = f"{row['low']:.1%} – {row['high']:.1%}" if "low" in row else "–"
        mean = f"{row['mean']:.1%}" if "mean" in row else row.get("error", "–").splitlines()[0]
        table.add_row(str(place), row["adapter"], mean, interval, str(row.get("n", 0)))
    Console(soft_wrap=True).print(table)
    if board["verdict"] is not None:
        print(f"first against second: {board['verdict']}")


class Progress:
    """How many cases are answered: a bar on a terminal, a line every tenth elsewhere."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done = total, done
        self._bar: Any = None
        self._every = max(1, total // 10)
        self._started, self._first = time.monotonic(), done
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("cases"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("cases", total=total, completed=done)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self) -> None:
        """One more."""
        self.done += 1
        if self._bar is not None:
            self._bar.advance(self._task)
        elif self.done % self._every == 0 or self.done == self.total:
            rate = (self.done - self._first) / max(time.monotonic() - self._started, 1e-9)
            print(f"{self.done:,}/{self.total:,} cases, {rate:.2f} a second", file=sys.stderr)
