"""Robust regression of a two-component field, and the spread of what it leaves.

A false match is false in both components, so that both are weighted together: Tukey's biweight of
the Mahalanobis-like distance ``u² = zx² + zy²`` of the standardised residuals. It is the estimator
behind the calibration because stable ground is never clean: blunders fall on all sides, where any
robust estimator does, but creeping debris, snow fields and ice inside the mask fall on one side,
where the median is drawn along and the biweight, which redescends to zero, is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ogive.model import StableGroundError

__all__ = ["BIWEIGHT_CUTOFF", "NMAD_FACTOR", "RobustFit", "biweight_fit", "nmad"]

Array = npt.NDArray[np.float64]

NMAD_FACTOR = 1.4826
"""Makes the median absolute deviation the standard deviation of a normal distribution."""

BIWEIGHT_CUTOFF = 5.123
"""Distance, in standard deviations, from which on a point has no weight.

At this cutoff the bivariate biweight keeps 95 % of the mean's efficiency on normal errors.
"""

_MAX_ITERATIONS = 200
_SAMPLE = 100_000
_CONVERGED = 1e-6  # of the residuals' scale: far below any standard error of a shift


def nmad(values: npt.ArrayLike) -> float:
    """Spread of finite values: 1.4826 times the median absolute deviation from the median.

    Parameters
    ----------
    values
        Any shape and unit; NaN are left out.

    Returns
    -------
    float
        In the unit of the values; NaN when none is finite.

    Examples
    --------
    >>> round(nmad([1.0, 2.0, 3.0, 4.0, 100.0]), 4)
    1.4826
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return float("nan")
    return NMAD_FACTOR * float(np.median(np.abs(flat - np.median(flat))))


@dataclass(frozen=True, slots=True)
class RobustFit:
    """A linear model fitted to both components, and what its errors are made of.

    Parameters
    ----------
    coefficients
        (2, p): of x, then of y.
    residuals
        (2, n), in the data's unit.
    scores
        (2, n): each point's pull on the fit; their sum over the regressors is zero at the solution.
    slope
        (2p, 2p): derivative of that sum with respect to the coefficients, with changed sign.
    """

    coefficients: Array
    residuals: Array
    scores: Array
    slope: Array


def biweight_fit(
    regressors: Array,
    values: Array,
    match_variance: Array | None = None,
    *,
    start: Array | None = None,
    scale: Array | None = None,
) -> RobustFit:
    """Fit ``values[c] = regressors @ coefficients[c]`` by Tukey's biweight, both components as one.

    The variance of a point is its match variance plus an excess that all share (jitter, terrain,
    what the match knows nothing of), so that the residuals' spread is what it is: points are
    weighted by how well they were matched, and not more than the scatter of the ground allows.

    Parameters
    ----------
    regressors
        (n, p).
    values
        (2, n), all finite.
    match_variance
        (2, n) error variances known beforehand; without them all points are equal.
    start
        (2, p) first guess; by default the median (p = 1) or a least-absolute-deviation fit.
    scale
        (2,) spread of the residuals; by default their NMAD about the first guess.

    Returns
    -------
    RobustFit

    Raises
    ------
    StableGroundError
        If the fit does not converge.
    """
    # Of millions of overlapping windows some hundred thousand tell nearly all: they bring the fit
    # to where all the points need only a step or two.
    thin = slice(None, None, max(1, values.shape[1] // _SAMPLE))
    guess = _first_guess(regressors[thin], values[:, thin]) if start is None else start
    variance = _total_variance(values - guess @ regressors.T, match_variance, scale)
    nearly = _iterate(regressors[thin], values[:, thin], variance[:, thin], guess)
    coefficients = _iterate(regressors, values, variance, nearly)
    return _result(regressors, values, coefficients, variance)


def _iterate(regressors: Array, values: Array, variance: Array, coefficients: Array) -> Array:
    """Reweight until the fit moves no more than a hair of the smallest standard deviation."""
    root = np.sqrt(variance.min(axis=1))
    for _ in range(_MAX_ITERATIONS):
        residuals = values - coefficients @ regressors.T
        weights = _biweight((residuals**2 / variance).sum(axis=0)) / variance
        step = np.stack([_weighted(regressors, residuals[c], weights[c]) for c in range(2)])
        coefficients = coefficients + step
        if np.all(np.abs(step @ regressors.T).max(axis=1) <= _CONVERGED * root):
            return coefficients
    raise StableGroundError(
        f"the robust fit on {values.shape[1]} stable points did not settle in {_MAX_ITERATIONS} "
        "iterations: remove outliers first, or use a model with fewer parameters"
    )


def _biweight(squared_distance: Array) -> Array:
    weight: Array = np.square(np.maximum(1.0 - squared_distance / BIWEIGHT_CUTOFF**2, 0.0))
    return weight


def _weighted(regressors: Array, values: Array, weights: Array) -> Array:
    weighted = regressors * weights[:, None]
    return np.asarray(np.linalg.solve(weighted.T @ regressors, weighted.T @ values), np.float64)


def _first_guess(regressors: Array, values: Array) -> Array:
    """Least absolute deviations, by a few reweighted fits (exactly the median for a constant)."""
    if regressors.shape[1] == 1 and np.all(regressors == 1.0):
        middle: Array = np.median(values, axis=1)[:, None]
        return middle
    ones = np.ones_like(values[0])
    guess: Array = np.stack([_weighted(regressors, v, ones) for v in values])
    for _ in range(15):
        residuals = np.abs(values - guess @ regressors.T)
        floor = 1e-3 * np.median(residuals, axis=1, keepdims=True) + np.finfo(np.float64).tiny
        weights = 1.0 / np.maximum(residuals, floor)
        weights /= weights.max(axis=1, keepdims=True)
        guess = np.stack([_weighted(regressors, values[c], weights[c]) for c in range(2)])
    return guess


def _total_variance(residuals: Array, match: Array | None, scale: Array | None) -> Array:
    spread = np.array([nmad(r) for r in residuals]) if scale is None else scale
    # Points that agree to rounding have no spread; the float32 they are stored in has some.
    rounding = np.finfo(np.float32).eps * np.maximum(np.abs(residuals).max(axis=1), 1e-30)
    spread = np.maximum(spread, rounding)
    if match is None:
        return np.broadcast_to(spread[:, None] ** 2, residuals.shape).copy()
    excess = np.maximum(spread**2 - np.median(match, axis=1), 0.0)
    total: Array = match + excess[:, None]
    standardised = np.array([nmad(r / np.sqrt(t)) for r, t in zip(residuals, total, strict=True)])
    if scale is None:
        total = total * np.maximum(standardised, 1e-6)[:, None] ** 2
    total[...] = np.maximum(total, rounding[:, None] ** 2)
    return total


def _result(regressors: Array, values: Array, coefficients: Array, variance: Array) -> RobustFit:
    residuals = values - coefficients @ regressors.T
    squared = (residuals**2 / variance).sum(axis=0)
    weight = _biweight(squared)
    inside = np.maximum(1.0 - squared / BIWEIGHT_CUTOFF**2, 0.0)
    change = -2.0 / BIWEIGHT_CUTOFF**2 * inside  # of the weight, with the squared distance
    p = regressors.shape[1]
    slope = np.empty((2, p, 2, p))
    for c in range(2):
        for d in range(2):
            pull = change * 2.0 * residuals[c] * residuals[d] / (variance[c] * variance[d])
            if c == d:
                pull = pull + weight / variance[c]
            slope[c, :, d, :] = (regressors * pull[:, None]).T @ regressors
    return RobustFit(
        coefficients=coefficients,
        residuals=residuals,
        scores=weight * residuals / variance,
        slope=slope.reshape(2 * p, 2 * p),
    )
