"""Split conversations into training and testing, and see which words stand on both sides.

    from llmkit.split import side
    side("expert-07", test=0.15, salt="llmkit")  # "train" or "test"

A conversation's side follows from its id alone, so that adding or removing others moves nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from llmkit.records import Conversation

TRAIN, TEST = "train", "test"

_WORDS = re.compile(r"[\w/{}]+")  # slots and paths are words


def side(identifier: str, *, test: float = 0.15, salt: str = "") -> str:
    """TRAIN or TEST, by a hash of the salt and the id: a share of `test` (0 to 1) is TEST."""
    digest = hashlib.sha256(f"{salt}\0{identifier}".encode()).digest()
    return TEST if int.from_bytes(digest[:8], "big") < test * 2**64 else TRAIN


def owner(snapshot: Mapping[str, Any], file: str, line: int) -> str:
    """The conversation that a snapshot is of; its place in its file, where it does not say."""
    meta = snapshot.get("meta") or {}
    return str(meta.get("conversation") or f"{PurePath(file).name}:{line}")


def is_held(identifier: str, share: float) -> bool:
    """Whether training keeps a conversation of its data apart, to watch itself by.

    The test half must not be used for that: what is chosen by it cannot be reported on it.
    """
    return side(identifier, test=share, salt="held out of training") == TEST


def normal(wording: str) -> str:
    """A wording without what does not make it another one: case, spaces, punctuation."""
    return " ".join(_WORDS.findall(wording.casefold()))


def wordings(conversations: Iterable[Conversation]) -> set[str]:
    """Every normalised wording (as written, slots unfilled) of the person in `conversations`."""
    return {normal(word) for item in conversations for turn in item.turns for word in turn.user}


def unshared(words: tuple[str, ...], taken: set[str] | frozenset[str]) -> tuple[str, ...]:
    """The wordings that are not in `taken` (normalised); all of them when that leaves none.

    A test turn says in words of its own what it can. What it cannot ("yes") stays, and the
    dataset card lists it.
    """
    own = tuple(word for word in words if normal(word) not in taken)
    return own or words


def fingerprint(wording: str) -> int:
    """64 bits of a normalised wording, to count distinct ones in little memory."""
    return int.from_bytes(hashlib.blake2b(normal(wording).encode(), digest_size=8).digest(), "big")
