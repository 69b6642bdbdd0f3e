"""Files that configure a Linux system, and the facts that they hold.

A Tree keeps facts (host name, time zone, users …) beside files; here the two are kept in step:
writing /etc/hostname sets the host name, linking /etc/localtime sets the time zone.
"""

from __future__ import annotations

import re
from typing import Any

from llmkit.installer.frozen import replace
from llmkit.installer.state import Tree

DIRECTORIES = frozenset(
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys"
    " /tmp /usr /var /usr/bin /usr/lib /usr/lib64 /usr/local /usr/local/bin /usr/sbin /usr/share"
    " /usr/share/zoneinfo /usr/share/locale /usr/lib/systemd /usr/lib/systemd/system /var/cache"
    " /var/lib /var/log /var/tmp /var/spool /etc/default /etc/skel /etc/systemd"
    " /etc/systemd/system /etc/systemd/network /etc/sudoers.d /etc/pam.d /etc/profile.d /etc/ssl"
    " /etc/X11 /etc/ssh /etc/udev /etc/udev/rules.d /etc/modprobe.d /etc/security"
    " /etc/NetworkManager /etc/NetworkManager/system-connections /etc/NetworkManager/conf.d"
    " /etc/modules-load.d /etc/sysctl.d /etc/tmpfiles.d /etc/cron.d".split()
)  # what an installed system has for sure
FILES = frozenset(
    "/etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/hosts /etc/fstab /etc/sudoers"
    " /etc/locale.gen /etc/default/useradd /etc/os-release /etc/shells /etc/profile"
    " /etc/nsswitch.conf /etc/resolv.conf /etc/issue /etc/mkinitcpio.conf /etc/pacman.conf"
    " /etc/pacman.d/mirrorlist /etc/default/grub /etc/machine-id /etc/crypttab".split()
)  # present with a content that is not known
DEEP = ("/usr/", "/var/", "/etc/", "/lib/", "/opt/", "/bin/", "/sbin/")  # anything may be there
_ZONE = re.compile(r"(?:/|(?:\.\./)+)usr/share/zoneinfo/(?:posix/|right/)?([A-Za-z0-9_+/-]+)")
_SPACE = re.compile(r"[ \t]+")
SYSTEM_GROUPS = frozenset(
    "root wheel sudo adm audio video storage optical network power lp input users disk cdrom dip"
    " plugdev netdev kvm games uucp sys rfkill scanner dialout floppy tty systemd-journal log"
    " render lock man mail ftp http daemon bin nobody nogroup staff backup shadow utmp proc"
    " src fax voice tape operator kmem crontab messagebus".split()
)  # groups that a fresh system has (of Arch's and Debian's, without asking which one it is)
SYSTEM_USERS = frozenset(
    "root bin daemon mail ftp http nobody sys sync games man lp news uucp proxy www-data backup"
    " list irc systemd-network systemd-resolve systemd-timesync messagebus dbus polkitd sshd"
    " uuidd avahi".split()
)


def derived(tree: Tree, relative: str) -> str | None:
    """The content of a configuration file that a field tells, or None."""
    if relative == "/etc/hostname" and tree.hostname:
        return tree.hostname + "\n"
    if relative == "/etc/locale.conf" and tree.locale:
        return f"LANG={tree.locale}\n"
    if relative == "/etc/vconsole.conf" and tree.keymap:
        return f"KEYMAP={tree.keymap}\n"
    return None


def applied(tree: Tree, relative: str, content: str | None, added: str | None) -> Tree:
    """The tree after a file was written. `content` is all of it (None: not known), `added` what
    was appended (None: nothing was, it is new)."""
    if relative not in _READERS:
        return tree
    if content is None:
        if added is None and relative == "/etc/fstab":
            return replace(tree, fstab=())
        if added is None:
            return tree
    known = added if content is None else content
    return _READERS[relative](tree, known or "", content is None)


def linked(tree: Tree, relative: str, target: str) -> Tree:
    """The tree after a symbolic link was made."""
    if relative != "/etc/localtime":
        return tree
    return replace(tree, timezone=zone_of(target) or "")


def zone_of(target: str) -> str | None:
    """The time zone that /etc/localtime names when it points to `target`."""
    match = _ZONE.fullmatch(target)
    return match[1] if match else None


def removed(tree: Tree, relative: str) -> Tree:
    """The tree after a file, or a directory above it, was removed."""
    for path, name in _FIELDS.items():
        if path == relative or path.startswith(relative.rstrip("/") + "/"):
            empty: Any = () if name == "fstab" else ""
            if getattr(tree, name) != empty:
                tree = replace(tree, **{name: empty})
    return tree


def fstab_entries(text: str) -> list[tuple[str, str, str, str]]:
    """Source, mount point, type and options of each line (fstab(5))."""
    entries = []
    for line in text.splitlines():
        words = _SPACE.split(line.strip())
        if len(words) < 3 or words[0].startswith("#"):
            continue
        entries.append((words[0], words[1], words[2], words[3] if len(words) > 3 else "defaults"))
    return entries


def assignment(text: str, name: str) -> str:
    """The value of NAME=value in a shell-like file, without quotes; "" when it is not there."""
    value = ""
    for line in text.splitlines():
        key, equals, rest = line.strip().partition("=")
        if equals and key == name:
            value = rest.strip().strip("\"'")
    return value


def _hostname(tree: Tree, text: str, partial: bool) -> Tree:
    lines = [line.strip() for line in text.splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    return replace(tree, hostname=names[0] if names else "")


def _locale(tree: Tree, text: str, partial: bool) -> Tree:
    lang = assignment(text, "LANG")
    return replace(tree, locale=lang) if lang or not partial else tree


def _console(tree: Tree, text: str, partial: bool) -> Tree:
    keymap = assignment(text, "KEYMAP")
    return replace(tree, keymap=keymap) if keymap or not partial else tree


def _keyboard(tree: Tree, text: str, partial: bool) -> Tree:
    layout = assignment(text, "XKBLAYOUT")
    return replace(tree, keymap=layout) if layout or not partial else tree


def _timezone(tree: Tree, text: str, partial: bool) -> Tree:
    zone = text.strip()
    return replace(tree, timezone=zone) if zone else tree


def _fstab(tree: Tree, text: str, partial: bool) -> Tree:
    points = {"swap" if kind == "swap" else point for _, point, kind, _ in fstab_entries(text)}
    if partial:
        points |= set(tree.fstab)
    return replace(tree, fstab=tuple(sorted(points)))


_READERS = {
    "/etc/hostname": _hostname,
    "/etc/locale.conf": _locale,
    "/etc/default/locale": _locale,
    "/etc/vconsole.conf": _console,
    "/etc/default/keyboard": _keyboard,
    "/etc/timezone": _timezone,
    "/etc/fstab": _fstab,
}
_FIELDS = {
    "/etc/hostname": "hostname",
    "/etc/localtime": "timezone",
    "/etc/locale.conf": "locale",
    "/etc/vconsole.conf": "keymap",
    "/etc/fstab": "fstab",
}
