"""conf/: every file composes and fits its stage's schema; the groups hold what they must."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from llmkit import stage_errors, stage_help
from llmkit.errors import ConfigError

CONF = Path(__file__).resolve().parent.parent / "conf"
FILES = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.yaml"))
ROOTS = [name for name in FILES if "/" not in name and not name.startswith("base_")]
OPTIONS = [name for name in FILES if "/" in name]


@pytest.fixture(scope="module", autouse=True)
def hydra_at_conf() -> Iterator[None]:
    """One Hydra for all of this file's compositions."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        yield


def composed(root: str, *overrides: str) -> Any:
    """The root's config with its choices; required keys get a value."""
    config = compose(root.removesuffix(".yaml"), list(overrides), return_hydra_config=True)
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, "given")
    return OmegaConf.to_container(config, resolve=True), choices


def schema_of(root: str) -> type:
    """NameConfig, in llmkit.config or llmkit.config_name."""
    name = root.removesuffix(".yaml")
    title = "".join(part.title() for part in name.split("_")) + "Config"
    shared = importlib.import_module("llmkit.config")
    if hasattr(shared, title):
        found: type = getattr(shared, title)
        return found
    own: type = getattr(importlib.import_module(f"llmkit.config_{name}"), title)
    return own


@cache
def defaults() -> dict[str, tuple[Any, Any]]:
    return {root: composed(root) for root in ROOTS}


def root_for(group: str, path: str) -> str:
    """The root that an option is for: named in its `Run:` line, else any that has the group."""
    named = re.search(r"# Run: python -m llmkit\.(\w+)", (CONF / path).read_text())
    if named:
        return f"{named[1]}.yaml"
    return next(root for root in ROOTS if group in defaults()[root][1])


def test_every_file_is_a_root_an_option_or_a_base() -> None:
    """No YAML under conf/ escapes the tests below."""
    bases = {name for name in FILES if "/" not in name and name.startswith("base_")}
    used = set()
    for root in ROOTS:
        used |= set(re.findall(r"^\s+- (base_\w+)$", (CONF / root).read_text(), re.MULTILINE))
    assert {f"{name}.yaml" for name in used} == bases
    assert len(ROOTS) + len(OPTIONS) + len(bases) == len(list(CONF.rglob("*.yaml")))
    assert not list(CONF.rglob("*.yml"))


@pytest.mark.parametrize("root", ROOTS)
def test_every_root_composes_and_fits_its_schema(root: str) -> None:
    """The defaults of a stage are valid, and no key is missing from the schema or the YAML."""
    values, _ = defaults()[root]
    schema = schema_of(root)
    stage_errors.validated(schema, values)
    assert set(values) == set(schema.__dataclass_fields__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", OPTIONS)
def test_every_option_composes_and_fits_its_schema(path: str) -> None:
    """Selecting an option gives a valid config in which it is the choice."""
    group, _, option = path.removesuffix(".yaml").rpartition("/")
    root = root_for(group, path)
    values, choices = composed(root, f"{group}={option}")
    assert choices[group] == option
    stage_errors.validated(schema_of(root), values)


@pytest.mark.parametrize("path", [*ROOTS, *OPTIONS])
def test_every_file_opens_with_what_it_is(path: str) -> None:
    """The first comment is the line that --help shows; an option's says how to select it."""
    assert stage_help.meaning(CONF / path)
    group, _, option = path.removesuffix(".yaml").rpartition("/")
    if group and not group.startswith("hydra"):
        assert f"{group}={option}" in (CONF / path).read_text()


@pytest.mark.parametrize("root", ROOTS)
def test_every_root_has_examples(root: str) -> None:
    """--help closes with two commands or more, each of this stage."""
    text = stage_help.text(root.removesuffix(".yaml"), "Summary.", [CONF])
    examples = text.split("Examples:\n")[1].splitlines()
    assert len(examples) >= 2
    assert all(f"llmkit.{root.removesuffix('.yaml')}" in example for example in examples)


@cache
def layouts(option: str) -> dict[str, Any]:
    values, _ = composed("augment.yaml", f"disk={option}")
    found: dict[str, Any] = values["disk"]["layouts"]
    return found


def test_disk_all_is_every_other_option() -> None:
    """disk=all holds the layouts of all other options, and none of its own."""
    others = [option for option in stage_help.options(CONF / "disk") if option != "all"]
    assert len(others) >= 8
    parts = [layouts(option) for option in others]
    assert layouts("all") == {key: body for part in parts for key, body in part.items()}
    assert len(layouts("all")) == sum(map(len, parts))


def test_disks_come_in_sizes_and_models() -> None:
    """Every disk has several sizes; together they are of 12 models or more."""
    disks = [disk for layout in layouts("all").values() for disk in layout["disks"]]
    assert all(len(disk["size"]) >= 2 for disk in disks)
    assert len({model for disk in disks for model in disk["model"] if model}) >= 12


def test_time_zones_exist() -> None:
    """40 zones or more, all of them in the tz database, each with words."""
    values, _ = composed("augment.yaml", "timezones=world")
    zones = values["timezones"]["zones"]
    assert len({zone["zone"] for zone in zones}) == len(zones) >= 40
    assert {zone["zone"] for zone in zones} <= available_timezones()
    assert all(zone["words"] for zone in zones)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seed": "abc"}, "seed: should be a valid integer (got 'abc')"),
        ({"seed": True}, "seed: should be a valid integer (got true)"),
        ({"workers": 0}, "workers: should be greater than or equal to 1 (got 0)"),
        ({"output_dir": ""}, "output_dir: should name a path (got '')"),
        ({"strict": "maybe"}, "strict: should be a valid boolean (got 'maybe')"),
        ({"sed": 1}, "sed: no such option; did you mean seed?"),
        (
            {"split": {"test": 0.1, "salt": "x", "slat": 1}},
            "split.slat: no such option; did you mean split.salt?",
        ),
        (
            {"boot": {"modes": ["uefi", "efi"]}},
            "boot.modes.1: should be 'uefi' or 'bios' (got 'efi')",
        ),
        ({"boot": {}}, "boot.modes: is required"),
        (
            {"disk": {"layouts": {"one": {"disks": [], "state": "empty"}}}},
            "disk.layouts.one.disks: "
            "list should have at least 1 item after validation, not 0 (got [])",
        ),
    ],
)
def test_wrong_values_are_named(change: dict[str, Any], line: str) -> None:
    """Each wrong key or value gives one line with its dotted path."""
    values, _ = defaults()["augment.yaml"]
    with pytest.raises(ConfigError) as caught:
        stage_errors.validated(schema_of("augment.yaml"), {**values, **change})
    assert str(caught.value) == line


def test_several_wrong_values_are_all_named() -> None:
    """Not only the first."""
    values, _ = defaults()["augment.yaml"]
    with pytest.raises(ConfigError) as caught:
        stage_errors.validated(schema_of("augment.yaml"), {**values, "seed": "x", "limit": -1})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["seed", "limit"]


def test_numbers_may_be_paths_and_names() -> None:
    """`output_dir=2024` is a folder named 2024, though Hydra reads a number."""
    values, _ = defaults()["augment.yaml"]
    config = stage_errors.validated(
        schema_of("augment.yaml"), {**values, "output_dir": 2024, "hostnames": {"names": [42]}}
    )
    assert config.output_dir == Path("2024")
    assert config.hostnames.names == ["42"]


def test_layouts_are_a_list_with_ids() -> None:
    """A mapping in YAML (so that files merge), a list for the code, in the same order."""
    values, _ = composed("augment.yaml", "disk=nvme_dual")
    config = stage_errors.validated(schema_of("augment.yaml"), values)
    names = ["nvme_dual", "nvme_dual_used", "nvme_dual_small_first"]
    assert [layout.id for layout in config.disk.layouts] == names
    assert [disk.name for disk in config.disk.layouts[0].disks] == ["nvme0n1", "nvme1n1"]


@pytest.mark.parametrize("path", sorted(CONF.glob("experiment/*.yaml")), ids=lambda path: path.stem)
def test_an_experiment_wins_over_the_roots_values(path: Path) -> None:
    """Every value that an experiment sets is in the config that it is composed into."""
    root = root_for("experiment", f"experiment/{path.name}").removesuffix(".yaml")
    config, choices = composed(root, f"experiment={path.stem}")
    said = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(said, dict)
    for override in said.pop("defaults", []):
        for group, option in override.items():
            assert choices[group.removeprefix("override /")] == option
    assert list(differing(said, config)) == []


def differing(said: Any, config: Any) -> Iterator[Any]:
    """Values of `said`, at any depth, that `config` does not have."""
    if not isinstance(said, dict):
        if said != config:
            yield said, config
        return
    for key, value in said.items():
        yield from differing(value, config[key])
