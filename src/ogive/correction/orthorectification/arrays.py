"""What kernels take from a cube and the views of its images: arrays by pixel, pair and image."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ogive.model import DAYS_PER_YEAR, DateError, GridError, InputError

__all__ = ["cube_displacement", "cube_variance", "offsets_on_pixels", "span_years"]

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


def span_years(cube: xr.Dataset) -> F8:
    """Baselines of the pairs in years, after a look at what else a cube must have.

    Raises
    ------
    InputError, DateError
        If velocities or their units are missing, or a pair runs backwards.
    """
    for name in ("vx", "vy"):
        if name not in cube:
            raise InputError(f"the cube has no variable '{name}': read it by ogive.open_cube")
        if set(cube[name].dims) != {"mid_date", "y", "x"}:
            raise InputError(f"'{name}' must have the dimensions mid_date, y, x")
        units = cube[name].attrs.get("units")
        if units != "meter/year":
            raise InputError(
                f"'{name}' is in {units!r} but must be in meter/year: read the cube by "
                "ogive.open_cube, which converts units"
            )
    span = cube["acquisition_date_img2"].values - cube["acquisition_date_img1"].values
    years = np.asarray(span / np.timedelta64(1, "ns"), np.float64) / (DAYS_PER_YEAR * 86_400e9)
    if np.any(years <= 0):
        bad = int(np.flatnonzero(years <= 0)[0])
        raise DateError(f"pair {bad} has its later image first: swap its dates and its sign")
    return years


def cube_variance(cube: xr.Dataset, years: F8) -> F4:
    """Variances of dx and dy and their covariance: (pixels or 1, 3, pairs), m²."""
    missing = [name for name in ("vx_error", "vy_error") if name not in cube]
    if missing:
        raise InputError(f"the cube has no {' and no '.join(missing)}: least squares needs errors")
    parts = [cube["vx_error"] ** 2, cube["vy_error"] ** 2]
    parts.append(cube["vxvy_cov"] if "vxvy_cov" in cube else 0.0 * cube["vx_error"])
    single = all(part.dims == ("mid_date",) for part in parts)
    layers = []
    for part in parts:
        whole = part if single else part.broadcast_like(cube["vx"]).transpose("y", "x", "mid_date")
        layers.append(np.asarray(whole.values, np.float64) * years**2)
    stacked = np.stack(layers, axis=-2)
    return np.ascontiguousarray(stacked.reshape(-1, 3, years.size), np.float32)


def cube_displacement(cube: xr.Dataset, years: F8) -> F4:
    """(pixels, 2, pairs), metres."""
    parts = [cube[name].transpose("y", "x", "mid_date").values * years for name in ("vx", "vy")]
    stacked = np.stack(parts, axis=-2)
    return np.ascontiguousarray(stacked.reshape(-1, 2, years.size), np.float32)


def offsets_on_pixels(offsets: xr.Dataset, cube: xr.Dataset) -> F4:
    """(pixels or 1, 2, images), metres per metre."""
    parts = [offsets[name] for name in ("offset_x", "offset_y")]
    if all(part.dims == ("image",) for part in parts):
        stacked = np.stack([part.values for part in parts])[None]
        return np.ascontiguousarray(stacked, np.float32)
    shape = (cube.sizes["y"], cube.sizes["x"])
    for axis, size in zip(("y", "x"), shape, strict=True):
        own = offsets.sizes.get(axis, size)
        same = own == size
        if same and axis in offsets.coords and axis in cube.coords:
            step = abs(float(cube[axis][-1] - cube[axis][0])) / max(size - 1, 1) or 1.0
            same = bool(np.allclose(offsets[axis], cube[axis], rtol=0, atol=1e-3 * step))
        if not same:
            raise GridError(
                f"the views are not on the cube's grid (along {axis}): make them by "
                "ogive.view_geometry(..., grid=cube)"
            )
    layers = [np.moveaxis(part.transpose("image", "y", "x").values, 0, -1) for part in parts]
    stacked = np.stack(layers, axis=-2)
    return np.ascontiguousarray(stacked.reshape(shape[0] * shape[1], 2, -1), np.float32)
