"""The vocabulary that every part of ogive shares.

Scenes and pairs of scenes, names and units of variables, the length of a year, the reasons why a
point has no value, and the family of errors. Nothing here opens a file or imports another part of
ogive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from odc.geo.crs import CRS

__all__ = [
    "ATTRIBUTES",
    "DAYS_PER_YEAR",
    "Asset",
    "DateError",
    "Flag",
    "GridError",
    "InputError",
    "OgiveError",
    "OutputError",
    "Pair",
    "Scene",
    "StableGroundError",
    "baseline_days",
    "flag_attributes",
    "is_in_metres",
]

DAYS_PER_YEAR = 365.25
"""Length of ogive's year in days (the Julian year, as in UDUNITS' ``julian_year``).

Other producers use 365 or 365.2425; their readers convert on the way in.
"""


class OgiveError(Exception):
    """Base of every error that ogive raises on purpose.

    The message is one sentence (or two) that says what was wrong, where, and what to do.
    """


class InputError(OgiveError, ValueError):
    """What was given cannot be used: an image, an option, a polygon file."""


class GridError(InputError):
    """Grids that do not fit together: another CRS, no overlap, no CRS at all."""


class DateError(InputError):
    """Dates that are missing, equal or reversed."""


class StableGroundError(InputError):
    """Too little stable ground to calibrate on."""


class OutputError(OgiveError, OSError):
    """A product could not be written; nothing half-written is left behind."""


class Flag(IntEnum):
    """Why a point has no displacement (the CF flag variable ``flag``); 0 means that it has one."""

    MEASURED = 0
    MASKED = 1
    FLAT = 2
    OUTSIDE = 3
    NO_PEAK = 4
    LOW_CORRELATION = 5
    INCONSISTENT = 6
    OUTLIER = 7
    TOO_FAST = 8
    LOW_QUALITY = 9


_FLAG_MEANINGS: Mapping[Flag, str] = MappingProxyType(
    {
        Flag.MEASURED: "measured",
        Flag.MASKED: "too_few_valid_pixels",
        Flag.FLAT: "no_texture",
        Flag.OUTSIDE: "window_leaves_the_image",
        Flag.NO_PEAK: "no_correlation_peak_inside_the_search",
        Flag.LOW_CORRELATION: "correlation_not_above_chance",
        Flag.INCONSISTENT: "forward_and_backward_disagree",
        Flag.OUTLIER: "disagrees_with_its_neighbourhood",
        Flag.TOO_FAST: "above_the_speed_limit",
        Flag.LOW_QUALITY: "below_the_quality_limit",
    }
)


def flag_attributes() -> dict[str, Any]:
    """CF attributes of the variable ``flag``.

    Examples
    --------
    >>> flag_attributes()["flag_meanings"].split()[1]
    'too_few_valid_pixels'
    """
    return {
        "long_name": "why a point has no displacement",
        "flag_values": np.array([int(flag) for flag in Flag], dtype=np.uint8),
        "flag_meanings": " ".join(_FLAG_MEANINGS[flag] for flag in Flag),
    }


@dataclass(frozen=True, slots=True)
class Asset:
    """One band of a scene as a file, and what its numbers mean.

    A pixel's value is ``scale * number + offset``: reflectance where the provider tells the two.

    Parameters
    ----------
    href
        Path or URL, without a signature.
    common_name
        The band's name across sensors, by the STAC ``eo`` extension: ``"nir"``, ``"pan"``, ...
    scale, offset
        From the file's numbers to values.
    nodata
        The number of pixels that hold no measurement.
    pixel_size_m
        Side of a pixel on the ground, where it is known.
    index
        Number of the band within its file, from 1.
    """

    href: str
    common_name: str = ""
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    pixel_size_m: float | None = None
    index: int = 1


@dataclass(frozen=True, slots=True)
class Scene:
    """One satellite image as it was acquired: when, by what, from where.

    Parameters
    ----------
    id
        The provider's name of the scene.
    time
        Acquisition time, UTC, without a time zone (as ``numpy.datetime64`` is).
    mission
        ``"sentinel-2"``, ``"landsat"``, or what the provider calls it.
    satellite
        ``"2A"``, ``"2B"``, ``"8"``, ...: ITS_LIVE's ``satellite_img1``.
    sensor
        ``"MSI"``, ``"C"`` (OLI and TIRS), ``"T"`` (TM), ...: ITS_LIVE's ``sensor_img1``.
    relative_orbit
        Sentinel-2's relative orbit; ``None`` for Landsat.
    path, row
        Landsat's WRS-2 path and row; ``None`` for Sentinel-2.
    tile
        Sentinel-2's MGRS tile, such as ``"T32TLS"``.
    sun_azimuth_deg, sun_elevation_deg, view_zenith_deg, view_azimuth_deg
        Angles at the scene's centre, in degrees; azimuths clockwise from north.
    cloud_cover_percent
        The provider's own estimate.
    processing_level
        ``"L1C"``, ``"L1TP"``, ...
    properties
        What else the provider says of the scene, under the provider's own names.
    crs
        Coordinate reference system of the images, such as ``"EPSG:32632"``.
    footprint
        Outline of the scene's images in longitude and latitude, as well-known text.
    assets
        Files by the name of their band: ``"B08"``, ``"SCL"``, ``"B8"``, ``"QA_PIXEL"``.
    """

    id: str
    time: datetime
    mission: str = ""
    satellite: str = ""
    sensor: str = ""
    relative_orbit: int | None = None
    path: int | None = None
    row: int | None = None
    tile: str = ""
    sun_azimuth_deg: float | None = None
    sun_elevation_deg: float | None = None
    view_zenith_deg: float | None = None
    view_azimuth_deg: float | None = None
    cloud_cover_percent: float | None = None
    processing_level: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    crs: str = ""
    footprint: str = ""
    assets: Mapping[str, Asset] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two scenes of one place, the earlier first.

    Raises
    ------
    DateError
        If the later scene is not later than the earlier one.

    Examples
    --------
    >>> pair = Pair(Scene("a", datetime(2016, 7, 18)), Scene("b", datetime(2016, 8, 3)))
    >>> pair.days
    16.0
    """

    earlier: Scene
    later: Scene

    def __post_init__(self) -> None:
        baseline_days(self.earlier.time, self.later.time)

    @property
    def days(self) -> float:
        """The temporal baseline in days."""
        return baseline_days(self.earlier.time, self.later.time)

    @property
    def mid_date(self) -> datetime:
        """The middle between the two acquisitions."""
        return self.earlier.time + (self.later.time - self.earlier.time) / 2


def baseline_days(earlier: datetime, later: datetime) -> float:
    """Exact time between two acquisitions, in days.

    Raises
    ------
    DateError
        If the two are equal or in the wrong order.
    """
    if later == earlier:
        raise DateError(
            f"both images are dated {earlier.isoformat()}: a displacement needs two dates"
        )
    if later < earlier:
        raise DateError(
            f"the earlier image is dated {earlier.isoformat()}, after the later one "
            f"({later.isoformat()}): swap the two images or their dates"
        )
    return (later - earlier) / timedelta(days=1)


ATTRIBUTES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "dx": {"long_name": "displacement along +x, from the earlier image to the later one"},
        "dy": {"long_name": "displacement along +y, from the earlier image to the later one"},
        "dx_var": {"long_name": "error variance of dx"},
        "dy_var": {"long_name": "error variance of dy"},
        "dxdy_cov": {"long_name": "error covariance of dx and dy"},
        "correlation": {
            "long_name": "zero-mean normalised cross-correlation at the peak",
            "units": "1",
        },
        "peak_ratio": {
            "long_name": "highest correlation over the second highest one of the same search",
            "units": "1",
        },
        "snr": {
            "long_name": "squared peak correlation over the mean square of the rest of the surface",
            "units": "1",
        },
        "prediction_distance": {
            "long_name": "distance of the displacement from the one predicted by the coarse search"
        },
        "forward_backward_distance": {
            "long_name": "length of the forward displacement plus the backward one at its end"
        },
        "valid_fraction": {
            "long_name": "share of the window's pixels that are valid in both images",
            "units": "1",
        },
        "confidence": {
            "long_name": "probability that the displacement is within one pixel of the true one",
            "units": "1",
        },
        "vx": {
            "long_name": "velocity component along +x",
            "standard_name": "land_ice_surface_x_velocity",
            "units": "meter/year",
        },
        "vy": {
            "long_name": "velocity component along +y",
            "standard_name": "land_ice_surface_y_velocity",
            "units": "meter/year",
        },
        "v": {
            "long_name": "speed: the magnitude of the velocity",
            "standard_name": "land_ice_surface_velocity",
            "units": "meter/year",
        },
        "vx_error": {"long_name": "standard error of vx", "units": "meter/year"},
        "vy_error": {"long_name": "standard error of vy", "units": "meter/year"},
        "vxvy_cov": {"long_name": "error covariance of vx and vy", "units": "meter2/year2"},
        "v_error": {
            "long_name": "standard error of the speed",
            "standard_name": "velocity_error",
            "units": "meter/year",
        },
    }
)
"""CF attributes of the variables; units that depend on the grid are added where it is known."""


def is_in_metres(crs: CRS) -> bool:
    """Whether a coordinate reference system is projected, with both axes in metres.

    Examples
    --------
    >>> from odc.geo.crs import CRS
    >>> [is_in_metres(CRS(name)) for name in ("EPSG:32632", "EPSG:3413", "EPSG:4326", "EPSG:2263")]
    [True, True, False, False]
    """
    return bool(crs.projected) and all(
        axis.unit_conversion_factor == 1.0 for axis in crs.proj.axis_info[:2]
    )
