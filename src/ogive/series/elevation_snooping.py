"""Data snooping of series: pairs that fail the w-test are left out, or taken back; compiled.

As in `ogive.correction.orthorectification.snooping`, with the inverse taken from the envelope.
"""

from __future__ import annotations

import numpy as np

from .elevation_plan import Plan
from .elevation_system import SLOTS, Choices, Work, at, solve
from .lanes import LANES, inner
from .solver import Envelope, inverse_in_envelope

__all__ = ["reject"]

_MEDIAN = 1.3863  # of chi-squared with two degrees of freedom
_FEWEST_FOR_SCALE = 8
_LEAST_SCALE = 0.04
_ROUNDS = 8


@inner
def _test(plan: Plan, choices: Choices, shape: Envelope, work: Work) -> None:
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
                if work.separable[slot]:
                    answer = at(work.response, q, lane) - at(work.response, p, lane)
                    spread += answer * answer / work.information[slot]
                own = work.variance[slot, c, i]
                total = own - spread if work.active[slot, i] else own + spread
                e = work.observed[slot, c, i] - at(work.motion, q, lane) + at(work.motion, p, lane)
                if total > 1e-3 * own:
                    work.statistic[slot, i] += e * e / total


@inner
def _spread(shape: Envelope, work: Work, lane: int, p: int, q: int) -> float:
    """Quadratic form of the inverse for node q less node p, which share a row of the envelope."""
    total = 0.0
    for i, j, sign in ((p, p, 1.0), (q, q, 1.0), (p, q, -2.0)):
        if i > 0 and j > 0:
            place = (i - 1) * shape.stride + shape.half_width + (j - 1)
            total += sign * work.band[LANES * place + lane]
    return total


@inner
def _scale_of(choices: Choices, work: Work, slot: int) -> float:
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
def _snoop(choices: Choices, work: Work, slot: int, first: bool) -> bool:
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
def reject(plan: Plan, choices: Choices, shape: Envelope, work: Work) -> None:
    """Rounds of solving and testing until no pair changes sides; ends with a solution."""
    solve(plan, choices, shape, work)
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
            solve(plan, choices, shape, work)
