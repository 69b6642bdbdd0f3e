"""annotate killed with SIGKILL at random moments, and run again: complete and exact each time.

Against tests/fake_messages_server.py with overload, time-outs, broken connections and, for batches, results
out of order, errored, canceled and expired items, streams cut in the middle and lost submissions.
LLMKIT_ANNOTATE_KILLS says at how many moments each of the two modes is killed (4 when it is not set;
50 is what was measured for docs/annotate.md).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from annotate_support import Kill, Stages
from fake_messages_server import KEY, Running, running
from test_annotate import FAST, expected, names, read, write

KILLS = int(os.environ.get("LLMKIT_ANNOTATE_KILLS", "4"))
SEED = int(os.environ.get("LLMKIT_ANNOTATE_SEED", "20261128"))
IN_FLIGHT = 4  # requests at a time
A_RUN = 5  # kills of one run before it may end

# Long enough for a server on a busy machine to have made a batch whose sender was killed.
SETTLED = ("mode=batch", "provider.batch.poll=0.1", "provider.batch.settle=2")
SYNC_FAULTS = {"429": 0.08, "529": 0.06, "500": 0.06, "timeout": 0.01, "drop": 0.05, "half": 0.04}
BATCH_FAULTS = {"429": 0.08, "500": 0.05, "drop": 0.04, "lost": 0.15, "late": 0.05, "errored": 0.12,
                "canceled": 0.08, "expired": 0.08, "cut": 0.25}  # fmt: skip


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    started = Stages()
    yield started
    started.close()


def answered(folder: Path) -> set[int]:
    """Places whose answer is safe in the journal."""
    path = folder / "out.work/journal.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return {event["i"] for event in map(json.loads, lines) if "ok" in event}


class Killer:
    """Kills runs of one job at random moments: after as many requests as are drawn, and some more
    milliseconds."""

    def __init__(
        self, stages: Stages, folder: Path, server: Running, arguments: tuple[str, ...], seed: str
    ) -> None:
        self.stages, self.folder, self.server, self.arguments = stages, folder, server, arguments
        self.rng = random.Random(seed)
        self.killed = 0  # runs that were really killed
        self.moments: list[int] = []  # how much was answered by then

    def run(self, kill: Kill | None = None) -> int:
        done = self.stages.run(
            "file=in.jsonl", "output_file=out.jsonl", *self.arguments, cwd=self.folder,
            env={"ANTHROPIC_API_KEY": KEY}, kill=kill,
        )  # fmt: skip
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        assert KEY not in done.stdout + done.stderr
        return done.returncode

    def kill(self, most: int) -> None:
        """One run that is killed within `most` requests, unless it has ended by then."""
        served = self.server.stats()["served"] + self.rng.randint(0, most)
        code = self.run(Kill(self.server.url, served, self.rng.uniform(0, 0.06)))
        if code == -signal.SIGKILL:
            self.killed += 1
            self.moments.append(len(answered(self.folder)))
        assert not list(self.folder.glob("*.failed.jsonl"))

    def kill_often(self, most: int) -> Iterator[None]:
        """Kill run after run of the job, A_RUN times or until it has ended in spite of that."""
        for _ in range(A_RUN):
            if (self.folder / "out.jsonl").exists():
                return
            self.kill(most)
            yield


def test_one_by_one_killed_resumed_and_exact(tmp_path: Path, stages: Stages) -> None:
    """Every snapshot once and in order; an answer that was kept is never asked for again, and no
    more is paid twice than was under way at the kills."""
    hosts = names(24)
    write(tmp_path, hosts)
    total = job = 0
    while total < KILLS:
        job += 1
        plan = {"seed": SEED + job, "delay": 0.05, "hang": 5, "retry_after": 0.05}
        with running(**plan, **SYNC_FAULTS) as server:
            more = ("provider=anthropic", f"provider.base_url={server.url}", *FAST,
                    "provider.timeout=4", "provider.retries=40",
                    f"provider.concurrency={IN_FLIGHT}")  # fmt: skip
            killer = Killer(stages, tmp_path, server, more, f"{SEED}/{job}")
            kept: dict[str, int] = {}  # host → how often it was asked about when it was safe
            for _ in killer.kill_often(most=16):
                asked = server.stats()["asked"]
                for place in answered(tmp_path):
                    kept.setdefault(hosts[place], asked[hosts[place]])
            assert killer.run() == 0
            stats = server.stats()
        total += killer.killed
        assert read(tmp_path / "out.jsonl") == expected(hosts)
        assert litter(tmp_path) == []
        assert {host: stats["asked"][host] for host in kept} == kept
        twice = sum(stats["paid"].values()) - len(hosts)
        unseen = stats["faults"].get("half", 0)  # paid, and broken off on the way
        assert 0 <= twice <= IN_FLIGHT * killer.killed + unseen
        report("one by one", job, killer, f"{twice} paid twice, {unseen} of them broken off")
        wipe(tmp_path)


def test_batches_killed_resumed_and_exact(tmp_path: Path, stages: Stages) -> None:
    """Every snapshot once and in order, and paid for exactly once, whenever the run was killed."""
    hosts = names(24)
    write(tmp_path, hosts)
    total = job = 0
    while total < KILLS:
        job += 1
        plan = {"seed": SEED + job, "takes": 0.6, "retry_after": 0.05, "late_by": 0.2}
        with running(**plan, **BATCH_FAULTS) as server:
            more = ("provider=anthropic", f"provider.base_url={server.url}", *FAST, *SETTLED,
                    "provider.retries=40", "provider.batch.requests=7")  # fmt: skip
            killer = Killer(stages, tmp_path, server, more, f"{SEED}/{job}")
            for _ in killer.kill_often(most=20):
                pass
            assert killer.run() == 0
            stats = server.stats()
        total += killer.killed
        assert read(tmp_path / "out.jsonl") == expected(hosts)
        assert litter(tmp_path) == []
        assert stats["paid"] == dict.fromkeys(hosts, 1)
        report("batches", job, killer, f"{stats['batches']} batches, each answer paid once")
        wipe(tmp_path)


def test_templates_killed_resumed_and_exact(tmp_path: Path, stages: Stages) -> None:
    """The same bytes as a run that was left alone."""
    hosts = names(120)
    write(tmp_path, hosts)
    with running() as server:  # only tells when to kill: nothing is asked
        killer = Killer(stages, tmp_path, server, (), str(SEED))
        began = time.monotonic()
        assert killer.run() == 0
        length = time.monotonic() - began
        whole = contents(tmp_path)
        for _ in range(KILLS):
            wipe(tmp_path)
            killer.run(Kill(server.url, 0, killer.rng.uniform(0, length)))
            assert killer.run() == 0
            assert contents(tmp_path) == whole and litter(tmp_path) == []


def contents(folder: Path) -> dict[str, bytes]:
    """Every output and what it holds."""
    return {path.name: path.read_bytes() for path in folder.glob("out*")}


def litter(folder: Path) -> list[str]:
    """Hidden files that a killed run left behind."""
    return [str(path) for path in folder.rglob(".*")]


def report(what: str, job: int, killer: Killer, more: str) -> None:
    """For whoever runs with -s."""
    print(
        f"{what}, run {job}: killed {killer.killed} times, with {killer.moments} answered; {more}"
    )


def wipe(folder: Path) -> None:
    """Back to the input alone."""
    for path in folder.glob("out*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
