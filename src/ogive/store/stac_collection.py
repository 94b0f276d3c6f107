"""A static STAC collection beside the GeoTIFFs of annual maps: one item a year, one of the whole.

STAC 1.1 (https://stacspec.org) with the projection extension, links relative, so that the folder
may lie anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from ogive.model import GridError
from ogive.store.atomic import atomic_path

__all__ = ["Asset", "Item", "write_collection"]

_VERSION = "1.1.0"
_POINTS = 16
_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_TYPES = {".tif": _COG, ".nc": "application/netcdf", ".png": "image/png", ".qml": "text/xml"}


class Asset(NamedTuple):
    """A file of an item."""

    file: str
    title: str
    units: str = ""


class Item(NamedTuple):
    """Maps of one stretch of time."""

    id: str
    start: np.datetime64
    end: np.datetime64
    assets: Mapping[str, Asset]
    properties: Mapping[str, Any]


def write_collection(
    folder: str | Path,
    items: Sequence[Item],
    grid: GeoBox,
    *,
    id: str,
    title: str,
    description: str,
    licence: str = "other",
) -> list[Path]:
    """Write ``collection.json`` and ``<item>.json`` for each item.

    Parameters
    ----------
    folder
        Where the files lie that the items name.
    items
        At least one.
    grid
        The grid that all maps share.
    id, title, description, licence
        Of the collection.

    Returns
    -------
    list of pathlib.Path
        The collection first.

    Raises
    ------
    GridError
        If the grid has no coordinate reference system.
    OutputError
        If a file cannot be written.
    """
    if grid.crs is None:
        raise GridError("a grid without a coordinate reference system has no place in a catalogue")
    folder = Path(folder)
    outline = _outline(grid)
    west, south = (min(corner[k] for corner in outline) for k in range(2))
    east, north = (max(corner[k] for corner in outline) for k in range(2))
    bbox = [west, south, east, north]
    geometry = {"type": "Polygon", "coordinates": [outline]}
    times = [_time(min(item.start for item in items)), _time(max(item.end for item in items))]
    collection = {
        "type": "Collection",
        "stac_version": _VERSION,
        "id": id,
        "title": title,
        "description": description,
        "license": licence,
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [times]}},
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *(
                {"rel": "item", "href": f"./{item.id}.json", "type": "application/geo+json"}
                for item in items
            ),
        ],
    }
    paths = [_write(folder / "collection.json", collection)]
    for item in items:
        told = _feature(item, grid, id, bbox, geometry)
        paths.append(_write(folder / f"{item.id}.json", told))
    return paths


def _outline(grid: GeoBox) -> list[list[float]]:
    """Edge of a grid in degrees, anticlockwise, with points enough that its sides may be curved."""
    bounds = grid.boundingbox
    share = np.linspace(0.0, 1.0, _POINTS, endpoint=False)
    x = bounds.left + (bounds.right - bounds.left) * np.concatenate(
        [share, np.ones(_POINTS), 1 - share, np.zeros(_POINTS)]
    )
    y = bounds.bottom + (bounds.top - bounds.bottom) * np.concatenate(
        [np.zeros(_POINTS), share, np.ones(_POINTS), 1 - share]
    )
    transformer = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    corners = [
        [round(float(v), 7) for v in place]
        for place in zip(*transformer.transform(x, y), strict=True)
    ]
    return [*corners, corners[0]]


def _feature(
    item: Item, grid: GeoBox, collection: str, bbox: list[float], geometry: dict[str, Any]
) -> dict[str, Any]:
    links = [
        {"rel": rel, "href": "./collection.json", "type": "application/json"}
        for rel in ("root", "parent", "collection")
    ]
    assert grid.crs is not None  # write_collection has refused others
    epsg = grid.crs.to_epsg()
    projection: dict[str, Any] = {
        "proj:code": None if epsg is None else f"EPSG:{epsg}",
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.transform)[:6],
    }
    if epsg is None:
        projection["proj:wkt2"] = grid.crs.to_wkt()
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": [_PROJECTION],
        "id": item.id,
        "collection": collection,
        "geometry": geometry,
        "bbox": bbox,
        "properties": {
            "datetime": None,
            "start_datetime": _time(item.start),
            "end_datetime": _time(item.end),
            **projection,
            **item.properties,
        },
        "links": links,
        "assets": {key: _asset(asset) for key, asset in item.assets.items()},
    }


def _asset(asset: Asset) -> dict[str, Any]:
    told: dict[str, Any] = {
        "href": f"./{asset.file}",
        "title": asset.title,
        "type": _TYPES[Path(asset.file).suffix],
        "roles": ["metadata" if asset.file.endswith(".qml") else "data"],
    }
    if asset.units:
        told["bands"] = [{"name": Path(asset.file).stem, "unit": asset.units}]
    return told


def _time(time: np.datetime64) -> str:
    seconds = int(time.astype("datetime64[s]").astype(np.int64))
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(path: Path, told: Mapping[str, Any]) -> Path:
    with atomic_path(path) as written:
        written.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
