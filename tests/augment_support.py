"""What the tests of augmentation share: configs composed as the command line would, and a small
corpus."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from llmkit.config import AugmentConfig
from llmkit.stage_errors import validated
from llmkit.toolkit import find_toolkit

CORPUS = """\
- id: look-01
  categories: [beginner]
  turns:
    - user: [list disks, what drives do I have?, show me the disks]
      command: lsblk
      reply: "I can see {{ disks | length }} drive(s)."
    - user: [what is ext4?, tell me about ext4]
      text: ["A file system.", "The usual file system of {{ target.path }} would be {{ fs }}."]
- id: install-01
  categories: [full-install, beginner]
  when: {boot: uefi}
  turns:
    - user: ["set up {{ target.path }}", "please partition {{ target.name }}"]
      command: "{{ partition(target) }}"
    - user: ["yes", format it please]
      command: "{{ format(target) }}"
    - user: [mount it, now mount everything]
      command: "{{ mount(target) }}"
- id: name-01
  categories: [hostname]
  start: copied
  turns:
    - user: ["call it {{ hostname }}", "the host name is {{ hostname }}"]
      command: "{{ set_hostname(hostname) }}"
    - user: ["no, {{ hostname_alt }}", "rather {{ hostname_alt }}"]
      command: "{{ set_hostname(hostname_alt) }}"
"""


@cache
def _values(overrides: tuple[str, ...]) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(find_toolkit().conf)):
        return OmegaConf.to_container(compose("augment", list(overrides)), resolve=True)


def config(*overrides: str) -> AugmentConfig:
    """The config of `python -m llmkit.augment OVERRIDES`."""
    made: AugmentConfig = validated(AugmentConfig, _values(overrides))
    return made


def corpus(folder: Path, text: str = CORPUS) -> Path:
    """A corpus file in `folder`."""
    path = folder / "talks.yaml"
    path.write_text(text, "utf-8")
    return path
