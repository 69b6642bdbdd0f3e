"""What a line has against the words of the message, or in itself, that no disk tells.

    against(talk, command)       # ("You said: no change of the keyboard", "the line without that"); ("", "")

Settings that are to stay as they are, swap that nobody wants, the group wheel for an ordinary account, a
boot loader for the other firmware, a language that a country has several of, a size without a unit (which
sgdisk counts in sectors), a partition that one line formats twice.
"""

from __future__ import annotations

import re

from llmkit.installer import review_words as say
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_layout import AND
from llmkit.installer.review_step import kept

_SETTINGS = (  # what people call it; the parts of a line that change it
    ("keyboard", r"keyboard|keymap|key ?layout", r"KEYMAP=|\bloadkeys\b|vconsole|set-keymap"),
    ("language", r"lang|language|locale\.conf", r"\bLANG=|locale\.conf|\bset-locale\b"),
    ("time zone", r"time ?zone|tz", r"/etc/localtime|\bset-timezone\b"),
    ("host name", r"host ?name", r"/etc/hostname|\bset-hostname\b"),
    ("fstab", r"fstab", r"\bgenfstab\b|/etc/fstab"),
    ("boot loader", r"boot ?loader|grub(?!\.cfg)", r"\b(?:grub-(?:install|mkconfig)|bootctl|efibootmgr)\b"),
    ("network", r"network|wi-?fi", r"\bnmcli\b|\biwctl\b|\bip link set\b"),
)  # fmt: skip
_LEFT_ALONE = (  # {}: the setting
    r"\b(?:don'?t|do not|never|without|no need to|not to|not) (?:\w+ ){{0,2}}?(?:touch\w*|chang\w*|alter\w*|"
    r"edit\w*|modif\w*) (?:the |my |its |any(?:thing of the)? )?(?:{0})\b",
    r"\bno changes? (?:of|to|in|on) (?:the |my )?(?:{0})\b",
    r"\b(?:leave|keep) (?:the |my )?(?:{0}) (?:alone|as (?:(?:it|that) )?is|untouched|unchanged|the same)\b",
    r"\b(?:the |my )?(?:{0}) (?:stays?|remains?) (?:as (?:it|that) is|unchanged|untouched|the same)\b",
    r"\b(?:{0}) (?:is to |shall |should )?(?:stay|remain|be left) (?:as (?:it|that) is|unchanged|alone)\b",
)
_NO_SWAP = re.compile(
    r"\b(?:without(?: any| a)?|no|not any|skip(?: the)?|leave out(?: the)?) swap\b(?! ?file)"
)
_SWAP = re.compile(r"\bmkswap\b|\b8200\b|\blinux-swap\b|\bswapon\b")
_ORDINARY = re.compile(
    r"\b(?:a|an|as|just|only|the|another|one|,) (?:\w+ )?(?:plain|ordinary|normal|regular|simple) "
    r"(?:user|account|login)\b|^(?:plain|ordinary|normal|regular|simple) (?:user|account|login)\b|"
    r"\b(?:user|account|login)\b[^.]*\bnothing with root\b"
)
_ASKED_ADMIN = re.compile(
    r"\b(?:with|gets?|give|needs?|in|has|have|as|and|plus) (?:\w+ )?(?:wheel|sudo\w*|admin\w*)\b"
)
_USERADD = re.compile(r"\buseradd\b(?P<flags>[^&;|]*?) -G wheel\b")
_UNITLESS = re.compile(r"\bsgdisk\b[^&;|]*? (?:-n|--new=?) ?\d+:\S*?:\+(\d+)(?=\s|$)")
_TYPE_AS_SIZE = re.compile(  # the type's code in the place of the size, too
    r"(-n (\d+):0:)\+(?P<code>\d{4})( -t \2:(?P=code)\b)"
)
_MKFS = re.compile(r"\b(?:mkfs(?:\.\w+)?|mkswap)\b[^&;|]*?(/dev/[\w/-]*\w)(?=\s|$|&|;)")
_FORMATS = re.compile(r"\b(?:mkfs\w*|(?:re)?format\w*|file ?systems?|ext[234]|btrfs|xfs|f2fs)\b")
_NO_TABLE = re.compile(  # what a person says who wants no partitions
    r"\b(?:whole|entire|directly|raw|itself|superfloppy|as it is)\b|"
    r"\b(?:without|no|not any) part(?:ition)?s?\b|\bno (?:partition )?table\b"
)
_GRUB_FOR = re.compile(r"\bgrub-install\b[^&;|]*--target=(i386-pc|x86_64-efi)")
_FOR_BIOS = re.compile(
    r"\b(?:for|as) (?:the |legacy |old )?(?:bios|mbr|i386-pc)\b|\btarget[ =](?:is )?i386-pc\b|"
    r"--target=i386-pc\b|\bbios (?:grub|target|version|variant)\b"
)
_FOR_UEFI = re.compile(
    r"\b(?:for|as) (?:the )?(?:u?efi|x86_64-efi)\b(?! part| dir)|\btarget[ =](?:is )?x86_64-efi\b|"
    r"--target=x86_64-efi\b|\bu?efi (?:grub|target|version|variant)\b"
)
_SEVERAL = (  # a name; the words that tell which; locales; the question
    (r"swiss|switzerland", r"german|french|italian|romansh|deutsch|fran\w+", r"\b\w\w_CH\b",
     "Switzerland has several: German (de_CH.UTF-8), French (fr_CH.UTF-8) or Italian (it_CH.UTF-8)?"),
    (r"belgian|belgium", r"dutch|flemish|french|german|nl|fr", r"\b\w\w_BE\b",
     "Belgium has several: Dutch (nl_BE.UTF-8), French (fr_BE.UTF-8) or German (de_BE.UTF-8)?"),
    (r"chinese|mandarin", r"simplified|traditional|mainland|taiwan\w*|hong kong|singapore|cn|tw|hk|beijing|"
     r"shanghai|taipei", r"\bzh_\w\w\b",
     "Simplified as in mainland China (zh_CN.UTF-8) or traditional as in Taiwan (zh_TW.UTF-8)?"),
    (r"portuguese|portugues|português",
     r"brazil\w*|brasil\w*|portugal|european|lisbon|br|pt|pt_\w\w|abnt2|s[aã]o paulo|rio",
     r"\bpt_\w\w\b", "Of Brazil (pt_BR.UTF-8) or of Portugal (pt_PT.UTF-8)?"),
)  # fmt: skip


def against(talk: Talk, command: str) -> tuple[str, str]:
    """What is against a line, in words that an objection begins with, and the line without it ("" where
    there is none); ("", "") where nothing is, or the message says yes to a question that begins so."""
    plan = talk.plan()
    for rule in (_left_alone, _unwanted_swap, _ordinary, _firmware, _unitless, _twice, _whole_disk):
        found = rule(talk, command)
        if found[0] and not (found[0] in plan and say.agrees(talk.said)):
            return found
    return "", ""


def which_language(talk: Talk, command: str) -> str:
    """The question which of a country's languages, or which form of one, is meant; "" where the
    conversation tells, or the line sets no such language."""
    said = talk.said.lower()
    heard = " ".join([said, *(turn.text.lower() for turn in talk.turns)])
    for name, tells, locale, question in _SEVERAL:
        if not re.search(rf"\b(?:{name})\b", said) or re.search(rf"\b(?:{tells})\b", heard):
            continue
        if len(set(re.findall(locale, command))) == 1 and "LANG" in command:
            return question
    return ""


def _left_alone(talk: Talk, command: str) -> tuple[str, str]:
    """A setting that the message says is to stay as it is."""
    text = say.folded(talk.said)
    for name, called, changes in _SETTINGS:
        if not re.search(changes, command):
            continue
        hits = (re.search(one.format(called), text) for one in _LEFT_ALONE)
        found = next(filter(None, hits), None)
        if found is None:
            continue
        rest = text[: found.start()] + " " + text[found.end() :]
        if re.search(rf"\b(?:{called})\b", rest):
            continue  # it is spoken of in another way, too
        parts = [part for part in AND.split(command) if not re.search(changes, part)]
        return f"You said that the {name} stays as it is", " && ".join(parts)
    return "", ""


def _unwanted_swap(talk: Talk, command: str) -> tuple[str, str]:
    text = say.folded(talk.said)
    found = _NO_SWAP.search(text)
    if found is None or "?" in text or not _SWAP.search(command) or "swapoff" in command:
        return "", ""
    rest = text[: found.start()] + " " + text[found.end() :]
    return ("", "") if "swap" in rest else ("You said: no swap", "")


def _ordinary(talk: Talk, command: str) -> tuple[str, str]:
    """An account with the group wheel, where an ordinary one was asked for."""
    text = say.folded(kept(talk.said))
    users = re.findall(r"\buseradd\b", command)
    if len(users) != 1 or not _USERADD.search(command) or not _ORDINARY.search(text):
        return "", ""
    if _ASKED_ADMIN.search(text):
        return "", ""
    return "You asked for an ordinary account", _USERADD.sub(r"useradd\g<flags>", command)


def _firmware(talk: Talk, command: str) -> tuple[str, str]:
    """A boot loader for the other firmware than the message says: the machine decides, and is told."""
    found = _GRUB_FOR.search(command)
    if found is None:
        return "", ""
    text = say.folded(kept(talk.said))
    bios, uefi = _FOR_BIOS.search(text) is not None, _FOR_UEFI.search(text) is not None
    if bios == uefi or bios == (found[1] == "i386-pc"):
        return "", ""
    mode = "UEFI" if talk.state.boot_mode == "uefi" else "Legacy BIOS"
    said = "BIOS" if bios else "UEFI"
    return f"You spoke of {said}, and this machine was started in {mode} mode", ""


def _unitless(talk: Talk, command: str) -> tuple[str, str]:
    found = _UNITLESS.search(command)
    if found is None or re.search(rf"\b{found[1]} sectors\b", talk.said):
        return "", ""
    line = _TYPE_AS_SIZE.sub(r"\g<1>0\g<4>", command)  # a slip of a model
    line = "" if line == command else line
    return f"The size {found[1]} has no unit, and counts sectors of 512 bytes", line


def _twice(talk: Talk, command: str) -> tuple[str, str]:
    made = _MKFS.findall(command)
    twice = next((path for path in made if made.count(path) > 1), "")
    if not twice:
        return "", ""
    parts = AND.split(command)
    places = [place for place, part in enumerate(parts) if twice in _MKFS.findall(part)]
    doubles = {parts[place] for place in places}
    kinds = {part.split()[0] for part in doubles}
    keep = [part for place, part in enumerate(parts) if place not in places[:-1]]
    # of two kinds the last one stays; one kind with other options may have been meant for two partitions
    sure = len(kinds) > 1 or len(doubles) == 1
    return f"This formats {twice} twice", " && ".join(keep) if sure else ""


def _whole_disk(talk: Talk, command: str) -> tuple[str, str]:
    """A file system for data on a whole disk, which nobody spoke of: nothing could start from it."""
    disks = {disk.path for disk in talk.state.disks if disk.signature is None}
    path = next((one for one in _MKFS.findall(command) if one in disks), "")
    said = " ".join([talk.said, *(turn.text for turn in talk.turns if turn.user)])
    if not path or "mkfs.fat" in command or _NO_TABLE.search(say.folded(said)):
        return "", ""
    if _FORMATS.search(say.folded(talk.said)):
        return "", ""  # "format it", "xfs on sda"
    return f"This puts a file system on the whole of {path}, without partitions", ""
