"""Requests and tokens a minute, over all threads, and the pause that a server asks for.

    limits = Limits(requests=50, tokens=50_000)
    ticket = limits.acquire(900)      # waits until a request of about 900 tokens may go out
    limits.settle(ticket, 870)        # what it really took
    limits.pause(12.0)                # Retry-After: nobody sends anything before that

A sliding window: no sixty seconds, wherever they begin, see more than the limits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

WINDOW = 60.0  # seconds


class Stopped(Exception):
    """The run ends; nothing more is sent."""


class Limits:
    """Shared by the threads that send. `clock` and `wait` are time's; a test brings its own."""

    def __init__(
        self, *, requests: int, tokens: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.requests, self.tokens = requests, tokens
        self._clock = clock
        self._sent: deque[list[float]] = deque()  # [time, tokens]
        self._until = 0.0
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Wake up everybody who waits; each gets Stopped."""
        self._stopped.set()

    def sleep(self, seconds: float) -> None:
        """Wait, unless the run ends. Raises Stopped."""
        if self._stopped.wait(max(seconds, 0.0)):
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Let nothing out for so long."""
        with self._lock:
            self._until = max(self._until, self._clock() + seconds)

    def acquire(self, tokens: int) -> list[float]:
        """Wait for a place of about so many tokens. Raises Stopped."""
        while True:
            if self._stopped.is_set():
                raise Stopped
            with self._lock:
                now = self._clock()
                wait = self.due(now, tokens) - now
                if wait <= 0:
                    ticket = [now, float(tokens)]
                    self._sent.append(ticket)
                    return ticket
            self.sleep(wait)

    def settle(self, ticket: list[float], tokens: int) -> None:
        """Replace an estimate by what was counted."""
        with self._lock:
            ticket[1] = float(tokens)

    def due(self, now: float, tokens: int) -> float:
        """When a request of so many tokens may go out. One that is larger than the limit alone
        goes when nothing else is in the window."""
        while self._sent and self._sent[0][0] <= now - WINDOW:
            self._sent.popleft()
        due = max(now, self._until)
        count, total = len(self._sent), sum(sent[1] for sent in self._sent)
        for sent in self._sent:
            if count < self.requests and (total + tokens <= self.tokens or not count):
                break
            due = max(due, sent[0] + WINDOW)
            count, total = count - 1, total - sent[1]
        return due
