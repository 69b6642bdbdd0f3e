"""Who answers to which name: the base model, its adapter, and more adapters.

found = voices(cfg, adapter, {"second": folder})
found.names["second"]  # 2: where in `folders`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmkit.config_serve import ServeConfig
from llmkit.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Voices:
    """`folders`: one adapter for each voice, None: the base alone. `names` say which voice requests
    mean, the model's own name first; `default` is that of requests that name none.

    One voice is one model, with its adapter folded in. Where there are several, adapters stay apart.
    """

    folders: tuple[Path | None, ...]
    names: Mapping[str, int]
    default: int


def voices(cfg: ServeConfig, adapter: Path | None, more: Mapping[str, Path | None]) -> Voices:
    """The voices of a config. Raises ConfigError for a name that is meant twice."""
    own = [cfg.model.name, *([adapter.name] if adapter else []), *cfg.names]
    if not more:
        return Voices((adapter,), dict.fromkeys(own, 0), 0)
    folders: list[Path | None] = [None, *([adapter] if adapter else [])]
    default = len(folders) - 1
    names = {cfg.model.name: 0} | {name: default for name in own if name != cfg.model.name}
    for name, folder in more.items():
        if name in names:
            raise ConfigError(f"adapters.{name}: requests mean something else by that name already")
        if folder is None:
            raise ConfigError(
                f"adapters.{name}: a folder is needed; the base is {cfg.model.name!r}"
            )
        names[name] = len(folders)
        folders.append(folder)
    return Voices(tuple(folders), names, default)
