"""Mount file systems: mount (util-linux 2.38); umount.py holds the opposite.

From the manual pages and trials on loop devices: a device without a file system cannot be mounted
(32), nor one that is mounted at the same place already; the mount point must exist.
"""

from __future__ import annotations

from llmkit.installer import vfs
from llmkit.installer.effects.getopt import Options, parse
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    DeviceBusy,
    Event,
    NoSuchDevice,
    Result,
    effect,
)
from llmkit.installer.frozen import replace
from llmkit.installer.osfiles import fstab_entries
from llmkit.installer.state import Mount, SystemState

PSEUDO_TYPES = frozenset(
    "tmpfs proc sysfs devtmpfs devpts efivarfs overlay securityfs cgroup2 cgroup debugfs ramfs"
    " configfs bpf tracefs mqueue hugetlbfs fusectl binfmt_misc".split()
)
_NETWORK = frozenset("nfs nfs4 cifs smb3 sshfs fuse.sshfs 9p virtiofs ceph".split())
_LONG = ("all", "no-canonicalize", "fake", "fork", "fstab=", "help", "internal-only", "show-labels",
         "no-mtab", "verbose", "version", "options=", "options-mode=", "options-source=", "read-only",
         "rw", "read-write", "types=", "source=", "target=", "target-prefix=", "test-opts=", "uuid=",
         "label=", "bind", "move", "rbind", "make-shared", "make-slave", "make-private",
         "make-unbindable", "make-rshared", "make-rslave", "make-rprivate", "make-runbindable",
         "mkdir=?", "namespace=", "onlyonce", "map-users=", "map-groups=")  # fmt: skip
_MAKE = tuple(f"--make-{r}{kind}" for r in ("", "r") for kind in
              ("shared", "slave", "private", "unbindable"))  # fmt: skip


@effect("mount")
def mount(state: SystemState, argv: Argv) -> Result:
    """Mount a file system (mount(8)).

    Covered: devices, LABEL=/UUID=/PARTLABEL=/PARTUUID= and -L/-U, device links, -t, -o (remount,
    bind, subvol=, X-mount.mkdir, loop), --mkdir, --bind, --rbind, --move, --make-*, -a and one
    operand (both from fstab), pseudo and network file systems. Not covered: propagation.
    Without operands it only reads. Raises NoSuchDevice, or CommandFailed (status 32) when there is
    no file system to mount or no directory to mount it on.
    """
    options = parse("mount", argv.args, "aBcfFhilL:m::Mno:O:rRsT:t:U:vVw", _LONG)
    operands = list(options.operands)
    if options.has("--source"):
        operands.insert(0, options.get("--source") or "")
    for letter, tag in (("-L", "LABEL"), ("--label", "LABEL"), ("-U", "UUID"), ("--uuid", "UUID")):
        if options.has(letter):
            operands.insert(0, f"{tag}={options.get(letter)}")
    if options.has("--target"):
        operands.append(options.get("--target") or "")
    words = tuple(w for text in options.all("-o", "--options") for w in text.split(",") if w)
    if options.has("-r", "--read-only"):
        words = (*words, "ro")
    if options.has("-a", "--all"):
        return _mount_all(state, options, argv.root)
    if options.has("-h", "--help", "-V", "--version", "-l", "--show-labels") or not operands:
        return Result(state, None, events=(Event("read"),))
    if len(operands) > 2:
        raise CommandFailed("mount: too many arguments: a device and a directory are enough")
    if options.has(*_MAKE) and len(operands) == 1:
        return Result(state, "")
    if "remount" in words:
        return _remount(state, operands, words, argv.root)
    kind = options.get("-t", "--types", default="") or ""
    if len(operands) == 1:
        source, target, kind, words = _from_fstab(state, operands[0], words, argv.root)
    else:
        source, target = operands
    make = options.has("-m", "--mkdir") or any(w.startswith("X-mount.mkdir") for w in words)
    if options.has("-f", "--fake"):
        return Result(state, "")
    if options.has("--move", "-M") or "move" in words:
        return _move(state, source, target, argv.root)
    recursive = options.has("-R", "--rbind") or "rbind" in words
    if options.has("-B", "--bind") or "bind" in words or recursive:
        return _bind(state, source, target, recursive, make, argv.root)
    return _mount_one(state, source, target, kind, words, make, argv.root)


def _fail(reason: str) -> CommandFailed:
    return CommandFailed(f"mount: {reason}", status=32)


def _point(state: SystemState, target: str, make: bool, root: str) -> SystemState:
    """The state with the mount point made when asked for.

    Raises:
        CommandFailed: there is no such directory.
    """
    found = vfs.is_dir(state, target, root)
    if make and not found:
        return vfs.mkdir(state, target, parents=True, program="mount", root=root)
    if found is False:
        full = vfs.absolute(target, root)
        if vfs.exists(state, target, root):
            raise _fail(f"{full} is not a directory")
        raise _fail(f"the mount point {full} does not exist; mkdir -p {full} makes it")
    return state


def _mount_one(
    state: SystemState,
    source: str,
    target: str,
    kind: str,
    words: tuple[str, ...],
    make: bool,
    root: str,
) -> Result:
    full = vfs.absolute(target, root)
    kinds = [k for k in kind.split(",") if k and k != "auto" and not k.startswith("no")]
    if kinds and kinds[0] in PSEUDO_TYPES | _NETWORK:
        if kinds[0] == "efivarfs" and state.boot_mode != "uefi":
            raise _fail("efivarfs: this machine was not booted with UEFI")
        state = _point(state, target, make, root)
        new = Mount(source if source != "none" else kinds[0], full, kinds[0], words)
        return _mounted(state, new)
    node = vfs.device(state, source)
    if node is None:
        if source.startswith(("/dev/", "LABEL=", "UUID=", "PARTLABEL=", "PARTUUID=")):
            status = 32 if source.startswith("/dev/") else 1
            raise NoSuchDevice(
                f"mount: {source} does not exist; this machine has {vfs.listing(state)}",
                status=status,
            )
        if "loop" in words or source.endswith((".img", ".iso", ".sfs", ".squashfs")):
            if vfs.exists(state, source, root) is False:
                raise _fail(f"{source} does not exist")
            state = _point(state, target, make, root)
            return _mounted(state, Mount(vfs.normalise(source), full, kind or "iso9660", words))
        if vfs.exists(state, source, root) is False or "/" not in source:
            raise _fail(f"{source} does not exist")
        raise _fail(f"{source} is not a block device")
    state = _point(state, target, make, root)
    signature = vfs.signature(state, node)
    disk, part, _ = vfs.find(state, node)
    if signature is None:
        hint = "format it first (for example with mkfs.ext4)"
        if disk is not None and part is None and disk.partitions:
            hint = f"it is a whole disk: mount one of its partitions, such as {_first(state, node)}"
        raise _fail(f"{node} holds no file system; {hint}")
    if signature.kind not in vfs.FILE_SYSTEMS:
        raise _fail(f"{node} holds {signature.kind}, which cannot be mounted{_how(signature.kind)}")
    if kinds and not _same_kind(kinds, signature.kind):
        raise _fail(f"{node} holds {signature.kind}, not {kinds[0]}")
    shown = "/"
    for word in words:
        name, _, value = word.partition("=")
        if name == "subvol" and signature.kind == "btrfs":
            shown = "/" + value.strip("/") if value.strip("/") else "/"
            tree = state.tree(node)
            if tree.known and shown != "/" and shown not in tree.subvolumes:
                raise _fail(f"there is no subvolume {value} on {node}")
        elif name == "subvol":
            raise _fail(f"the option subvol is for btrfs, and {node} holds {signature.kind}")
    top = state.mounted_at(full)
    if top is not None and top.source == node and top.root == shown:
        raise DeviceBusy(f"mount: {node} is mounted at {full} already", status=32)
    return _mounted(state, Mount(node, full, signature.kind, words, shown))


def _same_kind(kinds: list[str], kind: str) -> bool:
    """ext4's driver reads ext2 and ext3 too; fat and msdos are other names of vfat."""
    names = {kind}
    if kind in ("ext2", "ext3"):
        names |= {"ext3", "ext4"} if kind == "ext3" else {"ext2", "ext4"}
    if kind == "vfat":
        names.add("msdos")
    if kind == "ntfs":
        names |= {"ntfs3", "ntfs-3g"}
    return bool(names & set(kinds))


def _how(kind: str) -> str:
    return {
        "swap": "; swapon uses it",
        "crypto_LUKS": "; open it with cryptsetup open first",
        "LVM2_member": "; mount a logical volume of its group instead",
    }.get(kind, "")


def _first(state: SystemState, node: str) -> str:
    disk, _, _ = vfs.find(state, node)
    return disk.partition_path(disk.partitions[-1].number) if disk else node


def _mounted(state: SystemState, new: Mount) -> Result:
    state = replace(state, mounts=(*state.mounts, new))
    device = new.source if new.source.startswith("/dev/") else ""
    return Result(state, "", events=(Event("mount", device, new.target),))


def _beneath(state: SystemState, source: str, root: str) -> tuple[str, str, str]:
    """Device, type and inner path behind a directory, for a bind mount of it."""
    place = vfs.resolve(state, source, root)
    if place.mount is not None:
        return place.mount.source, place.mount.fstype, place.inner
    if place.key is None:  # /dev, /proc, /sys, /run
        top = "/" + place.path.split("/")[1]
        kind = {"/dev": "devtmpfs", "/proc": "proc", "/sys": "sysfs"}.get(top, "tmpfs")
        return kind, kind, place.path[len(top) :] or "/"
    return vfs.LIVE_SOURCE, "overlay", place.path


def _bind(
    state: SystemState, source: str, target: str, recursive: bool, make: bool, root: str
) -> Result:
    if vfs.exists(state, source, root) is False:
        raise _fail(f"{vfs.absolute(source, root)} does not exist")
    if vfs.is_dir(state, source, root) is not False:
        state = _point(state, target, make, root)
    elif vfs.exists(state, target, root) is False:
        raise _fail(f"{vfs.absolute(target, root)} does not exist")
    full, origin = vfs.absolute(target, root), vfs.absolute(source, root)
    device, kind, inner = _beneath(state, source, root)
    below = [m for m in state.mounts if recursive and m.target.startswith(origin.rstrip("/") + "/")]
    result = _mounted(state, Mount(device, full, kind, ("bind",), inner))
    added = tuple(
        replace(m, target=full.rstrip("/") + m.target[len(origin.rstrip("/")) :])
        for m in below
        if not m.target.startswith(full + "/")
    )
    return replace(result, state=replace(result.state, mounts=(*result.state.mounts, *added)))


def _move(state: SystemState, source: str, target: str, root: str) -> Result:
    old, new = vfs.absolute(source, root), vfs.absolute(target, root)
    if state.mounted_at(old) is None:
        raise _fail(f"nothing is mounted at {old}")
    state = _point(state, target, False, root)
    mounts = tuple(
        replace(m, target=new + m.target[len(old) :])
        if m.target == old or m.target.startswith(old + "/")
        else m
        for m in state.mounts
    )
    return Result(replace(state, mounts=mounts), "", events=(Event("mount", "", new),))


def _remount(state: SystemState, operands: list[str], words: tuple[str, ...], root: str) -> Result:
    full = vfs.absolute(operands[-1], root)
    index = next((i for i in backwards(state) if state.mounts[i].target == full), None)
    node = vfs.device(state, operands[-1])
    if index is None and node is not None:
        index = next((i for i in backwards(state) if state.mounts[i].source == node), None)
    if index is None:
        if full == "/":
            return Result(state, "")
        raise _fail(f"nothing is mounted at {full}, so it cannot be remounted")
    old = state.mounts[index]
    kept = tuple(w for w in words if w != "remount")
    opposite = {"ro": "rw", "rw": "ro"}
    rest = tuple(w for w in old.options if w not in kept and opposite.get(w) not in kept)
    new = replace(old, options=(*rest, *kept))
    mounts = (*state.mounts[:index], new, *state.mounts[index + 1 :])
    return Result(replace(state, mounts=mounts), "", events=(Event("mount", "", full),))


def backwards(state: SystemState) -> range:
    """Indices of the mounts, the latest first."""
    return range(len(state.mounts) - 1, -1, -1)


def _from_fstab(
    state: SystemState, what: str, words: tuple[str, ...], root: str
) -> tuple[str, str, str, tuple[str, ...]]:
    """`mount WHAT`: the other half is in fstab."""
    text = vfs.read_text(state, "/etc/fstab", root)
    for source, point, kind, opts in fstab_entries(text or ""):
        if what in (source, point) or (
            vfs.device(state, what) is not None
            and vfs.device(state, source) == vfs.device(state, what)
        ):
            return source, point, kind, (*words, *_options(opts))
    node = vfs.device(state, what)
    if what.startswith("/dev/") and node is None:
        raise NoSuchDevice(
            f"mount: {what} does not exist; this machine has {vfs.listing(state)}", status=1
        )
    raise CommandFailed(f"mount: {what} is not in /etc/fstab; name a device and a directory")


def _options(text: str) -> tuple[str, ...]:
    return tuple(w for w in text.split(",") if w and w not in ("defaults", "auto"))


def _mount_all(state: SystemState, options: Options, root: str) -> Result:
    """`mount -a`: every line of fstab that is not noauto and not mounted yet."""
    path = options.get("-T", "--fstab", default="/etc/fstab") or "/etc/fstab"
    text = vfs.read_text(state, path, root)
    events: list[Event] = []
    failed = ""
    for source, point, kind, opts in fstab_entries(text or ""):
        words = opts.split(",")
        full = vfs.absolute(point, root)
        if kind == "swap" or "noauto" in words or full == "/" or state.mounted_at(full):
            continue
        if not point.startswith("/") or full == root:
            continue
        try:
            result = _mount_one(state, source, point, kind, _options(opts), False, root)
        except CommandFailed as error:
            if "nofail" not in words:
                failed = failed or error.reason
            continue
        state = result.state
        events += result.events
    if failed:
        raise CommandFailed(failed, status=32, state=state, events=tuple(events))
    return Result(state, "", events=tuple(events))
