"""A folder that keeps what was read from afar, up to a size; the least used goes first.

Entries are files that appear whole, by renaming, and never change: several processes may share a
folder. Only who fetches an entry holds its lock, so that nothing is fetched twice at once. The time
of an entry's last use is its file's time of modification.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from ogive.model import InputError, OutputError

from .errors import FullDiskError

__all__ = ["Cache"]

_ROOM_AFTER_CLEARING = 0.9
_CLEARED_EVERY = 0.02  # of the limit; with the former this keeps five processes below it
_LOCKS = 256
_FORGOTTEN_S = 3600.0
_FULL = {errno.ENOSPC, errno.EDQUOT}
# Bytes that this process wrote into each folder since it last looked at the whole of it.
_written: dict[Path, int] = {}


class _Entry(NamedTuple):
    last_used: float
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder for what was read from afar.

    Parameters
    ----------
    folder
        Is made where it does not exist. Several processes may use it at once.
    max_bytes
        Size that the folder is held to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = Cache(Path(folder), max_bytes=1000)
    ...     cache.put("a name", b"what was read")
    ...     cache.get("a name"), cache.get("another")
    (b'what was read', None)
    """

    folder: Path
    max_bytes: int = 20_000_000_000

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise InputError(f"a cache of {self.max_bytes} bytes holds nothing: give at least 1")
        object.__setattr__(self, "folder", Path(self.folder).absolute())

    def get(self, key: str) -> bytes | None:
        """Read an entry and mark it as used; ``None`` where there is none."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Write an entry, and clear the folder where it has grown beyond its size.

        Raises
        ------
        FullDiskError
            If the disk is full even after half of the entries were given up.
        OutputError
            If the folder cannot be written.
        """
        try:
            self._write(key, data)
        except OSError as error:
            if error.errno not in _FULL:
                raise OutputError(
                    f"the cache {self.folder} cannot be written: {error.strerror or error}"
                ) from error
            self._write_on_full_disk(key, data)
        written = _written.get(self.folder)
        if written is None or written + len(data) > _CLEARED_EVERY * self.max_bytes:
            self.clear_to(self.max_bytes)
        else:
            _written[self.folder] = written + len(data)

    def drop(self, key: str) -> None:
        """Give up an entry, if there is one."""
        self._path(key).unlink(missing_ok=True)

    def _write_on_full_disk(self, key: str, data: bytes) -> None:
        """Give up half of the entries, and try once more."""
        self.clear_to(sum(entry.size for entry in self._entries()) // 2)
        try:
            self._write(key, data)
        except OSError as error:
            raise FullDiskError(
                f"the disk of the cache {self.folder} is full: free some space, or give the cache "
                "another folder"
            ) from error

    def _write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{secrets.token_hex(8)}.partial")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keep other processes and threads from fetching an entry, or one that shares its lock.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        number = int(_digest(key)[:8], 16) % _LOCKS
        folder = self.folder / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{number:03d}")
            lock.acquire()
        except OSError as error:
            full = error.errno in _FULL
            kind = FullDiskError if full else OutputError
            raise kind(
                f"the cache {self.folder} cannot be written: {error.strerror or error}"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def clear_to(self, most_bytes: int) -> None:
        """Give up the least used entries until the rest is well below a size, if it is above."""
        entries = sorted(self._entries())
        size = sum(entry.size for entry in entries)
        if size > most_bytes:
            for entry in entries:
                if size <= _ROOM_AFTER_CLEARING * most_bytes:
                    break
                entry.path.unlink(missing_ok=True)
                size -= entry.size
        _written[self.folder] = 0

    def _entries(self) -> Iterator[_Entry]:
        """All entries; what a process left half-written when it was killed is removed."""
        for folder in self.folder.glob("[0-9a-f][0-9a-f]"):
            for file in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    told = file.stat()
                    if file.name.endswith(".partial"):
                        if time.time() - told.st_mtime > _FORGOTTEN_S:
                            Path(file.path).unlink()
                        continue
                    yield _Entry(told.st_mtime, told.st_size, Path(file.path))

    def _path(self, key: str) -> Path:
        digest = _digest(key)
        return self.folder / digest[:2] / digest[2:]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
