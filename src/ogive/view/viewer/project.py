"""What a folder holds for the viewer: products, and what can lie under and beside them.

The page names products by the keys of this list and nothing else, so that no other file can be
asked for. What a link inside the folder points to outside of it is left out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import netCDF4
import numpy as np
import rasterio
import xarray as xr

from ogive.model import InputError

from .opening import kind_of
from .product import Kind

__all__ = ["Entry", "Project", "open_project"]

_ORDER: tuple[Kind, ...] = ("annual", "series", "cube", "velocity")
_ZARR = (".zmetadata", "zarr.json", ".zgroup")
_MOST_SCENES = 24
_DEM = ("dem", "elevation", "height")
_OUTLINES = ("outlines", "glaciers", "ice")
_VECTORS = {".gpkg", ".shp", ".geojson"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A product of a project: where it is, and its kind."""

    path: Path
    kind: Kind | None


@dataclass(frozen=True)
class Project:
    """A folder, or a single product.

    Parameters
    ----------
    name
        Of the folder or the file.
    products
        By their paths within the project; those to show first are at the front.
    elevation, scenes
        Rasters that can lie under the maps.
    outlines
        Polygons of the ice, if there are any.
    """

    name: str
    products: Mapping[str, Entry]
    elevation: Mapping[str, Path] = field(default_factory=dict)
    scenes: Mapping[str, Path] = field(default_factory=dict)
    outlines: Path | None = None

    def beside(self, name: str, kind: Kind) -> list[str]:
        """Name the products of a kind, those nearest to a product's folder first."""
        home = Path(name).parts
        found = [key for key, entry in self.products.items() if entry.kind == kind]
        return sorted(found, key=lambda key: -_shared(home, Path(key).parts))


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Tell how near two paths are: the same name first (a tile's), then folders in common."""
    folders = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(one, other, strict=False)))
    return 1000 * (one[-1] == other[-1]) + folders


def open_project(path: str | Path) -> Project:
    """List what can be shown.

    Parameters
    ----------
    path
        A folder of products, or one product (a Zarr store, a NetCDF file, a GeoTIFF).

    Raises
    ------
    InputError
        If there is nothing at the path, or nothing in it can be shown.
    """
    root = Path(path).resolve()
    if not root.exists():
        raise InputError(f"there is nothing at {path}")
    if root.is_file() or _is_zarr(root):
        return Project(root.name, {root.name: Entry(root, None)})
    places = list(_inside(root))
    entries = {str(p.relative_to(root)): Entry(p, _kind(p)) for p in places if _may_be_product(p)}
    known = {name: entry for name, entry in entries.items() if entry.kind is not None}
    if not known:
        # Maps without a schema: a folder of pairs of GeoTIFFs is one cube.
        if any(p.suffix.lower() in (".tif", ".tiff") for p in places):
            return Project(root.name, {root.name: Entry(root, "cube")})
        raise InputError(
            f"{path} holds no cube, series, annual product or velocity file: give the folder that "
            "an ogive command wrote, or a product"
        )
    ordered = sorted(known, key=lambda n: (_ORDER.index(known[n].kind or "velocity"), n))
    elevation, scenes = _rasters(places, root)
    return Project(
        root.name, {n: known[n] for n in ordered}, elevation, scenes, _outlines_of(places)
    )


def _inside(root: Path) -> Iterator[Path]:
    """Walk the folder; stores are single things, and links that lead out are told and passed."""
    for folder, names, files in os.walk(root):
        here = Path(folder)
        stores = [n for n in names if _is_zarr(here / n)]
        names[:] = sorted(n for n in names if n not in stores and not n.startswith("."))
        for name in sorted([*files, *stores]):
            place = here / name
            if name.startswith("."):
                continue
            if not place.resolve().is_relative_to(root):
                _log.warning("%s leads out of the project and is not shown", place)
                continue
            yield place


def _is_zarr(place: Path) -> bool:
    return place.is_dir() and any((place / name).exists() for name in _ZARR)


def _may_be_product(place: Path) -> bool:
    return place.suffix == ".nc" or _is_zarr(place)


def _kind(place: Path) -> Kind | None:
    """Tell what a file holds by its variables, without reading them."""
    if "_X_" in place.name and place.suffix == ".nc":
        return "velocity"  # named as image pairs are; a project may have thousands
    try:
        if place.is_dir():
            with xr.open_dataset(place, engine="zarr", chunks=None, decode_times=False) as dataset:
                return kind_of(dataset)
        with netCDF4.Dataset(place) as file:
            dims = {name: variable.dimensions for name, variable in file.variables.items()}
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        _log.warning("%s cannot be read and is not shown: %s", place, error)
        return None
    return kind_of(_skeleton(dims))


def _skeleton(dims: Mapping[str, tuple[str, ...]]) -> xr.Dataset:
    """Make a dataset with the variables and dimensions of a file, and no data."""
    return xr.Dataset({name: (d, np.empty((0,) * len(d), np.int8)) for name, d in dims.items()})


def _rasters(places: list[Path], root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Tell elevation models, by their names, and scenes, by their whole numbers."""
    elevation: dict[str, Path] = {}
    scenes: dict[str, Path] = {}
    for place in places:
        if place.suffix.lower() not in (".tif", ".tiff", ".jp2"):
            continue
        name = str(place.relative_to(root))
        if place.stem.lower().startswith(_DEM):
            elevation[name] = place
        elif len(scenes) < _MOST_SCENES and _is_scene(place):
            scenes[name] = place
    return elevation, scenes


def _is_scene(place: Path) -> bool:
    try:
        with rasterio.open(place) as file:
            return file.dtypes[0] == "uint16" and file.crs is not None
    except rasterio.errors.RasterioIOError:
        return False


def _outlines_of(places: list[Path]) -> Path | None:
    found = [
        p for p in places
        if p.suffix.lower() in _VECTORS and p.stem.lower().startswith(_OUTLINES)
    ]  # fmt: skip
    return found[0] if found else None
