"""Sweeps: what is done stays done, what fails is told, and the best is at the top."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from llmkit import sweep_board, sweep_html, sweep_job
from llmkit.config_sweep import SweepConfig
from llmkit.errors import ConfigError, LlmkitError
from llmkit.stage_errors import validated
from llmkit.sweep_score import check_weights, score
from llmkit.toolkit import find_toolkit

CONTEXT = "## Current System State\n\n- Boot mode: UEFI\n\n## Available Disks\n\n- /dev/sda: 100G"
EIGHT = "lora.targets=choice([q_proj],[k_proj],[v_proj],[o_proj],[up_proj],[down_proj],all-linear,nosuch)"


@pytest.fixture
def data(tmp_path) -> Path:
    """Six snapshots of three conversations, to train and to score on."""
    rows = [
        {
            "system_context": CONTEXT,
            "messages": [{"role": "user", "content": f"list the disks, {place}"}],
            "expected_response": {"type": "command", "command": "lsblk"}
            if place % 2
            else {"type": "text", "response": "Which ones?"},
            "meta": {"conversation": f"talk-{place // 2}", "turn": place % 2 + 1},
        }
        for place in range(6)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command_of(data: Path, *overrides: str) -> list[str]:
    """A sweep over the tiny model; a job takes a second or two."""
    return [
        sys.executable, "-m", "llmkit.sweep", "-m", "model=tiny", "max_steps=1", "data.eval=null",
        f"data.train={data}", f"cases={data}", "limit=4", "max_tokens=3", "bootstrap=20",
        f"output_dir={data.parent / 'out'}", *overrides,
    ]  # fmt: skip


def swept(data: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run a sweep to its end."""
    return subprocess.run(
        command_of(data, *overrides), cwd=data.parent, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def results(data: Path) -> dict[str, bytes]:
    """Each job's result.json."""
    return {
        path.parent.name: path.read_bytes()
        for path in (data.parent / "out" / "jobs").glob("*/result.json")
    }


def config(*overrides: str) -> SweepConfig:
    """The config of `python -m llmkit.sweep OVERRIDES`."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(find_toolkit().conf)):
        values: Any = OmegaConf.to_container(compose("sweep", list(overrides)), resolve=True)
    made: SweepConfig = validated(SweepConfig, values)
    return made


# The whole


def test_a_killed_sweep_goes_on_and_a_failed_job_is_on_the_board(data) -> None:
    """Eight jobs, killed with SIGKILL after three: the same command ends complete, the three are
    not repeated; the job that must fail is in the leaderboard with its error, and exit is not 0."""
    running = subprocess.Popen(
        command_of(data, EIGHT), cwd=data.parent, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 200
        while len(results(data)) < 3 and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    before = results(data)
    assert 3 <= len(before) < 8
    done = swept(data, EIGHT)
    assert done.returncode != 0
    after = results(data)
    assert len(after) == 8
    assert {name: after[name] for name in before} == before
    assert done.stderr.count("done before") == len(before)
    board = json.loads((data.parent / "out" / "leaderboard.json").read_text())
    assert [job["status"] for job in board["jobs"]] == ["done"] * 7 + ["failed"]
    assert [job["rank"] for job in board["jobs"]] == [1, 2, 3, 4, 5, 6, 7, None]
    assert "nosuch" in board["jobs"][-1]["error"]
    assert board["winner"]["job"] == board["jobs"][0]["job"]
    assert (data.parent / "out" / board["winner"]["adapter"] / "adapter_config.json").is_file()
    assert "7 jobs done, 1 failed" in done.stdout
    assert board["winner"]["command"] in done.stdout
    text = (data.parent / "out" / "leaderboard.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", "6", "7", ""]


def test_joblib_runs_two_at_a_time_and_a_pair_of_equals_once(data) -> None:
    """alpha=4 and twice a rank of 2 are one job: three of four run, in two processes."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = swept(data, "lora.r=2,4", "alpha=4,twice", "hydra/launcher=joblib")
    assert done.returncode == 0, done.stderr
    found = [json.loads(text) for text in results(data).values()]
    pairs = {(job["parameters"]["lora.r"], job["parameters"]["lora.alpha"]) for job in found}
    assert len(found) == 3
    assert pairs == {(2, 4.0), (4, 4.0), (4, 8.0)}
    assert "n_jobs=2" in done.stdout + done.stderr
    assert "3 jobs done, 0 failed" in done.stdout


def test_optuna_goes_on_with_its_study(data) -> None:
    """A second run adds its trial to the study that the first left, which maximizes."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    pytest.importorskip("alembic")
    for trials in (1, 2):
        done = swept(
            data, "sweep=search", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1",
            "hydra.sweeper.sampler.seed=" + str(trials),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        study = sqlite3.connect(data.parent / "out" / "study.db")
        try:
            rows = study.execute("select state from trials").fetchall()
            way = study.execute("select direction from study_directions").fetchall()
        finally:
            study.close()
        assert rows == [("COMPLETE",)] * trials
        assert way == [("MAXIMIZE",)]
    assert len(results(data)) == 2


# A job's identity


def test_a_job_is_known_by_what_it_computes(data) -> None:
    """Another output folder or another name of the same data is the same job; another rank, seed
    or content is not."""
    base = [f"data.train={data}", f"cases={data}", "data.eval=null"]
    name = sweep_job.identity(config(*base))
    assert sweep_job.identity(config(*base, "output_dir=/elsewhere", "tracker.run=x")) == name
    copy = data.with_name("copy.jsonl")
    copy.write_bytes(data.read_bytes())
    assert sweep_job.identity(config(f"data.train={copy}", *base[1:])) == name
    copy.write_bytes(data.read_bytes() + b"{}\n")
    assert sweep_job.identity(config(f"data.train={copy}", *base[1:])) != name
    folder = data.parent / "several"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(data.read_bytes())
    held = sweep_job.identity(config(f"data.train={folder}", *base[1:]))
    (folder / "a.jsonl").write_bytes(data.read_bytes() + b"{}\n")
    assert sweep_job.identity(config(f"data.train={folder}", *base[1:])) != held
    for other in ("lora.r=3", "seed=1", "weights.exact=0.5", "limit=7"):
        assert sweep_job.identity(config(*base, other)) != name


def test_alpha_may_be_twice_the_rank() -> None:
    """alpha=twice with rank 16 is lora.alpha=32, and so the same job as alpha=32."""
    one, other = config("lora.r=16", "alpha=twice"), config("lora.r=16", "alpha=32")
    assert sweep_job.resolved(one).lora.alpha == 32.0
    ids = {sweep_job.identity(sweep_job.resolved(cfg)) for cfg in (one, other)}
    assert len(ids) == 1


def test_the_winners_command_is_trains_and_gives_the_same_config() -> None:
    """The command has none of sweep's own options, and composes to the job's training config."""
    given = ["lora.r=16", "optim.lr=0.0002", "alpha=twice", "cases=x", "sweep=quick", "limit=3"]
    cfg = sweep_job.resolved(config(*given))
    words = shlex.split(sweep_job.command(cfg, given))
    assert words[:3] == ["python", "-m", "llmkit.train"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(find_toolkit().conf)):
        values: Any = OmegaConf.to_container(compose("train", words[3:]), resolve=True)
    mine = sweep_job.train_config(cfg, Path(values["output_dir"]))
    from llmkit.config_train import TrainConfig

    assert dataclasses.asdict(validated(TrainConfig, values)) == dataclasses.asdict(mine)


@pytest.mark.parametrize(("name", "count"), [("quick", 8), ("full", 81)])
def test_the_grids_hold_what_they_say(name: str, count: int) -> None:
    """quick has 8 combinations, full 81; every one of them composes."""
    from itertools import product

    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(find_toolkit().conf)):
        composed = compose("sweep", [f"sweep={name}"], return_hydra_config=True)
    params = composed.hydra.sweeper.params
    choices = {key: text[len("choice(") : -1].split(",") for key, text in params.items()}
    combinations = list(product(*choices.values()))
    assert len(combinations) == count
    values = [f"{key}={value}" for key, value in zip(choices, combinations[-1], strict=True)]
    assert config(*values).optim.lr == float(choices["optim.lr"][-1])


# Scores


def test_the_score_is_the_weighted_mean_of_each_scorer() -> None:
    """exact 1 of 2, type 3 of 4: 0.7 × 0.5 + 0.3 × 0.75 = 0.575."""
    rows = [
        ("a", {"exact": 1.0, "type": 1.0}),
        ("a", {"exact": 0.0, "type": 1.0}),
        ("b", {"exact": None, "type": 1.0}),
        ("b", {"exact": None, "type": 0.0}),
    ]
    found = score(rows, {"exact": 0.7, "type": 0.3}, 200, 1)
    assert found["score"] == pytest.approx(0.575)
    assert found["scores"]["exact"] == {"value": 0.5, "n": 2}
    assert found["scores"]["type"] == {"value": 0.75, "n": 4}


@given(
    values=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=20),
    seed=st.integers(0, 9),
)
def test_an_interval_lies_within_the_scale_and_in_order(values, seed: int) -> None:
    """0 ≤ low ≤ high ≤ 1; all right or all wrong leaves no room."""
    rows = [(name, {"type": float(right)}) for name, right in values]
    found = score(rows, {"type": 0.3}, 50, seed)
    low, high = found["interval"]
    assert 0 <= low <= high <= 1
    assert found["score"] == pytest.approx(sum(right for _, right in values) / len(values))
    if len({right for _, right in values}) == 1:
        assert low == high == found["score"]


def test_a_scorer_that_never_applies_is_an_error() -> None:
    """A score of nothing is not 0: the job fails and says what to change."""
    with pytest.raises(LlmkitError, match="exact applies to no case"):
        score([("a", {"exact": None})], {"exact": 1.0}, 10, 1)


def test_weights_are_looked_at_before_any_training() -> None:
    """An unknown scorer is named with the known ones; all weights 0 is refused."""
    with pytest.raises(ConfigError, match=r"no scorer speed; there are .*exact"):
        check_weights({"speed": 1.0})
    with pytest.raises(ConfigError, match="above 0"):
        check_weights({"exact": 0.0})


def test_cases_are_looked_at_before_any_training(data, tmp_path) -> None:
    """A wrong name costs no training: the job fails without an adapter's folder."""
    cfg = config(f"data.train={data}", "data.eval=null", f"cases={tmp_path / 'none.jsonl'}")
    with pytest.raises(ConfigError, match="no such file"):
        sweep_job.execute(cfg, tmp_path / "job")
    assert not (tmp_path / "job").exists()


# The board


def result(job: str, value: float | None, **parameters: Any) -> dict[str, Any]:
    """A result.json."""
    return {
        "job": job,
        "status": "failed" if value is None else "done",
        "error": "boom <b>" if value is None else None,
        "score": value,
        "interval": None if value is None else [value - 0.1, value + 0.1],
        "scores": {} if value is None else {"exact": {"value": value, "n": 9}},
        "adapter": f"jobs/{job}/adapter",
        "train": None,
        "seconds": 1.0,
        "overrides": [],
        "command": f"python -m llmkit.train job={job}",
        "parameters": {"same": 1, **parameters},
    }


def boarded(folder: Path, *found: dict[str, Any]) -> str:
    """Write results and the board of them; the summary."""
    for item in found:
        place = folder / "jobs" / item["job"]
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps(item))
    sweep_board.write(folder)
    return sweep_board.summary(folder)


def test_the_board_ranks_by_score_and_keeps_what_failed(tmp_path) -> None:
    """Best first, failures last and unranked; columns are what varies."""
    text = boarded(
        tmp_path,
        result("a", 0.2, rank=8, lr=1e-4),
        result("b", 0.9, rank=16, lr=1e-4),
        result("c", None, rank=32, lr=1e-4),
    )
    board = json.loads((tmp_path / "leaderboard.json").read_text())
    assert [job["job"] for job in board["jobs"]] == ["b", "a", "c"]
    assert [job["parameters"] for job in board["jobs"]] == [{"rank": 16}, {"rank": 8}, {"rank": 32}]
    assert "no clear winner" not in text
    assert "python -m llmkit.train job=b" in text
    assert "c failed: boom" in text


def test_a_close_race_is_called_one(tmp_path) -> None:
    """A second within the first's interval: no clear winner."""
    text = boarded(tmp_path, result("a", 0.80, rank=8), result("b", 0.82, rank=16))
    assert "no clear winner" in text


def test_the_page_is_whole_and_escapes_what_it_shows(tmp_path) -> None:
    """One plot a parameter, one line a job, nothing fetched, errors as text."""
    boarded(
        tmp_path,
        result("a", 0.2, rank=8, lr=1e-4),
        result("b", 0.9, rank=16, lr=2e-4),
        result("c", None, rank=32, lr=2e-4),
    )
    page = (tmp_path / "sweep.html").read_text()
    assert page.count("<polyline") == 2
    assert page.count('class="dot"') == 2 * 2
    assert "boom &lt;b&gt;" in page
    assert "src=" not in page
    assert "http" not in page


@given(st.lists(st.integers(-5, 5) | st.floats(0, 1) | st.sampled_from(["a", "b"]), min_size=1))
def test_positions_keep_the_order_of_numbers(values: list[Any]) -> None:
    """Each value has one place between 0 and 1, and greater numbers stand further on."""
    found = sweep_html.positions(values)
    assert all(0 <= place <= 1 for place, _ in found)
    if all(not isinstance(value, str) for value in values):
        pairs = sorted(zip(values, (place for place, _ in found), strict=True))
        assert [place for _, place in pairs] == sorted(place for place, _ in found)


def test_help_has_the_options_of_training() -> None:
    """A job is a training run: its groups and values are in sweep's help, sweep's own first."""
    from llmkit import stage_help

    text = stage_help.text("sweep", "x", [find_toolkit().conf])
    for part in ("  lora\n", "* rank32", "  engine ", "epochs=3", "max_tokens=160"):
        assert part in text
    assert text.count("output_dir=sweeps/${model.name}") == 1
    assert "output_dir=trained/" not in text
