"""What an elevation model out of place does to an elevation bias.

A model that lies a few metres off to one side is too low on one side of every mountain and too high
on the other. Altena & Kääb (2017, figure 11) draw what a planar misregistration along and across
the track would make of the elevation bias; a map that looks like it is no elevation change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from ogive.correction.robust import nmad
from ogive.model import GridError, InputError

__all__ = ["Misregistration", "fit_misregistration", "misregistration_bias"]

_FEWEST = 100
_HUBER = 1.345  # 95 % efficiency on normal errors
_ROUNDS = 50
_SMALL_STEP_PX = 1e-3
_WHOLE = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class Misregistration:
    """A planar shift of the elevation model that explains part of a bias.

    Parameters
    ----------
    dx_m, dy_m
        How far the model lies off along +x and +y.
    dz_m
        How much the surface stands above it besides.
    dx_error_m, dy_error_m, dz_error_m
        Standard errors, as though pixels were independent: of neighbours that share their windows
        they are too small.
    explained
        Share of the bias's variance that the shift explains, 0 to 1.
    pixels
        How many took part.
    """

    dx_m: float
    dy_m: float
    dz_m: float
    dx_error_m: float
    dy_error_m: float
    dz_error_m: float
    explained: float
    pixels: int


def misregistration_bias(
    dem: xr.DataArray, flight_azimuth_deg: float, *, shift_m: float = 10.0
) -> xr.Dataset:
    """Elevation bias that a misplaced model would show, along and across the track.

    The model's copy is shifted; the surface minus the copy is what would be measured.

    Parameters
    ----------
    dem
        Elevation in metres (y, x) with coordinates in metres.
    flight_azimuth_deg
        Direction of flight on the map, clockwise from +y (``flight_azimuth`` of
        `ogive.view_geometry`, less the grid's convergence).
    shift_m
        How far the copy is moved, in flight direction and to the right of it.

    Returns
    -------
    xarray.Dataset
        ``along`` and ``across`` (m); NaN where the shifted copy does not reach.

    Raises
    ------
    InputError
        If the model is too small or has no coordinates in metres.

    Examples
    --------
    A slope that rises eastwards by a half, moved 10 m to the east, is 5 m too low:

    >>> x = 30.0 * np.arange(40)
    >>> slope = xr.DataArray(0.5 * np.tile(x, (40, 1)), dims=("y", "x"),
    ...                      coords={"y": x[::-1], "x": x})
    >>> bias = misregistration_bias(slope, 0.0)  # flight to the north, right is east
    >>> round(float(bias.across[20, 20]), 6), round(abs(float(bias.along[20, 20])), 6)
    (5.0, 0.0)
    """
    step_x, step_y = _steps(dem)
    turn = np.deg2rad(flight_azimuth_deg)
    result = {}
    for name, dx, dy in (
        ("along", shift_m * np.sin(turn), shift_m * np.cos(turn)),
        ("across", shift_m * np.cos(turn), -shift_m * np.sin(turn)),
    ):
        copy = _moved(dem.values.astype(float), dx / step_x, dy / step_y)
        told = {"units": "m", "long_name": f"bias of a model {shift_m:g} m off {name} the track"}
        result[name] = (("y", "x"), dem.values - copy, told)
    return xr.Dataset(result, coords={name: dem[name] for name in ("y", "x")})


def fit_misregistration(
    bias: xr.DataArray, dem: xr.DataArray, where: xr.DataArray | NDArray[np.bool_] | None = None
) -> Misregistration:
    """Fit a planar shift of the model to an elevation bias, robustly.

    A model ``z`` that lies off by (dx, dy) leaves a bias of ``z(x + dx, y + dy) - z(x, y) + dz``.
    Fitted, by Gauss-Newton, on ground that has not changed it tells how much of the bias is the
    model's place. To move the model itself use a co-registration of elevation models (xdem has
    several).

    Parameters
    ----------
    bias
        ``elevation_bias`` (y, x), in metres.
    dem
        The elevation model that may be out of place, on the same grid.
    where
        Stable ground; by default everywhere.

    Raises
    ------
    GridError
        If the grids differ.
    InputError
        If fewer than 100 pixels are left, or the ground is flat.

    Examples
    --------
    A model that lies 100 m, one pixel, too far to the east, and 2 m too low:

    >>> y, x = np.mgrid[0:40, 0:40] * 100.0
    >>> dims, coords = ("y", "x"), {"y": y[:, 0], "x": x[0]}
    >>> surface = xr.DataArray(300 * np.sin(x / 700) * np.cos(y / 900), coords, dims)
    >>> model = surface.shift(x=1) - 2
    >>> fit = fit_misregistration(surface - model, model)
    >>> round(fit.dx_m, 1), round(abs(fit.dy_m), 1), round(fit.dz_m, 1)
    (100.0, 0.0, 2.0)
    """
    if bias.shape != dem.shape:
        raise GridError(f"the bias is {bias.shape}, the model {dem.shape}: put both on one grid")
    step_x, step_y = _steps(dem)
    height, values = dem.values.astype(float), bias.values.astype(float)
    stable = np.ones(dem.shape, bool) if where is None else np.asarray(where, dtype=bool)
    shift_x = shift_y = lift = 0.0
    for _ in range(_ROUNDS):
        mended = _moved(height, -shift_x / step_x, -shift_y / step_y)
        along_y, along_x = (np.asarray(part) for part in np.gradient(mended, step_y, step_x))
        used = stable & np.isfinite(values) & np.isfinite(along_x + along_y + height)
        left = (values + height - mended)[used] - lift
        step = _robust_step(along_x[used], along_y[used], left)
        shift_x, shift_y, lift = shift_x + step.dx, shift_y + step.dy, lift + step.dz
        if max(abs(step.dx / step_x), abs(step.dy / step_y)) < _SMALL_STEP_PX:
            break
    weight, seen = step.weight, values[used]
    spread = float((weight * (seen - np.average(seen, weights=weight)) ** 2).sum())
    return Misregistration(
        shift_x, shift_y, lift, step.dx_error, step.dy_error, step.dz_error,
        max(1 - float((weight * step.residual**2).sum()) / spread, 0.0), int(used.sum()),
    )  # fmt: skip


def _moved(height: NDArray[np.float64], columns: float, rows: float) -> NDArray[np.float64]:
    """Copy of a model, so many columns and rows further, by cubic splines; NaN beyond its edge."""
    known = np.isfinite(height)
    if not known.any():
        return np.full_like(height, np.nan)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = height[tuple(nearest)]
    moved = np.asarray(ndimage.shift(filled, (rows, columns), order=3, mode="nearest"))
    share = ndimage.shift(known.astype(np.float64), (rows, columns), order=1, cval=0.0)
    return np.where(share > _WHOLE, moved, np.nan)


@dataclass(frozen=True, slots=True)
class _Step:
    """A further shift and height with their errors, what they leave, and what each pixel weighs."""

    dx: float
    dy: float
    dz: float
    dx_error: float
    dy_error: float
    dz_error: float
    residual: NDArray[np.float64]
    weight: NDArray[np.float64]


def _robust_step(
    along_x: NDArray[np.float64], along_y: NDArray[np.float64], left: NDArray[np.float64]
) -> _Step:
    """One step of Gauss-Newton with Huber's weights of what is left before it."""
    if left.size < _FEWEST:
        raise InputError(f"only {left.size} pixels have a bias and a slope: {_FEWEST} are needed")
    if min(along_x.std(), along_y.std()) < 1e-3:
        raise InputError("the ground is flat: a shift of the model cannot be seen on it")
    design = np.stack([along_x, along_y, np.ones(left.size)], axis=1)
    centred = np.abs(left - np.median(left))
    limit = _HUBER * max(nmad(left), 1e-9)
    weight = np.asarray(np.minimum(1.0, limit / np.maximum(centred, 1e-12)), np.float64)
    weighted = design * weight[:, None]
    normal: NDArray[np.float64] = np.asarray(np.linalg.inv(weighted.T @ design), np.float64)
    dx, dy, dz = (float(part) for part in (normal @ (weighted.T @ left)).tolist())
    residual = left - design @ np.array([dx, dy, dz])
    scale2 = float((weight * residual**2).sum() / (weight.sum() - 3))
    errors: list[float] = np.sqrt(scale2 * normal.diagonal()).tolist()
    return _Step(dx, dy, dz, errors[0], errors[1], errors[2], residual, weight)


def _steps(dem: xr.DataArray) -> tuple[float, float]:
    if set(dem.dims) != {"y", "x"} or min(dem.sizes["y"], dem.sizes["x"]) < 3:
        raise InputError("an elevation model must be (y, x), of three pixels at least each way")
    if "x" not in dem.coords or "y" not in dem.coords:
        raise InputError("the elevation model has no coordinates x and y in metres")
    return tuple(float(dem[axis][1] - dem[axis][0]) for axis in ("x", "y"))  # type: ignore[return-value]
