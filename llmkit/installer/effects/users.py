"""Accounts: useradd, usermod, userdel, groupadd, gpasswd and their likes; see also passwords.py.

From shadow 4.13's manual pages: exit statuses 6 (no such user or group) and 9 (there already).
The accounts are those of the system that the command runs in: the live one, or the one at the
chroot's root (also with -R DIRECTORY). Only ordinary users are tracked; root's password is a field.
"""

from __future__ import annotations

import re

from llmkit.installer import osfiles, vfs
from llmkit.installer.effects.getopt import Options, parse
from llmkit.installer.effects.registry import Argv, CommandFailed, Event, Result, effect
from llmkit.installer.frozen import replace
from llmkit.installer.state import SystemState, Tree, User

_NAME = re.compile(r"[a-z_][a-z0-9_-]*\$?")
_ADD = "b:c:d:De:Ff:g:G:hk:K:lmMNop:rR:s:u:UZ:P:"
_ADD_LONG = ("badname", "base-dir=", "comment=", "home-dir=", "home=", "defaults", "expiredate=",
             "inactive=", "gid=", "groups=", "help", "skel=", "key=", "no-log-init", "create-home",
             "no-create-home", "no-user-group", "non-unique", "password=", "system", "root=",
             "prefix=", "shell=", "uid=", "user-group", "selinux-user=")  # fmt: skip


class Accounts:
    """The accounts of one system, and how to put them back."""

    def __init__(self, state: SystemState, argv: Argv, directory: str | None = None) -> None:
        root = vfs.absolute(directory, argv.root) if directory else argv.root
        self.state, self.program = state, argv.program
        self.key, self.tree = vfs.system_tree(state, "" if root == "/" else root)

    def user(self, name: str) -> User:
        """The account of that name.

        Raises:
            CommandFailed: there is none.
        """
        for user in self.tree.users:
            if user.name == name:
                return user
        there = ", ".join(u.name for u in self.tree.users) or "none"
        raise CommandFailed(
            f"{self.program}: there is no user {name} (ordinary users: {there})", status=6
        )

    def has(self, name: str) -> bool:
        return name in osfiles.SYSTEM_USERS or any(u.name == name for u in self.tree.users)

    def groups(self) -> set[str]:
        """Groups that exist, each user's own included."""
        return {*osfiles.SYSTEM_GROUPS, *self.tree.groups, *(u.name for u in self.tree.users)}

    def check_groups(self, text: str) -> tuple[str, ...]:
        """The groups of a comma-separated list.

        Raises:
            CommandFailed: one does not exist (status 6).
        """
        names = tuple(dict.fromkeys(name for name in text.split(",") if name))
        there = self.groups()
        for name in names:
            if name not in there and not name.isdigit():
                raise CommandFailed(
                    f"{self.program}: the group {name} does not exist; groupadd {name} makes it",
                    status=6,
                )
        return names

    def put(self, user: User, event: Event) -> Result:
        """The state with this account in place of the one of its name."""
        users = [u for u in self.tree.users if u.name != user.name]
        users.append(user)
        users.sort(key=lambda u: u.uid)
        return self.save(replace(self.tree, users=tuple(users)), event)

    def save(self, tree: Tree, *events: Event) -> Result:
        return Result(vfs.with_tree(self.state, self.key, tree), "", events=events)


@effect("useradd")
def useradd(state: SystemState, argv: Argv) -> Result:
    """Add an account (useradd(8)).

    Covered: -m, -M, -G, -g, -s, -c, -u, -p, -r, -U, -N, -d, -R, -P. Raises CommandFailed when the
    name is taken (9), is no valid name (3), or a group does not exist (6).
    """
    options = parse("useradd", argv.args, _ADD, _ADD_LONG, status=2)
    if options.has("-D", "--defaults", "-h", "--help"):
        return Result(state, None, events=(Event("read"),))
    if len(options.operands) != 1:
        raise CommandFailed("useradd: exactly one user name is needed", status=2)
    name = options.operands[0]
    accounts = Accounts(state, argv, options.get("-R", "--root", "-P", "--prefix"))
    return _add(accounts, options, name)


def _add(accounts: Accounts, options: Options, name: str) -> Result:
    program = accounts.program
    if not _NAME.fullmatch(name) or len(name) > 32:
        raise CommandFailed(
            f"{program}: {name!r} is no valid user name: small letters, digits, - and _", status=3
        )
    if accounts.has(name):
        raise CommandFailed(f"{program}: the user {name} exists already", status=9)
    own = not options.has("-N", "--no-user-group", "-g", "--gid")
    if own and name in accounts.groups():
        raise CommandFailed(
            f"{program}: the group {name} exists already; -g {name} puts the user into it", status=9
        )
    main = options.get("-g", "--gid")
    if main is not None:
        accounts.check_groups(main)
    groups = set(accounts.check_groups(options.get("-G", "--groups", default="") or ""))
    system = options.has("-r", "--system")
    uid = _uid(accounts, options.get("-u", "--uid"), system)
    home = options.has("-m", "--create-home")
    event = Event("user", "", name)
    if system or not 1000 <= uid < 60000:
        return accounts.save(accounts.tree, event)
    user = User(
        name=name,
        uid=uid,
        groups=tuple(sorted(groups)),
        shell=options.get("-s", "--shell", default="") or "",
        password=bool(options.get("-p", "--password")),
        home=home,
        comment=options.get("-c", "--comment", default="") or "",
    )
    return accounts.put(user, event)


def _uid(accounts: Accounts, given: str | None, system: bool) -> int:
    taken = {user.uid for user in accounts.tree.users}
    if given is not None:
        if not given.isdigit():
            raise CommandFailed(f"{accounts.program}: {given!r} is not a user ID", status=3)
        if int(given) in taken:
            raise CommandFailed(f"{accounts.program}: the user ID {given} is taken", status=4)
        return int(given)
    return 999 if system else max(taken, default=999) + 1


@effect("adduser")
def adduser(state: SystemState, argv: Argv) -> Result:
    """Add an account with its home (adduser(8) of Debian), or a user to a group (two names).

    Covered: --disabled-password, --gecos, --shell, --uid, --ingroup, --system, --no-create-home.
    """
    options = parse(
        "adduser", argv.args, "qhmG:s:c:u:",
        ("disabled-password", "disabled-login", "gecos=", "comment=", "shell=", "home=", "uid=",
         "gid=", "ingroup=", "system", "group", "no-create-home", "quiet", "debug",
         "force-badname", "allow-badname", "allow-bad-names", "add_extra_groups",
         "add-extra-groups", "firstuid=", "lastuid=", "groups=", "create-home"),
    )  # fmt: skip
    accounts = Accounts(state, argv)
    if len(options.operands) == 2:
        name, group = options.operands
        user = accounts.user(name)
        accounts.check_groups(group)
        groups = tuple(sorted({*user.groups, group}))
        return accounts.put(replace(user, groups=groups), Event("group", "", f"{name}: {group}"))
    if len(options.operands) != 1:
        raise CommandFailed("adduser: one or two names are needed")
    if options.has("--group") and not options.has("--system"):
        return _group_add(accounts, options.operands[0])
    words = [("-m", "")] if not options.has("--no-create-home") else []
    for name, value in options.options:
        short = {"--gecos": "-c", "--comment": "-c", "--shell": "-s", "--uid": "-u",
                 "--system": "-r", "--ingroup": "-g", "--groups": "-G"}.get(name, name)  # fmt: skip
        words.append((short, value))
    result = _add(accounts, Options(tuple(words), ()), options.operands[0])
    locked = options.has("--disabled-password", "--disabled-login", "--system")
    if not locked and argv.stdin:
        key, tree = vfs.system_tree(result.state, argv.root)
        users = tuple(
            replace(u, password=True) if u.name == options.operands[0] else u for u in tree.users
        )
        new = vfs.with_tree(result.state, key, replace(tree, users=users))
        return replace(result, state=new)
    return result


@effect("usermod")
def usermod(state: SystemState, argv: Argv) -> Result:
    """Change an account (usermod(8)).

    Covered: -G (replaces the groups; with -a adds), -r with -G, -s, -c, -l, -L, -U, -p, -u, -d, -m,
    -g, -R, -P. Raises CommandFailed for a user or group that does not exist (6).
    """
    options = parse(
        "usermod", argv.args, "abc:d:e:f:g:G:hl:Lmop:R:P:rs:u:Uv:w:V:W:Z:",
        ("append", "badname", "comment=", "home=", "expiredate=", "inactive=", "gid=", "groups=",
         "help", "login=", "lock", "move-home", "non-unique", "password=", "root=", "prefix=",
         "remove", "shell=", "uid=", "unlock", "add-subuids=", "del-subuids=", "add-subgids=",
         "del-subgids=", "selinux-user="),
        status=2,
    )  # fmt: skip
    if len(options.operands) != 1:
        raise CommandFailed("usermod: exactly one user name is needed", status=2)
    name = options.operands[0]
    if options.has("-a", "--append") and not options.has("-G", "--groups"):
        raise CommandFailed("usermod: -a needs -G with the groups to add", status=2)
    if not options.options:
        raise CommandFailed("usermod: no change was asked for", status=2)
    accounts = Accounts(state, argv, options.get("-R", "--root", "-P", "--prefix"))
    untracked = name in osfiles.SYSTEM_USERS and all(u.name != name for u in accounts.tree.users)
    user = User(name) if untracked else accounts.user(name)
    event = Event("user", "", name)
    text = options.get("-G", "--groups")
    if text is not None:
        groups = set(accounts.check_groups(text))
        if options.has("-a", "--append"):
            groups |= set(user.groups)
        elif options.has("-r", "--remove"):
            groups = set(user.groups) - groups
        user = replace(user, groups=tuple(sorted(groups)))
        event = Event("group", "", f"{name}: {','.join(user.groups)}")
    main = options.get("-g", "--gid")
    if main is not None:
        accounts.check_groups(main)
    if options.has("-p", "--password"):
        user = replace(user, password=bool(options.get("-p", "--password")))
    shell, comment = options.get("-s", "--shell"), options.get("-c", "--comment")
    user = replace(
        user,
        shell=user.shell if shell is None else shell,
        comment=user.comment if comment is None else comment,
        home=user.home or options.has("-m", "--move-home"),
        uid=_uid(accounts, options.get("-u", "--uid"), False) if options.has("-u", "--uid")
        else user.uid,
    )  # fmt: skip
    new_name = options.get("-l", "--login")
    if untracked:
        return accounts.save(accounts.tree, event)
    if new_name is not None:
        if accounts.has(new_name):
            raise CommandFailed(f"usermod: the user {new_name} exists already", status=9)
        users = tuple(u for u in accounts.tree.users if u.name != name)
        accounts.tree = replace(accounts.tree, users=users)
        user = replace(user, name=new_name)
    return accounts.put(user, event)


@effect("userdel", "deluser")
def userdel(state: SystemState, argv: Argv) -> Result:
    """Remove an account (userdel(8): -r, -f, -R), or, with two names, take a user out of a group
    (deluser(8) of Debian)."""
    options = parse(
        argv.program, argv.args, "frhR:P:Zq",
        ("force", "remove", "root=", "prefix=", "remove-home", "remove-all-files", "backup",
         "quiet", "system", "group", "help"),
        status=2,
    )  # fmt: skip
    if not options.operands:
        raise CommandFailed(f"{argv.program}: no user name given", status=2)
    accounts = Accounts(state, argv, options.get("-R", "--root", "-P", "--prefix"))
    name = options.operands[0]
    user = accounts.user(name)
    if len(options.operands) == 2:
        return _leave(accounts, user, options.operands[1])
    users = tuple(u for u in accounts.tree.users if u.name != name)
    tree = replace(accounts.tree, users=users)
    if user.home and not options.has("-r", "--remove", "--remove-home"):
        tree = replace(tree, directories=tuple(sorted({*tree.directories, f"/home/{name}"})))
    return accounts.save(tree, Event("remove", "", f"user {name}"))


def _leave(accounts: Accounts, user: User, group: str) -> Result:
    if group not in user.groups:
        raise CommandFailed(
            f"{accounts.program}: {user.name} is not in the group {group}", status=3
        )
    groups = tuple(g for g in user.groups if g != group)
    return accounts.put(replace(user, groups=groups), Event("group", "", f"{user.name}: -{group}"))


def _group_add(accounts: Accounts, name: str) -> Result:
    if name in accounts.groups():
        raise CommandFailed(f"{accounts.program}: the group {name} exists already", status=9)
    groups = tuple(sorted({*accounts.tree.groups, name}))
    return accounts.save(replace(accounts.tree, groups=groups), Event("group", "", name))


@effect("groupadd", "addgroup")
def groupadd(state: SystemState, argv: Argv) -> Result:
    """Add a group (groupadd(8): -f, -g, -r, -o, -R)."""
    options = parse(
        argv.program, argv.args, "fg:hK:op:rR:P:U:",
        ("force", "gid=", "help", "key=", "non-unique", "password=", "system", "root=", "prefix=",
         "users=", "quiet"),
        status=2,
    )  # fmt: skip
    if not options.operands:
        raise CommandFailed(f"{argv.program}: no group name given", status=2)
    accounts = Accounts(state, argv, options.get("-R", "--root", "-P", "--prefix"))
    name = options.operands[0]
    if options.has("-f", "--force") and name in accounts.groups():
        return Result(state, "")
    return _group_add(accounts, name)


@effect("groupdel", "delgroup")
def groupdel(state: SystemState, argv: Argv) -> Result:
    """Remove a group (groupdel(8)): not a user's own one."""
    options = parse(argv.program, argv.args, "fhR:P:", ("force", "root=", "quiet"), status=2)
    accounts = Accounts(state, argv, options.get("-R", "--root", "-P"))
    for name in options.operands[:1]:
        if any(u.name == name for u in accounts.tree.users):
            raise CommandFailed(f"groupdel: {name} is the user {name}'s own group", status=8)
        if name not in accounts.groups():
            raise CommandFailed(f"groupdel: there is no group {name}", status=6)
        users = tuple(
            replace(u, groups=tuple(g for g in u.groups if g != name)) for u in accounts.tree.users
        )
        groups = tuple(g for g in accounts.tree.groups if g != name)
        return accounts.save(
            replace(accounts.tree, users=users, groups=groups), Event("remove", "", f"group {name}")
        )
    raise CommandFailed("groupdel: no group name given", status=2)


@effect("gpasswd")
def gpasswd(state: SystemState, argv: Argv) -> Result:
    """Change a group's members (gpasswd(1)): -a, -d, -M (replaces), -A, -r, -R."""
    options = parse(
        "gpasswd", argv.args, "a:A:d:hM:Q:rR",
        ("add=", "administrators=", "delete=", "members=", "root=", "remove-password", "restrict"),
        status=2,
    )  # fmt: skip
    if len(options.operands) != 1:
        raise CommandFailed("gpasswd: exactly one group is needed", status=2)
    group = options.operands[0]
    accounts = Accounts(state, argv, options.get("-Q", "--root"))
    if group not in accounts.groups():
        raise CommandFailed(f"gpasswd: the group {group} does not exist", status=3)
    add, drop = options.get("-a", "--add"), options.get("-d", "--delete")
    if (add or drop or "") in osfiles.SYSTEM_USERS:
        return Result(state, "", events=(Event("group", "", f"{add or drop}: {group}"),))
    if add is not None:
        user = _member(accounts, add)
        groups = tuple(sorted({*user.groups, group}))
        return accounts.put(replace(user, groups=groups), Event("group", "", f"{add}: {group}"))
    if drop is not None:
        return _leave(accounts, _member(accounts, drop), group)
    members = options.get("-M", "--members")
    if members is None:
        return Result(state, "")
    names = {_member(accounts, name).name for name in members.split(",") if name}
    users = tuple(
        replace(u, groups=tuple(sorted({*u.groups, group} if u.name in names
                                       else set(u.groups) - {group})))
        for u in accounts.tree.users
    )  # fmt: skip
    return accounts.save(replace(accounts.tree, users=users), Event("group", "", group))


def _member(accounts: Accounts, name: str) -> User:
    try:
        return accounts.user(name)
    except CommandFailed as error:
        error.status = 3
        raise
