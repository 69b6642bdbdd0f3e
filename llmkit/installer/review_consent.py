"""Does a conversation show that a person wants a disk's content gone?

    Talk(messages, state).consent({"/dev/sda"}, {"/dev/sda1"})     # Consent.given

Given is: a plan that the assistant asked about and the person agreed to; a request of the last message
that speaks of what destroys and refers to the disks; or the answer to "which disk?". A word of refusal
or of doubt takes all of it back.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmkit.installer import review_words as say
from llmkit.installer.explain import touched
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_refer import NOTHING, Refs, candidates, named, refer
from llmkit.installer.state import SystemState

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_USES = re.compile(r"\b(?:use|take|go with|lost|gone|empty|on it|there)\b", re.IGNORECASE)
_CHOICE = re.compile(r"\b(?:which|or|either|of them|decide|choose|pick)\b", re.IGNORECASE)


class Consent(enum.Enum):
    """What the conversation shows."""

    given = "given"
    ask = "ask"  # the disk is clear, the wish is not
    which = "which"  # several disks could be meant


@dataclass(frozen=True, slots=True)
class _Turn:
    """A message: who says it, and what of it a person reads. `ran` is a command that ran."""

    user: bool
    text: str
    ran: str = ""


class Talk:
    """A conversation up to the person's last message, on the machine as it is now."""

    def __init__(self, messages: Sequence[Mapping[str, str]], state: SystemState) -> None:
        self.state = state
        turns = [_turn(message) for message in messages]
        while turns and not turns[-1].user:  # the last word is the person's
            turns.pop()
        self.said = turns[-1].text if turns else ""
        self._turns = turns[:-1]
        self.ran = tuple(turn.ran for turn in turns if turn.ran)
        own = candidates(state)
        self._only = frozenset((own[0].path,)) if len(own) == 1 else frozenset()
        self._topic: frozenset[str] | None = None

    # What the conversation is about

    @property
    def topic(self) -> frozenset[str]:
        """Paths of the disks that it is about; empty when that is open."""
        if self._topic is None:
            self._topic = self._about()
        return self._topic or self._only

    def _about(self) -> frozenset[str]:
        topic: frozenset[str] = frozenset()
        pending: frozenset[str] = frozenset()  # what the assistant speaks of
        for turn in self._turns:
            if turn.ran:
                found = named(turn.ran, self.state) if len(turn.ran) < 4000 else frozenset()
                disks = self._disks(found) & _own(self.state)
                if disks and not _looks(turn.ran, self.state):
                    topic = disks
                elif len(disks) == 1:
                    topic = topic or disks
                pending = frozenset()
            elif turn.user:
                kept = self._kept(turn.text)
                refs = refer(kept, self.state, pending or topic) if kept else NOTHING
                if refs and refs.sure:
                    topic = refs.disks
                elif pending and not say.refuses(turn.text):
                    topic = pending
                pending = frozenset()
            else:
                pending = self._proposed(turn.text)
        return pending or topic

    def _proposed(self, text: str) -> frozenset[str]:
        """The disks that an assistant's text is about, when it does not leave a choice."""
        for part in (_question(text), text):
            disks = self._disks(named(part, self.state)) & _own(self.state)
            if len(disks) == 1 or disks and not _CHOICE.search(part):
                return disks
        return frozenset()

    def _disks(self, nodes: frozenset[str]) -> frozenset[str]:
        return frozenset(path for node in nodes for path in disks_of(self.state, node))

    # What the person wants

    def consent(self, need: set[str], nodes: set[str]) -> Consent:
        """Whether the loss of `nodes` on the disks `need` is wanted."""
        before = self._turns[-1].text if self._turns else ""
        if say.doubts(self.said):
            return Consent.ask
        kept = self._kept(self.said)
        if not kept:
            return Consent.ask
        refs = refer(kept, self.state, self.topic)
        if refs and not self._fits(refs, need, nodes):
            return Consent.ask if refs.sure else Consent.which
        if say.destroys(kept):
            return self._referred(refs, need)
        if refs.sure and refs and self._asked_which(before) and self._wished(before):
            return Consent.given
        plan = self._plan()
        if plan and say.agrees(kept):
            part = _question(plan)
            asked = refer(part, self.state, self.topic) if named(part, self.state) else refer(
                plan, self.state, self.topic)  # fmt: skip
            if self._leaves_choice(part):
                return Consent.given if refs and refs.sure else Consent.which
            if not (say.destroys(plan) or _USES.search(plan)):
                return Consent.ask
            if asked and self._fits(asked, need, nodes):
                return Consent.given
            if not asked and need <= self.topic:
                return Consent.given
        return Consent.ask

    def _referred(self, refs: Refs, need: set[str]) -> Consent:
        """A request that destroys; does it tell the disks?"""
        if refs and refs.sure:
            return Consent.given
        if need <= self.topic:
            return Consent.given
        return Consent.which if refs or not self.topic else Consent.ask

    def _kept(self, text: str) -> str:
        """A message without its clauses of refusal; empty when a refusal has the last word."""
        if not say.refuses(text):
            return text
        pieces = list(say.clauses(text))
        kept = [piece for piece in pieces if not say.refuses(piece)]
        if not kept or not any(say.destroys(piece) or self._refers(piece) for piece in kept):
            return ""
        last = max(i for i, piece in enumerate(pieces) if not say.refuses(piece))
        later = [piece for piece in pieces[last + 1 :] if not named(piece, self.state)]
        return "" if later else ", ".join(kept)

    def _refers(self, piece: str) -> bool:
        return bool(refer(piece, self.state))

    def _fits(self, refs: Refs, need: set[str], nodes: set[str]) -> bool:
        """Whether everything that is lost was referred to: a disk by any way, or its partitions."""
        if not need <= refs.disks:
            return False
        if not refs.sure:
            return need <= self.topic
        for disk in need:
            own = {node for node in refs.nodes if disk in disks_of(self.state, node)}
            lost = {node for node in nodes if disk in disks_of(self.state, node)}
            if own and disk not in own and not lost <= own:
                return False
        return True

    def _plan(self) -> str:
        """The assistant's question that the last message answers, over commands that only looked."""
        for turn in reversed(self._turns):
            if turn.ran:
                if not _looks(turn.ran, self.state):
                    return ""
            elif turn.user:
                if say.refuses(turn.text):
                    return ""
            else:
                return turn.text if "?" in turn.text else ""
        return ""

    def _leaves_choice(self, part: str) -> bool:
        disks = self._disks(named(part, self.state)) & _own(self.state)
        return bool(re.search(r"\bwhich\b", part, re.IGNORECASE)) or (
            len(disks) > 1 and re.search(r"\bor\b", part) is not None
        )

    def _asked_which(self, before: str) -> bool:
        plan = self._plan() or before
        return "?" in plan and (_CHOICE.search(plan) is not None or bool(refer(plan, self.state)))

    def _wished(self, before: str) -> bool:
        """Whether something that destroys was asked for, or is what the question is about."""
        plan = self._plan() or before
        return say.destroys(plan) or any(
            turn.user and say.destroys(turn.text) for turn in self._turns
        )


def _own(state: SystemState) -> frozenset[str]:
    return frozenset(disk.path for disk in candidates(state))


def _turn(message: Mapping[str, str]) -> _Turn:
    text = message.get("content") or ""
    user = message.get("role") == "user"
    if not user and text.startswith("$ "):
        return _Turn(False, "", text[2:].partition("\n")[0])
    return _Turn(user, text)


def _question(text: str) -> str:
    """The last sentence that asks; the text when none does."""
    asking = [part for part in _SENTENCE.split(text) if part.endswith("?")]
    return asking[-1] if asking else text


def _looks(command: str, state: SystemState) -> bool:
    """Whether a command of the history only looked."""
    return not touched(command, state)
