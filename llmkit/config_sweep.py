"""Schema of the stage `sweep`: train's config, and what a job's score is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, FilePath, Positive
from llmkit.config_engine import AnyEngineConfig
from llmkit.config_train import TrainConfig


@dataclass(config=STRICT)
class SweepConfig(TrainConfig):
    """conf/sweep.yaml. `weights` maps scorers to what they count in the score; `alpha` null
    leaves lora.alpha as it is."""

    engine: AnyEngineConfig
    cases: FilePath | None
    limit: Positive | None
    max_tokens: Positive
    weights: Annotated[dict[str, Annotated[float, Field(ge=0.0)]], Field(min_length=1)]
    alpha: Annotated[float, Field(gt=0)] | Literal["twice"] | None
    bootstrap: Positive
