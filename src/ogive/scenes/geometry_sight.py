"""Lines of sight: where the satellite stands, seen from the ground.

A line of sight is kept as the horizontal way towards the satellite per metre of height, that is
``tan(zenith) * (sin(azimuth), cos(azimuth))`` along east and north. Unlike the azimuth it has no
jump at north and none where the satellite passes overhead, so it may be interpolated and averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyproj
from numpy.typing import ArrayLike, NDArray
from pyproj.exceptions import CRSError

from ogive.model import GridError, InputError

__all__ = ["MapPlane", "Places", "Sight", "earth_fixed", "local_axes", "map_plane", "places_of"]

Array = NDArray[np.float64]
AngleUnits = Literal["deg", "rad"]

SEMI_MAJOR_M = 6_378_137.0
FLATTENING = 1 / 298.257223563
ECCENTRICITY_2 = FLATTENING * (2 - FLATTENING)

STEEPEST_DEG = 60.0
"""No satellite that ogive reads looks flatter than this; beyond it an angle is a mistake."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Horizontal way towards the satellite, in metres per metre of height.

    Parameters
    ----------
    east, north
        Along true east and true north, of one shape.

    Examples
    --------
    >>> sight = Sight.from_angles(45.0, 270.0)
    >>> round(float(sight.east), 3), round(float(abs(sight.north)), 3)
    (-1.0, 0.0)
    >>> float(sight.azimuth_deg)
    270.0
    """

    east: Array
    north: Array

    @classmethod
    def from_angles(
        cls, zenith: ArrayLike, azimuth: ArrayLike, *, units: AngleUnits = "deg"
    ) -> Sight:
        """Turn angles at the ground into a line of sight.

        Parameters
        ----------
        zenith
            Between the vertical and the satellite.
        azimuth
            Of the satellite, clockwise from true north.
        units
            ``"deg"`` or ``"rad"``.

        Raises
        ------
        InputError
            If angles are out of range, or look like radians where degrees are expected.
        """
        if units not in ("deg", "rad"):
            raise InputError(f'angles in {units!r} are unknown: use "deg" or "rad"')
        down: NDArray[np.float64]
        round_: NDArray[np.float64]
        down, round_ = (np.asarray(angle, np.float64) for angle in (zenith, azimuth))
        if units == "rad":
            down, round_ = np.rad2deg(down), np.rad2deg(round_)
        else:
            _refuse_radians(down, round_)
        if np.any((down < 0) | (down > STEEPEST_DEG)) or np.any(np.abs(round_) > 360):
            raise InputError(
                f"view angles of {np.nanmin(down):g} to {np.nanmax(down):g}° from the vertical "
                f"and an azimuth of {np.nanmin(round_):g} to {np.nanmax(round_):g}° are not those"
                f" of a satellite: zeniths of 0 to {STEEPEST_DEG:g}° are read, azimuths within 360°"
            )
        tangent = np.tan(np.deg2rad(down))
        turn = np.deg2rad(round_)
        return cls(tangent * np.sin(turn), tangent * np.cos(turn))

    @property
    def zenith_deg(self) -> Array:
        """Angle between the vertical and the satellite."""
        return np.asarray(np.rad2deg(np.arctan(np.hypot(self.east, self.north))))

    @property
    def azimuth_deg(self) -> Array:
        """Direction of the satellite, clockwise from true north, 0 to 360."""
        return np.asarray(np.rad2deg(np.arctan2(self.east, self.north)) % 360.0)


def _refuse_radians(zenith: Array, azimuth: Array) -> None:
    """Degrees below 7 in azimuth *and* a third of one in zenith are two chances in ten thousand."""
    if np.all(np.isnan(azimuth)) or np.all(np.isnan(zenith)):
        return
    small = np.nanmax(np.abs(azimuth)) <= 2 * np.pi and np.nanmax(zenith) < np.deg2rad(20)
    if small and np.nanmax(np.abs(azimuth)) > 0:
        raise InputError(
            f"a view zenith of {np.nanmax(zenith):g} and an azimuth of "
            f"{np.nanmax(np.abs(azimuth)):g} look like radians: pass degrees, or units='rad'"
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Places on the map and on the globe, arrays of one shape; degrees and metres."""

    x: Array
    y: Array
    longitude_deg: Array
    latitude_deg: Array
    crs: pyproj.CRS


def places_of(x: ArrayLike, y: ArrayLike, crs: Any) -> Places:
    """Find longitudes and latitudes of places on a map.

    Raises
    ------
    GridError
        If the CRS is missing, unknown or in degrees, or a place lies outside of the projection.
    """
    known = known_crs(crs)
    if known.is_geographic:
        raise GridError(
            f"{known.name} counts in degrees: give a grid in metres, such as the image's own UTM"
        )
    x, y = (np.asarray(value, np.float64) for value in (x, y))
    to_degrees = pyproj.Transformer.from_crs(known, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(x, y)
    longitude, latitude = np.asarray(longitude), np.asarray(latitude)
    if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
        raise GridError(f"some places lie outside of {known.name}: crop the grid to its own zone")
    return Places(x, y, longitude, latitude, known)


def known_crs(crs: Any) -> pyproj.CRS:
    """Read a coordinate reference system.

    Raises
    ------
    GridError
        If there is none, or it is not understood.
    """
    if crs is None:
        raise GridError("the grid has no coordinate reference system: view angles need one")
    try:
        return pyproj.CRS.from_user_input(crs if isinstance(crs, pyproj.CRS) else str(crs))
    except CRSError as error:
        raise GridError(f"the coordinate reference system {crs!r} is not understood") from error


def earth_fixed(longitude_deg: Array, latitude_deg: Array, height_m: ArrayLike = 0.0) -> Array:
    """Earth-centred, Earth-fixed coordinates on WGS 84, (..., 3) in metres."""
    longitude, latitude = np.deg2rad(longitude_deg), np.deg2rad(latitude_deg)
    normal = SEMI_MAJOR_M / np.sqrt(1 - ECCENTRICITY_2 * np.sin(latitude) ** 2)
    height = np.asarray(height_m, np.float64)
    return np.stack(
        [
            (normal + height) * np.cos(latitude) * np.cos(longitude),
            (normal + height) * np.cos(latitude) * np.sin(longitude),
            (normal * (1 - ECCENTRICITY_2) + height) * np.sin(latitude),
        ],
        axis=-1,
    )


def local_axes(longitude_deg: Array, latitude_deg: Array) -> tuple[Array, Array, Array]:
    """Unit vectors east, north and up in Earth-fixed coordinates, (..., 3) each."""
    longitude, latitude = np.deg2rad(longitude_deg), np.deg2rad(latitude_deg)
    zero = np.zeros_like(longitude)
    east = np.stack([-np.sin(longitude), np.cos(longitude), zero], axis=-1)
    up = np.stack(
        [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude),
        ],
        axis=-1,
    )
    return east, np.cross(up, east), up


def sight_to(satellite: Array, places: Places, height_m: ArrayLike = 0.0) -> Sight:
    """Line of sight from places to a satellite at Earth-fixed (..., 3); NaN below the horizon."""
    away = satellite - earth_fixed(places.longitude_deg, places.latitude_deg, height_m)
    east, north, up = local_axes(places.longitude_deg, places.latitude_deg)
    rise = (away * up).sum(axis=-1)
    rise = np.where(rise > 0, rise, np.nan)
    return Sight((away * east).sum(axis=-1) / rise, (away * north).sum(axis=-1) / rise)


@dataclass(frozen=True, slots=True)
class MapPlane:
    """Map metres along x and y that one metre towards east or north makes."""

    x_east: Array
    x_north: Array
    y_east: Array
    y_north: Array

    def x(self, sight: Sight) -> Array:
        """Component along the map's x."""
        return self.x_east * sight.east + self.x_north * sight.north

    def y(self, sight: Sight) -> Array:
        """Component along the map's y."""
        return self.y_east * sight.east + self.y_north * sight.north


def map_plane(places: Places, *, step_m: float = 50.0) -> MapPlane:
    """Orientation and scale of the map at places, by differences on the ellipsoid.

    Directions are compared in space, not in longitude, so that neither the date line nor the
    neighbourhood of a pole disturbs them.
    """
    back = pyproj.Transformer.from_crs(places.crs, 4326, always_xy=True)

    def on_ground(dx: float, dy: float) -> Array:
        longitude, latitude = back.transform(places.x + dx, places.y + dy)
        return earth_fixed(np.asarray(longitude), np.asarray(latitude))

    along_x = (on_ground(step_m, 0) - on_ground(-step_m, 0)) / (2 * step_m)
    along_y = (on_ground(0, step_m) - on_ground(0, -step_m)) / (2 * step_m)
    east, north, _ = local_axes(places.longitude_deg, places.latitude_deg)
    a, b = (along_x * east).sum(-1), (along_y * east).sum(-1)
    c, d = (along_x * north).sum(-1), (along_y * north).sum(-1)
    determinant = a * d - b * c
    return MapPlane(d / determinant, -b / determinant, -c / determinant, a / determinant)
