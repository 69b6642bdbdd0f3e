"""What the recipe is worth: a learning curve over corpus size, and ablations at one small budget.

    python benchmarks/recipe.py --data data/training/augmented_dataset.jsonl --out evaluations/recipe \\
        --tokens 250000 --curve 25 50 100 --all optim.lr=2e-3 --jobs 2 \\
        --variants smooth:optim.label_smoothing=0.1 slow:optim.lr=1e-3 weight:optim.text_weight=0.5 \\
        --average base weight
    python benchmarks/recipe.py … --plan   # the commands alone
    python benchmarks/recipe.py --progress  # docs/plots/progress.png from docs/plots/progress.json

Every variant is a process of llmkit.train with the same number of steps (or of computed tokens), then
one of llmkit.evaluate on the same snapshots. Conversations that are held out (by a hash of their
ids, out of what augment wrote for training) give the snapshots for the loss and for the answers; no
variant trains on them, and the test half is not touched. `base` has all that is left, and no option
but those of --all; `--curve 25` takes a quarter of its conversations for as many steps, so more
passes. A share says something only where the budget is more than it: `passes` in the table. With
`--machines 1` every training conversation comes on one machine alone, which makes the corpus, and the
time to read it, a quarter. `--average A B` is the mean of the weights of variants that began alike.

--out gets recipe.json (figures, commands, versions), recipe.md and recipe.png, written anew after each
variant, and the adapters in variants/. What is finished (same options, same data) is not run again;
what was cut off goes on from its checkpoint. A quarter of an hour a variant on a CPU core with the
default budget; intervals are 95%, by bootstrap over conversations.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _recipe_data import split
from _recipe_plan import averages, planned
from _recipe_run import Job, Processes, work
from _recipe_table import report, table

ROOT = Path(__file__).resolve().parent.parent
PLOTS = ROOT / "docs/plots"


def measure(given: argparse.Namespace) -> int:
    """Do what the command line asks for; the exit code."""
    from llmkit.stage import run_info

    alone = given.jobs == 1
    variants = planned(
        curve=given.curve, given=given.variants, common=given.all, evaluation=given.evaluate,
        steps=given.steps, tokens=given.tokens, quiet=[] if alone else ["threads=1"],
    )  # fmt: skip
    means = averages(given.average, variants)
    parts = split(
        given.data, given.out, shares=[variant.share for variant in variants],
        held_out=given.held_out, losses=given.losses, cases=given.snapshots, seed=given.seed,
        machines=given.machines,
    )  # fmt: skip
    place = given.out / "variants"
    jobs = [Job(v.name, place / f"{v.name}-{v.key(parts)}", v, None, parts) for v in variants]
    jobs += [Job(m.name, place / f"{m.name}-{m.key(parts)}", m.members[0], m, parts) for m in means]
    processes = Processes(alone)
    about = {
        "command": shlex.join(["python", *sys.argv]),
        "budget": f"{given.steps:,} steps" if given.steps else f"{given.tokens:,} computed tokens",
        "data": str(given.data),
        "seed": given.seed,
        "held_out": given.held_out,
        "machines": given.machines,
        "parts": {name: {**vars(part), "path": str(part.path)} for name, part in parts.items()},
        "versions": {key: run_info()[key] for key in ("llmkit", "python", "packages")},
        "commit": _commit(),
    }
    for name, part in parts.items():
        print(f"{name}: {part.snapshots:,} snapshots of {part.conversations:,} conversations",
              file=sys.stderr)  # fmt: skip
    if given.plan:
        for job in jobs:
            print(f"# {job.name}{' (done)' if job.finished() else ''}")
            print(*map(processes.shown, job.commands().values()), sep="\n")
        return 0
    errors = work(
        jobs,
        processes,
        given.jobs,
        lambda errors: report(jobs, errors, processes, about, given.out),
    )
    rows = report(jobs, errors, processes, about, given.out)
    print("\n".join(table(rows)))
    print(given.out / "recipe.png")
    return 1 if errors else 0


def _commit() -> str | None:
    """The checkout's commit; `-dirty` behind it where files were changed."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _count(text: str) -> int:
    value = int(text.replace("_", "").replace(",", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, and say errors in one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = ROOT / "data/training/augmented_dataset.jsonl"
    parser.add_argument(
        "--data", type=Path, default=data, help="snapshots that augment wrote for training"
    )
    parser.add_argument("--out", type=Path, default=Path("evaluations/recipe"))
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=_count, help="optimizer steps of each variant")
    budget.add_argument(
        "--tokens", type=_count, default=250_000, help="computed tokens of each variant"
    )
    parser.add_argument("--curve", type=float, nargs="+", default=[], metavar="PERCENT")
    parser.add_argument("--variants", nargs="+", default=[], metavar="NAME:KEY=VALUE[,KEY=VALUE]")
    parser.add_argument("--average", nargs="+", action="append", default=[], metavar="NAME")
    parser.add_argument(
        "--all", nargs="+", default=[], metavar="KEY=VALUE", help="for every training"
    )
    parser.add_argument(
        "--evaluate", nargs="+", default=[], metavar="KEY=VALUE", help="for llmkit.evaluate"
    )
    parser.add_argument("--held-out", type=_share, default=0.1, help="share of the conversations")
    parser.add_argument("--snapshots", type=_count, default=200, help="held-out cases to answer")
    parser.add_argument(
        "--losses", type=_count, default=200, help="held-out snapshots for the loss"
    )
    parser.add_argument(
        "--seed", type=int, default=42, help="of what is drawn; --all seed= is training's"
    )
    parser.add_argument(
        "--machines", type=_count, help="of each training conversation; without: all"
    )
    parser.add_argument(
        "--jobs", type=_count, default=1, help="variants at a time, a thread each if several"
    )
    parser.add_argument("--plan", action="store_true", help="print the commands, run none")
    parser.add_argument("--progress", action="store_true", help="draw docs/plots/progress.png")

    def refuse(message: str) -> NoReturn:
        parser.exit(2, f"error: {message}; see --help\n")

    parser.error = refuse  # type: ignore[method-assign]  # one line, without the usage
    given = parser.parse_args(argv)
    if not (given.curve or given.variants):
        given.curve = [25.0, 50.0, 100.0]

    from llmkit.stage_errors import exit_code, lines

    try:
        if given.progress:
            from _recipe_plots import progress

            progress(PLOTS / "progress.json", PLOTS / "progress.png")
            print(PLOTS / "progress.png")
            return 0
        return measure(given)
    except KeyboardInterrupt:
        print("recipe: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("LLMKIT_DEBUG") == "1":
            raise
        print(f"error: {lines(error)[0]}", file=sys.stderr)
        return exit_code(error)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
