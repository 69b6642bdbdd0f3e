"""Sizes as integer bytes: read what people and tools write, print what lsblk prints.

    >>> parse("512MiB"), parse("500GB"), parse("512M")
    (536870912, 500000000000, 536870912)
    >>> human(512110190592)
    '476.9G'

`KB`, `MB`, `GB`, `TB` are powers of 1000 (what is printed on a disk's box); `K`, `M`, `G`, `T` and
`KiB`, `MiB`, `GiB`, `TiB` are powers of 1024 (what sgdisk, lsblk and mkfs mean).
"""

from __future__ import annotations

import re

_UNITS = "KMGTPE"
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGTPE])(i?B)?|B)?\s*", re.IGNORECASE | re.ASCII)


def parse(text: str) -> int:
    """Bytes meant by `text`.

    Raises:
        ValueError: not a size, or a negative one.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a size: {text!r} (write 512MiB, 500GB or a number of bytes)")
    number, unit, suffix = match.groups()
    factor = 1
    if unit:
        base = 1000 if suffix and suffix.lower() == "b" else 1024
        factor = base ** (_UNITS.index(unit.upper()) + 1)
    whole, _, fraction = number.partition(".")
    value = int(whole) * factor
    if fraction:  # exact: no float, so that 1.5T is the same on every machine
        value += int(fraction) * factor // 10 ** len(fraction)
    return value


def human(size: int) -> str:
    """What lsblk prints for `size` bytes: one decimal, no `.0`; thousandths are cut off, then
    rounded half up to tenths (util-linux 2.38; held against lsblk in tests/test_size.py)."""
    if size < 0:
        raise ValueError(f"a size cannot be negative: {size}")
    exponent = 0
    while exponent < len(_UNITS) and size >> (10 * (exponent + 1)):
        exponent += 1
    if exponent == 0:
        return f"{size}B"
    shift = 10 * exponent
    whole, rest = size >> shift, size & ((1 << shift) - 1)
    tenths = ((rest * 1000 >> shift) + 50) // 100
    if tenths == 10:
        whole, tenths = whole + 1, 0
    return f"{whole}.{tenths}{_UNITS[exponent - 1]}" if tenths else f"{whole}{_UNITS[exponent - 1]}"
