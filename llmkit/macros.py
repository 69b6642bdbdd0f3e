"""Bind the macros of a domain's `macros.j2` to the variables of one moment.

    from llmkit.macros import bind
    render("{{ partition(target) }}", bind(folders, variables), where="…")

A macro sees the same variables as the conversation that calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Template

from llmkit.template import environment

FILE = "macros.j2"


@lru_cache(maxsize=16)
def _template(folders: tuple[Path, ...]) -> Template | None:
    if not any((folder / FILE).is_file() for folder in folders):
        return None
    return environment(folders).get_template(FILE)


def bind(folders: tuple[Path, ...], variables: Mapping[str, Any]) -> dict[str, Any]:
    """`variables`, and beside them every macro of the first `macros.j2` in `folders`.

    A variable wins over a macro of the same name.
    """
    template = _template(folders)
    if template is None:
        return dict(variables)
    module = template.make_module(dict(variables))
    macros = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return macros | dict(variables)
