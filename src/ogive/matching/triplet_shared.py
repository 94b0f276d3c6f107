r"""What two steps say beyond what the direct surface has said: chance looks of one end, told once.

Where the first image p shows no surface (a cloud), its correlations with q and with r are chance.
But q and r show the same surface, one displaced by their own :math:`d_{qr}`, and so the *same*
chance: what p happens to look like in q it looks like in r, and the triangle closes on it. The
surface :math:`\rho_{pq}(e)` then goes along with :math:`\rho_{pr}(e + d_{qr})`, by a slope that the
two surfaces themselves tell, and only the rest of it is news:

.. math::

    \rho'_{pq}(e) = \rho_{pq}(e) - b\, \rho_{pr}(e + d_{qr}), \qquad
    b = \frac{\sum_e \rho_{pq}(e)\, \rho_{pr}(e + d_{qr})}{\sum_e \rho_{pr}^2(e + d_{qr})},

summed beyond the peak's neighbourhood, which is no chance. The same with p and r in each other's
place for an r without a surface. Where q and r have nothing in common the slope is about zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .correlate import NO_CANDIDATE
from .kernels import FASTMATH, Float32Array

__all__ = ["own_evidence"]

PEAK_PX = 2
"""Pixels to each side of a step's peak that tell nothing of chance."""


def own_evidence(
    direct: Float32Array, first: Float32Array, second: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Free the surfaces of two steps of the chance that they share with the direct one.

    Parameters
    ----------
    direct, first, second
        ``(point, side, side)``: correlation surfaces from the first to the last image, to the
        middle one, and from there to the last one; the zero displacement in the middle.

    Returns
    -------
    tuple of numpy.ndarray
        The two steps' surfaces. Where the direct one does not reach, they are as they were.

    Examples
    --------
    A first image without a surface: what it looks like in the middle one it looks like in the last.

    >>> rng = np.random.default_rng(0)
    >>> seen = rng.normal(0, 0.1, (1, 17, 17)).astype(np.float32)
    >>> second = 0.01 * rng.normal(0, 0.1, (1, 17, 17)).astype(np.float32)
    >>> second[0, 8, 10] = 0.8
    >>> first = np.roll(seen, -2, axis=2)
    >>> own, _ = own_evidence(seen, first, second)
    >>> round(float(np.abs(own[0, :, :15]).max()), 2)
    0.0
    """
    own_first, own_second = np.empty_like(first), np.empty_like(second)
    _subtract(first, second, direct, own_first)
    _subtract(second, first, direct, own_second)
    return own_first, own_second


@njit(nogil=True, cache=True)
def _highest(surface: Any) -> Any:
    """Row and column of the highest value."""
    best = surface[0, 0]
    best_i = best_j = 0
    for i in range(surface.shape[0]):
        for j in range(surface.shape[1]):
            if surface[i, j] > best:
                best = surface[i, j]
                best_i, best_j = i, j
    return best_i, best_j


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _subtract(steps: Any, others: Any, direct: Any, out: Any) -> None:
    """Regress each step on the direct surface displaced by the other step, and take it off."""
    number, side, _ = steps.shape
    radius = side // 2
    for k in range(number):
        out[k] = steps[k]
        other_i, other_j = _highest(others[k])
        down, right = other_i - radius, other_j - radius
        peak_i, peak_j = _highest(steps[k])
        rows = max(0, -down), min(side, side - down)
        columns = max(0, -right), min(side, side - right)
        cross = squares = 0.0
        for i in range(*rows):
            row, there = steps[k, i], direct[k, i + down]
            for j in range(*columns):
                a, b = row[j], there[j + right]
                near = abs(i - peak_i) <= PEAK_PX and abs(j - peak_j) <= PEAK_PX
                if a > NO_CANDIDATE and b > NO_CANDIDATE and not near:
                    cross += a * b
                    squares += b * b
        if cross <= 0.0:
            continue
        slope = np.float32(cross / squares)
        for i in range(*rows):
            row, there, target = steps[k, i], direct[k, i + down], out[k, i]
            for j in range(*columns):
                if row[j] > NO_CANDIDATE and there[j + right] > NO_CANDIDATE:
                    target[j] = row[j] - slope * there[j + right]
