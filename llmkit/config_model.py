"""Schema of the group `model`: which base model, and how it is loaded.

Every stage that needs a model has `- model: smollm2_135m` in its defaults list and a field
`model: ModelConfig`; the values are in conf/model/*.yaml.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, FilePath, Flag, Int, Text


class Source(Enum):
    """Where the weights come from."""

    package = "package"  # a GGUF file inside an installed Python package
    hub = "hub"  # a folder, or a Hugging Face id that was downloaded before
    tiny = "tiny"  # made in the process, random; for tests


class Dtype(Enum):
    """The numbers that weights are held in; auto is bfloat16 where the device computes in it."""

    auto = "auto"
    bfloat16 = "bfloat16"
    float16 = "float16"
    float32 = "float32"


class Quantization(Enum):
    """Weights in fewer bits, through bitsandbytes."""

    none = "none"
    eight = "8bit"
    four = "4bit"


Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


@dataclass(config=STRICT)
class ModelConfig:
    """conf/model/*.yaml.

    `package`, `file` and `sha256` are for source=package, `id` and `revision` for source=hub,
    `seed` for source=tiny; the others are null.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    source: Source
    package: str | None
    file: str | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    id: Text | None
    revision: Text | None
    dtype: Dtype
    device: Device
    quantization: Quantization
    attention: str
    merge: Flag
    chat_template: FilePath | None
    seed: Int | None
