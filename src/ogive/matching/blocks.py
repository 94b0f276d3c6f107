"""A pair's points, searched and refined block by block.

A block is some rows of points with the rows of pixels that they can reach: the windows, the
farthest candidates, and the margin of the sub-pixel refinement. Points know nothing of their block,
so that the result by blocks is the result of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gauss_newton import FARTHEST_PX
from .kernels import SPLINE_REACH, BoolArray, Float32Array, run_over_rows
from .measure import RESULTS, SUBPIXEL, coarse_rows, measure_rows
from .prediction import Prediction
from .refine import refine_rows
from .stacks import (
    KernelMasks,
    PreparedStacks,
    Stack,
    flat_limit,
    kernel_masks,
    masked_halves,
    rows_of,
)

__all__ = [
    "Block",
    "Measured",
    "Pair",
    "Targets",
    "blocks_of_rows",
    "measure_points",
    "search_points",
]

BLOCK_BYTES = 2**29
"""Size of a block's stacks, their spline coefficients, norms and masks together."""
_MASK_BYTES = 10
"""Of a pixel: a byte and a count of four for each image."""
LEAST_BLOCK_PX = 64
NOTHING = np.empty((4, 0, 0), np.float32)
WIDER_PX = 3
"""How far the second search goes beyond the nodes round a point."""


@dataclass(frozen=True)
class Pair:
    """The features of both images, and where they may be used (``None``: everywhere)."""

    earlier: Stack
    later: Stack
    valid_earlier: BoolArray | None
    valid_later: BoolArray | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""
        return self.earlier.shape[-2], self.earlier.shape[-1]

    @property
    def channels(self) -> int:
        """Of the two stacks."""
        return int(self.earlier.shape[0])

    def swapped(self) -> Pair:
        """The same the other way round, for the backward match."""
        return Pair(self.later, self.earlier, self.valid_later, self.valid_earlier)

    def masks(self, rows: slice = slice(None)) -> KernelMasks:
        """Masks of some rows as the kernels take them."""
        return kernel_masks(self.valid_earlier, self.valid_later, rows)


@dataclass(frozen=True)
class Targets:
    """Where windows start, and their size, in pixels."""

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    window_px: int


@dataclass(frozen=True)
class Block:
    """Rows of points ``first`` to ``last`` and the rows of pixels that they reach."""

    first: int
    last: int
    top: int
    bottom: int

    @property
    def points(self) -> slice:
        """The rows of points."""
        return slice(self.first, self.last)


def blocks_of_rows(
    y: NDArray[np.int64],
    window_px: int,
    height: int,
    *,
    lowest: NDArray[np.int64],
    highest: NDArray[np.int64],
    margin_px: int,
    bytes_per_row: int,
) -> Iterator[Block]:
    """Cut rows of points into blocks whose pixels fit into `BLOCK_BYTES`.

    Parameters
    ----------
    y, window_px, height
        First row of the windows of each row of points, in ascending order; their size; rows of the
        image.
    lowest, highest
        The displacements along y that may be tried in each row of points.
    margin_px
        What is needed above and below.
    bytes_per_row
        Of the image's rows.

    Examples
    --------
    >>> y = np.arange(0, 1000, 8)
    >>> still = np.zeros(y.size, int)
    >>> blocks = list(blocks_of_rows(
    ...     y, 16, 1010, lowest=still, highest=still, margin_px=5, bytes_per_row=2**20,
    ... ))
    >>> [(block.first, block.last, block.top, block.bottom) for block in blocks]
    [(0, 62, 0, 509), (62, 123, 491, 997), (123, 125, 979, 1010)]
    """
    most = max(BLOCK_BYTES // bytes_per_row, LEAST_BLOCK_PX)
    tops = np.maximum(y + np.minimum(lowest, 0) - margin_px, 0)
    bottoms = np.minimum(y + np.maximum(highest, 0) + window_px + margin_px, height)
    if bottoms.max() - tops.min() <= most:
        yield Block(0, y.size, 0, height)
        return
    first = 0
    while first < y.size:
        top = np.minimum.accumulate(tops[first:])
        bottom = np.maximum.accumulate(bottoms[first:])
        # Not less than what the halo costs, so that no row is worked on more than some three times.
        enough = max(most, 2 * int(bottom[0] - top[0]))
        number = max(1, int(np.searchsorted(bottom - top, enough, side="right")))
        yield Block(first, first + number, int(top[number - 1]), int(bottom[number - 1]))
        first += number


def _bytes_per_row(pair: Pair, arrays: int) -> int:
    masks = 0 if pair.valid_earlier is None else _MASK_BYTES
    return (arrays * 4 * pair.channels + masks) * pair.shape[1]


def _prepared(pair: Pair, block: Block, size: int, **options: Any) -> PreparedStacks:
    return PreparedStacks.of(
        rows_of(pair.earlier, block.top, block.bottom),
        rows_of(pair.later, block.top, block.bottom),
        pair.masks(slice(block.top, block.bottom)),
        size,
        **options,
    )


def search_points(
    pair: Pair,
    targets: Targets,
    *,
    around: NDArray[np.float64],
    radius: NDArray[np.int64],
    least_valid: float,
    threads: int,
    halved: bool = False,
    device: str | None = None,
) -> NDArray[np.float64]:
    """Search whole ranges, block by block.

    Parameters
    ----------
    pair
        The two stacks.
    targets
        Where; in halved pixels if ``halved``, as all other lengths.
    around, radius
        ``(2, rows, columns)`` and ``(rows, columns)``: the displacement in the middle of each
        search, and how far it goes.
    least_valid
        Smallest share of valid pixels.
    threads
        How many threads share the rows.
    halved
        Search at half the resolution.
    device
        Of PyTorch, in place of the compiled loops.

    Returns
    -------
    numpy.ndarray
        ``(5, rows, columns)``: u, v, correlation, peak ratio, snr; NaN where there is no peak.
    """
    size, factor = targets.window_px, 2 if halved else 1
    height = pair.shape[0] // factor
    middle = np.rint(around[1]).astype(np.int64)
    found = np.full((5, targets.y.size, targets.x.size), np.nan)
    limits = [flat_limit(stack, size) for stack in (pair.earlier, pair.later)]
    for block in blocks_of_rows(
        targets.y, size, height, lowest=(middle - radius).min(axis=1),
        highest=(middle + radius).max(axis=1), margin_px=1,
        bytes_per_row=_bytes_per_row(pair, 3) * factor,
    ):  # fmt: skip
        here = block.points
        stacks = _prepared_for_search(pair, block, size, limits[1], threads, halved=halved)
        ys, some = targets.y[here] - block.top, np.full((5, *around[0, here].shape), np.nan)
        options = around[0, here], around[1, here], radius[here], limits[0], least_valid
        if device is None:
            run_over_rows(
                coarse_rows, ys.size, threads, stacks.earlier, stacks.later, stacks.masks,
                stacks.norms, ys, targets.x, size, *options, some,
            )  # fmt: skip
        else:
            from .torch_engine import search_windows

            some = search_windows(stacks, ys, targets.x, size, *options, device=device)
        found[:, here] = some
    return found


def _prepared_for_search(
    pair: Pair, block: Block, size: int, least: float, threads: int, *, halved: bool = False
) -> PreparedStacks:
    """A block's stacks without spline coefficients, at the full or half the resolution."""
    factor = 2 if halved else 1
    bottom = factor * block.bottom
    if block.top == 0 and block.bottom == pair.shape[0] // factor:
        bottom = pair.shape[0]
    rows = slice(factor * block.top, bottom)
    first, second = (rows_of(stack, rows.start, rows.stop) for stack in (pair.earlier, pair.later))
    valid1, valid2 = (
        None if mask is None else mask[rows] for mask in (pair.valid_earlier, pair.valid_later)
    )
    if halved:
        first, valid1 = masked_halves(first, valid1)
        second, valid2 = masked_halves(second, valid2)
    return PreparedStacks.of(
        first, second, kernel_masks(valid1, valid2), size, least=least, threads=threads,
        refined=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What `measure_points` found.

    Parameters
    ----------
    planes
        `RESULTS`, ``(plane, rows, columns)``.
    deformation
        u_x, u_y, v_x, v_y of the affine method; else empty.
    flag
        `ogive.model.Flag`.
    searched
        The correlation that the search found, where the refinement has one of its own; else
        ``None``.
    """

    planes: Float32Array
    deformation: Float32Array
    flag: NDArray[np.uint8]
    searched: Float32Array | None


def measure_points(
    pair: Pair,
    targets: Targets,
    prediction: Prediction,
    *,
    refined: Pair | None = None,
    fine_radius_px: int,
    subpixel: str,
    least_valid: float,
    chance: float,
    doubtful: float,
    threads: int,
    device: str | None = None,
) -> Measured:
    """Measure every point round its prediction, block by block.

    Parameters
    ----------
    pair
        The stacks to search.
    targets
        Where.
    prediction
        Of the displacement.
    refined
        The stacks to refine on, where they are others.
    fine_radius_px, subpixel, least_valid
        As for `ogive.match`.
    chance, doubtful
        Correlations under which a peak may be chance, and under which it is searched again.
    threads
        How many threads share the rows.
    device
        Of PyTorch, in place of the compiled search.
    """
    shape = targets.y.size, targets.x.size
    out = np.empty((len(RESULTS), *shape), np.float32)
    deformation = np.empty((4, *(shape if subpixel == "affine" else (0, 0))), np.float32)
    flag = np.zeros(shape, np.uint8)
    apart = refined is not None or device is not None
    searched = np.empty(shape, np.float32) if refined is not None else None
    others = refined or pair
    size, method = targets.window_px, SUBPIXEL[subpixel]
    search_method = min(method, SUBPIXEL["quadratic"]) if apart else method
    limits = flat_limit(pair.later, size), flat_limit(others.earlier, size)
    lowest, highest = _reach(prediction, max(fine_radius_px, WIDER_PX))
    row = _bytes_per_row(pair, 5) + (0 if others is pair else _bytes_per_row(others, 5))
    for block in blocks_of_rows(
        targets.y, size, pair.shape[0], lowest=lowest, highest=highest,
        margin_px=_refinement_margin_px(size), bytes_per_row=row,
    ):  # fmt: skip
        here = block.points
        rows, ys = block.last - block.first, targets.y[here] - block.top
        some = np.empty((len(RESULTS), rows, shape[1]), np.float32)
        bent = np.empty((4, *(some.shape[1:] if deformation.size else (0, 0))), np.float32)
        flags = np.zeros(some.shape[1:], np.uint8)
        nodes = prediction.planes, prediction.row[here], prediction.column
        stacks = _prepared(
            pair, block, size, least=limits[0], threads=threads, refined=refined is None
        )
        if device is None:
            run_over_rows(
                measure_rows, rows, threads, stacks.earlier, stacks.later, stacks.earlier_spline,
                stacks.later_spline, stacks.masks, stacks.norms, ys, targets.x, size, *nodes,
                fine_radius_px, WIDER_PX, search_method, limits[0], least_valid, doubtful, chance,
                some, NOTHING if apart else bent, flags,
            )  # fmt: skip
        else:
            from .torch_engine import find_peaks

            some, whole_peaks, flags = find_peaks(
                stacks, ys, targets.x, size, *nodes, fine_radius_px, WIDER_PX, search_method,
                limits[0], least_valid, doubtful, chance, device=device,
            )  # fmt: skip
        if searched is not None:
            searched[here] = some[RESULTS.index("correlation")]
            stacks = _prepared(
                others, block, size, least=limits[1], threads=threads, searched=False
            )
        if apart:
            if device is None or refined is not None:
                # What the pixels in common are should not depend on the engine.
                whole_peaks = np.rint(np.nan_to_num(some[:2])).astype(np.int64)
            run_over_rows(
                refine_rows, rows, threads, stacks.earlier, stacks.earlier_spline,
                stacks.later_spline, stacks.masks, ys, targets.x, size, *nodes, method, limits[1],
                whole_peaks, some, bent, flags,
            )  # fmt: skip
        out[:, here], flag[here] = some, flags
        if deformation.size:
            deformation[:, here] = bent
    return Measured(out, deformation, flag, searched)


def _reach(prediction: Prediction, farther_px: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The displacements along y that may be tried in each row of points."""
    v = prediction.planes[1]
    above = np.minimum(prediction.row.astype(np.int64), max(v.shape[0] - 2, 0))
    below = np.minimum(above + 1, v.shape[0] - 1)
    known = np.isfinite(v)
    least = np.where(known, v, np.inf).min(axis=1, initial=0.0)
    most = np.where(known, v, -np.inf).max(axis=1, initial=0.0)
    lowest = np.floor(np.minimum(least[above], least[below])) - farther_px
    highest = np.ceil(np.maximum(most[above], most[below])) + farther_px
    return lowest.astype(np.int64), highest.astype(np.int64)


def _refinement_margin_px(window_px: int) -> int:
    """How far beyond the candidates' windows the refinement looks.

    It may go `FARTHEST_PX` from a peak that is a pixel from its whole one, bend the window by half
    its size, takes two spline coefficients on each side, and those rest on `SPLINE_REACH` pixels.
    """
    return int(np.ceil(FARTHEST_PX)) + 1 + window_px // 2 + 2 + SPLINE_REACH
