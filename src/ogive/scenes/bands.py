"""Names of bands, across sensors and spellings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from ogive.model import Asset, InputError, Scene

__all__ = ["COMMON_NAMES", "asset_of", "matching_band"]

_MSI = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge071",
    "B06": "rededge075",
    "B07": "rededge078",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B10": "cirrus",
    "B11": "swir16",
    "B12": "swir22",
}
_OLI = {
    "B1": "coastal",
    "B2": "blue",
    "B3": "green",
    "B4": "red",
    "B5": "nir08",
    "B6": "swir16",
    "B7": "swir22",
    "B8": "pan",
    "B9": "cirrus",
    "B10": "lwir11",
    "B11": "lwir12",
}
_TM = {
    "B1": "blue",
    "B2": "green",
    "B3": "red",
    "B4": "nir08",
    "B5": "swir16",
    "B6": "lwir",
    "B7": "swir22",
    "B8": "pan",
}
_MSS_OF_LANDSAT_1_TO_3 = {"B4": "green", "B5": "red", "B6": "nir08", "B7": "nir09"}
_MSS_OF_LANDSAT_4_AND_5 = {"B1": "green", "B2": "red", "B3": "nir08", "B4": "nir09"}

COMMON_NAMES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "MSI": _MSI,
        "C": _OLI,
        "O": _OLI,
        "E": _TM,
        "T": _TM,
        "M1": _MSS_OF_LANDSAT_1_TO_3,
        "M2": _MSS_OF_LANDSAT_1_TO_3,
        "M3": _MSS_OF_LANDSAT_1_TO_3,
        "M4": _MSS_OF_LANDSAT_4_AND_5,
        "M5": _MSS_OF_LANDSAT_4_AND_5,
    }
)
"""Common names of bands, by sensor; Landsat's multispectral scanner by satellite too."""

_BEST_FOR_MATCHING = ("pan", "nir", "nir08", "red", "green", "blue", "nir09")
_BESIDES = MappingProxyType({"nir": ("nir08",), "nir08": ("nir",)})


def asset_of(scene: Scene, band: str) -> Asset:
    """Find the file of a band, by the band's own name or by its name across sensors.

    Parameters
    ----------
    scene
        A scene with assets.
    band
        ``"B08"``, ``"b8"``, ``"nir"``, ``"pan"``, ``"SCL"``, ... A near infrared band is taken for
        the other (``nir`` and ``nir08``) where a sensor has but one.

    Raises
    ------
    InputError
        If the scene has no such band.

    Examples
    --------
    >>> from datetime import datetime
    >>> scene = Scene("a", datetime(2020, 7, 1), assets={"B08": Asset("b.tif", "nir")})
    >>> asset_of(scene, "B8") is asset_of(scene, "nir")
    True
    """
    by_name = {_bare(name): asset for name, asset in scene.assets.items()}
    if _bare(band) in by_name:
        return by_name[_bare(band)]
    wanted = band.lower()
    for common in (wanted, *_BESIDES.get(wanted, ())):
        found = [asset for asset in scene.assets.values() if asset.common_name == common]
        if found:
            return min(found, key=lambda asset: asset.pixel_size_m or float("inf"))
    known = ", ".join(
        f"{name} ({asset.common_name})" if asset.common_name else name
        for name, asset in scene.assets.items()
    )
    raise InputError(f"scene {scene.id} has no band {band}, only {known or 'no files at all'}")


def matching_band(scene: Scene) -> str:
    """Name the band that shows glaciers best: the finest, and of those the panchromatic or red.

    That is B08 for Sentinel-2, B8 for Landsat 7-9 of level 1, and the near infrared elsewhere.

    Raises
    ------
    InputError
        If the scene has no band of known use.
    """
    rank = {common: number for number, common in enumerate(_BEST_FOR_MATCHING)}
    usable = [name for name, asset in scene.assets.items() if asset.common_name in rank]
    if not usable and len(scene.assets) == 1:
        return next(iter(scene.assets))
    if not usable:
        raise InputError(
            f"scene {scene.id} has no band that is known to show ice: name one of "
            f"{', '.join(scene.assets) or 'its files (it has none)'}"
        )

    def preference(name: str) -> tuple[float, int]:
        asset = scene.assets[name]
        return asset.pixel_size_m or float("inf"), rank[asset.common_name]

    return min(usable, key=preference)


def _bare(band: str) -> str:
    """Spell a band's name in one way: B08, b8 and B8 are one."""
    return re.sub(r"^B0*(?=\w)", "B", band.upper())
