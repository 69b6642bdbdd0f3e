"""A conversation from a file: `script=FILE`.

    # comments and empty lines are passed over
    hello => # Hello! Shall I show you the disks?
    show me the disks
    use nvme0n1 => sgdisk -Z /dev/nvme0n1 && sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 /dev/nvme0n1

One message a line. What is proposed is carried out without asking. Behind ` => ` stands what is
right: a command, or `# text` where nothing is to run. It takes the place of an answer that comes to
something else on the machine as it is then, and that counts as a correction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llmkit.chat_log import Transcript
from llmkit.chat_types import Assistant, Ran, Refused, Turn
from llmkit.errors import ConfigError

_ARROW = " =>"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Line:
    """A message. `right` is the command that should come of it, `reply` the text; None: as it
    comes."""

    number: int
    message: str
    right: str | None = None
    reply: str | None = None


def read_script(path: Path) -> list[Line]:
    """The lines of a script; ConfigError names the line that is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"script={path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"script={path}: not UTF-8 at byte {error.start}") from error
    found = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        message, arrow, right = f" {line}".partition(_ARROW)
        message, right = message.strip(), right.strip()
        if not message or arrow and not right:
            raise ConfigError(
                f"script={path}: line {number}: should be MESSAGE, MESSAGE => COMMAND"
                " or MESSAGE => # TEXT"
            )
        if not arrow:
            found.append(Line(number, message))
        elif right.startswith("#"):
            found.append(Line(number, message, reply=right[1:].strip()))
        else:
            found.append(Line(number, message, right=right))
    if not found:
        raise ConfigError(f"script={path}: holds no message")
    return found


@dataclass(slots=True)
class Report:
    """What came of a script."""

    messages: int = 0
    proposals: int = 0  # commands that the model proposed
    carried_out: int = 0
    blocked: int = 0  # commands that the guard did not let through
    corrections: list[str] = field(default_factory=list)  # "line 3: …"
    failed: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For the end."""
        yield (
            f"{self.messages} messages: {self.proposals} commands proposed, {self.blocked} blocked,"
            f" {self.carried_out} carried out; {len(self.corrections)} corrections,"
            f" {len(self.failed)} failed"
        )
        yield from self.corrections
        yield from self.failed


def play(lines: list[Line], assistant: Assistant, log: Transcript, say: Say) -> Report:
    """Hold the conversation. ServerError when the server does not answer any more."""
    report = Report()
    for line in lines:
        report.messages += 1
        say(f"> {line.message}")
        log.add("message", text=line.message)
        turn = assistant.ask(line.message)
        _record(turn, log)
        report.proposals += turn.command is not None or turn.blocked is not None
        report.blocked += turn.blocked is not None
        _one(line, turn, assistant, log, say, report)
        say("")
    return report


def _one(
    line: Line, turn: Turn, assistant: Assistant, log: Transcript, say: Say, report: Report
) -> None:
    if line.right is None and line.reply is None:
        if turn.command is None:
            say(turn.text)
        else:
            _carry_out(turn, line, assistant, log, say, report)
        return
    said = turn.command or turn.blocked or turn.text
    if line.reply is not None:
        if turn.command is not None:
            _correct(line, said, f"# {line.reply}", log, say, report)
            assistant.cancel(line.reply)
        say(line.reply if turn.command is not None else turn.text)
        return
    assert line.right is not None
    if turn.command is not None and assistant.same(turn.command, line.right):
        _carry_out(turn, line, assistant, log, say, report)
        return
    _correct(line, said, line.right, log, say, report)
    wanted = assistant.consider(line.right)
    if wanted.command is None:
        report.failed.append(f"line {line.number}: {line.right}: {wanted.text}")
        say(wanted.text)
        return
    _carry_out(wanted, line, assistant, log, say, report)


def _record(turn: Turn, log: Transcript) -> None:
    if turn.command is not None and turn.explanation is not None:
        log.add("proposal", command=turn.command, danger=turn.explanation.danger,
                lines=turn.explanation.lines, destroys=turn.explanation.destroys)  # fmt: skip
    else:
        log.add("text", text=turn.text, blocked=turn.blocked)


def _correct(line: Line, said: str, right: str, log: Transcript, say: Say, report: Report) -> None:
    report.corrections.append(f"line {line.number}: corrected: {_short(said)} -> {_short(right)}")
    log.add("correction", answer=said, right=right)
    say(f"  (corrected; the answer was: {_short(said)})")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 160 else text[:157] + "..."


def _carry_out(
    turn: Turn, line: Line, assistant: Assistant, log: Transcript, say: Say, report: Report
) -> None:
    assert turn.command is not None
    say(f"$ {turn.command}")
    for text in turn.explanation.lines if turn.explanation else ():
        say(f"  - {text}")
    try:
        ran = assistant.run(turn.command)
    except Refused as refused:
        ran = Ran(turn.command, 1, error=str(refused))
    log.ran(ran, line.message)
    if ran.status:
        report.failed.append(f"line {line.number}: {turn.command}: {ran.error or ran.status}")
        say(f"  failed: {ran.error or ran.status}")
    else:
        report.carried_out += 1
