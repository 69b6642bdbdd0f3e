"""llmkit.train: adapters from snapshots; resumed runs, several processes, refusals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from safetensors.torch import load_file

from llmkit.config_train import TrainConfig
from llmkit.errors import ConfigError, LlmkitError, RecordError
from llmkit.stage_errors import validated
from llmkit.train import TrainSummary, train
from llmkit.train_files import note_scores

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "loss.png",
    "metrics.jsonl",
    "answers.json",
    "prompt_config.json",
    "training.json",
    "words.json",
}


def snapshot(number: int, *, words: int = 1) -> dict[str, Any]:
    """A snapshot of a made-up conversation."""
    answer = (
        {"type": "command", "command": f"ls /mnt/{number}"}
        if number % 3
        else {"type": "text", "response": f"Disk {number} is empty."}
    )
    return {
        "system_context": f"- /dev/sda: {number}G",
        "messages": [{"role": "user", "content": f"look at {number} " + "please " * words}],
        "expected_response": answer,
        "meta": {"conversation": f"c{number % 4}", "turn": 1, "state": {}, "categories": []},
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 snapshots of different lengths."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    lines = [json.dumps(snapshot(number, words=1 + number % 7)) for number in range(48)]
    path.write_text("\n".join(lines) + "\n")
    return path


def command(data: Path, folder: Path, *more: str) -> list[str]:
    """The stage on the tiny model in float32."""
    return ["-m", "llmkit.train", *options(data, folder, *more)]


def options(data: Path, folder: Path, *more: str) -> list[str]:
    """Overrides of a short run."""
    chosen = any(text.startswith("experiment=") for text in more)
    tiny = ("model=tiny", "model.device=cpu", "model.dtype=float32")
    return [
        *(() if chosen else tiny),
        *(f"data.train={data}", f"data.eval={data}", "data.eval_limit=8", f"output_dir={folder}"),
        *("data.tokens_per_row=512", "data.tokens_per_batch=1000", "data.tokens_per_step=700"),
        *("epochs=2", "log_every=1"),
        *("eval_every=5", "lora.dropout=0.1", "threads=1", *more),
    ]


ENV = os.environ | {"OMP_NUM_THREADS": "1"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run python with `arguments`."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=ENV, capture_output=True, text=True, check=False
    )


def here(data: Path, folder: Path, *more: str) -> TrainSummary:
    """Train in this process, which has the packages loaded."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        made: Any = OmegaConf.to_container(
            compose("train", options(data, folder, *more)), resolve=True
        )
    return train(validated(TrainConfig, made))


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("unbroken") / "adapter"
    assert here(data, folder).folder == folder
    return folder


def losses(folder: Path) -> list[float]:
    """The losses in metrics.jsonl."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_the_folder_is_complete(unbroken: Path) -> None:
    """Every file is there, and no checkpoint is left."""
    assert {path.name for path in unbroken.iterdir()} == FILES
    training = json.loads((unbroken / "training.json").read_text())
    assert training["data"]["train"]["examples"] == 48
    assert training["result"]["steps"] == len(losses(unbroken)) >= 6
    assert (
        json.loads((unbroken / "adapter_config.json").read_text())["base_model_name_or_path"]
        == "tiny"
    )


def test_killed_and_resumed_is_unbroken(data: Path, unbroken: Path, tmp_path: Path) -> None:
    """kill -9 after a checkpoint, then the same command: the same bytes of weights."""
    folder = tmp_path / "adapter"
    arguments = command(data, folder, "save_every=2")
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=ENV, stderr=subprocess.DEVNULL
    )
    state = folder / "checkpoint" / "state.pt"
    until = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "training.json").exists()
    resumed = run(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from step" in resumed.stderr
    weights = "adapter_model.safetensors"
    assert (folder / weights).read_bytes() == (unbroken / weights).read_bytes()
    assert losses(folder) == losses(unbroken)


def test_two_processes_give_the_curve_of_one(data: Path, tmp_path: Path) -> None:
    """torchrun with two processes over gloo: the same losses within float32's rounding."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    one, two = tmp_path / "one", tmp_path / "two"
    here(data, one, "lora.dropout=0")
    second = run(*torchrun, *command(data, two, "lora.dropout=0"))
    assert second.returncode == 0, second.stderr
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    told = json.loads((two / "training.json").read_text())
    assert told["result"]["processes"] == 2
    assert told["command"].startswith("torchrun --nproc-per-node 2 -m llmkit.train ")


def test_a_finished_run_is_not_trained_again(data: Path, unbroken: Path) -> None:
    """The same config is done at once; another config, or resume=never, is refused."""
    before = {path.name: path.read_bytes() for path in unbroken.iterdir()}
    again = here(data, unbroken, "log_every=7")  # decides nothing about the weights
    assert again.steps == json.loads(before["training.json"])["result"]["steps"]
    with pytest.raises(ConfigError, match="another config or other data"):
        here(data, unbroken, "seed=7")
    with pytest.raises(ConfigError, match="not empty"):
        here(data, unbroken, "resume=never")
    assert {path.name: path.read_bytes() for path in unbroken.iterdir()} == before


def test_a_run_goes_on_from_an_adapter(data: Path, unbroken: Path, tmp_path: Path) -> None:
    """adapter=FOLDER: its weights are those of step 0, and other data may follow."""
    # A learning rate that moves nothing: what comes out is what went in, rounded as it was.
    here(data, tmp_path / "on", f"adapter={unbroken}", "optim.lr=1e-30", "max_steps=1")
    before, after = (folder / "adapter_model.safetensors" for folder in (unbroken, tmp_path / "on"))
    assert before.read_bytes() == after.read_bytes()
    told = json.loads((tmp_path / "on" / "training.json").read_text())
    assert told["adapter"]["folder"] == str(unbroken)


def test_an_adapter_of_another_shape_is_refused(data: Path, unbroken: Path, tmp_path: Path) -> None:
    """The error says what to add to the command."""
    with pytest.raises(ConfigError, match=r"add lora\.r=32 lora\.alpha=64\.0$"):
        here(data, tmp_path / "on", f"adapter={unbroken}", "lora.r=8", "lora.alpha=16")


@pytest.mark.parametrize("begun", [False, True], ids=["fresh", "going on"])
def test_lower_layers_stay_what_they_are(
    data: Path, unbroken: Path, tmp_path: Path, begun: bool
) -> None:
    """Below lora.from_layer no weight moves, above all do. The first loss is that of any run,
    closely where folded weights know no dropout."""
    more = (f"adapter={unbroken}",) if begun else ()
    told = {}
    for first in (0, 1):
        folder = tmp_path / str(first)
        here(data, folder, f"lora.from_layer={first}", "max_steps=3", *more)
        told[first] = losses(folder)
    assert told[1][0] == pytest.approx(told[0][0], rel=1e-2 if begun else 1e-5)
    after = load_file(tmp_path / "1" / "adapter_model.safetensors")
    before = load_file(unbroken / "adapter_model.safetensors")
    lower = {name for name in after if ".layers.0." in name and "lora_B" in name}
    upper = {name for name in after if ".layers.1." in name and "lora_B" in name}
    assert len(lower) == len(upper) == 7
    for name in lower:
        due = before[name] if begun else torch.zeros_like(after[name])
        assert torch.equal(after[name], due), name
    for name in upper:
        due = before[name] if begun else torch.zeros_like(after[name])
        assert not torch.equal(after[name], due), name


def test_a_layer_that_is_not_there_is_an_error(data: Path, tmp_path: Path) -> None:
    """With the numbers of those that are."""
    with pytest.raises(ConfigError, match=r"lora\.from_layer=2: the model has the layers 0 to 1$"):
        here(data, tmp_path / "out", "lora.from_layer=2")


def test_bad_data_is_named(tmp_path: Path) -> None:
    """A record that breaks the schema stops the run with file:line; no folder is made."""
    path = tmp_path / "bad.jsonl"
    broken = snapshot(2) | {"expected_response": {"type": "command"}}
    path.write_text(json.dumps(snapshot(1)) + "\n" + json.dumps(broken) + "\n")
    with pytest.raises(RecordError, match=re.escape(f"{path}:2")):
        here(path, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_long_snapshots_are_left_out_and_named(tmp_path: Path) -> None:
    """training.json counts them and says which lines they were."""
    path = tmp_path / "mixed.jsonl"
    lines = [snapshot(1), snapshot(2, words=900), snapshot(3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    here(path, tmp_path / "adapter", "prompt.max_tokens=900", "max_steps=1")
    found = json.loads((tmp_path / "adapter" / "training.json").read_text())["data"]["train"]
    assert (found["examples"], found["dropped_count"]) == (2, 1)
    assert found["dropped"][0].startswith(f"{path}:2: ")


def test_nothing_left_is_an_error(data: Path, tmp_path: Path) -> None:
    """When every snapshot is too long, the run stops and says so."""
    with pytest.raises(LlmkitError, match="all 48 snapshots .*\n.*max_tokens=8"):
        here(data, tmp_path / "adapter", "prompt.max_tokens=8")


def test_a_loss_that_is_not_finite_stops_the_run(data: Path, tmp_path: Path) -> None:
    """A step is named and no adapter is written."""
    more = ("optim.lr=1e30", "optim.grad_clip=null", "optim.warmup=0", "eval_every=null")
    with pytest.raises(LlmkitError, match="the loss of step"):
        here(data, tmp_path / "adapter", *more)
    assert not (tmp_path / "adapter" / "training.json").exists()


def test_the_config_for_a_gpu_runs_with_a_tiny_model(data: Path, tmp_path: Path) -> None:
    """gpu_smollm3_3b: checkpointing, rank 16 and bfloat16 run on a CPU; 4 bits ask for a GPU."""
    tiny = ("experiment=gpu_smollm3_3b", "model.source=tiny", "model.name=tiny", "model.seed=0")
    more = ("model.device=cpu", "model.dtype=bfloat16", "max_steps=2")
    folder = tmp_path / "adapter"
    with pytest.raises(ConfigError, match="model.quantization=4bit needs a GPU"):
        here(data, folder, *tiny, *more)
    assert not folder.exists()
    here(data, folder, *tiny, *more, "model.quantization=none")
    assert {path.name for path in folder.iterdir()} == FILES
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 16


def test_scores_go_into_the_card(unbroken: Path, tmp_path: Path) -> None:
    """Those of several evaluations, beside each other."""
    folder = tmp_path / "adapter"
    shutil.copytree(unbroken, folder)
    assert "Not measured yet" in (folder / "README.md").read_text()
    one = {"type": {"mean": 0.5, "n": 8, "conversations": [0.25, 0.75], "low": 0, "high": 1}}
    note_scores(folder, "first.jsonl (8 cases)", one)
    note_scores(folder, "second.jsonl (9 cases)", {"exact": one["type"] | {"mean": 0.125}})
    text = (folder / "README.md").read_text()
    assert "| type | 50.0% | 25.0% – 75.0% | 8 |" in text
    assert "On second.jsonl (9 cases);" in text and "| exact | 12.5% |" in text
    assert "Not measured yet" not in text
    with pytest.raises(ConfigError, match=r"training\.json"):
        note_scores(tmp_path, "x", one)
