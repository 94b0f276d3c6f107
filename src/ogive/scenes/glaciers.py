"""Where the ice is, and the ground beside it, from an inventory of glaciers."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from ogive.georeference import with_crs
from ogive.model import GridError, InputError, is_in_metres

from .polygons import burned, read_polygons

__all__ = ["ground"]


def ground(
    inventory: str | Path | gpd.GeoDataFrame,
    grid: GeoBox,
    *,
    beside_m: float = 3000.0,
    margin_m: float = 100.0,
) -> xr.Dataset:
    """Mark ice and stable ground on a grid, by the outlines of glaciers.

    Matching is needed only there: on the ice, and on as much ground beside it as calibration needs.
    All glaciers of the inventory count, those beyond the edges of the grid too.

    Parameters
    ----------
    inventory
        Outlines in any reference system: a file of the Randolph Glacier Inventory, of GLIMS or your
        own, or a table that was read already.
    grid
        In metres.
    beside_m
        Width of the ground beside the ice that is wanted.
    margin_m
        Width of the strip along the outlines that counts as neither, for outlines are years old
        and a glacier's edge is no sharp line.

    Returns
    -------
    xarray.Dataset
        bool on (y, x): ``ice``; ``stable``, ground that does not move; ``wanted``, where matching
        matters: ice, stable ground and the strip between the two.

    Raises
    ------
    InputError
        If the inventory cannot be read, or a width is below zero.
    GridError
        If the grid is not in metres, or no glacier lies on it or near it.
    """
    if margin_m < 0 or beside_m <= margin_m or not np.isfinite(beside_m):
        raise InputError(
            f"ground of {beside_m:g} m beside a margin of {margin_m:g} m is none: give "
            "0 <= margin_m < beside_m"
        )
    if grid.crs is None or not is_in_metres(grid.crs):
        raise GridError(f"ground beside ice is measured in metres, but the grid is in {grid.crs}")
    near = _near(_table(inventory), grid, beside_m)
    ice = burned(near, grid)
    margin = burned(_widened(near, margin_m), grid)
    wanted = burned(_widened(near, beside_m), grid)
    if not wanted.any():
        raise GridError(
            f"no glacier of the inventory lies within {beside_m:g} m of the grid: is it the one of "
            "this region?"
        )
    return _dataset({"ice": ice, "stable": wanted & ~margin, "wanted": wanted}, grid)


def _table(inventory: str | Path | gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    if isinstance(inventory, gpd.GeoDataFrame):
        if inventory.crs is None:
            raise GridError("the outlines of the inventory have no coordinate reference system")
        return inventory
    return read_polygons(inventory)


def _near(outlines: gpd.GeoDataFrame, grid: GeoBox, distance_m: float) -> gpd.GeoDataFrame:
    projected = outlines.to_crs(str(grid.crs))
    left, bottom, right, top = grid.boundingbox.bbox
    return projected.cx[
        left - distance_m : right + distance_m, bottom - distance_m : top + distance_m
    ]


def _widened(outlines: gpd.GeoDataFrame, width_m: float) -> gpd.GeoDataFrame:
    return outlines.set_geometry(outlines.buffer(width_m))


def _dataset(masks: dict[str, np.ndarray], grid: GeoBox) -> xr.Dataset:
    told = {
        "ice": "glacier ice by the inventory",
        "stable": "ground beside the ice that does not move",
        "wanted": "where displacements are wanted: ice and the ground beside it",
    }
    data = {
        name: (grid.dimensions, mask, {"long_name": told[name]}) for name, mask in masks.items()
    }
    coords = {name: grid.coordinates[name].values for name in grid.dimensions}
    return with_crs(xr.Dataset(data, coords), grid.crs)
