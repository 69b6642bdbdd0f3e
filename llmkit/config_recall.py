"""Schema of the stage `recall`."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, Count, DomainConfig, FilePath, Int, Positive, Share, Text, Weight
from llmkit.config_model import ModelConfig
from llmkit.config_train import Seconds


@dataclass(config=STRICT)
class RecallConfig:
    """conf/recall.yaml"""

    domain: DomainConfig
    model: ModelConfig
    adapter: Text
    train: FilePath
    limit: Positive | None
    layer: Count | None
    size: Positive
    neighbours: Positive
    weight: Share
    sharpness: Weight
    tokens_per_row: Positive
    workers: Positive
    seed: Int
    threads: Count
    save_time: Seconds
