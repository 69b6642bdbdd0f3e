"""How much worse the answers get when the same is said or asked otherwise.

    python benchmarks/robustness.py adapter=shipped                       # the hand-written cases
    python benchmarks/robustness.py cases=data/testing/test_dataset.jsonl limit=300 review=true tries=4
    python benchmarks/robustness.py --count cases=data/testing/test_dataset.jsonl limit=300

Takes the options of llmkit.evaluate. Every case is answered as it stands and in variants: typing
errors, all in lower case, in capitals, Each Word With A Capital, without punctuation, in another
author's words (snapshots only), with disks of unknown models, of other sizes, of another kind. All
are answered by one run of the same code, about 0.2 s each; a run that was interrupted goes on. A
variant is held against its own original: the difference in the share that ends in the right state,
with a 95% interval (bootstrap over conversations). --count says how many there are of each, and why
some are left out, without a model. output_dir gets the evaluation's files, robustness.json and
robustness.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORDINGS = ("typos", "lower", "upper", "title", "punctuation", "paraphrase")
MACHINES = ("model", "size", "device")
GROUPS = {"wording": WORDINGS, "machine": MACHINES}
LIMIT = 0.03  # what may be lost (issue 8)


def composed(overrides: Sequence[str]) -> Any:
    """evaluate.yaml with overrides, as the stage would get it."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from llmkit.config_evaluate import EvaluateConfig
    from llmkit.stage_errors import validated

    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        values: Any = OmegaConf.to_container(compose("evaluate", list(overrides)), resolve=True)
    return validated(EvaluateConfig, values)


def ways(everything: Iterable[Any], domain: Any) -> dict[str, Any]:
    """Variant → the function that makes it of a case; `everything` has the other wordings."""
    import _machines
    import _wordings

    return {
        "typos": _wordings.typos,
        "lower": _wordings.casing("lower", str.lower),
        "upper": _wordings.casing("upper", str.upper),
        "title": _wordings.casing("title", lambda word: word[:1].upper() + word[1:]),
        "punctuation": _wordings.punctuation,
        "paraphrase": _wordings.paraphrases(everything, domain),
        "model": _machines.model,
        "size": _machines.size,
        "device": _machines.device,
    }


def varied(
    cases: Iterable[Any], made: Mapping[str, Any], domain: Any
) -> tuple[list[Any], dict[str, Counter[str]]]:
    """Each case and, behind it, its variants; and why others are missing."""
    out: list[Any] = []
    missing: dict[str, Counter[str]] = {name: Counter() for name in made}
    for case in cases:
        out.append(case)
        for name, make in made.items():
            other = make(case, domain)
            if isinstance(other, str):
                missing[name][other] += 1
            else:
                out.append(other)
    return out, missing


def compared(
    results: Sequence[Any], names: Sequence[str], scorer: str, samples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """What each variant, and each group of them, loses against the same cases as they stand."""
    from llmkit.stats import paired_bootstrap

    found = {result.case.name: result for result in results}
    pairs: dict[str, list[tuple[float, float, str]]] = {name: [] for name in names}
    for result in results:
        stem, mark, variant = result.case.name.rpartition("~")
        if mark and variant in pairs:
            before, after = found[stem].value(scorer), result.value(scorer)
            if before is not None and after is not None:
                pairs[variant].append((before, after, result.case.conversation))
    for group, members in GROUPS.items():
        pairs[group] = [pair for name in members for pair in pairs.get(name, ())]
    rows: dict[str, dict[str, Any]] = {}
    for name, items in pairs.items():
        if not items:
            continue
        first, second, talks = (list(column) for column in zip(*items, strict=True))
        low, high = paired_bootstrap(first, second, talks, samples, seed)
        count = len(items)
        rows[name] = {
            "cases": count,
            "conversations": len(set(talks)),
            "original": sum(first) / count,
            "variant": sum(second) / count,
            "difference": (sum(second) - sum(first)) / count,
            "low": low,
            "high": high,
            "lost": sum(a > b for a, b in zip(first, second, strict=True)),
            "won": sum(a < b for a, b in zip(first, second, strict=True)),
        }
    return rows


def table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The rows as text, differences in points."""
    lines = [
        f"{'':12}{'cases':>7}{'original':>10}{'variant':>9}{'points':>8}{'95%':>16}{'lost':>6}{'won':>5}"
    ]
    for name, row in rows.items():
        span = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
        lines.append(
            f"{name:12}{row['cases']:7}{row['original']:10.1%}{row['variant']:9.1%}"
            f"{100 * row['difference']:+8.1f}{span:>16}{row['lost']:6}{row['won']:5}"
        )
    return lines


def draw(rows: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """The differences with their intervals, as a picture."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = list(rows)[::-1]
    figure, axes = pyplot.subplots(figsize=(7, 0.42 * len(names) + 1.2), layout="constrained")
    for place, name in enumerate(names):
        row = rows[name]
        axes.plot([100 * row["low"], 100 * row["high"]], [place, place], color="tab:blue")
        axes.plot(100 * row["difference"], place, "o", color="tab:blue")
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.axvline(-100 * LIMIT, color="tab:red", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(names)), [f"{name} ({rows[name]['cases']})" for name in names])
    axes.set_xlabel("difference in the share of right end states, points (95%)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def prepared(
    cfg: Any, domain: Any, chosen: Sequence[str]
) -> tuple[list[Any], dict[str, Counter[str]]]:
    """The cases of `cfg` with the chosen variants, and why others are missing."""
    from llmkit.evaluate_cases import load_cases, machine_of
    from llmkit.toolkit import find_toolkit

    path = cfg.cases or find_toolkit().data / "test_cases.jsonl"
    machine = machine_of(cfg, domain, cfg.seed)
    whole = load_cases(path, domain, limit=None, seed=cfg.seed, machine=machine)
    drawn = load_cases(path, domain, limit=cfg.limit, seed=cfg.seed, name=cfg.case, machine=machine)
    made = ways(whole if "paraphrase" in chosen else (), domain)
    return varied(drawn, {name: made[name] for name in chosen}, domain)


def main(argv: Sequence[str] | None = None) -> None:
    """Make the variants, answer all, print and write what they lose."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="options of llmkit.evaluate, as key=value")
    parser.add_argument(
        "--variants", nargs="+", choices=WORDINGS + MACHINES, default=WORDINGS + MACHINES
    )
    parser.add_argument("--count", action="store_true", help="only say how many variants there are")
    given = parser.parse_intermixed_args(argv)

    from llmkit.domain import get_domain
    from llmkit.errors import LlmkitError
    from llmkit.evaluate import _evaluate as answered  # as the stage does, on cases made here
    from llmkit.evaluate_files import read_results
    from llmkit.output import write_whole

    try:
        cfg = composed(["output_dir=evaluations/robustness", *given.overrides])
        domain = get_domain(cfg.domain.name)
        cases, missing = prepared(cfg, domain, given.variants)
        for name, reasons in missing.items():
            count = sum(case.name.endswith(f"~{name}") for case in cases)
            why = "; ".join(f"{number} {reason}" for reason, number in reasons.most_common())
            print(f"{name:12}{count:6} cases{'; without: ' + why if why else ''}")
        print(f"{len(cases)} answers, with those of the cases as they stand", file=sys.stderr)
        if given.count:
            return
        answered(cfg, domain, cases, cfg.adapter, Path(cfg.output_dir))
        rows = compared(
            read_results(cfg.output_dir, domain),
            given.variants,
            cfg.rank_by,
            cfg.bootstrap,
            cfg.seed,
        )
    except LlmkitError as error:
        sys.exit(f"error: {error}")
    print("\n".join(table(rows)))
    report = {"rank_by": cfg.rank_by, "limit": LIMIT, "rows": rows,
              "left_out": {name: dict(reasons) for name, reasons in missing.items()}}  # fmt: skip
    write_whole(cfg.output_dir / "robustness.json", json.dumps(report, indent=2) + "\n")
    draw(rows, cfg.output_dir / "robustness.png")
    print(cfg.output_dir / "robustness.png")


if __name__ == "__main__":
    main()
