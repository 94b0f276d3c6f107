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

from ogive.model import GridError, InputError

from .robust import nmad

__all__ = ["Misregistration", "fit_misregistration", "misregistration_bias"]

_FEWEST = 100
_HUBER = 1.345  # 95 % efficiency on normal errors
_ITERATIONS = 30


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

    >>> x = 30.0 * np.arange(8)
    >>> slope = xr.DataArray(0.5 * np.tile(x, (8, 1)), dims=("y", "x"),
    ...                      coords={"y": x[::-1], "x": x})
    >>> bias = misregistration_bias(slope, 0.0)  # flight to the north, right is east
    >>> float(bias.across[4, 4].round(6)), float(bias.along[4, 4].round(6))
    (5.0, 0.0)
    """
    step_x, step_y = _steps(dem)
    turn = np.deg2rad(flight_azimuth_deg)
    result = {}
    for name, dx, dy in (
        ("along", shift_m * np.sin(turn), shift_m * np.cos(turn)),
        ("across", shift_m * np.cos(turn), -shift_m * np.sin(turn)),
    ):
        rows, columns = np.mgrid[0 : dem.sizes["y"], 0 : dem.sizes["x"]].astype(float)
        copy = ndimage.map_coordinates(
            dem.values.astype(float), [rows - dy / step_y, columns - dx / step_x], order=1,
            mode="constant", cval=np.nan,
        )  # fmt: skip
        told = {"units": "m", "long_name": f"bias of a model {shift_m:g} m off {name} the track"}
        result[name] = (("y", "x"), dem.values - copy, told)
    return xr.Dataset(result, coords={name: dem[name] for name in ("y", "x")})


def fit_misregistration(
    bias: xr.DataArray, dem: xr.DataArray, where: xr.DataArray | NDArray[np.bool_] | None = None
) -> Misregistration:
    """Fit a planar shift of the model to an elevation bias, robustly.

    A model that is shifted by (dx, dy) leaves a bias of ``dx ∂z/∂x + dy ∂z/∂y + dz``. Fitted on
    ground that has not changed it tells how much of the bias is the model's place. To move the
    model itself use a co-registration of elevation models (xdem has several).

    Parameters
    ----------
    bias
        ``elevation_bias`` (y, x), in metres.
    dem
        The elevation model, on the same grid.
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
    >>> y, x = np.mgrid[0:40, 0:40] * 100.0
    >>> dims, coords = ("y", "x"), {"y": y[:, 0], "x": x[0]}
    >>> dem = xr.DataArray(300 * np.sin(x / 700) * np.cos(y / 900), coords, dims)
    >>> bias = 12 * dem.differentiate("x") - 5 * dem.differentiate("y") + 2
    >>> fit = fit_misregistration(bias, dem)
    >>> round(fit.dx_m, 3), round(fit.dy_m, 3), round(fit.dz_m, 3)
    (12.0, -5.0, 2.0)
    """
    if bias.shape != dem.shape:
        raise GridError(f"the bias is {bias.shape}, the model {dem.shape}: put both on one grid")
    step_x, step_y = _steps(dem)
    along_y, along_x = np.gradient(dem.values.astype(float), step_y, step_x)
    values = bias.values.astype(float)
    used = np.isfinite(values) & np.isfinite(along_x) & np.isfinite(along_y)
    if where is not None:
        used &= np.asarray(where, dtype=bool)
    count = int(used.sum())
    if count < _FEWEST:
        raise InputError(f"only {count} pixels have a bias and a slope: {_FEWEST} are needed")
    design = np.stack([along_x[used], along_y[used], np.ones(count)], axis=1)
    if min(design[:, 0].std(), design[:, 1].std()) < 1e-3:
        raise InputError("the ground is flat: a shift of the model cannot be seen on it")
    observed = values[used]
    solution, weight = _huber(design, observed)
    residual = observed - design @ solution
    normal = np.linalg.inv((design * weight[:, None]).T @ design)
    scale2 = float((weight * residual**2).sum() / (weight.sum() - 3))
    errors = np.sqrt(scale2 * np.diag(normal))
    centred = observed - np.average(observed, weights=weight)
    explained = 1 - float((weight * residual**2).sum() / (weight * centred**2).sum())
    return Misregistration(
        float(solution[0]), float(solution[1]), float(solution[2]),
        float(errors[0]), float(errors[1]), float(errors[2]), max(explained, 0.0), count,
    )  # fmt: skip


def _huber(
    design: NDArray[np.float64], observed: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weight: NDArray[np.float64] = np.ones(observed.size)
    solution: NDArray[np.float64] = np.zeros(design.shape[1])
    for _ in range(_ITERATIONS):
        weighted = design * weight[:, None]
        better = np.linalg.solve(weighted.T @ design, weighted.T @ observed)
        residual = np.abs(observed - design @ better)
        limit = _HUBER * max(nmad(observed - design @ better), 1e-9)
        weight = np.asarray(np.minimum(1.0, limit / np.maximum(residual, 1e-12)), np.float64)
        done = bool(np.allclose(better, solution, rtol=1e-6, atol=1e-9))
        solution = np.asarray(better, np.float64)
        if done:
            break
    return solution, weight


def _steps(dem: xr.DataArray) -> tuple[float, float]:
    if set(dem.dims) != {"y", "x"} or min(dem.sizes["y"], dem.sizes["x"]) < 3:
        raise InputError("an elevation model must be (y, x), of three pixels at least each way")
    if "x" not in dem.coords or "y" not in dem.coords:
        raise InputError("the elevation model has no coordinates x and y in metres")
    return tuple(float(dem[axis][1] - dem[axis][0]) for axis in ("x", "y"))  # type: ignore[return-value]
