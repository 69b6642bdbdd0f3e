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


@contextlib.contextmanager
def held(*numbers: signal.Signals) -> Iterator[None]:
    """Do the block first, and then what the signals `numbers` that came ask for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] not in (signal.SIG_IGN, None):  # None: set by another than Python
            signal.signal(number, lambda caught, _frame: came.append(caught))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
        for caught in came:
            signal.raise_signal(caught)
