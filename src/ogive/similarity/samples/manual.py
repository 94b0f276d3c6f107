"""Features picked by hand (`ogive annotate`): training samples, and an independent test.

Nobody's correlation was asked where these points went, so they judge any matcher, and they teach
where matchers fail. What they cost is a person's time: they are few, and only their own
neighbourhood is labelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ogive.model import DAYS_PER_YEAR, DateError, InputError, Scene
from ogive.scenes.names import scene_from_name
from ogive.scenes.read import common_grid, read_image, read_tags, valid_mask
from ogive.store.picked_points import PixelPositions, pixel_positions, read_picked_points

from .picked_score import PickScore, score

if TYPE_CHECKING:
    from torch import Tensor

    from .sample import Sample

__all__ = [
    "CONFIDENCE_WEIGHTS",
    "ManualSamples",
    "PickScore",
    "PickedPair",
    "read_picked_pair",
    "score",
]

CONFIDENCE_WEIGHTS: Mapping[int, float] = MappingProxyType({1: 1 / 9, 2: 4 / 9, 3: 1.0})
"""How much a pick counts in training: its inverse variance, if its error goes as one over its
confidence (1 unsure, 2 fair, 3 sure)."""

_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True, slots=True, eq=False)
class PickedPair:
    """Two images on one grid, and the features that were picked in them.

    Parameters
    ----------
    points
        As `ogive.store.picked_points.read_picked_points` gives them.
    earlier, later
        Images ``(y, x)`` on one grid, as `ogive.scenes.read.common_grid` gives them.
    scenes
        The two acquisitions, the earlier first; dates and sensors are conditions of training.
    """

    points: gpd.GeoDataFrame
    earlier: xr.DataArray
    later: xr.DataArray
    scenes: tuple[Scene, Scene]


def read_picked_pair(
    points: str | Path, folder: str | Path | None = None, *, band: int | str | None = None
) -> PickedPair:
    """Read picked points and the two images that they name.

    Parameters
    ----------
    points
        A GeoPackage of ``ogive annotate``.
    folder
        Where the images are; by default beside the points.
    band
        Number of the band, from 1, or its name; may be left out when there is just one.

    Returns
    -------
    PickedPair

    Raises
    ------
    InputError
        If a file is missing, or the GeoPackage holds no points or those of several pairs.
    GridError
        If the images are not those that the points were picked in.
    """
    table = read_picked_points(points)
    named = table[["earlier", "later"]].drop_duplicates()
    if len(named) != 1:
        raise InputError(
            f"{points} holds points of {len(named)} pairs of images: one is needed, and one point "
            "at least"
        )
    paths = [Path(folder or Path(points).parent) / named.iloc[0][name] for name in named]
    in_pixels = bool((table["unit"] == "pixel").all())
    images = [read_image(path, band=band, allow_no_crs=in_pixels) for path in paths]
    pair = common_grid(*images)
    pixel_positions(table, pair.earlier.odc.geobox)  # refuses another reference system
    times = [table[f"{name}_time"].iloc[0].tz_localize(None) for name in named]
    scenes = [_scene(path, time) for path, time in zip(paths, times, strict=True)]
    return PickedPair(table, pair.earlier, pair.later, (scenes[0], scenes[1]))


def _scene(path: Path, time: pd.Timestamp) -> Scene:
    """What the name tells of an image; the date is the one that was picked with."""
    try:
        scene = scene_from_name(path, read_tags(path))
    except DateError:  # the dates were given by hand, since the name has none
        scene = Scene(id=path.name, time=time.to_pydatetime())
    same_day = abs(scene.time - time) < _DAY
    known = scene if same_day else Scene(id=path.name, time=scene.time)
    return replace(known, time=time.to_pydatetime())


class ManualSamples:
    """Crops round picked features; sample ``index`` is the same whenever it is asked for.

    A sample is a square of the earlier image with the pick somewhere in its middle half, and a
    square of the later one, moved by whole pixels so that what is left of the displacement is
    anything within ``search_px``: a matcher that searches round a prediction sees it so. The
    displacement is labelled in the pick's neighbourhood only, and in that of other picks in the
    square that are at least as sure; ``weight`` follows the pick's confidence.

    Parameters
    ----------
    pairs
        Pairs of images with their points.
    size_px
        Side of the squares.
    search_px
        The largest displacement left along each axis.
    spread_px
        How far round a pick its displacement is taken for true: at most by its gradient times this
        distance wrong, 0.06 px in a shear margin of 1 % a pixel.
    seed
        Of the places of the squares.
    weights
        How much the three confidences count.

    Raises
    ------
    InputError
        Without a usable point (both places inside the images, on pixels with data), or if a number
        is impossible.

    Examples
    --------
    >>> pair = read_picked_pair("points.gpkg", "images")  # doctest: +SKIP
    >>> samples = ManualSamples([pair], size_px=96)  # doctest: +SKIP
    >>> samples.sample(0)["labelled"].sum()  # doctest: +SKIP
    tensor(169)
    """

    def __init__(
        self,
        pairs: Sequence[PickedPair],
        *,
        size_px: int = 128,
        search_px: int = 8,
        spread_px: int = 6,
        seed: int = 0,
        weights: Mapping[int, float] = CONFIDENCE_WEIGHTS,
    ) -> None:
        if size_px < 16:
            raise InputError(f"samples of {size_px} px: at least 16 are needed")
        if not 0 <= search_px <= size_px // 4:
            raise InputError(
                f"a search of {search_px} px in samples of {size_px}: 0 to a quarter is possible"
            )
        if not 0 <= spread_px <= size_px // 4:
            raise InputError(
                f"a label that spreads by {spread_px} px in samples of {size_px}: 0 to a quarter "
                "is possible"
            )
        missing = {1, 2, 3} - weights.keys()
        if missing or min(weights.values()) < 0:
            raise InputError(
                "a weight, not negative, is needed for each of the confidences 1, 2, 3"
            )
        self.size_px, self.search_px, self.spread_px = size_px, search_px, spread_px
        self.seed, self.weights = seed, dict(weights)
        self._pairs = [_Crops(pair) for pair in pairs]
        self._picks = [
            (crops, int(point)) for crops in self._pairs for point in np.flatnonzero(crops.usable)
        ]
        self.left_out = sum(int((~crops.usable).sum()) for crops in self._pairs)
        if not self._picks:
            raise InputError(
                f"none of {self.left_out} picked points is usable: both places must lie on pixels "
                "with data of the two images"
            )

    def __len__(self) -> int:
        """How many picks there are; further indices give further squares round them."""
        return len(self._picks)

    def sample(self, index: int) -> Sample:
        """Cut the sample of this number.

        Returns
        -------
        Sample
            One band, ``size_px`` squared (see `ogive.similarity.samples.sample.Sample`).
        """
        import torch

        crops, point = self._picks[index % len(self._picks)]
        rng = np.random.default_rng((self.seed, index))
        size, at = self.size_px, crops.at
        inner = rng.integers(size // 4, size - size // 4, 2)
        left, top = round(at.x[point]) - int(inner[0]), round(at.y[point]) - int(inner[1])
        left_over = rng.integers(-self.search_px, self.search_px + 1, 2)
        moved_x = round(at.x2[point] - at.x[point]) - int(left_over[0])
        moved_y = round(at.y2[point] - at.y[point]) - int(left_over[1])
        earlier, valid_earlier = crops.cut(crops.earlier, left, top, size)
        later, valid_later = crops.cut(crops.later, left + moved_x, top + moved_y, size)
        displacement = np.zeros((2, size, size), np.float32)
        labelled = np.zeros((size, size), bool)
        for k in crops.at_least_as_sure(point):
            place = _around(at, k, left, top, self.spread_px)
            displacement[0][place] = at.x2[k] - at.x[k] - moved_x
            displacement[1][place] = at.y2[k] - at.y[k] - moved_y
            labelled[place] = True
        labelled &= valid_earlier[0]
        conditions = crops.conditions()
        return {
            "earlier": torch.from_numpy(earlier),
            "later": torch.from_numpy(later),
            "valid_earlier": torch.from_numpy(valid_earlier),
            "valid_later": torch.from_numpy(valid_later),
            "displacement": torch.from_numpy(np.where(labelled, displacement, np.float32(0))),
            "matchable": torch.from_numpy(labelled.copy()),
            "labelled": torch.from_numpy(labelled),
            "stable": torch.zeros(size, size, dtype=torch.bool),
            "condition_earlier": conditions[0],
            "condition_later": conditions[1],
            "weight": torch.tensor(self.weights[int(crops.confidence[point])]),
            "years": torch.tensor(crops.years, dtype=torch.float32),
        }


class _Crops:
    """One pair, ready to be cut: pixels, masks, and the points in pixels."""

    def __init__(self, pair: PickedPair) -> None:
        if pair.earlier.dims != ("y", "x") or pair.later.shape != pair.earlier.shape:
            raise InputError("images of picked points are (y, x) and on one grid: see common_grid")
        self.earlier, self.later = (
            (np.where(valid, image.values, 0).astype(np.float32), valid)
            for image in (pair.earlier, pair.later)
            for valid in (valid_mask(image),)
        )
        geobox = pair.earlier.odc.geobox
        self.at: PixelPositions = pixel_positions(pair.points, geobox)
        self.confidence = pair.points["confidence"].to_numpy(int)
        self.pixel_size_m = None if geobox.crs is None else abs(float(geobox.resolution.x))
        self.scenes = pair.scenes
        self.days = (pair.scenes[1].time - pair.scenes[0].time) / _DAY
        self.years = self.days / DAYS_PER_YEAR
        self.usable = self._seen(self.at.x, self.at.y, self.earlier[1]) & self._seen(
            self.at.x2, self.at.y2, self.later[1]
        )

    @staticmethod
    def _seen(
        x: NDArray[np.float64], y: NDArray[np.float64], valid: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        columns, rows = np.rint(x).astype(int), np.rint(y).astype(int)
        height, width = valid.shape
        inside = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
        seen: NDArray[np.bool_] = inside.copy()
        seen[inside] = valid[rows[inside], columns[inside]]
        return seen

    def at_least_as_sure(self, point: int) -> list[int]:
        """Other usable picks, the pick itself last: where they meet, it has the word."""
        others = np.flatnonzero(self.usable & (self.confidence >= self.confidence[point]))
        return [int(k) for k in others if k != point] + [int(point)]

    def conditions(self) -> tuple[Tensor, Tensor]:
        """What is known of the two images, as networks take it."""
        from ..embedding import condition_of, encode

        first, second = (
            encode(condition_of(scene, days_between=self.days, pixel_size_m=self.pixel_size_m))
            for scene in self.scenes
        )
        return first, second

    @staticmethod
    def cut(
        image: tuple[NDArray[np.float32], NDArray[np.bool_]], left: int, top: int, size: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A square ``(1, y, x)``; what lies beyond the image is not valid."""
        pixels, valid = image
        height, width = valid.shape
        cut = np.zeros((1, size, size), np.float32)
        known = np.zeros((1, size, size), bool)
        rows = slice(max(0, top), max(0, min(height, top + size)))
        columns = slice(max(0, left), max(0, min(width, left + size)))
        if rows.start < rows.stop and columns.start < columns.stop:
            inside = (
                0,
                slice(rows.start - top, rows.stop - top),
                slice(columns.start - left, columns.stop - left),
            )
            cut[inside], known[inside] = pixels[rows, columns], valid[rows, columns]
        return cut, known


def _around(
    at: PixelPositions, point: int, left: int, top: int, spread_px: int
) -> tuple[slice, slice]:
    """The square round a pick, in the pixels of a crop; empty where it does not reach into it."""
    column, row = round(at.x[point]) - left, round(at.y[point]) - top
    rows = slice(max(0, row - spread_px), max(0, row + spread_px + 1))
    return rows, slice(max(0, column - spread_px), max(0, column + spread_px + 1))
