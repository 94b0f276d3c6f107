"""A random forest on pixels: their bands, and the normalised difference of each two.

As in the literature (such as Alifu et al. 2020, Geomorphology 369, 107365), with scikit-learn's
forest and as many pixels of ground as of glacier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ogive.model import InputError

from ..tiles import GLACIER, IGNORE, OTHER, Tile

__all__ = ["ForestMapper", "fit_forest"]

_LEAST = 1e-4


@dataclass(frozen=True)
class ForestMapper:
    """A forest that maps pixels by themselves."""

    forest: Any
    bands: tuple[str, ...]

    def __call__(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the share of the trees that say glacier."""
        rows = _features(pixels.reshape(len(pixels), -1).T)
        share = self.forest.predict_proba(rows)[:, 1]
        return np.asarray(share.reshape(pixels.shape[1:]), np.float32)


def fit_forest(
    tiles: Sequence[Tile],
    bands: Sequence[str],
    *,
    pixels_per_class: int = 60_000,
    trees: int = 100,
    seed: int = 0,
) -> ForestMapper:
    """Grow a forest.

    Parameters
    ----------
    tiles
        Of the training side.
    bands
        Of the pixels that will be mapped.
    pixels_per_class
        Drawn at random from all tiles.
    trees, seed
        Of the forest.

    Raises
    ------
    InputError
        If the tiles show only one of the two classes.
    """
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(seed)
    rows: dict[int, list[NDArray[np.float32]]] = {OTHER: [], GLACIER: []}
    for tile in tiles:
        read = tile.read(slice(0, tile.info.height), slice(0, tile.info.width), bands)
        for label, kept in rows.items():
            kept.append(read.pixels[:, (read.labels == label) & (read.labels != IGNORE)].T)
    drawn = []
    for label, parts in rows.items():
        every = np.concatenate(parts)
        if not len(every):
            raise InputError(f"no pixel of the tiles is labelled {label}: both classes are needed")
        drawn.append(every[rng.permutation(len(every))[:pixels_per_class]])
    forest = RandomForestClassifier(trees, min_samples_leaf=5, random_state=seed)
    forest.fit(_features(np.concatenate(drawn)), np.repeat([0, 1], [len(each) for each in drawn]))
    return ForestMapper(forest, tuple(bands))


def _features(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bands and normalised differences of pixels ``(pixel, band)``."""
    differences = [
        (pixels[:, one] - pixels[:, other]) / np.maximum(pixels[:, one] + pixels[:, other], _LEAST)
        for one, other in combinations(range(pixels.shape[1]), 2)
    ]
    return np.column_stack([pixels, *differences]).astype(np.float32)
