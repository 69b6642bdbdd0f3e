"""Patterns (`*`, `?`, `[…]`) over device nodes, looked up in a state.

Only the last part of a path may hold a pattern, below /dev, /dev/mapper, /dev/disk/by-* and
/dev/VOLUMEGROUP, and only where every node that could match is in the state: /dev/sd*, /dev/vd*,
/dev/hd*, /dev/xvd*, /dev/nvme0n*, /dev/mmcblk0p*, /dev/md*. A pattern that might match a node which
a state does not hold (/dev/nvme0 is a controller, /dev/mapper/control, /dev/mmcblk0boot0, loop
devices) is not known. by-uuid and by-partuuid are known only when every UUID is.
"""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from typing import Any, TypeAlias

from llmkit.installer.state import SystemState

Segment: TypeAlias = tuple[str | None, bool]  # text, and whether it is a pattern

_FAMILIES = ("sd", "vd", "hd", "xvd", "nvme", "mmcblk", "md")
_OTHERS = (
    "nvme-fabrics",
    *(f"nvme{i}" for i in range(10)),
    *(f"mmcblk{i}{tail}" for i in range(4) for tail in ("boot0", "boot1", "rpmb", "gp0")),
    "md",
)


def expand_pattern(segments: list[Segment], state: SystemState) -> list[str] | None:
    """The paths that match, sorted; the pattern itself when none does; None: not known."""
    text = "".join(piece or "" for piece, _ in segments)
    first = next(i for i, (_, active) in enumerate(segments) if active)
    before = "".join(piece or "" for piece, _ in segments[:first])
    directory, slash, _ = before.rpartition("/")
    if not slash or "/" in text[len(before) :]:
        return None
    written = directory + "/"
    base = re.sub("^/+", "/", posixpath.normpath(written))
    names = _names(base, state)
    if names is None:
        return None
    if base == "/dev":
        prefix = before[len(written) :]
        if not prefix.startswith(_FAMILIES):
            return None
    matches = _compile(tuple(segments[:first]), tuple(segments[first:]), len(written))
    if any(matches.fullmatch(name) for name in _others(base)):
        return None
    found = sorted(name for name in names if matches.fullmatch(name))
    return [written + name for name in found] or [text]


def _others(base: str) -> tuple[str, ...]:
    if base == "/dev":
        return _OTHERS
    return ("control",) if base == "/dev/mapper" else ()


def _names(base: str, state: SystemState) -> set[str] | None:
    """Names of the nodes in a directory below /dev; None: not known."""
    if base == "/dev":
        return {path[5:] for path in state.devices() if path.count("/") == 2}
    if base == "/dev/mapper":
        return {path[12:] for path in state.devices() if path.startswith("/dev/mapper/")}
    links = {link[len(base) + 1 :] for link, _ in state.links if link.startswith(base + "/")}
    links = {name for name in links if "/" not in name}
    parts = [part for disk in state.disks for part in disk.partitions]
    holders: list[Any] = [*state.disks, *parts, *state.mappings]
    signatures = [item.signature for item in holders]
    if base == "/dev/disk/by-label":
        return links | {s.label for s in signatures if s and s.label}
    if base == "/dev/disk/by-partlabel":
        return links | {part.name for part in parts if part.name}
    if base == "/dev/disk/by-uuid":
        uuids = {s.uuid for s in signatures if s}
        return None if "" in uuids else links | uuids
    if base == "/dev/disk/by-partuuid":
        uuids = {part.partuuid for part in parts}
        return None if "" in uuids else links | uuids
    return links or None


@lru_cache(maxsize=512)
def _compile(before: tuple[Segment, ...], after: tuple[Segment, ...], skip: int) -> re.Pattern[str]:
    literal = "".join(piece or "" for piece, _ in before)[skip:]
    pattern = re.escape(literal)
    for piece, active in after:
        pattern += translate(piece or "") if active else re.escape(piece or "")
    return re.compile(pattern, re.DOTALL)


def translate(glob: str) -> str:
    """One `*`, `?` or `[…]` as a regular expression."""
    if glob == "*":
        return ".*"
    if glob == "?":
        return "."
    inner = glob[1:-1]
    negated = inner[:1] in ("!", "^")
    inner = inner[1:] if negated else inner
    ranges = re.sub(r"([\\\]\[^&~|])", r"\\\1", inner)
    ranges = re.sub(r"^-|-$", r"\\-", ranges)
    try:
        re.compile(f"[{ranges}]")
    except re.error:  # [z-a] matches nothing
        return "(?!)"
    return f"[{'^' if negated else ''}{ranges}]"
