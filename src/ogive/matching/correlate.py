r"""Zero-mean normalised cross-correlation of windows of feature stacks.

For a window :math:`T_c` of the earlier image and one of the later image displaced by
:math:`(\Delta x, \Delta y)`, both of channels :math:`c` and with each channel's mean taken out,

.. math::

    \rho = \frac{\sum_c \sum_{x} T_c(x) I_c(x + \Delta)}
                {\sqrt{\sum_c \sum_x T_c^2(x)}\sqrt{\sum_c \sum_x I_c^2(x + \Delta)}}.

With masks, all sums run over the pixels that are valid in both windows (Padfield 2012, IEEE Trans.
Image Proc. 21, 2706-2718).

Two loops do the work. `surface_wide` runs its inner loop over candidates: best for a search of tens
of pixels. `surface_narrow` lays window and patch out with one stride, the window padded by zeros,
so that each candidate is one long dot product, and takes five of them at a time: best for the 5 x 5
search. Windows that touch no invalid pixel never pay for masks.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .kernels import FASTMATH, PAD

__all__ = ["NO_CANDIDATE"]

NO_CANDIDATE = np.float32(-2.0)
"""Stands in a surface where a displacement cannot be judged: outside the image, or masked."""


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def take_window(stack, y, x, size, window):
    """Copy a window as lines with zeros behind each, zero-mean and of norm one; return its norm.

    ``window`` is ``(channel, size (size + PAD))``; what lies behind the lines stays untouched.
    """
    squares = np.float64(0.0)
    for c in range(stack.shape[0]):
        total = np.float32(0.0)
        corner = stack[c, y + size // 2, x + size // 2]
        for i in range(size):
            row = stack[c, y + i, x : x + size]
            target = window[c, i * (size + PAD) : i * (size + PAD) + size]
            for k in range(size):
                value = row[k] - corner
                target[k] = value
                total += value
        mean = np.float32(total / (size * size))
        part = np.float32(0.0)
        for i in range(size):
            target = window[c, i * (size + PAD) : i * (size + PAD) + size]
            for k in range(size):
                value = target[k] - mean
                target[k] = value
                part += value * value
        squares += part
    norm = np.sqrt(squares)
    if norm > 0.0:
        scale = np.float32(1.0 / norm)
        for c in range(stack.shape[0]):
            line = window[c]
            for k in range(line.size):
                line[k] *= scale
    return norm


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def take_weighted_window(stack, y, x, size, weights, window):
    """`take_window` over the pixels of weight one; the others become zero."""
    squares = 0.0
    for c in range(stack.shape[0]):
        total = 0.0
        number = 0.0
        for i in range(size):
            for k in range(size):
                weight = weights[i * (size + PAD) + k]
                total += weight * np.float64(stack[c, y + i, x + k])
                number += weight
        mean = total / number
        for i in range(size):
            for k in range(size):
                weight = weights[i * (size + PAD) + k]
                value = np.float32(weight * (stack[c, y + i, x + k] - mean))
                window[c, i * (size + PAD) + k] = value
                squares += value * value
    norm = np.sqrt(squares)
    if norm > 0.0:
        for c in range(stack.shape[0]):
            for k in range(window.shape[1]):
                window[c, k] *= np.float32(1.0 / norm)
    return norm


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def take_patch(stack, y, x, height, width, patch):
    """Copy a patch less each channel's mean, so that single precision suffices."""
    for c in range(stack.shape[0]):
        total = 0.0
        for i in range(height):
            row = stack[c, y + i, x : x + width]
            part = np.float32(0.0)
            for k in range(width):
                part += row[k]
            total += part
        mean = np.float32(total / (height * width))
        for i in range(height):
            row = stack[c, y + i, x : x + width]
            target = patch[c, i, :width]
            for k in range(width):
                target[k] = row[k] - mean


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def surface_wide(window, patch, size, rows, columns, norms, y, x, out):
    """Correlate over ``rows`` x ``columns`` candidates; the inner loop runs over candidates.

    ``norms`` is the map of `inverse_norms`; its element ``[y, x]`` belongs to the first candidate.
    """
    for i in range(rows):
        out[i, :columns] = np.float32(0.0)
    for c in range(window.shape[0]):
        for i in range(rows):
            target = out[i, :columns]
            for wy in range(size):
                row = patch[c, i + wy]
                weights = window[c, wy * (size + PAD) : wy * (size + PAD) + size]
                for wx in range(0, size - 7, 8):
                    t0, t1, t2, t3 = weights[wx], weights[wx + 1], weights[wx + 2], weights[wx + 3]
                    t4, t5 = weights[wx + 4], weights[wx + 5]
                    t6, t7 = weights[wx + 6], weights[wx + 7]
                    r0 = row[wx : wx + columns]
                    r1 = row[wx + 1 : wx + 1 + columns]
                    r2 = row[wx + 2 : wx + 2 + columns]
                    r3 = row[wx + 3 : wx + 3 + columns]
                    r4 = row[wx + 4 : wx + 4 + columns]
                    r5 = row[wx + 5 : wx + 5 + columns]
                    r6 = row[wx + 6 : wx + 6 + columns]
                    r7 = row[wx + 7 : wx + 7 + columns]
                    for k in range(columns):
                        target[k] += (t0 * r0[k] + t1 * r1[k] + t2 * r2[k] + t3 * r3[k]) + (
                            t4 * r4[k] + t5 * r5[k] + t6 * r6[k] + t7 * r7[k]
                        )
                for wx in range(size - size % 8, size):
                    t0 = weights[wx]
                    r0 = row[wx : wx + columns]
                    for k in range(columns):
                        target[k] += t0 * r0[k]
    for i in range(rows):
        target = out[i, :columns]
        scale = norms[y + i, x : x + columns]
        for k in range(columns):
            target[k] *= scale[k]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def surface_narrow(window, stack, size, rows, columns, norms, y, x, flat_window, flat_patch, out):
    """Correlate over a few candidates: one dot product each, five side by side.

    ``flat_window`` and ``flat_patch`` are scratch lines, ``flat_patch`` five elements longer than
    the patch.
    """
    stride = size + columns - 1
    length = size * stride
    extent = (size + rows - 1) * stride
    for i in range(rows):
        out[i, :columns] = np.float32(0.0)
    for c in range(window.shape[0]):
        total = np.float32(0.0)
        for i in range(size + rows - 1):
            row = stack[c, y + i, x : x + stride]
            target = flat_patch[i * stride : (i + 1) * stride]
            part = np.float32(0.0)
            for k in range(stride):
                target[k] = row[k]
                part += row[k]
            total += part
        mean = np.float32(total / extent)
        line = flat_patch[:extent]
        for k in range(extent):
            line[k] -= mean
        flat_patch[extent : extent + 5] = np.float32(0.0)
        used = length - columns + 1
        if stride == size + PAD:
            weights = window[c, :used]
        else:
            for i in range(size):
                target = flat_window[i * stride : (i + 1) * stride]
                row = window[c, i * (size + PAD) : i * (size + PAD) + size]
                for k in range(size):
                    target[k] = row[k]
                for k in range(size, stride):
                    target[k] = np.float32(0.0)
            weights = flat_window[:used]
        for i in range(rows):
            for j in range(0, columns, 5):
                first = i * stride + j
                p0 = flat_patch[first : first + used]
                p1 = flat_patch[first + 1 : first + 1 + used]
                p2 = flat_patch[first + 2 : first + 2 + used]
                p3 = flat_patch[first + 3 : first + 3 + used]
                p4 = flat_patch[first + 4 : first + 4 + used]
                s0 = s1 = s2 = s3 = s4 = np.float32(0.0)
                for k in range(used):
                    t = weights[k]
                    s0 += t * p0[k]
                    s1 += t * p1[k]
                    s2 += t * p2[k]
                    s3 += t * p3[k]
                    s4 += t * p4[k]
                out[i, j] += s0
                if j + 1 < columns:
                    out[i, j + 1] += s1
                if j + 2 < columns:
                    out[i, j + 2] += s2
                if j + 3 < columns:
                    out[i, j + 3] += s3
                if j + 4 < columns:
                    out[i, j + 4] += s4
    for i in range(rows):
        for j in range(columns):
            out[i, j] *= norms[y + i, x + j]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def surface_masked(
    earlier, later, valid_earlier, valid_later, y, x, size, rows, columns, ty, tx, least, share, out
):
    """Correlate over the pixels that are valid in both windows, in double precision.

    ``(y, x)`` is the earlier window, ``(ty, tx)`` the first candidate. A candidate with less than
    ``share`` of valid pixels, or whose window is flat there, is none.
    """
    channels = earlier.shape[0]
    needed = share * size * size
    for i in range(rows):
        for j in range(columns):
            number = 0
            for wy in range(size):
                m1 = valid_earlier[y + wy, x : x + size]
                m2 = valid_later[ty + i + wy, tx + j : tx + j + size]
                for k in range(size):
                    number += m1[k] & m2[k]
            out[i, j] = NO_CANDIDATE
            if number < needed or number < 4:
                continue
            product = 0.0
            square_earlier = 0.0
            square_later = 0.0
            for c in range(channels):
                s1 = s2 = 0.0
                for wy in range(size):
                    m1 = valid_earlier[y + wy, x : x + size]
                    m2 = valid_later[ty + i + wy, tx + j : tx + j + size]
                    a = earlier[c, y + wy, x : x + size]
                    b = later[c, ty + i + wy, tx + j : tx + j + size]
                    for k in range(size):
                        both = np.float64(m1[k] & m2[k])
                        s1 += both * a[k]
                        s2 += both * b[k]
                mean1 = s1 / number
                mean2 = s2 / number
                for wy in range(size):
                    m1 = valid_earlier[y + wy, x : x + size]
                    m2 = valid_later[ty + i + wy, tx + j : tx + j + size]
                    a = earlier[c, y + wy, x : x + size]
                    b = later[c, ty + i + wy, tx + j : tx + j + size]
                    for k in range(size):
                        both = np.float64(m1[k] & m2[k])
                        p = both * (a[k] - mean1)
                        q = both * (b[k] - mean2)
                        product += p * q
                        square_earlier += p * p
                        square_later += q * q
            if square_earlier > least and square_later > least:
                out[i, j] = product / np.sqrt(square_earlier * square_later)


@njit(nogil=True, cache=True)
def peak_of(surface, rows, columns):
    """Row and column of the highest correlation (-1 where there is none) and its quality.

    Returns row, column, peak over the highest value outside its 3 x 3 neighbourhood, and the
    squared peak over the mean square outside it. The two are NaN where nothing lies outside.
    """
    best = NO_CANDIDATE
    best_i = best_j = -1
    for i in range(rows):
        for j in range(columns):
            if surface[i, j] > best:
                best = surface[i, j]
                best_i, best_j = i, j
    second = NO_CANDIDATE
    squares = 0.0
    number = 0
    for i in range(rows):
        for j in range(columns):
            value = surface[i, j]
            if (abs(i - best_i) > 1 or abs(j - best_j) > 1) and value > NO_CANDIDATE:
                squares += value * value
                number += 1
                second = max(second, value)
    ratio = best / second if number and second > 0.0 else np.nan
    snr = best * best * number / squares if number and squares > 0.0 else np.nan
    return best_i, best_j, ratio, snr


@njit(nogil=True, cache=True)
def quadratic_peak(surface, i, j):
    """Peak of the least-squares quadratic surface through 3 x 3 values; offsets (x, y)."""
    sx = sy = sxx = syy = sxy = 0.0
    for a in range(-1, 2):
        for b in range(-1, 2):
            value = np.float64(surface[i + a, j + b])
            sx += b * value
            sy += a * value
            sxx += (3 * b * b - 2) * value
            syy += (3 * a * a - 2) * value
            sxy += a * b * value
    gx, gy = sx / 6.0, sy / 6.0
    hxx, hyy, hxy = sxx / 3.0, syy / 3.0, sxy / 4.0
    determinant = hxx * hyy - hxy * hxy
    if determinant <= 0.0 or hxx >= 0.0:
        return 0.0, 0.0
    dx = -(hyy * gx - hxy * gy) / determinant
    dy = -(hxx * gy - hxy * gx) / determinant
    return min(max(dx, -1.0), 1.0), min(max(dy, -1.0), 1.0)


@njit(nogil=True, cache=True)
def parabola_peak(surface, i, j):
    """Peak of one parabola along x and one along y; offsets (x, y)."""
    left, mid, right = surface[i, j - 1], surface[i, j], surface[i, j + 1]
    up, down = surface[i - 1, j], surface[i + 1, j]
    bend_x = left - 2.0 * mid + right
    bend_y = up - 2.0 * mid + down
    dx = 0.5 * (left - right) / bend_x if bend_x < 0.0 else 0.0
    dy = 0.5 * (up - down) / bend_y if bend_y < 0.0 else 0.0
    return dx, dy


@njit(nogil=True, cache=True)
def gaussian_peak(surface, i, j):
    """Peak of one Gaussian along x and one along y: a parabola through logarithms."""
    least = np.float32(1e-6)
    left = np.log(max(surface[i, j - 1], least))
    mid = np.log(max(surface[i, j], least))
    right = np.log(max(surface[i, j + 1], least))
    up = np.log(max(surface[i - 1, j], least))
    down = np.log(max(surface[i + 1, j], least))
    bend_x = left - 2.0 * mid + right
    bend_y = up - 2.0 * mid + down
    dx = 0.5 * (left - right) / bend_x if bend_x < 0.0 else 0.0
    dy = 0.5 * (up - down) / bend_y if bend_y < 0.0 else 0.0
    return dx, dy
