"""Small compiled loops under the correlator: window sums, spline coefficients, sampling.

Every kernel works on a range of rows and releases the interpreter's lock, so that plain threads run
over ranges; no value depends on how the rows were divided. Inner loops run over slices
(``row = image[y, x0:x1]``), since explicit offsets keep the compiler from using vector
instructions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "FASTMATH",
    "PAD",
    "BoolArray",
    "Float32Array",
    "convolve_separable",
    "dilate",
    "halve",
    "inverse_norms",
    "row_ranges",
    "run_over_rows",
    "spline_coefficients",
    "summed_area",
]

Float32Array = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

FASTMATH = {"contract", "reassoc", "nsz", "arcp"}
"""Reassociation lets sums run in vector registers; NaN and infinity keep their meaning."""

PAD = 4
"""Zeros behind each line of a window in memory: a patch of 5 x 5 places or taps is that much
wider."""

SPLINE_POLE = np.sqrt(3.0) - 2.0
SPLINE_REACH = 12
"""Taps on each side of the truncated spline prefilter; the first one left out is 1e-7."""


def row_ranges(rows: int, threads: int, at_least: int = 1) -> list[tuple[int, int]]:
    """Cut ``rows`` into ranges, a few for each thread, so that none waits long for another."""
    pieces = max(1, min(rows // max(at_least, 1), 4 * threads if threads > 1 else 1))
    edges = np.linspace(0, rows, pieces + 1).astype(int).tolist()
    return [(a, b) for a, b in pairwise(edges) if b > a]


def run_over_rows(kernel: Any, rows: int, threads: int, *args: Any, at_least: int = 1) -> None:
    """Call ``kernel(start, stop, *args)`` over ranges of rows, in threads."""
    ranges = row_ranges(rows, threads, at_least)
    if threads == 1 or len(ranges) == 1:
        for start, stop in ranges:
            kernel(start, stop, *args)
        return
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(kernel, start, stop, *args) for start, stop in ranges]:
            future.result()


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _convolve_columns(start, stop, image, taps, out):
    """Symmetric filter along y with mirrored edges; ``taps[k]`` is the weight at distance k."""
    height, width = image.shape
    reach = taps.size - 1
    period = 2 * (height - 1) if height > 1 else 1
    for y in range(start, stop):
        target = out[y]
        row = image[y]
        for x in range(width):
            target[x] = taps[0] * row[x]
        for k in range(1, reach + 1):
            above = abs(y - k) % period
            below = (y + k) % period
            above = above if above < height else period - above
            below = below if below < height else period - below
            row_above = image[above]
            row_below = image[below]
            tap = taps[k]
            for x in range(width):
                target[x] += tap * (row_above[x] + row_below[x])


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _convolve_rows(start, stop, image, taps, out):
    """Symmetric filter along x with mirrored edges."""
    width = image.shape[1]
    reach = taps.size - 1
    period = 2 * (width - 1) if width > 1 else 1
    padded = np.empty(width + 2 * reach, np.float32)
    for y in range(start, stop):
        row = image[y]
        for i in range(width + 2 * reach):
            x = abs(i - reach) % period
            padded[i] = row[x if x < width else period - x]
        target = out[y]
        centre = padded[reach : reach + width]
        for x in range(width):
            target[x] = taps[0] * centre[x]
        for k in range(1, reach + 1):
            left = padded[reach - k : reach - k + width]
            right = padded[reach + k : reach + k + width]
            tap = taps[k]
            for x in range(width):
                target[x] += tap * (left[x] + right[x])


def convolve_separable(
    image: Float32Array, taps: Float32Array, *, threads: int = 1
) -> Float32Array:
    """Convolve with a symmetric separable kernel, mirrored at the edges.

    Parameters
    ----------
    image
        ``(y, x)``, float32.
    taps
        Weights at distances 0, 1, 2, ... from the centre.
    threads
        How many threads share the rows.
    """
    half = np.empty_like(image)
    out = np.empty_like(image)
    run_over_rows(_convolve_columns, image.shape[0], threads, image, taps, half, at_least=32)
    run_over_rows(_convolve_rows, image.shape[0], threads, half, taps, out, at_least=32)
    return out


def spline_coefficients(stack: Float32Array, *, threads: int = 1) -> Float32Array:
    """Coefficients of the cubic B-spline through the pixels of each channel.

    The recursive filter of Unser (1999, IEEE Signal Proc. Mag. 16, 22-38) written out as a short
    symmetric one: its weights fall by 0.268 a pixel, so a coefficient depends only on pixels within
    `SPLINE_REACH`, and blocks give the same numbers as the whole.

    Parameters
    ----------
    stack
        ``(channel, y, x)``, float32.
    threads
        How many threads share the rows.

    Examples
    --------
    >>> flat = np.full((1, 40, 40), 7.0, np.float32)
    >>> bool(np.allclose(spline_coefficients(flat), 7.0, atol=1e-5))
    True
    """
    taps = (-6 * SPLINE_POLE / (1 - SPLINE_POLE**2)) * SPLINE_POLE ** np.arange(SPLINE_REACH + 1)
    taps /= taps[0] + 2 * taps[1:].sum()
    taps32 = taps.astype(np.float32)
    return np.stack([convolve_separable(channel, taps32, threads=threads) for channel in stack])


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _inverse_norms(start, stop, stack, height, width, least, out):
    """Fill rows of ``out`` with 1 / norm of the zero-mean window that starts at each pixel."""
    channels, _, full_width = stack.shape
    count = height * width
    sums = np.empty(full_width)
    squares = np.empty(full_width)
    variance = np.empty(out.shape[1])
    for y in range(start, stop):
        variance[:] = 0.0
        for channel in range(channels):
            sums[:] = 0.0
            squares[:] = 0.0
            for i in range(height):
                row = stack[channel, y + i]
                for x in range(full_width):
                    value = np.float64(row[x])
                    sums[x] += value
                    squares[x] += value * value
            total = 0.0
            total_square = 0.0
            for x in range(width - 1):
                total += sums[x]
                total_square += squares[x]
            for x in range(out.shape[1]):
                total += sums[x + width - 1]
                total_square += squares[x + width - 1]
                variance[x] += total_square - total * total / count
                total -= sums[x]
                total_square -= squares[x]
        target = out[y]
        for x in range(out.shape[1]):
            target[x] = 1.0 / np.sqrt(variance[x]) if variance[x] > least else 0.0


def inverse_norms(
    stack: Float32Array, height: int, width: int, *, least: float = 0.0, threads: int = 1
) -> Float32Array:
    """1 / norm of every zero-mean window of a feature stack.

    Parameters
    ----------
    stack
        ``(channel, y, x)``; the mean of each channel is taken out, the squares are summed over
        channels.
    height, width
        Size of the window.
    least
        A window whose sum of squares is not above this is flat and gets 0.
    threads
        How many threads share the rows.

    Returns
    -------
    numpy.ndarray
        ``(y - height + 1, x - width + 1)``; element ``[y, x]`` is the window that starts there.
    """
    out = np.empty((stack.shape[1] - height + 1, stack.shape[2] - width + 1), np.float32)
    run_over_rows(
        _inverse_norms, out.shape[0], threads, stack, height, width, least, out, at_least=16
    )
    return out


def summed_area(chosen: BoolArray) -> NDArray[np.int32]:
    """Summed-area table: counts of chosen pixels in any rectangle from four of its elements.

    Examples
    --------
    >>> table = summed_area(np.ones((3, 4), bool))
    >>> table.shape, int(table[-1, -1])
    ((4, 5), 12)
    """
    table = np.zeros((chosen.shape[0] + 1, chosen.shape[1] + 1), np.int32)
    np.cumsum(chosen, axis=0, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    return table


def dilate(chosen: BoolArray, reach: int) -> BoolArray:
    """Grow the chosen pixels by a square of ``reach`` pixels on each side.

    Examples
    --------
    >>> dot = np.zeros((5, 5), bool); dot[2, 2] = True
    >>> int(dilate(dot, 1).sum())
    9
    """
    out = chosen.copy()
    for k in range(1, reach + 1):
        out[k:] |= chosen[:-k]
        out[:-k] |= chosen[k:]
    rows = out.copy()
    for k in range(1, reach + 1):
        out[:, k:] |= rows[:, :-k]
        out[:, :-k] |= rows[:, k:]
    return out


def halve(stack: Float32Array) -> Float32Array:
    """Mean of each 2 x 2 block; an odd last row or column is left out."""
    rows, columns = stack.shape[1] // 2 * 2, stack.shape[2] // 2 * 2
    top, low = stack[:, 0:rows:2, :columns], stack[:, 1:rows:2, :columns]
    total = top[:, :, ::2] + top[:, :, 1::2]
    total += low[:, :, ::2]
    total += low[:, :, 1::2]
    total *= np.float32(0.25)
    return np.ascontiguousarray(total)
