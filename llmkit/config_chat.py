"""Schema of conf/chat.yaml."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from llmkit.config import (
    STRICT,
    AskConfig,
    DomainConfig,
    FilePath,
    Flag,
    Int,
    MachineConfig,
    Positive,
    Text,
)
from llmkit.config_model import ModelConfig

Threshold = Annotated[float, Field(gt=0.0, le=1.0)]
Seconds = Annotated[float, Field(gt=0.0, le=86400.0)]


@dataclass(config=STRICT)
class RetryConfig:
    """How an answer is drawn anew in place of a command that could never work; its seeds are 1, 2, …"""

    temperature: Annotated[float, Field(gt=0.0, le=2.0)]
    top_p: Annotated[float, Field(gt=0.0, le=1.0)]


@dataclass(config=STRICT)
class ChatAskConfig(AskConfig):
    """What the chat sends. `tries` counts the first answer; `tool_threshold` 1: a text stays a text."""

    tries: Positive
    retry: RetryConfig
    tool_threshold: Threshold = 1.0


class Execute(Enum):
    """Where a command runs."""

    simulate = "simulate"  # on a machine made from disk= and boot=
    dry = "dry"  # nowhere: it is printed; on this machine's facts
    real = "real"  # on this machine


@dataclass(config=STRICT)
class ClientConfig:
    """How the server is asked. `tries` counts the first one."""

    connect_seconds: Seconds
    answer_seconds: Seconds
    tries: Positive
    wait_seconds: Seconds
    longest_wait_seconds: Seconds


@dataclass(config=STRICT)
class ServerConfig:
    """The server: where one may run already, and whether one is started when none does."""

    url: Text
    key_env: Text
    start: Flag
    start_seconds: Seconds
    stop_seconds: Seconds
    overrides: list[Text]


@dataclass(config=STRICT)
class ChatConfig(MachineConfig):
    """conf/chat.yaml"""

    domain: DomainConfig
    model: ModelConfig
    adapter: Text
    server: ServerConfig
    client: ClientConfig
    ask: ChatAskConfig
    execute: Execute
    allow_installed: Flag
    script: FilePath | None
    output_dir: FilePath | None
    colour: Flag
    seed: Int
