"""The engine: the same tokens as one prompt at a time, and requests that do not disturb others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from llmkit.config_engine import EngineConfig, ServeEngineConfig  # noqa: E402
from llmkit.config_model import ModelConfig  # noqa: E402
from llmkit.errors import ConfigError  # noqa: E402
from llmkit.generate import Engine, Request  # noqa: E402
from llmkit.model import Loaded, load_model  # noqa: E402
from llmkit.scheduler import Scheduler  # noqa: E402
from llmkit.stage_errors import validated  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
END = 2  # <|im_end|> of the tiny model


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The tiny model in float32, so that sums are the same in any batch but for the last bits."""
    values = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    return load_model(validated(ModelConfig, values | {"dtype": "float32", "device": "cpu"}))


def engine(loaded: Loaded, **changes: Any) -> Engine:
    values = yaml.safe_load((ROOT / "conf/engine/batch.yaml").read_text())
    return Engine(loaded, validated(EngineConfig, values | changes), frozenset({END}))


def requests(count: int, seed: int = 0) -> list[Request]:
    """Prompts of many lengths, most with the same head, and limits of their own."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        head = [5, 6, 7, 8] if number % 3 else [9]
        tail = [draw.randrange(3, 400) for _ in range(draw.randrange(0, 30))]
        made.append(Request(tuple(head + tail), max_tokens=draw.randrange(1, 25)))
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("changes", [{}, {"max_batch": 7}, {"share_prefix": False}])
def test_a_batch_gives_what_each_prompt_gives_alone(
    loaded: Loaded, changes: dict[str, Any]
) -> None:
    """Greedy tokens equal transformers' own generate, one prompt at a time, in float32."""
    wanted = []
    for request in requests(24):
        ids = torch.tensor([request.ids])
        out = loaded.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.max_tokens,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=0,
        )
        wanted.append(tuple(t for t in out[0, ids.shape[1] :].tolist() if t != END))
    assert [c.ids for c in engine(loaded, **changes).generate(requests(24))] == wanted


def test_a_seeded_request_does_not_see_its_neighbours(loaded: Loaded) -> None:
    """The same seed gives the same sampled tokens, alone and among others."""
    one = Request((5, 6, 7, 30, 31), 20, temperature=1.0, top_p=0.9, seed=7)
    (alone,) = engine(loaded).generate([one])
    among = engine(loaded).generate([*requests(6), one, replace(one, seed=8)])
    assert among[6].ids == alone.ids != among[7].ids


def test_each_completion_is_told_once_as_it_ends(loaded: Loaded) -> None:
    """on_done gets every index once; the result keeps the order of the requests."""
    told: dict[int, Any] = {}
    out = engine(loaded, max_batch=5).generate(requests(12), told.setdefault)
    assert [told[index] for index in range(12)] == out


def test_lengths_and_reasons_are_counted(loaded: Loaded) -> None:
    """A completion that reaches its limit says so, and counts its tokens."""
    for request, made in zip(requests(12), engine(loaded).generate(requests(12)), strict=True):
        assert made.prompt_tokens == len(request.ids)
        assert made.completion_tokens == len(made.ids) <= request.max_tokens
        assert (made.finish_reason == "length") == (len(made.ids) == request.max_tokens)


def test_a_stop_text_ends_the_answer(loaded: Loaded) -> None:
    """The text ends before the stop text, which the greedy answer would have held."""
    request = Request((5, 6, 7), 20)
    (whole,) = engine(loaded).generate([request])
    stop = whole.text[4:6]
    (cut,) = engine(loaded).generate([replace(request, stop=(stop,))])
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.finish_reason == "stop"


def test_a_grammar_rules_what_may_come(loaded: Loaded) -> None:
    """Only tokens that the grammar's mask allows are generated."""

    class Even:
        def mask(self, ids: Any) -> Any:
            return torch.arange(loaded.model.config.vocab_size) % 2 == len(ids) % 2

        def allows(self, ids: Any, token: int) -> bool:
            return bool(self.mask(ids)[token])

    (made,) = engine(loaded).generate([Request((5, 6, 7), 12, grammar=Even())])
    assert made.ids and all(token % 2 == place % 2 for place, token in enumerate(made.ids))


class Some:
    """A grammar of these tokens."""

    def __init__(self, size: int, *tokens: int) -> None:
        self.allowed = torch.zeros(size, dtype=torch.bool)
        self.allowed[list(tokens)] = True

    def mask(self, ids: Sequence[int]) -> Any:
        """The same everywhere."""
        return self.allowed

    def allows(self, ids: Sequence[int], token: int) -> bool:
        """As the mask says."""
        return bool(self.allowed[token])


@pytest.mark.parametrize("served", [False, True])
def test_an_answer_that_is_hardly_one_of_the_grammar_is_empty(loaded: Loaded, served: bool) -> None:
    """By the chance of the tokens that may come first, as the model itself gives it."""
    prompt, size = (5, 6, 7), loaded.model.config.vocab_size
    with torch.inference_mode():
        chances = loaded.model(torch.tensor([prompt])).logits[0, -1].float().softmax(0)
    tokens = (20, 21, 22)
    chance = float(chances[list(tokens)].sum())
    made_by: Any = engine(loaded)
    if served:
        values = yaml.safe_load((ROOT / "conf/engine/serve.yaml").read_text())
        made_by = Scheduler(loaded, validated(ServeEngineConfig, values), frozenset({END}))
    for threshold, count in ((0.0, 4), (chance * 0.99, 4), (chance * 1.01, 0), (1.0, 0)):
        request = Request(prompt, 4, grammar=Some(size, *tokens), threshold=threshold)
        (made,) = made_by.generate([request])
        assert len(made.ids) == count and set(made.ids) <= set(tokens)
        assert made.finish_reason == ("length" if count else "stop") and bool(made.text) == bool(
            count
        )
    (free,) = made_by.generate([Request(prompt, 4, threshold=1.0)])
    assert len(free.ids) == 4  # nothing to compare with


def test_what_cannot_fit_is_refused(loaded: Loaded) -> None:
    """A request over max_batch_tokens is an error that names the limit."""
    with pytest.raises(ConfigError, match="max_batch_tokens"):
        engine(loaded, max_batch_tokens=64).generate([Request((5,) * 60, 20)])


def test_a_batch_stays_within_its_tokens(loaded: Loaded) -> None:
    """A short prompt with a long answer widens the whole batch, and is counted so."""
    limit = 600
    made = engine(loaded, max_batch_tokens=limit)
    mixed = [Request((5,) * (5 + n), 200 if n % 4 == 0 else 5) for n in range(20)]
    batches = made._batches(mixed)
    assert sorted(index for batch in batches for index in batch) == list(range(20))
    for batch in batches:
        width = max(len(mixed[i].ids) for i in batch) + max(mixed[i].max_tokens for i in batch)
        assert width * len(batch) <= limit


def test_nothing_to_generate_is_refused(loaded: Loaded) -> None:
    """max_tokens=0 is an error, not one token."""
    with pytest.raises(ConfigError, match="max_tokens"):
        engine(loaded).generate([Request((5,), 0)])
