"""The parts of training: batches, schedule, loss, card."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config_train import OptimConfig, Schedule
from llmkit.errors import ConfigError, LlmkitError, OutputError
from llmkit.prompt import Example
from llmkit.train_data import Corpus, Step, answer_shape, drawn, hold_out, limited, plan
from llmkit.train_files import check_writable, fingerprint
from llmkit.train_loop import Team, check_finite, rate

LENGTHS = st.lists(st.integers(2, 60), min_size=1, max_size=40)


def corpus(lengths: list[int]) -> Corpus:
    return Corpus(
        [Example([1] * length, length - 1) for length in lengths],
        [f"c{index % 3}" for index in range(len(lengths))],
    )


def planned(lengths: list[int], epoch: int = 0, processes: int = 1) -> list[Step]:
    return plan(
        corpus(lengths),
        epoch,
        per_conversation=None,
        tokens_per_batch=100,
        tokens_per_step=150,
        processes=processes,
        seed=3,
    )


def flat(step: Step) -> list[int]:
    """The examples of a step."""
    return [i for batch in step for row in batch for i in row]


@given(LENGTHS)
def test_an_epoch_holds_every_example_once(lengths: list[int]) -> None:
    """No example is lost or taken twice, and no batch is over its budget."""
    steps = planned(lengths)
    assert sorted(i for step in steps for i in flat(step)) == list(range(len(lengths)))
    for batch in (batch for step in steps for batch in step):
        assert len(batch) == 1 or max(lengths[i] for (i,) in batch) * len(batch) <= 100


@given(LENGTHS, st.integers(1, 5))
def test_processes_do_not_change_a_step(lengths: list[int], processes: int) -> None:
    """Each step has the same examples however many processes share it."""
    alone = [flat(step) for step in planned(lengths)]
    assert [flat(step) for step in planned(lengths, processes=processes)] == alone


def test_conversations_take_turns() -> None:
    """per_conversation=2 draws two of each conversation, and others in the next epoch."""
    made = corpus([5] * 12)  # three conversations of four
    first = drawn(made, 0, per_conversation=2, seed=1)
    second = drawn(made, 1, per_conversation=2, seed=1)
    assert sorted(i % 3 for i in first) == [0, 0, 1, 1, 2, 2]
    assert sorted(first + second) == list(range(12))


def test_common_answers_take_turns() -> None:
    """per_answer=2 draws two examples of each shape of answer, and others in the next epoch; with
    per_conversation, of those that it drew."""
    made = corpus([5] * 12)  # three conversations of four
    made.shapes = ["common"] * 10 + ["rare", "rarer"]
    first = drawn(made, 0, per_conversation=None, per_answer=2, seed=1)
    second = drawn(made, 1, per_conversation=None, per_answer=2, seed=1)
    assert first[-2:] == second[-2:] == [10, 11]
    assert len({*first[:-2], *second[:-2]}) == 4
    both = drawn(made, 0, per_conversation=1, per_answer=1, seed=1)
    assert set(both) <= set(drawn(made, 0, per_conversation=1, seed=1))
    assert len({made.shapes[index] for index in both}) == len(both)


def test_the_shape_of_an_answer_leaves_out_the_machine() -> None:
    """What the context names is #, a number 0, other words stay; a text is not a command."""

    def shape(device: str, **answer: str) -> str:
        context = f"## Available Disks\n\n- /dev/{device}: 20G"
        return answer_shape({"system_context": context, "expected_response": answer})

    assert (
        shape("vda", type="command", command="mkfs.ext4 -F /dev/vda")
        == shape("nvme0n1", type="command", command="mkfs.ext4 -F /dev/nvme0n1")
        == "command mkfs.ext0 -F #"
    )
    assert (
        shape("vda", type="command", command="truncate -s 512M /f") == "command truncate -s 0M /f"
    )
    assert shape("vda", type="command", command="mount /dev/vda /mnt") == "command mount # /mnt"
    assert shape("vda", type="text", response="mount /dev/vda /mnt") == "text mount # /mnt"


def optim(schedule: Schedule) -> OptimConfig:
    return OptimConfig(
        lr=1.0,
        weight_decay=0.0,
        betas=[0.9, 0.99],
        schedule=schedule,
        warmup=0.2,
        decay=0.4,
        final_lr=0.1,
        grad_clip=None,
        label_smoothing=0.0,
        text_weight=1.0,
        text_head=8,
        first_weight=1.0,
    )


@pytest.mark.parametrize(
    ("schedule", "half", "end"),
    [
        (Schedule.cosine, 0.1 + 0.9 * 0.5, 0.1),
        (Schedule.linear, 0.1 + 0.9 * 0.5, 0.1),
        (Schedule.constant, 1.0, 1.0),
        (Schedule.wsd, 1.0, 0.1),
    ],
)
def test_the_rate_rises_and_falls(schedule: Schedule, half: float, end: float) -> None:
    """Half of it half-way through the warm-up; then as the schedule says (0.6: half of what is left)."""
    assert rate(optim(schedule), 0.1) == pytest.approx(0.5)
    assert rate(optim(schedule), 0.2) == pytest.approx(1.0)
    assert rate(optim(schedule), 0.6) == pytest.approx(half)
    assert rate(optim(schedule), 1.0) == pytest.approx(end)


def test_a_step_without_a_finite_loss_is_named() -> None:
    """The first one."""
    with pytest.raises(LlmkitError, match="step 7 is nan"):
        check_finite([(6, 1.0), (7, math.nan), (8, math.nan)])


def test_the_loss_is_that_of_transformers(tiny_loop: Any) -> None:
    """Right padding without a mask, logits at supervised positions: what labels and a mask give."""
    batch = [Example([5, 6, 7, 8, 9, 10, 11], 4), Example([12, 13, 14, 15], 2)]
    wanted = 0.0
    for example in batch:  # one at a time, no padding; a mean over len - prompt_length tokens
        ids = torch.tensor([example.ids])
        labels = ids.clone()
        labels[0, : example.prompt_length] = -100
        mean = tiny_loop.model(input_ids=ids, labels=labels).loss
        wanted += float(mean.detach()) * (len(example.ids) - example.prompt_length)
    assert float(tiny_loop._loss([[example] for example in batch]).detach()) == pytest.approx(
        wanted, rel=1e-5
    )


def token_losses(loop: Any, example: Example) -> list[float]:
    """Each supervised token's loss, from transformers' logits."""
    logits = loop.model(input_ids=torch.tensor([example.ids])).logits[0].detach()
    places = range(example.prompt_length, len(example.ids))
    return [-float(logits[p - 1].log_softmax(0)[example.ids[p]]) for p in places]


def test_a_text_s_tokens_behind_its_head_count_less() -> None:
    """A step's loss is the mean that the weights say; the held-out loss knows no weights."""
    text = Example([5, 6, 7, 8, 9, 10, 11], 3, is_text=True)
    command = Example([12, 13, 14, 15], 2)
    loop = make_loop("float32", "optim.text_weight=0.25", "optim.text_head=2")
    rows = [token_losses(loop, example) for example in (text, command)]
    weighted = rows[0][0] + rows[0][1] + 0.25 * (rows[0][2] + rows[0][3]) + sum(rows[1])
    batch = [[text], [command]]
    assert loop.evaluate([batch]) == pytest.approx((sum(rows[0]) + sum(rows[1])) / 6, rel=1e-5)
    assert float(loop.step([batch], 0, 1e-9)) == pytest.approx(weighted / 4.5, rel=1e-5)


def test_an_answer_s_first_token_counts_as_said() -> None:
    """Texts and commands alike: the mean of all tokens' losses, the two first ones three times."""
    text = Example([5, 6, 7, 8, 9], 3, is_text=True)
    command = Example([12, 13, 14, 15], 2)
    loop = make_loop("float32", "optim.first_weight=3")
    rows = [token_losses(loop, example) for example in (text, command)]
    weighted = 3 * rows[0][0] + rows[0][1] + 3 * rows[1][0] + rows[1][1]
    assert float(loop.step([[[text], [command]]], 0, 1e-9)) == pytest.approx(weighted / 8, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_checkpointing_changes_no_loss(dtype: str) -> None:
    """Layers that are run again in backward draw the same dropout and give the same steps."""
    batch = [Example(list(range(10, 60)), 40), Example(list(range(10, 50)), 20)]
    curves = []
    for flag in ("false", "true"):
        loop = make_loop(dtype, "lora.dropout=0.2", f"gradient_checkpointing={flag}")
        curves.append(
            [float(loop.step([[[example] for example in batch]], step, 1e-3)) for step in range(3)]
        )
    assert curves[0] == curves[1]
    assert curves[0][2] < curves[0][0]


@pytest.fixture
def tiny_loop() -> Any:
    """The tiny model in float32 with LoRA."""
    return make_loop("float32")


def make_loop(dtype: str, *overrides: str) -> Any:
    """A loop of the tiny model, as conf/train.yaml says but for `overrides`."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from llmkit.config_train import TrainConfig
    from llmkit.model import load_model
    from llmkit.stage_errors import validated
    from llmkit.train_loop import Loop, add_lora

    GlobalHydra.instance().clear()
    conf = Path(__file__).resolve().parent.parent / "conf"
    with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
        model = ["model=tiny", f"model.dtype={dtype}", "model.device=cpu"]
        made = compose("train", [*model, *overrides])
    values: Any = OmegaConf.to_container(made, resolve=True)
    cfg = validated(TrainConfig, values)
    loaded = load_model(cfg.model, trainable=True)
    return Loop(add_lora(loaded.model, cfg), cfg, loaded.device, loaded.dtype, Team(0, 1))


def test_layers_that_stay_are_folded_and_have_no_gradient() -> None:
    """lora.from_layer=1 of 2: the lower layer's LoRA is part of its weights, the upper's is not."""
    from peft.tuners.lora import LoraLayer

    loop = make_loop("float32", "lora.from_layer=1")
    merged = {n: m.merged for n, m in loop.model.named_modules() if isinstance(m, LoraLayer)}
    assert {".layers.0." in name for name in merged} == {True, False}
    assert all(folded == (".layers.0." in name) for name, folded in merged.items())
    assert loop.names and all(".layers.1." in name for name in loop.names)


def test_a_fingerprint_knows_what_decides_the_weights() -> None:
    """Not where the folder lies, but the seed and the data's bytes."""
    base = fingerprint({"seed": 1, "output_dir": "a"}, {"x": "1"})
    assert fingerprint({"seed": 1, "output_dir": "b"}, {"y": "1"}) == base
    assert fingerprint({"seed": 2, "output_dir": "a"}, {"x": "1"}) != base
    assert fingerprint({"seed": 1, "output_dir": "a"}, {"x": "2"}) != base
    one = fingerprint({}, {"train a": "1", "eval b": "2"})
    assert fingerprint({}, {"train c": "1", "eval d": "2"}) == one
    assert fingerprint({}, {"train b": "2", "eval a": "1"}) != one  # the halves exchanged


def test_conversations_are_held_out_whole() -> None:
    """No conversation stands on both sides, nothing is lost, and the share is about what was asked."""
    made = Corpus(
        [Example([1, 2], 1) for _ in range(900)], [f"talk-{index // 3}" for index in range(900)]
    )
    kept, held = hold_out(made, 0.2)
    assert held is not None
    assert not set(kept.conversations) & set(held.conversations)
    assert len(kept.examples) + len(held.examples) == 900
    assert 120 < len(held.examples) < 240
    assert hold_out(made, 0.0) == (made, None)
    with pytest.raises(ConfigError, match="nothing to train on"):
        hold_out(made, 1.0)


def test_at_most_so_many_are_drawn() -> None:
    """The limit, with each example's own conversation."""
    made = Corpus([Example([index, 1], 1) for index in range(9)], [str(i) for i in range(9)])
    few = limited(made, 4, 1)
    assert len(few.examples) == 4
    assert [example.ids[0] for example in few.examples] == [int(n) for n in few.conversations]
    assert limited(made, None, 1) is made


def test_an_output_folder_that_cannot_be_written_is_found_at_once(tmp_path: Path) -> None:
    """Below a file nothing can be made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        check_writable(tmp_path / "file" / "adapter")
    check_writable(tmp_path / "new" / "adapter")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
