"""Displacement series and one elevation bias of a pixel, for four pixels at once; compiled.

The walk of the velocity that makes a pixel's data most likely, pairs that do not fit left out, and
what is read off: displacements over the periods, with the errors that the bias leaves them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ogive.correction.orthorectification.baseline import baselines

from .elevation_plan import Plan
from .elevation_snooping import reject
from .elevation_system import SLOTS, Choices, Work, at, push, room, solve
from .lanes import LANES, aligned, inner
from .solver import Envelope, shape_envelope, solve_two

__all__ = ["Choices", "Plan", "Series", "empty_series", "solve_series"]

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]


class Series(NamedTuple):
    """What is written per pixel.

    ``covariance`` is that of the two components of a displacement, ``bias_covariance`` those of
    each with the bias; ``line`` and ``line_spread`` are as of
    `ogive.correction.orthorectification.baseline`, ``observed`` counts the pairs used that overlap
    a period.
    """

    displacement: F4
    variance: F4
    covariance: F4
    bias: F8
    bias_variance: F8
    bias_covariance: F4
    scale: F8
    walk: F8
    baseline: F4
    line: F4
    line_spread: F4
    observed: NDArray[np.int32]
    used: NDArray[np.int32]
    rejected: NDArray[np.int32]


def empty_series(pixels: int, periods: int) -> Series:
    """Room for the results of some pixels, NaN until they are solved."""
    return Series(
        displacement=np.full((pixels, 2, periods), np.nan, np.float32),
        variance=np.full((pixels, 2, periods), np.nan, np.float32),
        covariance=np.full((pixels, periods), np.nan, np.float32),
        bias=np.full(pixels, np.nan),
        bias_variance=np.full(pixels, np.nan),
        bias_covariance=np.full((pixels, 2, periods), np.nan, np.float32),
        scale=np.full(pixels, np.nan),
        walk=np.full(pixels, np.nan),
        baseline=np.zeros(pixels, np.float32),
        line=np.full((pixels, 2), np.nan, np.float32),
        line_spread=np.full(pixels, np.nan, np.float32),
        observed=np.zeros((pixels, periods), np.int32),
        used=np.zeros(pixels, np.int32),
        rejected=np.zeros(pixels, np.int32),
    )


@inner
def _find_walk(plan: Plan, choices: Choices, shape: Envelope, work: Work) -> None:
    """Give every slot the walk that makes its data most likely."""
    grid = choices.walks
    deviance = np.zeros((SLOTS, grid.size))
    for k in range(grid.size):
        work.walk[:] = 10.0 ** grid[k]
        solve(plan, choices, shape, work)
        for slot in range(SLOTS):
            deviance[slot, k] = work.deviance[slot] if work.sound[2 * slot] else np.inf
    for slot in range(SLOTS):
        best = 0
        for k in range(grid.size):
            if deviance[slot, k] < deviance[slot, best]:
                best = k
        place = grid[best]
        if 0 < best < grid.size - 1:
            low, high = deviance[slot, best - 1], deviance[slot, best + 1]
            bend = low - 2.0 * deviance[slot, best] + high
            if bend > 0.0 and np.isfinite(bend):
                place += 0.5 * (low - high) / bend * (grid[best + 1] - grid[best])
        work.walk[slot] = 10.0**place


@inner
def _load(
    plan: Plan, choices: Choices, work: Work, slot: int, pixel: int, displacement: F4,
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
    longest, line_x, line_y, spread = baselines(
        plan.first, plan.last, o, work.valid[slot], choices.least_baseline
    )
    series.baseline[pixel] = longest
    series.line[pixel, 0], series.line[pixel, 1] = line_x, line_y
    series.line_spread[pixel] = spread
    work.use_bias[slot] = longest >= choices.least_baseline
    if count > 0:
        work.pixel[slot] = pixel


@inner
def _write(plan: Plan, choices: Choices, shape: Envelope, work: Work, series: Series) -> None:
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
        if work.separable[slot]:
            series.bias[pixel] = work.bias[slot]
            series.bias_variance[pixel] = 1.0 / work.information[slot]
    _write_periods(plan, shape, work, series)


@inner
def _write_periods(plan: Plan, shape: Envelope, work: Work, series: Series) -> None:
    contrast, answer = aligned(shape.at.size), aligned(shape.at.size)
    pull = np.zeros(LANES)
    for k in range(plan.edge.size - 1):
        contrast[:] = 0.0
        answer[:] = 0.0
        node, part = _period(plan, k)
        for lane in range(LANES):
            for j in range(4):
                push(contrast, node[j], lane, part[j])
        solve_two(shape, work.envelope, work.reciprocal, contrast, answer)
        for lane in range(LANES):
            slot, c = lane // 2, lane % 2
            pixel = work.pixel[slot]
            if pixel < 0 or not work.sound[lane]:
                continue
            moved = spread = 0.0
            pull[lane] = 0.0
            for j in range(4):
                moved += part[j] * at(work.motion, node[j], lane)
                spread += part[j] * at(contrast, node[j], lane)
                pull[lane] += part[j] * at(work.response, node[j], lane)
            if work.separable[slot]:
                spread += pull[lane] * pull[lane] / work.information[slot]
                series.bias_covariance[pixel, c, k] = pull[lane] / work.information[slot]
            series.displacement[pixel, c, k] = moved
            series.variance[pixel, c, k] = spread
            if c == 1 and work.sound[lane - 1]:
                series.covariance[pixel, k] = 0.0
                if work.separable[slot]:
                    shared = pull[lane - 1] * pull[lane] / work.information[slot]
                    series.covariance[pixel, k] = shared
        for slot in range(SLOTS):
            if work.pixel[slot] >= 0:
                series.observed[work.pixel[slot], k] = _observed(plan, work, slot, k)


@inner
def _observed(plan: Plan, work: Work, slot: int, k: int) -> int:
    """How many of the pairs used overlap period ``k``."""
    count = 0
    for i in range(plan.first.size):
        begin = plan.date_years[plan.date_of_image[plan.first[i]]]
        end = plan.date_years[plan.date_of_image[plan.last[i]]]
        if work.active[slot, i] and begin < plan.marks_years[k + 1] and end > plan.marks_years[k]:
            count += 1
    return count


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
    work = room(plan, shape)
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
        reject(plan, choices, shape, work)
        if choices.walks.size > 1:
            _find_walk(plan, choices, shape, work)
        reject(plan, choices, shape, work)
        _write(plan, choices, shape, work, series)
