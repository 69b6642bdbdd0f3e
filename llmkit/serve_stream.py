"""Server-sent events: what of an answer may be shown before its end.

    shown = Shown(calls=True)
    shown.push("<think>so</think>\\n\\nHel")  # 'Hel'
    shown.push("lo")                          # 'lo'

A reply is a call or text, and its first characters say which. Under the grammar that the server
decodes with, text that has begun stays text, so that it can be sent as it comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_CALLS = ("$ ", "<tool_call>", "call:", "```")
_THINK, _THOUGHT = "<think>", "</think>"
DONE = b"data: [DONE]\n\n"


class Shown:
    """Takes an answer's pieces, gives what can be shown of them. `calls`: tools may be called."""

    def __init__(self, *, calls: bool) -> None:
        self._starts = _CALLS if calls else ()
        self._text = ""  # what is held back
        self._open = False  # it is text: nothing is held back any more
        self._thinking: bool | None = None  # None: not known
        self.length = 0  # of what was given

    def push(self, piece: str) -> str:
        """More of the answer; the part of its text that is new."""
        if self._open:
            self.length += len(piece)
            return piece
        self._text += piece
        start = self._text.lstrip()
        if self._thinking is None:
            if len(start) < len(_THINK) and _THINK.startswith(start):
                return ""
            self._thinking = start.startswith(_THINK)
        if self._thinking:
            _, end, rest = self._text.partition(_THOUGHT)
            if not end or not rest.strip():
                return ""
            self._text, self._thinking = rest.lstrip(), False
            start = self._text
        if self._starts:
            if not start:
                return ""
            for begin in self._starts:
                if start.startswith(begin) or begin.startswith(start):
                    return ""
        self._open = True
        self.length += len(self._text)
        return self._text

    def rest(self, text: str) -> str:
        """What of the whole answer's text was not given yet."""
        return text[self.length :]


def event(data: Any) -> bytes:
    """One event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


class EventStream(Response):
    """Sends what `parts` gives, then calls `end`, also when the client is gone."""

    media_type = "text/event-stream"

    def __init__(self, parts: AsyncIterator[bytes], end: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._parts, self._end = parts, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({
                "type": "http.response.start", "status": 200, "headers": self.raw_headers
            })  # fmt: skip
            async for part in self._parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._end()
