"""What guessing ahead saves (engine.guess): the same answers with and without, in turns, in one process.

    python benchmarks/guess.py                     # 30 conversations of data/testing, one thread
    python benchmarks/guess.py --conversations 5 --guess 0 4 15 --weights packed int8

Held-out conversations are asked turn by turn with the shipped adapter, greedily, one request at a time.
What is guessed from is what was answered before, so the first conversations are the slowest. Counted
are the answers' own tokens and seconds, prompts left out (they are read by a request of one token
before); processor seconds are the ones to compare on a busy machine. "other answers" differ from those
of the first row: each is looked at where it parts, and must be a tie that bfloat16 can hardly tell apart
(at most three of its steps, by the model in float32).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _client import ROOT
from _serve_check import steps_apart
from answer_time import conversations
from serve import served

from llmkit.config_engine import Weights
from llmkit.config_serve import ServeConfig
from llmkit.domain import get_domain
from llmkit.generate import Completion, Request, common_length
from llmkit.model import adapter_path, load_model
from llmkit.prompt import Renderer, renderer
from llmkit.scheduler import Scheduler


class Contender:
    """A scheduler and what it took."""

    def __init__(self, cfg: ServeConfig, guess: int, weights: str, threads: int) -> None:
        adapter = adapter_path(cfg.adapter, domain=cfg.domain.name, model=cfg.model.name)
        loaded = load_model(cfg.model, adapter=adapter)
        self.name = f"guess={guess} weights={weights}"
        self.renderer: Renderer = renderer(
            loaded.tokenizer, cfg.prompt, get_domain(cfg.domain.name), adapter
        )
        engine = replace(cfg.engine, guess=guess, weights=Weights(weights), threads=threads)
        self.scheduler = Scheduler(loaded, engine, self.renderer.stop_ids)
        self.wall: dict[str, float] = {"command": 0.0, "text": 0.0}
        self.cpu: dict[str, float] = dict(self.wall)
        self.tokens: dict[str, int] = {"command": 0, "text": 0}
        self.steps: dict[str, int] = dict(self.tokens)
        self.asked: list[tuple[int, ...]] = []
        self.answers: list[tuple[int, ...]] = []

    def ask(self, turn: dict[str, Any]) -> None:
        """One request, beside the prompt's reading."""
        ids = tuple(self.renderer.prompt_ids(turn["messages"], turn["system_context"]))
        self._generate(Request(ids, 1))  # reads the prompt
        before = self.scheduler.stats()["steps"]
        wall, cpu = time.perf_counter(), time.process_time()
        answer = self._generate(Request(ids, 192))
        kind = "command" if answer.text.startswith("$ ") else "text"
        self.wall[kind] += time.perf_counter() - wall
        self.cpu[kind] += time.process_time() - cpu
        self.tokens[kind] += len(answer.ids) + 1  # the end of turn
        self.steps[kind] += int(self.scheduler.stats()["steps"] - before)
        self.asked.append(ids)
        self.answers.append(answer.ids)

    def _generate(self, request: Request) -> Completion:
        (made,) = self.scheduler.generate([request])
        return made


def parted(contenders: Sequence[Contender]) -> set[tuple[tuple[int, ...], int, int]]:
    """What had been read where answers part, and the two tokens that came next."""
    found = set()
    for one in contenders[1:]:
        for ids, a, b in zip(one.asked, contenders[0].answers, one.answers, strict=True):
            if a != b and one.name.endswith(contenders[0].name.rpartition(" ")[2]):  # same weights
                common = common_length(a, b)
                stop = min(one.scheduler.stop_ids)
                first, second = ((*answer, stop)[common] for answer in (a, b))
                found.add(((*ids, *a[:common]), first, second))
    return found


@torch.inference_mode()
def farthest(cfg: ServeConfig, places: Iterable[tuple[tuple[int, ...], int, int]]) -> float:
    """How far apart two such tokens are at most by the model in float32, in steps of bfloat16."""
    adapter = adapter_path(cfg.adapter, domain=cfg.domain.name, model=cfg.model.name)
    exact = replace(cfg.model, dtype=type(cfg.model.dtype)("float32"))
    model = load_model(exact, adapter=adapter).model
    worst = 0.0
    for ids, first, second in places:
        logits = model(torch.tensor([ids])).logits[0, -1].float()
        worst = max(worst, steps_apart(logits, first, second))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = ROOT / "data/testing/test_dataset.jsonl"
    parser.add_argument("--data", type=Path, default=data, help="snapshots")
    parser.add_argument("--conversations", type=int, default=30)
    parser.add_argument("--guess", type=int, nargs="+", default=[0, 15])
    parser.add_argument("--weights", nargs="+", default=["packed"])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    chosen = conversations(args.data, args.conversations)
    cfg = served()
    contenders = [
        Contender(cfg, guess, weights, args.threads)
        for weights, guess in itertools.product(args.weights, args.guess)
    ]
    for turn in itertools.chain.from_iterable(chosen):
        for contender in contenders:
            contender.ask(turn)
    print(f"{len(chosen)} conversations, {len(contenders[0].answers)} answers\n")
    print("| | answers | tokens | tokens a step | tokens/s | of processor time | other answers |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for one in contenders:
        pairs = zip(one.answers, contenders[0].answers, strict=True)
        other = sum(a != b for a, b in pairs)
        for kind in ("command", "text"):
            if count := one.tokens[kind]:
                print(
                    f"| {one.name} | {kind} | {count:,} | {count / one.steps[kind]:.2f} |"
                    f" {count / one.wall[kind]:.1f} | {count / one.cpu[kind]:.1f} | {other} |"
                )
    places = parted(contenders)
    if places:
        far = farthest(cfg, places)
        print(f"\nwhere answers part, the tokens are at most {far:.1f} steps of bfloat16 apart")
        if far > 3:
            raise SystemExit("that is no tie")


if __name__ == "__main__":
    main()
