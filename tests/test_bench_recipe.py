"""benchmarks/recipe.py: shares of conversations, means of adapters, and variants as real processes.

pytest tests/test_bench_recipe.py
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapters import write_adapter
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "recipe.py"
sys.path.insert(0, str(ROOT / "benchmarks"))

import _recipe_average  # noqa: E402
import _recipe_data  # noqa: E402
import _recipe_plan  # noqa: E402
import _recipe_plots  # noqa: E402
import _recipe_table  # noqa: E402
import recipe  # noqa: E402

from llmkit.errors import ConfigError, LlmkitError, RecordError  # noqa: E402
from llmkit.toolkit import find_toolkit  # noqa: E402

CONTEXT = "## Current System State\n\n- Boot mode: UEFI\n\n## Available Disks\n\n- /dev/sda: 100G"


def snapshot(conversation: str, turn: int) -> dict[str, Any]:
    """A snapshot whose words say where it is from."""
    answer = (
        {"type": "command", "command": "lsblk"}
        if turn % 2
        else {"type": "text", "response": f"Which ones, {turn}?"}
    )
    return {
        "system_context": CONTEXT,
        "messages": [{"role": "user", "content": f"list the disks of {conversation}, {turn}"}],
        "expected_response": answer,
        "meta": {"conversation": conversation, "turn": turn},
    }


def written(folder: Path, sizes: dict[str, int]) -> Path:
    """So many snapshots of each conversation, the conversations taking turns in the file."""
    path = folder / "all.jsonl"
    rows = [
        snapshot(name, turn)
        for turn in range(1, max(sizes.values()) + 1)
        for name, count in sizes.items()
        if turn <= count
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[tuple[str, int]]:
    """Conversation and turn of each line."""
    found = [json.loads(line)["meta"] for line in path.read_text().splitlines()]
    return [(meta["conversation"], meta["turn"]) for meta in found]


# Shares


percents = st.floats(0, 100, allow_nan=False)


@given(st.text(), percents, percents)
def test_a_smaller_share_is_part_of_a_larger_one(name: str, first: float, second: float) -> None:
    """Whoever is in the smaller is in the larger; all are in 100%, none in 0%."""
    small, large = sorted((first, second))
    assert not _recipe_data.in_share(name, small) or _recipe_data.in_share(name, large)
    assert _recipe_data.in_share(name, 100) and not _recipe_data.in_share(name, 0)


def test_a_share_is_about_that_share() -> None:
    """Of 4,000 names a quarter and a half, within five standard deviations."""
    for percent in (25, 50):
        share = percent / 100
        count = sum(_recipe_data.in_share(f"talk-{n}", percent) for n in range(4000))
        assert abs(count - 4000 * share) < 5 * (4000 * share * (1 - share)) ** 0.5


names = st.text("abcdefghij-0123456789", min_size=1, max_size=6)


@given(st.dictionaries(names, st.integers(1, 4), min_size=12, max_size=40), st.integers(0, 9))
def test_parts_hold_whole_conversations(sizes: dict[str, int], seed: int) -> None:
    """Each conversation is held out or trained on as a whole, and a share's snapshots are all
    among the larger's, in the order of the file; nothing is lost."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = written(folder, sizes)
        everything = read(data)
        try:
            parts = _recipe_data.split(
                data, folder, shares=(30, 70, 100), held_out=0.4, losses=10**6, cases=3, seed=seed
            )
        except ConfigError:  # few conversations, and a part has none
            return
        held = set(read(parts["loss"].path))
        rest = [item for item in everything if item not in held]
        trained = {share: read(parts[f"train-{share}"].path) for share in (30, 70, 100)}
        assert trained[100] == rest
        assert set(trained[30]) <= set(trained[70]) <= set(trained[100])
        assert set(read(parts["cases"].path)) <= held
        assert len(read(parts["cases"].path)) == min(3, len(held))
        for found in (held, *map(set, trained.values())):
            for name, count in sizes.items():
                assert sum(item[0] == name for item in found) in (0, count)
        for name, part in parts.items():
            lines = read(part.path)
            assert part.snapshots == len(lines), name
            assert part.conversations == len({line[0] for line in lines}), name


def test_few_machines_make_no_part_of_what_is_held_out_smaller(tmp_path: Path) -> None:
    """Of three machines a conversation, the first two train; all three are held out."""
    path = tmp_path / "all.jsonl"
    rows = []
    for place in range(60):
        row = snapshot(f"talk-{place // 6}", place % 6 + 1)  # two turns on each machine
        row["meta"]["seed"] = place // 2
        rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = _recipe_data.split(
        path, tmp_path, shares=(100,), held_out=0.4, losses=99, cases=99, seed=1, machines=2
    )
    trained, held = read(parts["train-100"].path), read(parts["cases"].path)
    talks = {f"talk-{n}" for n in range(10)}
    out = {name for name, _ in held}
    assert out and out != talks
    assert sorted(held) == sorted((name, turn) for name in out for turn in range(1, 7))
    assert sorted(trained) == sorted((name, turn) for name in talks - out for turn in range(1, 5))


def test_a_record_that_is_no_snapshot_is_named(tmp_path: Path) -> None:
    """By file and line, before anything is written."""
    data = written(tmp_path, {"a": 1})
    with data.open("a") as stream:
        stream.write('{"messages": []}\n')
    with pytest.raises(RecordError, match=r"all\.jsonl:2"):
        _recipe_data.split(data, tmp_path, shares=(100,), held_out=0.5, losses=1, cases=1, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]


# Variants


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("a:x=1", "a", ["x=1"]),
        ("a:x=1,y.z=2", "a", ["x=1", "y.z=2"]),
        ("a:x=[p,q],y=2", "a", ["x=[p,q]", "y=2"]),
        ("a:x={p: 1,q: [2,3]},y=2", "a", ["x={p: 1,q: [2,3]}", "y=2"]),
        ("a:x='p,q',y=b:c", "a", ["x='p,q'", "y=b:c"]),
    ],
)
def test_variants_are_read(text: str, name: str, options: list[str]) -> None:
    """Commas within brackets and quotes belong to the value."""
    assert _recipe_plan.parsed(text) == (name, options)


@pytest.mark.parametrize("text", ["a", "a:", ":x=1", "a:x", "a/b:x=1", "a:x=1,", "-a:x=1"])
def test_what_is_no_variant_is_refused(text: str) -> None:
    """Without a name that can be a folder, or an option with a value."""
    with pytest.raises(ConfigError, match="--variants"):
        _recipe_plan.parsed(text)


def test_a_later_option_takes_the_place_of_an_earlier_one() -> None:
    """Of the same name; Hydra would refuse two choices for a group."""
    found = _recipe_plan.merged(["seed=1", "lora=rank16"], ["+lora=rank32"], ["seed=2", "a=b"])
    assert found == ("+lora=rank32", "seed=2", "a=b")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--variants", "a:optim.label_smothing=0.1"],
         "--variants a: optim.label_smothing: no such option; did you mean optim.label_smoothing?"),
        (["--variants", "a:optim.lr=fast"], "--variants a: optim.lr: "),
        (["--all", "lora=rank99"], "--all: lora=rank99: no such option"),
        (["--all", "max_steps=7"], "--all: max_steps is set by recipe.py"),
        (["--all", "adapter=nowhere"], "--all: adapter=nowhere: no such folder"),
        (["--evaluate", "groundd=true"], "--evaluate: groundd: no such option; did you mean grounded?"),
        (["--curve", "0", "50"], "--curve 0: "),
        (["--variants", "a:seed=1", "a:seed=2"], "--variants a: there is another"),
        (["--variants", "base:seed=1"], "--variants base: there is another"),
        (["--average", "base", "b"], "--average base b: no variant b; there are base"),
        (["--average", "base"], "--average base: name two"),
        (["--variants", "a:seed=1", "--average", "base", "a"], "do not begin at the same weights"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, nothing written, the wrong word in the line."""
    data = written(tmp_path, {f"talk-{n}": 2 for n in range(12)})
    out = tmp_path / "out"
    assert recipe.main(["--data", str(data), "--out", str(out), "--curve", "100", *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert not out.exists()


# Means


def test_the_mean_is_the_mean(tmp_path: Path) -> None:
    """Of each tensor of three adapters, as numpy has it; config and prompt come along."""
    folders = [write_adapter(tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    for folder in folders:
        (folder / "prompt_config.json").write_text("{}")
    _recipe_average.average(folders, tmp_path / "mean")
    loaded = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    mean = load_file(tmp_path / "mean" / "adapter_model.safetensors")
    assert mean.keys() == loaded[0].keys()
    for name, tensor in mean.items():
        due = np.mean([each[name].astype(np.float64) for each in loaded], axis=0)
        np.testing.assert_allclose(tensor, due, rtol=1e-5, atol=1e-7)
    for name in ("adapter_config.json", "prompt_config.json"):
        assert (tmp_path / "mean" / name).read_bytes() == (folders[0] / name).read_bytes()


def test_the_mean_of_trained_adapters_says_so(tmp_path: Path) -> None:
    """Its record and its card are the first one's, and name all; a prompt of before the wording is the
    same as one with it."""
    folders = [write_adapter(tmp_path / str(seed), seed) for seed in (1, 2)]
    for folder, options in zip(folders, ({"wording": True}, {}), strict=True):
        (folder / "prompt_config.json").write_text(json.dumps({"options": options}))
    shipped = find_toolkit().data / "adapters" / "installer-smollm2-135m"
    shutil.copyfile(shipped / "training.json", folders[0] / "training.json")
    _recipe_average.average(folders, tmp_path / "mean")
    told = json.loads((tmp_path / "mean" / "training.json").read_text())
    assert [one["folder"] for one in told["averaged"]] == [str(folder) for folder in folders]
    card = (tmp_path / "mean" / "README.md").read_text()
    for folder in folders:
        sha = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
        assert f"| {folder.name} | `{sha}` |" in card
    assert told["command"] in card
    (folders[1] / "prompt_config.json").write_text(json.dumps({"options": {"wording": False}}))
    with pytest.raises(LlmkitError, match="other prompts"):
        _recipe_average.average(folders, tmp_path / "none")


@pytest.mark.parametrize(
    "other", [{"rank": 8}, {"lora_alpha": 1}, {"layers": ("mlp.up_proj",)}, {"use_rslora": True}]
)
def test_adapters_that_are_not_alike_have_no_mean(other: dict[str, Any], tmp_path: Path) -> None:
    """Another rank, scaling or set of layers; nothing is written."""
    first, second = write_adapter(tmp_path / "a", 1), write_adapter(tmp_path / "b", 2, **other)
    with pytest.raises(LlmkitError, match="other"):
        _recipe_average.average([first, second], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


# Figures


def test_the_table_has_intervals_and_failures() -> None:
    """By hand: two rows and a failed one."""
    score = {"mean": 0.5, "low": 0.4012, "high": 0.612, "n": 10}
    row = {
        "name": "a", "options": ["optim.lr=1e-3"], "share": 100, "mean_of": None, "error": None,
        "conversations": 1234, "passes": 0.125, "held_out_loss": 1.23456, "seconds": 12.6,
        "scores": {"type": score, "state": score},
        "against_base": {"state": {"difference": -0.021, "low": -0.05, "high": 0.0149}},
    }  # fmt: skip
    failed = {**row, "name": "b", "error": "no room"}
    mean = {**row, "name": "c", "mean_of": ["a", "b"], "options": [], "conversations": None,
            "passes": None, "seconds": None, "against_base": {}}  # fmt: skip
    assert _recipe_table.table([row, failed, mean])[2:] == [
        "| a | optim.lr=1e-3 | 1,234 | 0.12 | 1.235 | 50.0% (40–61) | 50.0% (40–61)"
        " | -2.1 (-5.0 to +1.5) | 13 |",
        "| b | optim.lr=1e-3 | failed: no room | | | | | | |",
        "| c | mean of a, b |  |  | 1.235 | 50.0% (40–61) | 50.0% (40–61) |  |  |",
    ]


def test_the_kept_picture_is_of_the_kept_table(tmp_path: Path) -> None:
    """docs/plots/progress.json can be drawn, and every point has its scores within intervals."""
    table = ROOT / "docs/plots/progress.json"
    _recipe_plots.progress(table, tmp_path / "progress.png")
    assert (tmp_path / "progress.png").read_bytes().startswith(b"\x89PNG")
    for point in json.loads(table.read_text())["points"]:
        for name in ("type", "state", "guard"):
            value, *span = point.get(name, [0])
            assert not span or span[0] <= value <= span[1], point


# The whole


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], int, str]:
    """A curve of two points, a variant, one that must fail, and a mean: the folder, the command,
    its exit code and what it said."""
    place = tmp_path_factory.mktemp("recipe")
    data = written(place, {f"talk-{n}": 3 for n in range(16)})
    command = [
        sys.executable, str(SCRIPT), "--data", str(data), "--out", str(place / "out"),
        "--steps", "3", "--curve", "50", "100", "--held-out", "0.3", "--snapshots", "4",
        "--losses", "4", "--jobs", "2", "--all", "model=tiny", "data.tokens_per_step=512",
        "log_every=1", "--evaluate", "max_tokens=3", "bootstrap=50",
        "--variants", "smooth:optim.label_smoothing=0.2,optim.lr=5e-3", "lost:lora.targets=[nosuch]",
        "--average", "base", "smooth",
    ]  # fmt: skip
    done = ran(command)
    return place / "out", command, done.returncode, done.stderr


def ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def rows(out: Path) -> dict[str, Any]:
    """recipe.json's variants by name."""
    found = json.loads((out / "recipe.json").read_text())["variants"]
    return {row["name"]: row for row in found}


def test_variants_run_and_one_that_fails_stops_none(made: tuple[Path, list[str], int, str]) -> None:
    """Each has a loss and scores on the same cases, after as many steps; the failed one its reason."""
    out, _, code, said = made
    found = rows(out)
    assert list(found) == ["base", "data-50", "smooth", "lost", "mean-of-base-smooth"], said
    assert code == 1
    assert "nosuch" in found.pop("lost")["error"]
    for name, row in found.items():
        assert row["error"] is None, name
        assert row["held_out_loss"] > 0 and row["cases"] == 4, name
        assert 0 <= row["scores"]["state"]["low"] <= row["scores"]["state"]["high"] <= 1, name
    trained = [found[name] for name in ("base", "data-50", "smooth")]
    assert [row["steps"] for row in trained] == [3, 3, 3]
    assert trained[1]["conversations"] < trained[0]["conversations"] == trained[2]["conversations"]
    assert trained[1]["passes"] > trained[0]["passes"]
    assert trained[0]["held_out_loss"] != trained[2]["held_out_loss"]
    assert (out / "recipe.png").read_bytes().startswith(b"\x89PNG")
    assert "[base] step 3/3" in said
    assert "| smooth | optim.label_smoothing=0.2 optim.lr=5e-3 |" in (out / "recipe.md").read_text()


def test_no_variant_trains_on_what_is_held_out(made: tuple[Path, list[str], int, str]) -> None:
    """By the digests in training.json, the files are the parts; by their lines, they share none."""
    out, *_ = made
    told = json.loads((out / "recipe.json").read_text())["parts"]
    held = {name for part in ("loss", "cases") for name, _ in read(Path(told[part]["path"]))}
    for name, row in rows(out).items():
        if name == "lost" or row["mean_of"]:
            continue
        training = json.loads((Path(row["folder"]) / "adapter/training.json").read_text())
        part = told["train-50" if name == "data-50" else "train-100"]
        assert list(training["data"]["train"]["sha256"].values()) == [part["sha256"]]
        assert list(training["data"]["eval"]["sha256"].values()) == [told["loss"]["sha256"]]
        assert not held & {conversation for conversation, _ in read(Path(part["path"]))}


def test_the_mean_of_variants_is_an_adapter(made: tuple[Path, list[str], int, str]) -> None:
    """Its tensors lie halfway, within bfloat16's rounding, and its loss is of weights that stood still."""
    from safetensors.torch import load_file as load

    found = rows(made[0])
    names = ("base", "smooth", "mean-of-base-smooth")
    first, second, mean = (
        load(Path(found[name]["folder"]) / "adapter/adapter_model.safetensors") for name in names
    )
    still = load(Path(found[names[2]]["folder"]) / "loss/adapter_model.safetensors")
    moved = 0
    for name, tensor in mean.items():
        due = (first[name].double() + second[name].double()) / 2
        assert ((tensor.double() - due).abs() <= due.abs() / 256).all()
        assert (still[name] == tensor).all()
        moved += int((first[name] != second[name]).any())
    assert moved


def test_the_same_command_goes_on(made: tuple[Path, list[str], int, str]) -> None:
    """What is there is not run again, what failed is; the figures are those of before."""
    out, command, *_ = made
    before = rows(out)
    kept = {
        path: path.stat().st_mtime_ns
        for path in (out / "variants").rglob("*")
        if path.is_file() and Path(before["lost"]["folder"]) not in path.parents
    }
    assert kept
    done = ran(command)
    assert done.returncode == 1, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert set(re.findall(r"^\[([\w-]+)\]", done.stderr, re.MULTILINE)) == {"lost"}
    assert rows(out) == before
