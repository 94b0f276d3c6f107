"""Section: velocity series at a few places, as chosen or where ice is fast and well measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from pyproj import CRS, Transformer

from ogive.model import InputError
from ogive.store.geocube import Tile
from ogive.store.readers import open_cube
from ogive.view.document import Picture, Section, picture
from ogive.view.series import plot_point

from .tiles import TileFiles, own_pixels

__all__ = ["Place", "chosen_places", "fast_places", "points_section"]

QUANTILES = (0.98, 0.85, 0.6)
"""Of the speeds of reliable ice, where ogive chooses the places itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the coordinates of a map projection, and what it is called."""

    x: float
    y: float
    name: str


def chosen_places(points: Sequence[tuple[float, float]], crs: str) -> list[Place]:
    """Name places that were given as longitude and latitude.

    Examples
    --------
    >>> [place] = chosen_places([(6.98, 45.95)], "EPSG:32632")
    >>> round(place.x), round(place.y), place.name
    (343447, 5090476, '6.9800° E, 45.9500° N')
    """
    to_map = Transformer.from_crs(CRS("EPSG:4326"), CRS(crs), always_xy=True)
    return [Place(*to_map.transform(*point), _named(*point)) for point in points]


def _named(longitude: float, latitude: float) -> str:
    east, north = ("E" if longitude >= 0 else "W"), ("N" if latitude >= 0 else "S")
    return f"{abs(longitude):.4f}° {east}, {abs(latitude):.4f}° {north}"


def fast_places(maps: xr.Dataset, crs: str) -> list[Place]:
    """Choose places where ice is fast, less fast and slow, among pixels that are seen often.

    Parameters
    ----------
    maps
        Annual maps, of `ogive.annual`.
    crs
        Their projection.
    """
    speed = maps["v"].mean("year", skipna=True).values
    count = maps["cnt"].values
    known = np.isfinite(speed)
    if not known.any():
        return []
    often = known & (count >= np.quantile(count[known], 0.75))
    reliable = often & (maps["flag"].values == 1)
    usable = reliable if reliable.any() else often
    rows, columns = np.nonzero(usable)
    to_degrees = Transformer.from_crs(CRS(crs), CRS("EPSG:4326"), always_xy=True)
    places: dict[tuple[int, int], Place] = {}
    for quantile in QUANTILES:
        wanted = np.quantile(speed[usable], quantile)
        k = int(np.argmin(np.abs(speed[usable] - wanted)))
        x, y = float(maps["x"].values[columns[k]]), float(maps["y"].values[rows[k]])
        places[rows[k], columns[k]] = Place(x, y, _named(*to_degrees.transform(x, y)))
    return list(places.values())


def points_section(
    places: Mapping[str, Sequence[Place]], tiles: Mapping[str, TileFiles]
) -> Section:
    """Draw the series of places.

    Parameters
    ----------
    places
        By map projection.
    tiles
        By name, which begins with the name of the projection.
    """
    pictures = [
        drawn
        for crs, own in places.items()
        for place in own
        if (drawn := _drawn(place, [t for name, t in tiles.items() if name.startswith(f"{crs}_")]))
    ]
    missing = sum(len(own) for own in places.values()) - len(pictures)
    text = ["Bars are pairs over the time between their images; the line is the inverted series."]
    if missing:
        text.append(f"{missing} of the places have no observation.")
    if not pictures:
        text = ["There is no place with a series."]
    return Section("Series at chosen places", tuple(text), pictures=tuple(pictures))


def _drawn(place: Place, tiles: Sequence[TileFiles]) -> Picture | None:
    """Draw a place from the tile whose own pixels it lies in; ``None`` where nothing was seen."""
    for files in tiles:
        with (
            open_cube(files.cube) as cube,
            xr.open_zarr(files.series, decode_timedelta=False) as series,
        ):
            if not _is_inside(place, files.tile, series):
                continue
            try:
                figure = plot_point(cube, series, x=place.x, y=place.y)
            except InputError:
                return None  # it is told as missing
            x, y = (f"{value:.0f}" for value in (place.x, place.y))
            return picture(figure, f"Speed at {place.name} (x {x} m, y {y} m).")
    return None


def _is_inside(place: Place, tile: Tile, field: xr.Dataset) -> bool:
    """Whether a place lies in the pixels that are a tile's own."""
    for axis, centres in own_pixels(tile, field).items():
        at = {"x": place.x, "y": place.y}[axis]
        half = abs(centres[1] - centres[0]) / 2 if centres.size > 1 else 0.0
        if not centres.min() - half <= at <= centres.max() + half:
            return False
    return True
