"""The tiny model as the tests of serving load it, and the engine that its answers are held against."""

from __future__ import annotations

from pathlib import Path

import yaml

from llmkit.config_engine import EngineConfig
from llmkit.config_model import ModelConfig
from llmkit.generate import Engine
from llmkit.model import Loaded, load_model
from llmkit.stage_errors import validated

ROOT = Path(__file__).resolve().parent.parent
END = 2  # <|im_end|> of the tiny model


def tiny_float32() -> Loaded:
    """In float32, so that sums are the same in any batch but for the last bits."""
    values = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    return load_model(validated(ModelConfig, values | {"dtype": "float32", "device": "cpu"}))


def batch_engine(loaded: Loaded) -> Engine:
    """It answers in batches, a token at a time, and guesses nothing."""
    values = yaml.safe_load((ROOT / "conf/engine/batch.yaml").read_text())
    return Engine(loaded, validated(EngineConfig, values), frozenset({END}))
