"""A server that speaks Anthropic's Messages and Message Batches and OpenAI's chat completions.

    python tests/fake_messages_server.py '{"seed": 1, "429": 0.2, "timeout": 0.05}'

It prints its port, and answers until it is killed. An answer follows from the request alone: the
host name in the state that it is asked about ("Hostname: h0007") comes back in three lines, so that a
test knows by hand what each snapshot must get. Faults are drawn for each request from the seed:

    429, 529, 500, 503, 408   that status (429 and 529 with Retry-After)
    timeout                   no answer within `hang` seconds, then a broken connection
    drop, half                the connection ends before, or within, the answer
    truncated, refusal        a 200 that was cut off by max_tokens, or refused
    short, stranger           a 200 with one line only, or with a device that is not there
    errored, canceled, expired, invalid   of single requests in a batch
    lost                      a batch is made, and the connection ends before its id is told
    late                      a batch is made only after the connection has ended
    cut                       the stream of results ends in the middle

`GET /stats` says what was paid for. Only the standard library: it must not share a mistake with
the SDKs that it is spoken to by.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

KEY = "sk-test-0123456789abcdef"
_HOST = re.compile(r"Hostname: (\S+)")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def reasoning(host: str) -> str:
    """The answer about a host."""
    return (
        f"The person asks {host} for its disks.\n"
        f"{host} shows /dev/sda, and the machine starts by UEFI.\n"
        "Listing /dev/sda changes nothing."
    )


class State:
    """What the server has done, under one lock."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()  # requests about a host, whatever came of them
        self.paid: Counter[str] = Counter()  # answers about a host that were generated
        self.faults: Counter[str] = Counter()
        self.batches: dict[str, dict[str, Any]] = {}
        self.serial = 0
        self.served = 0  # requests of all kinds, /stats left out
        self.times: list[float] = []  # of requests one by one

    def drawn(self, names: tuple[str, ...], *parts: object) -> str:
        """The fault that a request meets, or ""."""
        with self.lock:
            self.serial += 1
            dice = random.Random(f"{self.plan.get('seed', 0)}/{self.serial}/{parts}").random()
            for name in names:
                rate = float(self.plan.get(name, 0.0))
                if dice < rate and not self._used_up(name):
                    self.faults[name] += 1
                    return name
                dice -= rate if dice >= rate else 0.0
        return ""

    def _used_up(self, name: str) -> bool:
        most = self.plan.get("most", {}).get(name)
        return most is not None and self.faults[name] >= most


SYNC = ("429", "529", "500", "503", "408", "timeout", "drop", "half",
        "truncated", "refusal", "short", "stranger", "400", "401", "404")  # fmt: skip
MADE = ("429", "529", "500", "lost", "late", "drop")
LOOK = ("429", "500", "drop")
ITEM = ("errored", "canceled", "expired", "invalid", "truncated", "refusal", "stranger")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *arguments: Any) -> None:
        pass

    # Routes

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/stats":
            self.stats()
            return
        if url.path == "/served":
            self.send(200, self.state.served)
            return
        if not self.allowed():
            return
        self.count()
        parts = url.path.strip("/").split("/")
        if parts[:3] != ["v1", "messages", "batches"]:
            self.error(404, "not_found_error", "no such route")
        elif self.refused(self.state.drawn(LOOK, self.path)):
            return
        elif len(parts) == 3:
            self.listing({key: values[0] for key, values in parse_qs(url.query).items()})
        elif parts[3] not in self.state.batches:
            self.error(404, "not_found_error", "no such batch")
        elif len(parts) == 4:
            self.send(200, self.shown(self.state.batches[parts[3]]))
        else:
            self.results(self.state.batches[parts[3]])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.count()
        if not self.allowed(body):
            return
        if self.path == "/v1/messages":
            self.message(body)
        elif self.path == "/v1/messages/batches":
            self.create(body)
        elif self.path == "/v1/chat/completions":
            self.completion(body)
        else:
            self.error(404, "not_found_error", "no such route")

    def count(self) -> None:
        with self.state.lock:
            self.state.served += 1

    @property
    def state(self) -> State:
        return self.server.state

    def allowed(self, body: Any = None) -> bool:
        """Check the key. The error repeats it, as careless servers do."""
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.path == "/v1/chat/completions":
            given = bearer
            right = given in (KEY, "none")
        else:  # releases of the SDK differ in the header
            given = self.headers.get("x-api-key") or bearer
            right = given == KEY and "anthropic-version" in self.headers
        if not right:
            self.error(401, "authentication_error", f"invalid x-api-key: {given}")
        return right

    # One by one

    def message(self, body: dict[str, Any]) -> None:
        self.answer(body, body["messages"][0]["content"], anthropic=True)

    def completion(self, body: dict[str, Any]) -> None:
        self.answer(body, body["messages"][-1]["content"], anthropic=False)

    def answer(self, body: dict[str, Any], text: str, *, anthropic: bool) -> None:
        host = self.host(text)
        with self.state.lock:
            self.state.asked[host] += 1
            tries = self.state.asked[host]
            self.state.times.append(time.time())
        time.sleep(random.random() * self.state.plan.get("delay", 0.0))
        fault = self.state.drawn(SYNC, host, tries)
        if self.refused(fault):
            return
        with self.state.lock:
            self.state.paid[host] += 1
        self.send(200, completed(body, host, fault, anthropic), half=fault == "half")

    def host(self, text: str) -> str:
        found = _HOST.search(text)
        return found[1] if found else "?"

    def refused(self, fault: str) -> bool:
        """Carry out a fault that leaves no answer."""
        if fault in ("drop", "timeout"):
            if fault == "timeout":
                time.sleep(self.state.plan.get("hang", 2.0))
            self.close_connection = True
            self.connection.close()
            return True
        if not fault.isdigit():
            return False
        kinds = {"429": "rate_limit_error", "529": "overloaded_error", "400": "invalid_request_error",
                 "401": "authentication_error", "404": "not_found_error"}  # fmt: skip
        key = self.headers.get("x-api-key") or self.headers.get("Authorization")
        after = self.state.plan.get("retry_after", 0.05)
        if after == "date":
            after = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        headers = {"Retry-After": str(after)} if fault in ("429", "529") else {}
        said = f"try another time than with {key}"
        self.error(int(fault), kinds.get(fault, "api_error"), said, headers)
        return True

    # Batches

    def create(self, body: dict[str, Any]) -> None:
        requests = body["requests"]
        names = [request["custom_id"] for request in requests]
        if len(set(names)) < len(names) or not all(map(_ID.fullmatch, names)):
            self.error(400, "invalid_request_error", "custom_id: wrong, or twice")
            return
        fault = self.state.drawn(MADE, "create")
        if fault not in ("lost", "late") and self.refused(fault):
            return
        if fault == "late":
            threading.Timer(self.state.plan.get("late_by", 0.2), self.make, [requests]).start()
        else:
            batch = self.make(requests)
        if fault:
            self.close_connection = True
            self.connection.close()
        else:
            self.send(200, self.shown(batch))

    def make(self, requests: list[Any]) -> dict[str, Any]:
        state = self.state
        with state.lock:
            number = len(state.batches) + 1
        made = time.time()
        batch: dict[str, Any] = {"id": f"msgbatch_{number:03}", "made": made, "results": []}
        batch["end"] = made + random.random() * state.plan.get("takes", 0.0)
        for request in requests:
            host = self.host(request["params"]["messages"][0]["content"])
            with state.lock:
                state.asked[host] += 1
                tries = state.asked[host]
            fault = state.drawn(ITEM, host, tries)
            result: dict[str, Any]
            if fault in ("errored", "invalid"):
                kind = "overloaded_error" if fault == "errored" else "invalid_request_error"
                inner = {"type": kind, "message": f"not for {KEY}"}
                result = {"type": "errored", "error": {"type": "error", "error": inner}}
            elif fault in ("canceled", "expired"):
                result = {"type": fault}
            else:
                with state.lock:
                    state.paid[host] += 1
                message = completed(request["params"], host, fault, True)
                result = {"type": "succeeded", "message": message}
            batch["results"].append({"custom_id": request["custom_id"], "result": result})
        with state.lock:
            state.batches[batch["id"]] = batch
        return batch

    def shown(self, batch: dict[str, Any]) -> dict[str, Any]:
        ended = time.time() >= batch["end"]
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        for item in batch["results"]:
            counts[item["result"]["type"] if ended else "processing"] += 1
        made = datetime.fromtimestamp(batch["made"], UTC)
        url = f"http://{self.headers['Host']}/v1/messages/batches/{batch['id']}/results"
        return {
            "id": batch["id"],
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": made.isoformat(),
            "expires_at": (made + timedelta(hours=24)).isoformat(),
            "ended_at": made.isoformat() if ended else None,
            "cancel_initiated_at": None,
            "archived_at": None,
            "results_url": url if ended else None,
        }

    def listing(self, query: dict[str, str]) -> None:
        newest = sorted(self.state.batches.values(), key=lambda batch: -batch["made"])
        names = [batch["id"] for batch in newest]
        start = names.index(query["after_id"]) + 1 if "after_id" in query else 0
        page = newest[start : start + min(int(query.get("limit", 20)), 2)]
        self.send(
            200,
            {
                "data": [self.shown(batch) for batch in page],
                "has_more": start + len(page) < len(newest),
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
            },
        )

    def results(self, batch: dict[str, Any]) -> None:
        lines = [json.dumps(item) + "\n" for item in batch["results"]]
        random.Random(batch["id"]).shuffle(lines)
        data = "".join(lines).encode()
        cut = self.state.drawn(("cut",), batch["id"])
        self.send_response(200)
        self.send_header("Content-Type", "application/x-jsonl")
        if cut and len(lines) % 2:  # ends as if it were complete
            data = "".join(lines[: len(lines) // 2]).encode()
            self.send_header("Content-Length", str(len(data)))
        else:
            self.send_header("Content-Length", str(len(data)))
            data = data[: len(data) // 2] if cut else data
        self.end_headers()
        self.wfile.write(data)
        if cut:
            self.close_connection = True

    # Parts

    def stats(self) -> None:
        state = self.state
        with state.lock:
            found = {
                "asked": dict(state.asked),
                "paid": dict(state.paid),
                "faults": dict(state.faults),
                "batches": len(state.batches),
                "served": state.served,
                "times": state.times,
            }
        self.send(200, found)

    def error(
        self, status: int, kind: str, said: str, headers: dict[str, str] | None = None
    ) -> None:
        self.send(status, {"type": "error", "error": {"type": kind, "message": said}}, headers)

    def send(
        self, status: int, body: Any, headers: dict[str, str] | None = None, *, half: bool = False
    ) -> None:
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if half else data)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client was killed
        if half:
            self.close_connection = True


def completed(body: dict[str, Any], host: str, fault: str, anthropic: bool) -> dict[str, Any]:
    """A 200's body."""
    text = reasoning(host)
    if fault == "truncated":
        text = text[:40]
    elif fault == "refusal":
        text = ""
    elif fault == "short":
        text = "Fine."
    elif fault == "stranger":
        text = f"{host} has /dev/sdq.\nIt is asked to list /dev/sda."
    cut = fault == "truncated"
    if anthropic:
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [{"type": "text", "text": text}] if text else [],
            "stop_reason": "refusal" if fault == "refusal" else "max_tokens" if cut else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 500, "output_tokens": 60},
        }
    reason = "content_filter" if fault == "refusal" else "length" if cut else "stop"
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 60, "total_tokens": 560},
    }


@contextmanager
def running(**plan: Any) -> Iterator[Running]:
    """The server as a process of its own, for a test."""
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps(plan)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Running(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Running:
    """Where a server is, and what it says of itself."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def stats(self) -> dict[str, Any]:
        """Counts of requests, answers and faults."""
        with urlopen(f"{self.url}/stats", timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found


class Server(ThreadingHTTPServer):
    """Listens on a free port of this machine."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", int(plan.get("port", 0))), Handler)
        self.state = State(plan)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | ValueError | OSError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    server = Server(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    print(server.server_address[1], flush=True)
    server.serve_forever()
