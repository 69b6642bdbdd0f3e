"""Server processes for tests: started once for all modules, and again when a test has ended one.

    from tests.serving import Running, running
    server = running("keys")

`keys` has keys, the usual limits and a second adapter beside the base; `small` has small limits and
no keys, for faults.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.adapters import write_adapter

KEY = "s3cret"
SAY = {"messages": [{"role": "user", "content": "list disks"}]}
CHAT = {"model": "llmkit", **SAY}
SHELL_TOOL = {
    "name": "run_shell_command",
    "parameters": {
        "type": "object",
        "properties": {"command": {"type": "string", "enum": ["lsblk", "sgdisk -p /dev/sda"]}},
        "required": ["command"],
    },
}
KINDS: dict[str, tuple[str, ...]] = {
    "keys": ("limits.body_bytes=200000", "limits.messages=50"),
    "small": (
        "limits.seconds=5", "limits.receive_seconds=1", "limits.command_seconds=1",
        "engine.queue=1", "engine.max_batch=3", "limits.max_tokens=7900",
        "cors_origins=['https://example.org']",
    ),
}  # fmt: skip
_running: dict[str, Running] = {}


def letters(count: int) -> dict[str, Any]:
    """A request whose answer takes a while, and shows when it was cut: so many letters."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": f"^[a-z]{{{count}}}$"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    return {**SAY, "response_format": wanted, "max_tokens": 1000}


@dataclass
class Answer:
    """Status, headers (small letters) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A server process."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    def lines(self) -> list[dict[str, Any]]:
        """What it logged."""
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, raw, sent)
            got = connection.getresponse()
            found = {name.lower(): value for name, value in got.getheaders()}
            return Answer(got.status, found, got.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **more: Any) -> Answer:
        return self.ask("POST", path, body, **more)

    def events(self, path: str, body: Mapping[str, Any]) -> list[Any]:
        """The data of a stream's events."""
        answer = self.post(path, {**body, "stream": True})
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = answer.body.decode().split("\n\n")
        assert found.pop() == ""
        data = [item.removeprefix("data: ") for item in found]
        return [item if item == "[DONE]" else json.loads(item) for item in data]

    def metric(self, name: str) -> float:
        """The sum of a metric's values."""
        text = self.ask("GET", "/metrics").body.decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))

    def healthy(self, within: float = 300) -> None:
        """Wait until it answers."""
        self.until(lambda: self.ask("GET", "/health").status == 200, within)

    def until(self, holds: Any, within: float) -> float:
        """Wait until `holds()`; the seconds that it took."""
        began = time.monotonic()
        while True:
            assert self.process.poll() is None, self.log.read_text()
            if holds():
                return time.monotonic() - began
            assert time.monotonic() - began < within, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def raw(self) -> socket.socket:
        """A connection for bytes of the test's own."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def children(self) -> list[int]:
        """Processes of the server: a worker, which holds a model, and one for commands."""
        found = []
        for name in Path("/proc").iterdir():
            if not name.name.isdigit():
                continue
            try:
                parent = int((name / "stat").read_text().rpartition(")")[2].split()[1])
                line = (name / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == self.process.pid and b"spawn_main" in line:
                found.append(int(name.name))
        return found


def resident(pid: int) -> int:
    """Pages in memory: those who hold a model have more."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


def start(folder: Path, *overrides: str, keys: str = "") -> Running:
    """A server that is starting; its port is known once it listens."""
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "llmkit.serve", "model=tiny", "adapter=none", "port=0",
                "engine.threads=1", "engine.weights=plain", "model.dtype=float32",
                *overrides,
            ],
            cwd=folder, stderr=stream, stdout=stream,
            env={**os.environ, "LLMKIT_KEYS": keys, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    return Running(process, log)


def listens(server: Running) -> Running:
    """The same, once it listens."""

    def port() -> int:
        found = re.search(r'"listening".*"port":(\d+)', server.log.read_text())
        server.port = int(found[1]) if found else 0
        return server.port

    server.until(port, 200)
    return server


def begin(*kinds: str) -> None:
    """Start the servers that are not there, together."""
    for kind in kinds:
        known = _running.get(kind)
        if known is None or known.process.poll() is not None:
            folder = Path(tempfile.mkdtemp(prefix=f"llmkit-{kind}-"))
            more, keys = KINDS[kind], ""
            if kind == "keys":
                adapter = write_adapter(folder / "second", 2)
                more, keys = (*more, f"+adapters.second={adapter}"), f"k1,{KEY}"
            _running[kind] = start(folder / "server", *more, keys=keys)


def running(kind: str) -> Running:
    """The server of that kind, once it answers."""
    begin(kind)
    server = _running[kind]
    if not server.port:
        listens(server)
    server.healthy()
    return server


@atexit.register
def _end() -> None:
    for server in _running.values():
        server.process.kill()
        server.process.wait()
        shutil.rmtree(server.log.parents[1], ignore_errors=True)
