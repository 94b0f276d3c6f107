"""Two real images with the displacements that are known between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ogive.model import GridError

from .image_series import DatedImage

__all__ = ["LabelledPair"]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPair:
    """A pair of images, and where the displacement between them is known.

    Attributes
    ----------
    place
        Of what; training and test are kept apart by it.
    earlier, later
        On one grid.
    displacement
        ``(2, y, x)``, float32: dx and dy in pixels from each pixel of ``earlier``; NaN where they
        are not known.
    stable
        ``(y, x)``: ground known not to move; the displacement there is what misregistration left.
    quality
        ``(y, x)``, float32, from 0 to 1: how much a label counts; 0 where there is none.
    pixel_size_m
        Of the grid, if it is known.
    places
        Names of all the places that the images show, where a pair covers several.

    Raises
    ------
    GridError
        If the arrays differ in size.
    """

    place: str
    earlier: DatedImage
    later: DatedImage
    displacement: NDArray[np.float32]
    stable: NDArray[np.bool_]
    quality: NDArray[np.float32]
    pixel_size_m: float | None = None
    places: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        shape = self.earlier.valid.shape
        sizes = (
            self.later.valid.shape,
            self.displacement.shape[1:],
            self.stable.shape,
            self.quality.shape,
        )
        if any(size != shape for size in sizes):
            raise GridError(f"{self.place}: images of {shape} and labels of {sizes} do not fit")

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """``(y, x)``: True where there is a pixel whose displacement is known."""
        return np.asarray(np.isfinite(self.displacement).all(axis=0) & self.earlier.valid)
