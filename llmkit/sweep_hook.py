"""A Hydra callback that makes the sweep's folder, and sets what llmkit wants of the plugins.

Named in conf/sweep.yaml. `sweep.main` writes the board when Hydra has ended, however it ended:
`on_multirun_end` is left out when a job fails (hydra-core 1.3.8). Options of Hydra's plugins cannot
have values in conf/ (a file there that is called as a plugin's own option is refused), so the ones
that differ are given to this callback.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

started: list[Path] = []  # the sweep's folder, once this process has begun a sweep


class SweepFolder(Callback):
    """Makes the folder early: a study's SQLite file is opened in it before any job begins.

    `sweepers` and `launchers` map options of hydra/sweeper and hydra/launcher to values for them;
    what the command line says wins.
    """

    def __init__(self, sweepers: Any, launchers: Any) -> None:
        self.values = {"sweeper": sweepers, "launcher": launchers}

    def on_multirun_start(self, config: Any, **options: Any) -> None:
        """Called in the process that launches the jobs, before sweeper and launcher are made."""
        from omegaconf import OmegaConf, open_dict, read_write

        folder = Path(config.hydra.sweep.dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        started.append(folder)
        given = [text.lstrip("+").partition("=")[0] for text in config.hydra.overrides.hydra]
        with read_write(config), open_dict(config):
            for kind, values in self.values.items():
                chosen = values.get(config.hydra.runtime.choices[f"hydra/{kind}"], {})
                for key, value in chosen.items():
                    name = f"hydra.{kind}.{key}"
                    if name not in given:
                        OmegaConf.update(config, name, value, merge=True)
