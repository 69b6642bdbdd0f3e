"""Files and directories: mkdir, rmdir, touch, rm, mv, ln, cat, tee, chmod and their likes.

What is known of a file system's files is a Tree; where it is not known whether a file is there, a
command is taken to succeed. Writing to a block device by any of these loses what is on it.
"""

from __future__ import annotations

import posixpath

from llmkit.installer import osfiles, vfs
from llmkit.installer.effects.getopt import parse
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    Event,
    NoSuchDevice,
    Result,
    effect,
)
from llmkit.installer.frozen import replace
from llmkit.installer.state import SystemState, Tree


def write(
    state: SystemState, program: str, path: str, text: str | None, append: bool, root: str
) -> tuple[SystemState, tuple[Event, ...]]:
    """Write a file or, in fact, a device.

    Raises:
        CommandFailed: the directory is missing.
        NoSuchDevice: a path below /dev that is not there.
    """
    if path.startswith("/dev/") and not vfs.is_pseudo(vfs.normalise(path)):
        node = vfs.device(state, path)
        if node is None:
            raise NoSuchDevice(
                f"{program}: {path} does not exist; this machine has {vfs.listing(state)}"
            )
        vfs.require_writable(state, node, program)
        return vfs.overwrite(state, node), (Event("erase", node, "written over"),)
    state = vfs.write_text(state, path, text, append, root)
    return state, (Event("file", "", vfs.absolute(path, root)),)


class Several:
    """Work through operands as coreutils do: one that fails does not stop the others, and the
    command fails in the end with what was done kept."""

    def __init__(self, state: SystemState) -> None:
        self.state = state
        self.events: list[Event] = []
        self.failed: CommandFailed | None = None

    def done(self, stdout: str | None = "") -> Result:
        """The result, or the first failure."""
        if self.failed is not None:
            error = self.failed
            error.state, error.events = self.state, tuple(self.events)
            raise error
        return Result(self.state, stdout, events=tuple(self.events))


@effect("mkdir")
def mkdir(state: SystemState, argv: Argv) -> Result:
    """Make directories (mkdir(1)): -p, -m, -v. Fails where one exists (without -p) or where the
    directory above is missing."""
    options = parse(
        "mkdir", argv.args, "m:pvZ",
        ("mode=", "parents", "verbose", "context=?", "help", "version"),
    )  # fmt: skip
    if not options.operands:
        raise CommandFailed("mkdir: no directory given")
    work = Several(state)
    for path in options.operands:
        try:
            work.state = vfs.mkdir(
                work.state, path, parents=options.has("-p", "--parents"), root=argv.root
            )
            work.events.append(Event("file", "", vfs.absolute(path, argv.root)))
        except CommandFailed as error:
            work.failed = work.failed or error
    return work.done()


@effect("rmdir")
def rmdir(state: SystemState, argv: Argv) -> Result:
    """Remove empty directories (rmdir(1)): -p, -v, --ignore-fail-on-non-empty."""
    options = parse("rmdir", argv.args, "pv", ("parents", "verbose", "ignore-fail-on-non-empty"))
    work = Several(state)
    for path in options.operands:
        full = vfs.absolute(path, argv.root)
        place = vfs.resolve(work.state, path, argv.root)
        reason = ""
        if place.relative == "/":
            reason = "is a mount point" if place.mount else "is the root directory"
        elif vfs.is_dir(work.state, path, argv.root) is False:
            reason = "is not a directory that exists"
        elif any(m.target.startswith(full + "/") for m in work.state.mounts):
            reason = "is not empty"
        else:
            held = vfs.tree(work.state, place.key)
            names = (*held.directories, *(n for n, _ in held.files), *(n for n, _ in held.links))
            if any(name.startswith(place.inner + "/") for name in names):
                reason = "is not empty"
        if reason:
            work.failed = work.failed or CommandFailed(f"rmdir: {full} {reason}")
            continue
        work.state = vfs.remove(work.state, path, argv.root)
        work.events.append(Event("remove", "", full))
    return work.done()


@effect("touch", "truncate", "fallocate")
def touch(state: SystemState, argv: Argv) -> Result:
    """Make files (touch(1), truncate(1), fallocate(1)): the directory must exist. The content of
    what truncate and fallocate make is not tracked."""
    spec = {"touch": "acd:fhmr:t:", "truncate": "cor:s:", "fallocate": "cdil:no:pvxz"}
    long = ("no-create", "date=", "reference=", "time=", "size=", "length=", "offset=", "verbose",
            "io-blocks", "posix", "keep-size", "no-dereference")  # fmt: skip
    options = parse(argv.program, argv.args, spec[argv.program], long)
    if not options.operands:
        raise CommandFailed(f"{argv.program}: no file given")
    work = Several(state)
    for path in options.operands:
        if vfs.exists(work.state, path, argv.root) or options.has("-c", "--no-create"):
            continue
        try:
            text = "" if argv.program == "touch" else None
            work.state = vfs.write_text(work.state, path, text, False, argv.root)
            work.events.append(Event("file", "", vfs.absolute(path, argv.root)))
        except CommandFailed as error:
            work.failed = work.failed or error
    return work.done()


@effect("rm", "unlink", "shred")
def rm(state: SystemState, argv: Argv) -> Result:
    """Remove files (rm(1)): -r, -R, -f, -d, -v, -i; shred(1) overwrites files or a whole device.

    A mount point itself cannot be removed: its content goes, and the command fails, as it really
    does. `rm -r /` is refused without --no-preserve-root. A trailing /* means everything below.
    """
    if argv.program == "shred":
        return _shred(state, argv)
    options = parse(
        "rm", argv.args, "dfiIrRv",
        ("dir", "force", "interactive=?", "one-file-system", "no-preserve-root",
         "preserve-root=?", "recursive", "verbose", "help", "version"),
    )  # fmt: skip
    force = options.has("-f", "--force")
    recursive = options.has("-r", "-R", "--recursive")
    if not options.operands and not force:
        raise CommandFailed("rm: no file given")
    work = Several(state)
    for path in options.operands:
        try:
            _remove(work, path, argv.root, recursive, force, options.has("--no-preserve-root"))
        except CommandFailed as error:
            work.failed = work.failed or error
    return work.done()


def _remove(
    work: Several, path: str, root: str, recursive: bool, force: bool, anything: bool
) -> None:
    full = vfs.absolute(path.removesuffix("*") or "/", root)
    star = path.endswith("/*") or path == "*"
    state = work.state
    if posixpath.basename(path.rstrip("/")) in (".", ".."):
        raise CommandFailed(f"rm: refusing to remove {path}")
    if full == "/" and recursive and not star and not anything:
        raise CommandFailed("rm: refusing to remove / and everything on this machine")
    node = vfs.device(state, path) if path.startswith("/dev/") else None
    if node is not None:
        work.events.append(Event("remove", node, "device node"))
        return
    inside = full.removeprefix(root) if root else full
    found = vfs.exists(state, inside or "/", root)
    if found is False:
        if not force and not star:
            raise CommandFailed(f"rm: {full} does not exist")
        return
    if vfs.is_dir(state, inside or "/", root) and not recursive and not star:
        raise CommandFailed(f"rm: {full} is a directory; -r would remove it with all it holds")
    below = [
        m
        for m in state.mounts
        if m.target == full or m.target.startswith(full.rstrip("/") + "/") and recursive
    ]
    for mount in below:
        place = vfs.resolve(state, mount.target)
        if "ro" in mount.options or mount.fstype in ("iso9660", "squashfs", "proc", "sysfs"):
            continue
        state = _empty(state, place)
        device = mount.source if mount.source.startswith("/dev/") else ""
        work.events.append(Event("erase", device, f"everything in {mount.target}"))
    if not any(m.target == full for m in below):
        place = vfs.resolve(state, inside or "/", root)
        state = _empty(state, place) if place.relative == "/" else vfs.remove(state, inside, root)
        if place.relative in ("/usr", "/bin", "/lib", "/etc", "/sbin") and recursive:
            held = vfs.tree(state, place.key)
            state = vfs.with_tree(state, place.key, replace(held, system=False))
        work.events.append(Event("remove", "", full + ("/*" if star and full != "/" else "")))
    work.state = state
    if below and not star:
        raise CommandFailed(f"rm: {below[0].target} is a mount point and stays; it is empty now")


def _empty(state: SystemState, place: vfs.Place) -> SystemState:
    if place.key is None:
        return state
    if place.inner == "/":
        kept = replace(Tree(), hostname="") if place.key else replace(state.live, system=False)
        return vfs.with_tree(state, place.key, kept)
    if place.relative == "/" and place.mount and place.mount.root != "/":
        held = vfs.tree(state, place.key)  # a subvolume: its own part of the tree
        kept = Tree(known=held.known, subvolumes=held.subvolumes)
        return vfs.with_tree(state, place.key, kept)
    return state


def _shred(state: SystemState, argv: Argv) -> Result:
    options = parse("shred", argv.args, "fn:s:uvxz", ("force", "iterations=", "random-source=",
                    "size=", "remove=?", "verbose", "exact", "zero"))  # fmt: skip
    work = Several(state)
    for path in options.operands:
        try:
            if vfs.exists(state, path, argv.root) is False and not path.startswith("/dev/"):
                raise CommandFailed(f"shred: {path} does not exist")
            work.state, events = write(work.state, "shred", path, None, False, argv.root)
            work.events += events
        except CommandFailed as error:
            work.failed = work.failed or error
    return work.done()


@effect("ln")
def ln(state: SystemState, argv: Argv) -> Result:
    """Make links (ln(1)): -s, -f, -n, -T, -t, -r, -v. /etc/localtime sets the time zone."""
    options = parse(
        "ln", argv.args, "bdfFiLnPrsS:t:Tv",
        ("backup=?", "directory", "force", "interactive", "logical", "no-dereference", "physical",
         "relative", "symbolic", "suffix=", "target-directory=", "no-target-directory", "verbose"),
    )  # fmt: skip
    names = list(options.operands)
    into = options.get("-t", "--target-directory")
    if not names:
        raise CommandFailed("ln: no file given")
    if into is None and len(names) == 1:
        into = "."
    if into is None and len(names) > 2:
        into = names.pop()
    pairs: list[tuple[str, str]]
    if into is not None:
        pairs = [(name, posixpath.join(into, posixpath.basename(name))) for name in names]
    else:
        target, link = names
        place = vfs.resolve(state, link, argv.root)
        linked = any(n == place.inner for n, _ in vfs.tree(state, place.key).links)
        plain = options.has("-n", "--no-dereference", "-T", "--no-target-directory") and linked
        if not plain and vfs.is_dir(state, link, argv.root):
            link = posixpath.join(link, posixpath.basename(target))
        pairs = [(target, link)]
    work = Several(state)
    symbolic = options.has("-s", "--symbolic")
    for target, link in pairs:
        try:
            full = vfs.absolute(link, argv.root)
            if not symbolic and vfs.exists(work.state, target, argv.root) is False:
                raise CommandFailed(f"ln: {target} does not exist")
            if vfs.exists(work.state, link, argv.root) and not options.has("-f", "--force"):
                raise CommandFailed(f"ln: {full} exists already; -f would replace it")
            if symbolic:
                work.state = vfs.symlink(work.state, link, target, argv.root)
            else:
                text = vfs.read_text(work.state, target, argv.root)
                work.state = vfs.write_text(work.state, link, text, False, argv.root)
            work.events.append(_link_event(full, target))
        except CommandFailed as error:
            work.failed = work.failed or error
    return work.done()


def _link_event(full: str, target: str) -> Event:
    zone = osfiles.zone_of(target) if full.endswith("/etc/localtime") else None
    return Event("timezone", "", zone) if zone else Event("file", "", full)


@effect("cat")
def cat(state: SystemState, argv: Argv) -> Result:
    """Print files (cat(1)); known content is passed on to pipes and redirections."""
    options = parse("cat", argv.args, "AbeEnstTuv", ("show-all", "number", "number-nonblank",
                    "show-ends", "squeeze-blank", "show-tabs", "show-nonprinting"))  # fmt: skip
    parts: list[str | None] = []
    for path in options.operands or ("-",):
        if path == "-" or path in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
            parts.append(argv.stdin)
            continue
        if path.startswith("/dev/") and not vfs.exists(state, path):
            raise NoSuchDevice(f"cat: {path} does not exist; this machine has {vfs.listing(state)}")
        if vfs.exists(state, path, argv.root) is False:
            raise CommandFailed(f"cat: {vfs.absolute(path, argv.root)} does not exist")
        if vfs.is_dir(state, path, argv.root):
            raise CommandFailed(f"cat: {path} is a directory")
        parts.append(vfs.read_text(state, path, argv.root) if path != "/dev/null" else "")
    known = [part for part in parts if part is not None]
    text = "".join(known) if len(known) == len(parts) and not options.options else None
    return Result(state, text, events=(Event("read"),))


@effect("tee")
def tee(state: SystemState, argv: Argv) -> Result:
    """Write standard input to files and pass it on (tee(1)): -a, -i, -p."""
    options = parse("tee", argv.args, "aip", ("append", "ignore-interrupts", "output-error=?"))
    work = Several(state)
    append = options.has("-a", "--append")
    for path in options.operands:
        try:
            work.state, events = write(work.state, "tee", path, argv.stdin, append, argv.root)
            work.events += events
        except CommandFailed as error:
            work.failed = work.failed or error
    return work.done(argv.stdin)


@effect("chmod", "chown", "chgrp", "chattr", "setfacl")
def chmod(state: SystemState, argv: Argv) -> Result:
    """Change modes and owners: the files must exist; modes themselves are not tracked."""
    words = [w for w in argv.args if not (w.startswith("-") and len(w) > 1)]
    minus_mode = any(w.startswith("-") and w[1:2] in "rwxugo" for w in argv.args)
    reference = any(w.startswith("--reference") for w in argv.args)
    paths = words if minus_mode and argv.program == "chmod" or reference else words[1:]
    if argv.program == "chattr":
        paths = [w for w in words if not w.startswith(("+", "="))]
    if not paths:
        raise CommandFailed(f"{argv.program}: no file given")
    for path in paths:
        if vfs.exists(state, path, argv.root) is False:
            raise CommandFailed(f"{argv.program}: {vfs.absolute(path, argv.root)} does not exist")
    events = tuple(Event("file", "", vfs.absolute(path, argv.root)) for path in paths)
    return Result(state, "", events=events)
