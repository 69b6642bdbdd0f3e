"""Servers of one model on one CPU: conversations of ten turns, at 1, 4 and 16 clients.

    python benchmarks/serve.py  # some 10 minutes; leave the machine alone
    python benchmarks/serve.py --seconds 5 --clients 1 4 --contenders llmkit "llmkit engine.weights=int8"
    python benchmarks/serve.py --llama VENV/bin/python  # llama.cpp too: pip install xllamacpp there
    python benchmarks/serve.py --check adapter=none  # greedy answers: 16 at once, and one at a time

Every contender is a process of its own that answers OpenAI's streaming chat completions with the
embedded SmolLM2 135M, and gets the same requests: a system prompt with a machine, ten questions, 48
new tokens a turn, greedy; each turn sends the whole conversation so far. Clients ask again as soon
as they are answered. They begin at different turns, with made-up answers before, so that long and
short prompts mix from the start; measured is a window that begins when each client had an answer.

    llmkit              python -m llmkit.serve adapter=none; more words are its overrides
    transformers        `transformers serve --continuous-batching`, bfloat16 (needs openai, fastapi)
    plain               http.server and model.generate, float32, one at a time
    llama-f16, llama-q4_1   llama.cpp's server out of xllamacpp, or llama-cpp-python, with --llama PYTHON

The package's weights are in Q4_1: llama-q4_1 reads that file, all others what it unpacks to.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _client import ROOT, Answer, Call, Server, end_by_sigterm, free_port, llmkit, quantile, serving

TURNS, NEW = 10, 48
SYSTEM = (
    "You are the assistant of a Linux installer. You help a person on a live system to set up disks,"
    " copy the system, add users and make it boot. Explain in full sentences.\n\n"
    "## Current System State\n\n- Boot mode: {boot}\n- Network: Connected\n- Hostname: {host}\n"
    "- Timezone: not set\n\n## Available Disks\n\n- /dev/{disk}: {size}G ({model})\n"
)
QUESTIONS = (
    "What is a partition table? Explain it in detail.",
    "Why does a computer need a boot loader? Describe each step.",
    "Compare ext4 with btrfs. Which one is better for a laptop, and why?",
    "What does mounting a file system mean? Give examples.",
    "Explain what swap is and how much of it I should have.",
    "How does the kernel name disks? Tell me about all the kinds.",
    "What is the EFI system partition for? Write a paragraph.",
    "Why should I have a user that is not root? List the reasons.",
    "Describe what a time zone setting changes on the system.",
    "What is fstab, and what does every column of it hold?",
    "Tell me about encryption of a disk: how it works and what it costs.",
    "What happens when I format a partition? Explain slowly.",
)
SAID = (  # where a client begins in the middle: as long as an answer
    "That is a good question. In short, the installer keeps a small piece of data at the beginning"
    " of the disk, and every later step reads it before anything is written, so that nothing which"
    " you want to keep is lost on the way."
)


@dataclass
class Point:
    """What one contender did with so many clients, within the window."""

    clients: int
    seconds: float
    tokens: float = 0
    answers: int = 0
    failed: int = 0
    first: list[float] = field(default_factory=list)  # TTFT, seconds
    last_turn: list[float] = field(default_factory=list)  # TTFT of turn TURNS
    gaps: list[float] = field(default_factory=list)  # ITL, seconds
    read: list[int] = field(default_factory=list)  # prompt tokens
    memory: float = 0.0  # of the server's processes, MB


def conversation(number: int) -> list[dict[str, str]]:
    """The system message and the questions of a conversation."""
    draw = random.Random(number)
    system = SYSTEM.format(
        boot=draw.choice(("UEFI", "Legacy BIOS")), host=f"host{number}",
        disk=draw.choice(("sda", "nvme0n1", "vda")), size=draw.randrange(120, 4000),
        model=draw.choice(("Samsung SSD 870", "WD Black SN850X", "QEMU HARDDISK")),
    )  # fmt: skip
    asked = draw.sample(QUESTIONS, TURNS)
    return [{"role": role, "content": text} for role, text in
            [("system", system), *(("user", text) for text in asked)]]  # fmt: skip


class Clients:
    """`count` threads that hold conversations with a server until they are told to stop."""

    def __init__(self, server: Server, body: dict[str, Any], count: int) -> None:
        self._server, self._body = server, body
        self._stop = threading.Event()
        self._calls: list[Call | None] = [None] * count
        self.answers: list[tuple[int, Answer]] = []  # turn, and what came
        self.led: set[int] = set()  # clients that had an answer
        self._threads = [threading.Thread(target=self._talk, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Hang up, and wait for the threads."""
        self._stop.set()
        while any(thread.is_alive() for thread in self._threads):
            for call in self._calls:
                if call is not None:
                    call.hang_up()
            time.sleep(0.02)

    def _talk(self, client: int) -> None:
        begin = (TURNS // 2 + client * TURNS // len(self._calls)) % TURNS
        for number in itertools.count(client, 1000):
            system, *asked = conversation(number)
            messages = [system]
            for earlier in asked[:begin]:
                messages += [earlier, {"role": "assistant", "content": SAID}]
            for turn in range(begin, TURNS):
                messages.append(asked[turn])
                self._calls[client] = call = Call(self._server.port)
                if self._stop.is_set():
                    return
                answer = call.stream("/v1/chat/completions", {**self._body, "messages": messages})
                self.answers.append((turn + 1, answer))
                if self._stop.is_set():
                    return
                if answer.whole and answer.status == 200:
                    self.led.add(client)
                else:
                    time.sleep(0.5)  # it counts as failed; do not flood a broken server
                messages.append({"role": "assistant", "content": answer.text})
            begin = 0


def measure(server: Server, body: dict[str, Any], count: int, seconds: float) -> Point:
    """One point of the table."""
    settle = {**body, "messages": conversation(999_999)[:2], "max_tokens": 2}
    Call(server.port).stream("/v1/chat/completions", settle)  # behind all that was hung up on
    clients = Clients(server, body, count)
    began = time.monotonic()
    while len(clients.led) < count and time.monotonic() - began < max(seconds / 2, 4):
        time.sleep(0.05)
    began = time.monotonic()
    time.sleep(seconds)
    ended = time.monotonic()
    point = Point(count, ended - began, memory=memory(server.process.pid))
    clients.stop()
    for turn, answer in clients.answers:
        inside = [moment for moment in answer.times if began <= moment <= ended]
        whole = answer.whole and answer.status == 200
        a_piece = answer.completion_tokens / len(answer.times) if whole and answer.times else 1
        point.tokens += len(inside) * (a_piece or 1)
        point.failed += not whole and answer.done < ended
        if whole and began <= answer.times[-1] <= ended:
            point.answers += 1
        if answer.times and began <= answer.times[0] <= ended:
            point.first.append(answer.times[0] - answer.sent)
            point.read.append(answer.prompt_tokens)
            if turn == TURNS:
                point.last_turn.append(point.first[-1])
            point.gaps += [b - a for a, b in itertools.pairwise(inside)]
    return point


def memory(pid: int) -> float:
    """What a process and all below it have in memory, MB."""
    from psutil import NoSuchProcess, Process

    top, total = Process(pid), 0
    for process in (top, *top.children(recursive=True)):
        with suppress(NoSuchProcess):
            total += process.memory_info().rss
    return total / 1e6


def show(name: str, point: Point) -> None:
    def ms(values: Sequence[float], share: float) -> str:
        return f"{1000 * quantile(values, share):.0f}" if values else "–"

    mean = 1000 * sum(point.gaps) / max(len(point.gaps), 1)
    last = f"{ms(point.last_turn, 0.5)} ({len(point.last_turn)})"
    print(
        f"| {name} | {point.clients} | {point.tokens / point.seconds:.1f} |"
        f" {point.answers / point.seconds:.2f} | {ms(point.first, 0.5)} | {ms(point.first, 0.95)} |"
        f" {last} | {mean:.0f} | {ms(point.gaps, 0.95)} | {point.memory:.0f} | {point.failed} |",
        flush=True,
    )


def say(text: str) -> None:
    """Progress, beside the table."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


# Contenders


def weights() -> tuple[Path, Path]:
    """The GGUF file in its package, and the folder with what it unpacks to."""
    from llmkit.model_package import dense_copy, packaged_file

    cfg = served("model=smollm2_135m", "adapter=none").model
    return packaged_file(cfg), dense_copy(cfg)


def served(*overrides: str) -> Any:
    """The server's config."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from llmkit.config_serve import ServeConfig
    from llmkit.stage_errors import validated

    with initialize_config_dir(config_dir=str(ROOT / "conf"), version_base="1.3"):
        values: Any = OmegaConf.to_container(compose("serve", list(overrides)), resolve=True)
    return validated(ServeConfig, values)


def f16(source: Path, target: Path) -> Path:
    """`source`, a GGUF file, with its matrices in float16."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
    from gguf.quants import dequantize

    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, item in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = 1 if name == "general.file_type" else item.contents()  # 1: mostly float16
        sub = item.types[-1] if item.types[0] is GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, item.types[0], sub)
    for tensor in reader.tensors:
        data = dequantize(tensor.data, tensor.tensor_type)
        plain = tensor.tensor_type is GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, data if plain else data.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def has(python: str, module: str) -> bool:
    """Whether that Python finds a module."""
    asked = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    with suppress(OSError):
        return (
            subprocess.run([python, "-c", asked], capture_output=True, check=False).returncode == 0
        )
    return False


def llama(args: argparse.Namespace, file: Path, port: int) -> tuple[list[str], str]:
    """llama.cpp's server (xllamacpp's is its own; llama-cpp-python's answers one at a time), and the
    path that answers when the model is loaded."""
    if has(args.llama, "xllamacpp"):
        # as many slots and tokens as llmkit has by default
        script = str(ROOT / "benchmarks" / "_llama_server.py")
        command = [args.llama, script, str(file), str(port), str(args.threads), "16", "32768"]
        return command, "/health"
    command = [
        args.llama, "-m", "llama_cpp.server", "--model", str(file), "--n_ctx", "4096",
        "--n_threads", str(args.threads), "--n_threads_batch", str(args.threads), "--host", "127.0.0.1",
        "--chat_format", "chatml", "--port", str(port),
    ]  # fmt: skip
    return command, "/v1/models"


@contextmanager
def contender(name: str, args: argparse.Namespace, folder: Path) -> Iterator[tuple[Server, Any]]:
    """The server called `name`, and what every request to it holds."""
    kind, *overrides = name.split()
    package, dense = weights()
    body: dict[str, Any] = {"model": str(dense), "max_tokens": NEW, "temperature": 0}
    env = {"OMP_NUM_THREADS": str(args.threads)}
    port = free_port()
    if kind == "llmkit":
        usage = {"stream_options": {"include_usage": True}}
        body |= {
            "model": "llmkit",
            "tools": [],
            **usage,
        }  # no tools: plain text, as from the others
        command = llmkit("adapter=none", f"engine.threads={args.threads}", *overrides)
        ready, port = "/health", 0
    elif kind == "transformers":
        # 256 blocks of 256 tokens: as many as llmkit keeps; else it takes most of the memory
        command = [
            args.transformers, "-m", "transformers.cli.transformers", "serve", str(dense), "--device", "cpu",
            "--continuous-batching", "--dtype", "bfloat16", "--cb-num-blocks", "256",
            "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip
        ready = "/health"
        if args.openai:
            env["PYTHONPATH"] = os.pathsep.join((str(ROOT), args.openai))
    elif kind == "plain":
        command = [
            sys.executable,
            str(ROOT / "benchmarks" / "_plain_server.py"),
            str(dense),
            str(port),
        ]
        ready = "/"
    else:
        file = package if kind == "llama-q4_1" else f16(package, folder / "f16.gguf")
        command, ready = llama(args, file, port)
        body |= {"stream_options": {"include_usage": True}}
    with serving(command, folder / kind, port=port, ready=ready, env=env) as server:
        yield server, body


def runnable(name: str, args: argparse.Namespace) -> bool:
    """Whether there is what the contender needs; says what is missing."""
    if name.startswith("llama-"):
        if args.llama is None:
            say(f"{name}: left out, no --llama PYTHON")
            return False
        if not has(args.llama, "xllamacpp") and not has(args.llama, "llama_cpp"):
            say(f"{name}: left out, {args.llama} has neither xllamacpp nor llama-cpp-python")
            return False
    return True


# The limit


def bandwidth(threads: int) -> float:
    """Bytes a second that `threads` read from memory: the best of ten sums over a gigabyte."""
    import torch

    torch.set_num_threads(threads)
    data = torch.ones(1 << 28)
    taken = []
    for _ in range(10):
        began = time.perf_counter()
        data.sum()
        taken.append(time.perf_counter() - began)
    return data.numel() * data.element_size() / min(taken)


def limits(threads: int) -> dict[str, float]:
    """How many tokens a second one answer can have, were reading the weights all there is to do."""
    package, dense = weights()
    rate = bandwidth(threads)
    half = sum(path.stat().st_size for path in dense.glob("*.safetensors"))  # bfloat16
    sizes = {"16 bits": half, "float32": 2 * half, "int8": half / 2, "Q4_1": package.stat().st_size}
    print(f"\n{threads} threads read {rate / 1e9:.1f} GB/s from memory.\n")
    print("| weights | MB read a token | tokens/s at most, one client |\n|---|---:|---:|")
    for name, size in sizes.items():
        print(f"| {name} | {size / 1e6:.0f} | {rate / size:.0f} |", flush=True)
    return {name: rate / size for name, size in sizes.items()}


def kind_of_weights(name: str) -> str:
    """What a contender reads for each token of a lone answer: a row of `limits`."""
    if name == "plain":
        return "float32"
    if name == "llama-q4_1":
        return "Q4_1"
    return "int8" if "engine.weights=int8" in name.split() else "16 bits"


def distances(alone: dict[str, Point], most: dict[str, float]) -> None:
    """How far from the limit each is while it writes one answer (ITL's mean: who gives several tokens
    a step, as llmkit does where it guesses well, reads the weights once for them)."""
    print("\n| server, one client | tokens/s by ITL | limit | of it |\n|---|---:|---:|---:|")
    for name, point in alone.items():
        if point.gaps:
            rate, limit = len(point.gaps) / sum(point.gaps), most[kind_of_weights(name)]
            print(f"| {name} | {rate:.1f} | {limit:.0f} | {rate / limit:.0%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--contenders", nargs="+", default=[
        "llmkit", "transformers", "plain", "llama-f16", "llama-q4_1"])  # fmt: skip
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=25, help="of each window")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--llama", help="a Python that has xllamacpp (or llama-cpp-python)")
    parser.add_argument("--transformers", default=sys.executable, help="a Python with transformers")
    parser.add_argument("--openai", help="a folder that holds the package openai, if that has not")
    parser.add_argument("--check", nargs="*", metavar="OVERRIDE",
                        help="compare greedy answers instead; overrides of llmkit.serve")  # fmt: skip
    args = parser.parse_args()
    end_by_sigterm()
    folder = Path(tempfile.mkdtemp(prefix="serve."))
    try:
        if args.check is not None:
            from _serve_check import check

            sys.exit(check(args.check, args.threads, folder))
        began, alone = time.monotonic(), dict[str, Point]()
        most = limits(args.threads)
        print("\n| server | clients | tokens/s | answers/s | TTFT ms | p95 | at turn 10 (n) | ITL ms, mean |"
              " p95 | MB | failed |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")  # fmt: skip
        for name in args.contenders:
            if not runnable(name, args):
                continue
            say(f"{name}: starting")
            try:
                with contender(name, args, folder) as (server, body):
                    for count in args.clients:
                        say(f"{name}: {count} clients")
                        point = measure(server, body, count, args.seconds)
                        show(name, point)
                        if count == 1:
                            alone[name] = point
                        if said := [
                            tokens for tokens in point.read if tokens
                        ]:  # who says, and was whole
                            say(f"prompts of {min(said)} to {max(said)} tokens")
            except RuntimeError as error:  # it did not start: the others go on
                say(f"{name}: {error}")
        distances(alone, most)
        say(f"{(time.monotonic() - began) / 60:.1f} minutes in all")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
