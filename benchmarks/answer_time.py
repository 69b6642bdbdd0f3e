"""Seconds until a whole answer, as a person at the installer waits for it: one client, shipped adapter.

    python benchmarks/answer_time.py                       # 40 conversations of data/testing; a minute
    python benchmarks/answer_time.py --conversations 10 engine.threads=1   # more words: serve's overrides

Held-out conversations are asked turn by turn, each with its own history, state and answers; greedy, over
HTTP, one at a time. Counted are the turns behind the first, by what came back. The first turn of a
conversation has its machine's context to read; later ones find most of their prompt in the cache as far as
the machine did not change.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

from _client import ROOT, Call, end_by_sigterm, llmkit, quantile, serving


def conversations(path: Path, count: int) -> list[list[dict[str, Any]]]:
    """The first machine's turns of `count` conversations spread over the file, in order.

    Ends the program where there is no file, or none of at least 4 turns in it.
    """
    if not path.exists():
        raise SystemExit(f"no {path}: run python -m llmkit.augment, or name another with --data")
    found: dict[str, dict[int, dict[str, Any]]] = {}
    with path.open() as lines:
        for line in lines:
            record = json.loads(line)
            meta = record["meta"]
            machine = found.setdefault(meta["conversation"], {})
            first = next(iter(machine.values()), record)
            if first["meta"]["seed"] == meta["seed"]:  # of one telling on one machine
                machine.setdefault(len(record["messages"]), record)
    long = [[turns[n] for n in sorted(turns)] for turns in found.values() if len(turns) >= 4]
    if not long:
        raise SystemExit(f"{path} has no conversation of 4 turns")
    step = max(1, len(long) // count)
    return long[::step][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = ROOT / "data/testing/test_dataset.jsonl"
    parser.add_argument("--data", type=Path, default=data, help="snapshots")
    parser.add_argument("--conversations", type=int, default=40)
    parser.add_argument("overrides", nargs="*", help="of llmkit.serve")
    args = parser.parse_args()
    end_by_sigterm()
    chosen = conversations(args.data, args.conversations)
    seconds: dict[str, list[float]] = {"first turn": [], "command": [], "text": []}
    tokens: dict[str, list[int]] = {"first turn": [], "command": [], "text": []}
    command = llmkit(*args.overrides)
    with tempfile.TemporaryDirectory() as folder, serving(command, Path(folder)) as server:
        for turn in itertools.chain.from_iterable(chosen):
            body = {
                "messages": turn["messages"], "system_context": turn["system_context"],
                "temperature": 0, "max_tokens": 192,
            }  # fmt: skip
            answer = Call(server.port).send("/generate", body)
            if answer.status != 200:
                raise SystemExit(f"{answer.status}: {answer.body}")
            late = len(turn["messages"]) > 1
            kind = "first turn" if not late else answer.body["type"]
            kind = "command" if kind not in seconds else kind
            seconds[kind].append(answer.seconds)
            tokens[kind].append(answer.body["usage"]["completion_tokens"])
    print(f"{len(chosen)} conversations, one client; seconds until the whole answer\n")
    print("| answer | n | median | p95 | tokens, median |\n|---|---:|---:|---:|---:|")
    for kind, values in seconds.items():
        if values:
            half = sorted(tokens[kind])[len(tokens[kind]) // 2]
            print(
                f"| {kind} | {len(values)} | {quantile(values, 0.5):.2f} | "
                f"{quantile(values, 0.95):.2f} | {half} |"
            )


if __name__ == "__main__":
    main()
