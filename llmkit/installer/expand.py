"""Words → argument vectors, as bash expands them.

    >>> expand_words(parse('mkfs.ext4 "$D"1').body.items[0][0].words, Scope({"D": "/dev/sda"}, None))

Order and rules are bash(1)'s: braces, tilde, parameters, substitutions, arithmetic, word splitting,
patterns. What cannot be known is opaque (`text` is None), never guessed: a variable that the line
did not set, a substitution whose output is not known, a pattern over paths other than devices.

Known: `$x` and `${x}` set in the line, `:-` `-` `:=` `=` `:+` `+` `:?` `?`, `${#x}`, `$1`, `$@`,
`$*`, `$#`, `$?` after a command whose status is known; `$(( ))` over integers and `+ - * / % ( )`;
`~` and `$HOME` are /root, since an installer's shell is root's. Opaque: other `${…}` operators,
arrays, `~user`, anything split by an IFS that the line changed.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

from llmkit.installer.expand_glob import Segment, expand_pattern
from llmkit.installer.shell_ast import (
    Arithmetic,
    Brace,
    CommandSub,
    Glob,
    Literal,
    Opaque,
    Part,
    ProcessSub,
    Tilde,
    Variable,
    Word,
)
from llmkit.installer.state import SystemState

HOME = "/root"
MAX_WORDS = 1024
_DYNAMIC = frozenset((  # bash gives these values of its own, whatever the line assigned
    "RANDOM", "SRANDOM", "SECONDS", "LINENO", "EPOCHSECONDS", "EPOCHREALTIME", "BASHPID", "_",
    "BASH_COMMAND", "FUNCNAME", "DIRSTACK", "GROUPS", "HISTCMD", "OLDPWD", "UID", "EUID", "PPID",
    "BASH_SUBSHELL", "COMP_WORDBREAKS", "OPTIND", "OPTARG",
))  # fmt: skip
_ACTIVE = re.compile(r"[*?\[]")
_OPTION = re.compile(r"--?[A-Za-z][\w-]*[=/]")  # before a pattern: an option with a value
_SPACE = " \t\n"
_INTEGER = re.compile(r"(?<![0-9A-Za-z_])(?:0|[1-9][0-9]{0,17})(?![0-9A-Za-z_])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


LONGEST = 1 << 16  # characters of a value that is followed: `x=$x$x` in a loop doubles it each turn


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET = _Unset()  # a variable that the line unset: known to have no value


@dataclass(frozen=True, slots=True)
class Expanded:
    """One word of an argument vector. Opaque: `text` is None, and `fragments` keeps what is known
    ("/dev/", None). An opaque word with `many` may stand for any number of words. `pattern` is the
    text of a pattern whose matches are not known: it matches names within its directory only."""

    text: str | None
    fragments: tuple[str | None, ...]
    many: bool = False
    pattern: str | None = None

    def __str__(self) -> str:
        return "".join("…" if piece is None else piece for piece in self.fragments)


@lru_cache(maxsize=4096)
def known(text: str) -> Expanded:
    """A word whose text is known."""
    return Expanded(text, (text,))


OPAQUE = Expanded(None, (None,), True)


@dataclass(slots=True)
class Scope:
    """What expansion needs to know. `env` maps a name to its value; None: opaque; a name that is
    not there: opaque too, for the line inherits an environment that we do not see. `captured`
    maps id(part) of each substitution that was run to its output."""

    env: Mapping[str, Any]
    state: SystemState | None
    captured: Mapping[int, str | None] = field(default_factory=dict)
    status: int | None = None


@lru_cache(maxsize=8192)
def normalise(path: str) -> str:
    """`path` without `//`, `.` and `..`, lexically: /dev/../dev/./sda → /dev/sda."""
    if not path:
        return path
    path = posixpath.normpath(path)
    return path[1:] if path.startswith("//") else path


def expand_words(words: Sequence[Word], scope: Scope) -> tuple[Expanded, ...]:
    """The argument vector of a command's words."""
    out: list[Expanded] = []
    for word in words:
        if word.text is not None:
            out.append(known(word.text))
        else:
            out.extend(_expand(word, scope))
    return tuple(out)


def expand_text(word: Word, scope: Scope) -> Expanded:
    """One word without splitting and patterns: an assignment's value, a here-document."""
    if word.text is not None:
        return known(word.text)
    pieces: list[str | None] = []
    for part in word.parts:
        if isinstance(part, Brace):  # not expanded here, and its text is not kept
            pieces.append(None)
        elif isinstance(part, Variable) and part.name in "@*" and part.operator == "":
            values: Any = scope.env.get("@")
            known_values = values is not None and all(v.text is not None for v in values)
            default = "IFS" not in scope.env
            pieces.append(" ".join(v.text for v in values) if known_values and default else None)
        else:
            pieces.append(_value(part, scope))
    return _word([(piece, False) for piece in pieces])


def _word(segments: Sequence[Segment], *, many: bool = False) -> Expanded:
    """A word of segments, neighbours joined."""
    fragments: list[str | None] = []
    for text, _ in segments:
        if text is None:
            if not fragments or fragments[-1] is not None:
                fragments.append(None)
        elif fragments and fragments[-1] is not None:
            fragments[-1] += text
        elif text:
            fragments.append(text)
    if None in fragments:
        return Expanded(None, tuple(fragments), many)
    if sum(len(piece or "") for piece in fragments) > LONGEST:
        return Expanded(None, (None,), many)
    return known("".join(piece or "" for piece in fragments))


def _alternatives(parts: Sequence[Part]) -> list[tuple[Part, ...]] | None:
    """Brace expansion: every combination, first brace slowest. None: more than MAX_WORDS."""
    if not any(isinstance(part, Brace) for part in parts):
        return [tuple(parts)]
    choices: list[list[tuple[Part, ...]]] = []
    count = 1
    for part in parts:
        if isinstance(part, Brace):
            options: list[tuple[Part, ...]] = []
            for word in part.alternatives:
                inner = _alternatives(word.parts)
                if inner is None:
                    return None
                options.extend(inner)
            choices.append(options)
            count *= len(options)
            if count > MAX_WORDS:
                return None
        else:
            choices.append([(part,)])
    return [tuple(p for group in combination for p in group) for combination in product(*choices)]


def _expand(word: Word, scope: Scope) -> list[Expanded]:
    alternatives = _alternatives(word.parts)
    if alternatives is None:
        return [OPAQUE]
    out: list[Expanded] = []
    for parts in alternatives:
        for segments, many in _fields(parts, scope):
            if not any(active for _, active in segments):
                out.append(_word(segments, many=many))
            elif many or any(text is None for text, _ in segments):
                out.append(_word([(None if a else t, a) for t, a in segments], many=True))
            else:
                out.extend(_match(segments, scope))
        if len(out) > MAX_WORDS:
            return [OPAQUE]
    return out


def _match(segments: list[Segment], scope: Scope) -> list[Expanded]:
    found = None
    if scope.state is not None and scope.env.get("\0glob", True):
        found = expand_pattern(segments, scope.state)
    if found is None:
        fragments = _word([(None if active else text, active) for text, active in segments])
        pattern = "".join(text or "" for text, _ in segments)
        if _OPTION.match(pattern) and scope.env.get("\0glob", True):
            return [known(pattern)]  # --exclude=/dev/*: no file is called so, and bash leaves it
        return [Expanded(None, fragments.fragments, True, pattern)]
    return [known(path) for path in found]


def _fields(parts: Sequence[Part], scope: Scope) -> list[tuple[list[Segment], bool]]:
    """Word splitting: the fields that one brace-free word becomes, and whether each may be many."""
    fields: list[tuple[list[Segment], bool]] = []
    current: list[Segment] = []
    exists, many = False, False

    def close() -> None:
        nonlocal current, exists, many
        if exists:
            fields.append((current, many))
        current, exists, many = [], False, False

    for part in parts:
        if isinstance(part, Literal):
            current.append((part.text, False))
            exists = True
        elif isinstance(part, Glob):
            current.append((part.text, True))
            exists = True
        elif isinstance(part, Variable) and part.name in ("@", "*") and part.operator == "":
            values: Any = scope.env.get("@")
            if values is None or "IFS" in scope.env:
                current.append((None, False))
                exists = many = True
            elif part.quoted and part.name == "*":
                pieces = [v.text for v in values]
                text = None if None in pieces else " ".join(pieces)
                current.append((text, False))
                exists = True
            else:
                for position, value in enumerate(values):
                    if position:
                        close()
                    if value.text is None or not part.quoted and _plain(value.text) is None:
                        current.append((None, False))
                        many = many or value.many or not part.quoted
                    else:
                        current.append((value.text, False))
                    exists = exists or part.quoted or value.text != ""
        elif isinstance(part, Variable | CommandSub) and not part.quoted:
            text = _value(part, scope)
            if text is not None and "IFS" in scope.env:
                separators = scope.env["IFS"]
                if not isinstance(separators, str) or any(c in separators + _SPACE for c in text):
                    text = None
            if text is None:
                current.append((None, False))
                exists = many = True
                continue
            if text[:1] in _SPACE and text:
                close()
            pieces = text.split()
            for position, piece in enumerate(pieces):
                if position:
                    close()
                if _ACTIVE.search(piece) or "\\" in piece:
                    # a pattern in a value: only the simple kind is looked up
                    current.extend(_pattern_pieces(piece))
                else:
                    current.append((piece, False))
                exists = True
            if text[-1:] in _SPACE and text:
                close()
        else:
            text = _value(part, scope)
            if isinstance(part, ProcessSub):
                current.append(("/dev/fd/", False))
            if isinstance(part, Opaque):
                many = True
            current.append((text, False))
            exists = True
    close()
    return fields


def _plain(text: str) -> str | None:
    return text if text and not re.search(r"[^A-Za-z0-9/_.+=-]", text) else None


def _pattern_pieces(piece: str) -> list[Segment]:
    if "\\" in piece:
        return [(None, False)] if _ACTIVE.search(piece) else [(piece, False)]
    if "[" in piece:
        return [(None, False)] if "]" in piece or re.search(r"[*?]", piece) else [(piece, False)]
    return [(bit, bit in "*?") for bit in re.split(r"([*?])", piece) if bit]


def _value(part: Part, scope: Scope) -> str | None:
    """The text of one part, neither split nor matched."""
    match part:
        case Literal(text=text) | Glob(text=text):
            return text
        case Variable():
            return _variable(part, scope)
        case CommandSub():
            output = scope.captured.get(id(part))
            return None if output is None else output.rstrip("\n")
        case Tilde(text="~"):
            return lookup("HOME", scope)
        case Tilde(text="~root"):
            return HOME
        case Arithmetic():
            return _arithmetic(part, scope)
    return None


def lookup(name: str, scope: Scope) -> str | None:
    """A variable's value: None is opaque, and an unset one is "" (see UNSET)."""
    if name in _DYNAMIC or name in scope.env.get("\0odd", ()):
        return None
    value = scope.env.get(name)
    if value is UNSET:
        return ""
    if value is None and name == "HOME" and "HOME" not in scope.env:
        return HOME
    if name == "?":
        return None if scope.status is None else str(scope.status)
    return value if isinstance(value, str) and len(value) <= LONGEST else None


def _variable(part: Variable, scope: Scope) -> str | None:
    name, operator = part.name, part.operator
    if operator == "" and name in ("@", "*"):
        return None
    positional = name.isdigit() and name != "0" or name == "#"
    if positional:
        arguments = scope.env.get("@")
        if arguments is None or any(a.many for a in arguments):
            return None
        if name == "#":
            return str(len(arguments)) if operator == "" else None
        is_set = int(name) <= len(arguments)
        value = arguments[int(name) - 1].text if is_set else ""
        certain = not is_set or value is not None
    else:
        raw = scope.env.get(name)
        if name in _DYNAMIC or name in scope.env.get("\0odd", ()):
            raw = None
        certain = raw is UNSET or isinstance(raw, str)
        is_set = isinstance(raw, str)
        value = lookup(name, scope)
        if name in ("HOME", "?") and value is not None:
            certain, is_set = True, True
    if operator == "":
        return value
    if not certain:
        return None
    if operator == "length":
        return None if value is None else str(len(value))
    if operator.lstrip(":") not in ("-", "=", "+", "?") or part.argument is None:
        return None
    chosen = is_set and not (operator.startswith(":") and value == "")
    if operator.endswith("+"):
        return expand_text(part.argument, scope).text if chosen else ""
    if chosen:
        return value
    if operator.endswith(("?", "=")):  # ends the shell; assigns
        return None
    return expand_text(part.argument, scope).text


def assigned(word: Word) -> list[str]:
    """Variables that expanding a word may set: `${x:=…}`, `$((x=…))`, `$((x++))`."""
    if word.text is not None or not ("${" in word.raw or "$((" in word.raw):
        return []
    names: list[str] = []

    def visit(parts: Sequence[Part]) -> None:
        for part in parts:
            match part:
                case Variable(name=name, operator=operator, argument=argument):
                    if operator in ("=", ":="):
                        names.append(name)
                    if argument is not None:
                        visit(argument.parts)
                case Arithmetic(raw=raw):
                    if "=" in raw or "++" in raw or "--" in raw:
                        names.extend(_NAME.findall(raw))
                case Brace(alternatives=words) | Opaque(words=words):
                    for item in words:
                        visit(item.parts)

    visit(word.parts)
    return names


def _arithmetic(part: Arithmetic, scope: Scope) -> str | None:
    """Integers, + - * / % and parentheses. Anything else is opaque."""
    text = expand_text(part.words[0], scope).text if part.words else part.raw
    if text is None or len(text) > 100:
        return None

    def value(match: re.Match[str]) -> str:
        found = lookup(match.group(), scope)
        return found if found is not None and _INTEGER.fullmatch(found) else "@"

    text = _NAME.sub(value, text.strip())
    bare = _INTEGER.sub("", text)
    if not text or re.search(r"[^+\-*/%() \t]", bare) or re.search(r"\*\*|//|\+\+|--", bare):
        return None
    try:
        number = _calculate(ast.parse(text, mode="eval").body)
    except (SyntaxError, ArithmeticError, ValueError):
        return None
    return str(number) if -(2**63) <= number < 2**63 else None


def _calculate(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_calculate(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _calculate(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = _calculate(left), _calculate(right)
            if isinstance(operator, ast.Add):
                return a + b
            if isinstance(operator, ast.Sub):
                return a - b
            if isinstance(operator, ast.Mult):
                return a * b
            quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # towards zero, as in C
            if isinstance(operator, ast.Div):
                return quotient
            if isinstance(operator, ast.Mod):
                return a - quotient * b
    raise ValueError("not integer arithmetic")
