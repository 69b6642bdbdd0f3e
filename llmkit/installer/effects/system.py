"""A system's settings: host name, time zone, locale, keyboard, services, clock, power, packages.

hostnamectl, timedatectl and localectl change the running (live) system, and fail in a chroot, where
no systemd answers; systemctl can enable units in a chroot but starts none.
"""

from __future__ import annotations

import re

from llmkit.installer import vfs, zones
from llmkit.installer.effects.getopt import parse
from llmkit.installer.effects.registry import Argv, CommandFailed, Event, Result, effect
from llmkit.installer.frozen import replace
from llmkit.installer.state import SystemState

_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_CTL_LONG = ("no-ask-password", "host=", "machine=", "help", "version", "static", "pretty",
             "transient", "json=", "adjust-system-clock", "monitor", "all", "property=", "value",
             "no-pager", "no-convert", "full")  # fmt: skip
_LOCALE = re.compile(r"C|POSIX|C\.UTF-8|[a-z]{2,3}(_[A-Z]{2})?(\.[A-Za-z0-9-]+)?(@[a-z]+)?")


def _bus(argv: Argv) -> None:
    if argv.root:
        raise CommandFailed(
            f"{argv.program}: it talks to the running system's systemd, and there is none in a "
            f"chroot; write the files below {argv.root}/etc instead"
        )


def _live(state: SystemState, path: str, text: str, event: Event) -> Result:
    return Result(vfs.write_text(state, path, text), "", events=(event,))


@effect("hostnamectl")
def hostnamectl(state: SystemState, argv: Argv) -> Result:
    """hostnamectl(1): set-hostname NAME or hostname NAME set the live system's name; --static,
    --pretty, --transient; the rest reads, or is not tracked (chassis, icon, location)."""
    options = parse("hostnamectl", argv.args, "hH:M:j", _CTL_LONG)
    words = options.operands
    verb = words[0] if words else "status"
    if verb not in ("set-hostname", "hostname", "status", "icon-name", "set-icon-name", "chassis",
                    "set-chassis", "deployment", "set-deployment", "location",
                    "set-location"):  # fmt: skip
        raise CommandFailed(f"hostnamectl: unknown command {verb}")
    if verb not in ("set-hostname", "hostname") or (verb == "hostname" and len(words) < 2):
        _bus(argv)
        return Result(state, None, events=(Event("read"),))
    _bus(argv)
    if len(words) != 2:
        raise CommandFailed("hostnamectl: exactly one host name is needed")
    if options.has("--pretty") and not options.has("--static", "--transient"):
        return Result(state, "")
    name = words[1]
    check_hostname(name, "hostnamectl")
    return _live(state, "/etc/hostname", name + "\n", Event("hostname", "", name))


def check_hostname(name: str, program: str) -> None:
    """Raises:
    CommandFailed: not a name that a host can have.
    """
    if len(name) > 64 or not _HOSTNAME.fullmatch(name):
        raise CommandFailed(f"{program}: {name!r} is no valid host name: letters, digits and -")


@effect("hostname")
def hostname(state: SystemState, argv: Argv) -> Result:
    """hostname(1): print, or set for the running kernel (-F FILE reads it from there)."""
    options = parse("hostname", argv.args, "aAbdfF:iIsyhV", ("fqdn", "file=", "short", "ip-address",
                    "all-fqdns", "all-ip-addresses", "boot", "alias", "domain", "long"))  # fmt: skip
    if options.has("-F", "--file"):
        text = vfs.read_text(state, options.get("-F", "--file") or "", argv.root)
        name = (text or "").strip()
    else:
        name = options.operands[0] if options.operands else ""
    if not name:
        name = state.live.hostname
        return Result(state, name + "\n" if not options.options else None, events=(Event("read"),))
    check_hostname(name, "hostname")
    new = replace(state, live=replace(state.live, hostname=name))
    return Result(new, "", events=(Event("hostname", "", name),))


@effect("timedatectl")
def timedatectl(state: SystemState, argv: Argv) -> Result:
    """timedatectl(1): set-timezone ZONE (the live system's), set-ntp, set-time, set-local-rtc,
    list-timezones; without a command it shows. Raises CommandFailed for a zone that is not there."""
    options = parse("timedatectl", argv.args, "hH:M:ap:", _CTL_LONG)
    words = options.operands
    verb = words[0] if words else "status"
    reads = ("status", "show", "list-timezones", "timesync-status", "show-timesync")
    if verb not in (*reads, "set-timezone", "set-ntp", "set-time", "set-local-rtc",
                    "ntp-servers", "revert"):  # fmt: skip
        raise CommandFailed(f"timedatectl: unknown command {verb}")
    if verb == "list-timezones":
        return Result(state, None, events=(Event("read"),))
    _bus(argv)
    if verb in reads:
        return Result(state, None, events=(Event("read"),))
    if len(words) < 2:
        raise CommandFailed(f"timedatectl: {verb} needs a value")
    if verb == "set-timezone":
        zone = words[1]
        if not zones.exists(zone):
            raise CommandFailed(f"timedatectl: there is no time zone {zone}{zones.hint(zone)}")
        new = vfs.symlink(state, "/etc/localtime", f"../usr/share/zoneinfo/{zone}")
        new = replace(new, live=replace(new.live, timezone=zone))
        return Result(new, "", events=(Event("timezone", "", zone),))
    answers = ("true", "false", "yes", "no", "1", "0", "on", "off", "y", "n")
    if verb in ("set-ntp", "set-local-rtc") and words[1].lower() not in answers:
        raise CommandFailed(f"timedatectl: {verb} needs true or false, not {words[1]}")
    return Result(state, "", events=(Event("service", "", f"{verb} {words[1]}"),))


@effect("localectl")
def localectl(state: SystemState, argv: Argv) -> Result:
    """localectl(1): set-locale LANG=…, set-keymap, set-x11-keymap; the list-… commands read."""
    options = parse("localectl", argv.args, "hH:M:l", _CTL_LONG)
    words = options.operands
    verb = words[0] if words else "status"
    if verb.startswith("list-"):
        return Result(state, None, events=(Event("read"),))
    if verb not in ("status", "set-locale", "set-keymap", "set-x11-keymap"):
        raise CommandFailed(f"localectl: unknown command {verb}")
    _bus(argv)
    if verb == "status":
        return Result(state, None, events=(Event("read"),))
    if len(words) < 2:
        raise CommandFailed(f"localectl: {verb} needs a value")
    if verb == "set-locale":
        values = [w if "=" in w else f"LANG={w}" for w in words[1:]]
        for value in values:
            if not _LOCALE.fullmatch(value.partition("=")[2]):
                raise CommandFailed(f"localectl: {value} names no locale, such as en_US.UTF-8")
        text = "".join(f"{value}\n" for value in values)
        return _live(state, "/etc/locale.conf", text, Event("locale", "", values[0]))
    if verb == "set-keymap":
        text = f"KEYMAP={words[1]}\n"
        return _live(state, "/etc/vconsole.conf", text, Event("locale", "", f"keymap {words[1]}"))
    return Result(state, "", events=(Event("locale", "", f"keymap {words[1]}"),))


@effect("systemd-firstboot")
def firstboot(state: SystemState, argv: Argv) -> Result:
    """systemd-firstboot(1): --root, --hostname, --timezone, --locale, --keymap, --root-password.

    Without --force a setting that is there already stays.
    """
    options = parse(
        "systemd-firstboot", argv.args, "h",
        ("root=", "image=", "locale=", "locale-messages=", "keymap=", "timezone=", "hostname=",
         "machine-id=", "root-password=", "root-password-file=", "root-password-hashed=",
         "root-shell=", "kernel-command-line=", "prompt", "prompt-locale", "prompt-keymap",
         "prompt-timezone", "prompt-hostname", "prompt-root-password", "copy", "copy-locale",
         "copy-keymap", "copy-timezone", "copy-root-password", "setup-machine-id", "force",
         "delete-root-password", "welcome=", "reset"),
    )  # fmt: skip
    root = vfs.absolute(options.get("--root", default="/") or "/", argv.root)
    root = "" if root == "/" else root
    force = options.has("--force")
    vfs.require_dir(state, "/etc", "systemd-firstboot", root)
    events = []
    key, held = vfs.system_tree(state, root)
    for name, path, form in (
        ("hostname", "/etc/hostname", "{}\n"),
        ("locale", "/etc/locale.conf", "LANG={}\n"),
        ("keymap", "/etc/vconsole.conf", "KEYMAP={}\n"),
    ):
        value = options.get(f"--{name}")
        if value is not None and (force or not getattr(held, name)):
            state = vfs.write_text(state, path, form.format(value), False, root)
            events.append(Event(name if name != "keymap" else "locale", "", value))
    zone = options.get("--timezone")
    if zone is not None:
        if not zones.exists(zone):
            raise CommandFailed(
                f"systemd-firstboot: there is no time zone {zone}{zones.hint(zone)}"
            )
        if force or not held.timezone:
            state = vfs.symlink(state, "/etc/localtime", f"../usr/share/zoneinfo/{zone}", root)
            events.append(Event("timezone", "", zone))
    if options.has("--root-password", "--root-password-hashed", "--root-password-file"):
        key, held = vfs.system_tree(state, root)
        state = vfs.with_tree(state, key, replace(held, root_password=True))
        events.append(Event("password", "", "root"))
    return Result(state, None, events=tuple(events))


_UNITS = (".service", ".socket", ".timer", ".target", ".mount", ".path")
_VERBS_READ = frozenset(
    "status is-active is-enabled is-failed list-units list-unit-files list-timers list-sockets"
    " show cat list-dependencies is-system-running get-default list-jobs help".split()
)
_VERBS_RUN = frozenset(
    "start stop restart reload try-restart reload-or-restart kill isolate daemon-reload"
    " daemon-reexec reset-failed set-environment import-environment".split()
)


@effect("systemctl")
def systemctl(state: SystemState, argv: Argv) -> Result:
    """systemctl(1).

    Covered: enable and disable (--now, --root), mask, set-default, start and its likes, the reading
    commands, reboot, poweroff, halt, suspend. In a chroot the commands for running units are
    ignored, as the tool does, and the machine's power is out of reach.
    """
    options = parse(
        "systemctl", argv.args, "afhH:M:ln:o:p:P:qrst:T",
        ("now", "root=", "force", "user", "system", "global", "runtime", "no-block", "no-pager",
         "quiet", "all", "type=", "state=", "property=", "value", "full", "no-reload", "message=",
         "no-legend", "plain", "failed", "lines=", "output=", "preset-mode=", "recursive",
         "no-wall", "wait", "check-inhibitors=", "no-ask-password", "when=", "firmware-setup",
         "show-types", "job-mode=", "host=", "machine=", "reverse", "with-dependencies"),
    )  # fmt: skip
    words = options.operands
    verb = words[0] if words else "list-units"
    if verb in ("reboot", "soft-reboot", "poweroff", "halt", "kexec"):
        if argv.root:
            return Result(state, "")
        return power(state, "off" if verb in ("poweroff", "halt") else "rebooting")
    if verb in ("suspend", "hibernate", "hybrid-sleep", "suspend-then-hibernate", "default",
                "rescue", "emergency", "exit"):  # fmt: skip
        return Result(state, "", events=(Event("service", "", verb),))
    if verb in _VERBS_READ:
        return Result(state, None, None, (Event("read"),))
    if verb in _VERBS_RUN:
        if len(words) < 2 and not verb.startswith(("daemon", "reset", "import", "set")):
            raise CommandFailed(f"systemctl: {verb} needs a unit")
        return Result(state, "", events=(Event("service", "", " ".join(words)),))
    if verb in ("enable", "disable", "reenable", "mask", "unmask", "preset", "preset-all",
                "set-default", "add-wants", "link", "edit", "revert"):  # fmt: skip
        if len(words) < 2 and verb != "preset-all":
            raise CommandFailed(f"systemctl: {verb} needs a unit")
        root = options.get("--root")
        where = vfs.absolute(root, argv.root) if root and root != "/" else argv.root
        key, held = vfs.system_tree(state, where)
        names = {w if w.endswith(_UNITS) else f"{w}.service" for w in words[1:]}
        services = set(held.services)
        if verb in ("enable", "reenable"):
            services |= names
        elif verb in ("disable", "mask"):
            services -= names
        state = vfs.with_tree(state, key, replace(held, services=tuple(sorted(services))))
        events = (Event("service", "", f"{verb} {' '.join(sorted(names))}"),)
        return Result(state, "", events=events)
    raise CommandFailed(f"systemctl: unknown command {verb}")


def power(state: SystemState, status: str) -> Result:
    """The machine goes down: nothing stays mounted or in use."""
    new = replace(state, status=status, mounts=(), swaps=())
    return Result(new, "", events=(Event("reboot", "", status),))


@effect("reboot", "poweroff", "halt", "shutdown", "init", "telinit")
def reboot(state: SystemState, argv: Argv) -> Result:
    """Restart or switch off (reboot(8), shutdown(8)): -h, -P, -H, -r, -c, -f, times. In a chroot
    they find no systemd and fail."""
    words = argv.args
    if argv.root:
        raise CommandFailed(f"{argv.program}: it cannot be done from within a chroot; exit first")
    if "-c" in words or "--help" in words or (argv.program != "shutdown" and "-w" in words):
        return Result(state, "")
    if argv.program in ("init", "telinit"):
        level = words[0] if words else ""
        if level not in ("0", "6"):
            return Result(state, "", events=(Event("service", "", f"init {level}"),))
        return power(state, "off" if level == "0" else "rebooting")
    if argv.program == "shutdown":
        return power(state, "rebooting" if "-r" in words or "--reboot" in words else "off")
    off = argv.program != "reboot" or "-p" in words or "--poweroff" in words or "--halt" in words
    return power(state, "off" if off else "rebooting")


@effect("locale-gen", "localedef", "update-locale", "dpkg-reconfigure")
def locale_gen(state: SystemState, argv: Argv) -> Result:
    """Generate locales, or set the default one (update-locale LANG=…, of Debian)."""
    vfs.system_tree(state, argv.root)
    if argv.program == "update-locale":
        text = "".join(f"{w}\n" for w in argv.args if "=" in w and not w.startswith("-"))
        if text:
            state = vfs.write_text(state, "/etc/default/locale", text, False, argv.root)
    return Result(state, None, events=(Event("locale", "", " ".join(argv.args)),))


@effect("loadkeys", "setfont", "setxkbmap", "kbd_mode", "dumpkeys", "setupcon")
def loadkeys(state: SystemState, argv: Argv) -> Result:
    """Change the console's keyboard or font until the next start."""
    if argv.program == "loadkeys" and not argv.args:
        raise CommandFailed("loadkeys: no keyboard map given")
    words = " ".join(w for w in argv.args if not w.startswith("-"))
    return Result(state, "", events=(Event("locale", "", f"keymap {words}".strip()),))


@effect("hwclock", "ntpdate", "chronyc", "rdate")
def hwclock(state: SystemState, argv: Argv) -> Result:
    """Set or read the clock; /etc/adjtime is not tracked."""
    kind = "read" if not argv.args or set(argv.args) <= {"-r", "--show", "--verbose"} else "file"
    return Result(state, None, events=(Event(kind, "", "clock"),))


@effect("apt", "apt-get", "aptitude", "dpkg", "pacman", "dnf", "yum", "zypper", "apk", "xbps-install",
        "emerge", "yay", "paru", "snap", "flatpak", "reflector", "pacman-key", "pip",
        "pip3")  # fmt: skip
def packages(state: SystemState, argv: Argv) -> Result:
    """Package managers: known to change files, but not disks, mounts or users. What they install
    is not tracked. In a chroot the target must be a system."""
    vfs.system_tree(state, argv.root)
    return Result(state, None, events=(Event("file", "", "packages"),))
