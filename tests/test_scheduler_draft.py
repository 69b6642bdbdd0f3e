"""Guessing ahead: what is guessed, and that it changes how many steps an answer takes, nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_serving import END, batch_engine, tiny_float32  # noqa: E402

from llmkit.config_engine import ServeEngineConfig  # noqa: E402
from llmkit.generate import Completion, Engine, Request  # noqa: E402
from llmkit.model import Loaded  # noqa: E402
from llmkit.prompt import Example  # noqa: E402
from llmkit.scheduler import Scheduler  # noqa: E402
from llmkit.scheduler_draft import (  # noqa: E402
    ANSWERS,
    LONGEST,
    Drafter,
    History,
    commonest,
    read_answers,
    write_answers,
)
from llmkit.stage_errors import validated  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TOKENS = st.lists(st.integers(0, 3), max_size=30)  # few kinds, so that they come again


def follows(texts: Sequence[Sequence[int]], gram: Sequence[int]) -> list[Sequence[int]]:
    """All that comes behind `gram` in `texts`, found by looking at every place."""
    size = len(gram)
    return [
        text[at + size :]
        for text in texts
        for at in range(len(text) - size)
        if list(text[at : at + size]) == list(gram)
    ]


@given(st.lists(st.tuples(TOKENS, TOKENS), max_size=4), TOKENS, st.integers(0, 20))
@example([([], [1, 2, 3])], [1], 5)
@example([([1], [2, 3, 1, 2])], [3, 1, 2], 5)
def test_a_guess_is_what_came_after_the_same_tokens(
    answers: list[tuple[list[int], list[int]]], own: list[int], count: int
) -> None:
    """In an earlier answer or in the request itself, and after as many of them as ever came before."""
    drafter = Drafter(1000)
    for prompt, answer in answers:
        drafter.learn(prompt, answer)
    earlier = [[*prompt[-LONGEST:], *answer] for prompt, answer in answers if answer]
    guess = drafter.guess(History(own), count)
    assert len(guess) <= count
    if count == 0:
        assert guess == []
        return
    for size in range(min(LONGEST, len(own)), 0, -1):
        found = follows([own, *(earlier if size > 1 else [])], own[-size:])
        if found:
            assert any(guess == list(rest[:count]) for rest in found)
            return
    assert guess == []


@given(st.lists(TOKENS.filter(bool), min_size=30, max_size=60))
def test_what_is_kept_is_bounded(answers: list[list[int]]) -> None:
    """Twice `kept`, and two answers; the last answer can always be guessed from."""
    drafter = Drafter(20)
    for answer in answers:
        drafter.learn([], answer)
        for text in (drafter._recent, drafter._older):
            assert len(text.tokens) <= 20 + max(map(len, answers)) + 1
            assert len(text.ends) <= LONGEST * len(text.tokens)
    last = [9, 8, 7, 6]
    drafter.learn([], last)
    assert drafter.guess(History([9, 8]), 5) == [7, 6]


def test_the_first_answers_are_guessed_from_what_the_adapter_was_trained_on(
    loaded: Loaded, tmp_path: Path
) -> None:
    """answers.json: the commonest answers first, as many as fit; found where two begin alike."""
    tokenizer = loaded.tokenizer
    texts = ["$ lsblk -f", "$ lsblk -o NAME,SIZE", "Which disk?"]
    encoded = [tokenizer(text)["input_ids"] for text in texts]
    examples = [
        Example([5, 6, *ids, END], 2)
        for ids, times in zip(encoded, (3, 5, 1), strict=True)
        for _ in range(times)
    ]
    kept = commonest(examples, sum(map(len, encoded[:2])))
    assert kept == [tuple(encoded[1]), tuple(encoded[0])]
    write_answers(tmp_path / ANSWERS, kept, tokenizer)
    answers = read_answers(tmp_path, tokenizer, {END})
    assert answers == [[*encoded[1], END], [*encoded[0], END]]
    drafter = Drafter(0)
    drafter.prime(answers)
    assert drafter.guess(History(encoded[0][:2]), 99) == [*encoded[1][2:], END]


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "{}", "[]", '{"answers": [1]}', '{"answers": []}', '{"answers": ["\\ud800"]}'),
        *("[" * 100_000, '{"answers": ["' + "a" * 2_000_000 + '"]}'),
    ],
    ids=range(9),
)
def test_answers_that_cannot_be_read_only_cost_time(
    loaded: Loaded, tmp_path: Path, text: str | None
) -> None:
    """No file, a broken one, an empty one, half a character, one that is too large: nothing to guess from."""
    if text is not None:
        (tmp_path / ANSWERS).write_text(text)
    assert read_answers(tmp_path, loaded.tokenizer, {END}) == []


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The tiny model in float32, so that sums are the same in any batch but for the last bits."""
    return tiny_float32()


@pytest.fixture(scope="module")
def engine(loaded: Loaded) -> Engine:
    """It guesses nothing: what the answers are compared with."""
    return batch_engine(loaded)


def scheduler(loaded: Loaded, **changes: Any) -> Scheduler:
    """A small one."""
    values = yaml.safe_load((ROOT / "conf/engine/serve.yaml").read_text())
    small = {"max_batch": 4, "max_cache_tokens": 512, "prefix_tokens": 1024, "block": 4}
    cfg = validated(ServeEngineConfig, values | small | {"prefill_tokens": 16} | changes)
    return Scheduler(loaded, cfg, frozenset({END}))


class Oracle(Drafter):
    """Guesses what is right up to a place, then something else."""

    def __init__(self, right: dict[tuple[int, ...], tuple[int, ...]], seed: int) -> None:
        super().__init__(0)
        self.right, self.draw = right, random.Random(seed)

    def guess(self, history: History, count: int) -> list[int]:
        """A part that is right, and a part that is not; the end of the answer, too."""
        tokens = tuple(history.tokens)
        (prompt,) = (known for known in self.right if tokens[: len(known)] == known)
        rest = [*self.right[prompt][len(tokens) - len(prompt) :], END]
        good = self.draw.randrange(0, count + 1)
        made = rest[:good]
        made += [self.draw.randrange(3, 400) for _ in range(count - len(made))]
        return made[: self.draw.randrange(0, count + 1)]


class Odd:
    """A grammar: tokens are odd, or end the answer after the fifth."""

    def __init__(self, size: int) -> None:
        self.size = size

    def mask(self, ids: Sequence[int]) -> Any:
        """As a mask."""
        allowed = torch.arange(self.size) % 2 == 1
        allowed[END] = len(ids) > 5
        return allowed

    def allows(self, ids: Sequence[int], token: int) -> bool:
        """As a question."""
        return bool(self.mask(ids)[token])


def requests(seed: int, size: int) -> list[Request]:
    """Greedy, sampled, with a grammar; no prompt is the beginning of another."""
    draw = random.Random(seed)
    made = []
    for number in range(14):
        ids = (400 + number, *(draw.randrange(3, 400) for _ in range(draw.randrange(1, 30))))
        request = Request(ids, draw.randrange(1, 30))
        if draw.random() < 0.5:
            request = replace(request, temperature=0.9, seed=number)
        if draw.random() < 0.3:
            request = replace(request, grammar=Odd(size))
        made.append(request)
    return made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("batch", [1, 3])
def test_guesses_good_and_bad_change_no_answer(
    loaded: Loaded, engine: Engine, seed: int, batch: int
) -> None:
    """Tokens, text, reason and what is streamed: as the engine gives them, a token at a time."""
    size = loaded.model.config.vocab_size
    asked = requests(seed, size)
    wanted = engine.generate(asked)
    guessing = scheduler(loaded, max_batch=batch)
    right = {r.ids: done.ids for r, done in zip(asked, wanted, strict=True)}
    guessing._drafter = Oracle(right, seed)
    assert guessing.generate(asked) == wanted
    stats = guessing.stats()
    assert 0 < stats["guessed_well_tokens"] < stats["guessed_tokens"]
    # What was kept of them is sound: second turns, which go on from it, are right as well.
    again = [Request((*r.ids, *done.ids, 7, 9), 8) for r, done in zip(asked, wanted, strict=True)]
    guessing._drafter = Drafter(100)
    assert guessing.generate(again) == engine.generate(again)
    assert guessing.stats()["reused_tokens"] > 0


def test_a_stop_text_within_a_guess_ends_the_answer(loaded: Loaded, engine: Engine) -> None:
    """Tokens behind it are not the answer's, however well they were guessed."""
    plain = Request((5, 6, 7), 20)
    (whole,) = engine.generate([plain])
    text = loaded.tokenizer.decode(list(whole.ids[4:6]))
    asked = replace(plain, stop=(text,))
    guessing = scheduler(loaded)
    guessing._drafter = Oracle({plain.ids: whole.ids}, 0)
    guessing._drafter.guess = (
        lambda history, count: [  # type: ignore[method-assign]
            *whole.ids[len(history.tokens) - 3 :][:count]
        ]
    )
    (made,) = guessing.generate([asked])
    assert made.text == whole.text[: whole.text.index(text)] and made.finish_reason == "stop"
    assert len(made.ids) < len(whole.ids)


def test_an_answer_that_was_given_before_takes_few_steps(loaded: Loaded) -> None:
    """24 tokens that another request was answered with: at most a third of the steps."""
    guessing = scheduler(loaded, prefix_tokens=0)
    first: list[Completion] = guessing.generate([Request((11, 12, 13, 14, 15), 24)])
    before = guessing.stats()["steps"]
    assert guessing.generate([Request((11, 12, 13, 14, 15), 24)]) == first
    assert guessing.stats()["steps"] - before <= 8
    assert guessing.stats()["guessed_well_tokens"] >= 16


def test_nothing_is_guessed_where_it_is_switched_off(loaded: Loaded) -> None:
    """engine.guess=0: a token a step, even if all came before."""
    plain = scheduler(loaded, guess=0, prefix_tokens=0)
    for _ in range(2):
        before = plain.stats()["steps"]
        (made,) = plain.generate([Request((11, 12, 13, 14, 15), 12)])
        assert plain.stats()["steps"] - before == max(len(made.ids), 1)
    assert plain.stats()["guessed_tokens"] == 0


def test_guesses_fill_rows_that_are_computed_anyhow(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more than the next multiple of 16 rows, and never past a request's own room."""
    guessing = scheduler(loaded, max_batch=4, guess=15)
    model: Any = guessing._model
    forward = model.forward
    seen = []

    def watched(parts: Any, wanted: Any) -> Any:
        plain = sum(len(ids) - many + 1 for (_, ids), many in zip(parts, wanted, strict=True))
        rows = sum(len(ids) for _, ids in parts)
        seen.append((plain, rows))
        for seat, ids in parts:
            assert seat.length + len(ids) <= seat.need
        return forward(parts, wanted)

    monkeypatch.setattr(model, "forward", watched)
    for _ in range(3):
        guessing.generate([Request((20 + n, 21, 22, 23), 18) for n in range(6)])
    assert any(rows > plain for plain, rows in seen)
    assert all(rows <= -(-plain // 16) * 16 for plain, rows in seen)
