"""How far displacements of a pair are searched: by a largest speed, or round a prior velocity."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import odc.geo.xr  # noqa: F401  (gives images their .odc accessor)
import xarray as xr

from ogive.matching.search import (
    LEAST_RADIUS_PX,
    MOST_RADIUS_PX,
    Search,
    search_radius_px,
)
from ogive.model import DAYS_PER_YEAR, GridError, InputError

from .prior import prior_displacement

__all__ = ["SearchRange", "search_range"]

FASTEST_PERCENT = 99.5
"""Share of a prior's points that the search round it is made for: maps have a few wild ones."""

_log = logging.getLogger(__name__)


class SearchRange(NamedTuple):
    """What `ogive.match` takes as ``search`` and ``prior``."""

    search: Search
    prior: xr.Dataset | None


def search_range(
    image: xr.DataArray,
    *,
    days: float,
    window: int,
    step: int,
    max_speed_m_yr: float,
    prior: xr.Dataset | None = None,
    variation: float = 0.5,
) -> SearchRange:
    """Find how far to search a pair, and round which displacement.

    Without a prior the search reaches as far as the fastest ice moves. With one it is centred on
    the displacement that the prior expects, and reaches as far as the ice may have changed its
    speed since; where the prior has no value, it reaches as far as without. Both are clipped to
    4-64 pixels.

    Parameters
    ----------
    image
        The image that is matched, with a coordinate reference system in metres.
    days
        Time between the images.
    window, step
        As in `ogive.match`.
    max_speed_m_yr
        Highest speed to be expected.
    prior
        An older velocity, as `ogive.workflow.prior.read_prior` gives it.
    variation
        By how much of its speed the ice may differ from the prior: half is more than seasons do to
        most glaciers.

    Returns
    -------
    SearchRange
        For `ogive.match`.

    Raises
    ------
    InputError
        If a number is out of range.
    GridError
        If the image has no coordinate reference system, or the prior does not lie on it.
    """
    if not 0 < variation < np.inf:
        raise InputError(f"a variation of {variation:g} leaves nothing to search: give above 0")
    if image.odc.crs is None:
        raise GridError(
            "a search range in pixels needs an image with a coordinate reference system"
        )
    resolution = image.odc.geobox.resolution
    pixel_size_m = float(np.sqrt(abs(resolution.x * resolution.y)))
    free_px = search_radius_px(max_speed_m_yr, days=days, pixel_size_m=pixel_size_m)
    _warn_of_faster_ice(free_px * pixel_size_m * DAYS_PER_YEAR / days, max_speed_m_yr, days)
    if prior is None:
        return SearchRange(Search(radius_px=free_px), None)
    expected = prior_displacement(prior, image, days=days, window=window, step=step)
    length_px = np.hypot(expected.dx, expected.dy).values / pixel_size_m
    far_px = float(np.nanpercentile(length_px, FASTEST_PERCENT))
    round_px = int(np.clip(np.ceil(variation * far_px), LEAST_RADIUS_PX, MOST_RADIUS_PX))
    return SearchRange(Search(radius_px=free_px, prior_radius_px=round_px), expected)


def _warn_of_faster_ice(farthest_m_yr: float, max_speed_m_yr: float, days: float) -> None:
    if farthest_m_yr < max_speed_m_yr:
        _log.warning(
            "the search is limited to %d pixels: without a prior, ice above %.0f m/yr cannot be "
            "found in %.1f days",
            MOST_RADIUS_PX, farthest_m_yr, days,
        )  # fmt: skip
