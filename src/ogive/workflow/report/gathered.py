"""What the catalogue tells of a region, for the report."""

from __future__ import annotations

from collections.abc import Sequence
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
from ogive.workflow.steps import NAMES
from ogive.workflow.steps.cube import places_of_tiles
from ogive.workflow.steps.region import Region

from .measured import Measured, measured_pairs
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
    status, scenes, measured
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
    measured: Measured
    tiles: dict[str, tuple[Tile, Published, Published, Published]]
    displacements: list[tuple[str, str]]
    sizes: dict[str, int]


def gather(region: Region) -> Gathered:
    """Ask the catalogue; of the pairs with a velocity, all of which it reads, once."""
    engine = region.engine
    velocities = sorted(
        products_of(engine, "calibrate"), key=lambda one: str(one.figures["mid_date"])
    )
    some = np.unique(np.linspace(0, len(velocities) - 1, MOST_PAIRS).round().astype(int))
    chosen = [velocities[k] for k in some.tolist()] if velocities else []
    matched = paths_of(engine, "match", [one.subject for one in chosen])
    return Gathered(
        region_status(engine, TOLD),
        scene_rows(known_scenes(engine).scenes, uses_of_scenes(engine, "calibrate")),
        measured_pairs(velocities),
        _tiles(region, sorted({str(one.figures["crs"]) for one in velocities})),
        [(matched[one.subject], one.path) for one in chosen if one.subject in matched],
        bytes_by_step(engine, TOLD),
    )


def _tiles(
    region: Region, zones: Sequence[str]
) -> dict[str, tuple[Tile, Published, Published, Published]]:
    """Find the tiles that are finished, with their products; no velocity is asked for it."""
    cubes, series, maps = (
        {product.subject: product for product in products_of(region.engine, step)}
        for step in ("cube", "invert", "annual")
    )
    found = {}
    for crs in zones:
        for name, tile, _ in places_of_tiles(region, crs):
            if all(name in made for made in (cubes, series, maps)):
                found[name] = (tile, cubes[name], series[name], maps[name])
    return found
