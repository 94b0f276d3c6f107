"""Passes over the rows of a network, for eight pixels at once, compiled.

A row says that the displacement from node ``start`` to node ``end`` was measured. Where all lanes
have the same rows the compiler works on whole registers; pixels with gaps whose observations are
combined have rows of their own, which are visited one by one, in the same order and with the same
roundings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .combinations import Combinations
from .lanes import LANES, aligned, inner, load, spread, store, where_positive
from .solver import Envelope

__all__ = [
    "UNCHECKED",
    "Rows",
    "add_rows",
    "empty_rows",
    "leverages",
    "pull",
    "residuals",
    "reweight",
    "studentize",
]

F8 = NDArray[np.float64]
I4 = NDArray[np.int32]

# Below this, 1 - leverage says that no other observation checks this one.
UNCHECKED = 0.01


class Rows(NamedTuple):
    """Displacements (m), relative variances and weights of the rows of eight pixels.

    The last axis are the lanes, the one before it the rows, a first one of two the components.
    Rows that the pixel lacks have no ``prior`` weight, and no nodes where they are the lane's own.
    ``start`` and ``end`` are those of the lanes; ``common`` those of a pixel without gaps.
    """

    value: F8
    variance: F8
    prior: F8
    factor: F8
    weight: F8
    leverage: F8
    residual: F8
    studentized: F8
    start: I4
    end: I4
    common: Combinations


@inner
def empty_rows(size: int, common: Combinations) -> Rows:
    """Room for so many rows, none of them present."""
    return Rows(
        value=aligned(2 * size).reshape(2, size, LANES),
        variance=aligned(2 * size).reshape(2, size, LANES),
        prior=aligned(size).reshape(size, LANES),
        factor=aligned(size).reshape(size, LANES),
        weight=aligned(size).reshape(size, LANES),
        leverage=aligned(size).reshape(size, LANES),
        residual=aligned(2 * size).reshape(2, size, LANES),
        studentized=aligned(2 * size).reshape(2, size, LANES),
        start=np.zeros((size, LANES), np.int32),
        end=np.zeros((size, LANES), np.int32),
        common=common,
    )


@inner
def add_rows(rows: Rows, total: int, shared: bool, shape: Envelope, envelope: F8) -> None:
    """Add AᵀWA to the normal matrix. Node 0 is the origin and has no equation."""
    at, weight = shape.at, rows.weight
    if shared:
        start, end = rows.common.start, rows.common.end
        for r in range(total):
            w = load(weight, r)
            i, j = end[r] - 1, start[r] - 1
            store(envelope, at[i] + i, load(envelope, at[i] + i) + w)
            if j >= 0:
                store(envelope, at[j] + j, load(envelope, at[j] + j) + w)
                store(envelope, at[i] + j, load(envelope, at[i] + j) - w)
        return
    for r in range(total):
        for lane in range(LANES):
            w = weight[r, lane]
            i, j = np.int64(rows.end[r, lane]) - 1, np.int64(rows.start[r, lane]) - 1
            if i < 0:
                continue
            envelope[LANES * (at[i] + i) + lane] += w
            if j >= 0:
                envelope[LANES * (at[j] + j) + lane] += w
                envelope[LANES * (at[i] + j) + lane] -= w


@inner
def residuals(rows: Rows, total: int, shared: bool, position: F8, c0: int, c1: int) -> None:
    """Observed less computed displacement, from the (2, nodes, lanes) positions of the nodes."""
    size, nodes = rows.prior.shape[0], position.shape[1]
    value, residual = rows.value, rows.residual
    for c in range(c0, c1):
        if shared:
            start, end = rows.common.start, rows.common.end
            for r in range(total):
                moved = load(position, c * nodes + end[r]) - load(position, c * nodes + start[r])
                store(residual, c * size + r, load(value, c * size + r) - moved)
        else:
            for r in range(total):
                for lane in range(LANES):
                    i, j = rows.end[r, lane], rows.start[r, lane]
                    moved = position[c, i, lane] - position[c, j, lane]
                    residual[c, r, lane] = value[c, r, lane] - moved


@inner
def pull(rows: Rows, total: int, shared: bool, residual: F8, c0: int, c1: int, right: F8) -> None:
    """Right-hand sides AᵀW of the residuals, (2, equations, lanes)."""
    size, equations = rows.prior.shape[0], right.shape[1]
    for k in range(2 * equations):
        store(right, k, spread(0.0))
    weight = rows.weight
    for c in range(c0, c1):
        if shared:
            start, end = rows.common.start, rows.common.end
            for r in range(total):
                force = load(weight, r) * load(residual, c * size + r)
                i, j = c * equations + end[r] - 1, c * equations + start[r] - 1
                store(right, i, load(right, i) + force)
                if start[r] > 0:
                    store(right, j, load(right, j) - force)
        else:
            for r in range(total):
                for lane in range(LANES):
                    force = weight[r, lane] * residual[c, r, lane]
                    i, j = np.int64(rows.end[r, lane]) - 1, np.int64(rows.start[r, lane]) - 1
                    if i >= 0:
                        right[c, i, lane] += force
                    if j >= 0:
                        right[c, j, lane] -= force


@inner
def leverages(rows: Rows, total: int, shared: bool, shape: Envelope, band: F8) -> None:
    """Take the diagonal of the hat matrix A N⁻¹ AᵀW."""
    zero, one = spread(0.0), spread(1.0)
    weight, leverage = rows.weight, rows.leverage
    stride, half = shape.stride, shape.half_width
    if shared:
        start, end = rows.common.start, rows.common.end
        for r in range(total):
            i, j = end[r] - 1, start[r] - 1
            square = load(band, i * (stride + 1) + half)
            if j >= 0:
                mixed = load(band, i * stride + half + j)
                square = square + load(band, j * (stride + 1) + half) - (mixed + mixed)
            square = load(weight, r) * square
            square = where_positive(square, square, zero)
            store(leverage, r, where_positive(one - square, square, one))
        return
    for r in range(total):
        for lane in range(LANES):
            i, j = np.int64(rows.end[r, lane]) - 1, np.int64(rows.start[r, lane]) - 1
            if i < 0:
                continue
            value = band[LANES * (i * (stride + 1) + half) + lane]
            if j >= 0:
                middle = band[LANES * (i * stride + half + j) + lane]
                value = value + band[LANES * (j * (stride + 1) + half) + lane] - (middle + middle)
            leverage[r, lane] = min(max(weight[r, lane] * value, 0.0), 1.0)


@inner
def studentize(
    rows: Rows, total: int, c0: int, c1: int, limit: F8, freedom: F8, checked: F8, smaller: F8
) -> None:
    """Squares of the studentized residuals, -1 for those that no other observation checks.

    ``freedom`` receives, per lane, the rows that are left over by the unknowns, ``checked`` how
    many squares are not -1, and ``smaller`` how many of these are below the ``limit`` of their
    component.
    """
    size = rows.prior.shape[0]
    zero, one, unchecked, none = spread(0.0), spread(1.0), spread(UNCHECKED), spread(-1.0)
    squares, variance, leverage = rows.studentized, rows.variance, rows.leverage
    left, counted = zero, zero
    for r in range(total):
        free = where_positive(load(rows.prior, r), one - load(leverage, r), zero)
        left += free
        counted += where_positive(free - unchecked, one, zero)
    store(freedom, 0, left)
    store(checked, 0, counted)
    for c in range(c0, c1):
        bound, below = load(limit, c), zero
        for r in range(total):
            free = where_positive(load(rows.prior, r), one - load(leverage, r), zero)
            residual = load(rows.residual, c * size + r)
            square = residual * residual / (load(variance, c * size + r) * free)
            square = where_positive(free - unchecked, square, none)
            store(squares, c * size + r, square)
            below += where_positive(
                bound - square, where_positive(free - unchecked, one, zero), zero
            )
        store(smaller, c, below)


@inner
def reweight(
    rows: Rows, total: int, c0: int, c1: int, tukey_c: float, literal: bool, scale: F8, active: F8,
    fresh: F8, stretch: F8,
) -> None:  # fmt: skip
    """Weight anew by Tukey's biweight of the studentized residuals, in the lanes that are active.

    Lanes that are fresh get their first weights.
    ``stretch`` receives by how much a step with these weights falls short of Newton's: the mean
    biweight over the mean slope of the influence function.
    """
    size = rows.prior.shape[0]
    zero, one, least = spread(0.0), spread(1.0), spread(1e-9)
    limit, share = spread(1.0 / tukey_c**2), spread(4.0 / (c1 - c0))
    on, new = load(active, 0), load(fresh, 0)
    unit = aligned(2)
    for c in range(c0, c1):
        s = load(scale, c)
        store(unit, c, one / (s * s))
    weights, slopes = zero, zero
    for r in range(total):
        z2 = zero
        for c in range(c0, c1):
            residual = load(rows.residual, c * size + r)
            square = load(unit, c) * residual * residual
            if not literal:
                square = square / load(rows.variance, c * size + r)
            z2 += square
        free = one - load(rows.leverage, r)
        prior = load(rows.prior, r)
        u = limit * z2 / where_positive(free - least, free, least)
        if literal:
            u = u / prior  # prior is W0², and eq. 4 takes Z / W0
        inside = one - u
        inside = where_positive(inside, where_positive(prior, inside, zero), zero)
        factor = inside * inside
        # In eq. 1 W multiplies the residual; the default weights its square.
        weight = factor * factor if literal else prior * factor
        old = where_positive(new, where_positive(prior, one, zero), load(rows.factor, r))
        store(rows.factor, r, where_positive(on, factor, old))
        old = where_positive(new, prior, load(rows.weight, r))
        store(rows.weight, r, where_positive(on, weight, old))
        weights += factor
        slopes += where_positive(factor, factor - share * u * inside, zero)
    half = spread(0.5) * weights
    newton = weights / where_positive(slopes - half, slopes, half)
    store(stretch, 0, where_positive(weights, newton, one))
