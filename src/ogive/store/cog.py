"""Velocity maps as cloud-optimised GeoTIFFs: one file a variable, for QGIS and for the web."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError  # what closing raises; it has no public name
from rasterio.errors import RasterioError

from ogive.model import GridError, InputError, OutputError
from ogive.store.atomic import atomic_path
from ogive.store.qgis_style import layer_style

__all__ = ["write_cogs"]

_CREATION = {
    "driver": "COG",
    "compress": "deflate",
    "predictor": "yes",
    "blocksize": 512,
    "overview_resampling": "average",
    "bigtiff": "if_safer",
}


def write_cogs(
    velocity: xr.Dataset,
    folder: str | Path,
    names: Sequence[str] = ("v", "vx", "vy", "v_error"),
) -> list[Path]:
    """Write variables as cloud-optimised GeoTIFFs, ``v.tif``, ``vx.tif``, ...

    Each has one band of float32 with NaN for no data, tiles and averaged overviews, and names its
    units and its meaning; beside it lies the style that QGIS draws it in, ``v.qml``, ... All files
    appear together when all are written and read back, or none.

    Parameters
    ----------
    velocity
        Variables on ``(y, x)``, with a coordinate reference system.
    folder
        Where to write; made if need be. Files of those names are replaced.
    names
        The variables wanted.

    Returns
    -------
    list of pathlib.Path
        The GeoTIFFs, in the order of `names`.

    Raises
    ------
    InputError
        If a variable is missing or not on ``(y, x)``.
    GridError
        If the velocity has no coordinate reference system or no regular grid.
    OutputError
        If a file cannot be written whole.
    """
    _check(velocity, names)
    geobox = _geobox(velocity, names)
    finals = [Path(folder) / f"{name}.tif" for name in names]
    with ExitStack() as publications:
        for name, final in zip(names, finals, strict=True):
            path = publications.enter_context(atomic_path(final))
            try:
                _write(velocity[name], geobox, path, dict(velocity.attrs))
                whole = _holds(velocity[name], path)
            except (CPLE_BaseError, RasterioError) as error:
                raise OutputError(
                    f"{final} cannot be written, the disk may be full ({error}); nothing was left "
                    "there"
                ) from error
            if not whole:
                raise OutputError(f"{final} cannot be written whole; nothing was left there")
            style = publications.enter_context(atomic_path(final.with_suffix(".qml")))
            style.write_text(layer_style(velocity[name], name), encoding="utf-8")
    return finals


def _check(velocity: xr.Dataset, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in velocity]
    if missing:
        raise InputError(f"the velocity has no {', '.join(missing)} to write as GeoTIFF")
    for name in names:
        if velocity[name].dims != ("y", "x"):
            raise InputError(f"{name} has the dims {velocity[name].dims}, not ('y', 'x')")


def _geobox(velocity: xr.Dataset, names: Sequence[str]) -> GeoBox:
    geobox = velocity[names[0]].odc.geobox
    if not isinstance(geobox, GeoBox) or geobox.crs is None:
        raise GridError(
            "the velocity has no coordinate reference system, so a GeoTIFF could not say where it "
            "lies: write NetCDF only"
        )
    return geobox


def _write(array: xr.DataArray, geobox: GeoBox, path: Path, tags: dict[Any, Any]) -> None:
    profile = {
        **_CREATION,
        "count": 1,
        "dtype": "float32",
        "height": geobox.shape[0],
        "width": geobox.shape[1],
        "crs": str(geobox.crs),
        "transform": geobox.transform,
        "nodata": np.nan,
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(array.values.astype(np.float32), 1)
        file.set_band_description(1, str(array.attrs.get("long_name", array.name)))
        file.units = (str(array.attrs.get("units", "")),)
        file.update_tags(variable=array.name, **_texts(tags))
        file.update_tags(1, **_texts(array.attrs))


def _texts(attributes: dict[Any, Any]) -> dict[str, str]:
    """Write attributes as the text that TIFF tags are."""
    return {str(key): str(value) for key, value in attributes.items() if value is not None}


def _holds(array: xr.DataArray, path: Path) -> bool:
    """Read a file back: GDAL may close on a full disk in silence."""
    with rasterio.open(path) as file:
        return np.array_equal(file.read(1), array.values.astype(np.float32), equal_nan=True)
