"""LoRA adapters: find a folder, put it on a base model, write one.

    from llmkit.model_adapter import adapter_path, attach, save_adapter

Weights are read from safetensors only. A key that does not fit the base model is an error: peft
alone would go on with random or missing weights and a warning.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import ConfigError
from llmkit.output import write_whole
from llmkit.toolkit import find_toolkit

if TYPE_CHECKING:
    import torch
    from torch import nn

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
RECALL = "recall.safetensors"  # see recall_store.py
_SHOWN = 3  # keys that an error names


def adapter_path(value: str, *, domain: str, model: str) -> Path | None:
    """What `adapter=VALUE` means: none, shipped (with the toolkit), or a folder.

    Raises ConfigError when the folder holds no adapter.
    """
    if value == "none":
        return None
    if value == "shipped":
        folder = find_toolkit().data / "adapters" / f"{domain}-{model}"
        if not folder.is_dir():
            raise ConfigError(
                f"no adapter is shipped for domain {domain} and model {model} ({folder})\n"
                "train one (python -m llmkit.train) and name its folder, or use adapter=none"
            )
    else:
        folder = Path(value).expanduser()
    check_adapter(folder)
    return folder


def check_adapter(folder: Path) -> None:
    """Raises ConfigError, with the reason, when `folder` is no adapter that can be read."""
    if not folder.is_dir():
        raise ConfigError(f"adapter={folder}: no such folder")
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"adapter={folder}: no adapter there, {CONFIG} is missing")
    if not (folder / WEIGHTS).is_file():
        pickled = (folder / "adapter_model.bin").exists()
        why = "; adapter_model.bin is not read, a pickle can run code" if pickled else ""
        raise ConfigError(f"adapter={folder}: {WEIGHTS} is missing{why}")


def attach(base: nn.Module, folder: Path, *, trainable: bool) -> Any:
    """`base` with the adapter of `folder`, as a PeftModel.

    For training its weights are float32 (peft's rule beside a bfloat16 base) and require
    gradients; otherwise they have the base's dtype.

    Raises ConfigError when the adapter cannot be read or does not fit.
    """
    import peft
    import torch
    from safetensors.torch import load_file

    from llmkit.model_device import quiet

    check_adapter(folder)
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        given = load_file(folder / WEIGHTS)
    except Exception as error:  # bad JSON, unknown types, a cut file: each library has its own
        raise ConfigError(f"adapter={folder}: cannot be read: {_first_line(error)}") from error
    config.inference_mode = not trainable
    try:
        # peft draws weights that the file's replace; the caller's random state is not for that.
        with quiet(), torch.random.fork_rng(devices=[]):
            model = peft.PeftModelForCausalLM(base, config, autocast_adapter_dtype=trainable)
    except Exception as error:  # modules that the base lacks, values of wrong types
        raise ConfigError(f"adapter={folder} does not fit: {_first_line(error)}") from error
    due = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    problems = misfits(
        {key: tuple(value.shape) for key, value in due.items()},
        {key: tuple(value.shape) for key, value in given.items()},
    )
    if problems:
        raise ConfigError("\n".join([f"adapter={folder} does not fit the base model:", *problems]))
    peft.set_peft_model_state_dict(model, given)
    return model


def misfits(due: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> list[str]:
    """A line for each way in which the shapes `given` by a file are not those that are `due`."""
    wrong = [
        f"{key} is {list(given[key])}, not {list(shape)}"
        for key, shape in due.items()
        if key in given and given[key] != shape
    ]
    lines = [
        ("not in the base model", [key for key in given if key not in due]),
        ("missing from the adapter", [key for key in due if key not in given]),
        ("of another shape", wrong),
    ]
    return [f"{len(found)} {what}: {_some(found)}" for what, found in lines if found]


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f", … and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def save_adapter(
    model: Any, folder: Path, base_name: str, dtype: torch.dtype | None = None
) -> None:
    """Write adapter_model.safetensors and adapter_config.json of a PeftModel into `folder`.

    The same weights give the same bytes. The config names the base as `base_name`, not by a path of
    this machine, and no hub is asked. Weights are rounded to `dtype` where one is given.
    """
    import peft
    from safetensors.torch import save

    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {key: state[key].detach().to("cpu", dtype).contiguous() for key in sorted(state)}
    values = model.peft_config[model.active_adapter].to_dict()
    values |= {"base_model_name_or_path": base_name, "inference_mode": True}
    config = json.dumps(values, indent=2, sort_keys=True, default=_plain)
    write_whole(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_whole(folder / CONFIG, config + "\n")


def _plain(value: Any) -> Any:
    """Sets (their order is a matter of chance) and enums, for JSON."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value.value)
