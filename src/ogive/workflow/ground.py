"""Where the ground is known not to move, on the points of a displacement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  (gives images their .odc accessor)
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from ogive.model import GridError
from ogive.scenes.read import rasterize_polygons, read_on_grid

__all__ = ["Ground", "stable_pixels", "usable_pixels", "windows_inside"]

Ground = str | Path | xr.DataArray | NDArray[Any]
"""A file of polygons, or a mask on the grid of the earlier image."""

Bools = NDArray[np.bool_]


def stable_pixels(
    stable: Ground | None, ice: Ground | None, original: xr.DataArray, image: xr.DataArray
) -> Bools | None:
    """Mark the pixels of ground that does not move.

    Parameters
    ----------
    stable
        Stable ground itself.
    ice
        Glaciers: without `stable`, all ground beside them is stable; with it, they are left out.
    original
        The earlier image as it was given: masks without coordinates lie on its pixels.
    image
        The earlier image as it is matched, perhaps cropped.

    Returns
    -------
    numpy.ndarray or None
        bool, of the shape of `image`; ``None`` where neither was given.
    """
    if stable is None and ice is None:
        return None
    still = np.ones(image.shape, bool) if stable is None else _pixels_where(stable, original, image)
    return still if ice is None else still & ~_pixels_where(ice, original, image)


def _pixels_where(ground: Ground, original: xr.DataArray, image: xr.DataArray) -> Bools:
    """Mark the pixels of an image that lie in polygons or in a mask.

    Raises
    ------
    GridError
        A mask on another grid, or polygons that cover no pixel.
    InputError
        A file that cannot be read.
    """
    if isinstance(ground, str | Path):
        return rasterize_polygons(ground, image.odc.geobox)
    return _mask_on_image(ground, original, image)


def usable_pixels(mask: Ground, original: xr.DataArray, image: xr.DataArray) -> Bools:
    """Mark the pixels that a mask lets take part; a file is a raster, not 0 where usable."""
    if isinstance(mask, str | Path):
        values = read_on_grid(mask, image.odc.geobox, "nearest").values
        usable: Bools = np.isfinite(values) & (values != 0)
        return usable
    return _mask_on_image(mask, original, image)


def _mask_on_image(
    mask: xr.DataArray | NDArray[Any], original: xr.DataArray, image: xr.DataArray
) -> Bools:
    if not isinstance(mask, xr.DataArray) or not {"x", "y"} <= mask.coords.keys():
        values = np.asarray(mask)
        if values.shape != original.shape:
            raise GridError(
                f"a mask has the shape {values.shape}, the earlier image {original.shape}: give "
                "the mask on the pixels of the earlier image, or with coordinates"
            )
        mask = xr.DataArray(values, {"y": original["y"], "x": original["x"]}, ("y", "x"))
    mask = mask.transpose("y", "x")
    half_pixel = abs(float(image["x"][1] - image["x"][0])) / 2
    try:
        chosen = mask.sel(x=image["x"], y=image["y"], method="nearest", tolerance=half_pixel)
    except KeyError as error:
        raise GridError(
            "a mask does not cover the images: give it on the grid of the earlier image"
        ) from error
    return np.asarray(chosen.values).astype(bool)


def windows_inside(pixels: Bools, *, window_px: int, step_px: int) -> Bools:
    """Mark the points whose whole matching window lies in marked pixels.

    A window of rock and ice matches neither: it shows something between standing and flowing. So
    the ground is in effect eroded by half a window before it counts as stable.

    Parameters
    ----------
    pixels
        bool, (y, x), on the grid of the images.
    window_px, step_px
        As in `ogive.match`.

    Returns
    -------
    numpy.ndarray
        bool, on the points.

    Examples
    --------
    >>> rock = np.ones((16, 24), bool)
    >>> rock[:, 16:] = False
    >>> windows_inside(rock, window_px=8, step_px=4)[0]
    array([ True,  True,  True, False, False])
    """
    inside = pixels.view(np.uint8)
    for axis in (0, 1):
        # The filter's window of an even size reaches from -size/2 to size/2 - 1.
        least = ndimage.minimum_filter1d(inside, window_px, axis=axis)
        count = (pixels.shape[axis] - window_px) // step_px + 1
        first = window_px // 2
        index = np.arange(first, first + count * step_px, step_px)
        inside = np.take(least, index, axis=axis)
    return inside.astype(bool)
