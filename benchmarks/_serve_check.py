"""Whether 16 clients get the greedy answers that each would get alone; for benchmarks/serve.py --check.

Asked in turn, then all at once of the same server (which knows the prompts by then), then all at
once of a fresh one (which reads them together). Where an answer differs, the two tokens that part
them are shown with how far apart the model's logits for them are, in bfloat16 and in float32.
"""

from __future__ import annotations

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
    with serving(command, folder / "a") as server:
        alone = ask_all(server.port, asked, 1)
        warm = ask_all(server.port, asked, CLIENTS)
    with serving(command, folder / "b") as server:
        cold = ask_all(server.port, asked, CLIENTS)
    parted = {}
    for name, found in (("kept prompts", warm), ("prompts read together", cold)):
        same = [a == b for a, b in zip(alone, found, strict=True)]
        print(f"{CLIENTS} at once, {name}: {sum(same)} of {len(same)} answers as one at a time")
        parted |= {(place, found[place]): name for place, equal in enumerate(same) if not equal}
    if not parted:
        return 0
    margins = Margins(overrides)
    worst = 0.0
    for (place, text), name in parted.items():
        worst = max(worst, margins.show(name, asked[place], alone[place], text))
    print(f"largest distance of two logits in float32: {worst:.4f}")
    return int(worst > 0.5)  # bfloat16 tells numbers from 16 to 32 apart by 0.125


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
        """Print the place where two answers part; how far apart its tokens are in float32."""
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
        far = 0.0
        for dtype, loaded in self._loaded.items():
            with torch.inference_mode():
                given = torch.tensor([[*prompt, *first[:common]]])
                logits = loaded.model(given).logits[0, -1].float()
            best = logits.topk(3)
            far = float(logits[pair[0]] - logits[pair[1]])
            shown = ", ".join(
                f"{self._tokenizer.decode(int(token))!r} {value:.3f}"
                for value, token in zip(best.values, best.indices, strict=True)
            )
            print(f"    {dtype}: {far:+.4f} apart; likeliest: {shown}")
        return abs(far)
