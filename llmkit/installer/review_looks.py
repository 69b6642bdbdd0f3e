"""Does a line show what the message wants to see?

    other_look(talk, command)    # ("You want to see the routes", "ip route"); ("", ""): nothing is known

A small model knows `lsblk` best, and shows disks where somebody asks for the kernel's messages. What these
lines show is known, and they change nothing. The kernel's own list of partitions, read anew, is one of them.
"""

from __future__ import annotations

import re

from llmkit.installer import review_words as say
from llmkit.installer.review_consent import Talk
from llmkit.installer.review_refer import candidates
from llmkit.installer.review_step import kept

_WANTS = re.compile(
    r"\b(?:show|list|print|display|see|look|view|tell me|check|which|what|what's|page|read|browse|"
    r"newest|latest|last|all|is|are|any|names?)\b"
)
_SETS = re.compile(
    r"\b(?:set|change|use|switch|make|add|write|load|install|instead|generate|turn|enable|create|give|put|"
    r"mount|format|remove|delete|restart|why|how (?:do|can|to)|explain|mean|difference)\b"
)
# what is named, the lines that show it, the one that is put in
_LOOKS = tuple(
    (what, re.compile(pattern), re.compile(fits), line)
    for what, pattern, fits, line in (
        ("the kernel's messages", r"\bkernel(?:'s)? (?:messages?|log|ring buffer)\b",
         r"\b(?:dmesg|journalctl)\b", "dmesg | tail -n 30"),
        ("the routes", r"\brouting table\b|\broutes\b",
         r"\b(?:ip\b.* r(?:oute)?|route|netstat)\b", "ip route"),
        ("the addresses", r"\bip address(?:es)?\b|\bmy ip\b",
         r"\bip\b.* a(?:ddr\w*)?\b|\bhostname -I\b|\bifconfig\b|\bnmcli\b", "ip addr"),
        ("the network cards", r"\bnetwork (?:cards?|interfaces?|adapters?)\b",
         r"\bip\b|\bnmcli d(?:ev(?:ice)?)?(?: status)?$|/sys/class/net|\blspci\b", "ip link"),
        ("the keymaps", r"\b(?:all|which|list|show|available|the) (?:\w+ )?(?:keymaps|keyboard layouts)\b",
         r"keymaps|\blocalectl\b", "localectl list-keymaps"),
        ("the time zones", r"\b(?:all|which|list|show|names of|the) (?:\w+ )?time ?zones\b",
         r"list-timezones|zoneinfo", "timedatectl list-timezones"),
        ("the swap", r"\b(?:is (?:the |any )?swap (?:on|active|in use)|active swap)\b",
         r"\b(?:swapon|free|lsblk)\b|/proc/swaps", "swapon --show"),
    )
)  # fmt: skip
_REREAD = re.compile(
    r"\bre-?reads?\b|\bkernel\b.*\b(?:old (?:partition )?table|not (?:been )?informed|inform)\b"
)
_TABLE = re.compile(r"\b(?:kernel|partition table|table)\b")
_REREADS = re.compile(r"\b(?:partprobe|partx|kpartx|blockdev --rereadpt|hdparm -z|udevadm)\b")


def other_look(talk: Talk, command: str) -> tuple[str, str]:
    """What the message wants to see that the line does not show, and the line that does."""
    text = say.folded(kept(talk.said))
    if say.doubts(talk.said) and not _WANTS.search(text):
        return "", ""
    if _REREAD.search(text) and _TABLE.search(text) and not _REREADS.search(command):
        refs = talk.meant(text)
        disks = refs.disks or talk.topic
        own = {disk.path for disk in candidates(talk.state)}
        if refs.sure and len(disks) == 1 and disks <= own:
            return "You want the kernel to read the table", f"partprobe {next(iter(disks))}"
    if not _WANTS.search(text) and "please" not in text or _SETS.search(text) or say.destroys(text):
        return "", ""
    found = [(what, fits, line) for what, pattern, fits, line in _LOOKS if pattern.search(text)]
    if len(found) != 1 or found[0][1].search(command):
        return "", ""
    return f"You want to see {found[0][0]}", found[0][2]
