"""Does a line have a part more than was asked for, or one less?

    too_much(talk, command)     # "You named /dev/sda2, and this works on /dev/sda1, too"
    completed(talk, command)    # (what it lacks, the line with it); ("", "") when nothing is missing

A small model writes the line it knows: both partitions are mounted when one was named, and a user is made
without the password that was asked for. Only what the words leave no doubt about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmkit.installer import review_wish as wish
from llmkit.installer import review_words as say
from llmkit.installer.explain_words import listed
from llmkit.installer.guard import check_command
from llmkit.installer.guard_names import disks_of
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_parts import roles
from llmkit.installer.review_plain import is_plain
from llmkit.installer.review_refer import Refs, candidates, efi, named, refer
from llmkit.installer.review_step import kept, kinds

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
_SAYS_AGAIN = re.compile(r"\bre-?(?:boot|start)(?:s|ed|ing)?\b")
SAYS_OFF = re.compile(
    r"\b(?:power ?-?off|power (?:it|this) off|shut ?-?down|(?:switch|turn) (?:\w+ ){0,2}off)\b"
)
_LAST = re.compile(
    r"(?P<before>.* && )?(?:(?P<off>(?:systemctl )?(?:poweroff|halt)|shutdown(?: -[hP])?(?: now)?)|"
    r"(?:systemctl )?reboot|shutdown -r(?: now)?)"
)
_END_WORDS = frozenset(
    "time for a an the it pc computer machine box system restart reboot shut down power off "
    "switch turn".split()
)
_ENDS = re.compile(
    r"\b(?:re-?boot\w*|re-?start\w*|boot\w*|power\w*|shut\w*|off|finish\w*|done|end|bye|leave|quit|go\w*|"
    r"ready|complete\w*|reset|halt|exit|please|pls|k|now|next|continue|proceed|follow\w*|new system|try it|"
    r"start\w*|yes|yep|sure|ok|eject|finali[sz]e|through|over|last|wrap|do|let's|these|those|both|all|"
    r"everything|them|steps?|rest|remaining)\b"
)
_WITH_IT = re.compile(r"\bwith (?:it|that|this)\b")
_RELEASES = re.compile(r"\b(?:u?n?mount\w*|release\w*|detach\w*|in use|busy)\b")
_ROOT_PART = re.compile(
    r"(?<!like )(?<!as )(?<!than )(?<!of )(?<!from )\b(?:the |its )root part(?:ition)?\b(?!s)"
)
_THE_ONE = re.compile(r"\b(?:the|its|it's) (?:second|last) one\b")
_MKFS_ALONE = re.compile(r"^mkfs\.(?:ext[234]|btrfs|xfs|f2fs) -[Ff] (/dev/\S+)$")
_ONE_PART = re.compile(
    r"\b(?:root|home|data|first|second|third|last|1st|2nd|3rd|only|just|again|other|anew|redo|part(?:ition)?|p\d+|"
    r"number|big|large|bigger|larger|one|fat\w*|efi|esp|boot|nothing|else|stays?)\b|#|\d\b(?<!ext\d)(?<!\wfs)"
)
_LAID_OUT = re.compile(
    r"^(?:sgdisk (?:-Z|--zap-all) \S+ && )?sgdisk -n 1:0:\+\w+ -t 1:ef00 -n 2:0:0 -t 2:8300 (/dev/\S+)$"
)
_ONE_MADE = re.compile(
    r"^parted -s (/dev/\S+) mklabel msdos mkpart primary 1MiB 100% set 1 boot on$"
)
_TWICE = "Two would be at one place"  # as _TOLD
_AGAIN = re.compile(
    r"(?:(?:please|pls|now|then|ok|yes)[ ,]+)*(?:mkfs|(?:re)?format)(?: on)?(?: the)?(?: partition)? "
    r"(\w+)(?: (?:again|once more|anew|please|pls|now))+"
)
_SENTENCE = re.compile(r"[.!?;]\s")
_NOT_ALL = re.compile(r"\b(?:not|you|yourself|later|only|never|then you)\b|n't\b")
_ENDINGS = ("reboot", "restart", "reset", "shutdown", "poweroff")
_TAKES = frozenset("m curious try choose pick chose go going let's".split())
_NO_NAMES = frozenset(
    "pw pass passwd password passwords sudo wheel admin administrator user users account login member "
    "members group new the a an my me for with without and plus that this it one name named called "
    "home shell bash he she they it we you who someone somebody everyone everybody him her them us root "
    "please now also too here later first second guest linux "
    "username wifi wlan system luks hostname host disk drive encryption".split()
)
_NEW_USER = (
    re.compile(
        r"^(?:add |create |make |user |useradd |new user )*([a-z][a-z0-9_-]*) ?[+&] ?(?:pw|pass\w*)\b"
    ),
    re.compile(
        r"^([a-z][a-z0-9_-]*) (?:needs|gets|wants|must have|should (?:have|get)) an? (?:\w+ )?"
        r"(?:account|login|user)\b"
    ),
)
_PLAN_FORMATS = re.compile(r"\b(?:and|,) format (?:the |its |both |all )*part(?:ition)?s?\W*$")
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
_UNLOCKS = re.compile(r"\b(?:not|never|n't|dont|no need to|no) (?:\w+ )?lock\b|\bunlock")
_PASSWD = re.compile(r"\bpasswd ([a-z_][\w.-]*)$")


def the_part(talk: Talk) -> frozenset[str]:
    """The partition that a message names by what it is for, or as the second "one" of the only disk, which
    has one for the firmware and one for data."""
    own = candidates(talk.state)
    text = say.folded(kept(talk.said))
    esps = efi(talk.state)
    if len(own) != 1 or own[0].path in named(text, talk.state) or talk.plan():
        return frozenset()
    nodes = [own[0].partition_path(part.number) for part in own[0].partitions]
    if len(nodes) == 2 and not esps & set(nodes):  # a context does not say of what type they are
        first = own[0].partitions[0]
        small = first.size <= 2 << 30 and (not first.signature or first.signature.kind == "vfat")
        esps = frozenset(nodes[:1] if small else ())
    if len(nodes) != 2 or len(esps & set(nodes)) != 1:
        return frozenset()
    if _ROOT_PART.search(text):
        return frozenset(nodes) - esps
    found = _THE_ONE.search(text)
    told = any(not turn.user and not turn.ran for turn in talk.turns[-1:])  # of what, then?
    return frozenset() if not found or told else frozenset({nodes[-1]})


def too_much(talk: Talk, command: str) -> str:
    """That partitions are worked on beside the one that the message names; "": none are."""
    if without_restart(talk, command):
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
    plain = _WITH_IT.sub(" ", plain)
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


def without_restart(talk: Talk, command: str) -> str:
    """The line without the restart at its end, where nobody spoke of one; else ""."""
    found = _RESTART.match(command)
    told = [turn.text for turn in talk.turns if not turn.user and not turn.ran][-1:]
    plain = say.folded(f"{talk.said} {' '.join(told)}")
    if (
        not found
        or not _RELEASES.search(say.folded(talk.said))
        or _ENDS.search(plain)
        or any(say.typed(w, _ENDINGS) for w in say.words(plain))
    ):
        return ""
    return found[1]


def other_end(talk: Talk, command: str) -> tuple[str, str]:
    """What is against a line that switches the machine off where the message says to restart it, or the
    other way round, and the line that was asked for; "" where nothing is, or the line is not sure."""
    text = say.folded(kept(talk.said))
    again, off = _SAYS_AGAIN.search(text) is not None, SAYS_OFF.search(text) is not None
    found = _LAST.fullmatch(command)
    if again == off or not found or bool(found["off"]) == off:
        return "", ""
    wrong = "restart, and this switches the machine off" if again else "shutdown, and this restarts"
    known = is_plain(talk.said, frozenset(), talk.state, _END_WORDS)
    line = f"{found['before'] or ''}{'reboot' if again else 'poweroff'}"
    return f"You asked for a {wrong}", line if known else ""


def _esp_too(talk: Talk, command: str) -> tuple[str, str]:
    """A file system for the root partition alone, where no partition was named: the EFI partition beside
    it has none yet, and nothing starts from it."""
    found = _MKFS_ALONE.match(command)
    text = say.folded(talk.said)
    if (
        not found
        or talk.plan()
        or _ONE_PART.search(text)
        or not (kinds(text) or _FORMATS.search(text))
    ):
        return "", ""
    if not is_plain(talk.said, frozenset(), talk.state, _TAKES):
        return "", ""
    disks = disks_of(talk.state, found[1])
    blank = [node for node in efi(talk.state, blank=True) if disks_of(talk.state, node) == disks]
    several = any(len(disk.partitions) > 2 for disk in candidates(talk.state) if disk.path in disks)
    if several or len(blank) != 1 or blank[0] == found[1]:
        return "", ""
    return "The EFI partition has no file system yet", f"mkfs.fat -F32 {blank[0]} && {command}"


def _formats_too(talk: Talk, command: str) -> tuple[str, str]:
    """A disk is only partitioned, where the plan that the message says yes to formats it, too."""
    said = [part for part in _SENTENCE.split(talk.plan().lower()) if _PLAN_FORMATS.search(part)]
    if len(said) != 1 or _NOT_ALL.search(said[0]) or not wish.says_nothing_new(talk.said):
        return "", ""
    if any(kinds(turn.text) for turn in talk.turns if not turn.ran) or not say.agrees(talk.said):
        return "", ""
    for disk in candidates(talk.state):
        found = [pattern.fullmatch(command) for pattern in (_LAID_OUT, _ONE_MADE)]
        places = [match[1] == disk.path for match in found if match]
        if not any(places):
            continue
        first, second = disk.partition_path(1), disk.partition_path(2)
        esp, root = (f"mkfs.fat -F32 {first} && ", second) if found[0] else ("", first)
        more = f"{esp}mkfs.ext4 -F {root}"
        return "You said yes to file systems, too", f"{command} && {more}"
    return "", ""


def _format_it(talk: Talk, command: str) -> tuple[str, str]:
    """Another deed, where one partition that has a file system is to be formatted again, as it is."""
    found = _AGAIN.fullmatch(say.folded(kept(talk.said)).replace("/dev/", "").strip(" .!"))
    if not found or "mkfs" in command or check_command(command, talk.state).danger == "read":
        return "", ""
    here = {
        disk.partition_path(part.number): part.signature.kind
        for disk in candidates(talk.state)
        for part in disk.partitions
        if part.signature
    }
    node = f"/dev/{found[1]}"
    kind = here.get(node, "")
    line = f"mkfs.{kind} {FLAGS[kind]} {node}" if kind in FLAGS else ""
    return ("You asked for a file system", line) if line else ("", "")


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
    admin = " -G wheel" if "wheel" in command or _ADMIN.search(text) else ""
    line = f"arch-chroot /mnt useradd -m{admin} -s /bin/bash {name}"
    more = f" && arch-chroot /mnt passwd {name}" if _PASSWORD.search(text) else ""
    return f"You spoke of {name}", line + more


def _same_place(talk: Talk, command: str) -> tuple[str, str]:
    """Two partitions at one place, and the second is for homes."""
    places = _PLACE.findall(command)
    twice = len(places) > 1 and len(set(places)) < len(places) and "remount" not in command
    if talk.plan().startswith(_TWICE) or not twice:
        return "", ""
    before, _, last = command.rpartition(" && ")
    node = next(iter(named(last, talk.state)), "")
    asked = [kept(talk.said), *(kept(turn.text) for turn in talk.turns if turn.user)]
    homes = any("home" in text.lower() for text in asked) and not any(
        re.search(r"\bno\b[^.,]*\bhome\b", text.lower()) for text in (talk.said, *asked)
    )
    fits = homes and places[-1] in places[:-1] and roles(talk.state).get(node) == "home"
    return _TWICE, f"{before} && mount --mkdir {node} /mnt/home" if fits else ""


def _without_wheel(text: str, name: str) -> bool:
    """Whether a message says of this one user that it is not to be in wheel, and of no other."""
    found = _NO_WHEEL.search(text)
    if found is None or "?" in text or len(_ADMIN.findall(text)) != 1:
        return False
    whose = re.match(r" for (\w+)", text[found.end() :])
    return whose is None or whose[1] == name


def _locks(text: str) -> bool:
    """Whether a message wants an account locked, whatever it says no to: `no, keep it but lock it`."""
    if _PASSWORD.search(text) or "?" in text or _UNLOCKS.search(text):
        return False
    return _LOCK.search(text) is not None


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
    if _locks(say.folded(talk.said)) and _PASSWD.search(command):
        return f"{_TOLD} to lock it", _PASSWD.sub(r"passwd -l \1", command)
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
