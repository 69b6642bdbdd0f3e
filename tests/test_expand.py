"""Word expansion, held against the argument vectors that real bash makes."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.installer.expand import Expanded, Scope, expand_words, known, normalise
from llmkit.installer.interpret import SimpleCommand, interpret
from llmkit.installer.shell import ShellSyntaxError, parse
from llmkit.installer.state import Disk, Mapping, Partition, Signature, SystemState

ATOMS = [
    "a", "b", "/dev/sd", "{a,b}", "{a,b", "{1..3}", "{01..3}", "{3..1}", "{a..e..2}", "{,x}", "}",
    "{", ",", "'a b'", '"c d"', '"$A"', "$A", "${B}", "$E", '"$E"', "${B:-x y}", "${E:-x y}",
    '"${E:-x y}"', "${E-z}", "${A:+p q}", "${#A}", "\\ ", "\\a", "\\\\", "$'t\\tn\\'q'", '"\\$\\a\\""',
    "~", "~/x", "=", "X=~", "$((1+2*3))", "$(( 7/2-1 ))", "$W", '"$W"', ":", "[", "]", "-", "$",
    '""', "''", "$(echo hi  there)", '"$(echo hi  there)"', "`echo b`", "{a,{b,c}}", '{a,"b c"}',
    "{$A,$B}", "é", "#", "!", "%", "^", "@", '$"q"', '"a{b,c}"', "${U}", "\\\n", '"\\\n"', "'\\\n'",
    "{a,b}{c,d}", "{-1..1}", "{x..z}", "{1..2..0}", "\\{a,b}", "{a\\,b,c}", "1", '"\'"', "\\*",
    "${A:-*}", '"$@"', "$*", "$#", "$1", "$3", '"$*"', "${1:-n}", "${4:-n}", "$?",
]  # fmt: skip
SETUP = "unset U; A=foo; B='x  y'; E=; W=' p q '; set -- one 'two three'; "
words = st.lists(st.sampled_from(ATOMS), min_size=1, max_size=5).map("".join)
lines = st.lists(st.lists(words, min_size=1, max_size=3).map(" ".join), min_size=25, max_size=25)


class Seen:
    """Keeps the commands that an evaluation shows."""

    def __init__(self) -> None:
        self.commands: list[SimpleCommand] = []

    def command(self, command: SimpleCommand, states: tuple[SystemState, ...]) -> None:
        self.commands.append(command)


def vector(line: str, state: SystemState | None = None) -> list[str | None]:
    """Our arguments of the last command of a line."""
    seen = Seen()
    interpret(parse(line), state or SystemState(), seen)
    return [word.text for word in seen.commands[-1].argv[1:]]


@settings(deadline=None, max_examples=20)
@given(batch=lines)
def test_known_words_are_what_bash_makes(batch: list[str]) -> None:
    """Whenever every word is claimed to be known, bash gives the same argument vector."""
    for text in batch:
        try:
            mine = vector(SETUP + "cmd " + text)
        except ShellSyntaxError:
            continue
        if None in mine:
            continue
        script = 'cmd() { printf \'%s\\0\' "$#" "$@"; }; HOME=/root; ' + SETUP + "cmd " + text
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, check=False, cwd="/proc/self"
        )
        if done.returncode or done.stderr:
            continue
        count, *theirs = done.stdout.decode().split("\0")[:-1]
        assert mine == (theirs if count != "0" else []), text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('D=/dev/sda; x -Z ${D}1 "$D"', ["-Z", "/dev/sda1", "/dev/sda"]),
        ("D=/dev/sda x $D", [None]),
        ("D=/dev/nvme0n1; P=${D}p; x ${P}1", ["/dev/nvme0n1p1"]),
        ("export D=/dev/sda; x ${D:-/dev/sdb}", ["/dev/sda"]),
        ("x ${D:-/dev/sdb}", [None]),
        ("unset D; x ${D:-/dev/sdb} a$D", ["/dev/sdb", "a"]),
        ("read D; x $D", [None]),
        ("D=$(lsblk); x $D", [None]),
        ("D=$(echo /dev/sda); x ${D}2", ["/dev/sda2"]),
        ("D=$(printf '/dev/%s' sda); x $D", ["/dev/sda"]),
        ('f() { x $2 "$@"; }; f a /dev/sda', ["/dev/sda", "a", "/dev/sda"]),
        ("N=1; x /dev/sda$((N+1))", ["/dev/sda2"]),
        ("x /dev/sd{a,b}{1..2}", ["/dev/sda1", "/dev/sda2", "/dev/sdb1", "/dev/sdb2"]),
        ("A=(1 2); x ${A[0]}", [None]),
        ("x ${A%b} ${A/b/c} ${!A}", [None, None, None]),
        ("cd /dev; x if=sda sda", ["if=/dev/sda", "/dev/sda"]),
        ("x ../dev/sda /dev/../dev/sdb", ["/dev/sda", "/dev/../dev/sdb"]),
    ],
)
def test_variables(line: str, expected: list[str | None]) -> None:
    """What the line sets is known; what it inherits or reads is opaque."""
    assert vector(line) == expected


def machine() -> SystemState:
    """Two SATA disks, an NVMe disk, an open LUKS container; labels and UUIDs known."""
    part = Partition(1, 1 << 20, 1 << 29, "x", name="ESP", partuuid="p-1")
    root = Partition(
        2, 1 << 30, 1 << 30, "x", partuuid="p-2", signature=Signature("ext4", "root", "u-2")
    )
    return SystemState(
        disks=(
            Disk("sda", 1 << 40, partitions=(part, root)),
            Disk("sdb", 1 << 40),
            Disk("nvme0n1", 1 << 40, partitions=(part,)),
        ),
        mappings=(Mapping("cryptroot", "crypt", ("/dev/sda2",), 1 << 30),),
        links=(("/dev/disk/by-id/ata-X", "/dev/sda"), ("/dev/vg/root", "/dev/mapper/vg-root")),
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/dev/sd?", ["/dev/sda", "/dev/sdb"]),
        ("/dev/sd*", ["/dev/sda", "/dev/sda1", "/dev/sda2", "/dev/sdb"]),
        ("/dev/sd[a,c]", ["/dev/sda"]),
        ("/dev/sd[!a]", ["/dev/sdb"]),
        ("/dev/sda[12]", ["/dev/sda1", "/dev/sda2"]),
        ("//dev/./sda[1]", ["//dev/./sda1"]),
        ("/dev/sd[c-z]*", ["/dev/sd[c-z]*"]),
        ("/dev/nvme0n1p[12]", ["/dev/nvme0n1p1"]),
        ("/dev/nvme*", [None]),  # /dev/nvme0 is a controller
        ("/dev/mapper/crypt*", ["/dev/mapper/cryptroot"]),
        ("/dev/mapper/*", [None]),  # control
        ("/dev/disk/by-id/*", ["/dev/disk/by-id/ata-X"]),
        ("/dev/disk/by-label/r*", ["/dev/disk/by-label/root"]),
        ("/dev/disk/by-uuid/u*", ["/dev/disk/by-uuid/u-2"]),
        ("/dev/vg/r*", ["/dev/vg/root"]),
        ("/dev/*", [None]),
        ("/dev/l*", [None]),
        ("/mnt/*", [None]),
        ("*.txt", [None]),
        ("'/dev/sd*'", ["/dev/sd*"]),
        ("--exclude=/dev/*", ["--exclude=/dev/*"]),  # no file is called so
        ("--exclude={/dev/*,*.iso}", ["--exclude=/dev/*", "--exclude=*.iso"]),
        ("--exclude=$X/*", [None]),
        ("-*", [None]),  # a file may be called -rf
        ("exclude=/mnt/*", [None]),
    ],
)
def test_patterns_over_devices(pattern: str, expected: list[str | None]) -> None:
    """Patterns are looked up among the machine's devices, and opaque anywhere else."""
    assert vector("x " + pattern, machine()) == expected


def test_a_pattern_in_a_variable_is_looked_up() -> None:
    """An unquoted variable that holds a pattern is expanded, a quoted one is not."""
    assert vector("D='/dev/sd?'; x $D", machine()) == ["/dev/sda", "/dev/sdb"]
    assert vector("D='/dev/sd?'; x \"$D\"", machine()) == ["/dev/sd?"]


def test_fragments_keep_what_is_known() -> None:
    """An opaque word keeps its known pieces, and a pattern its text."""
    node = parse('x "/dev/$D" /mnt/* $D').body.items[0][0]
    words = expand_words(node.words, Scope({}, machine()))
    assert words[1] == Expanded(None, ("/dev/", None))
    assert (words[2].fragments, words[2].pattern, words[2].many) == (
        ("/mnt/", None),
        "/mnt/*",
        True,
    )
    assert words[3].many
    assert words[0] == known("x")


def test_brace_expansion_is_bounded() -> None:
    """A brace that would make millions of words is opaque at once."""
    assert vector("x " + "{a,b}" * 30) == [None]
    assert vector("x {1..100000000}") == [None]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/dev/./sda", "/dev/sda"), ("//dev/sda", "/dev/sda"), ("/dev/../dev/sda/", "/dev/sda"),
     ("///dev//sda", "/dev/sda"), ("", ""), ("/", "/")],
)  # fmt: skip
def test_normalise(path: str, expected: str) -> None:
    """Paths are made plain lexically."""
    assert normalise(path) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("D=a; f() { local D=b; }; f; x $D", ["a"]),
        ("D=a; f() { D=b; }; f; x $D", ["b"]),
        ("D=a; f() { :; }; D=b f; x $D", ["a"]),
        ("f() { x $1; }; g() { f b; x $1; }; g a", ["a"]),
        ("D=a; D=b eval :; x $D", [None]),
        ("declare -i D=1+1; x $D", [None]),
        ("declare -l D; D=ABC; x $D", [None]),
        ("SECONDS=5; x $SECONDS", [None]),
        ("unset D; : ${D:=a}; x $D", [None]),
        ("D=1; : $((D=5)); x $D", [None]),
        ("D=a; echo b | read D; x $D", ["a"]),
        ("D=a; shopt -s lastpipe; echo b | read D; x $D", [None]),
        ("D=a; (D=b); x $D", ["a"]),
        ("D=a; bash -c 'x $D'", [None]),
        ("export D=a; bash -c 'x $D'", ["a"]),
        ("D=a; sudo D=b sh -c 'x $D'", ["b"]),
        ("IFS=,; D=a,b; x $D", [None]),
        ("IFS=/; D=/dev/sda; x $D", [None]),
        ("D=a; D+=b; x $D", ["ab"]),
        ("set -- a b; shift; x $1 $#", ["b", "1"]),
        ("D=a; for D in b; do :; done; x $D", ["b"]),
        ("D=a; mapfile D; x $D", [None]),
        ("D=a; printf -v D b; x $D", ["b"]),
        ("D=a; declare -n R=D; R=b; x $D", [None]),
        ("set -f; x /dev/sd?", [None]),
    ],
)
def test_scopes_of_variables(line: str, expected: list[str | None]) -> None:
    """Locals, prefixes, subshells, child processes and odd variables, as bash has them."""
    assert vector(line) == expected
