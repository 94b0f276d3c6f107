"""Scores of glacier maps: pixels against a reference, and divides against divides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

from ogive.model import InputError

__all__ = ["DivideDistances", "MapScore", "divide_distances", "map_score"]

SAMPLE_EVERY_M = 10.0
"""Points on divides, as in the published metrics."""


@dataclass(frozen=True, slots=True)
class MapScore:
    """Pixels of a map by what they are and what the map says; scores of several maps add up.

    Attributes
    ----------
    true_positive, false_positive, false_negative, true_negative
        Numbers of pixels; glacier is positive.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    def __add__(self, other: MapScore) -> MapScore:
        return MapScore(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )

    @property
    def iou(self) -> float:
        """Intersection over union of mapped and true glaciers; NaN where there are none."""
        return _ratio(
            self.true_positive, self.true_positive + self.false_positive + self.false_negative
        )

    @property
    def precision(self) -> float:
        """Share of what is mapped that is glacier."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of the glaciers that is mapped."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        wrong = self.false_positive + self.false_negative
        return _ratio(2 * self.true_positive, 2 * self.true_positive + wrong)

    @property
    def accuracy(self) -> float:
        """Share of pixels that are right."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def area_bias(self) -> float:
        """Mapped less true area, as a share of the true area."""
        return _ratio(
            self.false_positive - self.false_negative, self.true_positive + self.false_negative
        )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def map_score(glacier: ArrayLike, reference: ArrayLike, known: ArrayLike | None = None) -> MapScore:
    """Count the pixels of a map by what they are and what it says.

    Parameters
    ----------
    glacier
        Whether the map says glacier.
    reference
        Whether it is glacier; of the same shape.
    known
        Where the reference is to be believed; everywhere by default.

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> score = map_score([1, 1, 0, 0], [1, 0, 1, 0])
    >>> round(score.iou, 3), score.accuracy
    (0.333, 0.5)
    """
    mapped, true = np.asarray(glacier, bool), np.asarray(reference, bool)
    counted = np.ones(true.shape, bool) if known is None else np.asarray(known, bool)
    if mapped.shape != true.shape or counted.shape != true.shape:
        raise InputError(
            f"the map is {mapped.shape}, the reference {true.shape}, known {counted.shape}: one "
            "value each is needed"
        )
    return MapScore(
        _count(mapped & true & counted),
        _count(mapped & ~true & counted),
        _count(~mapped & true & counted),
        _count(~mapped & ~true & counted),
    )


def _count(where: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(where))


@dataclass(frozen=True, slots=True)
class DivideDistances:
    """How far divides lie from others (equations S7 and S8 of Maslov et al. 2025), in metres.

    Attributes
    ----------
    to_reference_m
        Mean distance of points on the divides to the reference (S7): grows with divides too many.
    from_reference_m
        Mean distance of points on the reference to the divides (S8): grows with divides missed.
    """

    to_reference_m: float
    from_reference_m: float

    @property
    def mean_m(self) -> float:
        """Mean of the two, which a calibration of divides lowers."""
        return 0.5 * (self.to_reference_m + self.from_reference_m)


def divide_distances(
    divides: Iterable[BaseGeometry],
    reference: Iterable[BaseGeometry],
    *,
    every_m: float = SAMPLE_EVERY_M,
) -> DivideDistances:
    """Measure how far divides lie from reference divides, and these from them.

    Parameters
    ----------
    divides, reference
        Lines, in metres, in one coordinate system.
    every_m
        Distance of the points along the lines.

    Raises
    ------
    InputError
        If either has no line, or points would be no distance apart.

    Examples
    --------
    >>> long = shapely.LineString([(0, 0), (0, 100)])
    >>> short = shapely.LineString([(30, 0), (30, 40)])
    >>> found = divide_distances([short], [long])
    >>> found.to_reference_m, round(found.from_reference_m, 1)
    (30.0, 36.8)
    """
    if not every_m > 0:
        raise InputError(f"points every {every_m} m: the distance must be above 0")
    mine, theirs = shapely.union_all(list(divides)), shapely.union_all(list(reference))
    for lines, name in ((mine, "divides"), (theirs, "reference")):
        if lines.is_empty or lines.length == 0:
            raise InputError(f"there is no line among the {name}: distances need both")
    return DivideDistances(
        _mean_distance(mine, theirs, every_m), _mean_distance(theirs, mine, every_m)
    )


def _mean_distance(lines: BaseGeometry, others: BaseGeometry, every_m: float) -> float:
    """Mean distance to other lines of points that lie evenly along lines."""
    points = [
        shapely.line_interpolate_point(part, np.arange(0.0, part.length, every_m))
        for part in shapely.get_parts(shapely.line_merge(lines))
        if part.length
    ]
    shapely.prepare(others)
    return float(shapely.distance(np.concatenate(points), others).mean())
