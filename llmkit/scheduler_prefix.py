"""What was computed for earlier requests, kept for those that begin alike.

    from llmkit.scheduler_prefix import PrefixStore

A tree of blocks of tokens: a node holds the keys and values of at most `block` tokens that follow
its parent's. Requests copy what they share into their slot and what they computed back into the
tree (some milliseconds), so a running request never leans on the tree, and any leaf may be thrown
out without counting who uses it: the least recently used one is. A match is exact to the token.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from llmkit.generate import common_length
from llmkit.scheduler_slots import Shape, Slots


@dataclass(eq=False, slots=True)
class _Node:
    """Some tokens after those of the parent; only a full node has children."""

    block: int  # where in the buffer; -1 for the root
    tokens: tuple[int, ...]
    parent: _Node | None
    # by first token: nodes of one list differ at a later one
    children: dict[int, list[_Node]] = field(default_factory=dict)


class PrefixStore:
    """Room for `tokens` tokens in blocks of `block`."""

    def __init__(
        self, shape: Shape, tokens: int, block: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.block = block
        count = tokens // block
        # [layers, heads, blocks × block, size]: blocks in a row are one stretch, as in a slot
        head = (shape.layers, shape.heads, count * block)
        self._keys = torch.empty((*head, shape.key), dtype=dtype, device=device)
        self._values = torch.empty((*head, shape.value), dtype=dtype, device=device)
        self._free = list(reversed(range(count)))
        self._root = _Node(-1, (), None)
        # Least recently used first. A path is touched from its leaf up, so a parent is always
        # younger than its children, and the oldest node is a leaf.
        self._ages: OrderedDict[_Node, None] = OrderedDict()
        self.held = 0  # tokens

    def match(self, tokens: Sequence[int]) -> tuple[int, list[int]]:
        """How many first tokens are kept, and in which blocks."""
        node, length = self._root, 0
        path: list[_Node] = []
        while length < len(tokens):
            child, shared = self._child(node, tokens[length : length + self.block])
            if child is None:
                break
            path.append(child)
            length += shared
            if shared < self.block:
                break
            node = child
        self._touch(path)
        return length, [node.block for node in path]

    def load(self, blocks: Sequence[int], length: int, slots: Slots, slot: int) -> None:
        """Copy the first `length` tokens of matched blocks into a slot."""
        first = 0
        while first < len(blocks):
            last = first  # of blocks that lie one behind the other
            while last + 1 < len(blocks) and blocks[last + 1] == blocks[last] + 1:
                last += 1
            start, end = first * self.block, min((last + 1) * self.block, length)
            place = blocks[first] * self.block
            for kept, held in ((self._keys, slots.keys), (self._values, slots.values)):
                held[:, slot, :, start:end] = kept[:, :, place : place + end - start]
            first = last + 1

    def save(self, tokens: Sequence[int], slots: Slots, slot: int) -> None:
        """Keep what a slot holds from its start: `tokens`. What is kept already is not copied."""
        node, start = self._root, 0
        path: list[_Node] = []
        while start < len(tokens):
            rest = tuple(tokens[start : start + self.block])
            child, shared = self._child(node, rest)
            if child is not None and shared == len(child.tokens) < len(rest):
                self._write(child, rest, slots, slot, start)  # it was the end, and now goes on
            elif child is None or shared < len(rest):
                block = self._take(path)
                if block is None:
                    break
                child = _Node(block, (), node)
                self._ages[child] = None
                node.children.setdefault(rest[0], []).append(child)
                self._write(child, rest, slots, slot, start)
            path.append(child)
            node = child
            start += len(rest)
        self._touch(path)

    def _child(self, node: _Node, rest: Sequence[int]) -> tuple[_Node | None, int]:
        """The child that shares most with `rest`, and how many tokens that is."""
        best, most = None, 0
        for child in node.children.get(rest[0], ()):
            shared = common_length(child.tokens, rest)
            if shared > most:
                best, most = child, shared
        return best, most

    def _touch(self, path: Sequence[_Node]) -> None:
        for node in reversed(path):
            self._ages.move_to_end(node)

    def _take(self, path: Sequence[_Node]) -> int | None:
        """A block that may be written; None where all are on the path itself."""
        if self._free:
            return self._free.pop()
        self._touch(path)
        oldest = next(iter(self._ages), None)
        if oldest is None or oldest in path:
            return None
        del self._ages[oldest]
        self.held -= len(oldest.tokens)
        assert oldest.parent is not None and not oldest.children
        siblings = oldest.parent.children[oldest.tokens[0]]
        siblings.remove(oldest)
        if not siblings:
            del oldest.parent.children[oldest.tokens[0]]
        return oldest.block

    def _write(
        self, node: _Node, tokens: tuple[int, ...], slots: Slots, slot: int, start: int
    ) -> None:
        """Make a node hold `tokens`, which lie in the slot from `start`; some it may hold by now."""
        begin, end = len(node.tokens), len(tokens)
        place = node.block * self.block
        for kept, held in ((self._keys, slots.keys), (self._values, slots.values)):
            new = held[:, slot, :, start + begin : start + end]
            kept[:, :, place + begin : place + end] = new
        node.tokens = tokens
        self.held += end - begin
