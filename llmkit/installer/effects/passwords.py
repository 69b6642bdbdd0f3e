"""Passwords, shells, and questions about accounts: passwd, chpasswd, chsh, id and their likes."""

from __future__ import annotations

from llmkit.installer import osfiles
from llmkit.installer.effects.getopt import parse
from llmkit.installer.effects.registry import Argv, CommandFailed, Event, Result, effect
from llmkit.installer.effects.users import Accounts
from llmkit.installer.frozen import replace
from llmkit.installer.state import SystemState


def _set_password(accounts: Accounts, name: str, known: bool) -> None:
    """Set or clear a password in `accounts.tree`."""
    if name == "root":
        accounts.tree = replace(accounts.tree, root_password=known)
        return
    if name in osfiles.SYSTEM_USERS and not any(u.name == name for u in accounts.tree.users):
        return
    user = accounts.user(name)
    users = tuple(
        replace(u, password=known) if u.name == user.name else u for u in accounts.tree.users
    )
    accounts.tree = replace(accounts.tree, users=users)


@effect("passwd")
def passwd(state: SystemState, argv: Argv) -> Result:
    """Set a password (passwd(1)): without a name root's, as root runs it here.

    Covered: -l, -u, -d, -e, -S, -R, --stdin. Two equal lines on standard input are the password; no
    input means that the person is asked. Empty or different lines fail (10).
    """
    options = parse(
        "passwd", argv.args, "adehi:kln:qr:R:P:Suw:x:s",
        ("all", "delete", "expire", "help", "inactive=", "keep-tokens", "lock", "mindays=",
         "quiet", "repository=", "root=", "prefix=", "status", "unlock", "warndays=", "maxdays=",
         "stdin"),
        status=2,
    )  # fmt: skip
    name = options.operands[0] if options.operands else "root"
    accounts = Accounts(state, argv, options.get("-R", "--root", "-P", "--prefix"))
    if not accounts.has(name):
        accounts.user(name)
    if options.has("-S", "--status"):
        return Result(state, None, events=(Event("read"),))
    if options.has("-d", "--delete"):
        _set_password(accounts, name, False)
        return accounts.save(accounts.tree, Event("password", "", f"{name}: none"))
    if options.has("-l", "--lock", "-u", "--unlock", "-e", "--expire", "-n", "-x", "-w", "-i"):
        what = "locked" if options.has("-l", "--lock") else "changed"
        return accounts.save(accounts.tree, Event("password", "", f"{name}: {what}"))
    if argv.stdin and not options.has("--stdin", "-s"):
        lines = argv.stdin.split("\n")
        if len(lines) < 2 or lines[0] != lines[1] or not lines[0]:
            raise CommandFailed(
                "passwd: the password must be given twice, on two equal lines", status=10
            )
    _set_password(accounts, name, True)
    return accounts.save(accounts.tree, Event("password", "", name))


@effect("chpasswd")
def chpasswd(state: SystemState, argv: Argv) -> Result:
    """Set passwords from lines USER:PASSWORD on standard input (chpasswd(8)): -e, -c, -m, -R, -P.

    All or nothing, as with shadow's own files. Raises CommandFailed for an empty input line form or
    an unknown user.
    """
    options = parse(
        "chpasswd", argv.args, "c:ehmR:P:s:",
        ("crypt-method=", "encrypted", "help", "md5", "root=", "prefix=", "sha-rounds="),
    )  # fmt: skip
    accounts = Accounts(state, argv, options.get("-R", "--root", "-P", "--prefix"))
    if argv.stdin is None:
        return Result(state, None, events=(Event("password"),))
    events = []
    for number, line in enumerate(argv.stdin.splitlines(), 1):
        name, colon, word = line.partition(":")
        if not colon:
            raise CommandFailed(f"chpasswd: line {number} is not USER:PASSWORD")
        if not accounts.has(name):
            accounts.user(name)
        _set_password(accounts, name, bool(word))
        events.append(Event("password", "", name))
    return accounts.save(accounts.tree, *events)


@effect("chsh", "chfn")
def chsh(state: SystemState, argv: Argv) -> Result:
    """Change a login shell (chsh(1)): -s SHELL [USER]; chfn(1) is accepted."""
    options = parse(argv.program, argv.args, "s:R:hf:r:w:o:luv", ("shell=", "root=", "help"))
    accounts = Accounts(state, argv, options.get("-R", "--root"))
    name = options.operands[0] if options.operands else "root"
    shell = options.get("-s", "--shell")
    if name == "root" or shell is None:
        return Result(state, "", events=(Event("user", "", name),))
    if not shell.startswith("/"):
        raise CommandFailed(f"chsh: {shell} must be a full path such as /bin/bash")
    return accounts.put(replace(accounts.user(name), shell=shell), Event("user", "", name))


@effect("chage", "newusers", "newgrp", "pwck", "grpck", "visudo", "vipw")
def account_tools(state: SystemState, argv: Argv) -> Result:
    """Tools whose changes are not tracked; chage needs an existing user. visudo -c only checks."""
    if argv.program == "chage" and argv.args:
        accounts = Accounts(state, argv)
        name = argv.args[-1]
        if not accounts.has(name):
            accounts.user(name)
    kind = "read" if argv.program == "visudo" and "-c" in argv.args else "user"
    return Result(state, None, events=(Event(kind),))


@effect("id", "whoami", "groups", "getent", "finger")
def who(state: SystemState, argv: Argv) -> Result:
    """Ask about accounts: status 1 for a user that is not there (2 for getent)."""
    names = [w for w in argv.args if not w.startswith("-")]
    accounts = Accounts(state, argv)
    if argv.program == "whoami":
        return Result(state, "root\n", events=(Event("read"),))
    if argv.program == "getent":
        if len(names) > 1 and names[0] == "passwd" and not accounts.has(names[1]):
            raise CommandFailed(f"getent: there is no user {names[1]}", status=2)
        if len(names) > 1 and names[0] == "group" and names[1] not in accounts.groups():
            raise CommandFailed(f"getent: there is no group {names[1]}", status=2)
        return Result(state, None, events=(Event("read"),))
    for name in names:
        if not accounts.has(name):
            raise CommandFailed(f"{argv.program}: there is no user {name}")
    return Result(state, None, events=(Event("read"),))
