"""Which words of a command refer to devices, and which of those are missing.

    >>> missing_devices(Call("mkfs.ext4", ("/dev/sdz",)), Presence(state))
    ['/dev/sdz']

Besides names: implied devices (`efibootmgr -c` without a disk means /dev/sda), tags given as an
option (`mount -L root`), volume groups, mappings, and partition numbers (guard_partitions.py).

Words that are mere text are passed over: what `echo` prints, grep's pattern, the part of a sed
script that is looked for. What counts, though nothing opens it at once: values of variables, kernel
parameters, lines written into fstab or a boot entry (guard.py), since the next boot follows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from posixpath import basename, normpath

from llmkit.installer.guard_names import BARE, FOLDERS, Mention, Presence, canonical, mentions
from llmkit.installer.guard_partitions import absent_partitions
from llmkit.installer.guard_tools import (
    FILE_MARKERS,
    FILE_WRITERS,
    INTERPRETERS,
    PRINTERS,
    READERS,
    RUNNERS,
    SETTINGS,
    SHELLS,
    is_disk_tool,
)
from llmkit.installer.vfs import lv_name

_GREPS = frozenset(("grep", "egrep", "fgrep", "zgrep", "rg"))
_LABEL_OPTIONS = frozenset(("-L", "-n", "--label", "--name", "-N", "-c"))
_TAGGED = frozenset("mount umount swapon swapoff blkid findfs findmnt fsck tune2fs e2fsck".split())
_GROUP_TOOLS = frozenset(
    "vgremove vgextend vgreduce vgchange vgrename vgexport lvcreate lvremove lvextend lvreduce "
    "lvresize lvchange lvrename lvconvert".split()
)
_GROUP_VALUES = frozenset(
    "-L -l -n --name -s --size --extents -i -I -m -c -C -W -Z -y -r --type --stripes --mirrors "
    "-a --activate -p --permission --cachepool --thinpool -V --virtualsize --addtag --deltag "
    "-k --setactivationskip --poolmetadata --chunksize --config".split()
)
_MAPPING_ACTIONS = frozenset("close luksClose resize remove luksSuspend luksResume".split())
_IN_PLACE = re.compile(r"-[nErsz]*i|--in-place")
_SUBSTITUTE = re.compile(
    r"s(?P<s>[|#,@!%~/:])(?P<old>.*?)(?<!\\)(?P=s)(?P<new>.*?)(?<!\\)(?P=s)\w*"
)


@dataclass(frozen=True, slots=True)
class Call:
    """One command, as the guard looks at it. A None among `args` is an opaque word."""

    program: str  # base name
    args: tuple[str | None, ...]
    stdin: str | None = ""
    cwd: str | None = ""  # "": not known, and taken to hold no devices; None: may be below /dev
    roots: tuple[str, ...] = ("/mnt",)


def missing_devices(call: Call, here: Presence) -> list[str]:
    """Names of the devices that the command's words refer to and that `here` does not have."""
    makes = _creates(call)
    found = [
        m.name
        for m in device_mentions(call)
        if not any(map(here.has, m.names)) and m.names[0] not in makes
    ]
    found += absent_partitions(call.program, call.args, call.stdin, here)
    found += _absent_groups(call, here)
    if call.program in ("grub-install", "grub2-install", "grub-bios-setup"):
        for word in call.args:  # GRUB's own names: (hd0) is the first disk
            disk = re.fullmatch(r"\(?hd(\d{1,4})(,\w+)?\)?", word or "")
            if disk and int(disk[1]) >= len(here.state.disks):
                found.append(disk[0])
    return list(dict.fromkeys(found))


def device_mentions(call: Call) -> list[Mention]:
    """Every device that the command's words refer to."""
    program = call.program
    found: list[Mention] = []
    text_words = _text_words(call)
    bare = _takes_bare_names(program)
    previous = ""
    for index, word in enumerate(call.args):
        if word is None or index in text_words:
            previous = ""
            continue
        if program in ("sed", "gsed"):
            found += _sed_mentions(call, index, word)
        else:
            tags = program not in ("export", "declare", "typeset", "local", "readonly")
            found += mentions(word, call.roots, tags=tags)
        if bare and (previous not in _LABEL_OPTIONS or program == "udevadm"):
            found += _bare_mentions(word)
        found += _relative_mentions(call, word, bare)
        previous = word
    found += _option_tags(call)
    found += _implied(call)
    return found


def _creates(call: Call) -> tuple[str, ...]:
    """Nodes that the command itself makes. The model does not follow them: a later part of the line
    that uses one is refused."""
    words = [word for word in call.args if word is not None]
    nodes = [word for word in words if re.fullmatch(r"/dev/(md\d+|md/\w+|loop\d+)", word)]
    if call.program == "mdadm" and {"--create", "-C", "--build", "-B", "--assemble", "-A"} & set(
        words
    ):
        return tuple(nodes[:1])
    if call.program == "losetup" and nodes and words[-1] not in nodes:
        return tuple(nodes[:1])
    return ()


@lru_cache(maxsize=512)
def _takes_bare_names(program: str) -> bool:
    if is_disk_tool(program):
        return True
    return not (
        program in PRINTERS
        or program in READERS
        or program in SETTINGS
        or program in FILE_MARKERS
        or program in FILE_WRITERS
        or program in SHELLS
        or program in RUNNERS
        or program in INTERPRETERS
        or program in ("sed", "awk", "gawk", "mawk", "find")
    )


def _bare_mentions(word: str) -> Iterator[Mention]:
    """`lsblk sda`, `--name=sda`: a kernel name alone."""
    value = word.rpartition("=")[2] if word.startswith("-") else word
    if BARE.fullmatch(value):
        yield Mention((f"/dev/{value}",))


def _relative_mentions(call: Call, word: str, bare: bool) -> Iterator[Mention]:
    """`cd /dev; mkfs.ext4 sdz`, `../dev/sdz`."""
    if not word or word[0] in "/-" or "=" in word or call.program in ("cd", "pushd", "export"):
        if "=" not in word or not word.startswith(("of=", "if=")):
            return
        word = word[3:]
        if word.startswith("/"):
            return
    if call.cwd is None or call.cwd:
        path = canonical(normpath(f"{call.cwd or '/dev'}/{word}"), call.roots)
        if path.startswith("/dev/") and call.program not in PRINTERS and "\n" not in word:
            skip = call.program in SETTINGS or call.program in RUNNERS or call.program in SHELLS
            if not skip and not (call.program in READERS and not re.search(r"[/\d]|^sd", word)):
                yield Mention((path,))
    elif (bare or call.program in FILE_WRITERS or call.program in READERS) and "dev/" in word:
        match = re.match(r"(?:\.{1,2}/+)*dev/+(.+)", word)
        if match:
            yield Mention((canonical(f"/dev/{match[1]}", call.roots),))


def _text_words(call: Call) -> frozenset[int]:
    """Indices of words that are text to print or to look for."""
    if call.program in PRINTERS:
        return frozenset(range(len(call.args)))
    if call.program in _GREPS:
        return _grep_patterns(call.args)
    if call.program in ("awk", "gawk", "mawk"):
        return _awk_program(call.args)
    if call.program in ("useradd", "usermod", "adduser"):
        options = ("-c", "--comment", "-p", "--password")
        return frozenset(i + 1 for i, word in enumerate(call.args) if word in options)
    if call.program in ("rsync", "tar", "du", "cp"):
        return frozenset(_patterns_left_out(call.args))
    if call.program == "git":
        return frozenset(i + 1 for i, word in enumerate(call.args) if word in ("-m", "--message"))
    if call.program in ("journalctl", "dmesg", "pgrep", "pkill", "read", "lsof"):
        options = ("-g", "--grep", "-p", "-f")
        return frozenset(i + 1 for i, word in enumerate(call.args) if word in options)
    return frozenset()


def _patterns_left_out(args: tuple[str | None, ...]) -> Iterator[int]:
    """`--exclude=/dev/*`: names to pass over, not to open."""
    for index, word in enumerate(args):
        if word in ("--exclude", "--include", "--filter"):
            yield index + 1
        elif word and word.startswith(("--exclude=", "--include=", "--filter=")):
            yield index


def _grep_patterns(args: tuple[str | None, ...]) -> frozenset[int]:
    found, explicit = set(), False
    first: int | None = None
    skip = False
    for index, word in enumerate(args):
        if skip:
            skip = False
        elif word in ("-e", "--regexp"):
            found.add(index + 1)
            explicit = skip = True
        elif word is not None and word.startswith(("--regexp=", "-e")):
            found.add(index)
            explicit = True
        elif word in ("-f", "--file"):
            explicit = skip = True
        elif word in ("-A", "-B", "-C", "-m", "--context"):
            skip = True
        elif first is None and not (word is not None and word.startswith("-") and len(word) > 1):
            first = index
    if not explicit and first is not None:
        found.add(first)
    return frozenset(found)


def awk_acts(text: str | None) -> bool:
    """Whether an awk program may run commands or write files."""
    return (
        text is None or re.search(r"\bsystem\b|\||getline|>|\bclose\b|@load|-i", text) is not None
    )


def _awk_program(args: tuple[str | None, ...]) -> frozenset[int]:
    index = awk_program_index(args)
    if index is None or awk_acts(args[index]):
        return frozenset()
    return frozenset((index,))


def awk_program_index(args: tuple[str | None, ...]) -> int | None:
    skip = False
    for index, word in enumerate(args):
        if skip:
            skip = False
        elif word in ("-F", "-v", "--assign", "--field-separator"):
            skip = True
        elif word is not None and word.startswith("-"):
            if word in ("-f", "--file", "-i", "-l", "-E"):
                return None
        else:
            return index
    return None


def _sed_mentions(call: Call, index: int, word: str) -> tuple[Mention, ...]:
    """In a sed script, what is put in counts; what is looked for does not."""
    plain = word.replace("\\/", "/")
    if index not in sed_scripts(call.args):
        return mentions(word, call.roots)
    edits = any(a is not None and _IN_PLACE.match(a) for a in call.args)
    writes = re.search(r"(^|[;}/\d$\s])[wWrR]\s+\S", plain)
    if not edits and not writes:
        return ()
    rest = _SUBSTITUTE.sub(lambda m: f" {m['new']} ".replace("\\", ""), word)
    if rest == word and word[:1] in "/\\" and not writes:  # an address: /dev\/sdz/d
        rest = re.sub(r"^(/(?:[^/\\]|\\.)*/|\\(.)(?:.*?)\2)", " ", word)
    return mentions(rest.replace("\\/", "/"), call.roots)


def sed_scripts(args: tuple[str | None, ...]) -> frozenset[int]:
    """Indices of sed's script words."""
    found, explicit, skip = set(), False, False
    first: int | None = None
    for index, word in enumerate(args):
        if skip:
            skip = False
        elif word in ("-e", "--expression"):
            found.add(index + 1)
            explicit = skip = True
        elif word is not None and word.startswith("--expression="):
            found.add(index)
            explicit = True
        elif word in ("-f", "--file", "-l"):
            explicit, skip = explicit or word != "-l", True
        elif first is None and not (word is not None and word.startswith("-") and len(word) > 1):
            first = index
    if not explicit and first is not None:
        found.add(first)
    return frozenset(found)


def _option_tags(call: Call) -> Iterator[Mention]:
    """`mount -L root`, `swapon -U 1234`, `blkid --label=root`: a tag as an option's value."""
    if call.program not in _TAGGED or call.program in ("tune2fs", "e2fsck", "umount", "findmnt"):
        return
    names = {"-L": "LABEL", "--label": "LABEL", "-U": "UUID", "--uuid": "UUID"}
    for index, word in enumerate(call.args):
        if word is None:
            continue
        option, equals, value = word.partition("=")
        if option in names and equals:
            yield Mention((f"{names[option]}={value}",))
        elif word in names and index + 1 < len(call.args):
            following = call.args[index + 1]
            if following is not None:
                yield Mention((f"{names[word]}={following}",))
        elif len(word) > 2 and word[:2] in names and word[2] != "-":
            yield Mention((f"{names[word[:2]]}={word[2:]}",))


def _implied(call: Call) -> Iterator[Mention]:
    """Devices that a tool takes when none is named."""
    if call.program == "efibootmgr":
        short = [a for a in call.args if a and re.fullmatch(r"-[A-Za-z]+", a)]
        creates = any("c" in a or "C" in a for a in short) or any(
            a in ("--create", "--create-only") for a in call.args
        )
        disk = any("d" in a for a in short) or any(
            a is None or a.startswith(("--disk", "-d")) for a in call.args
        )
        if creates and not disk:
            yield Mention(("/dev/sda",))
    if call.program == "nvme":
        for index, word in enumerate(call.args):
            controller = re.fullmatch(r"(?:/dev/)?(nvme\d+)", word or "")
            if controller:
                for number in _namespaces(call.args[index + 1 :]):
                    yield Mention((f"/dev/{controller[1]}n{number}",))

    if call.program in ("cp", "mv", "install", "ln", "rsync"):
        yield from _into_folder(call)


def _into_folder(call: Call) -> Iterator[Mention]:
    """`cp sda /dev/`: what is copied into a folder of devices may lie on a device's name."""
    operands = [word for word in call.args if word is None or not word.startswith("-")]
    into = [
        i for i, w in enumerate(call.args) if w and re.fullmatch(r"-[a-zA-Z]*t|--target-\w+", w)
    ]
    into = [i + 1 for i in into if i + 1 < len(call.args)]
    if into:  # -t DIRECTORY stands before what goes into it
        chosen = call.args[into[0]]
        operands = [*(w for w in operands if w != chosen), chosen]
    target = operands[-1] if operands else None
    for word in call.args:  # -t/dev, --target-directory=/dev
        joined = re.fullmatch(r"(?:-[a-zA-Z]*t|--target-\w+=)(/.*)", word or "")
        if joined:
            target = joined[1]
            operands = [*operands, target]
    if target is None or canonical(target, call.roots) not in FOLDERS:
        return
    for word in operands[:-1]:
        if word and not word.startswith("/dev/"):
            yield Mention((f"{canonical(target, call.roots)}/{basename(word)}",))


def _namespaces(args: tuple[str | None, ...]) -> Iterator[str]:
    """`nvme format /dev/nvme0 -n 2`, `--namespace-id=2`."""
    text = " ".join(word or "" for word in args)
    for match in re.finditer(r"(?:^|\s)(?:-n|--namespace-id)[ =]?(\d+)", text):
        yield match[1]


def _absent_groups(call: Call, here: Presence) -> list[str]:
    """Volume groups, logical volumes and mappings that a command names without /dev."""
    program, args, state = call.program, call.args, here.state
    if program == "cryptsetup":
        words = [a for a in args if a is None or not a.startswith("-")]
        names = words[1:2] if words[:1] and words[0] in _MAPPING_ACTIONS else []
    elif program == "dmsetup":
        words = [a for a in args if a is None or not a.startswith("-")]
        names = words[1:2] if words[:1] and words[0] in ("remove", "suspend", "wipe_table") else []
    elif program in _GROUP_TOOLS:
        return _absent_volumes(program, args, here)
    else:
        return []
    known = {mapping.name for mapping in state.mappings}
    return [f"/dev/mapper/{n}" for n in names if n and "/" not in n and n not in known]


def _absent_volumes(program: str, args: tuple[str | None, ...], here: Presence) -> list[str]:
    groups = {group.name for group in here.state.groups}
    known = {mapping.name for mapping in here.state.mappings}
    operands, skip = [], False
    for word in args:
        if skip:
            skip = False
        elif word in _GROUP_VALUES:
            skip = word not in ("-y", "-r", "-Z") or program == "lvchange" and word != "-y"
        elif word is not None and not word.startswith("-"):
            operands.append(word)
    if program == "lvrename" and len(operands) == 3:
        operands = [f"{operands[0]}/{operands[1]}"]
    elif program in ("vgrename", "lvrename") or program in (
        "vgextend",
        "vgreduce",
        "lvcreate",
        "lvextend",
        "lvresize",
    ):
        operands = operands[:1]
    absent = []
    for word in operands:
        if word.startswith("/"):
            continue
        group, slash, volume = word.partition("/")
        if group not in groups:
            absent.append(group)
        elif slash and volume and program != "lvcreate" and lv_name(group, volume) not in known:
            absent.append(word)
    return absent
