"""Sparse normal equations of displacement networks: envelope Cholesky and selected inversion.

With the cumulative displacement at each date as unknown, every observation is a row with one +1
and one -1, so the normal matrix is a weighted graph Laplacian whose rows reach back only as far as
the longest baseline. It is kept as an *envelope* (skyline) of blocks of four rows and columns, for
eight pixels at once (see `lanes`). A Cholesky factor fills no more than the envelope (George & Liu
1981, ch. 4), and those entries of the inverse that lie in the envelope follow from the factor alone
(Takahashi et al. 1973). Four rows share each operand, which is what makes it fast: the inner loops
compute more than they load.

All functions are compiled, release the interpreter's lock and write into the arrays they get.
What lies in the envelope but is zero for a pixel changes none of its numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .lanes import LANES, fused, load, root, spread, store

__all__ = ["BLOCK", "Envelope", "factorise", "inverse_in_envelope", "shape_envelope", "solve_two"]

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

BLOCK = 4


class Envelope(NamedTuple):
    """Where the entries of a symmetric matrix are kept.

    Entry (i, k) of the lower triangle, k from ``BLOCK * first[i // BLOCK]``, is place ``at[i] + k``
    of an envelope of ``length`` places. Entry (i, k) of its inverse, any of the two triangles, is
    place ``i * stride + half_width + k`` of a band. ``last`` is the last block of rows that reaches
    a block of columns. There are ``BLOCK * first.size`` rows, of which the last may be unused.
    """

    first: I8
    last: I8
    at: I8
    length: int
    half_width: int
    stride: int


@njit(nogil=True, cache=True)
def shape_envelope(reach: I8) -> Envelope:
    """Lay out a matrix whose row ``i`` begins at column ``reach[i]``.

    Rows are made to begin no earlier than those above them, so that blocks stay whole.
    """
    size = reach.size
    blocks = (size + BLOCK - 1) // BLOCK
    first = np.arange(blocks)
    for i in range(size):
        first[i // BLOCK] = min(first[i // BLOCK], reach[i] // BLOCK)
    for b in range(blocks - 2, -1, -1):
        first[b] = min(first[b], first[b + 1])
    last = np.arange(blocks)
    at = np.zeros(BLOCK * blocks, np.int64)
    position, width = 0, 0
    for b in range(blocks):
        columns = BLOCK * (b + 1 - first[b])
        width = max(width, columns)
        for k in range(first[b], b):
            last[k] = b
        for a in range(BLOCK):
            at[BLOCK * b + a] = position - BLOCK * first[b]
            position += columns
    return Envelope(first, last, at, position, width - 1, 2 * (width - 1))


@njit(nogil=True, cache=True)
def factorise(shape: Envelope, envelope: F8, reciprocal: F8, sound: NDArray[np.bool_]) -> None:
    """Cholesky factors L of N = L Lᵀ, in place.

    Parameters
    ----------
    shape, envelope
        The matrices; unused rows need a positive diagonal.
    reciprocal
        Receives 1 / L[i, i], one place per row.
    sound
        Receives, per lane, whether N is positive definite.
    """
    e, at = envelope, shape.at
    zero, one = spread(0.0), spread(1.0)
    for block in range(shape.first.size):
        i = BLOCK * block
        begin = BLOCK * shape.first[block]
        r0, r1, r2, r3 = at[i], at[i + 1], at[i + 2], at[i + 3]
        for j in range(begin, i, 2):
            s0, s1 = at[j], at[j + 1]
            a0 = b0 = c0 = d0 = a1 = b1 = c1 = d1 = zero
            for k in range(max(begin, BLOCK * shape.first[j // BLOCK]), j):
                x, y = load(e, s0 + k), load(e, s1 + k)
                a, b, c, d = load(e, r0 + k), load(e, r1 + k), load(e, r2 + k), load(e, r3 + k)
                a0, a1 = fused(a, x, a0), fused(a, y, a1)
                b0, b1 = fused(b, x, b0), fused(b, y, b1)
                c0, c1 = fused(c, x, c0), fused(c, y, c1)
                d0, d1 = fused(d, x, d0), fused(d, y, d1)
            p, q, below = load(reciprocal, j), load(reciprocal, j + 1), load(e, s1 + j)
            a = (load(e, r0 + j) - a0) * p
            b = (load(e, r1 + j) - b0) * p
            c = (load(e, r2 + j) - c0) * p
            d = (load(e, r3 + j) - d0) * p
            store(e, r0 + j, a)
            store(e, r1 + j, b)
            store(e, r2 + j, c)
            store(e, r3 + j, d)
            store(e, r0 + j + 1, (load(e, r0 + j + 1) - fused(a, below, a1)) * q)
            store(e, r1 + j + 1, (load(e, r1 + j + 1) - fused(b, below, b1)) * q)
            store(e, r2 + j + 1, (load(e, r2 + j + 1) - fused(c, below, c1)) * q)
            store(e, r3 + j + 1, (load(e, r3 + j + 1) - fused(d, below, d1)) * q)
        # The products of the four rows with each other, and the factor of their own block.
        aa = ba = bb = ca = cb = cc = da = db = dc = dd = zero
        for k in range(begin, i):
            a, b, c, d = load(e, r0 + k), load(e, r1 + k), load(e, r2 + k), load(e, r3 + k)
            aa, ba, ca, da = fused(a, a, aa), fused(b, a, ba), fused(c, a, ca), fused(d, a, da)
            bb, cb, db = fused(b, b, bb), fused(c, b, cb), fused(d, b, db)
            cc, dc, dd = fused(c, c, cc), fused(d, c, dc), fused(d, d, dd)
        aa = root(load(e, r0 + i) - aa)
        ra = one / aa
        ba = (load(e, r1 + i) - ba) * ra
        ca = (load(e, r2 + i) - ca) * ra
        da = (load(e, r3 + i) - da) * ra
        bb = root(load(e, r1 + i + 1) - fused(ba, ba, bb))
        rb = one / bb
        cb = (load(e, r2 + i + 1) - fused(ca, ba, cb)) * rb
        db = (load(e, r3 + i + 1) - fused(da, ba, db)) * rb
        cc = root(load(e, r2 + i + 2) - fused(cb, cb, fused(ca, ca, cc)))
        rc = one / cc
        dc = (load(e, r3 + i + 2) - fused(db, cb, fused(da, ca, dc))) * rc
        dd = root(load(e, r3 + i + 3) - fused(dc, dc, fused(db, db, fused(da, da, dd))))
        store(e, r0 + i, aa)
        store(e, r1 + i, ba)
        store(e, r1 + i + 1, bb)
        store(e, r2 + i, ca)
        store(e, r2 + i + 1, cb)
        store(e, r2 + i + 2, cc)
        store(e, r3 + i, da)
        store(e, r3 + i + 1, db)
        store(e, r3 + i + 2, dc)
        store(e, r3 + i + 3, dd)
        store(reciprocal, i, ra)
        store(reciprocal, i + 1, rb)
        store(reciprocal, i + 2, rc)
        store(reciprocal, i + 3, one / dd)
    sound[:] = True
    for k in range(at.size):
        for lane in range(LANES):
            # The root of a negative pivot is NaN, the reciprocal of a zero one infinite.
            sound[lane] &= 0.0 < reciprocal[LANES * k + lane] < np.inf


@njit(nogil=True, cache=True)
def solve_two(shape: Envelope, factor: F8, reciprocal: F8, x: F8, y: F8) -> None:
    """Solve L Lᵀ x = x and L Lᵀ y = y, in place, one place per row."""
    e, at = factor, shape.at
    zero = spread(0.0)
    for block in range(shape.first.size):
        i = BLOCK * block
        r0, r1, r2, r3 = at[i], at[i + 1], at[i + 2], at[i + 3]
        x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = zero
        for k in range(BLOCK * shape.first[block], i):
            u, v = load(x, k), load(y, k)
            a, b, c, d = load(e, r0 + k), load(e, r1 + k), load(e, r2 + k), load(e, r3 + k)
            x0, y0 = fused(a, u, x0), fused(a, v, y0)
            x1, y1 = fused(b, u, x1), fused(b, v, y1)
            x2, y2 = fused(c, u, x2), fused(c, v, y2)
            x3, y3 = fused(d, u, x3), fused(d, v, y3)
        x0 = (load(x, i) - x0) * load(reciprocal, i)
        y0 = (load(y, i) - y0) * load(reciprocal, i)
        a, q = load(e, r1 + i), load(reciprocal, i + 1)
        x1 = (load(x, i + 1) - fused(a, x0, x1)) * q
        y1 = (load(y, i + 1) - fused(a, y0, y1)) * q
        a, b, q = load(e, r2 + i), load(e, r2 + i + 1), load(reciprocal, i + 2)
        x2 = (load(x, i + 2) - fused(b, x1, fused(a, x0, x2))) * q
        y2 = (load(y, i + 2) - fused(b, y1, fused(a, y0, y2))) * q
        a, b, c = load(e, r3 + i), load(e, r3 + i + 1), load(e, r3 + i + 2)
        q = load(reciprocal, i + 3)
        x3 = (load(x, i + 3) - fused(c, x2, fused(b, x1, fused(a, x0, x3)))) * q
        y3 = (load(y, i + 3) - fused(c, y2, fused(b, y1, fused(a, y0, y3)))) * q
        store(x, i, x0)
        store(x, i + 1, x1)
        store(x, i + 2, x2)
        store(x, i + 3, x3)
        store(y, i, y0)
        store(y, i + 1, y1)
        store(y, i + 2, y2)
        store(y, i + 3, y3)
    for block in range(shape.first.size - 1, -1, -1):
        i = BLOCK * block
        r0, r1, r2, r3 = at[i], at[i + 1], at[i + 2], at[i + 3]
        q = load(reciprocal, i + 3)
        x3, y3 = load(x, i + 3) * q, load(y, i + 3) * q
        c, q = load(e, r3 + i + 2), load(reciprocal, i + 2)
        x2, y2 = (load(x, i + 2) - c * x3) * q, (load(y, i + 2) - c * y3) * q
        b, c, q = load(e, r2 + i + 1), load(e, r3 + i + 1), load(reciprocal, i + 1)
        x1 = (load(x, i + 1) - fused(c, x3, b * x2)) * q
        y1 = (load(y, i + 1) - fused(c, y3, b * y2)) * q
        a, b, c = load(e, r1 + i), load(e, r2 + i), load(e, r3 + i)
        q = load(reciprocal, i)
        x0 = (load(x, i) - fused(c, x3, fused(b, x2, a * x1))) * q
        y0 = (load(y, i) - fused(c, y3, fused(b, y2, a * y1))) * q
        store(x, i, x0)
        store(x, i + 1, x1)
        store(x, i + 2, x2)
        store(x, i + 3, x3)
        store(y, i, y0)
        store(y, i + 1, y1)
        store(y, i + 2, y2)
        store(y, i + 3, y3)
        for k in range(BLOCK * shape.first[block], i):
            a, b, c, d = load(e, r0 + k), load(e, r1 + k), load(e, r2 + k), load(e, r3 + k)
            u = fused(d, x3, fused(c, x2, fused(b, x1, a * x0)))
            v = fused(d, y3, fused(c, y2, fused(b, y1, a * y0)))
            store(x, k, load(x, k) - u)
            store(y, k, load(y, k) - v)


@njit(nogil=True, cache=True)
def inverse_in_envelope(shape: Envelope, factor: F8, reciprocal: F8, band: F8, scratch: F8) -> None:
    """Those entries of (L Lᵀ)⁻¹ that lie in the envelope, both triangles, as a band.

    Parameters
    ----------
    shape, factor, reciprocal
        The Cholesky factors as `factorise` leaves them.
    band
        Receives the inverse, ``at.size * (stride + 1) + 1`` places, finite when given. What lies
        outside the envelope is left as it was.
    scratch
        Room for ``BLOCK * at.size`` places.

    Notes
    -----
    Four columns J follow from the columns right of them. With G = L[B, J] L[J, J]⁻¹, where B are
    the rows below, the inverse S has S[B, J] = -S[B, B] G and
    S[J, J] = (L[J, J] L[J, J]ᵀ)⁻¹ - Gᵀ S[B, J].
    """
    e, at, g = factor, shape.at, scratch
    stride, half = shape.stride, shape.half_width
    rows = at.size
    zero = spread(0.0)
    for block in range(shape.first.size - 1, -1, -1):
        j = BLOCK * block
        below, end = j + BLOCK, BLOCK * (shape.last[block] + 1)
        p0, p1 = load(reciprocal, j), load(reciprocal, j + 1)
        p2, p3 = load(reciprocal, j + 2), load(reciprocal, j + 3)
        l10, l20, l21 = load(e, at[j + 1] + j), load(e, at[j + 2] + j), load(e, at[j + 2] + j + 1)
        l30, l31, l32 = (
            load(e, at[j + 3] + j),
            load(e, at[j + 3] + j + 1),
            load(e, at[j + 3] + j + 2),
        )
        for k in range(below, end):
            o = at[k] + j
            d = load(e, o + 3) * p3
            c = (load(e, o + 2) - d * l32) * p2
            b = (load(e, o + 1) - fused(d, l31, c * l21)) * p1
            a = (load(e, o) - fused(d, l30, fused(c, l20, b * l10))) * p0
            store(g, k, a)
            store(g, rows + k, b)
            store(g, 2 * rows + k, c)
            store(g, 3 * rows + k, d)
        columns = j * stride + half
        for i in range(below, end, 2):
            s = i * stride + half
            t = s + stride
            a0 = b0 = c0 = d0 = a1 = b1 = c1 = d1 = zero
            for k in range(below, end):
                x, y = load(band, s + k), load(band, t + k)
                a, b = load(g, k), load(g, rows + k)
                c, d = load(g, 2 * rows + k), load(g, 3 * rows + k)
                a0, a1 = fused(a, x, a0), fused(a, y, a1)
                b0, b1 = fused(b, x, b0), fused(b, y, b1)
                c0, c1 = fused(c, x, c0), fused(c, y, c1)
                d0, d1 = fused(d, x, d0), fused(d, y, d1)
            _put(band, s + j, columns + i, stride, zero - a0, zero - b0, zero - c0, zero - d0)
            _put(band, t + j, columns + i + 1, stride, zero - a1, zero - b1, zero - c1, zero - d1)
        # The inverse of the block's own factor, and its square.
        q10 = zero - p1 * l10 * p0
        q21 = zero - p2 * l21 * p1
        q32 = zero - p3 * l32 * p2
        q20 = zero - p2 * fused(l21, q10, l20 * p0)
        q31 = zero - p3 * fused(l32, q21, l31 * p1)
        q30 = zero - p3 * fused(l32, q20, fused(l31, q10, l30 * p0))
        aa = fused(q30, q30, fused(q20, q20, fused(q10, q10, p0 * p0)))
        ab = fused(q30, q31, fused(q20, q21, q10 * p1))
        ac = fused(q30, q32, q20 * p2)
        ad = q30 * p3
        bb = fused(q31, q31, fused(q21, q21, p1 * p1))
        bc = fused(q31, q32, q21 * p2)
        bd = q31 * p3
        cc = fused(q32, q32, p2 * p2)
        cd = q32 * p3
        dd = p3 * p3
        for k in range(below, end):
            o = columns + k
            x, y = load(band, o), load(band, o + stride)
            z, w = load(band, o + 2 * stride), load(band, o + 3 * stride)
            a, b = zero - load(g, k), zero - load(g, rows + k)
            c, d = zero - load(g, 2 * rows + k), zero - load(g, 3 * rows + k)
            aa, ab, ac, ad = fused(a, x, aa), fused(a, y, ab), fused(a, z, ac), fused(a, w, ad)
            bb, bc, bd = fused(b, y, bb), fused(b, z, bc), fused(b, w, bd)
            cc, cd, dd = fused(c, z, cc), fused(c, w, cd), fused(d, w, dd)
        o = columns + j
        store(band, o, aa)
        store(band, o + stride + 1, bb)
        store(band, o + 2 * (stride + 1), cc)
        store(band, o + 3 * (stride + 1), dd)
        store(band, o + 1, ab)
        store(band, o + stride, ab)
        store(band, o + 2, ac)
        store(band, o + 2 * stride, ac)
        store(band, o + 3, ad)
        store(band, o + 3 * stride, ad)
        store(band, o + stride + 2, bc)
        store(band, o + 2 * stride + 1, bc)
        store(band, o + stride + 3, bd)
        store(band, o + 3 * stride + 1, bd)
        store(band, o + 2 * stride + 3, cd)
        store(band, o + 3 * stride + 2, cd)


@njit(nogil=True, cache=True)
def _put(band, row, column, stride, a, b, c, d):  # type: ignore[no-untyped-def]
    """Write four neighbours of one row, and the same to one column."""
    store(band, row, a)
    store(band, row + 1, b)
    store(band, row + 2, c)
    store(band, row + 3, d)
    store(band, column, a)
    store(band, column + stride, b)
    store(band, column + 2 * stride, c)
    store(band, column + 3 * stride, d)
