"""Turn conversations in the two older forms into authored ones.

    python -m llmkit.convert conversations=old.jsonl output_file=data/conversations/old.yaml

Older forms (one JSON object a line): turns with `{PLACEHOLDER}` slots, and conversations with a
literal `system_context` and literal device names. What a slot or a device name means is the
domain's to say (`Domain.convert`). A conversation that cannot be converted is named with file, line
and reason, and counted; the others are written all the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from llmkit import records
from llmkit.config import ConvertConfig
from llmkit.domain import get_domain
from llmkit.errors import ConfigError, LlmkitError, RecordError
from llmkit.output import write_whole
from llmkit.stage import stage


@runtime_checkable
class Converter(Protocol):
    """A domain that knows what the older forms mean."""

    def convert(self, record: dict[str, Any], form: str) -> dict[str, Any]:
        """The authored record that says the same as `record` in the older form "slots" or
        "literal"; ValueError says why there is none."""


def convert_record(
    value: Any, *, file: str = "", line: int | None = None, domain: str = "installer"
) -> dict[str, Any]:
    """An authored record for `value`, which may be in any form.

    Raises:
        RecordError: it cannot be converted (file, line and reason).
        ConfigError: the domain knows no older forms.
    """
    form = records.form_of(value)
    if form == "authored":
        return dict(value)
    converter = get_domain(domain)
    if not isinstance(converter, Converter):
        raise ConfigError(f"domain {domain} has no conversion from older forms")
    named = {**value, "id": value.get("id") or f"{Path(file).stem or 'line'}-{line or 0}"}
    try:
        return converter.convert(named, form)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise RecordError(records.shorten(reason), file=file, line=line) from error


def convert(cfg: ConvertConfig) -> dict[str, int]:
    """Convert every conversation below `cfg.conversations` into `cfg.output_file`.

    Returns the counts: converted, authored (copied as they were) and dropped.

    Raises:
        ConfigError: no such path, or the output would overwrite one of the inputs.
        RecordError: a file that is not JSONL or YAML at all.
        LlmkitError: with `strict`, when a conversation was dropped.
    """
    target = Path(cfg.output_file)
    paths = records.paths_of(cfg.conversations)
    if any(path.resolve() == target.resolve() for path in paths):
        raise ConfigError(f"output_file={target} is one of the files to convert: choose another")
    written: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    counts = {"converted": 0, "authored": 0, "dropped": 0}
    for path in paths:
        for located in _located(path):
            try:
                authored = records.form_of(located.value) == "authored"
                record = convert_record(
                    located.value, file=located.file, line=located.line, domain=cfg.domain.name
                )
                records.check_record(
                    "conversation", records.Located(record, located.file, located.line)
                )
                place = f"{located.file}:{located.line}"
                if record["id"] in seen:
                    reason = f"id {record['id']} stands already at {seen[record['id']]}"
                    raise RecordError(reason, file=located.file, line=located.line, pointer="/id")
            except RecordError as error:
                counts["dropped"] += 1
                print(f"dropped: {error}", file=sys.stderr)
                continue
            seen[record["id"]] = place
            counts["authored" if authored else "converted"] += 1
            written.append(record)
    if written:
        write_whole(target, records.dump_yaml(written))
        print(f"{target}: {counts['converted']} converted, {counts['authored']} copied")
    else:
        print(f"{target}: not written, there is nothing to put into it")
    if counts["dropped"]:
        summary = f"{counts['dropped']} of {sum(counts.values())} conversations were dropped"
        if cfg.strict or not written:
            raise LlmkitError(summary)
        print(f"{summary} (named above); strict=true makes that an error", file=sys.stderr)
    return counts


def _located(path: Path) -> list[records.Located]:
    if path.suffix != ".jsonl":
        return list(records.read_yaml(path))
    return [records.Located(value, str(path), line) for line, value in records.read_jsonl(path)]


main = stage("convert", convert, schema=ConvertConfig, summary=__doc__.splitlines()[0])

if __name__ == "__main__":
    main()
