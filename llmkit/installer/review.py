"""A proposed command in its conversation: may it be proposed, and if not, what does the person get?

    review(state, messages, command)       # None, or "This would erase everything on sda (…): …"

The guard sees a line and a machine. The review also sees what was said: whether the line is about the
disk that was named, whether anybody wants what it destroys, whether it can work at all. Where something
is against it, the text takes the command's place. A question for consent is such that "yes" makes the
same command pass. See docs/review.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmkit.domain import Explanation, Objection
from llmkit.installer import review_loss
from llmkit.installer import review_scope as scope
from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.assistant_meant import other_device
from llmkit.installer.explain import explain
from llmkit.installer.guard import Verdict, check_command
from llmkit.installer.guard_names import disks_of
from llmkit.installer.interpret_types import Outcome
from llmkit.installer.review_against import against, which_language
from llmkit.installer.review_another import better
from llmkit.installer.review_consent import Consent, Talk
from llmkit.installer.review_copied import miscopied
from llmkit.installer.review_failure import fails, failure
from llmkit.installer.review_layout import other_layout
from llmkit.installer.review_looks import other_look
from llmkit.installer.review_loss import Loss, about, losses
from llmkit.installer.review_part import completed, other_end, too_much
from llmkit.installer.review_places import misplaced, unnamed
from llmkit.installer.review_refer import candidates
from llmkit.installer.review_spared import without_spared
from llmkit.installer.review_step import unasked
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

_WORK = ("erase", "unpartition", "table", "partition", "format")
_LONGEST = 20_000  # characters of a message that is read for what a person wants
_UNKNOWN = "I could not work out what that would do, so nothing was run."
_TELLS = (*_WORK, "remove", "user")


def review(state: SystemState, messages: Sequence[Mapping[str, str]], command: str) -> str | None:
    """The text that a person gets instead of a command; None: it may be proposed."""
    found = objection(state, messages, command)
    return None if found is None else found.text


def objection(
    state: SystemState,
    messages: Sequence[Mapping[str, str]],
    command: str,
    *,
    confirm: bool = True,
) -> Objection | None:
    """As `review`, and whether another answer may do better. Never raises.

    `confirm=False`: consent to what the command destroys is left to somebody else.
    """
    command = command.strip()
    try:
        if any(len(m.get("content") or "") > _LONGEST for m in messages if m.get("role") == "user"):
            return Objection("That message is too long for me to be sure what you want.", False)
        talk = Talk(messages, state)
        found = _objection(talk, command)
        if found is not None and found.kind != "which":
            line = better(talk, command, lambda line: _objection(talk, line) is None)
            if line:
                return replace(found, kind="against", better=line)
    except Exception:  # as the guard does: a bug here must not let a line through
        return Objection(_UNKNOWN, True)
    return found if found is None or confirm or found.kind == "against" else None


def _objection(talk: Talk, command: str) -> Objection | None:
    state = talk.state
    absent = other_device(talk.said, command, state)
    if absent:
        return Objection(absent, False)
    verdict = check_command(command, state)
    if not verdict.allowed:
        return Objection(verdict.reason, True)
    if verdict.danger == "forbidden":
        return Objection(f"I will not run this. {verdict.reason}", False)
    look = other_look(talk, command)
    if look[0]:
        return Objection(f"{look[0]}: {look[1]} shows that. Shall I run it?", True)
    outcome = run_command(command, state)
    if fails(outcome):
        return Objection(failure(outcome), True)
    if unasked(talk, outcome):
        return _other_step(talk, outcome, command)
    question = which_language(talk, command)
    if question:
        return Objection(question, False)
    miss = (
        against(talk, command)[0]
        or miscopied(talk, outcome, command)
        or misplaced(talk, command)
        or unnamed(talk, command)
        or too_much(talk, command)
        or completed(talk, command)[0]
        or other_layout(talk, outcome, command)
        or other_end(talk, command)[0]
    )
    if miss:
        return _other_step(talk, outcome, command, f"{miss}. ")
    if verdict.danger == "read":
        return None
    try:
        return _consent(talk, verdict, outcome, command)
    except Exception:
        return Objection(_UNKNOWN, True, "consent")


def _consent(talk: Talk, verdict: Verdict, outcome: Outcome, command: str) -> Objection | None:
    """The question for consent; None where the conversation shows it, or none is needed."""
    state = talk.state
    if verdict.danger == "change" and not any(event.kind in _TELLS for event in outcome.events):
        return None
    found = explain(outcome, state, command)
    lost = losses(command, outcome, found, state, talk.ran)
    talk = talk.saying(without_spared(talk.said, state, command, outcome, loses=bool(lost)))
    if lost:
        table = any(event.kind in ("unpartition", "table") for event in outcome.events)
        known = any(loss.kind != review_loss.UNKNOWN for loss in lost)
        need, nodes = {loss.disk for loss in lost}, {loss.node for loss in lost}
        consent = talk.consent(need, nodes, table=table, known=known)
        if consent is Consent.ask and not known:
            consent = _never_used(talk, outcome, found, lost)
        if consent is not Consent.given and all(
            loss.kind.startswith(review_loss.CONTENT) for loss in lost
        ):  # a path tells where
            wanted = talk.deletes({event.detail for event in outcome.events})
            consent = Consent.given if wanted else Consent.ask
        text = f"This would erase {review_loss.told(lost, state)}. Shall I go ahead?"
    else:
        need = _worked_on(outcome, found, state)
        if verdict.danger == "destructive" and not {e.kind for e in outcome.events} & set(_TELLS):
            reason = f"{verdict.reason} Shall I go ahead?"  # the guard's word: files, in most cases
            if outcome.events and not _asked_for(talk, reason):
                return Objection(reason, False, "consent")
        if not need:
            unknown = outcome.unmodelled or outcome.opaque
            if verdict.danger == "destructive" and unknown and not outcome.events:
                # mkfs.jfs2: destructive by its name, and of what?
                return Objection(_UNKNOWN, True, "consent")
            return None
        consent = _direction(talk, outcome, need)
        text = _step(found, need, state)
    if consent is Consent.given:
        return None
    if consent is Consent.which:
        return Objection(which_disk(state), False, "which")
    if consent is Consent.leave:
        return Objection(f"All right, {_names(need)} stays as it is.", False, "consent")
    return Objection(text, False, "consent")


def _never_used(talk: Talk, outcome: Outcome, found: Explanation, lost: Sequence[Loss]) -> Consent:
    """Partitions without a known file system: one that is named goes in any words that take it away, and
    those of a disk without others are formatted as where nothing is lost."""
    done = {event.kind for event in outcome.events} & set(_WORK)
    gone = {event.device for event in outcome.events if event.kind == "unpartition"}
    if done == {"unpartition"} and talk.removes(gone):  # also those whose loss would be none
        return Consent.given
    if done == {"format"} and review_loss.unused(lost, talk.state, talk.ran):
        return _direction(talk, outcome, _worked_on(outcome, found, talk.state))
    return Consent.ask


def _direction(talk: Talk, outcome: Outcome, need: set[str]) -> Consent:
    """Whether a line that loses nothing and works on `need` is about the right disks, and wanted."""
    done = {event.kind for event in outcome.events}
    made = {event.device for event in outcome.events if event.kind == "format"}
    if "table" not in done:
        made |= set(talk.state.devices()) - set(outcome.state.devices())
    return talk.direction(
        need,
        made=made,
        table="unpartition" in done or "table" in done,
        new_table="table" in done,
        files="remove" in done and not done & set(_WORK),
    )


def _asked_for(talk: Talk, reason: str) -> bool:
    """Whether the last message wishes for a deed that destroys, or says yes to this question."""
    said = talk.said
    if say.refuses(said) or say.doubts(said) or scope.hedged(said):
        return False
    return say.destroys(wish.requests(said)) or talk.plan() == reason and say.agrees(said)


def _worked_on(outcome: Outcome, found: Explanation, state: SystemState) -> set[str]:
    """Paths of the disks that a line partitions, formats or empties."""
    nodes = {event.device for event in outcome.events if event.kind in _WORK and event.device}
    disks = {
        path for node in nodes for path in disks_of(state, node) | disks_of(outcome.state, node)
    }
    disks |= {f"/dev/{name}" for name in found.destroys}
    return disks & {disk.path for disk in state.disks}


def _step(found: Explanation, need: set[str], state: SystemState) -> str:
    """A question about a line that loses nothing."""
    lines = [line for line in found.lines[:4] if line]
    told = lines[0] if len(lines) == 1 else f"{', '.join(lines[:-1])} and {lines[-1]}"
    disks = [about(disk) for disk in state.disks if disk.path in need]
    on = "" if all(disk in told for disk in disks) else f" (disk {' and '.join(disks)})"
    return f"The next step {told}{on}. Is that what you want?"


def _other_step(talk: Talk, outcome: Outcome, command: str, why: str = "") -> Objection:
    """Another answer may be the step that was asked for; the question stands where none is."""
    found = explain(outcome, talk.state, command)
    lost = losses(command, outcome, found, talk.state, talk.ran)
    more = f"This would erase {review_loss.told(lost, talk.state)}. " if lost else ""
    need = _worked_on(outcome, found, talk.state)
    return Objection(why + more + _step(found, need, talk.state), True)


def _names(disks: set[str]) -> str:
    return " and ".join(sorted(path.removeprefix("/dev/") for path in disks))


def which_disk(state: SystemState) -> str:
    """The question that names every disk that could be meant."""
    disks = [about(disk) for disk in candidates(state)]
    return f"Which disk: {', '.join(disks[:-1])}, or {disks[-1]}?"
