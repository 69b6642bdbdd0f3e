"""Schema of conf/serve.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, AskConfig, DomainConfig, Flag, MachineConfig, Positive, Text
from llmkit.config_chat import RetryConfig, Threshold
from llmkit.config_engine import ServeEngineConfig
from llmkit.config_model import ModelConfig
from llmkit.config_prompt import PromptOptions

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$")]
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]


@dataclass(config=STRICT)
class LimitsConfig:
    """What one request, and all of them, may take."""

    body_bytes: Positive
    messages: Positive
    max_tokens: Positive
    seconds: Positive
    receive_seconds: Positive
    connections: Positive
    drain_seconds: Positive
    command_seconds: Positive


@dataclass(config=STRICT)
class SamplingConfig:
    """What holds for requests that do not say."""

    max_tokens: Positive
    temperature: Annotated[float, Field(ge=0.0, le=2.0)]
    top_p: Annotated[float, Field(gt=0.0, le=1.0)]


@dataclass(config=STRICT)
class PageConfig(AskConfig):
    """Whether there is a page, and what it sends. `tries` counts the first answer; `tool_threshold` 1: a
    text stays a text."""

    enabled: Flag
    tries: Positive
    retry: RetryConfig
    tool_threshold: Threshold


@dataclass(config=STRICT)
class ServeConfig(MachineConfig):
    """conf/serve.yaml"""

    domain: DomainConfig
    model: ModelConfig
    prompt: PromptOptions
    engine: ServeEngineConfig
    adapter: Text
    adapters: dict[ModelName, Text]
    names: list[Text]
    grounded: Flag
    host: Text
    port: Port
    devices: Positive
    keys_env: Text
    sampling: SamplingConfig
    limits: LimitsConfig
    page: PageConfig
    cors_origins: list[Text]
    log_contents: Flag
