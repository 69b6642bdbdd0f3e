"""Device names in text, and whether a machine has them.

    >>> [m.names for m in mentions("of=/dev/./sdz")]
    [('/dev/sdz',)]

A mention is found wherever a tool could read one: a whole word, after `=` or `:` or a comma, joined
to a short option, behind a target's root (`/mnt/dev/sdz`, `/proc/1/root/dev/sdz`), in sysfs
(`/sys/block/sdz`), as a tag (`LABEL=root`), as a systemd unit (`dev-sdz1.swap`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from posixpath import normpath

from llmkit.installer import vfs
from llmkit.installer.state import SystemState

PSEUDO = re.compile(
    r"/dev/(null|zero|full|u?random|console|ptmx|stdin|stdout|stderr|fd|pts|shm|mqueue|hugepages|"
    r"tty((S|USB|ACM|AMA)?\d+)?|kmsg|log|fuse|hwrng|rtc\d*|loop-control|mapper/control|net/tun|kvm|"
    r"initctl|uinput|vcs[au]?\d*|(fd|pts|shm|mqueue|hugepages|dri|snd|input)/[^*?]*)"
)
FOLDERS = frozenset(
    "/dev /dev/disk /dev/mapper /dev/block /dev/char /dev/bus /dev/net /dev/dri /dev/snd /dev/input"
    " /dev/disk/by-id /dev/disk/by-path /dev/disk/by-uuid /dev/disk/by-label /dev/disk/by-partuuid"
    " /dev/disk/by-partlabel".split()
)
BARE = re.compile(
    r"(sd[a-z]{1,3}|[hx]?vd[a-z]{1,2}|hd[a-z]|nvme\d+(n\d+)?|mmcblk\d+|loop\d+|sr\d+|dm-\d+|zram\d+|"
    r"nbd\d+)(p?\d+|boot\d|rpmb)?"
)
_PATH = re.compile(r"(?<![\w.~+/\\-])/[^\s\"'`,;|&<>(){}$]*")
_LOOSE = re.compile(r"(?<!/)/[^\s\"'`,;|&<>(){}$]*")  # in words like -f/dev/sda
_TAG = re.compile(
    r"(?<![A-Za-z_])((?:PART)?(?:UUID|LABEL))=(?:\"([^\"]*)\"|([^\s\"',;|&<>(){}$]+))"
)
_WHOLE_TAG = re.compile(r"((?:PART)?(?:UUID|LABEL)|ID)=(.+)", re.DOTALL)
_ELSEWHERE = re.compile(r"/proc/[^/]+/(?:root|cwd|task/[^/]+/(?:root|cwd))(?=/|$)")
_SYSFS = re.compile(r"/sys/(?:block|class/block|devices/(?:.+/)?block)/([^/]+)(?:/([^/]+))?")
_UNIT = re.compile(r"dev-(.+)\.(?:device|swap|mount)")
_UDISKS = re.compile(r"block_devices/(\w+)")
_HINT = re.compile(r"dev|/sys|/proc|UUID=|LABEL=|ID=|block_devices|/[^/]*[*?\[]")
_CUTS = re.compile(r"[:=@\[]")


@dataclass(frozen=True, slots=True)
class Mention:
    """One device that a text refers to: its possible readings, the longest first
    (`/dev/sdz:/boot` is a device of that name, or /dev/sdz)."""

    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The reading to show when none is there."""
        linked = self.names[0].startswith(("/dev/disk/", "/dev/block/", "/sys/"))
        return self.names[0 if linked else -1]


@lru_cache(maxsize=8192)
def mentions(
    word: str, roots: tuple[str, ...] = ("/mnt",), *, tags: bool = True, prose: bool = False
) -> tuple[Mention, ...]:
    """Every device, device link and tag in a word, or in a longer text (`prose`).

    `roots`: directories beneath which a /dev of this machine may be seen.
    """
    if _HINT.search(word) is None:
        return ()
    found: list[Mention] = []
    for match in (_LOOSE if word.startswith("-") else _PATH).finditer(word):
        found += _readings(match.group(), roots)
    if tags:
        whole = None if prose else _WHOLE_TAG.fullmatch(word)
        if whole:
            found.append(Mention(_cut(f"{whole[1]}={whole[2]}", len(whole[1]) + 1)))
        else:
            for match in _TAG.finditer(word):
                value = match[2] if match[2] is not None else match[3]
                found.append(Mention(_cut(f"{match[1]}={value}", len(match[1]) + 1)))
    unit = _UNIT.fullmatch(word)
    if unit:
        path = unit[1].replace("-", "/")
        path = re.sub(r"\\x([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), path)
        found.append(Mention((f"/dev/{path}",)))
    found += [Mention((f"/dev/{name}",)) for name in _UDISKS.findall(word)]
    return tuple(found)


def _readings(path: str, roots: tuple[str, ...]) -> Iterator[Mention]:
    """The mention that an absolute path is, if it is one."""
    plain = canonical(path, roots)
    if plain.startswith("/dev/"):
        yield Mention(_cut(plain, 5))
        return
    system = _SYSFS.match(plain)
    if system and not re.search(r"[*?\[]", system[1]):
        name, part = system[1], system[2] or ""
        inner = part if part.startswith(name) else name
        yield Mention((f"/dev/{inner.replace('!', '/')}",))
    elif plain.startswith("/sys/dev/block/"):
        yield Mention((plain,))


@lru_cache(maxsize=8192)
def canonical(path: str, roots: tuple[str, ...] = ("/mnt",)) -> str:
    """`path` without dots, doubled slashes and detours to the same /dev or /sys."""
    plain = normpath(path)
    if plain.startswith("//"):
        plain = plain[1:]
    for _ in range(8):
        before = plain
        plain = _ELSEWHERE.sub("", plain) or "/"
        for root in roots:
            if plain.startswith((f"{root}/dev/", f"{root}/sys/", f"{root}/proc/")):
                plain = plain[len(root) :]
        head, slash, rest = plain[1:].partition("/")
        if slash and re.search(r"[*?\[]", head) and _matches_dev(head):
            plain = f"/dev/{rest}"
        if plain == before:
            break
    return plain


@lru_cache(maxsize=256)
def _matches_dev(pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase("dev", pattern)


def _cut(name: str, start: int) -> tuple[str, ...]:
    """`name`, then shorter readings: without what follows a `:`, `=`, `@` or `[`, nor a full
    stop at the end of a sentence."""
    names = [name]
    for match in reversed(list(_CUTS.finditer(name, start + 1))):
        names.append(name[: match.start()])
    bare = names[-1].rstrip(".!:")
    if bare != names[-1] and len(bare) > start:
        names.append(bare)
    return tuple(names)


class Presence:
    """The device names that one state knows."""

    __slots__ = ("_folders", "_nodes", "_seen", "nodes", "roots", "state")

    def __init__(self, state: SystemState) -> None:
        self.state = state
        targets = {mount.target for mount in state.mounts} | {"/mnt"}
        self.roots = frozenset(
            t for t in targets if t != "/" and not t.startswith(("/dev", "/proc", "/sys"))
        )
        self.nodes = tuple(state.devices())
        self._nodes = frozenset(self.nodes)
        self._folders: frozenset[str] | None = None
        self._seen: dict[str, bool] = {}

    def resolve(self, name: str) -> str | None:
        """The node that a path or tag stands for, or None."""
        return name if name in self._nodes else vfs.device(self.state, name)

    def has(self, name: str) -> bool:
        """Whether a path below /dev or a tag exists here (pseudo devices and folders do)."""
        if name in self._nodes:
            return True
        known = self._seen.get(name)
        if known is None:
            known = self._seen[name] = self._look(name)
        return known

    def _look(self, name: str) -> bool:
        if PSEUDO.fullmatch(name) or name in FOLDERS or name == "/dev/":
            return True
        if vfs.device(self.state, name) is not None:
            return True
        controller = re.fullmatch(r"/dev/nvme\d+", name)
        if controller:
            return any(re.fullmatch(rf"{name}n\d+", node) for node in self._nodes)
        if self._folders is None:
            self._folders = frozenset(link.rpartition("/")[0] for link, _ in self.state.links)
        return name in self._folders


_PRESENCES: dict[int, Presence] = {}


def presence(state: SystemState) -> Presence:
    """The names of a state. The last few hundred are kept, since one machine is asked about many
    lines; the kept object holds its state, so that the id stays its own."""
    found = _PRESENCES.get(id(state))
    if found is None:
        if len(_PRESENCES) >= 256:
            _PRESENCES.clear()
        found = _PRESENCES[id(state)] = Presence(state)
    return found


def disks_of(state: SystemState, node: str) -> set[str]:
    """Paths of the whole disks on which a node's data lies."""
    todo, seen, disks = [node], {node}, set()
    mappings = {mapping.path: mapping for mapping in state.mappings}
    owner = {
        disk.partition_path(part.number): disk.path
        for disk in state.disks
        for part in disk.partitions
    }
    while todo:
        path = todo.pop()
        if path in mappings:
            fresh = [parent for parent in mappings[path].parents if parent not in seen]
            seen.update(fresh)
            todo += fresh
        else:
            disks.add(owner.get(path, path))
    return disks
