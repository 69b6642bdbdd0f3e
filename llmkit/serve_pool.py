"""The workers as the HTTP process sees them: jobs go out, what becomes of them comes back.

    pool = Pool(start, devices, room)
    pool.begin(loop)
    async with pool.job(job) as events:
        async for event in events: …

LitServe's own queues between HTTP and workers know no way back: a client that has left cannot be
told to the worker, and a worker that died cannot be told to those who wait for it. So each worker
has a pipe of its own. Leaving the block cancels the job; a worker that dies fails its jobs with 503
and is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import orjson

from llmkit.errors import ConfigError, LlmkitError
from llmkit.serve_schema import ApiError

log = logging.getLogger(__name__)

Start = Callable[[int], tuple[BaseProcess, Connection]]  # a worker's number → process and pipe
Event = dict[str, Any]

_LONGEST_WAIT = 30.0  # seconds between two attempts to start a worker
_END_SECONDS = 3.0  # that a worker gets to end by itself


class _Worker:
    """A process, its pipe, and the jobs that it has."""

    def __init__(self, number: int, process: BaseProcess, connection: Connection) -> None:
        self.number, self.process, self.connection = number, process, connection
        self.ready = False
        self.jobs: dict[str, asyncio.Queue[Event]] = {}
        self.stats: Mapping[str, float] = {}
        self.failure: Event | None = None
        self.out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.told = asyncio.Event()  # stats have come


class Pool:
    """A worker for each device. All methods are for the event loop's thread."""

    def __init__(self, start: Start, count: int, room: int) -> None:
        self._start, self._room = start, room
        self._workers: dict[int, _Worker] = {}
        self._count = count
        self._ending = False
        self._delays = dict.fromkeys(range(count), 0.0)
        self._once_ready: set[int] = set()
        self.restarts = 0
        self.failed: asyncio.Future[LlmkitError] | None = None  # the first set-up of a worker

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the workers; they load the model meanwhile."""
        self._loop = loop
        self.failed = loop.create_future()
        for number in range(self._count):
            self._launch(number)

    @property
    def ready(self) -> bool:
        """Whether every worker can answer."""
        return len(self._workers) == self._count and all(w.ready for w in self._workers.values())

    @property
    def restarting(self) -> bool:
        """Whether a worker that had been ready is not."""
        return bool(self._once_ready) and not self.ready

    @property
    def up(self) -> dict[int, bool]:
        """Which workers are ready."""
        found = self._workers
        return {number: number in found and found[number].ready for number in range(self._count)}

    async def stats(self) -> dict[int, Mapping[str, float]]:
        """The schedulers' counts; the last known ones of a worker that does not say in time."""
        workers = [worker for worker in self._workers.values() if worker.ready]
        for worker in workers:
            worker.told.clear()
            worker.out.put(orjson.dumps({"op": "stats"}))
        waits = [asyncio.create_task(worker.told.wait()) for worker in workers]
        if waits:
            _, late = await asyncio.wait(waits, timeout=1)
            for task in late:
                task.cancel()
        return {worker.number: worker.stats for worker in workers}

    @contextlib.asynccontextmanager
    async def job(self, job: Mapping[str, Any]) -> AsyncIterator[asyncio.Queue[Event]]:
        """Hand a job to the worker with the fewest; gives the queue of its events.

        Raises ApiError: 503 when no worker is ready, 429 when all have as many as they may.
        """
        ready = [worker for worker in self._workers.values() if worker.ready]
        if not ready:
            raise ApiError(503, "the model is not loaded yet", "loading", retry_after=2)
        worker = min(ready, key=lambda worker: len(worker.jobs))
        if len(worker.jobs) >= self._room:
            said = f"{self._room} requests run or wait already"
            raise ApiError(429, said, "queue_full", retry_after=1)
        uid = uuid.uuid4().hex
        events: asyncio.Queue[Event] = asyncio.Queue()
        worker.jobs[uid] = events
        worker.out.put(orjson.dumps({"op": "job", "id": uid, **job}))
        try:
            yield events
        finally:
            if worker.jobs.pop(uid, None) is not None:  # it has not ended
                worker.out.put(orjson.dumps({"op": "cancel", "id": uid}))

    async def end(self) -> None:
        """End every worker, and wait until it is gone."""
        self._ending = True
        workers = list(self._workers.values())
        for worker in workers:
            worker.out.put(None)
        for worker in workers:
            await asyncio.to_thread(worker.process.join, _END_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                await asyncio.to_thread(worker.process.join)

    # Parts

    def _launch(self, number: int) -> None:
        process, connection = self._start(number)
        worker = _Worker(number, process, connection)
        self._workers[number] = worker
        for target in (self._write, self._read):
            threading.Thread(target=target, args=(worker,), daemon=True).start()

    def _write(self, worker: _Worker) -> None:
        """In a thread: a worker that is slow to read must not hold up the others."""
        try:
            while (message := worker.out.get()) is not None:
                worker.connection.send_bytes(message)
        except OSError:
            return  # `_read` has noticed
        # a close alone would not wake the thread that reads
        with (
            contextlib.suppress(OSError),
            socket.socket(fileno=os.dup(worker.connection.fileno())) as end,
        ):
            end.shutdown(socket.SHUT_RDWR)

    def _read(self, worker: _Worker) -> None:
        """In a thread: what the worker says, until it is gone."""
        try:
            while True:
                self._call(self._on_event, worker, orjson.loads(worker.connection.recv_bytes()))
        except (EOFError, OSError):
            pass
        worker.process.join()
        self._call(self._on_death, worker)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, *arguments)

    def _on_event(self, worker: _Worker, event: Event) -> None:
        kind = event["op"]
        if kind == "ready":
            worker.ready = True
            self._once_ready.add(worker.number)
            self._delays[worker.number] = 0.0
            log.info("worker %d is ready", worker.number)
        elif kind == "failed":
            worker.failure = event
        elif kind == "stats":
            worker.stats = event["stats"]
            worker.told.set()
        elif kind in ("done", "error"):
            events = worker.jobs.pop(event["id"], None)
            if events is not None:
                events.put_nowait(event)
        elif (events := worker.jobs.get(event["id"])) is not None:
            events.put_nowait(event)

    def _on_death(self, worker: _Worker) -> None:
        worker.ready = False
        worker.connection.close()
        worker.out.put(None)
        jobs, worker.jobs = worker.jobs, {}
        for events in jobs.values():
            events.put_nowait({
                "op": "error", "status": 503, "code": "worker_died",
                "message": "the model's process ended; it is being started again",
            })  # fmt: skip
        if self._ending:
            return
        code = worker.process.exitcode
        if worker.number not in self._once_ready:
            self._give_up(worker, code)
            return
        self._workers.pop(worker.number, None)
        self.restarts += 1
        delay = self._delays[worker.number]
        self._delays[worker.number] = min(max(2 * delay, 1.0), _LONGEST_WAIT)
        why = f": {worker.failure['message']}" if worker.failure else ""
        log.error(
            "worker %d ended with %s%s; starts again in %d s", worker.number, code, why, delay
        )
        self._loop.call_later(delay, self._again, worker.number)

    def _again(self, number: int) -> None:
        if not self._ending:
            self._launch(number)

    def _give_up(self, worker: _Worker, code: int | None) -> None:
        """Nothing has ever run: the server ends with the reason."""
        assert self.failed is not None
        if self.failed.done():
            return
        if worker.failure is None:
            error = LlmkitError(f"the worker ended with {code} while it loaded the model")
        else:
            kind = ConfigError if worker.failure["exit_code"] == 2 else LlmkitError
            error = kind(worker.failure["message"])
        self.failed.set_result(error)


async def take(events: asyncio.Queue[Event], until: float, gone: asyncio.Event) -> Event | None:
    """The next event; None when the client is gone. Raises ApiError for an error, or 504."""
    if gone.is_set():
        return None
    getting = asyncio.ensure_future(events.get())
    leaving = asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait(
            (getting, leaving), timeout=max(until - time.monotonic(), 0),
            return_when=asyncio.FIRST_COMPLETED,
        )  # fmt: skip
    finally:
        leaving.cancel()
        if not getting.done():
            getting.cancel()
    if getting.done() and not getting.cancelled():
        event = getting.result()
        if event["op"] == "error":
            retry = 1 if event["status"] in (429, 503) else None
            raise ApiError(event["status"], event["message"], event["code"], retry_after=retry)
        return event
    if gone.is_set():
        return None
    raise ApiError(504, "the answer took too long", "timeout")


def spread(devices: Sequence[str], count: int) -> list[str]:
    """The devices that get a worker; ConfigError when there are fewer than `count`."""
    if count > len(devices):
        raise ConfigError(f"devices={count}: there are {len(devices)} ({', '.join(devices)})")
    return list(devices[:count])
