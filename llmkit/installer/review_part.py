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
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_plain import is_plain
from llmkit.installer.review_refer import Refs, candidates, efi, named, refer
from llmkit.installer.review_step import kept, kinds, roles

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
_RESTART = re.compile(r"^(.*\S) && (?:systemctl )?(?:reboot|poweroff|shutdown\b[^&]*)$")
_ENDS = re.compile(
    r"\b(?:re-?boot\w*|re-?start\w*|boot\w*|power\w*|shut\w*|off|finish\w*|done|end|bye|leave|quit|go\w*|"
    r"ready|complete\w*|next|continue|proceed|follow\w*|new system|try it|start\w*|yes|yep|sure|ok|eject|"
    r"finali[sz]e|through|over|last|wrap|do|let's|these|those|both|all|everything|them|steps?|rest|remaining)\b"
)
_ROOT_PART = re.compile(r"\b(?:the |its )root part(?:ition)?\b(?!s)")
_THE_ONE = re.compile(r"\b(?:the|its|it's) (first|second|third|last) one\b")
_MKFS_ALONE = re.compile(r"^mkfs\.(?:ext[234]|btrfs|xfs|f2fs) -[Ff] (/dev/\S+)$")
_ONE_PART = re.compile(
    r"\b(?:root|home|data|first|second|third|last|1st|2nd|3rd|only|just|again|other|anew|redo|part(?:ition)?|p\d+|"
    r"number|big|large|bigger|larger|one)\b|#|\d\b(?<!ext\d)(?<!\wfs)"
)
_LAID_OUT = re.compile(
    r"^(?:sgdisk (?:-Z|--zap-all) \S+ && )?sgdisk -n 1:0:\+\w+ -t 1:ef00 -n 2:0:0 -t 2:8300 (/dev/\S+)$"
)
_ONE_MADE = re.compile(
    r"^parted -s (/dev/\S+) mklabel msdos mkpart primary 1MiB 100% set 1 boot on$"
)
_TWICE = "Two would be at one place"  # as _TOLD
_AGAIN = re.compile(r"^(?:\w+ )?(?:mkfs(?:\.\w+)?|(?:re)?format\w*)\b")
_AGAIN_WORDS = frozenset("again once more anew over reformat".split())
_NO_NAMES = frozenset(
    "pw pass passwd password passwords sudo wheel admin administrator user users account login member "
    "members group new the a an my me for with without and plus that this it one name named called "
    "home shell bash".split()
)
_NEW_USER = (
    re.compile(
        r"^(?:add |create |make |user |useradd |new user )*([a-z][a-z0-9_-]*) ?[+&] ?(?:pw|pass\w*)\b"
    ),
    re.compile(
        r"^([a-z][a-z0-9_-]*) (?:needs|gets|wants|must have|should (?:have|get)) an? (?:\w+ )?"
        r"(?:account|login|user)\b"
    ),
    re.compile(r"\b(?:user|account|login) (?:named |called |for )?([a-z][a-z0-9_-]*)\W*$"),
)
_PLAN_FORMATS = re.compile(r"\b(?:and|,) format (?:the |its |both |all )*part(?:ition)?s?\b")
_PLACE = re.compile(r"\bmount(?: -\S+)* (?:\S+ )?(/mnt\S*)(?= &&|$)")
FLAGS = {"ext2": "-F", "ext3": "-F", "ext4": "-F", "btrfs": "-f", "xfs": "-f", "f2fs": "-f"}
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


def the_part(talk: Talk) -> frozenset[str]:
    """The partition that a message names by what it is for, or as the second "one" of the only disk."""
    own = candidates(talk.state)
    text = say.folded(kept(talk.said))
    if len(own) != 1 or len(own[0].partitions) < 2 or own[0].path in named(text, talk.state):
        return frozenset()
    disk = own[0]
    if _ROOT_PART.search(text):
        return frozenset(node for node, role in roles(talk.state).items() if role == "root")
    found = _THE_ONE.search(text)
    if not found:
        return frozenset()
    place = {"first": 0, "second": 1, "third": 2, "last": -1}[found[1]]
    numbers = [part.number for part in disk.partitions]
    return frozenset({disk.partition_path(numbers[place])} if place < len(numbers) else ())


def too_much(talk: Talk, command: str) -> str:
    """That partitions are worked on beside the one that the message names; "": none are."""
    if _RESTART.match(command) and not _ENDS.search(f"{talk.said} {talk.plan()}".lower()):
        return "Nobody spoke of a restart"
    if "&&" not in command or not _WORKS.search(command):
        return ""
    state = talk.state
    disks = {disk.path for disk in state.disks}
    text = kept(talk.said)
    refs = refer(text, state, talk.topic)
    part = frozenset() if refs.nodes else the_part(talk)
    if part:
        refs = Refs(part, refs.disks)
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


def without_restart(command: str) -> str:
    """The line without the restart at its end; "" where there is none."""
    found = _RESTART.match(command)
    return found[1] if found else ""


def _esp_too(talk: Talk, command: str) -> tuple[str, str]:
    """A file system for the root partition alone, where no partition was named: the EFI partition beside
    it has none yet, and nothing starts from it."""
    found = _MKFS_ALONE.match(command)
    text = say.folded(kept(talk.said))
    if not found or talk.plan() or _ONE_PART.search(text):
        return "", ""
    if not (kinds(text) or _FORMATS.search(text)) or named(text, talk.state) & {found[1]}:
        return "", ""
    disks = disks_of(talk.state, found[1])
    blank = [node for node in efi(talk.state, blank=True) if disks_of(talk.state, node) == disks]
    several = any(len(disk.partitions) > 2 for disk in candidates(talk.state) if disk.path in disks)
    if several or len(blank) != 1 or blank[0] == found[1]:
        return "", ""
    return "The EFI partition has no file system yet", f"mkfs.fat -F32 {blank[0]} && {command}"


def _formats_too(talk: Talk, command: str) -> tuple[str, str]:
    """A disk is only partitioned, where the plan that the message says yes to formats it, too."""
    plan = talk.plan()
    if not _PLAN_FORMATS.search(plan.lower()) or not say.agrees(talk.said):
        return "", ""
    said = set().union(*(kinds(turn.text) for turn in talk.turns if not turn.ran), kinds(talk.said))
    if len(said & set(FLAGS)) > 1:
        return "", ""
    kind = next(iter(said & set(FLAGS)), "ext4")
    for disk in candidates(talk.state):
        found = [pattern.fullmatch(command) for pattern in (_LAID_OUT, _ONE_MADE)]
        places = [match[1] == disk.path for match in found if match]
        if not any(places):
            continue
        first, second = disk.partition_path(1), disk.partition_path(2)
        esp, root = (f"mkfs.fat -F32 {first} && ", second) if found[0] else ("", first)
        more = f"{esp}mkfs.{kind} {FLAGS[kind]} {root}"
        return "You said yes to file systems, too", f"{command} && {more}"
    return "", ""


def _format_it(talk: Talk, command: str) -> tuple[str, str]:
    """Another deed, where one partition that has a file system is to be formatted again, as it is."""
    text = kept(talk.said)
    nodes = named(text, talk.state) - {disk.path for disk in talk.state.disks}
    if "mkfs" in command or len(nodes) != 1 or not _AGAIN.search(say.folded(text)):
        return "", ""
    (node,) = nodes
    if not is_plain(text, nodes, talk.state, _AGAIN_WORDS):
        return "", ""
    here = {
        disk.partition_path(part.number): part.signature.kind
        for disk in candidates(talk.state)
        for part in disk.partitions
        if part.signature
    }
    said = kinds(text) & set(FLAGS)
    kind = next(iter(said)) if len(said) == 1 else here.get(node, "")
    if kind not in FLAGS or len(said) > 1:
        return "", ""
    return "You asked for a file system", f"mkfs.{kind} {FLAGS[kind]} {node}"


def _user_named(talk: Talk, command: str) -> tuple[str, str]:
    """A user without a name, or called `pw`, where the message says the name."""
    if not re.search(r"\buseradd\b", command):
        return "", ""
    made = _USER.match(command)
    if made and made[2] not in _NO_NAMES:
        return "", ""
    text = talk.said.lower().strip()
    names = {found[1] for pattern in _NEW_USER if (found := pattern.search(text))} - _NO_NAMES
    if len(names) != 1 or _OTHER_WISH.search(text):
        return "", ""
    (name,) = names
    line = f"arch-chroot /mnt useradd -m -G wheel -s /bin/bash {name}"
    more = f" && arch-chroot /mnt passwd {name}" if _PASSWORD.search(text) else ""
    return f"You spoke of {name}", line + more


def _same_place(talk: Talk, command: str) -> tuple[str, str]:
    """Two partitions at one place, and the second is for homes."""
    places = _PLACE.findall(command)
    if talk.plan().startswith(_TWICE) or len(places) < 2 or len(set(places)) == len(places):
        return "", ""
    before, _, last = command.rpartition(" && ")
    homes = any(
        "home" in text for text in (talk.said, *(turn.text + turn.ran for turn in talk.turns))
    )
    node = next(iter(named(last, talk.state)), "")
    fits = homes and places[-1] in places[:-1] and node and node not in efi(talk.state)
    return (
        "Two would be at one place",
        f"{before} && mount --mkdir {node} /mnt/home" if fits else "",
    )


def _without_wheel(text: str, name: str) -> bool:
    """Whether a message says of this one user that it is not to be in wheel, and of no other."""
    found = _NO_WHEEL.search(text)
    if found is None or "?" in text or len(_ADMIN.findall(text)) != 1:
        return False
    whose = re.match(r" for (\w+)", text[found.end() :])
    return whose is None or whose[1] == name


def completed(talk: Talk, command: str) -> tuple[str, str]:
    """What the message asks for beside what the line does, and the line with it."""
    for rule in (_same_place, _esp_too, _formats_too, _format_it, _user_named):
        found = rule(talk, command)
        if found[0]:
            return found
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
