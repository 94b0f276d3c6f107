"""Velocity and elevation bias of one pixel by least squares, with data snooping; compiled.

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

__all__ = ["Network", "Result", "Settings", "empty_result", "solve_range"]

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]

LEAST_PIVOT = 1e-9
"""A velocity that keeps less than this of its diagonal is not determined."""

SEPARABLE = 1e-6
"""Below this share of ΔZ's own information it cannot be told from motion."""

# Median of chi-squared with two degrees of freedom.
_MEDIAN = 1.3863
_FEWEST_FOR_SCALE = 8
_LEAST_SCALE = 0.04
_READMISSIONS = 12


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


class _Scratch(NamedTuple):
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
def _room(images: int, periods: int, pairs: int) -> _Scratch:
    size = 2 * images + 2 * periods + 1
    return _Scratch(
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
def _row(network: Network, offset: F4, images: int, pair: int, use_bias: bool, s: _Scratch) -> int:
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
def _weight(variance: F4, pair: int) -> tuple[float, float, float]:
    """Inverse of the 2 by 2 dispersion of a pair: xx, yy, xy."""
    xx, yy = np.float64(variance[0, pair]), np.float64(variance[1, pair])
    xy = np.float64(variance[2, pair])
    determinant = xx * yy - xy * xy
    return yy / determinant, xx / determinant, -xy / determinant


@njit(nogil=True, cache=True)
def _assemble(
    network: Network, settings: Settings, displacement: F4, variance: F4, offset: F4, active: B1,
    images: int, use_bias: bool, s: _Scratch,
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
        xx, yy, xy = _weight(variance, i)
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
def _factorise(images: int, s: _Scratch) -> float:
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
def _invert(s: _Scratch) -> None:
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
def _residual(
    network: Network, displacement: F4, variance: F4, offset: F4, images: int, pair: int,
    use_bias: bool, predicted: bool, s: _Scratch,
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
def _spread(settings: Settings, active: B1, s: _Scratch) -> float:
    """Square of the scale by which the residuals exceed what the errors say, robustly."""
    count = 0
    for i in range(active.size):
        if active[i] and s.statistic[i] > 0.0:
            s.sorted_statistic[count] = s.statistic[i]
            count += 1
    if not settings.scaled or count < _FEWEST_FOR_SCALE:
        return 1.0
    return float(max(np.median(s.sorted_statistic[:count]) / _MEDIAN, _LEAST_SCALE))


@njit(nogil=True, cache=True)
def _reject(limit: float, active: B1, freedom: int, s: _Scratch) -> bool:
    """Reject the worst pairs; those that fail half as badly go with the worst one."""
    worst = 0.0
    for i in range(active.size):
        if active[i]:
            worst = max(worst, s.statistic[i])
    if worst <= limit:
        return False
    spare = freedom // 2
    changed = False
    for i in range(active.size):
        if active[i] and spare > 1 and s.statistic[i] > limit and s.statistic[i] >= 0.5 * worst:
            active[i] = False
            spare -= 1
            changed = True
    return changed


@njit(nogil=True, cache=True)
def _readmit(
    network: Network, limit: float, displacement: F4, variance: F4, offset: F4, valid: B1,
    active: B1, images: int, use_bias: bool, s: _Scratch,
) -> bool:  # fmt: skip
    """Take back what the solution without it foretells after all."""
    changed = False
    for i in range(active.size):
        if valid[i] and not active[i]:
            statistic = _residual(
                network, displacement, variance, offset, images, i, use_bias, True, s
            )
            if 0.0 < statistic <= limit:
                active[i] = True
                changed = True
    return changed


@njit(nogil=True, cache=True)
def _solve(
    network: Network, settings: Settings, displacement: F4, variance: F4, offset: F4, active: B1,
    images: int, use_bias: bool, s: _Scratch,
) -> float:  # fmt: skip
    """One solution with the test statistics of its pairs; returns the separability of ΔZ."""
    _assemble(network, settings, displacement, variance, offset, active, images, use_bias, s)
    share = _factorise(images, s)
    _invert(s)
    for i in range(active.size):
        s.statistic[i] = 0.0
        if active[i]:
            s.statistic[i] = _residual(
                network, displacement, variance, offset, images, i, use_bias, False, s
            )
    return share


@njit(nogil=True, cache=True)
def _freedom(active: B1, images: int, s: _Scratch) -> int:
    """Redundancy: two displacements a pair, less the velocities and the bias."""
    count = 0
    for i in range(active.size):
        count += 2 * active[i]
    for j in range(2 * images, s.kept.size):
        count -= s.kept[j]
    return count


@njit(nogil=True, cache=True)
def _baselines(
    network: Network, offset: F4, active: B1, least: float, result: Result, pixel: int
) -> bool:
    """Longest baseline among the pairs, and the epipolar line of those that are long.

    Lines have no sense: their directions are averaged with twice the angle. Returns whether any
    pair's baseline is long.
    """
    cosine = sine = widest = 0.0
    for i in range(active.size):
        if active[i]:
            p, q = network.first[i], network.last[i]
            x = np.float64(offset[0, q]) - offset[0, p]
            y = np.float64(offset[1, q]) - offset[1, p]
            length = np.hypot(x, y)
            widest = max(widest, length)
            if length >= least:
                cosine += (x * x - y * y) / (length * length)
                sine += 2.0 * x * y / (length * length)
    result.baseline[pixel] = widest
    if widest < least:
        return False
    turn = 0.5 * np.arctan2(sine, cosine)
    result.line[pixel, 0], result.line[pixel, 1] = np.cos(turn), np.sin(turn)
    aside = 0.0
    for i in range(active.size):
        if active[i]:
            p, q = network.first[i], network.last[i]
            x = np.float64(offset[0, q]) - offset[0, p]
            y = np.float64(offset[1, q]) - offset[1, p]
            length = np.hypot(x, y)
            if length >= least:
                aside = max(aside, abs(np.cos(turn) * y - np.sin(turn) * x) / length)
    result.line_spread[pixel] = np.arcsin(min(aside, 1.0))
    return True


@njit(nogil=True, cache=True)
def _write(
    network: Network, settings: Settings, variance: F4, valid: B1, active: B1, images: int,
    freedom: int, s: _Scratch, result: Result, pixel: int,
) -> None:  # fmt: skip
    squares = 0.0
    for i in range(active.size):
        if active[i]:
            xx, yy, xy = _weight(variance, i)
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
def _snoop(
    network: Network, settings: Settings, displacement: F4, variance: F4, offset: F4, valid: B1,
    active: B1, images: int, use_bias: bool, s: _Scratch,
) -> float:  # fmt: skip
    """Solve with data snooping; returns the separability of ΔZ.

    Blunders inflate every residual, and with them any scale that is taken from residuals. So pairs
    are first tested against their declared errors; those that remain tell the scale, and what it
    forgives is taken back. Last of all a scale below 1 has its say.
    """
    share = _solve(network, settings, displacement, variance, offset, active, images, use_bias, s)
    if settings.critical <= 0.0:
        return share
    for _ in range(active.size):
        if not _reject(settings.critical, active, _freedom(active, images, s), s):
            break
        share = _solve(
            network, settings, displacement, variance, offset, active, images, use_bias, s
        )
    for _ in range(_READMISSIONS):
        limit = settings.critical * max(_spread(settings, active, s), 1.0)
        if not _readmit(
            network, limit, displacement, variance, offset, valid, active, images, use_bias, s
        ):
            break
        share = _solve(
            network, settings, displacement, variance, offset, active, images, use_bias, s
        )
    for _ in range(active.size):
        limit = settings.critical * _spread(settings, active, s)
        if not _reject(limit, active, _freedom(active, images, s), s):
            break
        share = _solve(
            network, settings, displacement, variance, offset, active, images, use_bias, s
        )
    return share


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
    s = _room(images, network.overlap_years.shape[1], pairs)
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
        use_bias = _baselines(network, o, active, settings.least_baseline, result, pixel)
        share = _snoop(network, settings, d, q, o, valid, active, images, use_bias, s)
        freedom = _freedom(active, images, s)
        result.separability[pixel] = share
        _write(network, settings, q, valid, active, images, freedom, s, result, pixel)
