"""llmkit: from conversation templates to a small, served, evaluated assistant.

Every stage is a module that can be run, and `--help` says what it takes:

    python -m llmkit.augment --help

Importing this package imports nothing else: no Hydra, no pydantic, no torch.
"""

__version__ = "0.1.0"


def _need_packages() -> None:
    """A stage that is run by a Python without llmkit's packages ends in two lines: it is where people
    land who forgot to activate their environment. `llmkit.toolkit` and the modules of the installer
    that need nothing but Python are none."""
    import sys

    if sys.argv[:1] != ["-m"]:  # which it is while `python -m` looks for its module
        return
    from importlib.util import find_spec

    options = sys.orig_argv
    module = options[options.index("-m") + 1] if "-m" in options[:-1] else ""
    if module.count(".") == 1 and module != "llmkit.toolkit" and find_spec("hydra") is None:
        sys.exit(
            f"error: llmkit's packages are not installed for {sys.executable}\n"
            "       activate the environment that has them, or: pip install . (README, Set up)"
        )


_need_packages()
