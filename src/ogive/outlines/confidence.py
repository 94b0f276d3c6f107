"""How sure a map is: from probabilities, without any reference.

Confidence is one less the entropy of the class probabilities (equation 3 of Maslov et al. 2025).
What it is worth is learned on validation data (`calibration`); the mean of calibrated confidence
then tells the intersection over union to be expected (equation S5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ogive.model import InputError

__all__ = ["BandOf95", "band_of_95", "confidence", "estimated_iou", "estimated_iou_of_counts"]

FloatArray = NDArray[np.float64]


def confidence(glacier_probability: ArrayLike) -> FloatArray:
    """Give one less the entropy of two classes, in base 2: 0 for even odds, 1 for certainty.

    Parameters
    ----------
    glacier_probability
        Of any shape; NaN stays NaN.

    Raises
    ------
    InputError
        If a probability is below 0 or above 1.

    Examples
    --------
    >>> confidence([0.5, 0.9, 1.0]).round(3).tolist()
    [0.0, 0.531, 1.0]
    """
    p = np.asarray(glacier_probability, float)
    if np.nanmin(p, initial=0.0) < 0 or np.nanmax(p, initial=1.0) > 1:
        raise InputError("a probability lies outside 0 to 1")
    both = np.stack([p, 1.0 - p])
    # 0 log 0 is 0.
    logs = np.log2(both, out=np.zeros_like(both), where=both > 0)
    return np.asarray(1.0 + (both * logs).sum(0))


def estimated_iou(calibrated_confidence: ArrayLike, glacier: ArrayLike) -> float:
    """Estimate the intersection over union of a map that has no reference (equation S5).

    Parameters
    ----------
    calibrated_confidence
        Of each pixel: the share of such pixels that is right; NaN is left out.
    glacier
        Whether the map says glacier there.

    Returns
    -------
    float
        NaN where there is no glacier on the map and no doubt that there is none.

    Raises
    ------
    InputError
        If the two differ in shape, or no pixel has a confidence.

    Examples
    --------
    >>> round(estimated_iou(np.full(10, 0.9), np.arange(10) < 5), 3)
    0.818
    """
    sure, mapped = np.asarray(calibrated_confidence, float), np.asarray(glacier, bool)
    if sure.shape != mapped.shape:
        raise InputError(
            f"confidence is {sure.shape}, the map {mapped.shape}: one value each is needed"
        )
    known = np.isfinite(sure)
    if not known.any():
        raise InputError("no pixel has a confidence")
    positives = int((mapped & known).sum())
    return estimated_iou_of_counts(
        float(sure[known].mean()), positives, int(known.sum()) - positives
    )


def estimated_iou_of_counts(
    mean_confidence: float, positives: int, negatives: int, *, classes: int = 2
) -> float:
    """Estimate the intersection over union from sums over a map; see `estimated_iou`.

    Parameters
    ----------
    mean_confidence
        Calibrated, over all pixels.
    positives, negatives
        Pixels that the map says are glacier, and the others.
    classes
        How many there are: chance is right for one in so many.

    Examples
    --------
    >>> estimated_iou_of_counts(1.0, 30, 70)
    1.0
    """
    wrong = 1.0 - max(mean_confidence, 1.0 / classes)
    expected = positives + wrong * negatives
    if expected == 0:
        return float("nan")
    return 1.0 - wrong * (positives + negatives) / expected


class BandOf95(NamedTuple):
    """Where the outline may run: ``inner`` is ice for sure, ``outer`` all that may be ice."""

    inner: NDArray[np.bool_]
    outer: NDArray[np.bool_]


def band_of_95(
    glacier: NDArray[np.bool_], calibrated_confidence: ArrayLike, *, level: float = 0.95
) -> BandOf95:
    """Find the inner and the outer outline between which the true one runs.

    Parameters
    ----------
    glacier
        What the map says.
    calibrated_confidence
        Of the same shape; NaN is in neither.
    level
        Pixels of less confidence are in the band.

    Examples
    --------
    >>> band = band_of_95(np.array([True, True, False, False]), [0.99, 0.7, 0.7, 0.99])
    >>> band.inner.tolist(), band.outer.tolist()
    ([True, False, False, False], [True, True, True, False])
    """
    sure = np.asarray(calibrated_confidence, float)
    if sure.shape != glacier.shape:
        raise InputError(f"confidence is {sure.shape}, the map {glacier.shape}")
    if not 0.5 <= level < 1:
        raise InputError(f"level is {level}: it must be from 0.5 to below 1")
    return BandOf95(glacier & (sure >= level), (glacier & (sure >= level)) | (sure < level))
