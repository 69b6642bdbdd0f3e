"""Fuzzing parser, effects and guard with random and mutated shell lines.

    python -m pytest tests/test_guard_fuzz.py                     # 3,000 strings
    LLMKIT_FUZZ=200000 python -m pytest -s tests/test_guard_fuzz.py    # the long run, prints counts

Strings come from a fixed seed. The check for false allows is independent of the guard: a regular
expression that finds, in lines without quotes and expansions, a disk that is not there in a place
where a known tool would write. It misses much, and what it finds is certain.
"""

from __future__ import annotations

import gc
import json
import os
import random
import re
import time
from pathlib import Path

from llmkit.installer.guard import judge
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

COUNT = int(os.environ.get("LLMKIT_FUZZ", "3000"))
LIMIT = 0.25  # seconds of processor time a string, far above what is usual
DATA = Path(__file__).parent / "data"
STATES = [
    SystemState.from_dict(data)
    for data in json.loads((DATA / "guard_states.json").read_text()).values()
]
LINES = [json.loads(t)["command"] for t in (DATA / "guard_cases.jsonl").read_text().splitlines()]
ALPHABET = (
    " \t\n;&|<>(){}[]$`'\"\\#*?~!=:,.-+/%@^0123456789abcdefnrstxyzASZ"
    "\x00\x1b\x7fа／\u200b\u202eéß\U0001d42c\ud800"
)
PIECES = [
    " && ", " || ", "; ", " | ", " & ", "\n", " > ", " >> ", " < ", "<<EOF\n", "\nEOF\n", " <<< ",
    "$(", ")", "`", "${", "}", "$((", "))", "{1..9}", "{a,b}", "if ", "then ", "fi", "for i in ",
    "do ", "done", "case x in ", "esac", "sudo ", "sh -c ", "eval ", "xargs ", "arch-chroot /mnt ",
    "/dev/sdz", "/dev/sdz1", "/dev/sda", "/dev/nvme9n1", "/dev/vdq2", "LABEL=x", "UUID=1-2", "/mnt",
    "mkfs.ext4 ", "dd if=/dev/zero of=", "wipefs -a ", "sgdisk -Z ", "sgdisk -n 0:0:0 ", "mount ",
    "badblocks -wsv ", "command ", "command -v ",
    "f() { ", "coproc ", "exec 3>", "2>&1", "\\\n", "$'\\x41'", "! ", "time ", "[[ ", " ]]",
]  # fmt: skip

_PLAIN = re.compile(r"[^'\"\\#$`{}\[\]*?~!%^=<]+|(?<=of)=|(?<=if)=")
_TEXT_TOOLS = re.compile(
    r"\b(echo|printf|grep|egrep|rg|man|which|type|info|help|alias|yes|case|function|true|false|"
    r"sed|awk|cowsay|whereis|whatis|expr|seq|sleep|exit|return|break|continue|kill|wait|read|test|"
    r"logger|wall|basename|dirname|shutdown|apropos|in|for|select)\b|(^|[\s;&|(]):(\s|$)|\(\s*\)"
)
_ABSENT = r"/dev/(?:sdz|nvme9n1|vdq)(?:p?\d)?(?=[\s;&|)]|$)"
_WRITE = re.compile(
    r"(?:^|[;&|(\n]|&&|\|\||\bthen |\bdo |\belse |\bsudo |\bnohup |\btime )[ \t]*"
    r"(?:(?:mkfs(?:\.\w+)?|wipefs|sgdisk|mkswap|mount|blkdiscard|shred|pvcreate|swapon)"
    rf"(?:[ \t]+-[\w:+]+)*[ \t]+{_ABSENT}|dd[ \t]+(?:if=/dev/zero[ \t]+)?of={_ABSENT})"
    rf"|>[ \t]*{_ABSENT}"
)


_DESTROY = re.compile(  # whatever device it is, there or not, and on whatever path
    r"(?:^|[;&|(\n]|&&|\|\||\bthen |\bdo |\belse |\bsudo |\bnohup |\btime )[ \t]*"
    r"(?:(?:mkfs(?:\.\w+)?|mkswap|blkdiscard|shred|pvcreate|sgdisk[ \t]+-\w*Z|wipefs[ \t]+-\w*a|"
    r"badblocks[ \t]+-\w*w\w*)(?:[ \t]+-[\w:+]+)*[ \t]+/dev/[a-z]\w+(?=[\s;&|)]|$)"
    r"|dd[ \t]+(?:if=/dev/zero[ \t]+)?of=/dev/(?:sd|nvme)\w+(?=[\s;&|)]|$))"
)


def destroys(text: str) -> bool:
    """Whether a line, plain enough to be read by eye, erases a device."""
    return _is_plain(text) and _DESTROY.search(text) is not None


def writes_to_absent(text: str) -> bool:
    """Whether a line, plain enough to be read by eye, writes to a disk that no state has."""
    return _is_plain(text) and _WRITE.search(text) is not None


def _is_plain(text: str) -> bool:
    plain = all(c.isascii() and (c.isprintable() or c in "\n\t") for c in text)
    return plain and "".join(_PLAIN.findall(text)) == text and not _TEXT_TOOLS.search(text)


def mutate(rng: random.Random) -> str:
    """One string: noise, or a few edits of one or two known lines."""
    kind = rng.random()
    if kind < 0.05:
        return "".join(rng.choice(ALPHABET) for _ in range(rng.randrange(60)))
    if kind < 0.15:
        return "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 12)))
    text = rng.choice(LINES)
    if kind < 0.35:
        text += rng.choice([" && ", "; ", " | ", "\n", " || ", " & "]) + rng.choice(LINES)
    for _ in range(rng.randrange(5)):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.randrange(6))
        edit = rng.randrange(6)
        if edit == 0:
            text = text[:at] + text[end:]
        elif edit == 1:
            text = text[:at] + rng.choice(ALPHABET) + text[at:]
        elif edit == 2:
            text = text[:at] + rng.choice(PIECES) + text[at:]
        elif edit == 3:
            text = text[:at] + text[at:end] * rng.randrange(2, 9) + text[end:]
        elif edit == 4:
            text = re.sub(
                r"/dev/\w+", rng.choice(["/dev/sdz", "/dev/nvme9n1p2", "/dev/vdq"]), text, count=1
            )
        else:
            other = rng.choice(LINES)
            text = text[:at] + other[rng.randrange(len(other) + 1) :]
    return text[:2000]


def test_the_detector_finds_plain_writes():
    """The independent check finds what it should, and nothing in harmless lines."""
    for line in (
        "mkfs.ext4 /dev/sdz",
        "lsblk; wipefs -a /dev/sdz1",
        "cat x > /dev/vdq",
        "dd if=/dev/zero of=/dev/nvme9n1p2",
        "lsblk && sudo mount /dev/sdz1 /mnt",
    ):
        assert writes_to_absent(line)
    for line in ("echo mkfs.ext4 /dev/sdz", "lsblk # > /dev/sdz", "mkfs.ext4 /dev/sda",
                 "grep /dev/sdz x", "echo '> /dev/sdz'"):  # fmt: skip
        assert not writes_to_absent(line)
    for line in ("a || mkfs.ext4 /dev/sda1", "badblocks -wsv /dev/sda", "sgdisk -pZ /dev/sda",
                 "if a; then dd of=/dev/sda"):  # fmt: skip
        assert destroys(line)
    for line in ("badblocks -sv /dev/sda", "command -v mkfs.ext4", "sgdisk -p /dev/sda",
                 "dd if=/dev/sda", "wipefs /dev/sda"):  # fmt: skip
        assert not destroys(line)


def test_fuzz():
    """Any string: no exception, bounded time, no write to an absent disk allowed, nothing that erases a
    device called harmless; the effects take it too."""
    rng = random.Random(20261124)
    slowest, slow_text, refused, certain, erasing = 0.0, "", 0, 0, 0
    gc.disable()  # a collection of a whole run's objects would be charged to one string
    try:
        for number in range(COUNT):
            text = mutate(rng)
            state = STATES[number % len(STATES)]
            start = time.thread_time()
            verdict = judge(text, state)
            middle = time.thread_time()
            run_command(text, state)
            for spent in (middle - start, time.thread_time() - middle):
                if spent > slowest:
                    slowest, slow_text = spent, text
            refused += not verdict.allowed
            if writes_to_absent(text):
                certain += 1
                assert not verdict.allowed, f"allowed on state {number % len(STATES)}: {text!r}"
            if destroys(text):
                erasing += 1
                assert verdict.danger in ("destructive", "forbidden"), repr(text)
            if number % 2000 == 1999:
                gc.collect()
    finally:
        gc.enable()
    print(
        f"\n{COUNT} strings: {refused} refused, {certain} write to an absent disk for certain and "
        f"all are refused, {erasing} erase a device and are called so; "
        f"slowest {slowest * 1000:.1f} ms: {slow_text[:100]!r}"
    )
    assert slowest < LIMIT, f"{slowest:.2f} s for {slow_text!r}"
    assert certain > COUNT / 200 and erasing > COUNT / 200
