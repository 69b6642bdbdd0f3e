"""Other wordings of a case: typing errors, casing, lost punctuation, another author's words.

What the right answer copies from a message stays as it is: devices, sizes, paths, names of hosts and
accounts, whatever stands in quotes. Else a slip would change what is right. All messages of the
person are reworded, as one person types, but for a paraphrase, which replaces the last one.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from llmkit.noise import Noise
from llmkit.score import Case

Variant = Case | str  # the other case, or why there is none
SAME = "nothing to change"
SEED = 20261128  # of the slips: the same file gives the same variants
_NOISE = Noise(rate=1.0, casing=0.0, punctuation=0.0, keys=1.0, letters=1.0, slips=2)
_QUOTED = re.compile(r"(?<!\w)([\"'`])(?=\S).*?(?<=\S)\1(?!\w)")
_TOKEN = re.compile(r"\S+")
_EXACT = re.compile(r"[\w)][/._:=@\\-]+\w|\d|^[/~$-]|[<>|&*]")  # devices, sizes, paths, shell
_ENDS = ".,;:!?…"


def place(text: str, count: int) -> int:
    """A number below `count` that follows from the text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") % count


def named(case: Case, variant: str, **changes: Any) -> Case:
    """The case with changes, named after the variant; it stays in its conversation."""
    return replace(case, name=f"{case.name}~{variant}", **changes)


def kept(case: Case, domain: Any) -> tuple[str, ...]:
    """Words that an answer copies: of the right command, of the commands before, names of hosts and
    accounts. Names of programs are none: nobody copies those."""
    commands = [message["content"][2:] for message in case.messages if _ran(message)]
    commands += [] if case.expected is None else list(case.expected)
    words: set[str] = set()
    for command in commands:
        words |= set(re.findall(r"[^\s'\"=:;|&<>(){}]+", command)) | set(_names(command))
        words -= set(domain.programs(command, case.state)) if " " in command else set()
    for state in (case.state, case.expected_state):
        if state is not None:
            known = {**domain.to_dict(state), "disks": []}
            words |= {name for text in _strings(known) for name in (text, *_names(text))}
    said = {word for text in _said(case) for word in (*_TOKEN.findall(text), *_names(text))}
    return tuple(sorted(word for word in words & said if len(word) > 1))


def _names(text: str) -> list[str]:
    return re.findall(r"[A-Za-z][\w-]*", text)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (key, *_strings(item)) if key.startswith("/") else _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _ran(message: Mapping[str, str]) -> bool:
    return message["role"] == "assistant" and message["content"].startswith("$ ")


def _said(case: Case) -> list[str]:
    return [message["content"] for message in case.messages if message["role"] == "user"]


def _reworded(case: Case, variant: str, change: Callable[[str], str]) -> Variant:
    messages = tuple(
        {**message, "content": change(message["content"]) or message["content"]}
        if message["role"] == "user"
        else message
        for message in case.messages
    )
    return SAME if messages == case.messages else named(case, variant, messages=messages)


def typos(case: Case, domain: Any) -> Variant:
    """One or two slips in each message: a neighbouring key, a letter lost, doubled or swapped."""
    keep = kept(case, domain)
    # told by the message alone: what was said before reads alike in each turn of a conversation
    return _reworded(case, "typos", lambda text: _NOISE.form(text, SEED, 0, keep))


def _words(text: str, keep: Iterable[str], change: Callable[[str], str]) -> str:
    """Every word changed, but for those that must stay exact."""
    closed = [found.span() for found in _QUOTED.finditer(text)]
    names = set(keep)

    def one(found: re.Match[str]) -> str:
        word = found[0]
        bare = word.strip(_ENDS + "()\"'`")
        exact = _EXACT.search(bare) or bare in names or word in names
        inside = any(start < found.end() and found.start() < end for start, end in closed)
        return word if exact or inside else change(word)

    return _TOKEN.sub(one, text)


def casing(way: str, change: Callable[[str], str]) -> Callable[[Case, Any], Variant]:
    """A variant that writes every word in another case."""

    def made(case: Case, domain: Any) -> Variant:
        keep = kept(case, domain)
        return _reworded(case, way, lambda text: _words(text, keep, change))

    return made


def punctuation(case: Case, domain: Any) -> Variant:
    """No commas, full stops, apostrophes and marks; a question of up to three words keeps its mark,
    which is all that makes it one."""
    keep = set(kept(case, domain))

    def bare(word: str) -> str:
        return (
            word.strip("…")
            if not re.search(r"\w", word)
            else word.replace("'", "").replace("’", "")
        )

    def change(text: str) -> str:
        short = len(text.split()) <= 3
        ends = "".join(mark for mark in _ENDS if not (short and mark == "?"))

        def end(found: re.Match[str]) -> str:
            word = found[0]
            return word if word in keep else word.rstrip(ends) or word

        return _TOKEN.sub(end, _words(text, keep, bare))

    return _reworded(case, "punctuation", change)


def paraphrases(cases: Iterable[Case], domain: Any) -> Callable[[Case, Any], Variant]:
    """The last message as another author worded it: that of another snapshot of the same turn, on the
    same machine, after the same answers, with the same answer due. `cases` are all that there are."""
    found: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if case.expected_response is not None:
            found[_turn(case, domain)].add(case.messages[-1]["content"])

    def made(case: Case, domain: Any) -> Variant:
        last = case.messages[-1]
        others = sorted(found.get(_turn(case, domain), set()) - {last["content"]})
        if not others:
            return "no other wording of it is known"
        other = others[place(last["content"], len(others))]
        messages = (*case.messages[:-1], {**last, "content": other})
        return named(case, "paraphrase", messages=messages)

    return made


def _turn(case: Case, domain: Any) -> str:
    answers = [message["content"] for message in case.messages if message["role"] == "assistant"]
    return json.dumps(
        [case.conversation, answers, case.system_context, case.command, case.type,
         domain.to_dict(case.state)], sort_keys=True,
    )  # fmt: skip
