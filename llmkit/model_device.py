"""Which device and which numbers a model is loaded with, and quietly.

    from llmkit.model_device import choose_device, choose_dtype

`auto` takes the first GPU where there is one, and bfloat16 where the device computes in it: a CPU
without AVX512_BF16 or AMX emulates it, several times slower than float32.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config_model import Dtype, ModelConfig, Quantization
from llmkit.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    import torch

_CPUINFO = Path("/proc/cpuinfo")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "avx10_bf16", "bf16"}  # `bf16` is Arm's


def choose_device(cfg: ModelConfig) -> torch.device:
    """The device of `cfg.device`. Raises ConfigError when it is not there."""
    import torch

    if cfg.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(cfg.device)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = f"only {count} GPU(s)" if count else "no GPU that torch can use"
            raise ConfigError(
                f"model.device={cfg.device}: there is {there} here\n"
                "use model.device=auto or model.device=cpu"
            )
    return device


def choose_dtype(cfg: ModelConfig, device: torch.device) -> torch.dtype:
    """The dtype of `cfg.dtype` for `device`."""
    import torch

    if cfg.dtype is not Dtype.auto:
        chosen: torch.dtype = getattr(torch, cfg.dtype.value)
        return chosen
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = cpu_has_bf16(_CPUINFO.read_text() if _CPUINFO.is_file() else "")
    return torch.bfloat16 if native else torch.float32


def has_windows(model: Any) -> bool:
    """Whether some layer attends to the last tokens alone, by the model's config."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return set(kinds) != {"full_attention"}
    window = getattr(config, "sliding_window", None)
    return bool(window and getattr(config, "use_sliding_window", True))


def cpu_has_bf16(cpuinfo: str) -> bool:
    """Whether the text of /proc/cpuinfo names instructions for bfloat16 products."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return not _BF16_FLAGS.isdisjoint(value.split())
    return False


def quantization_config(cfg: ModelConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """What from_pretrained takes as quantization_config; None for none.

    Raises ConfigError on a CPU, MissingExtra where bitsandbytes is not installed.
    """
    if cfg.quantization is Quantization.none:
        return None
    asked = f"model.quantization={cfg.quantization.value}"
    if device.type != "cuda":
        raise ConfigError(
            f"{asked} needs a GPU, and the device is {device}\nuse model.quantization=none"
        )
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise MissingExtra("quant", asked, "bitsandbytes")
    import transformers

    build: Any = transformers.BitsAndBytesConfig  # untyped

    if cfg.quantization is Quantization.eight:
        return build(load_in_8bit=True)
    return build(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and logging advice; errors are still raised.

    peft reads an attribute that transformers 5.24 deprecates: not a user's business either.
    """
    import transformers

    logging: Any = transformers.utils.logging  # untyped
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning
            )
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


@contextlib.contextmanager
def no_gguf_bar() -> Iterator[None]:
    """The GGUF reader draws its own bar, which follows no setting."""
    from transformers import modeling_gguf_pytorch_utils as reader

    bar = getattr(reader, "tqdm", None)
    if bar is None:
        yield
        return
    setattr(reader, "tqdm", partial(bar, disable=True))  # noqa: B010  a re-exported name
    try:
        yield
    finally:
        setattr(reader, "tqdm", bar)  # noqa: B010
