"""Tiles as the benchmark has them, cut from scenes, an elevation model and an inventory.

Squares of about 10 x 10 km at 10 m are sorted at random into files of training (60 %), validation
and test (20 % each), as the published ones are. Tiles without any data are left out, and so are
those that no glacier touches, unless they are wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from ogive.learning.files import written_whole
from ogive.learning.split import SIDES, Side
from ogive.model import GridError, InputError
from ogive.scenes.polygons import burned, read_polygons

from .scene import RasterScene, opened_scene
from .tile_hdf5 import write_hdf5_tiles
from .tiles import GLACIER, IGNORE, Labelled, TileInfo
from .vectors import on_grid, read_inventory

__all__ = ["BuildOptions", "TilesBuilt", "build_tiles"]

_SHARE_KEPT = 0.2
"""Of the tiles for validation, and as many for test; the rest is learned from."""
_FEW = 5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How tiles are cut.

    Attributes
    ----------
    region
        Name of the region, such as ``"ALP"``.
    names
        Of all bands of all files, in their order; by default as the files describe them.
    scale, offset
        What turns the files' numbers into reflectance.
    tile_px
        Side of the tiles.
    empty
        Whether tiles without glaciers are kept.
    seed
        Of the split.
    overwrite
        Whether the files of another build in the folder are replaced, all of them.

    Raises
    ------
    InputError
        If the region has no name, or tiles are too small.
    """

    region: str
    names: Sequence[str] | None = None
    scale: float = 1.0
    offset: float = 0.0
    tile_px: int = 1000
    empty: bool = False
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be written."""
        if not self.region or "/" in self.region:
            raise InputError(f"the region is {self.region!r}: give it a name, such as ALP")
        if self.tile_px < 16:
            raise InputError(f"tiles of {self.tile_px} px: at least 16 are needed")


@dataclass(frozen=True, slots=True)
class TilesBuilt:
    """What was written.

    Attributes
    ----------
    files
        The file of each side that has tiles.
    counts
        Number of tiles of each side.
    left_out
        Tiles without data, or without a glacier.
    """

    files: Mapping[Side, Path]
    counts: Mapping[Side, int]
    left_out: int


def build_tiles(
    paths: Sequence[str | Path],
    inventory: str | Path,
    folder: str | Path,
    *,
    bands: Sequence[str],
    options: BuildOptions,
    dem: str | Path | None = None,
    coverage: str | Path | None = None,
) -> TilesBuilt:
    """Cut tiles from a scene and write them as HDF5.

    Parameters
    ----------
    paths
        Files of the scene; see `ogive.outlines.scene.opened_scene`.
    inventory
        Polygons of all glaciers in the scene, of its date.
    folder
        Gets ``train.hdf5``, ``validation.hdf5`` and ``test.hdf5``: of 60, 20 and 20 % of the
        tiles, or only the first where there are fewer than five.
    bands
        Those that the tiles shall have.
    options
        How they are cut.
    dem
        Elevation model, for the bands elevation and slope.
    coverage
        Polygons in which the inventory is complete, such as its country: what lies beyond is
        ignored, since its ground may be ice that nobody drew. By default it is complete everywhere.

    Raises
    ------
    InputError
        If the scene, the inventory or its coverage cannot be used, no tile is left, or the folder
        holds the files of another build.
    GridError
        If the inventory or its coverage does not reach the scene, or the scene's grid is turned.
    OutputError
        If a file cannot be written; none is left then.
    """
    targets: dict[Side, Path] = {side: Path(folder) / f"{side}.hdf5" for side in SIDES}
    for path in targets.values():
        if path.exists() and not options.overwrite:
            raise InputError(f"{path} is there already: name another folder, or pass overwrite")
    glaciers = read_inventory(inventory)
    with opened_scene(
        paths, bands, names=options.names, scale=options.scale, offset=options.offset, dem=dem
    ) as scene:
        mask = _mask(glaciers, scene.geobox, str(inventory))
        if coverage is not None:
            mask = _covered(mask, scene.geobox, coverage)
        windows = _windows(scene.geobox, options.tile_px)
        # Twice through the scene, so that no more than one tile is in memory.
        wanted = [each for each in windows if _is_wanted(_content(scene, mask, each), options)]
        if not wanted:
            raise InputError(f"no tile of {paths[0]} has both data and glaciers of {inventory}")
        tiles = {
            info.name: (info, each) for each in wanted for info in [_info(scene, each, options)]
        }
        by_side = _sides(list(tiles), options.seed)
        with ExitStack() as stack:  # no file appears before all are whole
            for side, names in by_side.items():
                if names:
                    write_hdf5_tiles(
                        stack.enter_context(written_whole(targets[side])),
                        ((tiles[name][0], _content(scene, mask, tiles[name][1])) for name in names),
                    )
    files = {side: targets[side] for side, names in by_side.items() if names}
    for side in set(SIDES) - set(files):
        targets[side].unlink(missing_ok=True)  # its tiles may be learned from now
    left_out = len(windows) - len(tiles)
    _log.info("%d tiles written, %d left out", len(tiles), left_out)
    return TilesBuilt(files, {side: len(names) for side, names in by_side.items()}, left_out)


def _sides(names: Sequence[str], seed: int) -> dict[Side, tuple[str, ...]]:
    """Sort tiles at random; too few to share out are all learned from."""
    drawn = np.random.default_rng(seed).permutation(len(names))
    kept = round(_SHARE_KEPT * len(names)) if len(names) >= _FEW else 0
    numbers: dict[Side, NDArray[np.int64]] = {
        "train": drawn[2 * kept :],
        "validation": drawn[:kept],
        "test": drawn[kept : 2 * kept],
    }
    return {side: tuple(names[each] for each in sorted(some)) for side, some in numbers.items()}


def _mask(glaciers: gpd.GeoDataFrame, geobox: GeoBox, source: str) -> NDArray[np.uint8]:
    mask: NDArray[np.uint8] = rasterize(
        on_grid(glaciers, geobox, source),
        geobox.shape,
        transform=geobox.transform,
        default_value=GLACIER,
        dtype="uint8",
    )
    if not mask.any():
        raise GridError(f"no polygon of {source} covers a pixel of the scene")
    return mask


def _covered(mask: NDArray[np.uint8], geobox: GeoBox, coverage: str | Path) -> NDArray[np.uint8]:
    """Ignore what the inventory does not tell of."""
    told = burned(read_polygons(coverage), geobox)
    if not told.any():
        raise GridError(f"no polygon of {coverage} covers a pixel of the scene")
    return np.where(told, mask, np.uint8(IGNORE))


def _windows(geobox: GeoBox, tile_px: int) -> list[tuple[slice, slice]]:
    """Cut a grid into near-squares of about the size that is asked, all of it."""
    spans = []
    for length in (geobox.height, geobox.width):
        edges = np.linspace(0, length, max(round(length / tile_px), 1) + 1).round().astype(int)
        spans.append([slice(int(one), int(other)) for one, other in pairwise(edges)])
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]


def _content(scene: RasterScene, mask: NDArray[np.uint8], window: tuple[slice, slice]) -> Labelled:
    read = scene.read(*window)
    labels = np.where(read.valid, mask[window], IGNORE).astype(np.uint8)
    return Labelled(read.pixels, labels, read.valid)


def _info(scene: RasterScene, window: tuple[slice, slice], options: BuildOptions) -> TileInfo:
    rows, columns = window
    grid = scene.geobox[window]
    return TileInfo(
        name=f"{options.region}-{columns.start}-{rows.start}",
        place=f"{options.region}-{columns.start}-{rows.start}",
        bands=scene.bands,
        height=grid.height,
        width=grid.width,
        geobox=grid,
        region=options.region,
    )


def _is_wanted(content: Labelled, options: BuildOptions) -> bool:
    return bool(content.valid.any()) and (options.empty or bool((content.labels == GLACIER).any()))
