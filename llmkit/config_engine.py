"""Schema of the group `engine`: how much is generated at once."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, Flag, Positive


@dataclass(config=STRICT)
class EngineConfig:
    """conf/engine/*.yaml"""

    max_batch: Positive
    max_batch_tokens: Positive
    share_prefix: Flag
    threads: Positive | None
