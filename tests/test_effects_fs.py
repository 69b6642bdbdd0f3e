"""File systems, mounts, swap, accounts and boot loaders: what the manual pages and real tools say.

Expected values are from the manuals and from runs of the tools of Debian 12 on loop devices.
"""

from __future__ import annotations

import pytest

from llmkit.installer import vfs
from llmkit.installer.effects.getopt import parse
from llmkit.installer.effects.registry import CommandFailed
from llmkit.installer.interpret_paths import placed
from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

GIB = 1 << 30
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"


def machine(boot: str = "uefi", **changes: object) -> SystemState:
    """Disk sda with an empty 512 MiB ESP, a 40 GiB and a 100 MiB partition; live medium sdb."""
    parts = [
        {"number": 1, "start": 1 << 20, "size": 512 << 20, "type": ESP},
        {"number": 2, "start": GIB, "size": 40 * GIB, "type": LINUX, "name": "root",
         "partuuid": "0aa1b2c3-0000-4000-8000-000000000002"},
        {"number": 3, "start": 41 * GIB, "size": 100 << 20, "type": LINUX},
    ]  # fmt: skip
    data: dict = {
        "boot_mode": boot,
        "disks": [
            {"name": "sda", "size": 64 * GIB, "table": "gpt", "partitions": parts},
            {"name": "sdb", "size": 8 * GIB, "live": True, "read_only": False,
             "signature": {"kind": "iso9660", "label": "ARCH_202606"}},
        ],
        "mounts": [{"source": "/dev/sdb", "target": "/run/archiso/bootmnt", "fstype": "iso9660"}],
    }  # fmt: skip
    return SystemState.from_dict(data | changes)


def after(*lines: str, state: SystemState | None = None) -> SystemState:
    """The state after lines that must all succeed."""
    state = state or machine()
    for line in lines:
        outcome = run_command(line, state)
        assert outcome.status == 0, f"{line}: {outcome.error}"
        state = outcome.state
    return state


def refused(line: str, *before: str, state: SystemState | None = None) -> tuple[int | None, str]:
    """Exit status and reason of a line that must fail."""
    outcome = run_command(line, after(*before, state=state))
    assert outcome.status != 0, f"{line} succeeded"
    return outcome.status, outcome.error or ""


FORMATTED = ("mkfs.vfat -F 32 /dev/sda1", "mkfs.ext4 -F -L root /dev/sda2")
MOUNTED = (*FORMATTED, "mount /dev/sda2 /mnt", "mount --mkdir /dev/sda1 /mnt/boot")
COPIED = (*MOUNTED, "rsync -a /run/archiso/airootfs/ /mnt/")


@pytest.mark.parametrize(
    ("line", "kind", "label", "uuid"),
    [
        ("mkfs.ext4 /dev/sda2", "ext4", "", ""),
        ("mkfs -t ext4 -F -L data /dev/sda2", "ext4", "data", ""),
        ("mke2fs -t ext3 -Lx /dev/sda2", "ext3", "x", ""),
        ("mke2fs -j /dev/sda2", "ext3", "", ""),
        ("mkfs /dev/sda2", "ext2", "", ""),
        ("mkfs.ext4 -qL thisislongerthan16 /dev/sda2", "ext4", "thisislongerthan", ""),
        ("mkfs.ext4 /dev/sda2 -U 6F1C7A0E-0B7C-4B52-9A55-0D4F6A0F3B11", "ext4", "",
         "6f1c7a0e-0b7c-4b52-9a55-0d4f6a0f3b11"),
        ("mkfs.fat -F32 -n EFI -i abcd1234 /dev/sda1", "vfat", "EFI", "ABCD-1234"),
        ("mkfs.btrfs --force --label=pool /dev/sda2", "btrfs", "pool", ""),
        ("mkfs.xfs -f -L twelvechars1 -m crc=1,uuid=6f1c7a0e-0b7c-4b52-9a55-0d4f6a0f3b11 /dev/sda2",
         "xfs", "twelvechars1", "6f1c7a0e-0b7c-4b52-9a55-0d4f6a0f3b11"),
        ("mkfs.f2fs -l flash -O extra_attr /dev/sda2", "f2fs", "flash", ""),
        ("mkfs.exfat -n card /dev/sda2", "exfat", "card", ""),
        ("mkswap -L swap /dev/sda2", "swap", "swap", ""),
        ("cryptsetup -q luksFormat /dev/sda2", "crypto_LUKS", "", ""),
        ("pvcreate -y /dev/sda2", "LVM2_member", "", ""),
        ("mkfs.ext4 /dev/disk/by-partlabel/root", "ext4", "", ""),
    ],
)  # fmt: skip
def test_formatting_leaves_a_signature(line: str, kind: str, label: str, uuid: str) -> None:
    """A format command leaves blkid's TYPE, the label and the UUID that it was given."""
    number = 1 if "sda1" in line else 2
    signature = after(line).disks[0].partitions[number - 1].signature
    assert signature is not None
    assert (signature.kind, signature.label, signature.uuid) == (kind, label, uuid)


@pytest.mark.parametrize("tool", ["mkfs.ext4 -F", "mkfs.vfat", "mkfs.btrfs -f", "mkfs.xfs -f",
                                  "mkfs.f2fs -f", "mkswap -f", "pvcreate -ff -y",
                                  "cryptsetup -q luksFormat"])  # fmt: skip
def test_nothing_formats_a_mounted_device(tool: str) -> None:
    """Every tool refuses a device in use, however much force is asked for."""
    assert "mounted at /mnt" in refused(f"{tool} /dev/sda2", *MOUNTED)[1]


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("mkfs.btrfs /dev/sda2", 1, "-f overwrites it"),
        ("mkfs.xfs /dev/sda2", 1, "-f overwrites it"),
        ("mkfs.f2fs /dev/sda2", 255, "-f overwrites it"),
        ("mkfs.xfs -f /dev/sda3", 1, "too small"),
        ("mkfs.btrfs -f /dev/sda3", 1, "too small"),
        ("mkfs.btrfs /dev/sda", 1, "partition table"),
        ("mkfs.vfat /dev/sda", 1, "partitions"),
        ("mkfs.vfat -n verylonglabel /dev/sda1", 1, "too long"),
        ("mkfs.xfs -f -L thirteenchars /dev/sda2", 1, "too long"),
        ("mkfs.ext4 /dev/sda9", 1, "does not exist"),
        ("mkfs.ext4 /dev/nvme0n1p1", 1, "this machine has /dev/sda"),
        ("mkfs.ext4 -Y /dev/sda2", 1, "unknown option -Y"),
        ("mkfs.ext4 -L", 1, "needs a value"),
        ("mkfs.ext4", 1, "no device given"),
        ("mkfs -t zfs /dev/sda2", 1, "no program mkfs.zfs"),
        ("mkfs.vfat -F 64 /dev/sda1", 1, "12, 16 or 32"),
        ("fatlabel /dev/sda2 X", 1, "ext4"),
    ],
)
def test_formatting_fails_as_the_tools_do(line: str, status: int, words: str) -> None:
    """What the real tool refuses is refused, with its status, and changes nothing."""
    state = after(*FORMATTED)
    outcome = run_command(line, state)
    assert outcome.status == status, outcome.error
    assert words in (outcome.error or "")
    assert outcome.state == state


def test_a_dry_run_changes_nothing() -> None:
    """mkfs.ext4 -n and mkfs.xfs -N only print what they would do."""
    state = machine()
    assert after("mkfs.ext4 -n /dev/sda2", "mkfs.xfs -N /dev/sda2", state=state) == state


def test_formatting_a_whole_disk_drops_its_partitions() -> None:
    """mkfs.ext4 on a disk overwrites the partition table (and, without a terminal, never asks)."""
    disk = after("mkfs.ext4 -L all /dev/sda").disks[0]
    assert (disk.table, disk.partitions) == (None, ())
    assert disk.signature is not None
    assert disk.signature.label == "all"


def test_labels_can_be_changed() -> None:
    """e2label, tune2fs -L and fatlabel change a label, and the files stay."""
    state = after(*FORMATTED, "mount /dev/sda2 /mnt", "mkdir /mnt/kept", "e2label /dev/sda2 one")
    assert vfs.device(state, "LABEL=one") == "/dev/sda2"
    assert vfs.is_dir(state, "/mnt/kept") is True
    state = after("tune2fs -L two /dev/sda2", "fatlabel /dev/sda1 BOOT", state=state)
    assert vfs.device(state, "/dev/disk/by-label/two") == "/dev/sda2"
    assert vfs.device(state, "LABEL=BOOT") == "/dev/sda1"


@pytest.mark.parametrize(
    "source",
    ["/dev/sda2", "LABEL=root", "PARTLABEL=root", "/dev/disk/by-label/root", "//dev/./sda2",
     "PARTUUID=0AA1B2C3-0000-4000-8000-000000000002", "-L root", "-t ext4 /dev/sda2"],
)  # fmt: skip
def test_a_device_has_many_names(source: str) -> None:
    """Devices can be mounted by path, tag and link."""
    mount = after(*FORMATTED, f"mount {source} /mnt").mounts[-1]
    assert (mount.source, mount.target, mount.fstype) == ("/dev/sda2", "/mnt", "ext4")


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("mount /dev/sda3 /mnt/boot", 32, "no file system"),
        ("mount /dev/sda /mnt/boot", 32, "whole disk"),
        ("mount /dev/sda9 /mnt/boot", 32, "does not exist"),
        ("mount LABEL=none /mnt/boot", 1, "does not exist"),
        ("mount /dev/sda1 /mnt/nowhere", 32, "mount point /mnt/nowhere does not exist"),
        ("mount /dev/sda2 /mnt", 32, "mounted at /mnt already"),
        ("mount -t btrfs /dev/sda2 /media", 32, "holds ext4, not btrfs"),
        ("mount -o subvol=@ /dev/sda2 /media", 32, "subvol is for btrfs"),
        ("mount -o remount,ro /media", 32, "nothing is mounted at /media"),
        ("mount /media", 1, "not in /etc/fstab"),
        ("umount /mnt", 32, "/mnt/boot is mounted below"),
        ("umount /dev/sda2", 32, "busy"),
        ("umount /media", 32, "nothing is mounted at /media"),
        ("umount /dev/sda3", 32, "is not mounted"),
        ("umount /dev/sdz", 32, "does not exist"),
    ],
)
def test_mounting_fails_as_the_tools_do(line: str, status: int, words: str) -> None:
    """mount(8) and umount(8): 32 is a mount failure, 1 a wrong call."""
    state = after(*MOUNTED)
    outcome = run_command(line, state)
    assert (outcome.status, outcome.state) == (status, state)
    assert words in (outcome.error or "")


def test_the_root_comes_first() -> None:
    """On a live system /mnt is empty: /mnt/boot can be mounted only after it was made."""
    assert refused("mount /dev/sda1 /mnt/boot", *FORMATTED)[0] == 32
    state = after(*FORMATTED, "mkdir -p /mnt/boot", "mount /dev/sda1 /mnt/boot")
    assert state.mounts[-1].target == "/mnt/boot"
    state = after("mount /dev/sda2 /mnt", state=state)  # covers what was there
    assert vfs.is_dir(state, "/mnt/boot/EFI") is not True
    assert refused("mkdir /mnt/a/b", state=state)[0] == 1


def test_umount_takes_the_latest_mount_of_a_device() -> None:
    """A device that is mounted twice loses the later mount first."""
    lines = (*FORMATTED, "mkdir /mnt/a /mnt/b", "mount /dev/sda2 /mnt/a", "mount /dev/sda2 /mnt/b")
    state = after(*lines, "umount /dev/sda2")
    assert [mount.target for mount in state.mounts][1:] == ["/mnt/a"]


@pytest.mark.parametrize("line", ["umount -R /mnt", "umount -l /mnt", "umount /mnt/boot /mnt",
                                  "umount /dev/sda1 /dev/sda2"])  # fmt: skip
def test_whole_trees_can_be_unmounted(line: str) -> None:
    """-R and -l take what is below too; several names are worked through in order."""
    mounts = after(*MOUNTED, line).mounts
    assert [mount.target for mount in mounts] == ["/run/archiso/bootmnt"]


def test_several_umounts_do_what_they_can() -> None:
    """`umount /mnt /mnt/boot` fails for the first name, and unmounts the second all the same."""
    outcome = run_command("umount /mnt /mnt/boot", after(*MOUNTED))
    assert outcome.status == 32
    assert [mount.target for mount in outcome.state.mounts][1:] == ["/mnt"]


def test_bind_mounts_show_what_is_beneath() -> None:
    """A bind mount of a directory shows the same files, below its own path."""
    state = after(*MOUNTED, "mkdir -p /mnt/data/deep /mnt/view", "mount --bind /mnt/data /mnt/view")
    assert state.mounts[-1].source == "/dev/sda2"
    assert vfs.is_dir(state, "/mnt/view/deep") is True
    assert vfs.is_dir(state, "/mnt/view/boot") is False
    state = after("mkdir /mnt/dev", "mount --rbind /dev /mnt/dev", state=state)
    assert "- devtmpfs" not in state.to_context()


def test_btrfs_subvolumes() -> None:
    """Subvolumes are made, mounted by name, and their files are their own."""
    state = after(
        "mkfs.btrfs /dev/sda2", "mount /dev/sda2 /mnt", "btrfs subvolume create /mnt/@",
        "btrfs su cr /mnt/@home", "umount /mnt", "mount -o subvol=@,compress=zstd /dev/sda2 /mnt",
        "mkdir /mnt/home", "mount -o subvol=/@home /dev/sda2 /mnt/home", "touch /mnt/home/x",
    )  # fmt: skip
    assert [mount.root for mount in state.mounts[-2:]] == ["/@", "/@home"]
    assert state.tree("/dev/sda2").subvolumes == ("/@", "/@home")
    assert "no subvolume @var" in refused("mount -o subvol=@var /dev/sda2 /media", state=state)[1]
    assert "mounted at /mnt/home" in refused(
        "btrfs subvolume delete /media/@home",
        "mount /dev/sda2 /media", state=state,
    )[1]  # fmt: skip


def test_swap_goes_on_and_off() -> None:
    """swapon needs mkswap first, and refuses what is on already."""
    assert refused("swapon /dev/sda2") == (255, refused("swapon /dev/sda2")[1])
    state = after("mkswap -L sw /dev/sda2", "swapon LABEL=sw")
    assert state.swaps == ("/dev/sda2",)
    assert "[swap] mounted at [SWAP]" in state.to_context()
    assert refused("swapon /dev/sda2", state=state)[0] == 255
    assert refused("mkfs.ext4 /dev/sda2", state=state)[0] == 1
    assert after("swapoff -a", state=state).swaps == ()
    assert refused("swapoff /dev/sda2", "swapoff /dev/sda2", state=state)[0] == 4


def test_encryption_and_lvm() -> None:
    """A LUKS container holds a volume group; closing and opening shows the same content."""
    state = after(
        "cryptsetup -q luksFormat /dev/sda2", "echo secret | cryptsetup open /dev/sda2 crypt -",
        "pvcreate /dev/mapper/crypt", "vgcreate vg0 /dev/mapper/crypt",
        "lvcreate -L 10G -n root vg0", "lvcreate -l 100%FREE -n my-home vg0",
        "mkfs.ext4 /dev/vg0/root", "mount /dev/mapper/vg0-root /mnt",
    )  # fmt: skip
    sizes = {mapping.name: mapping.size for mapping in state.mappings}
    assert sizes["crypt"] == 40 * GIB - (16 << 20)  # the LUKS2 header
    assert sizes["vg0-root"] == 10 * GIB
    free = (sizes["crypt"] - (1 << 20)) // (4 << 20) * (4 << 20) - 10 * GIB
    assert sizes["vg0-my--home"] == free
    assert "in use" in refused("cryptsetup close crypt", state=state)[1]
    assert refused("lvcreate -L 1G -n more vg0", state=state)[0] == 5
    assert refused("mkfs.ext4 -F /dev/sda2", state=state)[0] == 1


def test_a_closed_container_opens_with_its_content() -> None:
    """What was inside a container is there again under another name."""
    state = after(
        "cryptsetup -q luksFormat /dev/sda2", "cryptsetup open /dev/sda2 one",
        "mkfs.ext4 /dev/mapper/one", "mount /dev/mapper/one /mnt", "mkdir /mnt/kept", "umount /mnt",
        "cryptsetup close one", "cryptsetup luksOpen /dev/sda2 two", "mount /dev/mapper/two /mnt",
    )  # fmt: skip
    assert vfs.is_dir(state, "/mnt/kept") is True
    assert refused("cryptsetup open /dev/sda3 x")[0] == 1
    assert refused("cryptsetup open /dev/sdz x")[0] == 4


def test_files_need_their_directories() -> None:
    """mkdir, touch, redirections and rmdir follow what is known of a fresh file system."""
    state = after(*FORMATTED, "mount /dev/sda2 /mnt")
    assert refused("mkdir /mnt/a/b", state=state)[0] == 1
    assert refused("echo x > /mnt/etc/hostname", state=state)[0] == 1
    assert refused("touch /mnt/a/b", state=state)[0] == 1
    state = after("mkdir -p /mnt/etc/deep", "echo x > /mnt/etc/hostname", state=state)
    assert state.tree("/dev/sda2").hostname == "x"
    assert refused("mkdir /mnt/etc", state=state)[0] == 1
    assert refused("rmdir /mnt/etc", state=state)[0] == 1
    assert refused("rm /mnt/etc", state=state)[0] == 1
    state = after("rm -r /mnt/etc", state=state)
    assert vfs.exists(state, "/mnt/etc/hostname") is False
    assert state.tree("/dev/sda2").hostname == ""


def test_removing_a_mount_point_empties_it() -> None:
    """rm -rf /mnt removes every file there, and fails since the mount point stays."""
    outcome = run_command("rm -rf /mnt", after(*COPIED))
    assert outcome.status == 1
    assert outcome.state.tree("/dev/sda2").system is False
    assert [m.target for m in outcome.state.mounts][1:] == ["/mnt", "/mnt/boot"]
    assert refused("rm -rf /", *COPIED)[0] == 1


def test_writing_to_a_device_loses_what_is_on_it() -> None:
    """tee, cp and > write over a device like over a file."""
    for line in ("echo x | tee /dev/sda2", "cp /etc/hostname /dev/sda2", "echo x > /dev/sda2"):
        assert after(*FORMATTED, line).disks[0].partitions[1].signature is None


@pytest.mark.parametrize(
    ("lines", "field", "value"),
    [
        (("echo box > /mnt/etc/hostname",), "hostname", "box"),
        (("printf 'box\\n' | tee /mnt/etc/hostname",), "hostname", "box"),
        (("arch-chroot /mnt bash -c 'echo box > /etc/hostname'",), "hostname", "box"),
        (("echo a > /mnt/etc/hostname", "sed -i 's/a/b/' /mnt/etc/hostname"), "hostname", "b"),
        (("ln -sf /usr/share/zoneinfo/Asia/Tokyo /mnt/etc/localtime",), "timezone", "Asia/Tokyo"),
        (("arch-chroot /mnt ln -sf /usr/share/zoneinfo/UTC /etc/localtime",), "timezone", "UTC"),
        (("cp /usr/share/zoneinfo/Asia/Tokyo /mnt/etc/localtime",), "timezone", "Asia/Tokyo"),
        (("echo LANG=de_DE.UTF-8 > /mnt/etc/locale.conf",), "locale", "de_DE.UTF-8"),
        (("echo KEYMAP=de > /mnt/etc/vconsole.conf",), "keymap", "de"),
        (("genfstab -U /mnt >> /mnt/etc/fstab",), "fstab", ("/", "/boot")),
        (("echo 'tmpfs /tmp tmpfs defaults 0 0' > /mnt/etc/fstab",), "fstab", ("/tmp",)),
        (("systemctl --root=/mnt enable sshd",), "services", ("sshd.service",)),
        (("arch-chroot /mnt systemctl enable a.timer b", "arch-chroot /mnt systemctl disable b"),
         "services", ("a.timer",)),
        (("systemd-firstboot --root=/mnt --hostname=x --force",), "hostname", "x"),
        (("arch-chroot /mnt groupadd dev",), "groups", ("dev",)),
        (("echo root:x | arch-chroot /mnt chpasswd",), "root_password", True),
    ],
)  # fmt: skip
def test_files_of_the_target_are_its_facts(
    lines: tuple[str, ...], field: str, value: object
) -> None:
    """Configuration files below /mnt change the target's facts, and not the live system's."""
    state = after(*COPIED, *lines)
    assert getattr(state.tree("/dev/sda2"), field) == value
    assert state.live == machine().live


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("hostnamectl set-hostname box", "hostname", "box"),
        ("hostnamectl hostname box", "hostname", "box"),
        ("hostname box", "hostname", "box"),
        ("timedatectl set-timezone Europe/Prague", "timezone", "Europe/Prague"),
        ("localectl set-locale LANG=cs_CZ.UTF-8", "locale", "cs_CZ.UTF-8"),
        ("localectl set-keymap cz", "keymap", "cz"),
        ("systemctl enable --now sshd", "services", ("sshd.service",)),
    ],
)
def test_ctl_tools_change_the_live_system(line: str, field: str, value: object) -> None:
    """hostnamectl and its likes change the running system, and fail in a chroot."""
    assert getattr(after(line).live, field) == value
    if line.startswith(("hostnamectl", "timedatectl", "localectl")):
        assert refused(f"arch-chroot /mnt {line}", *COPIED)[0] == 1


def test_unknown_zones_and_names_are_refused() -> None:
    """A zone that is not there, and a name that no host can have, fail."""
    assert "did you mean Europe/Prague?" in refused("timedatectl set-timezone Europe/Pargue")[1]
    assert refused("hostnamectl set-hostname 'no blanks'")[0] == 1


def test_copying_needs_a_mounted_target() -> None:
    """A system is copied to a mounted disk that is big enough, and can then be entered."""
    assert refused("rsync -a /run/archiso/airootfs/ /mnt/")[0] == 11
    assert refused("pacstrap /mnt base")[0] == 1
    assert refused("arch-chroot /mnt passwd", *MOUNTED)[0] == 127
    assert "no space" in refused(
        "rsync -a / /mnt/", "mkfs.ext4 /dev/sda3", "mount /dev/sda3 /mnt"
    )[1]  # fmt: skip
    offline = machine(network=False)
    assert "network" in refused("pacstrap -K /mnt base", *MOUNTED, state=offline)[1]
    for line in (
        "pacstrap -K /mnt base", "rsync -aAXH / /mnt", "cp -ax / /mnt", "cp -a /* /mnt",
        "rsync -a --exclude=/dev/* --exclude=/proc/* / /mnt", "rsync -a /* /mnt",
        "cp -a /run/archiso/airootfs/* /mnt",
        "cp -a /run/archiso/airootfs/. /mnt", "debootstrap bookworm /mnt",
        "unsquashfs -f -d /mnt /run/archiso/bootmnt/arch/x86_64/airootfs.sfs",
    ):  # fmt: skip
        assert after(*MOUNTED, line).tree("/dev/sda2").system, line
    assert "directory" in refused("cp /* /mnt", *MOUNTED)[1]
    assert refused("cp -a /* /mnt")[0] == 1  # nothing is mounted there
    for line in ("cp -a /srv/* /mnt", "cp -a /e* /mnt", "rsync -a /home/*/* /mnt"):
        outcome = run_command(line, after(*MOUNTED))
        assert outcome.opaque and not outcome.state.tree("/dev/sda2").system, line
    state = after(*MOUNTED, "rsync -a /run/archiso/airootfs /mnt/")  # no slash: a directory in /mnt
    assert not state.tree("/dev/sda2").system


@pytest.mark.parametrize(("line", "wanted"), [
    ("rm -rf ann -- -x", "rm -rf /mnt/ann -- /mnt/-x"), ("rm -rf .", "rm -rf /mnt/."),
    ("rmdir a/../b", "rmdir /mnt/b"), ("rm /etc/x", "rm /etc/x"), ("unlink x", "unlink /mnt/x"),
    ("mkdir -p -m 755 a b/", "mkdir -p -m 755 /mnt/a /mnt/b/"), ("mkdir -pm755 a", "mkdir -pm755 /mnt/a"),
    ("mkdir --mode 755 a", "mkdir --mode 755 /mnt/a"), ("touch -d now a", "touch -d now /mnt/a"),
    ("cp -a a /x b", "cp -a /mnt/a /x /mnt/b"), ("cp -t d a", "cp -t /mnt/d /mnt/a"),
    ("cp -td a", "cp -t/mnt/d /mnt/a"), ("mv --target-directory=d a", "mv --target-directory=/mnt/d /mnt/a"),
    ("install -Dm644 a b", "install -Dm644 /mnt/a /mnt/b"), ("cp -a . /x", "cp -a /mnt/. /x"),
    ("ln -sf ../a b", "ln -sf ../a /mnt/b"), ("ln a b", "ln /mnt/a /mnt/b"), ("ln -s ../a", "ln -s ../a"),
    ("ln -s a -t d", "ln -s a -t /mnt/d"), ("chmod 600 a", "chmod 600 /mnt/a"),
    ("chmod -x a", "chmod -x /mnt/a"), ("chmod -R u+x a", "chmod -R u+x /mnt/a"),
    ("chown -R ann:ann a", "chown -R ann:ann /mnt/a"), ("tee -a a", "tee -a /mnt/a"), ("tee -", "tee -"),
    ("sed -i s/a/b/ f", "sed -i s/a/b/ /mnt/f"), ("sed -ie s/a/b/ f", "sed -ie s/a/b/ /mnt/f"),
    ("sed -i -e s/a/b/ f g", "sed -i -e s/a/b/ /mnt/f /mnt/g"), ("truncate -s 0 a", "truncate -s 0 /mnt/a"),
    ("mount /dev/sda1 boot", "mount /dev/sda1 /mnt/boot"),
    ("mount -t proc proc proc", "mount -t proc proc /mnt/proc"),
    ("mount --bind a b", "mount --bind /mnt/a /mnt/b"), ("mount -L root .", "mount -L root /mnt"),
    ("mount LABEL=root", "mount LABEL=root"), ("umount boot/", "umount /mnt/boot"),
    ("dd if=a of=b bs=1M", "dd if=/mnt/a of=/mnt/b bs=1M"), ("useradd ann", "useradd ann"),
])  # fmt: skip
def test_which_words_are_paths(line: str, wanted: str) -> None:
    """Operands and -t DIR; no option's value, mode, owner, script, nor what a symbolic link holds."""
    program, *words = line.split()
    assert " ".join((program, *placed(program, tuple(words), "/mnt"))) == wanted


def test_the_current_directory() -> None:
    """File tools work where `cd` went, in a chroot too; `chroot` itself starts at its root."""
    base = (*COPIED, "mkdir -p /mnt/home/ann /mnt/home/bob /home/ann")
    state = after(*base, "cd /mnt/home && rm -rf ann && touch x")
    assert vfs.is_dir(state, "/mnt/home/ann") is False and vfs.is_dir(state, "/mnt/home/bob")
    assert vfs.is_dir(state, "/home/ann") and vfs.exists(state, "/mnt/home/x")
    state = after(*base, "cd /mnt; arch-chroot /mnt sh -c 'cd home && rm -r ann'")
    assert vfs.is_dir(state, "/mnt/home/ann") is False and vfs.is_dir(state, "/home/ann")
    state = after(*base, "cd /mnt/home && chroot /mnt rm -r home/bob")
    assert vfs.is_dir(state, "/mnt/home/bob") is False
    lines = ("mkfs.vfat -F 32 /dev/sda1", "mkfs.ext4 -F /dev/sda2", "mount /dev/sda2 /mnt")
    state = after(*lines, "cd /mnt && mkdir -p boot/efi && cd boot && mount /dev/sda1 efi")
    mount = state.mounted_at("/mnt/boot/efi")
    assert mount is not None and mount.source == "/dev/sda1"
    state = after(*lines, "cd /mnt && mkdir -p boot/efi", "mount /dev/sda1 /mnt/boot/efi")
    assert state.mounted_at("/mnt/boot/efi")
    state = after("(cd /mnt && mkdir a) && mkdir /b")
    assert vfs.is_dir(state, "/mnt/a") and vfs.is_dir(state, "/b")
    state = after(
        *COPIED, "cd /mnt/etc && echo box | tee hostname > /dev/null && sed -i s/box/two/ hostname"
    )
    assert vfs.read_text(state, "/mnt/etc/hostname") == "two\n"
    assert "/srv/x" in refused("cd /srv && mkdir x && mkdir x")[1]


def test_accounts() -> None:
    """useradd, usermod, gpasswd, passwd and userdel as shadow's manual pages say."""
    chroot = "arch-chroot /mnt "
    state = after(*COPIED, chroot + "useradd -m -G wheel,audio -s /bin/zsh -c 'A B' alice")
    (user,) = state.tree("/dev/sda2").users
    assert (user.uid, user.groups, user.shell, user.comment, user.home, user.password) == (
        1000, ("audio", "wheel"), "/bin/zsh", "A B", True, False,
    )  # fmt: skip
    assert refused(chroot + "useradd alice", state=state)[0] == 9
    assert refused(chroot + "useradd -G nogrp bob", state=state)[0] == 6
    assert refused(chroot + "useradd Bob", state=state)[0] == 3
    assert refused("useradd -R /mnt -Q bob", state=state)[0] == 2
    assert refused("userdel alice", state=state)[0] == 6  # the live system has no alice
    state = after(chroot + "usermod -G video alice", state=state)
    assert state.tree("/dev/sda2").users[0].groups == ("video",)
    state = after(
        chroot + "usermod -aG wheel alice", chroot + "gpasswd -d alice video",
        chroot + "useradd -m bob", "printf 'p\\np\\n' | " + chroot + "passwd bob", state=state,
    )  # fmt: skip
    alice, bob = state.tree("/dev/sda2").users
    assert (alice.groups, bob.uid, bob.password, alice.password) == (("wheel",), 1001, True, False)
    assert refused("printf 'p\\nq\\n' | " + chroot + "passwd bob", state=state)[0] == 10
    assert refused(chroot + "usermod -a alice", state=state)[0] == 2
    state = after(chroot + "userdel -r alice", state=state)
    assert [user.name for user in state.tree("/dev/sda2").users] == ["bob"]


def test_boot_loaders_on_uefi() -> None:
    """bootctl and grub-install want the ESP mounted, of the right kind and type."""
    chroot = "arch-chroot /mnt "
    state = after(*COPIED)
    for line, loader in (
        ("bootctl install", "systemd-boot"),
        ("grub-install --target=x86_64-efi --efi-directory=/boot --bootloader-id=A", "grub-efi"),
        ("grub-install", "grub-efi"),
    ):
        assert after(chroot + line, state=state).tree("/dev/sda2").bootloader == loader
    done = after("bootctl --esp-path=/mnt/boot install", state=state)
    assert done.target_tree().bootloader_device == "/dev/sda1"
    removed = after("bootctl --esp-path=/mnt/boot remove", state=done).target_tree()
    assert (removed.bootloader, removed.bootloader_device) == ("", "")
    assert "no EFI" in refused(chroot + "bootctl --path=/efi install", state=state)[1]
    assert "BIOS boot" in refused(chroot + "grub-install --target=i386-pc /dev/sda", state=state)[1]
    state = after(chroot + "grub-install", chroot + "grub-mkconfig -o /boot/grub/grub.cfg",
                  state=state)  # fmt: skip
    assert vfs.exists(state, "/mnt/boot/grub/grub.cfg") is True


def test_boot_loaders_on_bios() -> None:
    """i386-pc wants a disk, with a gap (msdos) or a BIOS boot partition (gpt); no EFI tools."""
    state = after("parted -s /dev/sda mklabel msdos mkpart primary ext4 1MiB 100%",
                  "mkfs.ext4 -F /dev/sda1", "mount /dev/sda1 /mnt", "rsync -a / /mnt/",
                  state=machine("bios"))  # fmt: skip
    chroot = "arch-chroot /mnt "
    done = after(chroot + "grub-install --target=i386-pc /dev/sda", state=state)
    tree = done.tree("/dev/sda1")
    assert (tree.bootloader, tree.bootloader_device) == ("grub-bios", "/dev/sda")
    assert "whole disk" in refused(chroot + "grub-install /dev/sda1", state=state)[1]
    assert "no disk given" in refused(chroot + "grub-install", state=state)[1]
    assert refused(chroot + "grub-install /dev/sdz", state=state)[0] == 1
    assert "UEFI" in refused(chroot + "bootctl install", state=state)[1]
    assert refused(chroot + "efibootmgr", state=state)[0] == 2
    done = after("grub-install --boot-directory=/mnt/boot /dev/sda", state=state)
    assert done.tree("/dev/sda1").bootloader == "grub-bios"


def test_fstab_mounts_all() -> None:
    """mount -a mounts what fstab lists, and genfstab prints what is mounted."""
    state = after(*COPIED, "genfstab -L /mnt > /mnt/etc/fstab")
    text = vfs.read_text(state, "/mnt/etc/fstab")
    assert "LABEL=root\t/\text4\trw,relatime\t0 1" in text
    assert "/dev/sda1\t/boot\tvfat" in text
    state = after("mkdir -p /data", "echo '/dev/sda2 /data ext4 defaults 0 2' > /etc/fstab",
                  "mount -a", "findmnt /data", state=state)  # fmt: skip
    assert state.mounts[-1].target == "/data"


def test_power() -> None:
    """reboot and poweroff end everything, and do nothing from within a chroot."""
    state = after(*COPIED, "umount -R /mnt", "reboot")
    assert (state.status, state.mounts) == ("rebooting", ())
    assert after("shutdown -h now").status == "off"
    assert after("systemctl poweroff").status == "off"
    assert refused("arch-chroot /mnt reboot", *COPIED)[0] == 1


@pytest.mark.parametrize(
    "line",
    ["lsblk /dev/sdz", "blkid /dev/sda3x", "fdisk -l /dev/sdz", "parted /dev/sdz print",
     "smartctl -a /dev/nvme0", "cat /dev/sdz", "ls /mnt/nothing", "findmnt /media",
     "df /dev/sdz", "id nobodyhere"],
)  # fmt: skip
def test_looking_at_what_is_not_there_fails(line: str) -> None:
    """Tools that only look fail for a device or file that does not exist."""
    assert refused(line)[0] != 0


def test_option_parsing_is_getopts() -> None:
    """Clusters, attached values, --name=value, the next word, abbreviations, --, and operands."""
    options = parse("x", ("-abVAL", "one", "--name", "v", "--fl", "--", "-z"), "ab:z",
                    ("name=", "flag", "opt=?"))  # fmt: skip
    assert options.options == (("-a", ""), ("-b", "VAL"), ("--name", "v"), ("--flag", ""))
    assert options.operands == ("one", "-z")
    for words in (("-q",), ("--nope",), ("-b",), ("--name",), ("--flag=1",)):
        with pytest.raises(CommandFailed):
            parse("x", words, "ab:z", ("name=", "flag"))
