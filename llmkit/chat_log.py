"""What was said and done: a transcript as JSON lines, and a shell script that does it again.

    log = Transcript(Path("out"), "simulate", facts)
    log.add("message", text="use the bigger disk")
    log.ran(ran, "use the bigger disk")

Each event is one line, written at once, so that what happened before a power cut can be read. The
script holds the commands that succeeded, in order, each with the message that led to it. It stops at
the first that fails, and asks before it begins, since it erases what the conversation erased. Both
are readable for their owner alone: a command may hold a password.
"""

from __future__ import annotations

import datetime
import os
import shlex
from pathlib import Path
from typing import Any

import orjson

from llmkit.chat_types import Ran
from llmkit.errors import OutputError
from llmkit.output import write_whole

_HEAD = """\
#!/bin/bash
# The commands of a conversation with `python -m llmkit.chat`, in order (execute={execute}).
# It was held about this machine, and is right for no other:
#
{facts}
#
# Run it as root on the live system; LLMKIT_REPLAY=yes leaves out the question.
ok() {{  # not set -e, which does not see that the first of A && B failed
  status=$?
  [ $status = 0 ] || {{ echo "stopped: the last command failed ($status)" >&2; exit $status; }}
}}
if [ "$LLMKIT_REPLAY" != yes ]; then
  printf 'This may erase disks. Type yes to go on: '
  read -r answer
  [ "$answer" = yes ] || exit 1
fi
"""


class Transcript:
    """Writes transcript.jsonl and replay.sh into `folder`; keeps nothing when that is None."""

    def __init__(self, folder: Path | None, execute: str, facts: str) -> None:
        self._folder, self._execute = folder, execute
        self._facts = facts
        self._lines: list[str] = []
        if folder is None:
            return
        self._path = folder / "transcript.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise OutputError(self._path, "a transcript is there already") from None
        except OSError as error:
            raise OutputError(self._path, error) from error
        self.add("start", execute=execute, facts=facts)
        self._write_script()

    def add(self, event: str, **fields: Any) -> None:
        """One event."""
        if self._folder is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = orjson.dumps({"time": now, "event": event, **fields}) + b"\n"
        try:
            with self._path.open("ab") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(self._path, error) from error

    def ran(self, ran: Ran, message: str) -> None:
        """A command that was carried out."""
        self.add("run", command=ran.command, status=ran.status, output=ran.output, error=ran.error,
                 undo=ran.undo)  # fmt: skip
        if ran.status == 0:
            self._lines.append(f"\n# {_comment(message)}\n{_line(ran.command)}\nok\n")
            self._write_script()

    def _write_script(self) -> None:
        if self._folder is None:
            return
        facts = "\n".join(f"#   {_comment(line)}".rstrip() for line in self._facts.splitlines())
        text = _HEAD.format(execute=self._execute, facts=facts) + "".join(self._lines)
        path = self._folder / "replay.sh"
        write_whole(path, text)
        path.chmod(0o700)


def _comment(text: str) -> str:
    """One line that cannot end the comment that it stands in."""
    return "".join(char if char.isprintable() else " " for char in text)


def _line(command: str) -> str:
    """A command that leaves nothing behind for the next one: each ran in a shell of its own."""
    plain = "\n" not in command and not command.rstrip().endswith(("\\", "&"))
    words = set(shlex.split(command, comments=True)) if plain and _splits(command) else None
    if words is not None and not words & {"cd", "exit", "exec", "set", "export", "shopt", "trap"}:
        return command
    return f"bash -c {shlex.quote(command)}"


def _splits(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True
