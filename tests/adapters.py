"""Adapters for tests, as peft writes them, made without it: random numbers of a seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WIDE, NARROW, INNER = 64, 32, 160  # of the tiny model: hidden, keys and values, inside the mlp
SIZES = {
    "self_attn.q_proj": (WIDE, WIDE),
    "self_attn.k_proj": (WIDE, NARROW),
    "self_attn.v_proj": (WIDE, NARROW),
    "self_attn.o_proj": (WIDE, WIDE),
    "mlp.gate_proj": (WIDE, INNER),
    "mlp.up_proj": (WIDE, INNER),
    "mlp.down_proj": (INNER, WIDE),
}  # in and out


def write_adapter(
    folder: Path, seed: int, *, rank: int = 4, layers: tuple[str, ...] = tuple(SIZES), **config: Any
) -> Path:
    """An adapter of the tiny model that changes what it says; `config` goes into its config."""
    rng = np.random.default_rng(seed)
    weights = {}
    for number in range(2):
        for name in layers:
            wide, out = SIZES[name]
            head = f"base_model.model.model.layers.{number}.{name}"
            down = rng.normal(0, 0.2, (rank, wide))
            up = rng.normal(0, 0.3, (out, rank))
            weights[f"{head}.lora_A.weight"] = down.astype(np.float32)
            weights[f"{head}.lora_B.weight"] = up.astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors")
    values = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny",
        "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0, "bias": "none",
        "target_modules": [name.partition(".")[2] for name in layers], **config,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return folder
