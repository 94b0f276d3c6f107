"""Where water on ice would run, and where it would leave.

The terrain flow is pysheds' (Bartos 2020, doi 10.5281/zenodo.3822494): depressions are filled and
flats resolved, D∞ (Tarboton 1997, Water Resour. Res. 33, 309-319) tells how much arrives, D8 tells
whence. Round the ice runs a gutter, lowered, behind which everything falls off: what reaches the
gutter stays there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numba.core.caching import NullCache
from numpy.typing import NDArray
from pysheds import _sgrid
from pysheds.grid import Grid
from pysheds.view import Raster, ViewFinder
from scipy.ndimage import (
    binary_dilation,
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
)

from ogive.model import InputError

from .options import DivideOptions

__all__ = ["RIM_CELLS", "Drainage", "drainage"]

# A generator that numba loads from its cache cannot be compiled into another function: where
# several processes compile pysheds for the first time at once, one of them would fail.
_sgrid.count._cache = NullCache()

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

_BEHIND_M = 1000.0
"""How far below the lowest gutter everything lies that is beyond it."""
RIM_CELLS = 3
"""Round the ice there must be room for a domain, a gutter, and what lies behind it."""
# Powers of two, clockwise from the north; the order is pysheds' default.
_STEPS = {
    64: (-1, 0), 128: (-1, 1), 1: (0, 1), 2: (1, 1),
    4: (1, 0), 8: (1, -1), 16: (0, -1), 32: (-1, -1),
}  # fmt: skip
_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Drainage:
    """How the ice drains.

    Attributes
    ----------
    domain
        Ice with the gaps and the rim through which it drains.
    gutter
        Cells round the domain.
    arriving_m2
        Area of the domain that drains through each cell.
    outlet
        Flat index of the cell of the gutter to which each cell drains; -1 where none.
    """

    domain: BoolArray
    gutter: BoolArray
    arriving_m2: FloatArray
    outlet: NDArray[np.int64]


def drainage(
    ice: BoolArray, elevation_m: FloatArray, cell_m: float, options: DivideOptions
) -> Drainage:
    """Let water run over the ice.

    Parameters
    ----------
    ice
        ``(y, x)``, with at least `RIM_CELLS` free cells on each side.
    elevation_m
        Of the same shape; needed wherever there is ice, and within ``buffer_m`` of it.
    cell_m
        Side of the square cells.
    options
        Lengths.

    Raises
    ------
    InputError
        If elevation is missing where it is needed.
    """
    domain = _domain(ice, cell_m, options)
    gutter = binary_dilation(domain, _EIGHT) & ~domain
    surface = _surface(elevation_m, domain, gutter, cell_m, options)
    grid, raster = _raster(surface)
    filled = grid.resolve_flats(grid.fill_depressions(grid.fill_pits(raster)))
    share = Raster(domain.astype(float), viewfinder=raster.viewfinder)
    directions = grid.flowdir(filled, routing="dinf")
    arriving = np.asarray(grid.accumulation(directions, weights=share, routing="dinf"))
    outlet = _outlets(np.asarray(grid.flowdir(filled)), domain, gutter)
    return Drainage(domain, gutter, arriving * cell_m**2, outlet)


def _domain(ice: BoolArray, cell_m: float, options: DivideOptions) -> BoolArray:
    """Widen the ice, narrow it again, and fill what it surrounds; the array's rim stays free."""
    widened = distance_transform_edt(~ice) * cell_m <= options.buffer_m
    narrowed = distance_transform_edt(widened) * cell_m > options.shrink_m
    domain = binary_fill_holes(narrowed | ice)
    free = np.zeros(ice.shape, bool)
    inner = slice(RIM_CELLS - 1, -(RIM_CELLS - 1))
    free[inner, inner] = True
    return np.asarray(domain & free)


def _surface(
    elevation_m: FloatArray,
    domain: BoolArray,
    gutter: BoolArray,
    cell_m: float,
    options: DivideOptions,
) -> FloatArray:
    needed = domain | gutter
    missing = int(np.count_nonzero(needed & ~np.isfinite(elevation_m)))
    if missing:
        raise InputError(
            f"the elevation model has no value at {missing} cells on the ice or within "
            f"{options.buffer_m:.0f} m of it: fill it, or take one that covers the ice"
        )
    whole = np.where(np.isfinite(elevation_m), elevation_m, np.median(elevation_m[needed]))
    surface = gaussian_filter(whole, options.smoothing_m / cell_m, mode="nearest")
    surface[gutter] -= options.drop_m
    surface[~needed] = surface[needed].min() - _BEHIND_M
    return np.asarray(surface, float)


def _raster(surface: FloatArray) -> tuple[Any, Any]:
    """Hand an array to pysheds; its flow does not ask for the cell size."""
    view = ViewFinder(
        affine=Affine(1, 0, 0, 0, -1, 0), shape=surface.shape, nodata=np.float64(np.nan)
    )
    raster = Raster(surface, viewfinder=view)
    return Grid.from_raster(raster), raster


def _outlets(
    directions: NDArray[np.int64], domain: BoolArray, gutter: BoolArray
) -> NDArray[np.int64]:
    """Follow all cells at once, twice as far each time, until they are in the gutter."""
    columns = directions.shape[1]
    receiver = np.arange(directions.size).reshape(directions.shape)
    for code, (down, right) in _STEPS.items():
        receiver[domain & (directions == code)] += down * columns + right
    flat = receiver.ravel()
    while not np.array_equal(further := flat[flat], flat):
        flat = further
    return np.where(gutter.ravel()[flat], flat, -1).reshape(directions.shape)
