"""The chat: scripts, transcripts, and the screen, with a server of the test's own and the real one."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("tenacity")

from rich.console import Console

from llmkit.chat import asker
from llmkit.chat_log import Transcript
from llmkit.chat_screen import Screen
from llmkit.chat_script import Line, Report, play, read_script
from llmkit.chat_text import Flow, printable
from llmkit.chat_types import Execute, Ran
from llmkit.client import Client
from llmkit.config_chat import AskConfig, ChatConfig
from llmkit.errors import ConfigError, OutputError
from llmkit.installer import plan
from llmkit.installer.assistant import Assistant
from llmkit.installer.assistant_machine import Simulated
from llmkit.installer.run import run_command
from llmkit.installer.same import same
from llmkit.installer.state import SystemState
from tests.test_assistant import EMPTY, UEFI, call, speaks, text
from tests.test_client import QUICK, Told, says

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "data/scripts").glob("*.txt"))
ASK = AskConfig(history=40, max_tokens=64, temperature=0.0)
NVME = SystemState.from_dict({"disks": [{"name": "nvme0n1", "size": 512110190592}]})
SATA = SystemState.from_dict(
    {"boot_mode": "bios", "disks": [{"name": "sda", "size": 500107862016}]}
)

Meet = Callable[..., Assistant]


@pytest.fixture
def meet() -> Iterator[Meet]:
    """An assistant whose server gives these answers; the last one for ever."""
    opened: list[Any] = []

    def make(*answers: Any, state: SystemState = EMPTY) -> Assistant:
        server = Told(*map(speaks, answers)).__enter__()
        client = Client(server.url, QUICK)
        opened.extend([server, client])
        return Assistant(asker(client), Simulated(state), ASK)

    yield make
    for thing in opened:
        thing.__exit__(None, None, None)


def played(assistant: Assistant, *lines: Line, folder: Path | None = None) -> tuple[Report, str]:
    heard: list[str] = []
    log = Transcript(folder, "simulate", assistant.facts())
    report = play(list(lines), assistant, log, heard.append)
    return report, "\n".join(heard)


# Scripts


def test_a_script_is_read(tmp_path: Path) -> None:
    """Messages, corrections, texts; comments and empty lines are passed over."""
    path = tmp_path / "a.txt"
    path.write_text("# hi\n\nhello => # Hello!\n list disks \nuse => it => lsblk -f\n")
    assert read_script(path) == [
        Line(3, "hello", reply="Hello!"), Line(4, "list disks"), Line(5, "use", right="it => lsblk -f"),
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"# only\n", b"=> lsblk\n", b"hello =>\n", b"\xff\n"])
def test_what_is_no_script_is_refused(tmp_path: Path, content: bytes) -> None:
    """With the file's name, and the line's number where it is about one."""
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        read_script(path)


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_shipped_scripts_install(path: Path, meet: Meet) -> None:
    """With a model that never proposes anything, each shipped script's own commands bring a machine
    that starts; each of them counts as a correction."""
    assistant = meet(text("I do not know."), state=SATA if "bios" in path.stem else NVME)
    lines = read_script(path)
    report, _ = played(assistant, *lines)
    wanted = [line for line in lines if line.right is not None]
    assert len(wanted) >= 12 and len(report.corrections) == len(wanted)
    assert (report.failed, report.carried_out) == ([], len(wanted))
    assert assistant.problems() == () and assistant.finished()
    assert all(stage.done for stage in assistant.stages())


def test_a_proposal_that_comes_to_the_same_is_taken(meet: Meet) -> None:
    """Other words for the same end are no correction; another end is."""
    assistant = meet(
        call("mkfs -t ext4 -F /dev/sda1"), call("lsblk -f"), call("mkfs.xfs -f /dev/sda1"),
        call("lsblk"), call("sgdisk -Z /dev/nvme0n1"),
    )  # fmt: skip
    report, heard = played(
        assistant,
        Line(1, "format sda1", right="mkfs.ext4 -F /dev/sda1"),
        Line(2, "look", right="lsblk"),
        Line(3, "format sda1 again", right="mkfs.btrfs -f /dev/sda1"),
        Line(4, "what is free", right="free -h"),
        Line(5, "no, stop", reply="All right."),
    )
    assert [line.partition(":")[0] for line in report.corrections] == ["line 3", "line 4", "line 5"]
    assert report.carried_out == 4 and report.proposals == 5
    assert "/dev/sda1: 900M [btrfs]" in assistant.facts()
    assert assistant.history[-1] == {"role": "assistant", "content": "All right."}
    assert "  (corrected; the answer was: mkfs.xfs -f /dev/sda1)" in heard


def test_what_is_blocked_is_told_and_counted(meet: Meet) -> None:
    """A blocked proposal is an answer; a correction that the guard refuses is a failure."""
    assistant = meet(call("mkfs.ext4 /dev/sdz1"), text("no"))
    report, heard = played(
        assistant, Line(1, "format sdz1"), Line(2, "do", right="wipefs -a /dev/sdz")
    )
    assert (report.blocked, report.carried_out, len(report.failed)) == (1, 0, 1)
    assert "There is no /dev/sdz1" in heard and assistant.state == EMPTY


# Transcripts


def test_a_transcript_tells_everything(meet: Meet, tmp_path: Path) -> None:
    """One JSON object a line, with what was said, proposed, corrected and run."""
    assistant = meet(call(UEFI[0]), call("lsblk"), text("Hi"))
    played(
        assistant,
        Line(1, "erase nvme0n1"),
        Line(2, "next", right=UEFI[1]),
        Line(3, "hi"),
        folder=tmp_path,
    )
    events = [json.loads(line) for line in (tmp_path / "transcript.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == [
        "start", "message", "proposal", "run", "message", "proposal", "correction", "run",
        "message", "text",
    ]  # fmt: skip
    assert events[2]["destroys"] == ["nvme0n1"] and events[3]["status"] == 0
    assert events[6] ["right"] == UEFI[1]  # fmt: skip
    assert [path.stat().st_mode & 0o077 for path in tmp_path.iterdir()] == [0, 0]
    with pytest.raises(OutputError):
        Transcript(tmp_path, "simulate", "")


def test_the_script_replays_the_installation(meet: Meet, tmp_path: Path) -> None:
    """replay.sh is bash, asks first, holds nothing that failed, and its commands bring the same
    machine, whatever was said in between."""
    nasty = "go on with nvme0n1\n'; rm -rf / #"
    odd = "cd /mnt && mkdir here"
    assistant = meet(
        *(call(command) for command in UEFI[:4]), call("mount /dev/sda /mnt"), call(odd)
    )
    played(assistant, *(Line(n, nasty) for n in range(6)), folder=tmp_path)
    path = tmp_path / "replay.sh"
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and os.access(path, os.X_OK)
    written = path.read_text()
    lines = [line for line in written.splitlines() if line and not line.startswith("#")]
    assert "rm -rf" not in "\n".join(lines)
    rest = lines[lines.index("fi") + 1 :]
    commands = rest[::2]
    assert set(rest[1::2]) == {"ok"}
    assert commands == [*UEFI[:4], f"bash -c '{odd}'"]
    state = EMPTY
    for command in commands:
        state = run_command(command, state).state
    assert same(state, assistant.state)
    asked = subprocess.run(
        ["/bin/bash", path], input="no\n", capture_output=True, text=True, check=False,
        env={"PATH": "/nonexistent"},
    )  # fmt: skip
    assert asked.returncode == 1 and "Type yes" in asked.stdout


@pytest.mark.parametrize(
    "failing", ["false && true", "false", "true; false", "cd / && false", "exit 3"]
)
def test_a_replay_stops_where_something_fails(tmp_path: Path, failing: str) -> None:
    """Also at `A && B` whose A fails, which `set -e` would pass over: what follows would be done
    to the wrong place."""
    log = Transcript(tmp_path, "simulate", "")
    for command in ("touch first", failing, "touch second"):
        log.ran(Ran(command, 0), "go")
    done = subprocess.run(
        ["bash", tmp_path / "replay.sh"], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**os.environ, "LLMKIT_REPLAY": "yes"},
    )  # fmt: skip
    assert done.returncode in (1, 3) and "stopped: " in done.stderr
    assert (tmp_path / "first").exists() and not (tmp_path / "second").exists()


# The screen


def config(**changes: Any) -> ChatConfig:
    """What the screen reads of a config."""
    values = {"colour": False, "execute": Execute.simulate, **changes}
    found = object.__new__(ChatConfig)
    for name, value in values.items():
        object.__setattr__(found, name, value)
    return found


def typed(assistant: Assistant, *lines: str, width: int = 80, folder: Path | None = None) -> str:
    """What is on the screen after these lines were typed."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=24, no_color=True, highlight=False)
    waiting = list(lines)

    def read(question: str, text: str = "") -> str:
        if not waiting:
            raise EOFError
        line = waiting.pop(0)
        stream.write(f"{question}{line}\n")
        return line

    log = Transcript(folder, "simulate", assistant.facts())
    Screen(config(), assistant, log, console=console, read=read).run()
    assert not waiting
    return stream.getvalue()


def test_a_proposal_is_shown_and_runs_when_it_is_agreed_to(meet: Meet) -> None:
    """Command, what it does, danger, the disk's name; then the stages that are done."""
    assistant = meet(call(UEFI[0]))
    seen = typed(assistant, "use the nvme", "r", "nvme0n1")
    assert "- writes a new partition table (GPT) on nvme0n1 (512 GB WD Black SN770)" in seen
    assert "Danger: destructive; data on nvme0n1 may be lost" in seen
    assert "Type the name of the disk, nvme0n1, to go on: nvme0n1" in seen
    assert "[x] partition  [ ] format" in seen
    assert len(assistant.state.disks[0].partitions) == 2


@pytest.mark.parametrize(
    "answers", [("c",), ("", "c"), ("r", "sda"), ("r", ""), ("r", "yes"), ("r",)]
)
def test_anything_else_runs_nothing(meet: Meet, answers: tuple[str, ...]) -> None:
    """Cancel, a wrong name, an empty line, the end of the input."""
    assistant = meet(call(UEFI[0]))
    typed(assistant, "use the nvme", *answers)
    assert assistant.state == EMPTY
    assert not any(turn["content"].startswith("$") for turn in assistant.history)


def test_what_is_harmless_needs_no_name(meet: Meet) -> None:
    """A command that loses nothing runs on `r` alone."""
    assistant = meet(call("mount /dev/sda1 /mnt"))
    seen = typed(assistant, "mount it", "r")
    assert "Type the name" not in seen and assistant.state.mounted_at("/mnt")


def test_an_edited_command_is_judged_anew(meet: Meet) -> None:
    """What the person makes of it is explained again, and refused when the guard refuses it."""
    assistant = meet(call("mount /dev/sda1 /mnt"), call("lsblk"))
    seen = typed(
        assistant, "mount it", "e", "mkfs.xfs -f /dev/sda1", "r", "sda", "again", "e",
        "mkfs.xfs /dev/sdz",
    )  # fmt: skip
    assert "- formats sda1 as xfs" in seen and "There is no /dev/sdz" in seen
    assert "/dev/sda1: 900M [xfs]" in assistant.facts()


def test_explain_tells_more(meet: Meet) -> None:
    """The facts that would change, and whether it can be taken back."""
    assistant = meet(call("mount /dev/sda1 /mnt"))
    seen = typed(assistant, "mount it", "x", "c")
    assert "+- /dev/sda1 on /mnt" in seen and "It can be taken back: umount /mnt" in seen


def test_undo_help_facts_stages_and_own_commands(meet: Meet) -> None:
    """What begins with / or $ does not go to the model."""
    assistant = meet(text("never asked"))
    seen = typed(
        assistant, "$ mount /dev/sda1 /mnt", "r", "/undo", "/undo", "/facts", "/stages", "/help",
        "/nonsense", "$ wipefs -a /dev/sdb", "/quit",
    )  # fmt: skip
    assert "/undo takes it back." in seen and "Done: umount /mnt" in seen
    assert "There is nothing to take back." in seen and "There is no /nonsense" in seen
    assert "## Available Disks" in seen and "I will not run this." in seen
    assert same(assistant.state, EMPTY) and "never asked" not in seen


def test_a_server_that_goes_away_does_not_end_the_chat(meet: Meet) -> None:
    """The error is shown, and the next message is asked as if nothing had been."""
    assistant = meet({"success": True}, text("Back again."))
    seen = typed(assistant, "hello", "hello?")
    assert "error: " in seen and "Back again." in seen


@pytest.mark.parametrize("width", [80, 200])
def test_it_fits_the_terminal(meet: Meet, width: int) -> None:
    """No line is wider than the terminal, and nothing but text is written without colours."""
    long = "mkdir -p " + " ".join(f"/mnt/a{number}/b/c/d" for number in range(20))
    assistant = meet(call(UEFI[0]), call(long), text("word " * 60))
    seen = typed(assistant, "use nvme0n1", "r", "nvme0n1", "more", "c", "tell me", width=width)
    assert all(len(line) <= width for line in seen.splitlines() if "> " not in line)
    assert seen.replace("\n", "").isprintable() and "\x1b" not in seen
    assert ("| - /dev/sdb" in seen) is (width == 200)


def test_text_in_pieces_is_broken_between_words() -> None:
    """However it is cut, the lines are the same; indentation and empty lines stay."""
    said = "one two three four\n\n  - five sixsixsixsixsixsix seven"
    for size in (1, 2, 5, 100):
        shown: list[str] = []
        flow = Flow(12, shown.append)
        for start in range(0, len(said), size):
            flow.push(said[start : start + size])
        assert flow.end()
        assert "".join(shown) == ("one two\nthree four\n\n  - five\nsixsixsixsix\nsixsix seven")
    assert not Flow(80, print).end()


def test_others_cannot_write_on_the_terminal(meet: Meet) -> None:
    """A disk's model with escape sequences, and text from the model, are shown as text."""
    state = SystemState.from_dict(
        {"disks": [{"name": "sda", "size": 500107862016, "table": "gpt",
                    "model": "\x1b]0;evil\x07[red]X\u202e"}]}
    )  # fmt: skip
    assistant = meet(call("wipefs -a /dev/sda"), text("[bold]hi[/bold] \x1b[31mred"), state=state)
    for width in (80, 200):
        seen = typed(assistant, "wipe", "c", "hi", "/facts", width=width)
        assert "\x1b" not in seen and "\x07" not in seen and "\u202e" not in seen
        assert "[red]X" in seen
    assert printable("a\x1b[2Jb\tc") == "a?[2Jb c"


def test_a_finished_machine_is_told(meet: Meet) -> None:
    """After the restart: whether it would start by itself."""
    assistant = meet(*(call(command) for command in UEFI))
    steps: list[str] = []
    said = {0: "erase nvme0n1", 5: "call it workshop", 6: "prague time", 7: "a user, vince"}
    for number, _ in enumerate(UEFI):
        steps += [said.get(number, "go on"), "r", *(["nvme0n1"] if number < 2 else [])]
    seen = typed(assistant, *steps)
    assert "The installation is complete" in seen and plan.problems(assistant.state) == ()


# The stage


def run(folder: Path, *overrides: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmkit.chat", *overrides], cwd=folder, input=typed, text=True,
        capture_output=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"},
    )  # fmt: skip


def test_a_script_runs_from_the_command_line(tmp_path: Path) -> None:
    """A server is started, the script is carried out with its corrections, the transcripts are
    there, the machine would start, and the server has ended."""
    pytest.importorskip("litserve")
    done = run(
        tmp_path, f"script={ROOT}/data/scripts/uefi_nvme.txt", "model=tiny", "adapter=none",
        "server.overrides=['engine.threads=1','engine.weights=plain']", "model.dtype=float32",
        "ask.max_tokens=8",
        "output_dir=out", "server.url=http://127.0.0.1:9",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "end state: it would start by itself" in done.stdout
    assert re.search(r"14 messages: .* 1[0-4] corrections, 0 failed", done.stdout)
    assert (tmp_path / "out/replay.sh").is_file() and "Traceback" not in done.stderr
    found = re.search(r"server: http://127\.0\.0\.1:(\d+), model tiny, started", done.stderr)
    assert found, done.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(found[1]))) != 0


@pytest.mark.parametrize(
    ("overrides", "said", "code"),
    [
        (("script=missing.txt",), "script=missing.txt: No such file", 2),
        (("script=s.txt", "execute=real"), "not carried out for real", 2),
        (("server.start=false", "server.url=http://127.0.0.1:9"), "no server answers", 1),
        (("server.url=nowhere", "server.start=false"), "should be like", 2),
        (("execute=perhaps",), "execute: should be", 2),
        (("model=tiny", "adapter=none", "model.chat_template=/nowhere.jinja",
          "server.url=http://127.0.0.1:9"), "nowhere.jinja", 1),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(
    tmp_path: Path, overrides: tuple[str, ...], said: str, code: int
) -> None:
    """One to three lines and the exit code of the kind; no traceback."""
    (tmp_path / "s.txt").write_text("hello\n")
    done = run(tmp_path, *overrides, "client.tries=1")
    assert said in done.stderr and done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_lines_from_a_pipe_are_a_conversation(tmp_path: Path) -> None:
    """Without a terminal lines are read as they come, with a server that runs already."""
    health = {"status": "ok", "model": "told"}
    answers = [
        says(200, health),
        says(200, b"data: " + json.dumps(call("lsblk")).encode() + b"\n\n"),
    ]
    with Told(*answers) as server:
        done = run(tmp_path, f"server.url={server.url}", "output_dir=o", typed="look\nr\n/quit\n")
    assert done.returncode == 0, done.stderr
    assert "proposed command" in done.stdout and "Done: lsblk" in done.stdout
    assert "Good-bye." in done.stdout and "already running" in done.stderr


class Terminal:
    """A pseudo terminal of 80×24 with the chat on it."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llmkit.chat", "colour=false", *overrides], cwd=folder,
            stdin=there, stdout=there, stderr=there, start_new_session=True,
            env={**os.environ, "TERM": "linux", "PROMPT_TOOLKIT_NO_CPR": "1"},
        )  # fmt: skip
        os.close(there)
        self.seen, self.found = "", 0

    def until(self, text: str, within: float = 60) -> None:
        """Read until the text is there, behind what was found before (one read may bring both)."""
        ends = time.monotonic() + within
        while (at := self.seen.find(text, self.found)) < 0:
            left = ends - time.monotonic()
            assert left > 0 and select.select([self.here], [], [], left)[0], self.seen[self.found :]
            self.seen += os.read(self.here, 4096).decode("utf-8", "replace")
        self.found = at + len(text)

    def type(self, line: str) -> None:
        os.write(self.here, f"{line}\r".encode())


def test_on_a_terminal(tmp_path: Path) -> None:
    """Lines are edited in place, Ctrl-C does not end it, Ctrl-D does; no colours are written."""
    pytest.importorskip("prompt_toolkit")
    health = says(200, {"status": "ok", "model": "told"})
    with Told(health, speaks(call("mkdir -p /mnt/data"))) as server:
        screen = Terminal(tmp_path, f"server.url={server.url}")
        try:
            screen.until("[ ] restart")
            screen.until(">")
            screen.type("make the folder")
            screen.until("ancel:")
            screen.type("e")
            screen.until("-p /mnt/data")
            os.write(screen.here, b"\x15lsblk\r")  # Ctrl-U: the line anew
            screen.until("ancel:")
            screen.type("r")
            screen.until("Done: lsblk")
            screen.until(">")
            os.write(screen.here, b"\x04")
            screen.until("Good-bye.")
            assert screen.process.wait(20) == 0
        finally:
            screen.process.kill()
            screen.process.wait()
            os.close(screen.here)
    styles = re.findall(r"\x1b\[([0-9;]*)m", screen.seen)
    assert not [s for s in styles if re.search(r"(^|;)(3[0-8]|4[0-8]|9[0-7]|10[0-7])(;|$)", s)]


def test_help_needs_no_network_package(tmp_path: Path) -> None:
    """--help imports neither torch nor the client's packages."""
    code = (
        "import sys; sys.argv = ['chat', '--help']; from llmkit.chat import main; main();"
        "print(sorted({'torch', 'httpx2', 'tenacity', 'prompt_toolkit'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]" and "disk" in done.stdout
