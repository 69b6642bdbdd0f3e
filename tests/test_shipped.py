"""The adapter that llmkit ships: it fits its model and its prompt, and says what it was measured at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmkit.model import adapter_path
from llmkit.toolkit import find_toolkit

FOLDER = find_toolkit().data / "adapters" / "installer-smollm2-135m"
CONTEXT = """## Current System State

- Boot mode: UEFI
- Network: Connected
- Hostname: archiso
- Timezone: not set

## Available Disks

- /dev/sda: 465.8G (Samsung SSD 870 EVO)"""


def test_it_is_what_shipped_means() -> None:
    """adapter=shipped, for the default domain and model."""
    assert adapter_path("shipped", domain="installer", model="smollm2-135m") == FOLDER


def test_it_is_complete_and_small() -> None:
    """All that train writes, 24 MB at most, and scores in the card."""
    names = {path.name for path in FOLDER.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "prompt_config.json",
            "training.json", "README.md", "scores.json", "words.json"} <= names  # fmt: skip
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 24_000_000
    card = (FOLDER / "README.md").read_text()
    for scores in json.loads((FOLDER / "scores.json").read_text()).values():
        for score in scores.values():
            assert f"{score['mean']:.1%}" in card


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any, Any]:
    """Model, renderer and engine with the adapter."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from llmkit.config_evaluate import EvaluateConfig
    from llmkit.domain import get_domain
    from llmkit.evaluate import local
    from llmkit.stage_errors import validated

    with initialize_config_dir(version_base="1.3", config_dir=str(find_toolkit().conf)):
        values: Any = OmegaConf.to_container(compose("evaluate"), resolve=True)
    made = local(validated(EvaluateConfig, values), get_domain("installer"), FOLDER)
    return made.engine.loaded, made.renderer, made.engine


def test_it_lists_the_disks(loaded: tuple[Any, Any, Any]) -> None:
    """The simplest wish, by its own prompt, greedily, gets a command that only reads."""
    from llmkit.generate import Request
    from llmkit.installer import SystemState, check_command
    from llmkit.reply import parse_reply

    _, renderer, engine = loaded
    ids = renderer.prompt_ids([{"role": "user", "content": "list the disks"}], CONTEXT)
    (done,) = engine.generate([Request(tuple(ids), 64)])
    reply = parse_reply(done.text)
    assert reply.command is not None, done.text
    verdict = check_command(reply.command, SystemState.from_context(CONTEXT))
    assert verdict.allowed and verdict.danger == "read"


def test_training_can_be_repeated() -> None:
    """The card names the command and the data's hashes."""
    training = json.loads((FOLDER / "training.json").read_text())
    assert training["command"].startswith(("python -m llmkit.train ", "torchrun "))
    assert " -m llmkit.train " in training["command"]
    assert training["data"]["train"]["sha256"]
    assert Path(FOLDER / "adapter_model.safetensors").stat().st_size > 1_000_000
