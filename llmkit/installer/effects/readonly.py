"""Tools that only look: lsblk, blkid, df, ls, ip, dmesg and their likes.

They change nothing, and fail where a device or file that they are given is known not to be there.
Tools that can also change something (ip link set, nmcli, nvme format, smartctl -s) say so in their
event.
"""

from __future__ import annotations

from llmkit.installer import vfs
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    Event,
    NoSuchDevice,
    Result,
    effect,
)
from llmkit.installer.state import SystemState

_READ = (Event("read"),)


def check_devices(state: SystemState, argv: Argv, status: int = 1) -> None:
    """Raises:
    NoSuchDevice: a word names a path below /dev that is not there.
    """
    for word in argv.args:
        path = word if word.startswith("/dev/") else word.partition("=")[2]
        if path.startswith("/dev/") and not vfs.exists(state, path):
            raise NoSuchDevice(
                f"{argv.program}: {path} does not exist; this machine has {vfs.listing(state)}",
                status=status,
            )


@effect("lsblk", "df", "hdparm", "sdparm", "lsscsi", "file", "udevadm", "lvmdump", "dumpe2fs",
        "debugfs", "xfs_info", "xfs_db", "filefrag", "iostat", "duf", "dust")  # fmt: skip
def devices_read(state: SystemState, argv: Argv) -> Result:
    """Look at devices: those that are named must exist (32 for lsblk, else 1)."""
    check_devices(state, argv, 32 if argv.program == "lsblk" else 1)
    return Result(state, None, events=_READ)


@effect("blkid")
def blkid(state: SystemState, argv: Argv) -> Result:
    """Show signatures (blkid(8)): status 2 when a device is not there or holds nothing; `-s TAG -o
    value` and -L, -U print what is known."""
    words = list(argv.args)
    for flag, tag in (("-L", "LABEL"), ("-U", "UUID")):
        if flag in words and words.index(flag) + 1 < len(words):
            node = vfs.device(state, f"{tag}={words[words.index(flag) + 1]}")
            if node is None:
                raise CommandFailed(f"blkid: nothing has that {tag}", status=2)
            return Result(state, node + "\n", events=_READ)
    devices = [w for w in words if w.startswith("/dev/")]
    for path in devices:
        node = vfs.device(state, path)
        if node is None:
            message = f"blkid: {path} does not exist; this machine has {vfs.listing(state)}"
            raise NoSuchDevice(message, status=2)
        disk, part, _ = vfs.find(state, node)
        table = disk is not None and (part is not None or disk.table is not None)
        if vfs.signature(state, node) is None and not table:
            raise CommandFailed(f"blkid: nothing was found on {node}", status=2)
    return Result(state, _value(state, words, devices), events=_READ)


def _value(state: SystemState, words: list[str], devices: list[str]) -> str | None:
    """What `blkid -s TAG -o value DEVICE` prints, where it is known."""
    if len(devices) != 1 or "value" not in words and "-ovalue" not in words:
        return None
    tag = next((words[i + 1] for i, w in enumerate(words[:-1]) if w in ("-s", "--match-tag")), "")
    node = vfs.device(state, devices[0]) or ""
    signature = vfs.signature(state, node)
    _, part, _ = vfs.find(state, node)
    known = {
        "TYPE": signature.kind if signature else "",
        "LABEL": signature.label if signature else "",
        "UUID": signature.uuid if signature else "",
        "PARTUUID": part.partuuid if part else "",
        "PARTLABEL": part.name if part else "",
    }.get(tag, "")
    return known + "\n" if known else None


@effect("ls", "stat", "du", "tree", "readlink", "realpath", "head", "tail", "less", "more", "wc",
        "md5sum", "sha256sum", "sha1sum", "b2sum", "strings", "xxd", "hexdump", "od", "lsof",
        "fuser", "lsattr", "getfacl", "bat", "dir", "vdir", "cmp", "diff", "sum",
        "cksum")  # fmt: skip
def files_read(state: SystemState, argv: Argv) -> Result:
    """Look at files: those that are named by an absolute path must not be known to be missing
    (2 for ls, else 1)."""
    for word in argv.args:
        if word.startswith("/") and vfs.exists(state, word, argv.root) is False:
            status = 2 if argv.program == "ls" else 1
            kind = NoSuchDevice if word.startswith("/dev/") else CommandFailed
            raise kind(f"{argv.program}: {vfs.absolute(word, argv.root)} does not exist",
                       status=status)  # fmt: skip
    return Result(state, None, events=_READ)


@effect("grep", "egrep", "fgrep", "rg", "find", "which", "type", "whereis",
        "locate")  # fmt: skip
def search(state: SystemState, argv: Argv) -> Result:
    """Search: whether something is found is not known (status unknown); missing paths are 2."""
    if argv.program in ("find", "grep", "rg"):
        for word in argv.args:
            if word.startswith("/") and vfs.exists(state, word, argv.root) is False:
                raise CommandFailed(f"{argv.program}: {word} does not exist", status=2)
    if argv.program == "find":
        risky = {"-delete", "-exec", "-execdir", "-ok"} & set(argv.args)
        return Result(state, None, 0, (Event("remove" if risky else "read", "", "find"),))
    return Result(state, None, None, _READ)


@effect("smartctl", "nvme", "hdsentinel", "badblocks", "fsck", "e2fsck", "fsck.ext4", "fsck.ext3",
        "fsck.ext2", "fsck.vfat", "fsck.fat", "dosfsck", "xfs_repair", "fsck.xfs", "fsck.btrfs",
        "fsck.f2fs", "btrfsck", "resize2fs", "xfs_growfs", "ntfsresize", "mdadm", "losetup",
        "dmsetup", "testdisk", "photorec", "gparted", "kpartx", "eject")  # fmt: skip
def devices_used(state: SystemState, argv: Argv) -> Result:
    """Tools for devices whose changes are not tracked: what they name must exist; checking a mounted
    file system fails. `nvme format` and `badblocks -w` wipe the device."""
    check_devices(state, argv)
    program, words = argv.program, argv.args
    nodes = [vfs.device(state, w) for w in words if w.startswith("/dev/")]
    first = next((node for node in nodes if node), "")
    if program.startswith(("fsck", "e2fsck", "dosfsck", "xfs_repair", "btrfsck")) and first:
        if "-n" not in words and "-N" not in words:
            vfs.require_free(state, first, program)
        return Result(state, None, events=(Event("file", first, "check"),))
    wipes = (program == "nvme" and words[:1] in (("format",), ("sanitize",), ("delete-ns",))) or (
        program == "badblocks" and "-w" in words
    )
    if wipes and first:
        vfs.require_writable(state, first, program)
        for node in vfs.nodes(state, first):
            if any(m.source == node for m in state.mounts):
                vfs.require_free(state, first, program)
        return Result(vfs.overwrite(state, first), None, events=(Event("erase", first, program),))
    changing = program in ("resize2fs", "xfs_growfs", "ntfsresize", "mdadm", "dmsetup", "losetup")
    return Result(state, None, events=(Event("file" if changing else "read", first, program),))


@effect("free", "lscpu", "lspci", "lsusb", "lsmod", "lshw", "inxi", "dmidecode", "hwinfo", "uname",
        "uptime", "date", "cal", "w", "who", "last", "ps", "top", "htop", "pstree", "vmstat",
        "journalctl", "dmesg", "env", "printenv", "locale", "pwd", "tty", "arch", "nproc",
        "neofetch", "fastfetch", "screenfetch", "lslocks", "lsmem", "lsns", "lsipc", "sensors",
        "acpi", "upower", "systemd-detect-virt", "systemd-analyze", "loginctl", "mokutil",
        "getconf", "hostid", "man", "info", "help", "history", "clear", "reset", "sleep", "wait",
        "seq", "sync", "tput", "stty", "basename", "dirname", "lsinitcpio", "lsinitramfs",
        "kmod", "modinfo", "vainfo", "glxinfo", "bootinfo", "whatis", "apropos", "apt-cache",
        "dpkg-query", "rpm", "ss", "netstat", "arp", "traceroute", "tracepath", "mtr", "nslookup",
        "dig", "host", "resolvectl", "ethtool", "iwlist", "iwgetid", "lsb_release",
        "efivar", "sort", "uniq", "cut", "tr", "column", "nl", "rev", "fold", "jq", "numfmt",
        "base64", "yes", "watch")  # fmt: skip
def plain_read(state: SystemState, argv: Argv) -> Result:
    """Print something about the machine, or filter text; nothing is changed. A date to set with
    `date -s` is not tracked."""
    if argv.program in ("sort", "cut", "tr", "uniq", "column", "jq", "nl", "watch"):
        check_devices(state, argv)
    if argv.program == "date" and any(w.startswith(("-s", "--set")) for w in argv.args):
        return Result(state, None, events=(Event("file", "", "clock"),))
    return Result(state, None, events=_READ)


@effect("ping", "ping6", "curl", "wget", "ssh", "scp", "sftp", "ftp", "nc", "ncat", "telnet", "git",
        "aria2c", "whois", "openssl", "gpg")  # fmt: skip
def network_tools(state: SystemState, argv: Argv) -> Result:
    """Reach the network: fails without one. Where a file is written by name (-o, -O) its content is
    not known."""
    program = argv.program
    offline_use = program in ("openssl", "gpg", "git")
    if not state.network and not offline_use:
        raise CommandFailed(f"{program}: there is no network connection", status=2)
    words = argv.args
    flags = {"curl": ("-o", "--output"), "wget": ("-O", "--output-document")}.get(program, ())
    for index, word in enumerate(words[:-1]):
        if word in flags:
            path = words[index + 1]
            if path == "-":
                continue
            node = vfs.device(state, path) if path.startswith("/dev/") else None
            new = vfs.write_text(state, path, None, False, argv.root)
            event = Event("erase", node, "written over") if node else Event("file", "", path)
            return Result(new, None, events=(event,))
    return Result(state, None, events=(Event("read", "", "network"),))


@effect("ip", "nmcli", "nmtui", "iwctl", "iwconfig", "ifconfig", "iw", "rfkill", "wpa_supplicant",
        "wpa_cli", "wpa_passphrase", "dhclient", "dhcpcd", "route", "ifup", "ifdown", "networkctl",
        "netplan", "modprobe", "insmod", "rmmod", "sysctl", "ufw", "iptables",
        "nft")  # fmt: skip
def network_setup(state: SystemState, argv: Argv) -> Result:
    """Look at or change the network and kernel settings; whether a connection comes up is not
    tracked."""
    words = [w for w in argv.args if not w.startswith("-")]
    looking = {"show", "list", "status", "get-networks", "a", "addr", "address", "link", "route",
               "r", "l", "dev", "device", "d", "get", "s", "general", "connection", "wifi", "station",
               "info", "scan", "neigh", "-a", "networks", "wlan0"}  # fmt: skip
    kind = "read" if set(words) <= looking else "file"
    return Result(state, None, events=(Event(kind, "", argv.program),))


@effect("kill", "killall", "pkill", "fwupdmgr", "archinstall", "calamares", "alsamixer", "amixer",
        "startx", "xrandr", "gsettings", "dconf", "tmux", "screen", "crontab", "at", "mknod",
        "mkfifo", "mktemp", "umask", "ulimit", "logger", "wall", "write", "zramctl", "zramen")  # fmt: skip
def known_tools(state: SystemState, argv: Argv) -> Result:
    """Tools that are known to leave disks, mounts and accounts alone, or whose changes are not
    tracked."""
    if argv.program not in ("mknod", "mkfifo", "zramctl"):
        check_devices(state, argv)
    return Result(state, None, events=(Event("file", "", argv.program),))
