"""The model as the scheduler calls it: some tokens of some requests in, logits out.

    from llmkit.scheduler_model import serving_model
    model = serving_model(loaded, cfg)

Two kinds: SlotModel, for models that take an attention function of ours, computes all requests in
one call and keeps what they share; PlainModel, for all others, calls the model once a request.
"""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from llmkit import scheduler_slots
from llmkit.config_engine import ServeEngineConfig, Weights
from llmkit.generate import common_length
from llmkit.model import Loaded
from llmkit.recall_store import Tap, check_layer
from llmkit.scheduler_linear import FEW, lay_out
from llmkit.scheduler_llama import LeanLlama, is_llama
from llmkit.scheduler_prefix import PrefixStore
from llmkit.scheduler_slots import Part, Shape, Slots, Step, attending, filled, install

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Seat:
    """A request's place in the cache."""

    slot: int
    need: int  # tokens, prompt and answer
    length: int = 0  # tokens that are held
    tokens: list[int] = field(default_factory=list)  # those, of SlotModel
    cache: Any = None  # of PlainModel


class ServingModel(Protocol):
    """What the scheduler needs. Sizes are in tokens."""

    limit: int  # of one request, prompt and answer

    @property
    def states(self) -> dict[int, torch.Tensor]:
        """By tapped layer, what it made in the last `forward`: a row for each row of the logits."""

    def tap(self, layer: int) -> None:
        """Keep a layer's output from now on. Raises ConfigError for one that is not there."""

    def take(self, need: int) -> Seat | None:
        """A seat for a request; None while there is no room."""

    def shared(self, tokens: Sequence[int]) -> int:
        """How many first tokens are kept from earlier requests."""

    def load(self, seat: Seat, tokens: Sequence[int]) -> None:
        """Fill a seat with what is kept of `tokens`."""

    def save(self, seat: Seat, tokens: Sequence[int]) -> None:
        """Keep what a seat holds: the first seat.length of `tokens`."""

    def release(self, seat: Seat) -> None:
        """Give a seat back."""

    def forward(
        self, parts: Sequence[tuple[Seat, Sequence[int]]], wanted: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Add tokens to seats; the logits behind the last of each, [parts, vocabulary].

        wanted[i]: behind so many last tokens of the part, [sum(wanted), vocabulary].
        """

    def spare(self, rows: int) -> int:
        """How many more tokens a step of `rows` may have that cost next to nothing.

        Always 0 where `keep` is not possible.
        """

    def keep(self, seat: Seat, length: int) -> None:
        """Only the first `length` tokens of a seat count from now on.

        Until the next `forward` more of those that were there may be kept after all.
        """

    def held(self) -> tuple[int, int]:
        """Tokens in seats and kept ones; and the most that can be."""


class SlotModel:
    """One call for all requests, over preallocated slots."""

    def __init__(
        self, loaded: Loaded, cfg: ServeEngineConfig, shape: Shape, lean: LeanLlama | None
    ) -> None:
        self._model, self._device, self._lean = loaded.model, loaded.device, lean
        self._max_batch = cfg.max_batch
        self._common_heads = cfg.common_heads and loaded.device.type == "cpu"
        self._rounded = cfg.weights is Weights.int8 and loaded.device.type == "cpu"
        self.limit = cfg.max_cache_tokens
        width = cfg.max_cache_tokens // cfg.max_batch
        place = (loaded.dtype, loaded.device)
        self._slots = Slots(shape, cfg.max_cache_tokens, max(width, 1), *place)
        self._store = PrefixStore(shape, cfg.prefix_tokens, cfg.block, *place)
        self._most = cfg.max_cache_tokens + cfg.prefix_tokens
        self._seats: list[Seat] = []
        self._heads: dict[tuple[Seat, ...], int] = {}  # of seats that decode together
        if lean is None:
            install(loaded.model)
        self._taps: dict[int, Tap] = {}
        self.states: dict[int, torch.Tensor] = {} if lean is None else lean.states

    def tap(self, layer: int) -> None:
        check_layer(self._model, layer)
        if self._lean is not None:
            self._lean.taps.add(layer)
        elif layer not in self._taps:
            self._taps[layer] = Tap(self._model, layer)

    def take(self, need: int) -> Seat | None:
        taken = {seat.slot for seat in self._seats}
        free = next((slot for slot in range(self._count()) if slot not in taken), None)
        if need > self._slots.width or free is None:
            longest = max([need, *(seat.need for seat in self._seats)])
            count = min(self._max_batch, self.limit)
            while self.limit // count < longest:
                count = -(-count // 2)
            if len(self._seats) >= count:
                return None
            self._divide(self.limit // count)
            free = len(self._seats)
        seat = Seat(free, need)
        self._seats.append(seat)
        return seat

    def _count(self) -> int:
        return min(self._max_batch, self._slots.count)

    def _divide(self, width: int) -> None:
        self._seats.sort(key=lambda seat: seat.slot)
        kept = {seat.slot: (new, seat.length) for new, seat in enumerate(self._seats)}
        self._slots.divide(width, kept)
        for new, seat in enumerate(self._seats):
            seat.slot = new

    def shared(self, tokens: Sequence[int]) -> int:
        return self._store.match(tokens)[0]

    def load(self, seat: Seat, tokens: Sequence[int]) -> None:
        length, blocks = self._store.match(tokens)
        self._store.load(blocks, length, self._slots, seat.slot)
        seat.length = length
        seat.tokens = list(tokens[:length])

    @torch.inference_mode()
    def save(self, seat: Seat, tokens: Sequence[int]) -> None:
        self._store.save(tokens[: seat.length], self._slots, seat.slot)

    def release(self, seat: Seat) -> None:
        self._seats.remove(seat)

    def spare(self, rows: int) -> int:
        if self._rounded and rows <= FEW:
            return FEW - rows
        return filled(rows) - rows

    def keep(self, seat: Seat, length: int) -> None:
        seat.length = length

    def forward(
        self, parts: Sequence[tuple[Seat, Sequence[int]]], wanted: Sequence[int] | None = None
    ) -> torch.Tensor:
        # Single tokens first, by slot: neighbours are computed together.
        order = sorted(range(len(parts)), key=lambda i: (len(parts[i][1]) > 1, parts[i][0].slot))
        chosen = [parts[place] for place in order]
        step = Step(self._slots, [Part(s.slot, s.length, len(ids)) for s, ids in chosen])
        for group in step.groups:
            if self._common_heads and group.count == 1:
                seats = tuple(s for s, _ in chosen[group.start : group.start + group.slots])
                group.head = self._head(seats)
        tokens = [token for _, ids in chosen for token in ids] + [0] * step.padding
        flat = torch.tensor(tokens, device=self._device)
        many = [1] * len(parts) if wanted is None else wanted
        last = list(itertools.accumulate(len(ids) for _, ids in chosen))
        ends: list[list[int]] = [[]] * len(parts)  # of each part, in the given order
        for place, end in zip(order, last, strict=True):
            ends[place] = list(range(end - many[place], end))
        flat_ends = [end for part in ends for end in part]
        logits = self._logits(step, flat, torch.tensor(flat_ends, device=self._device))
        for seat, ids in chosen:
            seat.tokens[seat.length :] = ids
            seat.length += len(ids)
        return logits

    def _head(self, seats: tuple[Seat, ...]) -> int:
        """How many first tokens seats share, if it pays to read them once."""
        longest = max(seat.length for seat in seats)
        if (len(seats) - 1) * longest < scheduler_slots.WORTH:
            return 0
        if seats not in self._heads:
            if len(self._heads) > 64:
                self._heads.clear()
            first = seats[0].tokens
            self._heads[seats] = min(
                common_length(first[: seat.length], seat.tokens[: seat.length]) for seat in seats
            )
        head = self._heads[seats]
        return head if (len(seats) - 1) * head >= scheduler_slots.WORTH else 0

    def _logits(self, step: Step, flat: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        if self._lean is not None:
            return self._lean(step, flat, ends)
        with attending(step):
            out = self._model(
                input_ids=flat[None],
                position_ids=step.positions[None],
                use_cache=False,
                logits_to_keep=ends,
            )
        for layer, tap in self._taps.items():
            self.states[layer] = tap.state[0, ends]
        logits: torch.Tensor = out.logits[0]
        return logits

    def held(self) -> tuple[int, int]:
        return sum(seat.length for seat in self._seats) + self._store.held, self._most


class PlainModel:
    """One call a request, each with transformers' own cache; nothing is shared."""

    def __init__(self, loaded: Loaded, cfg: ServeEngineConfig) -> None:
        self._model, self._device = loaded.model, loaded.device
        self._max_batch = cfg.max_batch
        self.limit = cfg.max_cache_tokens
        self._seats: list[Seat] = []
        self._cache = _cache_argument(loaded.model)
        self._taps: dict[int, Tap] = {}
        self.states: dict[int, torch.Tensor] = {}

    def tap(self, layer: int) -> None:
        if layer not in self._taps:
            self._taps[layer] = Tap(self._model, layer)

    def take(self, need: int) -> Seat | None:
        used = sum(seat.need for seat in self._seats)
        if len(self._seats) >= self._max_batch or used + need > self.limit:
            return None
        from transformers import DynamicCache

        seat = Seat(0, need, cache=DynamicCache(config=self._model.config))
        self._seats.append(seat)
        return seat

    def shared(self, tokens: Sequence[int]) -> int:
        return 0

    def load(self, seat: Seat, tokens: Sequence[int]) -> None:
        pass

    def save(self, seat: Seat, tokens: Sequence[int]) -> None:
        pass

    def release(self, seat: Seat) -> None:
        self._seats.remove(seat)

    def spare(self, rows: int) -> int:
        return 0

    def keep(self, seat: Seat, length: int) -> None:
        assert seat.length == length

    def forward(
        self, parts: Sequence[tuple[Seat, Sequence[int]]], wanted: Sequence[int] | None = None
    ) -> torch.Tensor:
        assert wanted is None or set(wanted) == {1}
        logits = []
        states: dict[int, list[torch.Tensor]] = {layer: [] for layer in self._taps}
        for seat, ids in parts:
            out = self._model(
                input_ids=torch.tensor([list(ids)], device=self._device),
                use_cache=True,
                **{self._cache: seat.cache},
            )
            logits.append(out.logits[0, -1])
            for layer, tap in self._taps.items():
                states[layer].append(tap.state[0, -1])
            seat.length += len(ids)
        self.states = {layer: torch.stack(found) for layer, found in states.items()}
        return torch.stack(logits)

    def held(self) -> tuple[int, int]:
        return sum(seat.length for seat in self._seats), self.limit


def serving_model(loaded: Loaded, cfg: ServeEngineConfig) -> ServingModel:
    """SlotModel where it computes what the model itself does, else PlainModel.

    `loaded.model` is the scheduler's from now on: its attention changes, and where weights are
    packed it cannot be called otherwise any more.
    """
    with torch.inference_mode():
        shape = _shape(loaded)
        if shape is not None:
            wanted = _own_logits(loaded)
            # Small ones are tried first: the buffers of a real one may be large.
            if is_llama(loaded.model):
                lean = LeanLlama(loaded.model)
                if _agrees(loaded, shape, lean, wanted):
                    lean.pack(cfg.weights)
                    return SlotModel(loaded, cfg, shape, lean)
            if _agrees(loaded, shape, None, wanted):
                lay_out(loaded.model, cfg.weights)
                return SlotModel(loaded, cfg, shape, None)
            loaded.model.set_attn_implementation(loaded.config.attention)
        lay_out(loaded.model, cfg.weights)
    log.warning("%s: requests are computed one by one, without reuse", loaded.config.name)
    return PlainModel(loaded, cfg)


def _cache_argument(model: Any) -> str:
    # transformers 5.24 renamed it
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _shape(loaded: Loaded) -> Shape | None:
    """What a token leaves in the cache, if all layers are of the same kind."""
    from transformers import DynamicCache

    model = loaded.model
    if not getattr(model, "_supports_attention_backend", False):
        return None
    cache = DynamicCache(config=model.config)
    ids = torch.zeros((1, 1), dtype=torch.long, device=loaded.device)
    model(input_ids=ids, use_cache=True, **{_cache_argument(model): cache})
    found = set()
    for layer in cache.layers:
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if keys is None or values is None or keys.ndim != 4:
            return None
        found.add((keys.shape[1], keys.shape[3], values.shape[3], keys.dtype))
    if len(found) != 1:
        return None
    heads, key, value, dtype = found.pop()
    return Shape(len(cache.layers), heads, key, value) if dtype == loaded.dtype else None


def _prompts(loaded: Loaded) -> list[list[int]]:
    size = loaded.model.config.get_text_config().vocab_size
    return [[(7 * n + 3) % size for n in range(9)], [n % size for n in range(5)]]


def _own_logits(loaded: Loaded) -> torch.Tensor:
    """What the model itself makes of two prompts, [2, vocabulary]."""
    made = [
        loaded.model(input_ids=torch.tensor([ids], device=loaded.device)).logits[0, -1]
        for ids in _prompts(loaded)
    ]
    return torch.stack(made).float()


def _agrees(loaded: Loaded, shape: Shape, lean: LeanLlama | None, wanted: torch.Tensor) -> bool:
    """Whether a small SlotModel that reads both prompts in pieces makes the same of them."""
    one, two = _prompts(loaded)
    try:
        cfg = ServeEngineConfig(2, 32, 0, 4, 8, 1, 0, Weights.plain, False, None, False)
        small = SlotModel(loaded, cfg, shape, lean)
        seats = [small.take(16), small.take(16)]
        assert seats[0] is not None and seats[1] is not None
        small.forward([(seats[0], one[:4]), (seats[1], two[:4])])
        small.forward([(seats[0], one[4:8])])
        made = small.forward([(seats[0], one[8:]), (seats[1], two[4:])]).float()
    except Exception:  # whatever a model of an unknown kind does
        log.debug("slots do not work for %s", loaded.config.name, exc_info=True)
        return False
    far = (made - wanted).norm() / wanted.norm()
    return bool(far < (1e-3 if loaded.dtype == torch.float32 else 0.1))
