"""The scheduler: the engine's answers in any mix, nothing computed twice, bounded, interruptible."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_serving import END, batch_engine, tiny_float32  # noqa: E402

from llmkit import scheduler_linear, scheduler_slots  # noqa: E402
from llmkit.config_engine import EngineConfig, ServeEngineConfig, Weights  # noqa: E402
from llmkit.config_model import ModelConfig  # noqa: E402
from llmkit.errors import ConfigError  # noqa: E402
from llmkit.generate import Completion, Engine, Request, choose, common_length, likeliest  # noqa: E402
from llmkit.model import Loaded, load_model  # noqa: E402
from llmkit.scheduler import Busy, Cancelled, Scheduler  # noqa: E402
from llmkit.scheduler_model import SlotModel  # noqa: E402
from llmkit.scheduler_prefix import PrefixStore  # noqa: E402
from llmkit.scheduler_slots import Shape, Slots  # noqa: E402
from llmkit.stage_errors import validated  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The tiny model in float32, so that sums are the same in any batch but for the last bits."""
    return tiny_float32()


@pytest.fixture(scope="module")
def engine(loaded: Loaded) -> Engine:
    """What the answers are compared with."""
    return batch_engine(loaded)


class Run:
    """A scheduler that is stepped by hand, and what came of its requests."""

    def __init__(self, loaded: Loaded, **changes: Any) -> None:
        values = yaml.safe_load((ROOT / "conf/engine/serve.yaml").read_text())
        small = {"max_batch": 4, "max_cache_tokens": 512, "prefix_tokens": 1024, "block": 8}
        cfg = validated(ServeEngineConfig, values | small | {"prefill_tokens": 16} | changes)
        self.scheduler = Scheduler(loaded, cfg, frozenset({END}))
        self.results: dict[int, Completion | Exception] = {}
        self.texts: dict[int, list[str]] = {}

    def submit(self, request: Request) -> int:
        box: list[int] = []
        pieces: list[str] = []

        def done(result: Completion | Exception) -> None:
            assert box[0] not in self.results
            self.results[box[0]] = result

        box.append(self.scheduler.submit(request, on_text=pieces.append, on_done=done))
        self.texts[box[0]] = pieces
        return box[0]

    def finish(self) -> None:
        while self.scheduler.step():
            pass

    def answer(self, request: Request) -> Completion:
        number = self.submit(request)
        self.finish()
        result = self.results[number]
        assert isinstance(result, Completion)
        return result

    def stat(self, name: str) -> float:
        return self.scheduler.stats()[name]


def mixed(count: int, seed: int) -> list[Request]:
    """Prompts of many lengths that begin alike in many ways; some greedy, some sampled."""
    draw = random.Random(seed)
    heads = [[draw.randrange(3, 400) for _ in range(length)] for length in (0, 3, 17, 40)]
    made = []
    for number in range(count):
        tail = [draw.randrange(3, 400) for _ in range(draw.randrange(1, 40))]
        request = Request((*draw.choice(heads), *tail), draw.randrange(1, 25))
        if draw.random() < 0.4:
            request = replace(request, temperature=0.8, top_p=0.9, seed=number)
        made.append(request)
    return made


VARIANTS: list[dict[str, int]] = [
    {},
    {"max_batch": 1},
    {"prefill_tokens": 3, "block": 1},
    {"prefix_tokens": 0},
    {"max_cache_tokens": 200, "max_batch": 3},
    {"prefix_tokens": 64},
]


@pytest.mark.parametrize("seed", range(len(VARIANTS)))
def test_any_mix_gives_what_the_engine_gives(loaded: Loaded, engine: Engine, seed: int) -> None:
    """Requests that come at any step get the tokens, text and reason that they get in a batch."""
    requests = mixed(24, seed)
    draw = random.Random(seed)
    run = Run(loaded, **VARIANTS[seed])
    numbers = []
    for request in requests:
        numbers.append(run.submit(request))
        for _ in range(draw.randrange(0, 6)):
            run.scheduler.step()
    run.finish()
    assert [run.results[number] for number in numbers] == engine.generate(requests)
    assert run.stat("cache_tokens") <= run.stat("cache_limit")
    assert run.stat("active") == run.stat("waiting") == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_head_that_is_read_once_for_all_changes_nothing(
    loaded: Loaded, engine: Engine, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention in two parts, to what requests share and to what is their own, is attention."""
    used = []
    headed = scheduler_slots._headed
    monkeypatch.setattr(scheduler_slots, "WORTH", 4)
    monkeypatch.setattr(
        scheduler_slots,
        "_headed",
        lambda group, *rest: used.append(group.head) or headed(group, *rest),
    )
    draw = random.Random(seed)
    head = tuple(draw.randrange(3, 400) for _ in range(23))
    requests = [
        replace(r, ids=head[: draw.randrange(10, 24)] + r.ids[: draw.randrange(1, 30)])
        for r in mixed(16, seed)
    ]
    run = Run(loaded, common_heads=True, guess=0)  # those who guess are computed one by one
    numbers = []
    for request in requests:
        numbers.append(run.submit(request))
        for _ in range(draw.randrange(0, 3)):
            run.scheduler.step()
    run.finish()
    assert [run.results[number] for number in numbers] == engine.generate(requests)
    assert len(used) > 20 and max(used) >= 10


def test_greedy_answers_are_those_of_transformers(loaded: Loaded) -> None:
    """Without the engine as a go-between: model.generate, one prompt at a time."""
    requests = [replace(r, temperature=0.0, seed=None, top_p=1.0) for r in mixed(10, 50)]
    wanted = []
    for request in requests:
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
    run = Run(loaded)
    numbers = [run.submit(request) for request in requests]
    run.finish()
    assert [run.results[n].ids for n in numbers] == wanted  # type: ignore[union-attr]


def test_a_second_turn_computes_only_what_is_new(loaded: Loaded) -> None:
    """The prompt and the answer of the first turn are not computed again, to the token."""
    run = Run(loaded)
    first = Request(tuple(range(10, 61)), 9)
    answer = run.answer(first)
    assert len(answer.ids) == 9
    before = run.stat("computed_tokens")
    assert before == 51 + 8  # the last token of an answer is not read
    turn = (*first.ids, *answer.ids, 7, 8, 9)
    run.answer(Request(turn, 1))
    assert run.stat("computed_tokens") - before == 4  # and that last one
    assert run.stat("reused_tokens") == 59


def test_the_common_head_of_requests_that_come_together_is_computed_once(loaded: Loaded) -> None:
    """The second waits until the first has read what both begin with."""
    run = Run(loaded)
    head = tuple(range(10, 60))
    for tail in (70, 71, 72):
        run.submit(Request((*head, tail), 1))
    run.finish()
    assert run.stat("computed_tokens") == 51 + 1 + 1


def test_the_least_recently_used_is_forgotten_first(loaded: Loaded) -> None:
    """Room for two prompts: the one that was asked again stays, the other goes."""
    run = Run(loaded, prefix_tokens=80, block=8)
    one, two, three = (Request((mark, *range(10, 49)), 1) for mark in (5, 6, 7))
    for request in (one, two, one, three):
        run.answer(request)
    before = run.stat("reused_tokens")
    run.answer(one)
    assert run.stat("reused_tokens") - before == 39
    run.answer(two)  # which makes room by forgetting the third
    assert run.stat("reused_tokens") - before == 39
    assert run.stat("cache_tokens") <= 80


def test_the_cache_is_bounded_under_load(loaded: Loaded, engine: Engine) -> None:
    """More than fits waits; no step holds more than the limit."""
    requests = mixed(40, 9)
    run = Run(loaded, max_batch=8, max_cache_tokens=256, prefix_tokens=64, queue=40)
    numbers = [run.submit(request) for request in requests]
    while run.scheduler.step():
        stats = run.scheduler.stats()
        assert stats["cache_tokens"] <= stats["cache_limit"] == 320
    assert [run.results[number] for number in numbers] == engine.generate(requests)


def test_a_cancelled_request_frees_its_slot(loaded: Loaded) -> None:
    """The next one runs in its place, and its own answer is Cancelled."""
    run = Run(loaded, max_batch=1)
    first, second = run.submit(Request((5, 6, 7), 400)), run.submit(Request((5, 6, 8), 3))
    for _ in range(5):
        run.scheduler.step()
    assert run.stat("waiting") == 1 and not run.results
    run.scheduler.cancel(first)
    run.scheduler.step()
    assert isinstance(run.results[first], Cancelled) and run.stat("waiting") == 0
    run.finish()
    assert isinstance(run.results[second], Completion)
    run.scheduler.cancel(second)  # too late: nothing happens
    assert not run.scheduler.step() and run.stat("cancelled") == 1


def test_one_that_waits_can_be_cancelled(loaded: Loaded) -> None:
    """It ends without having run."""
    run = Run(loaded, max_batch=1)
    first, second = run.submit(Request((5, 6, 7), 20)), run.submit(Request((5, 6, 8), 3))
    run.scheduler.step()
    run.scheduler.cancel(second)
    run.finish()
    assert isinstance(run.results[second], Cancelled)
    assert isinstance(run.results[first], Completion)


def test_a_seed_gives_the_same_tokens_among_any_others(loaded: Loaded) -> None:
    """Alone, and in a batch of greedy and sampled ones; another seed gives others."""
    one = Request((5, 6, 7, 30, 31), 20, temperature=1.0, top_p=0.9, seed=7)
    alone = Run(loaded).answer(one)
    run = Run(loaded)
    for request in mixed(3, 1):
        run.submit(request)
    number, other = run.submit(one), run.submit(replace(one, seed=8))
    run.finish()
    assert run.results[number] == alone != run.results[other]


@pytest.mark.parametrize("stop", [(), ("e", "on"), ("zzzz",)])
def test_the_pieces_are_the_text(loaded: Loaded, stop: tuple[str, ...]) -> None:
    """Joined they are the completion's text, also with broken characters and stop texts."""
    run = Run(loaded)
    numbers = [
        run.submit(Request((5, 6, n), 40, temperature=1.5, seed=n, stop=stop)) for n in range(20)
    ]
    run.finish()
    for number in numbers:
        made = run.results[number]
        assert isinstance(made, Completion)
        assert "".join(run.texts[number]) == made.text
        assert not any(text in made.text for text in stop)


class Forced:
    """A grammar that allows one text alone."""

    def __init__(self, ids: list[int], size: int) -> None:
        self.ids, self.size = ids, size

    def mask(self, ids: Any) -> Any:
        allowed = torch.zeros(self.size, dtype=torch.bool)
        allowed[[*self.ids, END][len(ids)]] = True
        return allowed

    def allows(self, ids: Any, token: int) -> bool:
        return bool(self.mask(ids)[token])


def forced(loaded: Loaded, text: str) -> Forced:
    return Forced(
        loaded.tokenizer.encode(text, add_special_tokens=False), loaded.model.config.vocab_size
    )


def test_a_character_is_given_when_it_is_whole(loaded: Loaded) -> None:
    """Bytes of an umlaut or a smiley are tokens of their own; no piece ends between them."""
    text = "für 😀 日本"
    run = Run(loaded)
    number = run.submit(Request((5, 6, 7), 60, grammar=forced(loaded, text)))
    run.finish()
    assert "".join(run.texts[number]) == text
    assert {"ü", "😀", "日", "本"} <= set(run.texts[number])


def test_no_part_of_a_stop_text_is_given(loaded: Loaded) -> None:
    """What may be its beginning is held back until it is clear that it is not."""
    run = Run(loaded)
    grammar = forced(loaded, "so <x <end>more")
    number = run.submit(Request((5, 6, 7), 60, stop=("<end>",), grammar=grammar))
    run.finish()
    made = run.results[number]
    assert isinstance(made, Completion)
    assert (made.text, made.finish_reason) == ("so <x ", "stop")
    assert "".join(run.texts[number]) == made.text
    given = ""
    for piece in run.texts[number]:
        given += piece
        assert not given.endswith("<")


def test_a_grammar_that_fails_fails_alone(loaded: Loaded, engine: Engine) -> None:
    """Its request gets the error; those beside it get their answers."""

    class Broken:
        def mask(self, ids: Any) -> Any:
            if len(ids) == 3:
                raise ZeroDivisionError("of the grammar")

        def allows(self, ids: Any, token: int) -> bool:
            return self.mask(ids) is None

    run = Run(loaded)
    requests = mixed(3, 4)
    bad = run.submit(Request((5, 6, 7), 20, grammar=Broken()))
    numbers = [run.submit(request) for request in requests]
    run.finish()
    assert isinstance(run.results[bad], ZeroDivisionError)
    assert [run.results[number] for number in numbers] == engine.generate(requests)
    assert run.stat("failed") == 1


def test_a_callback_that_fails_fails_alone(loaded: Loaded) -> None:
    """The scheduler outlives on_text and on_done."""
    run = Run(loaded)
    results: list[Any] = []

    def broken(_: Any) -> None:
        raise RuntimeError("of the callback")

    run.scheduler.submit(Request((5, 6), 9), on_text=broken, on_done=results.append)
    run.scheduler.submit(Request((5, 7), 9), on_done=broken)
    number = run.submit(Request((5, 8), 9))
    run.finish()
    assert isinstance(results[0], RuntimeError) and isinstance(run.results[number], Completion)


def test_a_full_queue_is_busy(loaded: Loaded) -> None:
    """One more than may wait is refused; after a step there is room again."""
    run = Run(loaded, max_batch=1, queue=2)
    run.submit(Request((5, 6), 3))
    run.submit(Request((5, 7), 3))
    with pytest.raises(Busy):
        run.submit(Request((5, 8), 3))
    run.scheduler.step()
    run.submit(Request((5, 8), 3))
    run.finish()
    assert len(run.results) == 3


@pytest.mark.parametrize("request_", [Request((), 1), Request((5,), 0), Request((5,) * 500, 13)])
def test_what_can_never_run_is_refused(loaded: Loaded, request_: Request) -> None:
    """No prompt, no answer, or more than the cache holds."""
    with pytest.raises(ConfigError):
        Run(loaded, max_cache_tokens=512).submit(request_)


def test_requests_from_threads_are_answered_while_it_runs(loaded: Loaded, engine: Engine) -> None:
    """Four threads submit to one that runs; stopping cancels what is left."""
    run = Run(loaded)
    stop = threading.Event()
    loop = threading.Thread(target=run.scheduler.run, args=(stop,))
    loop.start()
    requests = mixed(12, 2)
    results: dict[int, Any] = {}

    def client(start: int) -> None:
        for place in range(start, 12, 4):
            done = threading.Event()

            def keep(result: Any, place: int = place, done: Any = done) -> None:
                results[place] = result
                done.set()

            run.scheduler.submit(requests[place], on_done=keep)
            assert done.wait(20)

    clients = [threading.Thread(target=client, args=(start,)) for start in range(4)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    left: list[Any] = []
    run.scheduler.submit(Request((5, 6), 400), on_done=left.append)
    stop.set()
    loop.join(20)
    assert [results[place] for place in range(12)] == engine.generate(requests)
    assert isinstance(left[0], Cancelled)


def test_a_model_of_another_kind_is_served_one_by_one(loaded: Loaded, engine: Engine) -> None:
    """Where our attention cannot be registered, answers are the same."""
    other = replace(
        loaded, model=type("Odd", (type(loaded.model),), {}).__new__(type(loaded.model))
    )
    other.model.__dict__ = loaded.model.__dict__ | {"_supports_attention_backend": False}
    requests = mixed(6, 3)
    run = Run(other)
    assert type(run.scheduler._model).__name__ == "PlainModel"
    numbers = [run.submit(request) for request in requests]
    run.finish()
    assert [run.results[number] for number in numbers] == engine.generate(requests)


def test_the_tiny_model_runs_in_slots(loaded: Loaded) -> None:
    """The other tests are about the fast way."""
    assert type(Run(loaded).scheduler._model).__name__ == "SlotModel"


@pytest.mark.parametrize("window", [None, 12])
def test_a_model_that_is_not_written_out_runs_in_slots_too(window: int | None) -> None:
    """Mistral with a sliding window goes through transformers' own layers and our attention."""
    from transformers import MistralConfig, MistralForCausalLM

    build: Any = MistralConfig
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model: Any = MistralForCausalLM(
            build(
                vocab_size=579, hidden_size=64, intermediate_size=96, sliding_window=window, **sizes
            )
        ).eval()
    values = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    tiny = load_model(validated(ModelConfig, values | {"dtype": "float32", "device": "cpu"}))
    requests = mixed(8, 6)
    values = yaml.safe_load((ROOT / "conf/engine/batch.yaml").read_text())
    alone = Engine(replace(tiny, model=model), validated(EngineConfig, values), frozenset({END}))
    wanted = alone.generate(requests)
    run = Run(replace(tiny, model=model))
    served = run.scheduler._model
    assert isinstance(served, SlotModel) and (served._lean is None) == (window is not None)
    numbers = [run.submit(request) for request in requests]
    run.finish()
    assert [run.results[number] for number in numbers] == wanted


@pytest.mark.parametrize(("weights", "far"), [("plain", 0.03), ("packed", 0.03), ("int8", 0.05)])
def test_weights_that_are_laid_out_give_the_same_logits(weights: str, far: float) -> None:
    """Of one token and of many, as float32 has them but for what bfloat16 (or int8) rounds."""
    values = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    exact = load_model(validated(ModelConfig, values | {"dtype": "float32", "device": "cpu"}))
    loaded = load_model(validated(ModelConfig, values | {"dtype": "bfloat16", "device": "cpu"}))
    ids = list(range(50, 90))
    with torch.inference_mode():
        wanted = exact.model(input_ids=torch.tensor([ids])).logits[0, -2:]
        model: Any = Run(loaded, weights=weights).scheduler._model
        seat = model.take(50)
        made = torch.cat([model.forward([(seat, ids[:-1])]), model.forward([(seat, ids[-1:])])])
    assert (made.float() - wanted).norm() / wanted.norm() < far


def test_weights_stay_plain_where_onednn_cannot_lay_them_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A CPU with AVX2 alone serves bfloat16 weights as they are."""
    monkeypatch.setattr(scheduler_linear, "can_pack", lambda: False)
    values = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    loaded = load_model(validated(ModelConfig, values | {"dtype": "bfloat16", "device": "cpu"}))
    assert scheduler_linear.lay_out(loaded.model, Weights.packed) == 0
    linear = torch.nn.Linear(32, 32, dtype=torch.bfloat16)
    serving = scheduler_linear.ServingLinear([linear]).pack(Weights.int8)
    rows = torch.ones(2, 32, dtype=torch.bfloat16)
    with torch.inference_mode():
        assert not serving.packed and serving(rows).equal(linear(rows))


@pytest.mark.parametrize("size", [5, 256, 1000])
def test_the_likeliest_is_the_first_of_the_largest(size: int) -> None:
    """As argmax has it, ties included."""
    logits = torch.randint(0, 4, (20, size), generator=torch.Generator().manual_seed(3)).float()
    assert likeliest(logits).tolist() == [row.index(max(row)) for row in logits.tolist()]


def test_top_p_draws_in_proportion_from_the_fewest_that_reach_it() -> None:
    """Chances 0.5, 0.3, 0.15, 0.05: top_p=0.8 draws the first two, 5 to 3; 0.81 a third."""
    logits = torch.tensor([0.05, 0.5, 0.15, 0.3]).log()
    generator = torch.Generator().manual_seed(1)
    for top_p, shares in (
        (0.79, {1: 5 / 8, 3: 3 / 8}),
        (0.9, {1: 50 / 95, 3: 30 / 95, 2: 15 / 95}),
    ):
        request = Request((1,), 1, temperature=1.0, top_p=top_p)
        drawn = [choose(request, [], generator, logits) for _ in range(2000)]
        assert set(drawn) == set(shares)
        for token, share in shares.items():
            assert abs(drawn.count(token) / 2000 - share) < 0.05


def test_top_p_over_many_tokens_keeps_enough() -> None:
    """Of 1,000 equal chances, half are drawn from."""
    request = Request((1,), 1, temperature=1.0, top_p=0.4995)
    generator = torch.Generator().manual_seed(1)
    drawn = {choose(request, [], generator, torch.zeros(1000)) for _ in range(1000)}
    assert len(drawn) > 256 and max(drawn) < 500


def markers(tokens: tuple[int, ...]) -> list[float]:
    """A number for each token that depends on all before it, as its keys do."""
    return [float(hash(tokens[: end + 1]) % 10_007) for end in range(len(tokens))]


@given(
    st.lists(st.lists(st.integers(0, 2), max_size=14).map(tuple), max_size=12),
    st.integers(1, 5),
    st.integers(0, 60),
)
def test_what_is_found_is_what_was_kept(
    sequences: list[tuple[int, ...]], block: int, room: int
) -> None:
    """The longest common head while there is room; never more than that; always the right keys."""
    shape = Shape(layers=2, heads=2, key=1, value=3)
    place = (torch.float32, torch.device("cpu"))
    slots = Slots(shape, 28, 14, *place)
    store = PrefixStore(shape, room, block, *place)
    saved: list[tuple[int, ...]] = []
    for tokens in sequences:
        length, blocks = store.match(tokens)
        longest = max((common_length(tokens, other) for other in saved), default=0)
        full = sum(-(-len(other) // block) for other in saved) * block > room
        assert length <= longest and (full or length == longest)
        store.load(blocks, length, slots, 0)
        wanted = markers(tokens)
        assert slots.keys[1, 0, 1, :length, 0].tolist() == wanted[:length]
        assert slots.values[0, 0, 0, :length, 2].tolist() == wanted[:length]
        for held in (slots.keys, slots.values):
            held[:, 1, :, : len(tokens)] = torch.tensor(wanted)[:, None]
        store.save(tokens, slots, 1)
        saved.append(tokens)
        assert store.held <= room
        if len(tokens) + block <= room:
            assert store.match(tokens)[0] == len(tokens)


def test_a_step_that_fails_fails_its_requests_and_no_others(
    loaded: Loaded, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that run get the error; the next ones are answered."""
    run = Run(loaded)
    requests = mixed(3, 8)
    lost = run.submit(requests[0])
    with monkeypatch.context() as patch:
        patch.setattr(run.scheduler._model, "forward", lambda *args: 1 / 0)
        assert run.scheduler.step()
    with monkeypatch.context() as patch:
        patch.setattr(run.scheduler._model, "take", lambda need: 1 / 0)
        other = run.submit(requests[1])
        assert run.scheduler.step()
    assert isinstance(run.results[lost], ZeroDivisionError)
    assert isinstance(run.results[other], ZeroDivisionError)
    assert run.answer(requests[2]) == engine.generate(requests[2:])[0]


def test_many_at_once_as_the_engine_does_it(loaded: Loaded, engine: Engine) -> None:
    """generate: all requests, more than may wait, in their order; the engine's greedy answers."""
    draw = random.Random(4)
    trunk = [draw.randrange(10, 200) for _ in range(40)]
    requests = [
        Request((*trunk[: draw.randrange(1, 40)], *(draw.randrange(10, 200) for _ in range(5))), 6)
        for _ in range(25)
    ]
    wanted = engine.generate(requests)
    seen: list[int] = []
    scheduler = Run(loaded, queue=3).scheduler
    assert scheduler.generate(requests, lambda index, _: seen.append(index)) == wanted
    assert sorted(seen) == list(range(25))
    assert scheduler.stats()["reused_tokens"] > 100


def test_the_model_meets_few_numbers_of_rows(
    loaded: Loaded, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above 16 only multiples of 16, in layers and in attention (code is made for each number and
    kept); the rows that fill up change no answer."""
    rows: set[int] = set()
    queries: set[int] = set()
    attention = scheduler_slots.scaled_dot_product_attention

    def attend(query: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        queries.add(query.shape[2])
        made: torch.Tensor = attention(query, *args, **options)
        return made

    monkeypatch.setattr(scheduler_slots, "scaled_dot_product_attention", attend)
    run = Run(loaded, prefill_tokens=70, max_batch=20, max_cache_tokens=3000)
    hook = loaded.model.model.embed_tokens.register_forward_pre_hook(
        lambda module, args: rows.add(args[0].numel())
    )
    requests = mixed(40, 12)
    numbers = [run.submit(request) for request in requests]
    run.finish()
    hook.remove()
    assert max(rows) > 48 and len(rows) > 5 and all(n <= 16 or n % 16 == 0 for n in rows)
    assert len(queries) > 2 and all(n == 1 or n % 16 == 0 for n in queries)
    assert [run.results[number] for number in numbers] == engine.generate(requests)


def test_a_row_has_the_same_bits_whatever_its_neighbours_are() -> None:
    """In bfloat16 too: a request's logits do not change with longer ones beside it."""
    values = yaml.safe_load((ROOT / "conf/model/tiny.yaml").read_text())
    made = []
    for others in ((), (3, 90, 61)):
        loaded = load_model(validated(ModelConfig, values | {"dtype": "bfloat16", "device": "cpu"}))
        model: Any = Run(loaded).scheduler._model
        with torch.inference_mode():
            seats = [model.take(120) for _ in range(1 + len(others))]
            lengths = (37, *others)
            for seat, length in zip(seats, lengths, strict=True):
                model.forward([(seat, list(range(40, 40 + length)))])
            for token in (7, 8, 9):
                logits = model.forward([(seat, [token]) for seat in seats])[0]
            made.append(logits)
    assert made[0].equal(made[1])
