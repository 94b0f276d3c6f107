"""Grids whose pixels coincide, and the resampling of those that do not."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject
from scipy.ndimage import maximum_filter

__all__ = ["Offset", "covered_pixels", "lattice_offset", "resample_cubic", "shared_pixels"]

LATTICE_TOLERANCE_PX = 1e-3
"""Grids that agree better than this everywhere are one lattice.

Ten times below what matching resolves, so that ignoring the rest is better than resampling, and
far above what the decimals of a geotransform lose.
"""

_CUBIC_HALF_WIDTH_PX = 2


class Offset(NamedTuple):
    """Whole pixels from the first pixel of one image to that of another."""

    columns: int
    rows: int


class _Span(NamedTuple):
    """Where the edges of one grid lie in the pixels of another, along one axis."""

    first: float
    last: float


def _columns(one: GeoBox, other: GeoBox) -> _Span:
    return _span(one.transform.a, one.transform.c, other.transform.a, other.transform.c, other, 1)


def _rows(one: GeoBox, other: GeoBox) -> _Span:
    return _span(one.transform.e, one.transform.f, other.transform.e, other.transform.f, other, 0)


def _span(
    step: float, origin: float, other_step: float, other_origin: float, other: GeoBox, axis: int
) -> _Span:
    first = (other_origin - origin) / step
    return _Span(first, first + other.shape[axis] * other_step / step)


def lattice_offset(one: GeoBox, other: GeoBox) -> Offset | None:
    """Find the whole-pixel offset of two grids in one reference system.

    Parameters
    ----------
    one, other
        Grids; their reference systems are not looked at.

    Returns
    -------
    Offset or None
        From the first pixel of `one` to that of `other`; ``None`` if they are of different
        lattices.
    """
    rows, columns = _rows(one, other), _columns(one, other)
    offset = Offset(columns=round(columns.first), rows=round(rows.first))
    misfits = (
        columns.first - offset.columns,
        columns.last - offset.columns - other.shape[1],
        rows.first - offset.rows,
        rows.last - offset.rows - other.shape[0],
    )
    return offset if max(map(abs, misfits)) < LATTICE_TOLERANCE_PX else None


def shared_pixels(length: int, other_length: int, offset: int) -> tuple[slice, slice]:
    """Find what two rows of pixels share, the other of which begins `offset` pixels later.

    Examples
    --------
    >>> shared_pixels(10, 10, 3)
    (slice(3, 10, None), slice(0, 7, None))
    """
    start, stop = max(0, offset), min(length, offset + other_length)
    return slice(start, stop), slice(start - offset, stop - offset)


def covered_pixels(one: GeoBox, other: GeoBox) -> tuple[slice, slice]:
    """Rows and columns of one grid whose pixels lie wholly within another grid."""
    rows, columns = (
        slice(
            max(0, math.ceil(min(span) - LATTICE_TOLERANCE_PX)),
            min(length, math.floor(max(span) + LATTICE_TOLERANCE_PX)),
        )
        for span, length in zip((_rows(one, other), _columns(one, other)), one.shape, strict=True)
    )
    return rows, columns


def resample_cubic(
    pixels: NDArray[Any], valid: NDArray[np.bool_], source: GeoBox, target: GeoBox
) -> NDArray[np.float32]:
    """Interpolate pixels on another grid by cubic convolution.

    Parameters
    ----------
    pixels
        (y, x) on the grid `source`.
    valid
        Which of them hold a measurement.
    source, target
        The grids; in two reference systems, or both in none.

    Returns
    -------
    numpy.ndarray
        On the grid `target`; NaN where the kernel would touch a pixel that is not valid.
    """
    # GDAL wants a reference, but none is read when both are the same.
    grids = {
        "src_transform": source.transform,
        "dst_transform": target.transform,
        "src_crs": str(source.crs) if source.crs else "EPSG:3857",
        "dst_crs": str(target.crs) if target.crs else "EPSG:3857",
    }
    known = np.where(valid, pixels, 0).astype(np.float32)
    values = np.full(target.shape, np.nan, np.float32)
    reproject(known, values, resampling=Resampling.cubic, dst_nodata=np.nan, **grids)
    # Downsampling widens GDAL's kernel by the ratio of the pixels; nearest adds half a pixel.
    reach = [
        math.ceil(_CUBIC_HALF_WIDTH_PX * max(1.0, abs(ratio)) - 0.5)
        for ratio in (
            target.transform.e / source.transform.e,
            target.transform.a / source.transform.a,
        )
    ]
    touched = maximum_filter(
        (~valid).view(np.uint8), [2 * pixels + 1 for pixels in reach], mode="constant", cval=1
    )
    holes = np.ones(target.shape, np.uint8)
    reproject(touched, holes, resampling=Resampling.nearest, **grids)
    values[holes > 0] = np.nan
    return values
