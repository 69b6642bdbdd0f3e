"""Let a model answer test cases, and score its answers.

    python -m llmkit.evaluate adapter=trained/mine limit=50
    python -m llmkit.evaluate review=true tries=4 output_dir=evaluations/reviewed
    python -m llmkit.evaluate rescore=evaluations/smollm2-135m
    python -m llmkit.evaluate compare=[evaluations/a,evaluations/b]
    python -m llmkit.evaluate sweep_dir=trained output_dir=evaluations/all

The folder gets results.jsonl (every prompt, answer and score, as they come), report.json,
report.html, junit.xml and failures.md. A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from llmkit.config import Resume
from llmkit.config_engine import EngineConfig, ServeEngineConfig
from llmkit.config_evaluate import Backend, EvaluateConfig
from llmkit.config_model import ModelConfig
from llmkit.config_prompt import PromptOptions
from llmkit.domain import Domain, get_domain
from llmkit.errors import ConfigError, LlmkitError
from llmkit.evaluate_cases import load_cases, machine_of, to_dict
from llmkit.evaluate_compare import NO_WINNER, compare
from llmkit.evaluate_failures import by_cause, counts, write_failures
from llmkit.evaluate_files import (
    REPORT,
    hash_of,
    identity,
    open_run,
    read_results,
    rounded,
    rules_digest,
    write_results,
)
from llmkit.evaluate_review import Reviewed, doubt, due, judge, wanted
from llmkit.evaluate_review import summary as review_summary
from llmkit.evaluate_run import Backend as Answers
from llmkit.evaluate_run import Local, Result, run_cases, summarize
from llmkit.evaluate_show import Progress, print_board
from llmkit.model_adapter import RECALL
from llmkit.output import write_whole
from llmkit.prompt import prompt_identity
from llmkit.report import print_comparison, print_table, write_report
from llmkit.score import SCORERS, Case, check_scorers
from llmkit.stage import run_info, stage
from llmkit.toolkit import find_toolkit

Report = dict[str, Any]


def evaluate(cfg: EvaluateConfig) -> float | None:
    """Do what `cfg` asks for; returns the mean of `rank_by` (of the best adapter of a sweep).

    Raises ConfigError for contradictory options, and what loading the model or the cases raises.
    """
    domain = get_domain(cfg.domain.name)
    check_scorers(cfg.scorers)
    if cfg.rank_by not in cfg.scorers:
        raise ConfigError(f"rank_by={cfg.rank_by} is not among scorers={','.join(cfg.scorers)}")
    asked = [key for key in ("rescore", "compare", "sweep_dir") if getattr(cfg, key) is not None]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} do not go together")
    card = _card_folder(cfg, asked) if cfg.card else None
    if cfg.compare is not None:
        _compare(cfg, domain, *cfg.compare)
        return None
    if cfg.rescore is not None:
        return _rescore(cfg, domain)
    if cfg.grounded and cfg.backend is Backend.openai:
        raise ConfigError("grounded=true needs backend=local: a server constrains by itself")
    cases = load_cases(
        cfg.cases or find_toolkit().data / "test_cases.jsonl",
        domain,
        limit=cfg.limit,
        seed=cfg.seed,
        name=cfg.case,
        machine=machine_of(cfg, domain, cfg.seed),
    )
    if cfg.sweep_dir is not None:
        return _sweep(cfg, domain, cases, cfg.sweep_dir)
    report = _evaluate(cfg, domain, cases, cfg.adapter, cfg.output_dir)
    if card is not None:
        _note(card, cfg, cases, report)
    print_table(report)
    print(f"{cfg.output_dir / 'report.html'}")
    return _ranked(report, cfg.rank_by)


def _card_folder(cfg: EvaluateConfig, asked: Sequence[str]) -> Path:
    """The adapter whose card is written. Raises ConfigError, before any answer, for none."""
    from llmkit.model import adapter_path
    from llmkit.train_files import TRAINING

    if asked:
        raise ConfigError(f"card=true and {asked[0]} do not go together")
    adapter = None
    if cfg.backend is Backend.local:
        adapter = adapter_path(cfg.adapter, domain=cfg.domain.name, model=cfg.model.name)
    if adapter is None or not (adapter / TRAINING).is_file():
        raise ConfigError("card=true needs an adapter's folder that llmkit.train wrote")
    return adapter


def _note(adapter: Path, cfg: EvaluateConfig, cases: Sequence[Case], report: Report) -> None:
    """The scores into the adapter's card."""
    from llmkit.train_files import note_scores

    file = "the hand-written cases" if cfg.cases is None else Path(cfg.cases).name
    talks = len({case.conversation for case in cases})
    grounded = ", grounded" if cfg.grounded else ""
    grounded += ", int8" if rounded(cfg.engine) else ""
    grounded += f", reviewed, {cfg.tries} tries" if cfg.review else ""
    grounded += "" if cfg.engine.recall or not (adapter / RECALL).is_file() else ", without recall"
    note_scores(
        adapter, f"{file} ({len(cases)} cases of {talks} conversations{grounded})",
        report["scores"],
    )  # fmt: skip


def _evaluate(
    cfg: EvaluateConfig, domain: Domain, cases: Sequence[Case], adapter: str, folder: Path
) -> Report:
    """One adapter (or server) on the cases, into `folder`."""
    if cfg.backend is Backend.openai:
        from llmkit.evaluate_openai import Remote

        remote = Remote(
            cfg.remote, cfg.prompt, domain, max_tokens=cfg.max_tokens,
            temperature=cfg.temperature, seed=cfg.seed,
        )  # fmt: skip
        who: dict[str, Any] = {"base_url": cfg.remote.base_url, "model": cfg.remote.model,
               "prompt": prompt_identity(cfg.prompt, domain)}  # fmt: skip

        def answers() -> Answers:
            return remote

    else:
        from llmkit.model import adapter_path

        path = adapter_path(adapter, domain=cfg.domain.name, model=cfg.model.name)
        who = identity(cfg.model, cfg.prompt, cfg.engine, path, domain)
        who |= {"grounded": cfg.grounded}

        def answers() -> Answers:
            return local(cfg, domain, path)

    if cfg.review:
        who |= {"review": True, "tries": cfg.tries, "retry": asdict(cfg.retry),
                "tool_threshold": cfg.tool_threshold,
                "review rules sha256": rules_digest(domain)}  # fmt: skip

    def reviewed() -> Answers:
        own = cfg.backend is Backend.local  # others may not know what a threshold is
        return Reviewed(
            answers(), judge(domain), tries=cfg.tries, retry=cfg.retry, doubt=doubt(domain),
            due=due(domain), wanted=wanted(domain), threshold=cfg.tool_threshold if own else 1.0,
        )  # fmt: skip

    return run(
        cases, reviewed if cfg.review else answers, domain, folder, who,
        scorers=cfg.scorers, rank_by=cfg.rank_by, max_tokens=cfg.max_tokens,
        temperature=cfg.temperature, resume=cfg.resume is Resume.auto,
        samples=cfg.bootstrap, seed=cfg.seed,
    )  # fmt: skip


def local(cfg: EvaluateConfig, domain: Domain, adapter: Path | None) -> Local:
    """The model of `cfg` with an adapter, loaded."""
    made = Local.load(
        cfg.model, cfg.prompt, cfg.engine, domain, adapter,
        max_tokens=cfg.max_tokens, temperature=cfg.temperature, seed=cfg.seed,
    )  # fmt: skip
    if cfg.grounded or cfg.review:
        from llmkit.grammar import Grammars

        loaded, options = made.engine.loaded, made.renderer.options
        width = loaded.model.config.get_text_config().vocab_size
        grammars = Grammars(loaded.tokenizer, made.renderer.stop_ids, width)

        def constrained(case: Case, choice: str) -> Any:
            tools = [domain.tool_schema(case.state if cfg.grounded else None)]
            return grammars.for_tools(tools, choice, options.call_style, thinking=options.thinking)

        made.command = partial(constrained, choice="required")
        if cfg.grounded:
            made.grammar = partial(constrained, choice="auto")
    return made


def evaluate_adapter(
    model_cfg: ModelConfig,
    prompt_cfg: PromptOptions,
    engine_cfg: EngineConfig | ServeEngineConfig,
    adapter: Path | None,
    cases_path: Path,
    limit: int | None,
    out_dir: Path,
    domain_name: str = "installer",
    *,
    max_tokens: int = 192,
    seed: int = 42,
) -> Report:
    """Evaluate one adapter without Hydra, with every scorer, greedily; returns report.json."""
    domain = get_domain(domain_name)
    cases = load_cases(Path(cases_path), domain, limit=limit, seed=seed)

    def backend() -> Local:
        return Local.load(model_cfg, prompt_cfg, engine_cfg, domain, adapter, max_tokens=max_tokens)

    return run(
        cases, backend, domain, Path(out_dir),
        identity(model_cfg, prompt_cfg, engine_cfg, adapter, domain),
        scorers=list(SCORERS), rank_by="state", max_tokens=max_tokens, temperature=0.0,
        resume=True, samples=2000, seed=seed,
    )  # fmt: skip


def run(
    cases: Sequence[Case],
    backend: Callable[[], Answers],
    domain: Domain,
    folder: Path,
    who: Mapping[str, Any],
    *,
    scorers: Sequence[str],
    rank_by: str,
    max_tokens: int,
    temperature: float,
    resume: bool,
    samples: int,
    seed: int,
) -> Report:
    """Answer and score the cases that `folder` does not have yet, and write the reports.

    `who` identifies what answers; `backend` is called only when there is something to answer.
    """
    of_cases = hash_of({"cases": [to_dict(case, domain) for case in cases]})
    what = {**who, "cases": of_cases, "max_tokens": max_tokens, "temperature": temperature}
    if temperature:
        what["seed"] = seed
    started = time.monotonic()
    with open_run(folder, what, domain, resume=resume) as open_:
        done = open_.done
        left = [case for case in cases if case.name not in done]
        if done:
            print(f"{folder}: goes on after {len(done)} of {len(cases)} cases", file=sys.stderr)
        if left:
            with Progress(len(cases), len(done)) as progress:

                def keep(result: Result) -> None:
                    open_.add(result)
                    progress.step()

                fresh = run_cases(left, backend(), domain, scorers, keep)
            done |= {result.case.name: result for result in fresh}
    # all are scored by the same scorers, whatever an interrupted run was asked for
    results = [_rescored(done[case.name], domain, scorers) for case in cases]
    seconds = time.monotonic() - started if len(left) == len(cases) else None
    return finish(
        folder, results, domain, what, seconds, rank_by=rank_by, samples=samples, seed=seed
    )


def _rescored(result: Result, domain: Domain, scorers: Sequence[str]) -> Result:
    from llmkit.evaluate_run import scored

    if list(result.scores) == list(scorers):
        return result
    return scored(result.case, result.answer, domain, scorers)


def finish(
    folder: Path,
    results: Sequence[Result],
    domain: Domain,
    what: Mapping[str, Any],
    seconds: float | None,
    *,
    rank_by: str,
    samples: int,
    seed: int,
) -> Report:
    """Write the results in the cases' order, and the reports."""
    report: Report = {
        **summarize(results, samples=samples, seed=seed),
        "rank_by": rank_by,
        "seconds": None if seconds is None else round(seconds, 3),
        "identity": dict(what),
        "run": run_info(),
    }
    failed = by_cause(results, domain, rank_by)
    report["causes"] = counts(failed)
    if "review" in what:
        names = list(results[0].scores) if results else []
        report["review"] = review_summary(results, domain, names, rank_by)
    write_results(folder, results, domain)
    write_report(folder, results, report, rank_by=rank_by)
    write_failures(folder, failed, domain, cases=len(results), rank_by=rank_by)
    write_whole(folder / REPORT, json.dumps(report, indent=2, default=str) + "\n")
    return report


def _ranked(report: Report, rank_by: str) -> float | None:
    score = report["scores"].get(rank_by)
    return None if score is None else float(score["mean"])


def _rescore(cfg: EvaluateConfig, domain: Domain) -> float | None:
    folder = Path(cfg.rescore or "")
    results = read_results(folder, domain, cfg.scorers)
    old = json.loads((folder / REPORT).read_bytes())
    report = finish(
        folder, results, domain, old["identity"], old["seconds"], rank_by=cfg.rank_by, samples=cfg.bootstrap,
        seed=cfg.seed,
    )  # fmt: skip
    print_table(report)
    return _ranked(report, cfg.rank_by)


def _compare(cfg: EvaluateConfig, domain: Domain, first: Path, second: Path) -> None:
    found = compare(
        read_results(first, domain, cfg.scorers),
        read_results(second, domain, cfg.scorers),
        rank_by=cfg.rank_by,
        samples=cfg.bootstrap,
        seed=cfg.seed,
    )
    write_whole(
        cfg.output_dir / "comparison.json",
        json.dumps({"runs": [str(first), str(second)], **found}, indent=2) + "\n",
    )
    print_comparison(found, first, second)


def _sweep(cfg: EvaluateConfig, domain: Domain, cases: Sequence[Case], below: Path) -> float | None:
    """Every adapter below a folder, ranked."""
    if cfg.backend is Backend.openai:
        raise ConfigError("sweep_dir needs backend=local")
    found = sorted(path.parent for path in below.rglob("adapter_model.safetensors"))
    if not found:
        raise ConfigError(f"sweep_dir={below}: no adapter is below it")
    rows: list[dict[str, Any]] = []
    all_results: dict[str, Path] = {}
    for adapter in found:
        name = str(adapter.relative_to(below)) if adapter != below else below.name
        folder = cfg.output_dir / name
        print(f"adapter {name}", file=sys.stderr)
        try:
            report = _evaluate(cfg, domain, cases, str(adapter), folder)
        except LlmkitError as error:
            print(f"adapter {name} failed: {error}", file=sys.stderr)
            rows.append({"adapter": name, "error": str(error)})
            continue
        all_results[name] = folder
        rows.append({"adapter": name, **report["scores"].get(cfg.rank_by, {}),
                     "scores": {key: body["mean"] for key, body in report["scores"].items()}})  # fmt: skip
    rows.sort(key=lambda row: (-row.get("mean", -1.0), row["adapter"]))
    board: dict[str, Any] = {"rank_by": cfg.rank_by, "adapters": rows, "verdict": None}
    if not all_results:
        raise LlmkitError(f"sweep_dir={below}: no adapter could be evaluated\n{rows[0]['error']}")
    if len(all_results) > 1:
        best, next_best = (read_results(all_results[row["adapter"]], domain) for row in rows[:2])
        against = compare(
            best, next_best, rank_by=cfg.rank_by, samples=cfg.bootstrap, seed=cfg.seed
        )
        board["verdict"] = rows[0]["adapter"] if against["verdict"] == "first" else NO_WINNER
        board["best_against_second"] = against
    write_whole(cfg.output_dir / "leaderboard.json", json.dumps(board, indent=2) + "\n")
    print_board(board)
    return rows[0].get("mean")


main = stage("evaluate", evaluate, schema=EvaluateConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
