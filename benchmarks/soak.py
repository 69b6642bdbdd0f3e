"""A server under mixed requests for a long time: errors, memory, latency. Exit code 1: it did not hold.

    python benchmarks/soak.py --minutes 20 --clients 8  # the shipped adapter; writes soak.png, soak.json
    python benchmarks/soak.py --minutes 2 model=tiny adapter=none

Clients ask in turn for text, streams, commands of a machine, tools, JSON by a schema, seeded
samples; they go away half-way, and send what must be refused. Every answer is held against what its
request calls for. The other arguments are those of llmkit.serve. It holds when

- every answer is what its request calls for (429 with Retry-After is waited for, and counted),
- no worker was restarted, and at the end nothing runs, waits or keeps a connection open,
- after a warm-up (the first quarter: code is made for each shape, caches fill) the worker's memory
  stays within its caches' bound, and what the cache's tokens do not explain does not grow,
- after the warm-up neither text answers nor first tokens get slower.

Growth is a trend of minutes whose interval of 95% lies above 3% (memory; and 16 MB) or 10% (latency), or
a rise by as much late in the run: _soak_verdict.py. A run so noisy that a growth by half (memory: 6%; and
32 MB) might be missed does not hold, nor does one of less than 7 minutes, which is too short for a verdict.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _client import Answer, Call, Server, end_by_sigterm, llmkit, quantile, serving
from _soak_verdict import WARM, latency_fails, memory_fails, trend, unexplained

PROBE = 5.0  # seconds between two looks at the processes
CONTEXT = (
    "## Current System State\n\n- Boot mode: UEFI\n- Network: Connected\n- Hostname: {}\n"
    "- Timezone: not set\n\n## Available Disks\n\n- /dev/{}: {}G (Samsung SSD 870)\n"
)
WORDS = "disk list partition the mount format what is a root home user please yes no bigger".split()
COLOURS = ["red", "green", "blue"]
SCHEMA = {
    "type": "object", "required": ["colour", "count"], "additionalProperties": False,
    "properties": {"colour": {"enum": COLOURS}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
}  # fmt: skip
TOOL = {
    "type": "function",
    "function": {"name": "run_shell_command", "parameters": {
        "type": "object", "required": ["command"],
        "properties": {"command": {"type": "string", "enum": ["lsblk", "sgdisk -p /dev/sda"]}}}},
}  # fmt: skip
BAD: tuple[bytes, ...] = (
    b"", b"{", b"[1]", b'{"messages": []}', b'{"messages": "hi"}', b"[" * 5000, b"\xff\xfe",
    b'{"messages": [{"role": "root", "content": "a"}]}',
    b'{"messages": [{"role": "user", "content": "a"}], "temperature": 9}',
    b'{"messages": [{"role": "user", "content": "a"}], "temprature": 1}',
    b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": 1000000}',
)  # fmt: skip


@dataclass
class Seen:
    """What the run is judged by. Times are seconds since its beginning."""

    answered: Counter[str] = field(default_factory=Counter)
    busy: int = 0  # 429, then waited
    wrong: list[str] = field(default_factory=list)
    latency: list[tuple[float, float]] = field(default_factory=list)  # of whole text answers
    first: list[tuple[float, float]] = field(default_factory=list)  # TTFT of streams
    memory: list[tuple[float, float, float]] = field(default_factory=list)  # worker's, server's; MB
    held: list[tuple[float, float]] = field(default_factory=list)  # tokens in the cache
    files: list[int] = field(default_factory=list)  # that the server's process has open


def messages(draw: random.Random) -> list[dict[str, str]]:
    """A conversation of one to four turns."""
    made = []
    for _ in range(draw.randrange(3)):
        made += [{"role": "user", "content": " ".join(draw.choices(WORDS, k=6))},
                 {"role": "assistant", "content": " ".join(draw.choices(WORDS, k=9))}]  # fmt: skip
    return [*made, {"role": "user", "content": " ".join(draw.choices(WORDS, k=7))}]


def text(server: Server, draw: random.Random, seen: Seen, began: float) -> Answer:
    """Text, 32 tokens at most."""
    body = {"messages": messages(draw), "tools": [], "max_tokens": 32, "temperature": 0.8}
    answer = Call(server.port).send("/generate", body)
    if answer.status == 200:
        expect(
            answer.body["type"] == "text" and answer.body["usage"]["completion_tokens"] <= 32, body
        )
        seen.latency.append((answer.done - began, answer.seconds))
    return answer


def seeded(server: Server, draw: random.Random, seen: Seen, began: float) -> Answer:
    """The same twice: the same answer, whatever else runs."""
    body = {"messages": messages(draw), "tools": [], "max_tokens": 12, "temperature": 1.0,
            "seed": draw.randrange(1000)}  # fmt: skip
    answer = Call(server.port).send("/generate", body)
    again = Call(server.port).send("/generate", body)
    seen.answered["seeded, not the same"] += (
        answer.status == again.status == 200 and answer.body["response"] != again.body["response"]
    )
    return again if answer.status == 200 else answer


def stream(server: Server, draw: random.Random, seen: Seen, began: float) -> Answer:
    """Text as it comes, by OpenAI's protocol."""
    body = {"model": "llmkit", "messages": messages(draw), "tools": [], "max_tokens": 32,
            "stream_options": {"include_usage": True}}  # fmt: skip
    answer = Call(server.port).stream("/v1/chat/completions", body)
    if answer.status == 200:
        found = vars(answer) | {"times": len(answer.times)}
        expect(answer.whole and answer.prompt_tokens > 0, f"{found} {body}")
        if answer.times:
            seen.first.append((answer.done - began, answer.times[0] - answer.sent))
    return answer


def machine(server: Server, draw: random.Random, seen: Seen, began: float) -> Answer:
    """Text or a command, on a machine whose disk is the only one that may be named."""
    disk = draw.choice(("sda", "nvme0n1", "vda"))
    context = CONTEXT.format(draw.choice(WORDS), disk, draw.randrange(100, 2000))
    body = {"messages": messages(draw), "system_context": context, "max_tokens": 32}
    if draw.random() < 0.5:
        body["tool_choice"] = "required"
    answer = Call(server.port).send("/generate", body)
    if answer.status == 200 and answer.body["type"] == "tool_call":
        command = answer.body["arguments"]["command"]
        named = re.findall(r"/dev/((?:sd|vd)[a-z]|nvme\d+n\d+|mmcblk\d+)", command)
        expect(set(named) <= {disk}, body)
        seen.answered["machine, a command"] += 1
    return answer


def tool(server: Server, draw: random.Random, seen: Seen, began: float) -> Answer:
    """A tool that must be called, streamed or not."""
    body = {"model": "llmkit", "messages": messages(draw), "tools": [TOOL],
            "tool_choice": draw.choice(("required", "auto", "none")), "max_tokens": 48}  # fmt: skip
    answer = Call(server.port).send("/v1/chat/completions", body)
    if answer.status == 200:
        choice = answer.body["choices"][0]
        calls = choice["message"].get("tool_calls") or []
        for call in calls:
            given = json.loads(call["function"]["arguments"])
            expect(given["command"] in ("lsblk", "sgdisk -p /dev/sda"), body)
        expect(bool(calls) == (choice["finish_reason"] == "tool_calls"), body)
        expect(body["tool_choice"] != "none" or not calls, body)
        seen.answered["tool, called"] += bool(calls)
    return answer


def schema(server: Server, draw: random.Random, seen: Seen, began: float) -> Answer:
    """JSON that follows a schema."""
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    body = {"messages": messages(draw), "response_format": wanted, "max_tokens": 64}
    answer = Call(server.port).send("/generate", body)
    if answer.status == 200 and answer.body["finish_reason"] == "stop":
        found = json.loads(answer.body["response"])
        expect(set(found) == {"colour", "count"} and found["colour"] in COLOURS, body)
        expect(0 <= found["count"] <= 99, body)
        seen.answered["schema, whole"] += 1
    return answer


def gone(server: Server, draw: random.Random, seen: Seen, began: float) -> Answer:
    """A client that goes away while it is answered."""
    body = {"model": "llmkit", "messages": messages(draw), "tools": [], "max_tokens": 512}
    call = Call(server.port)
    timer = threading.Timer(draw.uniform(0.05, 1.0), call.hang_up)
    timer.start()
    call.stream("/v1/chat/completions", body)
    timer.cancel()
    return Answer(0, status=200)


def bad(server: Server, draw: random.Random, seen: Seen, began: float) -> Answer:
    """What must be refused."""
    raw = draw.choice(BAD)
    answer = Call(server.port).send("/generate", raw)
    expect(answer.status == 400 and answer.body["success"] is False, raw)
    return Answer(0, status=200)


KINDS: tuple[tuple[int, Callable[[Server, random.Random, Seen, float], Answer]], ...] = (
    (6, text), (2, seeded), (5, stream), (4, machine), (3, tool), (2, schema), (2, gone), (2, bad),
)  # fmt: skip


class Unexpected(Exception):
    """An answer that its request does not call for."""


def expect(holds: bool, asked: Any) -> None:
    if not holds:
        raise Unexpected(str(asked)[:300])


def note(seen: Seen, said: str) -> None:
    """A wrong answer; the first ones are told at once."""
    seen.wrong.append(said)
    if len(seen.wrong) <= 20:
        print(said[:1000], file=sys.stderr, flush=True)


def client(
    number: int, kinds: Sequence[str], server: Server, seen: Seen, began: float, until: float
) -> None:
    """Ask until the time is over."""
    draw = random.Random(number)
    asked = [pair for pair in KINDS if pair[1].__name__ in kinds]
    while time.monotonic() < until:
        ((_, kind),) = draw.choices(asked, [weight for weight, _ in asked])
        try:
            answer = kind(server, draw, seen, began)
        except Exception as error:  # whatever it is, it is what a soak looks for
            moment = time.monotonic() - began
            note(seen, f"{moment:.0f} s, {kind.__name__}: {type(error).__name__}: {error}")
            time.sleep(1)
            continue
        if answer.status == 429 and answer.retry_after:
            seen.busy += 1
            time.sleep(answer.retry_after)
        elif answer.status != 200:
            moment = time.monotonic() - began
            note(seen, f"{moment:.0f} s, {kind.__name__}: status {answer.status} {answer.body}")
        else:
            seen.answered[kind.__name__] += 1


def resident(pid: int) -> float:
    """Memory of a process, MB."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def look(server: Server, seen: Seen, began: float) -> None:
    """Note what the processes take."""
    worker = sum(resident(pid) for pid in server.children())
    seen.memory.append((time.monotonic() - began, worker, resident(server.process.pid)))
    seen.held.append((time.monotonic() - began, server.metric("llmkit_engine_cache_tokens")))
    with contextlib.suppress(OSError):
        seen.files.append(len(os.listdir(f"/proc/{server.process.pid}/fd")))


def minutes(pairs: Sequence[tuple[float, float]]) -> dict[int, list[float]]:
    """Values by minute."""
    found: dict[int, list[float]] = {}
    for moment, value in sorted(pairs):
        found.setdefault(int(moment // 60), []).append(value)
    return found


def cache_bound(overrides: Sequence[str]) -> tuple[float, float]:
    """MB a token, keys and values of each layer; and what the caches may take: both pools of tokens."""
    from serve import served

    cfg = served(*overrides)
    from llmkit.model import load_model

    loaded = load_model(cfg.model)
    config = loaded.model.config.get_text_config()
    width = config.num_key_value_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    a_token = 2 * config.num_hidden_layers * width * loaded.dtype.itemsize / 2**20
    return a_token, (cfg.engine.max_cache_tokens + cfg.engine.prefix_tokens) * a_token


def verdict(seen: Seen, end: dict[str, float], token: float, bound: float) -> list[str]:
    """What did not hold; empty when all did."""
    broken = [f"{len(seen.wrong)} wrong answers, such as {seen.wrong[0]}"] if seen.wrong else []
    broken += [f"{name} is {value:g} at the end" for name, value in end.items() if value]
    span = seen.memory[-1][0]
    worker = [(moment, value) for moment, value, _ in seen.memory]
    broken += memory_fails(worker, seen.held, token, bound)
    broken += latency_fails("latency of text answers", seen.latency, span)
    broken += latency_fails("time to the first token", seen.first, span)
    return broken


def plot(seen: Seen, target: Path) -> None:
    """Memory and latency over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 6))
    at = [moment / 60 for moment, _, _ in seen.memory]
    above.plot(at, [worker for _, worker, _ in seen.memory], label="worker")
    above.plot(at, [rest for _, _, rest in seen.memory], label="HTTP process")
    above.set(ylabel="resident, MB", ylim=(0, None))
    above.legend()
    for name, pairs in (("text, 32 tokens", seen.latency), ("first token", seen.first)):
        found = minutes(pairs)
        for share, style in ((0.5, "-"), (0.95, "--")):
            line = [quantile(values, share) for values in found.values()]
            label = f"{name}, {share:.0%}"
            below.plot([minute + 0.5 for minute in found], line, style, label=label, marker=".")
    below.set(xlabel="minutes", ylabel="seconds", ylim=(0, None))
    below.legend()
    figure.tight_layout()
    figure.savefig(target)


def show(seen: Seen) -> None:
    """A line a minute."""
    print("minute  text p50 s   p95 s  TTFT p50 s  worker MB  server MB")
    latency, first = minutes(seen.latency), minutes(seen.first)
    for minute, found in latency.items():
        memory = [row for row in seen.memory if row[0] // 60 == minute] or [seen.memory[-1]]
        print(f"{minute:6} {quantile(found, 0.5):11.2f} {quantile(found, 0.95):7.2f}"
              f" {quantile(first.get(minute, []), 0.5):11.2f} {memory[-1][1]:10.0f}"
              f" {memory[-1][2]:10.0f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--kinds", nargs="+", choices=[kind.__name__ for _, kind in KINDS],
                        default=[kind.__name__ for _, kind in KINDS])  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path(), help="folder of soak.png, soak.json")
    args, overrides = parser.parse_known_args()
    end_by_sigterm()
    args.output.mkdir(parents=True, exist_ok=True)
    folder, seen = Path(tempfile.mkdtemp(prefix="soak.")), Seen()
    token, bound = cache_bound(overrides)
    print(f"the caches may take {bound:.0f} MB", file=sys.stderr)
    try:
        with serving(llmkit(f"engine.threads={args.threads}", *overrides), folder) as server:
            for kind in (text, stream, machine):  # what is loaded with the first of its kind
                kind(server, random.Random(-1), Seen(), 0)
            began = time.monotonic()
            until = began + 60 * args.minutes
            look(server, seen, began)
            threads = [
                threading.Thread(target=client, args=(n, args.kinds, server, seen, began, until))
                for n in range(args.clients)
            ]
            for thread in threads:
                thread.start()
            for tick in itertools.count(1):
                time.sleep(max(min(began + tick * PROBE, until) - time.monotonic(), 0))
                look(server, seen, began)
                if tick % int(60 / PROBE) == 0:
                    said = f"{sum(seen.answered.values())} answers, {len(seen.wrong)} wrong"
                    print(f"[{tick * PROBE / 60:.0f} min] {said}, worker {seen.memory[-1][1]:.0f} MB",
                          file=sys.stderr, flush=True)  # fmt: skip
                if time.monotonic() >= until:
                    break
            for thread in threads:
                thread.join()
            time.sleep(2)
            end = {name: server.metric(f"llmkit_{name}") for name in (
                "engine_active", "engine_waiting", "worker_restarts_total")}  # fmt: skip
            end["requests running beside the one that asks"] = server.metric("llmkit_running") - 1
            end["files open beyond those at first"] = max(
                len(os.listdir(f"/proc/{server.process.pid}/fd")) - seen.files[0] - 2, 0
            )
            broken = verdict(seen, end, token, bound)
            if broken:
                shutil.copy(server.log, args.output / "soak.log")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    kept = {**vars(seen), "wrong": seen.wrong[:100], "end": end, "broken": broken}
    (args.output / "soak.json").write_text(json.dumps({**kept, "token": token, "bound": bound}))
    show(seen)
    plot(seen, args.output / "soak.png")
    start = WARM * seen.memory[-1][0]
    worker = [(moment, value) for moment, value, _ in seen.memory]
    print(f"after {start / 60:.1f} minutes, growth (interval of 95%) of the median:")
    print(f"  worker, MB: {trend(worker, start)}; without the cache:"
          f" {trend(unexplained(worker, seen.held, token), start)}")  # fmt: skip
    print(f"  text, s: {trend(seen.latency, start)}; first token: {trend(seen.first, start)}")
    print(f"{dict(seen.answered)}; {seen.busy} waited for room")
    for line in broken:
        print(f"does not hold: {line}")
    print("does not hold" if broken else "holds: no error, memory within its bound, latency flat")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
