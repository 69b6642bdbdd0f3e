"""sed's regular expressions, held against the real sed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from llmkit.installer.run import run_command
from llmkit.installer.state import SystemState

TEXT = "a[b]-c &d|e~f 12\tg\n#en_US.UTF-8 UTF-8\n"
SCRIPTS = [
    "s/[[]/X/", "s/[][]/X/g", "s/[a[b]/X/g", "s/[&|~]/X/g", "s/[&&]/X/", "s/[+--]/X/g",
    "s/[||~~]/X/g", "s/[[:space:]]/_/g", "s/[[:digit:]]/N/g", "s/[^[]/X/", "s/^#\\(en_US\\)/\\1/",
    "s/#en_US/en_US/", "s/[0-9]*/N/",
]  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_sets_mean_what_they_mean_to_sed(script: str, tmp_path: Path) -> None:
    """sed -i on the model leaves what the real sed leaves, or says that it does not know."""
    real = tmp_path / "locale.gen"
    real.write_text(TEXT)
    subprocess.run(["sed", "-i", script, str(real)], check=True, env={"LC_ALL": "C.UTF-8"})
    state = SystemState()
    for line in (f"printf '%s' '{TEXT}' > /etc/locale.gen", f"sed -i '{script}' /etc/locale.gen"):
        outcome = run_command(line, state)
        assert outcome.status == 0, outcome.error
        state = outcome.state
    content = dict(state.live.files)["/etc/locale.gen"]
    assert content is None or content == real.read_text()


def test_the_usual_scripts_are_followed() -> None:
    """Most of these scripts are known, so that the test above holds something."""
    known = 0
    for script in SCRIPTS:
        state = run_command(f"printf '%s' '{TEXT}' > /etc/locale.gen", SystemState()).state
        state = run_command(f"sed -i '{script}' /etc/locale.gen", state).state
        known += dict(state.live.files)["/etc/locale.gen"] is not None
    assert known >= 11
