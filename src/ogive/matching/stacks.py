"""Stacks of features, and how a tile of 10980 x 10980 pixels and its stacks fit into memory.

Most stacks are arrays. A feature that says how far it looks (`LocalFeature`) need not be computed
for a whole image at once: small stacks are, larger ones are kept in half precision where the
feature allows it, and the largest are computed anew wherever they are asked for. All three are cut
by ``stack[:, y0:y1, x0:x1]``; the correlator works on blocks of rows of them (see `blocks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..model import InputError
from .features import Feature, LocalFeature
from .kernels import (
    BoolArray,
    Float32Array,
    halve,
    inverse_norms,
    spline_coefficients,
    summed_area,
)

__all__ = [
    "KernelMasks",
    "LocalStack",
    "PreparedStacks",
    "Stack",
    "checked_stack",
    "feature_stack",
    "flat_limit",
    "kernel_masks",
    "masked_halves",
    "rows_of",
]

WHOLE_BYTES = 2**30
"""A stack up to this size is computed and kept whole, in single precision."""
HALF_BYTES = 2**31
"""A stack up to this size in half precision is kept so, where the feature allows it."""
FILL_ROWS = 1024

FLAT = 1e-10
"""A window is flat when its variance is below this share of the image's own."""

KernelMasks = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]
"""Masks of both images and summed-area tables of what is invalid; all empty when all is valid."""


class Stack(Protocol):
    """What stacks have in common: a shape, and pieces of rows and columns."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, rows, columns."""
        ...

    def __getitem__(self, key: Any, /) -> Any:
        """Cut out ``[:, y0:y1, x0:x1]``."""
        ...


@dataclass(frozen=True)
class LocalStack:
    """Features of one image, computed where they are asked for.

    Parameters
    ----------
    feature
        What is computed; it says how far it looks.
    image, valid
        ``(y, x)`` or ``(band, y, x)``, and where it may be used.
    threads
        How many threads the feature may use.
    """

    feature: LocalFeature
    image: Float32Array
    valid: BoolArray | None
    threads: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, rows, columns."""
        return self.feature.channels, self.image.shape[-2], self.image.shape[-1]

    def __getitem__(self, key: tuple[slice, slice, slice], /) -> Float32Array:
        """Compute ``[:, y0:y1, x0:x1]``, equal to what the whole image gives there."""
        if key[0] != slice(None):
            raise InputError("a local stack is cut by rows and columns, not by channels")
        ranges = []
        for part, size in zip(key[1:], self.shape[1:], strict=True):
            start, stop, step = part.indices(size)
            if step != 1:
                raise InputError("a local stack gives connected pieces only")
            ranges.append((start, stop, *self._with_halo(start, stop, size)))
        (y0, y1, top, bottom), (x0, x1, left, right) = ranges
        there = np.s_[top:bottom, left:right]
        stack = self.feature(
            np.ascontiguousarray(self.image[(..., *there)]),
            None if self.valid is None else np.ascontiguousarray(self.valid[there]),
            threads=self.threads,
        )
        stack = checked_stack(stack, (bottom - top, right - left))
        return stack[:, y0 - top : y1 - top, x0 - left : x1 - left]

    def _with_halo(self, start: int, stop: int, size: int) -> tuple[int, int]:
        """A range with all that its values depend on, at places where the feature is the same."""
        halo, multiple = self.feature.halo_px, self.feature.multiple_px
        # At an edge the halo is missing on one side: the other one gives the least size.
        first = max(0, min(start - halo, size - (2 * halo + 1)))
        first -= first % multiple
        last = max(stop + halo, first + 2 * halo + 1)
        last += -(last - first) % multiple
        return first, min(last, size)

    def in_half_precision(self) -> NDArray[np.float16]:
        """All of it, kept in two bytes a value."""
        kept = np.empty(self.shape, np.float16)
        for top in range(0, self.shape[1], FILL_ROWS):
            rows = slice(top, min(top + FILL_ROWS, self.shape[1]))
            kept[:, rows] = self[:, rows, :]
        return kept


def feature_stack(
    feature: Feature, image: Float32Array, valid: BoolArray | None, *, threads: int = 1
) -> Stack:
    """Features of one image: whole, in half precision, or computed where they are asked for.

    Parameters
    ----------
    feature
        Any; only a `LocalFeature` can be other than whole.
    image, valid
        ``(y, x)`` or ``(band, y, x)``, and where it may be used.
    threads
        How many threads the feature may use.
    """
    if isinstance(feature, LocalFeature):
        local = LocalStack(feature, image, valid, threads)
        size = int(np.prod(local.shape))
        if 4 * size > WHOLE_BYTES:
            keep = feature.half_precision and 2 * size <= HALF_BYTES
            return local.in_half_precision() if keep else local
    return checked_stack(feature(image, valid, threads=threads), image.shape[-2:])


def checked_stack(stack: NDArray[Any], shape: tuple[int, ...]) -> Float32Array:
    """Check what a feature function gave."""
    stack = np.ascontiguousarray(stack, np.float32)
    if stack.ndim == 2:
        stack = stack[None]
    if stack.ndim != 3 or stack.shape[1:] != shape:
        raise InputError(
            f"the feature function gave an array of shape {stack.shape}: "
            f"(channel, {shape[0]}, {shape[1]}) is needed"
        )
    return stack


def rows_of(stack: Stack, top: int, bottom: int) -> Float32Array:
    """Some rows of a stack as the kernels take them: without a copy where they are all."""
    all_of_it = top == 0 and bottom == stack.shape[1]
    if isinstance(stack, np.ndarray) and stack.dtype == np.float32 and all_of_it:
        return stack
    return np.ascontiguousarray(stack[:, top:bottom, :], np.float32)


def flat_limit(stack: Stack, window_px: int) -> float:
    """Sum of squares under which a window of this stack counts as flat."""
    if isinstance(stack, np.ndarray):
        # One pixel in 49 tells the order of magnitude, which is all that is needed.
        some = stack[:, ::7, ::7] if min(stack.shape[1:]) > 200 else stack
    else:
        some = _pieces(stack)
    variance = sum(float(np.var(channel, dtype=np.float64)) for channel in some)
    return FLAT * variance * window_px**2


def _pieces(stack: Stack, number: int = 4, size: int = 64) -> Float32Array:
    """Square pieces spread over a stack, side by side."""
    height, width = stack.shape[1:]
    tops = np.linspace(0, max(height - size, 0), number).astype(int)
    lefts = np.linspace(0, max(width - size, 0), number).astype(int)
    pieces = [stack[:, y : y + size, x : x + size] for y in tops for x in lefts]
    return np.asarray(np.concatenate(pieces, axis=2), np.float32)


def kernel_masks(
    valid_earlier: BoolArray | None, valid_later: BoolArray | None, rows: slice = slice(None)
) -> KernelMasks:
    """Masks of some rows as the kernels take them: empty when all is valid."""
    if valid_earlier is None or valid_later is None:
        nothing = np.zeros((0, 0), np.uint8)
        return nothing, nothing, np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32)
    earlier, later = valid_earlier[rows], valid_later[rows]
    return (
        earlier.astype(np.uint8),
        later.astype(np.uint8),
        summed_area(~earlier),
        summed_area(~later),
    )


def masked_halves(
    stack: Float32Array, valid: BoolArray | None
) -> tuple[Float32Array, BoolArray | None]:
    """A stack at half the resolution; a halved pixel is valid when all its four are."""
    halves = halve(stack)
    if valid is None:
        return halves, None
    rows, columns = halves.shape[1:]
    quarters = valid[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
    return halves, np.asarray(quarters.all(axis=(1, 3)), np.bool_)


@dataclass(frozen=True)
class PreparedStacks:
    """Some rows of both stacks with what the kernels need of them.

    Parameters
    ----------
    earlier, later
        Features, float32.
    earlier_spline, later_spline
        Their spline coefficients, or the features again where nothing is refined.
    norms
        `inverse_norms` of the later stack; empty where nothing is searched.
    masks
        As the kernels take them.
    """

    earlier: Float32Array
    later: Float32Array
    earlier_spline: Float32Array
    later_spline: Float32Array
    norms: Float32Array
    masks: KernelMasks

    @classmethod
    def of(
        cls,
        earlier: Float32Array,
        later: Float32Array,
        masks: KernelMasks,
        size: int,
        *,
        least: float,
        threads: int,
        searched: bool = True,
        refined: bool = True,
    ) -> PreparedStacks:
        """Prepare stacks for windows of ``size`` pixels; ``least`` is the later one's limit."""
        nothing = np.empty((0, 0), np.float32)
        return cls(
            earlier,
            later,
            spline_coefficients(earlier, threads=threads) if refined else earlier,
            spline_coefficients(later, threads=threads) if refined else later,
            inverse_norms(later, size, size, least=least, threads=threads) if searched else nothing,
            masks,
        )
