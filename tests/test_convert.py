"""Conversion of the two older conversation forms."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit import records
from llmkit.convert import convert_record
from llmkit.errors import RecordError
from llmkit.installer.convert import escape, slots, turns_of
from llmkit.template import render

CONTEXT = """## Current System State

- Boot mode: UEFI
- Network: Connected
- Hostname: archiso
- Timezone: not set

## Available Disks

- /dev/sda: 500G (Samsung SSD 870)
- /dev/nvme0n1: 1.8T (WD Black SN850X)"""


@dataclass(frozen=True)
class Device:
    """What templates see of a disk, written here anew: the tests must not use the code's own."""

    name: str
    size: str
    model: str

    @property
    def path(self) -> str:
        return "/dev/" + self.name

    def part(self, number: int) -> str:
        return self.path + ("p" if self.name[-1].isdigit() else "") + str(number)


def expand(record: dict, disks: list[Device], target: int, other: int | None) -> list[tuple]:
    """The record's turns, rendered on a machine with these disks."""
    variables = {"disks": disks, "target": disks[target], "missing_disk": "/dev/sdz"}
    if other is not None:
        variables["other"] = disks[other]
    return [
        tuple(
            render(turn[key], variables, "test") if key in turn else None
            for key in ("user", "command", "text")
        )
        for turn in record["turns"]
    ]


def literal(*turns: dict, context: str = CONTEXT) -> dict:
    return convert_record({"id": "old", "system_context": context, "turns": list(turns)})


def test_devices_partitions_sizes_and_models_become_slots():
    """The disk that the first writing command names is the target, the next one is other."""
    record = literal(
        {"user": "what is there?", "type": "command", "command": "lsblk /dev/sda"},
        {
            "user": "use the 1.8T WD Black SN850X",
            "type": "command",
            "command": "sgdisk -Z /dev/nvme0n1",
        },
        {"user": "and sda?", "type": "text", "response": "sda (500G) stays; nvme0n1p1 is new."},
    )
    assert [turn.get("command") for turn in record["turns"]] == [
        "lsblk {{ other.path }}",
        "sgdisk -Z {{ target.path }}",
        None,
    ]
    assert record["turns"][1]["user"] == "use the {{ target.size }} {{ target.model }}"
    assert record["turns"][2]["text"] == (
        "{{ other.name }} ({{ other.size }}) stays; {{ target.part(1)[5:] }} is new."
    )
    assert record["when"] == {"boot": "uefi", "disks": "2+"}


def test_a_long_name_is_not_cut_at_a_short_one():
    """/dev/sda10 is partition 10, not partition 1 with a 0 behind it."""
    record = literal({"user": "x", "type": "command", "command": "mkfs.ext4 /dev/sda10"})
    assert record["turns"][0]["command"] == "mkfs.ext4 {{ target.part(10) }}"


def test_a_size_in_a_command_is_left_alone():
    """`+500G` is an argument that happens to be as large as the disk."""
    record = literal({"user": "x", "type": "command", "command": "sgdisk -n 1:0:+500G /dev/sda"})
    assert record["turns"][0]["command"] == "sgdisk -n 1:0:+500G {{ target.path }}"


def test_a_command_on_a_device_that_the_context_lacks_is_refused():
    """Nothing could run it."""
    with pytest.raises(RecordError, match="/dev/sdq1, which its system_context does not have"):
        literal({"user": "x", "type": "command", "command": "mkfs.ext4 /dev/sdq1 # /dev/sdq"})


def test_an_absent_device_in_prose_becomes_the_missing_disk():
    """A person may ask for what is not there; on another machine that is another name."""
    record = literal({"user": "use /dev/sdq", "type": "text", "response": "There is no /dev/sdq."})
    assert record["turns"][0]["text"] == "There is no {{ missing_disk }}."


@pytest.mark.parametrize(
    ("disk_lines", "start"),
    [
        ("- /dev/sda: 500G", None),
        ("- /dev/sda: 500G\n  - /dev/sda1: 512M\n  - /dev/sda2: 499.5G", "partitioned"),
        ("- /dev/sda: 500G\n  - /dev/sda1: 512M [vfat]\n  - /dev/sda2: 499.5G [ext4]", "formatted"),
        (
            (
                "- /dev/sda: 500G\n  - /dev/sda1: 512M [vfat]\n"
                "  - /dev/sda2: 499.5G [ext4] mounted at /mnt\n\n"
                "## Current Mounts\n- /dev/sda2 on /mnt"
            ),
            "mounted",
        ),
    ],
)
def test_a_machine_that_is_half_installed_gives_the_starting_point(disk_lines, start):
    """The context's partitions, file systems and mounts say where the conversation begins."""
    context = CONTEXT[: CONTEXT.index("- /dev/sda")] + disk_lines
    turn = {"user": "x", "type": "command", "command": "lsblk"}
    assert literal(turn, context=context).get("start") == start


def test_messages_with_an_expected_response_are_turns():
    """A snapshot-like record: `$ COMMAND` is a command, and output after a blank line is dropped."""
    assert turns_of(
        {
            "messages": [
                {"role": "user", "content": "list disks"},
                {"role": "assistant", "content": "$ lsblk\n\nNAME SIZE\nsda 500G"},
                {"role": "user", "content": "which is bigger?"},
            ],
            "expected_response": {"type": "text", "response": "sda."},
        }
    ) == [(["list disks"], "lsblk", None), (["which is bigger?"], None, "sda.")]


ISSUE_SLOTS = [
    "PRIMARY_DISK",
    "DISK_SIZE",
    "DISK_MODEL",
    "BOOT_PARTITION",
    "ROOT_PARTITION",
    "SECONDARY_DISK",
    "SECONDARY_SIZE",
    "SECONDARY_MODEL",
    "BIGGER_DISK",
    "BOOT_MODE",
    "BOOT_MOUNT_PATH",
    "BIGGER_SIZE",
    "BIGGER_BOOT_PART",
    "BIGGER_ROOT_PART",
    "PARTITION_DISK_CMD",
    "PARTITION_BIGGER_DISK_CMD",
    "FORMAT_CMD",
    "FORMAT_BIGGER_DISK_CMD",
    "PARTITION_LAYOUT_DESC",
    "DISK_TYPE_NAME",
    "DISK_TYPE_EXPLANATION",
    "FS_EXPLANATION",
    "FS_POST_INSTALL_TIP",
    "MULTI_DISK_ADVICE",
    "USER_DISK_CHOICE",
    "INITIAL_CHOICE",
    "INITIAL_CHOICE_RESPONSE",
    "CHANGED_CHOICE",
    "NEXT_STEP_SUGGESTION",
    "BOOTLOADER_INSTALL",
    "HOSTNAME",
    "HOSTNAME_ALT",
    "USERNAME",
    "TIMEZONE",
    "TIMEZONE_INPUT",
    "REQUESTED_FS",
    "FORMAT_CMD_CUSTOM_FS",
]


def test_every_slot_of_the_older_form_has_a_meaning():
    """The 37 slots that older corpora are known to use are all in the table."""
    assert len(ISSUE_SLOTS) == 37
    assert [name for name in ISSUE_SLOTS if name not in slots()] == []


def test_slots_are_replaced_and_bring_their_conditions():
    """A slot that needs a second disk restricts the conversation to machines that have one."""
    record = convert_record(
        {
            "id": "two words/old",
            "category": "Multi Disk",
            "turns": [
                {
                    "user": "wipe {SECONDARY_DISK}",
                    "type": "command",
                    "command": "sgdisk -Z {SECONDARY_DISK}",
                },
                {"user": "{TIMEZONE_INPUT}", "type": "text", "response": "It is {BOOT_MODE}."},
            ],
        }
    )
    assert record == {
        "id": "two-words-old",
        "categories": ["multi-disk"],
        "when": {"disks": "2+"},
        "turns": [
            {"user": "wipe {{ other.path }}", "command": "sgdisk -Z {{ other.path }}"},
            {"user": "{{ timezone.words }}", "text": "It is {{ boot.name }}."},
        ],
    }
    records.check_record("conversation", records.Located(record, "", 1))


def test_an_unknown_slot_is_named_with_file_and_line():
    """No slot is ever left in the output."""
    old = {"id": "a", "turns": [{"user": "{NO_SUCH}", "type": "text", "response": "x"}]}
    with pytest.raises(RecordError, match=r"old\.jsonl:7: unknown slot \{NO_SUCH\}"):
        convert_record(old, file="old.jsonl", line=7)


@given(st.text(alphabet="{}%#ab \n'\"$", max_size=30))
def test_what_jinja2_would_take_for_its_own_survives(text):
    """escape() then rendering is the identity, whatever braces a command holds."""
    assert render(escape(text), {}, "test") == text.replace("\r\n", "\n")


NAMES = ["sda", "sdb", "vda", "nvme0n1", "nvme1n1", "mmcblk0"]


@st.composite
def machines(draw):
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    return [
        Device(
            name,
            f"{draw(st.integers(100, 900))}G",
            draw(st.sampled_from(["", "WD Blue", "KC3000"])),
        )
        for name in names
    ]


@st.composite
def old_conversations(draw):
    """(disks, record): commands that name disks and partitions of a machine literally."""
    disks = draw(machines())
    turns = []
    for _ in range(draw(st.integers(1, 5))):
        disk = draw(st.sampled_from(disks))
        device = draw(st.sampled_from([disk.path, disk.part(1), disk.part(2), disk.part(12)]))
        command = draw(
            st.sampled_from(
                [
                    f"sgdisk -Z {disk.path}",
                    f"mkfs.ext4 -F {device} && mount {device} /mnt",
                    f"dd if=/dev/zero of={device} bs=1M count=1",
                    f"lsblk -o NAME,SIZE {disk.path}",
                    f"for p in {disk.path} {device}; do wipefs -a $p; done; echo {{}} '%}}' {disk.name}",
                    f"cat /sys/block/{disk.name}/size",
                ]
            )
        )
        said = f"do it on {device} ({disk.name}, {disk.size} {disk.model})"
        turns.append({"user": said, "type": "command", "command": command})
    lines = [f"- {d.path}: {d.size}" + (f" ({d.model})" if d.model else "") for d in disks]
    context = CONTEXT[: CONTEXT.index("- /dev/sda")] + "\n".join(lines)
    return disks, {"id": "p", "system_context": context, "turns": turns}


@given(old_conversations())
def test_re_expanded_on_its_own_machine_a_conversation_says_the_same(case):
    """Converted, then rendered with the disks of its context: the original commands, word for word.

    Which disk became `target` and `other` is found by trying: exactly the original must be among
    the expansions, and no device name may be left in the converted commands.
    """
    disks, old = case
    record = convert_record(old)
    for turn in record["turns"]:
        left = re.sub(r"\{\{.*?\}\}", "", turn["command"])
        assert not re.search(r"/dev/(sd|vd|nvme|mmc)", left)
    original = [(turn["user"], turn["command"], None) for turn in old["turns"]]
    count = len(disks)
    choices = [(t, o) for t in range(count) for o in range(count) if t != o] or [(0, None)]
    assert any(expand(record, disks, target, other) == original for target, other in choices)


def test_the_stage_converts_what_it_can_and_names_the_rest(run_stage, tmp_path):
    """Exit 0 with one good and one bad conversation; exit 1 with strict=true; the input is safe."""
    old = tmp_path / "old.jsonl"
    good = {"id": "g", "turns": [{"user": "hi {HOSTNAME}", "type": "text", "response": "hello"}]}
    bad = {"id": "b", "turns": [{"user": "{NOPE}", "type": "text", "response": "hello"}]}
    old.write_text(json.dumps(good) + "\n\n" + json.dumps(bad) + "\n")
    out = tmp_path / "new.yaml"
    done = run_stage("convert", f"conversations={old}", f"output_file={out}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{old}:3: unknown slot {{NOPE}}" in done.stderr
    assert [located.value["id"] for located in records.read_yaml(out)] == ["g"]
    strict = run_stage(
        "convert", f"conversations={old}", f"output_file={out}", "strict=true", cwd=tmp_path
    )
    assert strict.returncode == 1
    same = run_stage("convert", f"conversations={old}", f"output_file={old}", cwd=tmp_path)
    assert same.returncode == 2
    assert old.read_text().startswith('{"id": "g"')
