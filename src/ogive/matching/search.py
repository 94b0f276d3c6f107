"""Which displacements are candidates: how far to search, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from ..model import InputError

__all__ = ["Search", "search_radius_px"]

LEAST_RADIUS_PX = 4
MOST_RADIUS_PX = 64


@dataclass(frozen=True)
class Search:
    """How displacements are searched for.

    Parameters
    ----------
    radius_px
        The largest displacement along each axis, in pixels: a number, or a ``(y, x)`` map on the
        images' grid for a range that varies (see `search_radius_px`).
    strategy
        ``"coarse-to-fine"``: a sparse search over the whole range, kept where neighbours agree,
        predicts a small search at every point. ``"full"``: every point is searched over the whole
        range on its own: slow, and without the neighbours' help.
    prior_radius_px
        Where a prior displacement is given, the search goes this far from it.
    fine_radius_px
        Half-width of the small search round the prediction.

    Raises
    ------
    InputError
        If a radius is negative or the strategy has another name.
    """

    radius_px: int | NDArray[np.int64] = 32
    strategy: Literal["coarse-to-fine", "full"] = "coarse-to-fine"
    prior_radius_px: int = 6
    fine_radius_px: int = 2

    def __post_init__(self) -> None:
        if np.min(self.radius_px) < 1 or self.prior_radius_px < 1 or self.fine_radius_px < 1:
            raise InputError("a search radius is less than one pixel: give at least 1")
        if self.strategy not in ("coarse-to-fine", "full"):
            raise InputError(
                f"no search strategy {self.strategy!r}: take 'coarse-to-fine' or 'full'"
            )


@overload
def search_radius_px(max_speed_m_yr: float, *, days: float, pixel_size_m: float) -> int: ...
@overload
def search_radius_px(
    max_speed_m_yr: NDArray[np.float64], *, days: float, pixel_size_m: float
) -> NDArray[np.int64]: ...
def search_radius_px(
    max_speed_m_yr: float | NDArray[np.float64], *, days: float, pixel_size_m: float
) -> int | NDArray[np.int64]:
    """Search radius that the fastest ice needs, clipped to 4-64 px.

    Parameters
    ----------
    max_speed_m_yr
        Highest speed to be expected, a number or a map.
    days
        Time between the images.
    pixel_size_m
        Side of a pixel.

    Examples
    --------
    Ice of 3000 m/yr moves 131 m in 16 days, or nine pixels of Landsat's panchromatic band:

    >>> search_radius_px(3000.0, days=16, pixel_size_m=15)
    9
    """
    speed = np.asarray(max_speed_m_yr, float)
    if not np.all(speed > 0) or days <= 0 or pixel_size_m <= 0:
        raise InputError("maximum speed, days and pixel size must all be above zero")
    pixels = np.ceil(speed * days / 365.25 / pixel_size_m)
    radius = np.clip(pixels, LEAST_RADIUS_PX, MOST_RADIUS_PX).astype(np.int64)
    return int(radius) if radius.ndim == 0 else radius
