"""Glaciers as polygons."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import shapes

from ogive.model import GridError, InputError, is_in_metres
from ogive.store.shapes import read_shapes

__all__ = ["on_grid", "polygons_of", "read_inventory"]


def polygons_of(
    labels: NDArray[Any], geobox: GeoBox, *, least_area_m2: float = 0.0
) -> gpd.GeoDataFrame:
    """Draw the borders of labels along the edges of pixels.

    Parameters
    ----------
    labels
        ``(y, x)``: numbers from 1 (or a mask); 0 is nothing.
    geobox
        Their grid, with a coordinate reference system.
    least_area_m2
        Smaller labels are left out.

    Returns
    -------
    geopandas.GeoDataFrame
        One row for each label, by its ``number``, with ``area_m2``; valid (multi)polygons.

    Raises
    ------
    GridError
        If the grid has no coordinate reference system, or none in metres.
    InputError
        If the shape of the labels is not that of the grid.

    Examples
    --------
    >>> from affine import Affine
    >>> grid = GeoBox((2, 3), Affine(10, 0, 0, 0, -10, 20), "EPSG:32632")
    >>> polygons_of(np.array([[1, 1, 0], [0, 2, 2]]), grid)[["number", "area_m2"]].values.tolist()
    [[1.0, 200.0], [2.0, 200.0]]
    """
    if labels.shape != geobox.shape:
        raise InputError(f"labels are {labels.shape}, their grid {tuple(geobox.shape)}")
    if geobox.crs is None or not is_in_metres(geobox.crs):
        raise GridError("outlines need a grid in metres: reproject the image to a projected one")
    numbers = np.ascontiguousarray(labels, np.int32)
    drawn = [
        (int(number), shapely.geometry.shape(shape))
        for shape, number in shapes(numbers, mask=numbers > 0, transform=geobox.transform)
    ]
    frame = gpd.GeoDataFrame(
        {"number": np.array([number for number, _ in drawn], np.int64)},
        geometry=[shape for _, shape in drawn],
        crs=str(geobox.crs),
    )
    whole = frame.dissolve("number", as_index=False)
    whole["area_m2"] = whole.area
    return whole[whole.area_m2 >= least_area_m2].reset_index(drop=True)


def read_inventory(path: Any) -> gpd.GeoDataFrame:
    """Read glacier polygons, and refuse what would give wrong masks.

    Raises
    ------
    InputError
        If the file cannot be read, holds no polygon, or one that crosses itself or is empty.
    GridError
        If it has no coordinate reference system.
    """
    inventory = read_shapes(path)
    if inventory.empty:
        raise InputError(f"{path} holds no polygons")
    empty = inventory.index[inventory.geometry.isna() | inventory.geometry.is_empty]
    if len(empty):
        raise InputError(
            f"{path}: polygon {empty[0]} and {len(empty) - 1} others have no geometry: remove them"
        )
    wrong = sorted(set(inventory.geom_type) - {"Polygon", "MultiPolygon"})
    if wrong:
        raise InputError(f"{path} holds a {wrong[0]}: an inventory has polygons only")
    if inventory.crs is None:
        raise GridError(f"{path} has no coordinate reference system: add its .prj file")
    crossing = inventory.index[~inventory.is_valid]
    if len(crossing):
        reason = shapely.is_valid_reason(inventory.geometry[crossing[0]])
        raise InputError(
            f"{path}: polygon {crossing[0]} and {len(crossing) - 1} others cross themselves "
            f"({reason}): repair them, such as by shapely.make_valid"
        )
    return inventory


def on_grid(inventory: gpd.GeoDataFrame, geobox: GeoBox, source: Any) -> gpd.GeoSeries:
    """Give an inventory's polygons in the coordinates of a grid.

    Parameters
    ----------
    inventory
        Of `read_inventory`.
    geobox
        The grid.
    source
        Named in the error.

    Raises
    ------
    GridError
        If none of them reaches the grid.
    """
    shapes = inventory.to_crs(str(geobox.crs)).geometry
    # Places that the grid's projection cannot show have no finite coordinates.
    shown = shapes[np.isfinite(shapes.bounds).all(axis=1)]
    extent = shapely.Polygon(geobox.extent.boundary.coords[:])
    if not shown.intersects(extent).any():
        raise GridError(
            f"no polygon of {source} reaches the scene: does it name its coordinate reference "
            "system rightly?"
        )
    return shown
