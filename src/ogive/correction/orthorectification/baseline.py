"""How far the lines of sight of a pixel's pairs differ, and in which direction; compiled."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["baselines"]

F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]


@njit(nogil=True, cache=True)
def baselines(
    first: I8, last: I8, offset: F4, active: B1, least: float
) -> tuple[float, float, float, float]:
    """Longest baseline among the pairs, and the epipolar line of those that are long.

    Lines have no sense: their directions are averaged with twice the angle.

    Parameters
    ----------
    first, last
        Numbers of the images of each pair.
    offset
        (2, images): displacement in each image per metre of ΔZ.
    active
        Which pairs count.
    least
        From this baseline on a pair is long.

    Returns
    -------
    longest
        Baseline, metres per metre.
    line_x, line_y
        Unit vector of the epipolar line; NaN where no pair is long.
    spread
        How far the lines of single pairs turn from it, radians; NaN where no pair is long.
    """
    cosine = sine = widest = 0.0
    for i in range(active.size):
        if active[i]:
            p, q = first[i], last[i]
            x = np.float64(offset[0, q]) - offset[0, p]
            y = np.float64(offset[1, q]) - offset[1, p]
            length = np.hypot(x, y)
            widest = max(widest, length)
            if length >= least:
                cosine += (x * x - y * y) / (length * length)
                sine += 2.0 * x * y / (length * length)
    if widest < least:
        return widest, np.nan, np.nan, np.nan
    turn = 0.5 * np.arctan2(sine, cosine)
    aside = 0.0
    for i in range(active.size):
        if active[i]:
            p, q = first[i], last[i]
            x = np.float64(offset[0, q]) - offset[0, p]
            y = np.float64(offset[1, q]) - offset[1, p]
            length = np.hypot(x, y)
            if length >= least:
                aside = max(aside, abs(np.cos(turn) * y - np.sin(turn) * x) / length)
    return widest, np.cos(turn), np.sin(turn), np.arcsin(min(aside, 1.0))
