"""Squares cut out of real images: where, and what lies beyond the border."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError

__all__ = ["Corner", "Corners", "cut"]

EVERY_PX = 4
"""Distance of the corners that are offered."""
INSET = 0.2
"""Of the side: what is nearer to the border may have moved out of the square."""

Scalar = TypeVar("Scalar", bound=np.generic)


class Corner(NamedTuple):
    """Column and row of a square's first pixel; negative where it begins beyond the image."""

    left: int
    top: int


class Corners:
    """Places where a square holds enough of what is asked for in its inner part.

    Parameters
    ----------
    wanted
        ``(y, x)``: what is asked for.
    size_px
        Side of the squares; larger than the image is possible.
    least_share
        Of the inner part.

    Examples
    --------
    >>> wanted = np.zeros((40, 60), bool); wanted[:, 40:] = True
    >>> corners = Corners(wanted, size_px=32, least_share=0.5)
    >>> len(corners) > 0, corners.draw(np.random.default_rng(0)).left > 16
    (True, True)
    """

    def __init__(self, wanted: NDArray[np.bool_], *, size_px: int, least_share: float) -> None:
        if size_px < 16:
            raise InputError(f"samples of {size_px} px: at least 16 are needed")
        sums = np.zeros(tuple(n + 1 for n in wanted.shape), np.int64)
        sums[1:, 1:] = wanted.cumsum(0).cumsum(1)
        inset = round(INSET * size_px)
        inner = size_px - 2 * inset
        tops, lefts = (_offered(n, size_px) for n in wanted.shape)
        (y0, y1), (x0, x1) = (
            (np.clip(first + inset, 0, n), np.clip(first + inset + inner, 0, n))
            for first, n in zip((tops, lefts), wanted.shape, strict=True)
        )
        held = sums[np.ix_(y1, x1)] - sums[np.ix_(y0, x1)] - sums[np.ix_(y1, x0)]
        held += sums[np.ix_(y0, x0)]
        rows, columns = np.nonzero(held >= max(1.0, least_share * inner**2))
        self._tops, self._lefts = tops[rows], lefts[columns]

    def __len__(self) -> int:
        return len(self._tops)

    def draw(self, rng: np.random.Generator) -> Corner:
        """One of the places."""
        number = int(rng.integers(len(self._tops)))
        return Corner(int(self._lefts[number]), int(self._tops[number]))


def _offered(length: int, size_px: int) -> NDArray[np.int64]:
    """First rows or columns: inside the image, or round it where it is smaller."""
    room = length - size_px
    return np.arange(min(0, room), max(0, room) + 1, EVERY_PX)


def cut(image: NDArray[Scalar], corner: Corner, size_px: int, *, beyond: Any) -> NDArray[Scalar]:
    """A square ``(..., y, x)`` of an image; beyond its border stands a given value."""
    square = np.full((*image.shape[:-2], size_px, size_px), beyond, image.dtype)
    rows, columns = (
        slice(max(0, first), max(0, min(n, first + size_px)))
        for first, n in zip((corner.top, corner.left), image.shape[-2:], strict=True)
    )
    inside = image[..., rows, columns]
    if inside.size:
        top, left = rows.start - corner.top, columns.start - corner.left
        height, width = inside.shape[-2:]
        square[..., top : top + height, left : left + width] = inside
    return square
