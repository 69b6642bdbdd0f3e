"""Which commands may be written on a machine at all: a regular expression for constrained decoding.

    >>> from llmkit.installer.grounding import pattern
    >>> re.search(pattern(state), "mkfs.ext4 /dev/sdz1") is None
    True

What follows `/dev/` is a disk of the machine, a partition that it has or could have (sda1 to
sda128), a mapping or link that is there, a pseudo device or a folder: nothing else, no variable
either. The kernel's name of an absent disk (sdz, nvme9n1p1) may not stand alone as a word, and
quotes and backslashes do not hide one. A mapping that is not there yet may be named behind a
program that can make one (cryptsetup, lvcreate, …), a label behind one that can set it. A program
that works on block devices (mkfs, wipefs, sgdisk, dd, …) has no pseudo device or folder among its
arguments; /dev/null, /dev/zero and the like stand there behind `<`, `>` and `=` alone.

This keeps a model from writing such names; what a line does is the guard's to judge, names that
are put together from variables, printf or base64 included.

The expression is linear and anchored: no lookahead, no back reference, nothing lazy; only what
Python, Rust (llguidance) and ECMAScript read alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from llmkit.installer.state import SystemState

_DIGITS = "0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_QUOTES = "'\"\\"  # what the shell takes out of a word
_SEPARATORS = " \t\n/;|&<>(){}[]$`,:=*?!#%@^~"
_CONTROL = "".join(map(chr, range(32))) + "\x7f"  # the guard refuses them
_ENDS = " \t\n;|&<>(),:=]}!#%@^~"  # what may stand behind a device's name
_NUMBER = "(?:[1-9]|[1-9][0-9]|1[01][0-9]|12[0-8])"  # of partitions; sgdisk makes 128
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+\-]*"
_MAKES_MAPPINGS = (
    "cryptsetup dmsetup kpartx losetup lvchange lvcreate lvm lvrename mdadm vgchange vgcreate"
    " vgimport vgrename"
).split()
_SETS_LABELS = (
    "btrfs dosfslabel e2label exfatlabel fatlabel fdisk gdisk mke2fs mkdosfs mkntfs mkswap ntfslabel"
    " parted sfdisk sgdisk swaplabel tune2fs xfs_admin mkfs mkfs\\.[a-z0-9]+"
).split()
_WRITES_BLOCKS = (  # how the names of programs begin that write to block devices
    "badb blkd cfd cgd cryptse dd fdi gdi mda mkdo mke mkfs mknt mksw parte pvc pvr sfd sgd shr vgc vge"
    " wip"
).split()
_STREAMS = "null|zero|full|u?random|stdin|stdout|stderr|tty|fd/[0-9]+"
_PSEUDO = (  # as the guard has them
    "null|zero|full|u?random|console|ptmx|stdin|stdout|stderr|fd|pts|shm|mqueue|hugepages|"
    "tty(?:(?:S|USB|ACM|AMA)?[0-9]+)?|kmsg|log|fuse|hwrng|rtc[0-9]*|loop-control|mapper/control|"
    f"net/tun|kvm|initctl|uinput|vcs[au]?[0-9]*|"
    rf"(?:fd|pts|shm|mqueue|hugepages|dri|snd|input)/{_NAME}|(?:dri|input)/by-(?:id|path)/{_NAME}"
)
_FOLDERS = (
    "block bus char disk disk/by-id disk/by-label disk/by-partlabel disk/by-partuuid disk/by-path"
    " disk/by-uuid dri fd hugepages input mapper mqueue net pts shm snd"
).split()


@lru_cache(maxsize=512)
def pattern(state: SystemState) -> str:
    """The commands that name no absent device of this machine, as a regular expression."""
    return _pattern(tuple(sorted(_disks(state))), tuple(sorted(set(_links(state)))))


def _disks(state: SystemState) -> Iterator[str]:
    """Names of what can hold partitions."""
    yield from (disk.name for disk in state.disks)
    yield from (mapping.name for mapping in state.mappings if mapping.kind == "raid")


def _links(state: SystemState) -> Iterator[str]:
    """Other names below /dev that are there: mappings, volumes, links, labels."""
    for mapping in state.mappings:
        if mapping.kind != "raid":
            yield f"mapper/{mapping.name}"
        for group in state.groups:
            head = group.name.replace("-", "--") + "-"
            if mapping.kind == "lvm" and mapping.name.startswith(head):
                yield f"{group.name}/{mapping.name[len(head) :].replace('--', '-')}"
    for link, _ in state.links:
        if link.startswith("/dev/"):
            yield link[5:]
            if link.count("/") > 2:
                yield link[5:].rpartition("/")[0]
    found = [disk.signature for disk in state.disks]
    for disk in state.disks:
        for part in disk.partitions:
            found.append(part.signature)
            yield from _tag("partlabel", part.name)
            yield from _tag("partuuid", part.partuuid)
    found += [mapping.signature for mapping in state.mappings]
    for signature in found:
        if signature is not None:
            yield from _tag("label", signature.label)
            yield from _tag("uuid", signature.uuid)


def _tag(kind: str, value: str) -> Iterator[str]:
    if value:
        yield f"disk/by-{kind}/" + value.replace(" ", "\\x20").replace("/", "\\x2f")


# Regular expressions for "any word but these", without lookahead: from an automaton that is a tree.


@dataclass(slots=True)
class _Node:
    """A state of the automaton that reads names. In `loop` it stays; at an end a name ends; where
    it is closed, every word that comes so far is a name."""

    edges: dict[str, _Node] = field(default_factory=dict)
    loop: str = ""
    end: bool = False
    closed: bool = False

    def on(self, chars: str, loop: str = "", end: bool = False) -> _Node:
        """The node behind one of `chars`, made when there is none."""
        return self.edges.setdefault(chars, _Node(loop=loop, end=end))

    def word(self, text: str) -> _Node:
        """The node behind a word."""
        node = self
        for char in text:
            node = node.on(char)
        return node


def _kernel_names() -> _Node:
    """sdX, vdX, xvdX, nvmeX, nvmeXnY and mmcblkX, with and without a partition's number. One
    letter alone: sdcc and the like are words."""
    root = _Node()
    for prefix in ("sd", "vd", "xvd"):
        root.word(prefix).on(_LOWER, _DIGITS, end=True)
    root.word("nvme").on(_DIGITS, _DIGITS + "np", end=True)
    root.word("mmcblk").on(_DIGITS, _DIGITS + "p", end=True)
    return root


def _any_but(node: _Node, outside: str, ignored: str = "") -> str:
    """Every string without the characters of `outside` that is no name of the automaton.
    Characters of `ignored` count as if they were not there."""
    stay = ignored + node.loop
    parts = [_class(outside + stay + "".join(node.edges), "^") + _class(outside, "^") + "*"]
    for chars, child in node.edges.items():
        if not child.closed:
            parts.append(_class(chars) + _any_but(child, outside, ignored))
    loop = f"{_class(stay)}*" if stay else ""
    return loop + _one_of(parts) + ("" if node.end else "?")


def _class(chars: str, negated: str = "") -> str:
    """A character class as ranges, the same in every dialect."""
    codes = sorted(set(map(ord, chars)))
    out, at = "", 0
    while at < len(codes):
        end = at
        while end + 1 < len(codes) and codes[end + 1] == codes[end] + 1:
            end += 1
        first, last = (_literal(chr(codes[place]), keep="!\"#'(*,/:@{") for place in (at, end))
        out += first if first == last else f"{first}-{last}"
        at = end + 1
    return out if len(codes) == 1 and not negated else f"[{negated}{out}]"


def _literal(text: str, keep: str = "_/-") -> str:
    return "".join(
        c if c.isalnum() or c in keep or not c.isascii() else f"\\x{ord(c):02x}" for c in text
    )


def _one_of(parts: Iterable[str]) -> str:
    return f"(?:{'|'.join(parts)})"


# The language: words with separators between them. A word is what the shell would glue together.

_OUTSIDE = _SEPARATORS + _CONTROL
_Q = f"{_class(_QUOTES)}*"
_CLOSE = "[\"']*"
_SEPARATOR = _class(_SEPARATORS)
_DEV = f"{_Q}d{_Q}e{_Q}v{_Q}"
_WORDS = _kernel_names()
_WORDS.word("dev").end = True  # it has rules of its own
_PLAIN_WORDS = _kernel_names()  # the same without the programs that have a rule of their own
_PLAIN_WORDS.word("dev").end = True
for _start in _WRITES_BLOCKS:
    _PLAIN_WORDS.word(_start).closed = True
_GROUPS = _kernel_names()  # a volume group has any name but the kernel's
for _folder in (*(name for name in _FOLDERS if "/" not in name), "dev"):
    _GROUPS.word(_folder).end = True
_GROUPS.on(".", ".", end=True)
_NEXT = r"(?:[\n;\|]|\x26[ \t\n\x26])"  # what ends a command
_STREAM = (
    r"(?:(?:\x26?[<>]+|=|(?:-d|--key-file|--random-source)[ \t])"
    rf"[ \t]*{_Q}/+{_DEV}/(?:{_STREAMS}){_CLOSE})"
)
_GLOB = r"(?:[*?]|\[[!\x5e]?[a-z0-9\-]+\])"
_HEX = r"\\x[0-9a-f][0-9a-f]"  # how udev writes a blank
_BRACES = r"\{(?:[0-9]+\.\.[0-9]+|[0-9]+(?:,[0-9]+)*)\}"


@lru_cache(maxsize=512)  # many states have the same names
def _pattern(disks: tuple[str, ...], links: tuple[str, ...]) -> str:
    own = [f"{_Q}{_literal(disk)}(?:{_p(disk)}{_NUMBER})?{_Q}" for disk in disks]
    controllers = sorted({_controller(disk) for disk in disks} - {""})
    own += [f"{_Q}{name}{_Q}" for name in controllers]
    nodes = [
        f"{_literal(disk)}(?:{_p(disk)}(?:{_NUMBER}|{_BRACES})|[0-9p]*(?:{_GLOB}[0-9p]*)+)?"
        for disk in disks
    ]
    if len(disks) > 1:
        listed = _one_of(map(_literal, disks))
        nodes.append(rf"\{{{listed}(?:,{listed})+\}}(?:p?{_NUMBER})?")
    there = [_PSEUDO, r"\*?", r"(?:mapper|disk/by-[a-z]+)/\*", f"{_one_of(_FOLDERS)}/?"]
    there += [*controllers, *map(_literal, links)]
    blocks = [_literal(link) for link in links if not _is_folder(link, links)]
    label = rf"disk/by-(?:part)?(?:label|uuid)/(?:[A-Za-z0-9_.+\-]|{_HEX})+"
    array = "(?:md|loop)[0-9]+(?:p[0-9]+)?"  # mdadm and losetup name what they make
    made = f"(?:mapper|md|{_any_but(_GROUPS, _OUTSIDE + _QUOTES)})/{_NAME}"

    def language(*more: str) -> tuple[str, str]:
        return _language(own, nodes, [*there, *more], [*blocks, *more])

    unit, last = language()
    labels = "{}*{}".format(*language(label))
    mappings = "{}*{}".format(*language(array, label, made))
    labelled = _command(_SETS_LABELS, own, nodes, blocks)
    mapped = _command(_MAKES_MAPPINGS, own, nodes, [*blocks, array])
    return f"^{unit}*(?:{last}|{labelled}{_NEXT}{labels}|{mapped}(?:{_NEXT}{mappings})?)$"


def _is_folder(link: str, links: Iterable[str]) -> bool:
    return any(other.startswith(f"{link}/") for other in links)


def _language(
    own: Sequence[str], nodes: Sequence[str], there: Sequence[str], blocks: Sequence[str]
) -> tuple[str, str]:
    """A word with what ends it, or a command of a program for block devices; and the last of them.

    `own` are words that name a disk. `nodes` and `there` stand below /dev; what follows them cannot
    be a part of their names, and behind `there` there is nothing below. `blocks` are those of
    `there` that are block devices.
    """
    word = _one_of([_any_but(_PLAIN_WORDS, _OUTSIDE, _QUOTES), *own])
    node = f"{_DEV}/{_one_of(nodes)}\\.*{_CLOSE}"
    other = f"{_DEV}/{_one_of(there)}{_CLOSE}"
    writers = f"{_one_of(_WRITES_BLOCKS)}{_class(_OUTSIDE, '^')}*"
    command = _command([writers], own, nodes, blocks)
    ended = [
        f"{word}{_SEPARATOR}",
        f"{_DEV}{_class(_SEPARATORS.replace('/', ''))}",
        rf"{node}(?:{_class(_ENDS)}|\\?/)",
        f"{other}{_class(_ENDS)}",
        f"{command}{_NEXT}",
    ]
    alone = _one_of([_any_but(_WORDS, _OUTSIDE, _QUOTES), *own])  # a program without arguments, too
    return _one_of(ended), _one_of([alone, _DEV, node, other, f"{command}\\x26?"])


def _command(
    programs: Iterable[str], own: Sequence[str], nodes: Sequence[str], blocks: Sequence[str]
) -> str:
    """One command of a program that works on block devices, without what ends it."""
    word = _one_of([_any_but(_WORDS, _OUTSIDE, _QUOTES), *own])
    node = f"{_DEV}/{_one_of([*nodes, *blocks])}\\.*{_CLOSE}"
    ended = [
        word + _within(_SEPARATORS),
        _DEV + _within(_SEPARATORS.replace("/", "")),
        node + _within(_ENDS),
    ]
    rest = f"{_within(_SEPARATORS)}{_one_of(ended)}*{_one_of([word, _DEV, node])}{_STREAM}*"
    return f"{_Q}{_one_of(programs)}{_Q}(?:{rest})?"


def _within(ends: str) -> str:
    """What may stand behind a word of a command that goes on."""
    inner, behind = (_class("".join(set(chars) - set("\n;|&"))) for chars in (ends, _ENDS))
    return f"(?:[<>]\x26|\x26>|{inner}|{_STREAM}+{behind})"


def _p(disk: str) -> str:
    """What stands between a disk's name and a partition's number."""
    return "p" if disk[-1:].isdigit() else ""


def _controller(disk: str) -> str:
    """nvme0n1 → nvme0, which `nvme` takes; "" for other disks."""
    head, n, rest = disk.rpartition("n")
    return head if n and rest.isdigit() and head.startswith("nvme") and head[4:].isdigit() else ""
