"""Windows of large images at any scale, read when they are asked for.

A full Sentinel-2 tile has 120 million pixels: more than a screen shows, and two of them more than
some computers hold. Here a pair of images lies on one grid without being read. Its levels halve the
resolution one after the other: level 0 has the grid's own pixels, a pixel of level 1 is the mean of
2 x 2 of them, of level 2 of 4 x 4. Fine levels are read from the file window by window (from its
overviews where it has them); the coarse ones are read once and kept, a few million pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from ogive.model import InputError
from ogive.scenes.align import check_overlap, check_reference, grid_name
from ogive.scenes.lattice import covered_pixels, lattice_offset
from ogive.scenes.names import fill_value_from_name
from ogive.scenes.read import _band_number, _first_line, _geobox, _opened, _wrapped

__all__ = ["ImagePyramid", "PyramidPair", "open_pair"]

_KEPT_SIDE_PX = 2048  # the finest level that is kept in memory: 16 MB of float32
_COARSEST_SIDE_PX = 512  # the whole image at one look
_STRIP_ROWS = 256


class ImagePyramid:
    """One image on a grid, readable at any level; safe to use from several threads.

    Made by `open_pair`.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of the grid.
    levels : int
        How many levels there are; the last one shows the whole image in about 512 pixels.
    """

    def __init__(self, file: Any, number: int, grid: GeoBox, *, aligned: bool, name: str) -> None:
        self.shape: tuple[int, int] = (int(grid.shape[0]), int(grid.shape[1]))
        side = max(self.shape)
        self.levels = 1 + max(0, math.ceil(math.log2(side / _COARSEST_SIDE_PX)))
        self._kept_from = max(0, math.ceil(math.log2(side / _KEPT_SIDE_PX)))
        self._kept: NDArray[np.float32] | None = None
        self._file, self._number, self._grid, self._name = file, number, grid, name
        self._warped: dict[int, WarpedVRT] | None = None if aligned else {}
        self._nodata = file.nodatavals[number - 1]
        if self._nodata is None:
            self._nodata = fill_value_from_name(name)
        self._masked = MaskFlags.per_dataset in file.mask_flag_enums[number - 1]
        # GDAL's handles serve one thread at a time.
        self._lock = Lock()
        self._closed = False

    def size(self, level: int) -> tuple[int, int]:
        """Rows and columns of a level; a remainder smaller than one of its pixels is left out."""
        rows, columns = self.shape
        return max(1, rows >> level), max(1, columns >> level)

    def read(self, level: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Read a window of a level.

        Parameters
        ----------
        level
            0 for the grid's own pixels; each further level halves the resolution.
        rows, columns
            Pixels of that level; they may reach beyond the image.

        Returns
        -------
        numpy.ndarray
            float32 ``(y, x)`` of the size asked for, NaN without data and beyond the image. The
            pixel ``i`` of level ``n`` is the mean of the pixels ``i 2^n ... (i + 1) 2^n - 1``.

        Raises
        ------
        InputError
            If the level does not exist or the file cannot be read any more.
        """
        if not 0 <= level < self.levels:
            raise InputError(f"{self._name} has no level {level}, only 0 to {self.levels - 1}")
        height, width = self.size(level)
        top, bottom = max(0, rows.start), min(height, rows.stop)
        left, right = max(0, columns.start), min(width, columns.stop)
        found = np.full((rows.stop - rows.start, columns.stop - columns.start), np.nan, np.float32)
        if top < bottom and left < right:
            inside = self._inside(level, slice(top, bottom), slice(left, right))
            found[
                top - rows.start : bottom - rows.start,
                left - columns.start : right - columns.start,
            ] = inside
        return found

    def _inside(self, level: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        with self._lock, self._explained():
            if self._closed:
                raise InputError(f"{self._name} is closed: the session has ended")
            if level < self._kept_from:
                return self._from_file(level, rows, columns)
            if self._kept is None:
                self._kept = self._whole(self._kept_from)
            kept = self._kept
        ratio = 1 << (level - self._kept_from)
        if ratio == 1:
            return kept[rows, columns]
        fine = (
            slice(part.start * ratio, min(part.stop * ratio, length))
            for part, length in zip((rows, columns), kept.shape, strict=True)
        )
        return _block_means(kept[tuple(fine)], ratio)

    def _whole(self, level: int) -> NDArray[np.float32]:
        height, width = self.size(level)
        whole = np.empty((height, width), np.float32)
        for top in range(0, height, _STRIP_ROWS):
            rows = slice(top, min(height, top + _STRIP_ROWS))
            whole[rows] = self._from_file(level, rows, slice(0, width))
        return whole

    def _from_file(self, level: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        if self._warped is not None:
            window = Window(columns.start, rows.start, shape[1], shape[0])
            pixels: NDArray[np.float32] = self._warped_level(level).read(1, window=window)
            return pixels
        ratio = 1 << level
        place = ~self._file.transform * (self._grid.transform.c, self._grid.transform.f)
        first_column, first_row = (round(value) for value in place)
        window = Window(
            first_column + columns.start * ratio,
            first_row + rows.start * ratio,
            min(shape[1] * ratio, self.shape[1]),
            min(shape[0] * ratio, self.shape[0]),
        )
        how = Resampling.average if level else Resampling.nearest
        raw = self._file.read(self._number, window=window, out_shape=shape, resampling=how)
        pixels = raw.astype(np.float32)
        if self._nodata is not None and not np.isnan(self._nodata):
            pixels[raw == self._nodata] = np.nan
        if self._masked:
            pixels[self._file.read_masks(self._number, window=window, out_shape=shape) == 0] = (
                np.nan
            )
        return pixels

    def _warped_level(self, level: int) -> WarpedVRT:
        """Lay the file on a grid with another lattice; the coarse levels from its overviews."""
        assert self._warped is not None
        if level not in self._warped:
            height, width = self.size(level)
            self._warped[level] = WarpedVRT(
                self._file,
                crs=str(self._grid.crs),
                transform=self._grid.transform * Affine.scale(1 << level),
                height=height,
                width=width,
                src_nodata=self._nodata,
                nodata=np.nan,
                dtype="float32",
                resampling=Resampling.average if level else Resampling.cubic,
            )
        return self._warped[level]

    def close(self) -> None:
        """Wait for a reader, then refuse the next; `open_pair` closes the file itself."""
        with self._lock:
            self._closed = True
            for warped in (self._warped or {}).values():
                warped.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RasterioError as error:
            raise InputError(
                f"{self._name} cannot be read any more, it may be truncated or gone: "
                f"{_first_line(error)}"
            ) from error


class PyramidPair(NamedTuple):
    """Two images on one grid, without being read.

    ``message`` is a sentence on what was done to bring them there; it is empty when nothing was.
    """

    earlier: ImagePyramid
    later: ImagePyramid
    grid: GeoBox
    resampled: bool
    message: str


@contextmanager
def open_pair(
    earlier: str | Path,
    later: str | Path,
    *,
    band: int | str | None = None,
    allow_no_crs: bool = False,
) -> Iterator[PyramidPair]:
    """Open two images on the grid they share, the earlier one's.

    Nothing but the headers is read. As in `ogive.scenes.read.common_grid`, images of one lattice
    are cropped and only others are resampled (the later one, by cubic convolution).

    Parameters
    ----------
    earlier, later
        Anything that GDAL reads.
    band
        Number of the band, from 1, or its name; may be left out when there is just one.
    allow_no_crs
        Accept images without a georeference; their coordinates are pixel indices.

    Yields
    ------
    PyramidPair

    Raises
    ------
    InputError
        If a file is missing, truncated or no image, or has several bands and none was chosen.
    GridError
        If the images have no, unsuitable or different coordinate reference systems, or do not
        overlap.
    """
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"))
        files = [stack.enter_context(_opened(path)) for path in (earlier, later)]
        numbers, boxes = [], []
        for file, path in zip(files, (earlier, later), strict=True):
            numbers.append(_band_number(file, band, path))
            boxes.append(_geobox(file, path, allow_no_crs=allow_no_crs))
        one, other = boxes
        # Images of no size in memory, for the checks that all images go through.
        first_empty, second_empty = (
            _wrapped(np.broadcast_to(np.uint8(0), box.shape), box).rename(Path(path).stem)
            for box, path in zip(boxes, (earlier, later), strict=True)
        )
        check_reference(first_empty, second_empty)
        check_overlap(first_empty, second_empty, one, other)
        aligned = lattice_offset(one, other) is not None
        rows, columns = covered_pixels(one, other)
        grid = one[rows, columns]
        first, second = (
            ImagePyramid(file, number, grid, aligned=on_grid, name=str(path))
            for file, number, path, on_grid in zip(
                files, numbers, (earlier, later), (True, aligned), strict=True
            )
        )
        for pyramid in (first, second):
            stack.callback(pyramid.close)
        message = ""
        if not aligned:
            message = (
                f"{later} lies on another grid ({grid_name(other)}) and is shown resampled by "
                f"cubic convolution on the grid of {earlier} ({grid_name(one)})"
            )
        elif one != other:
            message = (
                f"only the {grid.shape[1]} x {grid.shape[0]} pixels that both images share are used"
            )
        yield PyramidPair(first, second, grid, resampled=not aligned, message=message)


def _block_means(pixels: NDArray[np.float32], ratio: int) -> NDArray[np.float32]:
    """Mean of blocks over the pixels with data; NaN where a block has none.

    Examples
    --------
    >>> _block_means(np.array([[1, 3, np.nan], [np.nan, 5, 7]], np.float32), 2)
    array([[3.]], dtype=float32)
    """
    rows, columns = (max(1, length // ratio) for length in pixels.shape)
    blocks = pixels[: rows * ratio, : columns * ratio]
    blocks = blocks.reshape(rows, blocks.shape[0] // rows, columns, blocks.shape[1] // columns)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    means = np.where(count, total / np.maximum(count, 1), np.nan)
    return np.asarray(means, np.float32)
