"""Is what an answer in words says of the machine so, and is it words that are due?

    untrue(state, messages, "There is no user leila on the new system yet.")    # "leila is a user here"

Only what is certain: a name of a device that there cannot be here and that nobody named, a device or user
that is there and is said not to be, a size that a disk has not, a file system that is not seen
("/dev/sda2 has no file system yet. Shall I format it?"), a mount that there is not, and what review_claims
knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer import size as sizes
from llmkit.installer.devices import signature
from llmkit.installer.explain import explain
from llmkit.installer.guard import check_command
from llmkit.installer.guard_names import disks_of, presence
from llmkit.installer.plan import ROOT_KINDS
from llmkit.installer.review_claims import counted_right, false_claim, only_choice
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_described import described
from llmkit.installer.review_loss import UNKNOWN, losses
from llmkit.installer.review_refer import Refs, efi, named
from llmkit.installer.review_step import kept, like
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

_DEVICE = re.compile(r"/dev/((?:[hsv]d[a-z]|xvd[a-z]|nvme\d+n\d+|mmcblk\d+)(?:[\w/]*\w)?)")
_PARTITION = re.compile(r"(?:p?\d{1,3})?")
_NONE = re.compile(
    r"\bthere(?:'s| is) no (?:user )?(?:called |named )?(\S+?)(?=[,.;:!?]?(?:\s|$))|"
    r"(?<!\S)(?:user )?(\S+) (?:does not|doesn't) exist\b",
    re.IGNORECASE,
)
_SIZED = re.compile(r"(/dev/[a-z]\w+) \((\d{1,6}(?:\.\d{1,6})?[KMGTP])\b")

_NO_FILES = re.compile(r"(?<!new )(/dev/[\w/-]*\w) (?:still )?has no file ?system\b", re.IGNORECASE)
_MOUNTED = re.compile(  # not "once /dev/sda2 is mounted", which says nothing of now
    r"(?<!once )(?<!when )(?<!next )(?<!then )(?<!until )(?<!after )(?<!if )(?<!that )"
    r"(?<!whether )(?<!unless )(?<!where )"
    r"(/dev/[\w/-]*\w) is (?:already |still )?mounted at (/[\w/.-]*\w)(?! (?:again|next|later|then)\b)",
    re.IGNORECASE,
)


def instead(state: SystemState, messages: Sequence[Mapping[str, str]], text: str) -> str:
    """What a person gets in place of a text that is not so; "" where nothing is known to be wrong."""
    wrong = untrue(state, messages, text)
    if wrong and not untrue(state, messages, mended := counted_right(state, text)):
        return mended
    if not wrong:
        return ""
    question = "What shall I do?"
    disk = only_choice(state, text)
    if disk is not None:
        told = f"{disk.path} ({sizes.human(disk.size)}), the only disk for that"
        loses = say.destroys(text) or re.search(r"\b(?:lost|gone)\b", text) is not None
        question = f"Shall I use {told}? It gets erased." if loses else f"Do you mean {told}?"
    return f"{wrong[:1].upper()}{wrong[1:]}. {question}"


def about(state: SystemState, messages: Sequence[Mapping[str, str]], command: str) -> bool:
    """Whether the last message names the disks that a line works on, and its partitions where it names
    or describes any. False for a line without any, and for one that a known thing is lost by."""
    talk = Talk(messages, state)
    refs = talk.meant(kept(talk.said))
    nodes = named(command, state)
    disks = {disk.path for disk in state.disks}
    used = {path for node in nodes for path in disks_of(state, node)}
    told = None if refs else described(kept(talk.said), state)
    if told and len(told[0]) == told[1] == 1:  # "attach the ext4 partition"
        own = frozenset(path for node in told[0] for path in disks_of(state, node))
        refs = Refs(frozenset(told[0]), own)
    parts = refs.nodes - disks
    if not nodes or not refs or not refs.sure or not used <= refs.disks:
        return False
    destroys = check_command(command, state).danger == "destructive"
    beside = frozenset() if destroys else efi(state)  # mounted with the root
    if parts and not nodes - disks <= parts | beside:
        return False
    if not destroys:
        return True
    return not (say.doubts(talk.said) or wish.looks(talk.said) or _loses(talk, command))


def wished(state: SystemState, messages: Sequence[Mapping[str, str]], command: str) -> bool:
    """Whether a line may take the place of a text that is not so: the last message neither asks nor only
    looks, and the line does more than look."""
    said = Talk(messages, state).said
    if say.doubts(said) or say.only_looks(said) or wish.looks(said):
        return False
    return check_command(command, state).danger != "read"


def _loses(talk: Talk, command: str) -> bool:
    """Whether a line destroys anything that is known, but for what this conversation has made."""
    outcome = run_command(command, talk.state)
    found = explain(outcome, talk.state, command)
    lost = losses(command, outcome, found, talk.state, talk.ran)
    return any(loss.kind != UNKNOWN for loss in lost)


def untrue(state: SystemState, messages: Sequence[Mapping[str, str]], text: str) -> str:
    """What of a text is not so, in words; "" where nothing is known to be wrong."""
    said = " ".join(
        message.get("content") or "" for message in messages if message.get("role") == "user"
    )
    disks = sorted((disk.name for disk in state.disks), key=len, reverse=True)
    for name in _DEVICE.findall(text):
        disk = next((one for one in disks if name.startswith(one)), None)
        if name in said or disk and _PARTITION.fullmatch(name[len(disk) :]):
            continue
        return f"there is no /dev/{name}"
    here = presence(state)
    users = {user.name for _, tree in state.trees for user in tree.users}
    for found in _NONE.finditer(text):
        name = (found[1] or found[2]).strip("\"'`")
        if name in users:
            return f"{name} is a user here"
        if name.startswith("/dev/") and here.has(name):
            return f"{name} is there"
    for path, size in _SIZED.findall(text):
        own = [disk.size for disk in state.disks if disk.path == path]
        if own and not like(float(sizes.parse(size)), own[0]):
            return f"{path} has another size than {size}"
    for path in _NO_FILES.findall(text):
        held = signature(state, path)
        # another kind may be left over from before a new table, and is not meant
        if held and held.kind in ROOT_KINDS:
            return f"{path} has a file system, {held.kind}"
    for path, target in _MOUNTED.findall(text):
        if not any(mount.source == path and mount.target == target for mount in state.mounts):
            return f"{path} is not mounted at {target}"
    return false_claim(state, said, text)
