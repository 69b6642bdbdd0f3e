"""Several LoRA adapters over one base model, in one batch: each row of a step gets its adapter's part.

    scheduler = AdapterScheduler(loaded, cfg.engine, stop_ids, folders)
    scheduler.submit(Request(scheduler.ids_for(1, ids), …))    # 0: the base, 1: the first folder

The base's weights are there once, packed as without adapters; an adapter adds its own, and two small
products a layer for its rows. A token's number says whose it is: adapter k's are its id plus k times
the size of the vocabulary. So whatever compares tokens (prefixes that are kept, heads that are read
once) keeps adapters apart, and the embedding tells the layers which rows are whose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llmkit.config_engine import ServeEngineConfig
from llmkit.errors import ConfigError
from llmkit.model import Loaded
from llmkit.model_adapter import CONFIG, attach, check_adapter
from llmkit.scheduler import Scheduler

if TYPE_CHECKING:
    from llmkit.recall_store import Recall
    from llmkit.scheduler_llama import LeanLlama
    from llmkit.scheduler_model import Seat, ServingModel

_PROBE = 9  # tokens that each adapter is tried with at the start


@dataclass(frozen=True, slots=True)
class Part:
    """What an adapter adds to a layer: rows @ down @ up."""

    down: torch.Tensor  # [in, rank]
    up: torch.Tensor  # [rank, out], scaled


class AdapterScheduler(Scheduler):
    """A scheduler whose requests each have an adapter, or none."""

    def __init__(
        self,
        loaded: Loaded,
        cfg: ServeEngineConfig,
        stop_ids: frozenset[int],
        folders: Sequence[Path],
    ) -> None:
        """Raises ConfigError for an adapter that does not fit, or is more than LoRA."""
        embedding = loaded.model.get_input_embeddings()
        self._size = int(embedding.num_embeddings)
        probe = torch.tensor([[(7 * n + 3) % self._size for n in range(_PROBE)]])
        known = dict(loaded.model.named_modules())
        parts, wanted = [], []
        for folder in folders:
            found, logits = _read(loaded, folder, probe)
            parts.append(found)
            wanted.append(logits)
        super().__init__(loaded, cfg, stop_ids)
        self._deltas = Deltas(self._size)
        lean: LeanLlama | None = getattr(self._model, "_lean", None)
        self._model = Apart(self._model, self._size)
        embedding.register_forward_pre_hook(self._deltas.see)
        for module, names in _layers(loaded.model, lean, known):
            own = [_joined(found, names, known) for found in parts]
            if any(part is not None for part in own):
                module.register_forward_hook(self._deltas.adder([None, *own]))
        for number, (folder, logits) in enumerate(zip(folders, wanted, strict=True), 1):
            self._try(number, folder, probe[0].tolist(), logits)
            self._prime(folder)
            self._remember(number, folder)

    def ids_for(self, adapter: int, ids: Sequence[int]) -> tuple[int, ...]:
        """A request's tokens for an adapter."""
        return tuple(token + adapter * self._size for token in ids)

    def _recall_of(self, row: Any) -> Recall | None:
        return self._recalls.get(row.request.ids[0] // self._size)

    def _plain(self, ids: Sequence[int]) -> list[int]:
        return [token % self._size for token in ids]

    @torch.inference_mode()
    def _try(self, number: int, folder: Path, ids: list[int], wanted: torch.Tensor) -> None:
        """Whether rows of this adapter are what peft itself makes of them."""
        seat = self._model.take(len(ids) + 1)
        assert seat is not None
        try:
            own = self.ids_for(number, ids)
            self._model.forward([(seat, own[:4])])
            made = self._model.forward([(seat, own[4:])])[0].float().cpu()
        finally:
            self._model.release(seat)
        far = float((made - wanted).norm() / wanted.norm())
        if not far < (1e-3 if self.loaded.dtype == torch.float32 else 0.1):
            raise ConfigError(
                f"adapters: {folder} cannot be served beside others: its answers would differ from"
                f" those that it gives alone (by {far:.2g}); serve it as adapter="
            )


class Apart:
    """A serving model of plain tokens, for tokens with an adapter. See llmkit.scheduler_model."""

    def __init__(self, inner: ServingModel, size: int) -> None:
        self._inner, self._size, self.limit = inner, size, inner.limit
        self._owners: dict[Seat, int] = {}

    @property
    def states(self) -> dict[int, torch.Tensor]:
        return self._inner.states

    def tap(self, layer: int) -> None:
        self._inner.tap(layer)

    def take(self, need: int) -> Seat | None:
        return self._inner.take(need)

    def shared(self, tokens: Sequence[int]) -> int:
        return self._inner.shared(tokens)

    def load(self, seat: Seat, tokens: Sequence[int]) -> None:
        self._inner.load(seat, tokens)

    def save(self, seat: Seat, tokens: Sequence[int]) -> None:
        """The prompt says whose it is; what was generated is the same adapter's."""
        self._inner.save(seat, self._owned(tokens, tokens[0] // self._size))

    def release(self, seat: Seat) -> None:
        self._owners.pop(seat, None)
        self._inner.release(seat)

    def spare(self, rows: int) -> int:
        return self._inner.spare(rows)

    def keep(self, seat: Seat, length: int) -> None:
        self._inner.keep(seat, length)

    def forward(
        self, parts: Sequence[tuple[Seat, Sequence[int]]], wanted: Sequence[int] | None = None
    ) -> torch.Tensor:
        owned = []
        for seat, ids in parts:  # a seat's first are of its prompt
            owner = self._owners.setdefault(seat, ids[0] // self._size)
            owned.append((seat, self._owned(ids, owner)))
        return self._inner.forward(owned, wanted)

    def held(self) -> tuple[int, int]:
        return self._inner.held()

    def _owned(self, ids: Sequence[int], owner: int) -> list[int]:
        first = owner * self._size
        return [token % self._size + first for token in ids]


class Deltas:
    """Adds what the adapters of a step's rows add. For the thread that steps."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows = 0
        self._groups: list[tuple[int, slice | torch.Tensor]] = []  # adapter and its rows

    def see(self, module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Before the embedding: whose the tokens are; gives it plain ones."""
        ids = args[0]
        owners = (ids.reshape(-1) // self._size).tolist()
        self._rows = len(owners)
        self._groups = []
        for number in sorted(set(owners) - {0}):
            rows = [row for row, owner in enumerate(owners) if owner == number]
            if rows[-1] - rows[0] == len(rows) - 1:
                self._groups.append((number, slice(rows[0], rows[-1] + 1)))
            else:
                self._groups.append((number, torch.tensor(rows, device=ids.device)))
        return (ids % self._size if self._groups else ids, *args[1:])

    def adder(self, parts: Sequence[Part | None]) -> Any:
        """A forward hook for a layer; `parts` by adapter."""

        def add(module: Any, args: tuple[Any, ...], made: torch.Tensor) -> None:
            if not self._groups:
                return
            given = args[0].reshape(-1, args[0].shape[-1])
            out = made.view(-1, made.shape[-1])
            if len(given) != self._rows:
                raise RuntimeError("a layer that does not see every token of a step")
            for number, rows in self._groups:
                part = parts[number]
                if part is None:
                    continue
                more = given[rows].to(part.down.dtype) @ part.down @ part.up
                if isinstance(rows, slice):
                    out[rows].add_(more)
                else:
                    out.index_add_(0, rows, more.to(out.dtype))

        return add


def _read(
    loaded: Loaded, folder: Path, probe: torch.Tensor
) -> tuple[dict[str, Part], torch.Tensor]:
    """An adapter's parts by the names of the layers; and what the model makes of `probe` with it."""
    from peft.tuners.lora import LoraLayer

    # On a CPU a product of so small matrices takes 14 µs in float32, and 87 in bfloat16.
    dtype = torch.float32 if loaded.device.type == "cpu" else loaded.dtype
    _check(folder)
    model: Any = attach(loaded.model, folder, trainable=False)
    try:
        with torch.inference_mode():
            logits = model(input_ids=probe.to(loaded.device)).logits[0, -1].float().cpu()
        found = {}
        for name, module in model.get_base_model().named_modules():
            if not isinstance(module, LoraLayer):
                continue
            if module.lora_embedding_A or module.lora_variant or name.endswith("lm_head"):
                raise _more(folder, f"it changes {name}")
            layer: Any = module
            down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            scale = module.scaling["default"]
            found[name] = Part(
                down.detach().to(dtype).t().contiguous(),
                (up.detach().float() * scale).to(dtype).t().contiguous(),
            )
    finally:
        loaded.model = model.unload()
    if hasattr(loaded.model, "peft_config"):  # a second adapter is not on top of the first
        del loaded.model.peft_config
    loaded.model.requires_grad_(False)
    loaded.model.eval()
    return found, logits


def _check(folder: Path) -> None:
    check_adapter(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind, bias = config.get("peft_type"), config.get("bias", "none")
    except (ValueError, AttributeError):
        return  # `attach` says what is wrong with it
    if kind != "LORA":
        raise _more(folder, f"it is of the kind {kind}")
    for name in ("use_dora", "lora_bias", "modules_to_save", "layer_replication",
                 "trainable_token_indices", "target_parameters"):  # fmt: skip
        if config.get(name):
            raise _more(folder, f"it has {name}")
    if bias != "none":
        raise _more(folder, "it changes biases")


def _more(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        f"adapters: {folder} is more than LoRA of linear layers ({why}); serve it alone, as adapter="
    )


def _layers(
    model: Any, lean: LeanLlama | None, known: Mapping[str, Any]
) -> list[tuple[Any, list[str]]]:
    """What computes linear layers, and the names of those that it computes side by side."""
    if lean is None:  # the layers' own place, whatever stands there by now
        return [(module, [name]) for name, module in model.named_modules() if name in known]
    found = []
    names = {id(module): name for name, module in known.items()}
    for layer, own in zip(model.model.layers, lean._layers, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        for module, members in (
            (own.qkv, (attention.q_proj, attention.k_proj, attention.v_proj)),
            (own.out, (attention.o_proj,)),
            (own.gate_up, (mlp.gate_proj, mlp.up_proj)),
            (own.down, (mlp.down_proj,)),
        ):
            found.append((module, [names[id(member)] for member in members]))
    return found


def _joined(
    parts: Mapping[str, Part], names: Sequence[str], known: Mapping[str, Any]
) -> Part | None:
    """One part for layers side by side: their outputs one behind the other."""
    if not any(name in parts for name in names):
        return None
    if len(names) == 1:
        return parts[names[0]]
    there = [name for name in names if name in parts]
    down = torch.cat([parts[name].down for name in there], 1)
    widths = [known[name].out_features for name in names]
    up = down.new_zeros((down.shape[1], sum(widths)))
    row = column = 0
    for name, width in zip(names, widths, strict=True):
        if name in parts:
            own = parts[name].up
            up[row : row + len(own), column : column + width] = own
            row += len(own)
        column += width
    return Part(down, up)
