"""Would this shell line touch a device that is not there? The verdict before anything is run.

    >>> from llmkit.installer.guard import check_command
    >>> check_command("mkfs.ext4 /dev/sdz1", state).allowed
    False

The policy is in `check_command`. Where to look: guard_text.py (look-alike characters),
guard_names.py (device names in text), guard_devices.py, guard_partitions.py (which words of which
tool are devices), guard_tools.py (what programs are known), guard_commands.py, guard_runs.py (what
is asked of each command), guard_danger.py, guard_levels.py, guard_shape.py, guard_words.py (the
sentences).
The shell is interpret.py's: the same evaluator that tracks state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from llmkit.installer import guard_words
from llmkit.installer.guard_commands import Inspector
from llmkit.installer.guard_danger import Danger, worse
from llmkit.installer.guard_explorer import explore
from llmkit.installer.guard_levels import Level
from llmkit.installer.guard_shape import is_fork_bomb
from llmkit.installer.guard_text import control_character, deceptive
from llmkit.installer.shell import ShellSyntaxError, parse
from llmkit.installer.state import SystemState

_COULD_MULTIPLY = re.compile(r"\(\s*\)|\b(function|while|until)\b")
_PROMPT = re.compile(r"\$\{[^}]*@P\}")
MAX_LENGTH = 16384  # characters; nobody reviews a longer line before it is run


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard says about one line.

    `missing`: devices, partitions, tags or groups that the line names and that are not there at
    that point, as paths where they have one. `danger` never changes `allowed`.
    """

    allowed: bool
    missing: tuple[str, ...]
    reason: str
    danger: Level


def check_command(text: str, state: SystemState) -> Verdict:
    """Judge a shell line against a machine. Never raises, whatever the string.

    Refused:
        - a block device, partition (also by number: `sgdisk -d 7`), device link, tag (LABEL=,
          UUID=, PARTLABEL=, PARTUUID=), mapping or volume group that does not exist at that point
          of the line, named by any command on any static path: after `false &&`, in either branch
          of an `if`, in functions that nobody calls, in `sh -c`, `eval`, here-documents and pipes
          that feed a shell, in `find -exec`, `trap` and `alias`. Reading counts as well as
          writing. One that an earlier part makes exists; one that an earlier part removes does not.
        - the same in values of variables, kernel parameters, unit names, sysfs paths, and in text
          written to a file that the system acts on (fstab, boot entries, scripts).
        - text that does not parse, control and invisible characters, look-alike letters, more than
          16,384 characters.
        - what cannot be known and could write: an unknown program name, an opaque word for a
          program that may write to a device, a script file, another language (python -c), a
          remote or downloaded script, a shell that waits for a person (`sudo -i`, `arch-chroot
          /mnt` alone), what follows a partition editor that a person answers, `mknod` of a block
          device.

    Allowed: pseudo devices (null, zero, random, tty, fd, pts, shm, …), devices named in printed
    text, in grep's pattern, in what sed looks for and in notes (.txt, .md, .log), comments,
    programs that are not known when none of their words is or might be a device.

    Not covered: what a program does by its own configuration (a unit, a hook, a package script);
    files that hold device names already; race conditions (a disk pulled out after the check);
    symbolic links that were made before the line; remote machines (ssh's command is judged
    as if it ran here).

    `danger`: see guard_danger.py. A line that is refused has the danger of what could be read.
    """
    try:
        return judge(text, state)
    except Exception:  # fail closed: a bug here must not let a line through (tests call `judge`)
        reason = guard_words.unreadable("it is too strange for the checks", state)
        return Verdict(False, (), reason, "destructive")


def judge(text: str, state: SystemState) -> Verdict:
    """`check_command` without its safety net."""
    if len(text) > MAX_LENGTH:
        reason = guard_words.unreadable(f"it is longer than {MAX_LENGTH} characters", state)
        return Verdict(False, (), reason, "destructive")
    odd = control_character(text)
    if odd:
        return Verdict(False, (), guard_words.invisible(odd, state), "destructive")
    if not text.isascii():
        found = deceptive(text, _labels(state))
        if found:
            word, problem = found
            return Verdict(
                False, (word,), guard_words.deceptive(word, problem, state), "destructive"
            )
    try:
        script = parse(text)
    except ShellSyntaxError as error:
        return Verdict(False, (), guard_words.unreadable(error.reason, state), "destructive")
    inspector = Inspector()
    explore(script, state, inspector)
    inspector.finish()
    if _PROMPT.search(text):
        inspector.unknown.append("what a text runs that is expanded as a prompt (@P)")
    danger = inspector.danger
    if _COULD_MULTIPLY.search(text) and is_fork_bomb(script):
        danger = Danger("forbidden", "starts copies of itself without end (a fork bomb)")
    if inspector.missing:
        names = tuple(dict.fromkeys(inspector.missing))
        level = worse(danger, Danger("destructive" if inspector.unknown else "read")).level
        return Verdict(False, names, guard_words.missing(names, state), level)
    if inspector.unknown:
        level = worse(danger, Danger("destructive")).level
        return Verdict(False, (), guard_words.unknowable(inspector.unknown[0], state), level)
    return Verdict(True, (), guard_words.allowed(danger, state), danger.level)


@lru_cache(maxsize=64)
def _labels(state: SystemState) -> tuple[str, ...]:
    """Labels with characters beyond ASCII that are really on this machine."""
    found = set()
    for disk in state.disks:
        signatures = [disk.signature, *(part.signature for part in disk.partitions)]
        found |= {s.label for s in signatures if s}
        found |= {part.name for part in disk.partitions}
    found |= {m.signature.label for m in state.mappings if m.signature}
    return tuple(sorted((x for x in found if not x.isascii()), key=len, reverse=True))
