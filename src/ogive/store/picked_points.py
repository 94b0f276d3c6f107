"""Features that a person found in both images of a pair, as a GeoPackage.

One layer, ``picked_points``: a point is the feature's place in the earlier image, its columns say
where it is in the later one.

========================== =========================================================================
``id``                     number of the point, in the order of picking
``x2, y2``                 place in the later image, in the coordinates of the geometry
``dx, dy``                 displacement in these coordinates: ``x2 - x``, ``y2 - y``
``dx_px, dy_px``           the same in pixels of the earlier image: columns to the right, rows down
``confidence``             1 unsure, 2 fair, 3 sure
``picked_at``              when the point was set (UTC)
``earlier, later``         file names of the images
``earlier_time, later_time`` when these were acquired (UTC)
``unit``                   unit of the coordinates: ``metre``, or ``pixel`` for images without a map
========================== =========================================================================

The layer has the coordinate reference system of the images. Images without one have their pixels as
coordinates (the centre of the first is 0, 0; y runs downwards), and the layer's reference system
says so by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS

from ogive.model import GridError, InputError, OutputError
from ogive.store.atomic import atomic_path

__all__ = [
    "CONFIDENCES",
    "Pick",
    "PickedImages",
    "PixelPositions",
    "picks_of",
    "pixel_positions",
    "points_of",
    "read_picked_points",
    "write_picked_points",
]

CONFIDENCES = {1: "unsure", 2: "fair", 3: "sure"}
"""What the three confidences mean."""

LAYER = "picked_points"
_NEEDED = ("x2", "y2", "dx", "dy", "dx_px", "dy_px", "confidence", "picked_at", "earlier", "later")
_TIMES = ("picked_at", "earlier_time", "later_time")
_PIXELS = CRS.from_wkt(
    'ENGCRS["pixels of the image, x to the right, y downwards",EDATUM["image"],CS[Cartesian,2],'
    'AXIS["x",east],AXIS["y",south],LENGTHUNIT["pixel",1]]'
)
_DESCRIPTION = (
    "Features picked in two images: the point is the place in the earlier image, x2 and y2 the "
    "place in the later one; dx_px to the right and dy_px downwards, in pixels of the earlier image"
)


@dataclass(frozen=True, slots=True)
class PickedImages:
    """The two images that points are picked in.

    Parameters
    ----------
    earlier, later
        File names, without their folders.
    earlier_time, later_time
        When they were acquired, UTC, without a zone.
    grid
        The grid that both share; without a reference system its pixels are the coordinates.
    """

    earlier: str
    later: str
    earlier_time: datetime
    later_time: datetime
    grid: GeoBox


@dataclass(frozen=True, slots=True)
class Pick:
    """One feature, seen in both images.

    Parameters
    ----------
    id
        Number of the point, from 1.
    x, y, x2, y2
        Its places in the earlier and in the later image, in pixels of the grid: the centre of the
        first pixel is (0, 0), y runs downwards.
    confidence
        1 unsure, 2 fair, 3 sure.
    picked_at
        UTC, without a zone.
    """

    id: int
    x: float
    y: float
    x2: float
    y2: float
    confidence: int
    picked_at: datetime


class PixelPositions(NamedTuple):
    """Places in pixels (centres at whole numbers, y downwards), float64, one a point."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x2: NDArray[np.float64]
    y2: NDArray[np.float64]


def points_of(picks: Sequence[Pick], images: PickedImages) -> gpd.GeoDataFrame:
    """Put picks on the map.

    Parameters
    ----------
    picks
        Features in pixels of the grid.
    images
        The two images.

    Returns
    -------
    geopandas.GeoDataFrame
        The columns of this module's table.

    Examples
    --------
    >>> from affine import Affine
    >>> grid = GeoBox((100, 100), Affine(10, 0, 5000, 0, -10, 8000), "EPSG:32607")
    >>> when = datetime(2020, 7, 1), datetime(2020, 7, 11)
    >>> images = PickedImages("a.tif", "b.tif", *when, grid)
    >>> points = points_of([Pick(1, 20.0, 30.0, 21.5, 33.0, 3, datetime(2024, 1, 1))], images)
    >>> points[["x2", "y2", "dx", "dy", "dx_px", "dy_px"]].values.tolist()
    [[5220.0, 7665.0, 15.0, -30.0, 1.5, 3.0]]
    """
    names = ("x", "y", "x2", "y2")
    columns = {name: np.array([getattr(p, name) for p in picks], np.float64) for name in names}
    x, y = _on_map(columns["x"], columns["y"], images.grid)
    x2, y2 = _on_map(columns["x2"], columns["y2"], images.grid)
    count = len(picks)
    crs = _PIXELS if images.grid.crs is None else CRS.from_user_input(str(images.grid.crs))
    table = {
        "id": np.array([pick.id for pick in picks], np.int64),
        "x2": x2,
        "y2": y2,
        "dx": x2 - x,
        "dy": y2 - y,
        "dx_px": columns["x2"] - columns["x"],
        "dy_px": columns["y2"] - columns["y"],
        "confidence": np.array([pick.confidence for pick in picks], np.int16),
        "picked_at": _utc([pick.picked_at for pick in picks]),
        "earlier": pd.Series([images.earlier] * count, dtype=object),
        "later": pd.Series([images.later] * count, dtype=object),
        "earlier_time": _utc([images.earlier_time] * count),
        "later_time": _utc([images.later_time] * count),
        "unit": pd.Series(["pixel" if crs is _PIXELS else "metre"] * count, dtype=object),
    }
    return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(x, y), crs=crs)


def picks_of(points: gpd.GeoDataFrame, grid: GeoBox) -> list[Pick]:
    """Take points of the map back to pixels; `points_of` undone.

    Raises
    ------
    GridError
        If the points are in another coordinate reference system than the grid.
    """
    at = pixel_positions(points, grid)
    numbers = points["id"] if "id" in points else pd.Series(np.arange(1, len(points) + 1))
    return [
        Pick(int(number), float(x), float(y), float(x2), float(y2), int(confidence), _plain(time))
        for number, x, y, x2, y2, confidence, time in zip(
            numbers, at.x, at.y, at.x2, at.y2, points["confidence"], points["picked_at"],
            strict=True,
        )
    ]  # fmt: skip


def pixel_positions(points: gpd.GeoDataFrame, grid: GeoBox) -> PixelPositions:
    """Find where points of the map lie in the pixels of a grid.

    Parameters
    ----------
    points
        As `read_picked_points` gives them.
    grid
        Any grid in their coordinate reference system; one without a reference system if the points
        are in pixels.

    Returns
    -------
    PixelPositions
        The centre of the grid's first pixel is (0, 0); points may lie outside.

    Raises
    ------
    GridError
        If the points are in another coordinate reference system than the grid.
    """
    in_pixels = bool((points["unit"] == "pixel").all()) if len(points) else grid.crs is None
    if in_pixels != (grid.crs is None) or not (in_pixels or points.crs == str(grid.crs)):
        bare = "pixels, without a coordinate reference system"
        own = bare if in_pixels else points.crs.name
        other = bare if grid.crs is None else CRS.from_user_input(str(grid.crs)).name
        raise GridError(
            f"the picked points are in {own}, the images in {other}: take the images that the "
            "points were picked in"
        )
    x, y = points.geometry.x.to_numpy(np.float64), points.geometry.y.to_numpy(np.float64)
    x2, y2 = points["x2"].to_numpy(np.float64), points["y2"].to_numpy(np.float64)
    if in_pixels:
        return PixelPositions(x, y, x2, y2)
    place = grid.transform
    return PixelPositions(
        (x - place.c) / place.a - 0.5,
        (y - place.f) / place.e - 0.5,
        (x2 - place.c) / place.a - 0.5,
        (y2 - place.f) / place.e - 0.5,
    )


def write_picked_points(points: gpd.GeoDataFrame, path: str | Path) -> Path:
    """Write points as `points_of` makes them; what is there is replaced in one step.

    Raises
    ------
    OutputError
        If the file cannot be written. What was there stays.
    """
    table = points.copy()
    if table.empty:
        for name in _TIMES:  # a column without values does not tell its zone
            table[name] = pd.to_datetime(table[name], utc=True)
    with atomic_path(path) as written:
        try:
            pyogrio.write_dataframe(
                table,
                written,
                layer=LAYER,
                driver="GPKG",
                geometry_type="Point",
                layer_options={"DESCRIPTION": _DESCRIPTION, "IDENTIFIER": LAYER},
            )
        except (DataSourceError, DataLayerError) as error:
            raise OutputError(
                f"{path} cannot be written: {error}; nothing was left there"
            ) from error
    return Path(path)


def read_picked_points(path: str | Path) -> gpd.GeoDataFrame:
    """Read points that were picked by `ogive annotate`.

    Parameters
    ----------
    path
        A GeoPackage with the layer ``picked_points``.

    Returns
    -------
    geopandas.GeoDataFrame
        The columns of this module's table, one line a point.

    Raises
    ------
    InputError
        If the file is missing, is no such GeoPackage, lacks a column, or a point contradicts
        itself (as after a geometry was moved by hand).
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        points = gpd.read_file(path, layer=LAYER)
    except (DataSourceError, DataLayerError) as error:
        raise InputError(
            f"{path} holds no picked points (a GeoPackage with the layer {LAYER!r}): {error}"
        ) from error
    missing = [name for name in (*_NEEDED, "unit") if name not in points]
    if missing:
        raise InputError(f"the picked points of {path} have no {', '.join(missing)}")
    for name in _TIMES:
        if name in points:
            points[name] = pd.to_datetime(points[name], utc=True)
    _check(points, path)
    return points


def _check(points: gpd.GeoDataFrame, path: str | Path) -> None:
    """Refuse points that are none, or that say two different things."""
    if not len(points):
        return
    if not (points.geometry.geom_type == "Point").all():
        raise InputError(f"{path} holds a geometry that is no point")
    numbers = np.column_stack(
        [points.geometry.x, points.geometry.y, points[["x2", "y2", "dx", "dy"]].to_numpy(float)]
    )
    shares = points[["dx_px", "dy_px"]].to_numpy(float)
    if not (np.isfinite(numbers).all() and np.isfinite(shares).all()):
        raise InputError(f"{path} holds a point without finite coordinates")
    if not points["confidence"].isin(list(CONFIDENCES)).all():
        raise InputError(f"{path} holds a confidence that is none of 1, 2, 3")
    # Doubles of map coordinates up to 1e7 keep 2e-9; a micrometre is far from any pick's meaning.
    away = np.abs(numbers[:, :2] + numbers[:, 4:6] - numbers[:, 2:4]).max(axis=1)
    if (away > 1e-6).any():
        first = int(np.argmax(away > 1e-6))
        raise InputError(
            f"point {first + 1} of {path} contradicts itself: its place plus dx, dy is not x2, y2 "
            "(was its geometry moved?); move points with ogive annotate"
        )


def _on_map(
    columns: NDArray[np.float64], rows: NDArray[np.float64], grid: GeoBox
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates (x, y) of places in pixels."""
    if grid.crs is None:
        return columns, rows
    place = grid.transform
    return place.c + place.a * (columns + 0.5), place.f + place.e * (rows + 0.5)


def _utc(times: Sequence[datetime]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex([time.replace(tzinfo=UTC) for time in times], tz="UTC")


def _plain(time: pd.Timestamp) -> datetime:
    plain: datetime = time.tz_convert("UTC").tz_localize(None).to_pydatetime()
    return plain
