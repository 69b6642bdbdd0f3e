"""A model's reply as text: read it, write it.

    from llmkit.reply import parse_reply
    parse_reply("$ lsblk").command  # 'lsblk'

A reply is one command or text, either with reasoning before it. These forms of a command are read:

    $ COMMAND                                    the whole rest of the reply, several lines too
    <tool_call>{"name": …, "arguments": {…}}</tool_call>
    call:NAME{command:<escape>COMMAND<escape>}
    ```bash … ```                                one fenced block of shell
    a line that begins with `$ `                 behind or before other text: that line alone

Nothing is repaired: what is malformed, or more than one command, is text, and `problem` says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmkit.config_prompt import CallStyle
from llmkit.errors import LlmkitError

TOOL = "run_shell_command"  # how a command is called where the style names a tool
ARGUMENT = "command"

_THINK = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_CALL_HEAD = re.compile(r"call:[A-Za-z_][\w.-]*\{")
_ARGUMENT = r"\s*[A-Za-z_]\w*\s*:\s*<escape>(?:(?!<escape>).)*<escape>\s*"
_CALL = re.compile(
    rf"call:([A-Za-z_][\w.-]*)\{{((?:{_ARGUMENT})?(?:,{_ARGUMENT})*)\s*\}}", re.DOTALL
)
_ESCAPED = re.compile(r"([A-Za-z_]\w*)\s*:\s*<escape>((?:(?!<escape>).)*)<escape>", re.DOTALL)
_FENCE = re.compile(
    r"^```(?:bash|sh|shell|console|zsh)[ \t]*\n(.*?)\n?^```[ \t]*$", re.DOTALL | re.MULTILINE
)
_LINE = re.compile(r"^\$ (.*\S.*)$", re.MULTILINE)


class ReplyError(LlmkitError):
    """An answer that no reply can stand for: it would be read as something else."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply says. `command` is set when `type` is command, `response` when it is text."""

    type: str
    command: str | None = None
    response: str | None = None
    thinking: str | None = None
    calls: tuple[Call, ...] = ()
    problem: str | None = None

    def to_expected(self) -> dict[str, str]:
        """The same as an `expected_response` of a snapshot."""
        body = {"type": self.type}
        if self.command is not None:
            body["command"] = self.command
        else:
            body["response"] = self.response or ""
        return body | ({"thinking": self.thinking} if self.thinking else {})


def parse_reply(text: str) -> Reply:
    """Read a reply. Never raises; see the module for the forms."""
    thinking, rest = _thinking(text)
    if thinking is None and rest.lstrip().startswith("<think>"):
        open_thought = rest.lstrip().removeprefix("<think>")
        return Reply("text", None, "", open_thought.strip(), (), "the reasoning does not end")
    if rest.startswith("$ ") and rest[2:].strip():
        return _command(rest[2:], thinking)
    if "<tool_call>" in rest:
        calls, problem = _tool_calls(rest)
        return _called(rest, calls, problem, thinking)
    if _CALL_HEAD.search(rest):
        calls, problem = _escaped_calls(rest)
        return _called(rest, calls, problem, thinking)
    commands = _FENCE.findall(rest) or _LINE.findall(rest)
    if not commands:
        return Reply("text", None, rest, thinking)
    calls = tuple(Call(TOOL, {ARGUMENT: command}) for command in commands)
    return _called(rest, calls, None, thinking)


def write_reply(expected: Mapping[str, Any], style: CallStyle, *, thinking: bool = True) -> str:
    """The reply that says `expected` (an expected_response), in a call style.

    `parse_reply` gives the same back. A text's white space at both ends is dropped.

    Raises ReplyError for an answer that would be read as something else.
    """
    thought = str(expected.get("thinking") or "").strip() if thinking else ""
    if expected["type"] == "command":
        want = Reply("command", expected["command"])
        body = write_command(expected["command"], style)
    else:
        want = Reply("text", None, expected["response"].strip())
        body = want.response or ""
    text = f"<think>\n{thought}\n</think>\n\n{body}" if thought else body
    got = parse_reply(text)
    if (got.type, got.command, got.response, got.thinking or "", got.problem) != (
        want.type, want.command, want.response, thought, None
    ):  # fmt: skip
        said = got.problem or f"it would be read as the {got.type} {got.command or got.response!r}"
        raise ReplyError(f"the answer {body[:80]!r} cannot be written: {said}")
    return text


def write_command(command: str, style: CallStyle) -> str:
    """A command alone, as it stands in an answer and in the history."""
    if style is CallStyle.shell:
        return f"$ {command}"
    call = {"name": TOOL, "arguments": {ARGUMENT: command}}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


def _thinking(text: str) -> tuple[str | None, str]:
    found = _THINK.match(text)
    if found is None:
        return None, text
    return found[1].strip(), text[found.end() :]


def _command(command: str, thinking: str | None) -> Reply:
    return Reply("command", command, None, thinking, (Call(TOOL, {ARGUMENT: command}),))


def _called(rest: str, calls: tuple[Call, ...], problem: str | None, thinking: str | None) -> Reply:
    if problem is None and len(calls) > 1:
        problem = f"{len(calls)} commands in one reply"
    if problem is None and calls:
        command = calls[0].arguments.get(ARGUMENT)
        if calls[0].name != TOOL:
            problem = f"a call of {calls[0].name!r}, which is not a tool here"
        elif not isinstance(command, str) or not command.strip():
            problem = f"a call of {TOOL} without a {ARGUMENT}"
        elif set(calls[0].arguments) != {ARGUMENT}:
            problem = f"a call of {TOOL} with other arguments than {ARGUMENT}"
        else:
            return Reply("command", command, None, thinking, calls)
    return Reply("text", None, rest, thinking, calls, problem)


def _tool_calls(rest: str) -> tuple[tuple[Call, ...], str | None]:
    bodies = _TOOL_CALL.findall(rest)
    if len(bodies) != rest.count("<tool_call>"):
        return (), "a tool call that does not end"
    calls = []
    for body in bodies:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            return (), f"a tool call that is not JSON: {error}"
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return (), "a tool call without a name"
        arguments = value.get("arguments", {})
        if not isinstance(arguments, dict):
            return (), "a tool call whose arguments are not an object"
        calls.append(Call(value["name"], arguments))
    return tuple(calls), None


def _escaped_calls(rest: str) -> tuple[tuple[Call, ...], str | None]:
    found = list(_CALL.finditer(rest))
    # A head that stands inside an argument is the command's own business.
    outside = _CALL.sub("", rest)
    if _CALL_HEAD.search(outside):
        return (), "a call whose arguments cannot be read"
    return tuple(Call(match[1], dict(_ESCAPED.findall(match[2]))) for match in found), None
