"""What is known of ice beyond the images: terms on a flow that training can lower.

A *flow* is a tensor ``(batch, 2, ...)`` of dx (to the right) and dy (down) in pixels, from the
earlier image to the later one, as ``displacement`` is in the samples; on a regular grid of points
it is ``(batch, 2, y, x)`` and ``spacing`` is the distance between points. `soft_argmax` makes one
from correlation surfaces. Each term is the mean of a penalty over the points that count, a tensor
without dimensions, differentiable in the flow; where no point counts it is zero.

No term is true everywhere: ice tears at its margins and leaves at its front. So each takes a mask
of the points it may judge (`away_from_margins` makes one), and a point outside the mask has neither
weight nor gradient, whatever its value. A point without a flow (NaN) does not count either.

`PHYSICS_TERMS` holds the terms by name, as functions of a flow and of the `Evidence` that goes with
it. The functions behind them know no units but those of their arguments: with velocities in m/yr
and a spacing in metres they work as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ogive.model import InputError

__all__ = [
    "PHYSICS_TERMS",
    "Evidence",
    "SoftFlow",
    "StrainRates",
    "away_from_margins",
    "bounded_divergence",
    "closure",
    "direction_weight",
    "downslope_direction",
    "physics_terms",
    "smooth_strain_rate",
    "soft_argmax",
    "stable_ground",
    "strain_rates",
    "surface_gradient",
]

LEAST_CORRELATION = -1.5
"""Below it a candidate was not judged (`ogive.matching.correlate.NO_CANDIDATE` is -2)."""
STABLE_HUBER_PX = 0.2
"""Two standard deviations of a good match of 16 px on stable ground (0.1 px)."""
CLOSURE_HUBER_PX = 0.35
"""The same for a sum of three matches: 2 sqrt(3) 0.1 px."""
MATCH_ERROR_PX = 0.05
"""Error of a good match; through second differences it sets where a bend of the flow is real."""
DIVERGENCE_LIMIT_PER_YR = 0.1
"""Ice 100 m thick that thickens or thins by 10 m/yr, as fast as emergence makes up for melt."""
SPEED_SCALE_PX = 0.5
SLOPE_SCALE = 0.05
TINY = 1e-12


class SoftFlow(NamedTuple):
    """Expected displacement of a distribution over candidates, and how wide that is.

    Attributes
    ----------
    flow
        ``(batch, 2, ...)``: dx and dy in pixels.
    variance
        ``(batch, ...)``: mean of the variances along x and y, in squared pixels.
    """

    flow: Tensor
    variance: Tensor


class StrainRates(NamedTuple):
    """Components of the symmetric gradient of the flow, ``(batch, y - 2, x - 2)`` each."""

    xx: Tensor
    yy: Tensor
    xy: Tensor


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What goes with a flow; a term needs only some of it.

    Attributes
    ----------
    spacing_px
        Distance between the points of the flow's grid.
    stable
        ``(batch, ...)``, True on ground known not to move.
    interior
        ``(batch, ...)``, True on ice away from margins and terminus.
    years
        ``(batch,)``: time between the images.
    slope
        ``(batch, 2, ...)``: gradient of the surface's height to the right and down, in m/m.
    later, direct
        Flows of the triplet beside this one: from the second image to the third, and from the first
        to the third.
    """

    spacing_px: float = 1.0
    stable: Tensor | None = None
    interior: Tensor | None = None
    years: Tensor | None = None
    slope: Tensor | None = None
    later: Tensor | None = None
    direct: Tensor | None = None


# ---- from correlation to flow --------------------------------------------------------------------


def soft_argmax(
    surface: Tensor,
    *,
    temperature: float | Tensor,
    around: Tensor | None = None,
    step_px: float = 1.0,
) -> SoftFlow:
    r"""Expected displacement under :math:`\mathrm{softmax}(\rho / T)` over the candidates.

    The differentiable stand-in for the place of the peak (the soft argmin of Kendall et al. 2017,
    GC-Net). It is drawn towards the middle of the candidates unless the temperature is well below
    the height of the peak above the rest.

    Parameters
    ----------
    surface
        ``(batch, ..., candidate y, candidate x)``: correlation of each candidate; the middle one
        stands for no displacement (from ``around``). Candidates that were not judged are below
        `LEAST_CORRELATION` or NaN, and take no part.
    temperature
        In units of the correlation: 0.02 to 0.1 for normalised correlation.
    around
        ``(batch, 2, ...)``: displacement of the middle candidate, in pixels; zero if left out.
    step_px
        Distance between candidates.

    Returns
    -------
    SoftFlow
        NaN where no candidate was judged.

    Raises
    ------
    InputError
        Surfaces without two axes of candidates, or a temperature that is not positive.

    Examples
    --------
    >>> surface = torch.zeros(1, 1, 5, 5)
    >>> surface[0, 0, 1, 4] = 1.0
    >>> [round(float(d), 3) for d in soft_argmax(surface, temperature=0.05).flow[0, :, 0]]
    [2.0, -1.0]
    """
    if surface.ndim < 3:
        raise InputError(
            f"a surface of shape {tuple(surface.shape)}: (batch, points, y, x) is needed"
        )
    if float(torch.as_tensor(temperature).detach().min()) <= 0:
        raise InputError(f"a temperature of {temperature}: it must be above zero")
    rows, columns = surface.shape[-2:]
    judged = surface > LEAST_CORRELATION
    some = judged.flatten(-2).any(-1)
    cold = torch.where(judged, surface, 0.0) / temperature
    cold = cold.masked_fill(~judged, float("-inf"))
    # Where nothing was judged the sum would be empty; the result is set to NaN below.
    cold = torch.where(some[..., None, None], cold, 0.0)
    share = torch.softmax(cold.flatten(-2), -1).reshape(surface.shape)
    offset_x, offset_y = (
        step_px
        * (torch.arange(count, dtype=surface.dtype, device=surface.device) - (count - 1) / 2)
        for count in (columns, rows)
    )
    share_x, share_y = share.sum(-2), share.sum(-1)
    dx, dy = (share_x * offset_x).sum(-1), (share_y * offset_y).sum(-1)
    variance = (
        (share_x * (offset_x - dx[..., None]) ** 2).sum(-1)
        + (share_y * (offset_y - dy[..., None]) ** 2).sum(-1)
    ) / 2
    flow = torch.stack([dx, dy], 1)
    if around is not None:
        flow = flow + around
    nothing = float("nan")
    return SoftFlow(torch.where(some[:, None], flow, nothing), torch.where(some, variance, nothing))


# ---- terms ---------------------------------------------------------------------------------------


def stable_ground(
    flow: Tensor,
    stable: Tensor,
    *,
    shift: Tensor | None = None,
    huber: float = STABLE_HUBER_PX,
) -> Tensor:
    """Rock does not move: Huber's penalty (1964) of the flow's length on stable ground.

    Parameters
    ----------
    flow
        ``(batch, 2, ...)``, in pixels.
    stable
        ``(batch, ...)``, True on ground known not to move.
    shift
        ``(batch, 2)``: how far the later image is displaced as a whole, in pixels.
    huber
        Length up to which the penalty is half the square, in pixels.

    Returns
    -------
    torch.Tensor
        Squared pixels.

    Examples
    --------
    >>> flow = torch.tensor([[[0.0, 0.1], [0.0, 0.0]]])
    >>> round(float(stable_ground(flow, torch.tensor([[True, True]]))), 5)
    0.0025
    """
    _check_flow(flow, stable, "stable")
    if shift is not None:
        flow = flow - shift.reshape(*shift.shape, *(1,) * (flow.ndim - 2))
    judged = _measured(stable, flow)
    return _mean(_huber((_only(flow, judged) ** 2).sum(1), huber), judged)


def strain_rates(flow: Tensor, *, spacing: float) -> StrainRates:
    """Strain rates of a flow by central differences, on all but the outermost points.

    Parameters
    ----------
    flow
        ``(batch, 2, y, x)``; the unit of the result is the flow's over that of ``spacing``: pixels
        over pixels are the strain between the two images.
    spacing
        Distance between points.

    Examples
    --------
    Ice that is stretched along x by a tenth:

    >>> x = torch.arange(4.0).expand(1, 4, 4)
    >>> stretched = torch.stack([0.1 * x, 0.0 * x], 1)
    >>> round(float(strain_rates(stretched, spacing=1.0).xx.mean()), 3)
    0.1
    """
    right, down = _first_differences(flow, spacing)
    return StrainRates(right[:, 0], down[:, 1], (right[:, 1] + down[:, 0]) / 2)


def smooth_strain_rate(
    flow: Tensor,
    interior: Tensor,
    *,
    spacing: float,
    huber: float,
) -> Tensor:
    r"""Strain rates change slowly away from margins: Huber's penalty of their gradient.

    .. math:: |\nabla\dot\varepsilon|^2 = \sum_k \left(\dot\varepsilon_{xx,k}^2 +
        \dot\varepsilon_{yy,k}^2 + 2\,\dot\varepsilon_{xy,k}^2\right)

    does not depend on the axes, and is zero for any translation, rotation, stretching and shear
    that is the same everywhere. Ice is sheared smoothly except where it slips past rock; along-flow
    strain rates as a measure of a velocity map's quality: Zheng et al. (2023), GLAFT.

    Parameters
    ----------
    flow
        ``(batch, 2, y, x)``, a length, or a length over time.
    interior
        ``(batch, y, x)``, True where the ice is away from margins and terminus; a point counts when
        its eight neighbours are too.
    spacing
        Distance between points, a length.
    huber
        Gradient up to which the penalty is half its square, in the flow's unit over that of
        ``spacing`` squared.

    Returns
    -------
    torch.Tensor
        In squares of ``huber``'s unit.
    """
    _check_flow(flow, interior, "interior")
    _check_grid(flow)
    judged = _measured(interior, flow)
    flow = _only(flow, judged)
    middle = flow[..., 1:-1, 1:-1]
    along_x = flow[..., 1:-1, 2:] - 2 * middle + flow[..., 1:-1, :-2]
    along_y = flow[..., 2:, 1:-1] - 2 * middle + flow[..., :-2, 1:-1]
    crossed = (
        flow[..., 2:, 2:] - flow[..., 2:, :-2] - flow[..., :-2, 2:] + flow[..., :-2, :-2]
    ) / 4
    (u_xx, v_xx), (u_yy, v_yy), (u_xy, v_xy) = (
        (part[:, 0] / spacing**2, part[:, 1] / spacing**2) for part in (along_x, along_y, crossed)
    )
    squared = u_xx**2 + u_xy**2 + v_xy**2 + v_yy**2 + ((u_xy + v_xx) ** 2 + (u_yy + v_xy) ** 2) / 2
    return _mean(_huber(squared, huber), _eroded(judged))


def bounded_divergence(
    flow: Tensor,
    interior: Tensor,
    *,
    spacing: float,
    limit: float | Tensor,
) -> Tensor:
    r"""Ice is not made or lost at once: :math:`\max(|\nabla\cdot u| - \epsilon, 0)`.

    Mass conservation :math:`\nabla\cdot(h\bar u) = \dot b - \partial h/\partial t` needs the
    thickness h; of the surface alone it leaves a bound on the divergence, since neither mass
    balance nor thickening is without limit. After the mass terms of Jouvet & Cordonnier (2023) and
    Bente et al. (2025).

    Parameters
    ----------
    flow, interior, spacing
        As for `smooth_strain_rate`.
    limit
        Divergence that is free, in the unit of flow over spacing: a number or ``(batch,)``.

    Returns
    -------
    torch.Tensor
        In the unit of ``limit``.
    """
    _check_flow(flow, interior, "interior")
    _check_grid(flow)
    judged = _measured(interior, flow)
    right, down = _first_differences(_only(flow, judged), spacing)
    divergence = right[:, 0] + down[:, 1]
    free = torch.as_tensor(limit, dtype=flow.dtype, device=flow.device)
    excess = divergence.abs() - (free[:, None, None] if free.ndim else free)
    return _mean(excess.clamp(min=0.0), _eroded(judged))


def direction_weight(
    flow: Tensor,
    slope: Tensor,
    *,
    speed_scale: float = SPEED_SCALE_PX,
    slope_scale: float = SLOPE_SCALE,
) -> Tensor:
    """How much the direction of the surface slope says of the flow's, from 0 to 1.

    Flat ice may flow anywhere, and the direction of ice that hardly moves is noise: each factor is
    a half at its scale. It is held constant in the gradient, or standing still would be a way out.

    Parameters
    ----------
    flow, slope
        ``(batch, 2, ...)``; see `downslope_direction`.
    speed_scale, slope_scale
        In the unit of the flow, and in m/m.

    Returns
    -------
    torch.Tensor
        ``(batch, ...)``, without gradient.
    """
    with torch.no_grad():
        speed, steepness = _length(flow), _length(slope)
        return speed / (speed + speed_scale) * steepness / (steepness + slope_scale)


def downslope_direction(
    flow: Tensor,
    slope: Tensor,
    interior: Tensor,
    *,
    weight: Tensor,
) -> Tensor:
    r"""Ice flows where its surface falls: weighted mean of :math:`1 - \cos(u, -\nabla s)`.

    The driving stress points down the surface slope, taken over several ice thicknesses (Cuffey &
    Paterson 2010). The direction of flow as a constraint on matches: Lüttig et al. (2017).

    Parameters
    ----------
    flow
        ``(batch, 2, ...)``, of any unit.
    slope
        ``(batch, 2, ...)``: gradient of the surface's height to the right and down; smoothed, see
        `surface_gradient`.
    interior
        ``(batch, ...)``, True where the term holds.
    weight
        ``(batch, ...)``, not negative; see `direction_weight`.

    Returns
    -------
    torch.Tensor
        From 0 (downslope) to 2 (upslope).

    Examples
    --------
    The surface falls to the right, the ice flows across:

    >>> flow, slope = torch.tensor([[[0.0], [3.0]]]), torch.tensor([[[-0.1], [0.0]]])
    >>> one = torch.ones(1, 1)
    >>> round(float(downslope_direction(flow, slope, one > 0, weight=one)), 6)
    1.0
    """
    _check_flow(flow, interior, "interior")
    known = _measured(interior, flow, slope)
    flow, slope = _only(flow, known), _only(slope, known)
    cosine = -(flow * slope).sum(1) / (_length(flow) * _length(slope))
    weight = torch.where(known, weight, 0.0)
    return ((1 - cosine) * weight).sum() / weight.sum().clamp(min=TINY)


def closure(
    first: Tensor,
    second: Tensor,
    direct: Tensor,
    usable: Tensor | None = None,
    *,
    spacing: float,
    huber: float = CLOSURE_HUBER_PX,
) -> Tensor:
    r"""Two steps lead where one does: Huber's penalty of :math:`d_{12}(x)+d_{23}(x+d_{12})-d_{13}`.

    A point at x in the first image is at x + d12(x) in the second, and there d23 is read, between
    its points bilinearly. The constraint of triplet matching (Altena & Kääb 2017) and of temporal
    inversion (Charrier et al. 2022).

    Parameters
    ----------
    first, second, direct
        ``(batch, 2, y, x)``: d12 and d13 at points of the first image, d23 at the same grid of
        points in the second one.
    usable
        ``(batch, y, x)``, True where all three may be judged: not on what calves or is cut off in
        between. A point whose second step needs a point outside it does not count.
    spacing
        Distance between points, in the unit of the flows.
    huber
        Residual up to which the penalty is half its square, in pixels.

    Returns
    -------
    torch.Tensor
        Squared pixels.
    """
    if not first.shape == second.shape == direct.shape:
        shapes = ", ".join(str(tuple(flow.shape)) for flow in (first, second, direct))
        raise InputError(f"the three flows of a triplet have different shapes: {shapes}")
    if usable is None:
        usable = torch.ones_like(first[:, 0], dtype=torch.bool)
    _check_flow(first, usable, "usable")
    _check_grid(first)
    start, end = _measured(usable, first, direct), _measured(usable, second)
    first, second, direct = (
        _only(flow, mask) for flow, mask in ((first, start), (second, end), (direct, start))
    )
    rows, columns = first.shape[-2:]
    row = torch.arange(rows, dtype=first.dtype, device=first.device)[:, None]
    column = torch.arange(columns, dtype=first.dtype, device=first.device)
    # grid_sample counts from -1 at the first point to 1 at the last one.
    x = 2 * (column + first[:, 0] / spacing) / (columns - 1) - 1
    y = 2 * (row + first[:, 1] / spacing) / (rows - 1) - 1
    places = torch.stack([x, y], -1)
    carried = functional.grid_sample(second, places, align_corners=True)
    with torch.no_grad():
        all_there = end[:, None].to(first.dtype)
        there = functional.grid_sample(all_there, places, align_corners=True)[:, 0] > 1 - 1e-4
    residual = first + carried - direct
    return _mean(_huber((residual**2).sum(1), huber), start & there)


# ---- where terms hold, and the slope -------------------------------------------------------------


def away_from_margins(ice: Tensor, *, points: int, terminus: Tensor | None = None) -> Tensor:
    """Ice that is at least so many points away from its margin, its front and the grid's edge.

    Parameters
    ----------
    ice
        ``(batch, y, x)``, True on ice in both images.
    points
        Distance along either axis, in points of the grid; at least half a window.
    terminus
        ``(batch, y, x)``, True where the front is or was: kept away from, too.

    Returns
    -------
    torch.Tensor
        ``(batch, y, x)`` of bool.

    Examples
    --------
    >>> ice = torch.ones(1, 5, 5, dtype=torch.bool)
    >>> int(away_from_margins(ice, points=2).sum())
    1
    """
    if points < 0:
        raise InputError(f"a distance of {points} points from the margin: it cannot be negative")
    left = ice if terminus is None else ice & ~terminus
    outside = functional.pad((~left).to(torch.float32), [points] * 4, value=1.0)
    near = functional.max_pool2d(outside[:, None], 2 * points + 1, stride=1)[:, 0]
    return near < 0.5


def surface_gradient(elevation_m: Tensor, *, spacing_m: float, smoothing_m: float) -> Tensor:
    """Gradient of a surface to the right and down, smoothed as ice feels it.

    Parameters
    ----------
    elevation_m
        ``(batch, y, x)``: height of the surface.
    spacing_m
        Distance between its points.
    smoothing_m
        Standard deviation of the Gaussian taken over the surface: some two ice thicknesses, so that
        its width is several (Cuffey & Paterson 2010). 0 for none.

    Returns
    -------
    torch.Tensor
        ``(batch, 2, y, x)``, in m/m.
    """
    height = elevation_m[:, None]
    reach = int(4 * smoothing_m / spacing_m + 0.5)
    if reach:
        offset = torch.arange(-reach, reach + 1, dtype=height.dtype, device=height.device)
        taps = torch.exp(-0.5 * (offset * spacing_m / smoothing_m) ** 2)
        taps = taps / taps.sum()
        height = functional.pad(height, [reach] * 4, mode="replicate")
        height = functional.conv2d(height, taps[None, None, :, None])
        height = functional.conv2d(height, taps[None, None, None, :])
    down, right = torch.gradient(height[:, 0], spacing=spacing_m, dim=(1, 2))
    return torch.stack([right, down], 1)


# ---- by name -------------------------------------------------------------------------------------


def _needed(evidence: Evidence, term: str, name: str) -> Tensor:
    value = getattr(evidence, name)
    if value is None:
        raise InputError(f"the physics term {term!r} needs Evidence(..., {name}=...): give it")
    assert isinstance(value, Tensor)
    return value


def _stable_ground(flow: Tensor, evidence: Evidence) -> Tensor:
    return stable_ground(flow, _needed(evidence, "stable_ground", "stable"))


def _smooth_strain_rate(flow: Tensor, evidence: Evidence) -> Tensor:
    spacing = evidence.spacing_px
    # Errors of independent matches reach sqrt(1 + 4 + 1) times their own in a second difference.
    huber = 6**0.5 * MATCH_ERROR_PX / spacing**2
    interior = _needed(evidence, "smooth_strain_rate", "interior")
    # In units of what errors make, so that weights mean the same at any spacing.
    return smooth_strain_rate(flow, interior, spacing=spacing, huber=huber) / huber**2


def _bounded_divergence(flow: Tensor, evidence: Evidence) -> Tensor:
    interior = _needed(evidence, "bounded_divergence", "interior")
    years = _needed(evidence, "bounded_divergence", "years")
    limit = DIVERGENCE_LIMIT_PER_YR * years
    return bounded_divergence(flow, interior, spacing=evidence.spacing_px, limit=limit)


def _downslope_direction(flow: Tensor, evidence: Evidence) -> Tensor:
    slope = _needed(evidence, "downslope_direction", "slope")
    interior = _needed(evidence, "downslope_direction", "interior")
    weight = direction_weight(flow, slope)
    return downslope_direction(flow, slope, interior, weight=weight)


def _closure(flow: Tensor, evidence: Evidence) -> Tensor:
    return closure(
        flow,
        _needed(evidence, "closure", "later"),
        _needed(evidence, "closure", "direct"),
        evidence.interior,
        spacing=evidence.spacing_px,
    )


PHYSICS_TERMS: Mapping[str, Callable[[Tensor, Evidence], Tensor]] = MappingProxyType(
    {
        "stable_ground": _stable_ground,
        "smooth_strain_rate": _smooth_strain_rate,
        "downslope_direction": _downslope_direction,
        "closure": _closure,
        "bounded_divergence": _bounded_divergence,
    }
)
"""The terms by name, of a flow in pixels and its `Evidence`.

``stable_ground`` and ``closure`` are in squared pixels; ``smooth_strain_rate`` in squares of what
the error of a match makes; ``downslope_direction`` from 0 to 2; ``bounded_divergence`` is the
strain between the two images beyond what 0.1 per year would give.
"""


def physics_terms(flow: Tensor, evidence: Evidence, names: Iterable[str]) -> dict[str, Tensor]:
    """Give the named terms of a flow.

    Parameters
    ----------
    flow
        ``(batch, 2, y, x)``, in pixels.
    evidence
        What goes with it.
    names
        From `PHYSICS_TERMS`.

    Returns
    -------
    dict
        Each term by its name, in the order of the names.

    Raises
    ------
    InputError
        An unknown term, or one whose evidence is missing.

    Examples
    --------
    >>> still = torch.zeros(1, 2, 4, 4)
    >>> evidence = Evidence(stable=torch.ones(1, 4, 4, dtype=torch.bool))
    >>> physics_terms(still, evidence, ["stable_ground"])
    {'stable_ground': tensor(0.)}
    """
    chosen = list(names)
    for name in chosen:
        if name not in PHYSICS_TERMS:
            raise InputError(f"no physics term {name!r}: there are {', '.join(PHYSICS_TERMS)}")
    return {name: PHYSICS_TERMS[name](flow, evidence) for name in chosen}


# ---- small parts ---------------------------------------------------------------------------------


def _check_flow(flow: Tensor, mask: Tensor, name: str) -> None:
    if flow.ndim < 3 or flow.shape[1] != 2:
        raise InputError(f"a flow of shape {tuple(flow.shape)}: (batch, 2, ...) is needed")
    if mask.dtype != torch.bool or mask.shape != (flow.shape[0], *flow.shape[2:]):
        raise InputError(
            f"the mask {name!r} is {mask.dtype} of shape {tuple(mask.shape)}: bool of shape"
            f" {(flow.shape[0], *flow.shape[2:])} is needed"
        )


def _check_grid(flow: Tensor) -> None:
    if flow.ndim != 4 or min(flow.shape[-2:]) < 3:
        raise InputError(
            f"a flow of shape {tuple(flow.shape)}: a grid of at least 3 x 3 points,"
            " (batch, 2, y, x), is needed to take differences"
        )


def _measured(mask: Tensor, *fields: Tensor) -> Tensor:
    """Where the mask is True and each field has a value."""
    for field in fields:
        mask = mask & torch.isfinite(field).all(1)
    return mask


def _only(values: Tensor, mask: Tensor) -> Tensor:
    """Values where the mask is True, zero without gradient elsewhere."""
    return torch.where(mask[:, None], values, 0.0)


def _eroded(mask: Tensor) -> Tensor:
    """Inner points all of whose eight neighbours are in the mask."""
    outside = (~mask).to(torch.float32)[:, None]
    return functional.max_pool2d(outside, 3, stride=1)[:, 0] < 0.5


def _first_differences(flow: Tensor, spacing: float) -> tuple[Tensor, Tensor]:
    """Central differences to the right and down, on inner points."""
    right = (flow[..., 1:-1, 2:] - flow[..., 1:-1, :-2]) / (2 * spacing)
    down = (flow[..., 2:, 1:-1] - flow[..., :-2, 1:-1]) / (2 * spacing)
    return right, down


def _length(vectors: Tensor) -> Tensor:
    """Length of vectors along axis 1, with a gradient at zero."""
    return torch.sqrt((vectors**2).sum(1) + TINY)


def _huber(squared: Tensor, threshold: float) -> Tensor:
    """Huber's penalty of a length given by its square: smooth at zero, linear far away."""
    far = threshold * torch.sqrt(squared.clamp(min=threshold**2)) - threshold**2 / 2
    return torch.where(squared <= threshold**2, squared / 2, far)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the mask; zero, with a gradient of zero, where it is empty."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
