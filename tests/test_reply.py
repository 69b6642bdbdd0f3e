"""Replies: what is read as a command, what is text, and that nothing is repaired."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.config_prompt import CallStyle
from llmkit.reply import Reply, ReplyError, parse_reply, write_reply

HERE_DOC = "cat > /mnt/etc/hosts <<'EOF'\n127.0.0.1 localhost\n\n::1 localhost\nEOF"
# Pieces that the forms are made of, so that the fuzzer meets their corners.
PIECES = st.sampled_from(
    "$ |$|\n|```|```bash\n|<think>|</think>|<tool_call>|</tool_call>|call:|{|}|<escape>|lsblk -f| |\\"
    '|{"name": "run_shell_command", "arguments": {"command": "lsblk"}}'
    "|call:run_shell_command{command:<escape>ls<escape>}".split("|")
)
REPLIES = st.lists(PIECES | st.text(max_size=8), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("$ lsblk", "lsblk"),
        ("$ " + HERE_DOC, HERE_DOC),
        ("$ echo 'a  b' ", "echo 'a  b' "),
        ('<tool_call>{"name": "run_shell_command", "arguments": {"command": "ls"}}</tool_call>', "ls"),
        (
            'Listing.\n<tool_call>\n{"name":"run_shell_command","arguments":{"command":"a\\nb"}}\n'
            "</tool_call>",
            "a\nb",
        ),
        ("call:run_shell_command{command:<escape>echo {a,b}<escape>}", "echo {a,b}"),
        ("```bash\nlsblk -f\n```", "lsblk -f"),
        ("Try this:\n```sh\nmkdir -p /mnt\nmount /dev/sda2 /mnt\n```\nand tell me.",
         "mkdir -p /mnt\nmount /dev/sda2 /mnt"),
        ("To list them:\n$ lsblk\nThen we go on.", "lsblk"),
        ("\n$ " + HERE_DOC, HERE_DOC),
        ("```console\n$ lsblk\nsda 8:0\n```", "lsblk"),
    ],
)  # fmt: skip
def test_every_form_of_a_command_is_read(text: str, command: str) -> None:
    """Each form that models write gives the command, byte for byte."""
    reply = parse_reply(text)
    assert (reply.type, reply.command, reply.problem) == ("command", command, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<tool_call>{"name": "run_shell_command", "arguments": {"command": "ls}}</tool_call>', "JSON"),
        ('<tool_call>{"name": "run_shell_command", "arguments": {"command": "ls"}}', "end"),
        ('<tool_call>{"name": "format_disk", "arguments": {"command": "ls"}}</tool_call>', "format_disk"),
        ('<tool_call>{"name": "run_shell_command", "arguments": {}}</tool_call>', "without"),
        ('<tool_call>{"name": "run_shell_command", "arguments": "ls"}</tool_call>', "object"),
        ("```bash\nlsblk\n```\n```bash\nblkid\n```", "2 commands"),
        ("```bash\nlsblk\n```\n$ wipefs -a /dev/sda", "2 commands"),
        (
            '<tool_call>{"name":"run_shell_command","arguments":{"command":"ls"}}</tool_call>\n$ id',
            "2 commands",
        ),
        (
            '<tool_call>{"name":"run_shell_command","arguments":{"command":"a","command":"b"}}'
            "</tool_call>",
            "twice",
        ),
        ("call:run_shell_command{command:<escape>a<escape>,command:<escape>b<escape>}", "twice"),
        (
            '<tool_call>{"name":"run_shell_command","arguments":{"command":"a\\ud800"}}</tool_call>',
            "without",
        ),
        ("So:\n$ cat > f <<EOF\nx\nEOF", "several lines"),
        ("```bash\nlsblk", "end"),
        ("$ ", None),
        ("$lsblk", None),
        ("call:run_shell_command{command: ls}", "read"),
        ("<think>it never ends", "reasoning"),
    ],
)  # fmt: skip
def test_malformed_calls_are_text(text: str, problem: str | None) -> None:
    """What is not exactly one well-formed command is text, with the reason."""
    reply = parse_reply(text)
    assert reply.type == "text" and reply.command is None
    assert (reply.problem is None) if problem is None else problem in (reply.problem or "")


@pytest.mark.parametrize(
    "piece", ["<tool_call>", "</tool_call><tool_call>", "```bash\n", "call:a{"]
)
def test_reading_takes_one_pass(piece: str) -> None:
    """A long reply of marks that never close is read in linear time (minutes before)."""
    assert parse_reply(piece * 20_000).type == "text"


def test_reasoning_is_kept_apart() -> None:
    """<think>…</think> before an answer becomes `thinking`."""
    reply = parse_reply("<think>\nOne disk.\n</think>\n\n$ lsblk")
    assert (reply.thinking, reply.command) == ("One disk.", "lsblk")


@given(REPLIES)
def test_any_text_can_be_read(text: str) -> None:
    """Reading never raises, and a command stands in the reply as the model wrote it."""
    reply = parse_reply(text)
    assert isinstance(reply, Reply)
    if reply.type == "command":
        assert reply.command is not None and reply.command.strip()
        quoted = json.dumps(reply.command, ensure_ascii=False)[1:-1]
        ascii_only = json.dumps(reply.command)[1:-1]
        assert any(form in text for form in (reply.command, quoted, ascii_only))
    else:
        assert reply.command is None


ANSWERS = st.one_of(
    st.builds(
        lambda command: {"type": "command", "command": command},
        st.text(min_size=1).filter(str.strip) | st.just(HERE_DOC) | REPLIES.filter(str.strip),
    ),
    st.builds(
        lambda response: {"type": "text", "response": response},
        st.text(min_size=1).filter(str.strip) | REPLIES.filter(str.strip),
    ),
)


@given(ANSWERS, st.sampled_from(CallStyle), st.text(max_size=20))
def test_what_is_written_is_read_again(
    expected: dict[str, str], style: CallStyle, thought: str
) -> None:
    """Writing then reading is the identity, or the answer is refused."""
    if thought.strip():
        expected = expected | {"thinking": thought}
    try:
        text = write_reply(expected, style)
    except ReplyError:
        return
    reply = parse_reply(text)
    assert reply.type == expected["type"]
    assert reply.command == expected.get("command")
    if reply.type == "text":
        assert reply.response == expected["response"].strip()
    assert (reply.thinking or "") == thought.strip()


@given(
    st.text(st.characters(exclude_characters="<`$"), min_size=1).filter(str.strip),
    st.sampled_from(CallStyle),
)
def test_ordinary_answers_are_never_refused(words: str, style: CallStyle) -> None:
    """A command or a text without marks of another form can always be written."""
    write_reply({"type": "command", "command": words}, style)
    if "call:" not in words:
        write_reply({"type": "text", "response": words}, style)


@pytest.mark.parametrize("text", ["$ lsblk", "Run:\n$ lsblk", "```bash\nls\n```"])
def test_a_text_that_reads_as_a_command_is_refused(text: str) -> None:
    """An answer that explains must not be run: it cannot be written as text."""
    with pytest.raises(ReplyError, match="read as the command"):
        write_reply({"type": "text", "response": text}, CallStyle.shell)
