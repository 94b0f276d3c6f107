"""What the points round a point say of it: whether they move alike, and how well they match."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .kernels import BoolArray, Float32Array, run_over_rows

__all__ = ["Neighbourhood", "neighbourhood"]

AROUND = 8
LEAST = 3
"""Fewer neighbours than this tell nothing of a point."""


class Neighbourhood(NamedTuple):
    """Of each point; NaN where fewer than three of its neighbours are measured.

    Attributes
    ----------
    distance_px
        Between its displacement and the median of its neighbours', component by component.
    spread_px
        Median distance of the neighbours from their own median.
    strength
        Median of the neighbours' strength.
    share
        Of its neighbours inside the grid that are measured; 0 where there are none.
    """

    distance_px: Float32Array
    spread_px: Float32Array
    strength: Float32Array
    share: Float32Array


def neighbourhood(
    u: Float32Array,
    v: Float32Array,
    strength: Float32Array,
    measured: BoolArray,
    *,
    apart: int,
    threads: int = 1,
) -> Neighbourhood:
    """Compare each point with the eight that lie so many points away, straight and diagonally.

    Parameters
    ----------
    u, v
        ``(rows, columns)``, displacement in pixels.
    strength
        ``(rows, columns)``, how well each point matches, in any unit.
    measured
        ``(rows, columns)``, which points count.
    apart
        Rows or columns between a point and its neighbours: as many as a window is wide, so that
        they share no pixel and err on their own.
    threads
        How many threads share the rows.

    Examples
    --------
    One point out of 25 goes another way:

    >>> u = np.full((5, 5), 2.0, np.float32)
    >>> u[2, 2] = 5.0
    >>> round_it = neighbourhood(u, u, np.ones_like(u), np.ones(u.shape, bool), apart=1)
    >>> round(float(round_it.distance_px[2, 2]), 2), float(round_it.distance_px[1, 1])
    (4.24, 0.0)
    """
    out = np.full((4, *u.shape), np.nan, np.float32)
    run_over_rows(_compare, u.shape[0], threads, u, v, strength, measured, apart, out)
    return Neighbourhood(*out)


@njit(nogil=True, cache=True)
def _median(values: NDArray[np.float32], number: int, kept: NDArray[np.float32]) -> float:
    """Median of the first few values; of so few, sorting by insertion is quickest."""
    for k in range(number):
        value = values[k]
        place = k
        while place > 0 and kept[place - 1] > value:
            kept[place] = kept[place - 1]
            place -= 1
        kept[place] = value
    half = number // 2
    middle: float = kept[half] if number % 2 else 0.5 * (kept[half - 1] + kept[half])
    return middle


@njit(nogil=True, cache=True)
def _compare(
    start: int,
    stop: int,
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    strength: NDArray[np.float32],
    measured: NDArray[np.bool_],
    apart: int,
    out: NDArray[np.float32],
) -> None:
    rows, columns = u.shape
    near = np.empty((3, AROUND), np.float32)
    away, kept = np.empty(AROUND, np.float32), np.empty(AROUND, np.float32)
    for i in range(start, stop):
        for j in range(columns):
            inside = found = 0
            for a in range(-1, 2):
                for b in range(-1, 2):
                    y, x = i + a * apart, j + b * apart
                    if (a == 0 and b == 0) or y < 0 or x < 0 or y >= rows or x >= columns:
                        continue
                    inside += 1
                    if measured[y, x]:
                        near[0, found] = u[y, x]
                        near[1, found] = v[y, x]
                        near[2, found] = strength[y, x]
                        found += 1
            out[3, i, j] = found / inside if inside else 0.0
            if found < LEAST:
                continue
            mid_u, mid_v = _median(near[0], found, kept), _median(near[1], found, kept)
            for k in range(found):
                away[k] = np.hypot(near[0, k] - mid_u, near[1, k] - mid_v)
            out[0, i, j] = np.hypot(u[i, j] - mid_u, v[i, j] - mid_v)
            out[1, i, j] = _median(away, found, kept)
            out[2, i, j] = _median(near[2], found, kept)
