"""Why Hydra refused a command line: every wrong name, with the nearest valid one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmkit import stage_errors
from llmkit.errors import ConfigError
from llmkit.stage_help import options


def diagnose(
    error: Exception, name: str, schema: type, conf: Path, arguments: argparse.Namespace
) -> list[str]:
    """Lines that say what is wrong, from composing the config without the wrong parts.

    Falls back to Hydra's own first lines where no override is to blame (a broken YAML
    file, an interpolation).
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    extra = [Path(arguments.config_dir)] if arguments.config_dir else []
    for folder in extra:
        if not folder.is_dir():
            return [f"--config-dir {folder}: no such folder"]
    folders = [*extra, conf]
    groups = {
        str(path.relative_to(folder))
        for folder in folders
        for path in folder.rglob("*")
        if path.is_dir()
    }
    name = arguments.config_name or name
    if not any((folder / f"{name}.yaml").is_file() for folder in folders):
        return [f"no config {name}.yaml in {', '.join(map(str, folders))}"]

    parser = OverridesParser.create()
    found: list[str] = []
    good: list[str] = []
    keys: list[Any] = []
    for text in arguments.overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            key, _, value = text.partition("=")
            found.append(f"{text}: cannot be read; put the value in quotes: {key}='\"{value}\"'")
            continue
        if override.is_sweep_override() and not arguments.multirun:
            key, _, value = text.partition("=")
            found.append(f"{text}: to run each value, add -m; a list reads {key}=[{value}]")
        if override.key_or_group in groups:
            wrong = _wrong_options(override, folders)
            found.extend(wrong)
            if not wrong and not override.is_sweep_override():
                good.append(text)
        elif override.key_or_group.startswith("hydra"):
            good.append(text)
        else:
            keys.append(override)

    composed = _compose(conf, extra, name, good)
    if composed is None:
        return found or _first_lines(error)
    known = _dotted(composed)
    for override in keys:
        key = override.key_or_group
        if key not in known and not override.is_add() and not override.is_force_add():
            found.append(f"{key}: no such option{_nearest_key(key, [*known, *groups])}")
        elif not override.is_sweep_override():
            good.append(override.input_line)
    return [*found, *_wrong_values(conf, extra, name, good, schema)] or _first_lines(error)


def _wrong_options(override: Any, folders: Sequence[Path]) -> list[str]:
    group = override.key_or_group
    valid = {option for folder in folders for option in options(folder / group)}
    values = (
        list(override.sweep_string_iterator())
        if override.is_discrete_sweep()
        else [override.value()]
    )
    available = ", ".join(sorted(valid))
    if values == [None] and not override.is_delete():
        return [f"{group}=null: give an option; available: {available}"]
    wrong = [value for value in values if isinstance(value, str) and value not in valid]
    return [
        f"{group}={value}: no such option{stage_errors.suggestion(value, valid)} "
        f"(available: {available})"
        for value in wrong
    ]


def _nearest_key(key: str, known: Sequence[str]) -> str:
    near = stage_errors.nearest(key, known)
    section, _, name = key.rpartition(".")
    if near is None and (not section or section in known):
        # the right name without its section, or a slip in the end of a long path
        last = {each.rpartition(".")[2]: each for each in reversed(known)}
        found = stage_errors.nearest(name, last)
        near = last[found] if found else None
    return f"; did you mean {near}?" if near else "; --help lists them"


def _compose(conf: Path, extra: Sequence[Path], name: str, overrides: list[str]) -> Any | None:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    GlobalHydra.instance().clear()
    search = [f"hydra.searchpath=[{','.join(f'file://{folder.absolute()}' for folder in extra)}]"]
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
            return compose(name, overrides=[*overrides, *(search if extra else [])])
    except (HydraException, OmegaConfBaseException, ValueError):
        return None


def _dotted(config: Any) -> list[str]:
    """Every dotted name in the config, sections included."""
    from omegaconf import DictConfig

    names: list[str] = []

    def visit(node: DictConfig, prefix: str) -> None:
        for key in map(str, node):
            names.append(f"{prefix}{key}")
            child = node._get_node(key)
            if isinstance(child, DictConfig) and isinstance(child._value(), dict):
                visit(child, f"{prefix}{key}.")  # its value is text where it is not yet known

    visit(config, "")
    return names


def _wrong_values(
    conf: Path, extra: Sequence[Path], name: str, overrides: list[str], schema: type
) -> list[str]:
    """What the schema says about the overrides that Hydra itself takes."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    composed = _compose(conf, extra, name, overrides)
    if composed is None or OmegaConf.missing_keys(composed):
        return []
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
        stage_errors.validated(schema, values)
    except ConfigError as error:
        return str(error).splitlines()
    except OmegaConfBaseException:
        return []
    return []


def _first_lines(error: BaseException, limit: int = 3) -> list[str]:
    texts = [line.strip() for line in str(error).splitlines() if line.strip()]
    return texts[:limit] or [type(error).__name__]
