"""The slowest share of the points, where no stable ground is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ogive.correction.field import Field
from ogive.correction.robust import BIWEIGHT_CUTOFF, RobustFit, biweight_fit
from ogive.model import StableGroundError

__all__ = ["Slow", "slowest"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MODE_SAMPLE = 20_000
_MODE_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Slow:
    """The share of the points that lies closest together in (dx, dy), and its centre."""

    fraction: float
    points: Bools
    fit: RobustFit

    @property
    def shift(self) -> Array:
        """Centre of the share: its shift along x and y."""
        return self.fit.coefficients[:, 0]


def slowest(field: Field, fraction: float) -> Slow:
    """Centre of the densest share of the points, by a biweight that reaches to twice its radius.

    The slowest points of an uncalibrated displacement are not those near zero but those near the
    shift: the centre from which a circle that holds the share is smallest.
    """
    values = field.values[:, field.valid]
    if values.shape[1] == 0:
        raise StableGroundError("no point has a measurement: there is nothing to calibrate on")
    centre, radius = _densest(values, fraction)
    fit = biweight_fit(
        np.ones((values.shape[1], 1)),
        values,
        start=centre[:, None],
        scale=np.full(2, 2.0 * radius / BIWEIGHT_CUTOFF),
    )
    distance = np.hypot(*fit.residuals)
    points = field.valid.copy()
    points[field.valid] = distance <= np.quantile(distance, fraction)
    return Slow(fraction, points, fit)


def _densest(values: Array, fraction: float) -> tuple[Array, float]:
    """Centre and radius of the smallest circle, of several tried, that holds the share."""
    sample = values[:, :: max(1, values.shape[1] // _MODE_SAMPLE)]
    levels = np.quantile(sample, (0.1, 0.3, 0.5, 0.7, 0.9), axis=1)
    best, smallest = sample[:, 0], np.inf
    for start_x in levels[:, 0]:
        for start_y in levels[:, 1]:
            centre = np.array([start_x, start_y])
            for _ in range(_MODE_ROUNDS):
                distance = np.hypot(*(sample - centre[:, None]))
                radius = float(np.quantile(distance, fraction))
                if radius < smallest:
                    best, smallest = centre, radius
                centre = sample[:, distance <= radius].mean(axis=1)
    return best, smallest
