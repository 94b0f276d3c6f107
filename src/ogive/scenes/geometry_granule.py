"""What the metadata of a Sentinel-2 granule says: its tile, time and orbit, and grids of angles."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from ogive.model import InputError

from .geometry_orbit import NOMINAL_ORBITS
from .geometry_sight import Array, Sight

__all__ = ["BANDS", "Granule", "band_number", "read_grid"]

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""In the order of the file's ``bandId``, 0 to 12."""

# Absolute orbits count from the launch, relative ones from a fixed place: R = (A - this) mod 143.
_ORBITS_BEFORE: Mapping[str, int] = {"S2A": 140, "S2B": 26}


def band_number(band: str) -> int:
    """Accept B8, B08, 8 and the like.

    Examples
    --------
    >>> band_number("B8"), band_number("b8a"), band_number("B11")
    (7, 8, 11)
    """
    plain = band.strip().upper().removeprefix("B").lstrip("0")
    known = {name.removeprefix("B").lstrip("0"): k for k, name in enumerate(BANDS)}
    if plain not in known:
        raise InputError(f"Sentinel-2 has no band {band!r}: there are {', '.join(BANDS)}")
    return known[plain]


def read_grid(grid: ET.Element, path: Path) -> tuple[Array, Array]:
    """Read zenith and azimuth of one detector, as tangents towards east and north.

    Raises
    ------
    InputError
        If the grids are empty or ragged; ``path`` is named.
    """
    angles = []
    for name in ("Zenith", "Azimuth"):
        rows = [(row.text or "").split() for row in grid.findall(f"{name}/Values_List/VALUES")]
        try:
            values = np.array(rows, np.float64)
        except ValueError as error:
            raise InputError(f"the viewing grids of {path} have rows of unequal length") from error
        if values.ndim != 2:
            raise InputError(f"the viewing grids of {path} are empty")
        angles.append(values)
    if np.isnan(angles[0]).all():
        return angles[0], angles[1]
    sight = Sight.from_angles(*angles)
    return sight.east, sight.north


class Granule:
    """What the granule says of itself.

    Parameters
    ----------
    root
        Of its metadata.
    path
        Of the file, for sentences on what is missing.
    """

    def __init__(self, root: ET.Element, path: Path) -> None:
        self.root, self.path = root, path

    def text(self, name: str) -> str:
        """Give what stands under a name, anywhere in the file."""
        found = self.root.findtext(f".//{name}")
        if not found:
            raise InputError(f"{self.path} has no {name}: it is not the metadata of a granule")
        return found.strip()

    @property
    def tile(self) -> str:
        """Of the military grid, ``T32TLS`` say; empty where the file does not tell."""
        found = re.search(r"_(T\d{2}[A-Z]{3})", self.text("TILE_ID"))
        return found.group(1) if found else ""

    @property
    def satellite(self) -> str:
        """Its number and letter, ``2A`` say."""
        return self.text("TILE_ID")[1:3]

    @property
    def time(self) -> datetime:
        """When the granule was sensed, in UTC."""
        return datetime.fromisoformat(self.text("SENSING_TIME").rstrip("Z")[:26])

    @property
    def relative_orbit(self) -> int | None:
        """1 to 143, from the absolute one; ``None`` of satellites whose first one is unknown."""
        name = self.text("TILE_ID")
        found = re.search(r"_A(\d{6})_", name)
        if found is None or name[:3] not in _ORBITS_BEFORE:
            return None
        tracks = NOMINAL_ORBITS["sentinel-2"].tracks
        return (int(found.group(1)) - _ORBITS_BEFORE[name[:3]] - 1) % tracks + 1
