"""Numbered patches of tiles: random ones to learn from, regular ones to judge by.

A sample is a function of its number alone, as `ogive.learning` asks. Each tile is seen once before
any is seen again, in another order each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ogive.model import InputError

from .augment import Augmentation, augmented, mixed
from .bands import bands_in_order, modalities_of, normalised
from .strategies import Told
from .tiles import IGNORE, Labelled, Tile

__all__ = ["LABELS", "LOCATION", "PatchSamples", "Window", "regular_windows", "window_of"]

LABELS, LOCATION = "labels", "location"
"""Names of a sample's tensors, beside those of its modalities."""


class Window(NamedTuple):
    """A square of a tile; it may reach over its edges."""

    tile: int
    top: int
    left: int
    side: int


@dataclass(frozen=True, kw_only=True)
class PatchSamples:
    """Patches of tiles by number.

    Attributes
    ----------
    tiles
        What is cut.
    bands
        Their order is that of the network's modalities.
    patch_px
        Side of the patches.
    seed
        Of what is drawn.
    told
        What the network is told of the location.
    augmentation
        How patches are varied; ``None`` gives them as they are, at the regular windows.
    """

    tiles: Sequence[Tile]
    bands: Sequence[str]
    patch_px: int
    seed: int
    told: Told
    augmentation: Augmentation | None = None
    _windows: list[Window] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        """List the windows of validation."""
        if not self.tiles:
            raise InputError("there is no tile to cut patches from")
        if self.augmentation is None:
            self._windows.extend(regular_windows(self.tiles, self.patch_px))

    def __len__(self) -> int:
        """How many different samples there are; those of training have no end."""
        return len(self._windows)

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Give a sample.

        Returns
        -------
        dict
            Each modality ``(band, y, x)``, float32; ``labels`` ``(y, x)``, uint8; ``location``, if
            the network is told one.
        """
        rng = np.random.default_rng((self.seed, index))
        if self.augmentation is None:
            window = self._windows[index % len(self._windows)]
            pixels, labels = self._cut(window)
        else:
            window = self._random_window(self._number(index), self.augmentation, rng)
            pixels, labels = augmented(*self._cut(window), self.augmentation, rng)
            if self.augmentation.mixing and rng.random() < self.augmentation.mixing:
                other = self._another(window.tile, self.augmentation, rng)
                pixels, labels = mixed(pixels, labels, *other, rng)
        return self._tensors(pixels, labels, self.tiles[window.tile], rng)

    def _cut(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        flat = bands_in_order(self.bands)
        cut = window_of(self.tiles[window.tile], window, flat)
        pixels = np.where(cut.valid, normalised(cut.pixels, flat), 0.0).astype(np.float32)
        return _resized(pixels, cut.labels, self.patch_px)

    def _another(
        self, number: int, how: Augmentation, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Give a patch of any tile of the same region, of which the network is told the same."""
        region = self.tiles[number].info.region
        alike = [k for k, tile in enumerate(self.tiles) if tile.info.region == region]
        window = self._random_window(int(rng.choice(alike)), how, rng)
        return augmented(*self._cut(window), how, rng)

    def _number(self, index: int) -> int:
        """Which tile a sample is of."""
        turn, place = divmod(index, len(self.tiles))
        order = np.random.default_rng((self.seed, turn, len(self.tiles))).permutation(
            len(self.tiles)
        )
        return int(order[place])

    def _random_window(self, number: int, how: Augmentation, rng: np.random.Generator) -> Window:
        info = self.tiles[number].info
        share = float(rng.uniform(how.smallest_crop, how.largest_crop))
        side = round(self.patch_px * share)
        top, left = (
            int(rng.integers(0, max(length - side, 0) + 1)) for length in (info.height, info.width)
        )
        return Window(number, top, left, side)

    def _tensors(
        self,
        pixels: NDArray[np.float32],
        labels: NDArray[np.uint8],
        tile: Tile,
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        sample: dict[str, Tensor] = {LABELS: torch.from_numpy(labels)}
        first = 0
        for name, bands in modalities_of(self.bands).items():
            sample[name] = torch.from_numpy(pixels[first : first + len(bands)])
            first += len(bands)
        location = self.told.vector(tile.info, rng if self.augmentation is not None else None)
        if location is not None:
            sample[LOCATION] = torch.from_numpy(location)
        return sample


def regular_windows(tiles: Sequence[Tile], side: int) -> list[Window]:
    """Cover tiles by as few windows as possible, evenly spread; they may overlap.

    Examples
    --------
    >>> from types import SimpleNamespace as Made
    >>> tile = Made(info=Made(height=192, width=228))
    >>> regular_windows([tile], 192)
    [Window(tile=0, top=0, left=0, side=192), Window(tile=0, top=0, left=36, side=192)]
    """
    return [
        Window(number, top, left, side)
        for number, tile in enumerate(tiles)
        for top in _starts(tile.info.height, side)
        for left in _starts(tile.info.width, side)
    ]


def _starts(length: int, side: int) -> list[int]:
    count = max(-(-length // side), 1)
    return [round(each) for each in np.linspace(0, max(length - side, 0), count)]


def window_of(tile: Tile, window: Window, bands: Sequence[str]) -> Labelled:
    """Read a window; what lies beyond the tile is not valid, and ignored."""
    info = tile.info
    bottom, right = (
        min(window.top + window.side, info.height),
        min(window.left + window.side, info.width),
    )
    read = tile.read(slice(window.top, bottom), slice(window.left, right), bands)
    below, beside = (
        window.side - (bottom - window.top),
        window.side - (right - window.left),
    )
    if not below and not beside:
        return read
    around = ((0, below), (0, beside))
    return Labelled(
        np.pad(read.pixels, ((0, 0), *around)),
        np.pad(read.labels, around, constant_values=IGNORE),
        np.pad(read.valid, around),
    )


def _resized(
    pixels: NDArray[np.float32], labels: NDArray[np.uint8], side: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Bring a crop to the size of the patch: bilinear for pixels, nearest for labels."""
    if pixels.shape[-1] == side:
        return pixels, labels
    larger = functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(pixels))[None],
        (side, side),
        mode="bilinear",
        align_corners=False,
    )[0].numpy()
    nearest = np.minimum((np.arange(side) + 0.5) * labels.shape[0] / side, labels.shape[0] - 1)
    at = nearest.astype(int)
    return larger, labels[at][:, at]
