"""What constrained decoding costs: compiling a machine's tool, and a mask for each token.

    python benchmarks/grammar.py
    python benchmarks/grammar.py --model tiny --walks 20

For the style `shell` and `tool_call`: the first compilation, one from the cache, the masks of an
ordinary command when nobody asked before and again, those of replies drawn at random, and `allows`.
Processor time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from llmkit.config_model import ModelConfig
from llmkit.config_prompt import CallStyle
from llmkit.domain import get_domain
from llmkit.grammar import Constraint, Grammars
from llmkit.model import load_tokenizer
from llmkit.reply import write_command
from llmkit.stage_errors import validated

ROOT = Path(__file__).resolve().parent.parent
LINE = "sgdisk -Z /dev/nvme0n1 && sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 -t 2:8300 /dev/nvme0n1"
DISKS = [{"name": "sda", "size": 500 * 10**9}, {"name": "nvme0n1", "size": 10**12}]


def timed(what: Any, *args: Any) -> tuple[Any, float]:
    started = time.process_time()
    result = what(*args)
    return result, (time.process_time() - started) * 1000


def of_line(constraint: Constraint, ids: list[int]) -> Iterator[float]:
    for at in range(len(ids)):
        mask, took = timed(constraint.mask, ids[:at])
        assert mask[ids[at]], "the line is not of the grammar"
        yield took


def of_walks(
    constraint: Constraint, walks: int, stops: frozenset[int], allows: list[float]
) -> Iterator[float]:
    draw = random.Random(1)
    for _ in range(walks):
        fresh, ids = constraint.start(), list[int]()
        while len(ids) < 60:
            mask, took = timed(fresh.mask, ids)
            yield took
            token = draw.choice(mask.nonzero().flatten().tolist())
            allows.append(timed(fresh.allows, ids, token)[1])
            if token in stops:
                break
            ids.append(token)


def show(what: str, times: list[float]) -> None:
    worst = f"{max(times):9.2f}" if len(times) > 1 else ""
    print(f"{what:42}{statistics.mean(times):9.3f}{statistics.median(times):9.3f}{worst}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2_135m", help="a name of conf/model")
    parser.add_argument("--walks", type=int, default=10, help="replies drawn at random")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    values = yaml.safe_load((ROOT / f"conf/model/{asked.model}.yaml").read_text())
    tokenizer = load_tokenizer(validated(ModelConfig, values))
    stops = frozenset({tokenizer.eos_token_id})
    grammars, took = timed(Grammars, tokenizer, stops)
    domain = get_domain("installer")
    schema = domain.tool_schema(domain.from_dict({"disks": DISKS}))
    size = len(json.dumps(schema))
    print(f"{asked.model}: {len(tokenizer):,} tokens; a schema of {size:,} characters")
    print(f"{'ms':42}{'mean':>9}{'median':>9}{'max':>9}")
    show("tokenizer", [took])
    for style in CallStyle:
        ask = (grammars.for_tools, [schema], "auto", style)
        constraint, took = timed(*ask)
        show(f"{style.value}: compile", [took])
        show(f"{style.value}: from the cache", [timed(*ask)[1] for _ in range(20)])
        encoded: Any = tokenizer(write_command(LINE, style), add_special_tokens=False)
        ids = list(encoded["input_ids"])
        show(f"{style.value}: masks of {len(ids)} tokens, first", list(of_line(constraint, ids)))
        show(f"{style.value}: the same again", list(of_line(constraint.start(), ids)))
        allows: list[float] = []
        must = grammars.for_tools([schema], "required", style)
        assert must is not None
        times = list(of_walks(must, asked.walks, stops, allows))
        show(f"{style.value}: masks of {len(times)} tokens at random", times)
        show(f"{style.value}: allows", allows)


if __name__ == "__main__":
    main()
