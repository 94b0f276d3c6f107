"""The outline of a grid on another map, with points along its sides, which do not stay straight."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

__all__ = ["border", "geographic_outline"]

_POINTS_PER_SIDE = 32


def border(grid: GeoBox, crs: Any) -> NDArray[np.float64]:
    """Points along the border of a grid, in another reference system.

    Parameters
    ----------
    grid
        With a coordinate reference system.
    crs
        What pyproj takes for one.

    Returns
    -------
    numpy.ndarray
        (points, 2): x and y, along a ring that is not closed.
    """
    rows, columns = grid.shape
    along = np.linspace(0, 1, _POINTS_PER_SIDE, endpoint=False)
    none, all_ = np.zeros_like(along), np.ones_like(along)
    column = columns * np.concatenate([along, all_, 1 - along, none])
    row = rows * np.concatenate([none, along, all_, 1 - along])
    a, b, c, d, e, f = tuple(grid.transform)[:6]
    x, y = a * column + b * row + c, d * column + e * row + f
    there = Transformer.from_crs(str(grid.crs), crs, always_xy=True)
    return np.column_stack(there.transform(x, y))


def geographic_outline(grid: GeoBox) -> shapely.Polygon:
    """Outline of a grid in longitude and latitude.

    Examples
    --------
    >>> box = GeoBox.from_bbox((4e5, 51e5, 41e4, 511e4), "EPSG:32632", resolution=1000)
    >>> [round(limit, 2) for limit in geographic_outline(box).bounds]
    [7.71, 46.05, 7.84, 46.14]
    """
    return shapely.Polygon(border(grid, "EPSG:4326"))
