"""What the cubes of tiles say of themselves, and the section that sets several side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import odc.geo.xr  # noqa: F401  (gives cubes their .odc accessor)
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.correction.robust import nmad
from ogive.evaluation.scorecard import ClosureScore, closure_of_pairs
from ogive.store.geocube import Tile
from ogive.store.readers import open_cube
from ogive.view.document import Section, Table
from ogive.workflow.ground import windows_inside
from ogive.workflow.runfile_settings import RunFile
from ogive.workflow.steps.ground import ground_of

__all__ = [
    "TileFiles",
    "TileScore",
    "evenly",
    "own_pixels",
    "stable_cells",
    "tile_scores",
    "tiles_section",
]

T = TypeVar("T")

MOST_TILES = 40
"""Tiles whose cubes are read, evenly spread."""
MOST_LAYERS = 1000
"""Layers of a cube that are read: those in the middle of its time."""
FEWEST_POINTS = 10
"""Points of stable ground that a layer needs for its spread to be told."""
_SIDE = 50
"""Of a block of the store, in cells."""
_FINE = 8
"""Parts into which a cell's side is cut to find the ground of windows."""


@dataclass(frozen=True, slots=True)
class TileFiles:
    """A tile with its cube and its series.

    Parameters
    ----------
    tile
        Its pixels in the zone's grid.
    cube, series
        Zarr stores.
    pairs
        Velocities that touch the tile.
    """

    tile: Tile
    cube: Path
    series: Path
    pairs: int


@dataclass(frozen=True, slots=True)
class TileScore:
    """What a tile's cube and series show; NaN where there is nothing to tell it by.

    Parameters
    ----------
    name
        Of the projection and the tile.
    scenes
        Passes of satellites in the cube, however many of their images lie on the tile.
    pairs
        Velocities that touch the tile.
    kept
        Layers of the cube: of pairs of the same two passes one, and none without a value there.
    nmad_x_m_yr, nmad_y_m_yr
        Spread on stable ground, of the median layer.
    within_95
        Share of the declared 95 % intervals on stable ground that hold zero.
    closed
        Closure of triplets in the middle of the tile.
    scale_x, scale_y
        Factors by which declared errors would have to be multiplied to agree with the residuals
        of the inversion.
    """

    name: str
    scenes: int
    pairs: int
    kept: int
    nmad_x_m_yr: float
    nmad_y_m_yr: float
    within_95: float
    closed: ClosureScore
    scale_x: float
    scale_y: float


def evenly(things: Sequence[T], most: int) -> list[T]:
    """Choose so many at most, evenly spread, the first and the last among them.

    Examples
    --------
    >>> evenly("abcdefg", 3)
    ['a', 'd', 'g']
    """
    chosen = np.unique(np.linspace(0, len(things) - 1, min(most, len(things))).round().astype(int))
    return [things[k] for k in chosen.tolist()]


def tile_scores(
    settings: RunFile, tiles: Mapping[str, TileFiles], *, window_m: float
) -> list[TileScore]:
    """Score tiles, forty at most: some blocks of each cube are read, never the whole.

    Parameters
    ----------
    settings
        The run file.
    tiles
        By name.
    window_m
        Width of the windows that were matched: ground counts as stable where a whole one is.

    Raises
    ------
    InputError
        If outlines or a store cannot be read.
    """
    return [
        _score(settings, name, files, window_m)
        for name, files in evenly(sorted(tiles.items()), MOST_TILES)
    ]


def _score(settings: RunFile, name: str, files: TileFiles, window_m: float) -> TileScore:
    with open_cube(files.cube) as cube:
        layers = cube.isel(mid_date=_middle(cube.sizes["mid_date"], MOST_LAYERS))
        centre = {axis: _block(cube.sizes[axis] // 2) for axis in ("y", "x")}
        closed = closure_of_pairs(layers.isel(centre)[["vx", "vy"]].load())
        still = stable_cells(settings, cube.odc.geobox, window_m)
        ground = _on_ground(layers, still)
        scenes, kept = _passes(cube), cube.sizes["mid_date"]
    with xr.open_zarr(files.series, decode_timedelta=False) as series:
        scales = [_median(series[f"error_scale_{axis}"].values) for axis in ("x", "y")]
    return TileScore(name, scenes, files.pairs, kept, *ground, closed, *scales)


def _median(values: NDArray[np.floating]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _middle(size: int, most: int) -> slice:
    first = max(0, (size - most) // 2)
    return slice(first, first + most)


def _block(at: int) -> slice:
    """Choose the pixels of the block of the store that holds one."""
    first = at // _SIDE * _SIDE
    return slice(first, first + _SIDE)


def _passes(cube: xr.Dataset) -> int:
    """Count the satellites' passes: images of one day and satellite are of one."""
    seen = {
        (str(day), str(satellite))
        for k in (1, 2)
        for day, satellite in zip(
            cube[f"acquisition_date_img{k}"].values.astype("datetime64[D]"),
            cube[f"satellite_img{k}"].values,
            strict=True,
        )
    }
    return len(seen)


def stable_cells(settings: RunFile, grid: GeoBox, window_m: float) -> NDArray[np.bool_] | None:
    """Mark the cells round whose centres a whole window lies on stable ground.

    Parameters
    ----------
    settings
        The run file, which names the outlines.
    grid
        Cells.
    window_m
        Width of a window.

    Returns
    -------
    numpy.ndarray or None
        bool, of the shape of the grid; ``None`` where nothing is known of stable ground.
    """
    side_m = float(grid.resolution.x) / _FINE
    half = max(1, math.ceil(window_m / 2 / side_m))
    rows, columns = ((size - 1) * _FINE + 2 * half for size in grid.shape)
    # The first window is centred on the first cell.
    before_m = (half - _FINE / 2) * side_m
    bounds = grid.boundingbox
    corner = Affine(side_m, 0, bounds.left - before_m, 0, -side_m, bounds.top + before_m)
    still = ground_of(settings, GeoBox((rows, columns), corner, grid.crs)).stable
    return None if still is None else windows_inside(still, window_px=2 * half, step_px=_FINE)


def _on_ground(layers: xr.Dataset, still: NDArray[np.bool_] | None) -> tuple[float, float, float]:
    """Spread along x and y of the median layer, and share of intervals that hold zero."""
    nothing = float("nan")
    if still is None or not still.any():
        return nothing, nothing, nothing
    rows, columns = _stillest(still)
    names = ("vx", "vy", "vx_error", "vy_error")
    part = layers.isel(y=rows, x=columns)[list(names)].transpose("mid_date", "y", "x").load()
    vx, vy, vx_error, vy_error = (part[name].values[:, still[rows, columns]] for name in names)
    known = np.isfinite(vx) & np.isfinite(vy)
    if not known.any():
        return nothing, nothing, nothing
    enough = np.flatnonzero(known.sum(axis=1) >= FEWEST_POINTS).tolist()
    spreads = [[nmad(v[k, known[k]]) for k in enough] for v in (vx, vy)]
    holds = [np.abs(v[known]) <= 1.96 * e[known] for v, e in ((vx, vx_error), (vy, vy_error))]
    x, y = (_median(np.array(spread)) for spread in spreads)
    return x, y, float(np.mean(holds))


def _stillest(still: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Find the block of the store with most stable ground."""
    blocks = [
        (_block(row), _block(column))
        for row in range(0, still.shape[0], _SIDE)
        for column in range(0, still.shape[1], _SIDE)
    ]
    return max(blocks, key=lambda block: int(still[block].sum()))


def own_pixels(tile: Tile, field: xr.Dataset) -> dict[str, NDArray[np.float64]]:
    """Coordinates of the pixels that are a tile's own, without those it shares with others.

    Parameters
    ----------
    tile
        Its place in the zone's grid.
    field
        A cube, a series or maps of it, edges included.
    """
    return {
        axis: field[axis].values[core.start - whole.start : core.stop - whole.start]
        for axis, whole, core in (
            ("x", tile.columns, tile.core_columns),
            ("y", tile.rows, tile.core_rows),
        )
    }


def tiles_section(
    scores: Sequence[TileScore], tiles: Mapping[str, TileFiles], maps: Mapping[str, xr.Dataset]
) -> Section | None:
    """Set tiles side by side, where there are several.

    Parameters
    ----------
    scores
        Of `tile_scores`.
    tiles
        By name.
    maps
        Annual maps by projection, whose names begin those of the tiles.
    """
    if len(tiles) < 2:
        return None
    text = (
        "Scenes are passes of a satellite, pairs the velocities that touch a tile, and kept those "
        "that are layers of its cube: of pairs of the same two passes one, and none without a "
        "value there. Seen: the share of the tile's own cells that have an annual velocity.",
        "On stable ground: the spread of the median layer (m/yr), and how many of the declared "
        "95 % intervals hold zero, which is true there. Closure: the spread of what triplets leave "
        "in the middle of the tile.",
    )
    zones = sorted({_zone(score.name, tiles) for score in scores})
    return Section("Tiles", text, tuple(_table(zone, scores, tiles, maps[zone]) for zone in zones))


def _zone(name: str, tiles: Mapping[str, TileFiles]) -> str:
    """The projection, which begins the name of a tile."""
    return name.removesuffix(f"_{tiles[name].tile.name}")


def _table(
    zone: str, scores: Sequence[TileScore], tiles: Mapping[str, TileFiles], maps: xr.Dataset
) -> Table:
    head = (
        "tile", "scenes", "pairs", "kept", "seen (%)", "NMAD x/y (m/yr)", "hold zero (%)",
        "closure (m)",
    )  # fmt: skip
    rows = [
        (
            tiles[score.name].tile.name, f"{score.scenes:,}", f"{score.pairs:,}",
            f"{score.kept:,}", _told(100 * _seen(tiles[score.name], maps), 0),
            f"{_told(score.nmad_x_m_yr, 1)}/{_told(score.nmad_y_m_yr, 1)}",
            _told(100 * score.within_95, 0), _told(score.closed.nmad_m, 2),
        )
        for score in scores
        if _zone(score.name, tiles) == zone
    ]  # fmt: skip
    count = sum(_zone(name, tiles) == zone for name in tiles)
    which = "Each tile" if len(rows) == count else f"{len(rows)} of {count} tiles"
    return Table(head, rows, f"{which} of {zone}, by its south-west corner")


def _seen(files: TileFiles, maps: xr.Dataset) -> float:
    """Share of a tile's own cells that have a velocity in some year."""
    with xr.open_zarr(files.series, decode_timedelta=False) as series:
        own = own_pixels(files.tile, series)
    return float(maps["v"].sel(own, method="nearest").notnull().any("year").mean())


def _told(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
