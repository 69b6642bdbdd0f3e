"""What stands between the socket and the routes: keys, limits, log lines, errors, a graceful end.

    app.add_middleware(Gate, state=state)
    Server(uvicorn.Config(app, http=Protocol)).serve(sockets=[…])

Every request passes `Gate`; `Protocol` is uvicorn's with limits for those who send headers slowly
or without end; `body_of` reads a body within its limits, and `watch` sees a client go away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llmkit.config_serve import ServeConfig
from llmkit.serve_log import Metrics
from llmkit.serve_openapi import ROUTES
from llmkit.serve_schema import ApiError

log = logging.getLogger("llmkit.serve")

# The page's files, in llmkit/page/. It asks for the key itself: a browser sends none for a page.
PAGE = {"/": "index.html"} | {
    f"/page/{name}": name
    for name in (
        "page.css",
        "icon.svg",
        "main.js",
        "talk.js",
        "card.js",
        "machine.js",
        "api.js",
        "keep.js",
        "dom.js",
    )
}
OPEN = frozenset({"/health", "/docs", "/openapi.json", *PAGE})  # no key needed
_HEADER_BYTES = 65536
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DISCARDED = 16 << 20  # bytes of a body that are read although it is refused
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          429: "rate_limit_error"}  # fmt: skip


@dataclass
class State:
    """What the gate and the routes share."""

    cfg: ServeConfig
    keys: tuple[bytes, ...]
    metrics: Metrics = field(default_factory=Metrics)
    draining: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)


def keys_from(variable: str) -> tuple[bytes, ...]:
    """The keys in an environment variable, commas between them."""
    found = os.environ.get(variable, "").split(",")
    return tuple(key.strip().encode() for key in found if key.strip())


def error_body(path: str, error: ApiError) -> dict[str, Any]:
    """An error in the shape of the route: OpenAI's under /v1, else the earlier server's."""
    if path.startswith("/v1"):
        kind = _TYPES.get(
            error.status, "server_error" if error.status >= 500 else "invalid_request_error"
        )
        return {
            "error": {
                "message": error.message, "type": kind, "param": error.param, "code": error.code
            }
        }  # fmt: skip
    return {"success": False, "error": error.message}


def error_response(path: str, error: ApiError) -> JSONResponse:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in (408, 413):  # the rest of the body is not wanted
        headers["Connection"] = "close"
    return JSONResponse(error_body(path, error), error.status, headers)


class Gate:
    """The outermost layer. A pure ASGI middleware, so that streams pass as they come."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app, self.state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        path, metrics = scope["path"], self.state.metrics
        started, status = time.monotonic(), 0

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = [(b"x-request-id", request_id.encode())]
                if self.state.draining:
                    extra.append((b"connection", b"close"))
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        metrics.running += 1
        self.state.idle.clear()
        try:
            try:
                self._admit(path, headers)
                await self.app(scope, receive, tagged)
            except ApiError as error:
                await error_response(path, error)(scope, receive, tagged)
            except ClientDisconnect:
                pass
            except Exception:
                log.exception("a request failed", extra={"fields": {"request_id": request_id}})
                if not status:
                    broken = ApiError(500, "internal error")
                    await error_response(path, broken)(scope, receive, tagged)
        finally:
            metrics.running -= 1
            if not metrics.running:
                self.state.idle.set()
            seconds = time.monotonic() - started
            route = path if path in ROUTES or path in OPEN else "other"
            metrics.requests[route, status or 499] += 1
            if route not in OPEN:
                metrics.seconds.add(seconds)
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": path,
                "status": status or 499,  # gone before an answer
                "seconds": round(seconds, 4),
                "client": (scope.get("client") or ("",))[0],
                **scope["state"].get("log", {}),
            }
            log.info("request", extra={"fields": fields})

    def _admit(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        if path not in OPEN and self.state.keys and not self._known(headers):
            raise ApiError(401, "a key is needed: Authorization: Bearer KEY", "invalid_api_key")
        if self.state.draining and path not in OPEN and path != "/metrics":
            raise ApiError(503, "the server is shutting down", "stopping", retry_after=5)

    def _known(self, headers: Mapping[bytes, bytes]) -> bool:
        """Each key is compared in full, whatever comes of the others."""
        given = [headers.get(b"x-api-key", b"")]
        scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            given.append(value.strip())
        found = False
        for key in self.state.keys:
            for text in given:
                found |= hmac.compare_digest(key, text)
        return found


async def body_of(request: Request, limit: int, seconds: float) -> bytes:
    """The request's body. Raises ApiError 413, or 408 when it comes too slowly.

    What is too much is read to its end, up to a bound, and thrown away: a connection that is closed
    over unread bytes is reset, and the client may never see the answer that is on its way. A client
    that asks first (Expect: 100-continue) is told at once.
    """
    too_large = ApiError(413, f"the body is larger than {limit:,} bytes", "body_too_large")
    length = request.headers.get("content-length", "")
    most = limit if "expect" in request.headers else max(limit, _DISCARDED)
    if length.isdigit() and int(length) > most:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large
                if size <= limit:
                    parts.append(part)
    except TimeoutError:
        if size > limit:
            raise too_large from None
        raise ApiError(408, f"the body did not arrive within {seconds} s", "timeout") from None
    if size > limit:
        raise too_large
    return b"".join(parts)


@contextlib.asynccontextmanager
async def watch(receive: Receive) -> AsyncIterator[asyncio.Event]:
    """An event that is set when the client goes away; the body must have been read."""
    gone = asyncio.Event()

    async def wait() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    task = asyncio.create_task(wait())
    try:
        yield gone
    finally:
        task.cancel()


class Protocol(HttpToolsProtocol):
    """uvicorn's, but headers must be there in time and of a bounded size."""

    seconds = 20.0  # until a request's headers are complete; set by the stage
    _since = 0  # bytes of headers that are not complete
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:  # a request is there
            self._forget()
            return
        if self._timer is None:
            self._expect()
        self._since += len(data)
        if self._since > _HEADER_BYTES and not self.transport.is_closing():
            if self.cycle is None:
                self.send_400_response("The headers are too large.")
            else:  # or a body that nobody reads, whose request has its answer
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        body = orjson.dumps({"success": False, "error": msg})
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()

    def _expect(self) -> None:
        """From now on, a request's headers are due."""
        self._timer = self.loop.call_later(self.seconds, self.transport.close)

    def _forget(self) -> None:
        self._since = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """uvicorn's, but signals are the stage's: it answers what runs before it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
