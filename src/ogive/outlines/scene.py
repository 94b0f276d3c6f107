"""Scenes of any size in files: bands by name, on the grid of the first, read by windows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window
from shapely import box

from ogive.model import GridError, InputError, is_in_metres
from ogive.scenes.names import fill_value_from_name

from .bands import BANDS, check_values
from .location import areal_scale
from .predict import ScenePart
from .terrain import slope_deg
from .tile_geotiff import named_bands

__all__ = ["RasterScene", "opened_scene"]

_LOOKED_AT_PX = 512
_RIM_PX = 1
"""Slope needs a neighbour on each side."""
_NO_DATA = float(np.finfo(np.float32).min)
"""What GDAL is told to fill gaps with; with NaN it loses images whose fourth band it takes for an
alpha channel, as it does with any four bands of 8 bits."""
_OBLONG = 0.01
"""Sides of pixels may differ by so much."""
_DISTORTED = 0.02
"""Areas on the map may differ by so much from those on the ground before it is said."""
_LOWEST_M, _HIGHEST_M = -1000.0, 9000.0
_LEAST_REACH = 0.1
"""Numbers of 8 bits must reach at least such a reflectance."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Layer:
    """One band of an open file, on the scene's grid with a rim."""

    file: Any
    index: int
    scale: float
    offset: float

    def read(self, rows: slice, columns: slice, shape: tuple[int, int] | None = None) -> Any:
        """Read a window of the grid with its rim, in physical units."""
        window = Window.from_slices(rows, columns)
        raw = self.file.read(self.index, window=window, out_shape=shape)
        known = np.where(raw == np.float32(_NO_DATA), np.float32(np.nan), raw)
        return known * np.float32(self.scale) + np.float32(self.offset)

    def is_zero(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether the file's numbers were 0, of values that were read."""
        return np.asarray(values == np.float32(self.offset))


@dataclass(frozen=True)
class RasterScene:
    """Bands of open files on one grid.

    Attributes
    ----------
    geobox
        The grid, that of the first file.
    bands
        Names of the bands, in the order in which they are read.
    """

    geobox: GeoBox
    bands: tuple[str, ...]
    layers: dict[str, _Layer]

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.geobox.height)

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.geobox.width)

    def read(self, rows: slice, columns: slice) -> ScenePart:
        """Read a window that lies inside the scene."""
        wide = (
            slice(rows.start, rows.stop + 2 * _RIM_PX),
            slice(columns.start, columns.stop + 2 * _RIM_PX),
        )
        inner = (slice(_RIM_PX, -_RIM_PX),) * 2
        read: dict[str, NDArray[np.float32]] = {}
        for name in self.bands:
            if name == "slope":
                elevation = self.layers["elevation"].read(*wide)
                read[name] = slope_deg(elevation, abs(self.geobox.resolution.x))[inner]
            else:
                read[name] = self.layers[name].read(*wide)[inner]
        pixels = np.stack([read[name] for name in self.bands])
        valid = np.isfinite(pixels).all(0) & ~self.blank(read)
        return ScenePart(np.where(valid, pixels, 0.0).astype(np.float32), valid)

    def blank(self, read: Mapping[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
        """Find pixels that are 0 in all optical bands: no data, whatever a file declares."""
        zero = [
            self.layers[name].is_zero(values)
            for name, values in read.items()
            if BANDS[name].modality == "optical"
        ]
        return np.asarray(np.logical_and.reduce(zero) if zero else False, bool)

    def elevation_m(self) -> NDArray[np.float32]:
        """Read the whole elevation model on the grid; NaN where it has none.

        Raises
        ------
        InputError
            If there is none, or it has elevations that are nowhere on land.
        """
        if "elevation" not in self.layers:
            raise InputError("the scene has no elevation model: give one")
        every = (slice(_RIM_PX, self.height + _RIM_PX), slice(_RIM_PX, self.width + _RIM_PX))
        read = np.asarray(self.layers["elevation"].read(*every), np.float32)
        known = read[np.isfinite(read)]
        if known.size and (known.min() < _LOWEST_M or known.max() > _HIGHEST_M):
            raise InputError(
                f"the elevation model has elevations from {known.min():.6g} to {known.max():.6g}: "
                "they must be in metres, and the value that stands for no data be declared"
            )
        return read


@contextmanager
def opened_scene(
    paths: Sequence[str | Path],
    bands: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    dem: str | Path | None = None,
) -> Iterator[RasterScene]:
    """Open a scene; its values are checked, a few hundred pixels a side.

    Pixels that are 0 in all optical bands have no data, whatever a file declares.

    Parameters
    ----------
    paths
        One file of several bands, or several files, in any order.
    bands
        Those wanted, in this order.
    names
        Of all bands of all files, in their order; by default as the files describe them.
    scale, offset
        What turns the files' numbers into reflectance (number times scale plus offset), where the
        files do not say themselves.
    dem
        Elevation model, in any coordinate reference system; slope is made from it.

    Raises
    ------
    InputError
        If a file cannot be read, bands are not named, a band that is wanted is missing, or values
        are not what their bands' names say.
    GridError
        If a file has no coordinate reference system or no place, the grid is not in metres or its
        pixels are not square, or files do not overlap.
    """
    if not paths:
        raise InputError("no file of a scene was given")
    if not (0 < scale < np.inf and np.isfinite(offset)):
        raise InputError(
            f"scale is {scale:g} and offset {offset:g}: scale must be above 0, both finite"
        )
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(path)) for path in paths]
        geobox = _grid_of(files[0], paths[0])
        _refuse_grid(geobox, paths[0])
        found = _layers(files, paths, names, geobox, stack, scale=scale, offset=offset)
        if dem is not None:
            file = stack.enter_context(_opened(dem))
            found["elevation"] = _Layer(_on_grid(file, dem, geobox, stack, "bilinear"), 1, 1.0, 0.0)
        for band in bands:
            source = "elevation" if band == "slope" else band
            if source not in found:
                hint = "give an elevation model" if source == "elevation" else "name the bands"
                raise InputError(
                    f"the scene has no band {source}: there are "
                    f"{', '.join(found) or 'none'}; {hint}"
                )
        scene = RasterScene(geobox, tuple(bands), found)
        _check(scene, str(paths[0]))
        yield scene


def _layers(
    files: Sequence[Any],
    paths: Sequence[str | Path],
    names: Sequence[str] | None,
    geobox: GeoBox,
    stack: ExitStack,
    *,
    scale: float,
    offset: float,
) -> dict[str, _Layer]:
    described = [name for file in files for name in file.descriptions]
    told = named_bands(described, names, Path(paths[0]))
    if repeated := sorted({name for name in told if told.count(name) > 1}):
        raise InputError(f"the scene has the band {repeated[0]} twice: name each band once")
    found: dict[str, _Layer] = {}
    remaining = iter(told)
    for file, path in zip(files, paths, strict=True):
        on_grid = _on_grid(file, path, geobox, stack, "nearest")
        for index, its_scale, its_offset in zip(
            file.indexes, file.scales, file.offsets, strict=True
        ):
            name = next(remaining)
            says = its_scale != 1.0 or its_offset != 0.0
            optical = BANDS[name].modality == "optical"
            found[name] = _Layer(
                on_grid,
                index,
                its_scale if says or not optical else scale,
                its_offset if says or not optical else offset,
            )
            if optical and file.dtypes[index - 1] == "uint8":
                _refuse_eight_bits(found[name], path)
    return found


def _refuse_eight_bits(layer: _Layer, path: str | Path) -> None:
    highest = 255 * layer.scale + layer.offset
    if highest < _LEAST_REACH:
        raise InputError(
            f"{path} has numbers of 8 bits, which times {layer.scale:g} reach a reflectance of "
            f"{highest:.2g} only: pass the scale that makes them reflectance, such as 0.004"
        )


def _refuse_grid(geobox: GeoBox, path: str | Path) -> None:
    """Refuse grids on which lengths and areas would be wrong, and say where areas will be."""
    if geobox.crs is None or not is_in_metres(geobox.crs):
        raise GridError(f"{path} has no grid in metres: reproject it to a projected one, in metres")
    x_m, y_m = abs(geobox.resolution.x), abs(geobox.resolution.y)
    if abs(x_m - y_m) > _OBLONG * x_m:
        raise GridError(
            f"{path} has pixels of {x_m:g} x {y_m:g} m: reproject it to square ones, as the "
            "network was trained on"
        )
    scale = areal_scale(geobox)
    if abs(scale - 1.0) > _DISTORTED:
        _log.warning(
            "areas on the map of %s are %.2f times those on the ground there, and so are those of "
            "the glaciers: reproject it, such as to UTM",
            path,
            scale,
        )


def _on_grid(file: Any, path: str | Path, geobox: GeoBox, stack: ExitStack, resampling: str) -> Any:
    """See a file on the grid with a rim, as float32 with NaN for no data."""
    own = _grid_of(file, path)
    here = box(*transform_bounds(str(own.crs), str(geobox.crs), *own.boundingbox))
    if not here.intersects(box(*geobox.boundingbox)):
        raise GridError(f"{path} does not overlap the first file of the scene")
    nodata = file.nodata if file.nodata is not None else fill_value_from_name(path)
    return stack.enter_context(
        WarpedVRT(
            file,
            crs=str(geobox.crs),
            transform=geobox.transform * Affine.translation(-_RIM_PX, -_RIM_PX),
            height=geobox.height + 2 * _RIM_PX,
            width=geobox.width + 2 * _RIM_PX,
            resampling=Resampling[resampling],
            src_nodata=nodata,
            nodata=_NO_DATA,
            dtype="float32",
            # Else a band's gap counts only where all bands of the file have one.
            UNIFIED_SRC_NODATA="NO",
        )
    )


def _check(scene: RasterScene, source: str) -> None:
    """Look at the whole scene, coarsely."""
    every = (slice(_RIM_PX, scene.height + _RIM_PX), slice(_RIM_PX, scene.width + _RIM_PX))
    shape = (min(scene.height, _LOOKED_AT_PX), min(scene.width, _LOOKED_AT_PX))
    names = [name for name in scene.bands if name != "slope"]
    read = {name: scene.layers[name].read(*every, shape) for name in names}
    looked = np.stack([read[name] for name in names])
    finite, blank = np.isfinite(looked).all(0), scene.blank(read)
    valid = finite & ~blank
    if not valid.any():
        raise InputError(f"{source} has no pixel with data in all bands")
    if share := float((finite & blank).mean()):
        _log.warning("%.1f %% of %s are 0 in all bands: no data there", 100 * share, source)
    scales = [scene.layers[name].scale for name in names]
    check_values(looked, names, valid, source, scales=scales)


def _grid_of(file: Any, path: str | Path) -> GeoBox:
    if file.crs is None:
        raise GridError(f"{path} has no coordinate reference system: give it one")
    if file.transform.is_identity:
        raise GridError(f"{path} does not say where it lies: give it a geotransform")
    return GeoBox((file.height, file.width), file.transform, str(file.crs))


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    if not Path(path).exists() and "://" not in str(path) and not str(path).startswith("/vsi"):
        raise InputError(f"there is no file {path}")
    try:
        file = rasterio.open(path)
    except RasterioError as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from error
    with file:
        yield file
