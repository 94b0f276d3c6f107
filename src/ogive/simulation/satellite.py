"""Satellites: their sensors, when they pass, from where they look, and what they record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..model import DateError
from .noise import Float32Array, FloatArray

__all__ = ["LANDSAT", "ORBITS", "SENTINEL_2", "Orbit", "Pass", "Sensor", "passes"]

EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True, slots=True)
class Sensor:
    """How an instrument turns reflectance into numbers.

    Attributes
    ----------
    mission, code
        ITS_LIVE's names: ``"sentinel-2"`` and ``"MSI"``, ``"landsat"`` and ``"C"``.
    pixel_m
        Side of a pixel of the band that is matched.
    psf_sigma_px
        Gaussian point spread; 0.50 px gives a transfer of 0.29 at Nyquist.
    snr
        Signal over noise at ``snr_reflectance``; noise grows with the square root of the signal.
    scale, offset
        ``number = (reflectance + offset) / scale``.
    sun_corrected
        Whether the product divides by the sine of the sun's elevation.
    repeat_days, local_solar_hour, altitude_km
        Of the orbit; a satellite passes at the same local solar time.
    """

    mission: str
    code: str
    pixel_m: float
    psf_sigma_px: float
    snr: float
    snr_reflectance: float
    scale: float
    offset: float
    largest: int
    sun_corrected: bool
    repeat_days: int
    local_solar_hour: float
    altitude_km: float

    def record(
        self, reflectance: Float32Array, *, sun_elevation_deg: float, rng: np.random.Generator
    ) -> NDArray[np.uint16]:
        """Add the sensor's noise and quantise to the product's digital numbers.

        Parameters
        ----------
        reflectance
            At the top of the atmosphere, relative to flat ground under this sun, ``(y, x)``.
        sun_elevation_deg
            Landsat's numbers fall with it; Sentinel-2's do not.
        rng
            Where the noise comes from.
        """
        sine = max(np.sin(np.deg2rad(sun_elevation_deg)), 0.0)
        signal = np.maximum(reflectance, 0) * sine
        reference = self.snr_reflectance
        noise = reference / self.snr * np.sqrt((signal + 0.02) / (reference + 0.02))
        signal = signal + noise * rng.standard_normal(reflectance.shape, dtype=np.float32)
        if self.sun_corrected:
            signal = signal / max(sine, 0.05)
        numbers = np.rint((signal + self.offset) / self.scale)
        return np.asarray(np.clip(numbers, 1, self.largest), np.uint16)

    def blur_and_decimate(self, fine: Float32Array, factor: int) -> Float32Array:
        """Point spread on the fine grid, then every ``factor``-th sample."""
        blurred = ndimage.gaussian_filter(
            fine, self.psf_sigma_px * factor, mode="nearest", truncate=4
        )
        return np.ascontiguousarray(blurred[::factor, ::factor])


SENTINEL_2 = Sensor(
    mission="sentinel-2",
    code="MSI",
    pixel_m=10.0,
    psf_sigma_px=0.50,
    snr=170.0,
    snr_reflectance=0.3,
    scale=1e-4,
    offset=0.1,
    largest=32767,
    sun_corrected=True,
    repeat_days=10,
    local_solar_hour=10.75,
    altitude_km=786.0,
)
"""Band 8 of the MultiSpectral Instrument, processing baseline 04.00 and later (offset of 1000)."""

LANDSAT = Sensor(
    mission="landsat",
    code="C",
    pixel_m=15.0,
    psf_sigma_px=0.45,
    snr=150.0,
    snr_reflectance=0.3,
    scale=2e-5,
    offset=0.1,
    largest=65535,
    sun_corrected=False,
    repeat_days=16,
    local_solar_hour=10.35,
    altitude_km=705.0,
)
"""The panchromatic band 8 of Landsat 8 and 9, Collection 2 Level 1."""


@dataclass(frozen=True, slots=True)
class Orbit:
    """A ground track from which a place is seen.

    Attributes
    ----------
    sensor
        What flies on it.
    number
        Sentinel-2's relative orbit or Landsat's path.
    row
        Landsat's row; 0 for Sentinel-2.
    view_zenith_deg
        Angle at the ground between the vertical and the satellite.
    view_azimuth_deg
        Direction from the ground to the satellite, clockwise from the map's north.
    first_pass_day
        For each satellite, the day after 2000-01-01 (modulo the repeat cycle) on which it passes.
    """

    sensor: Sensor
    number: int
    row: int
    view_zenith_deg: float
    view_azimuth_deg: float
    first_pass_day: Mapping[str, int]

    def tangent(
        self, x: FloatArray, y: FloatArray, *, centre_x: float, centre_y: float
    ) -> FloatArray:
        """Tangent of the view zenith at places; it falls towards the satellite.

        Parameters
        ----------
        x, y
            Places in metres.
        centre_x, centre_y
            Where ``view_zenith_deg`` holds.
        """
        zenith, azimuth = np.deg2rad(self.view_zenith_deg), np.deg2rad(self.view_azimuth_deg)
        towards = (x - centre_x) * np.sin(azimuth) + (y - centre_y) * np.cos(azimuth)
        per_m = 1e-3 / self.sensor.altitude_km / np.cos(zenith) ** 2
        return np.asarray(np.tan(zenith) - towards * per_m)

    @property
    def off_nadir_deg(self) -> float:
        """Angle at the satellite between the vertical and the ground point, on a round Earth."""
        ratio = EARTH_RADIUS_KM / (EARTH_RADIUS_KM + self.sensor.altitude_km)
        return float(np.rad2deg(np.arcsin(ratio * np.sin(np.deg2rad(self.view_zenith_deg)))))


def _orbits() -> Mapping[str, Orbit]:
    return MappingProxyType(
        {
            "sentinel-2-west": Orbit(
                SENTINEL_2, 108, 0, 8.9, 286.5, MappingProxyType({"2A": 2, "2B": 7})
            ),
            "sentinel-2-east": Orbit(
                SENTINEL_2, 65, 0, 6.7, 104.8, MappingProxyType({"2A": 9, "2B": 4})
            ),
            "landsat-west": Orbit(
                LANDSAT, 196, 28, 5.6, 284.0, MappingProxyType({"8": 5, "9": 13})
            ),
            "landsat-east": Orbit(
                LANDSAT, 195, 28, 6.1, 102.6, MappingProxyType({"8": 14, "9": 6})
            ),
        }
    )


ORBITS: Mapping[str, Orbit] = _orbits()
"""Two orbits for each sensor: the satellite stands in the west or in the east of the place."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One chance of an image: when, which satellite, on which orbit."""

    time: datetime
    satellite: str
    orbit: Orbit


def passes(
    orbits: Sequence[Orbit], start: datetime, end: datetime, *, longitude_deg: float
) -> list[Pass]:
    """All passes of satellites over a place, in order of time.

    Parameters
    ----------
    orbits
        Which orbits see the place.
    start, end
        The first day and the day after the last.
    longitude_deg
        Of the place; it sets the time of day.

    Raises
    ------
    DateError
        If the end is not after the start.

    Examples
    --------
    >>> two = [ORBITS["sentinel-2-west"], ORBITS["sentinel-2-east"]]
    >>> found = passes(two, datetime(2020, 7, 1), datetime(2020, 7, 11), longitude_deg=8.0)
    >>> [p.time.day for p in found]
    [1, 3, 6, 8]
    """
    if end <= start:
        raise DateError(
            f"the archive would end on {end.date()}, before it starts on {start.date()}:"
            " swap the two dates"
        )
    found = []
    for orbit in orbits:
        sensor = orbit.sensor
        hour = sensor.local_solar_hour - longitude_deg / 15
        # Each orbit sees the place at a slightly different minute.
        hour += 0.004 * (orbit.number % 17)
        for satellite, phase in orbit.first_pass_day.items():
            day = datetime(start.year, start.month, start.day) - timedelta(days=1)
            while day < end:
                since = (day - datetime(2000, 1, 1)).days
                time = day + timedelta(hours=hour)
                time = time.replace(microsecond=0)
                if since % sensor.repeat_days == phase % sensor.repeat_days and start <= time < end:
                    found.append(Pass(time, satellite, orbit))
                day += timedelta(days=1)
    return sorted(found, key=lambda p: (p.time, p.satellite))
