"""Characters that make a shell line look like another one: the guard's first gate.

    >>> deceptive("mkfs.ext4 /dev/sdа")  # the last letter is Cyrillic
    ('/dev/sdа', 'is written with look-alike letters')

What is refused: control characters, invisible and right-to-left characters anywhere; characters
that look like a slash; words that mix alphabets; words that would name a device, a tag or an option
if their foreign letters were the Latin ones that they resemble. What stays allowed: words in any
one alphabet ("useradd -c Иван"), accents, typographic quotes in a sentence. The table of
resemblances holds the letters that matter in device names, not all of Unicode's (UTS 39).
"""

from __future__ import annotations

import re
import unicodedata

_SPELLED = (  # each foreign letter before the ASCII one that it resembles
    "аaԁdеeѵvѕsоoрpсcхxуyіiјjһhкkмmтtвbнhьbгrпnӏlԛqԝwҮY"
    "АAВBЕEКKМMНHОOРPСCТTХXУYІIЈJЅSԜWԚQ"
    "αaεeνvοoρpτtυuκkιiχxγyηnωwμuδdσoϲcϳj"
    "ΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧX"
    "օoսuհhոnցgյjԁdզq"
    "ıiɑaɡgɩiʋvđdɗdɖdłløoħhŧtɒaꜱsᴅdᴇeᴠvᴀaᴏoᴢzʟlʙbɪiʏyɴnʀrᴛtᴜuᴋkᴍmᴘpᴄc"
    "ᎠDᎡRᎢTᎥiᎬEᎳWᎷMᎻHᏃZᏎ4ᏒRᏚSᏞLᏟCᏢPᏙVᏀGᏦKᏴBᏤV"
    "ꓓDꓰEꓦVꓢSꓮAꓳOꓑPꓐBꓔTꓗKꓡLꓟMꓠNꓣRꓴUꓪWꓫXꓬYꓜZ"
    "⁄/∕/⧸/╱/⟋/〳/ノ/丿/᜵/⼃/"
    "‐-‑-‒-–-—-―-−-﹣-⁻-➖-ー-˗-"
    "․.·.‧.ꞏ.᐀=꓿=﹦="
)
_FOLD = str.maketrans(dict(zip(_SPELLED[::2], _SPELLED[1::2], strict=True)))
_SLASHES = frozenset("⁄∕⧸╱⟋〳᜵⼃／∖⧵⧹＼﹨")
_DASHES = frozenset("‐‑‒–—―−﹣⁻➖˗－")
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_MIXABLE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"})
_RUN = re.compile(r"[^\s\"'`;|&<>()]*[^\x00-\x7f][^\s\"'`;|&<>()]*")
_DEVICE_LIKE = re.compile(
    r"/+(\./+)*(dev|sys|proc)(/|$)|^-.|(^|[^A-Za-z])(PART)?(LABEL|UUID)=|"
    r"^(sd[a-z]+\d*|[hv]d[a-z]+\d*|nvme\d.*|mmcblk\d.*|loop\d.*|dm-\d+|md\d.*)$"
)
_LETTERS = re.compile(r"[^\W\d_]+")


def control_character(text: str) -> str | None:
    """Name of the first character that has no business in a shell line, or None.

    Tab and newline are allowed. Unassigned and private characters are not: nobody can read them.
    """
    if text.isascii():
        found = next((c for c in text if (c < " " and c not in "\t\n") or c == "\x7f"), None)
    else:
        found = next((c for c in text if _unreadable(c)), None)
    if found is None:
        return None
    return unicodedata.name(found, f"character number {ord(found)}").lower()


def _unreadable(char: str) -> bool:
    if char in "\t\n " or "!" <= char <= "~":
        return False
    category = unicodedata.category(char)
    variation = "\ufe00" <= char <= "\ufe0f" or "\U000e0000" <= char <= "\U000e0fff"
    return category[0] in "CZ" or variation or char in _INVISIBLE


def fold(word: str) -> str:
    """`word` with every foreign character replaced by the ASCII one that it looks like."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", word).translate(_FOLD))
    return "".join(c for c in plain if not unicodedata.combining(c)).translate(_FOLD)


def deceptive(text: str, known: tuple[str, ...] = ()) -> tuple[str, str] | None:
    """The first word that looks like something else, and what is wrong with it, or None.

    `known`: labels that really are on this machine ("Données"); they may be named.
    """
    if text.isascii():
        return None
    for label in known:
        text = text.replace(label, "")
    for match in _RUN.finditer(text):
        word = match.group()
        if any(char in _SLASHES for char in word):
            return word, "holds a character that only looks like a slash"
        if word[0] in _DASHES and len(word) > 1:
            return word, "begins with a character that only looks like a minus sign"
        if any("\uff01" <= c <= "\uff5e" or _styled(c) for c in word) or _mixed(word):
            return word, "is written with look-alike letters"
        if _DEVICE_LIKE.search(fold(word)):
            return word, "is written with look-alike letters"
    return None


def _styled(char: str) -> bool:
    """A mathematical, circled or otherwise dressed-up ASCII letter or digit."""
    if char.isascii() or unicodedata.category(char) not in ("Lu", "Ll", "Lm", "Nd", "No", "So"):
        return False
    plain = unicodedata.normalize("NFKC", char)
    return plain != char and plain.isascii() and plain.isalnum() and char not in "ªº²³¹"


def _mixed(word: str) -> bool:
    """Letters of two alphabets that resemble each other stand in one run of letters."""
    for run in _LETTERS.findall(word):
        if run.isascii():
            continue
        scripts = {unicodedata.name(char, "?").split()[0] for char in run}
        if len(scripts & _MIXABLE) > 1:
            return True
    return False
