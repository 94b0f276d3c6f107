"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ogive.model import OutputError

__all__ = ["file_sha256", "written_whole"]


@contextmanager
def written_whole(final: Path, *, durable: bool = True) -> Iterator[Path]:
    """Lend a path beside ``final`` and rename what was written there into its place.

    `ogive.store.atomic` does the same for products; it lies a floor above.

    Parameters
    ----------
    final
        Where the file shall be; missing folders are made.
    durable
        Whether to wait until the disk holds it, so that it outlives a power failure.

    Raises
    ------
    OutputError
        If the place cannot be written; nothing is left there.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{final.name}.", suffix=".partial", dir=final.parent
        ) as folder:
            partial = Path(folder) / final.name
            yield partial
            if durable:
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
            partial.replace(final)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        reason = error.strerror or str(error)
        raise OutputError(f"{final} cannot be written: {reason}; nothing was left there") from error


def file_sha256(path: str | Path) -> str:
    """Give the SHA-256 of a file in hexadecimal.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "empty"
    ...     path.touch()
    ...     file_sha256(path)[:16]
    'e3b0c44298fc1c14'
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
