"""Scores of measured motion: against truth, on stable ground, by closure, against others' offsets.

All are functions of arrays or of displacement Datasets; none knows how the motion was measured, so
that every producer's result is judged by the same figures.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage, stats

from ogive.correction.grid import axes, on_grid, require
from ogive.correction.robust import nmad
from ogive.correction.spatial import sum_covariance
from ogive.model import InputError

__all__ = [
    "ComponentStatistics",
    "IntervalCoverage",
    "MotionScore",
    "OffsetComparison",
    "StableGroundStatistics",
    "closure",
    "compare_offsets",
    "forward_backward",
    "interval_coverage",
    "score",
    "stable_ground_statistics",
]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MotionScore:
    """How far a displacement lies from the true one; lengths in its own unit.

    Parameters
    ----------
    count
        Points judged: where the truth is known and ``valid``.
    coverage
        Share of them with a measurement.
    outlier_share
        Share of these that lie farther from the truth than the limit, as a vector.
    rmse
        Of the components of the others, the inliers.
    bias
        Mean error of the inliers' components, both together.
    bias_x, bias_y
        Of each.
    nmad
        Robust spread of all measured components' errors.
    """

    count: int
    coverage: float
    outlier_share: float
    rmse: float
    bias: float
    bias_x: float
    bias_y: float
    nmad: float


def score(
    dx: npt.ArrayLike,
    dy: npt.ArrayLike,
    truth_dx: npt.ArrayLike,
    truth_dy: npt.ArrayLike,
    valid: npt.ArrayLike | None = None,
    *,
    outlier_limit: float = 1.0,
) -> MotionScore:
    """Compare a displacement with the true one.

    Parameters
    ----------
    dx, dy
        Measured, NaN where there is none.
    truth_dx, truth_dy
        True, of the same shape (or broadcast to it), NaN where unknown.
    valid
        True where the measurement is to be judged (its window has not changed).
    outlier_limit
        Length of the error vector above which a point is an outlier: one pixel, for displacements
        in pixels.

    Returns
    -------
    MotionScore

    Raises
    ------
    InputError
        Shapes that do not fit, a limit that is not positive.

    Examples
    --------
    >>> judged = score([0.1, 5.0, np.nan], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    >>> round(judged.coverage, 3), judged.outlier_share, round(judged.rmse, 4)
    (0.667, 0.5, 0.0707)
    """
    if not outlier_limit > 0:
        raise InputError(f"outlier_limit={outlier_limit}: a positive number is needed")
    dx, dy, truth_dx, truth_dy = _same_shape(dx, dy, truth_dx, truth_dy)
    judged = np.isfinite(truth_dx) & np.isfinite(truth_dy)
    if valid is not None:
        judged &= np.broadcast_to(np.asarray(valid, dtype=np.bool_), judged.shape)
    measured = judged & np.isfinite(dx) & np.isfinite(dy)
    error_x, error_y = (dx - truth_dx)[measured], (dy - truth_dy)[measured]
    inlier = np.hypot(error_x, error_y) <= outlier_limit
    inliers = np.stack([error_x[inlier], error_y[inlier]])
    nothing = float("nan")
    some = inliers.size > 0
    return MotionScore(
        count=int(judged.sum()),
        coverage=float(measured.sum() / judged.sum()) if judged.any() else nothing,
        outlier_share=float(1.0 - inlier.mean()) if inlier.size else nothing,
        rmse=float(np.sqrt(np.mean(inliers**2))) if some else nothing,
        bias=float(inliers.mean()) if some else nothing,
        bias_x=float(inliers[0].mean()) if some else nothing,
        bias_y=float(inliers[1].mean()) if some else nothing,
        nmad=nmad(np.concatenate([error_x, error_y])),
    )


def _same_shape(*values: npt.ArrayLike) -> list[Array]:
    try:
        return list(np.broadcast_arrays(*(np.asarray(v, np.float64) for v in values)))
    except ValueError as error:
        shapes = ", ".join(str(np.shape(v)) for v in values)
        raise InputError(f"the arrays to compare have different shapes: {shapes}") from error


# ---- intervals -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IntervalCoverage:
    """Share of points whose declared interval holds the truth, of ``count``.

    Parameters
    ----------
    x, y
        Of each component's interval.
    ellipse
        Of the two components' joint error ellipse.
    count
        Points with an error and a covariance.
    """

    x: float
    y: float
    ellipse: float
    count: int


def interval_coverage(
    error_x: npt.ArrayLike,
    error_y: npt.ArrayLike,
    var_x: npt.ArrayLike,
    var_y: npt.ArrayLike,
    cov: npt.ArrayLike,
    level: float = 0.95,
) -> IntervalCoverage:
    """How often declared errors hold the true ones.

    Parameters
    ----------
    error_x, error_y
        Measured less true.
    var_x, var_y, cov
        The declared error covariance.
    level
        Of the intervals (normal quantile) and of the ellipse (chi-squared, two degrees of freedom).

    Returns
    -------
    IntervalCoverage

    Raises
    ------
    InputError
        A level not between 0 and 1, shapes that do not fit, a covariance that is none.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> errors = rng.standard_normal((2, 10_000))
    >>> round(interval_coverage(*errors, 1.0, 1.0, 0.0).ellipse, 2)
    0.95
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"level={level}: a number between 0 and 1 is needed")
    arrays = np.stack(_same_shape(error_x, error_y, var_x, var_y, cov))
    ex, ey, vx, vy, c = arrays[:, np.isfinite(arrays).all(axis=0)]
    determinant = vx * vy - c**2
    if not ((vx > 0) & (vy > 0) & (determinant > 0)).all():
        raise InputError("a declared error covariance is not positive definite")
    if ex.size == 0:
        return IntervalCoverage(*(3 * (float("nan"),)), count=0)
    z = stats.norm.ppf(0.5 + level / 2)
    squared = (vy * ex**2 + vx * ey**2 - 2.0 * c * ex * ey) / determinant
    return IntervalCoverage(
        x=float(np.mean(np.abs(ex) <= z * np.sqrt(vx))),
        y=float(np.mean(np.abs(ey) <= z * np.sqrt(vy))),
        ellipse=float(np.mean(squared <= stats.chi2.ppf(level, df=2))),
        count=int(ex.size),
    )


# ---- stable ground -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ComponentStatistics:
    """One component on stable ground; lengths in its unit.

    Parameters
    ----------
    median, nmad, std
        Over the stable points with a measurement.
    median_error
        Standard error of the median, allowing for neighbours that err together; 1.96 of them make
        a 95 % interval.
    """

    median: float
    median_error: float
    nmad: float
    std: float


@dataclass(frozen=True, slots=True)
class StableGroundStatistics:
    """What a displacement or velocity shows where nothing moves.

    Parameters
    ----------
    x, y
        The two components.
    count
        Stable points with a measurement.
    share
        Of all stable points.
    effective_count
        How many independent points they are worth.
    """

    x: ComponentStatistics
    y: ComponentStatistics
    count: int
    share: float
    effective_count: float


def stable_ground_statistics(
    motion: xr.Dataset, stable: xr.DataArray | npt.ArrayLike
) -> StableGroundStatistics:
    """Centre and spread of both components on stable ground.

    The median's error allows for correlated neighbours: the autocovariance of the residuals' signs
    (the median's influence function) is summed as far as it reaches.

    Parameters
    ----------
    motion
        With ``dx, dy`` or ``vx, vy`` (y, x).
    stable
        True where the ground does not move.

    Returns
    -------
    StableGroundStatistics

    Raises
    ------
    InputError
        No components, no stable point with a measurement, or a mask on another grid.
    """
    names = ("dx", "dy") if "dx" in motion else ("vx", "vy")
    require(motion, *names)
    ground = on_grid(stable, motion, "stable")
    values = np.stack([motion[name].values.astype(np.float64) for name in names])
    used = ground & np.isfinite(values).all(axis=0)
    if not used.any():
        raise InputError("no stable point has a measurement: there is nothing to take a median of")
    data = values[:, used]
    medians = np.median(data, axis=1)
    rows, columns = np.nonzero(used)
    signs = np.sign(data - medians[:, None])
    sums = sum_covariance(np.ones((data.shape[1], 1)), signs, rows, columns)
    inflation = np.trace(sums.correlated) / max(float(np.trace(sums.independent)), 1e-300)
    spreads = [nmad(component) for component in data]
    # The density at the median of a normal distribution turns signs into lengths.
    errors = np.sqrt(np.pi / 2 * np.diag(sums.correlated)) * spreads / data.shape[1]
    errors *= sums.interval_widening
    components = [
        ComponentStatistics(float(medians[c]), float(errors[c]), spreads[c], float(data[c].std()))
        for c in range(2)
    ]
    return StableGroundStatistics(
        x=components[0],
        y=components[1],
        count=int(used.sum()),
        share=float(used.sum() / ground.sum()),
        effective_count=float(used.sum() / max(inflation, 1.0)),
    )


# ---- closure -------------------------------------------------------------------------------------


def closure(d12: xr.Dataset, d23: xr.Dataset, d13: xr.Dataset) -> xr.Dataset:
    """Residual of ``d12(x) + d23(x + d12(x)) - d13(x)``: zero for three true displacements.

    A surface point at x in the first image lies at x + d12(x) in the second one, and it is there
    that the second displacement is read, between its points bilinearly.

    Parameters
    ----------
    d12, d13
        Displacements from the first image, on one grid: ``dx, dy`` (y, x).
    d23
        Displacement from the second to the third image; on any grid in the same coordinates.

    Returns
    -------
    xarray.Dataset
        ``dx, dy`` (y, x) on the grid of ``d12``; NaN where one of the three has no value.

    Raises
    ------
    InputError
        Components are missing, or ``d12`` and ``d13`` are on different grids.
    """
    for motion in (d12, d23, d13):
        require(motion, "dx", "dy")
    x, y = axes(d12)
    other_x, other_y = axes(d13)
    if not (np.array_equal(x, other_x) and np.array_equal(y, other_y)):
        raise InputError("d12 and d13 start from the same image but are on different grids")
    first, last = _components(d12), _components(d13)
    second = _carried(d23, x + first[0], y[:, None] + first[1])
    return _field(d12, first + second - last, "closure residual")


def forward_backward(forward: xr.Dataset, backward: xr.Dataset) -> xr.Dataset:
    """Residual of ``forward(x) + backward(x + forward(x))``: zero for true matches.

    Parameters
    ----------
    forward
        Displacement from the earlier image to the later one: ``dx, dy`` (y, x).
    backward
        From the later image to the earlier one; on any grid in the same coordinates.

    Returns
    -------
    xarray.Dataset
        ``dx, dy`` (y, x) on the grid of ``forward``; NaN where one of the two has no value.

    Raises
    ------
    InputError
        Components are missing.
    """
    require(forward, "dx", "dy")
    require(backward, "dx", "dy")
    x, y = axes(forward)
    there = _components(forward)
    back = _carried(backward, x + there[0], y[:, None] + there[1])
    return _field(forward, there + back, "forward plus backward displacement")


def _components(motion: xr.Dataset) -> Array:
    return np.stack([motion[name].values.astype(np.float64) for name in ("dx", "dy")])


def _field(like: xr.Dataset, values: Array, long_name: str) -> xr.Dataset:
    coordinates: dict[Hashable, xr.DataArray] = dict(like.coords)
    variables = {
        name: (("y", "x"), data.astype(np.float32), {"long_name": f"{long_name} along +{name[1]}"})
        for name, data in zip(("dx", "dy"), values, strict=True)
    }
    return xr.Dataset(variables, coordinates)


def _carried(motion: xr.Dataset, x: Array, y: Array) -> Array:
    """Read a displacement at other places, bilinearly; NaN beyond its grid and beside gaps."""
    columns, rows = (_index(axis, at) for axis, at in zip(axes(motion), (x, y), strict=True))
    inside = np.isfinite(columns) & np.isfinite(rows)
    result = np.full((2, *x.shape), np.nan)
    for c, values in enumerate(_components(motion)):
        gap = ~np.isfinite(values)
        places = [rows[inside], columns[inside]]
        filled = np.where(gap, 0.0, values)
        read = ndimage.map_coordinates(filled, places, order=1, cval=np.nan)
        # Weight of the gaps: a place exactly on a point asks nothing of the point's neighbours.
        lost = ndimage.map_coordinates(gap.astype(np.float64), places, order=1, cval=1.0)
        result[c][inside] = np.where(lost > 1e-6, np.nan, read)
    return result


def _index(axis: Array, at: Array) -> Array:
    if axis.size < 2:
        raise InputError("a displacement of a single row or column cannot be read between points")
    step = (axis[-1] - axis[0]) / (axis.size - 1)
    if not np.allclose(np.diff(axis), step, rtol=1e-4):
        raise InputError("the displacement's coordinates are not evenly spaced")
    # Rounding must not push a place on the last point off the grid.
    index = (at - axis[0]) / step
    nearest = np.rint(index)
    return np.asarray(np.where(np.abs(index - nearest) < 1e-6, nearest, index), np.float64)


# ---- others' offsets -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OffsetComparison:
    """How one displacement lies to another, independent one.

    Parameters
    ----------
    count
        Points with both that move fast enough to count.
    scale_x, scale_y
        Factors that were put to the reference's components (1 unless fitted).
    share_within
        Share of the points that lie within the tolerance of the scaled reference, as vectors.
    median_x, median_y
        Median differences.
    nmad
        Robust spread of both components' differences.
    speed_correlation
        Spearman's rank correlation of the two lengths.
    """

    count: int
    scale_x: float
    scale_y: float
    share_within: float
    median_x: float
    median_y: float
    nmad: float
    speed_correlation: float


def compare_offsets(
    dx: npt.ArrayLike,
    dy: npt.ArrayLike,
    ref_dx: npt.ArrayLike,
    ref_dy: npt.ArrayLike,
    *,
    tolerance: float = 1.5,
    min_length: float = 0.0,
    fit_scale: bool = False,
) -> OffsetComparison:
    """Compare a displacement with an independent one, of which little may be known.

    Parameters
    ----------
    dx, dy
        Measured, NaN where there is none.
    ref_dx, ref_dy
        The reference, on the same points.
    tolerance
        Length of the difference up to which two vectors agree, in the unit of ``dx``.
    min_length
        Only points with a longer measured displacement count.
    fit_scale
        Scale each component of the reference by the median ratio of the measured one to it, over
        the points where the reference component is above its median length: for references of
        unknown unit or sign.

    Returns
    -------
    OffsetComparison

    Raises
    ------
    InputError
        No point has both, or shapes do not fit.

    Examples
    --------
    >>> compare_offsets([1.0, 2.0], [0.0, 0.0], [-10.0, -20.0], [1.0, 1.0], fit_scale=True).scale_x
    -0.1
    """
    dx, dy, ref_dx, ref_dy = _same_shape(dx, dy, ref_dx, ref_dy)
    both = np.isfinite(dx) & np.isfinite(dy) & np.isfinite(ref_dx) & np.isfinite(ref_dy)
    with np.errstate(invalid="ignore"):
        both &= np.hypot(dx, dy) >= min_length
    if not both.any():
        raise InputError("no point has both displacements and moves: nothing can be compared")
    x, y, ref_x, ref_y = (values[both] for values in (dx, dy, ref_dx, ref_dy))
    scale_x = _median_ratio(x, ref_x) if fit_scale else 1.0
    scale_y = _median_ratio(y, ref_y) if fit_scale else 1.0
    away_x, away_y = x - scale_x * ref_x, y - scale_y * ref_y
    length, ref_length = np.hypot(x, y), np.hypot(scale_x * ref_x, scale_y * ref_y)
    ranked = np.ptp(length) > 0 and np.ptp(ref_length) > 0
    return OffsetComparison(
        count=int(both.sum()),
        scale_x=scale_x,
        scale_y=scale_y,
        share_within=float(np.mean(np.hypot(away_x, away_y) <= tolerance)),
        median_x=float(np.median(away_x)),
        median_y=float(np.median(away_y)),
        nmad=nmad(np.concatenate([away_x, away_y])),
        speed_correlation=float(stats.spearmanr(length, ref_length).statistic)
        if ranked
        else float("nan"),
    )


def _median_ratio(values: Array, reference: Array) -> float:
    size = np.abs(reference)
    large = (size >= np.median(size)) & (size > 0)
    if not large.any():
        raise InputError("the reference does not move: no scale can be fitted")
    return float(np.median(values[large] / reference[large]))
