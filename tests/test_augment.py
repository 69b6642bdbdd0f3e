"""Augmentation: what is written, that it is right, and that it is whole or not there."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from augment_support import CORPUS, config, corpus
from hypothesis import given
from hypothesis import strategies as st

from llmkit.augment import augment, gather
from llmkit.augment_emit import Emitter, Piece, lengths, pieces
from llmkit.augment_plan import Bound, PlanError
from llmkit.augment_run import FILES
from llmkit.domain import get_domain
from llmkit.errors import LlmkitError, OutputError, RecordError, TemplateError
from llmkit.installer import SystemState
from llmkit.macros import bind
from llmkit.records import read_jsonl, validator
from llmkit.split import TEST, TRAIN, normal
from llmkit.staged import Staged
from llmkit.template import render


def written(tmp_path: Path, *overrides: str, text: str = CORPUS, out: str = "out") -> Path:
    """The folder of a data set made of `text`."""
    folder = tmp_path / out
    augment(config(f"conversations={corpus(tmp_path, text)}", f"output_dir={folder}", *overrides))
    return folder


def snapshots(folder: Path, side: str = TRAIN) -> list[dict[str, Any]]:
    return [value for _, value in read_jsonl(folder / FILES[side])]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the small corpus, all of it training data."""
    return written(tmp_path_factory.mktemp("plain"), "split=none")


def test_each_turn_gives_a_snapshot_with_the_whole_history(plain: Path) -> None:
    """Turn n has 2n-1 messages, roles in turn, and commands in the history as `$ COMMAND`."""
    found = snapshots(plain)
    assert {record["meta"]["turn"] for record in found} == {1, 2, 3}
    for record in found:
        messages = record["messages"]
        assert len(messages) == 2 * record["meta"]["turn"] - 1
        roles = itertools.cycle(["user", "assistant"])
        assert [m["role"] for m in messages] == list(itertools.islice(roles, len(messages)))
    second = next(
        r for r in found if r["meta"]["conversation"] == "look-01" and len(r["messages"]) > 1
    )
    assert second["messages"][1]["content"] == "$ lsblk"  # and no `reply`
    assert second["expected_response"]["type"] == "text"


def test_context_and_state_are_those_before_the_answer(plain: Path) -> None:
    """The state in `meta` prints as the context, and the answer's command applies to it."""
    for record in snapshots(plain):
        state = SystemState.from_dict(record["meta"]["state"])
        assert state.to_context() == record["system_context"]
        command = record["expected_response"].get("command")
        if command and "mkfs" in command:
            device = command.split()[-1]
            assert f"- {device}: " in record["system_context"]
            assert f"{device}: " + "[" not in record["system_context"]


def test_every_line_is_a_snapshot_and_none_stands_twice(tmp_path: Path) -> None:
    """Lines fit the schema; no two have the same context, messages and answer."""
    folder = written(tmp_path, "noise=typos", "variations=40", "scenarios_per_conversation=4")
    seen = set()
    for side in (TRAIN, TEST):
        for record in snapshots(folder, side):
            assert validator("snapshot").is_valid(record)
            record.pop("meta")
            seen.add((side, orjson.dumps(record, option=orjson.OPT_SORT_KEYS)))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(seen) == manifest["counts"]["snapshots"] > 100


def test_the_line_is_the_record_that_was_validated(tmp_path: Path) -> None:
    """The joined pieces read back as the very record that the validator saw."""
    cfg = config(f"conversations={corpus(tmp_path)}", "noise=typos", "split=none")
    sources = gather(cfg, get_domain("installer"))
    emitter = Emitter(cfg, sources.jobs, sources.taken)
    accept = emitter.is_valid
    seen: list[bytes] = []

    def watch(record: Any) -> bool:
        seen.append(orjson.dumps(record))
        return accept(record)

    emitter.is_valid = watch
    for index, job in enumerate(sources.jobs):
        batch = emitter.batch(tuple(pieces(index, job, cfg)))
        assert batch.data == b"".join(line + b"\n" for line in seen)
        seen.clear()


def test_the_same_run_gives_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    """Every file is equal, manifest and plots included; another seed gives another data set."""
    options = ("noise=typos", "variations=30", "truncations=true")
    one = tree(written(tmp_path, *options, out="one"))
    two = tree(written(tmp_path, *options, "workers=2", out="two"))
    other = tree(written(tmp_path, *options, "seed=7", out="other"))
    assert one == two
    assert one[FILES[TRAIN]] != other[FILES[TRAIN]]
    assert set(one) == {
        *FILES.values(), "README.md", "manifest.json", "plots/overview.png", "plots/overview.svg",
        "coverage.json", "plots/coverage.png",
    }  # fmt: skip


def test_the_manifest_tells_of_the_files(plain: Path) -> None:
    """Hashes and counts are those of the files; how and whither they were written is not there."""
    folder = plain
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["bytes"] == len(content)
        if "snapshots" in entry:
            assert entry["snapshots"] == content.count(b"\n")
    source = plain.parent / "talks.yaml"
    assert manifest["sources"][str(source)] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert manifest["config"]["seed"] == manifest["seed"] == 42
    assert "output_dir" not in manifest["config"] and "workers" not in manifest["config"]


def many(count: int) -> str:
    """A corpus of `count` conversations that share some wordings."""
    return "".join(
        f"- id: talk-{n}\n  categories: [x]\n  turns:\n"
        f"    - {{user: [show it {n}, list disks], command: lsblk}}\n"
        f'    - {{user: ["yes"], text: "Fine {n}."}}\n'
        for n in range(count)
    )


def test_conversations_are_on_one_side_and_stay_there(tmp_path: Path) -> None:
    """No id is in both files, and more conversations move none."""
    sides = {}
    for count in (30, 40):
        folder = written(tmp_path, "experiment=small", text=many(count), out=str(count))
        found = {
            side: {record["meta"]["conversation"] for record in snapshots(folder, side)}
            for side in (TRAIN, TEST)
        }
        assert not found[TRAIN] & found[TEST] and found[TEST]
        sides[count] = found
    assert sides[30][TEST] <= sides[40][TEST] and sides[30][TRAIN] <= sides[40][TRAIN]


def test_wordings_on_both_sides_are_few_and_listed(tmp_path: Path) -> None:
    """A test turn avoids training words where it has others; what is left is in the report."""
    folder = written(tmp_path, "noise=typos", text=many(40))
    said = {
        side: {
            normal(message["content"])
            for record in snapshots(folder, side)
            for message in record["messages"]
            if message["role"] == "user"
        }
        for side in (TRAIN, TEST)
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    listed = {normal(word) for word in manifest["overlap"]["shared"]}
    assert said[TRAIN] & said[TEST] <= listed
    assert "yes" in listed and "list disks" not in said[TEST]
    assert "`yes`" in (folder / "README.md").read_text()


def test_limit_is_an_upper_bound_that_all_conversations_share(tmp_path: Path) -> None:
    """At most `limit` snapshots, and every conversation gives some."""
    folder = written(tmp_path, "limit=60", "split=none")
    found = Counter(record["meta"]["conversation"] for record in snapshots(folder))
    assert sum(found.values()) <= 60
    assert set(found) == {"look-01", "install-01", "name-01"}


def test_shorter_versions_are_prefixes_on_machines_of_their_own(tmp_path: Path) -> None:
    """With truncations, early turns are seen on more machines than late ones."""
    options = ("split=none", "scenarios_per_conversation=1", "variations=2")
    machines: dict[int, set[int]] = {1: set(), 2: set(), 3: set()}
    for record in snapshots(written(tmp_path, *options, "truncations=true")):
        if record["meta"]["conversation"] == "install-01":
            machines[record["meta"]["turn"]].add(record["meta"]["seed"])
    assert [len(machines[turn]) for turn in (1, 2, 3)] == [3, 2, 1]


def test_rewordings_differ_in_the_last_message_alone(tmp_path: Path) -> None:
    """Other words for the last message after the same history, with the same answer; the rest of
    the data set is what it is without them."""
    options = ("split=none", "scenarios_per_conversation=2", "variations=1")
    for name in ("plain", "more"):
        (tmp_path / name).mkdir()
    plain = snapshots(written(tmp_path / "plain", *options))
    more = snapshots(written(tmp_path / "more", *options, "rewordings=3"))
    assert len(more) > len(plain)

    def but_last(record: dict[str, Any]) -> str:
        given = {**record, "messages": record["messages"][:-1]}
        return json.dumps(given, sort_keys=True)

    # The first turn's history is empty: it holds for the words of later turns of the same machine.
    first = [record for record in more if record["meta"]["turn"] == 1]
    assert {but_last(r) for r in first} == {but_last(r) for r in plain if r["meta"]["turn"] == 1}
    groups = Counter(map(but_last, more))
    assert max(groups.values()) > 1
    texts = {(but_last(record), record["messages"][-1]["content"]) for record in more}
    assert len(texts) == len(more)


def test_truncations_says_how_many(tmp_path: Path) -> None:
    """false is none, true every length, a number so many of them."""
    cfg = config(f"conversations={corpus(tmp_path)}")
    job = gather(cfg, get_domain("installer")).jobs[1]
    assert lengths(job, False, 1) == []
    assert lengths(job, True, 1) == [1, 2]
    assert len(lengths(job, 1, 1)) == 1
    assert lengths(job, 9, 1) == [1, 2]


BAD_COMMAND = """\
- id: fine
  categories: [x]
  turns: [{user: hello, text: Hello.}]
- id: broken
  categories: [x]
  turns:
    - {user: hello again, text: Hello.}
    - user: format it
      command: "mkfs.ext4 {{ missing_disk }}"
"""


def test_a_failing_command_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    """file:line, conversation, turn, machine and reason; the folder is as it was."""
    with pytest.raises(PlanError) as caught:
        written(tmp_path, text=BAD_COMMAND)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/talks.yaml:8: conversation broken, turn 2, on ")
    assert "does not exist" in text and ("uefi" in text or "bios" in text)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talks.yaml"]


def test_a_failing_run_leaves_an_older_data_set_as_it_was(tmp_path: Path) -> None:
    """What was there before is there after, byte for byte, and nothing else."""
    folder = written(tmp_path)
    before = tree(folder)
    with pytest.raises(PlanError):
        written(tmp_path, text=BAD_COMMAND)
    assert tree(folder) == before


def test_a_variable_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says conversation, turn and variable."""
    text = CORPUS.replace("{{ fs }}", "{{ file_system }}")
    with pytest.raises(PlanError, match=r"talks.yaml:7: .*look-01, turn 2, .*'file_system'"):
        written(tmp_path, text=text)


def test_an_output_folder_below_a_file_is_an_error(tmp_path: Path) -> None:
    """OutputError, and nothing beside it."""
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot write .*out"):
        written(tmp_path, out="out/below")
    assert (tmp_path / "out").read_text() == "a file"


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path: Path) -> None:
    """With 100 kB a file (RLIMIT_FSIZE), the run fails in one line and leaves no file."""
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from llmkit.augment import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"conversations={corpus(tmp_path)}", "output_dir=out"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talks.yaml"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount program")
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    """On a 1 MB tmpfs: OutputError that says why, and the disk is as empty as before."""
    options = ("variations=300", "noise=typos")
    with pytest.raises(OutputError, match="No space left on device"):
        written(tmp_path, *options, out="small/out")
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_leaves_nothing(tmp_path: Path, workers: int) -> None:
    """SIGINT to the process group in the middle: exit code 130, one line, no file."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llmkit.augment", f"conversations={corpus(tmp_path)}",
         "output_dir=out", "variations=100000", "noise=typos", f"workers={workers}"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    for _ in range(600):
        if any(path.stat().st_size for path in tmp_path.glob("out/.llmkit-*/training/*.jsonl")):
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.splitlines()) == (130, ["augment: interrupted"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talks.yaml"]


def test_a_killed_run_leaves_no_process(tmp_path: Path) -> None:
    """Its workers end with it, though nobody can tell them to: not one holds its stderr open. What it
    had written is removed by the next run, and what another run is writing is not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llmkit.augment", f"conversations={corpus(tmp_path)}",
         "output_dir=out", "variations=100000", "noise=typos", "workers=2"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        if any(path.stat().st_size for path in tmp_path.glob("out/.llmkit-*/training/*.jsonl")):
            break
        time.sleep(0.1)
    else:
        pytest.fail("it wrote nothing")
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=30)  # until everybody has closed it
    killed = list(tmp_path.glob("out/.llmkit-*"))
    assert len(killed) == 1
    with Staged(tmp_path / "out") as staged:
        growing = staged.path("note")
        growing.write_text("beside it")
        assert not killed[0].exists()
        written(tmp_path, out="out")
        assert growing.exists()
        staged.commit()
    assert (tmp_path / "out/note").read_text() == "beside it"
    assert (tmp_path / "out/manifest.json").exists()
    assert not list(tmp_path.glob("out/.llmkit-*"))


def test_a_lock_of_others_on_the_folder(tmp_path: Path) -> None:
    """Who holds one (`flock out …`) stops nobody: what is written is written, and nothing is removed."""
    (tmp_path / "out/.llmkit-left").mkdir(parents=True)
    lock = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with Staged(tmp_path / "out") as staged:
        staged.path("note").write_text("in spite of it")
        staged.commit()
    assert (tmp_path / "out/note").read_text() == "in spite of it"
    assert (tmp_path / "out/.llmkit-left").is_dir()
    os.close(lock)
    with Staged(tmp_path / "out"):
        assert not (tmp_path / "out/.llmkit-left").exists()


OLD = [
    {"id": "old-good", "turns": [{"user": "show", "type": "command", "command": "lsblk"}]},
    {"id": "old-bad", "turns": [
        {"user": "format", "type": "command", "command": "mkfs.ext4 {ROOT_PARTITION}"}]},
]  # fmt: skip


def old_corpus(folder: Path) -> Path:
    path = folder / "old.jsonl"
    path.write_text("\n".join(map(json.dumps, OLD)))
    return path


def test_older_conversations_that_fail_are_dropped_named_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is written; the drop is on stderr, in the manifest and in the card."""
    path = old_corpus(tmp_path)
    manifest = augment(config(f"conversations={path}", f"output_dir={tmp_path}/out", "split=none"))
    assert manifest is not None
    assert [item["conversation"] for item in manifest["dropped"]] == ["old-bad"]
    assert f"dropped: {path}:2: conversation old-bad: turn 1" in capsys.readouterr().err
    assert "old-bad" in (tmp_path / "out/README.md").read_text()
    assert {r["meta"]["conversation"] for r in snapshots(tmp_path / "out")} == {"old-good"}


def test_strict_makes_a_drop_an_error(tmp_path: Path) -> None:
    """strict=true: LlmkitError (exit code 1), nothing written."""
    with pytest.raises(LlmkitError, match="1 conversations were dropped"):
        augment(
            config(
                f"conversations={old_corpus(tmp_path)}", f"output_dir={tmp_path}/out", "strict=true"
            )
        )
    assert not (tmp_path / "out").exists()


def test_conversations_that_fit_no_machine_are_named(tmp_path: Path) -> None:
    """boot=bios leaves the UEFI conversation out: named in the manifest and the card."""
    folder = written(tmp_path, "boot=bios")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["unfit"] == ["install-01"]
    assert "install-01" in (folder / "README.md").read_text()


def test_nothing_that_fits_is_an_error(tmp_path: Path) -> None:
    """A corpus of which nothing is left is refused, not written empty."""
    text = CORPUS.replace("categories:", "when: {disks: 9}\n  categories:").replace(
        "  when: {boot: uefi}\n", ""
    )
    with pytest.raises(RecordError, match="no conversation is left"):
        written(tmp_path, text=text)


def test_a_side_may_be_empty(plain: Path) -> None:
    """split=none: the test file is there, and empty."""
    assert (plain / FILES[TEST]).read_bytes() == b""


def test_preview_prints_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two examples on stdout; no folder."""
    folder = written(tmp_path, "preview=2")
    out = capsys.readouterr().out
    assert out.count("## Current System State") == 2
    assert not folder.exists()


def test_check_names_every_failure_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """check=true: each failing turn with file and line, an error at the end, nothing written."""
    second = BAD_COMMAND.partition("- id: broken")[2]
    two = f"{BAD_COMMAND}- id: broken-too{second}"
    with pytest.raises(LlmkitError, match="2 failures in 3 conversations"):
        written(tmp_path, "check=true", text=two)
    lines = [line for line in capsys.readouterr().out.splitlines() if "broken" in line]
    assert [line.partition(": conversation")[0] for line in lines] == [
        f"{tmp_path}/talks.yaml:8", f"{tmp_path}/talks.yaml:14"
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talks.yaml"]


SOURCES = st.lists(
    st.sampled_from(
        ["use ", "{{ target.path }}", "{{ username }}", "{{fs}}", "{{ boot.mode }}", "{{ live }}",
         "{{ nothing }}", "{{ target.nothing }}", "{{ disks | length }}", "{{ boot }}", "{% if fs %}",
         "{% endif %}", "{{ copy() }}", "{{ disks }}", "}}", "{{", "\0", "{# x #}", "{{ target }}"]
    ),
    max_size=5,
).map("".join)  # fmt: skip


@given(source=SOURCES, seed=st.integers(0, 50))
def test_simple_slots_are_filled_as_jinja_fills_them(source: str, seed: int) -> None:
    """The short cut gives what Jinja2 gives, errors included."""
    domain = get_domain("installer")
    machine = next(domain.scenarios(config(), random.Random(seed), {}, None))
    variables = domain.variables(machine, machine.state)

    def outcome(fill: Any) -> str:
        try:
            return str(fill())
        except TemplateError as error:
            return f"error: {error.reason}"

    everything = bind(domain.templates(), variables)
    assert outcome(lambda: Bound(domain, variables).render(source, "x")) == outcome(
        lambda: render(source, everything, "x")
    )


def test_a_block_of_variations_does_not_depend_on_the_others(tmp_path: Path) -> None:
    """A piece written alone is the piece written among others."""
    cfg = config(f"conversations={corpus(tmp_path)}", "variations=1200", "noise=typos")
    sources = gather(cfg, get_domain("installer"))
    emitter = Emitter(cfg, sources.jobs, sources.taken)
    alone = emitter.batch((Piece(1, None, 2, 1),))
    emitter.batch((Piece(0, None, 0, 0),))
    fresh = Emitter(cfg, sources.jobs, sources.taken)
    fresh.batch((Piece(1, None, 2, 0),))
    assert fresh.batch((Piece(1, None, 2, 1),)).data == alone.data
