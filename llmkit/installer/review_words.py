"""What a person's words say about a deed: a request that destroys, an agreement, a refusal, a question.

    >>> destroys("pls fromat sda"), agrees("yeesss"), agrees("yes, but the other one")
    (True, True, False)

Lists, not a model: what is on none of them counts for nothing, and then the person is asked. A word of
five letters or more is known with one wrong, missing, doubled or swapped letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_WORD = re.compile(r"[a-z][a-z0-9.'’]*")
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
    "mkfs mkswap sgdisk gdisk parted sfdisk fdisk cfdisk wipefs blkdiscard dd luksformat pvcreate "
    "vgremove lvremove pvremove userdel".split()
)
_KINDS = frozenset(
    "ext2 ext3 ext4 btrfs xfs f2fs vfat fat fat32 luks lvm swap gpt mbr msdos filesystem filesystems "
    "layout".split()
)
_PHRASES = re.compile(
    r"\b(?:from scratch|start (?:over|again|fresh|anew)|begin again|(?:a )?fresh\b|anew|empty it|"
    r"file ?systems?|make it empty|get rid|blank it|"
    r"use (?:all|the (?:whole|entire|full))|(?:whole|entire|full) (?:disk|drive|thing|ssd|stick)|"
    r"(?:everything|all(?: of it)?|anything|it|that|data|stuff) (?:on \S+ )?(?:can|may|should|could|must) "
    r"(?:all )?(?:go|be (?:erased|wiped|deleted|gone|lost))|"
    r"nothing (?:on it |there )?(?:is )?(?:worth|important)|"
    r"mkfs\.\w+|new (?:partition )?table|set ?up|prepare)\b"
)
_STAND_FOR_OTHERS = frozenset(  # one letter away from a word of the lists, and not that word
    "refuse refused formal former forma format's reuses instant instance crease ease phrase "
    "cleaner clever nuked's wife wise wide pipe wire clea portion portions reformed moved".split()
)

_YES = re.compile(
    r"\b(?:y|yes|yep|yea|yeah|yup|ya|aye|jo|ja|si|oui|sure|ok|okay|okey|k|kk|please|pls|plz|"
    r"go|go (?:ahead|on|for it)|do (?:it|that|so|this|them|both)|did agree|agree[ds]?|confirm(?:ed|s)?|i do|"
    r"affirmative|absolutely|right|correct|exactly|fine|perfect|sounds|good|great|of course|certainly|"
    r"definitely|by all means|proceed|continue|carry on|let'?s|let us|with pleasure|gladly|make it so|"
    r"as you (?:say|said|like)|you may|why not|that (?:is|was) (?:what i meant|it|right|fine)|"
    r"that'?s (?:what i meant|it|right|fine|the one)|meant|that one|this one|both|all of (?:it|them)|"
    r"approved?|accepted?|granted|permission|ready|begin|start|can go|may go|be erased|nothing important)\b"
)
_YES_WORDS = ("okay", "please", "correct", "exactly", "confirm", "proceed", "continue", "absolutely",
              "perfect", "agreed", "certainly", "definitely", "course", "sure")  # fmt: skip
_NO = re.compile(
    r"\b(?:no|nope|nah|na|n|not|don[’']?t|dont|do not|never|wait|hold on|stop|cancel|abort|rather|forget|"
    r"unless|neither|later|instead|without|keep|leave|skip|back out|go back|undo|hands off|won[’']?t|"
    r"shouldn[’']?t|mustn[’']?t|can[’']?t|cannot|careful|except|only look|just look|nothing|none|"
    r"refuse|hang on|one moment|changed my mind|preserve|safe|first tell|before (?:that|you|we|i))\b"
)
_YES_IN_SPITE = re.compile(  # with a word of refusal in it, and none
    r"\b(?:no (?:problem|worries|doubt|need to (?:keep|save)|data|files?|objections?|idea)|why not|"
    r"(?:don[’']?t|do not|dont) (?:need|want|care about|mind|worry|ask|keep)(?: (?:it|that|them|what|any|"
    r"anything|the|data|files?|old|windows|stuff|about)\b)*|nothing (?:important|on it|there|to lose|worth|"
    r"is on it|i need|that matters|valuable)\b|not (?:needed|important)|no longer (?:need|want)\w*|"
    r"never mind the|without (?:swap|encryption|lvm|luks|a swap|asking)|no (?:swap|encryption|luks|lvm|"
    r"separate \w+|home)|keep (?:going|on)|wait no more|not a problem|can[’']?t wait|no more \w+|"
    r"not encrypted|leave (?:nothing|no)\b|to be (?:safe|sure)|just to be safe|"
    r"not (?:sda|sdb|nvme\w*|vd[a-z]))\b"
)
_DOUBT = re.compile(
    r"\b(?:scared?|afraid|fear|worr(?:y|ied)|nervous|unsure|accident(?:ally)?|wonder(?:ing)?|"
    r"what if|not sure|hesitat\w+|maybe|perhaps|might|lose my|losing)\b"
)
_ASKS = re.compile(
    r"^(?:(?:and|but|so|ok|okay|hm+|well|then|um+|eh|wait|oh|sorry|first)[ ,]+)*"
    r"(?:what|waht|wat|whats|why|who|whose|where|when|which|how|is|isn[’']?t|are|aren[’']?t|was|were|do|does|"
    r"dose|did|didn[’']?t|should|shall|must|may|might|would|will|can|could|has|have|any)\b"
    r"(?! (?:it|that|so|this|them|both)(?:\s*$|[ .!,]))"
)
_POLITE = re.compile(
    r"\b(?:can|could|would|will|may|might) (?:you|u|we|i)\b(?! (?:tell|show|explain|say|see|know|undo))|"
    r"\bcan (?:it|that) be\b|\bwould you mind\b|\bi (?:want|would like|need)\b|"
    r"\b(?:please|pls|plz)\b|\bok(?:ay)?\?\s*$|\bright\?\s*$|\bcan (?:we|i) \w+"
)


@lru_cache(maxsize=8192)
def folded(text: str) -> str:
    """Lower case, one space between words, straight apostrophes, no letter three times."""
    text = " ".join(text.lower().replace("’", "'").split())
    return re.sub(r"([a-z])\1{2,}", r"\1", text)


def words(text: str) -> list[str]:
    """The words of a folded text."""
    return [word.strip(".'") for word in _WORD.findall(text)]


def near(word: str, known: str) -> bool:
    """Whether a word is another one but for one letter: wrong, missing, more, or two swapped."""
    if word == known:
        return True
    if abs(len(word) - len(known)) > 1 or len(known) < 5 or word[:1] != known[:1]:
        return False
    start = 0
    while start < min(len(word), len(known)) and word[start] == known[start]:
        start += 1
    one, two = word[start:], known[start:]
    if one[1:] == two[1:] or one[1:] == two or one == two[1:]:
        return True
    return len(one) == len(two) > 1 and one[0] == two[1] and one[1] == two[0] and one[2:] == two[2:]


@lru_cache(maxsize=16384)
def _is_deed(word: str) -> bool:
    word = word.removesuffix("'s")
    if word in _DEEDS or word in _FORMS or word in _KINDS or word.startswith("mkfs."):
        return True
    if word in _STAND_FOR_OTHERS or len(word) < 4:
        return False
    return any(near(word, known) for known in (*_DEEDS, *_FORMS))


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


@lru_cache(maxsize=8192)
def doubts(text: str) -> bool:
    """Whether a text asks, or fears, rather than tells. `can you erase sda?` tells."""
    plain = folded(text)
    if _DOUBT.search(plain):
        return True
    if _POLITE.search(plain):
        return False
    return "?" in plain or _ASKS.match(plain) is not None


@lru_cache(maxsize=8192)
def agrees(text: str) -> bool:
    """Whether a message says yes to what was asked, without conditions or doubt."""
    if refuses(text) or doubts(text):
        return False
    plain = folded(text)
    if _YES.search(plain):
        return True
    found = words(plain)
    return any(near(word, known) for word in found for known in _YES_WORDS) or (
        bool(found)
        and found[0] in ("yse", "eys", "ys", "yess", "ye", "yeh", "yas", "yy", "oky", "ko")
    )
