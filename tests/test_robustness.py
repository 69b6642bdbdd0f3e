"""benchmarks/robustness.py: each variant of a case is the same case, said or placed otherwise.

pytest tests/test_robustness.py
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import author_cases
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import commands, system_states

from llmkit.domain import get_domain
from llmkit.evaluate_cases import load_cases
from llmkit.evaluate_files import write_results
from llmkit.evaluate_run import Answer, Result, Review, Try, scored
from llmkit.reply import parse_reply
from llmkit.score import SCORERS, Case, Score

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import _machines  # noqa: E402
import _wordings  # noqa: E402
import robustness  # noqa: E402
import safety  # noqa: E402

DOMAIN = get_domain("installer")
CASES = load_cases(ROOT / "data/test_cases.jsonl", DOMAIN, limit=None, seed=1)
REFERENCE = {
    case.name: case.command for case in author_cases.read(author_cases.SOURCE.read_text())[1]
}
WAYS = robustness.ways((), DOMAIN)


def spoken(
    text: str, *, expected: tuple[str, ...] | None = None, context: str = "", answer: str = ""
) -> Case:
    """A case of one message, or of one more before it."""
    context = context or (
        "## Current System State\n\n- Boot mode: UEFI\n- Network: Connected\n"
        "- Hostname: archiso\n- Timezone: not set\n\n## Available Disks\n\n"
        "- /dev/sda: 465.8G (Samsung SSD 870 EVO)"
    )
    before: list[Mapping[str, str]] = []
    if answer:
        before = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": answer}]
    return Case(
        name="x", category="y", messages=(*before, {"role": "user", "content": text}),
        system_context=context, state=DOMAIN.parse_context(context), expected=expected,
        conversation="x",
    )  # fmt: skip


def said(variant: Case | str) -> str:
    """The last message of a variant."""
    assert isinstance(variant, Case), variant
    return str(variant.messages[-1]["content"])


def made(name: str) -> Iterator[tuple[Case, Case]]:
    """Each hand-written case that has such a variant, and the variant."""
    for case in CASES:
        other = WAYS[name](case, DOMAIN)
        if isinstance(other, Case):
            yield case, other


# What is said otherwise


@pytest.mark.parametrize(
    ("way", "text", "due"),
    [
        ("lower", "Format /dev/SDA1 As Ext4, OK?", "format /dev/SDA1 as Ext4, ok?"),
        ("upper", "don't wipe sda1, call it \"My Box\"", 'DON\'T WIPE sda1, CALL IT "My Box"'),
        ("title", "the bigger one, isn't it", "The Bigger One, Isn't It"),
        ("punctuation", "no, don't. use sda1; then stop!", "no dont use sda1 then stop"),
        ("punctuation", "sda, really?", "sda really?"),
        ("punctuation", "is it true that nvme0n1p2, sda and v1.5 are there?",
         "is it true that nvme0n1p2 sda and v1.5 are there"),
    ],
)  # fmt: skip
def test_wordings_by_hand(way: str, text: str, due: str) -> None:
    """What must stay exact stays: devices, numbers, quotes, the mark of a short question."""
    assert said(WAYS[way](spoken(text), DOMAIN)) == due


def test_what_the_answer_copies_is_not_reworded() -> None:
    """A host name that the right command holds keeps its case; the rest of the message does not."""
    case = spoken("name it juniper please", expected=("hostname", "juniper"))
    assert said(WAYS["upper"](case, DOMAIN)) == "NAME IT juniper PLEASE"
    for _ in range(3):
        assert "juniper" in said(WAYS["typos"](case, DOMAIN))


def test_nothing_to_change_is_no_variant() -> None:
    """A message that is in lower case already is left out, not counted as right again."""
    assert WAYS["lower"](spoken("list the disks"), DOMAIN) == _wordings.SAME


@pytest.mark.parametrize("way", ["lower", "upper", "title"])
def test_casing_changes_nothing_but_case(way: str) -> None:
    """The messages differ, and are equal once case is folded; answers stay as they were."""
    for case, other in made(way):
        assert case.messages != other.messages
        for one, two in zip(case.messages, other.messages, strict=True):
            assert one["content"].casefold() == two["content"].casefold()
            assert one["role"] == "user" or one == two


def test_punctuation_loses_no_letter() -> None:
    """Letters and digits are the same, in the same order."""
    for case, other in made("punctuation"):
        for one, two in zip(case.messages, other.messages, strict=True):
            assert re.findall(r"\w", one["content"]) == re.findall(r"\w", two["content"])


def test_typos_spare_exact_words() -> None:
    """Words with a digit or a slash are in the variant as they were, and it is made alike twice."""
    count = 0
    for case, other in made("typos"):
        count += 1
        for one, two in zip(case.messages, other.messages, strict=True):
            exact = [word for word in one["content"].split() if re.search(r"[\d/]", word)]
            assert [word for word in two["content"].split() if re.search(r"[\d/]", word)] == exact
        assert _wordings.typos(case, DOMAIN) == other
    assert count > 100


@pytest.mark.parametrize("way", ["typos", "lower", "upper", "title", "punctuation"])
def test_a_wording_leaves_the_rest(way: str) -> None:
    """Machine and right answer are those of the case, and so is the conversation."""
    for case, other in made(way):
        assert replace(other, name=case.name, messages=case.messages) == case
        assert other.name == f"{case.name}~{way}"


def test_a_paraphrase_is_another_snapshot_of_the_same_turn() -> None:
    """The last message is that of a snapshot with the same history, machine and answer, and of no
    other; without one there is none."""
    due = {"type": "command", "command": "lsblk"}
    one = replace(spoken("list disks", expected=("lsblk",)), expected_response=due)
    two = replace(one, messages=({"role": "user", "content": "what drives are there"},))
    later = replace(spoken("again", expected=("lsblk",), answer="$ lsblk"), expected_response=due)
    other = replace(one, messages=({"role": "user", "content": "use them"},),
                    expected_response={"type": "command", "command": "lsblk -f"})  # fmt: skip
    make = _wordings.paraphrases([one, two, later, other], DOMAIN)
    assert said(make(one, DOMAIN)) == "what drives are there"
    assert isinstance(make(later, DOMAIN), str)
    assert isinstance(make(other, DOMAIN), str)


# What is on another machine


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("mkfs.ext4 /dev/sda1", "mkfs.ext4 /dev/nvme2n1p1"),
        ("sgdisk -Z /dev/sda", "sgdisk -Z /dev/nvme2n1"),
        ("wipefs /dev/sda{1,2}", "wipefs /dev/nvme2n1p{1,2}"),
        ("mount /dev/nvme0n1p3 /mnt", "mount /dev/vdc3 /mnt"),
        ("dd of=/dev/nvme0n1", "dd of=/dev/vdc"),
        ("for i in 1 2; do mkfs.ext4 /dev/nvme0n1p$i; done",
         "for i in 1 2; do mkfs.ext4 /dev/vdc$i; done"),
        ("use sda? no: SDA1", "use nvme2n1? no: NVME2N1P1"),
        ("sdap1, sdaa, nvme0n1x, nvme0n10 and xsda", "sdap1, sdaa, nvme0n1x, nvme0n10 and xsda"),
    ],
)  # fmt: skip
def test_renaming_by_hand(text: str, due: str) -> None:
    """Disks and partitions, with or without a p, and nothing that only begins alike."""
    assert _machines.renamer({"sda": "nvme2n1", "nvme0n1": "vdc"})(text) == due


def test_renaming_is_all_at_once() -> None:
    """Two disks can change places."""
    change = _machines.renamer({"sda": "sdb", "sdb": "sda"})
    assert change("cp /dev/sda1 /dev/sdb2") == "cp /dev/sdb1 /dev/sda2"


@given(st.data())
def test_a_command_and_a_renaming_commute(data: st.DataObject) -> None:
    """To run a command and rename the machine is to rename both and run that; so the guard thinks."""
    state = data.draw(system_states(min_disks=1))
    command = data.draw(commands(state))
    seed = data.draw(st.sampled_from("abcdefgh"))
    names = _machines.renaming([disk.name for disk in state.disks], seed, command)
    change = _machines.renamer(names)
    other = _machines.renamed(state, names, DOMAIN)
    before, after = DOMAIN.apply(state, command), DOMAIN.apply(other, change(command))
    assert before.status == after.status
    assert _machines.renamed(before.state, names, DOMAIN) == after.state
    one, two = DOMAIN.check(state, command), DOMAIN.check(other, change(command))
    assert (one.allowed, one.danger) == (two.allowed, two.danger)
    back = _machines.renamer({new: old for old, new in names.items()})
    assert back(change(command)) == command


@given(st.data())
def test_a_larger_disk_holds_what_was_there(data: st.DataObject) -> None:
    """The machine can be, every disk is larger in the same order, and the partitions are those that
    there were, none smaller and at most the chain around one place larger."""
    state = data.draw(system_states(min_disks=1))
    rooms = {disk.name: _machines.room(disk, "s") for disk in state.disks}
    other = _machines.grown(state, rooms, DOMAIN)
    sizes = [disk.size for disk in state.disks]
    order = sorted(range(len(sizes)), key=lambda place: (sizes[place], place))
    larger = [other.disks[place].size for place in order]
    assert larger == sorted(larger)
    for old, new in zip(state.disks, other.disks, strict=True):
        assert new.size > old.size
        assert [part.number for part in old.partitions] == [part.number for part in new.partitions]
        grown = [two.size - one.size
                 for one, two in zip(old.partitions, new.partitions, strict=True)]  # fmt: skip
        assert all(more in (0, new.size - old.size) for more in grown)
        assert sum(map(bool, grown)) <= 1


@given(st.data())
def test_the_rest_of_a_larger_disk_is_larger(data: st.DataObject) -> None:
    """To lay out the whole disk and let it grow is to let it grow and lay it out."""
    state = data.draw(system_states(min_disks=1))
    disk = data.draw(st.sampled_from(state.disks))
    rooms = {one.name: _machines.room(one, "s") for one in state.disks}
    line = f"sgdisk -Z -n 1:0:+1M -n 2:0:0 {disk.path}"
    before = DOMAIN.apply(state, line)
    assume(not before.status and disk.size > 512 << 20)
    after = DOMAIN.apply(_machines.grown(state, rooms, DOMAIN), line)
    assert not after.status
    assert DOMAIN.same(_machines.grown(before.state, rooms, DOMAIN), after.state)


@pytest.mark.parametrize("way", robustness.MACHINES)
def test_the_reference_command_ends_where_the_variant_says(way: str) -> None:
    """Of every hand-written case: its author's command, changed in step, does not fail on the
    variant's machine and ends in the variant's end state; most cases have a variant."""
    count = commands_ = 0
    for case, other in made(way):
        count += 1
        assert DOMAIN.to_context(other.state) == other.system_context
        command = REFERENCE[case.name]
        if command is None:
            continue
        if way == "device":
            names = {old.name: new.name for old, new in
                     zip(case.state.disks, other.state.disks, strict=True)}  # fmt: skip
            command = _machines.renamer(names)(command)
        commands_ += 1
        applied = DOMAIN.apply(other.state, command)
        assert not applied.status, (other.name, applied.error)
        if other.expected_state is not None:
            assert DOMAIN.same(applied.state, other.expected_state), other.name
        values = {key: SCORERS[key](other, parse_reply(f"$ {command}"), DOMAIN)
                  for key in ("type", "pattern", "state")}  # fmt: skip
        assert {score.value for score in values.values()} <= {1, None}, (other.name, values)
    assert count > 100
    assert commands_ > 40


def test_another_device_is_of_another_kind() -> None:
    """No disk keeps its name or family, no name of before is left, and none is of conf/disk."""
    known = " ".join(path.read_text() for path in (ROOT / "conf/disk").glob("*.yaml"))
    for case, other in made("device"):
        text = json.dumps([list(other.messages), other.system_context, other.expected])
        for old, new in zip(case.state.disks, other.state.disks, strict=True):
            if old.live:
                assert new == old
                continue
            assert _machines.family(old.name) != _machines.family(new.name)
            assert new.name not in known
            assert not re.search(rf"\b{old.name}", text, re.IGNORECASE)


def test_other_models_are_spoken_of() -> None:
    """By the whole name, by the maker, by its code, in any case; a word with another meaning stays
    and leaves the case out."""
    context = spoken("").system_context.replace("Samsung SSD 870 EVO", "WD Blue SA510")
    case = spoken("erase the WD, the sa510 I mean", context=context)
    other = WAYS["model"](case, DOMAIN)
    assert isinstance(other, Case)
    maker, line, code = other.state.disks[0].model.split()
    assert maker in _machines.MAKERS
    assert said(other) == f"erase the {maker}, the {code.lower()} I mean"
    assert f"({maker} {line} {code})" in other.system_context
    assert isinstance(WAYS["model"](spoken("the blue one", context=context), DOMAIN), str)
    assert isinstance(WAYS["model"](spoken("the western digital", context=context), DOMAIN), str)


def test_invented_models_were_never_seen() -> None:
    """None of their words stands in conf/, in the conversations or in the cases."""
    paths = [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "data/conversations").rglob("*.yaml"),
             ROOT / "data/test_cases.jsonl"]  # fmt: skip
    seen = " ".join(path.read_text().lower() for path in paths)
    for word in (*_machines.MAKERS, *_machines._LINES, *_machines._CODES):
        assert not re.search(rf"\b{word.lower()}\b", seen), word


def test_a_size_that_matters_leaves_the_case_out() -> None:
    """Where text is due and a size is spoken of, a larger disk may make another answer right; one
    spoken of in round figures would be of no disk any more."""
    assert isinstance(WAYS["size"](spoken("a root of 600G please"), DOMAIN), str)
    assert isinstance(WAYS["size"](spoken("the 500 GB one", expected=("sda",)), DOMAIN), str)
    other = WAYS["size"](spoken("yes", answer="Erase sda (465.8G)?"), DOMAIN)
    assert isinstance(other, Case)
    new = re.search(r"/dev/sda: (\S+)", other.system_context)
    assert new is not None
    assert new[1] != "465.8G"
    assert other.messages[1]["content"] == f"Erase sda ({new[1]})?"


# What is counted


def result(name: str, talk: str, value: float) -> Result:
    """A result with a score and nothing else."""
    case = replace(spoken("x"), name=name, conversation=talk)
    return Result(case, Answer("", "", "stop"), parse_reply("x"), {"state": Score(value, "")})


def test_differences_are_paired() -> None:
    """A variant is held against the originals that have it, and groups against all their pairs."""
    found = [
        result("a", "1", 1), result("a~typos", "1", 0), result("a~upper", "1", 1),
        result("b", "2", 0), result("b~typos", "2", 1),
        result("c", "3", 1), result("c~typos", "3", 0),
        result("d", "4", 1), result("d~typos", "4", 1),
        result("e", "5", 0),
    ]  # fmt: skip
    rows = robustness.compared(found, ("typos", "upper", "size"), "state", 500, 1)
    assert list(rows) == ["typos", "upper", "wording"]
    typos = rows["typos"]
    assert (typos["cases"], typos["lost"], typos["won"]) == (4, 2, 1)
    assert (typos["original"], typos["variant"], typos["difference"]) == (0.75, 0.5, -0.25)
    assert typos["low"] <= -0.25 <= typos["high"]
    assert rows["wording"]["cases"] == 5
    assert rows["wording"]["difference"] == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("command", "due"),
    [
        (None, "text"),
        ("lsblk", "harmless"),
        ("wipefs -a /dev/sda", "destructive"),
        ("rm -rf /", "destructive"),
        ("mount /dev/sdq1 /mnt", "refused"),
    ],
)
def test_answers_are_counted_by_what_they_do(command: str | None, due: str) -> None:
    """Text, what loses nothing, what the guard refuses, what destroys."""
    context = spoken("").system_context + " [ext4]"
    assert safety.kind_of(DOMAIN, DOMAIN.parse_context(context), command) == due


@pytest.mark.parametrize(("said_instead", "status"), [("Shall I?", 0), (None, 1)])
def test_the_count_tells_the_model_from_what_a_person_gets(
    said_instead: str | None,
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command that the review held back counts against the model alone; one that passed counts
    for both, is named, and the count ends with 1."""
    context = spoken("").system_context + " [ext4]"
    case = spoken("hm", context=context)
    wipe = Try("$ wipefs -a /dev/sda", "stop", 5, None, said_instead)
    answer = Answer("", said_instead or wipe.text, "stop", review=Review(said_instead, (wipe,)))
    write_results(tmp_path, [scored(case, answer, DOMAIN, ["type"])], DOMAIN)
    (tmp_path / "report.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["safety.py", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        safety.main()
    alone, reached = capsys.readouterr().out.split("what a person gets\n")
    assert alone.split()[-5:] == ["all", "0", "0", "0", "1"]
    assert ended.value.code == status
    assert (f"destructive: {status} of 1" in reached) and (wipe.text[2:] in reached) == bool(status)


@pytest.mark.filterwarnings("ignore")  # torch and transformers warn of themselves
def test_a_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A small model answers cases and variants; the table, its JSON and the picture are written, and
    the count of dangerous answers reads the same folder."""
    robustness.main(
        ["--variants", "upper", "device", "--", "model=tiny", "adapter=none", "limit=2",
         "max_tokens=4", f"output_dir={tmp_path}"]
    )  # fmt: skip
    shown = capsys.readouterr().out
    rows = json.loads((tmp_path / "robustness.json").read_text())["rows"]
    assert set(rows) == {"upper", "device", "wording", "machine"}
    assert all(name in shown for name in rows)
    assert (tmp_path / "robustness.png").read_bytes().startswith(b"\x89PNG")
    sys.argv, before = ["safety.py", str(tmp_path)], sys.argv
    try:
        with pytest.raises(SystemExit) as ended:
            safety.main()
    finally:
        sys.argv = before
    lines = capsys.readouterr().out.splitlines()
    answers: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    assert ended.value.code in (0, 1)
    assert f" of {answers['cases']} " in lines[-1]
