"""What the catalogue tells of a region, for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ogive.store.geocube import Tile
from ogive.workflow.catalogue import (
    Published,
    RegionStatus,
    bytes_by_step,
    known_scenes,
    paths_of,
    products_of,
    region_status,
    uses_of_scenes,
)
from ogive.workflow.steps import NAMES, cube
from ogive.workflow.steps.region import Region

from .network import Row, scene_rows
from .quality import MOST_PAIRS

__all__ = ["TOLD", "Gathered", "gather"]

TOLD = NAMES[:-1]
"""The steps that the report tells of."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the report needs to know.

    Parameters
    ----------
    status, scenes, velocities
        What was done.
    tiles
        Place, cube, series and annual maps of each tile, by name.
    displacements
        Paths of the displacements of some pairs, and of their velocities.
    sizes
        Bytes of each step's products.
    """

    status: RegionStatus
    scenes: list[Row]
    velocities: list[Published]
    tiles: dict[str, tuple[Tile, Published, Published, Published]]
    displacements: list[tuple[str, str]]
    sizes: dict[str, int]


def gather(region: Region) -> Gathered:
    """Ask the catalogue."""
    engine = region.engine
    cubes, series, maps = (
        {product.subject: product for product in products_of(engine, step)}
        for step in ("cube", "invert", "annual")
    )
    tiles = {
        tile.name: (tile.tile, cubes[tile.name], series[tile.name], maps[tile.name])
        for tile in cube.tiles_with_layers(region)
        if all(tile.name in own for own in (cubes, series, maps))
    }
    velocities = sorted(
        products_of(engine, "calibrate"), key=lambda one: str(one.figures["mid_date"])
    )
    some = np.unique(np.linspace(0, len(velocities) - 1, MOST_PAIRS).round().astype(int))
    chosen = [velocities[k] for k in some.tolist()] if velocities else []
    matched = paths_of(engine, "match", [one.subject for one in chosen])
    return Gathered(
        region_status(engine, TOLD),
        scene_rows(known_scenes(engine).scenes, uses_of_scenes(engine, "calibrate")),
        velocities,
        tiles,
        [(matched[one.subject], one.path) for one in chosen if one.subject in matched],
        bytes_by_step(engine, TOLD),
    )
