"""Mountains as rivers leave them: uplift balanced by incision, down to a given base level."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from .noise import FloatArray

__all__ = ["eroded_relief"]

AREA_EXPONENT = 0.45
CREEP = 0.06
LONGEST_STEPS = 250
RISE_TOLERANCE = 2e-3


def eroded_relief(
    base_m: FloatArray,
    is_base: NDArray[np.bool_],
    *,
    step_m: float,
    relief_m: float,
    seedling: FloatArray,
) -> FloatArray:
    """Raise mountains between the places whose height is given.

    Solves ``dz/dt = U - K A**m |grad z|`` (the stream-power law with a slope exponent of one) to
    near its steady state with the implicit scheme of Braun & Willett (2013, Geomorphology 180-181,
    170-179); A is the area drained. Ridges, spurs and gullies organise themselves.

    Parameters
    ----------
    base_m
        Heights, ``(y, x)``; kept where ``is_base``, a first guess elsewhere.
    is_base
        True on valley floors and glaciers, which take what comes down.
    step_m
        Distance between cells.
    relief_m
        Height of the highest percent of the peaks above the mean base.
    seedling
        Noise of unit variance that decides where the first gullies form.
    """
    free = ~is_base
    start = np.where(free, base_m + 5 * np.abs(seedling) + 5, base_m)
    height = start.copy()
    uplift = relief_m / 60
    # Incision that balances the uplift on a divide with some 12 cells of slope below it.
    erodibility = uplift * 16 * step_m / relief_m / (30 * step_m**2) ** AREA_EXPONENT
    # Rocks differ: softer ones give the wide valleys.
    softness = np.exp(0.35 * seedling)
    for _ in range(LONGEST_STEPS):
        before = height.copy()
        order = np.argsort(height, axis=None, kind="stable")
        _incise(height, free, order, softness, step_m, uplift, erodibility, AREA_EXPONENT)
        height += np.where(free, CREEP * ndimage.laplace(height, mode="nearest"), 0)
        if np.abs(height - before).max() < RISE_TOLERANCE * relief_m:
            break
    excess = np.where(free, height - start, 0)
    if not free.any():
        return np.asarray(start)
    excess /= np.quantile(excess[free], 0.97)
    # What never found a way down would stand as a mesa: round it off.
    return np.asarray(
        start + relief_m * np.where(excess > 0.8, 1.1 - 0.3 * np.exp((0.8 - excess) / 0.3), excess)
    )


@njit(cache=True, nogil=True)
def _incise(
    height: Any,
    free: Any,
    order: Any,
    softness: Any,
    step_m: float,
    uplift: float,
    erodibility: float,
    area_exponent: float,
) -> None:
    """One step of a unit of time: where water goes, how much, and what it takes away."""
    rows, columns = height.shape
    size = rows * columns
    receiver = np.empty(size, np.int64)
    distance = np.empty(size, np.float64)
    area = np.full(size, step_m * step_m)
    for cell in range(size):
        y, x = cell // columns, cell % columns
        receiver[cell], distance[cell] = cell, step_m
        steepest = 0.0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                if (dy == 0 and dx == 0) or not (0 <= y + dy < rows and 0 <= x + dx < columns):
                    continue
                length = step_m * np.sqrt(dy * dy + dx * dx)
                slope = (height[y, x] - height[y + dy, x + dx]) / length
                if slope > steepest:
                    steepest = slope
                    receiver[cell], distance[cell] = (y + dy) * columns + x + dx, length
    for i in range(size - 1, -1, -1):
        cell = order[i]
        if receiver[cell] != cell:
            area[receiver[cell]] += area[cell]
    for i in range(size):
        cell = order[i]
        y, x = cell // columns, cell % columns
        if not free[y, x]:
            continue
        raised = height[y, x] + uplift
        to = receiver[cell]
        if to != cell:
            below = height[to // columns, to % columns]
            factor = erodibility * softness[y, x] * area[cell] ** area_exponent / distance[cell]
            raised = (raised + factor * below) / (1 + factor)
        height[y, x] = raised
