"""Velocity products against stakes and GNSS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ogive.correction.robust import nmad
from ogive.model import DAYS_PER_YEAR, InputError

__all__ = ["ErrorStatistics", "PointComparison", "compare_points", "over_period"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ErrorStatistics:
    """Errors of one quantity, product minus point, in meter/year.

    Parameters
    ----------
    count
        Points compared.
    bias
        Mean error.
    rmse
        Root-mean-square error.
    median, nmad
        Robust counterparts of mean and spread.
    """

    count: int
    bias: float
    rmse: float
    median: float
    nmad: float


@dataclass(frozen=True, slots=True)
class PointComparison:
    """A product beside points.

    Parameters
    ----------
    table
        One line a point: ``name, start, end, x, y``, ``vx, vy, v`` of the point,
        ``product_vx, product_vy, product_v``, ``along_error`` and ``across_error`` (components of
        the error along the point's velocity and to the left of it), ``share`` (of the point's span
        that the product covers), ``left_out`` (why it is not in the figures, else empty).
    statistics
        Of ``vx, vy, v, along, across``.
    r2
        Coefficient of determination of speeds, as the square of Pearson's correlation.
    """

    table: pd.DataFrame
    statistics: dict[str, ErrorStatistics]
    r2: float

    def summary(self) -> pd.DataFrame:
        """Table of the statistics, a line each quantity."""
        rows = {
            name: {key: getattr(s, key) for key in ErrorStatistics.__slots__}
            for name, s in self.statistics.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")


def compare_points(
    product: xr.Dataset, points: pd.DataFrame, *, min_share: float = 0.5
) -> PointComparison:
    """Compare a velocity product with points, each at its own place and over its own dates.

    The product is interpolated between the four pixels around the point; those without a value do
    not count, and half of the weight must have one. Of maps in time, all that overlap the point's
    span weigh by their overlap.

    Parameters
    ----------
    product
        ``vx, vy`` in meter/year: annual maps of `ogive.annual` (along ``year``), a series of
        `ogive.invert` (along ``time``, with ``time_bounds``), a cube of pairs (along ``mid_date``:
        a point is compared with the pairs of its own two dates), or one map (y, x), which is taken
        for all dates.
    points
        Columns ``start, end, x, y, vx, vy`` (meter/year), as `ogive.read_points` gives them;
        ``name`` is kept.
    min_share
        Share of a point's span that the product's periods with a value must cover.

    Returns
    -------
    PointComparison

    Raises
    ------
    InputError
        If a column or component is missing, or no point can be compared.

    Examples
    --------
    >>> flow = xr.DataArray(np.full((2, 2), 30.0), {"y": [50.0, 0.0], "x": [0.0, 50.0]}, ("y", "x"))
    >>> points = pd.DataFrame({"start": pd.to_datetime(["2018-05-01"]), "x": [25.0], "y": [25.0],
    ...     "end": pd.to_datetime(["2018-06-01"]), "vx": [28.0], "vy": [0.0]})
    >>> comparison = compare_points(xr.Dataset({"vx": flow, "vy": 0 * flow}), points)
    >>> round(comparison.statistics["along"].bias, 6)
    2.0
    """
    missing = [name for name in ("start", "end", "x", "y", "vx", "vy") if name not in points]
    if missing:
        raise InputError(f"the points have no {', '.join(missing)}: read them by ogive.read_points")
    for name in ("vx", "vy"):
        if name not in product:
            raise InputError(f"the product has no '{name}'")
    starts = points["start"].to_numpy().astype("datetime64[ns]")
    ends = points["end"].to_numpy().astype("datetime64[ns]")
    shares, dim = _shares(product, starts, ends)
    values = _at_points(product, points["x"].to_numpy(), points["y"].to_numpy(), dim)
    table = points.copy()
    if "name" not in table:
        table["name"] = [f"point {k + 1}" for k in range(len(table))]
    weights = np.where(np.isfinite(values).all(axis=0), shares, 0.0)
    table["share"] = weights.max(axis=0) if dim == "mid_date" else weights.sum(axis=0)
    total = np.where(weights.sum(axis=0) > 0, weights.sum(axis=0), np.nan)
    mean = (np.where(np.isfinite(values), values, 0.0) * weights).sum(axis=1) / total
    table["product_vx"], table["product_vy"] = mean
    enough = table["share"].to_numpy() >= min_share - 1e-9
    return _compared(table, enough, shares.sum(axis=0) > 0)


def over_period(
    points: pd.DataFrame, start: str | np.datetime64, end: str | np.datetime64
) -> pd.DataFrame:
    """Make one displacement of each station's positions within a period, the longest there is.

    A mean over months is not compared with the days of a survey, of which each has its own speed,
    but with what the station moved in these months.

    Parameters
    ----------
    points
        With ``name`` and ``start_x, start_y, end_x, end_y``, as `ogive.read_points` gives them for
        files of positions: each line tells two positions with their dates.
    start, end
        The period; positions at its very dates belong to it.

    Returns
    -------
    pandas.DataFrame
        A line for each station that has two positions in the period, columns as those of
        `ogive.read_points`.

    Raises
    ------
    InputError
        If the points have no positions, or no station has two in the period.

    Examples
    --------
    >>> dates = pd.to_datetime(["2018-05-01", "2018-06-01", "2018-07-01"])
    >>> lines = pd.DataFrame({"name": "a", "start": dates[:2], "end": dates[1:],
    ...     "start_x": [0.0, 3.0], "end_x": [3.0, 10.0], "start_y": 0.0, "end_y": 0.0})
    >>> whole = over_period(lines, "2018-05-01", "2018-08-01")
    >>> len(whole), round(float(whole.vx[0]), 3)  # 10 m in 61 days
    (1, 59.877)
    """
    missing = [f"{e}_{a}" for e in ("start", "end") for a in "xy" if f"{e}_{a}" not in points]
    if missing or "name" not in points:
        raise InputError("the points tell no positions to join: read them from a file of positions")
    positions = pd.concat(
        [
            points[["name", edge, f"{edge}_x", f"{edge}_y"]].set_axis(
                ["name", "time", "x", "y"], axis=1
            )
            for edge in ("start", "end")
        ]
    )
    begin, stop = np.asarray([start, end], "datetime64[ns]")
    times = positions["time"].to_numpy("datetime64[ns]")
    positions = positions[(times >= begin) & (times <= stop)]
    lines = []
    for name, own in positions.sort_values("time").groupby("name", sort=False):
        first, last = own.iloc[0], own.iloc[-1]
        years = (last["time"] - first["time"]) / pd.Timedelta(days=DAYS_PER_YEAR)
        if years <= 0:
            continue
        line = {"name": name, "start": first["time"], "end": last["time"]}
        for axis in ("x", "y"):
            line[axis] = 0.5 * (first[axis] + last[axis])
            line[f"v{axis}"] = (last[axis] - first[axis]) / years
            line |= {f"start_{axis}": first[axis], f"end_{axis}": last[axis]}
        lines.append(line)
    if not lines:
        raise InputError(f"no station has two positions from {start} to {end}")
    return pd.DataFrame(lines)


def _shares(
    product: xr.Dataset, starts: NDArray[np.datetime64], ends: NDArray[np.datetime64]
) -> tuple[Array, str | None]:
    """Share of each point's span that each map covers (map, point), and the maps' dimension."""
    if "year" in product["vx"].dims:
        dim, begin, stop = "year", product["year_start"].values, product["year_end"].values
    elif "time" in product["vx"].dims:
        dim, bounds = "time", product["time_bounds"].values
        begin, stop = bounds[:, 0], bounds[:, 1]
    elif "mid_date" in product["vx"].dims:
        day = "datetime64[D]"
        first, second = (
            product[f"acquisition_date_img{k}"].values.astype(day)[:, None] for k in (1, 2)
        )
        same = (first == starts.astype(day)) & (second == ends.astype(day))
        return same.astype(np.float64), "mid_date"
    else:
        return np.ones((1, starts.size)), None
    common = np.minimum(stop[:, None], ends) - np.maximum(begin[:, None], starts)
    return np.maximum(common / (ends - starts), 0.0), dim


def _at_points(product: xr.Dataset, x: Array, y: Array, dim: str | None) -> Array:
    """Bilinear values (component, map, point), over the neighbours that have one."""
    columns, rows = _position(product["x"].values, x), _position(product["y"].values, y)
    result = []
    for name in ("vx", "vy"):
        field = product[name].transpose(dim, "y", "x") if dim else product[name].expand_dims("map")
        height, width = field.sizes["y"], field.sizes["x"]
        value = np.zeros((field.shape[0], x.size))
        weight = np.zeros_like(value)
        for down in (0, 1):
            for right in (0, 1):
                row, column = np.floor(rows) + down, np.floor(columns) + right
                inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                at = {
                    "y": xr.DataArray(np.where(inside, row, 0).astype(int), dims="point"),
                    "x": xr.DataArray(np.where(inside, column, 0).astype(int), dims="point"),
                }
                corner = field.isel(at).transpose(..., "point").values.astype(np.float64)
                share = (1 - np.abs(rows - row)) * (1 - np.abs(columns - column)) * inside
                known = np.isfinite(corner) * share
                value += np.where(np.isfinite(corner), corner, 0.0) * share
                weight += known
        result.append(np.where(weight >= 0.5, value / np.where(weight > 0, weight, 1.0), np.nan))
    return np.stack(result)


def _position(axis: Array, at: Array) -> Array:
    """Fractional index on a regular axis."""
    if axis.size < 2:
        raise InputError("the product is a single row or column: nothing lies between its pixels")
    step = (axis[-1] - axis[0]) / (axis.size - 1)
    return np.asarray((at - axis[0]) / step, np.float64)


def _compared(
    table: pd.DataFrame, enough: NDArray[np.bool_], in_time: NDArray[np.bool_]
) -> PointComparison:
    vx, vy = table["vx"].to_numpy(np.float64), table["vy"].to_numpy(np.float64)
    error_x = table["product_vx"].to_numpy() - vx
    error_y = table["product_vy"].to_numpy() - vy
    table["v"] = np.hypot(vx, vy)
    table["product_v"] = np.hypot(table["product_vx"], table["product_vy"])
    speed = table["v"].to_numpy()
    length = np.where(speed > 0, speed, np.nan)
    table["along_error"] = (error_x * vx + error_y * vy) / length
    table["across_error"] = (error_y * vx - error_x * vy) / length
    used = enough & np.isfinite(error_x) & np.isfinite(error_y)
    why = np.where(in_time, "too little of the product has a value there", "not in its dates")
    table["left_out"] = np.where(used, "", why)
    if not used.any():
        raise InputError(
            f"none of {len(table)} points can be compared: they lie outside of the product, in its "
            f"gaps, or ({int((~in_time).sum())} of them) in none of its dates"
        )
    errors = {
        "vx": error_x,
        "vy": error_y,
        "v": table["product_v"].to_numpy() - speed,
        "along": table["along_error"].to_numpy(),
        "across": table["across_error"].to_numpy(),
    }
    statistics = {name: _statistics(error[used]) for name, error in errors.items()}
    return PointComparison(table, statistics, _r2(speed[used], table["product_v"].to_numpy()[used]))


def _statistics(errors: Array) -> ErrorStatistics:
    errors = errors[np.isfinite(errors)]
    if errors.size == 0:
        return ErrorStatistics(0, *[float("nan")] * 4)
    median = float(np.median(errors))
    return ErrorStatistics(
        count=int(errors.size),
        bias=float(errors.mean()),
        rmse=float(np.sqrt(np.mean(errors**2))),
        median=median,
        nmad=nmad(errors),
    )


def _r2(one: Array, other: Array) -> float:
    if one.size < 2 or one.std() == 0 or other.std() == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1] ** 2)
