"""Whether 16 clients get the greedy answers that each would get alone; for benchmarks/serve.py --check.

Asked in turn and all at once: of a fresh server, which has to read the prompts, and again, when it
has kept them. Where an answer differs, the two tokens that part them are shown with how far apart
the model's logits for them are, in bfloat16 and in float32. A tie is what bfloat16 can hardly tell
apart: two logits that are at most three of its steps from each other (0.125 from 16 to 32).
With `model.dtype=float32 engine.weights=plain` there should be no difference at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _client import Call, llmkit, serving

CLIENTS, NEW = 16, 48
ASKED = (
    "What disks do I have?", "Explain what a partition table is, in detail.", "list the disks",
    "Which file system is good for a laptop, and why?", "partition the disk for a new system",
    "What does mounting mean? Give examples.", "set the time zone to Europe/Vienna",
    "Why should I not work as root?", "make me an administrator called ann",
    "Tell me about swap.", "format the first partition as ext4", "What is fstab for?",
    "install the boot loader", "Describe how the kernel names disks.", "call this machine zebra",
    "What happens when I format a partition?",
)  # fmt: skip
CONTEXT = (
    "## Current System State\n\n- Boot mode: UEFI\n- Network: Connected\n- Hostname: archiso\n"
    "- Timezone: not set\n\n## Available Disks\n\n- /dev/{}: {}G (Samsung SSD 870)\n"
)


def bodies() -> list[dict[str, Any]]:
    """A machine and a question each."""
    disks = ("sda", "nvme0n1", "vda")
    return [
        {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": NEW,
         "system_context": CONTEXT.format(disks[place % 3], 100 + 7 * place)}
        for place, text in enumerate(ASKED)
    ]  # fmt: skip


def said(body: Any) -> str:
    """The answer's text, or its command."""
    return body["response"] if body["type"] == "text" else f"$ {body['arguments']['command']}"


def ask_all(port: int, asked: Sequence[dict[str, Any]], at_once: int) -> list[str]:
    """The answers, `at_once` of them being asked for at a time."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda body: said(Call(port).send("/generate", body).body), asked))


def check(overrides: Sequence[str], threads: int, folder: Path) -> int:
    """0 when all differences are ties in bfloat16; prints what was found."""
    command = llmkit(f"engine.threads={threads}", *overrides)
    asked = bodies()
    found = {}
    for clients in (1, CLIENTS):
        with serving(command, folder / str(clients)) as server:
            for kept in (False, True):
                found[clients, kept] = ask_all(server.port, asked, clients)
    pairs = {
        "prompts read anew": (found[1, False], found[CLIENTS, False]),
        "prompts kept": (found[1, True], found[CLIENTS, True]),
        "one at a time, anew and kept": (found[1, False], found[1, True]),
    }
    parted: dict[tuple[int, str, str], str] = {}
    for name, (first, second) in pairs.items():
        same = [a == b for a, b in zip(first, second, strict=True)]
        print(f"{name}: {sum(same)} of {len(same)} answers are the same", flush=True)
        parted |= {
            (place, first[place], second[place]): name
            for place, equal in enumerate(same) if not equal
        }  # fmt: skip
    if not parted:
        return 0
    margins = Margins(overrides)
    worst = max(
        margins.show(name, asked[place], one, other) for (place, one, other), name in parted.items()
    )
    print(f"farthest apart in float32: {worst:.1f} steps of bfloat16")
    return int(worst > 3)


def steps_apart(logits: Any, one: int, other: int) -> float:
    """How many steps of bfloat16 lie between the logits of two tokens."""
    step = 2.0 ** (math.floor(math.log2(abs(float(logits[one])))) - 7)
    return abs(float(logits[one] - logits[other])) / step


class Margins:
    """The model in this process, to ask how near two tokens are."""

    def __init__(self, overrides: Sequence[str]) -> None:
        from dataclasses import replace

        from serve import served

        from llmkit.domain import get_domain
        from llmkit.model import adapter_path, load_model
        from llmkit.prompt import renderer

        cfg = served(*overrides)
        adapter = adapter_path(cfg.adapter, domain=cfg.domain.name, model=cfg.model.name)
        self._loaded = {
            dtype: load_model(replace(cfg.model, dtype=type(cfg.model.dtype)(dtype)), adapter)
            for dtype in ("bfloat16", "float32")
        }
        self._tokenizer = self._loaded["float32"].tokenizer
        self._renderer = renderer(
            self._tokenizer, cfg.prompt, get_domain(cfg.domain.name), adapter
        )  # fmt: skip

    def show(self, name: str, body: dict[str, Any], one: str, other: str) -> float:
        """Print where two answers part; how far apart its tokens are, in steps of bfloat16."""
        import torch

        encode = self._tokenizer.encode
        ids = [encode(text, add_special_tokens=False) for text in (one, other)]
        stop = min(self._renderer.stop_ids)
        first, second = ([*found, stop] for found in ids)
        common = next(n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
        pair = first[common], second[common]
        prompt = self._renderer.prompt_ids(body["messages"], body["system_context"])
        print(f"  {name}: {body['messages'][0]['content']!r}, token {common + 1}:"
              f" {self._tokenizer.decode(pair[0])!r} or {self._tokenizer.decode(pair[1])!r}")  # fmt: skip
        steps = 0.0
        for dtype, loaded in self._loaded.items():
            with torch.inference_mode():
                given = torch.tensor([[*prompt, *first[:common]]])
                logits = loaded.model(given).logits[0, -1].float()
            best = logits.topk(3)
            far = float(logits[pair[0]] - logits[pair[1]])
            steps = steps_apart(logits, *pair)
            shown = ", ".join(
                f"{self._tokenizer.decode(int(token))!r} {value:.3f}"
                for value, token in zip(best.values, best.indices, strict=True)
            )
            print(f"    {dtype}: {far:+.4f} apart; likeliest: {shown}")
        return steps
