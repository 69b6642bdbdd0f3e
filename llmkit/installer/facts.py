"""Look at the machine that this runs on: disks, boot mode, network, host name, time zone, users.

    python -m llmkit.installer.facts

prints the system context of this machine. Nothing is written, no disk is opened and no third
party is asked: the network counts as connected when there is a default route and a name server
answers one look-up in time.

Every look at the machine goes through a `Look`: the command runner and the root folder are passed
in, so that a test hands over recorded output and a container can be inspected from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.errors import DomainError, LlmkitError
from llmkit.installer.lsblk import from_lsblk
from llmkit.installer.state import SystemState, User

# What is asked of lsblk, best first: older versions refuse a column that they do not know.
_COLUMNS = "NAME,KNAME,PATH,TYPE,SIZE,MODEL,TRAN,ROTA,RM,RO,FSTYPE,LABEL,UUID,PARTUUID,PARTTYPE"
COLUMN_SETS = (
    f"{_COLUMNS},PARTLABEL,PTTYPE,START,LOG-SEC,MOUNTPOINTS",  # util-linux 2.38 and later
    f"{_COLUMNS},PARTLABEL,PTTYPE,LOG-SEC,MOUNTPOINTS",  # 2.37
    f"{_COLUMNS},PARTLABEL,PTTYPE,LOG-SEC,MOUNTPOINT",  # 2.33 to 2.36
    "NAME,KNAME,TYPE,SIZE,MODEL,TRAN,ROTA,RM,RO,FSTYPE,LABEL,UUID,PARTUUID,MOUNTPOINT",
)
_TIMEOUT = 10.0  # seconds for one command; lsblk hangs on a dying disk


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. `status` is 127 when the program is missing, 124 after a time-out."""

    status: int
    stdout: str = ""
    stderr: str = ""


Runner = Callable[[list[str]], Ran]


def run_here(argv: list[str], timeout: float = _TIMEOUT) -> Ran:
    """Run `argv` on this machine in the C locale, for at most `timeout` seconds."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        return Ran(127, stderr=f"{argv[0]}: not found")
    except subprocess.TimeoutExpired:
        return Ran(124, stderr=f"{argv[0]}: no answer within {timeout:g} s")
    except OSError as error:
        return Ran(126, stderr=f"{argv[0]}: {error.strerror}")
    return Ran(done.returncode, done.stdout, done.stderr)


def gather(
    run: Runner = run_here,
    *,
    root: Path = Path("/"),
    resolve: str = "debian.org",
    resolve_timeout: float = 1.0,
    ping: str | None = None,
) -> SystemState:
    """The state of this machine.

    Args:
        run: runs one command; replaced in tests.
        root: where /sys, /etc and /dev/disk are read.
        resolve: the host name whose look-up shows that the network works; "" trusts the route.
        resolve_timeout: seconds for that look-up.
        ping: a host to ping as well. None, the default, bothers nobody.

    Raises:
        DomainError: lsblk is missing, hangs, or prints something else than its JSON.
    """
    return from_lsblk(
        block_devices(run),
        device_links(root),
        boot_mode="uefi" if (root / "sys/firmware/efi").is_dir() else "bios",
        network=_network(run, resolve, resolve_timeout, ping),
        hostname=_hostname(root),
        timezone=_timezone(root),
        users=_users(run, root),
    )


def block_devices(run: Runner = run_here) -> dict[str, Any]:
    """lsblk's JSON document, with as many columns as this lsblk knows.

    Raises:
        DomainError: see `gather`.
    """
    for columns in COLUMN_SETS:
        ran = run(["lsblk", "--json", "--bytes", "-o", columns])
        if ran.status != 0 and "unknown column" in ran.stderr:
            continue
        # lsblk exits 64 when some devices could be read and others not: what it has is printed
        if ran.status not in (0, 64) and not ran.stdout.strip():
            reason = ran.stderr.strip() or f"exit status {ran.status}"
            if ran.status == 127:
                reason += "; install util-linux"
            if "blockdevices" not in ran.stdout and ran.status in (1, 32):
                return {"blockdevices": []}  # no block device at all: lsblk exits 1 or 32, silent
            raise DomainError(f"lsblk: {reason}")
        if not ran.stdout.strip():
            return {"blockdevices": []}
        try:
            parsed = json.loads(ran.stdout)
        except ValueError as error:
            raise DomainError(f"lsblk: not JSON ({error}); is it older than 2.27?") from None
        if not isinstance(parsed, dict):
            raise DomainError("lsblk: not a JSON object")
        return parsed
    raise DomainError("lsblk: this version knows none of the column sets that llmkit asks for")


def device_links(root: Path = Path("/")) -> dict[str, str]:
    """Links by id and path, and those of LVM's groups: link → node ("/dev/disk/by-id/…": "/dev/sda").

    Links by UUID, label, PARTUUID and PARTLABEL are left out: they follow from lsblk.
    """
    found: dict[str, str] = {}
    for folder in ("by-id", "by-path", "by-diskseq"):
        base = root / "dev/disk" / folder
        with contextlib.suppress(OSError):
            for link in sorted(base.iterdir()):
                target = os.path.normpath(base / os.readlink(link))
                found[f"/dev/disk/{folder}/{link.name}"] = f"/dev/{os.path.basename(target)}"
    return found


def _network(run: Runner, resolve: str, timeout: float, ping: str | None) -> bool:
    routes = [run(["ip", *family, "route", "show", "default"]) for family in ([], ["-6"])]
    if not any(route.status == 0 and route.stdout.strip() for route in routes):
        return False
    if resolve and not _resolves(resolve, timeout):
        return False
    return ping is None or run(["ping", "-c", "1", "-W", "1", ping]).status == 0


def _resolves(name: str, timeout: float) -> bool:
    """Whether a look-up of `name` answers in time. getaddrinfo cannot be interrupted, so it runs
    in a daemon thread that is left behind when it is late."""
    answered: list[bool] = []

    def look_up() -> None:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(name, None)
            answered.append(True)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(answered)


def _hostname(root: Path) -> str:
    for path in ("proc/sys/kernel/hostname", "etc/hostname"):
        with contextlib.suppress(OSError):
            text = (root / path).read_text(encoding="utf-8", errors="replace").strip()
            if text:
                return text
    return ""


def _timezone(root: Path) -> str:
    """The zone that /etc/localtime links to, else what /etc/timezone says (Debian), else ""."""
    with contextlib.suppress(OSError):
        _, found, zone = os.readlink(root / "etc/localtime").partition("zoneinfo/")
        if found:
            return zone
    with contextlib.suppress(OSError):
        return (root / "etc/timezone").read_text(encoding="utf-8").strip()
    return ""


def _users(run: Runner, root: Path) -> tuple[User, ...]:
    """Accounts with UID 1000–59999 (login.defs' UID_MIN and the top of Debian's range), with
    their supplementary groups."""
    passwd = _lines(run, root, "passwd")
    groups = _lines(run, root, "group")
    users: list[User] = []
    for line in passwd:
        fields = line.split(":")
        if len(fields) < 7 or not fields[2].isdigit() or not 1000 <= int(fields[2]) <= 59999:
            continue
        name, uid = fields[0], int(fields[2])
        member = [
            parts[0]
            for parts in (group.split(":") for group in groups)
            if len(parts) == 4 and name in parts[3].split(",")
        ]
        users.append(
            User(
                name=name,
                uid=uid,
                groups=tuple(sorted(member)),
                shell=fields[6],
                home=(root / fields[5].lstrip("/")).is_dir(),
                comment=fields[4],
            )
        )
    return tuple(sorted(users, key=lambda user: user.uid))


def _lines(run: Runner, root: Path, database: str) -> list[str]:
    """A name-service database: from the file, which any root has; getent where that is missing."""
    with contextlib.suppress(OSError):
        text = (root / "etc" / database).read_text(encoding="utf-8", errors="replace")
        return text.splitlines()
    return run(["getent", database]).stdout.splitlines()


def main(arguments: list[str] | None = None) -> int:
    """Print this machine's system context; `--json` prints the whole state instead."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(arguments):
        print(
            "usage: python -m llmkit.installer.facts [--json]\n\n"
            "Print the system context of this machine: what the assistant is told about it.\n"
            "  --json   the whole state (SystemState.to_dict) instead of the text"
        )
        return 0
    unknown = [word for word in arguments if word != "--json"]
    if unknown:
        print(f"error: {unknown[0]!r} is not an option; there is only --json", file=sys.stderr)
        return 2
    try:
        state = gather()
    except LlmkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(state.to_dict(), indent=1) if "--json" in arguments else state.to_context())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
