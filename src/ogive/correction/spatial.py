"""How far neighbouring points err together, and what that leaves of their number.

Matching windows overlap, jitter and residual topography reach over kilometres: ten thousand points
of stable ground may be worth fifty independent ones, and an error divided by sqrt(10000) would
claim fourteen times too much. Here the covariance of a sum over points is computed with their
autocovariance as it is on the ground, by Fourier transform (compare Rolstad et al., 2009,
J. Glaciol. 55(192), and Hugonnet et al., 2022, IEEE JSTARS 15, for elevation differences).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.stats import norm, t

__all__ = ["SumCovariance", "sum_covariance"]

Array = npt.NDArray[np.float64]

_LARGEST_GRID = 256  # cells; larger grids are summed in blocks, which changes no covariance of sums
_MOST_OF_THE_PAIRS = 0.5
_REACH_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class SumCovariance:
    """Covariance of ``sum_i regressors[i, a] * scores[c, i]``.

    Parameters
    ----------
    correlated
        (2p, 2p), with the points' autocovariance; ordered x first, then y.
    independent
        (2p, 2p), as if the points erred independently of each other.
    correlation_range
        Distance at which the autocorrelation first falls to zero, in grid steps.
    degrees_of_freedom
        How well the correlated covariance is itself known: one over the share of pairs of points
        closer than the range (the equivalent degrees of freedom of a kernel estimate of a long-run
        variance: Lazarus et al., 2018, J. Bus. Econ. Stat. 36(4)). An interval needs Student's
        quantile of them.
    """

    correlated: Array
    independent: Array
    correlation_range: float
    degrees_of_freedom: float

    @property
    def interval_widening(self) -> float:
        """Student's 95 % quantile over the normal one: what an error is to be multiplied with."""
        return float(t.ppf(0.975, self.degrees_of_freedom) / norm.ppf(0.975))


def sum_covariance(
    regressors: Array, scores: Array, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> SumCovariance:
    """Covariance of weighted sums of spatially correlated scores.

    The autocovariance is taken from the scores themselves up to the distance where its radial mean
    first falls to zero. Since the scores are residuals of a fit, each lag falls short by the very
    variance that is sought; the sum is divided by what that takes away. The result is never below
    the one of independent points.

    Parameters
    ----------
    regressors
        (n, p).
    scores
        (2, n), of zero mean over the regressors.
    rows, columns
        (n,) places of the points on their grid.

    Returns
    -------
    SumCovariance
    """
    cells = _Cells.of(regressors, scores, rows, columns)
    counts = _correlate(cells.count, cells.count)
    with np.errstate(divide="ignore", invalid="ignore"):
        autocovariance = np.stack(
            [
                [np.where(counts > 0.5, _correlate(a, b) / counts, 0.0) for b in cells.scores]
                for a in cells.scores
            ]
        )
    radius = _radius(counts.shape)
    reach, share = _reach(autocovariance, counts, radius, regressors.shape[1])
    autocovariance *= radius < reach
    p = regressors.shape[1]
    total = np.empty((2, p, 2, p))
    transform = [[fft.rfft2(autocovariance[c, d]) for d in range(2)] for c in range(2)]
    spectra = [fft.rfft2(r, s=counts.shape) for r in cells.regressors]
    for c in range(2):
        for d in range(2):
            for b in range(p):
                spread = fft.irfft2(transform[c][d] * spectra[b], s=counts.shape)
                ny, nx = cells.count.shape
                total[c, :, d, b] = (cells.regressors * spread[:ny, :nx]).sum(axis=(1, 2))
    correlated = total.reshape(2 * p, 2 * p) / (1.0 - min(p * share, _MOST_OF_THE_PAIRS))
    independent = _independent(regressors, scores)
    return SumCovariance(
        correlated=_at_least(0.5 * (correlated + correlated.T), independent),
        independent=independent,
        correlation_range=reach * cells.size,
        degrees_of_freedom=1.0 / share,
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """Sums over square blocks of the grid: how many points, their scores, their regressors."""

    count: Array
    scores: Array
    regressors: Array
    size: int

    @classmethod
    def of(
        cls,
        regressors: Array,
        scores: Array,
        rows: npt.NDArray[np.intp],
        columns: npt.NDArray[np.intp],
    ) -> _Cells:
        rows, columns = rows - rows.min(), columns - columns.min()
        size = -(-(1 + max(int(rows.max()), int(columns.max()))) // _LARGEST_GRID)
        shape = (int(rows.max()) // size + 1, int(columns.max()) // size + 1)
        cell = (rows // size) * shape[1] + columns // size

        def summed(weights: Array | None) -> Array:
            sums = np.bincount(cell, weights=weights, minlength=shape[0] * shape[1])
            return sums.reshape(shape).astype(np.float64)

        return cls(
            count=summed(None),
            scores=np.stack([summed(s) for s in scores]),
            regressors=np.stack([summed(r) for r in regressors.T]),
            size=size,
        )


def _correlate(a: Array, b: Array) -> Array:
    """Cross-correlation over all lags (zero lag at [0, 0]), without wrapping around."""
    shape = tuple(fft.next_fast_len(2 * n, real=True) for n in a.shape)
    product = np.conj(fft.rfft2(a, s=shape)) * fft.rfft2(b, s=shape)
    result: Array = fft.irfft2(product, s=shape)
    return result


def _radius(shape: tuple[int, ...]) -> Array:
    y = fft.fftfreq(shape[0], 1.0 / shape[0])[:, None]
    x = fft.fftfreq(shape[1], 1.0 / shape[1])[None, :]
    radius: Array = np.hypot(y, x)
    return radius


def _reach(
    autocovariance: Array, counts: Array, radius: Array, parameters: int
) -> tuple[float, float]:
    """Where the radial autocorrelation first falls to zero, and the share of pairs within it.

    Residuals add up to zero, so that their autocovariance lies too low at every lag, by the
    variance of the fitted mean; what a first reach says of that variance is given back before the
    zero is sought again.
    """
    ring = np.rint(radius).astype(np.intp).ravel()
    pairs = np.bincount(ring, weights=counts.ravel())
    variance = [max(autocovariance[c, c, 0, 0], np.finfo(np.float64).tiny) for c in range(2)]
    both = autocovariance[0, 0] / variance[0] + autocovariance[1, 1] / variance[1]
    summed = np.bincount(ring, weights=(both * counts).ravel())
    share = np.cumsum(pairs) / pairs.sum()
    given_back, end = 0.0, 1
    for _ in range(_REACH_ROUNDS):
        ends = (summed + given_back * pairs <= 0.0) | (parameters * share > _MOST_OF_THE_PAIRS)
        ends[0] = False
        end = int(np.argmax(ends)) if ends.any() else ends.size
        within = summed[:end].sum() / pairs.sum()
        given_back = max(within, 0.0) / (1.0 - min(parameters * share[end - 1], _MOST_OF_THE_PAIRS))
    return end - 0.5, float(share[end - 1])


def _independent(regressors: Array, scores: Array) -> Array:
    p = regressors.shape[1]
    result = np.empty((2, p, 2, p))
    for c in range(2):
        for d in range(2):
            weighted = regressors * (scores[c] * scores[d])[:, None]
            result[c, :, d, :] = weighted.T @ regressors
    return result.reshape(2 * p, 2 * p)


def _at_least(covariance: Array, floor: Array) -> Array:
    """Raise a covariance until no combination of sums is better known than the floor says."""
    values, vectors = np.linalg.eigh(floor)
    if values.max() <= 0.0:  # no scatter at all
        return floor
    root = vectors * np.sqrt(np.maximum(values, values.max() * 1e-14))
    inverse = np.linalg.inv(root)
    inflation, axes = np.linalg.eigh(inverse @ covariance @ inverse.T)
    axes = root @ axes
    result: Array = (axes * np.maximum(inflation, 1.0)) @ axes.T
    return result
