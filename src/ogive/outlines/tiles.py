"""Tiles: what a network learns from, piece by piece.

A tile is a stack of named bands on one grid with its labels, wherever it lies: `tile_hdf5` reads
the published benchmark's files and writes others of their kind, `tile_geotiff` pairs images with
masks. Tiles are read by windows, since a benchmark may be far larger than memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.model import InputError

__all__ = [
    "GLACIER",
    "IGNORE",
    "OTHER",
    "Labelled",
    "Tile",
    "TileInfo",
    "band_indices",
    "labels_of",
]

OTHER, GLACIER, IGNORE = 0, 1, 255
"""Values of labels: ground, glacier, and what is neither learned from nor scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileInfo:
    """What is known of a tile before it is read.

    Attributes
    ----------
    name
        Unique among the tiles of a training.
    place
        Tiles of one place stay on one side of a split.
    bands
        Names of its bands.
    height, width
        In pixels.
    geobox
        Its grid; ``None`` where the file does not tell its coordinate system.
    region
        Name of its region; empty where it is not told.
    """

    name: str
    place: str
    bands: tuple[str, ...]
    height: int
    width: int
    geobox: GeoBox | None = None
    region: str = ""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pixels with their labels.

    Attributes
    ----------
    pixels
        ``(band, y, x)``, float32, in physical units; 0 where not valid.
    labels
        ``(y, x)``, uint8: `OTHER`, `GLACIER` or `IGNORE`; `IGNORE` where not valid.
    valid
        ``(y, x)``, where all bands have data.
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.uint8]
    valid: NDArray[np.bool_]


class Tile(Protocol):
    """Something that can be read by windows."""

    @property
    def info(self) -> TileInfo:
        """What it is."""

    def read(self, rows: slice, columns: slice, bands: Sequence[str]) -> Labelled:
        """Read a window of some of the bands, in the order that is asked."""


def band_indices(info: TileInfo, bands: Sequence[str]) -> list[int]:
    """Find bands among those of a tile.

    Raises
    ------
    InputError
        If a band is missing.

    Examples
    --------
    >>> info = TileInfo(name="a", place="a", bands=("red", "nir"), height=1, width=1)
    >>> band_indices(info, ["nir"])
    [1]
    """
    missing = [band for band in bands if band not in info.bands]
    if missing:
        raise InputError(
            f"the tile {info.name} has no band {missing[0]}: it has {', '.join(info.bands)}"
        )
    return [info.bands.index(band) for band in bands]


def labels_of(
    mask: NDArray[np.generic], valid: NDArray[np.bool_], source: str
) -> NDArray[np.uint8]:
    """Check the values of a mask, and ignore it where there are no data.

    Raises
    ------
    InputError
        If the mask has other values than 0, 1 and 255.

    Examples
    --------
    >>> labels_of(np.array([[0, 1, 255]]), np.array([[True, False, True]]), "mask.tif")
    array([[  0, 255, 255]], dtype=uint8)
    """
    unknown = np.setdiff1d(mask, [OTHER, GLACIER, IGNORE])
    if unknown.size:
        raise InputError(
            f"{source} has the value {unknown[0]}: a mask has 0 for ground, 1 for glacier and 255 "
            "for what is not to be used"
        )
    return np.where(valid, mask, IGNORE).astype(np.uint8)
