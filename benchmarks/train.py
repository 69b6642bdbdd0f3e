"""Training speed on this CPU, beside TRL's SFTTrainer and the plain recipe.

    python benchmarks/train.py [--seconds 60] [--rounds 2] [--trl /path/to/python]

The same snapshots, the same model (smollm2_135m), LoRA of rank 32 on all linear layers, the same
number of threads; each contender in a process of its own, in turns, so that a busy machine hits all
alike. Real tokens: padding is not counted; what examples share counts for each of them, and once as
`computed`. Supervised: those that the loss is taken on.

- llmkit: the steps of `python -m llmkit.train` in a long run (bfloat16, beginnings that examples
  share computed once, logits at supervised positions alone, compiled layers);
- llmkit, one by one: data.share_prefixes=false (a row an example, no mask, no compiling);
- TRL padded: bfloat16, batches of 8 by length, loss on the completion;
- TRL packed: bfloat16, packed to 2,048 tokens without padding, loss on the completion;
- plain: float32, one example at a time, padded to 512.

TRL is not a dependency: `--trl` is a Python that has it beside llmkit's packages.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = ("llmkit", "llmkit, one by one", "TRL padded", "TRL packed", "plain")


def options(*overrides: str) -> Any:
    """train.yaml with overrides, as the stage would get it."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from llmkit.config_train import TrainConfig
    from llmkit.stage_errors import validated

    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        values: Any = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    return validated(TrainConfig, values)


def examples(cfg: Any, file: Path) -> list[Any]:
    """The snapshots as token ids, in an order of their own."""
    from llmkit.domain import get_domain
    from llmkit.model import load_tokenizer
    from llmkit.prompt import renderer

    made = renderer(load_tokenizer(cfg.model), cfg.prompt, get_domain("installer"))
    found = list(made.examples(json.loads(line) for line in file.read_text().splitlines()))
    random.Random(1).shuffle(found)
    return found


def report(tokens: int, supervised: int, seconds: float, computed: int | None = None) -> None:
    """What a contender's process prints last."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rates = {"tokens": tokens, "supervised": supervised, "computed": computed or tokens}
    print(json.dumps({name: value / seconds for name, value in rates.items()} | {"mb": peak}))


def ours(file: Path, seconds: float, *, shared: bool) -> None:
    """Steps as the stage takes them in a long run: rows of shared beginnings, compiled layers."""
    from llmkit.model import load_model
    from llmkit.train_data import Corpus, plan
    from llmkit.train_loop import Loop, Team, add_lora, supervised
    from llmkit.train_tree import Forest, width

    cfg = options(f"data.share_prefixes={str(shared).lower()}")
    corpus = Corpus()
    for example in examples(cfg, file):
        corpus.examples.append(example)
        corpus.conversations.append("")
    loaded = load_model(cfg.model, trainable=True)
    loop = Loop(add_lora(loaded.model, cfg), cfg, loaded.device, loaded.dtype, Team(0, 1))
    loop.prepare(float("inf"), float("inf"))
    row = cfg.data.tokens_per_row if shared else None
    tokens = computed = count = number = 0
    start = 0.0
    for epoch in range(1000):
        steps = plan(
            corpus, epoch, per_conversation=None, tokens_per_row=row,
            tokens_per_batch=cfg.data.tokens_per_batch if shared else 2048,
            tokens_per_step=cfg.data.tokens_per_step, processes=1, seed=1,
        )  # fmt: skip
        for step in steps:
            batches = [[[corpus.examples[i] for i in row] for row in batch] for batch in step]
            sizes = [[len(Forest.of(row).ids) for row in batch] for batch in batches]
            if number == 0:  # warm-up: a step of two batches of each width, which is compiled
                widths = [width(max(size), cfg.data.tokens_per_row) for size in sizes]
                for wide in set(widths):
                    chosen = [b for b, w in zip(batches, widths, strict=True) if w == wide][:2]
                    loop.step(chosen * (3 - len(chosen)), 0, cfg.optim.lr)
                start = time.perf_counter()
            loop.step(batches, number, cfg.optim.lr)
            number += 1
            tokens += sum(len(e.ids) for batch in batches for row in batch for e in row)
            computed += sum(map(sum, sizes))
            count += supervised(batches)
            if time.perf_counter() - start >= seconds:
                report(tokens, count, time.perf_counter() - start, computed)
                return


def trl(file: Path, seconds: float, *, packed: bool) -> None:
    """SFTTrainer on the same token ids."""
    import torch
    from datasets import Dataset  # type: ignore[import-not-found]
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    from llmkit.model import load_model

    cfg = options()
    loaded = load_model(cfg.model, trainable=True)
    rows = [
        {
            "input_ids": list(e.ids),
            "completion_mask": [0] * e.prompt_length + [1] * (len(e.ids) - e.prompt_length),
        }
        for e in examples(cfg, file)
    ]
    counted = {"tokens": 0, "supervised": 0, "steps": 0, "start": 0.0, "seen": (0, 0)}

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            tokens, supervised = counted["seen"]
            counted["steps"] += 1
            if counted["steps"] == 1:
                counted["start"] = time.perf_counter()
                return
            counted["tokens"] += tokens
            counted["supervised"] += supervised
            if time.perf_counter() - counted["start"] >= seconds:
                control.should_training_stop = True

    class Counting(SFTTrainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            mask = inputs.get("attention_mask")
            real = int(inputs["input_ids"].numel() if mask is None else mask.sum())
            counted["seen"] = (real, int((inputs["labels"] != -100).sum()))
            return super().compute_loss(model, inputs, *rest, **more)

    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder, use_cpu=not torch.cuda.is_available(), bf16=True, report_to="none",
            per_device_train_batch_size=2 if packed else 8, num_train_epochs=1000,
            learning_rate=cfg.optim.lr, packing=packed, max_length=2048, completion_only_loss=True,
            train_sampling_strategy="random" if packed else "group_by_length",
            gradient_checkpointing=False, logging_steps=1000, save_strategy="no",
            disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        lora = LoraConfig(
            r=cfg.lora.r, lora_alpha=int(cfg.lora.alpha), target_modules="all-linear",
            task_type="CAUSAL_LM",
        )  # fmt: skip
        trainer = Counting(
            model=loaded.model, args=arguments, train_dataset=Dataset.from_list(rows),
            processing_class=loaded.tokenizer, peft_config=lora, callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    elapsed = time.perf_counter() - counted["start"]
    report(counted["tokens"], counted["supervised"], elapsed)


def plain(file: Path, seconds: float) -> None:
    """The recipe of many tutorials: float32, batch 1, padded to 512, labels masked with -100."""
    import torch

    from llmkit.model import load_model
    from llmkit.train_loop import add_lora

    cfg = options("model.dtype=float32")
    loaded = load_model(cfg.model, trainable=True)
    model = add_lora(loaded.model, cfg)
    model.train()
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], lr=cfg.optim.lr
    )
    tokens = supervised = 0
    start = 0.0
    for number, example in enumerate(examples(cfg, file)):
        size = 512
        ids = (list(example.ids) + [loaded.tokenizer.pad_token_id] * size)[:size]
        real = min(len(example.ids), size)
        labels = [-100] * size
        labels[example.prompt_length : real] = ids[example.prompt_length : real]
        mask = [1] * real + [0] * (size - real)
        out = model(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.tensor([mask]),
            labels=torch.tensor([labels]),
        )
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if number == 0:
            start = time.perf_counter()
            continue
        tokens += real
        supervised += max(0, real - example.prompt_length)
        if time.perf_counter() - start >= seconds:
            break
    report(tokens, supervised, time.perf_counter() - start)


def contend(name: str, file: Path, seconds: float) -> None:
    """Run one contender in this process."""
    import warnings

    warnings.simplefilter("ignore")
    if name.startswith("llmkit"):
        ours(file, seconds, shared=name == "llmkit")
    elif name == "plain":
        plain(file, seconds)
    else:
        trl(file, seconds, packed=name.endswith("packed"))


def whole_conversations(lines: list[str], count: int) -> list[str]:
    """About so many snapshots, with all that augment made of a conversation on a machine."""
    groups: dict[Any, list[str]] = {}
    for line in lines:
        meta = json.loads(line)["meta"]
        groups.setdefault((meta["conversation"], meta["seed"]), []).append(line)
    found: list[str] = []
    for key in random.Random(7).sample(sorted(groups), len(groups)):
        if len(found) >= count:
            break
        found += groups[key]
    return found


def main() -> None:
    """Take turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of each turn, after warm-up")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--trl", default=None, help="a Python with trl; without it TRL is left out")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender:
        contend(given.contender, given.file, given.seconds)
        return
    names = [name for name in CONTENDERS if given.trl or not name.startswith("TRL")]
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        augment = [sys.executable, "-m", "llmkit.augment", "scenarios_per_conversation=2"]
        subprocess.run([*augment, f"output_dir={folder}"], check=True, capture_output=True)
        lines = (Path(folder) / "training/augmented_dataset.jsonl").read_text().splitlines()
        file = Path(folder) / "drawn.jsonl"
        file.write_text("\n".join(whole_conversations(lines, 400)) + "\n")
        for _ in range(given.rounds):
            for name in names:
                python = given.trl if name.startswith("TRL") else sys.executable
                command = [python, __file__, "--contender", name, "--file", str(file)]
                done = subprocess.run(  # noqa: PLW1510  # its failure is shown
                    [*command, "--seconds", str(given.seconds)],
                    env=os.environ | {"HF_HUB_OFFLINE": "1"},
                    capture_output=True,
                    text=True,
                )
                if done.returncode:
                    print(f"{name} failed: {done.stderr[-400:]}", file=sys.stderr)
                    continue
                turns[name].append(json.loads(done.stdout.splitlines()[-1]))
                print(name, turns[name][-1], file=sys.stderr, flush=True)
    middle = {
        name: {key: statistics.median(turn[key] for turn in found) for key in found[0]}
        for name, found in turns.items()
        if found
    }
    print(
        f"{'contender':18} {'tokens/s':>10} {'computed/s':>11} {'supervised/s':>13} {'peak MB':>9}"
        f" {'llmkit is':>10}"
    )
    for name, row in middle.items():
        ratio = middle["llmkit"]["tokens"] / row["tokens"]
        print(
            f"{name:18} {row['tokens']:10,.0f} {row['computed']:11,.0f} {row['supervised']:13,.1f}"
            f" {row['mb']:9,.0f} {ratio:9.2f}x"
        )


if __name__ == "__main__":
    main()
