"""What a shell line is made of: words, redirections, commands. Values only; shell.py makes them.

Every type is frozen and hashable, so that a parsed line can be cached and shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from llmkit.errors import DomainError


class ShellSyntaxError(DomainError):
    """A text that is not a shell line, or one whose grammar is not read here.

    `offset` counts characters from the start of the text (of the innermost nested script).
    """

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"{reason} (at character {offset + 1})")
        self.reason, self.offset = reason, offset


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stands for itself; `quoted` text is neither split nor a pattern."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`, `${name}` or `${name OPERATOR argument}`. `operator` is "" for the plain forms,
    "length" for `${#name}` and the characters as written (":-", "%%", …) for the others."""

    name: str
    operator: str = ""
    argument: Word | None = None
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class CommandSub:
    """`$(script)` or `` `script` ``."""

    script: Script
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class ProcessSub:
    """`<(script)` (direction "<") or `>(script)`."""

    script: Script
    direction: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`$((raw))`. `words` holds what is expanded within it (command substitutions run)."""

    raw: str
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Glob:
    """An unquoted `*`, `?` or `[…]`."""

    text: str


@dataclass(frozen=True, slots=True)
class Brace:
    """`{a,b}` or `{1..3}`: the alternatives in order."""

    alternatives: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Tilde:
    """An unquoted `~` or `~user` that bash expands."""

    text: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A piece that is read over and never evaluated: an array, a bracket pattern with quotes in
    it, a brace sequence of more than 256 items. `words` are the words within it."""

    raw: str
    words: tuple[Word, ...] = ()


Part: TypeAlias = (
    Literal | Variable | CommandSub | ProcessSub | Arithmetic | Glob | Brace | Tilde | Opaque
)


@dataclass(frozen=True, slots=True)
class Word:
    """One shell word. `text` is its value when it is plain text, whatever the machine."""

    parts: tuple[Part, ...]
    raw: str
    text: str | None = None
    nested: bool = False  # holds a command or process substitution somewhere
    globs: bool = False  # holds a Glob, or an unquoted variable that might


@dataclass(frozen=True, slots=True)
class Redirect:
    """One redirection. `heredoc` is the body of `<<` (and `target` its delimiter's word)."""

    operator: str  # > >> < <<< << <<- >& <& &> &>> >| <> ; ">&-" and "<&-" close
    fd: int | None = None
    target: Word | None = None
    heredoc: Word | None = None


@dataclass(frozen=True, slots=True)
class Simple:
    """Assignments, words, redirections: `A=1 sgdisk -p /dev/sda > x`."""

    assignments: tuple[tuple[str, Word], ...] = ()
    words: tuple[Word, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    nested: bool = False  # some word or redirection holds a substitution


@dataclass(frozen=True, slots=True)
class Pipeline:
    commands: tuple[Node, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class AndOr:
    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Commands in order; the flag says that `&` follows."""

    items: tuple[tuple[Node, bool], ...]


@dataclass(frozen=True, slots=True)
class Subshell:
    body: Sequence
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """`{ …; }`, and any other compound command that carries redirections."""

    body: Sequence
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class If:
    clauses: tuple[tuple[Sequence, Sequence], ...]
    otherwise: Sequence | None = None


@dataclass(frozen=True, slots=True)
class For:
    """`for` and `select`. `words` is None without `in`: the positional parameters."""

    variable: str
    words: tuple[Word, ...] | None
    body: Sequence
    select: bool = False


@dataclass(frozen=True, slots=True)
class While:
    condition: Sequence
    body: Sequence
    until: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """`arms`: (patterns, body, terminator), the terminator being ";;", ";&" or ";;&"."""

    word: Word
    arms: tuple[tuple[tuple[Word, ...], Sequence, str], ...]


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    body: Node


@dataclass(frozen=True, slots=True)
class Test:
    """`[[ raw ]]` or `(( raw ))`. `words` are the words within `[[ ]]`, or what is expanded
    within `(( ))`."""

    raw: str
    words: tuple[Word, ...] = ()
    arithmetic: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Valid, but of a kind that is not evaluated (`coproc`)."""

    raw: str


Node: TypeAlias = (
    Simple
    | Pipeline
    | AndOr
    | Sequence
    | Subshell
    | Group
    | If
    | For
    | While
    | Case
    | Function
    | Test
    | Unknown
)


@dataclass(frozen=True, slots=True)
class Script:
    """A whole text."""

    body: Sequence
    text: str
