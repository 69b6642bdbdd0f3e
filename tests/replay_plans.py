"""Whole installations besides the shipped scripts: a machine, and the commands that install on it."""

from __future__ import annotations

from typing import Any


def rest(host: str, zone: str, user: str, *grub: str) -> tuple[str, ...]:
    """The commands from the copy to the boot loader."""
    return (
        "rsync -aAXHx / /mnt/",
        "genfstab -U /mnt >> /mnt/etc/fstab",
        f"echo {host} > /mnt/etc/hostname",
        f"arch-chroot /mnt ln -sf /usr/share/zoneinfo/{zone} /etc/localtime",
        f"arch-chroot /mnt useradd -m -G wheel -s /bin/bash {user}",
        f"arch-chroot /mnt passwd {user}",
        f"arch-chroot /mnt grub-install {' '.join(grub)} && "
        "arch-chroot /mnt grub-mkconfig -o /boot/grub/grub.cfg",
    )


EFI = ("--target=x86_64-efi", "--efi-directory=/boot/efi", "--bootloader-id=GRUB")
OTHERS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "swap_on_mmc": (
        {"disks": [{"name": "mmcblk0", "size": 62537072640}]},
        (
            "sgdisk -Z /dev/mmcblk0 && sgdisk -n 1:0:+1G -t 1:ef00 -n 2:0:+2G -t 2:8200"
            " -n 3:0:0 -t 3:8300 /dev/mmcblk0",
            "mkfs.fat -F32 -n EFI /dev/mmcblk0p1 && mkswap -L swap /dev/mmcblk0p2",
            "mkfs.ext4 -F -L root /dev/mmcblk0p3",
            "mount /dev/mmcblk0p3 /mnt && mount --mkdir /dev/mmcblk0p1 /mnt/boot/efi"
            " && swapon /dev/mmcblk0p2",
            *rest("nas", "UTC", "ann", *EFI),
            "arch-chroot /mnt systemctl enable NetworkManager",
            "cd / && swapoff /dev/mmcblk0p2 && umount -R /mnt && reboot",
        ),
    ),
    "btrfs_on_virtio_bios": (
        {"boot_mode": "bios", "disks": [{"name": "vda", "size": 26843545600},
                                        {"name": "vdb", "size": 53687091200}]},
        (
            "parted -s /dev/vdb mklabel msdos mkpart primary 1MiB 100% set 1 boot on",
            "mkfs.btrfs -f -L system /dev/vdb1",
            "mount /dev/vdb1 /mnt",
            *rest("pinguin", "America/Argentina/Buenos_Aires", "omar", "--target=i386-pc", "/dev/vdb"),
            "umount -R /mnt",
            "reboot",
        ),
    ),
    "another_nvme_after_all": (
        {"disks": [{"name": "nvme0n1", "size": 256060514304},
                   {"name": "nvme1n1", "size": 1000204886016}]},
        (
            "sgdisk -Z /dev/nvme0n1 && sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 -t 2:8300 /dev/nvme0n1",
            "wipefs -a /dev/nvme0n1",
            "sfdisk /dev/nvme1n1 <<< $'label: gpt\nsize=600MiB, type=uefi, name=EFI\ntype=linux'",
            "mkfs.vfat -F 32 /dev/nvme1n1p1 && mkfs.xfs -f -L root /dev/nvme1n1p2",
            "mount /dev/nvme1n1p2 /mnt\nmount --mkdir /dev/nvme1n1p1 /mnt/boot/efi",
            *rest("lab-01", "Asia/Tokyo", "yuki", *EFI),
            "umount -R /mnt && reboot",
        ),
    ),
}  # fmt: skip
