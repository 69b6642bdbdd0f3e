"""The seam: a domain of another kind goes through the toolkit, and the toolkit knows none.

The second domain is a console of light switches: `on NAME`, `off NAME`. It is installed as a
package is, by a `.dist-info` folder on the path.
"""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest

from llmkit.domain import Domain, get_domain
from llmkit.errors import ConfigError

LIGHTS = '''
"""Light switches."""
from dataclasses import dataclass
from llmkit.domain import Applied


@dataclass(frozen=True)
class Room:
    on: tuple = ()


@dataclass(frozen=True)
class Evening:
    state: Room
    lamp: str

    @property
    def summary(self):
        return {"lamp": self.lamp}


@dataclass(frozen=True)
class Verdict:
    allowed: bool
    reason: str = ""
    missing: tuple = ()
    danger: str = "change"


LAMPS = ("desk", "hall")


class Lights:
    name = "lights"

    def templates(self):
        return ()

    def check_when(self, when, start):
        if when or start:
            raise ValueError("lights have no filters")

    def scenarios(self, cfg, rng, when, start):
        while True:
            yield Evening(Room(), rng.choice(LAMPS))

    def every_scenario(self, cfg, when, start):
        return (Evening(Room(), lamp) for lamp in LAMPS)

    def begin(self, scenario, start):
        return scenario.state

    def variables(self, scenario, state):
        return {"lamp": scenario.lamp}

    def to_context(self, state):
        return "on: " + (", ".join(state.on) or "none")

    def parse_context(self, text):
        names = text.removeprefix("on: ")
        return Room(() if names == "none" else tuple(names.split(", ")))

    def to_dict(self, state):
        return {"on": list(state.on)}

    def from_dict(self, data):
        return Room(tuple(data["on"]))

    def apply(self, state, command):
        verb, name = command.split()
        if name not in LAMPS:
            return Applied(state, 1, f"no lamp {name}")
        rest = tuple(lamp for lamp in state.on if lamp != name)
        return Applied(Room((*rest, name) if verb == "on" else rest), 0)

    def check(self, state, command):
        return Verdict(command.split()[0] in ("on", "off"), "only on and off")

    def tool_schema(self, state):
        return {"name": "switch"}

    def explain(self, state, command):
        return command


domain = Lights()
'''

TALK = """\
- id: evening-{n}
  categories: [light]
  turns:
    - user: ["light the {{{{ lamp }}}} lamp {n}", "{{{{ lamp }}}} on {n}"]
      command: "{verb} {name}"
    - {{user: "thanks {n}", text: "The {{{{ lamp }}}} lamp is on."}}
"""


def talks(count: int, verb: str = "on", name: str = "{{ lamp }}") -> str:
    return "".join(TALK.format(n=n, verb=verb, name=name) for n in range(count))


@pytest.fixture
def lights(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which the lights domain is installed."""
    site = tmp_path / "site"
    metadata = site / "lights-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "lights.py").write_text(LIGHTS)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lights\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[llmkit.domains]\nlights = lights:domain\n")
    return {"PYTHONPATH": os.pathsep.join([str(site), os.environ["PYTHONPATH"]])}


def test_another_domain_goes_through_augment_and_validate(
    tmp_path: Path, lights: dict[str, str], run_stage
) -> None:
    """Its conversations become snapshots, in two processes, that validate accepts."""
    (tmp_path / "talks.yaml").write_text(talks(20))
    done = run_stage(
        "augment", "domain.name=lights", "conversations=talks.yaml", "output_dir=out", "workers=2",
        cwd=tmp_path, env=lights,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["counts"]["snapshots"] > 50
    for name in ("training/augmented_dataset.jsonl", "testing/test_dataset.jsonl"):
        lines = (tmp_path / "out" / name).read_text().splitlines()
        second = [record for record in map(json.loads, lines) if record["meta"]["turn"] == 2]
        assert second
        for record in second:
            lamp = record["meta"]["scenario"]["lamp"]
            assert record["system_context"] == f"on: {lamp}"
            assert record["messages"][1]["content"] == f"$ on {lamp}"
        checked = run_stage("validate", f"file=out/{name}", "schema=snapshot", cwd=tmp_path)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "| lamp |" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("verb", "name", "reason"),
    [("on", "cellar", "no lamp cellar"), ("dim", "desk", "only on and off")],
)
def test_its_own_rules_hold(
    tmp_path: Path, lights: dict[str, str], run_stage, verb: str, name: str, reason: str
) -> None:
    """What the other domain's effects or guard refuse is an error with file and line."""
    (tmp_path / "talks.yaml").write_text(talks(1, verb, name))
    done = run_stage(
        "augment", "domain.name=lights", "conversations=talks.yaml", "output_dir=out",
        cwd=tmp_path, env=lights,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: talks.yaml:4: conversation evening-0, turn 1, on ")
    assert reason in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_domain_is_refused_with_the_known_ones() -> None:
    """ConfigError names what is installed."""
    with pytest.raises(ConfigError, match="no domain named 'lights'; installed are: installer"):
        get_domain("lights")


def test_the_installer_is_a_domain() -> None:
    """It has all that the Protocol asks for."""
    assert isinstance(get_domain("installer"), Domain)


def test_nothing_outside_the_installer_imports_it() -> None:
    """No module of the core and no stage imports llmkit.installer."""
    package = Path(__file__).resolve().parent.parent / "llmkit"
    for path in package.rglob("*.py"):
        if (package / "installer") in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            assert not any(name.startswith("llmkit.installer") for name in names), path
