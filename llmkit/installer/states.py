"""SystemState as a dict for JSON, and back.

    >>> to_dict(from_dict({"disks": [{"name": "sda", "size": 500107862016}]}))
    {'disks': [{'name': 'sda', 'size': 500107862016}]}

The dict is short: a field that has its default value is left out. Pairs (trees, files, links) are
objects. Reading is strict: what it refuses, it names by its place ("disks[0].partitions[1].size").
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache
from itertools import pairwise
from typing import Any

from llmkit.errors import DomainError
from llmkit.installer import state as model

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+!#-]*")
_CHOICES = {
    ("Partition", "role"): ("primary", "extended", "logical"),
    ("Mapping", "kind"): ("crypt", "lvm", "raid"),
    ("SystemState", "boot_mode"): ("uefi", "bios"),
    ("SystemState", "status"): ("running", "rebooting", "off"),
}
_SORTED = {("Partition", "flags"), ("Tree", "directories"), ("Tree", "groups"),
           ("Tree", "services"), ("Tree", "fstab"), ("Tree", "subvolumes"), ("User", "groups"),
           ("SystemState", "swaps")}  # fmt: skip

Spec = tuple[str, Any, str]  # field, its default (MISSING when it must be given), its type


@cache
def _specs(cls: type) -> tuple[Spec, ...]:
    out: list[Spec] = []
    for item in fields(cls):
        default = item.default
        if default is MISSING and item.default_factory is not MISSING:
            default = item.default_factory()
        out.append((item.name, default, str(item.type)))
    return tuple(out)


def to_dict(state: model.SystemState) -> dict[str, Any]:
    """JSON-ready and short: what has its default value is left out."""
    return _encode(state, _specs(model.SystemState))


def _encode(value: Any, specs: tuple[Spec, ...]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, default, kind in specs:
        item = getattr(value, name)
        if item == default and item is not MISSING:
            continue
        out[name] = _WRITERS[kind](item) if kind in _WRITERS else item
    return out


def _writer(name: str) -> Callable[[Any], Any]:
    return lambda value: None if value is None else _encode(value, _specs(getattr(model, name)))


def _many(name: str) -> Callable[[Any], Any]:
    def write(values: Any) -> list[Any]:
        specs = _specs(getattr(model, name))
        return [_encode(value, specs) for value in values]

    return write


def _live_specs() -> tuple[Spec, ...]:
    """A tree's fields with the live system's defaults, so that its dict holds only what differs."""
    live = next(default for name, default, _ in _specs(model.SystemState) if name == "live")
    return tuple((name, getattr(live, name), kind) for name, _, kind in _specs(model.Tree))


def _texts(value: Any) -> Any:
    return None if value is None else list(value)


_WRITERS: dict[str, Callable[[Any], Any]] = {
    "Signature | None": _writer("Signature"),
    "tuple[Disk, ...]": _many("Disk"),
    "tuple[Partition, ...]": _many("Partition"),
    "tuple[Mapping, ...]": _many("Mapping"),
    "tuple[VolumeGroup, ...]": _many("VolumeGroup"),
    "tuple[Mount, ...]": _many("Mount"),
    "tuple[User, ...]": _many("User"),
    "tuple[str, ...]": _texts,
    "tuple[str, ...] | None": _texts,
    "tuple[tuple[str, str], ...]": dict,
    "tuple[tuple[str, str | None], ...]": dict,
    "tuple[tuple[int, Signature], ...]": lambda pairs: [
        {"offset": offset, **_encode(sig, _specs(model.Signature))} for offset, sig in pairs
    ],
    "tuple[tuple[str, Tree], ...]": lambda pairs: {
        path: _encode(tree, _specs(model.Tree)) for path, tree in pairs
    },
    "Tree": lambda tree: _encode(tree, _live_specs()),
}


def from_dict(data: dict[str, Any]) -> model.SystemState:
    """Read what `to_dict` wrote.

    Raises:
        DomainError: unknown keys, wrong types, or an impossible machine; names the place.
    """
    state = _decode(data, model.SystemState, _specs(model.SystemState), "")
    _check(state)
    return state


def _fail(where: str, reason: str) -> DomainError:
    return DomainError(f"{where or 'state'}: {reason}")


def _decode(data: Any, cls: type, specs: tuple[Spec, ...], where: str) -> Any:
    if not isinstance(data, dict):
        raise _fail(where, f"an object was expected, not {_shown(data)}")
    known = [name for name, _, _ in specs]
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise _fail(_at(where, str(key)), f"unknown key{hint}")
    values: dict[str, Any] = {}
    for name, default, kind in specs:
        if name in data:
            place = _at(where, name)
            value = _read(data[name], kind, place)
            choices = _CHOICES.get((cls.__name__, name))
            if choices and value not in choices:
                raise _fail(place, f"{value!r} is not one of {', '.join(choices)}")
            if (cls.__name__, name) in _SORTED:
                value = tuple(sorted(set(value)))
            values[name] = value
        elif default is MISSING:
            raise _fail(where, f"{name} is missing")
        else:
            values[name] = default
    return cls(**values)


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _scalar(value: Any, kind: type, words: str, where: str) -> Any:
    if type(value) is not kind:  # bool is an int to isinstance
        raise _fail(where, f"{words} was expected, not {_shown(value)}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise _fail(where, f"a list was expected, not {_shown(value)}")
    return list(value)


def _pairs(value: Any, where: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise _fail(where, f"an object was expected, not {_shown(value)}")
    for key in value:
        if not isinstance(key, str):
            raise _fail(where, f"a key is not text: {_shown(key)}")
    return sorted(value.items())


def _read(value: Any, kind: str, where: str) -> Any:
    """Decode one field's value by the text of its type."""
    if kind.endswith(" | None") and value is None:
        return None
    kind = kind.removesuffix(" | None")
    if kind == "str":
        return _scalar(value, str, "text", where)
    if kind == "int":
        if _scalar(value, int, "a whole number", where) < 0:
            raise _fail(where, f"{value} is below zero")
        return value
    if kind == "bool":
        return _scalar(value, bool, "true or false", where)
    if kind == "tuple[str, ...]":
        return tuple(
            _scalar(item, str, "text", f"{where}[{index}]")
            for index, item in enumerate(_list(value, where))
        )
    if kind == "Signature":
        return _decode(value, model.Signature, _specs(model.Signature), where)
    if kind == "Tree":
        return _decode(value, model.Tree, _live_specs(), where)
    if kind == "tuple[tuple[str, str], ...]":
        return tuple(
            (key, _scalar(item, str, "text", f"{where}[{key!r}]"))
            for key, item in _pairs(value, where)
        )
    if kind == "tuple[tuple[str, str | None], ...]":
        return tuple(
            (key, None if item is None else _scalar(item, str, "text", f"{where}[{key!r}]"))
            for key, item in _pairs(value, where)
        )
    if kind == "tuple[tuple[str, Tree], ...]":
        return tuple(
            (key, _decode(item, model.Tree, _specs(model.Tree), f"{where}[{key!r}]"))
            for key, item in _pairs(value, where)
        )
    if kind == "tuple[tuple[int, Signature], ...]":
        return tuple(
            _stale(item, f"{where}[{index}]") for index, item in enumerate(_list(value, where))
        )
    cls = getattr(model, kind.removeprefix("tuple[").removesuffix(", ...]"))
    return tuple(
        _decode(item, cls, _specs(cls), f"{where}[{index}]")
        for index, item in enumerate(_list(value, where))
    )


def _stale(item: Any, where: str) -> tuple[int, model.Signature]:
    if not isinstance(item, dict) or "offset" not in item:
        raise _fail(where, "an object with offset and kind was expected")
    rest = {key: value for key, value in item.items() if key != "offset"}
    offset = _read(item["offset"], "int", f"{where}.offset")
    return offset, _decode(rest, model.Signature, _specs(model.Signature), where)


def _check(state: model.SystemState) -> None:
    """Refuse an impossible machine."""
    seen: set[str] = set()
    for index, disk in enumerate(state.disks):
        where = f"disks[{index}]"
        if not _NAME.fullmatch(disk.name):
            raise _fail(f"{where}.name", f"{disk.name!r} is not a kernel name such as sda")
        if disk.sector <= 0:
            raise _fail(f"{where}.sector", f"{disk.sector} is not a sector size")
        _unique(seen, disk.path, where)
        _check_partitions(disk, where)
        for part in disk.partitions:
            _unique(seen, disk.partition_path(part.number), where)
    for index, mapping in enumerate(state.mappings):
        _unique(seen, mapping.path, f"mappings[{index}]")
    for index, mount in enumerate(state.mounts):
        if not mount.target.startswith("/"):
            raise _fail(f"mounts[{index}].target", f"{mount.target!r} is not an absolute path")
    names: set[str] = set()
    for index, group in enumerate(state.groups):
        _unique(names, group.name, f"groups[{index}]")
    for where, tree in (("live", state.live), *((f"trees[{p!r}]", t) for p, t in state.trees)):
        users: set[str] = set()
        for user in tree.users:
            _unique(users, user.name, f"{where}.users")


def _unique(seen: set[str], name: str, where: str) -> None:
    if name in seen:
        raise _fail(where, f"{name} is there twice")
    seen.add(name)


def _check_partitions(disk: model.Disk, where: str) -> None:
    if disk.partitions and disk.table is None:
        raise _fail(f"{where}.table", f"{disk.path} has partitions, so it needs gpt or msdos")
    extended = [part for part in disk.partitions if part.role == "extended"]
    if disk.table != "msdos" and any(part.role != "primary" for part in disk.partitions):
        raise _fail(f"{where}.partitions", "only msdos has extended and logical partitions")
    if len(extended) > 1:
        raise _fail(f"{where}.partitions", "there can be one extended partition")
    for index, part in enumerate(disk.partitions):
        place = f"{where}.partitions[{index}]"
        if part.number < 1:
            raise _fail(f"{place}.number", "partitions count from 1")
        if part.end > disk.size:
            raise _fail(place, f"ends at byte {part.end}, past the disk's end at {disk.size}")
        if part.role == "logical" and not any(
            outer.start <= part.start and part.end <= outer.end for outer in extended
        ):
            raise _fail(place, "a logical partition must lie within the extended one")
    for roles in (("primary", "extended"), ("logical",)):
        row = sorted((p.start, p.end, p.number) for p in disk.partitions if p.role in roles)
        for (_, end, one), (start, _, two) in pairwise(row):
            if start < end:
                raise _fail(f"{where}.partitions", f"partitions {one} and {two} overlap")
