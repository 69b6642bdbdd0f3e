"""Does a line have the values that the person gave: the path, the name, the locale, the device?

    miscopied(talk, outcome, command)      # "You named /srv, and this is without it"; "": it has

A small model copies most values and makes up some: `useradd tom` for "add a user tim", /mnt/boot for "at
/mnt/boot/efi". Nothing is wrong with such a line on its own, so only the words that were said tell.
"""

from __future__ import annotations

import re

from llmkit.installer import review_words as say
from llmkit.installer.assistant_meant import named
from llmkit.installer.explain_words import listed
from llmkit.installer.guard_names import disks_of, presence
from llmkit.installer.interpret_types import Outcome
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_refer import candidates, refer
from llmkit.installer.review_step import kept, like, sizes
from llmkit.installer.state import SystemState

# As people write them in a message, in lower case: /mnt/boot/efi, Europe/Berlin, de_DE.
_PATH = re.compile(r"(?<![\w/.~'\"-])/(?!dev\b)[a-z][\w./@-]*\w")
_ZONE = re.compile(
    r"(?<![\w/])(?:africa|america|antarctica|asia|atlantic|australia|europe|indian|pacific)/\w[\w/-]*\w"
)
_LOCALE = re.compile(r"(?<![\w-])[a-z]{2,3}_[a-z]{2}(?=[.@]|\b)")
_ROLES = ("/home", "/root", "/boot", "/var", "/swap", "/boot/efi", "/efi")  # of partitions to come
_NAMED = ("user", "hostname", "password", "group", "remove")
_GIVEN = frozenset(("root", "wheel", "localhost"))
_MARKS = re.compile(r"[+:=]")  # 2:0:+20G
_FILE = re.compile(r"\b(?:swap ?)?file\b")
_OTHER = re.compile(r"\b(?:other|another|counterpart|second|instead)\b")
_NAME = re.compile(r"[\w.-]+")


def miscopied(talk: Talk, outcome: Outcome, command: str) -> str:
    """Which value of the last message the line lacks, or which name it has that nobody said; ""
    where nothing is wrong. "yes" to a question that says so lets the line pass."""
    said = kept(talk.said)
    lacking = _lacking(said, outcome, command)
    if lacking:
        written = re.search(re.escape(lacking), talk.said, re.IGNORECASE)
        return f"You named {written[0] if written else lacking}, and this is without it"
    invented = _invented(talk, outcome)
    if invented:
        return f"This has the name {invented}, which you did not say"
    if _other_size(said, talk, outcome, command):
        return "This has another size than you said"
    return _other_node(said, talk, command)


def _lacking(said: str, outcome: Outcome, command: str) -> str:
    """A path, zone or locale of the message that is not in a line that changes something."""
    kinds = {event.kind for event in outcome.events} - {"read"}
    if not kinds:
        return ""
    line = command.lower()
    for path in _PATH.findall(said):
        to_come = path in _ROLES and kinds & {"table", "partition", "format"}
        if not to_come and path not in line and path.removeprefix("/mnt") not in line:
            return str(path)
    zones = [event.detail.lower() for event in outcome.events if event.kind == "timezone"]
    for zone in _ZONE.findall(said) if zones else []:
        if not any(say.near(zone, other) for other in zones):
            return str(zone)
    values = _LOCALE.findall(said) if "locale" in kinds else []
    return next((value for value in values if value not in line), "")


def _invented(talk: Talk, outcome: Outcome) -> str:
    """The name of a user or host that nobody has said, up to a letter."""
    before = _names(talk.state)
    names = set()
    for event in outcome.events:
        if event.detail.endswith("/etc/hostname"):
            names |= {tree.hostname for _, tree in outcome.state.trees}
        elif event.kind in _NAMED and not event.detail.startswith("/"):
            found = _NAME.search(event.detail.removeprefix("user "))
            names.add(found[0] if found else "")
    names -= before | _GIVEN | {""}
    if not names:
        return ""
    heard = [talk.said, *(turn.text or turn.ran for turn in talk.turns)]
    text = "\n".join(heard).lower()
    words = set(_NAME.findall(say.folded(text)))
    for name in sorted(names):
        plain = name.lower()
        if plain not in text and not any(_alike(word, plain) for word in words):
            return name
    return ""


def _names(state: SystemState) -> set[str]:
    """Users and hosts of a machine."""
    trees = [tree for _, tree in state.trees]
    return {user.name for tree in trees for user in tree.users} | {tree.hostname for tree in trees}


def _alike(word: str, name: str) -> bool:
    """Whether a word may be the name with a slip: a letter wrong, missing, doubled or swapped."""
    return say.near(word, name, 4) or say.near(word, name[:-1], 4)


def _other_size(said: str, talk: Talk, outcome: Outcome, command: str) -> bool:
    """Sizes are given for a partition or a file, and the line has others."""
    if not any(event.kind in ("partition", "file", "swap") for event in outcome.events):
        return False
    wanted, _ = sizes(_FILE.sub(" ", said), [disk.size for disk in talk.state.disks])
    given, _ = sizes(_MARKS.sub(" ", command), [])
    return bool(wanted and given) and not any(like(one, two) for one in wanted for two in given)


def _other_node(said: str, talk: Talk, command: str) -> str:
    """That the message names partitions or disks, and the line names only others."""
    if _OTHER.search(said):
        return ""
    here = presence(talk.state)
    wanted = {name for name in named(said) if here.has(name)}
    if not wanted:
        refs = refer(said, talk.state, talk.topic)
        wanted = set(refs.nodes) if refs.sure and len(refs.nodes) == 1 else set()
    used = set(named(command))
    if not wanted or not used or wanted & used:
        return ""
    disks = {name: disks_of(talk.state, name) for name in wanted | used}
    own = {disk.path for disk in candidates(talk.state)}
    if not any(disks[want] & own for want in wanted):
        return ""  # the medium that this runs from: others have more to say about it
    if any(use in disks[want] or want in disks[use] for want in wanted for use in used):
        return ""  # a disk and a partition of it
    return f"You named {listed(sorted(wanted))}, and this is about {listed(sorted(used))}"
