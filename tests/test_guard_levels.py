"""The guard's danger levels, held on both sides: what only looks, what changes, what is lost."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.installer.guard import judge
from llmkit.installer.state import SystemState

_DATA = json.loads((Path(__file__).parent / "data" / "guard_states.json").read_text())
TWO = SystemState.from_dict(_DATA["two"])
TARGET = SystemState.from_dict(_DATA["target"])  # its root was made here, its EFI partition was not
RUNNING = SystemState.from_dict(_DATA["running"])  # installed: / is on a disk
OLD = SystemState.from_dict(  # the same, with systems and data of before
    {
        **_DATA["target"],
        "trees": {},
        "mounts": [
            *_DATA["target"]["mounts"],
            {"source": "/dev/sda1", "target": "/media/data", "fstype": "ext4"},
        ],
    }
)
LEVELS = ("read", "change", "destructive", "forbidden")


def level(line: str, state: SystemState) -> str:
    verdict = judge(line, state)
    assert verdict.allowed, verdict.reason
    return verdict.danger


# -- looking up a program -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["command -v mkfs.ext4", "command -V mkfs.ext4", "command -pv mkfs.ext4", "command -v -- mkfs.ext4",
     "command -v mkfs.ext4 rm dd", "builtin command -v wipefs", "sudo command -v sgdisk",
     "env command -v mkfs.ext4", "command -v $tool", "type mkfs.ext4", "type -a rm", "which mkfs.ext4",
     "hash mkfs.ext4", "whereis wipefs", "if command -v wipefs >/dev/null; then lsblk; fi",
     "sh -c 'command -v mkfs.ext4'", "command", "command -p", "gdisk -l /dev/sda",
     "ntfsresize --info /dev/sda3"],
)  # fmt: skip
def test_looking_up_a_program_only_looks(line: str) -> None:
    """Nothing of the program runs."""
    assert level(line, TWO) == "read"


@pytest.mark.parametrize(
    "line",
    ["command mkfs.ext4 /dev/sda1", "command -p mkfs.ext4 /dev/sda1", "command -- mkfs.ext4 /dev/sda1",
     "command -p -- mkfs.ext4 /dev/sda1", "command command mkfs.ext4 /dev/sda1",
     "command -v mkfs.ext4 && mkfs.ext4 /dev/sda1", "command -v x || mkfs.ext4 /dev/sda1",
     'command -v "$(mkfs.ext4 /dev/sda1)"', "command() { mkfs.ext4 /dev/sda1; }; command -v x",
     "command -- -v mkfs.ext4 /dev/sda1", "type x || mkfs.ext4 /dev/sda1"],
)  # fmt: skip
def test_running_it_by_command_is_running_it(line: str) -> None:
    """`command` without -v or -V runs its words."""
    assert level(line, TWO) == "destructive"


@pytest.mark.parametrize("line", ["command mkfs.ext4 /dev/sdz", "command -p -- wipefs -a /dev/sdz",
                                  "hash -p /tmp/x ls", "command -v x; mkfs.ext4 /dev/sdz"])  # fmt: skip
def test_command_hides_nothing(line: str) -> None:
    """An absent device behind `command` is refused, as is a program put in another's place."""
    assert not judge(line, TWO).allowed


# -- files of a system that was there before ----------------------------------------------------

LOST_OF_OLD = (
    "truncate -s 0 /mnt/etc/fstab", "truncate -s0 /mnt/etc/fstab", "truncate --size=0 /mnt/etc/fstab",
    "truncate -s -1M /mnt/srv/db", ": > /mnt/etc/fstab", "> /mnt/etc/fstab", "true >| /mnt/etc/fstab",
    "cat /dev/null > /mnt/etc/fstab", "echo -n > /mnt/etc/fstab", "printf '' > /mnt/etc/fstab",
    "cp /dev/null /mnt/etc/fstab", "install -m 600 /dev/null /mnt/etc/shadow",
    "dd if=/dev/null of=/mnt/etc/fstab", ": | tee /mnt/etc/fstab", "cd /mnt/etc && : > fstab",
    "arch-chroot /mnt sh -c ': > /etc/fstab'", "echo x > /mnt/etc/passwd", "mv /tmp/x /mnt/etc/passwd",
    "mv /tmp/passwd /mnt/etc/", "cp /tmp/group /mnt/etc/group", "sort -o /mnt/etc/passwd /tmp/p",
    "echo x > /mnt/home/ann/thesis.odt", "mv /tmp/x.odt /mnt/home/ann/thesis.odt",
    "cp /tmp/x.odt /mnt/home/ann/thesis.odt", "rm /mnt/etc/passwd", "rm /mnt/boot/vmlinuz",
    "ln -sf /tmp/x /mnt/etc/shadow", "ln -snf /tmp/x /mnt/home/ann/thesis.odt", "ln -f /tmp/passwd /mnt/etc/",
    "arch-chroot /mnt ln -sf /tmp/x /etc/shadow", "wget -O /mnt/etc/shadow http://h/x",
    "wget -qO/mnt/etc/shadow http://h/x", "wget --output-document=/mnt/etc/passwd http://h/x",
    "cd /mnt/etc && curl -fsSLo passwd http://h/x", "curl --output /mnt/home/ann/a.odt http://h/x",
    "sed -i d /mnt/etc/passwd", "sed -i '1,$d' /mnt/etc/fstab", "sed -i -e '/.*/d' /mnt/etc/fstab",
    "cd /mnt && sed -i d etc/fstab", "mv /mnt/home/ann/thesis.odt /dev/null",
    "cd /mnt/home/ann && mv -f thesis.odt /dev/null",
    "rm /mnt/boot/*", "rm -f /mnt/boot/efi/EFI/BOOT/BOOTX64.EFI", "rm /mnt/home/ann/thesis.odt",
    "unlink /mnt/home/ann/thesis.odt", "rm /mnt/etc/*", "rm /media/data/*.jpg", "rm /media/data/a.jpg",
)  # fmt: skip
STEPS = (  # what installing, and mending, is made of
    "truncate -s +1G /mnt/var/lib/x", "truncate -s 4G /mnt/srv/image", "truncate -s 0 /mnt/swapfile",
    "echo box > /mnt/etc/hostname",
    "genfstab -U /mnt > /mnt/etc/fstab", "genfstab -U /mnt >> /mnt/etc/fstab", ": >> /mnt/etc/fstab",
    ": > /mnt/var/log/syslog", ": > /tmp/x", "echo x >> /mnt/etc/passwd", "mv -n /tmp/x /mnt/etc/passwd",
    "cp --backup /tmp/x /mnt/etc/passwd", "mv /mnt/etc/fstab /mnt/etc/fstab.bak",
    "cp -r /etc/skel/. /mnt/home/ann", "cp /tmp/thesis.odt /mnt/home/ann/", "cp a.jpg /media/data/a.jpg",
    "cp /usr/lib/x.efi /mnt/boot/efi/EFI/BOOT/BOOTX64.EFI", "cp /etc/resolv.conf /mnt/etc/resolv.conf",
    "rm /mnt/etc/hostname", "rm /mnt/home/ann/.bash_history", "rm /mnt/var/cache/*", "rm /mnt/swapfile",
    "rm /mnt/etc/*.bak", "ln -sf /usr/share/zoneinfo/UTC /mnt/etc/localtime", "sed -i s/a/b/ /mnt/etc/fstab",
    "ln -s /tmp/x /mnt/etc/shadow", "ln -sfb /tmp/x /mnt/etc/shadow",
    "ln -sfn ../run/systemd/resolve/stub-resolv.conf /mnt/etc/resolv.conf",
    "ln -sf /dev/null /mnt/etc/systemd/system/x.service", "wget -O /mnt/root/x.deb http://h/x",
    "wget -qO- http://h/x", "curl -fsSL http://h/x -o /mnt/etc/apt/keyrings/x.asc", "curl -O http://h/passwd",
    "sed -i.bak d /mnt/etc/passwd", "sed -i 3d /mnt/etc/fstab", "sed -i /swap/d /mnt/etc/fstab",
    "sed -i '$d' /mnt/etc/fstab", "mv /mnt/etc/hostname /tmp/", "mv /mnt/etc/hostname /dev/null",
    "tar czf /tmp/x.tgz /mnt/home", "zip -r /tmp/x.zip /mnt/home",
    "ls 2> /mnt/etc/x", "{ echo a; } > /mnt/etc/motd", "> x.txt", "install -Dm644 /tmp/x /mnt/etc/x.conf",
)  # fmt: skip


@pytest.mark.parametrize("line", LOST_OF_OLD)
def test_a_file_of_before_that_is_lost_is_a_loss(line: str) -> None:
    """Emptied, or deleted or replaced where somebody would miss it."""
    assert level(line, OLD) == "destructive"


@pytest.mark.parametrize(
    "line", [x for x in LOST_OF_OLD if "/boot/efi" not in x and "/media/" not in x]
)
def test_the_same_in_a_system_made_here_is_a_change(line: str) -> None:
    """What the conversation made can be made again."""
    made = {**_DATA["target"], "trees": {"/dev/nvme0n1p2": {"system": True}}}
    assert level(line, SystemState.from_dict(made)) == "change"


@pytest.mark.parametrize("line", STEPS)
def test_a_step_of_an_installation_is_a_change(line: str) -> None:
    """Writing a setting, adding to a file, keeping a copy: nothing to ask about, old system or new."""
    assert level(line, OLD) == level(line, TARGET) == "change"


@pytest.mark.parametrize(("line", "wanted"), [
    ("fallocate -l 2G /mnt/swapfile && chmod 600 /mnt/swapfile && mkswap /mnt/swapfile", "change"),
    ("cd /mnt && mkswap ./swapfile", "change"), ("arch-chroot /mnt mkswap /swapfile", "change"),
    ("mkswap /mnt/home/ann/thesis.odt", "destructive"), ("mkswap /mnt/srv/db", "destructive"),
    ("arch-chroot /mnt mkswap /srv/db", "destructive"), ("mkswap $file", "refused"),
    ("mkswap /dev/nvme0n1p1", "destructive"), ("cd /dev && mkswap ./nvme0n1p1", "destructive"),
    ("mkswap /mnt/swapfile /dev/nvme0n1p1", "destructive"),
])  # fmt: skip
def test_a_new_swap_file_loses_nothing(line: str, wanted: str) -> None:
    """It does where the file or the partition was there before."""
    verdict = judge(line, OLD)
    assert (verdict.danger if verdict.allowed else "refused") == wanted, verdict.reason


@pytest.mark.parametrize(("line", "missing"), [
    ("grub-install '(hd7)'", ("(hd7)",)),
    ("grub-install --boot-directory=/mnt/boot '(hd7,gpt1)'", ("(hd7,gpt1)",)),
    ("grub-bios-setup hd7", ("hd7",)), ("grub-install '(hd0)'", ()),
    ("partx -d --nr 7 /dev/sda", ("/dev/sda7",)), ("partx -d --nr=7 /dev/sda", ("/dev/sda7",)),
    ("partx -un7 /dev/sda", ("/dev/sda7",)), ("partx -d --nr 1 /dev/sda", ()), ("partx -u /dev/sda", ()),
    ("partx -d --nr 1:3 /dev/sda", ()),
])  # fmt: skip
def test_disks_and_partitions_by_number(line: str, missing: tuple[str, ...]) -> None:
    """By GRUB's name, by partx's option."""
    assert judge(line, TARGET).missing == missing


@pytest.mark.parametrize(("line", "allowed"), [
    ("printf 'UUID=%s / ext4 defaults 0 1\\n' \"$(blkid -s UUID -o value /dev/nvme0n1p2)\" "
     "> /mnt/etc/fstab", True),
    ("printf 'UUID=%s / ext4\\n/dev/sdz1 /home ext4\\n' \"$(blkid -s UUID -o value /dev/nvme0n1p2)\" "
     "> /mnt/etc/fstab", False),
    ("printf 'UUID=%s / ext4\\n' \"$(blkid -s UUID -o value /dev/sdz1)\" > /mnt/etc/fstab", False),
    ("printf 'UUID=%s / ext4\\n' 1234-dead > /mnt/etc/fstab", False),
    ("echo 'UUID=%s / ext4' > /mnt/etc/fstab", False),
])  # fmt: skip
def test_a_place_in_printfs_format_is_no_name(line: str, allowed: bool) -> None:
    """What a command prints comes there; a name beside it must still be there."""
    assert judge(line, TARGET).allowed == allowed


@pytest.mark.parametrize(("line", "wanted"), [
    (": > /etc/fstab", "destructive"), ("rm /home/ann/thesis.odt", "destructive"),
    ("rm /boot/vmlinuz", "destructive"), ("echo x > /etc/hostname", "change"),
    (": > /var/log/syslog", "change"), (": > /tmp/x", "change"), ("lsblk > /root/disks.txt", "change"),
])  # fmt: skip
def test_an_installed_system_is_one_that_was_there(line: str, wanted: str) -> None:
    """/ on a disk holds what was there before; a live system's / is memory."""
    assert level(line, RUNNING) == wanted
    assert level(line, TWO) == "change"


@pytest.mark.parametrize(("line", "wanted"), [
    ("rm -rf /mnt/var/*", "destructive"), ("find /mnt/home -name '*.odt' -delete", "destructive"),
    ("find /mnt/home -exec rm -rf {} +", "destructive"),
    ("find /mnt/var -type f -exec shred {} ;", "destructive"),
    ("find /mnt -delete", "forbidden"), ("find -L /mnt -delete", "forbidden"),
    ("find -O3 -H /mnt -type f -delete", "forbidden"), ("find /mnt -name '*' -delete", "forbidden"),
    ("find /media/data -mindepth 1 -delete", "forbidden"), ("rm -rf /mnt/?*", "forbidden"),
    ("rm -rf /mnt/[a-z]*", "forbidden"), ("rm -rf /mnt/*/*", "forbidden"),
    ("rm -rf /sys/firmware/efi/efivars", "forbidden"), ("mv /mnt/* /tmp", "forbidden"),
    ("chmod -R 0 /mnt/*", "forbidden"), ("rm -rf /mnt/e*", "destructive"),
    ("rsync -a --del /x/ /mnt/home/", "destructive"),
    ("rsync -a --remove-source-files /mnt/home/ /x/", "destructive"),
    ("tar czf /tmp/x.tgz --remove-files /mnt/home", "destructive"),
    ("zip -rm /tmp/x.zip /mnt/home", "destructive"), ("zip --move /tmp/x.zip /mnt/a", "destructive"),
    ("rsync -a /mnt/home/ /x/", "change"), ("find /mnt/home -name x -exec ls {} +", "change"),
    ("find /mnt/home -name x", "read"),
])  # fmt: skip
def test_many_files(line: str, wanted: str) -> None:
    """By patterns, by find, by rsync."""
    assert level(line.replace(" ;", r" \;"), OLD) == wanted


# -- devices that are written by other ways than the usual ---------------------------------------


@pytest.mark.parametrize(
    "line",
    ["cp x /dev/sda", "cp /tmp/sda /dev/", "cp -t /dev /tmp/sda", "mv x /dev/sda", "install x /dev/sda",
     "ln -sf /tmp/x /dev/sda", "truncate -s 0 /dev/sda", "sort -o /dev/sda x", "sort -uo/dev/sda x",
     "uniq x /dev/sda", "xxd -r x /dev/sda", "tree -o /dev/sda", "history -w /dev/sda", "less -O/dev/sda x",
     "find /etc -fprint /dev/sda", "find /etc -fls /dev/sda", "sed -n 'w /dev/sda' x",
     "sed -i s/a/b/ /dev/sda",
     "sed 's/a/b/w /dev/sda' x", "curl -o /dev/sda http://x", "wget -O/dev/sda http://x",
     "tar cf /dev/sda /home", "openssl enc -in x -out /dev/sda", "gpg -o /dev/sda -d x", "rsync x /dev/sda",
     "scp h:x /dev/sda", "qemu-img convert x /dev/sda", "sg_dd if=x of=/dev/sda", "wipe /dev/sda",
     "ntfsclone --overwrite /dev/sda3 x", "xfs_copy /dev/sda2 /dev/sda3", "dc3dd if=x of=/dev/sda",
     "partclone.ext4 -r -s x -o /dev/sda2", "partclone.dd -s x -O /dev/sda2",
     "e2image -ra /dev/sda2 /dev/sda3",
     "fsarchiver restfs x id=0,dest=/dev/sda2", "vgcreate vg /dev/sda2", "btrfs device add /dev/sda3 /mnt",
     "zpool add tank /dev/sda2", "echo 1 > /sys/bus/pci/devices/0000:00:17.0/remove",
     "nvme format /dev/nvme0",
     "systemd-repart --empty=force /dev/sda", "integritysetup format /dev/sda2", "frobnicate /dev/sda"],
)  # fmt: skip
def test_whatever_writes_to_a_device_destroys(line: str) -> None:
    """By an option, by a folder's name, by a program that nobody knows."""
    assert level(line, TWO) == "destructive"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("badblocks -wsv /dev/sda", "destructive"), ("badblocks -nsv /dev/sda", "destructive"),
     ("badblocks -b 4096 -sw /dev/sda", "destructive"), ("badblocks -sv /dev/sda", "read"),
     ("sgdisk -pZ /dev/sda", "destructive"), ("sgdisk -pd3 /dev/sda", "destructive"),
     ("sgdisk -pv /dev/sda", "read"), ("sgdisk -pi 1 /dev/sda", "read"), ("sgdisk -i 1 /dev/sda", "read"),
     ("wipefs --al /dev/sda", "destructive"), ("wipefs -fa /dev/sda", "destructive"),
     ("wipefs /dev/sda", "read"),
     ("parted -s /dev/sda unit s mkl gpt", "destructive"),
     ("parted -s /dev/sda print resizep 1 9GB", "destructive"),
     ("parted -s /dev/sda unit MiB print", "read"), ("parted /dev/sda unit s mkp a 1 2", "change"),
     ("sfdisk -l --delete /dev/sda 1", "destructive"), ("sfdisk -l /dev/sda", "read"),
     ("mdadm --zero-sup /dev/sda2", "destructive"), ("mdadm -E /dev/sda2", "read"),
     ("btrfs sub del /mnt/x", "destructive"), ("btrfs sub list /mnt", "read"),
     ("btrfs subvolume create /mnt/x", "change"), ("resize2fs /dev/sda2 5g", "destructive"),
     ("resize2fs -pM /dev/sda2", "destructive"), ("resize2fs /dev/sda2", "change"),
     ("printf 'delete\\n1\\nwrite\\n' | fdisk /dev/sda", "destructive"),
     ("printf 'n\\n4\\n\\n\\nw\\n' | fdisk /dev/sda", "change"),
     ("printf 'p\\nq\\n' | fdisk /dev/sda", "read")],
)  # fmt: skip
def test_options_joined_or_cut_short(line: str, wanted: str) -> None:
    """As popt, getopt_long, parted, btrfs and fdisk read them."""
    assert level(line, TWO) == wanted


def test_a_partition_named_by_a_joined_option_must_exist() -> None:
    """sgdisk -pd7 is -p -d 7."""
    for line in ("sgdisk -pd 7 /dev/sda", "sgdisk -pd7 /dev/sda", "sgdisk -pi7 /dev/sda"):
        assert judge(line, TWO).missing == ("/dev/sda7",)
    assert judge("sgdisk -pd3 /dev/sda", TWO).allowed


# -- other names for a device, and other ways to run ---------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["ln -s /dev/sda /tmp/x; dd if=/dev/zero of=/tmp/x", "ln /dev/sda /tmp/x && cat y > /tmp/x",
     "cp -a /dev/sda /tmp/x; wipefs -a /tmp/x", "mv /dev/sda /tmp/x; cat y > /tmp/x",
     "mount --bind /dev /tmp/d; cat x > /tmp/d/sda", "mount -o bind /dev /tmp/d; wipefs -a /tmp/d/sda",
     "mount -t devtmpfs none /tmp/d && wipefs -a /tmp/d/sda", "ln -s /dev /tmp/d; wipefs -a /tmp/d/sda",
     "ln -sf /dev/nvme0n1 /dev/sda; mkfs.ext4 /dev/sda", "cd /dev && shred sd*", "cd /dev; rm sd?",
     r"find -L /dev -name 'sd*' -exec wipefs -a {} \;", "find -H /dev -exec wipefs -a {} +",
     "find -files0-from /tmp/l -exec wipefs -a {} +", "cd / && find -delete"],
)  # fmt: skip
def test_a_device_by_another_name_is_refused(line: str) -> None:
    """What a link, a copied node, another mount of /dev or find stands for cannot be told."""
    assert not judge(line, TWO).allowed


@pytest.mark.parametrize(
    "line",
    ["mount --rbind /dev /mnt/dev && chroot /mnt ls /dev", "mount --bind /mnt/home /home; ls /home",
     "for d in dev proc sys; do mount --rbind /$d /mnt/$d; done; chroot /mnt ls",
     "ln -sf /dev/null /etc/systemd/system/x.service; cat /etc/systemd/system/x.service",
     "ln -s /dev/sda /tmp/x; rm /tmp/x"],
)  # fmt: skip
def test_usual_links_and_mounts_are_not(line: str) -> None:
    """A chroot's /dev, a masked unit, a link that is taken away again."""
    assert judge(line, TARGET).allowed


@pytest.mark.parametrize(
    "line",
    ["parallel 'wipefs -a /dev/{}' ::: sdz", "echo sdz | parallel wipefs -a /dev/{}",
     "bash --rcfile /tmp/x -ic lsblk", "nawk 'BEGIN{system(\"x\")}'", "dc -e '!x'", "rpm -E '%(x)'",
     "tar xf a.tar --to-comm=x", "rsync -ae 'x' a b:c", "PS1='$(x)'", "scp -S x a b:c",
     "env 'BASH_FUNC_lsblk%%=() { x; }' bash -c lsblk", "LD_PRELOAD=/tmp/x.so bash -c lsblk",
     "env LD_PRELOAD=/tmp/x.so sh -c lsblk", "PATH=/tmp eval lsblk", "f() { lsblk; }; PATH=/tmp f",
     "env -S 'mkfs.ext4 /dev/sdz'", "env -S'A=1 mkfs.ext4' /dev/sdz", "env -S '$x'"],
)  # fmt: skip
def test_what_runs_unseen_is_refused(line: str) -> None:
    """Programs that run others by an option, by standard input, by a variable."""
    assert not judge(line, TARGET).allowed


# -- every branch counts ---------------------------------------------------------------------------

BRANCHES = """
a || {l}
true || {l}
false || {l}
a || b || {l}
a && b || {l}
a || b && {l}
! a || {l}
{{ a || {l}; }}
( exit 1 ) || {l}
[ -e /x ] || {l}
[[ -e /x ]] || {l}
(( 1 )) || {l}
if a; then {l}; fi
if false; then {l}; fi
if true; then a; else {l}; fi
if true; then a; elif b; then {l}; fi
if {l}; then a; fi
if true; then a; elif {l}; then b; fi
case x in y) {l};; esac
case x in x) a;; *) {l};; esac
case x in x) a;& y) {l};; esac
case $1 in a) {l};; *) b;; esac
f() {{ {l}; }}
f() {{ a || {l}; }}; f || b
f() {{ return 0; {l}; }}; f
x=$({l})
echo `{l}`
a $(b || {l})
: ${{x:-$({l})}}
a > $({l})
a <<< "$({l})"
declare x=$({l})
a | {l}
{l} | a
a | (b || {l})
{l} & wait
exit; {l}
exit 0 || {l}
set -e; false; {l}
while a; do {l}; done
until a; do {l}; done
while true; do break; {l}; done
for i in $x; do a || {l}; done
sh -c {q}
bash -ec {q}
sh -c 'a || '{q}
bash -c "if false; then {l}; fi"
eval {q}
eval a '||' {q}
echo x | xargs -I% {l}
xargs {l}
xargs -a list {l}
xargs sh -c {q}
find /etc -name x -exec {l} \\;
find /etc -exec sh -c {q} \\;
find /etc -execdir {l} +
watch {q}
watch -n 5 {l}
timeout 5 {l}
timeout -k 1 5 sh -c {q}
env -S {q}
env --split-string={q}
env -iS {q}
env A.B=1 {l}
sudo A.B=1 {l}
nice -n 5 {l}
su -c {q}
su root -c {q}
runuser -c {q}
runuser -u root -- {l}
ssh host {q}
ssh date {q}
ssh -p 22 root@box {l}
trap {q} EXIT
trap -- {q} 0
alias x={q}
command {l}
exec {l}
flock /tmp/l -c {q}
script -qc {q} /dev/null
systemd-run --wait {l}
nsenter -t 1 -m {l}
tmux new -d {q}
cpulimit -l 5 {l}
nobody-knows --x {q}
nobody-knows bash -c {q}
busybox {l}
bash <<'E'⏎{l}⏎E
cat <<E⏎$({l})⏎E
echo {q} | sudo sh
tee >({l}) < x
""".strip().splitlines()
WORST = {
    "mkfs.ext4 /dev/nvme0n1p2": "destructive", "rm -rf /mnt/home/old": "destructive",
    "badblocks -wsv /dev/sda": "destructive", "rm -rf /": "forbidden", "wipefs -a /dev/sdb": "forbidden",
}  # fmt: skip


def around(template: str, line: str) -> str:
    return template.format(l=line, q=shlex.quote(line)).replace("⏎", "\n")


@pytest.mark.parametrize("template", BRANCHES)
def test_a_line_is_as_dangerous_as_its_worst_branch(template: str) -> None:
    """Whether it is taken or not; and an absent device there is refused."""
    for line, wanted in WORST.items():
        found = judge(around(template, line), TARGET).danger
        assert LEVELS.index(found) >= LEVELS.index(wanted), line
    absent = judge(around(template, "mkfs.ext4 /dev/sdz1"), TARGET)
    assert not absent.allowed and absent.danger in ("destructive", "forbidden")


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.sampled_from([t for t in BRANCHES if "⏎" not in t]), min_size=2, max_size=3),
       st.sampled_from(sorted(WORST)))  # fmt: skip
def test_branches_within_branches(templates: list[str], line: str) -> None:
    """Wrapped twice or three times, a line loses nothing of its danger, or is refused."""
    wanted = WORST[line]
    for template in templates:
        line = around(template, line)
    found = judge(line, TARGET)
    assert LEVELS.index(found.danger) >= LEVELS.index(wanted) or not found.allowed
    assert found.danger in ("destructive", "forbidden")


@pytest.mark.parametrize(
    "line",
    ["test -v 'a[$(x)]'", "x='a[$(y)]'; (( x ))", "x='a[`y`]'; [[ $x -eq 1 ]]",
     "x='a[$(y)]'; echo $((x))",
     "printf -v 'a[$(y)]' x", "read 'a[$(y)]' <<< x", "unset 'a[$(y)]'", "let 'a[$(y)]=1'",
     "x='$(y)'; echo ${x@P}", "fc -s", "history -s x; fc -e sh"],
)  # fmt: skip
def test_text_that_the_shell_evaluates_is_refused(line: str) -> None:
    """Subscripts in arithmetic, prompts, the history: shell text that stands in no command's place."""
    assert not judge(line, TWO).allowed


@pytest.mark.parametrize(
    "line",
    ["exec 3</dev/sda; cat x > /dev/fd/3", "exec 3</dev/sda; wipefs -a /proc/self/fd/3",
     "{ dd of=/dev/fd/4; } 4< /dev/sda < x", "wget -P /dev http://h/sda", "wget -P/dev http://h/sda",
     "curl -O --output-dir /dev http://h/sda", "wget --directory-prefix=/dev http://h/sda",
     "git -C /dev init"],
)  # fmt: skip
def test_a_device_behind_a_number_or_an_address_is_refused(line: str) -> None:
    """A descriptor that was opened for reading can be opened again; an address may end in a name."""
    assert not judge(line, TWO).allowed


@pytest.mark.parametrize("line", ["cp -t /dev x", "cp -t/dev x", "install --target-directory=/dev x",
                                  "mv --target-directory /dev x", "cp x /dev"])  # fmt: skip
def test_a_new_name_below_dev_is_missing(line: str) -> None:
    """However the folder is given."""
    assert judge(line, TWO).missing == ("/dev/x",)


@pytest.mark.parametrize(
    "line",
    ["echo 'a[$(x)]'", "exec 3< /etc/fstab; cat /dev/fd/3", "echo ${x@Q}", "a[1]=2; echo ok",
     "cat < /dev/sda > /dev/null", "[[ $a == [ab] ]]",
     "mount -o subvol=@ /dev/sda2 /mnt && mount -o subvol=@home /dev/sda2 /mnt/home && ls /mnt"],
)  # fmt: skip
def test_what_only_looks_like_it_is_not(line: str) -> None:
    """Printed text, a file's descriptor, a device that is read, a character class."""
    assert judge(line, TWO).allowed


@pytest.mark.parametrize(
    "program",
    ["tar", "dd", "cp", "mv", "rm", "find", "sed", "tee", "truncate", "rsync",
     "install", "ln", "sort", "xxd", "curl", "scp", "mount", "ssh", "nobody"],
)  # fmt: skip
def test_a_program_without_words_is_judged(program: str) -> None:
    """Nothing is taken for granted of how many words there are; `judge` has no safety net."""
    assert judge(program, TWO).danger in ("read", "change", "destructive")
