"""An older velocity as the first guess of where the ice went."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import xarray as xr
from pyproj import CRS, Transformer

from ogive.matching.field import Points
from ogive.model import DAYS_PER_YEAR, GridError, InputError
from ogive.scenes.read import band_names, read_image, valid_mask
from ogive.store.velocity_file import read_velocity

__all__ = ["prior_displacement", "read_prior"]

_NETCDF = {".nc", ".nc4", ".cdf"}
_PER_YEAR = {
    "meter/year", "meters/year", "metre/year", "m/year", "m/yr", "m/y", "m/a",
    "m year-1", "m yr-1", "m a-1",
}  # fmt: skip


def read_prior(path: str | Path) -> xr.Dataset:
    """Read ``vx`` and ``vy`` in meter/year: ogive's or ITS_LIVE's NetCDF, or a GeoTIFF.

    Parameters
    ----------
    path
        A NetCDF file with ``vx`` and ``vy``; any raster with bands that are called so, or whose
        first two bands are vx and vy; or the one of two rasters whose name has ``vx`` where the
        other's has ``vy``, as ITS_LIVE gives its mosaics.

    Raises
    ------
    InputError
        If the file cannot be read, or has no two components.
    GridError
        If the components are two files on different grids.
    """
    if Path(path).suffix.lower() in _NETCDF:
        return read_velocity(path)[["vx", "vy"]]
    names = band_names(path)
    if len(names) == 1:
        return _of_two_files(Path(path))
    named = {"vx", "vy"} <= set(names)
    return xr.Dataset(
        {
            name: _component(path, name if named else number)
            for name, number in (("vx", 1), ("vy", 2))
        }
    )


def _component(path: str | Path, band: int | str | None = None) -> xr.DataArray:
    component = read_image(path, band=band)
    values = np.where(valid_mask(component), component.values, np.nan).astype(np.float32)
    return component.drop_vars("valid", errors="ignore").copy(data=values)


def _of_two_files(path: Path) -> xr.Dataset:
    """Read vx and vy from the two files that are named after them."""
    parts = re.split(r"(?<![a-z])v[xy](?![a-z])", path.stem)
    if len(parts) != 2:
        raise InputError(
            f"{path} has one band: a prior velocity has vx and vy, as two bands or as two files "
            "named after them"
        )
    first, second = (path.with_name(name.join(parts) + path.suffix) for name in ("vx", "vy"))
    x, y = _component(first), _component(second)
    if x.odc.geobox != y.odc.geobox:
        raise GridError(f"{first} and {second} are on different grids: they are no one velocity")
    return xr.Dataset({"vx": x, "vy": y})


def prior_displacement(
    prior: xr.Dataset, image: xr.DataArray, *, days: float, window: int, step: int
) -> xr.Dataset:
    """Turn a velocity in meter/year into the displacement expected between two images.

    Both ends of each vector are projected, so that a prior in another coordinate reference system
    is turned and scaled as its map projection asks.

    Parameters
    ----------
    prior
        ``vx``, ``vy`` (y, x), with a coordinate reference system.
    image
        The image that is matched.
    days
        Time between the images.
    window, step
        As in `ogive.match`.

    Returns
    -------
    xarray.Dataset
        ``dx``, ``dy`` on a grid that covers the points of the match, in the image's coordinates;
        NaN where the prior has no value.

    Raises
    ------
    InputError
        The prior is in other units, or lacks a component.
    GridError
        Either has no coordinate reference system, or they do not overlap.
    """
    source, target = _crs(prior, "prior velocity"), _crs(image, "image")
    x, y = _around_points(image, window, step)
    grid_x, grid_y = np.meshgrid(x, y)
    there = Transformer.from_crs(target, source, always_xy=True)
    at_x, at_y = there.transform(grid_x, grid_y)
    years = days / DAYS_PER_YEAR
    moved_x, moved_y = (
        years * _read_at(prior[name], at_x, at_y) + at for name, at in (("vx", at_x), ("vy", at_y))
    )
    known = np.isfinite(moved_x) & np.isfinite(moved_y)
    if not known.any():
        raise GridError("the prior velocity has no value on the images: do they overlap?")
    end_x, end_y = there.transform(
        np.where(known, moved_x, at_x), np.where(known, moved_y, at_y), direction="INVERSE"
    )
    return xr.Dataset(
        {
            "dx": (("y", "x"), np.where(known, end_x - grid_x, np.nan)),
            "dy": (("y", "x"), np.where(known, end_y - grid_y, np.nan)),
        },
        {"x": x, "y": y},
    )


def _crs(data: xr.Dataset | xr.DataArray, name: str) -> CRS:
    crs = data.odc.crs
    if crs is None:
        raise GridError(
            f"the {name} has no coordinate reference system, so the prior cannot be laid over the "
            "images"
        )
    return CRS.from_wkt(crs.to_wkt())


def _around_points(image: xr.DataArray, window: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the points and of one more on each side, for rounding at the border."""
    points = Points.of_image((image.sizes["y"], image.sizes["x"]), window, step)
    axes = []
    for axis, centre in (("x", points.centre_x), ("y", points.centre_y)):
        values = image[axis].values.astype(float)
        spacing = (values[-1] - values[0]) / (values.size - 1)
        wider = np.concatenate([[centre[0] - step], centre, [centre[-1] + step]])
        axes.append(values[0] + spacing * wider)
    return axes[0], axes[1]


def _read_at(component: xr.DataArray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    units = component.attrs.get("units")
    if units is not None and str(units).lower() not in _PER_YEAR:
        raise InputError(f"the prior velocity is in {units}: meter/year is needed")
    places = {
        "x": xr.DataArray(x, dims=("row", "column")),
        "y": xr.DataArray(y, dims=("row", "column")),
    }
    return np.asarray(component.astype(float).interp(places, method="linear").values)
