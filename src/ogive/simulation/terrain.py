"""The land: mountains of eroded rock, a valley through them, and a glacier in the valley."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from ..model import GridError, InputError
from .erosion import eroded_relief
from .noise import Float32Array, FloatArray, fractal_noise

__all__ = ["BoolArray", "Terrain", "Valley", "given_terrain", "valley_terrain"]

BoolArray = NDArray[np.bool_]

MOUNTAIN_STEP_M = 40.0
SMALLEST_GLACIER_CELLS = 12
"""Narrower than this, neither shear margins nor a centre line can be told apart."""


@dataclass(frozen=True, slots=True)
class Terrain:
    """A landscape with its glacier on a regular grid.

    Attributes
    ----------
    x, y
        Cell centres in metres, ``x`` to the east and increasing, ``y`` to the north and decreasing.
    elevation_m
        Height of the surface, ice included, ``(y, x)``.
    ice
        True on the glacier, ``(y, x)``.
    """

    x: FloatArray
    y: FloatArray
    elevation_m: Float32Array
    ice: BoolArray

    @property
    def step_m(self) -> float:
        """Distance between neighbouring cells."""
        return float(self.x[1] - self.x[0])


@dataclass(frozen=True, slots=True)
class Valley:
    """The few numbers that make a valley glacier; lengths are shares of the shorter side.

    Attributes
    ----------
    terminus_elevation_m
        Height of the valley floor at the glacier's end.
    slope
        Mean slope of the glacier's surface outside the icefall.
    icefall_drop_m
        Extra height lost in the icefall; 0 for none.
    icefall_length
        Length over which it is lost.
    half_width, basin_half_width
        Of the tongue, and of the basin that feeds it.
    tributary
        Whether a second glacier joins from the side.
    relief_m
        Height of the peaks above the valley floor.
    """

    terminus_elevation_m: float = 1750.0
    slope: float = 0.10
    icefall_drop_m: float = 170.0
    icefall_length: float = 0.12
    half_width: float = 0.088
    basin_half_width: float = 0.19
    tributary: bool = True
    relief_m: float = 760.0


@dataclass(frozen=True, slots=True)
class _Branch:
    """One arm of the glacier: a centre line from its head to its end, and what varies along it."""

    x: FloatArray
    y: FloatArray
    along_m: FloatArray
    half_width_m: FloatArray
    floor_m: FloatArray


def valley_terrain(
    x: FloatArray, y: FloatArray, *, valley: Valley | None = None, seed: int = 0
) -> Terrain:
    """Build a landscape with a valley glacier that comes down from the north-west.

    The floor descends along a curved centre line, steeply in the icefall; walls rise from the
    glacier's edge into ridged fractal relief. A tributary comes in from the side, at the height of
    the trunk's surface, and the two surfaces pass softly into each other.

    Parameters
    ----------
    x, y
        Cell centres in metres, ``x`` increasing, ``y`` decreasing.
    valley
        The shape.
    seed
        The same seed gives the same bytes.

    Raises
    ------
    InputError
        If the glacier would be too small for the grid.

    Examples
    --------
    >>> side = np.arange(10.0, 6000.0, 20.0)
    >>> terrain = valley_terrain(side, side[::-1])
    >>> 0.1 < float(terrain.ice.mean()) < 0.5
    True
    """
    valley = valley or Valley()
    rng = np.random.default_rng([seed, 1])
    shape = (y.size, x.size)
    step = float(x[1] - x[0])
    extent = min(x.size, y.size) * step
    branches = _branches(x, y, extent, valley)

    wander = 0.011 * extent
    warp_x, warp_y = (
        wander * fractal_noise(shape, slope=3.4, longest=0.25 * extent / step, rng=rng)
        for _ in range(2)
    )
    grid_x, grid_y = np.meshgrid(x, y)
    places = np.stack([grid_x + warp_x, grid_y + warp_y], axis=-1).reshape(-1, 2)
    floors, margins = [], []
    for branch in branches:
        distance, nearest = cKDTree(np.stack([branch.x, branch.y], axis=1)).query(places)
        nearest = nearest.reshape(shape)
        beyond = distance.reshape(shape) - branch.half_width_m[nearest]
        # Convex below, hollow above: ice melts at the margins and gathers at the head.
        crown = np.clip(beyond / branch.half_width_m[nearest], -1, 0) ** 2 - 1
        convexity = np.interp(nearest, [0, 600, 900, 1500], [-30.0, -10.0, 12.0, 18.0])
        floors.append(branch.floor_m[nearest] + convexity * crown)
        margins.append(beyond)
    floor = _blended(floors, margins, 0.014 * extent)
    ice = np.min(margins, axis=0) < 0
    elevation = _mountains(floor, ice, step, valley.relief_m, rng)
    rock = np.clip(ndimage.distance_transform_edt(~ice) * step / 80, 0, 1)
    elevation = ndimage.gaussian_filter(elevation, 25 / step)
    roughness = fractal_noise(shape, slope=3.0, longest=600 / step, rng=rng)
    elevation = elevation + 10.0 * rock * roughness
    return given_terrain(x, y, elevation, ice)


def given_terrain(
    x: FloatArray, y: FloatArray, elevation_m: FloatArray | Float32Array, ice: BoolArray
) -> Terrain:
    """Take a real surface and the mask of a real glacier, after looking whether they can be used.

    Parameters
    ----------
    x, y
        Cell centres in metres, ``x`` increasing, ``y`` decreasing, with the same step.
    elevation_m, ice
        ``(y, x)``.

    Raises
    ------
    GridError
        If the arrays do not fit the coordinates, or the outline lies outside the DEM.
    InputError
        If heights are missing or the glacier is too small for the grid.
    """
    shape = (y.size, x.size)
    if elevation_m.shape != shape or ice.shape != shape:
        raise GridError(
            f"the DEM is {elevation_m.shape} and the ice mask {ice.shape}, but the coordinates "
            f"span {shape}: put all on one grid"
        )
    if min(shape) < 2 or not np.allclose(np.diff(x), x[1] - x[0], rtol=1e-6):
        raise GridError("the DEM's columns are not evenly spaced: resample it to a regular grid")
    if not (x[1] > x[0] and np.allclose(np.diff(y), x[0] - x[1], rtol=1e-6)):
        raise GridError("the DEM is not north-up with square cells: resample it to such a grid")
    if not ice.any():
        raise GridError(
            "the glacier's outline and the DEM do not overlap: check their coordinate systems"
        )
    if not np.isfinite(elevation_m).all():
        raise InputError(
            f"{int((~np.isfinite(elevation_m)).sum())} cells of the DEM have no height: fill them"
        )
    widest = 2 * ndimage.distance_transform_edt(np.pad(ice, 1)).max()
    if widest < SMALLEST_GLACIER_CELLS:
        raise InputError(
            f"the glacier is only {widest:.0f} cells of {x[1] - x[0]:.0f} m wide at its widest: it "
            f"needs {SMALLEST_GLACIER_CELLS}; use a finer grid or a larger glacier"
        )
    return Terrain(x, y, np.asarray(elevation_m, np.float32), np.asarray(ice, bool))


def _branches(x: FloatArray, y: FloatArray, extent: float, valley: Valley) -> list[_Branch]:
    """Centre lines, widths and heights of the trunk and its tributary."""
    left, bottom = (x[0] + x[-1] - extent) / 2, (y[0] + y[-1] - extent) / 2
    trunk_x = np.array([0.17, 0.27, 0.36, 0.46, 0.57, 0.69, 0.80, 0.87])
    trunk_y = np.array([0.84, 0.78, 0.67, 0.58, 0.52, 0.45, 0.34, 0.22])
    trunk = _line(left + extent * trunk_x, bottom + extent * trunk_y)
    along = trunk[2]
    length = along[-1]
    share = along / length
    narrowing = 1 / (1 + np.exp((share - 0.30) / 0.045))
    width = valley.half_width + (valley.basin_half_width - valley.half_width) * narrowing
    head = np.sqrt(np.clip(share / 0.10, 0.05, 1))
    tip = np.sqrt(np.clip((1 - share) / 0.12, 0.0, 1))
    width = extent * width * head * (0.25 + 0.75 * tip) * (1 - 0.22 * np.clip(share - 0.5, 0, 1))
    fall_length = valley.icefall_length * extent
    fall = 1 / (1 + np.exp(np.clip((along - 0.40 * length) / (fall_length / 4), -60, 60)))
    steepening = 0.035 * (length - along) ** 2 / length
    floor = (
        valley.terminus_elevation_m
        + valley.slope * (length - along)
        + steepening
        + valley.icefall_drop_m * fall
    )
    branches = [_Branch(*trunk, width, floor)]
    if valley.tributary:
        joint = int(np.searchsorted(share, 0.66))
        side_x = np.array([0.40, 0.475, 0.545, 0.60])
        side_y = np.array([0.16, 0.235, 0.315, 0.40])
        side = _line(
            np.append(left + extent * side_x, trunk[0][joint]),
            np.append(bottom + extent * side_y, trunk[1][joint]),
        )
        rest = side[2][-1] - side[2]
        side_width = extent * 0.066 * np.sqrt(np.clip(side[2] / (0.1 * side[2][-1]), 0.05, 1))
        climb = (2.6 * valley.slope) * np.maximum(rest - width[joint], 0)
        branches.append(_Branch(*side, side_width, floor[joint] + climb))
    return branches


def _line(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Smooth line through points, sampled densely: x, y and the distance from its head."""
    knots = np.linspace(0, 1, x.size)
    dense = np.linspace(0, 1, 1500)
    fine_x, fine_y = CubicSpline(knots, x)(dense), CubicSpline(knots, y)(dense)
    steps = np.hypot(np.diff(fine_x), np.diff(fine_y))
    return fine_x, fine_y, np.concatenate([[0.0], np.cumsum(steps)])


def _mountains(
    floor: FloatArray, ice: BoolArray, step_m: float, relief_m: float, rng: np.random.Generator
) -> FloatArray:
    """Eroded relief between the glacier and the edge of the land, made on coarser cells."""
    shape = floor.shape
    factor = max(1, round(MOUNTAIN_STEP_M / step_m))
    zoom = tuple(-(-side // factor) for side in shape)
    coarse_floor = ndimage.zoom(
        floor, np.divide(zoom, shape), order=1, grid_mode=True, mode="nearest"
    )
    coarse_ice = ndimage.zoom(
        ice.astype(np.float64), np.divide(zoom, shape), order=1, grid_mode=True, mode="nearest"
    )
    # The land goes on beyond the edge of what is shown, down to other valleys.
    border = max(8, min(zoom) // 6)
    coarse_floor = np.pad(coarse_floor, border, mode="edge")
    covered = np.pad(coarse_ice, border) > 0.5
    seedling = fractal_noise(
        coarse_floor.shape, slope=2.5, longest=0.2 * min(zoom), rng=rng
    ).astype(np.float64)
    edge = np.ones(coarse_floor.shape, bool)
    edge[1:-1, 1:-1] = False
    base = np.where(edge, np.min(floor) + relief_m * (0.2 + 0.1 * seedling), coarse_floor)
    relief = eroded_relief(
        base,
        edge | covered,
        step_m=step_m * factor,
        relief_m=relief_m,
        seedling=seedling,
    )[border:-border, border:-border]
    rows, columns = ((np.arange(n) + 0.5) / factor - 0.5 for n in shape)
    fine = ndimage.map_coordinates(
        relief, np.meshgrid(rows, columns, indexing="ij"), order=3, mode="nearest"
    )
    fade = np.clip(ndimage.distance_transform_edt(~ice) * step_m / MOUNTAIN_STEP_M, 0, 1)
    return np.asarray(np.where(ice, floor, floor + fade * (fine - floor)))


def _blended(floors: list[FloatArray], margins: list[FloatArray], softness_m: float) -> FloatArray:
    """Height of the arm that is nearest, passing softly from one to the other where they meet."""
    beyond = np.stack(margins)
    weights = np.exp(-np.minimum((beyond - beyond.min(axis=0)) / softness_m, 60))
    return np.asarray((weights * np.stack(floors)).sum(axis=0) / weights.sum(axis=0))
