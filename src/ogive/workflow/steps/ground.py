"""Where a pair is matched, and which of that ground does not move."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive import scenes
from ogive.scenes.polygons import burned, read_polygons
from ogive.workflow.runfile_settings import RunFile

from .region import content

__all__ = ["Ground", "ground_of"]

Bools = NDArray[np.bool_]


class Ground(NamedTuple):
    """Pixels of a pair: where displacements are wanted, and which ground does not move.

    ``None``: everywhere; not known.
    """

    wanted: Bools | None
    stable: Bools | None


def ground_of(settings: RunFile, grid: GeoBox) -> Ground:
    """Mark where a pair is matched, and stable ground, by the region's outlines.

    Parameters
    ----------
    settings
        The run file.
    grid
        The pixels of the pair.

    Raises
    ------
    InputError
        If outlines cannot be read.
    GridError
        If matching is limited to glaciers, and none lies on the grid or near it.
    """
    region = settings.region
    found = Ground(None, None)
    if region.glaciers is not None:
        told = content(region.glaciers)
        found = _by_glaciers(region.glaciers, told, grid, region.beside_m, region.edge_m)
    if region.stable is not None:
        drawn = burned(_outlines(region.stable, content(region.stable)), grid)
        found = found._replace(stable=drawn if found.stable is None else drawn & found.stable)
    return found


@lru_cache(maxsize=2)  # of a whole tile 120 MB each; pairs of one place follow each other
def _by_glaciers(
    path: Path, told: str, grid: GeoBox, beside_m: float | None, edge_m: float
) -> Ground:
    """Mark ground by outlines; pairs of one place ask for the same again and again."""
    outlines = _outlines(path, told)
    if beside_m is not None:
        marked = scenes.ground(outlines, grid, beside_m=beside_m, margin_m=edge_m)
        return Ground(marked["wanted"].values, marked["stable"].values)
    left, bottom, right, top = grid.boundingbox.bbox
    near = outlines.to_crs(str(grid.crs)).cx[
        left - edge_m : right + edge_m, bottom - edge_m : top + edge_m
    ]
    return Ground(None, ~burned(near.set_geometry(near.buffer(edge_m)), grid))


@lru_cache(maxsize=4)
def _outlines(path: Path, told: str) -> gpd.GeoDataFrame:
    return read_polygons(path)
