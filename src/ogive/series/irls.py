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

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .combinations import Combinations, combine, empty_combinations
from .lanes import LANES, aligned, inner
from .loading import Block, load_pixel
from .network import Plan
from .normal import (
    assemble,
    expect_smooth_velocity,
    extend_reach,
    least_reach,
    mean_change,
    solve,
    step_to,
)
from .propagation import Result
from .rows import Rows, empty_rows, leverages, reweight, studentize
from .scale import limit_scale, rescale
from .solver import BLOCK, Envelope, factorise, inverse_in_envelope, shape_envelope
from .state import (
    CONVERGED,
    ERRORS,
    FIRST,
    FURTHER,
    LAST,
    NO_REDUNDANCY,
    NOT_CONVERGED,
    SINGULAR,
    Options,
    PixelLanes,
    empty_pixel_lanes,
    links_of,
    restart,
)
from .uncertainty import begin_errors, end_errors, solve_for_errors

__all__ = ["Options", "invert_range"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

_combinations = inner(empty_combinations)


@inner
def _take_solution(
    options: Options, lanes: PixelLanes, lane: int, c0: int, c1: int, result: Result
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
    settled = mean_change(lanes, lane, c0, c1) < options.tolerance_m
    lanes.settled[lane] = settled
    alone = settled or options.literal or not lanes.held[lane]
    lanes.stretch[lane] = 1.0 if alone else lanes.newton[lane]
    return settled or not lanes.held[lane]


@inner
def _decide(
    plan: Plan, options: Options, rows: Rows, lanes: PixelLanes, lane: int, shape: Envelope,
    band: F8, c0: int, c1: int, scratch: F8, result: Result,
) -> None:  # fmt: skip
    """Let a lane go on (it is active then), finish its pixel, or give it up."""
    if lanes.phase[lane] == ERRORS:
        lanes.direct[lane] = not end_errors(plan, lanes, lane, shape, band, c0, c1, result)
        if not lanes.direct[lane]:
            lanes.pixel[lane] = -1
        return
    if lanes.phase[lane] == LAST:
        begin_errors(plan, options, rows, lanes, lane, NOT_CONVERGED, shape, band, c0, c1, result)
        return
    if lanes.settled[lane]:
        if options.literal or rescale(rows, lanes, lane, c0, c1, options, scratch):
            if options.smoothing_days > 0.0 and not lanes.expects[lane]:
                for c in range(c0, c1):
                    expect_smooth_velocity(plan, lanes, c, lane, options.smoothing_days)
                lanes.expects[lane] = True
                restart(lanes, lane)
            else:
                begin_errors(
                    plan, options, rows, lanes, lane, CONVERGED, shape, band, c0, c1, result
                )
                return
        else:
            lanes.held[lane] = False
    if not lanes.held[lane]:
        lanes.held[lane] = rescale(rows, lanes, lane, c0, c1, options, scratch)
    if lanes.scale[c0, lane] < 0.0:
        begin_errors(plan, options, rows, lanes, lane, NO_REDUNDANCY, shape, band, c0, c1, result)
        return
    lanes.active[lane] = 1.0
    lanes.phase[lane] = LAST if lanes.iterations[lane] >= options.max_iterations else FURTHER


@inner
def _sweep(
    plan: Plan, options: Options, cube: Block, whole: Combinations, whole_total: int, reach: I8,
    c0: int, c1: int, begin: int, stop: int, result: Result,
) -> None:  # fmt: skip
    """Invert the components ``c0`` to ``c1`` of a range of pixels together."""
    rows = empty_rows(plan.first_date.size, whole)
    lanes = empty_pixel_lanes(plan)
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
                taken = load_pixel(
                    plan, options, cube, rows, whole_total, lanes, lane, waiting, c0, c1, result
                )
                waiting += 1
                if taken and lanes.own[lane]:
                    links = links_of(lanes, rows, lane)
                    wider |= extend_reach(plan, links, lanes.total[lane], reach)
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
        assemble(plan, options, rows, total, shared, lanes, shape, envelope)
        factorise(shape, envelope, reciprocal, lanes.sound)
        solve(options, rows, total, shared, lanes, shape, envelope, reciprocal, c0, c1)
        inverse_in_envelope(shape, envelope, reciprocal, band, scratch)
        leverages(rows, total, shared, shape, band)
        scaling = False
        for lane in range(LANES):
            if lanes.pixel[lane] >= 0:
                scaling |= _take_solution(options, lanes, lane, c0, c1, result)
        step_to(rows, total, shared, lanes, c0, c1)
        if scaling and not options.literal:
            limit_scale(lanes, c0, c1)
            studentize(
                rows, total, c0, c1, lanes.limit, lanes.freedom, lanes.checked, lanes.smaller
            )
        for lane in range(LANES):
            lanes.active[lane] = 0.0
            lanes.fresh[lane] = 0.0
            lanes.image_strength[lane] = 0.0
        for lane in range(LANES):
            if lanes.pixel[lane] >= 0:
                _decide(plan, options, rows, lanes, lane, shape, band, c0, c1, cube.scratch, result)
        if np.any(lanes.direct):
            solve_for_errors(
                plan, options, rows, lanes, shape, envelope, reciprocal, c0, c1, result
            )
            for lane in range(LANES):
                if lanes.direct[lane]:
                    lanes.direct[lane] = False
                    lanes.pixel[lane] = -1


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
    cube = Block(
        velocity=velocity,
        sigma=sigma,
        order=order,
        own_rows=plan.combine,
        displacement=np.zeros((2, n)),
        variance=np.zeros((2, n)),
        valid=np.zeros(n, np.bool_),
        scratch=np.zeros(n + 1),
    )
    reach = least_reach(plan)
    extend_reach(plan, whole, whole_total, reach)
    for part in range(2 if options.literal else 1):
        c0, c1 = (part, part + 1) if options.literal else (0, 2)
        _sweep(plan, options, cube, whole, whole_total, reach, c0, c1, begin, stop, result)
