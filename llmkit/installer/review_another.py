"""A line that is what was asked for, near one that is not.

    better(talk, "parted -s /dev/sda mklabel gpt", passes)     # the same for sdb, which the person named

A small model copies the form of a line well and its values badly: the wrong one of two disks, hu_HU for
turkish, a part more than was asked for. Where the conversation says which value was meant, the line with
that value is known. It counts only when it passes the whole review, consent included: nothing is proposed
here that the person's own words do not cover.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.guard import check_command
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_failure import fails
from llmkit.installer.review_part import completed, only_to_mnt
from llmkit.installer.review_places import corrected
from llmkit.installer.review_refer import called, named, refer
from llmkit.installer.review_step import EFI, kept, kinds
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

_AND = re.compile(r"\s*&&\s*")
_MKFS = re.compile(r"\bmkfs\.(?:ext[234]|btrfs|xfs|f2fs) +-[Ff]\b")
_ESP_AT = re.compile(r"(--(?:efi-directory|esp-path)[= ]|\bbootctl --path[= ])/\S*")
_USERADD = re.compile(r"\buseradd (?:-\w+ )*-?\w*G (\w+)(?: -s /\S+)? (\w+)$")
_OWNS = re.compile(  # something is on one of the disks, or it is told by what it is not
    r"\b(?:my|our|his|her|their|photos?|pictures?|files?|data|documents?|backups?|music|work|stuff|"
    r"holds?|has|have|had|contains?|(?:is|are|was|were) (?:all )?on|on it|others?|another|second|third|last|"
    r"2nd|3rd|latter|next|number|no\.|#|not|\w+n['’]t|dont|isnt|cant|arent|wasnt)\b",
    re.IGNORECASE,
)
_DEED = re.compile(  # a disk is to be made ready
    r"\b(?:erase|wipe|format|reformat|partition|repartition|install|reinstall|prepare|overwrite|clear|zap|"
    r"set ?up|lay out|clean slate|msdos|gpt)\b"
)
_FORMATS = re.compile(r"\b(?:mkfs\w*|(?:re)?format\w*|file ?systems?|v?fat(?:32)?)\b")
_AGAINST = re.compile(
    r"\b(?:no|not|nope|never|don'?t|keep|stays?|spare|leave|except|but|without|both|all|than|only|if|"
    r"booted|stick|was|were)\b",
    re.IGNORECASE,
)
_FAT_ALONE = re.compile(r"^mkfs\.v?fat (?:-F ?32 )?(/dev/\S+)$")
_FLAGS = {"ext2": "-F", "ext3": "-F", "ext4": "-F", "btrfs": "-f", "xfs": "-f", "f2fs": "-f"}


def better(talk: Talk, command: str, passes: Callable[[str], bool]) -> str:
    """The first of the lines near `command` that passes; "" when there is none."""
    tried = {command}
    for line in _near(talk, command):
        if line and line not in tried:
            tried.add(line)
            if passes(line):
                return line
    return ""


def _near(talk: Talk, command: str) -> Iterator[str]:
    """Lines with what was said in them, the likeliest first."""
    parts = _AND.split(command)
    lines = [command]
    swapped = _other_disk(talk, command)
    if swapped:
        yield swapped
        lines.append(swapped)
    yield from corrected(talk, command)
    for line in lines:
        yield _other_kind(talk, line)
        yield _other_partition(talk, line)
    yield completed(talk, command)[1]
    yield _esp_where_it_is(talk.state, command)
    yield _USERADD.sub(_usermod, command)
    if len(parts) > 1:
        yield _only_named(talk, parts)
        yield only_to_mnt(command)
        yield _without_failing(talk.state, parts)


def _other_disk(talk: Talk, command: str) -> str:
    """The line about the one disk that the message names, where it could not mean another one: by its
    path or model, and without a word that sets it against others. A blank disk may be described."""
    state = talk.state
    used = {path for node in named(command, state) for path in disks_of(state, node)}
    if len(used) != 1 or "?" in talk.said or _OWNS.search(talk.said):
        return ""
    text = kept(talk.said)
    if not _DEED.search(say.folded(wish.requests(text))):
        return ""
    refs = refer(text, state, talk.topic)
    meant = called(talk.said, state)
    if not refs.sure or len(refs.disks) != 1 or refs.disks == used:
        return ""
    one, other = used.pop(), next(iter(refs.disks))
    blank = any(
        disk.path == other and not disk.partitions and disk.signature is None
        for disk in state.disks
    )
    if not blank and (meant != refs.disks or _AGAINST.search(talk.said)):
        return ""
    digits = re.compile(rf"{re.escape(one)}(?:{'p' if one[-1:].isdigit() else ''}(\d+))?(?!\w)")
    between = "p" if other[-1:].isdigit() else ""
    return digits.sub(lambda m: other + (between + m[1] if m[1] else ""), command)


def _other_kind(talk: Talk, command: str) -> str:
    """The line with the one kind of file system that the message names."""
    wanted = kinds(kept(talk.said)) & set(_FLAGS)
    if len(wanted) != 1:
        return ""
    (kind,) = wanted
    line = _MKFS.sub(f"mkfs.{kind} {_FLAGS[kind]}", command)
    return _FAT_ALONE.sub(rf"mkfs.{kind} {_FLAGS[kind]} \1", line)


def _other_partition(talk: Talk, command: str) -> str:
    """The line about the one partition that the message names."""
    state = talk.state
    disks = {disk.path for disk in state.disks}
    text = kept(talk.said)
    if "mkfs" in command and not (kinds(text) or _FORMATS.search(say.folded(text))):
        return ""
    wanted = refer(text, state, talk.topic).nodes - disks
    used = named(command, state) - disks
    if len(wanted) != 1 or len(used) != 1 or wanted == used:
        return ""
    (meant,), (wrote,) = wanted, used
    return re.sub(rf"{re.escape(wrote)}(?!\w)", meant, command)


def _only_named(talk: Talk, parts: Sequence[str]) -> str:
    """Those parts of the line that are about the partitions which the message names, or the question
    that it says yes to."""
    state = talk.state
    disks = {disk.path for disk in state.disks}
    wanted = refer(kept(talk.said), state, talk.topic).nodes - disks
    if not wanted and say.agrees(talk.said):
        wanted = named(talk.plan(), state) - disks
        wanted = wanted if len(wanted) == 1 else frozenset()
    keep = [
        part for part in parts
        if named(part, state) <= wanted | disks and not part.startswith("mkdir ")
    ]  # fmt: skip
    return " && ".join(keep) if wanted and any(named(part, state) & wanted for part in keep) else ""


def _esp_where_it_is(state: SystemState, command: str) -> str:
    """The line with the place at which the EFI system partition is mounted."""
    esps = {
        disk.partition_path(part.number)
        for disk in state.disks for part in disk.partitions if part.type in EFI
    }  # fmt: skip
    places = [mount.target.removeprefix("/mnt") for mount in state.mounts if mount.source in esps]
    return _ESP_AT.sub(rf"\g<1>{places[0]}", command) if len(places) == 1 and places[0] else ""


def _usermod(found: re.Match[str]) -> str:
    """A user who is there already is put into the groups."""
    return f"usermod -aG {found[1]} {found[2]}"


def _without_failing(state: SystemState, parts: Sequence[str]) -> str:
    """The line without the part that fails because it is done already (nothing is mounted any more), or
    because it is about one of several partitions that is not there."""
    for place, part in enumerate(parts):
        line = " && ".join(parts[: place + 1])
        if check_command(line, state).allowed and not fails(run_command(line, state)):
            continue
        rest = [*parts[:place], *parts[place + 1 :]]
        alone = part.startswith(("umount ", "swapoff ")) and place < len(parts) - 1
        one_of = part.startswith("mkfs.") and any(other.startswith("mkfs.") for other in rest)
        return " && ".join(rest) if alone or one_of else ""
    return ""
