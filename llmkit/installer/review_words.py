"""What a person's words say about a deed: a request that destroys, an agreement, a refusal, a question.

    >>> destroys("pls fromat sda"), agrees("yeesss"), agrees("yes, but the other one")
    (True, True, False)

Lists, not a model: what is on none of them counts for nothing, and then the person is asked. A word of
five letters or more is known with one wrong, missing, doubled or swapped letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

_WORD = re.compile(r"[a-z][a-z0-9.'’]*")
# Patterns of devices as people write them, with or without /dev/: a disk, and a partition.
DISK = r"(?:/dev/)?(?:[svh]d[a-z]|nvme\d+n\d+|mmcblk\d+)"
NODE = r"(?:/dev/)?(?:[svh]d[a-z]\d+|(?:nvme\d+n\d+|mmcblk\d+)p\d+)"
_CLAUSE = re.compile(r"[;\n]|[.!,](?=\s|$)|[.!]{2,}|\s[-–—]+\s|\b(?:but|and then|then)\b")

# Words of one who wants something made anew, or away. Stems: their forms are made below.
_DEEDS = frozenset(
    "erase wipe format reformat partition repartition overwrite delete remove destroy reinstall "
    "install replace nuke zap clear clean purge shred encrypt reuse redo recreate".split()
)
_FORMS = frozenset(
    "formatting formatted reformatting wiping wiped erasing erased erasure deleting partitioning "
    "partitioned partitions removing clearing cleared cleaning installing installation "
    "installed reinstalling overwriting overwritten destroying destroyed encrypting encrypted encryption "
    "mkfs mksf mfks fmt mkswap sgdisk gdisk parted sfdisk fdisk cfdisk wipefs blkdiscard dd "
    "luksformat pvcreate part parts vgremove lvremove pvremove userdel".split()
)
_KINDS = frozenset(
    "ext2 ext3 ext4 btrfs xfs f2fs vfat fat fat32 luks lvm swap gpt mbr msdos filesystem filesystems "
    "layout".split()
)
_PHRASES = re.compile(
    r"\b(?:from scratch|start (?:\S+ )?(?:over|again|fresh|anew)|begin again|(?:a )?fresh\b|anew|empty it|"
    r"file ?systems?|make it empty|get rid|blank it|"
    r"use (?:all|the (?:whole|entire|full))|(?:whole|entire|full) (?:disk|drive|thing|ssd|stick)|"
    r"(?:everything|all(?: of it)?|anything|it|that|data|stuff) (?:on \S+ )?(?:can|may|should|could|must) "
    r"(?:all )?(?:go|be (?:erased|wiped|deleted|gone|lost))|"
    r"nothing (?:on it |there )?(?:is )?(?:worth|important)|"
    r"mkfs\.\w+|new (?:partition )?table|set ?up|prepare|"
    r"slice (?:it |\S+ )?(?:up)?|clean slate|back to the start)\b"
)
_STAND_FOR_OTHERS = frozenset(  # one letter away from a word of the lists, and not that word
    "refuse refused formal former forma format's reuses instant instance crease ease phrase "
    "installer cleaner clever nuked's wife wise wide pipe wire clea portion portions reformed moved".split()
)

_YES = re.compile(
    r"\b(?:y|yes|yep|yea|yeah|yup|ya|aye|jo|ja|si|oui|sure|ok|okay|okey|k|kk|please|pls|plz|"
    r"go|go (?:ahead|on|for it)|do (?:it|that|so|this|them|both)|agree[ds]?|confirm(?:ed|s)?|i do|"
    r"affirmative|absolutely|right|correct|exactly|fine|perfect|sounds|good|great|of course|certainly|"
    r"definitely|alright|allright|all right|"
    r"by all means|proceed|continue|carry on|let's|let us|with pleasure|gladly|make it so|"
    r"as you (?:say|said|like)|(?:you|it|they) may|must go|why not|"
    r"that (?:is|was) (?:what i (?:meant|want(?:ed)?)|it|right|fine)|"
    r"that's (?:what i (?:meant|want(?:ed)?)|it|right|fine|the one)|meant|"
    r"that one|this one|both|all of (?:it|them)|"
    r"approved?|accepted?|granted|permission|ready|begin|start|can go|may go|be erased|to go)\b"
)
_YES_ALONE = re.compile(r"^do\W*$")
_YES_WORDS = ("okay", "please", "correct", "exactly", "confirm", "proceed", "continue", "absolutely",
              "perfect", "agreed", "certainly", "definitely", "course", "affirmative")  # fmt: skip
_YES_TYPED = frozenset(
    "siure sufre surwe sjre sre yees yse eys ys yess ye yeh yas yy oky ko suer srue yrs tes yed yds".split()
)
_NO_YES = re.compile(  # an answer of these is about something else
    r"\b(?:show|list|tell|explain|look|check|print|display|describe|compare|view|let me see|"
    r"good (?:to know|question)|but)\b"
)
_STAYS = (  # what is there should be there afterwards
    r"(?:must|should|shall|has to|have to|needs? to|ought to|gotta) (?:all |still |also |always )*"
    r"(?:be (?:all |still )?(?:there|kept|safe|intact|left|preserved|readable)|stay|remain|survive)|"
    r"(?:be|is|are) still (?:all )?there"
)
_NO = re.compile(
    r"^n\W*$|\b(?:no|nope|nah|na|not|don't|dont|do not|never|wait|hold on|stop|cancel|abort|forget|"
    r"spare|protect|unless|neither|later|rather (?:not|keep|wait|look)|without|keep|leave|levae|skip|"
    r"back out|go back|undo|hands off|won't|shouldn't|mustn't|can't|cannot|careful|except|only look|"
    r"just look|nothing|none|refuse|hang on|one moment|changed my mind|preserve|save my|first tell|"
    r"before (?:that|you|we|i)|untouched|as it is|"
    rf"{_STAYS})\b"
)
_THE_OLD = (
    r"(?:(?:the|my|its) old \w+|what's|whats|it|that|them|this|those|what|any|anything|the|my|old|of|on|"
    r"is|there|swap|encryption|luks|home|data|files?|stuff|windows|"
    r"system|content|contents|things?|disk|drive)"
)
_YES_IN_SPITE = re.compile(  # with a word of refusal in it, and none
    r"\b(?:no (?:problem|worries|doubt|need to (?:keep|save)|data|files?|objections?|matter|"
    r"important \w+|valuable \w+)|why not|"
    rf"(?:don't|do not|dont) (?:need|want|keep)(?: (?>{_THE_OLD}\b))+"
    r"(?: any ?more| any longer| either| actually| after all)?"
    r"(?= ?(?:$|[.,;!]|and |so ))|(?:don't|do not|dont) (?:mind|worry|ask|wait|hesitate)|"
    r"(?:don't|do not|dont) care|"
    r"(?:no use for (?:windows|what's on it|whats on it|the old \w+)(?: any ?more)?|"
    r"(?:there is |there's |i have |i've |i've got )nothing (?:on there|in there|in it)(?: yet)?|"
    r"nothing (?:there |on it |on there |in there )?(?:that )?(?:i |i'd |we )(?:need|miss|want to keep)|"
    r"nothing (?:there|on it|on there|in there) to (?:keep|save)|"
    r"i need nothing (?:from|on|of) (?:it|there|them)(?: any ?more)?|"
    r"nothing (?:on|of|in) (?:it|them|there|that|the old \w+) (?:is|are) (?:needed|wanted|kept)|"
    r"nothing (?:will|would) be missed|nothing old stays)(?= ?(?:$|[.,;!]|and |so ))|"
    r"nothing (?:on (?:it|there|\S+) |there |in it )?(?:has to|needs to|must|should|shall) "
    r"(?:be \w+|stay|remain|survive)|"
    r"nothing (?:important|on it(?! (?:that )?(?:i|we) want you)|there|to lose|worth|is on it|"
    r"i need(?! to\b)|that matters|valuable|to (?:keep|save))|"
    r"nothing (?:more|else|further|besides)(?: (?:yet|now|for now|so far|today))?(?= ?(?:$|[.,;!]))|"
    r"nothing of (?:value|interest|importance|worth|mine)|nothing's on (?:it|there)|"
    r"not (?:needed|important)|needs? no partitions|no longer (?:need|want)\w*"
    r"(?! (?:you |us )?to\b)(?! (?:\S+ )?(?:eras|wip|format|partition|delet|clear)\w*)|never mind the|"
    r"without (?:swap|encryption|lvm|luks|a swap|asking|a separate|an esp|a home|home)|"
    r"no (?:swap|encryption|luks|lvm|separate \w+|home|more \w+)|keep (?:going|on)|not a problem|can't wait|"
    r"no (?:errors?|warnings?|preferences?|questions?)|(?:don't|do not|dont) stop|"
    r"without (?:a |the )?journal\w*|"
    r"(?<=ext[234], )(?:not (?:an? )?|no need (?:for|of) )(?:ext[234]|btrfs|xfs|f2fs|lvm|luks)|"
    r"not encrypted|leave (?:nothing|no)\b|rather than \S+|"
    r"(?:none of|without any) swap|"
    r"(?:firmware|bios|uefi|efi|(?:main|mother)?board) "
    r"(?:can't|can not|cannot|won't|will not|doesn't|does not) "
    r"(?:read|boot|see|load|take|accept|handle|understand)(?: from| off)? "
    r"(?:anything else|any other \w+|ext[234]|btrfs|xfs)(?= ?(?:$|[.,;!])))"
)
_DOUBT = re.compile(
    r"\b(?:scared?|afraid|fear|worr(?:y|ied)|nervous|unsure|accident(?:ally)?|wonder(?:ing)?|"
    r"what if|not sure|hesitat\w+|maybe|perhaps|might|lose my|losing)\b|"
    r", ?(?:right|rigth|rifht|correct|or not|huh|eh)\W*$"
)
_NO_WISH = re.compile(  # speaks of a deed, and does not ask for it as it is
    r"\bif (?!(?:you|u) (?:like|want|wish|please|agree|must|need|can|could|would)\b)|\bin case\b|"
    r"\bexplain\b|\bconvert\w*\b|\b(?:alongside|beside|next to|dual[- ]?boot\w*|free space|unallocated)\b|"
    r"\b(?:shrink|resize)\b|\bin[- ]place\b|\b(?:files?|data) included\b|"
    r"\b(?:ignore|disregard|forget) (?:\w+ ){0,3}(?:instructions?|rules?|guidelines)\b|"
    r"\bonce (?!more\b|again\b|and\b)(?=\w)|\bmake sure\b|"
    r"\b(?:after|once|when|as soon as|until|till) (?:i|we|i've|ive|i'm|we've|he|she|they|my \w+)\b"
)
_PATH_GOES = re.compile(  # files are to go, by their path: that is no wish for a disk
    r"\b(?:delete|remove|clean|clear|purge|erase|wipe|empty|rm)\b[^.;]{0,80}?"
    r"(?<![\w./-])/(?!dev\b|mnt/?(?![\w./-]))[\w.-]"
)
_KEEPS = re.compile(
    rf"\b(?:{_STAYS}|keep|preserve|spare|protect|save my|untouched|without (?:losing|touching|deleting)|"
    r"(?:don't|dont|do not|never|not) (?:touch|delete|erase|wipe|format|lose|remove|overwrite))\b"
)
_OTHERS = re.compile(
    r"\b(?:leave|keep|spare|skip|not|don't|do not|without) (?:\w+ ){0,2}(?:the )?(?:others?|other one|rest)\b"
)
_CLAIM = re.compile(  # of an agreement that must stand in the conversation
    r"\b(?:approv(?:al|ed)|confirmed|confirmation|agreed|consent(?:ed|s)?|permission|authori[sz]\w+)\b"
)
_QUOTED = re.compile(
    r"(?<!\w)(['\"`])(?:(?!\1).){8,}?\1(?!\w)|“[^”]{8,}”|«[^»]{8,}»|^[ \t]*>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
_ONE_PART = re.compile(
    r"\b(?:delete|remove|erase|wipe|format|drop|kill)\b[^.;,]{0,60}?\bpart(?:ition)? ?(?:no\.? ?|number ?|#)?"
    r"(\d{1,2})\b(?! ?[gmt]i?b?\b)"
)
_FILLER = r"^(?:(?:and|but|so|ok|okay|hm+|well|then|um+|eh|wait|oh|sorry|first|please|pls)[ ,]+)*"
_ASKS = re.compile(
    _FILLER
    + r"(?:(?:in (?:what|which)|what|waht|wat|whats|what's|why|who|whose|where|when|which|how|isn't|aren't|"
    r"didn't|dose|does|did|should|shall|must|may|might|would|will|can(?! go\b)|could)\b|"
    r"do(?= (?:i|you|we|they|these|those|the disks)\b)|"
    r"(?:is|are|was|were|has|have|any)\b(?! (?:empty|blank|fine|ok|okay|good|nothing|no|ready|clear)\b))"
)
_POLITE = re.compile(
    _FILLER
    + r"(?:.*[,.;!] )?(?:(?:can|could|would|will|may) (?:you|u)\b(?! (?:\w+ )?(?:tell|show|explain|say|"
    r"see|know|name|"
    r"undo|list|describe|check|remind|recommend|suggest|help|look|first|find))|would you mind|"
    r"(?:can|could) (?:it|that) be \w+ed)|\bok(?:ay)?\?\W*$|\bplease\?[?\W]{0,20}$"
)
_GOES_ON = re.compile(
    r"\b(?:next|nex|nxt|nxet|on|going|now|then|follow\w*|step|rest|finish|mount|copy|root|efi|esp|boot|home|"
    r"use|take|the same|too|again|also|likewise|ditto|as well|instead)\b|"
    r"^(?:y|yes|yeah|ok|okay|sure)\b|\d ?[gm](?:i?b)?\b"
)
_LAST_WORD = re.compile(r"(?:do it|do that|go ahead|go|please do|yes|just do it|go for it)\b")


@lru_cache(maxsize=8192)
def folded(text: str) -> str:
    """Lower case, one space between words, straight apostrophes, no letter three times."""
    text = " ".join(text.lower().replace("’", "'").split())
    return re.sub(r"([a-z])\1{2,}", r"\1", text)


def words(text: str) -> list[str]:
    """The words of a folded text."""
    return [word.strip(".'") for word in _WORD.findall(text)]


def near(word: str, known: str, least: int = 5) -> bool:
    """Whether a word is another one but for one letter: wrong, missing, more, or two swapped."""
    if word == known:
        return True
    if abs(len(word) - len(known)) > 1 or len(known) < least or word[:1] != known[:1]:
        return False
    start = 0
    while start < min(len(word), len(known)) and word[start] == known[start]:
        start += 1
    one, two = word[start:], known[start:]
    if len(word) > 4 and sorted(one) == sorted(two):  # letters in another order
        return True
    if one[1:] == two[1:] or one[1:] == two or one == two[1:]:
        return True
    return len(one) == len(two) > 1 and one[0] == two[1] and one[1] == two[0] and one[2:] == two[2:]


def typed(word: str, known: Iterable[str]) -> bool:
    """Whether a word is one of these, perhaps with a letter wrong or doubled."""
    plain = re.sub(r"([a-z])\1", r"\1", word)
    return any(near(word, other) or plain != word and near(plain, other) for other in known)


@lru_cache(maxsize=16384)
def _is_deed(word: str) -> bool:
    word = word.removesuffix("'s")
    if word in _DEEDS or word in _FORMS or word in _KINDS or word.startswith("mkfs."):
        return True
    if word in _STAND_FOR_OTHERS or len(word) < 4:
        return False
    return typed(word, (*_DEEDS, *_FORMS, *_KINDS))


def destroys(text: str) -> bool:
    """Whether a text speaks of what erases, formats, partitions or installs."""
    text = folded(text)
    return _PHRASES.search(text) is not None or any(map(_is_deed, words(text)))


def clauses(text: str) -> Iterator[str]:
    """The pieces of a message between full stops, commas and `but`; folded, never empty."""
    for piece in _CLAUSE.split(folded(text)):
        piece = piece.strip(" ,.!:\"'")
        if piece:
            yield piece


@lru_cache(maxsize=8192)
def refuses(text: str) -> bool:
    """Whether a text holds a word of refusal or of second thoughts."""
    plain = _YES_IN_SPITE.sub(" ", folded(text))
    return _NO.search(plain) is not None


def in_spite(plain: str) -> str:
    """A folded text without whole phrases that are known: deeds (`start over`), and those that hold a word
    of refusal and are none (`nothing important`)."""
    return _PHRASES.sub(" ", _YES_IN_SPITE.sub(" ", plain))


@lru_cache(maxsize=8192)
def doubts(text: str) -> bool:
    """Whether a text asks, or fears, rather than tells. `can you erase sda?` tells."""
    plain = folded(text)
    _, mark, rest = plain.rpartition("?")
    if mark and _LAST_WORD.match(rest.strip(" .,!")):
        return _DOUBT.search(rest) is not None  # it asked, and answered itself
    if _DOUBT.search(plain):
        return True
    if _POLITE.search(plain):
        return False
    return bool(mark) or _ASKS.match(plain) is not None


@lru_cache(maxsize=8192)
def agrees(text: str) -> bool:
    """Whether a message says yes to what was asked, without conditions or doubt."""
    plain = folded(text)
    if refuses(text) or doubts(text) or _NO_YES.search(plain):
        return False
    found = words(plain)
    return (
        _YES.search(plain) is not None
        or _YES_ALONE.search(plain) is not None
        or _YES.search(re.sub(r"([a-z])\1", r"\1", plain)) is not None
        or any(typed(word, _YES_WORDS) for word in found)
        or any(word in _YES_TYPED for word in found[:2])
    )


def own_words(text: str) -> str:
    """A message without longer passages in quotes, which somebody else may have said."""
    return _QUOTED.sub(" ", text)


@lru_cache(maxsize=8192)
def no_wish(text: str) -> bool:
    """Whether a text puts a condition, wants to keep what is there, or only wants to know."""
    return _NO_WISH.search(folded(text)) is not None


def path_goes(text: str) -> bool:
    """Whether a text wants files or folders deleted, by a path that is no device's."""
    return _PATH_GOES.search(folded(text)) is not None


_SEES = re.compile(
    _FILLER + r"(?:(?:yes|go on|now|next|just|only)[ ,]+)*"
    r"(?:show|list|display|describe|check|view|look at|tell me|let me (?:see|look|know)|"
    r"(?:i want|i would like|i'd like|i wanna|want) to (?:see|know|look))\b"
)
_SEEN = re.compile(  # what may stand behind `and` in a request to look
    r"(?:(?:the|their|its|all|any|my|your) )*(?:partitions|partition tables?|partition types?|"
    r"file ?systems?|layout|labels?|types?)(?: (?:on|of|in|for) .{1,40})?"
)


@lru_cache(maxsize=8192)
def only_looks(text: str) -> bool:
    """Whether all that a text says of partitions and the like is that somebody wants to see them."""
    speaks = False
    for clause in clauses(text):
        seeing = False
        for piece in re.split(r"\band\b|:", clause):
            piece = piece.strip()
            seeing = _SEES.match(piece) is not None or seeing and _SEEN.fullmatch(piece) is not None
            if destroys(piece):
                if not seeing:
                    return False
                speaks = True
    return speaks


def spares_others(text: str) -> bool:
    """Whether a clause of refusal is about what was not asked for: `leave the others`."""
    return _OTHERS.search(folded(text)) is not None


def keeps(text: str) -> bool:
    """Whether a clause wants something kept: `keep sda1`."""
    return _KEEPS.search(_YES_IN_SPITE.sub(" ", folded(text))) is not None


def claims(text: str) -> bool:
    """Whether a text says that something was agreed to before."""
    return _CLAIM.search(folded(text)) is not None


def one_partition(text: str) -> int | None:
    """The number of the only partition that a text wants gone: `delete partition 3 of sda`."""
    found = set(_ONE_PART.findall(folded(text)))
    return int(found.pop()) if len(found) == 1 else None


def goes_on(text: str) -> bool:
    """Whether a text asks for what comes next, without saying what."""
    plain = folded(text)
    return _GOES_ON.search(plain) is not None or any(near(w, "next", 4) for w in words(plain))


_LAYS_OUT = frozenset(
    "erase wipe partition repartition overwrite delete remove destroy reinstall install nuke zap clear "
    "clean purge shred encrypt redo recreate partitioning partitioned wiping wiped erasing erased deleting "
    "removing clearing installing installation sgdisk gdisk parted sfdisk fdisk cfdisk wipefs blkdiscard dd "
    "gpt mbr msdos layout lvm luks part parts".split()
)
_MAKES = re.compile(
    r"\b(?:(?:make|mak|making|create|creating)(?! (?:an? |the )?(?:ext|btrfs|xfs|f2fs|v?fat|file))|new|"
    r"into|set ?up|prepare|split|slice|cut|divide|lay|want|need|"
    r"give|gets?|usual|throw|over|anew|scratch|again|everything|whole|entire|table|do the|blank|fresh)\b"
)
_DISK_WORDS = re.compile(
    r"\b(?:disks?|drives?|dirve|disc|ssd|hdd|stick|nvme|sata|emmc|card|(?:/dev/)?(?:[svh]d[a-z]|nvme\d+n\d+|"
    r"mmcblk\d+))\b|\b(?:big|small|larg)\w*"
)
_FORMATS = ("format", "reformat", "formatted", "formatting")
_FILE_SYSTEMS = re.compile(
    r"\b(?:(?:mkfs|mksf|mfks)(?:\.\w+)?|fmt|mkswap|ext[234]|btrfs|xfs|f2fs|v?fat(?:32)?|"
    r"file ?systems?|mount)\b"
)
_NOUN_PARTS = re.compile(
    r"\b(?:partition(?:s)? ?(?:number |no\.? ?|#)?(?:\d+|one|two|three)\b|"
    r"(?:the|that|this|its|efi|esp|root|boot|first|second|third|last|larger|smaller|bigger|little|small|"
    r"each|both|those|these) (?:\w+ )?part(?:ition)?s?\b)"
)


def asks_to_look(text: str) -> bool:
    """Whether an answer wants to see or know something first."""
    return _NO_YES.search(folded(text)) is not None


def names_partitions(text: str) -> bool:
    """Whether a text speaks of partitions that are there: `the root partition`, `partition 2`."""
    return _NOUN_PARTS.search(folded(text)) is not None


@lru_cache(maxsize=8192)
def only_formats(text: str) -> bool:
    """Whether a request is about file systems or mounts of partitions, and not about a disk's layout.

    >>> only_formats("fat32 for partition 1 of the nvme"), only_formats("partition it, ext4")
    (True, False)
    """
    plain = folded(text)
    named = _NOUN_PARTS.search(plain) is not None
    if _MAKES.search(plain) or any(
        word not in ("make", "take") and near(word, "make", 4) for word in words(plain)
    ):
        return False
    plain = _NOUN_PARTS.sub(" ", plain)
    found = [word for word in words(plain) if word not in _STAND_FOR_OTHERS]
    if any(typed(word, _LAYS_OUT) for word in found):
        return False
    formats = _FILE_SYSTEMS.search(plain) is not None or any(typed(w, _FORMATS) for w in found)
    return named or (formats and not _DISK_WORDS.search(plain))
