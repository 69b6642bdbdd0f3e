"""Signals that are held back: what comes meanwhile counts at the end, whoever it was handed to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from llmkit.interrupts import held


@pytest.fixture(autouse=True)
def _default() -> object:
    """Ctrl-C is an exception, also when the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_inside_comes_at_the_end() -> None:
    """Another thread, which does not block it, takes it; the main thread goes on to the end."""
    threading.Thread(target=time.sleep, args=(2,), daemon=True).start()
    done = []

    def work() -> None:
        with held(signal.SIGINT):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done


def test_without_a_signal_all_is_as_before() -> None:
    """Handler and mask are put back, after an error too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(ZeroDivisionError), held(signal.SIGINT, signal.SIGTERM):
        _ = 1 // 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_what_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held(signal.SIGINT):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_process_that_begins_inside_never_sees_it() -> None:
    """It outlives the signal that ends one begun outside."""

    def begun() -> subprocess.Popen[bytes]:
        code = "import time; print(flush=True); time.sleep(1); print('lives')"
        return subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=subprocess.DEVNULL)

    with held(signal.SIGINT):
        inside = begun()
    for process, expected in ((inside, b"lives\n"), (begun(), b"")):
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == expected


def test_in_another_thread_nothing_is_held() -> None:
    """Handlers are the main thread's; the block is done all the same."""
    done: list[object] = []

    def work() -> None:
        with held(signal.SIGINT):
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]
