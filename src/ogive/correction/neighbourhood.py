"""Compiled kernels over the neighbourhood of each point of a displacement.

All work on rows of float32 arrays that were padded with NaN, so that an edge is a gap like any
other; a comparison with NaN is false, which is all the care that gaps need. The inner loops run
along a row for one neighbour at a time: the compiler makes vector instructions of them, and a rule
of medians becomes counting, since a value lies above the median where fewer than half of the
neighbours lie above the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = [
    "Agreement",
    "Offset",
    "agreeing_neighbours",
    "agreeing_pairs",
    "clusters",
    "deviates_from_median",
    "normalised_residual",
    "square",
]

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int32]

_ROWS_AT_ONCE = 64


class Offset(NamedTuple):
    """Place of a neighbour, in grid steps."""

    y: int
    x: int


def square(size: int, *, centre: bool) -> list[Offset]:
    """Offsets of a square of odd size, with or without its centre, row by row.

    Examples
    --------
    >>> len(square(5, centre=False))
    24
    """
    half = size // 2
    steps = range(-half, half + 1)
    return [Offset(y, x) for y in steps for x in steps if centre or (y, x) != (0, 0)]


def _by_rows(rows: int, threads: int, work: Callable[[int, int], Any]) -> None:
    ranges = [(start, min(start + _ROWS_AT_ONCE, rows)) for start in range(0, rows, _ROWS_AT_ONCE)]
    if threads <= 1:
        for start, stop in ranges:
            work(start, stop)
        return
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, start, stop) for start, stop in ranges]:
            future.result()


def _padded(values: Floats, half: int) -> Floats:
    return np.pad(values.astype(np.float32), half, constant_values=np.nan)


def _array(offsets: Sequence[Offset]) -> npt.NDArray[np.int64]:
    return np.array(offsets, dtype=np.int64).reshape(-1, 2)


# ---- deviation from the median of a square -------------------------------------------------------


def deviates_from_median(
    values: Floats, size: int, max_deviation: float, threads: int = 1
) -> Bools:
    """Where a value lies farther than a limit from the median of the square around it.

    The square holds the value itself; of an even number of values both middle ones must lie too
    far, on one side.

    Parameters
    ----------
    values
        (y, x), NaN where there is none (never said to deviate).
    size
        Odd width of the square.
    max_deviation
        In the values' unit.
    threads
        Rows are shared out; the result is the same for any number.

    Returns
    -------
    numpy.ndarray of bool
        (y, x).
    """
    half = size // 2
    padded = _padded(values, half)
    result = np.zeros(values.shape, dtype=np.bool_)

    def work(start: int, stop: int) -> None:
        _median_rows(padded, half, np.float32(max_deviation), start, stop, result)

    _by_rows(values.shape[0], threads, work)
    return result


@njit(nogil=True, cache=True)
def _median_rows(
    padded: Floats, half: int, limit: np.float32, start: int, stop: int, result: Bools
) -> None:
    width = result.shape[1]
    near = np.empty(width, np.int32)
    below = np.empty(width, np.int32)
    above = np.empty(width, np.int32)
    for y in range(start, stop):
        here = padded[y + half, half : half + width]
        low = here - limit
        high = here + limit
        near[:] = 0
        below[:] = 0
        above[:] = 0
        for j in range(2 * half + 1):
            for i in range(2 * half + 1):
                there = padded[y + j, i : i + width]
                for x in range(width):
                    value = there[x]
                    below[x] += np.int32(value < low[x])
                    above[x] += np.int32(value > high[x])
                    near[x] += np.int32((value >= low[x]) & (value <= high[x]))
        for x in range(width):
            half_of_all = (near[x] + below[x] + above[x]) // 2
            result[y, x] = (below[x] > half_of_all) | (above[x] > half_of_all)


# ---- agreement with neighbours -------------------------------------------------------------------


class Agreement(NamedTuple):
    """Of each point: neighbours with a value, and neighbours that agree."""

    valid: Counts
    agreeing: Counts


def agreeing_neighbours(
    dx: Floats, dy: Floats, offsets: Sequence[Offset], tolerances: npt.ArrayLike, threads: int = 1
) -> Agreement:
    """Count the neighbours that have a value, and those that agree in both components.

    Parameters
    ----------
    dx, dy
        (y, x), NaN where there is none.
    offsets
        Of the neighbours.
    tolerances
        Largest difference in each component, for each offset.
    threads
        Rows are shared out; the result is the same for any number.

    Returns
    -------
    Agreement
        Zero where the point itself has no value.
    """
    places = _array(offsets)
    half = int(np.abs(places).max())
    padded_x, padded_y = _padded(dx, half), _padded(dy, half)
    limits = np.asarray(tolerances, dtype=np.float32)
    valid = np.zeros(dx.shape, dtype=np.int32)
    agreeing = np.zeros(dx.shape, dtype=np.int32)

    def work(start: int, stop: int) -> None:
        _agreement_rows(padded_x, padded_y, half, places, limits, start, stop, valid, agreeing)

    _by_rows(dx.shape[0], threads, work)
    return Agreement(valid, agreeing)


@njit(nogil=True, cache=True)
def _agreement_rows(
    dx: Floats,
    dy: Floats,
    half: int,
    places: npt.NDArray[np.int64],
    limits: Floats,
    start: int,
    stop: int,
    valid: Counts,
    agreeing: Counts,
) -> None:
    width = valid.shape[1]
    for y in range(start, stop):
        here_x = dx[y + half, half : half + width]
        here_y = dy[y + half, half : half + width]
        n_valid = valid[y]
        n_agreeing = agreeing[y]
        for k in range(places.shape[0]):
            row = y + half + places[k, 0]
            column = half + places[k, 1]
            there_x = dx[row, column : column + width]
            there_y = dy[row, column : column + width]
            limit = limits[k]
            for x in range(width):
                away_x = abs(there_x[x] - here_x[x])
                away_y = abs(there_y[x] - here_y[x])
                n_valid[x] += np.int32((away_x >= 0) & (away_y >= 0))
                n_agreeing[x] += np.int32((away_x <= limit) & (away_y <= limit))


def agreeing_pairs(
    dx: Floats, dy: Floats, offsets: Sequence[Offset], tolerances: npt.ArrayLike, threads: int = 1
) -> Agreement:
    """Count opposite pairs of neighbours that both have a value, and those whose mean agrees.

    The mean of two opposite neighbours is the value between them wherever the field is linear, so
    that a pair agrees across a gradient in which neither neighbour does.

    Parameters
    ----------
    dx, dy
        (y, x), NaN where there is none.
    offsets
        One of each pair; the other one lies opposite.
    tolerances
        Largest difference of the mean in each component, for each pair.
    threads
        Rows are shared out; the result is the same for any number.

    Returns
    -------
    Agreement
        Zero where the point itself has no value.
    """
    places = _array(offsets)
    half = int(np.abs(places).max())
    padded_x, padded_y = _padded(dx, half), _padded(dy, half)
    limits = np.asarray(tolerances, dtype=np.float32)
    valid = np.zeros(dx.shape, dtype=np.int32)
    agreeing = np.zeros(dx.shape, dtype=np.int32)

    def work(start: int, stop: int) -> None:
        _pair_rows(padded_x, padded_y, half, places, limits, start, stop, valid, agreeing)

    _by_rows(dx.shape[0], threads, work)
    return Agreement(valid, agreeing)


@njit(nogil=True, cache=True)
def _pair_rows(
    dx: Floats,
    dy: Floats,
    half: int,
    places: npt.NDArray[np.int64],
    limits: Floats,
    start: int,
    stop: int,
    valid: Counts,
    agreeing: Counts,
) -> None:
    width = valid.shape[1]
    middle = np.float32(0.5)
    for y in range(start, stop):
        here_x = dx[y + half, half : half + width]
        here_y = dy[y + half, half : half + width]
        n_valid = valid[y]
        n_agreeing = agreeing[y]
        for k in range(places.shape[0]):
            row, column = places[k, 0], places[k, 1]
            ahead_x = dx[y + half + row, half + column : half + column + width]
            ahead_y = dy[y + half + row, half + column : half + column + width]
            behind_x = dx[y + half - row, half - column : half - column + width]
            behind_y = dy[y + half - row, half - column : half - column + width]
            limit = limits[k]
            for x in range(width):
                away_x = abs(middle * (ahead_x[x] + behind_x[x]) - here_x[x])
                away_y = abs(middle * (ahead_y[x] + behind_y[x]) - here_y[x])
                n_valid[x] += np.int32((away_x >= 0) & (away_y >= 0))
                n_agreeing[x] += np.int32((away_x <= limit) & (away_y <= limit))


# ---- normalised median test ----------------------------------------------------------------------


def normalised_residual(
    values: Floats,
    noise: Floats,
    offsets: Sequence[Offset],
    min_neighbours: int,
    threads: int = 1,
    *,
    spread_weight: float = 1.0,
) -> Floats:
    """Distance from the neighbours' median over their own median distance from it.

    Parameters
    ----------
    values
        (y, x), NaN where there is none.
    noise
        (y, x): added to the denominator, so that uniform neighbours do not make all else false.
    offsets
        Of the neighbours, without the point itself.
    min_neighbours
        With fewer, the point is not judged.
    threads
        Rows are shared out; the result is the same for any number.
    spread_weight
        Factor on the neighbours' spread; with 0 the distance is in units of ``noise`` alone.

    Returns
    -------
    numpy.ndarray of float32
        (y, x); NaN where a point has no value or is not judged.
    """
    weight = np.float32(spread_weight)
    places = _array(offsets)
    half = int(np.abs(places).max())
    padded = _padded(values, half)
    network = _sorting_network(len(places))
    result = np.empty(values.shape, dtype=np.float32)

    def work(start: int, stop: int) -> None:
        _residual_rows(
            padded, noise, weight, half, places, network, min_neighbours, start, stop, result
        )

    _by_rows(values.shape[0], threads, work)
    return result


def _sorting_network(n: int) -> npt.NDArray[np.int64]:
    """Batcher's odd-even merge sort (Knuth, The Art of Computer Programming 3, 5.2.2 M)."""
    pairs = []
    top = 1
    while top < n:
        top *= 2
    p = top // 2
    while p > 0:
        q, r, d = top // 2, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


_COLUMNS_AT_ONCE = 256


@njit(nogil=True, cache=True)
def _sort_columns(sorted_rows: Floats, network: npt.NDArray[np.int64]) -> None:
    for k in range(network.shape[0]):
        low = sorted_rows[network[k, 0]]
        high = sorted_rows[network[k, 1]]
        for x in range(low.size):
            a = low[x]
            b = high[x]
            low[x] = min(a, b)
            high[x] = max(a, b)


@njit(nogil=True, cache=True)
def _medians(sorted_rows: Floats, count: Counts, medians: Floats) -> None:
    """Medians of the first ``count`` of each sorted column (the gaps, infinite, lie behind)."""
    for x in range(medians.size):
        n = count[x]
        medians[x] = 0.5 * (sorted_rows[(n - 1) // 2, x] + sorted_rows[n // 2, x]) if n else np.nan


@njit(nogil=True, cache=True)
def _residual_rows(
    padded: Floats,
    noise: Floats,
    spread_weight: np.float32,
    half: int,
    places: npt.NDArray[np.int64],
    network: npt.NDArray[np.int64],
    min_neighbours: int,
    start: int,
    stop: int,
    result: Floats,
) -> None:
    width = result.shape[1]
    n = places.shape[0]
    block = np.empty((n, _COLUMNS_AT_ONCE), np.float32)
    count = np.empty(_COLUMNS_AT_ONCE, np.int32)
    middle = np.empty(_COLUMNS_AT_ONCE, np.float32)
    spread = np.empty(_COLUMNS_AT_ONCE, np.float32)
    infinity = np.float32(np.inf)
    for y in range(start, stop):
        for first in range(0, width, _COLUMNS_AT_ONCE):
            columns = min(_COLUMNS_AT_ONCE, width - first)
            count[:] = 0
            for k in range(n):
                row = padded[y + half + places[k, 0]]
                begin = first + half + places[k, 1]
                there = row[begin : begin + columns]
                for x in range(columns):
                    there_is = there[x] == there[x]
                    block[k, x] = there[x] if there_is else infinity
                    count[x] += np.int32(there_is)
            block[:, columns:] = infinity
            _sort_columns(block, network)
            _medians(block, count, middle)
            for k in range(n):
                for x in range(columns):
                    block[k, x] = abs(block[k, x] - middle[x]) if k < count[x] else infinity
            _sort_columns(block, network)
            _medians(block, count, spread)
            here = padded[y + half, first + half : first + half + columns]
            for x in range(columns):
                scale = spread_weight * spread[x] + noise[y, first + x]
                away = abs(here[x] - middle[x]) / scale
                result[y, first + x] = away if count[x] >= min_neighbours else np.nan


# ---- clusters of agreeing points -----------------------------------------------------------------


def clusters(
    dx: Floats, dy: Floats, offsets: Sequence[Offset], tolerances: npt.ArrayLike
) -> Counts:
    """Size of the cluster that each point belongs to.

    Two points are linked when one is a neighbour of the other and both components agree; a cluster
    is what links hold together.

    Parameters
    ----------
    dx, dy
        (y, x), NaN where there is none.
    offsets
        Of the neighbours; one of each opposite pair is enough.
    tolerances
        Largest difference in each component, for each offset.

    Returns
    -------
    numpy.ndarray of int32
        (y, x): points in the cluster; 0 where there is no value.
    """
    places = _array(offsets)
    half = int(np.abs(places).max())
    limits = np.asarray(tolerances, dtype=np.float32)
    sizes: Counts = _cluster_sizes(_padded(dx, half), _padded(dy, half), half, places, limits)
    return sizes


@njit(nogil=True, cache=True)
def _root(parent: Counts, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(nogil=True, cache=True)
def _cluster_sizes(
    dx: Floats, dy: Floats, half: int, places: npt.NDArray[np.int64], limits: Floats
) -> Counts:
    height = dx.shape[0] - 2 * half
    width = dx.shape[1] - 2 * half
    padded_width = dx.shape[1]
    parent = np.arange(dx.size).astype(np.int32)
    for y in range(half, half + height):
        for x in range(half, half + width):
            if dx[y, x] != dx[y, x] or dy[y, x] != dy[y, x]:
                continue
            i = _root(parent, y * padded_width + x)
            for k in range(places.shape[0]):
                v = y + places[k, 0]
                u = x + places[k, 1]
                if abs(dx[v, u] - dx[y, x]) <= limits[k] and abs(dy[v, u] - dy[y, x]) <= limits[k]:
                    j = _root(parent, v * padded_width + u)
                    if j < i:
                        parent[i] = j
                        i = j
                    elif i < j:
                        parent[j] = i
    size = np.zeros(dx.size, np.int32)
    for y in range(half, half + height):
        for x in range(half, half + width):
            if dx[y, x] == dx[y, x] and dy[y, x] == dy[y, x]:
                size[_root(parent, y * padded_width + x)] += 1
    result = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            i = (y + half) * padded_width + x + half
            if dx[y + half, x + half] == dx[y + half, x + half] and (
                dy[y + half, x + half] == dy[y + half, x + half]
            ):
                result[y, x] = size[_root(parent, i)]
    return result
