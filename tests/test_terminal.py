"""The chat on real terminals: tmux, at 80×24 and at 200×60, with a server that answers as told.

    python -m pytest -q tests/test_terminal.py
    LLMKIT_SHOTS=/tmp/shots python -m pytest -q tests/test_terminal.py    # keeps pictures of the screens

Skipped without tmux. The pictures need Pillow and the DejaVu fonts.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("prompt_toolkit")

from tests.terminal import Tmux
from tests.test_assistant import UEFI, call, speaks, text
from tests.test_client import Told, says

ROOT = Path(__file__).resolve().parent.parent
HELLO = (
    "Hello! I can help you install Linux on this machine. There is one disk, nvme0n1, and it is"
    " empty; the USB stick is what you started from. Shall I partition nvme0n1 for UEFI?"
)
ABSENT = speaks(call("wipefs -a /dev/sdz"))
ANSWERS = (
    says(200, {"status": "ok", "model": "told"}),
    speaks(text(HELLO)),
    speaks(text("")),  # asked whether a command was likely: none was
    *(speaks(call(command)) for command in UEFI[:3]),
    *[ABSENT] * 9,
)
SIZES = {"80x24": (80, 24), "200x60": (200, 60), "80x24-plain": (80, 24)}
CHOICES = "[r]un  [e]dit  e[x]plain  [c]ancel:"


@pytest.fixture(params=list(SIZES))
def chat(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tmux]:
    """A chat that has begun."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    width, height = SIZES[request.param]
    with Told(*ANSWERS) as server:
        words = [sys.executable, "-m", "llmkit.chat", f"server.url={server.url}",
                 "disk=nvme_single", "boot=uefi", f"colour={'plain' not in request.param}".lower(),
                 f"hydra.run.dir={tmp_path}"]  # fmt: skip
        terminal = Tmux(width, height, words, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
        try:
            terminal.until("0 of 12 stages done")
            yield terminal
        finally:
            terminal.close()


def test_a_conversation_on_a_terminal(chat: Tmux, request: pytest.FixtureRequest) -> None:
    """Partition, format, mount, a disk that is not there, undo. What has to be decided on is on the
    screen, the cursor stands behind the question, the toolbar below it says how far we are, and the
    terminal never has to wrap a line."""
    name = request.node.callspec.params["chat"]
    shots = os.environ.get("LLMKIT_SHOTS")
    taken: list[str] = []

    def seen(part: str, prompt: str = ">") -> str:
        assert chat.waits(prompt), chat.screen()
        lines = chat.screen()
        if prompt == ">":
            assert re.search(r"\d+ of 12 stages done; next: ", lines[-1])
        assert all(len(line) <= chat.width for line in chat.written())
        if name.endswith("plain"):
            assert not re.search(r"\x1b\[[0-9;]*\b[349][0-7]\b", chat.raw())
        if shots:
            Path(shots).mkdir(parents=True, exist_ok=True)
            chat.picture(Path(shots) / f"{name}_{len(taken)}_{part}.png")
        taken.append(part)
        return "\n".join(lines)

    start = seen("start")
    assert "/dev/nvme0n1: 476.9G" in start and "[ ] partition" in start and "nothing real" in start
    assert ("- stages -" in start and "- facts -" in start) is (chat.width == 200)

    chat.type("hello")
    chat.until("for UEFI?")
    chat.until("> ")
    assert HELLO.split()[-1] in seen("text")

    chat.type("yes, everything on it can go")
    chat.until(CHOICES)
    proposal = seen("proposal", "[c]ancel:")
    for words in ("sgdisk -Z /dev/nvme0n1", "writes a new partition table (GPT)",
                  "creates 2 partitions on nvme0n1", "Danger: destructive"):  # fmt: skip
        assert words in proposal

    chat.type("r")
    chat.until("Type the name of the disk, nvme0n1, to go on:")
    seen("name", "to go on:")
    chat.type("nvme0n1")
    chat.until("1 of 12 stages done; next: format")
    assert "[x] partition" in seen("partitioned")

    chat.type("format them")
    chat.until("formats nvme0n1p2 as ext4")
    chat.until(CHOICES)
    chat.type("x")
    chat.until("It cannot be taken back.")
    chat.until(f"{CHOICES} x")
    chat.until("- formats nvme0n1p1 as FAT")
    seen("explained", "[c]ancel:")
    chat.type("r")
    chat.until("Type the name of the disk, nvme0n1, to go on:")
    chat.type("nvme0n1")
    chat.until("2 of 12 stages done; next: mount")

    chat.type("mount them")
    chat.until("- mounts nvme0n1p1 at /mnt/boot/efi")
    chat.until(CHOICES)
    chat.type("r")
    chat.until("3 of 12 stages done; next: copy")
    assert "/undo takes it back." in seen("mounted")

    chat.type("wipe the other one")
    chat.until("There is no /dev/sdz")
    chat.until("3 of 12 stages done")
    assert "wipefs" not in seen("blocked")

    chat.type("/undo")
    chat.until("2 of 12 stages done; next: mount")
    assert "Done: umount /mnt/boot/efi" in seen("undone")
