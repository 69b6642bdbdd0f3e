"""A line that is what was asked for, near one that is not.

    better(talk, "parted -s /dev/sda mklabel gpt", passes)     # the same for sdb, which the person named

A small model copies the form of a line well and its values badly: the wrong one of two disks, hu_HU for
turkish, a part more than was asked for. Where the conversation says which value was meant, the line with
that value is known. It counts only when it passes the whole review, consent included.

That is not enough, since the review was made to catch a model's lines, and here lines are made for it. So a
disk, partition or kind is put in only where every word of the message is known and none sets it against
another one, holds it back or tells of something else (review_plain); nothing is put in for a question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from llmkit.installer import review_scope as scope
from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.guard import check_command
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_against import against
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_failure import fails
from llmkit.installer.review_layout import AND, laid_out
from llmkit.installer.review_looks import other_look
from llmkit.installer.review_part import (
    FLAGS,
    SAYS_OFF,
    completed,
    only_to_mnt,
    other_end,
    the_part,
    without_restart,
)
from llmkit.installer.review_places import corrected
from llmkit.installer.review_plain import is_plain
from llmkit.installer.review_refer import called, efi, named, refer
from llmkit.installer.review_step import kept, kinds
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

_MKFS = re.compile(r"\bmkfs\.(?:ext[234]|btrfs|xfs|f2fs) +-[Ff]\b")
_ESP_AT = re.compile(r"(--(?:efi-directory|esp-path)[= ]|\bbootctl --path[= ])/\S*")
_USERADD = re.compile(r"\buseradd (?:-\w+ )*-?\w*G (\w+)(?: -s /\S+)? (\w+)$")
_IN_GROUP = re.compile(r"\b(?:wheel|sudo\w*|admin\w*|groups?|members?\w*)\b")
_NOT_IN_GROUP = re.compile(
    r"\b(?:no|not|never|don'?t|remove|take|out|from|without|another|like|ordinary|plain|normal|named|called|exists?)\b"
)
_BOTH = re.compile(r"\b(?:esp|efi|boot|both|all|everything|mounts|them|partitions)\b")
_RENAME = re.compile(
    r"(.*\s)?usermod -l ([a-z_][\w-]*)( -d /home/([a-z_][\w-]*) -m)? ([a-z_][\w-]*)"
)
_FAT_ALONE = re.compile(r"^mkfs\.v?fat (?:-F ?32 )?(/dev/\S+)$")
_QUESTION = re.compile(
    r"\?|^\W*(?:what|why|how|when|where|who|whose|which|does|do (?:i|you|we|they)|did|is|are|was|were|has|"
    r"have|am i|should|could (?:i|it|that)|would (?:it|that)|can (?:i|it|that)|may (?:i|it)|will)\b|"
    r"\b(?:should|shall|can|may|could|would|is|are|did|do|does|was) (?:i|it|we|they)\b|"
    r"\bi (?:set|put|would|did|get|had|made)\b|^made\b"
)
_MOUNTS = frozenset("mount attach hang goes go belongs under over mnt".split())
_DEED = re.compile(  # a disk is to be made ready
    r"\b(?:erase|wipe|format|reformat|partition|repartition|install|prepare|clear|zap|"
    r"set ?up|lay out|clean slate|msdos|gpt)\b"
)
_FORMATS = re.compile(r"\b(?:mkfs\w*|(?:re)?format\w*|file ?systems?|v?fat(?:32)?)\b")
_SAME = re.compile(r"\bi mean(?:t)?\b|\bsame (?:plan|thing|there)\b")
_LIKE = re.compile(r"\b(?:as|like|that of|from|gets?|layout)\b")
_SAME_WORDS = frozenset(
    "oh i meant mean same plan there thing sorry oops rather instead please".split()
)
_RESTARTS = re.compile(r"\b(?:re-?boot|re-?start)\b")


def better(talk: Talk, command: str, passes: Callable[[str], bool]) -> str:
    """The first of the lines near `command` that passes; "" when there is none."""
    shows = other_look(talk, command)[1]  # a question, as a rule
    if shows:
        return shows if passes(shows) else ""
    if _QUESTION.search(say.folded(talk.said)):
        return ""
    tried = {command}
    for line in _near(talk, command):
        if line and line not in tried:
            tried.add(line)
            if passes(line):
                return line
    return ""


def _near(talk: Talk, command: str) -> Iterator[str]:
    """Lines with what was said in them, the likeliest first."""
    parts = AND.split(command)
    lines = [command]
    swapped = _other_disk(talk, command)
    if swapped:
        yield swapped
        lines.append(swapped)
    yield against(talk, command)[1]
    yield from corrected(talk, command)
    for line in lines:
        yield _other_kind(talk, line)
        yield _other_partition(talk, line)
    yield completed(talk, command)[1]
    yield laid_out(talk, command)
    yield other_end(talk, command)[1]
    yield _esp_where_it_is(talk.state, command)
    yield _in_the_group(talk, command)
    yield _renamed(talk, command)
    if len(parts) > 1:
        yield _only_named(talk, parts)
        yield without_restart(talk, command)
        if not _BOTH.search(say.folded(talk.said)):
            yield only_to_mnt(parts)
        yield _without_failing(talk, parts)


def _other_disk(talk: Talk, command: str) -> str:
    """The line about the one disk that the message names by its path or model; a blank one may be
    described."""
    state = talk.state
    used = {path for node in named(command, state) for path in disks_of(state, node)}
    text = kept(talk.said)
    same = _SAME.search(say.folded(text)) is not None and called(talk.plan(), state) == used
    same = same and wish.proposes(talk.plan()) and not _LIKE.search(say.folded(text))
    if len(used) != 1 or not (same or _DEED.search(say.folded(wish.requests(text)))):
        return ""
    refs = refer(text, state, talk.topic)
    if not refs.sure or len(refs.disks) != 1 or refs.disks == used:
        return ""
    one, other = used.pop(), next(iter(refs.disks))
    blank = any(
        disk.path == other and not disk.partitions and disk.signature is None
        for disk in state.disks
    )
    if not blank and called(talk.said, state) != refs.disks:
        return ""
    more = _SAME_WORDS if same else frozenset()
    if not is_plain(talk.said, refs.disks | refs.nodes, state, more):
        return ""
    digits = re.compile(rf"{re.escape(one)}(?:{'p' if one[-1:].isdigit() else ''}(\d+))?(?!\w)")
    between = "p" if other[-1:].isdigit() else ""
    return digits.sub(lambda m: other + (between + m[1] if m[1] else ""), command)


def _other_kind(talk: Talk, command: str) -> str:
    """The line with the one kind of file system that the message names."""
    said = scope.corrected_kind(talk.said) or talk.said  # "exr4, I mean ext4"
    wanted = kinds(kept(said)) & set(FLAGS)
    nodes = named(command, talk.state)
    if len(wanted) != 1 or not is_plain(said, nodes, talk.state):
        return ""
    (kind,) = wanted
    line = _MKFS.sub(f"mkfs.{kind} {FLAGS[kind]}", command)
    if nodes & named(talk.said, talk.state) and not nodes & efi(talk.state):
        line = _FAT_ALONE.sub(rf"mkfs.{kind} {FLAGS[kind]} \1", line)
    return line


def _other_partition(talk: Talk, command: str) -> str:
    """The line about the one partition that the message names."""
    state = talk.state
    disks = {disk.path for disk in state.disks}
    text = kept(talk.said)
    if "mkfs" in command and not (kinds(text) or _FORMATS.search(say.folded(text))):
        return ""
    wanted = refer(text, state, talk.topic).nodes - disks
    used = named(command, state) - disks
    if (
        len(wanted) != 1
        or len(used) != 1
        or wanted == used
        or not is_plain(talk.said, wanted, state, _MOUNTS)
    ):
        return ""
    if "mount" not in command and (wanted | used) & efi(state):
        return ""  # what is for firmware and what is for data are formatted differently
    (meant,), (wrote,) = wanted, used
    return re.sub(rf"{re.escape(wrote)}(?!\w)", meant, command)


def _only_named(talk: Talk, parts: Sequence[str]) -> str:
    """Those parts of the line that are about the partitions which the message names, or the question
    that it says yes to."""
    state = talk.state
    disks = {disk.path for disk in state.disks}
    wanted = refer(kept(talk.said), state, talk.topic).nodes - disks or the_part(talk)
    plain = is_plain(talk.said, wanted, state, _MOUNTS)
    if wanted and not plain and not _root_beside_talk(talk, wanted):
        return ""
    if not wanted and say.agrees(talk.said) and scope.plain_yes(talk.said, frozenset()):
        wanted = named(talk.plan(), state) - disks
        wanted = wanted if len(wanted) == 1 else frozenset()
    keep = [
        part for part in parts
        if named(part, state) <= wanted | disks and not part.startswith("mkdir ")
    ]  # fmt: skip
    return " && ".join(keep) if wanted and any(named(part, state) & wanted for part in keep) else ""


def _root_beside_talk(talk: Talk, wanted: frozenset[str]) -> bool:
    """Whether a message names the root partition in plain words, and only chats beside them:
    `I'll live with it. ext4 for the root part`."""
    clauses = list(say.clauses(talk.said))
    speak = [
        clause for clause in clauses
        if say.destroys(clause) or named(clause, talk.state) or kinds(clause) or "part" in clause
    ]  # fmt: skip
    if not speak or "root part" not in speak[-1]:
        return False
    if any(say.refuses(clause) or say.keeps(clause) for clause in clauses):
        return False
    return is_plain(", ".join(speak), wanted, talk.state, _MOUNTS)


def _esp_where_it_is(state: SystemState, command: str) -> str:
    """The line with the place at which the EFI system partition is mounted."""
    esps = efi(state)
    places = [mount.target.removeprefix("/mnt") for mount in state.mounts if mount.source in esps]
    return _ESP_AT.sub(rf"\g<1>{places[0]}", command) if len(places) == 1 and places[0] else ""


def _in_the_group(talk: Talk, command: str) -> str:
    """A user who is there already is put into the groups, where the message speaks of that."""
    text = talk.said.lower()
    if not _IN_GROUP.search(text) or _NOT_IN_GROUP.search(text):
        return ""
    return _USERADD.sub(lambda found: f"usermod -aG {found[1]} {found[2]}", command)


def _renamed(talk: Talk, command: str) -> str:
    """A rename the right way round: from the user who is there to the name that is said."""
    found = _RENAME.fullmatch(command)
    if not found:
        return ""
    users = {user.name for _, tree in talk.state.trees for user in tree.users}
    new, old = found[2], found[5]  # as they stand in the line
    if old in users or new not in users or not {new, old} <= set(say.words(say.folded(talk.said))):
        return ""
    home = f" -d /home/{old} -m" if found[3] else ""
    return f"{found[1] or ''}usermod -l {old}{home} {new}"


def _without_failing(talk: Talk, parts: Sequence[str]) -> str:
    """The line without the part that fails because it is done already (nothing is mounted any more), or
    because it is about one of several partitions that is not there."""
    state = talk.state
    for place, part in enumerate(parts):
        line = " && ".join(parts[: place + 1])
        if check_command(line, state).allowed and not fails(run_command(line, state)):
            continue
        rest = [*parts[:place], *parts[place + 1 :]]
        text = say.folded(kept(talk.said))
        restarts, ends = (pattern.search(text) is not None for pattern in (_RESTARTS, SAYS_OFF))
        due = restarts != ends and parts[-1].startswith(
            "reboot" if restarts else ("poweroff", "shutdown")
        )
        alone = part.startswith(("umount ", "swapoff ")) and place < len(parts) - 1 and due
        one_of = part.startswith("mkfs.") and any(other.startswith("mkfs.") for other in rest)
        one_of = one_of and is_plain(talk.said, named(" ".join(rest), state), state)
        one_of |= part.startswith("mount ") and any(p.startswith("mount ") for p in parts[:place])
        if (
            rest[place - 1 : place]
            and rest[place - 1].startswith("mkdir ")
            and part.startswith("mount ")
        ):
            rest = [*rest[: place - 1], *rest[place:]]  # the folder was for what cannot be mounted
        return " && ".join(rest) if alone or one_of else ""
    return ""
