"""The form of a command: its programs with their options, whatever devices and names they are given.

    forms("mkfs.fat -F32 /dev/sda1 && arch-chroot /mnt passwd ada")   # ("mkfs.fat -F", "chroot passwd")

The coverage report counts in how many conversations each form stands: a form of one or two is hardly
learned. Options count without their values, subcommands (`ip route`) as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

from llmkit.installer.shell import parse
from llmkit.installer.shell_ast import Redirect, ShellSyntaxError, Simple, Word

# Their first word that is no option says what they do.
_WITH_SUBCOMMANDS = frozenset(
    "bootctl btrfs cryptsetup hostnamectl ip iwctl localectl loginctl networkctl nmcli parted "
    "resolvectl rfkill systemctl timedatectl".split()
)
_OPTION = re.compile(r"--?[A-Za-z][A-Za-z-]*")
_SUBCOMMAND = re.compile(r"[a-z][a-z-]+")


@lru_cache(maxsize=4096)
def forms(command: str) -> tuple[str, ...]:
    """Each form of a line once, in order; none of a line that no shell would read."""
    try:
        script = parse(command)
    except ShellSyntaxError:
        return ()
    found = (_of(simple) for simple in simples(script))
    return tuple(dict.fromkeys(form for form in found if form))


def _of(simple: Simple) -> str:
    words = [word.raw if word.text is None else word.text for word in simple.words]
    inner = unwrapped(words)
    if not inner:
        return ""
    if inner[0].startswith("-"):  # `command -v sgdisk`: not a wrapper here
        inner = words
    name = inner[0].rpartition("/")[2]
    options = dict.fromkeys(
        match[0] for word in inner[1:] if (match := _OPTION.match(word)) is not None
    )
    deed = ""
    if name in _WITH_SUBCOMMANDS:
        plain = [word for word in inner[1:] if _SUBCOMMAND.fullmatch(word)]
        deed = plain[0] if plain else ""
    elsewhere = "chroot" if "arch-chroot" in words[: len(words) - len(inner)] else ""
    return " ".join(part for part in (elsewhere, name, *options, deed) if part)


def unwrapped(words: list[str]) -> list[str]:
    """The command within sudo and arch-chroot."""
    while words and words[0] in ("sudo", "command", "exec", "nohup", "time"):
        words = words[1:]
    if words and words[0] == "arch-chroot":
        rest = words[1:]
        while rest and rest[0].startswith("-"):
            rest = rest[2:] if rest[0] == "-u" else rest[1:]
        return unwrapped(rest[1:])
    return words


def simples(node: Any) -> Iterator[Simple]:
    """Every simple command of a tree, in order; those of substitutions are left aside."""
    if isinstance(node, Simple):
        yield node
    elif isinstance(node, tuple):
        for part in node:
            yield from simples(part)
    elif is_dataclass(node) and not isinstance(node, Word | Redirect):
        for item in fields(node):
            yield from simples(getattr(node, item.name))
