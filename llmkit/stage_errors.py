"""Errors as a person reads them: one to three lines, with the place and the fix."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from llmkit.errors import ConfigError, LlmkitError

# Below 0.6 difflib offers names that have little to do with what was typed.
_CUTOFF = 0.6


def nearest(wrong: str, valid: Iterable[str]) -> str | None:
    """The valid name nearest to `wrong`, or None when none is near."""
    found = get_close_matches(wrong, list(valid), n=1, cutoff=_CUTOFF)
    return found[0] if found else None


def suggestion(wrong: str, valid: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing."""
    near = nearest(wrong, valid)
    return f"; did you mean {near}?" if near else ""


def validated(schema: type, values: Mapping[str, Any]) -> Any:
    """`values` as an instance of the pydantic dataclass `schema`.

    Raises ConfigError with a line for each wrong key or value.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        raise ConfigError("\n".join(problems(error, values, schema))) from error


def problems(error: Any, values: Mapping[str, Any], schema: type) -> list[str]:
    """A line for each key that pydantic refused, once each."""
    found: dict[str, list[str]] = {}
    for item in error.errors(include_url=False):
        path, value, known = _walk(values, item["loc"])
        if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            valid = _fields_at(schema, path[:-1])
            near = nearest(path[-1], valid)
            dotted = ".".join([*path[:-1], near]) if near else None
            text = "no such option" + (f"; did you mean {dotted}?" if dotted else "")
            found[".".join(path)] = [text]
        elif item["type"] in ("missing", "missing_argument"):
            name = ".".join([*path, str(item["loc"][-1])]) if not known else ".".join(path)
            found[name] = ["is required"]
        else:
            message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
            texts = found.setdefault(".".join(path), [])
            text = f"{message[:1].lower()}{message[1:]} (got {_shown(value)})"
            if text not in texts:
                texts.append(text)
    return [f"{name}: {' or '.join(_merged(texts))}" for name, texts in found.items()]


def _merged(texts: list[str]) -> list[str]:
    """A union's alternatives all show the same value: show it once, at the end."""
    heads = [text.rsplit(" (got ", 1)[0] for text in texts[:-1]]
    return [*heads, texts[-1]]


def _walk(values: Any, location: Sequence[Any]) -> tuple[list[str], Any, bool]:
    """The part of pydantic's location that the user wrote, its value, whether all of it.

    pydantic adds the names of union members and validators to a location, and counts
    the entries of a mapping that was read as a list.
    """
    path: list[str] = []
    for step in location:
        if str(step).startswith("="):  # the tag of a union's member
            continue
        if isinstance(values, Mapping) and step in values:
            key = step
        elif isinstance(values, Mapping) and isinstance(step, int) and step < len(values):
            key = list(values)[step]
        elif isinstance(values, list) and isinstance(step, int) and step < len(values):
            key = step
        else:
            return path, values, False
        path.append(str(key))
        values = values[key]
    return path, values, True


def _fields_at(schema: Any, path: Sequence[str]) -> list[str]:
    """Names of the options that `schema` has at a dotted path; [] where it is not known."""
    import dataclasses
    import typing

    for step in [*path, None]:
        while not dataclasses.is_dataclass(schema):
            inner = [kind for kind in typing.get_args(schema) if kind is not type(None)]
            if not inner:
                return []
            schema = inner[-1] if typing.get_origin(schema) is dict else inner[0]
        if step is None:
            break
        hints = typing.get_type_hints(schema)
        if step in hints:
            schema = hints[step]
        elif not step.isdigit():
            # The name of an entry (a layout): same schema for all, found a level above.
            continue
    return [field.name for field in dataclasses.fields(schema)]


def _shown(value: Any, width: int = 60) -> str:
    words = {None: "null", True: "true", False: "false"}  # as they are typed
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def lines(error: BaseException) -> list[str]:
    """`error` in one to three lines, without `error: `."""
    if isinstance(error, LlmkitError):
        return str(error).splitlines() or [type(error).__name__]
    if isinstance(error, MemoryError):
        return ["out of memory: use fewer workers or a smaller input"]
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f": {error.filename}" if error.filename else ""
            return [f"no space left on the device{where}; what was there before is untouched"]
        where = f"{error.filename}: " if error.filename else ""
        return [f"{where}{error.strerror or error}"]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    text = str(error).splitlines()
    return [
        f"internal error: {type(error).__name__}: {text[0] if text else ''}{place}",
        "run again with LLMKIT_DEBUG=1 for the traceback",
    ]


def exit_code(error: BaseException) -> int:
    """The exit code that `error` means."""
    return error.exit_code if isinstance(error, LlmkitError) else 1


def show(texts: Sequence[str]) -> None:
    """Print an error's lines to stderr: `error: …`, further lines indented below it."""
    head, *rest = texts
    show_line(f"error: {head}")
    for text in rest:
        show_line(f"       {text}")


def show_line(text: str) -> None:
    """Print a line to stderr, below any progress bar."""
    sys.stdout.flush() if not sys.stdout.closed else None
    print(text, file=sys.stderr, flush=True)
