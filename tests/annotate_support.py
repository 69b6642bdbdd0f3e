"""Runs of annotate in processes that are forked from one that has imported everything.

    stages = Stages()
    done = stages.run("file=in.jsonl", cwd=folder, env={…})      # returncode, stdout, stderr
    stages.run(…, kill=Kill(server.url, 17, 0.02))               # SIGKILL, see there

Each run is a process of its own, with exit code, streams and death by signal; only the imports and the
composition of a config, seconds on a busy machine, are made once. `whole=True` goes through the
stage's own main() instead, for what that has to say about a command line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.request import urlopen


@dataclass(frozen=True)
class Kill:
    """SIGKILL `delay` seconds after the server at `url` has had so many requests in all."""

    url: str
    served: int
    delay: float


class Stages:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        kill: Kill | None = None,
        whole: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """One run. A negative return code is the signal that ended it."""
        with tempfile.TemporaryDirectory() as folder:
            task = {"arguments": arguments, "cwd": str(cwd), "env": {**os.environ, **(env or {})},
                    "kill": kill and asdict(kill), "folder": folder, "whole": whole}  # fmt: skip
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
            code = json.loads(self._process.stdout.readline())
            out, err = (Path(folder, name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(arguments, code, out, err)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _serve() -> None:
    """Read tasks, one a line; run each in a fork; print its exit code."""
    import hydra
    from omegaconf import OmegaConf

    from llmkit import stage, stage_errors
    from llmkit.annotate import annotate, main
    from llmkit.config_annotate import AnnotateConfig

    for name in ("anthropic.resources.messages.batches", "openai.resources.chat.completions",
                 "hydra.main", "tenacity", "llmkit.annotate_batch", "llmkit.annotate_openai",
                 "llmkit.installer.reasoning", "llmkit.installer.seam"):  # fmt: skip
        import_module(name)
    configs: dict[tuple[str, ...], Any] = {}
    conf = str(Path(__file__).resolve().parent.parent / "conf")
    for line in sys.stdin:
        task = json.loads(line)
        given = tuple(task["arguments"])
        if not task["whole"] and given not in configs:
            with hydra.initialize_config_dir(version_base="1.3", config_dir=conf):
                composed = OmegaConf.to_container(hydra.compose("annotate", list(given)))
            configs[given] = stage_errors.validated(AnnotateConfig, composed)
        child = os.fork()
        if child == 0:
            if task["whole"]:
                _child(task, main)
            config = configs[given]
            _child(task, lambda: stage._guarded(lambda: annotate(config), "annotate"))  # noqa: B023
        status = _kill(child, **task["kill"]) if task["kill"] else None
        if status is None:
            _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _kill(child: int, url: str, served: int, delay: float) -> int | None:
    """Kill a child at its moment; its status when it has ended before."""
    while True:
        with urlopen(f"{url}/served", timeout=30) as answer:
            if int(answer.read()) >= served:
                break
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.003)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return None


def _child(task: dict[str, Any], main: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(os.path.join(task["folder"], name), os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, number)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.chdir(task["cwd"])
    os.environ.clear()
    os.environ.update(task["env"])
    sys.argv = ["annotate", *task["arguments"]]
    code: Any = 0
    try:
        code = main() or 0
    except SystemExit as error:
        code = error.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    _serve()
