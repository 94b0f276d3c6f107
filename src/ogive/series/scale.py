"""The scale of a pixel's residuals, which tells gross errors from noise, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .lanes import LANES, inner
from .propagation import SMALLEST_SCALE_M
from .rows import Rows
from .state import Options, PixelLanes

__all__ = ["MAD_TO_SIGMA", "limit_scale", "median", "rescale"]

F8 = NDArray[np.float64]

MAD_TO_SIGMA = 1.4826022185056018
"""Consistency of the median absolute deviation with a normal standard deviation."""


@inner
def median(values: F8, count: int) -> float:
    """Middle one, the upper of two, of the first so many values."""
    return float(np.partition(values[:count], count // 2)[count // 2])


@inner
def limit_scale(lanes: PixelLanes, c0: int, c1: int) -> None:
    """Squares of studentized residuals whose median asks for a lower scale are below the limit."""
    for c in range(c0, c1):
        for lane in range(LANES):
            scale = 0.8 * lanes.scale[c, lane]
            falls = scale > SMALLEST_SCALE_M
            lanes.limit[c, lane] = (scale / MAD_TO_SIGMA) ** 2 if falls else -1.0


@inner
def _robust_scale(rows: Rows, total: int, c: int, lane: int, scratch: F8) -> float:
    """Spread of the studentized residuals that some other observation checks."""
    count = 0
    squares = rows.studentized[c]
    for r in range(total):
        value = squares[r, lane]
        scratch[count] = value
        count += value >= 0.0
    return max(MAD_TO_SIGMA * float(np.sqrt(median(scratch, count))), SMALLEST_SCALE_M)


@inner
def rescale(
    rows: Rows, lanes: PixelLanes, lane: int, c0: int, c1: int, options: Options, scratch: F8
) -> bool:
    """Estimate the residuals' scale, -1 where nothing checks anything; True if it is to be held.

    Outliers inflate the scale at first, so it is estimated again after each solution as long as it
    falls by more than a fifth. Then it is held: the weights converge, and in networks of little
    redundancy the fit does not shrink its own scale by following ever fewer observations. Once the
    solution has settled the scale is tested once more.
    """
    total = lanes.total[lane]
    if options.literal:
        squares = 0.0
        for r in range(total):
            if rows.prior[r, lane] > 0.0:
                squares += rows.residual[c0, r, lane] ** 2
        freedom = lanes.present[lane] - (lanes.solution.shape[1] - 1)
        spread_of = np.sqrt(squares / freedom) if freedom > 0 else -1.0
        lanes.scale[c0, lane] = max(spread_of, SMALLEST_SCALE_M) if freedom > 0 else -1.0
        return False
    falls = False
    if lanes.checked[lane] < 3 or lanes.freedom[lane] < 1.0:
        lanes.scale[c0, lane] = -1.0
        return True
    for c in range(c0, c1):
        # The median need not be found to know that it is too large.
        if lanes.smaller[c, lane] <= lanes.checked[lane] // 2:
            continue
        spread_of = _robust_scale(rows, total, c, lane, scratch)
        if spread_of < 0.8 * lanes.scale[c, lane]:
            lanes.scale[c, lane] = spread_of
            falls = True
    return not falls
