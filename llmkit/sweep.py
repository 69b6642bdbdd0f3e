"""Train many adapters, evaluate each on the same cases, and rank them.

    python -m llmkit.sweep -m sweep=quick output_dir=sweeps/quick
    python -m llmkit.sweep -m lora.r=8,16 optim.lr=1e-4,2e-4 output_dir=sweeps/mine

A job is known by the hash of its resolved config and of the files it reads: it is trained in
output_dir/jobs/HASH, and what is finished there is neither repeated nor overwritten. So a sweep that
was killed goes on where it was, and two combinations that come to the same run once. A job that fails
is on the board with its error, and is tried again by the next run. The board (leaderboard.json,
leaderboard.csv, sweep.html) is written anew after every job.
"""

from __future__ import annotations

import sys
from pathlib import Path

from llmkit import stage_args, sweep_board
from llmkit.config_sweep import SweepConfig
from llmkit.stage import run_info, stage


def sweep(cfg: SweepConfig) -> float:
    """Run one job of a sweep, unless it is done; returns its score.

    Raises whatever training or evaluation raised, after it was put on the board: Hydra goes on
    with the other jobs, and the sweep ends with exit code 1.
    """
    from llmkit.sweep_job import run

    result = run(cfg, run_info()["overrides"])
    score: float = result["score"]
    return score


_stage = stage("sweep", sweep, schema=SweepConfig, summary=__doc__.splitlines()[0])


def main() -> None:
    """Enter the stage, always as a sweep, and print the top of the board however it ended."""
    flags, _ = stage_args.split(sys.argv[1:])
    if not flags:
        sys.argv[1:] = ["-m", *sys.argv[1:]]
    try:
        _stage()
    finally:
        _report()


def _report() -> None:
    hook = sys.modules.get("llmkit.sweep_hook")
    folder: Path | None = hook.started[-1] if hook and hook.started else None
    if folder is not None and (folder / sweep_board.JOBS).is_dir():
        sweep_board.write(folder)
        print(sweep_board.summary(folder))


if __name__ == "__main__":
    main()
