"""A stage's command line before Hydra sees it: order, help, and where a sweep writes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from llmkit.errors import ConfigError

# Hydra's options that take a value (hydra-core 1.3, get_args_parser).
_WITH_VALUE = {
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn",
    "--config-dir", "-cd", "--experimental-rerun",
}  # fmt: skip


# What may follow --info.
_INFO = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether our own help was asked for (`--hydra-help` is Hydra's)."""
    return "--help" in arguments or "-h" in arguments


def extra_folders(arguments: Sequence[str]) -> list[str]:
    """The folders given with --config-dir."""
    found = []
    for index, argument in enumerate(arguments):
        if argument in ("--config-dir", "-cd") and index + 1 < len(arguments):
            found.append(arguments[index + 1])
        elif argument.startswith("--config-dir="):
            found.append(argument.partition("=")[2])
    return found


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """(flags with their values, overrides), each in the order given."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if flags and flags[-1] in ("--info", "-i") and argument in _INFO:
            flags.append(argument)
        elif argument in _WITH_VALUE:
            flags.append(argument)
            flags.extend([value for value in [next(rest, None)] if value is not None])
        elif argument.startswith("-") and len(argument) > 1:
            flags.append(argument)
        else:
            overrides.append(argument)
    return flags, overrides


def prepare(arguments: Sequence[str]) -> list[str]:
    """Flags first, then overrides: Hydra refuses flags that stand between overrides.

    With `-m`, `output_dir=X` becomes the sweep's folder, so that each job gets a folder
    below X and no job overwrites another's results.
    Raises ConfigError for an argument that is neither a flag nor an override.
    """
    flags, overrides = split(arguments)
    for override in overrides:
        if "=" not in override and not override.startswith("~"):
            raise ConfigError(f"{override!r} is not an option: options read NAME=VALUE; see --help")
    if ("-m" in flags or "--multirun" in flags) and not any(
        text.startswith("hydra.sweep.dir=") for text in overrides
    ):
        overrides = [_sweep_folder(override) for override in overrides]
    parsed([*flags, *overrides])
    return [*flags, *overrides]


def _sweep_folder(override: str) -> str:
    name, _, value = override.partition("=")
    several = "," in value or value.startswith(("choice(", "range(", "glob("))
    return override if name != "output_dir" or several else f"hydra.sweep.dir={value}"


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """`arguments` as Hydra's own parser reads them. Raises ConfigError instead of exiting."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(list(arguments))
