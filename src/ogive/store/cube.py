"""The canonical cube: many velocity maps on one grid, along ``mid_date``.

Names and units are ITS_LIVE's (``vx, vy`` in meter/year, ``acquisition_date_img1`` and ``_img2``,
``date_dt``, ``satellite_img1``, ...), the year has 365.25 days, the grid is the coordinate
``spatial_ref``. Everything is lazy: a cube may be larger than memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import dask.array
import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr
from dask.delayed import delayed
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.ndimage import map_coordinates

from ogive.georeference import with_crs
from ogive.model import ATTRIBUTES, DAYS_PER_YEAR, DateError, GridError, InputError, OutputError
from ogive.store.atomic import atomic_dir, atomic_path
from ogive.store.mapping import grid_mapping
from ogive.store.pair_info import pair_from_information

__all__ = ["DIMS", "canonical", "converted", "stack", "write_cube"]

Array = NDArray[Any]
Resampling = Literal["bilinear", "nearest"]

DIMS = ("mid_date", "y", "x")

PER_PAIR = (
    "acquisition_date_img1", "acquisition_date_img2", "date_dt", "mission_img1", "mission_img2",
    "satellite_img1", "satellite_img2", "sensor_img1", "sensor_img2", "roi_valid_percentage",
    "granule_url", "relative_orbit_img1", "relative_orbit_img2", "path_img1", "path_img2",
)  # fmt: skip
"""What a cube tells of each pair, where it is known."""

_FROM_ATTRIBUTES = (
    "error", "error_stationary", "error_modeled", "error_slow", "stable_shift",
    "stable_shift_stationary", "stable_shift_slow",
)  # fmt: skip
_TEXT = {"mission", "satellite", "sensor", "granule_url"}
# Bytes of a chunk of one variable on the disk: many dates of few pixels, as the inversion reads.
_CHUNK_BYTES = 16e6

_YEAR_UNITS = {"meter/year", "meters/year", "m/yr", "m/y", "m/a", "m yr-1", "m/year", "m a-1"}
_DAY_UNITS = {"meter/day", "meters/day", "m/d", "m/day", "m d-1", "m day-1"}


def unit_factor(units: str, days_per_year: float) -> float:
    """Factor from the units of a velocity to meter per year of 365.25 days.

    Examples
    --------
    >>> unit_factor("m/d", 365.25), unit_factor("m/yr", 365.0) * 365
    (365.25, 365.25)
    """
    plain = units.strip().lower()
    if plain in _YEAR_UNITS:
        return DAYS_PER_YEAR / days_per_year
    if plain in _DAY_UNITS:
        return DAYS_PER_YEAR
    raise InputError(
        f"velocities in {units!r} are not understood: pass units='meter/year' or 'meter/day'"
    )


def converted(
    cube: xr.Dataset, *, units: str | None, days_per_year: float, names: Iterable[str]
) -> xr.Dataset:
    """Convert variables to meter per year of 365.25 days, exactly, keeping them lazy.

    Parameters
    ----------
    cube
        A dataset with velocities.
    units
        Their units, or ``None`` to believe each variable's attribute.
    days_per_year
        Length of the producer's year.
    names
        The variables to convert; those that are missing are passed over.

    Raises
    ------
    InputError
        If a variable's units are missing or unknown.
    """
    cube = cube.copy()
    default = units or cube["vx"].attrs.get("units")
    for name in names:
        if name not in cube:
            continue
        stated = units or cube[name].attrs.get("units") or default
        if stated is None:
            raise InputError(f"{name} states no units: pass units='meter/year' or 'meter/day'")
        factor = unit_factor(stated, days_per_year)
        attributes = dict(cube[name].attrs)
        if factor != 1.0:
            cube[name] = (cube[name].astype(np.float64) * factor).astype(np.float32)
        cube[name].attrs = {**attributes, "units": "meter/year"}
    return cube


def canonical(cube: xr.Dataset, crs: Any) -> xr.Dataset:
    """Bring a cube into canonical shape: order, dates, types, attributes, grid.

    Parameters
    ----------
    cube
        ``vx, vy`` in meter/year on (mid_date, y, x), ``acquisition_date_img1`` and ``_img2``.
    crs
        Its coordinate reference system, as anything that odc-geo understands.

    Returns
    -------
    xarray.Dataset
        Sorted by ``mid_date``; ``vx, vy`` and errors float32; ``spatial_ref`` as a coordinate.

    Raises
    ------
    DateError
        If an acquisition date is missing as a variable or is no date.
    GridError
        If there is no coordinate reference system, or no regular grid.
    """
    dates = {}
    for name in ("acquisition_date_img1", "acquisition_date_img2"):
        if name not in cube.variables or cube[name].dtype.kind != "M":
            raise DateError(f"the cube has no dates in '{name}': every pair needs both")
        dates[name] = cube[name].values.astype("datetime64[ns]")
    first, second = dates.values()
    cube = cube.drop_vars([name for name in (*dates, "mid_date") if name in cube.variables])
    along = dates | {
        "mid_date": first + (second - first) / 2,
        "date_dt": (second - first) / np.timedelta64(1, "D"),
    }
    cube = cube.assign_coords({name: ("mid_date", value) for name, value in along.items()})
    cube = cube.set_coords([n for n in PER_PAIR if n in cube.data_vars])
    maps = [name for name, field in cube.data_vars.items() if set(field.dims) == set(DIMS)]
    cube = cube.assign({name: cube[name].transpose(*DIMS) for name in maps})
    for name in ("vx", "vy", "v", "vx_error", "vy_error", "v_error"):
        if name in cube:
            attributes = {**cube[name].attrs, **ATTRIBUTES[name]}
            attributes.pop("grid_mapping", None)
            cube[name] = cube[name].astype(np.float32)
            cube[name].attrs = attributes
    for variable in cube.variables.values():
        variable.encoding = {}
    cube["mid_date"].attrs = {"long_name": "middle between the two acquisitions", "axis": "T"}
    cube["date_dt"].attrs = {"long_name": "time between the two acquisitions", "units": "days"}
    cube.attrs["days_per_year"] = DAYS_PER_YEAR
    if crs is None:
        raise GridError("the cube names no coordinate reference system: pass crs='EPSG:...'")
    order = np.argsort(cube["mid_date"].values, kind="stable")
    if np.any(order != np.arange(order.size)):
        cube = cube.isel(mid_date=order)
    return placed(cube, crs)


def placed(cube: xr.Dataset, crs: Any) -> xr.Dataset:
    """Give a dataset its coordinate reference system as ``spatial_ref``, in place of others."""
    old = [
        name for name, variable in cube.variables.items()
        if {"crs_wkt", "spatial_ref", "grid_mapping_name"} & set(variable.attrs)
    ]  # fmt: skip
    try:
        return with_crs(cube.drop_vars(old), crs)
    except Exception as error:  # odc-geo lets pyproj's errors and its own through
        raise GridError(
            f"the coordinate reference system {crs!r} is not understood: {error}"
        ) from error


def crs_of(dataset: xr.Dataset) -> Any:
    """Find the coordinate reference system that a dataset states, or ``None``."""
    for variable in dataset.variables.values():
        for key in ("crs_wkt", "spatial_ref"):
            if variable.attrs.get(key):
                return variable.attrs[key]
    projection = dataset.attrs.get("projection")
    if projection:
        return f"EPSG:{projection}" if str(projection).isdigit() else str(projection)
    return dataset.attrs.get("crs_wkt") or dataset.attrs.get("proj4")


def stack(
    layers: Sequence[xr.Dataset],
    *,
    grid: GeoBox | None = None,
    resampling: Resampling = "bilinear",
) -> xr.Dataset:
    """Stack velocity maps of single pairs into a cube on one grid.

    Parameters
    ----------
    layers
        Velocity maps in meter/year on (y, x), each with the dates of its pair: as scalar
        coordinates (as `ogive.velocity` gives them) or in ``img_pair_info`` (as
        `ogive.read_velocity` and ITS_LIVE's granules do).
    grid
        Grid of the cube. By default that of the first layer, extended to hold all layers.
    resampling
        How layers on other grids of the same projection are brought onto it. ``"bilinear"``
        interpolates between those neighbours that have a value, where they hold half the weight.

    Returns
    -------
    xarray.Dataset
        The canonical cube; each layer keeps its dates, satellites, sensors, errors and shifts.

    Raises
    ------
    GridError
        If layers differ in projection (components along other axes cannot be mixed), or have none.
    DateError
        If a layer has no dates, or reversed or equal ones.
    InputError
        If there is no layer, a variable is missing, or a pair occurs twice.

    Examples
    --------
    >>> import odc.geo.xr
    >>> box = GeoBox.from_bbox((0, 0, 360, 240), "EPSG:32607", resolution=120)
    >>> def layer(first, second):
    ...     still = odc.geo.xr.xr_zeros(box, dtype="float32")
    ...     times = {"acquisition_date_img1": np.datetime64(first, "ns"),
    ...              "acquisition_date_img2": np.datetime64(second, "ns")}
    ...     return xr.Dataset({"vx": still, "vy": still}).assign_coords(times)
    >>> cube = stack([layer("2018-03-14", "2018-03-29"), layer("2018-03-04", "2018-03-14")])
    >>> dict(cube.sizes), cube.date_dt.values
    ({'mid_date': 2, 'y': 2, 'x': 3}, array([10., 15.]))
    """
    if not layers:
        raise InputError("there is no layer to stack")
    told = [_told(layer, k) for k, layer in enumerate(layers)]
    _check_pairs(told)
    grid = grid or _common_grid(layers)
    names = _stacked_names(layers)
    if resampling not in ("bilinear", "nearest"):
        raise InputError(f'resampling {resampling!r} is unknown: use "bilinear" or "nearest"')
    moved = [_on_grid(layer, grid, names, resampling) for layer in layers]
    cube = xr.concat(moved, dim="mid_date", combine_attrs="drop")
    cube = cube.assign_coords({name: grid.coordinates[name].values for name in ("y", "x")})
    # Layers have attributes of their own; those that all of the cube share are given.
    for name in names:
        cube[name].attrs = dict(ATTRIBUTES.get(name, {}))
    for name in dict.fromkeys(key for information in told for key in information):
        if name not in cube.data_vars:
            cube[name] = ("mid_date", _column(name, told))
    return canonical(cube, grid.crs)


def _told(layer: xr.Dataset, number: int) -> dict[str, Any]:
    """Collect what a layer tells of its pair."""
    information: dict[str, Any] = {}
    if "img_pair_info" in layer.variables:
        pair_attributes = layer["img_pair_info"].attrs
        pair = pair_from_information(pair_attributes)
        information["acquisition_date_img1"] = np.datetime64(pair.earlier.time, "ns")
        information["acquisition_date_img2"] = np.datetime64(pair.later.time, "ns")
        information |= {k: v for k, v in pair_attributes.items() if k in PER_PAIR[3:]}
    for name in PER_PAIR:
        if name in layer.variables and layer[name].ndim == 0:
            information[name] = layer[name].values[()]
    missing = [name for name in PER_PAIR[:2] if name not in information]
    if missing:
        raise DateError(f"layer {number} of the stack has no {' and no '.join(missing)}")
    first, second = (information[name] for name in PER_PAIR[:2])
    if not first < second:
        raise DateError(
            f"layer {number} of the stack runs from {first} to {second}: the first date must be "
            "the earlier one; swap the dates and the sign of the velocity, or leave it out"
        )
    for component in ("vx", "vy"):
        if component not in layer:
            raise InputError(f"layer {number} of the stack has no variable '{component}'")
        attributes = layer[component].attrs
        for name in _FROM_ATTRIBUTES:
            if name in attributes and f"{component}_{name}" not in layer:
                information[f"{component}_{name}"] = float(attributes[name])
        if "stable_shift_flag" in attributes:
            information["stable_shift_flag"] = float(attributes["stable_shift_flag"])
    return information


def _check_pairs(told: Sequence[Mapping[str, Any]]) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    for k, information in enumerate(told):
        key = tuple(
            str(information.get(name, "")) for name in PER_PAIR if name != "roi_valid_percentage"
        )
        if key in seen:
            raise InputError(
                f"layers {seen[key]} and {k} of the stack are the same pair (from "
                f"{information['acquisition_date_img1']} to "
                f"{information['acquisition_date_img2']}): leave one out"
            )
        seen[key] = k


def _common_grid(layers: Sequence[xr.Dataset]) -> GeoBox:
    """Extend the first layer's grid to hold all layers."""
    boxes = [_geobox(layer, k) for k, layer in enumerate(layers)]
    grid = boxes[0]
    for k, box in enumerate(boxes):
        if box.crs != grid.crs:
            raise GridError(
                f"layer {k} of the stack is in {_name(box)} but layer 0 is in {_name(grid)}: their "
                "components point elsewhere; reproject the images, not the velocities"
            )
    bounds = [box.boundingbox for box in boxes]
    size_x, size_y = abs(grid.resolution.x), abs(grid.resolution.y)
    own = grid.boundingbox
    # Whole pixels only, so that the first layer keeps its values; half a pixel does not count.
    left = math.ceil((own.left - min(b.left for b in bounds)) / size_x - 0.5)
    right = math.ceil((max(b.right for b in bounds) - own.right) / size_x - 0.5)
    low = math.ceil((own.bottom - min(b.bottom for b in bounds)) / size_y - 0.5)
    high = math.ceil((max(b.top for b in bounds) - own.top) / size_y - 0.5)
    top, bottom = (high, low) if grid.resolution.y < 0 else (low, high)
    columns = max(left, 0), max(right, 0)
    rows = max(top, 0), max(bottom, 0)
    shape = grid.shape.y + sum(rows), grid.shape.x + sum(columns)
    a, b, c, d, e, f = tuple(grid.affine)[:6]
    corner = c - columns[0] * a, f - rows[0] * e
    return GeoBox(shape, type(grid.affine)(a, b, corner[0], d, e, corner[1]), grid.crs)


def _name(box: GeoBox) -> str:
    """Name a projection shortly where it has a code."""
    code = None if box.crs is None else box.crs.to_epsg()
    return f"EPSG:{code}" if code else str(box.crs)


def _geobox(layer: xr.Dataset, number: int) -> GeoBox:
    geobox = layer["vx"].odc.geobox
    if not isinstance(geobox, GeoBox) or geobox.crs is None:
        raise GridError(
            f"layer {number} of the stack has no regular grid with a coordinate reference system"
        )
    return geobox


def _stacked_names(layers: Sequence[xr.Dataset]) -> list[str]:
    """Name the maps that all layers have."""
    maps = layers[0].data_vars.items()
    names = [str(name) for name, variable in maps if set(variable.dims) == {"y", "x"}]
    return [name for name in names if all(name in layer for layer in layers)]


def _on_grid(
    layer: xr.Dataset, grid: GeoBox, names: Sequence[str], resampling: Resampling
) -> xr.Dataset:
    geobox = layer["vx"].odc.geobox
    if geobox.crs != grid.crs:
        raise GridError(f"a layer is in {_name(geobox)} but the grid in {_name(grid)}")
    maps = {}
    for name in names:
        field = layer[name].transpose("y", "x").variable
        if geobox != grid:
            # Codes are no numbers to interpolate between.
            order = 1 if resampling == "bilinear" and field.dtype.kind == "f" else 0
            field = xr.Variable(("y", "x"), _moved(field.data, geobox, grid, order))
        maps[name] = field
    return xr.Dataset(maps)


def _moved(values: Any, geobox: GeoBox, grid: GeoBox, order: int) -> Any:
    """Resample one map, now or when it is needed."""
    if isinstance(values, np.ndarray):
        return _resampled(values, geobox, grid, order)
    later = delayed(_resampled, pure=True)(values, geobox, grid, order)
    return dask.array.from_delayed(later, tuple(grid.shape), values.dtype)  # type: ignore[no-untyped-call]


def _resampled(values: Array, geobox: GeoBox, grid: GeoBox, order: int) -> Array:
    """Interpolate between the neighbours that have a value, if they hold half the weight."""
    x, y = (grid.coordinates[name].values for name in ("x", "y"))
    own_x, own_y = (geobox.coordinates[name].values[0] for name in ("x", "y"))
    column = (x - own_x) / geobox.resolution.x
    row = (y - own_y) / geobox.resolution.y
    at = np.meshgrid(row, column, indexing="ij")
    if values.dtype.kind != "f":
        return np.asarray(map_coordinates(values, at, order=0, mode="constant", cval=0))
    known = np.isfinite(values)
    weight = map_coordinates(known.astype(np.float64), at, order=order, mode="constant", cval=0)
    filled = np.where(known, values, 0).astype(np.float64)
    total = map_coordinates(filled, at, order=order, mode="constant", cval=0)
    enough = weight >= 0.5
    moved = np.where(enough, total / np.where(enough, weight, 1), np.nan)
    return np.asarray(moved, values.dtype)


def _column(name: str, told: Sequence[Mapping[str, Any]]) -> Array:
    if name.startswith("acquisition_date"):
        return np.array([information[name] for information in told], "datetime64[ns]")
    if any(name.startswith(text) for text in _TEXT):
        return np.array([str(information.get(name, "")) for information in told])
    return np.array([float(information.get(name, np.nan)) for information in told])


def write_cube(cube: xr.Dataset, path: str | Path) -> Path:
    """Write a cube (or the series of an inversion) so that it appears whole or not at all.

    Lazy arrays are computed and written chunk by chunk, so that memory holds a few chunks only.

    Parameters
    ----------
    cube
        A dataset on a grid with a coordinate reference system.
    path
        ``*.zarr`` becomes a Zarr store (format 2), anything else a NetCDF-4 file.

    Raises
    ------
    GridError
        If there is no regular grid.
    OutputError
        If it cannot be written; nothing half-written is left.
    """
    geobox = cube["vx"].odc.geobox
    if not isinstance(geobox, GeoBox) or geobox.crs is None:
        raise GridError("a cube without a regular grid in some projection cannot be written")
    product = cube.drop_vars("spatial_ref", errors="ignore").copy()
    for variable in product.variables.values():
        variable.encoding = {}
    product["mapping"] = grid_mapping(geobox)
    for name, field in product.data_vars.items():
        # What is canonical is in meter/year, whether its attributes say so or not.
        field.attrs = {**ATTRIBUTES.get(str(name), {}), **field.attrs}
        field.attrs.pop("grid_mapping", None)
        if {"y", "x"} <= set(field.dims):
            product[name].attrs["grid_mapping"] = "mapping"
    product["x"].attrs = {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"}
    product["y"].attrs = {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"}
    product.attrs.setdefault("Conventions", "CF-1.11")
    product.attrs["days_per_year"] = DAYS_PER_YEAR
    product = product.reset_coords([n for n in PER_PAIR if n in product.coords])
    if str(path).endswith(".zarr"):
        _write_zarr(product, path)
    else:
        with atomic_path(path) as written:
            try:
                product.to_netcdf(written, engine="netcdf4", encoding=_times(product))
            except RuntimeError as error:  # NetCDF's library has no other word for a full disk
                raise OutputError(f"{path} cannot be written: {error}") from error
    return Path(path)


def _times(product: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Keep times to the microsecond: the default counts whole days where all are midnights."""
    units = {"units": "microseconds since 1970-01-01", "dtype": "int64"}
    return {str(name): dict(units) for name, v in product.variables.items() if v.dtype.kind == "M"}


def _write_zarr(product: xr.Dataset, path: str | Path) -> None:
    encoding = _times(product)
    for name, variable in product.variables.items():
        if len(variable.dims) == 3 and variable.chunks is None:
            depth = variable.shape[0]
            side = max(int((_CHUNK_BYTES / 4 / max(depth, 1)) ** 0.5), 10)
            chunks = (depth, min(side, variable.shape[1]), min(side, variable.shape[2]))
            encoding.setdefault(str(name), {})["chunks"] = chunks
    with atomic_dir(path) as written:
        # Format 3 has no specification for text yet; format 2 is also what ITS_LIVE writes.
        product.to_zarr(written, mode="w", zarr_format=2, consolidated=True, encoding=encoding)
