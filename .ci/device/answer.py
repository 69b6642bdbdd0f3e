"""Let an adapter answer held-out snapshots and test cases, on the device machine.

    python3 .ci/device/answer.py ADAPTER|none OUT.jsonl shell|cached batch|gpu [LIMIT]

Writes {"kind", "index", "raw", "finish"} for each and prints how many are right to the letter; the
scorers are applied later, where the time is not counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from llmkit.config_engine import EngineConfig
from llmkit.config_model import ModelConfig
from llmkit.domain import get_domain
from llmkit.generate import Engine, Request
from llmkit.model import load_model
from llmkit.prompt import PromptOptions, renderer
from llmkit.stage_errors import validated

CONF = Path(__file__).resolve().parents[2] / "conf"


def read(name: str) -> dict[str, Any]:
    """An option's values, with those of the option it builds on."""
    values: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    base = [item for item in values.pop("defaults", []) if item != "_self_"]
    return (read(f"{name.split('/')[0]}/{base[0]}") if base else {}) | values


def main() -> None:
    """Answer, write, count."""
    where, out, prompt, engine = sys.argv[1:5]
    limit = int(sys.argv[5]) if len(sys.argv) > 5 else None
    adapter = None if where == "none" else Path(where)
    loaded = load_model(validated(ModelConfig, read("model/smollm2_135m")), adapter)
    options = validated(PromptOptions, read(f"prompt/{prompt}"))
    made = renderer(loaded.tokenizer, options, get_domain("installer"), adapter)
    rows = [
        (kind, index, json.loads(line))
        for kind, file in (("held", ".held/held.jsonl"), ("case", "data/test_cases.jsonl"))
        for index, line in enumerate(Path(file).read_text().splitlines()[:limit])
    ]
    requests = [
        Request(tuple(made.prompt_ids(row["messages"], row["system_context"])), max_tokens=200)
        for _, _, row in rows
    ]
    start = time.perf_counter()
    running = Engine(loaded, validated(EngineConfig, read(f"engine/{engine}")), made.stop_ids)
    done = running.generate(requests)
    print(f"{len(done)} answers in {time.perf_counter() - start:.1f} s")
    kinds = letters = held = 0
    with open(out, "w") as stream:
        for (kind, index, row), completion in zip(rows, done, strict=True):
            answer = {"kind": kind, "index": index, "raw": completion.text}
            stream.write(json.dumps(answer | {"finish": completion.finish_reason}) + "\n")
            if kind == "held":
                wanted = made.answer_text(row["expected_response"])
                held += 1
                kinds += completion.text.startswith("$ ") == wanted.startswith("$ ")
                letters += completion.text.strip() == wanted
    print(f"held out: type {kinds / held:.3f}, to the letter {letters / held:.3f} of {held}")


if __name__ == "__main__":
    main()
