"""Step ``cube``: the velocities of all pairs, tile by tile of the region, one on another.

Layers come in the order of their middle dates and keys, whatever the order in which they were made,
so that a cube is the same, bit for bit. Where tiles of one pass overlap, the pair counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.store.geocube import Tile, tiles_of
from ogive.workflow.catalogue import (
    CatalogueError,
    Claim,
    Planned,
    Product,
    plan_units,
    products_of,
)
from ogive.workflow.fingerprint import fingerprint

from . import calibrate
from .job import Job, product_of
from .layers import MAPS, TileOfZone, write_layers
from .region import Region, folder_of, zone_grid

__all__ = ["jobs", "perform", "places_of_tiles", "plan", "tiles_with_layers"]

NAME = "cube"
VERSION = 1
HALO_CELLS = 5
"""What the filters of annual maps reach beyond a pixel."""
BATCH_BYTES = 256e6
"""Of the layers that are in memory at once."""


def places_of_tiles(region: Region, crs: str) -> Iterator[tuple[str, Tile, GeoBox]]:
    """Lay the tiles of the region in a map projection: name, pixels in the zone's grid, own grid.

    They follow from the region and its grid alone.
    """
    zone = zone_grid(region.outline, crs, region.settings.match.spacing_m)
    size = region.settings.cube.tile_px
    for tile in tiles_of(zone, size_px=size, overlap_px=min(HALO_CELLS, (size - 1) // 4)):
        yield f"{crs.replace(':', '')}_{tile.name}"[:64], tile, zone[tile.rows, tile.columns]


def tiles_with_layers(region: Region) -> list[TileOfZone]:
    """Find the tiles of the region on which there are velocities."""
    found = sorted(
        products_of(region.engine, calibrate.NAME),
        key=lambda layer: (layer.figures["mid_date"], layer.subject),
    )
    tiles = []
    for crs in sorted({layer.figures["crs"] for layer in found}):
        own = [layer for layer in found if layer.figures["crs"] == crs]
        bounds = np.array([layer.figures["bounds"] for layer in own])
        for name, tile, grid in places_of_tiles(region, crs):
            on_it = np.flatnonzero(_overlapping(bounds, grid))
            if on_it.size:
                layers = tuple(own[k] for k in on_it.tolist())
                tiles.append(TileOfZone(name, tile, grid, layers))
    return tiles


def plan(region: Region) -> Planned:
    """Plan a cube for each tile with velocities."""
    tiles = tiles_with_layers(region)
    return plan_units(region.engine, NAME, {tile.name: _inputs(tile) for tile in tiles})


def jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Give each claim its layers."""
    tiles = {tile.name: tile for tile in tiles_with_layers(region)}
    if any(
        claim.subject not in tiles or claim.inputs != _inputs(tiles[claim.subject])
        for claim in claims
    ):
        raise CatalogueError(
            "velocities have come or gone since the cubes were planned, by another run: run again"
        )
    return [
        Job(claim, claim.inputs, region.settings, {"tile": tiles[claim.subject]})
        for claim in claims
    ]


def _inputs(tile: TileOfZone) -> str:
    """Fingerprint of a tile: its grid and its layers, in their order."""
    grid = [str(tile.grid.crs), list(tile.grid.transform), list(tile.grid.shape)]
    layers = [layer.fingerprint for layer in tile.layers]
    return fingerprint(NAME, VERSION, grid, layers)


def perform(job: Job) -> Product:
    """Stack the velocities of a tile, batch by batch, and publish the cube.

    Raises
    ------
    InputError
        If a velocity cannot be read, or none has a value on the tile.
    OutputError
        If the cube cannot be written.
    """
    folder = folder_of(job.settings)
    tile: TileOfZone = job.inputs["tile"]
    path = folder / NAME / f"{tile.name}_{job.fingerprint}.zarr"
    if not path.is_dir():
        write_layers(tile, path, folder, batch=_batch(tile.grid))
    return product_of(job, path, folder, {"layers": len(tile.layers)})


def _overlapping(bounds: NDArray[np.float64], grid: GeoBox) -> NDArray[np.bool_]:
    """Mark boxes that share an area with a grid."""
    left, bottom, right, top = grid.boundingbox.bbox
    shared: NDArray[np.bool_] = (
        (bounds[:, 0] < right)
        & (bounds[:, 2] > left)
        & (bounds[:, 1] < top)
        & (bounds[:, 3] > bottom)
    )
    return shared


def _batch(grid: GeoBox) -> int:
    """How many layers fit into the memory that a batch may take."""
    cells = grid.shape.x * grid.shape.y
    # Each is held as it was read, on the grid, and in the stack.
    return max(8, int(BATCH_BYTES / (3 * len(MAPS) * 4 * cells)))
