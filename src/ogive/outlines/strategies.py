"""The five strategies: from which tiles a network learns, and what it is told of their place.

Maslov et al. 2025: *global*, one network for all regions; *regional*, one for each region or
cluster of regions; *finetuning*, a global one that goes on with one region or cluster; *region
encoding* and *coordinate encoding*, one network that is told where each patch lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError

from .location import REGIONS, coordinate_vector, longitude_latitude_deg, region_vector
from .tiles import Tile, TileInfo

__all__ = ["Told", "ToldKind", "tiles_of_regions"]

ToldKind = Literal["nothing", "region", "coordinates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a network is told of where a patch lies.

    Attributes
    ----------
    kind
        Nothing, its region or its coordinates.
    regions
        Those that have a place in the vector.
    unknown
        How often, in training, a patch is said to be of an unknown region.

    Examples
    --------
    >>> Told(kind="region").size, Told(kind="coordinates").size, Told(kind="nothing").size
    (12, 4, 0)
    """

    kind: ToldKind = "nothing"
    regions: tuple[str, ...] = REGIONS
    unknown: float = 0.1

    @property
    def size(self) -> int:
        """Length of the vector."""
        return {"nothing": 0, "region": len(self.regions) + 1, "coordinates": 4}[self.kind]

    def vector(
        self, info: TileInfo, rng: np.random.Generator | None = None
    ) -> NDArray[np.float32] | None:
        """Encode where a tile lies.

        Parameters
        ----------
        info
            Of the tile.
        rng
            Of a training, where the region is left unknown at times.

        Raises
        ------
        InputError
            If the tile does not say what is to be told.
        """
        if self.kind == "nothing":
            return None
        if self.kind == "coordinates":
            if info.geobox is None:
                raise InputError(f"the tile {info.name} does not say where it lies")
            return coordinate_vector(**longitude_latitude_deg(info.geobox))
        if rng is not None and rng.random() < self.unknown:
            return region_vector(None, self.regions)
        if not info.region:
            raise InputError(f"the tile {info.name} does not say of which region it is")
        return region_vector(info.region, self.regions)


def tiles_of_regions(tiles: Sequence[Tile], regions: Sequence[str]) -> list[Tile]:
    """Choose the tiles of some regions, for regional networks and for fine-tuning.

    Parameters
    ----------
    tiles
        Of all regions.
    regions
        One region or a cluster of them; none for all.

    Raises
    ------
    InputError
        If a region has no tile.
    """
    if not regions:
        return list(tiles)
    there = {tile.info.region for tile in tiles}
    for region in regions:
        if region not in there:
            named = ", ".join(sorted(there - {""})) or "none that a tile names"
            raise InputError(f"no tile is of the region {region!r}: there are {named}")
    return [tile for tile in tiles if tile.info.region in regions]
