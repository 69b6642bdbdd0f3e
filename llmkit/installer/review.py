"""A proposed command in its conversation: may it be proposed, and if not, what does the person get?

    review(state, messages, command)       # None, or "This would erase everything on sda (…): …"

The guard sees a line and a machine. The review also sees what was said: whether the line is about the
disk that was named, whether anybody wants what it destroys, whether it can work at all. Where something
is against it, the text takes the command's place. A question for consent is such that "yes" makes the
same command pass. See docs/review.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmkit.domain import Objection
from llmkit.installer import review_loss
from llmkit.installer.assistant_meant import other_device
from llmkit.installer.explain import explain
from llmkit.installer.guard import check_command
from llmkit.installer.review_consent import Consent, Talk
from llmkit.installer.review_failure import fails, failure
from llmkit.installer.review_loss import about, losses
from llmkit.installer.review_refer import candidates
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState


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
    try:
        return _objection(state, messages, command.strip(), confirm)
    except Exception:  # as the guard does: a bug here must not let a line through
        return Objection("I could not work out what that would do, so nothing was run.", True)


def _objection(
    state: SystemState, messages: Sequence[Mapping[str, str]], command: str, confirm: bool
) -> Objection | None:
    talk = Talk(messages, state)
    absent = other_device(talk.said, command, state)
    if absent:
        return Objection(absent, False)
    verdict = check_command(command, state)
    if not verdict.allowed:
        return Objection(verdict.reason, True)
    if verdict.danger == "forbidden":
        return Objection(f"I will not run this. {verdict.reason}", False)
    outcome = run_command(command, state)
    if fails(outcome):
        return Objection(failure(outcome), True)
    if not confirm or verdict.danger == "read":
        return None
    found = explain(outcome, state, command)
    lost = losses(command, outcome, found, state, talk.ran)
    if not lost:
        return None
    consent = talk.consent({loss.disk for loss in lost}, {loss.node for loss in lost})
    if consent is Consent.given:
        return None
    if consent is Consent.which:
        return Objection(_which(state), False)
    return Objection(f"This would erase {review_loss.told(lost, state)}. Shall I go ahead?", False)


def _which(state: SystemState) -> str:
    """The question that names every disk that could be meant."""
    disks = [about(disk) for disk in candidates(state)]
    return f"Which disk: {', '.join(disks[:-1])}, or {disks[-1]}?"
