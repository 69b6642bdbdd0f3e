"""Schemas of the stages' configs: the only validation, done once at entry.

Each root YAML under conf/ has a pydantic dataclass of the same shape here (or in
`llmkit/config_STAGE.py` for later stages); an unknown key or a wrong type is refused
before any work. Values and defaults live in the YAML alone, so no field here has one.
The groups that describe machines (disk, boot, locale, …) are what the stages hand to
the domain; the core looks into none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", frozen=True)


def _text(value: Any) -> Any:
    # Hydra reads `output_dir=2024` as a number.
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _path(value: Any) -> Any:
    value = _text(value)
    if value == "":
        raise ValueError("should name a path")
    return str(Path(value).expanduser()) if isinstance(value, str) else value


def _by_id(value: Any) -> Any:
    """Layouts are a mapping in YAML, so that files merge; the id is the key."""
    if not isinstance(value, Mapping):
        return value
    return [
        {"id": key, **body} if isinstance(body, Mapping) else body for key, body in value.items()
    ]


def plain(value: Any) -> Any:
    """A config, or a part of one, as JSON data."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


Text = Annotated[str, BeforeValidator(_text)]
FilePath = Annotated[Path, BeforeValidator(_path)]
# Strict: pydantic would take true for 1 and 2.0 for 2.
Int = Annotated[int, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Flag = Annotated[bool, Field(strict=True)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]


class RecordKind(Enum):
    """What a record file holds; each has a JSON Schema."""

    snapshot = "snapshot"
    conversation = "conversation"
    test_case = "test_case"


class Resume(Enum):
    """What a run does about an unfinished one in its output folder."""

    auto = "auto"  # go on with it, when it is of the same config and data
    never = "never"  # train: refuse a folder that is not empty; evaluate: begin anew


class Duplicates(Enum):
    """What validate does about records that stand twice."""

    ignore = "ignore"
    count = "count"
    error = "error"


@dataclass(config=STRICT)
class DomainConfig:
    """`name` is looked up in the entry-point group llmkit.domains; `options` are its own."""

    name: str
    options: dict[str, Any]


@dataclass(config=STRICT)
class DiskModel:
    """A disk to draw: one of `size` (as sold: "500GB"; powers of two: "64GiB") and `model`.

    `rotational` and `removable` are null where they follow from the kind; `live` marks
    the medium that the running live system came from.
    """

    name: str
    kind: Literal["sata", "hdd", "nvme", "virtio", "mmc", "usb"]
    size: Annotated[list[str], Field(min_length=1)]
    model: Annotated[list[Text], Field(min_length=1)]
    rotational: Flag | None = None
    removable: Flag | None = None
    live: Flag = False


@dataclass(config=STRICT)
class Layout:
    """The disks of one machine; `used` ones hold partitions of an earlier system."""

    id: str
    disks: Annotated[list[DiskModel], Field(min_length=1)]
    state: Literal["empty", "used"]


@dataclass(config=STRICT)
class DiskConfig:
    """Machines to draw from. In YAML `layouts` maps ids to layouts; here it is a list."""

    layouts: Annotated[list[Layout], BeforeValidator(_by_id), Field(min_length=1)]


@dataclass(config=STRICT)
class BootConfig:
    """Firmware modes to draw from."""

    modes: Annotated[list[Literal["uefi", "bios"]], Field(min_length=1)]


@dataclass(config=STRICT)
class NamesConfig:
    """Names (of hosts, of users) to draw from."""

    names: Annotated[list[Text], Field(min_length=1)]


@dataclass(config=STRICT)
class Zone:
    """A tz database name and the words people use for it."""

    zone: str
    words: Annotated[list[Text], Field(min_length=1)]


@dataclass(config=STRICT)
class TimezonesConfig:
    """Time zones to draw from."""

    zones: Annotated[list[Zone], Field(min_length=1)]


@dataclass(config=STRICT)
class Locale:
    """A locale, its console keymap, and the words people use for the language."""

    locale: str
    keymap: str
    words: Annotated[list[Text], Field(min_length=1)]


@dataclass(config=STRICT)
class LocaleConfig:
    """Locales to draw from."""

    locales: Annotated[list[Locale], Field(min_length=1)]


@dataclass(config=STRICT)
class FilesystemConfig:
    """Root file systems to draw from."""

    types: Annotated[list[Literal["ext4", "btrfs", "xfs", "f2fs"]], Field(min_length=1)]


@dataclass(config=STRICT)
class AskConfig:
    """What the chat and the page send with a question. `history` counts messages, the newest first."""

    history: Positive
    max_tokens: Positive
    temperature: Annotated[float, Field(ge=0.0, le=2.0)]


@dataclass(config=STRICT)
class MachineConfig:
    """What a domain draws machines from, in the stages that need some."""

    disk: DiskConfig
    boot: BootConfig
    hostnames: NamesConfig
    usernames: NamesConfig
    timezones: TimezonesConfig
    locale: LocaleConfig
    filesystem: FilesystemConfig


@dataclass(config=STRICT)
class NoiseConfig:
    """Slips in what the person types.

    `rate` is the share of wordings that get slips; `casing`, `punctuation`, `keys` and
    `letters` weigh the ways; `slips` is the most in one wording, `pool` the most slipped
    forms of one wording.
    """

    rate: Share
    casing: Weight
    punctuation: Weight
    keys: Weight
    letters: Weight
    slips: Positive
    pool: Positive


@dataclass(config=STRICT)
class SplitConfig:
    """`test` is the share of conversations held out, chosen by a hash of `salt` and id."""

    test: Share
    salt: Text


@dataclass(config=STRICT)
class AugmentConfig(MachineConfig):
    """conf/augment.yaml."""

    domain: DomainConfig
    noise: NoiseConfig
    split: SplitConfig
    conversations: FilePath | None
    output_dir: FilePath
    seed: Int
    workers: Positive
    variations: Positive
    scenarios_per_conversation: Positive
    rewordings: Count
    truncations: Flag | Count
    limit: Positive | None
    preview: Count
    check: Flag
    strict: Flag
    formats: Annotated[list[Literal["jsonl"]], Field(min_length=1)]


@dataclass(config=STRICT)
class ValidateConfig:
    """conf/validate.yaml."""

    file: FilePath
    schema: RecordKind
    duplicates: Duplicates
    max_chars: Positive


@dataclass(config=STRICT)
class ConvertConfig:
    """conf/convert.yaml."""

    domain: DomainConfig
    conversations: FilePath
    output_file: FilePath
    strict: Flag
