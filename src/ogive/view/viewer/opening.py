"""Opening what lies at a path as a product of the viewer: whatever ogive or its peers write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr

from ogive.georeference import with_crs
from ogive.model import InputError
from ogive.scenes.read import band_names, read_image, valid_mask
from ogive.store.readers import open_cube
from ogive.store.velocity_file import read_velocity

from .product import Kind, Layer, Product

__all__ = ["kind_of", "open_product"]

_NETCDF = {".nc", ".nc4", ".cdf"}
_GEOTIFF = {".tif", ".tiff"}
_ZARR = (".zmetadata", "zarr.json", ".zgroup")
_FIRST = ("v", "vx", "vy", "v_error", "vx_error", "vy_error")
_TITLES: Mapping[str, str] = {
    "v": "speed",
    "vx": "velocity along x",
    "vy": "velocity along y",
    "v_error": "error of the speed",
    "vx_error": "error of vx",
    "vy_error": "error of vy",
    "dx": "displacement along x in a period",
    "dy": "displacement along y in a period",
    "observations": "observations of a period",
    "flag": "why a point has no value",
    "cnt": "image pairs of a year",
    "error": "error of the speed",
    "a": "direction of flow",
    "correlation": "correlation at the peak",
}
_LONGEST_TITLE = 60
_YEAR = re.compile(r"\d{4}_\d{4}$|\d{4}$")


def kind_of(dataset: xr.Dataset) -> Kind | None:
    """Tell the kind of a dataset by its variables; ``None`` for what is no product.

    Examples
    --------
    >>> maps = {name: (("y", "x"), np.zeros((2, 2))) for name in ("vx", "vy")}
    >>> kind_of(xr.Dataset(maps))
    'velocity'
    >>> kind_of(xr.Dataset({"temperature": 1.0})) is None
    True
    """
    names = set(dataset.variables)
    if "trend_mask" in names:
        return "annual"
    if not {"vx", "vy"} <= names:
        return None
    dims = set(dataset["vx"].dims)
    if "time_bounds" in names and "time" in dims:
        return "series"
    if dims == {"y", "x"} or dataset["vx"].squeeze().ndim == 2:
        return "velocity"
    return "cube" if dims > {"y", "x"} else None


def open_product(path: str | Path, *, name: str | None = None, units: str | None = None) -> Product:
    """Open a cube, series, annual product or velocity map; large ones are not read yet.

    Parameters
    ----------
    path
        A Zarr store, a NetCDF file, a GeoTIFF with the bands vx and vy, a folder of image pairs.
    name
        What to call it, by default the file's name.
    units
        ``"meter/year"`` or ``"meter/day"``, where the files do not say.

    Raises
    ------
    InputError
        If there is nothing, it cannot be read, or it holds no velocities.
    """
    place = Path(path)
    name = name or place.name
    if not place.exists():
        raise InputError(f"there is nothing at {place}")
    if place.suffix.lower() in _GEOTIFF:
        return _velocity(_from_geotiff(place), name)
    zarr = place.is_dir() and any((place / store).exists() for store in _ZARR)
    if not zarr and place.suffix.lower() not in _NETCDF:
        return _cube(open_cube(place, units=units), name)
    dataset = _opened(place, zarr=zarr)
    kind = kind_of(dataset)
    if kind == "series":
        return _series(dataset, name)
    if kind == "annual":
        return _annual(dataset, name)
    if kind == "velocity":
        dataset.close()
        return _velocity(read_velocity(place), name)
    dataset.close()
    if kind is None and "z" not in dataset.dims:
        held = ", ".join(sorted(map(str, dataset.data_vars))[:8]) or "no variable"
        raise InputError(
            f"{place} holds no velocities that can be shown: it has {held}; give a cube, a series, "
            "an annual product or a velocity file"
        )
    return _cube(open_cube(place, units=units), name)


def _opened(place: Path, *, zarr: bool) -> xr.Dataset:
    try:
        dataset: xr.Dataset = xr.open_dataset(
            place,
            engine="zarr" if zarr else "netcdf4",
            decode_coords="all",
            decode_timedelta=False,
            chunks={} if zarr else None,
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{place} cannot be read, it may be truncated: {error}") from error
    return dataset


def _from_geotiff(place: Path) -> xr.Dataset:
    """Read vx and vy by their bands' names, or as the first two bands."""
    names = band_names(place)
    if len(names) < 2:
        raise InputError(
            f"{place} has one band, but a velocity map has vx and vy: give the NetCDF file, or a "
            "GeoTIFF with both"
        )
    named = {"vx", "vy"} <= set(names)
    fields = {}
    for name, number in (("vx", 1), ("vy", 2)):
        band = read_image(place, band=name if named else number)
        values = np.where(valid_mask(band), band.values, np.nan).astype(np.float32)
        fields[name] = band.drop_vars("valid", errors="ignore").copy(data=values)
        fields[name].attrs.setdefault("units", "meter/year")
    return xr.Dataset(fields)


def _placed(dataset: xr.Dataset) -> xr.Dataset:
    """Give a dataset its grid under the name that odc-geo reads."""
    for name, variable in dataset.variables.items():
        if "crs_wkt" in variable.attrs and name != "spatial_ref":
            crs = variable.attrs["crs_wkt"]
            return with_crs(dataset.drop_vars([name]), crs)
    return dataset


# ---- the kinds -----------------------------------------------------------------------------------


def _cube(cube: xr.Dataset, name: str) -> Product:
    first, second = (cube[f"acquisition_date_img{k}"].values for k in (1, 2))
    days = ((second - first) / np.timedelta64(1, "D")).round().astype(int)
    count = first.size
    sample = min(count, 25)
    label = f"median of {sample} of {count} pairs" if count > sample else f"median of {count} pairs"
    pairs = (
        f"{str(one)[:10]} to {str(other)[:10]} ({span} d)"
        for one, other, span in zip(first, second, days, strict=True)
    )
    layers = _layers(cube, {"mid_date", "y", "x"})
    return Product(name, "cube", cube, layers, (label, *pairs))


def _series(series: xr.Dataset, name: str) -> Product:
    series = _placed(series)
    bounds = series["time_bounds"].values
    frames = tuple(f"{str(a)[:10]} to {str(b)[:10]}" for a, b in bounds)
    layers = _layers(series, {"time", "y", "x"}) | _layers(series, {"y", "x"}, flow=False)
    return Product(name, "series", series, layers, frames)


def _velocity(velocity: xr.Dataset, name: str) -> Product:
    return Product(
        name,
        "velocity",
        velocity,
        _layers(velocity, {"y", "x"}),
        (_dates_of(velocity),),
        georeferenced=velocity.odc.crs is not None,
    )


def _dates_of(velocity: xr.Dataset) -> str:
    if "img_pair_info" in velocity:
        told = velocity["img_pair_info"].attrs
        days = [str(told.get(f"acquisition_date_img{k}", ""))[:8] for k in (1, 2)]
        if all(len(day) == 8 for day in days):
            return " to ".join(f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in days)
    return "one map"


def _annual(annual: xr.Dataset, name: str) -> Product:
    """Group the layers of the years (``v2018_2019``, ...) by what they show."""
    annual = _placed(annual)
    of_kind: dict[str, list[str]] = {}
    for name_, field in annual.data_vars.items():
        if set(field.dims) == {"y", "x"}:
            of_kind.setdefault(str(field.attrs.get("layer", name_)), []).append(str(name_))
    years = [v.removeprefix("v") for v in of_kind.get("v", []) if _YEAR.search(v)]
    layers: dict[str, Layer] = {}
    for kind, names in of_kind.items():
        variables = tuple(f"{kind}{year}" for year in years)
        if variables and set(variables) <= set(names):
            layers[kind] = _layer(kind, annual[variables[0]], variables)
            names = [n for n in names if n not in variables]
        for variable in names:
            key = f"{kind} of all years" if kind in layers else kind
            layers[key] = _layer(key, annual[variable], (variable,))
    frames = tuple(year.replace("_", "–") for year in years) or ("all years",)
    first = {key: layers[key] for key in _FIRST if key in layers}
    return Product(name, "annual", annual, first | layers, frames)


def _layers(dataset: xr.Dataset, dims: set[str], *, flow: bool = True) -> dict[str, Layer]:
    """Name what can be drawn, velocities first."""
    found = {
        str(name): field for name, field in dataset.data_vars.items()
        if set(field.dims) == dims and field.dtype.kind in "fiub"
    }  # fmt: skip
    if flow and not {"vx", "vy"} <= found.keys():
        raise InputError("vx and vy are not on the grid of the maps")
    if flow and "v" not in found:
        found = {"v": dataset["vx"], **found}
    order = [key for key in _FIRST if key in found]
    order += [key for key in found if key not in order]
    return {key: _layer(key, found[key], (key,)) for key in order}


def _layer(key: str, field: xr.DataArray, variables: tuple[str, ...]) -> Layer:
    told = str(field.attrs.get("long_name", field.attrs.get("description", "")))
    title = _TITLES.get(key) or told.split(",")[0] or key
    units = str(field.attrs.get("units", "")).replace("meter/year2", "m/yr²")
    units = units.replace("meter/year", "m/yr")
    if len(title) > _LONGEST_TITLE:
        title = key
    return Layer(key, title, "" if units == "1" else units, variables)
