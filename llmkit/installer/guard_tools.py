"""What the guard knows of programs: which of them print, read, write, run others.

Sets of base names. A program in none of them is unknown: it may run, but every word of it that
looks like a device must be one, and none may be opaque.
"""

from __future__ import annotations

from functools import lru_cache
from posixpath import basename, dirname

SHELLS = frozenset("sh bash dash ash zsh ksh fish rbash csh tcsh mksh ".split())

# Their words are text for people: nothing is opened, nothing is run.
PRINTERS = frozenset(
    "echo printf : true false man info help whatis apropos which type whereis tldr logger "
    "wall notify-send figlet cowsay toilet dialog whiptail zenity yes seq sleep expr "
    "basename dirname shutdown exit return break continue wait kill".split()
)

# They may be handed a device, and only read it; an opaque word does no harm.
READERS = frozenset(
    "lsblk blkid findmnt df du ls dir vdir stat file cat tac nl less more head tail wc od "
    "hexdump xxd strings cmp diff md5sum sha1sum sha256sum sha512sum b2sum cksum readlink "
    "realpath test [ [[ grep egrep fgrep zgrep rg lscpu lsmem lspci lsusb lshw lsmod lsof "
    "fuser free uptime uname dmesg journalctl ps pgrep top htop id whoami groups who w "
    "last date cal env printenv pwd set sort uniq cut tr rev column fold fmt paste join "
    "comm jq base64 base32 hostid nproc smartctl findfs pvs vgs lvs pvdisplay vgdisplay "
    "lvdisplay pvscan vgscan lvscan e2freefrag dumpe2fs getfacl getfattr lsattr namei "
    "tree locale fc-list ping host dig nslookup getent lsinitcpio lsinitramfs udevadm ip "
    "ss inxi neofetch fastfetch hwinfo dmidecode acpi sensors mountpoint lslogins lsipc "
    "lsns lslocks lsfd tty stty clear reset history compgen hash jobs efivar mokutil "
    "bootlist nmcli iwctl rfkill iw".split()
)

# They change the system, but never open a device that they are handed by name.
SETTINGS = frozenset(
    "useradd adduser usermod userdel deluser groupadd addgroup groupdel groupmod gpasswd "
    "passwd chpasswd chage chsh chfn visudo newgrp hostname hostnamectl timedatectl "
    "localectl locale-gen update-locale systemctl service systemd-firstboot "
    "systemd-machine-id-setup loadkeys setfont setxkbmap hwclock pacman pacstrap "
    "pacman-key apt apt-get apt-cache apt-mark dpkg dpkg-reconfigure debootstrap dnf yum "
    "rpm zypper apk xbps-install emerge flatpak snap reflector mkinitcpio dracut "
    "update-initramfs depmod sysctl update-grub ldconfig reboot poweroff halt cd pushd "
    "popd export declare typeset local readonly unset read shift alias unalias trap umask "
    "ulimit let getopts mapfile readarray disown bg fg nohup history curl wget git "
    "ntpdate chronyd dhcpcd dhclient wpa_passphrase openssl gpg ssh-keygen mktemp "
    "mkhomedir_helper pam-auth-update ufw firewall-cmd kill killall pkill renice genfstab "
    "nano vim vi micro emacs".split()
)

# They make or mark files; harmless beneath a directory that is known.
FILE_MARKERS = frozenset("mkdir chmod chown chgrp touch rmdir setfacl chattr".split())

# They write where they are told: a device as well as a file.
FILE_WRITERS = frozenset(
    "cp mv ln install rm unlink tee truncate dd shred rsync tar cpio unzip 7z split "
    "csplit sponge mknod mkfifo fallocate scp patch".split()
)

DISK_TOOLS = frozenset(
    "sgdisk gdisk cgdisk fdisk cfdisk sfdisk parted partprobe partx addpart delpart "
    "resizepart growpart fixparts kpartx wipefs blkdiscard blockdev blkzone hdparm sdparm "
    "sg_format nvme mkfs mke2fs mkswap mkdosfs mkntfs mkexfatfs newfs swapon swapoff "
    "swaplabel mount umount fsck e2fsck dosfsck fsck.fat btrfsck xfs_repair ntfsfix "
    "resize2fs tune2fs e2label fatlabel dosfslabel mlabel ntfslabel ntfsresize exfatlabel "
    "btrfstune btrfs xfs_admin xfs_growfs xfs_db debugfs e2image cryptsetup veritysetup "
    "integritysetup luksformat pvcreate pvremove pvresize pvmove pvchange vgcreate "
    "vgextend vgreduce vgremove vgchange vgrename vgimport vgexport vgimportclone "
    "lvcreate lvremove lvextend lvreduce lvresize lvchange lvrename lvconvert dmsetup "
    "mdadm zpool zfs bcache make-bcache losetup zramctl dd ddrescue dd_rescue dcfldd "
    "dc3dd badblocks shred scrub nwipe partclone partimage fsarchiver testdisk photorec "
    "grub-install grub2-install grub-bios-setup grub-setup extlinux syslinux lilo "
    "install-mbr ms-sys efibootmgr bootctl refind-install lsblk blkid findmnt smartctl "
    "udevadm eject cdrecord wodim growisofs udisksctl gio pmount pumount multipath "
    "iscsiadm tgtadm systemd-cryptenroll systemd-repart systemd-mount clevis f2fslabel "
    "nilfs-tune".split()
)

# They run their own words (or standard input) as a command; each is looked into again.
RUNNERS = frozenset(
    "watch script su runuser sg flock unshare nsenter systemd-run strace ltrace chrt "
    "taskset setpriv unbuffer faketime pkexec run0 gosu fakeroot dbus-run-session numactl "
    "choom prlimit start-stop-daemon logsave chronic entr xvfb-run xterm tmux screen "
    "busybox toybox systemd-nspawn ionice nice time timeout stdbuf setsid nohup sudo doas "
    "env xargs chroot arch-chroot command exec builtin daemonize parallel coproc lvm ssh "
    "rsh systemd-inhibit linux32 linux64 setarch torsocks proxychains valgrind".split()
)

# What they run is written in another language, comes from elsewhere or is started later.
INTERPRETERS = frozenset(
    "python perl ruby node nodejs deno bun lua luajit php tclsh expect wish osascript "
    "pwsh guile scheme racket ghci runghc julia rscript octave java jshell scala groovy "
    "gdb lldb ed ex at batch crontab make gmake ninja ansible ansible-playbook docker "
    "podman nix nix-shell guix sqlite3 go cargo npm npx m4 bpftrace stap fc nawk original-awk dc "
    "gnuplot ipython mysql psql tcpdump micropython sbcl erl elixir swipl gforth".split()
)

NETWORK = frozenset("nc ncat netcat socat telnet ftp lftp sftp mosh".split())
DOWNLOADERS = frozenset(
    "curl wget aria2c nc ncat netcat socat ftp lftp sftp scp fetch lynx http https axel "
    "telnet git".split()
)
SENDERS = DOWNLOADERS | frozenset("ssh rsync mail mailx mutt sendmail rclone tftp".split())

TEXT_FILTERS = frozenset(  # what they read on standard input is text, and stays text
    "cat tac nl less more head tail wc grep egrep fgrep zgrep rg sed awk gawk mawk sort "
    "uniq cut tr rev column fold fmt paste join comm tee base64 base32 xxd od hexdump "
    "md5sum sha256sum jq chpasswd passwd logger wall cowsay figlet dialog whiptail true "
    "false : echo printf gzip xz zstd bzip2 read mapfile readarray iconv cryptsetup test "
    "[".split()
)

_PROGRAM_FOLDERS = frozenset(
    "/bin /sbin /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin /usr/libexec /usr/lib".split()
)


@lru_cache(maxsize=512)
def base_name(program: str) -> str:
    """The name that the tables use: "python3.11" → "python", "/sbin/mkfs.ext4" → "mkfs.ext4"."""
    name = basename(program)
    if name.startswith(("python", "pypy")):
        return "python"
    if name.startswith(("perl5", "ruby2", "ruby3", "lua5", "php8", "tclsh8")):
        return name.rstrip("0123456789.")
    return name


@lru_cache(maxsize=512)
def is_disk_tool(name: str) -> bool:
    return name in DISK_TOOLS or name.startswith(("mkfs.", "fsck.", "mount.", "partclone."))


@lru_cache(maxsize=512)
def is_known(name: str) -> bool:
    """Whether some table names this program."""
    return (
        is_disk_tool(name)
        or name in PRINTERS
        or name in READERS
        or name in SETTINGS
        or name in FILE_MARKERS
        or name in FILE_WRITERS
        or name in RUNNERS
        or name in INTERPRETERS
        or name in SHELLS
    )


def is_installed_path(program: str) -> bool:
    """Whether a program named with a slash lies where distributions put programs."""
    folder = dirname(program)
    return any(folder == known or folder.startswith(known + "/") for known in _PROGRAM_FOLDERS)
