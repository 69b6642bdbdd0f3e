"""Write several files so that they appear together or not at all.

    with Staged("data") as staged:
        staged.open("training/augmented_dataset.jsonl").write(…)
        staged.commit()

The files grow in a hidden folder inside the output folder, on the same file system. `commit` makes
them durable and gives them their names, with Ctrl-C held back meanwhile. Leaving the block without
it, for whatever reason, removes everything, folders that were made for it included. A hidden folder
whose process was killed (SIGKILL, a power cut) is removed by the next one that writes there: flock(2)
tells which are in use, and where a file system has no such locks, nothing is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from llmkit.errors import OutputError
from llmkit.interrupts import held
from llmkit.output import sync_folder

_BUFFER = 1 << 20
_PREFIX = ".llmkit-"


class Staged:
    """A set of files below one output folder. Raises OutputError for whatever cannot be written."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._made: list[Path] = []  # folders that were not there before, outermost first
        self._temporary: Path | None = None
        self._lock: int | None = None  # held on the hidden folder while it is in use
        self._streams: dict[str, BinaryIO] = {}

    def __enter__(self) -> Staged:
        try:
            for place in reversed([self.folder, *self.folder.parents]):
                if not place.exists():
                    place.mkdir()
                    self._made.append(place)
            self._begin()
        except OSError as error:
            self._discard()
            raise OutputError(self.folder, error) from error
        return self

    def _begin(self) -> None:
        """Make the hidden folder, after those that killed runs left. One process at a time does so; where
        somebody else holds a lock on the output folder, nothing is removed."""
        door = os.open(self.folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # no such locks here, or not ours
                _wait_for(door)
                for left in self.folder.glob(f"{_PREFIX}*/"):
                    _remove_unused(left)
            self._temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self.folder))
            self._lock = os.open(self._temporary, os.O_RDONLY)
            with contextlib.suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            os.close(door)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._discard()
        if isinstance(error, OSError):
            raise OutputError(self.folder, error) from error

    def _discard(self) -> None:
        with held(signal.SIGINT, signal.SIGTERM):
            for stream in self._streams.values():
                with contextlib.suppress(OSError):  # what cannot be flushed is thrown away anyway
                    stream.close()
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)
            for place in reversed(self._made):
                with contextlib.suppress(OSError):  # not empty: it holds results
                    place.rmdir()

    def path(self, name: str) -> Path:
        """Where the file `name` (relative, with slashes) grows; its folder exists."""
        assert self._temporary is not None, "outside the with block"
        path = self._temporary / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def open(self, name: str) -> BinaryIO:
        """The file `name`, to be written; `commit` closes it."""
        stream = open(self.path(name), "wb", buffering=_BUFFER)  # noqa: SIM115  commit closes it
        self._streams[name] = stream
        return stream

    def commit(self) -> None:
        """Make every file durable and give it its name. Files of these names are replaced."""
        assert self._temporary is not None, "outside the with block"
        try:
            for stream in self._streams.values():
                stream.close()
            names = sorted(
                path.relative_to(self._temporary)
                for path in self._temporary.rglob("*")
                if path.is_file()
            )
            for name in names:
                _sync(self._temporary / name)
                if (self.folder / name).is_dir():
                    raise IsADirectoryError(21, "Is a directory", str(self.folder / name))
            with held(signal.SIGINT, signal.SIGTERM):
                for name in names:
                    (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                for name in names:
                    os.replace(self._temporary / name, self.folder / name)
                for place in {(self.folder / name).parent for name in names}:
                    sync_folder(place)
        except OSError as error:
            raise OutputError(error.filename or self.folder, error) from error


def _wait_for(door: int, seconds: float = 2.0) -> None:
    """Take the lock. Raises OSError where there are none, and when others still hold it after a while."""
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def _remove_unused(folder: Path) -> None:
    """Remove a hidden folder unless a process has its lock. Raises OSError where there are no locks."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # in use
    finally:
        os.close(lock)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
