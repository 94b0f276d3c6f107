"""From where a satellite looked at each pixel of a scene.

An image is orthorectified with an elevation model. Where the surface stands ΔZ above the model, it
is drawn ``ΔZ tan θ`` too far from the satellite: the view angles say by how much and in which
direction, and `ogive.correction.orthorectification` makes use of it.

Angles come, the best first, from

- Sentinel-2's ``MTD_TL.xml``: per band and detector, on a grid of 5 km;
- Landsat 8 and 9's ``*_ANG.txt``: rational functions per band and sensor chip;
- the nominal orbit of the scene's relative orbit or path: right to 0.15° across the track, without
  the stagger of Sentinel-2's detectors along it. What rests on it is flagged as nominal;
- where the orbit is not known, angles of the scene's middle, carried to its pixels by perspective.

The mean angles that catalogues give for a tile are not believed where the orbit is known: a tile of
110 km spans 8° of view angle, and their mean azimuth is one of numbers that jump at north, which in
real items is up to 180° from any direction in which the satellite stood.

Azimuths are of the satellite as seen from the ground, clockwise from true north; components along
the map's x and y allow for the convergence of the grid and for its scale.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox

from ogive.model import GridError, InputError, Scene

from .geometry_grid import centres_of, geobox_of, view_dataset
from .geometry_landsat import read_scene_angles
from .geometry_orbit import NOMINAL_ORBITS, flight_azimuth_deg, nominal_sight
from .geometry_scene import best_file, item_scene, scene_of_angles
from .geometry_sentinel2 import read_tile_angles
from .geometry_sight import AngleUnits, Places, Sight

__all__ = ["KINDS", "given_view", "item_scene", "scene_of_angles", "view_geometry"]

KINDS = ("per-pixel", "scene-mean", "nominal")
"""How well the angles are known: read for the pixel, read for the scene, or the orbit's own."""

_ALTITUDE_M = {"sentinel-2": 790_000.0, "landsat": 707_000.0}
_log = logging.getLogger(__name__)


def view_geometry(
    source: str | Path | Scene | Mapping[str, Any],
    grid: GeoBox | xr.DataArray | xr.Dataset,
    *,
    band: str | None = None,
    height_m: ArrayLike | None = None,
    detector: NDArray[np.integer] | None = None,
) -> xr.Dataset:
    """View angles of a scene at the pixels of a grid.

    Parameters
    ----------
    source
        A file (``MTD_TL.xml``, ``*_ANG.txt``, ``*_MTL.txt``, a STAC item), a folder that holds one
        of them (a ``.SAFE`` product, say), a STAC item as a mapping, or a Scene. Of a folder the
        best file is taken; a missing one is told in a warning.
    grid
        Where the angles are wanted: a GeoBox, or an image or map that has one.
    band
        The band that is matched, B08 by default: bands look up to 1° apart along the track.
    height_m
        Of the ground above the ellipsoid, a number or (y, x). It changes angles by thousandths of
        a degree per 100 m.
    detector
        Sentinel-2's detector footprints on the grid, (y, x), 1 to 12 and 0 outside, where the
        seams between detectors matter to the pixel.

    Returns
    -------
    xarray.Dataset
        On (y, x): ``view_zenith`` and ``view_azimuth`` (degrees), ``flight_azimuth`` (degrees; the
        epipolar line, along which offsets lie, is at right angles to it), ``sight_x`` and
        ``sight_y``, the way towards the satellite in map units per metre of height; for Sentinel-2
        ``detector``. NaN outside of the swath. Attributes tell the scene, and ``geometry``, one of
        `KINDS`.

    Raises
    ------
    InputError
        If the source is unknown or incomplete, or its scene does not see the grid.
    GridError
        If the grid has no coordinate reference system in metres.

    Examples
    --------
    >>> box = GeoBox.from_bbox((5e5, 6.7e6, 502e3, 6.702e6), "EPSG:32607", resolution=1000)
    >>> view = view_geometry({"mission": "sentinel-2", "relative_orbit": 14}, box)
    >>> view.attrs["geometry"], [round(float(view[n].mean()), 1) for n in ("view_zenith",
    ...     "view_azimuth")]
    ('nominal', [7.4, 108.7])
    """
    geobox = grid if isinstance(grid, GeoBox) else geobox_of(grid)
    places = centres_of(geobox)
    return _view(source, geobox, places, band=band, height_m=height_m, detector=detector)


def given_view(
    zenith: ArrayLike,
    azimuth: ArrayLike,
    grid: GeoBox | xr.DataArray | xr.Dataset,
    *,
    units: AngleUnits = "deg",
    mission: str = "sentinel-2",
) -> xr.Dataset:
    """View angles that are known already, as numbers or per pixel (y, x).

    Parameters
    ----------
    zenith, azimuth
        At the ground; the azimuth of the satellite, clockwise from true north.
    grid
        Where they hold.
    units
        ``"deg"`` or ``"rad"``. Degrees that look like radians are refused.
    mission
        Sets the direction of flight.

    Returns
    -------
    xarray.Dataset
        As of `view_geometry`.
    """
    geobox = grid if isinstance(grid, GeoBox) else geobox_of(grid)
    places = centres_of(geobox)
    angles = [np.asarray(value, np.float64) for value in (zenith, azimuth)]
    for name, angle in zip(("zenith", "azimuth"), angles, strict=True):
        if angle.ndim and angle.shape != tuple(geobox.shape):
            raise GridError(
                f"the view {name} has the shape {angle.shape}, the grid {tuple(geobox.shape)}"
            )
    sight = Sight.from_angles(angles[0], angles[1], units=units)
    sight = Sight(*(np.broadcast_to(part, places.x.shape) for part in (sight.east, sight.north)))
    flight = flight_azimuth_deg(mission, places.latitude_deg)
    kind = "per-pixel" if angles[0].ndim else "scene-mean"
    return view_dataset(sight, flight, geobox, places, {"geometry": kind, "source": "given angles"})


def _view(
    source: str | Path | Scene | Mapping[str, Any],
    geobox: GeoBox,
    places: Places,
    *,
    band: str | None,
    height_m: ArrayLike | None,
    detector: NDArray[np.integer] | None,
) -> xr.Dataset:
    if isinstance(source, str | Path):
        path = best_file(Path(source))
        if path.suffix == ".xml":
            return _of_tile(path, geobox, places, band or "B08", detector)
        if path.name.endswith("_ANG.txt"):
            return _of_coefficients(path, geobox, places, band or "B08", height_m)
        return _of_scene(scene_of_angles(path), geobox, places, height_m, str(path))
    if isinstance(source, Scene):  # an orbit that was named is no surprise
        return _of_scene(source, geobox, places, height_m, source.id or "a scene", warn=False)
    scene = item_scene(source)
    return _of_scene(scene, geobox, places, height_m, scene.id or "a scene")


def _of_tile(
    path: Path,
    geobox: GeoBox,
    places: Places,
    band: str,
    detector: NDArray[np.integer] | None,
) -> xr.Dataset:
    angles = read_tile_angles(path, band)
    sight, detectors = angles.sight(places, detector)
    _refuse_elsewhere(sight, path)
    flight = flight_azimuth_deg("sentinel-2", places.latitude_deg)
    told = {
        "geometry": "per-pixel",
        "source": str(path),
        "mission": "sentinel-2",
        "satellite": angles.satellite,
        "time": angles.time.isoformat(),
        "band": angles.band,
        "relative_orbit": angles.relative_orbit,
    }
    view = view_dataset(sight, flight, geobox, places, told)
    view["detector"] = (geobox.dimensions, detectors, {"long_name": "detector that saw the pixel"})
    return view


def _of_coefficients(
    path: Path, geobox: GeoBox, places: Places, band: str, height_m: ArrayLike | None
) -> xr.Dataset:
    angles = read_scene_angles(path, band)
    sight = angles.sight(places, height_m)
    _refuse_elsewhere(sight, path)
    told = {
        "geometry": "per-pixel",
        "source": str(path),
        "mission": "landsat",
        "satellite": angles.satellite,
        "time": angles.time.isoformat(),
        "band": angles.band,
        "path": angles.path_number,
    }
    flight = flight_azimuth_deg("landsat", places.latitude_deg)
    return view_dataset(sight, flight, geobox, places, told)


def _of_scene(
    scene: Scene,
    geobox: GeoBox,
    places: Places,
    height_m: ArrayLike | None,
    source: str,
    *,
    warn: bool = True,
) -> xr.Dataset:
    """Carry a scene's mean angles to its pixels, or take its nominal orbit."""
    told: dict[str, Any] = {
        "source": source,
        "mission": scene.mission,
        "satellite": scene.satellite,
        "time": scene.time.isoformat() if scene.time > datetime.min else None,
        "relative_orbit": scene.relative_orbit,
        "path": scene.path,
    }
    ascending = scene.properties.get("sat:orbit_state") == "ascending"
    if scene.mission not in NOMINAL_ORBITS:
        raise InputError(
            f"{source} is of {scene.mission or 'no mission'}: view angles are known of "
            f"{' and '.join(NOMINAL_ORBITS)}; pass angles that you know by "
            "ogive.scenes.geometry.given_view"
        )
    flight = flight_azimuth_deg(scene.mission, places.latitude_deg, ascending=ascending)
    track = scene.relative_orbit if scene.mission == "sentinel-2" else scene.path
    believed = track is None or scene.properties.get("view_angles") != "catalogue"
    if believed and scene.view_zenith_deg is not None and scene.view_azimuth_deg is not None:
        sight = _spread(scene, places, ascending=ascending)
        return view_dataset(sight, flight, geobox, places, {"geometry": "scene-mean", **told})
    if track is None:
        raise InputError(
            f"{source} has no view angles, and its orbit is not known: pass its MTD_TL.xml or "
            "ANG.txt, or its relative orbit or path"
        )
    height = 0.0 if height_m is None else height_m
    if warn:
        _log.warning("%s: no angle file, the nominal geometry of orbit %d is used", source, track)
    sight = nominal_sight(scene.mission, track, places, height_m=height, ascending=ascending)
    return view_dataset(sight, flight, geobox, places, {"geometry": "nominal", **told})


def _spread(scene: Scene, places: Places, *, ascending: bool) -> Sight:
    """Perspective: the tangent falls by the way towards the satellite over its height."""
    middle, shape = scene.properties.get("centre"), places.x.shape
    zenith, azimuth = scene.view_zenith_deg or 0.0, scene.view_azimuth_deg or 0.0
    mean = Sight.from_angles(zenith, azimuth)
    if middle is None:
        return Sight(np.broadcast_to(mean.east, shape), np.broadcast_to(mean.north, shape))
    longitude, latitude = middle
    # In metres east and north; a scene is small enough for a plane, and may cross the date line.
    away = (places.longitude_deg - longitude + 180.0) % 360.0 - 180.0
    east = np.deg2rad(away) * 6.371e6 * np.cos(np.deg2rad(latitude))
    north = np.deg2rad(places.latitude_deg - latitude) * 6.371e6
    flight = flight_azimuth_deg(scene.mission, np.asarray(latitude), ascending=ascending)
    turn = np.deg2rad(flight + 90.0)
    across = east * np.sin(turn) + north * np.cos(turn)
    fall = across / _ALTITUDE_M[scene.mission] / np.cos(np.deg2rad(zenith)) ** 2
    return Sight(mean.east - fall * np.sin(turn), mean.north - fall * np.cos(turn))


def _refuse_elsewhere(sight: Sight, path: Path) -> None:
    if not np.isfinite(sight.east).any():
        raise InputError(f"the scene of {path} sees no pixel of the grid: it belongs elsewhere")
