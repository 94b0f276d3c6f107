"""Nominal orbits: where a satellite stands when nothing but its path is known.

An orbit that repeats its ground track is fixed by its inclination, its radius (which falls by some
kilometres from south to north, and from the equator to both poles) and the longitude at which the
numbered tracks cross the equator. It tells the view angles of a place to about 0.2°, Sentinel-2's
staggered detectors (±0.8° along the track) left aside, which is what an angle file adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike

from ogive.model import InputError

from .geometry_sight import Array, Places, Sight, earth_fixed, local_axes, sight_to

__all__ = ["NOMINAL_ORBITS", "NominalOrbit", "flight_azimuth_deg", "nominal_sight"]

WIDEST_DEG = 26.0
"""Sentinel-2 sees 12° aside and Landsat 8.6°, and 15° more where it points off nadir."""


@dataclass(frozen=True, slots=True)
class NominalOrbit:
    """A Sun-synchronous orbit whose ground track repeats.

    Attributes
    ----------
    tracks
        Number of revolutions, and of numbered tracks, in a cycle.
    cycle_days
        Length of the cycle.
    inclination_deg
        Of the orbit.
    radius_m, eccentric_m, oblate_m
        The satellite's distance from the Earth's centre is ``radius_m - eccentric_m s - oblate_m
        s²``, with the sine s of its latitude: a frozen orbit has its perigee in the north.
    node_deg
        Longitude of the ascending node of track 1.
    spacing_deg
        From a track to the next number, towards the west.
    """

    name: str
    tracks: int
    cycle_days: int
    inclination_deg: float
    radius_m: float
    eccentric_m: float
    oblate_m: float
    node_deg: float
    spacing_deg: float

    @property
    def rotation_rad(self) -> float:
        """How far the Earth turns below the orbit's plane in one revolution."""
        return 2 * np.pi * self.cycle_days / self.tracks

    def position(self, track: float, along_rad: Array) -> Array:
        """Earth-fixed position, (..., 3) in metres.

        Parameters
        ----------
        track
            Number of the track.
        along_rad
            Argument of latitude: the angle from the ascending node.
        """
        tilt = np.deg2rad(self.inclination_deg)
        x, y = np.cos(along_rad), np.sin(along_rad) * np.cos(tilt)
        node = np.deg2rad(self.node_deg - (track - 1) * self.spacing_deg)
        turn = node - self.rotation_rad * along_rad / (2 * np.pi)
        unit = np.stack(
            [
                x * np.cos(turn) - y * np.sin(turn),
                x * np.sin(turn) + y * np.cos(turn),
                np.sin(along_rad) * np.sin(tilt),
            ],
            axis=-1,
        )
        sine = unit[..., 2:]
        radius = self.radius_m - self.eccentric_m * sine - self.oblate_m * sine**2
        return np.asarray(radius * unit)


NOMINAL_ORBITS: Mapping[str, NominalOrbit] = MappingProxyType(
    {
        "sentinel-2": NominalOrbit(
            "Sentinel-2", 143, 10, 98.573, 7_169_200.0, 8_000.0, 2_500.0, 1.015, 3600.0 / 143.0
        ),
        "landsat": NominalOrbit(
            "Landsat (WRS-2)", 233, 16, 98.22, 7_083_500.0, 8_100.0, 2_500.0, 127.78, 360.0 / 233.0
        ),
    }
)
"""By mission. Sentinel-2's are fitted to the angle grids of products of eleven relative orbits."""


def nominal_sight(
    mission: str,
    track: int,
    places: Places,
    *,
    height_m: ArrayLike = 0.0,
    ascending: bool = False,
) -> Sight:
    """Line of sight to a satellite on its nominal track, when it passes abeam.

    Parameters
    ----------
    mission
        ``"sentinel-2"`` or ``"landsat"`` (4 to 9).
    track
        Sentinel-2's relative orbit, Landsat's WRS-2 path.
    places
        Where to look from.
    height_m
        Of the ground above the ellipsoid.
    ascending
        Whether the images were taken on the half of the orbit that runs north.

    Raises
    ------
    InputError
        If there is no such track, or it does not see the places.
    """
    orbit = _orbit(mission)
    if not 1 <= track <= orbit.tracks:
        raise InputError(f"{orbit.name} has no track {track}: its numbers run to {orbit.tracks}")
    along = _abeam(orbit, track, places, height_m, ascending=ascending)
    sight = sight_to(orbit.position(track, along), places, height_m)
    zenith = sight.zenith_deg
    if not np.any(zenith <= WIDEST_DEG):
        place = f"{np.mean(places.latitude_deg):.2f}° N, {places.longitude_deg.flat[0]:.2f}° E"
        raise InputError(
            f"track {track} of {orbit.name} does not see {place} on its "
            f"{'ascending' if ascending else 'descending'} half: check the orbit's number"
        )
    return sight


def flight_azimuth_deg(mission: str, latitude_deg: Array, *, ascending: bool = False) -> Array:
    """Direction in which the ground track runs, clockwise from true north.

    The across-track direction, the epipolar line of a push-broom image, is at right angles to it.

    Examples
    --------
    >>> round(float(flight_azimuth_deg("sentinel-2", np.array(0.0))), 1)
    192.5
    """
    orbit = _orbit(mission)
    # The track does not depend on longitude, and needs no more than the satellite's own latitude.
    sine = np.sin(np.deg2rad(latitude_deg)) / np.sin(np.deg2rad(orbit.inclination_deg))
    along = np.arcsin(np.clip(sine, -1.0, 1.0))
    along = along if ascending else np.pi - along
    step = 1e-5
    moved = orbit.position(1, along + step) - orbit.position(1, along - step)
    here = orbit.position(1, along)
    longitude = np.rad2deg(np.arctan2(here[..., 1], here[..., 0]))
    latitude = np.rad2deg(np.arcsin(here[..., 2] / orbit.radius_m))
    east, north, _ = local_axes(longitude, latitude)
    turn = np.arctan2((moved * east).sum(-1), (moved * north).sum(-1))
    return np.asarray(np.rad2deg(turn) % 360.0)


def _orbit(mission: str) -> NominalOrbit:
    if mission not in NOMINAL_ORBITS:
        raise InputError(
            f"the orbit of {mission or 'an unnamed mission'!r} is not known here: there are "
            f"{', '.join(NOMINAL_ORBITS)}; give an angle file"
        )
    return NOMINAL_ORBITS[mission]


def _abeam(
    orbit: NominalOrbit, track: int, places: Places, height_m: ArrayLike, *, ascending: bool
) -> Array:
    """Argument of latitude of the closest point of the track, by Newton's method.

    Both missions steer their yaw so that the line that they scan is at right angles to the ground
    track: a place is scanned when the satellite is closest to it.
    """
    ground = earth_fixed(places.longitude_deg, places.latitude_deg, height_m)
    sine = np.sin(np.deg2rad(places.latitude_deg)) / np.sin(np.deg2rad(orbit.inclination_deg))
    along = np.arcsin(np.clip(sine, -0.999, 0.999))
    along = along if ascending else np.pi - along
    step = 1e-3
    for _ in range(12):
        before, here, after = (
            ((orbit.position(track, along + shift) - ground) ** 2).sum(-1)
            for shift in (-step, 0.0, step)
        )
        curvature = np.maximum((after - 2 * here + before) / step**2, orbit.radius_m**2 * 0.1)
        change = np.clip(-(after - before) / (2 * step) / curvature, -0.1, 0.1)
        along = along + change
        if np.max(np.abs(change)) < 1e-9:
            break
    return np.asarray(along)
