"""What importing costs, who may import whom, what --help needs, and what a wheel carries."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import llmkit

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CORE = sorted(
    path
    for path in (ROOT / "llmkit").rglob("*.py")
    if "installer" not in path.relative_to(ROOT / "llmkit").parts
)
STAGES = sorted(
    path.stem for path in CORE if re.search(r"^\w+ = stage\(", path.read_text(), re.MULTILINE)
)
HEAVY = ["hydra", "omegaconf", "matplotlib", "numpy", "torch", "transformers", "litserve"]

# Runs a module as `python -m` does and prints which of the named modules it loaded.
PROBE = """
import json, runpy, sys
watched = json.loads(sys.argv.pop(1))
sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit as stop:
    assert not stop.code, stop.code
print("LOADED", json.dumps([name for name in watched if name in sys.modules]))
"""


def loaded(watched: list[str], module: str, *arguments: str) -> tuple[list[str], str]:
    """Which of `watched` running the module imports, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(watched), module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    output, _, names = done.stdout.rpartition("LOADED ")
    found: list[str] = json.loads(names)
    return found, output


def test_importing_the_package_is_light() -> None:
    """`import llmkit` loads no other module of ours and no package of others."""
    code = "import sys; before = set(sys.modules); import llmkit; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["llmkit"]


def test_no_core_module_imports_the_installer() -> None:
    """Not even inside a function; a domain is reached by name through its entry point."""
    found = []
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(path.name, name) for name in names if name.startswith("llmkit.installer")]
    assert found == []


def test_no_domain_is_loaded_by_the_core() -> None:
    """Importing every module outside llmkit.installer leaves it unloaded."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in CORE
        if path.name != "__main__.py"
    ]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.startswith('llmkit.installer')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_import_contracts_hold() -> None:
    """import-linter's contracts in pyproject.toml, as the lint session checks them."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_help_is_light(stage: str) -> None:
    """--help exits with 0 and loads neither Hydra nor anything heavier, nor a domain."""
    heavy, output = loaded([*HEAVY, "llmkit.installer"], f"llmkit.{stage}", "--help")
    assert heavy == []
    assert f"Usage: python -m llmkit.{stage}" in output
    assert "Examples:" in output


def test_there_is_a_stage_for_each_root() -> None:
    """conf/NAME.yaml and llmkit/NAME.py come in pairs."""
    roots = {path.stem for path in (ROOT / "conf").glob("*.yaml")}
    assert {name for name in roots if not name.startswith("base_")} == set(STAGES)


def test_the_readme_lists_every_stage_and_nothing_else() -> None:
    """Each module in the README's table can be run, and no stage is missing from it."""
    table = (ROOT / "README.md").read_text().partition("## Stages")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `llmkit\.([\w.]+)` \|", table, re.MULTILINE)
    assert set(STAGES) <= set(listed)
    for name in listed:
        source = (ROOT / "llmkit" / (name.replace(".", "/") + ".py")).read_text()
        assert '__name__ == "__main__"' in source


def test_versions_agree() -> None:
    """pyproject.toml and llmkit.__version__ name the same version."""
    assert PROJECT["project"]["version"] == llmkit.__version__


def test_constraints_pin_every_base_and_dev_dependency() -> None:
    """Each is pinned exactly, torch included, inside the range that pyproject.toml allows."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            assert version, f"{line} is not an exact pin"
            pins[canonicalize_name(name)] = version
    extras = PROJECT["project"]["optional-dependencies"]
    for text in [*PROJECT["project"]["dependencies"], *extras["dev"], *extras["train"]]:
        requirement = Requirement(text)
        pinned = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), text


def test_the_wheel_carries_what_discovery_looks_for(tmp_path: Path) -> None:
    """All of conf/, templates/, the conversations and the adapters go to llmkit/_share; nothing generated."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "installer = llmkit.installer:domain" in archive.read(points).decode()
    for folder in ("conf", "templates", "data/conversations", "data/adapters"):
        tree = {
            f"llmkit/_share/{path.relative_to(ROOT)}"
            for path in (ROOT / folder).rglob("*")
            if path.is_file()
        }
        assert tree == {name for name in names if name.startswith(f"llmkit/_share/{folder}/")}
    assert not [name for name in names if "data/training" in name or "data/testing" in name]
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "llmkit").rglob("*.py")}
    assert sources == {name for name in names if name.endswith(".py")}
