"""Shell text → a tree of commands, on tree-sitter-bash.

    >>> from llmkit.installer.shell import parse
    >>> parse("sgdisk -Z /dev/sda && sync").body.items[0][0].rest[0][1].words[0].text
    'sync'

tree-sitter gives the grammar (which command, which list, which loop); the words between are read by
shell_words.py, character by character as bash does, and both must agree on where each word ends.
Its precedence is not used: lists and pipelines are laid flat and grouped again here.

Covered: lists, pipelines, `!`, subshells, groups, if/for/select/while/until/case, C-style for,
functions, `[[ ]]`, `(( ))`, all redirections, here-documents and here-strings, comments,
continuations, every kind of quoting, brace expansion, substitutions.

Refused although bash takes them: a here-document that the end of the text ends, `{fd}>`, a lone
`!`, `time` before a compound command, `$[ ]`, `case` with unbalanced `)` within `$( )`, control
characters other than tab and newline, more than 64 KiB, nesting deeper than 40. `coproc` is
`Unknown`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from llmkit.installer.shell_ast import (
    AndOr,
    Arithmetic,
    Brace,
    Case,
    CommandSub,
    For,
    Function,
    Glob,
    Group,
    If,
    Literal,
    Node,
    Opaque,
    Part,
    Pipeline,
    ProcessSub,
    Redirect,
    Script,
    Sequence,
    ShellSyntaxError,
    Simple,
    Subshell,
    Test,
    Tilde,
    Unknown,
    Variable,
    While,
    Word,
)
from llmkit.installer.shell_build import NOT_ASCII, Builder
from llmkit.installer.shell_scan import Prepared, prepare
from llmkit.installer.shell_words import MAX_DEPTH

__all__ = [
    "AndOr", "Arithmetic", "Brace", "Case", "CommandSub", "For", "Function", "Glob", "Group", "If",
    "Literal", "Node", "Opaque", "Part", "Pipeline", "ProcessSub", "Redirect", "Script",
    "Sequence", "ShellSyntaxError", "Simple", "Subshell", "Test", "Tilde", "Unknown", "Variable",
    "While", "Word", "parse",
]  # fmt: skip

MAX_LENGTH = 65536
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_ODD = re.compile(r"(?<=[^\s;&|<>()])#|(?<!&)-|[+*?~%^@:,.]")  # no part of the grammar in words


def parse(text: str) -> Script:
    """The tree of a shell text (results are cached).

    Raises:
        ShellSyntaxError: control characters, unbalanced quotes, not bash's grammar, or one of the
            forms that the module's docstring lists.
    """
    return _parse(text, 0)


@lru_cache(maxsize=8192)
def _parse(text: str, depth: int) -> Script:
    if depth > MAX_DEPTH:
        raise ShellSyntaxError("nested too deep")
    if len(text) > MAX_LENGTH:
        raise ShellSyntaxError(f"longer than {MAX_LENGTH} characters")
    bad = _CONTROL.search(text)
    if bad:
        raise ShellSyntaxError(f"a control character (U+{ord(bad.group()):04X})", bad.start())
    if "<<" in text or "\\\n" in text or "<>" in text:
        return Builder(prepare(text), depth, _parse).script(text)
    masked = text if text.isascii() else NOT_ASCII.sub("x", text)
    try:
        return Builder(Prepared(text, masked), depth, _parse).script(text)
    except ShellSyntaxError as error:  # tree-sitter trips over some words: cover them, try again
        covered = prepare(text)
        covered.masked = _ODD.sub("x", covered.masked)
        if covered.masked == masked:
            raise
        try:
            return Builder(covered, depth, _parse).script(text)
        except ShellSyntaxError:
            raise error from None
