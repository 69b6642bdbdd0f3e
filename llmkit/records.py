"""The records that stages hand to each other: Conversation, Snapshot, TestCase.

    from llmkit.records import load_conversations, read_jsonl, validator
    for line, record in read_jsonl("data/training/augmented_dataset.jsonl"): ...

Each kind has a JSON Schema beside this module (`schemas/KIND.schema.json`). Files are read with
line numbers, so that an error can say where: authored YAML keeps the line of every conversation
and turn. YAML scalars are read as the text that stands there: `yes`, `no` and `12` are words a
person typed, not a bool and a number.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import yaml

from llmkit.errors import ConfigError, RecordError

KINDS = ("snapshot", "conversation", "test_case")
_DEPTH = 16  # levels below a record; a conversation has three
SUFFIXES = (".yaml", ".yml", ".jsonl")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange: what the person may say, and the right answer (a command, or else a text)."""

    user: tuple[str, ...]  # wordings; one is drawn
    command: str | None = None  # one shell line, Jinja2
    text: tuple[str, ...] = ()  # wordings of a text answer, Jinja2
    reply: tuple[str, ...] = ()  # shown after the command ran; never part of the history
    line: int | None = None  # in the file, from 1


@dataclass(frozen=True, slots=True)
class Conversation:
    """An authored conversation, and where it came from."""

    id: str
    categories: tuple[str, ...]
    turns: tuple[Turn, ...]
    when: Mapping[str, Any] = field(default_factory=dict)  # which machines it is about
    start: str | None = None  # the stage of the work at which it begins
    file: str = ""
    line: int | None = None
    authored: bool = True  # False: converted from an older form, so a bad one is dropped

    def where(self, turn: int | None = None) -> str:
        """`file:line` of the conversation, or of its turn (from 1)."""
        line = self.line if turn is None else self.turns[turn - 1].line or self.line
        return ":".join(str(part) for part in (self.file, line) if part)


@dataclass(frozen=True, slots=True)
class Located:
    """A record as plain JSON data, with the lines of its parts (JSON pointer → line, from 1)."""

    value: Any
    file: str
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_of(self, pointer: str) -> int:
        """The line of `pointer`, or of the nearest thing around it that has one."""
        while pointer:
            if pointer in self.lines:
                return self.lines[pointer]
            pointer = pointer.rpartition("/")[0]
        return self.line


@dataclass(frozen=True, slots=True)
class Dropped:
    """A conversation in an older form that could not be used, and why."""

    id: str
    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part)
        return f"{place}: conversation {self.id}: {self.reason}"


@cache
def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind of record (one of KINDS)."""
    if kind not in KINDS:
        raise ConfigError(f"no schema named {kind!r}; there are {', '.join(KINDS)}")
    text = (files("llmkit") / "schemas" / f"{kind}.schema.json").read_bytes()
    loaded: dict[str, Any] = orjson.loads(text)
    return loaded


@cache
def validator(kind: str) -> jsonschema_rs.Draft202012Validator:
    """The compiled validator of a kind; `is_valid(record)` takes 1–5 µs a snapshot
    (benchmarks/augment.py)."""
    return jsonschema_rs.Draft202012Validator(schema(kind))


def pointer_of(path: Iterable[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a path of keys and indices."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)


def check_record(kind: str, located: Located) -> None:
    """Raise RecordError for the first place at which a record breaks its schema."""
    check = validator(kind)
    if check.is_valid(located.value):
        return
    error = next(iter(check.iter_errors(located.value)))
    pointer, reason = pointer_of(error.instance_path), error.message
    if kind == "conversation" and "oneOf" in error.schema_path and "turns" in pointer:
        reason = _explain_turn(located.value, pointer) or reason
    raise RecordError(
        shorten(reason), file=located.file, line=located.line_of(pointer), pointer=pointer
    )


def _explain_turn(value: Any, pointer: str) -> str | None:
    """In words, what "is not valid under any of the schemas" means for a turn."""
    for key in pointer.split("/")[1:]:
        value = value[int(key)] if isinstance(value, list) else value[key]
    if not isinstance(value, dict):
        return "must be text, or a list of texts, and not empty"
    if "command" in value and "text" in value:
        return "a turn has either `command` or `text`, not both"
    if "reply" in value and "command" not in value:
        return "`reply` is for turns with a `command`"
    if "command" not in value and "text" not in value:
        return "a turn needs `command` or `text`"
    return None


def shorten(text: str, limit: int = 200) -> str:
    """`text` on one line of at most `limit` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def read_jsonl(path: str | Path) -> Iterator[tuple[int, Any]]:
    """(line from 1, value) of each line of a JSONL file; blank lines are passed over.

    Raises RecordError, which names the line, for bytes that are not UTF-8 JSON.
    """
    for number, value in each_jsonl(path):
        if isinstance(value, RecordError):
            raise value
        yield number, value


def each_jsonl(path: str | Path) -> Iterator[tuple[int, Any]]:
    """As `read_jsonl`, but a line that cannot be read comes as a RecordError, and the next follow."""
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.isspace():
                continue
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                reason = f"not JSON: {shorten(str(error))}"
                yield number, RecordError(reason, file=path, line=number)


def read_yaml(path: str | Path) -> Iterator[Located]:
    """The items of a YAML list file (several documents are joined), scalars as text.

    Raises RecordError for YAML that cannot be read, for a file that is no list, for a key that
    stands twice and for an alias that makes a record of unbounded size.
    """
    name = str(path)
    try:
        text = Path(path).read_text("utf-8-sig")
        documents = list(yaml.compose_all(text, Loader=_Loader))
    except UnicodeDecodeError as error:
        raise RecordError(f"not UTF-8: {error.reason}", file=name) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        reason = getattr(error, "problem", None) or shorten(str(error))
        line = None if mark is None else mark.line + 1
        raise RecordError(f"not YAML: {reason}", file=name, line=line) from error
    except RecursionError as error:
        raise RecordError("nested too deeply", file=name) from error
    for document in documents:
        if not isinstance(document, yaml.SequenceNode):
            line = document.start_mark.line + 1
            raise RecordError(
                "the file must be a list of records (`- id: …`)", file=name, line=line
            )
        for node in document.value:
            lines: dict[str, int] = {}
            value = _plain(node, "", lines, name)
            yield Located(value, name, node.start_mark.line + 1, lines)


def _plain(node: Any, pointer: str, lines: dict[str, int], file: str) -> Any:
    """A YAML node as dicts, lists and text; notes the line of everything below it."""
    line = node.start_mark.line + 1
    if pointer.count("/") > _DEPTH:
        reason = "nested too deeply, or an alias to itself"
        raise RecordError(reason, file=file, line=line)
    lines[pointer] = line
    if len(lines) > 100_000:
        raise RecordError("one record with more than 100,000 parts", file=file, line=line)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
            below = pointer + pointer_of([key])
            if not key or key in mapping:
                where = key_node.start_mark.line + 1
                reason = f"the key {key!r} stands twice" if key else "a key must be text"
                raise RecordError(reason, file=file, line=where, pointer=pointer)
            mapping[key] = _plain(value_node, below, lines, file)
            lines[below] = key_node.start_mark.line + 1
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [
            _plain(item, f"{pointer}/{index}", lines, file) for index, item in enumerate(node.value)
        ]
    return node.value


def _words(value: Any) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else value or ()
    return tuple(str(word).strip() for word in words)


def conversation(located: Located, *, authored: bool = True) -> Conversation:
    """The Conversation that an authored record says; raises RecordError (schema)."""
    check_record("conversation", located)
    value = located.value
    turns = tuple(
        Turn(
            user=_words(turn["user"]),
            command=turn["command"].strip() if "command" in turn else None,
            text=_words(turn.get("text")),
            reply=_words(turn.get("reply")),
            line=located.line_of(f"/turns/{index}"),
        )
        for index, turn in enumerate(value["turns"])
    )
    return Conversation(
        id=value["id"],
        categories=tuple(dict.fromkeys(value["categories"])),
        turns=turns,
        when=value.get("when", {}),
        start=value.get("start"),
        file=located.file,
        line=located.line,
        authored=authored,
    )


def form_of(value: Any) -> str:
    """Which form a JSON record is in: "authored", "slots" or "literal" (the two older ones).

    Slots: turns with a `type`, or with `response`, and `{PLACEHOLDER}`s in them. Literal: a
    conversation that carries the text of its `system_context`.
    """
    if not isinstance(value, dict):
        return "authored"
    if "system_context" in value:
        return "literal"
    turns = value.get("turns")
    old = isinstance(turns, list) and any(
        isinstance(turn, dict) and ("type" in turn or "response" in turn) for turn in turns
    )
    return "slots" if old else "authored"


def paths_of(where: str | Path, base: str | Path | None = None) -> list[Path]:
    """The record files that a path, folder (searched in depth) or glob means, in sorted order.

    Raises ConfigError when there is none.
    """
    text = str(Path(where).expanduser())
    roots = [Path(text)] + ([Path(base) / text] if base is not None else [])
    for root in roots:
        if root.is_file():
            return [root]
        if root.is_dir():
            found = sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES)
            if not found:
                raise ConfigError(f"no {', '.join(SUFFIXES)} file in {root}")
            return [path for path in found if path.is_file()]
        matched = sorted(Path(name) for name in glob.glob(str(root), recursive=True))
        if matched:
            return [path for path in matched if path.is_file()]
    raise ConfigError(f"{where}: no such file, folder or glob of conversations")


def load_file(path: str | Path) -> tuple[list[Conversation], list[Dropped]]:
    """The conversations of one YAML or JSONL file, older forms converted.

    Raises RecordError for an authored record that breaks its schema; a record in an older form
    that cannot be converted is returned as Dropped.
    """
    path = Path(path)
    if path.suffix != ".jsonl":
        return [conversation(located) for located in read_yaml(path)], []
    kept: list[Conversation] = []
    dropped: list[Dropped] = []
    for line, value in read_jsonl(path):
        located = Located(value, str(path), line)
        if form_of(value) == "authored":
            kept.append(conversation(located))
            continue
        name = str(value.get("id") or f"line-{line}")
        try:
            kept.append(conversation(_converted(located), authored=False))
        except RecordError as error:
            dropped.append(Dropped(name, str(path), line, error.reason))
    return kept, dropped


def _converted(located: Located) -> Located:
    """A record in an older form, as an authored one; RecordError says why it cannot be."""
    from llmkit import convert

    value = convert.convert_record(located.value, file=located.file, line=located.line)
    return Located(value, located.file, located.line)


def load_conversations(
    where: str | Path, base: str | Path | None = None
) -> tuple[list[Conversation], list[Dropped], list[Path]]:
    """Every conversation below `where` (see `paths_of`), what was dropped, and the files read.

    Raises ConfigError (no such path), RecordError (a bad record, or an id that stands twice).
    """
    paths = paths_of(where, base)
    kept: list[Conversation] = []
    dropped: list[Dropped] = []
    seen: dict[str, Conversation] = {}
    for path in paths:
        found, lost = load_file(path)
        dropped += lost
        for item in found:
            first = seen.setdefault(item.id, item)
            if first is not item:
                reason = f"conversation {item.id} stands already at {first.where()}"
                raise RecordError(reason, file=item.file, line=item.line, pointer="/id")
            kept.append(item)
    return kept, dropped, paths


def to_authored(item: Conversation) -> dict[str, Any]:
    """The conversation as an authored record: what `conversation` reads back."""

    def words(values: tuple[str, ...]) -> str | list[str]:
        return values[0] if len(values) == 1 else list(values)

    turns: list[dict[str, Any]] = []
    for turn in item.turns:
        record: dict[str, Any] = {"user": words(turn.user)}
        if turn.command is not None:
            record["command"] = turn.command
        if turn.text:
            record["text"] = words(turn.text)
        if turn.reply:
            record["reply"] = words(turn.reply)
        turns.append(record)
    record = {"id": item.id, "categories": list(item.categories)}
    if item.when:
        record["when"] = dict(item.when)
    if item.start is not None:
        record["start"] = item.start
    return record | {"turns": turns}


def dump_yaml(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as a YAML list that `read_yaml` reads back; words that YAML would take for
    something else are quoted."""
    return yaml.safe_dump(
        list(records), sort_keys=False, allow_unicode=True, width=100, default_flow_style=False
    )


def dump_json(value: Any) -> str:
    """Indented JSON with sorted keys and a final newline: manifests and reports."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
