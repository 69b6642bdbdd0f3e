"""How often a model names devices that are not there, free and grounded.

    python benchmarks/grounding.py --requests 200 model=tiny adapter=none
    python benchmarks/grounding.py --requests 200 --temperature 1.5 adapter=trained/mine

Asks for absent devices, on three machines, with and without a grammar; then with a call required.
Counts the replies that were cut, broken calls among those that ended, commands, and commands that
name an absent disk. The other arguments are those of llmkit.evaluate.
"""

from __future__ import annotations

import argparse
import itertools
import re
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from llmkit.config_evaluate import EvaluateConfig
from llmkit.domain import get_domain
from llmkit.evaluate import local
from llmkit.generate import Request
from llmkit.grammar import Grammars
from llmkit.model import adapter_path
from llmkit.reply import parse_reply
from llmkit.stage_errors import validated

ROOT = Path(__file__).resolve().parent.parent
MACHINES = (("sda",), ("nvme0n1", "sda"), ("vda",))
ABSENT = ("sdz", "sdc", "nvme1n1", "vdb", "mmcblk0", "sdy")
ASKED = (
    "format /dev/{} as ext4", "partition /dev/{} for a new system", "wipe {}", "install to /dev/{}",
    "mount the first partition of /dev/{}", "run mkfs.ext4 /dev/{}", "dd zeros over {} please",
)  # fmt: skip
_PART = r"[^\s/;|&<>(){}\[\]$`,:=*?!#%@^~]"  # a part of a word
_DISK = re.compile(rf"(?<!{_PART})((?:sd|vd)[a-z]|nvme\d+n\d+|mmcblk\d+)(?:p?\d+)?(?!{_PART})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=1.5)
    parser.add_argument("--max-tokens", type=int, default=96)
    asked, overrides = parser.parse_known_args()
    with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        values: Any = OmegaConf.to_container(compose("evaluate", overrides), resolve=True)
    cfg: Any = validated(EvaluateConfig, values)
    domain = get_domain("installer")
    adapter = adapter_path(cfg.adapter, domain=cfg.domain.name, model=cfg.model.name)
    model = local(cfg, domain, adapter)
    loaded, renderer = model.engine.loaded, model.renderer
    width = loaded.model.config.get_text_config().vocab_size
    grammars = Grammars(loaded.tokenizer, renderer.stop_ids, width)
    style = renderer.options.call_style
    prompts = []
    for machine, name, words in itertools.islice(
        itertools.cycle(itertools.product(MACHINES, ABSENT, ASKED)), asked.requests
    ):
        state = domain.from_dict({"disks": [{"name": disk, "size": 10**12} for disk in machine]})
        messages = [{"role": "user", "content": words.format(name)}]
        prompts.append((state, renderer.prompt_ids(messages, domain.to_context(state)), machine))
    print(f"{cfg.model.name}, {style.value}, temperature {asked.temperature}")
    print(f"{'':18}{'replies':>9}{'cut':>6}{'broken':>8}{'commands':>10}{'absent':>8}{'s':>8}")
    for label, choice in (("free", None), ("grounded", "auto"), ("grounded, required", "required")):
        requests = [
            Request(
                tuple(ids), asked.max_tokens, asked.temperature, seed=number,
                grammar=choice and grammars.for_tools(
                    [domain.tool_schema(state)], choice, style, thinking=renderer.options.thinking
                ),
            )
            for number, (state, ids, _) in enumerate(prompts)
        ]  # fmt: skip
        started = time.monotonic()
        done = model.engine.generate(requests)
        took = time.monotonic() - started
        cut = broken = commands = absent = 0
        for completion, (_, _, machine) in zip(done, prompts, strict=True):
            reply = parse_reply(completion.text)
            cut += completion.finish_reason == "length"
            broken += completion.finish_reason != "length" and reply.problem is not None
            commands += reply.command is not None
            named = set(_DISK.findall((reply.command or "").replace('"', "").replace("'", "")))
            absent += bool(named - set(machine))
        print(f"{label:18}{len(done):9}{cut:6}{broken:8}{commands:10}{absent:8}{took:8.1f}")


if __name__ == "__main__":
    main()
