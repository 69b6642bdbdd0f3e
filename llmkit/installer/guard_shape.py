"""Shapes of a script that are dangerous whatever the machine: fork bombs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from llmkit.installer.shell_ast import Function, Pipeline, Script, Sequence, Simple, While


def is_fork_bomb(script: Script) -> bool:
    """A function that calls itself in the background, in a pipeline or twice; or an endless loop
    that starts background jobs."""
    for node in _walk(script):
        if isinstance(node, Function) and _multiplies(node):
            return True
        if isinstance(node, While) and _endless(node) and _background(node.body):
            return True
    return False


def _walk(node: Any) -> Iterator[Any]:
    """Every node below, itself first."""
    todo = [node]
    while todo:
        item = todo.pop()
        if isinstance(item, tuple):
            todo.extend(item)
        elif is_dataclass(item):
            yield item
            todo.extend(getattr(item, field.name) for field in fields(item))


def _calls(node: Any, name: str) -> int:
    return sum(
        1
        for item in _walk(node)
        if isinstance(item, Simple) and item.words and item.words[0].text == name
    )


def _multiplies(function: Function) -> bool:
    if _calls(function.body, function.name) > 1:
        return True
    for item in _walk(function.body):
        if isinstance(item, Pipeline) and len(item.commands) > 1 and _calls(item, function.name):
            return True
        if isinstance(item, Sequence):
            for node, background in item.items:
                if background and _calls(node, function.name):
                    return True
    return False


def _endless(loop: While) -> bool:
    words = [
        node.words[0].text
        for node, _ in loop.condition.items
        if isinstance(node, Simple) and node.words
    ]
    return words == (["false"] if loop.until else ["true"]) or (words == [":"] and not loop.until)


def _background(body: Sequence) -> bool:
    return any(
        background
        for item in _walk(body)
        if isinstance(item, Sequence)
        for _, background in item.items
    )
