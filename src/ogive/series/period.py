"""The mean velocity of a series between two dates of one's own, such as those of a GNSS survey."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ogive.model import DAYS_PER_YEAR, DateError

__all__ = ["mean_velocity"]


def mean_velocity(
    series: xr.Dataset, start: str | np.datetime64, end: str | np.datetime64
) -> xr.Dataset:
    """Mean velocity of a series between two dates, read off its cumulative displacement.

    Parameters
    ----------
    series
        A series of `ogive.invert`.
    start, end
        The dates; within a period the ice is taken to move evenly.

    Returns
    -------
    xarray.Dataset
        ``vx, vy`` (y, x) in meter/year, NaN where a period they need is missing.

    Raises
    ------
    DateError
        If the dates are reversed, or not within the series.

    Examples
    --------
    >>> import xarray as xr
    >>> day = np.datetime64("2020-01-01", "ns") + np.arange(3) * np.timedelta64(10, "D")
    >>> step = xr.DataArray([1.0, 3.0], dims="time")
    >>> series = xr.Dataset({"dx": step, "dy": 0 * step}, {"time_bounds":
    ...     (("time", "nv"), np.stack([day[:-1], day[1:]], axis=1))})
    >>> mean = mean_velocity(series, "2020-01-06", "2020-01-16")  # 0.5 m and 1.5 m in 10 days
    >>> round(float(mean.vx) / 365.25, 6)
    0.2
    """
    begin, stop = np.asarray([start, end], "datetime64[ns]")
    bounds = series["time_bounds"].values
    if not begin < stop:
        raise DateError(f"the period from {begin} to {stop} has no length: give the earlier first")
    if begin < bounds[0, 0] or stop > bounds[-1, 1]:
        raise DateError(
            f"the period from {begin} to {stop} is not within the series "
            f"({bounds[0, 0]} to {bounds[-1, 1]})"
        )
    overlap = np.minimum(bounds[:, 1], stop) - np.maximum(bounds[:, 0], begin)
    share = np.maximum(overlap / (bounds[:, 1] - bounds[:, 0]), 0.0)
    needed = np.flatnonzero(share > 0)
    weights = xr.DataArray(share[needed], dims="time")
    years = float((stop - begin) / np.timedelta64(1, "D")) / DAYS_PER_YEAR
    result = {}
    for component in ("x", "y"):
        displacement = series[f"d{component}"].isel(time=needed).drop_vars("time", errors="ignore")
        total = (displacement.astype(np.float64) * weights).sum("time", skipna=False)
        result[f"v{component}"] = (total / years).assign_attrs(units="meter/year")
    return xr.Dataset(result)
