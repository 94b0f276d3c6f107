"""Whether a probability is what it says: of all that is 80 % sure, four of five should be right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ogive.model import InputError

__all__ = ["Reliability", "reliability"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram's numbers.

    Attributes
    ----------
    edges
        Of the bins of probability.
    predicted, observed
        Mean probability in each bin, and share that came true; NaN in empty bins.
    counts
        How many in each bin.
    expected_calibration_error
        Mean of ``|observed - predicted|`` over the bins, by their counts (Naeini et al. 2015).
    brier
        Mean squared difference of probability and outcome (Brier 1950).
    base_rate
        Share that came true.
    """

    edges: FloatArray
    predicted: FloatArray
    observed: FloatArray
    counts: NDArray[np.int64]
    expected_calibration_error: float
    brier: float
    base_rate: float


def reliability(probability: ArrayLike, came_true: ArrayLike, *, bins: int = 10) -> Reliability:
    """Compare probabilities with what came true.

    Parameters
    ----------
    probability
        Between 0 and 1; NaN is left out.
    came_true
        As many truth values.
    bins
        Bins of equal width.

    Raises
    ------
    InputError
        If the two differ in shape, a probability is none, or nothing is left.

    Examples
    --------
    >>> found = reliability([0.25, 0.25, 0.25, 0.25, 0.85, 0.85], [1, 0, 0, 0, 1, 1])
    >>> round(found.expected_calibration_error, 3), found.counts.sum()
    (0.05, np.int64(6))
    """
    given, truth = np.asarray(probability, float).ravel(), np.asarray(came_true).ravel()
    if given.shape != truth.shape:
        raise InputError(
            f"{given.size} probabilities and {truth.size} outcomes: one each is needed"
        )
    if bins < 1:
        raise InputError(f"{bins} bins of probability: at least 1 is needed")
    known = np.isfinite(given)
    p, right = given[known], truth[known].astype(float)
    if p.size == 0:
        raise InputError("there is no probability to judge: none was given, or all are NaN")
    if p.min() < 0.0 or p.max() > 1.0:
        raise InputError(f"probabilities between {p.min():g} and {p.max():g}: 0 to 1 are needed")
    which = np.minimum((p * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    held = np.maximum(counts, 1)
    predicted = np.bincount(which, p, minlength=bins) / held
    observed = np.bincount(which, right, minlength=bins) / held
    error = float((counts * np.abs(observed - predicted)).sum() / p.size)
    empty = counts == 0
    predicted[empty], observed[empty] = np.nan, np.nan
    return Reliability(
        edges=np.linspace(0.0, 1.0, bins + 1),
        predicted=predicted,
        observed=observed,
        counts=counts.astype(np.int64),
        expected_calibration_error=error,
        brier=float(((p - right) ** 2).mean()),
        base_rate=float(right.mean()),
    )
