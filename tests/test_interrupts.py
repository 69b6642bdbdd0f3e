"""Signals that are held back: what comes meanwhile counts at the end, whoever it was handed to."""

from __future__ import annotations

import contextlib
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
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    assert other.ident is not None
    done = []

    def work() -> None:
        with held(signal.SIGINT):
            signal.pthread_kill(other.ident, signal.SIGINT)
            time.sleep(0.5)  # until it is there
            done.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        over.set()
        other.join()
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
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("inside", [False, True])
def test_a_process_that_begins_inside_never_sees_it(inside: bool) -> None:
    """It outlives the signal that ends one begun outside."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    with held(signal.SIGINT) if inside else contextlib.nullcontext():
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=subprocess.DEVNULL
        )
    assert process.stdin is not None and process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    if inside:
        time.sleep(0.5)
        assert process.poll() is None
    process.communicate(timeout=30)
    assert (process.returncode == 0) == inside


def test_two_signals_both_come() -> None:
    """The exception of the first does not swallow the second."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append("TERM"))

    def work() -> None:
        with held(signal.SIGINT, signal.SIGTERM):
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == ["TERM"]


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
