"""Products appear whole or not at all: written beside their place, renamed into it.

A crash, a full disk or a failed check leaves what was there before, never half a file. What fails
on the way is told in one sentence, whichever library noticed it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ogive.model import OutputError

__all__ = ["atomic_dir", "atomic_path"]

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed there",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
}


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """Write a file that appears at ``final`` only when it is whole.

    Yields a path of the same name in a hidden folder beside ``final``, so that suffixes and side
    files work as they would there. On leaving, the file is flushed to the disk and renamed; on an
    exception it is removed. Missing folders are made.

    Parameters
    ----------
    final
        Where the file shall be; a file that is there already is replaced in one step.

    Raises
    ------
    OutputError
        If the place cannot be written (no permission, no space, a folder of that name), whether
        the operating system says so here or inside the ``with`` block.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "note.txt") as path:
    ...         _ = path.write_text("whole")
    ...     (Path(folder) / "note.txt").read_text()
    'whole'
    """
    final = Path(final)
    with _explained(final):
        if final.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with _workshop(final) as folder:
            written = folder / final.name
            yield written
            if not written.is_file():
                raise OutputError(f"{final} was not written: its writer left no file")
            _flush(written)
            written.replace(final)


@contextmanager
def atomic_dir(final: str | Path) -> Iterator[Path]:
    """Write a folder (such as a Zarr store) that appears at ``final`` only when it is whole.

    Yields an empty folder beside ``final``. On leaving, it is renamed; a folder that was there
    before is moved aside first and removed last, and put back if the rename fails.

    Parameters
    ----------
    final
        Where the folder shall be.

    Raises
    ------
    OutputError
        If the place cannot be written, or ``final`` is a file.
    """
    final = Path(final)
    with _explained(final):
        if final.exists() and not final.is_dir():
            raise OutputError(f"{final} cannot be written: it is a file, not a folder")
        with _workshop(final) as folder:
            written = folder / final.name
            written.mkdir()
            yield written
            before = folder / f"{final.name}.before"
            if final.is_dir():
                final.rename(before)
            try:
                written.rename(final)
            except OSError:
                if before.is_dir():
                    before.rename(final)
                raise


@contextmanager
def _workshop(final: Path) -> Iterator[Path]:
    """Lend a hidden folder beside the final place."""
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = final.parent / f".{final.name}.{secrets.token_hex(4)}.partial"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _explained(final: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a sentence."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        raise OutputError(f"{final} cannot be written: {reason}; nothing was left there") from error


def _flush(path: Path) -> None:
    """Have the disk hold the file's bytes before its name says that they are there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
