"""The server, as real processes on free ports: routes, keys, limits, faults."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("litserve")

from tests.serving import (
    CHAT,
    KEY,
    SAY,
    SHELL_TOOL,
    Running,
    begin,
    letters,
    resident,
    running,
    start,
)
from tests.test_serve_parts import FIELDS, VALUES


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that cannot load its model, begun together with the others."""
    begin("keys", "small")
    server = start(tmp_path_factory.mktemp("serve") / "c", "model.chat_template=/nowhere.jinja")
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def server(failing: Running) -> Running:
    """With keys and the usual limits."""
    return running("keys")


@pytest.fixture
def small(failing: Running) -> Running:
    """With small limits and without keys; for faults."""
    return running("small")


# Routes


def test_health_says_which_model_without_a_key(server: Running) -> None:
    """GET /health is open and names the model."""
    answer = server.ask("GET", "/health", key=None)
    assert (answer.status, answer.json()) == (200, {"status": "ok", "model": "tiny"})


@pytest.mark.parametrize("path", ["/generate", "/query"])
def test_generate_answers_text(server: Running, path: str) -> None:
    """An answer that was cut is text, says so, and counts its tokens."""
    answer = server.post(path, {**SAY, "max_tokens": 5, "seed": 1})
    body = answer.json()
    assert answer.status == 200
    assert (body["success"], body["type"], body["finish_reason"]) == (True, "text", "length")
    assert isinstance(body["response"], str)
    assert body["usage"]["completion_tokens"] == 5
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 5


def test_required_tools_are_called_as_their_schema_says(server: Running) -> None:
    """Every call has one of the two commands that the schema lists."""
    calls = []
    for seed in range(12):
        body = {**SAY, "tools": [SHELL_TOOL], "tool_choice": "required", "seed": seed,
                "temperature": 1.5, "max_tokens": 40}  # fmt: skip
        answer = server.post("/generate", body).json()
        if answer["type"] == "text":  # it still reasons
            assert answer["finish_reason"] == "length"
            continue
        assert answer["finish_reason"] == "tool_calls"
        calls.append((answer["tool_name"], answer["arguments"]["command"]))
    assert calls
    assert set(calls) <= {
        ("run_shell_command", "lsblk"), ("run_shell_command", "sgdisk -p /dev/sda")
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions"])
def test_a_call_that_is_hardly_likely_is_none(server: Running, path: str) -> None:
    """tool_threshold 1: the model is never so sure; an empty text. Near 0: a call."""
    tools: list[Any] = [{"type": "function", "function": SHELL_TOOL}]
    body = {**(CHAT if path.startswith("/v1") else SAY), "tools": tools, "tool_choice": "required",
            "temperature": 0, "max_tokens": 200}  # fmt: skip
    kinds = []
    for threshold in (1.0, 1e-9):
        answer = server.post(path, {**body, "tool_threshold": threshold}).json()
        if path == "/generate":
            kinds.append((answer["type"], answer["finish_reason"], answer.get("response")))
        else:
            choice = answer["choices"][0]
            kind = "tool_call" if choice["message"].get("tool_calls") else "text"
            kinds.append((kind, choice["finish_reason"], choice["message"].get("content")))
    assert kinds[0][:2] == ("text", "stop") and not kinds[0][2]
    assert kinds[1][1] in ("tool_calls", "length")
    for choice in ("auto", "none", None):
        wrong = {**body, "tool_threshold": 0.5, "tool_choice": choice}
        refused = server.post(path, wrong)
        assert refused.status == 400 and "tool_threshold" in str(refused.json())


@pytest.mark.parametrize("stream", [False, True])
def test_chat_completions_call_the_named_tool(server: Running, stream: bool) -> None:
    """tool_choice with a name gives a call of it, arguments as JSON text, streamed or not."""
    body = {**CHAT, "tools": [{"type": "function", "function": SHELL_TOOL}],
            "tool_choice": {"type": "function", "function": {"name": "run_shell_command"}},
            "max_tokens": 40}  # fmt: skip
    for seed in range(12):
        if stream:
            *parts, done = server.events("/v1/chat/completions", {**body, "seed": seed})
            assert done == "[DONE]"
            finish = parts[-1]["choices"][0]["finish_reason"]
            deltas = [part["choices"][0]["delta"] for part in parts]
            calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
        else:
            choice = server.post("/v1/chat/completions", {**body, "seed": seed}).json()["choices"][
                0
            ]
            finish, calls = choice["finish_reason"], choice["message"].get("tool_calls", [])
        if finish == "tool_calls":
            break
    (call,) = calls
    assert call["function"]["name"] == "run_shell_command"
    assert json.loads(call["function"]["arguments"])["command"] in ("lsblk", "sgdisk -p /dev/sda")


def test_a_stream_gives_the_same_text(server: Running) -> None:
    """The deltas of a seeded answer are together what it is without streaming; usage comes last."""
    body = {**CHAT, "seed": 3, "max_tokens": 12, "tool_choice": "none"}
    whole = server.post("/v1/chat/completions", body).json()
    more = {"stream_options": {"include_usage": True}}
    *parts, usage, done = server.events("/v1/chat/completions", {**body, **more})
    assert done == "[DONE]"
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    deltas = [part["choices"][0]["delta"] for part in parts]
    text = "".join(delta.get("content") or "" for delta in deltas)
    assert text == whole["choices"][0]["message"]["content"]
    assert parts[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    *deltas, last = server.events("/generate", {**SAY, "seed": 3, "max_tokens": 12, "tools": []})
    assert "".join(part["delta"] for part in deltas) == last["response"]


def test_answers_follow_a_json_schema(server: Running) -> None:
    """response_format json_schema gives JSON that fits it."""
    answer = server.post("/v1/chat/completions", {**letters(30), "model": "tiny"}).json()
    found = json.loads(answer["choices"][0]["message"]["content"])
    assert set(found) == {"a"} and re.fullmatch("[a-z]{30}", found["a"])
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_sixteen_clients_get_what_one_gets(server: Running) -> None:
    """Greedy and seeded answers do not depend on who else asks."""
    bodies = [
        {"messages": [{"role": "user", "content": f"disk {number}"}], "max_tokens": 16,
         "seed": number, "temperature": number % 2}
        for number in range(16)
    ]  # fmt: skip
    alone = [server.post("/generate", body).json() for body in bodies]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda body: server.post("/generate", body).json(), bodies))
    assert together == alone
    assert all(answer["success"] for answer in alone)


def test_models_are_listed(server: Running) -> None:
    """GET /v1/models names what requests may give; another name is a 404."""
    listed = server.ask("GET", "/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["tiny", "llmkit", "second"]
    answer = server.post("/v1/chat/completions", {**CHAT, "model": "gpt-9"})
    assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_each_name_is_answered_by_its_adapter(server: Running) -> None:
    """Together as alone; those of the base are the same by either name, the adapter's are others."""
    names = ["tiny", "llmkit", "second", None]
    bodies = [
        {"messages": [{"role": "user", "content": f"disk {number}"}], "max_tokens": 12,
         "temperature": 0, "tools": [], "model": name}
        for number in range(4) for name in names
    ]  # fmt: skip
    alone = [server.post("/generate", body).json()["response"] for body in bodies]
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = pool.map(lambda body: server.post("/generate", body).json(), bodies)
        together = [answer["response"] for answer in answers]
    assert together == alone
    assert alone[0::4] == alone[1::4] == alone[3::4]
    assert not set(alone[0::4]) & set(alone[2::4])


def test_a_name_is_looked_up(server: Running) -> None:
    """GET /v1/models/NAME, whatever stands in it."""
    assert server.ask("GET", "/v1/models/second").json()["id"] == "second"
    for name in ("other", "a/b", "%00"):
        answer = server.ask("GET", f"/v1/models/{name}")
        assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_metrics_are_prometheus_text(server: Running) -> None:
    """Every line is a comment or a sample, and an answer counts."""
    before = server.metric("llmkit_engine_generated_tokens")
    server.post("/generate", {**SAY, "max_tokens": 3, "seed": 1})
    answer = server.ask("GET", "/metrics")
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+.\de]+')
    for line in answer.body.decode().splitlines():
        assert line.startswith("# ") or sample.fullmatch(line), line
    assert server.metric("llmkit_engine_generated_tokens") == before + 3


def test_the_openapi_document_is_whole(server: Running) -> None:
    """Each route is in it, and every reference leads somewhere."""
    document = server.ask("GET", "/openapi.json", key=None).json()
    assert set(document["paths"]) == {
        "/health", "/metrics", "/generate", "/query", "/v1/models", "/v1/models/{model}",
        "/v1/chat/completions",
        "/domain/check", "/domain/apply", "/domain/text", "/page/begin", "/page/show",
    }  # fmt: skip
    references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document))
    assert {"ChatRequest", "GenerateRequest", "Message", "ApplyAnswer"} <= set(references)
    assert set(references) <= set(document["components"]["schemas"])
    names = document["components"]["schemas"]["ModelName"]["enum"]
    assert names == ["tiny", "llmkit", "second"]


# Keys


def test_a_key_is_needed(server: Running) -> None:
    """Without one, or with a wrong one: 401 in the route's shape."""
    for key in (None, "wrong", KEY[:-1], f"k1,{KEY}", "é"):
        answer = server.post("/generate", SAY, key=key)
        assert (answer.status, answer.json()["success"]) == (401, False)
    answer = server.post("/v1/chat/completions", CHAT, key=None)
    assert (answer.status, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert server.ask("GET", "/metrics", key=None).status == 401


def test_either_key_in_either_header(server: Running) -> None:
    """Bearer and X-API-Key, each of the keys."""
    for key in ("k1", KEY):
        assert server.ask("GET", "/v1/models", key=key).status == 200
        given = server.ask("GET", "/v1/models", key=None, headers={"X-API-Key": key})
        assert given.status == 200


# Requests that are wrong

WRONG: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b'{"messages": [',
    "an array": b"[1]",
    "invalid UTF-8": b'{"messages": [{"role": "user", "content": "\xff"}]}',
    "half a character": b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "NaN": b'{"messages": [{"role": "user", "content": "a"}], "temperature": NaN}',
    "deep arrays": b"[" * 90000 + b"]" * 90000,
    "deep objects": b'{"tools": ' + b'{"a": ' * 900 + b"1" + b"}" * 901,
    **{
        name: json.dumps({**SAY, **more}).encode()
        for name, more in {
            "an unknown field": {"temprature": 1},
            "text for a number": {"temperature": "1"},
            "a number as text": {"max_tokens": "10"},
            "a part of a token": {"max_tokens": 1.5},
            "yes for a seed": {"seed": True},
            "no tokens": {"max_tokens": 0},
            "too many tokens": {"max_tokens": 1_000_000},
            "a huge seed": {"seed": 2**70},
            "too hot": {"temperature": 3},
            "no messages": {"messages": []},
            "messages are text": {"messages": "hi"},
            "a message is null": {"messages": [None]},
            "10,000 messages": {"messages": [{"role": "user", "content": "a"}] * 4000},
            "a role that is none": {"messages": [{"role": "root", "content": "a"}]},
            "content of another kind": {"messages": [{"role": "user", "content": 5}]},
            "the assistant speaks last": {"messages": [*SAY["messages"], {"role": "assistant"}]},
            "a late system message": {
                "messages": [*SAY["messages"], {"role": "system", "content": "b"}]
            },
            "a prompt that is too long": {"messages": [{"role": "user", "content": "a b " * 9000}]},
            "an empty stop": {"stop": [""]},
            "a choice that is none": {"tool_choice": "maybe"},
            "a tool that is none": {
                "tool_choice": {"type": "function", "function": {"name": "other"}}
            },
            "a schema that is none": {
                "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}
            },
            "a tool's schema that is none": {
                "tools": [
                    {"type": "function", "function": {"name": "a", "parameters": {"properties": 5}}}
                ]
            },
            "no schema": {"response_format": {"type": "json_schema"}},
        }.items()
    },
}


@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions"])
def test_wrong_requests_are_refused(server: Running, path: str) -> None:
    """400 in the route's shape, each; and nothing of it harms the next request."""
    found = {}
    for name, raw in WRONG.items():
        if path.startswith("/v1") and raw.startswith(b'{"messages"'):
            raw = b'{"model": "tiny", ' + raw[1:]
        answer = server.post(path, raw)
        body = answer.json()
        said = body["error"]["message"] if path.startswith("/v1") else body["error"]
        found[name] = (answer.status, bool(said))
        assert path.startswith("/v1") or body["success"] is False
    assert found == dict.fromkeys(WRONG, (400, True))
    assert server.post("/generate", {**SAY, "max_tokens": 1}).status == 200


@settings(max_examples=40)
@given(body=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_no_body_is_the_servers_error(server: Running, body: dict[str, Any]) -> None:
    """Whatever stands in a request, it is answered or refused."""
    whole = {**CHAT, "max_tokens": 2, "stream": None, **body}
    for path in ("/generate", "/v1/chat/completions"):
        assert server.post(path, whole).status in (200, 400, 404)


def test_the_reason_names_the_field(server: Running) -> None:
    """So that it can be found."""
    body = {"messages": [{"role": "user"}, {"role": "x", "content": ""}], "top_k": 3}
    said = server.post("/generate", body).json()["error"]
    assert "messages.1.role" in said and "top_k: no such field" in said
    answer = server.post("/v1/chat/completions", {**CHAT, "n": 2}).json()
    assert answer["error"]["param"] == "n"


def test_a_machine_that_cannot_be_read_is_refused(server: Running) -> None:
    """An answer that cannot be held to the machine of its request is not given."""
    answer = server.post("/generate", {**SAY, "system_context": "## Available Disks\n- what?"})
    assert answer.status == 400
    assert "system_context" in answer.json()["error"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_ten_megabytes_is_refused(server: Running, chunked: bool) -> None:
    """413, whether its length is said before or not; a client that sends it all hears so."""
    piece = b"a" * 65536
    head = f"POST /generate HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n"
    with server.raw() as connection:
        if chunked:
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            for _ in range(160):
                connection.sendall(b"10000\r\n" + piece + b"\r\n")
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.sendall(f"{head}Content-Length: 10485760\r\n\r\n".encode())
            for _ in range(160):
                connection.sendall(piece)
                time.sleep(0.001)
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 413 " in said.splitlines()[0]
    assert (
        json.loads(said.split(b"\r\n\r\n")[1])["error"] == "the body is larger than 200,000 bytes"
    )
    assert server.post("/generate", b" " * 300_000).status == 413
    assert server.lines()[-1]["status"] == 413


@pytest.mark.parametrize(
    ("header", "length"), [("Expect: 100-continue", 300_000), ("Accept: */*", 10**9)]
)
def test_a_body_that_is_not_wanted_is_refused_before_it_comes(
    server: Running, header: str, length: int
) -> None:
    """413 at once to a client that asks first, or means to send more than is worth reading."""
    with server.raw() as connection:
        connection.sendall(
            f"POST /generate HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n{header}\r\n"
            f"Content-Length: {length}\r\n\r\n".encode()
        )
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert said.startswith(b"HTTP/1.1 413 ")


def test_other_paths_and_methods(server: Running) -> None:
    """404 and 405 are JSON, too."""
    assert server.ask("GET", "/nothing").json() == {"success": False, "error": "no such path"}
    answer = server.ask("GET", "/v1/chat/completions")
    assert (answer.status, answer.json()["error"]["type"]) == (405, "invalid_request_error")
    assert answer.headers["allow"] == "POST"
    assert server.ask("GET", "/info").status == 404  # LitServe's own


def test_a_request_by_hand(server: Running) -> None:
    """HTTP/1.1 with `Connection: close` and little else gets a whole JSON body with its length."""
    raw = json.dumps({**SAY, "max_tokens": 3}).encode()
    with server.raw() as connection:
        connection.sendall(
            b"POST /generate HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (KEY.encode(), len(raw), raw)
        )
        got = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert json.loads(body)["success"] is True


def test_what_is_not_http_is_refused(server: Running) -> None:
    """400, as JSON."""
    with server.raw() as connection:
        connection.sendall(b"\x16\x03\x01\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


# The log


def test_the_log_has_ids_and_no_contents(server: Running) -> None:
    """A line of JSON for each request, with the id that the client got; not what was said."""
    body = {"messages": [{"role": "user", "content": "xylophone"}], "max_tokens": 3}
    answer = server.post("/generate", body, headers={"X-Request-Id": "mine-7"})
    assert answer.headers["x-request-id"] == "mine-7"
    found: list[dict[str, Any]] = []

    def logged() -> bool:  # the line is written behind the answer
        found[:] = [line for line in server.lines() if line.get("request_id") == "mine-7"]
        return bool(found)

    server.until(logged, 10)
    (line,) = found
    assert (line["path"], line["status"], line["completion_tokens"]) == ("/generate", 200, 3)
    assert "xylophone" not in server.log.read_text()
    assert KEY not in server.log.read_text()


# Clients that leave


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(server: Running, stream: bool) -> None:
    """Within a second of its leaving, nothing runs."""
    raw = json.dumps({**letters(1000), "stream": stream}).encode()
    cancelled = server.metric("llmkit_engine_cancelled")
    with server.raw() as connection:
        connection.sendall(
            b"POST /generate HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (KEY.encode(), len(raw), raw)
        )
        server.until(lambda: server.metric("llmkit_engine_active") == 1, 10)
    seconds = server.until(lambda: server.metric("llmkit_engine_active") == 0, 5)
    assert seconds < 1
    assert server.metric("llmkit_engine_cancelled") == cancelled + 1


# Faults, on the server with small limits


def test_browsers_are_let_in_where_the_config_says(small: Running, server: Running) -> None:
    """The one origin of cors_origins; none by default."""
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    answer = small.ask("OPTIONS", "/generate", headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    other = small.ask("GET", "/health", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-origin" not in server.ask("GET", "/health", headers=asked).headers


def test_an_answer_that_takes_too_long(small: Running) -> None:
    """504 after limits.seconds, and its slot is free."""
    began = time.monotonic()
    answer = small.post("/generate", {**letters(30000), "max_tokens": 7900})
    assert (answer.status, answer.json()["success"]) == (504, False)
    assert time.monotonic() - began < 7
    small.until(lambda: small.metric("llmkit_engine_active") == 0, 1)


def test_more_than_may_wait(small: Running) -> None:
    """429 with Retry-After for those beyond batch and queue; the others are answered."""
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: small.post("/generate", letters(150)), range(10)))
    refused = [answer for answer in answers if answer.status == 429]
    assert refused and all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    rest = [answer for answer in answers if answer.status != 429]
    assert len(rest) >= 3 and {answer.status for answer in rest} == {200}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"POST /generate HTTP/1.1\r\nHo", b""),
        (b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.1 408 "),
        (b"GET / HTTP/1.1\r\n" + b"X: %s\r\n" % (b"a" * 100_000), b"HTTP/1.1 400 "),
    ],
    ids=["headers that do not end", "a body that does not end", "headers that are too large"],
)
def test_slow_clients_are_hung_up_on(small: Running, sent: bytes, expected: bytes) -> None:
    """Whoever does not send a request within limits.receive_seconds makes room."""
    with small.raw() as connection:
        connection.sendall(sent)
        began = time.monotonic()
        said = b"".join(iter(lambda: connection.recv(4096), b""))
    assert said.startswith(expected) and bool(said) == bool(expected)
    assert time.monotonic() - began < 3


def test_a_costly_schema_holds_up_nobody(small: Running) -> None:
    """It is refused or given up; meanwhile others are answered."""
    schema = {"type": "string", "pattern": "^(a{1000}){300}$"}
    bomb = {**SAY, "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(small.post, "/generate", bomb)
        time.sleep(0.2)
        began = time.monotonic()
        assert small.post("/generate", {**SAY, "max_tokens": 2}).status == 200
        assert time.monotonic() - began < 3
        assert future.result().status in (400, 504)


@contextmanager
def load(server: Running, clients: int, body: Mapping[str, Any]) -> Iterator[list[Any]]:
    """That many requests under way; their futures."""
    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(server.post, "/generate", body) for _ in range(clients)]
        server.until(lambda: server.metric("llmkit_engine_active") == clients, 10)
        yield futures


def test_a_worker_that_is_killed_comes_back(small: Running) -> None:
    """kill -9 under load: who waits gets 503 at once, /health says so, and then all goes on."""
    with load(small, 3, letters(900)) as futures:
        worker = max(small.children(), key=resident)
        os.kill(worker, signal.SIGKILL)
        answers = [future.result(timeout=3) for future in futures]
    assert {answer.status for answer in answers} == {503}
    assert all(answer.headers["retry-after"] for answer in answers)
    health = small.ask("GET", "/health")
    assert (health.status, health.json()["status"]) == (503, "restarting")
    assert small.post("/generate", SAY).status == 503
    small.healthy()
    assert small.post("/generate", {**SAY, "max_tokens": 3}).status == 200
    assert small.metric("llmkit_worker_restarts_total") == 1


def test_sigterm_lets_running_requests_finish(small: Running) -> None:
    """They get whole answers, new ones 503; then exit 0, no process and no port behind."""
    with load(small, 3, letters(80)) as futures:
        workers = small.children()
        small.process.send_signal(signal.SIGTERM)
        small.until(lambda: small.ask("GET", "/health").json()["status"] == "stopping", 2)
        late = small.post("/generate", SAY)
        answers = [future.result(timeout=20) for future in futures]
    assert (late.status, late.json()["success"]) == (503, False)
    assert [len(json.loads(answer.json()["response"])["a"]) for answer in answers] == [80] * 3
    assert small.process.wait(timeout=10) == 0, small.log.read_text()[-2000:]
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", small.port))


# What ends the process at once


def refusal(server: Running) -> tuple[int, str]:
    """The exit code of a server that ends by itself, and what it says beside its log."""
    try:
        code = server.process.wait(timeout=200)
    finally:
        server.process.kill()
        server.process.wait()
    said = [line for line in server.log.read_text().splitlines() if not line.startswith("{")]
    return code, "\n".join(said)


def test_a_model_that_cannot_be_loaded(failing: Running) -> None:
    """The worker's reason is the server's: one error, exit code 2."""
    code, said = refusal(failing)
    assert code == 2
    assert said.startswith("error: no chat template /nowhere.jinja")
    assert "Traceback" not in failing.log.read_text()
    assert failing.log.read_text().count("error: ") == 1


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("adapter=/nowhere", (2, "error: adapter=/nowhere: no such folder")),
        (
            "+adapters.more=shipped",
            (2, "error: no adapter is shipped for domain installer and model tiny"),
        ),
        ("host=192.0.2.1", (1, "error: 192.0.2.1 port 0: Cannot assign requested address")),
    ],
    ids=["no adapter", "no second adapter", "an address of another machine"],
)
def test_what_is_wrong_from_the_start(
    tmp_path: Path, override: str, expected: tuple[int, str]
) -> None:
    """One line with the reason; nothing is loaded."""
    code, said = refusal(start(tmp_path / "x", override))
    assert (code, said.partition(" (")[0]) == expected
