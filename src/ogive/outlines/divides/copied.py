"""Divides of an inventory, laid over other ice."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import label
from skimage.segmentation import watershed

from ogive.model import InputError

from .divide import checked_ice

__all__ = ["copy_divides"]


def copy_divides(
    ice: ArrayLike, elevation_m: ArrayLike, inventory: ArrayLike, *, cell_m: float
) -> NDArray[np.int64]:
    """Give ice the numbers of an inventory's glaciers, so that glaciers can be followed over years.

    Ice outside of the inventory goes to the glacier above which it lies, flooded from high to low
    (a watershed of the inverted elevation with the inventory as markers); ice that no glacier of
    the inventory touches gets numbers after the last.

    Parameters
    ----------
    ice, elevation_m
        As for `divide_ice`.
    inventory
        ``(y, x)``: numbers of the inventory's glaciers, from 1; 0 is none.
    cell_m
        Side of the square cells.

    Raises
    ------
    InputError
        If shapes differ, or there is no ice.

    Examples
    --------
    >>> copy_divides([[1, 1, 1, 1, 0, 1]], [[5, 4, 4, 5, 3, 9]], [[3, 0, 0, 8, 0, 0]], cell_m=10)
    array([[3, 3, 8, 8, 0, 9]])
    """
    ice_, elevation = checked_ice(ice, elevation_m, cell_m)
    markers = np.asarray(inventory, np.int64)
    if markers.shape != ice_.shape:
        raise InputError(f"the inventory is {markers.shape}, ice {ice_.shape}")
    if not np.isfinite(elevation[ice_]).all():
        raise InputError("the elevation model has gaps on the ice: fill it")
    height = -np.where(ice_, elevation, 0.0)
    marked = np.where(ice_, markers, 0)
    flooded = watershed(height, marked, mask=ice_, connectivity=2)  # type: ignore[no-untyped-call]
    new, _ = label(ice_ & (flooded == 0), np.ones((3, 3), bool))
    return np.asarray(np.where(new > 0, new + max(int(markers.max()), 0), flooded), np.int64)
