"""Parts that are too small, or too odd, to be glaciers of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.measure import perimeter_crofton

from .options import DivideOptions

__all__ = ["border_lengths", "without_slivers"]

IntArray = NDArray[np.int64]


def without_slivers(labels: IntArray, cell_m: float, options: DivideOptions) -> IntArray:
    """Give slivers to the neighbour with which they share the longest border.

    The smallest goes first, since what it joins may then be large enough. Parts without a neighbour
    stay: they are small glaciers.

    Parameters
    ----------
    labels
        ``(y, x)``, from 1; 0 is no ice.
    cell_m
        Side of the cells.
    options
        Areas and compactness.
    """
    labels = labels.copy()
    borders = border_lengths(labels)
    areas = dict(enumerate(np.bincount(labels.ravel()).tolist()))
    is_sliver = {each: _is_sliver(labels == each, cell_m, options) for each in _touching(borders)}
    while slivers := [each for each in _touching(borders) if is_sliver[each]]:
        sliver = min(slivers, key=lambda each: (areas[each], each))
        lengths = {
            other: length
            for pair, length in borders.items()
            if sliver in pair
            for other in pair
            if other != sliver
        }
        neighbour = max(lengths, key=lambda other: (lengths[other], areas[other]))
        labels[labels == sliver] = neighbour
        areas[neighbour] += areas.pop(sliver)
        borders = _joined(borders, sliver, neighbour)
        is_sliver[neighbour] = _is_sliver(labels == neighbour, cell_m, options)
    return labels


def _touching(borders: dict[tuple[int, int], int]) -> set[int]:
    return {each for pair in borders for each in pair}


def _is_sliver(part: NDArray[np.bool_], cell_m: float, options: DivideOptions) -> bool:
    area_m2 = int(np.count_nonzero(part)) * cell_m**2
    if area_m2 < options.least_area_m2:
        return True
    if area_m2 >= options.least_odd_area_m2:
        return False
    # Crofton's estimate does not grow with the steps of the pixels.
    perimeter_m = float(perimeter_crofton(part)) * cell_m  # type: ignore[no-untyped-call]
    return bool(4 * np.pi * area_m2 / perimeter_m**2 < options.least_compactness)


def border_lengths(labels: IntArray) -> dict[tuple[int, int], int]:
    """Count the edges of pixels between each two labels.

    Examples
    --------
    >>> border_lengths(np.array([[1, 1, 2], [1, 3, 2], [0, 3, 2]]))
    {(1, 2): 1, (1, 3): 2, (2, 3): 2}
    """
    pairs = np.concatenate(
        [
            np.stack([labels[:-1].ravel(), labels[1:].ravel()], -1),
            np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], -1),
        ]
    )
    different = pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs > 0).all(1)]
    found, counts = np.unique(np.sort(different, 1), axis=0, return_counts=True)
    return {
        (int(one), int(other)): int(count)
        for (one, other), count in zip(found, counts, strict=True)
    }


def _joined(
    borders: dict[tuple[int, int], int], gone: int, into: int
) -> dict[tuple[int, int], int]:
    """Add the borders of one label to those of another."""
    joined: dict[tuple[int, int], int] = {}
    for (one, other), length in borders.items():
        pair = tuple(sorted(into if each == gone else each for each in (one, other)))
        if pair[0] != pair[1]:
            joined[pair[0], pair[1]] = joined.get((pair[0], pair[1]), 0) + length
    return joined
