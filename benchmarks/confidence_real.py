"""The confidence on Perito Moreno, whose motion is known at points: nothing was fitted there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from confidence_cases import Source
from confidence_evidence import Setting
from learned_real import RIGHT_PX, PeritoMoreno
from numpy.typing import NDArray
from scipy import ndimage

from ogive.matching.field import Points

__all__ = ["RIGHT_PX", "MorenoPair", "moreno_pairs", "moreno_settings"]

STEP_PX = 8
MOREST_PX = 16
"""Half-width of the search: the fastest ice moves by 13 px in 40 days."""
WINDOWS_PX = (16, 32)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class MorenoPair:
    """A pair of the series, and the reference at its points.

    Attributes
    ----------
    place
        The series.
    row
        Number of the pair.
    """

    place: PeritoMoreno
    row: int

    @cached_property
    def _pair(self) -> Any:
        return self.place.pairs.iloc[self.row]

    @property
    def name(self) -> str:
        """Its dates."""
        return f"moreno {self._pair.earlier} {self._pair.later}"

    @property
    def _corner(self) -> tuple[int, int]:
        """First row and column, such that the reference points lie in windows' middles."""
        points = self.place.points
        return int(points.y.iloc[0] % STEP_PX), int(points.x.iloc[0] % STEP_PX)

    def _cropped(self, image: NDArray[Any]) -> NDArray[Any]:
        top, left = self._corner
        return np.ascontiguousarray(image[top:, left:])

    @property
    def earlier(self) -> Array:
        """The earlier picture, grey."""
        return self._cropped(self.place.images[self._pair.earlier])

    @property
    def later(self) -> Array:
        """The later picture, grey."""
        return self._cropped(self.place.images[self._pair.later])

    @property
    def masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Inside the picture: JPEG rings a few grey levels into the black round it."""
        first, second = (
            ndimage.binary_erosion(look > 12, iterations=8) for look in (self.earlier, self.later)
        )
        return first, second

    def error_px(self, points: Points, u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
        """Distance from the reference and the shift of the image; NaN between the points."""
        pair, known = self._pair, self.place.points
        top, left = self._corner
        half = points.window_px // 2
        rows = (known.y.to_numpy() - top - half) // points.step_px
        columns = (known.x.to_numpy() - left - half) // points.step_px
        inside = (rows >= 0) & (columns >= 0) & (rows < u.shape[0]) & (columns < u.shape[1])
        rows, columns, known = rows[inside], columns[inside], known[inside]
        error = np.full(u.shape, np.nan)
        error[rows, columns] = np.hypot(
            u[rows, columns] - pair.days * known.vx_px_per_day - pair.shift_x_px,
            v[rows, columns] - pair.days * known.vy_px_per_day - pair.shift_y_px,
        )
        return error


def moreno_settings(number: int) -> list[Setting]:
    """As maps are made: neighbours help."""
    del number
    return [Setting(window, STEP_PX, MOREST_PX, "coarse-to-fine") for window in WINDOWS_PX]


def moreno_pairs(data: Path) -> list[Source]:
    """Give the pairs of the protocol."""
    place = PeritoMoreno(data / "perito_moreno_s2_series", data.parent / "bench")
    pairs = [MorenoPair(place, row) for row in range(len(place.pairs))]
    return [
        Source(row, pair.name, lambda pair=pair: pair, keep=False) for row, pair in enumerate(pairs)
    ]
