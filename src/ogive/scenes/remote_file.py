"""A file on a server, read as if it lay here: block by block, each block fetched once."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import groupby

from .cache import Cache
from .errors import DamagedImageError
from .signing import Signer
from .transport import Piece, Retries, fetch

__all__ = ["RemoteFile"]

BLOCK_BYTES = 256 * 1024
"""Ranges are fetched and kept in blocks of this size.

A tile of a cloud-optimised GeoTIFF of Sentinel-2 is about 1.5 MB and starts anywhere: larger blocks
fetch more of its neighbours than is needed, smaller ones make more files. Neighbouring blocks that
are missing are fetched by one request.
"""

_KEPT_BLOCKS = 64


class RemoteFile(io.RawIOBase):
    """A file on a server for a reader that seeks, as GDAL does.

    The reader is C code through which no exception can pass: where a block cannot be had, the file
    seems to end from then on, and ``failure`` holds the reason.

    Parameters
    ----------
    url
        Without a signature.
    cache
        Keeps the blocks; without one they are kept for as long as the file is open.
    """

    def __init__(self, url: str, *, cache: Cache | None, signer: Signer, retries: Retries) -> None:
        self.url = url
        self.failure: Exception | None = None
        self._cache, self._signer, self._retries = cache, signer, retries
        self._kept: dict[int, bytes] = {}
        self._position = 0
        self._size_bytes: int | None = None

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether any place of it can be read: yes."""
        return True

    def tell(self) -> int:
        """Place of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Read from the place on; too little, or nothing, where a block cannot be had."""
        end = self.size_bytes if size < 0 else min(self._position + size, self.size_bytes)
        if end <= self._position or self.failure is not None:
            return b""
        first, last = self._position // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        try:
            joined = b"".join(self._blocks(range(first, last + 1)))
        except Exception as error:
            self.failure = error
            return b""
        data = joined[self._position - first * BLOCK_BYTES : end - first * BLOCK_BYTES]
        self._position += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read into a buffer as much as it holds."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @property
    def size_bytes(self) -> int:
        """Size of the whole file; 0 where it cannot be had."""
        if self._size_bytes is None:
            try:
                self._size_bytes = self._find_size_bytes()
            except Exception as error:
                self.failure = error
                self._size_bytes = 0
        return self._size_bytes

    def forget(self) -> None:
        """Have everything fetched again the next time, for what was fetched is of no use."""
        if self._cache is not None:
            for number in range(-(-self.size_bytes // BLOCK_BYTES)):
                self._cache.drop(self._key(str(number)))
            self._cache.drop(self._key("size"))
        self._kept.clear()

    def _find_size_bytes(self) -> int:
        kept = self._cache.get(self._key("size")) if self._cache is not None else None
        if kept is not None:
            return int(json.loads(kept))
        next(self._blocks(range(1)))
        if self._size_bytes is None:  # the block was in the cache, its size was given up
            self._size_bytes = self._fetched(0, 1).total_bytes
        return self._size_bytes

    def _blocks(self, numbers: range) -> Iterator[bytes]:
        """Give blocks in their order; all that are missing are fetched first."""
        found = {number: self._get(number) for number in numbers}
        missing = [number for number, data in found.items() if data is None]
        if missing and self._cache is not None:
            with self._cache.lock(self.url):
                found |= {number: self._get(number) for number in missing}
                found |= self._fetch_missing(found)
        elif missing:
            found |= self._fetch_missing(found)
        for number in numbers:
            yield found[number] or b""

    def _fetch_missing(self, found: dict[int, bytes | None]) -> dict[int, bytes]:
        missing = [number for number, data in found.items() if data is None]
        fetched: dict[int, bytes] = {}
        for run in _runs(missing):
            if run.start in fetched and run[-1] in fetched:
                continue  # a server without ranges gave the whole file
            piece = self._fetched(run.start * BLOCK_BYTES, run.stop * BLOCK_BYTES)
            fetched |= self._put(piece)
        return {number: fetched[number] for number in missing if number in fetched}

    def _fetched(self, start: int, stop: int) -> Piece:
        piece = fetch(self.url, start, stop, signer=self._signer, retries=self._retries)
        if self._size_bytes not in (None, 0, piece.total_bytes):
            raise DamagedImageError(
                f"{self.url} changed on the server while it was read: it had {self._size_bytes} "
                f"bytes and has {piece.total_bytes}; clear the cache and read it again"
            )
        expected = min(stop, piece.total_bytes)
        if piece.start + len(piece.data) < expected:
            raise DamagedImageError(f"{self.url} gives {len(piece.data)} bytes of {stop - start}")
        self._size_bytes = piece.total_bytes
        return piece

    def _put(self, piece: Piece) -> dict[int, bytes]:
        first = piece.start // BLOCK_BYTES
        blocks = {
            first + number: piece.data[at : at + BLOCK_BYTES]
            for number, at in enumerate(range(0, len(piece.data), BLOCK_BYTES))
        }
        if self._cache is not None:
            for number, data in blocks.items():
                self._cache.put(self._key(str(number)), data)
            self._cache.put(self._key("size"), json.dumps(piece.total_bytes).encode())
        self._keep(blocks)
        return blocks

    def _get(self, number: int) -> bytes | None:
        """Look a block up here, then in the cache: GDAL reads a header in many small pieces."""
        kept = self._kept.get(number)
        if kept is None and self._cache is not None:
            kept = self._cache.get(self._key(str(number)))
            if kept is not None:
                self._keep({number: kept})
        return kept

    def _keep(self, blocks: dict[int, bytes]) -> None:
        if self._cache is not None and len(self._kept) + len(blocks) > _KEPT_BLOCKS:
            self._kept.clear()
        self._kept |= blocks

    def _key(self, part: str) -> str:
        return f"bytes {BLOCK_BYTES} {part} of {self.url}"


def _runs(numbers: list[int]) -> Iterator[range]:
    """Join neighbouring numbers, which are in order."""
    for _, run in groupby(enumerate(numbers), key=lambda place: place[1] - place[0]):
        members = [number for _, number in run]
        yield range(members[0], members[-1] + 1)
