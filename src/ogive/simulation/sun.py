"""Where the sun stands, what it lights, and what lies in shadow."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .noise import Float32Array, FloatArray

__all__ = ["SunPosition", "cast_shadow", "irradiance", "sun_position"]

J2000 = datetime(2000, 1, 1, 12)
SUN_RADIUS_DEG = 0.27
DIFFUSE_SHARE = 0.16
"""Share of the light on flat ground that comes from the sky; clear, dry air, near infrared."""


class SunPosition(NamedTuple):
    """Direction of the sun: degrees clockwise from north, degrees above the horizon."""

    azimuth_deg: float
    elevation_deg: float


def sun_position(time: datetime, *, latitude_deg: float, longitude_deg: float) -> SunPosition:
    """Position of the sun, without refraction, good to 0.02 degrees.

    The low-precision formulae of the Astronomical Almanac (Michalsky 1988, Solar Energy 40,
    227-235).

    Parameters
    ----------
    time
        UTC.
    latitude_deg, longitude_deg
        North and east are positive.

    Examples
    --------
    >>> noon = sun_position(datetime(2020, 6, 20, 12), latitude_deg=46.0, longitude_deg=0.0)
    >>> round(noon.elevation_deg, 1), round(noon.azimuth_deg)
    (67.4, 179)
    """
    days = (time - J2000).total_seconds() / 86400
    mean_longitude = 280.460 + 0.9856474 * days
    anomaly = np.deg2rad(357.528 + 0.9856003 * days)
    ecliptic = np.deg2rad(mean_longitude + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    obliquity = np.deg2rad(23.439 - 0.0000004 * days)
    ascension = np.arctan2(np.cos(obliquity) * np.sin(ecliptic), np.cos(ecliptic))
    declination = np.arcsin(np.sin(obliquity) * np.sin(ecliptic))
    hours = time.hour + time.minute / 60 + time.second / 3600
    sidereal_deg = 15 * (6.697375 + 0.0657098242 * days + hours) + longitude_deg
    hour_angle = np.deg2rad(sidereal_deg) - ascension
    latitude = np.deg2rad(latitude_deg)
    elevation = np.arcsin(
        np.sin(latitude) * np.sin(declination)
        + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    )
    east = -np.cos(declination) * np.sin(hour_angle)
    north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(
        declination
    ) * np.cos(hour_angle)
    azimuth = np.rad2deg(np.arctan2(east, north)) % 360
    return SunPosition(float(azimuth), float(np.rad2deg(elevation)))


def irradiance(
    elevation_m: Float32Array, lit: Float32Array, sun: SunPosition, *, step_m: float
) -> Float32Array:
    """Light on the ground over the light on flat ground: Lambert's cosine, and the sky.

    Parameters
    ----------
    elevation_m
        Height of the surface, ``(y, x)``, north up.
    lit
        Share of the sun that is seen, 0 in shadow, ``(y, x)``.
    sun
        Its position, above the horizon.
    step_m
        Distance between samples.
    """
    south, east = np.gradient(elevation_m, np.float32(step_m))
    azimuth, height = np.deg2rad(sun.azimuth_deg), np.deg2rad(sun.elevation_deg)
    inverse = 1 / np.sqrt(1 + east**2 + south**2)
    towards = (
        np.float32(np.cos(height) * np.sin(azimuth)) * east
        - np.float32(np.cos(height) * np.cos(azimuth)) * south
    )
    cosine = np.maximum((np.float32(np.sin(height)) - towards) * inverse, 0)
    direct = (1 - DIFFUSE_SHARE) * lit * cosine / np.float32(np.sin(height))
    return np.asarray(direct + DIFFUSE_SHARE * (1 + inverse) / 2, dtype=np.float32)


def cast_shadow(
    elevation_m: FloatArray | Float32Array, sun: SunPosition, *, step_m: float
) -> Float32Array:
    """Share of the sun's disc that is seen from each cell over the relief around it.

    Walks towards the sun in steps of one cell until no peak can be in the way.

    Parameters
    ----------
    elevation_m
        ``(y, x)``, north up. What lies outside casts no shadow.
    sun
        Its position. All is dark when it is below the horizon.
    step_m
        Distance between cells.
    """
    heights = np.ascontiguousarray(elevation_m, dtype=np.float64)
    if sun.elevation_deg <= 0:
        return np.zeros(heights.shape, np.float32)
    azimuth = np.deg2rad(sun.azimuth_deg)
    lit = np.empty(heights.shape, np.float32)
    _walk_to_the_sun(
        heights,
        float(np.sin(azimuth)),
        float(-np.cos(azimuth)),
        float(np.tan(np.deg2rad(sun.elevation_deg))),
        float(np.deg2rad(SUN_RADIUS_DEG)),
        step_m,
        float(heights.max()),
        lit,
    )
    return lit


@njit(cache=True, nogil=True)
def _walk_to_the_sun(
    heights: Any, right: Any, down: Any, slope: Any, radius: Any, step_m: Any, top: Any, lit: Any
) -> None:
    """Compare each cell with the heights on its way to the sun, linearly interpolated."""
    rows, columns = heights.shape
    for row in range(rows):
        for column in range(columns):
            ground = heights[row, column]
            highest = -1.0
            distance = 1.0
            while True:
                x, y = column + distance * right, row + distance * down
                ray = ground + distance * step_m * (slope - radius)
                if ray > top or not (0 <= x < columns - 1 and 0 <= y < rows - 1):
                    break
                x0, y0 = int(x), int(y)
                fx, fy = x - x0, y - y0
                upper = heights[y0, x0] * (1 - fx) + heights[y0, x0 + 1] * fx
                lower = heights[y0 + 1, x0] * (1 - fx) + heights[y0 + 1, x0 + 1] * fx
                obstacle = (upper * (1 - fy) + lower * fy - ground) / (distance * step_m)
                highest = max(highest, obstacle)
                distance += 1.0
            seen = 0.5 - (highest - slope) / (2 * radius)
            lit[row, column] = min(max(seen, 0.0), 1.0)
