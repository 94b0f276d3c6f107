"""What a matching window does to an elevation bias: a mean over it, with weights nobody knows.

A displacement is of all that a window shows, and most of what has most texture. Where the elevation
model is wrong by other amounts in other parts of the window, the estimate is a weighted mean of
them. All pairs look through the same window at the same texture, so that their residuals do not
show how far this mean lies from the plain one.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from ogive.model import InputError

__all__ = ["add_window_error", "window_error"]

WEIGHING = 0.25
"""Error of a weighted mean, as a share of the spread of what is weighed.

Texture of a few pixels and very unlike strengths: a window holds some sixteen independent weights,
whatever its size, since larger ones take in rougher ground. Measured on simulated archives with
windows of 160 and 320 m: 0.22 to 0.25.
"""
ROUGHNESS = 1.5
"""Spread inside windows over that of their means in an area as large: 1.25 to 1.65 in those."""


def window_error(bias: xr.DataArray, window_m: float) -> xr.DataArray:
    """Standard error of an elevation bias for the unknown weights inside its matching window.

    It is a quarter of the spread that the bias has inside of a window, which is told by the spread
    of the map over an area as large.

    Parameters
    ----------
    bias
        ``elevation_bias`` (y, x) with coordinates in metres.
    window_m
        Side of the windows that were matched, in metres.

    Returns
    -------
    xarray.DataArray
        In metres, NaN where the bias is NaN.

    Raises
    ------
    InputError
        If the window is no positive length, or the map has no coordinates.

    Examples
    --------
    A bias that rises by 1 m per 10 m spreads by 4 m over the 150 m of five pixels:

    >>> x = 30.0 * np.arange(20)
    >>> slope = xr.DataArray(0.1 * np.tile(x, (20, 1)), {"y": x[::-1], "x": x}, ("y", "x"))
    >>> round(float(window_error(slope, 150.0)[10, 10]), 2)
    1.59
    """
    if not (np.isfinite(window_m) and window_m > 0):
        raise InputError(f"a window of {window_m} m: give the side of the matching windows")
    missing = [axis for axis in ("y", "x") if axis not in bias.coords or bias.sizes[axis] < 2]
    if missing:
        raise InputError(f"the bias has no coordinates along {' and '.join(missing)} in metres")
    sides = [_cells(bias[axis].values, window_m) for axis in ("y", "x")]
    values = np.asarray(bias.transpose("y", "x").values, np.float64)
    spread = _local_spread(values, sides)
    error = np.where(np.isfinite(values), WEIGHING * ROUGHNESS * spread, np.nan)
    told = {"units": "m", "long_name": "error for the unknown weights inside a matching window"}
    return xr.DataArray(error, {axis: bias[axis] for axis in ("y", "x")}, ("y", "x"), attrs=told)


def add_window_error(result: xr.Dataset, window_m: float) -> xr.Dataset:
    """Add to the error of an elevation bias what the matching windows leave open.

    Parameters
    ----------
    result
        Of `ogive.elevation_bias` and its kin, of the whole map: the spread is that of neighbours.
    window_m
        Side of the windows that were matched, in metres.

    Returns
    -------
    xarray.Dataset
        With a larger ``elevation_bias_error``; the window stands in its attributes.

    Raises
    ------
    InputError
        As `window_error`, or if the result has no elevation bias.
    """
    if "elevation_bias" not in result or "elevation_bias_error" not in result:
        raise InputError("the result has no elevation_bias with its error: make it before")
    own = result["elevation_bias_error"]
    more = window_error(result["elevation_bias"], window_m)
    total: xr.DataArray = (own**2 + more**2) ** 0.5
    told = own.attrs | {"window_m": float(window_m)}
    return result.assign(elevation_bias_error=total.astype(own.dtype).assign_attrs(told))


def _cells(axis: NDArray[np.floating], window_m: float) -> int:
    """Odd number of cells that is closest to the window, three at least."""
    step = abs(float(axis[-1] - axis[0])) / (axis.size - 1)
    return max(2 * round((window_m / step - 1) / 2) + 1, 3)


def _local_spread(values: NDArray[np.float64], sides: list[int]) -> NDArray[np.float64]:
    """Standard deviation of what is known in a rectangle round every cell."""
    known = np.isfinite(values)
    middle = float(np.median(values[known])) if known.any() else 0.0
    filled = np.where(known, values - middle, 0.0)
    parts = [known.astype(np.float64), filled, filled**2]
    share, mean, square = (ndimage.uniform_filter(part, sides, mode="nearest") for part in parts)
    share = np.maximum(share, 1e-12)
    variance = square / share - (mean / share) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))
