"""Correlation surfaces of many points by the spatial correlator, one after the other.

What `frequency` does with equal, periodic windows, here with a window of the earlier image in a
search area of the later one: every candidate sees the whole window, and masks take part exactly
(`correlate`). The cost grows with the square of the search range.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..model import Flag
from .correlate import NO_CANDIDATE, take_window
from .kernels import PAD, Float32Array
from .measure import count_in, search_window

__all__ = ["KernelMasks", "spatial_surfaces"]

MEASURED = int(Flag.MEASURED)
MASKED = int(Flag.MASKED)
FLAT = int(Flag.FLAT)
OUTSIDE = int(Flag.OUTSIDE)

Places = NDArray[np.int64]
KernelMasks = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]


def spatial_surfaces(
    earlier: Float32Array,
    later: Float32Array,
    masks: KernelMasks,
    norms: Float32Array,
    start: tuple[Places, Places],
    middle: tuple[Places, Places],
    *,
    size: int,
    radius: int,
    least: float,
    least_valid: float,
) -> tuple[Float32Array, NDArray[np.uint8]]:
    """Score all displacements up to ``radius`` round given ones.

    Parameters
    ----------
    earlier, later
        ``(channel, y, x)`` stacks of features.
    masks
        Valid pixels of both and summed-area tables of the invalid ones; empty when all is valid.
    norms
        `inverse_norms` of the later stack.
    start
        Rows and columns where the earlier windows start.
    middle
        Rows and columns of the later windows in the middle of the search.
    size, radius
        Of windows and search, in pixels.
    least, least_valid
        A window with a smaller sum of squares is flat; the smallest valid share.

    Returns
    -------
    surfaces
        ``(point, 2 radius + 1, 2 radius + 1)``; `NO_CANDIDATE` outside the image and where too
        little is valid. Zero where the earlier window cannot be used.
    flag
        `ogive.model.Flag` of the earlier windows.
    """
    number = start[0].size
    side = 2 * radius + 1
    surfaces = np.zeros((number, side, side), np.float32)
    flag = np.zeros(number, np.uint8)
    _fill_surfaces(
        earlier, later, masks, norms, *start, *middle, size, radius, least, least_valid, surfaces,
        flag,
    )  # fmt: skip
    return surfaces, flag


@njit(nogil=True, cache=True)
def _fill_surfaces(
    earlier: Any, later: Any, masks: Any, norms: Any, ys: Any, xs: Any, mid_y: Any, mid_x: Any,
    size: int, radius: int, least: float, share: float, out: Any, flag: Any,
) -> None:  # fmt: skip
    channels, height, width = earlier.shape
    side = 2 * radius + 1
    window = np.zeros((channels, size * (size + PAD)), np.float32)
    patch = np.empty((channels, size + side, size + side), np.float32)
    flat_window = np.empty(size * (size + side), np.float32)
    flat_patch = np.empty((size + side) * (size + side) + 8, np.float32)
    surface = np.empty((side, side), np.float32)
    for k in range(ys.size):
        y, x = ys[k], xs[k]
        if y < 0 or x < 0 or y + size > height or x + size > width:
            flag[k] = OUTSIDE
            continue
        if masks[2].size:
            gaps = count_in(masks[2], y, x, size, size)
            if size * size - gaps < share * size * size:
                flag[k] = MASKED
                continue
        norm = take_window(earlier, y, x, size, window)
        if norm * norm <= least:
            flag[k] = FLAT
            continue
        flag[k] = MEASURED
        out[k] = NO_CANDIDATE
        first_y, first_x = mid_y[k] - radius, mid_x[k] - radius
        ty, tx = max(first_y, 0), max(first_x, 0)
        rows = min(mid_y[k] + radius, height - size) - ty + 1
        columns = min(mid_x[k] + radius, width - size) - tx + 1
        if rows < 1 or columns < 1:
            continue
        search_window(
            window, earlier, later, masks, norms, y, x, size, rows, columns, ty, tx, least, share,
            patch, flat_window, flat_patch, surface,
        )  # fmt: skip
        for i in range(rows):
            for j in range(columns):
                out[k, ty - first_y + i, tx - first_x + j] = surface[i, j]
