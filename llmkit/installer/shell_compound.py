"""tree-sitter's tree → ours: if, for, while, case, functions, groups and tests. See shell.py."""

from __future__ import annotations

import re
from typing import Any

from llmkit.installer.shell_ast import (
    Case,
    For,
    Function,
    Group,
    If,
    Node,
    Sequence,
    ShellSyntaxError,
    Subshell,
    Test,
    While,
    Word,
)
from llmkit.installer.shell_words import WordReader

TSNode = Any  # tree_sitter.Node; its type stubs are incomplete
RESERVED = frozenset((
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac",
    "select", "function", "{", "}", "!", "[[", "]]", "in",
))  # fmt: skip
REDIRECTS = frozenset(("file_redirect", "herestring_redirect", "heredoc_redirect"))
_ATOM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FUNCTION_NAME = re.compile(r"[^\s'\"\\$`(){}<>;&|]+")
_BETWEEN_TESTS = " \t\n;&|<>()"


class Compound:
    """The builders of compound commands; Builder (shell_build.py) has the rest."""

    text: str  # joined, without here-document bodies
    masked: str  # the same with what is quoted or nested covered
    reader: WordReader
    level: int

    def children(self, node: TSNode) -> list[TSNode]:
        raise NotImplementedError

    def sequence(self, nodes: list[TSNode]) -> Sequence:
        raise NotImplementedError

    def atom(self, node: TSNode | None, redirects: list[TSNode]) -> Node:
        raise NotImplementedError

    def error(self, reason: str, node: TSNode) -> ShellSyntaxError:
        return ShellSyntaxError(reason, node.start_byte)

    def block(self, nodes: list[TSNode], where: TSNode) -> Sequence:
        """A sequence that must not be empty."""
        sequence = self.sequence(nodes)
        if not sequence.items:
            raise self.error("a command is missing", where)
        return sequence

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

    def one_line(self, first: TSNode, second: TSNode) -> None:
        """`for` and `case` stand on one line with their word."""
        if "\n" in self.masked[first.end_byte : second.start_byte]:
            raise self.error("a word is missing", first)

    def _for_statement(self, node: TSNode) -> Node:
        children = self.children(node)
        self.one_line(children[0], children[1])
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
        test = Test(raw, (self.reader.over(raw),), arithmetic=True)
        body = children[-1]
        inner = self.children(body)[1:-1]
        return While(Sequence(((test, False),)), self.block(inner, node))

    def _case_statement(self, node: TSNode) -> Node:
        children = self.children(node)
        self.one_line(children[0], children[1])
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
        elif rest and rest[-1].type not in (";", "&"):
            behind = self.masked[rest[-1].end_byte :]
            if "\n" not in behind[: len(behind) - len(behind.lstrip(" \t\n"))]:
                raise self.error("a ;; is missing", node)
        return tuple(patterns), self.sequence(rest), terminator

    def _function_definition(self, node: TSNode) -> Node:
        children = self.children(node)
        name = next(child for child in children if child.type == "word")
        text = self.text[name.start_byte : name.end_byte]
        glued = self.text[name.end_byte : name.end_byte + 1] == "{"
        if glued or not _FUNCTION_NAME.fullmatch(text) or text in RESERVED:
            raise self.error("not a function's name", name)
        redirects = [child for child in children if child.type in REDIRECTS]
        bodies = [child for child in children if child.is_named and child.type not in REDIRECTS]
        body = bodies[-1]
        if body is name:
            raise self.error("a function has no body", node)
        self.level += 1
        made = self.atom(body, redirects)
        self.level -= 1
        return Function(text, made)

    def _test_command(self, node: TSNode) -> Node:
        raw = self.text[node.start_byte + 2 : node.end_byte - 2]
        if re.search(r"[?*+@!]\(|=~", raw) and raw.count("(") != raw.count(")"):
            raise self.error("a [[ ]] that is not read", node)
        words: list[Word] = []
        i, end = node.start_byte + 2, node.end_byte - 2
        while i < end:
            if self.text[i] in _BETWEEN_TESTS:
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
        return Test(raw, (self.reader.over(raw),), arithmetic=True)
