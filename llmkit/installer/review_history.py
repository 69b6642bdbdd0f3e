"""The turns of a conversation, and what its commands did: told from the line and from what it printed.

told_failure("sgdisk -Z /dev/sda", "sgdisk: /dev/sda is in use")   # True
certain("test -b /dev/sda1 || sgdisk -Z /dev/sda")                 # "test -b /dev/sda1 "
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

_FAILED = re.compile(
    r"^(?:error|fatal|cannot)\b|\b(?:command not found|no such file|permission denied|"
    r"(?:resource|device) (?:is )?busy|(?:is|are) (?:apparently )?in use|will not make|can(?:'|no)t open|"
    r"could not|unable to|problem opening|not saving changes|does not exist|operation not permitted|"
    r"(?:exit|exited with) (?:status|code) [1-9])\b"
)
_NONE = re.compile(  # a warning; or how overwriting a whole disk ends
    r"\bwarning\b|\bno space left\b|\bis full\b"
)
_SHELLS = frozenset(("bash", "sh", "zsh", "sudo"))
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_PIECE = re.compile(
    r"(?<=[.;,:!?])\s+|(?<!\s)\s++(?=(?:and|but|while|with|instead|rather)\b|not /)"
)
_STAYS = re.compile(  # a piece of an assistant's text about a disk that nothing happens to
    r"^(?:(?:and|but|while) )?(?:not|instead of|rather than)\b|"
    r"\b(?:stay(?:s|ing)?|kept|keep(?:s|ing)?|spared?|unchanged|untouched|unharmed|intact|remain(?:s|ing)?|"
    r"as (?:it|they) (?:is|are)|(?:left|leav(?:e|es|ing) \S+) (?:as|alone|out|in peace)|"
    r"(?:is|be|are|will|does|do)(?: not|n't) (?:be )?(?:touch|chang|eras|wip|format|los|affect|harm|us)\w*)\b"
)
_NOTHING = re.compile(r"\b(?:nothing|none|no)\b")  # of it stays


@dataclass(frozen=True, slots=True)
class Turn:
    """A message: who says it, and what of it a person reads. `ran` is a command that was run."""

    user: bool
    text: str
    ran: str = ""
    failed: bool = False


def told_failure(command: str, printed: str) -> bool:
    """Whether what a command printed says that it failed: an error, by a program of the line."""
    names = {word.rpartition("/")[2] for word in re.findall(r"[\w./-]+", command)} | _SHELLS
    for line in printed.lower().splitlines():
        line = line.strip()
        if _NONE.search(line):
            continue
        speaker, colon, _ = line.partition(": ")
        if _FAILED.search(line) or (colon and speaker in names):
            return True
    return False


def certain(line: str) -> str:
    """A line without what stands behind `||`: where it worked, that need not have run."""
    kept: list[str] = []
    quote, depth, skipped = "", 0, -1  # skipped: at which depth the branch began
    place = 0
    while place < len(line):
        char = line[place]
        width = 1
        if char == "\\" and quote != "'":
            width = 2
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "({":
            depth += 1
        elif char in ")}":
            depth -= 1
            if depth < skipped:
                skipped = -1
        elif line.startswith("||", place):
            width = 2
            if skipped < 0:
                skipped = depth
        elif depth == skipped and (char in ";\n" or line.startswith("&&", place)):
            skipped = -1
        if skipped < 0:
            kept.append(line[place : place + width])
        place += width
    return "".join(kept)


def turns_of(messages: Sequence[Mapping[str, str]]) -> list[Turn]:
    """The messages as turns; a command and what its tool said of it are one."""
    turns: list[Turn] = []
    for message in messages:
        text = message.get("content") or ""
        user = message.get("role") == "user"
        if message.get("role") == "tool" and turns and turns[-1].ran:
            turns[-1] = replace(
                turns[-1], failed=turns[-1].failed or told_failure(turns[-1].ran, text)
            )
        elif not user and text.startswith("$ "):
            command, _, behind = text[2:].partition("\n\n")
            command = command.partition("\n")[0]
            turns.append(Turn(False, "", command, told_failure(command, behind)))
        else:
            turns.append(Turn(user, text))
    return turns


def proposed(text: str) -> str:
    """An assistant's text without what it says stays as it is.

    >>> proposed("/dev/sda would be erased; /dev/sdb stays. Shall I?")
    '/dev/sda would be erased; Shall I?'
    """
    pieces = _PIECE.split(text)
    kept = [p for p in pieces if not _STAYS.search(p.lower()) or _NOTHING.search(p.lower())]
    return " ".join(kept)


def question(text: str) -> str:
    """The last sentence that asks; the text when none does."""
    asking = [part for part in _SENTENCE.split(text) if part.endswith("?")]
    return asking[-1] if asking else text
