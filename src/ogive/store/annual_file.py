"""Annual maps as they are published: a NetCDF file, a GeoTIFF of every layer, styles, a catalogue.

Names of layers are those of Rabatel et al. (2023): ``v2015_2016``, ``a``, ``cnt``, ``stdev``,
``stdeva``, ``flag``, ``trend_2015_2021``, ``trend_mask``; what ogive knows beyond that lies beside
them under names of the same kind (``vx2015_2016``, ``error2015_2016``, ``trend_error_2015_2021``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # what closing raises; it has no public name
from rasterio.errors import RasterioError

from ogive.georeference import with_crs
from ogive.model import DAYS_PER_YEAR, GridError, InputError, OutputError
from ogive.store.atomic import atomic_path
from ogive.store.mapping import grid_mapping
from ogive.store.qgis_style import category_style, flag_categories, layer_style, write_style
from ogive.store.schema import plain_attribute
from ogive.store.stac_collection import Asset, Item, write_collection

__all__ = ["annual_layers", "read_annual", "write_annual"]

_YEARLY = {"v": "v", "vx": "vx", "vy": "vy", "v_error": "error", "count": "cnt",
           "direction": "a"}  # fmt: skip
_WHOLE = ("a", "cnt", "stdev", "stdeva", "flag", "reason")
_TRENDS = ("trend", "trend_error", "p_value")
_STANDARD_NAMES = {
    "vx": "land_ice_surface_x_velocity",
    "vy": "land_ice_surface_y_velocity",
    "flag": "status_flag",
    "reason": "status_flag",
    "trend_mask": "status_flag",
}
_REFERENCES = "Rabatel et al. 2023, https://doi.org/10.3390/data8040066 (product and names)"


def annual_layers(product: xr.Dataset) -> xr.Dataset:
    """Name every map of annual maps as a layer on (y, x) of its own.

    Parameters
    ----------
    product
        What `ogive.annual` gives.

    Returns
    -------
    xarray.Dataset
        With the attribute ``layer`` on each variable: the kind it is of.

    Raises
    ------
    InputError
        If a variable is missing.
    """
    wanted = [*_YEARLY, *_WHOLE, *_TRENDS, "trend_mask", "year", "year_start", "year_end"]
    missing = [name for name in wanted if name not in product.variables]
    if missing:
        raise InputError(f"these are no annual maps: they lack {', '.join(missing)}")
    years = [str(name) for name in product["year"].values]
    span = f"{years[0].split('_')[0]}_{years[-1].split('_')[-1]}"
    layers: dict[str, xr.DataArray] = {}
    for name, short in _YEARLY.items():
        for k, year in enumerate(years):
            layer = product[name].isel(year=k, drop=True)
            bounds = [str(product[f"year_{e}"].values[k])[:10] for e in ("start", "end")]
            layers[f"{short}{year}"] = _layer(layer, short, f"{bounds[0]} to {bounds[1]}")
    for name in _WHOLE:
        layers[name] = _layer(product[name], name, "")
    for name in _TRENDS:
        layers[f"{name}_{span}"] = _layer(product[name], name, "")
    layers["trend_mask"] = _layer(product["trend_mask"], "trend_mask", "")
    places = {n: product[n].variable for n in ("y", "x", "spatial_ref") if n in product.coords}
    return xr.Dataset(layers, places, dict(product.attrs))


def _layer(field: xr.DataArray, kind: str, period: str) -> xr.DataArray:
    layer = field.drop_vars([n for n in field.coords if n not in ("y", "x", "spatial_ref")])
    attributes = {k: v for k, v in field.attrs.items() if k != "standard_name"}
    if kind in _STANDARD_NAMES:
        attributes["standard_name"] = _STANDARD_NAMES[kind]
    if period:
        attributes["long_name"] = f"{attributes['long_name']}, {period}"
    layer.attrs = {**attributes, "layer": kind}
    layer.encoding = {"grid_mapping": "spatial_ref"} if "spatial_ref" in layer.coords else {}
    return layer


def write_annual(product: xr.Dataset, folder: str | Path, *, name: str = "annual") -> list[Path]:
    """Write annual maps: ``<name>.nc``, ``<layer>.tif`` and ``.qml``, and a STAC collection.

    Parameters
    ----------
    product
        What `ogive.annual` or `ogive.store.geocube.mosaic` gives, on a grid with a coordinate
        reference system (which is kept).
    folder
        Where to write; files of those names are replaced.
    name
        Of the NetCDF file and of the collection.

    Returns
    -------
    list of pathlib.Path
        The files, the NetCDF first.

    Raises
    ------
    InputError
        If a variable is missing.
    GridError
        If there is no regular grid with a coordinate reference system.
    OutputError
        If a file cannot be written. (Files written before it stay; `ogive annual` publishes all or
        none.)
    """
    layers = annual_layers(product)
    grid = layers["a"].odc.geobox
    if not isinstance(grid, GeoBox) or grid.crs is None:
        raise GridError("annual maps without a coordinate reference system cannot be published")
    folder = Path(folder)
    paths = [_write_netcdf(layers, grid, folder / f"{name}.nc")]
    for key, layer in layers.data_vars.items():
        paths.append(_write_geotiff(layer, grid, folder / f"{key}.tif"))
        paths.append(write_style(folder / f"{key}.qml", _style(layer)))
    return paths + _write_catalogue(product, layers, grid, folder, name)


def read_annual(path: str | Path) -> xr.Dataset:
    """Read the layers of a published NetCDF file, with the grid as ``spatial_ref``.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_coords="all") as file:
            layers = file.load()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as annual maps: {error}") from error
    if "mapping" not in layers.coords:
        raise InputError(f"{path} holds no annual maps: it has no grid mapping")
    crs = layers["mapping"].attrs["crs_wkt"]
    return with_crs(layers.drop_vars("mapping"), crs)


# ---- files ---------------------------------------------------------------------------------------


def _write_netcdf(layers: xr.Dataset, grid: GeoBox, path: Path) -> Path:
    product = layers.drop_vars("spatial_ref", errors="ignore").copy()
    encoding: dict[str, dict[str, Any]] = {}
    for name, layer in product.data_vars.items():
        layer.encoding = {}
        layer.attrs = {k: plain_attribute(v, k) for k, v in layer.attrs.items()}
        layer.attrs["grid_mapping"] = "mapping"
        fill = np.float32(np.nan) if layer.dtype.kind == "f" else None
        encoding[str(name)] = {"zlib": True, "complevel": 2, "shuffle": True, "_FillValue": fill}
    for axis in ("x", "y"):
        product[axis] = product[axis].astype(np.float64)
        product[axis].attrs = {
            "standard_name": f"projection_{axis}_coordinate",
            "units": "m",
            "axis": axis.upper(),
        }
        encoding[axis] = {"_FillValue": None}
    product["mapping"] = grid_mapping(grid)
    product.attrs = _globals(layers)
    with atomic_path(path) as written:
        try:
            product.to_netcdf(written, engine="netcdf4", format="NETCDF4", encoding=encoding)
        except RuntimeError as error:  # NetCDF's library has no other word for a full disk
            raise OutputError(f"{path} cannot be written, the disk may be full: {error}") from error
    return path


def _globals(layers: xr.Dataset) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    program = f"ogive {version('ogive')}"
    told = {str(k): plain_attribute(v, k) for k, v in layers.attrs.items()}
    return {
        **told,
        "Conventions": "CF-1.11",
        "title": "Annual glacier surface flow velocities",
        "source": f"feature tracking in optical satellite images, aggregated by {program}",
        "institution": told.get("institution", "unspecified"),
        "references": _REFERENCES,
        "history": f"{now}: written by {program}",
        "days_per_year": DAYS_PER_YEAR,
    }


def _write_geotiff(layer: xr.DataArray, grid: GeoBox, path: Path) -> Path:
    """Write a layer in its own type; only speeds, errors and trends have averages as overviews."""
    values = layer.values
    averages = values.dtype.kind == "f" and layer.attrs["layer"] not in ("a", "p_value")
    profile: dict[str, Any] = {
        "driver": "COG",
        "compress": "deflate",
        "predictor": "yes",
        "blocksize": 512,
        "overview_resampling": "average" if averages else "nearest",
        "bigtiff": "if_safer",
        "count": 1,
        "dtype": values.dtype.name,
        "height": grid.shape[0],
        "width": grid.shape[1],
        "crs": str(grid.crs),
        "transform": grid.transform,
    }
    if values.dtype.kind == "f":
        profile["nodata"] = np.nan
    with atomic_path(path) as written:
        try:
            with rasterio.open(written, "w", **profile) as file:
                file.write(values, 1)
                file.set_band_description(1, str(layer.attrs["long_name"]))
                file.units = (str(layer.attrs.get("units", "")),)
                file.update_tags(1, **{str(k): str(v) for k, v in layer.attrs.items()})
            with rasterio.open(written) as file:  # GDAL may close on a full disk in silence
                whole = np.array_equal(file.read(1), values, equal_nan=values.dtype.kind == "f")
        except (CPLE_BaseError, RasterioError) as error:
            raise OutputError(f"{path} cannot be written, the disk may be full: {error}") from error
        if not whole:
            raise OutputError(f"{path} cannot be written whole")
    return path


def _style(layer: xr.DataArray) -> str:
    kind = layer.attrs["layer"]
    if kind == "reason":
        return category_style(flag_categories(layer, none="reliable"))
    return layer_style(layer, kind)


def _write_catalogue(
    product: xr.Dataset, layers: xr.Dataset, grid: GeoBox, folder: Path, name: str
) -> list[Path]:
    starts, ends = product["year_start"].values, product["year_end"].values
    years = [str(year) for year in product["year"].values]
    method = {"ogive:method": str(product.attrs.get("method", ""))}

    def assets(keys: list[str]) -> dict[str, Asset]:
        told = {}
        for key in keys:
            attributes = layers[key].attrs
            units = str(attributes.get("units", ""))
            told[key] = Asset(f"{key}.tif", str(attributes["long_name"]), units)
            told[f"{key}_style"] = Asset(f"{key}.qml", "QGIS style")
        return told

    of_years = [[f"{short}{year}" for short in _YEARLY.values()] for year in years]
    used = {key for keys in of_years for key in keys}
    rest = [str(key) for key in layers.data_vars if key not in used]
    items = [
        Item(f"{name}_{year}", start, end, assets(keys), method)
        for year, start, end, keys in zip(years, starts, ends, of_years, strict=True)
    ]
    whole = assets(rest) | {"netcdf": Asset(f"{name}.nc", "all layers")}
    items.append(Item(f"{name}_period", starts.min(), ends.max(), whole, method))
    return write_collection(
        folder,
        items,
        grid,
        id=name,
        title="Annual glacier surface flow velocities",
        description="Annual velocities of glaciers from optical satellite images, their spread, "
        "reliability and trend.",
    )
