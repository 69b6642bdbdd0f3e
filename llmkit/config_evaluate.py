"""Schema of conf/evaluate.yaml."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from llmkit.config import (
    STRICT,
    Count,
    DomainConfig,
    FilePath,
    Flag,
    Int,
    MachineConfig,
    Positive,
    Resume,
    Text,
)
from llmkit.config_chat import RetryConfig, Threshold
from llmkit.config_engine import AnyEngineConfig
from llmkit.config_model import ModelConfig
from llmkit.config_prompt import PromptOptions


class Backend(Enum):
    """Who answers."""

    local = "local"
    openai = "openai"  # any server that speaks its chat completions


@dataclass(config=STRICT)
class RemoteConfig:
    """The server of backend=openai; the key is read from the environment variable `key_env`."""

    base_url: Text
    model: Text
    key_env: Text
    concurrency: Positive
    retries: Count
    timeout: Positive


@dataclass(config=STRICT)
class EvaluateConfig(MachineConfig):
    """conf/evaluate.yaml"""

    domain: DomainConfig
    model: ModelConfig
    prompt: PromptOptions
    engine: AnyEngineConfig
    adapter: Text
    cases: FilePath | None
    backend: Backend
    remote: RemoteConfig
    grounded: Flag
    review: Flag
    tries: Positive
    retry: RetryConfig
    tool_threshold: Threshold
    scorers: Annotated[list[Text], Field(min_length=1)]
    rank_by: Text
    limit: Positive | None
    case: Text | None
    max_tokens: Positive
    temperature: Annotated[float, Field(ge=0.0)]
    rescore: FilePath | None
    compare: Annotated[list[FilePath], Field(min_length=2, max_length=2)] | None
    sweep_dir: FilePath | None
    card: Flag
    resume: Resume
    bootstrap: Positive
    seed: Int
    output_dir: FilePath
