"""Schema of conf/chat.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from llmkit.config import STRICT, Positive

Seconds = Annotated[float, Field(gt=0.0, le=86400.0)]


@dataclass(config=STRICT)
class ClientConfig:
    """How the server is asked. `tries` counts the first one."""

    connect_seconds: Seconds
    answer_seconds: Seconds
    tries: Positive
    wait_seconds: Seconds
    longest_wait_seconds: Seconds
