"""Laws of the shipped conversations: nothing is expected that nobody could know."""

from __future__ import annotations

import re
from itertools import islice

import augment_support

from llmkit.augment_plan import Plan, plan
from llmkit.domain import get_domain
from llmkit.records import load_conversations
from llmkit.toolkit import find_toolkit

DOMAIN = get_domain("installer")
_MADE = re.compile(r"\bmkfs(?:\.| -t )(btrfs|xfs|f2fs)\b")
_ALSO = {"f2fs": "f2fs|flash[- ]friendly", "btrfs": "btrfs|butter", "xfs": "xfs"}


def unknowable(planned: Plan) -> list[tuple[int, str]]:
    """Turns with a wording after which a command makes a file system that was not named: not by that
    wording, nor by every wording of a turn before, nor by an answer or the machine's context."""
    found = []
    named: set[str] = set()  # by all ways in which the conversation can have gone so far
    for number, turn in enumerate(planned.turns, 1):
        for answer in turn.answers:
            for name in _MADE.findall(answer.get("command", "")):
                word = re.compile(_ALSO[name], re.IGNORECASE)
                if name in named or word.search(turn.context):
                    continue
                found += [(number, one.text) for one in turn.wordings if not word.search(one.text)]
        for name, words in _ALSO.items():
            word = re.compile(words, re.IGNORECASE)
            said = all(word.search(one.text) for one in turn.wordings)
            if said or all(word.search(text) for text in turn.history):
                named.add(name)
    return found


def test_no_command_makes_a_file_system_that_nobody_named() -> None:
    """ext4 is what is made without a name; of the others each is tried on a machine."""
    wrong = []
    tried = 0
    for talk in load_conversations(find_toolkit().data / "conversations")[0]:
        left = {"btrfs", "xfs", "f2fs"}
        scenarios = DOMAIN.every_scenario(augment_support.config(), talk.when, talk.start)
        for scenario in islice(scenarios, 400):
            name = scenario.summary["filesystem"]
            if name not in left:
                continue
            left.remove(name)
            tried += 1
            wrong += [(talk.id, name, *one) for one in unknowable(plan(talk, scenario, DOMAIN))]
            if not left:
                break
    assert tried > 1000
    assert not wrong, "\n".join(map(str, wrong))
