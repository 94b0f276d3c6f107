"""What a place on the map did in time: observations, inverted series, stations beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from ogive.model import InputError

from .product import Product, extent, pixel_size

__all__ = [
    "PointData",
    "annual_at",
    "contains",
    "observations_at",
    "sensors_of",
    "series_at",
    "stations_near",
]

_DATES = re.compile(r"(\d{4}-\d\d-\d\d) to (\d{4}-\d\d-\d\d)")
_COMPONENTS = ("vx", "vy")


@dataclass(frozen=True, eq=False)
class PointData:
    """A clicked place and all that is known of it.

    Parameters
    ----------
    number
        From 1, in the order of clicks.
    x, y
        In the grid's coordinates.
    observations
        One line a pair: ``start, end, v, vx, vy, v_error, sensor, baseline_days`` (meter/year), and
        ``weight`` where the inversion kept it. Empty without a cube.
    series
        One line a period: ``start, end, v, vx, vy, v_error, vx_error, vy_error, observations``.
    years
        The same of annual maps, with the errors that they have.
    stations
        Stations nearby over their spans: ``name, start, end, v, vx, vy, distance_m``.
    """

    number: int
    x: float
    y: float
    observations: pd.DataFrame
    series: pd.DataFrame
    years: pd.DataFrame
    stations: pd.DataFrame

    @property
    def empty(self) -> bool:
        """Whether nothing is known of the place."""
        tables = (self.observations, self.series, self.years, self.stations)
        return all(table.empty for table in tables)


def contains(product: Product, x: float, y: float) -> bool:
    """Whether a place lies on the product's grid."""
    edges = extent(product)
    return edges.left <= x <= edges.right and edges.bottom <= y <= edges.top


def _pixel(product: Product, names: list[str], x: float, y: float) -> xr.Dataset:
    if not contains(product, x, y):
        edges = extent(product)
        raise InputError(
            f"x = {x:.0f}, y = {y:.0f} lies outside of {product.name}, which reaches from "
            f"{edges.left:.0f} to {edges.right:.0f} and from {edges.bottom:.0f} to {edges.top:.0f}"
        )
    return product.data[names].sel(x=x, y=y, method="nearest").load()


def observations_at(
    cube: Product, x: float, y: float, series: Product | None = None
) -> pd.DataFrame:
    """Read what the pairs of a cube say of a place, where they say something.

    Parameters
    ----------
    cube
        A product of the kind ``"cube"``.
    x, y
        In the grid's coordinates; the pixel they lie in is read.
    series
        Its inversion: gives the final weights where ``keep_weights`` kept them.

    Raises
    ------
    InputError
        If the place lies outside of the grid.
    """
    data = cube.data
    names = [n for n in ("vx", "vy", "vx_error", "vy_error", "v_error") if n in data]
    point = _pixel(cube, names, x, y)
    vx, vy = (point[name].values.astype(np.float64) for name in _COMPONENTS)
    table = pd.DataFrame(
        {
            "start": data["acquisition_date_img1"].values,
            "end": data["acquisition_date_img2"].values,
            "v": np.hypot(vx, vy),
            "vx": vx,
            "vy": vy,
            "v_error": _speed_error(point, vx, vy),
            "sensor": sensors_of(data),
        }
    )
    table["baseline_days"] = (table["end"] - table["start"]).dt.total_seconds() / 86_400
    if series is not None and "weight" in series.data and contains(series, x, y):
        weight = _pixel(series, ["weight"], x, y)["weight"].values
        if weight.size == len(table):
            table["weight"] = weight
    seen: pd.DataFrame = table[np.isfinite(table["v"])].reset_index(drop=True)
    return seen


def _speed_error(point: xr.Dataset, vx: np.ndarray, vy: np.ndarray) -> np.ndarray:
    if "v_error" in point:
        return point["v_error"].values.astype(np.float64)
    if not {"vx_error", "vy_error"} <= set(point.data_vars):
        return np.full(vx.shape, np.nan)
    errors = [point[f"{name}_error"].values.astype(np.float64) for name in _COMPONENTS]
    speed = np.hypot(vx, vy)
    along = np.where(speed > 0, speed, 1.0)
    return np.where(
        speed > 0,
        np.hypot(vx / along * errors[0], vy / along * errors[1]),
        np.hypot(*errors) / np.sqrt(2),
    )


def sensors_of(cube: xr.Dataset) -> np.ndarray:
    """Name the sensors of a pair: ``S2``, ``L8``, or both where they differ."""
    count = cube.sizes["mid_date"]
    sides = []
    for k in (1, 2):
        parts = [
            cube[f"{what}_img{k}"].values.astype(str)
            for what in ("mission", "satellite")
            if f"{what}_img{k}" in cube.variables
        ]
        name = np.full(count, "", dtype=object)
        for part in parts:
            name = name + np.where(part == "nan", "", part).astype(object)
        sides.append(name)
    first, second = sides
    both = np.where((first == second) | (second == ""), first, first + "/" + second)
    return np.where(both == "", "pairs", both).astype(str)


def series_at(series: Product, x: float, y: float) -> pd.DataFrame:
    """Read the inverted series of a place.

    Raises
    ------
    InputError
        If the place lies outside of the grid.
    """
    wanted = ("vx", "vy", "v_error", "vx_error", "vy_error", "observations")
    point = _pixel(series, [n for n in wanted if n in series.data], x, y)
    bounds = series.data["time_bounds"].values
    table = pd.DataFrame({"start": bounds[:, 0], "end": bounds[:, 1]})
    for name in point.data_vars:
        table[str(name)] = point[name].values
    table.insert(2, "v", np.hypot(table["vx"], table["vy"]))
    return table


def stations_near(
    stations: pd.DataFrame | None, product: Product, x: float, y: float
) -> pd.DataFrame:
    """Choose the stations within three pixels of a place."""
    if stations is None:
        return pd.DataFrame()
    distance = np.hypot(stations["x"] - x, stations["y"] - y)
    near = stations[distance <= 3 * pixel_size(product)].copy()
    near["distance_m"] = distance[near.index]
    near["v"] = np.hypot(near["vx"], near["vy"])
    return near.reset_index(drop=True)


def annual_at(annual: Product, x: float, y: float) -> pd.DataFrame:
    """Read the speeds of a place year by year, as `series_at` gives those of periods.

    Raises
    ------
    InputError
        If the place lies outside of the grid.
    """
    layers = {
        key: layer
        for key, layer in annual.layers.items()
        if key in ("v", "vx", "vy", "v_error", "error")
        and len(layer.variables) == len(annual.frames)
    }
    point = _pixel(annual, [name for layer in layers.values() for name in layer.variables], x, y)
    names = layers["v"].variables if "v" in layers else ()
    spans = [_DATES.search(str(point[name].attrs.get("long_name", ""))) for name in names]
    if not names or not all(spans):
        return pd.DataFrame()
    table = pd.DataFrame(
        {
            side: pd.to_datetime([span.group(k) for span in spans if span])
            for k, side in enumerate(("start", "end"), start=1)
        }
    )
    for key, layer in layers.items():
        column = "v_error" if key == "error" else key
        table[column] = [float(point[name]) for name in layer.variables]
    return table
