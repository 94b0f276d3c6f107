"""What is read off a solved network: displacements over the periods and their errors, compiled.

Everything here is done once per pixel, for the lane it lives in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .combinations import Combinations
from .lanes import LANES, inner
from .network import Plan
from .rows import Rows
from .solver import Envelope
from .subnetworks import find_subnetworks

__all__ = [
    "Result",
    "UnitVariance",
    "empty_result",
    "period_spreads",
    "read_off",
    "report",
    "unit_variance",
    "variance_in_time",
    "velocity_change",
]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

NO_OBSERVATION = 2

SMALLEST_SCALE_M = 1e-6
"""A displacement is never known better than this: the floor of the residuals' scale."""


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
    image: NDArray[np.float32]


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
        image=np.full((pixels, 2), np.nan, np.float32),
    )


@inner
def read_off(
    plan: Plan, links: Combinations, rows: Rows, total: int, lane: int, solution: F8,
    strength: float, c0: int, c1: int, result: Result, pixel: int,
) -> None:  # fmt: skip
    """Displacements over the periods; NaN where nothing was observed before or after them."""
    size = plan.node_days.size - 1
    covered = np.zeros(size + 1, np.int64)
    periods = plan.period_node.size - 1
    counts = np.zeros(periods + 1, np.int64)
    earliest, latest = size, 0
    for r in range(total):
        if rows.factor[r, lane] <= 0.0:
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
        # Of components with weights of their own the last one's count is kept.
        if c1 == 2 or result.observations[pixel, k] == 0:
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
        for c in range(c0, c1):
            s = solution[c, :, lane]
            result.displacement[pixel, c, k] = (
                (1.0 - g) * s[b] + g * s[b + 1] - (1.0 - f) * s[a] - f * s[a + 1]
            )


class UnitVariance(NamedTuple):
    """σ0² of eq. 7, by what the mean square was multiplied for it, and its degrees of freedom."""

    value: float
    gain: float
    freedom: float


@inner
def unit_variance(
    rows: Rows, total: int, count: int, lane: int, c: int, scale: float, tukey_c: float,
    literal: bool, shared: float,
) -> UnitVariance:  # fmt: skip
    """σ0² of eq. 7 with the effective number of observations; NaN without redundancy.

    The effective number is the sum of the biweights, the number of parameters the trace of the hat
    matrix (the regularisation leaves fewer than p free). Since the biweight also shrinks the
    residuals of good observations, the default adds Huber's correction (1981, eq. 7.6.6) for the
    slope of the influence function and its spread, without which 95 % intervals hold less.
    ``count`` of the ``total`` rows are present; ``shared`` tells how many parameters more they take
    up for the observations that they share (`sharing`).
    """
    effective, parameters, weighted, squares = 0.0, 0.0, 0.0, 0.0
    slope, slope_squares = 0.0, 0.0
    for r in range(total):
        factor = rows.factor[r, lane]
        # A row without weight, like an absent one, adds nothing to any sum.
        if factor == 0.0:
            continue
        leverage = rows.leverage[r, lane]
        effective += factor
        parameters += leverage
        t2 = rows.residual[c, r, lane] ** 2 / rows.variance[c, r, lane]
        if literal:
            weighted += factor * t2
            squares += factor
        else:
            weighted += factor * factor * t2
            squares += factor * factor
            z2 = t2 / (scale**2 * max(1.0 - leverage, 1e-9))
            gradient = factor - 4.0 * z2 * np.sqrt(factor) / tukey_c**2
            slope += gradient
            slope_squares += gradient * gradient
    parameters *= shared
    freedom = effective - parameters
    if not freedom >= 1.0:
        return UnitVariance(np.nan, np.nan, freedom)
    gain = effective / freedom
    if not literal:
        slope = max(slope, 0.1 * effective)
        spread = max(count * slope_squares / slope**2 - 1.0, 0.0)
        gain *= (effective / slope * (1.0 + parameters / count * spread)) ** 2
    value = gain * weighted / squares
    return UnitVariance(float(max(value, SMALLEST_SCALE_M**2)), float(gain), float(freedom))


@inner
def velocity_change(plan: Plan, solution: F8, expected: F8, c: int, lane: int) -> float:
    """Sum of the squares of ΓX - ΓX0: how much the velocity changes from node to node."""
    t = plan.node_days
    total = 0.0
    for k in range(t.size - 2):
        change = 0.0
        for i, sign in ((k, -1.0), (k + 1, 1.0)):
            step = solution[c, i + 1, lane] - solution[c, i, lane]
            step -= expected[c, i + 1, lane] - expected[c, i, lane]
            change += sign * step / (t[i + 1] - t[i])
        total += change * change
    return total


@inner
def period_spreads(plan: Plan, shape: Envelope, band: F8, lane: int, spread: F8) -> None:
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
                    at = (node[i] - 1) * shape.stride + shape.half_width + node[j] - 1
                    total += part[i] * part[j] * band[LANES * at + lane]
        spread[k] = total


@inner
def variance_in_time(result: Result, pixel: int, c: int) -> float:
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


@inner
def report(
    links: Combinations, rows: Rows, total: int, lane: int, size: int, result: Result, pixel: int
) -> None:
    """How many observations count, in how many sub-networks, and the final weight of each."""
    groups = find_subnetworks(links, rows, total, lane, np.empty(size + 1, np.int64))
    result.subnetworks[pixel] = max(result.subnetworks[pixel], groups)
    used = 0
    for r in range(total):
        used += rows.factor[r, lane] > 0.0
        if result.weight.shape[0] > 0:
            for k in range(links.members[r]):
                y = links.member[r, k]
                weight = max(result.weight[pixel, y], rows.factor[r, lane])
                result.weight[pixel, y] = weight
    result.used[pixel] = used
