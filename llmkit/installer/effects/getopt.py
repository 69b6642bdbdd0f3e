"""Split a command's words into options and operands, as getopt_long(3) does.

    >>> parse("mkfs.ext4", ("-FL", "root", "/dev/sda2"), "FL:qn").get("-L")
    'root'

`short` is getopt's option string ("x" a switch, "x:" with a value, "x::" a value only when it is
attached). A long option is "name" (a switch), "name=" (needs a value) or "name=?" (a value only
after "="). Options may stand after operands, as GNU tools allow; `permute=False` stops at the first
operand. `plus=True` keeps "+words" out of the options (they are operands anyway).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from llmkit.installer.effects.registry import CommandFailed


@dataclass(frozen=True, slots=True)
class Options:
    """What stood on a command line: options in their order ("-L" or "--label"), then operands."""

    options: tuple[tuple[str, str], ...]
    operands: tuple[str, ...]

    def has(self, *names: str) -> bool:
        """Is one of these options given?"""
        return any(name in names for name, _ in self.options)

    def get(self, *names: str, default: str | None = None) -> str | None:
        """The value of the last of these options that is given."""
        for name, value in reversed(self.options):
            if name in names:
                return value
        return default

    def all(self, *names: str) -> tuple[str, ...]:
        """Every value of these options, in order."""
        return tuple(value for name, value in self.options if name in names)


@lru_cache(maxsize=256)
def _short(spec: str) -> dict[str, int]:
    """Letter → 0 (switch), 1 (value) or 2 (value only when attached)."""
    table: dict[str, int] = {}
    position = 0
    while position < len(spec):
        letter = spec[position]
        colons = len(spec[position + 1 : position + 3]) - len(
            spec[position + 1 : position + 3].lstrip(":")
        )
        table[letter] = colons
        position += 1 + colons
    return table


@lru_cache(maxsize=256)
def _long(spec: tuple[str, ...]) -> dict[str, int]:
    table: dict[str, int] = {}
    for item in spec:
        name, equals, optional = item.partition("=")
        table[name] = (2 if optional else 1) if equals else 0
    return table


def parse(
    program: str,
    args: Iterable[str],
    short: str = "",
    long: tuple[str, ...] = (),
    *,
    permute: bool = True,
    single_dash: bool = False,
    status: int = 1,
) -> Options:
    """Parse `args`.

    Args:
        single_dash: a long option may stand after one dash too ("-noout").
        status: the tool's exit status for a wrong option (2 for shadow's tools, 64 for …).

    Raises:
        CommandFailed: an unknown option, an ambiguous one, or a value too few or too many.
    """
    letters, names = _short(short), _long(long)
    words = tuple(args)
    options: list[tuple[str, str]] = []
    operands: list[str] = []
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word == "--":
            operands.extend(words[index:])
            break
        if len(word) < 2 or word[0] != "-":
            operands.append(word)
            if not permute:
                operands.extend(words[index:])
                break
            continue
        if word.startswith("--") or (single_dash and word[1:].partition("=")[0] in names):
            text, equals, value = word.lstrip("-").partition("=")
            name = _complete(program, text, names, status)
            wants = names[name]
            if equals and not wants:
                raise CommandFailed(f"{program}: option --{name} takes no value", status=status)
            if wants == 1 and not equals:
                if index >= len(words):
                    raise CommandFailed(f"{program}: option --{name} needs a value", status=status)
                value = words[index]
                index += 1
            options.append((f"--{name}", value))
            continue
        cluster = word[1:]
        while cluster:
            letter, cluster = cluster[0], cluster[1:]
            wants = letters.get(letter, -1)
            if wants < 0:
                raise CommandFailed(f"{program}: unknown option -{letter}", status=status)
            if wants == 0:
                options.append((f"-{letter}", ""))
                continue
            if wants == 1 and not cluster:
                if index >= len(words):
                    raise CommandFailed(f"{program}: option -{letter} needs a value", status=status)
                cluster = words[index]
                index += 1
            options.append((f"-{letter}", cluster))
            break
    return Options(tuple(options), tuple(operands))


def _complete(program: str, text: str, names: dict[str, int], status: int) -> str:
    """The option that `text` is, or is an unambiguous beginning of."""
    if text in names:
        return text
    found = [name for name in names if text and name.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandFailed(
            f"{program}: option --{text} is ambiguous (--{', --'.join(sorted(found))})",
            status=status,
        )
    raise CommandFailed(f"{program}: unknown option --{text}", status=status)
