"""How long `--help` and a refused command line take, beside a bare Hydra app.

    python benchmarks/startup.py [repetitions]

Each command runs in a process of its own, in turn, `repetitions` times (default 7) after
one unmeasured round that warms the file cache. The bare app has one config file with the
same top-level keys as conf/augment.yaml and no groups. Times are wall-clock seconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

APP = """
import hydra

@hydra.main(version_base="1.3", config_path=".", config_name="app")
def main(cfg):
    pass

main()
"""


def bare_app(folder: Path) -> Path:
    """A Hydra app of the smallest kind, with as many options as augment has."""
    lines = (ROOT / "conf" / "augment.yaml").read_text(encoding="utf-8").splitlines()
    options = [line for line in lines if line[:1].isalpha() and not line.startswith("defaults")]
    (folder / "app.yaml").write_text("\n".join(options) + "\n", encoding="utf-8")
    script = folder / "app.py"
    script.write_text(APP, encoding="utf-8")
    return script


def seconds(command: list[str], folder: str) -> float:
    """Wall-clock time of one run; its output is thrown away."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print a table; the ratio is to the bare app's --help."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        python = sys.executable
        script = str(bare_app(Path(folder)))
        commands = {
            "python -c pass": [python, "-c", "pass"],
            "bare Hydra app --help": [python, script, "--help"],
            "bare Hydra app, run": [python, script],
            **{
                f"llmkit.{stage} --help": [python, "-m", f"llmkit.{stage}", "--help"]
                for stage in ("augment", "validate", "convert")
            },
            "llmkit.augment disk=nvme_daul": [python, "-m", "llmkit.augment", "disk=nvme_daul"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(repetitions + 1):
            for name, command in commands.items():
                taken = seconds(command, folder)
                if turn:
                    times[name].append(taken)
    base = statistics.median(times["bare Hydra app --help"])
    print(f"{'command':32} {'median s':>9} {'best s':>8} {'ratio':>6}")
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"{name:32} {middle:9.3f} {min(taken):8.3f} {middle / base:6.2f}")


if __name__ == "__main__":
    main()
