"""Iteratively reweighted least squares for one pixel after the other, compiled.

Solves Charrier et al. (2022), eq. 1, for the cumulative displacement C at the nodes of a network,

    min  Σ w_r (C[end_r] - C[start_r] - (B Y)_r)²  +  λ Σ ((v - v0)_{k+1} - (v - v0)_k)²,

with v the velocity between nodes (m/day) and v0 zero or a smoothed first solution; reweights by
Tukey's biweight of the internally studentized residuals (eqs. 3-5) and propagates errors (eqs. 6
and 7).

The two components share one weight: a wrong match is wrong in both. Each has its own scale, the
median absolute residual (Holland & Welsch 1977), which outliers do not inflate as they inflate the
standard deviation of eq. 3. ``literal=True`` gives eqs. 3 and 4 as printed, component by component.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .network import Combinations, Plan, combine, empty_combinations
from .solver import VECTOR as _VECTOR
from .solver import factorise, inverse_in_envelope, shape_rows, solve_two

__all__ = ["Options", "Result", "empty_result", "invert_range"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

CONVERGED, NOT_CONVERGED, NO_OBSERVATION, NO_REDUNDANCY, SINGULAR = 0, 1, 2, 3, 4

# A displacement is never known better than this: the floor of the residuals' scale, in metres.
_SMALLEST_SCALE_M = 1e-6
# Below this, 1 - leverage says that no other observation checks this one.
_UNCHECKED = 0.01
# Consistency of the median absolute deviation with a normal standard deviation.
_MAD_TO_SIGMA = 1.4826022185056018
# Weight of the minimum-norm term where there is no regularisation; its effect is iterated away.
_RIDGE = 1e-6

_combinations = njit(nogil=True, cache=True)(empty_combinations)


class Options(NamedTuple):
    """What the user chose; lengths in metres, times in days."""

    regularisation: float
    tukey_c: float
    tolerance_m: float
    max_iterations: int
    literal: bool
    smoothing_days: float
    declared: bool


class Result(NamedTuple):
    """What is written per pixel; ``weight`` may have no pixels when it is not wanted."""

    displacement: NDArray[np.float32]
    error: NDArray[np.float32]
    observations: NDArray[np.int32]
    weight: NDArray[np.float32]
    iterations: NDArray[np.int16]
    status: NDArray[np.uint8]
    used: NDArray[np.int32]
    valid: NDArray[np.int32]
    unusable: NDArray[np.int32]
    subnetworks: NDArray[np.int32]
    scale: NDArray[np.float32]


class _Rows(NamedTuple):
    """Displacements (m), relative variances and weights of the combinations of one pixel."""

    value: F8
    variance: F8
    prior: F8
    factor: F8
    weight: F8
    leverage: F8
    residual: F8
    scratch: F8


class _Nodes(NamedTuple):
    """Per node or per equation: envelope, solution, right-hand sides."""

    first: I8
    start: I8
    last: I8
    solution: F8
    before: F8
    right: F8
    expected: F8
    scratch: F8
    below: I8


def empty_result(pixels: int, periods: int, observations: int, *, weights: bool) -> Result:
    """Room for the results of some pixels."""
    return Result(
        displacement=np.full((pixels, 2, periods), np.nan, np.float32),
        error=np.full((pixels, 2, periods), np.nan, np.float32),
        observations=np.zeros((pixels, periods), np.int32),
        weight=np.zeros((pixels if weights else 0, observations), np.float32),
        iterations=np.zeros(pixels, np.int16),
        status=np.full(pixels, NO_OBSERVATION, np.uint8),
        used=np.zeros(pixels, np.int32),
        valid=np.zeros(pixels, np.int32),
        unusable=np.zeros(pixels, np.int32),
        subnetworks=np.zeros(pixels, np.int32),
        scale=np.full((pixels, 2), np.nan, np.float32),
    )


@njit(nogil=True, cache=True)
def _median(values: F8, count: int) -> float:
    return float(np.partition(values[:count], count // 2)[count // 2])


@njit(nogil=True, cache=True)
def _select(
    velocity: NDArray[np.float32],
    sigma: NDArray[np.float32],
    displacement: F8,
    variance: F8,
    span_years: F8,
    valid: NDArray[np.bool_],
) -> tuple[int, int]:
    """Turn velocities into displacements; count those that are there and those without an error."""
    count, unusable = 0, 0
    for y in range(span_years.size):
        there = np.isfinite(velocity[0, y]) and np.isfinite(velocity[1, y])
        known = True
        for c in range(2):
            error = np.float64(sigma[c, y]) * span_years[y]
            known = known and np.isfinite(error) and error > 0.0
            displacement[c, y] = np.float64(velocity[c, y]) * span_years[y]
            variance[c, y] = error * error
        valid[y] = there and known
        count += there and known
        unusable += there and not known
    return count, unusable


@njit(nogil=True, cache=True)
def _typical_variance(variance: F8, valid: NDArray[np.bool_], scratch: F8) -> float:
    """Take the median: a weight of one means a typical observation, and λ keeps its meaning."""
    count = 0
    for y in range(valid.size):
        if valid[y]:
            scratch[count] = variance[y]
            count += 1
    return _median(scratch, count)


@njit(nogil=True, cache=True)
def _fill_rows(
    rows: _Rows,
    links: Combinations,
    total: int,
    displacement: F8,
    variance: F8,
    typical: F8,
    c0: int,
    c1: int,
    literal: bool,
) -> None:
    """Values, relative variances and first weights W0 of the combinations."""
    for r in range(total):
        mean = 0.0
        linear = 0.0
        for c in range(c0, c1):
            value, spread = 0.0, 0.0
            for k in range(links.members[r]):
                y = links.member[r, k]
                value += links.sign[r, k] * displacement[c, y]
                spread += variance[c, y]
                if literal:
                    linear += np.sqrt(variance[c, y] / typical[c])
            rows.value[c, r] = value
            rows.variance[c, r] = spread / typical[c]
            mean += rows.variance[c, r]
        # |B| applied to errors as in the paper, or to variances as independent errors add.
        rows.prior[r] = 1.0 / linear**2 if literal else (c1 - c0) / mean
        rows.factor[r] = 1.0
        rows.weight[r] = rows.prior[r]


@njit(nogil=True, cache=True)
def _reach(first: I8, node: int, other: int) -> None:
    """Let the envelope hold the entry of two nodes; node 0 is the origin and has no equation."""
    low, high = min(node, other) - 1, max(node, other) - 1
    if low >= 0:
        first[high] = min(first[high], low)


@njit(nogil=True, cache=True)
def _shape_envelope(plan: Plan, links: Combinations, total: int, nodes: _Nodes) -> tuple[int, int]:
    """First columns and starts of the equations; returns the length and the half-width."""
    size = plan.node_days.size - 1
    first = nodes.first
    for i in range(size):
        first[i] = max(i - 2, 0)
    for r in range(total):
        _reach(first, links.start[r], links.end[r])
    for k in range(plan.period_node.size - 1):
        a, b = plan.period_node[k], plan.period_node[k + 1]
        _reach(first, a, b)
        _reach(first, a, b + 1)
    if plan.combine:
        # Observations shared by combinations correlate these: their nodes meet in B Σ Bᵀ.
        low = np.full(plan.first_date.size, size, np.int64)
        for r in range(total):
            for k in range(links.members[r]):
                y = links.member[r, k]
                low[y] = min(low[y], links.start[r])
        for r in range(total):
            for k in range(links.members[r]):
                # The first node of all may be the origin; then the next one bounds the reach.
                bound = max(low[links.member[r, k]], 1)
                _reach(first, bound, links.end[r])
                _reach(first, bound, max(links.start[r], 1))
    width = 0
    for i in range(size):
        width = max(width, i - first[i])
    return shape_rows(first, size, nodes.start, nodes.last), width


@njit(nogil=True, cache=True)
def _add(envelope: F8, start: I8, first: I8, node: int, other: int, value: float) -> None:
    """Add to one entry of the lower triangle, if it exists."""
    i, j = max(node, other) - 1, min(node, other) - 1
    if j >= 0:
        envelope[start[i] + j - first[i]] += value


@njit(nogil=True, cache=True)
def _add_smoothness(plan: Plan, nodes: _Nodes, strength: float, envelope: F8) -> None:
    """Add strength · ΓᵀΓ, with Γ the differences of successive velocities."""
    t = plan.node_days
    for k in range(t.size - 2):
        left, right = 1.0 / (t[k + 1] - t[k]), 1.0 / (t[k + 2] - t[k + 1])
        row = (left, -(left + right), right)
        for i in range(3):
            for j in range(i + 1):
                _add(envelope, nodes.start, nodes.first, k + i, k + j, strength * row[i] * row[j])


@njit(nogil=True, cache=True)
def _interleaved(total: int) -> int:
    return 8 * ((total + 7) // 8)


@njit(nogil=True, cache=True)
def _interleave(k: int, total: int) -> int:
    """Take rows from eight places in turn: neighbours add to the same entry and would wait."""
    return (k & 7) * ((total + 7) // 8) + (k >> 3)


@njit(nogil=True, cache=True)
def _assemble(
    plan: Plan, nodes: _Nodes, links: Combinations, total: int, rows: _Rows, strength: float,
    envelope: F8, length: int,
) -> None:  # fmt: skip
    """Build the normal matrix AᵀWA + λΓᵀΓ (plus a small multiple of XᵀX where λ is 0)."""
    start, first = nodes.start, nodes.first
    envelope[:length] = 0.0
    for k in range(_interleaved(total)):
        r = _interleave(k, total)
        if r >= total:
            continue
        w = rows.weight[r]
        i, j = links.end[r] - 1, links.start[r] - 1
        envelope[start[i] + i - first[i]] += w
        if j >= 0:
            envelope[start[j] + j - first[j]] += w
            envelope[start[i] + j - first[i]] -= w
    if strength > 0.0:
        _add_smoothness(plan, nodes, strength, envelope)
    else:
        for k in range(plan.node_days.size - 1):
            _add(envelope, start, first, k + 1, k + 1, _RIDGE)
            _add(envelope, start, first, k, k, _RIDGE)
            _add(envelope, start, first, k + 1, k, -_RIDGE)


@njit(nogil=True, cache=True)
def _residuals(
    links: Combinations, total: int, rows: _Rows, solution: F8, c0: int, c1: int
) -> None:
    for c in range(c0, c1):
        value, residual, position = rows.value[c], rows.residual[c], solution[c]
        for r in range(total):
            residual[r] = value[r] - (position[links.end[r]] - position[links.start[r]])


@njit(nogil=True, cache=True)
def _solve(
    plan: Plan, nodes: _Nodes, links: Combinations, total: int, rows: _Rows, strength: float,
    envelope: F8, c0: int, c1: int,
) -> None:  # fmt: skip
    """Find the cumulative displacement of the components, node 0 at the origin.

    Solved for the residual of what is expected, so that the regularisation acts on the difference.
    Without regularisation the ridge's effect is iterated away, which leaves the solution of
    minimum norm ‖X‖.
    """
    size = plan.node_days.size - 1
    solution, right = nodes.solution, nodes.right
    for c in range(c0, c1):
        for k in range(size + 1):
            solution[c, k] = nodes.expected[c, k]
    for _ in range(1 if strength > 0.0 else 6):
        right[:] = 0.0
        _residuals(links, total, rows, solution, c0, c1)
        for c in range(c0, c1):
            for k in range(_interleaved(total)):
                r = _interleave(k, total)
                if r >= total:
                    continue
                pull = rows.weight[r] * rows.residual[c, r]
                right[c, links.end[r]] += pull
                right[c, links.start[r]] -= pull
        solve_two(envelope, nodes.start, nodes.first, size, right[0, 1:], right[1, 1:])
        for c in range(c0, c1):
            for k in range(1, size + 1):
                solution[c, k] += right[c, k]


@njit(nogil=True, cache=True)
def _leverages(links: Combinations, total: int, rows: _Rows, band: F8, half_width: int) -> None:
    """Take the diagonal of the hat matrix A N⁻¹ AᵀW."""
    for r in range(total):
        i, j = links.end[r] - 1, links.start[r] - 1
        spread = band[i, half_width]
        if j >= 0:
            spread += band[j, half_width] - 2.0 * band[i, half_width + j - i]
        rows.leverage[r] = min(max(rows.weight[r] * spread, 0.0), 1.0)


@njit(nogil=True, cache=True)
def _robust_scale(rows: _Rows, total: int, c: int) -> float:
    """Spread of the studentized residuals that some other observation checks; -1 if too few."""
    count = 0
    freedom = 0.0
    for r in range(total):
        free = 1.0 - rows.leverage[r]
        freedom += free
        if free > _UNCHECKED:
            rows.scratch[count] = rows.residual[c, r] ** 2 / (rows.variance[c, r] * free)
            count += 1
    if count < 3 or freedom < 1.0:
        return -1.0
    return max(_MAD_TO_SIGMA * float(np.sqrt(_median(rows.scratch, count))), _SMALLEST_SCALE_M)


@njit(nogil=True, cache=True)
def _rescale(
    rows: _Rows, total: int, c0: int, c1: int, unknowns: int, options: Options, scale: F8
) -> bool:
    """Estimate the residuals' scale, -1 where nothing checks anything; True if it is to be held.

    Outliers inflate the scale at first, so it is estimated again after each solution as long as it
    falls by more than a fifth. Then it is held: the weights converge, and in networks of little
    redundancy the fit does not shrink its own scale by following ever fewer observations. Once the
    solution has settled the scale is tested once more.
    """
    if options.literal:
        squares = 0.0
        for r in range(total):
            squares += rows.residual[c0, r] ** 2
        freedom = total - unknowns
        spread = np.sqrt(squares / freedom) if freedom > 0 else -1.0
        scale[c0] = max(spread, _SMALLEST_SCALE_M) if freedom > 0 else -1.0
        return False
    falls = False
    for c in range(c0, c1):
        spread = _robust_scale(rows, total, c)
        if spread < 0.0:
            scale[c0] = -1.0
            return True
        if spread < 0.8 * scale[c]:
            scale[c] = spread
            falls = True
    return not falls


@njit(nogil=True, cache=True, fastmath=_VECTOR)
def _reweight(rows: _Rows, total: int, c0: int, c1: int, options: Options, scale: F8) -> float:
    """Weight anew by Tukey's biweight of the studentized residuals.

    Returns by how much a step with these weights falls short of Newton's: the mean biweight over
    the mean slope of the influence function.
    """
    z2 = rows.scratch
    z2[:total] = 0.0
    for c in range(c0, c1):
        residual, variance = rows.residual[c], rows.variance[c]
        unit = 1.0 / scale[c] ** 2
        for r in range(total):
            spread = 1.0 if options.literal else variance[r]
            z2[r] += unit * residual[r] * residual[r] / spread
    limit = 1.0 / options.tukey_c**2
    share = 4.0 / (c1 - c0)
    weights, slopes = 0.0, 0.0
    for r in range(total):
        u = limit * z2[r] / max(1.0 - rows.leverage[r], 1e-9)
        if options.literal:
            u /= rows.prior[r]  # prior is W0², and eq. 4 takes Z / W0
        inside = max(1.0 - u, 0.0)
        factor = inside * inside
        rows.factor[r] = factor
        # In eq. 1 W multiplies the residual; the default weights its square.
        rows.weight[r] = factor * factor if options.literal else rows.prior[r] * factor
        weights += factor
        slopes += factor - share * u * inside
    return float(weights / max(slopes, 0.5 * weights)) if weights > 0.0 else 1.0


@njit(nogil=True, cache=True)
def _mean_change(nodes: _Nodes, size: int, c0: int, c1: int) -> float:
    """Compute mean |ΔX| between nodes since the last solution."""
    total = 0.0
    for c in range(c0, c1):
        for k in range(size):
            new = nodes.solution[c, k + 1] - nodes.solution[c, k]
            total += abs(new - (nodes.before[c, k + 1] - nodes.before[c, k]))
    return total / (size * (c1 - c0))


@njit(nogil=True, cache=True)
def _step(
    nodes: _Nodes, links: Combinations, total: int, rows: _Rows, c0: int, c1: int, stretch: float
) -> None:
    """Go from the last solution to the new one, or beyond it; residuals are those of the end."""
    for c in range(c0, c1):
        solution, before = nodes.solution[c], nodes.before[c]
        for k in range(solution.size):
            solution[k] = before[k] + stretch * (solution[k] - before[k])
            before[k] = solution[k]
    _residuals(links, total, rows, nodes.solution, c0, c1)


@njit(nogil=True, cache=True, fastmath=_VECTOR)
def _unit_variance(
    rows: _Rows, total: int, c: int, c0: int, c1: int, options: Options, scale: F8
) -> float:
    """σ0² of eq. 7 with the effective number of observations; NaN without redundancy.

    The effective number is the sum of the biweights, the number of parameters the trace of the hat
    matrix (the regularisation leaves fewer than p free). Since the biweight also shrinks the
    residuals of good observations, the default adds Huber's correction (1981, eq. 7.6.6) for the
    slope of the influence function and its spread, without which 95 % intervals hold less.
    """
    effective, parameters, weighted, squares = 0.0, 0.0, 0.0, 0.0
    slope, slope_squares = 0.0, 0.0
    for r in range(total):
        factor = rows.factor[r]
        effective += factor
        parameters += rows.leverage[r]
        t2 = rows.residual[c, r] ** 2 / rows.variance[c, r]
        if options.literal:
            weighted += factor * t2
        else:
            weighted += factor * factor * t2
            squares += factor * factor
            root = np.sqrt(factor)
            z2 = t2 / (scale[c] ** 2 * max(1.0 - rows.leverage[r], 1e-9))
            gradient = factor - 4.0 * z2 * root / options.tukey_c**2
            slope += gradient
            slope_squares += gradient * gradient
    if effective - parameters < 1.0:
        return np.nan
    if options.literal:
        return max(weighted / (effective - parameters), _SMALLEST_SCALE_M**2)
    slope = max(slope, 0.1 * effective)
    spread = max(total * slope_squares / slope**2 - 1.0, 0.0)
    correction = effective / slope * (1.0 + parameters / total * spread)
    mean = weighted / squares * effective / (effective - parameters)
    return max(correction * correction * mean, _SMALLEST_SCALE_M**2)


@njit(nogil=True, cache=True)
def _velocity_change(plan: Plan, nodes: _Nodes, c: int) -> float:
    """Mean square of ΓX - ΓX0: how much the velocity really changes from node to node."""
    t = plan.node_days
    total, count = 0.0, 0
    for k in range(t.size - 2):
        change = 0.0
        for i, sign in ((k, -1.0), (k + 1, 1.0)):
            step = nodes.solution[c, i + 1] - nodes.solution[c, i]
            step -= nodes.expected[c, i + 1] - nodes.expected[c, i]
            change += sign * step / (t[i + 1] - t[i])
        total += change * change
        count += 1
    return total / max(count, 1)


@njit(nogil=True, cache=True)
def _add_noise(
    plan: Plan, nodes: _Nodes, links: Combinations, total: int, rows: _Rows, obs_variance: F8,
    step: float, envelope: F8,
) -> None:  # fmt: skip
    """Add step · AᵀW B Σ BᵀWA, the noise of rows that share observations."""
    start, first = nodes.start, nodes.first
    n = plan.first_date.size
    begin = np.zeros(n + 1, np.int64)
    for r in range(total):
        for k in range(links.members[r]):
            begin[links.member[r, k] + 1] += 1
    for y in range(n):
        begin[y + 1] += begin[y]
    place = begin[:-1].copy()
    row_of = np.zeros(begin[-1], np.int64)
    sign_of = np.zeros(begin[-1], np.int64)
    for r in range(total):
        for k in range(links.members[r]):
            y = links.member[r, k]
            row_of[place[y]], sign_of[place[y]] = r, links.sign[r, k]
            place[y] += 1
    pull = np.zeros(plan.node_days.size)
    touched = np.zeros(plan.node_days.size, np.int64)
    for y in range(n):
        count = 0
        for k in range(begin[y], begin[y + 1]):
            r = row_of[k]
            value = sign_of[k] * rows.weight[r]
            if value == 0.0:
                continue
            for node, part in ((links.end[r], value), (links.start[r], -value)):
                if pull[node] == 0.0:
                    touched[count] = node
                    count += 1
                    pull[node] = 1e-300
                pull[node] += part
        scale = step * obs_variance[y]
        for i in range(count):
            for j in range(i + 1):
                value = scale * pull[touched[i]] * pull[touched[j]]
                _add(envelope, start, first, touched[i], touched[j], value)
        for i in range(count):
            pull[touched[i]] = 0.0


@njit(nogil=True, cache=True)
def _period_spreads(plan: Plan, band: F8, half_width: int, spread: F8) -> None:
    """Quadratic forms cᵀ S c of the displacement over each period, S in the band."""
    for k in range(plan.period_node.size - 1):
        a, b = plan.period_node[k], plan.period_node[k + 1]
        f, g = plan.period_fraction[k], plan.period_fraction[k + 1]
        node = (a, a + 1, b, b + 1)
        part = (f - 1.0, -f, 1.0 - g, g)
        total = 0.0
        for i in range(4):
            for j in range(4):
                if node[i] > 0 and node[j] > 0 and part[i] != 0.0 and part[j] != 0.0:
                    total += part[i] * part[j] * band[node[i] - 1, half_width + node[j] - node[i]]
        spread[k] = total


@njit(nogil=True, cache=True)
def _components(links: Combinations, total: int, rows: _Rows, size: int) -> int:
    """Count the sub-networks: groups of nodes that used observations link."""
    parent = np.arange(size + 1)
    touched = np.zeros(size + 1, np.bool_)
    for r in range(total):
        if rows.factor[r] <= 0.0:
            continue
        a, b = links.start[r], links.end[r]
        touched[a] = True
        touched[b] = True
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        parent[b] = a
    groups = 0
    for k in range(size + 1):
        groups += touched[k] and parent[k] == k
    return groups


@njit(nogil=True, cache=True)
def _smooth_velocity(plan: Plan, nodes: _Nodes, c: int, days: float) -> None:
    """Expect the solution's own velocity, smoothed by a Gaussian of this standard deviation."""
    t = plan.node_days
    size = t.size - 1
    total = 0.0
    for k in range(size):
        middle = 0.5 * (t[k] + t[k + 1])
        weights, displacement = 0.0, 0.0
        for j in range(size):
            distance = (0.5 * (t[j] + t[j + 1]) - middle) / days
            if abs(distance) < 4.0:
                w = np.exp(-0.5 * distance * distance)
                weights += w * (t[j + 1] - t[j])
                displacement += w * (nodes.solution[c, j + 1] - nodes.solution[c, j])
        nodes.scratch[0, k] = total
        total += displacement / weights * (t[k + 1] - t[k])
    nodes.scratch[0, size] = total
    for k in range(size + 1):
        nodes.expected[c, k] = nodes.scratch[0, k]


@njit(nogil=True, cache=True)
def _read_off(
    plan: Plan, nodes: _Nodes, links: Combinations, total: int, rows: _Rows, strength: float,
    c: int, result: Result, pixel: int,
) -> None:  # fmt: skip
    """Displacements over the periods; NaN where nothing was observed before or after them."""
    size = plan.node_days.size - 1
    covered = np.zeros(size + 1, np.int64)
    periods = plan.period_node.size - 1
    counts = np.zeros(periods + 1, np.int64)
    earliest, latest = size, 0
    for r in range(total):
        if rows.factor[r] <= 0.0:
            continue
        a, b = links.start[r], links.end[r]
        earliest, latest = min(earliest, a), max(latest, b)
        covered[a] += 1
        covered[b] -= 1
        begin, end = max(plan.first_period[a], 0), min(plan.end_period[b], periods)
        if begin < end:
            counts[begin] += 1
            counts[end] -= 1
    running = 0
    for k in range(size + 1):
        running += covered[k]
        covered[k] = running
    running = 0
    for k in range(periods):
        running += counts[k]
        a, b = plan.period_node[k], plan.period_node[k + 1]
        f, g = plan.period_fraction[k], plan.period_fraction[k + 1]
        if c == 1 or result.observations[pixel, k] == 0:
            result.observations[pixel, k] = running
        last = b + 1 if g > 0.0 else b
        begin = a + 1 if f == 1.0 else a
        if begin < earliest or last > latest:
            continue
        if strength == 0.0:
            whole = True
            for i in range(begin, last):
                whole = whole and covered[i] > 0
            if not whole:
                continue
        s = nodes.solution
        result.displacement[pixel, c, k] = (
            (1.0 - g) * s[c, b] + g * s[c, b + 1] - (1.0 - f) * s[c, a] - f * s[c, a + 1]
        )


@njit(nogil=True, cache=True)
def _factorise(nodes: _Nodes, size: int, envelope: F8) -> bool:
    return factorise(envelope, nodes.start, nodes.first, size, nodes.scratch[0])


@njit(nogil=True, cache=True)
def _invert(nodes: _Nodes, size: int, envelope: F8, half_width: int, band: F8) -> None:
    inverse_in_envelope(
        envelope,
        nodes.start,
        nodes.first,
        nodes.last,
        size,
        half_width,
        band,
        nodes.scratch,
        nodes.below,
    )


@njit(nogil=True, cache=True)
def _first_solution(
    plan: Plan, nodes: _Nodes, links: Combinations, total: int, rows: _Rows, strength: float,
    envelope: F8, length: int, band: F8, half_width: int,
) -> bool:  # fmt: skip
    """Factor and selected inverse of the first weights; False if the system is singular."""
    size = plan.node_days.size - 1
    _assemble(plan, nodes, links, total, rows, strength, envelope, length)
    if not _factorise(nodes, size, envelope):
        return False
    _invert(nodes, size, envelope, half_width, band)
    _leverages(links, total, rows, band, half_width)
    return True


@njit(nogil=True, cache=True)
def _iterate(
    plan: Plan, nodes: _Nodes, links: Combinations, total: int, rows: _Rows, options: Options,
    envelope: F8, length: int, band: F8, half_width: int, c0: int, c1: int, scale: F8,
    iterations: int,
) -> tuple[int, int]:  # fmt: skip
    """Reweight and solve until mean |ΔX| is below the tolerance; returns status and iterations."""
    size = plan.node_days.size - 1
    strength = options.regularisation
    held = False
    scale[:] = np.inf
    while True:
        if not held:
            held = _rescale(rows, total, c0, c1, size, options, scale)
        if scale[c0] < 0.0:
            return NO_REDUNDANCY, iterations
        stretch = _reweight(rows, total, c0, c1, options, scale)
        if iterations >= options.max_iterations:
            return NOT_CONVERGED, iterations
        _assemble(plan, nodes, links, total, rows, strength, envelope, length)
        if not _factorise(nodes, size, envelope):
            return SINGULAR, iterations
        _solve(plan, nodes, links, total, rows, strength, envelope, c0, c1)
        iterations += 1
        _invert(nodes, size, envelope, half_width, band)
        _leverages(links, total, rows, band, half_width)
        settled = _mean_change(nodes, size, c0, c1) < options.tolerance_m
        # A stretched step converges faster to the same weights; the last one is not stretched.
        alone = settled or options.literal or not held
        _step(nodes, links, total, rows, c0, c1, 1.0 if alone else stretch)
        if settled:
            if options.literal or _rescale(rows, total, c0, c1, size, options, scale):
                return CONVERGED, iterations
            held = False


@njit(nogil=True, cache=True)
def _errors(
    plan: Plan, nodes: _Nodes, links: Combinations, total: int, rows: _Rows, options: Options,
    obs_variance: F8, typical: F8, envelope: F8, length: int, band: F8, half_width: int,
    c0: int, c1: int, scale: F8, status: int, result: Result, pixel: int,
) -> None:  # fmt: skip
    """Propagate errors to the displacements over the periods (eq. 6).

    Σ_X = N⁻¹ M N⁻¹ with M = σ0² AᵀW B Σ BᵀWA + λ² τ² ΓᵀΓ. The second term is the error that the
    regularisation makes by pulling the velocity changes, of mean square τ², to what it expects; it
    matters only where few observations bind a value. Since N⁻¹ M N⁻¹ is minus the derivative of
    (N + s M)⁻¹ at s = 0, its entries in the envelope follow from one more selected inversion.
    To periods that no observation covers the pixel's own variability in time is added.
    """
    size = plan.node_days.size - 1
    periods = plan.period_node.size - 1
    strength = options.regularisation
    unit = np.full(2, np.nan)
    noise, change = 0.0, 0.0
    for c in range(c0, c1):
        if status == NO_REDUNDANCY:
            unit[c] = typical[c] if options.declared else np.nan
        else:
            unit[c] = _unit_variance(rows, total, c, c0, c1, options, scale)
            if np.isnan(unit[c]) and options.declared:
                unit[c] = typical[c]
        result.scale[pixel, c] = np.sqrt(unit[c] / typical[c]) if options.declared else np.nan
        noise += unit[c]
        change += _velocity_change(plan, nodes, c)
    if np.isnan(noise):
        return
    pull = strength * strength * change / noise
    step = 1e-6 / max(1.0, pull / max(strength, 1e-30))
    spread = np.empty(periods)
    moved = np.empty(periods)
    _period_spreads(plan, band, half_width, spread)
    if plan.combine:
        _assemble(plan, nodes, links, total, rows, strength + step * pull, envelope, length)
        _add_noise(plan, nodes, links, total, rows, obs_variance, step, envelope)
    else:
        # Every row is an observation, of variance 1 / W0: N + s M has N's own form.
        for r in range(total):
            w = rows.weight[r]
            rows.weight[r] = w + step * w * w / rows.prior[r]
        _assemble(plan, nodes, links, total, rows, strength + step * pull, envelope, length)
    if not _factorise(nodes, size, envelope):
        return
    _invert(nodes, size, envelope, half_width, band)
    _period_spreads(plan, band, half_width, moved)
    for c in range(c0, c1):
        own = _spread_in_time(result, pixel, c)
        for k in range(periods):
            if np.isfinite(result.displacement[pixel, c, k]):
                square = unit[c] * max(spread[k] - moved[k], 0.0) / step
                if result.observations[pixel, k] == 0:
                    square += own
                result.error[pixel, c, k] = np.sqrt(square)


@njit(nogil=True, cache=True)
def _spread_in_time(result: Result, pixel: int, c: int) -> float:
    """Variance in time of the displacements that observations bear out.

    While nothing is observed the ice may have had any of the speeds that it had at other times.
    """
    count, total, squares = 0, 0.0, 0.0
    for k in range(result.observations.shape[1]):
        value = np.float64(result.displacement[pixel, c, k])
        if result.observations[pixel, k] > 0 and np.isfinite(value):
            count += 1
            total += value
            squares += value * value
    if count < 2:
        return 0.0
    return max(squares - total * total / count, 0.0) / (count - 1)


@njit(nogil=True, cache=True)
def invert_range(
    plan: Plan,
    options: Options,
    velocity: NDArray[np.float32],
    sigma: NDArray[np.float32],
    begin: int,
    stop: int,
    result: Result,
) -> None:
    """Invert pixels ``begin`` to ``stop`` of a block.

    Parameters
    ----------
    plan, options
        The network and the choices.
    velocity
        (pixels, 2, observations), m/yr, NaN where there is none.
    sigma
        Their errors, (pixels, 2, observations), or (1, 2, observations) when all pixels share them.
    begin, stop
        The range of pixels; ranges may run in parallel, each writes only its own.
    result
        Where the results go.
    """
    n = plan.first_date.size
    size = plan.node_days.size - 1
    links = _combinations(n)
    whole = _combinations(n)
    valid = np.ones(n, np.bool_)
    whole_total = combine(plan, valid, whole)
    rows = _Rows(
        value=np.zeros((2, n)),
        variance=np.zeros((2, n)),
        prior=np.zeros(n),
        factor=np.zeros(n),
        weight=np.zeros(n),
        leverage=np.zeros(n),
        residual=np.zeros((2, n)),
        scratch=np.zeros(n),
    )
    nodes = _Nodes(
        first=np.zeros(size, np.int64),
        start=np.zeros(size, np.int64),
        last=np.zeros(size, np.int64),
        solution=np.zeros((2, size + 1)),
        before=np.zeros((2, size + 1)),
        right=np.zeros((2, size + 1)),
        expected=np.zeros((2, size + 1)),
        scratch=np.zeros((2, size + 1)),
        below=np.zeros(size, np.int64),
    )
    displacement, variance = np.zeros((2, n)), np.zeros((2, n))
    obs_variance = np.zeros(n)
    typical, scale = np.ones(2), np.ones(2)
    envelope, band = np.zeros(1), np.zeros((size, 1))
    # The first system is the same for all pixels without gaps that share their errors.
    shared = np.zeros(1)
    shared_leverage = np.zeros(n)
    shared_is_ready, whole_is_current = False, False
    length, half_width = 0, 0
    may_share = sigma.shape[0] == 1 and not options.literal
    for pixel in range(begin, stop):
        errors = sigma[0 if sigma.shape[0] == 1 else pixel]
        count, unusable = _select(
            velocity[pixel], errors, displacement, variance, plan.span_years, valid
        )
        result.valid[pixel], result.unusable[pixel] = count, unusable
        if count == 0:
            continue
        gaps = count < n
        if gaps:
            total = combine(plan, valid, links)
            used_links = links
        else:
            total = whole_total
            used_links = whole
        if total == 0:
            continue
        if not (may_share and not gaps and whole_is_current):
            length, half_width = _shape_envelope(plan, used_links, total, nodes)
            if length > envelope.size:
                envelope = np.zeros(length)
            if half_width * 2 + 1 > band.shape[1]:
                band = np.zeros((size, 2 * half_width + 1))
            for c in range(2):
                typical[c] = _typical_variance(variance[c], valid, rows.scratch)
        whole_is_current = not gaps
        width = (band.shape[1] - 1) // 2
        result.status[pixel] = CONVERGED
        for part in range(2 if options.literal else 1):
            c0, c1 = (part, part + 1) if options.literal else (0, 2)
            if plan.combine:
                obs_variance[:] = 0.0
                for c in range(c0, c1):
                    obs_variance += variance[c] / (typical[c] * (c1 - c0))
            _fill_rows(
                rows, used_links, total, displacement, variance, typical, c0, c1, options.literal
            )
            nodes.expected[:] = 0.0
            strength = options.regularisation
            if may_share and not gaps and shared_is_ready:
                envelope[:length] = shared[:length]
                rows.leverage[:total] = shared_leverage[:total]
            else:
                if not _first_solution(
                    plan, nodes, used_links, total, rows, strength, envelope, length, band, width
                ):
                    result.status[pixel] = SINGULAR
                    continue
                if may_share and not gaps:
                    shared = envelope[:length].copy()
                    shared_leverage[:total] = rows.leverage[:total]
                    shared_is_ready = True
            _solve(plan, nodes, used_links, total, rows, strength, envelope, c0, c1)
            nodes.before[:] = nodes.solution
            _step(nodes, used_links, total, rows, c0, c1, 1.0)
            status, iterations = _iterate(
                plan, nodes, used_links, total, rows, options, envelope, length, band, width,
                c0, c1, scale, 1,
            )  # fmt: skip
            if options.smoothing_days > 0.0 and status == CONVERGED:
                for c in range(c0, c1):
                    _smooth_velocity(plan, nodes, c, options.smoothing_days)
                status, iterations = _iterate(
                    plan, nodes, used_links, total, rows, options, envelope, length, band, width,
                    c0, c1, scale, iterations,
                )  # fmt: skip
            result.iterations[pixel] = max(result.iterations[pixel], iterations)
            result.status[pixel] = max(result.status[pixel], status)
            if status == SINGULAR:
                continue
            if status != CONVERGED and not _first_solution(
                plan, nodes, used_links, total, rows, strength, envelope, length, band, width
            ):
                result.status[pixel] = SINGULAR
                continue
            for c in range(c0, c1):
                _read_off(plan, nodes, used_links, total, rows, strength, c, result, pixel)
            _errors(
                plan, nodes, used_links, total, rows, options, obs_variance, typical, envelope,
                length, band, width, c0, c1, scale, status, result, pixel,
            )  # fmt: skip
            _report(used_links, total, rows, size, result, pixel)


@njit(nogil=True, cache=True)
def _report(
    links: Combinations, total: int, rows: _Rows, size: int, result: Result, pixel: int
) -> None:
    """How many observations count, in how many sub-networks, and the final weight of each."""
    groups = _components(links, total, rows, size)
    result.subnetworks[pixel] = max(result.subnetworks[pixel], groups)
    used = 0
    for r in range(total):
        used += rows.factor[r] > 0.0
        if result.weight.shape[0] > 0:
            for k in range(links.members[r]):
                y = links.member[r, k]
                result.weight[pixel, y] = max(result.weight[pixel, y], rows.factor[r])
    result.used[pixel] = used
