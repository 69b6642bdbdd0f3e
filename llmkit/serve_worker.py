"""The process that holds the model: takes requests from a pipe, sends back what becomes of them.

    Process(target=work, args=(api, device, connection))

Messages are JSON objects. To the worker: {"op": "job", "id", …}, {"op": "cancel", "id"},
{"op": "stats"}; the pipe's end means: stop. From it: {"op": "ready"}, {"op": "failed", …},
{"op": "stats", …}, and for a job {"op": "started" | "text" | "done" | "error", "id", …}.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson

from llmkit.config_prompt import CallStyle
from llmkit.errors import ConfigError, LlmkitError
from llmkit.prompt import FORMAT, PromptError, PromptTooLong
from llmkit.reply import ARGUMENT, Call, parse_reply
from llmkit.serve_log import log_as_json

if TYPE_CHECKING:
    from llmkit.generate import Completion
    from llmkit.serve_api import Api

log = logging.getLogger(__name__)

_PREPARING = 4  # threads; a schema can take seconds to compile


class Refused(LlmkitError):
    """A job that cannot be done as it is: a status and a code for the client."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def work(api: Api, device: str, connection: Connection) -> None:
    """Load the model on `device` and answer until the pipe ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the server decides when its workers end
        signal.signal(number, signal.SIG_IGN)
    log_as_json()
    Worker(api, device, connection).run()


class Worker:
    """One model, its scheduler, and the threads around it."""

    def __init__(self, api: Api, device: str, connection: Connection) -> None:
        self.api, self.device, self.connection = api, device, connection
        self._out: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._in: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._numbers: dict[str, int | None] = {}  # job → the scheduler's; None: not yet queued

    def run(self) -> None:
        """Until the pipe ends, which ends the process."""
        for target in (self._send_all, self._receive_all):
            threading.Thread(target=target, daemon=True).start()
        try:
            self.api.setup(self.device)
        except Exception as error:
            self._fail(error)
            return
        log_as_json()  # transformers has a handler of its own by now
        for _ in range(_PREPARING):
            threading.Thread(target=self._prepare_all, daemon=True).start()
        self._send({"op": "ready"})
        self.api.scheduler.run(threading.Event())

    def _fail(self, error: Exception) -> None:
        from llmkit import stage_errors

        if not isinstance(error, LlmkitError):
            log.exception("the worker cannot be set up")
        body = {
            "op": "failed",
            "message": "\n".join(stage_errors.lines(error)),
            "exit_code": stage_errors.exit_code(error),
        }
        with contextlib.suppress(OSError):
            self.connection.send_bytes(orjson.dumps(body))

    # Threads

    def _send(self, message: dict[str, Any]) -> None:
        self._out.put(message)

    def _send_all(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.connection.send_bytes(orjson.dumps(self._out.get()))

    def _receive_all(self) -> None:
        """Cancel at once; jobs are prepared in other threads, which may take their time."""
        try:
            while True:
                message = orjson.loads(self.connection.recv_bytes())
                if message["op"] == "job":
                    with self._lock:
                        self._numbers[message["id"]] = None
                    self._in.put(message)
                elif message["op"] == "cancel":
                    with self._lock:
                        number = self._numbers.pop(message["id"], None)
                    if number is not None:
                        self.api.scheduler.cancel(number)
                elif message["op"] == "stats" and self.api.scheduler is not None:
                    self._send({"op": "stats", "stats": self.api.scheduler.stats()})
        except (EOFError, OSError):
            os._exit(0)  # the server is gone, and with it everyone who waits

    def _prepare_all(self) -> None:
        while True:
            job = self._in.get()
            try:
                self._begin(job)
            except Exception as error:
                self._answer_error(job["id"], error)

    # Jobs

    def _begin(self, job: Mapping[str, Any]) -> None:
        uid = job["id"]
        with self._lock:
            if uid not in self._numbers:  # cancelled already
                return
        request, tools = self.api.request(job)

        def on_text(piece: str) -> None:
            self._send({"op": "text", "id": uid, "text": piece})

        def on_done(result: Completion | Exception) -> None:
            if isinstance(result, Exception):
                self._answer_error(uid, result)
                return
            with self._lock:
                self._numbers.pop(uid, None)
            self._send({"op": "done", "id": uid, **answer(result, tools)})

        self._send({"op": "started", "id": uid})
        number = self.api.scheduler.submit(
            request, on_text=on_text if job["stream"] else None, on_done=on_done
        )
        with self._lock:
            gone = uid not in self._numbers
            if not gone:
                self._numbers[uid] = number
        if gone:  # cancelled meanwhile, or done: then this does nothing
            self.api.scheduler.cancel(number)

    def _answer_error(self, uid: str, error: Exception) -> None:
        from llmkit.scheduler import Busy, Cancelled

        with self._lock:
            self._numbers.pop(uid, None)
        status, code = 500, None
        if isinstance(error, Refused):
            status, code = error.status, error.code
        elif isinstance(error, Cancelled):
            return
        elif isinstance(error, Busy):
            status, code = 429, "queue_full"
        elif isinstance(error, PromptTooLong):
            status, code = 400, "context_length_exceeded"
        elif isinstance(error, PromptError | ConfigError):
            status = 400
        message = str(error) if status != 500 else f"the model failed: {type(error).__name__}"
        if status == 500:
            log.error("a request failed", exc_info=error)
        self._send({"op": "error", "id": uid, "status": status, "code": code, "message": message})


def split_system(
    messages: Sequence[Mapping[str, Any]], style: CallStyle
) -> tuple[str | None, str | None, list[Mapping[str, Any]]]:
    """System messages at the beginning as (system prompt, context, the other messages).

    Clients that render our prompt themselves (llmkit.evaluate backend=openai does) write how a
    command is written between prompt and context: there it is taken apart again.
    """
    texts = []
    rest = list(messages)
    while rest and rest[0]["role"] in ("system", "developer"):
        content = rest.pop(0).get("content") or ""
        texts.append(content if isinstance(content, str) else "".join(p["text"] for p in content))
    if any(message["role"] in ("system", "developer") for message in rest):
        raise Refused(400, "messages: a system message stands behind others")
    if not texts:
        return None, None, rest
    text = "\n\n".join(texts)
    if style is CallStyle.shell:
        prompt, mark, context = text.partition(FORMAT)
        if mark:
            return prompt.strip(), context.strip(), rest
    return text, None, rest


def answer(made: Completion, tools: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """A completion as the server tells it.

    `tools`: those that may have been called; none where no tool may be. A call that was cut is text:
    half a command must not run.
    """
    reply = parse_reply(made.text)
    body: dict[str, Any] = {
        "finish": made.finish_reason,
        "usage": {"prompt_tokens": made.prompt_tokens, "completion_tokens": made.completion_tokens},
        "thinking": reply.thinking,
        "call": None,
    }
    if tools and len(reply.calls) == 1 and made.finish_reason != "length":
        call = reply.calls[0]
        name = _called(call, tools, command=reply.type == "command")
        if name is not None:
            body["call"] = {"name": name, "arguments": dict(call.arguments)}
            return body
    text = made.text
    if reply.thinking is not None:  # behind the reasoning; nothing where that does not end
        text = text.partition("</think>")[2].lstrip()
    return {**body, "text": text}


def _called(call: Call, tools: Sequence[Mapping[str, Any]], *, command: bool) -> str | None:
    """The tool that a call is of; one that is a command may be of any that takes it, since `$ …`
    does not say which."""
    found = [tool for tool in tools if tool["name"] == call.name]
    if command:
        found += [tool for tool in tools if tool not in found and _takes_command(tool)]
    if not found:
        return None
    if len(found) > 1:
        fitting = (tool for tool in found if _fits(tool.get("parameters") or {}, call.arguments))
        return str(next(fitting, found[0])["name"])
    return str(found[0]["name"])


def _takes_command(tool: Mapping[str, Any]) -> bool:
    """Whether a command is all that it needs; see llmkit.grammar_text."""
    parameters = tool.get("parameters") or {}
    needs = set(parameters.get("required") or ())
    return ARGUMENT in (parameters.get("properties") or {}) and needs <= {ARGUMENT}


def _fits(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    try:
        return bool(jsonschema_rs.is_valid(dict(schema), dict(arguments)))
    except ValueError:  # a pattern that only the grammar could read
        return False
