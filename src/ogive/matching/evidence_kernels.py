"""The compiled loops under `evidence`: correlation surfaces to likelihoods, paths and peaks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .correlate import NO_CANDIDATE, quadratic_peak
from .kernels import FASTMATH

__all__ = [
    "SEEN",
    "add_paths",
    "joint_peaks",
    "likeliest_steps",
    "path_ratios",
    "probabilities",
    "squared_significance",
]

SEEN = 0.5
"""Chance that a middle image shows the feature, before it is looked at: as good as unknown."""
NEGLIGIBLE = 40.0
"""Likelihoods are below 2e-9 of the largest where z² is this much smaller."""


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _scatter(surface: Any) -> Any:
    """Highest correlation, and mean square beyond its 3 x 3 neighbourhood (0 where none)."""
    side = surface.shape[0]
    best = NO_CANDIDATE
    best_i = best_j = -9
    squares = 0.0
    number = 0
    for i in range(side):
        row = surface[i]
        for j in range(side):
            value = row[j]
            if value > NO_CANDIDATE:
                squares += value * value
                number += 1
            if value > best:
                best = value
                best_i, best_j = i, j
    for i in range(max(best_i - 1, 0), min(best_i + 2, side)):
        for j in range(max(best_j - 1, 0), min(best_j + 2, side)):
            value = surface[i, j]
            if value > NO_CANDIDATE:
                squares -= value * value
                number -= 1
    # What cancels to rounding is a surface that is zero beyond its peak.
    if number == 0 or squares <= 1e-7 * best * best:
        return best, 0.0
    return best, squares / number


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def squared_significance(surfaces: Any, out: Any) -> None:
    """z² of what is above zero, on each surface; NO_CANDIDATE stays."""
    number, side, _ = surfaces.shape
    for k in range(number):
        _, mean_square = _scatter(surfaces[k])
        scale = np.float32(1.0 / mean_square) if mean_square > 0.0 else np.float32(0.0)
        for i in range(side):
            row = surfaces[k, i]
            target = out[k, i]
            for j in range(side):
                above = max(row[j], np.float32(0.0))
                target[j] = NO_CANDIDATE if row[j] <= NO_CANDIDATE else scale * above * above


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def probabilities(surfaces: Any, out: Any, known: Any) -> None:
    """Likelihoods of each surface, of sum one, in the corner of ``out``; not known where none."""
    number, side, _ = surfaces.shape
    for k in range(number):
        best, mean_square = _scatter(surfaces[k])
        if mean_square <= 0.0 or best <= 0.0:
            known[k] = False
            continue
        scale = np.float32(0.5 / mean_square)
        most = np.float32(best * best * scale)
        total = np.float32(0.0)
        for i in range(side):
            row = surfaces[k, i]
            target = out[k, i]
            for j in range(side):
                value = row[j]
                if value <= NO_CANDIDATE:
                    continue
                above = max(value, np.float32(0.0))
                power = scale * above * above - most
                if power > -0.5 * NEGLIGIBLE:
                    target[j] = np.exp(power)
                    total += target[j]
        scale = np.float32(1.0 / total)
        for i in range(side):
            target = out[k, i]
            for j in range(side):
                target[j] *= scale


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def path_ratios(together: Any, out: Any) -> None:
    """Likelihood ratios of the paths over one image, from the convolved probabilities."""
    number, side, _ = out.shape
    radius = side // 2
    most = np.float32(SEEN * np.float64(side) ** 4)
    for k in range(number):
        for i in range(side):
            target = out[k, i]
            row = together[k, radius + i]
            rows = side - abs(i - radius)
            for j in range(side):
                scale = most / np.float32(rows * (side - abs(j - radius)))
                target[j] = np.float32(1.0 - SEEN) + scale * max(row[radius + j], np.float32(0.0))


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def add_paths(ratios: Any, known: Any, total: Any) -> None:
    """Add twice the logarithms of the ratios, weighted for the noise that all paths share."""
    middles, number, side, _ = ratios.shape
    for k in range(number):
        say = 0
        for m in range(middles):
            say += known[m, k]
        weight = np.float32(4.0 / (say + 1.0))
        for m in range(middles):
            if not known[m, k]:
                continue
            for i in range(side):
                row, target = ratios[m, k, i], total[k, i]
                for j in range(side):
                    # What cannot be judged directly stays out, whatever a path says of it.
                    if target[j] > NO_CANDIDATE:
                        target[j] += weight * np.log(row[j])


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def joint_peaks(direct: Any, total: Any, peaks: Any, places: Any) -> None:
    """Peak of each total: the numbers of `Joint`, in their order; and its row and column."""
    number, side, _ = direct.shape
    radius = side // 2
    for k in range(number):
        best = np.float32(-np.inf)
        best_i = best_j = -1
        for i in range(side):
            for j in range(side):
                if direct[k, i, j] > NO_CANDIDATE and total[k, i, j] > best:
                    best = total[k, i, j]
                    best_i, best_j = i, j
        if best_i < 0:
            continue
        second = np.float32(0.0)
        for i in range(side):
            for j in range(side):
                if (
                    (abs(i - best_i) > 1 or abs(j - best_j) > 1)
                    and direct[k, i, j] > NO_CANDIDATE
                    and total[k, i, j] > second
                ):
                    second = total[k, i, j]
        peaks[5, k] = direct[k, best_i, best_j]
        peaks[6, k] = best
        peaks[7, k] = np.sqrt(best / second) if best > 0.0 and second > 0.0 else np.nan
        if not (0 < best_i < side - 1 and 0 < best_j < side - 1) or best <= 0.0:
            continue
        whole = True
        for i in range(best_i - 1, best_i + 2):
            for j in range(best_j - 1, best_j + 2):
                whole &= direct[k, i, j] > NO_CANDIDATE
        if not whole:
            continue
        hxx, hyy, hxy = _curvature(total[k], best_i, best_j)
        determinant = hxx * hyy - hxy * hxy
        if determinant <= 0.0 or hxx >= 0.0:
            continue
        du, dv = quadratic_peak(total[k], best_i, best_j)
        peaks[0, k] = best_j - radius + du
        peaks[1, k] = best_i - radius + dv
        peaks[2, k] = -2.0 * hyy / determinant
        peaks[3, k] = -2.0 * hxx / determinant
        peaks[4, k] = 2.0 * hxy / determinant
        places[0, k] = best_i
        places[1, k] = best_j


@njit(nogil=True, cache=True)
def _curvature(surface: Any, i: int, j: int) -> Any:
    """Second derivatives xx, yy, xy of the least-squares quadratic through 3 x 3 values."""
    sxx = syy = sxy = 0.0
    for a in range(-1, 2):
        for b in range(-1, 2):
            value = np.float64(surface[i + a, j + b])
            sxx += (3 * b * b - 2) * value
            syy += (3 * a * a - 2) * value
            sxy += a * b * value
    return sxx / 3.0, syy / 3.0, sxy / 4.0


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def likeliest_steps(before: Any, after: Any, known: Any, side: int, places: Any, path: Any) -> None:
    """The first step of the likeliest path to each place, and how much all paths support it."""
    number = known.size
    radius = side // 2
    for k in range(number):
        row, column = places[0, k], places[1, k]
        if row < 0:
            continue
        path[2, k] = 0.0
        if not known[k]:
            continue
        total = 0.0
        best = np.float32(-1.0)
        best_i = best_j = radius
        # In corner coordinates the two steps add up to row + radius, column + radius.
        for i in range(max(row - radius, 0), min(row + radius, side - 1) + 1):
            first = before[k, i]
            second = after[k, row + radius - i]
            for j in range(max(column - radius, 0), min(column + radius, side - 1) + 1):
                value = first[j] * second[column + radius - j]
                total += value
                if value > best:
                    best = value
                    best_i, best_j = i, j
        ways = (side - abs(row - radius)) * (side - abs(column - radius))
        path[0, k] = best_j - radius
        path[1, k] = best_i - radius
        path[2, k] = 2.0 * np.log(1.0 - SEEN + SEEN * np.float64(side) ** 4 / ways * total)
