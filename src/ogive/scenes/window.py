"""A window of a scene's band on a grid: from a file here or afar, read once and kept.

Where the grid shares the pixels of the file they are taken as they are; otherwise they are
interpolated. Images come as reflectance, with NaN where nothing was measured; quality bands come in
their own numbers.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags, Resampling
from rasterio.warp import reproject
from rasterio.windows import Window

from ogive.georeference import georeferenced
from ogive.model import GridError, Scene

from .cache import Cache
from .errors import DamagedImageError, NoOverlapError
from .lattice import Offset, lattice_offset, resample_cubic, shared_pixels
from .outline import border, geographic_outline
from .signing import Signer, sign_known_hosts
from .source import Source, local_path, opened, source_of
from .transport import Retries

__all__ = ["read_window"]

_FORMAT = 1  # of the cached windows: counts up when what is kept changes its meaning
_KERNEL_PX = 4  # what the kernel of the interpolation reaches, and rounding
_OUTLINE_MARGIN_DEG = 0.05  # footprints are drawn with few corners, and in degrees

Pixels = NDArray[np.float32] | NDArray[np.uint16]


def read_window(
    scene: Scene,
    band: str,
    grid: GeoBox,
    *,
    cache: Cache | str | Path | None = None,
    signer: Signer = sign_known_hosts,
    retries: Retries | None = None,
) -> xr.DataArray:
    """Read a band of a scene on a grid.

    Parameters
    ----------
    scene
        With the files of its bands.
    band
        The sensor's own name of the band, or its name across sensors; see
        `ogive.scenes.asset_of`.
    grid
        The pixels that are wanted. Where they are the file's own, nothing is resampled; otherwise
        images are interpolated by cubic convolution, and quality bands take the nearest pixel.
    cache
        Where pieces of files and windows are kept, so that nothing is downloaded twice; a folder
        stands for a `Cache` of the usual size.
    signer
        Signs addresses; see `ogive.scenes.signing`.
    retries
        How patiently a server is asked; by default `Retries()`.

    Returns
    -------
    xarray.DataArray
        Dims ``(y, x)``, with the scalar coordinate ``time``. An image is float32, reflectance where
        the scene tells scale and offset, and NaN where there is no measurement. A quality band is
        uint16 with the numbers of its file, and ``attrs["nodata"]`` outside of it.

    Raises
    ------
    SceneReadError
        Of the class that tells why; see `ogive.scenes.errors`.
    InputError
        If the scene has no such band.
    GridError
        If the grid or the file has no coordinate reference system.

    Examples
    --------
    >>> image = read_window(scene, "nir", grid, cache="cache")  # doctest: +SKIP
    """
    source = source_of(scene, band, cache=cache, signer=signer, retries=retries)
    return _wrapped(read_pixels(source, grid), source, grid, scene)


def _wrapped(pixels: Any, source: Source, grid: GeoBox, scene: Scene) -> xr.DataArray:
    """Give pixels their coordinates and the time of their scene."""
    image = georeferenced(pixels, grid).assign_coords(time=np.datetime64(scene.time, "ns"))
    image.name = source.band
    image.attrs |= {"scene": scene.id, "long_name": source.asset.common_name or source.band}
    if source.is_quality:
        image.attrs["nodata"] = int(source.fill)
    return image


def read_pixels(source: Source, grid: GeoBox) -> Pixels:
    """Read a window from the cache, or from the file and into the cache.

    Raises
    ------
    SceneReadError
        Of the class that tells why.
    GridError
        If the grid has no coordinate reference system.
    """
    if grid.crs is None:
        raise GridError("a window needs a grid with a coordinate reference system: this has none")
    key = _key(source, grid)
    kept = source.cache.get(key) if source.cache is not None else None
    if kept is not None:
        pixels: Pixels = np.load(io.BytesIO(kept), allow_pickle=False)
        return pixels
    _refuse_elsewhere(source, grid)
    pixels = _read(source, grid)
    if source.cache is not None:
        written = io.BytesIO()
        np.save(written, pixels, allow_pickle=False)
        source.cache.put(key, written.getvalue())
    return pixels


def _key(source: Source, grid: GeoBox) -> str:
    """Tell a window from all others, by the file's age too where it lies here."""
    place: dict[str, Any] = {
        "window": _FORMAT,
        "asset": asdict(source.asset),
        "band": source.band,
        "shape": tuple(grid.shape),
        "transform": tuple(grid.transform),
        "crs": str(grid.crs),
    }
    path = local_path(source.asset.href)
    if path is not None and path.exists():
        told = path.stat()
        place["changed"] = (told.st_mtime_ns, told.st_size)
    return json.dumps(place, sort_keys=True)


def _refuse_elsewhere(source: Source, grid: GeoBox) -> None:
    """Tell by the outlines, before anything is downloaded."""
    if not source.outline:
        return
    outline = shapely.from_wkt(source.outline)
    wanted = geographic_outline(grid)
    if any(shape.bounds[2] - shape.bounds[0] > 180 for shape in (wanted, outline)):
        return  # it crosses the date line, where distances in degrees tell nothing
    if wanted.distance(outline) > _OUTLINE_MARGIN_DEG:
        raise _elsewhere(source)


def _elsewhere(source: Source) -> NoOverlapError:
    return NoOverlapError(
        f"scene {source.scene} shows nothing of the grid: leave it out, or search with the region "
        "of the grid"
    )


def _read(source: Source, grid: GeoBox) -> Pixels:
    with opened(source) as file:
        if file.crs is None:
            raise GridError(f"{source.asset.href} has no coordinate reference system")
        if not 1 <= source.asset.index <= file.count:
            raise DamagedImageError(
                f"{source.asset.href} has {file.count} bands, not {source.asset.index}"
            )
        # By its code, where it has one: the same system is written in many words.
        reference = CRS(file.crs.to_epsg() or file.crs.to_wkt())
        box = GeoBox(file.shape, file.transform, reference)
        offset = lattice_offset(box, grid) if reference == grid.crs else None
        if offset is None:
            pixels = _interpolated(source, file, box, grid)
        else:
            pixels = _copied(source, file, offset, grid)
    if not source.is_quality and not np.isfinite(pixels).any():
        raise _elsewhere(source)
    return pixels


def _copied(source: Source, file: Any, offset: Offset, grid: GeoBox) -> Pixels:
    """Take the file's own pixels."""
    rows, rows_of_grid = shared_pixels(file.height, grid.shape[0], offset.rows)
    columns, columns_of_grid = shared_pixels(file.width, grid.shape[1], offset.columns)
    values = _values(source, file, rows, columns)
    pixels = np.full(grid.shape, source.fill, values.dtype)
    pixels[rows_of_grid, columns_of_grid] = values
    return pixels


def _interpolated(source: Source, file: Any, box: GeoBox, grid: GeoBox) -> Pixels:
    """Bring the file's pixels on another grid."""
    rows, columns = _reached(box, grid)
    values = _values(source, file, rows, columns)
    part = box[rows, columns]
    if not source.is_quality:
        return resample_cubic(values, np.isfinite(values), part, grid)
    pixels = np.full(grid.shape, source.fill, values.dtype)
    reproject(
        values,
        pixels,
        src_transform=part.transform,
        src_crs=str(part.crs),
        dst_transform=grid.transform,
        dst_crs=str(grid.crs),
        resampling=Resampling.nearest,
        init_dest_nodata=False,
    )
    return pixels


def _reached(box: GeoBox, grid: GeoBox) -> tuple[slice, slice]:
    """Rows and columns of a file on which the interpolation on a grid rests."""
    x, y = border(grid, str(box.crs)).T
    a, b, c, d, e, f = tuple(~box.transform)[:6]
    columns, rows = a * x + b * y + c, d * x + e * y + f
    slices = []
    for places, length, coarser in (
        (rows, box.shape[0], abs(grid.resolution.y / box.resolution.y)),
        (columns, box.shape[1], abs(grid.resolution.x / box.resolution.x)),
    ):
        margin = _KERNEL_PX * max(1.0, coarser)
        first, last = math.floor(places.min() - margin), math.ceil(places.max() + margin)
        slices.append(slice(max(0, first), min(length, last)))
    return slices[0], slices[1]


def _values(source: Source, file: Any, rows: slice, columns: slice) -> Pixels:
    """Read pixels: codes as they are, images as reflectance with NaN where there is none."""
    if rows.stop <= rows.start or columns.stop <= columns.start:
        raise _elsewhere(source)
    asset, window = source.asset, Window.from_slices(rows, columns)
    numbers = file.read(asset.index, window=window)
    if source.is_quality:
        return np.asarray(numbers, np.uint16)
    nodata = file.nodatavals[asset.index - 1] if asset.nodata is None else asset.nodata
    values: NDArray[np.float32] = numbers.astype(np.float32)
    values *= np.float32(asset.scale)
    values += np.float32(asset.offset)
    if nodata is not None:
        values[numbers == nodata] = np.nan
    if MaskFlags.per_dataset in file.mask_flag_enums[asset.index - 1]:
        values[file.read_masks(asset.index, window=window) == 0] = np.nan
    return values
