"""Velocities along a line through a glacier, in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from shapely import LineString

from ogive.model import InputError

__all__ = ["section"]


def section(
    series: xr.Dataset, line: LineString | ArrayLike, *, spacing_m: float | None = None
) -> xr.Dataset:
    """Space-time section of a series (or a cube) along a line (the paper's figure 7).

    Parameters
    ----------
    series
        Velocities on (time, y, x), or observations on (mid_date, y, x).
    line
        The line from its head on: a ``shapely`` line or an array (n, 2) of x and y, in the
        coordinates of ``series``.
    spacing_m
        Distance between the points of the section, by default one pixel.

    Returns
    -------
    xarray.Dataset
        All maps of ``series`` along ``distance`` (m, from the head of the line), interpolated
        bilinearly between pixels (NaN beside a gap); with ``x, y`` of the points and ``v_along``,
        the velocity component along the line.

    Raises
    ------
    InputError
        If the line is no line, or does not cross the grid.

    Examples
    --------
    >>> x, y = np.arange(0.0, 500.0, 100.0), np.arange(300.0, -1.0, -100.0)
    >>> vx = xr.DataArray(np.tile(x, (1, 4, 1)), {"y": y, "x": x}, ("time", "y", "x"))
    >>> along = section(xr.Dataset({"vx": vx, "vy": 0 * vx}), [(50.0, 150.0), (350.0, 150.0)])
    >>> along.v_along.values
    array([[ 50., 150., 250., 350.]])
    """
    path = line if isinstance(line, LineString) else _line(line)
    pixel = abs(float(series["x"][1] - series["x"][0]))
    spacing = pixel if spacing_m is None else spacing_m
    if not spacing > 0 or path.length < spacing:
        raise InputError(
            f"a line of {path.length:g} m cannot be sampled every {spacing:g} m: give a longer "
            "line or a smaller spacing_m"
        )
    distance = np.arange(0.0, path.length + 1e-6 * spacing, spacing)
    points = np.array([path.interpolate(d).coords[0] for d in distance])
    ahead = np.array([path.interpolate(d + 0.01 * spacing).coords[0] for d in distance])
    behind = np.array([path.interpolate(max(d - 0.01 * spacing, 0)).coords[0] for d in distance])
    direction = ahead[:, :2] - behind[:, :2]
    direction /= np.hypot(direction[:, 0], direction[:, 1])[:, None]
    at: dict[str, Any] = {
        name: xr.DataArray(points[:, k], dims="distance") for k, name in enumerate(("x", "y"))
    }
    maps = [name for name, field in series.data_vars.items() if {"y", "x"} <= set(field.dims)]
    result = series[maps].interp(at, method="linear")
    if not bool(np.isfinite(result["vx"]).any()):
        raise InputError("the line meets no velocity: check that it is in the grid's coordinates")
    result = result.assign_coords(distance=("distance", distance))
    east, north = (xr.DataArray(direction[:, k], dims="distance") for k in range(2))
    result["v_along"] = (result["vx"] * east + result["vy"] * north).astype(result["vx"].dtype)
    result["v_along"].attrs = {"long_name": "velocity along the line", "units": "meter/year"}
    result["distance"].attrs = {"long_name": "distance along the line", "units": "m"}
    return result


def _line(coordinates: ArrayLike) -> LineString:
    points = np.asarray(coordinates, np.float64)
    if points.ndim != 2 or points.shape[0] < 2 or points.shape[1] != 2:
        raise InputError(f"a line needs two or more points of x and y, not {points.shape}")
    return LineString(points)
