"""review=true: the domain's review between the model and the scores, and what its reports say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config_chat import RetryConfig
from llmkit.domain import Objection
from llmkit.errors import ConfigError
from llmkit.evaluate import finish, local, rules_digest, run
from llmkit.evaluate_cases import load_cases
from llmkit.evaluate_files import read_results
from llmkit.evaluate_openai import Remote
from llmkit.evaluate_review import Reviewed, judge, lines, summary
from llmkit.evaluate_run import (
    Answer,
    OnAnswer,
    Result,
    Sampling,
    result_from_dict,
    result_to_dict,
    run_cases,
    scored,
)
from llmkit.score import SCORERS, Case
from tests.fake_openai_server import completions
from tests.test_evaluate import DOMAIN, SHIPPED, config

RETRY = RetryConfig(temperature=0.7, top_p=0.9)
CASES = load_cases(SHIPPED, DOMAIN, limit=12, seed=1)
NEVER = "mkfs.ext4 /dev/nvme7n1p1"  # no machine of the cases has it


LOOK = -1  # the second look's place among the seeds


class Told:
    """A backend that answers by case and seed (None: its own way), the latest in reverse order."""

    def __init__(self, answers: Mapping[tuple[str, int | None], str], otherwise: str = "") -> None:
        self.answers, self.otherwise = answers, otherwise
        self.rounds: list[tuple[list[str], Sampling | None]] = []

    def answer(
        self, cases: Sequence[Case], on_answer: OnAnswer, sampling: Sampling | None = None
    ) -> None:
        self.rounds.append(([case.name for case in cases], sampling))
        seed: Any = None if sampling is None else sampling.seed
        seed = LOOK if sampling is not None and sampling.threshold else seed
        for place, case in reversed(list(enumerate(cases))):
            text = self.answers.get((case.name, seed), self.otherwise)
            on_answer(place, Answer("prompt", text, "stop", 10, 5))


def mends(case: Case, command: str) -> Objection | None:
    """Knows `lsblk` for `never`, and nothing for the rest."""
    found = by_word(case, command)
    return found and replace(found, better="lsblk" if command == "never" else "")


def by_word(case: Case, command: str) -> Objection | None:
    """Against `never …` for good, against `ask …` with a question."""
    if command.startswith("never"):
        return Objection(f"{command} cannot work:\n$ lsblk", again=True)
    if command.startswith("ask"):
        return Objection(f"Shall I really {command}?", again=False)
    return None


def answered(backend: Any, cases: Sequence[Case] = CASES[:4]) -> list[Answer]:
    found: dict[int, Answer] = {}
    backend.answer(cases, found.__setitem__)
    return [found[place] for place in range(len(cases))]


def test_a_command_that_can_never_work_is_asked_for_again() -> None:
    """Later rounds are about those cases alone, with seeds 1, 2; the first that passes is taken."""
    a, b, c, d = (case.name for case in CASES[:4])
    told = Told(
        {(a, None): "$ never a", (a, 1): "$ lsblk",
         (b, None): "$ lsblk",
         (c, None): "$ never c", (c, 1): "$ never c1", (c, 2): "$ lsblk -f",
         (d, None): "Hello."}
    )  # fmt: skip
    found = answered(Reviewed(told, by_word, tries=4, retry=RETRY))
    assert told.rounds == [
        ([a, b, c, d], None), ([a, c], Sampling(0.7, 0.9, 1)), ([c], Sampling(0.7, 0.9, 2))
    ]  # fmt: skip
    assert [answer.text for answer in found] == ["$ lsblk", "$ lsblk", "$ lsblk -f", "Hello."]
    assert [answer.raw for answer in found] == ["$ never a", "$ lsblk", "$ never c", "Hello."]
    assert [answer.completion_tokens for answer in found] == [10, 5, 15, 5]
    assert found[1].review is None and found[3].review is None
    assert found[0].review is not None and found[0].review.said is None
    assert [(item.text, item.seed) for item in found[0].review.tries] == [
        ("$ never a", None), ("$ lsblk", 1)
    ]  # fmt: skip


def test_a_text_that_nearly_was_a_command_is_one() -> None:
    """Where the backend writes one, nothing is against it, not even a question, and it is due; else the
    text stands. Before any other try, also for a text that is not so."""
    a, b, c, d, e, f = (case.name for case in CASES[:6])
    told = Told(
        {(a, None): "Which?", (a, LOOK): "$ lsblk a", (b, None): "Which?", (b, LOOK): "",
         (c, None): "Which?", (c, LOOK): "$ ask c", (d, None): "Which?", (d, LOOK): "$ other",
         (e, None): "$ lsblk", (f, None): "untrue", (f, LOOK): "$ never f", (f, 1): "$ lsblk f"}
    )  # fmt: skip
    reviewed = Reviewed(
        told, by_word, tries=2, retry=RETRY, threshold=0.2,
        doubt=lambda case, text: "It is not so." if text == "untrue" else "",
        due=lambda case, command: command != "other",
    )  # fmt: skip
    found = answered(reviewed, CASES[:6])
    assert [answer.text for answer in found] == [
        "$ lsblk a", "Which?", "Which?", "Which?", "$ lsblk", "$ lsblk f"
    ]  # fmt: skip
    assert [names for names, _ in told.rounds] == [[a, b, c, d, e, f], [f, d, c, b, a], [f]]
    assert told.rounds[1][1] == Sampling(0.0, 1.0, None, 0.2)
    assert found[0].raw == "Which?" and found[0].review is not None
    assert [item.text for item in found[0].review.tries] == ["Which?", "$ lsblk a"]
    assert all(answer.review is None for answer in found[1:5])


def test_a_command_takes_the_place_of_a_text_that_is_not_so() -> None:
    """Whatever the message names; where something is against it, the truth is said."""
    a, b, c, d = (case.name for case in CASES[:4])
    told = Told(
        {(d, None): "untrue", (d, LOOK): "$ look", (d, 1): "untrue",
         (a, None): "untrue", (a, LOOK): "$ other", (b, None): "untrue", (b, LOOK): "$ ask b",
         (b, 1): "untrue", (c, None): "Which?", (c, LOOK): "$ other"}
    )  # fmt: skip
    reviewed = Reviewed(
        told, by_word, tries=2, retry=RETRY, threshold=0.2,
        doubt=lambda case, text: "It is not so." if text == "untrue" else "",
        wanted=lambda case, command: command != "look",
    )  # fmt: skip
    found = answered(reviewed, CASES[:4])
    assert [answer.text for answer in found] == [
        "$ other", "It is not so.", "Which?", "It is not so."
    ]  # fmt: skip


def test_without_a_threshold_a_text_stands() -> None:
    """1: nobody is asked a second time."""
    told = Told({}, "Which?")
    found = answered(Reviewed(told, by_word, tries=3, retry=RETRY, due=lambda *_: True))
    assert len(told.rounds) == 1 and {answer.text for answer in found} == {"Which?"}


def test_a_question_is_put_at_once() -> None:
    """A command that only lacks a yes is not asked for again; its question is the answer, also when
    it came later than one that could never work."""
    a, b = (case.name for case in CASES[:2])
    told = Told(
        {(a, None): "$ ask for sda", (b, None): "$ never b", (b, 1): "$ ask for sdb"}, "$ never"
    )
    found = answered(Reviewed(told, by_word, tries=3, retry=RETRY), CASES[:2])
    assert [answer.text for answer in found] == [
        "Shall I really ask for sda?", "Shall I really ask for sdb?"
    ]  # fmt: skip
    assert len(told.rounds) == 2


def test_a_text_ends_the_tries_and_the_reviews_words_stand() -> None:
    """What was drawn may be untrue; what the review says of the first command is not. After an answer
    that was cut off nothing is known, so the text is taken."""
    told = Told({(CASES[0].name, None): "$ never", (CASES[0].name, 1): "sdz holds Windows."})
    (answer,) = answered(Reviewed(told, by_word, tries=4, retry=RETRY), CASES[:1])
    assert answer.text == "never cannot work:\n$ lsblk" and len(told.rounds) == 2
    assert answer.review is not None
    assert [item.objection for item in answer.review.tries] == [answer.text, None]

    class Long(Told):
        def answer(self, cases: Any, on_answer: Any, sampling: Any = None) -> None:
            first = Answer("prompt", "$ rm -rf /mnt/ho", "length", 10, 5)
            on_answer(0, first if sampling is None else Answer("prompt", "Hello.", "stop", 10, 5))

    (answer,) = answered(Reviewed(Long({}), by_word, tries=4, retry=RETRY), CASES[:1])
    assert answer.text == "Hello."


def test_what_was_cut_off_is_no_command() -> None:
    """Half a command is not run, however well its half would go; the next try may end."""

    class Long(Told):
        def answer(self, cases: Any, on_answer: Any, sampling: Any = None) -> None:
            reason = "length" if sampling is None else "stop"
            for place in range(len(cases)):
                on_answer(place, Answer("prompt", "$ rm -rf /mnt/ho", reason, 10, 5))

    (one,) = answered(Reviewed(Long({}), by_word, tries=1, retry=RETRY), CASES[:1])
    assert "cut off" in one.text and one.review is not None and one.review.said == one.text
    (two,) = answered(Reviewed(Long({}), by_word, tries=2, retry=RETRY), CASES[:1])
    assert two.text == "$ rm -rf /mnt/ho"


@given(
    tries=st.integers(1, 4),
    tails=st.lists(st.sampled_from(["", " && lsblk", "; reboot", " -L x"]), min_size=1, max_size=4),
)
def test_a_model_that_always_fails_answers_in_text(tries: int, tails: list[str]) -> None:
    """Whatever it proposes in each round, each case ends in the review's text, after all tries."""
    cases = CASES[: len(tails)]
    told = Told({(case.name, seed): f"$ {NEVER}{tail}"
                 for case, tail in zip(cases, tails, strict=True)
                 for seed in (None, 1, 2, 3)})  # fmt: skip
    reviewed = Reviewed(told, judge(DOMAIN), tries=tries, retry=RETRY)
    results = run_cases(cases, reviewed, DOMAIN, list(SCORERS))
    assert [len(names) for names, _ in told.rounds] == [len(cases)] * tries
    for result in results:
        assert result.reply.type == "text" and result.reply.response
        assert result.scores["guard"].value is None  # there is no command
        assert result.answer.review is not None and len(result.answer.review.tries) == tries
        assert result.answer.raw.startswith(f"$ {NEVER}")
        due = 1.0 if result.case.expected is None else 0.0
        assert result.scores["state"].value == due


Start = Callable[..., dict[str, Any]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Run a backend on the cases, into the folder of that name."""

    def begin(name: str, backend: Any, who: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return run(
            CASES, lambda: backend, DOMAIN, tmp_path / name, who or {"who": "me"},
            scorers=list(SCORERS), rank_by="state", max_tokens=8, temperature=0.0, resume=True,
            samples=100, seed=3,
        )  # fmt: skip

    return begin


REVIEWED = {"who": "me", "review": True, "tries": 2}


def mixed() -> Told:
    """The first two cases get a command that cannot work; the first one a better one by seed 1."""
    first, second, *_ = CASES
    return Told(
        {(first.name, None): f"$ {NEVER}", (first.name, 1): "$ echo '<b>'",
         (second.name, None): f"$ {NEVER}", (second.name, 1): f"$ {NEVER} -L again"}, "I see.",
    )  # fmt: skip


def test_without_objections_nothing_changes(start: Start, tmp_path: Path) -> None:
    """One try and texts alone: the same results to the byte, the same scores."""
    told = Told({}, "I would rather not.")
    plain = start("plain", told)
    with_it = start("reviewed", Reviewed(told, judge(DOMAIN), tries=1, retry=RETRY), REVIEWED)
    assert with_it["scores"] == plain["scores"]
    assert "review" not in plain and with_it["review"]["rows"][-1]["cases"] == 0
    one, other = (tmp_path / name / "results.jsonl" for name in ("plain", "reviewed"))
    assert one.read_bytes() == other.read_bytes()


def test_results_keep_every_try_and_are_read_back(start: Start, tmp_path: Path) -> None:
    """`raw` is the model's first text, `answer` what the person gets, `review` all tries; a run that
    is read back, or scored anew, is the same."""
    reviewed = Reviewed(mixed(), judge(DOMAIN), tries=2, retry=RETRY)
    report = start("a", reviewed, REVIEWED)
    rows = {
        row["name"]: row
        for row in map(json.loads, (tmp_path / "a/results.jsonl").read_text().splitlines())
    }
    one, two = (rows[case.name] for case in CASES[:2])
    assert one["raw"] == two["raw"] == f"$ {NEVER}"
    assert one["answer"]["text"] == "$ echo '<b>'" and one["reply"]["command"] == "echo '<b>'"
    assert two["reply"]["type"] == "text"
    assert two["answer"]["text"] == two["reply"]["response"] == two["review"]["said"]
    assert [item["text"] for item in two["review"]["tries"]] == [
        f"$ {NEVER}", f"$ {NEVER} -L again"
    ]  # fmt: skip
    assert [item["seed"] for item in two["review"]["tries"]] == [None, 1]
    assert all("review" not in rows[case.name] for case in CASES[2:])
    # the keys that readers of before know are those that they knew
    assert set(one["answer"]) == {
        "prompt", "text", "finish_reason", "prompt_tokens", "completion_tokens", "error"
    }  # fmt: skip
    results = read_results(tmp_path / "a", DOMAIN)
    assert read_results(tmp_path / "a", DOMAIN, list(SCORERS)) == results
    assert [result.reply.type for result in results[:2]] == ["command", "text"]
    again = finish(
        tmp_path / "a", results, DOMAIN, report["identity"], None, rank_by="state", samples=100,
        seed=3,
    )  # fmt: skip
    assert again["scores"] == report["scores"] and again["review"] == report["review"]


def test_a_run_that_stops_between_rounds_goes_on(start: Start, tmp_path: Path) -> None:
    """What passed is kept; the cases that were to be asked again are asked from the first try on, and
    the end is that of a run that nobody stopped."""

    class Stops(Told):
        def answer(self, cases: Any, on_answer: Any, sampling: Any = None) -> None:
            if sampling is not None:
                raise KeyboardInterrupt
            super().answer(cases, on_answer)

    whole = start("whole", Reviewed(mixed(), judge(DOMAIN), tries=2, retry=RETRY), REVIEWED)
    cut = Stops(mixed().answers, "I see.")
    with pytest.raises(KeyboardInterrupt):
        start("cut", Reviewed(cut, judge(DOMAIN), tries=2, retry=RETRY), REVIEWED)
    assert len((tmp_path / "cut/results.jsonl").read_bytes().splitlines()) == len(CASES) - 2
    again = mixed()
    report = start("cut", Reviewed(again, judge(DOMAIN), tries=2, retry=RETRY), REVIEWED)
    assert [names for names, _ in again.rounds] == [[case.name for case in CASES[:2]]] * 2
    assert report["scores"] == whole["scores"] and report["review"] == whole["review"]
    one, other = (tmp_path / name / "results.jsonl" for name in ("whole", "cut"))
    assert one.read_bytes() == other.read_bytes()


def test_words_of_the_review_are_text_whatever_they_quote() -> None:
    """A line that begins with `$ ` in an objection is not a command."""
    told = Told({}, "$ never")
    (result,) = run_cases(
        CASES[:1], Reviewed(told, by_word, tries=1, retry=RETRY), DOMAIN, ["type"]
    )
    assert result.answer.text == "never cannot work:\n$ lsblk"
    assert (result.reply.type, result.reply.command) == ("text", None)


def test_another_review_is_another_evaluation(start: Start) -> None:
    """Answers with and without it, or of another number of tries, are not mixed."""
    told = Told({}, "I see.")
    start("a", told)
    with pytest.raises(ConfigError, match="holds another evaluation"):
        start("a", told, REVIEWED)
    start("b", told, REVIEWED)
    with pytest.raises(ConfigError, match="holds another evaluation"):
        start("b", told, {**REVIEWED, "tries": 3})


def test_the_stage_tells_a_reviewed_run_apart(run_stage, tmp_path: Path) -> None:
    """review=true and tries= are in the run's identity; a run again asks nothing and says the same."""
    common = ("model=tiny", "adapter=none", "limit=2", "max_tokens=4", "output_dir=out")
    done = run_stage("evaluate", *common, "review=true", "tries=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "review: something against 0 first answers" in done.stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["identity"]["review"] is True and report["identity"]["tries"] == 4
    assert len(report["identity"]["review rules sha256"]) == 64
    assert report["identity"]["retry"] == {"temperature": 0.7, "top_p": 0.9}
    refused = run_stage("evaluate", *common, cwd=tmp_path)
    assert refused.returncode == 2 and "another evaluation" in refused.stderr


def test_the_rules_of_the_review_are_in_the_identity(tmp_path: Path) -> None:
    """A domain whose source changed, or got a file, is another one: its verdicts are not mixed."""
    import sys

    package = tmp_path / "fingerprinted"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "seam.py").write_text("class Mine:\n    pass\n")
    rules = package / "rules.py"
    rules.write_text("ASKS = True\n")
    sys.path.insert(0, str(tmp_path))
    try:
        from fingerprinted.seam import Mine  # type: ignore[import-not-found]

        first = rules_digest(Mine())
        assert rules_digest(Mine()) == first
        rules.write_text("ASKS = False\n")
        second = rules_digest(Mine())
        (package / "more.py").write_text("")
        assert len({first, second, rules_digest(Mine())}) == 3
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.startswith("fingerprinted")]:
            del sys.modules[name]


def test_a_line_that_the_review_knows_is_the_answer(tmp_path: Path) -> None:
    """At once, whatever tries are left; the objection stands in the record, which comes back as it was."""
    a, b = CASES[:2]
    told = Told({(a.name, None): "$ never", (b.name, None): "$ never b", (b.name, 1): "$ never"})
    results = run_cases(
        [a, b], Reviewed(told, mends, tries=3, retry=RETRY), DOMAIN, ["state", "type"]
    )
    assert [result.answer.text for result in results] == ["$ lsblk"] * 2
    assert [result.reply.command for result in results] == ["lsblk"] * 2
    assert [len(names) for names, _ in told.rounds] == [2, 1]
    first = results[0].answer
    assert first.review is not None and first.review.better == "lsblk" and first.raw == "$ never"
    assert [item.objection for item in first.review.tries] == ["never cannot work:\n$ lsblk"]
    rows = summary(results, DOMAIN, ["state", "type"], "state")["rows"]
    assert [row["cases"] for row in rows] == [0, 2, 0, 2]
    again = [
        result_from_dict(json.loads(json.dumps(result_to_dict(r, DOMAIN))), DOMAIN) for r in results
    ]
    assert [result.answer for result in again] == [result.answer for result in results]


def test_a_text_that_is_not_so_is_asked_for_again() -> None:
    """Another text may be no truer: the domain's words are the answer; a command that passes is taken."""
    a, b = CASES[:2]
    told = Told(
        {
            (a.name, None): "lie",
            (a.name, 1): "truth?",
            (b.name, None): "lie",
            (b.name, 1): "$ lsblk",
        }
    )

    def doubts(case: Case, text: str) -> str:
        return "That is not so." if text == "lie" else ""

    one, two = answered(Reviewed(told, by_word, tries=3, retry=RETRY, doubt=doubts), [a, b])
    assert (one.text, two.text) == ("That is not so.", "$ lsblk")
    assert one.review is not None and one.review.tries[0].objection == "That is not so."


def scripted(case: Case, first: str, second: str | None) -> Result:
    """A case whose first answer, or with a second one the later, is that."""
    told = Told({(case.name, None): first, (case.name, 1): second or ""})
    tries = 1 if second is None else 2
    (answer,) = answered(Reviewed(told, by_word, tries=tries, retry=RETRY), [case])
    return scored(case, answer, DOMAIN, ["state", "type"])


def test_the_summary_counts_what_was_won_and_lost() -> None:
    """By hand: text where text is due is right, a command is wrong."""
    due = [case for case in CASES if case.expected is None]
    wants = [case for case in CASES if case.expected is not None]
    results = [
        scripted(due[0], "$ never", None),  # wrong → the review's text: right
        scripted(due[1], "$ never", "$ lsblk"),  # wrong → another command: wrong
        scripted(wants[0], "$ never", "$ true"),  # wrong → another command: wrong
        scripted(due[2], "Hello.", None),  # nothing to say: right
    ]
    found = summary(results, DOMAIN, ["state", "type"], "state")
    assert found["scores"]["state"] == {"without": 0.25, "with": 0.5}
    assert found["rows"] == [
        {"end": "another try", "cases": 2, "right_without": 0, "right_with": 0, "made_right": 0,
         "made_wrong": 0},
        {"end": "a corrected line", "cases": 0, "right_without": 0, "right_with": 0,
         "made_right": 0, "made_wrong": 0},
        {"end": "its own words", "cases": 1, "right_without": 0, "right_with": 1, "made_right": 1,
         "made_wrong": 0},
        {"end": "all", "cases": 3, "right_without": 0, "right_with": 1, "made_right": 1,
         "made_wrong": 0},
    ]  # fmt: skip
    assert set(found["cases"]) == {result.case.name for result in results[:3]}
    assert lines(found) == [
        "review: something against 3 first answers; 2 ended with another try, 0 ended with a"
        " corrected line, 1 ended with its own words; made right 1, made wrong 0"
    ]


def test_the_summary_counts_a_right_answer_that_was_lost() -> None:
    """An objection to the right command is one made wrong."""
    case = next(case for case in CASES if case.command is not None or case.expected_state is None
                and case.expected is not None)  # fmt: skip
    told = Told({}, f"$ {case.command or ' '.join(case.expected or ())}")

    def against(case: Case, command: str) -> Objection:
        return Objection("No.", again=False)

    (plain,) = run_cases([case], told, DOMAIN, ["pattern"])
    assert plain.scores["pattern"].value == 1
    (lost,) = run_cases([case], Reviewed(told, against, tries=3, retry=RETRY), DOMAIN, ["pattern"])
    row = summary([lost], DOMAIN, ["pattern"], "pattern")["rows"][-1]
    assert (row["right_without"], row["right_with"], row["made_wrong"]) == (1, 0, 1)


def test_the_page_shows_where_the_review_spoke(start: Start, tmp_path: Path) -> None:
    """Each case that it had something against, with all tries, escaped; and both tables."""
    start("a", Reviewed(mixed(), judge(DOMAIN), tries=2, retry=RETRY), REVIEWED)
    page = (tmp_path / "a/report.html").read_text()
    assert page.count('<details class="review">') == 2
    assert "without review" in page and "made wrong" in page
    assert f'<pre class="assistant">$ {NEVER} -L again</pre>' in page
    assert "seed 1: passed" in page
    assert "echo '<b>'" not in page and "$ echo &#39;&lt;b&gt;&#39;" in page
    start("b", Told({}, "I see."))
    assert "The review" not in (tmp_path / "b/report.html").read_text()


def test_a_model_draws_the_same_answer_for_the_same_seed() -> None:
    """Another seed gives another one; without sampling it is the greedy answer, as ever."""
    model = local(config("adapter=none", "max_tokens=8", "engine.threads=1"), DOMAIN, None)

    def texts(sampling: Sampling | None) -> list[str]:
        found: dict[int, str] = {}
        model.answer(CASES[:3], lambda at, answer: found.__setitem__(at, answer.text), sampling)
        return [found[place] for place in range(3)]

    one = texts(Sampling(0.7, 0.9, 1))
    assert texts(Sampling(0.7, 0.9, 1)) == one
    assert texts(Sampling(0.7, 0.9, 2)) != one
    assert texts(None) == texts(None) != one


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Chat completions: a command that can never work, unless a seed is asked for."""
    seen: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> tuple[str, str, None]:
        seen.append(body)
        return "$ lsblk" if body.get("seed") == 2 else f"$ {NEVER}", "stop", None

    with completions(answer) as url:
        yield url, seen


def test_a_server_is_asked_again_with_seeds(server: tuple[str, list[dict[str, Any]]]) -> None:
    """backend=openai: the later requests are the first ones, but for temperature, top_p and seed."""
    url, seen = server
    cfg = config(f"remote.base_url={url}", "remote.concurrency=1")
    remote = Remote(cfg.remote, cfg.prompt, DOMAIN, max_tokens=6)
    results = run_cases(
        CASES[:2], Reviewed(remote, judge(DOMAIN), tries=4, retry=cfg.retry), DOMAIN, ["type"]
    )
    assert [result.reply.command for result in results] == ["lsblk", "lsblk"]
    how = [(body["temperature"], body.get("top_p"), body.get("seed")) for body in seen]
    assert how == [(0.0, None, None)] * 2 + [(0.7, 0.9, 1)] * 2 + [(0.7, 0.9, 2)] * 2
    assert seen[4]["messages"] == seen[0]["messages"]
