"""Which tiles of a training are learned from, and which are kept to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from ogive.learning.split import SIDES, Side, Source, Split, split_sources
from ogive.model import InputError

from .strategies import tiles_of_regions
from .tile_geotiff import geotiff_tiles
from .tile_hdf5 import hdf5_tiles
from .tiles import Tile
from .training_config import GeoTiffSettings, Hdf5Settings, TrainingConfig

__all__ = ["split_tiles", "tiles_from"]

_MARGIN_PX = 1.0
"""Footprints are made smaller by this, so that tiles that only touch are different ground."""


def split_tiles(config: TrainingConfig) -> tuple[dict[Side, list[Tile]], Split]:
    """Read the tiles of a configuration and sort them by side.

    Returns
    -------
    tuple
        Tiles by side, and the split by names.

    Raises
    ------
    InputError
        If tiles cannot be read or share a name, or nothing falls to training or validation.
    """
    given: dict[str, Side] = {}
    tiles: list[Tile] = []
    for settings in config.data.tiles:
        found = tiles_from(settings)
        tiles += found
        if settings.side is not None:
            given |= {tile.info.place: settings.side for tile in found}
    tiles = tiles_of_regions(tiles, config.strategy.regions)
    split = _split(tiles, config, given)
    by_name = {tile.info.name: tile for tile in tiles}
    sides: dict[Side, list[Tile]] = {
        side: [by_name[name] for name in getattr(split, side)] for side in SIDES
    }
    for side in ("train", "validation"):
        if not sides[side]:
            raise InputError(f"no tile falls to {side}: give it a share, or files of its own")
    return sides, split


def tiles_from(settings: GeoTiffSettings | Hdf5Settings) -> list[Tile]:
    """Read or list the tiles that settings name."""
    if isinstance(settings, Hdf5Settings):
        return [tile for path in _matching(settings.files) for tile in hdf5_tiles(path)]
    return list(
        geotiff_tiles(
            _matching(settings.images),
            settings.masks,
            place=settings.place,
            bands=settings.bands,
            scale=settings.scale,
            region=settings.region,
            coverage=settings.coverage,
        )
    )


def _matching(pattern: str) -> list[Path]:
    path = Path(pattern)
    found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not found:
        raise InputError(f"no file matches {pattern}: paths are relative to where ogive runs")
    return found


def _split(tiles: Sequence[Tile], config: TrainingConfig, given: dict[str, Side]) -> Split:
    sources = [
        Source(
            tile.info.name,
            place=tile.info.place,
            footprint=_footprint(tile.info.geobox) if config.split.by_ground else None,
        )
        for tile in tiles
    ]
    kept = {tile.info.place for tile in tiles}
    sides = {place: side for place, side in given.items() if place in kept}
    all_given = kept <= sides.keys()
    return split_sources(
        sources,
        seed=config.split.seed,
        shares=dict.fromkeys(set(sides.values()), 1.0) if all_given else config.split.shares,
        sides=sides,
    )


def _footprint(geobox: GeoBox | None) -> BaseGeometry | None:
    """Give the ground that a tile covers, on the globe, a little smaller than it is."""
    if geobox is None:
        return None
    margin = _MARGIN_PX * abs(geobox.resolution.x)
    left, bottom, right, top = geobox.boundingbox
    inner = shapely.box(left + margin, bottom + margin, right - margin, top - margin)
    ground: BaseGeometry = gpd.GeoSeries([inner], crs=str(geobox.crs)).to_crs("EPSG:4326").iloc[0]
    return ground
