"""Several adapters over one base: each request gets the answer that its adapter gives alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("litserve")

from llmkit.config_engine import ServeEngineConfig  # noqa: E402
from llmkit.config_model import ModelConfig  # noqa: E402
from llmkit.errors import ConfigError  # noqa: E402
from llmkit.generate import Request  # noqa: E402
from llmkit.model import Loaded, load_model  # noqa: E402
from llmkit.scheduler import Scheduler  # noqa: E402
from llmkit.serve_adapters import AdapterScheduler  # noqa: E402
from llmkit.serve_voices import voices  # noqa: E402
from llmkit.stage_errors import validated  # noqa: E402
from tests.adapters import write_adapter  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
END = frozenset({2})  # <|im_end|> of the tiny model
# Beginnings that differ and one that all share; one token alone.
PROMPTS = [[5 + (n * k) % 500 for n in range(20)] for k in (1, 1, 7)] + [[9]]
PROMPTS[1] = [*PROMPTS[0], 33, 34]


def values(name: str) -> Any:
    return yaml.safe_load((ROOT / f"conf/{name}.yaml").read_text())


def tiny(adapter: Path | None = None, **changes: Any) -> Loaded:
    cpu = {"dtype": "float32", "device": "cpu"}
    return load_model(validated(ModelConfig, values("model/tiny") | cpu | changes), adapter)


def engine(**changes: Any) -> ServeEngineConfig:
    small = {"max_batch": 6, "max_cache_tokens": 600, "prefix_tokens": 1024, "block": 8,
             "prefill_tokens": 16, "threads": 1}  # fmt: skip
    return validated(ServeEngineConfig, values("engine/serve") | small | changes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One adapter of some layers, one of all."""
    folder = tmp_path_factory.mktemp("adapters")
    some = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
    return [
        write_adapter(folder / "some", 1, layers=some),
        write_adapter(folder / "all", 2, rank=8, use_rslora=True),
    ]


def answers(scheduler: Scheduler, requests: list[Request]) -> list[tuple[int, ...]]:
    return [made.ids for made in scheduler.generate(requests)]


def request(ids: Any) -> Request:
    return Request(tuple(ids), 16, 0.0)


def mistral(loaded: Loaded) -> Loaded:
    """A model that goes through transformers' own layers: its window is not written out."""
    from transformers import MistralConfig, MistralForCausalLM

    build: Any = MistralConfig
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = build(
            vocab_size=loaded.model.config.vocab_size, hidden_size=64, intermediate_size=160,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, sliding_window=12,
        )  # fmt: skip
        model: Any = MistralForCausalLM(config).eval()
    model.requires_grad_(False)
    return replace(loaded, model=model)


@pytest.mark.parametrize("kind", ["lean", "layers", "plain"])
def test_each_adapter_answers_as_if_alone(
    kind: str, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in one batch, twice (then from what was kept), against models with one adapter folded in."""
    from transformers import LlamaForCausalLM

    from llmkit.model_adapter import attach

    monkeypatch.setattr(LlamaForCausalLM, "_supports_attention_backend", kind != "plain")

    def loaded(folder: Path | None) -> Loaded:
        if kind != "layers":
            return tiny(folder)
        made = mistral(tiny())
        if folder is not None:
            made.model = attach(made.model, folder, trainable=False).merge_and_unload()
        return made

    asked = list(product(range(3), PROMPTS))
    alone = [Scheduler(loaded(folder), engine(), END) for folder in (None, *folders)]
    wanted = [answers(alone[number], [request(ids)])[0] for number, ids in asked]
    many = AdapterScheduler(loaded(None), engine(), END, folders)
    inner: Any = many._model
    assert type(inner._inner).__name__ == ("PlainModel" if kind == "plain" else "SlotModel")
    assert (getattr(inner._inner, "_lean", None) is not None) == (kind == "lean")
    requests = [request(many.ids_for(number, ids)) for number, ids in asked]
    assert answers(many, requests) == wanted
    assert answers(many, requests[::-1]) == wanted[::-1]
    assert len(set(wanted)) > 2 * len(PROMPTS)  # adapters matter


def test_what_is_kept_is_kept_by_adapter(folders: list[Path]) -> None:
    """A next turn reuses its own adapter's prompt and answer, and nothing of another's."""
    many = AdapterScheduler(tiny(), engine(), END, folders)
    prompt = PROMPTS[2]
    (first,) = many.generate([request(many.ids_for(1, prompt))])
    longer = [*prompt, *first.ids, 40, 41]
    many.generate([request(many.ids_for(2, longer))])
    assert many.stats()["reused_tokens"] == 0
    many.generate([request(many.ids_for(1, longer))])
    assert many.stats()["reused_tokens"] >= len(prompt) + len(first.ids) - 1


def test_heads_that_are_read_once_are_of_one_adapter(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """common_heads joins requests that begin alike; not those of different adapters."""
    from llmkit import scheduler_slots

    monkeypatch.setattr(scheduler_slots, "WORTH", 1)
    asked = list(product(range(3), PROMPTS[:2]))
    many = AdapterScheduler(tiny(), engine(), END, folders)
    headed = AdapterScheduler(tiny(), engine(common_heads=True), END, folders)
    requests = [request(many.ids_for(number, ids)) for number, ids in asked]
    assert answers(headed, requests) == answers(many, requests)


@pytest.mark.parametrize("weights", ["packed", "int8"])
def test_laid_out_weights_are_the_same_but_for_rounding(weights: str, folders: list[Path]) -> None:
    """bfloat16 logits with an adapter beside them, against float32 with it folded in."""
    ids = PROMPTS[2]
    with torch.inference_mode():
        wanted = tiny(folders[1]).model(input_ids=torch.tensor([ids])).logits[0, -1]
        many = AdapterScheduler(tiny(dtype="bfloat16"), engine(weights=weights), END, folders)
        seat = many._model.take(40)
        assert seat is not None
        made = many._model.forward([(seat, many.ids_for(2, ids))])[0].float()
        many._model.release(seat)
    assert (made - wanted).norm() / wanted.norm() < 0.06


@pytest.mark.parametrize(
    ("config", "reason"),
    [({"use_dora": True}, "use_dora"), ({"bias": "all"}, "biases"),
     ({"modules_to_save": ["lm_head"]}, "modules_to_save")],
)  # fmt: skip
def test_more_than_lora_is_refused(
    tmp_path: Path, folders: list[Path], config: dict[str, Any], reason: str
) -> None:
    """What cannot be added row by row is named, rather than left out."""
    odd = write_adapter(tmp_path / "odd", 3, **config)
    with pytest.raises(ConfigError, match=f"odd is more than LoRA .*{reason}"):
        AdapterScheduler(tiny(), engine(), END, [folders[0], odd])


def test_an_adapter_of_another_model_is_refused(tmp_path: Path, folders: list[Path]) -> None:
    """Its folder is named."""
    odd = write_adapter(tmp_path / "odd", 3)
    (odd / "adapter_model.safetensors").write_bytes(
        (folders[0] / "adapter_model.safetensors").read_bytes()
    )
    with pytest.raises(ConfigError, match="odd does not fit"):
        AdapterScheduler(tiny(), engine(), END, [odd])


def test_a_difference_is_noticed_at_the_start(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a layer not get what peft gives it, the server does not begin."""
    from llmkit import serve_adapters

    real = serve_adapters._joined

    def half(parts: Any, names: Any, known: Any) -> Any:
        return None if "down_proj" in names[0] else real(parts, names, known)

    monkeypatch.setattr(serve_adapters, "_joined", half)
    with pytest.raises(ConfigError, match="all cannot be served beside others"):
        AdapterScheduler(tiny(), engine(), END, folders)


def test_the_server_answers_as_an_adapter_alone(tmp_path: Path) -> None:
    """The adapter that it serves beside its base, against the same folded into a model here."""
    from llmkit.config_prompt import PromptOptions
    from llmkit.domain import get_domain
    from llmkit.prompt import renderer
    from tests.serving import running

    server = running("keys")
    folder = write_adapter(tmp_path / "second", 2)  # what tests.serving gives the server
    loaded = tiny(folder)
    made = renderer(
        loaded.tokenizer, validated(PromptOptions, values("prompt/shell")), get_domain("installer")
    )
    alone = Scheduler(loaded, engine(), made.stop_ids)
    for text in ("list disks", "what is a partition?"):
        messages = [{"role": "user", "content": text}]
        asked = {"messages": messages, "tools": [], "temperature": 0, "max_tokens": 16}
        (wanted,) = alone.generate([request(made.prompt_ids(messages, "", tools=[]))])
        answer = server.post("/generate", {**asked, "model": "second"}).json()
        assert answer["response"] == wanted.text
        assert answer["usage"]["prompt_tokens"] == wanted.prompt_tokens


SERVED: Any = SimpleNamespace(model=SimpleNamespace(name="base"), names=["llmkit"])  # of a config


@pytest.mark.parametrize(
    ("adapter", "more", "names", "default"),
    [(None, {}, {"base": 0, "llmkit": 0}, 0),
     (Path("/a/one"), {}, {"base": 0, "one": 0, "llmkit": 0}, 0),
     (None, {"b": Path("/b")}, {"base": 0, "llmkit": 0, "b": 1}, 0),
     (Path("/a/one"), {"b": Path("/b"), "c": Path("/c")},
      {"base": 0, "one": 1, "llmkit": 1, "b": 2, "c": 3}, 1)],
)  # fmt: skip
def test_who_answers_to_which_name(adapter: Any, more: Any, names: Any, default: int) -> None:
    """One adapter is the model; beside others the base has its own name, and `adapter` the rest."""
    found = voices(SERVED, adapter, more)
    assert (dict(found.names), found.default) == (names, default)
    assert next(iter(found.names)) == "base"
    assert [found.folders[number] for name, number in names.items() if name in more] == [
        *more.values()
    ]


@pytest.mark.parametrize("name", ["base", "llmkit", "one"])
def test_a_name_means_one_thing(name: str) -> None:
    """An adapter cannot take the name of another."""
    with pytest.raises(ConfigError, match=f"adapters.{name}"):
        voices(SERVED, Path("/a/one"), {name: Path("/b")})
