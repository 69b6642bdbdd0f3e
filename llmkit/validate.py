"""Check a file of records: snapshots, conversations or test cases.

    python -m llmkit.validate file=data/training/augmented_dataset.jsonl schema=snapshot

Every bad record is printed as `file:line: /json/pointer: reason`, and the exit code is 1 when there
is any. Beyond the JSON Schema: roles out of order, empty turns, texts over the length limit, names
and ids that stand twice, templates that do not compile. Snapshots that stand twice word for word
are counted, and errors with `duplicates=error`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from llmkit import records, template
from llmkit.config import ValidateConfig
from llmkit.errors import LlmkitError, RecordError, TemplateError
from llmkit.stage import stage

Problem = tuple[str, str]  # JSON pointer, reason


@dataclass(slots=True)
class Checked:
    """What a check found so far."""

    records: int = 0
    bad: int = 0
    duplicates: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # answer type or form → records
    seen: dict[bytes, str] = field(default_factory=dict)  # digest or name → where it stood first


def validate(cfg: ValidateConfig) -> Checked:
    """Check every record below `cfg.file` (a file, folder or glob).

    Raises:
        ConfigError: no such file.
        LlmkitError: at least one record is bad (all are printed first).
    """
    found = Checked()
    for path in records.paths_of(cfg.file):
        for line in check_file(path, cfg, found):
            print(line)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.kinds.items()))
    kind = cfg.schema.value.replace("_", " ")
    summary = f"{found.records:,} {kind} records ({kinds or 'none'}), {found.bad:,} bad"
    if cfg.duplicates.value != "ignore":
        summary += f", {found.duplicates:,} duplicates"
    print(summary)
    if found.bad:
        raise LlmkitError(f"{found.bad:,} of {found.records:,} records in {cfg.file} are bad")
    if not found.records:
        raise LlmkitError(f"{cfg.file} holds no record")
    return found


def check_file(path: Path, cfg: ValidateConfig, found: Checked) -> Iterator[str]:
    """The lines to print about one file; counts go to `found`."""
    kind = cfg.schema.value
    for located in _records(path, found):
        if isinstance(located, RecordError):
            yield str(located)
            continue
        found.records += 1
        problems = list(_schema_problems(kind, located.value))
        if not problems:
            check = _CHECKS[kind]
            problems = list(check(located, cfg, found))
        if problems:
            found.bad += 1
        for pointer, reason in problems:
            yield str(
                RecordError(
                    reason, file=located.file, line=located.line_of(pointer), pointer=pointer
                )
            )


def _records(path: Path, found: Checked) -> Iterator[records.Located | RecordError]:
    """Each record of a file; a line that cannot be read is a RecordError, and reading goes on."""
    if path.suffix in (".yaml", ".yml"):
        try:
            yield from list(records.read_yaml(path))
        except RecordError as error:
            found.records, found.bad = found.records + 1, found.bad + 1
            yield error
        return
    for number, value in records.each_jsonl(path):
        if isinstance(value, RecordError):
            found.records, found.bad = found.records + 1, found.bad + 1
            yield value
        else:
            yield records.Located(value, str(path), number)


def _schema_problems(kind: str, value: Any) -> Iterator[Problem]:
    checker = records.validator(kind)
    if checker.is_valid(value):
        return
    for error in checker.iter_errors(value):
        yield records.pointer_of(error.instance_path), records.shorten(error.message)


def _check_snapshot(
    located: records.Located, cfg: ValidateConfig, found: Checked
) -> Iterator[Problem]:
    value = located.value
    expected = value["expected_response"]
    found.kinds[expected["type"]] += 1
    answer = "command" if expected["type"] == "command" else "response"
    if not expected[answer].strip():
        yield f"/expected_response/{answer}", "is empty"
    yield from _check_messages(value["messages"], cfg)
    if len(value["system_context"]) > cfg.max_chars:
        yield "/system_context", f"has more than {cfg.max_chars:,} characters"
    if cfg.duplicates.value != "ignore":
        key = orjson.dumps(
            [value["system_context"], value["messages"], expected], option=orjson.OPT_SORT_KEYS
        )
        digest = blake2b(key, digest_size=16).digest()
        first = found.seen.setdefault(digest, f"{located.file}:{located.line}")
        if first != f"{located.file}:{located.line}":
            found.duplicates += 1
            if cfg.duplicates.value == "error":
                yield "", f"the same as {first}"


def _check_messages(messages: list[dict[str, Any]], cfg: ValidateConfig) -> Iterator[Problem]:
    """Roles alternate, beginning and ending with the user; nothing is empty or too long."""
    if not messages:
        yield "/messages", "is empty"
    for index, message in enumerate(messages):
        due = "user" if index % 2 == 0 else "assistant"
        if message["role"] != due:
            yield f"/messages/{index}/role", f"{message['role']} where {due} is due"
        content = message["content"]
        if not content.strip() or content.strip() == "$":
            yield f"/messages/{index}/content", "is empty"
        elif len(content) > cfg.max_chars:
            yield f"/messages/{index}/content", f"has more than {cfg.max_chars:,} characters"
    if messages and messages[-1]["role"] != "user":
        yield f"/messages/{len(messages) - 1}/role", "the last message must be the user's"


def _check_conversation(
    located: records.Located, cfg: ValidateConfig, found: Checked
) -> Iterator[Problem]:
    value = located.value
    found.kinds["authored"] += 1
    yield from _check_name(located, "id", found)
    for index, turn in enumerate(value["turns"]):
        for key in ("user", "command", "text", "reply"):
            texts = turn.get(key, [])
            for place, source in enumerate([texts] if isinstance(texts, str) else texts):
                pointer = f"/turns/{index}/{key}" + ("" if isinstance(texts, str) else f"/{place}")
                if len(source) > cfg.max_chars:
                    yield pointer, f"has more than {cfg.max_chars:,} characters"
                try:
                    template.compile(source)
                except TemplateError as error:
                    yield pointer, error.reason


def _check_test_case(
    located: records.Located, cfg: ValidateConfig, found: Checked
) -> Iterator[Problem]:
    value = located.value
    found.kinds["text" if value["expected"] is None else "command"] += 1
    yield from _check_name(located, "name", found)
    yield from _check_messages(value["messages"], cfg)


def _check_name(located: records.Located, key: str, found: Checked) -> Iterator[Problem]:
    name, place = located.value[key], f"{located.file}:{located.line}"
    first = found.seen.setdefault(name.encode(), place)
    if first != place:
        found.duplicates += 1
        yield f"/{key}", f"{name!r} stands already at {first}"


_CHECKS = {
    "snapshot": _check_snapshot,
    "conversation": _check_conversation,
    "test_case": _check_test_case,
}

main = stage("validate", validate, schema=ValidateConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
