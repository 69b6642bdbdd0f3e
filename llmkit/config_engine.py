"""Schemas of the group `engine`: how much is generated at once."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from pydantic import Discriminator, Tag
from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, Count, Flag, Positive


@dataclass(config=STRICT)
class EngineConfig:
    """conf/engine/batch.yaml and gpu.yaml: batches, for evaluation"""

    max_batch: Positive
    max_batch_tokens: Positive
    share_prefix: Flag
    threads: Positive | None
    recall: Flag


class Weights(Enum):
    """How a CPU holds bfloat16 weights; see scheduler_linear.py."""

    plain = "plain"
    packed = "packed"
    int8 = "int8"


@dataclass(config=STRICT)
class ServeEngineConfig:
    """conf/engine/serve.yaml and continuous.yaml: requests that come and go"""

    max_batch: Positive
    max_cache_tokens: Positive
    prefix_tokens: Count
    block: Positive
    prefill_tokens: Positive
    queue: Positive
    guess: Count
    weights: Weights
    common_heads: Flag
    threads: Positive | None
    recall: Flag


def _kind(value: Any) -> str:
    if isinstance(value, EngineConfig | ServeEngineConfig):
        return "=serve" if isinstance(value, ServeEngineConfig) else "=batch"
    return "=serve" if "max_cache_tokens" in value else "=batch"


# Either, told apart by what it has. (stage_errors leaves out the parts of a path that begin with =.)
AnyEngineConfig = Annotated[
    Annotated[EngineConfig, Tag("=batch")] | Annotated[ServeEngineConfig, Tag("=serve")],
    Discriminator(_kind),
]
