"""Relative paths of file tools, made absolute where the current directory is known.

    >>> placed("rm", ("-rf", "ann"), "/mnt/home")
    ('-rf', '/mnt/home/ann')

Which words are paths is taken from the tools' manual pages: an option's value is none (but that of
`-t DIR`), nor is a mode, an owner, sed's script or what a symbolic link holds.
"""

from __future__ import annotations

import re
from posixpath import basename

from llmkit.installer.expand import normalise

_VALUED = {  # the letters of options whose value is the rest of the word, or the next word
    "rm": "", "rmdir": "", "unlink": "", "shred": "ns", "mkdir": "m", "touch": "dt",
    "truncate": "s", "fallocate": "lo", "mv": "St", "cp": "St", "install": "gmoSt", "ln": "St",
    "chmod": "", "chown": "", "chgrp": "", "tee": "", "sed": "efl", "mount": "LotTUNO",
    "umount": "tON",
}  # fmt: skip
_LONG = re.compile(
    r"--(mode|date|size|length|offset|suffix|group|owner|expression|file|line-length|iterations|"
    r"types|options|label|uuid|target-directory|source|target|reference|from)"
)  # long options whose value may be the next word
_FOLDERS = ("-t", "--target-directory")
_COPIERS = ("cp", "mv", "ln", "install")
_MODE = re.compile(r"-[rwxXst]+")


def placed(program: str, args: tuple[str, ...], cwd: str) -> tuple[str, ...]:
    """A command's words, with the paths among them absolute; the same when it is no file tool."""
    if program == "dd":
        return tuple(_dd(word, cwd) for word in args)
    if program not in _VALUED:
        return args
    words = list(args)
    operands, options = _operands(program, words, cwd)
    if program in ("chmod", "chown", "chgrp") and not options & {"--reference"}:
        if program != "chmod" or not any(_MODE.fullmatch(word) for word in args):
            operands = operands[1:]
    elif program == "sed" and not options & {"-e", "-f", "--expression", "--file"}:
        operands = operands[1:]
    elif program == "ln" and options & {"-s", "--symbolic"}:
        operands = operands[-1:] if len(operands) > 1 and not options & set(_FOLDERS) else []
    elif program == "mount":
        binds = options & {"-B", "-R", "-M", "--bind", "--rbind", "--move"}
        if not binds and not any("bind" in word for word in args):
            operands = operands[-1:]
    for index in operands:
        if program not in ("mount", "umount"):
            words[index] = _absolute(words[index], cwd)
        elif "=" not in words[index]:  # LABEL=root
            words[index] = normalise(_absolute(words[index], cwd))
    return tuple(words)


def _operands(program: str, words: list[str], cwd: str) -> tuple[list[int], set[str]]:
    """Where the operands stand, and which options are given; `-t DIR` is made absolute."""
    operands: list[int] = []
    options: set[str] = set()
    value_of = ""  # the option whose value comes next
    ended = False
    for index, word in enumerate(words):
        if value_of:
            if value_of in _FOLDERS and program in _COPIERS:
                words[index] = _absolute(word, cwd)
            value_of = ""
        elif ended or not word.startswith("-") or word == "-":
            operands.append(index)
        elif word == "--":
            ended = True
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            options.add(name)
            if equals and name in _FOLDERS and program in _COPIERS:
                words[index] = f"{name}={_absolute(value, cwd)}"
            elif not equals and _LONG.fullmatch(name) and name != "--reference":
                value_of = name
        else:
            value_of = _letters(program, word, options)
            letter = value_of[:2]
            if len(value_of) > 2:  # -tDIR
                if letter == "-t" and program in _COPIERS:
                    words[index] = word[: -len(value_of[2:])] + _absolute(value_of[2:], cwd)
                value_of = ""
    return operands, options


def _letters(program: str, word: str, options: set[str]) -> str:
    """The option of a bundle that takes a value, with what of the value is in the word; "" none."""
    for position, letter in enumerate(word[1:], 1):
        options.add(f"-{letter}")
        if program == "sed" and letter == "i":  # -i.bak: the rest is a suffix
            return ""
        if letter in _VALUED[program]:
            return f"-{word[position:]}"
    return ""


def _absolute(path: str, cwd: str) -> str:
    """A path from the root; what `.` and a slash at the end say to rm and cp is kept."""
    if not path or path == "-" or path.startswith("/"):
        return path
    full = f"{cwd.rstrip('/')}/{path}"
    if basename(path.rstrip("/")) in (".", ".."):
        return full
    return normalise(full) + ("/" if path.endswith("/") else "")


def _dd(word: str, cwd: str) -> str:
    key, equals, path = word.partition("=")
    return f"{key}={_absolute(path, cwd)}" if equals and key in ("if", "of") else word
