"""Sentinel-2: scenes from STAC items of levels 1C and 2A, whoever wrote them.

The numbers of processing baseline 04.00 and later (from 25 January 2022, and of all that was
reprocessed since) are 1000 too high: reflectance is ``(number - 1000) / 10000``. Some archives have
taken the 1000 off already and say so (``earthsearch:boa_offset_applied``).

Where no relative orbit is told, it is found in the product's name, or from the absolute orbit:
Sentinel-2 comes back to its first track every 143 orbits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ogive.model import Asset, DateError, Scene

from . import item_fields as fields
from .bands import COMMON_NAMES
from .names import scene_from_name

__all__ = ["MISSION", "QUALITY_BANDS", "recognises", "reflectance_offset", "scene_of_item"]

MISSION = "sentinel-2"
QUALITY_BANDS = ("SCL", "MSK_CLASSI_OPAQUE", "MSK_CLASSI_CIRRUS", "MSK_CLASSI_SNOW", "QA60")
FIRST_BASELINE_WITH_OFFSET = 4.0
ORBITS_OF_CYCLE = 143

_REFLECTANCE = 1e-4
_OFFSET = -0.1
# Added to the absolute orbit to count tracks as ESA does; the satellites were launched apart.
_FIRST_TRACK: Mapping[str, int] = MappingProxyType({"2A": 3, "2B": -26, "2C": 30})
_ABSOLUTE_ORBIT = re.compile(r"_A?(\d{6})_(?:T\d{2}[A-Z]{3}|N\d\d\.\d\d)")
_BAND = re.compile(r"(?<![A-Z0-9])(B(?:0[1-9]|1[0-2]|8A)|SCL|QA60|MSK_CLASSI_[A-Z]+)(?![A-Z0-9])")
_PRODUCT_NAMES = ("s2:product_uri", "sentinel:product_id", "title", "s2:granule_id", "s2:tile_id")
_ORBIT_NAMES = ("s2:tile_id", "s2:granule_id", "s2:datatake_id", "eopf:datatake_id")

Fields = Mapping[str, Any]


def recognises(item: Fields) -> bool:
    """Whether an item is of Sentinel-2."""
    told = item["properties"]
    platform = f"{told.get('platform', '')} {told.get('constellation', '')}".lower()
    return "sentinel-2" in platform.replace("_", "-") or bool(
        re.match(r"S2[A-D]_", str(item.get("id", "")))
    )


def scene_of_item(item: Fields) -> Scene:
    """Read a scene from an item of Sentinel-2.

    Raises
    ------
    InputError
        If the item lacks its time, or holds what cannot be read.
    """
    told = item["properties"]
    named = list(_named(item))
    satellite = _satellite(item, named)
    baseline = _baseline(told, named)
    return Scene(
        id=str(item["id"]),
        time=fields.time_of(item),
        mission=MISSION,
        satellite=satellite,
        sensor="MSI",
        relative_orbit=_relative_orbit(told, named, satellite),
        tile=_tile(told, named),
        sun_azimuth_deg=fields.sun_azimuth_deg(item),
        sun_elevation_deg=fields.sun_elevation_deg(item),
        view_zenith_deg=fields.number(told.get("view:incidence_angle"), "the view zenith"),
        view_azimuth_deg=fields.number(told.get("view:azimuth"), "the view azimuth"),
        cloud_cover_percent=fields.cloud_cover_percent(item),
        processing_level=_level(told, item, named),
        crs=_crs(item, _tile(told, named)),
        footprint=fields.footprint_wkt(item),
        assets=_assets(item, baseline),
        properties=_notes(told, baseline),
    )


def reflectance_offset(baseline: float | None) -> float:
    """What the processing baseline has to be corrected by, in reflectance.

    Examples
    --------
    >>> reflectance_offset(4.0), reflectance_offset(2.14)
    (-0.1, 0.0)
    """
    return _OFFSET if baseline is not None and baseline >= FIRST_BASELINE_WITH_OFFSET else 0.0


def track_of_orbit(satellite: str, absolute_orbit: int) -> int | None:
    """Relative orbit of an absolute one, ``None`` for a satellite of unknown count.

    Examples
    --------
    >>> track_of_orbit("2A", 26481)
    29
    """
    if satellite not in _FIRST_TRACK:
        return None
    return (absolute_orbit + _FIRST_TRACK[satellite] - 1) % ORBITS_OF_CYCLE + 1


def _named(item: Fields) -> Iterator[Scene]:
    """What the names of the product and of its files tell, the most telling first."""
    told = item["properties"]
    hrefs = [str(asset.get("href", "")) for asset in item.get("assets", {}).values()]
    products = [part for href in hrefs for part in href.split("/") if part.endswith(".SAFE")]
    names = [told.get(name) for name in _PRODUCT_NAMES]
    for name in (*names, item.get("id"), *dict.fromkeys(products)):
        try:
            scene = scene_from_name(str(name).removesuffix(".SAFE")) if name else None
        except DateError:
            continue  # a name of another form tells nothing
        if scene is not None and scene.mission == MISSION:
            yield scene


def _satellite(item: Fields, named: list[Scene]) -> str:
    platform = str(item["properties"].get("platform", "")).lower().replace("_", "-")
    if match := re.search(r"sentinel-(2[a-d])", platform):
        return match[1].upper()
    return next((scene.satellite for scene in named if scene.satellite), "")


def _baseline(told: Fields, named: list[Scene]) -> float | None:
    given = fields.first_told(told, "s2:processing_baseline", "processing:version")
    if given is None:
        texts = (scene.properties.get("processing_baseline") for scene in named)
        written = next((text for text in texts if text), None)
        return None if written is None else int(written) / 100
    return fields.number(given, "the processing baseline")


def _relative_orbit(told: Fields, named: list[Scene], satellite: str) -> int | None:
    given = fields.number(told.get("sat:relative_orbit"), "the relative orbit")
    if given is not None:
        return int(given)
    for scene in named:
        if scene.relative_orbit is not None:
            return scene.relative_orbit
    absolute = fields.number(told.get("sat:absolute_orbit"), "the absolute orbit")
    if absolute is not None:
        return track_of_orbit(satellite, int(absolute))
    for name in _ORBIT_NAMES:
        if match := _ABSOLUTE_ORBIT.search(str(told.get(name, ""))):
            return track_of_orbit(satellite, int(match[1]))
    return None


def _tile(told: Fields, named: list[Scene]) -> str:
    code = fields.first_told(told, "grid:code", "s2:mgrs_tile")
    if code is not None:
        return f"T{str(code).removeprefix('MGRS-').zfill(5)}"
    for prefix in ("mgrs", "sentinel"):
        zone, latitude, square = (
            told.get(f"{prefix}:{part}") for part in ("utm_zone", "latitude_band", "grid_square")
        )
        if zone and latitude and square:
            return f"T{int(zone):02d}{latitude}{square}"
    return next((scene.tile for scene in named if scene.tile), "")


def _level(told: Fields, item: Fields, named: list[Scene]) -> str:
    for text in (told.get("s2:product_type"), told.get("product:type"), item.get("collection")):
        if match := re.search(r"(1C|2A)", str(text).upper()):
            return f"L{match[1]}"
    return next((scene.processing_level for scene in named if scene.processing_level), "")


def _crs(item: Fields, tile: str) -> str:
    """The reference system that is told, or that of the tile's zone."""
    crs = fields.crs_name(item)
    if crs or not tile:
        return crs
    return f"EPSG:{(32700 if tile[3] < 'N' else 32600) + int(tile[1:3])}"


def _assets(item: Fields, baseline: float | None) -> dict[str, Asset]:
    """The finest file of each band."""
    chosen: dict[str, Asset] = {}
    applied = bool(item["properties"].get("earthsearch:boa_offset_applied"))
    for key, asset in fields.image_assets(item).items():
        band = _band(key, asset)
        if band is None:
            continue
        found = _asset(item, asset, band, baseline, offset_applied=applied)
        before = chosen.get(band)
        if before is None or (found.pixel_size_m or 1e9) < (before.pixel_size_m or 1e9):
            chosen[band] = found
    return {band: chosen[band] for band in sorted(chosen)}


def _asset(
    item: Fields, asset: Fields, band: str, baseline: float | None, *, offset_applied: bool
) -> Asset:
    size = fields.pixel_size_m(item, asset)
    if band in QUALITY_BANDS:
        return Asset(str(asset["href"]), pixel_size_m=size, index=int(asset.get("index", 1)))
    usual = fields.Scaling(_REFLECTANCE, reflectance_offset(baseline), nodata=0.0)
    told = fields.scaling(asset, usual)
    return Asset(
        href=str(asset["href"]),
        common_name=COMMON_NAMES["MSI"][band],
        scale=told.scale,
        offset=0.0 if offset_applied else told.offset,
        nodata=told.nodata,
        pixel_size_m=size,
    )


def _band(key: str, asset: Fields) -> str | None:
    """Name an asset's band by what it is called in the item, or by its file."""
    file = str(asset.get("href", "")).split("?")[0].rsplit("/", 1)[-1]
    for name in (fields.band_name(asset), key, file.rsplit(".", 1)[0]):
        if match := _BAND.search(name.upper().replace("_10M", "").replace("_20M", "")):
            return match[1]
    return None


def _notes(told: Fields, baseline: float | None) -> dict[str, Any]:
    angles = "simulated" if told.get("ogive:simulated") else "catalogue"
    kept = {
        "processing_baseline": None if baseline is None else f"{baseline:05.2f}",
        "product_id": fields.first_told(told, "s2:product_uri", "sentinel:product_id"),
        "sat:orbit_state": told.get("sat:orbit_state"),
        "view_angles": angles if "view:azimuth" in told else None,
    }
    return {name: value for name, value in kept.items() if value is not None}
