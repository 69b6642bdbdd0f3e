"""llmkit: from conversation templates to a small, served, evaluated assistant.

Every stage is a module that can be run, and `--help` says what it takes:

    python -m llmkit.augment --help

Importing this package imports nothing else: no Hydra, no pydantic, no torch.
"""

__version__ = "0.1.0"
