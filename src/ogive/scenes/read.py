"""Images, elevations and outlines on a grid.

An image is an `xarray.DataArray` with the dims ``(y, x)``, the pixels' centres as coordinates and a
CF grid mapping, in the numbers of its file. Two images are brought on one grid with as little
change as can be: none when they share a grid, a crop when they share the lattice of pixels, and
only otherwise a resampling of the later one, because resampling costs sub-pixel accuracy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  (gives images their .odc accessor)
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import reproject

from ogive.georeference import georeferenced
from ogive.model import GridError, InputError
from ogive.scenes.align import AlignedPair, common_grid
from ogive.scenes.names import fill_value_from_name
from ogive.scenes.place import crs_name, extent_name
from ogive.scenes.polygons import rasterize_polygons
from ogive.scenes.valid_pixels import valid_mask

__all__ = [
    "AlignedPair",
    "band_names",
    "common_grid",
    "rasterize_polygons",
    "read_image",
    "read_on_grid",
    "read_tags",
    "valid_mask",
]


def read_image(
    path: str | Path,
    *,
    band: int | str | None = None,
    allow_no_crs: bool = False,
    nodata: float | None = None,
) -> xr.DataArray:
    """Read one band of an image, with its grid and its mask.

    Parameters
    ----------
    path
        Anything that GDAL reads: GeoTIFF, JPEG 2000, a URL, ...
    band
        Number of the band, from 1, or its description; may be left out when there is just one.
    allow_no_crs
        Accept an image without a georeference. Its coordinates are pixel indices: ``x`` to the
        right, ``y`` downwards.
    nodata
        Value of pixels without data, where the file does not declare it. For products of
        Sentinel-2 and Landsat, known by their names, it is 0.

    Returns
    -------
    xarray.DataArray
        Dims ``(y, x)``, in the file's dtype. ``attrs["nodata"]`` is the value of pixels without
        data, if any; the coordinate ``valid`` is the file's own mask or alpha band, if it has one.
        `valid_mask` puts all of it together.

    Raises
    ------
    InputError
        If the file is missing, truncated or no image, or has several bands and none was chosen.
    GridError
        If the image has no coordinate reference system, or its rows do not run along an axis of it.

    Examples
    --------
    >>> image = read_image("LC08_..._B8.TIF")  # doctest: +SKIP
    >>> image.odc.geobox.resolution  # doctest: +SKIP
    Resolution(x=15, y=-15)
    """
    with _opened(path) as file:
        number = _band_number(file, band, path)
        geobox = _geobox(file, path, allow_no_crs=allow_no_crs)
        pixels = file.read(number)
        mask = _own_mask(file, number)
        if nodata is None:
            nodata = file.nodatavals[number - 1]
    if nodata is None:
        nodata = fill_value_from_name(path)
    image = _wrapped(pixels, geobox)
    if nodata is not None:
        image.attrs["nodata"] = nodata
    if mask is not None:
        image = image.assign_coords(valid=(("y", "x"), mask))
    image.name = Path(path).stem
    return image


def read_tags(path: str | Path) -> dict[str, str]:
    """Read what a file says of its image: GDAL's tags, with those of the acquisition.

    Parameters
    ----------
    path
        As in `read_image`.

    Returns
    -------
    dict
        Names and texts, for `ogive.scenes.names.scene_from_name`.

    Raises
    ------
    InputError
        If the file is missing, truncated or no image.
    """
    with _opened(path) as file:
        return {**file.tags(ns="IMAGERY"), **file.tags()}


def band_names(path: str | Path) -> list[str]:
    """Read the names of a raster's bands, in their order; "" where a band has none.

    Raises
    ------
    InputError
        If the file is missing, truncated or no image.
    """
    with _opened(path) as file:
        return [name or "" for name in file.descriptions]


def read_on_grid(
    path: str | Path,
    geobox: GeoBox,
    resampling: str = "bilinear",
    *,
    band: int | str | None = None,
    nodata: float | None = None,
) -> xr.DataArray:
    """Read a map (elevation, prior velocity) on a given grid.

    Parameters
    ----------
    path
        A raster file in any coordinate reference system.
    geobox
        The grid wanted.
    resampling
        A method of GDAL: ``"nearest"``, ``"bilinear"``, ``"cubic"``, ``"average"``, ...
    band
        As in `read_image`.
    nodata
        Value of pixels without data, where the file does not declare it.

    Returns
    -------
    xarray.DataArray
        Dims ``(y, x)``, float32, NaN where the file has no data.

    Raises
    ------
    InputError
        If the file cannot be read, or the method is unknown.
    GridError
        If the file has no coordinate reference system or does not reach the grid.
    """
    if resampling not in Resampling.__members__:
        known = ", ".join(Resampling.__members__)
        raise InputError(f"{resampling!r} is no way of resampling: choose one of {known}")
    _check_georeferenced(geobox, path)
    values = np.full(geobox.shape, np.nan, np.float32)
    with _opened(path) as file:
        number = _band_number(file, band, path)
        _geobox(file, path, allow_no_crs=False, allow_rotation=True)
        declared = file.nodatavals[number - 1] if nodata is None else nodata
        reproject(
            rasterio.band(file, number),
            values,
            src_nodata=declared,
            dst_transform=geobox.transform,
            dst_crs=str(geobox.crs),
            dst_nodata=np.nan,
            resampling=Resampling[resampling],
        )
        extent = file.bounds
        crs = file.crs
    if not np.isfinite(values).any():
        raise GridError(
            f"{path} gives no value on the grid of the images: it covers {extent_name(extent)} in "
            f"{crs_name(crs)}, they cover {extent_name(geobox.boundingbox)} in "
            f"{crs_name(geobox.crs)}"
        )
    return _wrapped(values, geobox)


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Open a raster; what fails while it is open is told with the file's name."""
    try:
        with _opened_quietly(path) as file:
            yield file
    except RasterioError as error:
        if not Path(path).exists() and "://" not in str(path) and not str(path).startswith("/vsi"):
            raise InputError(f"there is no file {path}") from error
        raise InputError(
            f"{path} cannot be read, it may be truncated or no image: {_first_line(error)}"
        ) from error


def _opened_quietly(path: str | Path) -> Any:
    # A missing georeference is told by GridError, as a choice of the caller's.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


def _first_line(error: BaseException) -> str:
    return (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]


def _band_number(file: Any, band: int | str | None, path: str | Path) -> int:
    colour = [ci != ColorInterp.alpha for ci in file.colorinterp]
    choices = [index for index, is_data in zip(file.indexes, colour, strict=True) if is_data]
    names = {index: file.descriptions[index - 1] for index in choices}
    if band is None:
        if len(choices) == 1:
            return int(choices[0])
        raise InputError(f"{path} has {len(choices)} bands, choose one: {_listed(names)}")
    for index, name in names.items():
        if band == index or str(band) in {str(index), name}:
            return int(index)
    raise InputError(f"{path} has no band {band!r}, only {_listed(names)}")


def _listed(names: dict[int, str | None]) -> str:
    return ", ".join(f"{index} ({name})" if name else str(index) for index, name in names.items())


def _geobox(
    file: Any, path: str | Path, *, allow_no_crs: bool, allow_rotation: bool = False
) -> GeoBox:
    if file.crs is None or file.transform.is_identity:
        if allow_no_crs:
            return GeoBox(file.shape, Affine.identity(), None)
        lacks = "coordinate reference system" if file.crs is None else "geotransform"
        raise GridError(
            f"{path} has no {lacks}: give it one, or measure in pixels (--pixels, "
            "allow_no_crs=True)"
        )
    if not (allow_rotation or file.transform.is_rectilinear):
        raise GridError(
            f"the rows of {path} do not run along an axis of its grid (its geotransform is "
            "rotated or sheared): warp it to a north-up grid first"
        )
    return GeoBox(file.shape, file.transform, crs_name(file.crs))


def _own_mask(file: Any, number: int) -> NDArray[np.bool_] | None:
    """Read the mask or alpha band that a file has beside its pixels."""
    if MaskFlags.per_dataset not in file.mask_flag_enums[number - 1]:
        return None
    mask: NDArray[np.bool_] = file.read_masks(number) > 0
    return mask


def _wrapped(pixels: NDArray[Any], geobox: GeoBox) -> xr.DataArray:
    """Give pixels their coordinates; without a reference these are pixel indices."""
    if geobox.crs is not None:
        return georeferenced(pixels, geobox)
    rows, columns = pixels.shape
    coords = {"y": np.arange(rows, dtype=float), "x": np.arange(columns, dtype=float)}
    return xr.DataArray(pixels, coords, ("y", "x"))


def _check_georeferenced(geobox: GeoBox, path: str | Path) -> None:
    if geobox.crs is None:
        raise GridError(
            f"{path} cannot be laid over images without a coordinate reference system: give the "
            "images one, or leave this out"
        )
