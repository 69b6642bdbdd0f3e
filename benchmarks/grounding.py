"""How often a model names devices that are not there, free and grounded; and is every call valid?

    python benchmarks/grounding.py --requests 200 model=tiny adapter=none
    python benchmarks/grounding.py --requests 200 engine=continuous
    python benchmarks/grounding.py --rows 'required, JSON' --temperatures 1.5 --seconds 300 engine=continuous

Asks for absent devices, on three machines, at temperature 0 and at 1.5: without a grammar, with one,
with a call required, and with a call required as JSON. Counts the replies that ended (no command is
taken from one that was cut by --max-tokens), of these those that can be read (a JSON call: by
json.loads) and those that fit the tool's schema (a JSON call: by jsonschema, name and arguments),
commands, commands that name an absent disk, and commands that the guard refuses, for a partition that
is not there yet, for one. --chunk requests are made at a time; after --seconds no more are begun. The other
arguments are those of llmkit.evaluate.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf

from llmkit.config_evaluate import EvaluateConfig
from llmkit.config_prompt import CallStyle
from llmkit.domain import get_domain
from llmkit.evaluate import local
from llmkit.generate import Completion, Request
from llmkit.grammar import Grammars
from llmkit.model import adapter_path
from llmkit.reply import Reply, parse_reply
from llmkit.stage_errors import validated

ROOT = Path(__file__).resolve().parent.parent
MACHINES = (("sda",), ("nvme0n1", "sda"), ("vda",))
ABSENT = ("sdz", "sdc", "nvme1n1", "vdb", "mmcblk0", "sdy")
ASKED = (
    "format /dev/{} as ext4", "partition /dev/{} for a new system", "wipe {}", "install to /dev/{}",
    "mount the first partition of /dev/{}", "run mkfs.ext4 /dev/{}", "dd zeros over {} please",
    "put the boot loader on /dev/{}", "make swap on the second partition of {}",
    "use {} for the whole system", "list the partitions of /dev/{}", "encrypt /dev/{}",
)  # fmt: skip
ROWS = {  # tool_choice; whether a call is JSON, or None: as the adapter calls
    "free": (None, None), "auto": ("auto", None), "required": ("required", None),
    "required, JSON": ("required", CallStyle.tool_call),
}  # fmt: skip
_PART = r"[^\s/;|&<>(){}\[\]$`,:=*?!#%@^~]"  # a part of a word
_DISK = re.compile(rf"(?<!{_PART})((?:sd|vd)[a-z]|nvme\d+n\d+|mmcblk\d+)(?:p?\d+)?(?!{_PART})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 1.5])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=50, help="requests at a time")
    parser.add_argument("--seconds", type=float, help="begin no more of a row after so many")
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
    print(f"{cfg.model.name}, {adapter.name if adapter else 'no adapter'}, {style.value}")
    print(
        "| temperature | decoding | replies | complete | read | fit | commands | absent | refused | s |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for temperature, label in itertools.product(asked.temperatures, asked.rows):
        choice, written = ROWS[label]
        counts, started = Counter[str](), time.monotonic()
        for place in range(0, len(prompts), asked.chunk):
            if asked.seconds and time.monotonic() - started > asked.seconds:
                break
            chunk = prompts[place : place + asked.chunk]
            requests = [
                Request(
                    tuple(ids), asked.max_tokens, temperature, seed=number,
                    grammar=choice and grammars.for_tools(
                        [domain.tool_schema(state)], choice, written or style,
                        thinking=renderer.options.thinking,
                    ),
                )
                for number, (state, ids, _) in enumerate(chunk, place)
            ]  # fmt: skip
            for completion, (state, _, machine) in zip(
                model.engine.generate(requests), chunk, strict=True
            ):
                counts += judged(completion, domain, state, machine, written)
            took = time.monotonic() - started
            print(
                f"{place + len(chunk)} of {len(prompts)}: {dict(counts)} {took:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        names = ("replies", "complete", "read", "fit", "commands", "absent", "refused")
        shown = " | ".join(str(counts[name]) for name in names)
        print(f"| {temperature:g} | {label} | {shown} | {took:.0f} |", flush=True)


def judged(
    completion: Completion, domain: Any, state: Any, machine: tuple[str, ...],
    written: CallStyle | None,
) -> Counter[str]:  # fmt: skip
    """What one reply counts for."""
    if completion.finish_reason == "length":
        return Counter(replies=1)
    reply = parse_reply(completion.text)
    read, fits = valid(completion.text, reply, domain.tool_schema(state), written)
    command = reply.command or ""
    named = set(_DISK.findall(command.replace('"', "").replace("'", "")))
    return Counter(
        replies=1,
        complete=1,
        read=read,
        fit=fits,
        commands=bool(command),
        absent=bool(named - set(machine)),
        refused=bool(command) and not domain.check(state, command).allowed,
    )


def valid(text: str, reply: Reply, tool: Any, written: CallStyle | None) -> tuple[bool, bool]:
    """Whether a reply that ended can be read, and whether it fits the tool's schema as JSON."""
    if written is not CallStyle.tool_call:
        return reply.problem is None, reply.problem is None
    body = text.strip().removeprefix("<tool_call>").removesuffix("</tool_call>")
    try:
        call = json.loads(body)
    except ValueError:
        return False, False
    fits = isinstance(call, dict) and set(call) == {"name", "arguments"}
    fits = fits and Draft202012Validator(tool["parameters"]).is_valid(call["arguments"])
    return True, fits and call["name"] == tool["name"] and reply.command is not None


if __name__ == "__main__":
    main()
