"""Errors that all pairs of one image share, found in a solved pixel, compiled.

Where an image lies too far east, or its shadows do, every pair that it is in errs alike: the error
of a pair is its own noise (variance σ² times its relative variance) plus the error of position of
the later image less that of the earlier one (variance τ² each). Two things tell τ² from σ².

The images' errors cancel in every loop of pairs. What residuals show is therefore σ² (and what the
regularisation has kept out of the solution). Declared errors that come from stable ground know of
both: what residuals lack of the declared variance is 2τ².

And ice does not jump to and fro. The position that an image's own pairs give it is compared with
the cubic through four neighbours in time; the variance of such differences is a difference-based
estimate of noise (Gasser, Sroka & Jennen-Steinmetz 1986, Biometrika 73, 625-633; Hall, Kay &
Titterington 1990, Biometrika 77, 521-528), that of σ² is known, and the rest is τ².

The larger of the two is taken: errors that change slowly from image to image look like motion to
the second, and errors declared without the ground's spread hide them from the first. But where
positions scatter far less than was declared, too much was declared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .combinations import Combinations
from .lanes import LANES, inner
from .network import Plan
from .rows import Rows
from .scale import MAD_TO_SIGMA, median
from .shared_observations import pull_of_observation, rows_of_observations
from .solver import BLOCK, Envelope
from .subnetworks import find_subnetworks

__all__ = ["Roughness", "image_variance", "kept_in_residuals", "roughness_of_positions"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

_ORDER = 4
"""Of the differences: a cubic through the neighbours follows seasons that dates resolve."""

_CORRELATION = 1.0 + 2.0 * (0.8**2 + 0.4**2 + (8 / 70) ** 2 + (1 / 70) ** 2)
"""So many fourth differences of white noise tell as much as one independent value."""

_WINSORISED = 0.99501
"""Mean of min(z², 9) for a standard normal z."""

_PERSISTENT = 10.0
"""Fourth differences show a tenth of errors that correlate by 0.83 from image to image."""

_ROWS = 200
_LEAST_FREEDOM = 5.0
_LEAST_SHARE = 0.1


class Roughness(NamedTuple):
    """How much positions of images scatter about smooth motion.

    ``observed`` is the variance of normalised differences, summed over the components; ``noise``
    the variance that pairs of unit variance bring to one component's, and ``freedom`` the number of
    independent values.
    """

    observed: float
    noise: float
    freedom: float


@inner
def roughness_of_positions(
    plan: Plan, links: Combinations, rows: Rows, total: int, lane: int, solution: F8,
    obs_variance: F8, stretch: float, c0: int, c1: int,
) -> Roughness:  # fmt: skip
    """Compare the position that each image's pairs give it with its neighbours in time.

    That position is the solution's, less the pull of the regularisation: D⁻¹ AᵀW(BY - AX) is added,
    with D the weights of the image's pairs (one Jacobi step from X towards the solution without
    regularisation, ``stretch`` times as far, since the biweight shrinks residuals). It holds the
    image's own error nearly whole however strong λ is, and the noise of its pairs divided by D.
    """
    nodes = plan.node_days.size
    label = np.empty(nodes, np.int64)
    find_subnetworks(links, rows, total, lane, label)
    earlier = _earlier_nodes(label)
    weight, noise = np.zeros(nodes), np.zeros((nodes, _ORDER + 1))
    position = np.zeros((2, nodes))
    _sum_rows(links, rows, total, lane, weight, position)
    if plan.combine:
        _add_noise_of_observations(plan, links, rows, total, lane, obs_variance, earlier, noise)
    else:
        _add_noise_of_rows(links, rows, total, lane, earlier, noise)
    for k in range(nodes):
        if weight[k] > 0.0:
            for c in range(c0, c1):
                position[c, k] = solution[c, k, lane] + stretch * position[c, k] / weight[k]
    squares = np.empty((2, nodes))
    known, count = 0.0, 0
    window, factor = np.empty(_ORDER + 1, np.int64), np.empty(_ORDER + 1)
    for k in range(nodes):
        if not _take_window(earlier, k, window):
            continue
        _difference(plan.node_days, window, factor)
        known += _noise_of(window, factor, weight, noise)
        for c in range(c0, c1):
            value = 0.0
            for i in range(_ORDER + 1):
                value += factor[i] * position[c, window[i]]
            squares[c, count] = value * value
        count += 1
    freedom = (c1 - c0) * count / _CORRELATION
    if freedom < _LEAST_FREEDOM:
        return Roughness(0.0, 0.0, 0.0)
    observed = 0.0
    for c in range(c0, c1):
        observed += _robust_mean(squares[c, :count])
    return Roughness(observed, known / count, freedom)


@inner
def kept_in_residuals(
    plan: Plan, links: Combinations, rows: Rows, total: int, lane: int, strength: float,
    shape: Envelope, band: F8,
) -> float:  # fmt: skip
    """Mean square of the residuals that images of unit variance leave, weighted as those of eq. 7.

    The regularisation takes the part S = λN⁻¹G of the images' errors out of the solution, and so
    leaves AS in the residuals. Of a row a of A, 2s = aSaᵀ is read off the inverse. Since 0 ≤ S ≤ 1,
    the square of aS lies between 2s² and 2s; the geometric mean is taken. Some hundred rows tell
    the mean.
    """
    nodes = plan.node_days.size
    mean, weights = 0.0, 0.0
    for r in range(0, total, max(total // _ROWS, 1)):
        factor = rows.factor[r, lane]
        a, b = links.start[r], links.end[r]
        # Beyond the envelope the inverse is not known.
        begin = BLOCK * shape.first[(min(b + 2, nodes - 1) - 1) // BLOCK]
        if factor <= 0.0 or max(a - 2, 1) <= begin:
            continue
        part = 0.0
        for node, sign in ((a, -1.0), (b, 1.0)):
            for other in range(max(node - 2, 1), min(node + 3, nodes)):
                rough = sign * plan.roughness[max(other, node), abs(other - node)]
                part += rough * _inverse_at(shape, band, lane, max(b, other), min(b, other))
                if a > 0:
                    part -= rough * _inverse_at(shape, band, lane, max(a, other), min(a, other))
        share = min(max(0.5 * strength * part, 0.0), 1.0)
        mean += factor * factor * rows.prior[r, lane] * 2.0 * share**1.5
        weights += factor * factor
    return mean / max(weights, 1e-30)


@inner
def _inverse_at(shape: Envelope, band: F8, lane: int, node: int, other: int) -> float:
    """Entry of N⁻¹ for two nodes."""
    place = (node - 1) * shape.stride + shape.half_width + other - 1
    return float(band[LANES * place + lane])


@inner
def image_variance(roughness: Roughness, residual: float, declared: float, kept: float) -> float:
    """Variance τ² of the images' errors, summed over the components as the arguments are.

    Parameters
    ----------
    roughness
        How positions scatter.
    residual
        Variance of an observation of unit weight, from the residuals: σ² + ``kept`` τ².
    declared
        The same as declared, σ² + 2τ²; NaN where nothing is.
    kept
        What a unit of τ² adds to ``residual``.
    """
    most = (1.0 - _LEAST_SHARE) * residual / max(kept, 1e-30)
    found = 0.0
    if not np.isnan(declared):
        found = (declared - residual) / max(2.0 - kept, _LEAST_SHARE)
        if found > most:
            # Less is left in the residuals than white errors leave: none of it is, then.
            found = max(0.5 * (declared - residual), most)
        if roughness.freedom > 0.0:
            found = min(found, _PERSISTENT * roughness.observed)
    told = 1.0 - kept * roughness.noise
    if roughness.freedom > 0.0 and told > _LEAST_SHARE:
        scatter = (roughness.observed - roughness.noise * residual) / told
        # The variance of a t distribution: what few differences may have missed.
        scatter *= roughness.freedom / (roughness.freedom - 2.0)
        found = max(found, min(scatter, most))
    return max(found, 0.0)


@inner
def _earlier_nodes(label: I8) -> I8:
    """Find the node before each one in its sub-network, -1 for the first and for what has none."""
    earlier = np.full(label.size, -1)
    last = np.full(label.size, -1)
    for k in range(label.size):
        if label[k] >= 0:
            earlier[k] = last[label[k]]
            last[label[k]] = k
    return earlier


@inner
def _sum_rows(links: Combinations, rows: Rows, total: int, lane: int, weight: F8, pull: F8) -> None:
    """Add up AᵀW(BY - AX) and the diagonal of AᵀWA."""
    for r in range(total):
        w = rows.weight[r, lane]
        if w <= 0.0:
            continue
        a, b = links.start[r], links.end[r]
        weight[a] += w
        weight[b] += w
        for c in range(2):
            force = w * rows.residual[c, r, lane]
            pull[c, b] += force
            pull[c, a] -= force


@inner
def _steps_between(earlier: I8, node: int, other: int) -> int:
    """How many nodes of its sub-network a node lies after another; -1 if too many to matter."""
    for q in range(_ORDER + 1):
        if node <= other:
            return q if node == other else -1
        node = earlier[node]
    return -1


@inner
def _add_noise_of_rows(
    links: Combinations, rows: Rows, total: int, lane: int, earlier: I8, noise: F8
) -> None:
    """Entries of AᵀWΣWA between each node and the q-th before it in its sub-network."""
    for r in range(total):
        square = rows.weight[r, lane] * rows.factor[r, lane]
        if square <= 0.0:
            continue
        a, b = links.start[r], links.end[r]
        noise[a, 0] += square
        noise[b, 0] += square
        q = _steps_between(earlier, b, a)
        if q > 0:
            noise[b, q] -= square


@inner
def _add_noise_of_observations(
    plan: Plan, links: Combinations, rows: Rows, total: int, lane: int, obs_variance: F8,
    earlier: I8, noise: F8,
) -> None:  # fmt: skip
    """The same where rows share observations: entries of AᵀW B Σ BᵀWA."""
    n, nodes = plan.first_date.size, plan.node_days.size
    members = rows_of_observations(links, total, n)
    pull, touched = np.zeros(nodes), np.zeros(nodes, np.int64)
    for y in range(n):
        count = pull_of_observation(links, rows, lane, members, y, pull, touched)
        for i in range(count):
            for j in range(count):
                q = _steps_between(earlier, touched[i], touched[j])
                if q >= 0:
                    value = obs_variance[y] * pull[touched[i]] * pull[touched[j]]
                    noise[touched[i], q] += value


@inner
def _take_window(earlier: I8, node: int, window: I8) -> bool:
    """List a node and those before it in its sub-network, earliest last; False if they are few."""
    for i in range(window.size):
        if node < 0:
            return False
        window[i] = node
        node = earlier[node]
    return True


@inner
def _difference(days: F8, window: I8, factor: F8) -> None:
    """Factors of the divided difference of these nodes, with squares that add up to one."""
    size = window.size
    scale = 1.0 / (days[window[0]] - days[window[size - 1]])
    squares = 0.0
    for i in range(size):
        product = 1.0
        for j in range(size):
            if j != i:
                product *= (days[window[i]] - days[window[j]]) * scale
        factor[i] = 1.0 / product
        squares += factor[i] * factor[i]
    norm = 1.0 / np.sqrt(squares)
    for i in range(size):
        factor[i] *= norm


@inner
def _noise_of(window: I8, factor: F8, weight: F8, noise: F8) -> float:
    """Variance of a difference of positions, for pairs of unit variance."""
    total = 0.0
    for i in range(window.size):
        own = factor[i] / weight[window[i]]
        total += own * own * noise[window[i], 0]
        for q in range(1, window.size - i):
            other = factor[i + q] / weight[window[i + q]]
            total += 2.0 * own * other * noise[window[i], q]
    return total


@inner
def _robust_mean(squares: F8) -> float:
    """Mean of squares of normal values, those beyond three standard deviations cut to three."""
    limit = 9.0 * MAD_TO_SIGMA**2 * median(squares.copy(), squares.size)
    total = 0.0
    for square in squares:
        total += min(square, limit)
    return total / (_WINSORISED * squares.size)
