"""The grammars of replies, as llguidance's Lark text: what llmkit.grammar compiles.

free_text()                              text without a command in it
command_terminal(tools, free=True)       `$ COMMAND`, or text
call_rules(tools, free=False)            <tool_call>…</tool_call>
json_rule(schema)                        JSON alone
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from llmkit.reply import ARGUMENT

Tokens = Mapping[str, str]
MARKS = ("<tool_call>", "</tool_call>", "<think>", "</think>")
_ANY = "(?s:.*)"
# What Python strips from a reply's beginning.
_BLANK = (
    r"[\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
)
_FENCE = "```((ba|z)?sh|shell|console)"
# Text that llmkit.reply would read as a command, or as a broken one, or that begins with a blank (the
# lexer could not tell it from the blanks behind a thought). One expression: llguidance's lexer gives
# up on an intersection of several complements.
_READ_AS_COMMAND = (
    rf"({_BLANK}|\$ |<think>|{_FENCE}|"
    rf"{_ANY}(<tool_call>|call:[A-Za-z_]|\n\$ |\n{_FENCE})){_ANY}"
)
_CLOSING = "</tool_call>"
_JSON = {  # as json.dumps writes, and as models are taught
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "json_allow_general_unicode_escapes": False,
    "coerce_one_of": True,  # read as anyOf
}


def free_text(thinking: bool, tokens: Tokens) -> str:
    """Text that holds no command."""
    return f"start: {_think(thinking)}TEXT\n{_terminals(tokens)}"


def command_terminal(
    tools: Sequence[Mapping[str, Any]], free: bool, thinking: bool, tokens: Tokens
) -> str:
    """`$ ` and a command of one of the tools, or (`free`) text.

    Raises ValueError when no tool takes a command, or a pattern has anchors within.
    """
    commands = [found for tool in tools if (found := _command_schema(tool)) is not None]
    if not commands:
        if free:
            return free_text(thinking, tokens)
        raise ValueError(f"no tool takes a {ARGUMENT} and nothing else: none can be called so")
    names = [f"COMMAND{number}" for number in range(len(commands))]
    lines = [f"{name}: {_string(schema)}" for name, schema in zip(names, commands, strict=True)]
    reply = f'"$ " ({" | ".join(names)})' + (" | TEXT" if free else "")
    return "\n".join([f"start: {_think(thinking)}({reply})", *lines, _terminals(tokens)])


def call_rules(
    tools: Sequence[Mapping[str, Any]], free: bool, thinking: bool, tokens: Tokens
) -> str:
    """One call of one of the tools, or (`free`) text."""
    names = [f"tool{number}" for number in range(len(tools))]
    lines = [f"{name}: %json {_call(tool)}" for name, tool in zip(names, tools, strict=True)]
    opening, closing = "OPEN", "CLOSE"
    if tokens.get("<tool_call>") and tokens.get(_CLOSING):
        opening = f"(OPEN | {tokens['<tool_call>']} NEWLINE?)"
        closing = f"(CLOSE | NEWLINE? {tokens[_CLOSING]})"
    lines += [
        f"start: {_think(thinking)}{'(call | TEXT)' if free else 'call'}",
        f"call: {opening} ({' | '.join(names)}) {closing}",
        r"NEWLINE: /\n/",
        r"OPEN: /<tool_call>\n?/",
        r"CLOSE: /\n?<\/tool_call>/",
    ]
    return "\n".join([*lines, _terminals(tokens)])


def json_rule(schema: Mapping[str, Any]) -> str:
    """A value as the schema says."""
    return f"start: %json {json.dumps({**schema, 'x-guidance': _JSON})}\n"


def _think(thinking: bool) -> str:
    return "think? " if thinking else ""


def _terminals(tokens: Tokens) -> str:
    thought = _without("</think>")[1:-1].replace("/", r"\/")
    rule = "think: THINK"
    if tokens.get("<think>") and tokens.get("</think>"):
        rule += f" | {tokens['<think>']} THOUGHT? {tokens['</think>']} BLANKS?"
    return (
        f"{rule}\nTHINK: /<think>{thought}<\\/think>\\s*/\nTHOUGHT: /{thought}/\nBLANKS: /\\s+/\n"
        f"TEXT: /{_ANY}/ & ~/{_READ_AS_COMMAND}/\n"
    )


# Commands as terminals


def _command_schema(tool: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of the command, when that is all that the tool needs."""
    parameters = tool.get("parameters") or {}
    found = (parameters.get("properties") or {}).get(ARGUMENT)
    if not isinstance(found, Mapping) or found.get("type", "string") != "string":
        return None
    return found if set(parameters.get("required") or ()) <= {ARGUMENT} else None


def _string(schema: Mapping[str, Any]) -> str:
    """A string schema as a terminal's right side; nothing blank in any case."""
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if listed is not None:
        return "(" + " | ".join(json.dumps(text, ensure_ascii=False) for text in listed) + ")"
    parts = [r"/[^\s\x00](?s:.*)/"]
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if least or most is not None:
        parts.append(f"/(?s:.{{{least},{'' if most is None else most}}})/")
    patterns = [schema, *schema.get("allOf", ())]
    parts += [f"/{_whole(part['pattern'])}/" for part in patterns if "pattern" in part]
    return " & ".join(parts)


@lru_cache(maxsize=64)
def _whole(pattern: str) -> str:
    """A JSON Schema pattern, which may match anywhere, as one that matches the whole string."""
    from llguidance import regex_to_lark

    head = pattern.startswith("^")
    tail = re.search(r"(?<!\\)(\\\\)*\$$", pattern) is not None
    body = pattern[head : len(pattern) - tail]
    at_top, anchors = _outside_of_groups(body)
    if anchors or (at_top and (head or tail)):
        raise ValueError(f"the pattern {pattern[:80]!r} must be of the form ^(?:…)$")
    body = body if not at_top else f"(?:{body})"
    return regex_to_lark(f"{'' if head else _ANY}{body}{'' if tail else _ANY}", "dw")


def _outside_of_groups(pattern: str) -> tuple[bool, bool]:
    """Whether there is a `|` outside of every group, and an anchor anywhere."""
    depth, at, bars, anchors = 0, 0, False, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif char == "[":  # a class: up to its end, whose first character may be a ]
            at = _class_end(pattern, at)
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and depth == 0:
            bars = True
        elif char in "^$":
            anchors = True
        at += 1
    return bars, anchors


def _class_end(pattern: str, at: int) -> int:
    """Where the class that begins at `at` ends."""
    at += 2 if pattern[at + 1 : at + 2] == "^" else 1
    if pattern[at : at + 1] == "]":
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at


# Calls as JSON


def _call(tool: Mapping[str, Any]) -> str:
    """The JSON Schema of a call of this tool, as text."""
    parameters = _closed({"type": "object", **(tool.get("parameters") or {})})
    command = (parameters.get("properties") or {}).get(ARGUMENT)
    if isinstance(command, dict) and command.get("type") == "string" and "allOf" in command:
        command["allOf"].append({"type": "string", "pattern": r"^[^\s\x00]"})
    schema: dict[str, Any] = {"type": "object"}
    for key in ("$defs", "definitions"):  # references begin at the root
        if key in parameters:
            schema[key] = parameters.pop(key)
    schema |= {
        "properties": {"name": {"const": tool["name"]}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
        "x-guidance": _JSON,
    }
    return json.dumps(schema)


def _closed(schema: Any) -> Any:
    """A copy in which no string may hold </tool_call>, which would end the call too early, and
    objects with listed properties have no others unless the schema says so."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    out = dict(schema)
    for key in ("anyOf", "oneOf", "allOf", "items", "prefixItems", "additionalProperties"):
        if key in out:
            out[key] = _closed(out[key])
    for key in ("properties", "patternProperties", "$defs", "definitions"):
        if isinstance(out.get(key), Mapping):
            out[key] = {name: _closed(value) for name, value in out[key].items()}
    if "properties" in out and "patternProperties" not in out:
        out.setdefault("additionalProperties", False)
    if out.get("type") == "string" and "enum" not in out and "const" not in out:
        out["allOf"] = [*out.get("allOf", ()), {"type": "string", "pattern": _without(_CLOSING)}]
    return out


def _without(needle: str) -> str:
    """A pattern for strings without `needle`, in which its first character stands but once."""
    first, rest = needle[0], needle[1:]
    tail = ""
    for at in range(len(rest) - 1, -1, -1):
        char = re.escape(rest[at])
        more = f"|{char}{tail}" if at < len(rest) - 1 else ""
        tail = f"(?:[^{first}{char}][^{first}]*{more})?"
    return f"^[^{first}]*(?:{first}{tail})*$"
