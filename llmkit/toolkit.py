"""Find llmkit's conf/, templates/ and data/, from a checkout or an installed package.

    python -m llmkit.toolkit

prints the folder that was found, which rule found it, and what was tried before.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import ToolkitNotFound

VARIABLE = "LLM_TOOLKIT_PATH"

# Not conf/ alone: a stray `conf` package in site-packages would be taken for ours.
MARKER = Path("conf", "augment.yaml")


@dataclass(frozen=True)
class Toolkit:
    """Where the toolkit's files are.

    `source` says which rule found `root`; `tried` lists (rule, folder) of the rules
    that came before it and held nothing.
    """

    root: Path
    source: str
    tried: list[tuple[str, Path]]

    @property
    def conf(self) -> Path:
        """Hydra's root YAMLs and groups."""
        return self.root / "conf"

    @property
    def templates(self) -> Path:
        """Jinja2 templates."""
        return self.root / "templates"

    @property
    def data(self) -> Path:
        """Conversations, test cases and shipped adapters."""
        return self.root / "data"


def candidates() -> list[tuple[str, Path]]:
    """The places to look after LLM_TOOLKIT_PATH, best first, as (rule, folder)."""
    package = Path(__file__).resolve().parent
    executable = Path(os.path.abspath(sys.executable)).parent
    places = [
        ("checkout", package.parent),
        ("installed package", package / "_share"),
        ("beside the executable", executable / "llm-toolkit"),
        ("beside the executable", executable.parent / "share" / "llm-toolkit"),
        ("prefix", Path(sys.prefix) / "share" / "llm-toolkit"),
        ("system", Path("/usr/share/llm-toolkit")),
        ("system", Path("/usr/local/share/llm-toolkit")),
    ]
    found: dict[Path, str] = {}
    for rule, path in places:
        found.setdefault(path, rule)
    return [(rule, path) for path, rule in found.items()]


def find_toolkit() -> Toolkit:
    """Return the toolkit, and export its absolute path as LLM_TOOLKIT_PATH.

    The export is what lets worker processes and jobs that change folder find the
    same files. Raises ToolkitNotFound when LLM_TOOLKIT_PATH is set and wrong (it is
    never ignored), or when no place holds conf/augment.yaml.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        root = Path(named).expanduser().absolute()
        if not named or not (root / MARKER).is_file():
            raise ToolkitNotFound(
                f"{VARIABLE}={named!r} is not an llmkit folder: {root / MARKER} is missing\n"
                f"set {VARIABLE} to the folder of conf/, templates/ and data/, or unset it"
            )
        os.environ[VARIABLE] = str(root)
        return Toolkit(root, VARIABLE, [])
    tried: list[tuple[str, Path]] = []
    for rule, root in candidates():
        if (root / MARKER).is_file():
            os.environ[VARIABLE] = str(root)
            return Toolkit(root, rule, tried)
        tried.append((rule, root))
    places = ", ".join(str(root) for _, root in tried)
    raise ToolkitNotFound(
        f"llmkit's conf/, templates/ and data/ were not found; looked in {places}\n"
        f"set {VARIABLE} to the folder that holds them"
    )


def main() -> int:
    """Print what was found and why; 2 when nothing was."""
    named = os.environ.get(VARIABLE)
    try:
        toolkit = find_toolkit()
    except ToolkitNotFound as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    lines = [
        f"toolkit:   {toolkit.root}",
        f"found by:  {toolkit.source}",
        f"conf:      {toolkit.conf}",
        f"templates: {toolkit.templates}",
        f"data:      {toolkit.data}",
        f"{VARIABLE}: {named if named is not None else 'not set'}",
        *(f"tried before: {root} ({rule}): no {MARKER}" for rule, root in toolkit.tried),
    ]
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
