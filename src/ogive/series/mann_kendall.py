"""The Mann-Kendall test of a trend, with ties in values and in dates, and pairs that share images.

Kendall's S is counted by a merge sort (Knight 1966, JASA 61, 436), so that a pixel of thousands of
observations costs n log n. Its variance knows ties in both rankings (Kendall 1975, Rank
Correlation Methods): many pairs of a network have one middle date.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ogive.model import InputError

__all__ = ["MannKendall", "mann_kendall"]

Doubles = NDArray[np.float64]

_RUN = 16


@dataclass(frozen=True, slots=True)
class MannKendall:
    """Result of the test.

    Parameters
    ----------
    s
        Kendall's S: concordant minus discordant couples of observations.
    variance
        Of S where there is no trend.
    z
        Standardised, with the correction for continuity.
    p_value
        Two-sided: how often noise alone gives such a trend.
    count
        Finite observations.
    """

    s: float
    variance: float
    z: float
    p_value: float
    count: int


def mann_kendall(values: ArrayLike, times: ArrayLike | None = None) -> MannKendall:
    """Test a series for a monotonic trend (Mann 1945; Kendall 1975).

    Parameters
    ----------
    values
        (n,); NaN are left out.
    times
        (n,) any numbers or dates, in any order; by default the order of the values. Observations
        of equal times say nothing of the trend between them.

    Returns
    -------
    MannKendall

    Raises
    ------
    InputError
        If the two differ in length.

    Examples
    --------
    >>> test = mann_kendall([1.0, 3.0, 2.0, 4.0, 5.0, 6.0, 8.0, 7.0])
    >>> test.s, round(test.p_value, 4)
    (24.0, 0.0044)
    """
    given = np.asarray(values, np.float64).ravel()
    when = np.arange(given.size, dtype=np.float64) if times is None else _numbers(times)
    if when.shape != given.shape:
        raise InputError(f"there are {given.size} values but {when.size} times")
    known = np.isfinite(given) & np.isfinite(when)
    given, when = given[known], when[known]
    order = np.lexsort((given, when))
    given, when = given[order], when[order]
    n = given.size
    s, variance = kendall(when, given, given.copy(), np.empty(n), n)
    z = standardised(s, variance)
    return MannKendall(float(s), float(variance), z, math.erfc(abs(z) / math.sqrt(2.0)), n)


def _numbers(times: ArrayLike) -> Doubles:
    given = np.asarray(times).ravel()
    if given.dtype.kind == "M":
        # Not-a-time becomes NaN in the division.
        return np.asarray((given - np.datetime64("2000-01-01")) / np.timedelta64(1, "D"))
    return given.astype(np.float64)


@njit(nogil=True, cache=True)
def standardised(s: float, variance: float) -> float:
    """Z of S, one unit nearer to zero since S moves in steps of two."""
    if not variance > 0.0:
        return 0.0
    if s > 0:
        return (s - 1.0) / math.sqrt(variance)
    if s < 0:
        return (s + 1.0) / math.sqrt(variance)
    return 0.0


@njit(nogil=True, cache=True)
def sort_within_ties(times: Doubles, values: Doubles, n: int) -> None:
    """Sort values that have one time, where times are sorted already."""
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and times[stop] == times[start]:
            stop += 1
        if stop - start > 1:
            values[start:stop] = np.sort(values[start:stop])
        start = stop


@njit(nogil=True, cache=True)
def count_exchanges(values: Doubles, spare: Doubles, n: int) -> int:
    """Sort values in place; return how many couples stood in the wrong order."""
    exchanges = 0
    for start in range(0, n, _RUN):
        for k in range(start + 1, min(start + _RUN, n)):
            value = values[k]
            j = k - 1
            while j >= start and values[j] > value:
                values[j + 1] = values[j]
                j -= 1
            values[j + 1] = value
            exchanges += k - 1 - j
    width = _RUN
    source, target = values, spare
    while width < n:
        for start in range(0, n, 2 * width):
            middle = min(start + width, n)
            stop = min(start + 2 * width, n)
            i, j, k = start, middle, start
            # Without a branch in the loop: which side is smaller cannot be foretold.
            while i < middle and j < stop:
                left, right = source[i], source[j]
                from_left = left <= right
                target[k] = left if from_left else right
                exchanges += 0 if from_left else middle - i
                i += int(from_left)
                j += 1 - int(from_left)
                k += 1
            while i < middle:
                target[k] = source[i]
                i += 1
                k += 1
            while j < stop:
                target[k] = source[j]
                j += 1
                k += 1
        source, target = target, source
        width *= 2
    if (n > _RUN) and (source is not values):
        values[:n] = source[:n]
    return exchanges


@njit(nogil=True, cache=True)
def kendall(
    times: Doubles, values: Doubles, work: Doubles, spare: Doubles, n: int
) -> tuple[float, float]:
    """Kendall's S and its variance without a trend, for series sorted by time, then by value.

    ``values`` are read for ties of both; ``work`` holds a copy of them, which is sorted.
    """
    if n < 2:
        return 0.0, 0.0
    time_2, time_3, time_v = _ties(times, n)
    joint = 0.0
    run = 1.0
    for k in range(1, n + 1):
        if k < n and times[k] == times[k - 1] and values[k] == values[k - 1]:
            run += 1.0
        else:
            joint += run * (run - 1.0)
            run = 1.0
    exchanges = count_exchanges(work, spare, n)
    value_2, value_3, value_v = _ties(work, n)
    m = float(n)
    couples = m * (m - 1.0)
    s = 0.5 * (couples - time_2 - value_2 + joint) - 2.0 * exchanges
    variance = (couples * (2.0 * m + 5.0) - time_v - value_v) / 18.0
    variance += time_2 * value_2 / (2.0 * couples)
    if n > 2:
        variance += time_3 * value_3 / (9.0 * couples * (m - 2.0))
    return s, variance


@njit(nogil=True, cache=True)
def _ties(ordered: Doubles, n: int) -> tuple[float, float, float]:
    """Sums of t(t-1), t(t-1)(t-2) and t(t-1)(2t+5) over runs of t equal values."""
    two = three = five = 0.0
    run = 1.0
    for k in range(1, n + 1):
        if k < n and ordered[k] == ordered[k - 1]:
            run += 1.0
        else:
            two += run * (run - 1.0)
            three += run * (run - 1.0) * (run - 2.0)
            five += run * (run - 1.0) * (2.0 * run + 5.0)
            run = 1.0
    return two, three, five
