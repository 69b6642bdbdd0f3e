"""Two servers behind a real nginx with deploy/nginx.conf: what a client sees of one that dies."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("litserve")

from tests.serving import Answer, Running, letters, listens, start

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
CONFIG = Path(__file__).resolve().parent.parent / "deploy" / "nginx.conf"

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def free_ports(count: int) -> list[int]:
    """Ports that nobody has at this moment."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def nginx(folder: Path, port: int, servers: list[int]) -> Iterator[None]:
    """nginx with the shipped file, its addresses changed."""
    text = CONFIG.read_text()
    for shipped, used in zip((8765, 8766), servers, strict=True):
        assert f"127.0.0.1:{shipped} " in text
        text = text.replace(f"127.0.0.1:{shipped} ", f"127.0.0.1:{used} ")
    assert "listen 8080;" in text
    folder.mkdir()
    (folder / "llmkit.conf").write_text(text.replace("listen 8080;", f"listen 127.0.0.1:{port};"))
    paths = "\n".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log {folder}/access.log;\n{paths}\n"
        f"include {folder}/llmkit.conf;\n}}\n"
    )
    assert NGINX is not None
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "error.log"]
    process = subprocess.Popen(command)
    try:
        until = time.monotonic() + 30
        while True:
            assert process.poll() is None and time.monotonic() < until
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


@dataclass
class Replicas:
    """Two servers, and nginx on a port of its own."""

    folder: Path
    ports: list[int]
    front: int
    servers: list[Running]

    def begin(self, number: int, name: str) -> None:
        """Start a server on the port of the one with that number."""
        started = start(self.folder / name, f"port={self.ports[number]}")
        self.servers[number : number + 1] = [started]

    def ask(self, body: Any, port: int | None = None) -> Answer:
        """One try; through nginx where no port is named."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.front, timeout=60)
        try:
            connection.request("POST", "/generate", json.dumps(body).encode())
            got = connection.getresponse()
            found = {name.lower(): value for name, value in got.getheaders()}
            return Answer(got.status, found, got.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Both servers up."""
    folder = tmp_path_factory.mktemp("replicas")
    front, *ports = free_ports(3)
    made = Replicas(folder, ports, front, [])
    try:
        for number in range(2):
            made.begin(number, f"server{number}")
        for server in made.servers:
            listens(server).healthy()
        with nginx(folder / "nginx", front, ports):
            yield made
    finally:
        for server in made.servers:
            server.process.kill()
            server.process.wait()


def bodies(count: int) -> list[dict[str, Any]]:
    """Greedy requests that take a while each."""
    return [
        {
            "messages": [{"role": "user", "content": f"disk {number}"}],
            "temperature": 0,
            "max_tokens": 60,
            "tools": [],
        }
        for number in range(count)
    ]


def retried(ask: Callable[[], Answer]) -> Answer | None:
    """The answer that came at last, of few tries as the SDKs of clients make them."""
    answer = None
    for failed in range(4):
        try:
            answer = ask()
        except (OSError, http.client.HTTPException):
            answer = None
        if answer is not None and answer.status == 200:
            break
        time.sleep(0.5 * 2**failed)
    return answer


def test_a_replica_that_is_killed_costs_no_answer(replicas: Replicas) -> None:
    """kill -9 of one of two under load, and its return: every request is answered, as by one alone."""
    asked = bodies(12)
    alone = [replicas.ask(body, replicas.ports[0]).json()["response"] for body in asked]
    over = threading.Event()
    found: list[tuple[int, Answer | None]] = []

    def client(number: int) -> None:
        turn = number
        while not over.is_set():
            place = turn % len(asked)
            found.append((place, retried(partial(replicas.ask, asked[place]))))
            turn += 1

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(client, number) for number in range(6)]
        try:
            victim = replicas.servers[1]
            victim.until(lambda: victim.metric("llmkit_engine_active") >= 1, 20)
            workers = victim.children()
            os.kill(victim.process.pid, signal.SIGKILL)
            victim.process.wait()
            before = len(found)
            replicas.servers[0].until(lambda: len(found) >= before + 12, 60)
            replicas.begin(1, "server1-again")
            again = listens(replicas.servers[1])
            again.healthy()
            again.until(lambda: again.metric("llmkit_engine_generated_tokens") >= 60, 60)
        finally:
            over.set()
        for future in clients:
            future.result(timeout=60)
    assert len(found) >= 12
    assert [answer for _, answer in found if answer is None or answer.status != 200] == []
    answers = {(place, answer.json()["response"]) for place, answer in found if answer}
    assert answers <= set(enumerate(alone))
    gone = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers):  # it noticed that it is alone
        assert time.monotonic() < gone
        time.sleep(0.1)


def test_nginx_tries_the_other_one(replicas: Replicas) -> None:
    """A request that a dying replica had taken is answered by the other: clients see no failure."""
    victim = replicas.servers[0]
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(replicas.ask, body) for body in bodies(6)]
        victim.until(lambda: victim.metric("llmkit_engine_active") >= 1, 20)
        os.kill(victim.process.pid, signal.SIGKILL)
        victim.process.wait()
        answers = [future.result(timeout=60) for future in futures]
    assert [answer.status for answer in answers] == [200] * 6
    log = (replicas.folder / "nginx" / "error.log").read_text()
    assert re.search("upstream prematurely closed connection|reset by peer|refused", log)
    replicas.begin(0, "server0-again")
    listens(replicas.servers[0]).healthy()


def test_text_passes_as_it_comes(replicas: Replicas) -> None:
    """A stream's first piece is here before its last one was made."""
    connection = http.client.HTTPConnection("127.0.0.1", replicas.front, timeout=60)
    body = {**letters(300), "stream": True}
    moments = []
    try:
        connection.request("POST", "/generate", json.dumps(body).encode())
        for line in connection.getresponse():
            if line.startswith(b"data: "):
                moments.append(time.monotonic())
    finally:
        connection.close()
    assert len(moments) > 20
    assert moments[-1] - moments[0] > 20 * (moments[1] - moments[0])


def test_errors_are_the_servers_own(replicas: Replicas) -> None:
    """A wrong request is not tried again, and its 400 is JSON."""
    answer = replicas.ask({"messages": []})
    assert (answer.status, answer.json()["success"]) == (400, False)
