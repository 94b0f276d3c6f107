"""Fits the confidence of a match to pairs with known motion, and judges it on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from confidence_evidence import Evidence
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ogive.matching.confidence import PREDICTORS, RIGHT_PX, Calibration, Logistic

__all__ = ["Judged", "fitted", "joined", "judged"]

STRATEGIES = ("coarse-to-fine", "full")
PENALTY = 0.1
"""Inverse strength of the ridge, on predictors of deviation one: against coefficients that cancel
each other, no more (the loss on other pairs is the same from 0.01 to 1)."""

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


def fitted(evidence: Sequence[Evidence], about: Mapping[str, Any]) -> Calibration:
    """Fit a regression for each strategy of the search; every match counts the same."""
    strategies = {}
    counts: dict[str, dict[str, int]] = {}
    for strategy in STRATEGIES:
        some = [each for each in evidence if each.setting.strategy == strategy]
        x, y, weight, pairs = [], [], [], set()
        for each in some:
            known = _known(each)
            if not known.any():
                continue
            x.append(np.stack([each.predictors[name][known] for name in PREDICTORS], 1))
            y.append(each.error_px[known] < RIGHT_PX)
            weight.append(np.full(int(known.sum()), 1.0 / known.sum()))
            pairs.add(each.pair)
        strategies[strategy] = _regression(*(np.concatenate(part) for part in (x, y, weight)))
        counts[strategy] = {"pairs": len(pairs), "matches": len(y), "points": sum(map(len, y))}
    return Calibration(strategies, {**about, "right_px": RIGHT_PX, "fitted_to": counts})


def _known(evidence: Evidence) -> Bools:
    """Points with a displacement of which it is known whether it is right."""
    finite = np.all([np.isfinite(values) for values in evidence.predictors.values()], axis=0)
    return evidence.measured & ~np.isnan(evidence.error_px) & finite


def _regression(x: Array, y: Bools, weight: Array) -> Logistic:
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    # What never varied among these pairs tells nothing.
    deviation[deviation < 1e-6] = np.inf
    model = LogisticRegression(C=PENALTY, max_iter=1000)
    model.fit((x - mean) / deviation, y, weight * (y.size / weight.sum()))
    coefficients = model.coef_[0] / deviation
    # Of a few among hundreds of thousands nothing is learned: the outermost are cut.
    low, high = np.quantile(x, [0.001, 0.999], axis=0)
    return Logistic(
        float(model.intercept_[0] - coefficients @ mean),
        dict(zip(PREDICTORS, map(float, coefficients), strict=True)),
        {name: (float(low[k]), float(high[k])) for k, name in enumerate(PREDICTORS)},
    )


@dataclass(frozen=True)
class Judged:
    """Points of matches by one method: all whose truth is known, and the confidence of those found.

    Attributes
    ----------
    confidence
        NaN where nothing was found.
    error_px
        Infinite where nothing was found.
    second
        True where the point is the fallback's.
    right_px
        How near the truth is right.
    """

    confidence: Array
    error_px: Array
    second: Bools
    right_px: float

    @property
    def measured(self) -> Bools:
        """Points with a displacement."""
        return np.isfinite(self.confidence)

    @property
    def right(self) -> Bools:
        """Near enough to the truth."""
        return self.error_px < self.right_px

    def kept_at(self, precision: float) -> float:
        """Largest share of all points that can be kept, best first, at this share of right ones."""
        order = np.argsort(-np.nan_to_num(self.confidence, nan=-1.0), kind="stable")
        right = np.cumsum(self.right[order]) / np.arange(1, order.size + 1)
        enough = np.nonzero(right >= precision)[0]
        return 0.0 if enough.size == 0 else float(enough[-1] + 1) / order.size


def judged(
    evidence: Sequence[Evidence], calibration: Calibration, *, right_px: float = RIGHT_PX
) -> Judged:
    """Put the points of several matches together."""
    parts = [
        (*_one(each, calibration), np.zeros(int((~np.isnan(each.error_px)).sum()), bool))
        for each in evidence
    ]
    return _together(parts, right_px)


def joined(
    first: Sequence[Evidence],
    second: Sequence[Evidence],
    calibrations: tuple[Calibration, Calibration],
    *,
    right_px: float = RIGHT_PX,
) -> Judged:
    """Take the better of two matches at each point, as `ogive.matching.fallback` does."""
    parts = []
    for ours, theirs in zip(first, second, strict=True):
        if (ours.pair, ours.setting) != (theirs.pair, theirs.setting):
            raise ValueError(f"{ours.pair} {ours.setting} is not {theirs.pair} {theirs.setting}")
        told = ~np.isnan(ours.error_px)
        (mine, my_error), (others, their_error) = (
            _one(each, calibration)
            for each, calibration in zip((ours, theirs), calibrations, strict=True)
        )
        a, b = np.nan_to_num(mine, nan=-1.0), np.nan_to_num(others, nan=-1.0)
        apart = np.hypot(ours.u - theirs.u, ours.v - theirs.v)[told]
        same = (a >= 0) & (b >= 0) & (apart < RIGHT_PX)
        precise = (theirs.predictors["deviation"] < ours.predictors["deviation"])[told]
        taken = np.where(same, precise, b > a)
        confidence = np.where(same, np.maximum(a, b), np.where(taken, others, mine))
        parts.append((confidence, np.where(taken, their_error, my_error), taken))
    return _together(parts, right_px)


def _one(evidence: Evidence, calibration: Calibration) -> tuple[Array, Array]:
    """Confidence and error of the points whose truth is known."""
    told = ~np.isnan(evidence.error_px)
    found = calibration.strategies[evidence.setting.strategy].probability(
        {name: values[told] for name, values in evidence.predictors.items()}
    )
    return np.where(evidence.measured[told], found, np.nan), evidence.error_px[told]


def _together(parts: Sequence[tuple[Array, Array, Bools]], right_px: float) -> Judged:
    confidence, error_px, second = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Judged(confidence, error_px, second, right_px)
