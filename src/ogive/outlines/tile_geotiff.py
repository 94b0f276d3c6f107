"""Tiles that are pairs of files: an image and a mask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from ogive.model import GridError, InputError
from ogive.scenes.polygons import burned, read_polygons

from .bands import band_named, check_values, known_band
from .tiles import IGNORE, Labelled, TileInfo, band_indices, labels_of

__all__ = ["GeoTiffTile", "geotiff_tiles"]

_BAND_NUMBER = re.compile(r"[bB]\d+")


@dataclass(frozen=True, slots=True)
class GeoTiffTile:
    """An image and its mask, in memory."""

    info: TileInfo
    content: Labelled = field(repr=False)

    def read(self, rows: slice, columns: slice, bands: Sequence[str]) -> Labelled:
        """Give a window; see `ogive.outlines.tiles.Tile`."""
        chosen = band_indices(self.info, bands)
        return Labelled(
            self.content.pixels[chosen, rows, columns],
            self.content.labels[rows, columns],
            self.content.valid[rows, columns],
        )


def geotiff_tiles(
    images: Sequence[Path],
    masks: Path,
    *,
    place: str,
    bands: Sequence[str] | None = None,
    scale: float = 1.0,
    region: str = "",
    coverage: Path | None = None,
) -> list[GeoTiffTile]:
    """Read pairs of images and masks, small enough for memory.

    Parameters
    ----------
    images
        Files with one band for each name.
    masks
        Folder with a file of the same name for each.
    place
        Regular expression that is matched at the beginning of a file's name; its first group, or
        all that it matched, names the place.
    bands
        Names of the bands; by default those that the files describe.
    scale
        What turns the image's numbers into reflectance.
    region
        Of all tiles.
    coverage
        Polygons in which the masks are complete, such as the country of an inventory: elsewhere
        their ground may be ice that nobody drew, and is ignored. By default they are everywhere.

    Raises
    ------
    InputError
        If a file is missing or no image, bands are not named or too many or too few, a value is
        none that its band can have, a mask has other values than 0, 1 and 255, a name has no
        place, or the coverage holds no polygons.
    GridError
        If an image or the coverage has no coordinate reference system, a mask has another grid than
        its image, or the coverage reaches no tile.
    """
    if not images:
        raise InputError("there are no images: check the pattern of their paths")
    covered = None if coverage is None else read_polygons(coverage)
    tiles = []
    for path in sorted(images):
        found = re.match(place, path.name)
        if found is None:
            raise InputError(f"{path.name} does not begin with a place: {place!r} does not match")
        name = found.group(1) if found.re.groups else found.group(0)
        pixels, valid, grid, names = _read_image(path, bands, scale)
        labels = labels_of(_read_mask(masks / path.name, grid), valid, str(masks / path.name))
        if covered is not None:
            labels = np.where(burned(covered, grid), labels, np.uint8(IGNORE))
        info = TileInfo(
            name=path.stem,
            place=name,
            bands=names,
            height=grid.height,
            width=grid.width,
            geobox=grid,
            region=region,
        )
        tiles.append(GeoTiffTile(info, Labelled(pixels, labels, valid)))
    if covered is not None and all((tile.content.labels == IGNORE).all() for tile in tiles):
        raise GridError(f"no polygon of {coverage} covers a pixel of any tile")
    return tiles


def _read_image(
    path: Path, bands: Sequence[str] | None, scale: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_], GeoBox, tuple[str, ...]]:
    with _opened(path) as file:
        names = named_bands(file.descriptions, bands, path)
        raw = file.read()
        valid = np.ones(raw.shape[1:], bool) & np.isfinite(raw).all(0)
        for values, nodata in zip(raw, file.nodatavals, strict=True):
            if nodata is not None:
                valid &= values != nodata
        grid = _grid(file, path)
    pixels = np.where(valid, raw * np.float32(scale), 0).astype(np.float32)
    check_values(pixels, names, valid, str(path))
    return pixels, valid, grid, names


def named_bands(
    described: Sequence[str | None], given: Sequence[str] | None, path: Path
) -> tuple[str, ...]:
    """Name the bands of an image, as told or as its file describes them.

    Raises
    ------
    InputError
        If nobody names them, names are not known, there are more or fewer names than bands, or the
        file describes another order.
    """
    if given is not None and len(given) != len(described):
        raise InputError(
            f"{path} has {len(described)} bands, but {len(given)} were named: {', '.join(given)}"
        )
    names = [name or "" for name in (given if given is not None else described)]
    if not all(names):
        raise InputError(
            f"{path} does not say what its {len(names)} bands are: name them, such as "
            "blue, green, red, nir"
        )
    try:
        told = tuple(band_named(name) for name in names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _refuse_other_order(told, described, path)
    return told


def _refuse_other_order(told: Sequence[str], described: Sequence[str | None], path: Path) -> None:
    """Refuse names that contradict a file's descriptions.

    A number alone contradicts nothing, since satellites number their bands differently; numbers of
    the same bands in another order do.
    """
    found = [known_band(name or "") for name in described]
    other_order = sorted(told) == sorted(name or "" for name in found)
    for number, (name, band, description) in enumerate(zip(told, found, described, strict=True), 1):
        plain = not _BAND_NUMBER.fullmatch((description or "").strip())
        if band is not None and band != name and (plain or other_order):
            raise InputError(
                f"{path} describes its band {number} as {description!r}, but it was named {name}: "
                "name the bands in the order of the file"
            )


def _read_mask(path: Path, grid: GeoBox) -> NDArray[np.generic]:
    with _opened(path) as file:
        # A nodata value of 0 in a mask's header means ground; 255 is what is ignored.
        mask: NDArray[np.generic] = file.read(1)
        if _grid(file, path) != grid:
            raise GridError(f"{path} has another grid than its image: make them the same")
    return mask


def _grid(file: Any, path: Path) -> GeoBox:
    if file.crs is None:
        raise GridError(f"{path} has no coordinate reference system: give it one")
    return GeoBox((file.height, file.width), file.transform, file.crs)


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path} does not exist: each image needs a mask of the same name")
    try:
        return rasterio.open(path)
    except RasterioError as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from error
