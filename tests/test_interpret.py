"""The evaluator: control flow and output against real bash, and what the guard is shown."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.installer.interpret import SimpleCommand, interpret
from llmkit.installer.interpret_text import echo, printf
from llmkit.installer.run import run_command
from llmkit.installer.shell import parse
from llmkit.installer.state import Disk, Mount, Partition, SystemState

LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"


def machine() -> SystemState:
    """A GPT disk with two partitions, and an empty one."""
    parts = (Partition(1, 1 << 20, 1 << 29, LINUX), Partition(2, 1 << 30, 1 << 33, LINUX))
    return SystemState(
        disks=(Disk("sda", 1 << 36, table="gpt", partitions=parts), Disk("sdb", 1 << 36))
    )


class Seen:
    """Keeps what the hooks are told."""

    def __init__(self) -> None:
        self.seen: list[tuple[SimpleCommand, tuple[SystemState, ...]]] = []

    def command(self, command: SimpleCommand, states: tuple[SystemState, ...]) -> None:
        self.seen.append((command, states))


def explored(line: str, state: SystemState | None = None) -> list[tuple[str, bool]]:
    """The commands that an exploration shows, and whether each is reachable."""
    return [(c.text, c.reachable) for c, _ in shown(line, state) if c.argv]


def shown(
    line: str, state: SystemState | None = None
) -> list[tuple[SimpleCommand, tuple[SystemState, ...]]]:
    """Everything that an exploration shows."""
    hooks = Seen()
    interpret(parse(line), state or machine(), hooks, explore=True)
    return hooks.seen


def bash(script: str) -> subprocess.CompletedProcess[bytes]:
    """What real bash does, in an empty environment; a generated function that calls itself ends at
    the eighth call, before it fills the process table."""
    return subprocess.run(
        ["bash", "-c", script], input=b"", capture_output=True, check=False, timeout=20,
        env={"PATH": "/usr/bin:/bin", "FUNCNEST": "8"},
    )  # fmt: skip


# -- output of builtins ----------------------------------------------------------------------------

texts = st.lists(
    st.sampled_from(
        ["a", "b c", "\\n", "\\t", "\\\\", "\\0101", "\\101", "\\x41", "\\c", "\\e", "\\q", "%", "-",
         "'", '"', "\\'", '\\"', "é", "\\u0041", "\\", "7", "\\?"]
    ),
    max_size=4,
).map("".join)  # fmt: skip
formats = st.lists(
    st.sampled_from(
        ["%s", "%d", "%5s", "%-5s|", "%.2s", "%05d", "%x", "%X", "%o", "%c", "%b", "%%", "%i", "%u",
         "\\n", "\\t", "a", " ", "\\101", "\\x41", "%+d", "% d", "\\\\", "%5d", "%-4d|", "é"]
    ),
    min_size=1,
    max_size=4,
).map("".join)  # fmt: skip
arguments = st.lists(texts | st.sampled_from(["1", "-3", "0", "42", "", "abc"]), max_size=4)


def batch(program: str, calls: list[list[str]]) -> list[bytes]:
    """Real output of many calls in one bash."""
    script = 'n=$1; shift; while [ $# -gt 0 ]; do c=$1; shift; a=("${@:1:$c}"); shift "$c"; '
    script += f'{program} "${{a[@]}}" 2>/dev/null; printf "\\036%s\\036" $?; done'
    flat = [item for call in calls for item in (str(len(call)), *call)]
    done = subprocess.run(
        ["bash", "-c", script, "bash", "0", *flat], capture_output=True, check=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    return done.stdout.split(b"\x1e")[:-1]


@settings(deadline=None, max_examples=25)
@given(calls=st.lists(st.lists(texts | st.sampled_from(["-n", "-e", "-E", "-ne", "-x"]), max_size=4),
                      min_size=20, max_size=20))  # fmt: skip
def test_echo_prints_what_bash_prints(calls: list[list[str]]) -> None:
    """echo's output is exact whenever it is claimed to be known."""
    real = batch("echo", calls)
    for call, output in zip(calls, real[::2], strict=True):
        mine = echo(tuple(call))
        assert mine is None or mine.encode() == output, call


@settings(deadline=None, max_examples=25)
@given(calls=st.lists(st.tuples(formats, arguments), min_size=20, max_size=20))
def test_printf_prints_what_bash_prints(calls: list[tuple[str, list[str]]]) -> None:
    """printf's output is exact whenever it is claimed to be known, and it succeeds."""
    flat = [[form, *rest] for form, rest in calls]
    real = batch("printf", flat)
    for call, output, status in zip(flat, real[::2], real[1::2], strict=True):
        mine = printf(tuple(call))
        assert mine is None or (mine.encode(), b"0") == (output, status), call


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("printf 'o\\nn\\n\\n\\nw\\n'", "o\nn\n\n\nw\n"),
        ("echo -e 'g\\nn\\n\\n\\n+512M\\nw'", "g\nn\n\n\n+512M\nw\n"),
        ("printf '%s\\n' label:gpt ,512M,U ,,L", "label:gpt\n,512M,U\n,,L\n"),
        ("(echo o; echo w)", "o\nw\n"),
        ("{ printf a; echo b; } | cat", "ab\n"),
        ("cat <<E\nx $((1+1))\nE", "x 2\n"),
        ('cat <<< "a b"', "a b\n"),
        ("A=x; cat <<'E'\n$A\nE", "$A\n"),
        ("for i in 1 2; do echo $i; done", "1\n2\n"),
        ("sh -c 'echo a'", "a\n"),
        ("echo $(foo) x", None),
        ("sh -c 'echo \"a\\n\"'", None),  # dash and bash differ
        ("foo", None),
        ("foo > /dev/null; echo a", "a\n"),
        ("echo root:x | sudo tee /dev/null >/dev/null; echo z", "z\n"),
    ],
)
def test_stdout(line: str, expected: str | None) -> None:
    """Output of what is known to print is exact; of anything else unknown."""
    assert run_command(line, machine()).stdout == expected


# -- control flow ----------------------------------------------------------------------------------

word = st.sampled_from(
    ["a", "c_d", "$A", '"$B x"', "${C:-z}", "{1,2}", "'q r'", "$1", "$#", '"$@"', "$(echo s t)",
     "$(false)", "$((1+2))", "x{a,b}", "$?"]
)  # fmt: skip
name = st.sampled_from("ABC")


@st.composite
def simple(draw: st.DrawFn) -> str:
    """One builtin command."""
    some = " ".join(draw(st.lists(word, max_size=3)))
    return draw(
        st.sampled_from(
            [f"echo {some}", f"echo {some}", "true", "false", f"printf '%s-%s\\n' {some}", "cat",
             f"{draw(name)}={draw(word)}", '[ "$A" = 1 ]', '[ -n "$A" ]', "[ 1 -lt 2 ]", "f a b",
             "g x", "export A", "export B=2", "unset A", "set -- p q", "shift", "A=5 echo $A",
             "bash -c 'echo \"$A\" $0 $1' x y", "eval 'echo $A; B=ev'", "bash -c 'echo in; false'",
             "echo 1 2 3 | xargs -n 2 echo y", "printf 'a\\nb\\n' | xargs -I{} echo i{}i",
             "printf 'echo $A\\nexit 3\\n' | bash", "env A=7 bash -c 'echo $A'", "exit 4", "break",
             "continue", "return 3", ":", 'cat <<< "x $B"', f"cat <<E\n$A {some}\nE\n:"]
        )
    )  # fmt: skip


def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Compound commands around others. No function calls itself: bash would not end."""
    body = st.lists(inner, min_size=1, max_size=2).map("\n".join)
    return st.one_of(
        st.tuples(inner, inner).map("\n".join),
        st.tuples(simple(), st.sampled_from(["&&", "||", "|"]), simple()).map(
            lambda t: "\n".join([t[0].replace("\n", ";", 0), ""]) if "\n" in t[0] else
            f"{t[0]} {t[1]} {t[2]}"
        ),
        body.map("{{ {}\n}}".format),
        body.map("( {}\n)".format),
        st.tuples(simple(), body, body).map("if {0[0]}\nthen {0[1]}\nelse {0[2]}\nfi".format),
        st.tuples(name, word, body).map("for {0[0]} in 1 {0[1]}\ndo {0[2]}\ndone".format),
        st.tuples(simple(), simple(), simple()).map(
            "case $A in 1) {0[0]}\n;; a*|x) {0[1]}\n;; *) {0[2]}\nesac".format
        ),
        simple().map("! {}".format),
        body.map("{{ {}\n}} <<< in".format),
        body.map("{{ {}\n}} >&2".format),
    )  # fmt: skip


scripts = st.lists(st.recursive(simple(), grow, max_leaves=8), min_size=1, max_size=3).map(
    "\n".join
)
PRELUDE = 'unset A B C; f() { echo F "$@"; }; g() { false; }; set -- one two\n'


@settings(deadline=None, max_examples=80)
@given(script=scripts)
def test_control_flow_is_bash_s(script: str) -> None:
    """Output and status of scripts of builtins are bash's, whenever they are claimed to be known."""
    outcome = run_command(PRELUDE + script, SystemState())
    if outcome.opaque or outcome.unmodelled or outcome.uncertain:
        return
    real = bash(PRELUDE + script)
    if outcome.stdout is not None:
        assert outcome.stdout == real.stdout.decode()
    if outcome.status is not None:
        assert outcome.status == real.returncode


@settings(deadline=None, max_examples=60)
@given(script=scripts)
def test_exploring_sees_every_command(script: str) -> None:
    """Exploring visits each simple command of the text, whatever bash would skip."""
    hooks = Seen()
    interpret(parse(script + "\nlast_command /dev/sdz"), machine(), hooks, explore=True)
    assert any(command.text == "last_command /dev/sdz" for command, _ in hooks.seen)


# -- what the guard sees ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "x /dev/sdz", "false && x /dev/sdz", "true || x /dev/sdz", "exit; x /dev/sdz",
        "if false; then x /dev/sdz; fi", "if true; then a; else x /dev/sdz; fi",
        "if true; then a; elif b; then x /dev/sdz; fi", "while false; do x /dev/sdz; done",
        "until true; do x /dev/sdz; done", "E=; for i in $E; do x /dev/sdz; done",
        "case a in b) x /dev/sdz;; esac", "f() { x /dev/sdz; }", "f() { g() { x /dev/sdz; }; }",
        "a $(x /dev/sdz)", "a <(x /dev/sdz)", "a > >(x /dev/sdz)", "a `x /dev/sdz`",
        "echo ${A:-$(x /dev/sdz)}", "sh -c 'x /dev/sdz'", "bash -lc 'x /dev/sdz'",
        "bash <<E\nx /dev/sdz\nE", "bash <<< 'x /dev/sdz'", "echo x /dev/sdz | sh",
        "printf 'x /dev/%s\\n' sdz | sudo bash -s", "eval x /dev/sdz", "eval \"x\" '/dev/sdz'",
        "trap 'x /dev/sdz' EXIT", "alias a='x /dev/sdz'", "sudo -u root x /dev/sdz",
        "doas x /dev/sdz", "env A=b x /dev/sdz", "env -S 'x /dev/sdz'", "env -iS'A=b x' /dev/sdz",
        "env A.B=c x /dev/sdz", "runuser -c 'x /dev/sdz'", "command -p -- x /dev/sdz",
        "trap -- 'x /dev/sdz' 0", "nohup x /dev/sdz &", "time x /dev/sdz",
        "timeout -k 5 10 x /dev/sdz", "nice -n 5 ionice -c 3 x /dev/sdz", "command x /dev/sdz",
        "exec x /dev/sdz", "chroot /mnt x /dev/sdz", "arch-chroot /mnt x /dev/sdz",
        "arch-chroot -u me /mnt bash -c 'x /dev/sdz'", "arch-chroot /mnt <<E\nx /dev/sdz\nE",
        "su -c 'x /dev/sdz'", "su - me -c 'x /dev/sdz'", "watch -n1 x /dev/sdz",
        "echo /dev/sdz | xargs x", "echo /dev/sdz | xargs -I{} x {}", "a | xargs x /dev/sdz",
        "find / -exec x /dev/sdz \\;", "A=/dev/sdz; x $A", "for d in sda sdz; do x /dev/$d; done",
        "! x /dev/sdz", "{ x /dev/sdz; } &", "(x /dev/sdz)", "a | x /dev/sdz | b",
        "set -e; false; x /dev/sdz", "coproc a; x /dev/sdz", "[[ -n $(x /dev/sdz) ]]",
        "a=( $(x /dev/sdz) )", "select i in a; do x /dev/sdz; done", "busybox x /dev/sdz",
        "x() { a; }; command x /dev/sdz", "while true; do a; done; x /dev/sdz",
        "(( $(x /dev/sdz) ))", "f() { x $1; }; f /dev/sdz", "A=x; $A /dev/sdz", "'x' \"/dev/sdz\"",
        "x /dev/sd\\z", "x /dev/sd$'z'", "cd /dev && x sdz", "/usr/bin/x /dev/sdz",
    ],
)  # fmt: skip
def test_every_static_path_is_seen(line: str) -> None:
    """A command that names /dev/sdz is shown, however it is wrapped or skipped."""
    found = [
        command
        for command, _ in shown(line)
        if command.argv
        and (command.argv[0].text or "").rpartition("/")[2] == "x"
        and any(word.text == "/dev/sdz" for word in command.argv)
    ]
    assert found, explored(line)


@pytest.mark.parametrize(
    "line",
    [
        "$X /dev/sda", "$(foo) /dev/sda", "curl http://x | bash", "bash script.sh", "sh -c \"$X\"",
        "eval $X", "source f", ". f", "bash", "sudo -Z x", "bash -c 'a ('", "cat f | sh",
        "bash <(curl x)", "env -S '$X b'", "arch-chroot /mnt", "chroot $X a", "xargs -a f $X",
        "sudo $X", "timeout $X a", "trap \"$X\" EXIT", "coproc a", "echo \"$X\" | sh", "exec $X",
        "su", "bash -c $X",
    ],
)  # fmt: skip
def test_what_cannot_be_told_has_no_program(line: str) -> None:
    """Where it cannot be told what runs, a command without a known program is shown, and running
    the line records it."""
    assert any(command.argv and command.argv[0].text is None for command, _ in shown(line))


def test_a_fork_bomb_ends() -> None:
    """A function that calls itself is not followed."""
    assert run_command(":(){ :|:& };:", machine()).opaque
    assert shown(":(){ :|:& };:")


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("true && sgdisk -d 2 /dev/sda; last", {1}),
        ("false && sgdisk -d 2 /dev/sda; last", {2}),
        ("foo && sgdisk -d 2 /dev/sda; last", {1, 2}),
        ("foo || sgdisk -d 2 /dev/sda; last", {1, 2}),
        ("if foo; then sgdisk -d 2 /dev/sda; fi; last", {1, 2}),
        ("if foo; then sgdisk -d 2 /dev/sda; else sgdisk -d 2 /dev/sda; fi; last", {1}),
        ("sgdisk -d 2 /dev/sda & last", {1, 2}),
        ("sgdisk -d 2 /dev/sda || last", {2}),
        ("while foo; do sgdisk -d 2 /dev/sda; break; done; last", {1, 2}),
        ("for d in $X; do sgdisk -d 2 /dev/sda; done; last", {1, 2}),
        ("case $X in a) sgdisk -d 2 /dev/sda;; esac; last", {1, 2}),
        ("case a in a) sgdisk -d 2 /dev/sda;; esac; last", {1}),
        ("f() { sgdisk -d 2 /dev/sda; }; f; last", {1}),
        ("f() { sgdisk -d 2 /dev/sda; }; last", {2}),
        ("(sgdisk -d 2 /dev/sda); last", {1}),
        ("echo $(sgdisk -d 2 /dev/sda); last", {1}),
        ("sgdisk -d 2 /dev/sda | cat; last", {1}),
        ("[ -b /dev/sda2 ] && sgdisk -d 2 /dev/sda; last", {1}),
        ("[ -b /dev/sda3 ] && sgdisk -d 2 /dev/sda; last", {2}),
        ("sudo bash -c 'sgdisk -d 2 /dev/sda'; last", {1}),
    ],
)
def test_possible_states(line: str, number: set[int]) -> None:
    """The states shown with a command are all those the line may have led to."""
    states = [states for command, states in shown(line) if command.text == "last"]
    assert {len(state.disks[0].partitions) for group in states for state in group} == number


def test_many_states_are_joined_without_inventing_devices() -> None:
    """Beyond sixteen states, only devices that all have are left."""
    deletes = "; ".join(f"foo && sgdisk -n {n}:0:+100M /dev/sdb" for n in range(1, 9))
    states = [states for command, states in shown(deletes + "; last") if command.text == "last"]
    assert all(len(group) <= 16 for group in states)
    assert any(not state.disks[1].partitions for group in states for state in group)


def test_wrappers_and_root_are_told() -> None:
    """What was taken off is named, with the chroot's directory."""
    state = SystemState(disks=machine().disks, mounts=(Mount("/dev/sda2", "/mnt", "ext4"),))
    (command, _), *_ = shown("sudo arch-chroot /mnt sh -c 'useradd x'", state)
    assert (command.wrappers, command.root) == (("sudo", "arch-chroot", "sh"), "/mnt")


def test_redirections_of_groups_and_shells_are_told() -> None:
    """Redirections of a group, a loop or a nested shell are shown as a command without words."""
    for line in ("{ a; } > /dev/sdz", "for i in 1; do a; done > /dev/sdz", "sh -c a > /dev/sdz",
                 "> /dev/sdz", "f() { a; }; f > /dev/sdz", "exec > /dev/sdz"):  # fmt: skip
        targets = [o.target.text for c, _ in shown(line) for o in c.redirects if o.writes]
        assert targets == ["/dev/sdz"], line


@pytest.mark.parametrize(
    ("line", "stdin"),
    [
        ("printf 'o\\nw\\n' | x", "o\nw\n"), ("echo a | sudo x", "a\n"), ("x <<< 'a b'", "a b\n"),
        ("x <<E\na\nE", "a\n"), ("x < <(echo a)", "a\n"), ("foo | x", None), ("x < f", None),
        ("x", ""), ("x < /dev/null", ""), ("(echo a; echo b) | x", "a\nb\n"),
        ("{ x; } <<< a", "a\n"), ("echo a | (x)", "a\n"), ("echo a | { y; x; }", None),
        ("echo a > f | x", ""), ("echo a >&2 | x", ""),
    ],
)  # fmt: skip
def test_standard_input(line: str, stdin: str | None) -> None:
    """Pipes and here-documents carry exact text to the command that reads them."""
    (command,) = [command for command, _ in shown(line) if command.text == "x"]
    assert command.stdin == stdin


# -- running ---------------------------------------------------------------------------------------


def test_an_unparseable_line_changes_nothing() -> None:
    """Status 2, the state untouched, the line among what is opaque."""
    state = machine()
    outcome = run_command("mkfs.ext4 /dev/sda1 'x", state)
    assert (outcome.status, outcome.state, outcome.opaque) == (
        2,
        state,
        ("mkfs.ext4 /dev/sda1 'x",),
    )


def test_an_opaque_argument_is_not_run() -> None:
    """A command with an unknown word is recorded, and changes nothing."""
    state = machine()
    outcome = run_command("sgdisk -Z $D", state)
    assert (outcome.state, outcome.opaque, outcome.status) == (state, ("sgdisk -Z …",), None)


def test_a_failure_stops_a_chain_and_is_explained() -> None:
    """&& and || follow the model's failures, and the first reason is kept."""
    outcome = run_command("sgdisk -p /dev/sdz && sgdisk -d 1 /dev/sda || echo no", machine())
    assert outcome.stdout == "no\n"
    assert len(outcome.state.disks[0].partitions) == 2
    assert outcome.error and "/dev/sdz" in outcome.error


def test_unknown_programs_change_nothing() -> None:
    """They count as success and are named."""
    outcome = run_command("frobnicate /dev/sda && sgdisk -d 1 /dev/sda", machine())
    assert outcome.unmodelled == ("frobnicate",)
    assert len(outcome.state.disks[0].partitions) == 1


def test_writing_to_a_device_erases_it() -> None:
    """Output redirected to a disk destroys its partition table; an empty write does not."""
    outcome = run_command("echo x > /dev/sda", machine())
    assert not outcome.state.disks[0].partitions
    assert [(e.kind, e.device) for e in outcome.events] == [("erase", "/dev/sda")]
    assert run_command(": > /dev/sda", machine()).state == machine()


def test_files_written_by_the_line_are_read_back() -> None:
    """`>` and `>>` keep what they wrote, also through a nested shell."""
    line = "echo a > /root/x; sudo sh -c 'echo b >> /root/x'; cat /root/x"
    assert run_command(line, machine()).stdout == "a\nb\n"


def test_loops_end() -> None:
    """Endless loops and deep recursion come to an end."""
    for line in ("while true; do echo a; done", "until false; do :; done",
                 "f() { f; f; }; f", "while true; do A=x$A; done", "for ((;;)); do a; done",
                 "f() { bash -c f; }; f", "eval 'eval \"eval a\"'"):  # fmt: skip
        run_command(line, machine())
        shown(line)


def test_set_e_ends_a_line() -> None:
    """Under set -e a failure that is not tested ends the line."""
    assert run_command("set -e; false; echo a", machine()).stdout == ""
    assert (
        run_command("set -e; false || true; if false; then :; fi; echo a", machine()).stdout
        == "a\n"
    )


def test_missing_programs_are_not_found() -> None:
    """A machine that lists its tools knows no others."""
    state = SystemState(disks=machine().disks, tools=("lsblk",))
    assert run_command("sgdisk -Z /dev/sda", state).status == 127
