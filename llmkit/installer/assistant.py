"""The installation's assistant: facts → request → reply → guard → confirm → run → fresh facts.

    with Client(url, cfg.client, key) as client:
        assistant = Assistant(client.generate_or_stream, Simulated(state), cfg.ask)
        turn = assistant.ask("use the bigger disk")
        if turn.command:                # a proposal; nothing has run
            print(*turn.explanation.lines, sep="\\n")
            assistant.run(turn.command)

No command reaches the machine but through `run`, and `run` asks the guard again, on the facts of
that moment. What the domain's review has something against (the guard refuses it, it would fail, it is about
another device than the one that was named), and what is forbidden or about the running system's own
disks, becomes an answer in text, and stands in the history as such. A command that could never work is
asked for again first, up to `tries` answers in all. That somebody agrees to what destroys is the chat's
own affair: it has the disk's name typed. In the history a command that ran is `$ LINE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import unified_diff

from llmkit.chat_types import CUT, Asker, Execute, OnText, Ran, Refused, Stage, Turn
from llmkit.client_wire import Answer, Ask, ServerError
from llmkit.config import AskConfig
from llmkit.config_chat import ChatAskConfig
from llmkit.domain import Objection
from llmkit.installer import plan
from llmkit.installer.assistant_machine import Dry, Machine, Real, Simulated
from llmkit.installer.assistant_meant import other_device, warning
from llmkit.installer.assistant_undo import undo_of
from llmkit.installer.explain import explain
from llmkit.installer.explain_words import safe
from llmkit.installer.facts import gather
from llmkit.installer.guard import check_command
from llmkit.installer.review import objection
from llmkit.installer.review_text import about, wished
from llmkit.installer.review_text import instead as instead_of
from llmkit.installer.run import run_command
from llmkit.installer.same import programs, same
from llmkit.installer.seam import domain
from llmkit.installer.state import SystemState

_TOOL = "run_shell_command"
_NOTHING_RAN = "All right, I have not run that."


@dataclass(frozen=True, slots=True)
class _Step:
    """A command that ran, and what takes it back."""

    command: str
    undo: str | None


def make(
    ask: Asker,
    cfg: AskConfig,
    execute: Execute,
    *,
    state: SystemState | None = None,
    allow_installed: bool = False,
) -> Assistant:
    """An assistant for `execute=`. `state` is the machine to simulate. Raises ConfigError, and
    DomainError when this machine cannot be looked at."""
    if execute is Execute.simulate:
        machine: Machine = Simulated(state or SystemState())
    elif execute is Execute.dry:
        machine = Dry(gather())
    else:
        machine = Real(allow_installed=allow_installed)
    return Assistant(ask, machine, cfg)


class Assistant:
    """A conversation about one machine. `ask` sends a request and gives the answer."""

    def __init__(self, ask: Asker, machine: Machine, cfg: AskConfig) -> None:
        self.machine, self.cfg = machine, cfg
        self.start = machine.state
        self.history: list[dict[str, str]] = []
        self._ask = ask
        self._steps: list[_Step] = []

    @property
    def state(self) -> SystemState:
        return self.machine.state

    # Asking

    def request(self, message: str) -> Ask:
        """What is sent: the turns so far, the machine in words, and the tool, held to the machine's
        devices."""
        turns: list[Mapping[str, str]] = [*self.history[-self.cfg.history :]]
        while turns and turns[0]["role"] != "user":
            turns = turns[1:]
        return Ask(
            [*turns, {"role": "user", "content": message}],
            system_context=self.state.to_context(),
            tools=[domain.tool_schema(self.state)],
            max_tokens=self.cfg.max_tokens,
            temperature=self.cfg.temperature,
        )

    def ask(self, message: str, on_text: OnText | None = None) -> Turn:
        """Send a message. A proposal stands open until `run` or `cancel`; the next message cancels
        it. ServerError: nothing of the message is kept."""
        ask = self.request(message)
        try:
            answer = self._ask(ask, on_text)
        except ServerError as error:
            if error.status != 400 or len(ask.messages) < 3:
                raise
            shorter = ask.messages[len(ask.messages) // 2 // 2 * 2 :]  # too long, perhaps
            ask = replace(ask, messages=shorter)
            answer = self._ask(ask, on_text)
        self.history.append({"role": "user", "content": message})
        turn, again = self._judged(answer, message)
        other = self._second_look(ask, message, turn) if answer.type == "text" else None
        if other is not None:
            turn = other
        elif again:
            turn = self._anew(ask, message, turn)
        self.history.append({"role": "assistant", "content": self._told(turn)})
        return turn

    def _told(self, turn: Turn) -> str:
        """How a turn stands in the history while nobody has agreed to it."""
        return _NOTHING_RAN if turn.command is not None else turn.text or "…"

    def _second_look(self, ask: Ask, message: str, first: Turn) -> Turn | None:
        """A proposal in place of a text, where the model nearly made one, the message names what it works
        on or the text was not so, and nothing is against it, a question for consent included; else None.
        The server has read the question already."""
        cfg = self.cfg
        if not isinstance(cfg, ChatAskConfig) or cfg.tool_threshold >= 1:
            return None
        nearly = replace(
            ask, tool_choice="required", tool_threshold=cfg.tool_threshold, temperature=0.0
        )
        try:
            answer = self._ask(nearly, None)
        except ServerError:  # of an earlier server, perhaps
            return None
        command = answer.arguments.get("command")
        if answer.type == "text" or not isinstance(command, str):
            return None
        against = objection(self.state, self.history, command)
        told = first.answer.text.strip() if first.answer is not None else ""
        false = first.text not in (told, CUT)
        asked = self.state, self.history, command
        if against is not None or not (about(*asked) or (false and wished(*asked))):
            return None
        turn, _ = self._judged(answer, message)
        return turn if turn.command is not None else None

    def _anew(self, ask: Ask, message: str, first: Turn) -> Turn:
        """What the other tries come to: a proposal, or the first turn where they come to none.

        A try that answers in text says that no command is due. The text itself is not shown: it was
        drawn, where that of the objection is known to be true. Nothing of a try is shown as it comes,
        so nobody sees two answers. The server has read the question already: a try costs what it writes.
        """
        cfg = self.cfg
        if not isinstance(cfg, ChatAskConfig):
            return first
        for seed in range(1, cfg.tries):
            drawn = replace(
                ask, temperature=cfg.retry.temperature, top_p=cfg.retry.top_p, seed=seed
            )
            try:
                answer = self._ask(drawn, None)
            except ServerError:
                return first
            turn, again = self._judged(answer, message)
            if not again:
                said = answer.type == "text" and first.text != CUT
                return first if said else turn
        return first

    def _judged(self, answer: Answer, message: str) -> tuple[Turn, bool]:
        """What a person gets, and whether it is in place of something that could never work."""
        if answer.type == "text":
            text = answer.text.strip()
            cut = answer.finish_reason == "length" and (not text or text.startswith("$"))
            wrong = "" if cut else instead_of(self.state, self.history, text)
            return Turn(CUT if cut else wrong or text, answer=answer), cut or bool(wrong)
        command = answer.arguments.get("command")
        if answer.tool != _TOOL or not isinstance(command, str) or not command.strip():
            return Turn(f"I was given a call of {safe(answer.tool)}, which I cannot do.",
                        blocked=safe(answer.tool), answer=answer), True  # fmt: skip
        command = command.strip()
        found = self._reviewed(command)
        instead = ""
        if found is not None and found.better:
            instead, command = command, found.better
        elif found is not None:
            return Turn(found.text, blocked=command, answer=answer), found.again
        turn = replace(self.consider(command), answer=answer)
        if turn.command is None or turn.explanation is None:
            return turn, False
        reason = other_device(message, turn.command, self.state, self.machine.own())
        if reason:
            return Turn(reason, blocked=turn.command, answer=answer), False
        careful = warning(message, turn.explanation.destroys, self.state)
        told = f"in place of the model's own line: {safe(instead)}" if instead else ""
        if careful or told:
            lines = (*filter(None, (careful, told)), *turn.explanation.lines)
            turn = replace(turn, explanation=replace(turn.explanation, lines=lines))
        return turn, False

    def _reviewed(self, command: str) -> Objection | None:
        """What the review has against a proposal, but for its question for consent: what destroys is
        agreed to by the disk's name. Which of several disks is meant is asked here, too."""
        found = objection(self.state, self.history, command)
        return found if found is not None and found.kind != "consent" else None

    def consider(self, command: str) -> Turn:
        """A command, judged on the machine as it is now: a proposal, or a text that says why not."""
        command = command.strip()
        reason = self.objection(command)
        if reason:
            return Turn(reason, blocked=command)
        return Turn(command=command, explanation=explain(command, self.state))

    def objection(self, command: str) -> str | None:
        """Why a command must not run; None when it may."""
        verdict = check_command(command, self.state)
        if not verdict.allowed:
            return verdict.reason
        if verdict.danger == "forbidden":
            return f"I will not run this. {verdict.reason}"
        return self.machine.objection(command)

    # Acting

    def run(self, command: str, on_text: OnText | None = None) -> Ran:
        """Carry out a command that a person agreed to. Raises Refused when it must not run."""
        reason = self.objection(command)
        if reason:
            raise Refused(reason)
        before = self.machine.state
        expected = run_command(command, before).state
        done = self.machine.run(command, on_text)
        undo = undo_of(command, before, expected) if not done.status else None
        if not done.status and not same(before, self.machine.state):
            self._steps.append(_Step(command, undo))
        self._settle(f"$ {command}" if not done.status else f"$ {command}\n\n{done.error}")
        return Ran(command, done.status, done.output, done.error, undo)

    def cancel(self, said: str = "") -> None:
        """Nothing of the proposal runs; the history says so."""
        self._settle(said or _NOTHING_RAN)

    def _settle(self, content: str) -> None:
        """What became of the open turn."""
        if self.history and self.history[-1]["role"] == "assistant":
            self.history[-1] = {"role": "assistant", "content": content}

    def undo(self, on_text: OnText | None = None) -> Ran | None:
        """Run what takes the last command back. None when nothing ran, or when that cannot be."""
        if not self._steps or self._steps[-1].undo is None:
            return None
        back = self._steps[-1].undo
        reason = self.objection(back)
        if reason:
            raise Refused(reason)
        done = self.machine.run(back, on_text)
        if not done.status:
            self._steps.pop()
            self.history.append({"role": "user", "content": "undo that"})
            self.history.append({"role": "assistant", "content": f"$ {back}"})
        return Ran(back, done.status, done.output, done.error)

    def last_command(self) -> str | None:
        """The last command that changed something, and was not taken back."""
        return self._steps[-1].command if self._steps else None

    # What there is to see

    def facts(self) -> str:
        return self.state.to_context()

    def stages(self) -> tuple[Stage, ...]:
        return plan.stages(self.state, self.start)

    def problems(self) -> tuple[str, ...]:
        return plan.problems(self.state)

    def details(self, command: str) -> tuple[str, ...]:
        """The guard's sentence, the lines of the facts that would change, and what undoes it."""
        after = run_command(command, self.state).state
        back = undo_of(command, self.state, after)
        changes = unified_diff(
            self.state.to_context().splitlines(), after.to_context().splitlines(), n=0, lineterm=""
        )
        lines = [
            line for line in list(changes)[2:] if not line.startswith("@@") and line.strip("+-")
        ]
        undo = f"It can be taken back: {back}" if back else "It cannot be taken back."
        if same(self.state, after):
            undo = "It changes nothing that is followed here."
        return (check_command(command, self.state).reason, *map(safe, lines), undo)

    def finished(self) -> bool:
        return self.state.status != "running"

    def same(self, proposal: str, wanted: str) -> bool:
        """Whether both end in the same machine; of those that change nothing, whether the same
        programs run."""
        if proposal.strip() == wanted.strip():
            return True
        one, other = run_command(proposal, self.state), run_command(wanted, self.state)
        if one.status or other.status or not same(one.state, other.state):
            return False
        if same(one.state, self.state):
            return programs(proposal, self.state) == programs(wanted, self.state)
        return True
