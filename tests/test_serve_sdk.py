"""The server as OpenAI's Python SDK sees it: what it parses, streams and raises. Real processes."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict

openai = pytest.importorskip("openai")
pytest.importorskip("litserve")

from tests.serving import KEY, SHELL_TOOL, Running, begin, letters, running  # noqa: E402

ASK: Any = [{"role": "user", "content": "list disks"}]
SHELL: Any = {"type": "function", "function": SHELL_TOOL}
OTHER: Any = {
    "type": "function",
    "function": {
        "name": "other",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string", "enum": ["true"]}},
            "required": ["command"],
        },
    },
}
COMMANDS = {"lsblk", "sgdisk -p /dev/sda"}


class Disk(BaseModel):
    """What an answer is parsed into."""

    model_config = ConfigDict(extra="forbid")

    name: Literal["sda", "vdb"]
    mounted: bool


@pytest.fixture(scope="module")
def server() -> Running:
    begin("keys", "small")
    return running("keys")


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Any]:
    with client_of(server) as made:
        yield made


def client_of(server: Running, kind: Any = None, **more: Any) -> Any:
    """A client that tries once."""
    values = {"api_key": KEY, "max_retries": 0, "timeout": 60} | more
    return (kind or openai.OpenAI)(base_url=f"http://127.0.0.1:{server.port}/v1", **values)


# Answers


def test_an_answer_is_a_completion(client: Any) -> None:
    """Every field has the type that the SDK documents."""
    made = client.chat.completions.create(model="llmkit", messages=ASK, max_tokens=5, seed=1)
    assert (made.object, made.model) == ("chat.completion", "llmkit")
    assert abs(made.created - time.time()) < 600 and made.id
    (choice,) = made.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "length", "assistant")
    assert isinstance(choice.message.content, str) and choice.message.tool_calls is None
    assert made.usage.total_tokens == made.usage.prompt_tokens + 5


def test_a_stream_is_the_answer_in_pieces(client: Any) -> None:
    """The deltas together are what is given without stream; usage comes with the last chunk."""
    body: Any = {"model": "llmkit", "messages": ASK, "max_tokens": 16, "seed": 3,
                 "tool_choice": "none"}  # fmt: skip
    whole = client.chat.completions.create(**body)
    *chunks, last = client.chat.completions.create(
        **body, stream=True, stream_options={"include_usage": True}
    )
    assert (last.choices, last.usage) == ([], whole.usage)
    assert {chunk.id for chunk in chunks} == {last.id}
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_stream_that_is_closed_frees_its_slot(client: Any, server: Running) -> None:
    """Within a second."""
    stream = client.chat.completions.create(model="llmkit", **letters(900), stream=True)
    next(iter(stream))
    stream.close()
    seconds = server.until(lambda: server.metric("llmkit_engine_active") == 0, 5)
    assert seconds < 1


def test_models_are_listed_and_looked_up(client: Any) -> None:
    """By name; one that is not there is not found."""
    assert [model.id for model in client.models.list()] == ["tiny", "llmkit", "second"]
    found = client.models.retrieve("second")
    assert (found.id, found.object, found.owned_by) == ("second", "model", "llmkit")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_many_at_once_through_the_async_client(server: Running) -> None:
    """Sixteen in parallel get what each gets alone, streamed or not, whichever adapter answers."""

    async def ask(client: Any, number: int) -> str:
        body: Any = {"model": ("tiny", "second")[number % 2], "max_tokens": 10, "temperature": 0,
                     "messages": [{"role": "user", "content": f"disk {number}"}],
                     "tool_choice": "none"}  # fmt: skip
        if number % 4 < 2:
            made = await client.chat.completions.create(**body)
            return str(made.choices[0].message.content)
        stream = await client.chat.completions.create(**body, stream=True)
        return "".join([part.choices[0].delta.content or "" async for part in stream])

    async def talk() -> tuple[list[str], list[str]]:
        async with client_of(server, openai.AsyncOpenAI) as client:
            together = await asyncio.gather(*(ask(client, number) for number in range(16)))
            return together, [await ask(client, number) for number in range(16)]

    together, alone = asyncio.run(talk())
    assert together == alone


# Tools


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("required", {"run_shell_command", "other"}),
        ({"type": "function", "function": {"name": "other"}}, {"other"}),
    ],
    ids=["required", "named"],
)
def test_tools_are_called(client: Any, choice: Any, wanted: set[str], stream: bool) -> None:
    """A call of one of them, whose arguments its schema has; in a stream they add up to it."""
    body: Any = {"model": "llmkit", "messages": ASK, "tools": [SHELL, OTHER], "max_tokens": 60,
                 "tool_choice": choice, "temperature": 1.5}  # fmt: skip
    names = set()
    for seed in range(4):
        if stream:
            with client.chat.completions.stream(**body, seed=seed) as events:
                made = events.get_final_completion()
        else:
            made = client.chat.completions.create(**body, seed=seed)
        (answer,) = made.choices
        assert answer.finish_reason == "tool_calls" and answer.message.content is None
        (call,) = answer.message.tool_calls
        assert call.type == "function" and call.id
        names.add(call.function.name)
        allowed = {"true"} if call.function.name == "other" else COMMANDS
        assert json.loads(call.function.arguments)["command"] in allowed
    assert names <= wanted


def test_no_tool_is_called_where_none_may(client: Any) -> None:
    """tool_choice none gives text."""
    made = client.chat.completions.create(
        model="llmkit", messages=ASK, tools=[SHELL], tool_choice="none", max_tokens=20, seed=5
    )
    assert made.choices[0].message.tool_calls is None
    assert isinstance(made.choices[0].message.content, str)


def test_a_tool_may_be_called_or_not(client: Any) -> None:
    """tool_choice auto gives text, or a call that its schema has."""
    for seed in range(10):
        made = client.chat.completions.create(
            model="llmkit", messages=ASK, tools=[SHELL], tool_choice="auto", max_tokens=40,
            temperature=1.9, top_p=1.0, seed=seed,
        )  # fmt: skip
        (choice,) = made.choices
        calls = choice.message.tool_calls or []
        assert (choice.finish_reason == "tool_calls") == bool(calls)
        assert (choice.message.content is None) == bool(calls)
        for call in calls:
            assert json.loads(call.function.arguments)["command"] in COMMANDS


def test_a_conversation_goes_on_after_a_call(client: Any) -> None:
    """The SDK's own message goes back with the tool's result."""
    body: Any = {"model": "llmkit", "tools": [SHELL], "max_tokens": 60, "seed": 1}
    made = client.chat.completions.create(messages=ASK, tool_choice="required", **body)
    message = made.choices[0].message
    (call,) = message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "sda 8G"}
    messages: Any = [*ASK, message, result, {"role": "user", "content": "and now?"}]
    more = client.chat.completions.create(messages=messages, tool_choice="none", **body)
    assert more.usage.prompt_tokens > made.usage.prompt_tokens
    assert isinstance(more.choices[0].message.content, str)


# Formats


def test_answers_are_parsed_into_a_model(client: Any) -> None:
    """response_format as the SDK makes it of a pydantic model."""
    for seed in range(3):
        made = client.chat.completions.parse(
            model="llmkit", messages=ASK, response_format=Disk, max_tokens=100, seed=seed
        )
        assert isinstance(made.choices[0].message.parsed, Disk)


def test_an_answer_follows_a_json_schema(client: Any) -> None:
    """Pattern included."""
    made = client.chat.completions.create(model="tiny", **letters(12))
    assert re.fullmatch("[a-z]{12}", json.loads(made.choices[0].message.content)["a"])


# Errors


def refused(kind: type[Exception], client: Any, **body: Any) -> Any:
    """The error that a request raises."""
    with pytest.raises(kind) as error:
        client.chat.completions.create(**({"model": "llmkit", "messages": ASK} | body))
    return error.value


def test_a_wrong_key_is_an_authentication_error(server: Running) -> None:
    """With status, code, and the id of the log's line."""
    with client_of(server, api_key="wrong") as client:
        error = refused(openai.AuthenticationError, client)
        assert (error.status_code, error.code) == (401, "invalid_api_key")
        assert error.request_id
        with pytest.raises(openai.AuthenticationError):
            client.models.list()


@pytest.mark.parametrize(
    ("body", "param"),
    [({"n": 2}, "n"), ({"max_tokens": 10**6}, "max_tokens"), ({"temperature": 3}, "temperature"),
     ({"messages": []}, "messages"), ({"logprobs": True}, "logprobs"),
     ({"extra_body": {"top_k": 3}}, "top_k")],
)  # fmt: skip
def test_a_wrong_request_is_a_bad_request(client: Any, body: Any, param: str) -> None:
    """The field is named."""
    error = refused(openai.BadRequestError, client, **body)
    assert (error.status_code, error.param, error.type) == (400, param, "invalid_request_error")


def test_an_unknown_model_is_not_found(client: Any) -> None:
    """404 with OpenAI's code."""
    error = refused(openai.NotFoundError, client, model="gpt-9")
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")


def test_a_large_body_is_a_status_error(client: Any) -> None:
    """413, for which the SDK has no class of its own."""
    error = refused(
        openai.APIStatusError, client, messages=[{"role": "user", "content": "a" * 300_000}]
    )
    assert (error.status_code, error.code) == (413, "body_too_large")


def test_a_full_queue_is_a_rate_limit_and_is_waited_for(server: Running) -> None:
    """429 for those beyond batch and queue; a client that may retry is answered in the end."""
    small = running("small")
    with client_of(small) as once, client_of(small, max_retries=20) as patient:

        def ask(client: Any) -> Any:
            try:
                made = client.chat.completions.create(model="llmkit", **letters(60))
                return made.choices[0].finish_reason
            except openai.RateLimitError as error:
                return (error.status_code, error.code, error.response.headers["retry-after"])

        with ThreadPoolExecutor(9) as pool:
            answers = list(pool.map(ask, [*[once] * 8, patient]))
    assert set(answers) == {"stop", (429, "queue_full", "1")}
    assert answers[-1] == "stop"


def test_an_answer_that_takes_too_long_is_the_servers_error(server: Running) -> None:
    """504; in a stream that has begun, an error in place of the rest."""
    long: Any = {**letters(30000), "max_tokens": 7900}
    with client_of(running("small")) as client:
        error = refused(openai.InternalServerError, client, **long)
        assert (error.status_code, error.code) == (504, "timeout")
        with pytest.raises(openai.APIError, match="took too long"):
            list(client.chat.completions.create(model="llmkit", **long, stream=True))
