"""The equations of displacement series and one elevation bias, four pixels at once; compiled.

Unknown are, per component, the cumulative displacement ``U`` of the ice at every date, and the
place ``G`` at which each image shows it. Rows of a weighted graph join them:

- a pair measured ``G_later - G_earlier``, with the pair's own error;
- an image shows the ice at ``G = U + s ΔZ + o``, with the misregistration ``o`` that all its pairs
  share, and the sensitivity ``s`` of its line of sight;
- the velocity is a random walk: its changes from date to date have a variance that grows with time,
  ``q`` (m/yr)² a year. Without it any offset could be motion.

ΔZ is common to both components and eliminated last: with ``N x = f + b ΔZ`` in each, where ``b``
collects the sensitivities, ``ΔZ = Σ bᵀ N⁻¹ f / (g - Σ bᵀ N⁻¹ b)``. The walk's variance is the one
that makes the pixel's data most likely (restricted maximum likelihood), looked for on a grid of
decades and between them by a parabola.

Each of the eight lanes of `lanes` holds one component of one pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .elevation_plan import Plan
from .lanes import LANES, aligned, inner
from .solver import BLOCK, Envelope, factorise, solve_two

__all__ = ["SLOTS", "Choices", "Work", "at", "push", "room", "solve"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]

SLOTS = LANES // 2

SEPARABLE = 1e-6
"""Below this share of what known motion would tell, ΔZ cannot be told from motion."""


class Choices(NamedTuple):
    """What all pixels share.

    ``image_variance`` (m²), ``critical`` of the test statistic (0: no test), ``least_baseline``,
    ``scaled`` by the residuals or not, and the grid of log10 q to look for the most likely in; with
    one value it is taken.
    """

    image_variance: float
    critical: float
    least_baseline: float
    scaled: bool
    walks: F8


class Work(NamedTuple):
    """One batch of pixels while it is solved."""

    pixel: I8
    observed: F8
    variance: F8
    offset: F8
    valid: B1
    active: B1
    use_bias: B1
    separable: B1
    walk: F8
    envelope: F8
    reciprocal: F8
    sound: B1
    motion: F8
    response: F8
    band: F8
    scratch: F8
    bias: F8
    information: F8
    squares: F8
    deviance: F8
    statistic: F8
    sorted_statistic: F8


@inner
def room(plan: Plan, shape: Envelope) -> Work:
    """Make room for a batch of pixels."""
    pairs, images = plan.first.size, plan.node_of_image.size
    equations = shape.at.size
    return Work(
        pixel=np.full(SLOTS, -1, np.int64),
        observed=np.zeros((SLOTS, 2, pairs)),
        variance=np.ones((SLOTS, 2, pairs)),
        offset=np.zeros((SLOTS, 2, images)),
        valid=np.zeros((SLOTS, pairs), np.bool_),
        active=np.zeros((SLOTS, pairs), np.bool_),
        use_bias=np.zeros(SLOTS, np.bool_),
        separable=np.zeros(SLOTS, np.bool_),
        walk=np.zeros(SLOTS),
        envelope=aligned(shape.length),
        reciprocal=aligned(equations),
        sound=np.zeros(LANES, np.bool_),
        motion=aligned(equations),
        response=aligned(equations),
        band=aligned(equations * (shape.stride + 1) + 1),
        scratch=aligned(BLOCK * equations),
        bias=np.zeros(SLOTS),
        information=np.zeros(SLOTS),
        squares=np.zeros(SLOTS),
        deviance=np.zeros(SLOTS),
        statistic=np.zeros((SLOTS, pairs)),
        sorted_statistic=np.zeros(pairs),
    )


@inner
def _add(shape: Envelope, work: Work, lane: int, i: int, j: int, value: float) -> None:
    """Add to entry (i, j) of a lane's matrix, nodes counted from the origin."""
    a, b = max(i, j) - 1, min(i, j) - 1
    if b >= 0:
        work.envelope[LANES * (shape.at[a] + b) + lane] += value


@inner
def _join(shape: Envelope, work: Work, lane: int, i: int, j: int, weight: float) -> None:
    """Add a row that measures node j less node i."""
    _add(shape, work, lane, i, i, weight)
    _add(shape, work, lane, j, j, weight)
    _add(shape, work, lane, i, j, -weight)


@inner
def push(vector: F8, node: int, lane: int, value: float) -> None:
    """Add to a node's value; the origin has none."""
    if node > 0:
        vector[LANES * (node - 1) + lane] += value


@inner
def at(vector: F8, node: int, lane: int) -> float:
    """Value of a node; 0 at the origin."""
    return vector[LANES * (node - 1) + lane] if node > 0 else 0.0


@inner
def _assemble(plan: Plan, choices: Choices, shape: Envelope, work: Work) -> None:
    work.envelope[:] = 0.0
    work.motion[:] = 0.0
    work.response[:] = 0.0
    nodes = plan.reach.size
    tie = 1.0 / choices.image_variance
    for lane in range(LANES):
        slot, c = lane // 2, lane % 2
        for i in range(shape.at.size):
            # Unused rows, and lanes without a pixel, need a diagonal.
            if i >= nodes or work.pixel[slot] < 0:
                work.envelope[LANES * (shape.at[i] + i) + lane] = 1.0
        if work.pixel[slot] < 0:
            continue
        for i in range(plan.first.size):
            if work.active[slot, i]:
                p, q = plan.node_of_image[plan.first[i]], plan.node_of_image[plan.last[i]]
                weight = 1.0 / work.variance[slot, c, i]
                _join(shape, work, lane, p, q, weight)
                pull = weight * work.observed[slot, c, i]
                push(work.motion, q, lane, pull)
                push(work.motion, p, lane, -pull)
        for image in range(plan.node_of_image.size):
            g, u = plan.node_of_image[image], plan.node_of_date[plan.date_of_image[image]]
            _join(shape, work, lane, u, g, tie)
            if work.use_bias[slot]:
                pull = tie * work.offset[slot, c, image]
                push(work.response, g, lane, pull)
                push(work.response, u, lane, -pull)
        for k in range(1, plan.date_years.size - 1):
            before = plan.date_years[k] - plan.date_years[k - 1]
            after = plan.date_years[k + 1] - plan.date_years[k]
            weight = 2.0 / (work.walk[slot] * (before + after))
            a, b, d = 1.0 / before, -1.0 / before - 1.0 / after, 1.0 / after
            i, j, l = plan.node_of_date[k - 1], plan.node_of_date[k], plan.node_of_date[k + 1]  # noqa: E741
            _add(shape, work, lane, i, i, weight * a * a)
            _add(shape, work, lane, j, j, weight * b * b)
            _add(shape, work, lane, l, l, weight * d * d)
            _add(shape, work, lane, i, j, weight * a * b)
            _add(shape, work, lane, j, l, weight * b * d)
            _add(shape, work, lane, i, l, weight * a * d)


@inner
def solve(plan: Plan, choices: Choices, shape: Envelope, work: Work) -> None:
    """Solve all lanes with their present walks and pairs; bias, squares and deviance per slot."""
    _assemble(plan, choices, shape, work)
    factorise(shape, work.envelope, work.reciprocal, work.sound)
    solve_two(shape, work.envelope, work.reciprocal, work.motion, work.response)
    tie = 1.0 / choices.image_variance
    for slot in range(SLOTS):
        if work.pixel[slot] < 0:
            continue
        own = pulled = 0.0
        work.information[slot] = 0.0
        work.bias[slot] = 0.0
        work.separable[slot] = False
        if work.use_bias[slot]:
            for c in range(2):
                lane = 2 * slot + c
                for image in range(plan.node_of_image.size):
                    g, u = plan.node_of_image[image], plan.node_of_date[plan.date_of_image[image]]
                    s = work.offset[slot, c, image]
                    moved = at(work.motion, g, lane) - at(work.motion, u, lane)
                    answer = at(work.response, g, lane) - at(work.response, u, lane)
                    own += tie * s * (s - answer)
                    pulled += tie * s * moved
            # With no pair across orbits left, or motion that explains them all, it is rounding.
            known = _known_motion(plan, choices, work, slot)
            if known == 0.0 or own <= SEPARABLE * known:
                _judge(plan, choices, shape, work, slot)
                continue
            work.separable[slot] = True
            work.information[slot] = own
            work.bias[slot] = pulled / own
            for c in range(2):
                lane = 2 * slot + c
                for i in range(shape.at.size):
                    k = LANES * i + lane
                    work.motion[k] += work.response[k] * work.bias[slot]
        _judge(plan, choices, shape, work, slot)


@inner
def _known_motion(plan: Plan, choices: Choices, work: Work, slot: int) -> float:
    """Information on ΔZ that the pairs would have if the motion were known; 0 of one orbit's."""
    total = longest = 0.0
    for i in range(plan.first.size):
        if work.active[slot, i]:
            p, q = plan.first[i], plan.last[i]
            length = 0.0
            for c in range(2):
                s = work.offset[slot, c, q] - work.offset[slot, c, p]
                total += s * s / (work.variance[slot, c, i] + 2.0 * choices.image_variance)
                length += s * s
            longest = max(longest, length)
    return total if longest >= choices.least_baseline**2 else 0.0


@inner
def _judge(plan: Plan, choices: Choices, shape: Envelope, work: Work, slot: int) -> None:
    """Weighted squares of all rows, and -2 log of the restricted likelihood."""
    squares, logarithm = 0.0, 0.0
    count = 0
    for c in range(2):
        lane = 2 * slot + c
        for i in range(plan.first.size):
            if work.active[slot, i]:
                p, q = plan.node_of_image[plan.first[i]], plan.node_of_image[plan.last[i]]
                e = work.observed[slot, c, i] - at(work.motion, q, lane) + at(work.motion, p, lane)
                squares += e * e / work.variance[slot, c, i]
                count += 1
        for image in range(plan.node_of_image.size):
            g, u = plan.node_of_image[image], plan.node_of_date[plan.date_of_image[image]]
            e = at(work.motion, g, lane) - at(work.motion, u, lane)
            e -= work.offset[slot, c, image] * work.bias[slot]
            squares += e * e / choices.image_variance
        for k in range(1, plan.date_years.size - 1):
            before = plan.date_years[k] - plan.date_years[k - 1]
            after = plan.date_years[k + 1] - plan.date_years[k]
            u0 = at(work.motion, plan.node_of_date[k - 1], lane)
            u1 = at(work.motion, plan.node_of_date[k], lane)
            u2 = at(work.motion, plan.node_of_date[k + 1], lane)
            change = (u2 - u1) / after - (u1 - u0) / before
            squares += change * change * 2.0 / (work.walk[slot] * (before + after))
            logarithm += np.log(work.walk[slot])
        for i in range(plan.reach.size):
            logarithm -= 2.0 * np.log(work.reciprocal[LANES * i + lane])
    freedom = count - 2
    if work.separable[slot]:
        freedom -= 1
        logarithm += np.log(work.information[slot])
    work.squares[slot] = squares / max(freedom, 1)
    if choices.scaled:
        work.deviance[slot] = logarithm + freedom * np.log(max(squares, 1e-300))
    else:
        work.deviance[slot] = logarithm + squares
