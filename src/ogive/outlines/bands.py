"""The bands that a network sees: their names, their modalities, and their plausible values.

A stack of bands is always told by names, never by order. The modalities and the ranges that bring
each band to about 0 to 1 are those of the published benchmark (Maslov et al. 2025), so that any
subset of its bands is scaled as it was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError

__all__ = [
    "BANDS",
    "TRACKS",
    "Band",
    "band_named",
    "bands_in_order",
    "check_values",
    "known_band",
    "modalities_of",
    "normalised",
]


@dataclass(frozen=True, slots=True)
class Band:
    """One band.

    Attributes
    ----------
    modality
        Bands of one modality share a branch of the network.
    minimum, maximum
        What becomes 0 and 1.
    """

    modality: str
    minimum: float
    maximum: float


BANDS: Mapping[str, Band] = MappingProxyType(
    {
        # Reflectance at the top of the atmosphere.
        "blue": Band("optical", -0.00374, 2.0468),
        "green": Band("optical", -0.01997, 2.1253),
        "red": Band("optical", -0.01857, 2.2303),
        "nir": Band("optical", -0.02699, 2.6781),
        "swir1": Band("optical", -0.02546, 2.1246),
        "swir2": Band("optical", -0.02451, 2.1602),
        # Metres and degrees.
        "elevation": Band("dem", -103.30, 8349.43),
        "slope": Band("dem", 0.0, 88.978),
        # Brightness temperature in kelvin.
        "thermal": Band("thermal", 0.0, 322.08),
        # log10(σ0 + 1e-6).
        "co_pol_ascending": Band("co_pol_sar", -6.0, 1.758),
        "co_pol_descending": Band("co_pol_sar", -6.0, 15.635),
        "cross_pol_ascending": Band("cross_pol_sar", -6.0, 1.389),
        "cross_pol_descending": Band("cross_pol_sar", -6.0, 15.905),
        "coherence_ascending": Band("in_sar", 0.0, 0.99999938),
        "coherence_descending": Band("in_sar", 0.0, 0.99999963),
    }
)
"""All bands by name, in the order of the benchmark's datasets."""

_OPTICAL_DEM = ("blue", "green", "red", "nir", "swir1", "swir2", "elevation", "slope")
TRACKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "optical+dem": _OPTICAL_DEM,
        "optical+dem+thermal": (*_OPTICAL_DEM, "thermal"),
        "optical+dem+insar": (
            *_OPTICAL_DEM,
            "co_pol_ascending",
            "co_pol_descending",
            "coherence_ascending",
            "coherence_descending",
        ),
    }
)
"""The benchmark's three data tracks."""

_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "b2": "blue", "b02": "blue", "b3": "green", "b03": "green", "b4": "red", "b04": "red",
        "b8": "nir", "b08": "nir", "b11": "swir1", "b12": "swir2",
        "nir08": "nir", "swir16": "swir1", "swir22": "swir2", "dem": "elevation",
    }
)  # fmt: skip
"""Names of Sentinel-2 and of STAC. Landsat numbers its bands differently on each satellite."""

HIGHEST_REFLECTANCE = 4.0
"""Sunlit snow that faces the sun reaches 2.7 at the top of the atmosphere in the benchmark."""
LOWEST_BRIGHT_REFLECTANCE = 0.01
"""The brightest hundredth of any scene of land or ice is brighter."""


def band_named(name: str) -> str:
    """Give ogive's name of a band.

    Raises
    ------
    InputError
        If there is no such band.

    Examples
    --------
    >>> band_named("B8"), band_named("swir16"), band_named("Red")
    ('nir', 'swir1', 'red')
    """
    found = known_band(name)
    if found is None:
        raise InputError(
            f"there is no band {name!r}: name each by {', '.join(BANDS)}, or as Sentinel-2 or STAC "
            "do (Landsat numbers differ by satellite)"
        )
    return found


def known_band(name: str) -> str | None:
    """Give ogive's name of a band; ``None`` if there is no such band."""
    plain = name.strip().lower()
    found = _ALIASES.get(plain, plain)
    return found if found in BANDS else None


def modalities_of(bands: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Sort bands by modality; both are in the order of `BANDS`, whatever was given.

    Raises
    ------
    InputError
        If a band is not known or given twice, or there is none.

    Examples
    --------
    >>> modalities_of(["slope", "nir", "red"])
    {'optical': ('red', 'nir'), 'dem': ('slope',)}
    """
    names = [band_named(band) for band in bands]
    if not names:
        raise InputError("no band was named: name at least one")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"the band {repeated[0]} was named twice")
    sorted_: dict[str, tuple[str, ...]] = {}
    for name, band in BANDS.items():
        if name in names:
            sorted_[band.modality] = (*sorted_.get(band.modality, ()), name)
    return sorted_


def bands_in_order(bands: Iterable[str]) -> tuple[str, ...]:
    """Give bands in the order in which networks see them.

    Examples
    --------
    >>> bands_in_order(["elevation", "B8", "red"])
    ('red', 'nir', 'elevation')
    """
    return tuple(name for names in modalities_of(bands).values() for name in names)


def normalised(pixels: NDArray[np.float32], bands: Sequence[str]) -> NDArray[np.float32]:
    """Bring each band from its range to 0 to 1; nothing is cut off.

    Parameters
    ----------
    pixels
        ``(band, y, x)``.
    bands
        Their names.

    Examples
    --------
    >>> normalised(np.full((1, 1, 1), 4123.065, np.float32), ["elevation"]).item()
    0.5
    """
    low = np.array([BANDS[name].minimum for name in bands], np.float32)[:, None, None]
    high = np.array([BANDS[name].maximum for name in bands], np.float32)[:, None, None]
    return np.asarray((pixels - low) / (high - low), np.float32)


def check_values(
    pixels: NDArray[np.float32],
    bands: Sequence[str],
    valid: NDArray[np.bool_],
    source: str,
    *,
    scales: Sequence[float] | None = None,
) -> None:
    """Refuse bands whose values cannot be what their names say, such as unscaled reflectance.

    Parameters
    ----------
    pixels
        ``(band, y, x)``.
    bands
        Their names.
    valid
        ``(y, x)``, where there are data; without any, nothing is checked.
    source
        Named in the error.
    scales
        What each band's numbers were multiplied by, so that an error can tell a better one.

    Raises
    ------
    InputError
        If reflectances are digital numbers, percent or scaled twice, angles are above 90 degrees,
        temperatures no kelvin, backscatter in decibel, or coherences outside 0 to 1.

    Examples
    --------
    >>> red = np.full((1, 2, 2), 3000.0, np.float32)
    >>> check_values(red, ["red"], np.ones((2, 2), bool), "a.tif")
    Traceback (most recent call last):
    ogive.model.InputError: a.tif: red reaches 3000, which is no reflectance (0 to about 2): ...
    """
    if not valid.any():
        return
    brightest: list[tuple[float, float]] = []
    for name, values, scale in zip(bands, pixels, scales or [1.0] * len(bands), strict=True):
        low, high = (float(each) for each in np.percentile(values[valid], (1, 99)))
        if BANDS[name].modality == "optical":
            brightest.append((high, scale))
        if problem := _problem(name, low, high):
            raise InputError(f"{source}: {name} {problem}")
    if brightest and max(brightest)[0] < LOWEST_BRIGHT_REFLECTANCE:
        high, scale = max(brightest)
        told = f"{source}: reflectances reach only {high:.2g}"
        if scale in {0.0, 1.0}:
            raise InputError(f"{told}: were they scaled twice? Give them as they were")
        raise InputError(
            f"{told}: numbers up to {high / scale:.3g} were multiplied by {scale:g}, as if scaled "
            f"twice; pass scale={_likely_scale(high / scale):g}"
        )


def _likely_scale(highest: float) -> float:
    """What makes reflectance of numbers: they are reflectance, percent, or Sentinel-2's."""
    for scale in (1.0, 0.01):
        if highest * scale <= HIGHEST_REFLECTANCE:
            return scale
    return 0.0001


def _problem(name: str, low: float, high: float) -> str:
    """What is wrong with a band whose values lie between two figures; empty for nothing."""
    modality = BANDS[name].modality
    if modality == "optical" and high > HIGHEST_REFLECTANCE:
        return (
            f"reaches {high:.4g}, which is no reflectance (0 to about 2): scale it, by 0.0001 for "
            "Sentinel-2"
        )
    if name == "slope" and (high > 90 or low < 0):
        return f"lies between {low:.4g} and {high:.4g}: it must be in degrees, 0 to 90"
    if name == "elevation" and (high > 9000 or low < -1000):
        return f"lies between {low:.4g} and {high:.4g}: it must be in metres; is nodata declared?"
    if modality == "thermal" and not 150 <= high <= 400:
        return f"reaches {high:.4g}: it must be a brightness temperature in kelvin"
    if modality in {"co_pol_sar", "cross_pol_sar"} and low < -6.5:
        return f"falls to {low:.4g}: it must be log10(σ0 + 1e-6), not decibel"
    if modality == "in_sar" and (low < 0 or high > 1):
        return f"lies between {low:.4g} and {high:.4g}: coherence is from 0 to 1"
    return ""
