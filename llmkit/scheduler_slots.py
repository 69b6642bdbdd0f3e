"""The keys and values of running requests, one slot a request, and attention over them.

    from llmkit.scheduler_slots import Slots, Step, attending

A slot is a stretch of a preallocated buffer, so a step appends in place and neighbouring slots are
one batch: nothing is gathered or concatenated. The model is called with the tokens of all requests
in one row; the registered attention function writes their keys, then goes slot by slot through
prompts that are being read, and through neighbouring slots that decode together.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

ATTENTION = "llmkit_slots"
_running = threading.local()  # .step: what the model in this thread computes, if it is ours


@dataclass(frozen=True, slots=True)
class Shape:
    """What one token leaves in the cache."""

    layers: int
    heads: int  # of keys and values
    key: int  # size of a head's key
    value: int


class Slots:
    """Buffers of `tokens` tokens in all; `count` slots of `width` tokens each."""

    def __init__(
        self, shape: Shape, tokens: int, width: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shape = shape
        self.tokens = tokens
        # Zeros: what lies behind a slot's end is read under a mask, and must be finite.
        many = tokens * shape.heads
        self._keys = torch.zeros((shape.layers, many * shape.key), dtype=dtype, device=device)
        self._values = torch.zeros((shape.layers, many * shape.value), dtype=dtype, device=device)
        self._divide(width)

    def _divide(self, width: int) -> None:
        heads = self.shape.heads
        self.width = width
        self.count = self.tokens // width
        used = self.count * heads * width
        # [layers, slots, heads, width, size]
        shape = (self.shape.layers, self.count, heads, width)
        self.keys = self._keys[:, : used * self.shape.key].view(*shape, -1)
        self.values = self._values[:, : used * self.shape.value].view(*shape, -1)

    def divide(self, width: int, kept: Mapping[int, tuple[int, int]]) -> None:
        """Make slots of another width; kept[old] = (new, tokens) says what goes where."""
        keys, values = self.keys, self.values
        self._divide(width)
        for layer in range(self.shape.layers):  # one at a time: the copies stay small
            moved = [
                (
                    new,
                    end,
                    keys[layer, old, :, :end].clone(),
                    values[layer, old, :, :end].clone(),
                )
                for old, (new, end) in kept.items()
            ]
            for new, end, key, value in moved:
                self.keys[layer, new, :, :end] = key
                self.values[layer, new, :, :end] = value


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens of one slot in a step: `count` of them, the first at `position`."""

    slot: int
    position: int
    count: int


@dataclass(slots=True)
class _Group:
    """Parts that are attended to together: one long part, or single tokens of neighbouring slots."""

    start: int  # the first token of the step that is meant
    slot: int
    slots: int
    count: int  # of tokens, of each slot
    end: int  # of the longest
    positions: torch.Tensor  # [slots, count]
    masks: dict[int | None, torch.Tensor | None] = field(default_factory=dict)

    def mask(self, window: int | None) -> torch.Tensor | None:
        """Which keys are seen: bool [slots, 1, count, end], or None where all are."""
        if window not in self.masks:
            self.masks[window] = self._mask(window)
        return self.masks[window]

    def _mask(self, window: int | None) -> torch.Tensor | None:
        if self.slots == self.count == 1 and (window is None or self.end <= window):
            return None
        place = torch.arange(self.end, device=self.positions.device)
        query = self.positions[:, None, :, None]
        seen = place <= query
        if window is not None:
            seen &= place > query - window
        return seen


class Step:
    """One call of the model: the tokens of some slots, each part behind what its slot holds.

    `parts` of single tokens should be sorted by their slots: neighbours are computed together.
    """

    def __init__(self, slots: Slots, parts: Sequence[Part]) -> None:
        self.slots = slots
        device = slots.keys.device
        flat = [place for p in parts for place in range(p.position, p.position + p.count)]
        owners = [p.slot for p in parts for _ in range(p.count)]
        self.positions = torch.tensor(flat, device=device)  # [tokens]
        owner = torch.tensor(owners, device=device)
        heads = torch.arange(slots.shape.heads, device=device)[:, None]
        # [heads × tokens]: where each head's key goes in a layer, [slots × heads × width, size]
        self.places = ((owner * slots.shape.heads + heads) * slots.width + self.positions).flatten()
        self.groups: list[_Group] = []
        start = 0
        for part in parts:
            last = self.groups[-1] if self.groups else None
            end = part.position + part.count
            here = self.positions[None, start : start + part.count]
            if (
                last is not None
                and part.count == last.count == 1
                and part.slot == last.slot + last.slots
            ):
                last.slots += 1
                last.end = max(last.end, end)
                last.positions = torch.cat([last.positions, here])
            else:
                self.groups.append(_Group(start, part.slot, 1, part.count, end, here))
            start += part.count


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a step's tokens (1, heads, tokens, size) to their slots, keys written first.

    The result is (1, tokens, heads, size), as transformers takes it. Outside of a step: sdpa.
    """
    step: Step | None = getattr(_running, "step", None)
    if step is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rest
        )
    layer = module.layer_idx
    keys, values = step.slots.keys[layer], step.slots.values[layer]
    size = key.shape[-1]
    keys.view(-1, size).index_copy_(0, step.places, key.reshape(-1, size))
    values.view(-1, value.shape[-1]).index_copy_(0, step.places, value.reshape(-1, value.shape[-1]))
    parts = []
    for group in step.groups:
        many = group.slots * group.count
        asked = query[0, :, group.start : group.start + many]  # [heads, many, size]
        asked = asked.reshape(-1, group.slots, group.count, size).transpose(0, 1)
        held = slice(group.slot, group.slot + group.slots)
        out = scaled_dot_product_attention(
            asked,
            keys[held, :, : group.end],
            values[held, :, : group.end],
            attn_mask=group.mask(sliding_window),
            scale=scaling,
            enable_gqa=True,
        )  # [slots, heads, count, size]
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).unsqueeze(0), None


def _mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """transformers' mask of a model that uses `attention`: none in a step."""
    if getattr(_running, "step", None) is not None:
        return None
    from transformers.masking_utils import sdpa_mask

    return sdpa_mask(*args, **kwargs)


def install(model: Any) -> None:
    """Have the model attend by `attention`. Outside of steps it computes what sdpa does."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, _mask)
    model.set_attn_implementation(ATTENTION)


@contextlib.contextmanager
def attending(step: Any) -> Iterator[None]:
    """What the model computes in this thread is the tokens of `step`."""
    _running.step = step
    try:
        yield
    finally:
        _running.step = None
