"""A Llama's forward pass with few calls: at one token a step, calls cost as much as sums.

    from llmkit.scheduler_llama import LeanLlama

Queries, keys and values are one matrix, gate and up another, and sums into the residual are the
matrix product's own. scheduler_model.py takes it where it agrees with the model's own pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import rms_norm, silu

from llmkit.config_engine import Weights
from llmkit.model_device import has_windows
from llmkit.scheduler_linear import ServingLinear
from llmkit.scheduler_slots import Step, attend

# Models that compute what is computed here, if they have no sliding windows.
_KNOWN = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")


def is_llama(model: Any) -> bool:
    """Whether it is worth a try; the numbers are compared later."""
    return (
        type(model).__name__ in _KNOWN
        and model.config.hidden_act == "silu"
        and not has_windows(model)
        and all(type(child) is nn.Linear for child in _linears(model))
    )


def _linears(model: Any) -> list[Any]:
    found = [model.lm_head]
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        found += [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
        found += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    return found


@dataclass(frozen=True, slots=True)
class _Layer:
    before: torch.Tensor  # weights of the norms
    after: torch.Tensor
    qkv: ServingLinear
    out: ServingLinear
    gate_up: ServingLinear
    down: ServingLinear


class LeanLlama:
    """Shares the weights of `model`; once they are packed the model itself has none."""

    def __init__(self, model: Any) -> None:
        self._model = model
        inner = model.model
        first = inner.layers[0]
        self._embed = inner.embed_tokens
        self._rotary = inner.rotary_emb
        self._norm = inner.norm.weight.detach()
        self._eps = first.input_layernorm.variance_epsilon
        self._size = first.self_attn.head_dim
        self._scaling = first.self_attn.scaling
        self._heads = first.self_attn.q_proj.out_features // self._size
        self._groups = first.self_attn.k_proj.out_features // self._size
        self._layers = []
        for layer in inner.layers:
            attention, mlp = layer.self_attn, layer.mlp
            self._layers.append(
                _Layer(
                    layer.input_layernorm.weight.detach(),
                    layer.post_attention_layernorm.weight.detach(),
                    _joined(attention.q_proj, attention.k_proj, attention.v_proj),
                    _joined(attention.o_proj),
                    _joined(mlp.gate_proj, mlp.up_proj),
                    _joined(mlp.down_proj),
                )
            )
        self._head = ServingLinear([model.lm_head])
        self.taps: set[int] = set()  # layers whose output is kept
        self.states: dict[int, torch.Tensor] = {}  # of the last call, [ends, hidden]

    def pack(self, weights: Weights) -> None:
        """Lay the weights out for the CPU, where that is meant and can be."""
        layers = [
            part for own in self._layers for part in (own.qkv, own.out, own.gate_up, own.down)
        ]
        for layer in (*layers, self._head):
            layer.pack(weights)
        if self._head.packed:
            for linear in _linears(self._model):  # the embedding keeps what it shares
                linear.weight = nn.Parameter(linear.weight.new_empty(0), requires_grad=False)

    def __call__(self, step: Step, ids: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """Logits [ends, vocabulary] behind the tokens at `ends` of `ids` [tokens]."""
        state = self._embed(ids)  # [tokens, hidden]
        hidden = state.shape[-1:]
        cos, sin = self._rotary(state[None], step.positions[None])  # [1, tokens, size]
        cos, sin = cos[0, :, None], sin[0, :, None].clone()
        half = self._size // 2
        sin[..., :half].neg_()  # so that a roll is the rotation
        turned = self._heads + self._groups
        for number, layer in enumerate(self._layers):
            normal = rms_norm(state, hidden, layer.before, self._eps)
            qkv = layer.qkv(normal).view(len(ids), -1, self._size)  # [tokens, heads, size]
            qk = qkv[:, :turned]
            qk = torch.addcmul(qk * cos, qk.roll(half, -1), sin)
            seen = attend(
                step,
                number,
                qk[:, : self._heads],
                qk[:, self._heads :],
                qkv[:, turned:],
                self._scaling,
            )
            state = layer.out(seen.flatten(1), state)
            normal = rms_norm(state, hidden, layer.after, self._eps)
            gate, up = layer.gate_up(normal).chunk(2, -1)
            state = layer.down(silu(gate).mul_(up), state)
            if number in self.taps:
                self.states[number] = state[ends]
        return self._head(rms_norm(state[ends], hidden, self._norm, self._eps))


def _joined(*linears: Any) -> ServingLinear:
    """One layer for several; theirs become views of its weight, so that there is one copy."""
    made = ServingLinear(linears)
    sizes = [linear.out_features for linear in linears]
    parts = torch.split(made.weight, sizes)
    for linear, part in zip(linears, parts, strict=True):
        linear.weight.data = part
    return made
