"""The mean of adapters that began alike, as an adapter of its own.

average([first, second], folder)

A mean of LoRA weights is one adapter only where all began at the same weights: recipe.py sees to that. The
folder is one that train could have written where the first one's is: its record and card say of what
the weights are the mean. How the shipped adapter was made: docs/training.md.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DONE = "average.json"
_PROMPT = "prompt_config.json"
_COPIED = (
    _PROMPT,
    "chat_template.jinja",
    "answers.json",
    "words.json",
    "metrics.jsonl",
    "loss.png",
)


def average(members: Sequence[Path], folder: Path) -> None:
    """Write the mean of the members' tensors, taken in float32, with the first one's other files.

    Raises LlmkitError when their tensors, their scaling or their prompts are not alike.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from llmkit.errors import LlmkitError
    from llmkit.model_adapter import CONFIG, WEIGHTS, check_adapter
    from llmkit.output import sha256
    from llmkit.staged import Staged
    from llmkit.train_files import TRAINING, card

    for member in members:
        check_adapter(member)
    first, *others = members
    for member in others:
        if _shape(member / CONFIG) != _shape(first / CONFIG):
            raise LlmkitError(f"{member} and {first} have other LoRA options: no mean of them")
        if _prompt(member) != _prompt(first):
            raise LlmkitError(f"{member} and {first} were trained with other prompts")
    found = [load_file(member / WEIGHTS) for member in members]
    for member, tensors in zip(others, found[1:], strict=True):
        shapes = [{name: t.shape for name, t in each.items()} for each in (tensors, found[0])]
        if shapes[0] != shapes[1]:
            raise LlmkitError(f"{member} and {first} have other tensors: no mean of them")
    mean = {
        name: torch.stack([each[name].float() for each in found]).mean(0).to(tensor.dtype)
        for name, tensor in found[0].items()
    }
    with Staged(folder) as staged:
        save_file(mean, staged.path(WEIGHTS), metadata={"format": "pt"})
        shutil.copyfile(first / CONFIG, staged.path(CONFIG))
        for name in _COPIED:
            if (first / name).is_file():
                shutil.copyfile(first / name, staged.path(name))
        of = [{"folder": str(member), "sha256": sha256(member / WEIGHTS)} for member in members]
        staged.path(DONE).write_text(json.dumps({"of": of}, indent=2) + "\n", encoding="utf-8")
        lines = [f"- {one['folder']} (`{one['sha256']}`)" for one in of]
        told = "\n".join(["# Mean of adapters", "", "The mean of the weights of:", "", *lines, ""])
        if (first / TRAINING).is_file():
            training = json.loads((first / TRAINING).read_text(encoding="utf-8")) | {"averaged": of}
            told = card(training, {})
            text = json.dumps(training, indent=2) + "\n"
            staged.path(TRAINING).write_text(text, encoding="utf-8")
        staged.path("README.md").write_text(told, encoding="utf-8")
        staged.commit()


def _shape(path: Path) -> Mapping[str, Any]:
    """What the weights mean depends on these."""
    config = json.loads(path.read_text(encoding="utf-8"))
    keys = ("peft_type", "base_model_name_or_path", "r", "lora_alpha", "use_rslora", "use_dora",
            "rank_pattern", "alpha_pattern")  # fmt: skip
    kept = {key: config.get(key) for key in keys}
    targets = config.get("target_modules")
    return {**kept, "targets": sorted(targets) if isinstance(targets, list) else targets}


def _prompt(folder: Path) -> Any:
    path = folder / _PROMPT
    if not path.is_file():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    told["options"] = {"wording": True} | told.get("options", {})  # older adapters do not say so
    return told
