"""The compiled second half of a point's road: a displacement that a search found is refined.

`measure.measure_rows` searches and refines in one go. `refine_rows` refines alone, where the two
halves do not work on the same features or not on the same device.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..model import Flag
from .correlate import take_weighted_window, take_window
from .gauss_newton import FARTHEST_PX, full_weights, refine_window, refinement_scratch
from .kernels import FASTMATH, PAD
from .measure import AFFINE, ITERATIONS, TOLERANCE_PX, TRANSLATION, interpolate, valid_share

__all__ = ["refine_rows"]

MEASURED = int(Flag.MEASURED)
FLAT = int(Flag.FLAT)
OUTSIDE = int(Flag.OUTSIDE)
NO_PEAK = int(Flag.NO_PEAK)


@njit(nogil=True, cache=True)
def shared_weights(masks, y, x, ty, tx, size, weights):
    """One for each pixel that is valid in both windows, zero for the others."""
    for i in range(size):
        m1 = masks[0][y + i, x : x + size]
        m2 = masks[1][ty + i, tx : tx + size]
        for k in range(size):
            weights[i * (size + PAD) + k] = np.float32(m1[k] & m2[k])


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def refine_rows(
    start, stop, earlier, earlier_spline, later_spline, masks, ys, xs, size, nodes, node_y, node_x,
    method, least, whole_peaks, out, deformation, flag,
):  # fmt: skip
    """Refine rows ``start`` to ``stop`` of points, in place.

    Parameters
    ----------
    earlier, earlier_spline, later_spline
        The stack of features to refine on, and the spline coefficients of both.
    masks, ys, xs, size, nodes, node_y, node_x, method, deformation
        As of `ogive.matching.measure.measure_rows`.
    least
        A window of this stack with a smaller sum of squares is flat.
    whole_peaks
        ``(2, rows, columns)``: the whole displacement u and v that the search found. The pixels
        that both windows share are those there.
    out
        The planes `ogive.matching.measure.RESULTS`: the displacement is where to start, within a
        pixel of the whole one; it is replaced, with its covariance, the distance from the
        prediction, the share of valid pixels and, after Gauss-Newton, the correlation.
    flag
        `ogive.model.Flag`: only points that are MEASURED are refined, and they may cease to be.
    """
    channels = earlier.shape[0]
    window = np.zeros((channels, size * (size + PAD)), np.float32)
    scratch = refinement_scratch(channels, size)
    weights = full_weights(size)
    everything = full_weights(size)
    motion = np.empty(6)
    covariance = np.empty(3)
    predicted = np.empty(6)
    bounds = np.empty(4)
    for row in range(start, stop):
        for column in range(xs.size):
            if flag[row, column] != MEASURED:
                continue
            y, x = ys[row], xs[column]
            interpolate(nodes, node_y[row], node_x[column], predicted, bounds)
            motion[0] = out[0, row, column]
            motion[1] = out[1, row, column]
            motion[2:] = predicted[2:]
            tx = x + whole_peaks[0, row, column]
            ty = y + whole_peaks[1, row, column]
            norm = take_window(earlier, y, x, size, window)
            if norm * norm <= least:
                out[:9, row, column] = np.nan
                flag[row, column] = FLAT
                continue
            whole = valid_share(masks, y, x, size, ty, tx)
            if whole < 1.0:
                shared_weights(masks, y, x, ty, tx, size, weights)
                norm = take_weighted_window(earlier, y, x, size, weights, window)
            refined, left = refine_window(
                window, norm, earlier_spline, later_spline, y, x, size, method == AFFINE,
                ITERATIONS if method >= TRANSLATION else 0, TOLERANCE_PX,
                weights if whole < 1.0 else everything, whole < 1.0, scratch, motion, covariance,
            )  # fmt: skip
            if method >= TRANSLATION:
                leaves = refined == -2.0
                if (
                    leaves
                    or refined < -1.0
                    or left > 10 * TOLERANCE_PX
                    or abs(motion[0] - (tx - x)) > FARTHEST_PX
                    or abs(motion[1] - (ty - y)) > FARTHEST_PX
                ):
                    out[:, row, column] = np.nan
                    flag[row, column] = OUTSIDE if leaves else NO_PEAK
                    continue
                out[5, row, column] = refined
            out[0, row, column] = motion[0]
            out[1, row, column] = motion[1]
            out[2, row, column] = covariance[0]
            out[3, row, column] = covariance[1]
            out[4, row, column] = covariance[2]
            out[8, row, column] = np.hypot(motion[0] - predicted[0], motion[1] - predicted[1])
            out[9, row, column] = whole
            if deformation.size:
                for k in range(4):
                    deformation[k, row, column] = motion[2 + k]
