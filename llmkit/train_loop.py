"""The training loop: loss at supervised positions, AdamW, schedule, several processes.

    from llmkit.train_loop import Loop

Batches are padded on the right and have no attention mask: under causal attention padding behind a
token cannot reach it, and attention without a mask has a faster kernel. The vocabulary's logits,
the largest matrix of a small model, are computed at supervised positions alone. Random numbers
depend on the seed, the step and the process alone, so a resumed run draws what an unbroken one
does. With torchrun each process takes its share of a step's batches, and gradients are summed.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional

from llmkit.config_model import Quantization
from llmkit.config_train import Compile, OptimConfig, Schedule, TrainConfig
from llmkit.errors import ConfigError, LlmkitError
from llmkit.prompt import Example
from llmkit.train_tree import BLOCK, Forest, laid_out, mask, use_trees, width

# Where the number of a layer stands in the names of its modules, in models of all families.
_LAYER = re.compile(r"\.(?:layers|layer|blocks|block|h)\.(\d+)(?:\.|$)")


@dataclass(frozen=True)
class Team:
    """This process among those that torchrun started."""

    rank: int
    size: int
    local: int = 0  # rank on this machine

    @property
    def leads(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def agree(self, flag: bool, device: torch.device) -> bool:
        """What the leading process says; all must ask at the same point."""
        if self.size == 1:
            return flag
        told = torch.tensor([int(flag)], device=device)
        dist.broadcast(told, 0)
        return bool(told.item())


@contextlib.contextmanager
def team(cuda: bool) -> Iterator[Team]:
    """The processes of this run, as torchrun's variables say; one without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(0, 1)
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Team(dist.get_rank(), size, local)
    finally:
        dist.destroy_process_group()


def add_lora(base: Any, cfg: TrainConfig, adapter: Path | None = None) -> Any:
    """`base` with LoRA weights in float32: those of the folder `adapter`, or drawn by the seed.

    Raises ConfigError when modules to adapt are not there, or `adapter` is of another shape.
    """
    import peft

    from llmkit.model_adapter import attach
    from llmkit.model_device import quiet

    if adapter is not None:
        base.requires_grad_(False)
        model = attach(base, adapter, trainable=True)
        _check_same(model.peft_config[model.active_adapter], cfg, adapter)
        keep_lower(model, cfg)
        return model

    targets = cfg.lora.targets
    config = peft.LoraConfig(
        r=cfg.lora.r,
        lora_alpha=cfg.lora.alpha,  # type: ignore[arg-type]  # its stub: int
        lora_dropout=cfg.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=cfg.lora.rslora,
        use_dora=cfg.lora.dora,
        task_type="CAUSAL_LM",
        bias="none",
    )
    base.requires_grad_(False)
    torch.manual_seed(cfg.seed)
    try:
        with quiet():
            model = peft.get_peft_model(base, config)
    except ValueError as error:
        raise ConfigError(f"lora.targets={targets}: {str(error).splitlines()[0]}") from error
    keep_lower(model, cfg)
    return model


def keep_lower(model: Any, cfg: TrainConfig) -> None:
    """Let the layers below `lora.from_layer` stay what they are: no gradient goes there, and while
    the model trains, their LoRA weights are folded into its own, where those are not quantized
    (rounded as those are, and without dropout).

    Raises ConfigError when the model has no such layer.
    """
    first = cfg.lora.from_layer
    if not first:
        return
    from peft.tuners.lora import LoraLayer

    count = model.config.get_text_config().num_hidden_layers
    if first >= count:
        raise ConfigError(f"lora.from_layer={first}: the model has the layers 0 to {count - 1}")
    low = [m for n, m in model.named_modules() if (at := _LAYER.search(n)) and int(at[1]) < first]
    if not low:
        raise ConfigError(f"lora.from_layer={first}: this model's layers are not numbered as known")
    for module in (*low, model.get_input_embeddings()):
        for weight in module.parameters():
            weight.requires_grad_(False)
        if isinstance(module, LoraLayer) and cfg.model.quantization is Quantization.none:
            module.merge()


def _check_same(found: Any, cfg: TrainConfig, adapter: Path) -> None:
    """Raises ConfigError unless `cfg.lora` is what the adapter was trained with."""
    wanted = {
        "r": (found.r, cfg.lora.r),
        "alpha": (float(found.lora_alpha), cfg.lora.alpha),
        "rslora": (found.use_rslora, cfg.lora.rslora),
        "dora": (found.use_dora, cfg.lora.dora),
        "dropout": (found.lora_dropout, cfg.lora.dropout),
    }
    other = [f"lora.{key}={has}" for key, (has, due) in wanted.items() if has != due]
    if other:
        raise ConfigError(f"adapter={adapter} was trained with other values: add {' '.join(other)}")


def rate(optim: OptimConfig, progress: float) -> float:
    """The learning rate, as a share of the highest, after `progress` (0 to 1) of the run."""
    progress = min(max(progress, 0.0), 1.0)
    if progress < optim.warmup:
        return max(progress / optim.warmup, 0.02)
    left = (1 - progress) / max(1 - optim.warmup, 1e-9)  # 1 → 0
    if optim.schedule is Schedule.constant:
        return 1.0
    if optim.schedule is Schedule.cosine:
        part = 0.5 - 0.5 * math.cos(math.pi * left)
    elif optim.schedule is Schedule.linear:
        part = left
    else:
        part = min((1 - progress) / optim.decay, 1.0) if optim.decay else 1.0
    return optim.final_lr + (1 - optim.final_lr) * part


Batch = Sequence[Sequence[Example]]  # rows of examples; those of a row are sorted by their tokens


def supervised(batches: Sequence[Batch]) -> int:
    """How many tokens the loss is taken on."""
    return sum(len(e.ids) - e.prompt_length for batch in batches for row in batch for e in row)


def weights_of(example: Example, optim: OptimConfig) -> list[float]:
    """What each supervised token of an example counts in the training loss.

    A command's tokens decide what happens; a text's wording, most of the supervised tokens, does
    not. All first tokens count alike, so that the choice between the two leans to neither.
    """
    count = len(example.ids) - example.prompt_length
    weights = [1.0] * count
    if example.is_text:
        weights[optim.text_head :] = [optim.text_weight] * len(weights[optim.text_head :])
    weights[:1] = [optim.first_weight] * len(weights[:1])
    return weights


class Loop:
    """A model with LoRA weights, and what one optimizer step and one evaluation are."""

    def __init__(
        self, model: Any, cfg: TrainConfig, device: torch.device, dtype: torch.dtype, team: Team
    ) -> None:
        self.model, self.cfg, self.device, self.team = model, cfg, device, team
        self.half = dtype in (torch.bfloat16, torch.float16)
        self.dtype = dtype
        causal = model.get_base_model()
        self._decoder = causal.get_decoder()
        self._head = causal.get_output_embeddings()
        self._quiet = _no_casts(model) if self.half else contextlib.nullcontext
        if cfg.gradient_checkpointing:
            # The older name goes away in transformers 6.
            enable = getattr(causal, "activation_checkpointing_enable", None)
            (enable or causal.gradient_checkpointing_enable)({"use_reentrant": False})
        self.trees = cfg.data.share_prefixes and use_trees(causal, device)
        self.compiled = False
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.weights = [weight for _, weight in named]
        self.optimizer = torch.optim.AdamW(
            self.weights,
            lr=cfg.optim.lr,
            betas=(cfg.optim.betas[0], cfg.optim.betas[1]),
            weight_decay=cfg.optim.weight_decay,
            fused=True,
        )

    def prepare(self, tokens: float, seconds: float) -> bool:
        """Compile the layers for a run of so many tokens and seconds, if `compile` says so.

        It takes about a minute, and a quarter off each step after it. Only shared rows have few
        widths, and each width is compiled by itself.
        """
        choice = self.cfg.compile
        if choice is Compile.auto:
            short = tokens < 500_000 or seconds < 600
            fits = self.trees and self.device.type == "cpu" and not self.cfg.gradient_checkpointing
            wanted = fits and not short and has_compiler()
        else:
            wanted = choice is Compile.always
        if wanted and not self.compiled:
            import torch._dynamo

            limit = torch._dynamo.config.recompile_limit
            torch._dynamo.config.recompile_limit = max(limit, 32)
            for layer in self._decoder.layers:
                layer.forward = torch.compile(layer.forward, dynamic=False)
            self.compiled = True
        return self.compiled

    def step(self, batches: Sequence[Batch], number: int, lr: float) -> torch.Tensor:
        """One optimizer step on all `batches`; the mean loss of a supervised token, as weighted.

        The result stays on the device: reading it each time would stop the GPU's queue.
        """
        optim = self.cfg.optim
        examples = [example for batch in batches for row in batch for example in row]
        count = sum(sum(weights_of(example, optim)) for example in examples)
        torch.manual_seed(
            random.Random(f"{self.cfg.seed}-{number}-{self.team.rank}").getrandbits(62)
        )
        self.model.train()
        total = torch.zeros((), device=self.device)
        with self._quiet():  # around backward too, where checkpointing runs the layers again
            for batch in batches[self.team.rank :: self.team.size]:
                loss: Any = self._loss(batch, optim) / count
                loss.backward()
                total += loss.detach()
        self._share_gradients()
        if self.cfg.optim.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.weights, self.cfg.optim.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self.team.sum(total)

    @torch.no_grad()
    def evaluate(self, batches: Sequence[Batch]) -> float:
        """The mean loss of a supervised token, without dropout, smoothing and weights."""
        self.model.eval()
        sums = torch.zeros(2, device=self.device, dtype=torch.float64)
        with self._quiet():
            for batch in batches[self.team.rank :: self.team.size]:
                sums[0] += self._loss(batch).double()
                sums[1] += supervised([batch])
        self.team.sum(sums)
        return float(sums[0] / sums[1])

    def state(self) -> dict[str, Any]:
        """Weights and optimizer, as they are."""
        return {
            "weights": {n: w.detach().cpu().clone() for n, w in self._named()},
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, weights: dict[str, torch.Tensor], optimizer: Any = None) -> None:
        """Take weights, and an optimizer's state, from `state`."""
        with torch.no_grad():
            for name, weight in self._named():
                weight.copy_(weights[name])
        if optimizer is not None:
            self.optimizer.load_state_dict(optimizer)

    def _named(self) -> Iterator[tuple[str, torch.Tensor]]:
        return zip(self.names, self.weights, strict=True)

    def _loss(self, batch: Batch, optim: OptimConfig | None = None) -> torch.Tensor:
        """The summed loss of the batch's supervised tokens; plain without `optim`."""
        forests = [Forest.of(row) for row in batch]
        longest = max(len(forest.ids) for forest in forests)
        if self.trees:
            size = width(longest, self.cfg.data.row) if self.compiled else longest
            longest = -(-size // BLOCK) * BLOCK
        ids, positions, ends = laid_out(forests, longest)
        places: list[int] = []  # in the flattened batch, whose next token is supervised
        targets: list[int] = []
        for row, forest in enumerate(forests):
            places.extend(row * longest + node for node in forest.where)
            targets.extend(forest.targets)
        where, wanted = torch.tensor(places), torch.tensor(targets)
        more: dict[str, Any] = {}
        if self.trees:
            more["position_ids"] = positions.to(self.device)
            more["attention_mask"] = mask(ends.to(self.device), self.dtype)
        if self.device.type == "cuda":
            ids, where, wanted = (
                part.pin_memory().to(self.device, non_blocking=True)
                for part in (ids, where, wanted)
            )
        with torch.autocast(self.device.type, self.dtype, enabled=self.half):
            hidden = self._decoder(input_ids=ids, use_cache=False, **more).last_hidden_state
            logits = self._head(hidden.flatten(0, 1).index_select(0, where))
        if optim is None:
            return functional.cross_entropy(logits.float(), wanted, reduction="sum")
        losses = functional.cross_entropy(
            logits.float(), wanted, reduction="none", label_smoothing=optim.label_smoothing
        )
        weights = [weight for row in batch for each in row for weight in weights_of(each, optim)]
        return losses @ torch.tensor(weights, device=losses.device)

    def _share_gradients(self) -> None:
        if self.team.size == 1:
            return
        for weight in self.weights:
            if weight.grad is None:  # fewer batches than processes
                weight.grad = torch.zeros_like(weight)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        flat: Any = self.team.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(
            gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))


def has_compiler() -> bool:
    """Whether torch finds a C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


def _no_casts(model: Any) -> Any:
    """peft copies each input to float32 beside float32 weights; autocast makes that useless."""
    from peft.helpers import disable_input_dtype_casting

    return lambda: disable_input_dtype_casting(model)


def check_finite(losses: Sequence[tuple[int, float]]) -> None:
    """Raises LlmkitError naming the first step whose loss is not a number."""
    for step, loss in losses:
        if not math.isfinite(loss):
            raise LlmkitError(
                f"the loss of step {step} is {loss}: nothing was written for it\n"
                "lower optim.lr, or try model.dtype=float32"
            )
