"""LitServe's server with routes and worker processes of ours.

    LlmServer(cfg, voices).run_on(listener)

LitServe brings the app, the choice of devices, and `LitAPI.setup` on each. Its queues, its workers'
loop and its `run` are replaced: see docs/serving.md for what was measured about them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from litserve import LitServer  # type: ignore[import-untyped]

from llmkit import __version__
from llmkit.config_serve import ServeConfig
from llmkit.serve_api import Api
from llmkit.serve_app import add_routes
from llmkit.serve_domain import Commands
from llmkit.serve_http import Gate, Protocol, Server, State, keys_from
from llmkit.serve_pool import Pool, spread
from llmkit.serve_voices import Voices
from llmkit.serve_worker import work

log = logging.getLogger("llmkit.serve")

_KEEP_ALIVE = 65  # seconds; longer than clients and proxies keep a connection


class LlmServer(LitServer):  # type: ignore[misc]
    """One model, served. `run_on` returns after SIGTERM."""

    def __init__(self, cfg: ServeConfig, voices: Voices) -> None:
        self.cfg = cfg
        self.state = State(cfg, keys_from(cfg.keys_env))
        kind, _, place = cfg.model.device.partition(":")
        wanted: Any = [int(place)] if place else (cfg.devices if kind != "cpu" else 1)
        self._api = Api(cfg, voices)
        self.voices = voices
        super().__init__(self._api, accelerator=kind, devices=wanted, timeout=False)
        self.app.title, self.app.version = "llmkit", __version__

    # What LitServer calls

    def register_endpoints(self) -> None:
        """Ours in place of LitServe's: its /health asks for the key, its /info tells too much."""
        self.worker_devices = spread(_flat(self.devices), self.cfg.devices)
        engine = self.cfg.engine
        self.pool = Pool(
            self._launch, len(self.worker_devices), engine.max_batch + engine.queue
        )  # fmt: skip
        limits = self.cfg.limits
        self.commands = Commands(
            self.cfg.domain.name, seconds=limits.command_seconds, waiting=engine.queue
        )
        add_routes(self.app, self.state, self.pool, self.commands, self.voices)

    def _register_middleware(self) -> None:
        self.app.add_middleware(Gate, state=self.state)
        if self.cfg.cors_origins:
            self.app.add_middleware(
                CORSMiddleware,
                allow_origins=self.cfg.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-Id"],
                expose_headers=["X-Request-Id", "Retry-After"],
            )

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Nothing of LitServe's transport is started."""
        yield

    # Running

    def run_on(self, listener: socket.socket) -> None:
        """Serve until a signal. Raises KeyboardInterrupt for SIGINT, and what set-up raised."""
        with listener:
            caught = asyncio.run(self._run(listener))
        if caught == signal.SIGINT:
            raise KeyboardInterrupt

    async def _run(self, listener: socket.socket) -> int:
        loop = asyncio.get_running_loop()
        limits = self.cfg.limits
        kind = type("_Protocol", (Protocol,), {"seconds": float(limits.receive_seconds)})
        server = Server(
            uvicorn.Config(
                self.app, http=kind, ws="none", lifespan="on", log_config=None, access_log=False,
                server_header=False, timeout_keep_alive=_KEEP_ALIVE,
                limit_concurrency=limits.connections, timeout_graceful_shutdown=5,
            )
        )  # fmt: skip
        caught: list[int] = []
        tasks: set[asyncio.Task[None]] = set()

        def on_signal(number: int) -> None:
            caught.append(number)
            if len(caught) > 1:  # asked twice: at once
                server.should_exit = server.force_exit = True
                return
            self.state.draining = True
            task = loop.create_task(self._drain(server))
            tasks.add(task)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)
        self.pool.begin(loop)
        assert self.pool.failed is not None
        failed = self.pool.failed

        def on_failure(_: Any) -> None:
            server.should_exit = True

        failed.add_done_callback(on_failure)
        host, port = listener.getsockname()[:2]
        fields = {"host": host, "port": port, "keys": len(self.state.keys)}
        log.info("listening", extra={"fields": fields})
        if not self.state.keys and not host.startswith("127.") and host != "::1":
            log.warning("no keys: whoever reaches %s may ask (set %s)", host, self.cfg.keys_env)
        try:
            await server.serve(sockets=[listener])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.to_thread(self.commands.end)
            await self.pool.end()
        if failed.done():
            raise failed.result()
        log.info("stopped")
        return caught[0] if caught else 0

    async def _drain(self, server: Server) -> None:
        """Answer what runs, refuse what comes, then end."""
        log.info("stopping", extra={"fields": {"running": self.state.metrics.running}})
        if self.state.metrics.running:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.cfg.limits.drain_seconds):
                    await self.state.idle.wait()
        server.should_exit = True

    def _launch(self, number: int) -> tuple[BaseProcess, Connection]:
        """A worker's process. Spawned: a fork of a process with threads and an event loop breaks."""
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(
            target=work,
            args=(self._api, self.worker_devices[number], there),
            name=f"llmkit-worker-{number}",
        )
        process.start()
        there.close()
        return process, here


def _flat(devices: list[Any]) -> list[str]:
    """LitServe gives each device as a text or as a list of one."""
    return [
        str(item)
        for device in devices
        for item in ([device] if isinstance(device, str) else device)
    ]
