"""Decode speed and time to first token: the scheduler beside the engine of offline batches.

    python benchmarks/scheduler.py [--model smollm2_135m] [--prompt 600] [--common 0] [--tokens 24]

Random prompts whose first `--common` tokens are the same, greedy, no end of turn, same weights, one
process. Decoding is timed after all prompts were read; the engine's is what a long answer takes
beyond a short one. The second turn repeats the first's prompt and answer and adds 30 tokens. Times
are wall and processor seconds: on a busy machine the latter are the ones to compare.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent


def values(name: str) -> dict[str, Any]:
    """A file of conf/, with what it builds on."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text())
    return found


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def prompt(length: int, seed: int) -> tuple[int, ...]:
    draw = random.Random(seed)
    return tuple(draw.randrange(100, 40_000) for _ in range(length))


def nothing(_: Any) -> None:
    pass


class Bench:
    """Both, over one model."""

    def __init__(self, args: argparse.Namespace) -> None:
        import torch

        from llmkit.config_engine import EngineConfig, ServeEngineConfig
        from llmkit.generate import Engine
        from llmkit.stage_errors import validated

        torch.set_num_threads(args.threads)
        self.args = args
        self.engine = Engine(
            self.load(), validated(EngineConfig, values("engine/batch")), frozenset()
        )
        self.serve = validated(
            ServeEngineConfig, values("engine/serve") | {"weights": args.weights}
        )

    def load(self) -> Any:
        """The weights; each scheduler packs its own."""
        from llmkit.config_model import ModelConfig
        from llmkit.model import load_model
        from llmkit.stage_errors import validated

        changed = {"dtype": self.args.dtype, "device": "cpu"}
        return load_model(validated(ModelConfig, values(f"model/{self.args.model}") | changed))

    def scheduler(self, **changes: Any) -> Any:
        from llmkit.scheduler import Scheduler

        return Scheduler(self.load(), replace(self.serve, **changes), frozenset())

    def decode(self, made: Any, rows: int, length: int, tokens: int) -> None:
        """Tokens a second of `rows` answers, all being written."""
        from llmkit.generate import Request

        head = prompt(self.args.common, 1)

        def requests(count: int) -> list[Request]:
            return [
                Request(head + prompt(length - len(head), 100 * rows + row), count)
                for row in range(rows)
            ]

        numbers = [made.submit(request, on_done=nothing) for request in requests(tokens + 64)]
        while made.stats()["waiting"] or not all(row.ids for row in made._running):
            made.step()

        def steps() -> None:
            for _ in range(tokens):
                made.step()

        wall, cpu = timed(steps)
        for number in numbers:
            made.cancel(number)
        made.step()
        print(f"| decode, {rows} rows | scheduler | {rows * tokens / wall:.1f} |", end="")
        print(f" {rows * tokens / cpu:.1f} | {1000 * cpu / tokens:.1f} |", flush=True)
        short = timed(lambda: self.engine.generate(requests(2)))
        long = timed(lambda: self.engine.generate(requests(2 + tokens)))
        wall, cpu = (b - a for a, b in zip(short, long, strict=True))
        print(f"| decode, {rows} rows | engine | {rows * tokens / wall:.1f} |", end="")
        print(f" {rows * tokens / cpu:.1f} | {1000 * cpu / tokens:.1f} |", flush=True)

    def second_turn(self, length: int) -> None:
        """Time to the first token of a conversation's second turn."""
        from llmkit.generate import Request

        first = Request(prompt(length, 99), 24)
        (answer,) = self.engine.generate([first])
        second = Request((*first.ids, *answer.ids, *prompt(30, 98)), 1)
        rows: list[tuple[str, Callable[[], Any]]] = []
        for name, kept in (("reuse", self.serve.prefix_tokens), ("without", 0)):
            made = self.scheduler(prefix_tokens=kept)

            def turn(request: Request, made: Any = made) -> None:
                made.submit(request, on_done=nothing)
                while made.step():
                    pass

            turn(first)
            rows.append((f"scheduler, {name}", lambda turn=turn: turn(second)))
        rows.append(("engine", lambda: self.engine.generate([second])))
        for name, work in rows:
            wall, cpu = timed(work)
            print(
                f"| second turn of {len(second.ids)} tokens | {name} | {1000 * wall:.0f} |", end=""
            )
            print(f" {1000 * cpu:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--weights", default="packed")
    parser.add_argument("--prompt", type=int, default=600)
    parser.add_argument("--common", type=int, default=0, help="first tokens that prompts share")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 4, 16])
    args = parser.parse_args()
    bench = Bench(args)
    print("| what | by | tokens/s (wall) | tokens/s (processor) | processor ms a step |")
    print("|---|---|---:|---:|---:|")
    made = bench.scheduler()
    for rows in args.rows:
        bench.decode(made, rows, args.prompt, args.tokens)
    print("\n| what | by | TTFT ms (wall) | TTFT ms (processor) |\n|---|---|---:|---:|")
    bench.second_turn(args.prompt)


if __name__ == "__main__":
    main()
