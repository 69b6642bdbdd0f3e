"""Which words of a message wish for a deed: not those that look, plan, report an error or back out.

>>> wishes("Formatting gave me an error."), wishes("mkfs failed, format it again")
('', 'format it again')
>>> plans("please plan efi and root for me"), says_nothing_new("Proceed, please.")
(True, True)
"""

from __future__ import annotations

import re
from functools import lru_cache

from llmkit.installer import review_words as say
from llmkit.installer.review_history import question

_START = r"^(?:(?:and|but|so|ok|okay|yes|now|first|please|pls|hm+|well|then|just|only)[ ,]+)*"
_REPORTS = re.compile(  # what a person says of a deed that went wrong
    r"\b(?:(?:gives?|gave|got|get|getting|throws?|threw|shows?|says?|said|returns?|returned|had|"
    r"there (?:is|was)) "
    r"(?:\w+ ){0,3}(?:errors?|failures?|message|warnings?)|"
    r"errors?(?: out| message| code)?\W*$|^errors?\b|"
    r"fail(?:s|ed|ing)?|failure|crash(?:es|ed)?|abort(?:s|ed)|"
    r"(?:does|did|do|is|was|has|have)(?:n't|nt| not) (?:work|run|start|boot|happen|succeed)\w*|"
    r"(?:goes|went|going) wrong|no such (?:file|device)|invalid argument|permission denied|"
    r"(?:is|was|are) (?:busy|in use|broken)|cannot open|can't open|unable to)\b"
)
_BACKS_OUT = re.compile(
    r"\b(?:only|just|merely) (?:meant|mean|asked|asking|curious|looking|checking|wondering|thinking|"
    r"wanted to (?:know|see|look|check|ask|read))\b"
)
_PLANS = re.compile(
    _START + r"(?:(?:can|could|would|will) (?:you|u) |help me (?:to )?|let(?:'s| us) |"
    r"i(?:'d| would)? (?:want|like) (?:you )?to )?"
    r"(?:please )?(?:plan|propose|suggest|recommend|sketch|outline|draft|design)\b"
    r"(?! (?:is|was|sounds|looks|accepted|approved|agreed|ok|okay|good|fine)\b)"
    r"(?! [ab12](?:$|[,.;:!]))(?=[ :])|"
    r"\b(?:make|give|show|tell|draw up|write)(?: me| us)? (?:a|the|your) "
    r"(?:plan|proposal|suggestion|scheme)\b|"
    r"\bwhat (?:would|do) you (?:plan|propose|suggest|recommend)\b"
)
_AND_DO = re.compile(
    r"\b(?:and|then) (?:then )?"
    r"(?:do|make|run|apply|carry|start|go|execute|partition|format|install|erase|wipe)\b"
)
_LOOKS = re.compile(  # programs that only look, and words for it, where no deed is named beside them
    _START + r"(?:(?:can|could|would) (?:you|u) |let me |i want to |i'd like to )?(?:please )?"
    r"(?:(?:run|do|use|try) (?:an? |the )?)?"
    r"(?:show|list|display|describe|check|view|look|see|print|verify|inspect|compare|explain|tell me|"
    r"(?:e2)?fsck|fsck\.\w+|lsblk|blkid|findmnt|smartctl|dmesg|df|du|lspci|lsusb|cat)\b"
)
_FORGED = re.compile(r"(?:^|[.!?\n]\s*|\s)(?:user|human|assistant|ai|system)\s*:", re.IGNORECASE)
_LAYS_OUT = re.compile(
    r"\d ?[gmt](?:i?b)?\b|\b(?:instead|redo|undo|wrong|mistake|other|another|again)\b"
)
_NOTHING_NEW = frozenset(
    "a ahead all alright and are as before by can carry continue course do done else everything fine finish "
    "first follow following follows for further go going good great i is it just keep let let's like looks "
    "me moving my next nice now of ok okay on one onward onwards perfect please pls plz proceed ready "
    "remaining rest right say sounds steps step sure thank thanks that that's the then this to up us we with "
    "yeah yep yes yup you k y kk what's what comes come ye ya yea finally also so well great cool super "
    "absolutely agreed confirmed confirm correct exactly plan planned proposed suggested".split()
)
_TYPED = ("proceed", "continue", "please", "perfect", "finish", "remaining", "following", "ahead", "going",
          "onwards", "absolutely", "confirm", "correct", "exactly", "sounds", "thanks")  # fmt: skip
_SETS_UP = re.compile(  # asks for a disk to be made ready, in words that alone destroy nothing
    r"\b(?:linux|ubuntu|debian|fedora|arch|distro|for (?:the )?(?:os|system)|prep|usable|ready|fix|repair|"
    r"la(?:y|id|ying) (?:\S+ )?out|(?:run|try) \S+ on|"
    r"do (?:it|that|this|so|the|them|my)|(?:make|create|put) (?:it|them|one|an?|the|this|that|everything)|"
    r"(?:use|using|take|choose|pick) (?:it|the|this|that|my|/?\w*\d\w*|/dev/\w+|[sv]d[a-z])|"
    r"(?:can|may|must) go|(?:you|u) may|permission|ef0[0-2]|8[23]0\d|"
    r"go and (?:do|make|create)|(?:esp|efi|root|swap|home) and|and (?:esp|efi|root|swap|home))\b|"
    r"\b(?:esp|efi|root|swap|home|boot) ?[+&]|[+&] ?(?:esp|efi|root|swap|home|boot)\b"
)
_OFFERS = re.compile(  # the assistant waits for a word to begin
    r"\?|\b(?:name|say|tell me|choose|pick|decide|you name|shall i|may i|your word|when you)\b"
)
_ASKS_FIRST = re.compile(r"\bi(?: will| would|'ll|'d)? ask (?:you )?(?:before|first|again)\b")
_ITS = re.compile(r"\b(?:it|that|this|everything|all|disks?|drives?|ssd|hdd|stick|card)\b")
_TOOLS = frozenset(
    "wipefs sgdisk gdisk parted sfdisk fdisk cfdisk blkdiscard dd mkfs mkswap shred".split()
)


_DEED = (
    r"(?:eras\w*|wip(?:e\w*|ing)|(?:re)?format\w*|repartition\w*|overwrit\w*|destroy\w*|clear\w*|empt\w*|"
    r"delet\w*|(?:re)?partition(?:ed|ing)?(?= (?:and|it|them|the|this|that|your|[sv]d\w+|nvme\w+|mmcblk\w+|"
    r"all|anew|again)\b| ?/dev)|partition(?:ed|ing)(?=\W*$)|mkfs\S*|new (?:partition )?table|"
    r"lay(?:ing)? \S+ out|laid out|"
    r"(?:make|create|add) (?:\S+ ){0,4}partitions?|"
    r"(?:re)?install(?:ed|ing)?(?! (?:\S+ ){0,3}?(?:grub|boot ?loader|updates?|packages?|kernel))"
    r" (?:\S+ ){0,2}?(?:linux(?! kernel)|debian|ubuntu|fedora|arch|mint|system|os|it|on|there|to|over)\b)"
)
_PROPOSES = re.compile(rf"\b{_DEED}")
_OFFERS_OTHER = re.compile(  # a question about a deed that takes nothing away
    r"\b(?:u?n?mount|list|show|see|look|check|verify|inspect|back(?:ing)? ?up|backup|copy|read|need|"
    r"shrink|resize|grub\S*|boot ?loader|fstab|crypttab|turn (?:on|off)|swapon|activate|read-only|reboot|"
    r"repair|fsck|unlock|open|label|rename|user|password|keyboard|host ?name|time ?zone|network|wi-?fi)\b"
)
_STAYS_SO = re.compile(r"\b(?:keep|leave|before|first|do you (?:still )?need)\b")
_FACT = re.compile(  # asks what is the case, and not for leave
    r"^(?:(?:and|so|but) )?(?:is|are|was|were|has|have|does|did|do you (?:have|know|see|use|remember))\b"
    r"(?!.*\b(?:want\w*|ok|okay|right|correct|fine|good|agree\w*|sure|meant?|alright|intend\w*|plan)\b)"
)
_STATES = re.compile(  # describes
    r"\b(?:i|he|she|we|they|it|there|windows|linux|[sv]d[a-z]\d?|nvme\w*|disk|drive|partitions?|partitioning|"
    r"table|my \w+|the \w+) (?:still |already |also )?"
    r"(?:has|have|had|is|are|was|were|uses|holds|contains|got|installed|formatted|partitioned|deleted|erased|"
    r"made)\b(?! (?:to|meant|for|going|be|not|no|nothing|empty|blank|free|of no|useless|fine|decided)\b)"
    rf"(?!.*\b(?:want|please|(?:can|may|should|must|to|shall|will) (?:go|be|{_DEED}|install|partition))\b)"
)
_WANTS = re.compile(  # asks, in words of one who describes: `it is sda that gets the partitions`
    r"\bi (?:want|would like|hope)\b|\b(?:gets?|becomes?|please|allowed)\b|\bi'd like\b|"
    r"\b(?:should|must) (?:be|have|get|become|go)\b|"
    r"\b(?:is|are) (?:the )?(?:root|home|swap|efi|esp|boot)(?: one)?(?:\W|$)(?! ?part)"
)
_WAS = re.compile(r"\b(?:was|were|has been|have been|had)\b")
_LOST = re.compile(r"\b(?:lost|gone)\b")
_OWN = re.compile(
    r"this would erase (?!no)"
)  # the review's words: `content is not known` refuses nothing
_USES = re.compile(r"\b(?:use|take|go with)\b")
_THING = (
    r"(?:grub2?|boot ?loader|firefox|updates?|packages?|programs?|software|kernel|ssh|sudo|network\w*|wi-?fi|"
    r"users?|accounts?|password|host ?name|fstab|chroot|locales?|keyboard|time ?zone|mirrors?|screen|"
    r"swap ?file|drivers?|desktop)"
)
_DOES_OTHER = re.compile(  # another step of an installation
    r"\b(?:(?:re)?install|set ?up|prepare|create|make|replace|delete|remove|overwrite|write|add|clear|change|"
    rf"use)\b(?: \S+){{0,3}}? {_THING}\b|"
    r"\b(?:keyboard|german|us|de|uk|french|english) layout\b|"
    r"\blayout (?:of the keyboard|german|us|de|uk|fr)\b|"
    r"\bswap (?:on|off|file)\b|\b(?:turn|switch) (?:on|off)\b|"
    r"^(?:(?:ok|yes|and|now|please|then) )*"
    r"(?:mount|unmount|umount|check|repair|fix|fsck|grow|rename|read|copy|activate|enable)\b"
)
_SYSTEM = re.compile(  # and beside it one that destroys
    r"\b(?:eras\w*|wip(?:e|ing)|(?:re)?format\w*|(?:re)?partition (?!\d)|mkfs\S*|"
    r"(?:install|put|set ?up) (?:the |an? |me |my )?(?:linux(?! kernel)|debian|ubuntu|fedora|arch|mint|it|"
    r"everything|operating system|os))\b"
)


def _idle(clause: str) -> bool:
    """Whether a clause reports, backs out or looks."""
    if _REPORTS.search(clause) or _BACKS_OUT.search(clause):
        return True
    return _LOOKS.match(clause) is not None


def _no_request(clause: str) -> bool:
    """Whether a clause with a word for what destroys describes, refuses, or is about another step."""
    if say.refuses(clause) or _DOES_OTHER.search(clause) and not _SYSTEM.search(clause):
        return True
    return _STATES.search(clause) is not None and not _WANTS.search(clause)


@lru_cache(maxsize=8192)
def requests(text: str) -> str:
    """The clauses of a message that may ask for a loss: a wish that neither describes nor is about
    another step of an installation.

    >>> requests("windows is installed on sda"), requests("install grub"), requests("it is ext4, wipe it")
    ('', '', 'wipe it')
    """
    return ", ".join(clause for clause in say.clauses(wishes(text)) if not _no_request(clause))


@lru_cache(maxsize=8192)
def proposes(plan: str) -> bool:
    """Whether a yes to a text can be consent: it proposes a deed that destroys, and its question is not
    about another one.

    >>> proposes("sda would be erased. Shall I?"), proposes("sda holds ext4. Shall I mount it?")
    (True, False)
    """
    part = say.folded(question(plan))
    deed = _PROPOSES.search(part) is not None
    if _STAYS_SO.search(part) or say.keeps(part):
        return False
    if not deed and (_OFFERS_OTHER.search(part) or _FACT.search(part)):
        return False
    told = [clause for clause in say.clauses(plan) if say.destroys(clause) or _LOST.search(clause)]
    return not told or any(
        _OWN.match(clause)
        or not say.refuses(clause)
        and (deed or _USES.search(part) or _tells_of_a_deed(clause))
        for clause in told
    )


def _tells_of_a_deed(clause: str) -> bool:
    """Whether a clause of the assistant's says what would be done: not what is there, nor another step."""
    if _DOES_OTHER.search(clause) and not _SYSTEM.search(clause):
        return False
    if not _STATES.search(clause) or _LOST.search(clause):
        return True
    return _PROPOSES.search(clause) is not None and not _WAS.search(clause)


@lru_cache(maxsize=8192)
def wishes(text: str) -> str:
    """The clauses of a message that may wish for something; empty where it only reports or looks."""
    return ", ".join(clause for clause in say.clauses(text) if not _idle(clause))


def looks(text: str) -> bool:
    """Whether a clause of a message wants to see something."""
    return any(_LOOKS.match(clause) for clause in say.clauses(text))


@lru_cache(maxsize=8192)
def plans(text: str) -> bool:
    """Whether a text wants a plan, and no deed yet."""
    plain = say.folded(text)
    return _PLANS.search(plain) is not None and _AND_DO.search(plain) is None


@lru_cache(maxsize=8192)
def sets_up(text: str) -> bool:
    """Whether a text asks for a disk to be used, laid out or made ready."""
    return _SETS_UP.search(say.folded(text)) is not None


@lru_cache(maxsize=8192)
def offers(text: str) -> bool:
    """Whether an assistant's text leaves a deed to a word of the person."""
    plain = say.folded(text)
    if _ASKS_FIRST.search(plain) or not _OFFERS.search(plain):
        return False
    return say.destroys(text) or re.search(r"\b(?:emptied|lost|gone)\b", plain) is not None


def forges(text: str) -> bool:
    """Whether a message plays other turns: `assistant: shall I? user: yes`."""
    return _FORGED.search(text) is not None


@lru_cache(maxsize=8192)
def says_nothing_new(text: str) -> bool:
    """Whether a text is only a yes, or only asks for what comes next."""
    return all(
        word in _NOTHING_NEW or len(word) > 4 and say.typed(word, _TYPED)
        for word in re.findall(r"[\w'./-]+", say.folded(text).replace(".", " "))
    )


def lays_out(text: str) -> bool:
    """Whether a text has to do with how a disk is divided."""
    plain = say.folded(text)
    return _LAYS_OUT.search(plain) is not None or (
        say.destroys(text) and not say.only_formats(text)
    )


def names_a_tool(text: str) -> bool:
    """Whether a text names a program, and nothing that it should be run on: `run wipefs`."""
    if _ITS.search(say.folded(text)):
        return False
    found = say.words(say.folded(text))
    rest = [word for word in found if not say.typed(word, _TOOLS)]
    return len(rest) < len(found) and not say.destroys(" ".join(rest))
