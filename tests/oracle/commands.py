"""Strategies: commands that make sense on the machine as the model has it, and some that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from llmkit.installer.state import Disk, SystemState

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
    if opening:
        words.append(opening)
    fresh = opening in ("-o", "-Z", "-Zo")
    count = draw(st.integers(0 if opening else 1, 4))
    for _ in range(count):
        words.extend(draw(_sgdisk_step(disk, fresh)))
    return Command(("sgdisk", *words, disk.path))


@st.composite
def _sgdisk_step(draw: Draw, disk: Disk, fresh: bool) -> list[str]:
    taken = () if fresh else tuple(part.number for part in disk.partitions)
    kind = draw(st.sampled_from("nnnnnttcdddNsAaIurGe" if taken else "nnnnntcNaI"))
    size = _mib(disk)
    target = draw(st.sampled_from([0, *taken])) if taken else draw(st.sampled_from([0, 1, 2]))
    if kind == "n":
        free = [number for number in range(1, 8) if number not in taken]
        number = draw(st.sampled_from([0, 0, *free[:3], 1, 2]))
        start = draw(st.sampled_from(
            ["0", "0", "0", "0", "", "2048", f"{draw(st.integers(1, size))}M",
             f"+{draw(st.integers(1, 64))}M", f"-{draw(st.integers(1, size))}M",
             str(draw(st.integers(2048, disk.size // disk.sector)))]))  # fmt: skip
        end = draw(st.sampled_from(
            ["0", "", f"+{draw(st.integers(1, size // 2))}M", f"+{draw(st.integers(1, 300))}M",
             f"+{draw(st.integers(1, 300))}M", f"+{draw(st.integers(1, 100))}MiB",
             f"-{draw(st.integers(1, size))}M", f"{draw(st.integers(1, size))}M",
             f"+{draw(st.integers(1, 9000))}", f"+{draw(st.integers(1, 2))}G",
             f"+{draw(st.integers(1, 200000))}K", "abc"]))  # fmt: skip
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
        return ["-A", f"{target}:{verb}:{draw(st.sampled_from([0, 2, 60, 63, 64]))}"]
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


@st.composite
def _parted_step(draw: Draw, disk: Disk, table: str, fresh: bool) -> list[str]:
    parts = () if fresh else disk.partitions
    kind = draw(st.sampled_from("mmmmmmrrnssttR" if parts else "m"))
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
        if draw(st.booleans()):
            start = draw(places(disk, (MIB, *borders)))
        else:
            start = draw(st.sampled_from(["1MiB", "0%", "1", *[f"{b // MIB}MiB" for b in borders]]))
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
        end = draw(st.one_of(places(disk, tuple(part.end for part in parts)), st.just("100%")))
        return ["resizepart", number, end]
    flags = ["boot", "esp", "lvm", "raid", "swap", "hidden", "lba", "bios_grub", "legacy_boot",
             "msftdata", "diag", "bls_boot"]  # fmt: skip
    flag = draw(st.sampled_from(flags))
    if kind == "t":
        return ["toggle", number, flag]
    return ["set", number, flag, draw(st.sampled_from(["on", "on", "off"]))]
