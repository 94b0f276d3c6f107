"""Elevation change: two elevation biases over one and the same elevation model."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats

from ogive.model import GridError, InputError

__all__ = ["elevation_change"]


def elevation_change(earlier: xr.Dataset, later: xr.Dataset) -> xr.Dataset:
    """Elevation change between two epochs: the difference of two elevation biases.

    Both must come from images that were orthorectified with one and the same elevation model;
    its own error then drops out.

    Parameters
    ----------
    earlier, later
        Results of `elevation_bias` over two spans of time, on one grid.

    Returns
    -------
    xarray.Dataset
        ``elevation_change`` (m), ``elevation_change_error``, and ``significance``, the probability
        of a difference as large as this or larger where nothing has changed (two-sided, normal).

    Raises
    ------
    GridError
        If the two are on different grids.

    Examples
    --------
    >>> one = xr.Dataset({"elevation_bias": ("x", [5.0]), "elevation_bias_error": ("x", [3.0])})
    >>> two = xr.Dataset({"elevation_bias": ("x", [-5.0]), "elevation_bias_error": ("x", [4.0])})
    >>> change = elevation_change(one, two)
    >>> float(change.elevation_change[0]), float(change.elevation_change_error[0])
    (-10.0, 5.0)
    >>> round(float(change.significance[0]), 3)
    0.046
    """
    for name in ("elevation_bias", "elevation_bias_error"):
        for which, data in (("earlier", earlier), ("later", later)):
            if name not in data:
                raise InputError(f"the {which} result has no '{name}': make it by elevation_bias")
    a, b = earlier["elevation_bias"], later["elevation_bias"]
    if a.shape != b.shape or any(
        not np.array_equal(a[dim], b[dim]) for dim in a.dims if dim in a.coords and dim in b.coords
    ):
        raise GridError("the two elevation biases are on different grids: compute both on one")
    change = b - a
    error = np.hypot(earlier["elevation_bias_error"], later["elevation_bias_error"])
    chance = xr.apply_ufunc(lambda z: 2 * stats.norm.sf(np.abs(z)), change / error)
    result = xr.Dataset(
        {"elevation_change": change, "elevation_change_error": error, "significance": chance}
    )
    result["elevation_change"].attrs = {"units": "m", "long_name": "change of the surface's height"}
    result["elevation_change_error"].attrs = {
        "units": "m",
        "long_name": "standard error of elevation_change",
    }
    result["significance"].attrs = {
        "units": "1",
        "long_name": "probability of such a difference without change",
    }
    return result
