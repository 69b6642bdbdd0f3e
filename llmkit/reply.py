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
_CALL_HEAD = re.compile(r"call:[A-Za-z_][\w.-]*\{")
_ARGUMENT = r"\s*[A-Za-z_]\w*\s*:\s*<escape>(?:(?!<escape>).)*<escape>\s*"
_CALL = re.compile(
    rf"call:([A-Za-z_][\w.-]*)\{{((?:{_ARGUMENT})?(?:,{_ARGUMENT})*)\s*\}}", re.DOTALL
)
_ESCAPED = re.compile(r"([A-Za-z_]\w*)\s*:\s*<escape>((?:(?!<escape>).)*)<escape>", re.DOTALL)
_FENCE = re.compile(r"```(?:bash|sh|shell|console|zsh)[ \t]*")
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
    line = rest.lstrip()
    if line.startswith("$ ") and line[2:].strip():
        return _command(line[2:], thinking)
    calls, outside, problem = _tool_calls(rest)
    if problem is None:
        more, outside, problem = _escaped_calls(outside)
        calls += more
    if problem is None:
        commands, problem = _lines(outside)
        calls += tuple(Call(TOOL, {ARGUMENT: command}) for command in commands)
    if problem is None and not calls:
        return Reply("text", None, rest, thinking)
    return _called(rest, calls, problem, thinking)


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
        elif not isinstance(command, str) or not command.strip() or not _is_text(command):
            problem = f"a call of {TOOL} without a {ARGUMENT}"
        elif set(calls[0].arguments) != {ARGUMENT}:
            problem = f"a call of {TOOL} with other arguments than {ARGUMENT}"
        else:
            return Reply("command", command, None, thinking, calls)
    return Reply("text", None, rest, thinking, calls, problem)


def _is_text(command: str) -> bool:
    """Whether it can be written as UTF-8: JSON can hold half a character."""
    try:
        command.encode()
    except UnicodeEncodeError:
        return False
    return True


Found = tuple[tuple[Call, ...], str, str | None]  # calls, the text around them, what is wrong


def _tool_calls(rest: str) -> Found:
    """<tool_call>JSON</tool_call>, read from the left; one pass, whatever the text."""
    calls, outside, at = [], [], 0
    while (start := rest.find("<tool_call>", at)) >= 0:
        outside.append(rest[at:start])
        start += len("<tool_call>")
        end = rest.find("</tool_call>", start)
        if end < 0:
            return (), "", "a tool call that does not end"
        try:
            value = json.loads(rest[start:end], object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            return (), "", f"a tool call that is not JSON: {error}"
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return (), "", "a tool call without a name"
        arguments = value.get("arguments", {})
        if not isinstance(arguments, dict):
            return (), "", "a tool call whose arguments are not an object"
        calls.append(Call(value["name"], arguments))
        at = end + len("</tool_call>")
    return tuple(calls), "".join([*outside, rest[at:]]), None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; ValueError when a key stands twice: which one was meant?"""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _escaped_calls(rest: str) -> Found:
    """call:NAME{ARGUMENT:<escape>VALUE<escape>}"""
    if not _CALL_HEAD.search(rest):
        return (), rest, None
    found = list(_CALL.finditer(rest))
    # A head that stands inside an argument is the command's own business.
    outside = _CALL.sub("", rest)
    if _CALL_HEAD.search(outside):
        return (), "", "a call whose arguments cannot be read"
    calls = []
    for match in found:
        pairs = _ESCAPED.findall(match[2])
        if len(dict(pairs)) != len(pairs):
            return (), "", "a call with an argument that stands twice"
        calls.append(Call(match[1], dict(pairs)))
    return tuple(calls), outside, None


def _lines(rest: str) -> tuple[list[str], str | None]:
    """Commands in fenced blocks of shell, and lines that begin with `$ ` outside of them."""
    commands: list[str] = []
    block: list[str] | None = None
    for line in rest.split("\n"):
        if block is None and _FENCE.fullmatch(line):
            block = []
        elif block is not None and line.rstrip() == "```":
            # In a transcript, the lines after the prompt's mark are what was typed.
            typed = [part[2:] for part in block if part.startswith("$ ")]
            commands += typed or ["\n".join(block)]
            block = None
        elif block is not None:
            block.append(line)
        elif _LINE.fullmatch(line):
            commands.append(line[2:])
            if "<<" in line or line.endswith("\\"):
                return commands, "a command of several lines behind other text"
    if block is not None:
        return commands, "a fenced block that does not end"
    return commands, None
