"""Real images of one place at several dates, on one grid: what self-samples are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ogive.model import GridError, InputError, Scene, baseline_days
from ogive.scenes.names import scene_from_name
from ogive.scenes.read import common_grid, read_image, read_tags, valid_mask

__all__ = ["DatedImage", "ImageSeries", "read_series", "series_of"]


@dataclass(frozen=True, slots=True, eq=False)
class DatedImage:
    """An image and when it was taken.

    Attributes
    ----------
    pixels
        ``(band, y, x)``, float32, 0 where there is no data.
    valid
        ``(y, x)``: True where all bands have data.
    scene
        The acquisition: its date, sensor and sun are conditions of training.
    """

    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]
    scene: Scene

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[1:] != self.valid.shape:
            raise InputError(
                f"{self.scene.id}: pixels of shape {self.pixels.shape} and a mask of shape "
                f"{self.valid.shape}: (band, y, x) and (y, x) of one size are needed"
            )

    @property
    def grey(self) -> NDArray[np.float32]:
        """Mean of the bands, ``(y, x)``, NaN where there is no data."""
        mean = self.pixels.mean(axis=0, dtype=np.float32)
        return np.where(self.valid, mean, np.float32(np.nan)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ImageSeries:
    """Images of one place on one grid, from the earliest to the latest.

    Attributes
    ----------
    place
        Of what; training and test are kept apart by it.
    images
        Two or more.
    pixel_size_m
        Of the grid, if it is known.

    Raises
    ------
    InputError
        With fewer than two images.
    GridError
        If the images differ in size or in their number of bands.
    DateError
        If their dates do not ascend.
    """

    place: str
    images: tuple[DatedImage, ...]
    pixel_size_m: float | None = None

    def __post_init__(self) -> None:
        if len(self.images) < 2:
            raise InputError(
                f"{self.place}: {len(self.images)} image, but motion needs two or more"
            )
        shapes = {image.pixels.shape for image in self.images}
        if len(shapes) > 1:
            raise GridError(
                f"{self.place}: images of the shapes {', '.join(map(str, sorted(shapes)))} are "
                "not on one grid"
            )
        for one, other in pairwise(self.images):
            baseline_days(one.scene.time, other.scene.time)


def series_of(
    images: Sequence[NDArray[np.generic]],
    times: Sequence[datetime],
    *,
    place: str,
    valid: Sequence[NDArray[np.bool_]] | None = None,
    pixel_size_m: float | None = None,
) -> ImageSeries:
    """Make a series of co-registered arrays.

    Parameters
    ----------
    images
        ``(y, x)`` or ``(band, y, x)``; what is not finite is left out.
    times
        Of each, ascending.
    place, pixel_size_m
        As in `ImageSeries`.
    valid
        ``(y, x)`` of each: True where it may be used; everywhere by default.

    Raises
    ------
    InputError
        If there are not as many times or masks as images.

    Examples
    --------
    >>> rough = np.random.default_rng(0).normal(size=(50, 60))
    >>> series = series_of([rough, rough], [datetime(2020, 7, 1), datetime(2020, 7, 17)], place="a")
    >>> series.images[0].pixels.shape
    (1, 50, 60)
    """
    if len(times) != len(images) or (valid is not None and len(valid) != len(images)):
        raise InputError(f"{place}: {len(images)} images need as many times and masks")
    dated = []
    for number, (image, time) in enumerate(zip(images, times, strict=True)):
        pixels = np.asarray(image, np.float32)
        if pixels.ndim not in (2, 3):
            raise InputError(f"{place}: an image of shape {pixels.shape}: (y, x) is needed")
        pixels = pixels.reshape(-1, *pixels.shape[-2:])
        usable = np.asarray(np.isfinite(pixels).all(axis=0), bool)
        if valid is not None:
            usable &= np.asarray(valid[number], bool)
        scene = Scene(f"{place} {time:%Y-%m-%d}", time)
        dated.append(DatedImage(np.where(usable, pixels, np.float32(0)), usable, scene))
    return ImageSeries(place, tuple(dated), pixel_size_m)


def read_series(
    paths: Sequence[str | Path],
    *,
    place: str,
    band: int | str | None = None,
    times: Sequence[datetime] | None = None,
    nodata: float | None = None,
) -> ImageSeries:
    """Read co-registered images of one place as a series, on the area that all share.

    Parameters
    ----------
    paths
        Two or more images that GDAL reads; those that are not on the lattice of the first one are
        resampled on it.
    place
        As in `ImageSeries`.
    band
        Number of the band, from 1, or its name; may be left out when there is just one.
    times
        Acquisition of each, by default as the names or tags tell.
    nodata
        Value of pixels without data, where the files do not declare it.

    Raises
    ------
    InputError
        If a file cannot be read, or there are fewer than two.
    GridError
        If the images share no area or no coordinate system.
    DateError
        If a date is unknown, or two are equal.
    """
    if len(paths) < 2:
        raise InputError(f"{place}: {len(paths)} image, but motion needs two or more")
    if times is not None and len(times) != len(paths):
        raise InputError(f"{place}: {len(paths)} images but {len(times)} times")
    scenes = [
        Scene(Path(path).name, times[number])
        if times is not None
        else scene_from_name(path, read_tags(path))
        for number, path in enumerate(paths)
    ]
    order = sorted(range(len(paths)), key=lambda number: scenes[number].time)
    images = _on_one_grid([read_image(paths[number], band=band, nodata=nodata) for number in order])
    dated = []
    for image, number in zip(images, order, strict=True):
        valid = valid_mask(image)
        pixels = np.where(valid, image.values, 0).astype(np.float32)[None]
        dated.append(DatedImage(pixels, valid, scenes[number]))
    return ImageSeries(place, tuple(dated), abs(float(images[0].odc.geobox.resolution.x)))


def _on_one_grid(images: Sequence[xr.DataArray]) -> list[xr.DataArray]:
    """All images on what they share of the first one's lattice."""
    shared = images[0]
    for image in images[1:]:
        shared = common_grid(shared, image).earlier
    return [shared, *(common_grid(shared, image).later for image in images[1:])]
