"""Hypothesis strategies that several test files share.

    from strategies import system_states, commands

`system_states()` draws whole machines that could exist: disks of every naming scheme, tables, file
systems, mounts, swap, users. `commands(state)` draws shell lines about such a machine, most of them
sensible, some about devices that are not there.
"""

from __future__ import annotations

from hypothesis import strategies as st

from llmkit.installer.state import (
    Disk,
    Mount,
    Partition,
    Signature,
    SystemState,
    Tree,
    User,
)

MIB = 1 << 20
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
DISK_NAMES = ("sda", "sdb", "vda", "nvme0n1", "nvme1n1", "mmcblk0")
KINDS = ("ext4", "btrfs", "xfs", "f2fs", "vfat", "swap", "crypto_LUKS", "LVM2_member")
MOUNTABLE = ("ext4", "btrfs", "xfs", "f2fs", "vfat")

names = st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True)
labels = st.from_regex(r"[A-Za-z0-9_-]{0,11}", fullmatch=True)
zones = st.sampled_from(("", "UTC", "Europe/Prague", "America/New_York", "Asia/Tokyo"))
sizes = st.integers(min_value=64, max_value=4_000_000).map(lambda mib: mib * MIB)
models = st.sampled_from(("", "Samsung SSD 870", "WDC WD10EZEX-08W", "QEMU (virtual) [disk]", "X"))


def signatures(kinds: tuple[str, ...] = KINDS) -> st.SearchStrategy[Signature]:
    """What blkid finds on a device."""
    return st.builds(
        Signature,
        kind=st.sampled_from(kinds),
        label=labels,
        uuid=st.sampled_from(("", "6f1c7a0e-0b7c-4b52-9a55-0d4f6a0f3b11", "ABCD-1234")),
    )


@st.composite
def disks(draw: st.DrawFn, name: str) -> Disk:
    """A disk with 0 to 6 partitions that follow one another, with gaps."""
    table = draw(st.sampled_from((None, "gpt", "msdos")))
    count = 0 if table is None else draw(st.integers(0, 6 if table == "gpt" else 4))
    parts = []
    cursor = MIB
    for number in range(1, count + 1):
        start = cursor + draw(st.integers(0, 3)) * MIB
        length = draw(st.one_of(st.integers(1, 600), st.integers(600, 400_000))) * MIB
        length += draw(st.sampled_from((0, 0, 512, 33 * 512)))
        kind = draw(st.sampled_from((ESP, LINUX) if table == "gpt" else ("83", "ef", "82")))
        parts.append(
            Partition(
                number, start, length, kind, signature=draw(st.none() | signatures()),
                name=draw(labels) if table == "gpt" else "",
            )
        )  # fmt: skip
        cursor = -(-(start + length) // MIB) * MIB
    size = cursor + draw(st.integers(1, 2_000_000)) * MIB
    signature = draw(st.none() | signatures()) if table is None else None
    return Disk(
        name=name, size=size, model=draw(models), table=table, partitions=tuple(parts),
        transport=draw(st.sampled_from(("", "sata", "nvme", "usb"))), signature=signature,
        rotational=draw(st.booleans()), removable=draw(st.booleans()),
    )  # fmt: skip


def users() -> st.SearchStrategy[tuple[User, ...]]:
    """Accounts with different names and consecutive IDs."""
    return st.lists(names, unique=True, max_size=3).map(
        lambda found: tuple(User(name, 1000 + index) for index, name in enumerate(found))
    )


def trees() -> st.SearchStrategy[Tree]:
    """The files of a target, freshly made or found."""
    return st.builds(
        Tree,
        known=st.booleans(),
        system=st.booleans(),
        hostname=st.sampled_from(("", "box", "archiso")),
        timezone=zones,
        users=users(),
        directories=st.sampled_from(((), ("/boot",), ("/boot", "/boot/efi"))),
        fstab=st.sampled_from(((), ("/", "/boot/efi"))),
    )


@st.composite
def system_states(draw: st.DrawFn, min_disks: int = 0) -> SystemState:
    """A whole machine."""
    chosen = draw(
        st.lists(st.sampled_from(DISK_NAMES), unique=True, min_size=min_disks, max_size=3)
    )
    found = tuple(draw(disks(name)) for name in sorted(chosen))
    filled = [(disk.path, disk.signature) for disk in found]
    filled += [
        (disk.partition_path(part.number), part.signature)
        for disk in found
        for part in disk.partitions
    ]
    mountable = [(path, sig.kind) for path, sig in filled if sig and sig.kind in MOUNTABLE]
    swappable = [path for path, sig in filled if sig and sig.kind == "swap"]
    mounts: list[Mount] = []
    targets = ("/mnt", "/mnt/boot", "/mnt/home", "/run/archiso/bootmnt")
    if mountable:
        for target in targets[: draw(st.integers(0, len(targets)))]:
            path, kind = draw(st.sampled_from(mountable))
            mounts.append(Mount(path, target, kind))
    swaps = draw(st.lists(st.sampled_from(swappable), unique=True)) if swappable else []
    held = ()
    if mounts:
        held = ((mounts[0].source, draw(trees())),)
    live = Tree(
        known=False, system=True, hostname=draw(st.sampled_from(("archiso", "debian", "my-pc"))),
        timezone=draw(zones), users=draw(users()),
    )  # fmt: skip
    return SystemState(
        disks=found, mounts=tuple(mounts), swaps=tuple(sorted(swaps)), trees=held, live=live,
        boot_mode=draw(st.sampled_from(("uefi", "bios"))), network=draw(st.booleans()),
    )  # fmt: skip


_LINES = (
    "sgdisk -Z {disk}",
    "sgdisk -o {disk}",
    "sgdisk -n 0:0:+{mib}M {disk}",
    "sgdisk -n {number}:0:+{mib}M -t {number}:ef00 {disk}",
    "sgdisk -n 0:0:0 {disk}",
    "sgdisk -d {number} {disk}",
    "parted -s {disk} mklabel msdos",
    "parted -s {disk} mklabel gpt mkpart a 1MiB {mib}MiB",
    "parted -s {disk} mkpart primary {mib}MiB 100%",
    "parted -s {disk} rm {number}",
    "wipefs -a {device}",
    "mkfs.ext4 -F {device}",
    "mkfs.vfat -F 32 -n EFI {device}",
    "mkfs.btrfs {device}",
    "mkfs.xfs -f {device}",
    "mkfs.f2fs -f {device}",
    "mkswap {device}",
    "swapon {device}",
    "swapoff {device}",
    "mount {device} {target}",
    "mount --mkdir {device} {target}",
    "umount {target}",
    "umount {device}",
    "umount -R /mnt",
    "mkdir -p {target}",
    "mkdir {target}",
    "rm -rf {target}",
    "echo {word} > /mnt/etc/hostname",
    "hostnamectl set-hostname {word}",
    "ln -sf /usr/share/zoneinfo/Europe/Prague /mnt/etc/localtime",
    "timedatectl set-timezone Asia/Tokyo",
    "rsync -a /run/archiso/airootfs/ /mnt/",
    "pacstrap /mnt base linux",
    "genfstab -U /mnt >> /mnt/etc/fstab",
    "useradd -m -G wheel {word}",
    "userdel {word}",
    "usermod -aG audio {word}",
    "arch-chroot /mnt useradd -m {word}",
    "bootctl --path=/mnt/boot install",
    "grub-install --target=i386-pc {disk}",
    "cryptsetup -q luksFormat {device} - < /etc/hostname",
    "cryptsetup open {device} {word}",
    "cryptsetup close {word}",
    "pvcreate -y {device}",
    "vgcreate vg {device}",
    "lvcreate -L {mib}M -n {word} vg",
    "lsblk {disk}",
    "mkfs.ext4 -F {device} && mount --mkdir {device} {target}",
    "mkfs.btrfs -f {device} && mount {device} /mnt && mkdir -p /mnt/boot",
    "mkswap {device} && swapon {device}",
    "umount -R /mnt; sgdisk -o {disk} && sgdisk -n 1:0:+2G -n 2:0:0 {disk}",
    "mount {device} /mnt && rsync -a / /mnt/ && arch-chroot /mnt useradd {word}",
)


def commands(state: SystemState) -> st.SearchStrategy[str]:
    """Shell lines about this machine."""
    there = [*state.devices(), "/dev/sdz", "/dev/sda9"]
    disk_paths = [disk.path for disk in state.disks] or ["/dev/sdz"]
    return st.builds(
        str.format,
        st.sampled_from(_LINES),
        disk=st.sampled_from(disk_paths),
        device=st.sampled_from(there),
        number=st.integers(1, 5),
        mib=st.integers(1, 5000),
        target=st.sampled_from(("/mnt", "/mnt/boot", "/mnt/home", "/media")),
        word=st.sampled_from(("alice", "bob", "box")),
    )
