"""What a STAC item says, under the names of any version of its extensions.

Field names have changed: ``proj:epsg`` became ``proj:code``, ``eo:bands`` and ``raster:bands``
became ``bands``, ``eo:sun_azimuth`` became ``view:sun_azimuth``. Archives keep the names of the day
on which their items were made, so each question is put under all names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.errors import GEOSException

from ogive.model import InputError

__all__ = [
    "Scaling",
    "band_name",
    "cloud_cover_percent",
    "crs_name",
    "first_told",
    "footprint_wkt",
    "image_assets",
    "number",
    "pixel_size_m",
    "scaling",
    "sun_azimuth_deg",
    "sun_elevation_deg",
    "time_of",
]

Fields = Mapping[str, Any]

_NO_IMAGES = {"thumbnail", "overview", "metadata", "browse"}
_COORDINATE_DIGITS = 6  # a tenth of a metre


@dataclass(frozen=True, slots=True)
class Scaling:
    """From a file's numbers to values: ``scale * number + offset``, but for ``nodata``."""

    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None


def first_told(fields: Fields, *names: str) -> Any:
    """Find the first of several names under which something is told.

    Examples
    --------
    >>> first_told({"proj:epsg": None, "proj:code": "EPSG:32633"}, "proj:epsg", "proj:code")
    'EPSG:32633'
    """
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def number(value: Any, what: str) -> float | None:
    """Read a number; items also write them as text.

    Raises
    ------
    InputError
        If it is none.
    """
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is {value!r}, which is no number") from error


def time_of(item: Fields) -> datetime:
    """Read when an item's image was acquired, in UTC without a zone.

    Raises
    ------
    InputError
        If the item does not tell.
    """
    told = item["properties"]
    text = first_told(told, "datetime", "start_datetime")
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise InputError(f"item {item.get('id')} has no time: its datetime is {text!r}") from error
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def sun_azimuth_deg(item: Fields) -> float | None:
    """Direction of the sun, clockwise from north."""
    names = ("view:sun_azimuth", "s2:mean_solar_azimuth", "eo:sun_azimuth")
    azimuth = number(first_told(item["properties"], *names), f"sun azimuth of {item.get('id')}")
    return None if azimuth is None else azimuth % 360


def sun_elevation_deg(item: Fields) -> float | None:
    """Height of the sun above the horizon."""
    told, what = item["properties"], f"sun elevation of {item.get('id')}"
    elevation = number(first_told(told, "view:sun_elevation", "eo:sun_elevation"), what)
    zenith = number(told.get("s2:mean_solar_zenith"), what)
    return 90.0 - zenith if elevation is None and zenith is not None else elevation


def cloud_cover_percent(item: Fields) -> float | None:
    """Share of clouds; a negative one means that it was not estimated."""
    told = first_told(item["properties"], "eo:cloud_cover", "s2:cloud_cover", "cloud_cover")
    cover = number(told, f"cloud cover of {item.get('id')}")
    return None if cover is None or cover < 0 else cover


def crs_name(item: Fields) -> str:
    """Name the reference system of an item's images, by its EPSG code where it has one.

    Raises
    ------
    InputError
        If what the item names is no reference system.
    """
    images = list(item.get("assets", {}).values())
    for fields in (item["properties"], *images):
        told = first_told(fields, "proj:code", "proj:epsg", "proj:wkt2", "proj:projjson")
        if told is None:
            continue
        try:
            crs = CRS.from_user_input(int(told) if str(told).isdigit() else told)
        except CRSError as error:
            raise InputError(f"item {item.get('id')} names no reference system: {told}") from error
        code = crs.to_epsg()
        return str(crs.to_wkt()) if code is None else f"EPSG:{code}"
    return ""


def footprint_wkt(item: Fields) -> str:
    """Write the outline of an item in longitude and latitude, "" where there is none.

    Raises
    ------
    InputError
        If the geometry cannot be read.
    """
    try:
        if item.get("geometry"):
            outline = shapely.geometry.shape(item["geometry"])
        elif item.get("bbox"):
            outline = shapely.box(*_flat(item["bbox"]))
        else:
            return ""
        return str(shapely.to_wkt(outline, rounding_precision=_COORDINATE_DIGITS))
    except (GEOSException, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the outline of item {item.get('id')} cannot be read: {error}") from error


def _flat(bbox: list[float]) -> list[float]:
    """West, south, east, north of a box that may have heights."""
    half = len(bbox) // 2
    return [*bbox[:2], *bbox[half : half + 2]]


def image_assets(item: Fields) -> dict[str, Fields]:
    """Find the assets that are rasters of data: no previews, no metadata."""
    assets: dict[str, Fields] = {}
    for key, asset in item.get("assets", {}).items():
        kind = str(asset.get("type", ""))
        is_raster = "tif" in kind or "jp2" in kind or "jpeg2000" in kind
        by_name = str(asset.get("href", "")).lower().split("?")[0].endswith((".tif", ".jp2"))
        if (is_raster or (not kind and by_name)) and not _NO_IMAGES & {
            *asset.get("roles", ()),
            key,
        }:
            assets[key] = asset
    return assets


def scaling(asset: Fields, usual: Scaling) -> Scaling:
    """Read scale, offset and nodata of an asset's first band; what is not told is as usual."""
    band = {**asset, **_first_band(asset)}
    what = f"of {asset.get('href')}"
    scale = number(first_told(band, "raster:scale", "scale"), f"the scale {what}")
    offset = number(first_told(band, "raster:offset", "offset"), f"the offset {what}")
    nodata = number(first_told(band, "nodata"), f"the nodata value {what}")
    return Scaling(
        scale=usual.scale if scale is None else scale,
        offset=usual.offset if offset is None else offset,
        nodata=usual.nodata if nodata is None or nodata != nodata else nodata,
    )


def band_name(asset: Fields) -> str:
    """Name an asset's first band as its item does, "" where it does not."""
    return str(_first_band(asset).get("name", ""))


def pixel_size_m(item: Fields, asset: Fields) -> float | None:
    """Side of an asset's pixels."""
    transform = asset.get("proj:transform") or []
    if transform and abs(transform[0]) > 0:
        return abs(float(transform[0]))
    band = _first_band(asset)
    told = first_told({**asset, **band}, "spatial_resolution", "raster:spatial_resolution", "gsd")
    told = item["properties"].get("gsd") if told is None else told
    return number(told, f"resolution of {asset.get('href')}")


def _first_band(asset: Fields) -> Fields:
    """What an asset's items ``bands``, ``eo:bands`` and ``raster:bands`` say of its first band."""
    merged: dict[str, Any] = {}
    for name in ("raster:bands", "eo:bands", "bands"):
        bands = asset.get(name)
        if bands and isinstance(bands[0], Mapping):
            merged.update(bands[0])
    return merged
