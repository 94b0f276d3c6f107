"""Compiled lines through the velocities of each pixel, with errors that know shared images.

The velocity of a pair is the mean over its span. Where velocity changes linearly that is its value
in the middle of the span, so that a straight line through (middle, velocity) is exact for pairs of
any baseline.

Two pairs that share an image share its errors (orthorectification, shadows, registration): the
errors of their displacements are correlated by +rho where the image is the first or the second of
both, and by -rho where it is the first of one and the second of the other. Were they counted as
independent, the error of a trend through a dense network would be told several times too small,
and the Mann-Kendall test would find trends in noise. So rho is estimated from the residuals of each
pixel, pooled over all pairs that share an image, and every variance of a linear estimate
``sum(g_k v_k)`` is multiplied by

    F = 1 + rho (sum_images (sum_k +-g_k / T_k)^2 / sum_k (g_k / T_k)^2 - 2),

T_k being the baselines; F = 1 where errors are independent. The variance of Kendall's S is
multiplied likewise, its time ranks standing for the weights. The variance itself is the
heteroscedasticity-consistent one with residuals over 1 - leverage (HC3; MacKinnon & White 1985).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .mann_kendall import count_exchanges, kendall, sort_within_ties, standardised

__all__ = ["LINE_OUTPUTS", "MIN_TREND_YEARS", "Lines", "fit_rows"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Whole = NDArray[np.int64]

MIN_TREND_YEARS = 1.0
"""Middles of pairs must span this long: a shorter record shows its seasons, not a trend."""

LINE_OUTPUTS = ("trend", "trend_error", "p_value", "kendall_s", "shared_image_correlation", "n")
TREND, TREND_ERROR, P_VALUE, KENDALL_S, CORRELATION, COUNT = range(6)

YEAR_OUTPUTS = ("vx", "vy", "vx_error", "vy_error", "v_error")
VX, VY, VX_ERROR, VY_ERROR, V_ERROR = range(5)

_CLIP = 3.0
_NMAD = 1.4826
# Standard error of Theil-Sen's slope, from the interval of S at this many of its deviations.
_INTERVAL = 1.0
_BISECTIONS = 60


class Lines(NamedTuple):
    """Results on (..., y, x), see `LINE_OUTPUTS` and `YEAR_OUTPUTS`."""

    pixel: Floats
    years: Floats


@njit(nogil=True, cache=True)
def gather_row(field: Floats, y: int, row: Floats) -> None:
    """Copy one row of a cube so that each pixel's series is contiguous."""
    for k in range(field.shape[0]):
        line = field[k, y]
        for x in range(line.size):
            row[x, k] = line[x]


@njit(nogil=True, cache=True)
def nmad_of(values: Doubles) -> float:
    """Spread by the median absolute value, for residuals."""
    return float(_NMAD * np.median(np.abs(values)))


@njit(nogil=True, cache=True)
def shared_sums(weights: Doubles, image1: Whole, image2: Whole, n: int, sums: Doubles) -> None:
    """Sum weights over the pairs of each image: + where it is the second, - where the first."""
    for k in range(n):
        sums[image1[k]] -= weights[k]
        sums[image2[k]] += weights[k]


@njit(nogil=True, cache=True)
def clear_sums(image1: Whole, image2: Whole, n: int, sums: Doubles) -> None:
    """Set the sums of the images of these pairs to zero."""
    for k in range(n):
        sums[image1[k]] = 0.0
        sums[image2[k]] = 0.0


@njit(nogil=True, cache=True)
def cross_share(weights: Doubles, image1: Whole, image2: Whole, n: int, sums: Doubles) -> float:
    """Sum over pairs that share an image of their weights' signed products, over the squares."""
    shared_sums(weights, image1, image2, n, sums)
    total = 0.0
    square = 0.0
    for k in range(n):
        square += weights[k] * weights[k]
        for image in (image1[k], image2[k]):
            total += sums[image] * sums[image]
            sums[image] = 0.0
    if square == 0.0:
        return 0.0
    return total / square - 2.0


@njit(nogil=True, cache=True)
def shared_correlation(
    x: Doubles,
    y: Doubles,
    span: Doubles,
    image1: Whole,
    image2: Whole,
    n: int,
    work: Doubles,
    sums: Doubles,
) -> float:
    """Correlation of the errors of two displacements that share an image, 0 to 1/2.

    Residuals become displacements, are divided by their robust spread, clipped, and multiplied
    for all couples of pairs that share an image.
    """
    total = 0.0
    square = 0.0
    couples = 0.0
    for residual in (x, y):
        for k in range(n):
            work[k] = residual[k] * span[k]
        scale = nmad_of(work[:n])
        if not scale > 0.0:
            continue
        for k in range(n):
            work[k] = min(max(work[k] / scale, -_CLIP), _CLIP)
        shared_sums(work, image1, image2, n, sums)
        for k in range(n):
            square += work[k] * work[k]
            total -= 2.0 * work[k] * work[k]
            for image in (image1[k], image2[k]):
                total += sums[image] * sums[image]
                sums[image] = 0.0
    for k in range(n):
        sums[image1[k]] += 1.0
        sums[image2[k]] += 1.0
    for k in range(n):
        for image in (image1[k], image2[k]):
            couples += sums[image] * (sums[image] - 1.0)
            sums[image] = 0.0
    if couples == 0.0 or square == 0.0:
        return 0.0
    # Both components are in the sums, the couples are counted once.
    return min(max(total / (2.0 * couples) / (square / (2.0 * n)), 0.0), 0.5)


@njit(nogil=True, cache=True)
def _ordered_kendall(
    time: Doubles, values: Doubles, slope: float, n: int, work: Doubles, spare: Doubles
) -> float:
    """Return 2 exchanges minus couples of different times: -S of the residuals of a slope."""
    for k in range(n):
        work[k] = values[k] - slope * time[k]
    return count_exchanges(work, spare, n)


@njit(nogil=True, cache=True)
def _slope_at(
    time: Doubles,
    values: Doubles,
    couples: float,
    target: float,
    guess: float,
    step: float,
    n: int,
    work: Doubles,
    spare: Doubles,
) -> float:
    """Slope whose residuals have S = target (Sen 1968): S falls as the slope rises.

    ``values`` are sorted by time, then by value; ``couples`` counts those of different times.
    """
    low, high = guess - step, guess + step
    wide = step
    for _ in range(60):
        if couples - 2.0 * _ordered_kendall(time, values, low, n, work, spare) > target:
            break
        wide *= 2.0
        low -= wide
    wide = step
    for _ in range(60):
        if couples - 2.0 * _ordered_kendall(time, values, high, n, work, spare) < target:
            break
        wide *= 2.0
        high += wide
    for _ in range(_BISECTIONS):
        if high - low <= 1e-3 * step:
            break
        middle = 0.5 * (low + high)
        s = couples - 2.0 * _ordered_kendall(time, values, middle, n, work, spare)
        if s == target:
            return middle
        if s > target:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@njit(nogil=True, cache=True)
def _different_times(time: Doubles, n: int) -> float:
    couples = 0.5 * n * (n - 1.0)
    run = 1.0
    for k in range(1, n + 1):
        if k < n and time[k] == time[k - 1]:
            run += 1.0
        else:
            couples -= 0.5 * run * (run - 1.0)
            run = 1.0
    return couples


@njit(nogil=True, cache=True)
def _time_scores(time: Doubles, n: int, scores: Doubles) -> None:
    """Twice the mid-rank of each time, about zero."""
    start = 0
    while start < n:
        stop = start + 1
        while stop < n and time[stop] == time[start]:
            stop += 1
        for k in range(start, stop):
            scores[k] = start + stop - n
        start = stop


@njit(nogil=True, cache=True)
def _fit(
    time: Doubles,
    span: Doubles,
    vx: Doubles,
    vy: Doubles,
    image1: Whole,
    image2: Whole,
    n: int,
    centres: Doubles,
    theil_sen: bool,
    significant: bool,
    sums: Doubles,
    scratch: Doubles,
    pixel: Doubles,
    years: Doubles,
) -> None:
    """Fit one pixel: lines of both components, the trend along the flow, its test."""
    weight, rx, ry, ru, work, spare = (
        scratch[0], scratch[1], scratch[2], scratch[3], scratch[4], scratch[5],
    )  # fmt: skip
    mean_t = mean_x = mean_y = 0.0
    for k in range(n):
        mean_t += time[k]
        mean_x += vx[k]
        mean_y += vy[k]
    mean_t /= n
    mean_x /= n
    mean_y /= n
    squares = slope_x = slope_y = 0.0
    for k in range(n):
        away = time[k] - mean_t
        squares += away * away
        slope_x += away * vx[k]
        slope_y += away * vy[k]
    slope_x /= squares
    slope_y /= squares
    speed = math.hypot(mean_x, mean_y)
    east, north = (mean_x / speed, mean_y / speed) if speed > 0.0 else (1.0, 0.0)
    _residuals(time, vx, mean_t, mean_x, slope_x, n, rx)
    _residuals(time, vy, mean_t, mean_y, slope_y, n, ry)
    rho = shared_correlation(rx, ry, span, image1, image2, n, work, sums)
    # Moments of HC3: of the mean, of the slope, and of both together.
    moments = np.zeros((3, 3))
    for k in range(n):
        c = (time[k] - mean_t) / squares
        away = 1.0 - 1.0 / n - c * (time[k] - mean_t)
        # An observation that carries its own line says nothing of its error.
        away = max(away, 1e-3)
        weight[k] = c
        ru[k] = rx[k] * east + ry[k] * north
        for j, r in enumerate((rx[k], ry[k], ru[k])):
            e = (r / away) ** 2
            moments[j, 0] += e / (n * n)
            moments[j, 1] += e * c / n
            moments[j, 2] += e * c * c
    grown = _inflations(weight, span, image1, image2, n, rho, sums, work, spare)
    trend = slope_x * east + slope_y * north
    trend_error = math.sqrt(moments[2, 2] * max(grown[2] / grown[5], 1.0))
    if theil_sen:
        levels = _theil_sen(
            time, vx, vy, mean_t, slope_x, slope_y, moments, n, ru, rx, ry, work, spare
        )
        mean_x, slope_x, mean_y, slope_y = levels
    for p in range(centres.size):
        d = centres[p] - mean_t
        years[VX, p] = mean_x + slope_x * d
        years[VY, p] = mean_y + slope_y * d
        cross = grown[0] + 2.0 * d * grown[1] + d * d * grown[2]
        plain = grown[3] + 2.0 * d * grown[4] + d * d * grown[5]
        factor = max(cross / plain, 1.0)
        for j in range(3):
            a = moments[j, 0] + 2.0 * d * moments[j, 1] + d * d * moments[j, 2]
            years[VX_ERROR + j, p] = math.sqrt(max(a, 0.0) * factor)
    if significant or theil_sen:
        for k in range(n):
            ru[k] = vx[k] * east + vy[k] * north
        sort_within_ties(time, ru, n)
        work[:n] = ru[:n]
        s, variance = kendall(time, ru, work, spare, n)
        _time_scores(time, n, work)
        variance *= max(1.0 + rho * cross_share(work, image1, image2, n, sums), 1.0)
        z = standardised(s, variance)
        pixel[KENDALL_S] = s
        pixel[P_VALUE] = math.erfc(abs(z) / math.sqrt(2.0))
        if theil_sen:
            couples = _different_times(time, n)
            width = _INTERVAL * math.sqrt(variance)
            step = max(trend_error, 1e-6)
            trend = _slope_at(time, ru, couples, 0.0, trend, step, n, work, spare)
            low = _slope_at(time, ru, couples, width, trend - step, step, n, work, spare)
            high = _slope_at(time, ru, couples, -width, trend + step, step, n, work, spare)
            trend_error = (high - low) / (2.0 * _INTERVAL)
    pixel[TREND] = trend
    pixel[TREND_ERROR] = trend_error
    pixel[CORRELATION] = rho


@njit(nogil=True, cache=True)
def _residuals(
    time: Doubles, values: Doubles, mean_t: float, level: float, slope: float, n: int, out: Doubles
) -> None:
    for k in range(n):
        out[k] = values[k] - level - slope * (time[k] - mean_t)


@njit(nogil=True, cache=True)
def _inflations(
    slope_weight: Doubles,
    span: Doubles,
    image1: Whole,
    image2: Whole,
    n: int,
    rho: float,
    sums: Doubles,
    work: Doubles,
    spare: Doubles,
) -> Doubles:
    """Variances of mean, both and slope with shared images (0-2) and without (3-5), but a factor.

    The error of a displacement is taken to be the same for all pairs, so that those of velocities
    go as 1 / span.
    """
    result = np.zeros(6)
    for k in range(n):
        work[k] = 1.0 / (n * span[k])
        spare[k] = slope_weight[k] / span[k]
        result[3] += work[k] * work[k]
        result[4] += work[k] * spare[k]
        result[5] += spare[k] * spare[k]
    # Sums of both, first for the mean, then for the slope: (a + b)^2 - a^2 - b^2 = 2ab.
    for part in range(3):
        if part != 1:
            shared_sums(work if part == 0 else spare, image1, image2, n, sums)
        else:
            shared_sums(work, image1, image2, n, sums)
            shared_sums(spare, image1, image2, n, sums)
        total = 0.0
        for k in range(n):
            for image in (image1[k], image2[k]):
                total += sums[image] * sums[image]
                sums[image] = 0.0
        result[part] = total
    result[1] = 0.5 * (result[1] - result[0] - result[2])
    for part in range(3):
        result[part] = result[3 + part] + rho * (result[part] - 2.0 * result[3 + part])
    return result


@njit(nogil=True, cache=True)
def _theil_sen(
    time: Doubles,
    vx: Doubles,
    vy: Doubles,
    mean_t: float,
    slope_x: float,
    slope_y: float,
    moments: Doubles,
    n: int,
    ordered: Doubles,
    rx: Doubles,
    ry: Doubles,
    work: Doubles,
    spare: Doubles,
) -> tuple[float, float, float, float]:
    """Levels at the mean time and slopes of both components: median slopes, median residuals."""
    couples = _different_times(time, n)
    levels = np.zeros(4)
    for j, values in enumerate((vx, vy)):
        ordered[:n] = values[:n]
        sort_within_ties(time, ordered, n)
        guess = slope_x if j == 0 else slope_y
        step = max(math.sqrt(moments[j, 2]), 1e-6)
        slope = _slope_at(time, ordered, couples, 0.0, guess, step, n, work, spare)
        for k in range(n):
            work[k] = values[k] - slope * (time[k] - mean_t)
        levels[2 * j] = np.median(work[:n])
        levels[2 * j + 1] = slope
    return levels[0], levels[1], levels[2], levels[3]


@njit(nogil=True, cache=True)
def fit_rows(
    vx: Floats,
    vy: Floats,
    time: Doubles,
    span: Doubles,
    image1: Whole,
    image2: Whole,
    centres: Doubles,
    theil_sen: bool,
    significant: bool,
    start: int,
    stop: int,
    pixel: Floats,
    years: Floats,
) -> None:
    """Fit the pixels of some rows of a cube (n, y, x) whose pairs are sorted by ``time``.

    ``pixel`` (`LINE_OUTPUTS`, y, x) and ``years`` (`YEAR_OUTPUTS`, centres, y, x) are filled; NaN
    where there is no line.
    """
    total, _, width = vx.shape
    images = 0
    if total:
        images = max(image1.max(), image2.max()) + 1
    sums = np.zeros(images)
    scratch = np.empty((6, total))
    row_x = np.empty((width, total), np.float32)
    row_y = np.empty((width, total), np.float32)
    t, baseline = np.empty(total), np.empty(total)
    one_x, one_y = np.empty(total), np.empty(total)
    first, second = np.empty(total, np.int64), np.empty(total, np.int64)
    one_pixel = np.empty(6)
    one_years = np.empty((5, centres.size))
    for y in range(start, stop):
        gather_row(vx, y, row_x)
        gather_row(vy, y, row_y)
        for x in range(width):
            n = 0
            for k in range(total):
                if np.isfinite(row_x[x, k]) and np.isfinite(row_y[x, k]):
                    t[n], baseline[n] = time[k], span[k]
                    one_x[n], one_y[n] = row_x[x, k], row_y[x, k]
                    first[n], second[n] = image1[k], image2[k]
                    n += 1
            one_pixel[:] = np.nan
            one_years[:] = np.nan
            if n >= 3 and t[n - 1] - t[0] >= MIN_TREND_YEARS:
                _fit(
                    t[:n], baseline, one_x, one_y, first, second, n, centres, theil_sen,
                    significant, sums, scratch, one_pixel, one_years,
                )  # fmt: skip
            one_pixel[COUNT] = n
            for j in range(6):
                pixel[j, y, x] = one_pixel[j]
            for j in range(5):
                for p in range(centres.size):
                    years[j, p, y, x] = one_years[j, p]
