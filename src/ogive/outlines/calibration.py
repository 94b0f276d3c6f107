"""What a confidence is worth: the share of pixels that are right, learned on validation data.

Confidences are sorted into 100 bins; the accuracy of each is fitted by kernel ridge regression with
a Laplacian kernel (Maslov et al. 2025), in which bins of many pixels count for more. Even odds are
half right and certainty is right: these two points are given. (The published fit gives accuracy 0
at confidence 0, which two classes cannot have.) A monotone fit is the closest one that does not
fall (isotonic regression).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ogive.learning.files import written_whole
from ogive.model import InputError

__all__ = ["Calibration", "ConfidenceBins", "bin_confidence", "calibrate_confidence"]

FloatArray = NDArray[np.float64]

BINS = 100
_STEPS = 1001
_RIDGE = 0.01
"""Published: the ridge of a bin of n of at most N pixels is 0.01 (1 - (n / N)^0.1)."""
_POWER = 0.1
_LEAST_RIDGE = 1e-6
_KERNEL_GAMMA = 5.0
"""Of exp(-γ |a - b|): correlation falls to 1/e over 0.2 of confidence."""


@dataclass(frozen=True)
class Calibration:
    """A curve from confidence to accuracy.

    Attributes
    ----------
    confidence, accuracy
        Points of the curve, straight between them; confidence rises from 0 to 1.
    monotone
        Whether accuracy never falls.
    """

    confidence: FloatArray
    accuracy: FloatArray
    monotone: bool

    def __call__(self, confidence: ArrayLike) -> FloatArray:
        """Give the share of pixels of such confidence that is right; NaN stays NaN."""
        return np.asarray(np.interp(np.asarray(confidence, float), self.confidence, self.accuracy))

    def write(self, path: str | Path) -> None:
        """Write the curve as JSON; the file appears when it is whole."""
        told = {
            "confidence": self.confidence.round(6).tolist(),
            "accuracy": self.accuracy.round(6).tolist(),
            "monotone": self.monotone,
        }
        with written_whole(Path(path)) as partial:
            partial.write_text(json.dumps(told) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Calibration:
        """Read a curve.

        Raises
        ------
        InputError
            If the file is missing or no curve.
        """
        try:
            told = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise InputError(f"{path} is no calibration of confidence: {error}") from error
        return cls.of(told, str(path))

    @classmethod
    def of(cls, told: Mapping[str, Any], source: str) -> Calibration:
        """Make a curve of what a file told.

        Raises
        ------
        InputError
            If it is no curve from 0 to 1.
        """
        try:
            made = cls(
                np.array(told["confidence"], float),
                np.array(told["accuracy"], float),
                bool(told["monotone"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{source} is no calibration of confidence: {error!r}") from error
        rises = made.confidence.size > 1 and bool((np.diff(made.confidence) > 0).all())
        inside = bool(((made.accuracy >= 0) & (made.accuracy <= 1)).all())
        if made.confidence.shape != made.accuracy.shape or not rises or not inside:
            raise InputError(f"{source} is no calibration of confidence: it is no curve in 0 to 1")
        return made


@dataclass(frozen=True)
class ConfidenceBins:
    """How many pixels there were of each confidence, and how many were right.

    Bins of several scenes add up, so that a calibration may see more pixels than fit in memory.
    """

    count: NDArray[np.int64]
    confidence_sum: FloatArray
    right: NDArray[np.int64]

    def __add__(self, other: ConfidenceBins) -> ConfidenceBins:
        return ConfidenceBins(
            self.count + other.count,
            self.confidence_sum + other.confidence_sum,
            self.right + other.right,
        )


def bin_confidence(confidence: ArrayLike, right: ArrayLike) -> ConfidenceBins:
    """Sort pixels into bins of confidence.

    Parameters
    ----------
    confidence
        0 to 1; NaN is left out.
    right
        Whether the map is right there.

    Raises
    ------
    InputError
        If the two differ in shape, or a confidence lies outside 0 to 1.

    Examples
    --------
    >>> bins = bin_confidence([0.005, 0.5, 0.501, 1.0], [False, True, False, True])
    >>> bins.count[[0, 50, 99]].tolist(), bins.right[[0, 50, 99]].tolist()
    ([1, 2, 1], [0, 1, 1])
    """
    given, truth = np.asarray(confidence, float).ravel(), np.asarray(right, bool).ravel()
    if given.shape != truth.shape:
        raise InputError(f"{given.size} confidences and {truth.size} truths: one each is needed")
    known = np.isfinite(given)
    given, truth = given[known], truth[known]
    if given.size and (given.min() < 0 or given.max() > 1):
        raise InputError("a confidence lies outside 0 to 1")
    number = np.minimum((given * BINS).astype(int), BINS - 1)
    return ConfidenceBins(
        np.bincount(number, minlength=BINS),
        np.bincount(number, given, BINS).astype(np.float64),
        np.bincount(number[truth], minlength=BINS),
    )


def calibrate_confidence(bins: ConfidenceBins, *, monotone: bool = True) -> Calibration:
    """Fit accuracy to confidence.

    Parameters
    ----------
    bins
        Of validation data; add those of several scenes.
    monotone
        Whether the curve may not fall.

    Raises
    ------
    InputError
        If all bins are empty.

    Examples
    --------
    >>> sure = np.random.default_rng(0).uniform(size=20000)
    >>> right = np.random.default_rng(1).uniform(size=20000) < 0.5 + 0.5 * sure
    >>> curve = calibrate_confidence(bin_confidence(sure, right))
    >>> bool(abs(curve([0.2, 0.8]) - [0.6, 0.9]).max() < 0.03)
    True
    """
    from sklearn.isotonic import IsotonicRegression
    from sklearn.kernel_ridge import KernelRidge

    full = bins.count > 0
    if not full.any():
        raise InputError("there is no validation pixel to calibrate confidence on")
    count = bins.count[full]
    at = np.r_[0.0, bins.confidence_sum[full] / count, 1.0]
    accuracy = np.r_[0.5, bins.right[full] / count, 1.0]
    ridge = _RIDGE * (1.0 - (count / count.max()) ** _POWER)
    # A sample's weight divides its ridge; the two given points hold as firmly as any bin.
    weights = _RIDGE / np.maximum(np.r_[ridge.min(), ridge, ridge.min()], _LEAST_RIDGE)
    # About the straight line between the given points, to which the kernel falls back.
    model = KernelRidge(kernel="laplacian", gamma=_KERNEL_GAMMA, alpha=_RIDGE)
    model.fit(at[:, None], accuracy - _line(at), sample_weight=weights)
    steps = np.linspace(0.0, 1.0, _STEPS)
    curve = np.clip(model.predict(steps[:, None]) + _line(steps), 0.0, 1.0)
    if monotone:
        pixels = np.interp(steps, at, np.r_[count[0], count, count[-1]])
        curve = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(
            steps, curve, sample_weight=pixels
        )
    return Calibration(steps, np.asarray(curve, float), monotone)


def _line(confidence: FloatArray) -> FloatArray:
    return 0.5 + 0.5 * confidence
