"""The exceptions that llmkit raises on purpose, and the exit code each one means.

    LlmkitError                     1  the work failed, or a check did not hold
    ├── ConfigError                 2  a bad command line, config or input path
    │   ├── ToolkitNotFound         2  conf/, templates/ and data/ are nowhere to be found
    │   └── MissingExtra            2  an optional package is not installed
    ├── RecordError                 1  a record does not match its schema
    ├── TemplateError               1  a template or conversation cannot be rendered
    ├── DomainError                 1  a domain refuses a command or a state
    └── OutputError                 1  a result cannot be written

`llmkit.stage` prints any of them as one to three lines, `error: …`, and exits with
`exit_code`. Everything else is a bug: it is printed short too, and in full with
`LLMKIT_DEBUG=1`. All of them survive pickling, since a sweep's jobs may run in other
processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class LlmkitError(Exception):
    """Base of every error that llmkit raises on purpose."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own __reduce__ calls the class with `args` alone and so loses
        # keyword-only fields; everything an error of ours holds is in its __dict__.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(kind: type[LlmkitError], args: tuple[Any, ...], fields: dict[str, Any]) -> LlmkitError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class ConfigError(LlmkitError):
    """The command line, a config file or an input path is wrong; nothing was started."""

    exit_code = 2


class ToolkitNotFound(ConfigError):
    """No folder that holds llmkit's conf/, templates/ and data/ was found."""


class MissingExtra(ConfigError):
    """A feature was selected whose packages are not installed.

    `extra` is the name to put in brackets: `pip install 'llmkit[train]'`.
    """

    def __init__(self, extra: str, feature: str = "this", package: str | None = None) -> None:
        missing = f" ({package} is not installed)" if package else ""
        super().__init__(f"{feature} needs more packages{missing}: pip install 'llmkit[{extra}]'")
        self.extra = extra
        self.package = package


class RecordError(LlmkitError):
    """A record (snapshot, conversation, test case) breaks its schema or a rule.

    `line` counts from 1; `pointer` is a JSON pointer (RFC 6901), "" for the whole record.
    str() is `file:line: /pointer: reason`, with the parts that are known.
    """

    def __init__(
        self,
        reason: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        pointer: str = "",
    ) -> None:
        self.file = None if file is None else str(file)
        self.line = line
        self.pointer = pointer
        self.reason = reason
        place = ":".join(str(part) for part in (self.file, line) if part is not None)
        super().__init__(": ".join(part for part in (place, pointer, reason) if part))


class TemplateError(LlmkitError):
    """A template cannot be compiled or rendered.

    `where` names the place in the user's words (a file, a conversation and turn);
    `conversation`, `turn` (from 1) and `variable` are set where they are known.
    """

    def __init__(
        self,
        reason: str,
        *,
        where: str = "",
        conversation: str | None = None,
        turn: int | None = None,
        variable: str | None = None,
    ) -> None:
        self.reason = reason
        self.where = where
        self.conversation = conversation
        self.turn = turn
        self.variable = variable
        parts = [where]
        if conversation is not None:
            parts.append(f"conversation {conversation}")
        if turn is not None:
            parts.append(f"turn {turn}")
        place = ", ".join(part for part in parts if part)
        super().__init__(f"{place}: {reason}" if place else reason)


class DomainError(LlmkitError):
    """A domain cannot do what was asked of it: no such device, busy, no space, …"""


class OutputError(LlmkitError):
    """A result cannot be written; `path` names what, `reason` says why."""

    def __init__(self, path: str | Path, reason: str | OSError) -> None:
        self.path = str(path)
        text = reason.strerror or str(reason) if isinstance(reason, OSError) else reason
        self.reason = text
        super().__init__(f"cannot write {self.path}: {text}")
