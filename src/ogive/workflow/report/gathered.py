"""What the catalogue tells of a region, for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ogive.store.geocube import Tile
from ogive.workflow.catalogue import (
    Published,
    RegionStatus,
    known_scenes,
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
    """What was done.

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
    made = {step: products_of(region.engine, step) for step in TOLD}
    cubes, series, maps = (
        {product.subject: product for product in made[step]}
        for step in ("cube", "invert", "annual")
    )
    tiles = {
        tile.name: (tile.tile, cubes[tile.name], series[tile.name], maps[tile.name])
        for tile in cube.tiles_with_layers(region)
        if all(tile.name in own for own in (cubes, series, maps))
    }
    velocities = sorted(made["calibrate"], key=lambda one: str(one.figures["mid_date"]))
    matched = {product.subject: product.path for product in made["match"]}
    some = np.unique(np.linspace(0, len(velocities) - 1, MOST_PAIRS).round().astype(int))
    chosen = [velocities[k] for k in some.tolist()] if velocities else []
    return Gathered(
        region_status(region.engine, TOLD),
        scene_rows(known_scenes(region.engine).scenes, uses_of_scenes(region.engine, "calibrate")),
        velocities,
        tiles,
        [(matched[one.subject], one.path) for one in chosen if one.subject in matched],
        {step: sum(product.bytes for product in products) for step, products in made.items()},
    )
