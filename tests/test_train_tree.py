"""Rows of examples that share their beginnings: the same losses and gradients, fewer tokens."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmkit.generate import common_length
from llmkit.prompt import Example
from llmkit.train_data import Corpus, plan
from llmkit.train_tree import Forest, mask, rows, tokens_of, width
from tests.test_train_parts import flat, make_loop

IDS = st.lists(st.integers(5, 7), min_size=2, max_size=9)  # few tokens: many share a beginning
EXAMPLES = st.lists(IDS.map(lambda ids: Example(ids, max(1, len(ids) - 2))), min_size=1, max_size=9)


def sorted_by_ids(examples: list[Example]) -> list[Example]:
    return sorted(examples, key=lambda example: example.ids)


@given(EXAMPLES)
def test_a_node_sees_its_example_up_to_itself(examples: list[Example]) -> None:
    """What the node before each target sees is the example's tokens up to there, in order."""
    examples = sorted_by_ids(examples)
    forest = Forest.of(examples)
    seen = mask(torch.tensor([forest.ends]), torch.float32)[0, 0] == 0
    place = 0
    for example in examples:
        for target in range(example.prompt_length, len(example.ids)):
            nodes = torch.nonzero(seen[forest.where[place]]).flatten().tolist()
            assert [forest.ids[node] for node in nodes] == example.ids[:target]
            assert [forest.positions[node] for node in nodes] == list(range(target))
            assert forest.targets[place] == example.ids[target]
            place += 1
    assert place == len(forest.where) == len(forest.targets)


@given(EXAMPLES)
def test_no_beginning_stands_twice(examples: list[Example]) -> None:
    """A node for each distinct beginning."""
    beginnings = {tuple(e.ids[: end + 1]) for e in examples for end in range(len(e.ids))}
    assert len(Forest.of(sorted_by_ids(examples)).ids) == len(beginnings)
    assert tokens_of(sorted_by_ids(examples)) == len(beginnings)


@given(EXAMPLES, st.integers(1, 20))
def test_rows_hold_every_example_within_the_limit(examples: list[Example], limit: int) -> None:
    """Nothing is lost; a row is over the limit only where one example is."""
    order = sorted(range(len(examples)), key=lambda index: examples[index].ids)
    found = list(rows(examples, order, limit))
    assert list(itertools.chain(*found)) == order
    for row in found:
        size = len(Forest.of([examples[index] for index in row]).ids)
        assert size <= limit or len(row) == 1


@given(EXAMPLES, st.integers(0, 3))
def test_an_epoch_holds_every_example_once(examples: list[Example], epoch: int) -> None:
    """With shared beginnings too, however the rows are cut."""
    corpus = Corpus(examples, ["c"] * len(examples))
    steps = plan(
        corpus, epoch, per_conversation=None, tokens_per_row=12, tokens_per_batch=24,
        tokens_per_step=30, processes=1, seed=1,
    )  # fmt: skip
    assert sorted(i for step in steps for i in flat(step)) == list(range(len(examples)))


def test_common_length() -> None:
    """By hand."""
    assert common_length([1, 2, 3], [1, 2, 4]) == 2
    assert common_length([1, 2], [1, 2, 4]) == 2
    assert common_length([], [1]) == 0


def test_widths_are_few() -> None:
    """Multiples of half a row, and of an attention block."""
    assert {width(tokens, 1024) for tokens in range(1, 1025)} == {1024}
    assert width(1025, 1024) == 1536
    assert width(1537, 1024) == 2048
    assert width(10, 200) == 256


def conversation(draw: random.Random) -> list[Example]:
    """Examples that share beginnings of different lengths."""
    trunk = [draw.randrange(10, 200) for _ in range(150)]
    made = []
    for end in (30, 80, 80, 150):
        answer = [draw.randrange(10, 200) for _ in range(draw.randrange(3, 9))]
        made.append(Example([*trunk[:end], *answer], end))
    return sorted_by_ids(made)


@pytest.mark.filterwarnings("ignore")  # dynamo reads .grad of tensors that have none
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_losses_and_gradients_are_those_of_the_examples_alone(compiled: bool) -> None:
    """Two rows of trees against each example in a row of its own, without a mask, in float32."""
    draw = random.Random(5)
    batch = [conversation(draw) + conversation(draw), conversation(draw)]
    batch[0] = sorted_by_ids(batch[0])
    trees = make_loop(
        "float32", "data.tokens_per_row=512", f"compile={'always' if compiled else 'auto'}"
    )
    alone = make_loop("float32", "data.share_prefixes=false")
    assert trees.trees and not alone.trees
    assert trees.prepare(1000, 60) is compiled
    results: list[tuple[Any, Any]] = []
    for loop, given_batch in ((trees, batch), (alone, [[e] for row in batch for e in row])):
        with torch.no_grad():
            for name, weight in loop._named():  # lora_B begins as zero: no gradient for A
                generator = torch.Generator().manual_seed(len(name))
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
        loss = loop._loss(given_batch)
        loss.backward()
        results.append((float(loss.detach()), [weight.grad for weight in loop.weights]))
    (loss_a, grads_a), (loss_b, grads_b) = results
    assert loss_a == pytest.approx(loss_b, rel=1e-5)
    for one, other in zip(grads_a, grads_b, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
