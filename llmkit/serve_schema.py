"""What requests to the server look like, and what is made of them for a worker.

    body = parse(ChatRequest, raw, limits)
    job = body.to_job(sampling, limits)

Types are strict and unknown fields are refused, so that a misspelt one is not silently without
effect; inside of messages they are ignored, since clients send back what they were given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import jsonschema_rs
import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from llmkit.config_serve import LimitsConfig, SamplingConfig

_DEPTH = 60  # of arrays and objects within each other
_SHOWN = 3  # problems of a body that are named


@dataclass
class ApiError(Exception):
    """A status and what to say; `serve_http.error_body` makes the JSON that fits the route."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    retry_after: int | None = None


class Strict(BaseModel):
    """A body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Part(_Lenient):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


class FunctionCall(_Lenient):
    """A tool's name and arguments (JSON text, or an object)."""

    name: str
    arguments: str | dict[str, Any] = "{}"


class ToolCall(_Lenient):
    """A call that an assistant's message holds."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(_Lenient):
    """One turn. A tool's result follows the call that it answers."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None


class Function(_Lenient):
    """A function schema; the answer's arguments follow `parameters`, `pattern` included."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(_Lenient):
    """OpenAI's wrapping of a function schema."""

    type: Literal["function"]
    function: Function


class NamedFunction(_Lenient):
    name: str


class NamedTool(_Lenient):
    """The tool that must be called."""

    type: Literal["function"] = "function"
    function: NamedFunction


class NamedPlain(Strict):
    """The tool that must be called, without OpenAI's wrapping."""

    name: str


class JsonSchema(_Lenient):
    name: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """Text, any JSON object, or JSON as a schema says."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(_Lenient):
    include_usage: bool = False


def _whole(value: Any) -> Any:
    """JSON Schema's integers: 1.0 is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Stop = Annotated[str, Field(min_length=1, max_length=256)]
Stops = Stop | Annotated[list[Stop], Field(max_length=16)]
Choice = Literal["auto", "none", "required"]
Whole = Annotated[int, BeforeValidator(_whole)]
Seed = Annotated[Whole, Field(ge=-(2**63), le=2**63 - 1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Probability = Annotated[float, Field(ge=0, le=1)]
Messages = Annotated[list[Message], Field(min_length=1)]
Tokens = Annotated[Whole, Field(ge=1)]


class _Asked(Strict):
    """What both routes take."""

    messages: Messages
    system_context: str | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    max_tokens: Tokens | None = None
    seed: Seed | None = None
    stop: Stops | None = None
    stream: bool | None = None
    response_format: ResponseFormat | None = None
    tool_threshold: Probability | None = None

    def _job(
        self,
        sampling: SamplingConfig,
        limits: LimitsConfig,
        *,
        system_prompt: str | None,
        tools: Sequence[Function] | None,
        choice: Choice | NamedTool | NamedPlain | None,
        max_tokens: int | None,
    ) -> dict[str, Any]:
        few(self.messages, limits)
        for place, tool in enumerate(tools or ()):
            _meant(tool.parameters, f"tools.{place}.parameters")
        wanted = sampling.max_tokens if max_tokens is None else max_tokens
        if wanted > limits.max_tokens:
            said = f"max_tokens={wanted:,} is more than {limits.max_tokens:,}"
            raise ApiError(400, said, "too_many_tokens", "max_tokens")
        temperature = sampling.temperature if self.temperature is None else self.temperature
        top_p = sampling.top_p if self.top_p is None else self.top_p
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        messages = [message.model_dump(exclude_none=True) for message in self.messages]
        return {
            "messages": messages,
            "system_prompt": system_prompt,
            "system_context": self.system_context,
            "tools": None if tools is None else [tool.model_dump(exclude_none=True) for tool in tools],
            "tool_choice": _choice(choice, tools),
            "tool_threshold": self._threshold(choice),
            "schema": _schema(self.response_format),
            "max_tokens": wanted,
            # nothing but the likeliest token is left of either
            "temperature": 0.0 if temperature < 1e-4 or top_p == 0 else temperature,
            "top_p": top_p,
            "seed": self.seed,
            "stop": stop,
            "stream": bool(self.stream),
        }  # fmt: skip

    def _threshold(self, choice: Any) -> float:
        """tool_threshold; ApiError where no tool must be called."""
        if self.tool_threshold and choice in (None, "auto", "none"):
            said = "tool_threshold goes with tool_choice=required, or with the name of a tool"
            raise ApiError(400, said, None, "tool_threshold")
        return self.tool_threshold or 0.0


class GenerateRequest(_Asked):
    """A conversation to answer with text or a command."""

    system_prompt: str | None = None
    tools: list[Function | Tool] | None = None
    tool_choice: Choice | NamedTool | NamedPlain | None = None
    model: str | None = None

    def to_job(self, sampling: SamplingConfig, limits: LimitsConfig) -> dict[str, Any]:
        """JSON data for a worker; raises ApiError for what goes beyond the limits."""
        tools = self.tools
        plain = None if tools is None else [_function(tool) for tool in tools]
        return self._job(
            sampling, limits, system_prompt=self.system_prompt, tools=plain,
            choice=self.tool_choice, max_tokens=self.max_tokens,
        )  # fmt: skip


class ChatRequest(_Asked):
    """OpenAI's chat completion, with `system_context` and `tool_threshold` in addition."""

    model: str
    tools: list[Tool] | None = None
    tool_choice: Choice | NamedTool | None = None
    max_completion_tokens: Tokens | None = None
    stream_options: StreamOptions | None = None
    # What would change the answer, and is not done: refused unless it says what is so anyway.
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    # What changes nothing here.
    parallel_tool_calls: bool | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    def to_job(self, sampling: SamplingConfig, limits: LimitsConfig) -> dict[str, Any]:
        """JSON data for a worker; raises ApiError for what goes beyond the limits."""
        tools = None if self.tools is None else [tool.function for tool in self.tools]
        return self._job(
            sampling, limits, system_prompt=None, tools=tools, choice=self.tool_choice,
            max_tokens=self.max_completion_tokens or self.max_tokens,
        )  # fmt: skip


class Failure(Strict):
    """An error, as the earlier server told it."""

    success: Literal[False]
    error: str


class OpenAIError(Strict):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIFailure(Strict):
    """An error, as OpenAI tells it."""

    error: OpenAIError


def few(messages: Sequence[Message], limits: LimitsConfig) -> None:
    """Refuse more messages than a request may have."""
    if len(messages) > limits.messages:
        said = f"{len(messages):,} messages, more than {limits.messages:,}"
        raise ApiError(400, said, "too_many_messages", "messages")


def _function(tool: Function | Tool) -> Function:
    return tool.function if isinstance(tool, Tool) else tool


def _choice(
    choice: Choice | NamedTool | NamedPlain | None, tools: Sequence[Function] | None
) -> str | dict[str, str]:
    """auto, none, required or {"name": …}."""
    if choice is None:
        return "auto" if tools is None or tools else "none"
    if isinstance(choice, NamedTool):
        return {"name": choice.function.name}
    if isinstance(choice, NamedPlain):
        return {"name": choice.name}
    return choice


def _meant(schema: dict[str, Any] | None, place: str) -> None:
    """Refuse what is no JSON Schema before anything reads it."""
    if schema is not None and not jsonschema_rs.meta.is_valid(schema):
        raise ApiError(400, f"{place}: no JSON Schema", "invalid_schema", place)


def _schema(wanted: ResponseFormat | None) -> dict[str, Any] | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.json_schema is None:
        raise ApiError(400, "response_format.json_schema is required", None, "response_format")
    _meant(wanted.json_schema.schema_, "response_format.json_schema.schema")
    return wanted.json_schema.schema_


M = TypeVar("M", bound=BaseModel)


def parse(kind: type[M], raw: bytes) -> M:
    """The body as `kind`; ApiError 400 says what is wrong with it."""
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not JSON: {error}", "invalid_json") from error
    if not isinstance(data, dict):
        raise ApiError(400, "the body must be a JSON object", "invalid_json")
    if _depth(data) > _DEPTH:
        raise ApiError(400, f"the body is nested deeper than {_DEPTH} levels", "invalid_json")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [f"{_place(item['loc'])}: {_said(item)}" for item in found]
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        param = _place(found[0]["loc"])
        text = "; ".join(problems[:_SHOWN]) + more
        raise ApiError(400, text, "invalid_value", param) from error


def _depth(value: Any) -> int:
    """How many containers lie within each other, level by level."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return depth + any(isinstance(item, dict | list) for item in level)
        level, depth = below, depth + 1
    return depth


def _place(loc: Sequence[int | str]) -> str:
    """messages.0.role; without the names of the kinds that pydantic tried."""
    parts = [str(part) for part in loc]
    return ".".join(part for part in parts if not part[:1].isupper() and "[" not in part)


def _said(item: Mapping[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return "no such field"
    message = str(item["msg"])
    return f"{message[:1].lower()}{message[1:]}"
