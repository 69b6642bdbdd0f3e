"""A conversation up to the person's last message: which disks it is about, which question the message
answers, and what was wished for before. `review_consent.Talk` judges by it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Self

from llmkit.installer import review_scope as scope
from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.explain import touched
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_history import Turn, certain, proposed, question, turns_of
from llmkit.installer.review_plain import is_plain
from llmkit.installer.review_refer import (
    NOTHING,
    Refs,
    candidates,
    live_medium,
    named,
    refer,
)
from llmkit.installer.state import SystemState

_USES = re.compile(r"\b(?:use|take|go with|lost|gone|empty)\b", re.IGNORECASE)
_PLEASE = re.compile(
    r"\bplease (?:confirm|agree|say)|\bsay yes\b|\bif you (?:agree|like|want)\b", re.IGNORECASE
)
_LATTER = re.compile(
    r"(?:(?:wipe|erase|format|partition|use|take|install linux on) )?the (?:former|latter)(?: please)?"
)
_ONE_SENTENCE = re.compile(r"[.?!;]\s|\?|\bor\b|\b(?:stays?|has|holds?|keep\w*|your|my)\b|:")
_BESIDE = frozenset("behind rest remainder".split())
CHOICE = re.compile(r"\b(?:which|or|either|of them|decide|choose|pick)\b", re.IGNORECASE)


class Heard:
    """A conversation up to the person's last message, on the machine as it is now."""

    def __init__(self, messages: Sequence[Mapping[str, str]], state: SystemState) -> None:
        self.state = state
        turns = turns_of(messages)
        while turns and not turns[-1].user:  # the last word is the person's
            turns.pop()
        self.said = turns[-1].text if turns else ""
        self._own_words = say.own_words(self.said)
        self.turns = turns[:-1]
        self.ran = tuple(certain(turn.ran) for turn in turns if turn.ran and self._did(turn))
        own = candidates(state)
        self._only = frozenset((own[0].path,)) if len(own) == 1 else frozenset()
        self._topic: frozenset[str] | None = None
        self._firm: frozenset[str] = frozenset()  # made with the topic

    def saying(self, text: str) -> Self:
        """The same conversation with another last message."""
        if text == self.said:
            return self
        other = copy.copy(self)
        other.said = text
        other._own_words = say.own_words(text)
        return other

    @property
    def topic(self) -> frozenset[str]:
        """Paths of the disks that it is about; empty when that is open."""
        if self._topic is None:
            self._topic = self._about()
        return self._topic or self._only

    @property
    def firm(self) -> frozenset[str]:
        """Paths of the disks that a command last worked on."""
        if self._topic is None:
            self._topic = self._about()
        return self._firm

    def _about(self) -> frozenset[str]:
        topic: frozenset[str] = frozenset()
        pending: frozenset[str] = frozenset()  # what the assistant speaks of
        for turn in self.turns:
            if turn.ran:
                found = named(turn.ran, self.state) if len(turn.ran) < 4000 else frozenset()
                disks = self._disks(found) & own_disks(self.state)
                if disks and self._did(turn):
                    topic = self._firm = disks
                elif len(disks) == 1:
                    topic = topic or disks
                pending = frozenset()
            elif turn.user:
                kept = self._kept(turn.text, pending or topic)
                refs = refer(kept, self.state, pending or topic) if kept else NOTHING
                if refs and refs.sure:
                    topic = refs.disks
                elif pending and not say.refuses(turn.text):
                    topic = pending
                pending = frozenset()
            else:
                pending = self._proposed(turn.text)
        return pending or topic

    def meant(self, text: str) -> Refs:
        """What a piece of the last message refers to; "the latter" is a disk of the two named last."""
        refs = refer(text, self.state, self.topic)
        place = scope.of_two(text)
        last = self.turns[-1] if self.turns else None
        if refs or place is None or last is None or last.user or last.ran:
            return refs
        told = say.folded(last.text).strip(" .!")
        pair = self._in_turn(told)
        once = all(told.count(path.removeprefix("/dev/")) == 1 for path in pair)
        if len(pair) != 2 or not once or _ONE_SENTENCE.search(told) or scope.holding(told):
            return refs
        rest = [clause for clause in say.clauses(text) if not _LATTER.fullmatch(clause)]
        if len(rest) == len(list(say.clauses(text))) or not all(
            is_plain(clause, frozenset(), self.state, _BESIDE) for clause in rest
        ):
            return refs
        return Refs(frozenset(), frozenset({pair[place]}))

    def _pair(self) -> list[str]:
        """The two disks that one of the last texts names, in its order; [] where none names two."""
        pairs = (self._in_turn(turn.text) for turn in reversed(self.turns[-4:]))
        return next((pair for pair in pairs if len(pair) == 2), [])

    def _did(self, turn: Turn) -> bool:
        """Whether a command of the history changed something: it did more than look, and worked."""
        return not turn.failed and not only_looked(turn.ran, self.state)

    def _about_it(self, need: set[str]) -> bool:
        """Whether the conversation is about these disks, or works on them."""
        return need <= self.topic or (bool(need) and need <= self.firm)

    def _proposed(self, text: str) -> frozenset[str]:
        """The disks that an assistant's text is about, when it does not leave a choice."""
        for part in (question(text), text):
            disks = self._disks(named(proposed(part), self.state)) & own_disks(self.state)
            plan = "?" in text and not CHOICE.search(part)  # about all that it names
            if len(disks) == 1 or disks and plan:
                return disks
        return frozenset()

    def _disks(self, nodes: frozenset[str]) -> frozenset[str]:
        return frozenset(path for node in nodes for path in disks_of(self.state, node))

    def _in_turn(self, text: str) -> list[str]:
        """The disks that a text names, in its order."""
        plain, nodes = text.lower(), named(text, self.state)
        places = {
            disk.path: found.start()
            for disk in candidates(self.state)
            if disk.path in nodes and (found := re.search(rf"\b{re.escape(disk.name)}\b", plain))
        }
        return sorted(places, key=places.__getitem__)

    def _holding(self, text: str) -> frozenset[str]:
        """The disks that hold something of the person's, or stay: "my photos are on sdb", "sda stays"."""
        told = [part for part in scope.holding(text) if not live_medium(part, self.state)]
        about = [refer(part, self.state) for part in told if not scope.of_the_live(part)]
        return frozenset(path for refs in about if refs.sure for path in refs.disks)

    def _names(self) -> frozenset[str]:
        """Words of the disks' names and models, in lower case."""
        told = (f"{disk.name} {disk.model}".lower() for disk in self.state.disks)
        return frozenset(word for text in told for word in re.findall(r"[a-z0-9]+", text))

    def _kept(self, text: str, topic: frozenset[str]) -> str:
        """A message without its clauses of refusal; empty when a refusal has the last word."""
        if not say.refuses(text):
            return text
        pieces: list[str] = []
        for piece in say.clauses(text):  # a list that goes on after a refusal belongs to it
            if pieces and say.refuses(pieces[-1]) and scope.goes_on_refusing(pieces[-1], piece):
                pieces[-1] += f" and {piece}"
            else:
                pieces.append(piece)
        kept = [piece for piece in pieces if not say.refuses(piece)]
        if not kept or not any(
            say.destroys(piece) or refer(piece, self.state, topic) for piece in kept
        ):
            return ""
        last = max(i for i, piece in enumerate(pieces) if not say.refuses(piece))
        meant = refer(", ".join(kept), self.state, topic).disks
        for piece in pieces[:last]:
            if say.keeps(piece) and not say.spares_others(piece):
                about = refer(piece, self.state, meant).disks
                if not about or about & meant:
                    return ""
        for piece in pieces[last + 1 :]:
            if say.spares_others(piece):
                continue
            about = refer(piece, self.state, meant).disks
            if not about or about & meant or not meant:
                return ""
        return ", ".join(kept)

    def _fits(self, refs: Refs, need: set[str], nodes: set[str]) -> bool:
        """Whether everything that is lost was referred to: a disk by any way, or its partitions."""
        if not need <= refs.disks:
            return False
        if not refs.sure:
            return self._about_it(need)
        for disk in need:
            own = {node for node in refs.nodes if disk in disks_of(self.state, node)}
            lost = {node for node in nodes if disk in disks_of(self.state, node)}
            parts = own - {disk}
            if parts and not lost <= parts:
                return False
        return True

    def plan(self) -> str:
        """The assistant's question that the last message answers, over commands that only looked and
        questions of the person's that were answered."""
        asked = False  # whether the person's message that is gone over was a question
        for turn in reversed(self.turns):
            if turn.ran:
                if self._did(turn):
                    return ""
                asked = True
            elif turn.user:
                if say.refuses(turn.text) or not (asked or say.doubts(turn.text)):
                    return ""
            elif "?" in turn.text or _PLEASE.search(turn.text):
                return turn.text
            else:
                asked = False
        return ""

    def _leaves_choice(self, part: str) -> bool:
        """Whether a question leaves open which disk is meant."""
        if len(own_disks(self.state)) < 2:
            return False
        disks = self._disks(named(part, self.state)) & own_disks(self.state)
        which = re.search(r"(?<!, )\bwhich\b", part, re.IGNORECASE) is not None
        return len(disks) != 1 and (
            which or (len(disks) > 1 and re.search(r"\bor\b", part) is not None)
        )

    def _asked(self, plan: str) -> Refs:
        """What an assistant's question is about, without what it says stays as it is."""
        part = question(plan)
        return refer(proposed(part if named(part, self.state) else plan), self.state, self.topic)

    def _wished(self, *, plan: bool = True) -> bool:
        """Whether something that destroys was asked for, or (`plan`) is what the question is about."""
        if plan and say.destroys(self.plan()):
            return True
        for turn in reversed(self.turns):
            if turn.user and not (
                say.doubts(turn.text) or scope.hedged(turn.text) or wish.plans(turn.text)
            ):
                kept = self._kept(say.own_words(turn.text), frozenset())
                if not kept:
                    return False  # refused since
                if say.destroys(kept) and not (say.claims(kept) or wish.forges(turn.text)):
                    return True
        return False

    def _wished_before(self) -> bool:
        """Whether a message of the person, or the assistant's offer, spoke of making a disk ready."""
        for turn in reversed(self.turns):
            if turn.ran:
                continue
            if not turn.user:
                if wish.offers(turn.text):
                    return True
            elif say.claims(turn.text) or wish.forges(turn.text):
                continue
            elif say.refuses(turn.text) and len(turn.text.split()) < 4:
                return False
            elif not (say.doubts(turn.text) or scope.hedged(turn.text) or wish.plans(turn.text)):
                rest = wish.wishes(say.own_words(turn.text))
                if say.destroys(rest) or wish.sets_up(rest):
                    return True
        return False


def offers_a_loss(plan: str) -> bool:
    """Whether a yes to a question is one to emptying or using what it names."""
    return wish.proposes(plan) and bool(say.destroys(plan) or _USES.search(plan))


def own_disks(state: SystemState) -> frozenset[str]:
    """Paths of the disks that can be meant: not the live medium."""
    return frozenset(disk.path for disk in candidates(state))


def only_looked(command: str, state: SystemState) -> bool:
    """Whether a command of the history only looked."""
    return not touched(command, state)
