"""Errors of a solved pixel's displacements over the periods, compiled.

With X = N⁻¹AᵀW BY the errors of X have the covariance N⁻¹ M N⁻¹ (eq. 6), where

    M = σ² AᵀW B Σ BᵀWA + τ² L L + λ² κ² G,   N = L + λG,   L = AᵀWA,   G = ΓᵀΓ.

The first term is the noise of the pairs. The second are the errors of images: a pair's is the error
of position of its later image less that of its earlier one, so that BY carries A times the errors
at the nodes, whatever observations were combined. Since N⁻¹L = 1 - λN⁻¹G, what they bring to the
displacement c over a period *telescopes*: were it not for the regularisation it would be the error
at its end less that at its beginning, and with it the variance is

    τ² (cᵀc - 2λ cᵀN⁻¹Gc + λ² cᵀN⁻¹G²N⁻¹c).

The third term of M is the error that the regularisation makes by pulling the velocity changes, of
mean square κ², to what it expects; it matters only where few observations bind a value.

No solution per period is needed: N⁻¹ and G² are known where they have to be, and N⁻¹MN⁻¹ is minus
the derivative of (N + sM)⁻¹ at s = 0, whose entries in the envelope follow from one more selected
inversion. Where that difference quotient would be rounding, in networks that hardly anything but
the regularisation holds together, each period is solved for and the quadratic forms are summed up,
none of which is a difference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .combinations import Combinations
from .image_errors import image_variance, kept_in_residuals, roughness_of_positions
from .lanes import LANES, aligned, inner
from .network import Plan
from .propagation import (
    Result,
    period_spreads,
    read_off,
    report,
    unit_variance,
    variance_in_time,
    velocity_change,
)
from .rows import Rows
from .shared_observations import sharing
from .solver import Envelope, solve_two
from .state import ERRORS, NO_REDUNDANCY, Options, PixelLanes, links_of

__all__ = ["begin_errors", "end_errors", "solve_for_errors"]

F8 = NDArray[np.float64]

_STEP = 1e-5
"""s, relative to N: what the quotient leaves out of the variance is of this order."""

_ROUNDING = 1e3 * 2.0**-52
"""Relative to norm and condition of N⁻¹: a difference above is known to some thousandths."""

_KEPT_TWICE = 0.75
"""Σs² / Σs of shares s = 1 / (1 + f⁴) of frequencies f."""

_LEAST_KEPT = 1.0
"""Of fewer changes than this nothing can be told."""

_FEW = 4.0
"""With fewer degrees of freedom than these the variance is doubled."""


@inner
def begin_errors(
    plan: Plan, options: Options, rows: Rows, lanes: PixelLanes, lane: int, status: int,
    shape: Envelope, band: F8, c0: int, c1: int, result: Result,
) -> None:  # fmt: skip
    """Read off a pixel, and turn its lane to the system N + sM."""
    pixel, total = lanes.pixel[lane], lanes.total[lane]
    links = links_of(lanes, rows, lane)
    strength = options.regularisation
    result.iterations[pixel] = max(result.iterations[pixel], lanes.iterations[lane])
    result.status[pixel] = max(result.status[pixel], status)
    read_off(plan, links, rows, total, lane, lanes.solution, strength, c0, c1, result, pixel)
    report(links, rows, total, lane, plan.node_days.size - 1, result, pixel)
    noise = _variances(plan, options, links, rows, lanes, lane, status, shape, band, c0, c1, result)
    if np.isnan(noise):
        lanes.pixel[lane] = -1
        return
    change = _true_change(plan, rows, lanes, lane, strength, noise, c0, c1)
    steepest = np.max(plan.roughness[:, 0])
    lanes.pulled[lane] = strength * strength * change / noise
    shared = strength * strength * lanes.shared[lane]
    period_spreads(plan, shape, band, lane, lanes.spread[lane])
    if lanes.shared[lane] > 0.0:
        _telescope(plan, strength, shape, band, lane, lanes.telescoped[lane])
    lanes.rounding[lane] = _rounding_of(rows, total, lane, plan, strength, steepest, shape, band)
    # Four times the largest diagonal entry bounds the pentadiagonal G.
    most = max(
        lanes.pulled[lane] / max(strength, 1e-30), lanes.shared[lane] * strength * 4.0 * steepest
    )
    step = _STEP / max(1.0, most)
    lanes.step[lane] = step
    lanes.strength[lane] = strength + step * lanes.pulled[lane]
    lanes.image_strength[lane] = step * shared
    lanes.phase[lane] = ERRORS
    if not plan.combine:
        # Every row is an observation, of variance 1 / W0: N + s M has N's own form.
        for r in range(total):
            w = rows.weight[r, lane]
            if w > 0.0:
                rows.weight[r, lane] = w + step * w * w / rows.prior[r, lane]


@inner
def _true_change(
    plan: Plan, rows: Rows, lanes: PixelLanes, lane: int, strength: float, noise: float, c0: int,
    c1: int,
) -> float:  # fmt: skip
    """Mean square κ² of the true velocity changes, of which the solution shows a part.

    In the modes that diagonalise both L and G = ΓᵀΓ the solution keeps the share s of a change, so
    that its squares add up to κ² Σs² + σ² Σs(1 - s)/λ; Σs is the trace of the hat matrix less one
    for the mean velocity. Σs² / Σs is one where all is kept; where little is, and s falls with the
    fourth power of frequency, it is three quarters. The mean square of what the solution shows
    is the least: errors that do not follow σ² are in it.
    """
    if strength == 0.0:
        return 0.0
    kept = -1.0
    for r in range(lanes.total[lane]):
        if rows.factor[r, lane] > 0.0:
            kept += rows.leverage[r, lane]
    modes = plan.node_days.size - 2
    kept = min(max(kept, _LEAST_KEPT), max(modes, 1))
    square = _KEPT_TWICE + (1.0 - _KEPT_TWICE) * kept / max(modes, 1)
    shown = 0.0
    for c in range(c0, c1):
        shown += velocity_change(plan, lanes.solution, lanes.expected, c, lane)
    scatter = noise * (1.0 - square) * kept / strength
    return max((shown - scatter) / (square * kept), shown / max(modes, 1))


@inner
def _variances(
    plan: Plan, options: Options, links: Combinations, rows: Rows, lanes: PixelLanes, lane: int,
    status: int, shape: Envelope, band: F8, c0: int, c1: int, result: Result,
) -> float:  # fmt: skip
    """Find σ² and τ² of the components; returns the sum of σ², NaN where it cannot be told.

    Both components have the same τ² / σ², as they have the same weights.
    """
    pixel, total = lanes.pixel[lane], lanes.total[lane]
    residual, declared, gain, freedom = 0.0, 0.0, 0.0, 0.0
    shared = 1.0
    if plan.combine and not options.literal:
        shared = sharing(plan, links, rows, total, lane, lanes.obs_variance[lane], shape, band)
    for c in range(c0, c1):
        typical = lanes.typical[c, lane]
        unit = np.nan
        if status != NO_REDUNDANCY:
            found = unit_variance(
                rows, total, lanes.present[lane], lane, c, lanes.scale[c, lane], options.tukey_c,
                options.literal, shared,
            )  # fmt: skip
            unit = found.value
            gain += found.gain / (c1 - c0)
            freedom += found.freedom
        if np.isnan(unit):
            gain = np.nan
            unit = typical if options.declared else np.nan
        lanes.unit[c, lane] = unit
        result.scale[pixel, c] = np.sqrt(unit / typical) if options.declared else np.nan
        residual += unit
        declared += typical if options.declared else np.nan
    lanes.shared[lane] = 0.0
    if np.isnan(residual) or np.isnan(gain):
        return residual
    # Of a variance from few residuals the intervals follow a t distribution.
    wider = 1.0
    if not options.literal:
        wider = freedom / (freedom - 2.0) if freedom > _FEW else 2.0
    own, images = residual, (c1 - c0) * options.image_error_m**2
    if options.image_error_m != 0.0:
        kept = gain * kept_in_residuals(
            plan, links, rows, total, lane, options.regularisation, shape, band
        )
        if options.image_error_m < 0.0:
            roughness = roughness_of_positions(
                plan, links, rows, total, lane, lanes.solution, lanes.obs_variance[lane],
                lanes.newton[lane], c0, c1,
            )  # fmt: skip
            images = image_variance(roughness, residual, declared, kept)
        own = max(residual - kept * images, 0.1 * residual)
    lanes.shared[lane] = images / (own * wider)
    for c in range(c0, c1):
        result.image[pixel, c] = np.sqrt(images * lanes.unit[c, lane] / residual)
        lanes.unit[c, lane] *= own * wider / residual
    return own * wider


@inner
def _telescope(
    plan: Plan, strength: float, shape: Envelope, band: F8, lane: int, telescoped: F8
) -> None:
    """Compute cᵀc - 2λ cᵀN⁻¹Gc for the displacement c over each period."""
    nodes = plan.node_days.size
    for k in range(telescoped.size):
        a, b = plan.period_node[k], plan.period_node[k + 1]
        f, g = plan.period_fraction[k], plan.period_fraction[k + 1]
        node = (a, a + 1, b, b + 1)
        part = (f - 1.0, -f, 1.0 - g, g)
        total = 0.0
        for i in range(4):
            if part[i] == 0.0:
                continue
            for j in range(4):
                if node[i] == node[j]:
                    total += part[i] * part[j]
                if node[i] == 0 or part[j] == 0.0:
                    continue
                for other in range(max(node[j] - 2, 1), min(node[j] + 3, nodes)):
                    rough = plan.roughness[max(other, node[j]), abs(other - node[j])]
                    at = (node[i] - 1) * shape.stride + shape.half_width + other - 1
                    inverse = band[LANES * at + lane]
                    total -= 2.0 * strength * part[i] * part[j] * inverse * rough
        telescoped[k] = total


@inner
def _rounding_of(
    rows: Rows, total: int, lane: int, plan: Plan, strength: float, steepest: float,
    shape: Envelope, band: F8,
) -> float:  # fmt: skip
    """Bound the rounding of N⁻¹: unit roundoff times its norm times the condition of N."""
    heaviest, largest = 0.0, 0.0
    for r in range(total):
        heaviest += rows.weight[r, lane]
    # The mean weight of a node, doubled: rows have two nodes each.
    heaviest = 4.0 * heaviest / plan.node_days.size + 4.0 * strength * steepest
    for k in range(plan.node_days.size - 1):
        largest = max(largest, band[LANES * (k * (shape.stride + 1) + shape.half_width) + lane])
    return _ROUNDING * heaviest * largest * largest


@inner
def end_errors(
    plan: Plan, lanes: PixelLanes, lane: int, shape: Envelope, band: F8, c0: int, c1: int,
    result: Result,
) -> bool:  # fmt: skip
    """Write the errors over the periods; False if rounding asks for `solve_for_errors`."""
    pixel = lanes.pixel[lane]
    moved = np.empty(lanes.spread.shape[1])
    period_spreads(plan, shape, band, lane, moved)
    for k in range(moved.size):
        fell = lanes.spread[lane, k] - moved[k]
        if np.isfinite(result.displacement[pixel, c0, k]) and fell < lanes.rounding[lane]:
            return False
        moved[k] = fell / lanes.step[lane]
        if lanes.shared[lane] > 0.0:
            moved[k] += lanes.shared[lane] * lanes.telescoped[lane, k]
    for k in range(moved.size):
        _write(lanes, lane, k, max(moved[k], 0.0), c0, c1, result)
    return True


@inner
def _write(
    lanes: PixelLanes, lane: int, k: int, variance: float, c0: int, c1: int, result: Result
) -> None:
    """Write the errors of one period from its variance for σ² = 1.

    To periods that no observation covers the pixel's own variability in time is added.
    """
    pixel = lanes.pixel[lane]
    for c in range(c0, c1):
        if np.isfinite(result.displacement[pixel, c, k]):
            square = lanes.unit[c, lane] * variance
            if result.observations[pixel, k] == 0:
                square += variance_in_time(result, pixel, c)
            result.error[pixel, c, k] = np.sqrt(square)


@inner
def solve_for_errors(
    plan: Plan, options: Options, rows: Rows, lanes: PixelLanes, shape: Envelope, envelope: F8,
    reciprocal: F8, c0: int, c1: int, result: Result,
) -> None:  # fmt: skip
    """Write the errors of those lanes whose ``direct`` is set, period by period.

    With u = N⁻¹c the variance is uᵀMu: a sum over observations of their noise, one over nodes of
    the images' errors c - λGu, and one over the velocity changes Γu.
    """
    nodes, periods = plan.node_days.size, plan.period_node.size - 1
    rows_of = shape.at.size
    both = aligned(2 * rows_of).reshape(2, rows_of, LANES)
    for k in range(0, periods, 2):
        both[:] = 0.0
        for p in range(2):
            if k + p < periods:
                _put_period(plan, k + p, both[p])
        solve_two(shape, envelope, reciprocal, both[0], both[1])
        for p in range(min(2, periods - k)):
            for lane in range(LANES):
                if lanes.direct[lane]:
                    u = np.zeros(nodes)
                    for node in range(1, nodes):
                        u[node] = both[p, node - 1, lane]
                    variance = _noise_through(
                        plan, links_of(lanes, rows, lane), rows, lanes, lane, u
                    )
                    variance += _roughness_through(
                        plan, k + p, options.regularisation, lanes.pulled[lane],
                        lanes.shared[lane], u,
                    )  # fmt: skip
                    _write(lanes, lane, k + p, variance, c0, c1, result)


@inner
def _put_period(plan: Plan, k: int, right: F8) -> None:
    """Write the displacement over a period as a combination of nodes, the same in all lanes."""
    for end, sign in ((k, -1.0), (k + 1, 1.0)):
        a, f = plan.period_node[end], plan.period_fraction[end]
        for node, part in ((a, 1.0 - f), (a + 1, f)):
            if node > 0 and part != 0.0:
                for lane in range(LANES):
                    right[node - 1, lane] += sign * part


@inner
def _noise_through(
    plan: Plan, links: Combinations, rows: Rows, lanes: PixelLanes, lane: int, u: F8
) -> float:
    """Compute uᵀAᵀW B Σ BᵀWAu."""
    total = 0.0
    share = np.zeros(plan.first_date.size if plan.combine else 0)
    for r in range(lanes.total[lane]):
        w = rows.weight[r, lane]
        if w <= 0.0:
            continue
        moved = w * (u[links.end[r]] - u[links.start[r]])
        if plan.combine:
            for k in range(links.members[r]):
                share[links.member[r, k]] += links.sign[r, k] * moved
        else:
            total += moved * moved / rows.prior[r, lane]
    for y in range(share.size):
        total += share[y] * share[y] * lanes.obs_variance[lane, y]
    return total


@inner
def _roughness_through(
    plan: Plan, k: int, strength: float, pulled: float, shared: float, u: F8
) -> float:
    """Compute pulled · uᵀGu + shared · ‖c - λGu‖² for the displacement c over a period."""
    nodes = u.size
    left = np.zeros(nodes)
    for end, sign in ((k, -1.0), (k + 1, 1.0)):
        a, f = plan.period_node[end], plan.period_fraction[end]
        left[a] += sign * (1.0 - f)
        if f > 0.0:
            left[a + 1] += sign * f
    total = 0.0
    for i in range(nodes):
        rough = 0.0
        for j in range(max(i - 2, 0), min(i + 3, nodes)):
            rough += plan.roughness[max(i, j), abs(i - j)] * u[j]
        total += pulled * u[i] * rough
        left[i] -= strength * rough
    for i in range(nodes):
        total += shared * left[i] * left[i]
    return max(total, 0.0)
