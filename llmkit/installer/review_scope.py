"""How far does a request for a loss go, and is it one at all?

    hedged("erase everything but sda"), hedged("wipe sda tomorrow")          # True, True
    parts_only("erase sda's second partition", 2)                            # True: not both
    after_correction("format sda, I mean mount it")                          # "mount it"

Words that look like a request and are less: an exception, a time to come, what somebody else said, a
joke, a wish for a line to read, one thing of many on a disk. Where one of them stands, the person is
asked; that costs a "yes", and the other way a disk.
"""

from __future__ import annotations

import re
from functools import lru_cache

from llmkit.installer import review_words as say

_DELETES = (
    r"(?:delet|remov|eras|wip|dropp?|kill|empt|clear|clean|purg|format|destroy|nuk|zapp?|uninstall|"
    r"get(?:ting)? rid of)(?:e|y|ing)?"
)
_HEDGES = re.compile(
    # all but one: which are left is not worked out here
    r"\b(?:everything|anything|all|any|every|both|disks?|drives?|ones?|each)(?: \w+)? "
    r"(?:but|except(?:ing)?|save for|other than|apart from|besides|aside from|minus)\b|"
    r"\b(?:that|which|where|who)(?:'s)?(?: \S+){0,2} (?:isn't|is not|ain't|not|has no|hasn't|doesn't)\b|"
    # not sure, not all, another word for it
    r"\b(?:just |only )?one of (?:them|the two|the three|these|those)\b|\b\d+ ?(?:%|per ?cent\b)|\bas in\b|"
    # it happened, or may
    r"\b(?:i|you|we|he|she|someone|somebody)(?: have| had|'ve| just| already| once)* "
    r"(?:erased|wiped|formatted|partitioned|deleted)\b(?! (?:it|them|that) (?:now|too)\b)|"
    r"\bas soon as\b|\bisnt to be\b|\bshould \w+ (?:be|turn out|prove|fail)\b|\bwait,? |"
    # on a condition
    r"\b(?:as long as|so long as|provided|providing|assuming|on (?:the )?condition|supposing)\b|"
    rf"\b{_DELETES} (?:the rest|the others|everything else|all else|all (?:of )?the others?)\b|"
    # not now
    r"\b(?:tomorrow|tonight|next (?:week|month|time)|(?:this|in the) (?:evening|afternoon)|at night|"
    r"on (?:mon|tues|wednes|thurs|fri|satur|sun)days?|"
    r"in (?:an?|one|two|\d+|a few) (?:hours?|minutes?|days?|weeks?)|when (?:every|some|no)\w*)\b|"
    # what somebody else says
    r"\b(?:he|she|they|brother|sister|son|daughter|wife|husband|friend|neighbou?r|colleague|boss|guide|"
    r"manual|wiki|tutorial|docs?|documentation|readme|forum|video|some(?:body|one)|every(?:body|one)|people|"
    r"article|book|site|website|page|script)(?: also| always)? "
    r"(?:told|tells?|says?|said|suggests?|suggested|wants?|claims?|thinks?|writes?|wrote|recommends?)\b|"
    # no earnest
    r"\b(?:kidding|jok(?:e|es|ing)|pretend\w*|simulat\w+|dry[- ]?run|hypothetical\w*|theoretical\w*|"
    r"just testing|for (?:fun|example))\b|"
    # a line to read, or to run by oneself
    r"\b(?:give|tell|send|write|type|spell|print|show)(?: me| us| down| out)* "
    r"(?:the |a |an |your )?(?:commands?|lines?|instructions?)\b|"
    r"\b(?:write|jot) (?:it )?down\b|\b(?:it|that|this) myself\b|"
    r"(?<!have )(?<!have a )(?<!made a )(?<!got a )\bback-?up of\b|"
    r"(?:^|\b(?:first|please|pls|then|and|to|must|should|let's|lets|you|can|could|ok)[ ,]+)back[ -]?up "
    r"(?:the|my|our|all|everything|it|them|that|this|/|sd\w|nvme|data|files|photos|documents|home|root)\b|"
    # a judgement
    r"\b(?:would|might|could|will) be (?:a |an |very |really )*(?:bad|stupid|terrible|dumb|wrong|mistake|mad|"
    r"crazy|shame|pity|catastroph\w+|disaster)\b"
)
_LESS = re.compile(  # not the whole of a disk
    # what is there is to work again, or something else comes there
    r"\b(?:fix|repair|restor|rescu|recover|undelet|correct)(?:e|ing)?(?: \S+){0,3} "
    r"(?:table|partitions?|gpt|mbr|disk|drive|files?)\b|"
    r"\b(?:re)?install\w*(?: \S+){0,2} (?:windows|win ?\d+|mac ?os|osx|freebsd|android)\b|\braid ?\d*\b|"
    # not all of it
    r"\b(?:a little|a bit|slightly|partly|partially|half of)\b|"
    rf"\b{_DELETES}(?: up)?(?: [\w'-]+){{0,4}}? (?:kernels?|logs?|cache[sd]?|packages?|apps?|programs?|"
    r"games?|folders?|director(?:y|ies)|snapshots?|drivers?|grub|boot ?loaders?|entr(?:y|ies)|config\w*|"
    r"settings?|virus(?:es)?|malware|updates?|passwords?|duplicates?|trash|temp(?:orary)?)\b"
)
_ONE_OF_THEM = re.compile(
    rf"\b{_DELETES} (?:(?!(?:and|then|or|make|mak|create|into|with|one|single|new|as|put|to|is|gets?)\b)"
    r"[\w/'-]+ ){1,5}part(?:ition)?\b(?!s| table)|"
    r"\b(?:[svh]d[a-z]|nvme\d+n\d+|mmcblk\d+)'s "
    r"(?!partitions?\b|contents?\b|data\b|files?\b|(?:old |whole )*(?:partition )?table)|"
    r"\b(?:delete|remove|uninstall|get rid of|drop)(?: \w+){0,2} "
    r"(?:windows|ubuntu|debian|fedora|mint|macos|other system)\b(?!'s (?:disk|drive)| (?:disk|drive|and)\b)"
)
_NEEDS = r"(?:needs?|uses?|using|keep|wants?|loves?|likes?|boot|start|run|play|work)"
_NOT_AWAY = r"(?! (?:gone|away|off|out|erased|wiped|deleted|removed|replaced|formatted|disk|drive))"
_NTH = r"(?:\d{1,2}|one|two|three|four)"
_THINGS = (
    rf"(?:(?<!\ba )home|part(?:ition)? {_NTH}\b|(?<!\ba )(?:first|second|third|last|windows|"
    rf"linux|home|ubuntu|data|root) "
    r"(?:part(?:ition)?|one))"
)
_NO_NEED = re.compile(
    r"(?:\b|(?=n't))(?:not|n't|dont|never|no longer|no|stop|without|instead of|nobody|none|nothing)\b"
)
_NEEDED = re.compile(  # what is there has its use, or its worth
    r"\bstill (?:\w+ )?(?:us(?:e|es|ed|ing)|need\w*(?! (?:its|an?|to|format\w*|fresh)\b)|"
    r"in use)\b|\bwant (?:it|them|that) back\b|"
    r"\b(?:is|are) (?:\w+ )?(?:important|precious|valuable|needed)\b|"
    r"\b(?:windows|linux|ubuntu|debian|fedora|mint|arch|home|data)(?: part(?:ition)?)? "
    r"(?:(?:must|should|has to|shall|will) )?(?:stays?|remains?|survives?)\b|"
    rf"\b{_NEEDS}\b(?: \S+){{0,4}}? (?:windows|win ?1\d|(?:both|two) (?:systems?|os(?:es)?))\b{_NOT_AWAY}|"
    rf"\b(?:needs?|(?:i|we) (?:still )?use|uses|keep)\b(?: \S+){{0,4}}? {_THINGS}\b{_NOT_AWAY}|"
    rf"\b(?:windows|win ?1\d|home|ubuntu|part(?:ition)? (?:number )?{_NTH}|{say.NODE}) "
    r"(?:works?|(?:is|are) (?:\w+ )?(?:needed|important|precious|fine|used|mine)|has (?:my|important)|"
    r"(?:should|must|has to|needs to) (?:still )?(?:boot|stay|work|start|survive|remain))\b|"
    r"\bre-?use (?:\S+ ){0,2}?home\b|\b(?:mount|keep|use) (?:(?:my|the|old|existing|separate) )+home\b|"
    r"\b(?:photos|pictures|files|data|documents|music|games|work|thesis|videos|stuff) (?:is|"
    r"are|lives?|sits?) "
    r"(?:still )?(?:on|in)\b|"
    r"\b(?:have|got) (?:an? |my )?(?:separate|existing|old|own) home\b|"
    rf"\b(?:windows|home|ubuntu|linux|my \w+) (?:is|are|sits|lives) on (?:{say.NODE}|"
    r"(?:the )?(?:\w+ )?part(?:ition)?)\b|"
    rf"\b(?:have|use|run|got) (?:windows|ubuntu|linux|my \w+) on (?:{say.NODE}|"
    rf"(?:the )?(?:\w+ )?part(?:ition)?)\b|"
    rf"(?:\b{say.NODE}|\bpart(?:ition)? (?:number )?{_NTH}) (?:is|has|holds) (?:my |the )?(?:windows|"
    r"home|ubuntu|data|photos)\b|"
    r"\b(?:a|as) second (?:os|system)\b|(?<!erase )(?<!wipe )\bboth systems\b|"
    r"\blinux (?:along ?side|beside|with|next to) windows\b|\blinux and windows\b|\bwindows and linux\b"
)
_AWAY = re.compile(r"\b(?:eras|wip|delet|remov|replac|overwrit|reinstall|get rid)\w*")
_DEEDS_ON_IT = re.compile(r"\b(?:it|that|them|those|this|there|both)\b")
_REST = re.compile(  # what else there is, and not another disk
    r"\b(?:leave|keep|spare|skip|not|don't|do not|never|without) (?:\w+ ){0,2}"
    r"(?:the )?(?:others?|other (?:ones?|parts?|partitions?)|rest)\b(?! (?:of the )?(?:disks?|drives?)\b)"
)
_OF_A_DISK = re.compile(  # what is one thing of several on a disk
    r"\b(?:root|efi|esp|boot|home|swap|windows|win ?\d+|part(?:ition)?|ntfs|linux|ubuntu|debian|fedora|mint|"
    r"the (?:ext[234]|btrfs|xfs|f2fs|v?fat(?:32)?))\b(?! (?:disk|drive)\b)|(?<!\S)/(?!\S)|"
    rf"\b(?:one|number \w+|first|second|third|last|system) (?:on|of|from|in) (?:the )?{say.DISK}\b"
)
_MADE = re.compile(  # it is to be made
    r"\b(?:mak\w+|creat\w+|new|into|with|install\w*|partition(?:ing)? (?!(?:number|no|#|\d))|set ?up)\b|"
    r"\d ?[gmt](?:i?b)?\b"
)
_CORRECTION = re.compile(r"\b(?:i mean(?:t)?|or rather|correction|scratch that)\b[ ,:.]*")
_KIND_ALONE = re.compile(
    r"(?:as |to |use |make it )?(?:mkfs\.)?(ext[234]|btrfs|xfs|f2fs)(?: please| pls)?[ .!]*"
)
_PAST = re.compile(
    r"\b(?:was|were|has been|have been|had been|already|yesterday|earlier|last (?:week|year))\b"
)
_LIST = re.compile(
    r"(?:[\s,&+]|/dev/|\b(?:[svh]d[a-z]\d*|nvme\d+n\d+(?:p\d+)?|mmcblk\d+(?:p\d+)?|"
    r"and|too|also|as well|both|likewise|neither|either|same|alone)\b)+"
)
_KEPT = re.compile(r"\b(?:leave|keep|spare|hands off|save|(?:don't|dont|do not|never) touch)\b")
_AS_WELL = re.compile(r"\b(?:too|also|as well|likewise|neither|either|same)\b")
_DESCRIBES = re.compile(
    r"^(?:(?:and|but|because|since|as|so) )?(?:the |my )?(?:/dev/)?\w+ (?:\w+ )?"
    r"(?:is|are|was|has|have|had|holds?|contains?|keeps?|stores?|belongs?)\b"
    r"(?! (?:the (?:one(?! with| that)|right|target)|it\b|fine|ok|okay|good|right|free|empty|blank|"
    r"correct|what i|mine to|meant|to (?:be|go)))"
)
# The words of a yes that is nothing but a yes. Other words say something else beside it, and that may be
# a condition, another wish or a goodbye: then the question is asked once more.
_OF_A_YES = frozenset(
    "y yes yess yep yea yeah yup ya ye aye jo ja si oui sure ok oki okay okey k kk please pls plz go "
    "going goes ahead on for it do does did done doing that so this these those them both all of course "
    "agree agreed agrees confirm confirmed confirms i i'm i'd i've me my you your we us am affirmative "
    "absolutely right correct exactly fine perfect sounds sound looks good great nice cool super "
    "certainly definitely alright allright by means proceed continue carry let's let with pleasure "
    "gladly make as say said like liked may must why is was are be been it's its that's the a an one "
    "ones approve approved accept accepted granted grant permission ready begin start can could should "
    "shall will would want wanted wants meant mean and to oh ah well then now just still again too also "
    "really very quite thanks thank indeed asked proposed suggested planned plan told same usual way "
    "name order off everything anything whole entire thing things stuff data content contents old new "
    "only here there what's disk disks drive drives ssd hdd hard nvme stick card device partition "
    "partitions system systems layout table gpt mbr uefi bios efi esp root home swap boot fs file files "
    "filesystem filesystems use used using take taken keep lost gone empty erased away at from into "
    "onto in word once more sir madam quickly finally already hurry up "
    "anyway understood understand aware clear jup sooner better".split()
)
# Beside those, what stands in a request that names no disk, where there is one that can be meant.
_OF_A_REQUEST = _OF_A_YES | frozenset(
    "no na nah hm hmm uh um next first second two three put mount unmount mnt steps step plain simple "
    "safe saved made allowed case has moment ours behind rather cut them they linux windows ext xfs "
    "btrfs fat fresh usable standard default classic single separate each size sizes rest max maximum "
    "minimum more my our please computer laptop machine pc run need needs get gets give build bigger "
    "biggest big smaller smallest small larger largest large little other others last third fourth over "
    "decided have try help would could kindly today completely totally properly itself again straight "
    "linux's os distro ubuntu debian fedora arch usual cleanly emmc mmc sata usb pcie virtio flash "
    "external internal latter former number".split()
)
_NOUNS = frozenset(  # a word for a thing, and no wish for one
    "partition partitions swap gpt mbr msdos luks lvm layout install installation clear linux system file "
    "filesystem filesystems files ext ext2 ext3 ext4 btrfs xfs f2fs fat fat32 vfat please pls root home "
    "esp efi disk".split()
)
_THE_DISK = re.compile(
    r"\b(?:eras|wip|clear|format|partition|overwrit|nuk|zap)(?:e|p|ing)? (?:up )?"
    r"(?:the |this |that |my |whole |entire |full )+(?:disk|drive|ssd|hdd)\b"
)
_TYPED_LINE = re.compile(
    r"\s*(?:\$ ?|sudo )?(?:(?:sg|g|sf|f|cf|c)disk|parted|wipefs|mkfs|mkfs\.\w+|mke2fs|mkswap|dd|cryptsetup|"
    r"blkdiscard|shred)\s+(?:-|/|\w+=)"
)
_TURNS = re.compile(  # from a deed to one that takes nothing away
    r"\band(?= (?:then )?(?:mount|keep|leave|use|check|show|list|copy|back|save|look|fsck|label|name|"
    r"(?:un)?plug|pull|disconnect|eject|ignore|forget|skip)\b)"
)
_JOINTS = re.compile(  # between a deed and what else a message says
    r"\b(?:and|with|so|because|for|then|as|since|plus)\b|[,;:+&()]"
)
_SLIPS = frozenset(
    "tat taht htat thta tht teh hte ti yse eys yas yrs sur suer pleae plase tkae tak gp".split()
)
_NO_SLIPS = frozenset(
    "think quit exit stay time hello help quiet quite write white whole where those things".split()
)
_SPARES_NOTHING = re.compile(  # beside a yes
    r"\b(?:that|it|this)(?:'s| is| was) what i (?:want(?:ed)?|meant|said)\b|"
    r"\b(?:i|we)(?:'ve| have| got| made| have got| have made)? (?:a |all |my |full |the )*"
    r"(?:back-?ups?|copies|copy)(?: of (?:it|that|them|everything|all(?: of (?:it|that))?))?\b|"
    r"\b(?:it|that|everything|all|what was there|my \w+)(?:'s| is| are)(?: all)? "
    r"(?:in the cloud|(?:backed up|saved|copied|safe)(?: elsewhere)?|elsewhere)\b|"
    r"\bi know(?: what (?:i (?:lose|am doing|do)|that means|it means|it does))?\b|"
    r"\bi(?:'m| am) (?:sure|certain|positive)\b|\bi(?:'ve| have) time\b|\bat last\b|\bno problem\b|"
    r"\b(?:hell|damn|fuck) (?:yes|yeah|right)\b"
)
_HOLDS = re.compile(
    r"(?:^|[.;,!:] ?|\b(?:and|but) )([^.;,!:]{2,40}?) (?:still )?(?:holds?|has|have|contains?|is full of) "
    r"(?:\w+ ){0,2}?(?:my|our|his|her|their|mine)\b"
)
_STAYS = re.compile(
    r"(?:^|[.;,!:] ?|\b(?:and|but) )([^.;,!:]{2,40}?) (?:stays?|remains?|must stay|aside|"
    r"excluded|exempt|survives?|shall (?:live|stay)|belongs|"
    r"is (?:sacred|holy|precious|reserved|taboo|off|windows|"
    r"the backup|still needed)|"
    r"(?:is|are) (?:to be )?(?:kept|spared|left alone|safe|off limits))\b(?! (?:to|for) )"
)
_SPARES = re.compile(
    r"\b(?:spare|keep|avoid|exclude|ignore|away from|far from|clear of|minus|"
    r"let(?= \S+ (?:\S+ )?(?:be|live|alone)\b)|"
    r"don'?t (?:touch|erase|wipe|format)|do not (?:touch|erase|wipe|format)|hands off|"
    r"(?:is|are|was)(?: not|n'?t)|ain'?t|other than|apart from|besides|(?<!why )(?<!do )not|"
    r"(?:everything|anything|all) (?:but|except)) (?:the |my )?([^.;,!:]{2,40}?)"
    r"(?=[.;,!:]|$| (?:and|but|alone|as|may|can|safe|be|live|then)\b)"
)
_TO_OTHER = re.compile(
    r"\b(?:use|take|wipe|erase|partition|format|prepare|go with|install (?:on|to)|on|to) the other\b(?!s)"
)
_SYSTEM = re.compile(
    r"\b(?:system|sysem|target|root|linux|os|main) (?:disk|drive|ssd|one)\b|"
    r"\b(?:disk|drive|ssd) (?:of|for|with) the system\b"
)
_HOLDING = re.compile(
    r"\b(?:my|our|his|her|their|the) (?:\w+ ){0,2}?(?:photos?|pictures?|files?|data|documents?|backups?|"
    r"music|films?|movies?|videos?|work|things|stuff|thesis|archive|collection|games|mails?|home)(?: \w+)? "
    r"(?:is|are|lives?|stays?|sits?) (?:\w+ )?(?:on|in) ([^.;,!]{1,60}?)"
    r"(?=[.;,!]|$| (?:and|but|so|then|the other)\b)"
)
_LIVE = re.compile(r"\b(?:live|boot\w*|started|running|installer|installation)\b")
_NOT_LIVE = re.compile(
    r"\b(?:the one )?(?:that|which)(?: is not|'s not| isn'?t) (?:the |a )?"
    r"(?:live|boot\w*|install\w*)\b[^.;,]*",
    re.IGNORECASE,
)
_TAKES_AWAY = re.compile(
    r"\b(?:delet\w+|remov\w+|eliminat\w+|suppress|dissolve|drop|kill|scratch|strike|"
    r"tak(?:e|en) (?:\S+ ){0,4}?(?:away|out|off)|(?:out|off|away) with|get rid|"
    r"(?:has|have|needs?|ought) to (?:go|disappear|vanish)|(?:should|must|can|may) (?:go|disappear|vanish))\b"
)
_ENCRYPTS = re.compile(r"\b(?:encrypt\w*|luks\w*|crypt\w*)\b")


@lru_cache(maxsize=8192)
def hedged(text: str) -> bool:
    """Whether a text is no wish for a deed as it stands: a condition, an exception, later, others, a joke."""
    return say.no_wish(text) or _HEDGES.search(say.folded(text)) is not None


def less_than_a_disk(text: str) -> bool:
    """Whether a text wants one thing of many gone, or a disk to work again."""
    return _LESS.search(say.folded(text)) is not None


def parts_only(text: str, lost: int) -> bool:
    """Whether a text wants one partition gone, and `lost` of them are more."""
    return lost > 1 and _ONE_OF_THEM.search(say.folded(text)) is not None


def needed(text: str) -> bool:
    """Whether a text says of something on a disk that it has its use: `i use windows for work`, `home is on
    sda3`. Not where a clause with a deed is about just that: `windows is on sda2, wipe it`."""
    kept = False
    for clause in say.clauses(text):
        found = [each[0] for each in _NEEDED.finditer(clause) if not _AWAY.search(each[0])]
        if found and not _NO_NEED.search(clause):
            kept = True
        elif kept and say.destroys(clause) and _DEEDS_ON_IT.search(clause):
            return False
    return kept


def leaves_the_rest(text: str) -> bool:
    """Whether a text wants one thing on a disk gone, and the rest of it left: `format the root on sda, leave
    the rest`."""
    plain = say.folded(text)
    rest = _REST.search(plain)
    return bool(rest and _OF_A_DISK.search(plain) and not _MADE.search(plain))


def after_correction(text: str) -> str:
    """What follows "I mean"; "" where nobody corrects anything in the middle of a message."""
    plain = say.folded(text)
    found = list(_CORRECTION.finditer(plain))
    if not found or not plain[: found[-1].start()].strip(" ,.-"):
        return ""
    return plain[found[-1].end() :]


def corrected_kind(text: str) -> str:
    """A kind of file system that a text ends with as a correction, and nothing beside it; "" where none
    is: `exr4 -- I mean ext4`."""
    found = _KIND_ALONE.fullmatch(after_correction(text))
    return found[1] if found else ""


def only_encrypts(text: str) -> bool:
    """Whether a text speaks of encrypting, and of nothing else that destroys."""
    plain = say.folded(text)
    return _ENCRYPTS.search(plain) is not None and not say.destroys(_ENCRYPTS.sub(" ", plain))


def takes_away(text: str) -> bool:
    """Whether a text wants something away, also in words that wish for nothing elsewhere: "drop #2"."""
    return _TAKES_AWAY.search(say.folded(text)) is not None


def deeds(text: str) -> list[str]:
    """The clauses that speak of a deed to come, and lists of devices behind them."""
    found: list[str] = []
    for clause in say.clauses(_TURNS.sub(", ", say.folded(text))):
        listed = bool(found) and _LIST.fullmatch(clause) is not None
        if listed or say.destroys(clause) and not (say.refuses(clause) or _PAST.search(clause)):
            found.append(clause)
    return found


def goes_on_refusing(before: str, piece: str) -> bool:
    """Whether a clause only lists what the refusal before it is about, too: "sda2 too" of "leave sda1 alone,
    sda2 too". "Not sda, sdb" is a choice."""
    if _LIST.fullmatch(piece) is None or not re.search(r"\d|[sv]d[a-z]", piece):
        return False
    return _KEPT.search(before) is not None or _AS_WELL.search(piece) is not None


def chosen(text: str) -> str:
    """An answer to "which?" without the clauses that describe: `nvme0n1, sda has my photos`."""
    return ", ".join(clause for clause in say.clauses(text) if not _DESCRIBES.match(clause))


def plain_yes(text: str, names: frozenset[str]) -> bool:
    """Whether a message that agrees says nothing beside it. `names`: words of disks and models.

    >>> plain_yes("yes, wipe it", frozenset()), plain_yes("ok, I'll ask my wife", frozenset())
    (True, False)
    """
    return _only_of(text, _OF_A_YES | names, 5)


def about_disks(text: str, names: frozenset[str]) -> bool:
    """Whether a request that names no disk speaks of nothing else: `format the output as a table`."""
    plain = say.folded(text)
    if all(word in _NOUNS for word in say.words(plain)):
        return False
    if _THE_DISK.search(plain):
        return True
    return _only_of(text, _OF_A_REQUEST | names, 4)


def plain_request(text: str, names: frozenset[str]) -> bool:
    """Whether a piece of a message with a deed says nothing beside it: not `a note: wipe sda on Monday`."""
    pieces = (piece for clause in say.clauses(text) for piece in _JOINTS.split(clause))
    return any(
        say.destroys(piece) and _only_of(piece, _OF_A_REQUEST | names, 4) for piece in pieces
    )


def holding(text: str) -> list[str]:
    """What a text says that something of the person's is on, or that it stays as it is: "sdb" of "my
    photos are on sdb", "sda" of "sda stays"."""
    plain = say.folded(text)
    return [
        part for pattern in (_HOLDING, _HOLDS, _STAYS, _SPARES) for part in pattern.findall(plain)
    ]


def of_two(text: str) -> int | None:
    """Which of two a text means that says "the former" or "the latter"; None: it says neither."""
    for word in re.findall(r"[a-z]+", say.folded(text)):
        for place, name in enumerate(("former", "latter")):
            if say.near(word, name, 6) and word not in ("format", "formatted", "later", "letter"):
                return place
    return None


def wants_the_other(text: str) -> bool:
    """Whether a text asks for a deed on "the other" disk."""
    return _TO_OTHER.search(say.folded(text)) is not None


def without_the_live(text: str) -> str:
    """A text without "…, the one that isn't the live stick": that holds nothing back."""
    return _NOT_LIVE.sub(" ", text)


def of_the_live(text: str) -> bool:
    """Whether a text is about what the live system was started from."""
    return _LIVE.search(text) is not None


def of_the_system(text: str) -> bool:
    """Whether a text is about the disk that the system goes to, called so."""
    return _SYSTEM.search(say.folded(text)) is not None


def typed_line(text: str) -> bool:
    """Whether a message is a line for a shell, about a disk."""
    return _TYPED_LINE.match(text) is not None


def _only_of(text: str, known: frozenset[str], least: int) -> bool:
    """Whether all words are known, up to a letter in those of `least` and more."""
    plain = say.in_spite(_SPARES_NOTHING.sub(" ", say.folded(text)))
    for word in re.findall(r"[\w'’/.+-]+", plain):
        option = word.startswith("-")
        word = word.strip(".'/-+").removesuffix("'s").removeprefix("dev/")
        if option or not word or word in known or word in _SLIPS or any(map(str.isdigit, word)):
            continue
        if re.sub(r"([a-z])\1+", r"\1", word) in known or say.destroys(word):
            continue  # yeesss
        if word in _NO_SLIPS or not any(say.near(word, other, least) for other in known):
            return False
    return True
