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
from torch.nn.functional import pad, scaled_dot_product_attention

ATTENTION = "llmkit_slots"
# Keys are read to a multiple of this, the last under a mask: then torch's kernel sums up in the same
# order whatever the longest neighbour is, and answers do not depend on it, to the bit.
ROUND = 64
# A step of more tokens is filled up to a multiple of this, and so is each piece of a prompt where it
# attends: oneDNN and torch make code for every number of rows that they meet, and torch never drops
# what it made for attention. Few numbers, little code. AMX computes 16 rows at a time anyhow.
ROWS = 16
# Keys that need not be read again (tokens of a head that slots share, but for one of them) from
# which on attention in two parts is faster: 2 at least half, by benchmarks of one layer.
WORTH = 4096
_flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
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
    last: int  # where the longest ends
    positions: torch.Tensor  # [slots, rows]
    dtype: torch.dtype
    rows: int = 1  # of queries of each slot: count, filled up
    end: int = 0  # how far keys are read
    even: bool = True  # all end at the same position
    head: int = 0  # first tokens that are the same in all slots, and are read once
    masks: dict[int | None, torch.Tensor | None] = field(default_factory=dict)

    def mask(self, window: int | None) -> torch.Tensor | None:
        """What is added to scores, [slots, 1, rows, end]; None where all keys are seen."""
        if window not in self.masks:
            self.masks[window] = self._mask(window)
        return self.masks[window]

    def _mask(self, window: int | None) -> torch.Tensor | None:
        exact = self.count == 1 and self.even and self.last == self.end
        if exact and (window is None or self.end <= window):
            return None
        place = torch.arange(self.end, device=self.positions.device)
        query = self.positions[:, None, :, None]
        seen = place <= query
        if window is not None:
            seen &= place > query - window
        hidden = torch.zeros(seen.shape, dtype=self.dtype, device=seen.device)
        return hidden.masked_fill_(~seen, -torch.inf)


class Step:
    """One call of the model: the tokens of some slots, each part behind what its slot holds.

    `parts` of single tokens should be sorted by their slots: neighbours are computed together. Behind
    the tokens come `padding` rows of no slot, whose keys are not kept and to which nobody attends.
    """

    def __init__(self, slots: Slots, parts: Sequence[Part]) -> None:
        self.slots = slots
        device, dtype = slots.keys.device, slots.keys.dtype
        flat = [place for p in parts for place in range(p.position, p.position + p.count)]
        owners = [p.slot for p in parts for _ in range(p.count)]
        self.count = len(flat)
        self.padding = filled(self.count) - self.count if self.count > ROWS else 0
        # [tokens + padding]
        self.positions = torch.tensor(flat + [0] * self.padding, device=device)
        owner = torch.tensor(owners, device=device)
        heads = torch.arange(slots.shape.heads, device=device)
        # [tokens × heads]: where a token's keys go in a layer, [slots × heads × width, size]
        rows = owner[:, None] * slots.shape.heads + heads
        self.places = (rows * slots.width + self.positions[: self.count, None]).flatten()
        self.groups: list[_Group] = []
        start = 0
        for part in parts:
            last = self.groups[-1] if self.groups else None
            end = part.position + part.count
            here = self.positions[None, start : start + part.count]
            many = 1 if part.count == 1 else filled(part.count)
            if (
                last is not None
                and part.count == last.count == 1
                and part.slot == last.slot + last.slots
            ):
                last.slots += 1
                last.even &= last.last == end
                last.last = max(last.last, end)
                last.positions = torch.cat([last.positions, here])
            else:
                more = here[:, -1:].expand(1, many - part.count)
                here = torch.cat([here, more], 1)
                group = _Group(start, part.slot, 1, part.count, end, here, dtype, many)
                self.groups.append(group)
            start += part.count
        for group in self.groups:
            group.end = min(-(-group.last // ROUND) * ROUND, slots.width)


def filled(count: int) -> int:
    """The next multiple of ROWS."""
    return -(-count // ROWS) * ROWS


def attend(
    step: Step,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Write a step's keys and values and attend to all of each slot.

    [tokens + step.padding, heads, size] each; of the padding the result is 0.
    """
    keys, values = step.slots.keys[layer], step.slots.values[layer]
    if step.padding:
        key, value = key[: step.count], value[: step.count]
    size, value_size = key.shape[-1], value.shape[-1]
    keys.view(-1, size).index_copy_(0, step.places, key.reshape(-1, size))
    values.view(-1, value_size).index_copy_(0, step.places, value.reshape(-1, value_size))
    parts = []
    for group in step.groups:
        asked = query[group.start : group.start + group.slots * group.count]
        if group.head and window is None:
            parts.append(_headed(group, asked, keys, values, scaling))
            continue
        asked = asked.reshape(group.slots, group.count, -1, size)
        if group.rows > group.count:
            asked = pad(asked, (0, 0, 0, 0, 0, group.rows - group.count))
        held = slice(group.slot, group.slot + group.slots)
        out = scaled_dot_product_attention(
            asked.transpose(1, 2),
            keys[held, :, : group.end],
            values[held, :, : group.end],
            attn_mask=group.mask(window),
            scale=scaling,
            enable_gqa=True,
        ).transpose(1, 2)  # [slots, rows, heads, size]
        parts.append(out[:, : group.count].flatten(0, 1))
    if step.padding:
        parts.append(parts[0].new_zeros((step.padding, *parts[0].shape[1:])))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _headed(
    group: _Group,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """One token a slot, [slots, heads, size]: to the common head at once, then to what is its own.

    Two softmaxes become one by the logarithms of their sums.
    """
    mask, head, end = group.mask(None), group.head, group.end
    held = slice(group.slot, group.slot + group.slots)
    one, one_sum = _flash(
        query.transpose(0, 1)[None],
        keys[group.slot : group.slot + 1, :, :head],
        values[group.slot : group.slot + 1, :, :head],
        scale=scaling,
    )  # [1, heads, slots, size], [1, heads, slots]
    own, own_sum = _flash(
        query[:, :, None],
        keys[held, :, head:end],
        values[held, :, head:end],
        attn_mask=None if mask is None else mask[..., head:],
        scale=scaling,
    )  # [slots, heads, 1, size], [slots, heads, 1]
    share = (one_sum[0].transpose(0, 1)[..., None] - own_sum).sigmoid()
    return torch.lerp(own[:, :, 0], one[0].transpose(0, 1), share.to(own.dtype))


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
    """`attend` as transformers calls it: (1, heads, tokens, size) to (1, tokens, heads, size).

    Outside of a step: sdpa.
    """
    step: Step | None = getattr(_running, "step", None)
    if step is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rest
        )
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    out = attend(step, module.layer_idx, query, key, value, scaling, sliding_window)
    return out.unsqueeze(0), None


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
