"""Tiles of one lattice, taken in different years, with masks of what is glacier."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ogive.model import GridError, InputError

__all__ = ["Mosaic", "YearTile", "mosaic", "read_year_tiles", "touching"]

NAME = r"(?P<place>.+)_(?P<year>\d{4})_tile_\d+"
NOT_GLACIER = 0
LATTICE_TOLERANCE_PX = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class YearTile:
    """A tile of one year with what is glacier in it.

    Attributes
    ----------
    place
        The glacier's name.
    year
        Of the image.
    left, top
        First column and row on the lattice that all tiles share.
    pixels
        ``(band, y, x)``, 0 where there is no data.
    stable
        ``(y, x)``: no glacier.
    pixel_size_m, crs
        Of the lattice.
    """

    place: str
    year: int
    left: int
    top: int
    pixels: NDArray[np.float32]
    stable: NDArray[np.bool_]
    pixel_size_m: float
    crs: str

    @property
    def right(self) -> int:
        """Column after the last one."""
        return self.left + int(self.stable.shape[1])

    @property
    def bottom(self) -> int:
        """Row after the last one."""
        return self.top + int(self.stable.shape[0])


def read_year_tiles(pattern: str | Path, *, masks: str | Path, name: str = NAME) -> list[YearTile]:
    """Read tiles of different years and the glacier masks that go with them.

    Parameters
    ----------
    pattern
        Of the images' paths, with ``*``; all on one lattice.
    masks
        Folder with a mask of each image under its name: 0 is no glacier, 1 glacier, other numbers
        are unknown.
    name
        Regular expression of a file's stem with the groups ``place`` and ``year``.

    Raises
    ------
    InputError
        If there is no image, a file cannot be read, or a name does not tell place and year.
    GridError
        If a tile is on another lattice, or differs in size from its mask.
    """
    paths = [Path(path) for path in sorted(glob(str(pattern)))]  # noqa: PTH207 (absolute patterns)
    if not paths:
        raise InputError(f"no image matches {pattern}")
    tiles: list[YearTile] = []
    lattice: _Lattice | None = None
    for path in paths:
        told = re.fullmatch(name, path.stem)
        if told is None:
            raise InputError(f"{path.name} does not tell place and year as {name} does")
        image, mask = _read(path), _read(Path(masks) / path.name)
        if mask[1:] != image[1:] or mask.pixels.shape[1:] != image.pixels.shape[1:]:
            raise GridError(f"{path.name}: image and mask are on different grids")
        if lattice not in (None, image.lattice):
            raise GridError(f"{path.name} is on another lattice than {paths[0].name}")
        lattice = image.lattice
        tiles.append(
            YearTile(
                told["place"],
                int(told["year"]),
                image.left,
                image.top,
                image.pixels,
                mask.pixels[0] == NOT_GLACIER,
                image.lattice.pixel_size_m,
                image.lattice.crs,
            )
        )
    return tiles


class _Lattice(NamedTuple):
    """Reference system and pixel size: all else of a lattice through the origin."""

    crs: str
    pixel_size_m: float


class _Raster(NamedTuple):
    pixels: NDArray[np.float32]
    left: int
    top: int
    lattice: _Lattice


def _read(path: Path) -> _Raster:
    """Pixels, and where on which lattice the first one lies."""
    try:
        with rasterio.open(path) as file:
            pixels = file.read().astype(np.float32)
            crs, transform = str(file.crs), file.transform
    except RasterioError as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from error
    size = float(transform.a)
    if transform.b or transform.d or size <= 0 or transform.e != -size:
        raise GridError(f"{path}: its grid is not of square pixels with north up")
    across, down = transform.c / size, -transform.f / size
    left, top = round(across), round(down)
    if max(abs(across - left), abs(down - top)) > LATTICE_TOLERANCE_PX:
        raise GridError(f"{path}: its corner is no whole number of pixels from the origin")
    return _Raster(pixels, left, top, _Lattice(crs, size))


def touching(tiles: Sequence[YearTile]) -> list[list[YearTile]]:
    """Groups of tiles that overlap, directly or by others."""
    if not tiles:
        return []
    edges = np.array([(tile.left, tile.right, tile.top, tile.bottom) for tile in tiles])
    left, right, top, bottom = (edges[:, k] for k in range(4))
    overlap = (np.minimum.outer(right, right) > np.maximum.outer(left, left)) & (
        np.minimum.outer(bottom, bottom) > np.maximum.outer(top, top)
    )
    _, group = connected_components(coo_array(overlap), directed=False)
    return [
        [tile for tile, its in zip(tiles, group, strict=True) if its == number]
        for number in range(int(group.max()) + 1)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """All tiles of one year, on the box of all years' tiles.

    Attributes
    ----------
    pixels
        ``(band, y, x)``.
    valid
        ``(y, x)``: some tile of the year has data.
    stable
        ``(y, x)``: no tile of any year has glacier here.
    """

    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]
    stable: NDArray[np.bool_]


def mosaic(group: Sequence[YearTile], year: int) -> Mosaic:
    """Join the tiles of one year; what any of the group calls glacier is not stable."""
    left, top = min(tile.left for tile in group), min(tile.top for tile in group)
    shape = max(tile.bottom for tile in group) - top, max(tile.right for tile in group) - left
    pixels = np.zeros((len(group[0].pixels), *shape), np.float32)
    valid, stable = np.zeros(shape, bool), np.ones(shape, bool)
    for tile in group:
        place = np.s_[tile.top - top : tile.bottom - top, tile.left - left : tile.right - left]
        stable[place] &= tile.stable
        if tile.year == year:
            seen = (tile.pixels > 0).all(axis=0) & np.isfinite(tile.pixels).all(axis=0)
            pixels[:, *place] = np.where(seen, tile.pixels, pixels[:, *place])
            valid[place] |= seen
    return Mosaic(pixels, valid, stable)
