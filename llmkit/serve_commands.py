"""What requests about commands and machines look like, and their answers: /domain/ and /page/.

body = parse(CommandRequest, raw)
turns = body.turns(limits)      # the conversation as a domain reads it, or None
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from llmkit.config_serve import LimitsConfig
from llmkit.picture import Picture
from llmkit.reply import ARGUMENT
from llmkit.serve_schema import ApiError, FunctionCall, Message, Messages, Strict, few

RefusedBy = Literal["guard", "review", "confirmation"]


class CommandRequest(Strict):
    """A command, and the machine that it is meant for: JSON as /domain/apply gives it, or the text
    of a system context. With the conversation that it was proposed in it is held against that, too."""

    state: dict[str, Any] | str
    command: Annotated[str, Field(max_length=65536)]
    messages: Messages | None = Field(
        None, description="The conversation up to the person's message that the command answers."
    )
    confirm: bool = Field(
        True,
        description="With messages: refuse what destroys something that nobody in them gave up. "
        "false: whoever asks lets the person confirm it.",
    )

    def turns(self, limits: LimitsConfig) -> list[dict[str, str]] | None:
        """The conversation as a domain reads it; raises ApiError for what goes beyond the limits."""
        return None if self.messages is None else heard(self.messages, limits)


class CheckAnswer(Strict):
    """What the guard says of a command, what is against it in its conversation, and what it would
    do."""

    success: Literal[True]
    allowed: bool = Field(description="Whether it may be run.")
    refused_by: RefusedBy | None = Field(
        description="guard: a device is missing, or the like; review: it is not what was asked "
        "for, or cannot work; confirmation: nobody agreed to what it destroys. null: allowed."
    )
    again: bool = Field(description="Refused, and another answer of the model may do better.")
    better: str | None = Field(
        description="Refused, and this command is what was asked for; nothing is against it. null: "
        "none is known."
    )
    about: bool | None = Field(
        description="Whether the last message names what the command works on, and what would lose "
        "something is not asked or doubted. null: no messages."
    )
    wished: bool | None = Field(
        description="Whether the command may stand in place of a text that is not so: the last message "
        "asks nothing, and the command does more than look. null: no messages."
    )
    danger: str = Field(description="How bad it can be: read, change, destructive, forbidden.")
    missing: list[str] = Field(description="What it names and is not there.")
    reason: str = Field(
        description="The verdict in words, with the devices that exist; or what the person gets "
        "instead of the command."
    )
    explanation: str = Field(description="What it would do; or why it fails.")
    destroys: list[str] = Field(description="Devices on which something is lost.")
    needs_confirmation: bool = Field(description="A person should agree to it knowingly.")


class ApplyAnswer(CheckAnswer):
    """The machine after a command; as it was where the guard refuses it."""

    applied: bool = Field(description="False: refused, and not run.")
    status: int | None = Field(description="Exit status; null: not known, or not run.")
    error: str | None = Field(description="Why the first part that failed did.")
    stdout: str | None = Field(description="What it prints; null: not known.")
    unmodelled: list[str] = Field(description="Programs that were taken to change nothing.")
    state: dict[str, Any] = Field(description="The machine, for the next request.")
    system_context: str = Field(description="The machine as a model reads it.")


class TextRequest(Strict):
    """An answer in words, the machine and the conversation that it is given in."""

    state: dict[str, Any] | str
    text: Annotated[str, Field(max_length=65536)]
    messages: Messages = Field(
        description="The conversation up to the person's message that is answered."
    )


class TextAnswer(Strict):
    """Whether what the answer says of the machine is so."""

    success: Literal[True]
    instead: str | None = Field(
        description="What to say in its place, where it is not so. null: nothing is known to be wrong."
    )


class ShowRequest(Strict):
    """A machine: JSON as /domain/apply gives it, or the text of a system context."""

    state: dict[str, Any] | str


class ShowAnswer(Strict):
    """A machine as the page draws it."""

    success: Literal[True]
    state: dict[str, Any] = Field(description="The machine as JSON.")
    system_context: str = Field(description="The machine as a model reads it.")
    picture: Picture = Field(description="Bars with parts, facts and tables.")


class Ready(Strict):
    """A machine to begin with."""

    name: str
    state: dict[str, Any]


class Redraw(Strict):
    """How another answer is drawn."""

    temperature: float
    top_p: float


class BeginAnswer(Strict):
    """What the page begins with."""

    presets: list[Ready]
    history: int = Field(description="Messages that are sent along.")
    max_tokens: int = Field(description="Of an answer.")
    temperature: float
    tries: int = Field(description="Answers, while each is a command that could never work.")
    retry: Redraw
    tool_threshold: float = Field(description="Of a second look at a text; 1: none.")


def heard(messages: Sequence[Message], limits: LimitsConfig) -> list[dict[str, str]]:
    """The conversation as a domain reads it; raises ApiError for what goes beyond the limits, and
    where the last word is not the person's."""
    few(messages, limits)
    if messages[-1].role != "user":
        said = "messages: the last message must be the user's"
        raise ApiError(400, said, "invalid_value", "messages")
    return turns(messages)


def turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """What person and assistant said, each {role, content}; a command that ran is `$ LINE`, and what
    it printed follows behind an empty line. A call that no `tool` message answers did not run."""
    found: list[dict[str, str]] = []
    for place, message in enumerate(messages):
        content = message.content or ""
        after = messages[place + 1].role if place + 1 < len(messages) else ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        if message.role == "tool":
            if found and found[-1]["role"] == "assistant" and text.strip():
                found[-1]["content"] += "\n\n" + text.rstrip("\n")
        elif message.role == "user":
            found.append({"role": "user", "content": text})
        elif message.role == "assistant":
            calls = [f"$ {_command(call.function)}" for call in message.tool_calls or ()]
            said = [text] if text.strip() or not calls else []
            did = calls if after == "tool" else []  # a call without a result was not carried out
            found += [{"role": "assistant", "content": each} for each in (*said, *did)]
    return found


def _command(call: FunctionCall) -> str:
    """The command of a call in a conversation."""
    given: Any = call.arguments
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError as error:
            said = f"messages: a tool call's arguments are not JSON: {error}"
            raise ApiError(400, said, "invalid_value", "messages") from error
    command = given.get(ARGUMENT) if isinstance(given, dict) else None
    if not isinstance(command, str):
        said = f"messages: a tool call without the argument {ARGUMENT!r}"
        raise ApiError(400, said, "invalid_value", "messages")
    return command
