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
from typing import Any

import tree_sitter
import tree_sitter_bash

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
from llmkit.installer.shell_scan import Prepared, prepare
from llmkit.installer.shell_words import ASSIGNMENT, MAX_DEPTH, WordReader

__all__ = [
    "AndOr", "Arithmetic", "Brace", "Case", "CommandSub", "For", "Function", "Glob", "Group", "If",
    "Literal", "Node", "Opaque", "Part", "Pipeline", "ProcessSub", "Redirect", "Script",
    "Sequence", "ShellSyntaxError", "Simple", "Subshell", "Test", "Tilde", "Unknown", "Variable",
    "While", "Word", "parse",
]  # fmt: skip

MAX_LENGTH = 65536
_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_ODD = re.compile(r"(?<=[^\s;&|<>()])#|(?<!&)-|[+*?~%^@:,.]")  # no part of the grammar in words
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_RESERVED = frozenset((
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac",
    "select", "function", "{", "}", "!", "[[", "]]", "in",
))  # fmt: skip
_WORDLIKE = frozenset((
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac",
    "select", "function", "in", "!", "}", "]]", "]",
))  # fmt: skip
_ENDS = ("", *" \t\n;&|<>()")
_CONNECTORS = frozenset(("&&", "||", "|", "|&", "!"))
_FLAT = frozenset(("list", "pipeline", "negated_command", "redirected_statement"))
_REDIRECTS = frozenset(("file_redirect", "herestring_redirect", "heredoc_redirect"))
_REGION = frozenset(("declaration_command", "unset_command"))
_ATOM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FUNCTION_NAME = re.compile(r"[^\s'\"\\$`(){}<>;&|]+")

TSNode = Any  # tree_sitter.Node; its type stubs are incomplete


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
        return _Builder(prepare(text), depth).script(text)
    masked = text if text.isascii() else _NOT_ASCII.sub("x", text)
    try:
        return _Builder(Prepared(text, masked), depth).script(text)
    except ShellSyntaxError as error:  # tree-sitter trips over some words: cover them, try again
        covered = prepare(text)
        covered.masked = _ODD.sub("x", covered.masked)
        if covered.masked == masked:
            raise
        try:
            return _Builder(covered, depth).script(text)
        except ShellSyntaxError:
            raise error from None


class _Builder:
    """One text's tree. Offsets are characters: the covered text is ASCII."""

    def __init__(self, prepared: Prepared, depth: int) -> None:
        self.text, self.depth = prepared.source, depth
        self.masked = _NOT_ASCII.sub("x", prepared.masked)
        self.operators, self.bodies = prepared.operators, prepared.bodies
        self.used: set[int] = set()  # covered operators that the tree has shown
        self.reader = WordReader(self.text, depth, _parse)
        self.level = 0

    def script(self, text: str) -> Script:
        root = _PARSER.parse(self.masked.encode("ascii")).root_node
        if root.has_error:
            raise self.error("not a shell command", _first_error(root))
        body = self.sequence(self.children(root)) if root.child_count else Sequence(())
        if len(self.used) != len(self.operators):
            raise ShellSyntaxError("a redirection stands where it is not read")
        return Script(body, text)

    def error(self, reason: str, node: TSNode) -> ShellSyntaxError:
        return ShellSyntaxError(reason, node.start_byte)

    def children(self, node: TSNode) -> list[TSNode]:
        """The children; nothing but blanks may stand between them."""
        children = node.children
        end = None
        for child in children:
            start = child.start_byte
            if end is not None and start > end and self.masked[end:start].strip(" \t\n"):
                raise ShellSyntaxError("not a shell command", end)
            end = child.end_byte
            if child.type in _WORDLIKE and self.text[end : end + 1] not in _ENDS:
                raise ShellSyntaxError("not a shell command", start)  # do$x is no keyword
        return children

    # -- lists -------------------------------------------------------------------------------

    def sequence(self, nodes: list[TSNode]) -> Sequence:
        """Statements with `;`, `&` and newlines between."""
        self.level += 1
        if self.level > MAX_DEPTH:
            raise ShellSyntaxError("nested too deep")
        items: list[tuple[Node, bool]] = []
        end, open_ = 0, True  # open_: a statement may follow here
        for node in nodes:
            kind = node.type
            if kind == "comment":
                continue
            if kind in (";", "&", "\n"):
                glued = kind == ";" and self.masked[node.end_byte : node.end_byte + 1] in (";", "&")
                if glued or (open_ and kind != "\n"):
                    raise self.error(f"unexpected {kind!r}", node)
                if kind == "&":
                    items[-1] = (items[-1][0], True)
                open_ = True
                end = node.end_byte
                continue
            if not node.is_named:
                raise self.error(f"unexpected {kind!r}", node)
            if not open_ and "\n" not in self.masked[end : node.start_byte]:
                raise self.error("two commands without ; between", node)
            items.append((self.statement(node), False))
            end, open_ = node.end_byte, False
        self.level -= 1
        return Sequence(tuple(items))

    def block(self, nodes: list[TSNode], where: TSNode) -> Sequence:
        """A sequence that must not be empty."""
        sequence = self.sequence(nodes)
        if not sequence.items:
            raise self.error("a command is missing", where)
        return sequence

    def statement(self, node: TSNode) -> Node:
        if node.type == "command" or node.type == "variable_assignment":
            return self.simple(node, [])
        if node.type not in _FLAT:
            return self.atom(node, [])
        flat: list[str | list[Any]] = []
        stack = [node]
        while stack:
            top = stack.pop()
            if top.type in _FLAT:
                stack.extend(reversed(self.children(top)))
            elif top.type in _REDIRECTS:
                if flat and isinstance(flat[-1], list):
                    flat[-1][1].append(top)
                else:
                    flat.append([None, [top]])
            elif top.type in _CONNECTORS:
                flat.append(top.type)
            elif top.type != "comment":
                if not top.is_named or (flat and isinstance(flat[-1], list)):
                    raise self.error(f"unexpected {top.type!r}", top)
                flat.append([top, []])
        return self.and_or(flat, node)

    def and_or(self, flat: list[Any], where: TSNode) -> Node:
        """Group atoms and operators: `|` binds tighter than `&&` and `||`, which bind alike."""
        groups: list[list[Any]] = [[]]
        joins: list[str] = []
        for item in flat:
            if item in ("&&", "||"):
                joins.append(item)
                groups.append([])
            else:
                groups[-1].append(item)
        nodes = [self.pipeline(group, where) for group in groups]
        return AndOr(nodes[0], tuple(zip(joins, nodes[1:], strict=True))) if joins else nodes[0]

    def pipeline(self, group: list[Any], where: TSNode) -> Node:
        negated = False
        while group and group[0] == "!":
            negated = not negated
            group = group[1:]
        banged = negated
        commands: list[Node] = []
        for position, item in enumerate(group):
            if (position % 2 == 0) != isinstance(item, list) or item == "!":
                raise self.error("not a shell command", where)
            if isinstance(item, list):
                commands.append(self.atom(item[0], item[1]))
        if not commands or len(group) % 2 == 0:
            raise self.error("a command is missing", where)
        if len(commands) == 1 and not banged:
            return commands[0]
        return Pipeline(tuple(commands), negated)

    def word(self, start: int, end: int) -> Word:
        """The word between two positions, where tree-sitter saw one."""
        if self.text.startswith(("<(", ">("), start) and self.text[start - 1 : start] in tuple(
            "<>&"
        ):
            raise ShellSyntaxError("not a shell command", start)  # &>( is no substitution
        word, stop = self.reader.word(start)
        if stop != end:
            raise ShellSyntaxError("not a shell command", min(stop, end))
        return word

    # -- one command ---------------------------------------------------------------------------

    def atom(self, node: TSNode | None, redirects: list[TSNode]) -> Node:
        kind = node.type if node is not None else "command"
        if node is None or kind in ("command", "variable_assignment", "variable_assignments"):
            return self.simple(node, redirects)
        if kind in _REGION:
            return self.simple(node, redirects, region=True)
        if kind == "test_command" and not self.masked.startswith("[[", node.start_byte):
            if self.masked.startswith("((", node.start_byte):
                return self.compound(self.arithmetic(node), redirects, node)
            return self.simple(node, redirects, region=True)
        build = getattr(self, f"_{kind}", None)
        if build is None:
            raise self.error(f"unexpected {kind}", node)
        return self.compound(build(node), redirects, node)

    def compound(self, made: Node, nodes: list[TSNode], where: TSNode) -> Node:
        if not nodes:
            return made
        redirects: list[Redirect] = []
        for node in nodes:
            redirect, extra = self.redirect(node)
            if extra:
                raise self.error("unexpected word", node)
            redirects.append(redirect)
        if isinstance(made, Subshell):
            return Subshell(made.body, tuple(redirects))
        return Group(Sequence(((made, False),)), tuple(redirects))

    def simple(self, node: TSNode | None, outer: list[TSNode], *, region: bool = False) -> Node:
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []

        def take(found: list[Word]) -> None:
            for word in found:
                match = None if words else ASSIGNMENT.match(word.raw)
                if match:
                    raise ShellSyntaxError("an assignment stands where it is not read")
                words.append(word)

        if node is None:
            nodes: list[TSNode] = []
        elif region:
            take(self.reader.words(node.start_byte, node.end_byte))
            nodes = []
        else:
            nodes = [node] if node.type == "variable_assignment" else self.children(node)
        position = 0
        while position < len(nodes):
            child = nodes[position]
            position += 1
            if child.type == "comment":
                continue
            if child.type in _REDIRECTS:
                redirect, extra = self.redirect(child)
                redirects.append(redirect)
                take(extra)
                continue
            start, end = child.start_byte, child.end_byte
            while position < len(nodes) and nodes[position].start_byte == end:
                if nodes[position].type in _REDIRECTS:
                    break
                end = nodes[position].end_byte  # tree-sitter splits $"…" and the like
                position += 1
            match = None if words else ASSIGNMENT.match(self.text, start)
            if match and match.end() <= end:
                assignments.append(self.assignment(match, end))
                continue
            word = self.word(start, end)
            if not words and word.raw in _RESERVED:
                raise self.error(f"unexpected {word.raw!r}", child)
            words.append(word)
        for child in outer:
            redirect, extra = self.redirect(child)
            redirects.append(redirect)
            take(extra)
        if not region and words and words[0].raw in ("time", "coproc"):
            if words[0].raw == "coproc" and len(words) > 1 and not outer:
                return Unknown(" ".join(word.raw for word in words))
            if (
                words[0].raw == "coproc"
                or len(words) == 1
                or any(w.raw in _RESERVED for w in words[1:3])
            ):
                raise ShellSyntaxError(f"this {words[0].raw} is not read")
        nested = (
            any(word.nested for word in words)
            or any(word.nested for _, word in assignments)
            or any(
                word is not None and word.nested
                for r in redirects
                for word in (r.target, r.heredoc)
            )
        )
        return Simple(tuple(assignments), tuple(words), tuple(redirects), nested)

    def assignment(self, match: re.Match[str], end: int) -> tuple[str, Word]:
        """`A=x`; `A+=x` becomes `A=$A` and x; an array element makes the array opaque."""
        name, subscript, plus = match.groups()
        word = self.reader.value(match.end(), end)
        if subscript or (plus and word.raw.startswith("(")):
            return name, Word((Opaque(word.raw, (word,)),), word.raw, None, word.nested)
        if plus:
            parts = (Variable(name, "", None, True), *word.parts)
            return name, Word(parts, word.raw, None, word.nested, word.globs)
        return name, word

    def redirect(self, node: TSNode) -> tuple[Redirect, list[Word]]:
        """A redirection, and the words of the command that tree-sitter gave to it."""
        if node.type == "heredoc_redirect":
            raise self.error("not a shell command", node)
        fd: int | None = None
        operator = ""
        words: list[Word] = []
        body: Word | None = None
        children = self.children(node)
        position = 0
        while position < len(children):
            child = children[position]
            position += 1
            if child.type == "file_descriptor":
                number = self.text[child.start_byte : child.end_byte]
                if not number.isdigit():
                    raise self.error("{fd}> is not read", child)
                fd = int(number[:9])
            elif not child.is_named and not operator:
                start = child.start_byte
                operator = self.operators.get(start, child.type)
                if start in self.operators:
                    self.used.add(start)
                if operator in ("<<", "<<-"):
                    delimiter, text = self.bodies[start]
                    body = (
                        Word((Literal(text, True),), text, text)
                        if delimiter.quoted
                        else self.reader.here_document(text)
                    )
                    operator = "<<"
            else:
                start, end = child.start_byte, child.end_byte
                while position < len(children) and children[position].start_byte == end:
                    end = children[position].end_byte
                    position += 1
                if not words and "\n" in self.masked[node.start_byte : start]:
                    raise ShellSyntaxError("a redirection has no target", start)
                if self.text[start:end].isdigit() and self.text[end : end + 1] in ("<", ">"):
                    raise ShellSyntaxError("not a shell command", start)  # 2> is one operator
                words.append(self.word(start, end))
        if not words and operator not in (">&-", "<&-"):
            raise self.error("a redirection has no target", node)
        if operator in (">&-", "<&-"):
            return Redirect(operator, fd), words
        return Redirect(operator, fd, words[0], body), words[1:]

    # -- compound commands ---------------------------------------------------------------------

    def _subshell(self, node: TSNode) -> Node:
        return Subshell(self.block(self.children(node)[1:-1], node))

    def _compound_statement(self, node: TSNode) -> Node:
        if self.masked.startswith("((", node.start_byte):
            return self.arithmetic(node)
        children = self.children(node)
        if self.masked[children[0].end_byte : children[0].end_byte + 1] not in (" ", "\t", "\n"):
            raise self.error("a blank is missing after {", node)
        inner = children[1:-1]
        last = next((c for c in reversed(inner) if c.type != "comment"), None)
        if (
            last is not None
            and last.type not in (";", "&")
            and last.type not in ("subshell", "compound_statement")
            and "\n" not in self.masked[last.end_byte : children[-1].start_byte]
        ):
            raise self.error("a ; is missing before }", children[-1])
        return Group(self.block(inner, node))

    def _do_group(self, node: TSNode) -> Sequence:
        return self.block(self.children(node)[1:-1], node)

    def _if_statement(self, node: TSNode) -> Node:
        condition: list[TSNode] = []
        body: list[TSNode] = []
        clauses: list[tuple[Sequence, Sequence]] = []
        otherwise: Sequence | None = None
        into = condition
        for child in self.children(node)[1:-1]:
            if child.type == "then":
                into = body
            elif child.type in ("elif_clause", "else_clause"):
                if not clauses:
                    clauses.append((self.block(condition, node), self.block(body, node)))
                parts = self.children(child)
                if child.type == "else_clause":
                    otherwise = self.block(parts[1:], child)
                    continue
                split = next(i for i, part in enumerate(parts) if part.type == "then")
                clauses.append(
                    (self.block(parts[1:split], child), self.block(parts[split + 1 :], child))
                )
            else:
                into.append(child)
        if not clauses:
            clauses.append((self.block(condition, node), self.block(body, node)))
        return If(tuple(clauses), otherwise)

    def _while_statement(self, node: TSNode) -> Node:
        children = self.children(node)
        condition = self.block(children[1:-1], node)
        return While(condition, self._do_group(children[-1]), children[0].type == "until")

    def _for_statement(self, node: TSNode) -> Node:
        children = self.children(node)
        name = self.text[children[1].start_byte : children[1].end_byte]
        if not _ATOM_NAME.fullmatch(name):
            raise self.error("not a variable's name", children[1])
        words: list[Word] | None = None
        position = 2
        if children[2].type == "in":
            words, position = [], 3
            while children[position].type not in (";", "do_group"):
                if (
                    "\n"
                    in self.masked[children[position - 1].end_byte : children[position].start_byte]
                ):
                    raise self.error("unexpected word", children[position])
                word, stop = self.reader.word(children[position].start_byte)
                words.append(word)
                while children[position].end_byte < stop:
                    position += 1
                if children[position].end_byte != stop:
                    raise self.error("not a shell command", children[position])
                position += 1
        between = [child.type for child in children[position:-1] if child.type != "comment"]
        if between not in ([], [";"]):
            raise self.error("not a shell command", node)
        body = self._do_group(children[-1])
        return For(
            name, None if words is None else tuple(words), body, children[0].type == "select"
        )

    def _c_style_for_statement(self, node: TSNode) -> Node:
        children = self.children(node)
        close = next(child for child in children if child.type == "))")
        raw = self.text[children[1].end_byte : close.start_byte]
        test = Test(raw, (self.reader._over(raw),), arithmetic=True)
        body = children[-1]
        inner = self.children(body)[1:-1]
        return While(Sequence(((test, False),)), self.block(inner, node))

    def _case_statement(self, node: TSNode) -> Node:
        children = self.children(node)
        word, stop = self.reader.word(children[1].start_byte)
        position = 2
        while children[position].type != "in":
            position += 1
        if children[position - 1].end_byte != stop:
            raise self.error("not a shell command", children[1])
        arms = []
        items = [c for c in children[position + 1 : -1] if c.type not in ("comment", "\n")]
        for index, item in enumerate(items):
            if item.type != "case_item":
                raise self.error(f"unexpected {item.type!r}", item)
            arms.append(self.case_arm(item, index == len(items) - 1))
        return Case(word, tuple(arms))

    def case_arm(self, node: TSNode, last: bool) -> tuple[tuple[Word, ...], Sequence, str]:
        children = self.children(node)
        close = next(i for i, child in enumerate(children) if child.type == ")")
        patterns: list[Word] = []
        i = children[0].end_byte if children[0].type == "(" else children[0].start_byte
        end = children[close].start_byte
        while True:
            while self.text[i] in " \t":
                i += 1
            word, i = self.reader.word(i)
            patterns.append(word)
            while self.text[i] in " \t":
                i += 1
            if i >= end or not word.raw:
                break
            if self.text[i] != "|":
                raise self.error("a bad pattern", node)
            i += 1
        if i != end or not all(word.raw for word in patterns):
            raise self.error("a bad pattern", node)
        terminator = ";;"
        rest = children[close + 1 :]
        if rest and rest[-1].type in (";;", ";&", ";;&"):
            terminator, rest = rest[-1].type, rest[:-1]
        elif not last:
            raise self.error("a ;; is missing", node)
        return tuple(patterns), self.sequence(rest), terminator

    def _function_definition(self, node: TSNode) -> Node:
        children = self.children(node)
        name = next(child for child in children if child.type == "word")
        text = self.text[name.start_byte : name.end_byte]
        if not _FUNCTION_NAME.fullmatch(text) or text in _RESERVED:
            raise self.error("not a function's name", name)
        redirects = [child for child in children if child.type in _REDIRECTS]
        bodies = [child for child in children if child.is_named and child.type not in _REDIRECTS]
        body = bodies[-1]
        if body is name:
            raise self.error("a function has no body", node)
        self.level += 1
        made = self.atom(body, redirects)
        self.level -= 1
        return Function(text, made)

    def _test_command(self, node: TSNode) -> Node:
        raw = self.text[node.start_byte + 2 : node.end_byte - 2]
        words: list[Word] = []
        i, end = node.start_byte + 2, node.end_byte - 2
        while i < end:
            if self.text[i] in META_TEST:
                i += 1
                continue
            word, stop = self.reader.word(i)
            if stop == i or stop > end:
                raise self.error("a [[ ]] that is not read", node)
            words.append(word)
            i = stop
        return Test(raw, tuple(words))

    def arithmetic(self, node: TSNode) -> Node:
        raw = self.text[node.start_byte + 2 : node.end_byte - 2]
        return Test(raw, (self.reader._over(raw),), arithmetic=True)


META_TEST = " \t\n;&|<>()"


def _first_error(node: TSNode) -> TSNode:
    """The innermost first node that tree-sitter marks."""
    while True:
        inner = next((c for c in node.children if c.has_error or c.is_missing or c.is_error), None)
        if inner is None or node.is_error:
            return node
        node = inner
