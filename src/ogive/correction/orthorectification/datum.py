"""The zero of an elevation bias: stable ground.

Pairs across orbits are calibrated where the ground does not move, and with their shift goes what
the elevation model's mean error there would make. An elevation bias is therefore known but for a
constant, as elevation differences of models are. The custom is to make it zero on stable ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ogive.correction.robust import nmad
from ogive.model import GridError, InputError, StableGroundError

__all__ = ["Datum", "relative_to_stable_ground"]

FEWEST = 30
_MEDIAN_OVER_MEAN = float(np.sqrt(np.pi / 2))


@dataclass(frozen=True, slots=True)
class Datum:
    """What was taken off an elevation bias.

    Parameters
    ----------
    height_m
        Median on stable ground.
    error_m
        Its standard error: how well the mean error of the elevation model on all ground is known
        from this stable ground.
    pixels
        How many pixels of stable ground there were.
    """

    height_m: float
    error_m: float
    pixels: int


def relative_to_stable_ground(
    result: xr.Dataset,
    stable: xr.DataArray | NDArray[np.bool_],
    *,
    window_m: float | None = None,
) -> tuple[xr.Dataset, Datum]:
    """Shift an elevation bias so that its median on stable ground is zero.

    Parameters
    ----------
    result
        Of `ogive.elevation_bias` and its kin.
    stable
        True on ground whose height has not changed, (y, x).
    window_m
        Side of the matching windows: pixels closer than that are not independent.

    Returns
    -------
    xarray.Dataset
        With another ``elevation_bias``; the datum stands in its attributes.
    Datum
        What was taken off.

    Raises
    ------
    InputError
        If there is no elevation bias.
    GridError
        If the ground is on another grid.
    StableGroundError
        If fewer than 30 of its pixels have a bias.

    Examples
    --------
    >>> y, x = 100.0 * np.arange(12)[::-1], 100.0 * np.arange(12)
    >>> bias = xr.DataArray(np.full((12, 12), 3.0), {"y": y, "x": x}, ("y", "x"))
    >>> result = xr.Dataset({"elevation_bias": bias + 10.0 * (bias.x > 600)})
    >>> shifted, datum = relative_to_stable_ground(result, bias.x.values[None] <= 600 + 0 * bias)
    >>> datum.height_m, float(shifted.elevation_bias[0, -1])
    (3.0, 10.0)
    """
    if "elevation_bias" not in result:
        raise InputError("the result has no 'elevation_bias': make it by elevation_bias")
    bias = result["elevation_bias"].transpose("y", "x")
    ground = np.asarray(stable, dtype=bool)
    if ground.shape != bias.shape:
        raise GridError(f"the stable ground is {ground.shape}, the bias {bias.shape}")
    values = bias.values[ground & np.isfinite(bias.values)].astype(np.float64)
    if values.size < FEWEST:
        raise StableGroundError(
            f"{values.size} pixels of stable ground have an elevation bias: {FEWEST} are needed to "
            "refer it to them"
        )
    height = float(np.median(values))
    independent = max(values.size / _overlap(bias, window_m), 1.0)
    error = _MEDIAN_OVER_MEAN * nmad(values) / float(np.sqrt(independent))
    shifted = result.assign(
        elevation_bias=(result["elevation_bias"] - height)
        .astype(result["elevation_bias"].dtype)
        .assign_attrs(
            result["elevation_bias"].attrs
            | {
                "datum": "median of stable ground",
                "datum_height_m": height,
                "datum_error_m": error,
            }
        )
    )
    return shifted, Datum(height, error, int(values.size))


def _overlap(bias: xr.DataArray, window_m: float | None) -> float:
    """How many pixels a window covers."""
    if window_m is None:
        return 1.0
    steps = [
        abs(float(bias[axis][-1] - bias[axis][0])) / max(bias.sizes[axis] - 1, 1)
        for axis in ("y", "x")
    ]
    return float(np.prod([max(window_m / step, 1.0) for step in steps]))
