"""Folders of GeoTIFF maps, one file per component, two dates in each name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import dask.array
import numpy as np
import rasterio
import xarray as xr
from dask.delayed import delayed
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.georeference import georeferenced
from ogive.model import DAYS_PER_YEAR, DateError, GridError, InputError
from ogive.store.cube import converted, stack

from .place import Found, Request

__all__ = ["read", "recognises"]

_DATE = r"(?:19|20)\d{2}-?[01]\d-?[0-3]\d"
_DATES = re.compile(rf"(?<!\d)({_DATE})(?:T\d{{6}})?[-_]+({_DATE})(?!\d)")
_COMPONENTS = {
    "vx": "vx", "vy": "vy", "errx": "vx_error", "erry": "vy_error", "error_vx": "vx_error",
    "error_vy": "vy_error", "vx_error": "vx_error", "vy_error": "vy_error", "vx_err": "vx_error",
    "vy_err": "vy_error",
}  # fmt: skip
# Longest first: "vx_error" holds "vx".
_COMPONENT = re.compile(
    r"(?<![A-Za-z0-9])("
    + "|".join(sorted(_COMPONENTS, key=len, reverse=True))
    + r")(?![A-Za-z0-9])"
)
_LANDSAT = re.compile(r"^L(?:S|C|E|T|O|andsat-?)?0?(\d)", re.IGNORECASE)
_SENTINEL2 = re.compile(r"^S(?:en(?:tinel)?-?)?2([A-D])?", re.IGNORECASE)


class _Map(NamedTuple):
    """What a file's name says: its pair (the name without the component) and its component."""

    path: Path
    pair: str
    component: str
    first: str
    second: str


def recognises(found: Found) -> bool:
    """Whether a folder holds maps of both components with two dates in their names."""
    components = {found.component for found in _maps(found.files)}
    return {"vx", "vy"} <= components


def read(request: Request) -> xr.Dataset:
    """Stack all pairs of a folder.

    A GeoTIFF says nothing of the velocity's units: they have to be given.
    """
    if request.units is None:
        raise InputError(
            f"the GeoTIFFs in {request.found.path} do not say in which units they are: pass "
            "units='meter/day' or units='meter/year'"
        )
    pairs: dict[str, list[_Map]] = {}
    for one in _maps(request.found.files):
        pairs.setdefault(one.pair, []).append(one)
    return stack([_layer(maps, request) for maps in pairs.values()])


def _maps(files: Iterable[Path]) -> list[_Map]:
    maps = []
    for path in files:
        if path.suffix.lower() not in (".tif", ".tiff"):
            continue
        dates, component = _DATES.search(path.stem), _COMPONENT.search(path.stem)
        if dates and component:
            start, end = component.span(1)
            name = path.stem[:start] + path.stem[end:]
            maps.append(
                _Map(
                    path, str(path.parent / name), _COMPONENTS[component.group(1)], *dates.groups()
                )
            )
    return maps


def _layer(maps: list[_Map], request: Request) -> xr.Dataset:
    fields = {}
    for one in maps:
        if one.component in fields:
            raise InputError(f"{one.path} gives {one.component} of its pair a second time")
        fields[one.component] = _map(one.path, request.crs)
    missing = {"vx", "vy"} - fields.keys()
    if missing:
        raise InputError(f"the pair of {maps[0].path} has no {' and no '.join(sorted(missing))}")
    grids = {field.odc.geobox for field in fields.values()}
    if len(grids) > 1:
        raise GridError(f"the maps of the pair of {maps[0].path} lie on different grids")
    layer = xr.Dataset({name: field.variable for name, field in fields.items()})
    layer = layer.assign_coords(next(iter(fields.values())).coords)
    layer = layer.assign_coords(_told(maps[0]))
    return converted(
        layer,
        units=request.units,
        days_per_year=request.days_per_year or DAYS_PER_YEAR,
        names=tuple(fields),
    )


def _map(path: Path, crs: str | None) -> xr.DataArray:
    try:
        with rasterio.open(path) as file:
            bands, shape, nodata = file.count, file.shape, file.nodata
            transform, own = file.transform, file.crs
    except rasterio.errors.RasterioIOError as error:
        raise InputError(f"{path} cannot be read as a GeoTIFF: {error}") from error
    if bands != 1:
        raise InputError(f"{path} has {bands} bands: one map per file is expected")
    if crs is None and own is None:
        raise GridError(f"{path} names no coordinate reference system: pass crs='EPSG:...'")
    box = GeoBox(shape, transform, crs or own)
    later = _values(path, nodata)
    values = dask.array.from_delayed(later, shape, np.float32)  # type: ignore[no-untyped-call]
    return georeferenced(values, box)


@delayed(pure=True)
def _values(path: Path, nodata: float | None) -> NDArray[np.float32]:
    """Read a map when it is needed, NaN where it says nodata."""
    with rasterio.open(path) as file:
        values = file.read(1).astype(np.float32)
    if nodata is not None:
        values[values == np.float32(nodata)] = np.nan
    return np.asarray(values, np.float32)


def _told(one: _Map) -> dict[str, object]:
    """Dates, satellites and where the pair comes from."""
    told: dict[str, object] = {"granule_url": Path(one.pair).name}
    for image, text in (("img1", one.first), ("img2", one.second)):
        try:
            told[f"acquisition_date_{image}"] = np.datetime64(_dashed(text), "ns")
        except ValueError as error:
            raise DateError(f"{one.path} is named after {text}, which is no date") from error
        name = one.path.name
        if match := _LANDSAT.match(name):
            told |= {f"mission_{image}": "L", f"satellite_{image}": match.group(1)}
        elif match := _SENTINEL2.match(name):
            told |= {f"mission_{image}": "S", f"satellite_{image}": f"2{match.group(1) or ''}"}
    return told


def _dashed(date: str) -> str:
    plain = date.replace("-", "")
    return f"{plain[:4]}-{plain[4:6]}-{plain[6:]}"
