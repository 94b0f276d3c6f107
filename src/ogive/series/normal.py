"""The normal equations of eight pixels, put together and solved, compiled.

The unknowns are the cumulative displacements of the nodes; node 0 is the origin and has no
equation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .combinations import Combinations
from .lanes import LANES, inner, load, spread, store
from .network import Plan
from .rows import Rows, add_rows, pull, residuals
from .shared_observations import add_noise
from .solver import Envelope, solve_two
from .state import ERRORS, Options, PixelLanes, links_of

__all__ = [
    "assemble",
    "expect_smooth_velocity",
    "extend_reach",
    "least_reach",
    "mean_change",
    "solve",
    "step_to",
]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

# Weight of the minimum-norm term where there is no regularisation; its effect is iterated away.
_RIDGE = 1e-6


@inner
def _lower(reach: I8, node: int, other: int) -> None:
    """Let the envelope hold the entry of two nodes; node 0 is the origin and has no equation."""
    low, high = min(node, other) - 1, max(node, other) - 1
    if low >= 0:
        reach[high] = min(reach[high], low)


@inner
def extend_reach(plan: Plan, links: Combinations, total: int, reach: I8) -> bool:
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
def least_reach(plan: Plan) -> I8:
    """Where each equation begins without observations.

    Errors of images reach as far as G², four nodes; those of a period need the inverse between the
    nodes about its ends, and two further on either side, as far as G reaches.
    """
    size = plan.node_days.size - 1
    reach = np.maximum(np.arange(size) - 4, 0)
    for k in range(plan.period_node.size - 1):
        first, last = plan.period_node[k] - 2, plan.period_node[k + 1] + 3
        _lower(reach, max(first, 1), min(last, size))
    return reach


@inner
def _add_bands(bands: F8, strength: F8, shape: Envelope, envelope: F8) -> None:
    """Add strength times a symmetric matrix of all nodes whose entries (i, i - q) these are."""
    at = shape.at
    each = load(strength, 0)
    for node in range(1, bands.shape[0]):
        i = node - 1
        for q in range(min(bands.shape[1], node)):
            place = at[i] + i - q
            store(envelope, place, load(envelope, place) + each * spread(bands[node, q]))


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
def assemble(
    plan: Plan, options: Options, rows: Rows, total: int, shared: bool, lanes: PixelLanes,
    shape: Envelope, envelope: F8,
) -> None:  # fmt: skip
    """Build the normal matrices AᵀWA + λΓᵀΓ, and what the errors of some lanes add to theirs."""
    envelope[: LANES * shape.length] = 0.0
    add_rows(rows, total, shared, shape, envelope)
    if options.regularisation > 0.0:
        _add_bands(plan.roughness, lanes.strength, shape, envelope)
        if np.any(lanes.image_strength > 0.0):
            _add_bands(plan.roughness_squared, lanes.image_strength, shape, envelope)
    else:
        _add_ridge(plan, shape, envelope)
    for i in range(plan.node_days.size - 1, shape.at.size):
        store(envelope, shape.at[i] + i, spread(1.0))
    if plan.combine:
        for lane in range(LANES):
            if lanes.pixel[lane] >= 0 and lanes.phase[lane] == ERRORS:
                add_noise(
                    plan, links_of(lanes, rows, lane), rows, lanes.total[lane], lane,
                    lanes.obs_variance[lane], lanes.step[lane], shape, envelope,
                )  # fmt: skip


@inner
def solve(
    options: Options, rows: Rows, total: int, shared: bool, lanes: PixelLanes, shape: Envelope,
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
def mean_change(lanes: PixelLanes, lane: int, c0: int, c1: int) -> float:
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
def step_to(rows: Rows, total: int, shared: bool, lanes: PixelLanes, c0: int, c1: int) -> None:
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
def expect_smooth_velocity(plan: Plan, lanes: PixelLanes, c: int, lane: int, days: float) -> None:
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
