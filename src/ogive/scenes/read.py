"""Images, elevations and outlines on a grid.

An image is an `xarray.DataArray` with the dims ``(y, x)``, the pixels' centres as coordinates and a
CF grid mapping, in the numbers of its file. Two images are brought on one grid with as little
change as can be: none when they share a grid, a crop when they share the lattice of pixels, and
only otherwise a resampling of the later one, because resampling costs sub-pixel accuracy.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import odc.geo.xr  # noqa: F401  (gives images their .odc accessor)
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from pyogrio.errors import DataSourceError
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.features import rasterize
from rasterio.warp import reproject
from scipy.ndimage import maximum_filter

from ogive.model import GridError, InputError
from ogive.scenes.names import fill_value_from_name

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

LATTICE_TOLERANCE_PX = 1e-3
"""Grids that agree better than this everywhere are one lattice.

Ten times below what matching resolves, so that ignoring the rest is better than resampling, and
far above what the decimals of a geotransform lose.
"""

_CUBIC_HALF_WIDTH_PX = 2


class AlignedPair(NamedTuple):
    """Two images on one grid, and what was done to bring them there.

    ``message`` is a sentence for the user; it is empty when nothing was done.
    """

    earlier: xr.DataArray
    later: xr.DataArray
    resampled: bool
    message: str


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


def valid_mask(image: xr.DataArray) -> NDArray[np.bool_]:
    """Tell which pixels of an image hold a measurement.

    Left out are pixels of the nodata value, pixels that are not finite, and pixels that the file's
    own mask or alpha band takes away.

    Parameters
    ----------
    image
        As `read_image` gives it; an image without any of those marks is valid everywhere.

    Examples
    --------
    >>> image = xr.DataArray(np.array([[0, 7]], np.uint16), dims=("y", "x"), attrs={"nodata": 0})
    >>> valid_mask(image)
    array([[False,  True]])
    """
    pixels = image.values
    valid = np.ones(pixels.shape, bool)
    if np.issubdtype(pixels.dtype, np.inexact):
        valid &= np.isfinite(pixels)
    nodata = image.attrs.get("nodata", image.attrs.get("_FillValue"))
    if nodata is None:
        nodata = image.encoding.get("_FillValue")
    if nodata is not None and not np.isnan(nodata):
        valid &= pixels != _in_dtype(nodata, pixels.dtype)
    if "valid" in image.coords:
        valid &= image.coords["valid"].values.astype(bool)
    return valid


def _in_dtype(nodata: float, dtype: np.dtype[Any]) -> Any:
    """Round a nodata value to the numbers a file can hold; formats store it as a double."""
    if np.issubdtype(dtype, np.inexact):
        with np.errstate(over="ignore"):
            return dtype.type(nodata)
    return nodata


def common_grid(earlier: xr.DataArray, later: xr.DataArray) -> AlignedPair:
    """Bring two images on one grid, with as little change as can be.

    Both are cropped to the area they share. If they have different lattices of pixels, the later
    one is resampled on the lattice of the earlier one by cubic convolution, to float32, with NaN
    wherever the interpolation would touch a pixel without data.

    Parameters
    ----------
    earlier, later
        As `read_image` gives them.

    Returns
    -------
    AlignedPair
        Both images on one grid, whether the later one was resampled, and a sentence that says so.

    Raises
    ------
    GridError
        If the images have different or unsuitable coordinate reference systems (a displacement
        needs a projected one in metres, or none), or do not overlap.
    """
    _check_reference(earlier, later)
    one, other = _geobox_of(earlier), _geobox_of(later)
    if one == other:
        return AlignedPair(earlier, later, resampled=False, message="")
    _check_overlap(earlier, later, one, other)
    offset = _lattice_offset(one, other)
    if offset is not None:
        return _cropped(earlier, later, offset)
    return _resampled(earlier, later, one, other)


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
            f"{path} gives no value on the grid of the images: it covers {_extent(extent)} in "
            f"{_crs_name(crs)}, they cover {_extent(geobox.boundingbox)} in "
            f"{_crs_name(geobox.crs)}"
        )
    return _wrapped(values, geobox)


def rasterize_polygons(path: str | Path, geobox: GeoBox) -> NDArray[np.bool_]:
    """Mark the pixels whose centres lie in any polygon of a file.

    Parameters
    ----------
    path
        Outlines in any format of GDAL (GeoPackage, shapefile, GeoJSON), in any coordinate
        reference system: they are reprojected to that of the grid.
    geobox
        The grid wanted.

    Returns
    -------
    numpy.ndarray
        bool, of the shape of the grid.

    Raises
    ------
    InputError
        If the file cannot be read or holds no polygons.
    GridError
        If the file has no coordinate reference system, or no polygon covers the centre of a pixel.
    """
    _check_georeferenced(geobox, path)
    outlines = _read_polygons(path)
    extent = outlines.total_bounds
    projected = outlines.to_crs(str(geobox.crs))
    left, bottom, right, top = geobox.boundingbox.bbox
    near = projected.geometry.cx[left:right, bottom:top]
    covered: NDArray[np.bool_] = np.zeros(geobox.shape, bool)
    if len(near):
        covered = rasterize(near, geobox.shape, transform=geobox.transform, dtype="uint8") > 0
    if not covered.any():
        raise GridError(
            f"no polygon of {path} covers a pixel of the grid: they lie within {_extent(extent)} "
            f"in {_crs_name(outlines.crs)}, the grid within {_extent(geobox.boundingbox)} in "
            f"{_crs_name(geobox.crs)}"
        )
    return covered


def _read_polygons(path: str | Path) -> gpd.GeoDataFrame:
    if not Path(path).exists() and "://" not in str(path):
        raise InputError(f"there is no file {path}")
    try:
        outlines = gpd.read_file(path)
    except DataSourceError as error:
        raise InputError(f"{path} is no file of polygons that can be read: {error}") from error
    if not isinstance(outlines, gpd.GeoDataFrame):
        raise InputError(f"{path} holds a table without any geometry: polygons are needed")
    kinds = outlines.geometry.geom_type
    polygons = outlines[kinds.isin(["Polygon", "MultiPolygon"]) & ~outlines.geometry.is_empty]
    if polygons.empty:
        found = ", ".join(sorted(kinds.dropna().unique())) or "nothing"
        raise InputError(f"{path} holds no polygons (found: {found})")
    if polygons.crs is None:
        raise GridError(
            f"{path} has no coordinate reference system: add its .prj file, or write the polygons "
            "with one"
        )
    return polygons


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
    return GeoBox(file.shape, file.transform, _crs_name(file.crs))


def _crs_name(crs: Any) -> str:
    """Name a reference system by its EPSG code, by its definition where it has none."""
    code = crs.to_epsg()
    return str(crs.to_wkt()) if code is None else f"EPSG:{code}"


def _own_mask(file: Any, number: int) -> NDArray[np.bool_] | None:
    """Read the mask or alpha band that a file has beside its pixels."""
    if MaskFlags.per_dataset not in file.mask_flag_enums[number - 1]:
        return None
    mask: NDArray[np.bool_] = file.read_masks(number) > 0
    return mask


def _wrapped(pixels: NDArray[Any], geobox: GeoBox) -> xr.DataArray:
    """Give pixels their coordinates; without a reference these are pixel indices."""
    if geobox.crs is not None:
        image: xr.DataArray = wrap_xr(pixels, geobox)
        image.attrs.pop("nodata", None)
        return image
    rows, columns = pixels.shape
    coords = {"y": np.arange(rows, dtype=float), "x": np.arange(columns, dtype=float)}
    return xr.DataArray(pixels, coords, ("y", "x"))


def _geobox_of(image: xr.DataArray) -> GeoBox:
    """Recover the grid of an image from its coordinates."""
    geobox = image.odc.geobox
    if not isinstance(geobox, GeoBox):
        raise GridError(
            f"the coordinates of {image.name or 'an image'} make no regular grid: x and y must be "
            "evenly spaced pixel centres"
        )
    return geobox


def _check_georeferenced(geobox: GeoBox, path: str | Path) -> None:
    if geobox.crs is None:
        raise GridError(
            f"{path} cannot be laid over images without a coordinate reference system: give the "
            "images one, or leave this out"
        )


def _check_reference(earlier: xr.DataArray, later: xr.DataArray) -> None:
    one, other = _geobox_of(earlier).crs, _geobox_of(later).crs
    names = (earlier.name or "the earlier image", later.name or "the later image")
    if one != other:
        told = [_crs_name(crs) if crs else "no coordinate reference system" for crs in (one, other)]
        raise GridError(
            f"{names[1]} is in {told[1]} but {names[0]} is in {told[0]}: reproject one of them"
        )
    if one is not None and (one.geographic or set(one.units) - {"metre", "meter", "m"}):
        raise GridError(
            f"{names[0]} and {names[1]} are in {_crs_name(one)}, whose unit is not the metre: "
            "reproject both to a projected coordinate reference system, such as their UTM zone"
        )


def _check_overlap(earlier: xr.DataArray, later: xr.DataArray, one: GeoBox, other: GeoBox) -> None:
    a, b = one.boundingbox, other.boundingbox
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.top, b.top) - max(a.bottom, b.bottom)
    if width < abs(one.resolution.x) or height < abs(one.resolution.y):
        raise GridError(
            f"{earlier.name or 'the earlier image'} and {later.name or 'the later image'} do not "
            f"overlap: they cover {_extent(a)} and {_extent(b)}"
        )


def _extent(bounds: Any) -> str:
    left, bottom, right, top = bounds
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"


class _Offset(NamedTuple):
    """Whole pixels from the first pixel of one image to that of another."""

    columns: int
    rows: int


class _Span(NamedTuple):
    """Where the edges of one grid lie in the pixels of another, along one axis."""

    first: float
    last: float


def _columns(one: GeoBox, other: GeoBox) -> _Span:
    return _span(one.transform.a, one.transform.c, other.transform.a, other.transform.c, other, 1)


def _rows(one: GeoBox, other: GeoBox) -> _Span:
    return _span(one.transform.e, one.transform.f, other.transform.e, other.transform.f, other, 0)


def _span(
    step: float, origin: float, other_step: float, other_origin: float, other: GeoBox, axis: int
) -> _Span:
    first = (other_origin - origin) / step
    return _Span(first, first + other.shape[axis] * other_step / step)


def _lattice_offset(one: GeoBox, other: GeoBox) -> _Offset | None:
    """Find the whole-pixel offset of two grids, ``None`` if they are of different lattices."""
    rows, columns = _rows(one, other), _columns(one, other)
    offset = _Offset(columns=round(columns.first), rows=round(rows.first))
    misfits = (
        columns.first - offset.columns,
        columns.last - offset.columns - other.shape[1],
        rows.first - offset.rows,
        rows.last - offset.rows - other.shape[0],
    )
    return offset if max(map(abs, misfits)) < LATTICE_TOLERANCE_PX else None


def _cropped(earlier: xr.DataArray, later: xr.DataArray, offset: _Offset) -> AlignedPair:
    """Crop two images of one lattice to what they share."""
    rows, rows_later = _shared(earlier.sizes["y"], later.sizes["y"], offset.rows)
    columns, columns_later = _shared(earlier.sizes["x"], later.sizes["x"], offset.columns)
    first = earlier.isel(y=rows, x=columns)
    second = later.isel(y=rows_later, x=columns_later)
    # The same numbers to the last bit: xarray aligns by them.
    second = second.assign_coords(x=first["x"], y=first["y"])
    return AlignedPair(
        first,
        second,
        resampled=False,
        message=(
            f"both images were cropped to the {first.sizes['x']} x {first.sizes['y']} pixels they "
            "share; nothing was resampled"
        ),
    )


def _shared(length: int, other_length: int, offset: int) -> tuple[slice, slice]:
    start, stop = max(0, offset), min(length, offset + other_length)
    return slice(start, stop), slice(start - offset, stop - offset)


def _resampled(
    earlier: xr.DataArray, later: xr.DataArray, one: GeoBox, other: GeoBox
) -> AlignedPair:
    """Resample the later image on the earlier grid, within the area they share."""
    rows, columns = _covered(one, other)
    first = earlier.isel(y=rows, x=columns)
    geobox = one[rows, columns]
    pixels = _cubic(later, other, geobox)
    second = xr.DataArray(pixels, first.coords, ("y", "x"), name=later.name)
    second = second.drop_vars("valid", errors="ignore")
    second.encoding.update({"grid_mapping": "spatial_ref"} if one.crs else {})
    second.attrs.update({key: value for key, value in later.attrs.items() if key != "nodata"})
    return AlignedPair(
        first,
        second,
        resampled=True,
        message=(
            f"{later.name or 'the later image'} lies on another grid "
            f"({_grid(other)}) and was resampled by cubic convolution on the grid of "
            f"{earlier.name or 'the earlier image'} ({_grid(one)}); {first.sizes['x']} x "
            f"{first.sizes['y']} pixels are shared"
        ),
    )


def _grid(geobox: GeoBox) -> str:
    place = geobox.transform
    return f"pixel {abs(place.a):.6g} x {abs(place.e):.6g}, origin {place.c:.10g}, {place.f:.10g}"


def _covered(one: GeoBox, other: GeoBox) -> tuple[slice, slice]:
    """Rows and columns of one grid whose pixels lie wholly within another grid."""
    rows, columns = (
        slice(
            max(0, math.ceil(min(span) - LATTICE_TOLERANCE_PX)),
            min(length, math.floor(max(span) + LATTICE_TOLERANCE_PX)),
        )
        for span, length in zip((_rows(one, other), _columns(one, other)), one.shape, strict=True)
    )
    return rows, columns


def _cubic(image: xr.DataArray, source: GeoBox, target: GeoBox) -> NDArray[np.float32]:
    """Interpolate by cubic convolution; NaN where the kernel would touch a pixel without data."""
    valid = valid_mask(image)
    pixels = np.where(valid, image.values, 0).astype(np.float32)
    # GDAL wants a reference, but none is read when both are the same.
    crs = str(target.crs) if target.crs else "EPSG:3857"
    grids = {
        "src_transform": source.transform,
        "dst_transform": target.transform,
        "src_crs": crs,
        "dst_crs": crs,
    }
    values = np.full(target.shape, np.nan, np.float32)
    reproject(pixels, values, resampling=Resampling.cubic, dst_nodata=np.nan, **grids)
    # Downsampling widens GDAL's kernel by the ratio of the pixels; nearest adds half a pixel.
    reach = [
        math.ceil(_CUBIC_HALF_WIDTH_PX * max(1.0, abs(ratio)) - 0.5)
        for ratio in (
            target.transform.e / source.transform.e,
            target.transform.a / source.transform.a,
        )
    ]
    touched = maximum_filter(
        (~valid).view(np.uint8), [2 * pixels + 1 for pixels in reach], mode="constant", cval=1
    )
    holes = np.ones(target.shape, np.uint8)
    reproject(touched, holes, resampling=Resampling.nearest, **grids)
    values[holes > 0] = np.nan
    return values
