"""Write a file whole or not at all.

    from llmkit.output import write_whole
    write_whole("report.json", text)

The bytes go to a hidden neighbour, are flushed to the disk, and take the name in one step. An error
on the way (a full disk, no permission, Ctrl-C) leaves what was there before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from llmkit.errors import OutputError


def sha256(path: Path) -> str:
    """The digest of a file's content, in hexadecimal, read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Replace `path` by `content` (text as UTF-8), making its folder first.

    Raises:
        OutputError: it cannot be written; nothing of it is left behind.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)  # mkstemp makes 0600; a result is as readable as any other file
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def sync_folder(folder: str | Path) -> None:
    """Make renames in `folder` last through a power cut (fsync(2) on the directory)."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
