"""The normal equations of one pixel, in the order that tells what is determined; compiled.

The model of every pair is eq. 13 of Altena & Kääb (2017), ``d = A v + C ΔZ + ε``, extended by what
all displacements of an image share: its own misregistration ``o``, with a variance of its own, so
that ``d = A v + C ΔZ + o_later - o_earlier + ε``. Unknowns are ordered ``[o, v, ΔZ]``: the pivots
of the Cholesky factor then tell, in turn, which velocities the pairs determine, and how much of ΔZ
is left once any velocity is allowed (where nothing is, it cannot be told from motion).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Network", "Scratch", "Settings", "freedom", "residual", "room", "solve", "weight"]

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]

LEAST_PIVOT = 1e-9
"""A velocity that keeps less than this of its diagonal is not determined."""

SEPARABLE = 1e-6
"""Below this share of ΔZ's own information it cannot be told from motion."""


class Network(NamedTuple):
    """The pairs: their images, and how long they overlap the periods, in years (pairs, periods)."""

    first: I8
    last: I8
    overlap_years: F8


class Settings(NamedTuple):
    """Choices that all pixels share.

    ``image_variance`` of each image's misregistration (m²; all 0 leaves them out), ``critical`` of
    the test statistic (0 for no test), ``least_baseline`` of what counts as another line of sight,
    ``scaled`` for testing against the residuals' own spread.
    """

    image_variance: F8
    critical: float
    least_baseline: float
    scaled: bool


class Scratch(NamedTuple):
    """Room for the system of one pixel, used again for the next."""

    normal: F8
    inverse: F8
    right: F8
    solution: F8
    kept: B1
    column: I8
    value_x: F8
    value_y: F8
    residual: F8
    statistic: F8
    sorted_statistic: F8


@njit(nogil=True, cache=True)
def room(images: int, periods: int, pairs: int) -> Scratch:
    """Make room for so many unknowns and pairs."""
    size = 2 * images + 2 * periods + 1
    return Scratch(
        normal=np.zeros((size, size)),
        inverse=np.zeros((size, size)),
        right=np.zeros(size),
        solution=np.zeros(size),
        kept=np.zeros(size, np.bool_),
        column=np.zeros(2 * (periods + 2) + 1, np.int64),
        value_x=np.zeros(2 * (periods + 2) + 1),
        value_y=np.zeros(2 * (periods + 2) + 1),
        residual=np.zeros((pairs, 2)),
        statistic=np.zeros(pairs),
        sorted_statistic=np.zeros(pairs),
    )


@njit(nogil=True, cache=True)
def _row(network: Network, offset: F4, images: int, pair: int, use_bias: bool, s: Scratch) -> int:
    """Write the columns in which a pair has entries, of both its components; returns how many."""
    first, last = network.first[pair], network.last[pair]
    periods = network.overlap_years.shape[1]
    count = 0
    if images > 0:
        for image, sign in ((first, -1.0), (last, 1.0)):
            for c in range(2):
                s.column[count] = 2 * image + c
                s.value_x[count] = sign if c == 0 else 0.0
                s.value_y[count] = sign if c == 1 else 0.0
                count += 1
    for k in range(periods):
        years = network.overlap_years[pair, k]
        if years != 0.0:
            for c in range(2):
                s.column[count] = 2 * images + 2 * k + c
                s.value_x[count] = years if c == 0 else 0.0
                s.value_y[count] = years if c == 1 else 0.0
                count += 1
    if use_bias:
        s.column[count] = 2 * images + 2 * periods
        s.value_x[count] = offset[0, last] - offset[0, first]
        s.value_y[count] = offset[1, last] - offset[1, first]
        count += 1
    return count


@njit(nogil=True, cache=True)
def weight(variance: F4, pair: int) -> tuple[float, float, float]:
    """Inverse of the 2 by 2 dispersion of a pair: xx, yy, xy."""
    xx, yy = np.float64(variance[0, pair]), np.float64(variance[1, pair])
    xy = np.float64(variance[2, pair])
    determinant = xx * yy - xy * xy
    return yy / determinant, xx / determinant, -xy / determinant


@njit(nogil=True, cache=True)
def _assemble(
    network: Network, settings: Settings, displacement: F4, variance: F4, offset: F4, active: B1,
    images: int, use_bias: bool, s: Scratch,
) -> None:  # fmt: skip
    s.normal[:] = 0.0
    s.right[:] = 0.0
    for image in range(images):
        for c in range(2):
            s.normal[2 * image + c, 2 * image + c] = 1.0 / settings.image_variance[image]
    for i in range(active.size):
        if not active[i]:
            continue
        count = _row(network, offset, images, i, use_bias, s)
        xx, yy, xy = weight(variance, i)
        dx, dy = np.float64(displacement[0, i]), np.float64(displacement[1, i])
        for a in range(count):
            wx = s.value_x[a] * xx + s.value_y[a] * xy
            wy = s.value_x[a] * xy + s.value_y[a] * yy
            s.right[s.column[a]] += wx * dx + wy * dy
            for b in range(count):
                if s.column[b] <= s.column[a]:
                    product = wx * s.value_x[b] + wy * s.value_y[b]
                    s.normal[s.column[a], s.column[b]] += product


@njit(nogil=True, cache=True)
def _factorise(images: int, s: Scratch) -> float:
    """Cholesky factor in place; undetermined unknowns are dropped.

    Returns the share of ΔZ's information that no velocity explains.
    """
    matrix = s.normal
    size = matrix.shape[0]
    share = 0.0
    for j in range(size):
        before = matrix[j, j]
        for k in range(min(j, 2 * images)):
            before -= matrix[j, k] * matrix[j, k]
        pivot = before
        for k in range(2 * images, j):
            pivot -= matrix[j, k] * matrix[j, k]
        if j == size - 1:
            share = pivot / before if before > 0.0 else 0.0
            s.kept[j] = share > SEPARABLE
        else:
            s.kept[j] = pivot > LEAST_PIVOT * matrix[j, j]
        if not s.kept[j]:
            matrix[j, j] = 0.0
            for i in range(j + 1, size):
                matrix[i, j] = 0.0
            continue
        root = np.sqrt(pivot)
        matrix[j, j] = root
        for i in range(j + 1, size):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = total / root
    return share


@njit(nogil=True, cache=True)
def _invert(s: Scratch) -> None:
    """Inverse of the normal matrix from its factor, and the solution; dropped unknowns are 0."""
    factor, inverse = s.normal, s.inverse
    size = factor.shape[0]
    # The inverse factor is put into the upper triangle of ``inverse``, transposed.
    for j in range(size):
        for i in range(size):
            inverse[j, i] = 0.0
        if not s.kept[j]:
            continue
        inverse[j, j] = 1.0 / factor[j, j]
        for i in range(j + 1, size):
            if s.kept[i]:
                total = 0.0
                for k in range(j, i):
                    total += factor[i, k] * inverse[j, k]
                inverse[j, i] = -total / factor[i, i]
    for a in range(size):
        for b in range(a, size):
            total = 0.0
            for k in range(b, size):
                total += inverse[a, k] * inverse[b, k]
            inverse[a, b] = total
        for b in range(a):
            inverse[a, b] = inverse[b, a]
    for a in range(size):
        total = 0.0
        for b in range(size):
            total += inverse[a, b] * s.right[b]
        s.solution[a] = total


@njit(nogil=True, cache=True)
def residual(
    network: Network, displacement: F4, variance: F4, offset: F4, images: int, pair: int,
    use_bias: bool, predicted: bool, s: Scratch,
) -> float:  # fmt: skip
    """Residual of a pair, and its w-test statistic ``êᵀ Q_ê⁻¹ ê``, chi-squared with 2 degrees.

    For a pair that took no part (``predicted``) the dispersion of its prediction is added to its
    own, not taken off. A pair that no other checks gets 0.
    """
    count = _row(network, offset, images, pair, use_bias, s)
    ex, ey = np.float64(displacement[0, pair]), np.float64(displacement[1, pair])
    xx = yy = xy = 0.0
    for a in range(count):
        value = s.solution[s.column[a]]
        ex -= s.value_x[a] * value
        ey -= s.value_y[a] * value
        for b in range(count):
            q = s.inverse[s.column[a], s.column[b]]
            xx += s.value_x[a] * q * s.value_x[b]
            yy += s.value_y[a] * q * s.value_y[b]
            xy += s.value_x[a] * q * s.value_y[b]
    s.residual[pair, 0], s.residual[pair, 1] = ex, ey
    own_xx, own_yy = np.float64(variance[0, pair]), np.float64(variance[1, pair])
    own_xy = np.float64(variance[2, pair])
    sign = 1.0 if predicted else -1.0
    xx, yy, xy = own_xx + sign * xx, own_yy + sign * yy, own_xy + sign * xy
    determinant = xx * yy - xy * xy
    if xx <= 0.0 or yy <= 0.0 or determinant <= 1e-6 * (own_xx * own_yy - own_xy * own_xy):
        return 0.0
    return float((ex * ex * yy - 2.0 * ex * ey * xy + ey * ey * xx) / determinant)


@njit(nogil=True, cache=True)
def solve(
    network: Network, settings: Settings, displacement: F4, variance: F4, offset: F4, active: B1,
    images: int, use_bias: bool, s: Scratch,
) -> float:  # fmt: skip
    """One solution with the test statistics of its pairs; returns the separability of ΔZ."""
    _assemble(network, settings, displacement, variance, offset, active, images, use_bias, s)
    share = _factorise(images, s)
    _invert(s)
    for i in range(active.size):
        s.statistic[i] = 0.0
        if active[i]:
            s.statistic[i] = residual(
                network, displacement, variance, offset, images, i, use_bias, False, s
            )
    return share


@njit(nogil=True, cache=True)
def freedom(active: B1, images: int, s: Scratch) -> int:
    """Redundancy: two displacements a pair, less the velocities and the bias."""
    count = 0
    for i in range(active.size):
        count += 2 * active[i]
    for j in range(2 * images, s.kept.size):
        count -= s.kept[j]
    return count
