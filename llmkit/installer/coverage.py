"""What the coverage report asks of the installer: intent, stage and machine of a turn.

    coverage.labels(moment, earlier)["intent"]          # ("partition", "format")
    coverage.excluded(("intent", "mount"), ("contents", "empty"))    # why it cannot be, or ""

Rules, not judgement: each is a few words in docs/conversations.md, "The coverage report", and has
an example made by hand in tests/test_coverage.py. Commands are told apart by their programs and by
the files that they write (the parsed line, not its text); texts by how they begin and end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from llmkit.domain import Moment
from llmkit.installer.coverage_forms import forms, simples, unwrapped
from llmkit.installer.shell import parse
from llmkit.installer.shell_ast import ShellSyntaxError

# Intents of commands: programs, and the files whose writing says the same.
_PROGRAMS = {
    "partition": "sgdisk gdisk parted sfdisk fdisk cfdisk cgdisk wipefs blkdiscard dd shred",
    "format": "mkfs mkfs.ext2 mkfs.ext3 mkfs.ext4 mkfs.btrfs mkfs.xfs mkfs.f2fs mkfs.fat mkfs.vfat "
              "mke2fs mkdosfs",
    "mount": "mount",
    "unmount": "umount",
    "copy": "rsync cp tar pacstrap unsquashfs",
    "fstab": "genfstab",
    "bootloader": "grub-install grub-mkconfig update-grub bootctl efibootmgr",
    "user": "useradd userdel usermod groupadd gpasswd adduser visudo chsh",
    "password": "passwd chpasswd",
    "hostname": "hostnamectl",
    "timezone": "timedatectl hwclock date",
    "locale": "locale-gen localectl",
    "keymap": "loadkeys",
    "swap": "mkswap swapon swapoff",
    "network": "nmcli ip ping iwctl rfkill resolvectl dhcpcd iw networkctl ss tracepath curl wget",
    "reboot": "reboot poweroff shutdown halt",
}  # fmt: skip
_BY_PROGRAM = {name: intent for intent, names in _PROGRAMS.items() for name in names.split()}
_FILES = {
    "/etc/fstab": "fstab", "/etc/hostname": "hostname", "/etc/hosts": "hostname",
    "/etc/localtime": "timezone", "/etc/timezone": "timezone", "/etc/locale.gen": "locale",
    "/etc/locale.conf": "locale", "/etc/vconsole.conf": "keymap",
    "/etc/default/grub": "bootloader", "/etc/resolv.conf": "network", "/etc/sudoers": "user",
}  # fmt: skip
_FOLDERS = {
    "/etc/systemd/network/": "network", "/etc/NetworkManager/": "network",
    "/etc/sudoers.d/": "user", "/boot/loader/": "bootloader",
}  # fmt: skip
# With these words a program of the table only looks: `sgdisk -p`, `swapon --show`, `bootctl status`.
_LOOKS = {
    "sgdisk": {"-p", "-v", "-i", "-L", "-E", "-F", "--print", "--verify", "--info"},
    "sfdisk": {"-l", "-d", "--list", "--dump", "-V", "--verify", "-F"},
    "fdisk": {"-l", "--list"},
    "wipefs": {"-n", "--no-act"},
    "swapon": {"--show", "-s", "--summary"},
    "bootctl": {"status", "list", "is-installed"},
    "hostnamectl": {"status", "show"},
    "btrfs": {"list", "show", "df", "usage"},
    "localectl": {"status", "list-keymaps", "list-locales"},
    "timedatectl": {"status", "list-timezones", "show"},
    "efibootmgr": {"-v", "--verbose"},
}
_BARE_LOOKS = {"mount", "swapon", "efibootmgr", "hostnamectl", "timedatectl", "localectl", "date",
               "wipefs", "bootctl"}  # fmt: skip
_SERVICES = ("NetworkManager", "systemd-networkd", "systemd-resolved", "sshd", "dhcpcd", "iwd")
# Programs that change something no intent is about; beside another one they are its helpers.
_CHANGES = {"systemctl", "pacman", "mkinitcpio", "tune2fs", "e2label", "btrfs", "fallocate",
            "truncate", "chattr", "resize2fs", "sed", "ln", "rm", "chmod", "chown", "touch",
            "mkdir", "setfont"}  # fmt: skip
COMMANDS = (*_PROGRAMS, "show", "other")

TEXTS = (
    "absent device", "ask which disk", "refuse danger", "decline", "confirm", "ask a value", "chat",
    "explain",
)  # fmt: skip

_ABSENT = re.compile(
    r"\bno (?:/dev/|such|disk|drive|nvme|partition [0-9/{])|not (?:there|here)\b|do(?:es)? not exist|"
    r"isn't (?:there|here)|\bonly (?:disk|drive)\b",
    re.IGNORECASE,
)
_DEVICE = re.compile(
    r"(?<![\w-])(?:/dev/)?((?:[svh]d[a-z]|nvme\d+n\d+|mmcblk\d+)(?:p?\d+)?)(?![\w-])"
)
_WHICH = re.compile(r"\bwhich (?:disk|drive)\b", re.IGNORECASE)
_EITHER = re.compile(r"\b(?:which|or|of them|decide)\b", re.IGNORECASE)
_QUESTION = re.compile(
    r"(?:(?:and|but|so|ok|okay|hm+|well|then)[ ,]+)*(?:what|why|who|where|when|which|how|is|isn'?t|"
    r"are|was|were|do i|do you|does|did|will|would|should|has|have)\b",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"(?:no\b|i (?:won'?t|will not|do not|don'?t|can'?t|cannot)\b|stop\b|never\b|not that|"
    r"that (?:would|deletes|breaks|destroys|erases))",
    re.IGNORECASE,
)
_HARM = re.compile(
    r"\b(?:destroy|delet|eras|wip|los[et]|lost|overwrit|break|harm|danger|fraud|unread|crash|hang|"
    r"fork bomb|every(?:one|body)|anybody|unsafe|whoever|run that|do that|running system)\w*",
    re.IGNORECASE,
)
_CONSENT = re.compile(
    r"\b(?:shall|should|may) i\b|\bdo you (?:agree|want|really|mean)\b|would you like me|"
    r"(?:all right|ok|okay|right|go ahead|sure|agreed)\?|confirm|yes or no",
    re.IGNORECASE,
)
_NO = re.compile(
    r"(?:(?:oh|ah|hm+|well|ok|okay|hey|ugh)[ ,.!]+)*(?:no|nope|nah|n|stop|wait|not|never|don'?t|"
    r"dont|do not|cancel|leave|forget|rather not|better not|hold on|hands off)\b",
    re.IGNORECASE,
)
_ERROR = re.compile(
    r"(?<!no )\berrors?\b|\bfail(?:s|ed|ure)?\b|\bbusy\b|did ?n[o']?t work|does ?n[o']?t work|not work|"
    r"no such (?:file|device)|cannot |can'?t (?:un)?mount|unable|denied|wrong fs|not found|"
    r"complain|invalid|no space|timed? ?out|already (?:exists|mounted)|\b(?:says|said):|"
    r"doesn'?t look|not supported|went wrong|broken?\b|crash",
    re.IGNORECASE,
)

_REFUSALS = ("absent device", "refuse danger", "decline")
_NEEDS_PARTITION = ("unmount", "copy", "fstab", "bootloader", "user", "password")


class InstallerCoverage:
    """The installer's dimensions beside the place and the kind of answer that the toolkit knows."""

    dimensions: Mapping[str, tuple[str, ...]] = {
        "intent": (*COMMANDS, *TEXTS),
        "place": ("after an error", "after a refusal", "mid-installation", "at the end"),
        "firmware": ("uefi", "bios"),
        "disk": ("sata", "hdd", "nvme", "virtio", "mmc", "usb"),
        "disks": ("one", "several"),
        "contents": ("empty", "older system", "new partitions"),
    }

    def labels(self, moment: Moment, earlier: Sequence[Moment]) -> dict[str, tuple[str, ...]]:
        """The values of one turn in each dimension; several where several hold."""
        return {
            "intent": intents(moment),
            "place": tuple(_places(moment, earlier)),
            **_machine(moment.state, moment.summary),
        }

    def machines(self, cfg: Any) -> Iterator[dict[str, tuple[str, ...]]]:
        """What each layout can be, for each firmware and each disk to install to: as it is found,
        and once it was partitioned."""
        for layout in cfg.disk.layouts:
            own = [disk for disk in layout.disks if not disk.live]
            found = "older system" if layout.state == "used" else "empty"
            for boot in cfg.boot.modes:
                for disk in own:
                    yield {
                        "firmware": (boot,),
                        "disk": (disk.kind,),
                        "disks": ("one" if len(own) == 1 else "several",),
                        "contents": (found, "new partitions"),
                    }

    def excluded(self, one: tuple[str, str], other: tuple[str, str]) -> str:
        """Why two values cannot meet, "" when they can. The order of the two does not matter."""
        return _excluded(dict((one, other))) or _excluded(dict((other, one)))

    def forms(self, command: str) -> tuple[str, ...]:
        """The command's programs with their options: `("mkfs.fat -F", "mount")`."""
        return forms(command)


def _excluded(found: Mapping[str, str]) -> str:
    intent, place, contents = found.get("intent"), found.get("place"), found.get("contents")
    if found.get("kind") == "text" and intent in COMMANDS:
        return "this intent is that of a command"
    if found.get("kind") == "command" and intent in TEXTS:
        return "this intent is that of a text"
    if contents == "empty":
        if intent in _NEEDS_PARTITION:
            return "needs a partition, and there is none"
        if place in ("mid-installation", "at the end"):
            return "a system is on a partition, and there is none"
    if intent == "ask which disk" and found.get("disks") == "one":
        return "there is only one disk"
    return ""


def _machine(state: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The values of a machine as it stands."""
    disks = [disk for disk in state.get("disks", ()) if not disk.get("live")]
    target = next(
        (disk for disk in disks if f"/dev/{disk['name']}" == summary.get("target")), disks[0]
    )
    kind = target.get("transport", "")
    return {
        "firmware": (state.get("boot_mode", "uefi"),),
        "disk": ("hdd" if kind == "sata" and target.get("rotational") else kind,),
        "disks": ("one" if len(disks) == 1 else "several",),
        "contents": _contents(disks),
    }


def _contents(disks: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    held: dict[str, None] = {}
    for disk in disks:
        parts = disk.get("partitions", ())
        kinds = {(part.get("signature") or {}).get("kind") for part in parts}
        if "ntfs" in kinds:
            held["older system"] = None
        elif parts or disk.get("signature"):
            held["new partitions"] = None
    return tuple(held) or ("empty",)


def _places(moment: Moment, earlier: Sequence[Moment]) -> Iterator[str]:
    before = earlier[-1] if earlier else None
    if any(_mostly(_fails, item.said) for item in (moment, *earlier[-2:])):
        yield "after an error"
    if before and before.answer["type"] == "text" and of_text(before) in _REFUSALS:
        yield "after a refusal"
    if any(tree.get("bootloader") for tree in moment.state.get("trees", {}).values()):
        yield "at the end"
    elif any(mount.get("target") == "/mnt" for mount in moment.state.get("mounts", ())):
        yield "mid-installation"


def _mostly(holds: Callable[[str], bool], said: Sequence[str]) -> bool:
    """Whether at least half of the wordings are so."""
    return 2 * sum(map(holds, said)) >= len(said)


# A conversation's wordings come again on each of its machines.
@lru_cache(maxsize=8192)
def _fails(text: str) -> bool:
    return _ERROR.search(text) is not None


@lru_cache(maxsize=8192)
def _declines(text: str) -> bool:
    return _NO.match(text.lstrip("\"' ")) is not None


@lru_cache(maxsize=8192)
def _questions(text: str) -> bool:
    return text.endswith("?") or _QUESTION.match(text.lstrip("\"' ")) is not None


def intents(moment: Moment) -> tuple[str, ...]:
    """What an answer is for: all that a command does, or the one thing that a text is."""
    command = moment.answer.get("command")
    return of_command(command) if command else (of_text(moment),)


def of_text(moment: Moment) -> str:
    """The first rule that holds decides."""
    text = moment.answer["response"].strip()
    disks = [d["name"] for d in moment.state.get("disks", ()) if not d.get("live")]
    asks = "?" in text
    if _ABSENT.search(text) and _names_absent(moment, text):
        return "absent device"
    named = sum(f"/dev/{name}" in text for name in disks)
    if len(disks) > 1 and asks and (
        _WHICH.search(_last(text)) or (named > 1 and _EITHER.search(_last(text)))
    ):  # fmt: skip
        return "ask which disk"
    if _REFUSES.match(text) and _HARM.search(text) and not _mostly(_questions, moment.said):
        return "refuse danger"
    if _mostly(_declines, moment.said):
        return "decline"
    if asks and _CONSENT.search(text):
        return "confirm"
    if text.endswith("?"):
        return "ask a value"
    return "chat" if "smalltalk" in moment.categories else "explain"


def _last(text: str) -> str:
    """The last question of a text, with what stands before it up to the previous full stop."""
    return re.split(r"[.!?]\s", text[: text.rindex("?")])[-1]


def _names_absent(moment: Moment, text: str) -> bool:
    """Whether the answer, or half of the wordings, name a device that the machine lacks."""
    there: set[str] = set()
    for disk in moment.state.get("disks", ()):
        name = disk["name"]
        glue = "p" if name[-1].isdigit() else ""
        there.add(name)
        there.update(f"{name}{glue}{part['number']}" for part in disk.get("partitions", ()))

    def lacks(words: str) -> bool:
        return any(name not in there for name in _DEVICE.findall(words))

    return lacks(text) or 2 * sum(map(lacks, moment.said)) >= len(moment.said)


@lru_cache(maxsize=4096)
def of_command(command: str) -> tuple[str, ...]:
    """Everything that a line does, in order; `show` when it only looks."""
    try:
        script = parse(command)
    except ShellSyntaxError:
        return ("other",)
    found: dict[str, None] = {}
    changes = False
    for simple in simples(script):
        words = unwrapped([word.raw if word.text is None else word.text for word in simple.words])
        name = words[0].rpartition("/")[2] if words else ""
        if name in ("bash", "sh") and "-c" in words[:-1]:
            inner = of_command(words[words.index("-c") + 1])
            found.update(dict.fromkeys(item for item in inner if item not in ("show", "other")))
            changes = changes or "other" in inner
        elif intent := _of_words(name, words[1:]):
            found[intent] = None
        changes = changes or (name in _CHANGES and not _LOOKS.get(name, set()) & set(words))
        if name in ("tee", "sed", "ln", "visudo", "rm", "mv", "install"):
            found.update(dict.fromkeys(i for word in words[1:] for i in _of_file(word)))
        for redirect in simple.redirects:
            path = (redirect.target and redirect.target.text) or ""
            if redirect.operator in (">", ">>", ">|", "&>", "&>>"):
                found.update(dict.fromkeys(_of_file(path)))
                changes = changes or path != "/dev/null"
    return tuple(found) or (("other",) if changes else ("show",))


def _of_words(name: str, rest: Sequence[str]) -> str:
    """The intent of one program with its words; "" for a helper, for one that only looks, and for
    those that no intent is about."""
    given = set(rest)
    if name == "systemctl":
        if {"reboot", "poweroff", "halt"} & given:
            return "reboot"
        return "network" if any(word.startswith(_SERVICES) for word in rest) else ""
    intent = "format" if name.startswith("mkfs") else _BY_PROGRAM.get(name, "")
    if name in ("mount", "swapon") and {"-a", "--all"} & given:
        return intent
    if name in _BARE_LOOKS and all(word.startswith("-") for word in rest):
        return ""
    if name == "sgdisk" and _writes(rest):
        return intent
    if name == "parted":
        return intent if {"mklabel", "mktable", "mkpart", "rm", "set", "resizepart"} & given else ""
    if _LOOKS.get(name, set()) & given:
        return ""
    if name == "localectl":
        return "keymap" if {"set-keymap", "set-x11-keymap"} & given else "locale"
    return intent


def _writes(words: Sequence[str]) -> bool:
    """Whether sgdisk's options change a table."""
    return any(
        word in ("-Z", "-z", "-o", "-n", "-d", "-t", "-c", "-g", "--zap-all", "--clear", "-G")
        or word.startswith(("-n", "-t", "-d", "--new", "--delete", "--typecode", "--zap"))
        for word in words
    )


def _of_file(path: str) -> Iterator[str]:
    path = path.removeprefix("/mnt")
    if path in _FILES:
        yield _FILES[path]
    for folder, intent in _FOLDERS.items():
        if path.startswith(folder):
            yield intent


coverage = InstallerCoverage()
