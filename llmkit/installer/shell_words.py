"""One shell word, as bash reads it: quotes, escapes, expansions, braces, patterns.

`WordReader(text, depth, parse).word(i)` reads the word that starts at `i` and gives it with the
position after it. What is only read over, and never evaluated, becomes `Opaque`: arrays, bracket
patterns that hold quotes or expansions, brace sequences of more than 256 items.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from llmkit.installer.shell_ast import (
    Arithmetic,
    Brace,
    CommandSub,
    Glob,
    Literal,
    Opaque,
    Part,
    ProcessSub,
    Script,
    ShellSyntaxError,
    Tilde,
    Variable,
    Word,
)
from llmkit.installer.shell_scan import (
    META,
    skip_ansi,
    skip_backtick,
    skip_brace,
    skip_paren,
    skip_single,
)

MAX_SEQUENCE = 256
MAX_DEPTH = 40
ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\[[^\[\]\s'\"\\`(){}]*\])?(\+?)=")
SIMPLE_WORD = re.compile(r"[A-Za-z0-9_/.:+@%^,!\-][A-Za-z0-9_/.:=+@%^,!#\-]*")
_PLAIN = re.compile(r"[^ \t\n;&|<>()'\"\\$`*?\[{},~]+")
_DOUBLE_PLAIN = re.compile(r"[^\"\\$`]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#?!$\-]")
_BRACE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?!$\-]")
_OPERATOR = re.compile(r":[-=+?]|[-=+?]|##?|%%?|//?|\^\^?|,,?|@|:")
_BRACKET = re.compile(r"\[[!^]?\]?[^\]\s'\"\\$`{}/;&|<>()\[]*\]")
_TILDE = re.compile(r"~([A-Za-z0-9_.+\-]*)(?=[/:]|$|[ \t\n;&|<>()])")
_NUMBERS = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:\.\.(-?\d+))?")
_ESCAPES = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "v": "\v", "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip
_HEX = re.compile(r"x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})")


class _Mark(str):
    """An unquoted `{`, `,` or `}`, until `_braces` has paired them."""

    __slots__ = ()


_OPEN, _COMMA, _CLOSE = _Mark("{"), _Mark(","), _Mark("}")


def plain_word(text: str) -> Word:
    """A word that is plain text."""
    return Word((Literal(text),), text, text)


class WordReader:
    """Reads words out of one text. `parse(text, depth)` parses a nested script."""

    def __init__(self, text: str, depth: int, parse: Callable[[str, int], Script]) -> None:
        if depth > MAX_DEPTH:
            raise ShellSyntaxError("nested too deep")
        self.text, self.depth, self.parse = text, depth, parse
        self._bare: set[int] = set()  # id() of variables written without { }

    def word(self, start: int) -> tuple[Word, int]:
        """The word that starts at `start`, and the position after it."""
        match = SIMPLE_WORD.match(self.text, start)
        if match and (match.end() == len(self.text) or self.text[match.end()] in META):
            return plain_word(match.group()), match.end()
        items, end = self._items(start, len(self.text), META)
        return self._finish(items, self.text[start:end]), end

    def value(self, start: int, end: int) -> Word:
        """The value of an assignment: no braces, tildes after `=` and `:`; `(…)` is an array."""
        if self.text.startswith("(", start):
            if self.text[end - 1] != ")":
                raise ShellSyntaxError("an array is not closed", start)
            words = tuple(self.words(start + 1, end - 1, newlines=True))
            raw = self.text[start:end]
            return Word((Opaque(raw, words),), raw, nested=any(w.nested for w in words))
        items, stop = self._items(start, end, META, tilde_colon=True)
        if stop != end:
            raise ShellSyntaxError("an assignment's value is not one word", stop)
        raw = self.text[start:end]
        return self._finish(items, raw, braces=False)

    def words(self, start: int, end: int, *, newlines: bool = False) -> list[Word]:
        """Every word between two positions, which hold nothing but words and blanks."""
        out: list[Word] = []
        i = start
        blank = " \t\n" if newlines else " \t"
        while True:
            while i < end and self.text[i] in blank:
                i += 1
            if i < end and newlines and self.text[i] == "#":
                stop = self.text.find("\n", i, end)
                i = end if stop < 0 else stop
                continue
            if i >= end:
                return out
            match = ASSIGNMENT.match(self.text, i)
            if match and self.text.startswith("(", match.end()):  # declare -a x=(…)
                stop = skip_paren(self.text, match.end(), self.depth)
                if stop > end:
                    raise ShellSyntaxError("an array is not closed", i)
                inner = tuple(self.words(match.end() + 1, stop - 1, newlines=True))
                raw = self.text[i:stop]
                prefix = Literal(match.group())
                nested = any(w.nested for w in inner)
                word = Word((prefix, Opaque(raw, inner)), raw, nested=nested)
            else:
                word, stop = self.word(i)
                if stop == i or stop > end:
                    raise ShellSyntaxError(f"unexpected {self.text[i]!r}", i)
            if newlines and "[" in word.raw and "]" not in word.raw:
                raise ShellSyntaxError("a [ is not closed", i)
            out.append(word)
            i = stop

    def here_document(self, body: str) -> Word:
        """An unquoted here-document's body."""
        reader = WordReader(body, self.depth, self.parse)
        items, _ = reader._double(0, closing="")
        return reader._finish(items or [Literal("", True)], body, braces=False)

    # -- pieces ------------------------------------------------------------------------------

    def _items(
        self, i: int, end: int, stops: str, *, tilde_colon: bool = False
    ) -> tuple[list[Part | _Mark], int]:
        """Unquoted text up to an unquoted character of `stops`."""
        items: list[Part | _Mark] = []
        text, first, braces = self.text, i, 0
        assignment = ASSIGNMENT.match(text, i)
        while i < end:
            char = text[i]
            if char in stops and not (char in "<>" and text.startswith("(", i + 1)):
                break
            match = _PLAIN.match(text, i, end)
            if match:
                items.append(Literal(match.group()))
                i = match.end()
                continue
            if char == "'":
                stop = skip_single(text, i)
                items.append(Literal(text[i + 1 : stop - 1], True))
                i = stop
            elif char == '"':
                parts, i = self._double(i + 1)
                items.extend(parts or [Literal("", True)])
            elif char == "\\":
                if i + 1 >= end:
                    items.append(Literal("\\", True))
                elif text[i + 1] != "\n":
                    items.append(Literal(text[i + 1], True))
                i += 2
            elif char == "$":
                parts, i = self._dollar(i, quoted=False)
                items.extend(parts)
            elif char == "`":
                part, i = self._backtick(i, quoted=False)
                items.append(part)
            elif char in "<>":
                if not text.startswith("(", i + 1):  # within ${…}, where META does not end a word
                    items.append(Literal(char))
                    i += 1
                    continue
                stop = skip_paren(text, i + 1, self.depth)
                script = self.parse(text[i + 2 : stop - 1], self.depth + 1)
                items.append(ProcessSub(script, char))
                i = stop
            elif char in "*?":
                items.append(Glob(char))
                i += 1
            elif char == "[":
                part, i = self._bracket(i, end, braces)
                items.append(part)
            elif char == "~":
                before = text[i - 1] if i > first else ""
                value = (
                    tilde_colon
                    and before in ("", ":")
                    or (assignment is not None and (i == assignment.end() or before == ":"))
                )
                tilde = _TILDE.match(text, i, end) if i == first or value else None
                if assignment is not None and before == "=" and not value:
                    items.append(Opaque("~"))  # X=~X=~: bash expands the last one only
                    i += 1
                    continue
                items.append(Tilde(tilde.group()) if tilde else Literal("~"))
                i = tilde.end() if tilde else i + 1
            elif char in "{},":
                items.append({"{": _OPEN, "}": _CLOSE, ",": _COMMA}[char])
                braces += {"{": 1, "}": -1, ",": 0}[char]
                i += 1
            else:  # a metacharacter where those do not end the word, as within ${…}
                items.append(Literal(char))
                i += 1
        return items, i

    def _bracket(self, i: int, end: int, braces: int) -> tuple[Part, int]:
        match = _BRACKET.match(self.text, i, end)
        if match and ("," not in match.group() or braces == 0):
            return Glob(match.group()), match.end()
        stop = i + 1
        while stop < end and self.text[stop] not in META:
            if self.text[stop] == "]":  # it might be a pattern: say nothing about it
                return Opaque("["), i + 1
            stop += 1
        return Literal("["), i + 1

    def _double(self, i: int, closing: str = '"') -> tuple[list[Part], int]:
        """Text in double quotes after the opening one (closing "": a here-document's body)."""
        parts: list[Part] = []
        text = self.text
        while i < len(text):
            char = text[i]
            if char == closing:
                return parts, i + 1
            match = _DOUBLE_PLAIN.match(text, i)
            if match:
                parts.append(Literal(match.group(), True))
                i = match.end()
            elif char == "\\":
                follow = text[i + 1 : i + 2]
                if follow == "\n":
                    pass
                elif follow and follow in "$`\\" or (follow == '"' and closing):
                    parts.append(Literal(follow, True))
                else:
                    parts.append(Literal("\\" + follow, True))
                i += 2
            elif char == "$":
                found, i = self._dollar(i, quoted=True)
                parts.extend(found)
            elif char == "`":
                part, i = self._backtick(i, quoted=True)
                parts.append(part)
            else:  # a double quote within a here-document
                parts.append(Literal(char, True))
                i += 1
        if closing:
            raise ShellSyntaxError("a double quote is not closed", i)
        return parts, i

    def _backtick(self, i: int, quoted: bool) -> tuple[Part, int]:
        stop = skip_backtick(self.text, i)
        escaped = '\\\\([$`\\\\"])' if quoted else r"\\([$`\\])"
        inner = re.sub(escaped, r"\1", self.text[i + 1 : stop - 1])
        return CommandSub(self.parse(inner, self.depth + 1), quoted), stop

    def _dollar(self, i: int, quoted: bool) -> tuple[list[Part], int]:
        """`i` on a `$`."""
        text = self.text
        follow = text[i + 1 : i + 2]
        if follow == "(":
            stop = skip_paren(text, i + 1, self.depth)
            if text.startswith("((", i + 1) and text[stop - 2 : stop] == "))":
                inner = text[i + 3 : stop - 2]
                if _balanced(inner):
                    return [Arithmetic(inner, (self.over(inner),))], stop
            script = self.parse(text[i + 2 : stop - 1], self.depth + 1)
            return [CommandSub(script, quoted)], stop
        if follow == "{":
            stop = skip_brace(text, i + 1, self.depth, in_double=quoted)
            return [self._parameter(text[i + 2 : stop - 1], i, quoted)], stop
        if follow == "[":
            raise ShellSyntaxError("$[ … ] is not read; write $(( … ))", i)
        if follow == "'" and not quoted:
            stop = skip_ansi(text, i)
            decoded = ansi(text[i + 2 : stop - 1])
            part = Opaque(text[i:stop]) if decoded is None else Literal(decoded, True)
            return [part], stop
        if follow == '"' and not quoted:
            parts, stop = self._double(i + 2)
            return parts or [Literal("", True)], stop
        name = _NAME.match(text, i + 1)
        if name:
            variable = Variable(name.group(), "", None, quoted)
            if not quoted and len(name.group()) > 1 or name.group().isalpha():
                self._bare.add(id(variable))
            return [variable], name.end()
        return [Literal("$", quoted)], i + 1

    def over(self, inner: str) -> Word:
        """Text that is expanded as if in double quotes (arithmetic)."""
        reader = WordReader(inner, self.depth + 1, self.parse)
        items, _ = reader._double(0, closing="")
        return reader._finish(items, inner, braces=False)

    def _parameter(self, inner: str, offset: int, quoted: bool) -> Part:
        """What stands between `${` and `}`."""
        if inner.startswith("#") and len(inner) > 1:
            name = _BRACE_NAME.fullmatch(inner, 1)
            if name:
                return Variable(name.group(), "length", None, quoted)
        match = None if inner[:1] == "#" and len(inner) > 1 else _BRACE_NAME.match(inner)
        if not match:
            if re.match(r"[#!][A-Za-z_0-9@*]", inner):  # ${!x}, ${#a[@]}
                return Variable(inner, "other", self._argument(inner[1:], quoted), quoted)
            raise ShellSyntaxError("a bad ${ … }", offset)
        rest = inner[match.end() :]
        if not rest:
            return Variable(match.group(), "", None, quoted)
        if inner[0] == "!" and rest[0] not in ":-=+?":
            return Variable(inner, "other", self._argument(inner[1:], quoted), quoted)
        if rest[0] == "[":  # an array element
            return Variable(match.group(), "other", self._argument(rest, quoted), quoted)
        operator = _OPERATOR.match(rest)
        if not operator:
            raise ShellSyntaxError("a bad ${ … }", offset)
        argument = self._argument(rest[operator.end() :], quoted)
        return Variable(match.group(), operator.group(), argument, quoted)

    def _argument(self, text: str, quoted: bool) -> Word:
        reader = WordReader(text, self.depth + 1, self.parse)
        items: list[Part | _Mark]
        if quoted:  # a double quote within is itself a quote: "${x:-"a b"}"
            items = list(reader._double(0, closing="")[0])
            if '"' in text or "'" in text:
                items = [Opaque(text, (reader._finish(items, text, braces=False),))]
        else:
            items, _ = reader._items(0, len(text), "")
        return reader._finish(items or [Literal("", quoted)], text, braces=False)

    def _finish(self, items: Sequence[Part | _Mark], raw: str, *, braces: bool = True) -> Word:
        if braces and _OPEN in items:
            made = _braces(self._textual(items), raw)
            if any(
                isinstance(part, Brace) or (isinstance(part, Opaque) and part.raw[0] == "{")
                for part in made
            ):
                return make_word(made, raw)
        return make_word([Literal(str(p)) if isinstance(p, _Mark) else p for p in items], raw)

    def _textual(self, items: Sequence[Part | _Mark]) -> list[Part | _Mark]:
        """Braces are expanded before anything else, as text: in `$A{b,c}` the variables are `Ab`
        and `Ac`, and `{~,x}/y` has a tilde to expand. Such pieces are not looked into."""
        out: list[Part | _Mark] = []
        for position, item in enumerate(items):
            if isinstance(item, Variable) and id(item) in self._bare:
                out.append(Opaque("$" + item.name) if _name_goes_on(items, position) else item)
            elif isinstance(item, Tilde) or item == Literal("~"):
                out.append(Opaque("~"))
            elif item == Literal("$") and isinstance((*items, "")[position + 1], _Mark):
                out.append(Opaque("$"))
            else:
                out.append(item)
        return out


def _name_goes_on(items: Sequence[Part | _Mark], position: int) -> bool:
    """Whether a character that braces put behind a variable might become part of its name."""
    level, j = 0, position + 1
    if j < len(items) and not isinstance(items[j], _Mark):
        return False
    while j < len(items):
        item = items[j]
        if item is _OPEN:
            if level == 0:
                return True
            level += 1
        elif item is _CLOSE and level:
            level -= 1
        elif item is _CLOSE:
            if j + 1 == len(items):
                return False
            after = items[j + 1]
            if isinstance(after, Literal) and not after.quoted:
                return after.text[0].isalnum() or after.text[0] == "_"
            if not isinstance(after, _Mark):
                return False
        elif item is _COMMA and level == 0:  # on to the brace that closes this alternative
            level_inner = 0
            while j + 1 < len(items):
                j += 1
                if items[j] is _OPEN:
                    level_inner += 1
                elif items[j] is _CLOSE:
                    if level_inner == 0:
                        j -= 1
                        break
                    level_inner -= 1
        j += 1
    return False


def _balanced(inner: str) -> bool:
    """Whether parentheses close in order, so that `$((a) + (b))` is not taken for arithmetic."""
    level = 0
    for char in inner:
        level += (char == "(") - (char == ")")
        if level < 0:
            return False
    return level == 0


def _nested(part: Part) -> bool:
    match part:
        case CommandSub() | ProcessSub():
            return True
        case Variable(argument=Word() as argument):
            return argument.nested
        case Brace(alternatives=words) | Arithmetic(words=words) | Opaque(words=words):
            return any(word.nested for word in words)
    return False


def _globs(part: Part) -> bool:
    match part:
        case Glob():
            return True
        case Variable(quoted=quoted) | CommandSub(quoted=quoted):
            return not quoted
        case Brace(alternatives=words):
            return any(word.globs for word in words)
    return False


def make_word(parts: list[Part], raw: str) -> Word:
    """A word of `parts`; neighbouring literals of the same kind become one."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(part, Literal) and isinstance(last, Literal) and part.quoted == last.quoted:
            merged[-1] = Literal(last.text + part.text, part.quoted)
        else:
            merged.append(part)
    if all(isinstance(part, Literal) for part in merged):
        return Word(tuple(merged), raw, "".join(part.text for part in merged))  # type: ignore[union-attr]
    if any(isinstance(part, Literal) and not part.quoted and "$" in part.text for part in merged):
        # bash does not split `$W` in `$W$`: a lone $ keeps the word whole
        merged = [
            Opaque(raw, (Word((part,), raw, None, _nested(part)),))
            if isinstance(part, Variable | CommandSub)
            and not part.quoted
            or isinstance(part, Brace)
            and _globs(part)
            else part
            for part in merged
        ]
    nested = any(_nested(part) for part in merged)
    return Word(tuple(merged), raw, None, nested, any(_globs(part) for part in merged))


def _braces(items: list[Part | _Mark], raw: str) -> list[Part]:
    """Pair `{`, `,` and `}` as bash does; what does not pair is plain text."""
    out: list[Part] = []
    i = 0
    while i < len(items):
        item = items[i]
        if item is not _OPEN:
            out.append(Literal(str(item)) if isinstance(item, _Mark) else item)
            i += 1
            continue
        close = _closing(items, i)
        if close is None:
            out.append(Literal("{"))
            i += 1
            continue
        inner = items[i + 1 : close]
        pieces = _split(inner)
        if len(pieces) > 1:
            words = tuple(make_word(_braces(piece, raw), raw) for piece in pieces)
            out.append(Brace(words))
            i = close + 1
        elif (sequence := _sequence(inner)) is not None:
            out.append(sequence)
            i = close + 1
        else:  # {a}, {}: the brace is text, and what follows is looked at anew
            out.append(Literal("{"))
            i += 1
    return out


def _closing(items: list[Part | _Mark], i: int) -> int | None:
    level = 0
    for j in range(i, len(items)):
        if items[j] is _OPEN:
            level += 1
        elif items[j] is _CLOSE:
            level -= 1
            if level == 0:
                return j
    return None


def _split(items: list[Part | _Mark]) -> list[list[Part | _Mark]]:
    pieces: list[list[Part | _Mark]] = [[]]
    level = 0
    for item in items:
        level += (item is _OPEN) - (item is _CLOSE)
        if item is _COMMA and level == 0:
            pieces.append([])
        else:
            pieces[-1].append(item)
    return pieces


def _sequence(inner: list[Part | _Mark]) -> Part | None:
    if not all(isinstance(item, Literal) and not item.quoted for item in inner):
        return None
    text = "".join(item.text for item in inner if isinstance(item, Literal))
    numbers, letters = _NUMBERS.fullmatch(text), _LETTERS.fullmatch(text)
    if not numbers and not letters:
        return None
    raw = "{" + text + "}"
    first, last, step = (numbers or letters).groups()  # type: ignore[union-attr]
    if len(text) > 40 or (letters and first.isupper() != last.isupper()):
        return Opaque(raw)  # {A..z} runs over punctuation, a backslash among it
    low, high = (int(first), int(last)) if numbers else (ord(first), ord(last))
    width = abs(int(step or 1)) or 1
    if abs(high - low) // width >= MAX_SEQUENCE:
        return Opaque(raw)
    values = range(low, high + 1, width) if high >= low else range(low, high - 1, -width)
    if letters:
        texts = [chr(value) for value in values]
    else:
        padded = any(len(n.lstrip("-")) > 1 and n.lstrip("-")[0] == "0" for n in (first, last))
        digits = max(len(first), len(last)) if padded else 0
        texts = [f"{value:0{digits}d}" for value in values]
    return Brace(tuple(plain_word(item) for item in texts))


def ansi(text: str) -> str | None:
    """What stands between `$'` and `'`, decoded. None: it makes bytes that are not ASCII."""
    out: list[str] = []
    i = 0
    while i < len(text):
        if text[i] != "\\" or i + 1 == len(text):
            out.append(text[i])
            i += 1
            continue
        char = text[i + 1]
        match = _HEX.match(text, i + 1)
        if match:
            hexadecimal = match.group(1) or match.group(2) or match.group(3)
            code = int(hexadecimal, 16) if hexadecimal else int(match.group(4), 8) & 0xFF
            if code == 0:  # ends the string, as in bash
                return "".join(out)
            if code > 0x7F:
                return None
            out.append(chr(code))
            i = match.end()
        elif char == "c":
            return None  # \cX: control characters, which no device name holds
        else:
            out.append(_ESCAPES.get(char, "\\" + char))
            i += 2
    return "".join(out)
