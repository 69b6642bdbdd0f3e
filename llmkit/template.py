"""Sandboxed Jinja2: undefined names are errors, and a source is compiled once.

from llmkit.template import render
render("mkfs.ext4 {{ root.path }}", {"root": disk}, where="ext4-01, turn 3")
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateSyntaxError
from jinja2 import TemplateError as JinjaError
from jinja2.exceptions import SecurityError, TemplateNotFound, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from llmkit.errors import TemplateError

# Distinct sources in a corpus are a few thousand; an evicted one is only compiled again.
_CACHE_SIZE = 65_536


def environment(loader_paths: Iterable[str | Path] | None = None) -> SandboxedEnvironment:
    """A sandboxed environment that loads named templates from `loader_paths`, in order.

    Undefined names raise, nothing is escaped (the output is shell and plain text), a
    block tag takes its line with it, and a trailing newline is kept.
    """
    paths = None if loader_paths is None else [str(path) for path in loader_paths]
    return SandboxedEnvironment(
        loader=None if paths is None else FileSystemLoader(paths),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=_CACHE_SIZE,
    )


@lru_cache(maxsize=1)
def _plain() -> SandboxedEnvironment:
    return environment()


@lru_cache(maxsize=_CACHE_SIZE)
def compile(source: str) -> Template:
    """Compile `source` once; the same text gives the same Template.

    Raises TemplateError for a syntax error.
    """
    try:
        return _plain().from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from error


def render(source: str, variables: Mapping[str, Any], where: str) -> str:
    """Render `source` with `variables`.

    Raises TemplateError, which names `where` and the undefined variable, for a syntax
    error, an undefined name, a forbidden attribute or an error inside an expression.
    """
    try:
        return compile(source).render(variables)
    except TemplateError as error:
        raise TemplateError(error.reason, where=where) from error
    except UndefinedError as error:
        name = undefined_name(error)
        raise TemplateError(str(error.message), where=where, variable=name) from error
    except SecurityError as error:
        raise TemplateError(f"not allowed in a template: {error}", where=where) from error
    except TemplateNotFound as error:
        raise TemplateError(f"no template named {error.name!r}", where=where) from error
    except (JinjaError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise TemplateError(f"{type(error).__name__}: {error}", where=where) from error


def undefined_name(error: UndefinedError) -> str | None:
    """The name that was not defined, out of Jinja2's message, or None."""
    found = re.search(r"'([^']+)' is undefined|has no attribute '([^']+)'", str(error.message))
    return None if found is None else found[1] or found[2]
