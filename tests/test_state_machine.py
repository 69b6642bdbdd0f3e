"""The laws that every sequence of commands keeps, by a Hypothesis rule-based state machine."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from strategies import commands, system_states

from llmkit.installer.effects import EFFECTS, Argv, CommandFailed
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

# Tools that commit step by step, so that what was done before the failure stays.
STEPWISE = ("parted", "umount", "rm", "mkdir", "sgdisk -Z")


class Machine(RuleBasedStateMachine):
    """One machine, and a person who types commands at it."""

    def __init__(self) -> None:
        super().__init__()
        self.state = SystemState()

    @initialize(state=system_states(min_disks=1))
    def begin(self, state: SystemState) -> None:
        self.state = state

    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        """Any command; one that fails changes nothing, unless its tool works step by step."""
        line = data.draw(commands(self.state))
        outcome = run_command(line, self.state)
        if outcome.status and "&&" not in line and not line.startswith(STEPWISE):
            assert outcome.state == self.state, line
        if outcome.status:
            assert outcome.error, line
        self.state = outcome.state

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """A tool that only looks changes nothing."""
        device = data.draw(st.sampled_from(list(self.state.devices()) or ["/dev/sda"]))
        line = data.draw(st.sampled_from(("lsblk", "blkid", "fdisk -l", "sgdisk -p", "findmnt")))
        assert run_command(f"{line} {device}", self.state).state == self.state

    @invariant()
    def partitions_are_possible(self) -> None:
        """Partitions of a kind never overlap, lie on their disk, and have sizes above zero."""
        for disk in self.state.disks:
            for roles in (("primary", "extended"), ("logical",)):
                row = sorted(
                    (part.start, part.end) for part in disk.partitions if part.role in roles
                )
                assert all(0 <= start < end <= disk.size for start, end in row)
                assert all(one[1] <= two[0] for one, two in pairwise(row))
            numbers = [part.number for part in disk.partitions]
            assert numbers == sorted(set(numbers))
            assert disk.table or not disk.partitions

    @invariant()
    def what_is_used_exists(self) -> None:
        """Every mount, active swap, mapping and group names a device that is there."""
        there = set(self.state.devices())
        for mount in self.state.mounts:
            assert not mount.source.startswith("/dev/") or mount.source in there
        assert set(self.state.swaps) <= there
        for mapping in self.state.mappings:
            assert set(mapping.parents) <= there
            assert mapping.size >= 0
        for group in self.state.groups:
            assert set(group.volumes) <= there

    @invariant()
    def texts_hold(self) -> None:
        """The dict gives the state back; the context, read and printed again, is the same."""
        assert SystemState.from_dict(self.state.to_dict()) == self.state
        text = self.state.to_context()
        assert SystemState.from_context(text).to_context() == text


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
TestMachine = Machine.TestCase


@settings(max_examples=60, deadline=None)
@given(state=system_states(min_disks=1), data=st.data())
def test_unmount_inverts_mount(state: SystemState, data: st.DataObject) -> None:
    """`umount TARGET` after a mount that succeeded gives the mounts from before back."""
    device = data.draw(st.sampled_from(list(state.devices())))
    target = data.draw(st.sampled_from(("/mnt", "/mnt/boot", "/media")))
    mounted = run_command(f"mount {device} {target}", state)
    if mounted.status:
        assert mounted.state == state
        return
    undone = run_command(f"umount {target}", mounted.state)
    assert undone.status == 0
    assert undone.state == state


@settings(max_examples=60, deadline=None)
@given(state=system_states(min_disks=1), data=st.data())
def test_swapoff_inverts_swapon(state: SystemState, data: st.DataObject) -> None:
    """`swapoff DEVICE` after a swapon that succeeded gives the state from before back."""
    device = data.draw(st.sampled_from(list(state.devices())))
    on = run_command(f"swapon {device}", state)
    if on.status == 0:
        assert run_command(f"swapoff {device}", on.state).state == state


@settings(max_examples=150, deadline=None)
@given(
    state=system_states(),
    program=st.sampled_from(sorted(EFFECTS)),
    words=st.lists(
        st.sampled_from(
            ("/dev/sda", "/dev/sda1", "/mnt", "/mnt/etc/fstab", "-f", "-n", "-t", "--all", "ext4",
             "-", "", "-L", "root", "1:0:+1G", "*", "/", "install", "a=b", "open", "create", "é")
        ),
        max_size=4,
    ),
    root=st.sampled_from(("", "/mnt")),
    stdin=st.sampled_from((None, "", "a\na\n", "bob:x\n")),
)  # fmt: skip
def test_effects_answer_any_words(
    state: SystemState, program: str, words: list[str], root: str, stdin: str | None
) -> None:
    """Whatever its words are, an effect gives a state or fails with a reason; it never breaks."""
    try:
        EFFECTS[program](state, Argv(program, tuple(words), stdin, root))
    except CommandFailed as error:
        reason, status = error.reason, error.status
    else:
        return
    assert reason
    assert status
