"""Compiled means and medians of each pixel's velocities in each year, with spread and error.

Everything is made from components. A mean of magnitudes is biased: noise of standard deviation
sigma in both components turns ice that stands still into ice of 1.25 sigma. So the velocity of a
year is the mean (or median) of vx and of vy, its speed the length of that vector, and the spread of
the speed is that of the component along it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .line import cross_share, gather_row

__all__ = ["METHODS", "OVERALL_OUTPUTS", "YEARLY_OUTPUTS", "aggregate_rows"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Whole = NDArray[np.int64]

METHODS = {"mean": 0, "weighted_mean": 1, "median": 2}

YEARLY_OUTPUTS = (
    "vx", "vy", "vx_error", "vy_error", "v_error", "direction_std", "v_std", "count",
)  # fmt: skip
OVERALL_OUTPUTS = ("a", "stdeva", "stdev", "v", "cnt", "season_parts")

_MEDIAN_VARIANCE = 0.5 * math.pi
_NMAD = 1.4826


@njit(nogil=True, cache=True)
def weighted_median(values: Doubles, weights: Doubles, n: int) -> float:
    """Value with half of the weight below and half above; the middle where two share it."""
    order = np.argsort(values[:n])
    half = 0.5 * weights[:n].sum()
    reached = 0.0
    for j in range(n):
        reached += weights[order[j]]
        if reached > half * (1.0 + 1e-12):
            return float(values[order[j]])
        if reached >= half * (1.0 - 1e-12) and j + 1 < n:
            return float(0.5 * (values[order[j]] + values[order[j + 1]]))
    return float(values[order[n - 1]])


@njit(nogil=True, cache=True)
def _level(values: Doubles, weights: Doubles, n: int, median: bool) -> float:
    if median:
        return weighted_median(values, weights, n)
    total = 0.0
    for k in range(n):
        total += weights[k] * values[k]
    return total


@njit(nogil=True, cache=True)
def _error(
    residuals: Doubles, weights: Doubles, n: int, median: bool, work: Doubles, grown: float
) -> float:
    """Error of a mean or median of n >= 2 values; weights sum to 1."""
    total = 0.0
    if median:
        for k in range(n):
            work[k] = abs(residuals[k])
            total += weights[k] * weights[k]
        spread = _NMAD * weighted_median(work, weights, n)
        total *= _MEDIAN_VARIANCE * spread * spread * n / (n - 1.0)
    else:
        for k in range(n):
            total += (weights[k] * residuals[k] / max(1.0 - weights[k], 1e-3)) ** 2
    return math.sqrt(total * grown)


@njit(nogil=True, cache=True)
def _spread(
    vx: Doubles, vy: Doubles, weights: Doubles, n: int, mean_x: float, mean_y: float
) -> tuple[float, float]:
    """Standard deviations of direction (radians) and of the velocity along the mean direction."""
    if n < 2:
        return np.nan, np.nan
    speed = math.hypot(mean_x, mean_y)
    if speed == 0.0:
        return np.nan, np.nan
    east, north = mean_x / speed, mean_y / speed
    angle = along = 0.0
    level = 0.0
    for k in range(n):
        level += weights[k] * (vx[k] * east + vy[k] * north)
    for k in range(n):
        forward = vx[k] * east + vy[k] * north
        angle += weights[k] * math.atan2(vy[k] * east - vx[k] * north, forward) ** 2
        along += weights[k] * (forward - level) ** 2
    free = n / (n - 1.0)
    return math.sqrt(angle * free), math.sqrt(along * free)


@njit(nogil=True, cache=True)
def _year(
    vx: Doubles,
    vy: Doubles,
    error_x: Doubles,
    error_y: Doubles,
    weights: Doubles,
    span: Doubles,
    image1: Whole,
    image2: Whole,
    n: int,
    median: bool,
    formal: bool,
    rho: float,
    sums: Doubles,
    work: Doubles,
    residuals: Doubles,
    out: Doubles,
) -> None:
    """Aggregate the n observations of one year; ``weights`` sum to 1."""
    mean_x, mean_y = _level(vx, weights, n, median), _level(vy, weights, n, median)
    out[0], out[1] = mean_x, mean_y
    out[5], out[6] = _spread(vx, vy, weights, n, mean_x, mean_y)
    out[7] = n
    speed = math.hypot(mean_x, mean_y)
    east, north = (mean_x / speed, mean_y / speed) if speed > 0.0 else (1.0, 0.0)
    grown = 1.0
    if rho > 0.0:
        for k in range(n):
            work[k] = weights[k] / span[k]
        grown = max(1.0 + rho * cross_share(work, image1, image2, n, sums), 1.0)
    for j in range(3):
        a, b = (1.0, 0.0) if j == 0 else ((0.0, 1.0) if j == 1 else (east, north))
        told = 0.0
        for k in range(n):
            residuals[k] = a * (vx[k] - mean_x) + b * (vy[k] - mean_y)
            told += weights[k] ** 2 * ((a * error_x[k]) ** 2 + (b * error_y[k]) ** 2)
        error = _error(residuals, weights, n, median, work, grown) if n > 1 else np.nan
        declared = math.sqrt(told * grown)
        if n == 1 or (formal and declared > error):
            error = declared
        out[2 + j] = error


@njit(nogil=True, cache=True)
def aggregate_rows(
    vx: Floats,
    vy: Floats,
    error_x: Floats,
    error_y: Floats,
    shares: Doubles,
    span: Doubles,
    parts: NDArray[np.uint16],
    image1: Whole,
    image2: Whole,
    rho: Floats,
    method: int,
    start: int,
    stop: int,
    yearly: Floats,
    overall: Floats,
) -> None:
    """Aggregate the pixels of some rows of a cube (n, y, x).

    Errors are (n, 1, 1) or (n, y, x), NaN where unknown. ``yearly`` (`YEARLY_OUTPUTS`, period, y,
    x) and ``overall`` (`OVERALL_OUTPUTS`, y, x) are filled.
    """
    total, _, width = vx.shape
    periods = shares.shape[0]
    images = 0
    if total:
        images = max(image1.max(), image2.max()) + 1
    sums = np.zeros(images)
    row_x = np.empty((width, total), np.float32)
    row_y = np.empty((width, total), np.float32)
    a, b = np.empty(total), np.empty(total)
    da, db = np.empty(total), np.empty(total)
    weights, baseline = np.empty(total), np.empty(total)
    work, residuals = np.empty(total), np.empty(total)
    first, second = np.empty(total, np.int64), np.empty(total, np.int64)
    out = np.empty(8)
    per_point_y, per_point_x = error_x.shape[1] > 1, error_x.shape[2] > 1
    for y in range(start, stop):
        gather_row(vx, y, row_x)
        gather_row(vy, y, row_y)
        for x in range(width):
            shared = rho[y, x] if rho[y, x] == rho[y, x] else 0.0
            for p in range(periods + 1):
                n = 0
                weight = 0.0
                touched = np.uint16(0)
                for k in range(total):
                    share = shares[p, k] if p < periods else 1.0
                    if not share > 0.0 or row_x[x, k] != row_x[x, k]:
                        continue
                    ey, ex = y if per_point_y else 0, x if per_point_x else 0
                    da[n], db[n] = error_x[k, ey, ex], error_y[k, ey, ex]
                    w = share
                    if method == 1:
                        w = share / (da[n] ** 2 + db[n] ** 2)
                        if not (w > 0.0 and w < np.inf):
                            continue
                    a[n], b[n], baseline[n] = row_x[x, k], row_y[x, k], span[k]
                    first[n], second[n] = image1[k], image2[k]
                    weights[n] = w
                    weight += w
                    touched |= parts[k]
                    n += 1
                for k in range(n):
                    weights[k] /= weight
                out[:] = np.nan
                out[7] = 0.0
                if p < periods:
                    if n:
                        _year(
                            a, b, da, db, weights, baseline, first, second, n, method == 2,
                            method == 1, shared, sums, work, residuals, out,
                        )  # fmt: skip
                    for j in range(8):
                        yearly[j, p, y, x] = out[j]
                    continue
                if n:
                    mean_x = _level(a, weights, n, method == 2)
                    mean_y = _level(b, weights, n, method == 2)
                    out[0] = math.atan2(mean_y, mean_x)
                    out[1], out[2] = _spread(a, b, weights, n, mean_x, mean_y)
                    out[3] = math.hypot(mean_x, mean_y)
                count = 0
                for part in range(16):
                    count += int((touched >> part) & 1)
                for j in range(4):
                    overall[j, y, x] = out[j]
                overall[4, y, x] = n
                overall[5, y, x] = count
