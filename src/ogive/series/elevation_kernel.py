"""Displacement series and one elevation bias of a pixel, for four pixels at once; compiled.

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
decades and between them by a parabola. Pairs are rejected by data snooping, as in
`ogive.correction.orthorectification_kernel`.

Each of the eight lanes of `lanes` holds one component of one pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .lanes import LANES, aligned, inner
from .solver import BLOCK, Envelope, factorise, inverse_in_envelope, shape_envelope, solve_two

__all__ = ["Choices", "Plan", "Series", "empty_series", "solve_series"]

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]

SLOTS = LANES // 2

_MEDIAN = 1.3863  # of chi-squared with two degrees of freedom
_FEWEST_FOR_SCALE = 8
_LEAST_SCALE = 0.04
_ROUNDS = 8


class Plan(NamedTuple):
    """The network: images of pairs, nodes of images and dates, and the periods to read off.

    Node 0 is the first date and the origin; ``reach`` is, for every other node less one, the first
    that it meets. Edge ``k`` of the output lies ``fraction[k]`` of the way from date ``edge[k]`` to
    the next.
    """

    first: I8
    last: I8
    node_of_image: I8
    date_of_image: I8
    node_of_date: I8
    date_years: F8
    reach: I8
    edge: I8
    fraction: F8


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


class Series(NamedTuple):
    """What is written per pixel."""

    displacement: F4
    variance: F4
    bias: F8
    bias_variance: F8
    scale: F8
    walk: F8
    baseline: F4
    used: NDArray[np.int32]
    rejected: NDArray[np.int32]


class _Work(NamedTuple):
    """One batch of pixels while it is solved."""

    pixel: I8
    observed: F8
    variance: F8
    offset: F8
    valid: B1
    active: B1
    use_bias: B1
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


def empty_series(pixels: int, periods: int) -> Series:
    """Room for the results of some pixels, NaN until they are solved."""
    return Series(
        displacement=np.full((pixels, 2, periods), np.nan, np.float32),
        variance=np.full((pixels, 2, periods), np.nan, np.float32),
        bias=np.full(pixels, np.nan),
        bias_variance=np.full(pixels, np.nan),
        scale=np.full(pixels, np.nan),
        walk=np.full(pixels, np.nan),
        baseline=np.zeros(pixels, np.float32),
        used=np.zeros(pixels, np.int32),
        rejected=np.zeros(pixels, np.int32),
    )


@inner
def _room(plan: Plan, shape: Envelope) -> _Work:
    pairs, images = plan.first.size, plan.node_of_image.size
    equations = shape.at.size
    return _Work(
        pixel=np.full(SLOTS, -1, np.int64),
        observed=np.zeros((SLOTS, 2, pairs)),
        variance=np.ones((SLOTS, 2, pairs)),
        offset=np.zeros((SLOTS, 2, images)),
        valid=np.zeros((SLOTS, pairs), np.bool_),
        active=np.zeros((SLOTS, pairs), np.bool_),
        use_bias=np.zeros(SLOTS, np.bool_),
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
def _add(shape: Envelope, work: _Work, lane: int, i: int, j: int, value: float) -> None:
    """Add to entry (i, j) of a lane's matrix, nodes counted from the origin."""
    a, b = max(i, j) - 1, min(i, j) - 1
    if b >= 0:
        work.envelope[LANES * (shape.at[a] + b) + lane] += value


@inner
def _join(shape: Envelope, work: _Work, lane: int, i: int, j: int, weight: float) -> None:
    """Add a row that measures node j less node i."""
    _add(shape, work, lane, i, i, weight)
    _add(shape, work, lane, j, j, weight)
    _add(shape, work, lane, i, j, -weight)


@inner
def _push(vector: F8, node: int, lane: int, value: float) -> None:
    if node > 0:
        vector[LANES * (node - 1) + lane] += value


@inner
def _at(vector: F8, node: int, lane: int) -> float:
    return vector[LANES * (node - 1) + lane] if node > 0 else 0.0


@inner
def _assemble(plan: Plan, choices: Choices, shape: Envelope, work: _Work) -> None:
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
                _push(work.motion, q, lane, pull)
                _push(work.motion, p, lane, -pull)
        for image in range(plan.node_of_image.size):
            g, u = plan.node_of_image[image], plan.node_of_date[plan.date_of_image[image]]
            _join(shape, work, lane, u, g, tie)
            if work.use_bias[slot]:
                pull = tie * work.offset[slot, c, image]
                _push(work.response, g, lane, pull)
                _push(work.response, u, lane, -pull)
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
def _solve(plan: Plan, choices: Choices, shape: Envelope, work: _Work) -> None:
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
        if work.use_bias[slot]:
            for c in range(2):
                lane = 2 * slot + c
                for image in range(plan.node_of_image.size):
                    g, u = plan.node_of_image[image], plan.node_of_date[plan.date_of_image[image]]
                    s = work.offset[slot, c, image]
                    moved = _at(work.motion, g, lane) - _at(work.motion, u, lane)
                    answer = _at(work.response, g, lane) - _at(work.response, u, lane)
                    own += tie * s * (s - answer)
                    pulled += tie * s * moved
            work.information[slot] = own
            work.bias[slot] = pulled / own
            for c in range(2):
                lane = 2 * slot + c
                for i in range(shape.at.size):
                    k = LANES * i + lane
                    work.motion[k] += work.response[k] * work.bias[slot]
        _judge(plan, choices, shape, work, slot)


@inner
def _judge(plan: Plan, choices: Choices, shape: Envelope, work: _Work, slot: int) -> None:
    """Weighted squares of all rows, and -2 log of the restricted likelihood."""
    squares, logarithm = 0.0, 0.0
    count = 0
    for c in range(2):
        lane = 2 * slot + c
        for i in range(plan.first.size):
            if work.active[slot, i]:
                p, q = plan.node_of_image[plan.first[i]], plan.node_of_image[plan.last[i]]
                e = (
                    work.observed[slot, c, i]
                    - _at(work.motion, q, lane)
                    + _at(work.motion, p, lane)
                )
                squares += e * e / work.variance[slot, c, i]
                count += 1
        for image in range(plan.node_of_image.size):
            g, u = plan.node_of_image[image], plan.node_of_date[plan.date_of_image[image]]
            e = _at(work.motion, g, lane) - _at(work.motion, u, lane)
            e -= work.offset[slot, c, image] * work.bias[slot]
            squares += e * e / choices.image_variance
        for k in range(1, plan.date_years.size - 1):
            before = plan.date_years[k] - plan.date_years[k - 1]
            after = plan.date_years[k + 1] - plan.date_years[k]
            u0 = _at(work.motion, plan.node_of_date[k - 1], lane)
            u1 = _at(work.motion, plan.node_of_date[k], lane)
            u2 = _at(work.motion, plan.node_of_date[k + 1], lane)
            change = (u2 - u1) / after - (u1 - u0) / before
            squares += change * change * 2.0 / (work.walk[slot] * (before + after))
            logarithm += np.log(work.walk[slot])
        for i in range(plan.reach.size):
            logarithm -= 2.0 * np.log(work.reciprocal[LANES * i + lane])
    freedom = count - 2
    if work.use_bias[slot]:
        freedom -= 1
        logarithm += np.log(work.information[slot])
    work.squares[slot] = squares / max(freedom, 1)
    if choices.scaled:
        work.deviance[slot] = logarithm + freedom * np.log(max(squares, 1e-300))
    else:
        work.deviance[slot] = logarithm + squares


@inner
def _test(plan: Plan, choices: Choices, shape: Envelope, work: _Work) -> None:
    """Statistic of every pair, ``Σ ê² / var(ê)`` over the components; of rejected ones foretold."""
    inverse_in_envelope(shape, work.envelope, work.reciprocal, work.band, work.scratch)
    for slot in range(SLOTS):
        if work.pixel[slot] < 0:
            continue
        for i in range(plan.first.size):
            work.statistic[slot, i] = 0.0
            if not work.valid[slot, i]:
                continue
            p, q = plan.node_of_image[plan.first[i]], plan.node_of_image[plan.last[i]]
            for c in range(2):
                lane = 2 * slot + c
                spread = _spread(shape, work, lane, p, q)
                if work.use_bias[slot]:
                    answer = _at(work.response, q, lane) - _at(work.response, p, lane)
                    spread += answer * answer / work.information[slot]
                own = work.variance[slot, c, i]
                total = own - spread if work.active[slot, i] else own + spread
                e = (
                    work.observed[slot, c, i]
                    - _at(work.motion, q, lane)
                    + _at(work.motion, p, lane)
                )
                if total > 1e-3 * own:
                    work.statistic[slot, i] += e * e / total


@inner
def _spread(shape: Envelope, work: _Work, lane: int, p: int, q: int) -> float:
    """Quadratic form of the inverse for node q less node p, which share a row of the envelope."""
    total = 0.0
    for i, j, sign in ((p, p, 1.0), (q, q, 1.0), (p, q, -2.0)):
        if i > 0 and j > 0:
            place = (i - 1) * shape.stride + shape.half_width + (j - 1)
            total += sign * work.band[LANES * place + lane]
    return total


@inner
def _scale_of(choices: Choices, work: _Work, slot: int) -> float:
    """Square of the residuals' scale by their median; 1 where errors are believed or few."""
    count = 0
    for i in range(work.active.shape[1]):
        if work.active[slot, i] and work.statistic[slot, i] > 0.0:
            work.sorted_statistic[count] = work.statistic[slot, i]
            count += 1
    if not choices.scaled or count < _FEWEST_FOR_SCALE:
        return 1.0
    return max(np.median(work.sorted_statistic[:count]) / _MEDIAN, _LEAST_SCALE)


@inner
def _snoop(choices: Choices, work: _Work, slot: int, first: bool) -> bool:
    """Reject what fails and take back what does not; True if something changed.

    At first pairs are tested against their declared errors, since blunders inflate any scale.
    """
    scale = 1.0 if first else _scale_of(choices, work, slot)
    limit = choices.critical * scale
    worst, left = 0.0, 0
    for i in range(work.active.shape[1]):
        if work.active[slot, i]:
            worst = max(worst, work.statistic[slot, i])
            left += 1
    changed = False
    for i in range(work.active.shape[1]):
        value = work.statistic[slot, i]
        if work.active[slot, i] and value > limit and value >= 0.5 * worst and left > 3:
            work.active[slot, i] = False
            left -= 1
            changed = True
    if changed or first:
        return changed
    for i in range(work.active.shape[1]):
        value = work.statistic[slot, i]
        if work.valid[slot, i] and not work.active[slot, i] and 0.0 < value <= limit:
            work.active[slot, i] = True
            changed = True
    return changed


@inner
def _reject(plan: Plan, choices: Choices, shape: Envelope, work: _Work) -> None:
    """Rounds of solving and testing until no pair changes sides; ends with a solution."""
    _solve(plan, choices, shape, work)
    if choices.critical <= 0.0:
        return
    first = True
    for turn in range(2 * _ROUNDS):
        _test(plan, choices, shape, work)
        changed = False
        for slot in range(SLOTS):
            if work.pixel[slot] >= 0:
                changed |= _snoop(choices, work, slot, first)
        if not changed and not first:
            return
        if not changed or turn == _ROUNDS - 1:
            first = False
        if changed:
            _solve(plan, choices, shape, work)


@inner
def _find_walk(plan: Plan, choices: Choices, shape: Envelope, work: _Work) -> None:
    """Give every slot the walk that makes its data most likely."""
    grid = choices.walks
    deviance = np.zeros((SLOTS, grid.size))
    for k in range(grid.size):
        work.walk[:] = 10.0 ** grid[k]
        _solve(plan, choices, shape, work)
        for slot in range(SLOTS):
            deviance[slot, k] = work.deviance[slot] if work.sound[2 * slot] else np.inf
    for slot in range(SLOTS):
        best = 0
        for k in range(grid.size):
            if deviance[slot, k] < deviance[slot, best]:
                best = k
        at = grid[best]
        if 0 < best < grid.size - 1:
            low, high = deviance[slot, best - 1], deviance[slot, best + 1]
            bend = low - 2.0 * deviance[slot, best] + high
            if bend > 0.0 and np.isfinite(bend):
                at += 0.5 * (low - high) / bend * (grid[best + 1] - grid[best])
        work.walk[slot] = 10.0**at


@inner
def _load(
    plan: Plan, choices: Choices, work: _Work, slot: int, pixel: int, displacement: F4,
    sigma: F4, offset: F4, series: Series,
) -> None:  # fmt: skip
    """Take a pixel, if it has a pair."""
    work.pixel[slot] = -1
    s = sigma[pixel if sigma.shape[0] > 1 else 0]
    o = offset[pixel if offset.shape[0] > 1 else 0]
    for c in range(2):
        for image in range(plan.node_of_image.size):
            value = np.float64(o[c, image])
            work.offset[slot, c, image] = value if np.isfinite(value) else 0.0
    count = 0
    widest = 0.0
    for i in range(plan.first.size):
        p, q = plan.first[i], plan.last[i]
        a, b = np.float64(o[0, q]) - o[0, p], np.float64(o[1, q]) - o[1, p]
        x, y = np.float64(displacement[pixel, 0, i]), np.float64(displacement[pixel, 1, i])
        good = np.isfinite(x + y + a + b) and s[0, i] > 0.0 and s[1, i] > 0.0
        good = good and np.isfinite(s[0, i] + s[1, i])
        work.valid[slot, i] = good
        work.active[slot, i] = good
        if not good:
            continue
        work.observed[slot, 0, i], work.observed[slot, 1, i] = x, y
        for c in range(2):
            work.variance[slot, c, i] = np.float64(s[c, i]) ** 2
        count += 1
        widest = max(widest, np.hypot(a, b))
    series.baseline[pixel] = widest
    work.use_bias[slot] = widest >= choices.least_baseline
    if count > 0:
        work.pixel[slot] = pixel


@inner
def _write(plan: Plan, choices: Choices, shape: Envelope, work: _Work, series: Series) -> None:
    """Bias, and displacements over the periods with their variances."""
    for slot in range(SLOTS):
        pixel = work.pixel[slot]
        if pixel < 0 or not (work.sound[2 * slot] and work.sound[2 * slot + 1]):
            continue
        for i in range(work.active.shape[1]):
            series.used[pixel] += work.active[slot, i]
            series.rejected[pixel] += work.valid[slot, i] and not work.active[slot, i]
        series.scale[pixel] = work.squares[slot]
        series.walk[pixel] = work.walk[slot]
        if work.use_bias[slot]:
            series.bias[pixel] = work.bias[slot]
            series.bias_variance[pixel] = 1.0 / work.information[slot]
    contrast, answer = aligned(shape.at.size), aligned(shape.at.size)
    for k in range(plan.edge.size - 1):
        contrast[:] = 0.0
        answer[:] = 0.0
        node, part = _period(plan, k)
        for lane in range(LANES):
            for j in range(4):
                _push(contrast, node[j], lane, part[j])
        solve_two(shape, work.envelope, work.reciprocal, contrast, answer)
        for lane in range(LANES):
            slot, c = lane // 2, lane % 2
            pixel = work.pixel[slot]
            if pixel < 0 or not work.sound[lane]:
                continue
            moved = spread = pull = 0.0
            for j in range(4):
                moved += part[j] * _at(work.motion, node[j], lane)
                spread += part[j] * _at(contrast, node[j], lane)
                pull += part[j] * _at(work.response, node[j], lane)
            if work.use_bias[slot]:
                spread += pull * pull / work.information[slot]
            series.displacement[pixel, c, k] = moved
            series.variance[pixel, c, k] = spread


@inner
def _period(plan: Plan, k: int) -> tuple[I8, F8]:
    """Nodes and factors of the displacement over a period."""
    node, part = np.zeros(4, np.int64), np.zeros(4)
    for side, sign in ((0, -1.0), (1, 1.0)):
        date, fraction = plan.edge[k + side], plan.fraction[k + side]
        node[2 * side] = plan.node_of_date[date]
        node[2 * side + 1] = plan.node_of_date[date + 1]
        part[2 * side] = sign * (1.0 - fraction)
        part[2 * side + 1] = sign * fraction
    return node, part


@njit(nogil=True, cache=True)
def solve_series(
    plan: Plan,
    choices: Choices,
    displacement: F4,
    sigma: F4,
    offset: F4,
    begin: int,
    stop: int,
    series: Series,
) -> None:
    """Solve pixels ``begin`` to ``stop``.

    Parameters
    ----------
    plan, choices
        What all pixels share.
    displacement
        (pixels, 2, pairs), m, NaN where there is none.
    sigma
        Their standard errors, (pixels or 1, 2, pairs), m.
    offset
        (pixels or 1, 2, images), displacement in the image per metre of ΔZ.
    begin, stop
        The range of pixels; ranges may run in parallel, each writes only its own.
    series
        Where the results go.
    """
    shape = shape_envelope(plan.reach.copy())
    work = _room(plan, shape)
    middle = 10.0 ** choices.walks[choices.walks.size // 2]
    for batch in range(begin, stop, SLOTS):
        busy = 0
        for slot in range(SLOTS):
            work.pixel[slot] = -1
            if batch + slot < stop:
                _load(plan, choices, work, slot, batch + slot, displacement, sigma, offset, series)
            busy += work.pixel[slot] >= 0
        if busy == 0:
            continue
        work.walk[:] = middle
        _reject(plan, choices, shape, work)
        if choices.walks.size > 1:
            _find_walk(plan, choices, shape, work)
        _reject(plan, choices, shape, work)
        _write(plan, choices, shape, work, series)
