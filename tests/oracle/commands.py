"""Strategies: commands that make sense on the machine as the model has it, and some that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from llmkit.installer.state import Disk, Partition, SystemState

MIB = 1 << 20
Draw = Callable[[st.SearchStrategy], object]  # type: ignore[type-arg]
CODES = ("8300", "8200", "ef00", "ef02", "8e00", "fd00", "8302", "0700", "EF00", "8304", "zz", "0000",
         "0fc63daf-8483-4772-8e79-3d69d8477de4")  # fmt: skip
NAMES = ("root", "EFI", "home", "swap-1", "a", "x" * 36)
_AT_START = ("0%", "1MiB", "1", "2048s", "0", "2MiB", "0.0GB", "0.00GiB")
LABELS = ("root", "data", "EFI", "")


@dataclass(frozen=True)
class Command:
    """One command: words, and what stands on its standard input."""

    argv: tuple[str, ...]
    stdin: str = ""

    def __str__(self) -> str:
        words = " ".join(word if word and " " not in word else repr(word) for word in self.argv)
        return f"{words} <<< {self.stdin!r}" if self.stdin else words


def _mib(disk: Disk) -> int:
    return disk.size // MIB


def disks(state: SystemState) -> st.SearchStrategy[Disk]:
    return st.sampled_from(state.disks)


def numbers(disk: Disk) -> st.SearchStrategy[int]:
    """Mostly a partition that exists, at times one that does not."""
    present = [part.number for part in disk.partitions]
    odd = st.integers(1, 7)
    return st.one_of(*([st.sampled_from(present)] * 4), odd) if present else odd


@st.composite
def sgdisk(draw: Draw, state: SystemState) -> Command:
    disk = draw(disks(state))
    words: list[str] = []
    opening = draw(st.sampled_from(["", "", "", "", "", "-o", "-Z", "-z", "-g", "-Zo"]))
    if disk.table != "gpt" and draw(st.integers(0, 3)):
        opening = draw(st.sampled_from(["-o", "-Zo", "-Z", "-g"])) if disk.table else "-o"
    extended = any(part.role == "extended" for part in disk.partitions)
    if "o" in opening and extended and any(kept.kind == "gpt-backup" for _, kept in disk.stale):
        # It writes an msdos table with a rest of a GPT back, with a logical partition that was not there.
        opening = "-Z"
    if opening:
        words.append(opening)
    fresh = opening in ("-o", "-Z", "-z", "-Zo")
    count = draw(st.integers(0 if opening else 1, 4))
    for _ in range(count):
        # Bits of an entry that no partition has stay for a later one: the state has no place for them.
        named = not opening and disk.table == "gpt" and not {"-d", "-r", "-s"} & set(words)
        words.extend(draw(_sgdisk_step(disk, fresh, named)))
    return Command(("sgdisk", *words, disk.path))


def _numbered(form: str, low: int, high: int) -> st.SearchStrategy[str]:
    return st.integers(low, max(low, high)).map(form.format)


def _sgdisk_start(disk: Disk) -> st.SearchStrategy[str]:
    size = _mib(disk)
    usual = st.sampled_from(["0", "0", "", "2048"])
    return st.one_of(
        usual, usual, _numbered("{}M", 1, size), _numbered("+{}M", 1, 64),
        _numbered("-{}M", 1, size), _numbered("{}", 2048, disk.size // disk.sector),
    )  # fmt: skip


def _sgdisk_end(size: int) -> st.SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(["0", "", "abc"]), _numbered("+{}M", 1, 300), _numbered("+{}MiB", 1, 300),
        _numbered("+{}M", 1, size // 2), _numbered("-{}M", 1, size), _numbered("{}M", 1, size),
        _numbered("+{}", 1, 9000), _numbered("+{}G", 1, 2), _numbered("+{}K", 1, 200000),
    )  # fmt: skip


@st.composite
def _sgdisk_step(draw: Draw, disk: Disk, fresh: bool, named: bool) -> list[str]:
    taken = () if fresh else tuple(part.number for part in disk.partitions)
    kinds = "nnnnnttcdddNsAaIurG" if named else "nnnnnttcdddNsaIurG"
    kind = draw(st.sampled_from(kinds if taken else "nnnnntcNaI"))
    size = _mib(disk)
    target = draw(st.sampled_from([0, *taken])) if taken else draw(st.sampled_from([0, 1, 2]))
    if kind == "n":
        free = [number for number in range(1, 8) if number not in taken]
        number = draw(st.sampled_from([0, 0, *free[:3], 1, 2]))
        start = draw(_sgdisk_start(disk))
        end = draw(_sgdisk_end(size))
        return [draw(st.sampled_from(["-n", "-n", "--new"])), f"{number}:{start}:{end}"]
    if kind == "N":
        return ["-N", str(target)]
    if kind == "t":
        return ["-t", f"{target}:{draw(st.sampled_from(CODES))}"]
    if kind == "c":
        return ["-c", f"{target}:{draw(st.sampled_from(NAMES))}"]
    if kind == "d":
        return ["-d", str(draw(numbers(disk)))]
    if kind == "A":
        verb = draw(st.sampled_from(["set", "clear", "toggle"]))
        return [
            "-A",
            f"{draw(st.sampled_from(taken))}:{verb}:{draw(st.sampled_from([0, 2, 60, 63, 64]))}",
        ]
    if kind == "a":
        return ["-a", str(draw(st.sampled_from([1, 8, 2048, 4096])))]
    if kind == "u":
        return ["-u", f"{target}:R"]
    if kind == "r":
        return ["-r", f"{draw(numbers(disk))}:{draw(numbers(disk))}"]
    return [f"-{kind}"]


@st.composite
def parted(draw: Draw, state: SystemState) -> Command:
    disk = draw(disks(state))
    words: list[str] = []
    if disk.table is None or not draw(st.integers(0, 9)):
        words += ["mklabel", draw(st.sampled_from(["gpt", "msdos", "msdos"]))]
    table = words[1] if words else disk.table
    fresh = bool(words)
    for _ in range(draw(st.integers(0 if words else 1, 3))):
        words += draw(_parted_step(disk, table or "gpt", fresh))
    align = draw(st.sampled_from([[], [], [], ["-a", "optimal"], ["-a", "none"]]))
    if any(word.startswith("-") for word in words):
        return Command(("parted", "-s", *align, disk.path, "--", *words))
    return Command(("parted", "-s", *align, disk.path, *words))


@st.composite
def places(draw: Draw, disk: Disk, near: tuple[int, ...]) -> str:
    """A place on a disk, in one of parted's units; often next to something that is there."""
    size = disk.size
    if near and draw(st.integers(0, 2)):
        byte = draw(st.sampled_from(near))
    else:
        byte = draw(st.integers(0, size // MIB)) * MIB
    if byte < 3 * MIB:  # below, parted rounds by a geometry that it makes up for loop devices
        return draw(st.sampled_from(["0%", "1MiB", "1", "2048s", "0", "2MiB"]))
    return draw(st.sampled_from([
        f"{byte // MIB}MiB", f"{byte // MIB}MiB", f"{byte // 10**6}MB", f"{byte // 10**6}",
        f"{byte * 100 // size}%", f"{byte // disk.sector}s", f"{byte / 2**30:.2f}GiB",
        f"{byte / 10**9:.1f}GB",
    ]))  # fmt: skip


def _gaps(disk: Disk, parts: tuple[Partition, ...], role: str) -> list[tuple[int, int]]:
    """Free space in whole MiB, from and to; where parted has room for a logical partition's record
    a MiB later. All of the disk when there is none."""
    logical = role == "logical"
    low, high = 1, disk.size // MIB - 1
    extended = next((part for part in parts if part.role == "extended"), None)
    if logical and extended is not None:
        low, high = -(-extended.start // MIB) + 1, extended.end // MIB
    found, at = [], low
    rows = sorted((p for p in parts if (p.role == "logical") == logical), key=lambda p: p.start)
    for part in rows:
        if part.start // MIB - logical > at:
            found.append((at, part.start // MIB - logical))
        at = max(at, -(-part.end // MIB) + logical)
    if high > at:
        found.append((at, high))
    return found or [(1, disk.size // MIB - 1)]


@st.composite
def _parted_step(draw: Draw, disk: Disk, table: str, fresh: bool) -> list[str]:
    parts = () if fresh else disk.partitions
    kind = draw(st.sampled_from(("mmmmmmrrnssttR" if table == "gpt" else "mmmmrsstR")
                                if parts else "m"))  # fmt: skip
    if kind == "m":
        words = ["mkpart"]
        borders = tuple(b for part in parts for b in (part.start, part.end))
        role = ""
        if table == "gpt":
            words.append(draw(st.sampled_from(["root", "EFI", "primary", "'my data'"])))
        else:
            extended = next((part for part in parts if part.role == "extended"), None)
            choices = ["primary", "primary", "extended"] if not extended else ["logical"] * 3
            role = draw(st.sampled_from([*choices, "primary"]))
            words.append(role)
            if role == "logical" and extended:
                borders = (extended.start, extended.start + MIB, *borders)
        if role != "extended" and draw(st.booleans()):
            words.append(draw(st.sampled_from(
                ["ext4", "fat32", "linux-swap", "btrfs", "xfs", "ntfs", "fat16"])))  # fmt: skip
        if draw(st.integers(0, 2)):
            first, last = draw(st.sampled_from(_gaps(disk, parts, role)))
            start = draw(st.sampled_from([f"{first}MiB", f"{first}MiB", f"{first * MIB // 512}s"]))
            size = draw(st.integers(1, max(last - first, 1)))
            end = draw(st.sampled_from([f"{first + size}MiB", f"{last}MiB", "100%"]))
            return [*words, start, end]
        start = draw(places(disk, (MIB, *borders)))
        end = draw(st.one_of(
            places(disk, borders).filter(lambda text: text not in _AT_START),
            st.just("100%"), st.just("-1s"), st.just("-1MiB")))  # fmt: skip
        return [*words, start, end]
    number = str(draw(numbers(disk)))
    if kind == "r":
        return ["rm", number]
    if kind == "n":
        return ["name", number, draw(st.sampled_from(["root", "'two words'", "x"]))]
    if kind == "R":
        # growing: with -s, parted stumbles over its own question when it shrinks
        behind = -(-max(part.end for part in parts) // MIB)
        end = draw(st.one_of(st.just("100%"), _numbered("{}MiB", behind, _mib(disk))))
        return ["resizepart", number, end]
    flags = ["boot", "esp", "lvm", "raid", "swap", "hidden", "diag", "bls_boot"]
    flags += ["bios_grub", "legacy_boot", "msftdata"] if table == "gpt" else ["lba"]
    flag = draw(st.sampled_from(flags))
    if kind == "t":
        return ["toggle", number, flag]
    return ["set", number, flag, draw(st.sampled_from(["on", "on", "off"]))]


@st.composite
def sfdisk(draw: Draw, state: SystemState) -> Command:
    disk = draw(disks(state))
    kind = draw(st.sampled_from("sssaNdtlA" if disk.partitions else "s"))
    protective = any(part.type == "ee" for part in disk.partitions)  # sfdisk leaves it alone
    extended = any(part.role == "extended" for part in disk.partitions)
    # -N lets a primary partition grow into an extended one, up to its logical ones and a sector more
    if (kind in "aN" and (protective or _odd_extended(disk))) or (kind == "N" and extended):
        kind = "s"
    quiet = ("-q",) if draw(st.booleans()) else ()
    if kind == "d":
        return Command(("sfdisk", "--delete", disk.path, str(draw(numbers(disk)))))
    if kind == "A":
        present = st.sampled_from([part.number for part in disk.partitions])
        return Command(("sfdisk", "-A", disk.path, str(draw(present))))
    if kind == "t":
        word = draw(st.sampled_from(["U", "S", "L", "uefi", "linux", "swap"]))
        return Command(("sfdisk", "--part-type", disk.path, str(draw(numbers(disk))), word))
    if kind == "l":
        return Command(("sfdisk", "--part-label", disk.path, str(draw(numbers(disk))), "data"))
    if kind == "a":
        line = draw(_sfdisk_line(disk, disk.table or "msdos", 0))
        if any(part.role == "extended" for part in disk.partitions):
            line = line.replace(",E", ",L").replace("type=E", "type=L")
        return Command(("sfdisk", *quiet, "-a", disk.path), line + "\n")
    if kind == "N":
        line = draw(st.sampled_from([",+", ",100M", ", 50M", ",20480"]))
        return Command(("sfdisk", *quiet, "-N", str(draw(numbers(disk))), disk.path), line + "\n")
    label = draw(st.sampled_from(["gpt", "gpt", "dos", "dos", ""]))
    lines = [f"label: {label}"] if label else []
    room = _mib(disk) - 8
    table = {"gpt": "gpt", "dos": "msdos"}.get(label, disk.table or "msdos")
    for _ in range(draw(st.integers(0 if label else 1, 5))):
        line = draw(_sfdisk_line(disk, table, room // 5))
        if any(word in line for word in (",E", "type=E")) and "E" in "".join(lines):
            continue  # one extended partition
        lines.append(line)
    return Command(("sfdisk", *quiet, disk.path), "\n".join(lines) + "\n")


@st.composite
def _sfdisk_line(draw: Draw, disk: Disk, table: str, room: int) -> str:
    """A line of a script; no size above `room` MiB, as sfdisk makes an empty partition of one that
    does not fit."""
    plain = st.sampled_from(["", "+"])
    size = draw(plain if room < 4 else st.one_of(
        plain, _numbered("{}M", 1, room), _numbered("{}MiB", 1, room),
        _numbered("{}", 2048, room * 2048), _numbered("{}.5M", 1, room - 1),
    ))  # fmt: skip
    kinds = ["", "", "L", "S", "U", "linux", "swap"] + (
        ["E"] if table == "msdos" else ["R", "home"]
    )
    kind = draw(st.sampled_from(kinds))
    if kind == "E":  # large: after a tiny one sfdisk gives up in silence
        size = "+" if room < 64 else f"{room}M"
    form = draw(st.sampled_from(["positional", "positional", "start", "named"]))
    if form == "named":
        words = [f"size={size}"] if size else []
        if kind:
            words.append(f"type={kind}")
        if table == "gpt":
            words.append('name="some data"')
        return ", ".join(words) or ",,"
    start = ""
    if form == "start":
        start, size = f"{draw(st.integers(1, _mib(disk) - 1))}M", draw(plain)
    line = f"{start},{size},{kind}"
    return f"{line},*" if table == "msdos" and not draw(st.integers(0, 4)) else line


def _odd_extended(disk: Disk) -> bool:
    """Is there an extended partition where libfdisk's questions go astray (an end before the start,
    again and again): a tiny one, or one that does not begin at a whole MiB?"""
    return any(
        part.role == "extended" and (part.size < 8 * MIB or part.start % MIB)
        for part in disk.partitions
    )


@st.composite
def fdisk(draw: Draw, state: SystemState) -> Command:
    disk = draw(disks(state))
    lines: list[str] = []
    table = disk.table
    if table is None or not draw(st.integers(0, 5)):
        lines.append(draw(st.sampled_from(["g", "o"])))
        table = "gpt" if lines == ["g"] else "msdos"
    end = st.one_of(st.just(""), _numbered("+{}M", 1, 300), _numbered("+{}G", 1, 2),
                    _numbered("-{}M", 1, 100), _numbered("+{}", 2048, 99999))  # fmt: skip
    # with one partition fdisk asks for no number; what it does to extended ones is not modelled
    several = not lines and len(disk.partitions) > 1
    several = several and not any(part.role == "extended" for part in disk.partitions)
    for step in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from("nndtap" if several and step == 0 else "nnnp"))
        if kind == "n" and _odd_extended(disk):
            break
        lines.append(kind)
        if kind == "n":
            if table == "msdos":
                lines.append(draw(st.sampled_from(["p", "p", "e", "l", ""])))
            lines += ["", "", draw(end)]
            if table == "msdos":
                break  # after an answer that fdisk refuses, the rest answers other questions
        elif kind == "d":
            lines.append(draw(st.sampled_from(["", "1", "2"])))
        elif kind == "t":
            lines += [draw(st.sampled_from(["1", "2", ""])),
                      draw(st.sampled_from(["uefi", "swap", "linux", "82", "1", "20"]))]  # fmt: skip
        elif kind == "a":
            lines.append(draw(st.sampled_from(["1", ""])))
    lines.append(draw(st.sampled_from(["w", "w", "w", "w", "q"])))
    return Command(("fdisk", disk.path), "\n".join(lines) + "\n")


def formattable(state: SystemState) -> list[str]:
    """Partitions that are quick to format, and large enough."""
    return [
        disk.partition_path(part.number)
        for disk in state.disks
        for part in disk.partitions
        if 16 * MIB <= part.size <= 2048 * MIB and part.role != "extended"
    ]


@st.composite
def mkfs(draw: Draw, state: SystemState) -> Command:
    """A small file system, or swap: on a partition that exists, most of the time."""
    found = formattable(state)
    path = draw(st.sampled_from([*found * 6, "/dev/sda9"]))
    label = draw(st.sampled_from(LABELS))
    kind = draw(st.sampled_from(["ext4", "ext4", "vfat", "swap", "ext2"]))
    if kind == "swap":
        return Command(("mkswap", *(["-L", label] if label else []), path))
    if kind == "vfat":
        return Command(("mkfs.vfat", *(["-n", label.upper()] if label else []), path))
    return Command((f"mkfs.{kind}", "-q", "-F", *(["-L", label] if label else []), path))


@st.composite
def wipe(draw: Draw, state: SystemState) -> Command:
    disk = draw(disks(state))
    inner = [part for part in disk.partitions if part.role != "extended"]
    paths = [disk.path, *(disk.partition_path(part.number) for part in inner)]
    if draw(st.integers(0, 3)):
        return Command(("wipefs", "-a", draw(st.sampled_from(paths))))
    return Command(("dd", "if=/dev/zero", f"of={draw(st.sampled_from(paths))}", "bs=1M", "count=1"))


@st.composite
def mounting(draw: Draw, state: SystemState) -> Command:
    """mount, umount, swapon, swapoff: what can be done, most of the time."""
    ready = [
        (disk.partition_path(part.number), part.signature.kind)
        for disk in state.disks
        for part in disk.partitions
        if part.signature is not None and part.signature.kind in ("ext4", "ext2", "swap")
    ]
    used = [mount.target for mount in state.mounts]
    choices = ["umount"] * 3 * bool(used) + ["swapoff"] * 3 * bool(state.swaps)
    choices += ["mount"] * 2 * bool(ready)
    kind = draw(st.sampled_from(choices or ["mount"]))
    if kind == "umount":
        return Command(("umount", draw(st.sampled_from(used))))
    if kind == "swapoff":
        return Command(("swapoff", draw(st.sampled_from(list(state.swaps)))))
    path, held = draw(st.sampled_from(ready)) if ready else ("/dev/sda1", "ext4")
    return Command(("swapon", path)) if held == "swap" else Command(("mount", path, "/mnt"))
