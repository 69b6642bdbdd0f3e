"""Does a conversation show that a person wants a disk's content gone?

    Talk(messages, state).consent({"/dev/sda"}, {"/dev/sda1"})     # Consent.given

Given is: a plan that the assistant asked about and the person agreed to; a request of the last message
that speaks of what destroys and refers to the disks; or the answer to "which disk?". A word of refusal
or of doubt takes all of it back.
"""

from __future__ import annotations

import enum
import re

from llmkit.installer import review_scope as scope
from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.guard import check_command
from llmkit.installer.review_described import answered, described, may_go, spoken_of
from llmkit.installer.review_history import proposed, question
from llmkit.installer.review_parts import below
from llmkit.installer.review_refer import (
    Refs,
    called,
    candidates,
    efi,
    live_medium,
    named,
    ranks,
    refer,
)
from llmkit.installer.review_talk import CHOICE, Heard, offers_a_loss, own_disks

_VALUE = re.compile(r"\b(?:which|what|how)\b", re.IGNORECASE)  # asks for more than yes or no
_CORRECTS = re.compile(r"\b(?:other|instead|rather|no|nope|not)\b", re.IGNORECASE)
_NUMBERS = {
    "1": ("1", "one", "first"), "2": ("2", "two", "second"), "3": ("3", "three", "third"),
    "4": ("4", "four", "fourth"),
}  # fmt: skip


class Consent(enum.Enum):
    """What the conversation shows."""

    given = "given"
    ask = "ask"  # the disk is clear, the wish is not
    which = "which"  # several disks could be meant
    leave = "leave"  # the person said no


class Talk(Heard):
    """A conversation, and what it allows."""

    def consent(self, need: set[str], nodes: set[str], *, table: bool, known: bool) -> Consent:
        """Whether the loss of `nodes` on the disks `need` is wanted. `table`: partitions go, too.
        `known`: it is known that they hold something."""
        if scope.hedged(self.said) or scope.less_than_a_disk(self.said) or self._only_speaks():
            return Consent.ask
        if scope.typed_line(self.said) and self._typed_danger() != "destructive":
            return Consent.ask
        if self._spared(need) or self._another_one(need):
            return Consent.ask
        if known and scope.only_encrypts(self.said) or scope.parts_only(self.said, len(nodes)):
            return Consent.ask
        kept = self._kept(self._own_words, self.topic)
        rest = wish.requests(kept)
        looks = wish.looks(kept) and not say.destroys(rest)
        if not wish.wishes(kept) or self._unheard(kept) or looks:
            return Consent.ask
        refs = self.meant(kept)
        if not refs and say.path_goes(kept):
            return Consent.ask
        if self._contradicts(kept, refs) or self._more_than_one_part(kept, nodes):
            return Consent.ask
        if scope.needed(self.said) and not self._names_alone(nodes):
            return Consent.ask
        if scope.leaves_the_rest(self.said) and not nodes <= refs.nodes:
            return Consent.ask
        if self._not_described(kept, nodes, lost=True):
            return Consent.ask
        if refs and not self._fits(refs, need, nodes):
            return Consent.ask if refs.sure else Consent.which
        if self._of_another(kept, need, nodes):
            return Consent.ask
        if self._asks_for_more(refs, need) or refs.every and len(need) > 2:
            return Consent.ask
        if say.destroys(rest) and not (table and self._formats(kept, refs)):
            if self._of_nothing(rest, refs):
                return Consent.ask
            if not (known or table or refs) and need == self._partitioned():
                return Consent.given  # no other disk has anything to format
            return self._referred(refs, need)
        if refs.sure and refs and self._asked_which(refs) and self._wished():
            choice = refer(scope.chosen(kept), self.state, self.topic)
            return Consent.given if choice and self._fits(choice, need, nodes) else Consent.ask
        return self._answered(kept, refs, need, nodes, table)

    def _answered(
        self, kept: str, refs: Refs, need: set[str], nodes: set[str], table: bool
    ) -> Consent:
        """An answer to the assistant's question: yes, or a short word on what was left open."""
        plan = self.plan()
        part = question(plan)
        if not plan or self._leaves_choice(part):
            return Consent.which if plan and not refs else Consent.ask
        asked = self._asked(plan)
        if not asked and named(plan, self.state):
            return Consent.ask  # it names only what stays
        if not (self._fits(asked, need, nodes) if asked else self._about_it(need)):
            return Consent.ask
        if table and say.only_formats(plan):
            return Consent.ask
        if say.agrees(kept):
            if not scope.plain_yes(self.said, self._names() | self._number(asked)):
                return Consent.ask
            return Consent.given if offers_a_loss(plan) else Consent.ask
        value = _VALUE.search(part) is not None or re.search(r"\d", kept) is not None
        short = len(kept.split()) <= 5 and value and not say.asks_to_look(kept)
        return Consent.given if short and self._wished(plan=False) else Consent.ask

    def _number(self, asked: Refs) -> frozenset[str]:
        """Words for the number of the one partition that a question is about: `go ahead with 2`."""
        parts = asked.nodes - {disk.path for disk in self.state.disks}
        found = re.search(r"\d+$", next(iter(parts))) if len(parts) == 1 else None
        return frozenset(_NUMBERS.get(found[0], (found[0],))) if found else frozenset()

    def _another_one(self, need: set[str]) -> bool:
        """Whether the message means another disk than these: "the latter" of two that were named, "the
        other" than the one that it names, the disk of the system."""
        place = scope.of_two(self.said)
        if place is not None:
            pair = self._pair()
            return not pair or need != {pair[place]}
        if scope.wants_the_other(self.said) and need & self._disks(named(self.said, self.state)):
            return True
        return scope.of_the_system(self.said) and bool(self.firm) and not need <= self.firm

    def _spared(self, need: set[str]) -> bool:
        """Whether the person said that one of these disks holds something or stays as it is, and has not
        said yes since to a question about it."""
        if need & self._holding(self.said):
            return True
        if need <= called(self.said, self.state) or need <= self.firm:
            return False  # it is named now, or was worked on since
        before = [turn.text for turn in self.turns if turn.user]
        if not any(need & self._holding(text) for text in before):
            return False
        plan = self.plan()
        return not (plan and say.agrees(self.said) and need <= self._asked(plan).disks)

    def _typed_danger(self) -> str:
        """The guard's level of a line that the person typed."""
        return check_command(self.said.strip().removeprefix("$"), self.state).danger

    def deletes(self, paths: set[str]) -> bool:
        """Whether the last message asks for these files to be deleted, by their paths."""
        if say.doubts(self.said) or scope.hedged(self.said) or say.refuses(self.said):
            return False
        named = {word.rstrip(".,;:!/") for word in self._own_words.split()}
        return say.destroys(self._own_words) and bool(paths) and paths <= named

    def _unheard(self, kept: str) -> bool:
        """Whether a message is about the live medium, or about an agreement that nobody gave."""
        if say.claims(kept) and not self.plan():
            return True
        if refer(kept, self.state, self.topic):
            return False
        if live_medium(kept, self.state, self.topic):
            return True
        last = [turn for turn in self.turns if not turn.ran][-2:]
        told = [turn.text for turn in last if not turn.user]
        return bool(told) and live_medium(told[-1], self.state) and not self.firm

    def _contradicts(self, kept: str, refs: Refs) -> bool:
        """Whether a yes describes another disk than the question did."""
        plan = self.plan()
        if not plan or not refs or not refs.sure or not say.agrees(kept):
            return False
        part = question(plan)
        asked = self._asked(plan)
        if not asked and self._topic:
            asked = Refs(frozenset(), self._topic)
        return bool(asked) and not CHOICE.search(part) and not refs.disks & asked.disks

    def _more_than_one_part(self, kept: str, nodes: set[str]) -> bool:
        """Whether one partition is to go, by its number, and more than that would be lost."""
        number = say.one_partition(kept)
        if number is None:
            return False
        paths = {disk.partition_path(number) for disk in candidates(self.state)}
        return not nodes <= paths

    def _names_alone(self, nodes: set[str]) -> bool:
        """Whether the clauses with a deed name all that is lost: `windows is on sda2, format sda3`."""
        about = [named(clause, self.state) for clause in scope.deeds(self.said)]
        return bool(about) and nodes <= frozenset().union(*about)

    def _not_described(self, kept: str, nodes: set[str], *, lost: bool) -> bool:
        """Whether the message describes what is to go, and something else would, or more."""
        plan = self.plan()
        before = [turn.text for turn in self.turns if turn.user][-1:]
        told = may_go(kept) if plan and say.agrees(kept) else kept
        found = [
            described(told, self.state),
            answered(kept, plan, before[0], self.state) if plan and before else None,
        ]
        if not plan and found == [None, None]:
            last = [turn.text for turn in self.turns[-1:] if not (turn.ran or turn.user)]
            found += [spoken_of(kept, text, "".join(before), self.state) for text in last]
        parts = below(nodes, self.state)
        return any(
            not (parts <= each[0] and len(parts) <= each[1])
            for each in found
            if each and (each[0] or lost)  # a context may not tell what a new one is for
        )

    def _of_another(self, kept: str, need: set[str], nodes: set[str]) -> bool:
        """Whether the clauses with a deed name other disks or partitions than those that lose something,
        or a correction does."""
        corrected = scope.after_correction(self.said)
        if corrected:
            refs = refer(corrected, self.state, self.topic)
            if not (self._fits(refs, need, nodes) if refs else say.destroys(corrected)):
                return True
        about = [refer(clause, self.state, self.topic) for clause in scope.deeds(kept)]
        if not about or not all(refs and refs.sure for refs in about):
            return False
        every = Refs(
            frozenset().union(*(refs.nodes for refs in about)),
            frozenset().union(*(refs.disks for refs in about)),
        )
        return not self._fits(every, need, nodes)

    def removes(self, nodes: set[str]) -> bool:
        """Whether the message wants just these partitions to go, in words that alone are no wish for a
        loss ("off with sda2"): enough where they were never used."""
        need = set(self._disks(frozenset(nodes)))
        kept = self._kept(self._own_words, self.topic)
        if self._only_speaks() or scope.hedged(self.said) or scope.needed(self.said):
            return False
        if self._spared(need) or self._another_one(need) or not scope.takes_away(kept):
            return False
        refs = self.meant(kept)
        told = described(kept, self.state)
        parts = refs.nodes - {disk.path for disk in self.state.disks}
        return nodes == (parts or (told[0] if told else set())) and bool(refs.sure or told)

    def direction(
        self, need: set[str], *, made: set[str], table: bool, new_table: bool, files: bool
    ) -> Consent:
        """Whether a line that formats or partitions and loses nothing is about the right disks, and
        comes where a person wished for it and neither asks nor refuses. `new_table`: all is laid out
        anew, which is more than that a partition goes or grows (`table`). `files`: only files go. `made`: the
        partitions that are formatted or go."""
        unclear = len(own_disks(self.state)) > 1 and scope.hedged(scope.without_the_live(self.said))
        if self._only_speaks() or self._spared(need) or self._another_one(need) or unclear:
            return Consent.ask
        kept = self._kept(self.said, self.topic)
        if not kept:  # another disk may be the one that is to be left alone
            others = self._disks(named(self.said, self.state))
            wishes = (piece for piece in say.clauses(self.said) if not say.refuses(piece))
            partly = any(say.destroys(piece) or wish.sets_up(piece) for piece in wishes)
            return Consent.ask if partly or others and not others & need else Consent.leave
        rest = wish.wishes(kept)
        refs = self.meant(kept)
        if not rest or table and self._formats(kept, refs):
            return Consent.ask
        if say.destroys(rest):
            if self._of_nothing(rest, refs):
                return Consent.ask
        elif not wish.sets_up(rest):
            if wish.looks(kept):
                return Consent.ask
            going = files or self.firm or self._wished_before() or self._agreed(kept, need)
            if not (going and self._goes_on(rest)):
                return Consent.ask
            if new_table and self._of_parts(refs):
                return Consent.ask
        if self._asks_for_more(refs, need):
            return Consent.ask
        if self._of_another(kept, need, made):
            return Consent.ask
        if (table or len(made) > 1) and scope.leaves_the_rest(self.said):
            return Consent.ask
        if not files and self._not_described(
            kept, made - efi(self.state, blank=True) or made, lost=False
        ):
            return Consent.ask
        if refs and refs.sure:
            fits = need <= refs.disks and self._parts_fit(refs, made)
            return Consent.given if fits else Consent.ask
        plan = self.plan()
        if plan and say.agrees(kept) and named(plan, self.state):
            asked_for = self._asked(plan)
            if asked_for.disks and not (
                need <= asked_for.disks and self._parts_fit(asked_for, made)
            ):
                return Consent.ask  # a yes to a question about another disk or partition
        if self._about_it(need):
            return Consent.given
        asked = self._disks(named(proposed(plan), self.state))
        if plan and need <= asked and say.agrees(kept) and not self._leaves_choice(question(plan)):
            return Consent.given
        several = len(own_disks(self.state)) > 1
        if several and not table and not refs and need == self._partitioned():
            return Consent.given  # no other disk has anything to format
        return Consent.which if several and (refs or not self.topic) else Consent.ask

    def _parts_fit(self, refs: Refs, made: set[str]) -> bool:
        """Whether nothing but the partitions that are named is formatted or removed; where none is,
        and where a disk is, any may be."""
        parts = refs.nodes - {disk.path for disk in self.state.disks}
        made = made - efi(self.state, blank=True) or made  # it goes with the others
        return len(parts) < len(refs.nodes) or not parts or made <= parts

    def _only_speaks(self) -> bool:
        """Whether the last message asks, looks or wants a plan; or counts in an order of its own."""
        speaks = say.doubts(self.said) or say.only_looks(self.said) or wish.plans(self.said)
        if speaks or not ranks(self.said) or named(self.said, self.state):
            return speaks
        return not self._in_order()

    def _in_order(self) -> bool:
        """Whether the assistant's last text names disks in the machine's order, so that a "second of
        those" is the second by both."""
        told = [turn.text for turn in self.turns if not turn.user and not turn.ran][-1:]
        order = self._in_turn(told[0]) if told else []
        return order == [disk.path for disk in candidates(self.state) if disk.path in order]

    def _goes_on(self, rest: str) -> bool:
        """Whether a message without a deed wants what is under way to go on."""
        yes = say.agrees(rest) and (bool(self.plan()) or wish.says_nothing_new(rest))
        return say.goes_on(rest) or yes or bool(refer(rest, self.state, self.topic))

    def _agreed(self, kept: str, need: set[str]) -> bool:
        """Whether the message says yes to a question that proposes to empty or use these disks."""
        plan = self.plan()
        if not (offers_a_loss(plan) and say.agrees(kept)):
            return False
        return need <= self._asked(plan).disks and not self._leaves_choice(question(plan))

    def _of_nothing(self, rest: str, refs: Refs) -> bool:
        """Whether a program is to run, and no disk was ever spoken of."""
        return wish.names_a_tool(rest) and not refs and not self._topic

    def _of_parts(self, refs: Refs) -> bool:
        """Whether a message is about partitions by their names, and not about their disks."""
        return bool(refs.nodes) and not refs.nodes & {disk.path for disk in self.state.disks}

    def _partitioned(self) -> set[str]:
        """The disks with partitions."""
        return {disk.path for disk in candidates(self.state) if disk.partitions}

    def _referred(self, refs: Refs, need: set[str]) -> Consent:
        """A request that destroys; does it tell the disks?"""
        if refs and refs.sure:
            plain = scope.plain_request(self.said, self._names())
            return Consent.given if plain else Consent.ask
        if self._about_it(need):
            clear = refs or scope.about_disks(self.said, self._names())
            return Consent.given if clear else Consent.ask
        several = len(own_disks(self.state)) > 1
        return Consent.which if several and (refs or not self.topic) else Consent.ask

    def _formats(self, kept: str, refs: Refs) -> bool:
        """Whether a request is about file systems of partitions, and not about a disk's layout."""
        disk = bool(refs) and refs.sure and not refs.nodes and not say.names_partitions(kept)
        return say.only_formats(kept) and not disk

    def _asks_for_more(self, refs: Refs, need: set[str]) -> bool:
        """Whether every disk is to go: that is never meant lightly, and no line for one of them."""
        return refs.every and not refs.nodes and need != refs.disks

    def _asked_which(self, refs: Refs) -> bool:
        """Whether the assistant left a choice, or spoke of what is named now, or is corrected."""
        asked = refer(plan := self.plan(), self.state)
        if CHOICE.search(plan) or asked and _CORRECTS.search(self.said):
            return True
        return bool(asked) and refs.disks <= asked.disks
