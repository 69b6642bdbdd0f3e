"""Cases a second: the engine beside one `model.generate` after another.

    python benchmarks/evaluate.py [--cases 60] [--rounds 3] [--adapter none]

The same prompts (held-out snapshots of a small data set that the benchmark makes itself), the same
weights in the same process and dtype, greedy, at most 64 tokens an answer. The two take turns on a
third of the cases each round, so that a busy machine hits both alike; the median ratio is printed,
and how many answers are equal. In bfloat16 a batch adds up in another order, so near-ties can fall
the other way; with --dtype float32 all answers are the same.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MAX_TOKENS = 64


def composed(*overrides: str) -> Any:
    """evaluate.yaml with overrides, as the stage would get it."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from llmkit.config_evaluate import EvaluateConfig
    from llmkit.stage_errors import validated

    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        values: Any = OmegaConf.to_container(compose("evaluate", list(overrides)), resolve=True)
    return validated(EvaluateConfig, values)


def snapshots(count: int) -> list[dict[str, Any]]:
    """Held-out snapshots, drawn from all that a small run gives."""
    with tempfile.TemporaryDirectory() as folder:
        augment = [sys.executable, "-m", "llmkit.augment", "experiment=small"]
        subprocess.run([*augment, f"output_dir={folder}"], check=True, capture_output=True)
        lines = (Path(folder) / "testing/test_dataset.jsonl").read_text().splitlines()
    return [json.loads(line) for line in random.Random(3).sample(lines, count)]


def one_at_a_time(loaded: Any, prompts: list[tuple[int, ...]], stops: list[int]) -> list[Any]:
    """transformers' own generate, prompt by prompt; the answers' ids."""
    import torch

    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt], device=loaded.device)
        out = loaded.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=stops[0],
        )
        answers.append(
            tuple(token for token in out[0, len(prompt) :].tolist() if token not in stops)
        )
    return answers


def main() -> None:
    """Take turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3, help="parts that the cases are cut into")
    parser.add_argument("--adapter", default="none", help="none, shipped or a folder")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--engine", default="continuous", help="an option of conf/engine/")
    given = parser.parse_args()

    import warnings

    warnings.simplefilter("ignore")
    from llmkit.domain import get_domain
    from llmkit.evaluate_run import Local
    from llmkit.generate import Request
    from llmkit.model import adapter_path, load_model
    from llmkit.prompt import renderer

    chosen = (f"model={given.model}", f"model.dtype={given.dtype}", f"engine={given.engine}")
    cfg = composed(*chosen)
    adapter = adapter_path(given.adapter, domain=cfg.domain.name, model=cfg.model.name)
    loaded = load_model(cfg.model, adapter)
    made = renderer(loaded.tokenizer, cfg.prompt, get_domain(cfg.domain.name), adapter)
    # A model of its own: the scheduler lays its weights out anew.
    engine = Local(load_model(cfg.model, adapter), made, cfg.engine, max_tokens=MAX_TOKENS).engine
    prompts = [
        tuple(made.prompt_ids(item["messages"], item["system_context"]))
        for item in snapshots(given.cases)
    ]
    stops = sorted(made.stop_ids)
    engine.generate([Request(prompts[0], 2)])  # warm-up
    equal = tokens = 0
    rates: list[tuple[float, float]] = []
    for turn in range(given.rounds):
        part = prompts[turn :: given.rounds]
        start = time.perf_counter()
        batch = engine.generate([Request(prompt, MAX_TOKENS) for prompt in part])
        middle = time.perf_counter()
        single = one_at_a_time(loaded, part, stops)
        end = time.perf_counter()
        rates.append((len(part) / (middle - start), len(part) / (end - middle)))
        equal += sum(a.ids == b for a, b in zip(batch, single, strict=True))
        tokens += sum(len(answer) for answer in single)
        print(f"round {turn + 1}: {rates[-1][0]:.2f} and {rates[-1][1]:.2f}", file=sys.stderr)
    print(f"{given.cases} cases, {tokens / given.cases:.1f} tokens an answer, {loaded.dtype}")
    print(f"{'':24}{'cases/s':>9}")
    print(f"{'llmkit engine':24}{statistics.median(rate for rate, _ in rates):9.2f}")
    print(f"{'one generate at a time':24}{statistics.median(rate for _, rate in rates):9.2f}")
    ratio = statistics.median(ours / theirs for ours, theirs in rates)
    print(f"the engine is {ratio:.2f} times as fast; {equal} of {given.cases} answers are equal")


if __name__ == "__main__":
    main()
