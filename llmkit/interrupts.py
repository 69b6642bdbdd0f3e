"""Hold signals back for as long as something must not be cut in half.

    with held(signal.SIGINT):
        pool.submit(work)

A signal that comes meanwhile does its work at the end of the block. Python runs its handlers in the
main thread, whatever thread the system has handed the signal to, so that blocking it there is not
enough once there are others; a handler of our own is. The signal is blocked as well: processes that
are begun inside the block inherit that, and never see it. Outside the main thread there is nothing
to hold back.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def held(*numbers: signal.Signals) -> Iterator[None]:
    """Do the block first, and then what the signals `numbers` that came ask for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before: dict[signal.Signals, Any] = {}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        for number in numbers:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):  # None: set by another than Python
                signal.signal(number, lambda caught, _frame: came.append(caught))
                before[number] = handler
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in came:
            signal.raise_signal(caught)  # blocked still: all of them come with the next line
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
