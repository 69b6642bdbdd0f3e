"""Train a LoRA adapter on snapshots.

    python -m llmkit.train max_time=1h output_dir=trained/mine

Reads snapshots that augment wrote and writes an adapter's folder: weights, prompt and chat template,
training.json, metrics.jsonl, loss.png and a model card. The folder holds a checkpoint meanwhile; the
same command again goes on from it, after kill -9 too, and ends with the weights of an unbroken run.
On several GPUs or in several processes: `torchrun --nproc-per-node N -m llmkit.train …`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.config_train import Compile, TrainConfig
from llmkit.errors import ConfigError, MissingExtra
from llmkit.stage import run_info, stage

if TYPE_CHECKING:
    from llmkit.config_model import ModelConfig
    from llmkit.prompt import Example
    from llmkit.train_data import Corpus, Step
    from llmkit.train_loop import Loop, Team


@dataclass(frozen=True)
class TrainSummary:
    """What a run ended with."""

    folder: Path
    steps: int
    loss: float  # of the last steps, of a supervised token
    eval_loss: float | None  # of the weights that were kept
    best_step: int | None
    tokens: int  # of all examples
    computed_tokens: int  # fewer where examples share their beginning
    supervised_tokens: int
    seconds: float
    tokens_per_second: float
    device: str
    dtype: str
    processes: int


def train(cfg: TrainConfig) -> TrainSummary:
    """Train as `cfg` says, and write the adapter's folder.

    Raises:
        ConfigError: the model, the data or the output folder is not as it must be.
        MissingExtra: packages for training or tracking are not installed.
        RecordError: a snapshot breaks its schema.
        LlmkitError: nothing to train on, or a loss that is not finite.
    """
    from importlib.util import find_spec

    for package in ("torch", "transformers", "peft", "safetensors"):
        if find_spec(package) is None:
            raise MissingExtra("train", "training", package)
    import torch

    from llmkit.train_loop import has_compiler, team

    if cfg.compile is Compile.always and not has_compiler():
        raise ConfigError("compile=always needs a C++ compiler: install g++, or name one with CXX")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    cuda = cfg.model.device != "cpu" and torch.cuda.is_available()
    with team(cuda) as crew:
        return _Run(cfg, crew).go()


class _Run:
    """One run: its data, its loop, and where it is."""

    def __init__(self, cfg: TrainConfig, crew: Team) -> None:
        from pydantic import TypeAdapter

        self.cfg, self.crew = cfg, crew
        self.config: dict[str, Any] = TypeAdapter(TrainConfig).dump_python(cfg, mode="json")
        self.folder = cfg.output_dir
        self.metrics: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}  # loss, step and weights
        self.worse = 0  # evaluations since the best
        self.step_number = 0
        self.tokens = self.computed = self.supervised = 0
        self.before = 0.0  # seconds of the runs that this one goes on from
        self.pending: list[tuple[int, Any]] = []  # steps whose loss was not read yet
        self.recent = float("nan")

    def go(self) -> TrainSummary:
        """Prepare, train, write."""
        from llmkit.config import Resume
        from llmkit.domain import get_domain
        from llmkit.model import load_model, load_tokenizer
        from llmkit.model_adapter import WEIGHTS, adapter_path
        from llmkit.output import sha256
        from llmkit.prompt import renderer
        from llmkit.train_data import hold_out, limited, read
        from llmkit.train_files import (
            Tracker,
            check_folder,
            check_writable,
            fingerprint,
            load_checkpoint,
            refuse_other,
        )
        from llmkit.train_loop import Loop, add_lora

        cfg = self.cfg
        start = adapter_path(cfg.adapter, domain=cfg.domain.name, model=cfg.model.name)
        done = check_folder(self.folder, resume=cfg.resume is Resume.auto)
        if done is None and self.crew.leads:
            check_writable(self.folder)
        self.renderer = renderer(load_tokenizer(cfg.model), cfg.prompt, get_domain(cfg.domain.name))
        started = time.perf_counter()
        self.corpus = self._read(read, cfg.data.train, cfg.data.limit)
        self.held = None
        if cfg.data.eval:
            self.held = self._read(read, cfg.data.eval, cfg.data.eval_limit)
        elif cfg.data.held_out:
            self.corpus, self.held = hold_out(self.corpus, cfg.data.held_out)
            if self.held is None:
                self._say("so few conversations that none is held out to watch the loss on")
            else:
                held = sorted(set(self.held.conversations))
                self._say(f"held out to watch the loss on: {len(held)} conversations")
                self.held = limited(self.held, cfg.data.eval_limit, cfg.seed)
        if cfg.patience is not None and (self.held is None or cfg.eval_every is None):
            raise ConfigError("patience= needs eval_every= and data.held_out= or data.eval=")
        self._say(f"data in {time.perf_counter() - started:.1f} s")
        hashes = {f"train {path}": sha for path, sha in self.corpus.sha256.items()}
        if self.held:
            hashes |= {f"eval {path}": sha for path, sha in self.held.sha256.items()}
        self.start_from = None
        if start is not None:
            hashes["adapter"] = sha256(start / WEIGHTS)
            self.start_from = {"folder": str(start), "sha256": hashes["adapter"]}
            self._say(f"going on from the adapter {start}")
        self.fingerprint = fingerprint(self.config | {"prompt": self.renderer.to_dict()}, hashes)
        if done is not None:
            refuse_other(self.folder, "the adapter", done.get("fingerprint"), self.fingerprint)
            self._say(f"{self.folder} holds this run already, finished")
            return TrainSummary(folder=self.folder, **done["result"])
        saved = load_checkpoint(self.folder)
        if saved is not None:
            refuse_other(self.folder, "a checkpoint", saved["fingerprint"], self.fingerprint)
        loaded = load_model(self._placed(), trainable=True)
        self.device, self.dtype = loaded.device, loaded.dtype
        self.model = add_lora(loaded.model, cfg, start)
        self.loop: Loop = Loop(self.model, cfg, loaded.device, loaded.dtype, self.crew)
        if saved is not None:
            self._restore(saved)
        self.eval_batches: list[list[list[Example]]] = []
        if self.held:
            (step,) = self._plan(self.held, 0, whole=True)
            self.eval_batches = self._examples(self.held, step)
        self.tracker = Tracker(cfg.tracker, self.config) if self.crew.leads else None
        try:
            self._train()
        finally:
            if self.tracker is not None:
                self.tracker.close()
        return self._finish()

    # Parts

    def _placed(self) -> ModelConfig:
        """The model's config, with a GPU of its own for each process."""
        import torch

        model = self.cfg.model
        if self.crew.size == 1 or model.device == "cpu" or not torch.cuda.is_available():
            return model
        return replace(model, device=f"cuda:{self.crew.local}")

    def _read(self, read: Any, where: Path, limit: int | None) -> Corpus:
        cfg = self.cfg
        corpus: Corpus = read(
            where, self.renderer, limit=limit, seed=cfg.seed, workers=cfg.data.workers
        )
        self._say(
            f"{where}: {len(corpus.examples):,} snapshots, {corpus.tokens:,} tokens, "
            f"{corpus.supervised:,} supervised, {len(corpus.dropped):,} dropped"
        )
        for line in corpus.dropped[:3]:
            self._say(f"  dropped {line}")
        return corpus

    def _say(self, line: str) -> None:
        if self.crew.leads:
            print(line, file=sys.stderr, flush=True)

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.loop.restore(saved["weights"], saved["optimizer"])
        self.metrics, self.best = saved["metrics"], saved["best"]
        self.worse, self.step_number = saved["worse"], saved["step"]
        self.tokens, self.supervised = saved["tokens"], saved["supervised"]
        self.computed = saved["computed"]
        self.before, self.recent = saved["seconds"], saved["recent"]
        self.pending = [(step, loss) for step, loss in saved["pending"]]
        self._say(f"going on from step {self.step_number:,}")

    def _elapsed(self) -> float:
        return self.before + time.perf_counter() - self.start

    def _train(self) -> None:
        from llmkit.train_loop import rate, supervised
        from llmkit.train_show import Progress
        from llmkit.train_tree import tokens_of

        cfg = self.cfg
        self.start = saved_at = time.perf_counter()
        plan = self._plan(self.corpus, 0)
        total = len(plan) * cfg.epochs
        if cfg.max_steps is not None:
            total = min(total, cfg.max_steps)
        tokens = total * cfg.data.tokens_per_step
        if self.loop.prepare(tokens, cfg.max_time or math.inf):
            self._say("compiling the layers: the first steps take about a minute each")
        passed = 0  # steps of the epochs before
        with Progress(total, shown=self.crew.leads) as self.progress:
            for epoch in range(cfg.epochs):
                plan = plan if epoch == 0 else self._plan(self.corpus, epoch)
                # Empty for the epochs before the one in which a resumed run goes on.
                for place in range(self.step_number - passed, len(plan)):
                    share = self.step_number / total
                    if cfg.max_time is not None:
                        spent = self._agreed_share(cfg.max_time)
                        share = max(share, spent)
                        if spent >= 1:
                            return
                    if self.step_number == cfg.max_steps:
                        return
                    lr = cfg.optim.lr * rate(cfg.optim, share)
                    step = self._examples(self.corpus, plan[place])
                    loss = self.loop.step(step, self.step_number, lr)
                    self.step_number += 1
                    self.pending.append((self.step_number, loss))
                    rows = [row for batch in step for row in batch]
                    self.tokens += sum(len(example.ids) for row in rows for example in row)
                    self.computed += sum(map(tokens_of, rows))
                    self.supervised += supervised(step)
                    if self.step_number % cfg.log_every == 0:
                        self._log(lr, share, epoch)
                    if cfg.eval_every and self.step_number % cfg.eval_every == 0:
                        if self._evaluate():
                            return
                    due = cfg.save_every and self.step_number % cfg.save_every == 0
                    now = time.perf_counter()
                    if due or (cfg.save_time is not None and now - saved_at >= cfg.save_time):
                        self._save()
                        saved_at = time.perf_counter()
                passed += len(plan)

    def _plan(self, corpus: Corpus, epoch: int, *, whole: bool = False) -> list[Step]:
        """The epoch's steps; with `whole`, all of the corpus in one."""
        from llmkit.train_data import plan

        data = self.cfg.data
        return plan(
            corpus,
            epoch,
            per_conversation=None if whole else data.per_conversation,
            per_answer=None if whole else data.per_answer,
            tokens_per_row=data.row if self.loop.trees else None,
            tokens_per_batch=data.tokens_per_batch,
            tokens_per_step=10**12 if whole else data.tokens_per_step,
            processes=self.crew.size,
            seed=self.cfg.seed,
        )

    @staticmethod
    def _examples(corpus: Corpus, step: Step) -> list[list[list[Example]]]:
        return [[[corpus.examples[index] for index in row] for row in batch] for batch in step]

    def _agreed_share(self, limit: float) -> float:
        import torch

        share = self._elapsed() / limit
        if self.crew.size == 1:
            return share
        told = torch.tensor([share], device=self.device, dtype=torch.float64)
        torch.distributed.broadcast(told, 0)
        return float(told.item())

    def _read_losses(self) -> None:
        """Wait for the device, and look at what the steps gave."""
        import torch

        from llmkit.train_loop import check_finite

        if not self.pending:
            return
        steps = [step for step, _ in self.pending]
        values = torch.stack([torch.as_tensor(loss).cpu() for _, loss in self.pending]).tolist()
        self.pending = list(zip(steps, values, strict=True))
        check_finite(self.pending)

    def _log(self, lr: float, share: float, epoch: int) -> None:
        from llmkit.train_files import note_metrics

        self._read_losses()
        self.recent = sum(loss for _, loss in self.pending) / len(self.pending)
        self.pending = []
        seconds = self._elapsed()
        line = {
            "step": self.step_number,
            "epoch": epoch,
            "loss": self.recent,
            "lr": lr,
            "tokens": self.tokens,
            "computed_tokens": self.computed,
            "supervised_tokens": self.supervised,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(self.tokens / seconds, 1),
        }
        self.metrics.append(line)
        if self.tracker is not None:
            self.tracker.log(line, self.step_number)
        if self.crew.leads:
            note_metrics(self.folder, self.metrics)
        left = max(seconds * (1 - share) / share, 0.0) if share > 0 else None
        self.progress.update(line, left)

    def _evaluate(self) -> bool:
        """Note the loss on held-out data, keep the best weights; whether patience is over."""
        if not self.eval_batches:
            return False
        self._read_losses()
        loss = self.loop.evaluate(self.eval_batches)
        line = {"step": self.step_number, "eval_loss": loss}
        self.metrics.append(line)
        if self.tracker is not None:
            self.tracker.log(line, self.step_number)
        self.progress.note(f"step {self.step_number:,}: held-out loss {loss:.4f}")
        if not self.best or loss < self.best["loss"]:
            state = self.loop.state()["weights"]
            self.best = {"loss": loss, "step": self.step_number, "weights": state}
            self.worse = 0
        else:
            self.worse += 1
        return self.cfg.patience is not None and self.worse >= self.cfg.patience

    def _save(self) -> None:
        from llmkit.train_files import save_checkpoint

        self._read_losses()
        if not self.crew.leads:
            return
        state = self.loop.state() | {
            "fingerprint": self.fingerprint,
            "step": self.step_number,
            "metrics": self.metrics,
            "best": self.best,
            "worse": self.worse,
            "tokens": self.tokens,
            "computed": self.computed,
            "supervised": self.supervised,
            "seconds": self._elapsed(),
            "recent": self.recent,
            "pending": [list(pair) for pair in self.pending],
        }
        save_checkpoint(self.folder, state)

    def _finish(self) -> TrainSummary:
        from dataclasses import asdict

        from llmkit.train_files import write_adapter

        self._read_losses()
        if self.pending:
            self.recent = sum(loss for _, loss in self.pending) / len(self.pending)
            self.metrics.append({"step": self.step_number, "loss": self.recent})
        if self.step_number == 0:
            raise ConfigError("max_time is over before the first step")
        seconds = self._elapsed()
        evaluated = [line["step"] for line in self.metrics if "eval_loss" in line]
        if self.eval_batches and self.step_number not in evaluated:
            self._evaluate()
        if self.best:
            self.loop.restore(self.best["weights"])
        summary = TrainSummary(
            folder=self.folder,
            steps=self.step_number,
            loss=self.recent,
            eval_loss=self.best.get("loss"),
            best_step=self.best.get("step"),
            tokens=self.tokens,
            computed_tokens=self.computed,
            supervised_tokens=self.supervised,
            seconds=round(seconds, 1),
            tokens_per_second=round(self.tokens / seconds, 1),
            device=self._device_name(),
            dtype=str(self.dtype).removeprefix("torch."),
            processes=self.crew.size,
        )
        if self.crew.leads:
            result = {key: value for key, value in asdict(summary).items() if key != "folder"}
            write_adapter(
                self.folder,
                self.model,
                self.renderer,
                self._training(result),
                self.metrics,
                self.corpus.examples,
                self.corpus.wording,
            )
        self._say(
            f"{self.folder}: {summary.steps:,} steps, loss {summary.loss:.4f}"
            + (f", held out {summary.eval_loss:.4f}" if summary.eval_loss is not None else "")
            + f", {summary.tokens_per_second:,.0f} tokens/s"
        )
        return summary

    def _device_name(self) -> str:
        import torch

        if self.device.type == "cuda":
            return str(torch.cuda.get_device_name(self.device))
        return f"cpu ({torch.get_num_threads()} threads)"

    def _training(self, result: Mapping[str, Any]) -> dict[str, Any]:
        from llmkit.model import model_identity
        from llmkit.train_data import described

        info = run_info()
        size = self.crew.size
        launcher = "python" if size == 1 else f"torchrun --nproc-per-node {size}"
        halves = {"train": self.corpus, "eval": self.held}
        return {
            "fingerprint": self.fingerprint,
            "model": model_identity(self.cfg.model),
            "domain": self.cfg.domain.name,
            "command": " ".join([f"{launcher} -m llmkit.train", *info["overrides"]]),
            "versions": {
                "llmkit": info["llmkit"],
                "python": info["python"],
                **info["packages"],
            },
            "config": self.config,
            "prompt": self.renderer.to_dict(),
            "adapter": self.start_from,
            "data": {half: described(corpus) for half, corpus in halves.items()},
            "result": dict(result),
        }


main = stage("train", train, schema=TrainConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
