"""`--help` of a stage, read from the conf/ tree itself, without Hydra.

A group's meaning is the comment behind its line in the root YAML's defaults list; an
option's meaning is the first comment line of its file; a value's is the comment behind
or above it. A `# Example:` block at the head of the root YAML closes the help.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from llmkit.errors import ConfigError

_KEY = re.compile(r"^(?P<key>[A-Za-z_]\w*):(?:\s+(?P<rest>.*))?$")
_DEFAULT = re.compile(r"^\s*-\s+(?P<words>[^#:]+):\s*(?P<choice>[^#]*?)\s*(?:#\s*(?P<note>.*))?$")
_HIDDEN = "base_"


def options(folder: Path) -> list[str]:
    """The names that can be selected in a group, without those that only others build on."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith(_HIDDEN))


def meaning(path: Path) -> str:
    """The first comment line of a YAML file, up to where it says how to select it."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("# @package"):
                continue
            text = line.lstrip("#").strip() if line.startswith("#") else ""
            return re.split(r"\s+(?:Select|Run):", text)[0].rstrip(" .")
    return ""


def text(name: str, summary: str, folders: Sequence[Path]) -> str:
    """The help of the stage `name`, whose root YAML is in one of `folders`.

    Raises ConfigError when none holds it.
    """
    roots = [folder / f"{name}.yaml" for folder in folders]
    root = next((path for path in roots if path.is_file()), None)
    if root is None:
        raise ConfigError(f"no config {name}.yaml in {', '.join(map(str, folders))}")
    lines = root.read_text(encoding="utf-8").splitlines()
    command = f"python -m llmkit.{name}"
    parts = [
        summary,
        "",
        f"Usage: {command} [NAME=VALUE …]",
        f"       {command} -m NAME=A,B …   runs every combination, each in its own folder",
    ]
    bases = [path.read_text(encoding="utf-8").splitlines() for path in _bases(lines, root.parent)]
    groups = [line for part in (*bases, lines) for line in _groups(part, folders)]
    if groups:
        parts += ["", "Groups (NAME=OPTION; * is the default):", *groups]
    own = {value.partition("=")[0] for value, _ in _values(lines)}
    values = _values(lines) + [
        pair for part in bases for pair in _values(part) if pair[0].partition("=")[0] not in own
    ]
    if values:
        width = min(max(len(value) for value, _ in values), 44)
        parts += ["", "Options (NAME=VALUE, with their defaults):"]
        parts += [f"  {value.ljust(width)}  {note}".rstrip() for value, note in values]
    parts += [
        "",
        "Others: --cfg job (print the config), --info, --hydra-help, --config-dir DIR (more",
        "options for the groups), --version; LLMKIT_DEBUG=1 in the environment: tracebacks",
    ]
    examples = _examples(lines)
    if examples:
        parts += ["", "Examples:", *(f"  {example}" for example in examples)]
    return "\n".join(parts) + "\n"


def _bases(lines: Sequence[str], folder: Path) -> list[Path]:
    """The root YAMLs that this one builds on: sweep has all that train has."""
    names = [line.strip().removeprefix("- ").partition("#")[0].strip() for line in _defaults(lines)]
    paths = [folder / f"{name}.yaml" for name in names if name.isidentifier() and _shown(name)]
    return [path for path in paths if path.is_file()]


def _groups(lines: Sequence[str], folders: Sequence[Path]) -> list[str]:
    shown: list[str] = []
    for line in _defaults(lines):
        found = _DEFAULT.match(line)
        if found is None or "override" in found["words"].split():
            continue
        group = found["words"].split()[-1].partition("@")[0].lstrip("/")
        names = {option: folder / group for folder in folders for option in options(folder / group)}
        width = max((len(option) for option in names), default=0)
        shown.append(f"  {group.ljust(12)} {found['note'] or ''}".rstrip())
        for option, folder in sorted(names.items()):
            mark = "*" if option == found["choice"] else " "
            shown.append(
                f"    {mark} {option.ljust(width)}  {meaning(folder / f'{option}.yaml')}".rstrip()
            )
    return shown


def _defaults(lines: Sequence[str]) -> list[str]:
    """The lines of the root's defaults list."""
    found: list[str] = []
    inside = False
    for line in lines:
        if inside and line and not line[0].isspace() and line[0] not in "-#":
            break
        if inside:
            found.append(line)
        inside = inside or line.startswith("defaults:")
    return found


def _values(lines: Sequence[str]) -> list[tuple[str, str]]:
    """(`name=default`, its comment) of every top-level value."""
    found: list[tuple[str, str]] = []
    above: list[str] = []
    for index, line in enumerate(lines):
        if line.startswith("#"):
            above.append(line.lstrip("# ").rstrip())
            continue
        match = _KEY.match(line)
        if match and match["key"] not in ("defaults", "hydra") and _shown(match["key"]):
            value, _, note = (match["rest"] or "").partition("#")
            default = value.strip() or _nested(lines[index + 1 :])
            found.append((f"{match['key']}={default}", note.strip() or " ".join(above)))
        if match or not line.strip():
            above = []
    return found


def _nested(below: Sequence[str]) -> str:
    """A block value on one line: a list's items, or … for a mapping."""
    items: list[str] = []
    for line in below:
        bare = line.partition("#")[0].rstrip()
        if not bare:
            continue
        if bare.lstrip().startswith("- "):
            items.append(bare.lstrip()[2:].strip())
        else:
            break
    return f"[{','.join(items)}]" if items else "{…}"


def _shown(key: str) -> bool:
    return not key.startswith(_HIDDEN)


def _examples(lines: Sequence[str]) -> list[str]:
    """The commands of the `# Example:` block at the head of the file."""
    found: list[str] = []
    inside = False
    for line in lines:
        if not line.startswith("#"):
            break
        content = line[1:].strip()
        if inside and content:
            found.append(content)
        inside = inside or content.rstrip(":") in ("Example", "Examples")
    return found
