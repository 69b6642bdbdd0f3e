"""Partitions that a command names by number: `sgdisk -d 7 /dev/sda`, `parted /dev/sda rm 9`.

The options of one call are followed in order, so that `sgdisk -n 3:0:0 -t 3:8300` names nothing
that is missing, and `sgdisk -o -t 1:8300` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from llmkit.installer.state import Disk

if TYPE_CHECKING:
    from llmkit.installer.guard_names import Presence

Args = tuple[str | None, ...]
_SGDISK = re.compile(r"-([A-Za-z])(.*)", re.DOTALL)
_PLAIN = frozenset("pvPEFfLOGsegZzom")  # letters of sgdisk's without a value: more may follow them
_SGDISK_LONG = {
    "delete": "d", "typecode": "t", "info": "i", "change-name": "c", "attributes": "A",
    "partition-guid": "u", "new": "n", "largest-new": "N", "clear": "o", "zap-all": "Z",
    "zap": "z", "transpose": "r",
}  # fmt: skip
_FDISK_LETTERS = frozenset("dtixaA")


def absent_partitions(program: str, args: Args, stdin: str | None, here: Presence) -> list[str]:
    """Paths of the partitions that the command names by number and that are not there."""
    reader = _READERS.get(program)
    if reader is None:
        return []
    out: list[str] = []
    for disk, numbers in reader(args, stdin, here):
        out += [disk.partition_path(number) for number in numbers]
    return out


Found = Iterator[tuple[Disk, list[int]]]


def _disk(word: str | None, here: Presence) -> Disk | None:
    if not word or word.startswith("-"):
        return None
    node = here.resolve(word if "/" in word or "=" in word else f"/dev/{word}")
    return here.state.disk(node) if node else None


def _apart(word: str | None) -> tuple[str | None, ...]:
    """`-pd7` as popt reads it: -p -d7."""
    parts: list[str | None] = []
    while word and len(word) > 2 and word[0] == "-" and word[1] in _PLAIN and word[2].isalpha():
        parts.append(word[:2])
        word = f"-{word[2:]}"
    return (*parts, word)


def _numbers(disk: Disk) -> set[int]:
    return {part.number for part in disk.partitions}


def _free(numbers: set[int]) -> int:
    return next(n for n in range(1, len(numbers) + 2) if n not in numbers)


def _sgdisk(args: Args, stdin: str | None, here: Presence) -> Found:
    disk = next((d for d in (_disk(word, here) for word in reversed(args)) if d), None)
    if disk is None:
        return
    present, absent = _numbers(disk), []
    last = 0
    index = 0
    args = tuple(part for word in args for part in _apart(word))
    while index < len(args):
        word = args[index]
        index += 1
        letter, value = "", ""
        if word is None:
            continue
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            letter = _SGDISK_LONG.get(name, "")
            taken = bool(equals)
        else:
            match = _SGDISK.fullmatch(word)
            if match is None:
                continue
            letter, value = match[1], match[2].removeprefix("=")
            taken = bool(value)
        if letter in "oZz" and letter:
            present = set()
            continue
        if not letter or letter not in "dticAunNr":
            continue
        if not taken and index < len(args):
            value = args[index] or ""
            index += 1
        head = value.partition(":")[0]
        if not head.isdecimal():
            continue
        number = int(head)
        if letter in "nN":
            last = number or _free(present)
            present.add(last)
            continue
        if number == 0 and last:
            number = last
        if number not in present:
            absent.append(number)
        if letter == "d":
            present.discard(number)
    yield disk, absent


_PARTED_LONG = frozenset(("unit", "u", "print", "p", "select", "align-check", "version", "help"))


def _parted(args: Args, stdin: str | None, here: Presence) -> Found:
    words: list[str] = []
    skip = False
    for word in args:
        if skip:
            skip = False
        elif word in ("-a", "--align"):
            skip = True
        elif word is None:
            words.append("")
        elif words or not word.startswith("-"):
            words += word.split() or [""]
    disk = _disk(words[0], here) if words else None
    if disk is None:
        return
    yield disk, _parted_absent(words[1:], disk)


def _parted_absent(words: list[str], disk: Disk) -> list[int]:
    present, absent, table = _numbers(disk), [], disk.table
    index = 0
    while index < len(words):
        word = words[index]
        following = words[index + 1] if index + 1 < len(words) else ""
        if word in ("mklabel", "mktable"):
            present, table = set(), following
            index += 2
        elif word == "mkpart":
            if table == "msdos" and following == "logical":
                present.add(next(n for n in range(5, 5 + len(present) + 1) if n not in present))
            else:
                present.add(_free(present))
            index += 2
        elif word in ("rm", "set", "name", "resizepart", "toggle", "disk_set", "type"):
            if following.isdecimal() and word != "disk_set":
                number = int(following)
                if number not in present:
                    absent.append(number)
                if word == "rm":
                    present.discard(number)
            index += 2
        else:
            index += 1
    return absent


def _sfdisk(args: Args, stdin: str | None, here: Presence) -> Found:
    options = {
        "--delete", "--part-type", "--part-label", "--part-uuid", "--part-attrs", "-A",
        "--activate", "-c", "--id", "--change-id", "--print-id",
    }  # fmt: skip
    numbered = any(word in options for word in args)
    operands = [word for word in args if word and not word.startswith("-")]
    disk = next((d for d in (_disk(word, here) for word in operands) if d), None)
    if not numbered or disk is None:
        return
    several = any(word in ("--delete", "-A", "--activate") for word in args)
    numbers = [int(w) for w in operands if w.isdecimal()]
    chosen = numbers if several else numbers[:1]
    yield disk, [n for n in chosen if n not in _numbers(disk)]


def _numbered(args: Args, stdin: str | None, here: Presence) -> Found:
    """`growpart DISK N`, `delpart DISK N`, `resizepart DISK N LENGTH`."""
    operands = [word for word in args if word and not word.startswith("-")]
    disk = _disk(operands[0], here) if operands else None
    if disk is not None and len(operands) > 1 and operands[1].isdecimal():
        number = int(operands[1])
        yield disk, [] if number in _numbers(disk) else [number]


def _partx(args: Args, stdin: str | None, here: Presence) -> Found:
    """`partx -d --nr N DISK`; a range (M:N) is not looked at."""
    disk = next((d for d in (_disk(word, here) for word in reversed(args)) if d), None)
    for index, word in enumerate(args):
        match = re.fullmatch(r"(?:-[a-zA-Z]*n|--nr=?)(\d*)", word or "")
        if match and disk is not None:
            number = match[1] or (args[index + 1 : index + 2] or ("",))[0] or ""
            if number.isdecimal() and int(number) not in _numbers(disk):
                yield disk, [int(number)]


def _efibootmgr(args: Args, stdin: str | None, here: Presence) -> Found:
    values: dict[str, str] = {}
    for index, word in enumerate(args):
        if word is None:
            continue
        name, equals, value = word.partition("=")
        key = {"--disk": "d", "--part": "p"}.get(name, "")
        if not key and re.fullmatch(r"-[a-zA-Z]*[dp]", word):
            key = word[-1]
        if key:
            following = args[index + 1] if index + 1 < len(args) else None
            values[key] = value if equals else following or ""
    created = any(a and re.fullmatch(r"-[A-Za-z]*[cC][A-Za-z]*|--create|--create-only", a)
                  for a in args)  # fmt: skip
    disk = _disk(values.get("d", "/dev/sda"), here)
    if disk is None or not created:
        return
    number = values.get("p", "1")
    if number.isdecimal() and int(number) not in _numbers(disk):
        yield disk, [int(number)]


def _fdisk(args: Args, stdin: str | None, here: Presence) -> Found:
    """A script of answers on standard input: `d` then a number, `t`, `i`, `x`."""
    disk = next((d for d in (_disk(word, here) for word in reversed(args)) if d), None)
    if disk is None or not stdin:
        return
    present, absent = _numbers(disk), []
    lines = [line.strip() for line in stdin.splitlines()]
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        following = lines[index] if index < len(lines) else ""
        if line in ("o", "g", "G", "s"):
            present = set()
        elif line == "n":
            if following in ("p", "e", "l"):
                index += 1
                following = lines[index] if index < len(lines) else ""
                if lines[index - 1] == "l":
                    following = ""
            number = int(following) if following.isdecimal() else _free(present)
            present.add(number)
            index += 3
        elif line in _FDISK_LETTERS and following.isdecimal() and present != {int(following)}:
            number = int(following)
            if number not in present and len(present) != 1:
                absent.append(number)
            if line == "d":
                present.discard(number)
            index += 1
        elif line == "d" and len(present) == 1:
            present = set()
    yield disk, absent


_READERS: dict[str, Callable[[Args, str | None, Presence], Found]] = {
    "sgdisk": _sgdisk,
    "parted": _parted,
    "sfdisk": _sfdisk,
    "growpart": _numbered,
    "delpart": _numbered,
    "resizepart": _numbered,
    "partx": _partx,
    "efibootmgr": _efibootmgr,
    "fdisk": _fdisk,
}
