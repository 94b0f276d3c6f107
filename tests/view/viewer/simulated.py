"""A simulated glacier as pairs would show it: a cube of any depth, its series, maps and ground."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import dask.array
import numpy as np
import odc.geo.xr
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter, map_coordinates

from ogive.model import DAYS_PER_YEAR
from ogive.simulation import SimulatedGlacier

CRS = "EPSG:32632"
START = np.datetime64("2019-01-01", "ns")
POSITION_ERROR_M = 1.5


@dataclass(frozen=True)
class Ground:
    """The mean flow, the ice and the elevation on one grid."""

    grid: GeoBox
    vx: NDArray[np.float64]
    vy: NDArray[np.float64]
    ice: NDArray[np.bool_]
    elevation_m: NDArray[np.float64]


@cache
def ground(side: int = 100) -> Ground:
    """A valley glacier of 6 km by 6 km on ``side`` by ``side`` points."""
    glacier = SimulatedGlacier.build((600, 600), seed=3)
    flow, terrain = glacier.flow, glacier.terrain
    step = 6000.0 / side
    left, top = glacier.place.left_m, glacier.place.top_m
    grid = GeoBox((side, side), Affine(step, 0, left, 0, -step, top), CRS)
    x, y = np.meshgrid(*(grid.coordinates[axis].values for axis in ("x", "y")))
    at = [(flow.y[0] - y) / 20.0, (x - flow.x[0]) / 20.0]
    ice = map_coordinates(flow.ice.astype(float), at, order=1) > 0.5
    vx, vy = (
        np.where(ice, map_coordinates(field, at, order=1), 0.0)
        for field in (flow.vx_m_yr, flow.vy_m_yr)
    )
    return Ground(grid, vx, vy, ice, map_coordinates(terrain.elevation_m, at, order=1))


def pairs(count: int, years: float = 6.0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and second days of so many pairs, of 5 to 120 days."""
    starts, lengths = int(years * 365.25 - 120) // 5, 24
    chosen = np.random.default_rng(count).choice(starts * lengths, count, replace=False)
    chosen.sort()
    first = 5 * (chosen // lengths)
    return first, first + 5 * (1 + chosen % lengths)


def season(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Speed over its mean."""
    return 1 + 0.3 * np.sin(2 * np.pi * (days - 90) / DAYS_PER_YEAR)


def cube(count: int, side: int = 100, *, chunk: int | None = None) -> xr.Dataset:
    """Observations with errors that grow with short baselines, and gaps where clouds were."""
    place = ground(side)
    first, second = pairs(count)
    baseline = (second - first) / DAYS_PER_YEAR
    factor = season((first + second) / 2)
    rng = np.random.default_rng(1)
    clouds = gaussian_filter(rng.standard_normal((256, 256)), 12, mode="wrap")
    clouds /= clouds.std()
    shifts = rng.integers(0, 256, (count, 2))

    def observed(component: int, block: NDArray[np.float64], rows: slice, columns: slice):
        size = (count, rows.stop - rows.start, columns.stop - columns.start)
        noise = np.random.default_rng([component, rows.start, columns.start])
        error = (POSITION_ERROR_M / baseline)[:, None, None]
        values = factor[:, None, None] * block + error * noise.standard_normal(size, np.float32)
        row = (np.arange(rows.start, rows.stop) + shifts[:, :1]) % 256
        column = (np.arange(columns.start, columns.stop) + shifts[:, 1:]) % 256
        cloudy = clouds[row[:, :, None], column[:, None, :]] > 0.25
        return np.where(cloudy, np.nan, values).astype(np.float32)

    step = chunk or side
    fields = {}
    for k, (name, mean) in enumerate((("vx", place.vx), ("vy", place.vy))):
        blocks = [
            [
                dask.array.from_delayed(
                    dask.delayed(observed)(
                        k, mean[r : r + step, c : c + step],
                        slice(r, min(r + step, side)), slice(c, min(c + step, side)),
                    ),
                    (count, min(step, side - r), min(step, side - c)), np.float32,
                )
                for c in range(0, side, step)
            ]
            for r in range(0, side, step)
        ]  # fmt: skip
        fields[name] = (("mid_date", "y", "x"), dask.array.block(blocks), {"units": "meter/year"})
    error = (POSITION_ERROR_M / baseline).astype(np.float32)
    for name in ("vx_error", "vy_error"):
        fields[name] = ("mid_date", error, {"units": "meter/year"})
    day = np.timedelta64(1, "D").astype("timedelta64[ns]")
    dates = {
        "acquisition_date_img1": ("mid_date", START + first * day),
        "acquisition_date_img2": ("mid_date", START + second * day),
        "mid_date": START + (first + second) * day // 2,
        "satellite_img1": ("mid_date", np.where(first % 2 == 0, "2A", "8")),
        "mission_img1": ("mid_date", np.where(first % 2 == 0, "S", "L")),
    }
    places = {axis: place.grid.coordinates[axis].values for axis in ("y", "x")}
    result = xr.Dataset(fields, dates | places)
    placed: xr.Dataset = odc.geo.xr.assign_crs(result, CRS)
    return placed


def series(side: int = 100, *, period_days: int = 60, years: float = 6.0) -> xr.Dataset:
    """What a good inversion of the cube gives: the truth, with an error of 4 m/yr."""
    place = ground(side)
    day = np.timedelta64(1, "D").astype("timedelta64[ns]")
    edges = np.arange(0, int(years * 365.25), period_days)
    factor = season((edges[:-1] + edges[1:]) / 2)[:, None, None]
    rng = np.random.default_rng(2)
    dims, shape = ("time", "y", "x"), (edges.size - 1, side, side)
    fields = {
        name: (dims, (factor * mean + rng.normal(0, 4, shape)).astype(np.float32),
               {"units": "meter/year"})
        for name, mean in (("vx", place.vx), ("vy", place.vy))
    }  # fmt: skip
    fields["v"] = (dims, np.hypot(fields["vx"][1], fields["vy"][1]), {"units": "meter/year"})
    for name in ("vx_error", "vy_error", "v_error"):
        fields[name] = (dims, np.full(shape, 4, np.float32), {"units": "meter/year"})
    fields["observations"] = (dims, np.full(shape, 12, np.int32), {"units": "1"})
    fields["observations"][1][3] = 0
    bounds = START + np.stack([edges[:-1], edges[1:]], axis=1) * day
    fields["time_bounds"] = (("time", "bounds"), bounds)
    places = {axis: place.grid.coordinates[axis].values for axis in ("y", "x")}
    times = {"time": bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) // 2}
    placed: xr.Dataset = odc.geo.xr.assign_crs(xr.Dataset(fields, times | places), CRS)
    return placed
