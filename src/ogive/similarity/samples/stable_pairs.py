"""Ground that does not move, photographed in different years: real change whose motion is known.

Snow, shadow, plants and light change between years as they do on ice, and beside a glacier the true
displacement is zero. What misregistration leaves of it is measured: the median over the stable
ground of a pair is its label. A piece of ground is kept where that median is certain to a third of
a tolerance, the displacements of at least two windows' area scatter by less than the tolerance
round it, and it is short of a pixel, more than which is no misregistration but ground that slides
or a wrong match.

Tiles of neighbouring glaciers overlap. Those of one year are joined, and two years are compared
wherever both have pixels, whichever tiles these come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations

import numpy as np
from scipy import ndimage

from ogive.matching.match import Masks, match
from ogive.model import Flag, InputError, Scene

from .image_series import DatedImage
from .labelled_pair import LabelledPair
from .year_tiles import YearTile, mosaic, read_year_tiles, touching

__all__ = ["StablePair", "read_year_tiles", "stable_pairs"]

LEAST_SIDE_PX = 48
"""A window, and half as much again to search in."""
FEATURES = "orientation"
"""Least disturbed by another light, and it needs no aligned windows to measure a filter."""
WINDOW_PX, STEP_PX, SEARCH_PX = 32, 8, 4
MARGIN_PX = 2
"""Beside ice, since outlines are some pixels wrong and ice melts back."""
MID_SUMMER = (8, 15)
"""Month and day that stand for a composite of July to September."""
CERTAINTY = 3.0
LEAST_INDEPENDENT = 2.0
NMAD = 1.4826
MEDIAN_ERROR = 1.2533
"""Standard error of a median over that of a mean, of normal errors."""


@dataclass(frozen=True, slots=True, eq=False)
class StablePair:
    """Two years of one piece of ground, and how well they lie on each other.

    Attributes
    ----------
    pair
        Labelled with the median displacement wherever the ground is stable.
    dx_px, dy_px
        The median displacement.
    spread_px
        Normalised median absolute deviation of the displacements, mean of x and y.
    error_px
        Standard error of the median, overlapping windows counted once.
    windows
        How many were measured on stable ground.
    kept
        Whether the pair may be trained on.
    """

    pair: LabelledPair
    dx_px: float
    dy_px: float
    spread_px: float
    error_px: float
    windows: int
    kept: bool


def stable_pairs(
    tiles: Sequence[YearTile],
    *,
    tolerance_px: float = 0.3,
    most_shift_px: float = 1.0,
    threads: int | None = None,
) -> list[StablePair]:
    """Find ground that was seen in two years, and check that it lies where it lay.

    Parameters
    ----------
    tiles
        On one lattice; see `read_year_tiles`.
    tolerance_px
        How far displacements may scatter, and three times how uncertain their median may be.
    most_shift_px
        The longest median displacement of a pair that is kept.
    threads
        For matching.

    Returns
    -------
    list of StablePair
        All pieces of ground that are large enough to be matched, kept or not.

    Raises
    ------
    InputError
        If no two tiles of different years overlap by enough to match.
    """
    found = [
        _checked(pair, tolerance_px, most_shift_px, threads)
        for group in touching(tiles)
        for pair in _pieces(group)
    ]
    if not found:
        years = ", ".join(map(str, sorted({tile.year for tile in tiles}))) or "none"
        raise InputError(
            f"no stable ground of {LEAST_SIDE_PX} px was seen in two years: {len(tiles)} tiles, "
            f"years {years}"
        )
    return found


def _pieces(group: Sequence[YearTile]) -> list[LabelledPair]:
    """Pairs of years of each piece of ground that both show, not yet labelled."""
    years = sorted({tile.year for tile in group})
    names = frozenset(tile.place for tile in group)
    mosaics = {year: mosaic(group, year) for year in years} if len(years) > 1 else {}
    pairs = []
    for earlier, later in combinations(mosaics, 2):
        both = mosaics[earlier].valid & mosaics[later].valid
        pieces, _ = ndimage.label(both)
        for number, box in enumerate(ndimage.find_objects(pieces), start=1):
            stable = mosaics[earlier].stable & (pieces == number)
            stable = ndimage.binary_erosion(stable, iterations=MARGIN_PX)[box]
            if min(stable.shape) < LEAST_SIDE_PX or stable.sum() < LEAST_SIDE_PX**2:
                continue
            images = [
                DatedImage(
                    np.ascontiguousarray(mosaics[year].pixels[:, *box]),
                    mosaics[year].valid[box].copy(),
                    Scene(f"{min(names)} {year}", datetime(year, *MID_SUMMER), "sentinel-2"),
                )
                for year in (earlier, later)
            ]
            pairs.append(
                LabelledPair(
                    min(names),
                    images[0],
                    images[1],
                    np.full((2, *stable.shape), np.nan, np.float32),
                    stable,
                    np.zeros(stable.shape, np.float32),
                    group[0].pixel_size_m,
                    names,
                )
            )
    return pairs


def _checked(
    pair: LabelledPair, tolerance_px: float, most_shift_px: float, threads: int | None
) -> StablePair:
    """Measure the displacement of the stable ground, and label it with its median."""
    stable = Masks(pair.earlier.valid & pair.stable, pair.later.valid & pair.stable)
    field = match(
        pair.earlier.grey,
        pair.later.grey,
        features=FEATURES,
        mask=stable,
        window=WINDOW_PX,
        step=STEP_PX,
        search=SEARCH_PX,
        threads=threads,
    )
    measured = field.flag.values == Flag.MEASURED
    moved = np.stack([field[name].values[measured] for name in ("dx", "dy")]).astype(float)
    windows = moved.shape[1]
    if windows == 0:
        return StablePair(pair, np.nan, np.nan, np.nan, np.inf, 0, kept=False)
    median = np.median(moved, axis=1, keepdims=True)
    spread = float(NMAD * np.median(np.abs(moved - median), axis=1).mean())
    # Overlapping windows are counted by their area.
    independent = windows * (STEP_PX / WINDOW_PX) ** 2
    error = MEDIAN_ERROR * spread / float(np.sqrt(max(1.0, independent)))
    certain = spread <= tolerance_px and error <= tolerance_px / CERTAINTY
    certain &= independent >= LEAST_INDEPENDENT
    kept = bool(certain and np.hypot(*median[:, 0]) <= most_shift_px)
    labelled = replace(
        pair,
        displacement=np.where(pair.stable, median[:, :, None], np.nan).astype(np.float32),
        quality=pair.stable.astype(np.float32),
    )
    dx, dy = (float(value) for value in median[:, 0])
    return StablePair(labelled, dx, dy, spread, error, windows, kept)
