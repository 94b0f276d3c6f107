"""Sparse normal equations of a displacement network: envelope Cholesky and selected inversion.

With the cumulative displacement at each date as unknown, every observation is a row with one +1
and one -1, so the normal matrix is a weighted graph Laplacian whose rows reach back only as far as
the longest baseline. It is kept as an *envelope* (skyline): row ``i`` of the lower triangle from
its first column ``first[i]`` to the diagonal, one row after the other, row ``i`` beginning at
``start[i]``. A Cholesky factor fills no more than the envelope (George & Liu 1981, ch. 4), and
those entries of the inverse that lie in the envelope follow from the factor alone (Takahashi et
al. 1973).

All functions are compiled, release the interpreter's lock and write into the arrays they get.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["factorise", "inverse_in_envelope", "shape_rows", "solve_two"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

# Sums may be taken in any order (that is what lets them use vector registers), NaN stays NaN.
VECTOR = {"reassoc", "contract"}


@njit(nogil=True, cache=True, fastmath=VECTOR)
def _dot(a: F8, b: F8) -> float:
    total = 0.0
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@njit(nogil=True, cache=True, fastmath=VECTOR)
def _four_dots(a: F8, b: F8, c: F8, d: F8, x: F8) -> tuple[float, float, float, float]:
    """Four products with one vector, which is read only once."""
    total_a, total_b, total_c, total_d = 0.0, 0.0, 0.0, 0.0
    for k in range(x.size):
        value = x[k]
        total_a += value * a[k]
        total_b += value * b[k]
        total_c += value * c[k]
        total_d += value * d[k]
    return total_a, total_b, total_c, total_d


@njit(nogil=True, cache=True)
def shape_rows(first: I8, size: int, start: I8, last: I8) -> int:
    """Where each row of an envelope begins and how far down each column reaches.

    Writes ``start`` and ``last``, the last row that may hold an entry of each column (or of one
    before it); returns the length of the whole envelope.
    """
    position = 0
    for i in range(size):
        start[i] = position
        position += i - first[i] + 1
        last[i] = i
    for i in range(size):
        last[first[i]] = max(last[first[i]], i)
    for j in range(1, size):
        last[j] = max(last[j], last[j - 1])
    return position


@njit(nogil=True, cache=True, fastmath=VECTOR)
def _two_dots(row: F8, x: F8, y: F8) -> tuple[float, float]:
    total_x, total_y = 0.0, 0.0
    for k in range(row.size):
        total_x += row[k] * x[k]
        total_y += row[k] * y[k]
    return total_x, total_y


@njit(nogil=True, cache=True, fastmath=VECTOR)
def factorise(envelope: F8, start: I8, first: I8, size: int, reciprocal: F8) -> bool:
    """Cholesky factor L of N = L Lᵀ, in place; False if N is not positive definite.

    ``reciprocal`` is room for ``size`` numbers.
    """
    for i in range(size):
        row = start[i] - first[i]
        for j in range(first[i], i):
            other = start[j] - first[j]
            common = max(first[i], first[j])
            product = _dot(envelope[row + common : row + j], envelope[other + common : other + j])
            envelope[row + j] = (envelope[row + j] - product) * reciprocal[j]
        left = envelope[row + first[i] : row + i]
        pivot = envelope[row + i] - _dot(left, left)
        if not pivot > 0.0:
            return False
        envelope[row + i] = np.sqrt(pivot)
        reciprocal[i] = 1.0 / envelope[row + i]
    return True


@njit(nogil=True, cache=True, fastmath=VECTOR)
def solve_two(factor: F8, start: I8, first: I8, size: int, x: F8, y: F8) -> None:
    """Solve L Lᵀ x = x and L Lᵀ y = y, in place; together they hide each other's waiting."""
    for i in range(size):
        row = start[i] - first[i]
        product_x, product_y = _two_dots(
            factor[row + first[i] : row + i], x[first[i] : i], y[first[i] : i]
        )
        scale = 1.0 / factor[row + i]
        x[i] = (x[i] - product_x) * scale
        y[i] = (y[i] - product_y) * scale
    for i in range(size - 1, -1, -1):
        row = start[i] - first[i]
        scale = 1.0 / factor[row + i]
        value_x, value_y = x[i] * scale, y[i] * scale
        x[i], y[i] = value_x, value_y
        left = factor[row + first[i] : row + i]
        above_x, above_y = x[first[i] : i], y[first[i] : i]
        for k in range(left.size):
            above_x[k] -= value_x * left[k]
            above_y[k] -= value_y * left[k]


@njit(nogil=True, cache=True, fastmath=VECTOR)
def inverse_in_envelope(
    factor: F8,
    start: I8,
    first: I8,
    last: I8,
    size: int,
    half_width: int,
    band: F8,
    scratch: F8,
    below: I8,
) -> None:
    """Those entries of (L Lᵀ)⁻¹ that lie in the envelope, both triangles, as a band.

    Parameters
    ----------
    factor, start, first, last, size
        The Cholesky factor and its envelope.
    half_width
        At least the longest reach ``i - first[i]`` of any row.
    band
        ``(size, 2 * half_width + 1)``, finite when given; entry ``(i, k)`` of the inverse is
        ``band[i, half_width + k - i]``. What lies outside the envelope is left as it was.
    scratch, below
        Room for ``(2, size)`` numbers and ``size`` indices.

    Notes
    -----
    Column ``j`` follows from the columns right of it: with ``l`` the part of column ``j`` of L
    below the diagonal and S the inverse, ``S l = -L[j, j] S[:, j]``. Both triangles are stored so
    that all products run along rows.
    """
    column, product = scratch[0], scratch[1]
    for j in range(size - 1, -1, -1):
        scale = 1.0 / factor[start[j] + j - first[j]]
        end = last[j] + 1
        reach = end - j - 1
        count = 0
        for i in range(j + 1, end):
            column[i] = 0.0
            if first[i] <= j:
                column[i] = factor[start[i] + j - first[i]]
                below[count] = i
                count += 1
        left = column[j + 1 : end]
        o = half_width + j + 1
        for m in range(0, count - 3, 4):
            p, q, r, s = below[m], below[m + 1], below[m + 2], below[m + 3]
            product[m], product[m + 1], product[m + 2], product[m + 3] = _four_dots(
                band[p, o - p : o - p + reach],
                band[q, o - q : o - q + reach],
                band[r, o - r : o - r + reach],
                band[s, o - s : o - s + reach],
                left,
            )
        for m in range(count - count % 4, count):
            p = below[m]
            product[m] = _dot(band[p, o - p : o - p + reach], left)
        diagonal = 0.0
        for m in range(count):
            i = below[m]
            value = -product[m] * scale
            band[i, half_width + j - i] = value
            band[j, half_width + i - j] = value
            diagonal += column[i] * value
        band[j, half_width] = scale * scale - scale * diagonal
