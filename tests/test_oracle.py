"""The effects against the real disk tools: random sequences of commands, compared after each.

    python -m pytest -q -s tests/test_oracle.py                       # about 25 s
    LLMKIT_ORACLE=2000 python -m pytest -q -s tests/test_oracle.py    # as many sequences

With LLMKIT_ORACLE_NO_SHRINK=1 a difference is printed and the run goes on, with new disks; it fails
at its end. Prints how many sequences and commands ran, and how many the real tools accepted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.oracle.client import Sandbox, obstacle
from tests.oracle.machine import COUNTS, DiskMachine

SEQUENCES = int(os.environ.get("LLMKIT_ORACLE", "30"))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    reason = obstacle()
    if reason:
        pytest.skip(f"no real disks to compare with: {reason}")
    running = Sandbox(Path(tmp_path_factory.mktemp("oracle")))
    yield running
    running.close()


def test_effects_do_what_the_real_tools_do(sandbox: Sandbox) -> None:
    """After every command of every sequence, model and real disks agree."""
    DiskMachine.sandbox = sandbox
    COUNTS.clear()
    random = "LLMKIT_ORACLE" in os.environ
    quick = DiskMachine.goes_on = "LLMKIT_ORACLE_NO_SHRINK" in os.environ
    run_state_machine_as_test(
        DiskMachine,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=15,
            deadline=None,
            database=None,
            derandomize=not random,
            print_blob=False,
            report_multiple_bugs=False,
            phases=(Phase.generate,) if quick or not random else (Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
    share = COUNTS["accepted"] / COUNTS["commands"]
    print(
        f"\n{COUNTS['sequences']} sequences ({COUNTS['sequences of 5 or more']} of 5 or more), "
        f"{COUNTS['commands']} commands, {share:.1%} accepted by the real tools"
    )
    for name in sorted(key for key in COUNTS if f"{key} accepted" in COUNTS):
        print(f"  {name:12} {COUNTS[name]:6} {COUNTS[f'{name} accepted'] / COUNTS[name]:6.1%}")
    print(f"{COUNTS['differences']} differences")
    assert share > 0.5
    assert not COUNTS["differences"]
