"""Iteratively reweighted least squares, eight pixels at a time, compiled.

Solves Charrier et al. (2022), eq. 1, for the cumulative displacement C at the nodes of a network,

    min  Σ w_r (C[end_r] - C[start_r] - (B Y)_r)²  +  λ Σ ((v - v0)_{k+1} - (v - v0)_k)²,

with v the velocity between nodes (m/day) and v0 zero or a smoothed first solution; reweights by
Tukey's biweight of the internally studentized residuals (eqs. 3-5) and propagates errors (eqs. 6
and 7).

The two components share one weight: a wrong match is wrong in both. Each has its own scale, the
median absolute residual (Holland & Welsch 1977), which outliers do not inflate as they inflate the
standard deviation of eq. 3. ``literal=True`` gives eqs. 3 and 4 as printed, component by component.

A pixel lives in a *lane*. Every round builds, factorises and solves the systems of all lanes; then
each lane takes its own decision, and one whose pixel is finished takes the next pixel, so that
pixels of few and of many iterations fill the registers alike. An observation that a pixel lacks
stays in its system with a weight of zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .lanes import LANES, aligned, inner, load, spread, store
from .network import Combinations, Plan, combine, empty_combinations
from .propagation import (
    SMALLEST_SCALE_M,
    Result,
    add_noise,
    period_spreads,
    read_off,
    report,
    unit_variance,
    variance_in_time,
    velocity_change,
)
from .rows import (
    Rows,
    add_rows,
    empty_rows,
    leverages,
    pull,
    residuals,
    reweight,
    studentize,
)
from .solver import (
    BLOCK,
    Envelope,
    factorise,
    inverse_in_envelope,
    shape_envelope,
    solve_two,
)

__all__ = ["Options", "invert_range"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

CONVERGED, NOT_CONVERGED, NO_OBSERVATION, NO_REDUNDANCY, SINGULAR = 0, 1, 2, 3, 4

# What a lane waits for: its first solution, a further one, the leverages of its last weights, the
# system whose inverse gives its errors.
FIRST, FURTHER, LAST, ERRORS = 0, 1, 2, 3

# Consistency of the median absolute deviation with a normal standard deviation.
ROUNDING = 1e-12
"""Relative difference of two inverses below which it is their rounding."""
_MAD_TO_SIGMA = 1.4826022185056018
# Weight of the minimum-norm term where there is no regularisation; its effect is iterated away.
_RIDGE = 1e-6

_combinations = inner(empty_combinations)


class Options(NamedTuple):
    """What the user chose; lengths in metres, times in days."""

    regularisation: float
    tukey_c: float
    tolerance_m: float
    max_iterations: int
    literal: bool
    smoothing_days: float
    declared: bool


class _Lanes(NamedTuple):
    """What each lane is at; the last axis of its numbers are the lanes.

    ``pixel`` is -1 where no pixel is left. ``links`` hold the rows of pixels with gaps whose
    observations are combined, lane by lane; the others have those of ``Rows.common``.
    """

    pixel: I8
    phase: I8
    iterations: I8
    total: I8
    present: I8
    own: NDArray[np.bool_]
    held: NDArray[np.bool_]
    settled: NDArray[np.bool_]
    expects: NDArray[np.bool_]
    sound: NDArray[np.bool_]
    active: F8
    fresh: F8
    strength: F8
    stretch: F8
    newton: F8
    freedom: F8
    checked: F8
    smaller: F8
    limit: F8
    step: F8
    scale: F8
    typical: F8
    unit: F8
    spread: F8
    solution: F8
    before: F8
    expected: F8
    right: F8
    obs_variance: F8
    links: Combinations


class _Cube(NamedTuple):
    """One block of pixels, and what all of them share."""

    velocity: NDArray[np.float32]
    sigma: NDArray[np.float32]
    order: I8
    own_rows: bool
    # Room for the observations of one pixel.
    displacement: F8
    variance: F8
    valid: NDArray[np.bool_]
    scratch: F8


@inner
def _empty_lanes(plan: Plan) -> _Lanes:
    n, nodes = plan.first_date.size, plan.node_days.size
    rows = BLOCK * ((nodes - 1 + BLOCK - 1) // BLOCK)
    kept = n if plan.combine else 0
    return _Lanes(
        pixel=np.full(LANES, -1),
        phase=np.zeros(LANES, np.int64),
        iterations=np.zeros(LANES, np.int64),
        total=np.zeros(LANES, np.int64),
        present=np.zeros(LANES, np.int64),
        own=np.zeros(LANES, np.bool_),
        held=np.zeros(LANES, np.bool_),
        settled=np.zeros(LANES, np.bool_),
        expects=np.zeros(LANES, np.bool_),
        sound=np.zeros(LANES, np.bool_),
        active=np.zeros(LANES),
        fresh=np.zeros(LANES),
        strength=np.zeros(LANES),
        stretch=np.zeros(LANES),
        newton=np.ones(LANES),
        freedom=np.zeros(LANES),
        checked=np.zeros(LANES),
        smaller=np.zeros((2, LANES)),
        limit=np.zeros((2, LANES)),
        step=np.zeros(LANES),
        scale=np.ones((2, LANES)),
        typical=np.ones((2, LANES)),
        unit=np.zeros((2, LANES)),
        spread=np.zeros((LANES, plan.period_node.size - 1)),
        solution=aligned(2 * nodes).reshape(2, nodes, LANES),
        before=aligned(2 * nodes).reshape(2, nodes, LANES),
        expected=aligned(2 * nodes).reshape(2, nodes, LANES),
        right=aligned(2 * rows).reshape(2, rows, LANES),
        obs_variance=np.zeros((LANES, kept)),
        links=Combinations(
            start=np.zeros((LANES, kept), np.int64),
            end=np.zeros((LANES, kept), np.int64),
            member=np.zeros((LANES, kept, 3), np.int64),
            sign=np.zeros((LANES, kept, 3), np.int64),
            members=np.zeros((LANES, kept), np.int64),
        ),
    )


@inner
def _links_of(lanes: _Lanes, rows: Rows, lane: int) -> Combinations:
    """Tell the rows of one lane."""
    if not lanes.own[lane]:
        return rows.common
    return Combinations(
        lanes.links.start[lane],
        lanes.links.end[lane],
        lanes.links.member[lane],
        lanes.links.sign[lane],
        lanes.links.members[lane],
    )


@inner
def _median(values: F8, count: int) -> float:
    return float(np.partition(values[:count], count // 2)[count // 2])


@inner
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


@inner
def _typical_variance(
    variance: F8, valid: NDArray[np.bool_], order: I8, count: int, scratch: F8
) -> float:
    """Take the median: a weight of one means a typical observation, and λ keeps its meaning.

    ``order`` sorts the variances where all pixels share them, and is empty elsewhere.
    """
    if order.size > 0:
        left = count // 2
        for y in order:
            left -= valid[y]
            if left < 0:
                return float(variance[y])
    found = 0
    for y in range(valid.size):
        if valid[y]:
            scratch[found] = variance[y]
            found += 1
    return float(_median(scratch, found))


@inner
def _fill_rows(
    rows: Rows, links: Combinations, total: int, cube: _Cube, typical: F8, c0: int, c1: int,
    literal: bool, lane: int,
) -> None:  # fmt: skip
    """Values, relative variances and first weights W0 of the combinations."""
    for r in range(total):
        mean = 0.0
        linear = 0.0
        for c in range(c0, c1):
            value, spread_of = 0.0, 0.0
            for k in range(links.members[r]):
                y = links.member[r, k]
                value += links.sign[r, k] * cube.displacement[c, y]
                spread_of += cube.variance[c, y]
                if literal:
                    linear += np.sqrt(cube.variance[c, y] / typical[c, lane])
            relative = spread_of / typical[c, lane]
            rows.value[c, r, lane] = value
            rows.variance[c, r, lane] = relative
            mean += relative
        # |B| applied to errors as in the paper, or to variances as independent errors add.
        prior = 1.0 / linear**2 if literal else (c1 - c0) / mean
        rows.prior[r, lane] = prior
        if cube.own_rows:
            rows.start[r, lane], rows.end[r, lane] = links.start[r], links.end[r]


@inner
def _clear_row(rows: Rows, r: int, own_rows: bool, lane: int) -> None:
    """Leave a row out of one lane: whatever multiplies it is zero."""
    for c in range(2):
        rows.value[c, r, lane] = 0.0
        rows.variance[c, r, lane] = 1.0
    rows.prior[r, lane] = 0.0
    if own_rows:
        rows.leverage[r, lane] = 0.0
        rows.start[r, lane], rows.end[r, lane] = 0, 0


@inner
def _load(
    plan: Plan, options: Options, cube: _Cube, rows: Rows, whole_total: int, lanes: _Lanes,
    lane: int, pixel: int, c0: int, c1: int, result: Result,
) -> bool:  # fmt: skip
    """Let a lane begin with a pixel; False if the pixel has nothing to solve."""
    errors = cube.sigma[0 if cube.sigma.shape[0] == 1 else pixel]
    count, unusable = _select(
        cube.velocity[pixel], errors, cube.displacement, cube.variance, plan.span_years, cube.valid
    )
    result.valid[pixel], result.unusable[pixel] = count, unusable
    if count == 0:
        return False
    n = plan.first_date.size
    own = plan.combine and count < n
    lanes.own[lane] = own
    total = whole_total
    if own:
        lanes.own[lane] = True
        total = combine(plan, cube.valid, _links_of(lanes, rows, lane))
    if total == 0:
        return False
    for c in range(2):
        order = cube.order[c]
        lanes.typical[c, lane] = _typical_variance(
            cube.variance[c], cube.valid, order, count, cube.scratch
        )
    if plan.combine:
        lanes.obs_variance[lane] = 0.0
        for c in range(c0, c1):
            for y in range(n):
                if cube.valid[y]:
                    lanes.obs_variance[lane, y] += cube.variance[c, y] / (
                        lanes.typical[c, lane] * (c1 - c0)
                    )
    _fill_rows(
        rows, _links_of(lanes, rows, lane), total, cube, lanes.typical, c0, c1, options.literal,
        lane,
    )  # fmt: skip
    if not plan.combine and count < n:
        for y in range(n):
            if not cube.valid[y]:
                _clear_row(rows, y, cube.own_rows, lane)
    # The lane's last pixel may have had more rows.
    for r in range(total, lanes.total[lane]):
        _clear_row(rows, r, cube.own_rows, lane)
    if c0 == 0:
        result.status[pixel] = CONVERGED
    lanes.pixel[lane] = pixel
    lanes.phase[lane] = FIRST
    lanes.fresh[lane] = 1.0
    lanes.total[lane] = total
    lanes.present[lane] = total if plan.combine else count
    lanes.strength[lane] = options.regularisation
    lanes.expects[lane] = False
    _restart(lanes, lane)
    lanes.iterations[lane] = 0
    for k in range(lanes.expected.shape[1]):
        lanes.expected[0, k, lane] = 0.0
        lanes.expected[1, k, lane] = 0.0
    return True


@inner
def _restart(lanes: _Lanes, lane: int) -> None:
    """Begin to look for the residuals' scale."""
    lanes.held[lane] = False
    lanes.scale[0, lane] = np.inf
    lanes.scale[1, lane] = np.inf


@inner
def _lower(reach: I8, node: int, other: int) -> None:
    """Let the envelope hold the entry of two nodes; node 0 is the origin and has no equation."""
    low, high = min(node, other) - 1, max(node, other) - 1
    if low >= 0:
        reach[high] = min(reach[high], low)


@inner
def _extend_reach(plan: Plan, links: Combinations, total: int, reach: I8) -> bool:
    """Let each equation begin no later than these rows ask; True if any begins earlier now."""
    size = reach.size
    old = reach.copy()
    for r in range(total):
        _lower(reach, links.start[r], links.end[r])
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
                _lower(reach, bound, links.end[r])
                _lower(reach, bound, max(links.start[r], 1))
    return bool(np.any(reach < old))


@inner
def _least_reach(plan: Plan) -> I8:
    """Where each equation begins without observations: smoothness, and the ends of the periods."""
    size = plan.node_days.size - 1
    reach = np.maximum(np.arange(size) - 2, 0)
    for k in range(plan.period_node.size - 1):
        a, b = plan.period_node[k], plan.period_node[k + 1]
        _lower(reach, a, b)
        _lower(reach, a, b + 1)
        _lower(reach, a + 1, b)
        _lower(reach, a + 1, b + 1)
    return reach


@inner
def _add_smoothness(plan: Plan, strength: F8, shape: Envelope, envelope: F8) -> None:
    """Add strength · ΓᵀΓ, with Γ the differences of successive velocities."""
    t, at = plan.node_days, shape.at
    each = load(strength, 0)
    for k in range(t.size - 2):
        left, right = 1.0 / (t[k + 1] - t[k]), 1.0 / (t[k + 2] - t[k + 1])
        row = (left, -(left + right), right)
        for p in range(3):
            for q in range(p + 1):
                i, j = k + p - 1, k + q - 1
                if j >= 0:
                    value = load(envelope, at[i] + j) + each * spread(row[p] * row[q])
                    store(envelope, at[i] + j, value)


@inner
def _add_ridge(plan: Plan, shape: Envelope, envelope: F8) -> None:
    """Add a small multiple of ‖X‖², the displacements between nodes."""
    at = shape.at
    ridge = spread(_RIDGE)
    for i in range(plan.node_days.size - 1):
        store(envelope, at[i] + i, load(envelope, at[i] + i) + ridge)
        if i > 0:
            j = i - 1
            store(envelope, at[j] + j, load(envelope, at[j] + j) + ridge)
            store(envelope, at[i] + j, load(envelope, at[i] + j) - ridge)


@inner
def _assemble(
    plan: Plan, options: Options, rows: Rows, total: int, shared: bool, lanes: _Lanes,
    shape: Envelope, envelope: F8,
) -> None:  # fmt: skip
    """Build the normal matrices AᵀWA + λΓᵀΓ, and what the errors of some lanes add to theirs."""
    envelope[: LANES * shape.length] = 0.0
    add_rows(rows, total, shared, shape, envelope)
    if options.regularisation > 0.0:
        _add_smoothness(plan, lanes.strength, shape, envelope)
    else:
        _add_ridge(plan, shape, envelope)
    for i in range(plan.node_days.size - 1, shape.at.size):
        store(envelope, shape.at[i] + i, spread(1.0))
    if plan.combine:
        for lane in range(LANES):
            if lanes.pixel[lane] >= 0 and lanes.phase[lane] == ERRORS:
                add_noise(
                    plan, _links_of(lanes, rows, lane), rows, lanes.total[lane], lane,
                    lanes.obs_variance[lane], lanes.step[lane], shape, envelope,
                )  # fmt: skip


@inner
def _solve(
    options: Options, rows: Rows, total: int, shared: bool, lanes: _Lanes, shape: Envelope,
    envelope: F8, reciprocal: F8, c0: int, c1: int,
) -> None:  # fmt: skip
    """Find the cumulative displacement of the components, node 0 at the origin.

    Solved for the residual of what is expected, so that the regularisation acts on the difference.
    Without regularisation the ridge's effect is iterated away, which leaves the solution of
    minimum norm ‖X‖.
    """
    solution, right = lanes.solution, lanes.right
    nodes, equations = solution.shape[1], right.shape[1]
    for k in range(2 * nodes):
        store(solution, k, load(lanes.expected, k))
    for k in range(1 if options.regularisation > 0.0 else 6):
        residual = rows.residual
        if k == 0 and options.smoothing_days == 0.0:  # nothing is expected
            residual = rows.value
        else:
            residuals(rows, total, shared, solution, c0, c1)
        pull(rows, total, shared, residual, c0, c1, right)
        solve_two(shape, envelope, reciprocal, right[0], right[1])
        for c in range(c0, c1):
            for k in range(1, nodes):
                value = load(solution, c * nodes + k) + load(right, c * equations + k - 1)
                store(solution, c * nodes + k, value)


@inner
def _mean_change(lanes: _Lanes, lane: int, c0: int, c1: int) -> float:
    """Compute mean |ΔX| between nodes since the last solution."""
    total = 0.0
    size = lanes.solution.shape[1] - 1
    for c in range(c0, c1):
        new, old = lanes.solution[c], lanes.before[c]
        for k in range(size):
            change = new[k + 1, lane] - new[k, lane]
            total += abs(change - (old[k + 1, lane] - old[k, lane]))
    return float(total / (size * (c1 - c0)))


@inner
def _step(rows: Rows, total: int, shared: bool, lanes: _Lanes, c0: int, c1: int) -> None:
    """Go from the last solutions to the new ones, or beyond; residuals are those of the end."""
    solution, before = lanes.solution, lanes.before
    nodes = solution.shape[1]
    stretch = load(lanes.stretch, 0)
    for c in range(c0, c1):
        for k in range(c * nodes, (c + 1) * nodes):
            old = load(before, k)
            new = old + stretch * (load(solution, k) - old)
            store(solution, k, new)
            store(before, k, new)
    residuals(rows, total, shared, solution, c0, c1)


@inner
def _limit_scale(lanes: _Lanes, c0: int, c1: int) -> None:
    """Squares of studentized residuals whose median asks for a lower scale are below the limit."""
    for c in range(c0, c1):
        for lane in range(LANES):
            scale = 0.8 * lanes.scale[c, lane]
            falls = scale > SMALLEST_SCALE_M
            lanes.limit[c, lane] = (scale / _MAD_TO_SIGMA) ** 2 if falls else -1.0


@inner
def _robust_scale(rows: Rows, total: int, c: int, lane: int, scratch: F8) -> float:
    """Spread of the studentized residuals that some other observation checks."""
    count = 0
    squares = rows.studentized[c]
    for r in range(total):
        value = squares[r, lane]
        scratch[count] = value
        count += value >= 0.0
    return max(_MAD_TO_SIGMA * float(np.sqrt(_median(scratch, count))), SMALLEST_SCALE_M)


@inner
def _rescale(
    rows: Rows, lanes: _Lanes, lane: int, c0: int, c1: int, options: Options, scratch: F8
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


@inner
def _smooth_velocity(plan: Plan, lanes: _Lanes, c: int, lane: int, days: float) -> None:
    """Expect the solution's own velocity, smoothed by a Gaussian of this standard deviation."""
    t = plan.node_days
    size = t.size - 1
    total = 0.0
    lanes.expected[c, 0, lane] = 0.0
    for k in range(size):
        middle = 0.5 * (t[k] + t[k + 1])
        weights, displacement = 0.0, 0.0
        for j in range(size):
            distance = (0.5 * (t[j] + t[j + 1]) - middle) / days
            if abs(distance) < 4.0:
                w = np.exp(-0.5 * distance * distance)
                moved = lanes.solution[c, j + 1, lane] - lanes.solution[c, j, lane]
                weights += w * (t[j + 1] - t[j])
                displacement += w * moved
        total += displacement / weights * (t[k + 1] - t[k])
        lanes.expected[c, k + 1, lane] = total


@inner
def _finish(
    plan: Plan, options: Options, rows: Rows, lanes: _Lanes, lane: int, status: int,
    shape: Envelope, band: F8, c0: int, c1: int, result: Result,
) -> None:  # fmt: skip
    """Read off a pixel, and turn its lane to the system whose inverse gives the errors (eq. 6).

    Σ_X = N⁻¹ M N⁻¹ with M = σ0² AᵀW B Σ BᵀWA + λ² τ² ΓᵀΓ. The second term is the error that the
    regularisation makes by pulling the velocity changes, of mean square τ², to what it expects; it
    matters only where few observations bind a value. Since N⁻¹ M N⁻¹ is minus the derivative of
    (N + s M)⁻¹ at s = 0, its entries in the envelope follow from one more selected inversion.
    """
    pixel, total = lanes.pixel[lane], lanes.total[lane]
    links = _links_of(lanes, rows, lane)
    strength = options.regularisation
    result.iterations[pixel] = max(result.iterations[pixel], lanes.iterations[lane])
    result.status[pixel] = max(result.status[pixel], status)
    noise, change = 0.0, 0.0
    read_off(plan, links, rows, total, lane, lanes.solution, strength, c0, c1, result, pixel)
    for c in range(c0, c1):
        typical = lanes.typical[c, lane]
        unit = np.nan
        if status != NO_REDUNDANCY:
            unit = unit_variance(
                rows, total, lanes.present[lane], lane, c, lanes.scale[c, lane], options.tukey_c,
                options.literal,
            )  # fmt: skip
        if np.isnan(unit) and options.declared:
            unit = typical
        lanes.unit[c, lane] = unit
        result.scale[pixel, c] = np.sqrt(unit / typical) if options.declared else np.nan
        noise += unit
        change += velocity_change(plan, lanes.solution, lanes.expected, c, lane)
    report(links, rows, total, lane, plan.node_days.size - 1, result, pixel)
    if np.isnan(noise):
        lanes.pixel[lane] = -1
        return
    period_spreads(plan, shape, band, lane, lanes.spread[lane])
    extra = strength * strength * change / noise
    step = 1e-6 / max(1.0, extra / max(strength, 1e-30))
    lanes.step[lane] = step
    lanes.strength[lane] = strength + step * extra
    lanes.phase[lane] = ERRORS
    if not plan.combine:
        # Every row is an observation, of variance 1 / W0: N + s M has N's own form.
        for r in range(total):
            w = rows.weight[r, lane]
            if w > 0.0:
                rows.weight[r, lane] = w + step * w * w / rows.prior[r, lane]


@inner
def _errors(
    plan: Plan, lanes: _Lanes, lane: int, shape: Envelope, band: F8, strength: float, c0: int,
    c1: int, result: Result,
) -> None:  # fmt: skip
    """Errors of the displacements over the periods.

    To periods that no observation covers the pixel's own variability in time is added. Where each
    row is an observation, neither part of M exceeds its part of N (weights only fall), so N⁻¹ M
    N⁻¹ is bounded by N⁻¹ times a number: that stands in where the difference quotient drowns in
    rounding, in weakly bound networks.
    """
    pixel = lanes.pixel[lane]
    moved = np.empty(lanes.spread.shape[1])
    period_spreads(plan, shape, band, lane, moved)
    most = 1.0
    if strength > 0.0:
        most += max(lanes.strength[lane] - strength, 0.0) / (lanes.step[lane] * strength)
    for c in range(c0, c1):
        own = variance_in_time(result, pixel, c)
        for k in range(moved.size):
            if np.isfinite(result.displacement[pixel, c, k]):
                spread = lanes.spread[lane, k]
                fell = spread - moved[k]
                bound = spread * most
                derivative = bound if fell < ROUNDING * spread else fell / lanes.step[lane]
                if not plan.combine:
                    derivative = min(derivative, bound)
                square = lanes.unit[c, lane] * derivative
                if result.observations[pixel, k] == 0:
                    square += own
                result.error[pixel, c, k] = np.sqrt(square)


@inner
def _take_solution(
    options: Options, lanes: _Lanes, lane: int, c0: int, c1: int, result: Result
) -> bool:
    """Judge a lane's new solution and how far to go to it; True if it needs its residuals' scale.

    A stretched step converges faster to the same weights; the last one is not stretched.
    """
    phase = lanes.phase[lane]
    lanes.stretch[lane] = 0.0
    lanes.settled[lane] = False
    if not lanes.sound[lane]:
        if phase != ERRORS:
            pixel = lanes.pixel[lane]
            result.status[pixel] = SINGULAR
            result.iterations[pixel] = max(result.iterations[pixel], lanes.iterations[lane])
        lanes.pixel[lane] = -1
        return False
    if phase in (LAST, ERRORS):
        return False
    lanes.iterations[lane] += 1
    if phase == FIRST:
        for c in range(c0, c1):
            for k in range(lanes.solution.shape[1]):
                lanes.before[c, k, lane] = lanes.solution[c, k, lane]
        lanes.stretch[lane] = 1.0
        return True
    settled = _mean_change(lanes, lane, c0, c1) < options.tolerance_m
    lanes.settled[lane] = settled
    alone = settled or options.literal or not lanes.held[lane]
    lanes.stretch[lane] = 1.0 if alone else lanes.newton[lane]
    return settled or not lanes.held[lane]


@inner
def _decide(
    plan: Plan, options: Options, rows: Rows, lanes: _Lanes, lane: int, shape: Envelope, band: F8,
    c0: int, c1: int, scratch: F8, result: Result,
) -> None:  # fmt: skip
    """Let a lane go on (it is active then), finish its pixel, or give it up."""
    if lanes.phase[lane] == ERRORS:
        _errors(plan, lanes, lane, shape, band, options.regularisation, c0, c1, result)
        lanes.pixel[lane] = -1
        return
    if lanes.phase[lane] == LAST:
        _finish(plan, options, rows, lanes, lane, NOT_CONVERGED, shape, band, c0, c1, result)
        return
    if lanes.settled[lane]:
        if options.literal or _rescale(rows, lanes, lane, c0, c1, options, scratch):
            if options.smoothing_days > 0.0 and not lanes.expects[lane]:
                for c in range(c0, c1):
                    _smooth_velocity(plan, lanes, c, lane, options.smoothing_days)
                lanes.expects[lane] = True
                _restart(lanes, lane)
            else:
                _finish(plan, options, rows, lanes, lane, CONVERGED, shape, band, c0, c1, result)
                return
        else:
            lanes.held[lane] = False
    if not lanes.held[lane]:
        lanes.held[lane] = _rescale(rows, lanes, lane, c0, c1, options, scratch)
    if lanes.scale[c0, lane] < 0.0:
        _finish(plan, options, rows, lanes, lane, NO_REDUNDANCY, shape, band, c0, c1, result)
        return
    lanes.active[lane] = 1.0
    lanes.phase[lane] = LAST if lanes.iterations[lane] >= options.max_iterations else FURTHER


@inner
def _sweep(
    plan: Plan, options: Options, cube: _Cube, whole: Combinations, whole_total: int, reach: I8,
    c0: int, c1: int, begin: int, stop: int, result: Result,
) -> None:  # fmt: skip
    """Invert the components ``c0`` to ``c1`` of a range of pixels together."""
    rows = empty_rows(plan.first_date.size, whole)
    lanes = _empty_lanes(plan)
    shape = shape_envelope(reach)
    equations = shape.at.size
    envelope = aligned(shape.length)
    band = aligned(equations * (shape.stride + 1) + 1)
    reciprocal, scratch = aligned(equations), aligned(BLOCK * equations)
    waiting = begin
    while True:
        wider = False
        busy, total = 0, 0
        shared = True
        for lane in range(LANES):
            while lanes.pixel[lane] < 0 and waiting < stop:
                taken = _load(
                    plan, options, cube, rows, whole_total, lanes, lane, waiting, c0, c1, result
                )
                waiting += 1
                if taken and lanes.own[lane]:
                    links = _links_of(lanes, rows, lane)
                    wider |= _extend_reach(plan, links, lanes.total[lane], reach)
            if lanes.pixel[lane] >= 0:
                busy += 1
                total = max(total, lanes.total[lane])
                shared = shared and not lanes.own[lane]
        if busy == 0:
            return
        if wider:
            shape = shape_envelope(reach)
            envelope = aligned(shape.length)
            band = aligned(equations * (shape.stride + 1) + 1)
        reweight(
            rows, total, c0, c1, options.tukey_c, options.literal, lanes.scale, lanes.active,
            lanes.fresh, lanes.newton,
        )  # fmt: skip
        _assemble(plan, options, rows, total, shared, lanes, shape, envelope)
        factorise(shape, envelope, reciprocal, lanes.sound)
        _solve(options, rows, total, shared, lanes, shape, envelope, reciprocal, c0, c1)
        inverse_in_envelope(shape, envelope, reciprocal, band, scratch)
        leverages(rows, total, shared, shape, band)
        scaling = False
        for lane in range(LANES):
            if lanes.pixel[lane] >= 0:
                scaling |= _take_solution(options, lanes, lane, c0, c1, result)
        _step(rows, total, shared, lanes, c0, c1)
        if scaling and not options.literal:
            _limit_scale(lanes, c0, c1)
            studentize(
                rows, total, c0, c1, lanes.limit, lanes.freedom, lanes.checked, lanes.smaller
            )
        for lane in range(LANES):
            lanes.active[lane] = 0.0
            lanes.fresh[lane] = 0.0
        for lane in range(LANES):
            if lanes.pixel[lane] >= 0:
                _decide(plan, options, rows, lanes, lane, shape, band, c0, c1, cube.scratch, result)


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
    whole = _combinations(n)
    whole_total = combine(plan, np.ones(n, np.bool_), whole)
    order = np.zeros((2, 0), np.int64)
    if sigma.shape[0] == 1:
        order = np.zeros((2, n), np.int64)
        for c in range(2):
            order[c] = np.argsort(np.abs(sigma[0, c] * plan.span_years))
    cube = _Cube(
        velocity=velocity,
        sigma=sigma,
        order=order,
        own_rows=plan.combine,
        displacement=np.zeros((2, n)),
        variance=np.zeros((2, n)),
        valid=np.zeros(n, np.bool_),
        scratch=np.zeros(n + 1),
    )
    reach = _least_reach(plan)
    _extend_reach(plan, whole, whole_total, reach)
    for part in range(2 if options.literal else 1):
        c0, c1 = (part, part + 1) if options.literal else (0, 2)
        _sweep(plan, options, cube, whole, whole_total, reach, c0, c1, begin, stop, result)
