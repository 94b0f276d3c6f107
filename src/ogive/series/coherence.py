"""Two criteria for a series, and the sampling they propose (Charrier et al. 2022, section IV)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ogive.model import DAYS_PER_YEAR, InputError, StableGroundError

from .invert import invert

__all__ = ["best_sampling", "mean_magnitude", "stable_rmse", "vector_coherence"]

MOVING_M_YR = 0.2 * DAYS_PER_YEAR
"""The paper's limit between moving and other ice: 0.2 m/day."""


def stable_rmse(velocities: xr.Dataset, stable: xr.DataArray) -> float:
    """Root-mean-square speed on stable ground, in meter/year: what the noise is (eq. 8).

    Parameters
    ----------
    velocities
        ``vx, vy`` along ``time`` (a series) or ``mid_date`` (observations).
    stable
        True on stable ground (y, x).

    Returns
    -------
    float
        The mean over stable pixels of each pixel's root-mean-square speed in time.

    Raises
    ------
    StableGroundError
        If no stable pixel has a velocity.

    Examples
    --------
    >>> still = xr.DataArray(np.full((5, 1, 2), 3.0), dims=("time", "y", "x"))
    >>> rock = xr.DataArray([[True, False]], dims=("y", "x"))
    >>> stable_rmse(xr.Dataset({"vx": still, "vy": 4 / 3 * still}), rock)
    5.0
    """
    squared = velocities["vx"].astype(np.float64) ** 2 + velocities["vy"].astype(np.float64) ** 2
    per_pixel = squared.mean(_time(velocities)) ** 0.5
    value = float(per_pixel.where(stable.astype(bool)).mean())
    if not np.isfinite(value):
        raise StableGroundError(
            "no pixel on stable ground has a velocity: check that the stable ground lies on the "
            "cube's grid"
        )
    return value


def vector_coherence(velocities: xr.Dataset) -> xr.DataArray:
    """Velocity vector coherence (VVC) of each pixel: how steady the flow's direction is (eq. 9).

    The length of the mean unit vector: 1 if all velocities point the same way, near 0 if they
    point everywhere. (The paper's formula leaves out the division by the number of velocities.)

    Parameters
    ----------
    velocities
        ``vx, vy`` along ``time`` or ``mid_date``.

    Returns
    -------
    xarray.DataArray
        (y, x), NaN where there is no velocity that differs from zero.

    Examples
    --------
    >>> turning = xr.DataArray([1.0, -1.0], dims="time")
    >>> float(vector_coherence(xr.Dataset({"vx": 0 * turning + 1, "vy": turning})).round(4))
    0.7071
    """
    vx, vy = velocities["vx"].astype(np.float64), velocities["vy"].astype(np.float64)
    speed = (vx**2 + vy**2) ** 0.5
    speed = speed.where(speed > 0)
    dim = _time(velocities)
    coherence = ((vx / speed).mean(dim) ** 2 + (vy / speed).mean(dim) ** 2) ** 0.5
    coherence.name = "vvc"
    coherence.attrs = {"long_name": "velocity vector coherence", "units": "1"}
    return coherence


def mean_magnitude(
    cube: xr.Dataset, series: xr.Dataset, *, tolerance_days: float = 6.0
) -> xr.Dataset:
    """Mean speed before and after an inversion (the paper's figure 6).

    Parameters
    ----------
    cube, series
        The observations, and their inversion by `ogive.invert`.
    tolerance_days
        Observations count whose baseline differs from the series' sampling by at most this.

    Returns
    -------
    xarray.Dataset
        ``before, after, difference`` (y, x) in meter/year.

    Raises
    ------
    InputError
        If no observation has such a baseline.
    """
    days = _sampling_days(series)
    chosen = _of_baseline(cube, days, tolerance_days)
    if chosen.sizes["mid_date"] == 0:
        raise InputError(
            f"no observation has a baseline of {days:g} days to within {tolerance_days:g}"
        )
    means = {
        name: ((data["vx"].astype(np.float64) ** 2 + data["vy"].astype(np.float64) ** 2) ** 0.5)
        .mean(_time(data))
        .astype(np.float32)
        for name, data in (("before", chosen), ("after", series))
    }
    result = xr.Dataset({**means, "difference": means["after"] - means["before"]})
    for name in result:
        result[name].attrs = {"long_name": f"mean speed, {name}", "units": "meter/year"}
    return result


def best_sampling(
    cube: xr.Dataset,
    *,
    stable: xr.DataArray,
    samplings: Sequence[str] = ("12D", "24D", "36D", "48D", "60D"),
    moving: xr.DataArray | None = None,
    flat: float = 0.01,
    tolerance_days: float | None = None,
    **options: Any,
) -> xr.Dataset:
    """Compare samplings by both criteria, for the observations and for their inversion (figure 3).

    A longer sampling has less noise and shows less detail. The proposal is the shortest sampling
    whose coherence is within ``flat`` of the best one of all that were tried.

    Parameters
    ----------
    cube
        The observations.
    stable
        True on stable ground (y, x).
    samplings
        Lengths of the periods to try.
    moving
        True on moving ice; by default where the mean observed speed is above 0.2 m/day and the
        ground is not stable.
    flat
        How much coherence still to be gained counts as none.
    tolerance_days
        Observations count for a sampling if their baseline differs from it by at most this; by
        default by half the smallest step between samplings.
    **options
        Further options of `ogive.invert`.

    Returns
    -------
    xarray.Dataset
        Along ``sampling`` (days): ``vvc_series, vvc_observations`` and ``rmse_series,
        rmse_observations`` (meter/year), NaN where no observation has such a baseline;
        attribute ``best_sampling``, such as ``"36D"``.

    Raises
    ------
    StableGroundError
        If no stable pixel has a velocity.
    InputError
        If there is no sampling, or no moving ice.
    """
    if not samplings:
        raise InputError("there is no sampling to compare: give some, such as ['12D', '24D']")
    ordered = sorted(samplings, key=pd.Timedelta)
    days = np.array([pd.Timedelta(s) / pd.Timedelta(days=1) for s in ordered])
    if tolerance_days is None:
        tolerance_days = 0.5 * float(np.min(np.diff(days))) if len(days) > 1 else 0.5 * days[0]
    moving = _moving(cube, stable) if moving is None else moving.astype(bool)
    if not bool(moving.any()):
        raise InputError("no ice moves by more than 0.2 m/day in the mean: pass moving=...")
    table: dict[str, list[float]] = {
        f"{what}_{of}": [] for what in ("vvc", "rmse") for of in ("observations", "series")
    }
    for sampling, length in zip(ordered, days, strict=True):
        observed = _of_baseline(cube, length, tolerance_days)
        for of, data in (("observations", observed), ("series", invert(cube, sampling, **options))):
            if data.sizes[_time(data)] == 0:
                coherence, noise = np.nan, np.nan
            else:
                coherence = float(vector_coherence(data).where(moving).mean())
                noise = stable_rmse(data, stable)
            table[f"vvc_{of}"].append(coherence)
            table[f"rmse_{of}"].append(noise)
    result = xr.Dataset(
        {name: ("sampling", values) for name, values in table.items()}, {"sampling": days}
    )
    coherences = np.array(table["vvc_series"])
    reached = np.flatnonzero(coherences >= np.nanmax(coherences) - flat)
    result.attrs["best_sampling"] = ordered[int(reached[0])]
    result["sampling"].attrs = {"long_name": "sampling or baseline", "units": "days"}
    for name in result:
        result[name].attrs["units"] = "1" if str(name).startswith("vvc") else "meter/year"
    return result


def _time(data: xr.Dataset) -> str:
    for dim in ("time", "mid_date"):
        if dim in data["vx"].dims:
            return dim
    raise InputError(f"vx has neither 'time' nor 'mid_date' but {', '.join(map(str, data.dims))}")


def _sampling_days(series: xr.Dataset) -> float:
    bounds = series["time_bounds"].values
    return float((bounds[0, 1] - bounds[0, 0]) / np.timedelta64(1, "D"))


def _baselines(cube: xr.Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    span = cube["acquisition_date_img2"].values - cube["acquisition_date_img1"].values
    return np.asarray(span / np.timedelta64(1, "D"), np.float64)


def _of_baseline(cube: xr.Dataset, days: float, tolerance_days: float) -> xr.Dataset:
    near = np.abs(_baselines(cube) - days) <= tolerance_days
    return cube[["vx", "vy"]].isel(mid_date=np.flatnonzero(near))


def _moving(cube: xr.Dataset, stable: xr.DataArray) -> xr.DataArray:
    speed = (cube["vx"].astype(np.float64).mean("mid_date") ** 2) + (
        cube["vy"].astype(np.float64).mean("mid_date") ** 2
    )
    return (speed**0.5 > MOVING_M_YR) & ~stable.astype(bool)
