"""Does a line have a part more than was asked for, or one less?

    too_much(talk, command)     # "You named /dev/sda2, and this works on /dev/sda1, too"
    completed(talk, command)    # (what it lacks, the line with it); ("", "") when nothing is missing

A small model writes the line it knows: both partitions are mounted when one was named, and a user is made
without the password that was asked for. Only what the words leave no doubt about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmkit.installer import review_words as say
from llmkit.installer.explain_words import listed
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_refer import named, refer
from llmkit.installer.review_step import kept

_MORE = re.compile(  # words that may mean other partitions
    r"\b(?:all|both|esp|efi|boot|rest|every\w*|and|three|two|swap|also|then|plus|home|them|with|anything|"
    r"install\w*|v?fat\w*|set ?up|ready|prepare|others?)\b|[+&]"
)
_FORMATS = re.compile(r"\b(?:mkfs|(?:re)?format\w*)\b")
_WORKS = re.compile(r"\b(?:mount|mkfs\.\w+)\b")
_USER = re.compile(r"^(.*?\s)?useradd (?:\S+ )*([a-z_][\w.-]*)$")
_PASSWORD = re.compile(r"\b(?:passwd|passwords?|pw)\b")
_OTHER_WISH = re.compile(
    r"\b(?:no|not|without|later|after\w*|skip|never|don'?t|expired?|locked?)\b|\?"
)
_COPY = re.compile(r"^rsync\b.* /mnt/?$")
_WHEEL = re.compile(r" -G wheel ")
_NO_WHEEL = re.compile(
    r"\b(?:no|not(?: an?| in| into)?|without(?: the)?|leave out(?: the)?|minus)(?: group)? "
    r"(?:wheel|sudo|admin\w*)\b(?! (?:password|pw|yet))"
)
_COUNTED = re.compile(r"\b(?:partition|part|number|p|#) ?(?:one|two|three|[1-9])\b")
_TO_MNT = re.compile(
    r"\bpartition\b.*(?<![\w/])/mnt(?![\w/])|(?<![\w/])/mnt(?![\w/]).*\bpartition\b"
)
_ELSEWHERE = re.compile(r"\bmount\b[^&;|]* /mnt/\S")
_TOLD = "You asked"  # how an objection begins; a yes to it is for the line as it is
_ADMIN = re.compile(r"\b(?:wheel|sudo\w*|admin\w*)\b")
_WITH_PASSWORD = re.compile(
    r"\b(?:with|and|plus|set|give|gets?)(?: set| give)?(?: (?:an?|the|her|his|my|their|it|him|them))* "
    r"(?:password|passwd|pw)(?: for (?:it|her|him|them))?(?: too| please| also| as well)?\W*$"
)
_WITH_FSTAB = re.compile(
    r"\b(?:and|with|plus|then)(?: (?:write|make|generate|create|do))?(?: (?:the|an?|its))? fstab\W*$|"
    r"\bfstab (?:too|as well|also)\W*$|\b(?:and|\+|then|,) ?genfstab\W*$|^rsync,? genfstab\W*$"
)
_LOCK = re.compile(
    r"(?<!num )(?<!caps )\block (?:it|that|root|the (?:root )?(?:account|login|user|password))\b"
)
_PASSWD = re.compile(r"\bpasswd ([a-z_][\w.-]*)$")


def too_much(talk: Talk, command: str) -> str:
    """That partitions are worked on beside the one that the message names; "": none are."""
    if "&&" not in command or not _WORKS.search(command):
        return ""
    state = talk.state
    disks = {disk.path for disk in state.disks}
    text = kept(talk.said)
    refs = refer(text, state, talk.topic)
    used = named(command, state) - disks
    plain = _COUNTED.sub(" ", say.folded(text).replace("/dev/", "").replace("after all", ""))
    if _MORE.search(plain) or "mkfs" not in command and _FORMATS.search(plain):
        return ""
    if not refs.nodes - disks and _TO_MNT.search(plain) and _ELSEWHERE.search(command):
        return "You spoke of one partition at /mnt, and this mounts another one, too"
    if not refs.sure or not refs.nodes or refs.nodes & disks or not used > refs.nodes:
        return ""
    more = listed(sorted(used - refs.nodes))
    return f"You named {listed(sorted(refs.nodes))}, and this works on {more}, too"


def only_to_mnt(parts: Sequence[str]) -> str:
    """A line of these parts without what it mounts below /mnt."""
    keep = [p for p in parts if not _ELSEWHERE.search(p) and not p.startswith("mkdir ")]
    return " && ".join(keep) if any(p.startswith("mount ") for p in keep) else ""


def _without_wheel(text: str, name: str) -> bool:
    """Whether a message says of this one user that it is not to be in wheel, and of no other."""
    found = _NO_WHEEL.search(text)
    if found is None or "?" in text or len(_ADMIN.findall(text)) != 1:
        return False
    whose = re.match(r" for (\w+)", text[found.end() :])
    return whose is None or whose[1] == name


def completed(talk: Talk, command: str) -> tuple[str, str]:
    """What the message asks for beside what the line does, and the line with it."""
    text = say.folded(kept(talk.said))
    user = _USER.match(command)
    if user and _WHEEL.search(command) and _without_wheel(talk.said.lower(), user[2].lower()):
        return "You said: not in wheel", _WHEEL.sub(" ", command)
    if _OTHER_WISH.search(talk.said.lower()):
        return "", ""
    if user and "passwd" not in command and _WITH_PASSWORD.search(text):
        return f"{_TOLD} for a password, too", f"{command} && {user[1] or ''}passwd {user[2]}"
    if _COPY.match(command) and _WITH_FSTAB.search(text):
        return f"{_TOLD} for the fstab, too", f"{command} && genfstab -U /mnt >> /mnt/etc/fstab"
    plan = talk.plan()
    agreed = plan and say.agrees(talk.said) and not plan.startswith(_TOLD)
    asked = text if _LOCK.search(text) else plan.lower() if agreed else ""
    plain = not _PASSWORD.search(text) and not (agreed and re.search(r"\bor\b", plan))
    if _LOCK.search(asked) and plain and _PASSWD.search(command):
        return f"{_TOLD} to lock it", _PASSWD.sub(r"passwd -l \1", command)
    return "", ""
