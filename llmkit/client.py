"""Talk to llmkit's server: /generate with and without streaming, health, models.

    with Client("http://127.0.0.1:8765", cfg.client, key=os.environ.get("LLMKIT_KEY", "")) as client:
        answer = client.generate(Ask([{"role": "user", "content": "list disks"}]))
        for piece in client.stream(ask):      # Delta, Delta, …, Answer
            ...

    async with AsyncClient(url, cfg.client) as client:
        answer = await client.generate(ask)

A request is tried again when nobody answers, when the connection breaks before an answer, and on
429, 502 and 503: after a wait that doubles, with jitter, and is never shorter than Retry-After says.
A time-out is not tried again, since the server may still be at work; a stream is not once it has
begun. Closing a stream early stops the server's work. The key is in no message and no repr.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import closing
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
import tenacity

from llmkit.client_wire import (
    AGAIN,
    Answer,
    Ask,
    Delta,
    Events,
    Health,
    ServerError,
    ServerTimeout,
    Unreachable,
    answer_of,
    authorization,
    error_of,
    events,
)
from llmkit.config_chat import ClientConfig
from llmkit.errors import ConfigError

__all__ = ["Answer", "Ask", "AsyncClient", "Client", "Delta", "Health", "ServerError",
           "ServerTimeout", "Unreachable"]  # fmt: skip


class _Base:
    """What both clients share: address, limits, and which errors are worth another try."""

    def __init__(self, url: str, cfg: ClientConfig, key: str = "") -> None:
        self.cfg = cfg
        self.url = checked_url(url)
        self._options: dict[str, Any] = {
            "base_url": self.url,
            "headers": {"Accept": "application/json", **authorization(key)},
            "timeout": httpx2.Timeout(cfg.answer_seconds, connect=cfg.connect_seconds),
            "trust_env": not is_local(self.url),  # a proxy cannot reach this machine's server
            "follow_redirects": False,  # the key stays with the server that it was given for
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def _retrying(self) -> dict[str, Any]:
        """tenacity's settings."""
        cfg = self.cfg
        backoff = tenacity.wait_exponential(
            multiplier=cfg.wait_seconds, max=cfg.longest_wait_seconds
        ) + tenacity.wait_random(0, cfg.wait_seconds)

        def wait(state: tenacity.RetryCallState) -> float:
            asked = _error(state).retry_after or 0.0
            return max(float(backoff(state)), asked)

        def stop(state: tenacity.RetryCallState) -> bool:
            asked = _error(state).retry_after or 0.0
            return state.attempt_number >= cfg.tries or asked > cfg.longest_wait_seconds

        return {
            "retry": tenacity.retry_if_exception(_worth_it),
            "wait": wait,
            "stop": stop,
            "reraise": True,
        }

    def _failed(self, error: httpx2.HTTPError, path: str) -> ServerError:
        place = f"{self.url}{path}"
        if isinstance(error, httpx2.TimeoutException):
            if isinstance(error, httpx2.ConnectTimeout):
                return Unreachable(f"{place}: no connection in {self.cfg.connect_seconds:g} s")
            return ServerTimeout(f"{place}: nothing came for {self.cfg.answer_seconds:g} s")
        return Unreachable(f"{place}: {error or type(error).__name__}")

    def _json(self, response: httpx2.Response, path: str) -> Any:
        place = f"{self.url}{path}"
        if response.status_code != 200:
            raise error_of(response.status_code, response.headers, response.content, place)
        try:
            return response.json()
        except ValueError:
            raise ServerError(f"{place}: the answer is not JSON", response.status_code) from None

    @staticmethod
    def _health(response: httpx2.Response) -> Health:
        try:
            data = response.json()
            return Health(str(data["status"]), str(data.get("model", "")))
        except (ValueError, LookupError, AttributeError, TypeError):
            raise ServerError("/health: not an answer of llmkit", response.status_code) from None


def _error(state: tenacity.RetryCallState) -> ServerError:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, ServerError) else ServerError("")


def _worth_it(error: BaseException) -> bool:
    return isinstance(error, Unreachable) or isinstance(error, ServerError) and (
        error.status in AGAIN
    )  # fmt: skip


class Client(_Base):
    """The client for threads. Close it, or use it as a context manager."""

    def __init__(self, url: str, cfg: ClientConfig, key: str = "") -> None:
        super().__init__(url, cfg, key)
        self._http = httpx2.Client(**self._options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def health(self) -> Health:
        """What the server says of itself, asked once; Unreachable when nobody answers."""
        try:
            return self._health(self._http.get("/health", timeout=self.cfg.connect_seconds))
        except httpx2.HTTPError as error:
            raise self._failed(error, "/health") from None

    def models(self) -> tuple[str, ...]:
        """The names that requests may give."""
        return tuple(str(item["id"]) for item in self.request("GET", "/v1/models")["data"])

    def generate(self, ask: Ask) -> Answer:
        """Text or a tool call. Raises ServerError."""
        return answer_of(self.request("POST", "/generate", ask.to_json()), f"{self.url}/generate")

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON that a route answers, tried again where that helps."""

        def once() -> Any:
            try:
                response = self._http.request(method, path, json=body)
            except httpx2.HTTPError as error:
                raise self._failed(error, path) from None
            return self._json(response, path)

        return tenacity.Retrying(**self._retrying())(once)

    def stream(self, ask: Ask) -> Generator[Delta | Answer, None, None]:
        """Pieces of text as they are written, then the whole Answer."""
        response = tenacity.Retrying(**self._retrying())(self._open, ask)
        with closing(response):
            try:
                yield from events(response.iter_lines(), f"{self.url}/generate")
            except httpx2.HTTPError as error:
                raise self._failed(error, "/generate") from None

    def _open(self, ask: Ask) -> httpx2.Response:
        request = self._http.build_request("POST", "/generate", json=ask.to_json(stream=True))
        try:
            response = self._http.send(request, stream=True)
            if response.status_code != 200:
                response.read()
                response.close()
        except httpx2.HTTPError as error:
            raise self._failed(error, "/generate") from None
        if response.status_code != 200:
            self._json(response, "/generate")
        return response


class AsyncClient(_Base):
    """The same for asyncio."""

    def __init__(self, url: str, cfg: ClientConfig, key: str = "") -> None:
        super().__init__(url, cfg, key)
        self._http = httpx2.AsyncClient(**self._options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def health(self) -> Health:
        """What the server says of itself, asked once; Unreachable when nobody answers."""
        try:
            return self._health(await self._http.get("/health", timeout=self.cfg.connect_seconds))
        except httpx2.HTTPError as error:
            raise self._failed(error, "/health") from None

    async def models(self) -> tuple[str, ...]:
        """The names that requests may give."""
        return tuple(str(item["id"]) for item in (await self.request("GET", "/v1/models"))["data"])

    async def generate(self, ask: Ask) -> Answer:
        """Text or a tool call. Raises ServerError."""
        data = await self.request("POST", "/generate", ask.to_json())
        return answer_of(data, f"{self.url}/generate")

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON that a route answers, tried again where that helps."""

        async def once() -> Any:
            try:
                response = await self._http.request(method, path, json=body)
            except httpx2.HTTPError as error:
                raise self._failed(error, path) from None
            return self._json(response, path)

        return await tenacity.AsyncRetrying(**self._retrying())(once)

    async def stream(self, ask: Ask) -> AsyncGenerator[Delta | Answer, None]:
        """Pieces of text as they are written, then the whole Answer."""
        again = tenacity.AsyncRetrying(**self._retrying())
        response: httpx2.Response = await again(self._open, ask)
        reader = Events(f"{self.url}/generate")
        try:
            async for line in response.aiter_lines():
                for piece in reader.line(line):
                    yield piece
            for piece in reader.end():
                yield piece
        except httpx2.HTTPError as error:
            raise self._failed(error, "/generate") from None
        finally:
            await response.aclose()

    async def _open(self, ask: Ask) -> httpx2.Response:
        request = self._http.build_request("POST", "/generate", json=ask.to_json(stream=True))
        try:
            response = await self._http.send(request, stream=True)
            if response.status_code != 200:
                await response.aread()
                await response.aclose()
        except httpx2.HTTPError as error:
            raise self._failed(error, "/generate") from None
        if response.status_code != 200:
            self._json(response, "/generate")
        return response


def checked_url(url: str) -> str:
    """The address without a slash at its end; ConfigError for what is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("url: the port is no number up to 65535") from None
    if parts.username or parts.password:  # not repeated here: it may be a secret
        raise ConfigError("url: keys do not belong into the address; see key_env")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigError(f"url={url}: should be like http://127.0.0.1:8765")
    if parts.query or parts.fragment:
        raise ConfigError(f"url={url}: should end with the path")
    return url.rstrip("/")


def is_local(url: str) -> bool:
    """Whether an address is this machine's own."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
