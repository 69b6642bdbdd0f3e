"""The client against servers of the test's own that answer as told, and against the real one."""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmkit.client import (
    Answer,
    Ask,
    AsyncClient,
    Client,
    Delta,
    ServerError,
    ServerTimeout,
    Unreachable,
)
from llmkit.client_wire import answer_of, events, retry_after
from llmkit.config_chat import ClientConfig
from llmkit.errors import ConfigError

QUICK = ClientConfig(
    connect_seconds=2.0, answer_seconds=2.0, tries=4, wait_seconds=0.01, longest_wait_seconds=3.0
)
ASK = Ask([{"role": "user", "content": "list disks"}], temperature=0.0)
TEXT = {"success": True, "type": "text", "response": "Hello!", "finish_reason": "stop",
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}  # fmt: skip
CALL = {"success": True, "type": "tool_call", "tool_name": "run_shell_command",
        "arguments": {"command": "lsblk"}, "thinking": "to look"}  # fmt: skip

Act = Callable[[BaseHTTPRequestHandler], None]


def says(status: int, body: Any, **headers: str) -> Act:
    """An answer with a status."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    return act


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    """The connection is closed without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def streams(*parts: bytes, pause: float = 0.0) -> Act:
    """Events, then the end of the connection."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()
            time.sleep(pause)
        handler.close_connection = True

    return act


class Told:
    """A server that answers each request as told, the last way for all that follow."""

    def __init__(self, *acts: Act) -> None:
        self.acts, self.asked, self.times = list(acts), list[dict[str, Any]](), list[float]()
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                told.asked.append({"path": self.path, "headers": dict(self.headers), "body": body})
                told.times.append(time.monotonic())
                self.body = body
                act = told.acts.pop(0) if len(told.acts) > 1 else told.acts[0]
                act(self)

            do_GET = do_POST

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Told:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


Way = Callable[[str, Ask], Any]


def in_threads(url: str, ask: Ask, key: str = "") -> Answer:
    with Client(url, QUICK, key) as client:
        return client.generate(ask)


def in_asyncio(url: str, ask: Ask, key: str = "") -> Answer:
    async def main() -> Answer:
        async with AsyncClient(url, QUICK, key) as client:
            return await client.generate(ask)

    return asyncio.run(main())


def streamed(url: str, ask: Ask, key: str = "") -> list[Delta | Answer]:
    with Client(url, QUICK, key) as client:
        return list(client.stream(ask))


def streamed_async(url: str, ask: Ask, key: str = "") -> list[Delta | Answer]:
    async def main() -> list[Delta | Answer]:
        async with AsyncClient(url, QUICK, key) as client:
            return [piece async for piece in client.stream(ask)]

    return asyncio.run(main())


ways = pytest.mark.parametrize("way", [in_threads, in_asyncio])
streams_ways = pytest.mark.parametrize("way", [streamed, streamed_async])


@ways
def test_text_and_calls(way: Way) -> None:
    """Both kinds of answer are read with all that they hold; what is None is not sent."""
    with Told(says(200, TEXT), says(200, CALL)) as server:
        text, call = way(server.url, ASK), way(server.url, ASK)
    assert (text.type, text.text, text.usage.prompt, text.usage.completion) == (
        "text", "Hello!", 7, 2
    )  # fmt: skip
    assert (call.type, call.tool, call.arguments, call.thinking) == (
        "tool_call", "run_shell_command", {"command": "lsblk"}, "to look"
    )  # fmt: skip
    assert server.asked[0]["body"] == {
        "messages": [{"role": "user", "content": "list disks"}], "temperature": 0.0
    }  # fmt: skip


@ways
@pytest.mark.parametrize("status", [429, 502, 503])
def test_tries_again_when_that_helps(way: Way, status: int) -> None:
    """A busy or starting server is asked again, and the answer then counts."""
    busy = says(status, {"success": False, "error": "busy"})
    with Told(busy, hangs_up, says(200, TEXT)) as server:
        assert way(server.url, ASK).text == "Hello!"
    assert len(server.asked) == 3


@ways
def test_waits_as_long_as_the_server_asks(way: Way) -> None:
    """Retry-After is not undercut, though the own back-off is shorter."""
    busy = says(429, {"success": False, "error": "busy"}, Retry_After="1")
    with Told(busy, says(200, TEXT)) as server:
        way(server.url, ASK)
    assert 1.0 <= server.times[1] - server.times[0] < 2.5


@ways
def test_gives_up_when_it_is_asked_to_wait_too_long(way: Way) -> None:
    """A Retry-After beyond longest_wait_seconds ends it at once, with the server's words."""
    busy = says(503, {"success": False, "error": "down until tomorrow"}, Retry_After="86400")
    with Told(busy) as server, pytest.raises(ServerError, match="down until tomorrow") as caught:
        way(server.url, ASK)
    assert len(server.asked) == 1
    assert caught.value.retry_after == 86400.0


@ways
def test_gives_up_after_so_many_tries(way: Way) -> None:
    """`tries` requests in all."""
    with Told(says(503, {"status": "loading"})) as server:
        with pytest.raises(ServerError, match="status 503: loading"):
            way(server.url, ASK)
        assert len(server.asked) == QUICK.tries


@ways
@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 504])
def test_what_is_wrong_is_not_tried_again(way: Way, status: int) -> None:
    """Other statuses are final, in the server's words."""
    with Told(says(status, {"success": False, "error": "no such field"})) as server:
        with pytest.raises(ServerError, match=f"status {status}: no such field"):
            way(server.url, ASK)
        assert len(server.asked) == 1


@ways
def test_a_silent_server_is_a_timeout(way: Way) -> None:
    """Nothing for answer_seconds is ServerTimeout; it is not asked twice."""
    with Told(lambda _: time.sleep(3)) as server:
        began = time.monotonic()
        with pytest.raises(ServerTimeout, match="nothing came for 2 s"):
            way(server.url, ASK)
        assert 1.9 < time.monotonic() - began < 3 and len(server.asked) == 1


@ways
def test_nobody_there_is_unreachable(way: Way) -> None:
    """A closed port is Unreachable after all tries."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=re.escape(url)):
            way(url, ASK)


@ways
def test_what_is_no_answer_is_said(way: Way) -> None:
    """HTML, JSON of another kind, a redirect: an error, never a crash."""
    bodies = [b"<html>hi</html>", [1], {"success": True}, {"type": "text", "response": 1}]
    for body in bodies:
        with Told(says(200, body)) as server, pytest.raises(ServerError):
            way(server.url, ASK)
    moved = says(302, b"", Location="http://example.org/")
    with Told(moved) as server, pytest.raises(ServerError, match="302"):
        way(server.url, ASK)


@ways
def test_the_key_is_sent_and_never_shown(way: Any) -> None:
    """It goes out as a Bearer token, and no error holds it; nor does the client's repr."""
    key = "tops3cret"
    refuses = says(401, {"success": False, "error": "the key is missing or wrong"})
    with Told(refuses) as server:
        with pytest.raises(ServerError) as caught:
            way(server.url, ASK, key)
        assert server.asked[0]["headers"]["Authorization"] == f"Bearer {key}"
        assert key not in str(caught.value) and key not in repr(Client(server.url, QUICK, key))
    with pytest.raises(ConfigError) as wrong:
        way("http://127.0.0.1:1", ASK, "tops3cret\n")
    assert key not in str(wrong.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8765", "ftp://host", "http://", "http://h:99999", "http://a:b@host",
            "http://host/?x=1"],
)  # fmt: skip
def test_an_address_is_checked(url: str) -> None:
    """What is no address is a ConfigError; one with a password does not show it."""
    with pytest.raises(ConfigError) as caught:
        Client(url, QUICK)
    assert "a:b" not in str(caught.value)


def test_a_proxy_is_not_asked_for_the_own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """http_proxy does not come between the client and a local server."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with Told(says(200, TEXT)) as server:
        assert in_threads(server.url, ASK).text == "Hello!"


# Streams

PIECES = (b'data: {"delta": "Hel"}\n\n', b': comment\n\ndata: {"delta": "lo!"}\n\n')
LAST = b"data: " + json.dumps(TEXT).encode() + b"\n\n"


@streams_ways
def test_pieces_then_the_answer(way: Any) -> None:
    """Deltas come as they are written, the whole answer last; events may be cut anywhere."""
    whole = b"".join(PIECES) + LAST
    with Told(streams(*(whole[i : i + 7] for i in range(0, len(whole), 7)))) as server:
        *deltas, last = way(server.url, ASK)
    assert deltas == [Delta("Hel"), Delta("lo!")]
    assert last.text == "Hello!"
    assert server.asked[0]["body"]["stream"] is True


@streams_ways
def test_a_stream_begins_again_only_before_its_first_byte(way: Any) -> None:
    """A busy server is asked again; a stream that breaks off is an error."""
    busy = says(429, {"success": False, "error": "busy"})
    with Told(busy, hangs_up, streams(*PIECES, LAST)) as server:
        assert way(server.url, ASK)[-1].text == "Hello!"
        assert len(server.asked) == 3
    with Told(streams(*PIECES)) as server:
        with pytest.raises(Unreachable, match="broke off"):
            way(server.url, ASK)
        assert len(server.asked) == 1


@streams_ways
def test_an_error_within_a_stream(way: Any) -> None:
    """An event with an error is raised in the server's words."""
    error = b'data: {"success": false, "error": "a worker died"}\n\n'
    broken = streams(PIECES[0], error)
    with Told(broken) as server, pytest.raises(ServerError, match="a worker died"):
        way(server.url, ASK)


def test_leaving_a_stream_hangs_up() -> None:
    """Closing the generator closes the connection, so that the server can stop."""
    gone = threading.Event()

    def act(handler: BaseHTTPRequestHandler) -> None:
        try:
            streams(*(PIECES[:1] * 200), pause=0.02)(handler)
        except OSError:
            gone.set()

    with Told(act) as server, Client(server.url, QUICK) as client:
        pieces = client.stream(ASK)
        assert next(pieces) == Delta("Hel")
        pieces.close()
        assert gone.wait(2)


# Without a network


def test_retry_after_is_a_number_or_a_date() -> None:
    """Both forms of RFC 9110; anything else is none."""
    assert retry_after("7") == 7.0
    date = email.utils.formatdate(1_000_060, usegmt=True)
    assert retry_after(date, now=1_000_000.0) == 60.0
    assert retry_after(date, now=2_000_000.0) == 0.0
    assert [retry_after(value) for value in (None, "", "-3", "soon", "1.5", "٣")] == [None] * 6


def test_events_of_several_lines() -> None:
    """Data fields of one event are joined; carriage returns and other fields are passed over."""
    lines = ["event: x", 'data: {"delta":', 'data: "a"}\r', "", "data:" + json.dumps(CALL)]
    assert list(events(lines)) == [Delta("a"), answer_of(CALL)]


def test_words_of_a_server_are_printable() -> None:
    """An error cannot write on the terminal."""
    with pytest.raises(ServerError) as caught:
        answer_of({"success": False, "error": "\x1b[2Jgone\n" + "x" * 999})
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


# The real server


@contextmanager
def real(folder: Path) -> Iterator[str]:
    """A server process with the tiny model; its address."""
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmkit.serve", "model=tiny", "adapter=none", "port=0",
             "engine.threads=1", "engine.weights=plain", "model.dtype=float32"],
            cwd=folder, stderr=stream, stdout=stream,
            env={**os.environ, "LLMKIT_KEYS": "k1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        port = None
        while port is None:
            assert process.poll() is None, log.read_text()
            port = re.search(r'"listening".*"port":(\d+)', log.read_text())
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port[1]}"
    finally:
        process.kill()
        process.wait()


def test_against_the_real_server(tmp_path: Path) -> None:
    """A loading server is waited for; answer, stream, call, models, keys: as the server has them."""
    pytest.importorskip("litserve")
    patient = ClientConfig(
        connect_seconds=2.0, answer_seconds=60.0, tries=60, wait_seconds=0.5,
        longest_wait_seconds=2.0,
    )  # fmt: skip
    tool = {"name": "run_shell_command", "parameters": {
        "type": "object", "required": ["command"],
        "properties": {"command": {"type": "string", "enum": ["lsblk", "free -h"]}}}}  # fmt: skip
    ask = Ask(ASK.messages, tools=[tool], tool_choice="none", max_tokens=8, temperature=0.0)
    with real(tmp_path) as url:
        with pytest.raises(ServerError, match="401"):
            in_threads(url, ask, "wrong")
        with Client(url, patient, "k1") as client:
            answer = client.generate(ask)
            assert answer.type == "text" and answer.usage.completion <= 8
            *deltas, last = client.stream(ask)
            assert isinstance(last, Answer) and last.text == answer.text
            assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == last.text
            required = Ask(ASK.messages, tools=[tool], tool_choice="required", temperature=0.0)
            call = client.generate(required)
            assert call.tool == "run_shell_command"
            assert call.arguments["command"] in ("lsblk", "free -h")
            assert client.health().status == "ok" and "tiny" in client.models()
        assert streamed_async(url, ask, "k1")[-1].text == answer.text  # type: ignore[union-attr]
