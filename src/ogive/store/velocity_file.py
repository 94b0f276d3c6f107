"""The velocity of an image pair as a NetCDF file, in the schema of ITS_LIVE.

Names, attributes, ``mapping`` and ``img_pair_info`` are those of an ITS_LIVE image pair (version 2
granules), so that its readers open these files; what ogive knows beyond that (errors of the
components and their covariance, qualities, flags, spectra) lies beside as further variables.

Two things are said differently, because ITS_LIVE's way of saying them is not CF's: a standard name
that CF's table does not know is kept as ``its_live_standard_name``, and the grid mapping of a UTM
zone is ``transverse_mercator``.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.georeference import with_crs
from ogive.model import DAYS_PER_YEAR, GridError, InputError, OutputError, Pair
from ogive.store.atomic import atomic_path
from ogive.store.mapping import centre_longitude_latitude, grid_mapping
from ogive.store.pair_info import pair_information, satellites
from ogive.store.schema import (
    CHIP_SIZES,
    INT16_FILL,
    REQUIRED,
    UNSIGNED,
    plain_attribute,
    variable_attributes,
    variable_encoding,
)

__all__ = ["read_velocity", "velocity_file_name", "write_velocity"]


def velocity_file_name(pair: Pair, pixel_size_m: float, valid_percent: float) -> str:
    """Name a file as ITS_LIVE does: the scenes, the grid spacing and the share of valid points.

    Parameters
    ----------
    pair
        The two scenes; their identifiers make the name.
    pixel_size_m
        Spacing of the velocity grid in metres.
    valid_percent
        Share of points with a velocity, in percent; rounded down.

    Examples
    --------
    >>> from ogive.model import Scene
    >>> pair = Pair(Scene("a", datetime(2016, 7, 18)), Scene("b", datetime(2016, 8, 3)))
    >>> velocity_file_name(pair, 120.0, 87.9)
    'a_X_b_G0120V02_P087.nc'
    """
    scenes = "_X_".join(
        re.sub(r"[^\w.+-]", "-", scene.id) or "unnamed" for scene in (pair.earlier, pair.later)
    )
    return f"{scenes}_G{round(pixel_size_m):04d}V02_P{math.floor(valid_percent):03d}.nc"


def write_velocity(
    velocity: xr.Dataset,
    path: str | Path,
    *,
    pair: Pair | None,
    dtype: Literal["float32", "int16"] = "float32",
) -> Path:
    """Write a velocity map in ITS_LIVE's schema.

    Parameters
    ----------
    velocity
        Variables ``vx, vy, v, v_error`` on ``(y, x)`` and any further ones. The attributes of
        ``vx`` and ``vy`` carry the calibration (``stable_shift``, ``error``, ...); what is not
        there gets ITS_LIVE's value for "none". ``attrs["window_px"]`` and ``pixel_size_x``,
        ``pixel_size_y`` become the chip sizes. Further attributes become global ones.
    path
        Where to write; what is there is replaced in one step.
    pair
        The two scenes, for ``img_pair_info``; ``None`` keeps the one that `velocity` has, if any.
    dtype
        ``"float32"`` keeps every value exactly. ``"int16"`` rounds ``vx, vy, v, v_error`` to whole
        meter/year, as ITS_LIVE does; all other variables stay as they are.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    InputError
        If a variable is missing or has other dims, or an attribute cannot be written.
    OutputError
        If the file cannot be written, or a speed does not fit an int16. Nothing is left then.
    """
    if dtype not in ("float32", "int16"):
        raise InputError(f"velocities are written as float32 or int16, not as {dtype!r}")
    _check(velocity)
    product = _product(velocity, pair, dtype)
    with atomic_path(path) as written:
        try:
            product.to_netcdf(
                written, engine="netcdf4", format="NETCDF4", encoding=variable_encoding(product)
            )
        except RuntimeError as error:  # NetCDF's library has no other word for a full disk
            raise OutputError(
                f"{path} cannot be written, the disk may be full ({error}); nothing was left there"
            ) from error
    return Path(path)


def read_velocity(path: str | Path) -> xr.Dataset:
    """Read a velocity file, ogive's or ITS_LIVE's.

    Parameters
    ----------
    path
        A NetCDF file of an image pair.

    Returns
    -------
    xarray.Dataset
        In memory. Dims ``(y, x)``; float32 with NaN where there is no velocity; the grid as the
        coordinate ``spatial_ref``; ``img_pair_info`` as it is in the file (see
        `ogive.store.pair_info.pair_from_information`).

    Raises
    ------
    InputError
        If the file is missing, truncated, or no velocity file.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        with xr.open_dataset(
            path, engine="netcdf4", decode_coords="all", decode_timedelta=False
        ) as file:
            velocity = file.load()
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be read, it may be truncated or no NetCDF file: {error}"
        ) from error
    missing = [name for name in ("vx", "vy") if name not in velocity]
    if missing:
        raise InputError(
            f"{path} is no velocity file: it has no variable {' and no '.join(missing)}"
        )
    return _canonical(velocity)


def _canonical(velocity: xr.Dataset) -> xr.Dataset:
    """Give a decoded file the names and types that ogive works with."""
    if "time" in velocity.dims:
        velocity = velocity.isel(time=0, drop=True)
    for name, kind in UNSIGNED.items():
        if name in velocity:
            velocity[name] = velocity[name].fillna(0).astype(kind)
    for variable in velocity.variables.values():
        variable.encoding.clear()
        its_live = variable.attrs.pop("its_live_standard_name", None)
        if its_live is not None:
            variable.attrs["standard_name"] = its_live
    if "mapping" not in velocity.coords:
        return velocity
    crs = velocity["mapping"].attrs["crs_wkt"]
    return with_crs(velocity.drop_vars("mapping"), crs)


def _check(velocity: xr.Dataset) -> None:
    missing = [name for name in REQUIRED if name not in velocity]
    if missing:
        raise InputError(f"a velocity file needs {', '.join(missing)}: the dataset lacks them")
    for name in REQUIRED:
        if velocity[name].dims != ("y", "x"):
            raise InputError(f"{name} has the dims {velocity[name].dims}, not ('y', 'x')")


def _product(velocity: xr.Dataset, pair: Pair | None, dtype: str) -> xr.Dataset:
    """Build the dataset as it shall lie on the disk."""
    geobox = _geobox(velocity)
    variables = {str(name): _variable(array) for name, array in velocity.data_vars.items()}
    for name, values in _chip_sizes(velocity).items():
        variables.setdefault(name, values)
    variables.setdefault("interp_mask", xr.Variable(("y", "x"), np.zeros(_shape(velocity), "u1")))
    for name, variable in variables.items():
        variable.attrs = variable_attributes(name, variable.attrs, velocity)
    if dtype == "int16":
        for name in REQUIRED:
            variables[name] = variables[name].copy(data=_whole_numbers(variables[name], name))
    coordinates = {name: _coordinate(velocity, name, geobox) for name in ("x", "y")}
    coordinates |= {
        str(name): _variable(coordinate)
        for name, coordinate in velocity.coords.items()
        if name not in ("x", "y") and "crs_wkt" not in coordinate.attrs
    }
    product = xr.Dataset(variables, coordinates, _globals(velocity, pair))
    if pair is not None:
        product["img_pair_info"] = xr.DataArray(np.int8(0), attrs=pair_information(pair))
    if "img_pair_info" in product:
        _tell_region(product, velocity, geobox)
    return product if geobox is None else _mapped(product, geobox)


def _geobox(velocity: xr.Dataset) -> GeoBox | None:
    """Recover the grid; ``None`` for a velocity in pixels of images without a reference."""
    geobox = velocity["v"].odc.geobox
    if not isinstance(geobox, GeoBox):
        raise GridError("x and y of the velocity make no regular grid, so it cannot be written")
    if geobox.crs is None:
        return None
    if geobox.crs.geographic:
        raise GridError(
            f"the velocity lies on a grid in degrees ({geobox.crs}), where meter/year along x and "
            "y have no place in ITS_LIVE's schema: use a projected grid"
        )
    return geobox


def _mapped(product: xr.Dataset, geobox: GeoBox) -> xr.Dataset:
    product["mapping"] = grid_mapping(geobox)
    for variable in product.data_vars.values():
        if variable.dims == ("y", "x"):
            variable.attrs["grid_mapping"] = "mapping"
    return product


def _shape(velocity: xr.Dataset) -> tuple[int, int]:
    return velocity.sizes["y"], velocity.sizes["x"]


def _variable(array: xr.DataArray) -> xr.Variable:
    """Take a variable without its encoding, floats as float32 unless they are coordinates."""
    data = array.values
    if data.dtype.kind not in "fiubUSM":
        raise InputError(f"{array.name} is of type {data.dtype} and cannot be written")
    if data.dtype.kind == "b":
        data = data.astype(np.int8)
    if data.dtype.kind == "f" and array.name not in array.coords:
        data = data.astype(np.float32)
    return xr.Variable(
        array.dims, data, {k: v for k, v in array.attrs.items() if k != "grid_mapping"}
    )


def _chip_sizes(velocity: xr.Dataset) -> dict[str, xr.Variable]:
    """Give the window in metres where there is a velocity; 0, the fill value, elsewhere."""
    measured = np.isfinite(velocity["v"].values)
    sizes = {}
    for name, axis in zip(CHIP_SIZES, "xy", strict=True):
        size = float(velocity.attrs.get("window_px", 0)) * float(
            velocity.attrs.get(f"pixel_size_{axis}", 0)
        )
        if not 0 <= size <= np.iinfo(np.uint16).max:
            raise OutputError(f"{name} is {size} m and does not fit ITS_LIVE's uint16")
        chips = np.where(measured, np.uint16(round(size)), np.uint16(0))
        sizes[name] = xr.Variable(("y", "x"), chips)
    return sizes


def _whole_numbers(variable: xr.Variable, name: str) -> NDArray[np.int16]:
    """Round to int16; a value that does not fit is an error, for it would come back as another."""
    values = np.asarray(variable.values, np.float64)
    measured = np.isfinite(values)
    limit = abs(INT16_FILL) - 1
    beyond = measured & (np.abs(np.rint(np.where(measured, values, 0))) > limit)
    if beyond.any():
        raise OutputError(
            f"{int(beyond.sum())} values of {name} are beyond {limit} meter/year (up to "
            f"{np.abs(values[beyond]).max():.0f}) and do not fit int16: write float32"
        )
    return np.where(measured, np.rint(np.where(measured, values, 0)), INT16_FILL).astype(np.int16)


def _coordinate(velocity: xr.Dataset, axis: str, geobox: GeoBox | None) -> xr.Variable:
    if geobox is None:
        attributes = {"long_name": f"pixel index along {axis}", "units": "1", "axis": axis.upper()}
    else:
        attributes = {
            "standard_name": f"projection_{axis}_coordinate",
            "description": f"{axis} coordinate of projection",
            "units": "m",
            "axis": axis.upper(),
        }
    return xr.Variable(axis, velocity[axis].values.astype(np.float64), attributes)


def _globals(velocity: xr.Dataset, pair: Pair | None) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    program = f"ogive {version('ogive')}"
    attributes: dict[str, Any] = {
        "GDAL_AREA_OR_POINT": "Area",
        "Conventions": "CF-1.11",
        "date_created": now,
        "title": "ogive surface velocities",
        "autoRIFT_software_version": "not applicable",
        "autoRIFT_parameter_file": "not applicable",
        "scene_pair_type": "optical",
        "satellite": "N/A" if pair is None else satellites(pair),
        "motion_detection_method": "feature",
        "motion_coordinates": "map",
        "author": "unspecified",
        "institution": "unspecified",
        "source": f"feature tracking in optical satellite images by {program}",
        "references": "Gardner et al. 2018, https://doi.org/10.5194/tc-12-521-2018 (schema)",
        "history": f"{now}: written by {program}",
        "days_per_year": DAYS_PER_YEAR,
    }
    given = {str(key): plain_attribute(value, key) for key, value in velocity.attrs.items()}
    # A file says of itself when it was made; what an older file said of this becomes its history.
    told_anew = {"Conventions", "date_created", "history"} | ({"satellite"} if pair else set())
    kept = {k: v for k, v in given.items() if v is not None and k not in told_anew}
    if given.get("history"):
        attributes["history"] += "\n" + str(given["history"])
    return attributes | kept


def _tell_region(product: xr.Dataset, velocity: xr.Dataset, geobox: GeoBox | None) -> None:
    measured = np.isfinite(velocity["v"].values)
    place = (
        {"latitude": np.nan, "longitude": np.nan}
        if geobox is None
        else centre_longitude_latitude(geobox)
    )
    percentage = round(100 * float(measured.mean()), 1) if measured.size else 0.0
    product["img_pair_info"].attrs |= {**place, "roi_valid_percentage": percentage}
