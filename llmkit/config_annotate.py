"""Schema of conf/annotate.yaml and of the group `provider`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from llmkit.config import (
    STRICT,
    Count,
    DomainConfig,
    FilePath,
    Flag,
    Positive,
    Resume,
    Share,
    Text,
)

Seconds = Annotated[float, Field(gt=0.0)]
Dollars = Annotated[float, Field(ge=0.0)]


class Mode(Enum):
    """How a provider is asked."""

    sync = "sync"
    batch = "batch"


class Action(Enum):
    """What mode=batch does in this run."""

    submit = "submit"
    status = "status"
    process = "process"
    wait = "wait"


class Retry(Enum):
    """Which failures of an earlier run are asked again."""

    none = "none"
    transient = "transient"
    all = "all"


class LengthField(Enum):
    """How a server calls the longest answer."""

    max_tokens = "max_tokens"
    max_completion_tokens = "max_completion_tokens"


@dataclass(config=STRICT)
class PricesConfig:
    """US dollars for a million tokens; `batch` is the part of it that a batch costs."""

    input: Dollars
    output: Dollars
    batch: Share


@dataclass(config=STRICT)
class BatchConfig:
    """Sizes and waits of Message Batches."""

    requests: Positive
    megabytes: Positive
    poll: Seconds
    settle: Seconds


@dataclass(config=STRICT)
class TemplateConfig:
    """conf/provider/template.yaml"""

    kind: Literal["template"]


@dataclass(config=STRICT)
class RemoteProvider:
    """What every provider behind an API has."""

    model: Text
    base_url: Text | None
    key_env: Text
    env_file: FilePath | None
    system: Text
    request: Text
    max_tokens: Positive
    temperature: Annotated[float, Field(ge=0.0)] | None
    concurrency: Positive
    requests_per_minute: Positive
    tokens_per_minute: Positive
    timeout: Seconds
    retries: Count
    backoff: Seconds
    patience: Seconds
    prices: PricesConfig | None


@dataclass(config=STRICT)
class AnthropicConfig(RemoteProvider):
    """conf/provider/anthropic.yaml"""

    kind: Literal["anthropic"]
    batch: BatchConfig


@dataclass(config=STRICT)
class OpenAIConfig(RemoteProvider):
    """conf/provider/openai.yaml"""

    kind: Literal["openai"]
    length_field: LengthField


def _kind(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return f"={kind}"


# One of the three. (stage_errors leaves out the parts of a path that begin with =.)
AnyProvider = Annotated[
    Annotated[TemplateConfig, Tag("=template")]
    | Annotated[AnthropicConfig, Tag("=anthropic")]
    | Annotated[OpenAIConfig, Tag("=openai")],
    Discriminator(_kind),
]


@dataclass(config=STRICT)
class AnnotateConfig:
    """conf/annotate.yaml"""

    domain: DomainConfig
    provider: AnyProvider
    file: FilePath
    output_file: FilePath
    mode: Mode
    action: Action
    resume: Resume
    retry: Retry
    limit: Positive | None
    max_cost: Dollars | None
    dry_run: Flag
