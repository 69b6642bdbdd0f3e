"""What goes to the server and what comes back, without a network: requests, answers, errors.

>>> Ask([{"role": "user", "content": "list disks"}]).to_json()
{'messages': [{'role': 'user', 'content': 'list disks'}]}
>>> answer_of({"success": True, "type": "text", "response": "Hello!"}).text
'Hello!'
"""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from llmkit.errors import ConfigError, LlmkitError

AGAIN = frozenset((429, 502, 503))  # the same request may be answered a little later
_SHOWN = 300  # characters of a server's own words


class ServerError(LlmkitError):
    """The server refused, or answered what cannot be read.

    `status` is HTTP's (0 when none came), `retry_after` the seconds that it asked for.
    """

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class Unreachable(ServerError):
    """Nobody answers at that address, or the connection broke before an answer."""


class ServerTimeout(ServerError):
    """No answer within the time that was given."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to /generate. What is None is left to the server."""

    messages: Sequence[Mapping[str, Any]]
    system_context: str | None = None
    system_prompt: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: str | Mapping[str, str] | None = None
    tool_threshold: float | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | Sequence[str] | None = None

    def to_json(self, *, stream: bool = False) -> dict[str, Any]:
        """The body."""
        body: dict[str, Any] = {"messages": [dict(message) for message in self.messages]}
        for name in ("system_context", "system_prompt", "tool_choice", "tool_threshold", "max_tokens",
                     "temperature", "top_p", "seed", "stop"):  # fmt: skip
            value = getattr(self, name)
            if value is not None:
                body[name] = value
        if self.tools is not None:
            body["tools"] = [dict(tool) for tool in self.tools]
        return body | ({"stream": True} if stream else {})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the prompt and of the answer."""

    prompt: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What /generate answers: text, or one call of a tool."""

    type: Literal["text", "tool_call"]
    text: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    thinking: str | None = None
    finish_reason: str = "stop"
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a text that is being written."""

    text: str


@dataclass(frozen=True, slots=True)
class Health:
    """`status` is ok, loading, restarting or stopping."""

    status: str
    model: str


def answer_of(data: Any, place: str = "the server") -> Answer:
    """The answer in a body or in a stream's last event; ServerError when it is none."""
    if isinstance(data, Mapping) and data.get("success") is False:
        raise ServerError(f"{place}: {_plain(data.get('error'))}")
    try:
        usage = data.get("usage") or {}
        common: dict[str, Any] = {
            "thinking": data.get("thinking"),
            "finish_reason": str(data.get("finish_reason") or "stop"),
            "usage": Usage(
                int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
            ),
        }
        if data["type"] == "text" and isinstance(data["response"], str):
            return Answer("text", data["response"], **common)
        if data["type"] == "tool_call" and isinstance(data["arguments"], Mapping):
            return Answer(
                "tool_call", tool=str(data["tool_name"]), arguments=data["arguments"], **common
            )
    except (AttributeError, LookupError, TypeError, ValueError):
        pass
    raise ServerError(f"{place}: not an answer of /generate: {_plain(json.dumps(data))}")


def error_of(
    status: int, headers: Mapping[str, str], body: bytes, place: str, now: float | None = None
) -> ServerError:
    """The error that a status of 400 and more stands for, in the server's words."""
    said = ""
    try:
        data = json.loads(body)
        found = data.get("error") or data.get("detail") or data.get("status") or ""
        said = found.get("message", "") if isinstance(found, Mapping) else str(found)
    except (ValueError, AttributeError):
        said = body.decode("utf-8", "replace")
    hint = "; give the key (see key_env)" if status in (401, 403) else ""
    text = f"{place}: status {status}{f': {_plain(said)}' if said else ''}{hint}"
    return ServerError(text, status, retry_after(headers.get("retry-after"), now))


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) < 10 else 1e9
    try:
        when = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, when - (time.time() if now is None else now))


def events(lines: Iterable[str], place: str = "the server") -> Iterator[Delta | Answer]:
    """The pieces of a stream of /generate, the whole answer last.

    Raises ServerError when the server reports one, or when the stream ends without an answer.
    """
    reader = Events(place)
    for line in lines:
        yield from reader.line(line)
    yield from reader.end()


class Events:
    """Reads server-sent events line by line (HTML standard, 9.2.6: data fields only)."""

    def __init__(self, place: str) -> None:
        self._place, self._data, self._done = place, list[str](), False

    def line(self, line: str) -> Iterator[Delta | Answer]:
        """What this line completes."""
        line = line.rstrip("\r\n")
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif not line and self._data:
            text, self._data = "\n".join(self._data), []
            yield self._event(text)

    def end(self) -> Iterator[Delta | Answer]:
        """What is left; ServerError when there was no whole answer."""
        yield from self.line("")
        if not self._done:
            raise Unreachable(f"{self._place}: the answer broke off")

    def _event(self, text: str) -> Delta | Answer:
        try:
            data = json.loads(text)
        except ValueError:
            raise ServerError(f"{self._place}: not JSON in a stream: {_plain(text)}") from None
        if isinstance(data, Mapping) and isinstance(data.get("delta"), str):
            return Delta(data["delta"])
        self._done = True
        return answer_of(data, self._place)


def authorization(key: str) -> dict[str, str]:
    """The header with the key; ConfigError, which does not show it, when it cannot be one."""
    if not key:
        return {}
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError("the server's key holds characters that a header cannot have")
    return {"Authorization": f"Bearer {key}"}


def _plain(text: Any) -> str:
    """Words of a server, as one printable line of bounded length."""
    plain = "".join(char if char.isprintable() else " " for char in str(text))
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"
