"""The compiled road of one point: window, candidates, peak, sub-pixel place, quality.

`coarse_rows` looks for a few points over the whole search range; `measure_rows` measures every
point round its prediction. Both work on a range of rows of points with scratch space of their own.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..model import Flag
from .correlate import (
    NO_CANDIDATE,
    gaussian_peak,
    parabola_peak,
    peak_of,
    quadratic_peak,
    surface_masked,
    surface_narrow,
    surface_wide,
    take_patch,
    take_weighted_window,
    take_window,
)
from .gauss_newton import FARTHEST_PX, full_weights, refine_window, refinement_scratch
from .kernels import FASTMATH, PAD

__all__ = ["RESULTS", "SUBPIXEL", "coarse_rows", "measure_rows"]

MEASURED = int(Flag.MEASURED)
MASKED = int(Flag.MASKED)
FLAT = int(Flag.FLAT)
OUTSIDE = int(Flag.OUTSIDE)
NO_PEAK = int(Flag.NO_PEAK)
LOW_CORRELATION = int(Flag.LOW_CORRELATION)

SUBPIXEL = {"none": 0, "parabola": 1, "gaussian": 2, "quadratic": 3, "translation": 4, "affine": 5}
"""Codes of the sub-pixel methods inside the kernels."""
TRANSLATION = SUBPIXEL["translation"]
AFFINE = SUBPIXEL["affine"]

RESULTS = (
    "u", "v", "u_var", "v_var", "uv_cov", "correlation", "peak_ratio", "snr", "prediction_distance",
    "valid_fraction",
)  # fmt: skip
"""Planes of `measure_rows`' result; lengths in pixels, variances for a residual of variance one."""

ITERATIONS = 8
TOLERANCE_PX = 0.003
MOST_CANDIDATES = 41
"""Candidates along each side of a second search, at most."""


@njit(nogil=True, cache=True)
def count_in(integral, y, x, height, width):
    """Number of invalid pixels in a rectangle, from the summed-area table."""
    return (
        integral[y + height, x + width]
        - integral[y, x + width]
        - integral[y + height, x]
        + integral[y, x]
    )


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def search_window(
    window,
    earlier,
    later,
    masks,
    norms,
    y,
    x,
    size,
    rows,
    columns,
    ty,
    tx,
    least,
    share,
    patch,
    flat_window,
    flat_patch,
    surface,
):
    """Fill ``surface`` by the kernel that suits the search and the masks.

    ``(ty, tx)`` is the later image's window of the first candidate; all candidates are inside the
    image.
    """
    valid_earlier, valid_later, gaps_earlier, gaps_later = masks
    if gaps_earlier.size and (
        count_in(gaps_earlier, y, x, size, size)
        + count_in(gaps_later, ty, tx, size + rows - 1, size + columns - 1)
    ):
        surface_masked(
            earlier, later, valid_earlier, valid_later, y, x, size, rows, columns, ty, tx,
            least, share, surface,
        )  # fmt: skip
    elif columns > 10:
        take_patch(later, ty, tx, size + rows - 1, size + columns - 1, patch)
        surface_wide(window, patch, size, rows, columns, norms, ty, tx, surface)
    else:
        surface_narrow(
            window, later, size, rows, columns, norms, ty, tx, flat_window, flat_patch, surface
        )


@njit(nogil=True, cache=True)
def valid_share(masks, y, x, size, ty, tx):
    """Share of pixels that are valid in both windows."""
    valid_earlier, valid_later, gaps_earlier, gaps_later = masks
    if not gaps_earlier.size or (
        count_in(gaps_earlier, y, x, size, size) == 0
        and count_in(gaps_later, ty, tx, size, size) == 0
    ):
        return 1.0
    number = 0
    for i in range(size):
        m1 = valid_earlier[y + i, x : x + size]
        m2 = valid_later[ty + i, tx : tx + size]
        for k in range(size):
            number += m1[k] & m2[k]
    return number / (size * size)


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def coarse_rows(
    start, stop, earlier, later, masks, norms, ys, xs, size, around_u, around_v, radius, least,
    share, out,
):  # fmt: skip
    """Search whole ranges for rows ``start`` to ``stop`` of points.

    ``radius`` is given per point, ``around_u, around_v`` is the displacement in its middle;
    ``out`` is ``(5, rows, columns)``: u, v, correlation, peak ratio, snr. NaN where there is no
    peak.
    """
    channels, height, width = earlier.shape
    most = 2 * radius.max() + 1
    window = np.zeros((channels, size * (size + PAD)), np.float32)
    patch = np.empty((channels, size + most, size + most), np.float32)
    flat_window = np.empty(size * (size + most), np.float32)
    flat_patch = np.empty((size + most) * (size + most) + 8, np.float32)
    surface = np.empty((most, most), np.float32)
    for row in range(start, stop):
        for column in range(xs.size):
            out[:, row, column] = np.nan
            y, x = ys[row], xs[column]
            reach = radius[row, column]
            mid_u = int(np.rint(around_u[row, column]))
            mid_v = int(np.rint(around_v[row, column]))
            ty = max(y + mid_v - reach, 0)
            tx = max(x + mid_u - reach, 0)
            rows = min(y + mid_v + reach, height - size) - ty + 1
            columns = min(x + mid_u + reach, width - size) - tx + 1
            if rows < 3 or columns < 3:
                continue
            norm = take_window(earlier, y, x, size, window)
            if norm * norm <= least:
                continue
            search_window(
                window, earlier, later, masks, norms, y, x, size, rows, columns, ty, tx, least,
                share, patch, flat_window, flat_patch, surface,
            )  # fmt: skip
            i, j, ratio, snr = peak_of(surface, rows, columns)
            if i <= 0 or j <= 0 or i >= rows - 1 or j >= columns - 1:
                continue
            du, dv = quadratic_peak(surface, i, j)
            out[0, row, column] = tx + j - x + du
            out[1, row, column] = ty + i - y + dv
            out[2, row, column] = surface[i, j]
            out[3, row, column] = ratio
            out[4, row, column] = snr


@njit(nogil=True, cache=True)
def interpolate(nodes, at_y, at_x, values, bounds):
    """Bilinear values of all planes at a place among nodes, and the bounds of the first two there.

    ``bounds`` receives least and most of plane 0 and of plane 1 over the four nodes round the
    place, those without a value left out.
    """
    rows, columns = nodes.shape[1:]
    i = min(int(at_y), max(rows - 2, 0))
    j = min(int(at_x), max(columns - 2, 0))
    below = min(i + 1, rows - 1)
    right = min(j + 1, columns - 1)
    fy = at_y - i
    fx = at_x - j
    values[:] = 0.0
    bounds[0] = bounds[2] = np.inf
    bounds[1] = bounds[3] = -np.inf
    for row, weight_y in ((i, 1.0 - fy), (below, fy)):
        for column, weight_x in ((j, 1.0 - fx), (right, fx)):
            # A node of no weight may be one where the full search found nothing.
            if weight_y * weight_x != 0.0:
                for k in range(nodes.shape[0]):
                    values[k] += weight_y * weight_x * nodes[k, row, column]
            for k in range(2):
                value = nodes[k, row, column]
                if value == value:
                    bounds[2 * k] = min(bounds[2 * k], value)
                    bounds[2 * k + 1] = max(bounds[2 * k + 1], value)


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def measure_rows(
    start, stop, earlier, later, earlier_spline, later_spline, masks, norms, ys, xs, size, nodes,
    node_y, node_x, radius, wider, method, least, share, doubtful, chance, out, deformation, flag,
):  # fmt: skip
    """Measure rows ``start`` to ``stop`` of points.

    Parameters
    ----------
    earlier, later, earlier_spline, later_spline
        Feature stacks and their spline coefficients.
    masks
        ``(valid_earlier, valid_later, gaps_earlier, gaps_later)``: masks and summed-area tables of
        what is invalid; all empty when all is valid.
    norms
        `inverse_norms` of the later stack.
    ys, xs, size
        Where windows start, and their size.
    nodes, node_y, node_x
        The predicted ``u, v, u_x, u_y, v_x, v_y`` on coarse nodes, and the place of each row and
        column of points among them.
    radius, wider, method
        Of the first search; how far the second one goes beyond the nodes round the point; the code
        of the sub-pixel method.
    least, share, doubtful, chance
        A window with a smaller sum of squares is flat; the smallest valid share; the correlations
        under which the second try is made, and under which a peak may be chance.
    out, deformation, flag
        Results: the planes `RESULTS`, the affine method's u_x, u_y, v_x, v_y (or empty), and
        `ogive.model.Flag`.
    """
    channels, height, width = earlier.shape
    most = max(2 * radius + 1, MOST_CANDIDATES)
    window = np.zeros((channels, size * (size + PAD)), np.float32)
    patch = np.empty((channels, size + most, size + most), np.float32)
    flat_window = np.empty(size * (size + most), np.float32)
    flat_patch = np.empty((size + most) * (size + most) + 8, np.float32)
    surface = np.empty((most, most), np.float32)
    scratch = refinement_scratch(channels, size)
    weights = full_weights(size)
    everything = full_weights(size)
    motion = np.empty(6)
    covariance = np.empty(3)
    predicted = np.empty(6)
    bounds = np.empty(4)
    for row in range(start, stop):
        for column in range(xs.size):
            out[:, row, column] = np.nan
            y, x = ys[row], xs[column]
            if masks[2].size:
                gaps = count_in(masks[2], y, x, size, size)
                if size * size - gaps < share * size * size:
                    out[9, row, column] = 1.0 - gaps / (size * size)
                    flag[row, column] = MASKED
                    continue
            norm = take_window(earlier, y, x, size, window)
            if norm * norm <= least:
                flag[row, column] = FLAT
                continue
            interpolate(nodes, node_y[row], node_x[column], predicted, bounds)
            u, v = predicted[0], predicted[1]
            if u != u or v != v:
                flag[row, column] = NO_PEAK
                continue
            found = False
            judged = False
            clipped = False
            for attempt in range(2):
                if attempt == 0:
                    first_u = int(np.rint(u)) - radius
                    last_u = first_u + 2 * radius
                    first_v = int(np.rint(v)) - radius
                    last_v = first_v + 2 * radius
                else:
                    first_u = max(int(np.floor(bounds[0])) - wider, int(u) - MOST_CANDIDATES // 2)
                    last_u = min(int(np.ceil(bounds[1])) + wider, first_u + MOST_CANDIDATES - 1)
                    first_v = max(int(np.floor(bounds[2])) - wider, int(v) - MOST_CANDIDATES // 2)
                    last_v = min(int(np.ceil(bounds[3])) + wider, first_v + MOST_CANDIDATES - 1)
                ty = max(y + first_v, 0)
                tx = max(x + first_u, 0)
                rows = min(y + last_v, height - size) - ty + 1
                columns = min(x + last_u, width - size) - tx + 1
                clipped = (
                    ty > y + first_v
                    or tx > x + first_u
                    or rows < last_v - first_v + 1
                    or columns < last_u - first_u + 1
                )
                if rows < 3 or columns < 3:
                    break
                search_window(
                    window, earlier, later, masks, norms, y, x, size, rows, columns, ty, tx, least,
                    share, patch, flat_window, flat_patch, surface,
                )  # fmt: skip
                i, j, ratio, snr = peak_of(surface, rows, columns)
                if i < 0:
                    break
                judged = surface[i, j] > NO_CANDIDATE
                found = 0 < i < rows - 1 and 0 < j < columns - 1
                if found:
                    for a in range(-1, 2):
                        for b in range(-1, 2):
                            if surface[i + a, j + b] <= NO_CANDIDATE:
                                found = False
                if found and surface[i, j] >= doubtful:
                    break
            if not found:
                flag[row, column] = OUTSIDE if clipped else (NO_PEAK if judged else MASKED)
                continue
            peak_u = tx + j - x
            peak_v = ty + i - y
            correlation = surface[i, j]
            if correlation < chance:
                out[5, row, column] = correlation
                flag[row, column] = LOW_CORRELATION
                continue
            if method == 1:
                du, dv = parabola_peak(surface, i, j)
            elif method == 2:
                du, dv = gaussian_peak(surface, i, j)
            elif method == 0:
                du, dv = 0.0, 0.0
            else:
                du, dv = quadratic_peak(surface, i, j)
            motion[0] = peak_u + du
            motion[1] = peak_v + dv
            motion[2:] = predicted[2:]
            whole = valid_share(masks, y, x, size, ty + i, tx + j)
            if whole < 1.0:
                for a in range(size):
                    m1 = masks[0][y + a, x : x + size]
                    m2 = masks[1][ty + i + a, tx + j : tx + j + size]
                    for b in range(size):
                        weights[a * (size + PAD) + b] = np.float32(m1[b] & m2[b])
                norm = take_weighted_window(earlier, y, x, size, weights, window)
            rounds = ITERATIONS if method >= TRANSLATION else 0
            refined, left = refine_window(
                window, norm, earlier_spline, later_spline, y, x, size, method == AFFINE,
                rounds, TOLERANCE_PX, weights if whole < 1.0 else everything, whole < 1.0,
                scratch, motion, covariance,
            )  # fmt: skip
            if method >= TRANSLATION:
                if refined == -2.0:
                    flag[row, column] = OUTSIDE
                    continue
                if (
                    refined < -1.0
                    or left > 10 * TOLERANCE_PX
                    or abs(motion[0] - peak_u) > FARTHEST_PX
                    or abs(motion[1] - peak_v) > FARTHEST_PX
                ):
                    flag[row, column] = NO_PEAK
                    continue
                correlation = refined
            out[0, row, column] = motion[0]
            out[1, row, column] = motion[1]
            out[2, row, column] = covariance[0]
            out[3, row, column] = covariance[1]
            out[4, row, column] = covariance[2]
            out[5, row, column] = correlation
            out[6, row, column] = ratio
            out[7, row, column] = snr
            out[8, row, column] = np.hypot(motion[0] - u, motion[1] - v)
            out[9, row, column] = whole
            if deformation.size:
                for k in range(4):
                    deformation[k, row, column] = motion[2 + k]
            flag[row, column] = MEASURED
