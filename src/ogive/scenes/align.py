"""Two images on one grid, with as little change as can be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import odc.geo.xr  # noqa: F401  (gives images their .odc accessor)
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.model import GridError

from .lattice import Offset, covered_pixels, lattice_offset, resample_cubic, shared_pixels
from .place import crs_name, extent_name
from .valid_pixels import valid_mask

__all__ = ["AlignedPair", "common_grid"]


class AlignedPair(NamedTuple):
    """Two images on one grid, and what was done to bring them there.

    ``message`` is a sentence for the user; it is empty when nothing was done.
    """

    earlier: xr.DataArray
    later: xr.DataArray
    resampled: bool
    message: str


def common_grid(earlier: xr.DataArray, later: xr.DataArray) -> AlignedPair:
    """Bring two images on one grid, with as little change as can be.

    Both are cropped to the area they share. If they have different lattices of pixels, the later
    one is resampled on the lattice of the earlier one by cubic convolution, to float32, with NaN
    wherever the interpolation would touch a pixel without data.

    Parameters
    ----------
    earlier, later
        As `read_image` gives them.

    Returns
    -------
    AlignedPair
        Both images on one grid, whether the later one was resampled, and a sentence that says so.

    Raises
    ------
    GridError
        If the images have different or unsuitable coordinate reference systems (a displacement
        needs a projected one in metres, or none), or do not overlap.
    """
    check_reference(earlier, later)
    one, other = geobox_of(earlier), geobox_of(later)
    if one == other:
        return AlignedPair(earlier, later, resampled=False, message="")
    check_overlap(earlier, later, one, other)
    offset = lattice_offset(one, other)
    if offset is not None:
        return _cropped(earlier, later, offset)
    return _resampled(earlier, later, one, other)


def geobox_of(image: xr.DataArray) -> GeoBox:
    """Recover the grid of an image from its coordinates."""
    geobox = image.odc.geobox
    if not isinstance(geobox, GeoBox):
        raise GridError(
            f"the coordinates of {image.name or 'an image'} make no regular grid: x and y must be "
            "evenly spaced pixel centres"
        )
    return geobox


def check_reference(earlier: xr.DataArray, later: xr.DataArray) -> None:
    one, other = geobox_of(earlier).crs, geobox_of(later).crs
    names = (earlier.name or "the earlier image", later.name or "the later image")
    if one != other:
        told = [crs_name(crs) if crs else "no coordinate reference system" for crs in (one, other)]
        raise GridError(
            f"{names[1]} is in {told[1]} but {names[0]} is in {told[0]}: reproject one of them"
        )
    if one is not None and (one.geographic or set(one.units) - {"metre", "meter", "m"}):
        raise GridError(
            f"{names[0]} and {names[1]} are in {crs_name(one)}, whose unit is not the metre: "
            "reproject both to a projected coordinate reference system, such as their UTM zone"
        )


def check_overlap(earlier: xr.DataArray, later: xr.DataArray, one: GeoBox, other: GeoBox) -> None:
    a, b = one.boundingbox, other.boundingbox
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.top, b.top) - max(a.bottom, b.bottom)
    if width < abs(one.resolution.x) or height < abs(one.resolution.y):
        raise GridError(
            f"{earlier.name or 'the earlier image'} and {later.name or 'the later image'} do not "
            f"overlap: they cover {extent_name(a)} and {extent_name(b)}"
        )


def _cropped(earlier: xr.DataArray, later: xr.DataArray, offset: Offset) -> AlignedPair:
    """Crop two images of one lattice to what they share."""
    rows, rows_later = shared_pixels(earlier.sizes["y"], later.sizes["y"], offset.rows)
    columns, columns_later = shared_pixels(earlier.sizes["x"], later.sizes["x"], offset.columns)
    first = earlier.isel(y=rows, x=columns)
    second = later.isel(y=rows_later, x=columns_later)
    # The same numbers to the last bit: xarray aligns by them.
    second = second.assign_coords(x=first["x"], y=first["y"])
    return AlignedPair(
        first,
        second,
        resampled=False,
        message=(
            f"both images were cropped to the {first.sizes['x']} x {first.sizes['y']} pixels they "
            "share; nothing was resampled"
        ),
    )


def _resampled(
    earlier: xr.DataArray, later: xr.DataArray, one: GeoBox, other: GeoBox
) -> AlignedPair:
    """Resample the later image on the earlier grid, within the area they share."""
    rows, columns = covered_pixels(one, other)
    first = earlier.isel(y=rows, x=columns)
    geobox = one[rows, columns]
    pixels = _cubic(later, other, geobox)
    second = xr.DataArray(pixels, first.coords, ("y", "x"), name=later.name)
    second = second.drop_vars("valid", errors="ignore")
    second.encoding.update({"grid_mapping": "spatial_ref"} if one.crs else {})
    second.attrs.update({key: value for key, value in later.attrs.items() if key != "nodata"})
    return AlignedPair(
        first,
        second,
        resampled=True,
        message=(
            f"{later.name or 'the later image'} lies on another grid "
            f"({grid_name(other)}) and was resampled by cubic convolution on the grid of "
            f"{earlier.name or 'the earlier image'} ({grid_name(one)}); {first.sizes['x']} x "
            f"{first.sizes['y']} pixels are shared"
        ),
    )


def grid_name(geobox: GeoBox) -> str:
    place = geobox.transform
    return f"pixel {abs(place.a):.6g} x {abs(place.e):.6g}, origin {place.c:.10g}, {place.f:.10g}"


def _cubic(image: xr.DataArray, source: GeoBox, target: GeoBox) -> NDArray[np.float32]:
    """Interpolate by cubic convolution; NaN where the kernel would touch a pixel without data."""
    return resample_cubic(image.values, valid_mask(image), source, target)
