"""tree-sitter's tree → ours: lists, pipelines, simple commands. See shell.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import tree_sitter
import tree_sitter_bash

from llmkit.installer.shell_ast import (
    AndOr,
    Group,
    Literal,
    Node,
    Opaque,
    Pipeline,
    Redirect,
    Script,
    Sequence,
    ShellSyntaxError,
    Simple,
    Subshell,
    Unknown,
    Variable,
    Word,
)
from llmkit.installer.shell_compound import REDIRECTS, RESERVED, Compound, TSNode
from llmkit.installer.shell_scan import Prepared
from llmkit.installer.shell_words import ASSIGNMENT, MAX_DEPTH, WordReader

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))
_FD = re.compile(r"\d+|\{[A-Za-z_]\w*\}")
_BAD_SUBSCRIPT = re.compile(r"\w+\[[^\]]*\[")
NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_WORDLIKE = frozenset((
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac",
    "select", "function", "in", "!", "}", "]]", "]",
))  # fmt: skip
_ENDS = ("", *" \t\n;&|<>()")
_CONNECTORS = frozenset(("&&", "||", "|", "|&", "!"))
_FLAT = frozenset(("list", "pipeline", "negated_command", "redirected_statement"))
_ONE_LINE = frozenset(("command", "file_redirect", "variable_assignments", "redirected_statement"))
_REGION = frozenset(("declaration_command", "unset_command"))


class Builder(Compound):
    """One text's tree. Offsets are characters: the covered text is ASCII."""

    def __init__(self, prepared: Prepared, depth: int, parse: Callable[[str, int], Script]) -> None:
        self.text, self.depth = prepared.source, depth
        self.masked = NOT_ASCII.sub("x", prepared.masked)
        self.operators, self.bodies = prepared.operators, prepared.bodies
        self.used: set[int] = set()  # covered operators that the tree has shown
        self.reader = WordReader(self.text, depth, parse)
        self.level = 0

    def script(self, text: str) -> Script:
        root = _PARSER.parse(self.masked.encode("ascii")).root_node
        if root.has_error:
            raise self.error("not a shell command", _first_error(root))
        children = self.children(root)
        first, last = (children[0].start_byte, children[-1].end_byte) if children else (0, 0)
        if (self.masked[:first] + self.masked[last:]).strip(" \t\n"):
            raise ShellSyntaxError("not a shell command", last)
        body = self.sequence(children)
        if len(self.used) != len(self.operators):
            raise ShellSyntaxError("a redirection stands where it is not read")
        return Script(body, text)

    def children(self, node: TSNode) -> list[TSNode]:
        """The children; nothing but blanks may stand between them."""
        children = node.children
        blank = " \t" if node.type in _ONE_LINE else " \t\n"
        end = None
        for child in children:
            start = child.start_byte
            if end is not None and start > end and self.masked[end:start].strip(blank):
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
            elif top.type in REDIRECTS:
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
            if child.type in REDIRECTS:
                redirect, extra = self.redirect(child)
                redirects.append(redirect)
                take(extra)
                continue
            start, end = child.start_byte, child.end_byte
            while position < len(nodes) and nodes[position].start_byte == end:
                if nodes[position].type in REDIRECTS:
                    break
                end = nodes[position].end_byte  # tree-sitter splits $"…" and the like
                position += 1
            match = None if words else ASSIGNMENT.match(self.text, start)
            if match and match.end() <= end:
                assignments.append(self.assignment(match, end))
                continue
            word = self.word(start, end)
            if not words and (word.raw in RESERVED or _BAD_SUBSCRIPT.match(word.raw)):
                raise self.error(f"unexpected {word.raw!r}", child)
            words.append(word)
        for child in outer:
            redirect, extra = self.redirect(child)
            redirects.append(redirect)
            take(extra)
        if not region and words and words[0].raw in ("time", "coproc"):
            if len(words) == 1 or any(word.raw in RESERVED for word in words[1:3]):
                raise ShellSyntaxError(f"this {words[0].raw} is not read")
            if words[0].raw == "coproc":
                return Unknown(" ".join(word.raw for word in words))
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
                if self.text[end : end + 1] in ("<", ">") and _FD.fullmatch(self.text, start, end):
                    raise ShellSyntaxError("not a shell command", start)  # 2> is one operator
                words.append(self.word(start, end))
        if not words and operator not in (">&-", "<&-"):
            raise self.error("a redirection has no target", node)
        if operator in (">&-", "<&-"):
            return Redirect(operator, fd), words
        return Redirect(operator, fd, words[0], body), words[1:]


def _first_error(node: TSNode) -> TSNode:
    """The innermost first node that tree-sitter marks."""
    while True:
        inner = next((c for c in node.children if c.has_error or c.is_missing or c.is_error), None)
        if inner is None or node.is_error:
            return node
        node = inner
