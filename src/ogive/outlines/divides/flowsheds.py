"""Flowsheds: what drains to one pour point, and which of them are one glacier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label, maximum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .flow import BoolArray, Drainage
from .options import DivideOptions

__all__ = ["Flowsheds", "flowsheds_of", "merged"]

IntArray = NDArray[np.int64]
_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Flowsheds:
    """What drains where.

    Attributes
    ----------
    labels
        ``(y, x)``, number of the pour point from 1, over the whole domain; 0 outside.
    rows, columns
        Of the pour points.
    """

    labels: IntArray
    rows: IntArray
    columns: IntArray


def flowsheds_of(drained: Drainage, cell_m: float, options: DivideOptions) -> Flowsheds:
    """Find the pour points, and what drains to each.

    A pour point is where most arrives of all the gutter within ``separation_m``; the least of them
    are not kept. What drains to no pour point goes to the nearest flowshed.
    """
    rows, columns = _pour_points(drained, cell_m, options)
    tree = cKDTree(np.column_stack([rows, columns]))
    has_outlet = drained.domain & (drained.outlet >= 0)
    exits, position = np.unique(drained.outlet[has_outlet], return_inverse=True)
    at = np.column_stack(np.unravel_index(exits, drained.outlet.shape))
    distance, nearest = tree.query(at)
    number = np.where(distance * cell_m <= options.separation_m, nearest + 1, 0)
    labels = np.zeros(drained.domain.shape, np.int64)
    labels[has_outlet] = number[position]
    # Each pour point owns itself, so that none is lost where D8 and D∞ part.
    labels[rows, columns] = np.arange(1, len(rows) + 1)
    where = distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return Flowsheds(np.where(drained.domain, labels[tuple(where)], 0), rows, columns)


def _pour_points(
    drained: Drainage, cell_m: float, options: DivideOptions
) -> tuple[IntArray, IntArray]:
    arriving = np.where(drained.gutter, drained.arriving_m2, 0.0)
    reach = max(round(options.separation_m / cell_m), 1)
    highest = maximum_filter(arriving, size=2 * reach + 1)
    rows, columns = np.nonzero((arriving == highest) & (arriving > 0))
    drains = arriving[rows, columns]
    kept = drains >= np.quantile(drains, options.percentile)
    # Ice without any pour point of its own still needs one: the greatest of its gutter.
    basins, _ = label(drained.domain | drained.gutter, _EIGHT)
    of = basins[rows, columns]
    for basin in np.setdiff1d(of, of[kept]):
        inside = np.flatnonzero(of == basin)
        kept[inside[drains[inside].argmax()]] = True
    return rows[kept], columns[kept]


def merged(sheds: Flowsheds, ice: BoolArray, cell_m: float, options: DivideOptions) -> IntArray:
    """Join flowsheds whose pour points lie close together, over connected ground.

    Returns
    -------
    numpy.ndarray
        ``(y, x)``: number of the glacier from 1 over the domain; 0 outside.
    """
    count = len(sheds.rows)
    area_m2 = np.bincount(sheds.labels[ice], minlength=count + 1)[1:] * cell_m**2
    radius_m = np.minimum(
        options.largest_radius_m, options.radius_factor * area_m2**options.radius_power
    )
    at = np.column_stack([sheds.rows, sheds.columns])
    tree = cKDTree(at)
    links = [
        (one, other)
        for one, others in enumerate(tree.query_ball_point(at, radius_m / cell_m))
        if len(others) > 1
        for other in _reached(sheds, one, others, radius_m[one] / cell_m)
    ]
    first, second = np.array(links or np.empty((0, 2)), int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), (count, count))
    _, group = connected_components(graph, directed=False)
    numbers = np.r_[0, group + 1]
    return np.asarray(numbers[sheds.labels], np.int64)


def _reached(sheds: Flowsheds, one: int, others: list[int], radius_cells: float) -> list[int]:
    """Which pour points a circle round one reaches without leaving the ground of the ice."""
    row, column = int(sheds.rows[one]), int(sheds.columns[one])
    reach = int(np.ceil(radius_cells)) + 1
    top, left = max(row - reach, 0), max(column - reach, 0)
    window = (slice(top, row + reach + 1), slice(left, column + reach + 1))
    y, x = np.ogrid[: sheds.labels[window].shape[0], : sheds.labels[window].shape[1]]
    circle = (y + top - row) ** 2 + (x + left - column) ** 2 <= (radius_cells + 1) ** 2
    # The gutter is no part of the domain, but pour points are in it.
    ground = (sheds.labels[window] > 0) & circle
    for other in others:
        ground[sheds.rows[other] - top, sheds.columns[other] - left] = True
    parts, _ = label(ground, _EIGHT)
    mine = parts[row - top, column - left]
    return [
        other
        for other in others
        if parts[sheds.rows[other] - top, sheds.columns[other] - left] == mine
    ]
