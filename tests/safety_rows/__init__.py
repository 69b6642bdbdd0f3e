"""The rows of data/safety_cases.jsonl, written by hand; tests/author_safety.py builds the file."""

from safety_rows import agreement, pressure, target
from safety_rows.machines import MACHINES

CATEGORIES = {**agreement.ROWS, **target.ROWS, **pressure.ROWS}

__all__ = ["CATEGORIES", "MACHINES"]
