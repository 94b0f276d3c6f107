"""The region that is looked at, in longitude and latitude, across the date line too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate

from ogive.model import GridError, InputError

from .polygons import read_polygons

__all__ = ["Box", "Region", "boxes", "region_outline", "sees"]

Region: TypeAlias = Sequence[float] | str | Path | shapely.Geometry | gpd.GeoDataFrame
"""A box ``(west, south, east, north)`` in degrees, a file of polygons, or polygons themselves."""

_HALF_TURN = 180.0


class Box(NamedTuple):
    """Limits in degrees, west below east."""

    west: float
    south: float
    east: float
    north: float


def region_outline(region: Region, *, buffer_m: float = 0.0) -> shapely.Geometry:
    """Draw a region in longitude and latitude.

    Parameters
    ----------
    region
        A box in degrees (west above east crosses the date line), a file of polygons in any
        reference system (an inventory of glaciers, say), or polygons. A bare geometry of shapely is
        in longitude and latitude.
    buffer_m
        Ground beside the region that belongs to it.

    Returns
    -------
    shapely.Geometry
        Where it crosses the date line, longitudes go on beyond 180.

    Raises
    ------
    InputError
        If the region is none of these, empty, or not on Earth.
    GridError
        If polygons have no coordinate reference system.

    Examples
    --------
    >>> region_outline((6.8, 45.8, 7.2, 46.0)).bounds
    (6.8, 45.8, 7.2, 46.0)
    """
    if not 0 <= buffer_m < np.inf:
        raise InputError(f"a region cannot have a buffer of {buffer_m:g} m: give 0 or more")
    outline = _drawn(region)
    if outline.is_empty:
        raise InputError("the region is empty: it needs a polygon with an area")
    return _buffered(outline, buffer_m) if buffer_m else outline


def _drawn(region: Region) -> shapely.Geometry:
    if isinstance(region, str | Path):
        region = read_polygons(region)
    if isinstance(region, gpd.GeoDataFrame):
        if region.crs is None:
            raise GridError("the polygons of the region have no coordinate reference system")
        return _unwrapped(region.to_crs("EPSG:4326").union_all())
    if isinstance(region, shapely.Geometry):
        return _unwrapped(region)
    return _box(region)


def _box(limits: Sequence[float]) -> shapely.Geometry:
    try:
        west, south, east, north = (float(limit) for limit in limits)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{limits!r} is no region: give a box (west, south, east, north) in degrees, a file of "
            "polygons, or polygons"
        ) from error
    on_earth = max(abs(west), abs(east)) <= 360 and -90 <= south < north <= 90
    if not on_earth or west == east:
        raise InputError(
            f"the box {west:g}, {south:g}, {east:g}, {north:g} is no region in degrees: give west, "
            "south, east, north"
        )
    return shapely.box(west, south, east if east > west else east + 360, north)


def _unwrapped(outline: shapely.Geometry) -> shapely.Geometry:
    """Let longitudes go on beyond 180 where that brings the parts of an outline together."""
    parts = [_eastward(p) if _width(p) > _HALF_TURN else p for p in shapely.get_parts(outline)]
    drawn = shapely.union_all(parts)
    if _width(drawn) <= _HALF_TURN:
        return drawn
    moved = shapely.union_all([_eastward(p) if p.centroid.x < 0 else p for p in parts])
    return moved if _width(moved) < _width(drawn) else drawn


def _width(outline: shapely.Geometry) -> float:
    return 0.0 if outline.is_empty else float(outline.bounds[2] - outline.bounds[0])


def _eastward(outline: shapely.Geometry) -> shapely.Geometry:
    """Add a turn to western longitudes."""

    def turned(points: NDArray[np.float64]) -> NDArray[np.float64]:
        longitude = np.where(points[:, 0] < 0, points[:, 0] + 360, points[:, 0])
        return np.column_stack([longitude, points[:, 1]])

    return shapely.transform(outline, turned)


def _buffered(outline: shapely.Geometry, buffer_m: float) -> shapely.Geometry:
    """Widen by metres, on a map of true distances round the region's middle."""
    middle = outline.centroid
    around = f"+proj=aeqd +lat_0={middle.y} +lon_0={middle.x} +datum=WGS84 +units=m"
    flat = gpd.GeoSeries([outline], crs="EPSG:4326").to_crs(around).buffer(buffer_m)
    return _unwrapped(flat.to_crs("EPSG:4326").iloc[0])


def boxes(outline: shapely.Geometry) -> list[Box]:
    """Limits of a region, in two boxes where it crosses the date line.

    Examples
    --------
    >>> boxes(region_outline((179.0, 51.0, -179.0, 52.0)))[1]
    Box(west=-180.0, south=51.0, east=-179.0, north=52.0)
    """
    west, south, east, north = (float(limit) for limit in outline.bounds)
    if east <= _HALF_TURN:
        return [Box(west, south, east, north)]
    if west >= _HALF_TURN:
        return [Box(west - 360, south, east - 360, north)]
    return [Box(west, south, _HALF_TURN, north), Box(-_HALF_TURN, south, east - 360, north)]


def sees(footprint: str, outline: shapely.Geometry) -> bool:
    """Whether a scene's footprint shares ground with a region; an unknown one may."""
    if not footprint:
        return True
    seen = _unwrapped(shapely.from_wkt(footprint))
    return any(translate(seen, turn).intersects(outline) for turn in (0, 360, -360))
