"""Velocities measured in the field, stakes and GNSS, from CSV and vector files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from ogive.model import DAYS_PER_YEAR, DateError, InputError

from .shapes import read_shapes

__all__ = ["read_points"]

_KNOWN = {
    "name": ("name", "station", "stake", "id", "point"),
    "start": ("start", "start_date", "date1", "date_start", "begin"),
    "end": ("end", "end_date", "date2", "date_end"),
    "x": ("x", "start_x", "x1", "start_easting", "easting"),
    "y": ("y", "start_y", "y1", "start_northing", "northing"),
    "end_x": ("end_x", "x2", "end_easting"),
    "end_y": ("end_y", "y2", "end_northing"),
    "vx": ("vx", "v_x"),
    "vy": ("vy", "v_y"),
    "vx_error": ("vx_error", "errx"),
    "vy_error": ("vy_error", "erry"),
}


def read_points(
    path: str | Path, *, crs: str | None = None, to_crs: str | None = None
) -> pd.DataFrame:
    """Read measured points and make velocities of their positions.

    Parameters
    ----------
    path
        CSV with columns ``start, end`` (dates), ``x, y`` and either ``end_x, end_y`` or
        ``vx, vy`` (meter/year); usual other names of these are understood. A vector file
        (GeoPackage, ...) may give the place as geometry.
    crs
        Coordinate reference system of the positions in a CSV.
    to_crs
        System that positions shall be in; displacements are taken there, so that velocities are
        along its axes. Velocities that were given cannot be turned and are refused.

    Returns
    -------
    pandas.DataFrame
        ``name, start, end, x, y, vx, vy``: x and y in the middle of the way, velocities in
        meter/year; ``vx_error, vy_error`` where given; ``start_x, start_y, end_x, end_y`` where
        positions were; attribute ``crs``.

    Raises
    ------
    InputError
        If the file cannot be read or a column is missing.
    DateError
        If a date is none, or dates are not in order.
    """
    table = _table(Path(path))
    own = table.attrs.pop("crs", None) or crs
    table = _renamed(table, path)
    for column in ("start", "end"):
        try:
            table[column] = pd.to_datetime(table[column])
        except (ValueError, TypeError) as error:
            raise DateError(f"{path} holds something in '{column}' that is no date") from error
    first, last = (table[name].to_numpy("datetime64[ns]") for name in ("start", "end"))
    wrong = np.flatnonzero(~(first < last))
    if wrong.size:
        raise DateError(f"line {wrong[0] + 1} of {path} does not run forward in time")
    return _velocities(table, path, own, to_crs)


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.suffix.lower() in (".csv", ".txt"):
        try:
            return pd.read_csv(path)
        except Exception as error:  # pandas raises what it likes
            raise InputError(f"{path} cannot be read as a table of points: {error}") from error
    shapes = read_shapes(path, wanted="points")
    others = sorted(set(shapes.geom_type.dropna()) - {"Point"})
    if others:
        raise InputError(f"{path} holds a {others[0]}: velocities are measured at points")
    table = pd.DataFrame(shapes.drop(columns=shapes.geometry.name))
    table["x"], table["y"] = shapes.geometry.x.values, shapes.geometry.y.values
    table.attrs["crs"] = None if shapes.crs is None else shapes.crs.to_wkt()
    return table


def _renamed(table: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    plain = {str(column).strip().lower(): column for column in table.columns}
    names = {}
    for wanted, others in _KNOWN.items():
        found = [plain[other] for other in others if other in plain]
        if found:
            names[found[0]] = wanted
    table = table.rename(columns=names)
    moves = [{"end_x", "end_y"} <= set(table), {"vx", "vy"} <= set(table)]
    missing = [name for name in ("start", "end", "x", "y") if name not in table]
    if missing or not any(moves):
        lacking = ", ".join(missing) or "end_x, end_y (or vx, vy)"
        raise InputError(f"{path} has no {lacking}; its columns are {', '.join(plain)}")
    if "name" not in table:
        table["name"] = [f"point {k + 1}" for k in range(len(table))]
    return table


def _velocities(
    table: pd.DataFrame, path: str | Path, crs: str | None, to_crs: str | None
) -> pd.DataFrame:
    given = "vx" in table
    turns = to_crs is not None and crs is not None and not _same(crs, to_crs)
    if turns and given:
        raise InputError(
            f"the velocities of {path} are along the axes of {crs}, not of {to_crs}: give positions"
        )
    if to_crs is not None and crs is None:
        raise InputError(f"{path} does not say where its positions lie: pass crs='EPSG:...'")
    ends = [("x", "y")] if given else [("x", "y"), ("end_x", "end_y")]
    for x, y in ends:
        table[x], table[y] = table[x].astype(np.float64), table[y].astype(np.float64)
        if turns:
            moved = gpd.GeoSeries(gpd.points_from_xy(table[x], table[y]), crs=crs).to_crs(to_crs)
            table[x], table[y] = moved.x.values, moved.y.values
    if not given:
        first, last = (table[name].to_numpy("datetime64[ns]") for name in ("start", "end"))
        years = (last - first) / np.timedelta64(1, "D") / DAYS_PER_YEAR
        for axis in ("x", "y"):
            moved_m = table[f"end_{axis}"] - table[axis]
            table[f"v{axis}"] = moved_m / years
            table[f"start_{axis}"] = table[axis]
            table[axis] = table[axis] + 0.5 * moved_m
    wanted = ["name", "start", "end", "x", "y", "vx", "vy", "vx_error", "vy_error",
              "start_x", "start_y", "end_x", "end_y"]  # fmt: skip
    result = table[[name for name in wanted if name in table]].reset_index(drop=True)
    result.attrs["crs"] = to_crs or crs
    return result


def _same(one: Any, other: Any) -> bool:
    return bool(gpd.GeoSeries([], crs=one).crs == gpd.GeoSeries([], crs=other).crs)
