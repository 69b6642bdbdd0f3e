"""Schema of conf/cases.yaml: which held-out snapshots become test cases."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, DomainConfig, FilePath, Int, Positive, Text


@dataclass(config=STRICT)
class CasesConfig:
    """conf/cases.yaml. `category` and `limit` null: all."""

    domain: DomainConfig
    file: FilePath
    output_file: FilePath
    category: Text | None
    limit: Positive | None
    seed: Int
