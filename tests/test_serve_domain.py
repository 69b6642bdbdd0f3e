"""What the server says of commands: /domain/check and /domain/apply on a real process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("litserve")

from llmkit.serve_domain import Commands
from llmkit.serve_schema import ApiError
from tests.serving import KEY, Running, resident, running

CONTEXT = """\
## Current System State

- Boot mode: UEFI
- Network: Connected
- Hostname: archiso
- Timezone: not set

## Available Disks

- /dev/sda: 500G (Samsung SSD 870)
- /dev/nvme0n1: 1T (Samsung SSD 990)
"""
DISKS = {"disks": [{"name": "sda", "size": 8 << 30}, {"name": "vdb", "size": 16 << 30}]}

# A domain whose commands are Python's: no line of the installer's is sure to be slow for ever.
PYTHON = """\
from types import SimpleNamespace
from llmkit.errors import DomainError

class Python:
    name = "python"
    def from_dict(self, data): return data
    def to_dict(self, state): return state
    def parse_context(self, text): raise DomainError("no machine")
    def to_context(self, state): return "a machine"
    def check(self, state, command):
        exec(command, {})
        return SimpleNamespace(allowed=True, reason="", missing=(), danger="read")
    def explain(self, state, command): return command
    def apply(self, state, command): raise NotImplementedError
    def nothing(self, *_): raise NotImplementedError
    templates = check_when = scenarios = every_scenario = begin = variables = tool_schema = nothing

domain = Python()
"""


@pytest.fixture
def server() -> Running:
    """With keys and the usual limits."""
    return running("keys")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """Those of the domain `python`: a second each, two at a time."""
    metadata = tmp_path / "python-1.0.dist-info"
    metadata.mkdir()
    (tmp_path / "python_domain.py").write_text(PYTHON)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: python\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[llmkit.domains]\npython = python_domain:domain\n")
    monkeypatch.syspath_prepend(tmp_path)  # children get it, too
    found = Commands("python", seconds=1, waiting=2)
    try:
        yield found
    finally:
        found.end()


def ask(server: Running, what: str, state: Any, command: str) -> Any:
    answer = server.post(f"/domain/{what}", {"state": state, "command": command})
    assert answer.status == 200, answer.body
    return answer.json()


def test_a_device_that_is_not_there_is_refused(server: Running) -> None:
    """The verdict says which it is, and which devices exist."""
    found = ask(server, "check", CONTEXT, "mkfs.ext4 /dev/sdz1")
    assert (found["success"], found["allowed"], found["missing"]) == (True, False, ["/dev/sdz1"])
    assert "/dev/sda and /dev/nvme0n1" in found["reason"]
    assert "/dev/sdz1" in found["explanation"]


@pytest.mark.parametrize(
    ("command", "danger"),
    [("lsblk", "read"), ("mkdir -p /mnt/boot", "change"), ("mkfs.ext4 /dev/sda", "destructive"),
     ("rm -rf /", "forbidden")],
)  # fmt: skip
def test_the_danger_of_a_command(server: Running, command: str, danger: str) -> None:
    """From looking to what must not be run; in words, too."""
    found = ask(server, "check", DISKS, command)
    assert (found["allowed"], found["danger"]) == (True, danger)
    assert found["reason"] and found["explanation"]
    assert found["destroys"] == (["sda"] if danger == "destructive" else [])
    assert found["needs_confirmation"] == (danger in ("destructive", "forbidden"))


def test_commands_build_a_machine(server: Running) -> None:
    """Each request brings the state that the last one gave: partitioned, formatted, mounted."""
    state: Any = DISKS
    lines = ["sgdisk -Z /dev/vdb && sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 /dev/vdb",
             "mkfs.fat -F32 /dev/vdb1 && mkfs.ext4 /dev/vdb2", "mount /dev/vdb2 /mnt"]  # fmt: skip
    for line in lines:
        found = ask(server, "apply", state, line)
        assert (found["applied"], found["status"], found["error"]) == (True, 0, None)
        state = found["state"]
    disk = next(disk for disk in state["disks"] if disk["name"] == "vdb")
    assert disk["table"] == "gpt"
    assert [part["signature"]["kind"] for part in disk["partitions"]] == ["vfat", "ext4"]
    assert disk["partitions"][0]["size"] == 512 << 20
    assert "- /dev/vdb2 on /mnt" in found["system_context"]


def test_a_context_is_a_state(server: Running) -> None:
    """A machine as text comes back as JSON, and means the same."""
    found = ask(server, "apply", CONTEXT, "true")
    assert [disk["name"] for disk in found["state"]["disks"]] == ["sda", "nvme0n1"]
    assert found["system_context"].splitlines() == CONTEXT.splitlines()
    assert ask(server, "apply", found["state"], "true")["state"] == found["state"]


def test_what_the_guard_refuses_is_not_applied(server: Running) -> None:
    """Nothing of the line happens, not even its first half."""
    found = ask(server, "apply", DISKS, "mkfs.ext4 /dev/sda && mkfs.ext4 /dev/sdq")
    assert (found["allowed"], found["applied"], found["status"]) == (False, False, None)
    assert found["state"] == ask(server, "apply", DISKS, "true")["state"]


def test_a_command_that_fails_says_why(server: Running) -> None:
    """Its status, its error, and the machine as far as it came."""
    found = ask(server, "apply", DISKS, "mkdir /mnt/a && mount /dev/sda /mnt/a")
    assert found["applied"] and found["status"] != 0
    assert "/dev/sda" in found["error"]


# A command in the conversation that it was proposed in

FULL = {
    "disks": [
        {"name": "sda", "size": 8 << 30, "signature": {"kind": "ext4"}},
        {"name": "vdb", "size": 16 << 30},
    ]
}


def in_talk(server: Running, what: str, said: list[Any], command: str, **more: Any) -> Any:
    """Asked about FULL; `said` are messages, or texts of person and assistant in turn."""
    messages = [
        {"role": ("user", "assistant")[place % 2], "content": text}
        if isinstance(text, str)
        else text
        for place, text in enumerate(said)
    ]
    body = {"state": FULL, "command": command, "messages": messages, **more}
    answer = server.post(f"/domain/{what}", body)
    assert answer.status == 200, answer.body
    return answer.json()


@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize(
    "said", ["erase /dev/sdz", "wipe sdz please", "format /dev/nvme0n1 as ext4"]
)
def test_another_disk_than_the_one_that_was_named_is_not_touched(
    server: Running, said: str, confirm: bool
) -> None:
    """Asked to erase a disk that is not there, a model that can name no absent one takes another. The
    guard has nothing against that; with the conversation it is refused, and the text names both."""
    for command in ("wipefs -a /dev/sda", "mkfs.ext4 -F /dev/sda", "mkfs.ext4 /dev/vdb"):
        assert ask(server, "check", FULL, command)["allowed"]
        found = in_talk(server, "check", [said], command, confirm=confirm)
        assert (found["allowed"], found["refused_by"]) == (False, "review"), command
        name = said.replace("/dev/", "").split()[1]
        assert name in found["reason"] and "sda" in found["reason"]
        done = in_talk(server, "apply", [said], command, confirm=confirm)
        assert (done["applied"], done["status"], done["reason"]) == (False, None, found["reason"])
        assert done["state"] == ask(server, "apply", FULL, "true")["state"]


@pytest.mark.parametrize(
    ("said", "agreed"), [("is sda any good?", "yes"), ("I want to install Linux", "sda")]
)
def test_what_nobody_gave_up_is_asked_for(server: Running, said: str, agreed: str) -> None:
    """Refused for want of a confirmation, in the words to ask for it; the answer to them is one.
    Whoever confirms by other means says so. Nothing is asked where nothing is lost."""
    command = "mkfs.ext4 -F /dev/sda"
    found = in_talk(server, "check", [said], command)
    assert (found["allowed"], found["refused_by"]) == (False, "confirmation")
    assert "sda" in found["reason"] and "?" in found["reason"]
    assert found["destroys"] == ["sda"] and found["explanation"]
    assert not in_talk(server, "apply", [said], command)["applied"]
    for talk, more in (([said, found["reason"], agreed], {}), ([said], {"confirm": False})):
        found = in_talk(server, "apply", talk, command, **more)
        assert (found["allowed"], found["refused_by"], found["applied"]) == (True, None, True)
    assert in_talk(server, "check", [said], "lsblk")["allowed"]


@pytest.mark.parametrize("confirm", [True, False])
def test_the_line_that_was_asked_for_comes_along(server: Running, confirm: bool) -> None:
    """With and without a confirmation by other means; it may be run, and what was sent may not."""
    said, wrote, meant = "xfs on sda", "mkfs.ext4 -F /dev/sda", "mkfs.xfs -f /dev/sda"
    found = in_talk(server, "check", [said], wrote, confirm=confirm)
    assert (found["allowed"], found["refused_by"], found["better"]) == (False, "review", meant)
    done = in_talk(server, "apply", [said], wrote, confirm=confirm)
    assert not done["applied"] and done["better"] == meant
    found = in_talk(server, "check", [said, found["reason"], "yes"], "lsblk", confirm=confirm)
    assert found["allowed"] and found["better"] is None


def test_whether_the_message_names_what_a_command_works_on(server: Running) -> None:
    """Said where there is a conversation; a command without its device is never what was named."""
    for said, command, named in (
        ("what is on sda", "lsblk /dev/sda", True),
        ("what is on it", "lsblk /dev/sda", False),
        ("format sda as ext4", "lsblk", False),
        ("format sda as ext4", "mkfs.ext4 -F /dev/sda", False),  # there is something to lose
    ):
        assert in_talk(server, "check", [said], command)["about"] is named
    assert ask(server, "check", FULL, "lsblk")["about"] is None


def test_whether_a_command_may_stand_for_a_text_that_is_not_so(server: Running) -> None:
    """Not for one that asks, nor a command that only looks."""
    for said, command, may in (
        ("mount sda2 at /mnt", "mount /dev/sda2 /mnt", True),
        ("would you mount sda2 at /mnt?", "mount /dev/sda2 /mnt", True),
        ("what is at /mnt", "mount /dev/sda2 /mnt", False),
        ("mount sda2 at /mnt", "lsblk", False),
    ):
        assert in_talk(server, "check", [said], command)["wished"] is may, said
    assert ask(server, "check", FULL, "lsblk")["wished"] is None


def test_what_is_not_so_of_an_answer_in_words(server: Running) -> None:
    """What to say in its place; null where nothing is known to be wrong. Requests as for commands."""
    talk = [{"role": "user", "content": "and now?"}]
    body = {"state": FULL, "messages": talk, "text": "/dev/sda2f10 is formatted."}
    answer = server.post("/domain/text", body)
    assert answer.status == 200 and "What shall I do?" in answer.json()["instead"]
    answer = server.post("/domain/text", {**body, "text": "It is mounted."})
    assert answer.json() == {"success": True, "instead": None}
    for wrong, said in (
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "yes"}]}, "user's"),
        ({"messages": talk * 51}, "51 messages"), ({"text": "a" * 70000}, "text"),
        ({"text": 5}, "text"), ({"state": {"discs": []}}, "discs"), ({"command": "ls"}, "command"),
    ):  # fmt: skip
        answer = server.post("/domain/text", {**body, **wrong})
        assert answer.status == 400 and said in answer.json()["error"], (wrong, answer.body)
    assert server.post("/domain/text", body, key=None).status == 401
    del body["messages"]
    assert server.post("/domain/text", body).status == 400


def test_the_guards_word_stays_the_guards(server: Running) -> None:
    """With and without a conversation, wherever it is said that somebody confirms."""
    command = "mkfs.ext4 /dev/sdq"
    for found in (
        ask(server, "check", FULL, command),
        in_talk(server, "check", ["format /dev/sdq"], command),
        in_talk(server, "apply", ["format it", "Which?", "sdq"], command, confirm=False),
    ):
        assert (found["allowed"], found["refused_by"]) == (False, "guard")
        assert found["missing"] == ["/dev/sdq"] and "/dev/sda" in found["reason"]
    found = ask(server, "check", FULL, "lsblk")
    assert (found["refused_by"], found["again"]) == (None, False)


def test_messages_are_those_of_the_other_routes(server: Running) -> None:
    """Parts, system messages, calls with their results, commands as `$ LINE`: a command that ran is
    what "it" means."""
    call = {
        "type": "function",
        "function": {"name": "run_shell_command", "arguments": '{"command": "lsblk"}'},
    }
    said = [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": [{"type": "text", "text": text} for text in ("list ", "disks")]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "sda\nvdb\n", "tool_call_id": "1", "name": "run_shell_command"},
        {"role": "user", "content": "erase /dev/sda, I need nothing on it"},
    ]  # fmt: skip
    assert in_talk(server, "check", said, "wipefs -a /dev/sda")["allowed"]
    assert not in_talk(server, "check", said, "wipefs -a /dev/vdb")["allowed"]
    plain = ["list the disks", "$ lsblk\n\nsda\nvdb", "erase /dev/sda, I need nothing on it"]
    assert in_talk(server, "check", plain, "wipefs -a /dev/sda")["allowed"]


@pytest.mark.parametrize("path", ["/domain/check", "/domain/apply"])
def test_wrong_conversations_are_refused(server: Running, path: str) -> None:
    """As /generate refuses them: 400 with the reason."""
    person = {"role": "user", "content": "hello"}
    call = {"function": {"name": "run_shell_command", "arguments": "{"}}
    wrong: dict[str, tuple[Any, str]] = {
        "none": ([], "messages"),
        "no list": ("hello", "messages"),
        "a role that is none": ([{"role": "cat", "content": "hello"}], "messages.0.role"),
        "the assistant last": ([person, {"role": "assistant", "content": "yes"}], "user's"),
        "too many": ([person] * 51, "51 messages"),
        "a call that is no JSON": (
            [person, {"role": "assistant", "tool_calls": [call]}, person], "JSON"),
    }  # fmt: skip
    for name, (messages, said) in wrong.items():
        answer = server.post(path, {"state": FULL, "command": "lsblk", "messages": messages})
        assert answer.status == 400 and said in answer.json()["error"], (name, answer.body)
    body = {"state": FULL, "command": "lsblk", "messages": [person], "confirm": "no"}
    assert server.post(path, body).status == 400


def test_a_domain_without_a_review_has_its_guard(commands: Commands) -> None:
    """A conversation changes nothing there."""
    messages = [{"role": "user", "content": "hello"}]
    found = asyncio.run(commands.ask("check", {}, "pass", messages=messages))
    assert (found["allowed"], found["refused_by"]) == (True, None)


WRONG: dict[str, tuple[Any, Any, str]] = {
    "no state": (None, "lsblk", "state"),
    "a state of an unknown shape": ({"discs": []}, "lsblk", "discs"),
    "a disk without a size": ({"disks": [{"name": "sda"}]}, "lsblk", "size"),
    "a size that is text": ({"disks": [{"name": "sda", "size": "8G"}]}, "lsblk", "size"),
    "the same disk twice": ({"disks": [DISKS["disks"][0]] * 2}, "lsblk", "sda"),
    "a context that is none": ("## Available Disks\n- what?", "lsblk", "state"),
    "a command that is a number": (DISKS, 5, "command"),
    "a command without end": (DISKS, "a" * 70000, "command"),
}


@pytest.mark.parametrize("path", ["/domain/check", "/domain/apply"])
def test_wrong_requests_are_refused(server: Running, path: str) -> None:
    """400 with the reason, each; a field that is not known as well."""
    found = {}
    for name, (state, command, _) in WRONG.items():
        answer = server.post(path, {"state": state, "command": command})
        found[name] = (answer.status, answer.json()["success"], answer.json()["error"])
    for name, (_, _, said) in WRONG.items():
        assert found[name][:2] == (400, False) and said in found[name][2], (name, found[name])
    assert server.post(path, {"state": DISKS, "command": "ls", "run": True}).status == 400
    assert server.post(path, b"{").status == 400
    assert server.post(path, {"state": DISKS, "command": "ls"}, key=None).status == 401
    assert server.ask("GET", path).status == 405


def test_a_child_that_is_killed_comes_back(server: Running) -> None:
    """kill -9 of the process that follows commands costs at most the command that runs."""
    ask(server, "check", DISKS, "lsblk")
    helper = min(server.children(), key=resident)
    os.kill(helper, signal.SIGKILL)
    time.sleep(0.2)
    assert ask(server, "check", DISKS, "lsblk")["allowed"]
    assert server.ask("GET", "/health").status == 200
    assert KEY not in server.log.read_text()


COSTLY = ["while True: pass", "x = 'a' * (4 << 30)", "def f(): f()\nf()"]


@pytest.mark.parametrize("line", COSTLY, ids=["time", "memory", "stack"])
def test_a_line_that_cannot_be_followed_is_given_up(commands: Commands, line: str) -> None:
    """400 soon, whatever it takes too much of; then the next is answered."""

    async def talk() -> tuple[int, dict[str, Any], float]:
        await commands.ask("check", {}, "pass")
        began = time.monotonic()
        with pytest.raises(ApiError) as refused:
            await commands.ask("check", {}, line)
        seconds = time.monotonic() - began
        return refused.value.status, await commands.ask("check", {}, "pass"), seconds

    status, after, seconds = asyncio.run(talk())
    assert status == 400 and after["allowed"] and seconds < 5


def test_a_line_that_ends_the_process(commands: Commands) -> None:
    """500 for it, an answer for the next; so with an exception."""

    async def talk() -> list[Any]:
        found: list[Any] = []
        for line in ("import os; os._exit(3)", "pass", "1 / 0", "pass"):
            try:
                found.append((await commands.ask("check", {}, line))["allowed"])
            except ApiError as error:
                found.append(error.status)
        return found

    assert asyncio.run(talk()) == [500, True, 500, True]


def test_more_than_may_wait(commands: Commands) -> None:
    """429 for the third at a time; the others are answered. The loop goes on meanwhile."""

    async def talk() -> tuple[list[Any], int]:
        await commands.ask("check", {}, "pass")
        line = "import time; time.sleep(0.3)"
        asked = [asyncio.create_task(commands.ask("check", {}, line)) for _ in range(3)]
        turns = 0
        while not all(task.done() for task in asked):
            await asyncio.sleep(0.01)
            turns += 1
        return await asyncio.gather(*asked, return_exceptions=True), turns

    (one, two, three), turns = asyncio.run(talk())
    assert one["allowed"] and two["allowed"]
    assert isinstance(three, ApiError) and (three.status, three.retry_after) == (429, 1)
    assert turns > 10


def test_the_end_does_not_wait(commands: Commands) -> None:
    """A command that is followed fails with 503, and so does the next; nothing stays."""

    async def talk() -> list[int]:
        await commands.ask("check", {}, "pass")
        task = asyncio.create_task(commands.ask("check", {}, "while True: pass"))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(commands.end)
        found = await asyncio.gather(
            task, commands.ask("check", {}, "pass"), return_exceptions=True
        )  # fmt: skip
        return [error.status for error in found if isinstance(error, ApiError)]

    began = time.monotonic()
    assert asyncio.run(talk()) == [503, 503]
    assert time.monotonic() - began < 10
