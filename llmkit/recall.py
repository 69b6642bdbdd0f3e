"""Let an adapter ask the nearest training prompts, command or text.

    python -m llmkit.recall adapter=trained/mine

Reads the snapshots' prompts with the adapter's model, up to a layer in its middle, and writes what it
made of them, with what was due at each, as recall.safetensors into the adapter's folder. Whoever answers
with the adapter (evaluate, serve, chat) asks it from then on: docs/recall.md. A run that is interrupted
goes on where it stopped. In several processes: `torchrun --nproc-per-node N -m llmkit.recall …`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config_recall import RecallConfig
from llmkit.errors import ConfigError, LlmkitError, MissingExtra
from llmkit.model_adapter import RECALL, WEIGHTS, adapter_path
from llmkit.stage import run_info, stage

if TYPE_CHECKING:
    import torch

    from llmkit.model import Loaded
    from llmkit.prompt import Example
    from llmkit.recall_store import Tap
    from llmkit.train_loop import Team

_PARTS = ".recall"  # checkpoints, in the adapter's folder
_ASKED = 4000  # prompts that are tried against those of other conversations


@dataclass(frozen=True)
class RecallSummary:
    """What was made. `right`: how often the nearest prompts of other conversations say what was due."""

    file: Path
    prompts: int
    commands: int
    right: float


def recall(cfg: RecallConfig) -> RecallSummary:
    """Make recall.safetensors as `cfg` says.

    Raises:
        ConfigError: no adapter, no data, or a layer that the model does not have.
        MissingExtra: packages for training are not installed.
        RecordError: a snapshot breaks its schema.
        LlmkitError: commands that do not begin alike, or fewer than two kinds of answers.
    """
    from importlib.util import find_spec

    for package in ("torch", "transformers", "peft", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra("train", "recall", package)
    import torch

    from llmkit.train_loop import team

    adapter = adapter_path(cfg.adapter, domain=cfg.domain.name, model=cfg.model.name)
    if adapter is None:
        raise ConfigError("adapter=none has no training prompts: name an adapter's folder")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    cuda = cfg.model.device != "cpu" and torch.cuda.is_available()
    with team(cuda) as crew:
        return _make(cfg, adapter, crew)


def _make(cfg: RecallConfig, adapter: Path, crew: Team) -> RecallSummary:
    import torch

    from llmkit.model import load_model, load_tokenizer
    from llmkit.output import sha256, write_whole
    from llmkit.prompt import saved_renderer
    from llmkit.recall_store import Recall, Settings, check_layer, layers_of
    from llmkit.train_data import read
    from llmkit.train_files import check_writable, note_recall
    from llmkit.train_tree import rows

    if crew.leads:
        check_writable(adapter)
    made = saved_renderer(load_tokenizer(cfg.model), adapter)
    loaded = load_model(cfg.model, adapter)
    layer = round(0.6 * len(layers_of(loaded.model))) - 1 if cfg.layer is None else cfg.layer
    check_layer(loaded.model, layer)
    corpus = read(cfg.train, made, limit=cfg.limit, seed=cfg.seed, workers=cfg.workers)
    opener = _opener(corpus.examples)
    kept = _different(corpus.examples)
    examples = [_asked(corpus.examples[index]) for index in kept]
    found = list(rows(examples, range(len(examples)), cfg.tokens_per_row))
    if crew.leads:
        print(
            f"{cfg.train}: {len(corpus.examples):,} snapshots with {len(kept):,} different prompts, "
            f"{len(corpus.dropped):,} dropped",
            *corpus.dropped[:3], sep="\n  ", file=sys.stderr, flush=True,
        )  # fmt: skip
    if len(found) < crew.size:
        raise ConfigError(f"{len(found)} rows for {crew.size} processes: take fewer processes")
    weights = sha256(adapter / WEIGHTS)
    own = _fingerprint(cfg, loaded, layer, crew.size, examples, weights)
    part = adapter / _PARTS / f"{crew.rank}.safetensors"
    states = _states(cfg, loaded, examples, found[crew.rank :: crew.size], layer, part, own, crew)
    if crew.size > 1:
        torch.distributed.barrier()
    if crew.leads:
        states = _gathered(adapter / _PARTS, found, crew.size, states)
    order = [index for row in found for index in row]
    commands = torch.tensor([not corpus.examples[kept[index]].is_text for index in order])
    conversations = [corpus.conversations[kept[index]] for index in order]
    file = adapter / RECALL
    right = 0.0
    if crew.leads:
        settings = Settings(layer, opener, cfg.neighbours, cfg.weight, cfg.sharpness, -1.0)
        store = Recall.of(states, commands, settings, cfg.size)
        right, least = store.judged(conversations, _ASKED, cfg.seed)
        store.settings = replace(settings, least=least)
        about = {
            "adapter": weights, "data": corpus.sha256, "prompts": len(order),
            "commands": int(commands.sum()), "conversations": len(set(conversations)),
            "right": round(right, 4), "command": _command(crew.size),
        }  # fmt: skip
        write_whole(file, store.to_bytes(about))
        shutil.rmtree(adapter / _PARTS, ignore_errors=True)
        note_recall(adapter)
        print(
            f"{file}: {len(order):,} prompts of {about['conversations']:,} conversations, "
            f"{about['commands']:,} with a command; the nearest of other conversations are right for "
            f"{right:.1%}",
            file=sys.stderr,
        )
    return RecallSummary(file, len(order), int(commands.sum()), right)


def _command(processes: int) -> str:
    launcher = "python" if processes == 1 else f"torchrun --nproc-per-node {processes}"
    return " ".join([f"{launcher} -m llmkit.recall", *run_info()["overrides"]])


def _opener(examples: Sequence[Example]) -> int:
    """The token that each command begins with, and no text. Raises LlmkitError where there is none."""
    first = {
        is_text: {e.ids[e.prompt_length] for e in examples if e.is_text is is_text}
        for is_text in (False, True)
    }
    if not first[True] or not first[False]:
        raise LlmkitError(
            "the nearest prompts need commands and texts: the data has one kind alone"
        )
    if len(first[False]) > 1 or first[False] & first[True]:
        raise LlmkitError("commands do not all begin with one token that no text begins with")
    return next(iter(first[False]))


def _different(examples: Sequence[Example]) -> list[int]:
    """Examples whose prompt or kind of answer differs, sorted by their tokens."""
    kinds = {(tuple(e.ids[: e.prompt_length]), e.is_text): n for n, e in enumerate(examples)}
    return [number for _, number in sorted(kinds.items())]


def _asked(example: Example) -> Example:
    """A prompt, with one token behind it, whose place is where the answer begins."""
    return replace(example, ids=example.ids[: example.prompt_length + 1])


def _fingerprint(
    cfg: RecallConfig,
    loaded: Loaded,
    layer: int,
    processes: int,
    examples: Sequence[Example],
    weights: str,
) -> str:
    """A digest of all that decides the states and their order."""
    from llmkit.model import model_identity

    about = [
        model_identity(cfg.model), weights, str(loaded.dtype), loaded.device.type,
        cfg.model.quantization.value, cfg.model.merge, layer, processes, cfg.tokens_per_row,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for example in examples:
        digest.update(array("q", [len(example.ids), *example.ids]).tobytes())
    return digest.hexdigest()


def _states(
    cfg: RecallConfig,
    loaded: Loaded,
    examples: Sequence[Example],
    found: Sequence[Sequence[int]],
    layer: int,
    part: Path,
    own: str,
    crew: Team,
) -> torch.Tensor:
    """What the layer makes of the prompts of the rows `found`, [prompts, hidden], in their order."""
    import torch
    from safetensors.torch import save

    from llmkit.output import write_whole
    from llmkit.recall_store import Tap, layers_of
    from llmkit.train_show import Rows
    from llmkit.train_tree import use_trees

    done, parts = _kept(part, own, found)
    trees = use_trees(loaded.model, loaded.device)
    tap = Tap(loaded.model, layer)
    del layers_of(loaded.model)[layer + 1 :]  # what lies above is not needed
    loaded.model.config.num_hidden_layers = layer + 1
    saved_at = time.perf_counter()

    def keep() -> None:
        about = {"fingerprint": own, "rows": str(done)}
        write_whole(part, save({"states": torch.cat(parts)}, metadata=about))

    with torch.inference_mode(), Rows(len(found), done, shown=crew.leads) as progress:
        for row in found[done:]:
            chosen = [examples[index] for index in row]
            for group in [chosen] if trees else [[example] for example in chosen]:
                parts.append(_read(loaded, group, tap))
            done += 1
            progress.step()
            if time.perf_counter() - saved_at > cfg.save_time:
                keep()
                saved_at = time.perf_counter()
    if crew.size > 1:
        keep()
    return torch.cat(parts)


def _read(loaded: Loaded, row: Sequence[Example], tap: Tap) -> torch.Tensor:
    """The tapped layer's output at the prompts' ends, float32 [examples, hidden].

    Raises LlmkitError where it is not finite.
    """
    import torch

    from llmkit.recall_store import decoder_of
    from llmkit.train_tree import BLOCK, Forest, laid_out, mask

    forest = Forest.of(row)
    length = len(forest.ids)
    if len(row) > 1:
        length = -(-length // BLOCK) * BLOCK
    ids, positions, ends = laid_out([forest], length)
    more: dict[str, Any] = {}
    if len(row) > 1:
        more["position_ids"] = positions.to(loaded.device)
        more["attention_mask"] = mask(ends.to(loaded.device), loaded.dtype)
    decoder_of(loaded.model)(input_ids=ids.to(loaded.device), use_cache=False, **more)
    states = tap.state[0, torch.tensor(forest.where, device=loaded.device)].cpu().float()
    if not states.isfinite().all():
        raise LlmkitError("the model's states are not finite: try model.dtype=float32")
    return states


def _kept(part: Path, own: str, found: Sequence[Sequence[int]]) -> tuple[int, list[torch.Tensor]]:
    """Rows and states of an interrupted run with the same fingerprint."""
    from safetensors import SafetensorError, safe_open

    if part.is_file():
        try:
            with safe_open(str(part), "pt") as file:
                about = file.metadata()
                states = file.get_tensor("states")
            done = int(about["rows"])
            if about["fingerprint"] == own and len(states) == sum(map(len, found[:done])):
                print(f"going on after {done:,} rows of {part}", file=sys.stderr)
                return done, [states]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            print(f"{part} is not used: {error}", file=sys.stderr)
    return 0, []


def _gathered(
    folder: Path, found: Sequence[Sequence[int]], size: int, alone: torch.Tensor
) -> torch.Tensor:
    """The states of all processes, in the order of `found`."""
    import torch
    from safetensors import safe_open

    if size == 1:
        return alone
    pieces: list[torch.Tensor] = [torch.empty(0)] * len(found)
    for rank in range(size):
        with safe_open(str(folder / f"{rank}.safetensors"), "pt") as file:
            states = file.get_tensor("states")
        lengths = [len(row) for row in found[rank::size]]
        for place, piece in enumerate(states.split(lengths)):
            pieces[rank + place * size] = piece
    return torch.cat(pieces)


main = stage("recall", recall, schema=RecallConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
