"""The page at `/`: its files as they stand in llmkit/page/, and what it asks beside the other routes.

    add_page(app, state, commands)

No build step, nothing from elsewhere. The browser is told to run no script but the page's own files
and to make no HTML of text (`Content-Security-Policy`). Presets and pictures are the domain's, so
that the page knows none. See docs/page.md.
"""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from llmkit.config_serve import ServeConfig
from llmkit.domain import get_domain
from llmkit.picture import presets
from llmkit.serve_commands import ShowRequest
from llmkit.serve_domain import Commands
from llmkit.serve_http import PAGE, State, body_of
from llmkit.serve_openapi import add_route
from llmkit.serve_schema import parse

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}


class Page:
    """The handlers."""

    def __init__(self, state: State, commands: Commands) -> None:
        self.state, self.commands = state, commands
        self._lock = asyncio.Lock()
        self._begin: dict[str, Any] | None = None

    async def begin(self) -> Response:
        """What the page begins with: machines to choose from, and how it asks."""
        async with self._lock:
            if self._begin is None:
                self._begin = await asyncio.to_thread(beginning, self.state.cfg)
        return JSONResponse(self._begin, headers={"Cache-Control": "no-store"})

    async def show(self, request: Request) -> Response:
        """A machine as the page draws it."""
        limits = self.state.cfg.limits
        raw = await body_of(request, limits.body_bytes, limits.receive_seconds)
        found = await self.commands.ask("show", parse(ShowRequest, raw).state, "")
        return JSONResponse({"success": True, **found})


def beginning(cfg: ServeConfig) -> dict[str, Any]:
    """Presets of the domain, and the page's share of the config."""
    domain = get_domain(cfg.domain.name)
    made = [
        {"name": found.name, "state": domain.to_dict(found.state)} for found in presets(domain, cfg)
    ]
    page = cfg.page
    return {
        "presets": made, "history": page.history, "max_tokens": page.max_tokens,
        "temperature": page.temperature, "tries": page.tries,
        "retry": {"temperature": page.retry.temperature, "top_p": page.retry.top_p},
        "tool_threshold": page.tool_threshold,
    }  # fmt: skip


def read(path: str) -> Response:
    """One of the page's files."""
    name = PAGE[path]
    body = files("llmkit").joinpath("page", name).read_bytes()
    return Response(body, media_type=_TYPES[name.rpartition(".")[2]], headers=HEADERS)


def add_page(app: FastAPI, state: State, commands: Commands) -> None:
    """The page's routes; none where page.enabled is false."""
    if not state.cfg.page.enabled:
        return
    page = Page(state, commands)

    async def file(request: Request) -> Response:
        return read(request.url.path)

    for path in PAGE:  # no part of the document: what a browser loads, not what a client asks
        app.add_api_route(path, file, methods=["GET"], include_in_schema=False, response_model=None)
    add_route(app, "/page/begin", page.begin)
    add_route(app, "/page/show", page.show)
