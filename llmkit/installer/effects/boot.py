"""Make a system start by itself: genfstab, bootctl, grub-install, grub-mkconfig, initramfs, EFI.

Boot loaders check what they need, as the real ones do: UEFI or BIOS, a mounted FAT system partition,
a disk that exists, and on GPT with BIOS a BIOS boot partition.
"""

from __future__ import annotations

from llmkit.installer import vfs
from llmkit.installer.effects.getopt import Options, parse
from llmkit.installer.effects.registry import (
    Argv,
    CommandFailed,
    Event,
    NoSuchDevice,
    Result,
    effect,
)
from llmkit.installer.frozen import replace
from llmkit.installer.state import Disk, Mount, SystemState

_ESP_PLACES = ("/efi", "/boot", "/boot/efi")
_BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
_ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_GAP = 64 << 10  # core.img with common modules needs the sectors before the first partition
_VIRTUAL = frozenset(("proc", "sysfs", "devtmpfs", "devpts", "tmpfs", "efivarfs", "overlay"))


@effect("genfstab")
def genfstab(state: SystemState, argv: Argv) -> Result:
    """Print an fstab of what is mounted below a directory, and of the swap in use (genfstab(8)).

    -U, -L, -t TAG, -p, -P, -f. A UUID that is not known is printed as the device's path.
    """
    options = parse("genfstab", argv.args, "f:LpPt:Uh")
    root = vfs.absolute(options.operands[0] if options.operands else "/", argv.root)
    if state.mounted_at(root) is None and root != "/":
        raise CommandFailed(f"genfstab: {root} is not a mount point")
    tag = options.get("-t", default="UUID" if options.has("-U") else "LABEL" if options.has("-L")
                      else "")  # fmt: skip
    lines = ["# /etc/fstab: static information about the file systems\n"]
    prefix = root.rstrip("/") + "/"
    for mount in state.mounts:
        if mount.target != root and not mount.target.startswith(prefix):
            continue
        if mount.fstype in _VIRTUAL or not mount.source.startswith("/dev/"):
            continue
        point = "/" + mount.target[len(prefix) :]
        words = [w for w in mount.options if not w.startswith(("X-", "bind"))]
        text = ",".join(["rw", "relatime", *words]) if "ro" not in words else ",".join(words)
        check = 0 if mount.fstype in ("btrfs", "xfs", "f2fs") else 1 if point == "/" else 2
        name = _name(state, mount.source, tag or "")
        kind = mount.fstype or "auto"
        lines.append(f"# {mount.source}\n{name}\t{point}\t{kind}\t{text}\t0 {check}\n")
    for device in state.swaps:
        lines.append(f"# {device}\n{_name(state, device, tag or '')}\tnone\tswap\tdefaults\t0 0\n")
    return Result(state, "\n".join(lines) + "\n", events=(Event("read"),))


def _name(state: SystemState, device: str, tag: str) -> str:
    signature = vfs.signature(state, device)
    if signature is not None and tag == "UUID" and signature.uuid:
        return f"UUID={signature.uuid}"
    if signature is not None and tag == "LABEL" and signature.label:
        return f"LABEL={signature.label}"
    return device


def _esp(state: SystemState, program: str, path: str | None, root: str) -> Mount:
    """The mounted EFI system partition, at `path` or where it is usually looked for.

    Raises:
        CommandFailed: it is not mounted, or holds no FAT file system.
    """
    places = (path,) if path else _ESP_PLACES
    for place in places:
        full = vfs.absolute(place, root)
        mount = state.mounted_at(full)
        if mount is None:
            continue
        if mount.fstype == "vfat" or (not mount.fstype and _is_fat(state, mount.source)):
            if program == "bootctl":
                _esp_type(state, mount.source)
            return mount
        if path:
            raise CommandFailed(
                f"{program}: {full} is no EFI system partition: it holds {mount.fstype}, not FAT"
            )
    if path:
        full = vfs.absolute(path, root)
        raise CommandFailed(f"{program}: no EFI system partition is mounted at {full}")
    shown = ", ".join(vfs.absolute(place, root) for place in places)
    raise CommandFailed(f"{program}: no EFI system partition is mounted at any of {shown}")


def _esp_type(state: SystemState, device: str) -> None:
    """Raises:
    CommandFailed: on GPT, the partition's type is not that of an ESP (bootctl checks it).
    """
    disk, part, _ = vfs.find(state, device)
    if disk is not None and part is not None and disk.table == "gpt":
        if part.type.lower() not in (_ESP, "ef00"):
            raise CommandFailed(
                f"bootctl: {device} has not the type of an EFI system partition "
                f"(sgdisk -t {part.number}:ef00 {disk.path})"
            )


def _is_fat(state: SystemState, device: str) -> bool:
    signature = vfs.signature(state, device)
    return signature is not None and signature.kind == "vfat"


def _installed(state: SystemState, root: str, loader: str, device: str) -> Result:
    """The state in which the system at `root` has that boot loader."""
    place = vfs.resolve(state, "/", root)
    held = replace(
        vfs.tree(state, place.key), bootloader=loader, bootloader_device=device if loader else ""
    )
    new = vfs.with_tree(state, place.key, held)
    return Result(new, None, events=(Event("bootloader", device, loader),))


@effect("bootctl")
def bootctl(state: SystemState, argv: Argv) -> Result:
    """systemd-boot (bootctl(1)): install, update, remove, status, list; --path/--esp-path,
    --boot-path, --root, --no-variables, --graceful. Only on UEFI, with the ESP mounted."""
    options = parse(
        "bootctl", argv.args, "hpxR",
        ("esp-path=", "path=", "boot-path=", "root=", "image=", "print-esp-path",
         "print-boot-path", "no-variables", "no-pager", "graceful", "quiet",
         "make-entry-directory=", "make-machine-id-directory=", "entry-token=",
         "efi-boot-option-description=", "install-source=", "all-architectures", "dry-run",
         "variables=", "random-seed=", "help", "version", "print-root-device", "json="),
    )  # fmt: skip
    verb = options.operands[0] if options.operands else "status"
    root = argv.root
    if options.has("--root"):
        root = vfs.absolute(options.get("--root") or "/", argv.root)
        root = "" if root == "/" else root
    if verb in ("status", "list", "systemd-efi-options", "is-installed"):
        return Result(state, None, events=(Event("read"),))
    if verb in ("set-default", "set-oneshot", "set-timeout", "set-timeout-oneshot", "random-seed",
                "reboot-to-firmware", "unlink", "cleanup", "kernel-identify",
                "kernel-inspect"):  # fmt: skip
        return Result(state, None, events=(Event("bootloader"),))
    if verb not in ("install", "update", "remove"):
        raise CommandFailed(f"bootctl: unknown command {verb}")
    vfs.check_root(state, root)
    if state.boot_mode != "uefi":
        raise CommandFailed(
            "bootctl: this machine was not booted with UEFI; systemd-boot needs it, GRUB does not"
        )
    path = options.get("--esp-path", "--path")
    if path and options.has("--root") and path.startswith(root + "/"):
        path = path[len(root) :]
    esp = _esp(state, "bootctl", path, root)
    if verb != "install":
        loader = "systemd-boot" if verb == "update" else ""
        return _installed(state, _system_root(state, root, esp), loader, esp.source)
    # what bootctl(1) lays out on the system partition; a menu entry is written there next
    for folder in ("EFI/systemd", "EFI/BOOT", "EFI/Linux", "loader/entries", "loader/keys"):
        state = vfs.mkdir(state, f"{esp.target}/{folder}", parents=True, program="bootctl")
    return _installed(state, _system_root(state, root, esp), "systemd-boot", esp.source)


def _system_root(state: SystemState, root: str, esp: Mount) -> str:
    """Where the system lies whose boot loader goes to `esp`: without a chroot, /mnt when the ESP is
    mounted below it."""
    if root or not esp.target.startswith("/mnt/") or state.mounted_at("/mnt") is None:
        return root
    return "/mnt"


_GRUB_LONG = ("target=", "efi-directory=", "boot-directory=", "bootloader-id=", "root-directory=",
              "removable", "recheck", "no-nvram", "force", "modules=", "install-modules=",
              "themes=", "fonts=", "locales=", "compress=", "directory=", "grub-mkimage=",
              "label-font=", "label-color=", "label-bgcolor=", "product-version=", "uefi-secure-boot",
              "no-uefi-secure-boot", "disk-module=", "no-bootsector", "force-extra-removable",
              "no-force-extra-removable", "skip-fs-probe", "allow-floppy", "verbose", "debug",
              "no-rs-codes", "core-compress=", "pubkey=", "sbat=", "disable-shim-lock",
              "debug-image=", "font=", "macppc-directory=", "efi-bootloader-name=", "version",
              "help", "no-floppy", "emu-directory")  # fmt: skip


@effect("grub-install", "grub2-install")
def grub_install(state: SystemState, argv: Argv) -> Result:
    """Install GRUB (grub-install(8)).

    Covered: --target (i386-pc and x86_64-efi; the machine's boot mode decides without it),
    --efi-directory, --boot-directory, --root-directory, --bootloader-id, --removable, --force,
    --no-nvram. i386-pc needs a disk, and room in front of the first partition (msdos) or a BIOS
    boot partition (gpt); x86_64-efi needs the ESP mounted.
    """
    program = argv.program
    options = parse(program, argv.args, "d:vVhsfc:k:", _GRUB_LONG)
    if options.has("--help", "--version", "-V"):
        return Result(state, None)
    vfs.check_root(state, argv.root)
    target = options.get("--target", default="x86_64-efi" if state.boot_mode == "uefi"
                         else "i386-pc") or ""  # fmt: skip
    base = options.get("--root-directory")
    boot = options.get("--boot-directory", default=(base.rstrip("/") if base else "") + "/boot")
    vfs.require_dir(state, boot or "/boot", program, argv.root)
    root = _grub_root(state, vfs.absolute(boot or "/boot", argv.root), argv.root)
    if target.endswith("-efi"):
        return _grub_efi(state, options, program, target, root, argv.root)
    if target != "i386-pc":
        raise CommandFailed(f"{program}: there is no platform {target}: i386-pc or x86_64-efi")
    if not options.operands:
        raise CommandFailed(f"{program}: no disk given, for example /dev/sda")
    node = vfs.require(state, options.operands[0], program)
    vfs.require_writable(state, node, program)
    disk, part, _ = vfs.find(state, node)
    if disk is None:
        raise CommandFailed(f"{program}: {node} is no disk that a BIOS can start from")
    if part is not None and not options.has("--force", "-f"):
        raise CommandFailed(f"{program}: {node} is a partition; name the whole disk {disk.path}")
    if part is None:
        _room(disk, program)
    _live_root(state, root, program)
    return _installed(state, root, "grub-bios", node)


def _grub_root(state: SystemState, boot: str, root: str) -> str:
    """The root of the system that /…/boot belongs to."""
    if root:
        return root
    above = boot.removesuffix("/boot")
    return above if above != boot and above and state.mounted_at(above) else ""


def _live_root(state: SystemState, root: str, program: str) -> None:
    """GRUB cannot find the device of a live system's overlay root (grub-probe fails)."""
    if not root and any(disk.live for disk in state.disks):
        raise CommandFailed(
            f"{program}: the live system itself cannot be made to start from a disk; chroot into "
            "the target, or name its --boot-directory"
        )


def _room(disk: Disk, program: str) -> None:
    """Raises:
    CommandFailed: GRUB's core does not fit in front of the first partition.
    """
    if disk.table == "gpt":
        if not any(part.type.lower() in (_BIOS_BOOT, "ef02") for part in disk.partitions):
            raise CommandFailed(
                f"{program}: {disk.path} has a GPT table and no BIOS boot partition (type ef02); "
                "GRUB has no place to go"
            )
        return
    if disk.table is None:
        kind = f" but holds {disk.signature.kind}" if disk.signature else ""
        raise CommandFailed(f"{program}: {disk.path} has no partition table{kind}")
    first = min((part.start for part in disk.partitions), default=disk.size)
    if first < _GAP:
        raise CommandFailed(
            f"{program}: the first partition of {disk.path} begins too early; GRUB needs the space "
            "before it (start at 1 MiB)"
        )


def _grub_efi(
    state: SystemState, options: Options, program: str, target: str, root: str, chroot: str
) -> Result:
    """The UEFI half of grub-install."""
    if options.operands and vfs.device(state, options.operands[0]) is None:
        raise NoSuchDevice(
            f"{program}: {options.operands[0]} does not exist; this machine has "
            f"{vfs.listing(state)}"
        )
    if target not in ("x86_64-efi", "i386-efi", "arm64-efi"):
        raise CommandFailed(f"{program}: there is no platform {target}")
    path = options.get("--efi-directory")
    if path is None:
        places = [p for p in _ESP_PLACES if state.mounted_at(vfs.absolute(p, root or chroot))]
        if not places:
            raise CommandFailed(
                f"{program}: the EFI system partition is not mounted; --efi-directory names its place"
            )
        path = vfs.absolute(places[-1], root or chroot).removeprefix(chroot)
    esp = _esp(state, program, path, chroot)
    no_variables = options.has("--no-nvram", "--removable")
    if state.boot_mode != "uefi" and not no_variables:
        raise CommandFailed(
            f"{program}: this machine was not booted with UEFI, so that its boot menu cannot be "
            "written; use --target=i386-pc, or --removable"
        )
    if not root and not chroot:
        root = _system_root(state, root, esp)
    _live_root(state, root, program)
    return _installed(state, root or chroot, "grub-efi", esp.source)


@effect("grub-mkconfig", "grub2-mkconfig", "update-grub", "update-grub2", "update-bootloader")
def grub_mkconfig(state: SystemState, argv: Argv) -> Result:
    """Write GRUB's menu: -o FILE (its directory must exist); update-grub writes the usual file."""
    options = parse(argv.program, argv.args, "o:hV", ("output=", "help", "version"))
    vfs.check_root(state, argv.root)
    path = options.get("-o", "--output")
    if argv.program.startswith("update"):
        path = "/boot/grub/grub.cfg"
        if vfs.is_dir(state, "/boot/grub", argv.root) is False:
            state = vfs.mkdir(state, "/boot/grub", parents=True, root=argv.root)
    if path is None:
        return Result(state, None, events=(Event("read"),))
    if not argv.root:
        _live_root(state, "", argv.program)
    parent = path.rsplit("/", 1)[0] or "/"
    held = vfs.tree(state, vfs.resolve(state, "/", argv.root).key)
    if vfs.is_dir(state, parent, argv.root) is False and held.bootloader.startswith("grub"):
        state = vfs.mkdir(state, parent, parents=True, root=argv.root)  # grub-install made it
    state = vfs.write_text(state, path, None, False, argv.root)
    full = vfs.absolute(path, argv.root)
    return Result(state, None, events=(Event("bootloader", "", full),))


@effect("mkinitcpio", "update-initramfs", "dracut", "booster", "mkinitramfs", "kernel-install",
        "installkernel", "depmod", "grub-mkfont", "grub-set-default", "grub-editenv",
        "grub-reboot")  # fmt: skip
def initramfs(state: SystemState, argv: Argv) -> Result:
    """Build the early start-up image: changes files in /boot that are not tracked."""
    vfs.check_root(state, argv.root)
    if not argv.root and argv.program in ("mkinitcpio", "dracut") and "-h" in argv.args:
        return Result(state, None, events=(Event("read"),))
    return Result(state, None, events=(Event("file", "", "initramfs"),))


@effect("efibootmgr")
def efibootmgr(state: SystemState, argv: Argv) -> Result:
    """List or change the firmware's boot entries (efibootmgr(8)); -d names a disk that must exist.
    Fails on BIOS machines. The entries themselves are not tracked."""
    options = parse(
        "efibootmgr", argv.args, "aAb:BcCd:De:E:fFgi:Il:L:m:M:n:No:Op:qrt:Tu::UvVwy@:h",
        ("active", "inactive", "bootnum=", "delete-bootnum", "create", "create-only", "disk=",
         "remove-dups", "edd=", "full-dev-path", "gpt", "iface=", "label=", "loader=",
         "bootnext=", "delete-bootnext", "bootorder=", "delete-bootorder", "part=", "quiet",
         "driver", "sysprep", "timeout=", "delete-timeout", "unicode=?", "verbose", "version",
         "write-signature", "append-binary-args=", "mirror-below-4G=", "mirror-above-4G=",
         "help", "reconnect", "no-reconnect", "file-dev-path"),
    )  # fmt: skip
    if state.boot_mode != "uefi":
        raise CommandFailed("efibootmgr: this machine was not booted with UEFI", status=2)
    disk = options.get("-d", "--disk")
    if disk is not None:
        node = vfs.require(state, disk, "efibootmgr")
        part = options.get("-p", "--part", default="1") or "1"
        found, _, _ = vfs.find(state, node)
        if (
            found is not None
            and options.has("-c", "--create", "-C", "--create-only")
            and (not part.isdigit() or found.partition(int(part)) is None)
        ):
            raise NoSuchDevice(f"efibootmgr: {node} has no partition {part}")
    changes = ("-c", "--create", "-B", "--delete-bootnum", "-o", "--bootorder", "-n", "--bootnext",
               "-a", "-A", "-C", "-N", "-O", "-t", "-T", "--create-only", "-D")  # fmt: skip
    kind = "bootloader" if options.has(*changes) else "read"
    return Result(state, None, events=(Event(kind, disk or ""),))


@effect("refind-install", "limine", "extlinux", "syslinux", "lilo", "syslinux-install_update",
        "grub-bios-setup", "sbctl")  # fmt: skip
def other_loaders(state: SystemState, argv: Argv) -> Result:
    """Other boot loaders: the devices they name must exist; what they write is not tracked."""
    vfs.check_root(state, argv.root)
    for word in argv.args:
        if word.startswith("/dev/") and not vfs.is_pseudo(word):
            vfs.require(state, word, argv.program)
    return Result(state, None, events=(Event("bootloader"),))
