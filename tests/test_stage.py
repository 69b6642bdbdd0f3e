"""What a stage does around its function: errors, exit codes, sweeps, help, run information.

A throw-away stage with a conf/ of its own runs as a real process.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmkit import stage_args, stage_errors, stage_help
from llmkit.config import ConvertConfig
from llmkit.convert import convert
from llmkit.errors import ConfigError, LlmkitError, MissingExtra, OutputError, RecordError
from llmkit.stage import Task

ROOT = Path(__file__).resolve().parent.parent

SCRIPT = """
import os, sys, time, json
from pathlib import Path
from pydantic.dataclasses import dataclass
from llmkit.config import STRICT, FilePath, Int
from llmkit.errors import LlmkitError
from llmkit.stage import run_info, stage

@dataclass(config=STRICT)
class Colour:
    name: str

@dataclass(config=STRICT)
class TinyConfig:
    colour: Colour
    output_dir: FilePath
    copy: FilePath
    what: str
    number: Int

def tiny(cfg):
    if cfg.what == "info":
        print(json.dumps(run_info()))
    elif cfg.what == "sleep":
        print("ready", flush=True)
        time.sleep(60)
    elif cfg.what == "many":
        for _ in range(100_000):
            print("a line that is long enough to fill the pipe")
    elif cfg.what == "bug":
        return {}["missing"]
    elif cfg.what == "memory":
        raise MemoryError
    elif cfg.what == "exit":
        sys.exit(3)
    elif cfg.what == "red" and cfg.colour.name == "red":
        raise LlmkitError("red does not work\\nuse green")
    else:
        cfg.output_dir.mkdir(parents=True, exist_ok=True)
        (cfg.output_dir / "result.json").write_text(cfg.colour.name + str(cfg.copy))
        print(cfg.output_dir)

main = stage("tiny", tiny, schema=TinyConfig, summary="Do next to nothing.")
if __name__ == "__main__":
    main()
"""

CONFIG = """
# A stage for tests.  Run: python -m llmkit.tiny
# Examples:
#   python -m llmkit.tiny colour=green
#   python -m llmkit.tiny -m colour=red,green
defaults:
  - base_stage
  - colour: red  # what it is painted with
  - _self_

output_dir: out  # where results go
copy: ${output_dir}/copy  # follows output_dir
what: write
number: 1  # of things
""".lstrip()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toolkit folder with the throw-away stage."""
    folder = tmp_path_factory.mktemp("toolkit")
    conf = folder / "conf"
    shutil.copytree(ROOT / "conf" / "hydra", conf / "hydra")
    shutil.copy(ROOT / "conf" / "base_stage.yaml", conf)
    (conf / "augment.yaml").write_text("seed: 1\n")
    (conf / "tiny.yaml").write_text(CONFIG)
    (conf / "colour").mkdir()
    for name in ("red", "green", "base_paint"):
        (conf / "colour" / f"{name}.yaml").write_text(
            f"# The colour {name}.  Select: colour={name}\nname: {name}\n"
        )
    (folder / "tiny.py").write_text(SCRIPT)
    return folder


Tiny = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tiny(home: Path, tmp_path: Path) -> Tiny:
    """Run the throw-away stage in `tmp_path`."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LLM_TOOLKIT_PATH": str(home), **options.pop("env", {})}
        options.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(
            [sys.executable, str(home / "tiny.py"), *arguments],
            cwd=tmp_path,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
            check=False,
            **options,
        )

    return run


def files(folder: Path) -> list[str]:
    """Every path below a folder, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_run_leaves_its_output_and_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    """No outputs/, no .hydra/, no log file; nothing on stderr."""
    done = tiny("colour=green", "output_dir=here")
    assert (done.returncode, done.stdout, done.stderr) == (0, "here\n", "")
    assert files(tmp_path) == ["here", "here/result.json"]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["colour=gren"], ["colour=gren: no such option; did you mean green?"]),
        (["number=abc"], ["number: should be a valid integer (got 'abc')"]),
        (["numbr=1"], ["numbr: no such option; did you mean number?"]),
        (["+numbr=1"], ["numbr: no such option; did you mean number?"]),
        (["colour.nme=x"], ["colour.nme: no such option; did you mean colour.name?"]),
        (["unknown.key=1"], ["unknown.key: no such option; --help lists them"]),
        (["number"], ["'number' is not an option: options read NAME=VALUE"]),
        (["--nope"], ["unrecognized arguments: --nope"]),
        (["what=a(,"], ["what=a(,: cannot be read; put the value in quotes"]),
        (["colour=red,green"], ["colour=red,green: to run each value, add -m"]),
        (["what=???"], ["what is required: give what=…"]),
        (
            ["colour=gren", "numbr=1", "number=x"],
            ["colour=gren: no such", "numbr: no such", "number: should be a valid integer"],
        ),
    ],
)
def test_a_wrong_command_line_is_explained(
    tiny: Tiny, tmp_path: Path, arguments: list[str], lines: list[str]
) -> None:
    """Exit code 2, a line for each mistake with the nearest name, no traceback, no file."""
    done = tiny(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    printed = done.stderr.splitlines()
    assert len(printed) == len(lines)
    for text, line in zip(printed, lines, strict=True):
        assert text.removeprefix("error:").strip().startswith(line)
    assert files(tmp_path) == []


def test_a_wrong_toolkit_path_is_an_error(tiny: Tiny) -> None:
    """LLM_TOOLKIT_PATH set and wrong: two lines, exit code 2."""
    done = tiny(env={"LLM_TOOLKIT_PATH": "/nowhere"})
    assert done.returncode == 2
    assert done.stderr.startswith("error: LLM_TOOLKIT_PATH='/nowhere' is not an llmkit folder")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("what", "code", "text"),
    [
        ("red", 1, "error: red does not work\n       use green\n"),
        ("memory", 1, "error: out of memory"),
        ("bug", 1, "error: internal error: KeyError: 'missing' at "),
        ("exit", 3, ""),
    ],
)
def test_a_failing_function_is_reported_short(tiny: Tiny, what: str, code: int, text: str) -> None:
    """The error alone, in at most three lines, with its exit code."""
    done = tiny(f"what={what}")
    assert done.returncode == code
    assert done.stderr.startswith(text)
    assert len(done.stderr.splitlines()) <= 3
    assert "Traceback" not in done.stderr


def on_a_bare_python(name: str) -> subprocess.CompletedProcess[str]:
    """`python -m llmkit.NAME` by a Python that has none of the packages (-S)."""
    here = Path(__file__).resolve().parent.parent
    return subprocess.run(
        [sys.executable, "-S", "-m", f"llmkit.{name}"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["augment", "train", "serve"])
def test_outside_its_environment_it_says_so(name: str) -> None:
    """Two lines, no traceback."""
    done = on_a_bare_python(name)
    assert done.returncode == 1 and done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first == f"error: llmkit's packages are not installed for {sys.executable}"
    assert "pip install ." in second


@pytest.mark.parametrize("name", ["toolkit", "installer.facts"])
def test_what_needs_python_alone_runs_on_it(name: str) -> None:
    """The toolkit's folder, and the facts of a machine, are told without any package."""
    done = on_a_bare_python(name)
    assert "are not installed" not in done.stderr
    assert done.returncode == 0 and done.stdout, done.stderr


def test_debug_shows_the_traceback(tiny: Tiny) -> None:
    """LLMKIT_DEBUG=1 keeps what the short form hides."""
    done = tiny("what=bug", env={"LLMKIT_DEBUG": "1"})
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'missing'" in done.stderr


def test_output_below_a_file_is_reported(tiny: Tiny, tmp_path: Path) -> None:
    """An OSError names the path and the reason; exit code 1."""
    (tmp_path / "file").write_text("")
    done = tiny("output_dir=file/out")
    assert (done.returncode, done.stderr) == (1, "error: file/out: Not a directory\n")


def test_interrupting_gives_130_and_one_line(home: Path, tmp_path: Path) -> None:
    """Ctrl-C: no traceback."""
    process = subprocess.Popen(
        [sys.executable, str(home / "tiny.py"), "what=sleep"],
        cwd=tmp_path,
        env={**os.environ, "LLM_TOOLKIT_PATH": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "tiny: interrupted\n")


def test_a_reader_that_goes_away_is_no_error_message(home: Path, tmp_path: Path) -> None:
    """`| head -1` prints one line and nothing on stderr."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {home}/tiny.py what=many | head -1"],
        cwd=tmp_path,
        env={**os.environ, "LLM_TOOLKIT_PATH": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_full_standard_output_is_an_error(tiny: Tiny) -> None:
    """What could not be printed is not passed over: /dev/full, exit code 1."""
    with open("/dev/full", "w") as full:
        done = tiny("what=many", stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no space left on the device")
    assert "Traceback" not in done.stderr


def test_each_job_of_a_sweep_has_its_own_folder(tiny: Tiny, tmp_path: Path) -> None:
    """Under -m output_dir is the job's folder, and what refers to it follows."""
    done = tiny("-m", "colour=red,green", "number=1,2")
    assert done.returncode == 0, done.stderr
    folders = [Path(line) for line in done.stdout.splitlines()]
    assert [folder.name for folder in folders] == ["0", "1", "2", "3"]
    assert {folder.parent.parent.parent for folder in folders} == {tmp_path / "multirun" / "tiny"}
    results = [(folder / "result.json").read_text() for folder in folders]
    assert results == [f"{name}{folder}/copy" for name, folder in zip(
        ["red", "red", "green", "green"], folders, strict=True
    )]  # fmt: skip


def test_a_sweep_writes_below_a_given_output_dir(tiny: Tiny, tmp_path: Path) -> None:
    """output_dir=X under -m, with the flag between the overrides: X/0, X/1."""
    done = tiny("output_dir=x", "-m", "colour=red,green")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == [
        "x", "x/0", "x/0/result.json", "x/1", "x/1/result.json", "x/multirun.yaml"
    ]  # fmt: skip


def test_a_sweep_over_output_dir_overwrites_nothing(tiny: Tiny, tmp_path: Path) -> None:
    """Each value gets a folder of the job's number."""
    done = tiny("-m", "output_dir=a,b", "hydra.sweep.dir=s")
    assert done.returncode == 0, done.stderr
    assert [name for name in files(tmp_path) if name.endswith(".json")] == [
        "a/0/result.json",
        "b/1/result.json",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "reports"),
    [
        (["what=red"], 1, ["error: job 0 (colour=red what=red): red does not work"]),
        (["number=1,x"], 2, ["error: job 1 (colour=red number=x): number: should be a valid"]),
        (["what=exit"], 1, ["error: job 0 (colour=red what=exit): the job exited with 3"]),
    ],
)
def test_a_failing_job_does_not_stop_the_sweep(
    tiny: Tiny, arguments: list[str], code: int, reports: list[str]
) -> None:
    """Every job runs, each failure is named with its overrides, the exit code is the first's."""
    done = tiny("-m", "colour=red,green", *arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    for report in reports:
        assert any(line.startswith(report) for line in lines), done.stderr
    assert lines[-1] == "error: a job of the sweep failed: see above"


def test_run_info_says_how_to_repeat_the_run(tiny: Tiny) -> None:
    """Versions, overrides, choices without Hydra's, and the resolved config."""
    info = json.loads(tiny("what=info", "colour=green").stdout)
    assert info["stage"] == "tiny"
    assert info["overrides"] == ["what=info", "colour=green"]
    assert info["choices"] == {"colour": "green"}
    assert info["config"]["copy"] == "out/copy"
    assert info["packages"]["hydra-core"].startswith("1.3")
    assert set(info) == {
        "llmkit", "python", "packages", "stage", "overrides", "choices", "config"
    }  # fmt: skip


def test_help_tells_the_truth(tiny: Tiny, home: Path) -> None:
    """Groups with their options, options with their defaults, examples; nothing hidden."""
    done = tiny("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == stage_help.text("tiny", "Do next to nothing.", [home / "conf"])
    lines = [re.sub(r"(\S)  +", r"\1  ", line) for line in done.stdout.splitlines()]
    assert lines[0] == "Do next to nothing."
    assert "  colour  what it is painted with" in lines
    assert "    * red  The colour red" in lines
    assert "      green  The colour green" in lines
    assert "  output_dir=out  where results go" in lines
    assert "  number=1  of things" in lines
    assert lines[-2:] == [
        "  python -m llmkit.tiny colour=green",
        "  python -m llmkit.tiny -m colour=red,green",
    ]
    assert "base_" not in done.stdout


def test_help_lists_options_of_a_config_dir(tiny: Tiny, tmp_path: Path) -> None:
    """--config-dir adds options, in the help and in a run."""
    (tmp_path / "mine" / "colour").mkdir(parents=True)
    (tmp_path / "mine" / "colour" / "blue.yaml").write_text("# The colour blue.\nname: blue\n")
    assert "      blue   The colour blue" in tiny("--config-dir", "mine", "--help").stdout
    assert tiny("--config-dir", "mine", "colour=blue").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--cfg", "job"], "output_dir: out\n"),
        (["--hydra-help"], "Hydra"),
        (["--info", "defaults"], "colour/red"),
        (["--version"], "llmkit 0."),
    ],
)
def test_hydras_own_flags_work(tiny: Tiny, arguments: list[str], text: str) -> None:
    """The flags that --help names answer on stdout or stderr, and exit with 0."""
    done = tiny(*arguments)
    assert done.returncode == 0, done.stderr
    assert text in done.stdout


def test_shell_completion_completes(tiny: Tiny) -> None:
    """Options of a group are offered."""
    done = tiny("-sc", "query=bash", env={"COMP_LINE": "tiny.py colour=g"})
    assert (done.returncode, done.stdout.split()) == (0, ["colour=green"])


def test_flags_may_stand_anywhere() -> None:
    """Flags and their values go first; overrides keep their order."""
    arguments = ["a=1", "-m", "b=2", "--config-dir", "x", "c=3"]
    assert stage_args.prepare(arguments) == ["-m", "--config-dir", "x", "a=1", "b=2", "c=3"]


def test_a_task_pickles_by_reference() -> None:
    """A worker process gets the same function by importing it."""
    task = pickle.loads(pickle.dumps(Task("convert", convert, ConvertConfig)))
    assert (task.name, task.function, task.schema) == ("convert", convert, ConvertConfig)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RecordError("is empty", file="a.jsonl", line=3, pointer="/messages/0"), 1,
         "a.jsonl:3: /messages/0: is empty"),
        (RecordError("is empty"), 1, "is empty"),
        (MissingExtra("train", "training", "torch"), 2,
         "training needs more packages (torch is not installed): pip install 'llmkit[train]'"),
        (OutputError("x/y", OSError(28, "No space left on device")), 1,
         "cannot write x/y: No space left on device"),
        (ConfigError("a\nb"), 2, "a\nb"),
    ],
)  # fmt: skip
def test_errors_keep_text_and_code_when_pickled(error: LlmkitError, code: int, text: str) -> None:
    """What a worker raises is what the main process prints."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert copy.__dict__ == error.__dict__
    assert "\n".join(stage_errors.lines(copy)) == text
    assert stage_errors.exit_code(copy) == code
