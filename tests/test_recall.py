"""Recall: the nearest training prompts, command or text; made by the stage, asked by every engine."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from safetensors import safe_open  # noqa: E402

from llmkit.config_engine import EngineConfig, ServeEngineConfig  # noqa: E402
from llmkit.config_model import ModelConfig  # noqa: E402
from llmkit.errors import ConfigError  # noqa: E402
from llmkit.generate import Engine, Request  # noqa: E402
from llmkit.model import Loaded, load_model  # noqa: E402
from llmkit.model_adapter import RECALL, WEIGHTS  # noqa: E402
from llmkit.output import sha256  # noqa: E402
from llmkit.recall_store import Recall, Settings, about_recall, read_recall  # noqa: E402
from llmkit.scheduler import Scheduler  # noqa: E402
from llmkit.stage_errors import validated  # noqa: E402
from tests.adapters import write_adapter  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
END = frozenset({2})
OPENER = 7
SETTINGS = Settings(layer=0, opener=OPENER, neighbours=2, weight=0.5, sharpness=3.0, least=-1.0)
PROMPTS = [[5 + (n * k) % 500 for n in range(size)] for k, size in ((1, 20), (7, 33), (11, 9))]


def plane(settings: Settings, angles: list[float], commands: list[int]) -> Recall:
    """Keys in a plane, at angles in degrees; a state is its own key."""
    keys = [[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in angles]
    return Recall(
        settings, torch.zeros(2), torch.eye(2), torch.tensor(keys), torch.tensor(commands)
    )


def test_the_nearest_are_asked_and_the_nearer_count_more() -> None:
    """Three prompts at 0, 60 and 180 degrees; the question at 0. By hand: distances 0 and 1/2, the
    farther of the two counts e^-3."""
    share, nearest = plane(SETTINGS, [0, 60, 180], [1, 0, 0]).chances(torch.tensor([[3.0, 0.0]]))
    assert nearest.item() == pytest.approx(1)
    assert share.item() == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-5)


def test_equally_near_ones_count_alike() -> None:
    recall = plane(SETTINGS, [30, 30, 31], [1, 0, 0])
    share, _ = recall.chances(torch.tensor([[math.cos(0.5236), math.sin(0.5236)]]))
    assert share.item() == pytest.approx(0.5, abs=0.02)


def test_the_probabilities_are_mixed() -> None:
    """The model gives the opener 1/5, the nearest prompt was a command's: (0.2 + 1) / 2."""
    recall = plane(replace(SETTINGS, neighbours=1), [0, 90], [1, 0])
    logits = torch.zeros(10)
    logits[OPENER] = math.log(9 / 4)  # of nine others: 9/4 / (9/4 + 9)
    first = recall.first(logits, torch.tensor([1.0, 0.0]))
    made = first.logits.softmax(0)
    assert made[OPENER].item() == pytest.approx(0.6, abs=1e-5)
    assert made[0].item() == pytest.approx(0.4 / 9, abs=1e-5)
    assert first.greedy == OPENER


def test_many_texts_together_outweigh_a_command() -> None:
    """By hand: the opener has 0.4 in the end, each of nine texts 1/15; alone it is the likeliest token."""
    recall = plane(replace(SETTINGS, neighbours=1), [0, 90], [0, 1])
    logits = torch.zeros(10)
    logits[OPENER] = math.log(9 * 4)  # 4/5 of all; mixed with 0: 2/5
    logits[3] = 0.1
    first = recall.first(logits, torch.tensor([1.0, 0.0]))
    assert first.logits.softmax(0)[OPENER].item() == pytest.approx(0.4, abs=0.01)
    assert int(first.logits.argmax()) == OPENER
    assert first.greedy == 3


@given(
    logits=st.lists(st.floats(-30, 30), min_size=10, max_size=10),
    angle=st.floats(0, 359),
    weight=st.floats(0, 1),
    commands=st.lists(st.integers(0, 1), min_size=4, max_size=4),
)
def test_only_the_opener_moves(
    logits: list[float], angle: float, weight: float, commands: list[int]
) -> None:
    """The other tokens keep their order and their logits, and nothing is moved past what both say."""
    recall = plane(replace(SETTINGS, weight=weight), [0, 90, 180, 270], commands)
    before = torch.tensor(logits)
    state = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    greedy, after = recall.first(before, state)
    others = [token for token in range(10) if token != OPENER]
    assert torch.equal(after[others], before[others])
    own = before.softmax(0)[OPENER].item()
    share = recall.chances(state[None])[0].item()
    low, high = sorted((own, share))
    mixed = after.softmax(0)[OPENER].item()
    assert low - 1e-4 <= mixed <= high + 1e-4
    best = max(others, key=lambda token: before[token].item())
    if abs(mixed - 0.5) > 1e-4:
        assert after[greedy] == (after[OPENER] if mixed > 0.5 else before[best])


def test_far_prompts_say_nothing() -> None:
    recall = plane(replace(SETTINGS, least=0.9), [0, 10], [1, 1])
    logits = torch.zeros(10)
    assert torch.equal(recall.first(logits, torch.tensor([0.0, 1.0])).logits, logits)
    assert recall.first(logits, torch.tensor([1.0, 0.0])).logits[OPENER] > 0


def test_states_are_centred_scaled_and_turned() -> None:
    """Against numpy: standard scores, the main directions of their scatter, cosines."""
    rng = np.random.default_rng(3)
    states = (rng.normal(size=(40, 6)) * [1, 5, 2, 9, 1, 3] + 4).astype(np.float32)
    commands = rng.integers(0, 2, 40)
    recall = Recall.of(torch.tensor(states), torch.tensor(commands), SETTINGS, 3)
    scores = (states - states.mean(0)) / states.std(0, ddof=1)
    _, _, turned = np.linalg.svd(scores, full_matrices=False)
    wanted = scores @ turned[:3].T
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    near = recall.key(torch.tensor(states)).numpy()
    assert np.abs(near @ near.T - wanted @ wanted.T).max() < 1e-3
    kept = recall.keys.numpy()
    assert np.abs(kept @ near.T - wanted @ wanted.T).max() < 0.02  # a byte a number


def test_a_file_holds_all(tmp_path: Path) -> None:
    states = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    recall = Recall.of(states, states[:, 0] > 0, replace(SETTINGS, least=0.25), 4)
    (tmp_path / RECALL).write_bytes(recall.to_bytes({"prompts": 50}))
    again = Recall.from_file(tmp_path / RECALL)
    assert again.settings == recall.settings
    assert torch.equal(again.keys, recall.keys)
    logits = torch.randn(10)
    assert torch.equal(
        again.first(logits, states[3]).logits, recall.first(logits, states[3]).logits
    )
    assert about_recall(tmp_path / RECALL) == {"prompts": 50}
    with safe_open(str(tmp_path / RECALL), "pt") as file:
        assert len(file.metadata()) == 1  # several are written in an order of chance


def test_what_was_read_outlives_the_file(tmp_path: Path) -> None:
    """A server goes on when its file is written over in place: nothing of it is mapped any more."""
    states = torch.randn(5000, 64, generator=torch.Generator().manual_seed(1))
    recall = Recall.of(states, states[:, 0] > 0, SETTINGS, 64)
    (tmp_path / RECALL).write_bytes(recall.to_bytes({}))
    again = Recall.from_file(tmp_path / RECALL)
    (tmp_path / RECALL).write_bytes(b"")
    logits = torch.randn(10)
    assert torch.equal(
        again.first(logits, states[3]).logits, recall.first(logits, states[3]).logits
    )


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a file of tensors at all"])
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / RECALL).write_bytes(content)
    with pytest.raises(ConfigError, match=RECALL):
        Recall.from_file(tmp_path / RECALL)
    with pytest.raises(ConfigError, match=RECALL):
        about_recall(tmp_path / RECALL)


def test_others_judge() -> None:
    """Of four prompts in two conversations each is judged by the other conversation's alone: those
    at 0 and 5 degrees by 10 (a command), those at 10 and 180 by 5 (a text)."""
    recall = plane(replace(SETTINGS, neighbours=1), [0, 5, 10, 180], [1, 0, 1, 0])
    right, least = recall.judged(["a", "a", "b", "b"], 10, 1)
    assert right == 0.5  # 0 and 180
    assert least < math.cos(math.radians(150))  # between the lowest and the next, near the lowest


# Engines


def test_fewer_others_than_are_asked() -> None:
    """Own prompts have no say, however few others there are: the text at 0 has one other, a text."""
    recall = plane(replace(SETTINGS, neighbours=3), [0, 1, 2, 90], [0, 1, 1, 0])
    right, _ = recall.judged(["a", "a", "a", "b"], 10, 1)
    assert (
        right == 0.25
    )  # of those three that ask the text at 90 one; that asks two commands and a text
    assert recall.judged(["a"] * 4, 10, 1) == (0.0, -1.0)


def values(name: str) -> Any:
    return yaml.safe_load((ROOT / f"conf/{name}.yaml").read_text())


def tiny(adapter: Path | None = None) -> Loaded:
    cpu = {"dtype": "float32", "device": "cpu"}
    return load_model(validated(ModelConfig, values("model/tiny") | cpu), adapter)


def serving(**changes: Any) -> ServeEngineConfig:
    small = {"max_batch": 6, "max_cache_tokens": 600, "prefix_tokens": 1024, "block": 8,
             "prefill_tokens": 16, "threads": 1}  # fmt: skip
    return validated(ServeEngineConfig, values("engine/serve") | small | changes)


def answers(engine: Any, prompts: list[list[int]], **how: Any) -> list[tuple[int, ...]]:
    made = engine.generate([Request(tuple(ids), 4, **how) for ids in prompts])
    return [completion.ids for completion in made]


def first_tokens(engine: Any, prompts: list[list[int]], **how: Any) -> list[int]:
    return [ids[0] for ids in answers(engine, prompts, **how)]


def going_on(folder: Path, ids: list[int], first: int) -> tuple[int, ...]:
    """The greedy answer of four tokens that begins with `first`, by transformers alone."""
    model, made = tiny(folder).model, [first]
    with torch.no_grad():
        while len(made) < 4:
            token = int(model(input_ids=torch.tensor([ids + made])).logits[0, -1].argmax())
            if token in END:
                break
            made.append(token)
    return tuple(made)


def reference(folder: Path, prompts: list[list[int]]) -> tuple[list[Any], list[Any]]:
    """transformers' own hidden states behind layer 0, and its logits, at each prompt's end."""
    model = tiny(folder).model
    states, logits = [], []
    with torch.no_grad():
        for ids in prompts:
            out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
            states.append(out.hidden_states[1][0, -1])
            logits.append(out.logits[0, -1].clone())
    return states, logits


def taught(folder: Path, seed: int, due: list[int]) -> Path:
    """An adapter whose training prompts are PROMPTS, a command where `due` says so."""
    write_adapter(folder, seed)
    states, _ = reference(folder, PROMPTS)
    settings = replace(SETTINGS, neighbours=1, weight=1.0, least=0.99)
    recall = Recall.of(torch.stack(states), torch.tensor(due), settings, 3)
    (folder / RECALL).write_bytes(recall.to_bytes(belongs(folder)))
    return folder


def belongs(folder: Path) -> dict[str, str]:
    return {"adapter": sha256(folder / WEIGHTS)}


def engines(folder: Path, kind: str, **changes: Any) -> Any:
    if kind == "batch":
        cfg = validated(EngineConfig, values("engine/batch") | changes)
        return Engine(tiny(folder), cfg, END)
    return Scheduler(tiny(folder), serving(**changes), END)


@pytest.mark.parametrize("kind", ["batch", "lean", "layers", "plain"])
def test_each_engine_asks_at_the_prompts_end(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt that was a command's begins with the opener, one that was a text's with the likeliest
    other token, in any batch, and from what was kept; other prompts are left to the model."""
    from transformers import LlamaForCausalLM

    from llmkit import scheduler_model

    monkeypatch.setattr(LlamaForCausalLM, "_supports_attention_backend", kind != "plain")
    if kind == "layers":
        monkeypatch.setattr(scheduler_model, "is_llama", lambda model: False)
    due = [1, 0, 1]
    folder = taught(tmp_path / "a", 1, due)
    strangers = [[400, 3, 9, 77, 15], [88] * 12]
    _, logits = reference(folder, [*PROMPTS, *strangers])
    for row in logits[: len(due)]:
        row[OPENER] = -torch.inf
    wanted = [
        OPENER if command else int(row.argmax())
        for command, row in zip([*due, 0, 0], logits, strict=True)
    ]
    engine = engines(folder, kind)
    if kind != "batch":
        inner: Any = engine._model
        assert type(inner).__name__ == ("PlainModel" if kind == "plain" else "SlotModel")
        assert (getattr(inner, "_lean", None) is not None) == (kind == "lean")
    prompts = [*PROMPTS, *strangers]
    whole = [
        going_on(folder, ids, token) for ids, token in zip(prompts, wanted, strict=True)
    ]  # only the first token is weighed
    assert answers(engine, prompts) == whole
    assert answers(engine, prompts[::-1]) == whole[::-1]
    for ids, answer in zip(prompts, whole, strict=True):
        assert answers(engine, [ids]) == [answer]
    silent = engines(folder, kind, recall=False)
    plain = [int(row.argmax()) for row in reference(folder, prompts)[1]]
    assert first_tokens(silent, prompts) == plain
    assert plain != wanted


def test_each_adapter_of_a_server_has_its_own(tmp_path: Path) -> None:
    pytest.importorskip("litserve")
    from llmkit.serve_adapters import AdapterScheduler

    folders = [taught(tmp_path / "a", 1, [1, 1, 1]), taught(tmp_path / "b", 2, [0, 0, 1])]
    folders.append(write_adapter(tmp_path / "c", 3))
    many = AdapterScheduler(tiny(), serving(), END, folders)
    asked = [(number, ids) for number in range(4) for ids in PROMPTS]
    alone = {0: tiny(), **{n: tiny(folder) for n, folder in enumerate(folders, 1)}}
    wanted = []
    for number, ids in asked:
        one = Scheduler(alone[number], serving(), END)
        wanted += first_tokens(one, [ids])
    made = many.generate([Request(many.ids_for(number, ids), 4) for number, ids in asked])
    assert [completion.ids[0] for completion in made] == wanted
    assert wanted[3:6] == [OPENER] * 3
    assert OPENER not in wanted[6:8]


class Without:
    """A grammar that allows all tokens but some, as the first one."""

    def __init__(self, *tokens: int) -> None:
        self.tokens = tokens

    def allows(self, ids: Any, token: int) -> bool:
        return bool(ids) or token not in self.tokens

    def mask(self, ids: Any) -> Any:
        allowed = torch.ones(tiny().model.config.vocab_size, dtype=torch.bool)
        allowed[list(self.tokens) if not ids else []] = False
        return allowed


@pytest.mark.parametrize("kind", ["batch", "lean"])
def test_a_grammar_and_a_threshold_hold(kind: str, tmp_path: Path) -> None:
    """The opener is not written where the grammar forbids it; a threshold is held against what recall
    makes of the model's probability: 1 for the first prompt, 0 for the second."""
    folder = taught(tmp_path / "a", 1, [1, 0, 1])
    engine = engines(folder, kind)
    _, logits = reference(folder, PROMPTS)
    others = []
    for row in logits:
        row[OPENER] = -torch.inf
        others.append(int(row.argmax()))
    assert first_tokens(engine, PROMPTS, grammar=Without(OPENER)) == others
    size = tiny().model.config.vocab_size
    command = Without(*(token for token in range(size) if token != OPENER))
    made = answers(engine, PROMPTS[:2], grammar=command, threshold=0.5)
    assert made[0][:1] == (OPENER,)
    assert made[1] == ()


@pytest.mark.parametrize("kind", ["batch", "lean"])
def test_a_file_of_other_weights_is_refused(kind: str, tmp_path: Path) -> None:
    folder = taught(tmp_path / "a", 1, [1, 0, 1])
    write_adapter(folder, 2)
    with pytest.raises(ConfigError, match="other weights"):
        engines(folder, kind)
    engines(folder, kind, recall=False)
    wide = Recall.of(torch.randn(5, 7), torch.tensor([1, 0, 1, 0, 1]), SETTINGS, 3)
    (folder / RECALL).write_bytes(wide.to_bytes(belongs(folder)))
    with pytest.raises(ConfigError, match="another model"):
        engines(folder, kind)


def test_what_answers_is_another_one_with_it(tmp_path: Path) -> None:
    """An evaluation does not go on with answers that were given without recall."""
    from llmkit.config_prompt import PromptOptions
    from llmkit.domain import get_domain
    from llmkit.evaluate_files import identity

    folder = taught(tmp_path / "a", 1, [1, 0, 1])
    model = validated(ModelConfig, values("model/tiny"))
    prompt = validated(PromptOptions, values("prompt/shell"))
    seen = [
        identity(model, prompt, serving(recall=flag), folder, get_domain("installer"))
        for flag in (True, False)
    ]
    assert f"{RECALL} sha256" in seen[0]
    assert f"{RECALL} sha256" not in seen[1]


def test_a_layer_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    folder = taught(tmp_path / "a", 1, [1, 0, 1])
    recall = Recall.from_file(folder / RECALL)
    recall.settings = replace(recall.settings, layer=5)
    (folder / RECALL).write_bytes(recall.to_bytes(belongs(folder)))
    for kind in ("batch", "lean"):
        with pytest.raises(ConfigError, match="layer 5 of a model with 2 layers"):
            engines(folder, kind)


# The stage


def snapshot(number: int) -> dict[str, Any]:
    """A snapshot of a made-up conversation; those of one machine share their beginnings."""
    answer: dict[str, str] = {"type": "text", "response": f"Disk {number} is empty."}
    if number % 3:
        answer = {"type": "command", "command": f"ls /mnt/{number}"}
    return {
        "system_context": f"- /dev/sda: {number // 6}G",
        "messages": [{"role": "user", "content": f"look at {number}"}],
        "expected_response": answer,
        "meta": {"conversation": f"c{number // 6}", "turn": 1, "state": {}, "categories": []},
    }


def write(path: Path, snapshots: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in snapshots))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny adapter that llmkit.train wrote, and its data."""
    folder = tmp_path_factory.mktemp("trained")
    data = write(folder / "data.jsonl", [snapshot(number) for number in range(48)])
    arguments = ["model=tiny", f"data.train={data}", "data.held_out=0", "max_steps=2"]
    done = subprocess.run(
        [sys.executable, "-m", "llmkit.train", *arguments, f"output_dir={folder / 'adapter'}"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(adapter=folder / "adapter", data=data)


def test_the_stage_keeps_what_the_layer_makes(trained: SimpleNamespace, run_stage: Any) -> None:
    """Each training prompt, read alone by transformers, finds itself, and what was due."""
    done = run_stage(
        "recall", "model=tiny", f"adapter={trained.adapter}", f"train={trained.data}",
        "neighbours=1", "size=64", "layer=0", "model.dtype=float32", cwd=trained.adapter.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "48 prompts of 8 conversations, 32 with a command" in done.stderr
    assert not (trained.adapter / ".recall").exists()
    card = (trained.adapter / "README.md").read_text()
    assert "holds 48 training prompts of 8 conversations, 32 with a command" in card
    assert "neighbours=1 size=64 layer=0 model.dtype=float32" in card
    from llmkit.prompt import saved_renderer

    model = tiny(trained.adapter)
    recall = read_recall(model)
    assert recall is not None
    made = saved_renderer(model.tokenizer, trained.adapter)
    dollar = made.answer_ids({"type": "command", "command": "ls"})[0]
    assert recall.settings.opener == dollar
    for number in range(48):
        one = snapshot(number)
        ids = made.prompt_ids(one["messages"], one["system_context"])
        with torch.inference_mode():
            out = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        near = (recall.key(out.hidden_states[1][:, -1]) @ recall.keys.T)[0]
        mine = near[recall.commands == float(number % 3 > 0)].max()
        assert mine > 0.99
        assert mine > near.max() - 2e-3  # as near as a byte a number can tell


def test_an_interrupted_run_goes_on(
    trained: SimpleNamespace, tmp_path: Path, run_stage: Any
) -> None:
    """Killed behind its first checkpoint; the bytes are those of an unbroken run."""
    from safetensors.torch import save_file

    folder = tmp_path / "adapter"
    shutil.copytree(trained.adapter, folder)
    (folder / RECALL).unlink(missing_ok=True)
    command = (
        "recall", "model=tiny", f"adapter={folder}", f"train={trained.data}", "tokens_per_row=64",
        "save_time=0.000001",
    )  # fmt: skip
    assert run_stage(*command, cwd=tmp_path).returncode == 0
    whole = (folder / RECALL).read_bytes()
    (folder / RECALL).unlink()
    running = subprocess.Popen(
        [sys.executable, "-m", f"llmkit.{command[0]}", *command[1:]], cwd=tmp_path,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    part = folder / ".recall" / "0.safetensors"
    until = time.monotonic() + 100
    while not part.is_file() and time.monotonic() < until and running.poll() is None:
        time.sleep(0.001)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert part.is_file(), "no checkpoint was written"
    with safe_open(str(part), "pt") as file:
        about, states = file.metadata(), file.get_tensor("states")
    assert int(about["rows"]) > 0
    done = run_stage(*command, cwd=tmp_path)
    assert f"going on after {about['rows']} rows" in done.stderr
    assert (folder / RECALL).read_bytes() == whole
    # another run's checkpoint is not taken
    save_file({"states": states}, part.parent.parent / "x", metadata=about)
    part.parent.mkdir()
    (part.parent.parent / "x").rename(part)
    other = run_stage(*command, "layer=1", cwd=tmp_path)
    assert other.returncode == 0
    assert "going on" not in other.stderr


def test_two_processes_read_what_one_does(trained: SimpleNamespace, tmp_path: Path) -> None:
    made = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        shutil.copytree(trained.adapter, folder)
        (folder / RECALL).unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
             "-m", "llmkit.recall", "model=tiny", f"adapter={folder}", f"train={trained.data}",
             "tokens_per_row=64", "threads=1"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert not (folder / ".recall").exists()
        made.append(Recall.from_file(folder / RECALL))
    assert made[0].settings == made[1].settings
    assert torch.equal(made[0].keys, made[1].keys)
    assert torch.equal(made[0].commands, made[1].commands)
    assert "--nproc-per-node 2 -m llmkit.recall" in (tmp_path / "2" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["adapter=none"], "name an adapter's folder"),
        (["adapter=nowhere"], "no such folder"),
        (["layer=9"], "layer 9 of a model with 2 layers"),
        (["train=missing.jsonl"], "missing.jsonl"),
        (["train=texts.jsonl"], "one kind alone"),
        (["neighbours=0"], "neighbours"),
        (["weight=2"], "weight"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], told: str, trained: SimpleNamespace, tmp_path: Path, run_stage: Any
) -> None:
    texts = [snapshot(number) for number in range(0, 12, 3)]
    write(tmp_path / "texts.jsonl", texts)
    given_ = [f"adapter={trained.adapter}", f"train={trained.data}"]
    kept = [one for one in given_ if one.split("=")[0] != arguments[0].split("=")[0]]
    done = run_stage("recall", "model=tiny", *kept, *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
