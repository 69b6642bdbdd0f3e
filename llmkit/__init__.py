"""llmkit: from conversation templates to a small, served, evaluated assistant.

Every stage is a module that can be run, and `--help` says what it takes:

    python -m llmkit.augment --help

Importing this package imports nothing else: no Hydra, no pydantic, no torch.
"""

__version__ = "0.1.0"


def _need_packages() -> None:
    """`python -m llmkit.STAGE` by a Python that has none of llmkit's packages ends in two lines: it is
    where people land who forgot to activate their environment."""
    import sys
    from importlib.util import find_spec

    if sys.argv[:1] == ["-m"] and find_spec("hydra") is None:  # "-m": while a module is looked for
        sys.exit(
            f"error: llmkit's packages are not installed for {sys.executable}\n"
            "       activate the environment that has them, or: pip install . (README, Set up)"
        )


_need_packages()
