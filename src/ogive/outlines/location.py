"""Where a patch lies, as a vector that a network is told.

Region encoding gives each region of the benchmark its place in a vector, and one more to what is
not known; coordinate encoding gives sines and cosines of latitude and longitude, which have no jump
at the 180th meridian (Maslov et al. 2025, strategies 4 and 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Proj, Transformer

from ogive.model import GridError, InputError

__all__ = [
    "REGIONS",
    "areal_scale",
    "coordinate_vector",
    "longitude_latitude_deg",
    "region_vector",
]

REGIONS = ("ALP", "ANT", "AWA", "CAU", "GRL", "HMA", "TRP", "NZL", "SAN", "SCA", "SVAL")
"""The benchmark's regions, in the order of its tables."""


def region_vector(region: str | None, regions: Sequence[str] = REGIONS) -> NDArray[np.float32]:
    """Encode a region by a one; ``None`` is the unknown region, which comes last.

    Raises
    ------
    InputError
        If the region is not among those that are known.

    Examples
    --------
    >>> region_vector("ANT").argmax().item(), region_vector(None).argmax().item()
    (1, 11)
    """
    if region is not None and region not in regions:
        raise InputError(
            f"the region {region!r} is not among those of the network ({', '.join(regions)}): "
            "leave it out for the unknown region"
        )
    vector = np.zeros(len(regions) + 1, np.float32)
    vector[len(regions) if region is None else list(regions).index(region)] = 1.0
    return vector


def coordinate_vector(*, longitude_deg: float, latitude_deg: float) -> NDArray[np.float32]:
    """Encode a place as sin φ, cos φ, sin λ, cos λ of its latitude φ and longitude λ.

    Raises
    ------
    InputError
        If the latitude is beyond a pole, or one of them is no number.

    Examples
    --------
    >>> coordinate_vector(longitude_deg=180, latitude_deg=30).round(3).tolist()
    [0.5, 0.8659999966621399, 0.0, -1.0]
    """
    if not (-90 <= latitude_deg <= 90 and -360 <= longitude_deg <= 360):
        raise InputError(f"there is no place at {longitude_deg}° E, {latitude_deg}° N")
    latitude, longitude = np.radians([latitude_deg, longitude_deg])
    vector = [np.sin(latitude), np.cos(latitude), np.sin(longitude), np.cos(longitude)]
    return np.array(vector, np.float32)


def longitude_latitude_deg(geobox: GeoBox) -> dict[str, float]:
    """Find the middle of a grid on the globe, as arguments of `coordinate_vector`.

    Raises
    ------
    GridError
        If the grid has no coordinate reference system.
    """
    if geobox.crs is None:
        raise GridError("the grid has no coordinate reference system: its place is not known")
    to_globe = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True)
    left, bottom, right, top = geobox.boundingbox
    longitude, latitude = to_globe.transform((left + right) / 2, (bottom + top) / 2)
    return {"longitude_deg": float(longitude), "latitude_deg": float(latitude)}


def areal_scale(geobox: GeoBox) -> float:
    """How many times as large areas are on a map as on the ground, in the middle of a grid.

    Examples
    --------
    >>> from affine import Affine
    >>> mercator = GeoBox((2, 2), Affine(10, 0, 1e6, 0, -10, 5.8e6), "EPSG:3857")
    >>> round(areal_scale(mercator), 1)  # 1 / cos² 46°
    2.1
    """
    middle = longitude_latitude_deg(geobox)
    factors = Proj(str(geobox.crs)).get_factors(middle["longitude_deg"], middle["latitude_deg"])
    return float(factors.areal_scale)
