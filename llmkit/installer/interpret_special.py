"""Commands of the shell that run others: eval, source, exec, trap, alias, xargs, find -exec."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llmkit.installer.expand import OPAQUE, Expanded, known
from llmkit.installer.interpret_redirects import takes_output
from llmkit.installer.interpret_types import SimpleCommand, World
from llmkit.installer.interpret_wrappers import options
from llmkit.installer.shell import parse
from llmkit.installer.shell_ast import ShellSyntaxError


def _eval(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    texts = [word.text for word in command.argv[1:]]
    text = None if None in texts else " ".join(item or "" for item in texts)
    return runner.script_text(text, command, worlds)


def _source(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    if len(command.argv) > 1 and (path := command.argv[1].text) is not None:
        texts = {runner.read_file(path, world) for world in worlds}
        if len(texts) == 1 and (text := texts.pop()) is not None:
            return runner.script_text(text, command, worlds)
    return runner.unknowable(command, worlds)


def _exec(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    """`exec` with redirections alone: from here on, output goes there."""
    runner.emit(command, worlds)
    after = runner.redirected(command, worlds, lambda inside: inside)
    for world in after:
        if any(takes_output(opened) for opened in command.redirects):
            world.write(None)
        if any(opened.reads for opened in command.redirects):
            world.stdin = None
        if world.status is not None:
            world.status = 0
    return after


def _trap(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    """`trap 'script' SIGNAL`, `alias name='script'`: visited, not run."""
    runner.emit(command, worlds)
    for world in worlds:
        world.status = 0
    if not runner.explore:
        return worlds
    trap = command.argv[0].text == "trap"
    for word in command.argv[1:]:
        text = word.text
        if not trap:
            text = None if text is None else text.partition("=")[2]
        elif text is not None and text.startswith("-"):
            continue
        if text is None:
            runner.unknowable(command, [world.copy() for world in worlds])
            break
        try:
            script = parse(text)
        except ShellSyntaxError:
            runner.unknowable(command, [world.copy() for world in worlds])
            break
        runner.ghost(script.body, worlds)
        if trap:
            break  # the rest are signals
    return worlds


def _xargs(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    read = options(
        command.argv[1:], "IdEnLPsa", "0rtpxo",
        ("replace", "delimiter", "eof", "max-args", "max-procs", "max-chars", "arg-file",
         "max-lines"),
        ("null", "no-run-if-empty", "verbose", "interactive", "exit"),
    )  # fmt: skip
    wrapped = replace(command, wrappers=(*command.wrappers, "xargs"))
    if read is None:
        return runner.unknowable(wrapped, worlds)
    found, position = read
    chosen = dict(found)
    base = command.argv[1 + position :] or (known("echo"),)
    placeholder = chosen.get("I", chosen.get("replace"))
    plain = set(chosen) <= {"I", "replace", "r", "no-run-if-empty", "t", "n", "max-args", "P",
                            "max-procs", "verbose"}  # fmt: skip
    items = _xargs_items(command.stdin, lines=placeholder is not None) if plain else None
    if placeholder is not None:
        if items is None:
            runs = [tuple(_replaced(word, placeholder, None) for word in base)]
        else:
            runs = [tuple(_replaced(word, placeholder, item) for word in base) for item in items]
    elif items is None:
        runs = [(*base, OPAQUE)]
    else:
        size = chosen.get("n", chosen.get("max-args", ""))
        step = int(size) if size.isdigit() and int(size) > 0 else len(items) or 1
        chunks = [items[i : i + step] for i in range(0, len(items), step)]
        if not items and not {"r", "no-run-if-empty"} & set(chosen):
            chunks = [[]]
        runs = [(*base, *(known(item) for item in chunk)) for chunk in chunks]
    inner = replace(wrapped, stdin="", redirects=())

    def body(inside: list[World]) -> list[World]:
        for world in inside:
            world.enter()
            world.stdin, world.status = "", 0
        for argv in runs:
            inside = runner.dispatch(replace(inner, argv=argv), inside)
        for world in inside:
            _, _, world.stdin, _ = world.leave()
            world.stdin = "" if world.stdin is not None else None
            if world.status:
                world.status = 123
        return inside

    return runner.around_command(command, worlds, body)


def _xargs_items(stdin: str | None, *, lines: bool) -> list[str] | None:
    if stdin is None or re.search(r"['\"\\]", stdin):
        return None
    if lines:
        return [line.lstrip(" \t") for line in stdin.split("\n") if line.strip(" \t")]
    return stdin.split()


def _replaced(word: Expanded, placeholder: str, item: str | None) -> Expanded:
    if word.text is None or placeholder not in word.text or not placeholder:
        return word
    if item is not None:
        return known(word.text.replace(placeholder, item))
    fragments: list[str | None] = []
    for position, piece in enumerate(word.text.split(placeholder)):
        if position:
            fragments.append(None)
        if piece:
            fragments.append(piece)
    return Expanded(None, tuple(fragments))


def _find(runner: Any, command: SimpleCommand, worlds: list[World]) -> list[World]:
    """find: itself, and what -exec would run (visited only)."""
    runner.emit(command, worlds)
    words = command.argv
    position = 1
    while runner.explore and position < len(words):
        if words[position].text in ("-exec", "-execdir", "-ok", "-okdir"):
            end = position + 1
            while end < len(words) and words[end].text not in (";", "+"):
                end += 1
            inner = tuple(_replaced(word, "{}", None) for word in words[position + 1 : end])
            if inner:
                made = replace(
                    command, argv=inner, stdin="", redirects=(),
                    wrappers=(*command.wrappers, "find"),
                )  # fmt: skip
                runner.dispatch(made, [world.copy() for world in worlds])
            position = end
        position += 1
    return runner.redirected(
        command, worlds, lambda inside: runner._apply_all("find", command, inside)
    )


SPECIAL: dict[str, Callable[[Any, SimpleCommand, list[World]], list[World]]] = {
    "eval": _eval,
    "source": _source,
    ".": _source,
    "exec": _exec,
    "trap": _trap,
    "alias": _trap,
    "xargs": _xargs,
    "find": _find,
}
