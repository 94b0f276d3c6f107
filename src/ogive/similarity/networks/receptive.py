"""How far a network looks, counted through its layers.

`halo_px` follows a span of pixels of the output back to the pixels of the input that it depends on.
A layer widens the span (a convolution), or changes the grid that it is counted on (pooling, up- and
down-sampling by whole factors); of branches the union counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Span", "halo_px"]


@dataclass(frozen=True, slots=True)
class Span:
    """Pixels from ``first`` to ``last``, both included, of one row of one grid.

    Examples
    --------
    Two convolutions of 3 pixels above a pooling by 2:

    >>> Span(5, 5).convolved(2).pooled(2)
    Span(first=6, last=15)
    """

    first: int
    last: int

    def convolved(self, radius: int) -> Span:
        """Behind convolutions whose radii sum up to this."""
        return Span(self.first - radius, self.last + radius)

    def pooled(self, factor: int) -> Span:
        """On the grid finer by this factor, each of whose cells a coarse pixel covers."""
        return Span(factor * self.first, factor * self.last + factor - 1)

    def transposed(self, factor: int) -> Span:
        """On the coarser grid, behind a transposed convolution without overlap."""
        return Span(self.first // factor, self.last // factor)

    def upsampled(self, factor: int) -> Span:
        """On the coarser grid, behind bilinear interpolation between its pixel centres."""
        # Pixel q lies at (q + 1/2) / factor - 1/2 of the coarse grid, between two of its pixels.
        return Span(
            (2 * self.first + 1 - factor) // (2 * factor),
            -((factor - 1 - 2 * self.last) // (2 * factor)),
        )

    def downsampled(self, factor: int) -> Span:
        """On the finer grid, behind bilinear interpolation: the two pixels about the middle."""
        return Span(
            factor * self.first + (factor - 1) // 2,
            factor * self.last + factor // 2,
        )

    def __or__(self, other: Span) -> Span:
        return Span(min(self.first, other.first), max(self.last, other.last))


def halo_px(reach: Callable[[Span], Span], *, multiple_px: int) -> int:
    """Greatest distance over which an input pixel changes an output pixel.

    Parameters
    ----------
    reach
        From a span of the output to the span of the input that it depends on.
    multiple_px
        After how many pixels the grids of the network repeat.

    Examples
    --------
    >>> halo_px(lambda span: span.convolved(3), multiple_px=1)
    3
    """
    spans = [(place, reach(Span(place, place))) for place in range(multiple_px)]
    return max(max(place - span.first, span.last - place) for place, span in spans)
