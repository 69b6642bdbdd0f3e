"""Evaluation: cases, runs that stop and go on, comparisons, sweeps, servers, reports."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from llmkit.config_evaluate import EvaluateConfig
from llmkit.domain import get_domain
from llmkit.errors import ConfigError, LlmkitError, RecordError
from llmkit.evaluate import Local, evaluate_adapter, local, run
from llmkit.evaluate_cases import from_dict, load_cases, machine_of, to_dict
from llmkit.evaluate_compare import NO_WINNER
from llmkit.evaluate_compare import compare as compared
from llmkit.evaluate_files import open_run, read_results
from llmkit.evaluate_openai import Remote
from llmkit.evaluate_run import Answer, OnAnswer, run_cases, summarize
from llmkit.report import bars
from llmkit.score import SCORERS, Case
from llmkit.stage_errors import validated
from tests.fake_openai_server import completions
from tests.test_cases import AUTHORED

DOMAIN = get_domain("installer")
SHIPPED = Path(__file__).parent.parent / "data" / "test_cases.jsonl"
TEXT = "I would rather not."


class Scripted:
    """A backend that gives the authors' answers, but for the names in `wrong`."""

    def __init__(self, wrong: Sequence[str] = (), fail_after: int | None = None) -> None:
        self.wrong, self.fail_after = set(wrong), fail_after
        self.asked: list[str] = []

    def answer(self, cases: Sequence[Case], on_answer: OnAnswer) -> None:
        for place, case in reversed(list(enumerate(cases))):
            if len(self.asked) == self.fail_after:
                raise KeyboardInterrupt
            self.asked.append(case.name)
            command = AUTHORED[case.name].command
            text = TEXT if command is None else f"$ {command}"
            if case.name in self.wrong:
                text = "$ reboot" if command is None else "<b>What?</b> & \x07"
            on_answer(place, Answer("prompt", text, "stop", 10, 5))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return load_cases(SHIPPED, DOMAIN, limit=24, seed=1)


@pytest.fixture
def start(tmp_path: Path, cases: list[Case]) -> Callable[..., dict[str, Any]]:
    """Run a backend on the cases, into the folder of that name."""

    def begin(name: str, backend: Any, **more: Any) -> dict[str, Any]:
        values = {
            "scorers": list(SCORERS), "rank_by": "state", "max_tokens": 8, "temperature": 0.0,
            "resume": True, "samples": 500, "seed": 3, **more,
        }  # fmt: skip
        return run(cases, lambda: backend, DOMAIN, tmp_path / name, {"who": "me"}, **values)

    return begin


def config(*overrides: str) -> EvaluateConfig:
    folder = str(Path(__file__).parent.parent / "conf")
    with initialize_config_dir(config_dir=folder, version_base="1.3"):
        composed = compose("evaluate", ["model=tiny", *overrides])
    values: Any = OmegaConf.to_container(composed, resolve=True)
    made = validated(EvaluateConfig, values)
    assert isinstance(made, EvaluateConfig)
    return made


def test_the_authors_pass_every_case(start, cases: list[Case], tmp_path: Path) -> None:
    """Right answers have full marks, and no failure is in the reports."""
    report = start("a", Scripted())
    assert report["cases"] == 24
    assert {score["mean"] for score in report["scores"].values()} == {1.0}
    assert sum(body["cases"] for body in report["categories"].values()) == 24
    assert ElementTree.parse(tmp_path / "a/junit.xml").getroot().get("failures") == "0"
    assert "<p>None.</p>" in (tmp_path / "a/report.html").read_text()


def test_failures_are_reported_whole_and_escaped(start, cases: list[Case], tmp_path: Path) -> None:
    """Each wrong answer is in the page with its machine, and nothing in it is markup."""
    bad = next(case.name for case in cases if case.expected is not None)
    report = start("a", Scripted([bad]))
    assert report["scores"]["state"]["mean"] == pytest.approx(23 / 24)
    page = (tmp_path / "a/report.html").read_text()
    assert page.count("<details>") == 1
    assert "<b>What?</b>" not in page
    assert "&lt;b&gt;What?&lt;/b&gt;" in page
    assert "Available Disks" in page
    assert "<td>The model asked where a command was due</td><td>1</td>" in page
    listed = (tmp_path / "a/failures.md").read_text()
    assert f"### `{bad}` (" in listed and "- answered: `<b>What?</b> & \\x07`" in listed
    assert not re.search(r"<script|https?://", page)
    failure = ElementTree.parse(tmp_path / "a/junit.xml").getroot().find(".//failure")
    assert failure is not None
    assert "What?" in (failure.text or "")


def test_an_interrupted_run_goes_on(start, cases: list[Case], tmp_path: Path) -> None:
    """What was answered is kept, a line that was cut short is not; the end is the same."""
    whole = start("whole", Scripted())
    with pytest.raises(KeyboardInterrupt):
        start("cut", Scripted(fail_after=10))
    results = tmp_path / "cut/results.jsonl"
    assert len(results.read_bytes().splitlines()) == 10
    with pytest.raises(ConfigError, match="not finished"):
        read_results(tmp_path / "cut", DOMAIN)
    results.write_bytes(results.read_bytes()[:-7])
    again = Scripted()
    report = start("cut", again)
    assert len(again.asked) == 24 - 9
    assert report["scores"] == whole["scores"]
    assert results.read_bytes() == (tmp_path / "whole/results.jsonl").read_bytes()


def test_a_finished_run_asks_nothing(start, cases: list[Case], tmp_path: Path) -> None:
    """The model is not even loaded; files that are missing are written again."""
    first = start("a", Scripted([cases[0].name]))
    reports = {name: (tmp_path / "a" / name).read_text() for name in ("failures.md", "junit.xml")}
    for name in reports:
        (tmp_path / "a" / name).unlink()

    def load() -> Local:
        raise AssertionError("a model is loaded")

    again = run(
        cases, load, DOMAIN, tmp_path / "a", {"who": "me"}, scorers=list(SCORERS), rank_by="state",
        max_tokens=8, temperature=0.0, resume=True, samples=500, seed=3,
    )  # fmt: skip
    assert again["scores"] == first["scores"]
    assert {name: (tmp_path / "a" / name).read_text() for name in reports} == reports


def test_a_run_that_stops_leaves_no_list_of_another(
    start, cases: list[Case], tmp_path: Path
) -> None:
    """failures.md goes when a run begins anew, and comes back with its end."""
    start("a", Scripted([cases[0].name]))
    with pytest.raises(KeyboardInterrupt):
        start("a", Scripted(fail_after=3), resume=False)
    assert not (tmp_path / "a/failures.md").exists()
    start("a", Scripted())
    assert "0 of 24 cases" in (tmp_path / "a/failures.md").read_text()


def test_another_evaluation_is_not_mixed_in(start) -> None:
    """Another limit of tokens is another run: refused, or replaced when asked for."""
    start("a", Scripted())
    with pytest.raises(ConfigError, match="holds another evaluation"):
        start("a", Scripted(), max_tokens=9)
    again = Scripted()
    start("a", again, max_tokens=9, resume=False)
    assert len(again.asked) == 24


def test_results_of_something_else_are_kept(start, tmp_path: Path) -> None:
    """A results.jsonl that no evaluation wrote is not replaced."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/results.jsonl").write_text("mine\n")
    with pytest.raises(ConfigError, match="something else"):
        start("other", Scripted())
    assert (tmp_path / "other/results.jsonl").read_text() == "mine\n"


def test_rescoring_needs_no_model(run_stage, start, cases: list[Case], tmp_path: Path) -> None:
    """rescore= gives what the run gave, by the scorers that are asked for, and lists the failures."""
    bad = next(case.name for case in cases if case.expected is not None)
    report = start("a", Scripted([bad]))
    (tmp_path / "a/failures.md").unlink()
    done = run_stage("evaluate", "rescore=a", "scorers=[type,state]", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    after = json.loads((tmp_path / "a/report.json").read_text())
    assert set(after["scores"]) == {"type", "state"}
    assert "failures by cause" in done.stdout and "The model asked" in done.stdout
    assert after["causes"] == {"The model asked where a command was due": 1}
    assert f"### `{bad}` (" in (tmp_path / "a/failures.md").read_text()
    assert after["scores"]["state"] == {
        **report["scores"]["state"], "conversations": after["scores"]["state"]["conversations"]
    }  # fmt: skip


def test_compare_names_the_better_run(run_stage, start, cases: list[Case], tmp_path: Path) -> None:
    """One with ten answers spoilt is worse: p = 2 / 2^10; with itself there is no difference."""
    start("good", Scripted())
    start("bad", Scripted([case.name for case in cases[:10]]))
    done = run_stage("evaluate", "compare=[bad,good]", "output_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "better: good" in done.stdout
    found = json.loads((tmp_path / "out/comparison.json").read_text())
    assert (found["verdict"], found["difference"]) == ("second", pytest.approx(10 / 24))
    assert found["p"] == pytest.approx(2 / 1024)
    done = run_stage("evaluate", "compare=[good,good]", "output_dir=out", cwd=tmp_path)
    assert "no clear winner" in done.stdout


def test_a_small_difference_is_no_win(cases: list[Case]) -> None:
    """Four answers more of 24 may be chance: p = 0.125."""
    names = [case.name for case in cases[:4]]
    good = run_cases(cases, Scripted(), DOMAIN, ["state"])
    bad = run_cases(cases, Scripted(names), DOMAIN, ["state"])
    found = compared(good, bad, rank_by="state", samples=500, seed=1)
    assert (found["verdict"], found["p"]) == (NO_WINNER, 0.125)
    assert sorted(found["only_first"]) == sorted(names)


def test_compare_refuses_other_cases_of_the_same_name(cases: list[Case]) -> None:
    """A name is not enough."""
    good = run_cases(cases, Scripted(), DOMAIN, ["state"])
    other = [replace(item, case=replace(item.case, system_context="x")) for item in good]
    with pytest.raises(ConfigError, match="not the same in both runs"):
        compared(good, other, rank_by="state", samples=100, seed=1)
    with pytest.raises(ConfigError, match="no case in common"):
        compared(good, [], rank_by="state", samples=100, seed=1)


def test_no_answer_is_wrong_by_each_scorer_that_applies(cases: list[Case]) -> None:
    """A prompt that is too long never passes, not even where text is due."""

    class Silent:
        def answer(self, cases: Sequence[Case], on_answer: OnAnswer) -> None:
            for place in range(len(cases)):
                on_answer(place, Answer("", "", "error", error="too long"))

    summary = summarize(run_cases(cases, Silent(), DOMAIN, list(SCORERS)), samples=100, seed=1)
    assert summary["errors"] == 24
    assert {score["mean"] for score in summary["scores"].values()} == {0.0}


def test_cases_survive_json(cases: list[Case]) -> None:
    """What results.jsonl keeps of a case is the case."""
    for case in cases:
        assert from_dict(orjson.loads(orjson.dumps(to_dict(case, DOMAIN))), DOMAIN) == case


def test_a_limit_repeats_and_a_name_selects() -> None:
    """The same seed draws the same cases; case=NAME is that one."""
    names = [case.name for case in load_cases(SHIPPED, DOMAIN, limit=5, seed=9)]
    assert names == [case.name for case in load_cases(SHIPPED, DOMAIN, limit=5, seed=9)]
    (one,) = load_cases(SHIPPED, DOMAIN, limit=None, seed=9, name="yes-format")
    assert one.name == "yes-format"
    with pytest.raises(ConfigError, match="no case is named 'nope'"):
        load_cases(SHIPPED, DOMAIN, limit=None, seed=9, name="nope")


def test_snapshots_are_cases_and_talks_are_drawn_evenly(tmp_path: Path) -> None:
    """Both conversations are in a sample of two; the answer is the exact command."""
    context = (
        "## Current System State\n\n- Boot mode: UEFI\n\n## Available Disks\n\n- /dev/sda: 10G"
    )
    lines = [
        {
            "system_context": context,
            "messages": [{"role": "user", "content": f"list {number}"}],
            "expected_response": {"type": "command", "command": "lsblk"},
            "meta": {"conversation": "long" if number < 9 else "short", "turn": number + 1},
        }
        for number in range(10)
    ]
    path = tmp_path / "snapshots.jsonl"
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    two = load_cases(path, DOMAIN, limit=2, seed=1)
    assert {case.conversation for case in two} == {"long", "short"}
    assert {case.command for case in two} == {"lsblk"}
    assert len(load_cases(path, DOMAIN, limit=None, seed=1)) == 10


def test_a_case_without_a_context_is_put_on_a_machine(tmp_path: Path) -> None:
    """disk= and boot= choose it; without them it is an error with its line."""
    path = tmp_path / "cases.jsonl"
    case = {"name": "a", "category": "x", "expected": None,
            "messages": [{"role": "user", "content": "hello"}]}  # fmt: skip
    path.write_text(json.dumps(case))
    cfg = config("disk=virtio", "boot=bios")
    (one,) = load_cases(path, DOMAIN, limit=None, seed=1, machine=machine_of(cfg, DOMAIN, 1))
    assert "/dev/vda" in one.system_context
    assert one.state.boot_mode == "bios"
    with pytest.raises(RecordError, match="cases.jsonl:1"):
        load_cases(path, DOMAIN, limit=None, seed=1)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["scorers=[type]"], "rank_by=state is not among"),
        (["scorers=[state,nope]"], "no scorer nope"),
        (["rescore=a", "sweep_dir=b"], "do not go together"),
        (["compare=[a,b]"], "no evaluation there"),
        (["adapter=/nowhere"], "no such folder"),
        (["case=nope"], "no case is named"),
    ],
)
def test_wrong_options_are_refused(
    overrides: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ConfigError, before any model is loaded."""
    from llmkit.evaluate import evaluate

    monkeypatch.chdir(tmp_path)
    made = config(*overrides)
    with pytest.raises(ConfigError, match=re.escape(words)):
        evaluate(made)


@pytest.fixture(scope="module")
def model() -> Local:
    return local(config("adapter=none", "max_tokens=6", "engine.threads=1"), DOMAIN, None)


def test_the_stage_runs_a_model(run_stage, tmp_path: Path) -> None:
    """python -m llmkit.evaluate writes all files and a table."""
    done = run_stage(
        "evaluate", "model=tiny", "adapter=none", "limit=3", "max_tokens=4", "output_dir=out",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3/3 cases" in done.stderr
    assert "state" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "failures.md", "junit.xml", "report.html", "report.json", "results.jsonl", "run.json",
    ]  # fmt: skip
    (first, *_) = map(json.loads, (tmp_path / "out/results.jsonl").read_text().splitlines())
    assert first["answer"]["completion_tokens"] <= 4
    assert first["answer"]["prompt"]
    assert first["raw"] == first["answer"]["text"]


def test_the_plot_has_room_for_its_figures() -> None:
    """At 100% of 1,000 cases, the interval up to the end, the text is still inside."""
    full = {"scores": {"state": {"mean": 1.0, "low": 0.99, "high": 1.0, "n": 1000}}}
    plot = bars({**full, "categories": {}}, "state")
    (row,) = plot["rows"]
    assert row["text"] == "100% of 1000"
    assert row["high"] + 8 + 8 * len(row["text"]) <= plot["width"]  # 12 px type: < 8 px a letter


def test_scripts_evaluate_without_hydra(tmp_path: Path) -> None:
    """evaluate_adapter takes configs and gives report.json."""
    cfg = config()
    report = evaluate_adapter(
        cfg.model, cfg.prompt, cfg.engine, None, SHIPPED, 3, tmp_path / "out", max_tokens=3
    )
    assert report["cases"] == 3
    assert json.loads((tmp_path / "out/report.json").read_text())["scores"] == report["scores"]


@pytest.fixture
def server(model: Local) -> Iterator[tuple[str, list[int]]]:
    """A chat completions server around the tiny model; the first request is turned away."""
    from llmkit.generate import Request

    seen: list[int] = []

    def answer(body: dict[str, Any]) -> tuple[str, str, dict[str, int]] | None:
        seen.append(len(body["messages"]))
        if len(seen) == 1:
            return None
        tokenizer = model.renderer.tokenizer
        text = tokenizer.apply_chat_template(
            body["messages"], tokenize=False, add_generation_prompt=True
        )
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        (made,) = model.engine.generate([Request(tuple(ids), body["max_tokens"])])
        usage = {"prompt_tokens": made.prompt_tokens, "completion_tokens": made.completion_tokens}
        return made.text, made.finish_reason, usage

    with completions(answer) as url:
        yield url, seen


def test_a_server_with_the_same_model_has_the_same_scores(
    server: tuple[str, list[int]], model: Local, cases: list[Case]
) -> None:
    """backend=openai and backend=local give the same answers, one request being retried."""
    url, seen = server
    cfg = config(f"remote.base_url={url}")
    remote = Remote(cfg.remote, cfg.prompt, DOMAIN, max_tokens=6)
    there = run_cases(cases[:5], remote, DOMAIN, list(SCORERS))
    here = run_cases(cases[:5], model, DOMAIN, list(SCORERS))
    assert [item.answer.text for item in there] == [item.answer.text for item in here]
    assert [item.answer.prompt_tokens for item in there] == [
        item.answer.prompt_tokens for item in here
    ]
    assert [item.scores for item in there] == [item.scores for item in here]
    assert len(seen) == 6


def test_a_server_that_is_not_there_is_an_error(cases: list[Case]) -> None:
    """LlmkitError with the address."""
    cfg = config("remote.base_url=http://127.0.0.1:9/v1", "remote.retries=0")
    remote = Remote(cfg.remote, cfg.prompt, DOMAIN, max_tokens=6)
    with pytest.raises(LlmkitError, match="127.0.0.1:9"):
        run_cases(cases[:1], remote, DOMAIN, ["type"])


def test_a_sweep_ranks_the_adapters(run_stage, tmp_path: Path) -> None:
    """Two adapters that change nothing: both on the board, and no clear winner."""
    import peft

    from llmkit.model import load_model, save_adapter
    from llmkit.model_device import quiet

    cfg = config()
    for name in ("a", "b/c"):
        lora = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
        with quiet():
            made = peft.get_peft_model(load_model(cfg.model).model, lora)
            save_adapter(made, tmp_path / "adapters" / name, "tiny")
    done = run_stage(
        "evaluate", "model=tiny", "sweep_dir=adapters", "limit=4", "max_tokens=3",
        "output_dir=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    board = json.loads((tmp_path / "out/leaderboard.json").read_text())
    assert [row["adapter"] for row in board["adapters"]] == ["a", "b/c"]
    assert board["verdict"] == NO_WINNER
    assert (tmp_path / "out/b/c/report.html").is_file()


def test_results_do_not_go_into_an_adapters_folder(tmp_path: Path) -> None:
    """output_dir=ADAPTER is a slip of the pen."""
    (tmp_path / "adapter_config.json").write_text("{}")
    with (
        pytest.raises(ConfigError, match="adapter's folder"),
        open_run(tmp_path, {}, get_domain("installer"), resume=True),
    ):
        pass
