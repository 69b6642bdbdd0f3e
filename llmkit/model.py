"""The base model, its tokenizer and an adapter, loaded from what the group `model` names.

    from llmkit.model import load_model
    loaded = load_model(cfg.model, adapter)

Three sources: a GGUF file inside a Python package (the default; see model_package.py), a local
folder or hub id that was downloaded before, and `tiny`, a random model for tests. Nothing here
reaches for the network, runs a repository's code, or reads pickled weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config_model import ModelConfig, Source
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
_END = 1 << 20  # bytes


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
        with _reading(cfg, folder):
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
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
    quantization = quantization_config(cfg, device, dtype)
    tokenizer = load_tokenizer(cfg)
    model = _base(cfg, device, dtype, quantization)
    # peft would write this path into adapters, and look for it on a hub.
    model.config._name_or_path = model.name_or_path = ""
    if quantization is not None and trainable:
        import peft

        prepare: Any = peft.prepare_model_for_kbit_training  # untyped
        model = prepare(model, use_gradient_checkpointing=False)
    if adapter is not None:
        model = attach(model, adapter, trainable=trainable)
        if cfg.merge and not trainable and quantization is None:
            model = model.merge_and_unload()
    if not trainable:
        model.requires_grad_(False)
        model.eval()
    return Loaded(model, tokenizer, device, dtype, cfg, adapter)


def _base(cfg: ModelConfig, device: torch.device, dtype: torch.dtype, quantization: Any) -> Any:
    if cfg.source is not Source.tiny:
        return _from_folder(cfg, _folder(cfg), device, dtype, quantization)
    from llmkit.model_tiny import tiny_model

    if cfg.seed is None:
        raise ConfigError("model.seed: source=tiny needs a number")
    with _reading(cfg, "this process"):
        model: Any = tiny_model(cfg.seed, dtype, cfg.attention)
    if quantization is None:
        return model.to(device)
    with tempfile.TemporaryDirectory() as folder:  # weights are quantized while they are read
        model.save_pretrained(folder)
        return _from_folder(cfg, Path(folder), device, dtype, quantization)


def _from_folder(
    cfg: ModelConfig, folder: Path, device: torch.device, dtype: torch.dtype, quantization: Any
) -> Any:
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {}
    if device.type != "cpu":
        options["device_map"] = {"": device}
    if quantization is not None:
        options["quantization_config"] = quantization
    read: Any = AutoModelForCausalLM.from_pretrained  # its stub: a model alone
    with _reading(cfg, folder):
        model, info = read(
            str(folder),
            dtype=dtype,
            attn_implementation=cfg.attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    if info["missing_keys"]:  # transformers would go on with random weights
        names = sorted(info["missing_keys"])
        raise ConfigError(
            f"the model {cfg.name} in {folder} lacks {len(names)} weights, such as {names[0]}"
        )
    return model


@contextlib.contextmanager
def _reading(cfg: ModelConfig, place: Path | str) -> Iterator[None]:
    """Quietly read a model that a person named; what does not work is one line."""
    try:
        with quiet():
            yield
    except Exception as error:  # OSError, ValueError, ImportError, bare Exception of tokenizers, …
        text = str(error).strip().splitlines()
        reason = text[0] if text else type(error).__name__
        fetch = _download(cfg) if cfg.source is Source.hub and not _named_folder(cfg) else None
        fix = f"\nif it is incomplete: {fetch}" if fetch else ""
        raise ConfigError(
            f"the model {cfg.name} in {place} cannot be loaded: {reason}{fix}"
        ) from error


def _named_folder(cfg: ModelConfig) -> Path | None:
    """The local folder that cfg.id names, if it names one."""
    folder = Path(cfg.id).expanduser() if cfg.id else None
    return folder if folder is not None and folder.is_dir() else None


def _folder(cfg: ModelConfig) -> Path:
    """Where the files of a model lie that is not tiny."""
    if cfg.source is Source.package:
        from llmkit.model_package import dense_copy

        return dense_copy(cfg)
    if cfg.id is None:
        raise ConfigError("model.id: source=hub needs a hub id or a local folder")
    named = _named_folder(cfg)
    if named is not None:
        return named
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
        folder = _folder(cfg)
        if _named_folder(cfg):
            found |= {"id": cfg.id, "revision": None, "fingerprint": _fingerprint(folder)}
        else:  # hub caches name a snapshot's folder by its commit
            found |= {"id": cfg.id, "revision": cfg.revision, "commit": folder.name}
    else:
        found |= {"seed": cfg.seed}
    return found


def _fingerprint(folder: Path) -> str:
    """A digest of names, sizes and both ends of each file: gigabytes need not be read through."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")]):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(_END))
            stream.seek(max(size - _END, 0))
            digest.update(stream.read())
    return digest.hexdigest()


def _need_packages() -> None:
    from importlib.util import find_spec

    for package in ("torch", "transformers", "peft", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra("train", "a model", package)
