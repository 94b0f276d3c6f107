"""Landsat: scenes from STAC items of Collections 1 and 2, levels 1 and 2.

Surface reflectance of Collection 2 is ``0.0000275 number - 0.2`` and top-of-atmosphere reflectance
of Landsat 8 and 9 ``0.00002 number - 0.1`` (before the division by the sine of the sun's height),
the same for all scenes [1]_. Level 1 of the older satellites is scaled scene by scene: where an
item does not tell how, the numbers stay as they are, which a match does not notice.

The size of a pixel is known by the sensor, and taken from there: items have told it wrongly.

References
----------
.. [1] USGS (2023), Landsat 8-9 Collection 2 Level 2 Science Product Guide, LSDS-1619.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import time
from typing import Any

from ogive.model import Asset, DateError, Scene

from . import item_fields as fields
from .bands import COMMON_NAMES
from .names import scene_from_name

__all__ = ["MISSION", "QUALITY_BANDS", "default_scaling", "recognises", "scene_of_item"]

MISSION = "landsat"
QUALITY_BANDS = ("QA_PIXEL", "QA_RADSAT")

SURFACE_REFLECTANCE = fields.Scaling(scale=2.75e-5, offset=-0.2, nodata=0.0)
SURFACE_TEMPERATURE = fields.Scaling(scale=0.00341802, offset=149.0, nodata=0.0)
TOP_OF_ATMOSPHERE = fields.Scaling(scale=2e-5, offset=-0.1, nodata=0.0)
NUMBERS = fields.Scaling(scale=1.0, offset=0.0, nodata=0.0)

_FILL_OF_QA_PIXEL = 1.0
_FILE = re.compile(r"_(?:(SR|ST)_)?(?:B(\d{1,2})|BAND(\d\d))(?:_VCID_1)?$")
_QUALITY = re.compile(r"(QA_PIXEL|QA_RADSAT)")
_PRODUCT_NAMES = ("landsat:landsat_product_id", "landsat:product_id", "title")
_THERMAL_BANDS = {"B10", "B11"}
_PIXEL_SIZE_M = 30.0
_PANCHROMATIC_PIXEL_SIZE_M = 15.0
_SCANNER_PIXEL_SIZE_M = 60.0

Fields = Mapping[str, Any]


def recognises(item: Fields) -> bool:
    """Whether an item is of Landsat."""
    told = item["properties"]
    platform = str(fields.first_told(told, "platform", "eo:platform") or "").lower()
    return "landsat" in platform or bool(re.match(r"L[COTEM]0[1-9]_", str(item.get("id", ""))))


def scene_of_item(item: Fields) -> Scene:
    """Read a scene from an item of Landsat.

    Raises
    ------
    InputError
        If the item lacks its time, or holds what cannot be read.
    """
    told = item["properties"]
    named = next(_named(item), None)
    satellite = _satellite(told, named)
    sensor = named.sensor if named is not None and named.sensor else _sensor(told)
    level = _level(told, named)
    return Scene(
        id=str(item["id"]),
        time=fields.time_of(item),
        mission=MISSION,
        satellite=satellite,
        sensor=sensor,
        path=_frame(told, "landsat:wrs_path", None if named is None else named.path),
        row=_frame(told, "landsat:wrs_row", None if named is None else named.row),
        sun_azimuth_deg=fields.sun_azimuth_deg(item),
        sun_elevation_deg=fields.sun_elevation_deg(item),
        cloud_cover_percent=fields.cloud_cover_percent(item),
        processing_level=level,
        crs=fields.crs_name(item),
        footprint=fields.footprint_wkt(item),
        assets=_assets(item, sensor, satellite, level),
        properties=_notes(item),
    )


def default_scaling(band: str, sensor: str, level: str) -> fields.Scaling:
    """Scale and offset of a band of Collection 2 where its item does not tell them.

    Examples
    --------
    >>> default_scaling("B5", "C", "L2SP").offset
    -0.2
    """
    if level.startswith("L2"):
        return SURFACE_TEMPERATURE if band in _THERMAL_BANDS else SURFACE_REFLECTANCE
    if sensor in {"C", "O"} and band not in _THERMAL_BANDS:
        return TOP_OF_ATMOSPHERE
    return NUMBERS


def common_names(sensor: str, satellite: str) -> Mapping[str, str]:
    """Names across sensors of the bands of one of Landsat's sensors."""
    return COMMON_NAMES.get(sensor + satellite if sensor == "M" else sensor, {})


def _named(item: Fields) -> Iterator[Scene]:
    for name in (*(item["properties"].get(name) for name in _PRODUCT_NAMES), item.get("id")):
        try:
            scene = scene_from_name(str(name)) if name else None
        except DateError:
            continue  # a name of another form tells nothing
        if scene is not None and scene.mission == MISSION:
            yield scene


def _satellite(told: Fields, named: Scene | None) -> str:
    platform = str(fields.first_told(told, "platform", "eo:platform") or "")
    if platform[-1:].isdigit():
        return platform[-1]
    return "" if named is None else named.satellite


def _sensor(told: Fields) -> str:
    """ITS_LIVE's letter of a sensor."""
    instruments = {str(name).lower() for name in told.get("instruments", ())}
    for names, letter in (
        ({"oli", "tirs"}, "C"),
        ({"oli"}, "O"),
        ({"etm"}, "E"),
        ({"etm+"}, "E"),
        ({"tm"}, "T"),
        ({"mss"}, "M"),
    ):
        if names <= instruments:
            return letter
    return ""


def _level(told: Fields, named: Scene | None) -> str:
    return str(told.get("landsat:correction") or ("" if named is None else named.processing_level))


def _frame(told: Fields, name: str, named: int | None) -> int | None:
    given = fields.number(told.get(name), name)
    return named if given is None else int(given)


def _assets(item: Fields, sensor: str, satellite: str, level: str) -> dict[str, Asset]:
    assets: dict[str, Asset] = {}
    for key, asset in fields.image_assets(item).items():
        href = str(asset["href"])
        size = _SCANNER_PIXEL_SIZE_M if sensor == "M" else _PIXEL_SIZE_M
        stem = href.split("?")[0].rsplit("/", 1)[-1].rsplit(".", 1)[0].upper()
        if quality := _QUALITY.search(stem) or _QUALITY.search(key.upper()):
            nodata = _FILL_OF_QA_PIXEL if quality[1] == "QA_PIXEL" else None
            assets[quality[1]] = Asset(href, nodata=nodata, pixel_size_m=size)
        elif match := _FILE.search(stem):
            band = f"B{int(match[2] or match[3])}"
            # Files of another form are another agency's product, of which nothing is supposed.
            usual = default_scaling(band, sensor, level) if match[2] else fields.Scaling()
            told = fields.scaling(asset, usual)
            common = common_names(sensor, satellite).get(band, "")
            assets[band] = Asset(
                href=href,
                common_name=common,
                scale=told.scale,
                offset=told.offset,
                nodata=told.nodata,
                pixel_size_m=_PANCHROMATIC_PIXEL_SIZE_M if common == "pan" else size,
            )
    return assets


def _notes(item: Fields) -> dict[str, Any]:
    told = item["properties"]
    names = (
        "landsat:scene_id",
        "landsat:collection_number",
        "landsat:collection_category",
        "landsat:wrs_type",
        "view:off_nadir",
    )
    kept = {name: told[name] for name in names if told.get(name) is not None}
    return kept | {"time_of_day_known": fields.time_of(item).time() != time.min}
