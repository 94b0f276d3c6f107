"""Slope, the second band of the modality ``dem``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError

__all__ = ["slope_deg"]


def slope_deg(elevation_m: NDArray[np.floating], cell_m: float) -> NDArray[np.float32]:
    """Give the slope of the terrain in degrees, by central differences.

    Parameters
    ----------
    elevation_m
        ``(y, x)``, at least 2 x 2; NaN spreads to neighbours.
    cell_m
        Side of the square cells.

    Raises
    ------
    InputError
        If there are fewer than two rows or columns, or cells have no size.

    Examples
    --------
    >>> slope_deg(np.array([[0.0, 10.0], [0.0, 10.0]]), 10.0).round(3).tolist()
    [[45.0, 45.0], [45.0, 45.0]]
    """
    if min(elevation_m.shape) < 2 or not cell_m > 0:
        raise InputError("slope needs at least 2 x 2 elevations, and cells larger than 0 m")
    down, right = np.gradient(np.asarray(elevation_m, float), cell_m)
    return np.asarray(np.degrees(np.arctan(np.hypot(down, right))), np.float32)
