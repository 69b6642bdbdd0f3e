"""Linear layers laid out for a CPU that decodes: few rows, and all weights read for each token.

    from llmkit.scheduler_linear import lay_out
    lay_out(loaded.model, Weights.int8)

`packed` keeps bfloat16 weights in the order in which oneDNN's kernels read them. `int8` rounds them
to 8 bits with a scale for each output; few rows are then multiplied with half the bytes, many rows
with the rounded weights as packed bfloat16, so that both give the same sums but for last bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llmkit.config_engine import Weights

FEW = 6  # rows up to which int8 is faster: benchmarks/scheduler.py
_PACKED_ROWS = 16  # what oneDNN lays the weights out for; it takes any number


class ServingLinear(nn.Module):
    """Computes what a bfloat16 nn.Linear does."""

    def __init__(self, linear: nn.Linear, weights: Weights) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.rounded: torch.Tensor | None = None
        self.scales: torch.Tensor | None = None
        if weights is Weights.int8:
            largest = weight.float().abs().amax(1).clamp(min=1e-12)
            self.scales = (largest / 127).to(weight.dtype)  # [out]
            scale = self.scales.float()[:, None]
            self.rounded = (weight.float() / scale).round().clamp(-127, 127).to(torch.int8)
            weight = (self.rounded * scale).to(weight.dtype)
        pack: Any = torch.ops.mkldnn._reorder_linear_weight
        self.packed: torch.Tensor = pack(weight.contiguous(), _PACKED_ROWS)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """[…, in] to […, out]."""
        if self.rounded is not None and rows.numel() <= FEW * self.in_features:
            flat = rows.reshape(-1, self.in_features)
            out = torch._weight_int8pack_mm(flat, self.rounded, self.scales)
            out = out.view(*rows.shape[:-1], self.out_features)
            return out if self.bias is None else out + self.bias
        multiply: Any = torch.ops.mkldnn._linear_pointwise
        made: torch.Tensor = multiply(rows, self.packed, self.bias, "none", [], "")
        return made


def lay_out(model: Any, weights: Weights) -> int:
    """Replace the model's bfloat16 linear layers on the CPU; how many there were."""
    if weights is Weights.plain or not torch.backends.mkldnn.is_available():
        return 0
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear
        and child.weight.dtype == torch.bfloat16
        and child.weight.device.type == "cpu"
    ]
    for parent, name, child in found:
        setattr(parent, name, ServingLinear(child, weights))
    return len(found)
