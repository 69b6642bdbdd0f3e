"""The assistant asks again for a command that could never work, and shows one answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("tenacity")

from llmkit.chat import asker
from llmkit.client import Client
from llmkit.config_chat import ChatAskConfig, RetryConfig
from llmkit.installer.assistant import Assistant
from tests.test_assistant import EMPTY, UEFI, Recorded, call, speaks, text
from tests.test_chat import typed
from tests.test_client import QUICK, Act, Told, says, streams

ABSENT = "mkfs.ext4 -F /dev/nvme0n1p7"
Meet = Callable[..., tuple[Assistant, Told]]


@pytest.fixture
def meet() -> Iterator[Meet]:
    """An assistant with so many tries, whose server acts like this in turn."""
    opened: list[Any] = []

    def make(*answers: Any, tries: int = 3, tool_threshold: float = 1.0) -> tuple[Assistant, Told]:
        acts = [speaks(answer) if isinstance(answer, dict) else answer for answer in answers]
        server = Told(*acts).__enter__()
        client = Client(server.url, QUICK)
        opened.extend([server, client])
        cfg = ChatAskConfig(
            history=40, max_tokens=64, temperature=0.0, tries=tries,
            retry=RetryConfig(temperature=0.7, top_p=0.9), tool_threshold=tool_threshold,
        )  # fmt: skip
        return Assistant(asker(client), Recorded(EMPTY), cfg), server

    yield make
    for thing in opened:
        thing.__exit__(None, None, None)


def leads_up(words: str, command: str) -> Act:
    """A stream of text that ends in a command."""
    events = [{"delta": words}, call(command)]
    return streams(*(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events))


def how(server: Told) -> list[tuple[float, float | None, int | None]]:
    """Temperature, top_p and seed of each request."""
    return [
        (body["temperature"], body.get("top_p"), body.get("seed"))
        for body in (asked["body"] for asked in server.asked)
    ]


def test_the_first_answer_that_can_be_proposed_is_taken(meet: Meet) -> None:
    """Greedy, then seeds 1 and 2; the same messages; only the taken one is in the history."""
    assistant, server = meet(call(ABSENT), call(f"{ABSENT}1"), call("mkfs.ext4 -F /dev/sda1"))
    turn = assistant.ask("format the root partition on sda")
    assert turn.command == "mkfs.ext4 -F /dev/sda1" and turn.explanation is not None
    assert how(server) == [(0.0, None, None), (0.7, 0.9, 1), (0.7, 0.9, 2)]
    assert len({json.dumps(asked["body"]["messages"]) for asked in server.asked}) == 1
    assert len(assistant.history) == 2


def test_when_none_can_the_first_objection_is_the_answer(meet: Meet) -> None:
    """So many tries and no more, and the text is about the first command."""
    assistant, server = meet(call(ABSENT), call("mkfs.ext4 -F /dev/nvme0n1p8"))
    turn = assistant.ask("format it")
    assert turn.command is None and turn.blocked == ABSENT
    assert "/dev/nvme0n1p7" in turn.text and "p8" not in turn.text
    assert len(server.asked) == 3
    assert assistant.history[-1] == {"role": "assistant", "content": turn.text}


def test_a_text_ends_the_tries_and_the_objection_stands(meet: Meet) -> None:
    """What was drawn may be untrue; that the device is not there is not."""
    assistant, server = meet(call(ABSENT), text("nvme0n1p7 holds Windows."), call("lsblk"))
    turn = assistant.ask("format it")
    assert turn.command is None and turn.blocked == ABSENT and "There is no" in turn.text
    assert len(server.asked) == 2


def test_a_line_that_the_review_knows_is_proposed(meet: Meet) -> None:
    """In place of the model's own, which is told; one request."""
    assistant, server = meet(call("mkfs.btrfs -f /dev/sda1"), call("lsblk"))
    turn = assistant.ask("format sda1 with ext4")
    assert turn.command == "mkfs.ext4 -F /dev/sda1" and turn.blocked is None
    assert turn.explanation is not None and len(server.asked) == 1
    assert any("mkfs.btrfs -f /dev/sda1" in line for line in turn.explanation.lines)
    ran = assistant.run(turn.command)
    assert ran.command == "mkfs.ext4 -F /dev/sda1"
    assert assistant.history[-1]["content"] == "$ mkfs.ext4 -F /dev/sda1"


@pytest.mark.parametrize("answer", [text("Hello!"), call("lsblk"), call(UEFI[0])])
def test_what_stands_is_not_asked_again(meet: Meet, answer: dict[str, Any]) -> None:
    """Text, a command that looks, and a plan that a person has yet to confirm: one request."""
    assistant, server = meet(answer)
    turn = assistant.ask("set up the nvme0n1 disk, erase it")
    assert turn.blocked is None and len(server.asked) == 1


def test_a_text_that_is_not_so_is_asked_for_again(meet: Meet) -> None:
    """A command that can be proposed is taken; a second text is not, and the truth is said."""
    false = text("The root is /dev/sda2f10.")
    assistant, server = meet(false, call("lsblk"), false, text("It is /dev/sda."))
    assert assistant.ask("where is it?").command == "lsblk"
    turn = assistant.ask("and now?")
    assert turn.text == "There is no /dev/sda2f10. What shall I do?" and turn.blocked is None
    assert len(server.asked) == 4
    assert assistant.history[-1] == {"role": "assistant", "content": turn.text}


def test_a_text_that_nearly_was_a_command_is_proposed(meet: Meet) -> None:
    """The second request must call the tool, if it is likely; the first answer is not kept."""
    assistant, server = meet(
        text("Shall I copy it?"), call("mount /dev/sda1 /mnt"), tool_threshold=0.2
    )
    turn = assistant.ask("put sda1 at /mnt")
    assert turn.command == "mount /dev/sda1 /mnt"
    first, second = (asked["body"] for asked in server.asked)
    assert "tool_threshold" not in first
    assert (second["tool_choice"], second["tool_threshold"], second["temperature"]) == (
        "required", 0.2, 0.0
    )  # fmt: skip
    assert [message["role"] for message in assistant.history] == ["user", "assistant"]


def test_a_text_that_is_not_so_gives_way_to_a_deed_that_may_be_proposed(meet: Meet) -> None:
    """The message need not name what it works on; a question is no wish, and a loss is still asked about."""
    false = text("There is no /dev/sda1 here.")
    assistant, server = meet(false, call("mount /dev/sda1 /mnt"), tool_threshold=0.2)
    assert assistant.ask("put it at /mnt").command == "mount /dev/sda1 /mnt"
    assert len(server.asked) == 2
    for said, line in (
        ("what is at /mnt?", "mount /dev/sda1 /mnt"),
        ("format it", "mkfs.xfs -f /dev/sda1"),
    ):
        assistant, server = meet(false, call(line), text("Hm."), tool_threshold=0.2, tries=2)
        assert assistant.ask(said).text == "/dev/sda1 is there. What shall I do?"
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("said", "second"),
    [
        ("format sda1 with ext4", text("")),  # it was not likely
        ("format sda1 with ext4", says(400, {"success": False, "error": "unknown field"})),
        ("what is mkfs?", call("mkfs.ext4 -F /dev/sda1")),  # the message does not name it
        ("is sda1 ext4?", call("mkfs.ext4 -F /dev/sda1")),  # it asks
        ("nvme0n1 maybe", call(UEFI[0])),  # nobody agreed
        ("format sda1 with ext4", call("mkfs.ext4 -F /dev/sda1")),  # it would lose what is there
    ],
)
def test_else_the_text_stands(meet: Meet, said: str, second: Any) -> None:
    """An empty answer, an older server, a command that nobody asked for."""
    assistant, server = meet(text("Which disk?"), second, tool_threshold=0.2)
    turn = assistant.ask(said)
    assert turn.text == "Which disk?" and turn.command is None and turn.blocked is None
    assert len(server.asked) == 2 and assistant.history[-1]["content"] == "Which disk?"


def test_one_try_is_one_request(meet: Meet) -> None:
    """tries=1: the objection at once."""
    assistant, server = meet(call(ABSENT), call("lsblk"), tries=1)
    assert assistant.ask("format it").blocked == ABSENT
    assert len(server.asked) == 1


def test_half_a_command_is_asked_for_again(meet: Meet) -> None:
    """What was cut off within a command says nothing; the next try may end."""
    cut = {**text("$ rm -rf /mnt/ho"), "finish_reason": "length"}
    assistant, _ = meet(cut, call("lsblk"), cut, text("Which folder?"))
    assert assistant.ask("look").command == "lsblk"
    assert assistant.ask("delete it").text == "Which folder?"


def test_a_server_that_fails_at_a_second_try_leaves_the_first_objection(meet: Meet) -> None:
    """There is an answer already; it is not thrown away."""
    assistant, server = meet(call(ABSENT), says(500, {"success": False, "error": "broken"}))
    turn = assistant.ask("format it")
    assert turn.blocked == ABSENT and "/dev/nvme0n1p7" in turn.text
    assert len(server.asked) == 2 and len(assistant.history) == 2


def test_two_answers_are_never_shown(meet: Meet) -> None:
    """Only the first try streams; what is shown behind its words is the objection, once."""
    assistant, server = meet(leads_up("Sure:", ABSENT), text("Which disk?"))
    shown = typed(assistant, "format it")
    assert shown.count("Sure:") == shown.count("There is no") == 1
    assert "Which disk?" not in shown
    assert [bool(asked["body"].get("stream")) for asked in server.asked] == [True, False]


def test_a_later_proposal_is_shown_once(meet: Meet) -> None:
    """The command that is taken, and nothing of those before it."""
    assistant, _ = meet(call(ABSENT), call("lsblk -f"))
    shown = typed(assistant, "look", "c")
    assert shown.count("lsblk -f") == 1 and "nvme0n1p7" not in shown


def test_an_objection_is_shown_behind_words_that_were_streamed(meet: Meet) -> None:
    """ "Sure:" and then nothing would leave the person in the dark."""
    assistant, _ = meet(leads_up("Sure:", ABSENT), tries=1)
    shown = typed(assistant, "format it")
    assert "/dev/nvme0n1p7" in shown and shown.index("Sure:") < shown.index("There is no")


def test_which_disk_is_asked_and_consent_is_not(meet: Meet) -> None:
    """Of two disks one has to be named; that the named one is erased is confirmed by its name."""
    assistant, server = meet(call(UEFI[0]))
    turn = assistant.ask("partition")
    assert turn.command is None and turn.text.startswith("Which disk: nvme0n1 (")
    assert "sda (" in turn.text and len(server.asked) == 1
    turn = assistant.ask("can you partition nvme0n1?")
    assert turn.command == UEFI[0]
    assert turn.explanation is not None and turn.explanation.needs_confirmation
