"""Velocity and elevation bias of one pixel by least squares, with data snooping; compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .baseline import baselines
from .snooping import snoop
from .system import Network, Scratch, Settings, freedom, room, weight

__all__ = ["Network", "Result", "Settings", "empty_result", "solve_range"]

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
B1 = NDArray[np.bool_]


class Result(NamedTuple):
    """What is written per pixel; the last axis of velocities are the periods, x before y.

    ``line`` is the unit vector of the epipolar line, ``line_spread`` how far the lines of single
    pairs turn from it (radians), ``dropped`` the pairs that were rejected.
    """

    velocity: F8
    velocity_variance: F8
    velocity_covariance: F8
    bias: F8
    bias_variance: F8
    bias_velocity_covariance: F8
    unit_variance: F8
    redundancy: NDArray[np.int32]
    used: NDArray[np.int32]
    rejected: NDArray[np.int32]
    baseline: F4
    separability: F4
    line: F4
    line_spread: F4
    dropped: B1


def empty_result(pixels: int, periods: int, pairs: int) -> Result:
    """Room for the results of some pixels, NaN until they are solved."""

    def room(*shape: int) -> F8:
        return np.full((pixels, *shape), np.nan)

    return Result(
        velocity=room(2, periods),
        velocity_variance=room(2, periods),
        velocity_covariance=room(periods),
        bias=room(),
        bias_variance=room(),
        bias_velocity_covariance=room(2, periods),
        unit_variance=room(),
        redundancy=np.zeros(pixels, np.int32),
        used=np.zeros(pixels, np.int32),
        rejected=np.zeros(pixels, np.int32),
        baseline=np.zeros(pixels, np.float32),
        separability=np.zeros(pixels, np.float32),
        line=np.full((pixels, 2), np.nan, np.float32),
        line_spread=np.full(pixels, np.nan, np.float32),
        dropped=np.zeros((pixels, pairs), np.bool_),
    )


@njit(nogil=True, cache=True)
def _write(
    network: Network, settings: Settings, variance: F4, valid: B1, active: B1, images: int,
    freedom: int, s: Scratch, result: Result, pixel: int,
) -> None:  # fmt: skip
    squares = 0.0
    for i in range(active.size):
        if active[i]:
            xx, yy, xy = weight(variance, i)
            ex, ey = s.residual[i, 0], s.residual[i, 1]
            squares += xx * ex * ex + 2.0 * xy * ex * ey + yy * ey * ey
    for image in range(images):
        for c in range(2):
            squares += s.solution[2 * image + c] ** 2 / settings.image_variance[image]
    used = 0
    for i in range(active.size):
        used += active[i]
        result.rejected[pixel] += valid[i] and not active[i]
        result.dropped[pixel, i] = valid[i] and not active[i]
    result.used[pixel] = used
    result.redundancy[pixel] = freedom
    result.unit_variance[pixel] = squares / freedom if freedom > 0 else np.nan
    periods = network.overlap_years.shape[1]
    last = 2 * images + 2 * periods
    for k in range(periods):
        at = 2 * images + 2 * k
        for c in range(2):
            if s.kept[at + c]:
                result.velocity[pixel, c, k] = s.solution[at + c]
                result.velocity_variance[pixel, c, k] = s.inverse[at + c, at + c]
                if s.kept[last]:
                    result.bias_velocity_covariance[pixel, c, k] = s.inverse[last, at + c]
        if s.kept[at] and s.kept[at + 1]:
            result.velocity_covariance[pixel, k] = s.inverse[at, at + 1]
    if s.kept[last]:
        result.bias[pixel] = s.solution[last]
        result.bias_variance[pixel] = s.inverse[last, last]


@njit(nogil=True, cache=True)
def solve_range(
    network: Network,
    settings: Settings,
    displacement: F4,
    variance: F4,
    offset: F4,
    begin: int,
    stop: int,
    result: Result,
) -> None:
    """Solve pixels ``begin`` to ``stop``.

    Parameters
    ----------
    network, settings
        What all pixels share.
    displacement
        (pixels, 2, pairs), m, NaN where there is none.
    variance
        (pixels, 3, pairs) or (1, 3, pairs): of dx, of dy, and their covariance, m².
    offset
        (pixels, 2, images) or (1, 2, images): displacement in the image per metre of ΔZ.
    begin, stop
        The range of pixels; ranges may run in parallel, each writes only its own.
    result
        Where the results go.
    """
    pairs = network.first.size
    images = settings.image_variance.size if settings.image_variance.max() > 0.0 else 0
    s = room(images, network.overlap_years.shape[1], pairs)
    valid, active = np.zeros(pairs, np.bool_), np.zeros(pairs, np.bool_)
    for pixel in range(begin, stop):
        d = displacement[pixel]
        q = variance[pixel if variance.shape[0] > 1 else 0]
        o = offset[pixel if offset.shape[0] > 1 else 0]
        count = 0
        for i in range(pairs):
            seen = d[0, i] + d[1, i] + q[0, i] + q[1, i] + q[2, i]
            seen += o[0, network.first[i]] + o[0, network.last[i]]
            valid[i] = np.isfinite(seen) and q[0, i] * q[1, i] > q[2, i] * q[2, i] and q[0, i] > 0
            active[i] = valid[i]
            count += valid[i]
        if count == 0:
            continue
        longest, line_x, line_y, spread = baselines(
            network.first, network.last, o, active, settings.least_baseline
        )
        use_bias = longest >= settings.least_baseline
        result.baseline[pixel] = longest
        result.line[pixel, 0], result.line[pixel, 1] = line_x, line_y
        result.line_spread[pixel] = spread
        share = snoop(network, settings, d, q, o, valid, active, images, use_bias, s)
        spare = freedom(active, images, s)
        result.separability[pixel] = share
        _write(network, settings, q, valid, active, images, spare, s, result, pixel)
