"""Where conf/, templates/ and data/ are found, in which order, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmkit import toolkit
from llmkit.errors import ToolkitNotFound

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """find_toolkit exports the variable: keep it from other tests."""
    monkeypatch.setenv(toolkit.VARIABLE, "x")
    monkeypatch.delenv(toolkit.VARIABLE)


def make(folder: Path) -> Path:
    """A folder that looks like a toolkit."""
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "augment.yaml").write_text("seed: 1\n")
    return folder


def test_a_checkout_finds_itself() -> None:
    """Without the variable, the checkout beside the package is taken."""
    found = toolkit.find_toolkit()
    assert (found.root, found.source) == (ROOT, "checkout")
    assert (found.conf, found.templates, found.data) == tuple(
        ROOT / name for name in ("conf", "templates", "data")
    )


def test_the_variable_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLM_TOOLKIT_PATH wins over the checkout."""
    monkeypatch.setenv(toolkit.VARIABLE, str(make(tmp_path / "mine")))
    found = toolkit.find_toolkit()
    assert (found.root, found.source) == (tmp_path / "mine", "LLM_TOOLKIT_PATH")


@pytest.mark.parametrize("value", ["", "nowhere", "/dev/null", "."])
def test_a_wrong_variable_is_an_error(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set and wrong never falls back to another place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(toolkit.VARIABLE, value)
    with pytest.raises(ToolkitNotFound, match="LLM_TOOLKIT_PATH"):
        toolkit.find_toolkit()


def test_a_relative_variable_is_exported_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that start in another folder find the same toolkit."""
    make(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(toolkit.VARIABLE, "mine")
    toolkit.find_toolkit()
    assert os.environ[toolkit.VARIABLE] == str(tmp_path / "mine")


def test_a_conf_folder_alone_is_not_a_toolkit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stray `conf` package is passed over; what was tried is listed."""
    (tmp_path / "stray" / "conf").mkdir(parents=True)
    make(tmp_path / "real")
    places = [("first", tmp_path / "stray"), ("second", tmp_path / "real")]
    monkeypatch.setattr(toolkit, "candidates", lambda: places)
    found = toolkit.find_toolkit()
    assert (found.root, found.source) == (tmp_path / "real", "second")
    assert found.tried == [("first", tmp_path / "stray")]


def test_nothing_found_names_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where was looked."""
    monkeypatch.setattr(
        toolkit, "candidates", lambda: [("a", tmp_path / "a"), ("b", tmp_path / "b")]
    )
    with pytest.raises(ToolkitNotFound, match=f"{tmp_path}/a, {tmp_path}/b"):
        toolkit.find_toolkit()


def test_the_order_of_places() -> None:
    """Checkout, package, beside the executable, prefix, /usr, /usr/local."""
    places = [path for _, path in toolkit.candidates()]
    assert places[:2] == [ROOT, ROOT / "llmkit" / "_share"]
    assert places[-2:] == [Path("/usr/share/llm-toolkit"), Path("/usr/local/share/llm-toolkit")]
    assert Path(sys.prefix) / "share" / "llm-toolkit" in places


def test_an_installed_package_finds_what_it_carries(tmp_path: Path) -> None:
    """`python -m llmkit.toolkit` from a wheel-like tree prints its _share and why."""
    package = tmp_path / "site" / "llmkit"
    package.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "toolkit.py"):
        shutil.copy(ROOT / "llmkit" / name, package)
    make(package / "_share")
    done = subprocess.run(
        [sys.executable, "-m", "llmkit.toolkit"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"toolkit:   {package / '_share'}" in done.stdout
    assert "found by:  installed package" in done.stdout
    assert f"tried before: {tmp_path / 'site'} (checkout)" in done.stdout
