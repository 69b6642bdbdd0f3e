"""The routes: /generate and /query, OpenAI's /v1, /domain, /health and /metrics.

add_routes(app, state, pool, commands, voices)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from llmkit.serve_commands import CommandRequest, TextRequest, heard
from llmkit.serve_domain import Asked, Commands
from llmkit.serve_http import State, body_of, error_body, error_response, watch
from llmkit.serve_openapi import add_route, document
from llmkit.serve_page import add_page
from llmkit.serve_pool import Event, Pool, take
from llmkit.serve_schema import (
    ApiError,
    ChatRequest,
    GenerateRequest,
    parse,
)
from llmkit.serve_stream import DONE, EventStream, Shown, event
from llmkit.serve_voices import Voices

_GONE = Response(status_code=499)  # nobody reads it


class Routes:
    """The handlers."""

    def __init__(self, state: State, pool: Pool, commands: Commands, voices: Voices) -> None:
        self.state, self.pool, self.commands, self.voices = state, pool, commands, voices
        self.names = list(voices.names)  # the first is the model's own
        self.created = int(time.time())

    async def health(self) -> Response:
        """Whether the model answers; no key is needed."""
        status = "ok"
        if self.state.draining:
            status = "stopping"
        elif not self.pool.ready:
            status = "restarting" if self.pool.restarting else "loading"
        code = 200 if status == "ok" else 503
        headers = {} if status == "ok" else {"Retry-After": "2"}
        return JSONResponse({"status": status, "model": self.names[0]}, code, headers)

    async def models(self) -> Response:
        """The names that requests may give, as OpenAI lists models."""
        data = [self._model(name) for name in self.names]
        return JSONResponse({"object": "list", "data": data})

    async def model(self, request: Request) -> Response:
        """One of the names that requests may give."""
        name = str(request.path_params["model"])
        self._voice(name)
        return JSONResponse(self._model(name))

    async def metrics(self) -> Response:
        """Counts and durations, for Prometheus."""
        stats = await self.pool.stats()
        text = self.state.metrics.text(self.pool.up, self.pool.restarts, stats)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def generate(self, request: Request) -> Response:
        """Answer a conversation with text or a tool call."""
        body = parse(GenerateRequest, await self._body(request))
        voice = self._voice(body.model)
        job = body.to_job(self.state.cfg.sampling, self.state.cfg.limits) | {"voice": voice}

        async def streamed(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
            shown = _shown(job)
            try:
                async for found in events:
                    if found["op"] == "text":
                        if text := shown.push(found["text"]):
                            yield event({"delta": text})
                        continue
                    if found["call"] is None and (text := shown.rest(found["text"])):
                        yield event({"delta": text})
                    yield event(_generated(found))
            except ApiError as error:  # too late for a status
                yield event({"success": False, "error": error.message})

        return await self._answer(request, job, _generated, streamed)

    async def chat(self, request: Request) -> Response:
        """OpenAI's chat completions."""
        body = parse(ChatRequest, await self._body(request))
        voice = self._voice(body.model)
        job = body.to_job(self.state.cfg.sampling, self.state.cfg.limits) | {"voice": voice}
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()),
                "model": body.model}  # fmt: skip
        usage = body.stream_options is not None and body.stream_options.include_usage

        def whole(found: Event) -> dict[str, Any]:
            message: dict[str, Any] = {"role": "assistant", "content": found.get("text")}
            if found["call"] is not None:
                message["tool_calls"] = [_tool_call(found["call"])]
            if found["thinking"]:
                message["reasoning_content"] = found["thinking"]
            choice = {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": _finish(found),
            }
            return {
                **head,
                "object": "chat.completion",
                "choices": [choice],
                "usage": _usage(found),
            }

        def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            more = {"usage": None} if usage else {}
            return event({**head, "object": "chat.completion.chunk", "choices": [choice], **more})

        async def streamed(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
            shown = _shown(job)
            yield chunk({"role": "assistant"})
            try:
                async for found in events:
                    if found["op"] == "text":
                        if text := shown.push(found["text"]):
                            yield chunk({"content": text})
                        continue
                    if found["thinking"]:
                        yield chunk({"reasoning_content": found["thinking"]})
                    if found["call"] is not None:
                        yield chunk({"tool_calls": [{"index": 0, **_tool_call(found["call"])}]})
                    elif (text := shown.rest(found["text"])) or not shown.length:
                        yield chunk({"content": text})
                    yield chunk({}, _finish(found))
                    if usage:
                        kind = {"object": "chat.completion.chunk"}
                        yield event({**head, **kind, "choices": [], "usage": _usage(found)})
            except ApiError as error:  # too late for a status
                yield event(error_body(request.url.path, error))
            yield DONE

        return await self._answer(request, job, whole, streamed)

    async def check(self, request: Request) -> Response:
        """What is said against a command on a machine, and what it would do."""
        return await self._domain("check", request)

    async def apply(self, request: Request) -> Response:
        """The machine after a command. Nothing real is touched, nothing is kept."""
        return await self._domain("apply", request)

    async def text(self, request: Request) -> Response:
        """Whether an answer in words says of the machine what is not so."""
        body = parse(TextRequest, await self._body(request))
        turns = heard(body.messages, self.state.cfg.limits)
        found = await self.commands.ask("text", body.state, body.text, messages=turns)
        return JSONResponse({"success": True, **found})

    # Parts

    async def _domain(self, what: Asked, request: Request) -> Response:
        body = parse(CommandRequest, await self._body(request))
        turns = body.turns(self.state.cfg.limits)
        found = await self.commands.ask(
            what, body.state, body.command, messages=turns, confirm=body.confirm
        )
        return JSONResponse({"success": True, **found})

    async def _body(self, request: Request) -> bytes:
        limits = self.state.cfg.limits
        return await body_of(request, limits.body_bytes, limits.receive_seconds)

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self.created, "owned_by": "llmkit"}

    def _voice(self, model: str | None) -> int:
        if model is None:
            return self.voices.default
        if model not in self.voices.names:
            said = f"no model {model[:100]!r}; there are {', '.join(self.names)}"
            raise ApiError(404, said, "model_not_found", "model")
        return self.voices.names[model]

    async def _answer(
        self,
        request: Request,
        job: Mapping[str, Any],
        whole: Callable[[Event], dict[str, Any]],
        streamed: Callable[[AsyncIterator[Event]], AsyncIterator[bytes]],
    ) -> Response:
        """Run a job; its answer, or a stream of it once it is certain that there will be one."""
        fields = request.state._state.setdefault("log", {})
        if self.state.cfg.log_contents:
            fields["asked"] = job
        until = time.monotonic() + self.state.cfg.limits.seconds
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            gone = await stack.enter_async_context(watch(request.receive))
            try:
                events = await stack.enter_async_context(self.pool.job(job))
            except TypeError as error:  # orjson: an integer beyond 64 bits, a key that is no text
                raise ApiError(400, f"the body cannot be handled: {error}") from error
            found = await take(events, until, gone)
            if not job["stream"]:
                while found is not None and found["op"] != "done":
                    found = await take(events, until, gone)
                if found is None:
                    return _GONE
                _note(fields, found, self.state.cfg.log_contents)
                return JSONResponse(whole(found))
            while found is not None and found["op"] == "started":  # refused, or the first text
                found = await take(events, until, gone)
            if found is None:
                return _GONE
            self.state.metrics.first.add(time.monotonic() - began)
            kept = stack.pop_all()
        first = found

        async def each() -> AsyncGenerator[Event, None]:
            found: Event | None = first
            while found is not None:
                yield found
                if found["op"] == "done":
                    _note(fields, found, self.state.cfg.log_contents)
                    return
                found = await take(events, until, gone)

        async def parts() -> AsyncIterator[bytes]:
            async with aclosing(each()) as source:
                async for part in streamed(source):
                    yield part

        return EventStream(parts(), kept.aclose)


def _shown(job: Mapping[str, Any]) -> Shown:
    calls = job["schema"] is None and job["tool_choice"] != "none" and job["tools"] != []
    return Shown(calls=calls)


def _note(fields: dict[str, Any], found: Event, contents: bool) -> None:
    fields.update(found["usage"], finish_reason=_finish(found))
    if contents:
        fields["answered"] = {key: found.get(key) for key in ("text", "call", "thinking")}


def _finish(found: Event) -> str:
    return "tool_calls" if found["call"] is not None else str(found["finish"])


def _usage(found: Event) -> dict[str, int]:
    usage = found["usage"]
    return {**usage, "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]}


def _generated(found: Event) -> dict[str, Any]:
    body: dict[str, Any] = {"success": True}
    if found["call"] is None:
        body |= {"type": "text", "response": found["text"]}
    else:
        body |= {"type": "tool_call", "tool_name": found["call"]["name"],
                 "arguments": found["call"]["arguments"]}  # fmt: skip
    if found["thinking"]:
        body["thinking"] = found["thinking"]
    return {**body, "usage": _usage(found), "finish_reason": _finish(found)}


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = orjson.dumps(call["arguments"]).decode()
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function",
            "function": {"name": call["name"], "arguments": arguments}}  # fmt: skip


def add_routes(app: FastAPI, state: State, pool: Pool, commands: Commands, voices: Voices) -> None:
    """All routes, their errors and their documentation."""
    routes = Routes(state, pool, commands, voices)
    handlers: dict[str, Callable[..., Awaitable[Response]]] = {
        "/health": routes.health,
        "/metrics": routes.metrics,
        "/v1/models": routes.models,
        "/v1/models/{model:path}": routes.model,
        "/generate": routes.generate,
        "/query": routes.generate,
        "/v1/chat/completions": routes.chat,
        "/domain/check": routes.check,
        "/domain/apply": routes.apply,
        "/domain/text": routes.text,
    }
    for path, handler in handlers.items():
        add_route(app, path, handler)
    add_page(app, state, commands)

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            known = {404: "no such path", 405: "this method is not for this path"}
            said = ApiError(error.status_code, known.get(error.status_code, str(error.detail)))
            response = error_response(request.url.path, said)
            response.headers.update(error.headers or {})  # Allow
            return response
        assert isinstance(error, ApiError)
        return error_response(request.url.path, error)

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(HTTPException, refused)
    document(app, keyed=bool(state.keys), names=routes.names)
