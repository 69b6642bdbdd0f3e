"""Why a command would fail, in plain words.

    >>> failure(run_command("mount /dev/sda2 /mnt", state))
    'That would fail: /dev/sda2 holds no file system; it has to be formatted first.'

Only what is certain: a line with a part that is not modelled or not known is left alone.
"""

from __future__ import annotations

import re

from llmkit.installer.explain_words import safe
from llmkit.installer.interpret_types import Outcome

# What the model of a tool says, and how a person is told. No command is proposed.
_TOLD: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"mount: (\S+) holds no file system.*", r"\1 has no file system to mount"),
        (r"mount: (\S+) is mounted at (\S+) already", r"\1 is mounted at \2 already"),
        (r"mount: the mount point (\S+) does not exist.*", r"the folder \1 does not exist yet"),
        (r"chroot: (\S+) holds no installed system.*", r"no system has been copied to \1 yet"),
        (r"rsync: no disk is mounted at (\S+);.*", r"nothing is mounted at \1 to copy to"),
        (r"genfstab: (\S+) is not a mount point", r"nothing is mounted at \1"),
        (r"[\w.-]+: (\S+) is in use: mounted at (\S+); .*", r"\1 is in use, it is mounted at \2"),
        (r"[\w.-]+: (\S+) does not exist; this machine has (.+)",
         r"there is no \1; this machine has \2"),
        (r"swapon: (\S+) holds no swap space.*", r"\1 holds no swap space"),
        (r"[\w.-]+: the user (\S+) exists already", r"the user \1 exists already"),
        (r"grub-install: no EFI system partition is mounted at (\S+)",
         r"no EFI system partition is mounted at \1"),
        (r"cannot write: cannot write (\S+): there is no directory (\S+)",
         r"\1 cannot be written, there is no \2 yet"),
    )
)  # fmt: skip


_FILLED = re.compile(r"(?:dd|cp|shred|tee|cat): \S+ is full")  # how overwriting a disk ends


def fails(outcome: Outcome) -> bool:
    """Whether a line fails for certain."""
    if outcome.error is not None and _FILLED.match(outcome.error):
        return False
    unknown = outcome.opaque or outcome.unmodelled or outcome.uncertain
    return bool(outcome.status) and outcome.error is not None and not unknown


def failure(outcome: Outcome) -> str:
    """The sentence about a line that fails."""
    error = " ".join((outcome.error or "it does not work").split())
    for pattern, told in _TOLD:
        if pattern.fullmatch(error):
            error = pattern.sub(told, error)
            break
    else:
        error = re.sub(r"; (?:\w+ )?[\w./ -]* makes (?:it|one)$| \(for example [^)]*\)", "", error)
    return safe(f"That would fail: {error.rstrip('.')}.")
