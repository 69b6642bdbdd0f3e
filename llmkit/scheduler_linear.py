"""Linear layers laid out for a CPU that decodes: few rows, and all weights read for each token.

    from llmkit.scheduler_linear import lay_out
    lay_out(loaded.model, Weights.int8)

`packed` keeps bfloat16 weights in the order in which oneDNN's kernels read them. `int8` rounds them
to 8 bits with a scale for each output; few rows are then multiplied with half the bytes, many rows
with the rounded weights as packed bfloat16, so that both give the same sums but for last bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from llmkit.config_engine import Weights

FEW = 6  # rows up to which int8 is faster: benchmarks/scheduler.py
_PACKED_ROWS = 16  # what oneDNN lays the weights out for; it takes any number


class ServingLinear(nn.Module):
    """Computes what linear layers of the same input do, their outputs side by side."""

    def __init__(self, linears: Sequence[Any]) -> None:
        super().__init__()
        weight = _stacked([linear.weight.detach() for linear in linears])
        biases = [linear.bias for linear in linears if linear.bias is not None]
        if biases and len(biases) < len(linears):
            raise NotImplementedError("some layers with a bias, some without")
        self.bias = _stacked([bias.detach() for bias in biases]) if biases else None
        self.out_features, self.in_features = weight.shape
        self.weight = weight
        self.packed = False
        self.rounded: tuple[torch.Tensor, torch.Tensor] | None = None

    def pack(self, weights: Weights) -> ServingLinear:
        """Lay the weights out; those other than bfloat16 on a CPU that can stay as they are."""
        if weights is Weights.plain or not _packs(self.weight):
            return self
        weight = self.weight
        if weights is Weights.int8:
            largest = weight.float().abs().amax(1).clamp(min=1e-12)
            scales = (largest / 127).to(weight.dtype)  # [out]
            scale = scales.float()[:, None]
            rounded = (weight.float() / scale).round().clamp(-127, 127).to(torch.int8)
            self.rounded = rounded, scales
            weight = (rounded * scale).to(weight.dtype)
        pack: Any = torch.ops.mkldnn._reorder_linear_weight
        self.weight = pack(weight.contiguous(), _PACKED_ROWS)
        self.packed = True
        return self

    def forward(self, rows: torch.Tensor, plus: torch.Tensor | None = None) -> torch.Tensor:
        """[…, in] to […, out], and `plus` added to it."""
        made: torch.Tensor
        if self.rounded is not None and rows.numel() <= FEW * self.in_features:
            made = torch._weight_int8pack_mm(rows.reshape(-1, self.in_features), *self.rounded)
            made = made.view(*rows.shape[:-1], self.out_features)
            made = made if self.bias is None else made.add_(self.bias)
        elif self.packed:
            multiply: Any = torch.ops.mkldnn._linear_pointwise
            if plus is not None:
                made = multiply.binary(rows, plus, self.weight, self.bias, "add")
                return made
            made = multiply(rows, self.weight, self.bias, "none", [], "")
        else:
            made = nn.functional.linear(rows, self.weight, self.bias)
        return made if plus is None else made.add_(plus)


def _stacked(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _packs(weight: torch.Tensor) -> bool:
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and can_pack()


@lru_cache(maxsize=1)
def can_pack() -> bool:
    """Whether this CPU's oneDNN lays out bfloat16 weights: it refuses without AVX-512 or AVX-NE-CONVERT."""
    there: Any = torch.backends.mkldnn.is_available
    if not there():
        return False
    pack: Any = torch.ops.mkldnn._reorder_linear_weight
    try:
        pack(torch.zeros(32, 32, dtype=torch.bfloat16), _PACKED_ROWS)
    except RuntimeError:
        return False
    return True


def lay_out(model: Any, weights: Weights) -> int:
    """Replace the model's linear layers where that is faster; how many there were."""
    if weights is Weights.plain:
        return 0
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and _packs(child.weight)
    ]
    for parent, name, child in found:
        setattr(parent, name, ServingLinear([child]).pack(weights))
    return len(found)
