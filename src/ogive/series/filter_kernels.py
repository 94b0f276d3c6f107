"""Compiled filters over the pixels of some rows of a cube (n, y, x), which they change in place."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .line import gather_row

__all__ = ["baseline_rows", "direction_rows", "gross_rows", "percentile_rows", "resistant_line"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_NMAD = 1.4826


@njit(nogil=True, cache=True)
def _known(
    row_x: Floats,
    row_y: Floats,
    order: NDArray[np.int64],
    a: Doubles,
    b: Doubles,
    places: NDArray[np.int64],
) -> int:
    """Gather the velocities of a pixel in an order of the pairs, and where they are."""
    n = 0
    for k in order:
        if row_x[k] == row_x[k]:
            a[n], b[n] = row_x[k], row_y[k]
            places[n] = k
            n += 1
    return n


@njit(nogil=True, cache=True)
def baseline_rows(
    vx: Floats, vy: Floats, days: Doubles, least_m: float, most_m: float,
    longest_minimum: float, shortest_maximum: float, min_share: float, start: int, stop: int,
) -> None:  # fmt: skip
    """Remove baselines too short or too long for the flow of a pixel."""
    total, _, width = vx.shape
    order = np.arange(total)
    row_x = np.empty((width, total), np.float32)
    row_y = np.empty((width, total), np.float32)
    a, b, places = np.empty(total), np.empty(total), np.empty(total, np.int64)
    for y in range(start, stop):
        gather_row(vx, y, row_x)
        gather_row(vy, y, row_y)
        for x in range(width):
            n = _known(row_x[x], row_y[x], order, a, b, places)
            if n == 0:
                continue
            speed = math.hypot(np.median(a[:n]), np.median(b[:n])) / 365.25
            shortest, longest = longest_minimum, np.inf
            if speed > 0.0:
                shortest = min(least_m / speed, longest_minimum)
                longest = max(most_m / speed, shortest_maximum)
            for j in range(n):
                a[j] = days[places[j]]
            spans = np.sort(a[:n])
            kept = min(max(math.ceil(min_share * n), 1), n)
            shortest = min(shortest, spans[n - kept])
            longest = max(longest, spans[kept - 1])
            for j in range(n):
                k = places[j]
                if days[k] < shortest or days[k] > longest:
                    vx[k, y, x] = np.nan
                    vy[k, y, x] = np.nan


@njit(nogil=True, cache=True)
def direction_rows(vx: Floats, vy: Floats, cosine: float, start: int, stop: int) -> None:
    """Remove what points farther from the median direction than an angle of this cosine."""
    total, _, width = vx.shape
    order = np.arange(total)
    row_x = np.empty((width, total), np.float32)
    row_y = np.empty((width, total), np.float32)
    a, b, places = np.empty(total), np.empty(total), np.empty(total, np.int64)
    for y in range(start, stop):
        gather_row(vx, y, row_x)
        gather_row(vy, y, row_y)
        for x in range(width):
            n = _known(row_x[x], row_y[x], order, a, b, places)
            if n == 0:
                continue
            east, north = np.median(a[:n]), np.median(b[:n])
            speed = math.hypot(east, north)
            for j in range(n):
                # A pixel that does not move has no direction to keep to.
                forward = a[j] * east + b[j] * north
                if forward < cosine * speed * math.hypot(a[j], b[j]) - 1e-9 * speed:
                    vx[places[j], y, x] = np.nan
                    vy[places[j], y, x] = np.nan


@njit(nogil=True, cache=True)
def resistant_line(time: Doubles, values: Doubles, n: int, out: Doubles) -> None:
    """Deviations from Tukey's resistant line through sorted times; out may be values."""
    slope = 0.0
    third = n // 3
    if third >= 3:
        apart = np.median(time[n - third : n]) - np.median(time[:third])
        if apart > 0.0:
            slope = (np.median(values[n - third : n]) - np.median(values[:third])) / apart
    for k in range(n):
        out[k] = values[k] - slope * time[k]
    level = np.median(out[:n])
    for k in range(n):
        out[k] -= level


@njit(nogil=True, cache=True)
def gross_rows(vx: Floats, vy: Floats, time: Doubles, limit: float, start: int, stop: int) -> None:
    """Remove what is farther from the resistant line than so many robust deviations."""
    total, _, width = vx.shape
    order = np.argsort(time)
    row_x = np.empty((width, total), np.float32)
    row_y = np.empty((width, total), np.float32)
    a, b, places = np.empty(total), np.empty(total), np.empty(total, np.int64)
    when = np.empty(total)
    for y in range(start, stop):
        gather_row(vx, y, row_x)
        gather_row(vy, y, row_y)
        for x in range(width):
            n = _known(row_x[x], row_y[x], order, a, b, places)
            if n < 3:
                continue
            for j in range(n):
                when[j] = time[places[j]]
            for values in (a, b):
                resistant_line(when, values, n, values)
                spread = _NMAD * np.median(np.abs(values[:n]))
                if not spread > 0.0:
                    continue
                for j in range(n):
                    if abs(values[j]) > limit * spread:
                        vx[places[j], y, x] = np.nan
                        vy[places[j], y, x] = np.nan


@njit(nogil=True, cache=True)
def percentile_rows(
    vx: Floats, vy: Floats, time: Doubles, low: float, high: float, about_line: bool,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Remove the tails of the speeds, or of the deviations from the line."""
    total, _, width = vx.shape
    order = np.argsort(time)
    row_x = np.empty((width, total), np.float32)
    row_y = np.empty((width, total), np.float32)
    a, b, places = np.empty(total), np.empty(total), np.empty(total, np.int64)
    when = np.empty(total)
    for y in range(start, stop):
        gather_row(vx, y, row_x)
        gather_row(vy, y, row_y)
        for x in range(width):
            n = _known(row_x[x], row_y[x], order, a, b, places)
            if n < 3:
                continue
            if about_line:
                east, north = np.median(a[:n]), np.median(b[:n])
                speed = math.hypot(east, north)
                for j in range(n):
                    when[j] = time[places[j]]
                    along = (a[j] * east + b[j] * north) / speed if speed > 0.0 else a[j]
                    a[j] = along
                resistant_line(when, a, n, a)
            else:
                for j in range(n):
                    a[j] = math.hypot(a[j], b[j])
            ordered = np.sort(a[:n])
            least = ordered[math.floor(low * (n - 1) + 1e-9)]
            most = ordered[math.ceil(high * (n - 1) - 1e-9)]
            for j in range(n):
                if a[j] < least or a[j] > most:
                    vx[places[j], y, x] = np.nan
                    vy[places[j], y, x] = np.nan
