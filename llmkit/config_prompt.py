"""Schemas of the group `prompt` and of the stage `prompt`."""

from __future__ import annotations

from enum import Enum

from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, DomainConfig, FilePath, Flag, Int, Positive, Text
from llmkit.config_model import ModelConfig


class ContextPosition(Enum):
    """Where the part of the prompt stands that changes after each command."""

    system = "system"  # behind the system prompt
    last_user = "last_user"  # before the person's last message: the history stays a fixed prefix


class CallStyle(Enum):
    """How the model writes a command."""

    shell = "shell"  # $ COMMAND
    tool_call = "tool_call"  # <tool_call>{"name": …, "arguments": {…}}</tool_call>


class Tools(Enum):
    """Whether the tools' schemas stand in the prompt."""

    omit = "omit"
    render = "render"


@dataclass(config=STRICT)
class PromptOptions:
    """conf/prompt/*.yaml; an adapter keeps those that it was trained with."""

    system_prompt: Text
    context_position: ContextPosition
    call_style: CallStyle
    tools: Tools
    thinking: Flag
    max_tokens: Positive
    wording: Flag = True  # adapters of before have none


@dataclass(config=STRICT)
class PromptConfig:
    """conf/prompt.yaml"""

    domain: DomainConfig
    model: ModelConfig
    prompt: PromptOptions
    file: FilePath
    show: Positive
    seed: Int
