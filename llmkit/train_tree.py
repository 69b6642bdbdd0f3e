"""Examples that begin alike, trained in one row: what they share is computed once.

    from llmkit.train_tree import rows, Forest

The snapshots of a conversation repeat its system prompt, the machine and most of the history. A row
holds them as a prefix tree of tokens, in depth-first order; a token attends to its ancestors alone
and has its depth as its position, so each example gives the loss that it gives by itself. The idea
is tree training, as in speculative decoding's token trees, turned to supervised examples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from llmkit.generate import common_length
from llmkit.model_device import has_windows
from llmkit.prompt import Example

BLOCK = 128  # queries whose attention is computed together; widths are multiples of it
ATTENTION = "llmkit_tree"


def rows(examples: Sequence[Example], indices: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Runs of `indices`, sorted by their tokens, whose prefix tree has at most `limit` tokens.

    An example that is longer than `limit` is a row by itself.
    """
    row: list[int] = []
    used = 0
    for index in indices:
        ids = examples[index].ids
        added = len(ids)
        if row:
            added -= common_length(examples[row[-1]].ids, ids)
            if used + added > limit:
                yield row
                row, used, added = [], 0, len(ids)
        row.append(index)
        used += added
    if row:
        yield row


def tokens_of(row: Sequence[Example]) -> int:
    """How many tokens the prefix tree of a row has; its examples are sorted by their tokens."""
    shared = (common_length(one.ids, other.ids) for one, other in itertools.pairwise(row))
    return sum(len(example.ids) for example in row) - sum(shared)


def width(tokens: int, row: int) -> int:
    """The width of a row of `tokens` where only few widths are wanted: multiples of `row` / 2."""
    half = -(-row // 2 // BLOCK) * BLOCK
    return max(-(-tokens // half), 2) * half


@dataclass(slots=True)
class Forest:
    """The prefix trees of the examples in a row, one token a node.

    `ends[i]` is where the subtree of node i ends, so node j is an ancestor of node i (or i itself)
    just if j ≤ i < ends[j]. `where` are the nodes whose next token is supervised, `targets` those
    tokens: a node stands in `where` once for each example that goes through it.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    where: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Forest:
        """The trees of `examples`, which are sorted by their tokens."""
        made = cls()
        path: list[int] = []  # the nodes of the example before
        before: Sequence[int] = ()
        for example in examples:
            shared = common_length(before, example.ids)
            here = len(made.ids)
            for node in path[shared:]:
                made.ends[node] = here
            del path[shared:]
            for depth in range(shared, len(example.ids)):
                path.append(len(made.ids))
                made.ids.append(example.ids[depth])
                made.positions.append(depth)
                made.ends.append(0)
            made.where += path[example.prompt_length - 1 : -1]
            made.targets += example.ids[example.prompt_length :]
            before = example.ids
        for node in path:
            made.ends[node] = len(made.ids)
        return made


def laid_out(
    forests: Sequence[Forest], length: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, positions and ends of rows, padded on the right to `length`: [rows, length] each."""
    ids = torch.zeros((len(forests), length), dtype=torch.long)
    positions = torch.zeros_like(ids)
    ends = torch.arange(1, length + 1).repeat(len(forests), 1)  # padding sees itself
    for row, forest in enumerate(forests):
        count = len(forest.ids)
        ids[row, :count] = torch.tensor(forest.ids)
        positions[row, :count] = torch.tensor(forest.positions)
        ends[row, :count] = torch.tensor(forest.ends)
    return ids, positions, ends


def mask(ends: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to attention's scores, (batch, 1, width, width), from `ends` (batch, width)."""
    place = torch.arange(ends.shape[1], device=ends.device)
    seen = (place[None, None, :] <= place[None, :, None]) & (
        place[None, :, None] < ends[:, None, :]
    )
    hidden = torch.zeros(seen.shape, dtype=dtype, device=ends.device)
    return hidden.masked_fill_(~seen, float("-inf")).unsqueeze(1)


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Attention under a mask that hides all that comes later, block by block of queries.

    Written out in matrix products: on a CPU they run on AMX, which the backward pass of torch's
    fused kernel does not. query (batch, heads, width, size), key and value with as many heads or
    fewer; the result is (batch, width, heads, size), as transformers takes it.
    """
    if attention_mask is None:  # a plain batch
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling, **rest)
    batch, heads, length, size = query.shape
    groups = key.shape[1]
    each = heads // groups
    query = query * (size**-0.5 if scaling is None else scaling)
    query = query.reshape(batch, groups, each, length, size)
    key = key.reshape(batch * groups, length, size)
    value = value.reshape(batch * groups, length, value.shape[-1])
    parts = []
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        part = query[:, :, :, start:end].reshape(batch * groups, each * (end - start), size)
        scores = torch.bmm(part, key[:, :end].transpose(1, 2))
        scores = scores.view(batch, groups, each, end - start, end)
        scores = scores + attention_mask[:, :, None, start:end, :end]
        # The scores' own dtype (autocast would take float32): half the memory.
        shares = torch._softmax(scores, -1, False)
        shares = shares.view(batch * groups, each * (end - start), end)
        part = torch.bmm(shares.to(value.dtype), value[:, :end])
        parts.append(part.view(batch, heads, end - start, value.shape[-1]))
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


def use_trees(model: Any, device: torch.device) -> bool:
    """Have the model attend by `mask`; False where it cannot, or its attention is of another kind
    (windows, capped scores), which `attention` does not know."""
    from transformers import AttentionInterface

    capped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None)
    if has_windows(model) or capped or not getattr(model, "_supports_attention_backend", False):
        return False
    AttentionInterface.register(ATTENTION, attention)
    model.set_attn_implementation(ATTENTION if device.type == "cpu" else "sdpa")
    return True
