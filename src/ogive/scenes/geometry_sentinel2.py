"""View angles of Sentinel-2 from a granule's ``MTD_TL.xml``.

The file holds, for every band and each of the twelve staggered detectors, zenith and azimuth on a
grid of 5 km, where that detector saw the tile. Odd and even detectors look some 0.7° to opposite
sides along the track, so that angles jump at the seams between them. Azimuths count from true
north (the Sun's, which can be computed independently, do so to 0.1° in files up to 81° of
latitude).

Each detector's grid is interpolated by itself, and continued to its edges along the smooth trend
of all of them. The seams run where the view angle is constant; they are known to about a kilometre
from the grids, and to the pixel where the detectors' footprints are passed.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyproj
from numpy.typing import NDArray
from scipy import ndimage

from ogive.model import InputError

from .geometry_granule import BANDS, Granule, band_number, read_grid
from .geometry_orbit import flight_azimuth_deg
from .geometry_sight import Array, Places, Sight, places_of

__all__ = ["BANDS", "TileAngles", "read_tile_angles"]

_ALTITUDE_M = 790_000.0


@dataclass(frozen=True, slots=True)
class TileAngles:
    """Lines of sight of one band on the nodes of a tile, for each detector that saw it.

    Attributes
    ----------
    crs, left_m, top_m, step_m
        The tile's grid: its corner is the first node.
    detectors
        Numbers, from the one that looks farthest to the left to the rightmost.
    east, north
        (detector, row, column), NaN where a detector saw nothing.
    """

    path: Path
    tile: str
    satellite: str
    time: datetime
    relative_orbit: int | None
    band: str
    crs: pyproj.CRS
    left_m: float
    top_m: float
    step_m: float
    detectors: tuple[int, ...]
    east: Array
    north: Array

    def sight(
        self, places: Places, detector: NDArray[np.integer] | None = None
    ) -> tuple[Sight, NDArray[np.uint8]]:
        """Line of sight at places, NaN outside of the swath, and the detector that saw them.

        Parameters
        ----------
        places
            Where to look from, on any map.
        detector
            Number of the detector at each place, where it is known (the product's ``DETFOO``
            masks); 0 where none.

        Raises
        ------
        InputError
            If the footprints name a detector that the file knows nothing of.
        """
        row, column = self._nodes(places)
        trend = _Trend.fit(self)
        index = _seen_by(trend, row, column) if detector is None else self._index_of(detector)
        at = np.stack([np.broadcast_to(row, index.shape), np.broadcast_to(column, index.shape)])
        east, north = trend.at(row, column)
        outside = index < 0
        for k in range(len(self.detectors)):
            here = index == k
            if here.any():
                east[here] += _sample(trend.rest_east[k], at[:, here])
                north[here] += _sample(trend.rest_north[k], at[:, here])
        east[outside], north[outside] = np.nan, np.nan
        numbers = np.array([*self.detectors, 0], np.uint8)[index]
        return Sight(east, north), numbers

    def _nodes(self, places: Places) -> tuple[Array, Array]:
        x, y = places.x, places.y
        if places.crs != self.crs:
            there = pyproj.Transformer.from_crs(places.crs, self.crs, always_xy=True)
            x, y = (np.asarray(value) for value in there.transform(x, y))
        return (self.top_m - y) / self.step_m, (x - self.left_m) / self.step_m

    def _index_of(self, detector: NDArray[np.integer]) -> NDArray[np.int64]:
        index = np.full(detector.shape, -1, np.int64)
        for k, number in enumerate(self.detectors):
            index[detector == number] = k
        strange = np.unique(detector[(index < 0) & (detector != 0)])
        if strange.size:
            raise InputError(
                f"the footprints name detectors {strange.tolist()}, but {self.path.name} has only "
                f"{sorted(self.detectors)} in {self.band}: they belong to another granule or band"
            )
        return index


@dataclass(frozen=True, slots=True)
class _Trend:
    """What all detectors share, smooth over the tile, and what each adds to it."""

    east: Array
    north: Array
    across: Array
    limits: Array
    rest_east: Array
    rest_north: Array

    @classmethod
    def fit(cls, angles: TileAngles) -> _Trend:
        seen = np.isfinite(angles.east)
        which, row, column = np.nonzero(seen)
        flight = _flight_direction(angles)
        values = np.stack([angles.east[seen], angles.north[seen]])
        terms = _terms(row.astype(float), column.astype(float))
        wide = len(set(row)) >= 4 and len(set(column)) >= 4 and row.size >= 24
        if wide:  # each detector at its own level, all of them with one slope
            levels = (which[:, None] == np.arange(seen.shape[0])).astype(float)
            own = np.linalg.lstsq(np.hstack([levels, terms[:, 1:]]), values.T, rcond=None)[0].T
            level = own[:, : seen.shape[0]].mean(axis=1, keepdims=True)
            fitted = np.hstack([level, own[:, seen.shape[0] :]])
        else:  # too few nodes to tell a slope: that of the orbit's height
            fitted = np.zeros((2, 6))
            slope = -angles.step_m / _ALTITUDE_M
            for k, part in enumerate((flight.across_east, flight.across_north)):
                fitted[k, 1] = -slope * part * flight.across_north  # rows run southwards
                fitted[k, 2] = slope * part * flight.across_east
            fitted[:, 0] = (values - fitted @ terms.T).mean(axis=1)
        across = fitted[0] * flight.across_east + fitted[1] * flight.across_north
        grid_row, grid_column = np.mgrid[0 : seen.shape[1], 0 : seen.shape[2]].astype(float)
        smooth = np.tensordot(fitted, _terms(grid_row, grid_column), axes=(1, -1))
        there = _terms(grid_row, grid_column) @ across
        return cls(
            east=fitted[0],
            north=fitted[1],
            across=across,
            limits=_limits(there, seen, angles.step_m / _ALTITUDE_M),
            rest_east=_continued(angles.east - smooth[0], seen),
            rest_north=_continued(angles.north - smooth[1], seen),
        )

    def at(self, row: Array, column: Array) -> tuple[Array, Array]:
        terms = _terms(row, column)
        return terms @ self.east, terms @ self.north


@dataclass(frozen=True, slots=True)
class _Flight:
    across_east: float
    across_north: float


def _flight_direction(angles: TileAngles) -> _Flight:
    """Across-track direction in the middle of the nodes that were seen."""
    _, row, column = np.nonzero(np.isfinite(angles.east))
    middle = places_of(
        angles.left_m + angles.step_m * column.mean(),
        angles.top_m - angles.step_m * row.mean(),
        angles.crs,
    )
    turn = np.deg2rad(flight_azimuth_deg("sentinel-2", middle.latitude_deg) + 90.0)
    return _Flight(float(np.sin(turn)), float(np.cos(turn)))


def _terms(row: Array, column: Array) -> Array:
    return np.stack([np.ones_like(row), row, column, row**2, row * column, column**2], axis=-1)


def _limits(across: Array, seen: NDArray[np.bool_], step: float) -> Array:
    """Where detectors begin and end in the across-track tangent: (detectors + 1,), falling.

    Detectors are sorted; neighbours meet in the middle between the last node of one and the first
    of the other, which may overlap. The swath ends within a node of the outermost ones.
    """
    low = np.array([across[mask].min() for mask in seen])
    high = np.array([across[mask].max() for mask in seen])
    between = (low[:-1] + high[1:]) / 2
    return np.concatenate([[high[0] + step], between, [low[-1] - step]])


def _seen_by(trend: _Trend, row: Array, column: Array) -> NDArray[np.int64]:
    across = _terms(row, column) @ trend.across
    index = np.searchsorted(-trend.limits, -across, side="right") - 1
    return np.where((index >= 0) & (index < trend.limits.size - 1), index, -1)


def _continued(rest: Array, seen: NDArray[np.bool_]) -> Array:
    """Fill the nodes that a detector did not see from the nearest that it did."""
    filled = np.empty_like(rest)
    for k, mask in enumerate(seen):
        nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
        filled[k] = rest[k][tuple(nearest)]
    return filled


def _sample(nodes: Array, at: Array) -> Array:
    return np.asarray(ndimage.map_coordinates(nodes, at, order=1, mode="nearest"))


def read_tile_angles(path: str | Path, band: str = "B08") -> TileAngles:
    """Read the viewing grids of one band from ``MTD_TL.xml`` (or a granule's ``metadata.xml``).

    Raises
    ------
    InputError
        If the file is no granule's metadata, or holds no viewing angle of the band.
    """
    path, number = Path(path), band_number(band)
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError) as error:
        raise InputError(f"{path} cannot be read as the metadata of a granule: {error}") from error
    grids = [
        grid
        for grid in root.iter("Viewing_Incidence_Angles_Grids")
        if grid.get("bandId") == str(number)
    ]
    seen = [(int(grid.get("detectorId", 0)), *read_grid(grid, path)) for grid in grids]
    seen = [item for item in seen if np.isfinite(item[1]).any()]
    if not seen:
        raise InputError(
            f"{path} holds no viewing angles of {band}: it is no granule's MTD_TL.xml, or the band "
            "saw nothing of the tile; without it the nominal geometry of the orbit can be taken"
        )
    granule = Granule(root, path)
    angles = TileAngles(
        path=path,
        tile=granule.tile,
        satellite=granule.satellite,
        time=granule.time,
        relative_orbit=granule.relative_orbit,
        band=BANDS[number],
        crs=pyproj.CRS.from_user_input(granule.text("HORIZONTAL_CS_CODE")),
        left_m=float(granule.text("Geoposition/ULX")),
        top_m=float(granule.text("Geoposition/ULY")),
        step_m=float(grids[0].findtext("Zenith/COL_STEP", "nan")),
        detectors=tuple(item[0] for item in seen),
        east=np.stack([item[1] for item in seen]),
        north=np.stack([item[2] for item in seen]),
    )
    return _sorted(angles)


def _sorted(angles: TileAngles) -> TileAngles:
    """Order detectors along the across-track direction, the largest tangent first."""
    flight = _flight_direction(angles)
    across = angles.east * flight.across_east + angles.north * flight.across_north
    means = [float(np.nanmean(values)) for values in across]
    order = sorted(range(len(means)), key=lambda k: -means[k])
    return TileAngles(
        angles.path, angles.tile, angles.satellite, angles.time, angles.relative_orbit, angles.band,
        angles.crs, angles.left_m, angles.top_m, angles.step_m,
        tuple(angles.detectors[k] for k in order), angles.east[order], angles.north[order],
    )  # fmt: skip
