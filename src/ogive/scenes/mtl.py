"""Landsat products as they are distributed, by their metadata file, told as a STAC item.

``*_MTL.txt``, ``*_MTL.xml`` and ``*_MTL.json`` say the same in three forms. As an item they take
the same way to a scene as what catalogues tell; see `ogive.scenes.landsat`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ogive.model import InputError

__all__ = ["mtl_item"]

_ENTRY = re.compile(r"^\s*(\w+)\s*=\s*\"?(.*?)\"?\s*$", re.MULTILINE)
_NEEDED = ("SPACECRAFT_ID", "DATE_ACQUIRED", "WRS_PATH", "WRS_ROW")
_QUALITY = {
    "FILE_NAME_QUALITY_L1_PIXEL": "QA_PIXEL",
    "FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION": "QA_RADSAT",
}
_CORNERS = ("UL", "UR", "LR", "LL", "UL")
_ANTARCTIC_POLAR_STEREOGRAPHIC = "EPSG:3031"


def mtl_item(path: str | Path) -> dict[str, Any]:
    """Tell what a Landsat metadata file says, in the form of a STAC item.

    Raises
    ------
    InputError
        If it cannot be read, or is no such file.
    """
    path = Path(path)
    told = _entries(path)
    missing = [key for key in _NEEDED if key not in told]
    if missing:
        raise InputError(f"{path} has no {', '.join(missing)}: it is no Landsat MTL file")
    clock = told.get("SCENE_CENTER_TIME", "00:00:00").rstrip("Z")[:15]
    properties = {
        "datetime": f"{told['DATE_ACQUIRED']}T{clock}Z",
        "platform": told["SPACECRAFT_ID"],
        "instruments": told.get("SENSOR_ID", "").lower().split("_"),
        "landsat:product_id": told.get("LANDSAT_PRODUCT_ID"),
        "landsat:scene_id": told.get("LANDSAT_SCENE_ID"),
        "landsat:correction": told.get("PROCESSING_LEVEL") or told.get("DATA_TYPE"),
        "landsat:wrs_type": told.get("WRS_TYPE"),
        "landsat:wrs_path": told["WRS_PATH"],
        "landsat:wrs_row": told["WRS_ROW"],
        "landsat:collection_number": told.get("COLLECTION_NUMBER"),
        "landsat:collection_category": told.get("COLLECTION_CATEGORY"),
        "eo:cloud_cover": told.get("CLOUD_COVER"),
        "view:sun_azimuth": told.get("SUN_AZIMUTH"),
        "view:sun_elevation": told.get("SUN_ELEVATION"),
        "proj:code": _crs_code(told, path),
    }
    return {
        "type": "Feature",
        "id": told.get("LANDSAT_PRODUCT_ID") or path.name.split("_MTL")[0],
        "geometry": _outline(told),
        "properties": {name: value for name, value in properties.items() if value is not None},
        "assets": _assets(told, path.parent),
    }


def _entries(path: Path) -> dict[str, str]:
    """Read the entries of all groups; of two of one name, the first, which is the product's own.

    A product of level 2 repeats the entries of the level 1 that it was made of, further down.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".xml":
            pairs: Iterator[tuple[str, Any]] = (
                (element.tag, element.text) for element in ElementTree.fromstring(text).iter()
            )
        elif path.suffix == ".json":
            pairs = _leaves(json.loads(text))
        else:
            pairs = ((match[1], match[2]) for match in _ENTRY.finditer(text))
        entries: dict[str, str] = {}
        for name, value in pairs:
            if value is not None and value != "NULL":
                entries.setdefault(name, str(value).strip())
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise InputError(f"{path} cannot be read as Landsat metadata: {error}") from error
    return entries


def _leaves(told: Any) -> Iterator[tuple[str, Any]]:
    for name, value in told.items() if isinstance(told, Mapping) else ():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield name, value


def _crs_code(told: Mapping[str, str], path: Path) -> str:
    """Landsat keeps to northern zones south of the equator too, with negative northings."""
    if told.get("MAP_PROJECTION") == "UTM":
        return f"EPSG:{32600 + int(told['UTM_ZONE'])}"
    if told.get("MAP_PROJECTION") == "PS" and float(told.get("TRUE_SCALE_LAT", 0)) == -71:
        return _ANTARCTIC_POLAR_STEREOGRAPHIC
    raise InputError(
        f"{path} is on a map projection that is not known: {told.get('MAP_PROJECTION')}"
    )


def _outline(told: Mapping[str, str]) -> dict[str, Any] | None:
    """Corners of the images, the fill beside the swath included."""
    names = [(f"CORNER_{c}_LON_PRODUCT", f"CORNER_{c}_LAT_PRODUCT") for c in _CORNERS]
    if not all(name in told for pair in names for name in pair):
        return None
    points = [[float(told[longitude]), float(told[latitude])] for longitude, latitude in names]
    return {"type": "Polygon", "coordinates": [points]}


def _assets(told: Mapping[str, str], folder: Path) -> dict[str, dict[str, Any]]:
    assets = {}
    product = told.get("LANDSAT_PRODUCT_ID", "")
    for name, file in told.items():
        if not file.startswith(product):
            continue  # of the level 1 that this product was made of
        band = name.removeprefix("FILE_NAME_BAND_")
        if band != name:
            kind = "TEMPERATURE" if band.startswith("ST_") else "REFLECTANCE"
            factor = told.get(f"{kind}_MULT_BAND_{band}")
            summand = told.get(f"{kind}_ADD_BAND_{band}")
            scaling = {} if factor is None else {"scale": factor, "offset": summand, "nodata": 0}
            assets[band] = {"href": str(folder / file), "raster:bands": [scaling]}
        elif name in _QUALITY:
            assets[_QUALITY[name]] = {"href": str(folder / file)}
    return assets
