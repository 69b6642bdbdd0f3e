"""The coverage report: how turns are labelled, what is counted, which cells can occur."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from augment_support import CORPUS, config, corpus

from llmkit.augment import augment
from llmkit.augment_coverage import Labeller, place_of, report, section
from llmkit.augment_plan import plan
from llmkit.augment_run import FILES
from llmkit.domain import Moment, get_domain
from llmkit.installer.coverage import COMMANDS, coverage, of_command, of_text
from llmkit.records import load_conversations, read_jsonl
from llmkit.split import TRAIN

ONE = [{"name": "sda", "size": 1 << 38, "transport": "sata"}]
TWO = [{"name": "nvme0n1", "size": 1 << 38, "transport": "nvme"}, *ONE]
PARTED = [{**ONE[0], "table": "msdos", "partitions": [{"number": 1, "start": 0, "size": 9}]}]


def moment(
    said: str | Sequence[str] = "go",
    text: str = "",
    command: str = "",
    disks: Sequence[dict[str, Any]] = ONE,
    categories: tuple[str, ...] = (),
    **state: Any,
) -> Moment:
    answer = (
        {"type": "command", "command": command} if command else {"type": "text", "response": text}
    )
    words = (said,) if isinstance(said, str) else tuple(said)
    return Moment(
        {"disks": list(disks), **state}, words, answer, categories, {"target": "/dev/sda"}
    )


@pytest.mark.parametrize(
    ("command", "intents"),
    [
        ("sgdisk -Z /dev/sda && sgdisk -n 1:0:0 -t 1:8300 /dev/sda", ("partition",)),
        ("parted -s /dev/sda mklabel msdos mkpart primary 1MiB 100%", ("partition",)),
        ("parted -s /dev/sda print", ("show",)),
        ("sgdisk -p /dev/sda", ("show",)),
        ("sgdisk -n 1:0:0 -p /dev/sda", ("partition",)),
        ("wipefs -n /dev/sda", ("show",)),
        ("mkfs.fat -F32 /dev/sda1 && mkfs.xfs -f /dev/sda2", ("format",)),
        ("mount /dev/sda2 /mnt && mkdir -p /mnt/boot && mount /dev/sda1 /mnt/boot", ("mount",)),
        ("mount", ("show",)),
        ("mount -a", ("mount",)),
        ("umount -R /mnt && reboot", ("unmount", "reboot")),
        ("rsync -aAXHx / /mnt/", ("copy",)),
        ("genfstab -U /mnt >> /mnt/etc/fstab", ("fstab",)),
        ("arch-chroot /mnt grub-mkconfig -o /boot/grub/grub.cfg", ("bootloader",)),
        ("bootctl status", ("show",)),
        ("arch-chroot /mnt useradd -m eva && arch-chroot /mnt passwd eva", ("user", "password")),
        ("echo box > /mnt/etc/hostname", ("hostname",)),
        ("hostnamectl", ("show",)),
        ("arch-chroot /mnt ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime", ("timezone",)),
        ("timedatectl set-timezone Asia/Tokyo", ("timezone",)),
        ("timedatectl list-timezones", ("show",)),
        ("arch-chroot /mnt sh -c 'locale-gen; echo KEYMAP=de > /etc/vconsole.conf'",
         ("locale", "keymap")),
        ("localectl set-keymap de", ("keymap",)),
        ("mkswap /dev/sda2 && swapon /dev/sda2", ("swap",)),
        ("swapon --show", ("show",)),
        ("sudo ping -c 1 example.org", ("network",)),
        ("arch-chroot /mnt systemctl enable NetworkManager", ("network",)),
        ("systemctl poweroff", ("reboot",)),
        ("cat /mnt/etc/fstab", ("show",)),
        ("fuser -vm /mnt 2> /dev/null || true", ("show",)),
        ("lsblk -f | grep ntfs", ("show",)),
        ("mkdir -p /mnt/srv/x && chmod 1777 /mnt/srv/x", ("other",)),
        ("echo 'reboot; mkfs.ext4 /dev/sda' > /mnt/root/note", ("other",)),
        ("if [ -d /sys/firmware/efi ]; then echo UEFI; fi", ("show",)),
        ("echo 'unclosed", ("other",)),
    ],
)  # fmt: skip
def test_the_intents_of_a_command_are_all_that_it_does(
    command: str, intents: tuple[str, ...]
) -> None:
    """By its programs and the files it writes, within wrappers too; words in quotes do nothing."""
    assert of_command(command) == intents


@pytest.mark.parametrize(
    ("expected", "turn"),
    [
        ("absent device",
         moment("use /dev/sdz", "There is no /dev/sdz here, only /dev/sda. Do you mean that?")),
        ("absent device", moment(["mount sdz1", "hang in sdz1"], "That does not exist here.")),
        ("ask which disk",
         moment("partition", "On which disk: /dev/nvme0n1 or /dev/sda?", disks=TWO)),
        ("ask which disk", moment("hello", "Hello! Which disk may I use?", disks=TWO)),
        ("confirm", moment("partition", "Which disk? There is only this one; shall I?")),
        ("confirm", moment("partition", "I would erase /dev/sda. Shall I?")),
        ("confirm", moment("the bigger", "/dev/sda is erased, /dev/nvme0n1 stays. All right?",
                           disks=TWO)),
        ("refuse danger", moment("rm -rf /", "No: that deletes the running system.")),
        ("refuse danger", moment("chmod -R 777 /mnt", "That breaks the new system. Ask me first.")),
        ("explain", moment("is it erased?", "No, nothing was erased.")),
        ("decline", moment(["no", "not now", "stop", "yes"], "Then nothing happens.")),
        ("explain", moment(["no", "yes", "maybe"], "Then nothing happens.")),
        ("ask a value", moment("name it", "What name would you like?")),
        ("chat", moment("hi", "Hello.", categories=("smalltalk",))),
        ("explain", moment("what is ext4?", "A file system.")),
    ],
)  # fmt: skip
def test_the_intent_of_a_text(expected: str, turn: Moment) -> None:
    """The first rule that holds decides; wordings count when at least half of them match."""
    assert of_text(turn) == expected


def own_places(turn: Moment, *earlier: Moment) -> set[str]:
    return set(coverage.labels(turn, earlier)["place"])


def test_after_an_error_are_the_report_and_the_two_turns_after_it() -> None:
    """The person says what failed; "no error" is none."""
    failed, plain = moment("mkfs failed", "Shall I?"), moment("yes", command="lsblk")
    assert own_places(failed) == {"after an error"}
    assert own_places(plain, failed) == own_places(plain, failed, plain) == {"after an error"}
    assert own_places(plain, failed, plain, plain) == set()
    assert own_places(moment("no error this time", "Good.")) == set()


def test_after_a_refusal_is_the_turn_after_one() -> None:
    """The assistant refused, or found the device missing, or the person said no."""
    plain = moment("yes", command="lsblk")
    for text, said in (
        ("No: that deletes everything.", "rm -rf /"), ("Then not.", "no"),
        ("There is no /dev/sdz.", "use /dev/sdz"),
    ):  # fmt: skip
        assert own_places(plain, moment(said, text)) == {"after a refusal"}
        assert own_places(plain, moment(said, text), plain) == set()


def test_the_stage_is_that_of_the_machine() -> None:
    """Something at /mnt and no boot loader anywhere: mid-installation; a boot loader: at the end,
    whether it is mounted or not."""
    mounts = [{"source": "/dev/sda1", "target": "/mnt", "fstype": "ext4"}]
    trees = {"/dev/sda1": {"system": True, "bootloader": "grub-bios"}}
    assert own_places(moment(command="ls", disks=PARTED)) == set()
    assert own_places(moment(command="ls", disks=PARTED, mounts=mounts)) == {"mid-installation"}
    for state in ({"mounts": mounts, "trees": trees}, {"trees": trees}):
        assert own_places(moment(command="ls", disks=PARTED, **state)) == {"at the end"}


def test_the_machine_is_told_from_its_state() -> None:
    """Firmware, kind of the target, number of disks without the live medium, contents."""
    found = coverage.labels(moment(command="ls"), ())
    assert [found[name] for name in ("firmware", "disk", "disks", "contents")] == [
        ("uefi",), ("sata",), ("one",), ("empty",)
    ]  # fmt: skip
    spinning = {**ONE[0], "rotational": True}
    windows = {"name": "nvme0n1", "transport": "nvme",
               "partitions": [{"number": 1, "signature": {"kind": "ntfs"}}]}  # fmt: skip
    stick = {"name": "sdb", "transport": "usb", "live": True, "signature": {"kind": "iso9660"}}
    found = coverage.labels(moment(command="ls", disks=[spinning, stick], boot_mode="bios"), ())
    assert (found["firmware"], found["disk"], found["disks"]) == (("bios",), ("hdd",), ("one",))
    assert found["contents"] == ("empty",)
    found = coverage.labels(moment(command="ls", disks=[windows, *PARTED]), ())
    assert found["disks"] == ("several",)
    assert found["contents"] == ("older system", "new partitions")


def test_what_a_message_follows_is_the_toolkits_to_say() -> None:
    """Nothing, a command, a question, another text."""
    assert place_of(()) == "first message"
    assert place_of((moment(command="ls"),)) == "after a command"
    assert place_of((moment(text="Fine. Shall I? "),)) == "after a question"
    assert place_of((moment(text="Shall I? Say so."),)) == "after a statement"


class Shapes:
    """A domain's coverage with one dimension, and one machine that is either round or square."""

    dimensions = {"shape": ("round", "square", "flat"), "size": ("big", "small")}

    def labels(self, moment: Moment, earlier: Sequence[Moment]) -> dict[str, tuple[str, ...]]:
        return {"shape": ("round",), "size": ("big",)}

    def machines(self, cfg: Any) -> list[dict[str, tuple[str, ...]]]:
        return [{"shape": ("round", "square"), "size": ("big",)}]

    def excluded(self, one: tuple[str, str], other: tuple[str, str]) -> str:
        return "square texts do not fit" if {one[1], other[1]} == {"square", "text"} else ""


class ShapeDomain:
    coverage = Shapes()


def test_cells_are_counted_and_holes_told_from_what_cannot_be() -> None:
    """Values that meet are counted, several of a dimension each; a cell without snapshots is
    empty, or excluded by the domain, or no machine has both."""
    cover = {
        (("shape", ("round", "square")), ("size", ("big",)), ("place", ("first message",)),
         ("kind", ("command",))): 3,
        (("shape", ("round",)), ("size", ("big",)), ("place", ("after a command",)),
         ("kind", ("text",))): 2,
    }  # fmt: skip
    domain: Any = ShapeDomain()
    found = report(cover, domain, None)
    pairs = {tuple(pair["of"]): pair for pair in found["pairs"]}
    assert found["snapshots"] == 5
    assert found["dimensions"]["shape"] == {"round": 5, "square": 3, "flat": 0}
    kinds = pairs["shape", "kind"]
    assert kinds["cells"] == {
        "round": {"command": 3, "text": 2}, "square": {"command": 3, "text": 0},
        "flat": {"command": 0, "text": 0},
    }  # fmt: skip
    assert kinds["excluded"] == [
        ["square", "text", "square texts do not fit"],
        ["flat", "command", "no configured machine has both"],
        ["flat", "text", "no configured machine has both"],
    ]
    assert kinds["empty"] == []
    sizes = pairs["shape", "size"]
    assert [cell[:2] for cell in sizes["excluded"]] == [
        ["round", "small"], ["square", "small"], ["flat", "big"], ["flat", "small"],
    ]  # fmt: skip
    places = pairs["place", "kind"]
    assert ["first message", "text"] in places["empty"]
    assert found["empty"] == sum(len(pair["empty"]) for pair in found["pairs"])
    card = section(found)
    assert "- place first message × kind text" in card and "| place × kind | 8 | 2 | 6 |" in card


def test_what_a_rule_excludes_and_occurs_all_the_same_is_told() -> None:
    """It counts as filled, and stands under `unexpected` with the rule."""
    labels = (("shape", ("square",)), ("size", ("big",)), ("place", ("first message",)),
              ("kind", ("text",)))  # fmt: skip
    domain: Any = ShapeDomain()
    pairs = {tuple(p["of"]): p for p in report({labels: 1}, domain, None)["pairs"]}
    assert pairs["shape", "kind"]["unexpected"] == [["square", "text", "square texts do not fit"]]


def test_a_domain_without_coverage_is_counted_by_place_and_kind() -> None:
    """Two dimensions, one pair, every cell of which can occur."""
    domain: Any = object()
    cover = {(("place", ("first message",)), ("kind", ("text",))): 4}
    found = report(cover, domain, None)
    assert [pair["of"] for pair in found["pairs"]] == [["place", "kind"]]
    assert found["empty"] == 7 and found["pairs"][0]["excluded"] == []
    assert "| first message | **0** | 4 |" in section(found)


@pytest.mark.parametrize(
    ("one", "other", "can"),
    [
        (("intent", "fstab"), ("contents", "empty"), False),
        (("contents", "empty"), ("intent", "bootloader"), False),
        (("intent", "format"), ("contents", "empty"), True),  # behind partitioning, in one line
        (("intent", "timezone"), ("contents", "empty"), True),  # of the live system
        (("place", "at the end"), ("contents", "empty"), False),
        (("place", "after an error"), ("contents", "empty"), True),
        (("intent", "ask which disk"), ("disks", "one"), False),
        (("intent", "ask which disk"), ("kind", "command"), False),
        (("intent", "partition"), ("kind", "text"), False),
        (("intent", "partition"), ("kind", "command"), True),
    ],
)
def test_what_cannot_meet(one: tuple[str, str], other: tuple[str, str], can: bool) -> None:
    """The rules of docs/conversations.md, whichever way round."""
    assert bool(coverage.excluded(one, other)) is bool(coverage.excluded(other, one)) is not can


def test_configured_machines_decide_what_can_meet() -> None:
    """No layout has two eMMC disks, so nobody asks which disk on one; nor an older system on a
    virtual disk."""
    found = report({}, get_domain("installer"), config())
    out = {
        (*pair["of"], a, b) for pair in found["pairs"] for a, b, _ in pair["excluded"]
    }  # fmt: skip
    assert ("intent", "disk", "ask which disk", "mmc") in out
    assert ("intent", "disk", "ask which disk", "nvme") not in out
    assert ("disk", "contents", "virtio", "older system") in out
    assert ("disk", "contents", "virtio", "new partitions") not in out


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("mkfs.fat -F32 /dev/sda1 && mkfs.ext4 -F /dev/sda2", ("mkfs.fat -F", "mkfs.ext4 -F")),
        ("arch-chroot /mnt useradd -m -G wheel -s /bin/bash ada", ("chroot useradd -m -G -s",)),
        ("mount /dev/sda2 /mnt && mount /dev/sda1 /mnt/boot", ("mount",)),
        ("mount --mkdir /dev/sda1 /mnt/boot", ("mount --mkdir",)),
        ("sgdisk -n 1:0:+512M -t 1:ef00 -n 2:0:0 /dev/sda", ("sgdisk -n -t",)),
        ("ip -brief address", ("ip -brief address",)),
        (
            "arch-chroot /mnt grub-install --target=i386-pc /dev/sda",
            ("chroot grub-install --target",),
        ),
        ("dmesg | tail -n 30", ("dmesg", "tail -n")),
        ("command -v sgdisk", ("command -v",)),
        ("sudo fsck -n /dev/sda1", ("fsck -n",)),
        ("echo ada > /mnt/etc/hostname", ("echo",)),
        ("echo 'unfinished", ()),
    ],
)
def test_the_form_of_a_command_is_its_programs_with_their_options(
    command: str, expected: tuple[str, ...]
) -> None:
    """Names, devices and values do not count; subcommands do; each form once."""
    assert coverage.forms(command) == expected


def test_the_card_names_the_forms_that_few_conversations_have() -> None:
    """Counted in conversations, the rarest first; without forms nothing is said."""
    forms = {"mount": {"a", "b", "c", "d"}, "fsck -n": {"a"}, "df -i": {"a", "b", "c"}}
    found = report({}, get_domain("installer"), config(), forms)
    assert list(found["forms"].items()) == [("fsck -n", 1), ("df -i", 3), ("mount", 4)]
    card = section(found)
    assert "Of 3 forms of command (programs with their options) 2 stand in fewer than 4" in card
    assert "`fsck -n` (1), `df -i` (3)." in card and "`mount`" not in card
    assert "forms of command" not in section(report({}, get_domain("installer"), config()))


def test_the_report_of_a_data_set_counts_its_training_half(tmp_path: Path) -> None:
    """Totals, kinds of answers and first messages are those of the file; the card, the picture
    and the manifest tell of it."""
    out = tmp_path / "out"
    overrides = (f"conversations={corpus(tmp_path)}", f"output_dir={out}", "experiment=small")
    manifest = augment(config(*overrides, "truncations=true", "noise=typos"))
    assert manifest is not None
    lines = [record for _, record in read_jsonl(out / FILES[TRAIN])]
    found = json.loads((out / "coverage.json").read_text())
    assert found["snapshots"] == len(lines) > 0
    texts = sum(line["expected_response"]["type"] == "text" for line in lines)
    assert found["dimensions"]["kind"] == {"command": len(lines) - texts, "text": texts}
    first = sum(len(line["messages"]) == 1 for line in lines)
    assert found["dimensions"]["place"]["first message"] == first
    assert found["dimensions"]["firmware"]["uefi"] == sum(
        "Boot mode: UEFI" in line["system_context"] for line in lines
    )
    for form, pattern in (("mount", r"(^|&& )mount /"), ("lsblk", r"(^|&& )lsblk( /|$)")):
        having = {
            line["meta"]["conversation"]
            for line in lines
            if re.search(pattern, line["expected_response"].get("command", ""))
        }
        assert found["forms"].get(form, 0) == len(having)
    assert found["forms"]
    mounts = sum("mount" in line["expected_response"].get("command", "") for line in lines)
    assert found["dimensions"]["intent"]["mount"] == mounts
    assert "## Coverage of the training half" in (out / "README.md").read_text()
    assert (out / "plots/coverage.png").read_bytes().startswith(b"\x89PNG")
    assert {"coverage.json", "plots/coverage.png"} <= set(manifest["files"])


def test_every_label_of_the_small_corpus_is_a_value_of_the_report(tmp_path: Path) -> None:
    """No turn has a value that its dimension does not list, and each has all dimensions."""
    domain = get_domain("installer")
    labeller = Labeller(domain)
    talks, _, _ = load_conversations(corpus(tmp_path, CORPUS))
    for talk in talks:
        machine = next(domain.scenarios(config(), random.Random(1), talk.when, talk.start))
        for turn in labeller.labels(plan(talk, machine, domain), talk.categories):
            for labels in turn:
                for name, values in labels:
                    if name not in ("place", "kind"):
                        assert values and set(values) <= set(coverage.dimensions[name])
                assert dict(labels).keys() == {*coverage.dimensions, "kind"}
    assert len(set(COMMANDS)) == len(COMMANDS)
