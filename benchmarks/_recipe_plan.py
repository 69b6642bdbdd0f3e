"""What recipe.py is going to run: variants from the command line, checked before anything starts.

variants = planned(curve=[25, 100], given=["slow:optim.lr=5e-4"], common=["model=tiny"], steps=30, …)
variants[0].train(parts, folder)  # ["-m", "llmkit.train", …]
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _recipe_data import Part, label

BASE = "base"  # all of the data, and no option but those for all
_OWN = {
    "data.train", "data.eval", "data.eval_limit", "data.held_out", "epochs", "max_steps",
    "max_time", "output_dir", "resume", "experiment",
}  # fmt: skip
_EVALUATE_OWN = {
    "adapter", "cases", "limit", "case", "output_dir", "rescore", "compare", "sweep_dir", "card",
    "resume", "backend",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


@dataclass(frozen=True)
class Variant:
    """A training run: a share of the data, and options of llmkit.train."""

    name: str
    share: float  # percent of the conversations
    own: tuple[str, ...]  # options that the others do not have
    options: tuple[str, ...]  # all
    evaluation: tuple[str, ...]  # of llmkit.evaluate
    steps: int
    config: Any  # the TrainConfig they come to

    def train(self, parts: Mapping[str, Part], output: Path) -> list[str]:
        """Arguments of python."""
        fixed = (
            f"data.train={parts[label(self.share)].path}", f"data.eval={parts['loss'].path}",
            "data.eval_limit=null", f"epochs={self.steps}", f"max_steps={self.steps}",
            f"output_dir={output}",
        )  # fmt: skip
        return ["-m", "llmkit.train", *self.options, *fixed]

    def key(self, parts: Mapping[str, Part]) -> str:
        """A digest of all that decides the weights."""
        options = [text for text in self.options if _key(text) not in ("threads", "log_every")]
        data = [parts[name].sha256 for name in (label(self.share), "loss")]
        return digest([options, self.steps, data, _start(self.config)])


@dataclass(frozen=True)
class Average:
    """The mean of the weights of variants that began alike."""

    members: tuple[Variant, ...]

    @property
    def name(self) -> str:
        """What it is called in tables and folders."""
        return "mean-of-" + "-".join(member.name for member in self.members)

    def key(self, parts: Mapping[str, Part]) -> str:
        """A digest of all that decides the weights."""
        return digest([member.key(parts) for member in self.members])

    def loss(self, adapter: Path, parts: Mapping[str, Part], output: Path) -> list[str]:
        """Arguments of python that take the held-out loss: training, by a step of no length."""
        of = ("lora", "model", "domain", "prompt", "threads")
        kept = [text for text in self.members[0].options if _key(text).partition(".")[0] in of]
        file = parts["loss"].path
        fixed = (
            f"adapter={adapter}", f"data.train={file}", f"data.eval={file}", "data.eval_limit=null",
            "optim.lr=1e-30", "epochs=1", "max_steps=1", "eval_every=null", f"output_dir={output}",
        )  # fmt: skip
        return ["-m", "llmkit.train", *kept, *fixed]


def evaluate(variant: Variant, adapter: Path, cases: Path, output: Path) -> list[str]:
    """Arguments of python that let an adapter answer the held-out cases."""
    fixed = (f"adapter={adapter}", f"cases={cases}", f"output_dir={output}")
    return ["-m", "llmkit.evaluate", *variant.evaluation, *fixed]


def digest(what: Any) -> str:
    """Ten hexadecimal digits for JSON data."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:10]


def planned(
    *,
    curve: Sequence[float],
    given: Sequence[str],
    common: Sequence[str],
    evaluation: Sequence[str],
    steps: int | None,
    tokens: int,
    quiet: Sequence[str] = (),
) -> list[Variant]:
    """The base, the shares of `curve`, and the variants of `given`, in this order.

    `steps` null: as many as compute `tokens`. `quiet` are options that give way to any other.
    Raises ConfigError, one line that names the option, for what llmkit.train or llmkit.evaluate
    would refuse.
    """
    from llmkit.errors import ConfigError

    wanted: list[tuple[str, float, list[str]]] = [(BASE, 100.0, [])]
    for share in dict.fromkeys(curve):
        if not 0 < share <= 100:
            raise ConfigError(f"--curve {share:g}: a share is above 0 and at most 100 percent")
        if share < 100:  # the base has all
            wanted.append((f"data-{share:g}", share, []))
    wanted += [(name, 100.0, own) for name, own in map(parsed, given)]
    names = [name for name, _, _ in wanted]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--variants {name}: there is another variant of that name")
    return [
        _variant(name, share, own, common, evaluation, steps, tokens, quiet)
        for name, share, own in wanted
    ]


def averages(groups: Sequence[Sequence[str]], variants: Sequence[Variant]) -> list[Average]:
    """The means of `groups` of names. Raises ConfigError for those of which there is none."""
    from llmkit.errors import ConfigError

    by_name = {variant.name: variant for variant in variants}
    found = []
    for names in groups:
        said = f"--average {' '.join(names)}"
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise ConfigError(f"{said}: no variant {unknown[0]}; there are {', '.join(by_name)}")
        if len(set(names)) < 2:
            raise ConfigError(f"{said}: name two variants or more")
        members = tuple(by_name[name] for name in dict.fromkeys(names))
        for member in members[1:]:
            if _began(member.config) != _began(members[0].config):
                raise ConfigError(
                    f"{said}: {member.name} and {members[0].name} do not begin at the same weights "
                    "(seed, adapter, lora, model and prompt must be the same)"
                )
        found.append(Average(members))
    return found


def parsed(text: str) -> tuple[str, list[str]]:
    """`name:key=value,key=value` as a name and options; commas within brackets or quotes stay."""
    from llmkit.errors import ConfigError

    name, colon, rest = text.partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise ConfigError(f"--variants {text}: should read NAME:KEY=VALUE[,KEY=VALUE]")
    options, depth, quote, start = [], 0, "", 0
    for place, letter in enumerate(rest):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        elif letter == "," and not depth:
            options.append(rest[start:place])
            start = place + 1
    options.append(rest[start:])
    for option in options:
        if not _key(option) or "=" not in option:
            raise ConfigError(f"--variants {name}: {option!r} should read KEY=VALUE")
    return name, options


def merged(*options: Sequence[str]) -> tuple[str, ...]:
    """All of them; a later one takes the place of an earlier one of its name."""
    found: dict[str, str] = {}
    for group in options:
        for text in group:
            found.pop(_key(text), None)
            found[_key(text)] = text
    return tuple(found.values())


def _key(option: str) -> str:
    return option.partition("=")[0].strip().lstrip("+~")


def _variant(
    name: str,
    share: float,
    own: Sequence[str],
    common: Sequence[str],
    evaluation: Sequence[str],
    steps: int | None,
    tokens: int,
    quiet: Sequence[str],
) -> Variant:
    from llmkit.config_evaluate import EvaluateConfig
    from llmkit.config_train import TrainConfig

    said = f"--variants {name}" if own else "--all"
    _refuse(said, [*common, *own], _OWN)
    _refuse("--evaluate", evaluation, _EVALUATE_OWN)
    options = merged(["eval_every=null", *quiet], common, own)
    config = composed(said, "train", TrainConfig, options)
    shared = [text for text in options if _key(text).partition(".")[0] in ("model", "domain")]
    answers = merged(shared, evaluation)
    composed("--evaluate", "evaluate", EvaluateConfig, answers)
    _start(config, said)  # an adapter that is not there
    count = steps if steps is not None else max(1, round(tokens / config.data.tokens_per_step))
    return Variant(name, share, tuple(own), options, answers, count, config)


def _refuse(said: str, options: Sequence[str], own: set[str]) -> None:
    from llmkit.errors import ConfigError

    for text in options:
        if "=" not in text:
            raise ConfigError(f"{said}: {text!r} should read KEY=VALUE")
        if _key(text) in own:
            raise ConfigError(f"{said}: {_key(text)} is set by recipe.py, the same for all")


def composed(said: str, stage: str, schema: type, options: Sequence[str]) -> Any:
    """The config of a stage, as the process will get it. Raises ConfigError: one line."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from llmkit.errors import ConfigError
    from llmkit.stage_args import parsed as read
    from llmkit.stage_diagnosis import diagnose
    from llmkit.stage_errors import validated
    from llmkit.toolkit import find_toolkit

    conf = find_toolkit().conf
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
            values: Any = OmegaConf.to_container(compose(stage, list(options)), resolve=True)
        return validated(schema, values)
    except ConfigError as error:
        raise ConfigError(f"{said}: {str(error).splitlines()[0]}") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        found = diagnose(error, stage, schema, conf, read(list(options)))
        raise ConfigError(f"{said}: {found[0]}") from error


def _start(config: Any, said: str = "adapter") -> str | None:
    """The digest of the adapter that a run goes on from."""
    from llmkit.errors import ConfigError
    from llmkit.model_adapter import WEIGHTS, adapter_path
    from llmkit.output import sha256

    try:
        folder = adapter_path(config.adapter, domain=config.domain.name, model=config.model.name)
    except ConfigError as error:
        raise ConfigError(f"{said}: {str(error).splitlines()[0]}") from error
    return None if folder is None else sha256(folder / WEIGHTS)


def _began(config: Any) -> list[Any]:
    """What is the same for runs whose first weights, and their meaning, are the same."""
    start = _start(config)
    return [start if start is not None else config.seed, config.lora, config.model, config.prompt]
