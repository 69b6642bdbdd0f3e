"""The base model, its tokenizer and an adapter, loaded from what the group `model` names.

    from llmkit.model import load_model
    loaded = load_model(cfg.model, adapter)

Three sources: a GGUF file inside a Python package (the default; see model_package.py), a local
folder or hub id that was downloaded before, and `tiny`, a random model for tests. Nothing here
reaches for the network, runs a repository's code, or reads pickled weights.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config_model import ModelConfig, Quantization, Source
from llmkit.errors import ConfigError, MissingExtra
from llmkit.model_adapter import adapter_path, attach, save_adapter
from llmkit.model_device import choose_device, choose_dtype, quantization_config, quiet
from llmkit.toolkit import find_toolkit

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

__all__ = [
    "Loaded",
    "adapter_path",
    "load_model",
    "load_tokenizer",
    "model_identity",
    "save_adapter",
]

FALLBACK_TEMPLATE = "chat_fallback.jinja"


@dataclass
class Loaded:
    """A model that is ready to run.

    `model` is a transformers model, or a PeftModel around one where an adapter was not merged.
    """

    model: Any
    tokenizer: PreTrainedTokenizerFast
    device: torch.device
    dtype: torch.dtype
    config: ModelConfig
    adapter: Path | None


def load_tokenizer(cfg: ModelConfig) -> PreTrainedTokenizerFast:
    """The model's tokenizer, with a chat template.

    Raises ConfigError when the model is not there.
    """
    _need_packages()
    if cfg.source is Source.tiny:
        from llmkit.model_tiny import tiny_tokenizer

        tokenizer: Any = tiny_tokenizer()
    else:
        from transformers import AutoTokenizer

        folder = _folder(cfg)
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(
                    str(folder), local_files_only=True, trust_remote_code=False
                )
        except (OSError, ValueError) as error:
            raise _unreadable(cfg, folder, error) from error
    if cfg.chat_template is not None:
        tokenizer.chat_template = _template(cfg.chat_template)
    elif not tokenizer.chat_template:
        tokenizer.chat_template = _template(Path(FALLBACK_TEMPLATE))
    return tokenizer


def load_model(cfg: ModelConfig, adapter: Path | None = None, *, trainable: bool = False) -> Loaded:
    """The base model with its tokenizer, and with the adapter in the folder `adapter`.

    For running (the default) all weights are frozen, the model is in eval mode, and the adapter is
    folded into the weights where cfg.merge says so and they are not quantized. With `trainable` the
    adapter's weights require gradients; without an adapter the base is as it was loaded, prepared
    for k-bit training where it is quantized.

    Raises:
        ConfigError: the model or the device is not there, or the adapter does not fit.
        MissingExtra: torch, transformers, peft or bitsandbytes is needed and not installed.
    """
    _need_packages()
    device = choose_device(cfg)
    dtype = choose_dtype(cfg, device)
    quantization = quantization_config(cfg, device)
    tokenizer = load_tokenizer(cfg)
    if cfg.source is Source.tiny and quantization is None:
        from llmkit.model_tiny import tiny_model

        model: Any = tiny_model(_seed(cfg), dtype, cfg.attention)
        model = model.to(device)
    elif cfg.source is Source.tiny:
        from llmkit.model_tiny import tiny_model

        with tempfile.TemporaryDirectory() as folder, quiet():
            tiny_model(_seed(cfg), dtype, cfg.attention).save_pretrained(folder)
            model = _from_folder(cfg, Path(folder), device, dtype, quantization)
    else:
        model = _from_folder(cfg, _folder(cfg), device, dtype, quantization)
    # peft would write this path into adapters, and look for it on a hub.
    model.config._name_or_path = model.name_or_path = ""
    if quantization is not None and trainable:
        import peft

        prepare: Any = peft.prepare_model_for_kbit_training  # untyped
        model = prepare(model, use_gradient_checkpointing=False)
    if adapter is not None:
        model = attach(model, adapter, trainable=trainable)
        if cfg.merge and not trainable and cfg.quantization is Quantization.none:
            model = model.merge_and_unload()
    if not trainable:
        model.requires_grad_(False)
        model.eval()
    return Loaded(model, tokenizer, device, dtype, cfg, adapter)


def _from_folder(
    cfg: ModelConfig, folder: Path, device: torch.device, dtype: torch.dtype, quantization: Any
) -> Any:
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {}
    if device.type != "cpu":
        options["device_map"] = {"": device}
    if quantization is not None:
        options["quantization_config"] = quantization
    try:
        with quiet():
            return AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=dtype,
                attn_implementation=cfg.attention,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                **options,
            )
    except (OSError, ValueError, ImportError) as error:
        raise _unreadable(cfg, folder, error) from error


def _seed(cfg: ModelConfig) -> int:
    if cfg.seed is None:
        raise ConfigError("model.seed: source=tiny needs a number")
    return cfg.seed


def _folder(cfg: ModelConfig) -> Path:
    """The local folder of a model that is not tiny."""
    if cfg.source is Source.package:
        from llmkit.model_package import dense_copy

        return dense_copy(cfg)
    if cfg.id is None:
        raise ConfigError("model.id: source=hub needs a hub id or a local folder")
    folder = Path(cfg.id).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(cfg.id, "config.json", revision=cfg.revision)
    except HFValidationError:
        raise ConfigError(f"model.id={cfg.id}: no such folder, and no hub id") from None
    if not isinstance(config, str):
        raise ConfigError(f"the model {cfg.id} is not on this machine: {_download(cfg)}")
    return Path(config).parent


def _download(cfg: ModelConfig) -> str:
    revision = f" --revision {cfg.revision}" if cfg.revision not in (None, "main") else ""
    return f"hf download {cfg.id}{revision}"


def _unreadable(cfg: ModelConfig, folder: Path, error: Exception) -> ConfigError:
    reason = str(error).strip().splitlines()[0]
    fix = ""
    if cfg.source is Source.hub and cfg.id is not None and not Path(cfg.id).expanduser().is_dir():
        fix = f"\nif it is incomplete: {_download(cfg)}"
    return ConfigError(f"the model {cfg.name} in {folder} cannot be loaded: {reason}{fix}")


def _template(name: Path) -> str:
    """A chat template: a file of templates/, or a path."""
    places = [find_toolkit().templates / name, name]
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise ConfigError(f"no chat template {name}; looked for {places[0]} and {places[1].absolute()}")


def model_identity(cfg: ModelConfig) -> dict[str, Any]:
    """What tells this model from others, as JSON; for manifests."""
    found: dict[str, Any] = {"name": cfg.name, "source": cfg.source.value}
    if cfg.source is Source.package:
        found |= {"package": cfg.package, "file": cfg.file, "sha256": cfg.sha256}
    elif cfg.source is Source.hub:
        found |= {"id": cfg.id, "revision": cfg.revision}
    else:
        found |= {"seed": cfg.seed}
    return found


def _need_packages() -> None:
    from importlib.util import find_spec

    for package in ("torch", "transformers", "peft", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra("train", "a model", package)
