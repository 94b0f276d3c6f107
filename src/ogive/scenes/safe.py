"""Sentinel-2 products as they are distributed (SAFE), told as a STAC item.

The product's metadata (``MTD_MSIL1C.xml``, ``MTD_MSIL2A.xml``) and those of its tile
(``MTD_TL.xml``; ``metadata.xml`` in cloud archives) complete each other, and either will do. As an
item they take the same way to a scene as what catalogues tell; see `ogive.scenes.sentinel2`.

A product's time is the start of its datatake, up to half an hour before the tile was seen: the
tile's own time is taken where it is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from ogive.model import InputError

from .outline import geographic_outline

__all__ = ["is_product", "safe_item"]

_PRODUCT = re.compile(r"(MTD_MSIL(1C|2A)|product_metadata)\.xml", re.IGNORECASE)
_TILE = re.compile(r"(MTD_TL|metadata)\.xml")
_SUFFIX = {"JPEG2000": ".jp2", "GeoTIFF": ".tif"}
_CLASSIFICATION_BANDS = ("MSK_CLASSI_OPAQUE", "MSK_CLASSI_CIRRUS", "MSK_CLASSI_SNOW")
_BAND_ORDER = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip

Element = ElementTree.Element


def is_product(folder: Path) -> bool:
    """Whether a folder is a product of Sentinel-2, by the files in it."""
    return any(_metadata_files(folder, _PRODUCT)) or any(_metadata_files(folder, _TILE))


def safe_item(folder: str | Path) -> dict[str, Any]:
    """Tell what the metadata of a product say, in the form of a STAC item.

    Parameters
    ----------
    folder
        The product's folder.

    Raises
    ------
    InputError
        If it holds no metadata, those of several tiles, or what cannot be read.
    """
    folder = Path(folder)
    product = _read(folder, _PRODUCT)
    tile = _read(folder, _TILE)
    if product is None and tile is None:
        raise InputError(
            f"{folder} holds no metadata of Sentinel-2: no MTD_MSI*.xml, no MTD_TL.xml"
        )
    properties = {**_of_product(product), **_of_tile(tile)}
    if "datetime" not in properties:
        raise InputError(f"the metadata in {folder} do not tell when the image was acquired")
    return {
        "type": "Feature",
        "id": _identifier(folder, properties),
        "geometry": _outline(product, tile),
        "properties": properties,
        "assets": _assets(folder, product, properties),
    }


def _metadata_files(folder: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """Files of a name in the folder itself or that of its one granule."""
    for pattern in ("*.xml", "GRANULE/*/*.xml"):
        yield from (path for path in sorted(folder.glob(pattern)) if name.fullmatch(path.name))


def _read(folder: Path, name: re.Pattern[str]) -> Element | None:
    found = list(_metadata_files(folder, name))
    if len(found) > 1:
        raise InputError(
            f"{folder} holds {len(found)} tiles ({', '.join(path.parent.name for path in found)}): "
            "products of one tile are read, as they are distributed since December 2016"
        )
    if not found:
        return None
    try:
        return ElementTree.parse(found[0]).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{found[0]} cannot be read: {error}") from error


def _text(root: Element | None, path: str) -> str | None:
    found = root.find(f".//{path}") if root is not None else None
    return found.text.strip() if found is not None and found.text else None


def _of_product(product: Element | None) -> dict[str, Any]:
    told = {
        "datetime": _text(product, "DATATAKE_SENSING_START")
        or _text(product, "PRODUCT_START_TIME"),
        "platform": (_text(product, "SPACECRAFT_NAME") or "").lower() or None,
        "sat:relative_orbit": _text(product, "SENSING_ORBIT_NUMBER"),
        "sat:orbit_state": (_text(product, "SENSING_ORBIT_DIRECTION") or "").lower() or None,
        "s2:product_uri": _text(product, "PRODUCT_URI") or _text(product, "PRODUCT_URI_2A"),
        "s2:product_type": _text(product, "PRODUCT_TYPE"),
        "s2:processing_baseline": _text(product, "PROCESSING_BASELINE"),
        "eo:cloud_cover": _text(product, "Cloud_Coverage_Assessment"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _of_tile(tile: Element | None) -> dict[str, Any]:
    if tile is None:
        return {}
    identifier = _text(tile, "TILE_ID") or ""
    named = re.match(r"S(2[A-D])_.*_L(1C|2A)_.*_T(\d\d[A-Z]{3})_N(\d\d\.\d\d)$", identifier)
    angles = _mean_view_angles(tile)
    told = {
        "datetime": _text(tile, "SENSING_TIME"),
        "platform": f"sentinel-{named[1].lower()}" if named else "sentinel-2",
        "s2:tile_id": identifier,
        "s2:product_type": f"S2MSI{named[2]}" if named else None,
        "s2:processing_baseline": named[4] if named else None,
        "grid:code": f"MGRS-{named[3]}" if named else None,
        "proj:code": _text(tile, "HORIZONTAL_CS_CODE"),
        "s2:mean_solar_zenith": _text(tile, "Mean_Sun_Angle/ZENITH_ANGLE"),
        "s2:mean_solar_azimuth": _text(tile, "Mean_Sun_Angle/AZIMUTH_ANGLE"),
        "eo:cloud_cover": _text(tile, "CLOUDY_PIXEL_PERCENTAGE"),
        "view:incidence_angle": angles.get("ZENITH_ANGLE"),
        "view:azimuth": angles.get("AZIMUTH_ANGLE"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _mean_view_angles(tile: Element) -> dict[str, float]:
    """The mean of the bands' mean angles; of azimuths, the mean direction."""
    means = tile.findall(".//Mean_Viewing_Incidence_Angle")
    pairs = [(_text(mean, "ZENITH_ANGLE"), _text(mean, "AZIMUTH_ANGLE")) for mean in means]
    known = np.array([pair for pair in pairs if None not in pair], float).reshape(-1, 2)
    known = known[np.isfinite(known).all(axis=1)]
    if not known.size:
        return {}
    direction = np.exp(1j * np.deg2rad(known[:, 1])).mean()
    azimuth = float(np.rad2deg(np.angle(direction)) % 360)
    return {"ZENITH_ANGLE": float(known[:, 0].mean()), "AZIMUTH_ANGLE": azimuth}


def _identifier(folder: Path, properties: Mapping[str, Any]) -> str:
    name = properties.get("s2:product_uri") or properties.get("s2:tile_id") or folder.name
    return str(name).removesuffix(".SAFE")


def _outline(product: Element | None, tile: Element | None) -> dict[str, Any] | None:
    """The outline of the images in the product, or of the whole tile."""
    text = _text(product, "EXT_POS_LIST")
    if text is not None:
        numbers = [float(number) for number in text.split()]
        points = [[x, y] for y, x in zip(numbers[::2], numbers[1::2], strict=True)]
        return {"type": "Polygon", "coordinates": [points]}
    corner = tile.find(".//Geoposition") if tile is not None else None
    code = _text(tile, "HORIZONTAL_CS_CODE")
    if tile is None or corner is None or code is None:
        return None
    return _square(tile, corner, code)


def _square(tile: Element, corner: Element, code: str) -> dict[str, Any]:
    left, top, step = (float(_text(corner, name) or 0) for name in ("ULX", "ULY", "XDIM"))
    pixels = float(_text(tile, "Size/NROWS") or 0)
    side = pixels * step
    box = GeoBox.from_bbox((left, top - side, left + side, top), code, shape=(1, 1))
    return dict(shapely.geometry.mapping(geographic_outline(box)))


def _assets(
    folder: Path, product: Element | None, properties: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Bands by the product's own list, or by the files that are there."""
    offsets = _offsets(product)
    quantity = _text(product, "BOA_QUANTIFICATION_VALUE") or _text(product, "QUANTIFICATION_VALUE")
    assets: dict[str, dict[str, Any]] = {}
    for file in _image_files(folder, product):
        match = re.search(r"_?(B(?:0[1-9]|1[0-2]|8A)|SCL)(?:_(\d\d)m)?$", file.stem)
        if match is None:
            continue
        scaling = {}
        if match[1] in _BAND_ORDER and quantity is not None:
            scale = 1 / float(quantity)
            scaling = {"scale": scale, "offset": offsets.get(match[1], 0.0) * scale, "nodata": 0}
        assets[file.stem] = {
            "href": str(file),
            "roles": ["data"],
            "raster:bands": [scaling],
            "gsd": float(match[2] or _native_size_m(match[1])),
            "bands": [{"name": match[1]}],
        }
    return assets | _classification(folder, properties)


def _offsets(product: Element | None) -> dict[str, float]:
    """What is added to the numbers of each band; nothing before baseline 04.00."""
    if product is None:
        return {}
    found = [*product.iter("BOA_ADD_OFFSET"), *product.iter("RADIO_ADD_OFFSET")]
    return {_BAND_ORDER[int(entry.get("band_id", 0))]: float(entry.text or 0) for entry in found}


def _native_size_m(band: str) -> int:
    if band in {"B02", "B03", "B04", "B08"}:
        return 10
    return 60 if band in {"B01", "B09", "B10"} else 20


def _image_files(folder: Path, product: Element | None) -> list[Path]:
    present = [
        path
        for pattern in ("GRANULE/*/IMG_DATA/**/*", "**/B??.*", "**/SCL.*")
        for path in sorted(folder.glob(pattern))
        if path.suffix.lower() in {".jp2", ".tif", ".tiff"}
    ]
    if present or product is None:
        return list(dict.fromkeys(present))
    granule = product.find(".//Granule")
    suffix = _SUFFIX.get(granule.get("imageFormat", "") if granule is not None else "", ".jp2")
    return [folder / f"{entry.text}{suffix}" for entry in product.iter("IMAGE_FILE")]


def _classification(folder: Path, properties: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Masks of opaque clouds, cirrus and snow: three bands of one file, since baseline 04.00."""
    found = sorted(folder.glob("GRANULE/*/QI_DATA/MSK_CLASSI_B00.*"))
    if not found or "s2:product_type" not in properties:
        return {}
    return {
        name: {"href": str(found[0]), "bands": [{"name": name}], "gsd": 60.0, "index": number}
        for number, name in enumerate(_CLASSIFICATION_BANDS, start=1)
    }
