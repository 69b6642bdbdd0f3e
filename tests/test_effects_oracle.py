"""What the oracle (tests/test_oracle.py) found in long runs: each line with what the real tool did,
on a disk of 4,000,000,000 bytes (Debian 12: gdisk 1.0.9, parted 3.5, util-linux 2.38)."""

from __future__ import annotations

import pytest

from llmkit.installer.effects import EFFECTS, Argv, CommandFailed, Result
from llmkit.installer.state import Disk, SystemState

EMPTY = SystemState(disks=(Disk("sda", 4_000_000_000),))


def run(line: str, stdin: str = "", state: SystemState = EMPTY) -> SystemState:
    program, *words = line.split()
    result = EFFECTS[program](state, Argv(program, tuple(words), stdin))
    return result.state if isinstance(result, Result) else result


def rows(state: SystemState) -> list[tuple[int, int, int]]:
    """Number, first and last sector."""
    return [(p.number, p.start // 512, p.end // 512 - 1) for p in state.disks[0].partitions]


@pytest.mark.parametrize(
    ("script", "third"),
    [
        ("label: dos\n100M,300M\n900M,100M\n200M,\n", (3, 819200, 1843199)),
        ("label: dos\n,633555\n,409M\n315M,+\n", (3, 1474560, 7812499)),
        ("label: dos\n,,E\n100M,300M\n200M,+\n", (6, 821248, 7812499)),
    ],
)
def test_sfdisk_moves_a_start_that_is_in_use(script: str, third: tuple[int, int, int]) -> None:
    """msdos, no size given: the partition goes behind the one that covers its start."""
    assert rows(run("sfdisk /dev/sda", script))[2] == third


@pytest.mark.parametrize("script", ["100M,300M\n200M,50M\n", "1M,300M\n200M,+\n"])
def test_sfdisk_refuses_a_start_in_use(script: str) -> None:
    """With a size, or when nothing in front of the start is free, it fails."""
    with pytest.raises(CommandFailed):
        run("sfdisk /dev/sda", f"label: dos\n{script}")
