"""Velocities freed of the offsets that a known elevation bias makes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from ogive.model import DAYS_PER_YEAR, GridError

from .views import pair_offsets

__all__ = ["remove_offsets"]

_NS_PER_YEAR = DAYS_PER_YEAR * 86_400e9
_NO_OFFSET = 1e-12


def remove_offsets(
    cube: xr.Dataset,
    views: xr.Dataset,
    bias: ArrayLike | xr.DataArray,
    bias_error: ArrayLike | xr.DataArray = 0.0,
) -> xr.Dataset:
    """Take the orthorectification offsets of a known elevation bias off the velocities of a cube.

    Cross-orbit pairs then say the same as those of one orbit, and join them in `ogive.invert`.

    Parameters
    ----------
    cube, views
        As of `elevation_bias`.
    bias, bias_error
        Surface minus model, and its standard error, in metres: a number or (y, x). Where the bias
        is NaN, cross-orbit pairs lose their value, and pairs of one orbit keep it.

    Returns
    -------
    xarray.Dataset
        The cube with corrected ``vx, vy``, their errors grown by that of the bias; without ``v``.
    """
    span = cube["acquisition_date_img2"] - cube["acquisition_date_img1"]
    years = span.drop_vars(list(span.coords)) / np.timedelta64(1, "ns") / _NS_PER_YEAR
    offset = pair_offsets(cube, views)
    height = _layer(bias, cube)
    error = _layer(bias_error, cube)
    result = cube.copy()
    for axis in ("x", "y"):
        name = f"v{axis}"
        rate = offset[f"offset_{axis}"] / years
        # Where both images look alike an unknown bias does no harm.
        moot = abs(offset[f"offset_{axis}"]) < _NO_OFFSET
        moved = (rate * height).where(~moot, 0.0)
        unsure = (rate * error).where(~moot, 0.0)
        result[name] = (cube[name] - moved).transpose(*cube[name].dims).astype(cube[name].dtype)
        result[name].attrs = cube[name].attrs
        grown = (cube[f"{name}_error"] ** 2 + unsure**2) ** 0.5
        order = [dim for dim in cube["vx"].dims if dim in grown.dims]
        result[f"{name}_error"] = grown.transpose(*order).astype(np.float32)
        result[f"{name}_error"].attrs = cube[f"{name}_error"].attrs
    for name in ("v", "v_error"):  # of the velocities as they were
        if name in result:
            result = result.drop_vars(name)
    result.attrs["orthorectification_offsets"] = "removed with an elevation bias"
    return result


def _layer(value: ArrayLike | xr.DataArray, cube: xr.Dataset) -> xr.DataArray:
    if isinstance(value, xr.DataArray):
        return value
    array = np.asarray(value, np.float64)
    if array.ndim == 0:
        return xr.DataArray(array)
    shape = (cube.sizes["y"], cube.sizes["x"])
    if array.shape != shape:
        raise GridError(f"the elevation bias has the shape {array.shape}, the cube {shape}")
    return xr.DataArray(array, dims=("y", "x"))
