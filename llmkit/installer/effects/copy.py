"""Copy files, and whole systems: cp, mv, install, rsync, unsquashfs, tar, pacstrap, debootstrap.

Copying a live system's files (its root, or the image below /run or /rofs) to a mounted file system
makes an installed system of it: `Tree.system`. Where nothing is mounted the copy fails: it would
fill the live system's memory.
"""

from __future__ import annotations

import posixpath

from llmkit.installer import vfs
from llmkit.installer.effects.files import Several, write
from llmkit.installer.effects.getopt import Options, parse
from llmkit.installer.effects.registry import Argv, CommandFailed, Event, Result, effect
from llmkit.installer.frozen import replace
from llmkit.installer.osfiles import zone_of
from llmkit.installer.size import human
from llmkit.installer.state import SystemState

_SMALLEST = 1 << 30  # a system does not fit on less
_IMAGES = ("/run/archiso/", "/run/live/", "/run/rootfsbase", "/run/initramfs/", "/run/install/",
           "/rofs", "/lib/live/mount/", "/usr/lib/live/mount/", "/cdrom/", "/run/miso/",
           "/run/overlay/", "/run/artix/")  # fmt: skip
_CONFIG = ("hostname", "timezone", "locale", "keymap", "users", "groups", "root_password")


def is_system(state: SystemState, path: str, root: str = "") -> bool:
    """Does a whole system lie at this directory: /, a live image, a mounted one?"""
    place = vfs.resolve(state, path, root)
    if place.path == "/" or (place.path + "/").startswith(_IMAGES):
        return True
    if place.relative != "/" or place.mount is None:
        return False
    return place.mount.fstype == "squashfs" or vfs.tree(state, place.key).system


def copy_system(
    state: SystemState, program: str, target: str, root: str, source: str = "", status: int = 1
) -> Result:
    """A system's files were copied to `target`. What is configured on the running system goes
    along when it is copied itself (`source` "/"), and not when its image is.

    Raises:
        CommandFailed: nothing is mounted there, or it is too small.
    """
    place = vfs.resolve(state, target, root)
    if place.key == "":
        raise CommandFailed(
            f"{program}: no disk is mounted at {place.path}; the copy would fill the live "
            "system's memory: mount the target's root first",
            status=status,
        )
    size = vfs.size(state, place.key) if place.key else _SMALLEST
    if size < _SMALLEST and place.key:
        raise CommandFailed(
            f"{program}: no space left on {place.key}: it has {human(size)}, too little for a "
            "system",
            status=status,
        )
    if place.mount is not None and "ro" in place.mount.options:
        raise CommandFailed(f"{program}: {place.path} is mounted read-only", status=status)
    held = vfs.tree(state, place.key)
    new = replace(held, system=True)
    if source and vfs.absolute(source, root) == "/":
        new = replace(new, **{name: getattr(state.live, name) for name in _CONFIG})
    device = place.key or ""
    state = vfs.with_tree(state, place.key, new)
    return Result(state, None, events=(Event("copy", device, place.path),))


@effect("cp", "mv", "install")
def cp(state: SystemState, argv: Argv) -> Result:
    """Copy or move files (cp(1), mv(1), install(1)).

    Covered: -r, -R, -a, -f, -p, -n, -t, -T, -v and the rest of their options as words; whole live
    systems; a time zone file copied to /etc/localtime; writing an image to a device. `install -d`
    makes directories. Not covered: the content of copied directories.
    """
    program = argv.program
    options = parse(
        program, argv.args,
        {"cp": "abdfHilLnpPrRsS:t:TuvxZ", "mv": "bfinS:t:TuvZ", "install": "bcCdDg:m:o:psS:t:Tv"}[
            program
        ],
        ("archive", "attributes-only", "backup=?", "copy-contents", "force", "interactive", "link",
         "dereference", "no-clobber", "no-dereference", "preserve=?", "no-preserve=", "parents",
         "recursive", "reflink=?", "remove-destination", "sparse=", "strip-trailing-slashes",
         "symbolic-link", "suffix=", "target-directory=", "no-target-directory", "update=?",
         "verbose", "one-file-system", "directory", "group=", "mode=", "owner=", "compare",
         "preserve-timestamps", "debug", "exchange"),
    )  # fmt: skip
    names = list(options.operands)
    if program == "install" and options.has("-d", "--directory"):
        work = Several(state)
        for path in names:
            work.state = vfs.mkdir(work.state, path, parents=True, root=argv.root)
        return work.done()
    into = options.get("-t", "--target-directory")
    if into is None:
        if len(names) < 2:
            raise CommandFailed(f"{program}: a source and a destination are needed")
        into = names.pop()
    tree = options.has("-r", "-R", "-a", "--recursive", "--archive") or program == "mv"
    plain = options.has("-T", "--no-target-directory")
    work = Several(state)
    for source in names:
        try:
            _copy_one(work, argv, options, source, into, tree, plain, len(names))
        except CommandFailed as error:
            work.failed = work.failed or error
    return work.done()


def _copy_one(
    work: Several, argv: Argv, options: Options, source: str, into: str, tree: bool, plain: bool,
    count: int,
) -> None:  # fmt: skip
    program, root, state = argv.program, argv.root, work.state
    whole = source.endswith(("/.", "/*")) or vfs.normalise(source) == "/" or plain
    place = source.removesuffix("*").removesuffix(".")
    if tree and whole and is_system(state, place or "/", root):
        result = copy_system(state, program, into, root, place)
        work.state = result.state
        work.events += result.events
        return
    if vfs.device(state, source) is None and vfs.exists(state, source, root) is False:
        raise CommandFailed(f"{program}: {vfs.absolute(source, root)} does not exist")
    if not tree and (vfs.is_dir(state, source, root) or source.endswith("/*")):
        raise CommandFailed(f"{program}: {source} is a directory; -r would copy it")
    target = into
    is_dir = vfs.is_dir(state, into, root)
    if (is_dir or into.endswith("/")) and not plain:
        target = posixpath.join(into, posixpath.basename(source.rstrip("/")))
    elif count > 1 and is_dir is False:
        raise CommandFailed(f"{program}: {into} is not a directory")
    if options.has("-D"):
        state = vfs.mkdir(state, posixpath.dirname(target) or "/", parents=True, root=root)
    if vfs.is_dir(state, source, root):
        work.state = vfs.mkdir(state, target, parents=True, program=program, root=root)
        work.events.append(Event("copy", "", vfs.absolute(target, root)))
    else:
        text = vfs.read_text(state, source, root)
        work.state, events = write(state, program, target, text, False, root)
        work.events += events
        zone = zone_of(vfs.normalise(source))
        if zone and vfs.absolute(target, root).endswith("/etc/localtime"):
            landed = vfs.resolve(work.state, target, root)
            if landed.relative == "/etc/localtime":
                held = replace(vfs.tree(work.state, landed.key), timezone=zone)
                work.state = vfs.with_tree(work.state, landed.key, held)
                work.events.append(Event("timezone", "", zone))
    if program == "mv":
        work.state = vfs.remove(work.state, source, root)


@effect("rsync")
def rsync(state: SystemState, argv: Argv) -> Result:
    """Copy trees (rsync(1)).

    Covered: a system copied to a mounted target (with a trailing slash on the source, or /*),
    -n/--dry-run, single files, directories. Options are not checked one by one. Not covered:
    excludes, remote hosts (no effect here).
    """
    names: list[str] = []
    words = iter(argv.args)
    dry = False
    for word in words:
        if word.startswith("--"):
            dry = dry or word == "--dry-run"
            if word in ("--exclude", "--include", "--filter", "--exclude-from", "--files-from",
                        "--rsh", "--bwlimit", "--log-file", "--chown", "--chmod", "--info",
                        "--max-size", "--timeout"):  # fmt: skip
                next(words, None)
        elif word.startswith("-") and len(word) > 1:
            dry = dry or "n" in word
            if word[-1] in "eTBfM":
                next(words, None)
        else:
            names.append(word)
    if len(names) < 2:
        if names and not any(argv.args):
            raise CommandFailed("rsync: a source and a destination are needed")
        return Result(state, None, events=(Event("read"),))
    target = names.pop()
    if ":" in target.split("/")[0]:
        return Result(state, None, events=(Event("read", "", "copies to another machine"),))
    work = Several(state)
    for source in names:
        if ":" in source.split("/")[0]:
            continue
        bare = source.removesuffix("*")
        if vfs.exists(work.state, bare or "/", argv.root) is False:
            raise CommandFailed(f"rsync: {source} does not exist", status=23)
        vfs.require_parent(work.state, target.rstrip("/") or "/", "rsync", argv.root)
        if dry:
            continue
        inside = source.endswith(("/", "/*", "/."))
        place = bare.removesuffix(".") or "/"
        if inside and is_system(work.state, place, argv.root):
            result = copy_system(work.state, "rsync", target, argv.root, place, status=11)
            work.state = result.state
            work.events += result.events
            continue
        work.events.append(Event("copy", "", vfs.absolute(target, argv.root)))
        if inside:
            work.state = vfs.mkdir(work.state, target, parents=True, root=argv.root)
        elif vfs.is_dir(work.state, source, argv.root):
            new = posixpath.join(target, posixpath.basename(source))
            work.state = vfs.mkdir(work.state, new, parents=True, root=argv.root)
        else:
            name = target
            if target.endswith("/") or vfs.is_dir(work.state, target, argv.root):
                name = posixpath.join(target, posixpath.basename(source))
            text = vfs.read_text(work.state, source, argv.root)
            work.state, events = write(work.state, "rsync", name, text, False, argv.root)
            work.events += events
    return work.done(None)


@effect("unsquashfs")
def unsquashfs(state: SystemState, argv: Argv) -> Result:
    """Unpack a live image (unsquashfs(1)): -d DIRECTORY, which must not exist without -f."""
    words = iter(argv.args)
    target, force, names = "squashfs-root", False, []
    for word in words:
        if word in ("-d", "-dest"):
            target = next(words, "")
        elif word in ("-f", "-force"):
            force = True
        elif word in ("-p", "-processors", "-da", "-fr", "-e", "-ef", "-o"):
            next(words, None)
        elif word in ("-l", "-ll", "-s", "-stat", "-lls"):
            return Result(state, None, events=(Event("read"),))
        elif not word.startswith("-"):
            names.append(word)
    if not names:
        raise CommandFailed("unsquashfs: no image given")
    if vfs.exists(state, names[0], argv.root) is False:
        raise CommandFailed(f"unsquashfs: {names[0]} does not exist")
    if vfs.is_dir(state, target, argv.root) and not force:
        raise CommandFailed(f"unsquashfs: {target} exists already; -f unpacks into it")
    return copy_system(state, "unsquashfs", target, argv.root)


@effect("tar", "bsdtar")
def tar(state: SystemState, argv: Argv) -> Result:
    """Unpack (tar(1)): `tar x… -C DIRECTORY` of a root file system (stage3, rootfs, bootstrap,
    base) makes a system there. Other archives change files that are not tracked."""
    words = list(argv.args)
    extract = bool(words) and ("x" in words[0].lstrip("-") or "--extract" in words)
    target = None
    for index, word in enumerate(words):
        if word in ("-C", "--directory") and index + 1 < len(words):
            target = words[index + 1]
        elif word.startswith("--directory="):
            target = word.split("=", 1)[1]
    if not extract:
        return Result(state, None, events=(Event("read"),))
    if target is not None:
        vfs.require_dir(state, target, "tar", argv.root)
    archives = [w for w in words if ".tar" in w or w.endswith((".tgz", ".txz"))]
    systems = ("stage3", "stage4", "rootfs", "bootstrap", "base-", "-base", "minirootfs")
    if target is not None and any(s in posixpath.basename(a) for a in archives for s in systems):
        return copy_system(state, "tar", target, argv.root)
    return Result(state, None, events=(Event("file", "", target or "."),))


@effect("pacstrap", "debootstrap", "mmdebstrap", "basestrap")
def bootstrap(state: SystemState, argv: Argv) -> Result:
    """Install a base system into a directory (pacstrap(8), debootstrap(8)).

    Raises CommandFailed without a network (pacstrap -U aside), and where pacstrap's directory is
    no mount point (-d allows it).
    """
    program = argv.program
    if program in ("pacstrap", "basestrap"):
        options = parse(program, argv.args, "C:cDGiKMNPUdh")
        names = options.operands
        if options.has("-h"):
            return Result(state, None)
        if not names:
            raise CommandFailed(f"{program}: no directory given")
        target = names[0]
        vfs.require_dir(state, target, program, argv.root)
        place = vfs.resolve(state, target, argv.root)
        mounted = place.mount is not None and place.relative == "/"
        if not mounted and not options.has("-d"):
            raise CommandFailed(
                f"{program}: {place.path} is not a mount point: mount the target's root there"
            )
    else:
        names = tuple(w for w in argv.args if not w.startswith("-"))
        if len(names) < 2:
            raise CommandFailed(f"{program}: a suite and a directory are needed")
        target = names[1]
        vfs.require_parent(state, target, program, argv.root)
    if not state.network:
        raise CommandFailed(f"{program}: there is no network connection to download packages")
    result = copy_system(state, program, target, argv.root)
    if program == "debootstrap":  # it copies the host's name (debootstrap's setup_etc)
        place = vfs.resolve(result.state, target, argv.root)
        held = vfs.tree(result.state, place.key)
        if not held.hostname:
            named = replace(held, hostname=state.live.hostname)
            result = replace(result, state=vfs.with_tree(result.state, place.key, named))
    return result
