"""What a domain says of a command: /domain/check and /domain/apply, in a process of their own.

    commands = Commands("installer", seconds=5, waiting=16)
    await commands.ask("check", state, command)     # {"allowed": …, "reason": …, …}
    await commands.ask("check", state, command, messages=[{"role": "user", "content": "erase sdb"}])
    commands.end()

With the conversation that a command was proposed in, what is against it there counts as the guard's
word does (`llmkit.domain.objection`): the line may be about another disk than the one that was named.
Nothing is kept of a machine and nothing real is touched. Lines come from anywhere: one can be
written whose effect takes years or all memory to follow (`x=$x$x` in a loop). So a child follows
them, with a bound on its memory, and is killed when it takes too long; the next line gets a new one.
It is started when it is first needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import resource
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import orjson

from llmkit.domain import (
    Domain,
    Objection,
    Verdict,
    about,
    explanation,
    get_domain,
    objection,
    untrue,
    wished,
)
from llmkit.errors import DomainError
from llmkit.picture import picture
from llmkit.serve_commands import RefusedBy
from llmkit.serve_schema import ApiError

log = logging.getLogger(__name__)

Asked = Literal["check", "apply", "text", "show"]

_MEMORY = 2 << 30  # bytes of address space that a child may take
_START_SECONDS = 60.0  # that a child may take to begin
_COSTLY = {"status": 400, "message": "the command takes too long, or too much memory, to follow"}


class Commands:
    """Asks the domain, one command at a time. For the event loop's thread."""

    def __init__(self, name: str, *, seconds: float, waiting: int) -> None:
        self._name, self._seconds, self._most = name, seconds, waiting
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._guard = threading.Lock()  # of the next three
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._ended = False

    async def ask(
        self,
        what: Asked,
        state: Mapping[str, Any] | str,
        command: str,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        confirm: bool = True,
    ) -> dict[str, Any]:
        """The answer's fields. `state` is the domain's JSON, or a system context; `messages` are
        the conversation, where there is one, and `confirm` asks for consent in it. Of `text` the
        `command` is an answer in words.

        Raises ApiError: 400 for a state that cannot be or a line that cannot be followed in time,
        429 when too many wait.
        """
        if self._waiting >= self._most:
            raise ApiError(429, f"{self._most} commands wait already", "queue_full", retry_after=1)
        try:
            message = orjson.dumps(
                {
                    "what": what, "state": state, "command": command, "messages": messages,
                    "confirm": confirm,
                }
            )  # fmt: skip
        except TypeError as error:  # an integer beyond 64 bits
            raise ApiError(400, f"the body cannot be handled: {error}") from error
        self._waiting += 1
        try:
            async with self._lock:
                found = orjson.loads(await asyncio.to_thread(self._ask, message))
        finally:
            self._waiting -= 1
        if "answer" not in found:
            raise ApiError(found["status"], found["message"])
        return found["answer"]

    def end(self) -> None:
        """End the child; a command that it follows fails with 503."""
        with self._guard:
            self._ended = True
            if self._process is not None:  # its pipe may be waited on in a thread
                self._process.kill()
                self._process.join()

    # In a thread

    def _ask(self, message: bytes) -> bytes:
        connection = self._child()
        try:
            connection.send_bytes(message)
            if connection.poll(self._seconds):
                return connection.recv_bytes()
            said = _COSTLY
        except (OSError, EOFError):
            said = {"status": 503, "message": "the server is shutting down"}
            if not self._ended:
                log.error("the domain's process ended by itself")
                said = {"status": 500, "message": "the command could not be followed"}
        with self._guard:
            self._drop()
        return orjson.dumps(said)

    def _child(self) -> Connection:
        """The pipe to a child that is ready."""
        with self._guard:
            if self._ended:
                raise ApiError(503, "the server is shutting down", "stopping", retry_after=5)
            if self._process is not None and not self._process.is_alive():
                self._drop()
            if self._connection is not None:
                return self._connection
            # Spawned: a fork of a process with threads and an event loop breaks.
            here, there = multiprocessing.Pipe()
            context = multiprocessing.get_context("spawn")
            process = context.Process(
                target=answer_all, args=(self._name, there), name="llmkit-domain", daemon=True
            )
            process.start()
            there.close()
            self._process, self._connection = process, here
        ready = False
        with contextlib.suppress(OSError, EOFError):
            ready = here.poll(_START_SECONDS) and here.recv_bytes() == b"ready"
        if not ready:
            with self._guard:
                self._drop()
            raise ApiError(503, "the domain could not be started", "loading", retry_after=2)
        return here

    def _drop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def answer_all(name: str, connection: Connection) -> None:
    """The child: answer what comes through the pipe until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the server decides when it ends
        signal.signal(number, signal.SIG_IGN)
    domain = get_domain(name)
    with contextlib.suppress(Exception):  # what is loaded late is loaded now
        domain.check(domain.from_dict({}), "")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with contextlib.suppress(OSError, EOFError):
        connection.send_bytes(b"ready")
        while True:
            asked = orjson.loads(connection.recv_bytes())
            connection.send_bytes(answered(domain, **asked))


def answered(
    domain: Domain,
    what: Asked,
    state: Mapping[str, Any] | str,
    command: str,
    messages: Sequence[Mapping[str, str]] | None = None,
    confirm: bool = True,
) -> bytes:
    """The answer as JSON: {"answer": …}, or {"status": …, "message": …}."""
    try:
        read: Any = domain.parse_context if isinstance(state, str) else domain.from_dict
        found = read(state)
        if what == "show":
            made = show(domain, found)
        elif what == "text":
            made = {"instead": untrue(domain, found, messages or (), command) or None}
        else:
            against = _judged(domain, found, command, messages, confirm)
            made = {"check": check, "apply": apply}[what](domain, found, command, against)
        return orjson.dumps({"answer": made})
    except DomainError as error:
        return orjson.dumps({"status": 400, "message": f"state: {error}"})
    except (MemoryError, RecursionError):
        return orjson.dumps(_COSTLY)
    except TypeError as error:
        if "Integer exceeds" in str(error):  # orjson's; the state was at the edge of 64 bits
            return orjson.dumps({"status": 400, "message": "state: a number is too large"})
        return _failed(what)
    except Exception:
        return _failed(what)


def _failed(what: str) -> bytes:
    log.exception("%s failed", what)
    return orjson.dumps({"status": 500, "message": "the command could not be followed"})


@dataclass(frozen=True, slots=True)
class Judged:
    """The guard's verdict, and what stands against a command; `by` is None where nothing does.
    `about`: whether the last message names what it works on; `wished`: whether it may stand in place of
    a text that is not so."""

    verdict: Verdict
    by: RefusedBy | None = None
    reason: str = ""
    again: bool = False
    better: str = ""
    about: bool | None = None
    wished: bool | None = None


def _judged(
    domain: Domain,
    state: Any,
    command: str,
    messages: Sequence[Mapping[str, str]] | None,
    confirm: bool,
) -> Judged:
    """The guard first; then, in a conversation, whether the line is what was asked for and can work;
    last, whether somebody agreed to what it destroys."""
    verdict = domain.check(state, command)
    if messages is None:
        if verdict.allowed:
            return Judged(verdict)
        return Judged(verdict, "guard", verdict.reason, True)
    found = objection(domain, state, messages, command, confirm=confirm)
    if not verdict.allowed and (found is None or found.kind != "against"):
        found = Objection(verdict.reason, True)  # the guard has the last word
    by: RefusedBy = "review" if verdict.allowed else "guard"
    if found is not None and found.kind != "against":
        by = "confirmation"
    named = about(domain, state, messages, command)
    stands = wished(domain, state, messages, command)
    if found is None:
        return Judged(verdict, about=named, wished=stands)
    return Judged(verdict, by, found.text, found.again, found.better, named, stands)


def check(domain: Domain, state: Any, command: str, judged: Judged) -> dict[str, Any]:
    """What is said of a command, and what it would do."""
    found = explanation(domain, state, command)
    return {
        "allowed": judged.by is None,
        "refused_by": judged.by,
        "again": judged.again,
        "better": judged.better or None,
        "about": judged.about,
        "wished": judged.wished,
        "danger": str(judged.verdict.danger),
        "missing": list(judged.verdict.missing),
        "reason": judged.reason or judged.verdict.reason,
        "explanation": "\n".join(found.lines),
        "destroys": list(found.destroys),
        "needs_confirmation": found.needs_confirmation,
    }


def apply(domain: Domain, state: Any, command: str, judged: Judged) -> dict[str, Any]:
    """The machine after a command, which is not run when something is against it."""
    body: dict[str, Any] = {
        **check(domain, state, command, judged), "applied": False,
        "status": None, "error": None, "stdout": None, "unmodelled": [],
    }  # fmt: skip
    if judged.by is None:
        made = domain.apply(state, command)
        state = made.state
        body |= {
            "applied": True, "status": made.status, "error": made.error, "stdout": made.stdout,
            "unmodelled": list(made.unmodelled),
        }  # fmt: skip
    return {**body, "state": domain.to_dict(state), "system_context": domain.to_context(state)}


def show(domain: Domain, state: Any) -> dict[str, Any]:
    """The machine as JSON, as a model reads it, and as the page draws it."""
    return {
        "state": domain.to_dict(state), "system_context": domain.to_context(state),
        "picture": asdict(picture(domain, state)),
    }  # fmt: skip
