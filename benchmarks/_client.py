"""What the benchmarks of servers share: a server process, and a client that notes when text came.

with serving([sys.executable, "-m", "llmkit.serve", "port=0"], folder) as server:
    answer = Call(server.port).stream("/v1/chat/completions", body)
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Answer:
    """What came back, and when."""

    sent: float
    status: int = 0  # 0: no answer
    text: str = ""
    times: list[float] = field(default_factory=list)  # of each piece of text
    whole: bool = False  # it came to its end
    prompt_tokens: int = 0
    completion_tokens: int = 0
    body: Any = None  # where it was not a stream, and the last event where it was
    retry_after: int = 0
    done: float = 0.0  # when it ended, whole or not

    @property
    def seconds(self) -> float:
        """From the request to its end."""
        return self.done - self.sent


class Call:
    """One request on a connection of its own. `hang_up` may be called from another thread."""

    def __init__(self, port: int, key: str | None = None, timeout: float = 600) -> None:
        self._key = key
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def hang_up(self) -> None:
        """Whoever reads gets what came so far."""
        with contextlib.suppress(OSError):
            if self._connection.sock is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)

    def send(self, path: str, body: Mapping[str, Any] | bytes) -> Answer:
        """Wait for the whole answer. OSError and HTTPException are the caller's."""
        answer = Answer(time.monotonic())
        with contextlib.closing(self._connection):
            got = self._ask(path, body)
            raw = got.read()
        answer.done = time.monotonic()
        answer.status, answer.whole = got.status, True
        answer.retry_after = int(got.getheader("Retry-After") or 0)
        with contextlib.suppress(ValueError):
            answer.body = json.loads(raw)
        return answer

    def stream(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Read server-sent events; an answer that was cut is not `whole`."""
        answer = Answer(time.monotonic())
        pieces: list[str] = []
        hung_up = contextlib.suppress(OSError, http.client.HTTPException, ValueError)
        with contextlib.closing(self._connection), hung_up:
            got = self._ask(path, {**body, "stream": True})
            answer.status = got.status
            answer.retry_after = int(got.getheader("Retry-After") or 0)
            if got.status != 200:
                answer.body = json.loads(got.read())
                answer.whole = True
            else:
                self._read(got, answer, pieces)
        answer.text, answer.done = "".join(pieces), time.monotonic()
        return answer

    def _read(self, got: http.client.HTTPResponse, answer: Answer, pieces: list[str]) -> None:
        for line in got:
            if line.startswith(b"data: [DONE]"):
                answer.whole = True
            elif line.startswith(b"data: "):
                self._note(answer, pieces, json.loads(line[6:]))

    def _note(self, answer: Answer, pieces: list[str], event: Mapping[str, Any]) -> None:
        if usage := event.get("usage"):
            answer.prompt_tokens = usage["prompt_tokens"]
            answer.completion_tokens = usage["completion_tokens"]
        if "choices" not in event:  # /generate
            piece = event.get("delta")
            if piece is None:
                answer.body, answer.whole = event, "error" not in event
        else:
            choice = event["choices"][0] if event["choices"] else {}
            delta = choice.get("delta", {})
            answer.whole |= bool(choice.get("finish_reason"))
            piece = delta.get("content")
        if piece:
            answer.times.append(time.monotonic())
            pieces.append(piece)

    def _ask(self, path: str, body: Mapping[str, Any] | bytes) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._connection.request("POST", path, raw, headers)
        return self._connection.getresponse()


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text; (0, "") where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        got = connection.getresponse()
        return got.status, got.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


@dataclass
class Server:
    """A process that listens."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def children(self) -> list[int]:
        """The processes below it that hold a model."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    if (
                        parent == self.process.pid
                        and b"spawn_main" in (entry / "cmdline").read_bytes()
                    ):
                        found.append(int(entry.name))
        return found

    def metric(self, name: str) -> float:
        """The sum of one of llmkit's metrics."""
        text = get(self.port, "/metrics")[1]
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))


@contextlib.contextmanager
def serving(
    command: Sequence[str], folder: Path, *, port: int = 0, ready: str = "/health",
    within: float = 180, env: Mapping[str, str] | None = None,
) -> Iterator[Server]:  # fmt: skip
    """A server process until the block ends; `port` 0: llmkit's log names it."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=folder, stdout=stream, stderr=stream,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **(env or {})},
        )  # fmt: skip
    server = Server(process, log, port)
    until = time.monotonic() + within
    try:
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no server: {' '.join(command)}\n{log.read_text()[-2000:]}")
            if not server.port:
                found = re.search(r'"listening".*"port":(\d+)', log.read_text())
                server.port = int(found[1]) if found else 0
            if server.port and get(server.port, ready)[0] == 200:
                break
            time.sleep(0.2)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_by_sigterm() -> None:
    """SIGTERM ends the benchmark as an exception does: with its servers."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def llmkit(*overrides: str) -> list[str]:
    """The command of our server on a free port."""
    return [sys.executable, "-m", "llmkit.serve", "port=0", *overrides]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of `values` do not exceed; nan of none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")
