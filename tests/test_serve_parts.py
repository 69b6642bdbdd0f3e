"""The server's pure parts: what of a stream is shown, what an answer is, what a request says."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("litserve")

from hypothesis import given
from hypothesis import strategies as st

from llmkit.config_prompt import CallStyle
from llmkit.config_serve import LimitsConfig, SamplingConfig
from llmkit.generate import Completion
from llmkit.prompt import FORMAT
from llmkit.serve_schema import ApiError, ChatRequest, GenerateRequest, parse
from llmkit.serve_stream import Shown
from llmkit.serve_worker import Refused, answer, split_system

LIMITS = LimitsConfig(
    body_bytes=1000, messages=3, max_tokens=100, seconds=1, receive_seconds=1, connections=1,
    drain_seconds=1, command_seconds=1,
)  # fmt: skip
SAMPLING = SamplingConfig(max_tokens=50, temperature=0.7, top_p=0.9)


def tool(name: str, *needs: str, **command: Any) -> dict[str, Any]:
    """A tool that takes a command, and more if it needs more."""
    properties = {"command": {"type": "string", **command}, **{need: {} for need in needs}}
    parameters = {"type": "object", "properties": properties, "required": ["command", *needs]}
    return {"name": name, "parameters": parameters}


TOOLS = [tool("run_shell_command")]


def made(text: str, finish: str = "stop") -> Completion:
    return Completion((1,), text, finish, 2, 1)


def shown(text: str, cuts: list[int], *, calls: bool) -> str:
    """What a stream gives of a text that comes in pieces."""
    view, given = Shown(calls=calls), ""
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for start, end in pairwise(edges):
        given += view.push(text[start:end])
    assert view.length == len(given)
    return given


# Text as the grammar lets it be: no command in it.
TEXTS = st.text(alphabet="ab$ \n<`", max_size=12).map(lambda text: f"x{text}".replace("\n$ ", ""))


@given(TEXTS, st.sampled_from(["", "<think>why</think>\n\n", " <think>$ a\n</think> "]),
       st.lists(st.integers(0, 99), max_size=6), st.booleans())  # fmt: skip
def test_a_stream_shows_the_text_and_nothing_else(
    text: str, thought: str, cuts: list[int], calls: bool
) -> None:
    """However it is cut, the pieces are the answer's text; reasoning is not among them."""
    whole = answer(made(thought + text), TOOLS if calls else None)
    assert whole["text"] == text
    assert shown(thought + text, cuts, calls=calls) == text


@given(st.sampled_from(["$ lsblk -f", '<tool_call>{"name": "a", "arguments": {}}</tool_call>',
                        "<think>so</think>\n$ lsblk", " $ ls", "<think>on and on"]),
       st.lists(st.integers(0, 99), max_size=6))  # fmt: skip
def test_a_call_is_never_shown_as_text(text: str, cuts: list[int]) -> None:
    """Neither a call nor reasoning slips through."""
    assert shown(text, cuts, calls=True) == ""


def test_half_a_command_is_no_call() -> None:
    """What max_tokens has cut is text, though it reads like a command."""
    assert answer(made("$ rm -rf /mnt"), TOOLS)["call"] == {
        "name": "run_shell_command", "arguments": {"command": "rm -rf /mnt"}
    }  # fmt: skip
    cut = answer(made("$ rm -rf /", "length"), TOOLS)
    assert (cut["call"], cut["text"], cut["finish"]) == (None, "$ rm -rf /", "length")


def test_only_tools_of_the_request_are_called() -> None:
    """A call of another name is text; without tools everything is."""
    call = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
    assert answer(made(call), TOOLS)["text"] == call
    assert answer(made(call), [{"name": "weather"}])["call"]["arguments"] == {"city": "Oslo"}
    assert answer(made("$ lsblk"), None)["text"] == "$ lsblk"
    assert answer(made("$ lsblk"), [{"name": "weather"}, tool("sh")])["call"]["name"] == "sh"
    assert answer(made("$ lsblk"), [{"name": "weather"}])["call"] is None


def test_a_command_is_of_the_tool_whose_schema_has_it() -> None:
    """`$ …` does not say which; never one that needs more than a command."""
    tools = [tool("why", "reason"), tool("look", enum=["lsblk"]), tool("run_shell_command")]
    found = {text: answer(made(f"$ {text}"), tools)["call"]["name"] for text in ("lsblk", "df")}
    assert found == {"lsblk": "run_shell_command", "df": "run_shell_command"}
    tools[2] = tool("check", pattern="^fsck ")
    for text, name in (("lsblk", "look"), ("fsck /dev/sda1", "check")):
        assert answer(made(f"$ {text}"), tools)["call"]["name"] == name


def test_system_messages_are_the_system_prompt() -> None:
    """Those at the beginning; what llmkit.evaluate sends as one is taken apart again."""
    user = {"role": "user", "content": "hi"}
    system = {"role": "system", "content": "Be brief."}
    both = [system, {"role": "developer", "content": [{"type": "text", "text": "Now."}]}, user]
    assert split_system(both, CallStyle.shell) == ("Be brief.\n\nNow.", None, [user])
    sent = [{"role": "system", "content": f"Be brief.\n\n{FORMAT}\n\n## Disks"}, user]
    assert split_system(sent, CallStyle.shell) == ("Be brief.", "## Disks", [user])
    assert split_system([user], CallStyle.shell) == (None, None, [user])
    with pytest.raises(Refused, match="behind others"):
        split_system([user, system], CallStyle.shell)


def test_what_a_request_does_not_say_the_config_says() -> None:
    """Defaults of sampling; no tools is something else than none named."""
    body = b'{"messages": [{"role": "user", "content": "a"}]'
    job = parse(GenerateRequest, body + b"}").to_job(SAMPLING, LIMITS)
    assert (job["max_tokens"], job["temperature"], job["top_p"]) == (50, 0.7, 0.9)
    assert (job["tools"], job["tool_choice"]) == (None, "auto")
    job = parse(GenerateRequest, body + b', "tools": []}').to_job(SAMPLING, LIMITS)
    assert (job["tools"], job["tool_choice"]) == ([], "none")
    greedy = parse(GenerateRequest, body + b', "top_p": 0}').to_job(SAMPLING, LIMITS)
    assert greedy["temperature"] == 0.0


def test_both_ways_to_say_how_long() -> None:
    """OpenAI's newer max_completion_tokens, and the older max_tokens."""
    for name in ("max_tokens", "max_completion_tokens"):
        body = {"model": "m", "messages": [{"role": "user", "content": "a"}], name: 7}
        job = parse(ChatRequest, json.dumps(body).encode()).to_job(SAMPLING, LIMITS)
        assert job["max_tokens"] == 7


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["auto", "user", "text", "function"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "type", "text", "name", "function", "parameters"]),
        inner, max_size=3,
    ),
    max_leaves=6,
)  # fmt: skip
FIELDS = sorted({*GenerateRequest.model_fields, *ChatRequest.model_fields, "other"})


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5), st.booleans())
def test_any_body_is_taken_or_refused_with_a_reason(body: dict[str, Any], fill: bool) -> None:
    """ApiError 400 and nothing else, whatever stands where."""
    if fill:
        body = {"model": "m", "messages": [{"role": "user", "content": "a"}], **body}
    for kind in (GenerateRequest, ChatRequest):
        refused = None
        try:
            job = parse(kind, json.dumps(body).encode()).to_job(SAMPLING, LIMITS)
        except ApiError as error:
            refused = error
        if refused is None:
            assert 1 <= job["max_tokens"] <= 100
        else:
            assert refused.status == 400
            assert refused.message


def test_one_point_zero_is_a_whole_number() -> None:
    """As JSON Schema has it; 1.5 is none."""

    def made(**more: Any) -> dict[str, Any]:
        body = {"messages": [{"role": "user", "content": "a"}], **more}
        return parse(GenerateRequest, json.dumps(body).encode()).to_job(SAMPLING, LIMITS)

    job = made(max_tokens=7.0, seed=-1.0)
    assert (job["max_tokens"], job["seed"]) == (7, -1)
    for wrong in (1.5, 1e300, True, "7"):
        with pytest.raises(ApiError):
            made(max_tokens=wrong)
