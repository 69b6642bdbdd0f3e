"""Enter Hydra for a stage: typed config, friendly errors, exit codes, run information.

    main = stage("augment", augment, schema=AugmentConfig, summary="Conversations × machines")

`main()` composes `conf/augment.yaml` with the command line, turns it into an
`AugmentConfig` once, calls `augment(config)` and exits: 0 done, 1 the work failed, 2 bad
command line or config, 130 interrupted. With `-m`, each job writes to a folder of its
own. `LLMKIT_DEBUG=1` shows tracebacks.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llmkit
from llmkit import stage_args, stage_errors, stage_help
from llmkit.errors import ConfigError, LlmkitError
from llmkit.toolkit import find_toolkit

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Whose versions can change a stage's bytes; a manifest lists those that are installed.
_RECORDED_PACKAGES = (
    "hydra-core",
    "jinja2",
    "jsonschema",
    "jsonschema-rs",
    "llguidance",
    "omegaconf",
    "orjson",
    "peft",
    "pydantic",
    "safetensors",
    "torch",
    "transformers",
    "tree-sitter",
    "tree-sitter-bash",
)

_current: dict[str, Any] = {"stage": None, "overrides": [], "choices": {}, "config": {}}


def stage(
    name: str, function: Callable[[Any], Any], *, schema: type, summary: str
) -> Callable[[], None]:
    """Return the `main()` of the stage `name`, whose root config is `conf/NAME.yaml`.

    `function` gets one argument, an instance of the pydantic dataclass `schema`, and what
    it returns is what a sweeper sees. `summary` is the first line of `--help`.
    """
    task = Task(name, function, schema)

    def main() -> None:
        code = _guarded(lambda: _enter(task, summary), name)
        if code:
            sys.exit(code)

    return main


def run_info() -> dict[str, Any]:
    """What a manifest needs to repeat this run: versions, overrides, choices, config.

    Holds no time and no host name, so that the same run gives the same bytes. Outside a
    stage, `overrides`, `choices` and `config` are empty.
    """
    return {
        "llmkit": llmkit.__version__,
        "python": platform.python_version(),
        "packages": dict(_installed(_RECORDED_PACKAGES)),
        **_current,
    }


def _installed(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


class Task:
    """What Hydra runs for each job; pickles by reference, for launchers with workers."""

    def __init__(self, name: str, function: Callable[[Any], Any], schema: type) -> None:
        self.name = name
        self.function = function
        self.schema = schema
        self.__module__ = name  # from which Hydra takes the job's name

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_task, (self.name, _reference(self.function), _reference(self.schema))

    def __call__(self, config: DictConfig) -> Any:
        """Validate the composed config and run the stage's function on it."""
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        job = HydraConfig.get()
        if job.mode != RunMode.MULTIRUN:
            try:
                return self._run(config)
            except Exception as error:
                # Hydra would print a line of its own about an Exception; this passes through.
                raise _Stopped(error) from error
        try:
            return self._run(config)
        except SystemExit as error:  # would end the other jobs of the sweep
            stopped = LlmkitError(f"the job exited with {error.code}")
            self._report(stopped, job)
            raise stopped from error
        except Exception as error:
            self._report(error, job)
            raise

    def _run(self, composed: DictConfig) -> Any:
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf

        job = HydraConfig.get()
        _place_output(composed, job)
        missing = sorted(OmegaConf.missing_keys(composed))
        if missing:
            raise ConfigError("\n".join(f"{key} is required: give {key}=…" for key in missing))
        values: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        config = stage_errors.validated(self.schema, values)
        choices: Any = OmegaConf.to_container(job.runtime.choices)
        _current.update(
            stage=self.name,
            overrides=list(job.overrides.task),
            choices={
                str(group): choice
                for group, choice in sorted(choices.items())
                if not str(group).startswith("hydra/")
            },
            config=values,
        )
        return self.function(config)

    def _report(self, error: Exception, job: Any) -> None:
        """Say at once which job failed: the sweep goes on, and Hydra raises only the first."""
        if os.environ.get("LLMKIT_DEBUG") == "1":
            return
        what = " ".join(job.overrides.task) or "no overrides"
        lines = stage_errors.lines(error)
        stage_errors.show([f"job {job.job.num} ({what}): {lines[0]}", *lines[1:]])
        error.__dict__["shown_by"] = os.getpid()


class _Stopped(BaseException):
    """Carries a job's error past Hydra."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _reference(thing: Any) -> tuple[str, str]:
    """(module, qualified name) by which a worker can import `thing`."""
    module = thing.__module__
    if module == "__main__":  # run with `python -m`: the worker's __main__ is another
        specification = sys.modules["__main__"].__spec__
        if specification is not None:
            module = specification.name
    return module, thing.__qualname__


def _load_task(name: str, function: tuple[str, str], schema: tuple[str, str]) -> Task:
    def load(module: str, qualified: str) -> Any:
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
        return found

    return Task(name, load(*function), load(*schema))


def _place_output(composed: DictConfig, job: Any) -> None:
    """Under `-m`, make `output_dir` a folder that no other job of the sweep has.

    `stage_args.prepare` has turned a single `output_dir=X` into the sweep's folder, so
    what is left is a sweep over output_dir itself, in which values may repeat.
    """
    from hydra.types import RunMode
    from omegaconf import open_dict, read_write

    if job.mode != RunMode.MULTIRUN or "output_dir" not in composed:
        return
    own = Path(job.runtime.output_dir)
    given = any(text.startswith("output_dir=") for text in job.overrides.task)
    with read_write(composed), open_dict(composed):
        composed.output_dir = str(Path(composed.output_dir) / str(job.job.num) if given else own)


def _enter(task: Task, summary: str) -> None:
    arguments = sys.argv[1:]
    if "--version" in arguments:
        print(f"llmkit {llmkit.__version__}")
        return
    toolkit = find_toolkit()
    if stage_args.wants_help(arguments):
        # Without Hydra: reading the tree is several times faster than composing it.
        folders = [Path(folder) for folder in stage_args.extra_folders(arguments)]
        print(stage_help.text(task.name, summary, [*folders, toolkit.conf]), end="")
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv[1:] = stage_args.prepare(arguments)
    import logging

    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    # --info logs hundreds of lines; with `| head` each would bring a traceback.
    logging.raiseExceptions = os.environ.get("LLMKIT_DEBUG") == "1"
    try:
        hydra.main(version_base="1.3", config_path=str(toolkit.conf), config_name=task.name)(task)()
    except _Stopped as stopped:
        raise stopped.error from None
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if os.environ.get("LLMKIT_DEBUG") == "1" or hasattr(error, "shown_by"):
            raise
        from llmkit import stage_diagnosis

        found = stage_diagnosis.diagnose(
            error, task.name, task.schema, toolkit.conf, stage_args.parsed(sys.argv[1:])
        )
        raise ConfigError("\n".join(found)) from error


def _guarded(action: Callable[[], None], name: str) -> int:
    """Run `action`; print what went wrong in one to three lines; return the exit code."""
    try:
        with _flushed():
            action()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        stage_errors.show_line(f"{name}: interrupted")
        return 130
    except BrokenPipeError:
        # The reader went away (`| head`); keep the interpreter from flushing into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("LLMKIT_DEBUG") == "1":
            raise
        if error.__dict__.get("shown_by") == os.getpid():
            stage_errors.show(["a job of the sweep failed: see above"])
        else:
            stage_errors.show(stage_errors.lines(error))
        return stage_errors.exit_code(error)
    return 0


@contextmanager
def _flushed() -> Iterator[None]:
    """Flush stdout inside the block, so that a full disk or closed pipe is seen there."""
    try:
        yield
    finally:
        sys.stdout.flush()
