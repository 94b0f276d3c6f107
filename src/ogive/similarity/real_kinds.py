"""Kinds of samples that are made of real pairs: what there is of them, and how it is used."""

from __future__ import annotations

import glob
import logging
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rasterio.warp import transform_bounds
from shapely import box, union_all
from shapely.geometry.base import BaseGeometry

from ogive.learning.split import Source
from ogive.model import InputError

from .ingredient import Ingredient
from .samples.image_series import ImageSeries, read_series
from .samples.labelled_pair import LabelledPair
from .samples.real_settings import SelfSampleSettings, StableGroundSettings
from .samples.seen_again import real_ranges
from .samples.self_sample import SelfSamples, self_sample_round
from .samples.simulated.ranges import Ranges, read_ranges
from .samples.stable_pairs import stable_pairs
from .samples.warped import WarpedSamples
from .samples.year_tiles import YearTile, read_year_tiles, touching

__all__ = ["self_samples", "series_found", "stable_found", "stable_samples"]

_log = logging.getLogger(__name__)


def series_found(settings: SelfSampleSettings) -> list[Ingredient]:
    """Read the real images."""
    found = []
    for each in settings.series:
        paths = sorted(glob.glob(each.files, recursive=True))  # noqa: PTH207 (absolute patterns)
        if len(paths) < 2:
            raise InputError(
                f"{len(paths)} files match {each.files}: two images of {each.place} are needed"
            )
        series = read_series(
            paths, place=each.place, band=each.band, times=each.times, nodata=each.nodata
        )
        dates = tuple(image.scene.time.date() for image in series.images)
        found.append(Ingredient(Source(each.files, each.place, dates=dates), series))
    return found


def self_samples(
    settings: SelfSampleSettings, contents: Sequence[ImageSeries], *, size_px: int, seed: int
) -> WarpedSamples | SelfSamples:
    """Samples of the first round, or of one that follows."""
    if settings.features is None:
        images = [image for series in contents for image in series.images]
        ranges = read_ranges(settings.ranges)
        return WarpedSamples(images, ranges, size_px=size_px, seed=seed)
    done = self_sample_round(contents, settings.matching(_features(settings.features)))
    for kept in done.kept:
        _log.info(
            "%s, %.0f days: of %d points %d measured, %d back again, %d round, %d kept",
            kept.place,
            *(kept.days, kept.points, kept.measured, kept.consistent, kept.closed, kept.agreeing),
        )
    return SelfSamples(
        done.pairs,
        _ranges(settings.ranges),
        size_px=size_px,
        shift_px=settings.shift_px,
        seed=seed,
    )


def _features(told: str) -> Any:
    """A name as it is, or the network of a file of weights."""
    if ".safetensors" not in told:
        return told
    from .features import learned  # needed by those only who match with weights

    return learned(told)


def _ranges(path: Path | None) -> Ranges:
    return real_ranges() if path is None else read_ranges(path)


def stable_found(settings: StableGroundSettings) -> list[Ingredient]:
    """Read tiles and find the ground that was seen in two years.

    All tiles that touch are one place, by whatever names; each name is told, with a content for the
    first one only, so that other kinds of samples of the same tiles fall to the same side.
    """
    tiles = read_year_tiles(settings.files, masks=settings.masks, name=settings.tile_name)
    every = stable_pairs(tiles, tolerance_px=settings.tolerance_px)
    kept = [each.pair for each in every if each.kept]
    _log.info("%d of %d pieces of stable ground are used", len(kept), len(every))
    if not kept:
        raise InputError(
            f"none of {len(every)} pieces of stable ground in {settings.files} lies still to "
            f"{settings.tolerance_px} px"
        )
    found = []
    for group in touching(tiles):
        names = sorted({tile.place for tile in group})
        area = _footprint(group)
        own = [pair for pair in kept if pair.places == frozenset(names)]
        for number, pair in enumerate(own):
            name = f"{settings.files} {names[0]} {number}"
            days = pair.earlier.scene.time.date(), pair.later.scene.time.date()
            found.append(Ingredient(Source(name, names[0], area, _years(*days)), pair))
        if own:
            years = _years(*(date(tile.year, 1, 1) for tile in group))
            for other in names[1:]:
                source = Source(f"{settings.files} {other}", other, area, years)
                found.append(Ingredient(source, None))
    return found


def _footprint(group: Sequence[YearTile]) -> BaseGeometry:
    """What the tiles cover, in degrees of longitude and latitude."""
    return union_all(
        [
            box(
                *transform_bounds(
                    tile.crs,
                    "EPSG:4326",
                    tile.left * tile.pixel_size_m,
                    -tile.bottom * tile.pixel_size_m,
                    tile.right * tile.pixel_size_m,
                    -tile.top * tile.pixel_size_m,
                )
            )
            for tile in group
        ]
    )


def _years(*days: date) -> tuple[date, ...]:
    """First and last day of the years, since an image of a year may be of any day of it."""
    years = [day.year for day in days]
    return date(min(years), 1, 1), date(max(years), 12, 31)


def stable_samples(
    settings: StableGroundSettings,
    contents: Sequence[LabelledPair | None],
    *,
    size_px: int,
    seed: int,
) -> SelfSamples:
    """Squares of stable ground."""
    pairs = [pair for pair in contents if pair is not None]
    return SelfSamples(
        pairs,
        _ranges(settings.ranges),
        size_px=size_px,
        shift_px=settings.shift_px,
        seed=seed,
    )
