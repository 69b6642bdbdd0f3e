"""What an answer in words claims of the machine: what is mounted or formatted, how many partitions a
disk has, how the machine was started, which disks can be chosen.

    false_claim(state, "Not yet: nothing is mounted at /mnt.")     # "/dev/sda2 is mounted at /mnt"

Only plain statements about now are looked at: no sentence with a condition before them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from llmkit.installer.devices import signature
from llmkit.installer.review_refer import candidates, efi, named
from llmkit.installer.state import Disk, SystemState, Tree

_DEV = r"(/dev/[\w/-]*\w)"
_COUNTED = re.compile(r"\bits (\d{1,3}) partitions\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+")
_CONDITION = re.compile(  # what follows is not said of now
    r"\b(?:if|once|when|whenever|until|till|after|before|unless|whether|where|while|would|had|could|should|may|"
    r"might|not|never|no longer|nor|n't|keep|then|next|suppose|as soon|as long|in case|were)\b",
    re.IGNORECASE,
)


def _mounted(state: SystemState, found: re.Match[str]) -> str:
    source = next((one.source for one in state.mounts if one.target == found[1]), "")
    return f"{source} is mounted at {found[1]}" if source else ""


def _formatted(state: SystemState, found: re.Match[str]) -> str:
    path = found[1]
    parts = {
        disk.partition_path(part.number) for disk in candidates(state) for part in disk.partitions
    }
    if path not in parts or signature(state, path):
        return ""
    return f"no file system is seen on {path}"


def _its_disk(state: SystemState, text: str) -> Disk | None:
    """The one disk that a text names."""
    nodes = named(text, state)
    disks = [disk for disk in state.disks if disk.path in nodes]
    return disks[0] if len(disks) == 1 else None


def _counted(state: SystemState, found: re.Match[str]) -> str:
    disk = _its_disk(state, found.string)
    if disk is None or int(found[1]) == len(disk.partitions):
        return ""
    count = len(disk.partitions)
    told = f"{count} partition{'s' * (count != 1)}" if count else "no partition"
    return f"{disk.path} has {told}"


def counted_right(state: SystemState, text: str) -> str:
    """The text with the number of partitions that its disk has in place of another ("its 3 partitions")."""
    disk = _its_disk(state, text)
    if disk is None or not disk.partitions:
        return text
    count = len(disk.partitions)
    return _COUNTED.sub("its partition" if count == 1 else f"its {count} partitions", text)


def _started(state: SystemState, found: re.Match[str]) -> str:
    said = "uefi" if found[1].lower() == "uefi" else "bios"
    mode = {"uefi": "UEFI", "bios": "Legacy BIOS"}[state.boot_mode]
    return f"this machine was started in {mode} mode" if said != state.boot_mode else ""


def _needed(state: SystemState, found: re.Match[str]) -> str:
    return "this machine was started in UEFI mode" if state.boot_mode == "uefi" else ""


def _no_esp(state: SystemState, found: re.Match[str]) -> str:
    there = sorted(efi(state))
    return f"{there[0]} is an EFI partition" if there else ""


def _only(state: SystemState, found: re.Match[str]) -> str:
    own = [disk.path for disk in candidates(state)]
    others = [path for path in own if path != found[1]]
    return f"{others[0]} is here, too" if others and found[1] in own else ""


def _root(state: SystemState) -> Tree | None:
    """The files of the new system at /mnt."""
    source = next((one.source for one in state.mounts if one.target == "/mnt"), "")
    return next((tree for path, tree in state.trees if path == source), None)


def _no_loader(state: SystemState, found: re.Match[str]) -> str:
    tree = _root(state)
    return f"{tree.bootloader} is installed" if tree is not None and tree.bootloader else ""


def _no_fstab(state: SystemState, found: re.Match[str]) -> str:
    tree = _root(state)
    return "the fstab is written" if tree is not None and tree.fstab else ""


def _no_user(state: SystemState, found: re.Match[str]) -> str:
    tree = _root(state)
    names = [user.name for user in tree.users] if tree is not None else []
    return f"{names[0]} is a user of the new system" if names else ""


_CLAIMS: tuple[tuple[re.Pattern[str], Callable[[SystemState, re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), check)
    for pattern, check in (
        (r"\bnothing is mounted at (/mnt)\b(?!/)", _mounted),
        (_DEV + r" is (?:already )?formatted(?= (?:but|and|already|so far)\b|[.,;])", _formatted),
        (_COUNTED.pattern, _counted),
        (
            r"\b(?:machine|system|computer|it|you) (?:(?:is|was|has|are|were) )?(?:been )?"
            r"(?:started |starts |boots |booted |runs |running )?in (legacy bios|bios|uefi) mode\b",
            _started,
        ),
        (r"\bneeds UEFI, but this machine\b", _needed),
        (r"\bthere is no (?:EFI (?:system )?partition|ESP)\b(?! (?:on|yet on)\b)", _no_esp),
        (r"\b(?:no|nor|without an?) boot ?loader\b", _no_loader),
        (r"\bno (?:boot loader and no )?fstab\b", _no_fstab),
        (r"\b(?:a user is missing|no user(?= (?:yet|so far|and|is)\b|[.,;]))", _no_user),
        (r"\bthe only disk (?:here )?is " + _DEV, _only),
    )
)
_WHICH = re.compile(r"\bwhich (?:one|disk|of)\b[^?]*\?", re.IGNORECASE)


def only_choice(state: SystemState, text: str) -> Disk | None:
    """The one disk that can be meant where a text asks which of several: the others that it offers are the
    live medium, or not there."""
    own = candidates(state)
    if len(own) != 1:
        return None
    asked = any(own[0].path in named(question, state) for question in _WHICH.findall(text))
    return own[0] if asked else None


def false_claim(state: SystemState, said: str, text: str) -> str:
    """What of a text is not so, in words; "" where nothing is known to be wrong. `said`: what the
    person said, whose words may be taken up."""
    for sentence in _SENTENCE.split(text):
        for pattern, check in _CLAIMS:
            for found in pattern.finditer(sentence):
                if check is _counted or not _CONDITION.search(sentence[: found.start()]):
                    wrong = check(state, found)
                    if wrong:
                        return wrong
    for question in _WHICH.findall(text):
        offered = named(question, state)
        for disk in state.disks:
            if disk.live and disk.path in offered and disk.name not in said and "live" not in text:
                return f"the live system runs from {disk.path}"
    return ""
