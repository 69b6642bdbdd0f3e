"""Keys of providers: from the environment or a .env file, and never shown.

    key = find_key(cfg.provider)  # "" when there is none
    scrub = Scrubber(key)
    scrub("401: sk-abc is not valid")  # "401: *** is not valid"

A key is read at the moment of use and kept out of configs, manifests, journals, logs and errors: all
text that comes from a server goes through a Scrubber before it is kept or printed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from llmkit.config_annotate import RemoteProvider
from llmkit.errors import ConfigError

_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*")


class Scrubber:
    """Takes a key out of text."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "Scrubber()"

    def __call__(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def find_key(provider: RemoteProvider) -> str:
    """The key, or "" when neither place has one.

    Raises ConfigError, without repeating the value, for a `key_env` that is no variable's name
    (somebody may have written the key there) and for an address that holds a password.
    """
    if not _NAME.fullmatch(provider.key_env):
        raise ConfigError(
            "provider.key_env must be the name of an environment variable, in capitals; a key "
            "itself never belongs on the command line or into a config"
        )
    if provider.base_url is not None and "@" in urlsplit(provider.base_url).netloc:
        raise ConfigError("provider.base_url must not hold a user name or password")
    key = os.environ.get(provider.key_env, "")
    if not key and provider.env_file is not None:
        key = from_file(Path(provider.env_file), provider.key_env)
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"{provider.key_env} holds characters that no key has")
    return key


def from_file(path: Path, name: str) -> str:
    """The value of `name` in a .env file (NAME=VALUE a line, # comments, quotes, `export`), or ""."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}") from None
    found = ""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or line.lstrip().startswith("#") or match[1] != name:
            continue
        value = match[2]
        quote = value[:1] if value[:1] in ("'", '"') else ""
        # as in a shell, the last one counts
        found = value[1:].partition(quote)[0] if quote else re.split(r"\s+#", value)[0]
    return found
