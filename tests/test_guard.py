"""The guard: hand-made adversarial cases, and the laws that every verdict obeys."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.installer.guard import Verdict, check_command, judge
from llmkit.installer.guard_text import fold
from llmkit.installer.state import Disk, SystemState

DATA = Path(__file__).parent / "data"
STATES = {
    name: SystemState.from_dict(data)
    for name, data in json.loads((DATA / "guard_states.json").read_text()).items()
}
CASES = [json.loads(line) for line in (DATA / "guard_cases.jsonl").read_text().splitlines()]
LEVELS = ("read", "change", "destructive", "forbidden")

law = settings(deadline=None, max_examples=100, derandomize=True)


def state_of(case: dict) -> SystemState:
    named = case["state"]
    return STATES[named] if isinstance(named, str) else SystemState.from_dict(named)


@pytest.mark.parametrize("case", CASES, ids=[str(i + 1) for i in range(len(CASES))])
def test_case(case):
    """Each hand-made case gets the verdict that was written beside it."""
    verdict = judge(case["command"], state_of(case))
    found = {
        "allowed": verdict.allowed, "missing": list(verdict.missing), "danger": verdict.danger,
    }  # fmt: skip
    assert found == case["verdict"], f"{case['command']!r}: {case['why']}; {verdict.reason}"


def test_cases_are_many_and_differ():
    """There are more than 300 cases, no two of them the same."""
    keys = {(json.dumps(case["state"]), case["command"]) for case in CASES}
    assert len(keys) == len(CASES) > 300


@pytest.mark.parametrize("name", STATES)
def test_reason_is_one_sentence_with_the_devices(name):
    """Every reason is one sentence that lists each device of the machine."""
    state = STATES[name]
    for case in CASES:
        reason = judge(case["command"], state).reason
        assert reason.endswith(".") and "\n" not in reason
        for node in state.devices():
            assert node in reason.rpartition("; ")[2]


# -- laws -------------------------------------------------------------------------------------

TWO = STATES["two"]
ABSENT = ("/dev/sdz", "/dev/sdz1", "/dev/sda9", "/dev/nvme0n1p4", "/dev/nvme7n1", "/dev/mapper/no",
          "/dev/vda", "/dev/disk/by-id/no", "/dev/md9")  # fmt: skip
PRESENT = ("/dev/sda", "/dev/sda1", "/dev/sda2", "/dev/nvme0n1")
WRITES = (
    ("mkfs.ext4", "-F", "{}"), ("mkfs.vfat", "-F32", "{}"), ("wipefs", "-a", "{}"),
    ("sgdisk", "-Z", "{}"), ("sgdisk", "-n", "0:0:0", "{}"), ("mkswap", "{}"),
    ("dd", "if=/dev/zero", "of={}"), ("parted", "-s", "{}", "mklabel", "gpt"),
    ("blkdiscard", "-f", "{}"), ("shred", "{}"), ("tee", "{}"), ("cp", "/tmp/x", "{}"),
    ("mount", "{}", "/mnt"), ("cryptsetup", "luksFormat", "{}"), ("pvcreate", "{}"),
    ("swapon", "{}"), ("tune2fs", "-L", "x", "{}"), ("frobnicate", "--to={}"),
    ("grub-install", "--target=i386-pc", "{}"), ("badblocks", "-w", "{}"),
)  # fmt: skip
AROUND = (
    "sudo {line}", "nohup {line}", "env A=1 {line}", "timeout 5 {line}", "false && {line}",
    "true || {line}", "lsblk; {line}", "lsblk && {line}", "({line})", "{{ {line}; }}",
    "if true; then lsblk; else {line}; fi", "for i in 1 2; do {line}; done", "f() {{ {line}; }}",
    "sh -c {quoted}", "bash -c {quoted}", "eval {quoted}", "echo {quoted} | sh",
    "bash <<'END'\n{line}\nEND\n", "arch-chroot /mnt sh -c {quoted}", "x=$({line})",
    "while false; do {line}; done", "case a in b) {line};; esac", "{line} &", "! {line}",
    "lsblk | ( {line} )", "trap {quoted} EXIT",
)  # fmt: skip
READS = (
    "lsblk",
    "lsblk -f",
    "blkid",
    "cat /etc/fstab",
    "echo hello",
    "df -h",
    "sgdisk -p /dev/sda",
)


@st.composite
def words(draw, devices=ABSENT + PRESENT):
    """The words of a command with one device."""
    device = draw(st.sampled_from(devices))
    return [word.format(device) for word in draw(st.sampled_from(WRITES))]


@st.composite
def lines(draw, devices=ABSENT + PRESENT):
    """A command with one device, wrapped up to three times."""
    line = " ".join(draw(words(devices)))
    for around in draw(st.lists(st.sampled_from(AROUND), max_size=3)):
        if "\n" in line and "{quoted}" not in around and "END" not in around:
            break
        line = around.format(line=line, quoted=shlex.quote(line))
    return line


def gist(verdict: Verdict) -> tuple:
    return verdict.allowed, verdict.missing, verdict.danger


@law
@given(lines(devices=ABSENT))
def test_absent_device_is_refused_wherever_it_stands(line):
    """A command that writes to an absent device is refused however it is wrapped."""
    assert not judge(line, TWO).allowed


@law
@given(
    st.one_of(lines(), st.sampled_from([case["command"] for case in CASES])),
    st.text("abc /dev/sdz;&|>-", max_size=30),
)
def test_comment_changes_nothing(line, comment):
    """A comment on a line of its own never changes the verdict."""
    if line.endswith("\\"):
        line += "\n"
    assert gist(judge(f"{line}\n# {comment}", TWO)) == gist(judge(line, TWO))


@st.composite
def quotings(draw, word):
    """Shell text that stands for `word`, quoted in any way."""
    if not word:
        return "''"
    out, rest = "", word
    while rest:
        length = draw(st.integers(1, len(rest)))
        piece, rest = rest[:length], rest[length:]
        style = draw(st.integers(0, 4))
        if style == 0:
            out += f"'{piece}'"
        elif style == 1:
            out += f'"{piece}"'
        elif style == 2:
            out += "".join("\\" + char for char in piece)
        elif style == 3:
            out += "$'" + "".join(f"\\x{ord(char):02x}" for char in piece) + "'"
        else:
            out += piece
    return out


@law
@given(st.data())
def test_quoting_changes_nothing(data):
    """The same words get the same verdict, however they are quoted."""
    command = data.draw(words())
    written = " ".join(data.draw(quotings(word)) for word in command)
    assert gist(judge(written, TWO)) == gist(judge(" ".join(command), TWO))


@law
@given(
    st.sampled_from(ABSENT + PRESENT),
    st.sampled_from(WRITES),
    st.lists(st.sampled_from(("//dev/", "/dev//", "/dev/./", "/dev/../dev/", "/tmp/../dev/",
                              "/./dev/", "/dev/disk/../", "/proc/self/root/dev/")), min_size=1),
)  # fmt: skip
def test_path_spelling_changes_nothing(device, command, detours):
    """The same device gets the same verdict by every way to it."""
    plain = " ".join(command).format(device)
    for detour in detours:
        spelled = " ".join(command).format(device.replace("/dev/", detour, 1))
        assert gist(judge(spelled, TWO)) == gist(judge(plain, TWO))


@law
@given(st.one_of(lines(), st.sampled_from([c["command"] for c in CASES])), st.sampled_from(READS))
def test_allowed_stays_allowed_after_a_look(line, look):
    """A line that is allowed stays so, and as dangerous, after a command that only looks."""
    verdict = judge(line, TWO)
    if verdict.allowed:
        after = judge(f"{look} && {{ {line}\n}}" if line.strip(" \n#") else look, TWO)
        comment_only = line.lstrip().startswith("#")
        assert comment_only or (after.allowed and after.danger == verdict.danger)


@law
@given(lines(), lines())
def test_a_line_is_as_dangerous_as_its_worst_part(one, two):
    """Joined with `;`, two lines are at least as dangerous as either, and refused if either is."""
    if "\n" in one + two:
        return
    first, second, both = judge(one, TWO), judge(f"( {two} )", TWO), judge(f"{one}\n( {two} )", TWO)
    assert LEVELS.index(both.danger) >= LEVELS.index(first.danger)
    assert first.allowed or not both.allowed
    assert second.allowed or not both.allowed


@law
@given(st.text(max_size=60))
def test_never_raises(text):
    """Any text whatever gets a verdict."""
    assert isinstance(judge(text, TWO), Verdict)


def test_lone_surrogates_and_long_texts_get_a_verdict():
    """Text that cannot be encoded, and text too long to review, are refused."""
    assert not check_command("lsblk \ud800", TWO).allowed
    assert not check_command("lsblk " * 10000, TWO).allowed
    assert not check_command("(" * 5000, TWO).allowed
    assert not check_command("$(" * 5000 + ")" * 5000, TWO).allowed


def test_fold_spells_letters_that_look_latin():
    """Look-alikes are folded to the ASCII letters they resemble (spot checks from UTS 39)."""
    assert fold("ѕԁа") == "sda"
    assert fold("／dev／sda") == "/dev/sda"
    assert fold("𝚜𝚍𝚊") == "sda"
    assert fold("ＵＵＩＤ") == "UUID"


@pytest.mark.parametrize(
    "line",
    [
        "x=a; for i in {1..60}; do x=$x$x; done; mkfs.ext4 $x",
        "x=a; for i in {1..60}; do x+=$x; done; mkfs.ext4 $x",
        "x=a;" + "x=$x$x;" * 60 + "dd of=$x",
        "set -- a;" + "set -- $1$1;" * 60 + "rm -rf $1",
    ],
)
def test_a_value_that_doubles_is_not_followed_for_ever(line: str) -> None:
    """60 doublings of one character are an exabyte: the value becomes unknown instead."""
    assert not check_command(line, SystemState(disks=(Disk("sda", 1 << 39),))).allowed


def test_a_hint_never_points_at_the_live_medium() -> None:
    """/dev/sdz beside a live stick sda is no slip for it; beside a disk of that name it may be."""
    stick = Disk("sda", 8 << 30, "Stick", transport="usb", removable=True, live=True)
    disk = Disk("sda", 8 << 30, "Disk")
    with_stick = SystemState(disks=(Disk("nvme0n1", 64 << 30, "Disk"), stick))
    assert "did you mean" not in check_command("wipefs -a /dev/sdz", with_stick).reason
    assert (
        "did you mean /dev/sda?"
        in check_command("wipefs -a /dev/sdz", SystemState(disks=(disk,))).reason
    )


@pytest.mark.parametrize(
    "line",
    ["chmod -R 777 /", "cd / && chown -R paula .", "chown -R --reference=/home /", "mv / /tmp",
     "arch-chroot /mnt chmod -R 755 /", "chgrp --recursive wheel /mnt"],
)  # fmt: skip
def test_the_rights_of_a_whole_system_are_not_for_changing(line: str) -> None:
    """Recursive changes from a system's root break it: no data is lost, and nothing works any more."""
    assert check_command(line, SystemState()).danger == "forbidden"


@pytest.mark.parametrize(
    "line", ["chmod 755 /mnt", "chown -R vince /mnt/home/vince", "mv /mnt/etc/a /mnt/etc/b",
             "arch-chroot /mnt chown -R vince:vince /home/vince"],
)  # fmt: skip
def test_the_rights_of_a_part_of_a_system_may_change(line: str) -> None:
    """A home folder's owner, the root folder alone: usual steps."""
    assert check_command(line, SystemState()).danger == "change"
