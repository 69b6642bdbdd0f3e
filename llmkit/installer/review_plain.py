"""Is a message plain: does it only say what is wanted, where, in words that turn nothing around?

>>> is_plain("please format vda2 as ext4", frozenset({"/dev/vda2"}), state)
True
>>> is_plain("format vda2 as ext4 unless it is mounted", frozenset({"/dev/vda2"}), state)
False
"""

from __future__ import annotations

import re

from llmkit.installer import review_words as say
from llmkit.installer.guard_names import disks_of
from llmkit.installer.state import SystemState

_PLAIN = frozenset(  # words that turn no request around; the words of what is meant come to them
    "please pls erase wipe clear format reformat partition repartition install prepare set up lay zap "
    "use take make put get do go now then ok okay yes so the a an whole entire full disk drive ssd hdd nvme "
    "usb sata card dev linux system to on onto at it and with in as for i want d like would can you me we us "
    "all of that this one is free empty blank new fresh table gpt msdos mbr efi esp boot root swap home "
    "partitions single two layout standard usual default from start end flag type file filesystem "
    "filesystems systems fs kind ready clean slate ext2 ext3 ext4 btrfs xfs f2fs fat fat32 vfat gets get its "
    "should may be made mkfs second third first last number part p".split()
)  # fmt: skip
_SIZE = re.compile(r"[+:]?\d[\w.:+%]*")
_ODD = re.compile(r"[^\x00-\x7f’]|~~|!\w")  # other alphabets, and `!sda`
_LONG = frozenset(word for word in _PLAIN if len(word) > 5)


def is_plain(
    text: str, nodes: frozenset[str], state: SystemState, more: frozenset[str] = frozenset()
) -> bool:
    """Whether every word of a message is known, those of the disks of `nodes` and their models among
    them: nothing holds back, tells of something else or sets what is named against others."""
    if _ODD.search(text):
        return False
    own = {path for node in nodes for path in disks_of(state, node)}
    names = {node.removeprefix("/dev/") for node in nodes}
    for disk in state.disks:
        if disk.path in own:
            names |= {disk.name, *re.findall(r"[a-z0-9]+", disk.model.lower())}
    words = re.findall(
        r"/?[a-z0-9][\w./+:%-]*", say.folded(text).replace("/dev/", "").replace("lay out", "layout")
    )
    return all(
        word in _PLAIN or word in more or word in names or word.startswith("/") or _SIZE.fullmatch(word)
        or len(word) > 5 and any(say.near(word, known, 6) for known in _LONG)
        for word in (one.rstrip(".:-+/") for one in words) if word
    )  # fmt: skip
