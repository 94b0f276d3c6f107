"""Tiles in HDF5 files, as in the benchmark of Maslov et al. 2025.

A file has one group for each tile. Its datasets are ``(y, x, band)``: ``optical`` (blue, green,
red, NIR and two SWIR), ``dem`` (elevation, slope), ``thermal``, ``co_pol_sar``, ``cross_pol_sar``
and ``in_sar`` (ascending, descending each), and ``outlines``, which is one-hot (ground, glacier).
Attributes tell the region, and the extent without the padding. Tiles that ogive writes also say
their coordinate system, and which bands of a modality they have when these are not all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.learning.files import written_whole
from ogive.model import GridError, InputError

from .bands import BANDS, check_values, modalities_of
from .tiles import GLACIER, IGNORE, OTHER, Labelled, TileInfo, band_indices

__all__ = ["Hdf5Tile", "hdf5_tiles", "write_hdf5_tiles"]

OUTLINES = "outlines"
_CHECKED_EVERY = 8
"""Every eighth row and column is enough to tell a wrong scale."""


@dataclass(frozen=True, slots=True)
class Hdf5Tile:
    """One group of a file, read by windows.

    Attributes
    ----------
    info
        What it is.
    path
        The file.
    core
        Rows and columns inside the padding.
    """

    info: TileInfo
    path: Path
    core: tuple[slice, slice]

    def read(self, rows: slice, columns: slice, bands: Sequence[str]) -> Labelled:
        """Give a window; see `ogive.outlines.tiles.Tile`."""
        with _opened(self.path) as file:
            return _read(file[self.info.name], self, rows, columns, bands)


def hdf5_tiles(path: str | Path, *, check: bool = True) -> list[Hdf5Tile]:
    """List the tiles of a file.

    Parameters
    ----------
    path
        The file.
    check
        Whether to look at the values of each tile: are they what their bands' names say?

    Raises
    ------
    InputError
        If the file is no HDF5 file or holds no tiles, or a tile lacks its outlines, has another
        number of bands than its datasets' names say, or datasets of different sizes.
    """
    path = Path(path)
    with _opened(path) as file:
        groups = [name for name, item in file.items() if isinstance(item, h5py.Group)]
        if not groups:
            raise InputError(f"{path} holds no tiles: each is a group with its datasets")
        tiles = [_tile(file[name], name, path) for name in sorted(groups)]
        for tile in tiles if check else ():
            every = slice(None, None, _CHECKED_EVERY)
            read = _read(file[tile.info.name], tile, every, every, tile.info.bands)
            check_values(read.pixels, tile.info.bands, read.valid, f"{path}, {tile.info.name}")
    return tiles


def write_hdf5_tiles(path: str | Path, tiles: Iterable[tuple[TileInfo, Labelled]]) -> Path:
    """Write tiles as the benchmark has them; the file appears when it is whole.

    Parameters
    ----------
    path
        Where.
    tiles
        One after the other; names are unique, and bands may be any subset.

    Raises
    ------
    InputError
        If there is no tile, two have one name, or a tile has no coordinate system.
    GridError
        If a tile's rows do not run from north to south, which the format has no place to tell.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    with written_whole(path) as partial, h5py.File(partial, "w") as file:
        for info, content in tiles:
            if info.name in file:
                raise InputError(f"two tiles have the name {info.name}: give each its own")
            _write(file.create_group(info.name), info, content)
        if not len(file):
            raise InputError(f"{path}: there is no tile to write")
    return path


def _write(group: Any, info: TileInfo, content: Labelled) -> None:
    if info.geobox is None or info.geobox.crs is None:
        raise InputError(f"the tile {info.name} has no coordinate reference system: give it one")
    to_map = info.geobox.transform
    if to_map.b or to_map.d or to_map.a < 0 or to_map.e > 0:
        raise GridError(
            f"the grid of the tile {info.name} is turned or upside down: reproject its scene so "
            "that rows run from north to south"
        )
    for modality, bands in modalities_of(info.bands).items():
        chosen = content.pixels[band_indices(info, bands)].transpose(1, 2, 0)
        filled = np.where(content.valid[..., None], chosen, np.nan).astype(np.float32)
        dataset = group.create_dataset(modality, data=filled, compression="gzip", shuffle=True)
        dataset.attrs["bands"] = list(bands)
    hot = np.stack([content.labels == OTHER, content.labels == GLACIER], -1)
    group.create_dataset(OUTLINES, data=hot.astype(np.uint8), compression="gzip")
    left, bottom, right, top = info.geobox.boundingbox
    for key, value in {
        "height": info.height,
        "width": info.width,
        "original_height": info.height,
        "original_width": info.width,
        "padding_height": 0,
        "padding_width": 0,
        **{"xmin": left, "ymin": bottom, "xmax": right, "ymax": top},
        "region": info.region,
        "subregion": info.region,
        "crs": info.geobox.crs.to_wkt(),
        "place": info.place,
    }.items():
        group.attrs[key] = value


def _tile(group: Any, name: str, path: Path) -> Hdf5Tile:
    source = f"{path}, {name}"
    if OUTLINES not in group:
        raise InputError(f"{source} has no dataset {OUTLINES!r}")
    height, width, classes = _shape(group[OUTLINES], source)
    if classes != 2:
        raise InputError(f"{source}: outlines have {classes} classes; ground and glacier are 2")
    bands: list[str] = []
    for modality in dict.fromkeys(band.modality for band in BANDS.values()):
        if modality in group:
            dataset = group[modality]
            bands += _bands_of(dataset, modality, source)
            if _shape(dataset, source)[:2] != (height, width):
                raise InputError(f"{source}: {modality} and outlines have different sizes")
    if not bands:
        raise InputError(f"{source} has none of the datasets {', '.join(modalities_of(BANDS))}")
    core = _core(group.attrs, height, width, source)
    region = str(group.attrs.get("region", ""))
    info = TileInfo(
        name=name,
        place=str(group.attrs.get("place", name)),
        bands=tuple(bands),
        height=height,
        width=width,
        geobox=_geobox(group.attrs, core, height, width),
        region=region,
    )
    return Hdf5Tile(info, path, core)


def _shape(dataset: Any, source: str) -> tuple[int, int, int]:
    if dataset.ndim != 3:
        raise InputError(f"{source}: {dataset.name} has {dataset.ndim} axes; (y, x, band) are 3")
    height, width, count = dataset.shape
    return int(height), int(width), int(count)


def _bands_of(dataset: Any, modality: str, source: str) -> list[str]:
    """Names of a dataset's bands: told by its attribute, or all that there are of the modality."""
    told = dataset.attrs.get("bands")
    of_modality = [name for name, band in BANDS.items() if band.modality == modality]
    names = of_modality if told is None else [str(name) for name in told]
    count = _shape(dataset, source)[2]
    if count != len(names):
        raise InputError(
            f"{source}: {modality} has {count} bands, but {len(names)} are expected: "
            f"{', '.join(names)}"
        )
    if wrong := sorted(set(names) - set(of_modality)):
        raise InputError(f"{source}: {modality} has no band {wrong[0]!r}")
    return names


def _core(attrs: Any, height: int, width: int, source: str) -> tuple[slice, slice]:
    spans = []
    for side, length in (("height", height), ("width", width)):
        first = int(attrs.get(f"padding_{side}", 0))
        size = int(attrs.get(f"original_{side}", length - first))
        if first < 0 or size < 1 or first + size > length:
            raise InputError(
                f"{source}: {size} pixels behind a padding of {first} do not fit its {side} "
                f"{length}"
            )
        spans.append(slice(first, first + size))
    return spans[0], spans[1]


def _geobox(attrs: Any, core: tuple[slice, slice], height: int, width: int) -> GeoBox | None:
    """Find the grid, where the file says its coordinate system."""
    if "crs" not in attrs or any(key not in attrs for key in ("xmin", "ymin", "xmax", "ymax")):
        return None
    rows, columns = core
    dx = (float(attrs["xmax"]) - float(attrs["xmin"])) / (columns.stop - columns.start)
    dy = (float(attrs["ymax"]) - float(attrs["ymin"])) / (rows.stop - rows.start)
    left = float(attrs["xmin"]) - columns.start * dx
    top = float(attrs["ymax"]) + rows.start * dy
    return GeoBox((height, width), Affine(dx, 0, left, 0, -dy, top), str(attrs["crs"]))


def _read(
    group: Any, tile: Hdf5Tile, rows: slice, columns: slice, bands: Sequence[str]
) -> Labelled:
    band_indices(tile.info, bands)
    layers: dict[str, NDArray[np.float32]] = {}
    for modality in modalities_of(bands):
        stack = group[modality][rows, columns, :]
        for number, name in enumerate(_bands_of(group[modality], modality, tile.info.name)):
            layers[name] = stack[..., number].astype(np.float32)
    pixels = np.stack([layers[name] for name in bands])
    valid = np.isfinite(pixels).all(0) & _inside(tile, rows, columns)
    hot = group[OUTLINES][rows, columns, :]
    if np.setdiff1d(hot, [0, 1]).size or (hot.sum(-1) > 1).any():
        raise InputError(f"{tile.path}, {tile.info.name}: outlines must be one-hot, of 0 and 1")
    labels = np.where(hot[..., 1] == 1, GLACIER, np.where(hot[..., 0] == 1, OTHER, IGNORE))
    return Labelled(
        np.where(valid, pixels, 0).astype(np.float32),
        np.where(valid, labels, IGNORE).astype(np.uint8),
        valid,
    )


def _inside(tile: Hdf5Tile, rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Whether pixels of a window lie inside the padding."""
    row, column = np.zeros(tile.info.height, bool), np.zeros(tile.info.width, bool)
    row[tile.core[0]], column[tile.core[1]] = True, True
    return row[rows, None] & column[None, columns]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be read as an HDF5 file: {error}") from error
    with file:
        yield file
