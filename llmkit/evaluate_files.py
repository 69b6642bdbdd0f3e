"""The folder of an evaluation: results.jsonl while it runs, the reports at its end.

    with open_run(folder, identity, domain, resume=True) as run:
        run.done  # results by case name that an earlier, interrupted run left
        run.add(result)

`run.json` says what is evaluated (`identity`: what a local model's answers depend on); results of
another evaluation are never mixed in.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from llmkit.config_engine import EngineConfig, ServeEngineConfig, Weights
from llmkit.config_model import ModelConfig
from llmkit.config_prompt import PromptOptions
from llmkit.domain import Domain
from llmkit.errors import ConfigError, OutputError
from llmkit.evaluate_failures import FAILURES
from llmkit.evaluate_run import Result, result_from_dict, result_to_dict
from llmkit.model_adapter import RECALL
from llmkit.output import write_whole
from llmkit.prompt import prompt_identity
from llmkit.wording import WORDS

ADAPTER = "adapter_config.json"
RUN, RESULTS, REPORT = "run.json", "results.jsonl", "report.json"


class Run:
    """An evaluation that is under way."""

    def __init__(self, stream: BinaryIO, domain: Domain, done: dict[str, Result]) -> None:
        self._stream, self._domain = stream, domain
        self.done = done

    def add(self, result: Result) -> None:
        """Keep a result, so that an interruption loses none."""
        self._stream.write(orjson.dumps(result_to_dict(result, self._domain)) + b"\n")
        self._stream.flush()


@contextmanager
def open_run(
    folder: Path, identity: Mapping[str, Any], domain: Domain, *, resume: bool
) -> Iterator[Run]:
    """Begin an evaluation in `folder`, or go on with the one that is there.

    Raises ConfigError when the folder holds another evaluation and `resume` is set, OutputError
    when it cannot be written.
    """
    if (folder / ADAPTER).is_file():
        raise ConfigError(f"output_dir={folder} is an adapter's folder: name another one")
    digest = hash_of(identity)
    kept: list[Result] = []
    if resume and (folder / RUN).is_file():
        if _saved(folder).get("hash") != digest:
            raise ConfigError(
                f"output_dir={folder} holds another evaluation: name another folder, or replace it "
                "with resume=never"
            )
        kept = list(_readable(folder / RESULTS, domain))
    elif resume and (folder / RESULTS).exists():
        raise ConfigError(
            f"output_dir={folder} holds a {RESULTS} of something else: name another folder, or "
            "replace it with resume=never"
        )
    write_whole(folder / RUN, json.dumps({"hash": digest, **identity}, indent=2) + "\n")
    write_results(folder, kept, domain)  # without a line that was cut short
    for name in (REPORT, FAILURES):
        (folder / name).unlink(missing_ok=True)  # they are of what was there
    try:
        with open(folder / RESULTS, "ab") as stream:
            yield Run(stream, domain, {result.case.name: result for result in kept})
    except OSError as error:
        raise OutputError(folder, error) from error


def hash_of(identity: Mapping[str, Any]) -> str:
    """16 hexadecimal digits for all that answers depend on."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rounded(engine: EngineConfig | ServeEngineConfig) -> bool:
    """Whether the engine rounds the weights."""
    return isinstance(engine, ServeEngineConfig) and engine.weights is Weights.int8


def identity(
    model: ModelConfig,
    prompt: PromptOptions,
    engine: EngineConfig | ServeEngineConfig,
    adapter: Path | None,
    domain: Domain,
) -> dict[str, Any]:
    """What a local model's answers depend on, but for the cases: JSON data."""
    from llmkit.model import model_identity

    found: dict[str, Any] = {"model": model_identity(model), "dtype": model.dtype.value,
                             "quantization": model.quantization.value}  # fmt: skip
    if rounded(engine):
        found["weights"] = "int8"
    if adapter is None:
        return {**found, "adapter": None, "prompt": prompt_identity(prompt, domain)}
    found["adapter"] = adapter.name
    recall = [RECALL] if engine.recall else []
    for name in ("adapter_model.safetensors", "prompt_config.json", WORDS, *recall):
        path = adapter / name
        if path.is_file():
            with open(path, "rb") as stream:
                found[f"{name} sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
        elif name == "prompt_config.json":
            found["prompt"] = prompt_identity(prompt, domain)
    return found


def rules_digest(domain: object) -> str:
    """A hash of the source of a domain's package: all of it can matter for what its review says."""
    kind: Any = domain if inspect.ismodule(domain) else type(domain)
    own = Path(inspect.getfile(kind))
    package = own.name == "__init__.py" or "." in getattr(kind, "__module__", kind.__name__)
    digest = hashlib.sha256()
    for file in sorted(own.parent.rglob("*.py")) if package else [own]:
        digest.update(file.relative_to(own.parent).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def write_results(folder: Path, results: Iterable[Result], domain: Domain) -> None:
    """results.jsonl, whole."""
    lines = [orjson.dumps(result_to_dict(result, domain)) + b"\n" for result in results]
    write_whole(folder / RESULTS, b"".join(lines))


def read_results(
    folder: Path, domain: Domain, scorers: Iterable[str] | None = None
) -> list[Result]:
    """The results of a finished run; with `scorers`, scored anew.

    Raises ConfigError when there is no finished run.
    """
    if not (folder / RESULTS).is_file():
        raise ConfigError(f"{folder}: no evaluation there, {RESULTS} is missing")
    if not (folder / REPORT).is_file():
        raise ConfigError(f"{folder}: the evaluation there was not finished; run it again first")
    names = None if scorers is None else list(scorers)
    try:
        return [
            result_from_dict(orjson.loads(line), domain, names)
            for line in (folder / RESULTS).read_bytes().splitlines()
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / RESULTS} cannot be read: {error!r}") from error


def _saved(folder: Path) -> dict[str, Any]:
    try:
        saved = json.loads((folder / RUN).read_bytes())
    except ValueError:
        return {}
    return saved if isinstance(saved, dict) else {}


def _readable(path: Path, domain: Domain) -> Iterator[Result]:
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return  # cut short when the run was killed
        try:
            yield result_from_dict(orjson.loads(line), domain)
        except (ValueError, KeyError, TypeError):
            return
