"""The OpenAPI document: what each route takes, gives and refuses. FastAPI cannot know, since bodies
are read within limits of ours.

    document(app, keyed=True)
    add_route(app, "/generate", handler)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from llmkit.serve_commands import (
    ApplyAnswer,
    BeginAnswer,
    CheckAnswer,
    CommandRequest,
    ShowAnswer,
    ShowRequest,
    TextAnswer,
    TextRequest,
)
from llmkit.serve_schema import (
    ChatRequest,
    Failure,
    GenerateRequest,
    OpenAIFailure,
)

_ERRORS = {
    400: "The request is wrong: JSON, a type, a limit, a schema that cannot be compiled.",
    401: "The key is missing or wrong.",
    404: "No such model.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    429: "As many requests wait as may; see Retry-After.",
    500: "The model failed.",
    503: "The model is being loaded, or the server is shutting down; see Retry-After.",
    504: "The answer took too long.",
}
_MODEL = tuple(_ERRORS)
_COMMAND = (400, 401, 408, 413, 429, 500, 503)


@dataclass(frozen=True, slots=True)
class Route:
    """`asks` and `gives`: the JSON of request and answer; `streams`: or events; `text`: or text."""

    errors: tuple[int, ...]
    asks: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    streams: bool = False
    text: bool = False

    def request(self, path: str) -> dict[str, Any]:
        """What OpenAPI says of key, path and body."""
        found: dict[str, Any] = {}
        if 401 not in self.errors:
            found["security"] = []
        if "{model:" in path:
            text = {"type": "string", "minLength": 1}
            found["parameters"] = [
                {"name": "model", "in": "path", "required": True, "schema": text}
            ]
        if self.asks is not None:
            found["requestBody"] = {"required": True, "content": _json(self.asks)}
        return found

    def responses(self, path: str) -> dict[int | str, dict[str, Any]]:
        """What OpenAPI says of each status."""
        fails = OpenAIFailure if path.startswith("/v1") else Failure
        found: dict[int | str, dict[str, Any]] = {
            status: {"description": _ERRORS[status], "content": _json(fails)}
            for status in self.errors
        }
        if path == "/health":
            found[503] = {"description": _ERRORS[503], "content": _json(None)}
        if not self.text:
            content = _json(self.gives)
            if self.streams:
                content["text/event-stream"] = {"schema": {"type": "string"}}
            found[200] = {"description": "The answer.", "content": content}
        return found


ROUTES = {
    "/health": Route((503,)),
    "/metrics": Route((401, 503), text=True),
    "/v1/models": Route((401, 503)),
    "/v1/models/{model:path}": Route((401, 404, 503)),
    "/generate": Route(_MODEL, GenerateRequest, streams=True),
    "/query": Route(_MODEL, GenerateRequest, streams=True),
    "/v1/chat/completions": Route(_MODEL, ChatRequest, streams=True),
    "/domain/check": Route(_COMMAND, CommandRequest, CheckAnswer),
    "/domain/apply": Route(_COMMAND, CommandRequest, ApplyAnswer),
    "/domain/text": Route(_COMMAND, TextRequest, TextAnswer),
    "/page/begin": Route((401, 503), gives=BeginAnswer),
    "/page/show": Route(_COMMAND, ShowRequest, ShowAnswer),
}


def add_route(app: FastAPI, path: str, handler: Callable[..., Awaitable[Response]]) -> None:
    """One of ROUTES, documented."""
    told = ROUTES[path]
    app.add_api_route(
        path, handler, methods=["GET" if told.asks is None else "POST"], response_model=None,
        response_class=PlainTextResponse if told.text else JSONResponse,
        openapi_extra=told.request(path), responses=told.responses(path),
    )  # fmt: skip


def _json(kind: type[BaseModel] | None) -> dict[str, Any]:
    schema = {} if kind is None else {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"application/json": {"schema": schema}}


def document(app: FastAPI, *, keyed: bool, names: Sequence[str]) -> None:
    """The schemas of requests and answers into the document, what `model` may be, and the keys, if
    any are needed."""
    make = app.openapi
    kinds: Any = [
        (kind, "validation")
        for kind in dict.fromkeys(
            kind for route in ROUTES.values() for kind in (route.asks, route.gives)
        )
        if kind is not None
    ]
    kinds += [(Failure, "validation"), (OpenAIFailure, "validation")]

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = make()
            _, schemas = models_json_schema(kinds, ref_template="#/components/schemas/{model}")
            components = made.setdefault("components", {})
            known = components.setdefault("schemas", {})
            known |= schemas["$defs"]
            known["ModelName"] = {"type": "string", "enum": list(names)}
            asked = {"$ref": "#/components/schemas/ModelName"}
            known["ChatRequest"]["properties"]["model"] = asked
            known["GenerateRequest"]["properties"]["model"]["anyOf"] = [asked, {"type": "null"}]
            components["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
            made["security"] = [{"bearer": []}, {"key": []}, *([] if keyed else [{}])]
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
