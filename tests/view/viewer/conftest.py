"""A small project as a run leaves it: cube, series, annual maps, a velocity file, ground."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from rasterio.features import shapes
from shapely.geometry import shape

from ogive.model import ATTRIBUTES, Flag, flag_attributes
from ogive.series.annual import annual
from ogive.store.annual_file import write_annual
from ogive.store.cube import write_cube
from ogive.store.velocity_file import write_velocity

from .simulated import CRS, cube, ground, series

SIDE = 60
PAIRS = 80


def write_rasters(folder: Path) -> None:
    """An elevation model, an image, and the outlines of the ice."""
    place = ground(SIDE)
    profile = {
        "driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "crs": CRS,
        "transform": place.grid.transform,
    }  # fmt: skip
    with rasterio.open(folder / "dem.tif", "w", dtype="float32", **profile) as file:
        file.write(place.elevation_m.astype(np.float32), 1)
    with rasterio.open(folder / "scene.tif", "w", dtype="uint16", **profile) as file:
        file.write((place.elevation_m * 10).astype(np.uint16), 1)
    ice = [
        shape(geometry)
        for geometry, value in shapes(place.ice.astype(np.uint8), transform=place.grid.transform)
        if value == 1
    ]
    gpd.GeoDataFrame(geometry=ice, crs=CRS).to_file(folder / "outlines.gpkg")


def velocity_map() -> xr.Dataset:
    """One map, with errors, and flags where it has gaps."""
    place, rng = ground(SIDE), np.random.default_rng(4)
    flag = np.where(rng.random((SIDE, SIDE)) < 0.1, Flag.OUTLIER, Flag.MEASURED).astype(np.uint8)
    fields = {"vx": place.vx, "vy": place.vy, "v": np.hypot(place.vx, place.vy)}
    fields |= {name: np.full((SIDE, SIDE), 3.0) for name in ("vx_error", "vy_error", "v_error")}
    grid = place.grid.coordinates
    data = xr.Dataset(coords={axis: grid[axis].values for axis in ("y", "x")})
    for name, values in fields.items():
        holed = np.where(flag == Flag.MEASURED, values, np.nan).astype(np.float32)
        data[name] = (("y", "x"), holed, dict(ATTRIBUTES[name]))
    data["flag"] = (("y", "x"), flag, flag_attributes())
    placed: xr.Dataset = data.odc.assign_crs(CRS)
    return placed


def write_stations(path: Path) -> None:
    """One station on the trunk, measured over a summer."""
    place = ground(SIDE)
    row, column = np.unravel_index(np.argmax(np.hypot(place.vx, place.vy)), place.vx.shape)
    grid = place.grid.coordinates
    start = {"x": grid["x"].values[column], "y": grid["y"].values[row]}
    years = 92 / 365.25
    end = {
        "end_x": start["x"] + place.vx[row, column] * years,
        "end_y": start["y"] + place.vy[row, column] * years,
    }
    dates = {"name": "A", "start": "2020-06-01", "end": "2020-09-01"}
    pd.DataFrame([dates | start | end]).to_csv(path, index=False)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewer") / "project"
    folder.mkdir()
    pairs = cube(PAIRS, SIDE)
    write_cube(pairs, folder / "cube.zarr")
    write_cube(series(SIDE), folder / "series.zarr")
    write_annual(annual(pairs.compute()), folder / "annual")
    write_velocity(velocity_map(), folder / "velocity.nc", pair=None)
    write_rasters(folder)
    write_stations(folder / "gnss.csv")
    return folder
