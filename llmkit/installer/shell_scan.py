"""Where things end in shell text: quotes, substitutions, here-documents.

`skip_*` take a text and the position of an opening, and give the position after its end. `prepare`
makes a text fit for tree-sitter-bash, which splits words at a backslash-newline, misreads several
here-documents on one line and rejects `<>`: continuations are joined, here-document bodies taken
out, and everything quoted or nested is covered with letters. The covered text has the same length
as the joined one, so that offsets in one hold in the other.

A `)` that does not close (a `case` pattern within `$( … )`) ends the substitution too early; what
is left does not parse, and the line is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llmkit.installer.shell_ast import ShellSyntaxError

BLANK = " \t"
META = " \t\n;&|<>()"  # ends an unquoted word


def skip_single(text: str, i: int) -> int:
    """After the closing quote; `i` stands on the opening one."""
    end = text.find("'", i + 1)
    if end < 0:
        raise ShellSyntaxError("a single quote is not closed", i)
    return end + 1


def skip_ansi(text: str, i: int) -> int:
    """`i` on the `$` of `$'…'`."""
    return _skip_escaped(text, i + 2, "'", "a $' quote", i)


def skip_double(text: str, i: int, depth: int = 0) -> int:
    """`i` on the opening double quote."""
    j = i + 1
    while j < len(text):
        char = text[j]
        if char == "\\":
            j += 2
        elif char == '"':
            return j + 1
        elif char == "`":
            j = skip_backtick(text, j)
        elif char == "$":
            j = skip_dollar(text, j, depth, in_double=True)
        else:
            j += 1
    raise ShellSyntaxError("a double quote is not closed", i)


def skip_backtick(text: str, i: int) -> int:
    """`i` on the opening backtick."""
    return _skip_escaped(text, i + 1, "`", "a backtick", i)


def _skip_escaped(text: str, j: int, closing: str, what: str, opened: int) -> int:
    """From `j` to behind `closing`; a backslash takes the next character with it."""
    while j < len(text):
        if text[j] == "\\":
            j += 2
        elif text[j] == closing:
            return j + 1
        else:
            j += 1
    raise ShellSyntaxError(f"{what} is not closed", opened)


def skip_dollar(text: str, i: int, depth: int = 0, *, in_double: bool = False) -> int:
    """`i` on a `$`: after the expansion's brackets, or after the `$` when it has none."""
    if depth > 40:
        raise ShellSyntaxError("nested too deep", i)
    follow = text[i + 1 : i + 2]
    if follow == "(":
        return skip_paren(text, i + 1, depth + 1)
    if follow == "{":
        return skip_brace(text, i + 1, depth + 1, in_double=in_double)
    if follow == "'" and not in_double:
        return skip_ansi(text, i)
    if follow == '"' and not in_double:
        return skip_double(text, i + 1, depth + 1)
    return i + 1


def skip_brace(text: str, i: int, depth: int = 0, *, in_double: bool = False) -> int:
    """`i` on the `{` of `${`."""
    j = i + 1
    if text[j : j + 1] == "#":  # ${#x}, ${#}
        j += 1
    while j < len(text):
        char = text[j]
        if char == "}":
            return j + 1
        if char == "\\":
            j += 2
        elif char == "'":  # pairs within double quotes too, outside of POSIX mode
            j = skip_single(text, j)
        elif char == '"':
            j = skip_double(text, j, depth)
        elif char == "`":
            j = skip_backtick(text, j)
        elif char == "$":
            j = skip_dollar(text, j, depth, in_double=in_double)
        elif text.startswith(("<(", ">("), j):
            j = skip_paren(text, j + 1, depth)
        else:
            j += 1
    raise ShellSyntaxError("a ${ is not closed", i)


def skip_paren(text: str, i: int, depth: int = 0) -> int:
    """`i` on a `(`: after the `)` that closes it, as a script within would be read."""
    if depth > 40:
        raise ShellSyntaxError("nested too deep", i)
    arithmetic = text.startswith("((", i)
    pending: list[Delimiter] = []
    level, j, fresh = 0, i, True  # fresh: a word may start here
    while j < len(text):
        char = text[j]
        was_fresh, fresh = fresh, char in META
        if char == "\\":
            j += 2
        elif char == "'":
            j = skip_single(text, j)
        elif char == '"':
            j = skip_double(text, j, depth)
        elif char == "`":
            j = skip_backtick(text, j)
        elif char == "$":
            j = skip_dollar(text, j, depth)
        elif char == "#" and was_fresh and not arithmetic:
            end = text.find("\n", j)
            j = len(text) if end < 0 else end
        elif char == "(":
            level, j = level + 1, j + 1
        elif char == ")":
            level, j = level - 1, j + 1
            if level == 0:
                if pending:
                    raise ShellSyntaxError("a here-document has no body", i)
                return j
        elif text.startswith("<<<", j):
            j += 3
        elif text.startswith("<<", j) and not arithmetic:
            j, delimiter = read_delimiter(text, j)
            pending.append(delimiter)
        elif char == "\n" and pending:
            j += 1
            for delimiter in pending:
                j, _ = read_body(text, j, delimiter)
            pending.clear()
        else:
            j += 1
    raise ShellSyntaxError("a parenthesis is not closed", i)


@dataclass(frozen=True, slots=True)
class Delimiter:
    """The word after `<<`."""

    text: str  # without quotes
    quoted: bool
    tabs: bool  # <<-: leading tabs are dropped
    start: int  # of the operator
    word: int  # where the word starts
    end: int


def read_delimiter(text: str, i: int) -> tuple[int, Delimiter]:
    """`i` on `<<`: (after the word, the delimiter)."""
    tabs = text.startswith("<<-", i)
    j = i + (3 if tabs else 2)
    while j < len(text) and (text[j] in BLANK or text.startswith("\\\n", j)):
        j += 2 if text[j] == "\\" else 1
    start, out, quoted = j, [], False
    while j < len(text) and text[j] not in META:
        char = text[j]
        if char in "'\"":
            quoted = True
            end = text.find(char, j + 1)
            if end < 0:
                raise ShellSyntaxError("a quote is not closed", j)
            out.append(text[j + 1 : end])
            if char == '"' and any(c in out[-1] for c in "\\$`"):
                raise ShellSyntaxError("a here-document's delimiter is not plain text", j)
            j = end + 1
        elif char == "\\":
            quoted = True
            out.append(text[j + 1 : j + 2])
            j += 2
        elif char in "$`":
            raise ShellSyntaxError("a here-document's delimiter is not plain text", j)
        else:
            out.append(char)
            j += 1
    if j == start or "\n" in "".join(out) or j > len(text):
        raise ShellSyntaxError("a here-document has no delimiter", i)
    return j, Delimiter("".join(out), quoted, tabs, i, start, j)


def read_body(text: str, i: int, delimiter: Delimiter) -> tuple[int, str]:
    """`i` at the start of the body: (after the delimiter's line, the body)."""
    lines: list[str] = []
    while i < len(text):
        line = ""
        while True:  # one line, joined over continuations unless the body is quoted
            end = text.find("\n", i)
            last = end < 0
            piece = text[i:] if last else text[i:end]
            i = len(text) if last else end + 1
            if delimiter.tabs and not line:
                piece = piece.lstrip("\t")
            line += piece
            backslashes = len(piece) - len(piece.rstrip("\\"))
            if delimiter.quoted or backslashes % 2 == 0 or last:
                break
            line = line[:-1]
        if line == delimiter.text:
            return i, "".join(lines)
        lines.append(line + "\n")
    raise ShellSyntaxError(f"the here-document {delimiter.text} does not end", delimiter.start)


@dataclass(slots=True)
class Prepared:
    """A text made ready. `operators` maps the offset of a covered operator to what stood there."""

    source: str
    masked: str
    operators: dict[int, str] = field(default_factory=dict)
    bodies: dict[int, tuple[Delimiter, str]] = field(default_factory=dict)  # by operator offset


def prepare(text: str) -> Prepared:
    """Join continuations, take out here-documents, cover what is quoted or nested."""
    source: list[str] = []
    masked: list[str] = []
    result = Prepared("", "")
    pending: list[tuple[int, Delimiter]] = []
    length = 0

    def put(piece: str, cover: str | None = None) -> None:
        nonlocal length
        source.append(piece)
        masked.append(piece if cover is None else cover)
        length += len(piece)

    i, fresh = 0, True
    while i < len(text):
        char = text[i]
        was_fresh, fresh = fresh, char in META
        if char == "\\":
            if text.startswith("\\\n", i):
                fresh = was_fresh
            else:
                put(text[i : i + 2], "x" * len(text[i : i + 2]))
            i += 2
            continue
        if char == "#" and was_fresh:
            end = text.find("\n", i)
            end = len(text) if end < 0 else end
            put(text[i:end], "#" + "x" * (end - i - 1))
            i = end
            continue
        if char == "\n":
            put(char)
            i += 1
            for offset, delimiter in pending:
                i, body = read_body(text, i, delimiter)
                result.bodies[offset] = (delimiter, body)
            pending.clear()
            continue
        end = i
        if char == "'":
            end = skip_single(text, i)
        elif char == '"':
            end = skip_double(text, i)
        elif char == "`":
            end = skip_backtick(text, i)
        elif char == "$":
            end = _after_dollar(text, i)
        elif char in "<>" and text.startswith("(", i + 1):
            end = skip_paren(text, i + 1)
        elif text.startswith("((", i):
            end = skip_paren(text, i)
            if "<<" in text[i:end]:
                raise ShellSyntaxError("(( … )) with << is not read", i)
            put(text[i:end])
            i = end
            continue
        if end > i:
            piece = _join_quoted(text[i:end])
            put(piece, "x" * len(piece))
            i, fresh = end, False
        elif text.startswith("<<<", i):
            result.operators[length] = "<<<"
            put("<<<", "<  ")
            i += 3
        elif text.startswith("<<", i):
            i, delimiter = read_delimiter(text, i)
            result.operators[length] = "<<-" if delimiter.tabs else "<<"
            pending.append((length, delimiter))
            width = 3 if delimiter.tabs else 2
            put("<<-"[:width], "< "[:2] + " " * (width - 2))
            put(" x", " x")  # stands for the delimiter
            fresh = False
        elif text.startswith("<>", i):
            result.operators[length] = "<>"
            put("<>", "< ")
            i += 2
        else:
            put(char)
            i += 1
    if pending:
        raise ShellSyntaxError("a here-document has no body", pending[0][1].start)
    result.source, result.masked = "".join(source), "".join(masked)
    return result


def _after_dollar(text: str, i: int) -> int:
    end = skip_dollar(text, i)
    if end == i + 1:  # $name, $1, $?; a lone $
        while end < len(text) and (text[end].isascii() and text[end].isalnum() or text[end] == "_"):
            end += 1
        if end == i + 1 and text[end : end + 1] and text[end] in "@*#?!-$":
            end += 1
    return end


def _join_quoted(piece: str) -> str:
    """Drop continuations within a double-quoted or `${…}` piece; scripts within join their own."""
    if "\\\n" not in piece or piece[0] in "'`<>" or piece[:2] in ("$'", "$("):
        return piece
    out: list[str] = []
    i = 0
    while i < len(piece):
        if piece[i] == "\\":
            if piece[i + 1 : i + 2] != "\n":
                out.append(piece[i : i + 2])
            i += 2
        elif piece[i] == "`" or piece.startswith("$(", i):
            end = skip_backtick(piece, i) if piece[i] == "`" else skip_paren(piece, i + 1)
            out.append(piece[i:end])
            i = end
        elif piece[i] == "'" and piece[0] != '"' and piece[:2] != '$"':
            end = skip_single(piece, i)
            out.append(piece[i:end])
            i = end
        else:
            out.append(piece[i])
            i += 1
    return "".join(out)
