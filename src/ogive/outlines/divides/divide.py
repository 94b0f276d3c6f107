"""From ice and elevation to numbered glaciers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.measure import label

from ogive.model import InputError

from .flow import RIM_CELLS, drainage
from .flowsheds import flowsheds_of, merged
from .options import DivideOptions
from .slivers import without_slivers

__all__ = ["checked_ice", "divide_ice", "numbered_parts"]


def divide_ice(
    ice: ArrayLike,
    elevation_m: ArrayLike,
    *,
    cell_m: float,
    options: DivideOptions | None = None,
) -> NDArray[np.int64]:
    """Divide ice into glaciers.

    Parameters
    ----------
    ice
        ``(y, x)``: where there is ice.
    elevation_m
        Of the same shape; it must reach ``buffer_m`` beyond the ice, but for the array's edges.
    cell_m
        Side of the square cells.
    options
        Lengths and areas; see `DivideOptions`.

    Returns
    -------
    numpy.ndarray
        ``(y, x)``: number of the glacier, from 1; 0 is no ice. The ice of one glacier is connected.

    Raises
    ------
    InputError
        If shapes differ, there is no ice, or elevation is missing.

    Examples
    --------
    Two funnels, each towards its own end of the ice, part along the middle:

    >>> y, x = np.mgrid[:61, :61] * 50.0 - 1500
    >>> ice = (abs(x) <= 1200) & (abs(y) <= 700)
    >>> elevation_m = 0.3 * np.minimum(np.hypot(x - 1400, y), np.hypot(x + 1400, y))
    >>> glaciers = divide_ice(ice, elevation_m, cell_m=50)
    >>> np.unique(glaciers).tolist(), glaciers[30, 26:36].tolist()
    ([0, 1, 2], [1, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    """
    ice_, elevation = checked_ice(ice, elevation_m, cell_m)
    options = options or DivideOptions()
    wide = np.pad(ice_, RIM_CELLS)
    drained = drainage(wide, np.pad(elevation, RIM_CELLS, mode="edge"), cell_m, options)
    sheds = flowsheds_of(drained, cell_m, options)
    inner = (slice(RIM_CELLS, -RIM_CELLS),) * 2
    glaciers = merged(sheds, wide, cell_m, options)[inner]
    parts = numbered_parts(np.where(ice_, glaciers, 0))
    return numbered_parts(without_slivers(parts, cell_m, options))


def checked_ice(
    ice: ArrayLike, elevation_m: ArrayLike, cell_m: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Check that ice and elevation fit together.

    Raises
    ------
    InputError
        If shapes differ, there is no ice, or cells have no size.
    """
    ice_, elevation = np.asarray(ice, bool), np.asarray(elevation_m, float)
    if ice_.ndim != 2 or ice_.shape != elevation.shape:
        raise InputError(f"ice is {ice_.shape}, elevation {elevation.shape}: both must be (y, x)")
    if not ice_.any():
        raise InputError("there is no ice to divide")
    if not cell_m > 0:
        raise InputError(f"cells of {cell_m} m: their side must be above 0")
    return ice_, elevation


def numbered_parts(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Number the connected parts of equal labels from 1; 0 stays 0.

    Examples
    --------
    >>> numbered_parts(np.array([[5, 5, 0, 5], [7, 7, 0, 5]]))
    array([[1, 1, 0, 2],
           [3, 3, 0, 2]])
    """
    return np.asarray(label(labels, background=0, connectivity=2), np.int64)  # type: ignore[no-untyped-call]
