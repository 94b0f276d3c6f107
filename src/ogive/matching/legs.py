"""Sub-pixel displacements of windows that start anywhere, from whole pixels known beforehand.

`measure` searches and refines the points of a grid in one go, `refine` refines them on other
features. Here every window has a place of its own, as on a leg that begins where another one ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..model import Flag
from .correlate import take_weighted_window, take_window
from .gauss_newton import FARTHEST_PX, full_weights, refine_window, refinement_scratch
from .kernels import PAD, Float32Array, run_over_rows
from .measure import ITERATIONS, TOLERANCE_PX, valid_share
from .spatial import KernelMasks

__all__ = ["Refined", "refine_points"]

MEASURED = int(Flag.MEASURED)
MASKED = int(Flag.MASKED)
FLAT = int(Flag.FLAT)
OUTSIDE = int(Flag.OUTSIDE)
NO_PEAK = int(Flag.NO_PEAK)


@dataclass(frozen=True)
class Refined:
    """Displacements of points in pixels, with what their windows say of them.

    Parameters
    ----------
    u, v
        Displacement; NaN where ``flag`` is not ``MEASURED``.
    u_var, v_var, uv_cov
        Error covariance for a residual of variance one.
    correlation
        Of the two windows at the displacement.
    valid_fraction
        Share of pixels valid in both windows.
    flag
        `ogive.model.Flag` of each point.
    """

    u: Float32Array
    v: Float32Array
    u_var: Float32Array
    v_var: Float32Array
    uv_cov: Float32Array
    correlation: Float32Array
    valid_fraction: Float32Array
    flag: NDArray[np.uint8]


def refine_points(
    earlier: tuple[Float32Array, Float32Array],
    later: tuple[Float32Array, Float32Array],
    masks: KernelMasks,
    start: tuple[NDArray[np.int64], NDArray[np.int64]],
    motion: NDArray[np.float64],
    *,
    size: int,
    affine: bool = False,
    least: float = 0.0,
    least_valid: float = 0.5,
    threads: int = 1,
) -> Refined:
    """Refine the displacement of each window from a start within two pixels.

    Parameters
    ----------
    earlier, later
        Feature stack ``(channel, y, x)`` and its spline coefficients, of each image.
    masks
        Valid pixels of both and summed-area tables of the invalid ones; empty when all is valid.
    start
        Rows and columns where the earlier windows start.
    motion
        ``(6, point)``: u, v, u_x, u_y, v_x, v_y to start from; NaN for a point to be left out
        (flag ``NO_PEAK``).
    size
        Of the windows, in pixels.
    affine
        Measure the deformation too, instead of keeping it.
    least, least_valid
        A window with a smaller sum of squares is flat; the smallest valid share.
    threads
        How many threads share the points.

    Returns
    -------
    Refined
    """
    number = start[0].size
    out = np.full((7, number), np.nan, np.float32)
    flag = np.zeros(number, np.uint8)
    run_over_rows(
        _refine_range, number, threads, earlier[0], earlier[1], later[1], masks, start[0],
        start[1], motion, size, affine, least, least_valid, out, flag, at_least=64,
    )  # fmt: skip
    u, v, u_var, v_var, uv_cov, correlation, valid_fraction = out
    return Refined(u, v, u_var, v_var, uv_cov, correlation, valid_fraction, flag)


@njit(nogil=True, cache=True)
def _refine_range(
    begin: int, end: int, earlier: Any, earlier_spline: Any, later_spline: Any, masks: Any,
    ys: Any, xs: Any, starts: Any, size: int, affine: bool, least: float, share: float, out: Any,
    flag: Any,
) -> None:  # fmt: skip
    channels, height, width = earlier.shape
    window = np.zeros((channels, size * (size + PAD)), np.float32)
    scratch = refinement_scratch(channels, size)
    everything = full_weights(size)
    weights = full_weights(size)
    motion = np.empty(6)
    covariance = np.empty(3)
    for k in range(begin, end):
        y, x = ys[k], xs[k]
        motion[:] = starts[:, k]
        if not np.isfinite(motion).all():
            flag[k] = NO_PEAK
            continue
        ty, tx = y + int(np.rint(motion[1])), x + int(np.rint(motion[0]))
        if (
            min(y, x) < 0 or max(y - height, x - width) + size > 0
            or min(ty, tx) < 0 or max(ty - height, tx - width) + size > 0
        ):  # fmt: skip
            flag[k] = OUTSIDE
            continue
        whole = valid_share(masks, y, x, size, ty, tx)
        out[6, k] = whole
        if whole < share:
            flag[k] = MASKED
            continue
        if whole < 1.0:
            for i in range(size):
                m1 = masks[0][y + i, x : x + size]
                m2 = masks[1][ty + i, tx : tx + size]
                for j in range(size):
                    weights[i * (size + PAD) + j] = np.float32(m1[j] & m2[j])
            norm = take_weighted_window(earlier, y, x, size, weights, window)
        else:
            norm = take_window(earlier, y, x, size, window)
        if norm * norm <= least:
            flag[k] = FLAT
            continue
        correlation, left = refine_window(
            window, norm, earlier_spline, later_spline, y, x, size, affine, ITERATIONS,
            TOLERANCE_PX, weights if whole < 1.0 else everything, whole < 1.0, scratch, motion,
            covariance,
        )  # fmt: skip
        if correlation == -2.0:
            flag[k] = OUTSIDE
            continue
        if (
            correlation < -1.0
            or left > 10 * TOLERANCE_PX
            or abs(motion[0] - starts[0, k]) > FARTHEST_PX
            or abs(motion[1] - starts[1, k]) > FARTHEST_PX
        ):
            flag[k] = NO_PEAK
            continue
        out[0, k], out[1, k] = motion[0], motion[1]
        out[2, k], out[3, k], out[4, k] = covariance[0], covariance[1], covariance[2]
        out[5, k] = correlation
        flag[k] = MEASURED
