"""Thresholds on a band ratio: snow and ice are bright in the visible and dark in the infrared.

With a short-wave infrared band: the ratio red / SWIR (Paul et al. 2016, Remote Sens. 8, 575), or
the normalised difference snow index of green and SWIR (Hall et al. 1995, Remote Sens. Environ. 54,
127-140). Without: the normalised difference of green and near infrared (NDWI). Rock in shadow has
such ratios too, and is told by a second threshold, on blue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError

from ..tiles import GLACIER, IGNORE, Tile

__all__ = ["INDICES", "ThresholdMapper", "fit_threshold"]

FloatArray = NDArray[np.float32]
_LEAST = 1e-4
"""Of a sum of reflectances, so that nothing is divided by zero."""


def _normalised_difference(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.asarray((one - other) / np.maximum(one + other, _LEAST), np.float32)


def _ratio(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.asarray(one / np.maximum(other, _LEAST), np.float32)


@dataclass(frozen=True, slots=True)
class Index:
    """An index of two bands."""

    one: str
    other: str
    of: Callable[[FloatArray, FloatArray], FloatArray]


INDICES: Mapping[str, Index] = MappingProxyType(
    {
        "ratio": Index("red", "swir1", _ratio),
        "ndsi": Index("green", "swir1", _normalised_difference),
        "ndwi": Index("green", "nir", _normalised_difference),
    }
)
"""Indices by name."""


@dataclass(frozen=True)
class ThresholdMapper:
    """Glacier is where an index and blue are above their thresholds.

    Attributes
    ----------
    index
        Name in `INDICES`.
    bands
        Order of the bands of the pixels.
    threshold, blue_threshold
        Of the index, and of the blue reflectance.
    """

    index: str
    bands: tuple[str, ...]
    threshold: float
    blue_threshold: float

    def __call__(self, pixels: FloatArray) -> FloatArray:
        """Give 1 for glacier and 0 for ground."""
        index, blue = _index_and_blue(pixels, self.bands, self.index)
        mapped = (index > self.threshold) & (blue > self.blue_threshold)
        return mapped.astype(np.float32)


def fit_threshold(
    tiles: Sequence[Tile], bands: Sequence[str], *, index: str, steps: int = 200
) -> ThresholdMapper:
    """Choose the two thresholds that give the best intersection over union on tiles.

    Parameters
    ----------
    tiles
        Of the training side.
    bands
        Of the pixels that will be mapped.
    index
        ``"ratio"``, ``"ndsi"`` or ``"ndwi"``.
    steps
        How many values of each threshold are tried, evenly over those that occur.

    Raises
    ------
    InputError
        For another index, or if a band it needs is missing.
    """
    if index not in INDICES:
        raise InputError(f"there is no index {index!r}: choose among {', '.join(INDICES)}")
    values, blues, truth = [], [], []
    for tile in tiles:
        read = tile.read(slice(0, tile.info.height), slice(0, tile.info.width), bands)
        known = read.labels != IGNORE
        one, blue = _index_and_blue(read.pixels, bands, index)
        values.append(one[known])
        blues.append(blue[known])
        truth.append(read.labels[known] == GLACIER)
    value, blue, glacier = np.concatenate(values), np.concatenate(blues), np.concatenate(truth)
    edges = [np.unique(np.quantile(each, np.linspace(0, 1, steps + 1))) for each in (value, blue)]
    # How many pixels of each class lie above each pair of thresholds.
    found = _above(value[glacier], blue[glacier], edges)
    invented = _above(value[~glacier], blue[~glacier], edges)
    iou = found / np.maximum(glacier.sum() + invented, 1)
    best = np.unravel_index(int(iou.argmax()), iou.shape)
    return ThresholdMapper(index, tuple(bands), float(edges[0][best[0]]), float(edges[1][best[1]]))


def _above(
    value: FloatArray, blue: FloatArray, edges: list[NDArray[np.float32]]
) -> NDArray[np.float64]:
    counts, _, _ = np.histogram2d(value, blue, bins=edges)
    return np.asarray(counts[::-1, ::-1].cumsum(0).cumsum(1)[::-1, ::-1], float)


def _index_and_blue(
    pixels: FloatArray, bands: Sequence[str], index: str
) -> tuple[FloatArray, FloatArray]:
    asked = INDICES[index]
    for band in (asked.one, asked.other, "blue"):
        if band not in bands:
            raise InputError(
                f"the index {index} needs the band {band}: there are {', '.join(bands)}"
            )
    at = {band: pixels[list(bands).index(band)] for band in (asked.one, asked.other, "blue")}
    return asked.of(at[asked.one], at[asked.other]), at["blue"]
