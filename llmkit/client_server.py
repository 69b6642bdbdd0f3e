"""A server for this machine: the one that runs, or one that is started and ends with us.

    with local_server(cfg.server, ["model=tiny", "adapter=none"]) as server:
        Client(server.url, cfg.client, server.key)

A server that was started here listens on a free port of 127.0.0.1, has a key of its own that
nobody else knows, and is ended at the end. It ends, too, when this process is killed by SIGKILL: the
kernel then sends it SIGTERM (prctl(2), PR_SET_PDEATHSIG), and it takes its workers with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmkit.client import Client
from llmkit.client_wire import ServerError, Unreachable
from llmkit.config_chat import ClientConfig, ServerConfig
from llmkit.errors import LlmkitError, MissingExtra
from llmkit.toolkit import VARIABLE, find_toolkit

_PR_SET_PDEATHSIG = 1
_PAUSE = 0.1  # seconds between two looks
_SHOWN = 3  # lines of its log that an error shows

OnWait = Callable[[float], None]  # seconds so far


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask. `model` is what it calls its model; `process` is ours to end, if there is one."""

    url: str
    key: str
    model: str
    process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:  # without the key
        return f"Server({self.url!r}, model={self.model!r}, started={self.process is not None})"


@contextmanager
def local_server(
    cfg: ServerConfig,
    client: ClientConfig,
    overrides: Sequence[str] = (),
    on_wait: OnWait | None = None,
) -> Iterator[Server]:
    """The server at `cfg.url` if one answers there, else one that is started, if `cfg.start`.

    `overrides` are of `python -m llmkit.serve`. `on_wait` is called while it loads.

    Raises:
        Unreachable: nobody answers, and none may be started.
        LlmkitError: it cannot be started, with the end of its log.
    """
    key = os.environ.get(cfg.key_env, "")
    found = running(cfg, client, key, on_wait)
    if found is not None:
        yield found
        return
    if not cfg.start:
        raise Unreachable(f"{cfg.url}: no server answers; start one: python -m llmkit.serve")
    with tempfile.TemporaryDirectory(prefix="llmkit-chat-") as folder:
        log = Path(folder) / "server.log"
        key = secrets.token_urlsafe(24)
        process = begin(overrides, key, log)
        try:
            yield wait(process, log, key, cfg, client, on_wait)
        finally:
            end(process, cfg.stop_seconds)


def running(
    cfg: ServerConfig, client: ClientConfig, key: str, on_wait: OnWait | None = None
) -> Server | None:
    """The server at `cfg.url`, once it is ready; None when nobody listens there."""
    began = time.monotonic()
    with Client(cfg.url, client, key) as asks:
        while True:
            try:
                health = asks.health()
            except Unreachable:
                return None
            if health.status == "ok":
                return Server(asks.url, key, health.model)
            if time.monotonic() - began > cfg.start_seconds:
                raise ServerError(f"{cfg.url}: still {health.status}")
            if on_wait:
                on_wait(time.monotonic() - began)
            time.sleep(_PAUSE)


def begin(overrides: Sequence[str], key: str, log: Path) -> subprocess.Popen[bytes]:
    """Start `python -m llmkit.serve` of this toolkit. Call it from the main thread: the kernel ends
    the server when the thread that started it ends."""
    toolkit = find_toolkit()
    environment = {**os.environ, VARIABLE: str(toolkit.root), "LLMKIT_KEYS": key}
    end_with_us = _end_with(os.getpid())
    with log.open("wb") as stream:
        return subprocess.Popen(
            [interpreter(toolkit.root), "-m", "llmkit.serve", "host=127.0.0.1", "port=0",
             "keys_env=LLMKIT_KEYS", *overrides],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for the chat
            preexec_fn=end_with_us,  # noqa: PLW1509  one call of libc, loaded before
        )  # fmt: skip


def interpreter(root: Path) -> str:
    """The Python that has the server's packages: this one, or that of a virtual environment that
    lies in the toolkit's folder (as on a live image). Raises MissingExtra."""
    from importlib.util import find_spec

    if find_spec("litserve") is not None:
        return sys.executable
    for name in ("venv", ".venv"):
        found = root / name / "bin" / "python"
        if os.access(found, os.X_OK):
            return str(found)
    raise MissingExtra("serve", "starting a server", "litserve")


def _end_with(parent: int) -> Callable[[], None] | None:
    """What a child calls before it runs, so that it ends with `parent`. Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)  # loaded here: a forked child must not

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return ask_kernel


def wait(
    process: subprocess.Popen[bytes],
    log: Path,
    key: str,
    cfg: ServerConfig,
    client: ClientConfig,
    on_wait: OnWait | None = None,
) -> Server:
    """The started server, once its model is loaded; LlmkitError when it ends or takes too long."""
    began = time.monotonic()
    asks: Client | None = None
    try:
        while True:
            if process.poll() is not None:
                raise LlmkitError(f"the server ended with {process.returncode}: {_last(log)}")
            if time.monotonic() - began > cfg.start_seconds:
                raise LlmkitError(
                    f"the server is not ready after {cfg.start_seconds:g} s: {_last(log)}"
                )
            if asks is None and (port := _port(log)):
                asks = Client(f"http://127.0.0.1:{port}", client, key)
            if asks is not None:
                with contextlib.suppress(ServerError):
                    health = asks.health()
                    if health.status == "ok":
                        return Server(asks.url, key, health.model, process)
            if on_wait:
                on_wait(time.monotonic() - began)
            time.sleep(_PAUSE)
    finally:
        if asks is not None:
            asks.close()


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask it to end, and after `seconds` make it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own: workers included
            process.wait()


def _port(log: Path) -> int:
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if '"listening"' in line:
            with contextlib.suppress(ValueError):
                return int(json.loads(line).get("port") or 0)
    return 0


def _last(log: Path) -> str:
    """The end of a log: messages alone."""
    found = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(str(json.loads(line).get("message", "")))
        except (ValueError, AttributeError):
            found.append(line)
    text = "; ".join(item for item in found if item.strip())
    kept = re.sub(r"[^\x20-\x7e]", " ", text[-400:]).strip()
    return kept or "it said nothing"
