"""Whole tiles mapped by a network, to judge it and to learn what its confidence is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError

from .calibration import ConfidenceBins, bin_confidence
from .confidence import confidence
from .networks import OutlineNetwork
from .predict import Arrays, PredictOptions, probability
from .strategies import Told
from .tiles import GLACIER, IGNORE, Tile

__all__ = ["confidence_bins_of", "tile_probability"]


def tile_probability(
    tile: Tile,
    network: OutlineNetwork,
    bands: Sequence[str],
    told: Told,
    options: PredictOptions | None = None,
) -> NDArray[np.float32]:
    """Give the probability of glacier of a tile; NaN where it is not valid.

    Parameters
    ----------
    tile
        What is mapped.
    network
        In evaluation mode.
    bands
        Names of the bands that it sees, in its order.
    told
        What it is told of the tile's place.
    options
        How it is asked; the location is filled in.
    """
    read = tile.read(slice(0, tile.info.height), slice(0, tile.info.width), bands)
    asked = replace(options or PredictOptions(), location=told.vector(tile.info))
    return probability(Arrays(read.pixels, read.valid), network, bands, asked)


def confidence_bins_of(
    tiles: Iterable[Tile], network: OutlineNetwork, bands: Sequence[str], told: Told
) -> ConfidenceBins:
    """Count how often a network is right on tiles, by its confidence.

    Raises
    ------
    InputError
        If there is no tile.
    """
    binned = [_bins(tile, network, bands, told) for tile in tiles]
    if not binned:
        raise InputError("there is no tile to learn from what confidence is worth")
    return reduce(add, binned)


def _bins(tile: Tile, network: OutlineNetwork, bands: Sequence[str], told: Told) -> ConfidenceBins:
    p = tile_probability(tile, network, bands, told)
    labels = tile.read(slice(0, tile.info.height), slice(0, tile.info.width), bands).labels
    known = labels != IGNORE
    return bin_confidence(confidence(p[known]), (p[known] > 0.5) == (labels[known] == GLACIER))
