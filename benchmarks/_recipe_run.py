"""Runs the variants of recipe.py: processes of llmkit.train and llmkit.evaluate, several at a time.

errors = work(jobs, Processes(alone=True), 1, lambda errors: None)
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _recipe_average import DONE as AVERAGED
from _recipe_average import average
from _recipe_data import Part
from _recipe_plan import Average, Variant, digest, evaluate

ROOT = Path(__file__).resolve().parent.parent


class Failed(Exception):
    """A process ended with an error."""


class Processes:
    """Runs python, says on stderr what it says there, and ends what runs when told to stop."""

    def __init__(self, alone: bool) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.env = {**os.environ, "PYTHONPATH": path}
        if not alone:
            self.env["OMP_NUM_THREADS"] = "1"
        self.alone = alone
        self._live: set[subprocess.Popen[str]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def shown(self, arguments: Sequence[str]) -> str:
        """The command as it is typed."""
        words = shlex.join(["python", *arguments])
        return words if self.alone else f"OMP_NUM_THREADS=1 {words}"

    def run(self, name: str, arguments: Sequence[str], log: Path) -> None:
        """Run to the end; stdout and stderr go to `log`. Raises Failed with what it said last."""
        log.parent.mkdir(parents=True, exist_ok=True)
        last = ""
        with open(log, "a", encoding="utf-8") as out:
            out.write(f"$ {self.shown(arguments)}\n")
            out.flush()
            with self._lock:
                if self._stopped:
                    raise Failed("stopped")
                process = subprocess.Popen(
                    [sys.executable, *arguments], env=self.env, stdout=out, stderr=subprocess.PIPE,
                    stdin=subprocess.DEVNULL, text=True, errors="replace",
                )  # fmt: skip
                self._live.add(process)
            assert process.stderr is not None
            for line in process.stderr:
                out.write(line)
                out.flush()
                if line.strip():
                    if not last.startswith("error:") or line.startswith("error:"):
                        last = line.strip()
                    print(f"[{name}] {line.rstrip()}", file=sys.stderr, flush=True)
            code = process.wait()
            with self._lock:
                self._live.discard(process)
        if code:
            raise Failed(f"{last.removeprefix('error: ') or f'exit code {code}'} (see {log})")

    def stop(self) -> None:
        """End what runs; nothing new begins."""
        with self._lock:
            self._stopped = True
            live = list(self._live)
        for process in live:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()


@dataclass(frozen=True)
class Job:
    """One row of the table: what is run for it, and where."""

    name: str
    folder: Path
    variant: Variant  # of a mean: its first member
    of: Average | None
    parts: Mapping[str, Part]

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def trained(self) -> Path:
        """The file that training writes at its end, and that has the held-out loss."""
        return (self.folder / "loss" if self.of else self.adapter) / "training.json"

    @property
    def answers(self) -> Path:
        """The folder of the evaluation; another one for other cases or options."""
        return (
            self.folder
            / f"evaluation-{digest([self.parts['cases'].sha256, self.variant.evaluation])}"
        )

    def commands(self) -> dict[str, list[str]]:
        """What is run for it, in order."""
        if self.of is None:
            first = self.variant.train(self.parts, self.adapter)
        else:
            first = self.of.loss(self.adapter, self.parts, self.trained.parent)
        last = evaluate(self.variant, self.adapter, self.parts["cases"].path, self.answers)
        return {"loss" if self.of else "train": first, "evaluate": last}

    def finished(self) -> bool:
        """Whether all of it is there."""
        return self.trained.is_file() and (self.answers / "report.json").is_file()

    def run(self, processes: Processes, members: Sequence[Job]) -> None:
        """Train or average, and evaluate, but for what is there. Raises Failed."""
        from llmkit.errors import LlmkitError

        first, last = self.commands().values()
        if self.of is not None and not (self.adapter / AVERAGED).is_file():
            try:
                average([member.adapter for member in members], self.adapter)
            except LlmkitError as error:
                raise Failed(str(error).splitlines()[0]) from error
        if not self.trained.is_file():
            processes.run(self.name, first, self.folder / "train.log")
        if not (self.answers / "report.json").is_file():
            processes.run(self.name, last, self.folder / "evaluate.log")


def work(
    jobs: Sequence[Job], processes: Processes, count: int, done: Callable[[Mapping[str, str]], Any]
) -> dict[str, str]:
    """Run the jobs, `count` at a time, means after their members; what failed, and why."""
    errors: dict[str, str] = {}
    by_name = {job.name: job for job in jobs}
    started, ended = time.monotonic(), 0
    waiting, running = list(jobs), dict[Future[None], Job]()
    with ThreadPoolExecutor(count) as pool:
        try:
            while waiting or running:
                for job in list(waiting):
                    names = [member.name for member in job.of.members] if job.of else []
                    lost = [name for name in names if name in errors]
                    if lost:
                        errors[job.name] = f"{lost[0]} failed"
                        waiting.remove(job)
                    elif not any(by_name[name] in [*waiting, *running.values()] for name in names):
                        members = [by_name[name] for name in names]
                        running[pool.submit(job.run, processes, members)] = job
                        waiting.remove(job)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job, ended = running.pop(future), ended + 1
                    try:
                        future.result()
                    except Failed as error:
                        errors[job.name] = str(error)
                    said = errors.get(job.name, "done")
                    clock = round(time.monotonic() - started)
                    print(
                        f"{job.name}: {said} ({ended} of {len(jobs)}, {clock} s)", file=sys.stderr
                    )
                    done(errors)
        except BaseException:
            processes.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return errors
