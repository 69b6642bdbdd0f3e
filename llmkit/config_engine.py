"""Schemas of the group `engine`: how much is generated at once."""

from __future__ import annotations

from enum import Enum

from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, Count, Flag, Positive


@dataclass(config=STRICT)
class EngineConfig:
    """conf/engine/batch.yaml and gpu.yaml: batches, for evaluation"""

    max_batch: Positive
    max_batch_tokens: Positive
    share_prefix: Flag
    threads: Positive | None


class Weights(Enum):
    """How a CPU holds bfloat16 weights; see scheduler_linear.py."""

    plain = "plain"
    packed = "packed"
    int8 = "int8"


@dataclass(config=STRICT)
class ServeEngineConfig:
    """conf/engine/serve.yaml: requests that come and go, for a server"""

    max_batch: Positive
    max_cache_tokens: Positive
    prefix_tokens: Count
    block: Positive
    prefill_tokens: Positive
    queue: Positive
    weights: Weights
    threads: Positive | None
