"""What a network of pairs will cost in time, traffic and disk, before it is begun.

The figures are measured (`Pace`); they hold to some tens of percent for images of 16 bits in
cloud-optimised GeoTIFFs, and for the processor that they were measured on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from odc.geo.geobox import GeoBox

from ogive.model import InputError, Scene

from .network import PairIndices

__all__ = ["Cost", "Pace", "estimate"]


@dataclass(frozen=True, slots=True)
class Pace:
    """What one step of the work takes.

    Parameters
    ----------
    match_s_per_megapixel
        Processor time that a pair takes for its images, whatever the number of points: filters,
        spectra, masks.
    match_us_per_point
        Processor time of a point for windows of 16 pixels; it grows with the side of the window.
    file_bytes_per_pixel
        Of images as they are served. Landsat 8's panchromatic band over ice and rock takes 1.6 to
        1.9 bytes, Sentinel-2 over fields 0.9 to 1.3.
    tile_px
        Side of the squares that a server's files are cut in: what is read begins and ends with one.
    product_bytes_per_point
        Of the displacements that are kept of each pair, compressed.
    network_bytes_s
        How fast files come.
    """

    match_s_per_megapixel: float = 0.26
    match_us_per_point: float = 4.2
    file_bytes_per_pixel: float = 1.8
    tile_px: int = 1024
    product_bytes_per_point: float = 34.0
    network_bytes_s: float = 12.5e6


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network of pairs will take; printed, it is a short table."""

    scenes: int
    pairs: int
    points_per_pair: int
    core_hours: float
    download_hours: float
    requests: int
    download_bytes: float
    cache_bytes: float
    product_bytes: float

    def __str__(self) -> str:
        rows = (
            ("scenes", f"{self.scenes:,}"),
            ("pairs", f"{self.pairs:,}"),
            ("points of a pair", f"{self.points_per_pair:,}"),
            ("matching", f"{_duration(self.core_hours)} of one core"),
            ("download", f"{_told(self.download_bytes)} in {self.requests:,} requests"),
            ("", _duration(self.download_hours)),
            ("disk, cache", _told(self.cache_bytes)),
            ("disk, products", _told(self.product_bytes)),
        )
        return "\n".join(f"{name:<18}{value}" for name, value in rows)


def estimate(
    scenes: Sequence[Scene],
    pairs: PairIndices,
    grid: GeoBox,
    *,
    window: int = 32,
    step: int = 8,
    bands: int = 1,
    wanted_share: float = 1.0,
    pace: Pace | None = None,
) -> Cost:
    """Estimate what it will take to match a network of pairs on a grid.

    Parameters
    ----------
    scenes, pairs
        What `ogive.scenes.pair_indices` was given, and what it gave.
    grid
        The grid of the region.
    window, step
        As in `ogive.match`.
    bands
        How many bands of each scene are read.
    wanted_share
        Share of the grid on which displacements are wanted; see `ogive.scenes.ground`.
    pace
        Other figures than those measured, for another processor or network.

    Raises
    ------
    InputError
        If a number is out of range.

    Examples
    --------
    >>> from datetime import datetime
    >>> from ogive.scenes import pair_indices
    >>> looks = [Scene(str(day), datetime(2020, 7, day)) for day in range(1, 30, 5)]
    >>> grid = GeoBox.from_bbox((0, 0, 30_000, 30_000), "EPSG:32632", resolution=10)
    >>> print(estimate(looks, pair_indices(looks), grid, window=16, step=5))
    scenes            6
    pairs             15
    points of a pair  360,000
    matching          1.0 minutes of one core
    download          174.9 MB in 24 requests
                      0.2 minutes
    disk, cache       390.9 MB
    disk, products    183.6 MB
    """
    if window < 1 or step < 1 or bands < 1 or not 0 < wanted_share <= 1:
        raise InputError(
            f"no work can be estimated for windows of {window}, a step of {step}, {bands} bands "
            f"and a share of {wanted_share:g}: give at least 1, and a share above 0 up to 1"
        )
    pace = pace or Pace()
    rows, columns = grid.shape
    used = len({*pairs.earlier.tolist(), *pairs.later.tolist()})
    points = round(rows * columns * wanted_share / step**2)
    match_s = (
        rows * columns / 1e6 * pace.match_s_per_megapixel
        + points * pace.match_us_per_point * 1e-6 * window / 16
    )
    touched_px = (rows + pace.tile_px) * (columns + pace.tile_px)
    download = used * bands * touched_px * pace.file_bytes_per_pixel
    windows = used * bands * rows * columns * 4.0
    return Cost(
        scenes=used,
        pairs=pairs.earlier.size,
        points_per_pair=points,
        core_hours=pairs.earlier.size * match_s / 3600,
        download_hours=download / pace.network_bytes_s / 3600,
        requests=used * bands * (1 + -(-rows // pace.tile_px)),
        download_bytes=download,
        cache_bytes=download + windows,
        product_bytes=pairs.earlier.size * points * pace.product_bytes_per_point,
    )


def _duration(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _told(size_bytes: float) -> str:
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = min(int(math.log(max(size_bytes, 1), 1000)), len(units) - 1)
    return f"{size_bytes / 1000**power:,.1f} {units[power]}"
