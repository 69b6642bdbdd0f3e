"""The conversation on a terminal: what was said, proposals, stages, facts.

    Screen(cfg, assistant, log).run()

Printed line by line, so that it scrolls, can be copied, and works on a console of 80×24 without
colours; only the line that is typed is edited in place (prompt_toolkit). Without a terminal, lines are
read from standard input. Everything that others wrote (the model, disks, files) is shown without
control characters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from llmkit.chat_log import Transcript
from llmkit.chat_text import Flow, printable
from llmkit.chat_types import Assistant, Ran, Refused, Stage, Turn
from llmkit.client_wire import ServerError
from llmkit.config_chat import ChatConfig, Execute
from llmkit.errors import MissingExtra

_WIDE = 120  # columns from which stages and facts stand side by side
_MARGIN = 2
_HELP = """\
Say what you want in your own words. What is proposed runs only when you say so.
  $ COMMAND   propose a command of your own
  /facts      the machine, as the assistant sees it
  /stages     the installation, and what is done
  /undo       take the last command back, where that is possible
  /help       this
  /quit       leave (also Ctrl-D)"""
_MODES = {
    Execute.simulate: "simulate: a made-up machine, nothing real is touched",
    Execute.dry: "dry: commands are printed, nothing runs",
    Execute.real: "REAL: commands run on this machine",
}

_CHOICES = {
    "r": ("r", "run", "y", "yes"),
    "e": ("e", "edit"),
    "x": ("x", "explain", "?"),
    "c": ("c", "cancel", "n", "no"),
}


class Read(Protocol):
    """Gives the line that is typed behind a question; `text` stands there to be edited."""

    def __call__(self, question: str, text: str = "") -> str: ...


class Leave(Exception):
    """The person is done."""


class Screen:
    """One conversation. `read` gives a line for a question; EOFError ends it."""

    def __init__(
        self,
        cfg: ChatConfig,
        assistant: Assistant,
        log: Transcript,
        *,
        console: Console | None = None,
        read: Read | None = None,
    ) -> None:
        self.cfg, self.assistant, self.log = cfg, assistant, log
        plain = not cfg.colour or bool(os.environ.get("NO_COLOR"))
        self.console = console or Console(no_color=plain, highlight=False, emoji=False)
        if console is None:
            reconfigure = getattr(sys.stdout, "reconfigure", None)
            if reconfigure is not None:  # a console in the C locale shows what it can
                reconfigure(errors="replace")
        self._read = read or reader(plain, self._toolbar)
        self._shown: tuple[Stage, ...] = ()

    def run(self) -> None:
        """Until the person leaves."""
        self._say(Rule(Text("llmkit chat"), characters="-", style="none"))
        self._say(Text(f"{_MODES[self.cfg.execute]}. /help tells what can be typed."))
        if self.console.width < _WIDE:
            self._block(self.assistant.facts())
        self.overview()
        while True:
            try:
                message = self._read("> ").strip()
            except EOFError:
                break
            try:
                if message:
                    self.one(message)
            except Leave:
                break
            except KeyboardInterrupt:
                self._say(Text("(stopped; /quit or Ctrl-D leaves)"))
            except ServerError as error:
                self._say(Text(f"error: {printable(str(error))}", style="bold"))
        self.log.add("end", problems=self.assistant.problems(), finished=self.assistant.finished())
        self._say(Text("Good-bye."))

    def one(self, message: str) -> None:
        """One line of the person's."""
        word, _, rest = message.partition(" ")
        if word == "$" and rest.strip():
            self.log.add("own command", command=rest.strip())
            self._proposal(self.assistant.consider(rest), f"(typed) {rest.strip()}")
        elif message.startswith("/"):
            self._slash(message)
        else:
            self.log.add("message", text=message)
            self._proposal(self._ask(message), message)

    # What the person may type

    def _slash(self, message: str) -> None:
        match message.split()[0]:
            case "/facts":
                self._block(self.assistant.facts())
            case "/stages":
                self._say(*self._stage_lines(self.assistant.stages(), details=True))
            case "/undo":
                self._undo()
            case "/help":
                self._block(_HELP)
            case "/quit" | "/exit":
                raise Leave
            case other:
                self._say(Text(f"There is no {printable(other)}; /help tells what there is."))

    def _undo(self) -> None:
        last = self.assistant.last_command()
        try:
            ran = self.assistant.undo(self._output)
        except Refused as refused:
            self._say(Text(printable(str(refused))))
            return
        if ran is None:
            said = (
                f"This cannot be taken back: {last}" if last else "There is nothing to take back."
            )
            self._say(Text(printable(said)))
            return
        self._ran(ran, f"(undo) {last}")

    # A message and what comes of it

    def _ask(self, message: str) -> Turn:
        flow = Flow(self.console.width, self._write)
        written: list[str] = []

        def show(piece: str) -> None:
            written.append(piece)
            flow.push(piece)

        turn = self.assistant.ask(message, show)
        if flow.end():
            self._write("\n")
        # what led up to a command that was not let through is not the answer
        if turn.command is None and "".join(written).split() != turn.text.split():
            self._block(turn.text)
        return turn

    def _proposal(self, turn: Turn, message: str) -> None:
        """Show what is proposed, until it has run or is cancelled."""
        while True:
            if turn.command is None:
                self.log.add("text", text=turn.text, blocked=turn.blocked)
                if turn.blocked is not None and turn.answer is None:
                    self._block(turn.text)
                return
            command = turn.command
            assert turn.explanation is not None
            self.log.add("proposal", command=turn.command, danger=turn.explanation.danger,
                         lines=turn.explanation.lines, destroys=turn.explanation.destroys)  # fmt: skip
            self._show(turn)
            choice = self._choice()
            if choice == "r":
                if self._sure(turn):
                    self._run(turn.command, message)
                else:
                    self._cancel()
                return
            if choice == "e":
                edited = self._line("command: ", turn.command)
                if edited is None:
                    self._cancel()
                    return
                self.log.add("edit", command=edited)
                turn = self.assistant.consider(edited)
                continue
            if choice == "x":
                self._block("\n".join(self.assistant.details(command)))
                continue
            self._cancel()
            return

    def _show(self, turn: Turn) -> None:
        found = turn.explanation
        assert found is not None and turn.command is not None
        self._say(Rule(Text("proposed command"), characters="-", align="left", style="none"))
        for line in turn.command.split("\n"):
            self._say(Padding(Text(printable(line), style="bold"), (0, 0, 0, _MARGIN)))
        self._say(Text("It would do this:"))
        for line in found.lines:
            self._say(_item(line))
        danger = f"Danger: {found.danger}"
        if found.destroys:
            danger += f"; data on {', '.join(found.destroys)} may be lost"
        self._say(Text(danger, style="bold red" if found.needs_confirmation else "none"))

    def _choice(self) -> str:
        while True:
            said = self._line("[r]un  [e]dit  e[x]plain  [c]ancel: ")
            if said is None:
                return "c"
            for letter, names in _CHOICES.items():
                if said.strip().lower() in names:
                    return letter
            self._say(Text("Please answer r, e, x or c."))

    def _sure(self, turn: Turn) -> bool:
        """The disk's name, typed, for what destroys; for each disk that loses something."""
        found = turn.explanation
        assert found is not None
        if not found.needs_confirmation:
            return True
        for name in found.destroys or ("yes",):
            what = f"the name of the disk, {name}," if found.destroys else "yes"
            said = self._line(f"Type {what} to go on: ")
            if said is None or said.strip().removeprefix("/dev/") != name:
                self._say(Text("That is not it, so nothing was run."))
                return False
        return True

    def _run(self, command: str, message: str) -> None:
        try:
            ran = self.assistant.run(command, self._output)
        except Refused as refused:
            self.log.add("refused", command=command, reason=str(refused))
            self._say(Text(f"Not run: {printable(str(refused))}", style="bold"))
            self.assistant.cancel(str(refused))
            return
        self._ran(ran, message)

    def _ran(self, ran: Ran, message: str) -> None:
        self.log.ran(ran, message)
        if ran.status:
            self._say(Text(f"It failed ({ran.status}): {printable(ran.error)}", style="bold"))
        else:
            self._say(Text(f"Done: {printable(ran.command)}"))
            if ran.undo:
                self._say(Text("/undo takes it back."))
        if self.assistant.stages() != self._shown:
            self.overview()
        if self.assistant.finished():
            problems = self.assistant.problems()
            for line in problems:
                self._say(Text(f"missing: {printable(line)}"))
            if not problems:
                self._say(Text("The installation is complete; the machine would start by itself."))

    def _cancel(self) -> None:
        self.log.add("cancel")
        self.assistant.cancel()
        self._say(Text("Cancelled; nothing was run."))

    # Showing

    def overview(self) -> None:
        """Stages; on a wide terminal the facts beside them, on a narrow one /facts has those."""
        self._shown = self.assistant.stages()
        if self.console.width >= _WIDE:
            half = self.console.width // 2 - 2
            stages = Text("\n").join(self._stage_lines(self._shown, details=True))
            facts = Text(printable(self.assistant.facts(), keep="\n"))
            self._say(
                Columns(
                    [
                        Panel(stages, title="stages", box=box.ASCII, width=half),
                        Panel(facts, title="facts", box=box.ASCII, width=half),
                    ]
                )
            )
        else:
            self._say(*self._stage_lines(self._shown, details=False))

    def _stage_lines(self, stages: Iterable[Stage], *, details: bool) -> list[Text]:
        marks = [(f"[{'x' if stage.done else ' '}] {stage.name}", stage.detail) for stage in stages]
        if details:
            wide = max(len(mark) for mark, _ in marks)
            return [Text(printable(f"{mark:<{wide}}  {detail}".rstrip())) for mark, detail in marks]
        lines, line = [], ""
        for mark, _ in marks:
            if line and len(line) + 2 + len(mark) > self.console.width:
                lines.append(line)
                line = ""
            line = f"{line}  {mark}" if line else mark
        return [Text(text) for text in (*lines, line)]

    def _toolbar(self) -> str:
        stages = self.assistant.stages()
        done = sum(stage.done for stage in stages)
        following = next((stage.name for stage in stages if not stage.done), "nothing")
        return f"{done} of {len(stages)} stages done; next: {following}   (/help)"

    def _say(self, *things: Any) -> None:
        for thing in things:
            self.console.print(thing, markup=False)

    def _block(self, text: str) -> None:
        self._say(Text(printable(text, keep="\n")))

    def _write(self, piece: str) -> None:
        self.console.print(Text(printable(piece, keep="\n")), end="", soft_wrap=True)

    def _output(self, text: str) -> None:
        """A command's own output."""
        # On a terminal a real command has written there itself.
        if self.cfg.execute is not Execute.real or not sys.stdout.isatty():
            self._write(text)

    def _line(self, question: str, text: str = "") -> str | None:
        """A line of the person's; None when there is none."""
        try:
            return self._read(question, text)
        except (EOFError, KeyboardInterrupt):
            return None


def _item(text: str) -> Padding:
    """A line of a list; what does not fit goes on below its beginning."""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text("-"), Text(printable(text)))
    return Padding(grid, (0, 0, 0, _MARGIN))


def reader(plain: bool, toolbar: Callable[[], str]) -> Read:
    """Who reads lines: prompt_toolkit on a terminal, else standard input as it comes."""
    if not sys.stdin.isatty() or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return _from_stdin
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.output import ColorDepth
    except ImportError as error:
        raise MissingExtra("chat", "the chat", error.name) from error
    depth = ColorDepth.DEPTH_1_BIT if plain else None
    session: Any = PromptSession(history=InMemoryHistory(), color_depth=depth)
    answers: Any = PromptSession(color_depth=depth)  # their history is none of the messages'

    def read(question: str, text: str = "") -> str:
        if question == "> ":
            return str(session.prompt(question, bottom_toolbar=toolbar))
        return str(answers.prompt(question, default=text))

    return read


def _from_stdin(question: str, text: str = "") -> str:
    print(question, end="", flush=True)
    line = sys.stdin.readline()
    if not line:
        print()
        raise EOFError
    return line.rstrip("\n")
