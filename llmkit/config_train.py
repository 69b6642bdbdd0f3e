"""Schemas of the stage `train` and of its groups lora, optim, data and tracker."""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from llmkit.config import (
    STRICT,
    Count,
    DomainConfig,
    FilePath,
    Flag,
    Int,
    Positive,
    Resume,
    Share,
    Text,
    Weight,
)
from llmkit.config_model import ModelConfig
from llmkit.config_prompt import PromptOptions

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(value: Any) -> Any:
    """90, "90s", "8m" or "2h" as seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", value.strip())
        if match is None:
            raise ValueError("should be seconds, or a number with s, m or h")
        return float(match[1]) * _UNITS[match[2]]
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]
Above = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Schedule(Enum):
    """How the learning rate goes after the warm-up."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"
    wsd = "wsd"  # constant, then down to the end over the last part


class Compile(Enum):
    """Whether the model's layers are compiled before training."""

    auto = "auto"
    always = "always"
    never = "never"


class Tracking(Enum):
    """Where figures go besides metrics.jsonl."""

    none = "none"
    trackio = "trackio"
    mlflow = "mlflow"


@dataclass(config=STRICT)
class LoraConfig:
    """conf/lora/*.yaml"""

    r: Positive
    alpha: Above
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    targets: Text | Annotated[list[Text], Field(min_length=1)]
    rslora: Flag
    dora: Flag
    from_layer: Count


@dataclass(config=STRICT)
class OptimConfig:
    """conf/optim/*.yaml"""

    lr: Above
    weight_decay: Weight
    betas: Annotated[list[Share], Field(min_length=2, max_length=2)]
    schedule: Schedule
    warmup: Share
    decay: Share
    final_lr: Share
    grad_clip: Above | None
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)]
    text_weight: Annotated[float, Field(gt=0.0, le=1.0)]
    text_head: Positive
    first_weight: Above


@dataclass(config=STRICT)
class DataConfig:
    """conf/data/*.yaml"""

    train: FilePath
    eval: FilePath | None
    held_out: Share
    limit: Positive | None
    eval_limit: Positive | None
    per_conversation: Positive | None
    per_answer: Positive | None
    share_prefixes: Flag
    tokens_per_row: Positive
    tokens_per_batch: Positive
    tokens_per_step: Positive
    workers: Positive

    @property
    def row(self) -> int:
        """The most tokens of a row: never more than a batch or a step may have."""
        return min(self.tokens_per_row, self.tokens_per_batch, self.tokens_per_step)


@dataclass(config=STRICT)
class TrackerConfig:
    """conf/tracker/*.yaml"""

    kind: Tracking
    project: Text
    run: Text | None


@dataclass(config=STRICT)
class TrainConfig:
    """conf/train.yaml"""

    domain: DomainConfig
    model: ModelConfig
    prompt: PromptOptions
    lora: LoraConfig
    optim: OptimConfig
    data: DataConfig
    tracker: TrackerConfig
    output_dir: FilePath
    adapter: Text
    resume: Resume
    seed: Int
    epochs: Positive
    max_steps: Positive | None
    max_time: Seconds | None
    gradient_checkpointing: Flag
    compile: Compile
    eval_every: Positive | None
    patience: Positive | None
    save_every: Positive | None
    save_time: Seconds | None
    log_every: Positive
    threads: Count
