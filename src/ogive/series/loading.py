"""How a pixel's observations come into a lane, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .combinations import Combinations, combine
from .lanes import inner
from .network import Plan
from .propagation import Result
from .rows import Rows
from .scale import median
from .state import CONVERGED, FIRST, Options, PixelLanes, links_of, restart

__all__ = ["Block", "load_pixel"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


class Block(NamedTuple):
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
    return float(median(scratch, found))


@inner
def _fill_rows(
    rows: Rows, links: Combinations, total: int, cube: Block, typical: F8, c0: int, c1: int,
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
def load_pixel(
    plan: Plan, options: Options, cube: Block, rows: Rows, whole_total: int, lanes: PixelLanes,
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
        total = combine(plan, cube.valid, links_of(lanes, rows, lane))
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
        rows, links_of(lanes, rows, lane), total, cube, lanes.typical, c0, c1, options.literal,
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
    restart(lanes, lane)
    lanes.iterations[lane] = 0
    for k in range(lanes.expected.shape[1]):
        lanes.expected[0, k, lane] = 0.0
        lanes.expected[1, k, lane] = 0.0
    return True
