"""Hypothesis' rule-based machine: each command on the model and on real disks, then compare.

Counts are kept in `COUNTS`, over all sequences of a run.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from llmkit.installer.effects import EFFECTS, Argv, CommandFailed
from llmkit.installer.state import Disk, SystemState
from tests.oracle import commands
from tests.oracle.client import Sandbox
from tests.oracle.compare import differences

COUNTS: Counter[str] = Counter()
LEAST = 5  # commands of a sequence; Hypothesis adds up to 15
SIZES = (1 << 30, 8 << 30, 4_000_000_000, 20_000_000_512 // 512 * 512)


def _short(state: SystemState) -> str:
    """The disks in a few words, in sectors."""
    rows = []
    for disk in state.disks:
        unit = disk.sector
        parts = [
            f"{p.number}:{p.start // unit}-{p.end // unit - 1} {p.type[:8]} {p.role[:1]}"
            f" {p.signature.kind if p.signature else ''}"
            for p in disk.partitions
        ]
        rows.append(f"{disk.name} {disk.size // unit} {disk.table} {parts} {disk.stale}")
    return "; ".join(rows)


class DiskMachine(RuleBasedStateMachine):
    """The model beside the real tools."""

    sandbox: ClassVar[Sandbox]
    goes_on: ClassVar[bool] = False  # after a difference, to find all of a long run's

    def __init__(self) -> None:
        super().__init__()
        self.state = SystemState()
        self.steps = 0
        self.history: list[str] = []  # since the disks were new

    @initialize(
        first=st.sampled_from(SIZES), second=st.sampled_from(SIZES), two=st.booleans(),
        data=st.data(),
    )  # fmt: skip
    def start(self, first: int, second: int, two: bool, data: Any) -> None:
        self.reset(first, second, two)
        while self.steps < LEAST:
            kinds = [commands.sgdisk, commands.parted, commands.sfdisk, commands.fdisk]
            kinds += [commands.mkfs, commands.wipe] if commands.formattable(self.state) else []
            self.apply(data.draw(data.draw(st.sampled_from(kinds))(self.state)))

    def reset(self, first: int, second: int, two: bool) -> None:
        disks = [Disk("sda", first)]
        if two:
            disks.append(Disk("nvme0n1", second))
        self.state = SystemState(disks=tuple(disks))
        self.history = []
        self.sandbox.ask(reset=[{"name": disk.name, "size": disk.size} for disk in disks])

    def apply(self, command: commands.Command) -> None:
        """Run one command on both sides.

        Raises:
            AssertionError: they disagree on success, or on what is there afterwards.
        """
        before = self.state
        argv = Argv(command.argv[0], command.argv[1:], command.stdin)
        reason = ""
        try:
            result = EFFECTS[argv.program](self.state, argv)
            if isinstance(result, SystemState):
                self.state, status = result, 0
            else:
                self.state, status = result.state, result.status or 0
        except CommandFailed as failure:
            self.state, status, reason = failure.state or before, failure.status, failure.reason
        answer = self.sandbox.ask(run=list(command.argv), stdin=command.stdin)
        self.steps += 1
        COUNTS["commands"] += 1
        COUNTS[argv.program] += 1
        if answer["status"] == 0:
            COUNTS["accepted"] += 1
            COUNTS[f"{argv.program} accepted"] += 1
        found = []
        if (status == 0) != (answer["status"] == 0):
            found.append(
                f"status {status} ({reason}) != {answer['status']} ({answer['error'][:400]})"
            )
        found += differences(self.state, self.sandbox.ask(observe=True))
        if found:  # printed at once: a difference that comes and goes is lost in the replay
            print("\nafter", *self.history, sep="\n    ")
            print(f"{command}\non {_short(before)}:\n" + "\n".join(found), flush=True)
        self.history.append(str(command))
        COUNTS["differences"] += bool(found)
        if found and self.goes_on:  # on new disks: what comes after a difference says nothing
            disks = before.disks
            self.reset(disks[0].size, disks[-1].size, len(disks) > 1)
            return
        assert not found, f"{command}\non {_short(before)}:\n" + "\n".join(found)

    def teardown(self) -> None:
        COUNTS["sequences"] += 1
        COUNTS["sequences of 5 or more"] += self.steps >= 5
        if COUNTS["sequences"] % 50 == 0:  # a long run that is cut off has said how far it came
            print(
                f"{COUNTS['sequences']} sequences, {COUNTS['commands']} commands, "
                f"{COUNTS['accepted']} accepted",
                flush=True,
            )

    @rule(data=st.data())
    def sgdisk(self, data: Any) -> None:
        self.apply(data.draw(commands.sgdisk(self.state)))

    @rule(data=st.data())
    def parted(self, data: Any) -> None:
        self.apply(data.draw(commands.parted(self.state)))

    @rule(data=st.data())
    def sfdisk(self, data: Any) -> None:
        self.apply(data.draw(commands.sfdisk(self.state)))

    @rule(data=st.data())
    def fdisk(self, data: Any) -> None:
        self.apply(data.draw(commands.fdisk(self.state)))

    # without a partition it would be refused each time: at times only, or little else is accepted
    @precondition(lambda self: self.steps % 8 == 7 or commands.formattable(self.state))
    @rule(data=st.data())
    def mkfs(self, data: Any) -> None:
        self.apply(data.draw(commands.mkfs(self.state)))

    @rule(data=st.data())
    def wipe(self, data: Any) -> None:
        self.apply(data.draw(commands.wipe(self.state)))
